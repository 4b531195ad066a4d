//! Secrets, masked at the first moment: values become keyed hashes, so that equal ones look equal, changed ones look
//! changed, and none can be guessed.

use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::Value;
use sha2::Sha256;

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

    /// The object without its secrets. Anything that is no Secret only loses kubectl's own copy of it.
    pub fn mask(&self, mut object: Value) -> Value {
        if let Some(Value::Object(annotations)) = object.pointer_mut("/metadata/annotations") {
            annotations.remove(LAST_APPLIED);
        }
        if object["kind"] == "Secret" && object["apiVersion"] == "v1" {
            for field in ["data", "stringData"] {
                if let Some(Value::Object(data)) = object.get_mut(field) {
                    for value in data.values_mut() {
                        *value = self.hide(value).into();
                    }
                }
            }
        }
        object
    }

    fn hide(&self, value: &Value) -> String {
        let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.0).expect("because HMAC takes keys of any length");
        mac.update(text.as_bytes());
        format!("(masked {})", hex::encode(&mac.finalize().into_bytes()[..6]))
    }
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
}
