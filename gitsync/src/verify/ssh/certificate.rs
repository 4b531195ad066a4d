//! Certificates of SSH keys (OpenSSH's `PROTOCOL.certkeys`), where they sign for Git.

use ssh_key::Certificate;
use ssh_key::certificate::CertType;
use ssh_key::public::KeyData;

use super::key;
use crate::verify::Rule;
use crate::verify::signature::{Asked, Broken};

/// Whether a certificate of this authority is good for this name at this time of our own clock.
///
/// As OpenSSH asks it (it has to be a person's, valid, and to name whom it is for), and beyond: no critical option is defined
/// for signatures, so there is none that we could heed, and it is refused where OpenSSH does not look.
pub(super) fn judge(certificate: &Certificate, authority: &KeyData, name: &str, asked: Asked<'_>) -> Result<(), Broken> {
    let Asked { now, trail, .. } = asked;
    let refuse = |why: String| (Rule::CertificateRefused, why);
    let strong = key::strong("its certificate is signed", authority, certificate.signature());
    trail.ask("the key of its certificate's authority is strong enough", strong, |()| key::fingerprint(authority))?;
    // At a time at which it is valid if it ever is: here it is asked who signed it; when, below, by a rule of its own.
    let signed = certificate.validate_at(certificate.valid_after(), [&authority.fingerprint(ssh_key::HashAlg::Sha256)]).is_ok();
    trail.require("its certificate is signed by its authority", signed, || {
        refuse("its certificate is not signed by its authority, or never valid".into())
    })?;
    trail.require("its certificate is a person's", certificate.cert_type() == CertType::User, || {
        refuse("its certificate is a host's, not a person's".into())
    })?;
    let option = certificate.critical_options().keys().next();
    trail.require("its certificate has no critical option", option.is_none(), || {
        let shown = tk8s_core::printable(option.map(String::as_str).unwrap_or_default(), 40);
        refuse(format!("its certificate has the critical option `{shown}`"))
    })?;
    let is_named = certificate.valid_principals().iter().any(|principal| principal == name);
    trail.require("its certificate names its owner", is_named, || {
        refuse(format!("its certificate does not name `{}`", tk8s_core::printable(name, 80)))
    })?;
    let seconds = u64::try_from(now.as_second()).unwrap_or(0);
    let valid = match seconds {
        _ if seconds < certificate.valid_after() => Err((Rule::KeyNotValidNow, "its certificate is not valid yet".into())),
        _ if seconds >= certificate.valid_before() => Err((Rule::KeyNotValidNow, "its certificate has expired".into())),
        _ => Ok(()),
    };
    trail.ask("its certificate is valid now", valid, |()| String::new())
}
