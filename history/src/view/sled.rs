//! The view in sled, on a thread of its own.
//!
//! A damaged file can make sled 0.34 panic or spin for ever. So every call has a deadline, a panic is an answer, and every
//! value carries a hash of its own. A thread that spins can't be stopped: a marker is left for the next start, which puts
//! the directory aside, and the watchdog's `on_hang` is called, which ends the process.
//!
//! Nobody waits for a commit: what is committed within a short time is written together, so that what changes several times is
//! written once. Whoever asks is told of it all the same. How a commit failed is the answer to every later call.

use std::fmt;
use std::ops::Bound;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use sha2::{Digest as _, Sha256};

use super::{Batch, Tree, View, ViewError};

/// What happens when the view does not answer.
#[derive(Clone)]
pub struct Watchdog {
    /// How long a call may take: far above any call that ends, 10 seconds by default. Opening may take six times as long.
    pub deadline: Duration,
    /// Called when a call took longer, after the marker was written. By default the process is aborted: the thread can't be
    /// stopped and would take a whole core for ever. If it returns, the history goes on with a view in memory.
    pub on_hang: Arc<dyn Fn() + Send + Sync>,
}

impl Default for Watchdog {
    fn default() -> Watchdog {
        Watchdog { deadline: Duration::from_secs(10), on_hang: Arc::new(|| std::process::abort()) }
    }
}

impl fmt::Debug for Watchdog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Watchdog({:?})", self.deadline)
    }
}

/// sled's page cache: a view is small, and what it does not hold is one read away.
const CACHE_BYTES: u64 = 4 << 20;
/// How often sled flushes what was changed. What is lost with it is replayed from the ledger, which is flushed at each append;
/// a view that flushes oftener only takes the disk away from that.
const FLUSH_MS: u64 = 5_000;
/// How long a lock of this process may outlive the view that had it.
const LOCKED: Duration = Duration::from_secs(10);
/// How much of SHA-256 stands before each value.
const CHECK: usize = 16;
/// What is committed within this time is written together: the same few entries change again and again. Far below the time
/// after which sled flushes, which is what a power cut may cost.
const TOGETHER: Duration = Duration::from_millis(500);
/// How much may wait to be written.
const WAITING: usize = 1 << 20;
/// Of so many commits one is waited for, so that those that are not are bounded.
const AHEAD: usize = 64;

struct Store {
    db: sled::Db,
    derived: sled::Tree,
    cache: sled::Tree,
}

impl Store {
    fn tree(&self, tree: Tree) -> &sled::Tree {
        match tree {
            Tree::Derived => &self.derived,
            Tree::Cache => &self.cache,
        }
    }
}

/// What the thread is told.
enum Job {
    /// Something is committed, to be written before long.
    Soon,
    /// What is committed is to be written.
    Now,
    /// Somebody asks.
    Answer(Box<dyn FnOnce(&Store) + Send>),
}

/// What is committed and not written yet, of each tree.
#[derive(Default)]
struct Committed {
    derived: Batch,
    cache: Batch,
    bytes: usize,
}

impl Committed {
    fn is_empty(&self) -> bool {
        self.derived.is_empty() && self.cache.is_empty()
    }

    fn of(&mut self, tree: Tree) -> &mut Batch {
        match tree {
            Tree::Derived => &mut self.derived,
            Tree::Cache => &mut self.cache,
        }
    }

    /// Takes a batch in, and says when all of it is to be written, if the thread has to be told.
    fn take_in(&mut self, tree: Tree, batch: Batch) -> Option<Job> {
        let (was_empty, had_room) = (self.is_empty(), self.bytes < WAITING);
        self.bytes += batch.iter().map(|(key, value)| key.len() + value.as_ref().map_or(0, Vec::len)).sum::<usize>();
        self.of(tree).extend(batch);
        match self.bytes < WAITING {
            false if had_room => Some(Job::Now),
            true if was_empty => Some(Job::Soon),
            _ => None,
        }
    }
}

