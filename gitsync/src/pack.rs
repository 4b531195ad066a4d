//! Looks at a pack while it passes by, and stops it before anybody has to hold what it declares: too many objects, too
//! large ones, too much in all, a delta that grows beyond bounds, sizes that lie.
//!
//! It reads headers and the first bytes of deltas, and unpacks the rest only to find where each object ends. Whether the
//! pack is *right* (deltas, checksums, ids) is the Git library's to find out. Format: git's `gitformat-pack`
//! documentation.

use std::io::{self, BufRead, Read};

use flate2::{Decompress, FlushDecompress, Status};

use crate::Error;
use crate::talk::Talk;

/// Unpacked bytes that are looked at at a time. They are thrown away.
const SCRATCH: usize = 32 * 1024;

/// Two sizes of at most ten bytes each stand at the beginning of a delta.
const DELTA_HEADER: usize = 20;

/// A pack on its way.
pub(crate) struct Watched<'a> {
    inner: &'a mut dyn BufRead,
    /// How much of the inner buffer was looked at.
    seen: usize,
    scanner: Scanner,
    talk: &'a Talk,
}

impl<'a> Watched<'a> {
    /// `id_length`: 20 bytes for SHA-1, 32 for SHA-256.
    pub(crate) fn new(inner: &'a mut dyn BufRead, id_length: usize, talk: &'a Talk) -> Watched<'a> {
        Watched { inner, seen: 0, scanner: Scanner::new(id_length), talk }
    }
}

impl BufRead for Watched<'_> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        let buffer = self.inner.fill_buf()?;
        self.scanner.feed(&buffer[self.seen..], self.talk).map_err(|error| self.talk.fail(error))?;
        self.seen = buffer.len();
        Ok(buffer)
    }

    fn consume(&mut self, count: usize) {
        self.seen = self.seen.saturating_sub(count);
        self.inner.consume(count);
    }
}

impl Read for Watched<'_> {
    fn read(&mut self, target: &mut [u8]) -> io::Result<usize> {
        let count = self.fill_buf()?.read(target)?;
        self.consume(count);
        Ok(count)
    }
}

/// What comes next.
enum Next {
    /// `PACK`, version, count.
    Start,
    /// Type and size of an object, and for deltas what it is based on.
    Header,
    /// The object itself, compressed.
    Body(Body),
    /// The checksum, and whatever a server appends.
    End,
}

struct Body {
    declared: u64,
    unpacked: u64,
    /// The first bytes, if it is a delta.
    delta: Option<Vec<u8>>,
}

/// What is known of an object that has passed by.
struct Passed {
    /// Where it begins in the pack.
    offset: u64,
    /// Its bytes, unpacked; for a delta of what it makes.
    size: u64,
    /// What it is based on, if that stands before it.
    base: Option<u32>,
    /// How many are based on it.
    based: u32,
    /// Whether its base is named by an id.
    by_id: bool,
}

struct Scanner {
    id_length: usize,
    /// Where the next byte stands in the pack.
    position: u64,
    passed: Vec<Passed>,
    next: Next,
    left: u32,
    unpacked: u64,
    /// Bytes of a header that is not complete yet.
    held: Vec<u8>,
    inflate: Decompress,
    scratch: Box<[u8; SCRATCH]>,
}

const OFFSET_DELTA: u8 = 6;
const ID_DELTA: u8 = 7;

impl Scanner {
    fn new(id_length: usize) -> Scanner {
        Scanner {
            id_length,
            position: 0,
            passed: Vec::new(),
            next: Next::Start,
            left: 0,
            unpacked: 0,
            held: Vec::new(),
            inflate: Decompress::new(true),
            scratch: Box::new([0; SCRATCH]),
        }
    }

    fn feed(&mut self, mut bytes: &[u8], talk: &Talk) -> Result<(), Error> {
        while !bytes.is_empty() {
            let left = match &mut self.next {
                Next::Start => self.start(bytes, talk)?,
                Next::Header => self.header(bytes, talk)?,
                Next::Body(_) => self.body(bytes, talk)?,
                Next::End => return Ok(()),
            };
            self.position += (bytes.len() - left.len()) as u64;
            bytes = left;
        }
        Ok(())
    }

