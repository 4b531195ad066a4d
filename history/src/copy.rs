//! A copy of a history's truth: its ledger and its blobs, from wherever they can be read, to a directory.
//!
//! What is there already is not read again; what is copied is proven, event by event up to the signed root, before the copy says
//! so. The checkpoint of the copy is exchanged last, after everything that it states was flushed: whatever interrupts it leaves
//! the copy that was there before, and the next one goes on. A copy only ever grows: what does not hold all that is in it is
//! another history, and refused. No key is read, and none is ever in a copy.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde::Serialize;
use tk8s_core::{Digest, ReleaseId};

use crate::blobs::Blobs;
use crate::event::Record;
use crate::ledger::{self, Grown, Still};
use crate::merkle::{Edge, TILE_WIDTH};
use crate::note::{Checkpoint, Verifier};
use crate::tile::{self, Kind, Pieces, Tile};
use crate::verify::{Kept, own_key, vkey};
use crate::{Error, Verified, disk, verify};

/// Why something could not be read where it is copied from.
pub type Unread = Box<dyn std::error::Error + Send + Sync>;

/// Where a history is copied from: its files, or an agent that serves them.
pub trait Source {
    /// The signed checkpoint of now; what is read after that belongs to it, as far as it is still there.
    fn checkpoint(&mut self) -> Result<Vec<u8>, Unread>;
    /// An entry bundle by its path, in exactly this width; nothing where there is none.
    fn tile(&mut self, path: &str) -> Result<Option<Vec<u8>>, Unread>;
    /// A blob, or what is wrong with it there.
    fn blob(&mut self, blob: &Digest) -> Result<Result<Vec<u8>, String>, Unread>;
}

/// A history's own files: a volume, a snapshot of one, or a copy. An agent may be running on them.
pub struct Files {
    dir: PathBuf,
    key: Option<String>,
    still: Option<Still>,
}

impl Files {
    /// The history in `dir`. `public_key` as in [`copy`].
    pub fn of(dir: &Path, public_key: Option<&str>) -> Files {
        Files { dir: dir.into(), key: public_key.map(str::to_owned), still: None }
    }
}

impl Source for Files {
    fn checkpoint(&mut self) -> Result<Vec<u8>, Unread> {
        let ledger = self.dir.join("ledger");
        let verifier = self.key.as_deref().map_or_else(|| own_key(&ledger), vkey)?;
        let still = Still::find(&ledger, &verifier)?;
        Ok(self.still.insert(still).checkpoint().as_bytes().to_vec())
    }

    fn tile(&mut self, path: &str) -> Result<Option<Vec<u8>>, Unread> {
        let (Some(still), Some(tile)) = (&self.still, Tile::parse(path)) else { return Ok(None) };
        Ok(still.bundle(&tile)?)
    }

    fn blob(&mut self, blob: &Digest) -> Result<Result<Vec<u8>, String>, Unread> {
        Ok(Blobs::new(self.dir.join("blobs")).read(blob)?.map_err(str::to_owned))
    }
}

/// What a copy holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Copied {
    /// How many events.
    pub events: u64,
    /// How many of them were not in it before.
    pub new_events: u64,
    /// How many blobs.
    pub blobs: u64,
    /// How many of them were not in it before, or not whole.
    pub new_blobs: u64,
    /// The root of the tree, in base64 as in the checkpoint.
    pub root: String,
    /// The key that signed the checkpoint.
    pub key: String,
}

/// How often a copy begins again because the agent has moved on meanwhile.
const ATTEMPTS: u32 = 5;

/// Brings the copy in `to` up to what `source` has now. `public_key`: what has to have signed it, as `origin+id+key`; otherwise the
/// key that the copy itself names, or, where there is none yet, the one that the ledger names.
pub fn copy(source: &mut dyn Source, to: &Path, public_key: Option<&str>) -> Result<Copied, Error> {
    public_key.map(vkey).transpose()?;
    let mut changed = BTreeSet::new();
    disk::create_dir(to, &mut changed)?;
    changed.iter().try_for_each(|dir| disk::flush_dir(dir))?;
    let mut copy = Copy { dir: to, ledger: to.join("ledger"), blobs: Blobs::new(to.join("blobs")), new_events: 0, new_blobs: 0 };
    copy.refuse_a_volume()?;
    let _lock = crate::history::lock(to)?;
    let mut attempt = 1;
    loop {
        let note = copy.read(source, "ledger/checkpoint", |source| source.checkpoint())?;
        match copy.bring(source, &note, public_key) {
            // What it needed may be gone because it is no longer needed.
            Err(_) if attempt < ATTEMPTS && copy.read(source, "ledger/checkpoint", |source| source.checkpoint())? != note => {
                attempt += 1
            }
            result => return result,
        }
    }
}

