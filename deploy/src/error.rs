//! What can go wrong while writing.

use tk8s_core::{Class, Classified, Digest, ObjectKey};

/// Why writing stopped.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The ledger's entry is not this plan's.
    #[error("the begun entry is for the plan {begun}, this is {plan}: nothing was sent")]
    NotBegun {
        /// What was written down.
        begun: Digest,
        /// What was to be applied.
        plan: Digest,
    },
    /// A planned creation found the object there.
    #[error("{0} was made by somebody else since it was planned: it is planned again")]
    MadeByOther(ObjectKey),
    /// A planned change found another object, or none.
    #[error("{0} vanished or was replaced since it was planned: it is planned again")]
    Vanished(ObjectKey),
    /// Somebody wrote to the object between plan and apply, to what the plan is about.
    #[error("{0} was changed by somebody else since it was planned: it is planned again")]
    Overtaken(ObjectKey),
    /// An object that is made anew is still there.
    #[error("{0} was deleted to be made anew and is not gone: look at `metadata.finalizers` of it and of what it owns")]
    NotGone(ObjectKey),
    /// An answer without what every object has.
    #[error("the API server's answer about {0} is no object")]
    NoObject(ObjectKey),
    /// The process is told to end, or is not the writer any more.
    #[error("the rest is left to whoever writes next: this process ends, or is not the writer any more")]
    Halted,
    /// The API server said no, or nothing.
    #[error(transparent)]
    Cluster(#[from] tk8s_diff::Error),
}

impl Error {
    /// Whether nothing failed: what was begun stays begun, for whoever writes next.
    pub fn is_halt(&self) -> bool {
        matches!(self, Error::Halted | Error::Cluster(tk8s_diff::Error::Fenced(_)))
    }
}

impl Classified for Error {
    fn class(&self) -> Class {
        match self {
            Error::NotBegun { .. } => Class::Bug,
            Error::MadeByOther(_) | Error::Vanished(_) | Error::Overtaken(_) | Error::NotGone(_) | Error::NoObject(_) => {
                Class::Transient
            }
            Error::Halted => Class::Waiting,
            Error::Cluster(error) => error.class(),
        }
    }

    fn reason(&self) -> &'static str {
        match self {
            Error::NotBegun { .. } => "NotBegun",
            Error::MadeByOther(_) => "MadeByOther",
            Error::Vanished(_) => "Vanished",
            Error::Overtaken(_) => "Overtaken",
            Error::NotGone(_) => "NotGone",
            Error::NoObject(_) => "NoObject",
            Error::Halted => "Halted",
            Error::Cluster(error) => error.reason(),
        }
    }
}
