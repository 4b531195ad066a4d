//! How much is under way at once, from the first dry-run of a release to its last write.
//!
//! More than keeps all connections busy only costs memory and threads: each component that is under way holds its objects, what
//! the API server answered about them, and a thread whenever it waits for the disk. A person's rollback is never kept waiting,
//! and repairs don't wait for rollouts. Nobody waits for one that makes no headway: a place is lent for a while, and given to
//! the next one after that, whoever had it.

use std::sync::Arc;
use std::time::Duration;

use tk8s_deploy::Trigger;
use tokio::sync::Semaphore;
use tokio_util::sync::{CancellationToken, DropGuard};

/// Objects that are under way at once, of those that wait for each other.
const OBJECTS: u32 = 384;
/// What a component counts at least: a small one takes a thread and several flushes too.
const LEAST: u32 = 32;
/// How long a place is lent.
const LENT: Duration = Duration::from_secs(5);

/// The places that there are.
pub(super) struct Places {
    rollouts: Arc<Semaphore>,
    repairs: Arc<Semaphore>,
    lent: Duration,
}

/// A place, until it is dropped or the time is over.
pub(super) struct Place(#[expect(dead_code, reason = "it is held, and dropped")] Option<DropGuard>);

impl Default for Places {
    fn default() -> Places {
        let room = || Arc::new(Semaphore::new(OBJECTS as usize));
        Places { rollouts: room(), repairs: room(), lent: LENT }
    }
}

impl Places {
    /// Whether a rollout has a place.
    pub(super) fn are_taken(&self) -> bool {
        self.rollouts.available_permits() < OBJECTS as usize
    }

    /// Waits for a place for so many objects. In the order in which they came.
    pub(super) async fn enter(&self, trigger: &Trigger, objects: usize) -> Place {
        let room = match trigger {
            Trigger::Rollback { .. } => return Place(None),
            Trigger::Drift | Trigger::AutomaticRollback => &self.repairs,
            Trigger::Sync | Trigger::Restart => &self.rollouts,
        };
        let objects = u32::try_from(objects).unwrap_or(u32::MAX).clamp(LEAST, OBJECTS);
        let Ok(permit) = Arc::clone(room).acquire_many_owned(objects).await else { return Place(None) };
        let left = CancellationToken::new();
        let (guard, lent) = (left.clone().drop_guard(), self.lent);
        tokio::spawn(async move {
            let _ = tokio::time::timeout(lent, left.cancelled()).await;
            drop(permit);
        });
        Place(Some(guard))
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    #[tokio::test]
    async fn a_few_components_are_under_way_and_the_others_come_in_their_order() {
        let places = Places::default();
        let mut inside = Vec::new();
        for _ in 0..OBJECTS / LEAST {
            inside.push(places.enter(&Trigger::Sync, 1).await);
        }
        assert!(places.enter(&Trigger::Sync, 1).now_or_never().is_none());
        inside.pop();
        places.enter(&Trigger::Sync, 1).await;
    }

    #[tokio::test]
    async fn whether_a_rollout_has_a_place_is_known_and_a_repair_is_none() {
        let places = Places::default();
        let repair = places.enter(&Trigger::Drift, 1).await;
        assert!(!places.are_taken());
        let rollout = places.enter(&Trigger::Sync, 1).await;
        assert!(places.are_taken());
        drop((repair, rollout));
        // The one who watches over it gives it back.
        while places.are_taken() {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn the_largest_component_goes_alone() {
        let places = Places::default();
        let alone = places.enter(&Trigger::Sync, 10_000).await;
        assert!(places.enter(&Trigger::Restart, 1).now_or_never().is_none());
        drop(alone);
        places.enter(&Trigger::Restart, 1).await;
    }

    #[tokio::test]
    async fn nobody_waits_for_a_rollout_but_another_one() {
        let places = Places::default();
        let _large = places.enter(&Trigger::Sync, 10_000).await;
        let person = Trigger::Rollback { by: "alice".into(), reason: None };
        for trigger in [person, Trigger::Drift, Trigger::AutomaticRollback] {
            assert!(places.enter(&trigger, 1).now_or_never().is_some(), "{trigger:?}");
        }
    }

    #[tokio::test]
    async fn who_makes_no_headway_holds_up_the_others_for_seconds_only() {
        let places = Places { lent: Duration::from_millis(50), ..Places::default() };
        let _stuck = places.enter(&Trigger::Sync, 10_000).await;
        let began = std::time::Instant::now();
        places.enter(&Trigger::Sync, 10_000).await;
        assert!(began.elapsed() >= places.lent, "{:?}", began.elapsed());
    }
}
