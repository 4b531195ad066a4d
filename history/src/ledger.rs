//! The ledger: an append-only Merkle log, kept on disk exactly as c2sp.org/tlog-tiles serves it.
//!
//! An append is acknowledged once its records and its signed checkpoint are flushed to the [journal](crate::journal), and not
//! before. Tiles and bundles are written when they are full. The unfinished ones and the checkpoint are written when the ledger
//! is [published](Ledger::publish), so that whoever reads the files sees them, and all are flushed at once when the journal is
//! full or the ledger is closed: until then the power may fail and take them away, and the next opening writes them again from
//! the journal. What lies beyond the last signed checkpoint was never acknowledged and is dropped. What lies below it is
//! recomputed on opening; a single wrong bit refuses to be built upon. Knows nothing of what the records mean.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::path::{Path, PathBuf};

use ed25519_dalek::SigningKey;

use crate::Error;
use crate::disk;
use crate::envelope;
use crate::journal::{self, Frame, Journal};
use crate::merkle::{self, Edge, FullTile, Hash, TILE_WIDTH};
use crate::note::{Checkpoint, Verifier};
use crate::tile::{self, Kind, Pieces, Tile};

/// Takes a record and its position.
pub(crate) type Each<'a> = dyn FnMut(u64, &[u8]) -> Result<(), Error> + 'a;

/// The signed state of a ledger, in memory: what is needed to grow it.
#[derive(Debug, Default)]
struct State {
    edge: Edge,
    /// The records of the unfinished entry bundle.
    bundle: Pieces,
    root: Hash,
    checkpoint: String,
}

/// The one writer of a ledger.
#[derive(Debug)]
pub(crate) struct Ledger {
    dir: PathBuf,
    origin: String,
    key: SigningKey,
    state: State,
    /// Where appends are flushed; made by the first one that needs it.
    journal: Option<Journal>,
    /// What was written and not flushed, and is still wanted.
    unflushed: Unflushed,
    /// The tree whose files were written last, the unfinished ones too.
    published: Edge,
    /// The tree whose files were flushed last: what the journal goes on from.
    flushed: Edge,
    poisoned: bool,
}

#[derive(Debug, Default)]
struct Unflushed {
    files: BTreeMap<Tile, File>,
    dirs: BTreeSet<PathBuf>,
}

/// What a walk over a ledger's files found to agree with its checkpoint.
struct Proven {
    edge: Edge,
    bundle: Vec<u8>,
    root: Hash,
}

/// What a ledger's files and its journal prove together.
struct Found {
    proven: Proven,
    checkpoint: String,
    /// What the journal holds beyond what is proven by the files alone.
    tail: Vec<Vec<u8>>,
    /// The lowest position whose files may not be on disk. Nothing where the ledger was closed in order.
    unsure: Option<u64>,
}

/// How earlier versions called the checkpoint while it was flushed.
const FLUSHED: &str = "checkpoint.flushed";

fn checkpoint_path(dir: &Path) -> PathBuf {
    dir.join("checkpoint")
}

impl Ledger {
    /// Opens what is in `dir`, or an empty ledger. Recomputes everything below the checkpoint. Where the last one did not close
    /// it in order, what the journal holds is put into the files and flushed; else nothing on disk is changed.
    pub(crate) fn open(dir: &Path, origin: &str, key: SigningKey) -> Result<Ledger, Error> {
        let verifier = Verifier::of(origin, &key);
        let mut ledger = Ledger {
            dir: dir.into(),
            origin: origin.into(),
            key,
            state: State::default(),
            journal: None,
            unflushed: Unflushed::default(),
            published: Edge::default(),
            flushed: Edge::default(),
            poisoned: false,
        };
        let Some(found) = find(dir, &verifier)? else {
            ledger.refuse_lost_checkpoint()?;
            return Ok(ledger);
        };
        let Proven { edge, bundle, root } = found.proven;
        ledger.state = State { edge, bundle: bundle.into(), root, checkpoint: found.checkpoint };
        ledger.published = ledger.state.edge.clone();
        ledger.flushed = ledger.state.edge.clone();
        if let Some(unsure) = found.unsure {
            ledger.make_sure(unsure, &found.tail)?;
        }
        Ok(ledger)
    }

