//! The bare repository that fetches go into: made, measured, marked as broken, thrown away.
//!
//! It holds nothing that can't be fetched again, so whatever is wrong with it has one answer: a new one.

use std::path::{Path, PathBuf};

use crate::Error;
use crate::source::{Depth, Limits, Source};

/// Written into a mirror by whoever finds an object missing or wrong: the next fetch begins with a new one.
const BROKEN: &str = "tk8s-broken";

/// Every fetch adds a pack, and nothing merges them: after so many a fresh mirror is cheaper than a slow one.
const MOST_PACKS: usize = 200;

/// Makes sure that the directory can take the next fetch: throws away what is broken, too large, of too many pieces, or
/// lacks history that is needed.
pub(crate) fn prepare(source: &Source) -> Result<(), Error> {
    let Some(why) = unfit(&source.mirror, &source.limits, source.depth) else { return Ok(()) };
    tracing::info!(why, "the mirror is fetched again from nothing");
    discard(&source.mirror)
}

fn unfit(mirror: &Path, limits: &Limits, depth: Depth) -> Option<&'static str> {
    if mirror.join(BROKEN).exists() {
        return Some("an object in it could not be read");
    }
    if depth == Depth::Full && is_shallow(mirror) {
        return Some("it lacks history that is needed");
    }
    let (bytes, files) = measure(&mirror.join("objects"));
    if bytes > limits.mirror_bytes {
        return Some("it is larger than `repository.limits.mirrorBytes`");
    }
    // A pack and its index.
    (files > 2 * MOST_PACKS).then_some("it is in too many pieces")
}

/// Whether history ends somewhere in it.
pub(crate) fn is_shallow(mirror: &Path) -> bool {
    std::fs::metadata(mirror.join("shallow")).is_ok_and(|file| file.len() > 0)
}

/// Bytes and number of the files below a directory; links are not followed.
fn measure(directory: &Path) -> (u64, usize) {
    let (mut bytes, mut files) = (0, 0);
    for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
        match entry.metadata() {
            Ok(found) if found.is_dir() => {
                let (more, inside) = measure(&entry.path());
                bytes += more;
                files += inside;
            }
            Ok(found) => {
                bytes += found.len();
                files += 1;
            }
            Err(_) => {}
        }
    }
    (bytes, files)
}

/// Leaves word for the next fetch. If even that fails the disk has worse problems, which the fetch will meet itself.
pub(crate) fn mark_broken(mirror: &Path) {
    let _ = std::fs::write(mirror.join(BROKEN), b"");
}

/// Opens the mirror, or makes it, with the object format of the remote.
pub(crate) fn open_or_create(mirror: &Path, format: gix::hash::Kind) -> Result<gix::Repository, Error> {
    let fail = |why: String| Error::Mirror { path: mirror.into(), why: tk8s_core::printable(&why, 300) };
    // Each thread that resolves deltas holds a few objects as a whole: with one, what that takes is known.
    let options = || gix::open::Options::isolated().open_path_as_is(true).config_overrides(["pack.threads=1"]);
    if mirror.exists() {
        let repository = options().open(mirror).map_err(|error| fail(error.to_string()))?.to_thread_local();
        if repository.object_hash() != format {
            return Err(fail(format!("it holds {} objects, and the remote {format}", repository.object_hash())));
        }
        return Ok(repository);
    }
    std::fs::create_dir_all(mirror).map_err(|error| fail(error.to_string()))?;
    let create = gix::create::Options { object_hash: Some(format), ..gix::create::Options::default() };
    gix::ThreadSafeRepository::init_opts(mirror, gix::create::Kind::Bare, create, options())
        .map(Into::into)
        .map_err(|error| fail(error.to_string()))
}

/// Throws a mirror away. Renamed first, so that an interrupted deletion leaves nothing that looks like a mirror.
pub(crate) fn discard(mirror: &Path) -> Result<(), Error> {
    let fail = |error: std::io::Error| Error::Mirror { path: mirror.into(), why: error.to_string() };
    let aside: PathBuf = mirror.with_extension("broken");
    if aside.exists() {
        std::fs::remove_dir_all(&aside).map_err(fail)?;
    }
    match std::fs::rename(mirror, &aside) {
        Ok(()) => std::fs::remove_dir_all(&aside).map_err(fail),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(fail(error)),
    }
}
