//! What the history promises to the stages that use it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use proptest::prelude::*;
use tk8s_core::{Environment, Moment, Trust};

use super::*;
use crate::view::sled::SledView;
use crate::{Degraded, EndedHook, Error, Hold, LeftOut, RefusedRevision, Scope, SeenTag, replay_equals_view, verify};

#[test]
fn recalling_a_release_gives_exactly_what_was_staged() {
    let dir = tempfile::tempdir().unwrap();
    let history = open(dir.path());
    let staged = stage(&history, "web", "one");
    assert_eq!(staged.release.id, id("web", 1));
    assert_eq!(stage(&history, "web", "two").release.id, id("web", 2));
    assert_eq!(stage(&history, "api", "one").release.id, id("api", 1));
    drop(history);
    let history = open(dir.path());
    let recalled = history.recall(&staged.release.id).unwrap();
    assert_eq!(recalled.release, staged.release);
    assert_eq!(recalled.objects, staged.objects);
    assert_eq!(recalled.release.content, history.content(&staged.objects));
    assert_ne!(recalled.release.content, history.recall(&id("web", 2)).unwrap().release.content);
    assert!(matches!(history.recall(&id("web", 3)), Err(Error::UnknownRelease(_))));
}

#[test]
fn the_content_does_not_depend_on_order_or_files_but_on_the_layer() {
    let dir = tempfile::tempdir().unwrap();
    let history = open(dir.path());
    let objects = vec![object("ConfigMap", "a", "1"), object("ConfigMap", "b", "2")];
    let content = history.content(&objects);
    let mut other = objects.clone();
    other.reverse();
    assert_eq!(history.content(&other), content);
    other[0].layer = "3-other".parse().unwrap();
    assert_ne!(history.content(&other), content);
    assert_ne!(history.content(&objects[..1]), content);
}

#[test]
fn what_was_waived_is_staged_in_dev_only() {
    let dir = tempfile::tempdir().unwrap();
    let history = open(dir.path());
    let waived =
        |environment| ResolvedParts { trust: Trust::Waived { reason: "a trial".into() }, environment, ..parts("web", "x") };
    for environment in [Environment::Staging, Environment::Production] {
        let error = history.stage_parts(waived(environment), at(1)).unwrap_err();
        assert!(matches!(error, Error::Waived { .. }), "{error}");
    }
    assert!(history.components().is_empty());
    history.stage_parts(waived(Environment::Dev), at(1)).unwrap();
}

#[test]
fn a_second_process_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let history = open(dir.path());
    let error = History::open(options(dir.path()), at(0)).unwrap_err();
    assert!(matches!(error, Error::Locked { .. }), "{error}");
    assert!(error.to_string().contains(dir.path().to_str().unwrap()));
    drop(history);
    open(dir.path());
}

#[test]
fn a_history_is_opened_only_with_its_own_keys_name_and_instance() {
    let dir = tempfile::tempdir().unwrap();
    drop(open(dir.path()));
    let right = options(dir.path());
    let other = ed25519_dalek::pkcs8::EncodePrivateKey::to_pkcs8_pem(
        &ed25519_dalek::SigningKey::from_bytes(&[9; 32]),
        Default::default(),
    );
    let wrong = [
        Options { origin: "tk8s.io/other/tk8s".into(), ..right.clone() },
        Options { origin: "with space".into(), ..right.clone() },
        Options { instance: "other".parse().unwrap(), ..right.clone() },
        Options { identity_key: Secret::new(other.unwrap().as_bytes().to_vec()), ..right.clone() },
        Options { identity_key: Secret::new(b"nonsense".to_vec()), ..right.clone() },
        Options { encryption_key: Secret::new(hex::encode([8; 32]).into_bytes()), ..right.clone() },
        Options { encryption_key: Secret::new(b"nonsense".to_vec()), ..right },
    ];
    let before = files(&dir.path().join("ledger"));
    for options in wrong {
        let error = History::open(options, at(0)).unwrap_err();
        assert!(matches!(error, Error::Foreign { .. } | Error::Key { .. } | Error::Origin(_)), "{error}");
    }
    assert_eq!(files(&dir.path().join("ledger")), before);
}