    /// Puts on disk what the journal was needed for, and ends the journal.
    fn make_sure(&mut self, unsure: u64, tail: &[Vec<u8>]) -> Result<(), Error> {
        for tile in tiles_on_disk(&self.dir)? {
            let height = match tile.kind {
                Kind::Entries => 8,
                Kind::Hashes(level) => 8 * (u32::from(level) + 1),
            };
            if self.holds(&tile) && (tile.index + 1).saturating_mul(1 << height) > unsure {
                let path = self.dir.join(tile.to_string());
                disk::flush(&disk::open(&path)?, &path)?;
                self.unflushed
                    .dirs
                    .extend(path.ancestors().skip(1).take_while(|dir| dir.starts_with(&self.dir)).map(PathBuf::from));
            }
        }
        // Never over a file that the journal needs: what the tail adds to has other names.
        if !tail.is_empty() {
            let (next, full) = self.grown(tail);
            self.write(&full)?;
            self.state = next;
        }
        self.flush()?;
        self.published = self.state.edge.clone();
        self.flushed = self.state.edge.clone();
        journal::remove(&self.dir)
    }

    /// The first append is one record. More than that without a checkpoint means that the checkpoint was lost.
    fn refuse_lost_checkpoint(&self) -> Result<(), Error> {
        let alone = Tile { kind: Kind::Entries, index: 0, width: 1 }.to_string();
        match tiles_on_disk(&self.dir)?.into_iter().find(|tile| tile.kind == Kind::Entries && tile.to_string() != alone) {
            None => Ok(()),
            Some(_) => Err(Error::Damaged {
                file: checkpoint_path(&self.dir),
                position: 0,
                problem: "is missing, although there are events".into(),
            }),
        }
    }

    /// Removes what an interrupted append left beyond the checkpoint, and what older checkpoints needed.
    pub(crate) fn drop_tail(&self) -> Result<(), Error> {
        for tile in tiles_on_disk(&self.dir)? {
            if !self.holds(&tile) {
                disk::remove(&self.dir.join(tile.to_string()))?;
            }
        }
        disk::remove(&self.dir.join(FLUSHED))?;
        disk::remove(&self.new_checkpoint())
    }

    /// Whether this file belongs to the signed tree, in exactly this width.
    fn holds(&self, tile: &Tile) -> bool {
        tile.belongs_to(self.size())
    }

    /// How many items of this kind the signed tree has.
    fn complete(&self, kind: Kind) -> u64 {
        kind.complete(self.size())
    }

    pub(crate) fn size(&self) -> u64 {
        self.state.edge.size()
    }

    pub(crate) fn root(&self) -> Hash {
        self.state.root
    }

    /// The signed note; empty before the first event.
    pub(crate) fn checkpoint(&self) -> &str {
        &self.state.checkpoint
    }

    /// Appends all records or none, and returns the position of the first.
    pub(crate) fn append(&mut self, records: &[Vec<u8>]) -> Result<u64, Error> {
        if self.poisoned {
            return Err(Error::Poisoned);
        }
        let first = self.size();
        let (next, full) = self.grown(records);
        let frame = Frame { first, checkpoint: next.checkpoint.clone(), records: records.to_vec() };
        let written = self.write(&full);
        let journaled = written.and_then(|()| self.journal(&frame)).inspect_err(|error| self.doubt(error))?;
        let old = std::mem::replace(&mut self.state, next);
        if !journaled && let Err(error) = self.settle() {
            self.poisoned |= matches!(error, Error::Sync { .. });
            self.state = old;
            return Err(error);
        }
        Ok(first)
    }

    /// Writes these records to the journal and flushes it. Where they don't fit, it is emptied first; where they can't, and
    /// for the first record of all, the answer is no.
    fn journal(&mut self, frame: &Frame) -> Result<bool, Error> {
        tk8s_core::crash::point("P13");
        if self.size() == 0 {
            return Ok(false);
        }
        let mut journal = match self.journal.take() {
            Some(journal) => journal,
            None => Journal::create(&self.dir)?,
        };
        let mut appended = journal.append(frame);
        self.journal = Some(journal);
        if matches!(appended, Ok(false)) {
            self.settle()?;
            appended = self.journal.as_mut().map_or(Ok(false), |journal| journal.append(frame));
        }
        appended
    }

    /// After a failed flush nothing is written any more: whether the bytes are on disk is unknown, and asking the system
    /// again would get a wrong yes.
    pub(crate) fn doubt(&mut self, error: &Error) {
        self.poisoned |= matches!(error, Error::Sync { .. });
    }

    /// The state after these records, and every file that is full by them. Pure.
    fn grown(&self, records: &[Vec<u8>]) -> (State, BTreeMap<Tile, Pieces>) {
        let Grown { edge, bundle, full } = Grown::from(&self.state.edge, &self.state.bundle, records);
        let root = edge.root();
        let checkpoint = Checkpoint { origin: self.origin.clone(), size: edge.size(), root }.sign(&self.key);
        (State { edge, bundle, root, checkpoint }, full)
    }

