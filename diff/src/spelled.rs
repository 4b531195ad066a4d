//! Objects as YAML, with their fields in the order in which people write and read them. Pure.
//!
//! First what says which object it is, then what it is, as the types of the API declare it; everything else by its name,
//! as `kubectl explain` lists it. Names that people gave themselves (labels, keys of data) are sorted only.

use serde::ser::{Serialize, SerializeMap as _, Serializer};
use serde_json::Value;

/// Fields that come first, at any depth.
const FIRST: &[&str] = &[
    "apiVersion",
    "kind",
    "metadata",
    "name",
    "namespace",
    "labels",
    "annotations",
    "type",
    "schedule",
    "replicas",
    "selector",
    "template",
    "image",
    "command",
    "args",
    "workingDir",
    "ports",
    "envFrom",
    "env",
    "initContainers",
    "containers",
    "volumes",
];
/// Maps whose keys are names that people gave.
const NAMES: &[&str] = &[
    "labels",
    "annotations",
    "matchLabels",
    "nodeSelector",
    "data",
    "stringData",
    "binaryData",
    "limits",
    "requests",
    "parameters",
];

/// The text of an object.
pub(crate) fn yaml(object: &Value) -> String {
    serde_yaml::to_string(&Spelled { value: object, names: false }).expect("because JSON is YAML")
}

struct Spelled<'a> {
    value: &'a Value,
    /// Whether its keys are names that people gave.
    names: bool,
}

impl Serialize for Spelled<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.value {
            Value::Object(fields) => {
                let rank = |name: &str| match self.names {
                    true => 0,
                    false => FIRST.iter().position(|first| *first == name).unwrap_or(FIRST.len()),
                };
                let mut fields: Vec<_> = fields.iter().collect();
                fields.sort_by_key(|(name, _)| (rank(name), name.as_str()));
                let mut map = serializer.serialize_map(Some(fields.len()))?;
                for (name, value) in fields {
                    let names = !self.names && NAMES.contains(&name.as_str());
                    map.serialize_entry(name, &Spelled { value, names })?;
                }
                map.end()
            }
            Value::Array(items) => serializer.collect_seq(items.iter().map(|value| Spelled { value, names: false })),
            scalar => scalar.serialize(serializer),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn fields_come_as_people_write_them_and_the_names_that_they_gave_are_sorted() {
        let container =
            json!({"env": [{"value": "1", "name": "A"}], "resources": {}, "image": "web:1", "name": "web", "args": ["x"]});
        let deployment = json!({
            "spec": {"template": {"spec": {"containers": [container], "volumes": [], "affinity": {}}}, "replicas": 2, "paused": true},
            "metadata": {"annotations": {"b": "1", "a": "2"}, "labels": {"type": "x", "app": "y"}, "namespace": "n", "name": "web"},
            "kind": "Deployment", "apiVersion": "apps/v1",
        });
        let expected = "apiVersion: apps/v1\nkind: Deployment\nmetadata:\n  name: web\n  namespace: n\n  labels:\n    app: y\n    type: x\n  annotations:\n    a: '2'\n    b: '1'\nspec:\n  replicas: 2\n  template:\n    spec:\n      containers:\n      - name: web\n        image: web:1\n        args:\n        - x\n        env:\n        - name: A\n          value: '1'\n        resources: {}\n      volumes: []\n      affinity: {}\n  paused: true\n";
        assert_eq!(yaml(&deployment), expected);
        let map = json!({"data": {"z": "1", "name": "2", "data": "3"}, "kind": "ConfigMap", "immutable": true});
        assert_eq!(yaml(&map), "kind: ConfigMap\ndata:\n  data: '3'\n  name: '2'\n  z: '1'\nimmutable: true\n");
    }

    #[test]
    fn nothing_in_an_object_can_move_a_cursor() {
        let text = yaml(&json!({"data": {"k": "a\u{1b}[2Jb\u{7}\r", "\u{1b}key": "x"}}));
        assert!(!text.contains(['\u{1b}', '\u{7}', '\r']), "{text:?}");
    }
}
