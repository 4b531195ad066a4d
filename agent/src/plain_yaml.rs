//! YAML that means the same to every reader, whatever it takes a plain `yes`, `0644`, `1_000` or `12:30` for: only words that
//! are surely words are written plain, several lines as a block if it keeps each byte of them, every other text quoted as JSON
//! quotes it.

use serde_json::Value;

/// An object as a YAML document.
pub fn write(value: &Value) -> String {
    let mut text = String::new();
    block(value, 0, &mut text);
    text
}

/// A map or list on lines of its own, each indented so far; anything else on the rest of the line.
fn block(value: &Value, indent: usize, text: &mut String) {
    match value {
        Value::Object(fields) if !fields.is_empty() => {
            for (name, value) in fields {
                let (spaces, name) = (" ".repeat(indent), scalar(name));
                // A longer key is none to readers of YAML unless it is announced.
                match name.len() > LONGEST_KEY {
                    true => text.push_str(&format!("{spaces}? {name}\n{spaces}:")),
                    false => text.push_str(&format!("{spaces}{name}:")),
                }
                below(value, indent, text);
            }
        }
        Value::Array(items) if !items.is_empty() => {
            for item in items {
                let (spaces, start) = (" ".repeat(indent), text.len());
                if nested(item) {
                    // Its first line is the one with the dash.
                    block(item, indent + 2, text);
                    text.replace_range(start..start + indent + 2, &format!("{spaces}- "));
                } else {
                    text.push_str(&format!("{spaces}-"));
                    below(item, indent, text);
                }
            }
        }
        other => {
            text.push_str(&flow(other));
            text.push('\n');
        }
    }
}

/// Whether it has lines of its own.
fn nested(value: &Value) -> bool {
    match value {
        Value::Object(fields) => !fields.is_empty(),
        Value::Array(items) => !items.is_empty(),
        _ => false,
    }
}

/// What follows the colon of a key, or the dash of an item that isn't nested.
fn below(value: &Value, indent: usize, text: &mut String) {
    if nested(value) {
        text.push('\n');
        return block(value, indent + 2, text);
    }
    match value {
        Value::String(lines) if is_literal(lines) => {
            text.push_str(if lines.ends_with('\n') { " |\n" } else { " |-\n" });
            for line in lines.lines() {
                let spaces = if line.is_empty() { 0 } else { indent + 2 };
                text.push_str(&format!("{}{line}\n", " ".repeat(spaces)));
            }
        }
        other => text.push_str(&format!(" {}\n", flow(other))),
    }
}

/// Whether a literal block gives back each byte of a text, to every reader: it has lines, none that begins or ends with what
/// only an eye could count, and nothing that isn't plainly a letter.
fn is_literal(text: &str) -> bool {
    let plain = |letter: char| matches!(letter, ' '..='~' | '\n') || letter.is_alphanumeric();
    let mut lines = text.lines();
    text.contains('\n')
        && text.chars().all(plain)
        && !text.starts_with([' ', '\n'])
        && !text.ends_with("\n\n")
        && lines.all(|line| !line.ends_with(' '))
}

fn flow(value: &Value) -> String {
    match value {
        Value::String(text) => scalar(text),
        Value::Object(_) => "{}".into(),
        Value::Array(_) => "[]".into(),
        other => other.to_string(),
    }
}

/// The longest key before its colon, in bytes.
const LONGEST_KEY: usize = 1000;
/// Words that some reader takes for something else than a text.
const NO_WORDS: [&str; 12] = ["y", "n", "yes", "no", "on", "off", "true", "false", "null", "nan", "inf", "nil"];

fn scalar(text: &str) -> String {
    let first = text.chars().next().is_some_and(|first| first.is_ascii_alphabetic() || first == '/');
    let last = text.chars().last().is_some_and(|last| last.is_ascii_alphanumeric());
    let inner = text.chars().all(|letter| letter.is_ascii_alphanumeric() || "-_./:@=+".contains(letter));
    if first && last && inner && !NO_WORDS.contains(&text.to_ascii_lowercase().as_str()) {
        return text.into();
    }
    let mut quoted = String::from('"');
    for letter in text.chars() {
        match letter {
            '"' | '\\' => quoted.extend(['\\', letter]),
            '\n' => quoted.push_str("\\n"),
            '\t' => quoted.push_str("\\t"),
            ' '..='~' => quoted.push(letter),
            _ if letter.is_alphanumeric() => quoted.push(letter),
            _ => quoted.push_str(&format!("\\U{:08x}", u32::from(letter))),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn only_what_is_surely_a_word_is_written_plain() {
        let object = json!({
            "kind": "ConfigMap",
            "data": {"a": "yes", "b": "0644", "c": "1_000", "d": "12:30", "e": "plain-word", "f": "two\nlines", "g": "", "on": "x",
                     "h": "a: 1\n\n  b: 2\n", "i": "ends \nwith a space", "image": "registry:5000/web@sha256:12"},
            "list": [[], {}, {"x": [1, 2.5, null, true], "y": ["a\nb"]}, [[1], [2]]],
        });
        let expected = r#"data:
  a: "yes"
  b: "0644"
  c: "1_000"
  d: "12:30"
  e: plain-word
  f: |-
    two
    lines
  g: ""
  h: |
    a: 1

      b: 2
  i: "ends \nwith a space"
  image: registry:5000/web@sha256:12
  "on": x
kind: ConfigMap
list:
  - []
  - {}
  - x:
      - 1
      - 2.5
      - null
      - true
    "y":
      - |-
        a
        b
  - - - 1
    - - 2
"#;
        assert_eq!(write(&object), expected);
    }

    fn any_value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<String>().prop_map(Value::from),
            "[a-zA-Z0-9_.:/ ~-]{0,8}".prop_map(Value::from),
            "[a-c#: \n'-]{0,12}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 40, 5, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
                prop::collection::btree_map(any::<String>(), inner, 0..5)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_as_the_same(value in any_value()) {
            let text = write(&value);
            let read: Value = serde_yaml::from_str(&text).map_err(|error| TestCaseError::fail(format!("{error}: {text}")))?;
            prop_assert_eq!(read, value, "{}", text);
        }
    }
}
