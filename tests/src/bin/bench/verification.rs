//! What verdicts cost: of one commit, and of each commit of a range, in a repository whose commits `git` signed with
//! `ssh-keygen`. The signers file lists a hundred people, of whom the last one signed.

use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use cpu_time::ThreadTime;
use tk8s_core::Timestamp;
use tk8s_gitsync::{Signers, explain_range, verify_revision};
use tk8s_tests::system::git;

use crate::line::{Bar, Line, Lines, median};

/// The longest range that is made: each of its commits costs a `git` and an `ssh-keygen`.
const LONGEST: usize = 1_000;
const PEOPLE: usize = 100;
/// How often one commit is verified.
const TIMES: usize = 50;
/// What one verdict may take, in seconds of CPU time; those of a range together as many times that.
const MOST: f64 = 0.001;

/// Measures both.
pub(crate) async fn verified(objects: usize, pairs: usize, lines: &mut Lines) {
    let measured = tokio::task::spawn_blocking(move || measure((objects / 10).min(LONGEST), pairs)).await;
    for line in measured.expect("because nothing of it fails") {
        lines.tell(line);
    }
}

fn measure(commits: usize, pairs: usize) -> [Line; 2] {
    let home = tempfile::tempdir().expect("because there is room");
    let (repository, signers) = make(home.path(), commits);
    let now = Timestamp::now();
    let one = || {
        let verdict = verify_revision(&repository, "main", &signers, now).expect("because it can be read");
        assert!(verdict.is_ok(), "{verdict:?}");
    };
    let range = || {
        let good = |explained: tk8s_gitsync::Explained| assert!(explained.verdict.is_ok(), "{:?}", explained.verdict);
        let seen = explain_range(&repository, ("first", "main"), &signers, now, good).expect("because it can be read");
        assert_eq!(seen, commits);
    };
    [line("verify one commit", 1, TIMES, one), line("verify each commit of a range", commits, pairs, range)]
}

fn line(name: &str, commits: usize, times: usize, act: impl Fn()) -> Line {
    let (mut took, mut cpu) = (Vec::new(), Vec::new());
    for _ in 0..times {
        let (began, used) = (Instant::now(), ThreadTime::now());
        act();
        took.push(began.elapsed().as_secs_f64());
        cpu.push(used.elapsed().as_secs_f64());
    }
    let (cpu, most) = (median(&cpu), MOST * commits as f64);
    let bar = Bar::Holds(format!("<= {:.0} ms CPU", most * 1000.0), cpu <= most);
    Line { line: name.into(), objects: commits, ours_s: Some(median(&took)), cpu_s: Some(cpu), bar, ..Line::default() }
}

/// A repository with one commit that nobody has to verify, then so many signed ones; and who may sign.
fn make(home: &Path, commits: usize) -> (std::path::PathBuf, Signers) {
    let mut file = "apiVersion: agent.tk8s.io/v1alpha1\nkind: Signers\nsigners:\n".to_owned();
    for person in 0..PEOPLE {
        let key = home.join(format!("key-{person}"));
        let made = Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-C", "bench", "-f"]).arg(&key).status();
        assert!(made.expect("because ssh-keygen is there").success());
        let public = std::fs::read_to_string(key.with_extension("pub")).expect("because it was made");
        writeln!(file, "  - {{name: person-{person}, roles: [release], keys: ['{}']}}", public.trim())
            .expect("because a string takes it");
    }
    git(home, &["init", "-q", "-b", "main", "repository"]);
    let repository = home.join("repository");
    git(&repository, &["commit", "-q", "--allow-empty", "-m", "before"]);
    git(&repository, &["branch", "first"]);
    let key = format!("user.signingkey={}", home.join(format!("key-{}", PEOPLE - 1)).display());
    for number in 0..commits {
        let message = format!("change {number}");
        git(&repository, &["-c", "gpg.format=ssh", "-c", &key, "commit", "-q", "-S", "--allow-empty", "-m", &message]);
    }
    (repository, Signers::parse(file.as_bytes(), "signers").expect("because it is one"))
}
