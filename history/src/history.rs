//! [`History`]: the single owner of the history's directory.
//!
//! Every writing call returns only after the event that states it is in the ledger, flushed to disk, and then in the view.
//! Every reading call asks the view. Where the view fails, it is rebuilt from the ledger; where the ledger fails, nothing
//! is written any more. Blocks: call it from a thread that may wait.

mod anchored;
mod cache;
mod decays;
mod glass;
mod incidents;
mod opening;
mod people;
mod reading;
mod revisions;
mod told;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::File;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use tk8s_core::crash;
use tk8s_core::{
    ComponentName, Digest, Environment, InstanceName, ObjectKey, ReleaseId, ReleaseNumber, Secret, ServiceAccount, Timestamp,
    Trust,
};
use tk8s_images::{Resolved, ResolvedParts};

use crate::blobs::Blobs;
use crate::event::{self, Event, FORMAT, Reading, Record, VERSION};
use crate::fold::{self, ComponentState, LimitState, ReleaseState};
use crate::gap::{self, Gap, Limit};
use crate::keys::{self, Keys};
use crate::ledger::Ledger;
use crate::note::{self, Unproven, Verifier};
use crate::tile::Tile;
use crate::view::memory::MemoryView;
use crate::view::sled::{SledView, Watchdog};
use crate::view::{self, Tree, View, ViewError};
use crate::{
    AppliedObject, Begun, EndedHook, Error, Hold, Intent, Outcome, Recalled, Recorded, Release, SizeAndRoot, Staged, disk, set,
};

use opening::{check_first, derived_size, fold_into, replay};
pub(crate) use opening::{lock, open_view};

/// What a history is opened with.
#[derive(Clone, Debug)]
pub struct Options {
    /// The directory: on a volume of its own, local or block, used by nothing else.
    pub dir: PathBuf,
    /// The instance whose history it is.
    pub instance: InstanceName,
    /// The name of the ledger in its checkpoints: a URL without a scheme, for example `tk8s.io/prod-eu-1/tk8s`.
    pub origin: String,
    /// Signs checkpoints: an Ed25519 private key in PKCS#8 PEM.
    pub identity_key: Secret,
    /// Encrypts objects: 32 bytes as 64 hexadecimal digits or base64.
    pub encryption_key: Secret,
    /// How many releases of each component are kept. The current, healthy, held and unfinished ones are kept beyond.
    pub keep_releases: usize,
    /// What happens when the view does not answer.
    pub watchdog: Watchdog,
}

impl Options {
    fn ledger_dir(&self) -> PathBuf {
        self.dir.join("ledger")
    }

    fn view_dir(&self) -> PathBuf {
        self.dir.join("view")
    }

    fn marker(&self) -> PathBuf {
        self.dir.join("view.broken")
    }
}

/// How a view that was asked differs from what replaying the ledger gives.
#[derive(Debug, thiserror::Error)]
pub enum Difference {
    /// Ledger or view could not be read.
    #[error("could not replay the ledger")]
    Ledger(#[source] Error),
    /// The view could not be read.
    #[error("could not read the view: {0}")]
    View(String),
    /// They are not the same.
    #[error("the view differs from a replay of the ledger at `{0}`")]
    At(String),
}

/// The history of an instance. See the module for its guarantees.
pub struct History {
    options: Options,
    keys: Keys,
    verifier: Verifier,
    blobs: Blobs,
    /// Whoever writes holds this from the decision to the view. Taken before `view`.
    ledger: Mutex<Ledger>,
    /// Written while events are folded into it, or when it is replaced.
    view: RwLock<Arc<dyn View>>,
    /// Refusals and causes that were counted and are not in the ledger, by key.
    repeats: Mutex<HashMap<String, u64>>,
    /// Whether another version wrote last: then the next append begins by saying so.
    continues: AtomicBool,
    /// The lock on the directory, for as long as this lives.
    _lock: File,
}

impl std::fmt::Debug for History {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "History({})", self.options.dir.display())
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What it guards is changed only after everything that can fail, so it is whole even then.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// At most `limit` characters.
fn cut(text: &str, limit: usize) -> String {
    match text.char_indices().nth(limit) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.into(),
    }
}

