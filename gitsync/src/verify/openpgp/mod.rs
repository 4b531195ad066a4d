//! OpenPGP signatures (RFC 9580, and what GnuPG makes), as Git uses them: one armoured, detached signature over bytes.
//!
//! The library knows packets and their mathematics. What is decided here: which of the many things that an OpenPGP signature
//! may be is one of Git's, what is strong enough, and whether the owner of a key lets it sign. Every time is compared with
//! our own clock: a signer who writes an old date into a signature gains nothing by it.

mod certificate;
mod packets;
mod statement;
mod strength;

use std::cell::{Cell, OnceCell};

pub(super) use certificate::Certificate;
use certificate::Key;
use pgp::crypto::public_key::PublicKeyAlgorithm;
use pgp::packet::{Packet, SignatureType, SignatureVersion, SubpacketData};
use pgp::types::KeyDetails;
use tk8s_core::Timestamp;

use super::armor::{self, Headers};
use super::signature::{Asked, Broken, Signed};
use super::signers::{Credential, Fit};
use super::{Rule, Signers, Trail};

/// With the longest keys a signature has less than three thousand bytes.
const LARGEST: usize = 64 * 1024;

/// Who signed this payload.
pub(super) fn verify(payload: &[u8], block: &[u8], signers: &Signers, asked: Asked<'_>) -> Result<Signed, Broken> {
    let Asked { now, trail, .. } = asked;
    let signature = Signature::read(block, trail)?;
    let (forged, fingerprint) = (Cell::new(false), OnceCell::new());
    let judged = signers.judge(asked, |credential| {
        let Credential::OpenPgp(certificate) = credential else { return Fit::Other };
        let Some(key) = certificate.find(|key| signature.names(key)) else { return Fit::Other };
        let strong = key.weak().map_or(Ok(()), |weak| Err((Rule::WeakKey, format!("it is signed with {weak}"))));
        if let Err((rule, why)) = trail.ask("its key is strong enough", strong, |()| key.fingerprint()) {
            return Fit::Refused(rule, why);
        }
        // Mathematics first: whether the signer may is only worth saying of a signature that is one.
        let misfit = || (Rule::BadSignature, format!("the signature by {} does not fit its bytes", key.fingerprint()));
        if trail.require("its signature fits its bytes", key.made(&signature.packet, payload), misfit).is_err() {
            forged.set(true);
            return Fit::Other;
        }
        fingerprint.get_or_init(|| key.fingerprint());
        let in_time =
            trail.ask("its signature counts now, by what it says itself", signature.in_time(key, now), |()| String::new());
        let may = |()| trail.ask("the key's owner lets it sign now", key.may_sign(now), |()| String::new());
        in_time.and_then(may).into()
    });
    let shown = || fingerprint.get().cloned().unwrap_or_else(|| signature.issuer());
    match judged {
        Ok(known) => Ok(known.signed(shown())),
        Err((Rule::UnknownSigner, _)) if forged.get() => {
            Err((Rule::BadSignature, format!("the signature by {} does not fit its bytes", shown())))
        }
        Err((rule, why)) => Err((rule, format!("{}: {why}", shown()))),
    }
}

/// Certificates as people exchange them: binary, or armoured, in any number of blocks with comments (`#`) between.
pub(super) fn certificates(bytes: &[u8]) -> Result<Vec<Certificate>, String> {
    if is_binary(bytes) {
        return Certificate::read_all(bytes);
    }
    let (mut rest, mut packets) = (bytes, Vec::new());
    loop {
        rest = rest.trim_ascii_start();
        if rest.is_empty() {
            return Certificate::read_all(&packets);
        } else if rest.starts_with(b"#") {
            rest = &rest[rest.iter().position(|byte| *byte == b'\n').unwrap_or(rest.len())..];
        } else if rest.starts_with(b"-----BEGIN PGP PRIVATE KEY BLOCK-----") {
            return Err(certificate::PRIVATE.into());
        } else {
            let (block, after) = armor::block(rest, "PGP PUBLIC KEY BLOCK", Headers::Allowed)?;
            packets.extend(block);
            rest = after;
        }
    }
}

/// Whether these bytes are packets: they begin with the header of one, and are no text.
pub(super) fn is_binary(bytes: &[u8]) -> bool {
    bytes.first().is_some_and(|first| *first >= 0x80) && std::str::from_utf8(bytes).is_err()
}

/// One signature over the bytes of a document.
struct Signature {
    packet: pgp::packet::Signature,
    made: Timestamp,
    expires: Option<Timestamp>,
}

