//! From a certificate to a root that somebody trusts. The path is found by the library that TLS uses; what it passes over is
//! asked here: for what keys are, and whether a root is still valid.

use der::Decode as _;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, SignatureVerificationAlgorithm, TrustAnchor, UnixTime};
use tk8s_core::Timestamp;
use webpki::{
    EndEntityCert, Error, ExtendedKeyUsageValidator, KeyPurposeId, KeyPurposeIdIter, RequiredEkuNotFoundContext,
    aws_lc_rs as algorithms,
};
use x509_cert::Certificate;
use x509_cert::ext::pkix::{ExtendedKeyUsage, KeyUsage};

use super::cms::Message;
use crate::verify::Rule;
use crate::verify::signature::Broken;

/// What authorities sign certificates with.
static ALGORITHMS: &[&dyn SignatureVerificationAlgorithm] = &[
    algorithms::ECDSA_P256_SHA256,
    algorithms::ECDSA_P256_SHA384,
    algorithms::ECDSA_P256_SHA512,
    algorithms::ECDSA_P384_SHA256,
    algorithms::ECDSA_P384_SHA384,
    algorithms::ECDSA_P384_SHA512,
    algorithms::ECDSA_P521_SHA256,
    algorithms::ECDSA_P521_SHA384,
    algorithms::ECDSA_P521_SHA512,
    algorithms::ED25519,
    algorithms::RSA_PKCS1_2048_8192_SHA256,
    algorithms::RSA_PKCS1_2048_8192_SHA384,
    algorithms::RSA_PKCS1_2048_8192_SHA512,
    algorithms::RSA_PSS_2048_8192_SHA256_LEGACY_KEY,
    algorithms::RSA_PSS_2048_8192_SHA384_LEGACY_KEY,
    algorithms::RSA_PSS_2048_8192_SHA512_LEGACY_KEY,
];

/// What a key that signs commits is for: code, as Sigstore has it, or mail, as gpgsm and companies have it.
pub(super) struct Purpose {
    /// As it stands in a certificate.
    names: &'static [&'static str],
    der: &'static [&'static [u8]],
}

const CODE: &[u8] = &[0x2b, 6, 1, 5, 5, 7, 3, 3];
const MAIL: &[u8] = &[0x2b, 6, 1, 5, 5, 7, 3, 4];

pub(super) const CODE_OR_MAIL: Purpose = Purpose { names: &["1.3.6.1.5.5.7.3.3", "1.3.6.1.5.5.7.3.4"], der: &[CODE, MAIL] };
pub(super) const ONLY_CODE: Purpose = Purpose { names: &["1.3.6.1.5.5.7.3.3"], der: &[CODE] };

impl ExtendedKeyUsageValidator for Purpose {
    /// Of authorities: they may say for what the keys below them are, and then it has to be among it.
    fn validate(&self, said: KeyPurposeIdIter<'_, '_>) -> Result<(), Error> {
        let mut says_nothing = true;
        for purpose in said {
            let purpose = purpose?;
            says_nothing = false;
            if self.der.iter().any(|der| KeyPurposeId::new(der) == purpose) {
                return Ok(());
            }
        }
        let required = webpki::KeyUsage::required(self.der[0]);
        let context = RequiredEkuNotFoundContext { required, present: Vec::new() };
        if says_nothing { Ok(()) } else { Err(Error::RequiredEkuNotFoundContext(context)) }
    }
}

/// Roots, and authorities that are known to be below them.
#[derive(Clone, Debug)]
pub(super) struct Roots {
    roots: Vec<Root>,
    below: Vec<CertificateDer<'static>>,
}

#[derive(Clone, Debug)]
struct Root {
    anchor: TrustAnchor<'static>,
    /// From when to when, in seconds.
    valid: std::ops::RangeInclusive<i64>,
}

/// Why a certificate is not believed.
pub(super) enum Unbelieved {
    /// It is of none of these authorities.
    Stranger,
    /// It is, and still does not count.
    Refused(Rule, String),
}

impl Roots {
    /// Certificates in a PEM file; each that is its own issuer is a root.
    pub(super) fn read(pem: &str) -> Result<Roots, String> {
        let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
        Roots::of(certificates.map_err(|_| "they are not certificates (`-----BEGIN CERTIFICATE-----`)".to_owned())?)
    }

