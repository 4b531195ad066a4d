//! What counts as settled, told by a watch cache that no server stands behind.

use serde_json::{Value, json};
use tk8s_core::GroupVersionKind;
use tk8s_diff::cluster::{Cluster, Resource};
use tk8s_diff::mask::Masker;

use super::*;

fn live() -> Live {
    // Nobody listens there, and nobody is asked: answers are put in by hand.
    let config = kube::Config::new("http://127.0.0.1:1".parse().unwrap());
    let cluster = Cluster::new(kube::Client::try_from(config).unwrap(), Vec::new());
    Live::new(cluster, "tk8s".parse().unwrap(), health::judge, Masker::new(&[7; 32]))
}

fn key(kind: &str) -> ObjectKey {
    let group = match kind {
        "Job" => "batch",
        "Deployment" => "apps",
        _ => "",
    };
    ObjectKey { group: group.into(), kind: kind.into(), namespace: Some("shop".into()), name: "x".into() }
}

fn put(live: &Live, kind: &str, status: Value) {
    let key = key(kind);
    let api_version = if key.group.is_empty() { "v1".into() } else { format!("{}/v1", key.group) };
    let resource = Resource { kind: GroupVersionKind::new(&api_version, kind), plural: "x".into(), namespaced: true };
    let object = json!({
        "apiVersion": api_version, "kind": kind, "status": status,
        "metadata": {"name": "x", "namespace": "shop", "uid": "u", "resourceVersion": "1", "generation": 1},
    });
    live.answered(&resource, &object);
}

fn waiting(written: &[&str]) -> Waiting {
    Waiting { written: written.iter().map(|kind| key(kind)).collect(), finished: HashSet::new(), hooks: false }
}

fn complete() -> Value {
    json!({"conditions": [{"type": "Complete", "status": "True"}]})
}

fn failed() -> Value {
    json!({"conditions": [{"type": "Failed", "status": "True", "reason": "BackoffLimitExceeded"}]})
}

#[tokio::test]
async fn a_job_that_was_tidied_away_is_done_only_if_it_was_seen_done() {
    let live = live();
    let mut waiting = waiting(&["Job"]);
    let job = key("Job");
    assert_eq!(waiting.judge(&job, &Seen::Absent).unwrap().reason, "Missing");
    put(&live, "Job", complete());
    assert_eq!(waiting.look(&live, &job), None);
    assert_eq!(waiting.judge(&job, &Seen::Absent), None);
    // One that this turn did not write ended long ago.
    assert_eq!(self::waiting(&[]).judge(&job, &Seen::Absent), None);
    assert_eq!(self::waiting(&[]).judge(&key("ConfigMap"), &Seen::Absent).unwrap().reason, "Missing");
}

#[tokio::test]
async fn only_what_this_turn_wrote_ends_the_waiting_early() {
    let live = live();
    put(&live, "Job", failed());
    let job = key("Job");
    assert!(waiting(&["Job"]).failed_for_good(&live, &job));
    assert!(!waiting(&[]).failed_for_good(&live, &job));
    assert_eq!(waiting(&[]).look(&live, &job).unwrap().reason, "JobFailed");
}

#[tokio::test]
async fn a_hook_has_to_come_to_its_end_whoever_began_it() {
    let live = live();
    let (job, hooks) = (key("Job"), || Waiting { hooks: true, ..waiting(&[]) });
    put(&live, "Job", json!({"conditions": [{"type": "Suspended", "status": "True"}]}));
    assert_eq!(hooks().look(&live, &job).unwrap().reason, "Suspended");
    assert_eq!(hooks().ended(&live, &job, Moment::AfterApply), None);
    // One that was found and not written is this release's all the same.
    assert_eq!(hooks().judge(&job, &Seen::Absent).unwrap().reason, "Missing");
    put(&live, "Job", failed());
    assert!(hooks().failed_for_good(&live, &job));
    let hook = EndedHook { key: job.clone(), moment: Moment::AfterApply, uid: "u".into(), succeeded: false };
    assert_eq!(hooks().ended(&live, &job, Moment::AfterApply), Some(hook.clone()));
    put(&live, "Job", complete());
    assert_eq!(hooks().look(&live, &job), None);
    assert_eq!(hooks().ended(&live, &job, Moment::AfterApply), Some(EndedHook { succeeded: true, ..hook }));
}

#[tokio::test]
async fn what_rests_is_settled_and_what_is_on_its_way_is_not() {
    let live = live();
    put(&live, "Deployment", json!({}));
    assert_eq!(waiting(&[]).look(&live, &key("Deployment")).unwrap().reason, "NotObserved");
    put(&live, "Job", json!({"conditions": [{"type": "Suspended", "status": "True"}]}));
    assert_eq!(waiting(&[]).look(&live, &key("Job")), None);
    assert_eq!(waiting(&[]).judge(&key("Job"), &Seen::Unwatched).unwrap().reason, "Unwatched");
}
