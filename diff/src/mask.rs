//! Secrets, masked at the first moment: values become keyed hashes, so that equal ones look equal, changed ones look
//! changed, and none can be guessed.

use std::borrow::Cow;

use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::Value;
use sha2::Sha256;
use tk8s_core::SecretFields;

/// kubectl keeps whole manifests here, Secrets included.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// Masks with one key. Cheap to clone.
#[derive(Clone)]
pub struct Masker([u8; 32]);

impl Masker {
    /// A masker with this key.
    pub fn new(key: &[u8; 32]) -> Masker {
        Masker(*key)
    }

    /// The object without its secrets: the values of a Secret, and the fields that the object says are secret. Every object
    /// loses kubectl's own copy of it.
    pub fn mask(&self, object: Value) -> Value {
        self.mask_also(object, &SecretFields::default())
    }

    /// The same, and these fields too: of an object in the cluster somebody may have taken what it said.
    pub fn mask_also(&self, mut object: Value, fields: &SecretFields) -> Value {
        if let Some(Value::Object(annotations)) = object.pointer_mut("/metadata/annotations") {
            annotations.remove(LAST_APPLIED);
        }
        if is_secret(&object) {
            for field in ["data", "stringData"] {
                if let Some(Value::Object(data)) = object.get_mut(field) {
                    for value in data.values_mut() {
                        self.hide(value);
                    }
                }
            }
        }
        let fields = SecretFields::of(&object).and(fields.clone());
        fields.each(&mut object, &mut |value| self.hide(value));
        object
    }

    /// The same of an object that somebody still needs as it is: a copy only where something has to go.
    pub(crate) fn masked<'a>(&self, object: &'a Value, fields: &SecretFields) -> Cow<'a, Value> {
        let copied = object.pointer("/metadata/annotations").is_some_and(|annotations| annotations.get(LAST_APPLIED).is_some());
        match copied || is_secret(object) || !fields.is_empty() || !SecretFields::of(object).is_empty() {
            true => Cow::Owned(self.mask_also(object.clone(), fields)),
            false => Cow::Borrowed(object),
        }
    }

    /// What is masked stays as it is, so that masking twice is masking once.
    fn hide(&self, value: &mut Value) {
        if is_masked(value) {
            return;
        }
        let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.0).expect("because HMAC takes keys of any length");
        mac.update(text.as_bytes());
        *value = format!("(masked {})", hex::encode(&mac.finalize().into_bytes()[..6])).into();
    }
}

fn is_secret(object: &Value) -> bool {
    object["kind"] == "Secret" && object["apiVersion"] == "v1"
}

/// Whether a value is what is left of a secret.
fn is_masked(value: &Value) -> bool {
    let digits = value.as_str().and_then(|text| text.strip_prefix("(masked ")?.strip_suffix(')'));
    digits.is_some_and(|digits| digits.len() == 12 && digits.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

/// Two masked objects as people read them: that there is a secret, and whether it changes. Nothing is left that says more
/// about a value, or that could be compared with a guess or with another day's diff.
pub(crate) fn in_words(live: Option<&mut Value>, planned: &mut Value) {
    say(live.as_deref(), planned);
    if let Some(live) = live {
        say(None, live);
    }
}

fn say(before: Option<&Value>, value: &mut Value) {
    if is_masked(value) {
        let changed = before.is_some_and(|before| before != value);
        *value = if changed { "(masked, changed)" } else { "(masked)" }.into();
        return;
    }
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                say(before.and_then(|before| before.get(name)), value);
            }
        }
        Value::Array(items) => {
            let before = before.and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
            for (index, item) in items.iter_mut().enumerate() {
                // The items of nearly every list have names; without them only the place is left.
                let same = match item.get("name") {
                    Some(name) => before.iter().find(|before| before.get("name") == Some(name)),
                    None => before.get(index),
                };
                say(same, item);
            }
        }
        _ => {}
    }
}

