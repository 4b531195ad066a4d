//! What can go wrong in the process itself, around what can go wrong in each stage.

use std::path::PathBuf;

use tk8s_core::{Class, Classified, ComponentName, Environment, ReleaseId, ReleaseNumber};

/// Why a run, or a look at Git, did not end well.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Gitsync(#[from] tk8s_gitsync::Error),
    #[error(transparent)]
    Render(#[from] tk8s_render::Error),
    /// The same input failed before, or just now.
    #[error(transparent)]
    AsBefore(std::sync::Arc<Error>),
    #[error(transparent)]
    Images(#[from] tk8s_images::Error),
    #[error(transparent)]
    History(#[from] tk8s_history::Error),
    #[error(transparent)]
    Diff(#[from] tk8s_diff::Error),
    #[error(transparent)]
    Denied(#[from] tk8s_deploy::Denied),
    #[error(transparent)]
    Deploy(#[from] tk8s_deploy::Error),
    /// The tree could not be read where the platform should be.
    #[error("could not read the platform")]
    Tree(#[source] tk8s_core::ReadError),
    /// The platform file is refused.
    #[error("the platform file is refused")]
    Platform(#[source] tk8s_config::Problems),
    /// The agent's file was changed for the worse.
    #[error("the agent's file is refused")]
    Configuration(#[source] tk8s_config::Problems),
    /// A rule file, or a rule in it.
    #[error("the health rules are refused")]
    HealthRules(#[source] tk8s_config::Problems),
    #[error("{} can't change while the agent runs: restart it", .0.join(", "))]
    NeedsRestart(Vec<&'static str>),
    #[error("could not read the {what} `{}`", path.display())]
    ReadFile {
        what: &'static str,
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("`trust.signersFile` is needed in {0}: name the file that lists who may sign")]
    NoSigners(Environment),
    #[error("another process holds the lease of this instance")]
    NotLeading,
    #[error("the agent ends: the next one finishes the release")]
    Stopping,
    #[error(
        "{release} does not run by itself: {}, and the history of it was lost; Git brings the component anew, or `tk8s-agent rollback` puts a release back",
        .ran.map_or_else(|| "something else may have run after it".to_owned(), |ran| format!("release {ran} ran after it"))
    )]
    Behind { release: ReleaseId, ran: Option<ReleaseNumber> },
    #[error("{0} waits: nobody knows what the platform lets its component touch until Git can be reached")]
    PlatformUnknown(ReleaseId),
    #[error(
        "`{tag}` can't bring `{component}`: {why}; a tag of a component brings what is in its directory, and a release of the \
         platform moves, adds and removes directories"
    )]
    OwnTag { component: ComponentName, tag: String, why: String },
    #[error("something newer was asked for")]
    Superseded,
    #[error(
        "{0} signed it and is marked as compromised since: nothing of it was begun; somebody else has to review and sign, or \
         `tk8s-agent sync` tries it again once the signers file says otherwise"
    )]
    CompromisedSigner(String),
    #[error(
        "the key {0} that signed it is revoked since: nothing of it was begun; sign again with another key, or \
         `tk8s-agent sync` tries it again once the revocation file says otherwise"
    )]
    KeyRevoked(String),
    #[error(
        "people who have to say yes to it have not, or not any more: {0}; nothing of it was begun, and it begins by itself once \
         they have (`git tag -s approve/TAG/ROLE/SIGNER TAG`)"
    )]
    ApprovalsMissing(String),
    #[error("no release `{0}` waits for approvals: `tk8s-agent status` says which do")]
    NoGlassToBreak(String),
    #[error("`trust.approvals.breakGlass` is false in the agent's file: nothing is let in without approvals")]
    GlassIsLocked,
    #[error("no release `{0}` was let in without approvals, or somebody has looked at it already")]
    NothingToAcknowledge(String),
    #[error("{0}")]
    Suspended(tk8s_history::Suspension),
    #[error(
        "`runTimeout` ({timeout:?}) is over, and turn {} of {turns} was not begun: `tk8s-agent sync` goes on with it", turn + 1
    )]
    OutOfTime { timeout: std::time::Duration, turn: u32, turns: u32 },
    #[error("the release holds nothing to apply")]
    NoTurns,
    #[error("the agent's own {0} stopped unexpectedly: see its log")]
    Panicked(&'static str),
    #[error("there is no component `{0}`: `tk8s-agent status` lists them")]
    UnknownComponent(ComponentName),
    #[error("there is no release `{0}`: `tk8s-agent history` lists a component's releases")]
    UnknownRelease(ReleaseId),
    #[error("`{0}` has no earlier healthy release to go back to: name one with `--to`")]
    NothingToRollBackTo(ComponentName),
    #[error("nothing of `{0}` runs yet, so it can't be held")]
    NothingToHold(ComponentName),
    #[error(
        "no denied plan is called `{0}`: copy the name from the denial in `tk8s-agent status`; a plan that changed has another one"
    )]
    NothingToConfirm(String),
    #[error("no incident is called `{0}`: copy it from the alarm in `tk8s-agent status`")]
    UnknownIncident(String),
    #[error("`{0}` does not stand any more: the ref was put back, or has moved on; `tk8s-agent status` shows what stands")]
    IncidentOver(String),
    #[error("`{id}` was accepted by {by} at {at}, and stands no more")]
    IncidentAccepted { id: String, by: String, at: tk8s_core::Timestamp },
    #[error("`{0}` can't be accepted: the tag names no tag object any more; put it back, or delete it")]
    NothingToAccept(String),
    #[error("Git was not looked at yet since the agent's start, so nobody knows what stands: try again once it was")]
    NotLookedYet,
    #[error("there is no layer `{0}`: `tk8s-agent status` lists the layers")]
    UnknownLayer(String),
    #[error(
        "no accepted revision is called `{0}`: give a tag, or at least seven digits of a commit that `tk8s-agent history` lists"
    )]
    UnknownRevision(String),
    #[error("{0} names two accepted revisions: give more digits")]
    AmbiguousRevision(String),
    #[error("say where to go back to by a tag or a commit, with `--to-revision`: numbers of releases are of single components")]
    NoRevision,
    #[error("nothing of {0} has anything to go back to")]
    NothingToRollBack(tk8s_history::Scope),
    #[error("nothing was written, and `{component}` is held as before: the rollback to {release} is refused{next}")]
    RollbackRefused {
        component: ComponentName,
        release: ReleaseId,
        next: &'static str,
        #[source]
        source: Box<Error>,
    },
    #[error(
        "{release} is not put back: {why}; `--to` another release, or put it back all the same with `--despite-compromise` and a \
         reason"
    )]
    NotBelieved { release: ReleaseId, why: crate::trust::Disbelief },
    #[error("nothing was written: {0}")]
    RollbacksRefused(String),
    #[error("the rollback stopped before its last turn: {0}")]
    RollbackEnded(String),
}

