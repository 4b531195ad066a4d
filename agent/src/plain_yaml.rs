//! YAML that means the same to every reader, whatever it takes a plain `yes`, `0644`, `1_000` or `12:30` for: only words that
//! are surely words are written plain, every other text is quoted as JSON quotes it.

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
                text.push_str(&" ".repeat(indent));
                text.push('-');
                below(item, indent, text);
            }
        }
        other => {
            text.push_str(&flow(other));
            text.push('\n');
        }
    }
}

fn below(value: &Value, indent: usize, text: &mut String) {
    let nested = match value {
        Value::Object(fields) => !fields.is_empty(),
        Value::Array(items) => !items.is_empty(),
        _ => false,
    };
    if nested {
        text.push('\n');
        block(value, indent + 2, text);
    } else {
        text.push(' ');
        text.push_str(&flow(value));
        text.push('\n');
    }
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
    let first = text.chars().next().is_some_and(|first| first.is_ascii_alphabetic());
    let last = text.chars().last().is_some_and(|last| last.is_ascii_alphanumeric());
    let inner = text.chars().all(|letter| letter.is_ascii_alphanumeric() || "-_./".contains(letter));
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
            "data": {"a": "yes", "b": "0644", "c": "1_000", "d": "12:30", "e": "plain-word", "f": "two\nlines", "g": "", "on": "x"},
            "list": [[], {}, {"x": [1, 2.5, null, true]}],
        });
        let expected = "data:\n  a: \"yes\"\n  b: \"0644\"\n  c: \"1_000\"\n  d: \"12:30\"\n  e: plain-word\n  f: \"two\\nlines\"\n  g: \"\"\n  \"on\": x\nkind: ConfigMap\nlist:\n  - []\n  - {}\n  -\n    x:\n      - 1\n      - 2.5\n      - null\n      - true\n";
        assert_eq!(write(&object), expected);
    }

    fn any_value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<String>().prop_map(Value::from),
            "[a-zA-Z0-9_.:/ ~-]{0,8}".prop_map(Value::from),
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
