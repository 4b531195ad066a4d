//! The journal: what was appended to the ledger since the ledger's own files were last flushed. One file, `ledger/journal`.
//!
//! It is why an append costs one flush: the file has its full length from the beginning, so that overwriting a part of it
//! changes no directory, no length and no list of blocks. Each append is one *frame*, which begins at a block of its own, so
//! that writing it touches no block that holds an earlier one. A frame carries the signed checkpoint of the ledger that ends
//! with it: nothing is believed of a journal but what that signature covers. Frames follow on each other without a gap; a
//! frame that is cut off was never acknowledged, and neither was anything behind it.
//!
//! Does not know how the ledger's files look. When they have been flushed, [`Journal::restart`] begins again at the front;
//! what still lies behind are older frames, told apart by where they begin. A ledger that was closed in order has no journal.

use std::fs::File;
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use crate::disk;
use crate::tile;
use crate::{Error, merkle::Hash};

/// The length of the file: about 250 appends of one event.
const LENGTH: u64 = 1 << 20;
/// What a disk writes at once: no smaller than a page, and than the sectors of today's disks.
const BLOCK: usize = 4096;
/// Begins a frame. Holds a byte that neither JSON nor a checkpoint can hold.
const MAGIC: [u8; 8] = *b"\xfftk8sJ1\0";
/// Magic, length, hash.
const HEADER: usize = 8 + 8 + 32;

/// One append.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    /// The position of its first record.
    pub(crate) first: u64,
    /// The signed checkpoint of the ledger that ends with it.
    pub(crate) checkpoint: String,
    /// At least one.
    pub(crate) records: Vec<Vec<u8>>,
}

impl Frame {
    /// How large the ledger is with it.
    pub(crate) fn size(&self) -> u64 {
        self.first + self.records.len() as u64
    }

    /// As it stands in the file, in whole blocks.
    fn to_bytes(&self) -> Vec<u8> {
        let mut payload = self.first.to_be_bytes().to_vec();
        tile::push_record(&mut payload, self.checkpoint.as_bytes());
        self.records.iter().for_each(|record| tile::push_record(&mut payload, record));
        let mut bytes = MAGIC.to_vec();
        bytes.extend_from_slice(&(payload.len() as u64).to_be_bytes());
        bytes.extend_from_slice(&hash(&payload));
        bytes.append(&mut payload);
        bytes.resize(bytes.len().next_multiple_of(BLOCK), 0);
        bytes
    }

    /// The frame at the beginning of `bytes`, if there is a whole one, and how many bytes it takes.
    fn parse(bytes: &[u8]) -> Option<(Frame, usize)> {
        let rest = bytes.strip_prefix(&MAGIC)?;
        let (length, rest) = rest.split_first_chunk::<8>()?;
        let (stated, rest) = rest.split_first_chunk::<32>()?;
        let length = usize::try_from(u64::from_be_bytes(*length)).ok()?;
        let payload = rest.get(..length)?;
        if hash(payload) != *stated {
            return None;
        }
        let (first, mut rest) = payload.split_first_chunk::<8>()?;
        let mut texts = Vec::new();
        while !rest.is_empty() {
            let (found, used) = tile::records(rest, 1).ok()?;
            texts.push(found[0].to_vec());
            rest = &rest[used..];
        }
        let first = u64::from_be_bytes(*first);
        first.checked_add(texts.len() as u64)?;
        let mut texts = texts.into_iter();
        let checkpoint = String::from_utf8(texts.next()?).ok()?;
        let frame = Frame { first, checkpoint, records: texts.collect() };
        (!frame.records.is_empty()).then_some((frame, (HEADER + length).next_multiple_of(BLOCK)))
    }
}

fn hash(payload: &[u8]) -> Hash {
    Sha256::digest(payload).into()
}

pub(crate) fn path_in(dir: &Path) -> PathBuf {
    dir.join("journal")
}

/// What a journal holds that was not closed in order.
#[derive(Debug, Default)]
pub(crate) struct Left {
    /// What was appended, in order and without a gap, from the front of the file.
    pub(crate) frames: Vec<Frame>,
    /// The lowest position and the greatest size in any whole frame, wherever it lies.
    pub(crate) range: Option<(u64, u64)>,
}

/// What is left in the journal in `dir`; nothing where there is none. Changes nothing.
pub(crate) fn read(dir: &Path) -> Result<Option<Left>, Error> {
    let Some(bytes) = disk::read_at_most(&path_in(dir), LENGTH)? else { return Ok(None) };
    let mut left = Left::default();
    let (mut at, mut follows) = (0, true);
    while at < bytes.len() {
        let Some((frame, used)) = Frame::parse(&bytes[at..]) else {
            follows = false;
            at += BLOCK;
            continue;
        };
        let (lowest, greatest) = left.range.unwrap_or((u64::MAX, 0));
        left.range = Some((lowest.min(frame.first), greatest.max(frame.size())));
        follows &= left.frames.last().is_none_or(|last| last.size() == frame.first);
        if follows {
            left.frames.push(frame);
        }
        at += used;
    }
    Ok(Some(left))
}