    /// Writes files of the tree, for [`Ledger::flush`] to flush.
    fn write(&mut self, files: &BTreeMap<Tile, Pieces>) -> Result<(), Error> {
        for (tile, pieces) in files {
            let path = self.dir.join(tile.to_string());
            if let Some(dir) = path.parent() {
                disk::create_dir(dir, &mut self.unflushed.dirs)?;
                self.unflushed.dirs.insert(dir.into());
            }
            self.unflushed.files.insert(*tile, disk::write_pieces(&path, pieces.iter())?);
        }
        Ok(())
    }

    /// Shows what was appended to whoever reads the files. It is in the journal, so it is not flushed.
    pub(crate) fn publish(&mut self) -> Result<(), Error> {
        if self.poisoned || self.published.size() == self.size() {
            return Ok(());
        }
        self.write_unfinished()?;
        disk::write(&self.new_checkpoint(), self.state.checkpoint.as_bytes())?;
        disk::rename(&self.new_checkpoint(), &checkpoint_path(&self.dir))?;
        let before = std::mem::replace(&mut self.published, self.state.edge.clone());
        self.remove_outgrown(&before);
        Ok(())
    }

    /// Writes the unfinished tiles and bundle, but for those that are there: the journal may need them as they are.
    fn write_unfinished(&mut self) -> Result<(), Error> {
        let there: BTreeSet<Tile> = partial(&self.published).chain(partial(&self.flushed)).collect();
        let mut files = unfinished(&self.state.edge, &self.state.bundle);
        files.retain(|tile, _| !there.contains(tile));
        self.write(&files)
    }

    fn new_checkpoint(&self) -> PathBuf {
        self.dir.join("checkpoint.new")
    }

    /// Flushes the files of the tree, then their directories, then the checkpoint.
    fn flush(&mut self) -> Result<(), Error> {
        if self.published.size() != self.size() {
            self.write_unfinished()?;
        }
        for (tile, file) in &self.unflushed.files {
            disk::flush(file, &self.dir.join(tile.to_string()))?;
        }
        for dir in &self.unflushed.dirs {
            disk::flush_dir(dir)?;
        }
        self.unflushed = Unflushed::default();
        disk::replace(&checkpoint_path(&self.dir), &self.new_checkpoint(), self.state.checkpoint.as_bytes())
    }

    /// Makes the journal unnecessary, and empties it.
    fn settle(&mut self) -> Result<(), Error> {
        self.flush()?;
        if let Some(journal) = &mut self.journal {
            journal.restart()?;
        }
        let published = std::mem::replace(&mut self.published, self.state.edge.clone());
        let flushed = std::mem::replace(&mut self.flushed, self.state.edge.clone());
        self.remove_outgrown(&published);
        self.remove_outgrown(&flushed);
        Ok(())
    }

    /// Removes the partial tiles that this earlier tree needed and neither the published one needs nor the one that the journal
    /// goes on from. What is left behind is removed on opening.
    fn remove_outgrown(&mut self, earlier: &Edge) {
        let kept: BTreeSet<Tile> = partial(&self.published).chain(partial(&self.flushed)).collect();
        for tile in partial(earlier).filter(|tile| !kept.contains(tile)) {
            self.unflushed.files.remove(&tile);
            let _ = disk::remove(&self.dir.join(tile.to_string()));
        }
    }

    /// The bytes of a tile, of any width that the signed tree has.
    pub(crate) fn tile(&self, wanted: &Tile) -> Result<Option<Vec<u8>>, Error> {
        let complete = self.complete(wanted.kind);
        let available = complete.saturating_sub(wanted.index.saturating_mul(TILE_WIDTH)).min(TILE_WIDTH);
        if wanted.width > available {
            return Ok(None);
        }
        let stored = Tile { width: available, ..*wanted };
        let bytes = match available {
            TILE_WIDTH => disk::read(&self.dir.join(stored.to_string()))?,
            // Whoever grows the ledger has it in memory.
            _ => unfinished_of(wanted.kind, &self.state.edge, &self.state.bundle).map(|pieces| pieces.concat()),
        };
        let Some(mut bytes) = bytes else { return Ok(None) };
        let end = match wanted.kind {
            Kind::Hashes(_) => Some(wanted.width as usize * 32),
            Kind::Entries => tile::records(&bytes, wanted.width).ok().map(|(_, end)| end),
        };
        Ok(end.filter(|end| *end <= bytes.len()).map(|end| {
            bytes.truncate(end);
            bytes
        }))
    }

