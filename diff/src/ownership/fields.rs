//! Sets of fields, as the API server writes them into `managedFields`.
//!
//! The format is that of structured-merge-diff (`fieldsV1`): a tree whose steps are `f:name` (a field), `k:{"a":1}` (the
//! item of a list whose keys are these), `v:value` (the item of a set) and `i:3` (the item at an index); `.` says that
//! what leads there is itself in the set. Steps are kept in canonical form, so that two spellings of one step are equal.
//! Pure, and no panic for any input: what can't be read is not in the set.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};
use tk8s_core::canonical_json;

/// Deeper than any schema; what lies deeper is not looked at.
const DEEPEST: usize = 100;

/// A set of fields of an object.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FieldSet {
    /// Whether what leads here is in the set.
    member: bool,
    below: BTreeMap<String, FieldSet>,
}

/// The way to a field: its steps, from the top of the object.
pub type Path = Vec<String>;

impl FieldSet {
    /// Reads `fieldsV1`.
    pub fn read(fields: &Value) -> FieldSet {
        let mut set = read(fields, 0);
        set.member = false;
        set
    }

    /// The set of no field.
    pub fn nothing() -> &'static FieldSet {
        static NOTHING: FieldSet = FieldSet { member: false, below: BTreeMap::new() };
        &NOTHING
    }

    /// The set as `fieldsV1`, for writing it back.
    pub fn to_value(&self) -> Value {
        let mut fields = Map::new();
        if self.member && !self.below.is_empty() {
            fields.insert(".".into(), json!({}));
        }
        for (step, below) in &self.below {
            fields.insert(step.clone(), below.to_value());
        }
        Value::Object(fields)
    }

    /// Whether nothing is in it.
    pub fn is_empty(&self) -> bool {
        !self.member && self.below.is_empty()
    }

    /// Whether a field is in it, by itself and not only something below it.
    pub fn contains(&self, path: &[String]) -> bool {
        self.at(path).is_some_and(|found| found.member)
    }

    /// What is in the set below a field, the field itself included.
    pub fn at(&self, path: &[String]) -> Option<&FieldSet> {
        path.iter().try_fold(self, |set, step| set.below.get(step))
    }

    /// What is in the set at a field and below it, with the way there.
    pub(crate) fn only(&self, path: &[String]) -> FieldSet {
        let Some((step, rest)) = path.split_first() else { return self.clone() };
        let Some(below) = self.below.get(step) else { return FieldSet::default() };
        let below = below.only(rest);
        if below.is_empty() {
            return FieldSet::default();
        }
        FieldSet { member: false, below: BTreeMap::from([(step.clone(), below)]) }
    }

    /// Whether it is a field that is in the set as a whole, with all that is in it.
    pub(crate) fn is_whole(&self) -> bool {
        self.member && self.below.is_empty()
    }

    /// What is in the set below one step.
    pub(crate) fn step(&self, step: &str) -> Option<&FieldSet> {
        self.below.get(step)
    }

    /// The step that means this item of a list, and what is in the set of it.
    pub(crate) fn item(&self, item: &Value) -> Option<(&str, &FieldSet)> {
        let found = self.below.iter().find(|(step, _)| is_at(item, step));
        found.map(|(step, set)| (step.as_str(), set))
    }

    /// Whether it knows items of a list by their places, which say nothing about another version of the list.
    pub(crate) fn counts_items(&self) -> bool {
        self.below.keys().any(|step| step.starts_with("i:"))
    }

    /// What is in this set and not in the other.
    pub fn minus(&self, other: &FieldSet) -> FieldSet {
        self.combine(Some(other), |ours, theirs| ours && !theirs)
    }

    /// What is in both.
    pub fn common(&self, other: &FieldSet) -> FieldSet {
        self.combine(Some(other), |ours, theirs| ours && theirs)
    }

    /// What is in either.
    pub fn with(&self, other: &FieldSet) -> FieldSet {
        let mut both = self.clone();
        both.member |= other.member;
        for (step, theirs) in &other.below {
            let ours = both.below.entry(step.clone()).or_default();
            *ours = ours.with(theirs);
        }
        both
    }

    fn combine(&self, other: Option<&FieldSet>, keep: fn(bool, bool) -> bool) -> FieldSet {
        let member = keep(self.member, other.is_some_and(|other| other.member));
        let mut below = BTreeMap::new();
        for (step, ours) in &self.below {
            let kept = ours.combine(other.and_then(|other| other.below.get(step)), keep);
            if !kept.is_empty() {
                below.insert(step.clone(), kept);
            }
        }
        FieldSet { member, below }
    }

    /// The fields that hold values: those with nothing below them. What only says that a map or an item is there is left
    /// out where something in it is in the set as well.
    pub fn leaves(&self) -> Vec<Path> {
        let mut leaves = Vec::new();
        self.collect(&mut Vec::new(), &mut leaves);
        leaves
    }

    fn collect(&self, path: &mut Path, leaves: &mut Vec<Path>) {
        if self.member && self.below.is_empty() {
            leaves.push(path.clone());
        }
        for (step, below) in &self.below {
            path.push(step.clone());
            below.collect(path, leaves);
            path.pop();
        }
    }

    /// The items of this set in lists of which the other set has items too.
    pub(crate) fn items_beside(&self, other: &FieldSet) -> Vec<Path> {
        let mut found = Vec::new();
        self.collect_beside(other, &mut Vec::new(), &mut found);
        found
    }

    fn collect_beside(&self, other: &FieldSet, path: &mut Path, found: &mut Vec<Path>) {
        let is_item = |step: &&String| !step.starts_with("f:");
        let is_list = other.below.keys().any(|step| is_item(&step));
        for (step, below) in &self.below {
            path.push(step.clone());
            match other.below.get(step) {
                Some(other) => below.collect_beside(other, path, found),
                None if is_list && is_item(&step) => found.push(path.clone()),
                None => {}
            }
            path.pop();
        }
    }

    /// The values that an object has at the fields of this set. Where a field is a whole map, what `others` own inside it
    /// does not count: it is not ours. Equal for two objects exactly if nobody changed what this set is about.
    pub fn project(&self, object: &Value, others: &FieldSet) -> Value {
        let mut values = Map::new();
        self.project_into(Some(object), Some(others), &mut String::new(), &mut values);
        Value::Object(values)
    }

    fn project_into(&self, at: Option<&Value>, others: Option<&FieldSet>, path: &mut String, values: &mut Map<String, Value>) {
        if self.member && self.below.is_empty() {
            let own = at.map(|value| others.map_or_else(|| value.clone(), |others| without(value, others)));
            values.insert(path.clone(), own.unwrap_or(Value::Null));
        }
        for (step, below) in &self.below {
            let length = path.len();
            path.push('/');
            path.push_str(step);
            let others = others.and_then(|others| others.below.get(step));
            below.project_into(at.and_then(|value| follow(value, step)), others, path, values);
            path.truncate(length);
        }
    }

    /// The way to what a JSON pointer means in this object. None if there is nothing.
    pub fn path_of_pointer(&self, object: &Value, pointer: &str) -> Option<Path> {
        let mut path = Path::new();
        let (mut at, mut set) = (object, Some(self));
        for token in pointer.strip_prefix('/')?.split('/') {
            let token = token.replace("~1", "/").replace("~0", "~");
            let (step, next) = match at {
                Value::Object(fields) => (format!("f:{token}"), fields.get(&token)?),
                Value::Array(items) => {
                    let item = items.get(token.parse::<usize>().ok()?)?;
                    // How the list is keyed is known from whoever owns something of this item.
                    let known = set.and_then(|set| set.below.keys().find(|step| is_at(item, step)));
                    (known.cloned().unwrap_or(format!("i:{token}")), item)
                }
                _ => return None,
            };
            set = set.and_then(|set| set.below.get(&step));
            path.push(step);
            at = next;
        }
        Some(path)
    }
}