#[test]
fn hooks_that_ended_are_known_for_their_content_until_another_one_runs_hooks() {
    let dir = tempfile::tempdir().unwrap();
    let history = open(dir.path());
    let (first, second) = (stage(&history, "web", "one").release.id.clone(), stage(&history, "web", "two").release.id.clone());
    let hook = |name: &str, succeeded| EndedHook { key: key(name), moment: Moment::BeforeApply, uid: "u".into(), succeeded };
    let end = |release: &ReleaseId, hooks: &[EndedHook]| {
        let begun = history.begin(intent(release.clone(), &["a"]), at(2)).unwrap();
        history.hooks_ended(&begun, hooks, at(3)).unwrap();
        assert_eq!(history.component(&name("web")).unwrap().unfinished, None, "what is closed is not begun");
    };
    assert_eq!(history.hooks(&first), []);
    end(&first, &[hook("a", false), hook("b", true)]);
    end(&first, &[hook("a", true)]);
    assert_eq!((history.hooks(&first), history.hooks(&second)), (vec![hook("b", true), hook("a", true)], vec![]));
    // How a release ended is said by its turns alone.
    assert_eq!(history.component(&name("web")).unwrap().current, None);
    let many: Vec<_> = (0..1000).map(|number| hook(&format!("hook-{number}"), true)).collect();
    end(&second, &many);
    assert_eq!((history.hooks(&first).len(), history.hooks(&second).len()), (0, 1000), "of as many events as it takes");
    drop(history);
    replay_equals_view(options(dir.path())).unwrap();
    assert_eq!(open(dir.path()).hooks(&second).len(), 1000);
}

#[test]
fn an_object_is_in_the_inventory_before_it_is_created_and_until_it_is_pruned() {
    let dir = tempfile::tempdir().unwrap();
    let history = open(dir.path());
    let release = stage(&history, "web", "one").release.id.clone();
    let begun = history.begin(intent(release.clone(), &["b", "c"]), at(2)).unwrap();
    let states = |history: &History| -> Vec<_> {
        history.inventory(&name("web")).into_iter().map(|entry| (entry.key.name, entry.uid, entry.created)).collect()
    };
    let intended = |name: &str| (name.to_owned(), None, None);
    assert_eq!(states(&history), [intended("b"), intended("c")]);
    assert_eq!(history.component(&name("web")).unwrap().unfinished.as_ref(), Some(begun.intent()));
    drop(history);

    let history = open(dir.path());
    let unfinished = history.component(&name("web")).unwrap().unfinished.unwrap();
    let begun = history.begin(unfinished, at(3)).unwrap();
    applied(&history, &begun, &["b", "c"]);
    let ours = |name: &str| (name.to_owned(), Some(format!("uid-{name}")), Some(true));
    assert_eq!(states(&history), [ours("b"), ours("c")]);
    // The same object again, this time only changed: it stays ours. Another object under the same name is not.
    let changed = |uid: &str| AppliedObject { key: key("b"), uid: uid.into(), created: None };
    history.applied(&begun, &[changed("uid-b")], at(4)).unwrap();
    assert_eq!(states(&history)[0], ours("b"));
    history.applied(&begun, &[changed("foreign")], at(4)).unwrap();
    assert_eq!(states(&history)[0], ("b".into(), Some("foreign".into()), Some(false)));
    history.pruned(&begun, &[key("b")], at(5)).unwrap();
    assert_eq!(states(&history), [ours("c")]);
    assert_eq!(history.inventories().into_keys().collect::<Vec<_>>(), [name("web")]);
    assert!(history.record(begun, outcome(Status::Healthy), at(6)).unwrap().finished);
    let view = history.component(&name("web")).unwrap();
    assert_eq!((view.unfinished, view.current, view.healthy), (None, Some(release.clone()), Some(release)));
    history.check_view().unwrap();
}

#[test]
fn what_was_to_be_created_and_is_found_later_may_be_ours_or_not() {
    let dir = tempfile::tempdir().unwrap();
    let history = open(dir.path());
    let release = stage(&history, "web", "one").release.id.clone();
    let begun = history.begin(intent(release, &["found", "theirs", "heard"]), at(2)).unwrap();
    let object = |name: &str, created| AppliedObject { key: key(name), uid: format!("uid-{name}"), created };
    let created = |name: &str| {
        let inventory = history.inventory(&crate::tests::name("web"));
        inventory.into_iter().find(|entry| entry.key == key(name)).unwrap().created
    };
    // The run was killed before the answer was written down; the next one finds the object as it should be, or changes it.
    history.applied(&begun, &[object("found", None)], at(3)).unwrap();
    history.applied(&begun, &[object("found", None)], at(4)).unwrap();
    assert_eq!(created("found"), None);
    history.applied(&begun, &[object("theirs", Some(false)), object("heard", Some(true))], at(5)).unwrap();
    history.applied(&begun, &[object("theirs", None), object("heard", None)], at(6)).unwrap();
    assert_eq!((created("theirs"), created("heard")), (Some(false), Some(true)));
    history.applied(&begun, &[object("adopted", None)], at(7)).unwrap();
    assert_eq!(created("adopted"), Some(false));
    history.check_view().unwrap();
}

