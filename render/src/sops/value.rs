//! One encrypted value: `ENC[AES256_GCM,data:...,iv:...,tag:...,type:...]`, each part in base64 (getsops/sops, `aes/cipher.go`).
//!
//! What a value says of its type is not part of what is authenticated, in SOPS itself: whoever can change the file can make a
//! number a text of the same digits. Everything else is: the value, and the keys above it.

use aes_gcm::aead::consts::U32;
use aes_gcm::aead::{AeadInOut as _, KeyInit as _};
use aes_gcm::aes::Aes256;
use aes_gcm::{AesGcm, Nonce};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Number, Value};
use zeroize::Zeroizing;

use super::tree::hashed_number;
use crate::scalar;

/// What every encrypted value begins with.
pub(crate) const PREFIX: &str = "ENC[AES256_GCM,";

/// The key of one file.
pub(crate) type DataKey = Zeroizing<[u8; 32]>;

/// A decrypted value.
pub(crate) enum Clear {
    /// A scalar, and what SOPS hashes of it.
    Value(Value, Vec<u8>),
    /// Bytes that are no text.
    Binary(Vec<u8>),
    /// A comment, which is no value.
    Comment,
}

/// Decrypts a value that stands below these keys.
pub(crate) fn decrypt(text: &str, key: &DataKey, path: &[String]) -> Result<Clear, &'static str> {
    if text.is_empty() {
        return Ok(Clear::Value("".into(), Vec::new()));
    }
    let mut bytes = Zeroizing::new(Vec::new());
    let kind = open(text, key, &(path.join(":") + ":"), &mut bytes)?;
    let text = || std::str::from_utf8(&bytes).map_err(|_| "it holds a value that is not what its type says");
    let wrong = "it holds a value that is not what its type says";
    Ok(match kind {
        "str" | "bytes" => match std::str::from_utf8(&bytes) {
            Ok(text) => Clear::Value(text.into(), bytes.to_vec()),
            Err(_) => Clear::Binary(bytes.to_vec()),
        },
        "int" => {
            let number = Number::from(text()?.parse::<i64>().map_err(|_| wrong)?);
            let hashed = number.to_string().into_bytes();
            Clear::Value(Value::Number(number), hashed)
        }
        "float" => {
            let float: f64 = text()?.parse().map_err(|_| wrong)?;
            let number = Number::from_f64(float).ok_or("it holds a number that JSON has no word for")?;
            let hashed = hashed_number(&number);
            Clear::Value(scalar::float_value(float).unwrap_or(Value::Number(number)), hashed)
        }
        "bool" => match text()? {
            "1" | "t" | "T" | "true" | "TRUE" | "True" => Clear::Value(true.into(), b"True".to_vec()),
            "0" | "f" | "F" | "false" | "FALSE" | "False" => Clear::Value(false.into(), b"False".to_vec()),
            _ => return Err(wrong),
        },
        "time" => Clear::Value(text()?.into(), bytes.to_vec()),
        "comment" => Clear::Comment,
        _ => return Err("it holds a value of a type that is not known"),
    })
}

/// Decrypts a text that stands for itself: the MAC, which is bound to the time of the last change.
pub(crate) fn decrypt_bound_to(text: &str, key: &DataKey, bound_to: &str) -> Result<Zeroizing<Vec<u8>>, &'static str> {
    let mut bytes = Zeroizing::new(Vec::new());
    open(text, key, bound_to, &mut bytes)?;
    Ok(bytes)
}

/// Takes an encrypted value apart and opens it into `bytes`; gives its type.
fn open<'t>(text: &'t str, key: &DataKey, bound_to: &str, bytes: &mut Zeroizing<Vec<u8>>) -> Result<&'t str, &'static str> {
    let broken = "it holds an encrypted value that is damaged";
    let inner =
        text.strip_prefix(PREFIX).and_then(|text| text.strip_suffix(']')).ok_or("a value that has to be encrypted is not")?;
    let mut parts = inner.splitn(4, ',');
    let mut part = |name: &str| parts.next().and_then(|part| part.strip_prefix(name)).ok_or(broken);
    let mut decoded = |name: &str| STANDARD.decode(part(name)?).map_err(|_| broken);
    let (data, iv, tag) = (decoded("data:")?, decoded("iv:")?, decoded("tag:")?);
    let kind = part("type:")?;
    let nonce = Nonce::<U32>::try_from(iv.as_slice()).map_err(|_| broken)?;
    let tag = aes_gcm::Tag::try_from(tag.as_slice()).map_err(|_| broken)?;
    **bytes = data;
    AesGcm::<Aes256, U32>::new((&**key).into())
        .decrypt_inout_detached(&nonce, bound_to.as_bytes(), bytes.as_mut_slice().into(), &tag)
        .map_err(|_| "a value was changed or moved after it was encrypted, or belongs to another file")?;
    Ok(kind)
}
