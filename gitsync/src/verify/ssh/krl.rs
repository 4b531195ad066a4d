//! OpenSSH's binary key revocation lists (`PROTOCOL.krl`).
//!
//! Read as OpenSSH of today reads them: a list that is signed is refused, because nobody there or here would check by whom;
//! extensions are passed over unless they are critical. Whatever else can't be read refuses the whole list: half of one
//! would let pass what the other half revokes. Memory is bounded by the list's own length, bitmaps stay bitmaps.

use std::collections::HashSet;

use sha1::Digest as _;
use ssh_key::public::KeyData;
use ssh_key::{Certificate, Fingerprint, PublicKey};

use super::key;
use super::wire::Wire;

/// The first bytes of every list.
pub(super) const MAGIC: &[u8] = b"SSHKRL\n\0";
const VERSION: u32 = 1;

/// A list.
#[derive(Debug, Default)]
pub(super) struct Krl {
    /// Keys as they are on the wire.
    keys: HashSet<Vec<u8>>,
    sha1: HashSet<Vec<u8>>,
    sha256: HashSet<Vec<u8>>,
    certificates: Vec<OfAuthority>,
}

/// Certificates of one authority.
#[derive(Debug)]
struct OfAuthority {
    /// None stands for every authority.
    authority: Option<KeyData>,
    /// Sorted, and none touches another.
    serials: Vec<(u64, u64)>,
    bitmaps: Vec<Bitmap>,
    ids: HashSet<Vec<u8>>,
}

/// Serial numbers from the first one on: the lowest bit of the last byte stands for it.
#[derive(Debug)]
struct Bitmap {
    first: u64,
    bits: Vec<u8>,
}

impl Krl {
    /// Reads a list that begins with [`MAGIC`].
    pub(super) fn parse(bytes: &[u8]) -> Result<Krl, String> {
        let ends = || "it ends too early".to_owned();
        let mut wire = Wire(bytes.strip_prefix(MAGIC).ok_or("it is no key revocation list")?);
        let version = wire.u32().ok_or_else(ends)?;
        if version != VERSION {
            return Err(format!("it is of version {version}, and {VERSION} is known"));
        }
        // Its own number, when it was made, flags of which none is known, nothing, a comment.
        let header = (wire.u64(), wire.u64(), wire.u64(), wire.string(), wire.string());
        if !matches!(header, (Some(_), Some(_), Some(_), Some(_), Some(_))) {
            return Err(ends());
        }
        let mut krl = Krl::default();
        while !wire.is_empty() {
            let kind = wire.byte().ok_or_else(ends)?;
            let section = Wire(wire.string().ok_or_else(ends)?);
            match kind {
                1 => krl.certificates.push(of_authority(section)?),
                2 => strings(section, |blob| Ok(krl.keys.insert(blob.to_vec())))?,
                3 => strings(section, |hash| Ok(krl.sha1.insert(of_length(hash, 20)?)))?,
                4 => return Err("it is signed inside, which nobody checks: sign it from outside, or not at all".into()),
                5 => strings(section, |hash| Ok(krl.sha256.insert(of_length(hash, 32)?)))?,
                255 => extension(section)?,
                other => return Err(format!("it has a section of the unknown kind {other}")),
            }
        }
        Ok(krl)
    }

    /// Why a key, or a key with a certificate, is revoked; or that it is not.
    pub(super) fn revokes(&self, shown: &KeyData) -> Option<String> {
        if let Some(why) = self.revokes_key(key::plain(shown)) {
            return Some(format!("the key is revoked {why}"));
        }
        let KeyData::Certificate(certificate) = shown else { return None };
        if let Some(why) = self.certificates.iter().find_map(|list| list.revokes(certificate)) {
            return Some(why);
        }
        let why = self.revokes_key(certificate.signature_key())?;
        Some(format!("the authority of its certificate is revoked {why}"))
    }

