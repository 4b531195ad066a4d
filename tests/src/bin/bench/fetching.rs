//! Fetching beside `git`: a whole repository, and once more with nothing new; over https and from the same disk.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use tk8s_gitsync::{Follow, Source};
use tk8s_tests::system::git;

use crate::line::{Line, Lines, median, ratios};

/// The web server of the tests of `gitsync`: the real `git http-backend` behind TLS.
#[path = "../../../../gitsync/tests/support/web.rs"]
#[allow(dead_code, unreachable_pub, clippy::unwrap_used, reason = "a test's")]
mod web;

/// Measures both ways in, beside `git` with a process of its own for each.
pub(crate) async fn fetched(objects: usize, pairs: usize, lines: &mut Lines) {
    let measured = tokio::task::spawn_blocking(move || measure(objects, pairs)).await;
    for line in measured.expect("because nothing of it fails") {
        lines.tell(line);
    }
}

fn measure(objects: usize, pairs: usize) -> Vec<Line> {
    let home = tempfile::tempdir().expect("because there is room");
    let (commits, files) = (objects * 3 / 10, objects / 5);
    make(home.path(), commits, files);
    let certificates = web::Certificates::make(home.path());
    let web = web::Web::start(home.path(), Some(&certificates), |_| web::Answer::Git);
    let authority = certificates.authority();
    let file = format!("file://{}", home.path().join("origin.git").display());
    let (https, mut lines) = (web.url("/origin.git"), Vec::new());
    for (way, url) in [("https", https), ("file", file)] {
        let (mut cold, mut warm) = ((Vec::new(), Vec::new()), (Vec::new(), Vec::new()));
        for pair in 0..pairs {
            let (ours, theirs) = (home.path().join(format!("ours-{way}-{pair}")), home.path().join(format!("git-{way}-{pair}")));
            let source = source(&url, &ours, &authority);
            for turn in [pair, pair + 1] {
                match turn % 2 {
                    0 => {
                        cold.0.push(timed(|| fetch(&source)));
                        warm.0.push(timed(|| fetch(&source)));
                    }
                    _ => {
                        let mirror = theirs.to_str().expect("because it is ours");
                        cold.1.push(timed(|| run_git(home.path(), &authority, &["clone", "-q", "--mirror", &url, mirror])));
                        warm.1.push(timed(|| run_git(&theirs, &authority, &["fetch", "-q"])));
                    }
                }
            }
            for mirror in [ours, theirs] {
                std::fs::remove_dir_all(mirror).ok();
            }
        }
        for (what, (ours, theirs)) in [("whole", cold), ("nothing new", warm)] {
            lines.push(Line {
                line: format!("fetch over {way}, {what}, beside git"),
                objects: commits,
                ours_s: Some(median(&ours)),
                floor_s: Some(median(&theirs)),
                ratios: ratios(&ours, &theirs),
                ..Line::default()
            });
        }
    }
    lines
}

/// A bare repository with so many commits, each of which changes one of so many files.
fn make(home: &Path, commits: usize, files: usize) {
    let mut stream = String::new();
    for commit in 0..commits.max(1) {
        let changed: Vec<usize> = if commit == 0 { (0..files).collect() } else { vec![commit % files] };
        let message = format!("change {commit}");
        let at = 1_700_000_000 + commit;
        write!(stream, "commit refs/heads/main\ncommitter A <a@example.com> {at} +0000\ndata {}\n{message}\n", message.len())
            .expect("because a string takes it");
        for file in changed {
            let text = (0..20).map(|line| format!("line {line} of {file} at {}\n", commit * 31 + line)).collect::<String>();
            write!(stream, "M 100644 inline {}/{file}.yaml\ndata {}\n{text}\n", file % 50, text.len())
                .expect("because a string takes it");
        }
    }
    git(home, &["init", "-q", "--bare", "-b", "main", "origin.git"]);
    let bare = home.join("origin.git");
    let mut child = Command::new("git")
        .current_dir(&bare)
        .args(["fast-import", "--quiet"])
        .stdin(Stdio::piped())
        .spawn()
        .expect("because git is there");
    std::io::Write::write_all(&mut child.stdin.take().expect("because it is piped"), stream.as_bytes())
        .expect("because it reads");
    assert!(child.wait().expect("because it was started").success());
    git(&bare, &["repack", "-q", "-a", "-d"]);
}

fn source(url: &str, mirror: &Path, authority: &Path) -> Source {
    let url = url.parse().expect("because it is a URL");
    let mut source = Source::new(url, mirror.into(), Follow::Branch("main".into()));
    source.https.ca_file = Some(PathBuf::from(authority));
    source
}

fn fetch(source: &Source) {
    tk8s_gitsync::fetch(source).unwrap_or_else(|error| panic!("{}", tk8s_core::chain(&error)));
}

fn run_git(directory: &Path, authority: &Path, arguments: &[&str]) {
    let mut command = Command::new("git");
    command.current_dir(directory).args(arguments).env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_SYSTEM", "/dev/null");
    // Counts more than any configuration, and the machine may have its own.
    let output = command.env("GIT_SSL_CAINFO", authority).output().expect("git");
    assert!(output.status.success(), "git {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}

fn timed(act: impl FnOnce()) -> f64 {
    let began = Instant::now();
    act();
    began.elapsed().as_secs_f64()
}
