//! A directory on disk as a tree, for previews. Links are never followed, so nothing outside is read.

use std::path::{Path, PathBuf};

use tk8s_core::{ReadError, SourceTree, TreeEntry, TreePath};

/// A directory on disk. Nothing in it is verified, and it may change while it is read.
#[derive(Debug)]
pub struct WorkingDirectory(PathBuf);

impl WorkingDirectory {
    /// The tree below this directory.
    pub fn new(directory: &Path) -> WorkingDirectory {
        WorkingDirectory(directory.into())
    }

    /// The path on disk, reached through directories only.
    fn locate(&self, path: &TreePath) -> Result<(PathBuf, std::fs::Metadata), ReadError> {
        let broken = |error: &std::io::Error| match error.kind() {
            std::io::ErrorKind::NotFound => ReadError::NotFound(path.clone()),
            _ => ReadError::Broken { path: path.clone(), why: error.to_string() },
        };
        let mut place = self.0.clone();
        let mut found = std::fs::metadata(&place).map_err(|error| broken(&error))?;
        for part in path.parts() {
            if !found.is_dir() {
                return Err(ReadError::Kind { path: path.clone(), found: kind(&found), needed: "a path through directories" });
            }
            place.push(part);
            found = std::fs::symlink_metadata(&place).map_err(|error| broken(&error))?;
        }
        Ok((place, found))
    }
}

fn kind(metadata: &std::fs::Metadata) -> &'static str {
    match metadata.file_type() {
        kind if kind.is_dir() => "a directory",
        kind if kind.is_file() => "a file",
        kind if kind.is_symlink() => "a symbolic link",
        _ => "a special file",
    }
}

impl SourceTree for WorkingDirectory {
    fn list(&self, directory: &TreePath) -> Result<Vec<TreeEntry>, ReadError> {
        let (place, found) = self.locate(directory)?;
        if !found.is_dir() {
            return Err(ReadError::Kind { path: directory.clone(), found: kind(&found), needed: "a directory" });
        }
        let broken = |error: std::io::Error| ReadError::Broken { path: directory.clone(), why: error.to_string() };
        let mut entries = Vec::new();
        for entry in std::fs::read_dir(place).map_err(broken)? {
            let entry = entry.map_err(broken)?;
            let Ok(name) = entry.file_name().into_string() else {
                return Err(ReadError::Broken { path: directory.clone(), why: "a name in it is not UTF-8".into() });
            };
            let metadata = entry.metadata().map_err(broken)?;
            if name.eq_ignore_ascii_case(".git") {
                continue;
            }
            entries.push(match kind(&metadata) {
                "a directory" => TreeEntry::Directory(name),
                "a file" => TreeEntry::File(name),
                other => TreeEntry::Other(name, other),
            });
        }
        entries.sort_by(|a, b| a.name().cmp(b.name()));
        Ok(entries)
    }

    fn read(&self, file: &TreePath, limit: u64) -> Result<Vec<u8>, ReadError> {
        let (place, found) = self.locate(file)?;
        if !found.is_file() {
            return Err(ReadError::Kind { path: file.clone(), found: kind(&found), needed: "a file" });
        }
        if found.len() > limit {
            return Err(ReadError::TooLarge { path: file.clone(), size: found.len(), limit });
        }
        std::fs::read(place).map_err(|error| ReadError::Broken { path: file.clone(), why: error.to_string() })
    }

    fn identity(&self, _: &TreePath) -> Result<Option<String>, ReadError> {
        Ok(None)
    }
}
