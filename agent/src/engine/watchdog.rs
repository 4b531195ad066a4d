//! The engine's eye on the cluster: drift is repaired, and what became healthy late is recorded as healthy.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tk8s_core::{ComponentName, ObjectKey};
use tk8s_deploy::Trigger;
use tk8s_diff::live::Seen;
use tk8s_diff::memory::{Compared, Drift, compare};
use tk8s_diff::ownership::DriftMode;
use tk8s_history::{ComponentView, Status};
use tokio::time::Instant;

use super::Engine;
use super::attention::Attention;
use super::platform::Unit;
use super::run::{Job, NOT_HEALTHY};
use super::slot::{Progress, Slot};
use super::standing::Standing;
use super::undoing::NOT_ROLLED_BACK;
use crate::disk::disk;
use crate::memory::Entry;

/// Changes that come together are looked at together. Short, because drift waits for it.
const SETTLE: Duration = Duration::from_millis(20);
/// Of how many objects that drifted at once the log tells.
const TOLD: usize = 5;
/// After how long a quiet cluster is looked at all the same: some alarms end by time.
const QUIET: Duration = Duration::from_secs(60);
/// How often what ends by time is looked at: pauses between retries, and alarms.
const TICK: Duration = Duration::from_millis(500);

impl Engine {
    /// Opens a watch for every kind that is owned. A restart knows the kinds, so it asks no discovery.
    pub(super) fn watch_what_is_owned(&self) {
        for resource in self.memory.resources() {
            self.live.watch(&resource);
        }
    }

