//! An SSH key that the signers file lists.

use ssh_key::PublicKey;

use super::{NAMESPACE, allowed_signers};
use crate::verify::Rule;
use crate::verify::signers::Fit;

/// A key, and for what it may sign.
#[derive(Clone, Debug)]
pub(in crate::verify) struct Known {
    pub(super) key: PublicKey,
    /// Patterns of namespaces, from an `allowed_signers` file.
    pub(super) namespaces: Option<String>,
}

impl Known {
    /// A public key as one line; certificates and private keys are none.
    pub(in crate::verify) fn read(line: &str) -> Option<Known> {
        let mut words = line.split_whitespace();
        let (kind, data) = (words.next()?, words.next()?);
        let key = PublicKey::from_openssh(&format!("{kind} {data}")).ok()?;
        Some(Known { key, namespaces: None })
    }

    /// As OpenSSH prints it: `SHA256:...`.
    pub(in crate::verify) fn fingerprint(&self) -> String {
        self.key.fingerprint(ssh_key::HashAlg::Sha256).to_string()
    }

    /// Whether this key made a signature that was verified with `key`.
    pub(super) fn fit(&self, key: &PublicKey) -> Fit {
        if self.key.key_data() != key.key_data() {
            return Fit::Other;
        }
        match &self.namespaces {
            Some(patterns) if !allowed_signers::list_matches(patterns, NAMESPACE) => {
                Fit::Refused(Rule::WrongNamespace, format!("this key may not sign for `{NAMESPACE}`"))
            }
            _ => Fit::Made { called: None },
        }
    }
}
