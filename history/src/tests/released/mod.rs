//! The volumes of released versions are opened for ever. `0.1.0/volume` is what version 0.1.0 leaves on its volume when it is
//! killed, with an event of every kind; `0.1.0/told.json` is what it has to be read as.
//!
//! `TK8S_REWRITE=1 cargo test --workspace --lib released` writes those of the version in `Cargo.toml` anew, and never those of
//! another one.

mod life;

use std::fs;
use std::path::PathBuf;

use serde_json::{Value, json};

use super::*;
use crate::event::{Event, Record};
use crate::fold::{self, FOLD};
use crate::view::memory::MemoryView;
use crate::view::{self, Changes};
use crate::{Archive, ArchiveOptions, ledger, note, verify};

/// The version whose volume may be written anew.
const CURRENT: &str = env!("CARGO_PKG_VERSION");
const REWRITE: &str = "TK8S_REWRITE=1 cargo test --workspace --lib released";

fn released() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src/tests/released")
}

/// Every version whose volume is kept.
fn versions() -> Vec<String> {
    let dirs = fs::read_dir(released()).unwrap().map(|entry| entry.unwrap());
    let mut versions: Vec<String> =
        dirs.filter(|entry| entry.path().is_dir()).map(|entry| entry.file_name().into_string().unwrap()).collect();
    versions.sort();
    versions
}

/// The events of a volume, in order.
fn events(dir: &Path) -> Vec<Value> {
    let key = note::Verifier::of(ORIGIN, &crate::keys::identity(&Secret::new(IDENTITY.into())).unwrap());
    let mut events = Vec::new();
    ledger::verify(&dir.join("ledger"), &key, &mut |_, bytes| {
        events.push(serde_json::from_slice(bytes).unwrap());
        Ok(())
    })
    .unwrap();
    events
}

/// Every kind of event that this version knows, in the words of the parser.
fn kinds() -> Vec<String> {
    let error = serde_json::from_value::<Event>(json!({"event": "?"})).unwrap_err().to_string();
    let (_, kinds) = error.split_once("expected one of ").unwrap_or_else(|| panic!("{error}"));
    kinds.split(", ").map(|kind| kind.trim_matches('`').to_owned()).collect()
}

/// The sum of the view that these events give.
fn folded(events: &[Value]) -> String {
    let view = MemoryView::default();
    let mut changes = Changes::new(&view);
    for event in events {
        fold::apply(&serde_json::from_value::<Record>(event.clone()).unwrap(), &mut changes).unwrap();
    }
    changes.commit(events.len() as u64, &[0; 32]).unwrap();
    view::check(&view).unwrap().unwrap().sum
}

/// Everything that a history answers when it is asked, in words that are kept.
fn told(history: &History) -> Value {
    let accepted = history.accepted();
    json!({
        "accepted": {
            "head": accepted.head, "revision": accepted.revision, "trust": accepted.trust, "tags": accepted.tags,
            "components": accepted.components, "at": history.accepted_at(),
        },
        "acceptedRevisions": history.accepted_revisions().unwrap(),
        "refusals": history.refusals(),
        "incidents": history.incidents(),
        "suspensions": history.suspensions(),
        "brokenGlass": history.broken_glass(),
        "gap": history.gap(),
        "limits": history.limits(),
        "asItIs": history.as_it_is(&mut Default::default()),
        "inventories": history.inventories(),
        "publicKey": history.public_key(),
        "components": history.components().iter().map(|name| (name.to_string(), component(history, name))).collect::<serde_json::Map<_, _>>(),
    })
}

fn component(history: &History, name: &ComponentName) -> Value {
    let view = history.component(name).unwrap();
    json!({
        "latest": view.latest, "latestOutcome": view.latest_outcome, "unfinished": view.unfinished, "current": view.current,
        "healthy": view.healthy, "hold": view.hold, "rollback": view.rollback,
        "releases": history.releases(name).iter().map(|view| release(history, view)).collect::<Vec<_>>(),
    })
}

fn release(history: &History, view: &crate::ReleaseView) -> Value {
    let id = &view.release.id;
    let objects = history.recall(id).unwrap().objects;
    let objects: Vec<Value> = objects.iter().map(|placed| json!([placed.layer, placed.manifest.to_value()])).collect();
    json!({
        "release": view.release, "outcome": view.outcome, "finishedAt": view.finished_at, "healthyAt": view.healthy_at,
        "hooks": history.hooks(id), "leftOut": history.left_out(id), "confirmed": history.confirmed(id),
        "begun": history.was_begun(id), "limit": history.limit_on(id), "story": history.story(id).unwrap(), "objects": objects,
    })
}