    /// The record at this position, proven to be part of the signed tree.
    pub(crate) fn proven_record(&self, position: u64) -> Result<Vec<u8>, Error> {
        let damaged = |kind, problem: &str| {
            let (index, width) = (position / TILE_WIDTH, (self.size() - position / TILE_WIDTH * TILE_WIDTH).min(TILE_WIDTH));
            Error::Damaged { file: self.dir.join(Tile { kind, index, width }.to_string()), position, problem: problem.into() }
        };
        if position >= self.size() {
            return Err(Error::Damaged { file: checkpoint_path(&self.dir), position, problem: "does not reach that far".into() });
        }
        let within = position % TILE_WIDTH;
        let wanted = Tile { kind: Kind::Entries, index: position / TILE_WIDTH, width: within + 1 };
        let bundle = self.tile(&wanted)?.ok_or_else(|| damaged(Kind::Entries, "is missing or cut off"))?;
        let record = match tile::records(&bundle, within + 1) {
            Ok((records, _)) => records[within as usize].to_vec(),
            Err(_) => return Err(damaged(Kind::Entries, "is cut off")),
        };
        let proof = merkle::inclusion_proof(position, self.size(), &mut self.nodes())?;
        if merkle::includes(&self.state.root, self.size(), position, &merkle::leaf_hash(&record), &proof) {
            Ok(record)
        } else {
            Err(damaged(Kind::Entries, "does not agree with the signed checkpoint"))
        }
    }

    /// A note of this ledger's, with a text that is no checkpoint.
    pub(crate) fn sign(&self, text: &str) -> String {
        Verifier::of(&self.origin, &self.key).sign(&self.key, text)
    }

    /// A statement for others.
    pub(crate) fn seal(&self, kind: &str, payload: &[u8]) -> String {
        envelope::seal(&Verifier::of(&self.origin, &self.key), &self.key, kind, payload)
    }

    /// The root that the ledger had at an earlier size.
    pub(crate) fn root_at(&self, size: u64) -> Result<Hash, Error> {
        if size == self.size() { Ok(self.state.root) } else { merkle::range_root(0, size, &mut self.nodes()) }
    }

    /// Reads nodes of the tree from the tiles, each tile once.
    fn nodes(&self) -> impl FnMut(u32, u64) -> Result<Hash, Error> + '_ {
        let mut read: BTreeMap<(u8, u64), Vec<u8>> = BTreeMap::new();
        move |level, index| {
            let (tile_level, height) = ((level / 8) as u8, level % 8);
            let first = index << height;
            let tile_index = first / TILE_WIDTH;
            let kind = Kind::Hashes(tile_level);
            let width = self.complete(kind).saturating_sub(tile_index * TILE_WIDTH).min(TILE_WIDTH);
            let tile = Tile { kind, index: tile_index, width };
            let damaged = || Error::Damaged {
                file: self.dir.join(tile.to_string()),
                position: first << (8 * u32::from(tile_level)),
                problem: "is missing or cut off".into(),
            };
            let bytes = match read.entry((tile_level, tile_index)) {
                std::collections::btree_map::Entry::Occupied(entry) => entry.into_mut(),
                std::collections::btree_map::Entry::Vacant(entry) => entry.insert(self.tile(&tile)?.ok_or_else(damaged)?),
            };
            let start = (first % TILE_WIDTH) as usize * 32;
            let row = bytes.get(start..start + (32 << height)).ok_or_else(damaged)?;
            let row: Vec<Hash> = row.chunks_exact(32).map(|hash| hash.try_into().expect("because chunks are of 32")).collect();
            Ok(merkle::row_root(&row))
        }
    }

    /// Hands every record from `from` on to `each`, straight from the bundles.
    pub(crate) fn each_from(&self, from: u64, each: &mut Each<'_>) -> Result<(), Error> {
        self.each_between(from, self.size(), each)
    }

    /// Hands every record from `from` on and before `until` on to `each`.
    pub(crate) fn each_between(&self, from: u64, until: u64, each: &mut Each<'_>) -> Result<(), Error> {
        let mut position = from;
        while position < until.min(self.size()) {
            let index = position / TILE_WIDTH;
            let width = (self.size() - index * TILE_WIDTH).min(TILE_WIDTH);
            let tile = Tile { kind: Kind::Entries, index, width };
            let bundle = self.tile(&tile)?.ok_or_else(|| self.damaged_bundle(&tile, position))?;
            let (records, _) = tile::records(&bundle, width).map_err(|_| self.damaged_bundle(&tile, position))?;
            let wanted = usize::try_from(until - position).unwrap_or(usize::MAX);
            for record in records[(position % TILE_WIDTH) as usize..].iter().take(wanted) {
                each(position, record)?;
                position += 1;
            }
        }
        Ok(())
    }

    fn damaged_bundle(&self, tile: &Tile, position: u64) -> Error {
        Error::Damaged { file: self.dir.join(tile.to_string()), position, problem: "is missing or cut off".into() }
    }
}

