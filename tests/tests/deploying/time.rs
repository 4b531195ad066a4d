//! What the time of day decides, on a whole agent with a wall clock of its own: nothing here depends on when it runs.

use std::fs;

use serde_json::Value;
use tk8s_core::Timestamp;
use tk8s_tests::system::System;

/// In the evening, when the only window of these tests is closed.
const EVENING: &str = "2030-05-17T20:00:00Z";
/// A moment before it opens.
const ALMOST: &str = "2030-05-18T03:29:58Z";
const OPENS: &str = "2030-05-18T03:30:00Z";
const YEAR: i64 = 365 * 24 * 3600;
const WINDOW: &str = "windows: [{allow: 30 3 * * *, duration: 10m}]";

fn time(text: &str) -> Timestamp {
    text.parse().expect("a time")
}

/// The platform file, with more about the component `one`.
fn with(system: &System, more: &str) -> String {
    let platform = fs::read_to_string(system.file("repository/tk8s.yaml")).expect("because it was written");
    platform.replace("path: one", &format!("path: one, {more}"))
}

fn say(system: &System, arguments: &[&str]) -> String {
    let output = system.tk8s(arguments);
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// When the runs of a release began.
fn begun(system: &System, component: &str, release: &str) -> Vec<Timestamp> {
    let shown: Value =
        serde_json::from_str(&say(system, &["history", "show", component, release, "--output", "json"])).expect("JSON");
    let runs = shown["story"]["runs"].as_array().cloned().unwrap_or_default();
    runs.iter().map(|run| time(run["at"].as_str().expect("a time"))).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_for_a_window_begins_by_itself_when_it_opens() {
    let mut system = System::new("windowed").await;
    let clock = system.own_clock();
    clock.set(time(EVENING));
    system.deploy_two();
    system.write("tk8s.yaml", &with(&system, WINDOW));
    system.write_map("one", "second");
    system.write_map("two", "second");
    system.commit("one has a window");
    system.until_map("two", "second");
    system.until_says("one", "Pending", "OutsideWindow");
    let message = system.component("one")["message"].as_str().unwrap_or_default().to_owned();
    assert!(message.contains(OPENS), "{message}");
    // Drift is repaired meanwhile, and neither a person's `sync` nor a restart is a way around.
    system.kubectl(&["patch", "configmap", "one", "--type=merge", "-p", r#"{"data": {"at": "theirs"}}"#]);
    system.until_map("one", "first");
    system.stop();
    system.start();
    say(&system, &["sync"]);
    system.until_looked(2).await;
    system.until_says("one", "Pending", "OutsideWindow");
    assert_eq!(system.map("one"), "first");
    clock.set(time(ALMOST));
    system.until_map("one", "second");
    system.until_all("Healthy");
    let begun = begun(&system, "one", "2");
    assert!(begun.len() == 1 && begun[0] >= time(OPENS), "not before its time: {begun:?}");
}

/// It was taken away at the next look at Git: the platform file that told of its window was another one by then.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_taken_away_waits_for_its_window_also_after_a_restart_without_git_and_view() {
    let mut system = System::new("leaves-at-night").await;
    let clock = system.own_clock();
    clock.set(time(EVENING));
    system.deploy_two();
    let before = fs::read_to_string(system.file("repository/tk8s.yaml")).expect("because it was written");
    system.write("tk8s.yaml", &with(&system, &format!("deletion: delete, {WINDOW}")));
    system.commit("one has a window");
    system.until("that is known", || system.status()["revision"]["commit"].as_str() == Some(head(&system).as_str()));
    system.write("tk8s.yaml", &before.replace("{name: one, path: one}, ", ""));
    system.commit("one leaves");
    system.until_says("one", "Pending", "OutsideWindow");
    system.until_looked(3).await;
    system.until_says("one", "Pending", OPENS);
    assert_eq!(system.map("one"), "first");
    // Nobody but the history knows of the window any more.
    system.stop();
    fs::rename(system.file("repository"), system.file("away")).expect("because it is ours");
    fs::remove_dir_all(system.file("history/view")).expect("because it is ours");
    system.start();
    system.until_says("one", "Pending", OPENS);
    fs::rename(system.file("away"), system.file("repository")).expect("because it is ours");
    system.until_looked(3).await;
    system.until_says("one", "Pending", OPENS);
    assert_eq!(system.map("one"), "first");
    clock.set(time(ALMOST));
    system.until_map("one", "");
    system.until_says("one", "Removed", "nothing of it is left");
    system.until_says("two", "Healthy", "");
    assert!(begun(&system, "one", "2").iter().all(|begun| *begun >= time(OPENS)));
    system.stop();
    system.check_history();
}

fn head(system: &System) -> String {
    let output = std::process::Command::new("git").arg("-C").arg(system.file("repository")).args(["rev-parse", "HEAD"]).output();
    String::from_utf8_lossy(&output.expect("git").stdout).trim().to_owned()
}

/// F45: a person's word, or a signer's, that changes between the decision and the act.
#[tokio::test(flavor = "multi_thread")]
async fn what_waits_is_not_let_in_when_its_signer_turns_out_to_be_compromised() {
    let mut system = System::new("signer-later").await;
    system.sign();
    let clock = system.own_clock();
    clock.set(time(EVENING));
    system.deploy_two();
    system.write("tk8s.yaml", &with(&system, WINDOW));
    system.write_map("one", "second");
    system.commit("one waits");
    system.until_says("one", "Pending", "OutsideWindow");
    let signers = fs::read_to_string(system.file("signers.yaml")).expect("because it was written");
    fs::write(system.file("signers.yaml"), signers.replace("{name: a,", "{name: a, state: compromised,"))
        .expect("because it is ours");
    clock.set(time(ALMOST));
    system.until_says("one", "Denied", "CompromisedSigner: a signed it");
    assert_eq!(system.map("one"), "first");
    // What runs stays, and is looked after.
    system.kubectl(&["patch", "configmap", "one", "--type=merge", "-p", r#"{"data": {"at": "theirs"}}"#]);
    system.until_map("one", "first");
    let shown = say(&system, &["history", "show", "one", "2"]);
    assert!(shown.contains("denied: CompromisedSigner"), "it is in the ledger: {shown}");
    // It was a mistake.
    fs::write(system.file("signers.yaml"), signers).expect("because it is ours");
    say(&system, &["sync"]);
    system.until_map("one", "second");
    system.until_all("Healthy");
}

/// F24: the machine's clock is set while the agent runs, an hour back and ten years ahead.
#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_jumps_expires_nothing_takes_nothing_back_and_holds_up_nothing() {
    let mut system = System::new("clock-jumps").await;
    system.sign();
    // A key that is good for some years: what it signed stays good, what it signs later is not.
    let public = fs::read_to_string(system.file("signer.pub")).expect("because it was made");
    let in_years = Timestamp::from_second(Timestamp::now().as_second() + 3 * YEAR).expect("a time").strftime("%Y%m%dZ");
    fs::write(system.file("signers.yaml"), format!("a valid-before=\"{in_years}\" {public}")).expect("because it is ours");
    let clock = system.own_clock();
    system.deploy_two();
    let process = system.process();
    let drifts = |what: &str| {
        system.kubectl(&["patch", "configmap", "two", "--type=merge", "-p", r#"{"data": {"at": "theirs"}}"#]);
        system.until(what, || system.map("two") == "first");
    };
    clock.set_ahead(-3600);
    drifts("drift is repaired an hour earlier");
    system.bring("one", &["an hour earlier"]);
    clock.set_ahead(10 * YEAR);
    drifts("drift is repaired ten years later");
    system.write_map("one", "ten years later");
    system.commit("signed by a key that is not valid any more");
    let refused = || system.status()["refused"].as_array().cloned().unwrap_or_default();
    system.until("it is refused", || refused().iter().any(|one| one["reason"] == "KeyNotValidNow"));
    assert_eq!(system.map("one"), "an hour earlier", "what ran stays");
    system.until_all("Healthy");
    clock.set_ahead(0);
    system.until_map("one", "ten years later");
    system.until_all("Healthy");
    drifts("drift is repaired now");
    system.until("nothing is left of it", || refused().is_empty() && system.status()["alarms"] == serde_json::json!([]));
    assert_eq!(system.process(), process);
    assert!(system.is_running(), "{}", system.log());
    system.stop();
    system.check_history();
}
