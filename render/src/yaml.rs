//! Files to JSON values, as kubectl reads them: taken apart as Kubernetes does it ([`documents`]), JSON as JSON ([`json`]),
//! each other document by libyaml's rules (`libyaml-safer`), each scalar by go-yaml's ([`crate::scalar`]), keys as JSON has
//! them. Where we differ from kubectl we refuse more; `docs/yaml.md` lists where and why.
//!
//! Whatever a file holds, reading it ends soon, in bounded memory, with a value or an error that names file and line.

mod documents;
mod json;
mod panics;

use std::collections::{BTreeSet, HashMap};
use std::io::{BufReader, Read as _};
use std::sync::Arc;

use libyaml_safer::{Event, EventData, Parser, ScalarStyle};
use serde_json::{Map, Value};
use tk8s_core::{Origin, printable};

use crate::scalar::{self, Scalar};
use crate::{Bounds, Error};

/// Deeper documents are no manifests. Also keeps recursion over values (in JSON, in drops) far from the stack's end.
pub(crate) const DEEPEST: usize = 100;
/// Documents that one reader takes, empty ones too: as many as a component may have objects.
const MOST_DOCUMENTS: usize = 100_000;
/// Anchors of one document. Each keeps a copy of what it names.
const MOST_ANCHORS: usize = 10_000;
/// Lines that begin with `%`. The parser compares each directive with all before it.
const MOST_DIRECTIVES: usize = 100;
/// What the parser decodes at once. Given everything, it would hold each character of a file in four bytes.
const CHUNK: usize = 16 * 1024;

/// What one value takes where it stands.
const PLACE: usize = size_of::<Value>();
/// What an item of a list takes: a list that grows takes twice what it holds.
const ITEM: usize = 2 * PLACE;
/// What a map takes for some entries more: it keeps them in nodes of eleven places, of which about six are filled.
const NODE: usize = 11 * (size_of::<String>() + PLACE) + 16;
const IN_A_NODE: usize = 6;

/// What becomes of a key that occurs twice in one map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Twice {
    /// A file that people keep says one thing.
    Refused,
    /// The last one counts, as for kubectl and Helm: what a chart writes is not its user's to mend.
    LastCounts,
}

/// Reads files; the memory that their values take altogether is bounded.
pub(crate) struct Reader {
    twice: Twice,
    documents: usize,
    /// Bytes of memory of all values so far, as far as they can be told beforehand.
    held: usize,
    most: usize,
}

/// The documents of a file that stands alone, each with the line on which it begins. Empty documents are left out.
pub(crate) fn read(bytes: &[u8], file: &str) -> Result<Vec<(Value, Origin)>, Error> {
    Reader::new(Twice::Refused, Bounds::default().values).read(bytes, file)
}

/// The documents of a text, unparsed.
pub(crate) fn split(text: &str) -> impl Iterator<Item = Result<&str, String>> {
    documents::split(text, 1).map(|document| document.map(|document| document.text).map_err(|(_, problem)| problem))
}

/// The documents of a file, each by another reader of one document, with the line of the first byte that it was given. The
/// lines of its errors count from 0.
pub(crate) fn read_with<T>(
    bytes: &[u8],
    file: &str,
    parse: impl Fn(&str) -> Result<T, (usize, String)>,
) -> Result<Vec<(T, Origin)>, Error> {
    let file: Arc<str> = file.into();
    let refuse = |(line, problem)| Error::Yaml { origin: Origin { file: Arc::clone(&file), line }, problem };
    let text = documents::text(bytes).map_err(refuse)?;
    let mut counter = Reader::new(Twice::Refused, 0);
    let mut values = Vec::new();
    for document in documents::split(&text, 1) {
        let document = document.map_err(refuse)?;
        counter.document().map_err(|problem| refuse((document.line, problem)))?;
        let within = |(inner, problem)| refuse((document.first + inner, problem));
        if !is_empty(document.text).map_err(within)? {
            let value = parse(document.text).map_err(within)?;
            values.push((value, Origin { file: Arc::clone(&file), line: document.first }));
        }
    }
    Ok(values)
}

