//! Autoscalers and disruption budgets.

use serde_json::Value;
use tk8s_core::Health;

use super::{Conditions, degraded, progressing, unobserved};

/// Where `autoscaling/v1` keeps what later versions have in `status.conditions`.
const V1_CONDITIONS: &str = "autoscaling.alpha.kubernetes.io/conditions";

pub(super) fn autoscaler(object: &Value) -> Health {
    let annotated = object["metadata"]["annotations"][V1_CONDITIONS].as_str();
    let annotated: Value = annotated.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
    let in_status = Conditions::of(object);
    let conditions = if in_status.is_empty() { Conditions::from(&annotated) } else { in_status };
    let (able, active) = (conditions.get("AbleToScale"), conditions.get("ScalingActive"));
    for condition in [able, active].into_iter().flatten() {
        // The reason, not the status: `AbleToScale` can be `True` because of `FailedGetScale`.
        let failed = condition.reason.starts_with("Failed") || condition.reason.starts_with("Invalid");
        if failed {
            return degraded(condition.reason, condition.message);
        }
    }
    if let Some(health) = unobserved(object, false) {
        return health;
    }
    match able {
        None => progressing("NotObserved", "its controller has not looked at it yet"),
        Some(able) if able.is_true() => Health::healthy(),
        Some(able) => progressing(able.reason, able.message),
    }
}

/// Whether a disruption is allowed at this moment is no question of health: a budget that says no does its work.
pub(super) fn disruption_budget(object: &Value) -> Health {
    if let Some(health) = unobserved(object, true) {
        return health;
    }
    if !object["status"].is_object() {
        return progressing("NotObserved", "its controller has not looked at it yet");
    }
    match Conditions::of(object).get("DisruptionAllowed") {
        Some(condition) if condition.reason == "SyncFailed" => degraded("SyncFailed", condition.said()),
        _ => Health::healthy(),
    }
}
