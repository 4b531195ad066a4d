//! The view in sled, on a thread of its own.
//!
//! A damaged file can make sled 0.34 panic or spin for ever. So every call has a deadline, a panic is an answer, and every
//! value carries a hash of its own. A thread that spins can't be stopped: a marker is left for the next start, which puts
//! the directory aside, and the watchdog's `on_hang` is called, which ends the process.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
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

type Job = Box<dyn FnOnce(&Store) + Send>;

/// Talks to the thread that owns the database.
pub(crate) struct SledView {
    jobs: Option<Sender<Job>>,
    ended: Mutex<Receiver<()>>,
    watchdog: Watchdog,
    marker: PathBuf,
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
            for job in queue {
                // A job that panics drops its reply, which says it.
                let _ = catch_unwind(AssertUnwindSafe(|| job(&store)));
            }
            let _ = catch_unwind(AssertUnwindSafe(|| store.db.flush().map(drop)));
            drop(store);
            let _ = end.send(());
        };
        std::thread::Builder::new().name("tk8s-view".into()).spawn(run).map_err(broken)?;
        let view = SledView { jobs: Some(jobs), ended: Mutex::new(ended), watchdog, marker: marker.into() };
        view.answer(opening.recv_timeout(view.watchdog.deadline * 6))?.map(|()| view)
    }

    fn call<T: Send + 'static>(&self, run: impl FnOnce(&Store) -> Result<T, ViewError> + Send + 'static) -> Result<T, ViewError> {
        let (reply, answer) = channel();
        let job: Job = Box::new(move |store| {
            tk8s_core::crash::spin("view");
            drop(reply.send(run(store)));
        });
        let sent = self.jobs.as_ref().is_some_and(|jobs| jobs.send(job).is_ok());
        if !sent {
            return Err(ViewError::Broken("its thread ended".into()));
        }
        self.answer(answer.recv_timeout(self.watchdog.deadline))?
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
            let _ = jobs.send(Box::new(|_| std::thread::sleep(Duration::from_secs(3))));
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
        let key = key.to_owned();
        self.call(move |store| {
            let stored = store.tree(tree).get(&key).map_err(broken)?;
            stored.map(|stored| unwrap(key.as_bytes(), &stored)).transpose()
        })
    }

    fn scan(&self, tree: Tree, prefix: &str) -> Result<Vec<(String, Vec<u8>)>, ViewError> {
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
        self.call(move |store| {
            let mut changes = sled::Batch::default();
            for (key, value) in batch {
                match value {
                    Some(value) => changes.insert(key.as_bytes(), [&check(key.as_bytes(), &value)[..], &value].concat()),
                    None => changes.remove(key.as_bytes()),
                }
            }
            store.tree(tree).apply_batch(changes).map_err(broken)
        })
    }
}
