//! Two objects as one unified diff for people.

use serde_json::{Map, Value};
use similar::TextDiff;

/// Longer diffs say how much was left out.
const LONGEST: usize = 256 * 1024;

/// The difference between what is there and what is planned, both masked; empty if there is none.
pub(crate) fn unified(name: &str, live: Option<&Value>, planned: &Value) -> String {
    let (before, after) = (live.map_or(String::new(), |live| yaml(&readable(live))), yaml(&readable(planned)));
    if before == after {
        return String::new();
    }
    let header = (format!("live: {name}"), format!("planned: {name}"));
    let mut text =
        TextDiff::from_lines(&before, &after).unified_diff().context_radius(3).header(&header.0, &header.1).to_string();
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
    readable(live) == readable(planned)
}

/// Without what the API server counts and notes for itself.
fn readable(object: &Value) -> Value {
    let mut object = object.clone();
    if let Value::Object(fields) = &mut object {
        fields.remove("status");
        if let Some(Value::Object(metadata)) = fields.get_mut("metadata") {
            for noise in ["managedFields", "resourceVersion", "generation", "uid", "creationTimestamp", "selfLink"] {
                metadata.remove(noise);
            }
        }
    }
    object
}

/// YAML with the fields in the order in which people write them.
fn yaml(object: &Value) -> String {
    let Value::Object(fields) = object else { return String::new() };
    let mut text = String::new();
    let first = ["apiVersion", "kind", "metadata"];
    let ordered = first
        .iter()
        .filter_map(|name| fields.get_key_value(*name))
        .chain(fields.iter().filter(|(name, _)| !first.contains(&name.as_str())));
    for (name, value) in ordered {
        let one = Value::Object(Map::from_iter([(name.clone(), value.clone())]));
        text.push_str(&serde_yaml::to_string(&one).expect("because JSON is YAML"));
    }
    text
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
}
