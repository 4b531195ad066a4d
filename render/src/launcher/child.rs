//! What happens in the child before it becomes the program: everything is given up here.
//!
//! `tk8s-agent launch MEMORY SECONDS FILE PARENT DIRECTORY PROGRAM [ARGUMENT...]`, called by [`super::Launcher`] only and at
//! the very beginning of `main`, while the process has one thread.

use std::ffi::OsString;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, ExitCode};

use landlock::{
    ABI, Access as _, AccessFs, AccessNet, PathBeneath, PathFd, Ruleset, RulesetAttr as _, RulesetCreatedAttr as _, Scope,
};
use rustix::process::{Pid, Resource, Rlimit, Signal, getppid, set_parent_process_death_signal, setrlimit};

/// The command's name.
pub const WORD: &str = "launch";
/// The exit code of a child that never became the program.
const NOT_STARTED: u8 = 126;
/// Addresses beyond the memory that may be written. Go reserves some before it uses any: 0.6 GiB at its start and an arena
/// at a time later (measured; below 1.5 GiB it fails now and then).
const ADDRESSES: u64 = 2 * 1024 * 1024 * 1024;
/// Files that may be open at once.
const OPEN_FILES: u64 = 256;
/// Where the loader and the libraries of a program are that isn't static.
const LIBRARIES: &[&str] = &["/lib", "/lib64", "/usr/lib", "/usr/lib64", "/etc/ld.so.cache"];

/// Becomes the program, or says why not.
pub fn main(arguments: impl Iterator<Item = OsString>) -> ExitCode {
    let problem = match become_program(arguments) {
        Ok(never) => match never {},
        Err(problem) => problem,
    };
    eprintln!("could not be started: {problem}");
    ExitCode::from(NOT_STARTED)
}

enum Never {}

fn become_program(mut arguments: impl Iterator<Item = OsString>) -> Result<Never, String> {
    let mut number = |what: &str| -> Result<u64, String> {
        let text = arguments.next().ok_or_else(|| format!("{what} is missing"))?;
        text.to_str().and_then(|text| text.parse().ok()).ok_or_else(|| format!("{what} is not a number"))
    };
    let (memory, seconds, file) = (number("memory")?, number("seconds")?, number("file size")?);
    let parent = number("parent")?;
    let (Some(directory), Some(program)) = (arguments.next(), arguments.next()) else {
        return Err("directory and program are missing".into());
    };
    die_with(parent)?;
    // Whoever has to go when memory runs short: this one.
    std::fs::write("/proc/self/oom_score_adj", "1000").map_err(|error| format!("oom_score_adj: {error}"))?;
    let limits = [
        (Resource::Data, memory),
        (Resource::As, memory.saturating_add(ADDRESSES)),
        (Resource::Cpu, seconds),
        (Resource::Fsize, file),
        (Resource::Nofile, OPEN_FILES),
        (Resource::Core, 0),
    ];
    for (resource, limit) in limits {
        let limit = Rlimit { current: Some(limit), maximum: Some(limit) };
        setrlimit(resource, limit).map_err(|error| format!("limit {resource:?}: {error}"))?;
    }
    confine(Path::new(&directory), Path::new(&program)).map_err(|error| format!("landlock: {error}"))?;
    super::seccomp::apply().map_err(|error| format!("seccomp: {error}"))?;
    Err(Command::new(program).args(arguments).exec().to_string())
}

/// Ends this process when the thread that started it ends, which waits for it.
fn die_with(parent: u64) -> Result<(), String> {
    set_parent_process_death_signal(Some(Signal::KILL)).map_err(|error| format!("death signal: {error}"))?;
    // It may have died before that was set.
    let found = getppid().map(Pid::as_raw_nonzero);
    if found.and_then(|pid| u64::try_from(pid.get()).ok()) == Some(parent) { Ok(()) } else { Err("its parent is gone".into()) }
}

/// Lets the process see its directory, the program and libraries, and nothing else, as far as the kernel offers it.
fn confine(directory: &Path, program: &Path) -> Result<(), landlock::RulesetError> {
    let abi = ABI::V6;
    let read = AccessFs::from_read(abi);
    let mut rules = Ruleset::default()
        .handle_access(AccessFs::from_all(abi))?
        .handle_access(AccessNet::from_all(abi))?
        .scope(Scope::from_all(abi))?
        .create()?;
    let own = [
        (directory, AccessFs::from_all(abi) & !AccessFs::Execute),
        (program, AccessFs::ReadFile | AccessFs::Execute),
        (Path::new("/dev/null"), AccessFs::ReadFile | AccessFs::WriteFile),
    ];
    let libraries = LIBRARIES.iter().map(|path| (Path::new(*path), read));
    for (path, access) in own.into_iter().chain(libraries) {
        // What isn't there needs no rule; the program's own absence shows when it is executed.
        let Ok(opened) = PathFd::new(path) else { continue };
        let access = if path.is_file() { access & AccessFs::from_file(abi) } else { access };
        rules = rules.add_rule(PathBeneath::new(opened, access))?;
    }
    rules.restrict_self()?;
    Ok(())
}