    pub(super) fn of(certificates: Vec<CertificateDer<'static>>) -> Result<Roots, String> {
        let mut found = Roots { roots: Vec::new(), below: Vec::new() };
        for der in certificates {
            let certificate = Certificate::from_der(&der).map_err(|_| "one of them can't be read")?;
            let certificate = certificate.tbs_certificate();
            if certificate.issuer() != certificate.subject() {
                found.below.push(der);
                continue;
            }
            let anchor =
                webpki::anchor_from_trusted_cert(&der).map_err(|error| format!("one of them can't be a root: {error}"))?;
            let seconds = |time: &x509_cert::time::Time| i64::try_from(time.to_unix_duration().as_secs()).unwrap_or(i64::MAX);
            let (from, until) = (&certificate.validity().not_before, &certificate.validity().not_after);
            found.roots.push(Root { anchor: anchor.to_owned(), valid: seconds(from)..=seconds(until) });
        }
        if found.roots.is_empty() { Err("none of them is a root (its own issuer)".into()) } else { Ok(found) }
    }

    /// Whether the certificate of a message leads to one of these roots at that time, and may be used for this: then the
    /// key of the authority that made it.
    pub(super) fn believe(&self, message: &Message, purpose: &Purpose, time: Timestamp) -> Result<Vec<u8>, Unbelieved> {
        let seconds = time.as_second();
        let valid = self.roots.iter().filter(|root| root.valid.contains(&seconds));
        let anchors: Vec<_> = valid.map(|root| root.anchor.clone()).collect();
        let between: Vec<_> = self.below.iter().chain(&message.others).cloned().collect();
        let Ok(leaf) = EndEntityCert::try_from(&message.der) else { return Err(Unbelieved::Stranger) };
        let at = UnixTime::since_unix_epoch(std::time::Duration::from_secs(u64::try_from(seconds).unwrap_or(0)));
        let path =
            leaf.verify_for_usage(ALGORITHMS, &anchors, &between, at, purpose, None, None).map_err(|error| because(&error))?;
        for authority in path.intermediate_certificates() {
            let signs = Certificate::from_der(&authority.der()).is_ok_and(|found| usage(&found, KeyUsage::key_cert_sign));
            if !signs {
                return Err(Unbelieved::Refused(Rule::CertificateRefused, "an authority's key is not for certificates".into()));
            }
        }
        purpose.is_of(&message.certificate).map_err(|(rule, why)| Unbelieved::Refused(rule, why))?;
        Ok(path.issuer_spki().to_vec())
    }
}

impl Purpose {
    /// Of the signer: it has to be said.
    fn is_of(&self, certificate: &Certificate) -> Result<(), Broken> {
        let said = certificate.tbs_certificate().get_extension::<ExtendedKeyUsage>();
        let is_said = said.is_ok_and(|said| {
            said.is_some_and(|(_, said)| said.0.iter().any(|purpose| self.names.contains(&purpose.to_string().as_str())))
        });
        if !is_said {
            return Err((Rule::KeyUsage, "its certificate does not say that the key is for code or mail".into()));
        }
        if !usage(certificate, |usage| usage.digital_signature() || usage.non_repudiation()) {
            return Err((Rule::KeyUsage, "its certificate says that the key is not for signatures".into()));
        }
        Ok(())
    }
}

/// Whether a key is for this, unless its certificate says nothing of what it is for.
fn usage(certificate: &Certificate, is_for: impl Fn(&KeyUsage) -> bool) -> bool {
    match certificate.tbs_certificate().get_extension::<KeyUsage>() {
        Ok(Some((_, usage))) => is_for(&usage),
        Ok(None) => true,
        Err(_) => false,
    }
}

fn because(error: &Error) -> Unbelieved {
    let rule = match error {
        // The latter is an authority that only has the name of one.
        Error::UnknownIssuer | Error::InvalidSignatureForPublicKey => return Unbelieved::Stranger,
        Error::CertExpired { .. } | Error::CertNotValidYet { .. } => Rule::KeyNotValidNow,
        Error::RequiredEkuNotFoundContext(_) => Rule::KeyUsage,
        Error::UnsupportedSignatureAlgorithmContext(_) | Error::UnsupportedSignatureAlgorithmForPublicKeyContext(_) => {
            Rule::WeakKey
        }
        _ => Rule::CertificateRefused,
    };
    Unbelieved::Refused(rule, format!("its certificate: {error}"))
}