/// A hold whose words for people are not too long.
fn bounded(hold: Hold) -> Hold {
    Hold { reason: cut(&hold.reason, MESSAGE), by: cut(&hold.by, 200), ..hold }
}

/// How much of a message for people is kept.
const MESSAGE: usize = 2000;
/// How much is kept of how a turn ended: the last lines of a container's log are part of it.
const OUTCOME: usize = 8000;
/// How many reasons of a denial are kept, and how much of each.
const REASONS: (usize, usize) = (32, 300);

impl History {
    /// Opens the history, or makes one. Drops what was never acknowledged, proves everything that was, and rebuilds the view
    /// where it is missing, behind or broken. Refuses a directory that another process has open, a ledger that is damaged
    /// or belongs to someone else, and keys that don't fit.
    pub fn open(options: Options, now: Timestamp) -> Result<History, Error> {
        if !note::is_valid_name(&options.origin) {
            return Err(Error::Origin(tk8s_core::printable(&options.origin, 80)));
        }
        let identity = keys::identity(&options.identity_key)?;
        let keys = Keys::read(&options.encryption_key)?;
        let verifier = Verifier::of(&options.origin, &identity);
        let mut changed = BTreeSet::new();
        disk::create_dir(&options.dir, &mut changed)?;
        changed.iter().try_for_each(|dir| disk::flush_dir(dir))?;
        let lock = lock(&options.dir)?;
        let mut ledger = Ledger::open(&options.ledger_dir(), &options.origin, identity)?;
        if ledger.size() > 0 {
            // What the view knows of an event that is not understood here was decided by a newer version.
            let mut reading = Reading::of(&options.ledger_dir());
            ledger.each_from(0, &mut |position, bytes| reading.read(position, bytes).map(drop))?;
            check_first(&ledger, &options, &keys)?;
        }
        let view = open_view(&options, &ledger, now)?;
        ledger.drop_tail()?;
        if ledger.size() == 0 {
            let created = Event::Created {
                format: FORMAT,
                instance: options.instance.clone(),
                key: verifier.to_string(),
                encryption: keys.check(),
                version: Some(VERSION.into()),
            };
            ledger.append(&[Record { sequence: 0, at: now, event: created }.to_bytes()?])?;
        }
        let history = History {
            blobs: Blobs::new(options.dir.join("blobs")),
            options,
            keys,
            verifier,
            ledger: Mutex::new(ledger),
            view: RwLock::new(view),
            repeats: Mutex::default(),
            continues: AtomicBool::new(false),
            _lock: lock,
        };
        history.catch_up();
        history.sweep()?;
        let wrote: Option<String> = history.derived(&locked(&history.ledger), fold::WROTE)?;
        history.continues.store(wrote.as_deref() != Some(VERSION), Ordering::SeqCst);
        Ok(history)
    }

    /// Folds into the view what it does not know yet.
    fn catch_up(&self) {
        let ledger = locked(&self.ledger);
        let view = self.current_view();
        let caught_up = derived_size(&*view)
            .map_err(|error| error.to_string())
            .and_then(|from| replay(&ledger, from, &*view).map_err(|error| tk8s_core::chain(&error)));
        if let Err(problem) = caught_up {
            self.replace_view(&ledger, &view, &problem);
        }
    }

    /// Removes blobs that no kept release names: an interrupted stage left them.
    fn sweep(&self) -> Result<(), Error> {
        let ledger = locked(&self.ledger);
        let used = self.ask(&ledger, |view| {
            let keys = view.scan(Tree::Derived, fold::BLOBS)?;
            Ok(keys.into_iter().filter_map(|(key, _)| Some(key.split('/').nth(1)?.to_owned())).collect::<BTreeSet<_>>())
        });
        let (blobs, left) = self.blobs.list()?;
        // Without an answer nothing is known to be unused.
        if let Some(used) = used {
            for blob in blobs.iter().filter(|blob| !used.contains(&blob.hex())) {
                self.blobs.remove(blob)?;
            }
        }
        left.iter().try_for_each(|path| disk::remove(path))
    }

