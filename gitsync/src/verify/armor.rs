//! ASCII armour, of OpenPGP (RFC 9580, 6.2) and of X.509 (RFC 7468), read strictly: it begins where the text begins, and what
//! follows it is handed back.
//!
//! OpenPGP's checksum is passed over, as its RFC demands: it protects from noise, and a signature does that better.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// Headers such as `Version:`. Nothing in them is used.
const MOST_HEADERS: usize = 16;

/// Whether lines with headers, and an empty one, stand before the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Headers {
    /// Any number of them, and always the empty line.
    Allowed,
    /// Not even the empty line.
    None,
}

/// The bytes of the block of this kind at the beginning of the text, and what follows its last line.
pub(super) fn block<'a>(text: &'a [u8], kind: &str, headers: Headers) -> Result<(Vec<u8>, &'a [u8]), &'static str> {
    let mut rest = text;
    let mut line = || {
        let end = rest.iter().position(|&byte| byte == b'\n');
        let line = &rest[..end.unwrap_or(rest.len())];
        rest = end.map_or(&[][..], |end| &rest[end + 1..]);
        // White space at the end of a line means nothing, and some programs end lines with CR LF.
        (line.trim_ascii_end(), rest)
    };
    if line().0 != format!("-----BEGIN {kind}-----").as_bytes() {
        return Err("its armour does not begin");
    }
    for read in 0.. {
        if headers == Headers::None {
            break;
        }
        match line().0 {
            b"" => break,
            _ if read == MOST_HEADERS => return Err("its armour has too many headers"),
            header if header.contains(&b':') => {}
            _ => return Err("its armour has no empty line after its headers"),
        }
    }
    let (last, mut encoded) = (format!("-----END {kind}-----"), Vec::new());
    loop {
        match line() {
            (found, rest) if found == last.as_bytes() => {
                let bytes = STANDARD.decode(&encoded).map_err(|_| "its armour is not base64")?;
                return Ok((bytes, rest));
            }
            (b"", []) => return Err("its armour does not end"),
            (checksum, _) if headers == Headers::Allowed && checksum.len() == 5 && checksum[0] == b'=' => {}
            (found, _) => encoded.extend_from_slice(found),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KIND: &str = "PGP SIGNATURE";

    #[test]
    fn a_block_is_read_with_headers_checksum_and_either_end_of_line() {
        for text in [
            "-----BEGIN PGP SIGNATURE-----\n\naGVs\nbG8=\n=abcd\n-----END PGP SIGNATURE-----",
            "-----BEGIN PGP SIGNATURE-----\nVersion: 1\nComment: two\n\naGVsbG8=\n-----END PGP SIGNATURE-----\n",
            "-----BEGIN PGP SIGNATURE-----\r\n\r\naGVsbG8=\r\n=abcd\r\n-----END PGP SIGNATURE-----\r\n",
        ] {
            assert_eq!(block(text.as_bytes(), KIND, Headers::Allowed), Ok((b"hello".to_vec(), &b""[..])), "{text}");
        }
        let more = "-----BEGIN PGP SIGNATURE-----\n\naGVsbG8=\n-----END PGP SIGNATURE-----\nmore";
        assert_eq!(block(more.as_bytes(), KIND, Headers::Allowed).unwrap().1, b"more");
    }

    #[test]
    fn some_blocks_have_no_headers() {
        let text = "-----BEGIN SIGNED MESSAGE-----\naGVs\nbG8=\n-----END SIGNED MESSAGE-----\n";
        assert_eq!(block(text.as_bytes(), "SIGNED MESSAGE", Headers::None), Ok((b"hello".to_vec(), &b""[..])));
        for text in [
            "-----BEGIN SIGNED MESSAGE-----\nVersion: 1\n\naGVsbG8=\n-----END SIGNED MESSAGE-----\n",
            "-----BEGIN SIGNED MESSAGE-----\naGVsbG8=\n=abcd\n-----END SIGNED MESSAGE-----\n",
        ] {
            assert!(block(text.as_bytes(), "SIGNED MESSAGE", Headers::None).is_err());
        }
    }

    #[test]
    fn what_is_no_block_is_refused() {
        let headers = "a: b\n".repeat(MOST_HEADERS + 1);
        for text in [
            "",
            "\n-----BEGIN PGP SIGNATURE-----\n\naGVsbG8=\n-----END PGP SIGNATURE-----",
            "-----BEGIN PGP SIGNATURE-----",
            "-----BEGIN PGP SIGNATURE-----\n\naGVsbG8=",
            "-----BEGIN PGP SIGNATURE-----\nno header\n\naGVsbG8=\n-----END PGP SIGNATURE-----",
            "-----BEGIN PGP SIGNATURE-----\naGVsbG8=\n-----END PGP SIGNATURE-----",
            "-----BEGIN PGP SIGNATURE-----\n\naGVs bG8=\n-----END PGP SIGNATURE-----",
            "-----BEGIN PGP SIGNATURE-----\n\naGVsbG8=\n-----END PGP MESSAGE-----",
            "-----BEGIN PGP MESSAGE-----\n\naGVsbG8=\n-----END PGP MESSAGE-----",
            &format!("-----BEGIN PGP SIGNATURE-----\n{headers}\naGVsbG8=\n-----END PGP SIGNATURE-----"),
        ] {
            assert!(block(text.as_bytes(), KIND, Headers::Allowed).is_err(), "{text}");
        }
    }
}
