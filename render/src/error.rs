//! What can go wrong between a tree and its objects. No message quotes a value: it could be a secret.

use std::path::PathBuf;
use std::time::Duration;

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
    #[error("`{path}` is {what}, which is never followed: put the file itself there, or exclude it")]
    NotAFile {
        /// The path.
        path: TreePath,
        /// What it is.
        what: &'static str,
    },
    /// A directory inside a component of plain manifests that another program renders.
    #[error(
        "`{path}` makes its directory a {what} inside a component of plain manifests: make it a component of its own, or exclude it"
    )]
    Nested {
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
        "`{0}` holds no object, and an empty component is refused, because it would delete everything it had: `enabled: false` says it on purpose"
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
    /// Something that a kustomization or a chart refers to and that is never followed, or isn't there.
    #[error("{origin}: {what}: {why}")]
    Refused {
        /// Where it is named.
        origin: Origin,
        /// What is named, made printable.
        what: String,
        /// Why not, and what to do instead.
        why: String,
    },
    /// An option of the component that its kind has no use for, or that it needs.
    #[error("{0}")]
    Option(String),
    /// A program that renders isn't there.
    #[error(
        "there is no program `{program}`, which this component needs: looked for {looked}; put it there, or name it by `render.{program}` in the agent's file"
    )]
    NoProgram {
        /// Its name.
        program: &'static str,
        /// Where it was looked for.
        looked: String,
    },
    /// The directory for private files can't be used.
    #[error("could not use `{}` for the private files of a program: name a directory that can be written to by `render.scratchDir`", path.display())]
    Scratch {
        /// The directory.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// A program can't be started or listened to.
    #[error("could not run {program}")]
    Start {
        /// The program.
        program: &'static str,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// A program wanted more memory than it may have.
    #[error("{program} was ended because it ran out of memory: it may use {} MiB (`render.memory`)", limit / (1024 * 1024))]
    OutOfMemory {
        /// The program.
        program: &'static str,
        /// What it may use, in bytes.
        limit: u64,
    },
    /// A program took too long.
    #[error("{program} was ended because it took longer than {} s (`render.timeout`)", limit.as_secs_f64())]
    OutOfTime {
        /// The program.
        program: &'static str,
        /// What it may take.
        limit: Duration,
    },
    /// A program refused what it was given.
    #[error("{program}: {told}")]
    Program {
        /// The program.
        program: &'static str,
        /// The end of what it said.
        told: String,
    },
    /// More than one of the others.
    #[error("{0}")]
    Several(crate::findings::Several),
    /// An encrypted file can't be decrypted, or isn't what was encrypted.
    #[error("{origin}: {problem}")]
    Sealed {
        /// The file, and the line of what is wrong.
        origin: Origin,
        /// What is wrong, and what to do.
        problem: String,
    },
    /// There is no key for an encrypted file.
    #[error("{origin}: {problem}")]
    NoKey {
        /// The file, and the line of what it is encrypted for.
        origin: Origin,
        /// For whom it is encrypted, and what to do.
        problem: String,
    },
    /// Something in an object that can't be substituted.
    #[error("{origin}: {object}: `{pointer}`: {problem}")]
    Substitution {
        /// Where the object stands.
        origin: Origin,
        /// Kind and name of the object, as they are written.
        object: String,
        /// Where in the object.
        pointer: String,
        /// What is wrong, and what to do.
        problem: String,
    },
    /// Something that says it is a hook and can't be one.
    #[error("{origin}: {problem}")]
    Hook {
        /// Where.
        origin: Origin,
        /// What is wrong, and what to do.
        problem: tk8s_core::HookError,
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
            Error::Several(several) => several.class(),
            Error::Read(ReadError::Broken { .. }) | Error::Scratch { .. } | Error::Start { .. } => Class::Transient,
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
            Error::Nested { .. } => "Nested",
            Error::Refused { .. } => "ReferenceRefused",
            Error::Option { .. } => "OptionRefused",
            Error::NoProgram { .. } => "ProgramMissing",
            Error::Scratch { .. } => "ScratchUnusable",
            Error::Start { .. } => "ProgramNotStarted",
            Error::OutOfMemory { .. } => "OutOfMemory",
            Error::OutOfTime { .. } => "OutOfTime",
            Error::Program { .. } => "ProgramFailed",
            Error::Glob(_) => "GlobRefused",
            Error::Empty(_) => "Empty",
            Error::Twice { .. } => "DuplicateObject",
            Error::NoNamespace { .. } => "NoNamespace",
            Error::Layer { .. } => "LayerRefused",
            Error::Hook { .. } => "HookRefused",
            Error::Several(_) => "SeveralFindings",
            Error::Sealed { .. } => "DecryptionFailed",
            Error::NoKey { .. } => "DecryptionKeyMissing",
            Error::Substitution { .. } => "SubstitutionRefused",
        }
    }
}
