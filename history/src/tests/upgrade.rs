//! Another version goes on with what one has left: the view is made anew where its fold is another one, the ledger says who wrote,
//! and what a newer version wrote is refused by its name.

use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Command, Stdio};
use std::time::Instant;

use serde_json::{Value, json};

use super::*;
use crate::event::{FORMAT, Record, VERSION};
use crate::fold::{self, FOLD};
use crate::history::open_view;
use crate::ledger::Ledger;
use crate::view::sled::SledView;
use crate::view::{self, Batch, Changes, Meta, Tree, View};
use crate::{Archive, ArchiveOptions, Error, Hold, replay_equals_view, verify};

fn ledger(dir: &Path) -> Ledger {
    Ledger::open(&dir.join("ledger"), ORIGIN, crate::keys::identity(&Secret::new(IDENTITY.into())).unwrap()).unwrap()
}

fn sled(dir: &Path) -> SledView {
    SledView::open(&dir.join("view"), &dir.join("view.broken"), options(dir).watchdog).unwrap()
}

/// Writes events as another version would, which is not here.
fn append(dir: &Path, events: &[Value]) {
    let mut ledger = ledger(dir);
    let first = ledger.size();
    let line = |(sequence, event): (u64, &Value)| {
        let mut event = event.clone();
        (event["sequence"], event["at"]) = (sequence.into(), json!(at(70)));
        tk8s_core::canonical_json(&event)
    };
    ledger.append(&(first..).zip(events).map(line).collect::<Vec<_>>()).unwrap();
}

fn events(dir: &Path) -> Vec<Value> {
    let mut events = Vec::new();
    let mut each = |_, bytes: &[u8]| {
        events.push(serde_json::from_slice(bytes).unwrap());
        Ok(())
    };
    ledger(dir).each_from(0, &mut each).unwrap();
    events
}

/// A history of some hundred events, with a release that is held, and something in the cache.
fn lived(dir: &Path) {
    let history = open(dir);
    let release = stage(&history, "web", "one").release.id.clone();
    run(&history, &release, Status::Healthy);
    history.hold(&name("web"), Hold::at(ReleaseNumber(1), "3 am", "alice"), at(5)).unwrap();
    (1..600).for_each(|number| history.accept(&revision(number), &trust(), at(6)).unwrap());
    history.cache_put("input/web", b"known");
}

/// Makes the view one of another fold: with something in it that this one does not know.
fn of_another_fold(dir: &Path, fold: u32) {
    let view = sled(dir);
    let meta = view::check(&view).unwrap().unwrap();
    let mut changes = Changes::new(&view);
    changes.put("as-it-was/web", &json!({"held": "no"})).unwrap();
    let mut root = [0; 32];
    hex::decode_to_slice(&meta.root, &mut root).unwrap();
    changes.commit(meta.applied, &root).unwrap();
    let meta = Meta { fold, ..view::check(&view).unwrap().unwrap() };
    let meta = serde_json::to_vec(&meta).unwrap();
    view.commit(Tree::Derived, Batch::from([("meta".into(), Some(meta))])).unwrap();
}

fn truth(dir: &Path) -> Vec<(String, Vec<u8>)> {
    files(dir).into_iter().filter(|(path, _)| path.starts_with("ledger/") || path.starts_with("blobs/")).collect()
}

