//! What is strong enough: an allow list, so that a kind nobody thought of is refused, by its name.

use pgp::crypto::hash::HashAlgorithm;
use pgp::crypto::public_key::PublicKeyAlgorithm;
use pgp::ser::Serialize as _;
use pgp::types::{EcdsaPublicParams, EddsaLegacyPublicParams, KeyDetails, KeyVersion, PublicParams, RsaPublicParams};

/// Shorter RSA keys can be broken.
const SHORTEST_RSA: u16 = 2048;

/// Why a signature over this hash can't count.
pub(super) fn weak_hash(hash: HashAlgorithm) -> Option<String> {
    match hash {
        HashAlgorithm::Sha256 | HashAlgorithm::Sha384 | HashAlgorithm::Sha512 => None,
        other => Some(format!("the hash {other}")),
    }
}

/// Why this key can't count.
pub(super) fn weak_key(key: &impl KeyDetails) -> Option<String> {
    if !matches!(key.version(), KeyVersion::V4 | KeyVersion::V6) {
        return Some(format!("a key of version {}", u8::from(key.version())));
    }
    match (key.algorithm(), key.public_params()) {
        (PublicKeyAlgorithm::RSA | PublicKeyAlgorithm::RSASign, PublicParams::RSA(rsa)) => {
            let bits = bits(rsa);
            (bits < SHORTEST_RSA).then(|| format!("an RSA key of {bits} bits"))
        }
        (PublicKeyAlgorithm::ECDSA, PublicParams::ECDSA(ecdsa)) => match ecdsa {
            EcdsaPublicParams::P256 { .. } | EcdsaPublicParams::P384 { .. } | EcdsaPublicParams::P521 { .. } => None,
            other => Some(format!("a key on the curve {}", other.curve())),
        },
        (PublicKeyAlgorithm::EdDSALegacy, PublicParams::EdDSALegacy(EddsaLegacyPublicParams::Ed25519 { .. })) => None,
        (PublicKeyAlgorithm::EdDSALegacy, PublicParams::EdDSALegacy(other)) => {
            Some(format!("a key on the curve {}", other.curve()))
        }
        (PublicKeyAlgorithm::Ed25519, PublicParams::Ed25519(_)) => None,
        (other, _) => Some(format!("a key of the kind {other:?}")),
    }
}

/// How long the modulus is. OpenPGP writes that before each number, and the modulus first.
fn bits(key: &RsaPublicParams) -> u16 {
    key.to_bytes().ok().and_then(|bytes| bytes.first_chunk().copied()).map_or(0, u16::from_be_bytes)
}
