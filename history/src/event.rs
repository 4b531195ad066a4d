//! The events of the ledger: what they are, and how they are written.
//!
//! A record is canonical JSON of at most 65,535 bytes and holds names, ids, digests and words for people; no field of an
//! object and no secret. Lists of objects that don't fit are spread over several events of one append, so that the
//! ledger alone can be replayed, without blobs or keys.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use tk8s_core::{
    ComponentName, Digest, InstanceName, ObjectKey, ReleaseId, ReleaseNumber, Revision, TagRef, Timestamp, Trust, canonical_json,
};

use crate::tile::MAX_RECORD;
use crate::{
    AppliedObject, EndedHook, Error, FoundObject, Hold, Incident, Intent, LeftOut, Limit, Outcome, RefusedRevision, Release,
    Scope, SeenTag, SizeAndRoot,
};

/// The version of the format of what is on a volume. An older agent that finds a higher one refuses it, so it is raised whenever
/// what is written can't be read, or would be taken for something else, by the versions before. A new kind of event needs no
/// new number: who does not know it says so.
pub(crate) const FORMAT: u32 = 1;
/// The version that writes.
pub(crate) const VERSION: &str = env!("CARGO_PKG_VERSION");

/// What happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub(crate) enum Event {
    /// The first event of every ledger.
    Created {
        format: u32,
        instance: InstanceName,
        key: String,
        encryption: String,
        /// Of the agent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        version: Option<String>,
    },
    /// From here on another version of the agent writes.
    Continued {
        version: String,
        format: u32,
    },
    Accepted {
        revision: Revision,
        trust: Trust,
        /// The components that go on following a tag of their own, which it does not hold.
        #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
        ahead: BTreeSet<ComponentName>,
    },
    /// A component follows a revision of its own.
    AcceptedComponent {
        component: ComponentName,
        revision: Revision,
        trust: Trust,
    },
    Refused {
        refusal: RefusedRevision,
    },
    RefusedAgain {
        reference: String,
        object: String,
        reason: String,
        times: u64,
    },
    Seen {
        name: String,
        seen: SeenTag,
    },
    /// A ref is not what it was.
    Incident {
        incident: Box<Incident>,
    },
    /// A person accepted that it is not.
    IncidentAccepted {
        incident: Box<Incident>,
        by: String,
        reason: String,
    },
    Staged {
        release: Box<Release>,
        blob: Digest,
        images: usize,
    },
    Begun {
        intent: Intent,
        part: u32,
        parts: u32,
    },
    Applied {
        release: ReleaseId,
        turn: u32,
        plan: Digest,
        objects: Vec<AppliedObject>,
        part: u32,
        parts: u32,
    },
    Pruned {
        release: ReleaseId,
        turn: u32,
        plan: Digest,
        objects: Vec<ObjectKey>,
        part: u32,
        parts: u32,
    },
    Finished {
        release: ReleaseId,
        plan: Digest,
        outcome: Outcome,
    },
    Denied {
        release: ReleaseId,
        reasons: Vec<String>,
    },
    /// Hooks of a release came to their end, for this content; whatever was begun for them is closed.
    HooksEnded {
        release: ReleaseId,
        content: Digest,
        hooks: Vec<EndedHook>,
        part: u32,
        parts: u32,
    },
    /// An object of a release that runs is degraded: told the first, the tenth, the hundredth time of each cause.
    Degraded {
        release: ReleaseId,
        object: ObjectKey,
        reason: String,
        message: String,
        /// What is the same each time.
        cause: Digest,
        times: u64,
    },
    /// A person let these deletions by this release through.
    Confirmed {
        release: ReleaseId,
        deletions: String,
        by: String,
        reason: String,
    },
    /// A person let a release in without those who still have to say yes to it.
    GlassBroken {
        tag: TagRef,
        missing: String,
        by: String,
        reason: String,
    },
    /// Somebody looked at that.
    GlassAcknowledged {
        tag: TagRef,
        by: String,
        reason: String,
    },
    RollbackRequested {
        component: ComponentName,
        to: ReleaseNumber,
        by: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
    },
    Held {
        component: ComponentName,
        hold: Hold,
    },
    Resumed {
        component: ComponentName,
        by: String,
    },
    /// Nothing is to be written for these.
    Suspended {
        scope: Scope,
        reason: String,
        by: String,
    },
    Unsuspended {
        scope: Scope,
        by: String,
    },
    /// Objects of a release that the API server does not take are left as they are.
    LeftOut {
        release: ReleaseId,
        objects: Vec<LeftOut>,
        part: u32,
        parts: u32,
    },
    /// Releases that are no longer kept.
    Forgotten {
        component: ComponentName,
        releases: Vec<ReleaseNumber>,
    },
    /// The cluster remembers more than this ledger, or something else.
    Gap {
        reason: String,
        message: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        anchored: Option<SizeAndRoot>,
    },
    /// How a component was, of which this ledger does not know.
    Limited {
        component: ComponentName,
        limit: Limit,
    },
    /// Objects in the cluster that bear our labels and our fields.
    Found {
        component: ComponentName,
        release: ReleaseNumber,
        objects: Vec<FoundObject>,
    },
}

