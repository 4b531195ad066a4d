//! Keys: read, shown, and judged by their strength.

use base64::Engine as _;
use ssh_key::public::KeyData;
use ssh_key::{Algorithm, HashAlg, PublicKey, Signature};

use crate::verify::Rule;
use crate::verify::signature::Broken;

/// Shorter RSA keys can be broken.
const SHORTEST_RSA: u32 = 2048;

/// A public key from a line of a file; neither a certificate nor a private key is one.
pub(super) fn from_line(line: &str) -> Option<KeyData> {
    match from_line_or_certificate(line)? {
        KeyData::Certificate(_) => None,
        key => Some(key),
    }
}

/// The same, where a certificate stands for its key as well.
pub(super) fn from_line_or_certificate(line: &str) -> Option<KeyData> {
    let mut words = line.split_whitespace();
    let (kind, data) = (words.next()?, words.next()?);
    let key = from_blob(&base64::engine::general_purpose::STANDARD.decode(data).ok()?)?;
    // The word before the key has to be what the key says of itself.
    let said = match &key {
        KeyData::Certificate(certificate) => certificate.algorithm().to_certificate_type(),
        key => key.algorithm().as_str().to_owned(),
    };
    (said == kind).then_some(key)
}

/// A key as it is written on the wire. One of a kind that is not known could verify nothing, and is none, as for OpenSSH.
pub(super) fn from_blob(blob: &[u8]) -> Option<KeyData> {
    if nests_certificates(blob) {
        return None;
    }
    match PublicKey::from_bytes(blob).ok()?.key_data() {
        KeyData::Other(_) => None,
        key => Some(key.clone()),
    }
}

/// Whether these bytes hold more than one certificate. A certificate names its authority by a plain key; the library follows
/// certificates that name theirs by a certificate into any depth, until the stack is used up.
pub(super) fn nests_certificates(blob: &[u8]) -> bool {
    const MARK: &[u8] = b"-cert-v01@";
    blob.windows(MARK.len()).filter(|window| *window == MARK).nth(1).is_some()
}

/// As OpenSSH prints it: `SHA256:...`. Of a certificate it is its key's.
pub(super) fn fingerprint(key: &KeyData) -> String {
    plain(key).fingerprint(HashAlg::Sha256).to_string()
}

/// The key itself, without its certificate.
pub(super) fn plain(key: &KeyData) -> &KeyData {
    match key {
        KeyData::Certificate(certificate) => certificate.public_key(),
        key => key,
    }
}

/// Whether what signs is strong enough, and was used as it should be.
pub(super) fn strong(what: &str, key: &KeyData, signature: &Signature) -> Result<(), Broken> {
    let weak = |why: String| Err((Rule::WeakKey, format!("{what} {why}")));
    // The library does not ask, for security keys, whether the signature says to be what it is taken for.
    if !matches!(key, KeyData::Rsa(_) | KeyData::Other(_)) && signature.algorithm() != key.algorithm() {
        let said = tk8s_core::printable(signature.algorithm().as_str(), 60);
        return Err((Rule::BadSignature, format!("{what} by a key of the kind {} as {said}", key.algorithm())));
    }
    match key {
        KeyData::Ed25519(_) | KeyData::Ecdsa(_) => Ok(()),
        KeyData::SkEd25519(_) | KeyData::SkEcdsaSha2NistP256(_) if was_touched(signature) => Ok(()),
        KeyData::SkEd25519(_) | KeyData::SkEcdsaSha2NistP256(_) => {
            weak("with a security key that nobody touched: any program on its owner's machine could have asked for it".into())
        }
        KeyData::Rsa(rsa) => {
            let modulus = rsa.n().as_positive_bytes().unwrap_or_default();
            let bits = modulus.len() as u32 * 8 - modulus.first().map_or(0, |byte| byte.leading_zeros());
            match signature.algorithm() {
                _ if bits < SHORTEST_RSA => weak(format!("with an RSA key of {bits} bits")),
                Algorithm::Rsa { hash: Some(HashAlg::Sha256 | HashAlg::Sha512) } => Ok(()),
                _ => weak("with RSA and SHA-1".into()),
            }
        }
        other => weak(format!("with a key of the kind {}", tk8s_core::printable(other.algorithm().as_str(), 60))),
    }
}

/// What a security key says of its owner: bit 0 of the flags, which stand before the counter at the end of the signature.
fn was_touched(signature: &Signature) -> bool {
    const PRESENT: u8 = 1;
    signature.as_bytes().iter().rev().nth(4).is_some_and(|flags| flags & PRESENT != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAILM+rvN+ot98qgEN796jTiQfZfG1KaT0PtFDJ/XFSqti";

    #[test]
    fn a_line_is_one_key_of_the_kind_that_it_says() {
        assert!(from_line(KEY).is_some());
        assert!(from_line(&format!("{KEY} a comment")).is_some());
        // Of a kind that nobody knows: its name, then a key of three bytes.
        let unknown = "x@example.com AAAADXhAZXhhbXBsZS5jb20AAAADAQID";
        for line in ["", "ssh-ed25519", unknown, &KEY[..40], &KEY.replace("ssh-ed25519", "ssh-rsa"), &format!("{KEY}AAAA")] {
            assert!(from_line(line).is_none(), "{line}");
        }
    }

    #[test]
    fn a_signature_has_to_be_of_its_key_s_kind() {
        let key = from_line(KEY).unwrap();
        let signature = |algorithm| Signature::new(algorithm, vec![1; 64]).unwrap();
        assert!(strong("x", &key, &signature(Algorithm::Ed25519)).is_ok());
        let other = Algorithm::Other(ssh_key::AlgorithmName::new("webauthn-sk-ssh-ed25519@openssh.com").unwrap());
        assert_eq!(strong("x", &key, &signature(other)).unwrap_err().0, Rule::BadSignature);
        let KeyData::Ed25519(bare) = &key else { unreachable!("because it is one") };
        let security = KeyData::SkEd25519(ssh_key::public::SkEd25519::new(*bare, "ssh:"));
        assert_eq!(strong("x", &security, &signature(Algorithm::Ed25519)).unwrap_err().0, Rule::BadSignature);
        let touched = |flags: u8| Signature::new(Algorithm::SkEd25519, [&[1; 64][..], &[flags, 0, 0, 0, 9]].concat()).unwrap();
        for (flags, good) in [(0, false), (1, true), (4, false), (5, true)] {
            assert_eq!(strong("x", &security, &touched(flags)).is_ok(), good, "{flags}");
        }
    }

    #[test]
    fn an_rsa_key_is_as_long_as_its_highest_bit_says() {
        for (first, strong_enough) in [(0xff, true), (0x80, true), (0x7f, false)] {
            let modulus = ssh_key::Mpint::from_positive_bytes(&[&[first][..], &[1; SHORTEST_RSA as usize / 8 - 1]].concat());
            let exponent = ssh_key::Mpint::from_positive_bytes(&[1, 0, 1]);
            let key = KeyData::Rsa(ssh_key::public::RsaPublicKey::new(exponent, modulus).unwrap());
            let signature = Signature::new(Algorithm::Rsa { hash: Some(HashAlg::Sha256) }, vec![1; 256]).unwrap();
            assert_eq!(strong("x", &key, &signature).is_ok(), strong_enough, "{first:x}");
        }
    }

    #[test]
    fn one_certificate_is_taken_and_two_in_each_other_are_not() {
        assert!(!nests_certificates(b"ssh-ed25519-cert-v01@openssh.com and a key"));
        assert!(nests_certificates(b"ssh-ed25519-cert-v01@openssh.com in x-cert-v01@y"));
    }
}
