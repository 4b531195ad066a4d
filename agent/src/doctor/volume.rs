//! The volume: whether what is written there stays, how much room there is, and whether the history on it is whole and ours.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use tk8s_core::{Secret, chain};
use tk8s_history::{Archive, ArchiveOptions, Error};

use super::{Check, Installed, Outcome, read};

const VOLUME: &str = "volume";
const SPACE: &str = "free-space";
const LEDGER: &str = "ledger";

/// Below this nothing new can be staged before long.
const TOO_LITTLE: u64 = 64 * MIB;
/// Below this somebody should know: a mirror and some releases more.
const LITTLE: u64 = 512 * MIB;
/// How many files have to fit.
const FEW_FILES: u64 = 1000;
/// What a flush may take: a release is a handful of them.
const SLOW: Duration = Duration::from_millis(500);
const MIB: u64 = 1024 * 1024;

pub(super) fn examine(installed: &Installed<'_>) -> (Vec<Check>, Option<Archive>) {
    if let Some(why) = installed.elsewhere() {
        return ([VOLUME, SPACE, LEDGER].map(|check| Check::skipped(check, why.clone())).into(), None);
    }
    let place = nearest(&installed.config.history.dir);
    let (ledger, archive) = ledger(installed);
    (vec![volume(&place), space(&place), ledger], archive)
}

/// The directory itself, or the one that it will be made in.
fn nearest(directory: &Path) -> PathBuf {
    directory.ancestors().find(|above| above.is_dir()).unwrap_or(Path::new("/")).to_owned()
}

/// Writes a file, flushes it and its directory, reads it and takes it away again.
fn volume(place: &Path) -> Check {
    let (path, began) = (place.join(format!(".doctor-{:016x}", rand::random::<u64>())), Instant::now());
    let tried = (|| {
        let mut file = std::fs::OpenOptions::new().write(true).create_new(true).open(&path)?;
        file.write_all(b"written to see whether it stays\n")?;
        file.sync_all()?;
        std::fs::File::open(place)?.sync_all()
    })();
    let took = began.elapsed();
    let removed = std::fs::remove_file(&path);
    let place = place.display();
    match tried.and(removed) {
        Ok(()) if took > SLOW => Check::warning(
            VOLUME,
            format!("`{place}` can be written to, but a flush took {} ms: each release waits for several", took.as_millis()),
            "give the agent a volume of block storage, local or attached; network file systems are slow to flush",
        ),
        Ok(()) => Check::ok(VOLUME, format!("`{place}` can be written to, and flushes in {} ms", took.as_millis())),
        Err(error) => Check::failed(VOLUME, format!("`{place}` can't be written to: {error}"), how_to_write(&error)),
    }
}

fn how_to_write(error: &std::io::Error) -> &'static str {
    match error.kind() {
        std::io::ErrorKind::PermissionDenied => {
            "give it to the agent's group: `fsGroup: 65532` in the Pod's securityContext, with a CSI driver that heeds it"
        }
        std::io::ErrorKind::ReadOnlyFilesystem => {
            "mount the volume for writing at the directory above `history.dir`; if it was, the node's kernel put it on read-only: look at its log"
        }
        std::io::ErrorKind::StorageFull => "enlarge the PersistentVolumeClaim, or free space on it",
        _ => "look at the volume: `kubectl describe pvc`, and the node's kernel log",
    }
}

fn space(place: &Path) -> Check {
    match rustix::fs::statvfs(place) {
        Ok(found) => {
            // File systems that make inodes as they need them say 0.
            let files = (found.f_files > 0).then_some(found.f_favail);
            judge_space(&place.display().to_string(), found.f_bavail * found.f_frsize, found.f_blocks * found.f_frsize, files)
        }
        Err(error) => {
            Check::warning(SPACE, format!("how full `{}` is can't be told: {error}", place.display()), "look at it: `df`")
        }
    }
}

fn judge_space(place: &str, free: u64, all: u64, files: Option<u64>) -> Check {
    let next = "enlarge the PersistentVolumeClaim, or keep fewer releases (`history.releases`)";
    let found = format!("{} MiB of {} MiB are free at `{place}`", free / MIB, all / MIB);
    match files {
        Some(files) if files < FEW_FILES => Check::failed(SPACE, format!("{found}, but only {files} files more fit"), next),
        _ if free < TOO_LITTLE => Check::failed(SPACE, found, next),
        _ if free < LITTLE => Check::warning(SPACE, found, next),
        _ => Check::ok(SPACE, found),
    }
}

/// Proves the ledger, and that it is this instance's.
fn ledger(installed: &Installed<'_>) -> (Check, Option<Archive>) {
    let (config, history) = (installed.config, &installed.config.history);
    if !history.dir.join("ledger").is_dir() {
        let found = format!("`{}` holds no history: the first start makes one", history.dir.display());
        return (Check::ok(LEDGER, found), None);
    }
    let key = |path: &Path| read(path).map(Secret::new).ok();
    let (Some(identity), Some(encryption_key)) = (key(&history.identity_key_file), key(&history.encryption_key_file)) else {
        return (Check::skipped(LEDGER, "its keys can't be read"), None);
    };
    let origin = crate::run::origin(config);
    let options = ArchiveOptions { dir: history.dir.clone(), encryption_key, identity: Some((origin, identity)) };
    match Archive::open(&options) {
        Ok(archive) if *archive.instance() != config.instance => {
            let found = format!("`{}` is the history of the instance {}", history.dir.display(), archive.instance());
            (Check::failed(LEDGER, found, "mount the volume of this instance, or name that one in `instance`"), None)
        }
        Ok(archive) => {
            let events = archive.size_and_root().size;
            let found =
                format!("all {events} events are proven by this identity's key, of {} components", archive.components().len());
            (Check::ok(LEDGER, found), Some(archive))
        }
        Err(error) => (Check::of(LEDGER, Outcome::Failed, chain(&error), Some(next(&error).into())), None),
    }
}

fn next(error: &Error) -> &'static str {
    match error {
        Error::Key { .. } | Error::Foreign { .. } => {
            "put the keys back that this history was made with (the Secret's copy), or give this instance a volume of its own"
        }
        Error::Newer { .. } => "run the newer version of the agent that wrote it",
        _ => "bring the history back from a backup; `tk8s-agent history verify --dir DIR` proves a copy (docs/history.md)",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_is_judged_by_bytes_and_by_files() {
        let outcome = |free: u64, files: Option<u64>| judge_space("/v", free * MIB, 5120 * MIB, files).outcome;
        assert_eq!(outcome(4000, Some(100_000)), Outcome::Ok);
        assert_eq!(outcome(4000, None), Outcome::Ok);
        assert_eq!(outcome(511, None), Outcome::Warning);
        assert_eq!(outcome(63, None), Outcome::Failed);
        let few = judge_space("/v", 4000 * MIB, 5120 * MIB, Some(999));
        assert_eq!((few.outcome, few.found.contains("only 999 files more")), (Outcome::Failed, true));
    }

    #[test]
    fn what_was_written_to_try_the_volume_is_gone() {
        let directory = tempfile::tempdir().unwrap();
        assert_ne!(volume(directory.path()).outcome, Outcome::Failed);
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
        assert_eq!(nearest(&directory.path().join("not/yet")), directory.path());
    }
}
