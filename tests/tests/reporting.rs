//! What the agent tells the cluster about itself, on a real API server: `Component` resources and Events.
//!
//! The definition of the resource belongs to the whole cluster: whoever takes it away has the cluster alone.

#![allow(missing_docs, clippy::unwrap_used)]

use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;
use tk8s_tests::program;
use tk8s_tests::proxy::{Fault, Seen, is_report};
use tk8s_tests::system::System;
use tokio::sync::RwLock;

/// Held by whoever needs the definition; written by whoever takes it away.
static DEFINITION: RwLock<()> = RwLock::const_new(());

/// The resource of a component; null if it is not there.
fn resource(system: &System, component: &str) -> Value {
    let found = system.plane.kubectl_with(&["-n", &system.name, "get", "components", component, "-o", "json"], "");
    found.ok().and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default()
}

/// A condition of a component: its status, its reason, and since when.
fn condition(resource: &Value, name: &str) -> (String, String, String) {
    let conditions = resource["status"]["conditions"].as_array().cloned().unwrap_or_default();
    let found = conditions.into_iter().find(|condition| condition["type"] == name).unwrap_or_default();
    let text = |field: &str| found[field].as_str().unwrap_or_default().to_owned();
    (text("status"), text("reason"), text("lastTransitionTime"))
}

/// What kubectl lists of a kind.
fn listed(system: &System, kind: &str) -> Vec<Value> {
    let list: Value = serde_json::from_str(&system.kubectl(&["get", kind, "-o", "json"])).unwrap();
    list["items"].as_array().cloned().unwrap_or_default()
}

/// What was told about a component, or the instance: the Events.
fn events(system: &System, about: &str) -> Vec<Value> {
    let all = listed(system, "events.v1.events.k8s.io");
    let ours = |event: &Value| event["regarding"]["name"] == about && event["reportingController"] == "tk8s-agent";
    all.into_iter().filter(ours).collect()
}

fn told(system: &System, about: &str, reason: &str) -> Option<Value> {
    events(system, about).into_iter().find(|event| event["reason"] == reason)
}

/// As a person would where the agent may not.
fn install_the_definition(system: &System) {
    let printed = Command::new(program("tk8s-agent")).arg("crds").output().unwrap();
    let text = String::from_utf8(printed.stdout).unwrap();
    system.plane.kubectl_with(&["apply", "--server-side", "-f", "-"], &text).unwrap();
    system.plane.kubectl(&["wait", "--for=condition=Established", "crd/components.agent.tk8s.io", "--timeout=20s"]);
}

/// What the agent wrote to tell of itself since it had asked so often.
fn written_since(system: &System, known: usize) -> Vec<(String, String)> {
    let audited = system.plane.audited(&system.name).split_off(known);
    audited.into_iter().filter(|(verb, uri)| is_report(uri) && !["list", "watch"].contains(&verb.as_str())).collect()
}

