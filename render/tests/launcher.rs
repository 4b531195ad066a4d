//! What a started program may do, and how it ends: with the real launcher, real processes and a program that means harm.

#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use tempfile::TempDir;
use tk8s_core::ComponentName;
use tk8s_render::Error;
use tk8s_render::launcher::{Launcher, Limits, Task};

const STAND_IN: &str = env!("CARGO_BIN_EXE_tk8s-stand-in");
const MIB: u64 = 1024 * 1024;

struct Bench {
    scratch: TempDir,
    launcher: Launcher,
    component: ComponentName,
}

fn bench(limits: Limits) -> Bench {
    let scratch = tempfile::tempdir().unwrap();
    let launcher = Launcher::new(STAND_IN.into(), scratch.path().join("scratch"), limits);
    Bench { scratch, launcher, component: "web".parse().unwrap() }
}

impl Bench {
    fn run(&self, program: &str, arguments: &[&str]) -> Result<String, Error> {
        let directory = self.launcher.directory()?;
        let arguments = arguments.iter().map(Into::into).collect();
        let task = Task {
            component: &self.component,
            name: "stand-in",
            program: Path::new(program),
            arguments,
            directory: &directory,
            input: None,
        };
        self.launcher.run(&task).map(|output| String::from_utf8(output).unwrap().trim().to_owned())
    }

    fn act(&self, word: &str) -> String {
        self.run(STAND_IN, &[word]).unwrap()
    }

    fn left_behind(&self) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(self.scratch.path().join("scratch")).into_iter().flatten();
        entries.map(|entry| entry.unwrap().path()).collect()
    }
}

fn small() -> Limits {
    Limits { memory: 64 * MIB, time: Duration::from_secs(20), output: MIB, file: 2 * MIB }
}

/// The highest memory this process ever used, in bytes.
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}

fn runs(pid: &str) -> bool {
    // A zombie is dead: only its parent has not looked yet.
    let status = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    status.rsplit_once(") ").is_some_and(|(_, state)| !state.starts_with(['Z', 'X']))
}

/// The process that the launcher made of `sleep` with this argument, once it is one.
fn child_that_sleeps(argument: &str) -> String {
    let find = || {
        std::fs::read_dir("/proc").unwrap().filter_map(|entry| entry.ok()?.file_name().into_string().ok()).find(|pid| {
            let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            line == format!("/bin/sleep\0{argument}\0").as_bytes()
        })
    };
    let mut found = None;
    until("the child", || {
        found = find();
        found.is_some()
    });
    found.unwrap()
}

