//! A document with its order: SOPS computes its MAC over values as they follow each other, and names what stands where by
//! the keys above it. Scalars are read twice: as kubectl reads them, for the object, and as SOPS does, for the MAC.

use std::collections::HashSet;

use libyaml_safer::{Event, EventData, ScalarStyle};
use serde_json::{Map, Value};

use crate::yaml;

/// A value of a document.
#[derive(Debug)]
pub(crate) enum Node {
    Leaf(Leaf),
    List(Vec<Node>),
    /// In order; a key occurs once.
    Map(Vec<(String, Node)>),
}

/// A scalar.
pub(crate) struct Leaf {
    /// As kubectl reads it, or as it was decrypted.
    pub(crate) value: Value,
    /// What SOPS hashes: none for null.
    pub(crate) hashed: Option<Vec<u8>>,
    /// Bytes that are no text: `value` is null then.
    pub(crate) binary: Option<Vec<u8>>,
    /// From 0, in the document.
    pub(crate) line: usize,
    /// Whether it was decrypted.
    pub(crate) secret: bool,
}

impl std::fmt::Debug for Leaf {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Leaf(line {})", self.line)
    }
}

impl Node {
    /// A text that is not encrypted.
    pub(crate) fn text(text: &str, line: usize) -> Node {
        Node::Leaf(Leaf { value: text.into(), hashed: Some(text.into()), binary: None, line, secret: false })
    }

    /// What stands at a key.
    pub(crate) fn get(&self, key: &str) -> Option<&Node> {
        match self {
            Node::Map(entries) => entries.iter().find(|(name, _)| name == key).map(|(_, node)| node),
            _ => None,
        }
    }

    /// A text, if it is one.
    pub(crate) fn as_str(&self) -> Option<&str> {
        match self {
            Node::Leaf(leaf) => leaf.value.as_str(),
            _ => None,
        }
    }

    /// The first line of it.
    pub(crate) fn line(&self) -> usize {
        match self {
            Node::Leaf(leaf) => leaf.line,
            Node::List(items) => items.first().map_or(0, Node::line),
            Node::Map(entries) => entries.first().map_or(0, |(_, node)| node.line()),
        }
    }

    /// The value as JSON has it. `leaf` says what a scalar becomes, and is told where it stands, as a JSON pointer.
    pub(crate) fn to_value(&self, pointer: &str, leaf: &mut impl FnMut(&str, &Leaf) -> Value) -> Value {
        match self {
            Node::Leaf(found) => leaf(pointer, found),
            Node::List(items) => {
                let item = |(index, node): (usize, &Node)| node.to_value(&format!("{pointer}/{index}"), leaf);
                Value::Array(items.iter().enumerate().map(item).collect())
            }
            Node::Map(entries) => {
                let entry = |(key, node): &(String, Node)| {
                    let below = format!("{pointer}/{}", key.replace('~', "~0").replace('/', "~1"));
                    (key.clone(), node.to_value(&below, leaf))
                };
                Value::Object(entries.iter().map(entry).collect::<Map<_, _>>())
            }
        }
    }
}

/// Scalars, lists and maps of one document: far more than anybody encrypts.
const MOST_NODES: usize = 100_000;

#[derive(Default)]
struct Reading {
    nodes: usize,
    open: Vec<Open>,
    root: Option<Node>,
}

enum Open {
    List(Vec<Node>),
    Map { entries: Vec<(String, Node)>, names: HashSet<String>, key: Option<String> },
}

/// Reads one document. The error's line counts from 0.
pub(crate) fn read(document: &str) -> Result<Node, (usize, String)> {
    let mut reading = Reading::default();
    yaml::each_event(document, |event| take(event, &mut reading))?;
    Ok(reading.root.unwrap_or(Node::Map(Vec::new())))
}