/// Whether all that is expected is there with the same value. What later versions tell beside it is theirs.
#[track_caller]
fn holds(place: &str, told: &Value, expected: &Value) {
    match (told, expected) {
        (Value::Object(told), Value::Object(expected)) => expected.iter().for_each(|(key, expected)| {
            let told = told.get(key).unwrap_or_else(|| panic!("{place}.{key} is not told any more: {expected}"));
            holds(&format!("{place}.{key}"), told, expected);
        }),
        (Value::Array(told), Value::Array(expected)) => {
            assert_eq!(told.len(), expected.len(), "{place}: {told:?}");
            told.iter()
                .zip(expected)
                .enumerate()
                .for_each(|(at, (told, expected))| holds(&format!("{place}[{at}]"), told, expected));
        }
        _ => assert_eq!(told, expected, "{place}"),
    }
}

/// Writes the volume of this version anew.
fn rewrite() {
    let dir = released().join(CURRENT);
    let volume = dir.join("volume");
    if dir.exists() {
        fs::remove_dir_all(&dir).unwrap();
    }
    fs::create_dir_all(&volume).unwrap();
    life::killed(&volume);
    let (events, verified) = (events(&volume), verify(&volume, None).unwrap());
    let scratch = tempfile::tempdir().unwrap();
    copy(&volume, scratch.path(), true);
    let view = json!({"fold": FOLD, "sum": folded(&events)});
    let told = json!({"verified": verified, "view": view, "told": told(&open(scratch.path())), "events": events});
    fs::write(dir.join("told.json"), format!("{told:#}\n")).unwrap();
}

/// The volume of a version, to be read only, and what it has to be read as. Written anew before, if that is what was asked for.
fn fixture(version: &str) -> (PathBuf, Value) {
    static REWRITTEN: std::sync::Once = std::sync::Once::new();
    REWRITTEN.call_once(|| {
        if std::env::var_os("TK8S_REWRITE").is_some() {
            rewrite();
        }
    });
    let dir = released().join(version);
    let told = fs::read(dir.join("told.json")).unwrap_or_else(|error| panic!("{version}: {error}; write it with `{REWRITE}`"));
    (dir.join("volume"), serde_json::from_slice(&told).unwrap())
}

/// In which state a version may leave its volume to the next one.
#[derive(Clone, Copy, Debug)]
enum Left {
    /// It was killed: its last events are in the journal.
    Killed,
    /// It ended in order: there is no journal.
    Ended,
    /// The same, and the view is lost, as in a volume that was restored.
    WithoutView,
}

fn left(volume: &Path, left: Left) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    copy(volume, dir.path(), !matches!(left, Left::WithoutView));
    if !matches!(left, Left::Killed) {
        fs::remove_file(dir.path().join("ledger/journal")).unwrap();
    }
    dir
}

#[test]
fn the_volume_of_every_released_version_is_read_as_it_was_meant_and_goes_on() {
    let (_, current) = fixture(CURRENT);
    assert!(versions().contains(&CURRENT.to_owned()) && current["events"].is_array());
    for version in versions() {
        let (volume, expected) = fixture(&version);
        let key = expected["told"]["publicKey"].as_str().unwrap();
        for state in [Left::Killed, Left::Ended, Left::WithoutView] {
            let (dir, what) = (left(&volume, state), format!("{version}, {state:?}"));
            let verified = serde_json::to_value(verify(dir.path(), Some(key)).unwrap()).unwrap();
            holds(&what, &verified, &expected["verified"]);
            assert_eq!(events(dir.path()), *expected["events"].as_array().unwrap(), "{what}");
            holds(&what, &from_the_files(dir.path()), &without_story(&expected["told"]["components"]));

            let history = open(dir.path());
            holds(&what, &told(&history), &expected["told"]);
            history.check_view().unwrap_or_else(|difference| panic!("{what}: {difference}"));
            let found = fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
            assert_eq!(found.filter(|name| name.starts_with("view.")).count(), 0, "{what}: the view was put aside");
            // What was begun is finished, a hold ends, a release comes: written beside what was there.
            let web = history.component(&name("web")).unwrap();
            let begun = history.begin(web.unfinished.unwrap(), at(90)).unwrap();
            let _ = history.record(begun, outcome(Status::Healthy), at(91)).unwrap();
            history.resume(&name("db"), "me", at(92)).unwrap();
            let next = stage(&history, "web", "of a later version").release.id.clone();
            assert_eq!(next, id("web", web.latest.id.number.0 + 1), "{what}");
            run(&history, &next, Status::Healthy);
            drop(history);

            let history = open(dir.path());
            assert_eq!(history.component(&name("web")).unwrap().current, Some(next), "{what}");
            assert_eq!(history.component(&name("db")).unwrap().hold, None, "{what}");
            history.check_view().unwrap_or_else(|difference| panic!("{what}: {difference}"));
            drop(history);
            assert!(verify(dir.path(), Some(key)).unwrap().size > expected["verified"]["size"].as_u64().unwrap(), "{what}");
        }
    }
}