fn too_deep() -> String {
    format!("it is nested deeper than {DEEPEST} levels")
}

fn occurs_twice(key: &str) -> String {
    format!("`{}` occurs twice in one map: keep one of them", printable(key, 80))
}

impl Reader {
    /// `most`: bytes of memory that all values together may take.
    pub(crate) fn new(twice: Twice, most: usize) -> Reader {
        Reader { twice, documents: 0, held: 0, most }
    }

    /// The documents of one more file, each with the line on which it begins. Empty documents are left out.
    pub(crate) fn read(&mut self, bytes: &[u8], file: &str) -> Result<Vec<(Value, Origin)>, Error> {
        let mut values = Vec::new();
        self.read_each(bytes, file, |document| {
            values.push(document?);
            Ok(())
        })?;
        Ok(values)
    }

    /// The same one by one, with what is wrong with each document. Ends with the first error that `take` gives back, or with
    /// what this reader may hold altogether.
    pub(crate) fn read_each(
        &mut self,
        bytes: &[u8],
        file: &str,
        mut take: impl FnMut(Result<(Value, Origin), Error>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let name: Arc<str> = file.into();
        let at = |line: usize| Origin { file: Arc::clone(&name), line };
        let refuse = |(line, problem)| Error::Yaml { origin: at(line), problem };
        let text = match documents::text(bytes) {
            Ok(text) => text,
            Err(error) => return take(Err(refuse(error))),
        };
        let (mut rest, mut line, mut objects): (&str, usize, usize) = (&text, 1, 0);
        while rest.trim_start().starts_with('{') {
            // One or several of JSON. What follows none or one of them may be YAML; then that has the say.
            let space = rest.len() - rest.trim_start().len();
            let before = (self.documents, self.held);
            let first = line + lines(&rest[..space]);
            self.document().map_err(|problem| refuse((first, problem)))?;
            match json::next(self, &rest[space..]) {
                Ok((value, taken)) => {
                    take(Ok((value, at(first))))?;
                    objects += 1;
                    line += lines(&rest[..space + taken]);
                    rest = &rest[space + taken..];
                }
                Err((inner, problem)) if self.is_full() => return Err(refuse((first + inner, problem))),
                Err((inner, problem)) if file.ends_with(".json") || objects > 1 => {
                    return take(Err(refuse((first + inner, problem))));
                }
                Err(_) => {
                    (self.documents, self.held) = before;
                    break;
                }
            }
        }
        if objects > 0 {
            // The rest of the line on which JSON ended is nobody's.
            let end = rest.find(|c: char| c == '\n' || !c.is_whitespace()).unwrap_or(rest.len());
            let end = if rest[end..].starts_with('\n') { end + 1 } else { end };
            line += lines(&rest[..end]);
            rest = &rest[end..];
        }
        for document in documents::split(rest, line) {
            let document = match document {
                Ok(document) => document,
                Err(error) => return take(Err(refuse(error))),
            };
            self.document().map_err(|problem| refuse((document.line, problem)))?;
            match self.parse(document.text) {
                Ok(Value::Null) => {}
                Ok(value) => take(Ok((value, at(document.line))))?,
                Err((inner, problem)) if self.is_full() => return Err(refuse((document.first + inner, problem))),
                Err((inner, problem)) => take(Err(refuse((document.first + inner, problem))))?,
            }
        }
        Ok(())
    }

    /// Whether nothing more will be read, whatever it is.
    fn is_full(&self) -> bool {
        self.held > self.most
    }

    fn document(&mut self) -> Result<(), String> {
        self.documents += 1;
        if self.documents > MOST_DOCUMENTS {
            return Err(format!("more than {MOST_DOCUMENTS} documents: make several components of it"));
        }
        Ok(())
    }

    /// Counts what is about to be held.
    fn hold(&mut self, bytes: usize) -> Result<(), String> {
        self.held = self.held.saturating_add(bytes);
        if self.is_full() {
            return Err(format!(
                "its values take more than {} bytes of memory, once aliases are written out: make several components of it, or \
                 raise `render.limits.valueBytes`",
                self.most
            ));
        }
        Ok(())
    }

    /// Counts a key that is about to stand in a map of so many entries.
    fn hold_key(&mut self, key: &str, entries: usize) -> Result<(), String> {
        self.hold(text(key) + if entries.is_multiple_of(IN_A_NODE) { NODE } else { 0 })
    }

    /// One document. The error's line counts from 0 within it.
    fn parse(&mut self, document: &str) -> Result<Value, (usize, String)> {
        if is_empty(document)? {
            return Ok(Value::Null);
        }
        let mut builder = Builder { reader: self, open: Vec::new(), root: None, anchors: HashMap::new() };
        each_event(document, |event| builder.take(event))?;
        Ok(builder.root.unwrap_or(Value::Null))
    }
}

/// Whether a document holds nothing but comments. An error about what the parser is not asked to read.
fn is_empty(document: &str) -> Result<bool, (usize, String)> {
    let document = document.strip_prefix('\u{feff}').unwrap_or(document);
    let (mut directives, mut empty) = (0, true);
    for (inner, line) in document.lines().enumerate() {
        let said = line.trim_start_matches(' ');
        if line.starts_with('%') {
            directives += 1;
            if empty {
                return Err((inner, "directives (`%YAML`, `%TAG`) are not read, as kubectl doesn't: remove the line".into()));
            }
            if directives > MOST_DIRECTIVES {
                return Err((inner, format!("more than {MOST_DIRECTIVES} lines begin with `%`")));
            }
        }
        if line.contains(['\u{85}', '\u{2028}', '\u{2029}']) {
            return Err((inner, "it holds a line break that only Unicode knows: write an ordinary one".into()));
        }
        empty = empty && (said.is_empty() || said.starts_with('#'));
    }
    Ok(empty)
}

/// Gives every event of one document to `take`, until it says that it is done. The error's line counts from 0.
pub(crate) fn each_event(document: &str, mut take: impl FnMut(Event) -> Result<bool, String>) -> Result<(), (usize, String)> {
    let document = document.strip_prefix('\u{feff}').unwrap_or(document);
    // The parser is known to panic on a few malformed inputs (`[!,`): a panic is an answer too.
    match panics::caught(|| follow(document, &mut take)) {
        Some(result) => result,
        None => Err((0, "it is not YAML: the parser gave up on it".into())),
    }
}

fn follow(document: &str, take: &mut impl FnMut(Event) -> Result<bool, String>) -> Result<(), (usize, String)> {
    let mut parser = Parser::new();
    // Kubernetes ends the last line, if nothing does; also keeps the parser from a place where it would panic.
    let ending: &[u8] = if document.ends_with('\n') { b"" } else { b"\n" };
    parser.set_input(BufReader::with_capacity(CHUNK, document.as_bytes().chain(ending)));
    // A parser that wants more complains of the line after the last.
    let (mut last, end) = (0, lines(document).saturating_sub(usize::from(document.ends_with('\n'))));
    loop {
        let event = parser
            .parse()
            .map_err(|error| (line_of(&error, last).min(end), format!("it is not YAML: {}", without_quotes(error.problem()))))?;
        let line = event.start_mark.line as usize;
        last = line;
        if take(event).map_err(|problem| (line, problem))? {
            return Ok(());
        }
    }
}

fn lines(text: &str) -> usize {
    text.bytes().filter(|byte| *byte == b'\n').count()
}

/// The line of a parser's error, from 0; that of the last event, where it has none.
fn line_of(error: &libyaml_safer::Error, last: usize) -> usize {
    error.problem_mark().map_or(last, |mark| mark.line as usize)
}

/// The parser's messages quote nothing; whatever stands between quotes is dropped all the same.
fn without_quotes(message: &str) -> String {
    printable(&message.split('"').step_by(2).collect::<Vec<_>>().join("…"), 200)
}

/// A list or map that is not complete yet.
enum Open {
    List { items: Vec<Value>, anchor: Option<String> },
    Map { entries: Map<String, Value>, merged: BTreeSet<String>, key: Option<Key>, anchor: Option<String> },
}

enum Key {
    Named(String),
    /// `<<`: its value is merged.
    Merge,
}

/// What has been built of a document.
struct Builder<'r> {
    reader: &'r mut Reader,
    open: Vec<Open>,
    root: Option<Value>,
    /// Each with what it takes.
    anchors: HashMap<String, (Value, usize)>,
}

