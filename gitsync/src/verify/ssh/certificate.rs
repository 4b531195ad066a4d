//! Certificates of SSH keys (OpenSSH's `PROTOCOL.certkeys`), where they sign for Git.

use ssh_key::Certificate;
use ssh_key::certificate::CertType;
use ssh_key::public::KeyData;
use tk8s_core::Timestamp;

use super::key;
use crate::verify::Rule;
use crate::verify::signature::Broken;

/// Whether a certificate of this authority is good for this name at this time of our own clock.
///
/// As OpenSSH asks it (it has to be a person's, valid, and to name whom it is for), and beyond: no critical option is defined
/// for signatures, so there is none that we could heed, and it is refused where OpenSSH does not look.
pub(super) fn judge(certificate: &Certificate, authority: &KeyData, name: &str, now: Timestamp) -> Result<(), Broken> {
    let refuse = |why: String| Err((Rule::CertificateRefused, why));
    key::strong("its certificate is signed", authority, certificate.signature())?;
    let seconds = u64::try_from(now.as_second()).unwrap_or(0);
    // At a time at which it is valid if it ever is: here it is asked who signed it; when, below, by a rule of its own.
    if certificate.validate_at(certificate.valid_after(), [&authority.fingerprint(ssh_key::HashAlg::Sha256)]).is_err() {
        return refuse("its certificate is not signed by its authority, or never valid".into());
    }
    if certificate.cert_type() != CertType::User {
        return refuse("its certificate is a host's, not a person's".into());
    }
    if let Some(option) = certificate.critical_options().keys().next() {
        return refuse(format!("its certificate has the critical option `{}`", tk8s_core::printable(option, 40)));
    }
    if !certificate.valid_principals().iter().any(|principal| principal == name) {
        return refuse(format!("its certificate does not name `{}`", tk8s_core::printable(name, 80)));
    }
    if seconds < certificate.valid_after() {
        return Err((Rule::KeyNotValidNow, "its certificate is not valid yet".into()));
    }
    if seconds >= certificate.valid_before() {
        return Err((Rule::KeyNotValidNow, "its certificate has expired".into()));
    }
    Ok(())
}
