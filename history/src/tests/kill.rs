//! `kill -9` for real: a child process writes and says what was acknowledged; whatever it said must be there.

use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::*;

const CHILD: &str = "TK8S_HISTORY_TEST_CHILD";

/// Not a test of its own: what the child process runs, until it is killed.
#[test]
fn child_that_writes_until_it_is_killed() {
    let Ok(dir) = std::env::var(CHILD) else { return };
    let history = open(Path::new(&dir));
    for number in 0u32.. {
        let release = stage(&history, "web", &number.to_string()).release.id.clone();
        println!("acknowledged {}", history.size_and_root().size);
        run(&history, &release, Status::Healthy);
        println!("acknowledged {}", history.size_and_root().size);
    }
}

#[test]
fn killed_at_any_time_nothing_that_was_acknowledged_is_lost() {
    let dir = tempfile::tempdir().unwrap();
    let mut acknowledged = 0;
    for round in 0..6u64 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "tests::kill::child_that_writes_until_it_is_killed", "--nocapture"])
            .env(CHILD, dir.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut output = BufReader::new(child.stdout.take().unwrap());
        // Once it has begun to write, at a moment that differs from round to round.
        let mut line = String::new();
        while !line.contains("acknowledged") {
            line.clear();
            assert!(output.read_line(&mut line).unwrap() > 0, "the child ended by itself");
        }
        let until = Instant::now() + Duration::from_micros(3_700 * round * round + 900);
        while Instant::now() < until {
            std::hint::spin_loop();
        }
        child.kill().unwrap();
        child.wait().unwrap();
        output.read_to_string(&mut line).unwrap();
        let said = line.lines().filter_map(|line| line.split("acknowledged ").nth(1)?.parse::<u64>().ok()).max().unwrap();
        assert!(said > acknowledged);
        acknowledged = said;

        crate::replay_equals_view(options(dir.path())).unwrap();
        assert!(crate::verify(dir.path(), None).unwrap().size >= acknowledged);
        let history = open(dir.path());
        for view in history.releases(&name("web")) {
            history.recall(&view.release.id).unwrap();
        }
    }
}
