//! The full check: each kind is listed once in a while, and what its watch missed is found.
//!
//! Spread out, so that neither the API server nor this process is asked for much at once: one kind after the other, each at
//! a time of its own.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tk8s_core::chain;
use tk8s_diff::cluster::Resource;
use tokio::time::Instant;

use super::Engine;
use crate::metrics::Metrics;

/// How often it is looked whether a check is due.
const TICK: Duration = Duration::from_millis(500);
/// A check that was not completed is made good sooner.
const SOON: Duration = Duration::from_secs(300);
/// Of how many objects that a watch missed the log tells.
const TOLD: usize = 5;

impl Engine {
    /// Checks every kind that is watched, once in each interval, until told to stop.
    pub(super) async fn check_in_full(self: Arc<Self>) {
        let mut due: BTreeMap<Resource, Instant> = BTreeMap::new();
        loop {
            tokio::select! {
                () = tokio::time::sleep(TICK) => {}
                () = self.stop.cancelled() => return,
            }
            let (interval, watched) = (self.config().apply.full_check, self.live.watched());
            due.retain(|resource, _| watched.contains(resource));
            for resource in watched {
                // A kind was just listed when its watch was opened; not all are due again at the same time.
                let at = due.entry(resource.clone()).or_insert_with(|| Instant::now() + share(interval, 0.5, 1.0));
                // Another interval may be in force by now.
                *at = (*at).min(Instant::now() + interval.mul_f64(1.25));
                if *at <= Instant::now() && self.tenure.held() {
                    let next = if self.check_kind(&resource).await { interval } else { interval.min(SOON) };
                    due.insert(resource, Instant::now() + share(next, 0.75, 1.25));
                }
            }
        }
    }

    /// Whether the check was completed.
    async fn check_kind(&self, resource: &Resource) -> bool {
        let kind = &resource.kind;
        let ended = match self.live.check(resource).await {
            Ok(checked) => {
                tracing::debug!(%kind, objects = checked.objects, missed = checked.missed.len(), "full check");
                for object in checked.missed.iter().take(TOLD) {
                    tracing::warn!(%object, "the watch had missed what became of it");
                }
                self.metrics.missed.inc_by(checked.missed.len() as u64);
                "ok"
            }
            // A list that is not complete says nothing.
            Err(error) => {
                tracing::debug!(%kind, error = %chain(&error), "the full check was not completed");
                "failed"
            }
        };
        self.metrics.full_checks.get_or_create(&Metrics::outcome(ended)).inc();
        ended == "ok"
    }
}

/// A random part of a time.
fn share(interval: Duration, least: f64, most: f64) -> Duration {
    interval.mul_f64(least + rand::random::<f64>() * (most - least))
}
