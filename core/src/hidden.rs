//! What must not be told of what others say: the values of a set's Secrets, and of the fields that its objects say are secret.

use base64ct::{Base64, Encoding as _};
use zeroize::Zeroizing;

use crate::{Placed, SecretFields};

/// Shorter values are words of everyday, and guessed as soon as hidden.
const SHORTEST: usize = 4;
/// Lines of a value are hidden by themselves too, if they are at least so long.
const SHORTEST_LINE: usize = 8;
/// What stands in the place of a value.
const MASKED: &str = "(masked)";

/// Values that are taken out of texts, the longest first: one may be part of another. Wiped from memory when dropped.
#[derive(Default)]
pub struct Hidden(Vec<Zeroizing<String>>);

impl Hidden {
    /// The secrets of these objects.
    pub fn of(objects: &[Placed]) -> Hidden {
        let mut hidden = Hidden::default();
        for placed in objects {
            let manifest = &placed.manifest;
            if manifest.is_secret() {
                let data = manifest.object().get("data").and_then(|data| data.as_object());
                data.into_iter().flat_map(|data| data.values()).filter_map(|value| value.as_str()).for_each(|encoded| {
                    hidden.add(encoded);
                    if let Some(text) = Base64::decode_vec(encoded).ok().and_then(|bytes| String::from_utf8(bytes).ok()) {
                        hidden.add(&Zeroizing::new(text));
                    }
                });
            }
            if manifest.annotation(crate::SECRET_FIELDS_ANNOTATION).is_some() {
                let mut object = manifest.to_value();
                let mut take = |value: &mut serde_json::Value| hidden.add(value.as_str().unwrap_or_default());
                SecretFields::of(&object.clone()).each(&mut object, &mut take);
            }
        }
        hidden.0.sort_by(|a, b| b.len().cmp(&a.len()).then_with(|| a.as_str().cmp(b.as_str())));
        hidden.0.dedup();
        hidden
    }

    fn add(&mut self, text: &str) {
        let whole = Some(text.trim()).filter(|text| text.len() >= SHORTEST);
        let lines = text.lines().map(str::trim).filter(|line| line.len() >= SHORTEST_LINE);
        self.0.extend(whole.into_iter().chain(lines).map(|text| Zeroizing::new(text.to_owned())));
    }

    /// A text without them.
    pub fn mask(&self, text: &str) -> String {
        self.0.iter().fold(text.to_owned(), |text, value| match text.contains(value.as_str()) {
            true => text.replace(value.as_str(), MASKED),
            false => text,
        })
    }
}

impl std::fmt::Debug for Hidden {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Hidden({})", self.0.len())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{Manifest, Origin};

    #[test]
    fn values_of_secrets_and_of_secret_fields_are_taken_out_whole_by_line_and_encoded() {
        let placed =
            |object| Placed { layer: "1-a".parse().unwrap(), manifest: Manifest::new(object, Origin::default()).unwrap() };
        let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"},
            "stringData": {"password": "hunter2", "longer": "hunter2-and-more", "key": "-----BEGIN\nabcdefgh12\n", "pin": "12"}});
        let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "data": {"token": "s3cr3t-token", "open": "plain-value"},
            "metadata": {"name": "m", "annotations": {crate::SECRET_FIELDS_ANNOTATION: r#"["/data/token"]"#}}});
        let hidden = Hidden::of(&[placed(secret), placed(map)]);
        for (text, shown) in [
            ("login with hunter2-and-more failed", "login with (masked) failed"),
            ("hunter2 aHVudGVyMg== 12", "(masked) (masked) 12"),
            ("read abcdefgh12 of the key", "read (masked) of the key"),
            ("s3cr3t-token plain-value", "(masked) plain-value"),
        ] {
            assert_eq!(hidden.mask(text), shown);
        }
        assert_eq!(Hidden::default().mask("hunter2"), "hunter2");
    }
}
