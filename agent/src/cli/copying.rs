//! `tk8s-agent history copy`: the history's truth, from a running agent or from its files, to a directory.

use std::path::PathBuf;

use clap::Args;
use hyper::StatusCode;
use serde_json::Value;
use tk8s_core::Digest;
use tk8s_history::{Files, Source, Unread};

use super::finding::count;
use super::offline::complain;
use super::output::{self, Format, line};
use super::reach::{Answer, Talk};
use super::remote::{refused, unanswered};
use super::{Agent, Exit};
use crate::api::{NO_BLOB, NO_TILE};
use crate::disk::disk;

#[derive(Args)]
pub(super) struct Copying {
    /// Where the copy is, or is to be. Nothing else may be in this directory.
    #[arg(long, value_name = "DIR")]
    to: PathBuf,
    /// Read it from here instead of from an agent: the history's directory, a snapshot of it, or a copy. Nothing in it is changed; an
    /// agent may be running on it.
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// The key that has to have signed it, as `origin+id+key`; otherwise the one that the copy names already, and at first the one
    /// that the ledger names itself.
    #[arg(long, value_name = "KEY")]
    public_key: Option<String>,
    #[command(flatten)]
    agent: Agent,
}

pub(super) fn copy(copying: &Copying, format: Format) -> Result<(), Exit> {
    let Copying { to, dir, public_key, agent } = copying;
    let key = public_key.as_deref();
    let (copied, exit) = match dir {
        Some(dir) => (disk(|| tk8s_history::copy(&mut Files::of(dir, key), to, key)), Exit::No),
        None => {
            let mut served = Served { agent, talk: Talk::with(agent), exit: Exit::No };
            let copied = disk(|| tk8s_history::copy(&mut served, to, key));
            (copied, served.exit)
        }
    };
    let copied = copied.map_err(|error| {
        complain("the history could not be copied", &error);
        exit
    })?;
    match format {
        Format::Json => output::json(&copied),
        Format::Text => {
            let new = |number: u64| if number > 0 { format!(" ({number} of them new)") } else { String::new() };
            let number = |number: u64, what: &str| count(usize::try_from(number).unwrap_or(usize::MAX), what);
            let (events, blobs) = (number(copied.events, "event"), number(copied.blobs, "blob"));
            line(&format!(
                "`{}` holds {events}{} and {blobs}{}, root {}",
                to.display(),
                new(copied.new_events),
                new(copied.new_blobs),
                copied.root
            ));
            line(&format!("signed by {}", copied.key));
        }
    }
    Ok(())
}

/// A history that an agent serves.
struct Served<'a> {
    agent: &'a Agent,
    talk: Talk<'a>,
    /// How the command ends if what was asked last was not answered.
    exit: Exit,
}

impl Served<'_> {
    /// What the agent has there; or what it says, if it has none for this reason.
    fn get(&mut self, path: &str, none: &str) -> Result<Result<Vec<u8>, String>, Unread> {
        let asked = tokio::runtime::Handle::current().block_on(self.talk.get(path));
        let Answer { status, body } = asked.map_err(|error| {
            let (why, exit) = unanswered(self.agent, &error);
            self.exit = exit;
            why
        })?;
        if status.is_success() {
            return Ok(Ok(body.to_vec()));
        }
        let problem: Value = serde_json::from_slice(&body).unwrap_or_default();
        match (status, problem["reason"].as_str()) {
            (StatusCode::NOT_FOUND, Some(reason)) if reason == none => {
                Ok(Err(tk8s_core::printable(problem["message"].as_str().unwrap_or_default(), 500)))
            }
            _ => Err(refused(status, &body).into()),
        }
    }
}

impl Source for Served<'_> {
    fn checkpoint(&mut self) -> Result<Vec<u8>, Unread> {
        self.get("/ledger/checkpoint", "")?.map_err(Unread::from)
    }

    fn tile(&mut self, path: &str) -> Result<Option<Vec<u8>>, Unread> {
        Ok(self.get(&format!("/ledger/{path}"), NO_TILE)?.ok())
    }

    fn blob(&mut self, blob: &Digest) -> Result<Result<Vec<u8>, String>, Unread> {
        self.get(&format!("/api/v1/blobs/{blob}"), NO_BLOB)
    }
}
