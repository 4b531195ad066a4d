//! Reading the keys of a map one by one, collecting every problem on the way.

use std::collections::BTreeSet;
use std::str::FromStr;
use std::time::Duration;

pub(crate) use tk8s_core::read_duration;

use crate::Problem;
use crate::document::{Node, Value};

/// The keys of one map, and what is wrong with them.
pub(crate) struct Fields<'a> {
    entries: &'a [(String, usize, Node)],
    path: String,
    line: usize,
    known: BTreeSet<&'static str>,
    pub(crate) problems: &'a mut Vec<Problem>,
}

impl<'a> Fields<'a> {
    /// The map of a node; anything else is a problem, and reads as empty.
    pub(crate) fn of(node: &'a Node, path: String, problems: &'a mut Vec<Problem>) -> Fields<'a> {
        let entries = match &node.value {
            Value::Map(entries) => entries.as_slice(),
            Value::Scalar { text, plain: true } if text.is_empty() => &[],
            _ => {
                problems.push(Problem {
                    line: node.line,
                    key: path.clone(),
                    message: "it has to be a map of keys and values".into(),
                });
                &[]
            }
        };
        Fields { entries, path, line: node.line, known: BTreeSet::new(), problems }
    }

    /// Something wrong with a key, or with the map if the key is missing.
    pub(crate) fn problem(&mut self, key: &str, message: impl Into<String>) {
        let line = self.entries.iter().find(|(name, ..)| name == key).map_or(self.line, |(_, line, _)| *line);
        let key = self.join(key);
        self.problems.push(Problem { line, key, message: message.into() });
    }

    pub(crate) fn join(&self, key: &str) -> String {
        match (self.path.is_empty(), key.is_empty()) {
            (true, _) => key.into(),
            (_, true) => self.path.clone(),
            _ => format!("{}.{key}", self.path),
        }
    }

    /// Whether a key stands there, whatever its value.
    pub(crate) fn has(&self, key: &str) -> bool {
        self.entries.iter().any(|(name, ..)| name == key)
    }

    /// The node of a key. An empty value counts as absent.
    pub(crate) fn node(&mut self, key: &'static str) -> Option<&'a Node> {
        self.known.insert(key);
        let node = self.entries.iter().find(|(name, ..)| name == key).map(|(_, _, node)| node)?;
        match &node.value {
            Value::Scalar { text, plain: true } if text.is_empty() || text == "~" || text == "null" => None,
            _ => Some(node),
        }
    }

    pub(crate) fn text(&mut self, key: &'static str) -> Option<String> {
        match &self.node(key)?.value {
            Value::Scalar { text, .. } => Some(text.clone()),
            _ => {
                self.problem(key, "it has to be one value");
                None
            }
        }
    }

    /// A value that is parsed from its text.
    pub(crate) fn parse<T: FromStr<Err: std::fmt::Display>>(&mut self, key: &'static str) -> Option<T> {
        let text = self.text(key)?;
        match text.parse() {
            Ok(value) => Some(value),
            Err(error) => {
                self.problem(key, format!("{error}"));
                None
            }
        }
    }

    /// The same, for a key that has to be there.
    pub(crate) fn required<T: FromStr<Err: std::fmt::Display>>(&mut self, key: &'static str) -> Option<T> {
        if self.node(key).is_none() {
            self.problem(key, "it is missing");
            return None;
        }
        self.parse(key)
    }

    pub(crate) fn boolean(&mut self, key: &'static str) -> Option<bool> {
        match self.text(key)?.as_str() {
            "true" => Some(true),
            "false" => Some(false),
            _ => {
                self.problem(key, "it has to be `true` or `false`");
                None
            }
        }
    }

    pub(crate) fn duration(&mut self, key: &'static str) -> Option<Duration> {
        let text = self.text(key)?;
        let duration = read_duration(&text);
        if duration.is_none() {
            self.problem(key, "it has to be a time such as `30s`, `5m` or `1h30m`, above zero");
        }
        duration
    }

    /// A number of bytes: `4096`, `64KiB`, `512MiB`, `2GiB`.
    pub(crate) fn bytes(&mut self, key: &'static str) -> Option<u64> {
        let text = self.text(key)?;
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let unit = match &text[digits..] {
            "" => Some(1),
            "KiB" => Some(1 << 10),
            "MiB" => Some(1 << 20),
            "GiB" => Some(1 << 30),
            _ => None,
        };
        let number: Option<u64> = text[..digits].parse().ok();
        let bytes = number.zip(unit).and_then(|(number, unit)| number.checked_mul(unit)).filter(|bytes| *bytes > 0);
        if bytes.is_none() {
            self.problem(key, "it has to be a number of bytes such as `4096`, `64KiB`, `512MiB` or `2GiB`, above zero");
        }
        bytes
    }

    /// One of several words.
    pub(crate) fn choice<T: Copy>(&mut self, key: &'static str, choices: &[(&str, T)]) -> Option<T> {
        let text = self.text(key)?;
        let found = choices.iter().find(|(word, _)| *word == text).map(|(_, value)| *value);
        if found.is_none() {
            let words: Vec<_> = choices.iter().map(|(word, _)| format!("`{word}`")).collect();
            self.problem(key, format!("`{}` is not known: write {}", tk8s_core::printable(&text, 40), words.join(" or ")));
        }
        found
    }

    /// The items of a list.
    pub(crate) fn list(&mut self, key: &'static str) -> &'a [Node] {
        match self.node(key).map(|node| &node.value) {
            None => &[],
            Some(Value::List(items)) => items,
            Some(_) => {
                self.problem(key, "it has to be a list");
                &[]
            }
        }
    }

    pub(crate) fn texts(&mut self, key: &'static str) -> Vec<String> {
        let mut texts = Vec::new();
        for item in self.list(key) {
            match &item.value {
                Value::Scalar { text, .. } => texts.push(text.clone()),
                _ => self.problem(key, "it has to be a list of words"),
            }
        }
        texts
    }

    /// Reports every key that was never asked for.
    pub(crate) fn finish(self, renamed: &[(&str, &str)]) {
        for (name, line, _) in self.entries.iter().filter(|(name, ..)| !self.known.contains(name.as_str())) {
            let near = self.known.iter().filter(|known| distance(known, name) <= 2).min_by_key(|known| distance(known, name));
            let hint = match (renamed.iter().find(|(old, _)| old == name), near) {
                (Some((_, new)), _) => format!(": {new}"),
                (None, Some(near)) => format!(": did you mean `{near}`?"),
                (None, None) => {
                    format!(": known are {}", self.known.iter().map(|known| format!("`{known}`")).collect::<Vec<_>>().join(", "))
                }
            };
            let shown = tk8s_core::printable(name, 80);
            self.problems.push(Problem { line: *line, key: self.join(&shown), message: format!("unknown key{hint}") });
        }
    }
}

/// How many letters to change, add or remove (Levenshtein), for "did you mean".
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().take(64).collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().take(64).enumerate() {
        let mut before = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let change = before + usize::from(!x.eq_ignore_ascii_case(y));
            before = row[j + 1];
            row[j + 1] = change.min(row[j] + 1).min(before + 1);
        }
    }
    row[b.len()]
}
