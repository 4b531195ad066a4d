//! The hand-over types of planning: [`Turn`], [`Observed`] and [`Plan`].

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::Value;
use tk8s_core::{Digest, Manifest, Moment, ObjectKey, ReleaseId, ServiceAccount};
use tk8s_history::Release;

use crate::cluster::{Demands, Resource};
use crate::ownership::{Managed, Override, Whose};

/// A part of a release that can be planned at once: nothing in it needs something else in it to exist first (a CRD
/// before its instances, a namespace before its members), and all of it is of one layer.
///
/// Made by [`crate::turns`] only, from what history proved. A release has at least one turn; they run in order, and the
/// last one carries what is to be pruned.
#[derive(Debug)]
pub struct Turn {
    pub(crate) release: Arc<Release>,
    pub(crate) index: u32,
    pub(crate) of: u32,
    /// In the order in which they are applied, each with the labels that say who owns it.
    pub(crate) objects: Vec<Manifest>,
    /// Every object of the whole release: what is not among them has left it.
    pub(crate) all: Arc<Vec<ObjectKey>>,
    /// If its objects are hooks: of which moment, and how long they may take.
    pub(crate) hooks: Option<(Moment, std::time::Duration)>,
    /// What the whole release brings that others of it need.
    pub(crate) brought: Arc<Brought>,
}

/// The namespaces and kinds that a release brings itself: what is refused because one of them is missing may be taken when
/// its turn comes.
#[derive(Debug, Default)]
pub struct Brought {
    pub(crate) namespaces: BTreeSet<String>,
    /// By group and kind, with the definition.
    pub(crate) kinds: BTreeMap<(String, String), ObjectKey>,
}

impl Brought {
    /// Whether this object is of such a kind, or in such a namespace.
    pub fn is_needed_by(&self, key: &ObjectKey) -> bool {
        key.namespace.as_ref().is_some_and(|namespace| self.namespaces.contains(namespace)) || self.definition_of(key).is_some()
    }

    /// The definition of this object's kind, if the release brings it.
    pub(crate) fn definition_of(&self, key: &ObjectKey) -> Option<&ObjectKey> {
        self.kinds.get(&(key.group.clone(), key.kind.clone()))
    }
}

impl Turn {
    /// The release it is a part of.
    pub fn release(&self) -> &Arc<Release> {
        &self.release
    }

    /// Which turn, from 0, and of how many.
    pub fn position(&self) -> (u32, u32) {
        (self.index, self.of)
    }

    /// The objects, in apply order.
    pub fn objects(&self) -> &[Manifest] {
        &self.objects
    }

    /// If its objects are hooks: of which moment, and how long they may take.
    pub fn hooks(&self) -> Option<(Moment, std::time::Duration)> {
        self.hooks
    }

    /// Whether what left the release is deleted after it. Not after hooks of a failure: after that nothing is deleted.
    pub(crate) fn is_last(&self) -> bool {
        self.index + 1 == self.of && !matches!(self.hooks, Some((Moment::OnFailure, _)))
    }

    /// What the whole release brings that others of it need.
    pub fn brought(&self) -> Arc<Brought> {
        Arc::clone(&self.brought)
    }
}

/// A turn and what the cluster says to it. Made by [`crate::observe()`] only.
#[derive(Debug)]
pub struct Observed {
    pub(crate) turn: Turn,
    /// In whose name was asked.
    pub(crate) account: Option<ServiceAccount>,
    pub(crate) findings: Vec<crate::observe::Finding>,
    pub(crate) rejected: Vec<Kept>,
    pub(crate) leaving: Leaving,
}

/// What the component owns and the release does not have.
#[derive(Debug, Default)]
pub(crate) struct Leaving {
    /// To be deleted.
    pub(crate) prune: Vec<Prune>,
    /// Not ours any more: the inventory forgets it, and nothing is sent.
    pub(crate) released: Vec<Kept>,
    /// Ours, and kept.
    pub(crate) kept: Vec<Kept>,
    /// How many objects the component owned.
    pub(crate) owned: usize,
}

impl Leaving {
    fn named(&self, id: &ReleaseId) -> String {
        let mut leaving: Vec<_> = self.prune.iter().map(|prune| (&prune.key, &prune.uid)).collect();
        leaving.sort();
        let digest = Digest::of(tk8s_core::canonical_json(&serde_json::json!([id, leaving])));
        format!("{}.{}.{}", id.component, id.number, &digest.hex()[..16])
    }
}

/// What the cluster says to the later turns of a release before the first one is carried out, as far as it can be asked then:
/// enough to refuse, and nothing that could be carried out. Made by [`crate::rehearse`] only.
#[derive(Debug)]
pub struct Rehearsed {
    pub(crate) release: Arc<Release>,
    pub(crate) conflicts: Vec<Conflict>,
    pub(crate) leaving: Leaving,
}

