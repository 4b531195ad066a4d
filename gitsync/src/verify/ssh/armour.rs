//! The armour around an SSH signature: two lines and base64 between them.

use base64::Engine as _;
use ssh_key::SshSig;
use ssh_key::encoding::Decode as _;

use super::key::nests_certificates;
use crate::verify::Rule;
use crate::verify::signature::Broken;

const BEGIN: &[u8] = b"-----BEGIN SSH SIGNATURE-----\n";
const END: &[u8] = b"-----END SSH SIGNATURE-----";

/// Takes the armour off. What is between the two lines may be broken anywhere, as other programs than `ssh-keygen` have
/// other ideas of a line's length; nothing else may stand there, and nothing after it.
pub(super) fn remove(armoured: &[u8]) -> Result<SshSig, Broken> {
    let refuse = |rule: Rule, why: &str| Err((rule, why.to_owned()));
    let Some(body) = armoured.strip_prefix(BEGIN) else {
        return refuse(Rule::BadSignature, "its signature can't be read");
    };
    let Some(end) = body.windows(END.len()).position(|window| window == END) else {
        return refuse(Rule::BadSignature, "its signature does not end");
    };
    match &body[end + END.len()..] {
        b"" | b"\n" => {}
        _ => return refuse(Rule::TrailingBytes, "bytes follow its signature"),
    }
    let base64: Vec<u8> = body[..end].iter().copied().filter(|&byte| byte != b'\n').collect();
    let Ok(blob) = base64::engine::general_purpose::STANDARD.decode(base64) else {
        return refuse(Rule::BadSignature, "its signature is not base64");
    };
    if nests_certificates(&blob) {
        return refuse(Rule::CertificateRefused, "its certificate names its authority by another certificate");
    }
    let mut rest = blob.as_slice();
    match SshSig::decode(&mut rest) {
        Ok(signature) if rest.is_empty() => Ok(signature),
        _ => refuse(Rule::BadSignature, "its signature can't be read"),
    }
}
