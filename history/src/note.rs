//! Signed notes and checkpoints (c2sp.org/signed-note, c2sp.org/tlog-checkpoint), with Ed25519. Pure.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::{Signature, Signer as _, SigningKey, VerifyingKey};
use sha2::{Digest as _, Sha256};

use crate::merkle::Hash;

/// The type of an Ed25519 signature in a signed note.
const ED25519: u8 = 1;

/// A key that verifies notes, written `name+id+key`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Verifier {
    name: String,
    key: VerifyingKey,
}

/// Why a note is not taken for ours.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unproven {
    /// It was changed, or nobody signed it.
    #[error("its signature does not fit to what it says: it was changed by somebody else, or damaged")]
    Damaged,
    /// It bears the signature of another identity key.
    #[error("it was signed with another identity key")]
    AnotherKey,
    /// It bears the name of another cluster or instance.
    #[error("it was signed for another ledger: `{0}`")]
    AnotherLedger(String),
}

/// Whether a checkpoint may carry this name.
pub(crate) fn is_valid_name(name: &str) -> bool {
    !name.is_empty() && !name.chars().any(|c| c.is_whitespace() || c.is_control() || c == '+')
}

impl Verifier {
    /// Of a key that we hold.
    pub(crate) fn of(name: &str, key: &SigningKey) -> Verifier {
        Verifier { name: name.into(), key: key.verifying_key() }
    }

    /// Reads `name+id+key`; the id is checked.
    pub(crate) fn parse(text: &str) -> Option<Verifier> {
        let (name, rest) = text.trim().split_once('+')?;
        let (id, key) = rest.split_once('+')?;
        let key = STANDARD.decode(key).ok()?;
        let (&kind, key) = key.split_first()?;
        let key = VerifyingKey::from_bytes(key.try_into().ok()?).ok()?;
        let verifier = Verifier { name: name.into(), key };
        (kind == ED25519 && is_valid_name(name) && hex::encode(verifier.id()) == id).then_some(verifier)
    }

    /// The key's name: the origin of the ledger.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    fn id(&self) -> [u8; 4] {
        let hash =
            Sha256::new().chain_update(&self.name).chain_update([b'\n', ED25519]).chain_update(self.key.as_bytes()).finalize();
        [hash[0], hash[1], hash[2], hash[3]]
    }

    /// What names the key without being it.
    pub(crate) fn hint(&self) -> String {
        format!("{}+{}", self.name, hex::encode(self.id()))
    }

    /// Whether this key made the signature of exactly this.
    pub(crate) fn signed(&self, message: &[u8], signature: &Signature) -> bool {
        self.key.verify_strict(message, signature).is_ok()
    }

    /// A note: this text, which ends with a line, and our signature.
    pub(crate) fn sign(&self, key: &SigningKey, text: &str) -> String {
        let signature = key.sign(text.as_bytes()).to_bytes();
        let signature = STANDARD.encode([&self.id()[..], &signature].concat());
        format!("{text}\n\u{2014} {} {signature}\n", self.name)
    }

    /// The text of a note of which we take nobody's word but our own; else what is wrong with it.
    pub(crate) fn prove<'a>(&self, note: &'a str) -> Result<&'a str, Unproven> {
        if let Some(text) = self.open(note) {
            return Ok(text);
        }
        let signature = |line: &str| {
            let (name, signature) = line.strip_prefix("\u{2014} ")?.split_once(' ')?;
            let id = STANDARD.decode(signature).ok()?.get(..4)?.to_vec();
            Some((name.to_owned(), id))
        };
        match note.lines().find_map(signature) {
            Some((name, _)) if name != self.name => Err(Unproven::AnotherLedger(tk8s_core::printable(&name, 100))),
            Some((_, id)) if id != self.id() => Err(Unproven::AnotherKey),
            _ => Err(Unproven::Damaged),
        }
    }

    /// The one line that such a note is about, if it is of this kind.
    pub(crate) fn prove_line<'a>(&self, kind: &str, note: &'a str) -> Result<&'a str, Unproven> {
        let text = self.prove(note)?;
        let line = text.strip_prefix(kind).and_then(|text| text.strip_prefix('\n')?.strip_suffix('\n'));
        line.filter(|line| !line.contains('\n')).ok_or(Unproven::Damaged)
    }

    /// The text of a note, if this key signed it. Signatures by others are passed over.
    pub(crate) fn open<'a>(&self, note: &'a str) -> Option<&'a str> {
        if note.chars().any(|c| c.is_control() && c != '\n') {
            return None;
        }
        let end = note.rfind("\n\n")? + 1;
        let (text, signatures) = (&note[..end], note[end + 1..].strip_suffix('\n')?);
        let mut signed = false;
        for line in signatures.split('\n') {
            let (name, signature) = line.strip_prefix("\u{2014} ")?.split_once(' ')?;
            let signature = STANDARD.decode(signature).ok()?;
            let (id, signature) = signature.split_at_checked(4)?;
            if name == self.name && id == self.id() {
                let signature = Signature::from_slice(signature).ok()?;
                self.key.verify_strict(text.as_bytes(), &signature).ok()?;
                signed = true;
            }
        }
        signed.then_some(text)
    }
}