    /// The same of a key of which only the fingerprint is known; SHA-1 fingerprints say nothing about it.
    pub(super) fn revokes_fingerprint(&self, fingerprint: &str) -> bool {
        let Ok(fingerprint) = fingerprint.parse::<Fingerprint>() else { return false };
        let hash = fingerprint.as_bytes();
        self.sha256.contains(hash) || self.keys.iter().any(|blob| sha2::Sha256::digest(blob).as_slice() == hash)
    }

    fn revokes_key(&self, key: &KeyData) -> Option<&'static str> {
        // What has no bytes can't be looked up: it counts as revoked.
        let Ok(blob) = PublicKey::from(key.clone()).to_bytes() else { return Some("because it can't be written down") };
        if self.keys.contains(&blob) {
            return Some("by itself");
        }
        if self.sha256.contains(sha2::Sha256::digest(&blob).as_slice()) {
            return Some("by its SHA-256 fingerprint");
        }
        self.sha1.contains(sha1::Sha1::digest(&blob).as_slice()).then_some("by its SHA-1 fingerprint")
    }
}

impl OfAuthority {
    fn revokes(&self, certificate: &Certificate) -> Option<String> {
        if self.authority.as_ref().is_some_and(|authority| authority != certificate.signature_key()) {
            return None;
        }
        if self.ids.contains(certificate.key_id().as_bytes()) {
            return Some(format!("its certificate is revoked by the id `{}`", tk8s_core::printable(certificate.key_id(), 80)));
        }
        // Zero is what certificates have that were not numbered: no list can hold it.
        let serial = certificate.serial();
        let after = self.serials.partition_point(|(first, _)| *first <= serial);
        let listed = after.checked_sub(1).is_some_and(|at| serial <= self.serials[at].1);
        let revoked = listed || self.bitmaps.iter().any(|bitmap| bitmap.contains(serial));
        revoked.then(|| format!("its certificate is revoked by the serial number {serial}"))
    }
}

impl Bitmap {
    fn contains(&self, serial: u64) -> bool {
        let Some(bit) = serial.checked_sub(self.first) else { return false };
        let Ok(byte) = usize::try_from(bit / 8) else { return false };
        self.bits.iter().rev().nth(byte).is_some_and(|byte| byte >> (bit % 8) & 1 == 1)
    }
}

/// Every string of a section.
fn strings(mut section: Wire<'_>, mut each: impl FnMut(&[u8]) -> Result<bool, String>) -> Result<(), String> {
    while !section.is_empty() {
        each(section.string().ok_or("a section ends within an entry")?)?;
    }
    Ok(())
}

fn of_length(hash: &[u8], length: usize) -> Result<Vec<u8>, String> {
    if hash.len() == length { Ok(hash.to_vec()) } else { Err(format!("a fingerprint has {} bytes, not {length}", hash.len())) }
}

/// What other programs may add: its name, whether it matters, what it says.
fn extension(mut section: Wire<'_>) -> Result<(), String> {
    let parts = (section.string(), section.byte(), section.string());
    match parts {
        (Some(_), Some(0), Some(_)) if section.is_empty() => Ok(()),
        (Some(name), Some(_), Some(_)) if section.is_empty() => {
            let name = tk8s_core::printable(&String::from_utf8_lossy(name), 80);
            Err(format!("it has the extension `{name}`, which is critical and not known"))
        }
        _ => Err("an extension can't be read".into()),
    }
}