    // ---- writing ----

    /// Records a release and keeps its objects: it can be recalled from now on. Refuses what was not verified, except for
    /// `dev`.
    pub fn stage(&self, resolved: Resolved, now: Timestamp) -> Result<Staged, Error> {
        self.stage_for(resolved, None, now)
    }

    /// The same, with the account that the platform names for the component.
    pub fn stage_for(&self, resolved: Resolved, account: Option<ServiceAccount>, now: Timestamp) -> Result<Staged, Error> {
        self.stage_parts_for(resolved.into_parts(), account, now)
    }

    #[cfg(test)]
    pub(crate) fn stage_parts(&self, parts: ResolvedParts, now: Timestamp) -> Result<Staged, Error> {
        self.stage_parts_for(parts, None, now)
    }

    pub(crate) fn stage_parts_for(
        &self,
        parts: ResolvedParts,
        account: Option<ServiceAccount>,
        now: Timestamp,
    ) -> Result<Staged, Error> {
        if matches!(parts.trust, Trust::Waived { .. }) && parts.environment != Environment::Dev {
            return Err(Error::Waived { component: parts.component.to_string(), environment: parts.environment });
        }
        let text = set::write(&parts.objects, &parts.images, &parts.warnings)?;
        let content = set::content(&self.keys, &parts.objects);
        let sealed = self.blobs.seal(&self.keys, &text)?;
        let blob = sealed.name;
        let mut ledger = locked(&self.ledger);
        let users = self.ask(&ledger, |view| view.scan(Tree::Derived, &fold::blob_users(&blob)));
        let known = users.is_some_and(|users| !users.is_empty());
        self.blobs.put(&sealed, known).inspect_err(|error| ledger.doubt(error))?;
        crash::point("P1");
        let state = self.component_state(&ledger, &parts.component)?;
        let number = state.as_ref().map_or(ReleaseNumber(1), |state| state.latest.next());
        // Numbers are not used twice, also where those that used them are lost.
        let limit: Option<LimitState> = self.derived(&ledger, &fold::limit(&parts.component))?;
        let number = limit.map_or(number, |state| number.max(state.limit.latest.next()));
        let release = Release {
            id: ReleaseId { component: parts.component.clone(), number },
            revision: parts.revision,
            trust: parts.trust,
            environment: parts.environment,
            content,
            input: parts.input,
            tree: parts.tree,
            objects: parts.objects.len(),
            removal: parts.removal,
            account,
            staged_at: now,
        };
        let mut events = vec![Event::Staged { release: Box::new(release.clone()), blob, images: parts.images.len() }];
        let forgotten = self.outgrown(&ledger, state.as_ref(), &parts.component, number)?;
        if !forgotten.is_empty() {
            let releases = forgotten.iter().map(|state| state.release.id.number).collect();
            events.push(Event::Forgotten { component: parts.component, releases });
        }
        self.append(&mut ledger, events, now, Some("P2"))?;
        for state in forgotten {
            self.remove_unused(&ledger, &state.blob);
        }
        Ok(Staged { release: Arc::new(release), objects: parts.objects })
    }

    /// Writes down what a plan is about to do, before the first write to the cluster. What it creates is in the inventory from
    /// now on.
    pub fn begin(&self, intent: Intent, now: Timestamp) -> Result<Begun, Error> {
        let mut ledger = locked(&self.ledger);
        self.release_state(&ledger, &intent.release)?;
        self.append(&mut ledger, event::begun(&intent), now, Some("P3"))?;
        Ok(Begun { intent })
    }

