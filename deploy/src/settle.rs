//! Waiting until what was applied is healthy: woken by the watches, never by a clock.

use std::collections::BTreeMap;
use std::time::Duration;

use tk8s_core::{Health, HealthState, ObjectKey};
use tk8s_diff::live::{Live, Seen};

use crate::health;
use crate::sealed::{Applied, Settled};

/// Waits until every object of the turn is healthy, for at most `timeout`, or until `cancel`. Ends early when something
/// failed for good: waiting would not help.
pub async fn settle(live: &Live, applied: Applied, timeout: Duration, cancel: impl Future<Output = ()>) -> Settled {
    let Applied { plan, begun, .. } = applied;
    let keys: Vec<ObjectKey> = plan.objects().cloned().collect();
    let mut changes = live.changes();
    let wait = async {
        loop {
            changes.borrow_and_update();
            let unhealthy = unhealthy(live, &keys);
            if unhealthy.is_empty() || unhealthy.values().any(health::is_final) || changes.changed().await.is_err() {
                return;
            }
        }
    };
    tokio::select! {
        () = wait => {}
        () = tokio::time::sleep(timeout) => {}
        () = cancel => {}
    }
    let unhealthy = unhealthy(live, &keys);
    Settled { plan, begun, unhealthy }
}

fn unhealthy(live: &Live, keys: &[ObjectKey]) -> BTreeMap<ObjectKey, Health> {
    let mut unhealthy = BTreeMap::new();
    for key in keys {
        let health = match live.seen(key) {
            Seen::Present(seen) => seen.health,
            // A Job that its own time to live removed has done its work.
            Seen::Absent if key.kind == "Job" => continue,
            Seen::Absent => Health::because(HealthState::Missing, "Missing", "it is not in the cluster"),
            Seen::Unwatched => Health::because(HealthState::Unknown, "Unwatched", "the watch of its kind has not answered yet"),
        };
        if health.state > HealthState::Suspended {
            unhealthy.insert(key.clone(), health);
        }
    }
    unhealthy
}
