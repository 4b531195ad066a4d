//! A certificate: keys, and what their owner says about them. What can be proven once is proven when it is read; what
//! depends on the time is asked at the time.
//!
//! Certificates come from people who trust them, so there is no web of trust here: signatures of others are passed over.
//! Where two programs in use disagree on what a certificate allows, the stricter one is followed.

use pgp::packet::{Packet, PublicKey, PublicSubkey, Signature, SignatureType, UserId};
use pgp::types::{KeyDetails, KeyVersion, Tag, VerifyingKey};
use tk8s_core::Timestamp;

use super::packets;
use super::statement::{Revocation, Statement, after, at, counts, expires, is_named, is_past, newest, revokers};
use super::strength::{weak_hash, weak_key};
use crate::verify::Rule;

/// A certificate with the signatures of a thousand friends has about as many packets.
const MOST_PACKETS: usize = 20_000;

pub(super) const PRIVATE: &str = "it holds a private key: list the public half only (`gpg --armor --export`)";

type Broken = (Rule, String);

/// The keys of one person.
#[derive(Clone, Debug)]
pub(in crate::verify) struct Certificate {
    primary: PublicKey,
    revoked: Vec<Revocation>,
    direct: Vec<Statement>,
    users: Vec<User>,
    subkeys: Vec<Subkey>,
    /// Fingerprints of keys that may revoke this one.
    revokers: Vec<Vec<u8>>,
}

#[derive(Clone, Debug)]
struct User {
    id: UserId,
    statements: Vec<Statement>,
    revoked: Vec<Revocation>,
}

#[derive(Clone, Debug)]
pub(super) struct Subkey {
    key: PublicSubkey,
    bindings: Vec<Binding>,
    revoked: Vec<Revocation>,
}

/// The owner's word that a subkey is one of theirs, and the subkey's word that it is.
#[derive(Clone, Debug)]
struct Binding {
    statement: Statement,
    back: Back,
}

impl AsRef<Statement> for Binding {
    fn as_ref(&self) -> &Statement {
        &self.statement
    }
}

/// What the subkey says: until when, or what is wrong with it. Without it somebody could take the key of another for theirs.
type Back = Result<Option<Timestamp>, String>;

/// What a signature is about: what stands before it.
#[derive(Clone, Copy)]
enum About {
    Key,
    User,
    Subkey,
    /// Something that is passed over.
    Nothing,
}

impl Certificate {
    /// Reads every certificate in these packets. Revocations of keys may stand anywhere among them: people append them.
    pub(super) fn read_all(bytes: &[u8]) -> Result<Vec<Certificate>, String> {
        let packets = packets::split(bytes)?;
        if packets.len() > MOST_PACKETS {
            return Err(format!("it has more than {MOST_PACKETS} packets"));
        }
        let mut certificates: Vec<Certificate> = Vec::new();
        let (mut revocations, mut about) = (Vec::new(), About::Nothing);
        for raw in packets {
            match raw.tag {
                Tag::SecretKey | Tag::SecretSubkey => {
                    return Err(PRIVATE.into());
                }
                Tag::PublicKey | Tag::PublicSubkey | Tag::UserId | Tag::Signature => {}
                // Pictures, and notes of some program.
                _ => {
                    about = About::Nothing;
                    continue;
                }
            }
            let packet = raw.read().map_err(|why| format!("a packet of the kind {:?} can't be read: {why}", raw.tag))?;
            about = match (packet, certificates.last_mut()) {
                (Packet::Signature(signature), _) if signature.typ() == Some(SignatureType::KeyRevocation) => {
                    revocations.push(signature);
                    about
                }
                (Packet::PublicKey(primary), _) => {
                    certificates.push(Certificate::new(primary));
                    About::Key
                }
                (Packet::UserId(id), Some(certificate)) => {
                    certificate.users.push(User { id, statements: Vec::new(), revoked: Vec::new() });
                    About::User
                }
                (Packet::PublicSubkey(key), Some(certificate)) => {
                    certificate.subkeys.push(Subkey { key, bindings: Vec::new(), revoked: Vec::new() });
                    About::Subkey
                }
                (Packet::Signature(signature), Some(certificate)) => {
                    certificate.hear(about, &signature);
                    about
                }
                _ => return Err("it does not begin with a public key".into()),
            };
        }
        for certificate in &mut certificates {
            let revoked = revocations.iter().filter(|signature| certificate.is_revoked_by(signature)).map(Revocation::of);
            certificate.revoked = revoked.collect();
        }
        if certificates.is_empty() { Err("it holds no public key".into()) } else { Ok(certificates) }
    }

    fn new(primary: PublicKey) -> Certificate {
        let (revoked, direct, users, subkeys, revokers) = Default::default();
        Certificate { primary, revoked, direct, users, subkeys, revokers }
    }

