//! Pauses between tries of the same thing: each as long as all before it, up to a longest one. Pure: chance is an argument.

use std::time::Duration;

/// How long it is until the next try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pauses {
    first: Duration,
    longest: Duration,
    next: Duration,
}

impl Pauses {
    /// Pauses that double from the first one to the longest.
    pub const fn new(first: Duration, longest: Duration) -> Pauses {
        Pauses { first, longest, next: first }
    }

    /// The pause after one more failure. `chance`, a number from 0 to 1, shifts it by at most a quarter of it in either
    /// direction, so that what failed together is not tried again together.
    #[must_use]
    pub fn after_failure(&mut self, chance: f64) -> Duration {
        let pause = self.next;
        self.next = self.next.saturating_mul(2).min(self.longest);
        pause.mul_f64(0.75 + chance.clamp(0.0, 1.0) / 2.0)
    }

    /// It went well: the next failure is a first one.
    pub fn begin_anew(&mut self) {
        self.next = self.first;
    }

    /// Whether nothing failed since it went well.
    pub fn are_new(&self) -> bool {
        self.next == self.first
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_to_the_longest_and_begin_anew_when_it_went_well() {
        let mut pauses = Pauses::new(Duration::from_secs(1), Duration::from_secs(10));
        let mut next = |chance| pauses.after_failure(chance).as_millis();
        assert_eq!([0.5, 0.5, 0.5, 0.5, 0.5, 0.5].map(&mut next), [1000, 2000, 4000, 8000, 10_000, 10_000]);
        assert_eq!([0.0, 1.0, -3.0, 7.0].map(&mut next), [7500, 12_500, 7500, 12_500]);
        assert!(!pauses.are_new());
        pauses.begin_anew();
        assert!(pauses.are_new());
        assert_eq!(pauses.after_failure(0.5), Duration::from_secs(1));
    }
}
