//! What the targets share: a tree in memory for those that read files, armour for those that read signatures.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Once;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tk8s_core::{ReadError, SourceTree, TreeEntry, TreePath};

/// Files by their paths.
pub struct Tree(BTreeMap<String, Vec<u8>>);

impl Tree {
    /// The bytes are one file.
    pub fn whole(data: &[u8], name: &str) -> Tree {
        Tree([(name.to_owned(), data.to_vec())].into())
    }

    /// The bytes, cut at each NUL, are the files of these names.
    pub fn cut(data: &[u8], names: &[&str]) -> Tree {
        let parts = data.splitn(names.len(), |byte| *byte == 0);
        Tree(names.iter().zip(parts).map(|(name, part)| ((*name).to_owned(), part.to_vec())).collect())
    }
}

impl SourceTree for Tree {
    fn list(&self, directory: &TreePath) -> Result<Vec<TreeEntry>, ReadError> {
        let above = if directory.is_root() { String::new() } else { format!("{directory}/") };
        let below: BTreeSet<(&str, bool)> = self
            .0
            .keys()
            .filter_map(|path| path.strip_prefix(&above))
            .map(|rest| rest.split_once('/').map_or((rest, false), |(part, _)| (part, true)))
            .collect();
        if below.is_empty() && !directory.is_root() {
            return Err(ReadError::NotFound(directory.clone()));
        }
        let entry = |(name, directory): (&str, bool)| match directory {
            true => TreeEntry::Directory(name.into()),
            false => TreeEntry::File(name.into()),
        };
        Ok(below.into_iter().map(entry).collect())
    }

    fn read(&self, file: &TreePath, limit: u64) -> Result<Vec<u8>, ReadError> {
        let bytes = self.0.get(file.as_str()).ok_or_else(|| ReadError::NotFound(file.clone()))?;
        let size = bytes.len() as u64;
        if size > limit {
            return Err(ReadError::TooLarge { path: file.clone(), size, limit });
        }
        Ok(bytes.clone())
    }

    fn identity(&self, path: &TreePath) -> Result<Option<String>, ReadError> {
        Ok(Some(path.as_str().to_owned()))
    }
}

/// The YAML parser is known to panic, and its panics are caught: they end no target. Everybody else's do.
pub fn let_the_parser_panic() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let end = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            if !panic.location().is_some_and(|location| location.file().contains("/libyaml-safer-")) {
                end(panic);
            }
        }));
    });
}

/// These bytes in armour, as the value of a commit's header.
pub fn armoured(kind: &str, headers: &str, data: &[u8]) -> String {
    let encoded = STANDARD.encode(data);
    let lines = encoded.as_bytes().chunks(64).map(|line| format!(" {}\n", String::from_utf8_lossy(line)));
    format!("-----BEGIN {kind}-----\n{headers}{} -----END {kind}-----\n", lines.collect::<String>())
}
