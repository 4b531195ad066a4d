//! OpenPGP packets: where each begins and ends is read here, strictly, what is inside by the library.
//!
//! Lengths that are not known in advance (partial, indeterminate) are for streams of data. No signature or certificate
//! needs one.

use pgp::packet::{Packet, PacketHeader};
use pgp::types::{PacketHeaderVersion, PacketLength, Tag};

/// A packet that nothing has looked into yet.
pub(super) struct Raw<'a> {
    pub(super) tag: Tag,
    version: PacketHeaderVersion,
    body: &'a [u8],
}

impl Raw<'_> {
    /// What is inside.
    pub(super) fn read(&self) -> Result<Packet, String> {
        let fail = |error: pgp::errors::Error| tk8s_core::printable(&error.to_string(), 200);
        let length = PacketLength::Fixed(u32::try_from(self.body.len()).map_err(|_| "it is too long")?);
        let header = PacketHeader::from_parts(self.version, self.tag, length).map_err(fail)?;
        Packet::from_reader(header, self.body).map_err(fail)
    }
}

/// Takes the packets apart: all bytes belong to one, or it is an error.
pub(super) fn split(mut bytes: &[u8]) -> Result<Vec<Raw<'_>>, &'static str> {
    let mut packets = Vec::new();
    while let Some((&first, rest)) = bytes.split_first() {
        let (tag, version, (length, rest)) = match first {
            0xc0.. => (first & 0x3f, PacketHeaderVersion::New, new_length(rest)?),
            0x80.. => (first >> 2 & 0x0f, PacketHeaderVersion::Old, old_length(first & 3, rest)?),
            _ => return Err("it holds something that is no OpenPGP packet"),
        };
        let (body, rest) = rest.split_at_checked(length).ok_or("a packet is cut off")?;
        packets.push(Raw { tag: Tag::from(tag), version, body });
        bytes = rest;
    }
    Ok(packets)
}

type Length<'a> = Result<(usize, &'a [u8]), &'static str>;

fn new_length(bytes: &[u8]) -> Length<'_> {
    match bytes {
        [one @ 0..192, rest @ ..] => Ok((usize::from(*one), rest)),
        [one @ 192..224, two, rest @ ..] => Ok((((usize::from(*one) - 192) << 8) + usize::from(*two) + 192, rest)),
        [255, rest @ ..] => number::<4>(rest),
        [224..=254, ..] => Err("a packet comes in parts"),
        _ => Err("a packet is cut off"),
    }
}

fn old_length(kind: u8, bytes: &[u8]) -> Length<'_> {
    match kind {
        0 => number::<1>(bytes),
        1 => number::<2>(bytes),
        2 => number::<4>(bytes),
        _ => Err("a packet has no length"),
    }
}

fn number<const SIZE: usize>(bytes: &[u8]) -> Length<'_> {
    let (digits, rest) = bytes.split_first_chunk::<SIZE>().ok_or("a packet is cut off")?;
    Ok((digits.iter().fold(0, |number, &digit| number << 8 | usize::from(digit)), rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_end_where_their_length_says() {
        let body = [b'x'; 300];
        let long = |header: &[u8]| [header, &body].concat();
        for (bytes, tag, length) in [
            (b"\xcd\x02hi".to_vec(), Tag::UserId, 2),
            (long(&[0xcd, 192, 108]), Tag::UserId, 300),
            (long(&[0xcd, 255, 0, 0, 1, 44]), Tag::UserId, 300),
            (b"\xb4\x02hi".to_vec(), Tag::UserId, 2),
            (long(&[0xb5, 1, 44]), Tag::UserId, 300),
            (long(&[0x9a, 0, 0, 1, 44]), Tag::PublicKey, 300),
        ] {
            let packets = split(&bytes).unwrap();
            assert_eq!(packets.len(), 1);
            assert_eq!((packets[0].tag, packets[0].body.len()), (tag, length));
        }
        assert_eq!(split(b"\xcd\x02hi\xb4\x00").unwrap().len(), 2);
        assert_eq!(split(&[&[0xcd, 193, 44][..], &[b'x'; 256 + 44 + 192]].concat()).unwrap().len(), 1);
        assert_eq!(split(b"\xcd\xe1hi").err(), Some("a packet comes in parts"));
        assert!(split(b"").unwrap().is_empty());
    }

    #[test]
    fn bytes_that_belong_to_no_packet_and_lengths_that_are_not_known_are_refused() {
        for bytes in [
            &b"text"[..],
            b"\xcd",
            b"\xcd\xc0",
            b"\xcd\xff\x00\x00",
            b"\xcd\x03hi",
            b"\xcd\x02hi\x97",
            b"\xcd\xe1hi",
            b"\xb7hi",
            b"\xcd\xff\xff\xff\xff\xffhi",
        ] {
            assert!(split(bytes).is_err(), "{bytes:?}");
        }
    }
}
