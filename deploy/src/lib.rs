//! From an approved plan to a settled cluster. The only crate that writes to managed objects.

mod sealed;

pub use sealed::{Answer, Applied, ApprovedPlan, Finished, Settled};
