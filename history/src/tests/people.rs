//! What people decide, and what an outsider reads of it: from the ledger, and from nothing but files.

use tk8s_core::{Digest, ReleaseNumber, Secret};

use super::*;
use crate::{Archive, ArchiveOptions, Hold, IdentityKey, LeftOut, Scope, check_encryption_key, identity_key, replay_equals_view};

fn archive(dir: &Path) -> Archive {
    let encryption_key = Secret::new(hex::encode([7; 32]).into_bytes());
    let identity = Some((ORIGIN.into(), Secret::new(IDENTITY.into())));
    Archive::open(&ArchiveOptions { dir: dir.into(), encryption_key, identity }).unwrap()
}

#[test]
fn an_archive_says_which_root_its_ledger_had_as_the_history_does() {
    let dir = tempfile::tempdir().unwrap();
    let history = open(dir.path());
    while history.size_and_root().size < 300 {
        let number = history.size_and_root().size as u32;
        history.accept(&revision(number), &trust(), at(i64::from(number))).unwrap();
    }
    let archive = archive(dir.path());
    assert_eq!(*archive.size_and_root(), history.size_and_root());
    for size in [0, 1, 2, 255, 256, 257, 299, 300, 301] {
        assert_eq!(archive.root_at(size).unwrap(), history.root_at(size).unwrap(), "{size}");
    }
}

#[test]
fn the_public_half_of_a_key_proves_what_the_instance_signed_and_a_new_key_is_another_s() {
    let dir = tempfile::tempdir().unwrap();
    let history = open(dir.path());
    let own = IdentityKey::of(ORIGIN, &Secret::new(IDENTITY.into())).unwrap();
    assert_eq!(own.to_string(), history.public_key());
    let note = history.sign("a kind", "a line");
    assert_eq!(own.prove("a kind", &note).unwrap(), "a line");
    assert!(own.prove("another kind", &note).is_err());
    let new = identity_key([7; 32]);
    let other = IdentityKey::of(ORIGIN, &new).unwrap();
    assert!(other.prove("a kind", &note).unwrap_err().to_string().contains("another identity key"));
    // OpenSSL reads what is made here.
    let file = dir.path().join("new.pem");
    std::fs::write(&file, new.expose()).unwrap();
    let output = std::process::Command::new("openssl").args(["pkey", "-noout", "-in"]).arg(&file).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(check_encryption_key(&Secret::new(hex::encode([7; 32]).into_bytes())).is_ok());
    assert!(check_encryption_key(&new).is_err());
}

fn held(release: u64, with: Option<Scope>) -> Hold {
    Hold { with, ..Hold::at(ReleaseNumber(release), "3 am", "alice") }
}

#[test]
fn suspensions_stand_until_exactly_they_are_resumed_and_over_restarts() {
    let dir = tempfile::tempdir().unwrap();
    let layer = Scope::Layer("2-services".parse().unwrap());
    let web = Scope::Component(name("web"));
    let scopes = |history: &History| history.suspensions().into_iter().map(|one| one.scope).collect::<Vec<_>>();
    {
        let history = open(dir.path());
        stage(&history, "web", "one");
        for scope in [&Scope::All, &layer, &web] {
            history.suspend(scope.clone(), "an audit", "alice", at(5)).unwrap();
        }
        history.suspend(layer.clone(), "a longer audit", "bob", at(6)).unwrap();
        assert_eq!(scopes(&history), [Scope::All, web.clone(), layer.clone()]);
    }
    let history = open(dir.path());
    history.check_view().unwrap();
    let of_layer = history.suspensions().into_iter().find(|one| one.scope == layer).unwrap();
    assert_eq!((of_layer.reason.as_str(), of_layer.by.as_str(), of_layer.since), ("a longer audit", "bob", at(6)));
    assert!(history.resume_all(&Scope::All, &[], "alice", at(7)).unwrap());
    assert!(!history.resume_all(&Scope::All, &[], "alice", at(7)).unwrap(), "there is nothing left to end");
    assert_eq!(scopes(&history), [web, layer]);
    drop(history);
    replay_equals_view(options(dir.path())).unwrap();
}

#[test]
fn holds_of_many_are_there_together_and_end_together() {
    let dir = tempfile::tempdir().unwrap();
    let history = open(dir.path());
    for component in ["web", "core"] {
        let staged = stage(&history, component, "one");
        run(&history, &staged.release.id, Status::Healthy);
    }
    let size = history.size_and_root().size;
    let with = Some(Scope::All);
    history.hold_all(vec![(name("web"), held(1, with.clone())), (name("core"), held(9, with.clone()))], at(5)).unwrap_err();
    assert_eq!(history.size_and_root().size, size, "one that can't be held holds none");
    let holds = vec![(name("web"), held(1, with.clone())), (name("core"), held(1, with.clone()))];
    history.rollbacks_requested(holds, Some("it hurts"), at(6)).unwrap();
    for component in ["web", "core"] {
        let view = history.component(&name(component)).unwrap();
        assert_eq!((view.hold, view.rollback.unwrap().reason.as_deref()), (Some(held(1, with.clone())), Some("it hurts")));
    }
    assert!(history.resume_all(&Scope::All, &[name("web"), name("core")], "bob", at(7)).unwrap());
    let view = history.component(&name("core")).unwrap();
    assert_eq!((view.hold, view.rollback), (None, None));
    history.check_view().unwrap();
}

