//! Answers that are believed for a while, and questions that may be asked for now. Both bounded, and pure but for the time
//! that they are given.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use tk8s_core::Digest;

/// So many answers, each for so long. What is full forgets what is old, and then what comes first to hand.
pub(super) struct Remembered<T> {
    most: usize,
    lasts: Duration,
    known: HashMap<Digest, (Instant, T)>,
}

impl<T: Clone> Remembered<T> {
    pub(super) fn new(most: usize, lasts: Duration) -> Remembered<T> {
        Remembered { most, lasts, known: HashMap::new() }
    }

    pub(super) fn get(&self, key: &Digest, now: Instant) -> Option<T> {
        let (until, value) = self.known.get(key)?;
        (now < *until).then(|| value.clone())
    }

    pub(super) fn insert(&mut self, key: Digest, value: T, now: Instant) {
        if self.known.len() >= self.most && !self.known.contains_key(&key) {
            self.known.retain(|_, (until, _)| now < *until);
            // Whoever fills it on purpose makes others be asked about once more, nothing else.
            while self.known.len() >= self.most {
                let Some(any) = self.known.keys().next().copied() else { break };
                self.known.remove(&any);
            }
        }
        self.known.insert(key, (now + self.lasts, value));
    }
}

/// How many questions may be asked: so many in a second, and some more after a silence.
pub(super) struct Budget {
    each_second: f64,
    most: f64,
    left: Mutex<(f64, Option<Instant>)>,
}

impl Budget {
    pub(super) fn new(each_second: f64, most: f64) -> Budget {
        Budget { each_second, most, left: Mutex::new((most, None)) }
    }

    pub(super) fn take(&self, now: Instant) -> bool {
        let mut left = super::locked(&self.left);
        let earned = left.1.map_or(0.0, |then| now.saturating_duration_since(then).as_secs_f64() * self.each_second);
        let available = (left.0 + earned).min(self.most);
        let may = available >= 1.0;
        *left = (if may { available - 1.0 } else { available }, Some(now));
        may
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_believed_for_its_time_and_no_more_are_kept_than_there_is_room_for() {
        let (begin, second) = (Instant::now(), Duration::from_secs(1));
        let mut known = Remembered::new(3, second * 10);
        for number in 0..100 {
            known.insert(Digest::of(format!("{number}")), number, begin);
            assert!(known.known.len() <= 3);
        }
        let last = Digest::of("99");
        assert_eq!(known.get(&last, begin + second * 9), Some(99));
        assert_eq!(known.get(&last, begin + second * 10), None);
        // What is old goes first.
        known.insert(Digest::of("a"), 1, begin + second * 20);
        assert_eq!(known.known.len(), 1);
        // A newer answer takes the place of an older one.
        known.insert(Digest::of("a"), 2, begin + second * 21);
        assert_eq!(known.get(&Digest::of("a"), begin + second * 30), Some(2));
    }

    #[test]
    fn a_flood_is_answered_at_the_rate_and_a_silence_is_made_up_for_up_to_the_most() {
        let begin = Instant::now();
        let budget = Budget::new(10.0, 30.0);
        let flood = |at: Duration| (0..1000).filter(|_| budget.take(begin + at)).count();
        assert_eq!(flood(Duration::ZERO), 30);
        assert_eq!(flood(Duration::from_millis(1500)), 15);
        assert_eq!(flood(Duration::from_secs(3600)), 30);
        // A clock that stands still, or is asked in another order, gives nothing.
        assert_eq!(flood(Duration::from_secs(1)), 0);
    }
}
