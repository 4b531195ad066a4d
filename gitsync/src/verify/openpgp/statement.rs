//! What the owner of a key says about it: self-signatures of a certificate whose mathematics is right.

use pgp::packet::{PublicKey, RevocationCode, Signature, SignatureConfig, SignatureVersion, Subpacket, SubpacketData};
use pgp::types::KeyDetails as _;
use tk8s_core::Timestamp;

use super::strength::weak_hash;
use crate::verify::Rule;

/// Clocks of people differ a little. Half an hour is what Sequoia forgives.
const CLOCKS_DIFFER: i64 = 30 * 60;

/// A statement about a key. Whether it is in force depends on the time.
#[derive(Clone, Debug)]
pub(super) struct Statement {
    pub(super) made: Timestamp,
    expires: Option<Timestamp>,
    /// Why it can't count, if the hash under it can be forged.
    weak: Option<String>,
    /// How long the key is valid, in seconds after it was made.
    pub(super) key_lasts: Option<u32>,
    /// Whether the key is for signing. Nothing where nothing is said.
    pub(super) may_sign: Option<bool>,
    /// Whether it is about the user id that speaks for the key.
    pub(super) main_user: bool,
}

impl Statement {
    /// What a signature says, unless it says something that it wants understood and that isn't.
    pub(super) fn of(signature: &Signature) -> Option<Statement> {
        let config = signature.config()?;
        if not_understood(signature).is_some() {
            return None;
        }
        let (mut key_lasts, mut may_sign, mut main_user) = (None, None, false);
        for subpacket in config.hashed_subpackets() {
            match &subpacket.data {
                SubpacketData::KeyExpirationTime(lasts) if lasts.as_secs() != 0 => key_lasts = Some(lasts.as_secs()),
                SubpacketData::KeyFlags(flags) => may_sign = Some(flags.sign()),
                SubpacketData::IsPrimary(is) => main_user = *is,
                _ => {}
            }
        }
        let (made, expires) = (made(signature)?, expires(signature));
        Some(Statement { made, expires, weak: weak_hash(config.hash_alg), key_lasts, may_sign, main_user })
    }

    fn is_in_force(&self, now: Timestamp) -> bool {
        is_past(self.made, now) && self.expires.is_none_or(|expires| now < expires)
    }
}

impl AsRef<Statement> for Statement {
    fn as_ref(&self) -> &Statement {
        self
    }
}

/// The newest statement that is in force, or why there is none.
pub(super) fn newest<T: AsRef<Statement>>(said: &[T], now: Timestamp) -> Result<&T, (Rule, String)> {
    let in_force = || said.iter().filter(|said| said.as_ref().is_in_force(now));
    let strong = in_force().filter(|said| said.as_ref().weak.is_none()).max_by_key(|said| said.as_ref().made);
    strong.ok_or_else(|| match in_force().find_map(|said| said.as_ref().weak.as_ref()) {
        Some(weak) => (Rule::WeakKey, format!("its owner's own signatures in the certificate are over {weak}")),
        None => (Rule::KeyNotValidNow, "no signature of its owner in the certificate is valid now".into()),
    })
}

/// When a signature says it was made.
pub(super) fn made(signature: &Signature) -> Option<Timestamp> {
    signature.created().and_then(|time| at(time.as_secs()))
}

/// When it ends by its own word.
pub(super) fn expires(signature: &Signature) -> Option<Timestamp> {
    let lasts = signature.signature_expiration_time().map(|lasts| lasts.as_secs()).filter(|seconds| *seconds != 0)?;
    after(made(signature)?, lasts)
}

pub(super) fn at(seconds: u32) -> Option<Timestamp> {
    Timestamp::from_second(i64::from(seconds)).ok()
}

pub(super) fn after(time: Timestamp, seconds: u32) -> Option<Timestamp> {
    Timestamp::from_second(time.as_second() + i64::from(seconds)).ok()
}