/// What closing in order does: flush everything, so that the next opening finds no journal.
impl Drop for Ledger {
    fn drop(&mut self) {
        if self.poisoned || self.journal.is_none() {
            return;
        }
        let closed = self.settle().and_then(|()| journal::remove(&self.dir));
        if let Err(error) = closed {
            tracing::warn!(error = %tk8s_core::chain(&error), "could not close the ledger; the next start reads its journal");
        }
    }
}

/// A tree after some records more: its edge, its unfinished bundle, and every file that is full by them.
pub(crate) struct Grown {
    pub(crate) edge: Edge,
    pub(crate) bundle: Pieces,
    pub(crate) full: BTreeMap<Tile, Pieces>,
}

impl Grown {
    /// Pure.
    pub(crate) fn from(edge: &Edge, bundle: &Pieces, records: &[Vec<u8>]) -> Grown {
        let (mut edge, mut bundle, mut grown) = (edge.clone(), bundle.clone(), Vec::new());
        let mut files = BTreeMap::new();
        for record in records {
            tile::push_record(&mut grown, record);
            let mut full = Vec::new();
            edge.push(merkle::leaf_hash(record), &mut full);
            for FullTile { level, index, hashes } in full {
                if level == 0 {
                    bundle.push(std::mem::take(&mut grown));
                    files.insert(Tile::full(Kind::Entries, index), std::mem::take(&mut bundle));
                }
                files.insert(Tile::full(Kind::Hashes(level), index), hashes.concat().into());
            }
        }
        bundle.push(grown);
        Grown { edge, bundle, full: files }
    }

    /// Every file that it takes to state it, beside those that there were before.
    pub(crate) fn files(&self) -> BTreeMap<Tile, Pieces> {
        // A level grows by a tile that becomes full below it.
        let grew = |tile: &Tile| match tile.kind {
            Kind::Entries | Kind::Hashes(0) => true,
            Kind::Hashes(level) => self.full.keys().any(|full| full.kind == Kind::Hashes(level - 1)),
        };
        let mut files = unfinished(&self.edge, &self.bundle);
        files.retain(|tile, _| grew(tile));
        files.extend(self.full.clone());
        files
    }
}

/// The files of what is unfinished of a tree.
fn unfinished(edge: &Edge, bundle: &Pieces) -> BTreeMap<Tile, Pieces> {
    partial(edge).filter_map(|tile| Some((tile, unfinished_of(tile.kind, edge, bundle)?))).collect()
}

/// The unfinished tile or bundle of this kind.
fn unfinished_of(kind: Kind, edge: &Edge, bundle: &Pieces) -> Option<Pieces> {
    match kind {
        Kind::Entries => Some(bundle.clone()),
        Kind::Hashes(level) => edge.rows().get(usize::from(level)).map(|row| row.concat().into()),
    }
}

/// The unfinished tiles of a tree, and its unfinished entry bundle.
fn partial(edge: &Edge) -> impl Iterator<Item = Tile> {
    let tiles = edge.rows().iter().zip(0u8..).filter(|(row, _)| !row.is_empty()).flat_map(|(row, level)| {
        let (index, width) = (edge.size() >> (8 * (u32::from(level) + 1)), row.len() as u64);
        let kinds = [Some(Kind::Hashes(level)), (level == 0).then_some(Kind::Entries)];
        kinds.into_iter().flatten().map(move |kind| Tile { kind, index, width })
    });
    tiles.collect::<Vec<_>>().into_iter()
}

