//! What was lately read from the derived tree, kept in memory: a run asks for the same few entries again and again, and each
//! question to the view is a walk to its thread and back, which every other writer waits for.
//!
//! Bounded, and never wrong: only this process writes the view, and whatever is written goes through here, so that what is
//! known of an entry stays known when it is written. Nothing of the cache tree is kept, nor are long answers.

use std::collections::{BTreeMap, HashMap};
use std::mem::size_of;
use std::sync::{Mutex, PoisonError};

use super::{Batch, Tree, View, ViewError};

/// How much is kept in all. What is beyond begins anew.
const ALL: usize = 2 << 20;
/// The longest answer that is kept.
const LONGEST: usize = 16 << 10;
/// What an entry costs beside its bytes.
const ENTRY: usize = 64 + 2 * size_of::<String>();

/// What is under one prefix.
type Entries = BTreeMap<String, Vec<u8>>;

/// A view, and what it answered lately.
pub(crate) struct Recent<V> {
    view: V,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    values: HashMap<String, Option<Vec<u8>>>,
    /// By the prefix that was asked for, which ends with `/`.
    scans: HashMap<String, Entries>,
    bytes: usize,
    /// How often something was written: what was read before that is not kept.
    writes: u64,
}

/// What was known of the entries that are being written.
struct Taken {
    values: Vec<String>,
    scans: Vec<(String, Entries)>,
    /// The write that it was taken for.
    write: u64,
}

fn size_of_value(key: &str, value: Option<&Vec<u8>>) -> usize {
    ENTRY + key.len() + value.map_or(0, Vec::len)
}

fn size_of_scan(prefix: &str, entries: &Entries) -> usize {
    ENTRY + prefix.len() + entries.iter().map(|(key, value)| size_of_value(key, Some(value))).sum::<usize>()
}

/// Every prefix of a key that may be asked for.
fn prefixes(key: &str) -> impl Iterator<Item = &str> {
    key.match_indices('/').map(|(at, _)| &key[..=at])
}

impl Known {
    /// What is known of a key: from what it was asked for itself, or with others.
    fn value(&self, key: &str) -> Option<Option<Vec<u8>>> {
        let alone = self.values.get(key).cloned();
        alone.or_else(|| prefixes(key).find_map(|prefix| self.scans.get(prefix)).map(|entries| entries.get(key).cloned()))
    }

    fn makes_room_for(&mut self, bytes: usize) -> bool {
        if bytes > LONGEST + ENTRY {
            return false;
        }
        if self.bytes + bytes > ALL {
            *self = Known { writes: self.writes, ..Known::default() };
        }
        self.bytes += bytes;
        true
    }

    fn keep_value(&mut self, key: &str, value: Option<Vec<u8>>) {
        if self.makes_room_for(size_of_value(key, value.as_ref()))
            && let Some(twice) = self.values.insert(key.into(), value)
        {
            self.bytes -= size_of_value(key, twice.as_ref());
        }
    }

    fn keep_scan(&mut self, prefix: &str, entries: Entries) {
        if self.makes_room_for(size_of_scan(prefix, &entries))
            && let Some(twice) = self.scans.insert(prefix.into(), entries)
        {
            self.bytes -= size_of_scan(prefix, &twice);
        }
    }

    /// Forgets what is about to be written, and hands it out. What was asked for before this is not kept.
    fn take(&mut self, batch: &Batch) -> Taken {
        self.writes += 1;
        let (mut values, mut scans) = (Vec::new(), Vec::new());
        for key in batch.keys() {
            if let Some(value) = self.values.remove(key) {
                self.bytes -= size_of_value(key, value.as_ref());
                values.push(key.clone());
            }
            for prefix in prefixes(key) {
                if let Some((prefix, entries)) = self.scans.remove_entry(prefix) {
                    self.bytes -= size_of_scan(&prefix, &entries);
                    scans.push((prefix, entries));
                }
            }
        }
        Taken { values, scans, write: self.writes }
    }

