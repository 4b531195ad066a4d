//! What people ask the whole agent for: to write nothing, to wait, to go back, and to tell what was.

use std::process::{Command, Output};
use std::time::Duration;

use serde_json::Value;
use tk8s_tests::program;
use tk8s_tests::proxy::{Fault, Seen};
use tk8s_tests::system::System;

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// What a command answers as JSON, with its exit code.
fn json(system: &System, arguments: &[&str]) -> (i32, Value) {
    let output = system.tk8s(&[arguments, &["--output", "json"]].concat());
    let code = output.status.code().expect("because nobody killed it");
    (code, serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{arguments:?}: {}", text(&output))))
}

fn yes(system: &System, arguments: &[&str]) -> String {
    let output = system.tk8s(arguments);
    assert!(output.status.success(), "{arguments:?}: {}", text(&output));
    text(&output)
}

fn writes(name: &'static str) -> impl Fn(&Seen) -> bool + Send + 'static {
    move |seen| seen.is_patch() && seen.uri.contains(&format!("/configmaps/{name}"))
}

fn named_map(namespace: &str, name: &str, at: &str) -> String {
    format!("---\napiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}, namespace: {namespace}}}\ndata: {{at: \"{at}\"}}\n")
}

/// Releases `below` and `above` with these values, one after the other; with the first the agent is started.
fn release_both(system: &mut System, values: &[&str]) {
    for at in values {
        system.write_map("below", at);
        system.write_map("above", at);
        system.commit(at);
        if *at == values[0] {
            system.start();
        }
        system.until_map("above", at);
        system.until_all("Healthy");
    }
}

/// Two layers of one component each, at their second release.
async fn two_layers(name: &str) -> System {
    let mut system = System::new(name).await;
    system.write_platform(&[&["below"], &["above"]]);
    release_both(&mut system, &["first", "second"]);
    system
}

#[tokio::test(flavor = "multi_thread")]
async fn for_what_is_suspended_nothing_is_written_until_it_is_resumed() {
    let mut system = System::two_components("suspended", "").await;
    yes(&system, &["suspend", "one", "--reason", "an audit"]);
    system.proxy.take_seen();
    system.kubectl(&["patch", "configmap", "one", "--type=merge", "-p", r#"{"data": {"at": "theirs"}}"#]);
    system.until("drift is reported", || system.component("one")["drift"][0]["object"].is_string());
    system.write_map("one", "second");
    system.write_map("two", "second");
    system.commit("something for both");
    system.until_map("two", "second");
    system.until_says("one", "Suspended", "an audit");
    system.stop();
    system.start();
    system.until_says("one", "Suspended", "tk8s-agent resume one");
    let suspension = &system.component("one")["suspension"];
    assert_eq!((suspension["by"].as_str(), suspension["scope"]["component"].as_str()), (Some("token"), Some("one")));
    system.until("the drift is seen again", || system.component("one")["drift"][0]["object"].is_string());
    assert!(!system.proxy.seen().iter().any(writes("one")), "{:?}", system.proxy.seen());
    assert_eq!(system.map("one"), "theirs");
    // What waited needs no Git.
    std::fs::rename(system.file("repository"), system.file("away")).expect("because it is ours");
    assert!(yes(&system, &["resume", "one"]).contains("one follows Git again"));
    system.until_map("one", "second");
    system.until_all("Healthy");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_goes_back_also_where_nothing_else_is_written() {
    let system = two_layers("suspended-back").await;
    yes(&system, &["suspend", "--all", "--reason", "an incident"]);
    yes(&system, &["rollback", "above", "--reason", "it is this one"]);
    assert_eq!((system.map("above"), system.map("below")), ("first".into(), "second".into()));
    // The suspension stands, and so does the hold when it has ended.
    system.kubectl(&["patch", "configmap", "above", "--type=merge", "-p", r#"{"data": {"at": "theirs"}}"#]);
    system.until("the drift is reported", || system.component("above")["drift"][0]["object"].is_string());
    assert_eq!(system.map("above"), "theirs");
    let (_, resumed) = json(&system, &["resume", "--all"]);
    assert_eq!(resumed["resumed"], true);
    assert!(resumed["still"][0].as_str().is_some_and(|still| still.contains("above is held at release 1")), "{resumed}");
    system.until_map("above", "first");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_word_about_a_layer_is_ended_by_a_word_about_the_layer() {
    let system = two_layers("layer-words").await;
    let (_, suspended) = json(&system, &["suspend", "--layer", "l1", "--reason", "an audit"]);
    assert_eq!((&suspended["components"][0], &suspended["scope"]["layer"]), (&"above".into(), &"1-l1".into()));
    system.write_map("below", "third");
    system.write_map("above", "third");
    system.commit("for both");
    system.until_map("below", "third");
    system.until_says("above", "Suspended", "--layer 1-l1");
    let (code, resumed) = json(&system, &["resume", "above"]);
    assert_eq!((code, &resumed["resumed"]), (0, &false.into()));
    assert!(resumed["still"][0].as_str().is_some_and(|still| still.contains("tk8s-agent resume --layer 1-l1")), "{resumed}");
    assert_eq!(system.map("above"), "second");
    yes(&system, &["resume", "--layer", "1"]);
    system.until_map("above", "third");
    system.until_all("Healthy");
    // A hold of the layer, too: not ended by a word about everything, and ended by one about the layer.
    let (_, held) = json(&system, &["hold", "--layer", "1-l1", "--reason", "a freeze"]);
    assert_eq!((&held["held"][0]["component"], &held["held"][0]["release"]), (&"above".into(), &3.into()));
    let (_, resumed) = json(&system, &["resume", "--all"]);
    assert_eq!(resumed["resumed"], false);
    assert_eq!(
        (&system.component("above")["hold"]["reason"], &system.component("below")["hold"]),
        (&"a freeze".into(), &Value::Null)
    );
    yes(&system, &["resume", "--layer", "l1"]);
    assert_eq!(system.component("above")["hold"], Value::Null);
    let unknown = system.tk8s(&["resume", "--layer", "nowhere"]);
    assert!(text(&unknown).contains("UnknownLayer"), "{}", text(&unknown));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_suspended_is_not_taken_away_either() {
    let system = two_layers("suspended-away").await;
    let platform = std::fs::read_to_string(system.file("repository/tk8s.yaml")).expect("because it was written");
    system.write("tk8s.yaml", &platform.replace("path: above", "path: above, deletion: delete"));
    system.write_map("below", "third");
    system.commit("it would go with everything");
    system.until_map("below", "third");
    yes(&system, &["suspend", "--layer", "l1", "--reason", "an audit"]);
    system.write_platform(&[&["below"]]);
    system.write_map("below", "fourth");
    system.commit("a slip");
    system.until_map("below", "fourth");
    system.until("it says why it waits", || {
        system.component("above")["message"].as_str().is_some_and(|message| message.contains("--layer 1-l1"))
    });
    assert_eq!(system.map("above"), "second");
    yes(&system, &["resume", "--layer", "l1"]);
    system.until_map("above", "");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_layer_goes_back_to_before_what_changed_it_last_and_everything_to_a_revision() {
    let mut system = System::new("many-back").await;
    system.write_platform(&[&["below"], &["above", "beside"]]);
    system.write_map("beside", "first");
    release_both(&mut system, &["first", "second", "third"]);
    let all = |system: &System| ["below", "above", "beside"].map(|name| system.map(name));
    system.proxy.take_seen();
    let (code, plan) = json(&system, &["rollback", "--layer", "l1", "--dry-run"]);
    assert_eq!((code, &plan["components"][0]["component"], &plan["components"][0]["to"]), (0, &"above".into(), &2.into()));
    let planned = &plan["components"][0]["objects"][0];
    assert_eq!(planned["action"], "configure");
    assert!(planned["diff"].as_str().is_some_and(|diff| diff.contains("-  at: third\n+  at: second")), "{planned}");
    assert_eq!(plan["left"][0]["component"], "beside");
    assert!(yes(&system, &["rollback", "--layer", "l1", "--dry-run"]).contains("+  at: second"));
    assert!(!system.proxy.seen().iter().any(Seen::is_patch), "nothing was written");
    assert_eq!(system.component("above")["hold"], Value::Null);
    let (_, done) = json(&system, &["rollback", "--layer", "l1", "--reason", "the layer"]);
    assert_eq!(done["components"].as_array().map(Vec::len), Some(1), "{done}");
    assert_eq!(all(&system), ["third", "second", "first"]);
    assert_eq!(system.component("beside")["hold"], Value::Null);
    yes(&system, &["resume", "--layer", "l1"]);
    system.until_map("above", "third");
    system.until_all("Healthy");
    // All of it, to the first revision, without Git.
    let (_, history) = json(&system, &["history", "above"]);
    let first = history.as_array().and_then(|all| all.iter().find(|one| one["release"] == 1)).expect("the first release");
    let commit = first["commit"].as_str().expect("a commit")[..10].to_owned();
    std::fs::rename(system.file("repository"), system.file("away")).expect("because it is ours");
    let no = system.tk8s(&["rollback", "--all", "--reason", "x"]);
    assert_eq!(no.status.code(), Some(2), "a revision is asked for: {}", text(&no));
    system.proxy.take_seen();
    let (code, done) = json(&system, &["rollback", "--all", "--to-revision", &commit, "--reason", "everything"]);
    assert_eq!(code, 0, "{done}");
    assert_eq!(all(&system), ["first", "first", "first"]);
    let order: Vec<_> = done["components"].as_array().expect("a list").iter().map(|one| one["component"].clone()).collect();
    assert_eq!((order.len(), &order[2]), (3, &"below".into()), "the highest layer goes first: {order:?}");
    let seen = system.proxy.seen();
    assert_eq!(
        seen.iter().filter(|seen| seen.is_dry_run()).count(),
        2,
        "what was asked before the first write is not asked again"
    );
    let patched: Vec<_> = seen.into_iter().filter(Seen::is_patch).collect();
    assert!(patched.len() == 2 && writes("above")(&patched[0]) && writes("below")(&patched[1]), "{patched:?}");
    std::fs::rename(system.file("away"), system.file("repository")).expect("because it is ours");
    yes(&system, &["resume", "--all"]);
    system.until_map("below", "third");
    system.until_map("above", "third");
    system.until_all("Healthy");
}

fn widgets(group: &str) -> String {
    format!(
        "apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata: {{name: widgets.{group}}}\nspec:\n  group: {group}\n  scope: Namespaced\n  names: {{kind: Widget, plural: widgets, singular: widget}}\n  versions:\n    - name: v1\n      served: true\n      storage: true\n      schema: {{openAPIV3Schema: {{type: object, x-kubernetes-preserve-unknown-fields: true}}}}\n"
    )
}

/// F44: what is gone back to is no more what the API server takes.
#[tokio::test(flavor = "multi_thread")]
async fn what_the_api_server_takes_no_more_refuses_a_rollback_before_its_first_write() {
    let system = System::two_components("rejected-back", "").await;
    let (name, group) = (system.name.clone(), "rejected.example.com");
    system.plane.apply(&widgets(group));
    system.plane.until(
        "True",
        &[
            "get",
            "crd",
            "widgets.rejected.example.com",
            "-o",
            r#"jsonpath={.status.conditions[?(@.type=="Established")].status}"#,
        ],
    );
    let widget = format!("apiVersion: {group}/v1\nkind: Widget\nmetadata: {{name: w, namespace: {name}}}\nspec: {{a: 1}}\n");
    system.write("one/widget.yaml", &widget);
    system.write_map("one", "second");
    system.commit("with a widget");
    system.until_map("one", "second");
    system.until_all("Healthy");
    std::fs::remove_file(system.file("repository/one/widget.yaml")).expect("because it is ours");
    system.write_map("one", "third");
    system.commit("without it");
    system.until_map("one", "third");
    system.until_all("Healthy");
    system.plane.kubectl(&["delete", "crd", "widgets.rejected.example.com"]);
    system.proxy.take_seen();
    let refused = system.tk8s(&["rollback", "one", "--to", "2"]);
    let said = text(&refused);
    assert_eq!(refused.status.code(), Some(1), "{said}");
    for word in ["RollbackRefused", "Widget", "does not serve", "--skip-rejected"] {
        assert!(said.contains(word), "{word}: {said}");
    }
    assert!(!system.proxy.seen().iter().any(Seen::is_patch), "nothing was written");
    let status = system.component("one");
    assert_eq!((&status["hold"], &status["state"]), (&Value::Null, &"Healthy".into()), "{status}");
    let (code, plan) = json(&system, &["rollback", "one", "--to", "2", "--dry-run"]);
    assert_eq!((code, plan["components"][0]["rejected"].as_array().map(Vec::len)), (1, Some(1)), "{plan}");
    let (_, done) = json(&system, &["rollback", "one", "--to", "2", "--skip-rejected", "--reason", "all the same"]);
    assert!(done["left"][0]["object"].as_str().is_some_and(|object| object.contains("Widget")), "{done}");
    assert_eq!(system.map("one"), "second");
    let (_, shown) = json(&system, &["history", "show", "one", "2"]);
    assert!(shown["story"]["leftOut"][0]["reason"].as_str().is_some_and(|why| why.contains("does not serve")), "{shown}");
    // It is held there, and repaired without it.
    system.until("it is held", || system.component("one")["state"] == "Held");
    let left_out = &system.component("one")["leftOut"];
    assert!(left_out[0]["object"].as_str().is_some_and(|object| object.contains("Widget")), "{left_out}");
    system.kubectl(&["patch", "configmap", "one", "--type=merge", "-p", r#"{"data": {"at": "theirs"}}"#]);
    system.until_map("one", "second");
}

#[tokio::test(flavor = "multi_thread")]
async fn volumes_are_not_deleted_by_a_rollback_unless_that_is_asked_for() {
    let system = System::two_components("volumes-stay", "").await;
    let name = system.name.clone();
    let platform = std::fs::read_to_string(system.file("repository/tk8s.yaml")).expect("because it was written");
    system.write("tk8s.yaml", &platform.replace("path: one", "path: one, healthTimeout: 2s, prune: {protect: []}"));
    let claim = format!(
        "apiVersion: v1\nkind: PersistentVolumeClaim\nmetadata: {{name: data, namespace: {name}, finalizers: []}}\nspec: {{storageClassName: none, accessModes: [ReadWriteOnce], resources: {{requests: {{storage: 1Gi}}}}}}\n"
    );
    system.write("one/claim.yaml", &claim);
    system.write_map("one", "second");
    system.commit("with a volume");
    system.until_map("one", "second");
    system.until("the claim is there", || !system.kubectl(&["get", "pvc", "data", "--ignore-not-found"]).is_empty());
    let (_, plan) = json(&system, &["rollback", "one", "--to", "1", "--dry-run"]);
    let planned = &plan["components"][0];
    assert_eq!((&planned["deletes"], planned["keeps"].as_array().map(Vec::len)), (&Value::Array(vec![]), Some(1)), "{plan}");
    yes(&system, &["rollback", "one", "--to", "1", "--reason", "back"]);
    system.until("it is held", || system.component("one")["state"] == "Held");
    system.kubectl(&["patch", "configmap", "one", "--type=merge", "-p", r#"{"data": {"at": "theirs"}}"#]);
    system.until_map("one", "first");
    let gone = |system: &System| {
        system.kubectl(&[
            "get",
            "pvc",
            "data",
            "--ignore-not-found",
            "-o",
            "jsonpath={.metadata.uid}{.metadata.deletionTimestamp}",
        ])
    };
    let before = gone(&system);
    assert!(!before.is_empty() && !before.contains("T"), "neither the rollback nor a repair after it deletes it: {before}");
    yes(&system, &["rollback", "one", "--to", "1", "--delete-protected", "--reason", "with everything"]);
    system.until("it is deleted", || gone(&system) != before);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_window_and_no_unhealthy_neighbour_stops_a_rollback() {
    let system = two_layers("nothing-stops").await;
    let platform = std::fs::read_to_string(system.file("repository/tk8s.yaml")).expect("because it was written");
    let closed = "path: above, windows: [{deny: \"* * * * *\", duration: 1h}]";
    system.write("tk8s.yaml", &platform.replace("path: above", closed));
    system.write_map("above", "third");
    system.write(
        "below/all.yaml",
        &format!(
            "apiVersion: v1\nkind: Pod\nmetadata: {{name: below, namespace: {}}}\nspec: {{nodeSelector: {{never: here}}, containers: [{{name: main, image: \"pause:1\"}}]}}\n",
            system.name
        ),
    );
    system.commit("a window that is closed, and a neighbour that never gets healthy");
    system.until("the neighbour is not healthy", || system.component("below")["health"] != "Healthy");
    yes(&system, &["rollback", "above", "--reason", "now"]);
    assert_eq!(system.map("above"), "first");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollback_during_an_apply_lets_the_write_end_and_has_the_last_word() {
    let system = System::two_components("back-during", "").await;
    let name = system.name.clone();
    system.write("one/all.yaml", &[named_map(&name, "one", "first"), named_map(&name, "other", "first")].concat());
    system.commit("a base");
    system.until_map("other", "first");
    system.until_all("Healthy");
    system.proxy.disturb(1, Fault::Slow(Duration::from_secs(3)), writes("other"));
    system.proxy.take_seen();
    system.write("one/all.yaml", &[named_map(&name, "one", "second"), named_map(&name, "other", "second")].concat());
    system.commit("a change that is under way");
    system.until("it is being written", || system.proxy.seen().iter().any(writes("other")));
    let (_, done) = json(&system, &["rollback", "one", "--to", "2", "--reason", "stop that"]);
    assert_eq!((system.map("one"), system.map("other")), ("first".into(), "first".into()), "{done}");
    let (_, history) = json(&system, &["history", "one"]);
    assert!(history[0]["outcome"].is_string(), "what was begun has an end: {history}");
    system.until("it is held there", || system.component("one")["state"] == "Held");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollback_that_was_cut_off_is_finished_by_the_next_process_as_a_persons() {
    let mut system = two_layers("back-cut-off").await;
    yes(&system, &["suspend", "--all", "--reason", "an incident"]);
    system.proxy.disturb(usize::MAX, Fault::Silence, writes("above"));
    system.proxy.take_seen();
    std::thread::scope(|scope| {
        let asking = scope.spawn(|| system.tk8s(&["rollback", "above", "--reason", "it is this one"]));
        system.until("it is being written", || system.proxy.seen().iter().any(writes("above")));
        system.signal("KILL");
        assert!(!asking.join().expect("because it only asks").status.success());
    });
    system.proxy.calm();
    system.stop();
    // What the API server has not heard of yet is not written by anybody but the next process.
    assert_eq!(system.map("above"), "second");
    system.start();
    // Nothing else is written while all is suspended: it is finished as what it was.
    system.until_map("above", "first");
    let (_, shown) = json(&system, &["history", "show", "above", "1"]);
    let runs = shown["story"]["runs"].as_array().expect("a list");
    assert_eq!(runs.last().map(|run| &run["trigger"]), Some(&"rollback".into()), "{shown}");
}

#[tokio::test(flavor = "multi_thread")]
async fn all_turns_of_a_run_have_one_deadline() {
    let system = System::two_components("run-timeout", "").await;
    let platform = std::fs::read_to_string(system.file("repository/tk8s.yaml")).expect("because it was written");
    system.write("tk8s.yaml", &platform.replace("path: one", "path: one, healthTimeout: 20m, runTimeout: 2s"));
    let pod = format!(
        "---\napiVersion: v1\nkind: Pod\nmetadata: {{name: never, namespace: {}}}\nspec: {{nodeSelector: {{never: here}}, containers: [{{name: main, image: \"pause:1\"}}]}}\n",
        system.name
    );
    system.write("one/pod.yaml", &pod);
    system.commit("it never gets healthy");
    system.until_says("one", "Failed", "did not become healthy in time");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_turn_for_which_no_time_is_left_is_not_begun() {
    let system = System::two_components("no-time-left", "").await;
    let name = system.name.clone();
    let platform = std::fs::read_to_string(system.file("repository/tk8s.yaml")).expect("because it was written");
    system.write("tk8s.yaml", &platform.replace("path: one", "path: one, runTimeout: 1ms"));
    let later = named_map(&name, "later", "second").replace("name: later", "annotations: {tk8s.io/wave: \"1\"}, name: later");
    system.write("one/all.yaml", &[named_map(&name, "one", "second"), later].concat());
    system.commit("two waves");
    system
        .until("it is over", || system.component("one")["message"].as_str().is_some_and(|message| message.contains("OutOfTime")));
    assert_eq!((system.map("one"), system.map("later")), ("first".into(), String::new()));
    system.write("tk8s.yaml", &platform);
    system.commit("more time");
    yes(&system, &["sync"]);
    system.until_map("later", "second");
    system.until_all("Healthy");
}

fn alone(arguments: &[&str]) -> Output {
    Command::new(program("tk8s-agent"))
        .args(arguments)
        .env_remove("TK8S_SERVER")
        .env_remove("TK8S_TOKEN_FILE")
        .output()
        .expect("because the agent is built")
}

fn every_file(directory: &std::path::Path) -> Vec<(std::path::PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).expect("because it is ours").flatten() {
        match entry.path() {
            path if path.is_dir() => found.extend(every_file(&path)),
            path => found.push((path.clone(), std::fs::read(&path).unwrap_or_default())),
        }
    }
    found.sort();
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_is_told_by_the_agent_and_by_its_files_when_it_is_dead() {
    let mut system = System::two_components("told", "").await;
    let name = system.name.clone();
    let secret = |word: &str| {
        format!("---\napiVersion: v1\nkind: Secret\nmetadata: {{name: token, namespace: {name}}}\nstringData: {{word: {word}}}\n")
    };
    // Texts that a careless writer of YAML would turn into something else.
    let odd = format!(
        "---\napiVersion: v1\nkind: ConfigMap\nmetadata: {{name: odd, namespace: {name}}}\ndata: {{a: \"yes\", b: \"0644\", c: \"1_000\", d: \"two\\nlines\"}}\n"
    );
    system.write("one/all.yaml", &[named_map(&name, "one", "second"), secret("hunter1"), odd.clone()].concat());
    system.commit("with a secret");
    system.until_map("one", "second");
    system.until_all("Healthy");
    system.write("one/all.yaml", &[named_map(&name, "one", "third"), secret("hunter2"), odd].concat());
    system.commit("with another one");
    system.until_map("one", "third");
    system.until_all("Healthy");
    let shown = yes(&system, &["history", "show", "one", "3"]);
    for word in ["NOT VERIFIED: a test", "ConfigMap told/odd", "one/all.yaml:", "change Secret told/token", "Healthy"] {
        assert!(shown.contains(word), "{word}: {shown}");
    }
    let differs = yes(&system, &["history", "diff", "one", "2", "3"]);
    assert!(differs.contains("-  at: second\n+  at: third") && differs.contains("+  word: (masked, changed)"), "{differs}");
    assert!(!differs.contains("hunter") && !differs.contains("aHVudGVy"), "{differs}");
    assert_eq!(system.tk8s(&["history", "export", "one", "2", "--show-secrets"]).status.code(), Some(2));
    let exported = yes(&system, &["history", "export", "one", "2"]);
    assert!(exported.contains("# left out, because it holds secrets (--show-secrets): Secret told/token"), "{exported}");
    system.stop();
    let config = system.file("mounted/agent.yaml").display().to_string();
    let directory = system.file("history");
    let before = every_file(&directory);
    let from_config = ["--config", config.as_str()];
    let (dir, key) = (directory.display().to_string(), system.file("history.key").display().to_string());
    let from_dir = ["--dir", dir.as_str(), "--encryption-key", key.as_str()];
    for from in [&from_config[..], &from_dir[..]] {
        let again = |arguments: &[&str]| {
            let output = alone(&[arguments, from].concat());
            assert!(output.status.success(), "{arguments:?} {from:?}: {}", text(&output));
            String::from_utf8_lossy(&output.stdout).into_owned()
        };
        assert_eq!(again(&["history", "show", "one", "3"]).trim(), shown.trim());
        assert_eq!(again(&["history", "diff", "one", "2", "3"]).trim(), differs.trim());
        assert!(again(&["history", "one"]).contains("3 *"));
        let safe = again(&["history", "export", "one", "2"]);
        assert!(!safe.contains("aHVudGVy"), "{safe}");
        // And kubectl takes it, with everything.
        let yaml = again(&["history", "export", "one", "2", "--show-secrets"]);
        let apply = ["apply", "--server-side", "--force-conflicts", "--field-manager=tk8s-agent", "-f", "-"];
        system.plane.kubectl_with(&apply, &yaml).unwrap_or_else(|error| panic!("{error}\n{yaml}"));
        assert_eq!(system.map("one"), "second");
        let odd = system.kubectl(&["get", "configmap", "odd", "-o", "jsonpath={.data}"]);
        let odd: Value = serde_json::from_str(&odd).expect("a map");
        assert_eq!(odd, serde_json::json!({"a": "yes", "b": "0644", "c": "1_000", "d": "two\nlines"}));
        let word = system.kubectl(&["get", "secret", "token", "-o", "jsonpath={.data.word}"]);
        assert_eq!(word, "aHVudGVyMQ==");
    }
    let verified = alone(&["history", "verify", "--dir", &dir]);
    assert!(verified.status.success() && text(&verified).contains("blobs are whole"), "{}", text(&verified));
    assert_eq!(every_file(&directory), before, "nothing is written");
    // The agent that comes back finds its objects as its own.
    system.start();
    system.until_map("one", "third");
    system.until_all("Healthy");
}
