//! The armour around an SSH signature: two lines and base64 between them.

use base64::Engine as _;
use ssh_key::SshSig;
use ssh_key::encoding::Decode as _;

use super::key::nests_certificates;
use crate::verify::Rule;
use crate::verify::signature::Broken;

const BEGIN: &[u8] = b"-----BEGIN SSH SIGNATURE-----\n";
const END: &[u8] = b"\n-----END SSH SIGNATURE-----";

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

#[cfg(test)]
mod tests {
    use ssh_key::LineEnding;

    use super::*;

    const SIGNATURE: &str = include_str!("../../../../fuzz/seeds/ssh_signature/certificate");

    fn rule(armoured: &str) -> Option<Rule> {
        remove(armoured.as_bytes()).err().map(|(rule, _)| rule)
    }

    #[test]
    fn lines_may_be_broken_anywhere_and_hold_nothing_else() {
        assert_eq!(rule(SIGNATURE), None);
        let (body, end) = (SIGNATURE.find('\n').unwrap() + 1, SIGNATURE.rfind("\n-----END").unwrap());
        let base64 = SIGNATURE[body..end].replace('\n', "");
        let wrapped = |width: usize| {
            let lines: Vec<_> = base64.as_bytes().chunks(width).map(|line| std::str::from_utf8(line).unwrap()).collect();
            format!("{}{}{}", &SIGNATURE[..body], lines.join("\n"), &SIGNATURE[end..])
        };
        for width in [1, 64, 70, 76, base64.len()] {
            assert_eq!(rule(&wrapped(width)), None, "{width}");
        }
        for (armoured, expected) in [
            (SIGNATURE.trim_end().to_owned(), None),
            (format!("{SIGNATURE}\n"), Some(Rule::TrailingBytes)),
            (format!("{SIGNATURE}{SIGNATURE}"), Some(Rule::TrailingBytes)),
            (format!(" {SIGNATURE}"), Some(Rule::BadSignature)),
            (SIGNATURE.replace("\n-----END", "-----END"), Some(Rule::BadSignature)),
            (SIGNATURE.replace("-----END", "----END"), Some(Rule::BadSignature)),
            (SIGNATURE.replacen("\nAgLG", "\r\nAgLG", 1), Some(Rule::BadSignature)),
            (SIGNATURE.replacen("\nAgLG", "\nAg LG", 1), Some(Rule::BadSignature)),
            (SIGNATURE.replacen("\nAgLG", "\nAgLGAAAA", 1), Some(Rule::BadSignature)),
            (format!("{}AAAA{}", &SIGNATURE[..end], &SIGNATURE[end..]), Some(Rule::BadSignature)),
        ] {
            assert_eq!(rule(&armoured), expected, "{armoured}");
        }
    }

    proptest::proptest! {
        #[test]
        fn what_is_changed_anywhere_is_read_as_something_or_refused(at in 0..SIGNATURE.len(), byte: u8) {
            let mut bytes = SIGNATURE.as_bytes().to_vec();
            bytes[at] = byte;
            if let Ok(signature) = remove(&bytes) {
                let _ = signature.to_pem(LineEnding::LF);
            }
        }
    }
}
