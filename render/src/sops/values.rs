//! Encrypted files of a chart's values: decrypted in memory, merged as Helm merges them, and given to Helm on its standard
//! input. What comes out of the templates is looked through for them.

use aho_corasick::AhoCorasick;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use serde_json::Value;
use tk8s_core::{Origin, SourceTree, TreePath};
use zeroize::Zeroizing;

use super::{AgeKeys, documents, looks_encrypted, open_documents};
use crate::{Bounds, Error, yaml};

/// Shorter values are too often part of something else.
const SHORTEST: usize = 4;
/// Lines of a value are looked for by themselves, if they are at least so long.
const SHORTEST_LINE: usize = 8;
/// Values that are looked for.
const MOST: usize = 10_000;
/// Bytes of all of them: what looks for them takes some fifty times as much memory.
const MOST_BYTES: usize = 1024 * 1024;

/// The files of values of one chart, the later ones winning.
pub(crate) struct Values {
    /// Plain files before the first encrypted one.
    pub(crate) before: Vec<TreePath>,
    /// From the first encrypted file to the last, merged, as JSON; if one is encrypted.
    pub(crate) merged: Option<Zeroizing<Vec<u8>>>,
    /// Plain files behind the last encrypted one.
    pub(crate) after: Vec<TreePath>,
    /// What was decrypted.
    pub(crate) secrets: Option<Secrets>,
}

impl Values {
    /// Reads files of values, which together may be as large as one file, and decrypts those that are encrypted.
    pub(crate) fn read(tree: &dyn SourceTree, paths: Vec<TreePath>, keys: &AgeKeys, bounds: Bounds) -> Result<Values, Error> {
        let (mut files, mut left) = (Vec::with_capacity(paths.len()), bounds.file);
        for path in paths {
            let bytes = tree.read(&path, left)?;
            left -= bytes.len() as u64;
            files.push((bytes, path));
        }
        let encrypted = |(bytes, _): &(Vec<u8>, TreePath)| looks_encrypted(bytes);
        let (first, last) = (files.iter().position(encrypted), files.iter().rposition(encrypted));
        let (Some(first), Some(last)) = (first, last) else {
            let before = files.into_iter().map(|(_, path)| path).collect();
            return Ok(Values { before, merged: None, after: Vec::new(), secrets: None });
        };
        let mut reader = yaml::Reader::new(yaml::Twice::Refused, bounds.values);
        let (mut all, mut texts) = (Value::Object(Default::default()), Vec::new());
        for (bytes, path) in &files[first..=last] {
            merge(&mut all, one(&mut reader, bytes, path, keys, &mut texts)?);
        }
        let paths = |part: &[(Vec<u8>, TreePath)]| part.iter().map(|(_, path)| path.clone()).collect();
        Ok(Values {
            before: paths(&files[..first]),
            merged: Some(Zeroizing::new(all.to_string().into_bytes())),
            after: paths(&files[last + 1..]),
            secrets: Some(Secrets::new(texts)?),
        })
    }
}

/// One file as one map; what was decrypted is added to `texts`.
fn one(
    reader: &mut yaml::Reader,
    bytes: &[u8],
    path: &TreePath,
    keys: &AgeKeys,
    texts: &mut Vec<String>,
) -> Result<Value, Error> {
    let mut values = Vec::new();
    if looks_encrypted(bytes) {
        let opened = open_documents(bytes, path.as_str(), keys)?;
        for document in documents(&opened)? {
            let secret = document.secrets.iter().filter_map(|pointer| document.value.pointer(pointer));
            texts.extend(secret.map(|value| value.as_str().map_or_else(|| value.to_string(), str::to_owned)));
            values.push(document.value);
        }
    } else {
        values.extend(reader.read(bytes, path.as_str())?.into_iter().map(|(value, _)| value));
    }
    let problem = || "a file of values is one map".into();
    let refuse = || Error::Yaml { origin: Origin { file: path.as_str().into(), line: 1 }, problem: problem() };
    match (values.pop(), values.is_empty()) {
        (None, _) => Ok(Value::Object(Default::default())),
        (Some(value @ Value::Object(_)), true) => Ok(value),
        _ => Err(refuse()),
    }
}

/// As Helm merges files: maps are merged, anything else replaces what was there.
fn merge(into: &mut Value, from: Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (key, value) in from {
                match into.get_mut(&key) {
                    Some(known) if known.is_object() && value.is_object() => merge(known, value),
                    _ => _ = into.insert(key, value),
                }
            }
        }
        (into, from) => *into = from,
    }
}