#[test]
fn a_release_of_several_turns_is_finished_by_its_last_or_by_a_failed_one() {
    let dir = tempfile::tempdir().unwrap();
    let history = open(dir.path());
    let release = stage(&history, "web", "one").release.id.clone();
    let turn = |turn| Intent { turn, turns: 2, ..intent(release.clone(), &[]) };
    let begun = history.begin(turn(0), at(2)).unwrap();
    assert!(!history.record(begun, outcome(Status::Healthy), at(3)).unwrap().finished);
    let view = history.component(&name("web")).unwrap();
    assert_eq!((view.latest_outcome, view.current.clone(), view.unfinished), (None, None, None));
    let begun = history.begin(turn(1), at(4)).unwrap();
    assert!(history.record(begun, outcome(Status::Healthy), at(5)).unwrap().finished);
    let view = history.component(&name("web")).unwrap();
    let ended = Outcome { turn: 1, turns: 2, ..outcome(Status::Healthy) };
    assert_eq!((view.latest_outcome, view.current), (Some(ended), Some(release.clone())));

    let second = stage(&history, "web", "two").release.id.clone();
    let begun = history.begin(Intent { turn: 0, turns: 2, ..intent(second.clone(), &[]) }, at(6)).unwrap();
    assert!(history.record(begun, outcome(Status::Failed), at(7)).unwrap().finished);
    let view = history.component(&name("web")).unwrap();
    assert_eq!(view.latest_outcome.unwrap().status, Status::Failed);
    assert_eq!((view.current.unwrap(), view.healthy.unwrap()), (release.clone(), release));
    history.check_view().unwrap();
}

#[test]
fn an_unhealthy_release_runs_but_is_not_what_one_goes_back_to() {
    let dir = tempfile::tempdir().unwrap();
    let history = open(dir.path());
    for (value, status) in [("one", Status::Healthy), ("two", Status::Unhealthy)] {
        let release = stage(&history, "web", value).release.id.clone();
        run(&history, &release, status);
    }
    let view = history.component(&name("web")).unwrap();
    assert_eq!((view.current, view.healthy), (Some(id("web", 2)), Some(id("web", 1))));
    let healthy: Vec<_> =
        history.releases(&name("web")).iter().map(|view| (view.release.id.number.0, view.healthy_at.is_some())).collect();
    assert_eq!(healthy, [(2, false), (1, true)]);
}

#[test]
fn a_denied_release_says_so_once_and_a_healthy_one_stays_healthy() {
    let dir = tempfile::tempdir().unwrap();
    let history = open(dir.path());
    let release = stage(&history, "web", "one").release.id.clone();
    let reasons = vec!["a layer below is not healthy".to_owned(); 100];
    history.deny(&release, reasons.clone(), at(2)).unwrap();
    let size = history.size_and_root().size;
    history.deny(&release, reasons, at(3)).unwrap();
    assert_eq!(history.size_and_root().size, size);
    assert_eq!(history.component(&name("web")).unwrap().latest_outcome.unwrap().status, Status::Denied);
    run(&history, &release, Status::Healthy);
    history.deny(&release, vec!["something else".into()], at(5)).unwrap();
    assert_eq!(history.component(&name("web")).unwrap().latest_outcome.unwrap().status, Status::Healthy);
    assert!(matches!(history.deny(&id("web", 9), vec![], at(5)), Err(Error::UnknownRelease(_))));
}

#[test]
fn a_rollback_stands_until_its_run_ends_and_a_hold_until_it_is_resumed() {
    let dir = tempfile::tempdir().unwrap();
    let history = open(dir.path());
    for value in ["one", "two"] {
        let release = stage(&history, "web", value).release.id.clone();
        run(&history, &release, Status::Healthy);
    }
    let held = |release| Hold::at(ReleaseNumber(release), "it hurts", "alice");
    history.rollback_requested(&name("web"), held(1), Some("it hurts"), at(5)).unwrap();
    assert!(history.rollback_requested(&name("web"), held(7), None, at(5)).is_err());
    assert!(history.rollback_requested(&name("api"), held(1), None, at(5)).is_err());
    assert_eq!(history.component(&name("web")).unwrap().hold, Some(held(1)));
    drop(history);
    let history = open(dir.path());
    let pending = history.component(&name("web")).unwrap().rollback.unwrap();
    assert_eq!((pending.to, pending.by.as_str(), pending.reason.as_deref()), (ReleaseNumber(1), "alice", Some("it hurts")));
    run(&history, &id("web", 1), Status::Healthy);
    let hold = Hold { rejected: vec![Digest::of("x")], ..Hold::at(ReleaseNumber(1), "it hurts", "alice") };
    history.hold(&name("web"), hold.clone(), at(6)).unwrap();
    let view = history.component(&name("web")).unwrap();
    assert_eq!((view.rollback, view.hold, view.current, view.latest.id), (None, Some(hold), Some(id("web", 1)), id("web", 2)));
    history.resume(&name("web"), "bob", at(7)).unwrap();
    assert_eq!(history.component(&name("web")).unwrap().hold, None);
    let size = history.size_and_root().size;
    history.resume(&name("web"), "bob", at(8)).unwrap();
    assert_eq!(history.size_and_root().size, size);
    history.check_view().unwrap();
}

