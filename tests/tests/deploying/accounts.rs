//! As whom a plan is carried out, as the API server's audit log has it.

use std::time::Duration;

use serde_json::Value;
use tk8s_core::ServiceAccount;
use tk8s_diff::Hooks;
use tk8s_history::Desired;
use tk8s_tests::cluster::ControlPlane;
use tk8s_tests::pipeline::Pipeline;

use super::{map, names, pipeline};

/// An instance whose namespace has an account that may do what is needed.
async fn with_account(name: &str) -> (&'static ControlPlane, Pipeline, ServiceAccount) {
    let (plane, pipeline) = pipeline(name).await;
    plane.kubectl(&["-n", name, "create", "serviceaccount", "deployer"]);
    let bound = format!("--serviceaccount={name}:deployer");
    plane.kubectl(&["-n", name, "create", "role", "deployer", "--verb=get,create,patch,delete", "--resource=configmaps"]);
    plane.kubectl(&["-n", name, "create", "rolebinding", "deployer", "--role=deployer", &bound]);
    // The API server learns of rights a moment later.
    let account = format!("--as=system:serviceaccount:{name}:deployer");
    plane.until("yes\n", &["auth", "can-i", "patch", "configmaps", "-n", name, &account]);
    (plane, pipeline, ServiceAccount::new(name, "deployer").expect("a valid name"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_is_carried_out_as_whom_it_was_made_for_whoever_carries_it_out() {
    let (plane, mut pipeline, account) = with_account("as-whom").await;
    let itself = pipeline.cluster.clone();
    pipeline.cluster = itself.acting_as(Some(&account));
    let settled = pipeline.settle(&[map("a", "1"), map("b", "1")].concat()).await;
    pipeline.prune(settled).await;
    let ready = pipeline.ready(&map("a", "2")).await;
    assert_eq!(ready.1.intent().account.as_ref(), Some(&account), "the ledger says it before the first write");
    // Handed to somebody who asks as the agent itself.
    pipeline.cluster = itself;
    let applied = pipeline.apply(ready).await.unwrap();
    let long = Duration::from_secs(30);
    let settled = tk8s_deploy::settle(&pipeline.live, applied, long, std::future::pending()).await;
    assert_eq!(names(pipeline.prune(settled).await.gone()), ["b"]);

    let log = std::fs::read_to_string(plane.audit_log()).unwrap();
    let events = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let about = |event: &Value| {
        let (verb, name) = (event["verb"].as_str().unwrap_or_default(), event["objectRef"]["name"].as_str().unwrap_or_default());
        let ours = event["objectRef"]["namespace"] == pipeline.name.as_str() && ["a", "b"].contains(&name);
        (ours && ["patch", "delete"].contains(&verb)).then(|| format!("{verb} {name}"))
    };
    let done: Vec<_> = events.filter_map(|event| Some((about(&event)?, event["impersonatedUser"]["username"].clone()))).collect();
    assert!(done.iter().all(|(_, user)| *user == account.user()), "{done:?}");
    assert!(["patch a", "patch b", "delete b"].iter().all(|what| done.iter().any(|(done, _)| done == what)), "{done:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_digest_of_a_plan_says_as_whom_it_is_carried_out() {
    let (_, mut pipeline, account) = with_account("digest-of-whom").await;
    let release = Desired::from(pipeline.stage(&map("a", "1"))).release().id.clone();
    let instance = pipeline.name.parse().unwrap();
    let mut digests = Vec::new();
    for account in [None, None, Some(&account)] {
        pipeline.cluster = pipeline.cluster.acting_as(account);
        let recalled = pipeline.history.recall(&release).unwrap();
        let mut turns = tk8s_diff::turns(recalled.into(), &instance, &Hooks::Skipped).unwrap();
        let plan = pipeline.plan(turns.remove(0)).await;
        assert_eq!(plan.account(), account);
        digests.push(plan.digest());
    }
    assert_eq!(digests[0], digests[1]);
    assert_ne!(digests[1], digests[2]);
}
