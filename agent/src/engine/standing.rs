//! How a component stands, from what history knows: which release ought to run, and whether it does. Pure.

use tk8s_core::{ReleaseId, ReleaseNumber};
use tk8s_history::{ComponentView, Status};

/// The release that ought to run (the one that a component is held at, else the newest), and how it is with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// It runs, and was healthy.
    Runs(ReleaseId),
    /// All of it was applied, and it has not been healthy yet.
    Unhealthy(ReleaseId),
    /// It was not begun, or not applied to the end.
    Unfinished(ReleaseId),
    /// A rule, or the API server, refused it: what ran before runs.
    Denied(ReleaseId),
}

impl Standing {
    pub(super) fn of(view: &ComponentView) -> Standing {
        let release = match &view.hold {
            Some(hold) => ReleaseId { component: view.latest.id.component.clone(), number: hold.release },
            None => view.latest.id.clone(),
        };
        let denied = view.latest_outcome.as_ref().is_some_and(|outcome| outcome.status == Status::Denied);
        match () {
            () if view.unfinished.is_some() => Standing::Unfinished(release),
            () if view.hold.is_none() && denied => Standing::Denied(release),
            () if view.current.as_ref() != Some(&release) => Standing::Unfinished(release),
            () if view.healthy.as_ref() != Some(&release) => Standing::Unhealthy(release),
            () => Standing::Runs(release),
        }
    }

    pub(super) fn release(&self) -> &ReleaseId {
        match self {
            Standing::Runs(release)
            | Standing::Unhealthy(release)
            | Standing::Unfinished(release)
            | Standing::Denied(release) => release,
        }
    }

    /// The release by which drift is repaired. None while a newer one has written some of its objects and not all: putting
    /// the former one back over it would be a rollback that nobody asked for. `written` are the releases by which the
    /// objects in the inventory were written.
    pub(super) fn repaired_by(
        &self,
        view: &ComponentView,
        mut written: impl Iterator<Item = ReleaseNumber>,
    ) -> Option<ReleaseId> {
        match self {
            Standing::Runs(release) | Standing::Unhealthy(release) => Some(release.clone()),
            Standing::Unfinished(release) | Standing::Denied(release) => {
                let begun = view.unfinished.is_some() || written.any(|number| number == release.number);
                if begun { None } else { view.current.clone() }
            }
        }
    }
}
