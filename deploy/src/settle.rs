//! Waiting until what was applied is healthy: woken by the watches, never by a clock, and without a request.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use tk8s_core::{Health, HealthState, ObjectKey};
use tk8s_diff::live::{Live, Seen};

use crate::health;
use crate::sealed::{Applied, Settled};

/// Waits until every object of the turn is healthy or rests, for at most `timeout`, or until `cancel`.
///
/// Ends early when an object that this turn wrote failed for good: waiting would not help. What the turn did not write may
/// have failed because of what it did write, and gets its time.
pub async fn settle(live: &Live, applied: Applied, timeout: Duration, cancel: impl Future<Output = ()>) -> Settled {
    let Applied { plan, begun, answers } = applied;
    for answer in &answers {
        live.watch(&answer.resource);
    }
    let written = answers.into_iter().map(|answer| answer.key).collect();
    let mut waiting = Waiting { written, finished: HashSet::new() };
    let all: Vec<&ObjectKey> = plan.objects().collect();
    let mut changes = live.changes();
    let wait = async {
        // Between two looks at all of them only those that were not healthy are looked at.
        let mut left = all.clone();
        loop {
            changes.borrow_and_update();
            left.retain(|key| waiting.look(live, key).is_some());
            if left.is_empty() {
                left.clone_from(&all);
                left.retain(|key| waiting.look(live, key).is_some());
            }
            let hopeless = left.iter().any(|key| waiting.failed_for_good(live, key));
            if left.is_empty() || hopeless || changes.changed().await.is_err() {
                return;
            }
        }
    };
    tokio::select! {
        () = wait => {}
        () = tokio::time::sleep(timeout) => {}
        () = cancel => {}
    }
    let unhealthy: BTreeMap<ObjectKey, Health> =
        all.into_iter().filter_map(|key| Some((key.clone(), waiting.look(live, key)?))).collect();
    Settled { plan, begun, unhealthy }
}

/// What is remembered of the objects that are waited for.
struct Waiting {
    /// What this turn wrote.
    written: HashSet<ObjectKey>,
    /// Jobs and Pods that were seen to have done their work: they may be tidied away.
    finished: HashSet<ObjectKey>,
}

impl Waiting {
    /// What keeps an object from being settled.
    fn look(&mut self, live: &Live, key: &ObjectKey) -> Option<Health> {
        self.judge(key, &live.seen(key))
    }

    fn judge(&mut self, key: &ObjectKey, seen: &Seen) -> Option<Health> {
        let ends = ends(key);
        let health = match seen {
            Seen::Present(seen) if seen.health.is_settled() => {
                if ends && seen.health.state == HealthState::Healthy {
                    self.finished.insert(key.clone());
                }
                return None;
            }
            Seen::Present(seen) => seen.health.clone(),
            // What ends by itself, ended, and was tidied away has done its work; what was not touched ended long ago.
            Seen::Absent if ends && (self.finished.contains(key) || !self.written.contains(key)) => return None,
            Seen::Absent => Health::because(HealthState::Missing, "Missing", "it is not in the cluster"),
            Seen::Unwatched => Health::because(HealthState::Unknown, "Unwatched", "the watch of its kind has not answered yet"),
        };
        Some(health)
    }

    fn failed_for_good(&self, live: &Live, key: &ObjectKey) -> bool {
        self.written.contains(key) && matches!(live.seen(key), Seen::Present(seen) if health::is_final(&seen.health))
    }
}

/// Kinds whose objects come to an end and are then tidied away by somebody.
fn ends(key: &ObjectKey) -> bool {
    matches!((key.group.as_str(), key.kind.as_str()), ("batch", "Job") | ("", "Pod"))
}

#[cfg(test)]
mod tests;
