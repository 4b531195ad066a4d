//! Plans carried out against a real API server, with somebody else at work between plan and apply, or between apply and
//! prune.

#![allow(missing_docs)]

mod accounts;
mod changes;
mod giving_up;
mod hooks;
mod looking;
mod ownership;
mod people;
mod time;
mod undoing;

use std::time::{Duration, Instant};

use tk8s_core::Classified as _;
use tk8s_deploy::ApplyFailed;
use tk8s_diff::Action;
use tk8s_tests::cluster::ControlPlane;
use tk8s_tests::pipeline::Pipeline;

fn map(name: &str, value: &str) -> String {
    format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}}}\ndata: {{at: \"{value}\"}}\n---\n")
}

fn names<'a>(keys: impl IntoIterator<Item = &'a tk8s_core::ObjectKey>) -> Vec<&'a str> {
    keys.into_iter().map(|key| key.name.as_str()).collect()
}

fn reasons(kept: &[tk8s_diff::Kept]) -> Vec<(&str, &str)> {
    kept.iter().map(|kept| (kept.key.name.as_str(), kept.why.as_str())).collect()
}

async fn pipeline(name: &str) -> (&'static ControlPlane, Pipeline) {
    let plane = tokio::task::spawn_blocking(ControlPlane::shared).await.expect("the control plane starts");
    let pipeline = Pipeline::new(plane, name).await;
    (plane, pipeline)
}

fn failed(result: Result<tk8s_deploy::Applied, Box<ApplyFailed>>) -> Box<ApplyFailed> {
    result.expect_err("it has to stop")
}

#[tokio::test(flavor = "multi_thread")]
async fn what_somebody_made_meanwhile_is_not_ours_and_is_never_deleted() {
    let (plane, pipeline) = pipeline("made-meanwhile").await;
    let ready = pipeline.ready(&[map("a", "1"), map("b", "1"), map("c", "1")].concat()).await;
    // No field of it is contested, so the API server says yes.
    plane.kubectl(&["-n", &pipeline.name, "create", "configmap", "b", "--from-literal=other=theirs"]);
    let failed = failed(pipeline.apply(ready).await);
    assert_eq!(failed.error.reason(), "MadeByOther", "{}", failed.error);
    let told: Vec<_> = failed.answers.iter().map(|answer| (answer.key.name.as_str(), answer.created)).collect();
    assert_eq!(told, [("a", true), ("b", false)], "what was written is remembered, and nothing came after it");
    let settled = pipeline.settle(&[map("a", "1"), map("b", "1"), map("c", "1")].concat()).await;
    pipeline.prune(settled).await;
    let settled = pipeline.settle(&map("c", "1")).await;
    assert_eq!(names(pipeline.prune(settled).await.gone()), ["a"]);
    assert_eq!(plane.kubectl(&["-n", &pipeline.name, "get", "configmap", "b", "-o", "jsonpath={.data.other}"]), "theirs");
}

