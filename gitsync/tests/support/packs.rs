//! Packs made by hand, as no Git would write them.

use std::io::Write as _;

/// An entry of a pack: kind, what its header says it has, what it is based on, and what it has.
pub fn entry(kind: u8, declared: u64, base: &[u8], bytes: &[u8]) -> Vec<u8> {
    let mut header = Vec::new();
    let mut first = kind << 4 | (declared & 15) as u8;
    let mut rest = declared >> 4;
    while rest > 0 {
        header.push(first | 0x80);
        first = (rest & 0x7f) as u8;
        rest >>= 7;
    }
    header.push(first);
    header.extend(base);
    let mut deflate = flate2::write::ZlibEncoder::new(header, flate2::Compression::best());
    deflate.write_all(bytes).unwrap();
    deflate.finish().unwrap()
}

/// A pack with a checksum that is right.
pub fn pack(count: u32, entries: &[Vec<u8>]) -> Vec<u8> {
    use sha1::Digest as _;
    let mut bytes = [&b"PACK\0\0\0\x02"[..], &count.to_be_bytes(), &entries.concat()].concat();
    let checksum = sha1::Sha1::digest(&bytes);
    bytes.extend(checksum);
    bytes
}
