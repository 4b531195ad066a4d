//! Which hooks of a release run, and what follows from one that failed.

use std::time::Duration;

use tk8s_core::{Classified as _, ComponentName, Hook, Moment, ObjectKey, ReleaseId, chain};
use tk8s_deploy::Trigger;
use tk8s_diff::Hooks;
use tk8s_history::{Desired, Outcome, Status};

use super::Engine;
use super::run::NOT_HEALTHY;
use super::standing::Standing;
use crate::disk::disk;
use crate::error::Error;
use crate::pipeline;

/// The reason of a component of which a hook failed.
pub(super) const HOOK_FAILED: &str = "HookFailed";

impl Engine {
    /// Which hooks of a release run. Whoever repairs runs none, nor does a start that finds it finished; a component that is
    /// held is where a rollback has put it.
    pub(in crate::engine) fn hooks(&self, release: &ReleaseId, trigger: &Trigger, timeout: Duration) -> Hooks {
        let view = disk(|| self.history.component(&release.component));
        let held = view.as_ref().is_some_and(|view| view.hold.is_some());
        let finished = view.is_some_and(|view| view.unfinished.is_none() && view.healthy.as_ref() == Some(release));
        if *trigger == Trigger::Drift || (*trigger == Trigger::Restart && finished && !held) {
            return Hooks::Skipped;
        }
        let rollback = held || trigger.is_rollback();
        let ended = disk(|| self.history.hooks(release)).into_iter();
        // Whether it did anybody good or not: what failed is told once.
        let done = ended.filter(|hook| hook.succeeded || hook.moment == Moment::OnFailure).map(|hook| hook.key).collect();
        Hooks::Due { rollback, done, timeout }
    }

    /// Runs what a release has for its failure, if it wrote anything but its hooks. Ends before anything is done about the
    /// failure.
    pub(super) async fn run_hooks_of_failure(&self, run: &pipeline::Run<'_>, release: &ReleaseId) {
        let recalled = disk(|| self.history.recall(release)).map(Desired::from).map_err(Error::from);
        let ended = match recalled {
            Ok(desired) if self.wrote_more_than_hooks(&desired) => crate::hooks::on_failure(run, desired).await,
            recalled => recalled.map(drop),
        };
        if let Err(error) = ended {
            tracing::warn!(%release, reason = error.reason(), error = %chain(&error), "the hooks of its failure did not run");
        }
    }

    /// Whether anything of a release was written but its hooks.
    pub(super) fn wrote_more_than_hooks(&self, desired: &Desired) -> bool {
        let release = &desired.release().id;
        let is_hook = |key: &ObjectKey| {
            let found = desired.objects().iter().find(|placed| placed.manifest.key() == key);
            found.is_some_and(|placed| !matches!(Hook::of(&placed.manifest), Ok(None)))
        };
        let owned = disk(|| self.history.inventory(&release.component));
        owned.iter().any(|entry| entry.release == release.number && !is_hook(&entry.key))
    }

    /// Whether a release is only kept as it is while a newer one has not got past its first hooks.
    pub(super) fn looks_after_while_another_comes(&self, release: &ReleaseId, trigger: &Trigger) -> bool {
        let view = disk(|| self.history.component(&release.component));
        let newer = view.is_some_and(|view| view.hold.is_none() && view.latest.id != *release);
        newer && matches!(trigger, Trigger::Drift | Trigger::Restart)
    }

    /// How a hook of a release failed, if one did and stopped it.
    pub(super) fn failed_hook(&self, release: &ReleaseId) -> Option<String> {
        let hooks = disk(|| self.history.hooks(release));
        let failed = hooks.iter().find(|hook| !hook.succeeded && hook.moment != Moment::OnFailure)?;
        let outcome = disk(|| self.history.release(release)).and_then(|known| known.outcome);
        Some(outcome.map_or_else(|| format!("{} failed", failed.key), |outcome| outcome.message))
    }

    /// Why a component is not as it ought to be, though all of it was applied.
    pub(super) fn not_healthy(&self, component: &ComponentName) -> &'static str {
        let view = disk(|| self.history.component(component));
        let failed = view.and_then(|view| self.failed_hook(Standing::of(&view).release()));
        if failed.is_some() { HOOK_FAILED } else { NOT_HEALTHY }
    }
}

/// Whether a run that ended badly is not tried again by the clock, and had got as far as the release's own objects.
pub(super) fn failed_for_good(result: &Result<Outcome, Error>) -> bool {
    match result {
        Ok(outcome) => outcome.status == Status::Unhealthy,
        Err(error) => !error.class().may_pass(),
    }
}
