//! A release that fails undoes itself: the last healthy release is put back, once, and held.
//!
//! What stands on the component does not start, also after a restart, until somebody resumes it or Git brings other content;
//! what does not stand on it goes on.

use tk8s_config::OnFailure;
use tk8s_core::{Class, Classified as _, ComponentName, Environment, ReleaseId, Timestamp, chain};
use tk8s_deploy::Trigger;
use tk8s_history::{ComponentView, Desired, Hold, Outcome, Status};

use super::Engine;
use super::hooks::failed_for_good;
use super::platform::Unit;
use super::run::{Heard, Job};
use super::slot::{Progress, Slot};
use crate::disk::disk;
use crate::error::Error;

/// The reason of a component whose release failed and was undone.
pub(super) const ROLLED_BACK: &str = "RolledBack";
/// The reason of a component whose release failed and could not be undone.
pub(super) const NOT_ROLLED_BACK: &str = "RollbackFailed";
/// Who holds what was rolled back.
const BY: &str = "tk8s-agent";

impl Engine {
    /// What a component's failure leads to: as the platform file says, or else as its environment does.
    pub(super) fn on_failure(&self, unit: &Unit) -> OnFailure {
        let by_environment = if self.environment() == Environment::Production { OnFailure::Rollback } else { OnFailure::Stop };
        unit.spec.on_failure.unwrap_or(by_environment)
    }

    /// After a run that failed: puts the last healthy release back if that is wanted, and says how the component is then.
    /// None if nothing is undone.
    pub(super) async fn undo(
        &self,
        unit: &Unit,
        slot: &Slot,
        ticket: u64,
        trigger: &Trigger,
        result: &Result<Outcome, Error>,
    ) -> Option<Progress> {
        let name = &unit.spec.name;
        let why = self.failure(name, trigger, result)?;
        if self.on_failure(unit) != OnFailure::Rollback || !slot.is_current(ticket) || self.stop.is_cancelled() {
            return None;
        }
        // Nothing is written by itself then: whoever resumes it tries the release again.
        if self.suspension_of(unit).is_some() {
            return None;
        }
        let view = disk(|| self.history.component(name))?;
        let failed = view.latest.id.clone();
        // Once: what is held was put back already, and what was never healthy is nothing to go back to.
        if view.hold.is_some() || view.healthy.as_ref() == Some(&failed) {
            return None;
        }
        let target = match self.goes_back_to(&view, &why) {
            Ok(target) => target,
            Err(stuck) => return Some(stuck),
        };
        tracing::warn!(release = %failed, back_to = %target, why, "release failed: rolling back");
        let reason = tk8s_core::printable(&format!("{failed} failed: {why}"), 500);
        let hold = Hold { rejected: vec![view.latest.content], automatic: true, ..Hold::at(target.number, &reason, BY) };
        if let Err(error) = disk(|| self.history.rollback_requested(name, hold, Some(&reason), Timestamp::now())) {
            return Some(not_undone(&failed, &target, &why, &chain(&error)));
        }
        self.memory.nothing_under_way(name);
        let (_, cancel) = slot.join_in();
        let heard: Heard<'_> = &|_| ();
        let (job, trigger) = (Job::Known(target.clone()), Trigger::AutomaticRollback);
        let back = self.deploy_at_a_place(unit, (slot, ticket), cancel, job, &trigger, heard).await;
        Some(match back {
            Ok(outcome) if matches!(outcome.status, Status::Healthy | Status::Superseded) => undone(&failed, &target, &why),
            Ok(outcome) => not_undone(&failed, &target, &why, &format!("it is not healthy either: {}", outcome.message)),
            // It is held: whoever comes next finishes it.
            Err(Error::Stopping | Error::Superseded) => return None,
            Err(error) if error.class().may_pass() => {
                Progress::Failed { class: error.class(), reason: error.reason().into(), message: chain(&error) }
            }
            Err(error) => not_undone(&failed, &target, &why, &chain(&error)),
        })
    }

