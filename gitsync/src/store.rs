//! Objects on disk, as bytes. Every object is hashed again when it is read: what Git's storage says about an object is
//! believed only after that.

use std::collections::{BinaryHeap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use gix::ObjectId;
use gix::objs::Kind;

use crate::Error;

/// The largest object that is read: no manifest, commit or tag of good will comes near.
const LARGEST: u64 = 64 * 1024 * 1024;

/// A repository, read only. Cheap to clone, usable from any thread.
#[derive(Clone)]
pub(crate) struct Store(Arc<Inner>);

struct Inner {
    repository: gix::ThreadSafeRepository,
    /// Where to leave word that an object is missing or wrong; nothing is written to a repository that isn't ours.
    mirror: Option<PathBuf>,
    /// The longest walk through history.
    commits: usize,
}

impl Store {
    /// Opens a repository, bare or not, without its own or anybody's configuration having a say in programs or paths.
    pub(crate) fn open(path: &Path, commits: usize) -> Result<Store, Error> {
        Self::open_any(path, None, commits)
    }

    /// The same for a mirror of ours.
    pub(crate) fn of_mirror(path: &Path, commits: usize) -> Result<Store, Error> {
        Self::open_any(path, Some(path.into()), commits)
    }

    fn open_any(path: &Path, mirror: Option<PathBuf>, commits: usize) -> Result<Store, Error> {
        let repository = gix::open::Options::isolated()
            .open_path_as_is(!path.join(".git").exists())
            // Belt to the braces of reading headers first: no length in a file makes us allocate more.
            .config_overrides([format!("gitoxide.objects.allocLimit={}", 2 * LARGEST)])
            .open(path)
            .map_err(|error| Error::Mirror { path: path.into(), why: tk8s_core::printable(&error.to_string(), 300) })?;
        // Objects of other directories, named by a file that came with this one, are not this repository's.
        for name in ["alternates", "http-alternates"] {
            let file = repository.objects_dir().join("info").join(name);
            if std::fs::symlink_metadata(&file).is_ok() {
                return Err(Error::Alternates { path: file });
            }
        }
        Ok(Store(Arc::new(Inner { repository, mirror, commits })))
    }

    /// A handle for the calls of this thread.
    pub(crate) fn local(&self) -> gix::Repository {
        self.0.repository.to_thread_local()
    }

    /// Kind and bytes of an object whose hash was checked.
    pub(crate) fn read(&self, id: &str) -> Result<(Kind, Vec<u8>), Error> {
        let oid = ObjectId::from_hex(id.as_bytes())
            .map_err(|_| Error::Object { id: id.into(), why: "it is not an object id".into() })?;
        self.read_with(&self.local(), oid).map_err(|Unreadable { why, damaged }| {
            if let (true, Some(mirror)) = (damaged, &self.0.mirror) {
                crate::mirror::mark_broken(mirror);
            }
            Error::Object { id: id.into(), why }
        })
    }

    fn read_with(&self, repository: &gix::Repository, oid: ObjectId) -> Result<(Kind, Vec<u8>), Unreadable> {
        let damaged = |why: String| Unreadable { why, damaged: true };
        let said = |error: &dyn std::fmt::Display| damaged(tk8s_core::printable(&error.to_string(), 300));
        let header = repository.try_find_header(oid).map_err(|error| said(&error))?;
        let size = header.ok_or_else(|| damaged("it is missing".into()))?.size();
        if size > LARGEST {
            return Err(Unreadable { why: format!("it has {size} bytes, at most {LARGEST} are read"), damaged: false });
        }
        let object = repository.find_object(oid).map_err(|error| said(&error))?;
        // Also where a bytes' hash is right but they are made to collide with others: the hasher sees that.
        let actual = gix::objs::compute_hash(oid.kind(), object.kind, &object.data)
            .map_err(|_| damaged("its bytes are made for an attack on SHA-1".into()))?;
        if actual != oid {
            return Err(damaged("its bytes are not what its id says".into()));
        }
        let (kind, mut data) = (object.kind, object.detach().data);
        // What it was made of may be far larger, and stood in the same place.
        data.shrink_to_fit();
        Ok((kind, data))
    }

    /// The size of an object as the storage states it, without its bytes.
    pub(crate) fn size(&self, id: &str) -> Option<u64> {
        let size =
            ObjectId::from_hex(id.as_bytes()).ok().and_then(|oid| self.local().find_header(oid).ok()).map(|header| header.size());
        if let (None, Some(mirror)) = (size, &self.0.mirror) {
            crate::mirror::mark_broken(mirror);
        }
        size
    }

    /// Whether there is such an object, unread.
    pub(crate) fn has(&self, id: &str) -> bool {
        ObjectId::from_hex(id.as_bytes()).is_ok_and(|oid| self.local().has_object(oid))
    }

    /// The commits whose parents the repository does not have. `commit`: whose history is asked for.
    pub(crate) fn shallow(&self, commit: &str) -> Result<HashSet<String>, Error> {
        match self.local().shallow_commits() {
            Ok(commits) => Ok(commits.map(|commits| commits.iter().map(ToString::to_string).collect()).unwrap_or_default()),
            Err(error) => Err(Error::Object { id: commit.into(), why: tk8s_core::printable(&error.to_string(), 300) }),
        }
    }

    /// The most commits that are read to find one.
    pub(crate) fn most_commits(&self) -> usize {
        self.0.commits
    }

    /// Whether `ancestor` is `commit` or can be reached from it.
    ///
    /// Each commit on the way is read and hashed like everything else that decides something: neither a commit-graph
    /// file nor a replacement ref nor a swapped object can bend history. Newest first, so that the usual answer is near.
    pub(crate) fn is_ancestor(&self, ancestor: &str, commit: &str) -> Result<bool, Error> {
        if ancestor == commit {
            return Ok(true);
        }
        // What isn't in the mirror can't be reached from anything that is.
        if !self.has(ancestor) {
            return Ok(false);
        }
        let shallow = self.shallow(commit)?;
        let mut waiting = BinaryHeap::from([(u64::MAX, commit.to_owned())]);
        let mut seen = HashSet::from([commit.to_owned()]);
        while let Some((_, id)) = waiting.pop() {
            if shallow.contains(&id) {
                continue;
            }
            let (kind, raw) = self.read(&id)?;
            if kind != Kind::Commit {
                return Err(Error::Object { id, why: "it is not a commit".into() });
            }
            let (time, parents) = time_and_parents(&raw);
            for parent in parents {
                if parent == ancestor {
                    return Ok(true);
                }
                if seen.insert(parent.clone()) {
                    waiting.push((time, parent));
                }
            }
            if seen.len() > self.0.commits {
                return Err(Error::LongHistory { commit: commit.into(), limit: self.0.commits });
            }
        }
        Ok(false)
    }
}

/// Why an object can't be read, and whether that is the storage's fault.
struct Unreadable {
    why: String,
    damaged: bool,
}

/// When the child of these parents was committed, as it says, and the parents. The time only decides where to look first.
pub(crate) fn time_and_parents(raw: &[u8]) -> (u64, Vec<String>) {
    let (mut time, mut parents, mut in_parents) = (0, Vec::new(), true);
    for line in raw.split(|&byte| byte == b'\n').take_while(|line| !line.is_empty()) {
        let text = String::from_utf8_lossy(line);
        if let Some(parent) = text.strip_prefix("parent ").filter(|_| in_parents) {
            parents.push(parent.to_owned());
        } else if text.starts_with("author ") {
            // Git reads no parents after it.
            in_parents = false;
        } else if let Some(committer) = text.strip_prefix("committer ") {
            time = committer.rsplit(' ').nth(1).and_then(|seconds| seconds.parse().ok()).unwrap_or(0);
        }
    }
    (time, parents)
}
