//! Proving a history without opening it: nothing is written, no lock is taken, no encryption key is needed.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Serialize;
use tk8s_core::{Digest, ReleaseId};

use crate::event::{Event, Reading, Record};
use crate::note::Verifier;
use crate::{Error, blobs, disk, ledger};

/// What was proven.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Verified {
    /// How many events.
    pub size: u64,
    /// The root of the tree, in base64 as in the checkpoint.
    pub root: String,
    /// The key that signed the checkpoint. Where none was given to check against, it is the one that the ledger itself names,
    /// which proves that the ledger is whole but not whose it is.
    pub key: String,
    /// How many events of each kind.
    pub events: BTreeMap<String, u64>,
    /// How many blobs there are, each of which is what its name says.
    pub blobs: u64,
}

/// How often a proof begins again because an agent that runs has moved on meanwhile.
const ATTEMPTS: u32 = 5;

/// Recomputes the ledger in `dir` (a history's directory) from its entry bundles, compares every tile and the signed
/// checkpoint, and every blob with its name; each kept release must have its blob. An agent may be running on it.
pub fn verify(dir: &Path, public_key: Option<&str>) -> Result<Verified, Error> {
    when_it_holds_still(dir, || verify_once(dir, public_key))
}

/// Begins again where an agent that runs has moved on meanwhile.
pub(crate) fn when_it_holds_still<T>(dir: &Path, read: impl Fn() -> Result<T, Error>) -> Result<T, Error> {
    let checkpoint = || disk::read(&dir.join("ledger").join("checkpoint"));
    let mut attempt = 1;
    loop {
        let before = checkpoint()?;
        match read() {
            Err(_) if attempt < ATTEMPTS && checkpoint()? != before => attempt += 1,
            result => return result,
        }
    }
}

fn verify_once(dir: &Path, public_key: Option<&str>) -> Result<Verified, Error> {
    let ledger_dir = dir.join("ledger");
    let verifier = public_key.map_or_else(|| own_key(&ledger_dir), vkey)?;
    let mut kept = Kept::of(&ledger_dir);
    let (size, root) = ledger::verify(&ledger_dir, &verifier, &mut |position, bytes| kept.hear(position, bytes))?;
    let Kept { events, blobs: kept, .. } = kept;
    let blobs = blobs::verify(&dir.join("blobs"), &kept)?;
    use base64::Engine as _;
    let root = base64::engine::general_purpose::STANDARD.encode(root);
    Ok(Verified { size, root, key: verifier.to_string(), events, blobs })
}

/// What the events of a ledger say that there is.
pub(crate) struct Kept {
    ledger: PathBuf,
    reading: Reading,
    /// How many events of each kind.
    pub(crate) events: BTreeMap<String, u64>,
    /// The blobs of the releases that are kept.
    pub(crate) blobs: BTreeMap<ReleaseId, Digest>,
}

impl Kept {
    pub(crate) fn of(ledger: &Path) -> Kept {
        Kept { ledger: ledger.into(), reading: Reading::of(ledger), events: BTreeMap::new(), blobs: BTreeMap::new() }
    }

    pub(crate) fn hear(&mut self, position: u64, bytes: &[u8]) -> Result<(), Error> {
        let record = self.reading.read(position, bytes)?;
        if record.sequence != position {
            let problem = format!("calls an event number {}", record.sequence);
            return Err(Error::Damaged { file: self.ledger.clone(), position, problem });
        }
        *self.events.entry(record.event.kind().to_owned()).or_default() += 1;
        match record.event {
            Event::Staged { release, blob, .. } => drop(self.blobs.insert(release.id, blob)),
            Event::Forgotten { component, releases } => releases.into_iter().for_each(|number| {
                self.blobs.remove(&ReleaseId { component: component.clone(), number });
            }),
            _ => {}
        }
        Ok(())
    }
}

/// A key as somebody gives it.
pub(crate) fn vkey(key: &str) -> Result<Verifier, Error> {
    Verifier::parse(key).ok_or(Error::Key { key: "public key", problem: "is not of the form `origin+id+key`" })
}

/// The key that a ledger names itself.
pub(crate) fn own_key(ledger_dir: &Path) -> Result<Verifier, Error> {
    let missing = || Error::Damaged { file: ledger_dir.into(), position: 0, problem: "holds no ledger of tk8s-agent".into() };
    let record = ledger::first_record(ledger_dir)?.ok_or_else(missing)?;
    let key = Record::parse(0, &record).ok().and_then(|record| record.key());
    key.and_then(|key| Verifier::parse(&key)).ok_or_else(missing)
}
