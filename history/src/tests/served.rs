//! The ledger as others see it: verified by code that shares nothing with ours but SHA-256 and Ed25519.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::{Signature, Verifier as _, VerifyingKey};
use sha2::{Digest as _, Sha256};

use super::*;

type Hash = Vec<u8>;

fn sha(parts: &[&[u8]]) -> Hash {
    parts.iter().fold(Sha256::new(), |hash, part| hash.chain_update(part)).finalize().to_vec()
}

/// RFC 6962, 2.1, from the leaves.
fn tree(leaves: &[Hash]) -> Hash {
    match leaves.len() {
        0 => sha(&[]),
        1 => leaves[0].clone(),
        n => {
            let split = (n - 1).next_power_of_two().max(n.div_ceil(2).next_power_of_two() / 2);
            let split = if split >= n { split / 2 } else { split };
            sha(&[&[1], &tree(&leaves[..split]), &tree(&leaves[split..])])
        }
    }
}

/// The checkpoint's size and root, after its signature was checked with the public key.
fn open_checkpoint(note: &[u8], vkey: &str) -> (usize, Hash) {
    let note = String::from_utf8(note.to_vec()).unwrap();
    let (name, rest) = vkey.split_once('+').unwrap();
    let (id, key) = rest.split_once('+').unwrap();
    let key = STANDARD.decode(key).unwrap();
    assert_eq!(id, hex::encode(&sha(&[name.as_bytes(), b"\n", &key])[..4]));
    let (text, signature) = note.split_once("\n\n").unwrap();
    let text = format!("{text}\n");
    let signature = STANDARD.decode(signature.strip_prefix(&format!("— {name} ")).unwrap().trim_end()).unwrap();
    assert_eq!(hex::encode(&signature[..4]), id);
    let key = VerifyingKey::from_bytes(key[1..].try_into().unwrap()).unwrap();
    key.verify(text.as_bytes(), &Signature::from_slice(&signature[4..]).unwrap()).unwrap();
    let lines: Vec<_> = text.lines().collect();
    assert_eq!((lines.len(), lines[0]), (3, name));
    (lines[1].parse().unwrap(), STANDARD.decode(lines[2]).unwrap())
}

fn entries(bundle: &[u8]) -> Vec<Vec<u8>> {
    let (mut found, mut rest) = (Vec::new(), bundle);
    while let [high, low, after @ ..] = rest {
        let (entry, next) = after.split_at(usize::from(*high) * 256 + usize::from(*low));
        found.push(entry.to_vec());
        rest = next;
    }
    found
}

fn filled(dir: &Path, size: u64) -> History {
    let history = open(dir);
    while history.size_and_root().size < size {
        let number = history.size_and_root().size as u32;
        history.accept(&revision(number), &trust(), at(i64::from(number))).unwrap();
    }
    history
}

#[test]
fn an_outsider_verifies_checkpoint_entries_and_tiles() {
    let dir = tempfile::tempdir().unwrap();
    let history = filled(dir.path(), 523);
    let (size, root) = open_checkpoint(&history.checkpoint(), &history.public_key());
    assert_eq!(size, 523);
    let bundles = ["tile/entries/000", "tile/entries/001", "tile/entries/002.p/11"].map(|path| history.tile(path).unwrap());
    let entries: Vec<_> = bundles.iter().flat_map(|bundle| entries(bundle)).collect();
    let leaves: Vec<_> = entries.iter().map(|entry| sha(&[&[0], entry])).collect();
    assert_eq!((leaves.len(), tree(&leaves)), (523, root));
    assert_eq!(history.tile("tile/0/001").unwrap(), leaves[256..512].concat());
    assert_eq!(history.tile("tile/0/002.p/11").unwrap(), leaves[512..].concat());
    assert_eq!(history.tile("tile/1/000.p/2").unwrap(), [tree(&leaves[..256]), tree(&leaves[256..512])].concat());
    for (position, entry) in entries.iter().enumerate() {
        let value: serde_json::Value = serde_json::from_slice(entry).unwrap();
        assert_eq!(value["sequence"], position);
        assert_eq!(tk8s_core::canonical_json(&value), *entry);
    }
    // Whoever holds an older checkpoint asks for narrower tiles.
    assert_eq!(history.tile("tile/0/002.p/3").unwrap(), leaves[512..515].concat());
    assert_eq!(history.tile("tile/0/000.p/255").unwrap(), leaves[..255].concat());
    assert_eq!(history.tile("tile/1/000.p/1").unwrap(), tree(&leaves[..256]));
    assert_eq!(self::entries(&history.tile("tile/entries/001.p/7").unwrap()), entries[256..263]);
    for path in [
        "tile/0/002",
        "tile/0/002.p/12",
        "tile/0/003.p/1",
        "tile/1/000.p/3",
        "tile/2/000.p/1",
        "tile/7/000.p/1",
        "tile/0/x999/999",
        "checkpoint",
    ] {
        assert_eq!(history.tile(path), None, "{path}");
    }
}