#[test]
fn a_rollback_that_was_refused_leaves_the_hold_that_was_there_before() {
    let dir = tempfile::tempdir().unwrap();
    let history = open(dir.path());
    let staged = stage(&history, "web", "one");
    run(&history, &staged.release.id, Status::Healthy);
    stage(&history, "web", "two");
    for before in [None, Some(held(2, None))] {
        before.iter().for_each(|hold| history.hold(&name("web"), hold.clone(), at(5)).unwrap());
        history.rollback_requested(&name("web"), held(1, None), None, at(6)).unwrap();
        history.rollback_refused(&name("web"), before.clone(), at(7)).unwrap();
        let view = history.component(&name("web")).unwrap();
        assert_eq!((view.hold, view.rollback), (before, None));
    }
    history.check_view().unwrap();
}

#[test]
fn what_is_left_out_of_a_release_is_remembered_with_it() {
    let dir = tempfile::tempdir().unwrap();
    let history = open(dir.path());
    let release = stage(&history, "web", "one").release.id.clone();
    let left = |reason: &str| vec![LeftOut { object: key("b"), reason: reason.into() }];
    history.leave_out(&release, &[], at(5)).unwrap();
    let size = history.size_and_root().size;
    history.leave_out(&release, &left("not served"), at(5)).unwrap();
    history.leave_out(&release, &left("not served"), at(6)).unwrap();
    assert_eq!(history.size_and_root().size, size + 1, "the same again is no event");
    assert_eq!(history.left_out(&release), left("not served"));
    assert_eq!(history.story(&release).unwrap().left_out, left("not served"));
    history.check_view().unwrap();
    history.leave_out(&release, &[], at(7)).unwrap();
    assert!(history.left_out(&release).is_empty());
}

#[test]
fn only_what_was_begun_was_begun() {
    let dir = tempfile::tempdir().unwrap();
    let history = open(dir.path());
    let release = stage(&history, "web", "one").release.id.clone();
    history.deny(&release, vec!["OutsideWindow: it is day".into()], at(2)).unwrap();
    assert!(!history.was_begun(&release));
    let begun = history.begin(intent(release.clone(), &["b"]), at(3)).unwrap();
    assert!(history.was_begun(&release));
    drop(begun);
    drop(history);
    assert!(open(dir.path()).was_begun(&release));
}

#[test]
fn every_accepted_revision_is_told_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let history = open(dir.path());
    for number in [1, 2, 1] {
        history.accept(&revision(number), &trust(), at(1)).unwrap();
        stage(&history, "web", "accepted");
    }
    let found: Vec<_> = history.accepted_revisions().unwrap();
    assert_eq!(found, [revision(1), revision(2), revision(1)]);
}

#[test]
fn the_story_of_a_release_is_its_own_and_the_same_from_the_files() {
    let dir = tempfile::tempdir().unwrap();
    let history = open(dir.path());
    let first = stage(&history, "web", "one").release.id.clone();
    run(&history, &first, Status::Healthy);
    let second = stage(&history, "web", "two").release.id.clone();
    history.deny(&second, vec!["PruneBudget: too much".into()], at(5)).unwrap();
    history.confirm(&second, "web.2.abc", "alice", "it is meant", at(6)).unwrap();
    run(&history, &second, Status::Unhealthy);
    history.rollback_requested(&name("web"), held(1, None), Some("it hurts"), at(7)).unwrap();
    run(&history, &first, Status::Healthy);
    let story = history.story(&second).unwrap();
    assert_eq!(story.denials[0].reasons, ["PruneBudget: too much"]);
    assert_eq!((story.confirmations[0].by.as_str(), story.runs.len()), ("alice", 1));
    assert_eq!(story.runs[0].outcome.as_ref().unwrap().status, Status::Unhealthy);
    assert_eq!((story.runs[0].plan, &story.runs[0].creates), (Digest::of("plan"), &vec![key("b")]));
    let story = history.story(&first).unwrap();
    assert_eq!((story.runs.len(), story.rollbacks.len()), (2, 1));
    // While the history is open, and after that.
    assert_eq!(archive(dir.path()).story(&first).unwrap(), story);
    drop(history);
    assert_eq!(archive(dir.path()).story(&first).unwrap(), story);
}

#[test]
fn files_are_read_without_a_view_a_lock_or_a_change() {
    let dir = tempfile::tempdir().unwrap();
    let history = open(dir.path());
    let release = stage(&history, "web", "one").release.id.clone();
    run(&history, &release, Status::Healthy);
    stage(&history, "web", "two");
    drop(history);
    std::fs::remove_dir_all(dir.path().join("view")).unwrap();
    std::fs::remove_file(dir.path().join("lock")).unwrap();
    let before = files(dir.path());
    let archive = archive(dir.path());
    assert_eq!((archive.components(), archive.current(&name("web"))), (vec![name("web")], Some(ReleaseNumber(1))));
    assert_eq!(archive.releases(&name("web")).len(), 2);
    let objects = archive.objects(&release).unwrap();
    let values = |objects: &[Placed]| objects.iter().map(|placed| placed.manifest.to_value()).collect::<Vec<_>>();
    assert_eq!(values(&objects), values(&parts("web", "one").objects));
    assert_eq!(files(dir.path()), before, "nothing is written");
    let wrong =
        ArchiveOptions { dir: dir.path().into(), encryption_key: Secret::new(hex::encode([8; 32]).into_bytes()), identity: None };
    let error = Archive::open(&wrong).unwrap_err().to_string();
    assert!(error.contains("encryption key"), "{error}");
    // A cut blob is told, not served.
    for (path, _) in files(dir.path()).into_iter().filter(|(path, _)| path.starts_with("blobs")) {
        std::fs::write(dir.path().join(path), b"x").unwrap();
    }
    assert!(archive.objects(&release).unwrap_err().to_string().contains("damaged"));
}
