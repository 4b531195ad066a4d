//! One writer, whatever happens to processes, volumes and the cluster's memory of them: the whole agent on a real API server.

#![allow(missing_docs, clippy::unwrap_used)]

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;
use tk8s_tests::proxy::{Fault, Seen};
use tk8s_tests::system::System;

const MANY: usize = 10_000;

/// An agent that sends two requests at a time, and has deployed a component of so many ConfigMaps.
async fn with_maps(name: &str, count: usize) -> System {
    let mut system = System::new(name).await;
    system.more = "apply: {concurrency: 2}".into();
    system.write_platform(&[&["one"]]);
    write_maps(&system, "one", count, "first");
    system.commit("first");
    system.start();
    system.until_all("Healthy");
    system
}

/// A component of so many ConfigMaps, `m0` and on, all at this.
fn write_maps(system: &System, component: &str, count: usize, at: &str) {
    let name = &system.name;
    let map = |number| {
        format!(
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: m{number}, namespace: {name}}}\ndata: {{at: \"{at}\"}}\n---\n"
        )
    };
    system.write(&format!("{component}/all.yaml"), &(0..count).map(map).collect::<String>());
}

/// How many of the ConfigMaps of an instance are at this.
fn maps_at(system: &System, at: &str) -> usize {
    let all = system.kubectl(&["get", "configmaps", "-o", "jsonpath={range .items[*]}{.data.at}{'\\n'}{end}"]);
    all.lines().filter(|line| *line == at).count()
}

/// What the audit log has of the writes of a user, beside those of the Lease and the anchor.
fn writes(system: &System, user: &str) -> Vec<(String, String)> {
    let reads = ["get", "list", "watch"];
    let own = |uri: &str| uri.contains("/leases") || uri.contains("/configmaps/tk8s-agent-");
    let audited = system.plane.audited(user).into_iter();
    audited.filter(|(verb, uri)| !reads.contains(&verb.as_str()) && !uri.contains("dryRun=All") && !own(uri)).collect()
}

/// Waits for longer than anything else takes: a Lease has to run out first.
fn long_until(system: &System, what: &str, is: impl Fn() -> bool) {
    let begun = Instant::now();
    while !is() {
        assert!(begun.elapsed() < Duration::from_secs(150), "waited in vain until {what}\n{}", system.log());
        std::thread::sleep(Duration::from_millis(100));
    }
}

fn alarms(system: &System) -> Vec<String> {
    let status = system.status();
    let alarms = status["alarms"].as_array().cloned().unwrap_or_default();
    alarms.iter().map(|alarm| format!("{} {}", alarm["reason"].as_str().unwrap(), alarm["object"].as_str().unwrap())).collect()
}

fn releases(system: &System, component: &str) -> Vec<(u64, String)> {
    let history: Value = serde_json::from_slice(&system.tk8s(&["history", component, "--output", "json"]).stdout).unwrap();
    let releases = history.as_array().unwrap().iter();
    releases.map(|one| (one["release"].as_u64().unwrap(), one["outcome"].as_str().unwrap_or_default().to_owned())).collect()
}

fn copy(from: &Path, to: &Path) {
    let copied = Command::new("cp").arg("-a").arg(from).arg(to).status().unwrap();
    assert!(copied.success());
}

fn patches(seen: &[Seen]) -> usize {
    seen.iter().filter(|seen| seen.is_patch()).count()
}