impl Builder<'_> {
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
            EventData::MappingStart { anchor, .. } => {
                self.begin(Open::Map { entries: Map::new(), merged: BTreeSet::new(), key: None, anchor })?;
            }
            EventData::SequenceEnd | EventData::MappingEnd => match self.open.pop() {
                Some(Open::List { items, anchor }) => self.put(Value::Array(items), anchor)?,
                Some(Open::Map { entries, anchor, .. }) => self.put(Value::Object(entries), anchor)?,
                None => return Err("it is not YAML".into()),
            },
            EventData::Alias { anchor } => {
                let (value, size) = self.anchors.get(&anchor).ok_or("an alias names nothing that is complete before it")?;
                self.reader.hold(*size)?;
                let value = value.clone();
                if self.wants_key() {
                    // A number as a key is written by rules of its own, which the value no longer shows.
                    let Value::String(text) = value else {
                        return Err("a key is an alias of something that is no text: write the key itself".into());
                    };
                    return self.key(Key::Named(text)).map(|()| false);
                }
                if let (Some(Open::Map { key: Some(Key::Merge), .. }), Value::Array(_)) = (self.open.last(), &value) {
                    return Err("`<<` names a list by an alias: write the list itself".into());
                }
                self.put(value, None)?;
            }
            EventData::Scalar { anchor, tag, value: text, style, .. } => {
                let plain = style == ScalarStyle::Plain;
                let key = self.wants_key();
                if key && text == "<<" && (plain && tag.is_none() || tag.as_deref() == Some("tag:yaml.org,2002:merge")) {
                    return self.key(Key::Merge).map(|()| false);
                }
                let (scalar, text) = tagged(tag.as_deref(), text, plain)?;
                if key {
                    if let Some(anchor) = anchor {
                        self.anchor(anchor, &scalar.value(text.clone())?)?;
                    }
                    let name = scalar.key(text)?;
                    self.key(Key::Named(name))?;
                } else {
                    let value = scalar.value(text)?;
                    self.reader.hold(held(&value))?;
                    self.put(value, anchor)?;
                }
            }
        }
        Ok(false)
    }

    fn wants_key(&self) -> bool {
        matches!(self.open.last(), Some(Open::Map { key: None, .. }))
    }

    fn begin(&mut self, open: Open) -> Result<(), String> {
        if self.open.len() >= DEEPEST {
            return Err(too_deep());
        }
        if self.wants_key() {
            return Err("a key is a list or a map: keys have to be words".into());
        }
        self.open.push(open);
        Ok(())
    }

    fn anchor(&mut self, anchor: String, value: &Value) -> Result<(), String> {
        let size = held(value);
        self.reader.hold(size + text(&anchor))?;
        self.anchors.insert(anchor, (value.clone(), size));
        if self.anchors.len() > MOST_ANCHORS {
            return Err(format!("more than {MOST_ANCHORS} anchors in one document"));
        }
        Ok(())
    }

    /// Takes the key of the innermost map, whose value comes next.
    fn key(&mut self, next: Key) -> Result<(), String> {
        let Some(Open::Map { entries, merged, key, .. }) = self.open.last_mut() else { return Err("it is not YAML".into()) };
        if let Key::Named(name) = &next {
            self.reader.hold_key(name, entries.len())?;
            // What was merged is replaced by what the map itself says.
            let replaces = merged.remove(name);
            if !replaces && self.reader.twice == Twice::Refused && entries.contains_key(name) {
                return Err(occurs_twice(name));
            }
        }
        *key = Some(next);
        Ok(())
    }

    /// Puts a complete value where it belongs.
    fn put(&mut self, value: Value, anchor: Option<String>) -> Result<(), String> {
        if let Some(anchor) = anchor {
            self.anchor(anchor, &value)?;
        }
        match self.open.last_mut() {
            None => self.root = Some(value),
            Some(Open::List { items, .. }) => {
                self.reader.hold(ITEM)?;
                items.push(value);
            }
            Some(Open::Map { entries, merged, key, .. }) => match key.take() {
                None => return Err("a key is a list or a map: keys have to be words".into()),
                Some(Key::Named(name)) => {
                    entries.insert(name, value);
                }
                Some(Key::Merge) => merge_into(entries, merged, value)?,
            },
        }
        Ok(())
    }
}