fn read(fields: &Value, depth: usize) -> FieldSet {
    let Value::Object(fields) = fields else { return FieldSet::default() };
    let mut set = FieldSet { member: fields.is_empty() || fields.contains_key("."), below: BTreeMap::new() };
    for (step, below) in fields.iter().filter(|(step, _)| *step != ".") {
        if depth < DEEPEST {
            set.below.insert(canonical(step), read(below, depth + 1));
        }
    }
    set
}

/// One spelling of each step: the JSON inside `k:` and `v:` may be written in many ways.
fn canonical(step: &str) -> String {
    for kind in ["k:", "v:"] {
        if let Some(value) = step.strip_prefix(kind).and_then(|text| serde_json::from_str::<Value>(text).ok()) {
            return format!("{kind}{}", String::from_utf8_lossy(&canonical_json(&value)));
        }
    }
    step.into()
}

/// What an object has at a step.
pub(crate) fn follow<'a>(value: &'a Value, step: &str) -> Option<&'a Value> {
    match value {
        Value::Object(fields) => fields.get(step.strip_prefix("f:")?),
        Value::Array(items) => match step.strip_prefix("i:") {
            Some(index) => items.get(index.parse::<usize>().ok()?),
            None => items.iter().find(|item| is_at(item, step)),
        },
        _ => None,
    }
}

