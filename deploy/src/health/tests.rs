//! A table of small objects, and the law that no shape can make the judge panic.

use proptest::prelude::*;
use serde_json::{Map, Value, json};
use tk8s_core::HealthState::{self, *};

use super::{is_final, judge};

/// `apiVersion Kind`, the rest of the object, and what is expected: state, reason, a piece of the message.
fn check(kind: &str, mut rest: Value, state: HealthState, reason: &str, message: &str) {
    let (api_version, kind) = kind.split_once(' ').unwrap();
    rest["apiVersion"] = api_version.into();
    rest["kind"] = kind.into();
    let found = judge(&rest);
    let matches = found.state == state && found.reason == reason && found.message.contains(message);
    assert!(matches, "{kind} {rest:#}\nexpected {state} {reason} {message:?}\nfound    {found:?}");
}

fn deployment(spec: Value, status: Value) -> Value {
    json!({"metadata": {"generation": 3}, "spec": spec, "status": status})
}

#[test]
fn a_deployment_is_healthy_when_the_new_version_has_replaced_the_old_one() {
    let kind = "apps/v1 Deployment";
    let full = |updated: i64, all: i64, available: i64| json!({"observedGeneration": 3, "updatedReplicas": updated, "replicas": all, "availableReplicas": available});
    let spec = json!({"replicas": 2});
    check(kind, deployment(spec.clone(), full(2, 2, 2)), Healthy, "", "");
    check(
        kind,
        deployment(spec.clone(), full(1, 2, 2)),
        Progressing,
        "ReplicasOutdated",
        "1 of 2 replicas are of the new version",
    );
    check(kind, deployment(spec.clone(), full(2, 3, 2)), Progressing, "OldReplicasRemain", "1 replicas");
    check(kind, deployment(spec.clone(), full(2, 2, 1)), Progressing, "ReplicasUnavailable", "1 of 2");
    check(kind, deployment(json!({"replicas": 0}), json!({"observedGeneration": 3})), Healthy, "", "");
    check(kind, deployment(json!({}), full(1, 1, 1)), Healthy, "", "");
    check(kind, deployment(json!({"replicas": 2, "paused": true}), full(1, 2, 2)), Suspended, "Paused", "paused");
    check(kind, deployment(spec.clone(), json!({})), Progressing, "NotObserved", "generation 0 of 3");
    check(
        kind,
        deployment(spec.clone(), json!({"observedGeneration": 2, "updatedReplicas": 2, "replicas": 2, "availableReplicas": 2})),
        Progressing,
        "NotObserved",
        "generation 2 of 3",
    );
    let mut late = full(1, 2, 1);
    late["conditions"] = json!([{"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded", "message": "ReplicaSet \"web-1\" has timed out progressing."}]);
    check(kind, deployment(spec.clone(), late), Degraded, "ProgressDeadlineExceeded", "web-1");
    let mut quota = full(0, 0, 0);
    quota["conditions"] =
        json!([{"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": "exceeded quota: small"}]);
    check(kind, deployment(spec, quota), Progressing, "ReplicasOutdated", "FailedCreate: exceeded quota: small");
}

#[test]
fn a_deployment_of_an_older_generation_is_not_failed_by_its_old_deadline() {
    let status = json!({"observedGeneration": 2, "conditions": [{"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded"}]});
    check("apps/v1 Deployment", deployment(json!({}), status), Progressing, "NotObserved", "");
}

