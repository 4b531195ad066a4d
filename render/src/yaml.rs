//! Files to JSON values, as kubectl reads them: split into documents as Kubernetes splits them, each document by libyaml's
//! rules (`libyaml-safer`), each scalar by go-yaml's ([`crate::scalar`]), keys as JSON has them, the last of several equal
//! keys wins.
//!
//! Whatever a file holds, reading it ends soon, in bounded memory, with a value or an error that names file and line.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use libyaml_safer::{Event, EventData, Parser, ScalarStyle};
use serde_json::{Map, Value};
use tk8s_core::{Origin, printable};

use crate::{Error, scalar};

/// Deeper documents are no manifests. Also keeps recursion over values (in JSON, in drops) far from the stack's end.
pub(crate) const DEEPEST: usize = 100;
/// Values that one document may hold once its aliases are written out: enough for the largest objects that an API server
/// takes, far too few for a bomb.
const MOST_VALUES: usize = 2_000_000;
/// As many bytes as a component may have in all.
const MOST_COPIED: usize = 64 * 1024 * 1024;

/// The documents of a file, each with the line on which it begins. Empty documents are left out.
pub(crate) fn read(bytes: &[u8], file: &str) -> Result<Vec<(Value, Origin)>, Error> {
    Ok(read_with(bytes, file, parse)?.into_iter().filter(|(value, _)| !value.is_null()).collect())
}

/// The same, by another reader of one document. The lines of its errors count from 0.
pub(crate) fn read_with<T>(
    bytes: &[u8],
    file: &str,
    parse: impl Fn(&str) -> Result<T, (usize, String)>,
) -> Result<Vec<(T, Origin)>, Error> {
    let file: Arc<str> = file.into();
    let at = |line: usize| Origin { file: Arc::clone(&file), line };
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let line = bytes[..error.valid_up_to()].iter().filter(|byte| **byte == b'\n').count() + 1;
        Error::Yaml { origin: at(line), problem: "it is not UTF-8".into() }
    })?;
    let mut values = Vec::new();
    for (line, document) in split(text) {
        let fail = |(inner, problem): (usize, String)| Error::Yaml { origin: at(line + inner), problem };
        let document = document.trim_start_matches('\u{feff}');
        if document.lines().all(|line| line.trim().is_empty() || line.trim_start().starts_with('#')) {
            continue;
        }
        if let Some((inner, _)) = document.lines().enumerate().find(|(_, line)| line.contains(['\u{85}', '\u{2028}', '\u{2029}']))
        {
            return Err(fail((inner, "it holds a line break that only Unicode knows: write an ordinary one".into())));
        }
        values.push((parse(document).map_err(fail)?, at(line)));
    }
    Ok(values)
}

/// Documents end at lines that begin with `---`; what follows on such a line belongs to the next document.
pub(crate) fn split(text: &str) -> Vec<(usize, &str)> {
    let mut documents = Vec::new();
    let (mut from, mut line, mut first) = (0, 1, 1);
    let mut at = 0;
    for piece in text.split_inclusive('\n') {
        let words = piece.trim_end();
        if at > 0 && (words == "---" || words.starts_with("--- ") || words.starts_with("---\t")) {
            documents.push((first, &text[from..at]));
            (from, first) = (at, line);
        }
        at += piece.len();
        line += 1;
    }
    documents.push((first, &text[from..]));
    documents
}

/// One document. The error's line counts from 0 within it.
fn parse(document: &str) -> Result<Value, (usize, String)> {
    let mut builder = Builder { open: Vec::new(), root: None, anchors: HashMap::new(), values: 0, copied: 0 };
    each_event(document, |event| builder.take(event))?;
    Ok(builder.root.unwrap_or(Value::Null))
}

