//! Incidents of refs: written down once, accepted once, and the same after a replay.

use super::*;
use crate::{Error, Incident, SeenTag, replay_equals_view};

fn seen(digit: u8) -> SeenTag {
    SeenTag {
        tag: format!("{digit:040x}").parse().unwrap(),
        commit: format!("{:040x}", digit + 100).parse().unwrap(),
        tree: None,
    }
}

fn rewritten(id: &str) -> Incident {
    Incident {
        id: id.into(),
        rule: "NotDescendant".into(),
        reference: revision(1).reference,
        object: Some(format!("object of {id}")),
        before: "before".into(),
        message: "it does not descend".into(),
        seen: None,
    }
}

fn of_tag(id: &str, rule: &str, seen: Option<SeenTag>) -> Incident {
    let object = seen.as_ref().map(|seen| seen.tag.to_string());
    Incident { rule: rule.into(), reference: "refs/tags/v1.0.0".into(), object, seen, ..rewritten(id) }
}

/// Each that stands, and who accepted it.
fn standing(history: &History) -> Vec<(String, Option<String>)> {
    history.incidents().into_iter().map(|view| (view.incident.id, view.accepted.map(|by| by.by))).collect()
}

#[test]
fn an_incident_is_written_down_once_and_accepted_once_also_over_restarts() {
    let dir = tempfile::tempdir().unwrap();
    let size = |history: &History| history.size_and_root().size;
    {
        let history = open(dir.path());
        history.incident(&rewritten("one"), at(5)).unwrap();
        let before = size(&history);
        assert_eq!(history.incident(&rewritten("one"), at(6)).unwrap().first, at(5));
        assert_eq!(size(&history), before, "the same again is no event");
        history.accept_incident(&rewritten("one"), "alice", "we cleaned up", at(7)).unwrap();
        assert!(matches!(
            history.accept_incident(&rewritten("one"), "bob", "me too", at(8)),
            Err(Error::AcceptedAlready(id)) if id == "one"
        ));
    }
    let history = open(dir.path());
    assert_eq!(standing(&history), [("one".into(), Some("alice".into()))]);
    assert!(history.incident(&rewritten("one"), at(9)).unwrap().accepted.is_some(), "it is no new one");
    let told = history.told_of_incident("one").unwrap().unwrap();
    let by = told.accepted.unwrap();
    assert_eq!((told.first, by.by.as_str(), by.reason.as_str(), by.at), (at(5), "alice", "we cleaned up", at(7)));
    assert!(history.told_of_incident("another").unwrap().is_none());
    // Another head is another incident, and takes the place of the one before.
    history.incident(&rewritten("two"), at(10)).unwrap();
    assert_eq!(standing(&history), [("two".into(), None)]);
    history.check_view().unwrap();
    drop(history);
    replay_equals_view(options(dir.path())).unwrap();
}

#[test]
fn an_incident_is_over_once_a_revision_of_its_ref_is_accepted_and_not_by_another_trust_in_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let history = open(dir.path());
    history.accept(&revision(1), &trust(), at(4)).unwrap();
    history.incident(&rewritten("one"), at(5)).unwrap();
    history.incident(&of_tag("tag", "TagMoved", Some(seen(1))), at(5)).unwrap();
    history.accept_incident(&rewritten("one"), "alice", "so be it", at(6)).unwrap();
    history.accept(&revision(1), &Trust::Waived { reason: "another one".into() }, at(7)).unwrap();
    assert_eq!((standing(&history).len(), history.accepted_at()), (2, Some(at(4))));
    history.accept(&revision(2), &trust(), at(8)).unwrap();
    assert_eq!(standing(&history), [("tag".into(), None)]);
    assert_eq!(history.accepted_at(), Some(at(8)));
    // What was accepted once is not accepted for ever: when the branch goes there again, somebody is asked again.
    history.incident(&rewritten("one"), at(9)).unwrap();
    assert!(standing(&history).contains(&("one".into(), None)));
    history.check_view().unwrap();
}

#[test]
fn a_moved_tag_that_is_accepted_is_known_as_what_it_is_now_and_a_vanished_one_is_forgotten() {
    let dir = tempfile::tempdir().unwrap();
    {
        let history = open(dir.path());
        history.first_seen("v1.0.0", seen(1), at(1)).unwrap();
        history.first_seen("v0.9.0", seen(9), at(1)).unwrap();
        let moved = of_tag("moved", "TagMoved", Some(seen(2)));
        history.incident(&moved, at(2)).unwrap();
        assert_eq!(history.accepted().tags["v1.0.0"], seen(1), "seeing it changes nothing");
        history.accept_incident(&moved, "alice", "it was broken", at(3)).unwrap();
        assert_eq!(history.accepted().tags["v1.0.0"], seen(2));
        assert!(matches!(history.first_seen("v1.0.0", seen(1), at(4)), Err(Error::TagMoved(_))), "and may not go back");
        history.accept_incident(&of_tag("gone", "TagVanished", None), "alice", "it was taken back", at(5)).unwrap();
    }
    let history = open(dir.path());
    let tags = history.accepted().tags;
    assert_eq!(tags.keys().collect::<Vec<_>>(), ["v0.9.0"]);
    history.first_seen("v1.0.0", seen(3), at(6)).unwrap();
    history.check_view().unwrap();
    drop(history);
    replay_equals_view(options(dir.path())).unwrap();
}

#[test]
fn pushing_again_and_again_does_not_fill_the_ledger() {
    let dir = tempfile::tempdir().unwrap();
    let history = open(dir.path());
    for number in 0..500 {
        history.incident(&rewritten(&number.to_string()), at(5)).unwrap();
    }
    let size = history.size_and_root().size;
    assert!(size < 30, "{size}");
    // The one that stands can be accepted all the same; then others are written down again.
    history.accept_incident(&rewritten("499"), "alice", "so be it", at(6)).unwrap();
    assert_eq!(standing(&history), [("499".into(), Some("alice".into()))]);
    history.incident(&rewritten("500"), at(7)).unwrap();
    assert_eq!((standing(&history), history.size_and_root().size), (vec![("500".into(), None)], size + 2));
    history.check_view().unwrap();
}
