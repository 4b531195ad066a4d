//! Commits and annotated tags as raw bytes: taken apart strictly, so that they can be read in one way only, and verified
//! over exactly the bytes that will be used.
//!
//! Git itself is more lenient (it accepts unknown signature headers, several signatures, bytes after a tag's signature):
//! each of these is refused here by its own rule. Formats: git's `gitformat-signature` documentation.

use serde::Serialize;
use tk8s_core::{CommitId, TagId, Timestamp, TreeId};

use super::signature::{self, Asked, Broken};
use super::{Refusal, Role, Rule, SignerKind, Signers};

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

fn broken<T>(rule: Rule, message: impl Into<String>) -> Result<T, Broken> {
    Err((rule, message.into()))
}

/// Verifies a raw commit or tag, with or without the header of a loose object (`commit 123\0`).
pub fn verify_object(raw: &[u8], signers: &Signers, now: Timestamp) -> Result<ObjectVerdict, Refusal> {
    let body = without_loose_header(raw);
    let sha256 = body
        .split(|&byte| byte == b'\n')
        .next()
        .is_some_and(|line| line.rsplit(|&byte| byte == b' ').next().is_some_and(|id| id.len() == 64));
    let kind = if body.starts_with(b"object ") { gix::objs::Kind::Tag } else { gix::objs::Kind::Commit };
    let hash = if sha256 { gix::hash::Kind::Sha256 } else { gix::hash::Kind::Sha1 };
    let refuse = |(rule, message): Broken, id: Option<String>| Refusal { reference: "object".into(), object: id, rule, message };
    let id = gix::objs::compute_hash(hash, kind, body)
        .map_err(|_| refuse((Rule::WrongObjectId, "its bytes collide with a known attack on SHA-1".into()), None))?;
    let id = id.to_string();
    let parsed = parse(kind, body).map_err(|found| refuse(found, Some(id.clone())))?;
    verify_parsed(&parsed, &id, signers, now).map_err(|found| refuse(found, Some(id)))
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

/// Verifies the signature of an object that was taken apart.
pub(crate) fn verify_parsed(parsed: &Parsed, id: &str, signers: &Signers, now: Timestamp) -> Result<ObjectVerdict, Broken> {
    let kind = match parsed.what {
        What::Commit { .. } => ObjectKind::Commit,
        What::Tag { .. } | What::TagOfTag { .. } => ObjectKind::Tag,
    };
    let signed = signature::verify(&parsed.payload, parsed.signature()?, signers, Asked { role: Role::RELEASE, now })?;
    if signed.kind == SignerKind::Forge {
        let message = format!("{}: {} is a forge, whose signature alone is nobody's word", signed.fingerprint, signed.signer);
        return broken(Rule::ForgeSigner, message);
    }
    Ok(ObjectVerdict { kind, id: id.into(), signer: signed.signer, fingerprint: signed.fingerprint })
}

/// Takes an object apart.
pub(crate) fn parse(kind: gix::objs::Kind, raw: &[u8]) -> Result<Parsed, Broken> {
    if raw.contains(&0) {
        return broken(Rule::MalformedObject, "it holds a NUL byte");
    }
    match kind {
        gix::objs::Kind::Commit => parse_commit(raw),
        gix::objs::Kind::Tag => match parse_tag(raw)? {
            Parsed { what: What::TagOfTag { .. }, .. } => broken(Rule::NestedTag, "the tag names another tag"),
            parsed => Ok(parsed),
        },
        _ => broken(Rule::MalformedObject, "it is neither a commit nor a tag"),
    }
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

fn parse_commit(raw: &[u8]) -> Result<Parsed, Broken> {
    let (headers, mut message) = headers(raw)?;
    let tree: TreeId = match headers.first() {
        Some(Header { name: "tree", value, .. }) => id(value)?,
        _ => return broken(Rule::MalformedObject, "it does not begin with its tree"),
    };
    let own = if tree.as_str().len() == 64 { "gpgsig-sha256" } else { "gpgsig" };
    // Git writes: tree, parents, author, committer, then anything else.
    let rank = |name: &str| match name {
        "tree" => 0,
        "parent" => 1,
        "author" => 2,
        "committer" => 3,
        _ => 4,
    };
    let mut seen = Vec::new();
    for header in &headers {
        let singleton = !matches!(header.name, "parent" | "mergetag");
        if header.name == own && seen.contains(&own) {
            return broken(Rule::SecondSignature, format!("the header `{own}` occurs twice"));
        }
        if header.name.starts_with("gpgsig") && header.name != own {
            return broken(
                Rule::UnknownSignatureHeader,
                format!("it has the header `{}`", tk8s_core::printable(header.name, 40)),
            );
        }
        if singleton && seen.contains(&header.name) {
            return broken(Rule::DuplicateHeader, format!("the header `{}` occurs twice", tk8s_core::printable(header.name, 40)));
        }
        if seen.last().is_some_and(|last| rank(last) > rank(header.name)) {
            return broken(
                Rule::MalformedObject,
                format!("the header `{}` is not where Git writes it", tk8s_core::printable(header.name, 40)),
            );
        }
        if header.name == "parent" {
            id::<CommitId>(&header.value)?;
        }
        seen.push(header.name);
    }
    for needed in ["author", "committer"] {
        if !seen.contains(&needed) {
            return broken(Rule::MalformedObject, format!("it has no {needed}"));
        }
    }
    let mut payload = raw.to_vec();
    let mut signature = None;
    if let Some(header) = headers.iter().find(|header| header.name == own) {
        payload.drain(header.range.clone());
        message -= header.range.len();
        signature = Some(header.value.clone());
    }
    Ok(Parsed { what: What::Commit { tree }, payload, message, signature })
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
    if raw.contains(&0) {
        return broken(Rule::MalformedObject, "it holds a NUL byte");
    }
    parse_tag(raw)
}

/// A tag of a commit, or of a tag.
fn parse_tag(raw: &[u8]) -> Result<Parsed, Broken> {
    let (headers, message) = headers(raw)?;
    if let Some(header) = headers.iter().find(|header| header.name.starts_with("gpgsig")) {
        return broken(
            Rule::UnknownSignatureHeader,
            format!("the tag has the header `{}`", tk8s_core::printable(header.name, 40)),
        );
    }
    let names: Vec<_> = headers.iter().map(|header| header.name).collect();
    for name in &names {
        if names.iter().filter(|other| other == &name).count() > 1 {
            return broken(Rule::DuplicateHeader, format!("the header `{}` occurs twice", tk8s_core::printable(name, 40)));
        }
    }
    if names != ["object", "type", "tag", "tagger"] {
        return broken(Rule::MalformedObject, "a tag has the headers object, type, tag and tagger, in this order");
    }
    let name =
        std::str::from_utf8(&headers[2].value).map_err(|_| (Rule::MalformedObject, "the tag's name is not UTF-8".to_owned()))?;
    let starts: Vec<usize> =
        line_starts(raw, message).filter(|&at| MARKERS.iter().any(|marker| raw[at..].starts_with(marker.as_bytes()))).collect();
    let (name, object) = (name.to_owned(), &headers[0].value);
    let what = match headers[1].value.as_slice() {
        b"commit" => What::Tag { name, commit: id(object)? },
        b"tag" => What::TagOfTag { name, tag: id(object)? },
        _ => return broken(Rule::MalformedObject, "the tag does not name a commit"),
    };
    match starts.as_slice() {
        [] => Ok(Parsed { what, payload: raw.to_vec(), message, signature: None }),
        [at] => Ok(Parsed { what, payload: raw[..*at].to_vec(), message, signature: Some(raw[*at..].to_vec()) }),
        _ => broken(Rule::SecondSignature, "the tag holds more than one signature block"),
    }
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