    /// Takes in a signature, if it is the owner's.
    fn hear(&mut self, about: About, signature: &Signature) {
        let primary = &self.primary;
        match about {
            About::Nothing => {}
            About::Key => {
                if signature.typ() == Some(SignatureType::Key) && signature.verify_key(primary).is_ok() {
                    self.direct.extend(Statement::of(signature));
                    self.revokers.extend(revokers(signature));
                }
            }
            About::User => {
                let Some(user) = self.users.last_mut() else { return };
                let is_right = signature.verify_certification(primary, Tag::UserId, &user.id).is_ok();
                match signature.typ() {
                    Some(SignatureType::CertRevocation) if counts(signature, primary, is_right) => {
                        user.revoked.push(Revocation::of(signature));
                    }
                    // Of the four kinds of certification: the library lets no other pass.
                    _ if is_right => user.statements.extend(Statement::of(signature)),
                    _ => {}
                }
            }
            About::Subkey => {
                let Some(subkey) = self.subkeys.last_mut() else { return };
                let is_right = signature.verify_subkey_binding(primary, &subkey.key).is_ok();
                match (signature.typ(), Statement::of(signature)) {
                    (Some(SignatureType::SubkeyRevocation), _) if counts(signature, primary, is_right) => {
                        subkey.revoked.push(Revocation::of(signature));
                    }
                    (Some(SignatureType::SubkeyBinding), Some(statement)) if is_right => {
                        subkey.bindings.push(Binding { statement, back: back_signed(signature, &subkey.key, primary) });
                    }
                    _ => {}
                }
            }
        }
    }

    /// Whether a revocation of a key is one of this key: by itself, or by somebody whom its owner gave the right. The key of
    /// that somebody isn't at hand, and nobody but the file's own people could have put the revocation there.
    fn is_revoked_by(&self, signature: &Signature) -> bool {
        let by_revoker = self.revokers.iter().any(|revoker| is_named(signature, revoker));
        by_revoker || counts(signature, &self.primary, signature.verify_key(&self.primary).is_ok())
    }

    /// The primary key's fingerprint, in hex as gpg shows it.
    fn fingerprint(&self) -> String {
        format!("{:X}", self.primary.fingerprint())
    }

    /// The first user id, for people.
    pub(in crate::verify) fn label(&self) -> String {
        let id = self.users.first().map(|user| String::from_utf8_lossy(user.id.id()).into_owned());
        id.map_or_else(|| self.fingerprint(), |id| tk8s_core::printable(&id, 80))
    }

    /// The key with this fingerprint or key id, if it is one of these.
    pub(super) fn find(&self, is_meant: impl Fn(&dyn KeyDetails) -> bool) -> Option<Key<'_>> {
        let subkey = || self.subkeys.iter().find(|subkey| is_meant(&subkey.key)).map(|subkey| Key::Subkey(self, subkey));
        if is_meant(&self.primary) { Some(Key::Primary(self)) } else { subkey() }
    }
}

/// The subkey's own signature inside of its binding.
fn back_signed(binding: &Signature, subkey: &PublicSubkey, primary: &PublicKey) -> Back {
    let back = binding.embedded_signature().ok_or("the subkey does not say that it belongs to the certificate")?;
    if let Some(weak) = back.config().and_then(|config| weak_hash(config.hash_alg)) {
        return Err(format!("the subkey says that it belongs to the certificate over {weak}"));
    }
    back.verify_primary_key_binding(subkey, primary)
        .map_err(|_| "what the subkey says of the certificate it belongs to is forged".to_owned())?;
    Ok(expires(back))
}

/// A key of a certificate.
#[derive(Clone, Copy, Debug)]
pub(super) enum Key<'c> {
    Primary(&'c Certificate),
    Subkey(&'c Certificate, &'c Subkey),
}

impl Key<'_> {
    /// In hex, as gpg shows it.
    pub(super) fn fingerprint(self) -> String {
        format!("{:X}", self.details().fingerprint())
    }

    /// When it was made, as its owner says.
    pub(super) fn created(self) -> Option<Timestamp> {
        at(self.details().created_at().as_secs())
    }

    fn details(&self) -> &dyn KeyDetails {
        match self {
            Key::Primary(certificate) => &certificate.primary,
            Key::Subkey(_, subkey) => &subkey.key,
        }
    }

    /// Why the key is too weak, whatever is said about it.
    pub(super) fn weak(self) -> Option<String> {
        match self {
            Key::Primary(certificate) => weak_key(&certificate.primary),
            Key::Subkey(_, subkey) => weak_key(&subkey.key),
        }
    }

    /// Whether the key made this signature over these bytes.
    pub(super) fn made(self, signature: &Signature, payload: &[u8]) -> bool {
        fn made(key: &impl VerifyingKey, signature: &Signature, payload: &[u8]) -> bool {
            // The library reads a signature of one kind with a key of another as far as their shapes agree.
            signature.config().is_some_and(|config| config.pub_alg == key.algorithm()) && signature.verify(key, payload).is_ok()
        }
        match self {
            Key::Primary(certificate) => made(&certificate.primary, signature, payload),
            Key::Subkey(_, subkey) => made(&subkey.key, signature, payload),
        }
    }

    /// Whether the key's owner lets it sign, at this time by our clock.
    pub(super) fn may_sign(self, now: Timestamp) -> Result<(), Broken> {
        match self {
            Key::Primary(certificate) => for_signing(&certificate.holds(now)?),
            Key::Subkey(certificate, subkey) => {
                certificate.holds(now)?;
                subkey.may_sign(now)
            }
        }
    }
}

