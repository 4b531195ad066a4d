//! Where the programs are, and which bytes they are.

use std::collections::HashMap;
use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use sha2::{Digest as _, Sha256};
use tk8s_core::Digest;

use crate::Error;

/// What a file was when its digest was taken: a replaced program has another.
type Stamp = (u64, u64, i64, i64, u64);

/// Finds the programs that render: where the configuration says, else beside the agent, else in `PATH`. A program that
/// isn't there fails only what needs it.
#[derive(Debug, Default)]
pub struct Programs {
    configured: HashMap<&'static str, PathBuf>,
    /// Where one that isn't configured is looked for, in this order.
    directories: Vec<PathBuf>,
    digests: Mutex<HashMap<PathBuf, (Stamp, Digest)>>,
}

/// A program that was found.
#[derive(Debug)]
pub(crate) struct Program {
    pub path: PathBuf,
    /// Of its bytes: two builds of one version are two programs.
    pub digest: Digest,
}

impl Programs {
    /// The programs that are configured by path; others are looked for in `directories`.
    pub fn new(kustomize: Option<PathBuf>, helm: Option<PathBuf>, directories: Vec<PathBuf>) -> Programs {
        let configured = [("kustomize", kustomize), ("helm", helm)];
        let configured = configured.into_iter().filter_map(|(name, path)| Some((name, path?))).collect();
        Programs { configured, directories, digests: Mutex::default() }
    }

    /// Beside the running executable, then the directories of `PATH`.
    pub fn usual_directories() -> Vec<PathBuf> {
        let beside = std::env::current_exe().ok().and_then(|path| Some(path.parent()?.to_owned()));
        let path = std::env::var_os("PATH").unwrap_or_default();
        beside.into_iter().chain(std::env::split_paths(&path).filter(|directory| directory.is_absolute())).collect()
    }

    /// The program of this name.
    pub(crate) fn find(&self, name: &'static str) -> Result<Program, Error> {
        let candidates: Vec<PathBuf> = match self.configured.get(name) {
            Some(path) => vec![path.clone()],
            None => self.directories.iter().map(|directory| directory.join(name)).collect(),
        };
        let found = candidates.iter().find_map(|path| {
            let path = path.canonicalize().ok()?;
            let metadata = path.metadata().ok()?;
            (metadata.is_file() && metadata.mode() & 0o111 != 0).then_some((path, metadata))
        });
        let Some((path, metadata)) = found else {
            let looked = candidates.iter().map(|path| format!("`{}`", path.display())).collect::<Vec<_>>().join(", ");
            return Err(Error::NoProgram { program: name, looked });
        };
        let stamp = (metadata.dev(), metadata.ino(), metadata.mtime(), metadata.mtime_nsec(), metadata.size());
        let mut digests = self.digests.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((known, digest)) = digests.get(&path)
            && *known == stamp
        {
            return Ok(Program { path, digest: *digest });
        }
        let digest = digest_of(&path).map_err(|source| Error::Start { program: name, source })?;
        digests.insert(path.clone(), (stamp, digest));
        Ok(Program { path, digest })
    }
}

fn digest_of(path: &Path) -> std::io::Result<Digest> {
    let mut file = std::fs::File::open(path)?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 256 * 1024];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(Digest::from_bytes(hasher.finalize().into())),
            count => hasher.update(&buffer[..count]),
        }
    }
}
