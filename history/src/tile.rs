//! The names of tiles and entry bundles (c2sp.org/tlog-tiles), and how an entry bundle is laid out. Pure.

use std::fmt;
use std::sync::Arc;

use crate::merkle::TILE_WIDTH;

/// The longest record that an entry bundle can hold.
pub(crate) const MAX_RECORD: usize = u16::MAX as usize;

/// Which kind of file, and at which level.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// Hashes of a level of tiles, from 0 at the leaves.
    Hashes(u8),
    /// The records themselves.
    Entries,
}

impl Kind {
    /// How many items of this kind a tree of this size has.
    pub(crate) fn complete(self, size: u64) -> u64 {
        match self {
            Kind::Entries => size,
            Kind::Hashes(level) => size >> (8 * u32::from(level)),
        }
    }
}

/// A tile or entry bundle, full or partial.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Tile {
    pub(crate) kind: Kind,
    pub(crate) index: u64,
    /// 1 to 256 items.
    pub(crate) width: u64,
}

impl Tile {
    pub(crate) fn full(kind: Kind, index: u64) -> Tile {
        Tile { kind, index, width: TILE_WIDTH }
    }

    /// Whether this file belongs to a tree of this size, in exactly this width.
    pub(crate) fn belongs_to(&self, size: u64) -> bool {
        let complete = self.kind.complete(size);
        let partial = (self.index, self.width) == (complete / TILE_WIDTH, complete % TILE_WIDTH);
        partial || self.width == TILE_WIDTH && self.index < complete / TILE_WIDTH
    }

    /// Reads a path such as `tile/0/x001/067.p/12` or `tile/entries/000`, in exactly one spelling.
    pub(crate) fn parse(path: &str) -> Option<Tile> {
        let (kind, rest) = path.strip_prefix("tile/")?.split_once('/')?;
        let kind = match kind {
            "entries" => Kind::Entries,
            level => Kind::Hashes(level.parse().ok().filter(|level| *level < 8)?),
        };
        let (number, width) = match rest.split_once(".p/") {
            None => (rest, TILE_WIDTH),
            Some((number, width)) => (number, width.parse().ok().filter(|width| (1..TILE_WIDTH).contains(width))?),
        };
        let mut index: u64 = 0;
        for group in number.split('/') {
            let digits = group.strip_prefix('x').unwrap_or(group);
            if digits.len() != 3 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
                return None;
            }
            index = index.checked_mul(1000)?.checked_add(digits.parse().ok()?)?;
        }
        let tile = Tile { kind, index, width };
        // One spelling: what would be written differently (`+1`, `00`, a missing `x`) is not a path of ours.
        (tile.to_string() == path).then_some(tile)
    }
}

impl fmt::Display for Tile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            Kind::Hashes(level) => write!(f, "tile/{level}")?,
            Kind::Entries => f.write_str("tile/entries")?,
        }
        let mut groups = vec![format!("/{:03}", self.index % 1000)];
        let mut rest = self.index / 1000;
        while rest > 0 {
            groups.push(format!("/x{:03}", rest % 1000));
            rest /= 1000;
        }
        groups.iter().rev().try_for_each(|group| f.write_str(group))?;
        if self.width < TILE_WIDTH { write!(f, ".p/{}", self.width) } else { Ok(()) }
    }
}

/// The bytes of a file of a tree, in pieces that other files of it share: a bundle that grows is in each of them from its
/// first record on.
#[derive(Clone, Debug, Default)]
pub(crate) struct Pieces(Vec<Arc<[u8]>>);

impl Pieces {
    pub(crate) fn push(&mut self, piece: Vec<u8>) {
        if !piece.is_empty() {
            self.0.push(piece.into());
        }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &[u8]> {
        self.0.iter().map(AsRef::as_ref)
    }

    pub(crate) fn concat(&self) -> Vec<u8> {
        self.0.concat()
    }
}

impl From<Vec<u8>> for Pieces {
    fn from(bytes: Vec<u8>) -> Pieces {
        let mut pieces = Pieces::default();
        pieces.push(bytes);
        pieces
    }
}

/// Adds a record to an entry bundle. The caller has checked its length.
pub(crate) fn push_record(bundle: &mut Vec<u8>, record: &[u8]) {
    let length = u16::try_from(record.len()).expect("because records are checked against MAX_RECORD before");
    bundle.extend_from_slice(&length.to_be_bytes());
    bundle.extend_from_slice(record);
}

/// The first `count` records of a bundle and how many bytes they take, or the number of the first that is cut off.
pub(crate) fn records(bundle: &[u8], count: u64) -> Result<(Vec<&[u8]>, usize), u64> {
    let (mut found, mut at) = (Vec::new(), 0);
    for number in 0..count {
        let length = bundle.get(at..at + 2).ok_or(number)?;
        let end = at + 2 + usize::from(u16::from_be_bytes([length[0], length[1]]));
        found.push(bundle.get(at + 2..end).ok_or(number)?);
        at = end;
    }
    Ok((found, at))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_those_of_the_specification() {
        let table = [
            (Kind::Hashes(0), 0, 256, "tile/0/000"),
            (Kind::Hashes(0), 0, 1, "tile/0/000.p/1"),
            (Kind::Hashes(1), 273, 17, "tile/1/273.p/17"),
            (Kind::Entries, 1_234_067, 256, "tile/entries/x001/x234/067"),
            (Kind::Entries, 1000, 255, "tile/entries/x001/000.p/255"),
        ];
        for (kind, index, width, path) in table {
            let tile = Tile { kind, index, width };
            assert_eq!(tile.to_string(), path);
            assert_eq!(Tile::parse(path), Some(tile));
        }
    }

    #[test]
    fn any_other_spelling_is_no_path() {
        for path in [
            "",
            "tile",
            "tile/0",
            "tile/0/",
            "tile/0/00",
            "tile/0/0000",
            "tile/0/x000/000",
            "tile/0/001/000",
            "tile/0/x001",
            "tile/8/000",
            "tile/-1/000",
            "tile/+0/000",
            "tile/00/000",
            "tile/0/000.p/0",
            "tile/0/000.p/256",
            "tile/0/000.p/+1",
            "tile/0/000.p/01",
            "tile/0/000.p/",
            "tile/0/../../lock",
            "tile/0/x999/x999/x999/x999/x999/x999/x999/999",
            "entries/000",
            "/tile/0/000",
        ] {
            assert_eq!(Tile::parse(path), None, "{path}");
        }
    }

    #[test]
    fn a_bundle_gives_back_its_records_and_names_the_one_that_is_cut_off() {
        let mut bundle = Vec::new();
        for record in ["one", "", "three"] {
            push_record(&mut bundle, record.as_bytes());
        }
        assert_eq!(bundle[..5], *b"\0\x03one");
        let (found, used) = records(&bundle, 3).unwrap();
        assert_eq!((found, used), (vec![&b"one"[..], b"", b"three"], bundle.len()));
        assert_eq!(records(&bundle[..bundle.len() - 1], 3), Err(2));
        assert_eq!(records(&bundle[..6], 3), Err(1));
    }
}
