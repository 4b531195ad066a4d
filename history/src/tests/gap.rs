//! What a history does where the cluster remembers more than it does.

use std::collections::BTreeMap;

use super::*;
use crate::{FoundObject, Gap, Hold, Limit, Ran, SizeAndRoot, Unproven};

fn limit(latest: u64, current: u64, content: Digest) -> Limit {
    let current = Some(Ran { release: ReleaseNumber(current), content });
    Limit { latest: ReleaseNumber(latest), current, hold: None }
}

fn gap(limits: &[(&str, Limit)]) -> Gap {
    Gap {
        reason: "VolumeOlder".into(),
        message: "it is older".into(),
        anchored: Some(SizeAndRoot { size: 99, root: "r".into() }),
        limits: limits.iter().map(|(component, limit)| (name(component), limit.clone())).collect(),
        accepted: None,
        components: BTreeMap::new(),
        found: BTreeMap::new(),
    }
}

#[test]
fn what_was_staged_before_a_gap_does_not_run_by_itself_unless_it_is_what_ran() {
    let dir = tempfile::tempdir().unwrap();
    let history = open(dir.path());
    let old = stage(&history, "web", "old").release.id.clone();
    run(&history, &old, Status::Healthy);
    let same = stage(&history, "db", "same").release.clone();
    run(&history, &same.id, Status::Healthy);
    assert_eq!(history.limit_on(&old), None);
    let limits =
        [("web", limit(7, 6, Digest::of("lost"))), ("db", limit(4, 4, same.content)), ("new", limit(2, 2, same.content))];
    history.mend(gap(&limits), at(9)).unwrap();
    assert_eq!(history.limit_on(&old), Some(limits[0].1.clone()));
    assert_eq!(history.limit_on(&same.id), None, "the same objects are the same objects");
    assert_eq!(history.limit_on(&id("new", 2)), Some(limits[2].1.clone()), "nobody has it any more");
    assert_eq!(history.gap().unwrap().reason, "VolumeOlder");
    // Numbers go on, also of what was never here.
    let (newer, first) = (stage(&history, "web", "newer").release.id.clone(), stage(&history, "new", "n").release.id.clone());
    assert_eq!((newer.number, first.number), (ReleaseNumber(8), ReleaseNumber(3)));
    assert_eq!(history.limit_on(&newer), None);
    // As long as the newer one was not healthy, nothing goes back to the older one by itself.
    assert!(history.limit_on(&old).is_some());
    run(&history, &newer, Status::Unhealthy);
    assert!(history.limit_on(&old).is_some());
    assert_eq!(history.limit_on(&newer), None);
    run(&history, &newer, Status::Healthy);
    assert_eq!(history.limit_on(&old), None);
    assert_eq!(history.limits().keys().map(ComponentName::as_str).collect::<Vec<_>>(), ["db", "new"]);
    history.check_view().unwrap();
    drop(history);
    std::fs::remove_dir_all(dir.path().join("view")).unwrap();
    let history = open(dir.path());
    assert_eq!(history.limits().len(), 2);
    history.check_view().unwrap();
}

#[test]
fn what_was_begun_or_held_before_a_gap_is_as_it_was_anchored() {
    let dir = tempfile::tempdir().unwrap();
    let history = open(dir.path());
    let release = stage(&history, "web", "one").release.id.clone();
    run(&history, &release, Status::Healthy);
    let hold = |reason: &str| Hold::at(ReleaseNumber(1), reason, "me");
    history.rollback_requested(&name("web"), hold("before"), None, at(5)).unwrap();
    let _ = history.begin(intent(release, &["c"]), at(6)).unwrap();
    let limited = Limit { hold: Some(hold("since")), ..limit(3, 3, Digest::of("x")) };
    history.mend(gap(&[("web", limited)]), at(9)).unwrap();
    let view = history.component(&name("web")).unwrap();
    assert_eq!((view.unfinished, view.rollback), (None, None));
    assert_eq!(view.hold.unwrap().reason, "since");
    history.check_view().unwrap();
}

