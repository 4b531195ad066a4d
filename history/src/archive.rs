//! A history to read in, without an agent: from its volume, or from a copy of it. Takes no lock, needs no view, writes
//! nothing, and proves what it reads. An agent may be running on it.

use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tk8s_core::{ComponentName, InstanceName, Placed, ReleaseId, ReleaseNumber, Secret};

use crate::blobs::Blobs;
use crate::event::{Event, Reading, Record};
use crate::fold::{self, ComponentState, ReleaseState};
use crate::history::{get, values};
use crate::keys::{self, Keys};
use crate::merkle::{Edge, leaf_hash};
use crate::note::Verifier;
use crate::verify::{own_key, when_it_holds_still};
use crate::view::memory::MemoryView;
use crate::view::{Changes, Tree, View as _, ViewError};
use crate::{Error, ReleaseView, SizeAndRoot, Story, ledger, set};

/// What an archive is read with.
#[derive(Clone, Debug)]
pub struct ArchiveOptions {
    /// The history's directory.
    pub dir: PathBuf,
    /// The key under which objects are kept.
    pub encryption_key: Secret,
    /// Whose it has to be: the ledger's name, and the key that signs it. Where it is not given, the ledger is proven to be
    /// whole, and not whose it is.
    pub identity: Option<(String, Secret)>,
}

/// What a history's files say, as of when it was opened.
pub struct Archive {
    dir: PathBuf,
    verifier: Verifier,
    keys: Keys,
    instance: InstanceName,
    view: MemoryView,
    ledger: SizeAndRoot,
}

impl Archive {
    /// Proves the ledger and reads it.
    pub fn open(options: &ArchiveOptions) -> Result<Archive, Error> {
        let keys = Keys::read(&options.encryption_key)?;
        let ledger_dir = options.dir.join("ledger");
        let verifier = match &options.identity {
            Some((origin, key)) => Verifier::of(origin, &keys::identity(key)?),
            None => own_key(&ledger_dir)?,
        };
        let (view, created, (size, root)) = when_it_holds_still(&options.dir, || {
            let (view, mut created, mut reading) = (MemoryView::default(), None, Reading::of(&ledger_dir));
            let mut waiting = Vec::new();
            let proven = ledger::verify(&ledger_dir, &verifier, &mut |position, bytes| {
                let record = reading.read(position, bytes)?;
                if let Event::Created { instance, encryption, .. } = &record.event {
                    created = Some((instance.clone(), encryption.clone()));
                }
                waiting.push(record);
                if waiting.len() == AT_ONCE { fold(&view, &mut waiting) } else { Ok(()) }
            })?;
            fold(&view, &mut waiting)?;
            Ok((view, created, proven))
        })?;
        let foreign =
            || Error::Foreign { file: ledger_dir.clone(), problem: "does not begin like a history of tk8s-agent".into() };
        let (instance, encryption) = created.ok_or_else(foreign)?;
        if encryption != keys.check() {
            let problem = "is not the one this history was made with: its objects could not be read";
            return Err(Error::Key { key: "encryption key", problem });
        }
        let ledger = SizeAndRoot { size, root: STANDARD.encode(root) };
        Ok(Archive { dir: options.dir.clone(), verifier, keys, instance, view, ledger })
    }

    /// How many events the ledger has, and its root.
    pub fn size_and_root(&self) -> &SizeAndRoot {
        &self.ledger
    }

    /// The root that the ledger had when it had so many events; none if it never had as many.
    pub fn root_at(&self, size: u64) -> Result<Option<String>, Error> {
        when_it_holds_still(&self.dir, || {
            let (mut edge, mut full) = (Edge::default(), Vec::new());
            ledger::verify(&self.dir.join("ledger"), &self.verifier, &mut |position, bytes| {
                if position < size {
                    edge.push(leaf_hash(bytes), &mut full);
                    full.clear();
                }
                Ok(())
            })?;
            Ok((size > 0 && edge.size() == size).then(|| STANDARD.encode(edge.root())))
        })
    }

    /// Whose history it says it is.
    pub fn instance(&self) -> &InstanceName {
        &self.instance
    }

    /// Every component that was ever staged.
    pub fn components(&self) -> Vec<ComponentName> {
        let entries = self.view.scan(Tree::Derived, fold::COMPONENTS).unwrap_or_default();
        entries.iter().filter_map(|(key, _)| key[fold::COMPONENTS.len()..].parse().ok()).collect()
    }

    /// The release of a component that runs, as far as is written down.
    pub fn current(&self, component: &ComponentName) -> Option<ReleaseNumber> {
        get::<ComponentState>(&self.view, &fold::component(component)).ok()?.and_then(|state| state.current)
    }

    /// The kept releases of a component, newest first.
    pub fn releases(&self, component: &ComponentName) -> Vec<ReleaseView> {
        let states: Vec<ReleaseState> = values(&self.view, &fold::releases(component)).unwrap_or_default();
        states.into_iter().rev().map(ReleaseView::from).collect()
    }

    /// The objects of a release: what was staged, or an error.
    pub fn objects(&self, release: &ReleaseId) -> Result<Vec<Placed>, Error> {
        let state = self.state(release)?;
        let problem = |problem: &str| Error::Blob { release: release.clone(), blob: state.blob, problem: problem.into() };
        let sealed = Blobs::new(self.dir.join("blobs")).read(&state.blob)?.map_err(problem)?;
        let objects = set::read(&Blobs::unpack(&self.keys, &sealed).map_err(problem)?).map_err(problem)?;
        match set::content(&self.keys, &objects) == state.release.content {
            true => Ok(objects),
            false => Err(problem("does not hold what was staged")),
        }
    }

    /// What became of a release since it was staged.
    pub fn story(&self, release: &ReleaseId) -> Result<Story, Error> {
        self.state(release)?;
        when_it_holds_still(&self.dir, || {
            let mut story = Story::default();
            ledger::verify(&self.dir.join("ledger"), &self.verifier, &mut |position, bytes| {
                story.hear(release, Record::parse(position, bytes)?);
                Ok(())
            })?;
            Ok(story)
        })
    }

    fn state(&self, release: &ReleaseId) -> Result<ReleaseState, Error> {
        let state = get::<ReleaseState>(&self.view, &fold::release(&release.component, release.number)).ok().flatten();
        state.ok_or_else(|| Error::UnknownRelease(release.clone()))
    }
}

/// How many events are folded at once.
const AT_ONCE: usize = 256;

fn fold(view: &MemoryView, records: &mut Vec<Record>) -> Result<(), Error> {
    let folded = (|| -> Result<(), ViewError> {
        let mut changes = Changes::new(view);
        records.iter().try_for_each(|record| fold::apply(record, &mut changes))?;
        let applied = records.last().map_or(0, |record| record.sequence + 1);
        // Nobody compares this view with a checkpoint: what it is made of is proven already.
        changes.commit(applied, &[0; 32])
    })();
    records.clear();
    folded.map_err(|error| Error::Encoding { act: "fold the ledger", source: error.into() })
}

impl std::fmt::Debug for Archive {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Archive({})", Path::display(&self.dir))
    }
}