    /// Writes down what was applied: uids, and which objects we created.
    pub fn applied(&self, begun: &Begun, objects: &[AppliedObject], now: Timestamp) -> Result<(), Error> {
        self.append(&mut locked(&self.ledger), event::applied(&begun.intent, objects), now, None)
    }

    /// Writes down which hooks of a turn came to their end, and that nothing of it is begun any more: what a process that is
    /// killed leaves is begun. Those that did what they are for don't run again for the same content.
    pub fn hooks_ended(&self, begun: &Begun, hooks: &[EndedHook], now: Timestamp) -> Result<(), Error> {
        let mut ledger = locked(&self.ledger);
        let content = self.release_state(&ledger, &begun.intent.release)?.release.content;
        self.append(&mut ledger, event::hooks_ended(&begun.intent.release, content, hooks), now, Some("P14"))
    }

    /// Writes down what was deleted and is gone: the inventory forgets it.
    pub fn pruned(&self, begun: &Begun, objects: &[ObjectKey], now: Timestamp) -> Result<(), Error> {
        if objects.is_empty() {
            return Ok(());
        }
        self.append(&mut locked(&self.ledger), event::pruned(&begun.intent, objects), now, None)
    }

    /// Writes down how a turn ended. The release is finished when its last turn is healthy, or any turn is not. Which turn it
    /// was is taken from `begun`.
    pub fn record(&self, begun: Begun, outcome: Outcome, now: Timestamp) -> Result<Recorded, Error> {
        let Intent { release, turn, turns, plan, .. } = begun.intent;
        let outcome =
            Outcome { turn, turns, message: cut(&outcome.message, OUTCOME), trigger: cut(&outcome.trigger, 80), ..outcome };
        let finished = fold::ends(&outcome);
        let mut ledger = locked(&self.ledger);
        self.append(&mut ledger, vec![Event::Finished { release, plan, outcome }], now, Some("P11"))?;
        Ok(Recorded { position: ledger.size() - 1, finished })
    }

    /// Reads a release back: what the ledger proves was staged, with the objects of exactly then.
    pub fn recall(&self, release: &ReleaseId) -> Result<Recalled, Error> {
        let (staged, blob, sealed) = {
            let ledger = locked(&self.ledger);
            let state = self.release_state(&ledger, release)?;
            let unproven = |problem| Error::Unproven { release: release.clone(), problem };
            let record = Record::parse(state.position, &ledger.proven_record(state.position)?)?;
            let Event::Staged { release: staged, blob, .. } = record.event else {
                return Err(unproven("the ledger holds another event where it was staged"));
            };
            if *staged != state.release || blob != state.blob || staged.id != *release {
                return Err(unproven(
                    "the view does not agree with the ledger; restart the agent after removing the directory `view`",
                ));
            }
            (staged, blob, self.blobs.read(&blob)?)
        };
        let problem = |problem: &str| Error::Blob { release: release.clone(), blob, problem: problem.into() };
        let text = Blobs::unpack(&self.keys, &sealed.map_err(problem)?).map_err(problem)?;
        let objects = set::read(&text).map_err(problem)?;
        if set::content(&self.keys, &objects) != staged.content {
            return Err(problem("does not hold what was staged"));
        }
        Ok(Recalled { release: Arc::from(staged), objects })
    }

    /// Records that the plan of a release was denied, with every failed rule. The same denial again is no event.
    pub fn deny(&self, release: &ReleaseId, reasons: Vec<String>, now: Timestamp) -> Result<(), Error> {
        let more = reasons.len().saturating_sub(REASONS.0);
        let mut reasons: Vec<_> = reasons.iter().take(REASONS.0).map(|reason| cut(reason, REASONS.1)).collect();
        if more > 0 {
            reasons.push(format!("and {more} more"));
        }
        let mut ledger = locked(&self.ledger);
        let state = self.release_state(&ledger, release)?;
        let component = self.component_state(&ledger, &release.component)?;
        let waiting = component.and_then(|state| state.rollback).is_some_and(|rollback| rollback.to == release.number);
        if state.denied.as_ref() == Some(&reasons) && !waiting {
            return Ok(());
        }
        self.append(&mut ledger, vec![Event::Denied { release: release.clone(), reasons }], now, None)
    }

