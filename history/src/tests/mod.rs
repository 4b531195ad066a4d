//! The history as its users meet it: on a real directory, opened, written, killed, damaged, opened again.

mod behaviour;
mod copy;
mod damage;
mod formats;
mod gap;
mod incidents;
mod kill;
mod people;
mod power;
mod released;
mod served;
mod upgrade;

use std::path::Path;
use std::time::Duration;

use serde_json::json;
use tk8s_core::{
    ComponentName, Digest, Environment, Manifest, ObjectKey, Origin, Placed, ReleaseId, ReleaseNumber, Revision, Secret,
    Timestamp, Trust,
};
use tk8s_images::ResolvedParts;

use crate::{AppliedObject, Begun, History, Intent, Options, Outcome, Staged, Status, Watchdog};

/// The example key of RFC 8410.
pub(crate) const IDENTITY: &str =
    "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC\n-----END PRIVATE KEY-----\n";
pub(crate) const ORIGIN: &str = "tk8s.io/test/tk8s";

pub(crate) fn options(dir: &Path) -> Options {
    Options {
        dir: dir.into(),
        instance: "tk8s".parse().unwrap(),
        origin: ORIGIN.into(),
        identity_key: Secret::new(IDENTITY.into()),
        encryption_key: Secret::new(hex::encode([7; 32]).into_bytes()),
        keep_releases: 3,
        watchdog: Watchdog { deadline: Duration::from_secs(5), on_hang: std::sync::Arc::new(|| ()) },
    }
}

pub(crate) fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + second).unwrap()
}

pub(crate) fn open(dir: &Path) -> History {
    History::open(options(dir), at(0)).unwrap()
}

pub(crate) fn name(name: &str) -> ComponentName {
    name.parse().unwrap()
}

pub(crate) fn id(component: &str, number: u64) -> ReleaseId {
    ReleaseId { component: name(component), number: ReleaseNumber(number) }
}

pub(crate) fn revision(number: u32) -> Revision {
    let hex = format!("{number:040x}");
    Revision { reference: "refs/heads/main".into(), commit: hex.parse().unwrap(), tree: hex.parse().unwrap(), tag: None }
}

pub(crate) fn trust() -> Trust {
    Trust::Signed { signer: "alice".into(), fingerprint: "SHA256:x".into(), tag_signer: None, approvals: Vec::new() }
}

pub(crate) fn object(kind: &str, object: &str, value: &str) -> Placed {
    let value =
        json!({"apiVersion": "v1", "kind": kind, "metadata": {"name": object, "namespace": "web"}, "data": {"value": value}});
    let origin = Origin { file: "web/all.yaml".into(), line: 7 };
    Placed { layer: "2-services".parse().unwrap(), manifest: Manifest::new(value, origin).unwrap() }
}

pub(crate) fn parts(component: &str, value: &str) -> ResolvedParts {
    ResolvedParts {
        component: name(component),
        revision: revision(1),
        trust: trust(),
        environment: Environment::Staging,
        objects: vec![object("ConfigMap", "b", value), object("Secret", "a", "aHVudGVyMg==")],
        input: None,
        tree: None,
        warnings: vec!["look out".into()],
        removal: None,
        images: vec![],
    }
}

pub(crate) fn stage(history: &History, component: &str, value: &str) -> Staged {
    history.stage_parts(parts(component, value), at(1)).unwrap()
}

pub(crate) fn key(object: &str) -> ObjectKey {
    ObjectKey { group: String::new(), kind: "ConfigMap".into(), namespace: Some("web".into()), name: object.into() }
}

pub(crate) fn intent(release: ReleaseId, creates: &[&str]) -> Intent {
    Intent {
        release,
        turn: 0,
        turns: 1,
        plan: Digest::of("plan"),
        trigger: "sync".into(),
        account: None,
        promoted: None,
        creates: creates.iter().map(|name| key(name)).collect(),
        changes: vec![],
        deletes: vec![],
    }
}

pub(crate) fn applied(history: &History, begun: &Begun, objects: &[&str]) {
    let object = |name: &&str| AppliedObject { key: key(name), uid: format!("uid-{name}"), created: Some(true) };
    history.applied(begun, &objects.iter().map(object).collect::<Vec<_>>(), at(3)).unwrap();
}

pub(crate) fn outcome(status: Status) -> Outcome {
    Outcome { status, turn: 0, turns: 1, message: "so it went".into(), trigger: "sync".into() }
}

/// Takes a release through to this end.
pub(crate) fn run(history: &History, release: &ReleaseId, status: Status) {
    let begun = history.begin(intent(release.clone(), &["b"]), at(2)).unwrap();
    applied(history, &begun, &["b"]);
    let recorded = history.record(begun, outcome(status), at(4)).unwrap();
    assert!(recorded.finished);
}

/// Every file under `dir`, with its path relative to it.
pub(crate) fn files(dir: &Path) -> Vec<(String, Vec<u8>)> {
    fn walk(root: &Path, dir: &Path, found: &mut Vec<(String, Vec<u8>)>) {
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(root, &path, found);
            } else {
                let bytes = std::fs::read(&path).unwrap_or_default();
                found.push((path.strip_prefix(root).unwrap().to_str().unwrap().into(), bytes));
            }
        }
    }
    let mut found = Vec::new();
    if dir.is_dir() {
        walk(dir, dir, &mut found);
    }
    found.sort();
    found
}

/// Copies the truth, and the view too if asked for.
pub(crate) fn copy(from: &Path, to: &Path, view: bool) {
    for (path, bytes) in files(from) {
        if view || !path.starts_with("view") {
            let path = to.join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, bytes).unwrap();
        }
    }
}
