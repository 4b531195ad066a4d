//! What is revoked: a key revocation list as `ssh-keygen -k` makes it, or keys, one a line.
//!
//! Revoking is the act of somebody in a hurry, so the reader is on their side: a file that can't be read to its end revokes
//! nothing by halves, it is an error, and nothing new is accepted until it is mended.

use std::io::Read as _;
use std::path::Path;
use std::sync::Arc;

use ssh_key::public::KeyData;

use super::key;
use super::krl::{Krl, MAGIC};
use crate::Error;

/// Some hundred thousand keys, or millions of certificates.
const LARGEST: u64 = 16 * 1024 * 1024;

/// A revocation file.
#[derive(Clone, Debug)]
pub struct Revocations(Arc<Form>);

#[derive(Debug)]
enum Form {
    Krl(Krl),
    Keys(Vec<KeyData>),
}

impl Revocations {
    /// Reads the file. One that is missing is an error: somebody said that there is one.
    pub fn read(path: &Path) -> Result<Revocations, Error> {
        let fail = |source| Error::ReadFile { what: "revocation file", path: path.into(), source };
        let mut bytes = Vec::new();
        std::fs::File::open(path).and_then(|file| file.take(LARGEST + 1).read_to_end(&mut bytes)).map_err(fail)?;
        Revocations::parse(&bytes, &path.display().to_string())
    }

    /// Reads either form. `name` is what errors call the file.
    pub fn parse(bytes: &[u8], name: &str) -> Result<Revocations, Error> {
        let fail = |line: Option<usize>, why: String| Error::Revocations { name: name.into(), line, why };
        if bytes.len() as u64 > LARGEST {
            return Err(fail(None, "it is larger than 16 MiB".into()));
        }
        // Whoever writes into a file empties it first.
        if bytes.is_empty() {
            return Err(fail(None, "it is empty: if nobody is revoked, write a comment (`# nobody`)".into()));
        }
        if bytes.starts_with(MAGIC) {
            return Ok(Revocations(Arc::new(Form::Krl(Krl::parse(bytes).map_err(|why| fail(None, why))?))));
        }
        let text =
            std::str::from_utf8(bytes).map_err(|_| fail(None, "it is neither a list of `ssh-keygen -k` nor text".into()))?;
        let mut keys = Vec::new();
        for (index, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let key = key::from_line_or_certificate(line);
            let key = key.ok_or_else(|| fail(Some(index + 1), "it is not an SSH public key".into()))?;
            keys.push(key::plain(&key).clone());
        }
        Ok(Revocations(Arc::new(Form::Keys(keys))))
    }

    /// Whether a key with this fingerprint (`SHA256:...`) is revoked, as far as that can be told without the key.
    pub(in crate::verify) fn revokes_fingerprint(&self, fingerprint: &str) -> bool {
        match &*self.0 {
            Form::Krl(krl) => krl.revokes_fingerprint(fingerprint),
            Form::Keys(keys) => keys.iter().any(|key| key::fingerprint(key) == fingerprint),
        }
    }

    /// Why a key, or a key with a certificate, is revoked; or that it is not.
    pub(super) fn revokes(&self, shown: &KeyData) -> Option<String> {
        let keys = match &*self.0 {
            Form::Krl(krl) => return krl.revokes(shown),
            Form::Keys(keys) => keys,
        };
        if keys.contains(key::plain(shown)) {
            return Some("the key is revoked".into());
        }
        match shown {
            KeyData::Certificate(certificate) if keys.contains(certificate.signature_key()) => {
                Some("the authority of its certificate is revoked".into())
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAILdTcfR2BEgoxqJ3ecPQU3L0EJ/Vx+CKzAgTadZ2vJ0r";
    const CERTIFICATE: &str = include_str!("../../../../fuzz/seeds/krl/certificate-cert.pub");
    const LIST: &[u8] = include_bytes!("../../../../fuzz/seeds/krl/certificates");
    const KEYS: &[u8] = include_bytes!("../../../../fuzz/seeds/krl/keys");

    fn revokes(file: &[u8], line: &str) -> bool {
        let key = key::from_line_or_certificate(line).unwrap();
        Revocations::parse(file, "revoked").unwrap().revokes(&key).is_some()
    }

    #[test]
    fn a_list_of_certificates_revokes_those_and_not_their_keys_and_a_key_is_revoked_with_all_of_its_certificates() {
        for (file, key, certificate) in [
            (LIST, false, true),
            (KEYS, true, true),
            (KEY.as_bytes(), true, true),
            (CERTIFICATE.as_bytes(), true, true),
            (b" # nobody\n\n", false, false),
        ] {
            let shown = String::from_utf8_lossy(file);
            assert_eq!((revokes(file, KEY), revokes(file, CERTIFICATE)), (key, certificate), "{shown}");
        }
    }

    #[test]
    fn the_key_of_an_authority_revokes_its_certificates_and_no_key_of_others() {
        let KeyData::Certificate(certificate) = key::from_line_or_certificate(CERTIFICATE).unwrap() else {
            unreachable!("because it is one")
        };
        let authority = ssh_key::PublicKey::from(certificate.signature_key().clone()).to_openssh().unwrap();
        assert!(revokes(authority.as_bytes(), CERTIFICATE) && !revokes(authority.as_bytes(), KEY));
    }

    #[test]
    fn a_key_is_found_by_its_fingerprint_alone() {
        let fingerprint = key::fingerprint(&key::from_line(KEY).unwrap());
        let revokes = |file: &[u8]| Revocations::parse(file, "x").unwrap().revokes_fingerprint(&fingerprint);
        // The list `keys` holds the SHA-256 fingerprint of it.
        assert!(revokes(KEYS) && revokes(KEY.as_bytes()) && revokes(CERTIFICATE.as_bytes()));
        assert!(!revokes(LIST) && !revokes(b"# nobody"));
        assert!(!Revocations::parse(KEYS, "x").unwrap().revokes_fingerprint("SHA256:"));
    }

    #[test]
    fn a_line_that_is_no_key_is_named() {
        let error = Revocations::parse(format!("# stolen\n{KEY}\nssh-ed25519 AAAA\n").as_bytes(), "revoked").unwrap_err();
        assert!(matches!(error, Error::Revocations { line: Some(3), .. }), "{error}");
    }

    #[test]
    fn an_empty_file_is_one_that_is_being_written() {
        let why = Revocations::parse(b"", "revoked").unwrap_err().to_string();
        assert!(why.contains("it is empty"), "{why}");
    }

    #[test]
    fn what_is_larger_than_its_limit_is_refused_and_not_read_in_part() {
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_len(LARGEST + 1).unwrap();
        let error = Revocations::read(file.path()).unwrap_err();
        assert!(error.to_string().contains("larger than"), "{error}");
        let most = 16 * 1024 * 1024;
        let comments = vec![b'#'; most + 1];
        assert!(Revocations::parse(&comments[..most], "revoked").is_ok());
        assert!(Revocations::parse(&comments, "revoked").unwrap_err().to_string().contains("larger than 16 MiB"));
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_the_reader_panic(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..200), at: u16, flip: u8) {
            let _ = Revocations::parse(&bytes, "x");
            let _ = Revocations::parse(&[MAGIC, &bytes].concat(), "x");
            for list in [LIST, KEYS] {
                let mut changed = list.to_vec();
                let at = usize::from(at) % changed.len();
                changed[at] ^= flip;
                let _ = Revocations::parse(&changed, "x");
            }
        }
    }
}
