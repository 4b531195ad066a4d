//! What a tree object holds: the names and kinds that Git itself writes, or an error that names what is wrong with it.

use gix::hash::Kind as Hash;

/// Entries of one directory. Nobody keeps so many files in one place; a tree that has them was made to fill memory.
const MOST_ENTRIES: usize = 100_000;

/// Whether a name is one that Git would write: one part, and none that a file system somewhere takes for Git's own
/// directory (`.GIT`, `git~1`, `.g\u{200c}it`). A tree that has another was made to confuse.
pub fn is_plain_name(name: &str) -> bool {
    let options = gix::validate::path::component::Options { protect_windows: false, protect_hfs: true, protect_ntfs: true };
    !name.chars().any(char::is_control)
        && !name.contains('/')
        && gix::validate::path::component(name.into(), None, options).is_ok()
}

/// What stands at a path.
#[derive(Clone)]
pub(crate) enum Found {
    Tree(String),
    File(String),
    Other(&'static str),
}

/// The entries of a tree object, sorted by name, none of them twice; else what is wrong.
pub(crate) fn of(data: &[u8], hash: Hash) -> Result<Vec<(String, Found)>, String> {
    let mut entries = Vec::new();
    for entry in gix::objs::TreeRefIter::from_bytes(data, hash) {
        let entry = entry.map_err(|_| "the tree is malformed".to_owned())?;
        if entries.len() == MOST_ENTRIES {
            return Err(format!("it holds more than {MOST_ENTRIES} entries"));
        }
        let name = std::str::from_utf8(entry.filename).map_err(|_| "a name in it is not UTF-8".to_owned())?;
        let shown = || tk8s_core::printable(&name.escape_debug().to_string(), 80);
        if !is_plain_name(name) {
            return Err(format!("it holds an entry named `{}`, which Git itself never writes", shown()));
        }
        let id = entry.oid.to_string();
        let found = match entry.mode.value() {
            0o040000 => Found::Tree(id),
            // The last one is from Git's first days.
            0o100644 | 0o100755 | 0o100664 => Found::File(id),
            0o120000 => Found::Other("a symbolic link"),
            0o160000 => Found::Other("a submodule"),
            mode => return Err(format!("its entry `{}` has the mode {mode:o}, which Git itself never writes", shown())),
        };
        entries.push((name.to_owned(), found));
    }
    entries.sort_by(|a, b| a.0.cmp(&b.0));
    if let Some(twice) = entries.windows(2).find(|pair| pair[0].0 == pair[1].0) {
        return Err(format!("it holds `{}` twice", tk8s_core::printable(&twice[0].0, 80)));
    }
    Ok(entries)
}
