//! One Kubernetes object as somebody wants it: parsed once, normalised, and from then on only read.

use std::fmt;
use std::sync::Arc;

use base64ct::Encoding as _;
use serde::Serialize;
use serde_json::{Map, Value};

use crate::{
    COMPONENT_LABEL, ComponentName, Digest, GroupVersionKind, INSTANCE_LABEL, InstanceName, LAYER_LABEL, ObjectKey, printable,
};

/// Where a manifest was read: the file, and the line on which its document begins.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Origin {
    /// The path inside the repository.
    pub file: Arc<str>,
    /// The first line of the document, from 1; 0 where there are no lines.
    pub line: usize,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => f.write_str(&self.file),
            line => write!(f, "{}:{line}", self.file),
        }
    }
}

/// Why a document is not a manifest. Messages never quote values: they could be secrets.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{origin}: {problem}")]
pub struct ManifestError {
    /// Where it stands.
    pub origin: Origin,
    /// What is wrong with it.
    pub problem: String,
}

/// An object that somebody wants in the cluster. Has `apiVersion`, `kind` and `metadata.name`; has no `status`, no
/// `stringData` and none of the fields that only the API server sets.
#[derive(Clone, PartialEq)]
pub struct Manifest {
    object: Map<String, Value>,
    kind: GroupVersionKind,
    key: ObjectKey,
    origin: Origin,
}

/// Fields of `metadata` that the API server owns and that exported manifests often carry: dropped.
const DROPPED_METADATA: &[&str] = &["creationTimestamp", "generation", "selfLink"];
/// Fields of `metadata` that would change the meaning of an apply: refused.
const REFUSED_METADATA: &[&str] = &["uid", "resourceVersion", "managedFields", "deletionTimestamp", "deletionGracePeriodSeconds"];

/// How many wrong keys of a map are named.
const MOST_TOLD: usize = 10;

impl Manifest {
    /// Reads one document. `List` kinds are not manifests: whoever reads files takes them apart first.
    pub fn new(value: Value, origin: Origin) -> Result<Manifest, ManifestError> {
        let fail = |problem: String| ManifestError { origin: origin.clone(), problem };
        let Value::Object(mut object) = value else {
            return Err(fail("the document is not a mapping: a Kubernetes object is needed".into()));
        };
        let api_version = required(&object, "apiVersion").map_err(&fail)?.to_owned();
        let kind_name = required(&object, "kind").map_err(&fail)?.to_owned();
        let kind = GroupVersionKind::new(&api_version, &kind_name);
        object.remove("status");
        let metadata = match object.get_mut("metadata") {
            Some(Value::Object(metadata)) => metadata,
            Some(_) => return Err(fail(format!("{kind_name}: `metadata` is not a mapping"))),
            None => return Err(fail(format!("{kind_name}: `metadata` is missing"))),
        };
        if metadata.contains_key("generateName") {
            return Err(fail(format!(
                "{kind_name}: `metadata.generateName` is refused: each apply would make another object; write `metadata.name`"
            )));
        }
        for field in DROPPED_METADATA {
            metadata.remove(*field);
        }
        let refused: Vec<_> = REFUSED_METADATA.iter().filter(|field| metadata.contains_key(**field)).collect();
        if !refused.is_empty() {
            let fields = refused.iter().map(|field| format!("`metadata.{field}`")).collect::<Vec<_>>().join(", ");
            let (are, them) = if refused.len() == 1 { ("is", "it") } else { ("are", "them") };
            return Err(fail(format!("{kind_name}: {fields} {are} set by the API server: remove {them}")));
        }
        let name = required(metadata, "name").map_err(|problem| fail(format!("{kind_name}: metadata: {problem}")))?.to_owned();
        let namespace = match metadata.get("namespace") {
            None | Some(Value::Null) => None,
            Some(Value::String(namespace)) if namespace.is_empty() => None,
            Some(Value::String(namespace)) => Some(namespace.clone()),
            Some(_) => return Err(fail(format!("{kind_name} {}: `metadata.namespace` is not a string", printable(&name, 80)))),
        };
        if namespace.is_none() {
            metadata.remove("namespace");
        }
        for (field, text) in [("apiVersion", api_version.as_str()), ("kind", &kind_name), ("name", &name)]
            .into_iter()
            .chain(namespace.as_deref().map(|n| ("namespace", n)))
        {
            let valid = match field {
                "apiVersion" => text.split('/').count() <= 2 && text.split('/').all(is_path_segment),
                _ => is_path_segment(text),
            };
            if text.len() > 253 || !valid {
                return Err(fail(format!("{}: `{field}` is not a valid name", printable(&kind_name, 80))));
            }
        }
        let wrong = ["labels", "annotations"].into_iter().filter_map(|field| {
            let problem = check_strings(metadata.get(field)?).err()?;
            Some(format!("`metadata.{field}` {problem}"))
        });
        let wrong: Vec<_> = wrong.collect();
        if !wrong.is_empty() {
            return Err(fail(format!("{kind_name} {name}: {}", wrong.join("; "))));
        }
        let key = ObjectKey { group: kind.group.clone(), kind: kind_name.clone(), namespace, name };
        if key.group.is_empty() && key.kind == "Secret" {
            fold_string_data(&mut object).map_err(|problem| fail(format!("Secret {}: {problem}", key.name)))?;
        }
        Ok(Manifest { object, kind, key, origin })
    }

