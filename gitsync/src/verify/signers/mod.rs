//! Who may sign, and what is said about whoever did.
//!
//! A signer has credentials: SSH keys and authorities, and whatever else there is a kind of signature for. What a
//! credential is and whether it made a signature is known to the module of its kind; here is what holds for all of them:
//! state, validity, role.

mod file;

use serde::{Deserialize, Serialize};
use tk8s_core::Timestamp;

use super::signature::{Asked, Broken, Signed};
use super::{ForgeCommits, Revocations, Rule, openpgp, ssh, x509};

/// What a signer may do. One that no rule asks for is a mistake, so there is no other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Role(&'static str);

impl Role {
    /// Signs commits and releases.
    pub const RELEASE: Role = Role("release");
    /// Lets releases in without approvals.
    pub const BREAK_GLASS: Role = Role("break-glass");
    /// Every role.
    pub const ALL: [Role; 5] =
        [Role::RELEASE, Role("technical-lead"), Role("security-officer"), Role("product-owner"), Role::BREAK_GLASS];

    /// As it is written.
    pub fn name(self) -> &'static str {
        self.0
    }
}

impl Serialize for Role {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
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
    /// An OpenPGP certificate.
    OpenPgp(Box<openpgp::Certificate>),
    /// A name in a certificate of a known authority.
    X509(x509::Identity),
    /// A name in a certificate that was good for minutes.
    Keyless(x509::Keyless),
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
    forge: ForgeCommits,
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

    /// How many are active and have this role now.
    pub fn with_role(&self, role: Role, now: Timestamp) -> usize {
        let counts = |signer: &&Signer| {
            signer.state == SignerState::Active && signer.since.is_none_or(|since| since <= now) && signer.roles.contains(&role)
        };
        self.signers.iter().filter(counts).count()
    }

    /// Whether anybody is compromised, or anything revoked, at all.
    pub fn doubts_any(&self) -> bool {
        self.revoked.is_some() || self.signers.iter().any(|signer| signer.state == SignerState::Compromised)
    }

    /// Whether the key with this fingerprint is revoked by itself. Of a certificate, or where the list holds SHA-1
    /// fingerprints only, that can't be said without the signature.
    pub fn is_revoked(&self, fingerprint: &str) -> bool {
        self.revoked.as_ref().is_some_and(|revoked| revoked.revokes_fingerprint(fingerprint))
    }

    /// The same people, without what this file revokes: it is asked before anything else.
    #[must_use]
    pub fn revoking(self, revoked: Revocations) -> Signers {
        Signers { revoked: Some(revoked), ..self }
    }

    /// The same people, of whom those of kind `forge` are taken at their word for this.
    #[must_use]
    pub fn taking(self, forge: ForgeCommits) -> Signers {
        Signers { forge, ..self }
    }

    pub(super) fn forge(&self) -> ForgeCommits {
        self.forge
    }

    #[cfg(test)]
    pub(super) fn of(signers: Vec<Signer>) -> Signers {
        Signers { signers, revoked: None, forge: ForgeCommits::default() }
    }

    pub(super) fn revoked(&self) -> Option<&Revocations> {
        self.revoked.as_ref()
    }

    /// Who of them made a signature, if they may: `fit` says of each credential whether it did.
    ///
    /// One entry that may is enough, but a compromised one is never good.
    pub(super) fn judge(&self, asked: Asked<'_>, fit: impl Fn(&Credential) -> Fit) -> Result<Known, Broken> {
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
        asked.trail.ask("somebody of the signers file made it, who may", verdict, |known| known.name.clone())
    }
}

/// What is said of one credential; nothing if it is not the one.
fn judge(signer: &Signer, key: &Key, fit: Fit, asked: Asked<'_>) -> Option<Result<Known, Broken>> {
    let called = match fit {
        Fit::Other => return None,
        Fit::Made { called } => Ok(called),
        Fit::Refused(rule, why) => Err((rule, why)),
    };
    let called = called.map_err(|(rule, why)| (rule, format!("{}: {why}", signer.name)));
    let name = |called: &Option<String>| called.clone().unwrap_or_else(|| signer.name.clone());
    Some(
        allowed(signer, key, asked)
            .and_then(|()| asked.trail.ask("their key or certificate may be used for it", called, name))
            .map(|called| Known { name: name(&called), kind: signer.kind }),
    )
}