/// What the thread and those who talk to it share.
#[derive(Default)]
struct Shared {
    committed: Mutex<Committed>,
    /// How the first commit failed that did.
    failed: OnceLock<String>,
}

impl Shared {
    fn committed(&self) -> MutexGuard<'_, Committed> {
        // No code that can panic runs under this lock.
        self.committed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes what is committed, all of a tree or nothing of it.
    fn write(&self, store: &Store) {
        let Committed { derived, cache, .. } = std::mem::take(&mut *self.committed());
        for (tree, batch) in [(Tree::Derived, derived), (Tree::Cache, cache)] {
            if batch.is_empty() {
                continue;
            }
            let mut changes = sled::Batch::default();
            for (key, value) in batch {
                match value {
                    Some(value) => changes.insert(key.as_bytes(), [&check(key.as_bytes(), &value)[..], &value].concat()),
                    None => changes.remove(key.as_bytes()),
                }
            }
            let problem = match catch_unwind(AssertUnwindSafe(|| store.tree(tree).apply_batch(changes))) {
                Ok(Ok(())) => continue,
                Ok(Err(error)) => tk8s_core::printable(&error.to_string(), 200),
                Err(_) => "its thread panicked".into(),
            };
            let _ = self.failed.set(problem);
        }
    }

    /// Does what it is told until nobody is left to tell it anything.
    fn serve(&self, store: &Store, queue: &Receiver<Job>) {
        let mut due: Option<Instant> = None;
        loop {
            let told = match due.map(|due| due.saturating_duration_since(Instant::now())) {
                None => queue.recv().map_err(|_| RecvTimeoutError::Disconnected),
                // However many ask.
                Some(Duration::ZERO) => Err(RecvTimeoutError::Timeout),
                Some(left) => queue.recv_timeout(left),
            };
            if told.is_ok() {
                tk8s_core::crash::spin("view");
            }
            let ends = matches!(told, Err(RecvTimeoutError::Disconnected));
            match told {
                Ok(Job::Soon) => due = due.or_else(|| Some(Instant::now() + TOGETHER)),
                // One that panics drops its reply, which says it.
                Ok(Job::Answer(answer)) => drop(catch_unwind(AssertUnwindSafe(|| answer(store)))),
                Ok(Job::Now) | Err(_) => {
                    due = None;
                    self.write(store);
                }
            }
            if ends {
                return;
            }
        }
    }
}

/// Talks to the thread that owns the database.
pub(crate) struct SledView {
    jobs: Option<Sender<Job>>,
    ended: Mutex<Receiver<()>>,
    watchdog: Watchdog,
    marker: PathBuf,
    shared: Arc<Shared>,
    commits: AtomicUsize,
}

fn broken(error: impl fmt::Display) -> ViewError {
    ViewError::Broken(tk8s_core::printable(&error.to_string(), 200))
}

/// Opens the database, waiting a while for a lock that somebody still holds. Nobody can but this process, which has the
/// history's own lock: sled gives its lock up some time after it was closed, and a child holds it between its fork and its
/// exec. A view that is locked is not broken.
fn unlocked(config: &sled::Config) -> sled::Result<sled::Db> {
    let until = Instant::now() + LOCKED;
    loop {
        match config.open() {
            Err(sled::Error::Io(error)) if error.to_string().contains("acquire lock") && Instant::now() < until => {
                std::thread::sleep(Duration::from_millis(10));
            }
            opened => return opened,
        }
    }
}

