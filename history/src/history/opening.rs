//! How a history is opened: its lock, its first event, and a view that agrees with the ledger.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tk8s_core::Timestamp;

use super::Options;
use crate::event::{Event, Record};
use crate::keys::Keys;
use crate::ledger::Ledger;
use crate::view::memory::MemoryView;
use crate::view::recent::Recent;
use crate::view::sled::SledView;
use crate::view::{self, Changes, View, ViewError};
use crate::{Error, disk, fold};

/// How many events are in the derived tree, after every entry of it was checked.
pub(super) fn derived_size(view: &dyn View) -> Result<u64, ViewError> {
    Ok(view::check(view)?.map_or(0, |meta| meta.applied))
}

pub(super) fn fold_into(view: &dyn View, records: &[Record], size: u64, root: &[u8; 32]) -> Result<(), ViewError> {
    let mut changes = Changes::new(view);
    records.iter().try_for_each(|record| fold::apply(record, &mut changes))?;
    changes.commit(size, root)
}

/// How many events are folded at once when replaying.
const REPLAYED_AT_ONCE: u64 = 256;

/// Folds the events from `from` on into `view`.
pub(super) fn replay(ledger: &Ledger, from: u64, view: &dyn View) -> Result<(), Error> {
    let mut waiting = Vec::new();
    ledger.each_from(from, &mut |position, bytes| {
        waiting.push(Record::parse(position, bytes)?);
        let size = position + 1;
        if size % REPLAYED_AT_ONCE == 0 || size == ledger.size() {
            let folded = fold_into(view, &waiting, size, &ledger.root_at(size)?);
            folded.map_err(|error| Error::Encoding { act: "fold the ledger into the view", source: error.into() })?;
            waiting.clear();
        }
        Ok(())
    })
}

/// One process writes here. The lock goes away with the process, however it ends.
pub(crate) fn lock(dir: &Path) -> Result<File, Error> {
    let path = dir.join("lock");
    let file = disk::write(&path, b"")?;
    // A child that is about to become another program still holds what its parent gave up, for a moment.
    let until = Instant::now() + Duration::from_secs(1);
    loop {
        match rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(file),
            Err(rustix::io::Errno::WOULDBLOCK) if Instant::now() < until => std::thread::sleep(Duration::from_millis(10)),
            Err(rustix::io::Errno::WOULDBLOCK) => return Err(Error::Locked { dir: dir.into() }),
            Err(error) => return Err(Error::Disk { act: "lock", path, source: error.into() }),
        }
    }
}

/// The first event says whose history it is and with which key its objects are encrypted.
pub(super) fn check_first(ledger: &Ledger, options: &Options, keys: &Keys) -> Result<(), Error> {
    let file = options.ledger_dir();
    let record = Record::parse(0, &ledger.proven_record(0)?)?;
    let Event::Created { instance, encryption, .. } = record.event else {
        return Err(Error::Foreign { file, problem: "does not begin like a history of tk8s-agent".into() });
    };
    if instance != options.instance {
        return Err(Error::Foreign {
            file,
            problem: format!("belongs to the instance `{instance}`, not `{}`", options.instance),
        });
    }
    if encryption != keys.check() {
        let problem = "is not the one this history was made with: its objects could not be read";
        return Err(Error::Key { key: "encryption key", problem });
    }
    Ok(())
}

/// The view in sled, as it was left if it is whole and of this ledger, otherwise a new one.
pub(crate) fn open_view(options: &Options, ledger: &Ledger, now: Timestamp) -> Result<Arc<dyn View>, Error> {
    let (dir, marker) = (options.view_dir(), options.marker());
    if disk::read(&marker)?.is_some() {
        put_aside(options, now)?;
    }
    for attempt in 0..2 {
        let opened = SledView::open(&dir, &marker, options.watchdog.clone()).and_then(|view| Ok((view::check(&view)?, view)));
        match opened {
            Ok((None, view)) => return Ok(Arc::new(Recent::new(view))),
            Ok((Some(meta), view)) => {
                let agrees = meta.applied <= ledger.size() && hex::encode(ledger.root_at(meta.applied)?) == meta.root;
                if !agrees {
                    return Err(Error::Forked { dir: options.dir.clone(), ledger: ledger.size(), view: meta.applied });
                }
                let view = Recent::new(view);
                if meta.fold != fold::FOLD {
                    tracing::info!(fold = meta.fold, "the view was made by another version: it is made anew from the ledger");
                    // Whatever of this is interrupted: the next start finds the old view, an empty one, or the beginning of a new one.
                    if let Err(error) = view::clear(&view) {
                        tracing::error!(%error, "the view can't be emptied; it is put aside");
                        drop(view);
                        put_aside(options, now)?;
                        continue;
                    }
                }
                return Ok(Arc::new(view));
            }
            Err(error) if attempt == 0 => {
                tracing::error!(%error, "the view is put aside and rebuilt from the ledger");
                put_aside(options, now)?;
            }
            Err(error) => tracing::error!(%error, "a new view cannot be made; going on with one in memory"),
        }
    }
    Ok(Arc::new(MemoryView::default()))
}

/// Puts a broken view aside, for whoever wants to know why. Only the last one is kept.
fn put_aside(options: &Options, now: Timestamp) -> Result<(), Error> {
    for name in disk::list(&options.dir)? {
        if name.starts_with("view.aside-") {
            let _ = std::fs::remove_dir_all(options.dir.join(name));
        }
    }
    let aside = options.dir.join(format!("view.aside-{}", now.as_millisecond()));
    if options.view_dir().is_dir() {
        disk::rename(&options.view_dir(), &aside)?;
    }
    disk::remove(&options.marker())
}
