//! What a scalar is, as go-yaml v2 decides it (through sigs.k8s.io/yaml, which kubectl uses): YAML 1.1 with Go's own
//! number syntax. `0644` is 420, `yes` is true, `5e1234` is text.
//!
//! A scalar becomes a value or a key, and Go writes the two differently: the value `1e7` is 10000000, the key `1e+07`.

use serde_json::{Number, Value};

/// A scalar that was resolved.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Scalar {
    /// `~`, or nothing at all.
    Null,
    /// One of YAML 1.1's 22 words.
    Bool(bool),
    /// A whole number that JSON in Kubernetes keeps as one.
    Integer(i64),
    /// A whole number beyond that: kubectl makes a float of it.
    Large(u64),
    /// Infinities and NaN are among them.
    Float(f64),
    /// The text itself.
    Text,
}

/// What an untagged plain scalar is.
pub(crate) fn resolve(text: &str) -> Scalar {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => Scalar::Null,
        "y" | "Y" | "yes" | "Yes" | "YES" | "on" | "On" | "ON" | "true" | "True" | "TRUE" => Scalar::Bool(true),
        "n" | "N" | "no" | "No" | "NO" | "off" | "Off" | "OFF" | "false" | "False" | "FALSE" => Scalar::Bool(false),
        ".nan" | ".NaN" | ".NAN" => Scalar::Float(f64::NAN),
        ".inf" | ".Inf" | ".INF" | "+.inf" | "+.Inf" | "+.INF" => Scalar::Float(f64::INFINITY),
        "-.inf" | "-.Inf" | "-.INF" => Scalar::Float(f64::NEG_INFINITY),
        _ => number(text).unwrap_or(Scalar::Text),
    }
}

fn number(text: &str) -> Option<Scalar> {
    match text.bytes().next()? {
        b'.' if !between_digits(text) => None,
        b'.' => float(&text.replace('_', "")),
        b'0'..=b'9' | b'+' | b'-' => {
            let plain = text.replace('_', "");
            integer(&plain).or_else(|| float(&plain))
        }
        _ => None,
    }
}

/// Whether underscores stand between digits only, as Go's `strconv.ParseFloat` wants them.
fn between_digits(text: &str) -> bool {
    let digit = |at: Option<usize>| at.and_then(|at| text.as_bytes().get(at)).is_some_and(u8::is_ascii_digit);
    text.match_indices('_').all(|(at, _)| digit(at.checked_sub(1)) && digit(Some(at + 1)))
}

/// Go's `strconv.ParseInt(text, 0, 64)` and `ParseUint`, and go-yaml's own `0b` and `-0b`.
fn integer(text: &str) -> Option<Scalar> {
    let (negative, digits) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    let (radix, digits) = match digits.as_bytes() {
        [b'0', b'x' | b'X', ..] => (16, &digits[2..]),
        [b'0', b'b' | b'B', ..] => (2, &digits[2..]),
        [b'0', b'o' | b'O', ..] => (8, &digits[2..]),
        [b'0', _, ..] => (8, &digits[1..]),
        _ => (10, digits),
    };
    if digits.is_empty() || digits.starts_with(['+', '-']) {
        return None;
    }
    let value = u64::from_str_radix(digits, radix).ok()?;
    match (negative, i64::try_from(value)) {
        (false, Ok(value)) => Some(Scalar::Integer(value)),
        (false, Err(_)) => Some(Scalar::Large(value)),
        // The smallest number has no positive twin.
        (true, _) => i64::try_from(-i128::from(value)).ok().map(Scalar::Integer),
    }
}

/// go-yaml's pattern for floats: `[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?`. Numbers beyond what a float holds
/// stay text.
fn float(text: &str) -> Option<Scalar> {
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    let (mantissa, exponent) =
        unsigned.find(['e', 'E']).map_or((unsigned, None), |at| (&unsigned[..at], Some(&unsigned[at + 1..])));
    let (whole, fraction) = mantissa.split_once('.').map_or((mantissa, None), |(whole, fraction)| (whole, Some(fraction)));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let good = digits(whole)
        && fraction.is_none_or(digits)
        && (!whole.is_empty() || fraction.is_some_and(|fraction| !fraction.is_empty()));
    let exponent_good = exponent.is_none_or(|text| {
        let text = text.strip_prefix(['-', '+']).unwrap_or(text);
        !text.is_empty() && digits(text)
    });
    if !good || !exponent_good {
        return None;
    }
    text.parse().ok().filter(|value: &f64| value.is_finite()).map(Scalar::Float)
}

impl Scalar {
    /// The value in JSON.
    pub(crate) fn value(self, text: String) -> Result<Value, String> {
        match self {
            Scalar::Null => Ok(Value::Null),
            Scalar::Bool(value) => Ok(value.into()),
            Scalar::Integer(value) => Ok(value.into()),
            Scalar::Large(value) => float_value(value as f64),
            Scalar::Float(value) => float_value(value),
            Scalar::Text => Ok(Value::String(text)),
        }
    }

    /// The text that a key becomes.
    pub(crate) fn key(self, text: String) -> Result<String, String> {
        match self {
            Scalar::Null => Err("a key is empty: write the word in quotes".into()),
            Scalar::Bool(value) => Ok(value.to_string()),
            Scalar::Integer(value) => Ok(value.to_string()),
            Scalar::Large(_) => Err("a key is a number that is too large: put it in quotes".into()),
            Scalar::Float(value) => Ok(float_key(value)),
            Scalar::Text => Ok(text),
        }
    }
}

/// A float as Go's JSON writes it and Kubernetes reads it back: a whole one is a whole number.
pub(crate) fn float_value(value: f64) -> Result<Value, String> {
    if value.fract() == 0.0
        // The shortest digits, zeros after them: not the float's own last digits, and neither are Go's.
        && let Ok(whole) = value.to_string().parse::<i64>()
    {
        return Ok(whole.into());
    }
    Number::from_f64(value).map(Value::Number).ok_or_else(|| "infinities and NaN have no place in JSON: put it in quotes".into())
}

/// Go's `FormatFloat(value, 'g', -1, 32)`, with which sigs.k8s.io/yaml writes keys.
fn float_key(value: f64) -> String {
    if value.is_nan() {
        return ".nan".into();
    }
    let value = value as f32;
    if value.is_infinite() {
        return if value > 0.0 { ".inf" } else { "-.inf" }.into();
    }
    let scientific = format!("{value:e}");
    let (mantissa, exponent) = scientific.split_once('e').expect("because `{:e}` writes an exponent");
    let exponent: i32 = exponent.parse().expect("because `{:e}` writes a whole exponent");
    if !(-4..6).contains(&exponent) {
        return format!("{mantissa}e{}{:02}", if exponent < 0 { '-' } else { '+' }, exponent.abs());
    }
    format!("{value}")
}
