//! From documents to manifests, the same way whoever made the documents: lists are taken apart, variables substituted, what is
//! secret is noted on the object, and what is still encrypted is refused.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value};
use tk8s_core::{Manifest, Origin, SECRET_FIELDS_ANNOTATION, SecretFields};

use crate::findings::Findings;
use crate::sops::PREFIX;
use crate::substitute::Substitution;
use crate::{Component, Error, Renderers};

/// What an API server takes as one request, which is the largest object that it can be sent.
const LARGEST_OBJECT: usize = 3 * 1024 * 1024;

/// Collects the manifests of one component.
pub(crate) struct Collector<'a> {
    component: &'a Component,
    substitution: Option<Substitution<'a>>,
    most: usize,
    manifests: Vec<Manifest>,
    /// What is wrong with documents that are no manifests.
    pub(crate) findings: &'a mut Findings,
}

impl<'a> Collector<'a> {
    /// For a component that has no manifest yet.
    pub(crate) fn new(component: &'a Component, renderers: &'a Renderers, findings: &'a mut Findings) -> Collector<'a> {
        let substitution = component.substitute.then(|| Substitution::new(&renderers.variables));
        Collector { component, substitution, most: renderers.bounds.objects, manifests: Vec::new(), findings }
    }

    /// What was collected, in order.
    pub(crate) fn into_manifests(self) -> Vec<Manifest> {
        self.manifests
    }

    /// One document: an object, or a list of them, which is taken apart as kubectl does it: what says no kind takes that of
    /// its list. An error is a limit; what is wrong with the document is noted. `secrets`: where what was decrypted stands in
    /// it, as JSON pointers.
    pub(crate) fn take(&mut self, mut value: Value, secrets: &[String], origin: &Origin) -> Result<(), Error> {
        let Some(of) = list_of(&value) else { return self.push(value, secrets.to_vec(), origin) };
        let version = value.get("apiVersion").and_then(Value::as_str).unwrap_or_default().to_owned();
        let refuse = |problem: &str| Error::Yaml { origin: origin.clone(), problem: format!("a list: {problem}") };
        let items = match value.get_mut("items").map(Value::take) {
            Some(Value::Array(items)) => items,
            Some(Value::Null) => return Ok(()),
            other => {
                let problem = if other.is_some() { "its `items` are no list" } else { NEITHER };
                self.findings.note(refuse(problem));
                return Ok(());
            }
        };
        for (index, mut item) in items.into_iter().enumerate() {
            if list_of(&item).is_some() {
                self.findings.note(refuse("it holds another list, which kubectl refuses: write the items into one"));
                return Ok(());
            }
            if let Value::Object(fields) = &mut item
                && !of.is_empty()
                && !["apiVersion", "kind"].iter().any(|name| fields.contains_key(*name))
            {
                fields.insert("apiVersion".into(), version.as_str().into());
                fields.insert("kind".into(), of.as_str().into());
            }
            let prefix = format!("/items/{index}/");
            let own = secrets.iter().filter_map(|pointer| Some(format!("/{}", pointer.strip_prefix(&prefix)?)));
            self.push(item, own.collect(), origin)?;
        }
        Ok(())
    }

    fn push(&mut self, value: Value, secrets: Vec<String>, origin: &Origin) -> Result<(), Error> {
        let manifest = self.manifest(value, secrets, origin);
        self.manifests.extend(self.findings.keep(manifest));
        if self.manifests.len() > self.most {
            let what = format!("objects in `{}`", self.component.path);
            return Err(Error::TooMuch { what, found: self.manifests.len() as u64, limit: self.most as u64 });
        }
        Ok(())
    }

    fn manifest(&self, mut value: Value, mut secrets: Vec<String>, origin: &Origin) -> Result<Manifest, Error> {
        if let Some(substitution) = &self.substitution {
            substitution.apply(&mut value, &mut secrets, origin)?;
        }
        if let Some(pointer) = still_encrypted(&value) {
            let problem = format!(
                "`{pointer}` is a value that SOPS encrypted, without the metadata that it takes to decrypt it: an encrypted file is \
                 taken whole, as a manifest, as a file that a kustomization names, or by `valuesFiles`"
            );
            return Err(Error::Sealed { origin: origin.clone(), problem });
        }
        if let Some(bytes) = too_large(&value) {
            let problem = format!("an object of {bytes} bytes, as JSON: an API server takes at most {LARGEST_OBJECT} as one");
            return Err(Error::Yaml { origin: origin.clone(), problem });
        }
        note_secrets(&mut value, &secrets);
        Ok(Manifest::new(value, origin.clone())?)
    }
}

/// The size of an object as JSON, if that is more than can be sent.
fn too_large(value: &Value) -> Option<usize> {
    struct Counter(usize);
    impl std::io::Write for Counter {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0 += bytes.len();
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let mut counter = Counter(0);
    serde_json::to_writer(&mut counter, value).ok()?;
    (counter.0 > LARGEST_OBJECT).then_some(counter.0)
}

const NEITHER: &str = "it has neither `items` nor a name: write one of them";

/// The kind of the items, if this is a list; empty where it holds any. With a name it is an object, of a kind that happens
/// to end like one.
fn list_of(value: &Value) -> Option<String> {
    let of = value.get("kind")?.as_str()?.strip_suffix("List")?;
    let named = value.get("metadata").is_some_and(|metadata| metadata.get("name").is_some());
    (of.is_empty() || !named).then(|| of.to_owned())
}

fn is_secret(value: &Value) -> bool {
    value.get("kind").is_some_and(|kind| kind == "Secret") && value.get("apiVersion").is_some_and(|version| version == "v1")
}

/// Writes down on the object which of its fields are secret. The data of a Secret always is.
fn note_secrets(value: &mut Value, secrets: &[String]) {
    let own = |pointer: &&String| !["/data/", "/stringData/"].iter().any(|data| pointer.starts_with(data));
    let secret = is_secret(value);
    let mut fields = SecretFields::default();
    for pointer in secrets.iter().filter(|pointer| !secret || own(pointer)) {
        fields.insert(value, pointer);
    }
    if fields.is_empty() {
        return;
    }
    let fields = fields.and(SecretFields::of(value));
    if let Some(Value::Object(metadata)) = value.get_mut("metadata") {
        let annotations = metadata.entry("annotations").or_insert(Value::Null);
        if annotations.is_null() {
            *annotations = Value::Object(Map::new());
        }
        if let Value::Object(annotations) = annotations {
            annotations.insert(SECRET_FIELDS_ANNOTATION.into(), fields.to_annotation().into());
        }
    }
}

/// Where a value stands that is encrypted still, as a JSON pointer.
fn still_encrypted(value: &Value) -> Option<String> {
    fn find(value: &Value, pointer: String, holds: &impl Fn(&str) -> bool) -> Option<String> {
        match value {
            Value::String(text) => holds(text).then_some(pointer),
            Value::Array(items) => {
                items.iter().enumerate().find_map(|(index, item)| find(item, format!("{pointer}/{index}"), holds))
            }
            Value::Object(fields) => fields.iter().find_map(|(name, value)| find(value, format!("{pointer}/{name}"), holds)),
            _ => None,
        }
    }
    let plain = |text: &str| text.contains(PREFIX);
    let packed = |text: &str| {
        let packed: String = text.split_ascii_whitespace().collect();
        STANDARD.decode(packed).is_ok_and(|bytes| crate::sops::looks_encrypted(&bytes))
    };
    let found = find(value, String::new(), &plain);
    let data = value.get("data").filter(|_| is_secret(value));
    found.or_else(|| data.and_then(|data| find(data, "/data".into(), &packed))).map(|pointer| tk8s_core::printable(&pointer, 200))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_secrets_of_a_list_are_noted_on_its_items() {
        let mut list = json!({"kind": "List", "items": []});
        for name in ["a", "b"] {
            let item =
                json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"k": "x", "open": "y"}});
            list["items"].as_array_mut().unwrap().push(item);
        }
        let (component, renderers) = (crate::component::tests::component(), Renderers::new(Default::default()));
        let mut findings = Findings::default();
        let mut collector = Collector::new(&component, &renderers, &mut findings);
        collector.take(list, &["/items/1/data/k".into()], &Origin::default()).unwrap();
        let noted = collector.into_manifests();
        let noted: Vec<_> = noted.iter().map(|manifest| manifest.annotation(SECRET_FIELDS_ANNOTATION)).collect();
        assert_eq!(noted, [None, Some(r#"["/data/k"]"#)]);
    }

    #[test]
    fn an_object_that_no_api_server_would_take_is_refused_where_it_stands() {
        let object = |bytes: usize| {
            let object = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": {"k": ""}});
            let (mut sized, left) = (object.clone(), bytes - object.to_string().len());
            sized["data"]["k"] = "x".repeat(left).into();
            sized
        };
        let (component, renderers) = (crate::component::tests::component(), Renderers::new(Default::default()));
        let mut findings = Findings::default();
        let mut collector = Collector::new(&component, &renderers, &mut findings);
        collector.take(object(LARGEST_OBJECT), &[], &Origin::default()).unwrap();
        let origin = Origin { file: "a.yaml".into(), line: 7 };
        collector.take(object(LARGEST_OBJECT + 1), &[], &origin).unwrap();
        assert_eq!(collector.into_manifests().len(), 1);
        let refused = findings.end().unwrap_err().to_string();
        assert!(refused.starts_with("a.yaml:7: an object of 3145729 bytes, as JSON"), "{refused}");
    }

    #[test]
    fn what_is_still_encrypted_is_found_also_in_base64_and_inside_longer_texts() {
        let encrypted = "ENC[AES256_GCM,data:AA==,iv:AA==,tag:AA==,type:str]";
        for (object, found) in [
            (json!({"data": {"k": encrypted}}), Some("/data/k")),
            (json!({"spec": [{"k": format!("x {encrypted}")}]}), Some("/spec/0/k")),
            (json!({"apiVersion": "v1", "kind": "Secret", "data": {"k": STANDARD.encode(encrypted)}}), Some("/data/k")),
            (json!({"apiVersion": "v1", "kind": "Secret", "data": {"k": "aGk="}, "x": "ENC[..."}), None),
        ] {
            assert_eq!(still_encrypted(&object).as_deref(), found);
        }
    }
}
