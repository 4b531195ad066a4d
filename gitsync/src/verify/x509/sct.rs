//! That a certificate was written into a log of certificates before it was given out (RFC 6962): the log's signature is in
//! the certificate, over the certificate without it. An authority that certifies somebody in secret can't show one.

use der::asn1::{AnyRef, ObjectIdentifier, OctetStringRef};
use der::{Decode as _, Encode as _, Reader as _, SliceReader, Tag, TagNumber, Tagged as _};
use sha2::{Digest as _, Sha256};
use tk8s_core::Timestamp;
use x509_cert::Certificate;

use super::log::Log;

/// Where the signatures of logs are.
const LIST: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.11129.2.4.2");

/// Whether one of these logs signed this certificate, whose authority has this key.
pub(super) fn is_logged(certificate: &Certificate, authority: &[u8], logs: &[Log]) -> bool {
    signed(certificate, authority, logs).unwrap_or(false)
}

fn signed(certificate: &Certificate, authority: &[u8], logs: &[Log]) -> der::Result<bool> {
    let extensions = certificate.tbs_certificate().extensions().map(Vec::as_slice).unwrap_or_default();
    let Some(list) = extensions.iter().find(|extension| extension.extn_id == LIST) else { return Ok(false) };
    let list = <&OctetStringRef>::from_der(list.extn_value.as_bytes())?.as_bytes();
    let bare = without_list(&certificate.tbs_certificate().to_der()?)?;
    let mut rest = list.split_at_checked(2).map(|(_, rest)| rest).unwrap_or_default();
    while let Some((one, after)) = counted(rest) {
        rest = after;
        if Promise::read(one).is_some_and(|promise| promise.is_by(logs, &bare, authority)) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// What one log says.
struct Promise<'a> {
    log: &'a [u8],
    time: u64,
    extensions: &'a [u8],
    signature: &'a [u8],
}

impl<'a> Promise<'a> {
    fn read(bytes: &'a [u8]) -> Option<Promise<'a>> {
        let (version, rest) = bytes.split_first()?;
        let (log, rest) = rest.split_at_checked(32)?;
        let (time, rest) = rest.split_first_chunk()?;
        let (extensions, rest) = counted(rest)?;
        // Which hash and kind of key: the log's own key says that as well.
        let (_, rest) = rest.split_at_checked(2)?;
        let (signature, rest) = counted(rest)?;
        (*version == 0 && rest.is_empty()).then_some(Promise { log, time: u64::from_be_bytes(*time), extensions, signature })
    }

    fn is_by(&self, logs: &[Log], bare: &[u8], authority: &[u8]) -> bool {
        let time = i64::try_from(self.time).ok().and_then(|time| Timestamp::from_millisecond(time).ok());
        let log = logs.iter().find(|log| log.is_called(self.log) && time.is_some_and(|time| log.is_believed_at(time)));
        let length = u32::try_from(bare.len()).unwrap_or(u32::MAX).to_be_bytes();
        let extensions = u16::try_from(self.extensions.len()).unwrap_or(u16::MAX).to_be_bytes();
        // Version 1, a certificate's time, of a certificate that is not given out yet.
        let key = Sha256::digest(authority);
        let parts: [&[u8]; 7] = [&[0, 0], &self.time.to_be_bytes(), &[0, 1], &key, &length[1..], bare, &extensions];
        log.is_some_and(|log| log.signed(&[&parts.concat(), self.extensions].concat(), self.signature))
    }
}

/// Bytes that their length stands before, in two bytes.
fn counted(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk()?;
    rest.split_at_checked(usize::from(u16::from_be_bytes(*length)))
}

/// What the log saw: the same without its own signature.
fn without_list(certificate: &[u8]) -> der::Result<Vec<u8>> {
    let mut bare = Vec::new();
    for part in parts(AnyRef::from_der(certificate)?.value())? {
        let is_extensions = part.tag() == Tag::ContextSpecific { constructed: true, number: TagNumber(3) };
        if !is_extensions {
            part.encode_to_vec(&mut bare)?;
            continue;
        }
        let mut kept = Vec::new();
        for extension in parts(AnyRef::from_der(part.value())?.value())? {
            let is_list = parts(extension.value())?.first().is_some_and(|kind| kind.decode_as::<ObjectIdentifier>() == Ok(LIST));
            if !is_list {
                extension.encode_to_vec(&mut kept)?;
            }
        }
        let kept = AnyRef::new(Tag::Sequence, &kept)?.to_der()?;
        AnyRef::new(part.tag(), &kept)?.encode_to_vec(&mut bare)?;
    }
    AnyRef::new(Tag::Sequence, &bare)?.to_der()
}

/// The values that stand one after the other in another.
fn parts(bytes: &[u8]) -> der::Result<Vec<AnyRef<'_>>> {
    let (mut reader, mut found) = (SliceReader::new(bytes)?, Vec::new());
    while !reader.is_finished() {
        found.push(AnyRef::decode(&mut reader)?);
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_promise_is_of_the_first_version_and_nothing_follows_it() {
        let promise = |version: u8, after: &[u8]| {
            [&[version][..], &[7; 32], &8_u64.to_be_bytes(), &[0, 1, 9], &[4, 3], &[0, 2, 5, 6], after].concat()
        };
        let good = promise(0, &[]);
        let read = Promise::read(&good).unwrap();
        assert_eq!((read.log, read.time, read.extensions, read.signature), (&[7; 32][..], 8, &[9][..], &[5, 6][..]));
        for other in [promise(1, &[]), promise(0, &[0]), promise(1, &[0]), good[..good.len() - 1].to_vec()] {
            assert!(Promise::read(&other).is_none());
        }
    }
}