impl Signature {
    fn read(block: &[u8], trail: Trail<'_>) -> Result<Signature, Broken> {
        let bad = |why: &str| (Rule::BadSignature, why.to_owned());
        trail.require("its signature is not too long", block.len() <= LARGEST, || bad("its signature is too long to be one"))?;
        let armour = armor::block(block, "PGP SIGNATURE", Headers::Allowed).map_err(bad);
        let (bytes, after) = trail.ask("its armour can be read", armour, |_| "OpenPGP".into())?;
        trail.require("nothing follows its signature", after.is_empty(), || {
            (Rule::TrailingBytes, "bytes follow its signature".into())
        })?;
        let packet = trail.ask("it is one signature", Signature::only(&bytes), |_| String::new())?;
        let config = packet.config().ok_or_else(|| bad("its signature is of a version that is not known"));
        let config = trail.ask("it is of a version that is known", config, |config| format!("{:?}", config.version()))?;
        trail.require(
            "that version is not too old",
            matches!(config.version(), SignatureVersion::V4 | SignatureVersion::V6),
            || (Rule::WeakKey, format!("its signature is of version {}", u8::from(config.version()))),
        )?;
        // A signature over text fits texts that differ in white space; others are about keys.
        trail.require("it is one over a document", config.typ == SignatureType::Binary, || {
            bad("its signature is not one over a document as Git makes it")
        })?;
        let hash =
            strength::weak_hash(config.hash_alg).map_or(Ok(()), |weak| Err((Rule::WeakKey, format!("it is signed over {weak}"))));
        trail.ask("its hash is strong enough", hash, |()| format!("{:?}", config.hash_alg))?;
        use PublicKeyAlgorithm::{ECDSA, Ed25519, EdDSALegacy, RSA, RSASign};
        let is_accepted = matches!(config.pub_alg, RSA | RSASign | ECDSA | EdDSALegacy | Ed25519);
        trail.require("it is made with a kind of key that is accepted", is_accepted, || {
            (Rule::WeakKey, format!("it is signed with a key of the kind {:?}", config.pub_alg))
        })?;
        let demanded = statement::not_understood(&packet);
        trail.require("it demands nothing that is not understood", demanded.is_none(), || {
            bad(&format!("its signature demands that {} is understood", demanded.unwrap_or_default()))
        })?;
        let made = statement::made(&packet).ok_or_else(|| bad("its signature does not say when it was made"));
        let made = trail.ask("it says when it was made", made, ToString::to_string)?;
        let expires = statement::expires(&packet);
        Ok(Signature { packet, made, expires })
    }

    /// The only packet, which is a signature.
    fn only(bytes: &[u8]) -> Result<pgp::packet::Signature, Broken> {
        let bad = |why: &str| (Rule::BadSignature, why.to_owned());
        let packets = packets::split(bytes).map_err(bad)?;
        let raw = match packets.as_slice() {
            [raw] => raw,
            [] => return Err(bad("its signature is empty")),
            _ => return Err((Rule::SecondSignature, "its armour holds more than one signature".into())),
        };
        match raw.read() {
            Ok(Packet::Signature(packet)) => Ok(packet),
            _ => Err(bad("its signature can't be read")),
        }
    }

    /// Whether it says that it is by this key. What it says of a fingerprint and signs binds; the rest helps to find the key.
    fn names(&self, key: &dyn KeyDetails) -> bool {
        let fingerprint = key.fingerprint();
        let signed = self.packet.config().into_iter().flat_map(|config| config.hashed_subpackets());
        let mut bound = signed.filter_map(|subpacket| match &subpacket.data {
            SubpacketData::IssuerFingerprint(named) => Some(*named == fingerprint),
            _ => None,
        });
        statement::is_named(&self.packet, fingerprint.as_bytes()) && bound.all(|is_this| is_this)
    }

    /// Who it says made it.
    fn issuer(&self) -> String {
        let longest = statement::issuers(&self.packet).max_by_key(|issuer| issuer.len());
        longest.map_or_else(|| "a key that it does not name".into(), hex::encode_upper)
    }

    /// Whether it counts at this time, as far as it says itself.
    fn in_time(&self, key: Key<'_>, now: Timestamp) -> Result<(), Broken> {
        if !statement::is_past(self.made, now) {
            return Err((Rule::KeyNotValidNow, format!("it says that it was made on {}, in the future", self.made)));
        }
        if key.created().is_none_or(|created| self.made < created) {
            return Err((Rule::BadSignature, format!("it says that it was made on {}, before its key was", self.made)));
        }
        match self.expires.filter(|expires| *expires <= now) {
            Some(expires) => Err((Rule::SignatureExpired, format!("it was to count until {expires}"))),
            None => Ok(()),
        }
    }
}

impl From<Result<(), Broken>> for Fit {
    fn from(allowed: Result<(), Broken>) -> Fit {
        match allowed {
            Ok(()) => Fit::Made { called: None },
            Err((rule, why)) => Fit::Refused(rule, why),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_is_as_long_as_it_may_be() {
        let read = |length| Signature::read(&vec![b'-'; length], Trail::SILENT).map(drop).unwrap_err().1;
        assert!(read(64 * 1024).contains("does not begin"), "{}", read(64 * 1024));
        assert!(read(64 * 1024 + 1).contains("too long"));
    }
}