/// Proves what is in `dir`: by its files alone or, where they are behind or were not all on disk when the power failed, with
/// what the journal holds. Nothing where there is neither.
fn find(dir: &Path, verifier: &Verifier) -> Result<Option<Found>, Error> {
    let left = journal::read(dir)?;
    let range = left.as_ref().and_then(|left| left.range);
    let frames = left.as_ref().map_or(&[][..], |left| &left.frames);
    let last = frames.last().and_then(|last| Some((last, Checkpoint::parse(verifier.open(&last.checkpoint)?)?)));
    let journaled = last.as_ref().map_or(0, |(_, checkpoint)| checkpoint.size);
    let unsure = left.as_ref().map(|_| range.map_or(u64::MAX, |(lowest, _)| lowest));
    let found = match (find_in_files(dir, verifier, journaled, unsure), last) {
        (Ok(Some(found)), _) => found,
        (_, Some((last, checkpoint))) => {
            let first = frames[0].first;
            let (proven, walk) = walk(dir, first)?;
            let tail: Vec<Vec<u8>> = frames.iter().flat_map(|frame| frame.records.iter().cloned()).collect();
            let mut edge = proven.edge.clone();
            tail.iter().for_each(|record| edge.push(merkle::leaf_hash(record), &mut Vec::new()));
            let agrees = edge.root() == checkpoint.root && edge.size() == checkpoint.size;
            walk.judge(&checkpoint, agrees, &journal::path_in(dir))?;
            Found { proven, checkpoint: last.checkpoint.clone(), tail, unsure: Some(first) }
        }
        (nothing, None) => return nothing,
    };
    let reached = found.proven.edge.size() + found.tail.len() as u64;
    match range {
        // Acknowledged, and not to be reached: something before it is damaged.
        Some((_, greatest)) if greatest > reached => Err(Error::Damaged {
            file: journal::path_in(dir),
            position: reached,
            problem: "is damaged there, and holds later events".into(),
        }),
        _ => Ok(Some(found)),
    }
}

/// What the checkpoint and the files of the tree prove. Nothing where the checkpoint is missing, or does not reach so far.
fn find_in_files(dir: &Path, verifier: &Verifier, least: u64, unsure: Option<u64>) -> Result<Option<Found>, Error> {
    let Some(note) = disk::read(&checkpoint_path(dir))? else { return Ok(None) };
    let (note, checkpoint) = read_checkpoint(dir, note, verifier)?;
    if checkpoint.size < least {
        return Ok(None);
    }
    let (proven, walk) = walk(dir, checkpoint.size)?;
    walk.judge(&checkpoint, proven.root == checkpoint.root, &checkpoint_path(dir))?;
    Ok(Some(Found { proven, checkpoint: note, tail: Vec::new(), unsure }))
}

/// The checkpoint in `dir`, if `verifier` signed it.
fn read_checkpoint(dir: &Path, note: Vec<u8>, verifier: &Verifier) -> Result<(String, Checkpoint), Error> {
    let file = checkpoint_path(dir);
    let damaged = |problem: &str| Error::Damaged { file: file.clone(), position: 0, problem: problem.into() };
    let note = String::from_utf8(note).map_err(|_| damaged("is not a signed checkpoint"))?;
    let Some(text) = verifier.open(&note) else {
        let origin = note.lines().next().unwrap_or_default();
        return Err(Error::Foreign {
            file,
            problem: format!(
                "is of `{}` and not signed by this identity as `{}`: check the identity key, instance and cluster, or whether the file is damaged",
                tk8s_core::printable(origin, 80),
                verifier.name()
            ),
        });
    };
    let checkpoint = Checkpoint::parse(text).ok_or_else(|| damaged("is signed, but is not a checkpoint"))?;
    Ok((note, checkpoint))
}

/// Recomputes the tree up to this size from the bundles, and compares every tile.
fn walk(dir: &Path, size: u64) -> Result<(Proven, Walk<'_>), Error> {
    let mut walk = Walk { dir, size, differs: None };
    let (mut edge, mut bundle) = (Edge::default(), Vec::new());
    while edge.size() < size {
        let position = edge.size();
        let width = (size - position).min(TILE_WIDTH);
        let tile = Tile { kind: Kind::Entries, index: position / TILE_WIDTH, width };
        let damaged =
            |position, problem: &str| Error::Damaged { file: dir.join(tile.to_string()), position, problem: problem.into() };
        bundle = disk::read(&dir.join(tile.to_string()))?.ok_or_else(|| damaged(position, "is missing"))?;
        let (records, end) = tile::records(&bundle, width).map_err(|number| damaged(position + number, "is cut off"))?;
        if end != bundle.len() {
            return Err(damaged(position + width, "has bytes after its last event"));
        }
        for record in &records {
            let mut full = Vec::new();
            edge.push(merkle::leaf_hash(record), &mut full);
            for FullTile { level, index, hashes } in full {
                walk.compare(&Tile::full(Kind::Hashes(level), index), &hashes)?;
            }
        }
    }
    for (level, row) in edge.rows().iter().enumerate().filter(|(_, row)| !row.is_empty()) {
        let index = edge.size() >> (8 * (level as u32 + 1));
        walk.compare(&Tile { kind: Kind::Hashes(level as u8), index, width: row.len() as u64 }, row)?;
    }
    if size.is_multiple_of(TILE_WIDTH) {
        bundle.clear();
    }
    let root = edge.root();
    Ok((Proven { edge, bundle, root }, walk))
}