fn of_authority(mut section: Wire<'_>) -> Result<OfAuthority, String> {
    let ends = || "a section of certificates ends too early".to_owned();
    let (Some(authority), Some(_)) = (section.string(), section.string()) else { return Err(ends()) };
    let authority = match authority {
        b"" => None,
        blob => Some(key::from_blob(blob).ok_or("the key of an authority can't be read")?),
    };
    let mut list = OfAuthority { authority, serials: Vec::new(), bitmaps: Vec::new(), ids: HashSet::new() };
    while !section.is_empty() {
        let kind = section.byte().ok_or_else(ends)?;
        let mut part = Wire(section.string().ok_or_else(ends)?);
        match kind {
            0x20 => {
                while !part.is_empty() {
                    let serial = part.u64().ok_or_else(ends)?;
                    list.serials.push(range(serial, serial)?);
                }
            }
            0x21 => {
                let (Some(first), Some(last)) = (part.u64(), part.u64()) else { return Err(ends()) };
                list.serials.push(range(first, last)?);
            }
            0x22 => {
                let (Some(first), Some(bits)) = (part.u64(), part.string()) else { return Err(ends()) };
                list.bitmaps.push(bitmap(first, bits)?);
            }
            0x23 => strings(std::mem::replace(&mut part, Wire(&[])), |id| Ok(list.ids.insert(id.to_vec())))?,
            0x39 => extension(std::mem::replace(&mut part, Wire(&[])))?,
            other => return Err(format!("it has a list of certificates of the unknown kind {other:#x}")),
        }
        if !part.is_empty() {
            return Err("a list of certificates is longer than what it holds".into());
        }
    }
    list.serials = joined(list.serials);
    Ok(list)
}

fn range(first: u64, last: u64) -> Result<(u64, u64), String> {
    if first == 0 || first > last {
        return Err(format!("{first} to {last} is no range of serial numbers: they begin with 1"));
    }
    Ok((first, last))
}

fn bitmap(first: u64, bits: &[u8]) -> Result<Bitmap, String> {
    // A number, so the first bit would be its sign.
    if bits.first().is_some_and(|byte| byte & 0x80 != 0) {
        return Err("a bitmap is a negative number".into());
    }
    let leading = bits.iter().take_while(|byte| **byte == 0).count();
    let bits = &bits[leading..];
    // Small where the list is: OpenSSH itself takes 2 KiB.
    let highest = (bits.len() as u64 * 8).saturating_sub(1 + u64::from(bits.first().map_or(0, |byte| byte.leading_zeros())));
    if first.checked_add(highest).is_none() {
        return Err("a bitmap goes beyond the last serial number".into());
    }
    if first == 0 && bits.last().is_some_and(|byte| byte & 1 == 1) {
        return Err("a bitmap holds the serial number 0: they begin with 1".into());
    }
    Ok(Bitmap { first, bits: bits.to_vec() })
}

/// Sorted, with those in one that touch.
fn joined(mut ranges: Vec<(u64, u64)>) -> Vec<(u64, u64)> {
    ranges.sort_unstable();
    let mut joined: Vec<(u64, u64)> = Vec::new();
    for (first, last) in ranges {
        match joined.last_mut() {
            Some(before) if first <= before.1.saturating_add(1) => before.1 = before.1.max(last),
            _ => joined.push((first, last)),
        }
    }
    joined
}

#[cfg(test)]
mod tests {
    use super::*;

    fn string(bytes: &[u8]) -> Vec<u8> {
        [&(bytes.len() as u32).to_be_bytes(), bytes].concat()
    }

    fn section(kind: u8, bytes: &[u8]) -> Vec<u8> {
        [&[kind], string(bytes).as_slice()].concat()
    }

    fn krl(sections: &[Vec<u8>]) -> Vec<u8> {
        let header = [MAGIC, &VERSION.to_be_bytes(), &[0; 24], &string(b""), &string(b"a comment")].concat();
        [header, sections.concat()].concat()
    }

    fn certificates(parts: &[Vec<u8>]) -> Vec<u8> {
        section(1, &[string(b""), string(b""), parts.concat()].concat())
    }

    fn extension(critical: u8) -> Vec<u8> {
        [string(b"name@example.com"), vec![critical], string(b"contents")].concat()
    }

    #[test]
    fn extensions_are_passed_over_unless_they_are_critical() {
        assert!(Krl::parse(&krl(&[section(255, &extension(0)), certificates(&[section(0x39, &extension(0))])])).is_ok());
        for sections in [section(255, &extension(1)), certificates(&[section(0x39, &extension(1))])] {
            let why = Krl::parse(&krl(&[sections])).unwrap_err();
            assert!(why.contains("name@example.com"), "{why}");
        }
        assert!(Krl::parse(&krl(&[section(255, b"")])).is_err());
        for critical in [0, 1] {
            let longer = [extension(critical), vec![0]].concat();
            assert_eq!(Krl::parse(&krl(&[section(255, &longer)])).unwrap_err(), "an extension can't be read");
        }
    }