/// Whether an item of a list is the one that a step means. A key that the item does not have may be filled in by the API
/// server (the protocol of a port), so that it does not count against it.
pub(crate) fn is_at(item: &Value, step: &str) -> bool {
    if let Some(value) = step.strip_prefix("v:") {
        return serde_json::from_str::<Value>(value).is_ok_and(|value| value == *item);
    }
    let Some(keys) = step.strip_prefix("k:").and_then(|keys| serde_json::from_str::<Map<String, Value>>(keys).ok()) else {
        return false;
    };
    let Value::Object(fields) = item else { return false };
    let known = keys.iter().filter_map(|(key, value)| Some(fields.get(key)? == value)).collect::<Vec<_>>();
    !known.is_empty() && known.into_iter().all(|equal| equal)
}

/// A value without what others own inside it.
fn without(value: &Value, others: &FieldSet) -> Value {
    match value {
        Value::Object(fields) => {
            let mut own = Map::new();
            for (name, value) in fields {
                match others.below.get(&format!("f:{name}")) {
                    Some(theirs) if theirs.member && theirs.below.is_empty() => {}
                    Some(theirs) => drop(own.insert(name.clone(), without(value, theirs))),
                    None => drop(own.insert(name.clone(), value.clone())),
                }
            }
            Value::Object(own)
        }
        _ => value.clone(),
    }
}

/// Takes a field out of an object; whether it was there. The item of a list goes as a whole.
pub(crate) fn take_out(object: &mut Value, path: &[String]) -> bool {
    let Some((last, way)) = path.split_last() else { return false };
    let mut at = object;
    for step in way {
        let Some(next) = follow_mut(at, step) else { return false };
        at = next;
    }
    match at {
        Value::Object(fields) => last.strip_prefix("f:").is_some_and(|name| fields.remove(name).is_some()),
        Value::Array(items) => {
            let found = items.iter().position(|item| is_at(item, last));
            found.is_some_and(|index| !items.remove(index).is_null())
        }
        _ => false,
    }
}

/// Puts a value where a field is, if what holds it is there.
pub(crate) fn put(object: &mut Value, path: &[String], value: Value) {
    let Some((last, way)) = path.split_last() else { return };
    let mut at = object;
    for step in way {
        let Some(next) = follow_mut(at, step) else { return };
        at = next;
    }
    match (&mut *at, last.strip_prefix("f:")) {
        (Value::Object(fields), Some(name)) => drop(fields.insert(name.into(), value)),
        _ => {
            if let Some(item) = follow_mut(at, last) {
                *item = value;
            }
        }
    }
}

