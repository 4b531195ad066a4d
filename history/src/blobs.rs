//! The blobs: rendered sets, packed (zstd), encrypted (XChaCha20-Poly1305) and named by the SHA-256 of the file.
//!
//! A blob is on disk, flushed, before [`Blobs::put`] returns. The name is of the encrypted bytes, so that a backup can be
//! checked without the key, and gives nothing away about what is in it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use tk8s_core::{Digest, ReleaseId};
use zeroize::Zeroizing;
use zstd::bulk::Compressor;

use crate::Error;
use crate::disk;
use crate::keys::Keys;

const PURPOSE: &[u8] = b"tk8s-history/blob/v1";
const MISSING: &str = "is missing: restore it from a backup of the history";
/// Far above any platform; keeps a wrong length from filling the memory.
const MOST: u64 = 1 << 30;

/// zstd's own choice.
const LEVEL: i32 = 3;

pub(crate) struct Blobs {
    dir: PathBuf,
    /// One for all: what it works with is as large as a component, and each thread that has its own keeps it for long.
    packer: Mutex<Compressor<'static>>,
}

impl fmt::Debug for Blobs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Blobs({})", self.dir.display())
    }
}

/// A rendered set as it stands in its file.
pub(crate) struct Sealed {
    pub(crate) name: Digest,
    bytes: Vec<u8>,
}

impl Blobs {
    pub(crate) fn new(dir: PathBuf) -> Blobs {
        let packer = Compressor::new(LEVEL).expect("because the level is one of zstd's");
        Blobs { dir, packer: Mutex::new(packer) }
    }

    pub(crate) fn path(&self, blob: &Digest) -> PathBuf {
        let name = blob.hex();
        self.dir.join(&name[..2]).join(name)
    }

    /// Packs and encrypts `text`. Equal texts give equal blobs.
    pub(crate) fn seal(&self, keys: &Keys, text: &[u8]) -> Result<Sealed, Error> {
        let packed = self.packer.lock().unwrap_or_else(PoisonError::into_inner).compress(text);
        let packed = packed.map_err(|source| Error::Encoding { act: "pack a rendered set", source: source.into() })?;
        let packed = Zeroizing::new(packed);
        let bytes = keys.seal(PURPOSE, &packed)?;
        Ok(Sealed { name: Digest::of(&bytes), bytes })
    }

    /// Keeps a blob. `known` says that the ledger names it, so that it was flushed once: then it is not written again as long
    /// as it is whole. Else it is even if it is there, because it may be there without ever having reached the disk.
    pub(crate) fn put(&self, sealed: &Sealed, known: bool) -> Result<(), Error> {
        if known && self.read(&sealed.name)?.is_ok() {
            return Ok(());
        }
        let mut changed = BTreeSet::new();
        self.keep(&sealed.name, &sealed.bytes, &mut changed)?;
        changed.iter().try_for_each(|dir| disk::flush_dir(dir))
    }

    /// Writes the file of a blob and flushes it; `changed` are directories that are to be flushed besides.
    pub(crate) fn keep(&self, blob: &Digest, bytes: &[u8], changed: &mut BTreeSet<PathBuf>) -> Result<(), Error> {
        let path = self.path(blob);
        let dir = path.parent().unwrap_or(&self.dir);
        disk::create_dir(dir, changed)?;
        let temporary = self.dir.join(format!("new-{}", blob.hex()));
        disk::replace(&path, &temporary, bytes).inspect_err(|_| drop(disk::remove(&temporary)))
    }

    /// The file of a blob, unless it is missing or not what its name says.
    pub(crate) fn read(&self, blob: &Digest) -> Result<Result<Vec<u8>, &'static str>, Error> {
        Ok(match disk::read(&self.path(blob))? {
            None => Err(MISSING),
            Some(sealed) if Digest::of(&sealed) != *blob => Err("is damaged: restore it from a backup of the history"),
            Some(sealed) => Ok(sealed),
        })
    }

    /// The text that was kept.
    pub(crate) fn unpack(keys: &Keys, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, &'static str> {
        let packed = keys.open(PURPOSE, sealed).ok_or("was encrypted with another key: check `history.encryptionKeyFile`")?;
        let decoder = zstd::Decoder::new(&packed[..]).map_err(|_| "cannot be unpacked")?;
        let mut text = Zeroizing::new(Vec::new());
        decoder.take(MOST).read_to_end(&mut text).map_err(|_| "cannot be unpacked")?;
        Ok(text)
    }

    pub(crate) fn remove(&self, blob: &Digest) -> Result<(), Error> {
        disk::remove(&self.path(blob))
    }

    /// Every blob on disk, and files that an interrupted write left.
    pub(crate) fn list(&self) -> Result<(Vec<Digest>, Vec<PathBuf>), Error> {
        let (mut blobs, mut left) = (Vec::new(), Vec::new());
        for name in disk::list(&self.dir)? {
            if name.starts_with("new-") {
                left.push(self.dir.join(name));
                continue;
            }
            for name in disk::list(&self.dir.join(name))? {
                blobs.extend(format!("sha256:{name}").parse::<Digest>().ok());
            }
        }
        Ok((blobs, left))
    }
}

/// Checks every blob under `dir` against its name, and that there is one for each of the `kept` releases. Says how many there
/// are.
pub(crate) fn verify(dir: &Path, kept: &BTreeMap<ReleaseId, Digest>) -> Result<u64, Error> {
    let blobs = Blobs::new(dir.into());
    let (names, _) = blobs.list()?;
    for blob in &names {
        if blobs.read(blob)?.is_err() {
            return Err(Error::BlobFile { file: blobs.path(blob) });
        }
    }
    let names: BTreeSet<&Digest> = names.iter().collect();
    match kept.iter().find(|(_, blob)| !names.contains(blob)) {
        Some((release, blob)) => Err(Error::Blob { release: release.clone(), blob: *blob, problem: MISSING.into() }),
        None => Ok(names.len() as u64),
    }
}

#[cfg(test)]
mod tests {
    use tk8s_core::Secret;

    use super::*;

    #[test]
    fn equal_texts_give_equal_blobs_whatever_was_packed_between() {
        let keys = Keys::read(&Secret::new(hex::encode([7; 32]).into_bytes())).unwrap();
        let blobs = Blobs::new(PathBuf::new());
        let name = |text: &[u8]| blobs.seal(&keys, text).unwrap().name;
        let texts = [Vec::new(), b"a: 1\n".repeat(30_000), (0..=255).cycle().take(300_000).collect()];
        let names: Vec<_> = texts.iter().map(|text| name(text)).collect();
        for (text, before) in texts.iter().zip(&names).rev() {
            assert_eq!(name(text), *before);
            let sealed = Blobs::new(PathBuf::new()).seal(&keys, text).unwrap();
            assert_eq!(sealed.name, *before);
            assert_eq!(*Blobs::unpack(&keys, &sealed.bytes).unwrap(), *text);
        }
    }
}
