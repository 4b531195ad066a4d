//! A tree of files as the later stages read it, whatever is behind it: a verified commit or, for previews, a directory
//! on disk. Paths are checked once, here; nothing outside the tree can be named.

use std::fmt;
use std::str::FromStr;

use crate::printable;

/// A relative path inside a tree, `/`-separated, without `.`, `..`, empty or `.git` parts. The root is the empty path.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TreePath(Box<str>);

impl TreePath {
    /// The root of the tree.
    pub fn root() -> TreePath {
        TreePath("".into())
    }

    /// The path as text; empty for the root.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether this is the root.
    pub fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    /// This path and one more part, or several with `/` between them.
    pub fn join(&self, part: &str) -> Result<TreePath, ReadError> {
        let more: TreePath = part.parse()?;
        Ok(match (self.is_root(), more.is_root()) {
            (true, _) => more,
            (_, true) => self.clone(),
            _ => TreePath(format!("{}/{}", self.0, more.0).into()),
        })
    }

    /// The parts from the root down.
    pub fn parts(&self) -> impl Iterator<Item = &str> {
        self.0.split('/').filter(|part| !part.is_empty())
    }
}

impl FromStr for TreePath {
    type Err = ReadError;

    /// Takes what a person writes: `apps/web`, `./apps/web/`, `.`. Refuses what would leave the tree.
    fn from_str(text: &str) -> Result<Self, ReadError> {
        let refuse = |why| ReadError::Path { path: printable(text, 200), why };
        if text.starts_with('/') {
            return Err(refuse("it is absolute"));
        }
        if text.len() > 4096 {
            return Err(refuse("it is longer than 4,096 bytes"));
        }
        if text.chars().any(|c| c.is_control() || c == '\\') {
            return Err(refuse("it holds a control character or a backslash"));
        }
        let mut parts = Vec::new();
        for part in text.split('/') {
            match part {
                "" | "." => {}
                ".." => return Err(refuse("it leaves the tree")),
                part if part.eq_ignore_ascii_case(".git") => return Err(refuse("it names Git's own directory")),
                part => parts.push(part),
            }
        }
        Ok(TreePath(parts.join("/").into()))
    }
}

impl fmt::Display for TreePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_root() { "." } else { &self.0 })
    }
}

impl fmt::Debug for TreePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What a directory of a tree holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TreeEntry {
    /// A regular file.
    File(String),
    /// A directory.
    Directory(String),
    /// A symbolic link, a submodule or something else that is never followed; the second part says what it is.
    Other(String, &'static str),
}

impl TreeEntry {
    /// The entry's name in its directory.
    pub fn name(&self) -> &str {
        match self {
            TreeEntry::File(name) | TreeEntry::Directory(name) | TreeEntry::Other(name, _) => name,
        }
    }
}

/// Why something in a tree could not be read. No message quotes a file's content.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// The path itself is refused.
    #[error("the path `{path}` is refused: {why}")]
    Path {
        /// The path as given, made printable.
        path: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// Nothing has this path.
    #[error("`{0}` does not exist in the repository")]
    NotFound(TreePath),
    /// A directory where a file is needed, or the reverse, or something that is never followed.
    #[error("`{path}` is {found}, and {needed} is needed")]
    Kind {
        /// The path.
        path: TreePath,
        /// What stands there.
        found: &'static str,
        /// What was looked for.
        needed: &'static str,
    },
    /// More bytes than the reader takes.
    #[error("`{path}` has {size} bytes, at most {limit} are read")]
    TooLarge {
        /// The path.
        path: TreePath,
        /// Its size.
        size: u64,
        /// The reader's limit.
        limit: u64,
    },
    /// The storage behind the tree failed: an object is missing or its hash is wrong, or the disk said no.
    #[error("could not read `{path}`: {why}")]
    Broken {
        /// The path.
        path: TreePath,
        /// What the storage said.
        why: String,
    },
}

/// What stands in the repository instead of a file that Git LFS keeps elsewhere.
const LFS: &[u8] = b"version https://git-lfs.github.com/spec/v1\n";

/// The bytes of a file, unless they are only Git LFS's word for where the file is: it would be read as YAML that says
/// something else.
pub fn no_pointer(path: &TreePath, bytes: Vec<u8>) -> Result<Vec<u8>, ReadError> {
    if bytes.starts_with(LFS) {
        let found = "a pointer of Git LFS, whose content is not in the repository";
        return Err(ReadError::Kind { path: path.clone(), found, needed: "a file" });
    }
    Ok(bytes)
}

/// A tree of files that can be read, and nothing else.
pub trait SourceTree: Send + Sync {
    /// The entries of a directory, sorted by name.
    fn list(&self, directory: &TreePath) -> Result<Vec<TreeEntry>, ReadError>;

    /// The bytes of a regular file, if there are at most `limit` of them.
    fn read(&self, file: &TreePath, limit: u64) -> Result<Vec<u8>, ReadError>;

    /// An identity of everything below `path`: equal identities mean equal bytes. `None` where the storage has none
    /// (a directory on disk), and then nothing may be cached.
    fn identity(&self, path: &TreePath) -> Result<Option<String>, ReadError>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_cannot_leave_the_tree() {
        for bad in ["/etc", "../x", "a/../../b", "a/..", "a\\b", "a\0b", ".git/config", "a/.GIT/hooks", "a\nb"] {
            assert!(bad.parse::<TreePath>().is_err(), "{bad}");
        }
        for (text, path) in [(".", ""), ("", ""), ("./a//b/", "a/b"), ("a", "a"), ("..a/b..", "..a/b..")] {
            assert_eq!(text.parse::<TreePath>().unwrap().as_str(), path);
        }
        assert_eq!(TreePath::root().join("a/b").unwrap().join("c").unwrap().as_str(), "a/b/c");
        assert!(TreePath::root().join("..").is_err());
    }
}