/// The texts that an object says are secret, the longest first: what is looked for in what others say about it.
pub(crate) fn secrets_of(object: &Value) -> Vec<String> {
    let mut texts = Vec::new();
    let fields = SecretFields::of(object);
    if !fields.is_empty() {
        let take = &mut |value: &mut Value| texts.push(value.as_str().map_or_else(|| value.to_string(), str::to_owned));
        fields.each(&mut object.clone(), take);
        texts.retain(|text| !text.is_empty());
        texts.sort_by_key(|text| std::cmp::Reverse(text.len()));
    }
    texts
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn values_of_secrets_are_gone_and_still_comparable() {
        let masker = Masker::new(&[7; 32]);
        let secret = |value: &str| json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"annotations": {LAST_APPLIED: "hunter2"}}, "data": {"k": value}});
        let masked = masker.mask(secret("aHVudGVyMg==")).to_string();
        assert!(!masked.contains("hunter2") && !masked.contains("aHVudGVyMg"), "{masked}");
        assert_eq!(masker.mask(secret("x")), masker.mask(secret("x")));
        assert_ne!(masker.mask(secret("x")), masker.mask(secret("y")));
        let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "data": {"k": "v"}});
        assert_eq!(masker.mask(map.clone()), map);
    }

    #[test]
    fn an_object_is_copied_to_be_masked_only_where_something_has_to_go() {
        let masker = Masker::new(&[7; 32]);
        let object = |kind: &str, annotations: Value| json!({"apiVersion": "v1", "kind": kind, "metadata": {"annotations": annotations}, "data": {"k": "hunter2"}});
        let said = SecretFields::of(&object("Pod", json!({tk8s_core::SECRET_FIELDS_ANNOTATION: r#"["/data/k"]"#})));
        let none = SecretFields::default();
        for (object, fields, copied) in [
            (object("ConfigMap", json!({"a": "b"})), &none, false),
            (json!({"kind": "ConfigMap"}), &none, false),
            (object("ConfigMap", json!({"a": "b"})), &said, true),
            (object("Secret", json!({})), &none, true),
            (object("ConfigMap", json!({LAST_APPLIED: "hunter2"})), &none, true),
            (object("ConfigMap", json!({tk8s_core::SECRET_FIELDS_ANNOTATION: r#"["/data/k"]"#})), &none, true),
            (object("ConfigMap", json!({tk8s_core::SECRET_FIELDS_ANNOTATION: 7})), &none, true),
        ] {
            let masked = masker.masked(&object, fields);
            assert_eq!(*masked, masker.mask_also(object.clone(), fields), "{object}");
            assert_eq!(matches!(masked, Cow::Owned(_)), copied, "{object}");
        }
    }

    #[test]
    fn people_read_that_a_secret_changes_and_nothing_about_what_it_is() {
        let masker = Masker::new(&[7; 32]);
        let secret = |data: Value| masker.mask(json!({"apiVersion": "v1", "kind": "Secret", "data": data}));
        let (mut live, mut planned) =
            (secret(json!({"a": "1", "b": "1", "gone": "1"})), secret(json!({"a": "1", "b": "2", "new": "1"})));
        in_words(Some(&mut live), &mut planned);
        assert_eq!(live["data"], json!({"a": "(masked)", "b": "(masked)", "gone": "(masked)"}));
        assert_eq!(planned["data"], json!({"a": "(masked)", "b": "(masked, changed)", "new": "(masked)"}));
        let pod = |env: Value| {
            let said = r#"["/spec/env/*/value"]"#;
            masker.mask(json!({"kind": "Pod", "metadata": {"annotations": {tk8s_core::SECRET_FIELDS_ANNOTATION: said}}, "spec": {"env": env}}))
        };
        let mut live = pod(json!([{"name": "a", "value": "1"}]));
        let mut planned = pod(json!([{"name": "new", "value": "9"}, {"name": "a", "value": "1"}]));
        in_words(Some(&mut live), &mut planned);
        assert_eq!(planned["spec"]["env"], json!([{"name": "new", "value": "(masked)"}, {"name": "a", "value": "(masked)"}]));
    }

    #[test]
    fn fields_that_an_object_says_are_secret_are_masked_whatever_its_kind_and_only_once() {
        let masker = Masker::new(&[7; 32]);
        let object = |said: &str| {
            json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"annotations": {tk8s_core::SECRET_FIELDS_ANNOTATION: said}},
                "data": {"k": "hunter2", "open": "v"}, "spec": {"port": 8080}})
        };
        let masked = masker.mask(object(r#"["/data/k", "/spec/port"]"#));
        assert!(!masked.to_string().contains("hunter2") && !masked.to_string().contains("8080"), "{masked}");
        assert_eq!(masked["data"]["open"], "v");
        assert_eq!(masker.mask(masked.clone()), masked);
        // Somebody took the annotation off the live object: what is wanted still says it.
        let fields = SecretFields::of(&object(r#"["/data/k", "/spec/port"]"#));
        assert_eq!(masker.mask_also(object("[]"), &fields)["data"], masked["data"]);
    }
}
