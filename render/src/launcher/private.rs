//! A directory of one child's own. It is filled by us, and gone when this value is.

use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use tempfile::TempDir;
use tk8s_core::TreePath;

use crate::Error;

/// The directory. Nobody but the agent's user can look into it.
#[derive(Debug)]
pub struct Private {
    directory: TempDir,
    /// With every link in the way resolved: kustomize compares paths.
    path: PathBuf,
}

impl Private {
    pub(super) fn new(scratch: &Path) -> Result<Private, Error> {
        let fail = |source| Error::Scratch { path: scratch.into(), source };
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(scratch).map_err(fail)?;
        let mode = std::fs::Permissions::from_mode(0o700);
        let directory = tempfile::Builder::new().prefix("render-").permissions(mode).tempdir_in(scratch).map_err(fail)?;
        let path = directory.path().canonicalize().map_err(fail)?;
        Ok(Private { directory, path })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes a file of the tree below `part`, readable and nothing else, whatever mode it has in the repository.
    pub fn write(&self, part: &str, path: &TreePath, bytes: &[u8]) -> Result<(), Error> {
        use std::io::Write as _;
        let place = self.path.join(part).join(path.as_str());
        let fail = |source| Error::Scratch { path: self.directory.path().into(), source };
        if let Some(above) = place.parent() {
            std::fs::DirBuilder::new().recursive(true).mode(0o700).create(above).map_err(fail)?;
        }
        let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o400).open(&place).map_err(fail)?;
        file.write_all(bytes).map_err(fail)
    }
}
