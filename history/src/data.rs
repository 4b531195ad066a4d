//! What goes into the history and comes out of it, as plain data.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use tk8s_core::{
    CommitId, ComponentName, Digest, Moment, ObjectKey, ReleaseId, ReleaseNumber, Revision, TagId, Timestamp, TreeId, Trust,
};

use crate::{Intent, Release, Scope};

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Status {
    /// Every object was applied, everything settled.
    Healthy,
    /// Every object was applied, not everything settled in time.
    Unhealthy,
    /// Not every object could be applied.
    Failed,
    /// A rule refused the plan; nothing was written.
    Denied,
    /// Every object was applied; a newer release ended the waiting.
    Superseded,
}

impl Status {
    /// Whether every object of the turn reached the cluster.
    pub fn is_applied(self) -> bool {
        matches!(self, Status::Healthy | Status::Unhealthy | Status::Superseded)
    }
}

/// How a turn of a release ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Outcome {
    /// How it ended.
    pub status: Status,
    /// Which of the release's turns, from 0.
    pub turn: u32,
    /// How many turns the release has.
    pub turns: u32,
    /// For people: what failed, or what is not healthy. Holds no secret. Cut at 8000 characters.
    pub message: String,
    /// What made it run: `sync`, `rollback`, `drift` or `restart`.
    pub trigger: String,
}

/// An object that was applied.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AppliedObject {
    /// Which object.
    pub key: ObjectKey,
    /// Its uid in the cluster.
    pub uid: String,
    /// Whether we created it: true if the API server answered so, false if it was there though we were to create it.
    /// Absent where that was not the question: it was there and known, or found as it should be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created: Option<bool>,
}

/// A hook that came to its end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EndedHook {
    /// Its Job.
    pub key: ObjectKey,
    /// At which moment of the release it ran.
    pub moment: Moment,
    /// The uid of the Job that ran; empty if it was gone as soon as it had done its work.
    pub uid: String,
    /// Whether it did what it is for.
    pub succeeded: bool,
}

/// The proof that an outcome is in the ledger, fsynced.
#[derive(Debug)]
#[must_use]
pub struct Recorded {
    /// Where in the ledger.
    pub position: u64,
    /// Whether the release is finished by it: its last turn, or a turn that did not end healthy.
    pub finished: bool,
}

/// A revision that was refused, and the rule that refused it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RefusedRevision {
    /// The full name of the ref.
    pub reference: String,
    /// The commit or tag object that it named.
    pub object: String,
    /// The stable reason, for example `UnknownSigner`.
    pub reason: String,
    /// For people. Cut at 2000 characters.
    pub message: String,
}

/// A refused revision as it is remembered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RefusedView {
    /// What was refused.
    #[serde(flatten)]
    pub refusal: RefusedRevision,
    /// How often, as far as it is in the ledger: 1, then every power of ten.
    pub times: u64,
    /// When first, by our clock.
    pub first: Timestamp,
}

/// What a tag named when it was first seen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SeenTag {
    /// The tag object.
    pub tag: TagId,
    /// The commit it points at.
    pub commit: CommitId,
    /// That commit's tree; what was seen by versions that did not remember it has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tree: Option<TreeId>,
}

/// What was accepted so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Accepted {
    /// The commit that was last accepted.
    pub head: Option<CommitId>,
    /// The revision that was last accepted.
    pub revision: Option<Revision>,
    /// Why it was.
    pub trust: Option<Trust>,
    /// Every tag that was ever seen, as it was first seen, by name.
    pub tags: BTreeMap<String, SeenTag>,
    /// What components follow, or followed, by tags of their own.
    pub components: BTreeMap<ComponentName, AcceptedComponent>,
}

/// What was accepted last of a component by a tag of its own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AcceptedComponent {
    /// Its revision.
    pub revision: Revision,
    /// Why it was accepted.
    pub trust: Trust,
    /// Whether what was accepted last of the platform does not hold it.
    pub ahead: bool,
}

