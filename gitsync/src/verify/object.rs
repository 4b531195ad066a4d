//! Commits and annotated tags as raw bytes: taken apart strictly, so that they can be read in one way only, and verified
//! over exactly the bytes that will be used.
//!
//! Git itself is more lenient (it accepts unknown signature headers, several signatures, bytes after a tag's signature):
//! each of these is refused here by its own rule. Formats: git's `gitformat-signature` documentation.

use std::collections::HashSet;

use serde::Serialize;
use tk8s_core::{CommitId, TagId, Timestamp, TreeId};

use super::signature::{self, Asked, Broken, Signed};
use super::{Refusal, Role, Rule, SignerKind, Signers, Trail};

/// What kind of object was verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ObjectKind {
    /// A commit.
    Commit,
    /// An annotated tag.
    Tag,
}

/// A yes: who signed the object, with which key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ObjectVerdict {
    /// What it is.
    pub kind: ObjectKind,
    /// The object's id, computed from its bytes.
    pub id: String,
    /// The signer's name in the signers file.
    pub signer: String,
    /// The key, as the programs of its kind print it: `SHA256:...` for SSH.
    pub fingerprint: String,
}

/// An object taken apart. What it says is not verified yet.
#[derive(Debug)]
pub(crate) struct Parsed {
    pub(crate) what: What,
    /// The bytes that the signature covers.
    payload: Vec<u8>,
    /// Where the message begins in them.
    message: usize,
    signature: Option<Vec<u8>>,
}

impl Parsed {
    /// The bytes that the signature covers.
    pub(super) fn payload(&self) -> &[u8] {
        &self.payload
    }

    /// What people wrote.
    pub(super) fn message(&self) -> &[u8] {
        self.payload.get(self.message..).unwrap_or_default()
    }

    /// The signature, without which nothing counts.
    pub(super) fn signature(&self) -> Result<&[u8], Broken> {
        let kind = if matches!(self.what, What::Commit { .. }) { "commit" } else { "tag" };
        self.signature.as_deref().ok_or_else(|| (Rule::Unsigned, format!("the {kind} has no signature")))
    }
}

/// What an object says.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum What {
    Commit {
        tree: TreeId,
        parents: Vec<CommitId>,
    },
    Tag {
        name: String,
        commit: CommitId,
    },
    /// Made by [`parse_approval`] only.
    TagOfTag {
        name: String,
        tag: TagId,
    },
}

impl What {
    /// The object that it is about.
    fn named(&self) -> String {
        match self {
            What::Commit { tree, .. } => tree.to_string(),
            What::Tag { commit, .. } => commit.to_string(),
            What::TagOfTag { tag, .. } => tag.to_string(),
        }
    }
}

fn broken<T>(rule: Rule, message: impl Into<String>) -> Result<T, Broken> {
    Err((rule, message.into()))
}

/// Verifies a raw commit or tag, with or without the header of a loose object (`commit 123\0`).
pub fn verify_object(raw: &[u8], signers: &Signers, now: Timestamp) -> Result<ObjectVerdict, Refusal> {
    judge_object(raw, signers, now, Trail::SILENT)
}

/// The same, and notes what was found on the way.
pub(crate) fn judge_object(raw: &[u8], signers: &Signers, now: Timestamp, trail: Trail<'_>) -> Result<ObjectVerdict, Refusal> {
    let body = without_loose_header(raw);
    let sha256 = body
        .split(|&byte| byte == b'\n')
        .next()
        .is_some_and(|line| line.rsplit(|&byte| byte == b' ').next().is_some_and(|id| id.len() == 64));
    let kind = if body.starts_with(b"object ") { gix::objs::Kind::Tag } else { gix::objs::Kind::Commit };
    let hash = if sha256 { gix::hash::Kind::Sha256 } else { gix::hash::Kind::Sha1 };
    let refuse = |(rule, message): Broken, id: Option<String>| Refusal { reference: "object".into(), object: id, rule, message };
    let id = gix::objs::compute_hash(hash, kind, body).map(|id| id.to_string());
    let id = id.map_err(|_| (Rule::WrongObjectId, "its bytes collide with a known attack on SHA-1".to_owned()));
    let id = trail.ask("its bytes are not made to collide with others", id, |id| format!("their id is {id}"));
    let id = id.map_err(|found| refuse(found, None))?;
    let parsed = parse_along(kind, body, trail).map_err(|found| refuse(found, Some(id.clone())))?;
    verify_along(&parsed, &id, signers, now, trail).map_err(|found| refuse(found, Some(id)))
}