#[test]
fn a_view_of_another_fold_is_made_anew_whatever_interrupts_that() {
    let (dir, pictures) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    lived(dir.path());
    let before = truth(dir.path());
    for (number, fold) in [0, FOLD + 1, FOLD - 1].into_iter().enumerate() {
        // As it was found; emptied; and as far as it had come when the process was killed.
        for done in [None, Some(0), Some(1), Some(256), Some(512)] {
            let picture = pictures.path().join(format!("{number}-{done:?}"));
            copy(dir.path(), &picture, true);
            of_another_fold(&picture, fold);
            assert!(replay_equals_view(options(&picture)).unwrap_err().to_string().contains("fold"));
            if let Some(events) = done {
                let (view, ledger) = (sled(&picture), ledger(&picture));
                view::clear(&view).unwrap();
                let mut changes = Changes::new(&view);
                let mut each = |position, bytes: &[u8]| {
                    fold::apply(&Record::parse(position, bytes).unwrap(), &mut changes).unwrap();
                    Ok(())
                };
                ledger.each_between(0, events, &mut each).unwrap();
                if events > 0 {
                    changes.commit(events, &ledger.root_at(events).unwrap()).unwrap();
                }
            }
            let history = open(&picture);
            let what = format!("{fold}, {done:?}");
            history.check_view().unwrap_or_else(|difference| panic!("{what}: {difference}"));
            assert_eq!(history.component(&name("web")).unwrap().hold.unwrap().reason, "3 am", "{what}");
            assert_eq!(history.cache_get("input/web").as_deref(), Some(&b"known"[..]), "{what}: what was found out stays");
            drop(history);
            let aside =
                std::fs::read_dir(&picture).unwrap().any(|file| file.unwrap().file_name().to_str().unwrap().contains("aside"));
            assert!(!aside, "{what}: nothing was broken");
            assert!(truth(&picture) == before, "{what}: the ledger is not touched");
            replay_equals_view(options(&picture)).unwrap();
        }
    }
}

const CHILD: &str = "TK8S_HISTORY_TEST_UPGRADED";

/// Not a test of its own: what the child process runs, until it is killed.
#[test]
fn child_that_makes_its_view_anew_until_it_is_killed() {
    let Ok(dir) = std::env::var(CHILD) else { return };
    println!("it begins");
    let history = open(Path::new(&dir));
    println!("it is done at {}", history.size_and_root().size);
    std::thread::sleep(Duration::from_secs(60));
}

#[test]
fn killed_at_any_time_while_the_view_is_made_anew_the_next_start_has_it() {
    let dir = tempfile::tempdir().unwrap();
    lived(dir.path());
    let (before, mut takes, mut killed) = (truth(dir.path()), Duration::ZERO, 0);
    for round in 0..8 {
        of_another_fold(dir.path(), FOLD + 1);
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "tests::upgrade::child_that_makes_its_view_anew_until_it_is_killed", "--nocapture"])
            .env(CHILD, dir.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let (mut output, mut line) = (BufReader::new(child.stdout.take().unwrap()), String::new());
        let mut until = |words: &str| {
            while !line.contains(words) {
                line.clear();
                assert!(output.read_line(&mut line).unwrap() > 0, "the child ended by itself");
            }
        };
        until("it begins");
        // The first one comes to its end, and tells how long that takes; the others are killed on the way there.
        let begun = Instant::now();
        if round == 0 {
            until("it is done");
            takes = begun.elapsed();
        }
        std::thread::sleep(takes * round / 10);
        child.kill().unwrap();
        child.wait().unwrap();
        output.read_to_string(&mut line).unwrap();
        killed += usize::from(!line.contains("it is done"));
        // What the child held goes away with it, but not at once.
        let history = open(dir.path());
        history.check_view().unwrap_or_else(|difference| panic!("{round}: {difference}"));
        assert_eq!(history.component(&name("web")).unwrap().hold.unwrap().reason, "3 am");
        drop(history);
        assert!(truth(dir.path()) == before, "{round}: the ledger is not touched");
    }
    assert!(killed > 0, "none was killed in the middle: {takes:?}");
}

#[test]
fn a_view_of_this_fold_is_gone_on_with_and_not_made_anew() {
    let dir = tempfile::tempdir().unwrap();
    lived(dir.path());
    let ledger = ledger(dir.path());
    let come = |dir: &Path| view::check(&*open_view(&options(dir), &ledger, at(9)).unwrap()).unwrap().map(|meta| meta.applied);
    assert_eq!(come(dir.path()), Some(ledger.size()));
    of_another_fold(dir.path(), FOLD + 1);
    assert_eq!(come(dir.path()), None, "and this is how it looks if it is");
}