#[tokio::test(flavor = "multi_thread")]
async fn contested_fields_of_what_somebody_made_meanwhile_are_not_taken() {
    let (plane, pipeline) = pipeline("contested").await;
    let ready = pipeline.ready(&map("a", "ours")).await;
    plane.kubectl(&["-n", &pipeline.name, "create", "configmap", "a", "--from-literal=at=theirs"]);
    let failed = failed(pipeline.apply(ready).await);
    assert_eq!((failed.error.reason(), failed.answers.len()), ("MadeByOther", 0));
    assert_eq!(plane.kubectl(&["-n", &pipeline.name, "get", "configmap", "a", "-o", "jsonpath={.data.at}"]), "theirs");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_vanished_or_was_replaced_meanwhile_is_planned_again() {
    let (plane, pipeline) = pipeline("vanished").await;
    let namespace = pipeline.name.as_str();
    let settled = pipeline.settle(&[map("gone", "1"), map("new", "1")].concat()).await;
    pipeline.prune(settled).await;
    for (name, again) in [("gone", false), ("new", true)] {
        let ready = pipeline.ready(&[map(name, "2"), map(if again { "gone" } else { "new" }, "1")].concat()).await;
        plane.kubectl(&["-n", namespace, "delete", "configmap", name]);
        if again {
            plane.kubectl(&["-n", namespace, "create", "configmap", name, "--from-literal=theirs=1"]);
        }
        let failed = failed(pipeline.apply(ready).await);
        assert_eq!((failed.error.reason(), failed.answers.len()), ("Vanished", 0), "{}", failed.error);
        let found = plane.kubectl(&["-n", namespace, "get", "configmap", name, "--ignore-not-found", "-o", "jsonpath={.data}"]);
        assert_eq!(found, if again { r#"{"theirs":"1"}"# } else { "" });
        if !again {
            let settled = pipeline.settle(&[map("gone", "1"), map("new", "1")].concat()).await;
            pipeline.prune(settled).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_refusal_nothing_more_is_sent() {
    let (plane, pipeline) = pipeline("refused").await;
    let namespace = pipeline.name.as_str();
    plane.until("kube-root-ca.crt", &["-n", namespace, "get", "configmaps", "-o", "jsonpath={.items[*].metadata.name}"]);
    let ready = pipeline.ready(&["a", "b", "c", "d"].map(|name| map(name, "1")).concat()).await;
    plane.apply(&format!(
        "apiVersion: v1\nkind: ResourceQuota\nmetadata: {{name: few, namespace: {namespace}}}\nspec: {{hard: {{count/configmaps: 2}}}}\n"
    ));
    plane.until("1", &["-n", namespace, "get", "resourcequota", "few", "-o", r"jsonpath={.status.used.count/configmaps}"]);
    let failed = failed(pipeline.apply(ready).await);
    assert_eq!(failed.error.reason(), "Forbidden");
    assert!(failed.error.to_string().contains("exceeded quota: few"), "{}", failed.error);
    assert_eq!(names(failed.answers.iter().map(|answer| &answer.key)), ["a"]);
    let entries = pipeline.history.inventory(&namespace.parse().unwrap());
    let known: Vec<_> = entries.iter().map(|entry| (entry.key.name.as_str(), entry.created)).collect();
    assert_eq!(known, [("a", Some(true)), ("b", None), ("c", None), ("d", None)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_that_somebody_exchanges_on_the_way_fails_the_release() {
    let (plane, pipeline) = pipeline("exchanged").await;
    let namespace = pipeline.name.as_str();
    plane.until("default", &["-n", namespace, "get", "serviceaccount", "default", "-o", "jsonpath={.metadata.name}"]);
    let pod = "apiVersion: v1\nkind: Pod\nmetadata: {name: web}\nspec: {containers: [{name: web, image: 'web:1'}]}\n";
    let ready = pipeline.ready(pod).await;
    plane.apply(&format!(
        r#"
apiVersion: admissionregistration.k8s.io/v1
kind: MutatingAdmissionPolicy
metadata: {{name: exchange}}
spec:
  failurePolicy: Fail
  reinvocationPolicy: Never
  matchConstraints:
    namespaceSelector: {{matchLabels: {{kubernetes.io/metadata.name: {namespace}}}}}
    resourceRules: [{{apiGroups: [""], apiVersions: [v1], operations: [CREATE], resources: [pods]}}]
  mutations:
    - patchType: JSONPatch
      jsonPatch:
        expression: '[JSONPatch{{op: "replace", path: "/spec/containers/0/image", value: "mirror.example.com/web:1"}}]'
---
apiVersion: admissionregistration.k8s.io/v1
kind: MutatingAdmissionPolicyBinding
metadata: {{name: exchange}}
spec: {{policyName: exchange}}
"#
    ));
    let probe =
        ["-n", namespace, "run", "probe", "--image=web:1", "--dry-run=server", "-o", "jsonpath={.spec.containers[0].image}"];
    plane.until("mirror.example.com/web:1", &probe);
    let failed = failed(pipeline.apply(ready).await);
    assert_eq!(failed.error.reason(), "ImageReplaced");
    assert!(failed.error.to_string().contains("`web:1` by `mirror.example.com/web:1`"), "{}", failed.error);
    assert_eq!(names(failed.answers.iter().map(|answer| &answer.key)), ["web"], "it is there, so it is remembered");
    // The next plan does not take it for known: it wants the image back.
    assert_eq!(pipeline.plan(pipeline.turns(pod).remove(0)).await.changes().len(), 1);
    let other = pod.replace("name: web}", "name: other}");
    let refused = pipeline.try_plan(pipeline.turns(&other).remove(0)).await.unwrap_err();
    assert_eq!(refused.reason(), "ImageReplaced", "nothing is written for it");
    assert_eq!(plane.kubectl(&["-n", namespace, "get", "pod", "other", "--ignore-not-found"]), "");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_entry_for_another_plan_sends_nothing() {
    let (plane, pipeline) = pipeline("begun").await;
    let (_, other) = pipeline.ready(&map("a", "1")).await;
    let (approved, _) = pipeline.ready(&map("a", "2")).await;
    let failed = failed(pipeline.apply((approved, other)).await);
    assert_eq!((failed.error.reason(), failed.error.class()), ("NotBegun", tk8s_core::Class::Bug));
    assert_eq!(plane.kubectl(&["-n", &pipeline.name, "get", "configmap", "a", "--ignore-not-found"]), "");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_definition_and_its_instances_come_in_turns_and_leave_in_reverse() {
    let (plane, pipeline) = pipeline("turns").await;
    let definition = "apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata: {name: things.turns.example.com}\nspec:\n  group: turns.example.com\n  names: {kind: Thing, plural: things}\n  scope: Namespaced\n  versions: [{name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object}}}]\n---\n";
    let thing = "apiVersion: turns.example.com/v1\nkind: Thing\nmetadata: {name: t}\n---\n";
    assert_eq!(pipeline.turns(&[definition, thing].concat()).len(), 2);
    let settled = pipeline.settle(&[definition, thing, &map("a", "1")].concat()).await;
    pipeline.prune(settled).await;
    assert_eq!(plane.kubectl(&["-n", &pipeline.name, "get", "things", "-o", "name"]).trim(), "thing.turns.example.com/t");
    let settled = pipeline.settle(&map("a", "1")).await;
    let finished = pipeline.prune(settled).await;
    assert_eq!(names(finished.gone()), ["t", "things.turns.example.com"]);
    assert!(finished.left().is_empty() && finished.pending().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn workloads_are_waited_for_and_what_is_never_ready_is_named() {
    let (_, pipeline) = pipeline("settling").await;
    let web = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web}\nspec:\n  replicas: 2\n  selector: {matchLabels: {app: web}}\n  template: {metadata: {labels: {app: web}}, spec: {containers: [{name: web, image: 'web:1'}]}}\n---\n";
    let settled = pipeline.settle(&[web, &map("old", "1")].concat()).await;
    pipeline.prune(settled).await;
    let outer = "apiVersion: v1\nkind: Service\nmetadata: {name: outer}\nspec: {type: LoadBalancer, ports: [{port: 80}]}\n---\n";
    let applied = pipeline.apply(pipeline.ready(&[web, outer].concat()).await).await.unwrap();
    let settled = tk8s_deploy::settle(&pipeline.live, applied, Duration::from_millis(500), std::future::pending()).await;
    let told: Vec<_> = settled.unhealthy().iter().map(|(key, health)| (key.name.as_str(), health.reason.as_str())).collect();
    assert_eq!(told, [("outer", "AddressPending")]);
    let finished = pipeline.prune(settled).await;
    assert!(finished.gone().is_empty());
    assert_eq!(reasons(finished.left()), [("old", "the release is not healthy, and nothing is deleted after a failure")]);
}

#[tokio::test(flavor = "multi_thread")]
async fn waiting_ends_when_it_is_cancelled_or_cannot_help() {
    let (plane, pipeline) = pipeline("waiting").await;
    let outer = "apiVersion: v1\nkind: Service\nmetadata: {name: outer}\nspec: {type: LoadBalancer, ports: [{port: 80}]}\n---\n";
    let applied = pipeline.apply(pipeline.ready(outer).await).await.unwrap();
    let (begun, long) = (Instant::now(), Duration::from_secs(60));
    let settled = tk8s_deploy::settle(&pipeline.live, applied, long, tokio::time::sleep(Duration::from_millis(100))).await;
    assert_eq!(settled.unhealthy().len(), 1);
    // A Job that is over its deadline before it begins fails for good.
    let job = "apiVersion: batch/v1\nkind: Job\nmetadata: {name: late}\nspec:\n  activeDeadlineSeconds: 1\n  template:\n    spec: {restartPolicy: Never, nodeSelector: {never: here}, containers: [{name: late, image: 'late:1'}]}\n---\n";
    let applied = pipeline.apply(pipeline.ready(job).await).await.unwrap();
    let settled = tk8s_deploy::settle(&pipeline.live, applied, long, std::future::pending()).await;
    let told: Vec<_> = settled.unhealthy().values().map(|health| (health.reason.as_str(), health.message.as_str())).collect();
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].0 == "JobFailed" && told[0].1.contains("DeadlineExceeded"), "{told:?}");
    assert!(begun.elapsed() < Duration::from_secs(30), "{:?}", begun.elapsed());
    plane.kubectl(&["-n", &pipeline.name, "delete", "job", "late"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn only_what_is_still_ours_is_deleted_and_what_hangs_is_named() {
    let (plane, pipeline) = pipeline("pruning").await;
    let namespace = pipeline.name.as_str();
    let all = ["plain", "touched", "adopted", "released", "replaced", "keep"];
    let settled = pipeline.settle(&all.map(|name| map(name, "1")).concat()).await;
    pipeline.prune(settled).await;
    let settled = pipeline.settle(&map("keep", "1")).await;
    let edit = |arguments: &[&str]| plane.kubectl(&[&["-n", namespace], arguments].concat());
    edit(&["annotate", "configmap", "touched", "seen=yes"]);
    edit(&["label", "configmap", "adopted", "--overwrite", "agent.tk8s.io/component=another"]);
    edit(&["label", "configmap", "released", "agent.tk8s.io/instance-"]);
    edit(&["delete", "configmap", "replaced"]);
    edit(&["create", "configmap", "replaced"]);
    let finished = pipeline.prune(settled).await;
    let mut gone = names(finished.gone());
    gone.sort_unstable();
    assert_eq!(gone, ["plain", "touched"]);
    let mut released = reasons(finished.released());
    released.sort_unstable();
    let taken = "our labels were taken off it: it is somebody else's now";
    assert_eq!(released, [("adopted", taken), ("released", taken), ("replaced", "another object has its name now")]);
    let owned = pipeline.history.inventory(&namespace.parse().unwrap());
    assert_eq!(names(owned.iter().map(|entry| &entry.key)), ["keep"]);
    let there = edit(&["get", "configmaps", "-o", "jsonpath={.items[*].metadata.name}"]);
    assert_eq!(there, "adopted keep kube-root-ca.crt released replaced");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_finalizer_holds_is_reported_and_stays_in_the_inventory() {
    let (plane, pipeline) = pipeline("held").await;
    let namespace = pipeline.name.as_str();
    let held = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: held, finalizers: [example.com/forever]}\n---\n";
    let settled = pipeline.settle(&[held, &map("keep", "1")].concat()).await;
    pipeline.prune(settled).await;
    let settled = pipeline.settle(&map("keep", "1")).await;
    // Whoever wants to go on need not wait for it.
    let begun = Instant::now();
    let finished = pipeline.prune_until(settled, tokio::time::sleep(Duration::from_secs(1))).await;
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    assert!(finished.gone().is_empty());
    let pending = reasons(finished.pending());
    assert!(pending.len() == 1 && pending[0].1.contains("held by example.com/forever"), "{pending:?}");
    assert_eq!(pipeline.history.inventory(&namespace.parse().unwrap()).len(), 2);
    plane.kubectl(&[
        "-n",
        namespace,
        "patch",
        "configmap",
        "held",
        "--type=json",
        r#"-p=[{"op":"remove","path":"/metadata/finalizers"}]"#,
    ]);
    let settled = pipeline.settle(&map("keep", "1")).await;
    assert_eq!(names(pipeline.prune(settled).await.gone()), ["held"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_carried_out_leaves_nothing_to_do() {
    let (_, pipeline) = pipeline("again").await;
    let yaml = [map("a", "1"), map("b", "1")].concat();
    let settled = pipeline.settle(&yaml).await;
    pipeline.prune(settled).await;
    let plan = pipeline.plan(pipeline.turns(&yaml).remove(0)).await;
    assert!(plan.is_empty() && plan.unchanged().len() == 2);
    let plan = pipeline.plan(pipeline.turns(&[map("a", "2"), map("b", "1")].concat()).remove(0)).await;
    let changes: Vec<_> = plan.changes().iter().map(|change| (change.key.name.as_str(), change.action)).collect();
    assert_eq!(changes, [("a", Action::Configure)]);
}
