//! Files that grow while they are read: the API server's audit log, and the agent's own.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::Value;
use tk8s_core::Timestamp;

/// The longest that anything is waited for: ten thousand objects on a slow machine.
const PATIENCE: Duration = Duration::from_secs(600);
/// How often a file is looked at. What is measured shares its processors with this, so a look reads what is new only.
const PAUSE: Duration = Duration::from_millis(5);

/// The whole lines that were written since the last look.
pub(crate) struct Tail {
    path: PathBuf,
    at: u64,
}

impl Tail {
    /// From what is written after this on.
    pub(crate) fn from_now(path: &Path) -> Tail {
        let at = std::fs::metadata(path).map_or(0, |found| found.len());
        Tail { path: path.into(), at }
    }

    /// What is new.
    pub(crate) fn lines(&mut self) -> Vec<String> {
        let Ok(mut file) = File::open(&self.path) else { return Vec::new() };
        let mut bytes = Vec::new();
        file.seek(SeekFrom::Start(self.at)).and_then(|_| file.read_to_end(&mut bytes)).expect("because the file is there");
        let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        self.at += whole as u64;
        String::from_utf8_lossy(&bytes[..whole]).lines().map(String::from).collect()
    }
}

/// A request, as the audit log has it.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) user: String,
    pub(crate) verb: String,
    pub(crate) uri: String,
    pub(crate) received: Timestamp,
    pub(crate) code: u64,
}

impl Request {
    fn read(line: &str) -> Option<Request> {
        let event: Value = serde_json::from_str(line).ok()?;
        let text = |value: &Value| value.as_str().map(String::from);
        Some(Request {
            user: text(&event["impersonatedUser"]["username"]).or_else(|| text(&event["user"]["username"]))?,
            verb: text(&event["verb"])?,
            uri: text(&event["requestURI"])?,
            received: event["requestReceivedTimestamp"].as_str()?.parse().ok()?,
            code: event["responseStatus"]["code"].as_u64().unwrap_or(0),
        })
    }

    /// Whether it changes an object.
    pub(crate) fn is_patch(&self) -> bool {
        self.verb == "patch" && !self.uri.contains("dryRun=All") && !self.is_own()
    }

    /// Whether it is about managed objects, and not what keeps the agent informed and in office.
    pub(crate) fn is_about_objects(&self) -> bool {
        !self.is_own() && !["list", "watch"].contains(&self.verb.as_str())
    }

    /// Whether it is about what is the agent's own: its Lease, its anchor, and what it tells of itself.
    fn is_own(&self) -> bool {
        let made = self.verb == "create" && self.uri.split('?').next().is_some_and(|path| path.ends_with("/configmaps"));
        made || self.uri.contains("/leases")
            || self.uri.contains("/configmaps/tk8s-agent-")
            || tk8s_tests::proxy::is_report(&self.uri)
    }
}

/// The API server's audit log.
pub(crate) struct Audit(Tail);

impl Audit {
    pub(crate) fn from_now(path: &Path) -> Audit {
        Audit(Tail::from_now(path))
    }

    /// What is new.
    pub(crate) fn requests(&mut self) -> Vec<Request> {
        self.0.lines().iter().filter_map(|line| Request::read(line)).collect()
    }

    /// What is new, once the API server has written down what it answered.
    pub(crate) async fn settled(&mut self) -> Vec<Request> {
        let mut requests = Vec::new();
        loop {
            tokio::time::sleep(Duration::from_millis(150)).await;
            let more = self.requests();
            if more.is_empty() {
                return requests;
            }
            requests.extend(more);
        }
    }
}

/// What the agent logged.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) at: Timestamp,
    pub(crate) text: String,
}

impl Said {
    fn read(line: &str) -> Option<Said> {
        let (at, text) = line.split_once(' ')?;
        Some(Said { at: at.parse().ok()?, text: text.into() })
    }

    /// A number of it, by its name.
    pub(crate) fn number(&self, name: &str) -> Option<u64> {
        let (_, rest) = self.text.split_once(&format!("{name}="))?;
        rest.split(' ').next()?.parse().ok()
    }
}

/// The agent's log.
pub(crate) struct Log(Tail);

impl Log {
    pub(crate) fn from_now(path: &Path) -> Log {
        Log(Tail::from_now(path))
    }

    /// What is new.
    pub(crate) fn said(&mut self) -> Vec<Said> {
        self.0.lines().iter().filter_map(|line| Said::read(line)).collect()
    }

    /// Waits until these words were said so often; all that was said until then. A release that fails ends the measurement.
    pub(crate) async fn until(&mut self, words: &str, times: usize) -> Vec<Said> {
        let began = Instant::now();
        let (mut all, mut found) = (Vec::new(), 0);
        loop {
            let more = self.said();
            found += more.iter().filter(|said| said.text.contains(words)).count();
            let failed = more.iter().find(|said| said.text.contains("release failed") || said.text.contains("can't be rendered"));
            assert!(failed.is_none(), "{failed:?}");
            all.extend(more);
            if found >= times {
                return all;
            }
            assert!(began.elapsed() < PATIENCE, "waited in vain for {times} times `{words}`: {all:?}");
            tokio::time::sleep(PAUSE).await;
        }
    }
}