impl std::fmt::Display for Verifier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let key = [&[ED25519][..], self.key.as_bytes()].concat();
        write!(f, "{}+{}+{}", self.name, hex::encode(self.id()), STANDARD.encode(key))
    }
}

/// What a checkpoint states: this log has so many entries and this root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Checkpoint {
    pub(crate) origin: String,
    pub(crate) size: u64,
    pub(crate) root: Hash,
}

impl Checkpoint {
    /// The signed note.
    pub(crate) fn sign(&self, key: &SigningKey) -> String {
        let text = format!("{}\n{}\n{}\n", self.origin, self.size, STANDARD.encode(self.root));
        Verifier::of(&self.origin, key).sign(key, &text)
    }

    /// Reads the text of a note. Extension lines are passed over, as the specification asks.
    pub(crate) fn parse(text: &str) -> Option<Checkpoint> {
        let mut lines = text.split('\n');
        let (origin, number, root) = (lines.next()?, lines.next()?, lines.next()?);
        let size: u64 = number.parse().ok()?;
        let root = STANDARD.decode(root).ok()?.try_into().ok()?;
        (is_valid_name(origin) && size.to_string() == number && text.ends_with('\n')).then(|| Checkpoint {
            origin: origin.into(),
            size,
            root,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(seed: u8) -> SigningKey {
        SigningKey::from_bytes(&[seed; 32])
    }

    #[test]
    fn the_example_of_the_go_checksum_database_is_read_as_go_reads_it() {
        // The public key and a checkpoint form of sum.golang.org, from the documentation of golang.org/x/mod/sumdb.
        let vkey = "sum.golang.org+033de0ae+Ac4zctda0e5eza+HJyk9SxEdh+s3Ux18htTTAD8OuAn8";
        let verifier = Verifier::parse(vkey).unwrap();
        assert_eq!(verifier.name(), "sum.golang.org");
        assert_eq!(verifier.to_string(), vkey);
    }

    #[test]
    fn a_note_of_the_go_documentation_verifies() {
        let verifier = Verifier::parse("PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW").unwrap();
        let text = "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n";
        let note = format!(
            "{text}\n\u{2014} PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n"
        );
        assert_eq!(verifier.open(&note), Some(text));
        assert_eq!(verifier.open(&note.replace("answer", "Answer")), None);
    }

    #[test]
    fn a_checkpoint_round_trips_and_any_change_breaks_it() {
        let checkpoint = Checkpoint { origin: "tk8s.io/prod/tk8s".into(), size: 12, root: [7; 32] };
        let note = checkpoint.sign(&key(1));
        let verifier = Verifier::of("tk8s.io/prod/tk8s", &key(1));
        assert_eq!(Checkpoint::parse(verifier.open(&note).unwrap()), Some(checkpoint));
        assert_eq!(Verifier::parse(&verifier.to_string()), Some(verifier.clone()));
        assert_eq!(Verifier::of("tk8s.io/prod/tk8s", &key(2)).open(&note), None);
        assert_eq!(Verifier::of("tk8s.io/prod/other", &key(1)).open(&note), None);
        for at in 0..note.len() {
            for bit in 0..8 {
                let mut bytes = note.clone().into_bytes();
                bytes[at] ^= 1 << bit;
                if let Ok(changed) = String::from_utf8(bytes) {
                    assert_eq!(verifier.open(&changed), None, "byte {at} bit {bit}");
                }
            }
        }
    }

    #[test]
    fn a_signature_by_a_witness_beside_ours_is_passed_over() {
        let checkpoint = Checkpoint { origin: "a.example/log".into(), size: 0, root: [0; 32] };
        let ours = checkpoint.sign(&key(1));
        let witness = Checkpoint { origin: "w.example/witness".into(), size: 0, root: [0; 32] }.sign(&key(2));
        let line = witness.lines().last().unwrap();
        assert!(Verifier::of("a.example/log", &key(1)).open(&format!("{ours}{line}\n")).is_some());
    }

    #[test]
    fn names_that_would_break_a_note_are_refused() {
        for name in ["", "a b", "a+b", "a\nb", "a\u{7f}", "a\u{2003}b"] {
            assert!(!is_valid_name(name), "{name:?}");
        }
    }
}
