//! The ledger: an append-only Merkle log, kept on disk exactly as c2sp.org/tlog-tiles serves it.
//!
//! An append is acknowledged once its signed checkpoint is on disk, and not before: entry bundle, tiles, their flush, then
//! the checkpoint. What lies beyond the checkpoint was never acknowledged and is dropped. What lies below it is recomputed
//! on opening; a single wrong bit refuses to be built upon. Knows nothing of what the records mean.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::path::{Path, PathBuf};

use ed25519_dalek::SigningKey;

use crate::Error;
use crate::disk;
use crate::merkle::{self, Edge, FullTile, Hash, TILE_WIDTH};
use crate::note::{Checkpoint, Verifier};
use crate::tile::{self, Kind, Tile};

/// Takes a record and its position.
pub(crate) type Each<'a> = dyn FnMut(u64, &[u8]) -> Result<(), Error> + 'a;

/// The signed state of a ledger, in memory: what is needed to grow it.
#[derive(Debug, Default)]
struct State {
    edge: Edge,
    /// The records of the unfinished entry bundle.
    bundle: Vec<u8>,
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
    poisoned: bool,
}

/// What a walk over a ledger's files found to agree with its checkpoint.
struct Proven {
    edge: Edge,
    bundle: Vec<u8>,
    root: Hash,
}

fn checkpoint_path(dir: &Path) -> PathBuf {
    dir.join("checkpoint")
}