impl SledView {
    /// Opens or makes the database in `dir`. `marker` is left when it hangs.
    pub(crate) fn open(dir: &Path, marker: &Path, watchdog: Watchdog) -> Result<SledView, ViewError> {
        let (jobs, queue) = channel::<Job>();
        let (opened, opening) = channel();
        let (end, ended) = channel();
        let config =
            sled::Config::new().path(dir).cache_capacity(CACHE_BYTES).flush_every_ms(Some(FLUSH_MS)).mode(sled::Mode::LowSpace);
        let shared = Arc::<Shared>::default();
        let of_thread = Arc::clone(&shared);
        let run = move || {
            let open = || -> sled::Result<Store> {
                let db = unlocked(&config)?;
                Ok(Store { derived: db.open_tree("derived")?, cache: db.open_tree("cache")?, db })
            };
            let store = match catch_unwind(AssertUnwindSafe(open)) {
                Ok(Ok(store)) => store,
                Ok(Err(error)) => return opened.send(Err(broken(error))).unwrap_or(()),
                // The sender is dropped, which says it.
                Err(_) => return,
            };
            let _ = opened.send(Ok(()));
            of_thread.serve(&store, &queue);
            let _ = catch_unwind(AssertUnwindSafe(|| store.db.flush().map(drop)));
            drop(store);
            let _ = end.send(());
        };
        std::thread::Builder::new().name("tk8s-view".into()).spawn(run).map_err(broken)?;
        let commits = AtomicUsize::new(0);
        let view = SledView { jobs: Some(jobs), ended: Mutex::new(ended), watchdog, marker: marker.into(), shared, commits };
        view.answer(opening.recv_timeout(view.watchdog.deadline * 6))?.map(|()| view)
    }

    fn call<T: Send + 'static>(&self, run: impl FnOnce(&Store) -> Result<T, ViewError> + Send + 'static) -> Result<T, ViewError> {
        let (reply, answer) = channel();
        self.tell(Job::Answer(Box::new(move |store| drop(reply.send(run(store))))))?;
        let answer = self.answer(answer.recv_timeout(self.watchdog.deadline))?;
        // What was committed before it may not be there.
        self.has_not_failed()?;
        answer
    }

    fn tell(&self, job: Job) -> Result<(), ViewError> {
        self.has_not_failed()?;
        let told = self.jobs.as_ref().is_some_and(|jobs| jobs.send(job).is_ok());
        if told { Ok(()) } else { Err(ViewError::Broken("its thread ended".into())) }
    }

    fn has_not_failed(&self) -> Result<(), ViewError> {
        self.shared.failed.get().map_or(Ok(()), |problem| Err(ViewError::Broken(problem.clone())))
    }

    fn answer<T>(&self, answer: Result<T, RecvTimeoutError>) -> Result<T, ViewError> {
        match answer {
            Ok(answer) => Ok(answer),
            Err(RecvTimeoutError::Disconnected) => Err(ViewError::Broken("its thread panicked".into())),
            Err(RecvTimeoutError::Timeout) => {
                // The worst that can happen without the marker is that the next start hangs once more.
                let _ = std::fs::write(&self.marker, b"");
                tracing::error!(
                    seconds = self.watchdog.deadline.as_secs(),
                    "the view did not answer in time; it is rebuilt at the next start"
                );
                (self.watchdog.on_hang)();
                Err(ViewError::Hung)
            }
        }
    }

    /// Makes the thread spin, as a damaged file would.
    #[cfg(test)]
    pub(crate) fn spin(&self) {
        if let Some(jobs) = &self.jobs {
            let _ = jobs.send(Job::Answer(Box::new(|_| std::thread::sleep(Duration::from_secs(3)))));
        }
    }
}

impl Drop for SledView {
    fn drop(&mut self) {
        // The thread ends when its queue does; a thread that spins is left behind.
        self.jobs = None;
        let ended = self.ended.get_mut().unwrap_or_else(PoisonError::into_inner);
        let _ = ended.recv_timeout(self.watchdog.deadline);
    }
}

fn check(key: &[u8], value: &[u8]) -> [u8; CHECK] {
    let hash = Sha256::new().chain_update((key.len() as u64).to_be_bytes()).chain_update(key).chain_update(value).finalize();
    hash[..CHECK].try_into().expect("because 16 of 32 bytes are 16")
}