    /// Records that a person let the deletions of a release through. The same again is no event.
    pub fn confirm(&self, release: &ReleaseId, deletions: &str, by: &str, reason: &str, now: Timestamp) -> Result<(), Error> {
        let mut ledger = locked(&self.ledger);
        if self.release_state(&ledger, release)?.confirmed.as_deref() == Some(deletions) {
            return Ok(());
        }
        let (deletions, by, reason) = (cut(deletions, 200), cut(by, 200), cut(reason, MESSAGE));
        self.append(&mut ledger, vec![Event::Confirmed { release: release.clone(), deletions, by, reason }], now, None)
    }

    /// Which deletions of a release a person let through, if any.
    pub fn confirmed(&self, release: &ReleaseId) -> Option<String> {
        self.look(|view| get::<ReleaseState>(view, &fold::release(&release.component, release.number)))
            .and_then(|state| state.confirmed)
    }

    /// Records that someone asked for a rollback to the release that is held from now on, before anything is done. Hold and
    /// request are there together or not at all. The request stands until a run of that release ends, the hold until it is
    /// resumed.
    pub fn rollback_requested(
        &self,
        component: &ComponentName,
        hold: Hold,
        reason: Option<&str>,
        now: Timestamp,
    ) -> Result<(), Error> {
        let mut ledger = locked(&self.ledger);
        self.release_state(&ledger, &ReleaseId { component: component.clone(), number: hold.release })?;
        let hold = bounded(hold);
        let request = Event::RollbackRequested {
            component: component.clone(),
            to: hold.release,
            by: hold.by.clone(),
            reason: reason.map(|reason| cut(reason, MESSAGE)),
        };
        self.append(&mut ledger, vec![Event::Held { component: component.clone(), hold }, request], now, None)?;
        crash::point("P12");
        Ok(())
    }

    /// Pins a component to a release.
    pub fn hold(&self, component: &ComponentName, hold: Hold, now: Timestamp) -> Result<(), Error> {
        let mut ledger = locked(&self.ledger);
        self.release_state(&ledger, &ReleaseId { component: component.clone(), number: hold.release })?;
        self.append(&mut ledger, vec![Event::Held { component: component.clone(), hold: bounded(hold) }], now, None)
    }

    /// Ends a hold, and a rollback that has not ended. Where there is neither, it is no event.
    pub fn resume(&self, component: &ComponentName, by: &str, now: Timestamp) -> Result<(), Error> {
        let mut ledger = locked(&self.ledger);
        let state = self.component_state(&ledger, component)?;
        if !state.is_some_and(|state| state.hold.is_some() || state.rollback.is_some()) {
            return Ok(());
        }
        self.append(&mut ledger, vec![Event::Resumed { component: component.clone(), by: cut(by, 200) }], now, None)
    }

    /// Writes down that the cluster remembers more than this history, and what: from now on the limits are in force, and what
    /// was found in the cluster is in the inventory, never to be deleted.
    pub fn mend(&self, gap: Gap, now: Timestamp) -> Result<(), Error> {
        let limits = gap.limits.into_iter();
        let bounded = |limit: Limit| Limit { hold: limit.hold.map(bounded), ..limit };
        let limits = limits.map(|(component, limit)| (component, bounded(limit))).collect();
        let gap = Gap { reason: cut(&gap.reason, 200), message: cut(&gap.message, MESSAGE), limits, ..gap };
        self.append(&mut locked(&self.ledger), gap::events(gap), now, None)
    }