fn until(what: &str, mut done: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !done() {
        assert!(begun.elapsed() < Duration::from_secs(30), "{what} took too long");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_program_has_no_sockets_no_children_and_no_say_over_others() {
    let bench = bench(small());
    for word in ["connect", "listen", "start", "signal"] {
        assert_eq!(bench.act(word), "PermissionDenied", "{word}");
    }
    // And what it needs still works.
    assert_eq!(bench.act("thread"), "a thread ran");
}

#[test]
fn the_environment_is_empty_but_for_what_the_launcher_sets() {
    let mut names: Vec<String> = bench(small()).act("environment").split(' ').map(String::from).collect();
    names.sort();
    assert_eq!(names, ["GOMAXPROCS", "GOMEMLIMIT", "GOTRACEBACK", "HOME", "TMPDIR"]);
}

#[test]
fn limits_are_in_force_before_the_program_begins() {
    let bench = bench(Limits { time: Duration::from_secs(2), ..small() });
    std::thread::scope(|scope| {
        scope.spawn(|| bench.run("/bin/sleep", &["599.1234"]));
        let place = format!("/proc/{}", child_that_sleeps("599.1234"));
        let limits = std::fs::read_to_string(format!("{place}/limits")).unwrap();
        for (name, value) in [
            ("Max data size", (64 * MIB).to_string()),
            ("Max address space", (64 * MIB + 2048 * MIB).to_string()),
            ("Max cpu time", "6".into()),
            ("Max file size", (2 * MIB).to_string()),
            ("Max open files", "256".into()),
            ("Max core file size", "0".into()),
        ] {
            let line = limits.lines().find(|line| line.starts_with(name)).unwrap();
            let found: Vec<_> = line[name.len()..].split_whitespace().take(2).collect();
            assert_eq!(found, [&value, &value], "{name}");
        }
        assert_eq!(std::fs::read_to_string(format!("{place}/oom_score_adj")).unwrap().trim(), "1000");
        // Standard input, the two outputs, and what this process was itself given to pass on: nothing that it opened.
        let passed_on = (3..256).filter(|number| {
            let info = std::fs::read_to_string(format!("/proc/self/fdinfo/{number}")).unwrap_or_default();
            let flags = info.lines().find_map(|line| line.strip_prefix("flags:"));
            flags.is_some_and(|flags| u32::from_str_radix(flags.trim(), 8).unwrap() & 0o2_000_000 == 0)
        });
        assert_eq!(std::fs::read_dir(format!("{place}/fd")).unwrap().count(), 3 + passed_on.count());
        let status = std::fs::read_to_string(format!("{place}/status")).unwrap();
        assert!(status.contains("NoNewPrivs:\t1") && status.contains("Seccomp_filters:\t2"), "{status}");
    });
}

#[test]
fn files_outside_of_its_directory_are_hidden_where_the_kernel_has_landlock() {
    use landlock::{ABI, Access as _, AccessFs, CompatLevel, Compatible as _, Ruleset, RulesetAttr as _};
    let strict = Ruleset::default().set_compatibility(CompatLevel::HardRequirement);
    let offered = strict.handle_access(AccessFs::from_all(ABI::V1)).and_then(|ruleset| ruleset.create()).is_ok();
    let expected = if offered { "PermissionDenied" } else { "allowed" };
    assert_eq!(bench(small()).act("look"), expected);
}

#[test]
fn a_program_that_wants_all_memory_is_ended_and_the_error_says_memory() {
    let bench = bench(small());
    let error = bench.run(STAND_IN, &["eat"]).unwrap_err();
    assert!(matches!(error, Error::OutOfMemory { limit, .. } if limit == 64 * MIB), "{error}");
    assert_eq!(error.to_string(), "stand-in was ended because it ran out of memory: it may use 64 MiB (`render.memory`)");
    assert!(peak() < 128 * MIB, "{}", peak());
}

/// Where Go's runtime got no memory for its own threads it crashed at address 0, and the error told the last frames of that.
#[test]
fn a_crash_of_gos_runtime_is_one_of_memory_and_of_a_panic_its_reason_is_told() {
    let bench = bench(small());
    let says = |text: &str| bench.run("/bin/sh", &["-c", &format!("printf '{text}' >&2; exit 2")]).unwrap_err();
    let trace = "\\n\\ngoroutine 0 gp=0x1 m=0 [idle]:\\nruntime.gcBgMarkStartWorkers.gowrap1()\\n";
    let crashed = says(&format!("SIGSEGV: segmentation violation\\nPC=0x436cfd m=0 sigcode=1 addr=0x0{trace}"));
    assert!(matches!(crashed, Error::OutOfMemory { .. }), "{crashed}");
    let panicked = says(&format!(
        "panic: runtime error: invalid memory address or nil pointer dereference\\n[signal SIGSEGV: segmentation violation code=0x1]{trace}"
    ));
    assert_eq!(
        panicked.to_string(),
        "stand-in: panic: runtime error: invalid memory address or nil pointer dereference [signal SIGSEGV: segmentation violation code=0x1]"
    );
}

#[test]
fn a_program_without_end_is_ended_at_its_deadline() {
    let bench = bench(Limits { time: Duration::from_millis(300), ..small() });
    for (program, arguments) in [
        (STAND_IN, vec!["spin"]),
        ("/bin/sh", vec!["-c", "exec >/dev/null 2>&1; while :; do :; done"]),
        ("/bin/sleep", vec!["1000"]),
    ] {
        let error = bench.run(program, &arguments).unwrap_err();
        assert!(matches!(error, Error::OutOfTime { .. }), "{program}: {error}");
    }
    assert_eq!(bench.left_behind(), Vec::<PathBuf>::new());
}

#[test]
fn output_beyond_the_limit_is_an_error_and_never_half_an_answer() {
    let error = bench(small()).run(STAND_IN, &["shout"]).unwrap_err();
    assert!(matches!(&error, Error::TooMuch { limit, .. } if *limit == MIB), "{error}");
}

#[test]
fn a_file_beyond_the_limit_can_not_be_written() {
    let bench = bench(small());
    match bench.run(STAND_IN, &["write"]) {
        Ok(said) => assert_eq!(said, "FileTooLarge"),
        Err(error) => assert!(error.to_string().contains("SIGXFSZ"), "{error}"),
    }
}

#[test]
fn the_end_of_a_long_complaint_is_told_and_not_more() {
    let error = bench(small()).run(STAND_IN, &["complain"]).unwrap_err().to_string();
    assert!(error.len() < 800 && error.contains("not good"), "{error}");
}

#[test]
fn the_private_directory_is_gone_whatever_happened() {
    let bench = bench(small());
    bench.act("thread");
    bench.run(STAND_IN, &["no such act"]).unwrap_err();
    bench.run("/no/such/program", &[]).unwrap_err();
    assert_eq!(bench.left_behind(), Vec::<PathBuf>::new());
    let directory = bench.launcher.directory().unwrap();
    use std::os::unix::fs::PermissionsExt as _;
    assert_eq!(directory.path().metadata().unwrap().permissions().mode() & 0o777, 0o700);
}

#[test]
fn every_started_process_is_counted_for_its_component() {
    let bench = bench(small());
    bench.act("thread");
    bench.run(STAND_IN, &["no such act"]).unwrap_err();
    assert_eq!(bench.launcher.started(), [("web".parse().unwrap(), 2)].into());
}

/// Run by the test below, in a process of its own that is then killed.
#[test]
#[ignore = "a part of another test"]
fn a_parent_that_will_die() {
    let _ = bench(Limits { time: Duration::from_secs(600), ..small() }).run("/bin/sleep", &["599.8765"]);
}

#[test]
fn a_dead_agent_leaves_no_child() {
    let scratch = tempfile::tempdir().unwrap();
    let mut parent = Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "a_parent_that_will_die"])
        .env("TMPDIR", scratch.path())
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let child = child_that_sleeps("599.8765");
    parent.kill().unwrap();
    parent.wait().unwrap();
    until("the child's end", || !runs(&child));
}
