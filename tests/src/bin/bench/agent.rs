//! The agent that is measured: its process, its repository, and what the audit log and its own log say of it.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde_json::Value;
use tk8s_core::Timestamp;
use tk8s_tests::cluster::ControlPlane;
use tk8s_tests::system::{System, git};

use crate::tail::{Audit, Log, Request, Said};
use crate::workload::Workload;

/// Processor time is counted in these, for programs: `USER_HZ`, 100 on every architecture that we run on.
const TICK: f64 = 0.01;
/// The branch on which a commit waits until it is pushed.
const NEXT: &str = "next";
/// A platform that applies nothing.
const NOTHING: &str = "apiVersion: tk8s.io/v1alpha1\nkind: Platform\nlayers:\n  - {number: 0, name: all, components: [{name: none, path: none, enabled: false}]}\n";

/// An agent with its repository. It follows `main`, which moves by [`Agent::push`] only.
pub(crate) struct Agent {
    pub(crate) system: System,
    pub(crate) workload: Workload,
    pub(crate) audit: Audit,
    pub(crate) log: Log,
    version: usize,
}

/// What one rollout took.
pub(crate) struct Took {
    pub(crate) seconds: f64,
    pub(crate) cpu: f64,
    /// About managed objects.
    pub(crate) requests: Vec<Request>,
    pub(crate) said: Vec<Said>,
}

impl Agent {
    /// An agent that does not run yet, and a repository that holds nothing to apply.
    pub(crate) async fn new(plane: &'static ControlPlane, name: &str, workload: Workload) -> Agent {
        let mut system = System::new(name).await;
        system.leave_out_the_proxy();
        system.interval = "1h";
        system.timeout = "60s";
        system.logs = "warn,tk8s_agent=debug";
        system.write("tk8s.yaml", NOTHING);
        system.commit("nothing yet");
        git(&system.file("repository"), &["checkout", "-q", "-b", NEXT]);
        let log = Log::from_now(&system.log_file());
        let audit = Audit::from_now(plane.audit_log());
        Agent { system, workload, audit, log, version: 0 }
    }

    /// Starts it, and waits until it has looked at Git.
    pub(crate) async fn start(&mut self) {
        self.system.start();
        self.log.until("rendered what changed", 1).await;
    }

    /// Commits a next version of these components, beside the branch that is followed.
    pub(crate) fn commit(&mut self, components: impl IntoIterator<Item = usize>) {
        self.version += 1;
        let version = format!("v{}", self.version);
        for component in components {
            let text = self.workload.file(component, &self.system.name, &version);
            self.system.write(&format!("{}/all.yaml", self.workload.component(component)), &text);
        }
        self.system.write("tk8s.yaml", &self.workload.platform());
        self.system.commit(&version);
    }

    /// Commits one changed object of the first component.
    pub(crate) fn commit_one(&mut self) {
        self.version += 1;
        let path = format!("{}/all.yaml", self.workload.component(0));
        let before = std::fs::read_to_string(self.system.file("repository").join(&path)).expect("because it was written");
        let first = before.split("\n---\n").next().expect("because there is one");
        let object = self.workload.object(0, 0, &self.system.name, &format!("v{}", self.version));
        self.system.write(&path, &before.replacen(first, &object.to_string(), 1));
        self.system.commit("one");
    }

    /// What was committed last.
    pub(crate) fn head(&self) -> String {
        let head = std::fs::read_to_string(self.system.file("repository/.git/refs/heads").join(NEXT));
        head.expect("because git wrote it").trim().to_owned()
    }

    /// Moves the followed branch to what was committed; the moment before that.
    pub(crate) fn push(&self) -> Timestamp {
        let at = Timestamp::now();
        git(&self.system.file("repository"), &["update-ref", "refs/heads/main", NEXT]);
        at
    }

