//! Who may sign, and what is said about whoever did.
//!
//! A signer has credentials: SSH keys and authorities, and whatever else there is a kind of signature for. What a
//! credential is and whether it made a signature is known to the module of its kind; here is what holds for all of them:
//! state, validity, role.

mod file;

use serde::Deserialize;
use tk8s_core::Timestamp;

use super::signature::{Asked, Broken, Signed};
use super::{Revocations, Rule, ssh};

/// What a signer may do. One that no rule asks for is a mistake, so there is no other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Role(&'static str);

impl Role {
    /// Signs commits and releases.
    pub const RELEASE: Role = Role("release");
    /// Every role.
    pub const ALL: [Role; 5] =
        [Role::RELEASE, Role("technical-lead"), Role("security-officer"), Role("product-owner"), Role("break-glass")];

    /// As it is written.
    pub fn name(self) -> &'static str {
        self.0
    }
}

impl<'de> Deserialize<'de> for Role {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Role, D::Error> {
        let name = String::deserialize(deserializer)?;
        Role::ALL.into_iter().find(|role| role.0 == name).ok_or_else(|| {
            let (name, all) = (tk8s_core::printable(&name, 40), Role::ALL.map(Role::name).join("`, `"));
            serde::de::Error::custom(format!("no rule knows the role `{name}`; there are `{all}`"))
        })
    }
}

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

/// Who stands behind a signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SignerKind {
    /// Somebody who looked at what was signed.
    #[default]
    Person,
    /// The Git host: it signs what its users click. Its signature alone is nobody's word.
    Forge,
}

/// A person, or a machine, with credentials.
#[derive(Clone, Debug)]
pub struct Signer {
    /// As it appears in status and ledger.
    pub name: String,
    /// What it is.
    pub kind: SignerKind,
    /// What the signer may do.
    pub roles: Vec<Role>,
    /// Whether the signatures count.
    pub state: SignerState,
    /// Since when the state holds. Whoever is compromised is so at once, whatever stands here.
    pub since: Option<Timestamp>,
    pub(super) keys: Vec<Key>,
}

/// One credential of a signer, and when it is valid by what the file says.
#[derive(Clone, Debug)]
pub(super) struct Key {
    pub(super) credential: Credential,
    pub(super) valid_after: Option<Timestamp>,
    pub(super) valid_before: Option<Timestamp>,
}

/// What signatures are made with, by kind.
#[derive(Clone, Debug)]
pub(super) enum Credential {
    /// An SSH key.
    Ssh(ssh::Known),
}

impl From<Credential> for Key {
    fn from(credential: Credential) -> Key {
        Key { credential, valid_after: None, valid_before: None }
    }
}

/// How a credential stands to a signature whose mathematics are right.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Fit {
    /// It did not make it.
    Other,
    /// It did; with the name that it gives its owner, where the file describes many at once.
    Made {
        /// Instead of the signer's name.
        called: Option<String>,
    },
    /// It did, and may not have.
    Refused(Rule, String),
}

/// Everybody who may sign, and what of theirs is revoked.
#[derive(Clone, Debug)]
pub struct Signers {
    signers: Vec<Signer>,
    revoked: Option<Revocations>,
}

/// Who made a signature.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Known {
    pub(super) name: String,
    pub(super) kind: SignerKind,
}

impl Known {
    /// The whole verdict, with the credential's fingerprint.
    pub(super) fn signed(self, fingerprint: String) -> Signed {
        Signed { signer: self.name, kind: self.kind, fingerprint }
    }
}

impl Signers {
    /// Whether a signer of this name is marked as compromised: nothing that they signed counts any more.
    pub fn is_compromised(&self, name: &str) -> bool {
        self.signers.iter().any(|signer| signer.name == name && signer.state == SignerState::Compromised)
    }

    /// The same people, without what this file revokes: it is asked before anything else.
    #[must_use]
    pub fn revoking(self, revoked: Revocations) -> Signers {
        Signers { revoked: Some(revoked), ..self }
    }

    #[cfg(test)]
    pub(super) fn of(signers: Vec<Signer>) -> Signers {
        Signers { signers, revoked: None }
    }

    pub(super) fn revoked(&self) -> Option<&Revocations> {
        self.revoked.as_ref()
    }

    /// Who of them made a signature, if they may: `fit` says of each credential whether it did.
    ///
    /// One entry that may is enough, but a compromised one is never good.
    pub(super) fn judge(&self, asked: Asked, fit: impl Fn(&Credential) -> Fit) -> Result<Known, Broken> {
        let mut verdict = Err((Rule::UnknownSigner, "no signer has this key".to_owned()));
        for signer in &self.signers {
            for key in &signer.keys {
                match judge(signer, key, fit(&key.credential), asked) {
                    None => {}
                    Some(Err(broken)) if broken.0 == Rule::CompromisedSigner => return Err(broken),
                    Some(found) if verdict.is_err() => verdict = found,
                    Some(_) => {}
                }
            }
        }
        verdict
    }
}

/// What is said of one credential; nothing if it is not the one.
fn judge(signer: &Signer, key: &Key, fit: Fit, asked: Asked) -> Option<Result<Known, Broken>> {
    let called = match fit {
        Fit::Other => return None,
        Fit::Made { called } => Ok(called),
        Fit::Refused(rule, why) => Err((rule, why)),
    };
    Some(
        allowed(signer, key, asked)
            .and(called.map_err(|(rule, why)| (rule, format!("{}: {why}", signer.name))))
            .map(|called| Known { name: called.unwrap_or_else(|| signer.name.clone()), kind: signer.kind }),
    )
}

fn allowed(signer: &Signer, key: &Key, asked: Asked) -> Result<(), Broken> {
    let (name, now) = (&signer.name, asked.now);
    let refuse = |rule, why: String| Err((rule, why));
    let since = signer.since.map(|since| format!(" since {since}")).unwrap_or_default();
    match signer.state {
        SignerState::Active if signer.since.is_none_or(|since| since <= now) => {}
        SignerState::Active => return refuse(Rule::KeyNotValidNow, format!("{name} is active{since}, which is yet to come")),
        // From then on by our own clock; without a date at once.
        SignerState::Retired if signer.since.is_some_and(|since| now < since) => {}
        SignerState::Retired => return refuse(Rule::RetiredSigner, format!("{name} is retired{since}")),
        SignerState::Compromised => return refuse(Rule::CompromisedSigner, format!("{name} is marked as compromised{since}")),
    }
    if let Some(after) = key.valid_after.filter(|after| now < *after) {
        return refuse(Rule::KeyNotValidNow, format!("this key of {name} is valid from {after} on"));
    }
    // To the second, and that one included: as OpenSSH.
    if let Some(before) = key.valid_before.filter(|before| now.as_second() > before.as_second()) {
        return refuse(Rule::KeyNotValidNow, format!("this key of {name} was valid until {before}"));
    }
    if !signer.roles.contains(&asked.role) {
        return refuse(Rule::RoleMissing, format!("{name} does not have the role `{}`", asked.role.name()));
    }
    Ok(())
}

/// A signer of a file that knows no roles.
pub(super) fn with_release(name: String, key: Key) -> Signer {
    Signer {
        name,
        kind: SignerKind::Person,
        roles: vec![Role::RELEASE],
        state: SignerState::Active,
        since: None,
        keys: vec![key],
    }
}
