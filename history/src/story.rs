//! What became of one release, as the ledger tells it. Pure: the same events tell the same story, whoever reads them.

use serde::{Deserialize, Serialize};
use tk8s_core::{Digest, ObjectKey, ReleaseId, Timestamp};

use crate::event::{Event, Record};
use crate::{LeftOut, Outcome};

/// What became of a release since it was staged.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Story {
    /// Its runs, oldest first: at most [`MOST`], the newest.
    pub runs: Vec<RunStory>,
    /// How many runs there were before those.
    pub earlier_runs: u64,
    /// How often its plan was denied, and why: at most [`MOST`], the newest.
    pub denials: Vec<Denial>,
    /// Deletions that a person let through.
    pub confirmations: Vec<Said>,
    /// Rollbacks to it that a person asked for.
    pub rollbacks: Vec<Said>,
    /// Objects of it that are left as they are, because the API server does not take them.
    pub left_out: Vec<LeftOut>,
}

/// One turn that was begun.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RunStory {
    /// When it was begun.
    pub at: Timestamp,
    /// What made it run.
    pub trigger: String,
    /// Which turn, from 0, and of how many.
    pub turn: u32,
    /// Of how many.
    pub turns: u32,
    /// The digest of the plan that was approved.
    pub plan: Digest,
    /// What the plan created.
    pub creates: Vec<ObjectKey>,
    /// What it changed.
    pub changes: Vec<ObjectKey>,
    /// What it was to delete.
    pub deletes: Vec<ObjectKey>,
    /// What was gone at its end.
    pub gone: Vec<ObjectKey>,
    /// How it ended, if it did.
    pub outcome: Option<Outcome>,
    /// When.
    pub ended_at: Option<Timestamp>,
}

/// A plan that was denied.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Denial {
    /// When.
    pub at: Timestamp,
    /// Every rule that it broke.
    pub reasons: Vec<String>,
}

/// What a person said about a release.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Said {
    /// When.
    pub at: Timestamp,
    /// Who.
    pub by: String,
    /// Why, if they said so.
    pub reason: Option<String>,
}

/// Runs of one release that are told: one that is repaired again and again has thousands.
const MOST: usize = 50;

impl Story {
    /// Takes in one event, in the order of the ledger.
    pub(crate) fn hear(&mut self, id: &ReleaseId, record: Record) {
        let at = record.at;
        match record.event {
            Event::Begun { intent, part, .. } if intent.release == *id => {
                if part == 0 || self.runs.is_empty() {
                    self.runs.push(RunStory {
                        at,
                        trigger: intent.trigger,
                        turn: intent.turn,
                        turns: intent.turns,
                        plan: intent.plan,
                        creates: Vec::new(),
                        changes: Vec::new(),
                        deletes: Vec::new(),
                        gone: Vec::new(),
                        outcome: None,
                        ended_at: None,
                    });
                }
                if let Some(run) = self.runs.last_mut() {
                    run.creates.extend(intent.creates);
                    run.changes.extend(intent.changes);
                    run.deletes.extend(intent.deletes);
                }
                if self.runs.len() > MOST {
                    self.runs.remove(0);
                    self.earlier_runs += 1;
                }
            }
            Event::Pruned { release, objects, .. } if release == *id => {
                self.runs.last_mut().into_iter().for_each(|run| run.gone.extend(objects.iter().cloned()));
            }
            Event::Finished { release, outcome, .. } if release == *id => {
                if let Some(run) = self.runs.last_mut() {
                    (run.outcome, run.ended_at) = (Some(outcome), Some(at));
                }
            }
            Event::Denied { release, reasons } if release == *id => {
                self.denials.push(Denial { at, reasons });
                if self.denials.len() > MOST {
                    self.denials.remove(0);
                }
            }
            Event::Confirmed { release, by, reason, .. } if release == *id => {
                self.confirmations.push(Said { at, by, reason: Some(reason) });
            }
            Event::RollbackRequested { component, to, by, reason } if component == id.component && to == id.number => {
                self.rollbacks.push(Said { at, by, reason });
                if self.rollbacks.len() > MOST {
                    self.rollbacks.remove(0);
                }
            }
            Event::LeftOut { release, objects, part, .. } if release == *id => {
                if part == 0 {
                    self.left_out.clear();
                }
                self.left_out.extend(objects);
            }
            _ => {}
        }
    }
}
