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
    /// A rule, or the API server, refused it, and nobody let it through since: what ran before runs.
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
            () if view.hold.is_none() && denied && !is_let_through(view) => Standing::Denied(release),
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

/// Whether a person let through exactly the deletions for which the latest release was denied.
fn is_let_through(view: &ComponentView) -> bool {
    let message = view.latest_outcome.as_ref().map_or("", |outcome| &outcome.message);
    view.confirmed.as_ref().is_some_and(|deletions| asks_for(message, deletions))
}

/// Whether the message of a denial asks a person for these deletions.
pub(super) fn asks_for(message: &str, deletions: &str) -> bool {
    message.contains(&format!("confirm {deletions} "))
}

#[cfg(test)]
mod tests {
    use tk8s_core::{Digest, Environment, Revision, Timestamp, Trust};
    use tk8s_history::{Hold, Intent, Outcome, Release};

    use super::*;

    fn id(number: u64) -> ReleaseId {
        ReleaseId { component: "web".parse().expect("a name"), number: ReleaseNumber(number) }
    }

    /// A component whose newest release is 2, while 1 runs and was healthy.
    fn view() -> ComponentView {
        let object = "0123456789".repeat(4);
        let revision = Revision {
            reference: "refs/heads/main".into(),
            commit: object.parse().expect("an id"),
            tree: object.parse().expect("an id"),
            tag: None,
        };
        let latest = Release {
            id: id(2),
            revision,
            trust: Trust::Waived { reason: "a test".into() },
            environment: Environment::Dev,
            content: Digest::of("two"),
            input: None,
            tree: None,
            objects: 1,
            removal: None,
            account: None,
            staged_at: Timestamp::UNIX_EPOCH,
        };
        let (current, healthy) = (Some(id(1)), Some(id(1)));
        ComponentView {
            latest,
            latest_outcome: None,
            confirmed: None,
            unfinished: None,
            current,
            healthy,
            hold: None,
            rollback: None,
        }
    }

    fn ended(status: Status) -> Option<Outcome> {
        Some(Outcome { status, turn: 0, turns: 1, message: String::new(), trigger: "sync".into() })
    }

    fn begun() -> Option<Intent> {
        let (creates, changes, deletes) = Default::default();
        Some(Intent {
            release: id(2),
            turn: 0,
            turns: 1,
            plan: Digest::of("plan"),
            trigger: "sync".into(),
            account: None,
            promoted: None,
            creates,
            changes,
            deletes,
        })
    }

    #[test]
    fn the_newest_release_ought_to_run_or_the_one_that_is_held() {
        let hold = Some(Hold::at(ReleaseNumber(1), "so", "me"));
        for (view, expected) in [
            (view(), Standing::Unfinished(id(2))),
            (ComponentView { latest_outcome: ended(Status::Denied), ..view() }, Standing::Denied(id(2))),
            (ComponentView { current: Some(id(2)), ..view() }, Standing::Unhealthy(id(2))),
            (ComponentView { current: Some(id(2)), healthy: Some(id(2)), ..view() }, Standing::Runs(id(2))),
            (ComponentView { current: Some(id(2)), unfinished: begun(), ..view() }, Standing::Unfinished(id(2))),
            (ComponentView { hold: hold.clone(), ..view() }, Standing::Runs(id(1))),
            (ComponentView { hold: hold.clone(), latest_outcome: ended(Status::Denied), ..view() }, Standing::Runs(id(1))),
            (ComponentView { hold, current: Some(id(2)), ..view() }, Standing::Unfinished(id(1))),
        ] {
            assert_eq!(Standing::of(&view), expected, "{view:?}");
        }
    }

    #[test]
    fn what_a_person_let_through_is_to_run_and_what_they_did_not_is_denied() {
        for (asked, confirmed, denied) in [
            ("web.2.ab", Some("web.2.ab"), false),
            ("web.2.ab", Some("web.2.a"), true),
            ("web.2.ab", Some("web.1.ab"), true),
            ("web.2.ab", None, true),
        ] {
            let message = format!("TooManyDeletions: `tk8s-agent confirm {asked} --reason ...` lets it through");
            let outcome = Outcome { message, ..ended(Status::Denied).expect("because it ended") };
            let view = ComponentView { latest_outcome: Some(outcome), confirmed: confirmed.map(Into::into), ..view() };
            assert_eq!(matches!(Standing::of(&view), Standing::Denied(_)), denied, "{view:?}");
        }
    }

    #[test]
    fn drift_is_never_repaired_by_a_release_that_is_being_replaced() {
        let by = |view: &ComponentView, written: &[u64]| {
            Standing::of(view).repaired_by(view, written.iter().map(|number| ReleaseNumber(*number)))
        };
        // The newer one waits, or was refused before it wrote anything.
        assert_eq!(by(&view(), &[1, 1]), Some(id(1)));
        assert_eq!(by(&ComponentView { latest_outcome: ended(Status::Denied), ..view() }, &[1]), Some(id(1)));
        // It has written some, or is about to.
        assert_eq!(by(&ComponentView { latest_outcome: ended(Status::Failed), ..view() }, &[1, 2]), None);
        assert_eq!(by(&ComponentView { unfinished: begun(), ..view() }, &[1]), None);
        // It runs, healthy or not.
        assert_eq!(by(&ComponentView { current: Some(id(2)), ..view() }, &[1, 2]), Some(id(2)));
    }
}