    /// The events, flushed to disk together, then the view.
    fn append(&self, ledger: &mut Ledger, events: Vec<Event>, now: Timestamp, point: Option<&str>) -> Result<(), Error> {
        let first = ledger.size();
        let continues = self.continues.load(Ordering::SeqCst);
        let continued = continues.then(|| Event::Continued { version: VERSION.into(), format: FORMAT });
        let events = continued.into_iter().chain(events);
        let records: Vec<Record> = (first..).zip(events).map(|(sequence, event)| Record { sequence, at: now, event }).collect();
        let bytes = records.iter().map(Record::to_bytes).collect::<Result<Vec<_>, _>>()?;
        ledger.append(&bytes)?;
        self.continues.store(false, Ordering::SeqCst);
        point.into_iter().for_each(crash::point);
        let view = self.view.write().unwrap_or_else(PoisonError::into_inner);
        if let Err(error) = fold_into(&**view, &records, ledger.size(), &ledger.root()) {
            let failed = view.clone();
            drop(view);
            // The events are in the ledger: whatever becomes of the view, they count.
            self.replace_view(ledger, &failed, &error.to_string());
        }
        Ok(())
    }

    fn outgrown(
        &self,
        ledger: &Ledger,
        state: Option<&ComponentState>,
        component: &ComponentName,
        next: ReleaseNumber,
    ) -> Result<Vec<ReleaseState>, Error> {
        let Some(state) = state else { return Ok(Vec::new()) };
        let prefix = fold::releases(component);
        let entries = self.must(self.ask(ledger, |view| view.scan(Tree::Derived, &prefix)))?;
        let numbers: Vec<ReleaseNumber> =
            entries.iter().filter_map(|(key, _)| key.rsplit('/').next()?.parse().ok().map(ReleaseNumber)).collect();
        let outgrown = fold::outgrown(state, &numbers, next, self.options.keep_releases);
        let read = |(number, (key, value)): (&ReleaseNumber, &(String, Vec<u8>))| {
            outgrown.contains(number).then(|| view::read::<ReleaseState>(key, value).ok()).flatten()
        };
        Ok(numbers.iter().zip(&entries).filter_map(read).collect())
    }

    /// Removes a blob that no kept release names. One that can't be removed is, at the next start.
    fn remove_unused(&self, ledger: &Ledger, blob: &Digest) {
        let users = self.ask(ledger, |view| view.scan(Tree::Derived, &fold::blob_users(blob)));
        if users.is_some_and(|users| users.is_empty())
            && let Err(error) = self.blobs.remove(blob)
        {
            tracing::warn!(error = %tk8s_core::chain(&error), "could not remove a blob that is no longer needed");
        }
    }

    // ---- the view ----

