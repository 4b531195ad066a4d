//! The restore drill: an agent runs, its history is copied as the example's CronJob copies it, its volume is lost, and what the
//! example's Job puts back is gone on with. And the volume of each released version under the agent of today.

#![allow(missing_docs, clippy::unwrap_used)]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;
use tk8s_tests::system::System;
use tk8s_tests::{program, top};

/// The documents of a file of the repository.
fn documents(file: &str) -> Vec<Value> {
    let text = std::fs::read_to_string(top().join(file)).unwrap();
    text.split("\n---").map(|text| serde_yaml::from_str(text).unwrap()).collect()
}

/// The arguments of the one container that is somewhere in an object.
fn arguments(object: &Value) -> Option<Vec<String>> {
    if let Some(arguments) = object.pointer("/containers/0/args") {
        return Some(arguments.as_array().unwrap().iter().map(|argument| argument.as_str().unwrap().to_owned()).collect());
    }
    object.as_object()?.values().find_map(arguments)
}

/// What the example runs in a Pod, with the places of this machine for those of the Pod.
fn as_in(file: &str, places: &[(&str, &Path)], address: &str) -> Output {
    let arguments = arguments(&documents(file)[0]).unwrap().into_iter().map(|argument| {
        if argument.starts_with("--server=") {
            return format!("--server=https://{address}");
        }
        let Some((option, place)) = argument.split_once('=') else { return argument };
        let found = places.iter().find(|(of_pod, _)| *of_pod == place).unwrap_or_else(|| panic!("where is {place}?"));
        format!("{option}={}", found.1.display())
    });
    Command::new(program("tk8s-agent")).args(arguments).env_remove("KUBECONFIG").output().unwrap()
}

/// Whoever copies: an account with the rights of the example, and a token as its Pod has it.
fn account(system: &System) -> PathBuf {
    let files = ["install/backup/serviceaccount.yaml", "install/backup/rbac.yaml"];
    for object in files.iter().flat_map(|file| documents(file)) {
        let text = object.to_string().replace("tk8s-system", &system.name);
        system.plane.kubectl_with(&["-n", &system.name, "apply", "-f", "-"], &text).unwrap();
    }
    let token = system.kubectl(&["create", "token", "tk8s-agent-backup", "--audience", "tk8s-agent"]);
    std::fs::write(system.file("token-of-the-backup"), token).unwrap();
    system.file("token-of-the-backup")
}

fn copy(system: &System, token: &Path) -> Output {
    let places = [
        ("/backup/history", system.file("backup")),
        ("/run/tk8s/api/ca.crt", system.file("ca.crt")),
        ("/run/tk8s/token/token", token.to_owned()),
    ];
    let places: Vec<_> = places.iter().map(|(of_pod, here)| (*of_pod, here.as_path())).collect();
    as_in("install/backup/cronjob.yaml", &places, &system.address("api"))
}

fn restore(system: &System) -> Output {
    let places = [("/backup/history", system.file("backup")), ("/var/lib/tk8s/history", system.file("history"))];
    let places: Vec<_> = places.iter().map(|(of_pod, here)| (*of_pod, here.as_path())).collect();
    as_in("install/restore/job.yaml", &places, "")
}

