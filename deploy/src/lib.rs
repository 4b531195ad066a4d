//! From an approved plan to a settled cluster. The only crate that writes to managed objects.

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod admit;
mod apply;
mod cause;
mod error;
mod gate;
pub mod health;
mod own;
mod prune;
mod sealed;
mod settle;

pub use admit::{Admission, admit};
pub use apply::{ApplyFailed, ApplyOptions, apply};
pub use cause::{Cause, Log, causes, has_pods};
pub use error::Error;
pub use gate::{Closed, Denied, EVIDENCE_MISSING, FailedRule, GateRules, Promotion, PruneBudget, Trigger, foresee, gate};
pub use own::{Own, OwnName};
pub use prune::{PruneFailed, prune};
pub use sealed::{Answer, Applied, ApprovedPlan, Finished, Settled};
pub use settle::settle;
