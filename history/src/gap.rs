//! What a history writes down when the cluster remembers more than it does: the gap, and the limits behind which nothing goes
//! back by itself. What is missing is not invented: numbers and digests tell that something was there, not what it was.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use tk8s_core::{ComponentName, Digest, ObjectKey, ReleaseNumber, Revision, Timestamp, Trust};

use crate::event::{self, Event};
use crate::{Hold, SizeAndRoot};

/// A release of which only this is known: its number, and the digest of its objects.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Ran {
    /// Its number.
    pub release: ReleaseNumber,
    /// As in [`crate::Release::content`].
    pub content: Digest,
}

/// How a component was when this history did not know of it. Until one of its releases was healthy again, no release that
/// was staged before runs by itself, unless it holds what ran.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Limit {
    /// The newest release: the next one has a higher number.
    pub latest: ReleaseNumber,
    /// What ran, if anything did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub current: Option<Ran>,
    /// The hold, if there was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hold: Option<Hold>,
}

/// An object in the cluster that bears our labels and our fields.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FoundObject {
    /// Which object.
    pub key: ObjectKey,
    /// Its uid.
    pub uid: String,
}

/// Everything that is written down about a gap, at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gap {
    /// A stable CamelCase word, for example `VolumeEmpty`.
    pub reason: String,
    /// For people. Cut at 2000 characters.
    pub message: String,
    /// How far the ledger had come that this one is not.
    pub anchored: Option<SizeAndRoot>,
    /// The components that are not as they were.
    pub limits: BTreeMap<ComponentName, Limit>,
    /// What was accepted last, where this history does not know of it.
    pub accepted: Option<(Revision, Trust)>,
    /// What components followed by tags of their own, where this history does not know of it.
    pub components: BTreeMap<ComponentName, (Revision, Trust)>,
    /// What was found in the cluster, by component.
    pub found: BTreeMap<ComponentName, Vec<FoundObject>>,
}

/// A gap as it is remembered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GapView {
    /// As in [`Gap`].
    pub reason: String,
    /// As in [`Gap`].
    pub message: String,
    /// When it was found, by our clock.
    pub at: Timestamp,
}

/// A tag that was accepted was seen.
fn seen(revision: &Revision) -> Option<Event> {
    let tag = revision.tag.as_ref()?;
    let seen = crate::SeenTag { tag: tag.id.clone(), commit: revision.commit.clone(), tree: Some(revision.tree.clone()) };
    Some(Event::Seen { name: tag.name.clone(), seen })
}

/// The events of a gap: what is not known comes before what is found, so that the limits are never without their reason.
pub(crate) fn events(gap: Gap) -> Vec<Event> {
    let Gap { reason, message, anchored, limits, accepted, components, found } = gap;
    let releases: BTreeMap<_, _> = limits.iter().map(|(component, limit)| (component.clone(), limit.latest)).collect();
    let mut events = vec![Event::Gap { reason, message, anchored }];
    events.extend(limits.into_iter().map(|(component, limit)| Event::Limited { component, limit }));
    if let Some((revision, trust)) = accepted {
        events.extend(seen(&revision));
        // What followed a tag of its own is said of each below.
        events.push(Event::Accepted { revision, trust, ahead: BTreeSet::new() });
    }
    for (component, (revision, trust)) in components {
        events.extend(seen(&revision));
        events.push(Event::AcceptedComponent { component, revision, trust });
    }
    for (component, objects) in found {
        let release = releases.get(&component).copied().unwrap_or(ReleaseNumber(0));
        let all = event::parts(&objects);
        events.extend(all.into_iter().map(|objects| Event::Found { component: component.clone(), release, objects }));
    }
    events
}
