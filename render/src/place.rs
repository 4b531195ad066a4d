//! Paths that files of a tree write to each other, and what stands at them.

use std::collections::BTreeMap;

use tk8s_core::{Origin, ReadError, SourceTree, TreeEntry, TreePath, printable, redacted};

use crate::Error;

/// The path that `text` names, seen from `directory`. `..` leads up, but never out of the tree.
pub(crate) fn resolve(directory: &TreePath, text: &str) -> Result<TreePath, String> {
    if text.starts_with('/') {
        return Err("it is absolute: write it relative to the file that names it".into());
    }
    let mut parts: Vec<&str> = directory.parts().collect();
    for part in text.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                if parts.pop().is_none() {
                    return Err("it leaves the repository".into());
                }
            }
            part => parts.push(part),
        }
    }
    parts.join("/").parse().map_err(|error: ReadError| error.to_string())
}

/// The line of a file on which some text first stands, from 1. The reader of YAML keeps no lines of values; a person who
/// looks for a reference finds it by this.
pub(crate) fn line_of(file: &str, text: &str) -> usize {
    file.lines().position(|line| line.contains(text)).map_or(1, |index| index + 1)
}

/// An error about something that is named at a place. What is named may be a URL with a login.
pub(crate) fn refused(origin: Origin, what: &str, why: impl Into<String>) -> Error {
    Error::Refused { origin, what: printable(&redacted(what), 120), why: redacted(&why.into()) }
}

/// What stands where in a tree; each directory is listed once.
pub(crate) struct Places<'a> {
    tree: &'a dyn SourceTree,
    listed: BTreeMap<TreePath, Vec<TreeEntry>>,
}

impl<'a> Places<'a> {
    pub(crate) fn new(tree: &'a dyn SourceTree) -> Places<'a> {
        Places { tree, listed: BTreeMap::new() }
    }

    /// The entries of a directory.
    pub(crate) fn list(&mut self, directory: &TreePath) -> Result<&[TreeEntry], ReadError> {
        if !self.listed.contains_key(directory) {
            self.listed.insert(directory.clone(), self.tree.list(directory)?);
        }
        Ok(&self.listed[directory])
    }

    /// What stands at a path, or nothing.
    pub(crate) fn at(&mut self, path: &TreePath) -> Result<Option<TreeEntry>, ReadError> {
        let Some((above, name)) = path.as_str().rsplit_once('/').or((!path.is_root()).then_some(("", path.as_str()))) else {
            return Ok(Some(TreeEntry::Directory(String::new())));
        };
        match self.list(&above.parse()?) {
            Ok(entries) => Ok(entries.binary_search_by(|entry| entry.name().cmp(name)).ok().map(|at| entries[at].clone())),
            Err(ReadError::NotFound(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }
}