/// What is read without an agent.
fn from_the_files(dir: &Path) -> Value {
    let encryption_key = Secret::new(hex::encode([7; 32]).into_bytes());
    let archive = Archive::open(&ArchiveOptions { dir: dir.into(), encryption_key, identity: None }).unwrap();
    let release = |view: &crate::ReleaseView| {
        let objects = archive.objects(&view.release.id).unwrap();
        let objects: Vec<Value> = objects.iter().map(|placed| json!([placed.layer, placed.manifest.to_value()])).collect();
        json!({"release": view.release, "outcome": view.outcome, "objects": objects})
    };
    let components = archive.components().into_iter().map(|name| {
        let releases: Vec<Value> = archive.releases(&name).iter().map(release).collect();
        (name.to_string(), json!({ "releases": releases }))
    });
    Value::Object(components.collect())
}

/// Of what is told of components, what an archive tells too.
fn without_story(components: &Value) -> Value {
    let of = |(name, component): (&String, &Value)| {
        let releases = component["releases"].as_array().unwrap().iter();
        let release = |release: &Value| json!({"release": release["release"], "outcome": release["outcome"], "objects": release["objects"]});
        (name.clone(), json!({"releases": releases.map(release).collect::<Vec<_>>()}))
    };
    Value::Object(components.as_object().unwrap().iter().map(of).collect())
}

#[test]
fn the_volume_of_this_version_holds_an_event_of_every_kind_as_it_is_written_today() {
    let (volume, expected) = fixture(CURRENT);
    let missing: Vec<String> = kinds().into_iter().filter(|kind| expected["verified"]["events"][kind].is_null()).collect();
    assert!(
        missing.is_empty(),
        "no such event is in the volume of {CURRENT}: {missing:?}; let `life.rs` write one, then `{REWRITE}`"
    );
    let today = tempfile::tempdir().unwrap();
    life::killed(today.path());
    let lines = |events: &[Value]| events.iter().map(Value::to_string).collect::<Vec<_>>().join("\n");
    assert_eq!(
        lines(&events(today.path())),
        lines(expected["events"].as_array().unwrap()),
        "events are written in another way than in the volume of {CURRENT}: if it is meant, and {CURRENT} is not released, `{REWRITE}`"
    );
    let truth = |dir: &Path| -> Vec<_> {
        let truth = files(dir).into_iter().filter(|(path, _)| path.starts_with("ledger/") || path.starts_with("blobs/"));
        truth.map(|(path, bytes)| (path, Digest::of(bytes))).collect()
    };
    assert_eq!(truth(today.path()), truth(&volume), "the volume of {CURRENT} is another one: `{REWRITE}`");
}

/// Where a field is written only if it has a value, the volume has an event in which it has one.
#[test]
fn every_event_of_the_volume_of_this_version_is_written_as_it_was_read() {
    let (_, expected) = fixture(CURRENT);
    for event in expected["events"].as_array().unwrap() {
        let record: Record = serde_json::from_value(event.clone()).unwrap();
        assert_eq!(serde_json::to_value(&record).unwrap(), *event);
    }
}

#[test]
fn the_same_events_give_the_same_view_as_long_as_the_fold_has_the_same_number() {
    for version in versions() {
        let (_, expected) = fixture(&version);
        if expected["view"]["fold"] == FOLD {
            let sum = folded(expected["events"].as_array().unwrap());
            assert_eq!(
                expected["view"]["sum"], sum,
                "the events of {version} give another view than before: raise `fold::FOLD`, so that it is made anew where an agent is \
                 upgraded, then `{REWRITE}`"
            );
        }
    }
}
