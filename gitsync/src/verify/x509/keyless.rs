//! Certificates that are good for ten minutes, as Sigstore makes them: an authority (Fulcio) certifies who logged in where,
//! and a log (Rekor) signs that it saw the signature in those minutes. Both are in the signature; whom to believe is in
//! Sigstore's own file, `trusted_root.json`, of the public instance or of a private one.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use der::asn1::ObjectIdentifier;
use rustls_pki_types::CertificateDer;
use serde::Deserialize;
use tk8s_core::Timestamp;

use super::chain::{ONLY_CODE, Roots, Unbelieved};
use super::cms::Message;
use super::log::{Entry, Log};
use super::{names, sct};
use crate::verify::Rule;
use crate::verify::signature::{Asked, Broken};
use crate::verify::signers::Fit;

/// Where gitsign puts what the log said.
const LOG_ENTRY: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.57264.3.1");
/// Clocks differ a little.
const CLOCKS_DIFFER: i64 = 30 * 60;

/// Somebody who logs in somewhere, and whom to believe about that.
#[derive(Clone, Debug)]
pub(in crate::verify) struct Keyless {
    identity: String,
    issuer: String,
    authorities: Vec<Authority>,
    /// Of signatures.
    logs: Vec<Log>,
    /// Of certificates. Without one it isn't asked whether a certificate was made in secret.
    certificate_logs: Vec<Log>,
}

#[derive(Clone, Debug)]
struct Authority {
    roots: Roots,
    valid: Period,
}

/// From when to when somebody is believed.
#[derive(Clone, Debug, Default, Deserialize)]
pub(super) struct Period {
    #[serde(default)]
    start: Option<Timestamp>,
    #[serde(default)]
    end: Option<Timestamp>,
}

impl Period {
    pub(super) fn contains(&self, time: Timestamp) -> bool {
        self.start.is_none_or(|start| start <= time) && self.end.is_none_or(|end| time <= end)
    }
}

/// `trusted_root.json`, as far as it is used.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawRoot {
    tlogs: Vec<RawLog>,
    #[serde(default)]
    ctlogs: Vec<RawLog>,
    certificate_authorities: Vec<RawAuthority>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawLog {
    public_key: RawKey,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawKey {
    raw_bytes: String,
    #[serde(default)]
    valid_for: Period,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawAuthority {
    cert_chain: RawChain,
    #[serde(default)]
    valid_for: Period,
}

#[derive(Deserialize)]
struct RawChain {
    certificates: Vec<RawCertificate>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawCertificate {
    raw_bytes: String,
}

impl Keyless {
    /// Both names are asked: the same address may be logged in by somebody else elsewhere.
    pub(in crate::verify) fn new(identity: &str, issuer: &str, trusted_root: &str) -> Result<Keyless, String> {
        for (name, value) in [("identity", identity), ("issuer", issuer)] {
            if value.trim().is_empty() {
                return Err(format!("`{name}` is empty: it has to be the one that stands in the certificate"));
            }
        }
        let fail = |why: &dyn std::fmt::Display| format!("`trustedRoot`: {}", tk8s_core::printable(&why.to_string(), 200));
        let raw: RawRoot = serde_json::from_str(trusted_root).map_err(|error| fail(&error))?;
        let bytes = |text: &str| STANDARD.decode(text).map_err(|error| fail(&error));
        let mut authorities = Vec::new();
        for RawAuthority { cert_chain, valid_for } in raw.certificate_authorities {
            let chain: Result<Vec<_>, _> =
                cert_chain.certificates.iter().map(|raw| bytes(&raw.raw_bytes).map(CertificateDer::from)).collect();
            authorities.push(Authority { roots: Roots::of(chain?).map_err(|why| fail(&why))?, valid: valid_for });
        }
        let log =
            |RawLog { public_key }| Log::new(&bytes(&public_key.raw_bytes)?, public_key.valid_for).map_err(|why| fail(&why));
        let logs: Vec<_> = raw.tlogs.into_iter().map(log).collect::<Result<_, _>>()?;
        let certificate_logs = raw.ctlogs.into_iter().map(log).collect::<Result<_, _>>()?;
        if authorities.is_empty() || logs.is_empty() {
            return Err(fail(&"it names no authority or no log: nothing could be proven"));
        }
        Ok(Keyless { identity: identity.into(), issuer: issuer.into(), authorities, logs, certificate_logs })
    }

    pub(super) fn fit(&self, message: &Message, asked: Asked<'_>) -> Fit {
        let Asked { now, trail, .. } = asked;
        let is_named = names::of(&message.certificate).contains(&self.identity)
            && names::issuer(&message.certificate).as_ref() == Some(&self.issuer);
        if !is_named {
            return Fit::Other;
        }
        match trail.ask("a log of the signers file saw it being signed", self.seen(message, now), ToString::to_string) {
            Ok(seen) => {
                let check = "an authority of the signers file made its certificate, which was good then";
                super::fit(self.believe(message, seen), check, trail)
            }
            // Anybody can write a name into a certificate: of those that no authority here made, nothing is said.
            Err(_) if !self.is_of_an_authority(message) => Fit::Other,
            Err((rule, why)) => Fit::Refused(rule, why),
        }
    }

    /// When the log saw the signature.
    fn seen(&self, message: &Message, now: Timestamp) -> Result<Timestamp, Broken> {
        let refuse = |why: &str| Err((Rule::NotLogged, why.to_owned()));
        let Some(bytes) = message.unsigned(&LOG_ENTRY)? else {
            return refuse("its signature does not carry the entry of a log");
        };
        let seen =
            Entry::read(&bytes).and_then(|entry| entry.proven(message, &self.logs)).map_err(|why| (Rule::NotLogged, why))?;
        if seen.as_second() > now.as_second() + CLOCKS_DIFFER {
            return refuse("the log saw its signature in the future");
        }
        Ok(seen)
    }

    /// Whether an authority made the certificate, and it was good at that time.
    fn believe(&self, message: &Message, seen: Timestamp) -> Result<(), Unbelieved> {
        let mut verdict = Err(Unbelieved::Stranger);
        for authority in self.authorities.iter().filter(|authority| authority.valid.contains(seen)) {
            match authority.roots.believe(message, &ONLY_CODE, seen) {
                Ok(key) => return self.is_public(message, &key),
                Err(Unbelieved::Stranger) => {}
                Err(refused) => verdict = Err(refused),
            }
        }
        verdict
    }

    /// Whether the certificate was given out where everybody could see it.
    fn is_public(&self, message: &Message, authority: &[u8]) -> Result<(), Unbelieved> {
        if self.certificate_logs.is_empty() || sct::is_logged(&message.certificate, authority, &self.certificate_logs) {
            return Ok(());
        }
        Err(Unbelieved::Refused(Rule::NotLogged, "its certificate is in no log of certificates that is listed".into()))
    }

    /// Whether an authority made the certificate, at whatever time.
    fn is_of_an_authority(&self, message: &Message) -> bool {
        let made = names::begins(&message.certificate);
        made.is_some_and(|made| !matches!(self.believe(message, made), Err(Unbelieved::Stranger)))
    }
}