/// `<<`: a map, or a list of maps of which the first wins. What is merged replaces what stood before it and is replaced
/// by what comes after.
fn merge_into(entries: &mut Map<String, Value>, merged: &mut BTreeSet<String>, value: Value) -> Result<(), String> {
    let wrong = || "`<<` needs a map, or a list of maps".to_owned();
    let maps = match value {
        map @ Value::Object(_) => vec![map],
        Value::Array(maps) => maps,
        _ => return Err(wrong()),
    };
    for map in maps.into_iter().rev() {
        let Value::Object(more) = map else { return Err(wrong()) };
        for (name, value) in more {
            if entries.insert(name.clone(), value).is_none() {
                merged.insert(name);
            }
        }
    }
    Ok(())
}

/// What a text takes beside its place: what an allocator gives for it, which is never less than a few words.
fn text(text: &str) -> usize {
    if text.is_empty() { 0 } else { (text.len() + 8).next_multiple_of(16).max(32) }
}

/// What a value takes beside its place.
fn held(value: &Value) -> usize {
    match value {
        Value::Array(items) => items.iter().map(|item| ITEM + held(item)).sum(),
        Value::Object(map) => {
            let nodes = map.len().div_ceil(IN_A_NODE) * NODE;
            nodes + map.iter().map(|(key, value)| text(key) + held(value)).sum::<usize>()
        }
        Value::String(said) => text(said),
        _ => 0,
    }
}

