//! What the agent remembers of an object after its last apply, and what that says about the object as it is now. Pure.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use tk8s_core::{ComponentName, Digest, FIELD_MANAGER, ObjectKey, canonical_json};

use crate::cluster::Resource;
use crate::live::Seen;

/// An object as our last apply left it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Known {
    /// Which incarnation of the object.
    pub uid: String,
    /// The digest of what we wanted.
    pub desired: Digest,
    /// The digest of the fields that we own.
    pub fields: Digest,
    /// When it was, in the API server's count.
    pub resource_version: String,
    /// How the API server calls its kind.
    pub resource: Resource,
}

impl Known {
    /// From the API server's answer to an apply.
    pub fn of_answer(resource: &Resource, answer: &Value, desired: Digest) -> Option<Known> {
        Some(Known {
            uid: answer.pointer("/metadata/uid")?.as_str()?.into(),
            desired,
            fields: owned_fields(answer)?,
            resource_version: answer.pointer("/metadata/resourceVersion")?.as_str()?.into(),
            resource: resource.clone(),
        })
    }
}

/// What the inventory says about an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owned {
    /// Its UID, once an answer told it.
    pub uid: Option<String>,
    /// Whether the API server said that we made it.
    pub created: Option<bool>,
}

/// Where observing looks things up.
pub trait Memory: Send + Sync {
    /// What is remembered of an object.
    fn known(&self, key: &ObjectKey) -> Option<Known>;
    /// What a component owns.
    fn inventory(&self, component: &ComponentName) -> Vec<(ObjectKey, Owned)>;
}

/// The digest of the fields that our manager applied: the one entry without time and version, so that only a change of
/// ownership changes it.
pub fn owned_fields(object: &Value) -> Option<Digest> {
    let entries = object.pointer("/metadata/managedFields")?.as_array()?;
    let ours = entries.iter().find(|entry| {
        entry["manager"] == FIELD_MANAGER
            && entry["operation"] == "Apply"
            && entry.get("subresource").is_none_or(|name| name == "")
    })?;
    Some(Digest::of(canonical_json(&ours["fieldsV1"])))
}

/// Whether nobody but us has written to an object (to its status and the like they may). For a creation that nobody heard
/// of this decides whether it was ours: a doubt means that somebody else made the object, and then it is never deleted.
pub fn only_we_wrote(object: &Value) -> bool {
    let entries = object.pointer("/metadata/managedFields").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let whole = |entry: &&Value| entry.get("subresource").is_none_or(|name| name == "");
    let mut entries = entries.iter().filter(whole).peekable();
    entries.peek().is_some() && entries.all(|entry| entry["manager"] == FIELD_MANAGER && entry["operation"] == "Apply")
}

/// How an object is no longer as we left it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Drift {
    /// It is not there.
    Gone,
    /// Another object has its name.
    Replaced,
    /// Somebody took a field of ours.
    FieldsTaken,
}

/// What became of an object, without asking. An object that is not watched yet says nothing; a finished Job or Pod that is
/// gone did its work.
pub fn drift(known: &Known, seen: &Seen) -> Option<Drift> {
    match seen {
        Seen::Unwatched => None,
        Seen::Absent if matches!(known.resource.kind.kind.as_str(), "Job" | "Pod") => None,
        Seen::Absent => Some(Drift::Gone),
        Seen::Present(seen) if seen.uid != known.uid => Some(Drift::Replaced),
        Seen::Present(seen) if seen.fields != Some(known.fields) => Some(Drift::FieldsTaken),
        Seen::Present(_) => None,
    }
}
