//! What was lately read from the derived tree, kept in memory: a run asks for the same few entries again and again, and each
//! question to the view is a walk to its thread and back.
//!
//! Bounded, and never wrong: only this process writes the view, and whatever is written goes through here. Nothing of the
//! cache tree is kept, nor are long answers.

use std::collections::HashMap;
use std::mem::size_of;
use std::sync::{Mutex, PoisonError};

use super::{Batch, Tree, View, ViewError};

/// How much is kept in all. What is beyond begins anew.
const ALL: usize = 2 << 20;
/// The longest answer that is kept.
const LONGEST: usize = 16 << 10;
/// What an entry costs beside its bytes.
const ENTRY: usize = 64 + 2 * size_of::<String>();

type Found = Vec<(String, Vec<u8>)>;

/// A view, and what it answered lately.
pub(crate) struct Recent<V> {
    view: V,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    values: HashMap<String, Option<Vec<u8>>>,
    /// By the prefix that was asked for, which ends with `/`.
    scans: HashMap<String, Found>,
    bytes: usize,
    /// How often something was written: what was read before that is not kept.
    writes: u64,
}

impl Known {
    fn makes_room_for(&mut self, bytes: usize) -> bool {
        if bytes > LONGEST {
            return false;
        }
        if self.bytes + bytes + ENTRY > ALL {
            *self = Known { writes: self.writes, ..Known::default() };
        }
        self.bytes += bytes + ENTRY;
        true
    }

    fn forget(&mut self, key: &str) {
        self.writes += 1;
        self.values.remove(key);
        let ends = key.match_indices('/').map(|(at, _)| at + 1);
        ends.for_each(|end| drop(self.scans.remove(&key[..end])));
    }
}

fn length(found: &Found) -> usize {
    found.iter().map(|(key, value)| key.len() + value.len() + ENTRY).sum()
}

impl<V: View> Recent<V> {
    pub(crate) fn new(view: V) -> Recent<V> {
        Recent { view, known: Mutex::default() }
    }