#[test]
fn a_stateful_set_is_judged_by_its_strategy() {
    let kind = "apps/v1 StatefulSet";
    let set = |strategy: Value, ready: i64, updated: i64, update: &str| {
        json!({"metadata": {"generation": 1}, "spec": {"replicas": 3, "updateStrategy": strategy},
               "status": {"observedGeneration": 1, "readyReplicas": ready, "updatedReplicas": updated, "currentRevision": "a", "updateRevision": update}})
    };
    check(kind, set(json!({}), 3, 3, "a"), Healthy, "", "");
    check(kind, set(json!({}), 3, 1, "b"), Progressing, "ReplicasOutdated", "1 of 3");
    check(kind, set(json!({}), 2, 3, "a"), Progressing, "ReplicasNotReady", "2 of 3");
    check(kind, set(json!({"type": "OnDelete"}), 3, 0, "b"), Healthy, "", "");
    check(kind, set(json!({"type": "OnDelete"}), 2, 0, "b"), Progressing, "ReplicasNotReady", "");
    check(
        kind,
        set(json!({"rollingUpdate": {"partition": 2}}), 3, 0, "b"),
        Progressing,
        "ReplicasOutdated",
        "0 of 1 replicas above the partition",
    );
    check(kind, set(json!({"rollingUpdate": {"partition": 2}}), 3, 1, "b"), Healthy, "", "");
    check(kind, set(json!({"rollingUpdate": {"partition": 9}}), 3, 0, "b"), Healthy, "", "");
    let mut slow = set(json!({}), 3, 3, "a");
    slow["spec"]["minReadySeconds"] = json!(10);
    check(kind, slow, Progressing, "ReplicasUnavailable", "0 of 3");
}

#[test]
fn a_daemon_set_needs_every_node_it_wants() {
    let kind = "apps/v1 DaemonSet";
    let set = |strategy: &str, updated: i64, available: i64| {
        json!({"metadata": {"generation": 1}, "spec": {"updateStrategy": {"type": strategy}},
               "status": {"observedGeneration": 1, "desiredNumberScheduled": 3, "updatedNumberScheduled": updated, "numberAvailable": available}})
    };
    check(kind, set("RollingUpdate", 3, 3), Healthy, "", "");
    check(kind, set("RollingUpdate", 2, 3), Progressing, "PodsOutdated", "2 of 3");
    check(kind, set("RollingUpdate", 3, 2), Progressing, "PodsUnavailable", "2 of 3");
    check(kind, set("OnDelete", 0, 3), Healthy, "", "");
    check(kind, set("OnDelete", 0, 2), Progressing, "PodsUnavailable", "");
    check(kind, json!({"metadata": {"generation": 1}}), Progressing, "NotObserved", "");
    check(kind, json!({"metadata": {"generation": 1}, "status": {"observedGeneration": 1}}), Healthy, "", "");
}

#[test]
fn replica_sets_and_their_elders_count_what_is_available() {
    for kind in ["apps/v1 ReplicaSet", "v1 ReplicationController"] {
        let set = |available: i64| json!({"metadata": {"generation": 1}, "spec": {"replicas": 2}, "status": {"observedGeneration": 1, "availableReplicas": available}});
        check(kind, set(2), Healthy, "", "");
        check(kind, set(0), Progressing, "ReplicasUnavailable", "0 of 2");
    }
}

fn pod(restart: &str, status: Value) -> Value {
    json!({"metadata": {}, "spec": {"restartPolicy": restart, "initContainers": [{"name": "proxy", "restartPolicy": "Always"}, {"name": "setup"}]}, "status": status})
}

fn waiting(name: &str, reason: &str, message: &str) -> Value {
    json!([{"name": name, "state": {"waiting": {"reason": reason, "message": message}}, "lastState": {"terminated": {"exitCode": 137, "reason": "OOMKilled"}}}])
}