/// `commit 123\0` and `tag 123\0` stand before the bytes of loose objects.
fn without_loose_header(raw: &[u8]) -> &[u8] {
    for kind in [&b"commit "[..], b"tag "] {
        if let Some(rest) = raw.strip_prefix(kind)
            && let Some(end) = rest.iter().take(20).position(|&byte| byte == 0)
            && rest[..end].iter().all(u8::is_ascii_digit)
            && std::str::from_utf8(&rest[..end]).is_ok_and(|length| length.parse() == Ok(rest.len() - end - 1))
        {
            return &rest[end + 1..];
        }
    }
    raw
}

/// Verifies the signature of an object that was taken apart, which has to be a person's.
pub(crate) fn verify_parsed(parsed: &Parsed, id: &str, signers: &Signers, now: Timestamp) -> Result<ObjectVerdict, Broken> {
    verify_along(parsed, id, signers, now, Trail::SILENT)
}

/// The same, and notes what was found on the way.
pub(crate) fn verify_along(
    parsed: &Parsed,
    id: &str,
    signers: &Signers,
    now: Timestamp,
    trail: Trail<'_>,
) -> Result<ObjectVerdict, Broken> {
    let signed = signed_along(parsed, signers, now, trail)?;
    trail.require("not the Git host alone signed it", signed.kind != SignerKind::Forge, || {
        let message = format!("{}: {} is a forge, whose signature alone is nobody's word", signed.fingerprint, signed.signer);
        (Rule::ForgeSigner, message)
    })?;
    Ok(verdict(parsed, id, signed))
}

/// Who signed an object that was taken apart, be it a person or a forge.
pub(super) fn signed_along(parsed: &Parsed, signers: &Signers, now: Timestamp, trail: Trail<'_>) -> Result<Signed, Broken> {
    let block = trail.ask("it is signed", parsed.signature(), |block| {
        format!("over {} bytes, by {} bytes", parsed.payload.len(), block.len())
    })?;
    signature::verify(&parsed.payload, block, signers, Asked { role: Role::RELEASE, now, trail })
}

/// The yes to an object whose signature counts.
pub(super) fn verdict(parsed: &Parsed, id: &str, signed: Signed) -> ObjectVerdict {
    let kind = match parsed.what {
        What::Commit { .. } => ObjectKind::Commit,
        What::Tag { .. } | What::TagOfTag { .. } => ObjectKind::Tag,
    };
    ObjectVerdict { kind, id: id.into(), signer: signed.signer, fingerprint: signed.fingerprint }
}

/// Takes an object apart.
pub(crate) fn parse(kind: gix::objs::Kind, raw: &[u8]) -> Result<Parsed, Broken> {
    parse_along(kind, raw, Trail::SILENT)
}

/// The same, and notes what was found on the way.
pub(crate) fn parse_along(kind: gix::objs::Kind, raw: &[u8], trail: Trail<'_>) -> Result<Parsed, Broken> {
    without_nul(raw, trail)?;
    match kind {
        gix::objs::Kind::Commit => parse_commit(raw, trail),
        gix::objs::Kind::Tag => {
            let parsed = parse_tag(raw, trail)?;
            trail.require("it names a commit", !matches!(parsed.what, What::TagOfTag { .. }), || {
                (Rule::NestedTag, "the tag names another tag".into())
            })?;
            Ok(parsed)
        }
        _ => broken(Rule::MalformedObject, "it is neither a commit nor a tag"),
    }
}

fn without_nul(raw: &[u8], trail: Trail<'_>) -> Result<(), Broken> {
    trail.require("it holds no NUL byte", !raw.contains(&0), || (Rule::MalformedObject, "it holds a NUL byte".into()))
}

/// One header with its continuation lines, and where it stands.
struct Header<'a> {
    name: &'a str,
    value: Vec<u8>,
    range: std::ops::Range<usize>,
}

/// Far above what Git writes: a merge has a header for each parent.
const MOST_HEADERS: usize = 1000;

