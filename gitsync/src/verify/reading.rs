//! Commits and tags out of the mirror, which anybody who may push fills: bounded, and taken apart.

use gix::objs::Kind;
use tk8s_core::{CommitId, Timestamp, TreeId};

use super::object::What;
use super::{ObjectVerdict, Rule, Signers, parse, verify_parsed};
use crate::Error;
use crate::store::Store;

/// What is said of a signature.
pub(crate) type Judged = Result<ObjectVerdict, (Rule, String)>;

/// A commit, its tree, and what is said of its signature. The tree is known even where the signature is refused, as a
/// waiver needs it.
pub(crate) fn commit_of(
    store: &Store,
    id: &str,
    signers: Option<&Signers>,
    now: Timestamp,
) -> Result<(CommitId, Option<TreeId>, Judged), Error> {
    let commit: CommitId = id.parse().map_err(|_| Error::Object { id: id.into(), why: "it is not an object id".into() })?;
    if let Err(refused) = bounded(store, id) {
        return Ok((commit, None, Err(refused)));
    }
    let (kind, raw) = store.read(id)?;
    if kind != Kind::Commit {
        return Ok((commit, None, Err((Rule::MalformedObject, format!("{id} is not a commit")))));
    }
    match parse(kind, &raw) {
        Ok(parsed) => {
            let tree = match &parsed.what {
                What::Commit { tree } => Some(tree.clone()),
                What::Tag { .. } | What::TagOfTag { .. } => None,
            };
            let judged = match signers {
                Some(signers) => verify_parsed(&parsed, id, signers, now),
                None => Err((Rule::Unsigned, "no signers are configured".into())),
            };
            Ok((commit, tree, judged))
        }
        Err(found) => Ok((commit, None, Err(found))),
    }
}

/// The largest commit or tag that is read. Anybody who may push can make larger ones, signed by nobody.
const LARGEST: u64 = 1024 * 1024;

/// Refuses what is too large to be a commit or a tag, before it is read.
pub(super) fn bounded(store: &Store, id: &str) -> Result<(), (Rule, String)> {
    match store.size(id) {
        Some(size) if size > LARGEST => {
            Err((Rule::MalformedObject, format!("{id} has {size} bytes, at most {LARGEST} are read of a commit or tag")))
        }
        _ => Ok(()),
    }
}
