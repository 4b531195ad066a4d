//! X.509 signatures, as Git uses them through gpgsm (`gpg.format=x509`) or gitsign.
//!
//! Two kinds of signers have them. Somebody with a certificate of a company's authority: the roots are listed, and the name
//! in the certificate is the one expected, valid now by our own clock. And somebody with a certificate of Sigstore's that was
//! good for ten minutes: then the log that saw the signature in those minutes is proven too (`keyless`).
//!
//! Nothing is looked up: what a verdict needs is in the signature and in the signers file.

mod chain;
mod cms;
mod keyless;
mod log;
mod names;
mod sct;

use chain::{CODE_OR_MAIL, Roots, Unbelieved};
use cms::Message;
pub(super) use keyless::Keyless;
use sha2::{Digest as _, Sha256};
use tk8s_core::Timestamp;

use super::signature::{Asked, Broken, Signed};
use super::signers::{Credential, Fit};
use super::{Rule, Signers};

/// Who signed this payload.
pub(super) fn verify(payload: &[u8], block: &[u8], signers: &Signers, asked: Asked) -> Result<Signed, Broken> {
    // Mathematics first: whether the signer may is only worth saying of a signature that is one.
    let message = Message::proven(payload, block)?;
    let fingerprint = hex::encode_upper(Sha256::digest(&message.der));
    let judged = signers.judge(asked, |credential| match credential {
        Credential::X509(identity) => identity.fit(&message, asked.now),
        Credential::Keyless(keyless) => keyless.fit(&message, asked.now),
        _ => Fit::Other,
    });
    match judged {
        Ok(known) => Ok(known.signed(fingerprint)),
        Err((Rule::UnknownSigner, _)) => {
            let shown = names::of(&message.certificate).join(", ");
            Err((
                Rule::UnknownSigner,
                format!("{fingerprint}: no signer has a certificate for `{}`", tk8s_core::printable(&shown, 200)),
            ))
        }
        Err((rule, why)) => Err((rule, format!("{fingerprint}: {why}"))),
    }
}

/// Somebody with a certificate of a known authority.
#[derive(Clone, Debug)]
pub(super) struct Identity {
    /// The mail address or URI in the certificate.
    name: String,
    roots: Roots,
}

impl Identity {
    /// The roots are certificates in PEM.
    pub(super) fn new(name: &str, roots: &str) -> Result<Identity, String> {
        if name.trim().is_empty() {
            return Err("`identity` is empty: write the mail address or URI that stands in the certificate".into());
        }
        Ok(Identity { name: name.into(), roots: Roots::read(roots).map_err(|why| format!("`roots`: {why}"))? })
    }

    fn fit(&self, message: &Message, now: Timestamp) -> Fit {
        if !names::of(&message.certificate).contains(&self.name) {
            return Fit::Other;
        }
        self.roots.believe(message, &CODE_OR_MAIL, now).map(|_| ()).into()
    }
}

impl From<Result<(), Unbelieved>> for Fit {
    fn from(believed: Result<(), Unbelieved>) -> Fit {
        match believed {
            Ok(()) => Fit::Made { called: None },
            Err(Unbelieved::Stranger) => Fit::Other,
            Err(Unbelieved::Refused(rule, why)) => Fit::Refused(rule, why),
        }
    }
}