#[test]
fn a_refusal_that_comes_again_with_every_poll_does_not_fill_the_ledger() {
    let dir = tempfile::tempdir().unwrap();
    let history = open(dir.path());
    let refusal = RefusedRevision {
        reference: "refs/heads/main".into(),
        object: "1".into(),
        reason: "UnknownSigner".into(),
        message: "who?".into(),
    };
    (0..1000).for_each(|second| history.refuse(refusal.clone(), at(second)).unwrap());
    assert_eq!(history.size_and_root().size, 1 + 4);
    assert_eq!(history.refusals()[0].times, 1000);
    history.refuse(RefusedRevision { object: "2".into(), ..refusal }, at(1000)).unwrap();
    assert_eq!(history.refusals().len(), 2);
    history.accept(&revision(3), &trust(), at(1001)).unwrap();
    history.accept(&revision(3), &trust(), at(1002)).unwrap();
    assert_eq!(history.refusals(), []);
    assert_eq!(history.size_and_root().size, 7);
    let accepted = history.accepted();
    assert_eq!((accepted.head, accepted.trust), (Some(revision(3).commit), Some(trust())));
    history.check_view().unwrap();
}

#[test]
fn a_component_follows_what_was_accepted_of_it_until_the_platform_holds_it() {
    let dir = tempfile::tempdir().unwrap();
    let history = open(dir.path());
    history.accept(&revision(1), &trust(), at(1)).unwrap();
    history.accept_component(&name("web"), &revision(2), &trust(), at(2)).unwrap();
    history.accept_component(&name("api"), &revision(3), &trust(), at(3)).unwrap();
    let size = history.size_and_root().size;
    history.accept_component(&name("web"), &revision(2), &trust(), at(4)).unwrap();
    assert_eq!(history.size_and_root().size, size, "the same again is no event");
    let ahead = |history: &History| -> Vec<_> {
        history.accepted().components.into_iter().map(|(name, own)| (name.to_string(), own.revision, own.ahead)).collect()
    };
    let (web, api) = ("web".to_owned(), "api".to_owned());
    assert_eq!(ahead(&history), [(api.clone(), revision(3), true), (web.clone(), revision(2), true)]);
    history.accept_but_for([name("web")].into(), &revision(4), &trust(), at(5)).unwrap();
    assert_eq!(ahead(&history), [(api.clone(), revision(3), false), (web.clone(), revision(2), true)]);
    assert_eq!(history.accepted().head, Some(revision(4).commit));
    drop(history);
    let history = open(dir.path());
    history.accept(&revision(5), &trust(), at(6)).unwrap();
    assert_eq!(ahead(&history), [(api, revision(3), false), (web, revision(2), false)]);
    history.check_view().unwrap();
}

fn degraded(object: &str, cause: &str) -> Degraded {
    Degraded { object: key(object), reason: "Bad".into(), message: format!("pod {object}-1: {cause}"), cause: cause.into() }
}

#[test]
fn what_became_of_a_workload_is_written_down_once_for_each_cause_and_fills_no_disk() {
    let dir = tempfile::tempdir().unwrap();
    let history = open(dir.path());
    let release = id("web", 1);
    stage(&history, "web", "1");
    let empty = history.size_and_root().size;
    let events = |history: &History| history.size_and_root().size - empty;
    (0..1000).for_each(|n| history.degraded(&release, vec![degraded("web", &format!("restarted {n} times"))], at(n)).unwrap());
    assert_eq!(events(&history), 4, "the first, tenth, hundredth and thousandth time");
    history
        .degraded(
            &release,
            vec![degraded("web", "no memory"), degraded("db", "no memory"), degraded("db", "no memory")],
            at(1001),
        )
        .unwrap();
    assert_eq!(events(&history), 6);
    let told: Vec<_> =
        history.story(&release).unwrap().decays.into_iter().map(|decay| (decay.object.name, decay.times)).collect();
    let expected = [("web", 1), ("web", 10), ("web", 100), ("web", 1000)].map(|(name, times)| (name.to_owned(), times));
    assert_eq!(told[..4], expected);
    assert_eq!(told.len(), 6);
    // Words that are always others are counted together from a limit on.
    let letters = |n: i64| n.to_string().chars().map(|digit| char::from(digit as u8 - b'0' + b'a')).collect::<String>();
    (0..2000).for_each(|n| history.degraded(&release, vec![degraded("web", &letters(n))], at(n)).unwrap());
    assert_eq!(events(&history), 6 + 47 + 4);
    assert_eq!(history.story(&release).unwrap().decays.last().unwrap().reason, "TooManyCauses");
    history.check_view().unwrap();
    // What was counted in vain before an end is counted anew; what is written down is the same.
    drop(history);
    let history = open(dir.path());
    history.degraded(&release, vec![degraded("db", "no memory")], at(3000)).unwrap();
    assert_eq!(events(&history), 57);
    assert!(history.degraded(&id("web", 9), vec![degraded("db", "no memory")], at(3000)).is_err(), "nobody knows that release");
}

