//! Encrypted files of a kustomization: decrypted and verified in memory, and handed to the program with a placeholder in the
//! place of every decrypted value. So no clear text is on disk, and the program sees the shape of what it patches and names.

use serde_json::Value;
use tk8s_core::Origin;
use zeroize::Zeroizing;

use super::text::{self, Format};
use super::{AgeKeys, Opened, Placeholders, flat, open_documents, open_variables};
use crate::{Error, yaml};

/// What a kustomization does with a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// Reads its fields: a resource, a patch, a configuration.
    Fields,
    /// Reads what to do.
    Kustomization,
    /// A generator takes it whole.
    Whole,
    /// A generator takes its variables.
    Variables,
    /// Several of these.
    Several,
}

/// What kustomize looks at to know which object it has before it.
const IDENTITY: [&str; 4] = ["/apiVersion", "/kind", "/metadata/name", "/metadata/namespace"];

/// The file as the program may see it.
pub(crate) fn veiled(
    bytes: &[u8],
    path: &str,
    role: Role,
    keys: &AgeKeys,
    placeholders: &mut Placeholders,
) -> Result<Vec<u8>, Error> {
    let refuse = |problem: &str| Error::Sealed { origin: Origin { file: path.into(), line: 0 }, problem: problem.into() };
    match role {
        Role::Fields => fields(&open_documents(bytes, path, keys)?, path, placeholders),
        Role::Whole => {
            let format = Format::of(path);
            if format == Format::Ini {
                return Err(refuse("INI files are not supported: encrypt it with `--input-type binary`, and name it otherwise"));
            }
            let opened = open_any(bytes, path, format, keys)?;
            let text = text::whole(&opened, format).map_err(refuse)?;
            Ok(placeholders.of_bytes(&opened.data_key, path, text).into_bytes())
        }
        Role::Variables => variables(bytes, path, keys, placeholders),
        Role::Kustomization => Err(refuse("a kustomization can't be encrypted: encrypt the files that it names")),
        Role::Several => Err(refuse(
            "it is encrypted, and the kustomization uses it in two ways (as a resource, and in a generator): give each use its own file",
        )),
    }
}

/// A delimiter in a plain file of a kustomization by which a replacement would take a placeholder apart: one of letters and
/// digits. None of the usual ones is.
pub(crate) fn cutting_delimiter(bytes: &[u8], path: &str) -> Option<String> {
    fn find(value: &Value) -> Option<String> {
        match value {
            Value::Object(fields) => fields.iter().find_map(|(name, value)| match (name.as_str(), value.as_str()) {
                ("delimiter", Some(text)) if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric()) => {
                    Some(text.to_owned())
                }
                _ => find(value),
            }),
            Value::Array(items) => items.iter().find_map(find),
            // Patches and configurations may be texts in a kustomization.
            Value::String(text) if text.contains("delimiter") => {
                yaml::read(text.as_bytes(), "inline").ok()?.iter().find_map(|(value, _)| find(value))
            }
            _ => None,
        }
    }
    let word = b"delimiter";
    let named = bytes.windows(word.len()).any(|window| window == word);
    named.then(|| yaml::read(bytes, path).ok()).flatten()?.iter().find_map(|(value, _)| find(value))
}

fn open_any(bytes: &[u8], path: &str, format: Format, keys: &AgeKeys) -> Result<Opened, Error> {
    match (format, std::str::from_utf8(bytes)) {
        (Format::Variables, Ok(text)) => open_variables(text, path, keys),
        _ => open_documents(bytes, path, keys),
    }
}

fn fields(opened: &Opened, path: &str, placeholders: &mut Placeholders) -> Result<Vec<u8>, Error> {
    let mut out = Vec::new();
    for (node, origin) in &opened.documents {
        let mut unfit = None;
        let value = node.to_value("", &mut |pointer, leaf| {
            if !leaf.secret {
                return leaf.value.clone();
            }
            let own = own_pointer(pointer);
            if IDENTITY.contains(&own) || leaf.binary.is_some() {
                unfit = unfit.take().or(Some((leaf.line, own.to_owned())));
            }
            placeholders.of_value(&opened.data_key, &format!("{path}#{pointer}"), &leaf.value).into()
        });
        if let Some((line, pointer)) = unfit {
            let problem = format!(
                "`{pointer}` is encrypted, and kustomize has to read it: encrypt values only, for example with \
                 `--encrypted-regex '^(data|stringData)$'`"
            );
            return Err(Error::Sealed { origin: Origin { line: origin.line + line, ..origin.clone() }, problem });
        }
        // JSON, which kustomize reads as YAML.
        out.extend_from_slice(b"---\n");
        out.extend_from_slice(value.to_string().as_bytes());
        out.push(b'\n');
    }
    Ok(out)
}

/// Where something is in its own object, if that is an item of a list of objects.
fn own_pointer(pointer: &str) -> &str {
    let item = pointer.strip_prefix("/items/").and_then(|rest| rest.find('/').map(|at| &rest[at..]));
    item.unwrap_or(pointer)
}

/// `NAME=placeholder` lines. A file that was encrypted as a whole is one of variables all the same.
fn variables(bytes: &[u8], path: &str, keys: &AgeKeys, placeholders: &mut Placeholders) -> Result<Vec<u8>, Error> {
    let refuse = |problem: &str| Error::Sealed { origin: Origin { file: path.into(), line: 0 }, problem: problem.into() };
    let mut out = String::new();
    let mut put = |key: &_, name: &str, value: String, secret: bool| {
        let place = format!("{path}#{name}");
        let value = if secret && !value.is_empty() { placeholders.of_value(key, &place, &Value::String(value)) } else { value };
        out.push_str(&format!("{name}={value}\n"));
    };
    match std::str::from_utf8(bytes) {
        Ok(text) if flat::is_variables(text) => {
            let opened = open_variables(text, path, keys)?;
            for (name, leaf) in text::variables(&opened).map_err(refuse)? {
                put(&opened.data_key, name, text::plain(leaf).map_err(refuse)?.replace('\n', "\\n"), leaf.secret);
            }
        }
        _ => {
            let opened = open_documents(bytes, path, keys)?;
            let data = Zeroizing::new(text::data(&opened).map_err(refuse)?);
            let text = std::str::from_utf8(&data).map_err(|_| refuse("what it holds is no text, and variables are"))?;
            for line in text.lines().map(str::trim_start).filter(|line| !line.is_empty() && !line.starts_with('#')) {
                let (name, value) = line.split_once('=').ok_or_else(|| refuse("a decrypted line is no `NAME=value`"))?;
                put(&opened.data_key, name, value.to_owned(), true);
            }
        }
    }
    Ok(out.into_bytes())
}