/// Hands out the records of a ledger that was proven.
fn replay(dir: &Path, size: u64, each: &mut Each<'_>) -> Result<(), Error> {
    let mut position = 0;
    while position < size {
        let width = (size - position).min(TILE_WIDTH);
        let tile = Tile { kind: Kind::Entries, index: position / TILE_WIDTH, width };
        let damaged =
            || Error::Damaged { file: dir.join(tile.to_string()), position, problem: "changed while it was read".into() };
        let bundle = disk::read(&dir.join(tile.to_string()))?.ok_or_else(damaged)?;
        for record in tile::records(&bundle, width).map_err(|_| damaged())?.0 {
            each(position, record)?;
            position += 1;
        }
    }
    Ok(())
}

struct Walk<'a> {
    dir: &'a Path,
    size: u64,
    /// The first tile that differs from what the bundles give, and the first event under the difference.
    differs: Option<(Tile, u64)>,
}

impl Walk<'_> {
    fn compare(&mut self, tile: &Tile, hashes: &[Hash]) -> Result<(), Error> {
        let stored = disk::read(&self.dir.join(tile.to_string()))?.unwrap_or_default();
        let Kind::Hashes(level) = tile.kind else { return Ok(()) };
        if self.differs.is_none() && stored != hashes.concat() {
            let wrong = hashes.iter().enumerate().position(|(at, hash)| stored.get(at * 32..at * 32 + 32) != Some(hash));
            let item = tile.index * TILE_WIDTH + wrong.unwrap_or(hashes.len()) as u64;
            self.differs = Some((*tile, item << (8 * u32::from(level))));
        }
        Ok(())
    }

    /// Whose fault a difference is: the root is signed, so whoever disagrees with it is wrong. `stated` is what
    /// is wrong where no tile is.
    fn judge(&self, checkpoint: &Checkpoint, agrees: bool, stated: &Path) -> Result<(), Error> {
        let file = |tile: &Tile| self.dir.join(tile.to_string());
        match (&self.differs, agrees) {
            (None, true) => Ok(()),
            (None, false) => Err(Error::Damaged {
                file: stated.into(),
                position: checkpoint.size,
                problem: "does not agree with the events".into(),
            }),
            (Some((tile, position)), true) => {
                Err(Error::Damaged { file: file(tile), position: *position, problem: "does not agree with the events".into() })
            }
            (Some((tile, position)), false) => {
                let width = (self.size - position / TILE_WIDTH * TILE_WIDTH).min(TILE_WIDTH);
                let bundle = Tile { kind: Kind::Entries, index: position / TILE_WIDTH, width };
                let bundle = if tile.kind == Kind::Hashes(0) { bundle } else { *tile };
                Err(Error::Damaged {
                    file: file(&bundle),
                    position: *position,
                    problem: "does not agree with the signed checkpoint".into(),
                })
            }
        }
    }
}

/// Every tile and entry bundle under `dir/tile`, whatever it holds.
pub(crate) fn tiles_on_disk(dir: &Path) -> Result<Vec<Tile>, Error> {
    fn walk(dir: &Path, path: &str, depth: u32, found: &mut Vec<Tile>) -> Result<(), Error> {
        for name in disk::list(&dir.join(path))? {
            let path = format!("{path}/{name}");
            match Tile::parse(&path) {
                Some(tile) if dir.join(&path).is_file() => found.push(tile),
                _ if depth < 10 => walk(dir, &path, depth + 1, found)?,
                _ => {}
            }
        }
        Ok(())
    }
    let mut found = Vec::new();
    walk(dir, "tile", 0, &mut found)?;
    Ok(found)
}

/// Proves the ledger in `dir` with nothing but a public key, and hands each record to `each`.
pub(crate) fn verify(dir: &Path, vkey: &Verifier, each: &mut Each<'_>) -> Result<(u64, Hash), Error> {
    let still = Still::find(dir, vkey)?;
    // Only now are the records known to be the signed ones.
    still.each(each)?;
    let (edge, _) = still.into_edge();
    Ok((edge.size(), edge.root()))
}

/// A ledger of which nothing is open, as its files and its journal prove it.
pub(crate) struct Still {
    dir: PathBuf,
    found: Found,
}

impl Still {
    /// Proves the ledger in `dir` with nothing but a public key. Changes nothing.
    pub(crate) fn find(dir: &Path, vkey: &Verifier) -> Result<Still, Error> {
        let missing = || Error::Damaged { file: checkpoint_path(dir), position: 0, problem: "is missing".into() };
        Ok(Still { dir: dir.into(), found: find(dir, vkey)?.ok_or_else(missing)? })
    }