    /// What was known is known again, as it was written. Whoever read in the meantime may have seen either, and keeps neither.
    fn put_back(&mut self, taken: Taken, written: &Batch) {
        let alone = self.writes == taken.write;
        drop(self.take(written));
        if !alone {
            return;
        }
        for key in taken.values {
            let value = written.get(&key).cloned().flatten();
            self.keep_value(&key, value);
        }
        for (prefix, mut entries) in taken.scans {
            for (key, value) in written.range(prefix.clone()..).take_while(|(key, _)| key.starts_with(&prefix)) {
                match value {
                    Some(value) => entries.insert(key.clone(), value.clone()),
                    None => entries.remove(key),
                };
            }
            self.keep_scan(&prefix, entries);
        }
    }
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
    fn keep(&self, writes: u64, put: impl FnOnce(&mut Known)) {
        self.known(|known| {
            if known.writes == writes {
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
        let writes = match self.known(|known| known.value(key).ok_or(known.writes)) {
            Ok(value) => return Ok(value),
            Err(writes) => writes,
        };
        let value = self.view.get(tree, key)?;
        self.keep(writes, |known| known.keep_value(key, value.clone()));
        Ok(value)
    }

    fn scan(&self, tree: Tree, prefix: &str) -> Result<Vec<(String, Vec<u8>)>, ViewError> {
        if tree != Tree::Derived || !prefix.ends_with('/') {
            return self.view.scan(tree, prefix);
        }
        let writes = match self.known(|known| known.scans.get(prefix).cloned().ok_or(known.writes)) {
            Ok(entries) => return Ok(entries.into_iter().collect()),
            Err(writes) => writes,
        };
        let found = self.view.scan(tree, prefix)?;
        self.keep(writes, |known| known.keep_scan(prefix, found.iter().cloned().collect()));
        Ok(found)
    }

    fn commit(&self, tree: Tree, batch: Batch) -> Result<(), ViewError> {
        if tree != Tree::Derived {
            return self.view.commit(tree, batch);
        }
        let taken = self.known(|known| known.take(&batch));
        let committed = self.view.commit(tree, batch.clone());
        self.known(|known| match &committed {
            Ok(()) => known.put_back(taken, &batch),
            Err(_) => drop(known.take(&batch)),
        });
        committed
    }

    fn flush(&self) -> Result<(), ViewError> {
        self.view.flush()
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
        fn scan(&self, tree: Tree, prefix: &str) -> Result<Vec<(String, Vec<u8>)>, ViewError> {
            self.reads.fetch_add(1, Ordering::SeqCst);
            self.view.scan(tree, prefix)
        }
        fn commit(&self, tree: Tree, batch: Batch) -> Result<(), ViewError> {
            self.view.commit(tree, batch)
        }
        fn flush(&self) -> Result<(), ViewError> {
            self.view.flush()
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
    fn what_was_read_is_not_asked_for_again_after_it_is_written() {
        let view = Recent::new(Counted::default());
        for prefix in ["release/", "release/a/", "release/b/"] {
            view.scan(Tree::Derived, prefix).unwrap();
        }
        view.get(Tree::Derived, "component/a").unwrap();
        let asked = view.view.reads.load(Ordering::SeqCst);
        for value in [Some(&b"one"[..]), Some(b"two"), None, Some(b"three")] {
            for key in ["release/a/1", "component/a"] {
                put(&view, key, value);
                assert_eq!(view.get(Tree::Derived, key).unwrap().as_deref(), value);
            }
            put(&view, "release/a/2", value);
            let expected: Vec<_> = ["release/a/1", "release/a/2"].into_iter().zip([value, value]).collect();
            let expected: Vec<_> =
                expected.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?.to_vec()))).collect();
            assert_eq!(view.scan(Tree::Derived, "release/").unwrap(), expected);
            assert_eq!(view.scan(Tree::Derived, "release/a/").unwrap(), expected);
            assert_eq!(view.scan(Tree::Derived, "release/b/").unwrap(), []);
        }
        assert_eq!(view.view.reads.load(Ordering::SeqCst), asked);
    }

    /// Waits, in the middle of writing, until somebody has read.
    struct Halfway {
        view: MemoryView,
        step: std::sync::Barrier,
    }

    impl View for Halfway {
        fn get(&self, tree: Tree, key: &str) -> Result<Option<Vec<u8>>, ViewError> {
            self.view.get(tree, key)
        }
        fn scan(&self, tree: Tree, prefix: &str) -> Result<Vec<(String, Vec<u8>)>, ViewError> {
            self.view.scan(tree, prefix)
        }
        fn commit(&self, tree: Tree, batch: Batch) -> Result<(), ViewError> {
            self.step.wait();
            self.step.wait();
            self.view.commit(tree, batch)
        }
        fn flush(&self) -> Result<(), ViewError> {
            self.view.flush()
        }
    }

    #[test]
    fn what_is_read_while_it_is_written_is_not_kept() {
        let view = Recent::new(Halfway { view: MemoryView::default(), step: std::sync::Barrier::new(2) });
        std::thread::scope(|scope| {
            let writing = scope.spawn(|| put(&view, "release/a/1", Some(b"one")));
            view.view.step.wait();
            assert_eq!(view.get(Tree::Derived, "release/a/1").unwrap(), None);
            assert_eq!(view.scan(Tree::Derived, "release/a/").unwrap(), []);
            view.view.step.wait();
            writing.join().unwrap();
        });
        assert_eq!(view.get(Tree::Derived, "release/a/1").unwrap().as_deref(), Some(&b"one"[..]));
        assert_eq!(view.scan(Tree::Derived, "release/a/").unwrap().len(), 1);
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
