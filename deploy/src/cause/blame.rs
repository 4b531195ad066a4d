//! Which of the pods below a workload is to blame, and for what. Pure: takes whatever JSON there is and never panics.

use serde_json::Value;
use tk8s_core::{Health, HealthState};

use crate::health;

/// The pod that is to blame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Blamed {
    /// Its name.
    pub(super) pod: String,
    /// What is wrong with it.
    pub(super) message: String,
    /// Whose last words tell more.
    pub(super) log: Option<LogOf>,
}

/// Which log of a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct LogOf {
    /// Of which container.
    pub(super) container: String,
    /// Whether of the run before the one that is under way.
    pub(super) previous: bool,
}

/// What every pod says that is to blame, worst first: what has failed before what is on its way, and of those what was
/// restarted most.
pub(super) fn worst(pods: &[Value]) -> Option<Blamed> {
    let blamed = pods.iter().filter_map(|pod| Some((health_of(pod)?, restarts(pod), pod)));
    let (_, _, pod) = blamed.max_by_key(|(health, restarts, _)| (health.state, *restarts))?;
    of_pod(pod)
}

/// What one pod says, if it is not healthy.
pub(super) fn of_pod(pod: &Value) -> Option<Blamed> {
    let health = health_of(pod)?;
    let name = pod["metadata"]["name"].as_str()?.to_owned();
    let restarted = match restarts(pod) {
        0 => String::new(),
        1 => "; restarted once".into(),
        times => format!("; restarted {times} times"),
    };
    Some(Blamed { pod: name, message: format!("{}{restarted}", health.message), log: log_of(pod) })
}

/// An item of a list of pods: a list says once what its items are.
pub(super) fn as_pod(mut item: Value) -> Value {
    if let Value::Object(fields) = &mut item {
        fields.insert("apiVersion".into(), "v1".into());
        fields.insert("kind".into(), "Pod".into());
    }
    item
}

/// The health of a pod that is not healthy.
fn health_of(pod: &Value) -> Option<Health> {
    let health = health::judge(pod);
    (health.state > HealthState::Suspended).then_some(health)
}

fn restarts(pod: &Value) -> i64 {
    containers(pod).map(|container| container["restartCount"].as_i64().unwrap_or_default()).sum()
}

/// Init containers first: nothing else starts before them.
fn containers(pod: &Value) -> impl Iterator<Item = &Value> {
    let of = |field: &str| pod["status"][field].as_array().map(Vec::as_slice).unwrap_or_default().iter();
    of("initContainerStatuses").chain(of("containerStatuses"))
}

/// Whose last words tell why: of a container that has failed, of its run before if it was restarted since, else of one that
/// runs and is not ready. A container that was never started has none.
fn log_of(pod: &Value) -> Option<LogOf> {
    let failed = |state: &Value| state["terminated"]["exitCode"].as_i64().is_some_and(|code| code != 0);
    let of = |container: &Value, previous| Some(LogOf { container: container["name"].as_str()?.into(), previous });
    let dead = containers(pod).find_map(|container| match () {
        () if failed(&container["state"]) => of(container, false),
        () if container["ready"] != true && failed(&container["lastState"]) => of(container, true),
        () => None,
    });
    let unready = || {
        let mut running = containers(pod).filter(|container| container["state"]["running"].is_object());
        running.find(|container| container["ready"] != true).and_then(|container| of(container, false))
    };
    dead.or_else(unready)
}

/// Whether an object belongs to the one with this UID.
pub(super) fn owned_by(object: &Value, uid: &str) -> bool {
    let owners = object["metadata"]["ownerReferences"].as_array().map(Vec::as_slice).unwrap_or_default();
    owners.iter().any(|owner| owner["uid"] == uid)
}

/// The newest set of a Deployment's: the one whose pods it waits for.
pub(super) fn newest<'a>(sets: &'a [Value], deployment: &str) -> Option<&'a Value> {
    let revision = |set: &&Value| -> u64 {
        let text = set["metadata"]["annotations"]["deployment.kubernetes.io/revision"].as_str();
        text.and_then(|text| text.parse().ok()).unwrap_or(0)
    };
    sets.iter().filter(|set| owned_by(set, deployment)).max_by_key(revision)
}

/// Why a set can't make its pods: a quota, an admission.
pub(super) fn replica_failure(set: &Value) -> Option<String> {
    let conditions = set["status"]["conditions"].as_array()?;
    let failure = conditions.iter().find(|condition| condition["type"] == "ReplicaFailure" && condition["status"] == "True")?;
    Some(said(failure))
}

/// The newest of an object's warnings. Those of other objects are not ours to tell.
pub(super) fn last_warning(events: &[Value]) -> Option<String> {
    let when = |event: &&Value| {
        let at = ["lastTimestamp", "eventTime", "firstTimestamp"].into_iter().find_map(|field| event[field].as_str());
        at.unwrap_or_default().to_owned()
    };
    events.iter().filter(|event| event["type"] == "Warning").max_by_key(when).map(said)
}