#[test]
fn a_tag_is_remembered_as_it_was_first_seen() {
    let dir = tempfile::tempdir().unwrap();
    let history = open(dir.path());
    let seen = |number: u32| SeenTag {
        tag: format!("{number:040x}").parse().unwrap(),
        commit: revision(number).commit,
        tree: Some(revision(number).tree),
    };
    history.first_seen("v1.0.0", seen(1), at(1)).unwrap();
    history.first_seen("v1.0.0", seen(1), at(2)).unwrap();
    assert!(matches!(history.first_seen("v1.0.0", seen(2), at(3)), Err(Error::TagMoved(_))));
    history.first_seen("v1.0.1", seen(2), at(4)).unwrap();
    assert_eq!(history.size_and_root().size, 3);
    assert_eq!(history.accepted().tags, [("v1.0.0".to_owned(), seen(1)), ("v1.0.1".into(), seen(2))].into());
}

#[test]
fn releases_beyond_the_limit_go_with_their_blobs_but_never_one_that_is_needed() {
    let dir = tempfile::tempdir().unwrap();
    let history = open(dir.path());
    let blobs = || files(&dir.path().join("blobs")).len();
    let numbers =
        |history: &History| -> Vec<_> { history.releases(&name("web")).iter().map(|view| view.release.id.number.0).collect() };
    let first = stage(&history, "web", "v1").release.id.clone();
    run(&history, &first, Status::Healthy);
    (2..=6).for_each(|number| drop(stage(&history, "web", &format!("v{number}"))));
    // The first runs, so it stays; of the others the three newest.
    assert_eq!(numbers(&history), [6, 5, 4, 1]);
    assert_eq!(blobs(), 4);
    assert!(matches!(history.recall(&id("web", 2)), Err(Error::UnknownRelease(_))));
    // A blob that two releases share stays as long as one of them.
    drop(stage(&history, "web", "v4"));
    run(&history, &id("web", 7), Status::Healthy);
    (8..=9).for_each(|number| drop(stage(&history, "web", &format!("v{number}"))));
    assert_eq!(numbers(&history), [9, 8, 7]);
    history.recall(&id("web", 7)).unwrap();
    assert_eq!(blobs(), 3);
    history.check_view().unwrap();
    assert_eq!(verify(dir.path(), None).unwrap().blobs, 3);
}

#[test]
fn lists_that_do_not_fit_into_an_event_are_spread_and_come_back_whole() {
    let dir = tempfile::tempdir().unwrap();
    let history = open(dir.path());
    let release = stage(&history, "web", "one").release.id.clone();
    let names: Vec<String> = (0..2000).map(|number| format!("{number:04}-{}", "x".repeat(100))).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut wanted = intent(release, &names[..1500]);
    wanted.changes = names[1500..1999].iter().map(|name| key(name)).collect();
    wanted.deletes = vec![key(names[1999])];
    let begun = history.begin(wanted.clone(), at(2)).unwrap();
    applied(&history, &begun, &names[..1999]);
    drop(history);
    let history = open(dir.path());
    assert_eq!(history.component(&name("web")).unwrap().unfinished, Some(wanted));
    let inventory = history.inventory(&name("web"));
    assert_eq!(inventory.len(), 1999);
    assert!(inventory.iter().all(|entry| entry.created == Some(true)));
    history.pruned(&begun, &names.iter().map(|name| key(name)).collect::<Vec<_>>(), at(3)).unwrap();
    assert_eq!(history.inventory(&name("web")), []);
    history.check_view().unwrap();
    verify(dir.path(), None).unwrap();
}

#[test]
fn a_view_whose_lock_is_not_given_up_yet_is_waited_for_and_not_put_aside() {
    let dir = tempfile::tempdir().unwrap();
    let history = open(dir.path());
    history.cache_put("fingerprint/web/a", b"1");
    drop(history);
    let database = std::fs::File::open(dir.path().join("view/db")).unwrap();
    database.lock().unwrap();
    let opening = std::thread::scope(|scope| {
        let opening = scope.spawn(|| open(dir.path()).cache_get("fingerprint/web/a"));
        std::thread::sleep(Duration::from_millis(300));
        drop(database);
        opening.join().unwrap()
    });
    assert_eq!(opening.unwrap(), b"1");
}

