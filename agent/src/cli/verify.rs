//! `tk8s-agent verify`: what the agent would say of a commit, a tag, a range or a raw object, without an agent and offline.
//!
//! The verdict is that of the code which the agent decides by, and so is the explanation: its checks are the ones that the
//! verdict was made of. What is judged here is who signed; where a tag may stand, and what was accepted before, is known to
//! the agent alone.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use cpu_time::ThreadTime;
use serde_json::{Value, json};
use tk8s_core::Timestamp;
use tk8s_gitsync::{
    Explained, ObjectKind, ObjectVerdict, Questioned, Refusal, Signers, explain_object, explain_range, explain_revision,
};

use super::offline::{complain, read_config};
use super::output::{self, Format, line};
use super::{Exit, Verify};
use crate::error::Error;

/// The largest signers file or raw object that is read.
const LARGEST_FILE: u64 = 8 * 1024 * 1024;

/// The most refusals of a range that one JSON answer lists. All are counted, and each is a line of the text.
const MOST_LISTED: usize = 1000;

pub(super) fn verify(arguments: &Verify, format: Format) -> Exit {
    let (signers, repository) = match trusted(arguments) {
        Ok(trusted) => trusted,
        Err(exit) => return exit,
    };
    let (now, began) = (Timestamp::now(), ThreadTime::now());
    let one = |explained: Explained| one(&explained, arguments.explain, now, began.elapsed(), format);
    match (&arguments.object, &arguments.revision) {
        (Some(file), _) => match read_bounded(file) {
            Ok(raw) => one(explain_object(&raw, &signers, now)),
            Err(error) => cant("the object can't be read", &error),
        },
        (None, Some(revision)) => {
            let place = format!("`{}`", repository.display());
            if let Some((from, to)) = revision.split_once("..") {
                let to = if to.is_empty() { "HEAD" } else { to };
                let mut seen = Seen { explain: arguments.explain, format, ..Seen::default() };
                match explain_range(&repository, (from, to), &signers, now, |explained| seen.tell(&explained)) {
                    Ok(_) => seen.end(revision, now, began.elapsed()),
                    Err(error) => cant(&place, &error),
                }
            } else {
                explain_revision(&repository, revision, &signers, now).map_or_else(|error| cant(&place, &error), one)
            }
        }
        (None, None) => unreachable!("because clap asks for one of the two"),
    }
}

fn cant(what: &str, error: &dyn std::error::Error) -> Exit {
    complain(what, error);
    Exit::No
}

/// Who may sign, and where the revision is.
fn trusted(arguments: &Verify) -> Result<(Signers, PathBuf), Exit> {
    let (signers, revocations, repository) = match &arguments.config {
        Some(path) => {
            let config = read_config(path)?;
            let Some(signers) = config.trust.signers_file.clone() else {
                eprintln!("`{}` names no signers file", path.display());
                return Err(Exit::BadConfiguration);
            };
            (signers, config.trust.revocation_file.clone(), config.history.dir.join("mirror.git"))
        }
        None => {
            let signers = arguments.signers.clone().expect("because clap asks for it without `--config`");
            (signers, arguments.revocations.clone(), arguments.repository.clone())
        }
    };
    let read = read_bounded(&signers).and_then(|bytes| crate::trust::signers(&bytes, &signers, revocations.as_deref()));
    read.map(|signers| (signers, repository)).map_err(|error| cant("the signers can't be used", &error))
}

/// The answer about one object, or a tag and its commit.
fn one(explained: &Explained, explain: bool, now: Timestamp, took: Duration, format: Format) -> Exit {
    let Explained { reference, verdict, objects } = explained;
    match format {
        Format::Json => {
            let mut answer = match verdict {
                Ok(verdicts) => json!({"verified": true, "verdict": verdicts}),
                Err(refusal) => refused(refusal),
            };
            answer["reference"] = json!(reference);
            cost(&mut answer, now, took);
            if explain {
                answer["explained"] = json!(objects);
            }
            output::json(&answer);
        }
        Format::Text => {
            if explain {
                steps(objects);
            }
            match verdict {
                Ok(verdicts) => {
                    line(&format!("yes: {reference}"));
                    verdicts.iter().for_each(|verdict| line(&format!("  {}", words(verdict))));
                }
                Err(refusal) => line(&format!("no: {}\n{}", short(refusal), refusal.rule.help())),
            }
            line(&spent(now, took));
        }
    }
    if verdict.is_ok() { Exit::Yes } else { Exit::No }
}

