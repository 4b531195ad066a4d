//! What runs pods: Deployments, StatefulSets, DaemonSets, ReplicaSets, Jobs and CronJobs.

use serde_json::Value;
use tk8s_core::{Health, LAST_RUN_FAILED, printable};

use super::{Conditions, count, degraded, items, progressing, suspended, unobserved};

/// What `spec.replicas` means when it is left out.
fn wanted(object: &Value) -> i64 {
    object["spec"]["replicas"].as_i64().unwrap_or(1).max(0)
}

pub(super) fn deployment(object: &Value) -> Health {
    if object["spec"]["paused"] == true {
        return suspended("Paused", "its rollout is paused (`spec.paused`)");
    }
    if let Some(health) = unobserved(object, true) {
        return health;
    }
    let conditions = Conditions::of(object);
    if let Some(condition) = conditions.get("Progressing")
        && condition.reason == "ProgressDeadlineExceeded"
    {
        return degraded("ProgressDeadlineExceeded", condition.message);
    }
    let (status, wanted) = (&object["status"], wanted(object));
    let (updated, all, available) =
        (count(&status["updatedReplicas"]), count(&status["replicas"]), count(&status["availableReplicas"]));
    let (reason, message) = if updated < wanted {
        ("ReplicasOutdated", format!("{updated} of {wanted} replicas are of the new version"))
    } else if all > updated {
        ("OldReplicasRemain", format!("{} replicas of an older version are not gone yet", all - updated))
    } else if available < wanted {
        ("ReplicasUnavailable", format!("{available} of {wanted} replicas are available"))
    } else {
        return Health::healthy();
    };
    progressing(reason, with_failure(message, &conditions))
}

/// Why pods can't be made (quota, admission) stands in a condition of its own; it is what an operator looks for.
fn with_failure(message: String, conditions: &Conditions<'_>) -> String {
    match conditions.when_true("ReplicaFailure") {
        Some(failure) => format!("{message}; {}", failure.said()),
        None => message,
    }
}

pub(super) fn replica_set(object: &Value) -> Health {
    if let Some(health) = unobserved(object, true) {
        return health;
    }
    let (wanted, available) = (wanted(object), count(&object["status"]["availableReplicas"]));
    if available < wanted {
        let message = format!("{available} of {wanted} replicas are available");
        return progressing("ReplicasUnavailable", with_failure(message, &Conditions::of(object)));
    }
    Health::healthy()
}

pub(super) fn stateful_set(object: &Value) -> Health {
    if let Some(health) = unobserved(object, true) {
        return health;
    }
    let (spec, status, wanted) = (&object["spec"], &object["status"], wanted(object));
    let ready = count(&status["readyReplicas"]);
    if ready < wanted {
        return progressing("ReplicasNotReady", format!("{ready} of {wanted} replicas are ready"));
    }
    // Older API servers don't count available replicas when nothing asks for a minimum time.
    let available = count(&status["availableReplicas"]);
    if count(&spec["minReadySeconds"]) > 0 && available < wanted {
        return progressing("ReplicasUnavailable", format!("{available} of {wanted} replicas are available"));
    }
    let strategy = &spec["updateStrategy"];
    if strategy["type"] == "OnDelete" {
        return Health::healthy();
    }
    let partition = count(&strategy["rollingUpdate"]["partition"]);
    let (updated, to_update) = (count(&status["updatedReplicas"]), wanted.saturating_sub(partition).max(0));
    if partition > 0 && updated < to_update {
        return progressing("ReplicasOutdated", format!("{updated} of {to_update} replicas above the partition are updated"));
    }
    if partition == 0 && status["updateRevision"] != status["currentRevision"] {
        return progressing("ReplicasOutdated", format!("{updated} of {wanted} replicas are of the new version"));
    }
    Health::healthy()
}

pub(super) fn daemon_set(object: &Value) -> Health {
    if let Some(health) = unobserved(object, true) {
        return health;
    }
    let status = &object["status"];
    let wanted = count(&status["desiredNumberScheduled"]);
    let (updated, available) = (count(&status["updatedNumberScheduled"]), count(&status["numberAvailable"]));
    if object["spec"]["updateStrategy"]["type"] != "OnDelete" && updated < wanted {
        return progressing("PodsOutdated", format!("{updated} of {wanted} nodes run the new version"));
    }
    if available < wanted {
        return progressing("PodsUnavailable", format!("{available} of {wanted} nodes have an available pod"));
    }
    Health::healthy()
}

pub(super) fn job(object: &Value) -> Health {
    let conditions = Conditions::of(object);
    // `FailureTarget` stands there as long as its last pods take to end: it can't become anything but `Failed`.
    if let Some(failed) = conditions.when_true("Failed").or_else(|| conditions.when_true("FailureTarget")) {
        return degraded("JobFailed", failed.said());
    }
    if conditions.when_true("Complete").is_some() {
        return Health::healthy();
    }
    if object["spec"]["suspend"] == true || conditions.when_true("Suspended").is_some() {
        return suspended("Suspended", "it is suspended (`spec.suspend`)");
    }
    let status = &object["status"];
    let (active, succeeded, failed) = (count(&status["active"]), count(&status["succeeded"]), count(&status["failed"]));
    let wanted = count(&object["spec"]["completions"]).max(1);
    progressing("JobRunning", format!("{succeeded} of {wanted} completions, {active} pods running, {failed} failed"))
}

/// A CronJob does what it was asked to by being there. That its last run failed is told, for somebody has to look; whether a
/// release is good it doesn't say (`Health::is_settled`): the next one may be what repairs it. That it is suspended stops
/// nobody either. How a run goes that has not ended is that Job's health.
pub(super) fn cron_job(object: &Value) -> Health {
    let status = &object["status"];
    if object["spec"]["suspend"] == true {
        return Health::healthy();
    }
    let times = (status["lastScheduleTime"].as_str(), status["lastSuccessfulTime"].as_str());
    if let (Some(scheduled), Some(succeeded)) = times
        && items(&status["active"]).is_empty()
        && is_before(succeeded, scheduled)
    {
        let message = format!(
            "the run of {} did not succeed; the last that did ended at {}",
            printable(scheduled, 40),
            printable(succeeded, 40)
        );
        return degraded(LAST_RUN_FAILED, message);
    }
    Health::healthy()
}

/// Of times as Kubernetes writes them: in UTC and to the second, so that they are in order as texts.
fn is_before(time: &str, other: &str) -> bool {
    time.len() == other.len() && time.ends_with('Z') && other.ends_with('Z') && time < other
}
