//! The hand-over types that prove that something is on disk: [`Staged`], [`Recalled`] and [`Begun`].

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tk8s_core::{
    ComponentTree, Digest, Environment, ObjectKey, Placed, Promoted, ReleaseId, Removal, Revision, ServiceAccount, Timestamp,
    Trust,
};

/// The header of a release: everything but its objects. Plain data.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Release {
    /// Component and number.
    pub id: ReleaseId,
    /// The revision it was rendered from.
    pub revision: Revision,
    /// Why that revision may be applied.
    pub trust: Trust,
    /// The environment for which the revision was verified.
    pub environment: Environment,
    /// The digest of the rendered set: equal digests mean equal objects.
    pub content: Digest,
    /// The identity of everything that decided the rendering, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input: Option<Digest>,
    /// What Git says of the component, in every environment; absent where the release takes it away, and in old ledgers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tree: Option<ComponentTree>,
    /// How many objects.
    pub objects: usize,
    /// Set if this release takes the component away: it has no object, on purpose.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub removal: Option<Removal>,
    /// The account that the platform named for the component when it was staged. It counts only while nobody knows what the
    /// platform names now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account: Option<ServiceAccount>,
    /// When it was staged, by our clock.
    pub staged_at: Timestamp,
}

/// A release whose objects and event are on disk, fsynced. Made by `History::stage` only.
#[derive(Debug)]
pub struct Staged {
    pub(crate) release: Arc<Release>,
    pub(crate) objects: Vec<Placed>,
}

/// A release that was staged here once, read back and proven against the ledger. Made by `History::recall` only.
#[derive(Debug)]
pub struct Recalled {
    pub(crate) release: Arc<Release>,
    pub(crate) objects: Vec<Placed>,
}

/// What the cluster is to become, for one component: the only thing `diff` takes.
#[derive(Debug)]
pub enum Desired {
    /// New from Git.
    Staged(Staged),
    /// Known from before: rollback, drift, restart.
    Recalled(Recalled),
}

impl Desired {
    /// The release's header.
    pub fn release(&self) -> &Arc<Release> {
        match self {
            Desired::Staged(staged) => &staged.release,
            Desired::Recalled(recalled) => &recalled.release,
        }
    }

    /// The release's objects, to look at.
    pub fn objects(&self) -> &[Placed] {
        match self {
            Desired::Staged(staged) => &staged.objects,
            Desired::Recalled(recalled) => &recalled.objects,
        }
    }

    /// Header and objects, to split into turns. The proof is gone then.
    pub fn into_parts(self) -> (Arc<Release>, Vec<Placed>) {
        match self {
            Desired::Staged(staged) => (staged.release, staged.objects),
            Desired::Recalled(recalled) => (recalled.release, recalled.objects),
        }
    }
}

impl From<Staged> for Desired {
    fn from(staged: Staged) -> Desired {
        Desired::Staged(staged)
    }
}

impl From<Recalled> for Desired {
    fn from(recalled: Recalled) -> Desired {
        Desired::Recalled(recalled)
    }
}

/// What a plan is about to do, as `History::begin` writes it down before the first write to the cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Intent {
    /// The release that is being applied.
    pub release: ReleaseId,
    /// Which of the release's turns, from 0.
    pub turn: u32,
    /// How many turns the release has.
    pub turns: u32,
    /// The digest of the approved plan.
    pub plan: Digest,
    /// What made it run: `sync`, `rollback`, `drift` or `restart`.
    pub trigger: String,
    /// The account that makes its writes; none: the agent's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account: Option<ServiceAccount>,
    /// By whose word it was let in, where one is demanded; with the release's first turn only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub promoted: Option<Promoted>,
    /// Objects that the plan will create: in the inventory from now on, so that none can be lost.
    pub creates: Vec<ObjectKey>,
    /// Objects that the plan will change.
    pub changes: Vec<ObjectKey>,
    /// Objects that the plan will delete after settling.
    pub deletes: Vec<ObjectKey>,
}

/// The proof that an [`Intent`] is in the ledger, fsynced. Made by `History::begin` only; `deploy::apply` takes it, and
/// checks that it is the one for exactly its plan.
#[derive(Debug)]
pub struct Begun {
    pub(crate) intent: Intent,
}

impl Begun {
    /// What was written down.
    pub fn intent(&self) -> &Intent {
        &self.intent
    }
}