    /// How a component is of which a release was undone, as the history knows it: after a restart too.
    pub(super) fn undone_before(&self, view: &ComponentView) -> Option<Progress> {
        let hold = view.hold.as_ref().filter(|hold| hold.automatic)?;
        let target = ReleaseId { component: view.latest.id.component.clone(), number: hold.release };
        Some(rolled_back(&target, &hold.reason))
    }

    /// How a component is whose newest release did not become healthy and could not be undone either, as the history knows it:
    /// after a restart too.
    pub(super) fn not_undone_before(&self, view: &ComponentView) -> Option<Progress> {
        let units = self.world().units.clone()?;
        let unit = units.get(&view.latest.id.component)?;
        if self.on_failure(unit) != OnFailure::Rollback || view.hold.is_some() {
            return None;
        }
        let message = view.latest_outcome.as_ref().map_or("", |outcome| &outcome.message);
        self.goes_back_to(view, &not_healthy(message)).err()
    }

    /// What is put back where the newest release failed; or how a component is for which there is nothing that may be.
    fn goes_back_to(&self, view: &ComponentView, why: &str) -> Result<ReleaseId, Progress> {
        let failed = &view.latest.id;
        let Some(target) = self.last_healthy(view) else {
            let message = format!("{failed} failed, and there is no healthy release to go back to: {why}");
            return Err(Progress::Failed { class: Class::Stalled, reason: NOT_ROLLED_BACK.into(), message });
        };
        match self.is_believed(&target) {
            Ok(()) => Ok(target),
            Err(error) => Err(not_undone(failed, &target, why, &error.to_string())),
        }
    }

    /// Why what a run brought is to be undone: it was new, something of it was written, and waiting does not help.
    fn failure(&self, name: &ComponentName, trigger: &Trigger, result: &Result<Outcome, Error>) -> Option<String> {
        if !matches!(trigger, Trigger::Sync | Trigger::Restart) {
            return None;
        }
        match result {
            _ if !failed_for_good(result) => None,
            Ok(outcome) => Some(not_healthy(&outcome.message)),
            Err(error) => {
                let newest = disk(|| self.history.component(name))?.latest.id;
                let brought = Desired::from(disk(|| self.history.recall(&newest)).ok()?);
                self.wrote_more_than_hooks(&brought).then(|| chain(error))
            }
        }
    }

    /// The newest release before the newest that was healthy, and is not the component's removal.
    fn last_healthy(&self, view: &ComponentView) -> Option<ReleaseId> {
        let name: &ComponentName = &view.latest.id.component;
        let releases = disk(|| self.history.releases(name));
        let found = releases.iter().find(|known| known.release.id.number < view.latest.id.number && known.healthy_at.is_some());
        let found = found.filter(|known| known.release.removal.is_none()).map(|known| known.release.id.clone());
        // What ran in between may be lost: nothing goes back behind that by itself.
        found.filter(|release| !self.is_behind(release))
    }
}

fn not_healthy(message: &str) -> String {
    format!("it did not become healthy in time: {message}")
}

fn undone(failed: &ReleaseId, target: &ReleaseId, why: &str) -> Progress {
    rolled_back(target, &format!("{failed} failed: {why}"))
}

fn rolled_back(target: &ReleaseId, reason: &str) -> Progress {
    let component = &target.component;
    let message = format!(
        "{reason}. Rolled back to release {}, and held there: other content, or `tk8s-agent resume {component}`, ends that",
        target.number
    );
    Progress::Failed { class: Class::Stalled, reason: ROLLED_BACK.into(), message }
}

fn not_undone(failed: &ReleaseId, target: &ReleaseId, why: &str, error: &str) -> Progress {
    let message = format!("{failed} failed ({why}), and could not be rolled back to release {}: {error}", target.number);
    Progress::Failed { class: Class::Stalled, reason: NOT_ROLLED_BACK.into(), message }
}
