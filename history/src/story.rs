//! What became of one release, as the ledger tells it. Pure: the same events tell the same story, whoever reads them.

use serde::{Deserialize, Serialize};
use tk8s_core::{Digest, ObjectKey, Promoted, ReleaseId, Timestamp};

use crate::event::{Event, Record};
use crate::{LeftOut, Outcome};

/// What became of a release since it was staged.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Story {
    /// Its runs, oldest first: the newest 50.
    pub runs: Vec<RunStory>,
    /// How many runs there were before those.
    pub earlier_runs: u64,
    /// When its plan was denied, and why: the newest 50.
    pub denials: Vec<Denial>,
    /// Deletions that a person let through.
    pub confirmations: Vec<Said>,
    /// Rollbacks to it that a person asked for: the newest 50.
    pub rollbacks: Vec<Said>,
    /// What became of its workloads while they ran: the newest 50.
    #[serde(default)]
    pub decays: Vec<Decay>,
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
    /// By whose word it was let in, where one is demanded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub promoted: Option<Promoted>,
    /// What the plan created.
    pub creates: Vec<ObjectKey>,
    /// What it changed.
    pub changes: Vec<ObjectKey>,
    /// What it was to delete.
    pub deletes: Vec<ObjectKey>,
    /// What was gone at its end.
    pub gone: Vec<ObjectKey>,
    /// How many objects more these four are about: of each the first 1,000 are told.
    pub more: u64,
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

/// That a workload was degraded, and what was behind it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decay {
    /// When.
    pub at: Timestamp,
    /// Which object.
    pub object: ObjectKey,
    /// The stable word of its health.
    pub reason: String,
    /// For people.
    pub message: String,
    /// How often it was seen until then: told the first, the tenth, the hundredth time.
    pub times: u64,
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

/// Objects of one sort that are told of one run.
const MOST_OBJECTS: usize = 1000;

/// Adds as many as are told, and says how many are not.
fn extend(told: &mut Vec<ObjectKey>, mut more: Vec<ObjectKey>) -> u64 {
    let rest = more.split_off(more.len().min(MOST_OBJECTS.saturating_sub(told.len())));
    told.append(&mut more);
    rest.len() as u64
}

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
                        promoted: intent.promoted,
                        creates: Vec::new(),
                        changes: Vec::new(),
                        deletes: Vec::new(),
                        gone: Vec::new(),
                        more: 0,
                        outcome: None,
                        ended_at: None,
                    });
                }
                if let Some(run) = self.runs.last_mut() {
                    run.more += extend(&mut run.creates, intent.creates);
                    run.more += extend(&mut run.changes, intent.changes);
                    run.more += extend(&mut run.deletes, intent.deletes);
                }
                if self.runs.len() > MOST {
                    self.runs.remove(0);
                    self.earlier_runs += 1;
                }
            }
            Event::Pruned { release, objects, .. } if release == *id => {
                self.runs.last_mut().into_iter().for_each(|run| run.more += extend(&mut run.gone, objects.clone()));
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
            Event::Degraded { release, object, reason, message, times, .. } if release == *id => {
                self.decays.push(Decay { at, object, reason, message, times });
                if self.decays.len() > MOST {
                    self.decays.remove(0);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event;
    use crate::tests::{at, id, intent};

    #[test]
    fn a_release_that_is_repaired_for_years_has_a_short_story() {
        let names: Vec<String> = (0..1500).map(|number| format!("object-{number}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let mut story = Story::default();
        for _ in 0..MOST + 10 {
            for event in event::begun(&intent(id("web", 1), &names)) {
                story.hear(&id("web", 1), Record { sequence: 0, at: at(1), event });
            }
        }
        assert_eq!((story.runs.len(), story.earlier_runs), (MOST, 10));
        assert!(story.runs.iter().all(|run| run.creates.len() == MOST_OBJECTS && run.more == 500));
        // Another release's is none of it.
        let before = story.clone();
        for event in event::begun(&intent(id("web", 2), &names)) {
            story.hear(&id("web", 1), Record { sequence: 0, at: at(1), event });
        }
        assert_eq!(story, before);
    }
}
