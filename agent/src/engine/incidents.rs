//! Refs that are not what they were: each is an alarm for as long as it stands, and a person may accept it. What runs goes on
//! running and being repaired either way; a person's word lets nothing in that nobody signed.

use serde::{Deserialize, Serialize};
use tk8s_core::{Timestamp, printable};
use tk8s_gitsync::Incident;

use super::Engine;
use super::alarms::{Cause, Reason};
use super::operator::LONGEST_REASON;
use crate::disk::disk;
use crate::error::Error;

/// How many digits of an object are told.
const SHORT: usize = 12;

/// An incident that stands, as people and programs see it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct IncidentView {
    /// What `accept` takes.
    pub id: String,
    /// The rule that refuses the ref.
    pub rule: String,
    pub reference: String,
    /// What it names; nothing if it is gone.
    pub object: Option<String>,
    /// What was accepted before.
    pub before: String,
    pub message: String,
    /// When it was first seen.
    pub since: Timestamp,
    /// Whether there is anything that it could be from now on.
    pub acceptable: bool,
}

/// An incident that stands.
#[derive(Clone)]
pub(super) struct Standing {
    incident: Incident,
    since: Timestamp,
}

impl Standing {
    pub(super) fn view(&self) -> IncidentView {
        let Incident { rule, reference, object, before, message, .. } = self.incident.clone();
        let (id, rule, acceptable) = (self.incident.id(), rule.reason().into(), self.incident.is_acceptable());
        IncidentView { id, rule, reference, object, before, message, since: self.since, acceptable }
    }

    fn cause(&self) -> Cause {
        let IncidentView { id, rule, reference, object, message, acceptable, .. } = self.view();
        let at = object.map(|object| format!(" at {}", short(&object))).unwrap_or_default();
        let but = if acceptable { "" } else { "; what it is now can't be accepted, it has to be put back or deleted" };
        Cause { object: id, message: format!("{reference}{at}: {rule}: {message}{but}") }
    }
}

fn short(object: &str) -> &str {
    object.get(..SHORT).unwrap_or(object)
}

fn written(incident: &Incident) -> tk8s_history::Incident {
    tk8s_history::Incident {
        id: incident.id(),
        rule: incident.rule.reason().into(),
        reference: incident.reference.clone(),
        object: incident.object.clone(),
        before: incident.before.clone(),
        message: incident.message.clone(),
        seen: incident.seen.as_ref().map(crate::trust::seen),
    }
}

impl Engine {
    /// All incidents, as a look at Git found them: what is new is written down, and what stands is an alarm.
    pub(super) fn note_incidents(&self, found: &[Incident]) -> Result<(), Error> {
        let mut standing = Vec::new();
        for incident in found {
            let known = disk(|| self.history.incident(&written(incident), Timestamp::now()))?;
            // It may have been accepted while Git was looked at.
            if known.accepted.is_none() {
                standing.push(Standing { incident: incident.clone(), since: known.first });
            }
        }
        self.stand(standing);
        Ok(())
    }

    fn stand(&self, standing: Vec<Standing>) {
        self.alarm(Reason::RefsRewritten, None, standing.iter().map(Standing::cause).collect());
        self.change_world(|world| world.incidents = Some(standing));
    }

    /// A person lets an incident be: exactly this one, as it stands now. Git is looked at again at once, and whatever else is
    /// asked of the ref still is.
    pub fn accept_incident(&self, id: &str, reason: &str, by: &str) -> Result<IncidentView, Error> {
        let standing = self.world().incidents.clone().ok_or(Error::NotLookedYet)?;
        let Some(found) = standing.iter().find(|standing| standing.incident.id() == id) else {
            let told = disk(|| self.history.told_of_incident(id))?;
            return Err(match told.map(|told| told.accepted) {
                None => Error::UnknownIncident(printable(id, 100)),
                Some(None) => Error::IncidentOver(id.into()),
                Some(Some(accepted)) => Error::IncidentAccepted { id: id.into(), by: accepted.by, at: accepted.at },
            });
        };
        if !found.incident.is_acceptable() {
            return Err(Error::NothingToAccept(id.into()));
        }
        let reason = printable(reason, LONGEST_REASON);
        disk(|| self.history.accept_incident(&written(&found.incident), by, &reason, Timestamp::now()))?;
        let view = found.view();
        tracing::warn!(incident = id, reference = view.reference, by, reason, "incident accepted");
        self.stand(standing.into_iter().filter(|standing| standing.incident.id() != id).collect());
        self.wake(false);
        Ok(view)
    }
}
