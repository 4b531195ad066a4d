//! The message that holds an X.509 signature (CMS SignedData, RFC 5652), as Git, gpgsm and gitsign make it: one signer, whose
//! certificate is in it, over signed attributes that hold the digest of the bytes. The bytes themselves are not in it.

use cms::cert::CertificateChoices;
use cms::content_info::ContentInfo;
use cms::signed_data::{SignedData, SignerIdentifier, SignerInfo};
use der::asn1::{ObjectIdentifier, OctetString};
use der::{Decode as _, Encode as _, EncodingRules};
use rustls_pki_types::{CertificateDer, SignatureVerificationAlgorithm};
use sha2::{Digest as _, Sha256, Sha384, Sha512};
use webpki::{EndEntityCert, aws_lc_rs as algorithms};
use x509_cert::Certificate;
use x509_cert::attr::Attributes;
use x509_cert::ext::pkix::SubjectKeyIdentifier;

use super::names;
use crate::verify::armor::{self, Headers};
use crate::verify::signature::Broken;
use crate::verify::{Rule, Trail};

/// With a chain of certificates and an entry of a log a message has about ten thousand bytes.
const LARGEST: usize = 256 * 1024;

mod oid {
    use der::asn1::ObjectIdentifier;

    pub(super) const DATA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.7.1");
    pub(super) const SIGNED_DATA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.7.2");
    pub(super) const CONTENT_TYPE: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.3");
    pub(super) const RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
    pub(super) const ELLIPTIC_CURVE: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
    /// P-256, P-384 and P-521.
    pub(super) const CURVES: [ObjectIdentifier; 3] = [
        ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7"),
        ObjectIdentifier::new_unwrap("1.3.132.0.34"),
        ObjectIdentifier::new_unwrap("1.3.132.0.35"),
    ];
    pub(super) const MESSAGE_DIGEST: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.4");
}

/// What was hashed with what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hash {
    Sha256,
    Sha384,
    Sha512,
}

impl Hash {
    fn of(algorithm: &ObjectIdentifier) -> Result<Hash, Broken> {
        match algorithm.to_string().as_str() {
            "2.16.840.1.101.3.4.2.1" => Ok(Hash::Sha256),
            "2.16.840.1.101.3.4.2.2" => Ok(Hash::Sha384),
            "2.16.840.1.101.3.4.2.3" => Ok(Hash::Sha512),
            "1.3.14.3.2.26" => Err((Rule::WeakKey, "it is signed over the hash SHA1".into())),
            other => Err((Rule::WeakKey, format!("it is signed over the hash {other}"))),
        }
    }

    fn digest(self, bytes: &[u8]) -> Vec<u8> {
        match self {
            Hash::Sha256 => Sha256::digest(bytes).to_vec(),
            Hash::Sha384 => Sha384::digest(bytes).to_vec(),
            Hash::Sha512 => Sha512::digest(bytes).to_vec(),
        }
    }

    /// What keys of each kind make signatures over it with. RSA has two ways, and the key does not say which.
    fn algorithms(self, is_pss: bool) -> Vec<&'static dyn SignatureVerificationAlgorithm> {
        match (self, is_pss) {
            (Hash::Sha256, false) => vec![
                algorithms::ECDSA_P256_SHA256,
                algorithms::ECDSA_P384_SHA256,
                algorithms::ECDSA_P521_SHA256,
                algorithms::RSA_PKCS1_2048_8192_SHA256,
            ],
            (Hash::Sha384, false) => vec![
                algorithms::ECDSA_P256_SHA384,
                algorithms::ECDSA_P384_SHA384,
                algorithms::ECDSA_P521_SHA384,
                algorithms::RSA_PKCS1_2048_8192_SHA384,
            ],
            (Hash::Sha512, false) => vec![
                algorithms::ECDSA_P256_SHA512,
                algorithms::ECDSA_P384_SHA512,
                algorithms::ECDSA_P521_SHA512,
                algorithms::RSA_PKCS1_2048_8192_SHA512,
            ],
            (Hash::Sha256, true) => vec![algorithms::RSA_PSS_2048_8192_SHA256_LEGACY_KEY],
            (Hash::Sha384, true) => vec![algorithms::RSA_PSS_2048_8192_SHA384_LEGACY_KEY],
            (Hash::Sha512, true) => vec![algorithms::RSA_PSS_2048_8192_SHA512_LEGACY_KEY],
        }
    }
}

