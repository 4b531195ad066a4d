//! One run of the pipeline for one component: wait for what it stands on, take the turn, deploy, say how it went.

use std::collections::{BTreeSet, HashSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tk8s_config::OnFailure;
use tk8s_core::{Class, Classified as _, ComponentName, ObjectKey, ReleaseId, Removal, Timestamp, chain};
use tk8s_deploy::{Applied, Closed, GateRules, Own, PruneBudget, Trigger};
use tk8s_diff::{Foretold, Hooks};
use tk8s_history::{Desired, Outcome, Release, Status};
use tk8s_images::Resolved;
use tokio_util::sync::CancellationToken;

use super::Engine;
use super::hooks::{HOOK_FAILED, failed_for_good};
use super::places::Place;
use super::platform::Unit;
use super::slot::{Progress, Slot};
use super::standing::Standing;
use crate::disk::disk;
use crate::error::Error;
use crate::pipeline;

/// What a run brings into the cluster.
pub(super) enum Job {
    /// Something new from Git: it becomes a release when its turn comes.
    New(Box<Resolved>),
    /// A release that is already recorded.
    Known(ReleaseId),
    /// A former release that a person wants back.
    Back(Former, Manner),
}

/// A former release.
pub(super) enum Former {
    /// Of many, each is recalled when its turn comes: together they fill the memory.
    Named(ReleaseId),
    /// Its bytes were proven a moment ago.
    Proven(Box<Desired>),
}

impl Former {
    pub(super) fn release(&self) -> &ReleaseId {
        match self {
            Former::Named(release) => release,
            Former::Proven(desired) => &desired.release().id,
        }
    }
}

/// How a person wants a former release back.
#[derive(Clone, Debug, Default)]
pub(super) struct Manner {
    /// Whether the rest goes on without objects that the API server does not take.
    pub skip_rejected: bool,
    /// Whether kinds that are otherwise never deleted may be.
    pub delete_protected: bool,
    /// What was asked before any of many went back.
    pub foretold: Option<Arc<Foretold>>,
}

/// The reason of a component that was applied and is not healthy.
pub const NOT_HEALTHY: &str = "NotHealthyInTime";
/// After how long deletions that were refused are tried again.
const PRUNE_AGAIN: Duration = Duration::from_secs(600);

/// How a run of the pipeline is reported: the writes first, then the end.
pub(super) type Heard<'a> = &'a (dyn Fn(&Applied) + Sync);

impl Engine {
    /// Starts a run in the background; it waits for what the component stands on.
    pub(super) fn start(self: &Arc<Self>, unit: Arc<Unit>, job: Job, trigger: Trigger) {
        self.start_after(Vec::new(), unit, job, trigger);
    }

    /// The same, once the runs of these components have ended, however they ended.
    pub(super) fn start_after(self: &Arc<Self>, others: Vec<ComponentName>, unit: Arc<Unit>, job: Job, trigger: Trigger) {
        if self.rests(&unit, &job, &trigger) {
            return;
        }
        let slot = self.slot(&unit.spec.name);
        let (ticket, cancel) = slot.supersede();
        slot.set(Progress::in_its_turn());
        let engine = Arc::clone(self);
        tokio::spawn(async move {
            engine.wait_for_the_end_of(&others, &slot, &cancel).await;
            if let Err(blocked) = engine.wait_for_what_it_stands_on(&unit, &slot, &cancel).await {
                if slot.is_current(ticket) {
                    slot.set(blocked);
                }
                engine.look_again(&unit.spec.name);
                return;
            }
            engine.take_turn_or_say_so(&unit, &slot, ticket, cancel, job, &trigger).await;
        });
    }

    /// Takes the turn, and says so if that ends by a panic: a place that only looks busy blocks everybody above.
    pub(super) async fn take_turn_or_say_so(
        &self,
        unit: &Unit,
        slot: &Slot,
        ticket: u64,
        cancel: CancellationToken,
        job: Job,
        trigger: &Trigger,
    ) {
        use futures::FutureExt as _;
        let turn = self.take_turn(unit, slot, ticket, cancel, job, trigger, &|_| ());
        if std::panic::AssertUnwindSafe(turn).catch_unwind().await.is_err() && slot.is_current(ticket) {
            let error = Error::Panicked("run");
            slot.set(Progress::Failed { class: error.class(), reason: error.reason().into(), message: error.to_string() });
        }
    }

    /// Waits until others have come to an end, whichever it is.
    async fn wait_for_the_end_of(&self, others: &[ComponentName], slot: &Slot, cancel: &CancellationToken) {
        for name in others {
            let mut other = self.slot(name).watch();
            slot.set(Progress::Waiting(format!("comes last, after {name}")));
            tokio::select! {
                _ = other.wait_for(|progress| matches!(progress, Progress::Settled | Progress::Failed { .. })) => {}
                () = cancel.cancelled() => return,
                () = self.stop.cancelled() => return,
            }
        }
    }

    /// Waits until everything below has settled. What failed there stops this one, with a sentence that says so.
    async fn wait_for_what_it_stands_on(&self, unit: &Unit, slot: &Slot, cancel: &CancellationToken) -> Result<(), Progress> {
        for name in &unit.stands_on {
            let mut below = self.slot(name).watch();
            slot.set(Progress::Waiting(format!("waits for {name}")));
            tokio::select! {
                ended = below.wait_for(|progress| matches!(progress, Progress::Settled | Progress::Failed { .. })) => {
                    let failed = ended.is_ok_and(|progress| matches!(*progress, Progress::Failed { .. }));
                    if failed && self.stops_others(name) {
                        let message = format!("stands on {name}, which did not settle");
                        return Err(Progress::Failed { class: Class::Waiting, reason: "DependencyNotSettled".into(), message });
                    }
                }
                // What stands on this one must not take it for settled.
                () = cancel.cancelled() => return Err(self.suspended_progress(unit).unwrap_or(Progress::Settled)),
                () = self.stop.cancelled() => return Err(Progress::Settled),
            }
        }
        Ok(())
    }

    /// Whether the failure of a component stops what stands on it.
    fn stops_others(&self, name: &ComponentName) -> bool {
        let units = self.world().units.clone();
        units.and_then(|units| units.get(name).map(|unit| self.on_failure(unit))) != Some(OnFailure::Continue)
    }

    /// Runs the pipeline when the component is free, unless something newer was asked for meanwhile.
    #[expect(clippy::too_many_arguments, reason = "the parts of one run, named where they are used")]
    pub(super) async fn take_turn(
        &self,
        unit: &Unit,
        slot: &Slot,
        ticket: u64,
        cancel: CancellationToken,
        job: Job,
        trigger: &Trigger,
        heard: Heard<'_>,
    ) -> Result<Outcome, Error> {
        let turn = slot.turn.lock().await;
        if !slot.is_current(ticket) || self.stop.is_cancelled() {
            return Err(Error::Superseded);
        }
        let known = if let Job::Known(release) = &job { Some(release.clone()) } else { None };
        let result = self.deploy_at_a_place(unit, (slot, ticket), cancel, job, trigger, heard).await;
        let progress = match self.undo(unit, slot, ticket, trigger, &result).await {
            Some(undone) => undone,
            None => self.progress_after(&unit.spec.name, known.as_ref(), &result),
        };
        let word = match &result {
            Ok(outcome) => format!("{:?}", outcome.status),
            Err(error) => error.reason().to_owned(),
        };
        self.metrics.runs.get_or_create(&crate::metrics::Metrics::outcome(&word)).inc();
        if slot.is_current(ticket) {
            slot.set(progress);
            if let Ok(Outcome { status: Status::Healthy, message, .. }) = &result
                && !message.is_empty()
            {
                slot.again_in(PRUNE_AGAIN);
            }
            if let Err(Error::Denied(denied)) = &result
                && let Some(opens) = denied.until
            {
                slot.again_at(opens);
            }
            if matches!(trigger, Trigger::Drift) && self.waits_to_begin(&unit.spec.name) {
                // Its place has forgotten until when.
                slot.again_in(std::time::Duration::ZERO);
            }
        }
        // Whoever looks now has to find the place free: it passes over one that is taken.
        drop(turn);
        self.look_again(&unit.spec.name);
        result
    }

    /// How a component is after a run: what was refused before anything was written, and what was undone before, is shown as
    /// it will be after a restart. `release`: what was to run, where it is known.
    fn progress_after(&self, name: &ComponentName, release: Option<&ReleaseId>, result: &Result<Outcome, Error>) -> Progress {
        let progress = self.progress_of(name, result);
        let Some(view) = disk(|| self.history.component(name)) else { return progress };
        let standing = Standing::of(&view);
        let refused = result.is_err() && matches!(standing, Standing::Denied(_));
        let told = match progress {
            Progress::Settled => self.undone_before(&view),
            _ if refused && release.is_none_or(|release| release == standing.release()) => self.failed_before(&standing, &view),
            _ => None,
        };
        told.unwrap_or(progress)
    }

    /// Whether a release is recorded that ought to run and was not let in yet.
    fn waits_to_begin(&self, name: &ComponentName) -> bool {
        let view = disk(|| self.history.component(name));
        let waits = view.filter(|view| matches!(Standing::of(view), Standing::Unfinished(_)) && view.hold.is_none());
        waits.is_some_and(|view| !disk(|| self.history.was_begun(&view.latest.id)))
    }

    /// Waits for a place among those that are under way, and runs the pipeline there; anew, for the same reason, as often as
    /// that is to begin anew.
    pub(super) async fn deploy_at_a_place(
        &self,
        unit: &Unit,
        (slot, ticket): (&Slot, u64),
        mut cancel: CancellationToken,
        mut job: Job,
        trigger: &Trigger,
        heard: Heard<'_>,
    ) -> Result<Outcome, Error> {
        loop {
            let objects = if let Job::New(resolved) = &job { resolved.parts().objects.len() } else { 0 };
            let place = tokio::select! {
                place = self.places.enter(trigger, objects) => place,
                () = cancel.cancelled() => return Err(self.suspension_of(unit).map_or(Error::Superseded, Error::Suspended)),
                () = self.stop.cancelled() => return Err(Error::Stopping),
            };
            if slot.is_current(ticket) {
                slot.set(Progress::Running);
            }
            let result = self.deploy(unit, place, cancel, job, trigger, heard).await;
            let is_to_begin_anew = slot.ends() && matches!(&result, Ok(Outcome { status: Status::Superseded, .. }));
            if !is_to_begin_anew || !slot.is_current(ticket) {
                return result;
            }
            let Some(view) = disk(|| self.history.component(&unit.spec.name)) else { return result };
            (job, cancel) = (Job::Known(Standing::of(&view).release().clone()), slot.join_in().1);
        }
    }

    async fn deploy(
        &self,
        unit: &Unit,
        place: Place,
        cancel: CancellationToken,
        job: Job,
        trigger: &Trigger,
        heard: Heard<'_>,
    ) -> Result<Outcome, Error> {
        self.tenure.check()?;
        // Only a person puts back what ran before something that is lost.
        if let Job::Known(release) = &job
            && !matches!(trigger, Trigger::Rollback { .. })
        {
            self.not_behind(release)?;
        }
        let place = Mutex::new(Some(place));
        let config = self.config();
        let component = &unit.spec.name;
        let (desired, manner): (Desired, _) = match job {
            Job::New(resolved) => {
                let account = unit.spec.service_account.clone();
                (disk(|| self.history.stage_for(*resolved, account, Timestamp::now()))?.into(), None)
            }
            Job::Known(release) => (disk(|| self.history.recall(&release))?.into(), None),
            Job::Back(Former::Named(release), manner) => (disk(|| self.history.recall(&release))?.into(), Some(manner)),
            Job::Back(Former::Proven(desired), manner) => (*desired, Some(manner)),
        };
        let header = Arc::clone(desired.release());
        let release = header.id.clone();
        let told = self.before_run(&header);
        tracing::info!(%release, trigger = trigger.as_str(), "release begins");
        let slot = self.slot(component);
        let mut rules = self.rules(unit, &desired, trigger, manner);
        self.knows_what_confines(&header, rules.comes_in)?;
        let health_timeout = unit.spec.health_timeout.unwrap_or(config.apply.health_timeout);
        let hooks = self.hooks(&release, trigger, health_timeout);
        let failed = self.failed_hook(&release).filter(|_| matches!(hooks, Hooks::Skipped));
        // After a failure nothing is deleted, and what a newer release has begun with is not this one's to delete.
        rules.prune &= failed.is_none() && !self.looks_after_while_another_comes(&release, trigger);
        let cluster = self.cluster_of(component);
        let own = self.own_of(&desired, rules.comes_in || trigger.is_rollback()).await?;
        let roles = own.roles.clone();
        let run = pipeline::Run {
            instance: &self.instance,
            cluster: &cluster,
            live: &self.live,
            history: &self.history,
            memory: &self.memory,
            metrics: &self.metrics,
            trigger,
            gate: &|| self.gate_rules(unit, &header, &roles),
            own,
            rules,
            hooks,
            failed,
            concurrency: config.apply.concurrency,
            health_timeout,
            run_timeout: unit.spec.run_timeout,
            cancel,
            stop: &self.stop,
            fence: self.tenure.fence(&self.stop),
            applied: &|applied| {
                // Whoever only waits to become healthy is in nobody's way.
                drop(place.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take());
                heard(applied);
            },
            awaits: &|applied| {
                slot.waits_for_health();
                self.look_again(component);
                self.await_hooks_of(&slot, applied);
            },
        };
        let result = match self.still_counts(&header, trigger) {
            Ok(()) => pipeline::deploy(&run, desired).await,
            Err(error) => Err(error),
        };
        self.tell_run(told, trigger, &result);
        match &result {
            Ok(outcome) => {
                self.memory.made_sure(component);
                tracing::info!(%release, status = ?outcome.status, message = outcome.message, "release ended");
            }
            Err(error) => {
                tracing::warn!(%release, reason = error.reason(), error = %chain(error), "release failed");
                self.write_down_failure(&release, error);
            }
        }
        if failed_for_good(&result) && !run.cancel.is_cancelled() && !self.stop.is_cancelled() {
            self.run_hooks_of_failure(&run, &release).await;
        }
        slot.awaits(None);
        result
    }

    /// Refuses to begin something new whose signer turned out to be compromised while it waited. What was begun is finished, and
    /// what ran is put back if a person says so.
    fn still_counts(&self, release: &Release, trigger: &Trigger) -> Result<(), Error> {
        if !matches!(trigger, Trigger::Sync | Trigger::Restart) || disk(|| self.history.was_begun(&release.id)) {
            return Ok(());
        }
        let withdrawn = |unapproved: &&tk8s_gitsync::Unapproved| Some(&unapproved.tag) == release.revision.tag.as_ref();
        if let Some(unapproved) = self.world().unapproved.iter().find(withdrawn) {
            return Err(Error::ApprovalsMissing(crate::trust::still_missing(&unapproved.missing)));
        }
        let let_in = release.revision.tag.as_ref().is_some_and(|tag| disk(|| self.history.is_glass_broken(&tag.id)));
        crate::trust::still_counts(&self.config(), &release.trust, let_in)
    }

    fn progress_of(&self, component: &ComponentName, result: &Result<Outcome, Error>) -> Progress {
        match result {
            Ok(outcome) if matches!(outcome.status, Status::Healthy | Status::Superseded) => Progress::Settled,
            // Not tried again by the clock: the watchdog sees when it becomes healthy after all.
            Ok(outcome) => self.unhealthy(component, &outcome.message),
            Err(Error::Superseded) => Progress::Settled,
            Err(error) => Progress::Failed { class: error.class(), reason: error.reason().into(), message: chain(error) },
        }
    }

    /// How a component is that was applied and is not as it ought to be: the same after its run and whenever that is looked up.
    pub(super) fn unhealthy(&self, component: &ComponentName, message: &str) -> Progress {
        let reason = self.not_healthy(component);
        let what = match reason {
            HOOK_FAILED => "a hook failed, and is not run again by itself".to_owned(),
            _ => format!("{component} did not become healthy in time"),
        };
        Progress::Failed { class: Class::Stalled, reason: reason.into(), message: format!("{what}: {message}") }
    }

    /// A release that failed before anything was begun is written down too: an absence would be retried for ever.
    fn write_down_failure(&self, release: &ReleaseId, error: &Error) {
        if error.class().may_pass() {
            return;
        }
        let reasons = match error {
            Error::Denied(denied) => denied.reasons(),
            error => vec![format!("{}: {}", error.reason(), chain(error))],
        };
        if let Err(error) = disk(|| self.history.deny(release, reasons, Timestamp::now())) {
            tracing::error!(%release, error = %chain(&error), "could not write down why the release failed");
        }
    }

    /// What may be deleted, and whose fields are whose. A person who wants a release back gets all of it.
    pub(super) fn rules(&self, unit: &Unit, desired: &Desired, trigger: &Trigger, manner: Option<Manner>) -> tk8s_diff::Rules {
        let comes_in = self.comes_in(&desired.release().id, trigger);
        let wanted_elsewhere = self.wanted_elsewhere(&unit.spec.name, desired);
        let mut rules = tk8s_diff::Rules { wanted_elsewhere, comes_in, ..unit.rules(self.live.scope()) };
        if let Some(Removal { protect, .. }) = &desired.release().removal {
            (rules.prune, rules.protect) = (true, protect.clone());
        }
        self.rules_of_going_back(rules, &desired.release().id, trigger, manner)
    }

    /// Those of a component's objects, as they are to be and as they are, that another component wants: because Git brought
    /// them for it last or, where nothing is on the way for it, because they are part of it.
    fn wanted_elsewhere(&self, component: &ComponentName, desired: &Desired) -> HashSet<ObjectKey> {
        let owned = disk(|| self.history.inventory(component)).into_iter().map(|entry| entry.key);
        let about: HashSet<ObjectKey> =
            desired.objects().iter().map(|placed| placed.manifest.key().clone()).chain(owned).collect();
        let looked_after = self.looked_after();
        let other = |name: &ComponentName| name != component && looked_after.iter().any(|unit| unit.spec.name == *name);
        let wanted = self.wanted.read().unwrap_or_else(std::sync::PoisonError::into_inner);
        let elsewhere = |key: &ObjectKey| {
            wanted.wanting(key).any(&other)
                || self.memory.component_of(key).is_some_and(|name| !wanted.is_known(&name) && other(&name))
        };
        about.into_iter().filter(elsewhere).collect()
    }

    /// What the gate asks, as things stand now. `roles`: those of the agent, where somebody looked.
    pub(super) fn gate_rules(&self, unit: &Unit, release: &Release, roles: &BTreeSet<ObjectKey>) -> GateRules {
        let component = &unit.spec.name;
        let objects = release.removal.as_ref().map_or(unit.spec.prune.budget_objects, |removal| removal.budget);
        let budget = PruneBudget { objects, percent: unit.spec.prune.budget_percent };
        let confirmed = disk(|| self.history.confirmed(&release.id));
        let view = disk(|| self.history.component(component));
        let (held, running) = view.map_or((None, None), |view| (view.hold, view.current));
        let (own, instance_namespace) = (Own { roles: roles.clone(), ..self.own() }, Some(crate::run::namespace(&self.config())));
        let suspended = self.suspension_of(unit);
        let closed = unit.spec.windows.closed(Timestamp::now()).map(|closed| Closed { until: closed.until, why: closed.why });
        let promotion = self.promotion_of(release);
        // Asked for only where it matters.
        let begun = closed.is_some() && disk(|| self.history.was_begun(&release.id));
        GateRules {
            held,
            running,
            suspended,
            closed,
            promotion,
            begun,
            budget,
            confirmed,
            own,
            instance_namespace,
            ..GateRules::of(self.environment())
        }
    }
}
