//! Namespaces and what extends the API.

use serde_json::Value;
use tk8s_core::Health;

use super::{Conditions, degraded, items, progressing, strings};

pub(super) fn namespace(object: &Value) -> Health {
    if object["status"]["phase"] != "Terminating" {
        return Health::healthy();
    }
    let held = what_holds_a_namespace(object);
    let held = if held.is_empty() { String::new() } else { format!("; held by {held}") };
    progressing("BeingDeleted", format!("being deleted{held}"))
}

/// What the namespace controller says is still in there, or who must let go of it first.
pub(super) fn what_holds_a_namespace(object: &Value) -> String {
    let told: Vec<String> = items(&object["status"]["conditions"])
        .iter()
        .filter(|condition| condition["status"] == "True")
        .filter_map(|condition| condition["message"].as_str())
        .map(str::to_owned)
        .collect();
    if !told.is_empty() {
        return told.join("; ");
    }
    let finalizers = [strings(&object["metadata"]["finalizers"]), strings(&object["spec"]["finalizers"])];
    finalizers.into_iter().filter(|names| !names.is_empty()).collect::<Vec<_>>().join(", ")
}

pub(super) fn definition(object: &Value) -> Health {
    let conditions = Conditions::of(object);
    if let Some(terminating) = conditions.when_true("Terminating") {
        return progressing("BeingDeleted", format!("being deleted: {}", terminating.message));
    }
    let names = conditions.get("NamesAccepted");
    if let Some(names) = names.filter(|names| names.is_false()) {
        return degraded("NamesNotAccepted", format!("its names are taken: {}", names.said()));
    }
    if let Some(schema) = conditions.when_true("NonStructuralSchema") {
        return degraded("NonStructuralSchema", schema.message);
    }
    match conditions.get("Established") {
        Some(established) if established.is_true() => Health::healthy(),
        // The API server says `Installing` for the few moments between accepting the names and serving them.
        Some(established) if established.is_false() && established.reason != "Installing" => {
            degraded("NotEstablished", format!("it is not served: {}", established.said()))
        }
        _ => progressing("NotEstablished", "it is not served yet"),
    }
}

pub(super) fn api_service(object: &Value) -> Health {
    match Conditions::of(object).get("Available") {
        Some(available) if available.is_true() => Health::healthy(),
        Some(available) if !available.reason.is_empty() => progressing(available.reason, available.message),
        _ => progressing("NotAvailable", "the API server has not reached it yet"),
    }
}
