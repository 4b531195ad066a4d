//! Looks at Git, counted, so that whoever asked for one can wait for what came of it.

use std::time::Duration;

use tokio::sync::watch;

/// How many looks began, and how many ended.
pub(super) struct Looks(watch::Sender<Counted>);

#[derive(Clone, Copy, Default)]
struct Counted {
    begun: u64,
    ended: u64,
}

impl Default for Looks {
    fn default() -> Looks {
        Looks(watch::Sender::new(Counted::default()))
    }
}

impl Looks {
    pub(super) fn begin(&self) {
        self.0.send_modify(|counted| counted.begun += 1);
    }

    /// The refs are fetched and judged, or could not be.
    pub(super) fn end(&self) {
        self.0.send_modify(|counted| counted.ended = counted.begun);
    }

    /// Calls `wake` and waits until a look has ended that began after that; false if that takes longer than `patience`.
    pub(super) async fn next(&self, wake: impl FnOnce(), patience: Duration) -> bool {
        let mut counted = self.0.subscribe();
        let before = counted.borrow().begun;
        wake();
        tokio::time::timeout(patience, counted.wait_for(|counted| counted.ended > before))
            .await
            .is_ok_and(|waited| waited.is_ok())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_look_that_was_under_way_is_not_the_one_that_was_asked_for() {
        let looks = Looks::default();
        looks.begin();
        let asked = looks.next(|| looks.end(), Duration::from_millis(50));
        assert!(!asked.await, "what was pushed since it began is not in it");
        let whole = || {
            looks.begin();
            looks.end();
        };
        assert!(looks.next(whole, Duration::from_secs(60)).await);
    }
}
