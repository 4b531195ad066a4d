//! What is revoked: a key revocation list as `ssh-keygen -k` makes it, or keys, one a line.
//!
//! Revoking is the act of somebody in a hurry, so the reader is on their side: a file that can't be read to its end revokes
//! nothing by halves, it is an error, and nothing new is accepted until it is mended.

use std::io::Read as _;
use std::path::Path;
use std::sync::Arc;

use ssh_key::public::KeyData;

use super::key;
use super::krl::{Krl, MAGIC};
use crate::Error;

/// Some hundred thousand keys, or millions of certificates.
const LARGEST: u64 = 16 * 1024 * 1024;

/// A revocation file.
#[derive(Clone, Debug)]
pub struct Revocations(Arc<Form>);

#[derive(Debug)]
enum Form {
    Krl(Krl),
    Keys(Vec<KeyData>),
}

impl Revocations {
    /// Reads the file. One that is missing is an error: somebody said that there is one.
    pub fn read(path: &Path) -> Result<Revocations, Error> {
        let fail = |source| Error::ReadFile { what: "revocation file", path: path.into(), source };
        let mut bytes = Vec::new();
        std::fs::File::open(path).and_then(|file| file.take(LARGEST + 1).read_to_end(&mut bytes)).map_err(fail)?;
        Revocations::parse(&bytes, &path.display().to_string())
    }

    /// Reads either form. `name` is what errors call the file.
    pub fn parse(bytes: &[u8], name: &str) -> Result<Revocations, Error> {
        let fail = |line: Option<usize>, why: String| Error::Revocations { name: name.into(), line, why };
        if bytes.len() as u64 > LARGEST {
            return Err(fail(None, "it is larger than 16 MiB".into()));
        }
        if bytes.starts_with(MAGIC) {
            return Ok(Revocations(Arc::new(Form::Krl(Krl::parse(bytes).map_err(|why| fail(None, why))?))));
        }
        let text =
            std::str::from_utf8(bytes).map_err(|_| fail(None, "it is neither a list of `ssh-keygen -k` nor text".into()))?;
        let mut keys = Vec::new();
        for (index, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let key = key::from_line_or_certificate(line);
            let key = key.ok_or_else(|| fail(Some(index + 1), "it is not an SSH public key".into()))?;
            keys.push(key::plain(&key).clone());
        }
        Ok(Revocations(Arc::new(Form::Keys(keys))))
    }

    /// Why a key, or a key with a certificate, is revoked; or that it is not.
    pub(super) fn revokes(&self, shown: &KeyData) -> Option<String> {
        let keys = match &*self.0 {
            Form::Krl(krl) => return krl.revokes(shown),
            Form::Keys(keys) => keys,
        };
        if keys.contains(key::plain(shown)) {
            return Some("the key is revoked".into());
        }
        match shown {
            KeyData::Certificate(certificate) if keys.contains(certificate.signature_key()) => {
                Some("the authority of its certificate is revoked".into())
            }
            _ => None,
        }
    }
}