impl Rehearsed {
    /// The release whose turns they are.
    pub fn release(&self) -> &Arc<Release> {
        &self.release
    }

    /// Fields of others that stand in the way.
    pub fn conflicts(&self) -> &[Conflict] {
        &self.conflicts
    }

    /// What would be deleted in the end.
    pub fn prune(&self) -> &[Prune] {
        &self.leaving.prune
    }

    /// How many objects the component owns.
    pub fn owned(&self) -> usize {
        self.leaving.owned
    }

    /// What names these deletions, as [`Plan::deletions`] will name them.
    pub fn deletions(&self) -> String {
        self.leaving.named(&self.release.id)
    }
}

/// What happens to an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// It is not there: it is made.
    Create,
    /// It is there and ours, and differs.
    Configure,
    /// It is there and not ours: it is taken over.
    Adopt,
    /// A field of it can't be changed, and it may be made anew: it is deleted and made.
    Recreate,
    /// It is there and as it should be: nothing is sent.
    Unchanged,
}

/// One write, complete: whoever carries it out decides nothing.
pub struct Change {
    /// Which object.
    pub key: ObjectKey,
    /// How the API server calls its kind.
    pub resource: Resource,
    /// What happens to it.
    pub action: Action,
    /// The body of the server-side apply, without `metadata.uid`.
    pub body: Value,
    /// The UID that the object must have; absent when it must not exist.
    pub uid: Option<String>,
    /// Every field that is taken from somebody. Without any, the apply is not forced: whoever took a field meanwhile
    /// keeps it, and the next plan says so.
    pub overrides: Vec<Override>,
    /// The version that the object must still have; given where something is taken, so that nothing else is.
    pub version: Option<String>,
    /// Fields that are left to others, and so left out of the body.
    pub yielded: Vec<String>,
    /// Whether those who came before us share fields with us: they are taken out of their entries after the apply, or a
    /// field that we give up later would stay.
    pub takes_over: bool,
    /// API versions in which fields were written before and that are gone: their entries are rewritten first, or the API
    /// server refuses the apply. Then it is not forced, for nobody could say beforehand what it would take.
    pub migrates: Vec<String>,
    /// The digest of what is wanted.
    pub desired: Digest,
    /// The digest of the body, in which secrets are keyed hashes: it goes into the plan's digest, which is public.
    pub sent: Digest,
    /// A unified diff for people, where one was asked for; secrets are masked.
    pub diff: String,
    /// What the API server warned about.
    pub warnings: Vec<String>,
}

impl Change {
    /// An object that is made, or made anew, and takes nothing from anybody.
    pub(crate) fn made(key: &ObjectKey, resource: &Resource, action: Action, body: Value, desired: Digest) -> Change {
        Change {
            key: key.clone(),
            resource: resource.clone(),
            action,
            body,
            uid: None,
            overrides: Vec::new(),
            version: None,
            yielded: Vec::new(),
            takes_over: false,
            migrates: Vec::new(),
            desired,
            sent: desired,
            diff: String::new(),
            warnings: Vec::new(),
        }
    }

    /// What the apply demands beside its body.
    pub fn demands(&self) -> Demands<'_> {
        // What is made anew has another UID.
        let uid = self.uid.as_deref().filter(|_| self.action != Action::Recreate);
        let version = self.version.as_deref();
        Demands { uid, version, force: !self.overrides.is_empty(), dry_run: false }
    }

    /// What the object's `managedFields` have to say before the apply, where it gives up what it would keep otherwise.
    pub fn ownership(&self, managed_fields: &Value) -> Option<Value> {
        let intruders = self.overrides.iter().filter(|one| one.whose == Whose::Intruder);
        let items: Vec<_> = intruders.map(|one| one.path.clone()).collect();
        if items.is_empty() && self.migrates.is_empty() {
            return None;
        }
        Some(Managed::to_be_given_up(managed_fields, &items, &self.migrates, &self.resource.kind.api_version()))
    }
}

/// Without the body: it may hold secrets.
impl std::fmt::Debug for Change {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Change { key, action, uid, overrides, .. } = self;
        f.debug_struct("Change")
            .field("key", key)
            .field("action", action)
            .field("uid", uid)
            .field("overrides", overrides)
            .finish_non_exhaustive()
    }
}

/// An object that left the release and is deleted after the release has settled.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Prune {
    /// Which object.
    pub key: ObjectKey,
    /// How the API server calls its kind.
    pub resource: Resource,
    /// The UID it must still have.
    pub uid: String,
    /// What happens to what belongs to it.
    pub propagation: Propagation,
    /// Whether a person has to confirm it: it is annotated with `tk8s.io/prune: "confirm"`.
    pub confirm: bool,
}