#[test]
fn what_is_found_in_the_cluster_is_owned_and_never_counts_as_made() {
    let dir = tempfile::tempdir().unwrap();
    let history = open(dir.path());
    let release = stage(&history, "web", "one").release.id.clone();
    run(&history, &release, Status::Healthy);
    let found = |object: &str, uid: &str| FoundObject { key: key(object), uid: uid.into() };
    let many: Vec<_> = (0..3000).map(|number| found(&format!("many-{number}"), &"u".repeat(36))).collect();
    let accepted = Some((revision(5), trust()));
    let all = [(name("web"), vec![found("b", "uid-b"), found("c", "uid-c")]), (name("lost"), many)];
    let found = all.into_iter().collect();
    let components = [(name("lost"), (revision(6), trust()))].into();
    history.mend(Gap { accepted, found, components, ..gap(&[("lost", limit(4, 4, Digest::of("x")))]) }, at(9)).unwrap();
    assert_eq!(history.accepted().head, Some(revision(5).commit));
    let own = &history.accepted().components[&name("lost")];
    assert_eq!((&own.revision, own.ahead), (&revision(6), true));
    let of = |component: &str| -> Vec<_> {
        history.inventory(&name(component)).into_iter().map(|entry| (entry.key.name, entry.created)).collect()
    };
    // What is remembered stays remembered.
    assert_eq!(of("web"), [("b".into(), Some(true)), ("c".into(), Some(false))]);
    assert_eq!(of("lost").len(), 3000);
    assert!(of("lost").iter().all(|(_, created)| *created == Some(false)));
    history.check_view().unwrap();
}

#[test]
fn what_is_signed_is_proven_by_the_same_identity_only_and_for_the_same_purpose() {
    let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let history = open(dir.path());
    let note = history.sign("a.example/kind/v1", r#"{"a":1}"#);
    assert_eq!(history.prove("a.example/kind/v1", &note), Ok(r#"{"a":1}"#));
    assert_eq!(history.prove("a.example/kind/v2", &note), Err(Unproven::Damaged));
    assert_eq!(history.prove("a.example/kind/v1", &note.replace('1', "2")), Err(Unproven::Damaged));
    let checkpoint = String::from_utf8(history.checkpoint()).unwrap();
    assert_eq!(history.prove("a.example/kind/v1", &checkpoint), Err(Unproven::Damaged));
    for nothing in ["", "\n\n", "a\n\n\u{2014} b c\n"] {
        assert!(history.prove("a.example/kind/v1", nothing).is_err());
    }
    let another = Options { origin: "tk8s.io/other/tk8s".into(), ..options(other.path()) };
    let another = History::open(another, at(0)).unwrap();
    assert_eq!(another.prove("a.example/kind/v1", &note), Err(Unproven::AnotherLedger(ORIGIN.into())));
    drop(another);
    // Another key, as an operator makes it when the old one is lost.
    let seed = [3; 32];
    let key = ed25519_dalek::SigningKey::from_bytes(&seed);
    let stranger = crate::note::Verifier::of(ORIGIN, &key).sign(&key, "a.example/kind/v1\n{}\n");
    assert_eq!(history.prove("a.example/kind/v1", &stranger), Err(Unproven::AnotherKey));
    // Sizes that never were have no root.
    let now = history.size_and_root();
    assert_eq!(history.root_at(now.size).unwrap(), Some(now.root));
    assert_eq!((history.root_at(0).unwrap(), history.root_at(now.size + 1).unwrap()), (None, None));
}

#[test]
fn how_components_are_is_the_same_whether_it_was_asked_before_or_not() {
    let dir = tempfile::tempdir().unwrap();
    let history = open(dir.path());
    let mut ran = BTreeMap::new();
    assert!(history.as_it_is(&mut ran).is_empty());
    for (component, value) in [("web", "1"), ("db", "1"), ("web", "2"), ("web", "3")] {
        stage(&history, component, value);
        let release = history.component(&name(component)).unwrap().latest.id;
        if value != "3" {
            run(&history, &release, Status::Healthy);
        }
        assert_eq!(history.as_it_is(&mut ran), history.as_it_is(&mut BTreeMap::new()));
    }
    history.hold(&name("db"), Hold::at(ReleaseNumber(1), "so", "me"), at(5)).unwrap();
    let limits = history.as_it_is(&mut ran);
    let (web, db) = (&limits[&name("web")], &limits[&name("db")]);
    let content = history.content_of(&id("web", 2)).unwrap();
    assert_eq!((web.latest, web.current.clone()), (ReleaseNumber(3), Some(Ran { release: ReleaseNumber(2), content })));
    assert_eq!((db.latest, db.hold.as_ref().map(|hold| hold.by.as_str())), (ReleaseNumber(1), Some("me")));
    assert_eq!((ran.len(), web.hold.is_some()), (2, false));
}
