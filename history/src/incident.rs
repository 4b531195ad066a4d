//! What a history writes down when refs are not what they were: each incident when it is first seen, and who accepted it.
//!
//! One incident stands for each ref and rule: the newest. Once a revision of its ref is accepted it is over, accepted or not:
//! what comes after that is compared with that revision.

use serde::{Deserialize, Serialize};
use tk8s_core::{Digest, Timestamp};

use crate::SeenTag;
use crate::event::Event;
use crate::fold;
use crate::view::{Changes, ViewError};

/// How many different incidents of one ref and rule are written down until one of them, or a revision of the ref, is accepted: who
/// may push shall not fill the disk.
pub(crate) const MOST_WRITTEN: u32 = 20;

/// A ref that is not what it was.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Incident {
    /// Its name; the same for the same rule, ref, object and past.
    pub id: String,
    /// The stable name of the rule that refuses it.
    pub rule: String,
    /// The full ref.
    pub reference: String,
    /// What it names; nothing if it is gone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub object: Option<String>,
    /// What was accepted before.
    pub before: String,
    /// For people. Cut at 2000 characters.
    pub message: String,
    /// Of a tag that moved: as what it is remembered once this is accepted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seen: Option<SeenTag>,
}

/// Who accepted an incident.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AcceptedBy {
    /// Who.
    pub by: String,
    /// Why.
    pub reason: String,
    /// When, by our clock.
    pub at: Timestamp,
}

/// An incident as it is remembered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct IncidentView {
    /// What it is.
    #[serde(flatten)]
    pub incident: Incident,
    /// When it was first seen, by our clock.
    pub first: Timestamp,
    /// Whether somebody accepted it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accepted: Option<AcceptedBy>,
    /// How many of this ref and rule were written down since a revision of the ref, or one of them, was accepted.
    pub times: u32,
}

pub(crate) const INCIDENTS: &str = "incident/";

/// The incidents of a ref.
fn of_ref(reference: &str) -> String {
    format!("{INCIDENTS}{}/", Digest::of(reference).hex())
}

/// Where the newest incident of this ref and rule is.
pub(crate) fn place(incident: &Incident) -> String {
    format!("{}{}", of_ref(&incident.reference), incident.rule)
}

/// A revision of this ref was accepted.
pub(crate) fn over(reference: &str, changes: &mut Changes<'_>) -> Result<(), ViewError> {
    for key in changes.keys(&of_ref(reference))? {
        changes.remove(&key);
    }
    Ok(())
}

/// What an incident, or that it is accepted, does to the derived tree.
pub(crate) fn apply(
    incident: &Incident,
    accepted: Option<AcceptedBy>,
    at: Timestamp,
    changes: &mut Changes<'_>,
) -> Result<(), ViewError> {
    let before: Option<IncidentView> = changes.get(&place(incident))?;
    let first = before.as_ref().filter(|before| before.incident.id == incident.id).map_or(at, |before| before.first);
    // Whoever accepts one has seen what is going on.
    let times = if accepted.is_some() { 0 } else { before.map_or(0, |before| before.times) + 1 };
    if accepted.is_some()
        && let Some(name) = incident.reference.strip_prefix("refs/tags/")
    {
        match (&incident.seen, &incident.object) {
            (Some(seen), _) => changes.put(&fold::tag(name), seen)?,
            // It is gone, and forgotten: what comes under this name is seen for the first time.
            (None, None) => changes.remove(&fold::tag(name)),
            (None, Some(_)) => {}
        }
    }
    changes.put(&place(incident), &IncidentView { incident: incident.clone(), first, accepted, times })
}

/// The last word of these events about an incident of this id.
pub(crate) fn hear(id: &str, event: Event, at: Timestamp, told: &mut Option<IncidentView>) {
    match event {
        Event::Incident { incident } if incident.id == id => {
            *told = Some(IncidentView { incident: *incident, first: at, accepted: None, times: 1 });
        }
        Event::IncidentAccepted { incident, by, reason } if incident.id == id => {
            let first = told.as_ref().map_or(at, |told| told.first);
            *told = Some(IncidentView { incident: *incident, first, accepted: Some(AcceptedBy { by, reason, at }), times: 1 });
        }
        _ => {}
    }
}