/// Gives every event of one document to `take`, until it says that it is done. The error's line counts from 0.
pub(crate) fn each_event(document: &str, mut take: impl FnMut(Event) -> Result<bool, String>) -> Result<(), (usize, String)> {
    // As Kubernetes does; also keeps the parser from a place where it is known to panic.
    let text = format!("{document}\n");
    // The parser is known to panic on a few malformed inputs (`[!,`): a panic is an answer too.
    match catch_unwind(AssertUnwindSafe(|| follow(&text, &mut take))) {
        Ok(result) => result,
        Err(_) => Err((0, "it is not YAML: the parser gave up on it".into())),
    }
}

fn follow(text: &str, take: &mut impl FnMut(Event) -> Result<bool, String>) -> Result<(), (usize, String)> {
    let mut input = text.as_bytes();
    let mut parser = Parser::new();
    parser.set_input_string(&mut input);
    let mut last = 0;
    loop {
        let event = parser
            .parse()
            .map_err(|error| (last, format!("it is not YAML: {}", printable(&without_quotes(&error.to_string()), 200))))?;
        let line = event.start_mark.line as usize;
        last = line;
        if take(event).map_err(|problem| (line, problem))? {
            return Ok(());
        }
    }
}

/// A list or map that is not complete yet.
enum Open {
    List { items: Vec<Value>, anchor: Option<String> },
    Map { entries: Map<String, Value>, key: Option<Key>, anchor: Option<String> },
}

enum Key {
    Named(String),
    /// `<<`: its value is merged.
    Merge,
}

/// What has been built, and what it cost.
struct Builder {
    open: Vec<Open>,
    root: Option<Value>,
    anchors: HashMap<String, (Value, Size)>,
    values: usize,
    /// Bytes that aliases and anchors wrote out once more.
    copied: usize,
}

/// The parser's messages quote nothing but marks; whatever stands between quotes is dropped all the same.
fn without_quotes(message: &str) -> String {
    message.split('"').step_by(2).collect::<Vec<_>>().join("…")
}

impl Builder {
    /// Takes one event; true at the end.
    fn take(&mut self, event: Event) -> Result<bool, String> {
        match event.data {
            EventData::StreamEnd => return Ok(true),
            EventData::StreamStart { .. } | EventData::DocumentEnd { .. } => {}
            EventData::DocumentStart { .. } if self.root.is_some() => {
                return Err("a second document begins: separate documents by a line `---`".into());
            }
            EventData::DocumentStart { .. } => {}
            EventData::SequenceStart { anchor, .. } => self.begin(Open::List { items: Vec::new(), anchor })?,
            EventData::MappingStart { anchor, .. } => self.begin(Open::Map { entries: Map::new(), key: None, anchor })?,
            EventData::SequenceEnd | EventData::MappingEnd => match self.open.pop() {
                Some(Open::List { items, anchor }) => self.put(Value::Array(items), anchor, false)?,
                Some(Open::Map { entries, anchor, .. }) => self.put(Value::Object(entries), anchor, false)?,
                None => return Err("it is not YAML".into()),
            },
            EventData::Alias { anchor } => {
                let (value, size) =
                    self.anchors.get(&anchor).cloned().ok_or("an alias names nothing that is complete before it")?;
                self.count(size.values)?;
                self.copy(size.bytes)?;
                self.put(value, None, false)?;
            }
            EventData::Scalar { anchor, tag, value, style, .. } => {
                let plain = style == ScalarStyle::Plain;
                let merge = plain && value == "<<" && tag.is_none();
                let value = tagged(tag.as_deref(), value, plain)?;
                self.put(value, anchor, merge)?;
            }
        }
        Ok(false)
    }

    fn begin(&mut self, open: Open) -> Result<(), String> {
        if self.open.len() >= DEEPEST {
            return Err(format!("it is nested deeper than {DEEPEST} levels"));
        }
        if let Some(Open::Map { key: None, .. }) = self.open.last() {
            return Err("a key is a list or a map: keys have to be words".into());
        }
        self.open.push(open);
        Ok(())
    }