    fn start<'b>(&mut self, bytes: &'b [u8], talk: &Talk) -> Result<&'b [u8], Error> {
        let take = bytes.len().min(12 - self.held.len());
        self.held.extend_from_slice(&bytes[..take]);
        let Ok(header) = <[u8; 12]>::try_from(self.held.as_slice()) else { return Ok(&bytes[take..]) };
        if &header[..4] != b"PACK" {
            return Err(lies(talk, "it does not begin like a pack"));
        }
        self.left = u32::from_be_bytes([header[8], header[9], header[10], header[11]]);
        if self.left > talk.limits().objects {
            return Err(too_large(talk, "objects", talk.limits().objects.into(), "objects"));
        }
        self.held.clear();
        self.next = if self.left == 0 { Next::End } else { Next::Header };
        Ok(&bytes[take..])
    }

    fn header<'b>(&mut self, bytes: &'b [u8], talk: &Talk) -> Result<&'b [u8], Error> {
        self.held.push(bytes[0]);
        let Some((kind, size)) = object_header(&self.held, self.id_length).map_err(|why| lies(talk, why))? else {
            return Ok(&bytes[1..]);
        };
        let offset = (self.position + 1).saturating_sub(self.held.len() as u64);
        let base = (kind == OFFSET_DELTA).then(|| offset.checked_sub(distance(&self.held))).flatten();
        let base = base.and_then(|base| self.passed.binary_search_by_key(&base, |passed| passed.offset).ok());
        if let Some(base) = base {
            self.passed[base].based += 1;
        }
        let base = base.and_then(|base| u32::try_from(base).ok());
        self.passed.push(Passed { offset, size, base, based: 0, by_id: kind == ID_DELTA });
        self.held.clear();
        if size > talk.limits().object_bytes {
            return Err(too_large(talk, "bytes in one object", talk.limits().object_bytes, "objectBytes"));
        }
        let delta = (kind == OFFSET_DELTA || kind == ID_DELTA).then(Vec::new);
        if delta.is_none() {
            self.grow(size, talk)?;
        }
        self.inflate.reset(true);
        self.next = Next::Body(Body { declared: size, unpacked: 0, delta });
        Ok(&bytes[1..])
    }

    fn body<'b>(&mut self, bytes: &'b [u8], talk: &Talk) -> Result<&'b [u8], Error> {
        let Next::Body(body) = &mut self.next else { return Ok(bytes) };
        let (before_in, before_out) = (self.inflate.total_in(), self.inflate.total_out());
        let status = self
            .inflate
            .decompress(bytes, &mut self.scratch[..], FlushDecompress::None)
            .map_err(|_| lies(talk, "an object in it can't be unpacked"))?;
        let taken = usize::try_from(self.inflate.total_in() - before_in).unwrap_or(bytes.len());
        let out = self.inflate.total_out() - before_out;
        body.unpacked += out;
        if body.unpacked > body.declared {
            return Err(lies(talk, "an object in it is larger than it says"));
        }
        let mut grown = None;
        if let Some(first) = &mut body.delta
            && first.len() < DELTA_HEADER
        {
            let new = usize::try_from(out).unwrap_or(SCRATCH).min(DELTA_HEADER - first.len());
            first.extend_from_slice(&self.scratch[..new]);
            if first.len() == DELTA_HEADER || status == Status::StreamEnd {
                grown = Some(result_size(first).ok_or_else(|| lies(talk, "a delta in it has no sizes"))?);
                first.resize(DELTA_HEADER, 0);
            }
        }
        if status == Status::StreamEnd {
            if body.unpacked != body.declared {
                return Err(lies(talk, "an object in it is smaller than it says"));
            }
            self.left -= 1;
            self.next = if self.left == 0 { Next::End } else { Next::Header };
            if self.left == 0 {
                let limit = talk.limits().delta_bytes;
                if held_at_once(&self.passed) > limit {
                    return Err(too_large(talk, "bytes in memory to resolve its deltas", limit, "deltaBytes"));
                }
                self.passed = Vec::new();
            }
        } else if taken == 0 && out == 0 {
            return Err(lies(talk, "an object in it can't be unpacked"));
        }
        if let Some(size) = grown {
            if size > talk.limits().object_bytes {
                return Err(too_large(talk, "bytes in one object", talk.limits().object_bytes, "objectBytes"));
            }
            self.grow(size, talk)?;
            if let Some(passed) = self.passed.last_mut() {
                passed.size = size;
            }
        }
        Ok(&bytes[taken..])
    }

    fn grow(&mut self, size: u64, talk: &Talk) -> Result<(), Error> {
        self.unpacked = self.unpacked.saturating_add(size);
        if self.unpacked > talk.limits().unpacked_bytes {
            return Err(too_large(talk, "bytes when it is unpacked", talk.limits().unpacked_bytes, "unpackedBytes"));
        }
        Ok(())
    }
}