/// The headers, and where the message begins.
fn headers(raw: &[u8]) -> Result<(Vec<Header<'_>>, usize), Broken> {
    let mut headers: Vec<Header<'_>> = Vec::new();
    let mut at = 0;
    loop {
        let Some(length) = raw[at..].iter().position(|&byte| byte == b'\n') else {
            return broken(Rule::MalformedObject, "its headers do not end");
        };
        let line = &raw[at..at + length];
        let next = at + length + 1;
        if line.is_empty() {
            return Ok((headers, next));
        }
        if let Some(continued) = line.strip_prefix(b" ") {
            let Some(header) = headers.last_mut() else {
                return broken(Rule::MalformedObject, "it begins with a continuation line");
            };
            header.value.push(b'\n');
            header.value.extend_from_slice(continued);
            header.range.end = next;
        } else {
            let space = line.iter().position(|&byte| byte == b' ');
            let name = space.and_then(|space| std::str::from_utf8(&line[..space]).ok());
            let (Some(space), Some(name)) = (space, name) else {
                return broken(Rule::MalformedObject, "it has a header without a value");
            };
            if headers.len() == MOST_HEADERS {
                return broken(Rule::MalformedObject, format!("it has more than {MOST_HEADERS} headers"));
            }
            headers.push(Header { name, value: line[space + 1..].to_vec(), range: at..next });
        }
        at = next;
    }
}

/// The headers, and where the message begins; each of them is there once but those that may be there more often, and none of
/// them looks like a signature but `own`.
fn unambiguous<'a>(raw: &'a [u8], own: Option<&str>, trail: Trail<'_>) -> Result<(Vec<Header<'a>>, usize), Broken> {
    let read = headers(raw);
    let (headers, message) = trail.ask("its headers can be read", read, |(headers, _)| shown(headers))?;
    let names: Vec<&str> = headers.iter().map(|header| header.name).collect();
    if let Some(own) = own {
        let signatures = names.iter().filter(|name| **name == own).count();
        trail.require("it has one signature at most", signatures <= 1, || {
            (Rule::SecondSignature, format!("the header `{own}` occurs twice"))
        })?;
    }
    let stranger = names.iter().find(|name| name.starts_with("gpgsig") && own != Some(**name));
    trail.require("no other header looks like a signature", stranger.is_none(), || {
        let shown = tk8s_core::printable(stranger.copied().unwrap_or_default(), 40);
        (Rule::UnknownSignatureHeader, format!("it has the header `{shown}`"))
    })?;
    let twice = twice(&names);
    trail.require("no header occurs twice", twice.is_none(), || {
        let shown = tk8s_core::printable(twice.unwrap_or_default(), 40);
        (Rule::DuplicateHeader, format!("the header `{shown}` occurs twice"))
    })?;
    Ok((headers, message))
}

fn shown(headers: &[Header<'_>]) -> String {
    let names: Vec<&str> = headers.iter().map(|header| header.name).collect();
    tk8s_core::printable(&names.join(", "), 200)
}

/// A header that occurs twice and must not. Merges have several parents, and the tags that they merged.
fn twice<'a>(names: &[&'a str]) -> Option<&'a str> {
    let mut seen = HashSet::new();
    names.iter().copied().filter(|name| !matches!(*name, "parent" | "mergetag")).find(|name| !seen.insert(*name))
}

fn parse_commit(raw: &[u8], trail: Trail<'_>) -> Result<Parsed, Broken> {
    // The length of the first id says which hash the repository has, and so which header holds its signature.
    let first = raw.split(|&byte| byte == b'\n').next().unwrap_or_default();
    let own = if first.len() == "tree ".len() + 64 { "gpgsig-sha256" } else { "gpgsig" };
    let (headers, mut message) = unambiguous(raw, Some(own), trail)?;
    let tree: Result<TreeId, Broken> = match headers.first() {
        Some(Header { name: "tree", value, .. }) => id(value),
        _ => broken(Rule::MalformedObject, "it does not begin with its tree"),
    };
    let tree = trail.ask("it begins with its tree", tree, ToString::to_string)?;
    let misplaced = headers.windows(2).find(|pair| rank(pair[0].name) > rank(pair[1].name));
    trail.require("its headers are where Git writes them", misplaced.is_none(), || {
        let shown = tk8s_core::printable(misplaced.map(|pair| pair[1].name).unwrap_or_default(), 40);
        (Rule::MalformedObject, format!("the header `{shown}` is not where Git writes it"))
    })?;
    let parents = headers.iter().filter(|header| header.name == "parent").map(|header| id::<CommitId>(&header.value));
    let parents =
        trail.ask("its parents are commits", parents.collect::<Result<Vec<_>, _>>(), |parents| match parents.len() {
            0 => "it has none".into(),
            1 => parents[0].to_string(),
            merged => format!("it merges {merged}"),
        })?;
    let missing = ["author", "committer"].into_iter().find(|needed| headers.iter().all(|header| header.name != *needed));
    trail.require("it has an author and a committer", missing.is_none(), || {
        (Rule::MalformedObject, format!("it has no {}", missing.unwrap_or_default()))
    })?;
    let mut payload = raw.to_vec();
    let mut signature = None;
    if let Some(header) = headers.iter().find(|header| header.name == own) {
        payload.drain(header.range.clone());
        message -= header.range.len();
        signature = Some(header.value.clone());
    }
    Ok(Parsed { what: What::Commit { tree, parents }, payload, message, signature })
}

