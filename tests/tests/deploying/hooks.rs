//! The turns of hooks, and what the API server says to them.

use tk8s_core::{Classified as _, Moment};
use tk8s_diff::{Action, Hooks, Turn};
use tk8s_history::Desired;

use super::{map, names, pipeline};

fn job(name: &str, annotations: &str, image: &str) -> String {
    format!(
        "apiVersion: batch/v1\nkind: Job\nmetadata: {{name: {name}, annotations: {{{annotations}}}}}\nspec:\n  ttlSecondsAfterFinished: 1\n  template:\n    spec: {{restartPolicy: Never, nodeSelector: {{never: here}}, containers: [{{name: run, image: '{image}'}}]}}\n---\n"
    )
}

const BEFORE: &str = "tk8s.io/hook: before-apply";

fn told(turns: &[Turn]) -> Vec<(Option<Moment>, Vec<&str>)> {
    let objects = |turn: &Turn| turn.objects().iter().map(|object| object.key().name.clone()).collect::<Vec<_>>();
    let of = |turn: &Turn| (turn.hooks().map(|(moment, _)| moment), objects(turn));
    turns.iter().map(of).map(|(moment, names)| (moment, names.into_iter().map(|name| &*name.leak()).collect())).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn hooks_come_before_and_after_everything_else_wave_by_wave() {
    let (_, pipeline) = pipeline("hook-turns").await;
    let namespace = "apiVersion: v1\nkind: Namespace\nmetadata: {name: hook-turns}\n---\n";
    let all = [
        map("a", "1"),
        job("second", &format!("{BEFORE}, tk8s.io/wave: '2'"), "run:1"),
        job("first", BEFORE, "run:1"),
        job("last", "tk8s.io/hook: after-apply", "run:1"),
        job("sorry", "tk8s.io/hook: on-failure", "run:1"),
        namespace.to_owned(),
    ]
    .concat();
    let (before, after) = (Some(Moment::BeforeApply), Some(Moment::AfterApply));
    assert_eq!(
        told(&pipeline.turns(&all)),
        [(None, vec!["hook-turns"]), (before, vec!["first"]), (before, vec!["second"]), (None, vec!["a"]), (after, vec!["last"])]
    );
    let desired = || Desired::from(pipeline.stage(&all));
    let instance = "hook-turns".parse().unwrap();
    let none = tk8s_diff::turns(desired(), &instance, &Hooks::Skipped).unwrap();
    assert_eq!(told(&none), [(None, vec!["hook-turns"]), (None, vec!["a"])]);
    let failed = tk8s_diff::on_failure(desired(), &instance, &Hooks::all(std::time::Duration::from_secs(1))).unwrap();
    assert_eq!(told(&failed), [(Some(Moment::OnFailure), vec!["sorry"])]);
    // Of hooks alone, of which none runs, one turn is left that says so.
    let only = tk8s_diff::turns(pipeline.stage(&job("first", BEFORE, "run:1")).into(), &instance, &Hooks::Skipped).unwrap();
    assert_eq!(told(&only), [(None, vec![])]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_job_of_a_release_is_found_and_that_of_another_one_is_made_anew() {
    let (plane, pipeline) = pipeline("hook-jobs").await;
    let namespace = pipeline.name.clone();
    let get = |path: &str| plane.kubectl(&["-n", &namespace, "get", "job", "hook", "-o", &format!("jsonpath={path}")]);
    let all = |at: &str| [map("a", at), job("hook", BEFORE, "run:1")].concat();
    let mut turns = pipeline.turns(&all("1"));
    let applied = pipeline.apply(pipeline.begin(pipeline.plan(turns.remove(0)).await)).await.expect("applied");
    assert!(applied.answers()[0].created);
    assert_eq!((get("{.spec.ttlSecondsAfterFinished}"), get("{.spec.activeDeadlineSeconds}")), (String::new(), "30".into()));
    let uid = get("{.metadata.uid}");
    // The same content, planned by whoever comes: it is there already.
    let plan = pipeline.plan(pipeline.turns(&all("1")).remove(0)).await;
    assert_eq!((plan.changes().len(), names(plan.unchanged())), (0, vec!["hook"]));
    // Other content, though the Job itself has not changed: it runs again, and the one that was planned is gone before.
    let plan = pipeline.plan(pipeline.turns(&all("2")).remove(0)).await;
    assert_eq!((plan.changes()[0].action, plan.changes()[0].uid.as_deref()), (Action::Recreate, Some(uid.as_str())));
    pipeline.apply(pipeline.begin(plan)).await.expect("applied");
    assert_ne!(get("{.metadata.uid}"), uid);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_was_not_made_from_the_repository_is_never_taken_over() {
    let (plane, pipeline) = pipeline("hook-theirs").await;
    plane.kubectl(&["-n", &pipeline.name, "create", "job", "hook", "--image=theirs:1"]);
    let plan = pipeline.plan(pipeline.turns(&job("hook", BEFORE, "run:1")).remove(0)).await;
    let [conflict] = plan.conflicts() else { panic!("{:?}", plan.conflicts()) };
    assert!(conflict.message.contains("was not made from this repository"), "{}", conflict.message);
    assert!(plan.changes().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hook_that_the_api_server_would_not_take_is_refused_before_anything_is_written() {
    let (plane, pipeline) = pipeline("hook-refused").await;
    let bad = job("last", "tk8s.io/hook: after-apply", "run:1").replace("restartPolicy: Never", "restartPolicy: Always");
    let turns = pipeline.turns(&[map("a", "1"), bad].concat());
    let deadline = tokio::time::Instant::now() + std::time::Duration::from_secs(30);
    let rules = tk8s_diff::Rules::default();
    let refused = tk8s_diff::rehearse(&pipeline.cluster, &pipeline.live, &turns[1..], &pipeline, &rules, 4, deadline).await;
    let refused = refused.unwrap_err();
    assert_eq!(refused.reason(), "Invalid", "{refused}");
    assert_eq!(plane.kubectl(&["-n", &pipeline.name, "get", "configmap", "a", "--ignore-not-found"]), "");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_release_that_a_rule_would_refuse_later_runs_no_hook() {
    let (plane, pipeline) = pipeline("hook-foreseen").await;
    plane.kubectl(&["-n", &pipeline.name, "create", "configmap", "a", "--from-literal=at=theirs", "--field-manager=somebody"]);
    let turns = pipeline.turns(&[map("a", "ours"), job("hook", BEFORE, "run:1")].concat());
    let deadline = tokio::time::Instant::now() + std::time::Duration::from_secs(30);
    let rules = tk8s_diff::Rules::default();
    let rehearsed = tk8s_diff::rehearse(&pipeline.cluster, &pipeline.live, &turns[1..], &pipeline, &rules, 4, deadline).await;
    let gate = tk8s_deploy::GateRules::of(tk8s_core::Environment::Dev);
    let denied = tk8s_deploy::foresee(&rehearsed.unwrap().unwrap(), &tk8s_deploy::Trigger::Sync, &gate).unwrap_err();
    assert_eq!(denied.reason(), "Conflict", "{denied}");
    assert!(denied.to_string().contains("data.at is owned by `somebody`"), "{denied}");
}
