//! A YAML document with the line of everything in it. Scalars stay text: whoever reads a key knows what it should be.

use std::panic::{AssertUnwindSafe, catch_unwind};

use libyaml_safer::{EventData, Parser, ScalarStyle};

use crate::{Problem, Problems};

/// Larger files are a mistake.
const LARGEST: usize = 1024 * 1024;
/// Deeper files are a mistake, and would only cost memory.
const DEEPEST: usize = 64;

/// A value and the line on which it begins.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) line: usize,
    pub(crate) value: Value,
}

/// What a node is.
#[derive(Clone, Debug)]
pub(crate) enum Value {
    /// Text; `plain` if it was not quoted.
    Scalar {
        text: String,
        plain: bool,
    },
    List(Vec<Node>),
    /// Keys with their lines, in order. A key occurs once.
    Map(Vec<(String, usize, Node)>),
}

impl Node {
    /// The same value as YAML in one line. Scalars that were plain stay plain, so that whoever reads them decides what
    /// they are; keys are texts.
    pub(crate) fn to_yaml(&self) -> String {
        let joined = |parts: Vec<String>| parts.join(", ");
        match &self.value {
            Value::Scalar { text, plain: true } if text.is_empty() => "null".into(),
            Value::Scalar { text, plain: true } if stays_plain(text) => text.clone(),
            Value::Scalar { text, .. } => quoted(text),
            Value::List(items) => format!("[{}]", joined(items.iter().map(Node::to_yaml).collect())),
            Value::Map(entries) => {
                format!(
                    "{{{}}}",
                    joined(entries.iter().map(|(key, _, node)| format!("{}: {}", quoted(key), node.to_yaml())).collect())
                )
            }
        }
    }
}

/// Whether a plain scalar means the same between brackets. What doesn't is a text by every reading of YAML.
fn stays_plain(text: &str) -> bool {
    text.chars().all(|letter| letter.is_ascii_alphanumeric() || "+-._~/ ".contains(letter))
        && !text.starts_with("- ")
        && text != "-"
}

/// A text in double quotes, by JSON's rules, which are YAML's too.
fn quoted(text: &str) -> String {
    let mut out = String::from('"');
    for letter in text.chars() {
        match letter {
            '"' | '\\' => out.extend(['\\', letter]),
            '\n' => out.push_str("\\n"),
            letter if letter.is_control() || matches!(letter, '\u{2028}' | '\u{2029}' | '\u{feff}') => {
                out.push_str(&format!("\\u{:04x}", u32::from(letter)));
            }
            letter => out.push(letter),
        }
    }
    out.push('"');
    out
}

/// Reads a file that holds one document.
pub(crate) fn read(bytes: &[u8], file: &str) -> Result<Node, Problems> {
    let fail = |line: usize, message: String| Problems::of(file, vec![Problem { line, key: String::new(), message }]);
    if bytes.len() > LARGEST {
        return Err(fail(0, "it is larger than 1 MiB".into()));
    }
    let text = std::str::from_utf8(bytes).map_err(|_| fail(0, "it is not UTF-8".into()))?;
    // The parser is known to panic on some malformed endings; a final line break avoids most, this the rest.
    let text = format!("{}\n", text.trim_start_matches('\u{feff}'));
    match catch_unwind(AssertUnwindSafe(|| build(&text))) {
        Ok(result) => result.map_err(|(line, message)| fail(line, message)),
        Err(_) => Err(fail(0, "it is not YAML".into())),
    }
}

/// A map or list that is not complete yet.
enum Open {
    List(usize, Vec<Node>),
    Map(usize, Vec<(String, usize, Node)>, Option<(String, usize)>),
}

fn build(text: &str) -> Result<Node, (usize, String)> {
    let mut input = text.as_bytes();
    let mut parser = Parser::new();
    parser.set_input_string(&mut input);
    let mut open: Vec<Open> = Vec::new();
    let mut root = None;
    loop {
        let event = parser.parse().map_err(|error| {
            (line_in(&error.to_string()), "it is not YAML: ".to_owned() + &tk8s_core::printable(&error.to_string(), 200))
        })?;
        let line = event.start_mark.line as usize + 1;
        let done = match event.data {
            EventData::StreamEnd => return root.ok_or((0, "it is empty".into())),
            EventData::StreamStart { .. } | EventData::DocumentEnd { .. } => continue,
            EventData::DocumentStart { .. } if root.is_some() => return Err((line, "it holds more than one document".into())),
            EventData::DocumentStart { .. } => continue,
            EventData::Alias { .. } => {
                return Err((line, "anchors and aliases are not supported here: write the value out".into()));
            }
            EventData::Scalar { tag: Some(_), .. }
            | EventData::SequenceStart { tag: Some(_), .. }
            | EventData::MappingStart { tag: Some(_), .. } => {
                return Err((line, "tags are not supported here: quote what is to be a text".into()));
            }
            EventData::Scalar { value, style, .. } => {
                Node { line, value: Value::Scalar { text: value, plain: style == ScalarStyle::Plain } }
            }
            EventData::SequenceStart { .. } | EventData::MappingStart { .. } if open.len() >= DEEPEST => {
                return Err((line, format!("it is nested deeper than {DEEPEST} levels")));
            }
            EventData::SequenceStart { .. } => {
                open.push(Open::List(line, Vec::new()));
                continue;
            }
            EventData::MappingStart { .. } => {
                open.push(Open::Map(line, Vec::new(), None));
                continue;
            }
            EventData::SequenceEnd | EventData::MappingEnd => match open.pop() {
                Some(Open::List(line, items)) => Node { line, value: Value::List(items) },
                Some(Open::Map(line, entries, _)) => Node { line, value: Value::Map(entries) },
                None => return Err((line, "it is not YAML".into())),
            },
        };
        match open.last_mut() {
            None => root = Some(done),
            Some(Open::List(_, items)) => items.push(done),
            Some(Open::Map(_, entries, key @ None)) => match done.value {
                Value::Scalar { text, .. } if entries.iter().any(|(known, ..)| *known == text) => {
                    return Err((done.line, format!("the key `{}` occurs twice", tk8s_core::printable(&text, 80))));
                }
                Value::Scalar { text, .. } => *key = Some((text, done.line)),
                _ => return Err((done.line, "a key has to be a word".into())),
            },
            Some(Open::Map(_, entries, key)) => {
                if let Some((key, line)) = key.take() {
                    entries.push((key, line, done));
                }
            }
        }
    }
}

/// The parser names lines from 1 in its messages; the first number after `line` is the problem's.
fn line_in(message: &str) -> usize {
    let after = message.rsplit("line ").next().unwrap_or_default();
    after.chars().take_while(char::is_ascii_digit).collect::<String>().parse().unwrap_or(0)
}
