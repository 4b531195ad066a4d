//! What a program sees in the place of decrypted values, and how the values come back into what it wrote.
//!
//! A placeholder is a keyed hash of the value and its place, under the file's own key: the same value gives the same text, so
//! that names which follow a content (kustomize's hashes) do; it tells nothing to whoever has not the key. It is one word of
//! letters and digits, and nothing that cuts at those runs beside it. One that comes back changed is an error, never an object.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::Value;
use sha2::Sha256;

use super::value::DataKey;

/// What every placeholder begins with.
const MARK: &str = "tk8sSealed";
/// With the hash behind it.
const LENGTH: usize = MARK.len() + 64;

/// Placeholders, and what they stand for.
#[derive(Default)]
pub(crate) struct Placeholders(BTreeMap<String, Stood>);

enum Stood {
    Value(Value),
    Bytes(Vec<u8>),
}

impl Stood {
    fn bytes(&self) -> Vec<u8> {
        match self {
            Stood::Value(Value::String(text)) => text.clone().into_bytes(),
            Stood::Value(other) => other.to_string().into_bytes(),
            Stood::Bytes(bytes) => bytes.clone(),
        }
    }
}

impl Placeholders {
    /// The text that stands for a value at a place of a file.
    pub(super) fn of_value(&mut self, key: &DataKey, place: &str, value: &Value) -> String {
        let name = name(key, place, value.to_string().as_bytes());
        self.0.insert(name.clone(), Stood::Value(value.clone()));
        name
    }

    /// The text that stands for a whole file.
    pub(super) fn of_bytes(&mut self, key: &DataKey, place: &str, bytes: Vec<u8>) -> String {
        let name = name(key, place, &bytes);
        let stood =
            String::from_utf8(bytes).map_or_else(|error| Stood::Bytes(error.into_bytes()), |text| Stood::Value(text.into()));
        self.0.insert(name.clone(), stood);
        name
    }

    /// Whether there is none.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Puts the values back into an object, and gives where they are, as JSON pointers.
    pub(crate) fn put_back(&self, value: &mut Value) -> Result<Vec<String>, String> {
        let mut secrets = Vec::new();
        self.descend(value, "", &mut secrets)?;
        Ok(secrets)
    }

