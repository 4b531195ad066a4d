//! From a turn to what the cluster says to it.

use tk8s_core::Manifest;

/// What the cluster said to one object of a turn.
#[derive(Debug)]
pub struct Finding {
    /// What is wanted.
    pub manifest: Manifest,
}
