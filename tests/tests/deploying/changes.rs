//! What can't be changed, what is made anew, and in which order, against a real API server.

use tk8s_core::Classified as _;
use tk8s_diff::Action;

use super::{failed, map, pipeline};

fn deployment(app: &str, annotations: &str) -> String {
    format!(
        "apiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: web, annotations: {{{annotations}}}}}\nspec: {{replicas: 0, selector: {{matchLabels: {{app: {app}}}}}, template: {{metadata: {{labels: {{app: {app}}}}}, spec: {{containers: [{{name: web, image: 'web:1'}}]}}}}}}\n---\n"
    )
}

const RECREATE: &str = "tk8s.io/recreate: 'true'";

#[tokio::test(flavor = "multi_thread")]
async fn a_field_that_can_not_be_changed_is_named_before_the_first_write() {
    let (plane, pipeline) = pipeline("immutable").await;
    let settled = pipeline.settle(&[map("a", "1"), deployment("one", "")].concat()).await;
    pipeline.prune(settled).await;
    let refused =
        pipeline.try_plan(pipeline.turns(&[map("a", "2"), deployment("two", "")].concat()).remove(0)).await.unwrap_err();
    assert_eq!(refused.reason(), "Immutable", "{refused}");
    assert!(refused.to_string().starts_with("Deployment.apps immutable/web: spec.selector can't be changed"), "{refused}");
    assert!(refused.to_string().contains("tk8s.io/recreate"), "{refused}");
    assert_eq!(plane.kubectl(&["-n", &pipeline.name, "get", "configmap", "a", "-o", "jsonpath={.data.at}"]), "1");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_says_so_is_made_anew_exactly_as_it_was_planned() {
    let (plane, pipeline) = pipeline("anew").await;
    let uid = || plane.kubectl(&["-n", &pipeline.name, "get", "deployment", "web", "-o", "jsonpath={.metadata.uid}"]);
    let settled = pipeline.settle(&deployment("one", RECREATE)).await;
    pipeline.prune(settled).await;
    let first = uid();
    let plan = pipeline.plan(pipeline.turns(&deployment("two", RECREATE)).remove(0)).await;
    assert_eq!(plan.changes()[0].action, Action::Recreate);
    assert!(plan.changes()[0].diff.contains("-      app: one\n+      app: two\n"), "{}", plan.changes()[0].diff);
    let applied = pipeline.apply(pipeline.begin(plan)).await.expect("applied");
    assert!(applied.answers()[0].created);
    let second = uid();
    assert_ne!(first, second);
    assert_eq!(pipeline.plan(pipeline.turns(&deployment("two", RECREATE)).remove(0)).await.changes().len(), 0);
    // Somebody makes another one between plan and apply: that one is not deleted.
    let ready = pipeline.ready(&deployment("three", RECREATE)).await;
    plane.kubectl(&["-n", &pipeline.name, "delete", "deployment", "web"]);
    plane.kubectl(&["-n", &pipeline.name, "create", "deployment", "web", "--image=theirs:1", "--replicas=0"]);
    let theirs = uid();
    assert_eq!(failed(pipeline.apply(ready).await).error.reason(), "Vanished");
    assert_eq!(uid(), theirs);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_holds_data_or_was_made_by_others_is_never_made_anew() {
    let (plane, pipeline) = pipeline("never-anew").await;
    let claim = |class: &str| {
        format!(
            "apiVersion: v1\nkind: PersistentVolumeClaim\nmetadata: {{name: data, annotations: {{{RECREATE}}}}}\nspec: {{storageClassName: {class}, accessModes: [ReadWriteOnce], resources: {{requests: {{storage: 1Gi}}}}}}\n---\n"
        )
    };
    let plan = pipeline.plan(pipeline.turns(&claim("one")).remove(0)).await;
    pipeline.apply(pipeline.begin(plan)).await.expect("applied");
    let refused = pipeline.try_plan(pipeline.turns(&claim("two")).remove(0)).await.unwrap_err();
    assert!(refused.reason() == "Immutable" && refused.to_string().contains("never made anew"), "{refused}");
    plane.kubectl(&["-n", &pipeline.name, "create", "deployment", "web", "--image=theirs:1", "--replicas=0"]);
    let refused = pipeline.try_plan(pipeline.turns(&deployment("one", RECREATE)).remove(0)).await.unwrap_err();
    assert!(refused.reason() == "Immutable" && refused.to_string().contains("not made from this repository"), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_that_has_ended_runs_again_when_it_changes_and_only_then() {
    let (plane, pipeline) = pipeline("ended").await;
    let namespace = pipeline.name.as_str();
    plane.until("default", &["-n", namespace, "get", "serviceaccount", "default", "-o", "jsonpath={.metadata.name}"]);
    let pod = |value: &str| {
        format!(
            "apiVersion: v1\nkind: Pod\nmetadata: {{name: once}}\nspec: {{nodeName: nowhere, restartPolicy: Never, containers: [{{name: once, image: 'once:1', env: [{{name: A, value: '{value}'}}]}}]}}\n"
        )
    };
    let plan = pipeline.plan(pipeline.turns(&pod("1")).remove(0)).await;
    pipeline.apply(pipeline.begin(plan)).await.expect("applied");
    let refused = pipeline.try_plan(pipeline.turns(&pod("2")).remove(0)).await.unwrap_err();
    assert_eq!(refused.reason(), "Immutable", "it still runs: {refused}");
    plane.kubectl(&[
        "-n",
        namespace,
        "patch",
        "pod",
        "once",
        "--subresource=status",
        "--type=merge",
        "-p",
        r#"{"status":{"phase":"Succeeded"}}"#,
    ]);
    assert_eq!(pipeline.plan(pipeline.turns(&pod("1")).remove(0)).await.changes().len(), 0);
    let plan = pipeline.plan(pipeline.turns(&pod("2")).remove(0)).await;
    assert_eq!(plan.changes()[0].action, Action::Recreate);
}

#[tokio::test(flavor = "multi_thread")]
async fn waves_come_one_after_the_other_and_a_bad_one_is_named() {
    let (_, pipeline) = pipeline("waves").await;
    let in_wave = |name: &str, wave: &str| {
        map(name, "1").replace("metadata: {", &format!("metadata: {{annotations: {{tk8s.io/wave: '{wave}'}}, "))
    };
    let turns = pipeline.turns(&[in_wave("late", "2"), map("middle", "1"), in_wave("early", "-1")].concat());
    let names: Vec<Vec<_>> =
        turns.iter().map(|turn| turn.objects().iter().map(|object| object.key().name.clone()).collect()).collect();
    assert_eq!(names, [["early"], ["middle"], ["late"]]);
    let bad =
        tk8s_diff::turns(pipeline.stage(&in_wave("a", "soon")).into(), &"waves".parse().unwrap(), &tk8s_diff::Hooks::Skipped)
            .unwrap_err();
    assert!(bad.reason() == "BadWave" && bad.to_string().contains("`soon` is no wave"), "{bad}");
}
