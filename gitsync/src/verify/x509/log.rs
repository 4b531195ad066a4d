//! What a transparency log of signatures (Rekor) says of a signature: that it holds it, since when, and where in its tree.
//!
//! The log signs its promise over the entry and the time; that is the only time here that is nobody's claim. If the entry
//! comes with its place in the tree, that has to be right too.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use der::Decode as _;
use rustls_pki_types::SignatureVerificationAlgorithm;
use sha2::{Digest as _, Sha256};
use tk8s_core::Timestamp;
use webpki::aws_lc_rs as algorithms;
use x509_cert::spki::SubjectPublicKeyInfoRef;

use super::cms::{Hash, Message};
use super::keyless::Period;

/// A log's key.
#[derive(Clone)]
pub(super) struct Log {
    /// The digest of the key: what entries call the log.
    id: Vec<u8>,
    key: Vec<u8>,
    algorithm: &'static dyn SignatureVerificationAlgorithm,
    valid: Period,
}

impl std::fmt::Debug for Log {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Log({})", hex::encode(&self.id))
    }
}

impl Log {
    pub(super) fn new(der: &[u8], valid: Period) -> Result<Log, String> {
        let key = SubjectPublicKeyInfoRef::from_der(der).map_err(|_| "the key of a log can't be read")?;
        let parameters = key.algorithm.parameters_oid().map(|oid| oid.to_string()).unwrap_or_default();
        let algorithm = match (key.algorithm.oid.to_string().as_str(), parameters.as_str()) {
            ("1.2.840.10045.2.1", "1.2.840.10045.3.1.7") => algorithms::ECDSA_P256_SHA256,
            ("1.2.840.10045.2.1", "1.3.132.0.34") => algorithms::ECDSA_P384_SHA384,
            ("1.3.101.112", _) => algorithms::ED25519,
            _ => return Err("the key of a log is of a kind that is not known".into()),
        };
        let id = Sha256::digest(der).to_vec();
        Ok(Log { id, key: key.subject_public_key.raw_bytes().to_vec(), algorithm, valid })
    }

    pub(super) fn is_called(&self, id: &[u8]) -> bool {
        self.id == id
    }

    pub(super) fn is_believed_at(&self, time: Timestamp) -> bool {
        self.valid.contains(time)
    }

    pub(super) fn signed(&self, message: &[u8], signature: &[u8]) -> bool {
        self.algorithm.verify_signature(&self.key, message, signature).is_ok()
    }
}

/// An entry as gitsign keeps it (`TransparencyLogEntry` of Sigstore's protobuf), without what it is about: that is computed
/// again from the signature, so that an entry of something else can't be shown.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Entry {
    index: u64,
    log: Vec<u8>,
    kind: String,
    version: String,
    time: u64,
    promise: Vec<u8>,
    place: Option<Place>,
}

/// Where in the tree it is.
#[derive(Debug, Default, PartialEq, Eq)]
struct Place {
    index: u64,
    root: Vec<u8>,
    size: u64,
    hashes: Vec<Vec<u8>>,
    checkpoint: String,
}

impl Entry {
    pub(super) fn read(bytes: &[u8]) -> Result<Entry, String> {
        let mut entry = Entry::default();
        for field in fields(bytes)? {
            match field {
                (1, Value::Number(index)) => entry.index = index,
                (2, Value::Bytes(log)) => entry.log = one(log, 1)?.to_vec(),
                (3, Value::Bytes(kind)) => {
                    (entry.kind, entry.version) = (text(one(kind, 1)?)?, text(one(kind, 2)?)?);
                }
                (4, Value::Number(time)) => entry.time = time,
                (5, Value::Bytes(promise)) => entry.promise = one(promise, 1)?.to_vec(),
                (6, Value::Bytes(place)) => entry.place = Some(Place::read(place)?),
                // What it is about.
                (7, _) => {}
                _ => return Err("the entry of the log holds something that is not known".into()),
            }
        }
        Ok(entry)
    }

