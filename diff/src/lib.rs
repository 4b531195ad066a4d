//! From staged objects and the live cluster to a plan.

pub mod cluster;
pub mod observe;
mod sealed;

pub use sealed::{Action, Change, Conflict, Kept, Observed, Plan, Prune, Turn};
