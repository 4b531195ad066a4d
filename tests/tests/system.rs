//! The whole agent on a real API server, with a proxy in between that counts what is asked and disturbs it.

#![allow(missing_docs, clippy::unwrap_used)]

use std::time::Duration;

use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::Value;
use tk8s_tests::proxy::{Fault, Seen};
use tk8s_tests::system::{System, git};

/// Requests about the ConfigMap of a component.
fn about(component: &'static str) -> impl Fn(&Seen) -> bool + Send + 'static {
    move |seen| seen.uri.split('?').next().is_some_and(|path| path.ends_with(&format!("/configmaps/{component}")))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_push_to_one_component_renders_and_asks_nothing_of_another() {
    let system = System::two_components("counted", "").await;
    let renders = async |component: &str| system.counter("tk8s_renders_total", &format!("component=\"{component}\"")).await;
    let before = (renders("one").await, renders("two").await);
    system.proxy.take_seen();
    system.bring("one", &["second"]);
    assert_eq!((renders("one").await, renders("two").await), (before.0 + 1, before.1));
    let asked: Vec<_> = system.proxy.seen().into_iter().filter(|seen| !seen.is_background()).collect();
    assert!(asked.iter().all(about("one")), "{asked:?}");
    assert_eq!(
        (asked.iter().filter(|seen| seen.is_dry_run()).count(), asked.iter().filter(|seen| seen.is_patch()).count()),
        (1, 1)
    );
    assert_eq!(asked.len(), 2, "{asked:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn with_nothing_changed_only_lease_lists_and_watches_are_asked_for() {
    let mut system = System::two_components("quiet", "").await;
    system.until_told();
    let looks = async |system: &System| system.counter("tk8s_fetches_total", "outcome=\"ok\"").await;
    system.until_anchored();
    system.proxy.take_seen();
    let known = system.plane.audited(&system.name).len();
    let before = looks(&system).await;
    while looks(&system).await < before + 3 {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    system.proxy.end_streams();
    let watches = |system: &System| system.proxy.seen().iter().filter(|seen| seen.uri.contains("watch=")).count();
    system.until("the watch is opened again", || watches(&system) > 0);
    system.stop();
    assert!(!system.file("history/ledger/journal").exists(), "a ledger that was closed in order leaves no journal");
    let reopened = watches(&system);
    system.start();
    system.until_all("Healthy");
    system.until("the new process watches", || watches(&system) > reopened);
    let before = looks(&system).await;
    while looks(&system).await < before + 1 {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let audited = system.plane.audited(&system.name).split_off(known);
    let lease = format!("/apis/coordination.k8s.io/v1/namespaces/{}/leases", system.name);
    let asked: Vec<_> =
        audited.iter().filter(|(verb, uri)| !uri.starts_with(&lease) && !["list", "watch"].contains(&verb.as_str())).collect();
    // A new process looks once whether its history is the one that was anchored.
    let anchor = format!("/api/v1/namespaces/{0}/configmaps/tk8s-agent-{0}", system.name);
    assert_eq!(asked, [&("get".to_owned(), anchor)]);
    assert!(audited.iter().any(|(verb, _)| verb == "watch") && audited.iter().any(|(_, uri)| uri.starts_with(&lease)));
}

/// What a fault at a component's requests leads to: what its status says meanwhile, if it says anything.
async fn is_made_good(name: &str, fault: Fault, times: usize, kind: fn(&Seen) -> bool, says: Option<(&str, &str)>) {
    let system = System::two_components(name, "").await;
    let one = about("one");
    system.proxy.disturb(times, fault, move |seen| one(seen) && kind(seen));
    system.write_map("one", "second");
    system.write_map("two", "second");
    system.commit("second");
    system.until_map("two", "second");
    if let Some((state, words)) = says {
        assert_eq!(system.map("one"), "first");
        system.until_says("one", state, words);
        system.proxy.calm();
    }
    system.until_map("one", "second");
    system.until_all("Healthy");
    assert_eq!(system.proxy.left(), 0, "the fault has to have happened");
    // One intent, one outcome: the release is there once.
    let history: Value = serde_json::from_slice(&system.tk8s(&["history", "one", "--output", "json"]).stdout).unwrap();
    let found: Vec<_> = history.as_array().unwrap().iter().map(|release| (&release["release"], &release["outcome"])).collect();
    assert_eq!(found, [(&2.into(), &"Healthy".into()), (&1.into(), &"Healthy".into())]);
}

const MANY: usize = 10_000;

#[tokio::test(flavor = "multi_thread")]
async fn an_api_server_that_knows_us_no_more_is_waited_for() {
    let fault = Fault::Status { code: 401, reason: "Unauthorized", retry_after: None };
    is_made_good("says-401", fault, MANY, |_| true, Some(("Pending", "Unauthorized"))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_api_server_that_forbids_us_is_waited_for() {
    let fault = Fault::Status { code: 403, reason: "Forbidden", retry_after: None };
    is_made_good("says-403", fault, MANY, |_| true, Some(("Pending", "Forbidden"))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_that_is_overtaken_is_planned_again() {
    let fault = Fault::Status { code: 409, reason: "Conflict", retry_after: None };
    is_made_good("says-409", fault, 1, Seen::is_patch, None).await;
}

/// A look at Git between two tries took the failed repair for one that drift would show again, which it does not while it is
/// unknown how the object was left.
#[tokio::test(flavor = "multi_thread")]
async fn a_repair_that_is_overtaken_is_tried_until_it_is_done() {
    let system = System::two_components("repair-says-409", "").await;
    let one = about("one");
    let fault = Fault::Status { code: 409, reason: "Conflict", retry_after: None };
    system.proxy.disturb(3, fault, move |seen| one(seen) && seen.is_patch() && !seen.is_dry_run());
    system.kubectl(&["patch", "configmap", "one", "--type=merge", "-p", r#"{"data":{"at":"by hand"}}"#]);
    system.until("the repair is refused three times", || system.proxy.left() == 0);
    system.until_map("one", "first");
    system.until_all("Healthy");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_api_server_that_asks_for_patience_gets_it() {
    let fault = Fault::Status { code: 429, reason: "TooManyRequests", retry_after: Some(1) };
    is_made_good("says-429", fault, 3, |_| true, None).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_api_server_that_is_overloaded_is_asked_again() {
    let fault = Fault::Status { code: 503, reason: "ServiceUnavailable", retry_after: None };
    is_made_good("says-503", fault, 3, |_| true, None).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_api_server_that_keeps_silent_holds_up_nobody_else() {
    is_made_good("silent", Fault::Silence, MANY, |_| true, Some(("Progressing", ""))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_question_that_is_lost_is_asked_again() {
    is_made_good("lost-question", Fault::LostQuestion, 2, |_| true, None).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_is_lost_is_asked_for_again() {
    is_made_good("lost-answer", Fault::LostAnswer, 2, |_| true, None).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_is_cut_off_is_no_answer() {
    is_made_good("cut-off", Fault::CutOff(200), 3, |_| true, None).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_api_server_that_is_slow_gets_its_time() {
    is_made_good("slow", Fault::Slow(Duration::from_millis(700)), 2, |_| true, None).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_something_is_too_old_is_asked_about_again() {
    let fault = Fault::Status { code: 410, reason: "Expired", retry_after: None };
    is_made_good("says-410", fault, 2, |_| true, None).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_api_group_that_fails_stops_only_who_uses_it() {
    let system = System::two_components("group-fails", "").await;
    let fault = Fault::Status { code: 503, reason: "ServiceUnavailable", retry_after: None };
    system.proxy.disturb(MANY, fault, |seen| seen.uri.starts_with("/apis/apps/"));
    system.write("two/more.yaml", &deployment(&system.name, "web", ""));
    system.write_map("one", "second");
    system.write_map("two", "second");
    system.commit("second");
    system.until_map("one", "second");
    system.until("the other one is still at it", || system.component("two")["state"] != "Healthy");
    assert_eq!(system.map("two"), "first", "all of it is asked about before anything is written");
    system.proxy.calm();
    system.until_map("two", "second");
    system.until_all("Healthy");
    let history: Value = serde_json::from_slice(&system.tk8s(&["history", "two", "--output", "json"]).stdout).unwrap();
    assert_eq!(history.as_array().unwrap().len(), 2, "{history}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_api_server_calls_invalid_waits_for_other_content() {
    let system = System::two_components("says-422", "").await;
    let fault = Fault::Status { code: 422, reason: "Invalid", retry_after: None };
    system.proxy.disturb(1, fault, about("one"));
    system.write_map("one", "second");
    system.write_map("two", "second");
    system.commit("second");
    system.until_map("two", "second");
    system.until_says("one", "Denied", "Invalid");
    assert_eq!(system.map("one"), "first");
    system.bring("one", &["third"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repair_that_is_refused_for_good_is_made_once_it_is_not() {
    let system = System::two_components("refuses-repair", "").await;
    let policy = r#"
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata: {name: refuses-repair}
spec:
  failurePolicy: Fail
  matchConstraints:
    namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: refuses-repair}}
    resourceRules: [{apiGroups: [""], apiVersions: [v1], operations: [UPDATE], resources: [configmaps]}]
  validations: [{expression: "request.userInfo.username != 'refuses-repair'", message: not now}]
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata: {name: refuses-repair}
spec: {policyName: refuses-repair, validationActions: [Deny]}
"#;
    system.plane.apply(policy);
    let drift = |value: &str| {
        let patch = format!(r#"{{"data":{{"at":"{value}"}}}}"#);
        system.kubectl(&["patch", "configmap", "one", "--type=merge", "-p", &patch]);
    };
    // The API server takes a moment to know of a policy; until then repairs go through.
    let round = std::cell::Cell::new(0);
    system.until("a repair is refused", || {
        round.set(round.get() + 1);
        drift(&format!("somebody's {}", round.get()));
        std::thread::sleep(std::time::Duration::from_secs(1));
        system.component("one")["message"].as_str().is_some_and(|message| message.contains("not now"))
    });
    assert!(system.map("one").starts_with("somebody's"));
    system.kubectl(&["delete", "validatingadmissionpolicybinding", "refuses-repair"]);
    system.until_map("one", "first");
    system.until_all("Healthy");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_whose_creation_was_not_answered_is_still_ours_to_delete() {
    let system = System::two_components("made-unheard", "").await;
    system.proxy.disturb(1, Fault::LostAnswer, |seen| seen.is_patch() && seen.uri.contains("/configmaps/extra"));
    let name = &system.name;
    system.write(
        "one/extra.yaml",
        &format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: extra, namespace: {name}}}\ndata: {{at: there}}\n"),
    );
    system.commit("one more");
    system.until_map("extra", "there");
    system.until_all("Healthy");
    assert_eq!(system.proxy.left(), 0);
    std::fs::remove_file(system.file("repository/one/extra.yaml")).unwrap();
    system.commit("one less");
    system.until_map("extra", "");
    system.until_all("Healthy");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_there_before_is_adopted_and_never_deleted() {
    let system = System::two_components("adopted", "").await;
    let name = system.name.clone();
    let manifest =
        format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: extra, namespace: {name}}}\ndata: {{at: theirs}}\n");
    system.plane.apply(&manifest);
    system.write("one/extra.yaml", &manifest.replace("theirs", "ours"));
    system.commit("take it over from kubectl");
    system.until_map("extra", "ours");
    system.until_all("Healthy");
    std::fs::remove_file(system.file("repository/one/extra.yaml")).unwrap();
    system.write_map("one", "second");
    system.commit("leave it");
    system.until_map("one", "second");
    system.until_all("Healthy");
    assert_eq!(system.map("extra"), "ours");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_layer_starts_when_what_it_stands_on_is_healthy() {
    let mut system = System::new("gated").await;
    system.write_platform(&[&["below"], &["above"]]);
    system.write("below/all.yaml", &deployment(&system.name, "below", "nodeSelector: {never: here},"));
    system.write_map("above", "first");
    system.commit("the lower layer never gets healthy");
    system.start();
    system
        .until("the lower layer is there", || !system.kubectl(&["get", "deployment", "below", "--ignore-not-found"]).is_empty());
    system.until_says("above", "Pending", "waits for below");
    assert_eq!(system.component("below")["state"], "Progressing");
    let looks = async || system.counter("tk8s_fetches_total", "outcome=\"ok\"").await;
    let before = looks().await;
    while looks().await < before + 2 {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(system.map("above"), "");
    assert!(!system.proxy.seen().iter().any(about("above")), "nothing above is even asked about");
    system.write("below/all.yaml", &deployment(&system.name, "below", ""));
    system.commit("it does");
    system.until_map("above", "first");
    system.until_all("Healthy");
    assert_eq!(system.kubectl(&["get", "deployment", "below", "-o", "jsonpath={.status.readyReplicas}"]), "1");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollback_sends_what_differs_and_git_does_not_undo_it() {
    let system = System::two_components("rolled-back", "").await;
    let name = system.name.clone();
    let maps = |at: &str| {
        let map = |extra: &str, at: &str| {
            format!(
                "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {extra}, namespace: {name}}}\ndata: {{at: \"{at}\"}}\n---\n"
            )
        };
        format!("{}{}{}", map("same", "always"), map("other", at), map("added", at))
    };
    system.write("one/more.yaml", &maps("first"));
    system.commit("a base to go back to");
    system.until_map("added", "first");
    system.until_all("Healthy");
    system.write("one/more.yaml", &maps("second"));
    system.commit("a change that turns out badly");
    system.until_map("added", "second");
    system.until_all("Healthy");
    std::fs::rename(system.file("repository"), system.file("away")).unwrap();
    system.proxy.take_seen();
    let output = system.tk8s(&["rollback", "one", "--reason", "it turned out badly", "--output", "json"]);
    let done: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"));
    let mut sent: Vec<_> = done["actions"].as_array().unwrap().iter().map(|acted| acted["object"].as_str().unwrap()).collect();
    sent.sort_unstable();
    assert_eq!(sent, [format!("ConfigMap {name}/added"), format!("ConfigMap {name}/other")]);
    assert_eq!(done["unchanged"], 2);
    assert_eq!((system.map("other"), system.map("added")), ("first".into(), "first".into()));
    let asked: Vec<_> = system.proxy.seen().into_iter().filter(|seen| !seen.is_background()).collect();
    assert_eq!(
        (asked.iter().filter(|seen| seen.is_dry_run()).count(), asked.iter().filter(|seen| seen.is_patch()).count()),
        (2, 2)
    );
    assert_eq!(asked.len(), 4, "{asked:?}");
    // Git is back, with something new for the other component only.
    std::fs::rename(system.file("away"), system.file("repository")).unwrap();
    system.proxy.take_seen();
    system.write_map("two", "second");
    system.commit("something else");
    system.until_map("two", "second");
    let status = system.component("one");
    assert_eq!((&status["state"], &status["hold"]["reason"]), (&"Held".into(), &"it turned out badly".into()));
    assert!(system.proxy.seen().iter().filter(|seen| !seen.is_background()).all(about("two")));
    // New content for the component ends the hold.
    system.write("one/more.yaml", &maps("third"));
    system.commit("a better change");
    system.until_map("added", "third");
    system.until_all("Healthy");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_emptied_component_loses_nothing() {
    let system = System::two_components("emptied", "").await;
    system.write("one/all.yaml", "# nothing\n");
    system.write_map("two", "second");
    system.commit("empty");
    system.until_map("two", "second");
    system.until_says("one", "Failed", "holds no object");
    assert_eq!(system.map("one"), "first");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_git_server_that_hangs_holds_up_nothing_that_runs() {
    let mut system = System::two_components("git-hangs", "").await;
    system.stop();
    let hanging = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    system.repository_url = format!("ssh://git@{}/nobody/answers.git", hanging.local_addr().unwrap());
    let keys = std::process::Command::new("ssh-keygen")
        .args(["-q", "-t", "ed25519", "-N", "", "-f"])
        .arg(system.file("ssh.key"))
        .status();
    assert!(keys.unwrap().success());
    std::fs::copy(system.file("ssh.key.pub"), system.file("known_hosts")).unwrap();
    // While the fetch hangs, what runs is looked after all the same.
    system.timeout = "5m";
    system.start();
    let connected = tokio::time::timeout(Duration::from_secs(30), hanging.accept()).await.unwrap().unwrap();
    system.kubectl(&["patch", "configmap", "one", "--type", "merge", "-p", r#"{"data":{"at":"tampered"}}"#]);
    system.until_map("one", "first");
    system.stop();
    drop(connected);
    system.timeout = "2s";
    system.start();
    system.until("status names the problem", || {
        let problem = &system.status()["problem"];
        problem["message"].as_str().is_some_and(|message| message.contains("127.0.0.1"))
    });
    assert_eq!((system.map("one"), system.map("two")), ("first".into(), "first".into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_wakes_the_agent_only_if_it_was_signed() {
    let mut system = System::new("webhooks").await;
    system.interval = "1h";
    system.write_platform(&[&["one"]]);
    system.write_map("one", "first");
    system.commit("first");
    system.start();
    system.until_all("Healthy");
    let secret = std::fs::read(system.file("webhook")).unwrap();
    let signature = |secret: &[u8], body: &str| {
        let mut mac = Hmac::<sha2::Sha256>::new_from_slice(secret).unwrap();
        mac.update(body.as_bytes());
        format!("sha256={}", hex::encode(mac.finalize().into_bytes()))
    };
    let post = async |route: &str, header: &str, signature: &str, body: &str| {
        system.http("api", &format!("POST {route}"), &[(header, signature), ("Content-Type", "application/json")], body).await.0
    };
    let looks = async || system.counter("tk8s_fetches_total", "outcome=\"ok\"").await;
    let body = r#"{"ref": "refs/heads/main"}"#;
    for (route, header) in [("/webhooks/generic", "X-Signature"), ("/webhooks/github", "X-Hub-Signature-256")] {
        let before = looks().await;
        assert_eq!(post(route, header, &signature(b"a guess", body), body).await, 401);
        assert_eq!(post(route, "X-Other", "", body).await, 401);
        let good = signature(secret.trim_ascii(), body);
        assert_eq!(post(route, header, &good, body).await, 202);
        while looks().await == before {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert_eq!(looks().await, before + 1, "those that were not signed woke nobody");
        for (size, status) in [(1024 * 1024, 202), (1024 * 1024 + 1, 413)] {
            let large = "a".repeat(size);
            assert_eq!(post(route, header, &signature(secret.trim_ascii(), &large), &large).await, status);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn only_health_and_metrics_answer_without_the_token() {
    let system = System::two_components("tokens", "").await;
    let status = async |listener: &str, request: &str, token: &str| {
        system.http(listener, request, &[("Authorization", &format!("Bearer {token}"))], "").await.0
    };
    let token = std::fs::read_to_string(system.file("token")).unwrap();
    let routes = [
        "GET /api/v1/status",
        "POST /api/v1/sync",
        "GET /api/v1/components/one",
        "GET /api/v1/components/one/history",
        "POST /api/v1/components/one/rollback",
        "POST /api/v1/components/one/hold",
        "POST /api/v1/components/one/resume",
        "POST /api/v1/components/one/suspend",
        "POST /api/v1/layers/l0/rollback",
        "POST /api/v1/layers/l0/suspend",
        "POST /api/v1/suspend",
        "POST /api/v1/resume",
        "GET /api/v1/components/one/releases/1",
        "GET /api/v1/components/one/releases/1/export",
        "GET /api/v1/components/one/releases/1/diff/1",
        "GET /ledger/checkpoint",
        "GET /ledger/tile/0/000",
    ];
    for route in routes {
        for wrong in ["", "0", &token.trim()[1..], "undefined"] {
            assert_eq!(status("api", route, wrong).await, 401, "{route} with `{wrong}`");
        }
    }
    assert_eq!(status("api", "GET /api/v1/status", token.trim()).await, 200);
    assert_eq!(status("api", "GET /api/v1/components/three", token.trim()).await, 404);
    let authorization = format!("Bearer {}", token.trim());
    let (code, body) = system.http("api", "DELETE /api/v1/status", &[("Authorization", &authorization)], "").await;
    assert_eq!((code, body.contains("\"reason\":\"MethodNotAllowed\"")), (405, true), "{body}");
    for (listener, path) in [("health", "/healthz"), ("health", "/readyz"), ("metrics", "/metrics")] {
        assert_eq!(status(listener, &format!("GET {path}"), "").await, 200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_configuration_is_in_force_at_once_and_a_bad_one_never() {
    let mut system = System::new("reconfigured").await;
    // Nobody wakes the agent but the change itself.
    system.interval = "1h";
    system.write_platform(&[&["one"]]);
    system.write_map("one", "first");
    system.commit("first");
    system.start();
    system.until_all("Healthy");
    let good = system.configuration();
    let reason = |system: &System| system.status()["trust"]["reason"].as_str().unwrap_or_default().to_owned();
    assert_eq!(reason(&system), "a test");
    system.configure(&good.replace("a test", "another reason"));
    system.until("the change is in force", || reason(&system) == "another reason");
    for (bad, word, says) in [
        (good.replace("interval:", "intervall:"), "ConfigurationRefused", "did you mean `interval`"),
        (good.replace("instance: reconfigured", "instance: other"), "NeedsRestart", "instance"),
        ("{".into(), "ConfigurationRefused", "agent.yaml"),
    ] {
        system.configure(&bad);
        system.until("the mistake is reported", || {
            let problem = &system.status()["configuration"];
            problem["reason"] == word && problem["message"].as_str().is_some_and(|message| message.contains(says))
        });
        assert_eq!(reason(&system), "another reason");
    }
    // What was in force still is.
    system.write_map("one", "second");
    system.commit("second");
    system.until_map("one", "second");
    system.configure(&good);
    system.until("all is well again", || system.status()["configuration"].is_null() && reason(&system) == "a test");
    // A token that was rotated is in force for the next call; that a named file changed wakes the agent.
    let looks = async || system.counter("tk8s_fetches_total", "outcome=\"ok\"").await;
    let before = looks().await;
    let old = std::fs::read_to_string(system.file("token")).unwrap();
    std::fs::write(system.file("token"), "a new token, long enough").unwrap();
    assert!(system.tk8s(&["status"]).status.success());
    while looks().await == before {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    std::fs::write(system.file("old"), old).unwrap();
    let refused = std::process::Command::new(tk8s_tests::program("tk8s-agent"))
        .args(["status", "--server", &format!("http://{}", system.address("api")), "--token-file"])
        .arg(system.file("old"))
        .output()
        .unwrap();
    assert_eq!(refused.status.code(), Some(1), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unsigned_commit_below_a_signed_head_is_refused_in_staging_until_somebody_vouches_for_it() {
    let mut system = System::new("range").await;
    system.sign();
    system.write_platform(&[&["one"]]);
    system.write_map("one", "first");
    system.commit("first");
    let repository = system.file("repository");
    let commit = |revision: &str| {
        let output = std::process::Command::new("git").current_dir(&repository).args(["rev-parse", revision]).output().unwrap();
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    };
    let head = system.trust.1.clone();
    let since = |baseline: String| head.replacen("commits: head", &format!("baseline: {baseline}"), 1);
    system.trust.1 = since(commit("HEAD"));
    system.start();
    system.until_map("one", "first");
    system.write_map("one", "unsigned");
    git(&repository, &["add", "-A"]);
    git(&repository, &["-c", "commit.gpgsign=false", "commit", "-q", "-m", "unsigned"]);
    let unsigned = commit("HEAD");
    system.write_map("one", "second");
    system.commit("second");
    system.until("the commit below the head is refused by its id", || {
        let refused = &system.status()["refused"][0];
        refused["reason"] == "Unsigned" && refused["commit"] == unsigned.as_str()
    });
    assert_eq!(system.map("one"), "first", "what runs stays");
    // Somebody has looked at it, and says so in the agent's file.
    system.trust.1 = since(unsigned);
    system.configure(&system.configuration());
    system.until_map("one", "second");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_revoked_key_signed_is_refused_by_an_edit_and_what_runs_stays() {
    let mut system = System::new("revoked").await;
    // Nobody wakes the agent but the edit itself.
    system.interval = "1h";
    system.sign();
    let revoked = system.file("revoked");
    std::fs::write(&revoked, "# nobody yet\n").unwrap();
    system.trust.1 = system.trust.1.replacen('{', &format!("{{revocationFile: {}, ", revoked.display()), 1);
    system.write_platform(&[&["one"]]);
    system.write_map("one", "first");
    system.commit("first");
    system.start();
    system.until_all("Healthy");
    let refused = || {
        let refused = &system.status()["refused"][0];
        (refused["reason"] == "KeyRevoked").then(|| refused["commit"].as_str().unwrap_or_default().to_owned())
    };
    assert_eq!(refused(), None);
    let key = std::fs::read_to_string(system.file("signer.pub")).unwrap();
    // The file is empty for a moment, which is not one in which nobody stands.
    std::fs::write(&revoked, &key).unwrap();
    system.until("what was accepted is refused", || refused().is_some());
    assert_eq!(system.map("one"), "first", "what runs stays");
    let first = refused();
    system.write_map("one", "second");
    system.commit("second");
    std::fs::write(&revoked, format!("# stolen\n{key}")).unwrap();
    system.until("the new commit is refused", || refused().is_some() && refused() != first);
    assert_eq!(system.map("one"), "first");
    // Nor is a file that is gone.
    std::fs::remove_file(&revoked).unwrap();
    system.until("the missing file is a problem", || {
        let problem = &system.status()["problem"];
        problem["reason"] == "FileUnreadable"
            && problem["message"].as_str().is_some_and(|message| message.contains("revocation file"))
    });
    assert_eq!(system.map("one"), "first");
    std::fs::write(&revoked, "# nobody\n").unwrap();
    system.until_map("one", "second");
    // Offline it is the same.
    let verify = || {
        let mut command = std::process::Command::new(tk8s_tests::program("tk8s-agent"));
        command.args(["verify", "HEAD", "--repository"]).arg(system.file("repository"));
        command.arg("--signers").arg(system.file("signers.yaml")).arg("--revocations").arg(&revoked);
        let output = command.output().unwrap();
        (output.status.code(), String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
    };
    assert_eq!(verify().0, Some(0), "{}", verify().1);
    for (revocations, word) in [(Some("signer.pub"), "KeyRevoked"), (Some("signers.yaml"), "line 1"), (None, "revocation file")] {
        std::fs::remove_file(&revoked).unwrap();
        if let Some(file) = revocations {
            std::fs::copy(system.file(file), &revoked).unwrap();
        }
        let (code, said) = verify();
        assert!(code == Some(1) && said.contains(word), "{code:?} {said}");
        std::fs::write(&revoked, "# nobody\n").unwrap();
    }
}

/// A Deployment that gets ready if a node fits the selector.
fn deployment(namespace: &str, name: &str, selector: &str) -> String {
    format!(
        "apiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: {name}, namespace: {namespace}}}\nspec:\n  replicas: 1\n  selector: {{matchLabels: {{app: {name}}}}}\n  template:\n    metadata: {{labels: {{app: {name}}}}}\n    spec: {{{selector} containers: [{{name: main, image: \"pause:1\"}}]}}\n"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn what_becomes_healthy_late_is_healthy_then_also_after_a_restart() {
    let mut system = System::new("late").await;
    system.write_platform(&[&["below"], &["above"]]);
    let platform = std::fs::read_to_string(system.file("repository/tk8s.yaml")).unwrap();
    system.write("tk8s.yaml", &platform.replace("path: below", "path: below, healthTimeout: 1s"));
    system.write("below/all.yaml", &deployment(&system.name, "below", "nodeSelector: {late: \"yes\"},"));
    system.write_map("above", "first");
    system.commit("too late");
    system.start();
    system.until_says("below", "Failed", "did not become healthy in time");
    system.until_says("above", "Pending", "stands on below");
    system.stop();
    system.start();
    // A new process neither forgets that it is not healthy nor lets others stand on it.
    system.until_says("above", "Pending", "stands on below");
    assert_eq!((system.component("below")["state"].as_str(), system.map("above").as_str()), (Some("Failed"), ""));
    system.plane.kubectl(&["label", "node", "simulated", "late=yes"]);
    system.until_all("Healthy");
    assert_eq!(system.map("above"), "first");
    let history: Value = serde_json::from_slice(&system.tk8s(&["history", "below", "--output", "json"]).stdout).unwrap();
    assert_eq!((&history[0]["release"], &history[0]["outcome"]), (&1.into(), &"Healthy".into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_deleted_while_its_release_is_waited_for_is_brought_back_at_once() {
    let system = System::two_components("waited-for", "").await;
    let slow = deployment(&system.name, "slow", "nodeSelector: {waited-for: \"yes\"},");
    let map = |at: &str| {
        format!("---\napiVersion: v1\nkind: ConfigMap\nmetadata: {{name: one, namespace: waited-for}}\ndata: {{at: {at}}}\n")
    };
    system.write("one/all.yaml", &(slow + &map("second")));
    system.commit("it takes its time");
    system.until_map("one", "second");
    system.until("it waits", || system.component("one")["state"] == "Progressing");
    system.kubectl(&["delete", "configmap", "one"]);
    system.until_map("one", "second");
    assert_eq!(system.component("one")["state"], "Progressing", "nobody waited for the end of its patience");
    system.plane.kubectl(&["label", "node", "simulated", "waited-for=yes"]);
    system.until_all("Healthy");
    let shown: Value = serde_json::from_slice(&system.tk8s(&["history", "show", "one", "2", "--output", "json"]).stdout).unwrap();
    let runs = shown["story"]["runs"].as_array().cloned().unwrap_or_default();
    let told: Vec<_> = runs.iter().map(|run| (run["trigger"].as_str(), run["outcome"]["status"].as_str())).collect();
    assert_eq!(told, [(Some("sync"), Some("superseded")), (Some("sync"), Some("healthy"))], "{shown}");
    system.until_map("one", "second");
}

/// F43: a release never becomes healthy.
#[tokio::test(flavor = "multi_thread")]
async fn a_release_that_does_not_become_healthy_undoes_itself_once_and_holds_up_only_what_stands_on_it() {
    let mut system = System::new("undoes").await;
    system.write(
        "tk8s.yaml",
        "apiVersion: tk8s.io/v1alpha1\nkind: Platform\nlayers:\n\
         - {number: 0, name: low, components: [{name: good, path: good}, {name: bad, path: bad, onFailure: rollback, healthTimeout: 3s}]}\n\
         - {number: 1, name: high, components: [{name: above, path: above}, {name: beside, path: beside, dependsOn: [good]}]}\n",
    );
    let all = |system: &System, at: &str| {
        for component in ["good", "bad", "above", "beside"] {
            system.write_map(component, at);
        }
    };
    all(&system, "first");
    system.commit("first");
    system.start();
    system.until_all("Healthy");

    all(&system, "second");
    system.write("bad/never.yaml", &deployment(&system.name, "never", "nodeSelector: {never: \"yes\"},"));
    system.commit("second");
    system.until_says("bad", "Held", "Rolled back to release 1, and held there");
    let is_undone = |system: &System| {
        let bad = system.component("bad");
        let message = bad["message"].as_str().unwrap_or_default().to_owned();
        assert!(message.contains("bad@2 failed: it did not become healthy in time: Deployment.apps undoes/never"), "{message}");
        assert_eq!((&bad["release"], &bad["hold"]["by"]), (&1.into(), &"tk8s-agent".into()));
        assert_eq!(system.map("bad"), "first");
        assert_eq!(system.kubectl(&["get", "deployment", "never", "--ignore-not-found"]), "", "what it brought goes with it");
        system.until_says("above", "Pending", "stands on bad");
        assert_eq!(system.map("above"), "first", "what stands on it does not start");
    };
    system.until_map("beside", "second");
    system.until_map("good", "second");
    is_undone(&system);
    system.until("an alarm", || system.status()["alarms"][0]["reason"] == "RolledBack");
    let shown = String::from_utf8_lossy(&system.tk8s(&["status"]).stdout).into_owned();
    assert!(shown.contains("but for bad, at release 1"), "{shown}");

    // Neither a restart, nor a person who asks for a look at Git, nor a repair starts what stands on it, or tries it again.
    system.stop();
    system.start();
    system.until_says("bad", "Held", "Rolled back to release 1");
    is_undone(&system);
    system.kubectl(&["patch", "configmap", "bad", "--type=merge", "-p", r#"{"data":{"at":"somebody's"}}"#]);
    system.until_map("bad", "first");
    assert!(system.tk8s(&["sync"]).status.success());
    std::thread::sleep(std::time::Duration::from_secs(2));
    system.until_says("bad", "Held", "Rolled back to release 1");
    is_undone(&system);
    let history: Value = serde_json::from_slice(&system.tk8s(&["history", "bad", "--output", "json"]).stdout).unwrap();
    assert_eq!(history.as_array().map(Vec::len), Some(2), "tried once, undone once: {history}");
    assert_eq!((&history[0]["outcome"], &history[1]["current"]), (&"Unhealthy".into(), &true.into()));

    // Other content ends it.
    std::fs::remove_file(system.file("repository/bad/never.yaml")).unwrap();
    system.write_map("bad", "third");
    system.commit("third");
    system.until_map("above", "second");
    system.until_all("Healthy");
    assert_eq!((system.map("bad").as_str(), system.status()["alarms"].as_array().map(Vec::len)), ("third", Some(0)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_first_release_that_fails_has_nothing_to_go_back_to_and_stays() {
    let mut system = System::new("first-fails").await;
    system.write_platform(&[&["bad"]]);
    let platform = std::fs::read_to_string(system.file("repository/tk8s.yaml")).unwrap();
    system.write("tk8s.yaml", &platform.replace("path: bad", "path: bad, onFailure: rollback, healthTimeout: 2s"));
    system.write_map("bad", "first");
    system.write("bad/never.yaml", &deployment(&system.name, "never", "nodeSelector: {first-fails: \"yes\"},"));
    system.commit("first");
    system.start();
    system.until_says("bad", "Failed", "there is no healthy release to go back to");
    assert_eq!(system.map("bad"), "first", "nothing is deleted");
    system.until_looked(2).await;
    assert_eq!(system.component("bad")["reason"], "RollbackFailed", "a look at Git says nothing else");
    system.stop();
    system.start();
    system.until_says("bad", "Failed", "there is no healthy release to go back to");
    system.until("its alarm is there again", || system.status()["alarms"][0]["reason"] == "RollbackFailed");
    system.plane.kubectl(&["label", "node", "simulated", "first-fails=yes"]);
    system.until_all("Healthy");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mistake_that_is_taken_back_is_forgotten() {
    let mut system = System::new("taken-back").await;
    system.write_platform(&[&["below"], &["above"]]);
    system.write_map("below", "first");
    system.write_map("above", "first");
    system.commit("good");
    system.start();
    system.until_all("Healthy");
    system.write("below/all.yaml", "a: [");
    system.write_map("above", "unwanted");
    system.commit("bad");
    system.until_says("below", "Failed", "below/all.yaml");
    system.until_says("above", "Pending", "stands on below");
    system.write_map("below", "first");
    system.write_map("above", "first");
    system.proxy.take_seen();
    system.commit("good again");
    system.until_all("Healthy");
    assert_eq!((system.map("below"), system.map("above")), ("first".into(), "first".into()));
    assert!(!system.proxy.seen().iter().any(|seen| seen.is_patch() || seen.is_dry_run()), "nothing had to be sent");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_denied_release_is_tried_again_when_a_person_asks() {
    let system = System::two_components("denied", "").await;
    system.kubectl(&["create", "configmap", "extra", "--from-literal=at=theirs", "--field-manager=somebody"]);
    let name = &system.name;
    system.write(
        "one/extra.yaml",
        &format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: extra, namespace: {name}}}\ndata: {{at: ours}}\n"),
    );
    system.commit("contested");
    system.until_says("one", "Denied", "somebody");
    let count = |system: &System| system.proxy.seen().iter().filter(|seen| seen.is_dry_run()).count();
    let before = count(&system);
    let looks = async || system.counter("tk8s_fetches_total", "outcome=\"ok\"").await;
    let looked = looks().await;
    while looks().await < looked + 2 {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(count(&system), before, "what was denied is not tried by the clock");
    // Its owner gives the field up, which nothing in Git says.
    system.kubectl(&["delete", "configmap", "extra"]);
    assert!(system.tk8s(&["sync"]).status.success());
    system.until_map("extra", "ours");
    system.until_all("Healthy");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_view_that_is_lost_is_made_anew_and_drift_is_seen_as_before() {
    let mut system = System::two_components("view-lost", "").await;
    system.stop();
    std::fs::remove_dir_all(system.file("history/view")).unwrap();
    // Nor is there a Git server to be asked.
    std::fs::rename(system.file("repository"), system.file("away")).unwrap();
    system.kubectl(&["patch", "configmap", "one", "--type", "merge", "-p", r#"{"data":{"at":"tampered"}}"#]);
    system.start();
    system.until_map("one", "first");
    std::fs::rename(system.file("away"), system.file("repository")).unwrap();
    system.until_all("Healthy");
    system.kubectl(&["delete", "configmap", "two"]);
    system.until_map("two", "first");
    system.until_all("Healthy");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_that_moves_to_another_component_is_handed_over_and_one_that_both_want_is_taken_by_neither() {
    let mut system = System::new("handed-over").await;
    system.write_platform(&[&["below"], &["above"]]);
    system.write_map("below", "first");
    system.write_map("above", "first");
    let name = system.name.clone();
    let extra = format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: extra, namespace: {name}}}\ndata: {{at: there}}\n");
    system.write("below/extra.yaml", &extra);
    system.commit("it is below");
    system.start();
    system.until_all("Healthy");
    let uid = |system: &System| system.kubectl(&["get", "configmap", "extra", "-o", "jsonpath={.metadata.uid}"]);
    let component = |system: &System| {
        system.kubectl(&["get", "configmap", "extra", "-o", r"jsonpath={.metadata.labels.agent\.tk8s\.io/component}"])
    };
    let before = uid(&system);
    std::fs::remove_file(system.file("repository/below/extra.yaml")).unwrap();
    system.write("above/extra.yaml", &extra);
    system.commit("it is above");
    system.until("it is handed over", || component(&system) == "above");
    system.until_all("Healthy");
    assert_eq!(uid(&system), before, "it was not made anew");
    system.write("below/extra.yaml", &extra.replace("there", "below"));
    system.commit("both want it");
    system.until_says("below", "Denied", "belongs to the component `above`");
    assert_eq!((component(&system), system.map("extra")), ("above".into(), "there".into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_later_wave_can_not_bring_is_refused_before_the_first_write() {
    let mut system = System::new("rehearsed").await;
    system.write_platform(&[&["one"]]);
    system.write_map("one", "first");
    let service = "apiVersion: v1\nkind: Service\nmetadata: {name: web, namespace: rehearsed, annotations: {tk8s.io/wave: '1'}}\nspec: {ports: [{port: PORT}]}\n";
    system.write("one/service.yaml", &service.replace("PORT", "80"));
    system.commit("first");
    system.start();
    system.until_all("Healthy");
    system.write_map("one", "second");
    system.write("one/service.yaml", &service.replace("PORT", "80000"));
    system.commit("second");
    system.until_says("one", "Denied", "spec.ports[0].port");
    assert_eq!(system.map("one"), "first");
    system.write("one/service.yaml", &service.replace("PORT", "81"));
    system.commit("third");
    system.until_map("one", "second");
    system.until_all("Healthy");
    assert_eq!(system.kubectl(&["get", "service", "web", "-o", "jsonpath={.spec.ports[0].port}"]), "81");
}

/// The plan that a denial of the component `one` asks a person to confirm.
fn what_a_person_is_asked_for(system: &System) -> String {
    let message = system.component("one")["message"].as_str().unwrap().to_owned();
    message.split("confirm ").nth(1).and_then(|rest| rest.split(' ').next()).unwrap().to_owned()
}

/// F45: what a person allowed counts for exactly that plan, asked again before it is carried out.
#[tokio::test(flavor = "multi_thread")]
async fn an_accident_in_git_deletes_nothing_until_a_person_lets_exactly_that_through() {
    let mut system = System::new("accident").await;
    system.write_platform(&[&["one"]]);
    system.write_map("one", "first");
    let map = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: NAME, namespace: accident}\n---\n";
    let maps: String = (0..12).map(|number| map.replace("NAME", &format!("m{number}"))).collect();
    system.write("one/maps.yaml", &maps);
    system.commit("first");
    system.start();
    system.until_all("Healthy");
    system.write("one/maps.yaml", "# nothing is left\n");
    system.write_map("one", "second");
    system.commit("an accident");
    system.until_says("one", "Denied", "it would delete 12 of the 13 objects of one");
    assert_eq!(system.map("one"), "first", "a plan is carried out whole or not at all");
    let plan = what_a_person_is_asked_for(&system);
    let confirm = |system: &System, plan: &str| system.tk8s(&["confirm", plan, "--reason", "they are not needed"]);
    assert!(!confirm(&system, "one.2.0000000000000000").status.success());
    system.stop();
    system.start();
    assert!(confirm(&system, &plan).status.success(), "the name of the plan outlives the process");
    system.until_map("one", "second");
    system.until_all("Healthy");
    let left = system.kubectl(&["get", "configmaps", "-o", "jsonpath={.items[*].metadata.name}"]);
    assert_eq!(left.split(' ').filter(|name| name.starts_with('m')).count(), 0, "{left}");
    assert!(!confirm(&system, &plan).status.success(), "nothing waits for it any more");
}

/// What a person let through outside of its window waits for the window, also across a restart, and begins by itself then.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_person_let_through_begins_when_its_window_opens() {
    let mut system = System::new("late-yes").await;
    let platform = |windows: &str| {
        format!(
            "apiVersion: tk8s.io/v1alpha1\nkind: Platform\nlayers:\n- {{number: 0, name: all, namespace: late-yes, windows: [{windows}], \
             components: [{{name: one, path: one}}]}}\n"
        )
    };
    system.write("tk8s.yaml", &platform(""));
    system.write_map("one", "first");
    let map = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: NAME, namespace: late-yes}\n---\n";
    system.write("one/maps.yaml", &(0..12).map(|number| map.replace("NAME", &format!("m{number}"))).collect::<String>());
    system.commit("first");
    system.start();
    system.until_all("Healthy");
    system.write("tk8s.yaml", &platform("{allow: '0 0 29 FEB *', duration: 1m}"));
    system.write("one/maps.yaml", "# nothing is left\n");
    system.write_map("one", "second");
    system.commit("an accident, outside of its window");
    system.until_says("one", "Denied", "it would delete 12 of the 13 objects of one");
    let plan = what_a_person_is_asked_for(&system);
    assert!(system.tk8s(&["confirm", &plan, "--reason", "they are not needed"]).status.success());
    let waits = |system: &System| {
        let message = system.component("one")["message"].as_str().unwrap_or_default().to_owned();
        message.contains("window") && !message.contains("it would delete")
    };
    system.until("it waits for its window only", || waits(&system));
    system.stop();
    system.start();
    system.until("it still does", || waits(&system));
    assert_eq!(system.map("one"), "first");
    system.write("tk8s.yaml", &platform(""));
    system.commit("at any time");
    system.until_map("one", "second");
    system.until_all("Healthy");
}

/// It was never begun, because the release before it counted as what failed; and whatever went after it waited for ever.
#[tokio::test(flavor = "multi_thread")]
async fn a_component_that_is_not_healthy_is_taken_away_like_any_other() {
    let mut system = System::new("leaving-broken").await;
    let layers = |components: &str| {
        format!(
            "apiVersion: tk8s.io/v1alpha1\nkind: Platform\nlayers:\n{components}  - {{number: 2, name: rest, components: []}}\n"
        )
    };
    let keys = "namespace: leaving-broken, deletion: delete, healthTimeout: 2s";
    let components = format!(
        "  - {{number: 0, name: base, {keys}, components: [{{name: one, path: one}}]}}\n  - {{number: 1, name: top, {keys}, components: [{{name: broken, path: broken}}]}}\n"
    );
    system.write("tk8s.yaml", &layers(&components));
    system.write_map("one", "first");
    let set = "apiVersion: apps/v1\nkind: StatefulSet\nmetadata: {name: silent}\nspec:\n  serviceName: silent\n  selector: {matchLabels: {app: silent}}\n  template: {metadata: {labels: {app: silent}}, spec: {serviceAccountName: nobody, containers: [{name: run, image: 'run:1'}]}}\n";
    system.write("broken/all.yaml", set);
    system.commit("one that never gets well");
    system.start();
    system.until_says("broken", "Failed", "did not become healthy in time");
    system.write("tk8s.yaml", &layers(""));
    system.commit("both leave");
    system.until_all("Removed");
    assert_eq!(system.kubectl(&["get", "statefulset/silent", "configmap/one", "--ignore-not-found", "-o", "name"]), "");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_component_that_leaves_the_platform_takes_its_objects_along_only_if_the_platform_said_so() {
    let mut system = System::new("leaving").await;
    let platform = |system: &System, components: &[&str]| {
        let text = format!(
            "apiVersion: tk8s.io/v1alpha1\nkind: Platform\nlayers:\n- number: 0\n  name: base\n  namespace: leaving\n  components:\n  - {}\n",
            components.join("\n  - ")
        );
        system.write("tk8s.yaml", &text);
    };
    let (one, two, three) =
        ("{name: one, path: one}", "{name: two, path: two, deletion: delete}", "{name: three, path: three, deletion: delete}");
    platform(&system, &[one, two, three]);
    let map = |name: &str| format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}}}\ndata: {{at: first}}\n");
    for component in ["one", "two", "three"] {
        system.write_map(component, "first");
    }
    system.write("two/moves.yaml", &map("moves"));
    system.write("two/kept.yaml", "apiVersion: v1\nkind: Namespace\nmetadata: {name: leaving-kept}\n");
    system.commit("three components");
    system.start();
    system.until_all("Healthy");
    let uid = |system: &System, name: &str| {
        system.kubectl(&["get", "configmap", name, "--ignore-not-found", "-o", "jsonpath={.metadata.uid}"])
    };
    let (of_one, of_moves) = (uid(&system, "one"), uid(&system, "moves"));

    // While a person holds it, it stays; and that it is to go is not forgotten by a restart.
    assert!(system.tk8s(&["hold", "two", "--reason", "somebody looks at it"]).status.success());
    std::fs::remove_file(system.file("repository/two/moves.yaml")).unwrap();
    system.write("three/moves.yaml", &map("moves"));
    platform(&system, &[three]);
    system.commit("one and two leave, and something of two stays with three");
    system.until_says("one", "Removed", "its 1 objects stay");
    system.until_says("two", "Held", "");
    system.until_says("three", "Healthy", "");
    system.stop();
    system.start();
    system.until_says("two", "Held", "");
    assert!(!uid(&system, "two").is_empty() && system.component("two")["release"] == 1);
    assert!(system.tk8s(&["resume", "two"]).status.success());
    system.until_says("two", "Removed", "1 of its objects had to stay");
    assert_eq!(
        (uid(&system, "two"), uid(&system, "moves"), uid(&system, "one")),
        (String::new(), of_moves, of_one),
        "no more than was to go, and nothing anew"
    );
    assert_eq!(system.kubectl(&["get", "namespace", "leaving-kept", "-o", "jsonpath={.status.phase}"]), "Active");

    // Disabled, enabled again, disabled again.
    let disable = |system: &System| {
        platform(system, &["{name: three, path: three, deletion: delete, enabled: false}"]);
        system.commit("three is disabled");
        system.until_says("three", "Removed", "nothing of it is left");
        assert_eq!(uid(system, "three"), "");
    };
    disable(&system);
    platform(&system, &[three]);
    system.commit("three is enabled again");
    system.until_says("three", "Healthy", "");
    assert!(!uid(&system, "three").is_empty());
    disable(&system);

    // It was a release: it is in the history, and is undone like any other.
    let history = String::from_utf8_lossy(&system.tk8s(&["history", "three"]).stdout).into_owned();
    assert_eq!(history.matches("taken away").count(), 2, "{history}");
    let back = system.tk8s(&["rollback", "three"]);
    assert!(back.status.success(), "{}", String::from_utf8_lossy(&back.stderr));
    assert!(!uid(&system, "three").is_empty() && !uid(&system, "moves").is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_api_server_warns_about_is_shown_where_an_operator_looks() {
    let mut system = System::two_components("warned", "").await;
    let name = system.name.clone();
    system.write(
        "one/warned.yaml",
        &format!(
            "apiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: old, namespace: {name}}}\nspec: {{replicas: 0, selector: {{matchLabels: {{app: old}}}}, template: {{metadata: {{labels: {{app: old}}}}, spec: {{nodeSelector: {{beta.kubernetes.io/os: linux}}, containers: [{{name: web, image: 'web:1'}}]}}}}}}\n"
        ),
    );
    system.commit("an old label");
    let shown = |words: &[&str]| String::from_utf8_lossy(&system.tk8s(words).stdout).into_owned();
    let warning = "spec.template.spec.nodeSelector[beta.kubernetes.io/os]: deprecated";
    system.until("the warning", || shown(&["status"]).contains(warning));
    system.until_all("Healthy");
    let history = shown(&["history", "one"]);
    assert!(history.contains(&format!("the API server warns about Deployment.apps {name}/old: {warning}")), "{history}");
    let told = system.component("one")["warnings"].clone();
    assert_eq!(told.as_array().map(Vec::len), Some(1), "{told}");
    assert_eq!(system.component("two")["warnings"], serde_json::json!([]));
    // It is still known after a restart, without asking again.
    system.stop();
    system.start();
    system.until_all("Healthy");
    assert!(String::from_utf8_lossy(&system.tk8s(&["status"]).stdout).contains(warning));
}
#[tokio::test(flavor = "multi_thread")]
async fn no_component_however_hostile_makes_the_agent_large_or_keeps_another_from_being_applied() {
    let full = "take more than 25165824 bytes of memory";
    let hostile = [
        ("text", "an object of 8388"),
        ("keys", full),
        ("pairs", full),
        ("items", full),
        ("aliases", full),
        ("twins", full),
        ("bomb", "kustomize"),
        ("loop", "OutOfMemory: helm was ended"),
    ];
    let mut system = System::new("hostile").await;
    let name = system.name.clone();
    let head = format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: a, namespace: {name}}}\n");
    let files = [
        ("text/a.yaml", format!("{head}v: {}\n", "x".repeat(8 * 1024 * 1024 - 200))),
        ("keys/a.yaml", (0..500_000).fold(head.clone(), |text, index| text + &format!("k{index}: 1\n"))),
        ("pairs/a.yaml", format!("{head}v: [{}]\n", "a: 1, ".repeat(250_000))),
        (
            "items/a.yaml",
            (0..100_001).fold("kind: List\nitems:\n".into(), |text: String, index| {
                text + &format!("- {{kind: ConfigMap, apiVersion: v1, metadata: {{name: a{index}}}}}\n")
            }),
        ),
        ("aliases/a.yaml", format!("{head}a: &x \"{}\"\nb: [{}]\n", "x".repeat(1 << 20), "*x, ".repeat(1000))),
        ("twins/a.yaml", format!("{head}---\n").repeat(50_000)),
        ("bomb/kustomization.yaml", "resources: [a.yaml]\n".into()),
        (
            "bomb/a.yaml",
            (1..10).fold("a0: &a0 [x, x, x, x, x, x, x, x, x]\n".to_owned(), |text, level| {
                text + &format!("a{level}: &a{level} [{}]\n", vec![format!("*a{}", level - 1); 9].join(", "))
            }),
        ),
        ("loop/Chart.yaml", "apiVersion: v2\nname: loop\nversion: 1.0.0\n".into()),
        ("loop/templates/a.yaml", format!("{{{{ range until 100000000 }}}}{head}---\n{{{{ end }}}}")),
    ];
    for (path, text) in &files {
        system.write(path, text);
    }
    // What is fetched and never deployed, and can't be compressed.
    let noise = (0..15 << 20).scan(1_u64, |state, _| {
        *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        Some((*state >> 56) as u8)
    });
    std::fs::write(system.file("repository/noise"), noise.collect::<Vec<_>>()).unwrap();
    system.write_map("good", "first");
    let component = |name: &str| format!("{{name: {name}, path: {name}, namespace: hostile}}");
    let components: Vec<_> = hostile.iter().map(|(name, _)| component(name)).chain([component("good")]).collect();
    let layer = format!("{{number: 0, name: all, components: [{}]}}", components.join(", "));
    system.write("tk8s.yaml", &format!("apiVersion: tk8s.io/v1alpha1\nkind: Platform\nlayers: [{layer}]\n"));
    system.commit("all of them");
    let programs = tk8s_tests::renderers();
    system.more = format!("render: {{memory: 256MiB, timeout: 30s, kustomize: {programs}/kustomize, helm: {programs}/helm}}");
    system.timeout = "30s";
    let _server = serve(&mut system);
    system.start();
    let (process, ended) = (system.process().unwrap(), std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false)));
    let over = std::sync::Arc::clone(&ended);
    // What it holds itself, looked at all the time: pages of files, the program's own first, can be dropped by the kernel.
    let peak = std::thread::spawn(move || {
        let mut peak = 0;
        while !over.load(std::sync::atomic::Ordering::Relaxed) {
            let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
            let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
            peak = peak.max(line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() / 1024);
            std::thread::sleep(Duration::from_millis(2));
        }
        peak
    });
    system.until_map("good", "first");
    for (component, word) in hostile {
        let message = || system.component(component)["message"].as_str().unwrap_or_default().to_owned();
        system.until(&format!("{component} is refused: {word}"), || message().contains(word));
    }
    ended.store(true, std::sync::atomic::Ordering::Relaxed);
    let peak = peak.join().unwrap();
    println!("{peak} MiB");
    assert!(peak <= 64, "{peak} MiB");
}

/// Serves the repository by git's own server, which ends with what is given.
fn serve(system: &mut System) -> impl Drop + use<> {
    struct Server(std::process::Child);
    impl Drop for Server {
        fn drop(&mut self) {
            self.0.kill().ok();
            self.0.wait().ok();
        }
    }
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let top = system.file("");
    // Itself, and not by `git`, whose end it would outlive.
    let programs = std::process::Command::new("git").arg("--exec-path").output().unwrap().stdout;
    let server = std::process::Command::new(format!("{}/git-daemon", String::from_utf8(programs).unwrap().trim()))
        .args(["--listen=127.0.0.1", "--reuseaddr", "--export-all", "--strict-paths", &format!("--port={port}")])
        .arg(system.file("repository/.git"))
        .current_dir(top)
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    system.repository_url = format!("git://127.0.0.1:{port}{}", system.file("repository/.git").display());
    system.until("git serves", || std::net::TcpStream::connect(("127.0.0.1", port)).is_ok());
    Server(server)
}

#[tokio::test(flavor = "multi_thread")]
async fn health_rules_of_files_and_of_git_are_in_force_when_they_change_and_a_broken_one_never() {
    let mut system = System::new("rules").await;
    let rules = system.file("rules");
    std::fs::create_dir(&rules).unwrap();
    system.more = format!("health: {{rulesDir: {}}}", rules.display());
    let write = |rule: &str| {
        let text = format!("apiVersion: agent.tk8s.io/v1alpha1\nkind: HealthRules\nrules:\n  - kinds: [ConfigMap]\n    {rule}\n");
        // Not half of it: the agent may look at any moment.
        std::fs::write(rules.join("new"), text).unwrap();
        std::fs::rename(rules.join("new"), rules.join("maps.yaml")).unwrap();
    };
    let is = |system: &System, health: &str, words: &str| {
        system.until(&format!("it is {health}"), || {
            let one = system.component("one");
            one["health"] == health && one["message"].as_str().is_some_and(|message| message.contains(words))
        });
    };
    write("degraded: object.data.at == 'second'");
    system.write_platform(&[&["one"]]);
    system.write_map("one", "first");
    system.commit("first");
    system.start();
    system.until_all("Healthy");
    system.write_map("one", "second");
    system.commit("second");
    is(&system, "Degraded", "");
    // What is known is judged again by the new rule, and nobody is asked about it.
    system.proxy.take_seen();
    write("degraded: object.data.at == 'third'");
    is(&system, "Healthy", "");
    assert!(!system.proxy.seen().iter().any(|seen| seen.uri.contains("/configmaps/one")), "{:?}", system.proxy.seen());
    write("degraded: object.data.at ==");
    let refused = |system: &System| {
        let alarms = system.status()["alarms"].clone();
        alarms.as_array().is_some_and(|alarms| {
            let told = |alarm: &Value| {
                alarm["message"].as_str().is_some_and(|message| message.contains("maps.yaml:5: rules[0].degraded"))
            };
            alarms.iter().any(|alarm| alarm["reason"] == "HealthRulesRefused" && told(alarm))
        })
    };
    system.until("the broken rule is told", || refused(&system));
    assert_eq!(system.component("one")["health"], "Healthy");
    write("degraded: object.data.at == 'second'");
    system.until("it is told no more", || !refused(&system));
    is(&system, "Degraded", "");
    // The component's own rule counts before the agent's.
    let own = |expression: &str| {
        format!(
            "apiVersion: tk8s.io/v1alpha1\nkind: Platform\nlayers:\n  - number: 0\n    name: l0\n    components:\n      - name: one\n        path: one\n        health:\n          - kinds: [ConfigMap]\n            suspended: {expression}\n"
        )
    };
    system.write("tk8s.yaml", &own("object.data.at == 'second'"));
    system.commit("a rule of its own");
    is(&system, "Suspended", "");
    system.write("tk8s.yaml", &own("objekt.data.at == 'second'"));
    system.commit("a broken rule");
    system.until("the platform is refused", || {
        let problem = system.status()["problem"].clone();
        problem["message"]
            .as_str()
            .is_some_and(|message| message.contains("tk8s.yaml:11: layers[0].components[0].health[0].suspended"))
    });
    assert_eq!(system.component("one")["health"], "Suspended");
}