/// A signature over bytes, made with the key of a certificate. Nobody knows yet whether to believe the certificate.
pub(super) struct Message {
    pub(super) certificate: Certificate,
    pub(super) der: CertificateDer<'static>,
    /// What else is in it: authorities between the certificate and a root.
    pub(super) others: Vec<CertificateDer<'static>>,
    /// The bytes that the signature covers.
    pub(super) signed: Vec<u8>,
    pub(super) hash: Hash,
    pub(super) signature: Vec<u8>,
    is_pss: bool,
    digest: Vec<u8>,
    unsigned: Option<Attributes>,
}

fn bad<T>(why: &str) -> Result<T, Broken> {
    Err((Rule::BadSignature, why.to_owned()))
}

impl Message {
    /// Takes a message apart, and proves that the key of its certificate signed exactly these bytes.
    pub(super) fn proven(payload: &[u8], block: &[u8], trail: Trail<'_>) -> Result<Message, Broken> {
        let check = "its X.509 message holds one signature over attributes and its certificate, and nothing follows it";
        let message = trail.ask(check, Message::read(block), |message| format!("over {:?}", message.hash))?;
        let is_digest = message.hash.digest(payload) == message.digest;
        trail.require("the attributes hold the digest of its bytes", is_digest, || {
            (Rule::BadSignature, "its signature is over other bytes".into())
        })?;
        let weak =
            weak_key(&message.certificate).map_or(Ok(()), |weak| Err((Rule::WeakKey, format!("it is signed with {weak}"))));
        let named = || tk8s_core::printable(&names::of(&message.certificate).join(", "), 200);
        trail.ask("the key of its certificate is strong enough", weak, |()| named())?;
        let certificate = EndEntityCert::try_from(&message.der)
            .map_err(|error| (Rule::CertificateRefused, format!("its certificate can't be used: {error}")));
        let certificate = trail.ask("its certificate can be used", certificate, |_| String::new())?;
        let made = |algorithm: &&dyn SignatureVerificationAlgorithm| {
            certificate.verify_signature(*algorithm, &message.signed, &message.signature).is_ok()
        };
        trail.require("its signature fits its attributes", message.hash.algorithms(message.is_pss).iter().any(made), || {
            (Rule::BadSignature, "its signature is not by the key of its certificate".into())
        })?;
        Ok(message)
    }

    fn read(block: &[u8]) -> Result<Message, Broken> {
        if block.len() > LARGEST {
            return bad("its signature is too long to be one");
        }
        let (bytes, after) = armor::block(block, "SIGNED MESSAGE", Headers::None).or_else(bad)?;
        if !after.is_empty() {
            return Err((Rule::TrailingBytes, "bytes follow its signature".into()));
        }
        // gpgsm writes lengths that are not known in advance.
        let Ok(outer) = ContentInfo::from_ber(&bytes) else { return bad("its signature can't be read") };
        if outer.content_type != oid::SIGNED_DATA {
            return bad("its signature is another kind of message");
        }
        let Ok(data) = outer.content.decode_as_encoding::<SignedData>(EncodingRules::Ber) else {
            return bad("its signature can't be read");
        };
        if data.encap_content_info.econtent_type != oid::DATA || data.encap_content_info.econtent.is_some() {
            return bad("its signature is not one over the object, but holds something else");
        }
        let signer = match data.signer_infos.0.as_slice() {
            [signer] => signer,
            [] => return bad("its signature is by nobody"),
            _ => return Err((Rule::SecondSignature, "its signature is by more than one".into())),
        };
        let certificates: Vec<&Certificate> =
            data.certificates.iter().flat_map(|set| set.0.iter()).filter_map(certificate).collect();
        let (mine, others): (Vec<&Certificate>, Vec<_>) = certificates.into_iter().partition(|found| is_of(found, &signer.sid));
        let certificate = match mine.as_slice() {
            [certificate] => (*certificate).clone(),
            [] => return bad("the certificate of its signer is not in its signature"),
            _ => return bad("its signer has several certificates in its signature"),
        };
        Message::of(signer, certificate, &others)
    }

