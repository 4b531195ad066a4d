//! The hand-over types of the source: [`Fetched`], [`VerifiedRevision`] and [`VerifiedTree`].

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use gix::objs::Kind;
use tk8s_core::{Environment, ReadError, Revision, SourceTree, TreeEntry, TreePath, Trust, no_pointer};

use crate::Error;
use crate::entries::{self, Found};
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
    /// What people say about releases: tags below `approve/`, and what each ref points at.
    pub(crate) approvals: BTreeMap<String, String>,
    /// What other instances say about releases: what each ref points at.
    pub(crate) evidence: BTreeMap<String, String>,
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
    /// Directories that were read, by their ids: every path begins with the same ones.
    directories: Mutex<Kept>,
}

/// What a directory holds, sorted by name.
type Directory = Arc<Vec<(String, Found)>>;

/// Entries that are kept of all directories together, at some 100 bytes each: the largest directory and the way to it.
/// With more, reading begins anew.
const KEPT_ENTRIES: usize = 200_000;

#[derive(Default)]
struct Kept {
    directories: BTreeMap<String, Directory>,
    entries: usize,
}

/// The tree of a verified revision. Its root is read at once, so that a broken mirror shows here.
pub fn tree(revision: &Arc<VerifiedRevision>) -> Result<VerifiedTree, Error> {
    revision.store.read(revision.revision.tree.as_str())?;
    Ok(VerifiedTree { revision: Arc::clone(revision), directories: Mutex::default() })
}

impl VerifiedTree {
    /// The revision that the files belong to.
    pub fn revision(&self) -> &Arc<VerifiedRevision> {
        &self.revision
    }

    fn entries(&self, path: &TreePath, id: &str) -> Result<Directory, ReadError> {
        let kept = || self.directories.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(entries) = kept().directories.get(id) {
            return Ok(Arc::clone(entries));
        }
        let broken = |why: String| ReadError::Broken { path: path.clone(), why };
        let (kind, data) = self.revision.store.read(id).map_err(|error| broken(tk8s_core::chain(&error)))?;
        if kind != Kind::Tree {
            return Err(broken(format!("the object {id} is not a tree")));
        }
        let hash = gix::ObjectId::from_hex(id.as_bytes()).map_err(|_| broken("its id can't be read".into()))?.kind();
        let entries = Arc::new(entries::of(&data, hash).map_err(broken)?);
        let mut kept = kept();
        if kept.entries + entries.len() > KEPT_ENTRIES {
            *kept = Kept::default();
        }
        kept.entries += entries.len();
        kept.directories.insert(id.to_owned(), Arc::clone(&entries));
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
            let at = entries.binary_search_by(|(name, _)| name.as_str().cmp(part));
            found = at.map(|at| entries[at].1.clone()).map_err(|_| ReadError::NotFound(path.clone()))?;
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
        let entries = self.entries(directory, &id)?;
        let entry = |(name, found): &(String, Found)| match found {
            Found::Tree(_) => TreeEntry::Directory(name.clone()),
            Found::File(_) => TreeEntry::File(name.clone()),
            Found::Other(what) => TreeEntry::Other(name.clone(), what),
        };
        Ok(entries.iter().map(entry).collect())
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
        no_pointer(file, data)
    }

    fn identity(&self, path: &TreePath) -> Result<Option<String>, ReadError> {
        match self.find(path)? {
            Found::Tree(id) | Found::File(id) => Ok(Some(id)),
            Found::Other(what) => Err(ReadError::Kind { path: path.clone(), found: what, needed: "a file or directory" }),
        }
    }
}