#[test]
fn the_directory_itself_is_laid_out_as_it_is_served() {
    let dir = tempfile::tempdir().unwrap();
    let history = filled(dir.path(), 260);
    let ledger = dir.path().join("ledger");
    let paths = || files(&ledger).into_iter().map(|(path, _)| path).collect::<Vec<_>>();
    let unpublished = std::fs::read(ledger.join("checkpoint")).unwrap();
    assert!(open_checkpoint(&unpublished, &history.public_key()).0 < 260);
    history.publish().unwrap();
    let wanted = ["checkpoint", "tile/0/000", "tile/0/001.p/4", "tile/1/000.p/1", "tile/entries/000", "tile/entries/001.p/4"];
    // While it runs there are the journal, and the files that it goes on from, beside them.
    assert!(wanted.iter().all(|path| paths().iter().any(|there| there == path)), "{:?}", paths());
    for (path, bytes) in files(&ledger).into_iter().filter(|(path, _)| path.starts_with("tile/")) {
        assert_eq!(history.tile(&path).unwrap(), bytes, "{path}");
    }
    assert_eq!(std::fs::read(ledger.join("checkpoint")).unwrap(), history.checkpoint());
    drop(history);
    assert_eq!(paths(), wanted);
}

#[test]
fn verify_needs_no_encryption_key_and_tells_whose_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let history = filled(dir.path(), 30);
    stage(&history, "web", "one");
    let key = history.public_key();
    // While the agent runs.
    let verified = crate::verify(dir.path(), Some(&key)).unwrap();
    assert_eq!((verified.size, verified.blobs, verified.events["accepted"], verified.events["staged"]), (31, 1, 29, 1));
    assert_eq!(verified.root, history.size_and_root().root);
    assert_eq!(crate::verify(dir.path(), None).unwrap().key, key);
    let other = crate::note::Verifier::of(ORIGIN, &ed25519_dalek::SigningKey::from_bytes(&[1; 32])).to_string();
    assert!(crate::verify(dir.path(), Some(&other)).is_err());
    assert!(crate::verify(dir.path(), Some("nonsense")).is_err());
    assert!(crate::verify(&dir.path().join("nowhere"), None).is_err());
}

#[test]
fn a_history_can_be_verified_while_it_is_written() {
    let dir = tempfile::tempdir().unwrap();
    let history = open(dir.path());
    let key = history.public_key();
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| (1..300).for_each(|number| history.accept(&revision(number), &trust(), at(1)).unwrap()));
        let mut last = 0;
        while !writer.is_finished() {
            // Faster than any agent writes, so even the repeated attempts may all be overtaken.
            if let Ok(verified) = crate::verify(dir.path(), Some(&key)) {
                assert!(verified.size >= last);
                last = verified.size;
            }
        }
    });
    assert_eq!(crate::verify(dir.path(), Some(&key)).unwrap().size, 300);
}
