//! Releases that undo themselves where something else is in the way: a suspension, a history that does not know what ran.

use std::fs;
use std::process::Command;
use std::time::Duration;

use tk8s_tests::proxy::{Fault, Seen};
use tk8s_tests::system::System;

/// A component `one` that undoes itself, at `first`, and another one.
async fn deployed(name: &str) -> System {
    let mut system = System::new(name).await;
    system.write_platform(&[&["one", "two"]]);
    let platform = fs::read_to_string(system.file("repository/tk8s.yaml")).expect("because it was written");
    system.write("tk8s.yaml", &platform.replace("path: one", "path: one, onFailure: rollback, healthTimeout: 3s"));
    system.write_map("one", "first");
    system.write_map("two", "first");
    system.commit("first");
    system.start();
    system.until_all("Healthy");
    system
}

/// Commits a release of `one` that never gets healthy.
fn commit_bad(system: &System, at: &str) {
    system.write_map("one", at);
    let never = format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: never, namespace: {}}}\nspec: {{nodeSelector: {{never: here}}, containers: [{{name: main, image: \"pause:1\"}}]}}\n",
        system.name
    );
    system.write("one/never.yaml", &never);
    system.commit(at);
}

fn say(system: &System, arguments: &[&str]) {
    let output = system.tk8s(arguments);
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// The rollback itself was denied by what a person said in between.
#[tokio::test(flavor = "multi_thread")]
async fn an_automatic_rollback_that_a_suspension_denied_goes_on_after_a_resume() {
    let mut system = deployed("undo-denied").await;
    commit_bad(&system, "second");
    system.until_map("one", "second");
    // From now on the first thing that is tried is the rollback.
    let tries = |seen: &Seen| seen.is_dry_run() && seen.uri.contains("/configmaps/one?");
    system.proxy.disturb(usize::MAX, Fault::Slow(Duration::from_secs(5)), tries);
    system.until("it is about to be rolled back", || system.component("one")["hold"]["by"] == "tk8s-agent");
    say(&system, &["suspend", "--all", "--reason", "nothing is written now"]);
    system.until("the rollback is denied", || system.log().contains("release=one@1 reason=\"Suspended\""));
    system.proxy.calm();
    system.until_says("one", "Suspended", "");
    system.until_looked(2).await;
    assert_eq!(system.map("one"), "second", "nothing was written");
    // Not by a restart either.
    system.stop();
    system.start();
    system.until_says("one", "Suspended", "");
    system.until_looked(2).await;
    assert_eq!(system.map("one"), "second");
    say(&system, &["resume", "--all"]);
    system.until_map("one", "first");
    system.until_says("one", "Held", "Rolled back to release 1");
}

/// Nothing was undone while all was suspended: what failed is tried once more, and then undone.
#[tokio::test(flavor = "multi_thread")]
async fn a_release_that_fails_while_it_is_suspended_is_undone_after_a_resume() {
    let system = deployed("undo-later").await;
    commit_bad(&system, "second");
    system.until_map("one", "second");
    say(&system, &["suspend", "one", "--reason", "nothing is written now"]);
    system.until_says("one", "Suspended", "");
    system.until_looked(2).await;
    assert_eq!(system.map("one"), "second");
    say(&system, &["resume", "one"]);
    system.until_map("one", "first");
    system.until_says("one", "Held", "Rolled back to release 1");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_release_that_a_restart_interrupted_is_undone_if_it_fails_then() {
    let mut system = deployed("undo-restarted").await;
    commit_bad(&system, "second");
    system.until_map("one", "second");
    system.stop();
    assert_eq!(system.map("one"), "second");
    system.start();
    system.until_map("one", "first");
    system.until_says("one", "Held", "Rolled back to release 1");
}

/// F17 and F43 together: what ran between the last healthy release that is known and the one that failed is lost.
#[tokio::test(flavor = "multi_thread")]
async fn no_automatic_rollback_goes_behind_what_a_lost_volume_knew() {
    let mut system = deployed("undo-behind").await;
    system.stop();
    let copied = Command::new("cp").arg("-a").arg(system.file("history")).arg(system.file("copy")).status().expect("cp");
    assert!(copied.success());
    system.start();
    system.bring("one", &["second"]);
    system.until_anchored();
    system.stop();
    fs::rename(system.file("history"), system.file("lost")).expect("because it is ours");
    fs::rename(system.file("copy"), system.file("history")).expect("because it is ours");
    commit_bad(&system, "third");
    system.start();
    system.until_says("one", "Failed", "there is no healthy release to go back to");
    assert_eq!(system.map("one"), "third", "release 1 is not what ran before");
    assert!(system.component("one")["hold"].is_null());
    // A person may: they know what they do.
    say(&system, &["rollback", "one", "--to", "1", "--reason", "it was better than this"]);
    system.until_map("one", "first");
}
