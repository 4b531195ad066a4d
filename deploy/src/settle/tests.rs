//! What counts as settled, told by a watch cache that no server stands behind.

use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::{Value, json};
use tk8s_core::GroupVersionKind;
use tk8s_diff::cluster::{Cluster, Resource};
use tk8s_diff::mask::Masker;
use tk8s_diff::ownership::Ownership;

use super::*;

fn live() -> Live {
    // Nobody listens there, and nobody is asked: answers are put in by hand.
    let config = kube::Config::new("http://127.0.0.1:1".parse().unwrap());
    let cluster = Cluster::new(kube::Client::try_from(config).unwrap(), Vec::new());
    Live::new(cluster, "tk8s".parse().unwrap(), health::judge, Masker::new(&[7; 32]))
}

fn key(kind: &str) -> ObjectKey {
    let group = match kind {
        "Job" | "CronJob" => "batch",
        "Deployment" => "apps",
        _ => "",
    };
    ObjectKey { group: group.into(), kind: kind.into(), namespace: Some("shop".into()), name: "x".into() }
}

/// The next version of the object.
fn put(live: &Live, kind: &str, status: Value) {
    static VERSION: AtomicU64 = AtomicU64::new(0);
    let version = VERSION.fetch_add(1, Ordering::Relaxed).to_string();
    let key = key(kind);
    let api_version = if key.group.is_empty() { "v1".into() } else { format!("{}/v1", key.group) };
    let resource = Resource { kind: GroupVersionKind::new(&api_version, kind), plural: "x".into(), namespaced: true };
    let object = json!({
        "apiVersion": api_version, "kind": kind, "status": status,
        "metadata": {"name": "x", "namespace": "shop", "uid": "u", "resourceVersion": version, "generation": 1},
    });
    live.answered(&resource, &object, &Ownership::of(&object));
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
async fn when_rules_change_what_is_known_is_judged_again_without_a_request() {
    use std::sync::atomic::{AtomicBool, Ordering};
    let strict = std::sync::Arc::new(AtomicBool::new(false));
    let rules = std::sync::Arc::clone(&strict);
    let judge = move |object: &Value| match rules.load(Ordering::SeqCst) {
        true => Health::because(HealthState::Degraded, "ByRule", object["status"]["said"].as_str().unwrap_or_default()),
        false => health::judge(object),
    };
    let config = kube::Config::new("http://127.0.0.1:1".parse().unwrap());
    let cluster = Cluster::new(kube::Client::try_from(config).unwrap(), Vec::new());
    let live = Live::new(cluster, "tk8s".parse().unwrap(), judge, Masker::new(&[7; 32]));
    put(&live, "ConfigMap", json!({"said": "no"}));
    assert_eq!(waiting(&[]).look(&live, &key("ConfigMap")), None);
    let mut changes = live.changes();
    strict.store(true, Ordering::SeqCst);
    live.judge_again();
    assert!(changes.has_changed().unwrap(), "whoever waits is woken");
    changes.borrow_and_update();
    let health = waiting(&[]).look(&live, &key("ConfigMap")).unwrap();
    assert_eq!((health.reason.as_str(), health.message.as_str()), ("ByRule", "no"));
    strict.store(false, Ordering::SeqCst);
    live.judge_again();
    assert_eq!(waiting(&[]).look(&live, &key("ConfigMap")), None);
}

#[tokio::test]
async fn no_rule_sees_a_secret() {
    let config = kube::Config::new("http://127.0.0.1:1".parse().unwrap());
    let cluster = Cluster::new(kube::Client::try_from(config).unwrap(), Vec::new());
    let tell_all = |object: &Value| Health::because(HealthState::Degraded, "All", object.to_string());
    let live = Live::new(cluster, "tk8s".parse().unwrap(), tell_all, Masker::new(&[7; 32]));
    let resource = Resource { kind: GroupVersionKind::new("v1", "Secret"), plural: "secrets".into(), namespaced: true };
    let secret = json!({
        "apiVersion": "v1", "kind": "Secret", "data": {"password": "aHVudGVyMg=="},
        "metadata": {"name": "x", "namespace": "shop", "uid": "u", "resourceVersion": "1"},
    });
    live.answered(&resource, &secret, &Ownership::of(&secret));
    let first = waiting(&[]).look(&live, &key("Secret")).unwrap().message;
    live.judge_again();
    let again = waiting(&[]).look(&live, &key("Secret")).unwrap().message;
    assert!(first.contains("password") && !first.contains("aHVudGVyMg"), "{first}");
    assert_eq!(first, again);
}

#[tokio::test]
async fn a_cron_job_whose_last_run_failed_keeps_no_release_waiting() {
    let live = live();
    put(&live, "CronJob", json!({"lastScheduleTime": "2026-01-01T01:00:00Z", "lastSuccessfulTime": "2026-01-01T00:00:00Z"}));
    assert!(matches!(live.seen(&key("CronJob")), Seen::Present(seen) if seen.health.state == HealthState::Degraded));
    assert_eq!(waiting(&["CronJob"]).look(&live, &key("CronJob")), None);
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