    fn known<T>(&self, with: impl FnOnce(&mut Known) -> T) -> T {
        // No code that can panic runs under this lock.
        with(&mut self.known.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Keeps an answer, if nothing was written since it was asked for.
    fn keep(&self, writes: u64, bytes: usize, put: impl FnOnce(&mut Known)) {
        self.known(|known| {
            if known.writes == writes && known.makes_room_for(bytes) {
                put(known);
            }
        });
    }
}

impl<V: View> View for Recent<V> {
    fn get(&self, tree: Tree, key: &str) -> Result<Option<Vec<u8>>, ViewError> {
        if tree != Tree::Derived {
            return self.view.get(tree, key);
        }
        let writes = match self.known(|known| known.values.get(key).cloned().ok_or(known.writes)) {
            Ok(value) => return Ok(value),
            Err(writes) => writes,
        };
        let value = self.view.get(tree, key)?;
        let bytes = key.len() + value.as_ref().map_or(0, Vec::len);
        self.keep(writes, bytes, |known| drop(known.values.insert(key.into(), value.clone())));
        Ok(value)
    }

    fn scan(&self, tree: Tree, prefix: &str) -> Result<Found, ViewError> {
        if tree != Tree::Derived || !prefix.ends_with('/') {
            return self.view.scan(tree, prefix);
        }
        let writes = match self.known(|known| known.scans.get(prefix).cloned().ok_or(known.writes)) {
            Ok(found) => return Ok(found),
            Err(writes) => writes,
        };
        let found = self.view.scan(tree, prefix)?;
        self.keep(writes, prefix.len() + length(&found), |known| drop(known.scans.insert(prefix.into(), found.clone())));
        Ok(found)
    }

    fn commit(&self, tree: Tree, batch: Batch) -> Result<(), ViewError> {
        if tree != Tree::Derived {
            return self.view.commit(tree, batch);
        }
        let keys: Vec<String> = batch.keys().cloned().collect();
        // Before and after: whoever reads in the meantime may see either, and keeps neither.
        self.known(|known| keys.iter().for_each(|key| known.forget(key)));
        let committed = self.view.commit(tree, batch);
        self.known(|known| keys.iter().for_each(|key| known.forget(key)));
        committed
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::super::memory::MemoryView;
    use super::*;

    /// Counts what reaches it.
    #[derive(Default)]
    struct Counted {
        view: MemoryView,
        reads: AtomicUsize,
    }

    impl View for Counted {
        fn get(&self, tree: Tree, key: &str) -> Result<Option<Vec<u8>>, ViewError> {
            self.reads.fetch_add(1, Ordering::SeqCst);
            self.view.get(tree, key)
        }
        fn scan(&self, tree: Tree, prefix: &str) -> Result<Found, ViewError> {
            self.reads.fetch_add(1, Ordering::SeqCst);
            self.view.scan(tree, prefix)
        }
        fn commit(&self, tree: Tree, batch: Batch) -> Result<(), ViewError> {
            self.view.commit(tree, batch)
        }
    }

    fn put(view: &dyn View, key: &str, value: Option<&[u8]>) {
        view.commit(Tree::Derived, Batch::from([(key.into(), value.map(<[u8]>::to_vec))])).unwrap();
    }

    #[test]
    fn what_was_read_is_not_asked_for_again() {
        let view = Recent::new(Counted::default());
        put(&view, "release/a/1", Some(b"one"));
        for _ in 0..3 {
            assert_eq!(view.get(Tree::Derived, "release/a/1").unwrap().as_deref(), Some(&b"one"[..]));
            assert_eq!(view.get(Tree::Derived, "release/a/2").unwrap(), None);
            assert_eq!(view.scan(Tree::Derived, "release/a/").unwrap().len(), 1);
        }
        assert_eq!(view.view.reads.load(Ordering::SeqCst), 3);
    }

    #[test]
    fn what_is_written_is_what_is_read() {
        let view = Recent::new(Counted::default());
        for value in [Some(&b"one"[..]), Some(b"two"), None, Some(b"three")] {
            put(&view, "release/a/1", value);
            assert_eq!(view.get(Tree::Derived, "release/a/1").unwrap().as_deref(), value);
            for prefix in ["release/", "release/a/"] {
                let found = view.scan(Tree::Derived, prefix).unwrap();
                assert_eq!(found.first().map(|(_, value)| &value[..]), value, "{prefix}");
            }
        }
    }

    #[test]
    fn nothing_of_the_cache_is_kept() {
        let view = Recent::new(Counted::default());
        for _ in 0..3 {
            view.get(Tree::Cache, "input/a").unwrap();
            view.scan(Tree::Cache, "input/").unwrap();
        }
        assert_eq!(view.view.reads.load(Ordering::SeqCst), 6);
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let view = Recent::new(Counted::default());
        let long = vec![0; LONGEST + 1];
        put(&view, "release/a/1", Some(&long));
        for _ in 0..2 {
            assert_eq!(view.get(Tree::Derived, "release/a/1").unwrap().map(|value| value.len()), Some(long.len()));
        }
        assert_eq!(view.view.reads.load(Ordering::SeqCst), 2);
        for number in 0..20_000 {
            let key = format!("release/b/{number}");
            put(&view, &key, Some(&[0; 1024]));
            view.get(Tree::Derived, &key).unwrap();
            view.get(Tree::Derived, &key).unwrap();
        }
        assert_eq!(view.view.reads.load(Ordering::SeqCst), 20_002);
        let known = view.known.lock().unwrap();
        let held: usize = known.values.iter().map(|(key, value)| key.len() + value.as_ref().map_or(0, Vec::len)).sum();
        assert!(held <= known.bytes && known.bytes <= ALL, "{held} {}", known.bytes);
    }
}
