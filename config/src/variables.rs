//! `variables` of the agent's file: names, and values that say their type. A text that YAML could take for something else has to
//! be put in quotes: nobody shall find out in the cluster that `0644` was a number.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::agent::VariableConfig;
use crate::document::{Node, Value};
use crate::fields::Fields;

/// Words that are booleans to one reader of YAML or another.
const WORDS: [&str; 12] = ["y", "n", "yes", "no", "on", "off", "true", "false", "null", "~", ".inf", ".nan"];

/// Reads the map.
pub(crate) fn read(top: &mut Fields<'_>) -> BTreeMap<String, VariableConfig> {
    let mut variables = BTreeMap::new();
    let Some(node) = top.node("variables") else { return variables };
    let Value::Map(entries) = &node.value else {
        top.problem("variables", "it has to be a map of names and values");
        return variables;
    };
    for (name, line, node) in entries {
        let key = format!("variables.{}", tk8s_core::printable(name, 80));
        let mut fail =
            |message: &str| top.problems.push(crate::Problem { line: *line, key: key.clone(), message: message.into() });
        if !is_name(name) {
            fail("a name has letters, digits and `_`, no digit first, at most 100");
            continue;
        }
        let value = match &node.value {
            Value::Scalar { text, plain } => scalar(text, *plain).map_err(&mut fail).ok(),
            Value::Map(entries) => match entries.as_slice() {
                [(file, _, Node { value: Value::Scalar { text, .. }, .. })] if file == "file" && text.starts_with('/') => {
                    Some(VariableConfig::File(PathBuf::from(text)))
                }
                _ => {
                    fail("write a value, or `{file: /absolute/path}` for a secret");
                    None
                }
            },
            Value::List(_) => {
                fail("write a text, a whole number, `true` or `false`, or `{file: /absolute/path}` for a secret");
                None
            }
        };
        variables.extend(value.map(|value| (name.clone(), value)));
    }
    variables
}

fn is_name(text: &str) -> bool {
    let letter = |byte: u8| byte.is_ascii_alphabetic() || byte == b'_';
    text.bytes().next().is_some_and(letter) && text.bytes().all(|byte| letter(byte) || byte.is_ascii_digit()) && text.len() <= 100
}

fn scalar(text: &str, plain: bool) -> Result<VariableConfig, &'static str> {
    match text {
        _ if !plain => return Ok(VariableConfig::Text(text.into())),
        "true" => return Ok(VariableConfig::Boolean(true)),
        "false" => return Ok(VariableConfig::Boolean(false)),
        "" => return Err("it has no value: write `\"\"` for an empty text"),
        _ => {}
    }
    // Only what would be written like this again is a number: `0644` and `+1` are not.
    if let Ok(number) = text.parse::<i64>()
        && number.to_string() == text
    {
        return Ok(VariableConfig::Integer(number));
    }
    let like_a_number = text.trim_start_matches(['+', '-', '.']).starts_with(|first: char| first.is_ascii_digit())
        && (text.parse::<f64>().is_ok()
            || text.replace('_', "").parse::<f64>().is_ok()
            || ["0x", "0o", "0b", "0X", "0O", "0B"].iter().any(|prefix| text.starts_with(prefix)));
    if like_a_number || WORDS.iter().any(|word| text.eq_ignore_ascii_case(word)) {
        return Err(
            "it could be a text or something else: put it in quotes if it is a text (numbers are whole, booleans `true` or `false`)",
        );
    }
    Ok(VariableConfig::Text(text.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_says_its_type_or_has_to_be_quoted() {
        for (text, value) in [
            ("3", VariableConfig::Integer(3)),
            ("-3", VariableConfig::Integer(-3)),
            ("true", VariableConfig::Boolean(true)),
            ("web", VariableConfig::Text("web".into())),
            ("1.2.3", VariableConfig::Text("1.2.3".into())),
            ("10.0.0.0/8", VariableConfig::Text("10.0.0.0/8".into())),
            ("500m", VariableConfig::Text("500m".into())),
        ] {
            assert_eq!(scalar(text, true), Ok(value), "{text}");
        }
        for text in ["0644", "+1", "1.5", "1e3", "yes", "No", "on", "0x1F", "1_000", "null", "", "9223372036854775808"] {
            assert!(scalar(text, true).is_err(), "{text}");
            assert_eq!(scalar(text, false), Ok(VariableConfig::Text(text.into())));
        }
    }
}
