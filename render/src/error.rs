//! What can go wrong between a tree and its objects. No message quotes a value: it could be a secret.

use tk8s_core::{Class, Classified, ManifestError, Origin, ReadError, TreePath};

/// Why a component could not be rendered.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file or directory can't be read.
    #[error("could not read the component's files")]
    Read(#[from] ReadError),
    /// A file is not YAML, or not YAML that kubectl would take.
    #[error("{origin}: {problem}")]
    Yaml {
        /// The file and the line.
        origin: Origin,
        /// What is wrong.
        problem: String,
    },
    /// A document is not a manifest.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// More than is read.
    #[error("{what}: {found}, at most {limit} are read")]
    TooMuch {
        /// Of what.
        what: String,
        /// How much there is.
        found: u64,
        /// How much is read.
        limit: u64,
    },
    /// Something that is never followed stands where a manifest should be.
    #[error("`{path}` is {what}, which is never followed: put the file itself there")]
    NotAFile {
        /// The path.
        path: TreePath,
        /// What it is.
        what: &'static str,
    },
    /// A directory that another tool renders.
    #[error("`{path}` makes its directory a {what}, which is not supported yet: exclude it, or put the rendered manifests there")]
    Unsupported {
        /// The file that says so.
        path: TreePath,
        /// What it is.
        what: &'static str,
    },
    /// A glob can't be read.
    #[error("the glob `{0}` can't be read")]
    Glob(String),
    /// No object at all.
    #[error(
        "`{0}` holds no object: an empty component is refused, because it would delete everything it had (`enabled: false` says it on purpose)"
    )]
    Empty(TreePath),
    /// Two documents are the same object.
    #[error("{key} stands in {first} and in {second}: keep one of them")]
    Twice {
        /// The object.
        key: String,
        /// Where first.
        first: Origin,
        /// Where again.
        second: Origin,
    },
    /// An object without a namespace.
    #[error("{origin}: {key} names no namespace: write `metadata.namespace`, or `namespace` in the platform file")]
    NoNamespace {
        /// Where.
        origin: Origin,
        /// The object.
        key: String,
    },
    /// A layer that is none.
    #[error("{origin}: `tk8s.io/layer`")]
    Layer {
        /// Where.
        origin: Origin,
        /// Why.
        #[source]
        source: tk8s_core::IdError,
    },
}

impl Classified for Error {
    fn class(&self) -> Class {
        match self {
            Error::Read(ReadError::Broken { .. }) => Class::Transient,
            _ => Class::Stalled,
        }
    }

    fn reason(&self) -> &'static str {
        match self {
            Error::Read(_) => "FilesUnreadable",
            Error::Yaml { .. } => "YamlRefused",
            Error::Manifest(_) => "ManifestRefused",
            Error::TooMuch { .. } => "TooMuch",
            Error::NotAFile { .. } => "NotAFile",
            Error::Unsupported { .. } => "Unsupported",
            Error::Glob(_) => "GlobRefused",
            Error::Empty(_) => "Empty",
            Error::Twice { .. } => "DuplicateObject",
            Error::NoNamespace { .. } => "NoNamespace",
            Error::Layer { .. } => "LayerRefused",
        }
    }
}
