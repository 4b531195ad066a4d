//! Signatures of every kind. The first line says of which kind one is, as in Git; each kind has a module of its own, which
//! does the mathematics and says which credential of the signers file made it. Who that is and whether it counts is decided
//! in one place for all of them: [`Signers::judge`].

use tk8s_core::Timestamp;

use super::{Role, Rule, SignerKind, Signers, Trail, openpgp, ssh, x509};

/// A rule and what was found: the place is added by whoever knows it.
pub(crate) type Broken = (Rule, String);

/// What is asked about whoever made a signature.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked<'a> {
    /// What they have to be allowed to do.
    pub(crate) role: Role,
    /// Our own clock: never the signer's.
    pub(crate) now: Timestamp,
    /// Where it is noted what was found.
    pub(crate) trail: Trail<'a>,
}

impl Asked<'static> {
    /// The same, and nobody wants to know the way to the verdict.
    pub(crate) fn new(role: Role, now: Timestamp) -> Asked<'static> {
        Asked { role, now, trail: Trail::SILENT }
    }
}

/// A signature that is good: who made it, with what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Signed {
    /// The name in the signers file.
    pub(crate) signer: String,
    /// A person, or a machine that signs for persons.
    pub(crate) kind: SignerKind,
    /// The key or certificate, as the programs of its kind print it.
    pub(crate) fingerprint: String,
}

/// Verifies a signature over exactly these bytes.
pub(super) fn verify(payload: &[u8], signature: &[u8], signers: &Signers, asked: Asked<'_>) -> Result<Signed, Broken> {
    let (_, verify) =
        asked.trail.ask("its signature is of a kind that is read", kind(signature), |(name, _)| (*name).to_owned())?;
    verify(payload, signature, signers, asked)
}

type Verify = fn(&[u8], &[u8], &Signers, Asked<'_>) -> Result<Signed, Broken>;

/// What a signature calls itself, and who reads such ones.
fn kind(signature: &[u8]) -> Result<(&'static str, Verify), Broken> {
    let refuse = |rule: Rule, message: &str| Err((rule, message.to_owned()));
    let begins = |marker: &str| signature.starts_with(marker.as_bytes());
    if begins("-----BEGIN SSH SIGNATURE-----") {
        Ok(("SSH", ssh::verify))
    } else if begins("-----BEGIN PGP SIGNATURE-----") {
        Ok(("OpenPGP", openpgp::verify))
    } else if begins("-----BEGIN PGP MESSAGE-----") {
        // What Git reads, and no version of it writes: bytes that are signed inside of themselves.
        refuse(Rule::UnsupportedSignature, "its signature is an OpenPGP message, not a signature over the object")
    } else if begins("-----BEGIN SIGNED MESSAGE-----") {
        Ok(("X.509", x509::verify))
    } else {
        refuse(Rule::BadSignature, "its signature is of no known kind")
    }
}