fn allowed(signer: &Signer, key: &Key, asked: Asked<'_>) -> Result<(), Broken> {
    let Asked { role, now, trail } = asked;
    trail.ask("the state of its signer lets it count", state(signer, now), |()| signer.name.clone())?;
    trail.ask("the signers file says that the key is valid now", valid(signer, key, now), |()| String::new())?;
    trail.require("its signer has the role that is needed", signer.roles.contains(&role), || {
        (Rule::RoleMissing, format!("{} does not have the role `{}`", signer.name, role.name()))
    })
}

fn state(signer: &Signer, now: Timestamp) -> Result<(), Broken> {
    let name = &signer.name;
    let refuse = |rule, why: String| Err((rule, why));
    let since = signer.since.map(|since| format!(" since {since}")).unwrap_or_default();
    match signer.state {
        SignerState::Active if signer.since.is_none_or(|since| since <= now) => Ok(()),
        SignerState::Active => refuse(Rule::KeyNotValidNow, format!("{name} is active{since}, which is yet to come")),
        // From then on by our own clock; without a date at once.
        SignerState::Retired if signer.since.is_some_and(|since| now < since) => Ok(()),
        SignerState::Retired => refuse(Rule::RetiredSigner, format!("{name} is retired{since}")),
        SignerState::Compromised => refuse(Rule::CompromisedSigner, format!("{name} is marked as compromised{since}")),
    }
}