#[test]
fn the_cache_keeps_values_encrypted_and_survives_nothing_it_need_not() {
    let dir = tempfile::tempdir().unwrap();
    let history = open(dir.path());
    history.cache_put("fingerprint/web/a", b"hunter2-in-cache");
    history.cache_put("fingerprint/web/b", b"2");
    history.cache_put("verdict/x", b"3");
    assert_eq!(history.cache_get("fingerprint/web/a").unwrap(), b"hunter2-in-cache");
    assert_eq!(history.cache_scan("fingerprint/").len(), 2);
    history.cache_remove("fingerprint/web/b");
    assert_eq!(history.cache_get("fingerprint/web/b"), None);
    drop(history);
    let history = open(dir.path());
    assert_eq!(history.cache_scan("fingerprint/"), [("fingerprint/web/a".to_owned(), b"hunter2-in-cache".to_vec())]);
    drop(history);
    assert!(!contains(dir.path(), b"hunter2-in-cache"));
    std::fs::remove_dir_all(dir.path().join("view")).unwrap();
    assert_eq!(open(dir.path()).cache_scan(""), []);
}

#[test]
fn a_process_that_ends_while_somebody_holds_its_history_has_flushed_it() {
    let (dir, left) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let history = open(dir.path());
    stage(&history, "web", "one");
    history.cache_put("fingerprint/web/a", b"1");
    history.flush().unwrap();
    copy(dir.path(), left.path(), true);
    assert_eq!(open(left.path()).cache_get("fingerprint/web/a").as_deref(), Some(&b"1"[..]));
    assert_eq!(verify(left.path(), None).unwrap().size, history.size_and_root().size);
}

fn contains(dir: &Path, needle: &[u8]) -> bool {
    files(dir).iter().any(|(_, bytes)| bytes.windows(needle.len()).any(|window| window == needle))
}

#[test]
fn no_secret_is_in_any_file() {
    let dir = tempfile::tempdir().unwrap();
    let history = open(dir.path());
    let secret = "c3VwZXItc2VjcmV0LXZhbHVl";
    let mut parts = parts("web", "one");
    parts.objects.push(object("Secret", "s", secret));
    let release = history.stage_parts(parts, at(1)).unwrap().release.id.clone();
    run(&history, &release, Status::Healthy);
    history.cache_put("answer", secret.as_bytes());
    drop(history);
    assert!(contains(dir.path(), b"web@1") && contains(dir.path(), b"alice"), "the search finds what is there");
    for needle in [
        secret.as_bytes(),
        b"super-secret-value",
        b"aHVudGVyMg==",
        &[7; 32],
        hex::encode([7; 32]).as_bytes(),
        b"MC4CAQAwBQYDK2Vw",
    ] {
        assert!(!contains(dir.path(), needle), "{}", String::from_utf8_lossy(needle));
    }
}

#[test]
fn a_view_that_hangs_is_reported_replaced_and_put_aside_at_the_next_start() {
    let dir = tempfile::tempdir().unwrap();
    let hung = Arc::new(AtomicUsize::new(0));
    let counter = hung.clone();
    let watchdog = Watchdog {
        deadline: Duration::from_millis(300),
        on_hang: Arc::new(move || {
            counter.fetch_add(1, Ordering::SeqCst);
        }),
    };
    let history = open(dir.path());
    stage(&history, "web", "one");
    let other = tempfile::tempdir().unwrap();
    let view = SledView::open(&other.path().join("view"), &dir.path().join("view.broken"), watchdog).unwrap();
    view.spin();
    history.set_view(Arc::new(view));
    assert_eq!(history.components(), [name("web")]);
    assert_eq!(hung.load(Ordering::SeqCst), 1);
    stage(&history, "api", "one");
    history.check_view().unwrap();
    assert!(dir.path().join("view.broken").exists());
    drop(history);
    let history = open(dir.path());
    assert_eq!(history.components(), [name("api"), name("web")]);
    assert!(!dir.path().join("view.broken").exists());
    assert!(
        std::fs::read_dir(dir.path()).unwrap().any(|entry| entry
            .unwrap()
            .file_name()
            .to_str()
            .unwrap()
            .starts_with("view.aside-"))
    );
}

