//! What follows from an anchor and a history that are compared at the start. Pure.
//!
//! | anchor | history | what follows |
//! | --- | --- | --- |
//! | none | new | a first start |
//! | none | of before | the history counts; the anchor is written anew, and that is said |
//! | not ours, or damaged | any | the history counts; the anchor is written anew, and that is an alarm |
//! | ours | holds what was anchored | nothing |
//! | ours | new, older, or another one | the anchor limits it: [`Behind`] |

use std::collections::BTreeMap;

use tk8s_core::{ComponentName, ReleaseNumber, Revision, Trust};
use tk8s_history::{Limit, SizeAndRoot};

use super::Anchor;

/// What was found in the cluster.
#[derive(Debug)]
pub enum Found {
    /// There is no anchor.
    Nothing,
    /// There is one that says nothing, and why.
    Unproven(String),
    /// There is one that this instance signed.
    Proven(Box<Anchor>),
}

/// What the history says of itself.
#[derive(Debug)]
pub struct Local {
    /// What would be anchored.
    pub anchor: Anchor,
    /// The root it had when it was as long as what was anchored, if it ever was.
    pub root_then: Option<String>,
}

/// What follows.
#[derive(Debug, PartialEq, Eq)]
pub enum Decision {
    /// Nothing was here before.
    First,
    /// The history holds everything that was anchored.
    Whole,
    /// The history counts, though there is no anchor any more.
    Missing,
    /// The history counts, though there is an anchor that says nothing.
    Unproven(String),
    /// The cluster remembers what this history does not.
    Behind(Box<Behind>),
}

/// How much of what was anchored is not in the history.
#[derive(Debug, PartialEq, Eq)]
pub struct Behind {
    pub lost: Lost,
    pub anchored: SizeAndRoot,
    /// The components that are not known to be as they were, and how they were.
    pub limits: BTreeMap<ComponentName, Limit>,
    /// What was accepted last, where the history does not say so.
    pub accepted: Option<(Revision, Trust)>,
    /// What components followed by tags of their own, where the history does not say so.
    pub own: BTreeMap<ComponentName, (Revision, Trust)>,
}

/// What seems to have happened to the volume.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lost {
    /// It is new.
    Empty,
    /// It is a copy from before.
    Older,
    /// It is another one of the same instance.
    Other,
}

impl Lost {
    /// The stable word.
    pub fn reason(self) -> &'static str {
        match self {
            Lost::Empty => "VolumeEmpty",
            Lost::Older => "VolumeOlder",
            Lost::Other => "VolumeOther",
        }
    }
}

/// Compares them.
pub fn decide(found: Found, local: Local) -> Decision {
    let Local { anchor: known, root_then } = local;
    // The first event of a history is that it was made.
    let is_new = known.ledger.size <= 1;
    let anchored = match found {
        Found::Nothing if is_new => return Decision::First,
        Found::Nothing => return Decision::Missing,
        Found::Unproven(why) => return Decision::Unproven(why),
        Found::Proven(anchored) => *anchored,
    };
    if root_then.as_ref() == Some(&anchored.ledger.root) {
        return Decision::Whole;
    }
    let lost = match () {
        () if is_new => Lost::Empty,
        () if known.ledger.size < anchored.ledger.size => Lost::Older,
        () => Lost::Other,
    };
    let mut limits = BTreeMap::new();
    for (name, was) in &anchored.components {
        if !known.components.get(name).is_some_and(|is| is_as_it_was(is, was)) {
            limits.insert(name.clone(), was.clone());
        }
    }
    // What was never anchored did not run when the anchor was written.
    for (name, is) in known.components.iter().filter(|(name, _)| !anchored.components.contains_key(*name)) {
        limits.insert(name.clone(), Limit { latest: is.latest, current: None, hold: None });
    }
    // Nor are numbers used again that either of them used.
    for (name, limit) in &mut limits {
        let latest = known.components.get(name).map_or(ReleaseNumber(0), |is| is.latest);
        limit.latest = limit.latest.max(latest);
    }
    let own = anchored.own.into_iter().filter(|(name, was)| known.own.get(name).map(|is| &is.revision) != Some(&was.revision));
    let own = own.map(|(name, was)| (name, (was.revision, was.trust))).collect();
    let known_revision = known.accepted.map(|accepted| accepted.revision);
    let accepted = anchored.accepted.filter(|accepted| known_revision.as_ref() != Some(&accepted.revision));
    let accepted = accepted.map(|accepted| (accepted.revision, accepted.trust));
    Decision::Behind(Box::new(Behind { lost, anchored: anchored.ledger, limits, accepted, own }))
}

/// Whether what runs, and whether it is held, is in the history as it was anchored. The same objects are the same objects,
/// whichever number their release has.
fn is_as_it_was(is: &Limit, was: &Limit) -> bool {
    let content = |limit: &Limit| limit.current.as_ref().map(|ran| ran.content);
    content(is).is_some() && content(is) == content(was) && is.hold == was.hold && is.latest >= was.latest
}

#[cfg(test)]
mod tests {
    use tk8s_core::Digest;
    use tk8s_history::{Hold, Ran};

    use super::super::Accepted;
    use super::*;

    fn web() -> ComponentName {
        "web".parse().unwrap()
    }

