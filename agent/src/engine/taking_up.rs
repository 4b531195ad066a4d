//! How a component is taken up again that nobody runs: at a start, when its pause is over, when somebody resumes it. Without Git,
//! from what is recorded.
//!
//! *Whether* it is differs between the three; what is done then is the same for all of them.

use std::sync::Arc;

use tk8s_core::ComponentName;
use tk8s_deploy::Trigger;
use tk8s_history::ComponentView;

use super::Engine;
use super::platform::Unit;
use super::run::Job;
use super::slot::Progress;
use super::standing::Standing;
use crate::disk::disk;

impl Engine {
    /// Finishes what a stopped process left.
    pub(super) async fn finish_what_was_begun(self: &Arc<Self>) {
        let _deciding = self.deciding.lock().await;
        self.find_who_leaves();
        for unit in &self.looked_after_or_leaving() {
            let name = &unit.spec.name;
            let Some(view) = disk(|| self.history.component(name)) else { continue };
            let standing = Standing::of(&view);
            let is_left = match &standing {
                // What failed is left to the look at Git, which may bring something better.
                Standing::Unfinished(_) => was_let_in(&view) || view.latest_outcome.is_none(),
                Standing::Runs(_) | Standing::Unhealthy(_) => self.memory.is_unsure(name),
                Standing::Denied(_) => false,
            };
            if is_left {
                tracing::info!(release = %standing.release(), "taking up what was left");
                self.take_up(unit, &standing, &view);
            } else if let Some(failed) = self.undone_before(&view).or_else(|| self.failed_before(&standing, &view)) {
                self.slot(name).set(failed);
            }
        }
    }

    /// Tries again what failed for a passing reason and whose pause is over.
    pub(super) async fn retry_what_is_due(self: &Arc<Self>) {
        // Whoever decides now decides about these as well; the next tick is soon enough.
        let Ok(_deciding) = self.deciding.try_lock() else { return };
        for unit in &self.looked_after_or_leaving() {
            let name = &unit.spec.name;
            let slot = self.slot(name);
            if !slot.is_due() || !slot.is_idle() {
                continue;
            }
            let view = disk(|| self.history.component(name));
            match view.map(|view| (Standing::of(&view), view)) {
                Some((standing, view)) if self.is_recorded(name, &standing, &view) => self.take_up(unit, &standing, &view),
                // Nothing of it was staged yet (it stood on something that failed): Git has to be looked at.
                _ => {
                    slot.again_later();
                    self.wake(false);
                }
            }
        }
    }

    /// Whether what is to be tried again is there to be taken up.
    fn is_recorded(&self, name: &ComponentName, standing: &Standing, view: &ComponentView) -> bool {
        match standing {
            Standing::Unfinished(_) if was_let_in(view) => true,
            Standing::Denied(_) => false,
            _ => !self.waits_for_content(name, view),
        }
    }

    /// Goes on with what a component was at when somebody stopped it.
    pub(super) fn carry_on(self: &Arc<Self>, unit: &Arc<Unit>) {
        let name = &unit.spec.name;
        let slot = self.slot(name);
        let Some(view) = disk(|| self.history.component(name)) else { return };
        if slot.progress().is_under_way() {
            return;
        }
        match Standing::of(&view) {
            standing @ (Standing::Unfinished(_) | Standing::Unhealthy(_)) => self.take_up(unit, &standing, &view),
            standing => slot.set(self.failed_before(&standing, &view).unwrap_or(Progress::Settled)),
        }
        self.look_again(name);
    }

    /// Starts what ought to run. What was let in once does not stand on anything any more; what was refused is not started.
    fn take_up(self: &Arc<Self>, unit: &Arc<Unit>, standing: &Standing, view: &ComponentView) {
        match standing {
            Standing::Unfinished(release) if was_let_in(view) => {
                self.start_alone(unit, Job::Known(release.clone()), finishing(view));
            }
            Standing::Unfinished(release) => self.start(Arc::clone(unit), Job::Known(release.clone()), Trigger::Restart),
            Standing::Runs(release) | Standing::Unhealthy(release) => {
                self.start_alone(unit, Job::Known(release.clone()), Trigger::Restart);
            }
            Standing::Denied(_) => {}
        }
    }
}

/// Whether some of it may be written already, or somebody wants exactly that release.
fn was_let_in(view: &ComponentView) -> bool {
    view.unfinished.is_some() || view.hold.is_some()
}

/// Why what was begun is finished: a person's rollback stays one, also after a restart.
fn finishing(view: &ComponentView) -> Trigger {
    match (&view.rollback, &view.hold) {
        (Some(_), Some(hold)) if hold.automatic => Trigger::AutomaticRollback,
        (Some(rollback), Some(hold)) if rollback.to == hold.release => {
            Trigger::Rollback { by: rollback.by.clone(), reason: rollback.reason.clone() }
        }
        _ => Trigger::Restart,
    }
}