/// An event, where and when.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Record {
    /// Its position in the ledger.
    pub(crate) sequence: u64,
    /// By our clock.
    pub(crate) at: Timestamp,
    #[serde(flatten)]
    pub(crate) event: Event,
}

impl Event {
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Event::Created { .. } => "created",
            Event::Continued { .. } => "continued",
            Event::Accepted { .. } => "accepted",
            Event::AcceptedComponent { .. } => "acceptedComponent",
            Event::Refused { .. } => "refused",
            Event::RefusedAgain { .. } => "refusedAgain",
            Event::Seen { .. } => "seen",
            Event::Incident { .. } => "incident",
            Event::IncidentAccepted { .. } => "incidentAccepted",
            Event::Staged { .. } => "staged",
            Event::Begun { .. } => "begun",
            Event::Applied { .. } => "applied",
            Event::Pruned { .. } => "pruned",
            Event::Finished { .. } => "finished",
            Event::Denied { .. } => "denied",
            Event::HooksEnded { .. } => "hooksEnded",
            Event::Degraded { .. } => "degraded",
            Event::Confirmed { .. } => "confirmed",
            Event::GlassBroken { .. } => "glassBroken",
            Event::GlassAcknowledged { .. } => "glassAcknowledged",
            Event::RollbackRequested { .. } => "rollbackRequested",
            Event::Held { .. } => "held",
            Event::Resumed { .. } => "resumed",
            Event::Suspended { .. } => "suspended",
            Event::Unsuspended { .. } => "unsuspended",
            Event::LeftOut { .. } => "leftOut",
            Event::Forgotten { .. } => "forgotten",
            Event::Gap { .. } => "gap",
            Event::Limited { .. } => "limited",
            Event::Found { .. } => "found",
        }
    }
}

impl Record {
    pub(crate) fn to_bytes(&self) -> Result<Vec<u8>, Error> {
        let value = serde_json::to_value(self)
            .map_err(|source| Error::Encoding { act: "write an event as JSON", source: source.into() })?;
        let bytes = canonical_json(&value);
        match bytes.len() {
            size if size > MAX_RECORD => Err(Error::TooLarge { kind: self.event.kind(), size }),
            _ => Ok(bytes),
        }
    }

    /// The key that signs the ledger, as its first event names it.
    pub(crate) fn key(&self) -> Option<String> {
        match &self.event {
            Event::Created { key, .. } => Some(key.clone()),
            _ => None,
        }
    }

    /// Reads an event of a ledger that was [read](Reading) before.
    pub(crate) fn parse(position: u64, bytes: &[u8]) -> Result<Record, Error> {
        serde_json::from_slice(bytes).map_err(|source| Error::Event { position, source })
    }
}

/// Reads a ledger from its beginning, and knows which version of the agent wrote what: a ledger that a newer one wrote to is
/// refused by that version's name.
pub(crate) struct Reading {
    ledger: PathBuf,
    wrote: Option<String>,
}

impl Reading {
    pub(crate) fn of(ledger: &Path) -> Reading {
        Reading { ledger: ledger.into(), wrote: None }
    }

