//! What is carried from one environment to the next: which tree of a component is meant, and the word that it ran.
//! Plain data: what proves it is a signed envelope, and whoever judged it.

use serde::{Deserialize, Serialize};

use crate::{Digest, Environment, ReleaseNumber, Timestamp, TreeId};

/// What Git says of a component, the same in every environment and cluster.
///
/// Digests of rendered objects would not do: variables, keys and what a cluster can do differ between environments on
/// purpose, and so would they.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ComponentTree {
    /// The component's directory, by Git's own id.
    pub tree: TreeId,
    /// Whatever else in the repository decides its rendering: files elsewhere that it refers to, and its entry's keys of the
    /// platform file.
    pub rest: Digest,
}

/// The word of another instance by which a release was let in, as it is remembered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Promoted {
    /// Where it ran.
    pub environment: Environment,
    /// In which cluster.
    pub cluster: String,
    /// Who says so.
    pub instance: String,
    /// As which of that instance's releases.
    pub release: ReleaseNumber,
    /// Since when it was healthy there.
    pub since: Timestamp,
    /// When it was last seen to be.
    pub until: Timestamp,
    /// The digest of the signed statement.
    pub statement: Digest,
}