#[track_caller]
fn said(output: &Output) -> String {
    assert!(output.status.success(), "{output:?}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn json(system: &System, arguments: &[&str]) -> Value {
    serde_json::from_str(&said(&system.tk8s(&[arguments, &["--output", "json"]].concat()))).unwrap()
}

/// Everything that people are shown of what is remembered.
fn remembered(system: &System) -> Value {
    let status = system.status();
    let component = |name: &str| {
        let releases = json(system, &["history", name]);
        let shown = |release: &Value| json(system, &["history", "show", name, &release["release"].to_string()]);
        let shown: Vec<_> = releases.as_array().unwrap().iter().map(shown).collect();
        let hold = system.component(name)["hold"].clone();
        serde_json::json!([releases, shown, hold])
    };
    serde_json::json!({
        "ledger": status["ledger"], "revision": status["revision"], "suspensions": status["suspensions"],
        "one": component("one"), "two": component("two"),
    })
}

/// Takes out of shown releases the runs that a start made to look, and that had nothing to do; how many.
fn without_looks(shown: &mut Value) -> usize {
    let mut count = 0;
    for release in shown.as_array_mut().unwrap() {
        let runs = release["story"]["runs"].as_array_mut().unwrap();
        let nothing =
            |run: &Value| ["creates", "changes", "deletes", "gone"].iter().all(|what| run[*what].as_array().unwrap().is_empty());
        let before = runs.len();
        runs.retain(|run| run["trigger"] != "restart" || !nothing(run));
        count += before - runs.len();
    }
    count
}

fn alarms(system: &System) -> Vec<String> {
    let alarms = system.status()["alarms"].as_array().cloned().unwrap_or_default();
    alarms.iter().map(|alarm| format!("{} {}", alarm["reason"].as_str().unwrap(), alarm["object"].as_str().unwrap())).collect()
}

/// What the audit log has of writes to the platform's objects.
fn writes(system: &System) -> usize {
    let is_write = |verb: &str, uri: &str| {
        ["create", "update", "patch", "delete"].contains(&verb)
            && !uri.contains("dryRun=All")
            && ["/configmaps/one", "/configmaps/two"].iter().any(|object| uri.contains(object))
    };
    system.plane.audited(&system.name).iter().filter(|(verb, uri)| is_write(verb, uri)).count()
}

/// Two components behind TLS, at their third and first release, one of them held, and nothing under way.
async fn lived(name: &str) -> (System, PathBuf) {
    let mut system = System::new(name).await;
    system.api = String::new();
    system.write_platform(&[&["one", "two"]]);
    system.write_map("one", "first");
    system.write_map("two", "first");
    system.commit("first");
    system.start();
    system.believe();
    system.until_all("Healthy");
    system.bring("one", &["second", "third"]);
    said(&system.tk8s(&["hold", "two", "--reason", "3 am"]));
    system.until_anchored();
    let token = account(&system);
    (system, token)
}

/// While the other one is held.
fn bring_one(system: &System, at: &str) {
    system.write_map("one", at);
    system.commit(at);
    system.until_map("one", at);
    system.until("it is healthy again", || system.component("one")["state"] == "Healthy");
}

fn lose_the_volume(system: &mut System) {
    system.stop();
    std::fs::remove_dir_all(system.file("history")).unwrap();
    // Whatever comes back does not come from Git.
    std::fs::rename(system.file("repository"), system.file("away")).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_volume_that_is_restored_from_a_copy_is_as_it_was_and_nothing_is_applied_anew() {
    let (mut system, token) = lived("restored").await;
    let first = said(&copy(&system, &token));
    assert!(first.contains("of them new) and 4 blobs (4 of them new)"), "{first}");
    bring_one(&system, "fourth");
    system.until_anchored();
    let second = said(&copy(&system, &token));
    assert!(second.contains("and 5 blobs (1 of them new)"), "{second}");
    let third = said(&copy(&system, &token));
    assert!(third.contains("events and 5 blobs, root"), "nothing is copied again: {third}");
    // Who may not read may not copy, and leaves the copy as it is.
    system.kubectl(&["create", "serviceaccount", "stranger"]);
    let stranger = system.file("token-of-a-stranger");
    std::fs::write(&stranger, system.kubectl(&["create", "token", "stranger", "--audience", "tk8s-agent"])).unwrap();
    let refused = copy(&system, &stranger);
    let why = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(refused.status.code() == Some(1) && why.contains("Forbidden") && why.contains("checkpoint"), "{refused:?}");

    let mut before = remembered(&system);
    lose_the_volume(&mut system);
    let (written, restored) = (writes(&system), said(&restore(&system)));
    assert!(restored.contains("and 5 blobs (5 of them new)"), "{restored}");
    // No key is in it: with the encryption key its objects can be read, without any agent.
    let verified = said(&system.tk8s_offline(&["history", "verify", "--dir", system.file("backup").to_str().unwrap()]));
    assert!(verified.contains("5 blobs are whole"), "{verified}");
    for secret in ["identity.pem", "history.key"] {
        let key = std::fs::read_to_string(system.file(secret)).unwrap();
        let line = key.lines().find(|line| !line.starts_with("--")).unwrap();
        let found = Command::new("grep").args(["-rl", line]).arg(system.file("backup")).output().unwrap();
        assert!(found.stdout.is_empty() && found.status.code() == Some(1), "{secret}: {found:?}");
    }

    system.start();
    system.believe();
    system.until("both are known again", || {
        let state = |component: &str| system.component(component)["state"].clone();
        state("one") == "Healthy" && ["Held", "Healthy"].contains(&state("two").as_str().unwrap_or_default())
    });
    system.until("both are looked at", || ["one", "two"].iter().all(|name| system.component(name)["sync"] == "Synced"));
    // What it knew of the cluster was lost with the view, so each component was looked at once, and there was nothing to do.
    let mut after = remembered(&system);
    let ledger = after["ledger"].take();
    let looked = ["one", "two"].map(|component| without_looks(&mut after[component][1]));
    assert_eq!((looked, ledger["size"].as_u64()), ([1, 1], before["ledger"]["size"].as_u64().map(|size| size + 6)));
    before["ledger"].take();
    assert_eq!(after, before);
    assert_eq!(alarms(&system).iter().filter(|alarm| alarm.contains("Gap") || alarm.contains("Anchor")).count(), 0);
    assert_eq!(writes(&system), written, "nothing is applied that is there: {}", system.log());
    // What was deployed long ago is put back from the restored volume.
    said(&system.tk8s(&["rollback", "one", "--to", "1", "--reason", "a drill"]));
    system.until_map("one", "first");
    said(&system.tk8s(&["rollback", "one", "--to", "3", "--reason", "a drill"]));
    system.until_map("one", "third");
    // And Git goes on, too.
    std::fs::rename(system.file("away"), system.file("repository")).unwrap();
    said(&system.tk8s(&["resume", "two"]));
    system.write_map("two", "second");
    system.commit("second");
    system.until_map("two", "second");
    // The copy of before is gone on with.
    system.until_anchored();
    assert!(said(&copy(&system, &token)).contains("of them new)"));
    system.stop();
    system.check_history();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_that_is_older_than_what_is_anchored_says_so_and_takes_nothing_back() {
    let (mut system, token) = lived("restored-older").await;
    said(&copy(&system, &token));
    bring_one(&system, "fourth");
    system.until_anchored();
    lose_the_volume(&mut system);
    said(&restore(&system));
    system.start();
    system.believe();
    system.until("the gap is told", || alarms(&system).iter().any(|alarm| alarm == "HistoryGap VolumeOlder"));
    let two = system.component("two");
    assert_eq!(two["hold"]["reason"], "3 am", "{two}");
    assert_eq!(system.map("one"), "fourth");
    // A copy of what goes on from there is another history than the one that was lost, and the same as the copy.
    said(&copy(&system, &token));
    std::fs::rename(system.file("away"), system.file("repository")).unwrap();
    bring_one(&system, "fifth");
    let releases = json(&system, &["history", "one"]);
    assert!(releases[0]["release"].as_u64() > Some(4), "no number is used twice: {releases}");
    system.stop();
    system.check_history();
}

/// F46: the agent is upgraded, on what each released version left when it was killed.
#[tokio::test(flavor = "multi_thread")]
async fn the_volume_of_a_released_version_is_gone_on_with_by_the_agent_of_today() {
    let released = top().join("history/src/tests/released");
    let versions = std::fs::read_dir(released).unwrap().map(|entry| entry.unwrap().path());
    let mut versions: Vec<_> = versions.filter(|path| path.is_dir()).collect();
    versions.sort();
    assert!(!versions.is_empty());
    // The volumes are of an instance that is called so.
    let mut system = System::new("tk8s").await;
    std::fs::write(system.file("identity.pem"), IDENTITY).unwrap();
    std::fs::write(system.file("history.key"), "07".repeat(32)).unwrap();
    system.write_platform(&[&["one"]]);
    system.write_map("one", "first");
    system.commit("first");
    for version in versions {
        let told: Value = serde_json::from_str(&std::fs::read_to_string(version.join("told.json")).unwrap()).unwrap();
        let copied = Command::new("cp").arg("-r").arg(version.join("volume")).arg(system.file("history")).status().unwrap();
        assert!(copied.success());
        system.start();
        let told_now = |component: &str| json(&system, &["history", component]);
        for (component, known) in told["told"]["components"].as_object().unwrap() {
            let releases = |of: &Value| of.as_array().unwrap().clone();
            let now: Vec<_> =
                releases(&told_now(component)).iter().map(|one| format!("{component}@{}", one["release"])).collect();
            let then: Vec<_> =
                releases(&known["releases"]).iter().map(|one| one["release"]["id"].as_str().unwrap().to_owned()).collect();
            assert!(now.ends_with(&then), "{component}: {now:?} {then:?}");
        }
        let suspended = |suspensions: &Value| -> Vec<String> {
            suspensions.as_array().unwrap().iter().map(|one| format!("{} {}", one["reason"], one["by"])).collect()
        };
        assert_eq!(suspended(&system.status()["suspensions"]), suspended(&told["told"]["suspensions"]));
        for (component, known) in told["told"]["components"].as_object().unwrap() {
            let hold = &known["hold"];
            let now = &system.component(component)["hold"];
            assert_eq!(
                (&now["reason"], &now["by"], &now["release"]),
                (&hold["reason"], &hold["by"], &hold["release"]),
                "{component}"
            );
        }
        for alarm in ["HistoryGap VolumeOlder", "GlassBroken v1.3.0"] {
            system.until(alarm, || alarms(&system).iter().any(|told| told == alarm));
        }
        // And Git is followed.
        system.until_map("one", "first");
        system.stop();
        system.check_history();
        let volume = system.file("history");
        let verified = said(&system.tk8s_offline(&["history", "verify", "--output", "json", "--dir", volume.to_str().unwrap()]));
        let verified: Value = serde_json::from_str(&verified).unwrap();
        assert!(verified["size"].as_u64() > told["verified"]["size"].as_u64());
        assert_eq!(verified["key"], told["verified"]["key"]);
        std::fs::remove_dir_all(volume).unwrap();
        system.kubectl(&["delete", "configmap", "tk8s-agent-tk8s", "one", "--ignore-not-found"]);
    }
}

/// The example key of RFC 8410, which signed them.
const IDENTITY: &str =
    "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC\n-----END PRIVATE KEY-----\n";