/// Something that happens to a history.
#[derive(Clone, Debug)]
enum Step {
    Stage(u8, u8),
    Begin(u8, u8, Vec<u8>),
    Apply(Vec<u8>, bool),
    Prune(Vec<u8>),
    Record(Status),
    Deny(u8, u8),
    Rollback(u8, u8),
    Hold(u8, u8),
    Resume(u8),
    Suspend(u8),
    ResumeAll(u8),
    LeaveOut(u8, u8, Vec<u8>),
    Decay(u8, u8, Vec<u8>),
    Accept(u8),
    Refuse(u8),
    See(u8),
    Reopen,
    LoseView,
}

fn step() -> impl Strategy<Value = Step> {
    let keys = || proptest::collection::vec(0u8..30, 0..25);
    let status = prop_oneof![
        Just(Status::Healthy),
        Just(Status::Healthy),
        Just(Status::Failed),
        Just(Status::Unhealthy),
        Just(Status::Superseded)
    ];
    prop_oneof![
        4 => (0u8..3, any::<u8>()).prop_map(|(c, v)| Step::Stage(c, v % 4)),
        3 => (0u8..3, 1u8..6, keys()).prop_map(|(c, n, k)| Step::Begin(c, n, k)),
        3 => (keys(), any::<bool>()).prop_map(|(k, c)| Step::Apply(k, c)),
        1 => keys().prop_map(Step::Prune),
        3 => status.prop_map(Step::Record),
        1 => (0u8..3, 1u8..6).prop_map(|(c, n)| Step::Deny(c, n)),
        1 => (0u8..3, 1u8..6).prop_map(|(c, n)| Step::Rollback(c, n)),
        1 => (0u8..3, 1u8..6).prop_map(|(c, n)| Step::Hold(c, n)),
        1 => (0u8..3).prop_map(Step::Resume),
        1 => (0u8..3).prop_map(Step::Suspend),
        1 => (0u8..3).prop_map(Step::ResumeAll),
        1 => (0u8..3, 1u8..6, keys()).prop_map(|(c, n, k)| Step::LeaveOut(c, n, k)),
        1 => (0u8..3, 1u8..6, keys()).prop_map(|(c, n, k)| Step::Decay(c, n, k)),
        1 => any::<u8>().prop_map(|n| Step::Accept(n % 3)),
        1 => any::<u8>().prop_map(|n| Step::Refuse(n % 3)),
        1 => any::<u8>().prop_map(|n| Step::See(n % 3)),
        1 => Just(Step::Reopen),
        1 => Just(Step::LoseView),
    ]
}

fn scope(which: u8) -> Scope {
    match which {
        0 => Scope::All,
        1 => Scope::Layer("2-services".parse().unwrap()),
        _ => Scope::Component(name("web")),
    }
}

/// Does it; what is refused is refused.
fn take(history: History, dir: &Path, begun: &mut Option<Begun>, step: Step) -> History {
    let names = ["web", "api", "db"];
    let strings = |keys: &[u8]| -> Vec<String> { keys.iter().map(|key| format!("object-{key}")).collect() };
    match step {
        Step::Stage(c, v) => drop(stage(&history, names[c as usize], &v.to_string())),
        Step::Begin(c, n, keys) => {
            let keys = strings(&keys);
            let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
            *begun = history.begin(intent(id(names[c as usize], n.into()), &keys), at(2)).ok();
        }
        Step::Apply(keys, created) => {
            if let Some(begun) = begun {
                let object = |name: &String| AppliedObject { key: key(name), uid: format!("uid-{name}"), created: Some(created) };
                history.applied(begun, &strings(&keys).iter().map(object).collect::<Vec<_>>(), at(3)).unwrap();
            }
        }
        Step::Prune(keys) => {
            if let Some(begun) = begun {
                history.pruned(begun, &strings(&keys).iter().map(|name| key(name)).collect::<Vec<_>>(), at(4)).unwrap();
            }
        }
        Step::Record(status) => {
            if let Some(begun) = begun.take() {
                let _ = history.record(begun, outcome(status), at(5)).unwrap();
            }
        }
        Step::Deny(c, n) => drop(history.deny(&id(names[c as usize], n.into()), vec!["no".into()], at(6))),
        Step::Rollback(c, n) => {
            let hold = Hold::at(ReleaseNumber(n.into()), "r", "me");
            drop(history.rollback_requested(&name(names[c as usize]), hold, None, at(7)));
        }
        Step::Hold(c, n) => {
            let hold = Hold::at(ReleaseNumber(n.into()), "so", "me");
            drop(history.hold(&name(names[c as usize]), hold, at(8)));
        }
        Step::Resume(c) => history.resume(&name(names[c as usize]), "me", at(9)).unwrap(),
        Step::Suspend(which) => history.suspend(scope(which), "so", "me", at(9)).unwrap(),
        Step::ResumeAll(which) => {
            history.resume_all(&scope(which), &names.map(name), "me", at(9)).unwrap();
        }
        Step::LeaveOut(c, n, keys) => {
            let left = |name: &String| LeftOut { object: key(name), reason: "not served".into() };
            let objects: Vec<_> = strings(&keys).iter().map(left).collect();
            drop(history.leave_out(&id(names[c as usize], n.into()), &objects, at(9)));
        }
        Step::Decay(c, n, keys) => {
            let objects = strings(&keys).iter().map(|name| degraded(name, "bad")).collect();
            drop(history.degraded(&id(names[c as usize], n.into()), objects, at(9)));
        }
        Step::Accept(n) => {
            // Some of them bring a component on its own, or leave one ahead.
            match n % 3 {
                0 => history.accept(&revision(n.into()), &trust(), at(10)).unwrap(),
                1 => history.accept_component(&name("web"), &revision(n.into()), &trust(), at(10)).unwrap(),
                _ => history.accept_but_for([name("web")].into(), &revision(n.into()), &trust(), at(10)).unwrap(),
            }
        }
        Step::Refuse(n) => {
            let refusal = RefusedRevision {
                reference: "refs/heads/main".into(),
                object: n.to_string(),
                reason: "No".into(),
                message: "no".into(),
            };
            history.refuse(refusal, at(11)).unwrap();
        }
        Step::See(n) => {
            let seen = SeenTag { tag: "0".repeat(40).parse().unwrap(), commit: revision(n.into()).commit, tree: None };
            drop(history.first_seen("v1", seen, at(12)));
        }
        Step::Reopen => {
            drop(history);
            return open(dir);
        }
        Step::LoseView => {
            drop(history);
            std::fs::remove_dir_all(dir.join("view")).unwrap();
            return open(dir);
        }
    }
    history
}

