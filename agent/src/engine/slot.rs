//! The place of one component in the engine: who runs, who waits, how the last run ended.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use tk8s_core::Class;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::repairs::Repairs;

/// How far a component is in the current rollout; those that stand on it wait for this.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Nothing is to be done, or it was done.
    Settled,
    /// Waits for what it stands on.
    Waiting(String),
    /// The pipeline runs.
    Running,
    /// It did not end well.
    Failed { class: Class, reason: String, message: String },
}

/// One component's place.
pub struct Slot {
    /// Held while the pipeline runs for the component.
    pub turn: tokio::sync::Mutex<()>,
    progress: watch::Sender<Progress>,
    /// Counts what was asked for: a run that finds a newer number gives way.
    ticket: AtomicU64,
    cancel: Mutex<CancellationToken>,
    failures: AtomicU32,
    retry_at: Mutex<Option<Instant>>,
    repairs: Mutex<Repairs>,
    /// Hears of every change of the progress.
    tell: Box<dyn Fn() + Send + Sync>,
}

/// The longest pause between two tries.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

impl Slot {
    pub fn new() -> Slot {
        Slot {
            turn: tokio::sync::Mutex::default(),
            progress: watch::Sender::new(Progress::Settled),
            ticket: AtomicU64::new(0),
            cancel: Mutex::default(),
            failures: AtomicU32::new(0),
            retry_at: Mutex::default(),
            repairs: Mutex::default(),
            tell: Box::new(|| ()),
        }
    }

    /// A place whose changes somebody else wants to hear of.
    pub fn telling(tell: impl Fn() + Send + Sync + 'static) -> Slot {
        Slot { tell: Box::new(tell), ..Slot::new() }
    }

    /// Takes a new ticket: what waits or settles for an older one is cancelled.
    pub fn supersede(&self) -> (u64, CancellationToken) {
        let ticket = self.ticket.fetch_add(1, Ordering::SeqCst) + 1;
        let fresh = CancellationToken::new();
        let before = std::mem::replace(&mut *lock(&self.cancel), fresh.clone());
        before.cancel();
        (ticket, fresh)
    }

    /// The token of whoever runs now, without superseding anybody.
    pub fn join_in(&self) -> (u64, CancellationToken) {
        (self.ticket.load(Ordering::SeqCst), lock(&self.cancel).clone())
    }

    /// Whether nobody has asked for anything newer.
    pub fn is_current(&self, ticket: u64) -> bool {
        self.ticket.load(Ordering::SeqCst) == ticket
    }

    /// Whether nothing runs or waits.
    pub fn is_idle(&self) -> bool {
        self.turn.try_lock().is_ok() && !matches!(*self.progress.borrow(), Progress::Running | Progress::Waiting(_))
    }

    pub fn progress(&self) -> Progress {
        self.progress.borrow().clone()
    }

    pub fn watch(&self) -> watch::Receiver<Progress> {
        self.progress.subscribe()
    }

    pub fn set(&self, progress: Progress) {
        let retry_at = match &progress {
            Progress::Failed { class: Class::Transient | Class::Waiting, .. } => {
                let failures = self.failures.fetch_add(1, Ordering::SeqCst);
                let pause = Duration::from_secs(1 << failures.min(6)).min(LONGEST_PAUSE);
                Some(Instant::now() + pause.mul_f64(0.75 + rand::random::<f64>() / 2.0))
            }
            // What was refused, or waits already, is not tried again by the clock.
            _ => None,
        };
        if matches!(progress, Progress::Settled) {
            self.failures.store(0, Ordering::SeqCst);
        }
        *lock(&self.retry_at) = retry_at;
        self.progress.send_replace(progress);
        (self.tell)();
    }

    /// Puts the next try off, as if this one had failed.
    pub fn again_later(&self) {
        let progress = self.progress();
        self.set(progress);
    }

    /// Tries again after this pause, though nothing failed.
    pub fn again_in(&self, pause: Duration) {
        *lock(&self.retry_at) = Some(Instant::now() + pause);
    }

    /// When what failed for a passing reason is to be tried again.
    pub fn retry_at(&self) -> Option<Instant> {
        *lock(&self.retry_at)
    }

    /// What was repaired, and how often.
    pub fn repairs(&self) -> std::sync::MutexGuard<'_, Repairs> {
        lock(&self.repairs)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_newer_ticket_cancels_what_waits_for_an_older_one() {
        let slot = Slot::new();
        let (first, token) = slot.supersede();
        assert!(slot.is_current(first));
        let (second, _) = slot.supersede();
        assert!(token.is_cancelled() && !slot.is_current(first) && slot.is_current(second));
    }

    #[test]
    fn only_what_failed_for_a_passing_reason_is_tried_again_by_the_clock() {
        let slot = Slot::new();
        let failed = |class| Progress::Failed { class, reason: "R".into(), message: String::new() };
        slot.set(failed(Class::Transient));
        let first = slot.retry_at().expect("it passes");
        slot.set(failed(Class::Waiting));
        assert!(slot.retry_at().expect("it passes") > first, "pauses grow");
        for progress in [failed(Class::Denied), failed(Class::Stalled), Progress::Running, Progress::Settled] {
            slot.set(failed(Class::Transient));
            slot.set(progress.clone());
            assert_eq!(slot.retry_at(), None, "{progress:?}");
        }
    }
}