fn unwrap(key: &[u8], stored: &[u8]) -> Result<Vec<u8>, ViewError> {
    match stored.split_at_checked(CHECK) {
        Some((hash, value)) if hash == check(key, value) => Ok(value.to_vec()),
        _ => Err(ViewError::Broken(format!(
            "the value of `{}` is damaged",
            tk8s_core::printable(&String::from_utf8_lossy(key), 80)
        ))),
    }
}

impl View for SledView {
    fn get(&self, tree: Tree, key: &str) -> Result<Option<Vec<u8>>, ViewError> {
        self.has_not_failed()?;
        let waiting = self.shared.committed().of(tree).get(key).cloned();
        if let Some(value) = waiting {
            return Ok(value);
        }
        let key = key.to_owned();
        self.call(move |store| {
            let stored = store.tree(tree).get(&key).map_err(broken)?;
            stored.map(|stored| unwrap(key.as_bytes(), &stored)).transpose()
        })
    }

    fn scan(&self, tree: Tree, prefix: &str) -> Result<Vec<(String, Vec<u8>)>, ViewError> {
        let from = Bound::Included(prefix);
        let waits = self
            .shared
            .committed()
            .of(tree)
            .range::<str, _>((from, Bound::Unbounded))
            .next()
            .is_some_and(|(key, _)| key.starts_with(prefix));
        if waits {
            self.tell(Job::Now)?;
        }
        let prefix = prefix.to_owned();
        self.call(move |store| {
            let entry = |entry: sled::Result<(sled::IVec, sled::IVec)>| {
                let (key, stored) = entry.map_err(broken)?;
                let value = unwrap(&key, &stored)?;
                Ok((String::from_utf8(key.to_vec()).map_err(|_| ViewError::Broken("a key is not text".into()))?, value))
            };
            store.tree(tree).scan_prefix(&prefix).map(entry).collect()
        })
    }

    fn commit(&self, tree: Tree, batch: Batch) -> Result<(), ViewError> {
        self.has_not_failed()?;
        let told = self.shared.committed().take_in(tree, batch);
        if let Some(job) = told {
            self.tell(job)?;
        }
        let is_enough = self.commits.fetch_add(1, Ordering::Relaxed) % AHEAD == AHEAD - 1;
        if is_enough { self.call(|_| Ok(())) } else { Ok(()) }
    }