    /// What identifies the object.
    pub fn key(&self) -> &ObjectKey {
        &self.key
    }

    /// Group, version and kind as the manifest states them.
    pub fn kind(&self) -> &GroupVersionKind {
        &self.kind
    }

    /// Where it was read.
    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    /// The fields. They may hold secrets: nothing of them goes into a log or an error.
    pub fn object(&self) -> &Map<String, Value> {
        &self.object
    }

    /// The fields as one JSON value.
    pub fn to_value(&self) -> Value {
        Value::Object(self.object.clone())
    }

    /// A label, if it is set.
    pub fn label(&self, name: &str) -> Option<&str> {
        self.metadata_string("labels", name)
    }

    /// An annotation, if it is set.
    pub fn annotation(&self, name: &str) -> Option<&str> {
        self.metadata_string("annotations", name)
    }

    /// The value of `tk8s.io/layer`, label before annotation.
    pub fn layer(&self) -> Option<&str> {
        self.label(LAYER_LABEL).or_else(|| self.annotation(LAYER_LABEL))
    }

    /// Whether the values of this object are secret.
    pub fn is_secret(&self) -> bool {
        self.key.group.is_empty() && self.key.kind == "Secret"
    }

    /// The same object in this namespace, if it names none.
    pub fn in_namespace(mut self, namespace: &str) -> Manifest {
        if self.key.namespace.is_none() {
            self.key.namespace = Some(namespace.into());
            self.metadata().insert("namespace".into(), namespace.into());
        }
        self
    }

    /// The same object without a namespace: for cluster-scoped kinds, on which the API server would refuse one.
    pub fn without_namespace(mut self) -> Manifest {
        self.key.namespace = None;
        self.metadata().remove("namespace");
        self
    }

    /// The same object with the two labels that say who owns it.
    pub fn owned_by(mut self, instance: &InstanceName, component: &ComponentName) -> Manifest {
        let labels = self.metadata().entry("labels").or_insert_with(|| Value::Object(Map::new()));
        if !labels.is_object() {
            *labels = Value::Object(Map::new());
        }
        if let Value::Object(labels) = labels {
            labels.insert(INSTANCE_LABEL.into(), instance.as_str().into());
            labels.insert(COMPONENT_LABEL.into(), component.as_str().into());
        }
        self
    }

    /// The digest of the object's canonical JSON: equal digests mean equal objects, whatever file they came from.
    pub fn digest(&self) -> Digest {
        Digest::of(canonical_json(&Value::Object(self.object.clone())))
    }

    fn metadata(&mut self) -> &mut Map<String, Value> {
        match self.object.get_mut("metadata") {
            Some(Value::Object(metadata)) => metadata,
            _ => unreachable!("because `Manifest::new` refuses an object without a `metadata` mapping"),
        }
    }

    fn metadata_string(&self, field: &str, name: &str) -> Option<&str> {
        self.object.get("metadata")?.get(field)?.get(name)?.as_str()
    }
}

impl fmt::Debug for Manifest {
    /// The key and the origin; never a value.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Manifest({} from {})", self.key, self.origin)
    }
}

