//! The view: a copy of what the ledger says, in a form that can be asked. It can be lost at any time.
//!
//! Two trees: *derived*, a pure fold of the ledger, and *cache*. Behind a small trait, so that what is underneath can be
//! replaced: [`memory::MemoryView`] where sled can't be used, [`sled::SledView`] behind [`recent::Recent`] otherwise.

pub(crate) mod memory;
pub(crate) mod recent;
pub(crate) mod sled;

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde::Serialize;
use serde::de::DeserializeOwned;
use sha2::{Digest as _, Sha256};

use crate::fold::FOLD;
use crate::merkle::Hash;

/// Which tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tree {
    /// What replaying the ledger gives.
    Derived,
    /// What may vanish.
    Cache,
}

/// Keys to values, or to nothing for what is to be removed.
pub(crate) type Batch = BTreeMap<String, Option<Vec<u8>>>;

/// Why the view can't answer. Whoever gets this gives the view up and goes on with another.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ViewError {
    /// The store failed, or a value is not what was written.
    #[error("the view is broken: {0}")]
    Broken(String),
    /// No answer in time.
    #[error("the view did not answer in time")]
    Hung,
}

/// A store of the two trees.
pub(crate) trait View: Send + Sync {
    fn get(&self, tree: Tree, key: &str) -> Result<Option<Vec<u8>>, ViewError>;
    /// Every key that begins so, in order.
    fn scan(&self, tree: Tree, prefix: &str) -> Result<Vec<(String, Vec<u8>)>, ViewError>;
    /// All of it or nothing of it.
    fn commit(&self, tree: Tree, batch: Batch) -> Result<(), ViewError>;
    /// What was committed is on disk.
    fn flush(&self) -> Result<(), ViewError>;
}

/// Where the view keeps how far it has come.
const META: &str = "meta";

/// How far a derived tree has come, and what it must consist of.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, serde::Deserialize)]
pub(crate) struct Meta {
    /// How many events are in it.
    pub(crate) applied: u64,
    /// The root of the ledger at that size, in hexadecimal.
    pub(crate) root: String,
    /// All entries, each hashed, added up by exclusive or: one that goes missing is noticed.
    pub(crate) sum: String,
    /// The number of the fold that made it. Views from before there were numbers have none.
    #[serde(default)]
    pub(crate) fold: u32,
}

fn entry_hash(key: &str, value: &[u8]) -> Hash {
    Sha256::new().chain_update((key.len() as u64).to_be_bytes()).chain_update(key).chain_update(value).finalize().into()
}

fn add(sum: &mut Hash, key: &str, value: &[u8]) {
    for (sum, byte) in sum.iter_mut().zip(entry_hash(key, value)) {
        *sum ^= byte;
    }
}

/// How far the derived tree has come; nothing where it is empty. Reads and checks every entry of it.
pub(crate) fn check(view: &dyn View) -> Result<Option<Meta>, ViewError> {
    let mut entries = view.scan(Tree::Derived, "")?;
    let meta = entries.iter().position(|(key, _)| key == META).map(|at| entries.swap_remove(at).1);
    let mut sum = Hash::default();
    entries.iter().for_each(|(key, value)| add(&mut sum, key, value));
    match meta {
        None if entries.is_empty() => Ok(None),
        None => Err(ViewError::Broken("it does not say how far it has come".into())),
        Some(meta) => match serde_json::from_slice::<Meta>(&meta) {
            Ok(meta) if meta.sum == hex::encode(sum) => Ok(Some(meta)),
            Ok(_) => Err(ViewError::Broken("entries are missing".into())),
            Err(_) => Err(ViewError::Broken("it does not say how far it has come".into())),
        },
    }
}

/// Empties the derived tree, at once: what comes next is a view of no event.
pub(crate) fn clear(view: &dyn View) -> Result<(), ViewError> {
    let entries = view.scan(Tree::Derived, "")?;
    view.commit(Tree::Derived, entries.into_iter().map(|(key, _)| (key, None)).collect())
}

