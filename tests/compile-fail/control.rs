//! The control: this compiles, so the others fail for their own reasons.

use tk8s_core::Timestamp;
use tk8s_gitsync::{ProductionPolicy, Signers, Versions};
use tk8s_history::{Begun, History, Intent};
use tk8s_images::Resolved;

fn right(history: &History, resolved: Resolved, intent: Intent, now: Timestamp) -> Option<Begun> {
    history.stage(resolved, now).ok()?;
    history.begin(intent, now).ok()
}

fn main() {
    let _ = (right, |signers: Signers| ProductionPolicy { signers, approvals: None, versions: Versions::default() });
}
