//! `tk8s-agent approve`: a person's yes to a release, made with their own Git and their own key.
//!
//! It does nothing that `git tag -s` and `git push` don't do, but shows beforehand what the yes is to: the commits and the diff
//! between what runs and the release, and that the agent means the same tag object.

use std::io::{IsTerminal as _, Write as _};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use clap::Args;
use tk8s_core::printable;
use tk8s_gitsync::{approval_name, check_approval, released_component};

use super::output::line;
use super::remote::ask;
use super::{Agent, Exit};
use crate::engine::InstanceStatus;

/// What `approve` takes.
#[derive(Args)]
pub(super) struct Approve {
    /// The release's tag, for example `v1.4.0`.
    release: String,
    /// As what you say yes: a role that the signers file gives you.
    #[arg(long)]
    role: String,
    /// Your name in the signers file; otherwise what `git config tk8s.signer` says.
    #[arg(long, value_name = "NAME")]
    signer: Option<String>,
    /// Where it may run.
    #[arg(long, default_value = "production")]
    environment: String,
    /// On which clusters: names with `*` and `?`, separated by commas; all if nothing is given.
    #[arg(long, value_name = "NAMES")]
    clusters: Option<String>,
    /// Until when it may begin: a day, whose end in UTC is meant, or a time with its zone.
    #[arg(long, value_name = "WHEN")]
    expires: Option<String>,
    /// Say it anew, for other clusters or until another time: it takes the place of what you said of the release in this role.
    #[arg(long)]
    again: bool,
    /// What you looked at: the first line of the tag's message.
    #[arg(short, long, value_name = "TEXT")]
    message: Option<String>,
    /// Your clone of the repository.
    #[arg(long, value_name = "DIR", default_value = ".")]
    repository: PathBuf,
    /// Where the tag is pushed to.
    #[arg(long, default_value = "origin")]
    remote: String,
    /// Make the tag only; you push it.
    #[arg(long)]
    no_push: bool,
    /// Don't ask.
    #[arg(long)]
    yes: bool,
    /// The revision that runs; otherwise the agent is asked.
    #[arg(long, value_name = "REVISION", conflicts_with_all = ["server", "token_file"])]
    from: Option<String>,
    #[command(flatten)]
    agent: Agent,
}

/// Why it ended before its end; has been told, but for what is in it.
enum Ended {
    Because(String),
    Told(Exit),
}

impl From<String> for Ended {
    fn from(why: String) -> Ended {
        Ended::Because(why)
    }
}

/// `tk8s-agent approve RELEASE --role ROLE`. Exit code 0: approved and pushed. 1: not.
pub(super) async fn approve(approve: &Approve) -> Exit {
    match approve.run().await {
        Ok(()) => Exit::Yes,
        Err(Ended::Because(why)) => {
            eprintln!("{why}");
            Exit::No
        }
        Err(Ended::Told(exit)) => exit,
    }
}

impl Approve {
    async fn run(&self) -> Result<(), Ended> {
        let release = &self.release;
        let signer = match &self.signer {
            Some(signer) => signer.clone(),
            None => self.git(&["config", "tk8s.signer"]).map_err(|_| {
                "whose yes is it? Give `--signer NAME`, or say it once by `git config tk8s.signer NAME`: your name in the signers file"
                    .to_owned()
            })?,
        };
        let name = approval_name(release, &self.role, &signer)?;
        let message = self.says();
        check_approval(&message)?;
        let unknown = |why| format!("this repository has no tag `{}`: fetch it first (git: {why})", printable(release, 80));
        let tag = self.git(&["rev-parse", "--verify", "--quiet", &format!("refs/tags/{release}")]).map_err(unknown)?;
        if self.git(&["cat-file", "-t", &tag])? != "tag" {
            return Err(format!("`{release}` is not an annotated tag: nobody signed it, and it is no release").into());
        }
        let runs = self.what_runs(&tag).await?;
        let reference = format!("refs/tags/{name}");
        if !self.again && self.git(&["rev-parse", "--verify", "--quiet", &reference]).is_ok() {
            return Err(format!(
                "you said yes to {release} as {} before, and `git show {name}` says for what: `--again` says it anew, in its place",
                self.role
            )
            .into());
        }
        self.show(&runs, &tag)?;
        self.make_sure(&format!("Say yes to {release} as {} for {}?", self.role, self.environment))?;
        let (force, pushed): (&[&str], _) = if self.again { (&["-f"], format!("+{reference}")) } else { (&[], reference) };
        self.run_git(&[&["tag", "-s"][..], force, &["-m", &message, &name, &tag]].concat())?;
        let push = format!("git push {} {pushed}", self.remote);
        if self.no_push {
            line(&format!("made `{name}`; push it: {push}"));
            return Ok(());
        }
        self.run_git(&["push", &self.remote, &pushed]).map_err(|why| {
            format!("{why}; the tag is here, and only has to be pushed: {push} (`--again` replaces one that is there)")
        })?;
        line(&format!("pushed `{name}`; `tk8s-agent status` says who is still missing"));
        Ok(())
    }

