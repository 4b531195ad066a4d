//! A directory on disk as a tree, for previews. Links are never followed, not even those that appear while it is read:
//! each part of a path is opened from the one above it. Nothing that could block (a fifo, a device) is read.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use rustix::fd::OwnedFd;
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags};
use rustix::io::Errno;
use tk8s_core::{ReadError, SourceTree, TreeEntry, TreePath, no_pointer, printable};
use tk8s_gitsync::is_plain_name;

/// Entries of one directory, as many as in a repository.
const MOST_ENTRIES: usize = 100_000;

/// A directory on disk. Nothing in it is verified, and it may change while it is read.
#[derive(Debug)]
pub struct WorkingDirectory(PathBuf);

impl WorkingDirectory {
    /// The tree below this directory.
    pub fn new(directory: &Path) -> WorkingDirectory {
        WorkingDirectory(directory.into())
    }

    /// Opens what stands at a path, if it is what is needed: a directory or a regular file.
    fn open(&self, path: &TreePath, needed: FileType) -> Result<OwnedFd, ReadError> {
        let failed = |error: Errno| match error {
            Errno::NOENT => ReadError::NotFound(path.clone()),
            _ => ReadError::Broken { path: path.clone(), why: error.to_string() },
        };
        // Whoever names the directory itself may name a link.
        let mut place = rustix::fs::open(&self.0, OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).map_err(failed)?;
        let mut parts = path.parts().peekable();
        if parts.peek().is_none() && needed != FileType::Directory {
            return Err(ReadError::Kind { path: path.clone(), found: "a directory", needed: called(needed) });
        }
        while let Some(part) = parts.next() {
            let wanted = if parts.peek().is_some() { FileType::Directory } else { needed };
            let look = |found| match kind(found) {
                found if found == wanted => Ok(()),
                found => Err(ReadError::Kind { path: path.clone(), found: called(found), needed: called(wanted) }),
            };
            look(rustix::fs::statat(&place, part, AtFlags::SYMLINK_NOFOLLOW).map_err(failed)?)?;
            let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
            place = rustix::fs::openat(&place, part, flags, Mode::empty()).map_err(failed)?;
            // It may have been changed for something else in between.
            look(rustix::fs::fstat(&place).map_err(failed)?)?;
        }
        Ok(place)
    }
}

fn kind(found: rustix::fs::Stat) -> FileType {
    FileType::from_raw_mode(found.st_mode)
}

fn called(kind: FileType) -> &'static str {
    match kind {
        FileType::Directory => "a directory",
        FileType::RegularFile => "a file",
        FileType::Symlink => "a symbolic link",
        _ => "a special file",
    }
}

impl SourceTree for WorkingDirectory {
    fn list(&self, directory: &TreePath) -> Result<Vec<TreeEntry>, ReadError> {
        let place = self.open(directory, FileType::Directory)?;
        let broken = |why: String| ReadError::Broken { path: directory.clone(), why };
        let failed = |error: Errno| broken(error.to_string());
        let mut entries = Vec::new();
        for entry in Dir::read_from(&place).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let name = entry.file_name().to_string_lossy();
            if matches!(&*name, "." | "..") || name.eq_ignore_ascii_case(".git") {
                continue;
            }
            if entry.file_name().to_str().is_err() || !is_plain_name(&name) {
                let name = printable(&name.escape_debug().to_string(), 80);
                return Err(broken(format!(
                    "it holds an entry named `{name}`, which is never read from a repository: rename it"
                )));
            }
            if entries.len() == MOST_ENTRIES {
                return Err(broken(format!("it holds more than {MOST_ENTRIES} entries")));
            }
            let found = match entry.file_type() {
                FileType::Unknown => {
                    kind(rustix::fs::statat(&place, entry.file_name(), AtFlags::SYMLINK_NOFOLLOW).map_err(failed)?)
                }
                known => known,
            };
            let name = name.into_owned();
            entries.push(match found {
                FileType::Directory => TreeEntry::Directory(name),
                FileType::RegularFile => TreeEntry::File(name),
                other => TreeEntry::Other(name, called(other)),
            });
        }
        entries.sort_by(|a, b| a.name().cmp(b.name()));
        Ok(entries)
    }

    fn read(&self, file: &TreePath, limit: u64) -> Result<Vec<u8>, ReadError> {
        let opened = File::from(self.open(file, FileType::RegularFile)?);
        let broken = |error: std::io::Error| ReadError::Broken { path: file.clone(), why: error.to_string() };
        let too_large = |size| ReadError::TooLarge { path: file.clone(), size, limit };
        let size = opened.metadata().map_err(broken)?.len();
        if size > limit {
            return Err(too_large(size));
        }
        let mut bytes = Vec::with_capacity(size as usize);
        // It may grow while it is read.
        opened.take(limit + 1).read_to_end(&mut bytes).map_err(broken)?;
        if bytes.len() as u64 > limit {
            return Err(too_large(bytes.len() as u64));
        }
        no_pointer(file, bytes)
    }

    fn identity(&self, _: &TreePath) -> Result<Option<String>, ReadError> {
        Ok(None)
    }
}