/// The order in which Git writes the headers of a commit; anything else comes after them.
fn rank(name: &str) -> u8 {
    match name {
        "tree" => 0,
        "parent" => 1,
        "author" => 2,
        "committer" => 3,
        _ => 4,
    }
}

/// The first words of each kind of signature that Git knows.
const MARKERS: [&str; 4] = [
    "-----BEGIN SSH SIGNATURE-----",
    "-----BEGIN PGP SIGNATURE-----",
    "-----BEGIN PGP MESSAGE-----",
    "-----BEGIN SIGNED MESSAGE-----",
];

/// Takes an approval apart, which is a tag of a tag where it is one.
pub(super) fn parse_approval(raw: &[u8]) -> Result<Parsed, Broken> {
    without_nul(raw, Trail::SILENT)?;
    parse_tag(raw, Trail::SILENT)
}

/// A tag of a commit, or of a tag.
fn parse_tag(raw: &[u8], trail: Trail<'_>) -> Result<Parsed, Broken> {
    let (headers, message) = unambiguous(raw, None, trail)?;
    let in_order = headers.iter().map(|header| header.name).eq(["object", "type", "tag", "tagger"]);
    trail.require("it has the headers of a tag", in_order, || {
        (Rule::MalformedObject, "a tag has the headers object, type, tag and tagger, in this order".into())
    })?;
    let (name, object) = (std::str::from_utf8(&headers[2].value), &headers[0].value);
    let name = name.map_err(|_| (Rule::MalformedObject, "the tag's name is not UTF-8".to_owned()));
    let name = trail.ask("its name can be read", name, |name| tk8s_core::printable(name, 80))?.to_owned();
    let what = match headers[1].value.as_slice() {
        b"commit" => id(object).map(|commit| What::Tag { name, commit }),
        b"tag" => id(object).map(|tag| What::TagOfTag { name, tag }),
        _ => broken(Rule::MalformedObject, "the tag does not name a commit"),
    };
    let what = trail.ask("it names an object by its id", what, What::named)?;
    let starts: Vec<usize> =
        line_starts(raw, message).filter(|&at| MARKERS.iter().any(|marker| raw[at..].starts_with(marker.as_bytes()))).collect();
    trail.require("it holds one signature at most", starts.len() <= 1, || {
        (Rule::SecondSignature, "the tag holds more than one signature block".into())
    })?;
    let payload = starts.first().map_or(raw, |&at| &raw[..at]).to_vec();
    let signature = starts.first().map(|&at| raw[at..].to_vec());
    Ok(Parsed { what, payload, message, signature })
}

/// Where the lines of the message begin.
fn line_starts(raw: &[u8], from: usize) -> impl Iterator<Item = usize> + '_ {
    std::iter::once(from)
        .chain(raw[from..].iter().enumerate().filter(|(_, byte)| **byte == b'\n').map(move |(at, _)| from + at + 1))
}

fn id<T: std::str::FromStr>(value: &[u8]) -> Result<T, Broken> {
    let text = std::str::from_utf8(value).ok();
    text.and_then(|text| text.parse().ok()).ok_or((Rule::MalformedObject, "it names an object by something that is no id".into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_people_wrote_begins_after_the_headers_that_are_signed() {
        let headers = "tree 4b825dc642cb6eb9a060e54bf8d69288fbee4904\nauthor A <a> 0 +0000\ncommitter A <a> 0 +0000\n";
        for signature in ["", "gpgsig one\n two\n"] {
            let parsed = parse(gix::objs::Kind::Commit, format!("{headers}{signature}\nfirst\n").as_bytes()).unwrap();
            assert_eq!(parsed.message(), b"first\n");
            assert_eq!(parsed.payload(), format!("{headers}\nfirst\n").as_bytes());
        }
    }
}