/// Everything that can be asked.
fn everything(history: &History) -> String {
    let components = history.components();
    let views: Vec<_> =
        components.iter().map(|name| (history.component(name), history.releases(name), history.inventory(name))).collect();
    let recalled: Vec<_> =
        components.iter().flat_map(|name| history.releases(name)).map(|view| history.recall(&view.release.id).unwrap()).collect();
    let left_out: Vec<_> =
        components.iter().flat_map(|name| history.releases(name)).map(|view| history.left_out(&view.release.id)).collect();
    format!(
        "{views:?} {:?} {left_out:?} {:?} {:?} {:?} {recalled:?} {:?}",
        history.suspensions(),
        history.accepted(),
        history.refusals(),
        history.inventories(),
        history.size_and_root()
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]
    #[test]
    fn whatever_happens_a_replay_equals_the_view(steps in proptest::collection::vec(step(), 1..40)) {
        let dir = tempfile::tempdir().unwrap();
        let mut begun = None;
        let mut history = open(dir.path());
        for step in steps {
            history = take(history, dir.path(), &mut begun, step);
        }
        history.check_view().unwrap();
        let before = everything(&history);
        drop(history);
        replay_equals_view(options(dir.path())).unwrap();
        verify(dir.path(), None).unwrap();
        let kept = files(&dir.path().join("blobs")).len();
        std::fs::remove_dir_all(dir.path().join("view")).unwrap();
        let history = open(dir.path());
        prop_assert_eq!(everything(&history), before);
        prop_assert_eq!(files(&dir.path().join("blobs")).len(), kept);
    }
}

#[test]
fn who_pushes_different_unsigned_commits_for_ever_does_not_fill_the_disk() {
    let dir = tempfile::tempdir().unwrap();
    let history = open(dir.path());
    let refuse = |number: u32, second: i64| {
        let refusal = crate::RefusedRevision {
            reference: format!("refs/tags/{}", number % 7),
            object: format!("{number:040x}"),
            reason: "UnknownSigner".into(),
            message: "nobody signed it".into(),
        };
        history.refuse(refusal, at(second)).unwrap();
    };
    (0..1_200).for_each(|number| refuse(number, 1));
    // A hundred by themselves; the rest together, at the first, tenth, hundredth and thousandth time.
    assert_eq!(history.size_and_root().size, 1 + 100 + 4);
    let many = |history: &History| history.refusals().into_iter().find(|view| view.refusal.reference == "*");
    let shown = many(&history).unwrap();
    assert_eq!((shown.refusal.reason.as_str(), shown.times), ("TooManyRefusals", 1000));
    // Those that are written down are still known one by one.
    refuse(5, 2);
    assert_eq!(history.size_and_root().size, 105);
    // From the next accepted revision on there is room again, also if the clock is set back after it.
    history.accept(&revision(1), &trust(), at(300_000_000)).unwrap();
    assert_eq!(many(&history), None);
    (2_000..3_200).for_each(|number| refuse(number, 4));
    assert_eq!(history.size_and_root().size, 105 + 1 + 100 + 4);
    history.check_view().unwrap();
}