fn take(event: Event, reading: &mut Reading) -> Result<bool, String> {
    let Reading { nodes, open, root } = reading;
    *nodes += 1;
    if *nodes > MOST_NODES {
        return Err(format!("more than {MOST_NODES} values and keys in an encrypted document: encrypt several smaller files"));
    }
    let line = event.start_mark.line as usize;
    let anchored = "anchors and aliases can't stand in an encrypted document: SOPS writes them out";
    let done = match event.data {
        EventData::StreamEnd => return Ok(true),
        EventData::DocumentStart { .. } if root.is_some() => {
            return Err("a second document begins: separate documents by a line `---`".into());
        }
        EventData::StreamStart { .. } | EventData::DocumentStart { .. } | EventData::DocumentEnd { .. } => return Ok(false),
        EventData::Alias { .. }
        | EventData::Scalar { anchor: Some(_), .. }
        | EventData::SequenceStart { anchor: Some(_), .. }
        | EventData::MappingStart { anchor: Some(_), .. } => return Err(anchored.into()),
        EventData::SequenceStart { .. } | EventData::MappingStart { .. } if open.len() >= yaml::DEEPEST => {
            return Err(format!("it is nested deeper than {} levels", yaml::DEEPEST));
        }
        EventData::SequenceStart { .. } => {
            open.push(Open::List(Vec::new()));
            return Ok(false);
        }
        EventData::MappingStart { .. } => {
            open.push(Open::Map { entries: Vec::new(), names: HashSet::new(), key: None });
            return Ok(false);
        }
        EventData::Scalar { tag, value, style, .. } => {
            let plain = style == ScalarStyle::Plain;
            if plain && value == "<<" {
                return Err(anchored.into());
            }
            Node::Leaf(scalar_of(tag.as_deref(), value, plain, line)?)
        }
        EventData::SequenceEnd | EventData::MappingEnd => match open.pop() {
            Some(Open::List(items)) => Node::List(items),
            Some(Open::Map { entries, .. }) => Node::Map(entries),
            None => return Err("it is not YAML".into()),
        },
    };
    match (open.last_mut(), done) {
        (None, done) => *root = Some(done),
        (Some(Open::List(items)), done) => items.push(done),
        (Some(Open::Map { names, key: key @ None, .. }), Node::Leaf(leaf)) => {
            let name = key_of(&leaf.value).ok_or("a key is a list or a map: keys have to be words")?;
            if !names.insert(name.clone()) {
                return Err("a key stands twice in an encrypted map, which SOPS refuses too".into());
            }
            *key = Some(name);
        }
        (Some(Open::Map { key: None, .. }), _) => return Err("a key is a list or a map: keys have to be words".into()),
        (Some(Open::Map { entries, key, .. }), done) => entries.extend(key.take().map(|key| (key, done))),
    }
    Ok(false)
}

/// A key as a word; nothing where it is no scalar.
fn key_of(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Bool(_) | Value::Number(_) | Value::Null => Some(value.to_string()),
        Value::Array(_) | Value::Object(_) => None,
    }
}

fn scalar_of(tag: Option<&str>, text: String, plain: bool, line: usize) -> Result<Leaf, String> {
    let (scalar, text_of) = yaml::tagged(tag, text.clone(), plain)?;
    let value = scalar.value(text_of)?;
    let hashed = match &value {
        Value::Null => None,
        // go-yaml v3, which SOPS uses, knows fewer words for yes and no than kubectl.
        Value::Bool(yes) if text.eq_ignore_ascii_case(if *yes { "true" } else { "false" }) => {
            Some(if *yes { "True" } else { "False" }.into())
        }
        Value::Bool(_) => Some(text.into_bytes()),
        Value::Number(number) => Some(hashed_number(number)),
        Value::String(text) => Some(text.clone().into_bytes()),
        Value::Array(_) | Value::Object(_) => return Err("it is not YAML".into()),
    };
    Ok(Leaf { value, hashed, binary: None, line, secret: false })
}

/// A number as Go writes it without an exponent, and Rust too.
pub(crate) fn hashed_number(number: &serde_json::Number) -> Vec<u8> {
    match number.as_f64() {
        Some(float) if number.is_f64() => format!("{float}").into_bytes(),
        _ => number.to_string().into_bytes(),
    }
}
