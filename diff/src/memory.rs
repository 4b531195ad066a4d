//! What the agent remembers of an object after its last apply, and what that says about the object as it is now. Pure.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use tk8s_core::{ComponentName, Digest, FIELD_MANAGER, ObjectKey};

use crate::cluster::Resource;
use crate::live::{Seen, SeenObject};
use crate::ownership::{FieldRules, FieldSet, Managed, Ownership, intruders, lost};

/// An object as our last apply left it: its ownership fingerprint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Known {
    /// Which incarnation of the object.
    pub uid: String,
    /// The digest of what we wanted.
    pub desired: Digest,
    /// The digest of the set of fields that we own.
    pub fields: Digest,
    /// The digest of the values that these fields have.
    pub projection: Digest,
    /// The set itself, as the API server writes it: only when some of it is gone it has to be known what it was.
    pub owned: String,
    /// When it was, in the API server's count.
    pub resource_version: String,
    /// How the API server calls its kind.
    pub resource: Resource,
}

impl Known {
    /// From the API server's answer to an apply, and what it says of its owners.
    pub fn of_answer(resource: &Resource, answer: &Value, ownership: &Ownership, desired: Digest) -> Option<Known> {
        Some(Known {
            uid: answer.pointer("/metadata/uid")?.as_str()?.into(),
            desired,
            fields: ownership.fields?,
            projection: ownership.projection,
            owned: ownership.managed.ours().to_value().to_string(),
            resource_version: answer.pointer("/metadata/resourceVersion")?.as_str()?.into(),
            resource: resource.clone(),
        })
    }

    /// Whether it comes to an end by itself and is then tidied away by somebody: that it is gone means that it did its work.
    pub fn ends(&self) -> bool {
        matches!(self.resource.kind.kind.as_str(), "Job" | "Pod")
    }

    /// What we owned after our last apply.
    pub fn owned(&self) -> FieldSet {
        FieldSet::read(&serde_json::from_str(&self.owned).unwrap_or_default())
    }

    /// The same object after fields of ours were left to others.
    pub fn having_yielded(self, seen: &SeenObject) -> Option<Known> {
        let owned = seen.managed().ours().to_value().to_string();
        Some(Known { fields: seen.fields?, projection: seen.projection, owned, ..self })
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

/// Whether nobody but us has written to an object (to its status and the like they may). For a creation that nobody heard
/// of this decides whether it was ours: a doubt means that somebody else made the object, and then it is never deleted.
pub fn only_we_wrote(object: &Value) -> bool {
    let entries = object.pointer("/metadata/managedFields").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let whole = |entry: &&Value| entry.get("subresource").is_none_or(|name| name == "");
    let mut entries = entries.iter().filter(whole).peekable();
    entries.peek().is_some() && entries.all(|entry| entry["manager"] == FIELD_MANAGER && entry["operation"] == "Apply")
}

/// How an object is no longer as we left it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Drift {
    /// It is not there.
    Gone,
    /// Another object has its name.
    Replaced,
    /// Fields of ours are not ours any more: which, and who has them now, if anybody has.
    Taken(Vec<(String, Option<String>)>),
    /// Others put these into lists of ours, and they have to go: which, and who.
    Intruded(Vec<(String, Option<String>)>),
    /// It does not say any more who owns what of it: somebody wiped that, or restored it from a backup.
    Unowned,
    /// Nobody took a field, and some have other values, or more are ours: somebody wrote in our name, a backup was restored,
    /// or the API server reads the object in another way. A question tells.
    Changed,
}

/// How many fields a message names.
const NAMED: usize = 3;

impl fmt::Display for Drift {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Drift::Gone => f.write_str("it was deleted"),
            Drift::Replaced => f.write_str("another object has its name"),
            Drift::Unowned => f.write_str("it does not say any more who owns its fields"),
            Drift::Changed => f.write_str("fields of ours have other values, or more are ours than we applied"),
            Drift::Taken(fields) => named(f, fields, "was taken", "is nobody's any more"),
            Drift::Intruded(items) => named(f, items, "was put in", "was put in by nobody known"),
        }
    }
}

fn named(f: &mut fmt::Formatter<'_>, fields: &[(String, Option<String>)], by: &str, by_nobody: &str) -> fmt::Result {
    for (position, (field, manager)) in fields.iter().take(NAMED).enumerate() {
        let separator = if position == 0 { "" } else { ", " };
        match manager {
            Some(manager) => write!(f, "{separator}{field} {by} by `{manager}`")?,
            None => write!(f, "{separator}{field} {by_nobody}")?,
        }
    }
    match fields.len().saturating_sub(NAMED) {
        0 => Ok(()),
        more => write!(f, " and {more} more"),
    }
}

/// What became of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Compared {
    /// As we left it, as far as is known.
    AsLeft,
    /// As we left it, but for fields that are left to others.
    Yielded,
    /// Not as we left it.
    Drifted(Drift),
}

/// What others put into lists of ours and has to go.
fn intruded(key: &ObjectKey, seen: &SeenObject, rules: &FieldRules) -> Option<Vec<(String, Option<String>)>> {
    if !rules.strict || seen.foreign.is_empty() {
        return None;
    }
    let object = seen.object();
    let found = intruders(&Managed::of(&object), &object, &rules.of(key, None)).into_iter();
    Some(found.map(|one| (one.field, Some(one.manager))).collect()).filter(|items: &Vec<_>| !items.is_empty())
}

/// Compares an object with what is remembered of it, without asking. An object that is not watched says nothing; a
/// finished Job or Pod that is gone did its work.
pub fn compare(known: &Known, key: &ObjectKey, seen: &Seen, rules: &FieldRules) -> Compared {
    let seen = match seen {
        Seen::Unwatched | Seen::OutOfSight => return Compared::AsLeft,
        Seen::Absent if known.ends() => return Compared::AsLeft,
        Seen::Absent => return Compared::Drifted(Drift::Gone),
        Seen::Present(seen) => seen,
    };
    if seen.uid != known.uid {
        return Compared::Drifted(Drift::Replaced);
    }
    if seen.fields == Some(known.fields) {
        // In another version the same fields have other values.
        let as_applied = *seen.api_version == *known.resource.kind.api_version();
        return match (!as_applied || seen.projection == known.projection, intruded(key, seen, rules)) {
            (true, None) => Compared::AsLeft,
            (true, Some(items)) => Compared::Drifted(Drift::Intruded(items)),
            (false, _) => Compared::Drifted(Drift::Changed),
        };
    }
    if seen.fields.is_none() && seen.managed().is_empty() {
        return Compared::Drifted(Drift::Unowned);
    }
    let object = seen.object();
    let lost = lost(&known.owned(), &Managed::of(&object), &object, &rules.of(key, None));
    match (lost.taken.is_empty(), lost.yielded, seen.fields) {
        (false, ..) => Compared::Drifted(Drift::Taken(lost.taken)),
        (true, 1.., Some(_)) => Compared::Yielded,
        _ => Compared::Drifted(Drift::Changed),
    }
}