    /// Pushes what was committed, and waits until the outcome of so many releases is recorded. The time is from when all
    /// was rendered, and nothing staged yet.
    pub(crate) async fn roll_out(&mut self, releases: usize) -> Took {
        self.be_quiet().await;
        let cpu = self.cpu();
        self.push();
        let mut took = self.until_recorded(releases, "rendered what changed").await;
        took.cpu = self.cpu() - cpu;
        took
    }

    /// Waits until so many outcomes are recorded, from the last time that these words were said before the first release.
    pub(crate) async fn until_recorded(&mut self, releases: usize, from: &str) -> Took {
        let said = self.log.until("release ended", releases).await;
        let unhealthy = said.iter().find(|said| said.text.contains("release ended") && !said.text.contains("status=Healthy"));
        assert!(unhealthy.is_none(), "{unhealthy:?}");
        let first = said.iter().position(|said| said.text.contains("release begins")).unwrap_or(said.len());
        let found = said[..first].iter().rev().find(|said| said.text.contains(from));
        let from = found.unwrap_or_else(|| panic!("nobody said `{from}` before the first release: {said:?}")).at;
        let until = said.iter().filter(|said| said.text.contains("release ended")).map(|said| said.at).max();
        let seconds = seconds_between(from, until.expect("because it was waited for"));
        let requests = self.requests().await;
        Took { seconds, cpu: 0.0, requests, said }
    }

    /// What it asked about managed objects since the last time.
    pub(crate) async fn requests(&mut self) -> Vec<Request> {
        let requests = self.audit.settled().await;
        let mut ours: Vec<_> =
            requests.into_iter().filter(|request| request.user == self.system.name && request.is_about_objects()).collect();
        ours.sort_by_key(|request| request.received);
        ours
    }

    /// Waits until the process does nothing any more, and forgets what it did so far; how much it asked in the meantime.
    pub(crate) async fn be_quiet(&mut self) -> usize {
        let began = Instant::now();
        let mut quiet = 0;
        while quiet < 2 {
            let before = self.cpu();
            tokio::time::sleep(Duration::from_millis(300)).await;
            quiet = if self.cpu() - before <= TICK { quiet + 1 } else { 0 };
            assert!(began.elapsed() < Duration::from_secs(120), "the agent is never quiet: {}", self.system.log());
        }
        self.log.said();
        self.requests().await.len()
    }

    /// Seconds of processor time so far.
    pub(crate) fn cpu(&self) -> f64 {
        let text = self.process_file("stat");
        // The name of the program, in brackets, may hold anything.
        let rest = text.rsplit_once(") ").expect("because Linux writes it so").1;
        let fields: Vec<&str> = rest.split(' ').collect();
        let ticks = |at: usize| fields[at].parse::<f64>().expect("because it is a number");
        (ticks(11) + ticks(12)) * TICK
    }

    /// The most memory that the process had at once.
    pub(crate) fn peak_rss_mib(&self) -> f64 {
        let text = self.process_file("status");
        let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("because Linux writes it");
        let kib: f64 = line.trim().trim_end_matches(" kB").parse().expect("because it is a number");
        kib / 1024.0
    }

    fn process_file(&self, name: &str) -> String {
        let process = self.system.process().expect("because the agent runs");
        let path = PathBuf::from(format!("/proc/{process}/{name}"));
        std::fs::read_to_string(path).unwrap_or_else(|error| panic!("the agent is gone ({error}): {}", self.system.log()))
    }

    /// Asks its API.
    pub(crate) async fn ask(&self, request: &str, body: &str) -> (u16, Value) {
        let token = std::fs::read_to_string(self.system.file("token")).expect("because it was written");
        let token = format!("Bearer {}", token.trim());
        let headers = [("Authorization", token.as_str()), ("Content-Type", "application/json")];
        let (status, body) = self.system.http("api", request, &headers, body).await;
        (status, serde_json::from_str(&body).unwrap_or_default())
    }
}

/// How long it is from one moment to another.
pub(crate) fn seconds_between(from: Timestamp, to: Timestamp) -> f64 {
    to.duration_since(from).as_secs_f64()
}