/// A scalar by its tag, and its text. Tags that YAML doesn't know say that it is one.
pub(crate) fn tagged(tag: Option<&str>, text: String, plain: bool) -> Result<(Scalar, String), String> {
    let Some(tag) = tag else {
        return Ok((if plain { scalar::resolve(&text) } else { Scalar::Text }, text));
    };
    let found = || scalar::resolve(&text);
    let fits = |scalar: Scalar, what: &str, fits: bool| {
        if fits { Ok(scalar) } else { Err(format!("a value is tagged as {what} and is none")) }
    };
    let scalar = match tag.strip_prefix("tag:yaml.org,2002:") {
        Some("null") => fits(found(), "null", found() == Scalar::Null)?,
        Some("bool") => fits(found(), "bool", matches!(found(), Scalar::Bool(_)))?,
        Some("int") => fits(found(), "int", matches!(found(), Scalar::Integer(_) | Scalar::Large(_)))?,
        Some("float") => match found() {
            Scalar::Integer(value) => Scalar::Float(value as f64),
            other => fits(other, "float", matches!(other, Scalar::Float(_)))?,
        },
        Some("timestamp") => return Err("a value is tagged as a time, which JSON doesn't know: remove the tag".into()),
        Some("binary") => {
            use base64::Engine as _;
            let packed: String = text.chars().filter(|c| !['\r', '\n'].contains(c)).collect();
            let bytes = base64::engine::general_purpose::STANDARD.decode(packed);
            let bytes = bytes.map_err(|_| "a value is tagged as binary and is no base64")?;
            let text = String::from_utf8(bytes).map_err(|_| {
                "a value is tagged as binary and is no text, which JSON can't hold: use a field for base64 (`data`, `binaryData`)"
            })?;
            return Ok((Scalar::Text, text));
        }
        _ => Scalar::Text,
    };
    Ok((scalar, text))
}