    fn current_view(&self) -> Arc<dyn View> {
        self.view.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Asks the view; where it fails, the one in memory that takes its place. Nothing only if the ledger can't be read either,
    /// of which the watchdog has been told.
    fn ask<T>(&self, ledger: &Ledger, run: impl Fn(&dyn View) -> Result<T, ViewError>) -> Option<T> {
        for _ in 0..2 {
            let view = self.view.read().unwrap_or_else(PoisonError::into_inner);
            match run(&**view) {
                Ok(answer) => return Some(answer),
                Err(error) => {
                    let failed = view.clone();
                    drop(view);
                    self.replace_view(ledger, &failed, &error.to_string());
                }
            }
        }
        None
    }

    /// As [`History::ask`], for those who don't hold the ledger.
    fn look<T: Default>(&self, run: impl Fn(&dyn View) -> Result<T, ViewError>) -> T {
        let view = self.view.read().unwrap_or_else(PoisonError::into_inner);
        let error = match run(&**view) {
            Ok(answer) => return answer,
            Err(error) => error,
        };
        let failed = view.clone();
        drop(view);
        let ledger = locked(&self.ledger);
        self.replace_view(&ledger, &failed, &error.to_string());
        drop(failed);
        self.ask(&ledger, run).unwrap_or_default()
    }

    fn must<T>(&self, answer: Option<T>) -> Result<T, Error> {
        // Neither view nor ledger could be read: the volume is gone. Nothing is decided on that.
        answer.ok_or(Error::Unreadable)
    }

    /// Goes on with a view in memory, made from the ledger, and leaves a mark so that the next start puts the broken one aside.
    fn replace_view(&self, ledger: &Ledger, failed: &Arc<dyn View>, problem: &str) {
        let mut view = self.view.write().unwrap_or_else(PoisonError::into_inner);
        if !Arc::ptr_eq(&view, failed) {
            return;
        }
        tracing::error!(problem, "the view is given up; going on with one in memory until the next start");
        let _ = std::fs::write(self.options.marker(), b"");
        let memory = MemoryView::default();
        match replay(ledger, 0, &memory) {
            Ok(()) => *view = Arc::new(memory),
            Err(error) => {
                tracing::error!(error = %tk8s_core::chain(&error), "the ledger cannot be read either");
                drop(view);
                (self.options.watchdog.on_hang)();
            }
        }
    }

    fn derived<T: serde::de::DeserializeOwned>(&self, ledger: &Ledger, key: &str) -> Result<Option<T>, Error> {
        self.must(self.ask(ledger, |view| get(view, key)))
    }

    fn component_state(&self, ledger: &Ledger, component: &ComponentName) -> Result<Option<ComponentState>, Error> {
        self.derived(ledger, &fold::component(component))
    }

    fn release_state(&self, ledger: &Ledger, release: &ReleaseId) -> Result<ReleaseState, Error> {
        let state = self.derived(ledger, &fold::release(&release.component, release.number))?;
        state.ok_or_else(|| Error::UnknownRelease(release.clone()))
    }

    /// The root that the ledger had at an earlier size, as in [`History::size_and_root`]; nothing where it never was so long.
    pub fn root_at(&self, size: u64) -> Result<Option<String>, Error> {
        use base64::Engine as _;
        let ledger = locked(&self.ledger);
        if size == 0 || size > ledger.size() {
            return Ok(None);
        }
        Ok(Some(base64::engine::general_purpose::STANDARD.encode(ledger.root_at(size)?)))
    }

    /// Signs one line of text with the identity of this instance, so that it can be kept elsewhere. `kind` says what it is: it
    /// is signed too, and can't be taken for anything else that the same key signs.
    pub fn sign(&self, kind: &str, line: &str) -> String {
        locked(&self.ledger).sign(&format!("{kind}\n{line}\n"))
    }

    /// Puts a payload into a DSSE envelope that this instance's identity signs, for others: [`crate::open`] opens it.
    pub fn envelope(&self, payload_type: &str, payload: &[u8]) -> String {
        locked(&self.ledger).seal(payload_type, payload)
    }

    /// The line of such a text, if it is of this kind and this instance signed it.
    pub fn prove<'a>(&self, kind: &str, note: &'a str) -> Result<&'a str, Unproven> {
        self.verifier.prove_line(kind, note)
    }

    // ---- ledger and blobs, as they are served ----

    /// Writes the files of the ledger as far as it has come, for whoever reads them on the volume while this process runs. What
    /// is acknowledged does not depend on it.
    pub fn publish(&self) -> Result<(), Error> {
        locked(&self.ledger).publish()
    }

    /// Writes to disk what may be late otherwise, for a process that ends: the files of the ledger, and the view with its cache.
    /// Whoever still holds the history while it ends may never come to drop it. What is acknowledged does not depend on it.
    pub fn flush(&self) -> Result<(), Error> {
        if let Err(error) = self.current_view().flush() {
            tracing::warn!(%error, "the view could not be written to disk; the next start makes good what it lacks");
        }
        self.publish()
    }

    /// The signed checkpoint: `<prefix>/checkpoint`.
    pub fn checkpoint(&self) -> Vec<u8> {
        locked(&self.ledger).checkpoint().as_bytes().to_vec()
    }

    /// A tile or entry bundle by its path, for example `tile/0/000.p/12` or `tile/entries/x001/067`: whatever the signed tree
    /// has, in any width.
    pub fn tile(&self, path: &str) -> Option<Vec<u8>> {
        let tile = Tile::parse(path)?;
        match locked(&self.ledger).tile(&tile) {
            Ok(bytes) => bytes,
            Err(error) => {
                tracing::error!(error = %tk8s_core::chain(&error), path, "could not read a tile");
                None
            }
        }
    }

    /// The file of a blob, or what is wrong with it: for whoever copies this history. It tells nothing to who has not the key.
    pub fn blob(&self, blob: &Digest) -> Result<Result<Vec<u8>, &'static str>, Error> {
        self.blobs.read(blob)
    }

    /// The key that verifies checkpoints, in the form that other tools of transparency logs take: `origin+id+key`.
    pub fn public_key(&self) -> String {
        self.verifier.to_string()
    }

    /// How far the ledger has come.
    pub fn size_and_root(&self) -> SizeAndRoot {
        use base64::Engine as _;
        let ledger = locked(&self.ledger);
        SizeAndRoot { size: ledger.size(), root: base64::engine::general_purpose::STANDARD.encode(ledger.root()) }
    }

    /// Replays the ledger and compares the derived tree with the view's, byte for byte.
    pub fn check_view(&self) -> Result<(), Difference> {
        let ledger = locked(&self.ledger);
        compare(&ledger, &*self.current_view())
    }

    #[cfg(test)]
    pub(crate) fn set_view(&self, view: Arc<dyn View>) {
        *self.view.write().unwrap() = view;
    }
}

