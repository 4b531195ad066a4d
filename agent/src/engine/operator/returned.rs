//! What a rollback is asked for with, what it would do, and what it did: as the API says it.

use serde::{Deserialize, Serialize};
use tk8s_core::{ComponentName, LayerId, ReleaseNumber};
use tk8s_diff::{Action, Kept};
use tk8s_history::Scope;

use super::hold::LeftAlone;

/// What a rollback is asked for with.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct RollbackRequest {
    /// The release to go back to, of one component; the last healthy one before what runs if nothing is given.
    pub to: Option<ReleaseNumber>,
    /// The tag or commit to go back to.
    pub to_revision: Option<String>,
    /// Why, for the ledger.
    pub reason: Option<String>,
    /// Whether it is only planned.
    pub dry_run: bool,
    /// Whether the rest goes on without objects that the API server does not take: they stay as they are.
    pub skip_rejected: bool,
    /// Whether Namespaces, CRDs and volumes that the release does not have are deleted.
    pub delete_protected: bool,
    /// Whether it is put back though its signer is compromised since, or its key revoked. Needs a reason.
    pub despite_compromise: bool,
}

/// What a rollback did to one component.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RolledBack {
    pub component: ComponentName,
    pub release: ReleaseNumber,
    /// The objects that were sent, and what was done to each.
    pub actions: Vec<Acted>,
    /// How many objects already were as the release has them.
    pub unchanged: usize,
    /// Objects that the API server does not take: they are as they were.
    #[serde(default)]
    pub left: Vec<KeptView>,
    /// `Applied` when every write was answered; health is followed from then on by status.
    pub outcome: String,
    pub milliseconds: u64,
}

/// What a rollback did to many.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RolledBackMany {
    pub scope: Scope,
    /// The revision that was asked for.
    pub revision: Option<String>,
    /// In the order in which they were written: the highest layer first.
    pub components: Vec<Returned>,
    /// Components of the scope that stay as they are.
    pub left: Vec<LeftAlone>,
    pub milliseconds: u64,
}

/// One of many components.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Returned {
    pub layer: LayerId,
    pub component: ComponentName,
    pub release: ReleaseNumber,
    /// What was done, or why it could not be.
    pub fate: Fate,
}

/// How it went with one of many components.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Fate {
    Done(RolledBack),
    Failed(String),
}

/// One object that was sent.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Acted {
    pub object: String,
    pub action: Action,
}

/// An object that stays, and why.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct KeptView {
    pub object: String,
    pub why: String,
}

impl From<&Kept> for KeptView {
    fn from(kept: &Kept) -> KeptView {
        KeptView { object: kept.key.to_string(), why: kept.why.clone() }
    }
}

/// What a rollback would do.
#[derive(Debug, Serialize, Deserialize)]
pub struct RollbackPlan {
    pub scope: Scope,
    pub revision: Option<String>,
    /// In apply order.
    pub components: Vec<ComponentPlan>,
    pub left: Vec<LeftAlone>,
}

/// What a rollback would do to one component.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ComponentPlan {
    pub layer: LayerId,
    pub component: ComponentName,
    /// The release that runs.
    pub from: Option<ReleaseNumber>,
    pub to: ReleaseNumber,
    /// The revision of the release to go back to.
    pub revision: String,
    pub objects: Vec<PlannedObject>,
    /// How many objects already are as the release has them.
    pub unchanged: usize,
    /// What would be deleted once all is healthy.
    pub deletes: Vec<String>,
    /// What the release does not have, and what stays nevertheless.
    pub keeps: Vec<KeptView>,
    /// What can be planned only when what it needs, and the release brings, is there.
    pub later: Vec<String>,
    /// What the API server does not take.
    pub rejected: Vec<KeptView>,
    /// The rules that it would break.
    pub denied: Vec<String>,
    /// Rules that a new release would break, and a rollback does not.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

/// One object that would be sent.
#[derive(Debug, Serialize, Deserialize)]
pub struct PlannedObject {
    pub object: String,
    pub action: Action,
    /// A unified diff; secrets are masked.
    pub diff: String,
    pub warnings: Vec<String>,
}

impl ComponentPlan {
    /// Why nothing would be written, if so.
    pub(super) fn refusal(&self, skip_rejected: bool) -> Option<String> {
        let rejected = self.rejected.iter().filter(|_| !skip_rejected).map(|kept| format!("{}: {}", kept.object, kept.why));
        let all: Vec<String> = self.denied.iter().cloned().chain(rejected).collect();
        (!all.is_empty()).then(|| format!("{} can't go back to release {}: {}", self.component, self.to, all.join("; ")))
    }
}
