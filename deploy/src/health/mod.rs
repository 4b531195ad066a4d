//! The health of one object, judged from the object alone.
//!
//! Pure: no clock, no cluster, no memory. Takes whatever JSON there is and never panics; what has another shape than the
//! API says counts as not there. Kubernetes' own kinds are judged by code, kinds of other projects by data (`rules`), the
//! rest by the conventions for conditions; `docs/health.md` lists them. Not judged here: that an object is missing (nobody
//! has it in hand then).

mod cluster;
mod conditions;
mod family;
mod network;
mod pods;
mod rules;
mod scaling;
mod storage;
#[cfg(test)]
mod tests;
mod workloads;

use serde_json::Value;
use tk8s_core::{Health, HealthState, printable};

use conditions::Conditions;
pub use family::judge_together;
pub use rules::{Broken, Rule, RuleText, Rules};

/// How this object is, with the reason an operator needs, by what is built in.
pub fn judge(object: &Value) -> Health {
    Rules::default().judge(object)
}

/// Kubernetes' own kinds.
fn by_code(object: &Value, group: &str, kind: &str) -> Option<Health> {
    Some(match (group, kind) {
        ("apps", "Deployment") => workloads::deployment(object),
        ("apps", "StatefulSet") => workloads::stateful_set(object),
        ("apps", "DaemonSet") => workloads::daemon_set(object),
        ("apps", "ReplicaSet") | ("", "ReplicationController") => workloads::replica_set(object),
        ("", "Pod") => pods::pod(object),
        ("batch", "Job") => workloads::job(object),
        ("batch", "CronJob") => workloads::cron_job(object),
        ("", "PersistentVolumeClaim") => storage::claim(object),
        ("", "PersistentVolume") => storage::volume(object),
        ("", "Service") => network::service(object),
        ("networking.k8s.io", "Ingress") => network::ingress(object),
        ("autoscaling", "HorizontalPodAutoscaler") => scaling::autoscaler(object),
        ("policy", "PodDisruptionBudget") => scaling::disruption_budget(object),
        ("", "Namespace") => cluster::namespace(object),
        ("apiextensions.k8s.io", "CustomResourceDefinition") => cluster::definition(object),
        ("apiregistration.k8s.io", "APIService") => cluster::api_service(object),
        _ => return None,
    })
}

/// Whether an object in this state won't become healthy by waiting, so that waiting may end. Deliberately few: what a
/// controller goes on trying is not final, unless its owner has set it a deadline.
pub fn is_final(health: &Health) -> bool {
    const FINAL: &[&str] = &["JobFailed", "PodFailed", "ClaimLost", "ProgressDeadlineExceeded"];
    health.state == HealthState::Degraded && FINAL.contains(&health.reason.as_str())
}

fn group_and_kind(object: &Value) -> (&str, &str) {
    let api_version = object["apiVersion"].as_str().unwrap_or_default();
    let group = api_version.split_once('/').map(|(group, _)| group).unwrap_or_default();
    (group, object["kind"].as_str().unwrap_or_default())
}

/// What is being deleted is on its way out, whatever it says of itself: it can't carry anything that needs it.
fn deleting(object: &Value, group: &str, kind: &str) -> Option<Health> {
    let since = object["metadata"]["deletionTimestamp"].as_str()?;
    let held = match (group, kind) {
        ("", "Namespace") => cluster::what_holds_a_namespace(object),
        _ => strings(&object["metadata"]["finalizers"]),
    };
    let held = if held.is_empty() { String::new() } else { format!("; held by {held}") };
    Some(progressing("BeingDeleted", format!("being deleted since {}{held}", printable(since, 40))))
}

/// The controller has not seen the spec yet that the API server has: whatever the status says is about an older one.
/// `required`: a controller of this kind always writes the field, so its absence means that it has not looked yet.
fn unobserved(object: &Value, required: bool) -> Option<Health> {
    let generation = number(&object["metadata"]["generation"])?;
    let observed = number(&object["status"]["observedGeneration"]);
    match observed {
        Some(observed) if observed >= generation => None,
        None if !required => None,
        observed => Some(progressing(
            "NotObserved",
            format!("its controller has seen generation {} of {generation}", observed.unwrap_or_default()),
        )),
    }
}

fn progressing(reason: &str, message: impl AsRef<str>) -> Health {
    because(HealthState::Progressing, reason, message)
}

fn degraded(reason: &str, message: impl AsRef<str>) -> Health {
    because(HealthState::Degraded, reason, message)
}

fn suspended(reason: &str, message: impl AsRef<str>) -> Health {
    because(HealthState::Suspended, reason, message)
}

fn unknown(reason: &str, message: impl AsRef<str>) -> Health {
    because(HealthState::Unknown, reason, message)
}

/// Messages come from controllers and containers: cut, and nothing in them can move a cursor.
fn because(state: HealthState, reason: &str, message: impl AsRef<str>) -> Health {
    Health::because(state, &word(reason), printable(message.as_ref().trim(), 500))
}

/// A reason as it stands in status: a word, whoever wrote it.
fn word(reason: &str) -> String {
    let word: String = reason.chars().filter(|c| c.is_ascii_alphanumeric() || "_-.,:".contains(*c)).take(80).collect();
    if word.is_empty() { "Unspecified".into() } else { word }
}

/// A whole number; some controllers write generations as text.
fn number(value: &Value) -> Option<i64> {
    value.as_i64().or_else(|| value.as_str()?.parse().ok())
}

/// A number of replicas, jobs or pods; none is 0.
fn count(value: &Value) -> i64 {
    value.as_i64().unwrap_or_default().max(0)
}

fn items(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

fn strings(value: &Value) -> String {
    items(value).iter().filter_map(Value::as_str).collect::<Vec<_>>().join(", ")
}

/// `reason: message` of a condition, or whichever there is.
fn said(reason: &str, message: &str) -> String {
    match (reason.is_empty(), message.is_empty()) {
        (false, false) => format!("{reason}: {message}"),
        (false, true) => reason.into(),
        _ => message.into(),
    }
}