/// Replays the ledger of a history that no process has open, and compares the derived tree with that of its view, byte for
/// byte. The view first learns of events that it does not know yet, as it does when the history is opened; it is not rebuilt.
pub fn replay_equals_view(options: Options) -> Result<(), Difference> {
    let ledger = |error| Difference::Ledger(error);
    let _lock = lock(&options.dir).map_err(ledger)?;
    let identity = keys::identity(&options.identity_key).map_err(ledger)?;
    let signed = Ledger::open(&options.ledger_dir(), &options.origin, identity).map_err(ledger)?;
    let broken = |error: ViewError| Difference::View(error.to_string());
    let view = SledView::open(&options.view_dir(), &options.marker(), options.watchdog).map_err(broken)?;
    let meta = view::check(&view).map_err(broken)?;
    if let Some(meta) = meta.as_ref().filter(|meta| meta.fold != fold::FOLD) {
        return Err(Difference::View(format!("it was made by the fold {}, and this is {}", meta.fold, fold::FOLD)));
    }
    replay(&signed, meta.map_or(0, |meta| meta.applied), &view).map_err(ledger)?;
    compare(&signed, &view)
}

fn compare(ledger: &Ledger, view: &dyn View) -> Result<(), Difference> {
    let fresh = MemoryView::default();
    replay(ledger, 0, &fresh).map_err(Difference::Ledger)?;
    let all = |view: &dyn View| -> Result<BTreeMap<_, _>, _> {
        let entries = view.scan(Tree::Derived, "").map_err(|error| Difference::View(error.to_string()))?;
        Ok(entries.into_iter().collect())
    };
    let (mut fresh, view) = (all(&fresh)?, all(view)?);
    for (key, value) in view {
        if fresh.remove(&key) != Some(value) {
            return Err(Difference::At(key));
        }
    }
    fresh.into_keys().next().map_or(Ok(()), |missing| Err(Difference::At(missing)))
}

pub(crate) fn get<T: serde::de::DeserializeOwned>(view: &dyn View, key: &str) -> Result<Option<T>, ViewError> {
    view.get(Tree::Derived, key)?.map(|value| view::read(key, &value)).transpose()
}

pub(crate) fn values<T: serde::de::DeserializeOwned>(view: &dyn View, prefix: &str) -> Result<Vec<T>, ViewError> {
    view.scan(Tree::Derived, prefix)?.iter().map(|(key, value)| view::read(key, value)).collect()
}
