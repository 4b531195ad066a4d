//! The hand-over types of the source: [`Fetched`], [`VerifiedRevision`] and [`VerifiedTree`].

use std::collections::BTreeMap;
use std::sync::Arc;

use gix::objs::Kind;
use tk8s_core::{Environment, ReadError, Revision, SourceTree, TreeEntry, TreePath, Trust};

use crate::Error;
use crate::source::Follow;
use crate::store::Store;

/// Refs and objects as the remote showed them. Nothing of it is verified. Made by [`crate::fetch`] only.
pub struct Fetched {
    pub(crate) store: Store,
    pub(crate) follow: Follow,
    /// The commit of the followed branch.
    pub(crate) head: String,
    /// Version tags: what each ref points at.
    pub(crate) tags: BTreeMap<String, String>,
}

/// A revision that the trust policy let pass. Made by [`crate::verify()`] only; a waived one cannot be made outside `dev`.
pub struct VerifiedRevision {
    revision: Revision,
    trust: Trust,
    environment: Environment,
    store: Store,
}

impl VerifiedRevision {
    /// The only constructor. A waiver outside `dev` gives nothing, whatever the caller believes to have checked.
    pub(crate) fn new(revision: Revision, trust: Trust, environment: Environment, store: Store) -> Option<VerifiedRevision> {
        if matches!(trust, Trust::Waived { .. }) && environment != Environment::Dev {
            return None;
        }
        Some(VerifiedRevision { revision, trust, environment, store })
    }

    /// Commit, tree and tag.
    pub fn revision(&self) -> &Revision {
        &self.revision
    }

    /// Why it may be applied.
    pub fn trust(&self) -> &Trust {
        &self.trust
    }

    /// The environment whose policy it passed.
    pub fn environment(&self) -> Environment {
        self.environment
    }
}

/// The files of a verified revision, read by object id, each hashed again when it is read. Made by [`tree`] only.
pub struct VerifiedTree {
    revision: Arc<VerifiedRevision>,
}

/// The tree of a verified revision. Its root is read at once, so that a broken mirror shows here.
pub fn tree(revision: &Arc<VerifiedRevision>) -> Result<VerifiedTree, Error> {
    revision.store.read(revision.revision.tree.as_str())?;
    Ok(VerifiedTree { revision: Arc::clone(revision) })
}

/// Entries of one directory. Nobody keeps so many files in one place; a tree that has them was made to fill memory.
const MOST_ENTRIES: usize = 100_000;

/// What stands in the repository instead of a file that Git LFS keeps elsewhere.
const LFS: &[u8] = b"version https://git-lfs.github.com/spec/v1\n";

/// Whether a name is one that Git would write: one part, and none that a file system somewhere takes for Git's own
/// directory (`.GIT`, `git~1`, `.g\u{200c}it`). A tree that has another was made to confuse.
fn is_plain(name: &str) -> bool {
    let options = gix::validate::path::component::Options { protect_windows: false, protect_hfs: true, protect_ntfs: true };
    !name.chars().any(char::is_control)
        && !name.contains('/')
        && gix::validate::path::component(name.into(), None, options).is_ok()
}

/// What stands at a path.
enum Found {
    Tree(String),
    File(String),
    Other(&'static str),
}

impl VerifiedTree {
    /// The revision that the files belong to.
    pub fn revision(&self) -> &Arc<VerifiedRevision> {
        &self.revision
    }