async fn until_looked(system: &System, times: u64) {
    let looks = async || system.counter("tk8s_fetches_total", "outcome=\"ok\"").await;
    let before = looks().await;
    while looks().await < before + times {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn kubectl_shows_how_each_component_is() {
    let _definition = DEFINITION.read().await;
    let system = System::two_components("shown", "").await;
    system.until_told();
    let text = system.kubectl(&["get", "components"]);
    let rows: Vec<Vec<&str>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(rows[0], ["NAME", "LAYER", "REVISION", "RELEASE", "HEALTH", "SYNC", "HELD", "AGE", "MESSAGE"], "{text}");
    let revision = system.component("one")["revision"].as_str().unwrap().to_owned();
    assert_eq!(rows[1][..7], ["one", "0-l0", revision.as_str(), "1", "Healthy", "Synced", "False"], "{text}");
    assert_eq!((rows.len(), rows[2][0]), (3, "two"), "{text}");
    let wide = system.kubectl(&["get", "components", "-o", "wide"]);
    assert!(["STATE", "OBJECTS", "COMMIT", "BY"].iter().all(|column| wide.contains(column)), "{wide}");
    system.kubectl(&["wait", "--for=condition=Ready", "component/one", "--timeout=10s"]);
    let described = system.kubectl(&["describe", "component", "one"]);
    assert!(described.contains("Released") && described.contains("runs and is healthy"), "{described}");
    assert!(system.status()["reporting"].is_null());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_condition_moves_when_its_status_does() {
    let _definition = DEFINITION.read().await;
    let system = System::two_components("conditions", "").await;
    system.until_told();
    let before = resource(&system, "one");
    // The times are in whole seconds: what moves has to be seen to move.
    tokio::time::sleep(Duration::from_millis(1100)).await;
    assert!(system.tk8s(&["hold", "one", "--reason", "a freeze"]).status.success());
    system.until("it is held", || condition(&resource(&system, "one"), "Held").0 == "True");
    let held = resource(&system, "one");
    assert_eq!(condition(&held, "Held").1, "Held");
    assert!(condition(&held, "Held").2 > condition(&before, "Held").2);
    for unmoved in ["Ready", "Synced", "Healthy"] {
        assert_eq!(condition(&held, unmoved).2, condition(&before, unmoved).2, "{unmoved}");
        assert_eq!(condition(&held, unmoved).0, "True", "{unmoved}");
    }
    assert_eq!(held["status"]["message"], "held at release 1 by token: a freeze");
    assert_eq!(held["status"]["observedGeneration"], held["metadata"]["generation"]);
    assert!(system.tk8s(&["resume", "one"]).status.success());
    system.until("it is not", || condition(&resource(&system, "one"), "Held").0 == "False");
    system.until("it is told", || {
        ["Held", "Resumed"].iter().all(|reason| told(&system, "one", reason).is_some_and(|event| event["type"] == "Normal"))
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn who_suspended_a_component_is_shown_until_it_is_resumed() {
    let _definition = DEFINITION.read().await;
    let system = System::two_components("rests", "").await;
    system.until_told();
    assert!(system.tk8s(&["suspend", "one", "--reason", "a move"]).status.success());
    system.until("it is shown", || condition(&resource(&system, "one"), "Suspended").0 == "True");
    let rests = resource(&system, "one")["status"].clone();
    assert_eq!((&rests["suspension"]["reason"], &rests["state"]), (&"a move".into(), &"Suspended".into()));
    assert_eq!(condition(&resource(&system, "two"), "Suspended").0, "False");
    assert!(system.tk8s(&["resume", "one"]).status.success());
    system.until("it is over", || condition(&resource(&system, "one"), "Suspended").0 == "False");
    system.until("it is told", || ["Suspended", "Resumed"].iter().all(|reason| told(&system, "one", reason).is_some()));
}

#[tokio::test(flavor = "multi_thread")]
async fn with_nothing_changed_nothing_is_told() {
    let _definition = DEFINITION.read().await;
    let mut system = System::two_components("untold", "").await;
    system.until_told();
    let before = [resource(&system, "one"), resource(&system, "two")];
    let known = system.plane.audited(&system.name).len();
    until_looked(&system, 3).await;
    system.stop();
    system.start();
    system.until_all("Healthy");
    until_looked(&system, 3).await;
    assert_eq!(written_since(&system, known), []);
    assert_eq!([resource(&system, "one"), resource(&system, "two")], before);
    // And what changes is told of whom it concerns.
    system.write_map("one", "second");
    system.commit("second");
    system.until("it is told", || resource(&system, "one")["status"]["release"] == 2);
    assert_eq!(resource(&system, "two"), before[1]);
    let written = written_since(&system, known);
    assert!(written.len() < 6 && written.iter().all(|(_, uri)| !uri.contains("/two")), "{written:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_somebody_writes_there_changes_nothing_and_is_put_back() {
    let _definition = DEFINITION.read().await;
    let mut system = System::two_components("scribbled", "").await;
    system.until_told();
    let scribble = |system: &System| {
        system.kubectl(&[
            "patch",
            "component",
            "one",
            "--subresource=status",
            "--type=merge",
            "-p",
            r#"{"status": {"release": 99, "health": "Degraded", "message": "lies"}}"#,
        ])
    };
    scribble(&system);
    until_looked(&system, 2).await;
    assert_eq!((&system.component("one")["release"], &system.component("one")["state"]), (&1.into(), &"Healthy".into()));
    system.write_map("one", "second");
    system.commit("the next change puts it back");
    system.until("it is put back", || {
        let status = resource(&system, "one")["status"].clone();
        (status["release"] == 2) && (status["health"] == "Healthy") && (status["message"] == "") && (status["state"] == "Healthy")
    });
    system.stop();
    scribble(&system);
    system.kubectl(&["label", "component", "two", "agent.tk8s.io/instance-"]);
    system.start();
    system.until("so does a start", || resource(&system, "one")["status"]["release"] == 2);
    system.until("labels too", || resource(&system, "two")["metadata"]["labels"]["agent.tk8s.io/instance"] == *system.name);
    assert_eq!((system.map("one"), system.component("one")["release"].clone()), ("second".into(), 2.into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_resource_of_another_instance_is_left_alone() {
    let _definition = DEFINITION.read().await;
    let mut system = System::new("neighbours").await;
    install_the_definition(&system);
    let theirs = "apiVersion: agent.tk8s.io/v1alpha1\nkind: Component\nmetadata: {name: one, namespace: neighbours, labels: {agent.tk8s.io/instance: theirs}}\n";
    system.until("it is served", || system.plane.kubectl_with(&["apply", "-f", "-"], theirs).is_ok());
    system.deploy_two();
    system.until("the other one is told", || resource(&system, "two")["status"]["state"] == "Healthy");
    system.until("it is said", || system.status()["reporting"]["reason"] == "AnotherInstance");
    let found = resource(&system, "one");
    assert_eq!((&found["metadata"]["labels"]["agent.tk8s.io/instance"], &found["status"]), (&"theirs".into(), &Value::Null));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_component_that_leaves_takes_its_resource_along() {
    let _definition = DEFINITION.read().await;
    let system = System::two_components("leaves", "").await;
    system.until_told();
    system.write_platform(&[&["one"]]);
    system.commit("two leaves");
    system.until("its resource is gone", || resource(&system, "two").is_null());
    assert_eq!((system.map("two"), resource(&system, "one")["status"]["state"].clone()), ("first".into(), "Healthy".into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn drift_that_is_put_back_again_and_again_is_one_event_that_counts() {
    let _definition = DEFINITION.read().await;
    let system = System::two_components("counts", "").await;
    system.until_told();
    for round in 1..=3 {
        system.kubectl(&["patch", "configmap", "one", "--type=merge", "-p", r#"{"data": {"at": "theirs"}}"#]);
        system.until_map("one", "first");
        system.until("it is told", || {
            let times = |event: &Value| event["series"]["count"].as_i64().unwrap_or(1);
            told(&system, "one", "DriftRepaired").is_some_and(|event| times(&event) == round)
        });
    }
    let repaired: Vec<_> = events(&system, "one").into_iter().filter(|event| event["reason"] == "DriftRepaired").collect();
    assert_eq!(repaired.len(), 1, "{repaired:?}");
    let event = &repaired[0];
    assert_eq!((&event["related"]["kind"], &event["related"]["name"]), (&"ConfigMap".into(), &"one".into()));
    assert!(event["note"].as_str().unwrap().contains("was taken by `kubectl-patch`"), "{event}");
    assert_eq!(event["type"], "Normal");
}

/// Binds the rights to these resources of these groups to the user of an instance.
fn grant(system: &System, what: &str, groups: &str, resources: &str) {
    let name = &system.name;
    system.plane.apply(&format!(
        "apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRole\nmetadata: {{name: {name}-{what}}}\nrules: [{{apiGroups: [{groups}], resources: [{resources}], verbs: [\"*\"]}}]\n---\napiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRoleBinding\nmetadata: {{name: {name}-{what}}}\nroleRef: {{apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: {name}-{what}}}\nsubjects: [{{kind: User, name: {name}, apiGroup: rbac.authorization.k8s.io}}]\n"
    ));
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_right_to_tell_everything_else_goes_on_and_later_it_is_told() {
    let _definition = DEFINITION.write().await;
    let mut system = System::new("no-rights").await;
    system.give_up_rights().await;
    install_the_definition(&system);
    grant(&system, "objects", "\"\", coordination.k8s.io", "configmaps, leases");
    system.deploy_two();
    system.until("it is said", || system.status()["reporting"]["reason"] == "ComponentsForbidden");
    system.bring("one", &["second"]);
    assert!(resource(&system, "one").is_null());
    assert!(system.counter_of("tk8s_events_dropped_total").await > 0);
    let log = std::fs::read_to_string(system.log_file()).unwrap();
    assert_eq!(log.matches("the cluster is not told").count(), 1, "{log}");
    grant(&system, "telling", "agent.tk8s.io, events.k8s.io", "components, components/status, events");
    system.until("it is told", || resource(&system, "one")["status"]["release"] == 2);
    system.until("nothing is wrong any more", || system.status()["reporting"].is_null());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_definition_that_is_taken_away_is_back_with_the_next_change() {
    let _definition = DEFINITION.write().await;
    let system = System::two_components("taken-away", "").await;
    system.until_told();
    system.plane.kubectl(&["delete", "crd", "components.agent.tk8s.io", "--wait=true"]);
    until_looked(&system, 2).await;
    system.until_all("Healthy");
    system.write_map("one", "second");
    system.commit("second");
    system.until_map("one", "second");
    for (component, release) in [("one", 2), ("two", 1)] {
        system.until("it is told again", || resource(&system, component)["status"]["release"] == release);
    }
    system.until("nothing is wrong any more", || system.status()["reporting"].is_null());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_api_server_that_keeps_silent_about_it_holds_up_nothing_else() {
    let _definition = DEFINITION.read().await;
    let system = System::two_components("silent-about-it", "").await;
    system.until_told();
    system.proxy.disturb(10_000, Fault::Silence, Seen::is_report);
    system.bring("one", &["second", "third"]);
    assert_eq!(resource(&system, "one")["status"]["release"], 1);
    system.proxy.calm();
    system.until("it is told after all", || resource(&system, "one")["status"]["release"] == 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_becomes_of_its_requests_the_cluster_is_told_once_in_the_end() {
    let _definition = DEFINITION.read().await;
    let mut system = System::new("in-the-end").await;
    let status = |code, reason| Fault::Status { code, reason, retry_after: None };
    let writes = |seen: &Seen| seen.is_report() && seen.method != "GET";
    // Each of them once for a resource and once for what comes after it.
    for fault in [Fault::LostAnswer, status(429, "TooManyRequests"), status(503, "ServiceUnavailable"), Fault::LostQuestion] {
        system.proxy.disturb(2, fault, writes);
    }
    system.write_platform(&[&["one", "two"]]);
    system.write_map("one", "first");
    system.write_map("two", "first");
    system.commit("first");
    system.start();
    system.until_told();
    assert_eq!(system.proxy.left(), 0, "the faults have to have happened");
    for component in ["one", "two"] {
        let released = events(&system, component).into_iter().filter(|event| event["reason"] == "Released").count();
        assert_eq!(released, 1, "{component}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn while_many_roll_out_what_failed_is_told_at_once_and_the_rest_when_there_is_time() {
    let _definition = DEFINITION.read().await;
    let mut system = System::new("many-to-tell").await;
    // In the order in which kubectl lists them.
    let names: Vec<String> = (0..120).map(|number| format!("c{number:03}")).collect();
    let mut order: Vec<&str> = names.iter().map(String::as_str).collect();
    system.write_platform(&[&order]);
    names.iter().for_each(|name| system.write_map(name, "first"));
    system.commit("first");
    system.start();
    system.until_told();
    // It fails before any other begins, and is the last by name.
    order.push("wrong");
    system.write_platform(&[&order]);
    names.iter().for_each(|name| system.write_map(name, "second"));
    system.write("wrong/all.yaml", "kind: [");
    system.commit("second");
    system.proxy.take_seen();
    system.proxy.disturb(10_000, Fault::Slow(Duration::from_millis(600)), Seen::is_patch);
    system.until("it writes", || system.proxy.seen().iter().any(Seen::is_patch));
    let began = Instant::now();
    let told = |ready: &str, release: u64| -> Vec<String> {
        let says = |resource: &Value| condition(resource, "Ready").0 == ready && resource["status"]["release"] == release;
        let resources = listed(&system, "components.agent.tk8s.io").into_iter().filter(says);
        resources.map(|resource| resource["metadata"]["name"].as_str().unwrap().to_owned()).collect()
    };
    system.until("all is written", || {
        let components = system.status()["components"].as_array().cloned().unwrap_or_default();
        let is_there = |component: &&Value| component["state"] == "Healthy" && component["release"] == 2;
        components.iter().filter(is_there).count() == names.len()
    });
    let took = began.elapsed().as_secs();
    let seen = system.proxy.seen();
    let first = seen.iter().position(Seen::is_patch).unwrap();
    let last = seen.iter().rposition(Seen::is_patch).unwrap();
    let beside = seen[first..last].iter().filter(|seen| seen.is_report() && seen.method != "GET").count() as u64;
    // Ten at once and ten a second.
    assert!(beside <= 20 + 10 * took, "{beside} in {took} s");
    let says = |seen: &Seen, name: &str| seen.method == "PUT" && seen.uri.contains(&format!("/components/{name}"));
    let wrong = seen.iter().position(|seen| says(seen, "wrong/status")).unwrap();
    let before = seen[..wrong].iter().filter(|seen| says(seen, "c")).count();
    assert!(before < names.len() / 2, "{before} were told before");
    system.proxy.calm();
    system.until("all is told", || told("True", 2) == names);
    let released = || {
        let events = listed(&system, "events.v1.events.k8s.io").into_iter().filter(|event| event["reason"] == "Released");
        let mut about: Vec<_> = events.map(|event| event["regarding"]["name"].as_str().unwrap().to_owned()).collect();
        about.sort();
        about
    };
    let twice: Vec<String> = names.iter().flat_map(|name| [name.clone(), name.clone()]).collect();
    system.until("each release is told once", || released() == twice);
}

fn deployment(namespace: &str) -> String {
    format!(
        "apiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: web, namespace: {namespace}}}\nspec:\n  replicas: 1\n  selector: {{matchLabels: {{app: web}}}}\n  template:\n    metadata: {{labels: {{app: web}}}}\n    spec: {{containers: [{{name: main, image: \"registry.k8s.io/pause:3.9\"}}]}}\n"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn in_production_a_container_that_somebody_adds_alarms_until_it_is_gone_and_what_nobody_signed_is_told() {
    let _definition = DEFINITION.read().await;
    let mut system = System::new("in-production").await;
    system.sign_tags();
    system.write_platform(&[&["web"]]);
    system.write("web/all.yaml", &deployment(&system.name));
    system.commit("first");
    system.tag("v1.0.0");
    system.start();
    system.until_all("Healthy");
    assert_eq!(system.component("web")["revision"], "v1.0.0");
    let patch = r#"{"spec": {"template": {"spec": {"containers": [{"name": "spy", "image": "registry.k8s.io/pause:3.10"}]}}}}"#;
    system.kubectl(&["patch", "deployment", "web", "--type=strategic", "-p", patch]);
    let alarms = || system.status()["alarms"].as_array().cloned().unwrap_or_default();
    system.until("it alarms", || alarms().iter().any(|alarm| alarm["reason"] == "ForeignItem"));
    let alarm = alarms().remove(0);
    assert_eq!(alarm["component"], "web");
    assert!(alarm["message"].as_str().unwrap().contains("`kubectl-patch` put in"), "{alarm}");
    system.until("the cluster is told", || told(&system, "web", "ForeignItem").is_some());
    let event = told(&system, "web", "ForeignItem").unwrap();
    assert_eq!((&event["type"], &event["related"]["name"]), (&"Warning".into(), &"web".into()));
    assert_eq!(system.counter("tk8s_alarms", "reason=\"ForeignItem\"").await, 1);
    // Who put it there takes it out again.
    let patch = r#"{"spec": {"template": {"spec": {"containers": [{"name": "spy", "$patch": "delete"}]}}}}"#;
    system.kubectl(&["patch", "deployment", "web", "--type=strategic", "-p", patch]);
    system.until("it ends", || alarms().is_empty());
    system.until("that is told too", || told(&system, "web", "AlarmEnded").is_some_and(|event| event["type"] == "Normal"));
    // What nobody signed is refused, and told about the instance.
    system.write("web/all.yaml", &deployment(&system.name).replace("3.9", "666"));
    system.commit_unsigned("nobody signed this", "v1.1.0");
    system.until("it is told", || told(&system, "tk8s-agent-in-production", "Unsigned").is_some());
    let event = told(&system, "tk8s-agent-in-production", "Unsigned").unwrap();
    assert_eq!((&event["type"], &event["regarding"]["kind"]), (&"Warning".into(), &"Lease".into()));
    assert_eq!(system.component("web")["revision"], "v1.0.0");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_release_that_undoes_itself_is_told_as_failed_and_as_undone_once() {
    let _definition = DEFINITION.read().await;
    let mut system = System::new("told-undone").await;
    system.write_platform(&[&["web"]]);
    let platform = std::fs::read_to_string(system.file("repository/tk8s.yaml")).unwrap();
    system.write("tk8s.yaml", &platform.replace("path: web", "path: web, onFailure: rollback, healthTimeout: 3s"));
    system.write_map("web", "first");
    system.commit("first");
    system.start();
    system.until_all("Healthy");
    let never = deployment(&system.name).replace("spec: {containers", "spec: {nodeSelector: {never: here}, containers");
    system.write("web/never.yaml", &never);
    system.commit("second");
    system.until_says("web", "Held", "Rolled back to release 1");
    let told_of = |action: &str, reason: &str| -> Vec<Value> {
        let ours = |event: &Value| event["action"] == action && event["reason"] == reason;
        events(&system, "web").into_iter().filter(ours).collect()
    };
    system.until("both are told", || {
        !told_of("Release", "NotHealthyInTime").is_empty() && !told_of("RollBack", "RolledBack").is_empty()
    });
    let (failed, back) = (&told_of("Release", "NotHealthyInTime")[0], &told_of("RollBack", "RolledBack")[0]);
    assert_eq!((&failed["type"], &back["type"]), (&"Warning".into(), &"Warning".into()));
    assert!(failed["note"].as_str().unwrap().contains("web@2 of "), "{failed}");
    assert!(back["note"].as_str().unwrap().contains("is back, because a newer one failed"), "{back}");
    system.until("the resource says so too", || {
        let web = resource(&system, "web");
        condition(&web, "Held").0 == "True" && condition(&web, "Ready").1 == "RolledBack"
    });
    let described = system.kubectl(&["describe", "component", "web"]);
    assert!(described.contains("RolledBack"), "{described}");
    system.stop();
    system.start();
    system.until_says("web", "Held", "Rolled back to release 1");
    until_looked(&system, 2).await;
    let told: Vec<_> = events(&system, "web").into_iter().filter(|event| event["action"] == "RollBack").collect();
    assert!(told.len() == 1 && told[0]["series"].is_null(), "it is told once: {told:?}");
}