/// Changes to the derived tree that are not in the view yet, and read like it.
pub(crate) struct Changes<'a> {
    view: &'a dyn View,
    changed: Batch,
    /// What the view holds, as far as it was asked.
    read: HashMap<String, Option<Vec<u8>>>,
    /// Prefixes of which everything was read.
    known: BTreeSet<String>,
}

impl<'a> Changes<'a> {
    pub(crate) fn new(view: &'a dyn View) -> Changes<'a> {
        Changes { view, changed: Batch::new(), read: HashMap::new(), known: BTreeSet::new() }
    }

    fn stored(&mut self, key: &str) -> Result<Option<Vec<u8>>, ViewError> {
        if let Some(value) = self.read.get(key) {
            return Ok(value.clone());
        }
        let value = match self.known.iter().any(|prefix| key.starts_with(prefix)) {
            true => None,
            false => self.view.get(Tree::Derived, key)?,
        };
        self.read.insert(key.into(), value.clone());
        Ok(value)
    }

    /// Reads everything under a prefix at once, when much of it will be asked for.
    pub(crate) fn prefetch(&mut self, prefix: &str) -> Result<(), ViewError> {
        if self.known.insert(prefix.into()) {
            for (key, value) in self.view.scan(Tree::Derived, prefix)? {
                self.read.entry(key).or_insert(Some(value));
            }
        }
        Ok(())
    }

    /// The value of a key.
    pub(crate) fn get<T: DeserializeOwned>(&mut self, key: &str) -> Result<Option<T>, ViewError> {
        let value = match self.changed.get(key) {
            Some(value) => value.clone(),
            None => self.stored(key)?,
        };
        value.map(|value| read(key, &value)).transpose()
    }

    /// Every key that begins so.
    pub(crate) fn keys(&mut self, prefix: &str) -> Result<Vec<String>, ViewError> {
        let stored = self.view.scan(Tree::Derived, prefix)?;
        let mut keys: BTreeSet<String> = stored.into_iter().map(|(key, _)| key).collect();
        for (key, value) in self.changed.range(prefix.to_owned()..).take_while(|(key, _)| key.starts_with(prefix)) {
            match value {
                Some(_) => keys.insert(key.clone()),
                None => keys.remove(key),
            };
        }
        Ok(keys.into_iter().collect())
    }

    pub(crate) fn put<T: Serialize>(&mut self, key: &str, value: &T) -> Result<(), ViewError> {
        let value = serde_json::to_value(value).map_err(|error| ViewError::Broken(format!("`{key}`: {error}")))?;
        self.changed.insert(key.into(), Some(tk8s_core::canonical_json(&value)));
        Ok(())
    }

    pub(crate) fn remove(&mut self, key: &str) {
        self.changed.insert(key.into(), None);
    }

    /// Puts everything into the view at once, and how far it has come with it.
    pub(crate) fn commit(mut self, applied: u64, root: &Hash) -> Result<(), ViewError> {
        let meta: Option<Meta> = self.get(META)?;
        let mut sum = Hash::default();
        if let Some(meta) = &meta {
            hex::decode_to_slice(&meta.sum, &mut sum).map_err(|_| ViewError::Broken("its sum is not a hash".into()))?;
        }
        let changed = std::mem::take(&mut self.changed);
        let mut batch = Batch::new();
        for (key, value) in changed {
            let before = self.stored(&key)?;
            if before == value {
                continue;
            }
            before.iter().chain(&value).for_each(|value| add(&mut sum, &key, value));
            batch.insert(key, value);
        }
        self.put(META, &Meta { applied, root: hex::encode(root), sum: hex::encode(sum), fold: FOLD })?;
        batch.append(&mut self.changed);
        self.view.commit(Tree::Derived, batch)
    }
}

/// Reads a value of the derived tree.
pub(crate) fn read<T: DeserializeOwned>(key: &str, value: &[u8]) -> Result<T, ViewError> {
    serde_json::from_slice(value).map_err(|error| ViewError::Broken(format!("`{key}` cannot be read: {error}")))
}