impl Error {
    fn stage(&self) -> Option<&dyn Classified> {
        Some(match self {
            Error::Gitsync(error) => error,
            Error::Render(error) => error,
            Error::AsBefore(error) => &**error,
            Error::Images(error) => error,
            Error::History(error) => error,
            Error::Diff(error) => error,
            Error::Denied(error) => error,
            Error::Deploy(error) => error,
            _ => return None,
        })
    }
}

impl Classified for Error {
    fn class(&self) -> Class {
        if let Some(error) = self.stage() {
            return error.class();
        }
        match self {
            Error::NotLeading
            | Error::Stopping
            | Error::Superseded
            | Error::Behind { .. }
            | Error::PlatformUnknown(_)
            | Error::ApprovalsMissing(_)
            | Error::Suspended(_)
            | Error::NotLookedYet => Class::Waiting,
            Error::ReadFile { .. } => Class::Transient,
            Error::CompromisedSigner(_) | Error::KeyRevoked(_) | Error::NotBelieved { .. } | Error::GlassIsLocked => {
                Class::Denied
            }
            Error::Panicked(_) | Error::NoTurns => Class::Bug,
            _ => Class::Stalled,
        }
    }

    fn reason(&self) -> &'static str {
        if let Some(error) = self.stage() {
            return error.reason();
        }
        match self {
            Error::Tree(_) => "PlatformUnreadable",
            Error::Platform(_) => "PlatformRefused",
            Error::Configuration(_) => "ConfigurationRefused",
            Error::HealthRules(_) => "HealthRulesRefused",
            Error::NeedsRestart(_) => "NeedsRestart",
            Error::ReadFile { .. } => "FileUnreadable",
            Error::NoSigners(_) => "NoSigners",
            Error::NotLeading => "NotLeading",
            Error::Stopping => "Stopping",
            Error::Behind { .. } => "OlderThanAnchored",
            Error::PlatformUnknown(_) => "PlatformUnknown",
            Error::OwnTag { .. } => "TagCantBringComponent",
            Error::Superseded => "Superseded",
            Error::CompromisedSigner(_) => "CompromisedSigner",
            Error::KeyRevoked(_) => "KeyRevoked",
            Error::ApprovalsMissing(_) => "ApprovalsMissing",
            Error::NotBelieved { .. } => "SignerNotBelieved",
            Error::NoGlassToBreak(_) => "NothingToBreakGlassFor",
            Error::GlassIsLocked => "BreakGlassOff",
            Error::NothingToAcknowledge(_) => "NothingToAcknowledge",
            Error::Suspended(_) => "Suspended",
            Error::UnknownIncident(_) => "UnknownIncident",
            Error::IncidentOver(_) => "IncidentOver",
            Error::IncidentAccepted { .. } => "IncidentAccepted",
            Error::NothingToAccept(_) => "NothingToAccept",
            Error::NotLookedYet => "NotLookedYet",
            Error::UnknownLayer(_) => "UnknownLayer",
            Error::UnknownRevision(_) => "UnknownRevision",
            Error::AmbiguousRevision(_) => "AmbiguousRevision",
            Error::NoRevision => "RevisionMissing",
            Error::NothingToRollBack(_) => "NothingToRollBackTo",
            Error::RollbackRefused { .. } | Error::RollbacksRefused(_) => "RollbackRefused",
            Error::OutOfTime { .. } => "OutOfTime",
            Error::NoTurns => "NothingToApply",
            Error::Panicked(_) => "Panicked",
            Error::UnknownComponent(_) => "UnknownComponent",
            Error::UnknownRelease(_) => "UnknownRelease",
            Error::NothingToRollBackTo(_) => "NothingToRollBackTo",
            Error::NothingToHold(_) => "NothingToHold",
            Error::NothingToConfirm(_) => "NothingToConfirm",
            Error::RollbackEnded(_) => "RollbackEnded",
            _ => "Unclassified",
        }
    }
}
