//! What can go wrong with the history, in words for the person who has to do something about it.

use std::io;
use std::path::PathBuf;

use crate::event::VERSION;
use tk8s_core::{Class, Classified, Digest, Environment, ReleaseId};

/// Why the history refused or could not do something. Holds no secret and no content of a file.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Another process has it open.
    #[error("the history in `{}` is open in another process: only one agent may write it", .dir.display())]
    Locked {
        /// The directory.
        dir: PathBuf,
    },
    /// A file operation failed. Nothing was acknowledged.
    #[error("could not {act} `{}`", .path.display())]
    Disk {
        /// What was tried, for example `read`.
        act: &'static str,
        /// On which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// No room. Nothing was acknowledged; what was written before is intact.
    #[error("no space left for `{}`: nothing was recorded; free space on the history's volume", .path.display())]
    DiskFull {
        /// The file that did not fit.
        path: PathBuf,
    },
    /// The system could not say whether bytes reached the disk. The handle writes nothing from now on.
    #[error("could not flush `{}` to disk: the history takes no more writes until the agent is restarted", .path.display())]
    Sync {
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// An earlier flush failed.
    #[error("the history takes no more writes, because an earlier flush to disk failed: check the volume and restart the agent")]
    Poisoned,
    /// Neither the view nor the ledger behind it can be read.
    #[error("the history can no longer be read: check its volume and restart the agent")]
    Unreadable,
    /// The ledger's files do not agree with its signed checkpoint.
    #[error("the ledger is damaged at event {position}: `{}` {problem}; restore the history from a backup, it is not extended", .file.display())]
    Damaged {
        /// The file.
        file: PathBuf,
        /// The first event that can't be proven.
        position: u64,
        /// What is wrong with the file.
        problem: String,
    },
    /// A signed checkpoint that is not ours.
    #[error("the ledger in `{}` {problem}", .file.display())]
    Foreign {
        /// The checkpoint, or the entry bundle with the first event.
        file: PathBuf,
        /// What does not fit, and what to do.
        problem: String,
    },
    /// The ledger ends before, or differs from, what the view has seen.
    #[error(
        "the ledger in `{}` has {ledger} events, but {view} were recorded here before and they do not agree: it was replaced by another copy; \
         restore the whole history, or remove its directory `view` to go on from this copy", .dir.display()
    )]
    Forked {
        /// The history's directory.
        dir: PathBuf,
        /// How many events the ledger holds.
        ledger: u64,
        /// How many events the view has seen.
        view: u64,
    },
    /// A key file that can't be used.
    #[error("the {key} {problem}")]
    Key {
        /// Which key.
        key: &'static str,
        /// What is wrong, and what to do. Never the key.
        problem: &'static str,
    },
    /// An origin that a checkpoint could not carry.
    #[error("`{0}` is not a valid ledger origin: no spaces, no `+`, no control characters, not empty")]
    Origin(String),
    /// A ledger that a newer version of the agent wrote to.
    #[error(
        "the ledger in `{}` was written by {wrote} of the agent from event {position} on, and this is version {VERSION}: {why}; run that \
         version or a later one, or restore a copy of the history from before the upgrade", .ledger.display()
    )]
    Newer {
        /// The ledger.
        ledger: PathBuf,
        /// The first event that is not known here.
        position: u64,
        /// Which version wrote it, as far as it says so.
        wrote: String,
        /// What is not known.
        why: String,
    },
    /// An event that can't be read, of a ledger in which every event could be.
    #[error("event {position} of the ledger can't be read any more")]
    Event {
        /// Its position.
        position: u64,
        /// What the parser said about its shape.
        source: serde_json::Error,
    },
    /// What was not verified is never staged, except for `dev`.
    #[error("the revision of `{component}` was not verified ({environment}): signatures can be waived in dev only")]
    Waived {
        /// The component.
        component: String,
        /// The environment of the revision.
        environment: Environment,
    },
    /// No such release is kept.
    #[error("`{0}` is not in the history: it was never staged here, or is no longer kept")]
    UnknownRelease(ReleaseId),
    /// The objects of a release can't be proven.
    #[error("the objects of `{release}` cannot be used: blob {blob} {problem}")]
    Blob {
        /// The release.
        release: ReleaseId,
        /// The blob.
        blob: Digest,
        /// What is wrong with it.
        problem: String,
    },
    /// A blob's file that is not what its name says.
    #[error("the blob `{}` is damaged: restore it from a backup of the history", .file.display())]
    BlobFile {
        /// The file.
        file: PathBuf,
    },
    /// What is to be copied could not be read.
    #[error("could not get `{what}` of the history that is to be copied")]
    Source {
        /// What of it.
        what: String,
        /// Why not.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// What is to be copied is not there any more.
    #[error("`{what}` is not there any more in the history that is to be copied: copy again")]
    Gone {
        /// What.
        what: String,
    },
    /// A copy that was not made, or is not gone on with.
    #[error("the copy in `{}` {problem}", .dir.display())]
    Copy {
        /// The copy.
        dir: PathBuf,
        /// What does not fit, and what to do.
        problem: String,
    },
    /// A release that the ledger does not prove.
    #[error("`{release}` cannot be proven: {problem}")]
    Unproven {
        /// The release.
        release: ReleaseId,
        /// What does not fit.
        problem: &'static str,
    },
    /// A tag is only ever seen for the first time once.
    #[error("the tag `{0}` was seen before with another object: a released tag never moves")]
    TagMoved(String),
    /// An incident that somebody accepted before.
    #[error("the incident `{0}` is accepted already")]
    AcceptedAlready(String),
    /// An event that does not fit into the ledger.
    #[error("an event `{kind}` of {size} bytes does not fit into the ledger: 65535 bytes are the most")]
    TooLarge {
        /// The kind of event.
        kind: &'static str,
        /// Its size.
        size: usize,
    },
    /// A value that can't be written as JSON, or packed.
    #[error("could not {act}")]
    Encoding {
        /// What was tried.
        act: &'static str,
        /// Why not.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl Classified for Error {
    fn class(&self) -> Class {
        match self {
            Error::Disk { .. } | Error::Source { .. } | Error::Gone { .. } => Class::Transient,
            Error::DiskFull { .. } | Error::Locked { .. } => Class::Waiting,
            Error::Waived { .. } | Error::UnknownRelease(_) | Error::TagMoved(_) => Class::Denied,
            Error::TooLarge { .. } | Error::Encoding { .. } => Class::Bug,
            _ => Class::Stalled,
        }
    }

    fn reason(&self) -> &'static str {
        match self {
            Error::Locked { .. } => "HistoryLocked",
            Error::Disk { .. } => "HistoryDisk",
            Error::DiskFull { .. } => "HistoryDiskFull",
            Error::Sync { .. } | Error::Poisoned => "HistoryPoisoned",
            Error::Unreadable => "HistoryUnreadable",
            Error::Damaged { .. } => "LedgerDamaged",
            Error::Foreign { .. } => "LedgerForeign",
            Error::Forked { .. } => "LedgerForked",
            Error::Key { .. } => "HistoryKey",
            Error::Origin(_) => "LedgerOrigin",
            Error::Newer { .. } => "LedgerNewer",
            Error::Event { .. } => "LedgerUnreadable",
            Error::Waived { .. } => "WaivedOutsideDev",
            Error::UnknownRelease(_) => "UnknownRelease",
            Error::Blob { .. } | Error::BlobFile { .. } => "BlobDamaged",
            Error::Source { .. } => "CopyUnread",
            Error::Gone { .. } => "CopyOvertaken",
            Error::Copy { .. } => "CopyRefused",
            Error::Unproven { .. } => "ReleaseUnproven",
            Error::TagMoved(_) => "TagMoved",
            Error::AcceptedAlready(_) => "IncidentAccepted",
            Error::TooLarge { .. } => "EventTooLarge",
            Error::Encoding { .. } => "HistoryEncoding",
        }
    }
}