struct Copy<'a> {
    dir: &'a Path,
    ledger: PathBuf,
    blobs: Blobs,
    /// What came in, by all attempts together.
    new_events: u64,
    new_blobs: u64,
}

impl Copy<'_> {
    fn error(&self, problem: impl Into<String>) -> Error {
        Error::Copy { dir: self.dir.into(), problem: problem.into() }
    }

    fn broken(&self, error: &Error) -> Error {
        self.error(format!("can't be gone on with: {}; move it away, and copy anew", tk8s_core::chain(error)))
    }

    fn read<T>(
        &self,
        source: &mut dyn Source,
        what: &str,
        read: impl FnOnce(&mut dyn Source) -> Result<T, Unread>,
    ) -> Result<T, Error> {
        read(source).map_err(|source| Error::Source { what: what.into(), source })
    }

    /// Only an agent writes to its volume.
    fn refuse_a_volume(&self) -> Result<(), Error> {
        let of_an_agent = ["ledger/journal", "view"].into_iter().find(|name| self.dir.join(name).exists());
        match of_an_agent {
            Some(name) => Err(self.error(format!(
                "is the volume of an agent, because it holds `{name}`: name a directory that is empty, or a copy"
            ))),
            None => Ok(()),
        }
    }

    fn bring(&mut self, source: &mut dyn Source, note: &[u8], public_key: Option<&str>) -> Result<Copied, Error> {
        let there = disk::read(&self.ledger.join("checkpoint"))?.is_some();
        let verifier = match public_key {
            Some(key) => vkey(key)?,
            None if there => own_key(&self.ledger).map_err(|error| self.broken(&error))?,
            None => self.key_of(source)?,
        };
        let checkpoint = std::str::from_utf8(note).ok().and_then(|note| Checkpoint::parse(verifier.open(note)?)).ok_or_else(|| {
            self.error(format!(
                "was not made: what is to be copied is not signed by `{verifier}`: find out whose history it is, or say which key has to \
                 have signed it"
            ))
        })?;
        let mut kept = Kept::of(&self.ledger);
        let (mut edge, mut bundle) = match there {
            true => self.own(&verifier, &mut kept)?,
            false => (Edge::default(), Pieces::default()),
        };
        let before = edge.size();
        // What a checkpoint of this copy named is on disk.
        let sure: BTreeSet<Digest> = kept.blobs.values().copied().collect();
        if checkpoint.size < before {
            return Err(self.error(format!(
                "has {before} events, and the history that is to be copied into it only {}: that one is older, or another one; find out \
                 what became of it, and copy into another directory",
                checkpoint.size
            )));
        }
        let mut dirs = BTreeSet::new();
        while edge.size() < checkpoint.size {
            let records = self.records(source, edge.size(), checkpoint.size)?;
            for (position, record) in (edge.size()..).zip(&records) {
                kept.hear(position, record)?;
            }
            let grown = Grown::from(&edge, &bundle, &records);
            self.write(&grown.files(), &mut dirs)?;
            (edge, bundle) = (grown.edge, grown.bundle);
        }
        if edge.root() != checkpoint.root {
            return Err(self.error(match before {
                0 => "was not made: the events do not agree with their signed checkpoint, so the history is damaged where it is copied from; \
                      `tk8s-agent history verify` says where"
                    .to_owned(),
                _ => format!(
                    "has {before} events, and the history that is to be copied into it does not go on from them: somebody replaced or \
                     rewrote one of the two; keep this copy, find out which, and copy into another directory"
                ),
            }));
        }
        let missing = self.bring_blobs(source, &kept.blobs, &sure, &mut dirs)?;
        dirs.iter().try_for_each(|dir| disk::flush_dir(dir))?;
        disk::replace(&self.ledger.join("checkpoint"), &self.ledger.join("checkpoint.new"), note)?;
        self.new_events += checkpoint.size - before;
        self.remove_outgrown(&checkpoint, &kept.blobs)?;
        if let Some(missing) = missing {
            return Err(missing);
        }
        let Verified { size: events, root, key, blobs, .. } = verify(self.dir, Some(&verifier.to_string()))?;
        Ok(Copied { events, new_events: self.new_events, blobs, new_blobs: self.new_blobs, root, key })
    }

    /// The key that a ledger names itself, in its first event.
    fn key_of(&self, source: &mut dyn Source) -> Result<Verifier, Error> {
        let record = self.records(source, 0, 1)?.remove(0);
        match Record::parse(0, &record).ok().and_then(|record| record.key()) {
            Some(key) => vkey(&key),
            None => Err(self.error("was not made: what is to be copied does not begin like a history of tk8s-agent")),
        }
    }

    /// What is in the copy already, proven.
    fn own(&self, verifier: &Verifier, kept: &mut Kept) -> Result<(Edge, Pieces), Error> {
        let still = Still::find(&self.ledger, verifier).map_err(|error| self.broken(&error))?;
        still.each(&mut |position, record| kept.hear(position, record))?;
        Ok(still.into_edge())
    }

    /// The events of one bundle from this position on, as far as they are signed.
    fn records(&self, source: &mut dyn Source, from: u64, until: u64) -> Result<Vec<Vec<u8>>, Error> {
        let index = from / TILE_WIDTH;
        let width = (until - index * TILE_WIDTH).min(TILE_WIDTH);
        let path = Tile { kind: Kind::Entries, index, width }.to_string();
        let bytes = self.read(source, &format!("ledger/{path}"), |source| source.tile(&path))?;
        let bytes = bytes.ok_or_else(|| Error::Gone { what: format!("ledger/{path}") })?;
        let (records, end) =
            tile::records(&bytes, width).map_err(|_| Error::Gone { what: format!("the end of ledger/{path}") })?;
        match end == bytes.len() {
            true => Ok(records.into_iter().skip((from % TILE_WIDTH) as usize).map(<[u8]>::to_vec).collect()),
            false => Err(self.error(format!("was not made: `ledger/{path}` has bytes after its last event"))),
        }
    }

    fn write(&self, files: &BTreeMap<Tile, Pieces>, dirs: &mut BTreeSet<PathBuf>) -> Result<(), Error> {
        // Events before their hashes: what holds events and no checkpoint is never taken for a new history.
        for (tile, pieces) in files.iter().rev() {
            let path = self.ledger.join(tile.to_string());
            if let Some(dir) = path.parent() {
                disk::create_dir(dir, dirs)?;
            }
            self.is_new(&path, dirs);
            disk::flush(&disk::write_pieces(&path, pieces.iter())?, &path)?;
        }
        Ok(())
    }

    /// Has the directories above a file flushed: that they are there may be the work of a copy that was interrupted.
    fn is_new(&self, file: &Path, dirs: &mut BTreeSet<PathBuf>) {
        dirs.extend(file.ancestors().skip(1).take_while(|dir| dir.starts_with(self.dir)).map(PathBuf::from));
    }

    /// Copies the blobs that are not there, or not whole. What can't be had keeps the others from nothing.
    fn bring_blobs(
        &mut self,
        source: &mut dyn Source,
        kept: &BTreeMap<ReleaseId, Digest>,
        sure: &BTreeSet<Digest>,
        dirs: &mut BTreeSet<PathBuf>,
    ) -> Result<Option<Error>, Error> {
        let mut missing = None;
        let mut done = BTreeSet::new();
        for (release, blob) in kept {
            if !done.insert(*blob) {
                continue;
            }
            if self.blobs.read(blob)?.is_ok() {
                if !sure.contains(blob) {
                    self.is_new(&self.blobs.path(blob), dirs);
                }
                continue;
            }
            let bytes = self.read(source, &format!("the blob {blob}"), |source| source.blob(blob))?;
            let whole =
                |bytes: Vec<u8>| if Digest::of(&bytes) == *blob { Ok(bytes) } else { Err("is damaged on the way".into()) };
            match bytes.and_then(whole) {
                Ok(bytes) => {
                    self.blobs.keep(blob, &bytes, dirs)?;
                    self.is_new(&self.blobs.path(blob), dirs);
                    self.new_blobs += 1;
                }
                Err(problem) => drop(missing.get_or_insert(Error::Blob { release: release.clone(), blob: *blob, problem })),
            }
        }
        Ok(missing)
    }

    /// Removes what only an earlier checkpoint needed.
    fn remove_outgrown(&self, checkpoint: &Checkpoint, kept: &BTreeMap<ReleaseId, Digest>) -> Result<(), Error> {
        for tile in ledger::tiles_on_disk(&self.ledger)?.into_iter().filter(|tile| !tile.belongs_to(checkpoint.size)) {
            disk::remove(&self.ledger.join(tile.to_string()))?;
        }
        let kept: BTreeSet<&Digest> = kept.values().collect();
        let (blobs, left) = self.blobs.list()?;
        blobs.iter().filter(|blob| !kept.contains(blob)).try_for_each(|blob| self.blobs.remove(blob))?;
        left.iter().try_for_each(|path| disk::remove(path))
    }
}