fn follow_mut<'a>(value: &'a mut Value, step: &str) -> Option<&'a mut Value> {
    match value {
        Value::Object(fields) => fields.get_mut(step.strip_prefix("f:")?),
        Value::Array(items) => match step.strip_prefix("i:") {
            Some(index) => items.get_mut(index.parse::<usize>().ok()?),
            None => items.iter_mut().find(|item| is_at(item, step)),
        },
        _ => None,
    }
}

/// What an object has at a field.
pub(crate) fn value_at<'a>(object: &'a Value, path: &[String]) -> Option<&'a Value> {
    path.iter().try_fold(object, |value, step| follow(value, step))
}

/// A field as the API server writes it in its messages: `.spec.containers[name="web"].image`.
pub fn display(path: &[String]) -> String {
    let mut text = String::new();
    for step in path {
        let (kind, rest) = step.split_at_checked(2).unwrap_or(("", step));
        match kind {
            "f:" => {
                text.push('.');
                text.push_str(rest);
            }
            "k:" => {
                let keys: Map<String, Value> = serde_json::from_str(rest).unwrap_or_default();
                let keys: Vec<_> = keys.iter().map(|(key, value)| format!("{key}={value}")).collect();
                text.push_str(&format!("[{}]", keys.join(",")));
            }
            "v:" => text.push_str(&format!("[={rest}]")),
            _ => text.push_str(&format!("[{rest}]")),
        }
    }
    tk8s_core::printable(&text, 300)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn set(value: Value) -> FieldSet {
        FieldSet::read(&value)
    }

    fn deployment() -> FieldSet {
        set(json!({"f:spec": {"f:replicas": {}, "f:template": {"f:spec": {"f:containers": {
            "k:{\"name\":\"web\"}": {".": {}, "f:name": {}, "f:image": {}, "f:ports": {
                "k:{\"containerPort\":80,\"protocol\":\"TCP\"}": {".": {}, "f:containerPort": {}}}}}}}}}))
    }

    fn path(steps: &[&str]) -> Path {
        steps.iter().map(|step| (*step).to_owned()).collect()
    }

    #[test]
    fn one_set_in_two_spellings_is_one_set() {
        let spaced = set(json!({"f:a": {"k:{ \"b\": 1, \"a\": \"x\" }": {".": {}, "f:b": {}}}}));
        let dense = set(json!({"f:a": {"k:{\"a\":\"x\",\"b\":1}": {"f:b": {}, ".": {}}}}));
        assert_eq!(spaced, dense);
        assert_eq!(FieldSet::read(&deployment().to_value()), deployment());
    }

    #[test]
    fn what_is_owned_is_told_as_the_api_server_tells_it() {
        let leaves: Vec<_> = deployment().leaves().iter().map(|path| display(path)).collect();
        assert_eq!(
            leaves,
            [
                ".spec.replicas",
                ".spec.template.spec.containers[name=\"web\"].image",
                ".spec.template.spec.containers[name=\"web\"].name",
                ".spec.template.spec.containers[name=\"web\"].ports[containerPort=80,protocol=\"TCP\"].containerPort",
            ]
        );
    }

    #[test]
    fn the_projection_is_about_our_fields_only() {
        let live = |image: &str, other: u64| {
            json!({"spec": {"replicas": 3, "paused": other == 1, "template": {"spec": {"containers": [
                {"name": "sidecar", "image": "s", "n": other},
                {"name": "web", "image": image, "ports": [{"containerPort": 80, "protocol": "TCP", "hostPort": other}]}]}}}})
        };
        let project = |object: &Value| deployment().project(object, &FieldSet::default());
        assert_eq!(project(&live("a", 1)), project(&live("a", 2)));
        assert_ne!(project(&live("a", 1)), project(&live("b", 1)));
        // A field that is gone is not as it was.
        assert_ne!(project(&json!({})), project(&live("a", 1)));
    }

    #[test]
    fn what_others_own_inside_a_map_of_ours_is_not_ours() {
        let ours = set(json!({"f:spec": {"f:emptyDir": {}}}));
        let theirs = set(json!({"f:spec": {"f:emptyDir": {"f:sizeLimit": {}}}}));
        let (empty, limited) = (json!({"spec": {"emptyDir": {}}}), json!({"spec": {"emptyDir": {"sizeLimit": "1Gi"}}}));
        assert_eq!(ours.project(&empty, &FieldSet::default()), ours.project(&limited, &theirs));
        assert_ne!(ours.project(&empty, &FieldSet::default()), ours.project(&limited, &FieldSet::default()));
    }

    #[test]
    fn a_field_is_found_taken_out_and_put_back_through_keyed_lists() {
        let image = path(&["f:spec", "f:containers", "k:{\"name\":\"web\"}", "f:image"]);
        let mut object = json!({"spec": {"containers": [{"name": "x"}, {"name": "web", "image": "a"}]}});
        assert_eq!(value_at(&object, &image), Some(&json!("a")));
        put(&mut object, &image, json!("b"));
        assert_eq!(object["spec"]["containers"][1]["image"], "b");
        assert!(take_out(&mut object, &image) && !take_out(&mut object, &image));
        assert_eq!(object, json!({"spec": {"containers": [{"name": "x"}, {"name": "web"}]}}));
        assert!(take_out(&mut object, &image[..3]));
        assert_eq!(object, json!({"spec": {"containers": [{"name": "x"}]}}));
        // The protocol is filled in by the API server.
        let port = path(&["f:ports", "k:{\"containerPort\":80,\"protocol\":\"TCP\"}", "f:name"]);
        assert_eq!(value_at(&json!({"ports": [{"containerPort": 80, "name": "http"}]}), &port), Some(&json!("http")));
    }

    #[test]
    fn a_pointer_becomes_a_path_by_the_keys_that_others_use() {
        let object = json!({"spec": {"template": {"spec": {"containers": [{"name": "web", "image": "a"}]}}, "a/b": 1}});
        let found = deployment().path_of_pointer(&object, "/spec/template/spec/containers/0/image").map(|path| display(&path));
        assert_eq!(found.as_deref(), Some(".spec.template.spec.containers[name=\"web\"].image"));
        assert_eq!(deployment().path_of_pointer(&object, "/spec/a~1b"), Some(path(&["f:spec", "f:a/b"])));
        assert_eq!(deployment().path_of_pointer(&object, "/spec/nowhere"), None);
    }

    fn any_set() -> impl Strategy<Value = Value> {
        let step =
            prop_oneof!["f:[ab]", Just("k:{\"n\":1}".to_owned()), Just("v:2".into()), Just("i:0".into()), Just(".".into())];
        let leaf = Just(json!({}));
        leaf.prop_recursive(4, 30, 4, move |inner| {
            prop::collection::btree_map(step.clone(), inner, 0..4).prop_map(|fields| {
                Value::Object(fields.into_iter().map(|(k, v)| (k, if v.is_null() { json!({}) } else { v })).collect())
            })
        })
    }

    proptest! {
        #[test]
        fn sets_obey_the_laws_of_sets(a in any_set(), b in any_set()) {
            let (a, b) = (set(a), set(b));
            let both = a.with(&b);
            for leaf in a.leaves().iter().chain(&b.leaves()) {
                prop_assert!(both.contains(leaf));
                prop_assert_eq!(a.common(&b).contains(leaf), a.contains(leaf) && b.contains(leaf));
                prop_assert_eq!(a.minus(&b).contains(leaf), a.contains(leaf) && !b.contains(leaf));
            }
            prop_assert_eq!(FieldSet::read(&a.to_value()), a.clone());
            prop_assert!(a.minus(&a).is_empty());
        }
    }
}
