//! From an approved plan to a settled cluster. The only crate that writes to managed objects.

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod gate;
pub mod health;
mod sealed;

pub use gate::{Denied, FailedRule, GateRules, Suspension, Trigger, gate};
pub use sealed::{Answer, Applied, ApprovedPlan, Finished, Settled};