    /// Wakes at every change in the cluster, and from time to time without one.
    pub(super) async fn follow_cluster(self: Arc<Self>) {
        let mut changes = self.live.changes();
        let mut looked = Instant::now();
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                changed = changes.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    tokio::time::sleep(SETTLE).await;
                    changes.borrow_and_update();
                }
                _ = ticks.tick() => {
                    disk(|| self.memory.keep());
                    self.look_for_alarms();
                    if looked.elapsed() > QUIET {
                        looked = Instant::now();
                        self.attend(Attention::All);
                    }
                    self.retry_what_is_due().await;
                }
                () = self.stop.cancelled() => return,
            }
            self.look_for_drift();
        }
    }

    /// Compares what was remembered of owned objects with what the watches say, in the components that something happened to;
    /// no request is sent for it.
    fn look_for_drift(self: &Arc<Self>) {
        let attention = self.attention();
        if attention == Attention::None {
            return;
        }
        if attention == Attention::All {
            let looked_after: BTreeSet<_> = self.looked_after().iter().map(|unit| unit.spec.name.clone()).collect();
            self.causes.keep_those(|name| looked_after.contains(name));
        }
        let suspensions = disk(|| self.history.suspensions());
        for unit in &self.attended(&attention) {
            let name = &unit.spec.name;
            let slot = self.slot(name);
            self.look_for_alarms_of(unit);
            self.look_whether_steady(unit);
            self.look_for_causes_of(name);
            // Whoever runs asks for another look when it ends, and so does whoever resumes.
            if self.covered(&suspensions, unit).next().is_some() {
                continue;
            }
            if !slot.is_idle() {
                self.bring_back_what_is_waited_for(unit, &slot);
                continue;
            }
            self.give_up_what_is_left_to_others(unit);
            let mut drifted = self.drifted(unit);
            // What is only told is told by the status.
            if unit.fields.drift != DriftMode::Repair {
                drifted.clear();
            }
            // A kind that is not served can't be written. When it is back, its watch says so.
            drifted.retain(|(key, _)| !self.is_unserved(key));
            if !drifted.is_empty() {
                self.without_what_is_left_out(name, &mut drifted);
            }
            let late = matches!(slot.progress(), Progress::Failed { reason, .. } if [NOT_HEALTHY, NOT_ROLLED_BACK].contains(&reason.as_str()))
                && self.all_healthy(name);
            let rid = self.is_rid_of(name);
            if drifted.is_empty() && !late && !rid {
                continue;
            }
            let Some(view) = disk(|| self.history.component(name)) else { continue };
            let standing = Standing::of(&view);
            let written = disk(|| self.history.inventory(name)).into_iter();
            let written = written.filter(|entry| !self.memory.is_hook(&entry.key)).map(|entry| entry.release);
            let repaired_by = standing.repaired_by(&view, written).filter(|release| !self.is_behind(release));
            match (drifted.first(), repaired_by) {
                // What can't be repaired now is not counted as repaired and undone by somebody.
                (Some(_), Some(_)) if self.tenure.check().is_err() => self.look_again(name),
                (Some(_), Some(current)) if self.may_repair(name, &slot, &drifted) => {
                    self.start_alone(unit, Job::Known(current), Trigger::Drift);
                }
                (None, Some(current)) if rid => {
                    tracing::info!(component = %name, "what had left the release is gone: the inventory forgets it");
                    self.start_alone(unit, Job::Known(current), Trigger::Restart);
                }
                (None, _) if late && waited_in_vain(&standing, &view) => {
                    let release = standing.release().clone();
                    tracing::info!(%release, "became healthy after its deadline");
                    self.start_alone(unit, Job::Known(release), Trigger::Restart);
                }
                _ => {}
            }
        }
    }

    /// A release that is waited for can't become healthy when something that it wrote is gone: it is applied anew at once,
    /// instead of after a wait in vain. What was only changed is put back when the wait is over, as ever.
    fn bring_back_what_is_waited_for(&self, unit: &Unit, slot: &Slot) {
        if unit.fields.drift != DriftMode::Repair || !slot.is_waiting() {
            return;
        }
        let name = &unit.spec.name;
        let mut gone = self.drifted(unit);
        gone.retain(|(key, drift)| *drift == Drift::Gone && !self.is_unserved(key));
        if gone.is_empty() {
            return;
        }
        let Some(view) = disk(|| self.history.component(name)) else { return };
        let number = Standing::of(&view).release().number;
        let inventory = disk(|| self.history.inventory(name));
        // What another release wrote is on its way out.
        gone.retain(|(key, _)| inventory.iter().any(|entry| entry.key == *key && entry.release == number));
        if !gone.is_empty() && self.may_repair(name, slot, &gone) {
            slot.begin_anew();
        }
    }

    /// Whether any of this may be repaired now: what is undone again and again has to wait. Counts and tells it as repaired.
    fn may_repair(&self, name: &ComponentName, slot: &Slot, drifted: &[(ObjectKey, Drift)]) -> bool {
        let due = {
            let mut repairs = slot.repairs();
            let due: Vec<_> = repairs.due(drifted.iter().map(|(key, _)| key), Instant::now()).into_iter().cloned().collect();
            for (key, drift) in drifted.iter().filter(|(key, _)| due.contains(key)) {
                repairs.explain(key, drift.to_string());
            }
            due.len()
        };
        if due == 0 {
            self.look_again(name);
            return false;
        }
        for (key, drift) in drifted.iter().take(TOLD) {
            let fought = slot.repairs().fought(key);
            tracing::warn!(component = %name, object = %key, %drift, undone = fought, "drift: repairing");
        }
        self.metrics.repairs.get_or_create(&crate::metrics::Metrics::component(name)).inc_by(due as u64);
        true
    }

    /// What of a component is not as we left it.
    pub(super) fn drifted(&self, unit: &Unit) -> Vec<(ObjectKey, Drift)> {
        let parts = self.memory.parts_of(&unit.spec.name);
        let drift = |part: &Arc<Entry>| match compare(&part.known, &part.key, &self.live.seen(&part.key), &unit.fields) {
            Compared::Drifted(drift) => Some((part.key.clone(), drift)),
            _ => None,
        };
        parts.iter().filter_map(drift).collect()
    }

    /// What is left to others by the rules, and was taken by them, is not ours any more.
    fn give_up_what_is_left_to_others(&self, unit: &Unit) {
        for part in self.memory.parts_of(&unit.spec.name) {
            let (key, seen) = (&part.key, self.live.seen(&part.key));
            if let (Compared::Yielded, Seen::Present(seen)) = (compare(&part.known, key, &seen, &unit.fields), &seen) {
                tracing::info!(component = %unit.spec.name, object = %key, "fields were left to those who have them now");
                self.memory.yielded(key, seen);
            }
        }
    }

    /// What a rollback left as it was is nobody's to repair.
    fn without_what_is_left_out(&self, name: &ComponentName, drifted: &mut Vec<(ObjectKey, Drift)>) {
        let Some(release) = disk(|| self.history.component(name)).map(|view| Standing::of(&view).release().clone()) else {
            return;
        };
        let left_out = disk(|| self.history.left_out(&release));
        drifted.retain(|(key, _)| !left_out.iter().any(|left| left.object == *key));
    }

    fn is_unserved(&self, key: &ObjectKey) -> bool {
        self.live.trouble(key).is_some_and(|trouble| trouble.unserved)
    }

    /// Whether something that left the release and stayed is gone by now.
    fn is_rid_of(&self, name: &ComponentName) -> bool {
        self.memory.left_behind(name).iter().any(|left| match self.live.seen(&left.key) {
            Seen::Absent => true,
            Seen::Present(seen) => seen.uid != left.known.uid,
            // The next run asks.
            Seen::Unwatched | Seen::OutOfSight => false,
        })
    }

    /// A run that waits for nothing below: what it brings has run before.
    pub(super) fn start_alone(self: &Arc<Self>, unit: &Arc<super::platform::Unit>, job: Job, trigger: Trigger) {
        if self.rests(unit, &job, &trigger) {
            return;
        }
        let slot = self.slot(&unit.spec.name);
        let (ticket, cancel) = slot.join_in();
        slot.set(Progress::Running);
        let (engine, unit) = (Arc::clone(self), Arc::clone(unit));
        tokio::spawn(async move {
            let began = Instant::now();
            engine.take_turn_or_say_so(&unit, &slot, ticket, cancel, job, &trigger).await;
            tracing::debug!(component = %unit.spec.name, took = ?began.elapsed(), "done");
        });
    }

    /// Whether the watches call every owned object healthy that is in sight.
    pub(super) fn all_healthy(&self, name: &ComponentName) -> bool {
        self.memory.parts_of(name).iter().all(|part| match self.live.seen(&part.key) {
            Seen::Present(seen) => seen.health.is_settled(),
            Seen::Unwatched => false,
            Seen::OutOfSight => true,
            // What ends by itself and is gone did its work.
            Seen::Absent => part.known.ends(),
        })
    }
}

/// Whether a release ended because something was not healthy in time: all of it was applied, or what was left waited for that.
fn waited_in_vain(standing: &Standing, view: &ComponentView) -> bool {
    let unhealthy = view.latest_outcome.as_ref().is_some_and(|outcome| outcome.status == Status::Unhealthy);
    matches!(standing, Standing::Unhealthy(_))
        || (matches!(standing, Standing::Unfinished(_)) && unhealthy && view.hold.is_none())
}
