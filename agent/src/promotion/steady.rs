//! How long a release has been healthy without interruption.
//!
//! A degraded object ends that at once. What is on its way (a Pod that moves, a change of somebody else's that is being put
//! back) ends it after a while, and so does time in which nobody looked: the process was away, or the clock was set.

use jiff::SignedDuration;
use serde::{Deserialize, Serialize};
use tk8s_core::{ComponentTree, HealthState, Timestamp};

/// So long nobody need have seen it healthy. A Pod's move to another node takes some minutes, and so does an update of the
/// agent; what is worse would be seen as degraded.
const PATIENCE: SignedDuration = SignedDuration::from_mins(10);
/// The most trees that are remembered to give the objects of one release: commits that changed nothing but comments.
const MOST_TREES: usize = 16;

/// From when to when something was seen to be healthy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Span {
    pub since: Timestamp,
    pub until: Timestamp,
}

impl Span {
    fn goes_on_at(&self, now: Timestamp) -> bool {
        now >= self.until && now.duration_since(self.until) <= PATIENCE
    }

    /// How long it is.
    pub fn length(&self) -> SignedDuration {
        self.until.duration_since(self.since)
    }
}

/// How a release was found that is what runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sight {
    /// As it ought to be, all of it.
    Well,
    /// Neither: something is on its way, or can't be seen.
    Unclear,
    /// Something failed.
    Failed,
    /// Another release has begun to take its place.
    Replaced,
}

impl Sight {
    /// What the worst health of its objects says.
    pub fn of(worst: HealthState) -> Sight {
        match worst {
            HealthState::Healthy | HealthState::Suspended => Sight::Well,
            HealthState::Progressing | HealthState::Unknown | HealthState::Missing => Sight::Unclear,
            HealthState::Degraded => Sight::Failed,
        }
    }
}

/// What is remembered of one release.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Steady {
    /// The newest time in which it was healthy without interruption, also if that has passed.
    #[serde(default)]
    pub span: Option<Span>,
    /// Whether that time is over: it is not gone on with.
    #[serde(default)]
    pub over: bool,
    /// Further trees that give exactly its objects.
    #[serde(default)]
    pub trees: Vec<ComponentTree>,
}

impl Steady {
    /// Takes in how the release was found now.
    pub fn see(&mut self, sight: Sight, now: Timestamp) {
        match (sight, self.span) {
            (Sight::Unclear, _) => {}
            (Sight::Failed, _) => self.span = None,
            (Sight::Replaced, _) => self.over = true,
            (Sight::Well, Some(span)) if !self.over && span.goes_on_at(now) => self.span = Some(Span { until: now, ..span }),
            (Sight::Well, _) => (self.span, self.over) = (Some(Span { since: now, until: now }), false),
        }
    }

    /// Remembers another tree that gives the same objects; whether it was not known.
    pub fn also(&mut self, tree: ComponentTree) -> bool {
        if self.trees.contains(&tree) {
            return false;
        }
        if self.trees.len() == MOST_TREES {
            self.trees.remove(0);
        }
        self.trees.push(tree);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(minute: i64) -> Timestamp {
        Timestamp::from_second(minute * 60).unwrap()
    }

    /// What is known after these sights, in minutes.
    fn after(sights: &[(i64, Sight)]) -> Option<(i64, i64)> {
        let mut steady = Steady::default();
        sights.iter().for_each(|(minute, sight)| steady.see(*sight, at(*minute)));
        steady.span.map(|span| (span.since.as_second() / 60, span.until.as_second() / 60))
    }

    #[test]
    fn what_is_seen_to_be_healthy_again_and_again_has_been_so_since_the_first_time() {
        use Sight::{Failed, Replaced, Unclear, Well};
        assert_eq!(after(&[(0, Unclear)]), None);
        assert_eq!(after(&[(0, Well)]), Some((0, 0)));
        assert_eq!(after(&[(0, Well), (1, Well), (11, Well)]), Some((0, 11)));
        // A Pod moves.
        assert_eq!(after(&[(0, Well), (1, Unclear), (9, Unclear)]), Some((0, 0)));
        assert_eq!(after(&[(0, Well), (1, Unclear), (9, Unclear), (10, Well)]), Some((0, 10)));
        // It takes too long, or nobody looked.
        assert_eq!(after(&[(0, Well), (1, Unclear), (11, Well)]), Some((11, 11)));
        assert_eq!(after(&[(0, Well), (11, Well)]), Some((11, 11)));
        // The clock was set back, or far ahead.
        assert_eq!(after(&[(5, Well), (6, Well), (3, Well)]), Some((3, 3)));
        assert_eq!(after(&[(5, Well), (6, Well), (1_000_000, Well)]), Some((1_000_000, 1_000_000)));
        // It failed.
        assert_eq!(after(&[(0, Well), (1, Failed)]), None);
        assert_eq!(after(&[(0, Well), (1, Failed), (2, Well)]), Some((2, 2)));
        // Another one took its place, and gave it back.
        assert_eq!(after(&[(0, Well), (1, Well), (2, Replaced)]), Some((0, 1)));
        assert_eq!(after(&[(0, Well), (1, Well), (2, Replaced), (3, Well), (4, Well)]), Some((3, 4)));
    }

    #[test]
    fn trees_that_give_the_same_are_remembered_once_and_not_for_ever() {
        let tree = |number: usize| ComponentTree {
            tree: format!("{number:040x}").parse().unwrap(),
            rest: tk8s_core::Digest::of("rest"),
        };
        let mut steady = Steady::default();
        assert!(steady.also(tree(0)) && !steady.also(tree(0)));
        (1..=MOST_TREES).for_each(|number| assert!(steady.also(tree(number))));
        assert_eq!((steady.trees.len(), &steady.trees[0]), (MOST_TREES, &tree(1)));
    }
}