/// Decrypted texts, to be found again in what templates made of them.
pub(crate) struct Secrets(AhoCorasick);

impl Secrets {
    fn new(texts: Vec<String>) -> Result<Secrets, Error> {
        let bytes = texts.iter().map(String::len).sum();
        for (of, found, limit) in [("values", texts.len(), MOST), ("bytes of values", bytes, MOST_BYTES)] {
            if found > limit {
                let what = format!("decrypted {of} in the files of a chart's values");
                return Err(Error::TooMuch { what, found: found as u64, limit: limit as u64 });
            }
        }
        let mut patterns = Vec::new();
        for text in texts.iter().filter(|text| text.trim().len() >= SHORTEST) {
            let quoted = Value::String(text.trim().into()).to_string();
            patterns.extend([text.trim().to_owned(), quoted[1..quoted.len() - 1].to_owned(), STANDARD_NO_PAD.encode(text)]);
            patterns.extend(text.lines().map(str::trim).filter(|line| line.len() >= SHORTEST_LINE).map(String::from));
        }
        patterns.sort_unstable();
        patterns.dedup();
        let built = AhoCorasick::new(&patterns);
        built.map(Secrets).map_err(|_| Error::Option("the decrypted values of the chart are too long to be looked for".into()))
    }

    /// Where something of them stands in an object, as JSON pointers.
    pub(crate) fn find(&self, value: &Value) -> Vec<String> {
        let mut found = Vec::new();
        self.descend(value, String::new(), &mut found);
        found
    }

    fn descend(&self, value: &Value, pointer: String, found: &mut Vec<String>) {
        match value {
            Value::Object(fields) => fields.iter().for_each(|(name, value)| {
                self.descend(value, format!("{pointer}/{}", name.replace('~', "~0").replace('/', "~1")), found);
            }),
            Value::Array(items) => {
                items.iter().enumerate().for_each(|(index, item)| self.descend(item, format!("{pointer}/{index}"), found));
            }
            Value::Null => {}
            Value::String(text) => found.extend(self.is_in(text).then_some(pointer)),
            other => found.extend(self.0.is_match(&other.to_string()).then_some(pointer)),
        }
    }

    fn is_in(&self, text: &str) -> bool {
        let packed = || STANDARD.decode(text.split_ascii_whitespace().collect::<String>()).ok();
        self.0.is_match(text) || packed().is_some_and(|bytes| self.0.is_match(&bytes))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn maps_are_merged_and_the_rest_is_replaced() {
        let mut all = json!({"a": {"x": 1, "y": [1, 2]}, "b": {"x": 1}, "c": 1});
        merge(&mut all, json!({"a": {"y": [3], "z": null}, "b": 2, "c": {"x": 1}}));
        assert_eq!(all, json!({"a": {"x": 1, "y": [3], "z": null}, "b": 2, "c": {"x": 1}}));
    }

    #[test]
    fn more_decrypted_values_than_can_be_looked_for_are_refused() {
        let refused = |texts: Vec<String>| Secrets::new(texts).err().unwrap().to_string();
        assert!(Secrets::new(vec!["hunter2".into(); MOST]).is_ok());
        let said = refused(vec!["hunter2".into(); MOST + 1]);
        assert!(said.contains("decrypted values") && said.contains("10001, at most 10000"), "{said}");
        let said = refused(vec!["x".repeat(MOST_BYTES + 1)]);
        assert!(said.contains("bytes of values") && said.contains("1048577, at most 1048576"), "{said}");
    }

    #[test]
    fn values_are_found_inside_of_texts_in_base64_and_line_by_line() {
        let secrets = Secrets::new(vec![
            "hunter2".into(),
            "first line\nsecond line\n".into(),
            "12345".into(),
            "abc".into(),
            "a\"quote".into(),
        ])
        .unwrap();
        let object = json!({
            "a": "db://app:hunter2@db", "b": STANDARD.encode("hunter2"), "c": STANDARD.encode("{\"auth\":\"x:hunter2\"}"),
            "d": ["plain", {"e": "  second line"}], "f": 12345, "g": "abc", "h": "{\"k\":\"a\\\"quote\"}", "i": null, "j": "hunter"});
        assert_eq!(secrets.find(&object), ["/a", "/b", "/c", "/d/1/e", "/f", "/h"]);
    }
}
