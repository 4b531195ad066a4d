//! Says when files may have changed, by watching the directories that they are in: Kubernetes changes mounted
//! configuration by exchanging a link beside it (`..data`), which a watch of the file itself never sees.
//!
//! Promises: a change of any of the files is told, also when a file appears that was not there. Doesn't read them: what is
//! told may be no change at all, and several changes may be told as one.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use notify::{RecursiveMode, Watcher as _};

/// A watch of some files. It ends when it is dropped.
#[derive(Debug)]
pub struct FileWatch {
    _watcher: notify::RecommendedWatcher,
}

/// Why files can't be watched.
#[derive(Debug, thiserror::Error)]
#[error("could not watch the directory `{}`", directory.display())]
pub struct WatchError {
    directory: PathBuf,
    #[source]
    source: notify::Error,
}

impl FileWatch {
    /// Calls `changed` whenever something happens in a directory of these files.
    pub fn new<'a>(
        files: impl IntoIterator<Item = &'a Path>,
        changed: impl Fn() + Send + 'static,
    ) -> Result<FileWatch, WatchError> {
        let directories: BTreeSet<&Path> = files.into_iter().map(directory_of).collect();
        let fail = |directory: &Path, source| WatchError { directory: directory.into(), source };
        let told = move |event: notify::Result<notify::Event>| {
            // Our own reading is no change. A queue that overflowed may have held one.
            if event.map_or(true, |event| !event.kind.is_access()) {
                changed();
            }
        };
        let mut watcher = notify::recommended_watcher(told).map_err(|source| fail(Path::new("."), source))?;
        for directory in directories {
            watcher.watch(directory, RecursiveMode::NonRecursive).map_err(|source| fail(directory, source))?;
        }
        Ok(FileWatch { _watcher: watcher })
    }
}

fn directory_of(file: &Path) -> &Path {
    match file.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::Duration;

    use super::*;

    #[test]
    fn what_kubernetes_does_to_a_mounted_file_is_seen() {
        let mount = tempfile::tempdir().unwrap();
        let version = |name: &str, text: &str| {
            let directory = mount.path().join(name);
            std::fs::create_dir(&directory).unwrap();
            std::fs::write(directory.join("agent.yaml"), text).unwrap();
            std::os::unix::fs::symlink(name, mount.path().join("..data_tmp")).unwrap();
            std::fs::rename(mount.path().join("..data_tmp"), mount.path().join("..data")).unwrap();
        };
        version("..2026_1", "first");
        let file = mount.path().join("agent.yaml");
        std::os::unix::fs::symlink("..data/agent.yaml", &file).unwrap();
        let (tell, told) = mpsc::channel();
        let _watch = FileWatch::new([file.as_path()], move || tell.send(()).unwrap_or_default()).unwrap();
        std::fs::read(&file).unwrap();
        assert!(told.recv_timeout(Duration::from_millis(200)).is_err(), "reading is no change");
        version("..2026_2", "second");
        told.recv_timeout(Duration::from_secs(10)).expect("the exchange is told");
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "second");
    }

    #[test]
    fn a_directory_that_is_not_there_is_named() {
        let error = FileWatch::new([Path::new("/nowhere/at/all/file")], || ()).unwrap_err();
        assert!(error.to_string().contains("/nowhere/at/all"), "{error}");
        assert_eq!(directory_of(Path::new("agent.yaml")), Path::new("."));
    }
}
