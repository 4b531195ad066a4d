//! The cluster as the agent reads it: which kinds there are, and what an object is like. Reads only.

use serde::{Deserialize, Serialize};
use tk8s_core::GroupVersionKind;

/// How the API server calls a kind.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Resource {
    /// Group, version and kind.
    pub kind: GroupVersionKind,
    /// For example `deployments`.
    pub plural: String,
    /// Whether its objects live in namespaces.
    pub namespaced: bool,
}
