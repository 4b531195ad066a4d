//! Decrypts a file: every value by its place, then the MAC over all of them. Nothing of a file whose MAC is not right
//! is given to anybody.

use sha2::{Digest as _, Sha512};
use tk8s_core::Origin;

use super::keys::AgeKeys;
use super::metadata::{Metadata, Refusal};
use super::tree::{Leaf, Node};
use super::value::{self, Clear, DataKey};
use crate::Error;

/// Begins the MAC of a file whose MAC is over encrypted values only, so that it is never that of another file.
const ONLY_ENCRYPTED: [u8; 32] = [
    0x8a, 0x3f, 0xd2, 0xad, 0x54, 0xce, 0x66, 0x52, 0x7b, 0x10, 0x34, 0xf3, 0xd1, 0x47, 0xbe, 0xb, 0xb, 0x97, 0x5b, 0x3b, 0xf4,
    0x4f, 0x72, 0xc6, 0xfd, 0xad, 0xec, 0x81, 0x76, 0xf2, 0x7d, 0x69,
];

/// The key of a map under which the metadata stands.
pub(super) const METADATA: &str = "sops";

/// A decrypted file.
pub(crate) struct Opened {
    /// Its documents, without metadata.
    pub(crate) documents: Vec<(Node, Origin)>,
    /// The file's own key.
    pub(crate) data_key: DataKey,
}

/// Decrypts the documents of a file. SOPS writes one metadata into each of them, reads the first, and has one MAC over all
/// values of all documents.
pub(super) fn open(mut documents: Vec<(Node, Origin)>, keys: &AgeKeys) -> Result<Opened, Error> {
    let mut metadata = Vec::new();
    for (document, _) in &mut documents {
        metadata.push(take_metadata(document));
    }
    let at = |index: usize, line: usize| {
        let origin: &Origin = &documents[index].1;
        Origin { file: origin.file.clone(), line: if origin.line == 0 { 0 } else { origin.line + line } }
    };
    let Some(Some(first)) = metadata.first() else {
        let problem = match metadata.iter().all(Option::is_none) {
            true => "it holds values that SOPS encrypted, without the metadata (`sops`) that it takes to decrypt them",
            false => "its first document has no metadata (`sops`), though another has: SOPS encrypts a file as a whole",
        };
        return Err(Error::Sealed { origin: at(0, 0), problem: problem.into() });
    };
    let mac = |node: &Node| node.get("mac").and_then(Node::as_str).map(String::from);
    for (index, other) in metadata.iter().enumerate().skip(1) {
        if let Some(other) = other
            && mac(other) != mac(first)
        {
            let problem =
                "its documents were encrypted one by one: SOPS encrypts a file as a whole, so give each a file of its own";
            return Err(Error::Sealed { origin: at(index, other.line()), problem: problem.into() });
        }
    }
    let read = Metadata::read(first, keys).map_err(|refusal| match refusal {
        Refusal::Bad(problem) => Error::Sealed { origin: at(0, first.line()), problem },
        Refusal::NoKey(problem) => Error::NoKey { origin: at(0, first.line()), problem },
    })?;
    let mac_line = first.get("mac").map_or(0, Node::line);
    let mac_origin = at(0, mac_line);
    let mut walk = Walk { metadata: &read, hash: Sha512::new(), path: Vec::new() };
    if read.mac_only_encrypted {
        walk.hash.update(ONLY_ENCRYPTED);
    }
    for (document, origin) in &mut documents {
        walk.node(document).map_err(|(line, problem)| {
            let origin = Origin { file: origin.file.clone(), line: if origin.line == 0 { 0 } else { origin.line + line } };
            Error::Sealed { origin, problem: problem.into() }
        })?;
    }
    let computed = hex::encode_upper(walk.hash.finalize());
    let sealed = |problem: &str| Error::Sealed { origin: mac_origin.clone(), problem: problem.into() };
    let told = value::decrypt_bound_to(&read.mac, &read.data_key, &read.last_modified)
        .map_err(|_| sealed("its MAC is damaged, or belongs to another file or time"))?;
    if told.as_slice() != computed.as_bytes() {
        return Err(sealed(
            "its MAC does not fit: a value was changed, added or removed by hand after it was encrypted; use `sops edit`, and commit \
             what it writes",
        ));
    }
    Ok(Opened { documents, data_key: read.data_key })
}

fn take_metadata(document: &mut Node) -> Option<Node> {
    let Node::Map(entries) = document else { return None };
    let at = entries.iter().position(|(key, node)| key == METADATA && matches!(node, Node::Map(_)))?;
    Some(entries.remove(at).1)
}

struct Walk<'a> {
    metadata: &'a Metadata,
    hash: Sha512,
    /// The keys above; items of lists have no name.
    path: Vec<String>,
}

impl Walk<'_> {
    fn node(&mut self, node: &mut Node) -> Result<(), (usize, &'static str)> {
        match node {
            Node::Leaf(leaf) => match self.leaf(leaf).map_err(|problem| (leaf.line, problem))? {
                true => Ok(()),
                false => Err((leaf.line, "a comment stands where a value has to")),
            },
            Node::List(items) => {
                let mut kept = Vec::with_capacity(items.len());
                for mut item in std::mem::take(items) {
                    // SOPS writes the comments of a list as items of it.
                    let keep = match &mut item {
                        Node::Leaf(leaf) => self.leaf(leaf).map_err(|problem| (leaf.line, problem))?,
                        other => self.node(other).map(|()| true)?,
                    };
                    kept.extend(keep.then_some(item));
                }
                *items = kept;
                Ok(())
            }
            Node::Map(entries) => entries.iter_mut().try_for_each(|(key, node)| {
                self.path.push(key.clone());
                self.node(node)?;
                self.path.pop();
                Ok(())
            }),
        }
    }

    /// Decrypts a scalar if it is encrypted, and hashes it. False if it was a comment.
    fn leaf(&mut self, leaf: &mut Leaf) -> Result<bool, &'static str> {
        if leaf.value.is_null() {
            return Ok(true);
        }
        let encrypted = self.metadata.rule.encrypts(&self.path, leaf.value.as_str());
        if encrypted {
            let text = leaf.value.as_str().ok_or("a value that has to be encrypted is not")?;
            leaf.secret = !text.is_empty();
            match value::decrypt(text, &self.metadata.data_key, &self.path)? {
                Clear::Comment => return Ok(false),
                Clear::Value(value, hashed) => (leaf.value, leaf.hashed) = (value, Some(hashed)),
                Clear::Binary(bytes) => {
                    (leaf.value, leaf.hashed, leaf.binary) = (serde_json::Value::Null, Some(bytes.clone()), Some(bytes));
                }
            }
        }
        if (encrypted || !self.metadata.mac_only_encrypted)
            && let Some(hashed) = &leaf.hashed
        {
            self.hash.update(hashed);
        }
        Ok(true)
    }
}