    pub(crate) fn read(&mut self, position: u64, bytes: &[u8]) -> Result<Record, Error> {
        let record: Record = serde_json::from_slice(bytes).map_err(|error| self.newer(position, error.to_string()))?;
        let (version, format) = match &record.event {
            Event::Created { version, format, .. } => (version.clone(), *format),
            Event::Continued { version, format } => (Some(version.clone()), *format),
            _ => return Ok(record),
        };
        self.wrote = version;
        match format > FORMAT {
            true => {
                Err(self.newer(position, format!("it has the format {format}, and {FORMAT} is the highest that is known here")))
            }
            false => Ok(record),
        }
    }

    fn newer(&self, position: u64, why: String) -> Error {
        let wrote = self.wrote.as_deref().filter(|wrote| *wrote != VERSION);
        let wrote = wrote.map_or("a later version".into(), |wrote| format!("version {}", tk8s_core::printable(wrote, 40)));
        Error::Newer { ledger: self.ledger.clone(), position, wrote, why: tk8s_core::printable(&why, 300) }
    }
}

/// Leaves half a record for everything that is not the list.
const LIST_BYTES: usize = MAX_RECORD / 2;

/// Splits a list so that each part fits into an event. At least one part, even of an empty list.
pub(crate) fn parts<T: Serialize + Clone>(items: &[T]) -> Vec<Vec<T>> {
    let (mut parts, mut size) = (vec![Vec::new()], 0);
    for item in items {
        let bytes = serde_json::to_vec(item).map_or(0, |bytes| bytes.len() + 1);
        if size + bytes > LIST_BYTES && size > 0 {
            parts.push(Vec::new());
            size = 0;
        }
        size += bytes;
        if let Some(last) = parts.last_mut() {
            last.push(item.clone());
        }
    }
    parts
}

/// A number for the list, or all of them, as `u32`.
fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

/// The events of an intent.
pub(crate) fn begun(intent: &Intent) -> Vec<Event> {
    #[derive(Clone, Serialize)]
    enum Change {
        Created(ObjectKey),
        Changed(ObjectKey),
        Deleted(ObjectKey),
    }
    let all: Vec<_> = (intent.creates.iter().cloned().map(Change::Created))
        .chain(intent.changes.iter().cloned().map(Change::Changed))
        .chain(intent.deletes.iter().cloned().map(Change::Deleted))
        .collect();
    let split = parts(&all);
    let total = count(split.len());
    let each = split.into_iter().enumerate().map(|(number, part)| {
        let mut intent = Intent { creates: vec![], changes: vec![], deletes: vec![], ..intent.clone() };
        for change in part {
            match change {
                Change::Created(key) => intent.creates.push(key),
                Change::Changed(key) => intent.changes.push(key),
                Change::Deleted(key) => intent.deletes.push(key),
            }
        }
        Event::Begun { intent, part: count(number), parts: total }
    });
    each.collect()
}

/// The events of what was applied.
pub(crate) fn applied(intent: &Intent, objects: &[AppliedObject]) -> Vec<Event> {
    let split = parts(objects);
    let parts = count(split.len());
    let event = |(part, objects)| Event::Applied {
        release: intent.release.clone(),
        turn: intent.turn,
        plan: intent.plan,
        objects,
        part: count(part),
        parts,
    };
    split.into_iter().enumerate().map(event).collect()
}

/// The events of hooks that ended.
pub(crate) fn hooks_ended(release: &ReleaseId, content: Digest, hooks: &[EndedHook]) -> Vec<Event> {
    let split = parts(hooks);
    let parts = count(split.len());
    let event = |(part, hooks)| Event::HooksEnded { release: release.clone(), content, hooks, part: count(part), parts };
    split.into_iter().enumerate().map(event).collect()
}

/// The events of what was pruned.
pub(crate) fn pruned(intent: &Intent, objects: &[ObjectKey]) -> Vec<Event> {
    let split = parts(objects);
    let parts = count(split.len());
    let event = |(part, objects)| Event::Pruned {
        release: intent.release.clone(),
        turn: intent.turn,
        plan: intent.plan,
        objects,
        part: count(part),
        parts,
    };
    split.into_iter().enumerate().map(event).collect()
}

/// The events of what is left out.
pub(crate) fn left_out(release: &ReleaseId, objects: &[LeftOut]) -> Vec<Event> {
    let split = parts(objects);
    let parts = count(split.len());
    let event = |(part, objects)| Event::LeftOut { release: release.clone(), objects, part: count(part), parts };
    split.into_iter().enumerate().map(event).collect()
}
