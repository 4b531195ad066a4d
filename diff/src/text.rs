//! Two objects as one unified diff for people.

use std::time::Duration;

use serde_json::{Map, Value};
use similar::TextDiff;

use crate::mask::in_words;
use crate::spelled::yaml;

/// Longer diffs say how much was left out.
const LONGEST: usize = 256 * 1024;
/// After this the rest of two objects that have hardly a line in common is told as removed and added.
const PATIENCE: Duration = Duration::from_secs(1);

/// The difference between what is there and what is planned, both masked; empty if there is none.
pub(crate) fn unified(name: &str, live: Option<&Value>, planned: &Value) -> String {
    between((&format!("live: {name}"), &format!("planned: {name}")), live, Some(planned))
}

/// The difference between two masked objects of which either may be missing.
pub(crate) fn between(headers: (&str, &str), before: Option<&Value>, after: Option<&Value>) -> String {
    let (mut before, mut after) = (before.map(readable), after.map(readable));
    match (&mut before, &mut after) {
        (before, Some(after)) => in_words(before.as_mut(), after),
        (Some(before), None) => in_words(None, before),
        (None, None) => {}
    }
    let (before, after) = (before.as_ref().map_or(String::new(), yaml), after.as_ref().map_or(String::new(), yaml));
    if before == after {
        return String::new();
    }
    let diff = TextDiff::configure().timeout(PATIENCE).diff_lines(&before, &after);
    let mut text = diff.unified_diff().context_radius(3).header(headers.0, headers.1).to_string();
    if text.len() > LONGEST {
        let mut end = LONGEST;
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        text.truncate(end);
        text.push_str("\n… the rest is left out\n");
    }
    text
}

/// Whether two objects are the same to a reader.
pub(crate) fn same(live: &Value, planned: &Value) -> bool {
    let same_metadata = match (live.get("metadata"), planned.get("metadata")) {
        (Some(Value::Object(live)), Some(Value::Object(planned))) => same_but_for(live, planned, &NOISE),
        (live, planned) => live == planned,
    };
    match (live, planned) {
        (Value::Object(live), Value::Object(planned)) => same_metadata && same_but_for(live, planned, &["status", "metadata"]),
        (live, planned) => live == planned,
    }
}

fn same_but_for(one: &Map<String, Value>, other: &Map<String, Value>, noise: &[&str]) -> bool {
    let told = |(name, _): &(&String, &Value)| !noise.contains(&name.as_str());
    let mut in_both = one.iter().filter(told).map(|(name, value)| other.get(name) == Some(value));
    in_both.all(|same| same) && one.iter().filter(told).count() == other.iter().filter(told).count()
}

/// What the API server counts and notes for itself.
const NOISE: [&str; 6] = ["managedFields", "resourceVersion", "generation", "uid", "creationTimestamp", "selfLink"];

/// Without what the API server counts and notes for itself.
pub(crate) fn readable(object: &Value) -> Value {
    let mut object = object.clone();
    if let Value::Object(fields) = &mut object {
        fields.remove("status");
        if let Some(Value::Object(metadata)) = fields.get_mut("metadata") {
            for noise in NOISE {
                metadata.remove(noise);
            }
        }
    }
    object
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_diff_shows_what_changes_and_nothing_else() {
        let live = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", "resourceVersion": "1", "managedFields": []}, "data": {"x": "1"}});
        let planned = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", "resourceVersion": "2"}, "data": {"x": "2"}});
        let diff = unified("ConfigMap n/a", Some(&live), &planned);
        assert!(diff.contains("--- live: ConfigMap n/a\n+++ planned: ConfigMap n/a\n"), "{diff}");
        assert!(diff.contains("-  x: '1'\n+  x: '2'\n") && !diff.contains("resourceVersion"), "{diff}");
        assert!(same(&live, &live) && !same(&live, &planned));
        assert_eq!(unified("x", Some(&live), &live), "");
        assert!(unified("x", None, &planned).contains("+kind: ConfigMap"));
    }

    #[test]
    fn objects_are_the_same_if_what_a_reader_sees_of_them_is() {
        let object =
            |metadata: Value| json!({"kind": "ConfigMap", "metadata": metadata, "status": {"seen": 1}, "data": {"x": "1"}});
        let noisy = json!({"name": "a", "labels": {"l": "1"}, "uid": "1", "generation": 1, "managedFields": [{}]});
        let objects = [
            object(noisy.clone()),
            object(json!({"name": "a", "labels": {"l": "1"}, "uid": "2", "resourceVersion": "9"})),
            object(json!({"name": "a", "labels": {"l": "2"}})),
            object(json!({"name": "a", "labels": {"l": "1"}, "finalizers": ["f"]})),
            object(json!({"name": "a"})),
            object(json!({})),
            object(json!("a")),
            json!({"kind": "ConfigMap", "metadata": noisy.clone(), "data": {"x": "1"}}),
            json!({"kind": "ConfigMap", "metadata": noisy.clone(), "data": {"x": "2"}}),
            json!({"kind": "ConfigMap", "metadata": noisy, "data": {"x": "1"}, "more": null}),
            json!({"kind": "ConfigMap", "data": {"x": "1"}}),
            json!(null),
        ];
        for one in &objects {
            for other in &objects {
                assert_eq!(same(one, other), readable(one) == readable(other), "{one} {other}");
            }
        }
        assert!(same(&objects[0], &objects[1]) && !same(&objects[0], &objects[2]));
    }

    #[test]
    fn a_secret_that_changes_is_told_as_changed_and_two_diffs_of_it_are_equal() {
        let secret = |value: &str, key: u8| {
            crate::mask::Masker::new(&[key; 32])
                .mask(json!({"apiVersion": "v1", "kind": "Secret", "data": {"k": value, "same": "x"}}))
        };
        let diff = |value: &str, key: u8| unified("Secret n/a", Some(&secret("before", key)), &secret(value, key));
        let changed = diff("a", 1);
        assert!(changed.contains("-  k: (masked)\n+  k: (masked, changed)\n   same: (masked)\n"), "{changed}");
        assert_eq!(changed, diff("something longer", 2), "it says nothing about the value");
        assert_eq!(diff("before", 1), "");
    }
}