/// What whoever resolves the deltas has to hold at once, at worst: of a chain, every object that more than one is based on
/// waits for all of these. A base that is named by an id may be any other object, so of these each counts, at an eighth: in
/// what servers send they are based on what was fetched before, and wait for nothing.
fn held_at_once(passed: &[Passed]) -> u64 {
    let mut chains: Vec<u64> = Vec::with_capacity(passed.len());
    let (mut most, mut named) = (0, 0);
    for object in passed {
        let above = object.base.and_then(|base| chains.get(base as usize)).copied().unwrap_or_default();
        let chain = above.saturating_add(if object.based > 1 { object.size } else { 0 });
        chains.push(chain);
        most = most.max(chain);
        named += if object.by_id { object.size / 8 } else { 0 };
    }
    most.saturating_add(named)
}

fn lies(talk: &Talk, why: &str) -> Error {
    Error::BadPack { url: talk.url().into(), why: why.into() }
}

fn too_large(talk: &Talk, what: &'static str, limit: u64, key: &'static str) -> Error {
    Error::TooLarge { url: talk.url().into(), what, limit, key }
}

/// Type and size of an object, once its header is complete.
fn object_header(held: &[u8], id_length: usize) -> Result<Option<(u8, u64)>, &'static str> {
    let Some(end) = held.iter().position(|byte| byte & 0x80 == 0) else {
        return if held.len() > 10 { Err("an object in it has a size without end") } else { Ok(None) };
    };
    let kind = held[0] >> 4 & 0b111;
    let mut size = u64::from(held[0] & 0b1111);
    for (index, byte) in held[1..=end].iter().enumerate() {
        let part = u64::from(byte & 0x7f);
        let shifted = part.checked_mul(1 << (4 + 7 * index.min(8))).filter(|_| index <= 8);
        size = shifted.and_then(|shifted| size.checked_add(shifted)).ok_or("an object in it has a size without end")?;
    }
    let base = &held[end + 1..];
    let complete = match kind {
        1..=4 => true,
        OFFSET_DELTA if base.len() > 10 => return Err("a delta in it has an offset without end"),
        OFFSET_DELTA => base.last().is_some_and(|byte| byte & 0x80 == 0),
        ID_DELTA => base.len() == id_length,
        _ => return Err("an object in it has no kind that is known"),
    };
    Ok(complete.then_some((kind, size)))
}

/// How far before a delta its base begins, by the end of its header.
fn distance(held: &[u8]) -> u64 {
    let size = held.iter().position(|byte| byte & 0x80 == 0).map_or(held.len(), |end| end + 1);
    let digit = |byte: &u8| u64::from(byte & 0x7f);
    let Some((first, more)) = held[size..].split_first() else { return u64::MAX };
    more.iter().fold(digit(first), |distance, byte| distance.saturating_add(1).saturating_mul(128).saturating_add(digit(byte)))
}

/// The size of what a delta makes: the second of the two numbers at its beginning.
fn result_size(delta: &[u8]) -> Option<u64> {
    let mut numbers = delta.split_inclusive(|byte| byte & 0x80 == 0);
    let _base = numbers.next()?;
    let result = numbers.next().filter(|bytes| bytes.len() <= 9 && bytes.last().is_some_and(|byte| byte & 0x80 == 0))?;
    Some(result.iter().rev().fold(0, |number, byte| number << 7 | u64::from(byte & 0x7f)))
}
