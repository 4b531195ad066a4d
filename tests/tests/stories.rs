//! The stories of this directory, told over the real programs. Each has a cluster of its own.

#![allow(missing_docs)]

use std::io::{BufRead as _, BufReader};
use std::process::Stdio;

#[test]
fn the_demo_s_story_is_true() {
    tk8s_tests::run("tests/demo.sh");
}

/// Each step is in the story, which fails at the first that is not so.
#[test]
fn a_release_goes_from_staging_to_one_cluster_of_production_after_the_other() {
    tk8s_tests::run("tests/fleet.sh");
}

/// F13: it is killed at every point of a release.
#[test]
fn a_killed_agent_leaves_a_whole_history_and_finishes_on_the_next_start() {
    let said = tk8s_tests::run("tests/crash.sh");
    for (point, _) in tk8s_core::crash::POINTS {
        assert!(said.contains(&format!("  {point}: ")), "{point} was not tried: {said}");
    }
}

#[test]
fn faults_are_named_isolated_and_made_good() {
    let said = tk8s_tests::run("tests/faults.sh");
    assert_eq!(said.lines().count(), 7, "{said}");
}

#[test]
fn an_interrupted_demo_leaves_nothing_behind() {
    // etcd, four of Kubernetes, sshd and the agent.
    interrupt("tests/demo.sh", "are healthy", 7);
}

#[test]
fn an_interrupted_fleet_leaves_nothing_behind() {
    // The same three times, but for one sshd.
    interrupt("tests/fleet.sh", "an agent in each", 19);
}

/// Interrupts a story where it says some words, and so many processes of it run.
fn interrupt(path: &str, words: &str, processes: usize) {
    let room = tempfile::tempdir().expect("because there is room");
    let mut story = tk8s_tests::story(path)
        .env("TMPDIR", room.path())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("because bash is there");
    let mut lines = BufReader::new(story.stdout.take().expect("because it is piped")).lines().map_while(Result::ok);
    assert!(lines.any(|line| line.contains(words)), "it ended before it said `{words}`: {:?}", story.wait());
    let programs = processes_below(room.path());
    assert!(programs.len() >= processes, "{processes} processes should run: {programs:?}");
    let interrupted = std::process::Command::new("kill").args(["-INT", &story.id().to_string()]).status();
    assert!(interrupted.expect("because kill is there").success());
    let rest: Vec<_> = lines.collect();
    assert_eq!(story.wait().expect("because it is our child").code(), Some(130), "{rest:?}");
    assert_eq!(processes_below(room.path()), Vec::<String>::new());
    let left: Vec<_> = std::fs::read_dir(room.path()).expect("because it is ours").collect();
    assert!(left.is_empty(), "{left:?}");
}

/// The command lines of all processes that name something below a directory.
fn processes_below(directory: &std::path::Path) -> Vec<String> {
    let directory = directory.to_str().expect("because its name is plain");
    let all = std::fs::read_dir("/proc").expect("because this is Linux").filter_map(Result::ok);
    let lines = all.filter_map(|process| std::fs::read(process.path().join("cmdline")).ok());
    let lines = lines.map(|line| String::from_utf8_lossy(&line).replace('\0', " "));
    lines.filter(|line| line.contains(directory)).collect()
}
