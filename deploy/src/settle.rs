//! Waiting until what was applied is healthy: woken by the watches, never by a clock, and without a request.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use tk8s_core::{Health, HealthState, Moment, ObjectKey};
use tk8s_diff::live::{Live, Seen};
use tk8s_history::EndedHook;

use crate::health;
use crate::sealed::{Applied, Settled};

/// Waits until every object of the turn is healthy or rests, for at most `timeout`, or until `cancel`.
///
/// A turn of hooks waits until each has come to its end, for as long as they may take: one that rests, or is gone, has not.
///
/// Ends early when an object that this turn wrote failed for good: waiting would not help. What the turn did not write may
/// have failed because of what it did write, and gets its time.
pub async fn settle(live: &Live, applied: Applied, timeout: Duration, cancel: impl Future<Output = ()>) -> Settled {
    let Applied { plan, begun, answers } = applied;
    for answer in &answers {
        live.watch(&answer.resource);
    }
    let written = answers.into_iter().map(|answer| answer.key).collect();
    let (hooks, timeout) = match plan.hooks() {
        Some((moment, patience)) => (Some(moment), patience + LAST_WORD),
        None => (None, timeout),
    };
    let mut waiting = Waiting { written, finished: HashSet::new(), hooks: hooks.is_some() };
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
        all.iter().filter_map(|key| Some(((*key).clone(), waiting.look(live, key)?))).collect();
    let ended = hooks.map_or_else(Vec::new, |moment| all.iter().filter_map(|key| waiting.ended(live, key, moment)).collect());
    Settled { plan, begun, unhealthy, ended }
}

/// The cluster ends a hook's Job at its deadline, and says so better than we could.
const LAST_WORD: Duration = Duration::from_secs(5);

/// What is remembered of the objects that are waited for.
struct Waiting {
    /// What this turn wrote.
    written: HashSet<ObjectKey>,
    /// Jobs and Pods that were seen to have done their work: they may be tidied away.
    finished: HashSet<ObjectKey>,
    /// Whether they are hooks.
    hooks: bool,
}

impl Waiting {
    /// What keeps an object from being settled.
    fn look(&mut self, live: &Live, key: &ObjectKey) -> Option<Health> {
        self.judge(key, &live.seen(key))
    }

    fn judge(&mut self, key: &ObjectKey, seen: &Seen) -> Option<Health> {
        let ends = ends(key);
        let health = match seen {
            Seen::Present(seen) if self.is_settled(&seen.health) => {
                if ends && seen.health.state == HealthState::Healthy {
                    self.finished.insert(key.clone());
                }
                return None;
            }
            Seen::Present(seen) => seen.health.clone(),
            // What ends by itself, ended, and was tidied away has done its work; what was not touched ended long ago.
            Seen::Absent if ends && (self.finished.contains(key) || !(self.hooks || self.written.contains(key))) => return None,
            Seen::Absent => Health::because(HealthState::Missing, "Missing", "it is not in the cluster"),
            // Nobody would ever say that it is healthy.
            Seen::OutOfSight => return None,
            Seen::Unwatched => Health::because(HealthState::Unknown, "Unwatched", "the watch of its kind has not answered yet"),
        };
        Some(health)
    }

    fn failed_for_good(&self, live: &Live, key: &ObjectKey) -> bool {
        match live.seen(key) {
            Seen::Present(seen) => (self.hooks || self.written.contains(key)) && health::is_final(&seen.health),
            Seen::Absent => self.hooks && !self.finished.contains(key),
            Seen::Unwatched | Seen::OutOfSight => false,
        }
    }

    /// How a hook came to its end, if it has.
    fn ended(&self, live: &Live, key: &ObjectKey, moment: Moment) -> Option<EndedHook> {
        let (uid, succeeded) = match live.seen(key) {
            Seen::Present(seen) if seen.health.state == HealthState::Healthy => (seen.uid.clone(), true),
            Seen::Present(seen) if health::is_final(&seen.health) => (seen.uid.clone(), false),
            Seen::Absent if self.finished.contains(key) => (String::new(), true),
            _ => return None,
        };
        Some(EndedHook { key: key.clone(), moment, uid, succeeded })
    }

    /// Whether nothing is waited for. A hook that rests has not done what it is for.
    fn is_settled(&self, health: &Health) -> bool {
        if self.hooks { health.state == HealthState::Healthy } else { health.is_settled() }
    }
}

/// Kinds whose objects come to an end and are then tidied away by somebody.
fn ends(key: &ObjectKey) -> bool {
    matches!((key.group.as_str(), key.kind.as_str()), ("batch", "Job") | ("", "Pod"))
}

#[cfg(test)]
mod tests;