/// What came of the commits of a range so far. Each is told when it is known; what is kept is bounded.
#[derive(Default)]
struct Seen {
    explain: bool,
    format: Format,
    /// How many commits each signer signed.
    signers: BTreeMap<String, usize>,
    refused: usize,
    /// The first refusals, and with `--explain` every commit, as JSON.
    listed: Vec<Value>,
    explained: Vec<Value>,
}

impl Seen {
    fn tell(&mut self, explained: &Explained) {
        let Explained { reference, verdict, objects } = explained;
        match verdict {
            Ok(verdicts) => verdicts.iter().for_each(|verdict| *self.signers.entry(verdict.signer.clone()).or_default() += 1),
            Err(refusal) => {
                self.refused += 1;
                if self.listed.len() < MOST_LISTED {
                    self.listed.push(refused(refusal));
                }
            }
        }
        match self.format {
            Format::Json if self.explain => self.explained.extend(objects.iter().map(|object| json!(object))),
            Format::Json => {}
            Format::Text => {
                if self.explain {
                    steps(objects);
                }
                match verdict {
                    Ok(verdicts) if self.explain => {
                        verdicts.iter().for_each(|verdict| line(&format!("yes: {}", words(verdict))));
                    }
                    Ok(_) => {}
                    Err(refusal) => line(&format!("no: {reference}: {}", short(refusal))),
                }
            }
        }
    }

    /// The answer about all of them: yes if there are any, and none is refused.
    fn end(self, range: &str, now: Timestamp, took: Duration) -> Exit {
        let good: usize = self.signers.values().sum();
        let is_good = self.refused == 0 && good > 0;
        match self.format {
            Format::Json => {
                let mut answer = json!({
                    "verified": is_good, "range": range, "commits": good + self.refused, "signers": self.signers,
                    "refusedCommits": self.refused, "refused": self.listed,
                });
                cost(&mut answer, now, took);
                if self.explain {
                    answer["explained"] = json!(self.explained);
                }
                output::json(&answer);
            }
            Format::Text => {
                let by = self.signers.iter().map(|(signer, commits)| format!("{commits} by {signer}"));
                let by = by.collect::<Vec<_>>().join(", ");
                match (is_good, good + self.refused) {
                    (true, all) => line(&format!("yes: {range}: {all} commits, {by}")),
                    (false, 0) => line(&format!("no: {range}: no commit is in it, so nothing was verified")),
                    (false, all) => {
                        let by = if by.is_empty() { String::new() } else { format!("; {by}") };
                        line(&format!("no: {range}: {} of {all} commits are refused{by}", self.refused));
                    }
                }
                line(&spent(now, took));
            }
        }
        if is_good { Exit::Yes } else { Exit::No }
    }
}

fn refused(refusal: &Refusal) -> Value {
    let Refusal { object, rule, message, .. } = refusal;
    json!({"verified": false, "object": object, "reason": rule.reason(), "message": message, "help": rule.help()})
}

fn cost(answer: &mut Value, now: Timestamp, took: Duration) {
    answer["judgedAt"] = json!(now);
    answer["cpuMilliseconds"] = json!(took.as_secs_f64() * 1000.0);
}

fn spent(now: Timestamp, took: Duration) -> String {
    format!("judged as of {now}, in {:.2} ms of CPU time", took.as_secs_f64() * 1000.0)
}

fn words(verdict: &ObjectVerdict) -> String {
    let kind = match verdict.kind {
        ObjectKind::Commit => "commit",
        ObjectKind::Tag => "tag",
    };
    let ObjectVerdict { id, signer, fingerprint, .. } = verdict;
    format!("{kind} {id}, signed by {}, {fingerprint}", tk8s_core::printable(signer, 200))
}

fn short(refusal: &Refusal) -> String {
    format!("{}: {}", refusal.rule.reason(), refusal.message)
}

/// Each check of each object, as it was made.
fn steps(objects: &[Questioned]) {
    for Questioned { object, checks } in objects {
        line(object);
        for check in checks {
            let said = if check.passed { "yes" } else { "no " };
            let rule = check.rule.map(|rule| format!(": {}", rule.reason())).unwrap_or_default();
            let found = if check.found.is_empty() { String::new() } else { format!(": {}", check.found) };
            line(&format!("  {said}  {}{rule}{found}", check.check));
        }
    }
}

fn read_bounded(path: &Path) -> Result<Vec<u8>, Error> {
    use std::io::Read as _;
    let fail = |source| Error::ReadFile { what: "file", path: path.into(), source };
    let mut bytes = Vec::new();
    let reader: Box<dyn std::io::Read> =
        if path == Path::new("-") { Box::new(std::io::stdin()) } else { Box::new(std::fs::File::open(path).map_err(fail)?) };
    reader.take(LARGEST_FILE).read_to_end(&mut bytes).map_err(fail)?;
    Ok(bytes)
}
