//! The place of one component in the engine: who runs, who waits, how the last run ended.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tk8s_core::{Class, Pauses, Timestamp};
use tk8s_deploy::EVIDENCE_MISSING;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::awaiting::Awaited;
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

impl Progress {
    /// Waits behind others that have nothing to do with it.
    pub fn in_its_turn() -> Progress {
        Progress::Waiting("its turn".into())
    }

    /// Whether a run waits for something, or runs.
    pub fn is_under_way(&self) -> bool {
        matches!(self, Progress::Waiting(_) | Progress::Running)
    }
}

/// When something is tried again: after a pause, or at a time of day, to which a pause would not lead if the clock is set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd)]
enum Again {
    At(Instant),
    OnTheWall(Timestamp),
}

/// One component's place.
pub struct Slot {
    /// Held while the pipeline runs for the component.
    pub turn: tokio::sync::Mutex<()>,
    progress: watch::Sender<Progress>,
    /// Counts what was asked for: a run that finds a newer number gives way.
    ticket: AtomicU64,
    cancel: Mutex<CancellationToken>,
    pauses: Mutex<Pauses>,
    retry_at: Mutex<Option<Again>>,
    repairs: Mutex<Repairs>,
    awaited: Mutex<Option<Awaited>>,
    waiting: Mutex<Waiting>,
    /// Hears of every change of the progress.
    tell: Box<dyn Fn() + Send + Sync>,
}

/// How far whoever runs has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Waiting {
    /// It asks, or writes.
    #[default]
    NotYet,
    /// All that it writes for now is written, and it waits for that to become healthy.
    ForHealth,
    /// It was told to stop waiting and to begin anew.
    Anew,
}

/// Reasons that no pause cures: somebody, or the clock on the wall, says when it goes on.
const ENDED_BY_A_WORD: [&str; 4] = [SUSPENDED, OUTSIDE_WINDOW, APPROVALS_MISSING, EVIDENCE_MISSING];
/// The reason of a component whose new release somebody took their yes back from.
pub const APPROVALS_MISSING: &str = "ApprovalsMissing";
/// The reason of a component for which nothing may be written.
pub const SUSPENDED: &str = "Suspended";
/// The reason of a component whose new release waits for a window.
pub const OUTSIDE_WINDOW: &str = "OutsideWindow";
/// The reason of a component whose new release has objects that it may not touch.
pub const OUTSIDE_CONFINEMENT: &str = "OutsideConfinement";

/// Between two tries.
const PAUSES: Pauses = Pauses::new(Duration::from_secs(1), Duration::from_secs(60));

