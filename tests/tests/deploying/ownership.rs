//! Whose field is it, against a real API server: one test for each row of the table, and what it must never do.

use serde_json::Value;
use tk8s_core::Classified as _;
use tk8s_diff::memory::{Compared, Drift};
use tk8s_diff::ownership::{Conflicts, FieldRules, FieldSet, IgnoreRule, Whose};
use tk8s_diff::{Action, Plan};
use tk8s_tests::cluster::ControlPlane;
use tk8s_tests::pipeline::Pipeline;

use super::pipeline;

/// A Deployment without replicas to run, so that nothing waits for a node.
fn deployment(replicas: Option<u32>, image: &str, annotations: &str) -> String {
    let replicas = replicas.map(|number| format!("replicas: {number}, ")).unwrap_or_default();
    format!(
        "apiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: web, annotations: {{{annotations}}}}}\nspec: {{{replicas}paused: true, selector: {{matchLabels: {{app: web}}}}, template: {{metadata: {{labels: {{app: web}}}}, spec: {{containers: [{{name: web, image: '{image}'}}]}}}}}}\n"
    )
}

fn get(plane: &ControlPlane, pipeline: &Pipeline, path: &str) -> String {
    plane.kubectl(&["-n", &pipeline.name, "get", "deployment", "web", "-o", &format!("jsonpath={{{path}}}")])
}

/// What a field manager owns, as `fieldsV1`.
fn owned_by(plane: &ControlPlane, pipeline: &Pipeline, manager: &str) -> Value {
    let text = plane.kubectl(&["-n", &pipeline.name, "get", "deployment", "web", "-o", "json", "--show-managed-fields"]);
    let object: Value = serde_json::from_str(&text).expect("JSON");
    let entries = object["metadata"]["managedFields"].as_array().cloned().unwrap_or_default();
    let entry = entries.into_iter().find(|entry| entry["manager"] == manager && entry["subresource"].is_null());
    entry.map(|entry| entry["fieldsV1"].clone()).unwrap_or_default()
}

/// What a field manager owns together with us.
fn shared(plane: &ControlPlane, pipeline: &Pipeline, manager: &str) -> FieldSet {
    let read = |manager: &str| FieldSet::read(&owned_by(plane, pipeline, manager));
    read(manager).common(&read("tk8s-agent"))
}

/// Somebody's patch, under the name that they give.
fn patch(plane: &ControlPlane, pipeline: &Pipeline, manager: &str, patch: &str, more: &[&str]) {
    let manager = format!("--field-manager={manager}");
    let arguments = ["-n", &pipeline.name, "patch", "deployment", "web", "--type=merge", &manager, "-p", patch];
    plane.kubectl(&[&arguments, more].concat());
}

