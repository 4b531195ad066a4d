//! Reading the signers file: our own, or what people have anyway: SSH keys, OpenPGP certificates, an `allowed_signers` file.

use serde::Deserialize;
use tk8s_core::Timestamp;

use super::{Credential, Key, Role, Signer, SignerKind, SignerState, Signers, with_release};
use crate::Error;
use crate::verify::{ForgeCommits, openpgp, ssh, x509};

/// The beginning of everything that is armoured as OpenPGP demands.
const OPENPGP: &str = "-----BEGIN PGP ";

/// A signers file is small; a larger one is a mistake.
const LARGEST: usize = 4 * 1024 * 1024;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct RawFile {
    api_version: String,
    kind: String,
    signers: Vec<RawSigner>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct RawSigner {
    name: String,
    #[serde(default)]
    kind: SignerKind,
    roles: Vec<Role>,
    keys: Vec<RawKey>,
    #[serde(default)]
    state: SignerState,
    #[serde(default)]
    since: Option<Timestamp>,
}

/// One key. Those with certificates need more than a line.
#[derive(Deserialize)]
#[serde(untagged, expecting = "a key is a text, or has one of `x509` and `keyless` with all of their fields")]
enum RawKey {
    Text(String),
    X509 { x509: RawX509 },
    Keyless { keyless: RawKeyless },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawX509 {
    identity: String,
    roots: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct RawKeyless {
    identity: String,
    issuer: String,
    trusted_root: String,
}

impl Signers {
    /// Reads any of the four forms. `name` is what errors call the file.
    pub fn parse(bytes: &[u8], name: &str) -> Result<Signers, Error> {
        let fail = |why: &str| Error::Signers { name: name.into(), line: None, why: why.into() };
        if bytes.len() > LARGEST {
            return Err(fail("it is larger than 4 MiB"));
        }
        if openpgp::is_binary(bytes) {
            let signers = certificates(bytes).map_err(|why| fail(&why))?;
            return Ok(Signers { signers, revoked: None, forge: ForgeCommits::default() });
        }
        let text = std::str::from_utf8(bytes).map_err(|_| fail("it is not UTF-8"))?;
        let signers = match first_words(text) {
            None => return Err(fail("it is empty: nobody may sign")),
            Some(line)
                if line.starts_with("apiVersion:")
                    || line.starts_with("kind:")
                    || line.starts_with("signers:")
                    || line == "---" =>
            {
                own(text, name)?
            }
            Some(line) if line.starts_with(OPENPGP) => certificates(bytes).map_err(|why| fail(&why))?,
            Some(line) if is_key_type(line.split_whitespace().next().unwrap_or_default()) => keys(text, name)?,
            Some(_) => ssh::parse_allowed_signers(text, name)?,
        };
        if signers.iter().all(|signer| signer.keys.is_empty()) {
            return Err(fail("it names no key: nobody may sign"));
        }
        Ok(Signers { signers, revoked: None, forge: ForgeCommits::default() })
    }
}

/// The first line that says something.
fn first_words(text: &str) -> Option<&str> {
    text.trim_start_matches('\u{feff}').lines().map(str::trim).find(|line| !line.is_empty() && !line.starts_with('#'))
}

fn is_key_type(word: &str) -> bool {
    word.starts_with("ssh-") || word.starts_with("ecdsa-sha2-") || word.starts_with("sk-")
}

/// One entry of `keys`.
fn credentials(raw: &RawKey) -> Result<Vec<Key>, String> {
    let credential = match raw {
        RawKey::Text(text) => return of_text(text),
        RawKey::X509 { x509: RawX509 { identity, roots } } => x509::Identity::new(identity, roots).map(Credential::X509),
        RawKey::Keyless { keyless: RawKeyless { identity, issuer, trusted_root } } => {
            x509::Keyless::new(identity, issuer, trusted_root).map(Credential::Keyless)
        }
    };
    credential.map(|credential| vec![credential.into()]).map_err(|why| format!("can't be used: {why}"))
}

/// A key that is a text: its first words say of which kind it is. An SSH key stands alone, or in a line of `allowed_signers`,
/// which is how an authority is written; a block of OpenPGP may hold several certificates.
fn of_text(text: &str) -> Result<Vec<Key>, String> {
    if text.starts_with(OPENPGP) {
        let certificates = openpgp::certificates(text.as_bytes()).map_err(|why| format!("is no OpenPGP certificate: {why}"))?;
        return Ok(certificates.into_iter().map(|certificate| Credential::OpenPgp(Box::new(certificate)).into()).collect());
    }
    ssh_credential(text).map(|key| vec![key])
}

fn ssh_credential(text: &str) -> Result<Key, String> {
    if is_key_type(text.split_whitespace().next().unwrap_or_default()) {
        let known = ssh::Known::read(text).ok_or("is not an SSH public key (`ssh-ed25519 AAAA...`)")?;
        return Ok(Credential::Ssh(known).into());
    }
    let line = ssh::line_of(text).map_err(|why| {
        format!("is neither a key (`ssh-ed25519 AAAA...`, `{OPENPGP}...`) nor a line of `allowed_signers`: {why}")
    })?;
    let ssh::Line { known, valid_after, valid_before, .. } = line;
    Ok(Key { credential: Credential::Ssh(known), valid_after, valid_before })
}

fn own(text: &str, name: &str) -> Result<Vec<Signer>, Error> {
    let fail = |line: Option<usize>, why: String| Error::Signers { name: name.into(), line, why };
    let file: RawFile = serde_yaml::from_str(text).map_err(|error| {
        let line = error.location().map(|location| location.line());
        fail(line, tk8s_core::printable(&error.to_string(), 300))
    })?;
    if file.api_version != "agent.tk8s.io/v1alpha1" || file.kind != "Signers" {
        return Err(fail(None, "it has to say `apiVersion: agent.tk8s.io/v1alpha1` and `kind: Signers`".into()));
    }
    let mut signers: Vec<Signer> = Vec::new();
    for raw in file.signers {
        let shown = tk8s_core::printable(&raw.name, 80);
        if raw.name.trim().is_empty() {
            return Err(fail(None, "a signer has no name".into()));
        }
        if signers.iter().any(|signer| signer.name == raw.name) {
            return Err(fail(None, format!("the signer `{shown}` occurs twice: a person has one entry with all keys")));
        }
        let mut keys = Vec::new();
        for (index, key) in raw.keys.iter().enumerate() {
            keys.extend(credentials(key).map_err(|why| fail(None, format!("key {} of `{shown}` {why}", index + 1)))?);
        }
        let RawSigner { name, kind, roles, state, since, .. } = raw;
        signers.push(Signer { name, kind, roles, state, since, keys });
    }
    Ok(signers)
}

/// One key a line, as in `*.pub`: whoever is listed may sign releases.
fn keys(text: &str, name: &str) -> Result<Vec<Signer>, Error> {
    let mut signers = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let fail = || Error::Signers { name: name.into(), line: Some(index + 1), why: "it is not an SSH public key".into() };
        let known = ssh::Known::read(line).ok_or_else(fail)?;
        let comment = line.split_whitespace().skip(2).collect::<Vec<_>>().join(" ");
        let label = if comment.is_empty() { known.fingerprint() } else { comment };
        signers.push(with_release(label, Credential::Ssh(known).into()));
    }
    Ok(signers)
}

/// Certificates, each of whoever its first user id names.
fn certificates(bytes: &[u8]) -> Result<Vec<Signer>, String> {
    let certificates = openpgp::certificates(bytes)?;
    let signer =
        |certificate: openpgp::Certificate| with_release(certificate.label(), Credential::OpenPgp(Box::new(certificate)).into());
    Ok(certificates.into_iter().map(signer).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAILM+rvN+ot98qgEN796jTiQfZfG1KaT0PtFDJ/XFSqti";

    fn refused(bytes: &[u8]) -> Error {
        Signers::parse(bytes, "signers").unwrap_err()
    }

    #[test]
    fn a_file_of_keys_names_the_line_that_is_none() {
        let error = refused(format!("{KEY} alice\n\n# bob\n{KEY}x bob\n").as_bytes());
        assert!(matches!(error, Error::Signers { line: Some(4), .. }), "{error}");
    }

    #[test]
    fn who_has_no_name_in_a_file_of_keys_is_called_by_their_key() {
        let signers = Signers::parse(KEY.as_bytes(), "signers").unwrap().signers;
        assert_eq!(signers[0].name, "SHA256:UCUiLr7Pjs9wFFJMDByLgc3NrtdU344OgUM45wZPcIQ");
    }

    #[test]
    fn text_is_not_taken_for_packets_nor_packets_for_text() {
        for (bytes, why) in [
            ("\u{e4}pfel: 1\n".as_bytes(), "its key can't be read"),
            (b"# a comment in Latin-1: \xe4\n", "it is not UTF-8"),
            (b"\xe4\xff", "a packet is cut off"),
        ] {
            let error = refused(bytes).to_string();
            assert!(error.contains(why), "{error}");
        }
    }

    #[test]
    fn a_file_says_what_it_is() {
        for (version, kind) in [("agent.tk8s.io/v1", "Signers"), ("agent.tk8s.io/v1alpha1", "Signer"), ("v1", "List")] {
            let error = refused(format!("apiVersion: {version}\nkind: {kind}\nsigners: []\n").as_bytes());
            assert!(error.to_string().contains("it has to say"), "{error}");
        }
    }

    #[test]
    fn a_file_is_as_large_as_it_may_be() {
        let most = 4 * 1024 * 1024;
        let comments = vec![b'#'; most + 2];
        assert!(refused(&comments[..most]).to_string().contains("empty"));
        for larger in [most + 1, most + 2] {
            assert!(refused(&comments[..larger]).to_string().contains("larger than 4 MiB"));
        }
    }
}