    fn count(&mut self, values: usize) -> Result<(), String> {
        self.values += values;
        if self.values > MOST_VALUES {
            return Err(format!("it holds more than {MOST_VALUES} values once its aliases are written out"));
        }
        Ok(())
    }

    /// Counts what is written out once more. What stands in the file is bounded by the file.
    fn copy(&mut self, bytes: usize) -> Result<(), String> {
        self.copied += bytes;
        if self.copied > MOST_COPIED {
            return Err(format!("its aliases stand for more than {MOST_COPIED} bytes"));
        }
        Ok(())
    }

    /// Puts a complete value where it belongs.
    fn put(&mut self, value: Value, anchor: Option<String>, merge: bool) -> Result<(), String> {
        self.count(1)?;
        if let Some(anchor) = anchor {
            let size = size_of(&value);
            self.count(size.values)?;
            self.copy(size.bytes)?;
            self.anchors.insert(anchor, (value.clone(), size));
        }
        match self.open.last_mut() {
            None => self.root = Some(value),
            Some(Open::List { items, .. }) => items.push(value),
            Some(Open::Map { entries, key, .. }) => match key.take() {
                None if merge => *key = Some(Key::Merge),
                None => *key = Some(Key::Named(scalar::key(&value).ok_or("a key is a list or a map: keys have to be words")?)),
                Some(Key::Named(name)) => {
                    entries.insert(name, value);
                }
                Some(Key::Merge) => merge_into(entries, value)?,
            },
        }
        Ok(())
    }
}

/// `<<`: a map, or a list of maps of which the first wins. What is merged replaces what stood before it and is replaced
/// by what comes after.
fn merge_into(entries: &mut Map<String, Value>, value: Value) -> Result<(), String> {
    let wrong = || "`<<` needs a map, or a list of maps".to_owned();
    match value {
        Value::Object(more) => entries.extend(more),
        Value::Array(maps) => {
            for map in maps.into_iter().rev() {
                let Value::Object(more) = map else { return Err(wrong()) };
                entries.extend(more);
            }
        }
        _ => return Err(wrong()),
    }
    Ok(())
}

/// How large a value is: each value in it counts, and each byte of words and keys.
#[derive(Clone, Copy, Default)]
struct Size {
    values: usize,
    bytes: usize,
}

fn size_of(value: &Value) -> Size {
    let own = |bytes| Size { values: 1, bytes };
    let add = |a: Size, b: Size| Size { values: a.values + b.values, bytes: a.bytes + b.bytes };
    match value {
        Value::Array(items) => items.iter().map(size_of).fold(own(0), add),
        Value::Object(map) => {
            map.iter().map(|(key, value)| add(Size { values: 0, bytes: key.len() }, size_of(value))).fold(own(0), add)
        }
        Value::String(text) => own(text.len()),
        _ => own(0),
    }
}

