//! How the agent keeps an eye on the cluster: streams that end, places that are too old, lists that are cut off, kinds that
//! come and go, and the full check, on a real API server with a proxy in between.

#![allow(missing_docs, clippy::unwrap_used)]

use serde_json::Value;
use tk8s_tests::proxy::{Fault, Seen};
use tk8s_tests::system::System;

const MANY: usize = 10_000;

fn of_maps(seen: &Seen) -> bool {
    seen.uri.starts_with("/api/v1/configmaps?")
}

fn resumes(seen: &Seen) -> bool {
    of_maps(seen) && seen.is_watch() && !seen.is_list()
}

fn lists(seen: &Seen) -> bool {
    of_maps(seen) && seen.is_list()
}

/// Somebody changes a ConfigMap of ours, and it is put back.
fn is_repaired(system: &System, component: &str) {
    system.kubectl(&["patch", "configmap", component, "--type=merge", "-p", r#"{"data":{"at":"theirs"}}"#]);
    system.until_map(component, "first");
}

/// The releases of a component, as its history tells them, and how each ended.
fn history(system: &System, component: &str) -> Vec<(u64, String)> {
    let history: Value = serde_json::from_slice(&system.tk8s(&["history", component, "--output", "json"]).stdout).unwrap();
    let releases = history.as_array().unwrap().iter();
    releases.map(|one| (one["release"].as_u64().unwrap(), one["outcome"].as_str().unwrap_or_default().to_owned())).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_ends_is_resumed_where_it_was_and_without_a_list() {
    let system = System::two_components("resumed", "").await;
    // Not ours: no event of the watch tells of it.
    system.kubectl(&["create", "configmap", "noise"]);
    let newest = system.kubectl(&["get", "configmap", "one", "-o", "jsonpath={.metadata.resourceVersion}"]);
    for _ in 0..3 {
        system.proxy.take_seen();
        system.proxy.end_streams();
        system.until("it is resumed", || system.proxy.seen().iter().any(resumes));
        is_repaired(&system, "one");
    }
    let seen = system.proxy.seen();
    assert!(!seen.iter().any(lists), "{seen:?}");
    let at = seen.iter().find(|seen| resumes(seen)).and_then(|seen| seen.parameter("resourceVersion")).unwrap();
    assert!(at.parse::<u64>().unwrap() > newest.parse().unwrap(), "{at} {newest}: what it told meanwhile is behind it");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_is_resumed_at_its_last_bookmark() {
    let mut system = System::new("bookmarked").await;
    system.write_platform(&[&["one"]]);
    system.write_map("one", "first");
    system.commit("first");
    system.start();
    system.until_all("Healthy");
    system.stop();
    let ours: u64 = system.kubectl(&["get", "configmap", "one", "-o", "jsonpath={.metadata.resourceVersion}"]).parse().unwrap();
    system.kubectl(&["create", "configmap", "noise"]);
    system.proxy.take_seen();
    system.start();
    system.until("it lists", || system.proxy.seen().iter().any(lists));
    system.until_all("Healthy");
    // The list ends with a bookmark, which is newer than all that the list holds.
    system.proxy.end_streams();
    system.until("it is resumed", || system.proxy.seen().iter().any(resumes));
    let seen = system.proxy.seen();
    let at = seen.iter().find(|seen| resumes(seen)).and_then(|seen| seen.parameter("resourceVersion")).unwrap().to_owned();
    assert!(at.parse::<u64>().unwrap() > ours, "{at} is not newer than {ours}");
    assert!(seen.iter().filter(|seen| of_maps(seen)).all(|seen| seen.parameter("allowWatchBookmarks") == Some("true")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_place_that_is_too_old_is_left_for_a_new_list() {
    let system = System::two_components("too-old", "").await;
    let refused = Fault::Status { code: 410, reason: "Expired", retry_after: None };
    for fault in [Fault::TooOld, refused] {
        system.proxy.take_seen();
        system.proxy.disturb(1, fault, resumes);
        system.proxy.end_streams();
        system.until("it lists anew", || system.proxy.seen().iter().any(lists));
        is_repaired(&system, "one");
        assert_eq!(system.proxy.left(), 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_that_is_cut_off_says_of_nothing_that_it_is_gone() {
    let mut system = System::two_components("cut-off-lists", "").await;
    let uids = |system: &System| system.kubectl(&["get", "configmap", "one", "two", "-o", "jsonpath={.items[*].metadata.uid}"]);
    let before = uids(&system);
    // First where lists are streamed, then where the server knows pages only.
    for streams in [true, false] {
        system.stop();
        system.proxy.take_seen();
        if !streams {
            let fault = Fault::Status { code: 422, reason: "Invalid", retry_after: None };
            system.proxy.disturb(MANY, fault, |seen| seen.uri.contains("sendInitialEvents=true"));
        }
        system.proxy.disturb(3, Fault::CutOff(900), lists);
        system.start();
        system.until("it lists once more", || system.proxy.seen().iter().filter(|seen| lists(seen)).count() > 3);
        system.until_all("Healthy");
        let seen = system.proxy.seen();
        let asked: Vec<_> = seen.iter().filter(|seen| !seen.is_background() && !seen.uri.contains("/leases")).collect();
        assert!(asked.is_empty(), "{asked:?}");
        assert_eq!(uids(&system), before);
        is_repaired(&system, "two");
        system.proxy.calm();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_streams_no_lists_is_asked_page_by_page() {
    let mut system = System::new("pages").await;
    let fault = Fault::Status { code: 422, reason: "Invalid", retry_after: None };
    system.proxy.disturb(MANY, fault, |seen| seen.uri.contains("sendInitialEvents=true"));
    system.write_platform(&[&["one"]]);
    system.write_map("one", "first");
    system.commit("first");
    system.start();
    system.until_all("Healthy");
    is_repaired(&system, "one");
    let seen = system.proxy.seen();
    assert!(seen.iter().any(|seen| lists(seen) && !seen.is_watch() && seen.parameter("limit") == Some("500")), "{seen:?}");
    assert_eq!(seen.iter().filter(|seen| of_maps(seen) && seen.is_watch() && seen.is_list()).count(), 1, "it is tried once");
}

/// A CustomResourceDefinition of the group of an instance, and its versions.
fn definition(name: &str, versions: &[(&str, bool, bool)], conversion: &str) -> String {
    let versions: Vec<_> = versions
        .iter()
        .map(|(version, served, storage)| {
            format!(
                "{{name: {version}, served: {served}, storage: {storage}, schema: {{openAPIV3Schema: {{type: object, x-kubernetes-preserve-unknown-fields: true}}}}}}"
            )
        })
        .collect();
    format!(
        "apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata: {{name: things.{name}.example.com}}\nspec:\n  group: {name}.example.com\n  names: {{kind: Thing, plural: things}}\n  scope: Namespaced\n  conversion: {conversion}\n  versions: [{}]\n",
        versions.join(", ")
    )
}

fn thing(system: &System, version: &str, at: &str) {
    let name = &system.name;
    let text = format!(
        "apiVersion: {name}.example.com/{version}\nkind: Thing\nmetadata: {{name: t, namespace: {name}}}\nspec: {{at: \"{at}\"}}\n"
    );
    system.write("things/all.yaml", &text);
}

const NONE: &str = "{strategy: None}";

/// A component of an instance of a kind of our own, and one that has nothing to do with it.
async fn with_things(name: &str, versions: &[(&str, bool, bool)], version: &str) -> System {
    let mut system = System::new(name).await;
    system.plane.apply(&definition(name, versions, NONE));
    system.plane.kubectl(&["wait", "--for=condition=Established", &format!("crd/things.{name}.example.com")]);
    system.write_platform(&[&["one", "things"]]);
    system.write_map("one", "first");
    thing(&system, version, "first");
    system.commit("first");
    system.start();
    system.until_all("Healthy");
    system
}

fn at(system: &System) -> String {
    let kind = format!("things.{}.example.com", system.name);
    let arguments = ["-n", &system.name, "get", &kind, "t", "--ignore-not-found", "-o", "jsonpath={.spec.at}"];
    system.plane.kubectl_with(&arguments, "").unwrap_or_default()
}

/// The alarms that stand: reason and object.
fn alarms(system: &System) -> Vec<(String, String)> {
    let status = system.status();
    let text = |alarm: &Value, field: &str| alarm[field].as_str().unwrap_or_default().to_owned();
    let alarms = status["alarms"].as_array().map(Vec::as_slice).unwrap_or_default();
    alarms.iter().map(|alarm| (text(alarm, "reason"), text(alarm, "object"))).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repair_that_is_undone_again_and_again_raises_an_alarm_that_names_who() {
    let system = System::two_components("undone", "").await;
    let patch = ["patch", "configmap", "one", "--type=merge", "--field-manager=rival", "-p", r#"{"data":{"at":"theirs"}}"#];
    for _ in 0..5 {
        assert_eq!(alarms(&system), []);
        system.kubectl(&patch);
        system.until_map("one", "first");
    }
    system.until("an alarm stands", || alarms(&system) == [("RepairUndone".into(), "ConfigMap undone/one".into())]);
    let told = String::from_utf8(system.tk8s(&["status"]).stdout).unwrap();
    assert!(told.contains("ALARM RepairUndone since ") && told.contains(".data.at was taken by `rival`"), "{told}");
    assert_eq!(system.counter("tk8s_alarms", "reason=\"RepairUndone\"").await, 1);
    assert_eq!(system.component("two")["state"], "Healthy");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_definition_that_goes_is_told_and_when_it_is_back_its_instances_are_too() {
    let versions = [("v1", true, true)];
    let system = with_things("definition-goes", &versions, "v1").await;
    system.plane.kubectl(&["delete", "crd", "things.definition-goes.example.com"]);
    system.until_says("things", "Pending", "does not serve its kind");
    system.until("an alarm stands", || alarms(&system) == [("KindNotServed".into(), "Thing.definition-goes.example.com".into())]);
    // Nobody else waits for it.
    system.write_map("one", "second");
    system.commit("second");
    system.until_map("one", "second");
    system.until("one is healthy", || system.component("one")["state"] == "Healthy");
    system.proxy.take_seen();
    let asked = |seen: &Seen| seen.uri.contains("definition-goes.example.com") && !seen.is_background();
    assert!(!system.proxy.seen().iter().any(asked), "what can't be written is not tried");
    system.plane.apply(&definition("definition-goes", &versions, NONE));
    system.until("its instance is back", || at(&system) == "first");
    system.until_all("Healthy");
    system.until("the alarm ends", || alarms(&system).is_empty());
    assert_eq!(history(&system, "things"), [(1, "Healthy".to_owned())]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_kind_that_is_not_served_holds_is_neither_gone_nor_forgotten() {
    let system = with_things("not-served", &[("v1", true, true), ("v2", true, false)], "v1").await;
    let uid = ["-n", "not-served", "get", "things.not-served.example.com", "t", "-o", "jsonpath={.metadata.uid}"];
    let before = system.plane.kubectl(&uid);
    system.plane.apply(&definition("not-served", &[("v1", false, true), ("v2", false, false)], NONE));
    system.until_says("things", "Pending", "does not serve its kind");
    system.write_map("things", "first");
    std::fs::rename(system.file("repository/things/all.yaml"), system.file("repository/things/map.yaml")).unwrap();
    system.commit("the instance is not wanted any more");
    system.until_map("things", "first");
    system.until("the release is through", || history(&system, "things").first() == Some(&(2, "Healthy".to_owned())));
    // It can't be deleted, and nobody believes that it was.
    system.plane.apply(&definition("not-served", &[("v1", true, true), ("v2", true, false)], NONE));
    system.until("the kind is served again", || {
        system.plane.kubectl_with(&uid, "").is_ok_and(|uid| uid == before || uid.is_empty())
    });
    system.write_map("things", "second");
    std::fs::rename(system.file("repository/things/all.yaml"), system.file("repository/things/map.yaml")).unwrap();
    system.commit("once more");
    system.until_map("things", "second");
    system.until("it is deleted now", || at(&system).is_empty());
    system.until_all("Healthy");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_conversion_that_fails_stops_only_who_uses_it() {
    let versions = [("v1", true, true), ("v2", true, false)];
    let system = with_things("conversion", &versions, "v2").await;
    let nobody = "{strategy: Webhook, webhook: {conversionReviewVersions: [v1], clientConfig: {url: 'https://127.0.0.1:1/'}}}";
    system.plane.apply(&definition("conversion", &versions, nobody));
    system.until("nobody converts", || {
        system.plane.kubectl_with(&["-n", "conversion", "get", "things.v2.conversion.example.com"], "").is_err()
    });
    system.proxy.end_streams();
    thing(&system, "v2", "second");
    system.write_map("one", "second");
    system.commit("second");
    system.until_map("one", "second");
    system.until("one is healthy", || system.component("one")["state"] == "Healthy");
    system.until("the other one says why not", || {
        let things = system.component("things");
        things["state"] != "Healthy" && things["message"].as_str().is_some_and(|message| message.contains("conversion"))
    });
    system.plane.apply(&definition("conversion", &versions, NONE));
    system.until("it goes on", || at(&system) == "second");
    system.until_all("Healthy");
    assert_eq!(history(&system, "things"), [(2, "Healthy".to_owned()), (1, "Healthy".to_owned())]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_check_finds_what_a_watch_missed_and_costs_one_list_of_each_kind() {
    let mut system = System::two_components("full-check", "apply: {fullCheck: 2s}").await;
    // From here on the watch tells nothing.
    system.proxy.disturb(MANY, Fault::Mute, resumes);
    system.proxy.end_streams();
    system.until("it is resumed", || system.proxy.seen().iter().any(resumes));
    is_repaired(&system, "one");
    system.kubectl(&["delete", "configmap", "two"]);
    system.until_map("two", "first");
    let missed = async || {
        let (_, text) = system.http("metrics", "GET /metrics", &[], "").await;
        text.lines().find_map(|line| line.strip_prefix("tk8s_full_check_missed_total ")?.parse::<u64>().ok())
    };
    assert!(missed().await.is_some_and(|missed| missed >= 2));
    // With nothing missed it is one list, and nothing else.
    system.proxy.calm();
    system.until_all("Healthy");
    let checks = async |system: &System| system.counter("tk8s_full_checks_total", "outcome=\"ok\"").await;
    let (known, before) = (system.plane.audited(&system.name).len(), checks(&system).await);
    while checks(&system).await < before + 3 {
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    system.stop();
    let audited = system.plane.audited(&system.name).split_off(known);
    let about: Vec<_> = audited.iter().filter(|(_, uri)| uri.contains("/configmaps") && !uri.contains("/tk8s-agent-")).collect();
    let found = about.iter().filter(|(verb, _)| verb == "list").count();
    assert!((3..=5).contains(&found), "{about:?}");
    assert!(about.iter().all(|(verb, _)| verb == "list" || verb == "watch"), "{about:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_check_whose_list_is_cut_off_changes_nothing() {
    let system = System::two_components("check-cut-off", "apply: {fullCheck: 1s}").await;
    system.until("the watch is open", || system.proxy.seen().iter().any(lists));
    let failed = async || system.counter("tk8s_full_checks_total", "outcome=\"failed\"").await;
    system.proxy.take_seen();
    system.proxy.disturb(MANY, Fault::CutOff(600), |seen| lists(seen) && !seen.is_watch());
    while failed().await < 1 {
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    let seen = system.proxy.seen();
    assert!(!seen.iter().any(|seen| seen.is_patch() || seen.is_dry_run() || seen.method == http::Method::DELETE), "{seen:?}");
    assert_eq!((system.map("one"), system.map("two")), ("first".into(), "first".into()));
}