    #[test]
    fn a_list_that_is_signed_or_holds_what_is_not_known_is_refused_as_a_whole() {
        let number = |number: u64| number.to_be_bytes().to_vec();
        for (sections, word) in [
            (section(4, b"key"), "signed"),
            (section(6, b""), "unknown kind 6"),
            (certificates(&[section(0x24, b"")]), "unknown kind 0x24"),
            (section(3, &string(&[0; 19])), "19 bytes"),
            (section(5, &string(&[0; 20])), "20 bytes"),
            (section(2, b"\0\0\0\x09"), "within an entry"),
            (section(1, &[string(b"no key"), string(b"")].concat()), "authority can't be read"),
            (certificates(&[section(0x20, &number(0))]), "begin with 1"),
            (certificates(&[section(0x21, &[number(5), number(4)].concat())]), "no range"),
            (certificates(&[section(0x21, &[number(4), number(5), vec![0]].concat())]), "longer than"),
            (certificates(&[section(0x22, &[number(u64::MAX), string(&[3])].concat())]), "beyond the last"),
            (certificates(&[section(0x22, &[number(0), string(&[1])].concat())]), "begin with 1"),
            (certificates(&[section(0x22, &[number(1), string(&[0x80])].concat())]), "negative"),
            (certificates(&[section(0x20, &[0; 7])]), "too early"),
        ] {
            let why = Krl::parse(&krl(std::slice::from_ref(&sections))).unwrap_err();
            assert!(why.contains(word), "{why}: {word}");
        }
    }

    #[test]
    fn a_list_of_another_version_is_refused_by_it() {
        for version in [0, 2] {
            let mut other = krl(&[]);
            other[MAGIC.len() + 3] = version;
            let why = Krl::parse(&other).unwrap_err();
            assert!(why.contains(&format!("version {version}")), "{why}");
        }
    }

    #[test]
    fn a_list_that_is_cut_anywhere_is_refused_or_ends_where_a_section_does() {
        let whole = krl(&[section(2, &string(b"a key")), certificates(&[section(0x23, &string(b"an id"))])]);
        let ends = [whole.len(), krl(&[]).len(), krl(&[section(2, &string(b"a key"))]).len()];
        for length in 0..=whole.len() {
            assert_eq!(Krl::parse(&whole[..length]).is_ok(), ends.contains(&length), "{length}");
        }
    }

    #[test]
    fn ranges_that_touch_are_one() {
        assert_eq!(joined(vec![(7, 9), (1, 3), (4, 5), (2, 2), (u64::MAX, u64::MAX)]), [(1, 5), (7, 9), (u64::MAX, u64::MAX)]);
    }

    #[test]
    fn a_bitmap_counts_from_its_last_bit() {
        let map = bitmap(100, &[0, 0b1, 0b1000_0010]).unwrap();
        let set: Vec<u64> = (0..200).filter(|serial| map.contains(*serial)).collect();
        assert_eq!(set, [101, 107, 108]);
        assert!(bitmap(u64::MAX, &[1]).unwrap().contains(u64::MAX));
        assert!(!map.contains(u64::MAX));
        // From 0 on, which no certificate has.
        assert!(bitmap(0, &[0b10]).unwrap().contains(1) && bitmap(0, &[0b11]).is_err());
    }

    #[test]
    fn a_key_that_is_listed_as_a_whole_is_found_by_its_fingerprint() {
        let [one, other] = ["one key", "another"].map(str::as_bytes);
        let fingerprint = |blob: &[u8]| Fingerprint::Sha256(sha2::Sha256::digest(blob).into()).to_string();
        let list = Krl::parse(&krl(&[section(2, &string(one))])).unwrap();
        assert!(list.revokes_fingerprint(&fingerprint(one)) && !list.revokes_fingerprint(&fingerprint(other)));
    }
}