fn scale(plane: &ControlPlane, pipeline: &Pipeline, manager: &str, replicas: u32) {
    patch(plane, pipeline, manager, &format!(r#"{{"spec":{{"replicas":{replicas}}}}}"#), &["--subresource=scale"]);
}

async fn planned(pipeline: &Pipeline, yaml: &str) -> Plan {
    pipeline.plan(pipeline.turns(yaml).remove(0)).await
}

async fn applied(pipeline: &Pipeline, yaml: &str) {
    let plan = planned(pipeline, yaml).await;
    assert_eq!(plan.conflicts(), [], "nobody is in the way");
    let applied = pipeline.apply(pipeline.begin(plan)).await;
    applied.unwrap_or_else(|failed| panic!("{}: {}", failed.error.reason(), failed.error));
}

fn takes(plan: &Plan) -> Vec<(&str, &str, Whose)> {
    let overrides = plan.changes().iter().flat_map(|change| &change.overrides);
    overrides.map(|one| (one.field.as_str(), one.manager.as_str(), one.whose)).collect()
}

fn ignoring(managers: &[&str], pointers: &[&str]) -> FieldRules {
    let text = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
    let rule = IgnoreRule { kind: Some("Deployment".into()), name: None, pointers: text(pointers), managers: text(managers) };
    FieldRules { ignore: vec![rule], ..FieldRules::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_autoscaler_takes_from_us_is_left_to_it_and_no_longer_ours() {
    let (plane, pipeline) = pipeline("row-autoscaler-takes").await;
    applied(&pipeline, &deployment(Some(1), "web:1", "")).await;
    scale(plane, &pipeline, "kube-controller-manager", 7);
    pipeline.until_compared("Deployment", "web", |compared| *compared == Compared::Yielded).await;
    assert_eq!(planned(&pipeline, &deployment(Some(1), "web:1", "")).await.changes().len(), 0, "nothing is asked");
    applied(&pipeline, &deployment(Some(1), "web:2", "")).await;
    assert_eq!(get(plane, &pipeline, ".spec.replicas"), "7");
    assert_eq!(get(plane, &pipeline, ".spec.template.spec.containers[0].image"), "web:2");
    assert!(owned_by(plane, &pipeline, "tk8s-agent")["f:spec"].get("f:replicas").is_none());
    // It goes on scaling, and that is nobody's business.
    scale(plane, &pipeline, "kube-controller-manager", 9);
    pipeline.until_compared("Deployment", "web", |compared| *compared == Compared::AsLeft).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_person_scales_is_drift_and_taken_back_by_name() {
    let (plane, pipeline) = pipeline("row-person-scales").await;
    applied(&pipeline, &deployment(Some(1), "web:1", "")).await;
    plane.kubectl(&["-n", &pipeline.name, "scale", "deployment", "web", "--replicas=5"]);
    let drifted = |compared: &Compared| matches!(compared, Compared::Drifted(Drift::Taken(_)));
    let Compared::Drifted(drift) = pipeline.until_compared("Deployment", "web", drifted).await else { unreachable!() };
    assert_eq!(drift.to_string(), ".spec.replicas was taken by `kubectl (scale)`");
    let plan = planned(&pipeline, &deployment(Some(1), "web:1", "")).await;
    assert_eq!(takes(&plan), [(".spec.replicas", "kubectl (scale)", Whose::Drift)]);
    pipeline.apply(pipeline.begin(plan)).await.expect("applied");
    assert_eq!(get(plane, &pipeline, ".spec.replicas"), "1");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_ignored_manager_takes_is_left_to_it() {
    let (plane, pipeline) = pipeline("row-ignored-manager").await;
    *pipeline.rules.lock().unwrap() = ignoring(&["operator"], &[]);
    applied(&pipeline, &deployment(Some(1), "web:1", "a: ours")).await;
    patch(plane, &pipeline, "operator", r#"{"metadata":{"annotations":{"a":"theirs"}}}"#, &[]);
    pipeline.until_compared("Deployment", "web", |compared| *compared == Compared::Yielded).await;
    applied(&pipeline, &deployment(Some(1), "web:2", "a: ours")).await;
    assert_eq!(get(plane, &pipeline, ".metadata.annotations.a"), "theirs");
    // A manager that nobody named is drift all the same.
    patch(plane, &pipeline, "another", r#"{"spec":{"paused":false}}"#, &[]);
    pipeline.until_compared("Deployment", "web", |compared| matches!(compared, Compared::Drifted(_))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_predecessor_applied_is_taken_over_whole_so_that_a_field_given_up_is_really_gone() {
    for (name, manager, by_apply) in [
        ("kubectl-csa", "kubectl-client-side-apply", false),
        ("kubectl-edit", "kubectl-edit", false),
        ("argocd", "argocd-controller", true),
        ("flux", "kustomize-controller", true),
        ("helm", "helm", false),
    ] {
        let (plane, pipeline) = pipeline(&format!("row-adopts-{name}")).await;
        let theirs = deployment(Some(1), "web:0", "a: one, b: two");
        let field_manager = format!("--field-manager={manager}");
        let mut arguments = vec!["-n", pipeline.name.as_str(), "apply", "-f", "-", field_manager.as_str()];
        if by_apply {
            arguments.push("--server-side");
        }
        plane.kubectl_with(&arguments, &theirs).unwrap();
        let plan = planned(&pipeline, &deployment(Some(1), "web:1", "a: one")).await;
        assert_eq!(plan.changes()[0].action, Action::Adopt, "{manager}");
        let image = ".spec.template.spec.containers[name=\"web\"].image";
        assert_eq!(takes(&plan), [(image, manager, Whose::Adopted)], "{manager}");
        pipeline.apply(pipeline.begin(plan)).await.expect("applied");
        let left = owned_by(plane, &pipeline, manager);
        assert!(shared(plane, &pipeline, manager).is_empty(), "{manager} shares nothing with us: {left}");
        assert_eq!(left["f:metadata"]["f:annotations"]["f:b"], serde_json::json!({}), "what only they own stays theirs: {left}");
        applied(&pipeline, &deployment(Some(1), "web:1", "")).await;
        assert_eq!(get(plane, &pipeline, ".metadata.annotations.a"), "", "{manager}");
        assert_eq!(get(plane, &pipeline, ".metadata.annotations.b"), "two", "{manager}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_is_named_for_is_adopted_and_wiped_ownership_is_put_right() {
    let (plane, pipeline) = pipeline("row-nobody").await;
    plane.kubectl_with(&["-n", &pipeline.name, "create", "-f", "-"], &deployment(Some(1), "web:0", "a: one")).unwrap();
    let wipe = || patch(plane, &pipeline, "wiper", r#"{"metadata":{"managedFields":[{}]}}"#, &[]);
    wipe();
    let plan = planned(&pipeline, &deployment(Some(1), "web:1", "a: one")).await;
    assert_eq!(takes(&plan), [(".spec.template.spec.containers[name=\"web\"].image", "before-first-apply", Whose::Adopted)]);
    pipeline.apply(pipeline.begin(plan)).await.expect("applied");
    assert!(shared(plane, &pipeline, "before-first-apply").is_empty());
    // Wiped once more: nothing has other values, so it is no theft, and one write makes it ours again.
    wipe();
    pipeline.until_compared("Deployment", "web", |compared| *compared == Compared::Drifted(Drift::Unowned)).await;
    let plan = planned(&pipeline, &deployment(Some(1), "web:1", "a: one")).await;
    assert_eq!((takes(&plan), plan.changes().len()), (Vec::new(), 1));
    pipeline.apply(pipeline.begin(plan)).await.expect("applied");
    applied(&pipeline, &deployment(Some(1), "web:1", "")).await;
    assert_eq!(get(plane, &pipeline, ".metadata.annotations.a"), "", "ours alone, so it is gone when we give it up");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_autoscaler_owned_before_us_is_left_to_it() {
    let (plane, pipeline) = pipeline("row-autoscaler-first").await;
    plane.kubectl_with(&["-n", &pipeline.name, "create", "-f", "-"], &deployment(None, "web:1", "")).unwrap();
    scale(plane, &pipeline, "kube-controller-manager", 7);
    applied(&pipeline, &deployment(Some(1), "web:1", "")).await;
    assert_eq!(get(plane, &pipeline, ".spec.replicas"), "7");
    assert!(owned_by(plane, &pipeline, "tk8s-agent")["f:spec"].get("f:replicas").is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_somebody_else_owns_is_reported_taken_or_left_as_the_object_says() {
    let (plane, pipeline) = pipeline("row-contested").await;
    applied(&pipeline, &deployment(None, "web:1", "")).await;
    patch(plane, &pipeline, "somebody", r#"{"spec":{"replicas":4}}"#, &[]);
    let reported = planned(&pipeline, &deployment(Some(2), "web:1", "")).await;
    let messages: Vec<_> = reported.conflicts().iter().map(|conflict| conflict.message.as_str()).collect();
    assert_eq!(messages, [".spec.replicas is owned by `somebody`"]);
    applied(&pipeline, &deployment(Some(2), "web:2", "tk8s.io/conflicts: 'yield'")).await;
    assert_eq!(get(plane, &pipeline, ".spec.replicas"), "4", "left");
    let plan = planned(&pipeline, &deployment(Some(2), "web:2", "tk8s.io/conflicts: force")).await;
    assert_eq!(takes(&plan), [(".spec.replicas", "somebody", Whose::Contested)]);
    pipeline.apply(pipeline.begin(plan)).await.expect("applied");
    assert_eq!(get(plane, &pipeline, ".spec.replicas"), "2", "taken");
    // The component's own word counts where the object says nothing.
    patch(plane, &pipeline, "somebody", r#"{"spec":{"minReadySeconds":4}}"#, &[]);
    *pipeline.rules.lock().unwrap() = FieldRules { conflicts: Conflicts::Yield, ..FieldRules::default() };
    let more = deployment(Some(2), "web:2", "").replace("paused: true", "paused: true, minReadySeconds: 9");
    applied(&pipeline, &more).await;
    assert_eq!(get(plane, &pipeline, ".spec.minReadySeconds"), "4");
}

#[tokio::test(flavor = "multi_thread")]
async fn updates_of_too_many_managers_are_nobodys_that_one_can_trust() {
    let (plane, pipeline) = pipeline("row-ancient").await;
    plane.kubectl_with(&["-n", &pipeline.name, "create", "-f", "-"], &deployment(Some(1), "web:1", "")).unwrap();
    for number in 0..12 {
        let annotations = format!(r#"{{"metadata":{{"annotations":{{"n{number}":"theirs"}}}}}}"#);
        patch(plane, &pipeline, &format!("manager-{number}"), &annotations, &[]);
    }
    assert_ne!(owned_by(plane, &pipeline, "ancient-changes"), Value::Null);
    let plan = planned(&pipeline, &deployment(Some(1), "web:1", "n1: ours")).await;
    assert_eq!(plan.conflicts()[0].message, ".metadata.annotations.n1 is owned by `ancient-changes`");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_field_that_is_to_be_ignored_stays_as_it_is_while_nobody_else_owns_it() {
    let (plane, pipeline) = pipeline("row-ignored-field").await;
    applied(&pipeline, &deployment(Some(10), "web:1", "")).await;
    *pipeline.rules.lock().unwrap() = ignoring(&[], &["/spec/replicas"]);
    applied(&pipeline, &deployment(Some(1), "web:2", "")).await;
    assert_eq!(get(plane, &pipeline, ".spec.replicas"), "10");
    patch(plane, &pipeline, "somebody", r#"{"spec":{"replicas":4}}"#, &[]);
    pipeline.until_compared("Deployment", "web", |compared| *compared == Compared::Yielded).await;
    applied(&pipeline, &deployment(Some(1), "web:3", "")).await;
    assert_eq!(get(plane, &pipeline, ".spec.replicas"), "4");
    assert!(owned_by(plane, &pipeline, "tk8s-agent")["f:spec"].get("f:replicas").is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_field_taken_between_plan_and_apply_is_not_taken_back_without_a_plan() {
    let (plane, pipeline) = pipeline("row-between").await;
    applied(&pipeline, &deployment(Some(1), "web:1", "")).await;
    let ready = pipeline.ready(&deployment(Some(1), "web:2", "")).await;
    patch(plane, &pipeline, "somebody", r#"{"spec":{"replicas":4}}"#, &[]);
    let failed = pipeline.apply(ready).await.expect_err("it was not planned");
    assert_eq!(failed.error.reason(), "Overtaken", "{}", failed.error);
    assert_eq!(get(plane, &pipeline, ".spec.replicas"), "4");
    // What is planned to be taken is taken from exactly this version of the object.
    let ready = pipeline.ready(&deployment(Some(1), "web:2", "")).await;
    patch(plane, &pipeline, "somebody", r#"{"metadata":{"annotations":{"b":"new"}}}"#, &[]);
    let failed = pipeline.apply(ready).await.expect_err("it changed");
    assert_eq!(failed.error.reason(), "Overtaken", "{}", failed.error);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_container_that_somebody_adds_is_told_as_grave_and_is_not_drift() {
    let (plane, pipeline) = pipeline("row-foreign").await;
    applied(&pipeline, &deployment(Some(1), "web:1", "")).await;
    let spy = r#"{"spec":{"template":{"spec":{"containers":[{"name":"spy","image":"spy:1"}]}}}}"#;
    let arguments =
        ["-n", &pipeline.name, "patch", "deployment", "web", "--type=strategic", "--field-manager=injector", "-p", spy];
    plane.kubectl(&arguments);
    let key = pipeline.plan(pipeline.turns(&deployment(Some(1), "web:1", "")).remove(0)).await.objects().next().cloned().unwrap();
    let told = async {
        loop {
            if let tk8s_diff::live::Seen::Present(seen) = pipeline.live.seen(&key)
                && !seen.foreign.is_empty()
            {
                return seen.foreign.clone();
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    let told = tokio::time::timeout(std::time::Duration::from_secs(30), told).await.expect("the watch tells");
    assert!(told[0].grave && told[0].manager == "injector", "{told:?}");
    assert_eq!(told[0].field, ".spec.template.spec.containers[name=\"spy\"]");
    pipeline.until_compared("Deployment", "web", |compared| *compared == Compared::AsLeft).await;
}

/// A policy of the cluster that changes Deployments of one namespace on their way, and the Deployment as it comes out.
fn mutate(plane: &ControlPlane, pipeline: &Pipeline, expression: &str, probe: &str, expected: &str) {
    let name = &pipeline.name;
    plane.apply(&format!(
        r#"
apiVersion: admissionregistration.k8s.io/v1
kind: MutatingAdmissionPolicy
metadata: {{name: {name}}}
spec:
  failurePolicy: Fail
  reinvocationPolicy: Never
  matchConstraints:
    namespaceSelector: {{matchLabels: {{kubernetes.io/metadata.name: {name}}}}}
    resourceRules: [{{apiGroups: [apps], apiVersions: [v1], operations: [CREATE, UPDATE], resources: [deployments]}}]
  mutations:
    - patchType: JSONPatch
      jsonPatch:
        expression: '{expression}'
---
apiVersion: admissionregistration.k8s.io/v1
kind: MutatingAdmissionPolicyBinding
metadata: {{name: {name}}}
spec: {{policyName: {name}}}
"#
    ));
    let arguments = ["-n", name, "create", "deployment", "probe", "--image=x:1", "--dry-run=server", "-o"];
    plane.until(expected, &[arguments.as_slice(), &[&format!("jsonpath={{{probe}}}")]].concat());
}

/// Ten rounds in which nothing in Git changes: what is planned in each, with the watches having told what there is to tell.
async fn ten_rounds(pipeline: &Pipeline, yaml: &str) -> usize {
    let mut changes = 0;
    for _ in 0..10 {
        pipeline.until_compared("Deployment", "web", |compared| *compared == Compared::AsLeft).await;
        changes += planned(pipeline, yaml).await.changes().len();
    }
    changes
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_that_injects_a_sidecar_is_not_fought() {
    let (plane, pipeline) = pipeline("mutate-inject").await;
    let inject = r#"has(object.spec.template.spec.containers) && object.spec.template.spec.containers.exists(c, c.name == "spy") ? [] : [JSONPatch{op: "add", path: "/spec/template/spec/containers/-", value: Object.spec.template.spec.containers{name: "spy", image: "spy:1"}}]"#;
    mutate(plane, &pipeline, inject, ".spec.template.spec.containers[1].name", "spy");
    let yaml = deployment(Some(1), "web:1", "");
    applied(&pipeline, &yaml).await;
    assert_eq!(get(plane, &pipeline, ".spec.template.spec.containers[*].name"), "web spy");
    assert_eq!(ten_rounds(&pipeline, &yaml).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_that_overwrites_a_field_of_ours_is_told_and_not_fought() {
    let (plane, pipeline) = pipeline("mutate-overwrite").await;
    let overwrite = r#"[JSONPatch{op: "replace", path: "/spec/replicas", value: 3}]"#;
    mutate(plane, &pipeline, overwrite, ".spec.replicas", "3");
    let yaml = deployment(Some(1), "web:1", "");
    let applied = pipeline.apply(pipeline.begin(planned(&pipeline, &yaml).await)).await.expect("applied");
    assert_eq!(applied.answers()[0].altered, [".spec.replicas"]);
    assert_eq!(ten_rounds(&pipeline, &yaml).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_that_stamps_each_write_costs_one_write_for_each_of_somebody_elses() {
    let (plane, pipeline) = pipeline("mutate-stamp").await;
    // The field is ours, and has another value after each write of anybody.
    let stamp = r#"[JSONPatch{op: "add", path: "/spec/minReadySeconds", value: int(has(object.metadata.generation) ? object.metadata.generation : 0) + 1}]"#;
    mutate(plane, &pipeline, stamp, ".spec.minReadySeconds", "1");
    let yaml = deployment(Some(1), "web:1", "").replace("paused: true", "paused: true, minReadySeconds: 9");
    applied(&pipeline, &yaml).await;
    assert_eq!(ten_rounds(&pipeline, &yaml).await, 0);
    patch(plane, &pipeline, "somebody", r#"{"spec":{"progressDeadlineSeconds":99}}"#, &[]);
    let changed = |compared: &Compared| matches!(compared, Compared::Drifted(_));
    pipeline.until_compared("Deployment", "web", changed).await;
    applied(&pipeline, &yaml).await;
    assert_eq!(ten_rounds(&pipeline, &yaml).await, 0);
}
