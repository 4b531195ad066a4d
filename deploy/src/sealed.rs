//! The hand-over types of deploying: [`ApprovedPlan`], [`Applied`], [`Settled`] and [`Finished`].

use std::collections::BTreeMap;

use tk8s_core::{Health, Moment, ObjectKey, Promoted};
use tk8s_diff::{Action, Kept, Plan};
use tk8s_history::{Begun, EndedHook, Intent};

/// A plan that every rule let pass. Made by [`crate::gate`] only.
#[derive(Debug)]
pub struct ApprovedPlan {
    pub(crate) plan: Plan,
    pub(crate) trigger: String,
    pub(crate) promoted: Option<Promoted>,
}

impl ApprovedPlan {
    pub(crate) fn new(plan: Plan, trigger: &str, promoted: Option<Promoted>) -> ApprovedPlan {
        ApprovedPlan { plan, trigger: trigger.into(), promoted }
    }

    /// The plan, to look at.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// What is to be written down before the first write: hand it to `History::begin`.
    pub fn intent(&self) -> Intent {
        let plan = &self.plan;
        let (turn, turns) = plan.position();
        let keys = |wanted: fn(Action) -> bool| {
            plan.changes().iter().filter(|change| wanted(change.action)).map(|change| change.key.clone()).collect()
        };
        Intent {
            release: plan.release().id.clone(),
            turn,
            turns,
            plan: plan.digest(),
            trigger: self.trigger.clone(),
            account: plan.account().cloned(),
            promoted: self.promoted.clone(),
            creates: keys(|action| matches!(action, Action::Create | Action::Recreate)),
            changes: keys(|action| !matches!(action, Action::Create | Action::Recreate)),
            deletes: plan.prune().iter().map(|prune| prune.key.clone()).collect(),
        }
    }
}

/// An object as the API server answered to its apply.
#[derive(Clone)]
pub struct Answer {
    /// Which object.
    pub key: ObjectKey,
    /// How the API server calls its kind.
    pub resource: tk8s_diff::cluster::Resource,
    /// Its UID.
    pub uid: String,
    /// Whether it was made by this apply, and so may be deleted some day.
    pub created: bool,
    /// The whole answer, for whoever hears it at once; it may hold secrets. Afterwards it is null.
    pub object: serde_json::Value,
    /// What the object says of its owners, for the same. Afterwards nothing.
    pub ownership: Option<tk8s_diff::ownership::Ownership>,
    /// What was wanted.
    pub desired: tk8s_core::Digest,
    /// What the API server warned about.
    pub warnings: Vec<String>,
    /// Fields of ours that it holds otherwise than they were sent: somebody on the way overwrites them.
    pub altered: Vec<String>,
}

/// Without the object: it may hold secrets.
impl std::fmt::Debug for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Answer { key, uid, created, .. } = self;
        f.debug_struct("Answer").field("key", key).field("uid", uid).field("created", created).finish_non_exhaustive()
    }
}

/// A plan whose every write was answered. Made by [`crate::apply`] only.
#[derive(Debug)]
pub struct Applied {
    pub(crate) plan: Plan,
    pub(crate) begun: Begun,
    pub(crate) answers: Vec<Answer>,
}

impl Applied {
    /// The plan that was carried out, to look at.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// What the API server answered, in the order of the answers.
    pub fn answers(&self) -> &[Answer] {
        &self.answers
    }

    /// The entry that was written down before.
    pub fn begun(&self) -> &Begun {
        &self.begun
    }
}

/// An applied plan whose objects became healthy, or did not in time. Made by [`crate::settle`] only.
#[derive(Debug)]
pub struct Settled {
    pub(crate) plan: Plan,
    pub(crate) begun: Begun,
    pub(crate) unhealthy: BTreeMap<ObjectKey, Health>,
    pub(crate) ended: Vec<EndedHook>,
}

impl Settled {
    /// What is not healthy, and why. Empty means that the turn has settled.
    pub fn unhealthy(&self) -> &BTreeMap<ObjectKey, Health> {
        &self.unhealthy
    }

    /// The hooks of this turn that came to their end.
    pub fn ended(&self) -> &[EndedHook] {
        &self.ended
    }

    /// The entry that was written down before.
    pub fn begun(&self) -> &Begun {
        &self.begun
    }
}

/// A settled plan after which nothing is left to do. Made by [`crate::prune`] only.
#[derive(Debug)]
pub struct Finished {
    pub(crate) begun: Begun,
    pub(crate) gone: Vec<ObjectKey>,
    pub(crate) released: Vec<Kept>,
    pub(crate) left: Vec<Kept>,
    pub(crate) pending: Vec<Kept>,
    pub(crate) unhealthy: BTreeMap<ObjectKey, Health>,
    pub(crate) hooks: Option<Moment>,
}

impl Finished {
    /// If it was a turn of hooks: of which moment.
    pub fn hooks(&self) -> Option<Moment> {
        self.hooks
    }

    /// What was deleted and is gone.
    pub fn gone(&self) -> &[ObjectKey] {
        &self.gone
    }

    /// What left the release and is not ours any more, and why: the inventory forgets it.
    pub fn released(&self) -> &[Kept] {
        &self.released
    }

    /// What the inventory forgets: what is gone, and what is not ours any more.
    pub fn forgotten(&self) -> Vec<ObjectKey> {
        self.gone.iter().chain(self.released.iter().map(|released| &released.key)).cloned().collect()
    }

    /// What was to be deleted and was not, because the turn did not settle or it changed all the time.
    pub fn left(&self) -> &[Kept] {
        &self.left
    }

    /// What was deleted and is still there, and what holds it. The inventory keeps it, so the next plan finds it again.
    pub fn pending(&self) -> &[Kept] {
        &self.pending
    }

    /// What is not healthy, and why.
    pub fn unhealthy(&self) -> &BTreeMap<ObjectKey, Health> {
        &self.unhealthy
    }

    /// The entry that was written down before.
    pub fn begun(&self) -> &Begun {
        &self.begun
    }

    /// The entry to close with `History::record`.
    pub fn into_begun(self) -> Begun {
        self.begun
    }
}