#[test]
fn a_pod_names_the_container_that_is_to_blame() {
    let kind = "v1 Pod";
    let pending = |statuses: Value| json!({"phase": "Pending", "containerStatuses": statuses});
    for reason in ["ErrImagePull", "ImagePullBackOff", "InvalidImageName", "CreateContainerConfigError"] {
        for restart in ["Always", "Never"] {
            let status = pending(waiting("web", reason, "no such host"));
            check(kind, pod(restart, status), Degraded, reason, &format!("container `web`: {reason}: no such host"));
        }
    }
    let loops = json!({"phase": "Running", "containerStatuses": waiting("web", "CrashLoopBackOff", "back-off 5m0s")});
    check(
        kind,
        pod("Always", loops.clone()),
        Degraded,
        "CrashLoopBackOff",
        "back-off 5m0s; it ended with exit code 137 (OOMKilled)",
    );
    check(kind, pod("OnFailure", loops), Progressing, "PodRunning", "");
    let init = |name: &str| json!({"phase": "Pending", "initContainerStatuses": waiting(name, "CrashLoopBackOff", "")});
    check(kind, pod("Always", init("setup")), Degraded, "CrashLoopBackOff", "init container `setup`");
    check(kind, pod("Never", init("setup")), Progressing, "PodPending", "init container `setup`: CrashLoopBackOff");
    check(kind, pod("Never", init("proxy")), Degraded, "CrashLoopBackOff", "init container `proxy`");
    check(
        kind,
        pod("Always", pending(waiting("web", "ContainerCreating", ""))),
        Progressing,
        "PodPending",
        "`web`: ContainerCreating",
    );
}