/// Takes a holder out of office in the middle of a release, lets another process finish a newer revision, and demands that
/// the first one writes nothing any more and ends.
async fn it_writes_nothing_any_more(name: &str, interrupt: fn(&System), resume: fn(&System)) {
    let mut first = System::new(name).await;
    first.more = "apply: {concurrency: 3}".into();
    first.write_platform(&[&["one"]]);
    write_maps(&first, "one", 40, "first");
    first.commit("first");
    first.start();
    first.until_all("Healthy");
    // Some answers take their time, and one object is asked about again and again.
    first.proxy.disturb(MANY, Fault::Status { code: 503, reason: "ServiceUnavailable", retry_after: Some(1) }, |seen| {
        seen.is_patch() && seen.uri.contains("/configmaps/m17?")
    });
    first.proxy.disturb(MANY, Fault::Slow(Duration::from_millis(200)), Seen::is_patch);
    write_maps(&first, "one", 40, "second");
    first.commit("second");
    first.until("it is in the middle", || maps_at(&first, "second") > 8);
    interrupt(&first);
    // What it had sent is carried out.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let (known, half) = (writes(&first, name).len(), maps_at(&first, "second"));
    assert!(half < 35, "{half} of 40 were written before");
    write_maps(&first, "one", 40, "third");
    first.commit("third");
    let mut second = first.beside(&format!("{name}-second")).await;
    second.start();
    long_until(&second, "the second took over and finished the newer revision", || maps_at(&second, "third") == 40);
    second.until_all("Healthy");
    resume(&first);
    let ended = first.until_ended();
    assert!(!ended.success(), "it ends, so that it begins anew with what the other one did: {}", first.log());
    let after = writes(&first, name);
    assert_eq!(after[known..], [], "{}", first.log());
    assert_eq!(maps_at(&second, "third"), 40);
    // Started again on its own volume, which is of before, it takes nothing back either.
    second.stop();
    first.start();
    first.until_all("Healthy");
    assert_eq!(maps_at(&first, "third"), 40);
    assert!(alarms(&first).iter().any(|alarm| alarm.starts_with("HistoryGap")), "{:?}", alarms(&first));
}

/// F19: a process is paused for longer than its Lease.
#[tokio::test(flavor = "multi_thread")]
async fn a_holder_that_stood_still_in_mid_batch_writes_nothing_after_somebody_else_took_over() {
    let interrupt = |system: &System| {
        system.signal("STOP");
        system.proxy.calm();
    };
    it_writes_nothing_any_more("stood-still", interrupt, |system| system.signal("CONT")).await;
}

