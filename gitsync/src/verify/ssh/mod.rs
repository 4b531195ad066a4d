//! SSH signatures (OpenSSH's `PROTOCOL.sshsig`), as Git uses them: armored, namespace `git`.

mod allowed_signers;
mod known;

pub(super) use allowed_signers::parse as parse_allowed_signers;
pub(super) use known::Known;
use ssh_key::{Algorithm, HashAlg, PublicKey, SshSig};

use super::signature::{Asked, Broken, Signed};
use super::signers::{Credential, Fit};
use super::{Rule, Signers};

const BEGIN: &[u8] = b"-----BEGIN SSH SIGNATURE-----\n";
const END: &[u8] = b"-----END SSH SIGNATURE-----";
/// The namespace of everything that Git signs.
const NAMESPACE: &str = "git";
/// Shorter RSA keys can be broken.
const SHORTEST_RSA: u32 = 2048;

/// Who signed this payload.
pub(super) fn verify(payload: &[u8], signature: &[u8], signers: &Signers, asked: Asked<'_>) -> Result<Signed, Broken> {
    let refuse = |rule: Rule, message: &str| Err((rule, message.to_owned()));
    if !signature.starts_with(BEGIN) {
        return refuse(Rule::BadSignature, "its signature can't be read");
    }
    let Some(end) = signature.windows(END.len()).position(|window| window == END) else {
        return refuse(Rule::BadSignature, "its signature does not end");
    };
    match &signature[end + END.len()..] {
        b"" | b"\n" => {}
        _ => return refuse(Rule::TrailingBytes, "bytes follow its signature"),
    }
    let Ok(parsed) = SshSig::from_pem(&signature[..end + END.len()]) else {
        return refuse(Rule::BadSignature, "its signature can't be read");
    };
    if parsed.namespace() != NAMESPACE {
        return Err((
            Rule::WrongNamespace,
            format!("it was signed for `{}`, not for `{NAMESPACE}`", tk8s_core::printable(parsed.namespace(), 40)),
        ));
    }
    if !parsed.reserved().is_empty() {
        return refuse(Rule::BadSignature, "its signature uses a reserved field");
    }
    let key = PublicKey::from(parsed.public_key().clone());
    strong(&key, &parsed)?;
    let fingerprint = key.fingerprint(HashAlg::Sha256).to_string();
    // Mathematics first: whether the signer may is only worth saying of a signature that is one.
    if key.verify(NAMESPACE, payload, &parsed).is_err() {
        return Err((Rule::BadSignature, format!("the signature by {fingerprint} does not fit its bytes")));
    }
    signers
        .judge(asked, |credential| match credential {
            Credential::Ssh(known) => known.fit(&key),
            #[allow(unreachable_patterns, reason = "there is one kind as yet")]
            _ => Fit::Other,
        })
        .map(|known| known.signed(fingerprint.clone()))
        .map_err(|(rule, why)| (rule, format!("{fingerprint}: {why}")))
}

fn strong(key: &PublicKey, signature: &SshSig) -> Result<(), Broken> {
    match key.algorithm() {
        Algorithm::Ed25519 | Algorithm::Ecdsa { .. } => Ok(()),
        Algorithm::Rsa { .. } => {
            let bits = key.key_data().rsa().map_or(0, |rsa| {
                rsa.n().as_positive_bytes().map_or(0, |n| n.len() as u32 * 8 - n.first().map_or(0, |b| b.leading_zeros()))
            });
            if bits < SHORTEST_RSA {
                return Err((Rule::WeakKey, format!("it is signed with an RSA key of {bits} bits")));
            }
            match signature.algorithm() {
                Algorithm::Rsa { hash: Some(HashAlg::Sha256 | HashAlg::Sha512) } => Ok(()),
                _ => Err((Rule::WeakKey, "it is signed with RSA and SHA-1".into())),
            }
        }
        other => Err((Rule::WeakKey, format!("it is signed with a key of the kind {other}"))),
    }
}
