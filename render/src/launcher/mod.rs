//! The only place that starts a process.
//!
//! The programs that render are not ours, and what they read is not trusted. So each of them runs as a child that has given
//! up what it does not need before its first instruction: the agent starts *its own* binary with the word `launch`, that
//! sets the limits ([`child`]) and then becomes the program. Code in front of an `exec` needs no `unsafe` that way, and a
//! limit that can't be set stops the child instead of being skipped.
//!
//! Promises: an empty environment but for what is named here; a private directory that is gone afterwards; bounded memory,
//! time, file size and output, each with an error that names it; no sockets and no further processes; no child outlives the
//! call, or the agent. Needs neither root nor user namespaces nor cgroups, so it works in a Restricted pod.
//!
//! Does not decide what is run, and gives nobody the output of a program that failed.

pub mod child;
mod private;
mod program;
mod seccomp;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::{Read as _, Seek as _, Write as _};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{MemfdFlags, memfd_create};
use rustix::process::{Pid, Signal, kill_process_group};
use tk8s_core::{ComponentName, printable, redacted};

use crate::Error;
pub use private::Private;
pub use program::Programs;

/// What a child may use.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Bytes of memory that it may write to (heap, stacks and all else that is its own).
    pub memory: u64,
    /// How long it may take.
    pub time: Duration,
    /// Bytes of output that are read.
    pub output: u64,
    /// Bytes of one file that it writes.
    pub file: u64,
}

impl Default for Limits {
    /// Twenty times what kustomize and Helm need for ordinary repositories, a hundredth of what a bomb takes.
    fn default() -> Limits {
        Limits { memory: 1024 * MIB, time: Duration::from_secs(60), output: 16 * MIB, file: 64 * MIB }
    }
}

const MIB: u64 = 1024 * 1024;
/// Complaints beyond this are not kept.
const LONGEST_COMPLAINT: usize = 64 * 1024;
/// How much of a complaint is told.
const TOLD: usize = 600;
/// Processors that a child may keep busy: rendering must not take the agent's own time.
const PROCESSORS: u32 = 2;

/// Starts programs, and counts them.
#[derive(Debug)]
pub struct Launcher {
    /// The binary whose `launch` calls [`child::main`].
    binary: PathBuf,
    scratch: PathBuf,
    limits: Limits,
    started: Mutex<BTreeMap<ComponentName, u64>>,
}

/// What is to be run.
pub struct Task<'a> {
    /// For whom.
    pub component: &'a ComponentName,
    /// The program's name, for errors.
    pub name: &'static str,
    /// The program.
    pub program: &'a Path,
    /// Its arguments. Paths among them are relative to the private directory.
    pub arguments: Vec<OsString>,
    /// Where it runs.
    pub directory: &'a Private,
    /// What it reads from its standard input; nothing if not given. It is never on disk.
    pub input: Option<&'a [u8]>,
}

impl Launcher {
    /// A launcher whose private directories are made in `scratch`.
    pub fn new(binary: PathBuf, scratch: PathBuf, limits: Limits) -> Launcher {
        Launcher { binary, scratch, limits, started: Mutex::default() }
    }

