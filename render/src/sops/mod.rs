//! Files that SOPS encrypted, with age: read, verified and decrypted in memory.
//!
//! The format is that of getsops/sops, whose sources are what this follows; its own program made the files that the tests
//! read. A file has a key of its own, which stands in its metadata once for each recipient ([`keys`]); each value is encrypted
//! with it and bound to the keys above it ([`value`]); a MAC covers all values in their order ([`open`]).
//!
//! Promises: no clear text leaves memory, and none of a file whose MAC does not fit is used at all; what was decrypted is known
//! as secret from then on. Does not fetch keys from anywhere: no KMS, no PGP, no key service. SOPS says who *may read* a file,
//! and not who wrote it: that is what the signatures of commits are for.

mod flat;
mod keys;
pub(crate) mod kustomize;
mod metadata;
mod open;
mod placeholder;
mod rule;
mod text;
mod tree;
mod value;
mod values;

use serde_json::Value;
use tk8s_core::Origin;

use crate::{Error, yaml};
pub use keys::AgeKeys;
pub(crate) use open::Opened;
pub(crate) use placeholder::Placeholders;
pub(crate) use value::PREFIX;
pub(crate) use values::{Secrets, Values};

/// A document of a decrypted file, and where its secrets are, as JSON pointers.
pub(crate) struct Document {
    pub(crate) value: Value,
    pub(crate) secrets: Vec<String>,
    pub(crate) origin: Origin,
}

/// Whether something in a file is encrypted: its MAC is, in every file that SOPS encrypts.
pub(crate) fn looks_encrypted(bytes: &[u8]) -> bool {
    bytes.windows(PREFIX.len()).any(|window| window == PREFIX.as_bytes())
}

/// Whether documents of a file, read as manifests, have metadata of SOPS.
pub(crate) fn has_metadata<'a>(mut documents: impl Iterator<Item = &'a Value>) -> bool {
    documents.any(|document| document.get(open::METADATA).is_some_and(Value::is_object))
}

/// The largest encrypted file: what it says is needed in memory several times. A Secret has at most 1 MiB.
const LARGEST: usize = 4 * 1024 * 1024;

/// Decrypts a file of YAML or JSON documents.
pub(crate) fn open_documents(bytes: &[u8], file: &str, keys: &AgeKeys) -> Result<Opened, Error> {
    if bytes.len() > LARGEST {
        let problem = format!("an encrypted file has at most {LARGEST} bytes: encrypt several smaller ones");
        return Err(Error::Sealed { origin: Origin { file: file.into(), line: 0 }, problem });
    }
    open::open(yaml::read_with(bytes, file, tree::read)?, keys)
}

/// Decrypts a file of variables.
pub(crate) fn open_variables(text: &str, file: &str, keys: &AgeKeys) -> Result<Opened, Error> {
    open::open(vec![flat::variables(text, file)?], keys)
}

/// The documents of a decrypted file as manifests.
pub(crate) fn documents(opened: &Opened) -> Result<Vec<Document>, Error> {
    let mut documents = Vec::new();
    for (node, origin) in &opened.documents {
        let (mut secrets, mut binary) = (Vec::new(), None);
        let value = node.to_value("", &mut |pointer, leaf| {
            secrets.extend(leaf.secret.then(|| pointer.to_owned()));
            binary = binary.or(leaf.binary.as_ref().map(|_| leaf.line));
            leaf.value.clone()
        });
        if let Some(line) = binary {
            let origin = Origin { line: origin.line + line, ..origin.clone() };
            let problem =
                "a value is bytes and no text, which a field can't hold: put base64 into `data` of a Secret, and encrypt that";
            return Err(Error::Sealed { origin, problem: problem.into() });
        }
        let empty = value.as_object().is_some_and(serde_json::Map::is_empty);
        documents.extend((!empty).then(|| Document { value, secrets, origin: origin.clone() }));
    }
    Ok(documents)
}

#[cfg(test)]
mod tests;