fn required<'a>(object: &'a Map<String, Value>, field: &str) -> Result<&'a str, String> {
    match object.get(field) {
        Some(Value::String(text)) if !text.is_empty() => Ok(text),
        Some(Value::Null) | None => Err(format!("`{field}` is missing")),
        Some(Value::String(_)) => Err(format!("`{field}` is empty")),
        Some(_) => Err(format!("`{field}` is not a string: put it in quotes")),
    }
}

fn check_strings(value: &Value) -> Result<(), String> {
    match value {
        Value::Null => Ok(()),
        Value::Object(map) => {
            let wrong = map.iter().filter(|(_, value)| !value.is_string()).map(|(name, _)| format!("`{}`", printable(name, 80)));
            let (told, more) = (wrong.clone().take(MOST_TOLD).collect::<Vec<_>>(), wrong.count().saturating_sub(MOST_TOLD));
            match (told.as_slice(), more) {
                ([], _) => Ok(()),
                ([one], _) => Err(format!("holds {one}, which is not a string: put it in quotes")),
                (_, 0) => Err(format!("holds {}, which are not strings: put them in quotes", told.join(", "))),
                _ => Err(format!("holds {} and {more} more, which are not strings: put them in quotes", told.join(", "))),
            }
        }
        _ => Err("is not a mapping".into()),
    }
}

/// `stringData` is a convenience for writers that the API server folds into `data`. Folded here, so that the fields we
/// own are the fields we sent.
fn fold_string_data(object: &mut Map<String, Value>) -> Result<(), String> {
    let Some(plain) = object.remove("stringData") else { return Ok(()) };
    let plain = match plain {
        Value::Null => return Ok(()),
        Value::Object(plain) => plain,
        _ => return Err("`stringData` is not a mapping".into()),
    };
    let data = object.entry("data").or_insert(Value::Null);
    if data.is_null() {
        *data = Value::Object(Map::new());
    }
    let Value::Object(data) = data else { return Err("`data` is not a mapping".into()) };
    for (name, value) in plain {
        let Value::String(text) = value else {
            return Err(format!("`stringData.{}` is not a string: put it in quotes", printable(&name, 80)));
        };
        data.insert(name, Value::String(base64ct::Base64::encode_string(text.as_bytes())));
    }
    Ok(())
}

/// JSON with sorted keys and no white space: one text for one value.
pub fn canonical_json(value: &Value) -> Vec<u8> {
    fn text(scalar: &(impl Serialize + ?Sized), out: &mut Vec<u8>) {
        serde_json::to_writer(&mut *out, scalar).expect("because a scalar can be written, and memory takes it");
    }
    fn write(value: &Value, out: &mut Vec<u8>) {
        match value {
            Value::Object(map) => {
                let mut entries: Vec<_> = map.iter().collect();
                entries.sort_by_key(|(name, _)| *name);
                out.push(b'{');
                for (position, (name, value)) in entries.into_iter().enumerate() {
                    if position > 0 {
                        out.push(b',');
                    }
                    text(name, out);
                    out.push(b':');
                    write(value, out);
                }
                out.push(b'}');
            }
            Value::Array(items) => {
                out.push(b'[');
                for (position, item) in items.iter().enumerate() {
                    if position > 0 {
                        out.push(b',');
                    }
                    write(item, out);
                }
                out.push(b']');
            }
            scalar => text(scalar, out),
        }
    }
    let mut out = Vec::new();
    write(value, &mut out);
    out
}