/// `reason: message`.
fn said(value: &Value) -> String {
    let text = |field: &str| value[field].as_str().unwrap_or_default();
    format!("{}: {}", text("reason"), text("message"))
}

/// A selector as a list takes it. None where it selects nothing, or everything.
pub(super) fn selector(selector: &Value) -> Option<String> {
    let fields = selector.as_object()?;
    // A ReplicationController's is a map of labels.
    let plain = !fields.contains_key("matchLabels") && !fields.contains_key("matchExpressions");
    let labels = if plain { Some(fields) } else { fields.get("matchLabels").and_then(Value::as_object) };
    let mut parts: Vec<String> = Vec::new();
    for (name, value) in labels.into_iter().flatten() {
        parts.push(format!("{name}={}", value.as_str()?));
    }
    for expression in selector["matchExpressions"].as_array().into_iter().flatten() {
        let key = expression["key"].as_str()?;
        let values: Vec<&str> = expression["values"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        parts.push(match expression["operator"].as_str()? {
            "In" => format!("{key} in ({})", values.join(",")),
            "NotIn" => format!("{key} notin ({})", values.join(",")),
            "Exists" => key.to_owned(),
            "DoesNotExist" => format!("!{key}"),
            _ => return None,
        });
    }
    (!parts.is_empty()).then(|| parts.join(","))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod(name: &str, status: Value) -> Value {
        as_pod(json!({"metadata": {"name": name, "ownerReferences": [{"uid": "rs"}]}, "spec": {}, "status": status}))
    }

    /// A pod that runs, with this container.
    fn running(container: Value) -> Value {
        let ready = json!([{"type": "Ready", "status": "False", "reason": "ContainersNotReady", "message": "containers with unready status: [web]"}]);
        pod("web-1", json!({"phase": "Running", "conditions": ready, "containerStatuses": [container]}))
    }

    fn blamed(pod: Value) -> (String, Option<(String, bool)>) {
        let found = of_pod(&pod).unwrap();
        (found.message, found.log.map(|log| (log.container, log.previous)))
    }

    fn web(previous: bool) -> Option<(String, bool)> {
        Some(("web".into(), previous))
    }

    #[test]
    fn a_container_that_dies_again_and_again_is_told_with_its_exit_code_and_its_last_run() {
        let container = json!({"name": "web", "ready": false, "restartCount": 4,
            "state": {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 1m20s restarting failed container"}},
            "lastState": {"terminated": {"exitCode": 3, "reason": "Error", "message": "no database"}}});
        let message = "container `web`: CrashLoopBackOff: back-off 1m20s restarting failed container; it ended with exit code 3 \
                       (Error): no database; restarted 4 times";
        assert_eq!(blamed(running(container)), (message.into(), web(true)));
    }

    #[test]
    fn one_that_wanted_too_much_memory_is_told_so() {
        let container = json!({"name": "web", "ready": false, "restartCount": 1, "state": {"running": {}},
            "lastState": {"terminated": {"exitCode": 137, "reason": "OOMKilled"}}});
        let message = "container `web` is not ready; it ended with exit code 137 (OOMKilled); restarted once";
        assert_eq!(blamed(running(container)), (message.into(), web(true)));
    }

    #[test]
    fn an_image_that_can_not_be_had_is_told_and_has_no_log() {
        let container = json!({"name": "web", "ready": false, "restartCount": 0,
            "state": {"waiting": {"reason": "ImagePullBackOff", "message": "Back-off pulling image \"web:2\""}}});
        let pod = pod("web-1", json!({"phase": "Pending", "containerStatuses": [container]}));
        assert_eq!(blamed(pod), ("container `web`: ImagePullBackOff: Back-off pulling image \"web:2\"".into(), None));
    }

    #[test]
    fn an_init_container_that_fails_is_told_before_what_waits_for_it() {
        let init = json!({"name": "migrate", "ready": false, "restartCount": 2, "state": {"waiting": {"reason": "CrashLoopBackOff"}},
            "lastState": {"terminated": {"exitCode": 1, "reason": "Error"}}});
        let waits =
            json!({"name": "web", "ready": false, "restartCount": 0, "state": {"waiting": {"reason": "PodInitializing"}}});
        let pod = pod("web-1", json!({"phase": "Pending", "initContainerStatuses": [init], "containerStatuses": [waits]}));
        let message = "init container `migrate`: CrashLoopBackOff; it ended with exit code 1 (Error); restarted 2 times";
        assert_eq!(blamed(pod), (message.into(), Some(("migrate".into(), true))));
    }

    #[test]
    fn what_the_scheduler_says_is_told() {
        let said = "0/3 nodes are available: 3 Insufficient memory.";
        let conditions = json!([{"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": said}]);
        let pod = pod("web-1", json!({"phase": "Pending", "conditions": conditions}));
        assert_eq!(blamed(pod), (format!("Unschedulable: {said}"), None));
    }

    #[test]
    fn one_that_runs_and_is_not_ready_tells_by_its_log() {
        let container = json!({"name": "web", "ready": false, "restartCount": 0, "state": {"running": {}}});
        assert_eq!(blamed(running(container)), ("containers with unready status: [web]".into(), web(false)));
    }

    #[test]
    fn the_failed_pod_of_a_job_tells_by_its_own_run_and_an_evicted_one_by_its_own_words() {
        let container = json!({"name": "web", "ready": false, "state": {"terminated": {"exitCode": 2, "reason": "Error"}}});
        let failed = pod("job-1", json!({"phase": "Failed", "containerStatuses": [container]}));
        assert_eq!(blamed(failed), ("container `web` ended with exit code 2 (Error)".into(), web(false)));
        let evicted = pod("job-1", json!({"phase": "Failed", "reason": "Evicted", "message": "low on memory"}));
        assert_eq!(blamed(evicted), ("Evicted: low on memory".into(), None));
    }

    #[test]
    fn the_worst_of_several_is_told_and_none_if_all_are_well() {
        let well = pod("a", json!({"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}));
        let pending = pod("b", json!({"phase": "Pending"}));
        let crashing = |name: &str, times: u64| {
            let container = json!({"name": "web", "restartCount": times, "state": {"waiting": {"reason": "CrashLoopBackOff"}}});
            pod(name, json!({"phase": "Running", "containerStatuses": [container]}))
        };
        let name = |pods: &[Value]| worst(pods).map(|blamed| blamed.pod);
        assert_eq!(name(std::slice::from_ref(&well)), None);
        assert_eq!(name(&[well.clone(), pending.clone()]).as_deref(), Some("b"));
        assert_eq!(name(&[well, pending, crashing("c", 1), crashing("d", 9)]).as_deref(), Some("d"));
    }

    #[test]
    fn a_quota_is_told_by_the_newest_set() {
        let set = |revision: &str, uid: &str, conditions: Value| {
            json!({"metadata": {"uid": uid, "annotations": {"deployment.kubernetes.io/revision": revision},
                "ownerReferences": [{"uid": "d"}]}, "status": {"conditions": conditions}})
        };
        let quota = "pods \"web\" is forbidden: exceeded quota: few";
        let failure = json!([{"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": quota}]);
        let mut sets = vec![set("10", "new", failure), set("9", "old", json!([]))];
        sets.push(json!({"metadata": {"uid": "other", "ownerReferences": [{"uid": "x"}]}}));
        let newest = newest(&sets, "d").unwrap();
        assert_eq!(newest["metadata"]["uid"], "new");
        assert_eq!(replica_failure(newest).unwrap(), format!("FailedCreate: {quota}"));
        assert_eq!(replica_failure(&sets[1]), None);
    }

    #[test]
    fn the_newest_warning_counts() {
        let event = |kind: &str, at: &str, message: &str| json!({"type": kind, "reason": "FailedCreate", "message": message, "lastTimestamp": at});
        let events = [
            event("Warning", "2026-01-01T00:00:00Z", "old"),
            event("Warning", "2026-01-02T00:00:00Z", "new"),
            event("Normal", "2026-01-03T00:00:00Z", "fine"),
        ];
        assert_eq!(last_warning(&events).unwrap(), "FailedCreate: new");
        assert_eq!(last_warning(&[]), None);
    }

    #[test]
    fn a_selector_is_written_as_lists_take_it() {
        let expressions = json!({"matchLabels": {"app": "web"}, "matchExpressions": [{"key": "tier", "operator": "In", "values": ["a", "b"]},
            {"key": "x", "operator": "NotIn", "values": ["c"]}, {"key": "y", "operator": "Exists"}, {"key": "z", "operator": "DoesNotExist"}]});
        assert_eq!(selector(&expressions).unwrap(), "app=web,tier in (a,b),x notin (c),y,!z");
        assert_eq!(selector(&json!({"app": "web"})).unwrap(), "app=web");
        for nothing in [
            json!({}),
            json!(null),
            json!({"matchLabels": {}}),
            json!({"matchLabels": {"a": 1}}),
            json!({"matchExpressions": [{"key": "a", "operator": "Gt"}]}),
        ] {
            assert_eq!(selector(&nothing), None, "{nothing}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_status_makes_it_panic(text in "[a-zA-Z\"{}:, \\[\\]0-9]{0,200}") {
            let status: Value = serde_json::from_str(&text).unwrap_or(Value::Null);
            let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "status": status, "spec": {"selector": status}});
            of_pod(&pod);
            worst(std::slice::from_ref(&pod));
            selector(&status);
            replica_failure(&pod);
            last_warning(std::slice::from_ref(&status));
        }
    }
}
