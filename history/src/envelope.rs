//! Statements for others: DSSE envelopes (<https://github.com/secure-systems-lab/dsse>), signed with an instance's identity.
//!
//! Whoever opens one takes the word of keys that it was given, of nobody else: what an envelope says of itself, the hint of
//! its key among it, decides nothing. Pure.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use ed25519_dalek::{Signature, Signer as _, SigningKey};
use serde::{Deserialize, Serialize};
use tk8s_core::{Secret, printable};

use crate::note::{Unproven, Verifier};
use crate::{Error, keys};

/// The largest envelope that is looked at.
pub const LARGEST_ENVELOPE: usize = 64 * 1024;
/// The most signatures on one: each of them is tried with each key.
const MOST_SIGNATURES: usize = 8;

/// The public half of an instance's identity, written `tk8s.io/CLUSTER/INSTANCE+ID+KEY`, as its ledger names it.
#[derive(Clone, PartialEq, Eq)]
pub struct IdentityKey {
    verifier: Verifier,
    cluster: String,
    instance: String,
}

impl IdentityKey {
    /// The cluster that its name says.
    pub fn cluster(&self) -> &str {
        &self.cluster
    }

    /// The instance that its name says.
    pub fn instance(&self) -> &str {
        &self.instance
    }

    /// The public half of a private key, for the ledger of this name.
    pub fn of(origin: &str, key: &Secret) -> Result<IdentityKey, Error> {
        let verifier = Verifier::of(origin, &keys::identity(key)?);
        verifier.to_string().parse().map_err(|NotAKey| Error::Origin(origin.into()))
    }

    /// The line of a text that this instance signed, if it is of this kind: see [`crate::History::sign`].
    pub fn prove<'a>(&self, kind: &str, note: &'a str) -> Result<&'a str, Unproven> {
        self.verifier.prove_line(kind, note)
    }
}

impl FromStr for IdentityKey {
    type Err = NotAKey;

    fn from_str(text: &str) -> Result<IdentityKey, NotAKey> {
        let verifier = Verifier::parse(text).ok_or(NotAKey)?;
        let mut parts = verifier.name().split('/');
        let (Some("tk8s.io"), Some(cluster), Some(instance), None) = (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(NotAKey);
        };
        let (cluster, instance) = (cluster.to_owned(), instance.to_owned());
        Ok(IdentityKey { verifier, cluster, instance })
    }
}

impl fmt::Display for IdentityKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.verifier.fmt(f)
    }
}

impl fmt::Debug for IdentityKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.verifier.fmt(f)
    }
}

/// A text that is no identity's public key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it is not an instance's public key, `tk8s.io/CLUSTER/INSTANCE+ID+KEY`: `tk8s-agent evidence --key` prints it")]
pub struct NotAKey;

/// Why nothing in an envelope is believed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unopened {
    /// More bytes than are looked at.
    #[error("it has more than {LARGEST_ENVELOPE} bytes")]
    TooLarge,
    /// It is no envelope, or can be read in two ways.
    #[error("it is not a DSSE envelope: {0}")]
    Malformed(String),
    /// It holds something else.
    #[error("it holds `{0}`, which is something else")]
    Payload(String),
    /// It bears none, or more than are tried.
    #[error("it bears {0} signatures: from 1 to {MOST_SIGNATURES} are looked at")]
    Signatures(usize),
    /// None of its signatures is by a key that counts.
    #[error("none of the keys that count signed it (it names {0}), or it was changed since")]
    UnknownKey(String),
}

/// The envelope, as it is written.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Envelope {
    payload_type: String,
    payload: String,
    signatures: Vec<Signed>,
}

#[derive(Serialize, Deserialize)]
struct Signed {
    #[serde(default)]
    keyid: String,
    sig: String,
}

/// What is signed (PAE): type and content, each with its length before it, so that nothing can be taken for something else.
fn encoded(kind: &str, payload: &[u8]) -> Vec<u8> {
    [format!("DSSEv1 {} {kind} {} ", kind.len(), payload.len()).as_bytes(), payload].concat()
}

/// Puts a payload into an envelope that the owner of this key signs.
pub(crate) fn seal(verifier: &Verifier, key: &SigningKey, kind: &str, payload: &[u8]) -> String {
    let signature = key.sign(&encoded(kind, payload)).to_bytes();
    let signed = Signed { keyid: verifier.hint(), sig: STANDARD.encode(signature) };
    let envelope = Envelope { payload_type: kind.into(), payload: STANDARD.encode(payload), signatures: vec![signed] };
    serde_json::to_string(&envelope).expect("because it holds texts only")
}