    fn of(signer: &SignerInfo, certificate: Certificate, others: &[&Certificate]) -> Result<Message, Broken> {
        let unreadable = |_: der::Error| (Rule::BadSignature, "its signature can't be read".to_owned());
        let hash = Hash::of(&signer.digest_alg.oid)?;
        let Some(attributes) = &signer.signed_attrs else { return bad("its signature has no signed attributes") };
        if only(attributes, &oid::CONTENT_TYPE)?.decode_as::<ObjectIdentifier>().map_err(unreadable)? != oid::DATA {
            return bad("its signature says that it is over something else");
        }
        let digest = only(attributes, &oid::MESSAGE_DIGEST)?.decode_as::<OctetString>().map_err(unreadable)?;
        let is_pss = match signer.signature_algorithm.oid.to_string().as_str() {
            "1.2.840.113549.1.1.10" => true,
            // RSA; ECDSA with each hash.
            "1.2.840.113549.1.1.1"
            | "1.2.840.113549.1.1.11"
            | "1.2.840.113549.1.1.12"
            | "1.2.840.113549.1.1.13"
            | "1.2.840.10045.4.3.2"
            | "1.2.840.10045.4.3.3"
            | "1.2.840.10045.4.3.4" => false,
            other => return Err((Rule::WeakKey, format!("it is signed with the algorithm {other}"))),
        };
        let encoded = |certificate: &Certificate| certificate.to_der().map(CertificateDer::from).map_err(unreadable);
        Ok(Message {
            der: encoded(&certificate)?,
            others: others.iter().map(|other| encoded(other)).collect::<Result<_, _>>()?,
            certificate,
            signed: attributes.to_der().map_err(unreadable)?,
            hash,
            signature: signer.signature.as_bytes().to_vec(),
            is_pss,
            digest: digest.as_bytes().to_vec(),
            unsigned: signer.unsigned_attrs.clone(),
        })
    }

    /// What the message carries beside its signature, which does not cover it.
    pub(super) fn unsigned(&self, kind: &ObjectIdentifier) -> Result<Option<Vec<u8>>, Broken> {
        match &self.unsigned {
            Some(attributes) if attributes.iter().any(|attribute| attribute.oid == *kind) => {
                let value = only(attributes, kind)?.decode_as::<OctetString>();
                value.map(|bytes| Some(bytes.as_bytes().to_vec())).or_else(|_| bad("what its signature carries can't be read"))
            }
            _ => Ok(None),
        }
    }
}

/// Why a key can't count: an allow list, so that a kind nobody thought of is refused by its name.
fn weak_key(certificate: &Certificate) -> Option<String> {
    let key = certificate.tbs_certificate().subject_public_key_info();
    match key.algorithm.oid {
        // As long as its modulus and a little more; the exact length is in the list of algorithms.
        oid::RSA if key.subject_public_key.raw_bytes().len() < 2048 / 8 => Some("an RSA key of less than 2,048 bits".into()),
        oid::RSA => None,
        oid::ELLIPTIC_CURVE => {
            let curve = key.algorithm.parameters.as_ref().and_then(|curve| curve.decode_as::<ObjectIdentifier>().ok());
            let is_known = curve.is_some_and(|curve| oid::CURVES.contains(&curve));
            (!is_known).then(|| format!("a key on the curve {}", curve.map(|curve| curve.to_string()).unwrap_or_default()))
        }
        other => Some(format!("a key of the kind {other}")),
    }
}

/// The one value of an attribute that has to be there once.
fn only<'a>(attributes: &'a Attributes, kind: &ObjectIdentifier) -> Result<&'a der::Any, Broken> {
    let mut found = attributes.iter().filter(|attribute| attribute.oid == *kind);
    match (found.next().map(|attribute| attribute.values.as_slice()), found.next()) {
        (Some([value]), None) => Ok(value),
        _ => bad(&format!("its signature does not have the attribute {kind} exactly once")),
    }
}

fn certificate(choice: &CertificateChoices) -> Option<&Certificate> {
    match choice {
        CertificateChoices::Certificate(certificate) => Some(certificate),
        CertificateChoices::Other(_) => None,
    }
}

/// Whether a signer names this certificate.
fn is_of(certificate: &Certificate, signer: &SignerIdentifier) -> bool {
    let certificate = certificate.tbs_certificate();
    match signer {
        SignerIdentifier::IssuerAndSerialNumber(named) => {
            named.issuer == *certificate.issuer() && named.serial_number == *certificate.serial_number()
        }
        SignerIdentifier::SubjectKeyIdentifier(named) => {
            certificate.get_extension::<SubjectKeyIdentifier>().is_ok_and(|found| found.is_some_and(|(_, found)| found == *named))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_as_long_as_it_may_be() {
        let read = |length| Message::read(&vec![b'-'; length]).map(drop).unwrap_err().1;
        let most = 256 * 1024;
        assert!(read(most).contains("does not begin"), "{}", read(most));
        for longer in [most + 1, most + 2] {
            assert_eq!(read(longer), "its signature is too long to be one");
        }
    }
}
