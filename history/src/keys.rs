//! The two keys of a history: the identity that signs checkpoints, and the key under which objects are kept.
//!
//! Neither is ever written anywhere. From the encryption key further keys are derived, one for each use.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chacha20poly1305::aead::{Aead as _, Payload};
use chacha20poly1305::{KeyInit as _, XChaCha20Poly1305, XNonce};
use ed25519_dalek::SigningKey;
use ed25519_dalek::pkcs8::spki::der::pem::LineEnding;
use ed25519_dalek::pkcs8::{DecodePrivateKey as _, EncodePrivateKey as _, KeypairBytes};
use hmac::{Hmac, Mac as _};
use sha2::Sha256;
use tk8s_core::Secret;
use zeroize::Zeroizing;

use crate::Error;

const NONCE: usize = 24;

/// Reads the identity key: an Ed25519 private key as PKCS#8 PEM.
pub(crate) fn identity(key: &Secret) -> Result<SigningKey, Error> {
    let problem = "is not an Ed25519 private key in PKCS#8 PEM form: make one with `openssl genpkey -algorithm ed25519`";
    let error = || Error::Key { key: "identity key", problem };
    let text = std::str::from_utf8(key.expose()).map_err(|_| error())?;
    SigningKey::from_pkcs8_pem(text.trim()).map_err(|_| error())
}

/// A new identity key from 32 random bytes, as PKCS#8 PEM: what `openssl genpkey -algorithm ed25519` makes.
pub fn identity_key(random: [u8; 32]) -> Secret {
    let pair = KeypairBytes { secret_key: random, public_key: None };
    let pem = pair.to_pkcs8_pem(LineEnding::LF).expect("because a key of 32 bytes can be written");
    Secret::new(pem.as_bytes().to_vec())
}

/// Whether this can be an encryption key; else what is wrong with it.
pub fn check_encryption_key(key: &Secret) -> Result<(), Error> {
    Keys::read(key).map(drop)
}

/// What is derived from the encryption key.
pub(crate) struct Keys {
    cipher: XChaCha20Poly1305,
    nonce: Zeroizing<[u8; 32]>,
    content: Zeroizing<[u8; 32]>,
    check: Zeroizing<[u8; 32]>,
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Keys(..)")
    }
}

fn keyed(key: &[u8], parts: &[&[u8]]) -> [u8; 32] {
    let mut mac = <Hmac<Sha256> as hmac::KeyInit>::new_from_slice(key).expect("because HMAC takes keys of any length");
    parts.iter().for_each(|part| mac.update(part));
    mac.finalize().into_bytes().into()
}

impl Keys {
    /// Reads the encryption key: 32 bytes as 64 hexadecimal digits or as base64.
    pub(crate) fn read(key: &Secret) -> Result<Keys, Error> {
        let problem = "is not 32 bytes as 64 hexadecimal digits or base64: make one with `openssl rand -hex 32`";
        let text = key.expose().trim_ascii();
        let mut bytes = Zeroizing::new([0; 32]);
        let hexadecimal = hex::decode_to_slice(text, &mut *bytes).is_ok();
        // One byte of room more, because the decoder asks for whole groups.
        let mut decoded = Zeroizing::new([0; 36]);
        if !hexadecimal && !matches!(STANDARD.decode_slice(text, &mut *decoded), Ok(32)) {
            return Err(Error::Key { key: "encryption key", problem });
        } else if !hexadecimal {
            bytes.copy_from_slice(&decoded[..32]);
        }
        let derive = |purpose: &str| Zeroizing::new(keyed(&*bytes, &[b"tk8s-history/v1/", purpose.as_bytes()]));
        let encryption = derive("encryption");
        Ok(Keys {
            cipher: XChaCha20Poly1305::new((&*encryption).into()),
            nonce: derive("nonce"),
            content: derive("content"),
            check: derive("check"),
        })
    }

    /// A value that tells whether a history was made with this key, and nothing else.
    pub(crate) fn check(&self) -> String {
        hex::encode(&keyed(&*self.check, &[b"check"])[..16])
    }

    /// A digest under a key, so that nobody can guess what it is of.
    pub(crate) fn digest(&self, parts: &[&[u8]]) -> [u8; 32] {
        keyed(&*self.content, parts)
    }

    /// Encrypts for a purpose. The nonce comes from the text, so that equal texts make equal blobs.
    pub(crate) fn seal(&self, purpose: &[u8], text: &[u8]) -> Result<Vec<u8>, Error> {
        let length = (purpose.len() as u64).to_be_bytes();
        let nonce: [u8; NONCE] =
            keyed(&*self.nonce, &[&length, purpose, text])[..NONCE].try_into().expect("because 24 of 32 bytes are 24");
        let sealed = self.cipher.encrypt(&XNonce::from(nonce), Payload { msg: text, aad: purpose });
        let sealed = sealed.map_err(|_| Error::Encoding { act: "encrypt", source: "the text is too long".into() })?;
        Ok([&nonce[..], &sealed].concat())
    }

    /// Decrypts what was encrypted for this purpose; nothing where it was not, or was changed.
    pub(crate) fn open(&self, purpose: &[u8], sealed: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        let (nonce, sealed) = sealed.split_at_checked(NONCE)?;
        let nonce: [u8; NONCE] = nonce.try_into().ok()?;
        self.cipher.decrypt(&XNonce::from(nonce), Payload { msg: sealed, aad: purpose }).ok().map(Zeroizing::new)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(text: &str) -> Result<Keys, Error> {
        Keys::read(&Secret::new(text.as_bytes().to_vec()))
    }

    #[test]
    fn an_encryption_key_is_hexadecimal_or_base64_of_exactly_32_bytes() {
        let hexadecimal = hex::encode([7; 32]);
        let check = keys(&hexadecimal).unwrap().check();
        assert_eq!(keys(&format!("{hexadecimal}\n")).unwrap().check(), check);
        assert_eq!(keys(&format!("{}\n", STANDARD.encode([7; 32]))).unwrap().check(), check);
        for bad in [
            "",
            "hunter2",
            &hexadecimal[1..],
            &hexadecimal[2..],
            &STANDARD.encode([7; 31]),
            &STANDARD.encode([7; 33]),
            &"7".repeat(32),
        ] {
            let error = keys(bad).unwrap_err().to_string();
            assert!(bad.is_empty() || !error.contains(bad), "{error}");
        }
    }

    #[test]
    fn an_identity_key_is_what_openssl_makes() {
        // The example of RFC 8410, section 10.3.
        let pem = "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC\n-----END PRIVATE KEY-----\n";
        let key = identity(&Secret::new(pem.into())).unwrap();
        assert_eq!(
            hex::encode(key.verifying_key().as_bytes()),
            "19bf44096984cdfe8541bac167dc3b96c85086aa30b6b6cb0c5c38ad703166e1"
        );
        assert!(identity(&Secret::new(b"hunter2".to_vec())).is_err());
    }

    #[test]
    fn what_was_sealed_opens_for_its_purpose_only_and_not_after_a_change() {
        let keys = keys(&hex::encode([7; 32])).unwrap();
        let sealed = keys.seal(b"a", b"text").unwrap();
        assert_eq!(keys.open(b"a", &sealed).unwrap().as_slice(), b"text");
        assert_eq!(keys.seal(b"a", b"text").unwrap(), sealed);
        assert!(keys.open(b"b", &sealed).is_none());
        for at in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            assert!(keys.open(b"a", &changed).is_none(), "byte {at}");
        }
        assert!(keys.open(b"a", b"short").is_none());
    }
}
