//! The hand-over types of the source: [`Fetched`], [`VerifiedRevision`] and [`VerifiedTree`].

use std::collections::BTreeMap;
use std::sync::Arc;

use gix::objs::Kind;
use tk8s_core::{Environment, ReadError, Revision, SourceTree, TreeEntry, TreePath, Trust};

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

/// What stands in the repository instead of a file that Git LFS keeps elsewhere.
const LFS: &[u8] = b"version https://git-lfs.github.com/spec/v1\n";

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
        entries::of(&data, hash).map_err(broken)
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