    fn entries(&self, path: &TreePath, id: &str) -> Result<Vec<(String, Found)>, ReadError> {
        let broken = |why: String| ReadError::Broken { path: path.clone(), why };
        let (kind, data) = self.revision.store.read(id).map_err(|error| broken(tk8s_core::chain(&error)))?;
        if kind != Kind::Tree {
            return Err(broken(format!("the object {id} is not a tree")));
        }
        let hash = gix::ObjectId::from_hex(id.as_bytes()).map_err(|_| broken("its id can't be read".into()))?.kind();
        let mut entries = Vec::new();
        for entry in gix::objs::TreeRefIter::from_bytes(&data, hash) {
            let entry = entry.map_err(|_| broken(format!("the tree {id} is malformed")))?;
            if entries.len() == MOST_ENTRIES {
                return Err(broken(format!("it holds more than {MOST_ENTRIES} entries")));
            }
            let name = std::str::from_utf8(entry.filename).map_err(|_| broken("a name in it is not UTF-8".into()))?;
            let shown = || tk8s_core::printable(&name.escape_debug().to_string(), 80);
            if !is_plain(name) {
                return Err(broken(format!("it holds an entry named `{}`, which Git itself never writes", shown())));
            }
            let id = entry.oid.to_string();
            let found = match entry.mode.value() {
                0o040000 => Found::Tree(id),
                // The last one is from Git's first days.
                0o100644 | 0o100755 | 0o100664 => Found::File(id),
                0o120000 => Found::Other("a symbolic link"),
                0o160000 => Found::Other("a submodule"),
                mode => {
                    return Err(broken(format!("its entry `{}` has the mode {mode:o}, which Git itself never writes", shown())));
                }
            };
            entries.push((name.to_owned(), found));
        }
        entries.sort_by(|a, b| a.0.cmp(&b.0));
        if let Some(twice) = entries.windows(2).find(|pair| pair[0].0 == pair[1].0) {
            return Err(broken(format!("it holds `{}` twice", tk8s_core::printable(&twice[0].0, 80))));
        }
        Ok(entries)
    }

    fn find(&self, path: &TreePath) -> Result<Found, ReadError> {
        let mut found = Found::Tree(self.revision.revision.tree.to_string());
        let mut walked = TreePath::root();
        for part in path.parts() {
            let id = match found {
                Found::Tree(id) => id,
                Found::File(_) => return Err(ReadError::Kind { path: walked, found: "a file", needed: "a directory" }),
                Found::Other(what) => return Err(ReadError::Kind { path: walked, found: what, needed: "a directory" }),
            };
            let entries = self.entries(&walked, &id)?;
            let entry = entries.into_iter().find(|(name, _)| name == part);
            found = entry.ok_or_else(|| ReadError::NotFound(path.clone()))?.1;
            walked = walked.join(part)?;
        }
        Ok(found)
    }
}

impl SourceTree for VerifiedTree {
    fn list(&self, directory: &TreePath) -> Result<Vec<TreeEntry>, ReadError> {
        let id = match self.find(directory)? {
            Found::Tree(id) => id,
            Found::File(_) => return Err(ReadError::Kind { path: directory.clone(), found: "a file", needed: "a directory" }),
            Found::Other(what) => return Err(ReadError::Kind { path: directory.clone(), found: what, needed: "a directory" }),
        };
        let entries = self.entries(directory, &id)?.into_iter().map(|(name, found)| match found {
            Found::Tree(_) => TreeEntry::Directory(name),
            Found::File(_) => TreeEntry::File(name),
            Found::Other(what) => TreeEntry::Other(name, what),
        });
        Ok(entries.collect())
    }

    fn read(&self, file: &TreePath, limit: u64) -> Result<Vec<u8>, ReadError> {
        let broken = |why: String| ReadError::Broken { path: file.clone(), why };
        let id = match self.find(file)? {
            Found::File(id) => id,
            Found::Tree(_) => return Err(ReadError::Kind { path: file.clone(), found: "a directory", needed: "a file" }),
            Found::Other(what) => return Err(ReadError::Kind { path: file.clone(), found: what, needed: "a file" }),
        };
        let size = self.revision.store.size(&id).ok_or_else(|| broken(format!("the object {id} is missing")))?;
        if size > limit {
            return Err(ReadError::TooLarge { path: file.clone(), size, limit });
        }
        let (kind, data) = self.revision.store.read(&id).map_err(|error| broken(tk8s_core::chain(&error)))?;
        if kind != Kind::Blob {
            return Err(broken(format!("the object {id} is not a file")));
        }
        if data.starts_with(LFS) {
            let found = "a pointer of Git LFS, whose content is not in the repository";
            return Err(ReadError::Kind { path: file.clone(), found, needed: "a file" });
        }
        Ok(data)
    }

    fn identity(&self, path: &TreePath) -> Result<Option<String>, ReadError> {
        match self.find(path)? {
            Found::Tree(id) | Found::File(id) => Ok(Some(id)),
            Found::Other(what) => Err(ReadError::Kind { path: path.clone(), found: what, needed: "a file or directory" }),
        }
    }
}