/// A component is pinned to a release.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Hold {
    /// The release that is kept.
    pub release: ReleaseNumber,
    /// Content that was rolled back or waited to come: its return does not end the hold.
    #[serde(default, alias = "rejectedContent", deserialize_with = "one_or_more", skip_serializing_if = "Vec::is_empty")]
    pub rejected: Vec<Digest>,
    /// Why.
    pub reason: String,
    /// Who asked for it.
    pub by: String,
    /// Whether nobody asked: a release failed and was rolled back.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub automatic: bool,
    /// The layer, or everything, that it was placed for: resuming that ends it too. Absent where it was placed for the
    /// component alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub with: Option<Scope>,
}

impl Hold {
    /// A person's hold of one component, which any other content ends.
    pub fn at(release: ReleaseNumber, reason: &str, by: &str) -> Hold {
        Hold { release, rejected: Vec::new(), reason: reason.into(), by: by.into(), automatic: false, with: None }
    }

    /// Whether this content does not end the hold.
    pub fn rejects(&self, content: Digest) -> bool {
        self.rejected.contains(&content)
    }
}

/// Earlier ledgers hold one digest where there may be several.
fn one_or_more<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Vec<Digest>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Either {
        One(Digest),
        More(Vec<Digest>),
    }
    Ok(match Either::deserialize(deserializer)? {
        Either::One(digest) => vec![digest],
        Either::More(digests) => digests,
    })
}

/// A rollback that was asked for and has not ended yet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RollbackRequest {
    /// To which release.
    pub to: ReleaseNumber,
    /// Who asked.
    pub by: String,
    /// Why, if they said so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// When.
    pub at: Timestamp,
}

/// What is remembered of a component.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ComponentView {
    /// The release that was staged last.
    pub latest: Release,
    /// How it ended, if it did. Absent, and nothing unfinished: it was staged and never begun, or waits for its next turn.
    pub latest_outcome: Option<Outcome>,
    /// Which deletions of it a person let through, if any.
    pub confirmed: Option<String>,
    /// What was begun and has no outcome.
    pub unfinished: Option<Intent>,
    /// What runs: the release whose objects were last applied to the end, healthy or not.
    pub current: Option<ReleaseId>,
    /// The release that last settled healthy.
    pub healthy: Option<ReleaseId>,
    /// The hold, if there is one.
    pub hold: Option<Hold>,
    /// The rollback that was asked for and has not ended.
    pub rollback: Option<RollbackRequest>,
}

/// A kept release.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReleaseView {
    /// Its header.
    pub release: Release,
    /// How its last run ended, if one did.
    pub outcome: Option<Outcome>,
    /// When that was.
    pub finished_at: Option<Timestamp>,
    /// When it last settled healthy, if it ever did: what a rollback goes to.
    pub healthy_at: Option<Timestamp>,
}

impl ReleaseView {
    /// Whether a run of it ended, other than by a refusal before anything was written.
    pub fn ran(&self) -> bool {
        self.outcome.as_ref().is_some_and(|outcome| outcome.status != Status::Denied)
    }
}

/// An object of a release that is left as it is, because the API server does not take it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LeftOut {
    /// Which object.
    pub object: ObjectKey,
    /// What the API server says.
    pub reason: String,
}

/// An object that a component owns in the cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct InventoryEntry {
    /// Which object.
    pub key: ObjectKey,
    /// Its uid; absent while it is only intended: begun, and no answer was remembered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<String>,
    /// Whether we created it; absent while it is only intended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created: Option<bool>,
    /// The release that last intended or applied it.
    pub release: ReleaseNumber,
}

/// Every component's inventory.
pub type Inventories = BTreeMap<ComponentName, Vec<InventoryEntry>>;

/// How far the ledger has come.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SizeAndRoot {
    /// How many events.
    pub size: u64,
    /// The root of the tree, in base64 as in the checkpoint.
    pub root: String,
}