impl Slot {
    pub fn new() -> Slot {
        Slot {
            turn: tokio::sync::Mutex::default(),
            progress: watch::Sender::new(Progress::Settled),
            ticket: AtomicU64::new(0),
            cancel: Mutex::default(),
            pauses: Mutex::new(PAUSES),
            retry_at: Mutex::default(),
            repairs: Mutex::default(),
            awaited: Mutex::default(),
            waiting: Mutex::default(),
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

    /// Ends all waiting of whoever runs now; what it writes, it writes to the end.
    pub fn interrupt(&self) {
        std::mem::take(&mut *lock(&self.cancel)).cancel();
    }

    /// Whoever runs waits for health from now on.
    pub fn waits_for_health(&self) {
        let mut waiting = lock(&self.waiting);
        if *waiting == Waiting::NotYet {
            *waiting = Waiting::ForHealth;
        }
    }

    /// Whether whoever runs waits for health.
    pub fn is_waiting(&self) -> bool {
        *lock(&self.waiting) == Waiting::ForHealth
    }

    /// Ends the wait for health of whoever runs, who is to begin anew.
    pub fn begin_anew(&self) {
        let mut waiting = lock(&self.waiting);
        if *waiting == Waiting::ForHealth {
            *waiting = Waiting::Anew;
            self.interrupt();
        }
    }

    /// Whoever ran has come to an end: whether it is to begin anew.
    pub fn ends(&self) -> bool {
        std::mem::take(&mut *lock(&self.waiting)) == Waiting::Anew
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
        self.turn.try_lock().is_ok() && !self.progress.borrow().is_under_way()
    }

    pub fn progress(&self) -> Progress {
        self.progress.borrow().clone()
    }

    pub fn watch(&self) -> watch::Receiver<Progress> {
        self.progress.subscribe()
    }

    pub fn set(&self, progress: Progress) {
        let retry_at = match &progress {
            Progress::Failed { reason, .. } if ENDED_BY_A_WORD.contains(&reason.as_str()) => None,
            Progress::Failed { class: Class::Transient | Class::Waiting, .. } => {
                Some(Instant::now() + lock(&self.pauses).after_failure(rand::random()))
            }
            // What was refused, or waits already, is not tried again by the clock.
            _ => None,
        };
        if matches!(progress, Progress::Settled) {
            lock(&self.pauses).begin_anew();
        }
        *lock(&self.retry_at) = retry_at.map(Again::At);
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
        *lock(&self.retry_at) = Some(Again::At(Instant::now() + pause));
    }

    /// Tries again when the clock on the wall says so much.
    pub fn again_at(&self, time: Timestamp) {
        *lock(&self.retry_at) = Some(Again::OnTheWall(time));
    }

    /// Whether the clock tries again some time.
    pub fn will_try_again(&self) -> bool {
        lock(&self.retry_at).is_some()
    }

    /// Whether it is time to try again.
    pub fn is_due(&self) -> bool {
        match *lock(&self.retry_at) {
            Some(Again::At(at)) => at <= Instant::now(),
            Some(Again::OnTheWall(time)) => time <= Timestamp::now(),
            None => false,
        }
    }

    /// Whoever runs waits for these hooks, or for none (any more).
    pub fn awaits(&self, awaited: Option<Awaited>) {
        let before = std::mem::replace(&mut *lock(&self.awaited), awaited.clone());
        if before != awaited {
            (self.tell)();
        }
    }

    pub fn awaited(&self) -> Option<Awaited> {
        lock(&self.awaited).clone()
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

    fn failed(class: Class, reason: &str) -> Progress {
        Progress::Failed { class, reason: reason.into(), message: String::new() }
    }

    fn retry_at(slot: &Slot) -> Option<Again> {
        *lock(&slot.retry_at)
    }

    #[test]
    fn only_what_failed_for_a_passing_reason_is_tried_again_by_the_clock() {
        let slot = Slot::new();
        slot.set(failed(Class::Transient, "R"));
        let first = retry_at(&slot).expect("it passes");
        slot.set(failed(Class::Waiting, "R"));
        assert!(retry_at(&slot).expect("it passes") > first, "pauses grow");
        assert!(slot.will_try_again());
        for progress in [
            failed(Class::Denied, "R"),
            failed(Class::Stalled, "R"),
            failed(Class::Waiting, SUSPENDED),
            failed(Class::Waiting, OUTSIDE_WINDOW),
            Progress::Running,
            Progress::Settled,
        ] {
            slot.set(failed(Class::Transient, "R"));
            slot.set(progress.clone());
            assert_eq!(retry_at(&slot), None, "{progress:?}");
            assert!(!slot.will_try_again());
        }
    }

    #[test]
    fn two_components_that_fail_together_are_not_tried_again_together() {
        let pauses: Vec<Duration> = (0..20)
            .map(|_| {
                let (slot, now) = (Slot::new(), Instant::now());
                slot.set(failed(Class::Transient, "R"));
                match retry_at(&slot) {
                    Some(Again::At(at)) => at - now,
                    other => panic!("{other:?}"),
                }
            })
            .collect();
        let (least, most) = (pauses.iter().min().unwrap(), pauses.iter().max().unwrap());
        assert!(*most - *least > Duration::from_millis(50), "{pauses:?}");
        let bounds = Duration::from_millis(750)..Duration::from_millis(1300);
        assert!(pauses.iter().all(|pause| bounds.contains(pause)), "{pauses:?}");
    }

    #[test]
    fn what_waits_is_interrupted_and_what_comes_next_is_not() {
        let slot = Slot::new();
        let (ticket, token) = slot.supersede();
        slot.interrupt();
        assert!(token.is_cancelled() && slot.is_current(ticket));
        assert!(!slot.join_in().1.is_cancelled());
    }

    #[test]
    fn only_who_waits_for_health_begins_anew_and_only_once() {
        let slot = Slot::new();
        let (_, token) = slot.supersede();
        slot.begin_anew();
        assert!(!token.is_cancelled() && !slot.ends(), "it writes");
        slot.waits_for_health();
        assert!(slot.is_waiting() && !token.is_cancelled());
        slot.begin_anew();
        assert!(!slot.is_waiting() && token.is_cancelled());
        slot.waits_for_health();
        assert!(!slot.is_waiting(), "it was told already");
        assert!(slot.ends() && !slot.ends());
    }

    #[test]
    fn a_time_on_the_wall_is_due_when_it_is_there() {
        let slot = Slot::new();
        let from_now = |seconds| Timestamp::now() + jiff::SignedDuration::from_secs(seconds);
        for (seconds, due) in [(3600, false), (-1, true)] {
            slot.again_at(from_now(seconds));
            assert_eq!(slot.is_due(), due);
        }
    }
}
