//! Who may sign: the signers file, or what people have anyway: SSH public keys or an `allowed_signers` file.

use serde::Deserialize;
use ssh_key::PublicKey;
use tk8s_core::Timestamp;

use super::Rule;
use super::allowed_signers;
use crate::Error;

/// The role that signs releases.
const RELEASE: &str = "release";
/// A signers file is small; a larger one is a mistake.
const LARGEST: usize = 4 * 1024 * 1024;

/// Whether a signer's signatures count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SignerState {
    /// They do.
    #[default]
    Active,
    /// Those from before stay good, new ones do not count.
    Retired,
    /// None counts.
    Compromised,
}

/// A person, or a machine, with keys.
#[derive(Clone, Debug)]
pub struct Signer {
    /// As it appears in status and ledger.
    pub name: String,
    /// What the signer may do.
    pub roles: Vec<String>,
    /// Whether the signatures count.
    pub state: SignerState,
    /// Since when the state holds.
    pub since: Option<Timestamp>,
    pub(super) keys: Vec<Key>,
}

/// One key of a signer.
#[derive(Clone, Debug)]
pub(super) struct Key {
    pub(super) key: PublicKey,
    pub(super) valid_after: Option<Timestamp>,
    pub(super) valid_before: Option<Timestamp>,
    /// Patterns of namespaces, from an `allowed_signers` file.
    pub(super) namespaces: Option<String>,
}

/// Everybody who may sign.
#[derive(Clone, Debug)]
pub struct Signers(Vec<Signer>);

/// What the signers say about a key.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum KeyVerdict {
    Good(String),
    Refused(Rule, String),
}

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
    roles: Vec<String>,
    keys: Vec<String>,
    #[serde(default)]
    state: SignerState,
    #[serde(default)]
    since: Option<Timestamp>,
}

impl Signers {
    /// Reads any of the three forms. `name` is what errors call the file.
    pub fn parse(bytes: &[u8], name: &str) -> Result<Signers, Error> {
        let fail = |why: &str| Error::Signers { name: name.into(), line: None, why: why.into() };
        if bytes.len() > LARGEST {
            return Err(fail("it is larger than 4 MiB"));
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
                parse_own(text, name)?
            }
            Some(line) if is_key_type(line.split_whitespace().next().unwrap_or_default()) => parse_keys(text, name)?,
            Some(_) => allowed_signers::parse(text, name)?,
        };
        if signers.iter().all(|signer| signer.keys.is_empty()) {
            return Err(fail("it names no key: nobody may sign"));
        }
        Ok(Signers(signers))
    }

    /// Whether a signer of this name is marked as compromised: nothing that they signed counts any more.
    pub fn is_compromised(&self, name: &str) -> bool {
        self.0.iter().any(|signer| signer.name == name && signer.state == SignerState::Compromised)
    }

    /// What is said about a key, at this time by our clock.
    pub(super) fn judge(&self, key: &PublicKey, now: Timestamp) -> KeyVerdict {
        let mut refused = KeyVerdict::Refused(Rule::UnknownSigner, "no signer has this key".into());
        for signer in &self.0 {
            for known in signer.keys.iter().filter(|known| known.key.key_data() == key.key_data()) {
                match judge(signer, known, now) {
                    // One good entry is enough, but a compromised key is never good.
                    KeyVerdict::Refused(Rule::CompromisedSigner, why) => {
                        return KeyVerdict::Refused(Rule::CompromisedSigner, why);
                    }
                    KeyVerdict::Good(_) if matches!(refused, KeyVerdict::Good(_)) => {}
                    verdict @ KeyVerdict::Good(_) => refused = verdict,
                    verdict if !matches!(refused, KeyVerdict::Good(_)) => refused = verdict,
                    KeyVerdict::Refused(..) => {}
                }
            }
        }
        refused
    }
}

fn judge(signer: &Signer, key: &Key, now: Timestamp) -> KeyVerdict {
    let refuse = |rule, why: String| KeyVerdict::Refused(rule, why);
    let name = &signer.name;
    let since = signer.since.map(|since| format!(" since {since}")).unwrap_or_default();
    match signer.state {
        SignerState::Active => {}
        // From then on by our own clock; without a date at once.
        SignerState::Retired if signer.since.is_some_and(|since| now < since) => {}
        SignerState::Retired => return refuse(Rule::RetiredSigner, format!("{name} is retired{since}")),
        SignerState::Compromised => return refuse(Rule::CompromisedSigner, format!("{name} is marked as compromised{since}")),
    }
    if let Some(after) = key.valid_after.filter(|after| now < *after) {
        return refuse(Rule::KeyNotValidNow, format!("this key of {name} is valid from {after} on"));
    }
    if let Some(before) = key.valid_before.filter(|before| now >= *before) {
        return refuse(Rule::KeyNotValidNow, format!("this key of {name} was valid until {before}"));
    }
    if let Some(patterns) = &key.namespaces
        && !allowed_signers::list_matches(patterns, "git")
    {
        return refuse(Rule::WrongNamespace, format!("this key of {name} may not sign for `git`"));
    }
    if !signer.roles.iter().any(|role| role == RELEASE) {
        return refuse(Rule::RoleMissing, format!("{name} does not have the role `{RELEASE}`"));
    }
    KeyVerdict::Good(name.clone())
}

/// The first line that says something.
fn first_words(text: &str) -> Option<&str> {
    text.trim_start_matches('\u{feff}').lines().map(str::trim).find(|line| !line.is_empty() && !line.starts_with('#'))
}

fn is_key_type(word: &str) -> bool {
    word.starts_with("ssh-") || word.starts_with("ecdsa-sha2-") || word.starts_with("sk-")
}

fn parse_own(text: &str, name: &str) -> Result<Vec<Signer>, Error> {
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
            let key = read_key(key).ok_or_else(|| {
                fail(None, format!("key {} of `{shown}` is not an SSH public key (`ssh-ed25519 AAAA...`)", index + 1))
            })?;
            keys.push(Key { key, valid_after: None, valid_before: None, namespaces: None });
        }
        signers.push(Signer { name: raw.name, roles: raw.roles, state: raw.state, since: raw.since, keys });
    }
    Ok(signers)
}

/// One key a line, as in `*.pub`: whoever is listed may sign releases.
fn parse_keys(text: &str, name: &str) -> Result<Vec<Signer>, Error> {
    let mut signers = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let fail = || Error::Signers { name: name.into(), line: Some(index + 1), why: "it is not an SSH public key".into() };
        let key = read_key(line).ok_or_else(fail)?;
        let comment = line.split_whitespace().skip(2).collect::<Vec<_>>().join(" ");
        let label = if comment.is_empty() { key.fingerprint(ssh_key::HashAlg::Sha256).to_string() } else { comment };
        signers.push(with_release(label, Key { key, valid_after: None, valid_before: None, namespaces: None }));
    }
    Ok(signers)
}

/// A signer of a file that knows no roles.
pub(super) fn with_release(name: String, key: Key) -> Signer {
    Signer { name, roles: vec![RELEASE.into()], state: SignerState::Active, since: None, keys: vec![key] }
}

/// A public key as one line; certificates and private keys are none.
pub(super) fn read_key(line: &str) -> Option<PublicKey> {
    let mut words = line.split_whitespace();
    let (kind, data) = (words.next()?, words.next()?);
    PublicKey::from_openssh(&format!("{kind} {data}")).ok()
}
