//! The variables that the objects of a component may name: from the agent's own configuration, never from the repository.

use std::collections::BTreeMap;
use std::fmt;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::Value;
use sha2::Sha256;

/// The largest file that is a variable: what fits into an object.
const LARGEST: u64 = 1024 * 1024;

/// Where the value of a variable comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum VariableSource {
    /// A text, number or boolean that anybody may see.
    Value(Value),
    /// A file whose text, without the line break at its end, is a secret.
    File(PathBuf),
}

/// The value of a variable.
pub(crate) enum Variable {
    Open(Value),
    Secret(String),
    /// Why there is none.
    Missing(String),
}

/// Variables with their values. A file that can't be read is an error where the variable is used.
#[derive(Default)]
pub struct Variables {
    values: BTreeMap<String, Variable>,
    identity: String,
}

impl Variables {
    /// Reads the files as they are now. The identity of the values is public, so that of secrets is a hash under `key`.
    pub fn load(sources: &BTreeMap<String, VariableSource>, key: &[u8; 32]) -> Variables {
        let mut variables = Variables::default();
        for (name, source) in sources {
            let value = match source {
                VariableSource::Value(value) => Variable::Open(value.clone()),
                VariableSource::File(path) => read(path).map_or_else(Variable::Missing, Variable::Secret),
            };
            let identity = match &value {
                Variable::Open(value) => value.to_string(),
                Variable::Missing(problem) => format!("{problem:?}"),
                Variable::Secret(text) => {
                    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("because HMAC takes keys of any length");
                    mac.update(text.as_bytes());
                    hex::encode(mac.finalize().into_bytes())
                }
            };
            variables.identity.push_str(&format!("{name}={identity}\n"));
            variables.values.insert(name.clone(), value);
        }
        variables
    }

    pub(crate) fn get(&self, name: &str) -> Option<&Variable> {
        self.values.get(name)
    }

    /// Another identity may give other objects.
    pub(crate) fn identity(&self) -> &str {
        &self.identity
    }

    /// Their names, for people who mistyped one.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.values.keys().map(String::as_str)
    }
}

/// The names, and no value.
impl fmt::Debug for Variables {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.values.keys()).finish()
    }
}

fn read(path: &Path) -> Result<String, String> {
    let fail = |error: std::io::Error| format!("its file `{}` could not be read: {error}", path.display());
    let mut bytes = Vec::new();
    std::fs::File::open(path).map_err(fail)?.take(LARGEST + 1).read_to_end(&mut bytes).map_err(fail)?;
    if bytes.len() as u64 > LARGEST {
        return Err(format!("its file `{}` is larger than {LARGEST} bytes", path.display()));
    }
    let mut text = String::from_utf8(bytes).map_err(|_| format!("its file `{}` is not UTF-8", path.display()))?;
    let without = text.strip_suffix("\r\n").or(text.strip_suffix('\n')).map(str::len);
    text.truncate(without.unwrap_or(text.len()));
    Ok(text)
}

/// Whether a text can be the name of a variable: as shells have it.
pub(crate) fn is_name(text: &str) -> bool {
    let letter = |byte: u8| byte.is_ascii_alphabetic() || byte == b'_';
    text.bytes().next().is_some_and(letter) && text.bytes().all(|byte| letter(byte) || byte.is_ascii_digit()) && text.len() <= 100
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_a_variable_has_an_end() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(&file, vec![b'x'; LARGEST as usize]).unwrap();
        assert_eq!(read(file.path()).unwrap().len() as u64, LARGEST);
        std::fs::write(&file, vec![b'x'; LARGEST as usize + 1]).unwrap();
        assert!(read(file.path()).unwrap_err().ends_with("is larger than 1048576 bytes"));
    }
}
