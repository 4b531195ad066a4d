//! Fields that can't be changed, and what may be deleted and made again because of them. Pure.

use serde_json::Value;
use tk8s_core::{KINDS_THAT_HOLD, Manifest, ObjectKey};

use crate::Error;

/// The annotation that lets an object be deleted and made again when a field of it can't be changed.
const RECREATE: &str = "tk8s.io/recreate";
/// How API servers say that a field can't be changed (`k8s.io/apimachinery/pkg/api/validation` and the validation of each
/// kind; there is no reason for it in the answer).
const SAID: &[&str] = &[
    "immutable",
    "may not change",
    "may not be changed",
    "cannot be changed",
    "can not be changed",
    "may not be updated",
    "updates to statefulset spec for fields other than",
    "primary clusterip can not be unset",
];

/// The fields that an answer calls unchangeable. None if it complains about anything else: then it is an ordinary refusal.
pub(crate) fn fields(answer: &Value) -> Option<Vec<String>> {
    let causes = answer.pointer("/details/causes")?.as_array()?;
    let mut fields = Vec::new();
    for cause in causes {
        let message = cause["message"].as_str()?.to_lowercase();
        if !SAID.iter().any(|said| message.contains(said)) {
            return None;
        }
        fields.push(tk8s_core::printable(cause["field"].as_str().unwrap_or("a field"), 200));
    }
    fields.dedup();
    (!fields.is_empty()).then_some(fields)
}

/// Whether an object may be deleted and made again: its manifest says so, or it is a Job or Pod that has come to its end, of
/// which nothing is lost but its record. `ours`: it was applied by us before.
pub(crate) fn may_be_made_anew(manifest: &Manifest, live: &Value, ours: bool, fields: Vec<String>) -> Result<(), Error> {
    let key = manifest.key();
    let next = match () {
        () if KINDS_THAT_HOLD.contains(&key.kind.as_str()) => {
            "it holds what would be lost with it, so it is never made anew; keep the field, or make one with another name"
        }
        () if !ours => "and it was not made from this repository, so it is not made anew; keep the field, or delete it by hand",
        () if manifest.annotation(RECREATE) == Some("true") || has_ended(key, live) => return Ok(()),
        () => {
            "keep it, use another name, or say with the annotation `tk8s.io/recreate: \"true\"` that the object may be deleted and made again"
        }
    };
    Err(Error::Immutable { key: key.clone(), fields, next })
}

/// Whether a Job or Pod has done its work, or failed for good.
fn has_ended(key: &ObjectKey, live: &Value) -> bool {
    match (key.group.as_str(), key.kind.as_str()) {
        ("batch", "Job") => {
            let conditions = live.pointer("/status/conditions").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
            conditions.iter().any(|one| (one["type"] == "Complete" || one["type"] == "Failed") && one["status"] == "True")
        }
        ("", "Pod") => matches!(live.pointer("/status/phase").and_then(Value::as_str), Some("Succeeded" | "Failed")),
        _ => false,
    }
}

/// What an object will look like, as far as can be said of one that can't be dry-run while the old one is there: the old one
/// with what is sent over it.
pub(crate) fn overlaid(live: &Value, sent: &Value) -> Value {
    match (live, sent) {
        (Value::Object(live), Value::Object(sent)) => {
            let mut both = live.clone();
            for (name, value) in sent {
                let value = live.get(name).map_or_else(|| value.clone(), |live| overlaid(live, value));
                both.insert(name.clone(), value);
            }
            Value::Object(both)
        }
        (Value::Array(live), Value::Array(sent)) if live.len() == sent.len() => {
            live.iter().zip(sent).map(|(live, sent)| overlaid(live, sent)).collect()
        }
        _ => sent.clone(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use tk8s_core::{Classified as _, Origin};

    use super::*;

    fn refusal(causes: &[(&str, &str)]) -> Value {
        let causes: Vec<_> = causes.iter().map(|(field, message)| json!({"field": field, "message": message})).collect();
        json!({"reason": "Invalid", "details": {"causes": causes}})
    }

    #[test]
    fn only_an_answer_about_nothing_else_is_about_unchangeable_fields() {
        let selector = ("spec.selector", "Invalid value: {..}: field is immutable");
        let set = ("spec", "Forbidden: updates to statefulset spec for fields other than 'replicas', 'template' are forbidden");
        let other = ("spec.ports[0].port", "Invalid value: 0: must be between 1 and 65535, inclusive");
        assert_eq!(fields(&refusal(&[selector])).unwrap(), ["spec.selector"]);
        assert_eq!(fields(&refusal(&[set, selector])).unwrap(), ["spec", "spec.selector"]);
        assert_eq!(fields(&refusal(&[selector, other])), None);
        assert_eq!(fields(&refusal(&[])), None);
        assert_eq!(fields(&json!({"reason": "Invalid"})), None);
    }

    #[test]
    fn only_what_may_be_lost_is_made_anew() {
        let object = |api: &str, kind: &str, recreate: &str| {
            let annotations = json!({"tk8s.io/recreate": recreate});
            let metadata = json!({"name": "a", "namespace": "ns", "annotations": annotations});
            Manifest::new(json!({"apiVersion": api, "kind": kind, "metadata": metadata}), Origin::default()).unwrap()
        };
        let complete = json!({"status": {"conditions": [{"type": "Complete", "status": "True"}], "phase": "Succeeded"}});
        let running = json!({"status": {"conditions": [{"type": "Complete", "status": "False"}], "phase": "Running"}});
        for (api, kind, recreate, live, ours, expected) in [
            ("apps/v1", "Deployment", "true", &running, true, true),
            ("apps/v1", "Deployment", "yes", &running, true, false),
            ("apps/v1", "Deployment", "true", &running, false, false),
            ("v1", "PersistentVolumeClaim", "true", &running, true, false),
            ("batch/v1", "Job", "", &complete, true, true),
            ("batch/v1", "Job", "", &running, true, false),
            ("v1", "Pod", "", &complete, true, true),
            ("v1", "Pod", "", &running, true, false),
            ("apps/v1", "Deployment", "", &complete, true, false),
        ] {
            let found = may_be_made_anew(&object(api, kind, recreate), live, ours, vec!["spec.x".into()]);
            assert_eq!(found.is_ok(), expected, "{kind} {recreate} {ours}");
            assert!(found.err().is_none_or(|error| error.reason() == "Immutable" && error.to_string().contains("spec.x can't")));
        }
    }

    #[test]
    fn what_is_sent_lies_over_what_is_there() {
        let live = json!({"a": 1, "b": {"c": 2, "d": 3}, "list": [{"x": 1, "y": 2}], "other": [1, 2]});
        let sent = json!({"b": {"c": 9}, "list": [{"x": 5}], "other": [1]});
        assert_eq!(overlaid(&live, &sent), json!({"a": 1, "b": {"c": 9, "d": 3}, "list": [{"x": 5, "y": 2}], "other": [1]}));
    }
}