/// A scalar by its tag. Unknown tags say nothing.
pub(crate) fn tagged(tag: Option<&str>, text: String, plain: bool) -> Result<Value, String> {
    let known = tag.and_then(|tag| tag.strip_prefix("tag:yaml.org,2002:"));
    let wrong = |what: &str| format!("a value is tagged as {what} and is none");
    match known {
        Some("str") => Ok(Value::String(text)),
        Some("binary") => {
            use base64::Engine as _;
            let packed: String = text.split_whitespace().collect();
            let bytes = base64::engine::general_purpose::STANDARD.decode(packed).map_err(|_| wrong("binary"))?;
            Ok(Value::String(String::from_utf8_lossy(&bytes).into_owned()))
        }
        Some("null") => Ok(Value::Null),
        Some("bool") => match scalar::resolve(&text) {
            value @ Value::Bool(_) => Ok(value),
            _ => Err(wrong("bool")),
        },
        Some("int") => match scalar::resolve(&text) {
            Value::Number(number) if !number.is_f64() => Ok(Value::Number(number)),
            _ => Err(wrong("int")),
        },
        Some("float") => match scalar::resolve(&text) {
            value @ Value::Number(_) => Ok(value),
            _ => Err(wrong("float")),
        },
        _ if plain && tag.is_none_or(|tag| tag != "!") => Ok(scalar::resolve(&text)),
        _ => Ok(Value::String(text)),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn one(text: &str) -> Result<Value, String> {
        let mut values = read(text.as_bytes(), "a.yaml").map_err(|error| error.to_string())?;
        assert!(values.len() <= 1, "{values:?}");
        Ok(values.pop().map_or(Value::Null, |(value, _)| value))
    }

    #[test]
    fn an_alias_of_something_large_can_not_be_written_out_again_and_again() {
        let large = "x".repeat(1024 * 1024);
        let text = |times: usize| format!("a: &x \"{large}\"\nb: [{}]\n", vec!["*x"; times].join(", "));
        assert!(one(&text(10)).is_ok());
        let refused = one(&text(10_000)).unwrap_err();
        assert!(refused.contains("stand for more than 67108864 bytes"), "{refused}");
    }

    #[test]
    fn values_are_what_kubectl_says_they_are() {
        let table = [
            ("0644", json!(420)),
            ("0o644", json!(420)),
            ("-0644", json!(-420)),
            ("yes", json!(true)),
            ("No", json!(false)),
            ("on", json!(true)),
            ("OFF", json!(false)),
            ("y", json!(true)),
            ("N", json!(false)),
            ("yEs", json!("yEs")),
            ("~", json!(null)),
            ("null", json!(null)),
            ("Null", json!(null)),
            ("nUll", json!("nUll")),
            ("1e3", json!(1000)),
            (".5", json!(0.5)),
            ("+1", json!(1)),
            ("5e1234", json!("5e1234")),
            ("1_000", json!(1000)),
            ("0x_1F", json!(31)),
            ("0x1F", json!(31)),
            ("0X1f", json!(31)),
            ("0b101", json!(5)),
            ("0O17", json!(15)),
            ("08", json!(8)),
            ("09", json!(9)),
            ("2024-01-02", json!("2024-01-02")),
            ("12:30:45", json!("12:30:45")),
            ("22:22", json!("22:22")),
            ("18446744073709551615", json!(18_446_744_073_709_551_615_u64)),
            ("18446744073709551616", json!(18_446_744_073_709_551_616.0)),
            ("-9223372036854775808", json!(i64::MIN)),
            ("1.5", json!(1.5)),
            ("1.", json!(1)),
            ("1.2.3", json!("1.2.3")),
            ("1e", json!("1e")),
            ("+", json!("+")),
            (".", json!(".")),
            ("'yes'", json!("yes")),
            ("\"0644\"", json!("0644")),
            ("!!int \"7\"", json!(7)),
            ("!!bool \"yes\"", json!(true)),
            ("!!str 7", json!("7")),
            ("!!binary aGk=", json!("hi")),
            ("!foo bar", json!("bar")),
            ("! 7", json!("7")),
            ("[1, 2,]", json!([1, 2])),
            ("{a: 1, b}", json!({"a": 1, "b": null})),
            ("|\n  x\n  y", json!("x\ny\n")),
            (">-\n  x\n  y", json!("x y")),
            ("|2-\n   x", json!(" x")),
            ("v1.2", json!("v1.2")),
            ("100m", json!("100m")),
            ("1Gi", json!("1Gi")),
            ("0.5e-3", json!(0.0005)),
            ("abc def", json!("abc def")),
            ("\"a\\u0041\"", json!("aA")),
        ];
        for (text, value) in table {
            assert_eq!(one(&format!("v: {text}\n")).unwrap()["v"], value, "{text}");
        }
    }

    #[test]
    fn keys_become_text() {
        let value = one("y: a\n1: b\n1.5: c\n0x10: d\ntrue: e\nno: f\n~: g\n'on': h\n").unwrap();
        assert_eq!(value, json!({"true": "e", "1": "b", "1.5": "c", "16": "d", "false": "f", "null": "g", "on": "h"}));
    }

    #[test]
    fn the_last_of_equal_keys_wins_and_merges_follow_their_place() {
        assert_eq!(one("a: 1\na: 2\n").unwrap(), json!({"a": 2}));
        assert_eq!(one("b: &x {a: 1, c: 3}\nd:\n  <<: *x\n  a: 2\n").unwrap()["d"], json!({"a": 2, "c": 3}));
        assert_eq!(one("b: &x {a: 1}\nd:\n  a: 2\n  <<: *x\n").unwrap()["d"], json!({"a": 1}));
        assert_eq!(one("b: &x {a: 1}\nd:\n  \"<<\": *x\n").unwrap()["d"], json!({"<<": {"a": 1}}));
        assert_eq!(one("- &x {a: 1}\n- &y {a: 2, b: 2}\n- <<: [*x, *y]\n").unwrap()[2], json!({"a": 1, "b": 2}));
        assert!(one("a:\n  <<: 1\n").is_err());
    }

    #[test]
    fn documents_are_split_as_kubernetes_splits_them() {
        let text = "# only a comment\n---\na: 1\n---\n\n--- # more\nb: 2\n---\nc: |\n  ---x\n  y\n";
        let values = read(text.as_bytes(), "f").unwrap();
        let found: Vec<_> = values.iter().map(|(value, origin)| (value.clone(), origin.line)).collect();
        assert_eq!(found, [(json!({"a": 1}), 2), (json!({"b": 2}), 6), (json!({"c": "---x\ny\n"}), 8)]);
        assert_eq!(read("\u{feff}a: 1\r\n---\r\n\u{feff}b: 2\r\n".as_bytes(), "f").unwrap().len(), 2);
        assert_eq!(one("{\"a\": [1, \"x\"]}").unwrap(), json!({"a": [1, "x"]}));
    }

    #[test]
    fn what_kubectl_refuses_is_refused_with_its_line() {
        for text in [
            "a: 1\n\t\nb: 2",
            "a: \"x",
            "a: [1",
            "a: *nobody",
            "a: b: c",
            "[a]: 1",
            "a: \u{2028}x",
            "a: !!int x",
            "a: &x [*x]",
            "{a: 1}}",
        ] {
            let error = one(text).unwrap_err();
            assert!(error.starts_with("a.yaml:"), "{text}: {error}");
        }
        let error = one("a: 1\n---\nb: 1\nc: [\n").unwrap_err();
        assert!(error.starts_with("a.yaml:"), "{error}");
        assert!(read(b"a: \xff", "f").is_err());
        assert!(one(&format!("? {}\n: 1", "k".repeat(10))).is_ok());
    }

    #[test]
    fn bombs_are_refused_in_bounded_memory() {
        let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n".to_owned();
        for level in 1..10 {
            let aliases = vec![format!("*a{}", level - 1); 9].join(", ");
            bomb.push_str(&format!("a{level}: &a{level} [{aliases}]\n"));
        }
        assert!(one(&bomb).unwrap_err().contains("aliases"), "{:?}", one(&bomb).unwrap_err());
        for deep in ["[".repeat(100_000), "{a: ".repeat(100_000), "- ".repeat(100_000)] {
            assert!(one(&deep).is_err());
        }
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_the_reader_panic(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..300), text in "([a-z]{1,3}: |- |\\[|\\{|\\}|\\]|\n|  |\"|'|&a |\\*a|!|!!int |,|\\||>|---|\t|<<: |\\? |%|@){0,80}") {
            let _ = read(&bytes, "f");
            let _ = read(text.as_bytes(), "f");
        }
    }
}
