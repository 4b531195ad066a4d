//! A decrypted file as text, as its format wants it: what a generator puts whole into a ConfigMap or Secret. Comments are
//! gone, and YAML has its texts in double quotes.

use serde_json::Value;

use super::open::Opened;
use super::tree::{Leaf, Node};

/// What a file is, by its name, as SOPS decides it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    Yaml,
    Json,
    Variables,
    /// Sections of INI.
    Ini,
    /// Anything, whole in one value.
    Binary,
}

impl Format {
    pub(super) fn of(path: &str) -> Format {
        match path.rsplit_once('.').map(|(_, ending)| ending) {
            Some("yaml" | "yml") => Format::Yaml,
            Some("json") => Format::Json,
            Some("env") => Format::Variables,
            Some("ini") => Format::Ini,
            _ => Format::Binary,
        }
    }
}

/// The whole text of a file.
pub(super) fn whole(opened: &Opened, format: Format) -> Result<Vec<u8>, &'static str> {
    let mut out = String::new();
    match format {
        Format::Yaml => {
            for (index, (node, _)) in opened.documents.iter().enumerate() {
                out.push_str(if index > 0 { "---\n" } else { "" });
                yaml(node, 0, &mut out)?;
            }
        }
        Format::Json => {
            json(opened.documents.first().map(|(node, _)| node), &mut out)?;
            out.push('\n');
        }
        Format::Variables => {
            for (name, leaf) in variables(opened)? {
                out.push_str(&format!("{name}={}\n", plain(leaf)?.replace('\n', "\\n")));
            }
        }
        Format::Binary | Format::Ini => return data(opened),
    }
    Ok(out.into_bytes())
}

/// The one value of a file of anything.
pub(super) fn data(opened: &Opened) -> Result<Vec<u8>, &'static str> {
    match opened.documents.first().and_then(|(node, _)| node.get("data")) {
        Some(Node::Leaf(Leaf { binary: Some(bytes), .. })) => Ok(bytes.clone()),
        Some(Node::Leaf(Leaf { value: Value::String(text), .. })) => Ok(text.clone().into_bytes()),
        _ => Err(
            "by its name it is a binary file, and it has no `data`: SOPS knows formats by `.yaml`, `.yml`, `.json` and `.env`",
        ),
    }
}

/// The names and values of a file of variables.
pub(super) fn variables(opened: &Opened) -> Result<impl Iterator<Item = (&str, &Leaf)>, &'static str> {
    let leaf = |(name, node): &'_ (String, Node)| match node {
        Node::Leaf(_) => Ok(name.len()),
        _ => Err("a variable is a list or a map"),
    };
    let entries = match opened.documents.first() {
        Some((Node::Map(entries), _)) => entries.as_slice(),
        _ => &[],
    };
    entries.iter().try_for_each(|entry| leaf(entry).map(drop))?;
    Ok(entries.iter().filter_map(|(name, node)| match node {
        Node::Leaf(leaf) => Some((name.as_str(), leaf)),
        _ => None,
    }))
}

/// A scalar as plain text.
pub(super) fn plain(leaf: &Leaf) -> Result<String, &'static str> {
    match (&leaf.value, &leaf.binary) {
        (_, Some(_)) => Err("a value is bytes and no text"),
        (Value::String(text), _) => Ok(text.clone()),
        (Value::Null, _) => Ok(String::new()),
        (other, _) => Ok(other.to_string()),
    }
}

/// A scalar as JSON, which is YAML too but for line breaks that only Unicode knows.
fn scalar(leaf: &Leaf, out: &mut String) -> Result<(), &'static str> {
    if leaf.binary.is_some() {
        return Err("a value is bytes and no text");
    }
    out.push_str(
        &leaf.value.to_string().replace('\u{85}', "\\u0085").replace('\u{2028}', "\\u2028").replace('\u{2029}', "\\u2029"),
    );
    Ok(())
}

fn json(node: Option<&Node>, out: &mut String) -> Result<(), &'static str> {
    match node {
        None => out.push_str("{}"),
        Some(Node::Leaf(leaf)) => scalar(leaf, out)?,
        Some(Node::List(items)) => {
            out.push('[');
            for (index, item) in items.iter().enumerate() {
                out.push_str(if index > 0 { "," } else { "" });
                json(Some(item), out)?;
            }
            out.push(']');
        }
        Some(Node::Map(entries)) => {
            out.push('{');
            for (index, (name, value)) in entries.iter().enumerate() {
                out.push_str(if index > 0 { "," } else { "" });
                out.push_str(&format!("{}:", Value::String(name.clone())));
                json(Some(value), out)?;
            }
            out.push('}');
        }
    }
    Ok(())
}

fn yaml(node: &Node, depth: usize, out: &mut String) -> Result<(), &'static str> {
    let indent = "  ".repeat(depth);
    match node {
        Node::Map(entries) if !entries.is_empty() => entries.iter().try_for_each(|(name, value)| {
            let simple = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-./".contains(&byte));
            let word = simple && name.starts_with(|first: char| first.is_ascii_alphabetic());
            let name = if word && matches!(crate::scalar::resolve(name), crate::scalar::Scalar::Text) {
                name.clone()
            } else {
                Value::String(name.clone()).to_string()
            };
            out.push_str(&format!("{indent}{name}:"));
            below(value, depth, out)
        }),
        Node::List(items) if !items.is_empty() => items.iter().try_for_each(|item| {
            out.push_str(&format!("{indent}-"));
            below(item, depth, out)
        }),
        other => {
            out.push_str(&indent);
            json(Some(other), out)?;
            out.push('\n');
            Ok(())
        }
    }
}

fn below(value: &Node, depth: usize, out: &mut String) -> Result<(), &'static str> {
    let nested = match value {
        Node::Map(entries) => !entries.is_empty(),
        Node::List(items) => !items.is_empty(),
        Node::Leaf(_) => false,
    };
    out.push(if nested { '\n' } else { ' ' });
    yaml(value, if nested { depth + 1 } else { 0 }, out)
}
