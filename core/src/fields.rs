//! Which fields of an object are secret, beside those of Secrets: a set of JSON pointers that travels with the object, as
//! an annotation.
//!
//! An annotation, because it then is wherever the object is: in the history that a rollback reads, in a body that is sent, and
//! in what a watch tells of the live object after a restart. It names fields, and no value.

use std::collections::BTreeSet;

use serde_json::Value;

/// Annotation of an object: the JSON pointers of its secret fields, as a JSON list.
pub const SECRET_FIELDS_ANNOTATION: &str = "agent.tk8s.io/secret-fields";

/// Stands for every item of a list: the API server may sort and add items, so a number would point at another one.
const ANY: &str = "*";
/// More fields than this are named by what they stand in: an annotation has to stay small.
const MOST: usize = 100;
/// What tells an object from others; it can't be hidden.
const IDENTITY: [&str; 4] = ["/apiVersion", "/kind", "/metadata/name", "/metadata/namespace"];

/// Fields of one object. A field covers all that is in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SecretFields(BTreeSet<String>);

impl SecretFields {
    /// The fields that an object says are secret. An annotation that can't be read covers the whole object.
    pub fn of(object: &Value) -> SecretFields {
        let annotations = object.get("metadata").and_then(|metadata| metadata.get("annotations"));
        let Some(text) = annotations.and_then(|annotations| annotations.get(SECRET_FIELDS_ANNOTATION)) else {
            return SecretFields::default();
        };
        let read = text.as_str().and_then(|text| serde_json::from_str(text).ok());
        SecretFields(read.unwrap_or_else(|| BTreeSet::from([String::new()])))
    }

    /// One more field, by its JSON pointer; numbers of list items become any item.
    pub fn insert(&mut self, object: &Value, pointer: &str) {
        let mut at = Some(object);
        let mut name = String::new();
        for part in pointer.split('/').skip(1) {
            name.push('/');
            name.push_str(if at.is_some_and(Value::is_array) { ANY } else { part });
            at = at.and_then(|value| value.pointer(&format!("/{part}")));
        }
        if !IDENTITY.contains(&name.as_str()) {
            self.0.insert(name);
        }
    }

    /// Both together.
    pub fn and(mut self, other: SecretFields) -> SecretFields {
        self.0.extend(other.0);
        self
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The text of the annotation.
    pub fn to_annotation(&self) -> String {
        let shorter = |depth: usize| -> BTreeSet<String> {
            self.0.iter().map(|pointer| pointer.split('/').take(depth + 1).collect::<Vec<_>>().join("/")).collect()
        };
        let few = [8, 4, 3, 2].into_iter().map(shorter).find(|fields| fields.len() <= MOST);
        let fields = if self.0.len() <= MOST { self.0.clone() } else { few.unwrap_or_else(|| shorter(1)) };
        serde_json::to_string(&fields).expect("because a list of texts is JSON")
    }

    /// Gives every scalar of these fields to `act`, to be replaced.
    pub fn each(&self, object: &mut Value, act: &mut impl FnMut(&mut Value)) {
        for pointer in &self.0 {
            let parts: Vec<String> = pointer.split('/').skip(1).map(|part| part.replace("~1", "/").replace("~0", "~")).collect();
            descend(object, &parts, pointer.is_empty(), act);
        }
    }
}

fn descend(value: &mut Value, parts: &[String], whole: bool, act: &mut impl FnMut(&mut Value)) {
    match (parts, value) {
        ([], Value::Array(items)) => items.iter_mut().for_each(|item| descend(item, &[], false, act)),
        // Of a whole object its identity stays: it is how people tell which one it is.
        ([], Value::Object(fields)) => fields
            .iter_mut()
            .filter(|(name, _)| !(whole && ["apiVersion", "kind", "metadata"].contains(&name.as_str())))
            .for_each(|(_, value)| descend(value, &[], false, act)),
        ([], Value::Null) => {}
        ([], scalar) => act(scalar),
        ([_, rest @ ..], Value::Array(items)) => items.iter_mut().for_each(|item| descend(item, rest, false, act)),
        ([part, rest @ ..], Value::Object(fields)) => {
            if let Some(value) = fields.get_mut(part) {
                descend(value, rest, false, act);
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn hidden(fields: &SecretFields, mut object: Value) -> Value {
        fields.each(&mut object, &mut |value| *value = "-".into());
        object
    }

    #[test]
    fn a_field_of_a_list_item_is_hidden_in_every_item_wherever_it_moves() {
        let object = json!({"kind": "Pod", "spec": {"env": [{"name": "a", "value": "1"}, {"name": "b", "value": "2"}]}});
        let mut fields = SecretFields::default();
        fields.insert(&object, "/spec/env/1/value");
        assert_eq!(fields.to_annotation(), r#"["/spec/env/*/value"]"#);
        let sorted =
            json!({"kind": "Pod", "spec": {"env": [{"name": "b", "value": "2"}, {"name": "a", "value": "1"}, {"name": "c"}]}});
        let shown =
            json!({"kind": "Pod", "spec": {"env": [{"name": "b", "value": "-"}, {"name": "a", "value": "-"}, {"name": "c"}]}});
        assert_eq!(hidden(&fields, sorted), shown);
    }

    #[test]
    fn what_the_annotation_says_is_read_back_and_nonsense_hides_everything() {
        let with = |text: &str| json!({"kind": "X", "metadata": {"name": "n", "annotations": {SECRET_FIELDS_ANNOTATION: text}}, "a/b": {"c": 1}, "d": [true]});
        let fields = SecretFields::of(&with(r#"["/a~1b/c"]"#));
        assert_eq!(hidden(&fields, with(""))["a/b"]["c"], "-");
        assert_eq!(hidden(&fields, with(""))["d"], json!([true]));
        let shown = hidden(&SecretFields::of(&with("{")), with("{"));
        assert_eq!((&shown["a/b"]["c"], &shown["d"], &shown["kind"]), (&json!("-"), &json!(["-"]), &json!("X")));
        assert!(SecretFields::of(&json!({"metadata": {}})).is_empty());
    }

    #[test]
    fn many_fields_are_named_by_what_they_stand_in_and_the_identity_never() {
        let data: serde_json::Map<_, _> = (0..1000).map(|index| (format!("k{index}"), json!("x"))).collect();
        let object = json!({"kind": "ConfigMap", "metadata": {"name": "n"}, "data": data});
        let mut fields = SecretFields::default();
        for index in 0..1000 {
            fields.insert(&object, &format!("/data/k{index}"));
        }
        fields.insert(&object, "/metadata/name");
        fields.insert(&object, "/kind");
        assert_eq!(fields.to_annotation(), r#"["/data"]"#);
    }
}
