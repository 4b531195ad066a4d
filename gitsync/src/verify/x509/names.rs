//! What a certificate calls its owner.

use der::Decode as _;
use der::asn1::{ObjectIdentifier, Utf8StringRef};
use tk8s_core::Timestamp;
use x509_cert::Certificate;
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;

/// Who vouched for the name, as Fulcio writes it; and as it wrote it before, without a type.
const ISSUER: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.57264.1.8");
const ISSUER_BEFORE: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.57264.1.1");

/// Mail addresses and URIs. The subject's own name is not one: every authority writes there what it likes.
pub(super) fn of(certificate: &Certificate) -> Vec<String> {
    let names = certificate.tbs_certificate().get_extension::<SubjectAltName>();
    let names = names.ok().flatten().map(|(_, names)| names.0).unwrap_or_default();
    let name = |name: &GeneralName| match name {
        GeneralName::Rfc822Name(name) => Some(name.to_string()),
        GeneralName::UniformResourceIdentifier(name) => Some(name.to_string()),
        _ => None,
    };
    names.iter().filter_map(name).collect()
}

/// Who logged the owner in, by Fulcio's word. If it says so in both ways, it says the same.
pub(super) fn issuer(certificate: &Certificate) -> Option<String> {
    let value = |kind: &ObjectIdentifier| {
        let extensions = certificate.tbs_certificate().extensions()?;
        extensions.iter().find(|extension| extension.extn_id == *kind).map(|extension| extension.extn_value.as_bytes().to_vec())
    };
    let now = value(&ISSUER).map(|der| Utf8StringRef::from_der(&der).ok().map(|text| text.as_str().to_owned()));
    let before = value(&ISSUER_BEFORE).map(|text| String::from_utf8(text).ok());
    match (now, before) {
        (Some(now), Some(before)) if now != before => None,
        (now, before) => now.or(before).flatten(),
    }
}

/// When a certificate begins to be valid.
pub(super) fn begins(certificate: &Certificate) -> Option<Timestamp> {
    let begins = certificate.tbs_certificate().validity().not_before.to_unix_duration();
    Timestamp::from_second(i64::try_from(begins.as_secs()).ok()?).ok()
}