/// F18: two processes at once, because the Lease of the first ran out where it could not renew it.
#[tokio::test(flavor = "multi_thread")]
async fn a_holder_that_was_cut_off_in_mid_batch_writes_nothing_after_somebody_else_took_over() {
    let interrupt = |system: &System| {
        system.proxy.calm();
        system.proxy.disturb(1_000_000, Fault::LostQuestion, |_| true);
    };
    it_writes_nothing_any_more("cut-off-holder", interrupt, |system| system.proxy.calm()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn told_to_end_in_mid_batch_it_finishes_what_it_is_writing_writes_it_down_and_gives_the_lease_up() {
    let mut system = with_maps("told-to-end", 40).await;
    system.proxy.take_seen();
    system.proxy.disturb(MANY, Fault::Slow(Duration::from_millis(400)), Seen::is_patch);
    write_maps(&system, "one", 40, "second");
    system.commit("second");
    system.until("it is in the middle", || maps_at(&system, "second") >= 5);
    let begun = Instant::now();
    system.stop();
    assert!(begun.elapsed() < Duration::from_secs(30), "it ended after {:?}", begun.elapsed());
    let (sent, written) = (patches(&system.proxy.seen()), maps_at(&system, "second"));
    assert_eq!(sent, written, "what was sent was answered");
    assert!(written < 30, "{written} of 40 were written all the same");
    let lease = ["get", "lease", "tk8s-agent-told-to-end", "-o", "jsonpath={.spec.holderIdentity}"];
    assert_eq!(system.kubectl(&lease), "");
    system.check_history();
    // The next process finishes the release without Git, and sends only what is missing.
    std::fs::rename(system.file("repository"), system.file("away")).unwrap();
    system.proxy.calm();
    system.start();
    system.until("it is finished", || maps_at(&system, "second") == 40);
    std::fs::rename(system.file("away"), system.file("repository")).unwrap();
    system.until_all("Healthy");
    assert_eq!(patches(&system.proxy.seen()), 40);
    assert_eq!(releases(&system, "one"), [(2, "Healthy".into()), (1, "Healthy".into())]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_signal_ends_the_process_at_once_and_the_next_one_goes_on() {
    let mut system = System::new("twice").await;
    system.write_platform(&[&["one"]]);
    system.write_map("one", "first");
    system.commit("first");
    system.start();
    system.until_all("Healthy");
    system.proxy.disturb(MANY, Fault::Silence, Seen::is_patch);
    system.write_map("one", "second");
    system.commit("second");
    system.until("the write is under way", || patches(&system.proxy.seen()) > 1);
    system.signal("TERM");
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(Path::new(&format!("/proc/{}/fd/1", system.process().unwrap())).exists(), "it waits for the answer");
    system.signal("TERM");
    assert_eq!(system.until_ended().code(), Some(130));
    system.proxy.calm();
    // The lease was not given up. It is of the same lock on the same machine, so nobody has to wait for its end.
    let begun = Instant::now();
    system.start();
    system.until_map("one", "second");
    system.until_all("Healthy");
    assert!(begun.elapsed() < Duration::from_secs(30), "it waited {:?}", begun.elapsed());
}

/// F16: a pod is made anew elsewhere, with the same volume, while the one before may still run.
#[tokio::test(flavor = "multi_thread")]
async fn a_second_process_with_the_same_volume_does_not_start() {
    let system = System::two_components("same-volume", "").await;
    let second = system.beside("same-volume-second").await;
    std::os::unix::fs::symlink(system.file("history"), second.file("history")).unwrap();
    second.configure(&second.configuration());
    let output = Command::new(tk8s_tests::program("tk8s-agent"))
        .args(["run", "--config"])
        .arg(second.file("mounted/agent.yaml"))
        .arg("--kubeconfig")
        .arg(second.file("kubeconfig"))
        .output()
        .unwrap();
    assert!(!output.status.success());
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    assert!(said.contains("another process"), "{said}");
    // The first one goes on.
    system.write_map("one", "second");
    system.commit("second");
    system.until_map("one", "second");
    system.until_all("Healthy");
    // Once it is gone, whoever comes next goes on where it was.
    let (mut first, mut second) = (system, second);
    first.signal("KILL");
    first.until_ended();
    second.start();
    second.until_all("Healthy");
    first.write_map("one", "third");
    first.commit("third");
    second.until_map("one", "third");
    second.until_all("Healthy");
    assert_eq!(releases(&second, "one").iter().map(|(number, _)| *number).collect::<Vec<_>>(), [3, 2, 1]);
    assert!(alarms(&second).is_empty(), "{:?}", alarms(&second));
    second.stop();
    second.check_history();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_instance_takes_nothing_from_the_first() {
    let first = System::two_components("instance-a", "").await;
    let mut second = System::new("instance-b").await;
    second.write_platform(&[&["one", "own"]]);
    let theirs = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: one, namespace: instance-a}\ndata: {at: \"taken\"}\n";
    second.write("one/all.yaml", theirs);
    second.write_map("own", "first");
    second.commit("it wants what is another's");
    second.start();
    second.until_says("one", "Denied", "instance `instance-a`");
    second.until_map("own", "first");
    assert_eq!(first.map("one"), "first");
    first.write_map("one", "second");
    first.commit("second");
    first.until_map("one", "second");
    assert_eq!(second.component("one")["state"], "Denied");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_anchor_follows_what_happens_and_rests_when_nothing_does() {
    let system = System::two_components("anchored", "").await;
    system.until_anchored();
    system.bring("one", &["second"]);
    assert!(system.tk8s(&["hold", "two", "--reason", "as it is"]).status.success());
    system.until_anchored();
    assert!(system.anchor().contains("as it is"));
    let commit = system.status()["revision"]["commit"].as_str().unwrap().to_owned();
    assert!(system.anchor().contains(&commit) && system.anchor().contains("refs/heads/main"));
    system.proxy.take_seen();
    let looks = async || system.counter("tk8s_fetches_total", "outcome=\"ok\"").await;
    let before = looks().await;
    while looks().await < before + 4 {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let asked: Vec<_> = system.proxy.seen().into_iter().filter(Seen::is_anchor).collect();
    assert_eq!(asked, []);
    assert!(alarms(&system).is_empty(), "{:?}", alarms(&system));
}

/// F17: the node and its volume are lost.
#[tokio::test(flavor = "multi_thread")]
async fn after_a_volume_was_lost_nothing_is_deleted_and_numbers_go_on() {
    let mut system = System::two_components("volume-lost", "").await;
    let name = system.name.clone();
    let extra = format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: extra, namespace: {name}}}\ndata: {{at: there}}\n");
    system.write("one/extra.yaml", &extra);
    system.commit("one more");
    system.until_map("extra", "there");
    system.until_all("Healthy");
    system.stop();
    std::fs::remove_dir_all(system.file("history")).unwrap();
    // It leaves Git while nobody remembers that it was ours.
    std::fs::remove_file(system.file("repository/one/extra.yaml")).unwrap();
    system.write_map("one", "second");
    system.commit("one less");
    system.proxy.take_seen();
    system.start();
    system.until_map("one", "second");
    system.until_all("Healthy");
    assert_eq!(system.map("extra"), "there");
    assert!(!system.proxy.seen().iter().any(|seen| seen.method == http::Method::DELETE));
    assert_eq!(alarms(&system), ["HistoryGap VolumeEmpty"]);
    assert_eq!(releases(&system, "one"), [(3, "Healthy".into())]);
    assert_eq!(releases(&system, "two"), [(2, "Healthy".into())]);
    // What is made from now on is known again, and deleted when it goes.
    system.write("one/later.yaml", &extra.replace("extra", "later"));
    system.commit("another one");
    system.until_map("later", "there");
    system.until_all("Healthy");
    std::fs::remove_file(system.file("repository/one/later.yaml")).unwrap();
    system.commit("and gone");
    system.until_map("later", "");
    assert_eq!(system.map("extra"), "there");
    system.stop();
    system.check_history();
    // It is told by the next process as well.
    system.start();
    system.until("it is told", || alarms(&system) == ["HistoryGap VolumeEmpty"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_volume_from_an_old_copy_takes_nothing_back_and_repairs_what_did_not_change_since() {
    let mut system = System::two_components("old-copy", "").await;
    system.stop();
    copy(&system.file("history"), &system.file("copy"));
    system.start();
    system.until_all("Healthy");
    system.bring("one", &["second", "third"]);
    system.stop();
    std::fs::rename(system.file("history"), system.file("lost")).unwrap();
    std::fs::rename(system.file("copy"), system.file("history")).unwrap();
    std::fs::rename(system.file("repository"), system.file("away")).unwrap();
    system.proxy.take_seen();
    system.start();
    system.until("the gap is told", || alarms(&system) == ["HistoryGap VolumeOlder"]);
    for map in ["one", "two"] {
        system.kubectl(&["patch", "configmap", map, "--type", "merge", "-p", r#"{"data":{"at":"tampered"}}"#]);
    }
    system.until_map("two", "first");
    let about_one = |seen: &Seen| seen.is_patch() && seen.uri.contains("/configmaps/one");
    assert!(!system.proxy.seen().iter().any(about_one), "nobody knows what was there");
    assert_eq!(system.map("one"), "tampered");
    std::fs::rename(system.file("away"), system.file("repository")).unwrap();
    system.until_map("one", "third");
    system.until_all("Healthy");
    assert_eq!(releases(&system, "one")[0], (4, "Healthy".into()));
    // And from then on it is looked after as before.
    system.kubectl(&["delete", "configmap", "one"]);
    system.until_map("one", "third");
    system.stop();
    system.check_history();
}

#[tokio::test(flavor = "multi_thread")]
async fn another_volume_of_the_same_instance_takes_nothing_back() {
    let mut system = System::two_components("other-volume", "").await;
    system.stop();
    copy(&system.file("history"), &system.file("copy"));
    system.start();
    system.until_all("Healthy");
    system.bring("one", &["second"]);
    system.stop();
    let anchored = system.kubectl(&["get", "configmap", "tk8s-agent-other-volume", "-o", "json"]);
    // The copy goes another way, and further, while nobody can compare.
    std::fs::rename(system.file("history"), system.file("lost")).unwrap();
    std::fs::rename(system.file("copy"), system.file("history")).unwrap();
    system.kubectl(&["delete", "configmap", "tk8s-agent-other-volume"]);
    system.start();
    system.until_all("Healthy");
    system.bring("one", &["other", "yet another"]);
    system.stop();
    let anchor: Value = serde_json::from_str(&anchored).unwrap();
    let patch = serde_json::json!({"data": anchor["data"]}).to_string();
    system.kubectl(&["patch", "configmap", "tk8s-agent-other-volume", "--type", "merge", "-p", &patch]);
    system.kubectl(&["patch", "configmap", "one", "--type", "merge", "-p", r#"{"data":{"at":"as it was left"}}"#]);
    std::fs::rename(system.file("repository"), system.file("away")).unwrap();
    system.start();
    system.until("the gap is told", || alarms(&system) == ["HistoryGap VolumeOther"]);
    system.kubectl(&["patch", "configmap", "two", "--type", "merge", "-p", r#"{"data":{"at":"tampered"}}"#]);
    system.until_map("two", "first");
    assert_eq!(system.map("one"), "as it was left");
    std::fs::rename(system.file("away"), system.file("repository")).unwrap();
    system.until_map("one", "yet another");
    system.until_all("Healthy");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_component_that_was_held_when_its_volume_was_lost_is_not_brought_what_was_rolled_back() {
    let mut system = System::two_components("held-and-lost", "").await;
    system.bring("one", &["bad"]);
    assert!(system.tk8s(&["rollback", "one", "--reason", "it was bad"]).status.success());
    system.until_map("one", "first");
    system.until("it is held", || system.component("one")["state"] == "Held");
    system.until("that is anchored", || system.anchor().contains("it was bad"));
    system.stop();
    std::fs::remove_dir_all(system.file("history")).unwrap();
    system.start();
    system.write_map("two", "second");
    system.commit("something else");
    system.until_map("two", "second");
    assert_eq!(system.map("one"), "first");
    system.bring("one", &["better"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_commit_is_refused_though_the_volume_that_knew_better_was_lost() {
    let mut system = System::new("back-in-time").await;
    system.sign();
    system.write_platform(&[&["one"]]);
    system.write_map("one", "first");
    system.commit("first");
    system.start();
    system.until_all("Healthy");
    system.bring("one", &["second"]);
    system.stop();
    std::fs::remove_dir_all(system.file("history")).unwrap();
    tk8s_tests::system::git(&system.file("repository"), &["branch", "newer"]);
    tk8s_tests::system::git(&system.file("repository"), &["reset", "-q", "--hard", "HEAD~1"]);
    system.proxy.take_seen();
    system.start();
    system.until("the older commit is refused", || {
        system.status()["refused"].as_array().is_some_and(|all| all.iter().any(|one| one["reason"] == "NotDescendant"))
    });
    assert_eq!((system.map("one"), patches(&system.proxy.seen())), ("second".into(), 0));
    tk8s_tests::system::git(&system.file("repository"), &["reset", "-q", "--hard", "newer"]);
    system.until_all("Healthy");
    assert_eq!(releases(&system, "one"), [(3, "Healthy".into())]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_anchor_that_somebody_wrote_is_an_alarm_and_one_that_is_gone_is_written_anew() {
    let mut system = System::two_components("forged", "").await;
    let name = "tk8s-agent-forged";
    system.until("it is anchored", || !system.anchor().is_empty());
    system.stop();
    let good = system.anchor();
    let forged = serde_json::json!({"data": {"anchor": good.replace("refs/heads/main", "refs/heads/evil")}}).to_string();
    system.kubectl(&["patch", "configmap", name, "--type", "merge", "-p", &forged]);
    system.start();
    system.until("the forgery is an alarm", || alarms(&system).iter().any(|alarm| alarm.starts_with("AnchorUnproven")));
    system.until("it is written anew", || system.anchor().contains("refs/heads/main"));
    system.until_all("Healthy");
    // While it runs as well.
    system.kubectl(&["patch", "configmap", name, "--type", "merge", "-p", &forged]);
    system.write_map("one", "second");
    system.commit("second");
    system.until_map("one", "second");
    system.until("it is written over", || !system.anchor().contains("refs/heads/evil"));
    system.stop();
    system.kubectl(&["delete", "configmap", name]);
    system.start();
    system.until("it is written anew", || system.anchor().contains("refs/heads/main"));
    system.until_all("Healthy");
    assert!(alarms(&system).is_empty(), "{:?}", alarms(&system));
    system.stop();
    system.check_history();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_may_not_touch_its_anchor_says_so_and_looks_after_what_runs() {
    let mut system = System::two_components("no-anchor", "").await;
    system.until_anchored();
    system.stop();
    let fault = Fault::Status { code: 403, reason: "Forbidden", retry_after: None };
    system.proxy.disturb(MANY, fault, Seen::is_anchor);
    system.write_map("one", "second");
    system.commit("second");
    system.start();
    system.until_map("one", "second");
    system.until_all("Healthy");
    system.until("it is told", || alarms(&system).iter().any(|alarm| alarm.starts_with("AnchorNotKept")));
    system.proxy.calm();
    system.until_anchored();
    system.until("all is well again", || alarms(&system).is_empty());
}

/// Flips bits all over a file, each time in another place.
fn flip(path: &Path, seed: usize) {
    let mut bytes = std::fs::read(path).unwrap();
    let length = bytes.len();
    for number in 0..200 {
        let at = (number * 7919 + seed * 104_729) % length.max(1);
        bytes[at] ^= 1 << (number % 8);
    }
    std::fs::write(path, bytes).unwrap();
}

/// The files of the view, however deep.
fn files(directory: &Path) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

/// F22: a view with wrong bits, or cut off.
#[tokio::test(flavor = "multi_thread")]
async fn a_view_that_is_damaged_is_made_anew_and_says_the_same() {
    let mut system = System::two_components("view-damaged", "").await;
    type Damage = fn(&Path);
    let damages: [(&str, Damage); 4] = [
        ("bits", |path| flip(path, 1)),
        ("other bits", |path| flip(path, 2)),
        ("half of it", |path| {
            let bytes = std::fs::read(path).unwrap();
            std::fs::write(path, &bytes[..bytes.len() / 2]).unwrap();
        }),
        ("nothing of it", |path| std::fs::write(path, b"").unwrap()),
    ];
    for (round, (what, damage)) in damages.into_iter().enumerate() {
        let at = format!("{round}");
        system.write_map("one", &at);
        system.commit(what);
        system.until_map("one", &at);
        system.until_all("Healthy");
        let before = (releases(&system, "one"), releases(&system, "two"));
        system.stop();
        files(&system.file("history/view")).iter().for_each(|path| damage(path));
        system.start();
        // Until then the status is what the history remembers, and what it takes up has not begun.
        system.until_looked(1).await;
        system.until_all("Healthy");
        assert_eq!((releases(&system, "one"), releases(&system, "two")), before, "{what}");
        system.kubectl(&["delete", "configmap", "one"]);
        system.until_map("one", &at);
        system.until_all("Healthy");
        system.stop();
        system.check_history();
        system.start();
        system.until_all("Healthy");
    }
    assert!(alarms(&system).is_empty(), "{:?}", alarms(&system));
}

/// F23: a view whose thread never answers.
#[tokio::test(flavor = "multi_thread")]
async fn a_view_that_hangs_ends_the_process_and_the_next_one_makes_it_anew() {
    let mut system = System::two_components("view-hangs", "").await;
    system.stop();
    system.variables = vec![("TK8S_SPIN_AT", "view:100".into())];
    system.start();
    let mut round = 0;
    while system.is_running() {
        assert!(round < 100, "{}", system.log());
        system.write_map("one", &format!("{round}"));
        system.commit("another one");
        std::thread::sleep(Duration::from_millis(500));
        round += 1;
    }
    assert!(system.log().contains("the view did not answer in time"), "{}", system.log());
    system.variables.clear();
    system.start();
    system.until_map("one", &format!("{}", round - 1));
    system.until_all("Healthy");
    system.stop();
    system.check_history();
}

/// F14: it is killed during a rollback, not told to end.
#[tokio::test(flavor = "multi_thread")]
async fn killed_in_the_middle_of_a_rollback_it_finishes_the_rollback() {
    let mut system = System::new("killed-back").await;
    system.write_platform(&[&["one"]]);
    write_maps(&system, "one", 10, "first");
    system.commit("first");
    system.start();
    system.until_all("Healthy");
    write_maps(&system, "one", 10, "second");
    system.commit("second");
    system.until("it is there", || maps_at(&system, "second") == 10);
    system.until_all("Healthy");
    for point in ["P3", "P5:4", "P6", "P7", "P11"] {
        system.stop();
        system.variables = vec![("TK8S_CRASH_AT", point.into())];
        system.start();
        system.until("it leads", || system.status()["leading"] == true);
        system.tk8s(&["rollback", "one", "--to", "1", "--reason", "it turned out badly"]);
        assert!(!system.until_ended().success(), "{point} was passed");
        system.check_history();
        system.variables.clear();
        system.start();
        system.until(&format!("it is rolled back after {point}"), || maps_at(&system, "first") == 10);
        system.until("it is held", || system.component("one")["state"] == "Held");
        assert!(system.tk8s(&["resume", "one"]).status.success());
        system.until("it is forward again", || maps_at(&system, "second") == 10);
        system.until_all("Healthy");
    }
}

/// F15: it is told to end, and killed in the same moment.
#[tokio::test(flavor = "multi_thread")]
async fn ended_without_any_grace_it_goes_on_where_it_was() {
    let mut system = with_maps("no-grace", 20).await;
    system.proxy.disturb(MANY, Fault::Slow(Duration::from_millis(200)), Seen::is_patch);
    write_maps(&system, "one", 20, "second");
    system.commit("second");
    system.until("it is in the middle", || maps_at(&system, "second") > 3);
    system.signal("TERM");
    system.signal("KILL");
    assert_eq!(system.until_ended().code(), None);
    system.check_history();
    system.proxy.calm();
    system.start();
    system.until("it is finished", || maps_at(&system, "second") == 20);
    system.until_all("Healthy");
    assert_eq!(releases(&system, "one"), [(2, "Healthy".into()), (1, "Healthy".into())]);
}

/// A volume of its own that is full; nothing where nobody may mount one.
struct Volume(std::path::PathBuf);

impl Volume {
    fn of(path: &Path, size: &str) -> Option<Volume> {
        std::fs::create_dir_all(path).unwrap();
        let size = format!("size={size}");
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", &size, "none"]).arg(path).status().unwrap();
        mounted.success().then(|| Volume(path.into()))
    }
}

impl Drop for Volume {
    fn drop(&mut self) {
        Command::new("umount").arg("-l").arg(&self.0).status().ok();
    }
}

/// F20: the disk is full.
#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_refuses_what_is_new_keeps_what_runs_and_is_made_good_when_there_is_room() {
    let mut system = System::new("full-disk").await;
    let Some(volume) = Volume::of(&system.file("history"), "24m") else {
        println!("nobody may mount here: not tried");
        return;
    };
    system.deploy_two();
    let filler = system.file("history/filler");
    let mut file = std::fs::File::create(&filler).unwrap();
    let full = std::io::copy(&mut std::io::Read::by_ref(&mut std::io::repeat(7)), &mut file);
    assert!(full.is_err(), "it is full now");
    system.write_map("one", "second");
    system.commit("second");
    system.until("it is told", || {
        let status = system.status().to_string();
        status.contains("DiskFull") || status.contains("No space left")
    });
    assert_eq!(system.map("one"), "first");
    // Status is served, and what runs is looked after as far as that can be written down.
    assert_eq!(system.status()["leading"], true);
    drop(file);
    std::fs::remove_file(filler).unwrap();
    system.until_map("one", "second");
    system.until_all("Healthy");
    system.stop();
    system.check_history();
    drop(volume);
}

/// A file system on a disk of its own that can fail; nothing where nobody may mount one.
struct Disk {
    image: std::path::PathBuf,
    at: std::path::PathBuf,
}

impl Disk {
    fn of(system: &System) -> Option<Disk> {
        let disk = Disk { image: system.file("disk"), at: system.file("history") };
        std::fs::create_dir_all(&disk.at).unwrap();
        std::fs::File::create(&disk.image).unwrap().set_len(64 << 20).unwrap();
        let made = Command::new("mkfs.ext4").args(["-q", "-F"]).arg(&disk.image).status();
        (made.is_ok_and(|made| made.success()) && disk.mount()).then_some(disk)
    }

    fn mount(&self) -> bool {
        Command::new("mount").args(["-o", "loop"]).arg(&self.image).arg(&self.at).status().unwrap().success()
    }

    /// What the kernel does when a disk answers with errors: from now on nothing can be written, also by who has files open.
    fn fail(&self) {
        assert!(Command::new("mount").args(["-o", "remount,abort"]).arg(&self.at).status().unwrap().success());
    }

    /// As a node that starts again would find it.
    fn repair(&self) {
        assert!(Command::new("umount").arg(&self.at).status().unwrap().success());
        // 1: something was put right.
        assert!(Command::new("e2fsck").args(["-f", "-y"]).arg(&self.image).output().unwrap().status.code() <= Some(1));
        assert!(self.mount());
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        Command::new("umount").arg("-l").arg(&self.at).status().ok();
    }
}

/// F21: the volume becomes read-only while the agent runs.
#[tokio::test(flavor = "multi_thread")]
async fn a_volume_that_becomes_read_only_acknowledges_nothing_keeps_what_runs_and_loses_nothing() {
    let mut system = System::new("read-only").await;
    let Some(disk) = Disk::of(&system) else {
        println!("nobody may mount here, or there is no ext4: not tried");
        return;
    };
    system.deploy_two();
    system.bring("one", &["second"]);
    let before = (releases(&system, "one"), releases(&system, "two"));
    disk.fail();
    system.write_map("one", "third");
    system.commit("third");
    system.until("it is told", || system.status().to_string().contains("Read-only file system"));
    system.until_looked(2).await;
    assert_eq!(system.map("one"), "second", "what can't be written down is not done");
    // What was acknowledged is told, as it was, and nothing else.
    assert_eq!((releases(&system, "one"), releases(&system, "two")), before);
    system.stop();
    disk.repair();
    system.start();
    system.until_map("one", "third");
    system.until_all("Healthy");
    assert_eq!(releases(&system, "one")[1..], before.0);
    system.stop();
    system.check_history();
}