/// The payload of an envelope that one of these keys signed, and which one. A field that stands there twice is refused.
pub fn open<'a>(bytes: &[u8], kind: &str, keys: &'a [IdentityKey]) -> Result<(Vec<u8>, &'a IdentityKey), Unopened> {
    if bytes.len() > LARGEST_ENVELOPE {
        return Err(Unopened::TooLarge);
    }
    let malformed = |why: &dyn fmt::Display| Unopened::Malformed(printable(&why.to_string(), 200));
    let envelope: Envelope = serde_json::from_slice(bytes).map_err(|error| malformed(&error))?;
    if envelope.payload_type != kind {
        return Err(Unopened::Payload(printable(&envelope.payload_type, 80)));
    }
    if !(1..=MOST_SIGNATURES).contains(&envelope.signatures.len()) {
        return Err(Unopened::Signatures(envelope.signatures.len()));
    }
    let payload = bytes_of(&envelope.payload).ok_or_else(|| malformed(&"its payload is not base64"))?;
    let message = encoded(kind, &payload);
    for signed in &envelope.signatures {
        let bytes = bytes_of(&signed.sig).ok_or_else(|| malformed(&"a signature is not base64"))?;
        let Ok(signature) = Signature::from_slice(&bytes) else { continue };
        if let Some(key) = keys.iter().find(|key| key.verifier.signed(&message, &signature)) {
            return Ok((payload, key));
        }
    }
    let named = |signed: &Signed| format!("`{}`", printable(&signed.keyid, 120));
    Err(Unopened::UnknownKey(envelope.signatures.iter().take(2).map(named).collect::<Vec<_>>().join(", ")))
}

