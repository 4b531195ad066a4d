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

use super::signature::{Asked, Broken, Signed};
use super::signers::{Credential, Fit};
use super::{Rule, Signers, Trail};

/// Who signed this payload.
pub(super) fn verify(payload: &[u8], block: &[u8], signers: &Signers, asked: Asked<'_>) -> Result<Signed, Broken> {
    // Mathematics first: whether the signer may is only worth saying of a signature that is one.
    let message = Message::proven(payload, block, asked.trail)?;
    let fingerprint = hex::encode_upper(Sha256::digest(&message.der));
    let judged = signers.judge(asked, |credential| match credential {
        Credential::X509(identity) => identity.fit(&message, asked),
        Credential::Keyless(keyless) => keyless.fit(&message, asked),
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

    fn fit(&self, message: &Message, asked: Asked<'_>) -> Fit {
        if !names::of(&message.certificate).contains(&self.name) {
            return Fit::Other;
        }
        let believed = self.roots.believe(message, &CODE_OR_MAIL, asked.now).map(|_| ());
        fit(believed, "an authority of the signers file made its certificate, which is good now", asked.trail)
    }
}

/// What follows from what is believed of a certificate.
fn fit(believed: Result<(), Unbelieved>, check: &'static str, trail: Trail<'_>) -> Fit {
    let (is_stranger, outcome) = match believed {
        Ok(()) => (false, Ok(())),
        Err(Unbelieved::Stranger) => (true, Err((Rule::UnknownSigner, "it is of none of these authorities".to_owned()))),
        Err(Unbelieved::Refused(rule, why)) => (false, Err((rule, why))),
    };
    match trail.ask(check, outcome, |()| String::new()) {
        Ok(()) => Fit::Made { called: None },
        Err(_) if is_stranger => Fit::Other,
        Err((rule, why)) => Fit::Refused(rule, why),
    }
}
