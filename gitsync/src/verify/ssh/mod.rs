//! SSH signatures (OpenSSH's `PROTOCOL.sshsig`), as Git uses them: armored, namespace `git`, by a key or by a key with a
//! certificate.
//!
//! Verdicts are those of `ssh-keygen -Y verify`, which the tests ask about thousands of cases; where they are stricter,
//! `docs/security.md` says so and why. There is no case in which they are more lenient.

mod allowed_signers;
mod armour;
mod certificate;
#[cfg(feature = "fuzzing")]
mod fuzzing;
mod key;
mod known;
mod krl;
#[cfg(test)]
mod oracle;
mod patterns;
mod revocations;
mod wire;

pub(super) use allowed_signers::{Line, line_of, parse as parse_allowed_signers};
#[cfg(feature = "fuzzing")]
pub(crate) use fuzzing::{fuzz_revocations, fuzz_signature};
pub(super) use known::Known;
pub use revocations::Revocations;
use ssh_key::public::KeyData;
use ssh_key::{PublicKey, SshSig};

use super::signature::{Asked, Broken, Signed};
use super::signers::{Credential, Fit};
use super::{Rule, Signers, Trail};

/// The namespace of everything that Git signs.
const NAMESPACE: &str = "git";

/// Who signed this payload.
pub(super) fn verify(payload: &[u8], signature: &[u8], signers: &Signers, asked: Asked<'_>) -> Result<Signed, Broken> {
    let shown = proven(payload, signature, asked.trail)?;
    let fingerprint = key::fingerprint(&shown);
    let named = |(rule, why): Broken| (rule, format!("{fingerprint}: {why}"));
    // Before anybody asks whose key it is, as OpenSSH does.
    let revoked =
        signers.revoked().and_then(|revoked| revoked.revokes(&shown)).map_or(Ok(()), |why| Err((Rule::KeyRevoked, why)));
    let list = if signers.revoked().is_some() { "" } else { "there is no revocation file" };
    asked.trail.ask("neither its key nor its certificate is revoked", revoked, |()| list.to_owned()).map_err(named)?;
    let fit = |credential: &Credential| match credential {
        Credential::Ssh(known) => known.fit(&shown, asked),
        _ => Fit::Other,
    };
    signers.judge(asked, fit).map(|known| known.signed(fingerprint.clone())).map_err(named)
}

/// The key that made a signature, maybe with its certificate: proven by mathematics, and believed by nobody yet.
fn proven(payload: &[u8], signature: &[u8], trail: Trail<'_>) -> Result<KeyData, Broken> {
    let signature =
        trail.ask("its SSH signature can be read, and nothing follows it", armour::remove(signature), |_| String::new())?;
    trail.require("it was signed for Git", signature.namespace() == NAMESPACE, || {
        let other = tk8s_core::printable(signature.namespace(), 40);
        (Rule::WrongNamespace, format!("it was signed for `{other}`, not for `{NAMESPACE}`"))
    })?;
    trail.require("its signature has an empty reserved field", signature.reserved().is_empty(), || {
        (Rule::BadSignature, "its signature uses a reserved field".into())
    })?;
    let shown = signature.public_key();
    let plain = key::plain(shown);
    let strong = key::strong("it is signed", plain, signature.signature());
    trail.ask("its key is strong enough", strong, |()| plain.algorithm().to_string())?;
    // The library verifies with plain keys only; what is signed doesn't hold the key, so it may be exchanged.
    let bare = SshSig::new(plain.clone(), NAMESPACE, signature.hash_alg(), signature.signature().clone());
    let good = bare.is_ok_and(|bare| PublicKey::from(plain.clone()).verify(NAMESPACE, payload, &bare).is_ok());
    let fits = if good {
        Ok(())
    } else {
        Err((Rule::BadSignature, format!("the signature by {} does not fit its bytes", key::fingerprint(shown))))
    };
    trail.ask("its signature fits its bytes", fits, |()| key::fingerprint(shown))?;
    Ok(shown.clone())
}