    fn limit(latest: u64, current: u64, content: &str) -> Limit {
        let current = Some(Ran { release: ReleaseNumber(current), content: Digest::of(content) });
        Limit { latest: ReleaseNumber(latest), current, hold: None }
    }

    fn held(limit: Limit) -> Limit {
        let hold = Hold::at(ReleaseNumber(1), "so", "me");
        Limit { hold: Some(hold), ..limit }
    }

    fn revision(digit: char) -> Revision {
        let object: String = std::iter::repeat_n(digit, 40).collect();
        let (commit, tree) = (object.parse().unwrap(), object.parse().unwrap());
        Revision { reference: "refs/heads/main".into(), commit, tree, tag: None }
    }

    fn anchor(size: u64, root: &str, digit: char, components: &[(&str, Limit)]) -> Anchor {
        let trust = Trust::Waived { reason: "a test".into() };
        let accepted = (size > 1).then(|| Accepted { revision: revision(digit), trust, version: None });
        let components = components.iter().map(|(name, limit)| (name.parse().unwrap(), limit.clone())).collect();
        Anchor { accepted, own: BTreeMap::new(), components, ledger: SizeAndRoot { size, root: root.into() } }
    }

    fn compare(anchored: Option<Anchor>, known: Anchor, root_then: Option<&str>) -> Decision {
        let found = anchored.map_or(Found::Nothing, |anchored| Found::Proven(Box::new(anchored)));
        decide(found, Local { anchor: known, root_then: root_then.map(String::from) })
    }

    fn behind(decision: Decision) -> Behind {
        match decision {
            Decision::Behind(behind) => *behind,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_history_counts_where_no_anchor_speaks_against_it() {
        let (new, known) = (anchor(1, "new", '0', &[]), anchor(9, "nine", 'a', &[("web", limit(2, 2, "x"))]));
        assert_eq!(compare(None, new, None), Decision::First);
        assert_eq!(compare(None, known.clone(), None), Decision::Missing);
        let forged = decide(Found::Unproven("damaged".into()), Local { anchor: known.clone(), root_then: None });
        assert_eq!(forged, Decision::Unproven("damaged".into()));
        // The same, or gone on since.
        assert_eq!(compare(Some(known.clone()), known.clone(), Some("nine")), Decision::Whole);
        let later = anchor(20, "twenty", 'b', &[("web", limit(3, 3, "y"))]);
        assert_eq!(compare(Some(known), later, Some("nine")), Decision::Whole);
    }

    #[test]
    fn an_empty_volume_is_limited_by_all_that_was_anchored() {
        let was = anchor(9, "nine", 'a', &[("web", limit(4, 3, "x")), ("db", held(limit(1, 1, "d")))]);
        let found = behind(compare(Some(was.clone()), anchor(1, "new", '0', &[]), None));
        assert_eq!((found.lost, found.anchored), (Lost::Empty, was.ledger));
        assert_eq!(found.limits, was.components);
        assert_eq!(found.accepted.unwrap().0, revision('a'));
    }

    #[test]
    fn an_older_copy_is_limited_only_where_something_else_ran_since() {
        let was = anchor(9, "nine", 'b', &[("web", limit(4, 4, "new")), ("db", limit(1, 1, "d")), ("more", limit(2, 2, "m"))]);
        let is =
            anchor(6, "six", 'a', &[("web", limit(3, 3, "old")), ("db", limit(1, 1, "d")), ("more", held(limit(2, 2, "m")))]);
        let found = behind(compare(Some(was.clone()), is.clone(), None));
        assert_eq!(found.lost, Lost::Older);
        assert_eq!(found.limits.keys().map(ComponentName::as_str).collect::<Vec<_>>(), ["more", "web"]);
        assert_eq!(found.limits[&web()], limit(4, 4, "new"));
        assert_eq!(found.accepted.unwrap().0, revision('b'));
        // What was accepted is known; only how it ended is not.
        let same = anchor(8, "eight", 'b', &[("web", limit(4, 4, "new")), ("db", limit(1, 1, "d")), ("more", limit(2, 2, "m"))]);
        let found = behind(compare(Some(was), same, None));
        assert_eq!((found.limits.len(), found.accepted), (0, None));
    }

    #[test]
    fn another_volume_of_the_instance_is_believed_nothing_that_was_not_anchored() {
        let was = anchor(9, "nine", 'b', &[("web", limit(4, 4, "new"))]);
        let is = anchor(12, "twelve", 'c', &[("web", limit(7, 7, "other")), ("extra", limit(1, 1, "e"))]);
        let found = behind(compare(Some(was), is, Some("another nine")));
        assert_eq!(found.lost, Lost::Other);
        // The number goes on from the higher one; what ran is what was anchored.
        assert_eq!(found.limits[&web()], limit(7, 4, "new"));
        assert_eq!(found.limits[&"extra".parse().unwrap()], Limit { latest: ReleaseNumber(1), current: None, hold: None });
        assert_eq!(found.accepted.unwrap().0, revision('b'));
    }

    #[test]
    fn what_never_ran_to_its_end_is_never_taken_for_what_it_was() {
        let none = Limit { latest: ReleaseNumber(1), current: None, hold: None };
        let was = anchor(9, "nine", 'b', &[("web", none.clone())]);
        let found = behind(compare(Some(was), anchor(6, "six", 'b', &[("web", none.clone())]), None));
        assert_eq!(found.limits[&web()], none);
    }
}
