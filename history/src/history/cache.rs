//! Values that may be lost at any time: they save work, and nothing hangs on them.

use super::{History, locked};
use crate::view::{Batch, Tree, View, ViewError};

/// The purpose under which cache values are encrypted.
const CACHE: &str = "tk8s-history/cache/v1/";

impl History {
    /// Keeps a value that may be lost at any time. Encrypted. What can't be kept is not.
    pub fn cache_put(&self, key: &str, value: &[u8]) {
        if let Ok(sealed) = self.keys.seal(format!("{CACHE}{key}").as_bytes(), value) {
            self.cache(|view| view.commit(Tree::Cache, Batch::from([(key.into(), Some(sealed.clone()))])));
        }
    }

    /// Keeps these values, and forgets those that are none, all at once: one write for each of them would cost more than
    /// anything that is kept.
    pub fn cache_put_all(&self, values: impl IntoIterator<Item = (String, Option<Vec<u8>>)>) {
        let sealed = values.into_iter().filter_map(|(key, value)| match value {
            Some(value) => Some((key.clone(), Some(self.keys.seal(format!("{CACHE}{key}").as_bytes(), &value).ok()?))),
            None => Some((key, None)),
        });
        let batch: Batch = sealed.collect();
        if !batch.is_empty() {
            self.cache(|view| view.commit(Tree::Cache, batch.clone()));
        }
    }

    /// A value that was kept, if it still is.
    pub fn cache_get(&self, key: &str) -> Option<Vec<u8>> {
        let sealed = self.cache(|view| view.get(Tree::Cache, key)).flatten()?;
        self.keys.open(format!("{CACHE}{key}").as_bytes(), &sealed).map(|value| value.to_vec())
    }

    /// Forgets a value.
    pub fn cache_remove(&self, key: &str) {
        self.cache(|view| view.commit(Tree::Cache, Batch::from([(key.into(), None)])));
    }

    /// Every value whose key begins so, in the order of the keys.
    pub fn cache_scan(&self, prefix: &str) -> Vec<(String, Vec<u8>)> {
        let entries = self.cache(|view| view.scan(Tree::Cache, prefix)).unwrap_or_default();
        let open = |(key, sealed): (String, Vec<u8>)| {
            let value = self.keys.open(format!("{CACHE}{key}").as_bytes(), &sealed)?.to_vec();
            Some((key, value))
        };
        entries.into_iter().filter_map(open).collect()
    }

    fn cache<T>(&self, run: impl Fn(&dyn View) -> Result<T, ViewError>) -> Option<T> {
        let view = self.current_view();
        match run(&*view) {
            Ok(answer) => Some(answer),
            Err(error) => {
                self.replace_view(&locked(&self.ledger), &view, &error.to_string());
                None
            }
        }
    }
}