/// Removes the journal in `dir`, for good, after everything that it holds was flushed elsewhere.
pub(crate) fn remove(dir: &Path) -> Result<(), Error> {
    disk::remove(&path_in(dir))?;
    disk::flush_dir(dir)
}

/// The journal of a ledger that is open.
#[derive(Debug)]
pub(crate) struct Journal {
    file: File,
    path: PathBuf,
    end: u64,
    /// Whether behind the end there may be a frame whose append failed.
    spoiled: bool,
}

impl Journal {
    /// An empty one.
    pub(crate) fn create(dir: &Path) -> Result<Journal, Error> {
        let path = path_in(dir);
        let file = disk::write(&path, &vec![0; LENGTH as usize])?;
        disk::flush(&file, &path)?;
        disk::flush_dir(dir)?;
        Ok(Journal { file, path, end: 0, spoiled: false })
    }

    /// Appends a frame and flushes it, if there is room for it; says whether there was.
    pub(crate) fn append(&mut self, frame: &Frame) -> Result<bool, Error> {
        let bytes = frame.to_bytes();
        let end = self.end + bytes.len() as u64;
        if end > LENGTH {
            return Ok(false);
        }
        self.spoiled = true;
        disk::overwrite(&self.file, &self.path, self.end, &bytes)?;
        disk::flush_data(&self.file, &self.path)?;
        (self.end, self.spoiled) = (end, false);
        Ok(true)
    }

    /// Forgets all frames, after what they hold was flushed elsewhere.
    pub(crate) fn restart(&mut self) -> Result<(), Error> {
        if self.spoiled {
            disk::overwrite(&self.file, &self.path, self.end, &vec![0; (LENGTH - self.end) as usize])?;
            disk::flush_data(&self.file, &self.path)?;
        }
        disk::overwrite(&self.file, &self.path, 0, &[0; BLOCK])?;
        disk::flush_data(&self.file, &self.path)?;
        (self.end, self.spoiled) = (0, false);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(first: u64, records: &[&str]) -> Frame {
        Frame {
            first,
            checkpoint: format!("of {first}"),
            records: records.iter().map(|record| record.as_bytes().to_vec()).collect(),
        }
    }

    #[test]
    fn what_was_appended_is_read_back_up_to_the_first_frame_that_is_not_whole() {
        let dir = tempfile::tempdir().unwrap();
        assert!(read(dir.path()).unwrap().is_none());
        let mut journal = Journal::create(dir.path()).unwrap();
        let long = "x".repeat(9000);
        let frames = [frame(3, &["one"]), frame(4, &["two", &long]), frame(6, &["three"])];
        for frame in &frames {
            assert!(journal.append(frame).unwrap());
        }
        let left = read(dir.path()).unwrap().unwrap();
        assert_eq!((left.frames, left.range), (frames.to_vec(), Some((3, 7))));
        let sound = std::fs::read(path_in(dir.path())).unwrap();
        for position in (BLOCK..BLOCK + HEADER + 9000).step_by(97) {
            let mut damaged = sound.clone();
            damaged[position] ^= 4;
            std::fs::write(path_in(dir.path()), damaged).unwrap();
            let left = read(dir.path()).unwrap().unwrap();
            // The one behind it is not believed, but it is not overlooked either.
            assert_eq!((left.frames, left.range), (frames[..1].to_vec(), Some((3, 7))), "{position}");
        }
    }

    #[test]
    fn frames_from_before_a_restart_are_not_taken_for_new_ones() {
        let dir = tempfile::tempdir().unwrap();
        let mut journal = Journal::create(dir.path()).unwrap();
        for first in 0..4 {
            assert!(journal.append(&frame(first, &["old"])).unwrap());
        }
        journal.restart().unwrap();
        assert!(read(dir.path()).unwrap().unwrap().frames.is_empty());
        assert!(journal.append(&frame(4, &["new"])).unwrap());
        assert_eq!(read(dir.path()).unwrap().unwrap().frames, [frame(4, &["new"])]);
    }

    #[test]
    fn a_full_journal_takes_nothing_more_and_a_hostile_one_is_no_harm() {
        let dir = tempfile::tempdir().unwrap();
        let mut journal = Journal::create(dir.path()).unwrap();
        let blocks = LENGTH / BLOCK as u64;
        for first in 0..blocks {
            assert!(journal.append(&frame(first, &["x"])).unwrap());
        }
        assert!(!journal.append(&frame(blocks, &["x"])).unwrap());
        assert_eq!(read(dir.path()).unwrap().unwrap().frames.len() as u64, blocks);
        for (length, payload) in [(u64::MAX, &b""[..]), (3, b"abc"), (8, &[255; 8]), (10, &[255; 10])] {
            let bytes = [&MAGIC[..], &length.to_be_bytes(), &hash(payload), payload].concat();
            std::fs::write(path_in(dir.path()), bytes).unwrap();
            assert!(read(dir.path()).unwrap().unwrap().frames.is_empty());
        }
    }
}