    fn descend(&self, value: &mut Value, pointer: &str, secrets: &mut Vec<String>) -> Result<(), String> {
        match value {
            Value::Object(fields) => fields.iter_mut().try_for_each(|(name, value)| {
                if holds_mark(name) {
                    return Err(format!("`{pointer}`: a decrypted value became the name of a field"));
                }
                self.descend(value, &format!("{pointer}/{}", name.replace('~', "~0").replace('/', "~1")), secrets)
            }),
            Value::Array(items) => {
                items.iter_mut().enumerate().try_for_each(|(at, item)| self.descend(item, &format!("{pointer}/{at}"), secrets))
            }
            Value::String(text) => {
                if let Some(back) = self.restore(text).map_err(|problem| format!("`{pointer}`: {problem}"))? {
                    secrets.push(pointer.into());
                    *value = back;
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// What a text becomes; none if nothing stands in it.
    fn restore(&self, text: &str) -> Result<Option<Value>, &'static str> {
        if let Some(Stood::Value(value)) = self.0.get(text) {
            return Ok(Some(value.clone()));
        }
        if let Some(bytes) = self.replaced(text.as_bytes())? {
            let text = "bytes that are no text can't stand in this field: make it a file of a `secretGenerator`";
            return String::from_utf8(bytes).map(|text| Some(text.into())).map_err(|_| text);
        }
        // As generators of Secrets write it, in lines.
        let packed: String = text.split_ascii_whitespace().collect();
        if let Ok(decoded) = STANDARD.decode(&packed)
            && let Some(bytes) = self.replaced(&decoded)?
        {
            return Ok(Some(STANDARD.encode(bytes).into()));
        }
        if holds_mark(text) {
            Err("a decrypted value was cut or encoded, so it can't be put back: use it as it is")
        } else {
            Ok(None)
        }
    }

    /// The bytes with every placeholder in them replaced; none if there is none.
    fn replaced(&self, bytes: &[u8]) -> Result<Option<Vec<u8>>, &'static str> {
        let mut out = Vec::new();
        let mut left = bytes;
        let mut found = false;
        while let Some(at) = left.windows(MARK.len()).position(|window| window == MARK.as_bytes()) {
            let name = left.get(at..at + LENGTH).and_then(|name| std::str::from_utf8(name).ok());
            let stood = name.and_then(|name| self.0.get(name)).ok_or("a decrypted value was cut, so it can't be put back")?;
            out.extend_from_slice(&left[..at]);
            out.extend_from_slice(&stood.bytes());
            left = &left[at + LENGTH..];
            found = true;
        }
        out.extend_from_slice(left);
        Ok(found.then_some(out))
    }
}

fn name(key: &DataKey, place: &str, value: &[u8]) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(&**key).expect("because HMAC takes keys of any length");
    for part in [b"tk8s placeholder".as_slice(), place.as_bytes(), value] {
        mac.update(&(part.len() as u64).to_be_bytes());
        mac.update(part);
    }
    format!("{MARK}{}", hex::encode(mac.finalize().into_bytes()))
}

/// Whether something of a placeholder stands in a text, in any case of letters, or in base64 at any of its three phases.
fn holds_mark(text: &str) -> bool {
    let encoded = |phase: usize| {
        let shifted = STANDARD.encode([&vec![0; phase], MARK.as_bytes()].concat());
        // The first letters depend on what is before it, the last on what follows.
        let first = [0, 2, 3][phase];
        shifted.trim_end_matches('=').get(first..(phase + MARK.len()) * 8 / 6).unwrap_or_default().to_owned()
    };
    let lower = text.to_ascii_lowercase();
    lower.contains(&MARK.to_ascii_lowercase()) || (0..3).any(|phase| text.contains(&encoded(phase)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use zeroize::Zeroizing;

    use super::*;

    fn placeholders() -> (Placeholders, String, String) {
        let mut all = Placeholders::default();
        let key = Zeroizing::new([7; 32]);
        let text = all.of_value(&key, "a.yaml#/password", &json!("hunter2"));
        let number = all.of_value(&key, "a.yaml#/port", &json!(8080));
        (all, text, number)
    }

    #[test]
    fn values_come_back_with_their_type_inside_longer_texts_and_in_base64() {
        let (all, text, number) = placeholders();
        let wrapped = STANDARD.encode(format!("user=app\npassword={text}\n"));
        let lines = wrapped.as_bytes().chunks(70).map(|line| String::from_utf8_lossy(line).into_owned()).collect::<Vec<_>>();
        let mut object = json!({"exact": text, "port": number, "url": format!("db://app:{text}@db:{number}/x"), "data": lines.join("\n"), "plain": "x"});
        let secrets = all.put_back(&mut object).unwrap();
        assert_eq!(secrets, ["/data", "/exact", "/port", "/url"]);
        assert_eq!(object["exact"], "hunter2");
        assert_eq!(object["port"], 8080);
        assert_eq!(object["url"], "db://app:hunter2@db:8080/x");
        assert_eq!(object["data"], STANDARD.encode("user=app\npassword=hunter2\n"));
        assert_eq!(object["plain"], "x");
    }

    #[test]
    fn what_was_cut_or_encoded_is_an_error_and_never_an_object() {
        let (all, text, _) = placeholders();
        let twice = STANDARD.encode(STANDARD.encode(&text));
        for (name, changed) in [
            ("cut at the end", text[..text.len() - 1].to_owned()),
            ("cut far", text[..12].into()),
            ("upper case", text.to_uppercase()),
            ("another", text.replace(&text[20..], &"0".repeat(text.len() - 20))),
            ("cut in base64", STANDARD.encode(&text[..40])),
            ("base64 in a text", format!("token: {}", STANDARD.encode(&text))),
            ("base64 at another phase", format!("token: {}", STANDARD.encode(format!("a{text}")))),
            ("base64 at the third phase", format!("token: {}", STANDARD.encode(format!("ab{text}")))),
        ] {
            assert!(all.put_back(&mut json!({"a": [changed]})).is_err(), "{name}");
        }
        assert!(all.put_back(&mut json!({ text: 1 })).is_err());
        // What no generator does is not looked for.
        assert!(all.put_back(&mut json!({"a": twice})).is_ok());
    }

    #[test]
    fn a_placeholder_follows_value_and_place_and_key_and_nothing_else() {
        let name = |key: u8, place: &str, value: &str| {
            Placeholders::default().of_value(&Zeroizing::new([key; 32]), place, &json!(value))
        };
        assert_eq!(name(1, "a", "x"), name(1, "a", "x"));
        for other in [name(2, "a", "x"), name(1, "b", "x"), name(1, "a", "y")] {
            assert_ne!(other, name(1, "a", "x"));
        }
        assert!(name(1, "a", "x").chars().all(|letter| letter.is_ascii_alphanumeric()));
    }
}
