//! A release that a person let in though people who have to say yes to it had not: once, with a reason, and told until somebody
//! says that they have looked at it.

use serde::{Deserialize, Serialize};
use tk8s_core::{TagRef, Timestamp};

use crate::Said;

/// A release that was let in without approvals.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BrokenGlass {
    /// The release's tag: this object of it, and no other.
    pub tag: TagRef,
    /// Who was missing, for people.
    pub missing: String,
    /// Who did it.
    pub by: String,
    /// Why.
    pub reason: String,
    /// When.
    pub at: Timestamp,
    /// Who looked at it since.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub acknowledged: Option<Said>,
}