/// By what the file says. What a certificate says of itself is judged by the module of its kind.
fn valid(signer: &Signer, key: &Key, now: Timestamp) -> Result<(), Broken> {
    let name = &signer.name;
    let refuse = |why: String| Err((Rule::KeyNotValidNow, why));
    if let Some(after) = key.valid_after.filter(|after| now < *after) {
        return refuse(format!("this key of {name} is valid from {after} on"));
    }
    // To the second, and that one included: as OpenSSH.
    if let Some(before) = key.valid_before.filter(|before| now.as_second() > before.as_second()) {
        return refuse(format!("this key of {name} was valid until {before}"));
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

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAILM+rvN+ot98qgEN796jTiQfZfG1KaT0PtFDJ/XFSqti";
    const FINGERPRINT: &str = "SHA256:UCUiLr7Pjs9wFFJMDByLgc3NrtdU344OgUM45wZPcIQ";

    /// What is said when the only key there is made a signature.
    fn judged(entry: &str, role: Role) -> Result<(String, SignerKind), Rule> {
        let text = format!(
            "apiVersion: agent.tk8s.io/v1alpha1\nkind: Signers\nsigners:\n  - {{name: alice, {entry}, keys: ['{KEY}']}}\n"
        );
        let asked = Asked::new(role, "2026-01-01T00:00:00.5Z".parse().unwrap());
        let judged = Signers::parse(text.as_bytes(), "signers").unwrap().judge(asked, |_| Fit::Made { called: None });
        judged.map(|known| (known.name, known.kind)).map_err(|(rule, _)| rule)
    }

    #[test]
    fn a_role_is_had_or_not_whatever_other_roles_there_are() {
        for role in Role::ALL {
            for other in Role::ALL {
                let said = judged(&format!("roles: [{}]", role.name()), other).map(|(name, _)| name);
                assert_eq!(said, if role == other { Ok("alice".into()) } else { Err(Rule::RoleMissing) }, "{role:?} {other:?}");
            }
        }
        assert_eq!(judged("roles: []", Role::RELEASE), Err(Rule::RoleMissing));
    }

    #[test]
    fn who_counts_now_and_who_is_doubted_is_said_of_the_whole_file() {
        let people = [
            "{name: alice, roles: [release, technical-lead]}",
            "{name: bob, roles: [technical-lead], since: 2026-01-01T00:00:00Z}",
            "{name: carol, roles: [technical-lead], since: 2026-01-01T00:00:01Z}",
            "{name: dave, roles: [technical-lead], since: 2026-06-01T00:00:00Z}",
            "{name: frank, roles: [technical-lead], state: retired}",
        ];
        let read = |people: &[&str]| {
            let people: Vec<_> = people.iter().map(|it| it.replace('}', &format!(", keys: ['{KEY}']}}"))).collect();
            let head = "apiVersion: agent.tk8s.io/v1alpha1\nkind: Signers\nsigners:\n- ";
            Signers::parse(format!("{head}{}\n", people.join("\n- ")).as_bytes(), "signers").unwrap()
        };
        let now = "2026-01-01T00:00:00Z".parse().unwrap();
        let signers = read(&people);
        let lead = Role::ALL.into_iter().find(|role| role.name() == "technical-lead").unwrap();
        assert_eq!((signers.with_role(lead, now), signers.with_role(Role::RELEASE, now)), (2, 1));
        assert!(!signers.doubts_any() && !signers.is_compromised("alice") && !signers.is_compromised("frank"));
        let signers = read(&[&people[..], &["{name: eve, roles: [release], state: compromised}"]].concat());
        assert!(signers.doubts_any() && signers.is_compromised("eve"));
        assert!(!signers.is_compromised("alice") && !signers.is_compromised("nobody"));
        assert_eq!(signers.with_role(Role::RELEASE, now), 1);
        assert!(!signers.is_revoked(FINGERPRINT));
        let revoked = read(&people[..1]).revoking(Revocations::parse(KEY.as_bytes(), "revoked").unwrap());
        assert!(revoked.doubts_any() && revoked.is_revoked(FINGERPRINT) && !revoked.is_revoked("SHA256:other"));
    }

    #[test]
    fn a_forge_is_told_from_a_person() {
        for (entry, kind) in [("roles: [release]", SignerKind::Person), ("roles: [release], kind: forge", SignerKind::Forge)] {
            assert_eq!(judged(entry, Role::RELEASE), Ok(("alice".into(), kind)), "{entry}");
        }
    }

    /// A45, time.
    #[test]
    fn a_state_begins_to_the_instant_and_a_key_is_valid_to_the_second() {
        let instant = "2026-01-01T00:00:00.5Z";
        let (before, after) = ("2026-01-01T00:00:00.4Z", "2026-01-01T00:00:00.6Z");
        for (state, since, expected) in [
            ("active", before, Ok(())),
            ("active", instant, Ok(())),
            ("active", after, Err(Rule::KeyNotValidNow)),
            ("retired", before, Err(Rule::RetiredSigner)),
            ("retired", instant, Err(Rule::RetiredSigner)),
            ("retired", after, Ok(())),
            ("compromised", after, Err(Rule::CompromisedSigner)),
        ] {
            let said = judged(&format!("roles: [release], state: {state}, since: {since}"), Role::RELEASE).map(drop);
            assert_eq!(said, expected, "{state} {since}");
        }
        for (option, expected) in [
            ("valid-before=\"20260101000000Z\"", Ok(())),
            ("valid-before=\"20251231235959Z\"", Err(Rule::KeyNotValidNow)),
            ("valid-after=\"20260101000000Z\"", Ok(())),
            ("valid-after=\"20260101000001Z\"", Err(Rule::KeyNotValidNow)),
        ] {
            let signers = Signers::parse(format!("alice {option} {KEY}").as_bytes(), "signers").unwrap();
            let asked = Asked::new(Role::RELEASE, instant.parse().unwrap());
            let said = signers.judge(asked, |_| Fit::Made { called: None }).map(drop).map_err(|(rule, _)| rule);
            assert_eq!(said, expected, "{option}");
        }
    }
}