    fn flush(&self) -> Result<(), ViewError> {
        self.tell(Job::Now)?;
        self.call(|store| store.db.flush().map(drop).map_err(broken))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn opened(dir: &Path, deadline: Duration) -> SledView {
        let watchdog = Watchdog { deadline, on_hang: Arc::new(|| ()) };
        SledView::open(&dir.join("view"), &dir.join("view.broken"), watchdog).unwrap()
    }

    fn batch(key: &str, value: Option<&str>) -> Batch {
        Batch::from([(key.into(), value.map(|value| value.as_bytes().to_vec()))])
    }

    #[test]
    fn nobody_waits_for_a_commit_and_whoever_asks_later_sees_it() {
        let dir = tempfile::tempdir().unwrap();
        let view = opened(dir.path(), Duration::from_secs(10));
        view.spin();
        let began = Instant::now();
        for number in 0..AHEAD - 1 {
            view.commit(Tree::Derived, batch("number", Some(&number.to_string()))).unwrap();
            view.commit(Tree::Cache, batch("number", None)).unwrap();
            if number == AHEAD / 2 - 2 {
                assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
            }
        }
        assert_eq!(view.get(Tree::Derived, "number").unwrap(), Some((AHEAD - 2).to_string().into_bytes()));
        assert_eq!(view.get(Tree::Cache, "number").unwrap(), None);
        view.commit(Tree::Derived, batch("last", Some("one"))).unwrap();
        drop(view);
        let view = opened(dir.path(), Duration::from_secs(10));
        assert_eq!(view.get(Tree::Derived, "last").unwrap().as_deref(), Some(&b"one"[..]));
    }

    #[test]
    fn whoever_asks_is_told_of_what_waits_to_be_written() {
        let dir = tempfile::tempdir().unwrap();
        let view = opened(dir.path(), Duration::from_secs(10));
        for (key, value) in [("a/1", Some("old")), ("a/2", Some("goes")), ("b/1", Some("other"))] {
            view.commit(Tree::Derived, batch(key, value)).unwrap();
        }
        view.flush().unwrap();
        assert!(view.shared.committed().is_empty());
        view.commit(Tree::Derived, batch("a/1", Some("new"))).unwrap();
        view.commit(Tree::Derived, batch("a/2", None)).unwrap();
        view.commit(Tree::Cache, batch("a/3", Some("elsewhere"))).unwrap();
        assert_eq!(view.get(Tree::Derived, "a/1").unwrap().as_deref(), Some(&b"new"[..]));
        assert_eq!(view.get(Tree::Derived, "a/2").unwrap(), None);
        assert_eq!(view.get(Tree::Derived, "a/3").unwrap(), None);
        assert_eq!(view.scan(Tree::Derived, "b/").unwrap(), [("b/1".to_owned(), b"other".to_vec())]);
        assert!(!view.shared.committed().is_empty(), "it was not in the way");
        assert_eq!(view.scan(Tree::Derived, "a/").unwrap(), [("a/1".to_owned(), b"new".to_vec())]);
    }

    #[test]
    fn what_is_committed_is_written_before_long_however_many_ask() {
        let dir = tempfile::tempdir().unwrap();
        let view = opened(dir.path(), Duration::from_secs(10));
        view.commit(Tree::Derived, batch("a", Some("b"))).unwrap();
        let began = Instant::now();
        while !view.shared.committed().is_empty() {
            assert!(began.elapsed() < Duration::from_secs(10));
            assert_eq!(view.get(Tree::Derived, "other").unwrap(), None);
        }
    }

    #[test]
    fn much_is_written_at_once_and_said_once() {
        let mut committed = Committed::default();
        let large = |key: &str| Batch::from([(key.into(), Some(vec![0; WAITING * 2 / 5]))]);
        let told = ["a", "b", "c", "d"].map(|key| committed.take_in(Tree::Cache, large(key)));
        assert!(matches!(told, [Some(Job::Soon), None, Some(Job::Now), None]));
        let all = Batch::from([("a".into(), Some(vec![0; WAITING]))]);
        assert!(matches!(Committed::default().take_in(Tree::Derived, all), Some(Job::Now)));
    }

    #[test]
    fn those_who_commit_while_the_thread_hangs_wait_for_it_after_a_while() {
        let dir = tempfile::tempdir().unwrap();
        let view = opened(dir.path(), Duration::from_millis(100));
        view.spin();
        let hung = (0..AHEAD).find(|_| matches!(view.commit(Tree::Derived, batch("a", Some("b"))), Err(ViewError::Hung)));
        assert_eq!(hung, Some(AHEAD - 1));
        assert!(dir.path().join("view.broken").exists());
    }

    #[test]
    fn how_a_commit_failed_is_the_answer_to_everybody() {
        let dir = tempfile::tempdir().unwrap();
        let view = opened(dir.path(), Duration::from_secs(10));
        view.commit(Tree::Derived, batch("a", Some("b"))).unwrap();
        // sled takes no damage that can be aimed at a single commit.
        view.shared.failed.set("no space".into()).unwrap();
        let told = [
            view.get(Tree::Derived, "a").map(drop),
            view.scan(Tree::Cache, "").map(drop),
            view.commit(Tree::Derived, batch("a", None)),
        ];
        assert!(told.iter().all(|told| matches!(told, Err(ViewError::Broken(problem)) if problem == "no space")), "{told:?}");
    }
}