/// Whether a time of somebody else's clock is not in our future.
pub(super) fn is_past(time: Timestamp, now: Timestamp) -> bool {
    time.as_second() <= now.as_second() + CLOCKS_DIFFER
}

/// What a signature marks as critical and nobody here understands.
pub(super) fn not_understood(signature: &Signature) -> Option<String> {
    let critical = |subpacket: &&Subpacket| subpacket.is_critical;
    signature.config()?.hashed_subpackets().filter(critical).find_map(|subpacket| match &subpacket.data {
        SubpacketData::Notation(notation) => {
            Some(format!("the notation `{}`", tk8s_core::printable(&String::from_utf8_lossy(&notation.name), 60)))
        }
        SubpacketData::Other(kind, _) | SubpacketData::Experimental(kind, _) => Some(format!("a subpacket of the kind {kind}")),
        _ => None,
    })
}

/// A key or a user id that its owner took back.
#[derive(Clone, Debug)]
pub(super) struct Revocation {
    made: Option<Timestamp>,
    /// Somebody else may have the key: nothing counts, whenever it was signed.
    pub(super) hard: bool,
}

impl Revocation {
    pub(super) fn of(signature: &Signature) -> Revocation {
        let soft = matches!(
            signature.revocation_reason_code(),
            Some(RevocationCode::KeySuperseded | RevocationCode::KeyRetired | RevocationCode::CertUserIdInvalid)
        );
        Revocation { made: made(signature), hard: !soft }
    }

    /// Whether a statement of that time comes after it and takes it back.
    pub(super) fn ends_with(&self, statement: &Statement) -> bool {
        !self.hard && self.made.is_some_and(|made| made < statement.made)
    }

    pub(super) fn refusal(&self, what: &str) -> (Rule, String) {
        let since = self.made.map(|made| format!(" on {made}")).unwrap_or_default();
        match self.hard {
            true => (Rule::KeyRevoked, format!("its owner revoked {what}{since}")),
            false => (Rule::KeyNotValidNow, format!("its owner retired {what}{since}")),
        }
    }
}

/// Whether a revocation counts: it is right, or it is its owner's and too old for anybody to say. A certificate stands in a
/// file of people who trust it: what revokes too much there is noticed, what revokes too little is not.
pub(super) fn counts(signature: &Signature, owner: &PublicKey, is_right: bool) -> bool {
    let judgeable = matches!(signature.version(), SignatureVersion::V4 | SignatureVersion::V6)
        && signature.config().is_some_and(|config| weak_hash(config.hash_alg).is_none());
    let is_own = is_named(signature, owner.fingerprint().as_bytes()) || issuers(signature).next().is_none();
    is_right || (!judgeable && is_own)
}

/// Keys that may revoke the one that this signature is about.
pub(super) fn revokers(signature: &Signature) -> Vec<Vec<u8>> {
    let said = signature.config().into_iter().flat_map(SignatureConfig::hashed_subpackets);
    said.filter_map(|subpacket| match &subpacket.data {
        SubpacketData::RevocationKey(revoker) => Some(revoker.fingerprint.to_vec()),
        _ => None,
    })
    .collect()
}

/// Whether a signature says that it was made by the key with this fingerprint, or with its key id.
pub(super) fn is_named(signature: &Signature, fingerprint: &[u8]) -> bool {
    issuers(signature).any(|issuer| fingerprint == issuer || is_key_id(issuer, fingerprint))
}

/// The end of the fingerprint of a key of version 4, the beginning of that of a newer one.
fn is_key_id(id: &[u8], fingerprint: &[u8]) -> bool {
    id.len() == 8 && if fingerprint.len() == 20 { fingerprint.ends_with(id) } else { fingerprint.starts_with(id) }
}

/// The fingerprints and key ids that a signature names as its maker, protected by it or not.
pub(super) fn issuers(signature: &Signature) -> impl Iterator<Item = &[u8]> {
    let named = signature.issuer_fingerprint().into_iter().map(AsRef::as_ref);
    named.chain(signature.issuer_key_id().into_iter().map(AsRef::as_ref))
}
