//! The merge of two trees that needs nobody's judgement: each file as whichever side changed it left it.
//!
//! Files that both sides changed are not merged here, though Git may merge them line by line: what comes out of that is
//! text that nobody signed. Neither is a rename followed. So what is a clean merge here is one for Git too, and every file
//! of it is, byte by byte, one of a parent.

use std::collections::{BTreeMap, BTreeSet};

use gix::ObjectId;
use gix::bstr::BString;
use gix::objs::tree::{Entry, EntryMode};
use gix::objs::{Kind, Tree, TreeRefIter, WriteTo as _};
use tk8s_core::TreeId;

use crate::Error;
use crate::store::Store;

/// Bytes of directories that are compared at one look: only those are read that both sides changed, and what was made to
/// grow by being read again and again ends here.
pub(super) const MOST_BYTES: usize = 256 * 1024 * 1024;
/// Directories inside of each other. The way back is on the stack.
const DEEPEST: usize = 100;

/// The tree of the merge of `one` and `other`, whose histories met last at `base`; or what keeps them from being merged.
pub(super) fn merged(
    store: &Store,
    base: &TreeId,
    one: &TreeId,
    other: &TreeId,
    left: &mut usize,
) -> Result<Result<String, String>, Error> {
    let mut trees = [None; 3];
    for (tree, id) in trees.iter_mut().zip([base, one, other]) {
        let id = id.as_str();
        *tree = Some(
            ObjectId::from_hex(id.as_bytes())
                .map_err(|_| Error::Object { id: id.into(), why: "it is not an object id".into() })?,
        );
    }
    match (Merge { store, left }).directory("", 0, trees) {
        Ok(tree) => Ok(Ok(tree.unwrap_or_else(|| ObjectId::empty_tree(one_kind(&trees))).to_string())),
        Err(Stopped::Refused(why)) => Ok(Err(why)),
        Err(Stopped::Failed(error)) => Err(error),
    }
}

fn one_kind(trees: &[Option<ObjectId>; 3]) -> gix::hash::Kind {
    trees[1].map_or(gix::hash::Kind::Sha1, |id| id.kind())
}

/// Why there is no merge.
enum Stopped {
    Refused(String),
    Failed(Error),
}

impl From<Error> for Stopped {
    fn from(error: Error) -> Stopped {
        Stopped::Failed(error)
    }
}

/// What stands under a name.
type Found = (EntryMode, ObjectId);

struct Merge<'a> {
    store: &'a Store,
    left: &'a mut usize,
}

impl Merge<'_> {
    /// The merge of one directory: of its last common state, and of its two present ones. Nothing if it becomes empty.
    fn directory(&mut self, path: &str, depth: usize, trees: [Option<ObjectId>; 3]) -> Result<Option<ObjectId>, Stopped> {
        if depth > DEEPEST {
            return Err(Stopped::Refused(format!("`{path}` is too deep to be compared")));
        }
        let [base, one, other] = [self.read(trees[0])?, self.read(trees[1])?, self.read(trees[2])?];
        let names: BTreeSet<&BString> = [&base, &one, &other].into_iter().flat_map(BTreeMap::keys).collect();
        let mut merged = Tree { entries: Vec::new() };
        for name in names {
            let found = [base.get(name).copied(), one.get(name).copied(), other.get(name).copied()];
            let taken = match found {
                [_, one, other] if one == other => one,
                [base, one, other] if base == one => other,
                [base, one, other] if base == other => one,
                [base, Some((mode, one)), Some((also, other))]
                    if mode.is_tree() && also.is_tree() && base.is_none_or(|(mode, _)| mode.is_tree()) =>
                {
                    let inside = [base.map(|(_, id)| id), Some(one), Some(other)];
                    self.directory(&join(path, name), depth + 1, inside)?.map(|id| (mode, id))
                }
                _ => return Err(Stopped::Refused(format!("both sides changed `{}`", join(path, name)))),
            };
            merged.entries.extend(taken.map(|(mode, oid)| Entry { mode, filename: name.clone(), oid }));
        }
        if merged.entries.is_empty() {
            return Ok(None);
        }
        merged.entries.sort();
        let odd = || Stopped::Refused(format!("the directory `{path}` can't be written as Git does"));
        let mut bytes = Vec::new();
        merged.write_to(&mut bytes).map_err(|_| odd())?;
        gix::objs::compute_hash(one_kind(&trees), Kind::Tree, &bytes).map(Some).map_err(|_| odd())
    }

    fn read(&mut self, tree: Option<ObjectId>) -> Result<BTreeMap<BString, Found>, Stopped> {
        let Some(id) = tree else { return Ok(BTreeMap::new()) };
        let name = id.to_string();
        let size = self.store.size(&name).and_then(|size| usize::try_from(size).ok()).unwrap_or(usize::MAX);
        match self.left.checked_sub(size) {
            Some(left) => *self.left = left,
            None => return Err(Stopped::Refused("there is too much to compare".into())),
        }
        let (kind, data) = self.store.read(&name)?;
        let malformed = || Stopped::Refused(format!("the directory {name} is malformed"));
        if kind != Kind::Tree {
            return Err(malformed());
        }
        let mut entries = BTreeMap::new();
        for entry in TreeRefIter::from_bytes(&data, id.kind()) {
            let entry = entry.map_err(|_| malformed())?;
            if entries.insert(entry.filename.to_owned(), (entry.mode, entry.oid.to_owned())).is_some() {
                return Err(malformed());
            }
        }
        Ok(entries)
    }
}

fn join(path: &str, name: &BString) -> String {
    let name = tk8s_core::printable(&name.to_string(), 80);
    if path.is_empty() { name } else { format!("{path}/{name}") }
}