impl Ledger {
    /// Opens what is in `dir`, or an empty ledger. Recomputes everything below the checkpoint, and changes nothing on disk.
    pub(crate) fn open(dir: &Path, origin: &str, key: SigningKey) -> Result<Ledger, Error> {
        let verifier = Verifier::of(origin, &key);
        let mut ledger = Ledger { dir: dir.into(), origin: origin.into(), key, state: State::default(), poisoned: false };
        match disk::read(&checkpoint_path(dir))? {
            None => ledger.refuse_lost_checkpoint()?,
            Some(note) => {
                let (note, checkpoint) = read_checkpoint(dir, note, &verifier)?;
                let Proven { edge, bundle, root } = prove(dir, &checkpoint)?;
                ledger.state = State { edge, bundle, root, checkpoint: note };
            }
        }
        Ok(ledger)
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
            let complete = self.complete(tile.kind);
            let partial = (tile.index, tile.width) == (complete / TILE_WIDTH, complete % TILE_WIDTH);
            let full = tile.width == TILE_WIDTH && tile.index < complete / TILE_WIDTH;
            if !full && !partial {
                disk::remove(&self.dir.join(tile.to_string()))?;
            }
        }
        disk::remove(&self.dir.join("checkpoint.new"))
    }

    /// How many items of this kind the signed tree has.
    fn complete(&self, kind: Kind) -> u64 {
        match kind {
            Kind::Entries => self.size(),
            Kind::Hashes(level) => self.size() >> (8 * u32::from(level)),
        }
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
        let (next, files) = self.grown(records);
        let written = self.write(&next, &files);
        if let Err(error) = written {
            self.doubt(&error);
            return Err(error);
        }
        let old = std::mem::replace(&mut self.state, next);
        self.remove_outgrown(&old.edge);
        Ok(first)
    }

    /// After a failed flush nothing is written any more: whether the bytes are on disk is unknown, and asking the system
    /// again would get a wrong yes.
    pub(crate) fn doubt(&mut self, error: &Error) {
        self.poisoned |= matches!(error, Error::Sync { .. });
    }

    /// The state after these records, and every file that states it. Pure.
    fn grown(&self, records: &[Vec<u8>]) -> (State, BTreeMap<Tile, Vec<u8>>) {
        let State { mut edge, mut bundle, .. } =
            State { edge: self.state.edge.clone(), bundle: self.state.bundle.clone(), ..State::default() };
        let mut files = BTreeMap::new();
        let mut highest = 0;
        for record in records {
            tile::push_record(&mut bundle, record);
            let mut full = Vec::new();
            edge.push(merkle::leaf_hash(record), &mut full);
            for FullTile { level, index, hashes } in full {
                if level == 0 {
                    files.insert(Tile::full(Kind::Entries, index), std::mem::take(&mut bundle));
                }
                files.insert(Tile::full(Kind::Hashes(level), index), hashes.concat());
                highest = highest.max(usize::from(level) + 1);
            }
        }
        for (level, row) in edge.rows().iter().enumerate().take(highest + 1).filter(|(_, row)| !row.is_empty()) {
            let (level, width) =
                (u8::try_from(level).expect("because a tree has fewer than 8 levels of tiles"), row.len() as u64);
            let index = edge.size() >> (8 * (u32::from(level) + 1));
            files.insert(Tile { kind: Kind::Hashes(level), index, width }, row.concat());
            if level == 0 {
                files.insert(Tile { kind: Kind::Entries, index, width }, bundle.clone());
            }
        }
        let root = edge.root();
        let checkpoint = Checkpoint { origin: self.origin.clone(), size: edge.size(), root }.sign(&self.key);
        (State { edge, bundle, root, checkpoint }, files)
    }

    /// Files, flush, directories, flush, then the checkpoint.
    fn write(&self, next: &State, files: &BTreeMap<Tile, Vec<u8>>) -> Result<(), Error> {
        let mut changed = BTreeSet::new();
        let mut written: Vec<(File, PathBuf)> = Vec::new();
        for (tile, bytes) in files {
            let path = self.dir.join(tile.to_string());
            if let Some(dir) = path.parent() {
                disk::create_dir(dir, &mut changed)?;
                changed.insert(dir.into());
            }
            written.push((disk::write(&path, bytes)?, path));
        }
        for (file, path) in &written {
            disk::flush(file, path)?;
        }
        for dir in &changed {
            disk::flush_dir(dir)?;
        }
        tk8s_core::crash::point("P13");
        disk::replace(&checkpoint_path(&self.dir), &self.dir.join("checkpoint.new"), next.checkpoint.as_bytes())
    }

    /// Removes the partial tiles that the last checkpoint needed. What is left behind is removed on opening.
    fn remove_outgrown(&self, old: &Edge) {
        for (level, row) in old.rows().iter().enumerate().filter(|(_, row)| !row.is_empty()) {
            let (index, width) = (old.size() >> (8 * (level as u32 + 1)), row.len() as u64);
            let same = self.state.edge.rows().get(level).is_some_and(|now| now.len() == row.len());
            if same && self.state.edge.size() >> (8 * (level as u32 + 1)) == index {
                continue;
            }
            let kinds = [Some(Kind::Hashes(level as u8)), (level == 0).then_some(Kind::Entries)];
            for kind in kinds.into_iter().flatten() {
                let _ = disk::remove(&self.dir.join(Tile { kind, index, width }.to_string()));
            }
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
        let Some(mut bytes) = disk::read(&self.dir.join(stored.to_string()))? else { return Ok(None) };
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
        let mut position = from;
        while position < self.size() {
            let index = position / TILE_WIDTH;
            let width = (self.size() - index * TILE_WIDTH).min(TILE_WIDTH);
            let tile = Tile { kind: Kind::Entries, index, width };
            let bundle = self.tile(&tile)?.ok_or_else(|| self.damaged_bundle(&tile, position))?;
            let (records, _) = tile::records(&bundle, width).map_err(|_| self.damaged_bundle(&tile, position))?;
            for record in &records[(position % TILE_WIDTH) as usize..] {
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

/// Recomputes the tree from the bundles and compares every tile and the root.
fn prove(dir: &Path, checkpoint: &Checkpoint) -> Result<Proven, Error> {
    let mut walk = Walk { dir, edge: Edge::default(), differs: None };
    let mut bundle = Vec::new();
    while walk.edge.size() < checkpoint.size {
        let position = walk.edge.size();
        let width = (checkpoint.size - position).min(TILE_WIDTH);
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
            walk.edge.push(merkle::leaf_hash(record), &mut full);
            for FullTile { level, index, hashes } in full {
                walk.compare(&Tile::full(Kind::Hashes(level), index), &hashes)?;
            }
        }
    }
    for (level, row) in walk.edge.rows().to_vec().iter().enumerate().filter(|(_, row)| !row.is_empty()) {
        let index = walk.edge.size() >> (8 * (level as u32 + 1));
        walk.compare(&Tile { kind: Kind::Hashes(level as u8), index, width: row.len() as u64 }, row)?;
    }
    let root = walk.edge.root();
    walk.judge(checkpoint, &root)?;
    if checkpoint.size.is_multiple_of(TILE_WIDTH) {
        bundle.clear();
    }
    Ok(Proven { edge: walk.edge, bundle, root })
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
    edge: Edge,
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

    /// Whose fault a difference is: the root is signed, so whoever disagrees with it is wrong.
    fn judge(&self, checkpoint: &Checkpoint, root: &Hash) -> Result<(), Error> {
        let file = |tile: &Tile| self.dir.join(tile.to_string());
        match (&self.differs, *root == checkpoint.root) {
            (None, true) => Ok(()),
            (None, false) => Err(Error::Damaged {
                file: checkpoint_path(self.dir),
                position: checkpoint.size,
                problem: "does not agree with the events".into(),
            }),
            (Some((tile, position)), true) => {
                Err(Error::Damaged { file: file(tile), position: *position, problem: "does not agree with the events".into() })
            }
            (Some((tile, position)), false) => {
                let width = (checkpoint.size - position / TILE_WIDTH * TILE_WIDTH).min(TILE_WIDTH);
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
fn tiles_on_disk(dir: &Path) -> Result<Vec<Tile>, Error> {
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
    let file = checkpoint_path(dir);
    let missing = || Error::Damaged { file: file.clone(), position: 0, problem: "is missing".into() };
    let note = disk::read(&file)?.ok_or_else(missing)?;
    let (_, checkpoint) = read_checkpoint(dir, note, vkey)?;
    prove(dir, &checkpoint)?;
    // Only now are the records known to be the signed ones.
    replay(dir, checkpoint.size, each)?;
    Ok((checkpoint.size, checkpoint.root))
}

/// The first record of a ledger, unproven: it names the key that the ledger claims to be signed with.
pub(crate) fn first_record(dir: &Path) -> Result<Option<Vec<u8>>, Error> {
    let tile = tiles_on_disk(dir)?.into_iter().find(|tile| tile.kind == Kind::Entries && tile.index == 0);
    let Some(tile) = tile else { return Ok(None) };
    let bundle = disk::read(&dir.join(tile.to_string()))?.unwrap_or_default();
    Ok(tile::records(&bundle, 1).ok().map(|(records, _)| records[0].to_vec()))
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