/// What happens to the dependents of an object that is deleted, by `tk8s.io/propagation` on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, serde::Serialize)]
pub enum Propagation {
    /// They are deleted after it.
    #[default]
    Background,
    /// They are deleted before it.
    Foreground,
    /// They stay.
    Orphan,
}

impl Propagation {
    /// The word that the API server takes.
    pub fn as_str(self) -> &'static str {
        match self {
            Propagation::Background => "Background",
            Propagation::Foreground => "Foreground",
            Propagation::Orphan => "Orphan",
        }
    }

    pub(crate) fn read(text: Option<&str>) -> Propagation {
        match text.map(str::to_ascii_lowercase).as_deref() {
            Some("foreground") => Propagation::Foreground,
            Some("orphan") => Propagation::Orphan,
            _ => Propagation::Background,
        }
    }
}

/// An object that left the release and stays, and why.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Kept {
    /// Which object.
    pub key: ObjectKey,
    /// Why it is not deleted.
    pub why: String,
}

/// A field that somebody else owns and that we want for the first time.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Conflict {
    /// Which object.
    pub key: ObjectKey,
    /// What the API server says: the managers and the fields.
    pub message: String,
}

/// The exact changes that a turn makes. Immutable; its digest covers everything that executing it sends.
///
/// Made by [`crate::plan()`] only; taken by `deploy::gate`.
#[derive(Debug)]
pub struct Plan {
    /// Without its objects: what of them is sent is in the changes.
    pub(crate) turn: Turn,
    pub(crate) account: Option<ServiceAccount>,
    pub(crate) objects: Vec<ObjectKey>,
    pub(crate) changes: Vec<Change>,
    pub(crate) unchanged: Vec<ObjectKey>,
    pub(crate) confirmed: Vec<(ObjectKey, crate::memory::Known)>,
    pub(crate) conflicts: Vec<Conflict>,
    pub(crate) rejected: Vec<Kept>,
    pub(crate) leaving: Leaving,
    pub(crate) digest: Digest,
}

impl Plan {
    /// The release that it carries out.
    pub fn release(&self) -> &Arc<Release> {
        &self.turn.release
    }

    /// As whom it is carried out; none: as the agent itself. The cluster was asked as the same.
    pub fn account(&self) -> Option<&ServiceAccount> {
        self.account.as_ref()
    }

    /// Which turn of the release, from 0, and of how many.
    pub fn position(&self) -> (u32, u32) {
        self.turn.position()
    }

    /// If its objects are hooks: of which moment, and how long they may take.
    pub fn hooks(&self) -> Option<(Moment, std::time::Duration)> {
        self.turn.hooks()
    }

    /// The writes, in order.
    pub fn changes(&self) -> &[Change] {
        &self.changes
    }

    /// Objects that are as they should be.
    pub fn unchanged(&self) -> &[ObjectKey] {
        &self.unchanged
    }

    /// Objects that a dry-run found to be as they should be, and what is to be remembered of them.
    pub fn confirmed(&self) -> &[(ObjectKey, crate::memory::Known)] {
        &self.confirmed
    }

    /// Fields of others that stand in the way: a plan with conflicts passes no gate.
    pub fn conflicts(&self) -> &[Conflict] {
        &self.conflicts
    }

    /// What the API server does not take and is left as it is, and what it says; only where the rules say so.
    pub fn rejected(&self) -> &[Kept] {
        &self.rejected
    }

    /// What is deleted after settling; in the last turn only.
    pub fn prune(&self) -> &[Prune] {
        &self.leaving.prune
    }

    /// How many objects the component owned before.
    pub fn owned(&self) -> usize {
        self.leaving.owned
    }

    /// What names exactly these deletions by exactly this release, for a person to confirm: `web.7.3fa9c1d2e4b5f6a7`.
    pub fn deletions(&self) -> String {
        self.leaving.named(&self.turn.release.id)
    }

    /// What left the release and is not ours any more: the inventory forgets it.
    pub fn released(&self) -> &[Kept] {
        &self.leaving.released
    }

    /// What left the release, is ours, and stays.
    pub fn kept(&self) -> &[Kept] {
        &self.leaving.kept
    }

    /// Every object of this turn, changed or not: what has to be healthy for it to settle.
    pub fn objects(&self) -> impl Iterator<Item = &ObjectKey> {
        self.objects.iter()
    }

    /// Forgets the bodies, once all were sent: a plan waits for health much longer than it takes to send it.
    pub fn forget_bodies(&mut self) {
        for change in &mut self.changes {
            change.body = Value::Null;
        }
    }

    /// The digest of everything that executing this plan sends.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// Whether executing it would send nothing.
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty() && self.leaving.prune.is_empty()
    }
}
