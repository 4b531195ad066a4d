//! File operations that last: every change of the truth goes through here, so that its order is in one place and tests can
//! stop it between any two steps.
//!
//! Says "no space" and "the flush failed" apart from every other failure, because they are answered differently. Decides
//! nothing.

use std::collections::BTreeSet;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, BufWriter, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use crate::Error;

fn failed(act: &'static str, path: &Path, source: io::Error) -> Error {
    let full = matches!(source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded);
    match (act, full) {
        // A flush that failed leaves open what is on disk, even when the reason was a full disk.
        ("flush", _) => Error::Sync { path: path.into(), source },
        (_, true) => Error::DiskFull { path: path.into() },
        _ => Error::Disk { act, path: path.into(), source },
    }
}

fn step<T>(act: &'static str, path: &Path, run: impl FnOnce() -> io::Result<T>) -> Result<T, Error> {
    hook::step(act, path).and_then(|()| run()).map_err(|source| failed(act, path, source))
}

/// The whole file, or `None` where there is none.
pub(crate) fn read(path: &Path) -> Result<Option<Vec<u8>>, Error> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(None),
        Err(source) => Err(failed("read", path, source)),
    }
}

/// The file up to this length, or `None` where there is none.
pub(crate) fn read_at_most(path: &Path, length: u64) -> Result<Option<Vec<u8>>, Error> {
    let mut bytes = Vec::new();
    match File::open(path).and_then(|file| file.take(length).read_to_end(&mut bytes)) {
        Ok(_) => Ok(Some(bytes)),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(None),
        Err(source) => Err(failed("read", path, source)),
    }
}

/// Opens a file that is there, to flush it.
pub(crate) fn open(path: &Path) -> Result<File, Error> {
    File::open(path).map_err(|source| failed("open", path, source))
}

/// The names in a directory, sorted; none where there is no directory.
pub(crate) fn list(dir: &Path) -> Result<Vec<String>, Error> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => return Ok(Vec::new()),
        Err(source) => return Err(failed("list", dir, source)),
    };
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry.map_err(|source| failed("list", dir, source))?;
        // Names that are not UTF-8 are not ours.
        names.extend(entry.file_name().into_string().ok());
    }
    names.sort();
    Ok(names)
}

/// Writes a file that nothing refers to yet; the caller flushes it.
pub(crate) fn write(path: &Path, bytes: &[u8]) -> Result<File, Error> {
    write_pieces(path, [bytes])
}

/// The same of bytes that lie in several places.
pub(crate) fn write_pieces<'a>(path: &Path, pieces: impl IntoIterator<Item = &'a [u8]>) -> Result<File, Error> {
    step("write", path, || {
        let mut file = BufWriter::new(OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?);
        pieces.into_iter().try_for_each(|piece| file.write_all(piece))?;
        Ok(file.into_inner()?)
    })
}

/// Writes over a part of a file that is that long already; the caller flushes it.
pub(crate) fn overwrite(file: &File, path: &Path, at: u64, bytes: &[u8]) -> Result<(), Error> {
    step("write", path, || file.write_all_at(bytes, at))
}

/// Flushes what was overwritten in a file that has not changed its length: its bytes and nothing else.
pub(crate) fn flush_data(file: &File, path: &Path) -> Result<(), Error> {
    step("flush", path, || file.sync_data())
}

/// Flushes a file's bytes to disk.
pub(crate) fn flush(file: &File, path: &Path) -> Result<(), Error> {
    step("flush", path, || file.sync_all())
}

/// Flushes a directory's entries to disk.
pub(crate) fn flush_dir(dir: &Path) -> Result<(), Error> {
    step("flush", dir, || File::open(dir)?.sync_all())
}

/// Replaces `to` by `from`, atomically.
pub(crate) fn rename(from: &Path, to: &Path) -> Result<(), Error> {
    step("rename", from, || fs::rename(from, to))
}

/// Removes a file that nothing refers to any more. One that is already gone is fine.
pub(crate) fn remove(path: &Path) -> Result<(), Error> {
    step("remove", path, || match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    })
}

/// Makes a directory and its parents, and adds to `changed` the directories whose entries have to be flushed for it.
pub(crate) fn create_dir(dir: &Path, changed: &mut BTreeSet<PathBuf>) -> Result<(), Error> {
    if dir.is_dir() {
        return Ok(());
    }
    if let Some(parent) = dir.parent() {
        create_dir(parent, changed)?;
        changed.insert(parent.into());
    }
    step("create", dir, || match DirBuilder::new().mode(0o700).create(dir) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        result => result,
    })
}

/// Writes a file under a temporary name beside its place, flushes it, puts it in place and flushes that.
pub(crate) fn replace(path: &Path, temporary: &Path, bytes: &[u8]) -> Result<(), Error> {
    let file = write(temporary, bytes)?;
    flush(&file, temporary)?;
    rename(temporary, path)?;
    match path.parent() {
        Some(dir) => flush_dir(dir),
        None => Ok(()),
    }
}

#[cfg(not(test))]
mod hook {
    pub(super) fn step(_act: &'static str, _path: &std::path::Path) -> std::io::Result<()> {
        Ok(())
    }
}

/// Tests see, refuse or photograph each step before it is made.
#[cfg(test)]
pub(crate) mod hook {
    use std::cell::RefCell;
    use std::io;
    use std::path::Path;

    type Hook = Box<dyn FnMut(&'static str, &Path) -> io::Result<()>>;
    thread_local! {
        static HOOK: RefCell<Option<Hook>> = const { RefCell::new(None) };
    }

    /// Runs `hook` before each step of this thread until the returned guard is dropped.
    pub(crate) fn set(hook: impl FnMut(&'static str, &Path) -> io::Result<()> + 'static) -> Guard {
        HOOK.with(|slot| *slot.borrow_mut() = Some(Box::new(hook)));
        Guard
    }

    pub(crate) struct Guard;
    impl Drop for Guard {
        fn drop(&mut self) {
            HOOK.with(|slot| *slot.borrow_mut() = None);
        }
    }

    pub(super) fn step(act: &'static str, path: &Path) -> io::Result<()> {
        HOOK.with(|slot| match slot.borrow_mut().as_mut() {
            Some(hook) => hook(act, path),
            None => Ok(()),
        })
    }
}