#[cfg(test)]
#[allow(dead_code, unreachable_pub, reason = "the tests beside kubectl use it too")]
#[path = "../tests/yaml/cases.rs"]
mod cases;

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
        assert!(refused.starts_with("a.yaml:2: its values take more than 25165824 bytes of memory"), "{refused}");
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
            ("18446744073709551615", json!(18_446_744_073_709_551_615_u64 as f64)),
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
            ("!foo 7", json!("7")),
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
        let value = one("y: a\n1: b\n1.5: c\n0x10: d\nno: f\n'on': h\n").unwrap();
        assert_eq!(value, json!({"true": "a", "1": "b", "1.5": "c", "16": "d", "false": "f", "on": "h"}));
    }

    #[test]
    fn a_key_that_occurs_twice_is_refused_with_its_line_in_files_and_the_last_counts_in_what_charts_give() {
        let text = "x:\n  a: 1\n  b: 1\n  a: 2\n";
        assert_eq!(one(text).unwrap_err(), "a.yaml:4: `a` occurs twice in one map: keep one of them");
        assert!(one("1: a\n'1': b\n").unwrap_err().contains("`1` occurs twice"));
        assert!(one("{\"a\": 1, \"a\": 2}").unwrap_err().contains("`a` occurs twice"));
        for text in [text, "{\"x\": {\"a\": 1, \"b\": 1, \"a\": 2}}"] {
            let read = Reader::new(Twice::LastCounts, 1 << 20).read(text.as_bytes(), "a.yaml").unwrap();
            assert_eq!(read[0].0, json!({"x": {"a": 2, "b": 1}}));
        }
        // What was merged is no key of its own.
        assert_eq!(one("b: &x {a: 1}\nd:\n  <<: *x\n  a: 2\n").unwrap()["d"], json!({"a": 2}));
        assert!(one("b: &x {a: 1}\nd:\n  <<: *x\n  a: 2\n  a: 3\n").is_err());
    }

    #[test]
    fn merges_follow_their_place() {
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
        let marked = read("\u{feff}a: 1\r\n---\r\n\u{feff}b: 2\r\n".as_bytes(), "f").unwrap();
        assert_eq!(marked.iter().map(|(value, _)| value).collect::<Vec<_>>(), [&json!({"a": 1}), &json!({"b": 2})]);
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

    /// What is counted while reading is what a value takes, as it is counted afterwards.
    #[test]
    fn what_is_held_is_counted_the_same_way_for_yaml_for_json_and_for_what_is_written_out_again() {
        let text = json!({"a": ["some words, quoted", "", 1, null, {"b": {}, "c": [[]]}], "a longer key, of many words": "x"});
        let mut map = Map::new();
        (0..20).for_each(|index| drop(map.insert(format!("k{index}"), json!(true))));
        for value in [text, Value::Object(map)] {
            let counted = |file: &str, text: &str| {
                let mut reader = Reader::new(Twice::Refused, usize::MAX);
                assert_eq!(reader.read(text.as_bytes(), file).unwrap()[0].0, value);
                reader.held
            };
            assert_eq!(counted("a.json", &value.to_string()), held(&value));
            assert_eq!(counted("a.yaml", &format!("---\n{value}")), held(&value));
        }
    }

    /// A place where the parser is known to panic.
    const PANICS: &str = "[!,";

    #[test]
    fn a_panic_of_the_parser_becomes_an_error() {
        let alone = std::panic::catch_unwind(|| {
            let mut parser = Parser::new();
            parser.set_input(PANICS.as_bytes());
            while !matches!(parser.parse().unwrap().data, EventData::StreamEnd) {}
        });
        let said = alone.unwrap_err();
        let said = said.downcast_ref::<String>().map_or("", String::as_str);
        assert!(!said.contains("unwrap"), "it is an error of the parser by now, find another text: {said}");
        assert_eq!(one(PANICS).unwrap_err(), "a.yaml:1: it is not YAML: the parser gave up on it");
        assert!(one(&format!("a: 1\n---\nb:\n{PANICS}")).unwrap_err().starts_with("a.yaml:"));
    }

    #[test]
    fn one_level_one_document_one_value_more_than_the_limit_is_refused() {
        let deep = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
        assert!(one(&deep(DEEPEST)).is_ok());
        assert!(one(&deep(DEEPEST + 1)).unwrap_err().contains("deeper than 100 levels"));
        let json = |levels: usize| format!("{{\"a\": {}}}", deep(levels - 1));
        assert!(one(&json(DEEPEST)).is_ok());
        assert!(read(json(DEEPEST + 1).as_bytes(), "a.json").unwrap_err().to_string().contains("deeper than 100 levels"));
        let documents = |count: usize| read("# one\n---\n".repeat(count - 1).as_bytes(), "a.yaml");
        assert!(documents(MOST_DOCUMENTS).is_ok());
        assert!(documents(MOST_DOCUMENTS + 1).unwrap_err().to_string().starts_with("a.yaml:200000: more than 100000 documents"));
        // Of several files altogether.
        let half = format!("[{}]", "1,".repeat(500));
        let mut reader = Reader::new(Twice::Refused, 2 * 500 * ITEM);
        assert!(reader.read(half.as_bytes(), "a.yaml").is_ok());
        assert!(reader.read(half.as_bytes(), "b.yaml").is_ok());
        let refused = reader.read(b"[1]", "c.yaml").unwrap_err().to_string();
        assert!(refused.starts_with("c.yaml:1: its values take more than") && refused.ends_with("`render.limits.valueBytes`"));
        let anchors = |count: usize| one(&(0..count).map(|index| format!("- &a{index} x\n")).collect::<String>());
        assert!(anchors(MOST_ANCHORS).is_ok());
        assert!(anchors(MOST_ANCHORS + 1).unwrap_err().starts_with("a.yaml:10001: more than 10000 anchors"));
        let directives = |count: usize| one(&format!("a: \"\n{}\"", "%x\n".repeat(count)));
        assert!(directives(MOST_DIRECTIVES).is_ok());
        assert!(directives(MOST_DIRECTIVES + 1).unwrap_err().contains("more than 100 lines begin with `%`"));
        assert!(one("%YAML 1.1\n---\na: 1\n").unwrap_err().starts_with("a.yaml:1: directives"));
    }

    #[test]
    fn utf_16_is_read_where_its_mark_says_so() {
        let wide = |text: &str, unit: fn(u16) -> [u8; 2]| text.encode_utf16().flat_map(unit).collect::<Vec<u8>>();
        for unit in [u16::to_le_bytes as fn(u16) -> [u8; 2], u16::to_be_bytes] {
            let bytes = wide("\u{feff}a: \u{1f600}\n", unit);
            assert_eq!(read(&bytes, "a.yaml").unwrap()[0].0, json!({"a": "\u{1f600}"}));
            assert!(read(&bytes[..bytes.len() - 1], "a.yaml").unwrap_err().to_string().contains("not UTF-16, as it says"));
            assert!(read(&wide("a: 1\n", unit), "a.yaml").is_err());
        }
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_the_reader_panic(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..300), text in "([a-z]{1,3}: |- |\\[|\\{|\\}|\\]|\n|  |\"|'|&a |\\*a|!|!!int |,|\\||>|---|\t|<<: |\\? |%|@){0,80}") {
            let _ = read(&bytes, "f");
            let _ = read(text.as_bytes(), "f");
        }

        #[test]
        fn no_change_of_a_known_text_makes_the_reader_panic(
            case in 0..cases::CASES.len() + cases::FILES.len(),
            changes in proptest::collection::vec((0..200_usize, 0..4_u8, "[ \\-\\[\\]{}:,&*!|>'\"%@?#\n\t\\\\<~0a]{1,3}"), 0..6),
        ) {
            let case = cases::CASES.iter().chain(cases::FILES).nth(case).unwrap();
            let mut bytes = case.text.to_vec();
            for (at, what, text) in changes {
                let at = at.min(bytes.len());
                match what {
                    0 => drop(bytes.splice(at..at, text.bytes())),
                    1 => bytes.truncate(at),
                    2 => drop(bytes.splice(at..bytes.len().min(at + 2), text.bytes())),
                    _ => bytes.extend_from_within(at..),
                }
            }
            if let Err(error) = read(&bytes, "f") {
                assert!(error.to_string().starts_with("f:"), "{error}");
            }
        }
    }
}