#[test]
fn who_writes_is_in_the_ledger_with_the_first_thing_that_another_version_writes() {
    let dir = tempfile::tempdir().unwrap();
    drop(open(dir.path()));
    assert_eq!(events(dir.path())[0]["version"], VERSION);
    append(dir.path(), &[json!({"event": "continued", "version": "0.0.9", "format": FORMAT})]);
    let history = open(dir.path());
    assert_eq!(history.size_and_root().size, 2, "nothing is written because it was opened");
    let release = stage(&history, "web", "one").release.id.clone();
    let begun = history.begin(intent(release.clone(), &["b"]), at(2)).unwrap();
    let recorded = history.record(begun, outcome(Status::Healthy), at(4)).unwrap();
    let kinds = |dir: &Path| events(dir).iter().map(|event| event["event"].as_str().unwrap().to_owned()).collect::<Vec<_>>();
    assert_eq!(history.recall(&release).unwrap().release.id, release);
    drop(history);
    assert_eq!(kinds(dir.path()), ["created", "continued", "continued", "staged", "begun", "finished"]);
    assert_eq!(events(dir.path())[2]["version"], VERSION);
    assert_eq!(recorded.position, 5);
    // Whoever goes on is known already, and says so no more.
    let history = open(dir.path());
    history.hold(&name("web"), Hold::at(ReleaseNumber(1), "3 am", "alice"), at(5)).unwrap();
    let begun = history.begin(intent(release, &["b"]), at(6)).unwrap();
    assert_eq!(history.record(begun, outcome(Status::Healthy), at(7)).unwrap().position, 8);
    drop(history);
    assert_eq!(kinds(dir.path()).len(), 9);
    replay_equals_view(options(dir.path())).unwrap();
}

#[test]
fn what_a_newer_version_wrote_is_refused_by_its_name_and_nothing_is_touched() {
    let newer = json!({"event": "continued", "version": "9.1.0", "format": FORMAT});
    let unknown = json!({"event": "teleported"});
    for (wrote, events, position, from) in [
        (
            "a higher format",
            vec![json!({"event": "continued", "version": "9.1.0", "format": FORMAT + 1})],
            1,
            "version 9.1.0 of the agent",
        ),
        ("an event that nobody knows here", vec![newer.clone(), unknown.clone()], 2, "version 9.1.0 of the agent"),
        ("the same, and does not say who it is", vec![unknown], 1, "a later version of the agent"),
        (
            "another shape of a known event",
            vec![newer, json!({"event": "held", "component": {"name": "web"}})],
            2,
            "version 9.1.0 of the agent",
        ),
    ] {
        let dir = tempfile::tempdir().unwrap();
        drop(open(dir.path()));
        append(dir.path(), &events);
        let before = truth(dir.path());
        let aborts = Watchdog { on_hang: std::sync::Arc::new(|| panic!("aborted")), ..options(dir.path()).watchdog };
        let encryption_key = Secret::new(hex::encode([7; 32]).into_bytes());
        let archive = ArchiveOptions { dir: dir.path().into(), encryption_key, identity: None };
        for error in [
            History::open(Options { watchdog: aborts, ..options(dir.path()) }, at(1)).unwrap_err(),
            verify(dir.path(), None).unwrap_err(),
            Archive::open(&archive).unwrap_err(),
        ] {
            assert!(matches!(&error, Error::Newer { position: found, .. } if *found == position), "{wrote}: {error}");
            let said = error.to_string();
            let place = dir.path().join("ledger").display().to_string();
            for word in
                [place.as_str(), from, &format!("this is version {VERSION}"), "run that version or a later one", "restore"]
            {
                assert!(said.contains(word), "{wrote}: {word}: {said}");
            }
        }
        assert!(truth(dir.path()) == before, "{wrote}");
    }
}