    /// When the log saw the signature of this message, if one of these logs says so.
    pub(super) fn proven(&self, message: &Message, logs: &[Log]) -> Result<Timestamp, String> {
        if (self.kind.as_str(), self.version.as_str()) != ("hashedrekord", "0.0.1") {
            let kind = tk8s_core::printable(&format!("{} {}", self.kind, self.version), 60);
            return Err(format!("the log's entry is of the kind `{kind}`, whose time nobody signs"));
        }
        if message.hash != Hash::Sha256 {
            return Err("the log's entry is over another hash than the signature".into());
        }
        let time = i64::try_from(self.time).ok().and_then(|time| Timestamp::from_second(time).ok());
        let time = time.ok_or("the log's entry has a time that is none")?;
        let log = logs.iter().find(|log| log.is_called(&self.log)).ok_or("the log is none that is listed")?;
        if !log.is_believed_at(time) {
            return Err(format!("the log is not believed about {time}"));
        }
        let body = body(message);
        let promised = format!(
            r#"{{"body":"{}","integratedTime":{},"logID":"{}","logIndex":{}}}"#,
            STANDARD.encode(&body),
            self.time,
            hex::encode(&self.log),
            self.index
        );
        if !log.signed(promised.as_bytes(), &self.promise) {
            return Err("the log did not promise to hold this signature".into());
        }
        self.place.as_ref().map_or(Ok(()), |place| place.proven(&body, log))?;
        Ok(time)
    }
}

/// What the log holds of a signature, in the one way in which Rekor writes it.
fn body(message: &Message) -> Vec<u8> {
    let lines = STANDARD.encode(&message.der);
    let lines: Vec<&str> = lines.as_bytes().chunks(64).filter_map(|line| std::str::from_utf8(line).ok()).collect();
    let certificate = format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", lines.join("\n"));
    let (digest, signature) = (hex::encode(Sha256::digest(&message.signed)), STANDARD.encode(&message.signature));
    let certificate = STANDARD.encode(certificate);
    format!(
        r#"{{"apiVersion":"0.0.1","kind":"hashedrekord","spec":{{"data":{{"hash":{{"algorithm":"sha256","value":"{digest}"}}}},"signature":{{"content":"{signature}","publicKey":{{"content":"{certificate}"}}}}}}}}"#
    )
    .into_bytes()
}

impl Place {
    fn read(bytes: &[u8]) -> Result<Place, String> {
        let mut place = Place::default();
        for field in fields(bytes)? {
            match field {
                (1, Value::Number(index)) => place.index = index,
                (2, Value::Bytes(root)) => place.root = root.to_vec(),
                (3, Value::Number(size)) => place.size = size,
                (4, Value::Bytes(hash)) => place.hashes.push(hash.to_vec()),
                (5, Value::Bytes(checkpoint)) => place.checkpoint = text(one(checkpoint, 1)?)?,
                _ => return Err("the entry's place in the log holds something that is not known".into()),
            }
        }
        Ok(place)
    }

    /// Whether this body is there, in a tree that the log signed.
    fn proven(&self, body: &[u8], log: &Log) -> Result<(), String> {
        let leaf = Sha256::new().chain_update([0]).chain_update(body).finalize().to_vec();
        if root(leaf, self.index, self.size, &self.hashes).as_ref() != Some(&self.root) {
            return Err("the entry is not where in the log it says to be".into());
        }
        let forged = "the log did not sign the tree that its entry is in";
        let (note, signatures) = self.checkpoint.split_once("\n\n").ok_or(forged)?;
        let signed = signatures.lines().filter_map(|line| {
            let (_, signature) = line.strip_prefix("\u{2014} ")?.split_once(' ')?;
            STANDARD.decode(signature).ok()
        });
        // The first four bytes say with which key.
        let is_signed = signed.into_iter().any(|signature| {
            signature
                .split_at_checked(4)
                .is_some_and(|(key, signature)| log.id.starts_with(key) && log.signed(format!("{note}\n").as_bytes(), signature))
        });
        let mut lines = note.lines().skip(1);
        let is_this = lines.next() == Some(&self.size.to_string()) && lines.next() == Some(&STANDARD.encode(&self.root));
        if is_signed && is_this { Ok(()) } else { Err(forged.into()) }
    }
}

/// The root of a tree of this size with that leaf (RFC 9162, 2.1.3.2).
fn root(leaf: Vec<u8>, index: u64, size: u64, hashes: &[Vec<u8>]) -> Option<Vec<u8>> {
    if index >= size {
        return None;
    }
    let join =
        |left: &[u8], right: &[u8]| Sha256::new().chain_update([1]).chain_update(left).chain_update(right).finalize().to_vec();
    let (mut at, mut last, mut found) = (index, size - 1, leaf);
    for hash in hashes {
        if last == 0 {
            return None;
        }
        if at % 2 == 1 || at == last {
            found = join(hash, &found);
            while at % 2 == 0 && at != 0 {
                (at, last) = (at / 2, last / 2);
            }
        } else {
            found = join(&found, hash);
        }
        (at, last) = (at / 2, last / 2);
    }
    (last == 0).then_some(found)
}