    pub(crate) fn checkpoint(&self) -> &str {
        &self.found.checkpoint
    }

    /// Hands each record to `each`.
    pub(crate) fn each(&self, each: &mut Each<'_>) -> Result<(), Error> {
        let size = self.found.proven.edge.size();
        replay(&self.dir, size, each)?;
        (size..).zip(&self.found.tail).try_for_each(|(position, record)| each(position, record))
    }

    /// An entry bundle of any width that the tree has; nothing where it has none, or where it is gone since.
    pub(crate) fn bundle(&self, wanted: &Tile) -> Result<Option<Vec<u8>>, Error> {
        let (first, in_files) = (wanted.index.saturating_mul(TILE_WIDTH), self.found.proven.edge.size());
        let all = in_files + self.found.tail.len() as u64;
        if wanted.kind != Kind::Entries || first.saturating_add(wanted.width) > all {
            return Ok(None);
        }
        let mut bundle = Vec::new();
        let stored = in_files.saturating_sub(first).min(TILE_WIDTH);
        if stored > 0 {
            let tile = Tile { width: stored, ..*wanted };
            let Some(bytes) = disk::read(&self.dir.join(tile.to_string()))? else { return Ok(None) };
            let Ok((_, end)) = tile::records(&bytes, stored.min(wanted.width)) else { return Ok(None) };
            bundle = bytes[..end].to_vec();
        }
        // Of what is not in files, those that belong into this bundle.
        let in_tail = |position: u64| self.found.tail.get(usize::try_from(position.checked_sub(in_files)?).ok()?);
        (first + stored..first + wanted.width).filter_map(in_tail).for_each(|record| tile::push_record(&mut bundle, record));
        Ok(Some(bundle))
    }

    /// What is needed to grow it: its edge, and the records of its unfinished bundle.
    pub(crate) fn into_edge(self) -> (Edge, Pieces) {
        let Proven { edge, bundle, .. } = self.found.proven;
        let Grown { edge, bundle, .. } = Grown::from(&edge, &bundle.into(), &self.found.tail);
        (edge, bundle)
    }
}

/// The first record of a ledger, unproven: it names the key that the ledger claims to be signed with.
pub(crate) fn first_record(dir: &Path) -> Result<Option<Vec<u8>>, Error> {
    for tile in tiles_on_disk(dir)?.into_iter().filter(|tile| tile.kind == Kind::Entries && tile.index == 0) {
        let bundle = disk::read(&dir.join(tile.to_string()))?.unwrap_or_default();
        if let Ok((records, _)) = tile::records(&bundle, 1) {
            return Ok(Some(records[0].to_vec()));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ledger_of_three_levels_of_tiles_opens_proves_and_grows() {
        let dir = tempfile::tempdir().unwrap();
        let open = || Ledger::open(dir.path(), "tk8s.io/test", SigningKey::from_bytes(&[1; 32])).unwrap();
        let records = |from: u64, to: u64| -> Vec<Vec<u8>> { (from..to).map(|number| number.to_string().into_bytes()).collect() };
        let mut ledger = open();
        let mut roots = Vec::new();
        for (from, to) in [(0, 1), (1, 256), (256, 257), (257, 65_535), (65_535, 65_536), (65_536, 66_000)] {
            assert_eq!(ledger.append(&records(from, to)).unwrap(), from);
            roots.push((to, ledger.root()));
        }
        drop(ledger);
        let mut ledger = open();
        ledger.drop_tail().unwrap();
        for (size, root) in roots {
            assert_eq!(ledger.root_at(size).unwrap(), root, "{size}");
        }
        for position in [0, 1, 255, 256, 65_535, 65_536, 65_999] {
            assert_eq!(ledger.proven_record(position).unwrap(), position.to_string().into_bytes());
        }
        assert!(ledger.proven_record(66_000).is_err());
        assert_eq!(ledger.append(&records(66_000, 66_001)).unwrap(), 66_000);
        let (size, root) = (ledger.size(), ledger.root());
        drop(ledger);
        let ledger = open();
        assert_eq!((ledger.size(), ledger.root()), (size, root));
        let tiles = tiles_on_disk(dir.path()).unwrap();
        let count = |kind| tiles.iter().filter(|tile| tile.kind == kind).count();
        let levels = [Kind::Entries, Kind::Hashes(0), Kind::Hashes(1), Kind::Hashes(2)].map(count);
        assert_eq!(levels, [258, 258, 2, 1]);
    }
}
