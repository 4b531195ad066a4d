//! Objects on disk, as bytes. Every object is hashed again when it is read: what Git's storage says about an object is
//! believed only after that.

use std::path::Path;
use std::sync::Arc;

use gix::ObjectId;
use gix::objs::Kind;

use crate::Error;

/// The largest object that is read: no manifest, commit or tag of good will comes near.
const LARGEST: u64 = 64 * 1024 * 1024;

/// A repository, read only. Cheap to clone, usable from any thread.
#[derive(Clone)]
pub(crate) struct Store(Arc<gix::ThreadSafeRepository>);

impl Store {
    /// Opens a repository, bare or not, without its own or anybody's configuration having a say in programs or paths.
    pub(crate) fn open(path: &Path) -> Result<Store, Error> {
        let repository = gix::open::Options::isolated()
            .open_path_as_is(!path.join(".git").exists())
            .open(path)
            .map_err(|error| Error::Mirror { path: path.into(), why: tk8s_core::printable(&error.to_string(), 300) })?;
        Ok(Store(Arc::new(repository)))
    }

    /// A handle for the calls of this thread.
    pub(crate) fn local(&self) -> gix::Repository {
        self.0.to_thread_local()
    }

    /// Kind and bytes of an object whose hash was checked.
    pub(crate) fn read(&self, id: &str) -> Result<(Kind, Vec<u8>), Error> {
        let broken = |why: &str| Error::Object { id: id.into(), why: why.into() };
        let oid = ObjectId::from_hex(id.as_bytes()).map_err(|_| broken("it is not an object id"))?;
        let repository = self.local();
        let header = repository.try_find_header(oid).map_err(|error| broken(&tk8s_core::printable(&error.to_string(), 300)))?;
        let header = header.ok_or_else(|| broken("it is missing"))?;
        if header.size() > LARGEST {
            return Err(broken(&format!("it has {} bytes, at most {LARGEST} are read", header.size())));
        }
        let object = repository.find_object(oid).map_err(|error| broken(&tk8s_core::printable(&error.to_string(), 300)))?;
        let actual =
            gix::objs::compute_hash(oid.kind(), object.kind, &object.data).map_err(|_| broken("its hash can't be computed"))?;
        if actual != oid {
            return Err(broken("its bytes are not what its id says"));
        }
        Ok((object.kind, object.detach().data))
    }

    /// Whether `ancestor` is `commit` or can be reached from it.
    pub(crate) fn is_ancestor(&self, ancestor: &str, commit: &str) -> Result<bool, Error> {
        if ancestor == commit {
            return Ok(true);
        }
        let broken = |why: String| Error::Object { id: commit.into(), why: tk8s_core::printable(&why, 300) };
        let (a, b) = (ObjectId::from_hex(ancestor.as_bytes()), ObjectId::from_hex(commit.as_bytes()));
        let (Ok(a), Ok(b)) = (a, b) else { return Err(broken("it is not an object id".into())) };
        let repository = self.local();
        if !repository.has_object(a) {
            // What isn't in the mirror can't be reached from anything that is.
            return Ok(false);
        }
        match repository.merge_bases_many(a, &[b]) {
            Ok(bases) => Ok(bases.iter().any(|base| base.detach() == a)),
            Err(error) => Err(broken(error.to_string())),
        }
    }
}
