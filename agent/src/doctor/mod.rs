//! Whether an installation works, found out by doing what the agent does: reading its files, writing to its volume, asking the
//! API server, fetching and verifying, rendering, calling its own endpoints.
//!
//! Promises: one line for each thing, with what was found and the next step; nothing is changed. What is written to try the
//! volume, and what is fetched, is gone afterwards; reviews are questions; a webhook makes an agent that runs look at Git once.
//! What it does not do: judge what runs. That is what `status` is for.

mod call;
mod cluster;
mod files;
mod git;
mod rights;
mod running;
mod volume;

use std::path::{Path, PathBuf};

use serde::Serialize;
use tk8s_config::AgentConfig;
use tk8s_core::ServiceAccount;

/// How a thing is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    Ok,
    /// The agent works, and somebody should know.
    Warning,
    /// The agent does not work, or not for long.
    Failed,
    /// There is nothing to look at, or it can't be looked at from here.
    Skipped,
}

impl Outcome {
    pub fn word(self) -> &'static str {
        match self {
            Outcome::Ok => "ok",
            Outcome::Warning => "warning",
            Outcome::Failed => "failed",
            Outcome::Skipped => "skipped",
        }
    }
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Check {
    /// What; a word that is never renamed.
    pub check: &'static str,
    pub outcome: Outcome,
    /// What was found, for people.
    pub found: String,
    /// What to do about it.
    pub next: Option<String>,
}

impl Check {
    fn of(check: &'static str, outcome: Outcome, found: impl Into<String>, next: Option<String>) -> Check {
        Check { check, outcome, found: found.into(), next }
    }

    fn ok(check: &'static str, found: impl Into<String>) -> Check {
        Check::of(check, Outcome::Ok, found, None)
    }

    fn warning(check: &'static str, found: impl Into<String>, next: impl Into<String>) -> Check {
        Check::of(check, Outcome::Warning, found, Some(next.into()))
    }

    fn failed(check: &'static str, found: impl Into<String>, next: impl Into<String>) -> Check {
        Check::of(check, Outcome::Failed, found, Some(next.into()))
    }

    fn skipped(check: &'static str, why: impl Into<String>) -> Check {
        Check::of(check, Outcome::Skipped, why, None)
    }

    /// What is wrong with what is in Git is so for the version that runs as well, and may be what the next one is to cure.
    fn judge_as_trial(&mut self) {
        if self.outcome == Outcome::Failed && git::IN_GIT.contains(&self.check) {
            self.outcome = Outcome::Warning;
        }
    }
}

/// From where it is looked.
pub struct Visit {
    /// The agent's file.
    pub config: PathBuf,
    /// The cluster; otherwise KUBECONFIG, or the pod's own account.
    pub kubeconfig: Option<PathBuf>,
    /// From another machine: of an agent with this account.
    pub outside: Option<ServiceAccount>,
    /// Whether this is a version that is tried beside the agent that runs, which has the volume.
    pub trial: bool,
}

/// The installation that is looked at, and what its parts are called in it.
struct Installed<'a> {
    config: &'a AgentConfig,
    namespace: String,
    /// Whether its files are not those of this machine.
    outside: bool,
    /// Whether another process has its volume, and listens.
    trial: bool,
}

impl Installed<'_> {
    /// What its Deployment is called.
    fn name(&self) -> String {
        crate::identity::installed_as(self.config.instance.as_str())
    }

    /// Why a thing is left out that only its Pod has.
    fn only_there(&self) -> String {
        let (namespace, name) = (&self.namespace, self.name());
        format!("it is in the agent's Pod: `kubectl -n {namespace} exec deploy/{name} -- tk8s-agent doctor`")
    }

    /// Why what the process has that runs is left out, if it is.
    fn elsewhere(&self) -> Option<String> {
        match (self.outside, self.trial) {
            (true, _) => Some(self.only_there()),
            (_, true) => Some("this is a trial: the agent that runs has it".to_owned()),
            _ => None,
        }
    }

    /// What makes a Secret anew, from files.
    fn secret(&self, part: &str, files: &str) -> String {
        let (namespace, name) = (&self.namespace, self.name());
        format!("`kubectl -n {namespace} create secret generic {name}-{part} {files}`")
    }
}

/// Looks at everything, in an order in which what comes later needs what comes earlier.
pub async fn examine(visit: &Visit) -> Vec<Check> {
    let (check, config) = files::configuration(&visit.config);
    let mut checks = vec![check];
    let Some(config) = config else { return checks };
    let namespace = match &visit.outside {
        Some(account) => config.lease.namespace.clone().unwrap_or_else(|| account.namespace().to_owned()),
        None => crate::run::namespace(&config),
    };
    let installed = Installed { config: &config, namespace, outside: visit.outside.is_some(), trial: visit.trial };
    checks.extend(files::examine(&installed));
    let (volume, archive) = volume::examine(&installed);
    checks.extend(volume);
    let (found, cluster) = cluster::examine(&installed, visit, archive.as_ref()).await;
    checks.extend(found);
    let (found, platform) = git::examine(&installed, cluster.as_ref().map(|cluster| &cluster.client)).await;
    checks.extend(found);
    checks.push(match &cluster {
        Some(cluster) => rights::examine(&installed, cluster, platform.as_ref()).await,
        None => Check::skipped(rights::CHECK, "the API server can't be asked"),
    });
    checks.extend(running::examine(&installed, cluster.as_ref()).await);
    if visit.trial {
        checks.iter_mut().for_each(Check::judge_as_trial);
    }
    checks
}

/// Reads a file that is small.
fn read(path: &Path) -> std::io::Result<Vec<u8>> {
    use std::io::Read as _;
    const LARGEST: u64 = 8 * 1024 * 1024;
    let mut bytes = Vec::new();
    std::fs::File::open(path)?.take(LARGEST).read_to_end(&mut bytes)?;
    Ok(bytes)
}