/// A value of a protobuf message. There are two kinds in what is read here.
enum Value<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

/// The fields of a message, in their order.
fn fields(mut bytes: &[u8]) -> Result<Vec<(u64, Value<'_>)>, String> {
    let mut fields = Vec::new();
    while !bytes.is_empty() {
        let key = number(&mut bytes)?;
        let value = match key & 7 {
            0 => Value::Number(number(&mut bytes)?),
            2 => {
                let length = usize::try_from(number(&mut bytes)?).ok();
                let (value, rest) =
                    length.and_then(|length| bytes.split_at_checked(length)).ok_or("the entry of the log is cut off")?;
                bytes = rest;
                Value::Bytes(value)
            }
            _ => return Err("the entry of the log can't be read".into()),
        };
        fields.push((key >> 3, value));
    }
    Ok(fields)
}

fn number(bytes: &mut &[u8]) -> Result<u64, String> {
    let mut number = 0_u64;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = bytes.split_first().ok_or("the entry of the log is cut off")?;
        *bytes = rest;
        number |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Ok(number);
        }
    }
    Err("the entry of the log holds a number that is too large".into())
}

/// The one field of this number in a message.
fn one(bytes: &[u8], number: u64) -> Result<&[u8], String> {
    let mut found = fields(bytes)?.into_iter().filter_map(|(at, value)| match value {
        Value::Bytes(value) if at == number => Some(value),
        _ => None,
    });
    match (found.next(), found.next()) {
        (Some(value), None) => Ok(value),
        _ => Err("the entry of the log can't be read".into()),
    }
}

fn text(bytes: &[u8]) -> Result<String, String> {
    String::from_utf8(bytes.to_vec()).map_err(|_| "the entry of the log can't be read".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn join(left: &[u8], right: &[u8]) -> Vec<u8> {
        Sha256::new().chain_update([1]).chain_update(left).chain_update(right).finalize().to_vec()
    }

    /// The tree over these leaves, as RFC 9162 defines it (2.1.1), and the way to one of them (2.1.3.1).
    fn tree(leaves: &[Vec<u8>], index: usize) -> (Vec<u8>, Vec<Vec<u8>>) {
        let [_, _, ..] = leaves else { return (leaves[0].clone(), Vec::new()) };
        let (left, right) = leaves.split_at(leaves.len().next_power_of_two() / 2);
        let (inside, (own, mut path), other) = match index.checked_sub(left.len()) {
            None => (true, tree(left, index), tree(right, 0).0),
            Some(index) => (false, tree(right, index), tree(left, 0).0),
        };
        path.push(other.clone());
        (if inside { join(&own, &other) } else { join(&other, &own) }, path)
    }

    #[test]
    fn each_leaf_of_a_tree_of_any_size_is_found_where_it_is_and_nowhere_else() {
        let leaves: Vec<Vec<u8>> = (0..40_u8).map(|leaf| vec![leaf; 32]).collect();
        for size in 1..leaves.len() {
            for index in 0..size {
                let (top, path) = tree(&leaves[..size], index);
                let found = |index: usize, size: usize, path: &[Vec<u8>]| {
                    root(leaves[index % 40].clone(), index as u64, size as u64, path).as_ref() == Some(&top)
                };
                assert!(found(index, size, &path), "{index} of {size}");
                assert!(!found(size, size, &path), "beyond the end");
                assert!(index == 0 || !found(index - 1, size, &path), "beside {index} of {size}");
                assert!(path.is_empty() || !found(index, size, &path[1..]), "a part of the way to {index} of {size}");
                let longer = [&path[..], &[vec![0; 32]]].concat();
                assert!(!found(index, size, &longer), "beyond the root of {size}");
            }
        }
    }

    #[test]
    fn numbers_are_read_to_their_end_and_no_further() {
        for (mut bytes, read) in
            [(&[0_u8][..], 0), (&[0x7f], 127), (&[0x80, 1], 128), (&[0xff, 1], 255), (&[0x80, 0x80, 1], 1 << 14)]
        {
            assert_eq!((number(&mut bytes), bytes), (Ok(read), &[][..]));
        }
        assert!(number(&mut &[0x80][..]).is_err() && number(&mut &[0xff; 11][..]).is_err());
    }
}
