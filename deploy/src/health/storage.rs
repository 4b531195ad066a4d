//! Volumes and claims on them.

use serde_json::Value;
use tk8s_core::Health;

use super::{degraded, progressing, said};

pub(super) fn claim(object: &Value) -> Health {
    let status = &object["status"];
    match status["phase"].as_str() {
        Some("Bound") => resized(status),
        Some("Lost") => degraded("ClaimLost", format!("its volume `{}` is gone", text(&object["spec"]["volumeName"]))),
        _ => {
            let class = text(&object["spec"]["storageClassName"]);
            progressing("ClaimPending", format!("no volume is bound to it yet (storage class `{class}`)"))
        }
    }
}

/// Growing goes on beside the work, and may wait for a pod's restart; what can't be done is somebody's mistake.
fn resized(status: &Value) -> Health {
    let infeasible = status["allocatedResourceStatuses"]["storage"].as_str().filter(|state| state.ends_with("Infeasible"));
    match infeasible {
        Some(state) => degraded("ResizeInfeasible", format!("the volume can't be resized as wanted ({state})")),
        None => Health::healthy(),
    }
}

pub(super) fn volume(object: &Value) -> Health {
    let status = &object["status"];
    match status["phase"].as_str() {
        Some("Available" | "Bound" | "Released") => Health::healthy(),
        Some("Failed") => degraded("VolumeFailed", said(text(&status["reason"]), text(&status["message"]))),
        _ => progressing("VolumePending", "it is not available yet"),
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}