    /// How many processes were started for each component.
    pub fn started(&self) -> BTreeMap<ComponentName, u64> {
        self.started.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// A new private directory.
    pub fn directory(&self) -> Result<Private, Error> {
        Private::new(&self.scratch)
    }

    /// Runs a program to its end, and gives what it wrote to its standard output.
    pub fn run(&self, task: &Task<'_>) -> Result<Vec<u8>, Error> {
        self.hear(task).map(|(output, _)| output)
    }

    /// The same, with the beginning of what it said beside its output.
    pub(crate) fn hear(&self, task: &Task<'_>) -> Result<(Vec<u8>, String), Error> {
        let mut running = Running(self.start(task)?);
        let deadline = Instant::now() + self.limits.time;
        let (output, complaint) = self.collect(task, &mut running.0, deadline)?;
        let status = self.end(task, &mut running.0, deadline)?;
        match status.success() {
            true => Ok((output, String::from_utf8_lossy(&complaint).into_owned())),
            false => Err(self.failure(task, status, &complaint)),
        }
    }

    fn start(&self, task: &Task<'_>) -> Result<Child, Error> {
        let Limits { memory, time, file, .. } = self.limits;
        let mut command = Command::new(&self.binary);
        // The processor's time is bounded by the deadline; its own limit is for an agent that hangs.
        let processor = time.as_secs().saturating_add(1).saturating_mul(u64::from(PROCESSORS));
        command.arg(child::WORD).args([memory, processor, file, u64::from(std::process::id())].map(|number| number.to_string()));
        command.arg(task.directory.path()).arg(task.program).args(&task.arguments);
        command.env_clear();
        command.env("HOME", task.directory.path()).env("TMPDIR", task.directory.path());
        // The collector works harder before the limit ends the program.
        command.env("GOMEMLIMIT", (memory / 10 * 9).to_string()).env("GOMAXPROCS", PROCESSORS.to_string());
        command.env("GOTRACEBACK", "none");
        command.current_dir(task.directory.path()).process_group(0);
        command.stdin(stdin(task)?).stdout(Stdio::piped()).stderr(Stdio::piped());
        let child = command.spawn().map_err(|source| Error::Start { program: task.name, source })?;
        *self.started.lock().unwrap_or_else(PoisonError::into_inner).entry(task.component.clone()).or_default() += 1;
        Ok(child)
    }

    /// Reads both outputs until the child has closed them.
    fn collect(&self, task: &Task<'_>, child: &mut Child, deadline: Instant) -> Result<(Vec<u8>, Vec<u8>), Error> {
        let mut stdout = child.stdout.take();
        let mut stderr = child.stderr.take();
        let (mut output, mut complaint) = (Vec::new(), Vec::new());
        let mut buffer = vec![0; 64 * 1024];
        let broken = |source| Error::Start { program: task.name, source };
        while stdout.is_some() || stderr.is_some() {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(self.late(task));
            }
            let wait = Timespec::try_from(left).map_err(|_| self.late(task))?;
            let mut waiting: Vec<PollFd<'_>> = Vec::with_capacity(2);
            waiting.extend(stdout.as_ref().map(|pipe| PollFd::new(pipe, PollFlags::IN)));
            waiting.extend(stderr.as_ref().map(|pipe| PollFd::new(pipe, PollFlags::IN)));
            match poll(&mut waiting, Some(&wait)) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(errno) => return Err(broken(errno.into())),
            }
            let mut ready = waiting.iter().map(|pipe| !pipe.revents().is_empty()).collect::<Vec<_>>().into_iter();
            let (out, err) = (stdout.is_some() && ready.next() == Some(true), stderr.is_some() && ready.next() == Some(true));
            if out && let Some(pipe) = &mut stdout {
                match pipe.read(&mut buffer).map_err(broken)? {
                    0 => stdout = None,
                    count if (output.len() + count) as u64 > self.limits.output => {
                        return Err(Error::TooMuch {
                            what: format!("bytes of output of {}", task.name),
                            found: (output.len() + count) as u64,
                            limit: self.limits.output,
                        });
                    }
                    count => output.extend_from_slice(&buffer[..count]),
                }
            }
            if err && let Some(pipe) = &mut stderr {
                match pipe.read(&mut buffer).map_err(broken)? {
                    0 => stderr = None,
                    count => complaint.extend(&buffer[..count.min(LONGEST_COMPLAINT - complaint.len())]),
                }
            }
        }
        Ok((output, complaint))
    }

    /// Waits for the end of a child that closed its outputs: at once, unless it means harm.
    fn end(&self, task: &Task<'_>, child: &mut Child, deadline: Instant) -> Result<ExitStatus, Error> {
        let mut pause = Duration::from_micros(200);
        loop {
            if let Some(status) = child.try_wait().map_err(|source| Error::Start { program: task.name, source })? {
                return Ok(status);
            }
            if Instant::now() >= deadline {
                return Err(self.late(task));
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(Duration::from_millis(20));
        }
    }

    fn late(&self, task: &Task<'_>) -> Error {
        Error::OutOfTime { program: task.name, limit: self.limits.time }
    }

    /// Why a child ended badly, in our words where they are known.
    fn failure(&self, task: &Task<'_>, status: ExitStatus, complaint: &[u8]) -> Error {
        let text = String::from_utf8_lossy(complaint);
        let signal = status.signal().and_then(Signal::from_named_raw);
        let program = task.name;
        if signal == Some(Signal::XCPU) {
            return self.late(task);
        }
        // Go says it in words; what is not Go is ended by a signal, and so is whoever the kernel chose when memory ran out.
        let out_of_memory = [
            "out of memory",
            "cannot allocate",
            "cannot map pages",
            "failed to allocate",
            "failed to create new OS thread",
            "failed to reserve",
            "memory allocation of",
            "newosproc",
            "errno=12",
        ];
        let by_signal = matches!(signal, Some(Signal::KILL | Signal::SEGV | Signal::BUS | Signal::ABORT));
        // Where Go's own runtime gets no memory it may use what it did not get. What a program does so is a panic.
        let by_runtime = text.lines().any(|line| line.starts_with("SIGSEGV: "));
        if by_signal || by_runtime || out_of_memory.iter().any(|words| text.contains(words)) {
            return Error::OutOfMemory { program, limit: self.limits.memory };
        }
        if text.contains("stack overflow") || text.contains("stack exceeds") {
            return Error::OutOfMemory { program, limit: self.limits.memory };
        }
        // Our paths are nobody's, and what kustomize thinks of old fields is not why it failed.
        let own = task.directory.path().display().to_string();
        let text = text.replace(&format!("{own}/tree/"), "").replace(&own, "");
        let lines = before_trace(&text).lines().filter(|line| !line.starts_with("# Warning:"));
        let words: Vec<_> = lines.flat_map(str::split_whitespace).collect();
        let told = match (words.is_empty(), status) {
            (true, status) => format!("it ended with {status} and said nothing"),
            (false, _) => tail(&printable(&redacted(&words.join(" ")), LONGEST_COMPLAINT)),
        };
        Error::Program { program, told }
    }
}