#[test]
fn a_pod_that_failed_says_how() {
    let kind = "v1 Pod";
    let ended = |code: i64| json!([{"name": "a", "state": {"terminated": {"exitCode": 0}}}, {"name": "b", "state": {"terminated": {"exitCode": code, "reason": "Error", "message": "disk\u{1b}[2J full"}}}]);
    check(
        kind,
        pod("Never", json!({"phase": "Failed", "containerStatuses": ended(3)})),
        Degraded,
        "PodFailed",
        "container `b` ended with exit code 3 (Error): disk\u{fffd}[2J full",
    );
    check(
        kind,
        pod("Never", json!({"phase": "Failed", "reason": "Evicted", "message": "node was low on memory"})),
        Degraded,
        "PodFailed",
        "Evicted: node was low on memory",
    );
    check(kind, pod("Never", json!({"phase": "Failed"})), Degraded, "PodFailed", "does not say why");
    check(kind, pod("Never", json!({"phase": "Succeeded"})), Healthy, "", "");
    check(kind, pod("Never", json!({"phase": "Unknown"})), Unknown, "PodUnknown", "");
    check(kind, pod("Never", json!({})), Progressing, "PodPending", "not been started");
    let nowhere = json!({"phase": "Pending", "conditions": [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/3 nodes are available"}]});
    check(kind, pod("Always", nowhere), Progressing, "Unschedulable", "0/3 nodes");
}

#[test]
fn a_running_pod_is_healthy_when_it_is_ready() {
    let kind = "v1 Pod";
    let running = |ready: &str, containers: Value| json!({"phase": "Running", "conditions": [{"type": "Ready", "status": ready, "message": "containers with unready status: [web]"}], "containerStatuses": containers});
    check(kind, pod("Always", running("True", json!([]))), Healthy, "", "");
    check(kind, pod("Always", running("False", json!([]))), Progressing, "ContainersNotReady", "[web]");
    let died = json!([{"name": "web", "ready": false, "state": {"running": {}}, "lastState": {"terminated": {"exitCode": 1, "reason": "Error"}}}]);
    check(
        kind,
        pod("Always", running("False", died)),
        Degraded,
        "ContainerDied",
        "container `web` is not ready; it ended with exit code 1 (Error)",
    );
}

#[test]
fn jobs_come_to_an_end_and_cron_jobs_only_have_to_be_there() {
    let job = |condition: &str| json!({"status": {"active": 1, "failed": 2, "conditions": [{"type": condition, "status": "True", "reason": "BackoffLimitExceeded", "message": "Job has reached the specified backoff limit"}]}});
    check("batch/v1 Job", job("Failed"), Degraded, "JobFailed", "BackoffLimitExceeded: Job has reached");
    check("batch/v1 Job", job("Complete"), Healthy, "", "");
    check("batch/v1 Job", job("Suspended"), Suspended, "Suspended", "");
    check("batch/v1 Job", job("FailureTarget"), Degraded, "JobFailed", "BackoffLimitExceeded");
    check("batch/v1 Job", job("SuccessCriteriaMet"), Progressing, "JobRunning", "0 of 1 completions, 1 pods running, 2 failed");
    check("batch/v1 Job", json!({"spec": {"suspend": true}}), Suspended, "Suspended", "");
    check("batch/v1 CronJob", json!({"spec": {}}), Healthy, "", "");
    check("batch/v1 CronJob", json!({"spec": {"suspend": true}}), Healthy, "", "");
    let (first, second) = ("2026-01-01T00:00:00Z", "2026-01-01T01:00:00Z");
    let ran =
        |scheduled: &str, succeeded: &str| json!({"status": {"lastScheduleTime": scheduled, "lastSuccessfulTime": succeeded}});
    check("batch/v1 CronJob", ran(first, second), Healthy, "", "");
    check("batch/v1 CronJob", ran(second, first), Degraded, "LastRunFailed", "the run of 2026-01-01T01:00:00Z did not succeed");
    let mut runs = ran(second, first);
    runs["status"]["active"] = json!([{"name": "now"}]);
    check("batch/v1 CronJob", runs, Healthy, "", "");
}

#[test]
fn a_run_that_failed_keeps_no_release_from_being_settled() {
    let failed = judge(
        &json!({"apiVersion": "batch/v1", "kind": "CronJob", "status": {"lastScheduleTime": "2026-01-01T01:00:00Z", "lastSuccessfulTime": "2026-01-01T00:00:00Z"}}),
    );
    assert!(failed.state == Degraded && failed.is_settled(), "{failed:?}");
    let crashed = judge(&json!({"apiVersion": "v1", "kind": "Pod", "status": {"phase": "Failed"}}));
    assert!(crashed.state == Degraded && !crashed.is_settled(), "{crashed:?}");
}

#[test]
fn storage_is_judged_by_its_phase() {
    let claim = |phase: &str| json!({"spec": {"storageClassName": "fast", "volumeName": "v1"}, "status": {"phase": phase}});
    check("v1 PersistentVolumeClaim", claim("Bound"), Healthy, "", "");
    check("v1 PersistentVolumeClaim", claim("Pending"), Progressing, "ClaimPending", "`fast`");
    check("v1 PersistentVolumeClaim", claim("Lost"), Degraded, "ClaimLost", "`v1`");
    let mut too_big = claim("Bound");
    too_big["status"]["allocatedResourceStatuses"] = json!({"storage": "ControllerResizeInfeasible"});
    check("v1 PersistentVolumeClaim", too_big, Degraded, "ResizeInfeasible", "");
    for phase in ["Available", "Bound", "Released"] {
        check("v1 PersistentVolume", json!({"status": {"phase": phase}}), Healthy, "", "");
    }
    check(
        "v1 PersistentVolume",
        json!({"status": {"phase": "Failed", "reason": "Gone", "message": "disk"}}),
        Degraded,
        "VolumeFailed",
        "Gone: disk",
    );
    check("v1 PersistentVolume", json!({}), Progressing, "VolumePending", "");
}

#[test]
fn addresses_are_waited_for_where_one_was_asked_for() {
    check("v1 Service", json!({"spec": {"type": "LoadBalancer"}}), Progressing, "AddressPending", "");
    check(
        "v1 Service",
        json!({"spec": {"type": "LoadBalancer"}, "status": {"loadBalancer": {"ingress": [{"ip": "1.2.3.4"}]}}}),
        Healthy,
        "",
        "",
    );
    check("v1 Service", json!({"spec": {"type": "NodePort"}}), Healthy, "", "");
    check("v1 Service", json!({"spec": {"type": "ExternalName"}}), Healthy, "", "");
    check(
        "networking.k8s.io/v1 Ingress",
        json!({"spec": {"ingressClassName": "outer"}}),
        Progressing,
        "AddressPending",
        "`outer`",
    );
}

#[test]
fn autoscalers_of_every_version_tell_their_conditions() {
    let active = |status: &str, reason: &str| json!({"status": {"conditions": [{"type": "AbleToScale", "status": "True", "reason": "ReadyForNewScale"}, {"type": "ScalingActive", "status": status, "reason": reason, "message": "m"}]}});
    for kind in ["autoscaling/v2 HorizontalPodAutoscaler", "autoscaling/v2beta2 HorizontalPodAutoscaler"] {
        check(kind, active("True", "ValidMetricFound"), Healthy, "", "");
        check(kind, active("False", "ScalingDisabled"), Healthy, "", "");
        check(kind, active("False", "FailedGetResourceMetric"), Degraded, "FailedGetResourceMetric", "m");
        check(kind, active("False", "InvalidSelector"), Degraded, "InvalidSelector", "m");
        check(kind, json!({}), Progressing, "NotObserved", "");
    }
    let annotated = |text: &str| json!({"metadata": {"annotations": {"autoscaling.alpha.kubernetes.io/conditions": text}}});
    check("autoscaling/v1 HorizontalPodAutoscaler", annotated("not json"), Progressing, "NotObserved", "");
    check("autoscaling/v1 HorizontalPodAutoscaler", annotated(r#"[{"type":"AbleToScale","status":"True"}]"#), Healthy, "", "");
}

#[test]
fn a_disruption_budget_that_says_no_does_its_work() {
    let budget = |reason: &str| json!({"metadata": {"generation": 1}, "status": {"observedGeneration": 1, "conditions": [{"type": "DisruptionAllowed", "status": "False", "reason": reason}]}});
    check("policy/v1 PodDisruptionBudget", budget("InsufficientPods"), Healthy, "", "");
    check("policy/v1 PodDisruptionBudget", budget("SyncFailed"), Degraded, "SyncFailed", "");
    check("policy/v1 PodDisruptionBudget", json!({"metadata": {"generation": 1}}), Progressing, "NotObserved", "");
}

#[test]
fn what_extends_the_api_is_healthy_when_it_is_served() {
    let crd = |kind: &str, status: &str, reason: &str| json!({"status": {"conditions": [{"type": kind, "status": status, "reason": reason, "message": "m"}]}});
    let definition = "apiextensions.k8s.io/v1 CustomResourceDefinition";
    check(definition, crd("Established", "True", ""), Healthy, "", "");
    check(definition, crd("Established", "False", "Installing"), Progressing, "NotEstablished", "");
    check(definition, crd("NamesAccepted", "False", "ListKindConflict"), Degraded, "NamesNotAccepted", "ListKindConflict: m");
    check(definition, json!({}), Progressing, "NotEstablished", "");
    let service = "apiregistration.k8s.io/v1 APIService";
    check(service, crd("Available", "True", "Passed"), Healthy, "", "");
    check(service, crd("Available", "False", "MissingEndpoints"), Progressing, "MissingEndpoints", "m");
    check(service, json!({}), Progressing, "NotAvailable", "");
}

#[test]
fn what_is_being_deleted_says_what_holds_it() {
    check("v1 Namespace", json!({"status": {"phase": "Active"}}), Healthy, "", "");
    check("v1 Namespace", json!({}), Healthy, "", "");
    let dying = json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}, "spec": {"finalizers": ["kubernetes"]}, "status": {"phase": "Terminating", "conditions": [
        {"type": "NamespaceContentRemaining", "status": "True", "message": "Some resources are remaining: pods. has 1 resource instances"},
        {"type": "NamespaceDeletionContentFailure", "status": "False", "message": "All content successfully deleted"}]}});
    check(
        "v1 Namespace",
        dying,
        Progressing,
        "BeingDeleted",
        "held by Some resources are remaining: pods. has 1 resource instances",
    );
    check(
        "v1 Namespace",
        json!({"spec": {"finalizers": ["kubernetes"]}, "status": {"phase": "Terminating"}}),
        Progressing,
        "BeingDeleted",
        "held by kubernetes",
    );
    let held =
        json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z", "finalizers": ["example.com/a", "example.com/b"]}});
    check("v1 ConfigMap", held, Progressing, "BeingDeleted", "held by example.com/a, example.com/b");
    check("v1 ConfigMap", json!({"metadata": {"deletionTimestamp": null}}), Healthy, "", "");
}

#[test]
fn kinds_without_a_rule_follow_the_convention() {
    let kind = "example.com/v1 Widget";
    let widget = |conditions: Value| json!({"metadata": {"generation": 2}, "status": {"conditions": conditions}});
    let one = |name: &str, status: &str, reason: &str| {
        widget(json!([{"type": name, "status": status, "reason": reason, "message": "m"}]))
    };
    check(kind, json!({}), Healthy, "", "");
    check(kind, one("Whatever", "False", "x"), Healthy, "", "");
    check(kind, one("Synced", "False", "x"), Progressing, "x", "x: m");
    check(kind, one("Synced", "False", "ReconcileError"), Degraded, "ReconcileError", "m");
    check(kind, one("Succeeded", "False", "x"), Degraded, "x", "m");
    check(kind, one("Accepted", "Unknown", ""), Progressing, "NotAccepted", "m");
    check(kind, one("Suspended", "True", "ByHand"), Suspended, "ByHand", "m");
    check(kind, one("Failed", "True", "NoDisk"), Degraded, "NoDisk", "m");
    check(kind, json!({"spec": {"paused": true}, "status": {"phase": "Failed"}}), Suspended, "Suspended", "`spec.paused`");
    let phase = |phase: &str| json!({"status": {"phase": phase, "message": "m"}});
    check(kind, phase("Failed"), Degraded, "Failed", "its phase is Failed: m");
    check(kind, phase("Creating"), Progressing, "Creating", "its phase is Creating: m");
    check(kind, phase("Anything"), Healthy, "", "");
    check(kind, one("Ready", "True", "x"), Healthy, "", "");
    check(kind, one("Ready", "False", "Creating"), Progressing, "Creating", "Creating: m");
    check(kind, one("Ready", "False", "InstallFailed"), Degraded, "InstallFailed", "m");
    check(kind, one("Ready", "Unknown", "InstallFailed"), Progressing, "InstallFailed", "m");
    check(kind, one("Ready", "False", ""), Progressing, "NotReady", "m");
    check(kind, one("Available", "False", ""), Progressing, "NotAvailable", "m");
    check(kind, one("Stalled", "True", "BadSpec"), Degraded, "BadSpec", "m");
    check(kind, one("Stalled", "False", "BadSpec"), Healthy, "", "");
    check(kind, one("Reconciling", "True", "NewGeneration"), Progressing, "NewGeneration", "m");
    check(
        kind,
        json!({"metadata": {"generation": 2}, "status": {"observedGeneration": 1}}),
        Progressing,
        "NotObserved",
        "generation 1 of 2",
    );
    check(
        kind,
        json!({"metadata": {"generation": 2}, "status": {"observedGeneration": "1"}}),
        Progressing,
        "NotObserved",
        "generation 1 of 2",
    );
    check(
        kind,
        widget(json!([{"type": "Ready", "status": "True", "observedGeneration": 1}])),
        Progressing,
        "NotObserved",
        "older generation",
    );
    check("admissionregistration.k8s.io/v1 ValidatingWebhookConfiguration", json!({"webhooks": []}), Healthy, "", "");
    check("v1 ConfigMap", json!({"data": {"status": "broken"}}), Healthy, "", "");
}

#[test]
fn only_what_waiting_cannot_help_is_final() {
    let job = json!({"apiVersion": "batch/v1", "kind": "Job", "status": {"conditions": [{"type": "Failed", "status": "True"}]}});
    assert!(is_final(&judge(&job)));
    let mut looping = pod("Always", json!({"phase": "Running", "containerStatuses": waiting("web", "CrashLoopBackOff", "")}));
    looping["apiVersion"] = json!("v1");
    looping["kind"] = json!("Pod");
    assert!(!is_final(&judge(&looping)));
    assert!(!is_final(&judge(
        &json!({"apiVersion": "example.com/v1", "kind": "Widget", "status": {"conditions": [{"type": "Stalled", "status": "True", "reason": "JobFailing"}]}})
    )));
}

#[test]
fn a_message_is_one_bounded_printable_text() {
    let conditions =
        json!([{"type": "Ready", "status": "False", "reason": "a b\n\u{1b}[c", "message": format!("x\n{}", "y".repeat(9000))}]);
    let found = judge(&json!({"apiVersion": "example.com/v1", "kind": "Widget", "status": {"conditions": conditions}}));
    assert_eq!(found.reason, "abc");
    assert!(found.message.chars().count() <= 501 && !found.message.contains('\n'), "{found:?}");
}

const KINDS: &[&str] = &[
    "apps/v1 Deployment",
    "apps/v1 StatefulSet",
    "apps/v1 DaemonSet",
    "apps/v1 ReplicaSet",
    "v1 ReplicationController",
    "v1 Pod",
    "batch/v1 Job",
    "batch/v1 CronJob",
    "v1 PersistentVolumeClaim",
    "v1 PersistentVolume",
    "v1 Service",
    "networking.k8s.io/v1 Ingress",
    "autoscaling/v1 HorizontalPodAutoscaler",
    "autoscaling/v2 HorizontalPodAutoscaler",
    "policy/v1 PodDisruptionBudget",
    "v1 Namespace",
    "apiextensions.k8s.io/v1 CustomResourceDefinition",
    "apiregistration.k8s.io/v1 APIService",
    "example.com/v1 Widget",
    "argoproj.io/v1alpha1 Rollout",
    "cert-manager.io/v1 Certificate",
    "ceph.rook.io/v1 CephCluster",
    "cluster.x-k8s.io/v1beta1 MachineDeployment",
    "gateway.networking.k8s.io/v1 HTTPRoute",
    "networking.istio.io/v1 VirtualService",
    "postgresql.cnpg.io/v1 Cluster",
    "serving.knative.dev/v1 Service",
];

const FIELDS: &[&str] = &[
    "metadata",
    "spec",
    "status",
    "conditions",
    "type",
    "reason",
    "message",
    "generation",
    "observedGeneration",
    "replicas",
    "updatedReplicas",
    "availableReplicas",
    "readyReplicas",
    "deletionTimestamp",
    "finalizers",
    "phase",
    "containerStatuses",
    "initContainerStatuses",
    "initContainers",
    "name",
    "state",
    "lastState",
    "waiting",
    "terminated",
    "exitCode",
    "updateStrategy",
    "rollingUpdate",
    "partition",
    "minReadySeconds",
    "annotations",
    "autoscaling.alpha.kubernetes.io/conditions",
    "loadBalancer",
    "ingress",
    "restartPolicy",
    "paused",
    "suspend",
];

const WORDS: &[&str] = &[
    "Ready",
    "Available",
    "Stalled",
    "Progressing",
    "True",
    "False",
    "Failed",
    "Complete",
    "Running",
    "Pending",
    "Bound",
    "Terminating",
    "CrashLoopBackOff",
    "ErrImagePull",
    "OnDelete",
    "Always",
    "LoadBalancer",
    "[{}]",
    "[1,{\"type\":[]}]",
    "ÄÖ",
];

/// JSON of any shape, in which the fields and words that the judge knows are frequent.
fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        Just(json!(i64::MIN)),
        proptest::sample::select(WORDS).prop_map(Value::from),
        ".{0,8}".prop_map(Value::from),
    ];
    leaf.prop_recursive(6, 64, 6, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::vec((proptest::sample::select(FIELDS), inner), 0..8).prop_map(|fields| Value::Object(
                fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect::<Map<_, _>>()
            )),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn no_shape_makes_the_judge_panic(value in any_json(), kind in proptest::sample::select(KINDS), status in any_json(), spec in any_json()) {
        judge(&value);
        let (api_version, kind) = kind.split_once(' ').unwrap();
        let health = judge(&json!({"apiVersion": api_version, "kind": kind, "metadata": value, "spec": spec, "status": status}));
        prop_assert_eq!(health.state == Healthy, health.reason.is_empty());
        prop_assert!(health.message.chars().all(|c| !c.is_control()));
    }
}