/// Whether a text may stand between two slashes of a URL as it is (RFC 3986, `pchar` without escapes). Kubernetes refuses
/// `.`, `..`, `/` and `%`; what it takes besides, nobody calls an object.
fn is_path_segment(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@".contains(&byte);
    !text.is_empty() && text != "." && text != ".." && text.bytes().all(plain)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(value: Value) -> Result<Manifest, String> {
        Manifest::new(value, Origin { file: "a.yaml".into(), line: 3 }).map_err(|e| e.to_string())
    }

    #[test]
    fn a_name_that_means_something_in_a_url_is_no_name() {
        let manifest = |api: &str, kind: &str, namespace: &str, name: &str| {
            let object = serde_json::json!({"apiVersion": api, "kind": kind, "metadata": {"name": name, "namespace": namespace}});
            Manifest::new(object, Origin::default()).map(|_| ()).map_err(|error| error.to_string())
        };
        for good in ["web", "system:node-proxier", "a.b-c_d", "~1"] {
            assert_eq!(manifest("rbac.authorization.k8s.io/v1", "Role", "shop", good), Ok(()), "{good}");
        }
        for bad in ["<app>-config", "a?dryRun=All", "a#b", "a%2f", "a/b", ".", "..", "a`b", "a\"b", "ü", "a b"] {
            assert!(manifest("v1", "ConfigMap", "shop", bad).unwrap_err().contains("`name`"), "{bad}");
            assert!(manifest("v1", "ConfigMap", bad, "web").unwrap_err().contains("`namespace`"), "{bad}");
            assert!(manifest("v1", bad, "shop", "web").unwrap_err().contains("`kind`"), "{bad}");
        }
        for bad in ["a/b/c", "/v1", "v1/", "<v>/v1"] {
            assert!(manifest(bad, "ConfigMap", "shop", "web").unwrap_err().contains("`apiVersion`"), "{bad}");
        }
    }

    #[test]
    fn what_only_the_api_server_sets_is_dropped_or_refused() {
        let manifest = read(json!({"apiVersion": "v1", "kind": "ConfigMap", "status": {}, "metadata": {"name": "a", "namespace": "n", "creationTimestamp": null}})).unwrap();
        assert_eq!(
            manifest.to_value(),
            json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", "namespace": "n"}})
        );
        for field in REFUSED_METADATA {
            let mut metadata = json!({"name": "a"});
            metadata[*field] = json!("x");
            let error = read(json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata})).unwrap_err();
            assert!(error.starts_with("a.yaml:3: ConfigMap: `metadata."), "{error}");
        }
    }

    #[test]
    fn all_that_is_wrong_with_labels_and_annotations_is_named() {
        let many: Map<String, Value> = (10..30).map(|number| (format!("k{number}"), json!(number))).collect();
        let metadata = json!({"name": "a", "labels": {"a": 1, "b": "2", "c": true}, "annotations": many});
        let error = read(json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata})).unwrap_err();
        assert!(error.starts_with("a.yaml:3: ConfigMap a: `metadata.labels` holds `a`, `c`, which are not strings"), "{error}");
        assert!(error.contains("`k18`, `k19` and 10 more, which are not strings"), "{error}");
        let metadata = json!({"name": "a", "uid": "x", "resourceVersion": "1"});
        let error = read(json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata})).unwrap_err();
        assert!(error.contains("`metadata.uid`, `metadata.resourceVersion` are set by the API server: remove them"), "{error}");
    }

    #[test]
    fn string_data_becomes_data_and_wins() {
        let manifest = read(json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "data": {"a": "eA==", "b": "eA=="}, "stringData": {"a": "y"}})).unwrap();
        assert_eq!(manifest.object()["data"], json!({"a": "eQ==", "b": "eA=="}));
        assert!(!manifest.object().contains_key("stringData"));
    }

    #[test]
    fn an_error_names_the_field_and_never_quotes_a_value() {
        for value in [
            json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "stringData": {"k": 12345}}),
            json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s", "annotations": {"k": 12345}}}),
            json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": 12345}}),
            json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"generateName": "12345"}}),
            json!({"kind": "Secret"}),
            json!("12345"),
        ] {
            let error = read(value).unwrap_err();
            assert!(!error.contains("12345"), "{error}");
        }
    }

    #[test]
    fn the_digest_does_not_depend_on_the_order_of_keys() {
        let a: Value =
            serde_json::from_str(r#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"a"},"data":{"x":"1","y":"2"}}"#)
                .unwrap();
        let b: Value =
            serde_json::from_str(r#"{"data":{"y":"2","x":"1"},"metadata":{"name":"a"},"kind":"ConfigMap","apiVersion":"v1"}"#)
                .unwrap();
        assert_eq!(read(a).unwrap().digest(), read(b).unwrap().digest());
    }

    #[test]
    fn debug_shows_no_value() {
        let manifest =
            read(json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "stringData": {"k": "hunter2"}}))
                .unwrap();
        assert_eq!(format!("{manifest:?}"), "Manifest(Secret s from a.yaml:3)");
    }
}