    /// The tag's message, with what the yes is for.
    fn says(&self) -> String {
        let mut text = format!("{}\n\nEnvironment: {}\n", self.message.as_deref().unwrap_or("Approved"), self.environment);
        for (key, value) in [("Clusters", &self.clusters), ("Expires", &self.expires)] {
            if let Some(value) = value {
                text.push_str(&format!("{key}: {value}\n"));
            }
        }
        text
    }

    /// The commit that runs; none if nothing does yet.
    async fn what_runs(&self, tag: &str) -> Result<Option<String>, Ended> {
        if let Some(from) = &self.from {
            return Ok(Some(self.git(&["rev-parse", "--verify", "--quiet", &format!("{from}^{{commit}}")])?));
        }
        let status: InstanceStatus = ask(&self.agent, hyper::Method::GET, "/api/v1/status", None).await.map_err(|exit| {
            eprintln!("what runs? The agent knows; or name the revision that runs (`--from v1.3.0`)");
            Ended::Told(exit)
        })?;
        match status.unapproved.iter().find(|waiting| waiting.tag == self.release) {
            Some(waiting) if waiting.id.as_ref().is_some_and(|id| id.as_str() != tag) => {
                let id = waiting.id.as_ref().map(ToString::to_string).unwrap_or_default();
                return Err(format!(
                    "the agent means another tag `{}`, {id}; here it is {tag}: fetch tags again (`git fetch --tags --force`), and find out who moved it",
                    self.release
                )
                .into());
            }
            Some(waiting) => {
                for missing in &waiting.missing {
                    line(&format!("missing: {missing}"));
                }
            }
            None => line(&format!("the agent does not wait for approvals of {} (yet, or any more)", self.release)),
        }
        let Some(commit) = self.commit_of(&status)? else { return Ok(None) };
        let is_here = self.git(&["cat-file", "-e", &format!("{commit}^{{commit}}")]).is_ok();
        is_here
            .then_some(Some(commit.clone()))
            .ok_or_else(|| format!("the commit {commit} runs, which this repository does not have: fetch first").into())
    }

    /// The commit that runs of what the tag releases: of one component, or of the platform.
    fn commit_of(&self, status: &InstanceStatus) -> Result<Option<String>, String> {
        let Some(name) = released_component(&self.release) else {
            return Ok(status.revision.as_ref().map(|revision| revision.commit.to_string()));
        };
        let component = status.components.iter().find(|component| component.name == name);
        let component = component.ok_or_else(|| format!("the agent has no component `{name}`, and would refuse its tag"))?;
        line(&format!("it releases `{name}` only: what these commits change elsewhere waits for a release of the platform"));
        Ok(component.commit.clone())
    }

    /// What the yes is to.
    fn show(&self, runs: &Option<String>, tag: &str) -> Result<(), String> {
        let commit = self.git(&["rev-parse", &format!("{tag}^{{commit}}")])?;
        line(&format!("{}: tag {tag}, commit {commit}", self.release));
        let before = match runs {
            Some(runs) => {
                line(&format!("what runs: commit {runs}"));
                self.run_git(&["log", "--oneline", "--no-decorate", &format!("{runs}..{commit}")])?;
                runs.clone()
            }
            None => {
                line("nothing runs yet: all of it is new");
                self.git(&["hash-object", "-t", "tree", "--stdin"])?
            }
        };
        self.run_git(&["diff", "--stat", "--patch", &before, &commit])
    }

    fn make_sure(&self, question: &str) -> Result<(), String> {
        if self.yes {
            return Ok(());
        }
        if !std::io::stdin().is_terminal() {
            return Err("nobody can be asked here: `--yes` says yes without a question".into());
        }
        eprint!("{question} [y/N] ");
        let _ = std::io::stderr().flush();
        let mut answer = String::new();
        let read = std::io::stdin().read_line(&mut answer);
        match read.is_ok() && matches!(answer.trim(), "y" | "Y" | "yes") {
            true => Ok(()),
            false => Err("not approved".into()),
        }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut git = Command::new("git");
        git.arg("-C").arg(&self.repository).args(arguments);
        git
    }

    /// What Git prints.
    fn git(&self, arguments: &[&str]) -> Result<String, String> {
        let output =
            self.command(arguments).stdin(Stdio::null()).output().map_err(|error| format!("git can't be run: {error}"))?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            return Err(format!("`git {}` failed: {}", arguments.join(" "), printable(said.trim(), 500)));
        }
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }

    /// Git before the person's eyes: it may page, and ask for a passphrase.
    fn run_git(&self, arguments: &[&str]) -> Result<(), String> {
        let status = self.command(arguments).status().map_err(|error| format!("git can't be run: {error}"))?;
        status.success().then_some(()).ok_or_else(|| format!("`git {}` failed ({status})", arguments.first().unwrap_or(&"")))
    }
}
