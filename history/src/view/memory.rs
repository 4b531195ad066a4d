//! The view in memory: for replaying, and to go on with when sled can't be used.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use super::{Batch, Tree, View, ViewError};

type Entries = BTreeMap<String, Vec<u8>>;

/// Two maps. Cannot fail.
#[derive(Debug, Default)]
pub(crate) struct MemoryView {
    derived: Mutex<Entries>,
    cache: Mutex<Entries>,
}

impl MemoryView {
    fn with<T>(&self, tree: Tree, run: impl FnOnce(&mut Entries) -> T) -> Result<T, ViewError> {
        let entries = match tree {
            Tree::Derived => &self.derived,
            Tree::Cache => &self.cache,
        };
        // No code that can panic runs under this lock.
        Ok(run(&mut entries.lock().unwrap_or_else(PoisonError::into_inner)))
    }
}

impl View for MemoryView {
    fn get(&self, tree: Tree, key: &str) -> Result<Option<Vec<u8>>, ViewError> {
        self.with(tree, |entries| entries.get(key).cloned())
    }

    fn scan(&self, tree: Tree, prefix: &str) -> Result<Vec<(String, Vec<u8>)>, ViewError> {
        let found = |entries: &mut Entries| {
            let from = entries.range(prefix.to_owned()..).take_while(|(key, _)| key.starts_with(prefix));
            from.map(|(key, value)| (key.clone(), value.clone())).collect()
        };
        self.with(tree, found)
    }

    fn commit(&self, tree: Tree, batch: Batch) -> Result<(), ViewError> {
        self.with(tree, |entries| {
            for (key, value) in batch {
                match value {
                    Some(value) => entries.insert(key, value),
                    None => entries.remove(&key),
                };
            }
        })
    }

    fn flush(&self) -> Result<(), ViewError> {
        Ok(())
    }
}