/// The standard input of a child: a file that is in memory only, so that nobody has to write while the child does.
fn stdin(task: &Task<'_>) -> Result<Stdio, Error> {
    let Some(input) = task.input else { return Ok(Stdio::null()) };
    let fill = || -> std::io::Result<std::fs::File> {
        let mut file = std::fs::File::from(memfd_create("input", MemfdFlags::CLOEXEC)?);
        file.write_all(input)?;
        file.rewind()?;
        Ok(file)
    };
    fill().map(Stdio::from).map_err(|source| Error::Start { program: task.name, source })
}

/// What a program of Go says before it tells where each of its threads was: that it crashed, and why.
fn before_trace(text: &str) -> &str {
    let traces = ["\ngoroutine ", "\nruntime stack:"];
    let begins = traces.iter().filter_map(|trace| text.find(trace)).min();
    begins.map_or(text, |begins| &text[..begins])
}

/// The end of a complaint, where programs put the reason.
fn tail(text: &str) -> String {
    match text.char_indices().rev().nth(TOLD) {
        Some((at, _)) => format!("…{}", &text[at..]),
        None => text.to_owned(),
    }
}

/// A child that does not outlive this value.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // After it was waited for there is nothing to kill: its number may be somebody else's by then.
        if let Ok(None) = self.0.try_wait() {
            kill_process_group(Pid::from_child(&self.0), Signal::KILL).ok();
            self.0.wait().ok();
        }
    }
}