/// Either alphabet, as the format allows.
fn bytes_of(text: &str) -> Option<Vec<u8>> {
    STANDARD.decode(text).or_else(|_| URL_SAFE.decode(text)).ok()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const KIND: &str = "application/vnd.in-toto+json";

    fn key(seed: u8) -> SigningKey {
        SigningKey::from_bytes(&[seed; 32])
    }

    fn verifier(name: &str, seed: u8) -> Verifier {
        Verifier::of(&format!("tk8s.io/{name}/tk8s"), &key(seed))
    }

    fn keys(of: &[(&str, u8)]) -> Vec<IdentityKey> {
        of.iter().map(|(name, seed)| verifier(name, *seed).to_string().parse().unwrap()).collect()
    }

    fn sealed(name: &str, seed: u8, payload: &[u8]) -> Value {
        serde_json::from_str(&seal(&verifier(name, seed), &key(seed), KIND, payload)).unwrap()
    }

    fn opened(envelope: &Value, keys: &[IdentityKey]) -> Result<String, Unopened> {
        open(envelope.to_string().as_bytes(), KIND, keys)
            .map(|(payload, key)| format!("{} by {}", String::from_utf8(payload).unwrap(), key.cluster()))
    }

    #[test]
    fn what_is_signed_is_the_example_of_the_specification() {
        // protocol.md of DSSE, "Test Vectors".
        let encoded = |kind: &str, payload: &[u8]| String::from_utf8(encoded(kind, payload)).unwrap();
        let example = encoded("http://example.com/HelloWorld", b"hello world");
        assert_eq!(example, "DSSEv1 29 http://example.com/HelloWorld 11 hello world");
        // Lengths are of bytes, and of nothing too.
        assert_eq!(encoded("", b""), "DSSEv1 0  0 ");
        assert_eq!(encoded("\u{e9}", "\u{20ac}".as_bytes()), "DSSEv1 2 \u{e9} 3 \u{20ac}");
        assert_ne!(encoded("a", b"1 b"), encoded("a 3 1", b"b"));
    }

    #[test]
    fn an_envelope_is_opened_by_the_key_that_signed_it_and_by_no_other() {
        let envelope = sealed("staging", 1, b"it ran");
        assert_eq!(opened(&envelope, &keys(&[("other", 2), ("staging", 1)])).unwrap(), "it ran by staging");
        let refused = opened(&envelope, &keys(&[("other", 2), ("staging", 3)])).unwrap_err();
        assert!(matches!(&refused, Unopened::UnknownKey(named) if named.contains("tk8s.io/staging/tk8s")), "{refused}");
        assert!(opened(&envelope, &[]).is_err());
        // What an envelope says of its key decides nothing.
        let mut envelope = envelope;
        envelope["signatures"][0]["keyid"] = json!("somebody");
        assert_eq!(opened(&envelope, &keys(&[("staging", 1)])).unwrap(), "it ran by staging");
        envelope["signatures"][0].as_object_mut().unwrap().remove("keyid");
        assert!(opened(&envelope, &keys(&[("staging", 1)])).is_ok());
    }

    #[test]
    fn one_signature_of_several_is_enough_and_too_many_are_not_tried() {
        let mut envelope = sealed("staging", 1, b"it ran");
        let ours = envelope["signatures"][0].clone();
        let foreign = sealed("other", 9, b"it ran")["signatures"][0].clone();
        envelope["signatures"] = json!([foreign, {"sig": "AAAA"}, ours]);
        assert_eq!(opened(&envelope, &keys(&[("staging", 1)])).unwrap(), "it ran by staging");
        envelope["signatures"] = json!([]);
        assert_eq!(opened(&envelope, &keys(&[("staging", 1)])), Err(Unopened::Signatures(0)));
        envelope["signatures"] = Value::Array(vec![ours; MOST_SIGNATURES + 1]);
        assert_eq!(opened(&envelope, &keys(&[("staging", 1)])), Err(Unopened::Signatures(MOST_SIGNATURES + 1)));
    }

    #[test]
    fn what_was_changed_is_not_opened() {
        let keys = keys(&[("staging", 1)]);
        let envelope = sealed("staging", 1, b"it ran");
        let with = |field: &str, value: Value| {
            let mut changed = envelope.clone();
            changed[field] = value;
            opened(&changed, &keys).unwrap_err()
        };
        assert!(matches!(with("payload", json!(STANDARD.encode("it RAN"))), Unopened::UnknownKey(_)));
        assert!(matches!(with("payload", json!("%")), Unopened::Malformed(_)));
        assert!(matches!(with("payload", json!(7)), Unopened::Malformed(_)));
        assert_eq!(with("payloadType", json!("application/json")), Unopened::Payload("application/json".into()));
        // The type is signed: calling it otherwise on both sides does not help.
        let mut renamed = envelope.clone();
        renamed["payloadType"] = json!("text/plain");
        assert!(matches!(open(renamed.to_string().as_bytes(), "text/plain", &keys), Err(Unopened::UnknownKey(_))));
        let signature = bytes_of(envelope["signatures"][0]["sig"].as_str().unwrap()).unwrap();
        for at in 0..signature.len() {
            let mut changed = signature.clone();
            changed[at] ^= 1;
            let signatures = json!([{"keyid": "", "sig": STANDARD.encode(changed)}]);
            assert!(matches!(with("signatures", signatures), Unopened::UnknownKey(_)), "byte {at}");
        }
        let urlsafe = json!([{"keyid": "", "sig": URL_SAFE.encode(&signature)}]);
        let mut other = envelope.clone();
        other["signatures"] = urlsafe;
        assert!(opened(&other, &keys).is_ok(), "the format allows both alphabets");
    }

    #[test]
    fn what_can_be_read_in_two_ways_or_is_too_large_is_not_opened() {
        let keys = keys(&[("staging", 1)]);
        let text = sealed("staging", 1, b"it ran").to_string();
        let twice = text.replacen('{', r#"{"payload": "AAAA", "#, 1);
        assert!(matches!(open(twice.as_bytes(), KIND, &keys), Err(Unopened::Malformed(why)) if why.contains("duplicate")));
        for text in ["", "[]", "null", "{", "{}", &"[".repeat(LARGEST_ENVELOPE), &format!("{text} x")] {
            assert!(matches!(open(text.as_bytes(), KIND, &keys), Err(Unopened::Malformed(_))));
        }
        let padded = format!("{text}{}", " ".repeat(LARGEST_ENVELOPE));
        assert_eq!(open(padded.as_bytes(), KIND, &keys), Err(Unopened::TooLarge));
    }

    #[test]
    fn a_key_says_whose_it_is() {
        let key: IdentityKey = verifier("staging-1", 1).to_string().parse().unwrap();
        assert_eq!((key.cluster(), key.instance()), ("staging-1", "tk8s"));
        assert_eq!(key.to_string().parse::<IdentityKey>(), Ok(key.clone()));
        for name in ["sum.golang.org", "tk8s.io/a", "tk8s.io/a/b/c", "example.com/a/b"] {
            let key = Verifier::of(name, &self::key(1)).to_string();
            assert_eq!(key.parse::<IdentityKey>(), Err(NotAKey), "{name}");
        }
        let changed = key.to_string().replace("staging-1", "staging-2");
        assert_eq!(changed.parse::<IdentityKey>(), Err(NotAKey), "the id is of name and key");
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_the_reader_panic(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..300)) {
            let _ = open(&bytes, KIND, &keys(&[("staging", 1)]));
        }
    }
}
