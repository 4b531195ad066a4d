//! Which hooks a run waits for, and until when: kept while it waits, and told by the status.

use std::time::Duration;

use jiff::SignedDuration;
use serde::{Deserialize, Serialize};
use tk8s_core::{ComponentName, HealthState, Moment, ObjectKey, Timestamp};
use tk8s_deploy::Applied;
use tk8s_diff::live::Seen;

use super::Engine;
use super::slot::{Progress, Slot};

/// The hooks of one turn.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Awaited {
    moment: Moment,
    hooks: Vec<ObjectKey>,
    /// Until when, if their Jobs say nothing else.
    until: Timestamp,
}

/// A hook that a component waits for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AwaitedHook {
    pub object: String,
    pub moment: Moment,
    /// When the cluster ends it.
    pub until: Timestamp,
}

/// Of how many hooks a sentence tells.
const TOLD: usize = 3;

impl Awaited {
    /// What is waited for after a turn was applied; nothing if it is no turn of hooks.
    fn after(applied: &Applied, now: Timestamp) -> Option<Awaited> {
        let (moment, patience) = applied.plan().hooks()?;
        Some(Awaited { moment, hooks: applied.plan().objects().cloned().collect(), until: after(now, patience) })
    }
}

/// What is waited for, as it follows the name of a state.
pub(super) fn sentence(awaited: &[AwaitedHook]) -> Option<String> {
    let told = |hook: &AwaitedHook| format!("{} ({}), until {} at the latest", hook.object, hook.moment, hook.until);
    let words: Vec<_> = awaited.iter().take(TOLD).map(told).collect();
    let more = awaited.len().checked_sub(TOLD + 1).map(|more| format!(" and {} more", more + 1)).unwrap_or_default();
    let hooks = if awaited.len() == 1 { "hook" } else { "hooks" };
    (!words.is_empty()).then(|| format!("waits for the {hooks} {}{more}", words.join(", ")))
}

impl Engine {
    /// A turn was applied: if it consists of hooks, they are what the component waits for.
    pub(super) fn await_hooks_of(&self, slot: &Slot, applied: &Applied) {
        slot.awaits(Awaited::after(applied, Timestamp::now()));
    }

    /// Which hooks a component waits for now. Those that have come to their end are not waited for any more, though others of
    /// their turn are.
    pub(super) fn awaited_by(&self, component: &ComponentName) -> Vec<AwaitedHook> {
        let slot = self.slot(component);
        let Some(Awaited { moment, hooks, until }) = slot.awaited().filter(|_| slot.progress() == Progress::Running) else {
            return Vec::new();
        };
        let awaited = hooks.iter().filter_map(|key| {
            let until = match self.live.seen(key) {
                Seen::Present(seen) if seen.health.state == HealthState::Healthy => return None,
                Seen::Present(seen) => ends_at(&seen.object()).unwrap_or(until),
                Seen::Absent | Seen::Unwatched | Seen::OutOfSight => until,
            };
            Some(AwaitedHook { object: key.to_string(), moment, until })
        });
        awaited.collect()
    }
}

/// When the cluster ends a Job, as the Job says it: one that was found running has had some of its time.
fn ends_at(job: &serde_json::Value) -> Option<Timestamp> {
    let began: Timestamp = job["status"]["startTime"].as_str()?.parse().ok()?;
    let patience = job["spec"]["activeDeadlineSeconds"].as_u64()?;
    Some(after(began, Duration::from_secs(patience)))
}

/// In whole seconds, as the cluster counts them.
fn after(begun: Timestamp, patience: Duration) -> Timestamp {
    let patience = SignedDuration::try_from(patience).unwrap_or(SignedDuration::MAX);
    let ends = begun.checked_add(patience).unwrap_or(Timestamp::MAX);
    Timestamp::from_second(ends.as_second()).unwrap_or(ends)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().expect("a time")
    }

    #[test]
    fn a_job_that_runs_is_ended_when_it_says_so_itself() {
        let job = json!({"status": {"startTime": "2026-01-01T00:00:10Z"}, "spec": {"activeDeadlineSeconds": 600}});
        assert_eq!(ends_at(&job), Some(at("2026-01-01T00:10:10Z")));
        assert_eq!(ends_at(&json!({"spec": {"activeDeadlineSeconds": 600}})), None, "it has not begun");
        let endless = json!({"status": {"startTime": "2026-01-01T00:00:10Z"}, "spec": {"activeDeadlineSeconds": u64::MAX}});
        assert!(ends_at(&endless).is_some_and(|end| end > at("9999-01-01T00:00:00Z")));
        assert_eq!(after(at("2026-01-01T00:00:10.7Z"), Duration::from_secs(2)), at("2026-01-01T00:00:12Z"));
    }

    #[test]
    fn a_few_hooks_are_named_and_the_rest_is_counted() {
        let hook = |number: usize| AwaitedHook {
            object: format!("Job.batch shop/migrate-{number}"),
            moment: Moment::BeforeApply,
            until: at("2026-01-01T00:10:10Z"),
        };
        assert_eq!(sentence(&[]), None);
        assert_eq!(
            sentence(&[hook(0)]).expect("one"),
            "waits for the hook Job.batch shop/migrate-0 (before-apply), until 2026-01-01T00:10:10Z at the latest"
        );
        let many: Vec<_> = (0..5).map(hook).collect();
        assert!(
            sentence(&many)
                .expect("many")
                .ends_with("migrate-2 (before-apply), until 2026-01-01T00:10:10Z at the latest and 2 more")
        );
        assert!(!sentence(&many[..3]).expect("three").contains("more"));
    }
}
