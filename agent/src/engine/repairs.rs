//! How often what is repaired: somebody who undoes repairs again and again is not fought at full speed, and is named.
//!
//! Counted for each object, so that one that is fought over slows down no other. Pure, but for the clock it is given.

use std::collections::HashMap;
use std::time::Duration;

use tk8s_core::ObjectKey;
use tokio::time::Instant;

/// Repairs of one object that go through at once; each after them waits twice as long as the one before.
const AT_ONCE: u32 = 5;
/// The first pause, and the longest.
const PAUSES: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(600));
/// An object that was left alone for so long is repaired at once again.
const FORGOTTEN: Duration = Duration::from_secs(900);
/// Objects that are remembered; the oldest go first.
const MOST: usize = 10_000;

/// The repairs of one component.
#[derive(Debug, Default)]
pub struct Repairs(HashMap<ObjectKey, Repaired>);

#[derive(Debug)]
struct Repaired {
    times: u32,
    last: Instant,
    /// How it was no longer as we had left it, the last time.
    why: String,
}

impl Repaired {
    fn due(&self) -> Instant {
        let Some(more) = self.times.checked_sub(AT_ONCE) else { return self.last };
        self.last + PAUSES.0.saturating_mul(2_u32.saturating_pow(more)).min(PAUSES.1)
    }
}

impl Repairs {
    /// Which of these may be repaired now. Counts them as repaired.
    pub fn due<'a>(&mut self, drifted: impl IntoIterator<Item = &'a ObjectKey>, now: Instant) -> Vec<&'a ObjectKey> {
        self.0.retain(|_, repaired| now.saturating_duration_since(repaired.last) < FORGOTTEN);
        let is_due = |key: &&ObjectKey| self.0.get(*key).is_none_or(|repaired| repaired.due() <= now);
        let due: Vec<_> = drifted.into_iter().filter(is_due).collect();
        for key in &due {
            let repaired = self.0.entry((*key).clone()).or_insert(Repaired { times: 0, last: now, why: String::new() });
            (repaired.times, repaired.last) = (repaired.times.saturating_add(1), now);
        }
        while self.0.len() > MOST
            && let Some(oldest) = self.0.iter().min_by_key(|(_, repaired)| repaired.last).map(|(key, _)| key.clone())
        {
            self.0.remove(&oldest);
        }
        due
    }

    /// Remembers how an object that is repaired was no longer as we had left it.
    pub fn explain(&mut self, key: &ObjectKey, why: String) {
        if let Some(repaired) = self.0.get_mut(key) {
            repaired.why = why;
        }
    }

    /// Every object of which somebody undoes the repairs again and again: how often, and how. Nobody is named any more who
    /// left the object alone for long.
    pub fn all_fought(&self, now: Instant) -> Vec<(ObjectKey, u32, String)> {
        let fought = self
            .0
            .iter()
            .filter(|(_, repaired)| repaired.times >= AT_ONCE && now.saturating_duration_since(repaired.last) < FORGOTTEN);
        fought.map(|(key, repaired)| (key.clone(), repaired.times, repaired.why.clone())).collect()
    }

    /// What was repaired last, and how it was no longer as we had left it.
    pub fn latest(&self) -> Vec<(&ObjectKey, &str)> {
        let Some(last) = self.0.values().map(|repaired| repaired.last).max() else { return Vec::new() };
        let latest = self.0.iter().filter(|(_, repaired)| repaired.last == last);
        let mut latest: Vec<_> = latest.map(|(key, repaired)| (key, repaired.why.as_str())).collect();
        latest.sort();
        latest
    }

    /// How often an object was repaired, if somebody undoes it again and again.
    pub fn fought(&self, key: &ObjectKey) -> Option<u32> {
        self.0.get(key).map(|repaired| repaired.times).filter(|times| *times >= AT_ONCE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str) -> ObjectKey {
        ObjectKey { group: String::new(), kind: "ConfigMap".into(), namespace: Some("shop".into()), name: name.into() }
    }

    #[test]
    fn repairs_that_are_undone_again_and_again_slow_down_and_others_do_not() {
        let (mut repairs, begun) = (Repairs::default(), Instant::now());
        let (fought, other) = (key("fought"), key("other"));
        let within = |repairs: &mut Repairs, seconds: u64| {
            (0..seconds * 10)
                .filter(|tenth| !repairs.due([&fought], begun + Duration::from_millis(tenth * 100)).is_empty())
                .count()
        };
        // Five at once, then after 2, 4, 8, 16 and 32 seconds more.
        assert_eq!(within(&mut repairs, 63), 10);
        assert_eq!(repairs.fought(&fought), Some(10));
        assert_eq!(repairs.due([&fought, &other], begun + Duration::from_secs(63)), [&other]);
        assert_eq!(repairs.fought(&other), None);
        assert_eq!(repairs.latest(), [(&other, "")], "the other one was not due");
        repairs.explain(&fought, "data.at was taken by `somebody`".into());
        let named = |repairs: &Repairs, seconds| repairs.all_fought(begun + Duration::from_secs(seconds));
        assert_eq!(named(&repairs, 63), [(fought.clone(), 10, "data.at was taken by `somebody`".into())]);
        assert_eq!(named(&repairs, 63 + FORGOTTEN.as_secs()), []);
        let later = begun + Duration::from_secs(63) + FORGOTTEN;
        assert_eq!(repairs.due([&fought], later), [&fought]);
        assert_eq!(repairs.fought(&fought), None);
    }
}