impl Certificate {
    /// What is said about the primary key now, if it is good: whatever the certificate holds is good through it.
    fn holds(&self, now: Timestamp) -> Result<Vec<&Statement>, Broken> {
        not_revoked(&self.revoked, "the key")?;
        if let Some(weak) = weak_key(&self.primary) {
            return Err((Rule::WeakKey, format!("the primary key is {weak}")));
        }
        let direct = newest(&self.direct, now);
        let (mut users, mut why) = (Vec::new(), None);
        for user in &self.users {
            match user.in_force(now) {
                Ok(statement) => users.push(statement),
                Err(broken) => why = why.or(Some(broken)),
            }
        }
        let user = users.into_iter().max_by_key(|statement| (statement.main_user, statement.made));
        // Keys of version 6 are spoken for by themselves, older ones by a user id if they have any.
        let speaks = match self.primary.version() {
            KeyVersion::V6 => direct.clone().map(|_| ()),
            _ if self.users.is_empty() => direct.clone().map(|_| ()),
            _ => user.map(|_| ()).ok_or_else(|| why.expect("because a user id was not in force")),
        };
        speaks?;
        let statements: Vec<_> = direct.into_iter().chain(user).collect();
        in_time(&self.primary, &statements, "the key", now)?;
        Ok(statements)
    }
}

impl User {
    /// What is said about the key under this name.
    fn in_force(&self, now: Timestamp) -> Result<&Statement, Broken> {
        let statement = newest(&self.statements, now)?;
        match self.revoked.iter().find(|revocation| !revocation.ends_with(statement)) {
            Some(revocation) => {
                Err(revocation.refusal(&format!("`{}`", tk8s_core::printable(&String::from_utf8_lossy(self.id.id()), 80))))
            }
            None => Ok(statement),
        }
    }
}

impl Subkey {
    fn may_sign(&self, now: Timestamp) -> Result<(), Broken> {
        not_revoked(&self.revoked, "the subkey")?;
        let binding = newest(&self.bindings, now)?;
        in_time(&self.key, &[&binding.statement], "the subkey", now)?;
        for_signing(&[&binding.statement])?;
        match &binding.back {
            Ok(expires) if expires.is_none_or(|expires| now < expires) => Ok(()),
            Ok(_) => Err((Rule::KeyNotValidNow, "the subkey no longer says that it belongs to the certificate".into())),
            Err(why) => Err((Rule::KeyUsage, why.clone())),
        }
    }
}

/// Nothing undoes the revocation of a key. That it was stolen weighs more than that it was retired.
fn not_revoked(revoked: &[Revocation], what: &str) -> Result<(), Broken> {
    revoked.iter().max_by_key(|revocation| revocation.hard).map_or(Ok(()), |revocation| Err(revocation.refusal(what)))
}

/// Whether the key exists already and still: by each statement that says how long it lasts.
fn in_time(key: &impl KeyDetails, statements: &[&Statement], what: &str, now: Timestamp) -> Result<(), Broken> {
    let Some(made) = at(key.created_at().as_secs()).filter(|made| is_past(*made, now)) else {
        return Err((Rule::KeyNotValidNow, format!("{what} is from the future")));
    };
    let ends = statements.iter().filter_map(|statement| after(made, statement.key_lasts?)).min();
    match ends.filter(|end| *end <= now) {
        Some(end) => Err((Rule::KeyNotValidNow, format!("{what} was valid until {end}"))),
        None => Ok(()),
    }
}

/// Whether it is said that the key signs, and nowhere that it doesn't.
fn for_signing(statements: &[&Statement]) -> Result<(), Broken> {
    let said: Vec<bool> = statements.iter().filter_map(|statement| statement.may_sign).collect();
    match !said.is_empty() && said.iter().all(|may| *may) {
        true => Ok(()),
        false => Err((Rule::KeyUsage, "its owner did not make this key for signing".into())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_has_as_many_packets_as_it_may_have() {
        let names = |number: usize| b"\xcd\x01a".repeat(number);
        assert_eq!(Certificate::read_all(&names(MOST_PACKETS)).unwrap_err(), "it does not begin with a public key");
        for more in [1, 2] {
            assert!(Certificate::read_all(&names(MOST_PACKETS + more)).unwrap_err().contains("more than"));
        }
    }
}
