//! Commits and tags out of the mirror, which anybody who may push fills: bounded, and taken apart.

use gix::objs::Kind;
use tk8s_core::{CommitId, TreeId};

use super::commits::Look;
use super::object::{Parsed, What};
use super::signature::Broken;
use super::{ObjectVerdict, Rule, Trail, parse_along};
use crate::Error;
use crate::store::Store;

/// What is said of a signature.
pub(crate) type Judged = Result<ObjectVerdict, Broken>;

/// A commit, its tree, and what is said of its signature. The tree is known even where the signature is refused, as a
/// waiver needs it.
pub(super) fn commit_of(
    store: &Store,
    id: &str,
    look: Option<&mut Look<'_>>,
) -> Result<(CommitId, Option<TreeId>, Judged), Error> {
    commit_along(store, id, look, Trail::SILENT)
}

/// The same, and notes what was found on the way.
pub(crate) fn commit_along(
    store: &Store,
    id: &str,
    look: Option<&mut Look<'_>>,
    trail: Trail<'_>,
) -> Result<(CommitId, Option<TreeId>, Judged), Error> {
    let commit: CommitId = id.parse().map_err(|_| Error::Object { id: id.into(), why: "it is not an object id".into() })?;
    let parsed = match commit_in(store, id, trail)? {
        Ok(parsed) => parsed,
        Err(broken) => return Ok((commit, None, Err(broken))),
    };
    let tree = match &parsed.what {
        What::Commit { tree, .. } => Some(tree.clone()),
        What::Tag { .. } | What::TagOfTag { .. } => None,
    };
    let judged = match look {
        Some(look) => look.at(id, &parsed, trail)?,
        None => Err((Rule::Unsigned, "no signers are configured".into())),
    };
    Ok((commit, tree, judged))
}

/// A commit, taken apart.
pub(super) fn commit_in(store: &Store, id: &str, trail: Trail<'_>) -> Result<Result<Parsed, Broken>, Error> {
    if let Err(refused) = bounded_along(store, id, trail) {
        return Ok(Err(refused));
    }
    let (kind, raw) = store.read(id)?;
    let is_commit = trail.require("it is a commit, and its bytes are what its id says", kind == Kind::Commit, || {
        (Rule::MalformedObject, format!("{id} is not a commit"))
    });
    Ok(is_commit.and_then(|()| parse_along(kind, &raw, trail)))
}

/// The bytes of a tag object.
pub(super) fn tag_in(store: &Store, id: &str) -> Result<Result<Vec<u8>, Broken>, Error> {
    if let Err(refused) = bounded(store, id) {
        return Ok(Err(refused));
    }
    Ok(match store.read(id)? {
        (Kind::Tag, raw) => Ok(raw),
        _ => Err((Rule::LightweightTag, "it is not an annotated tag".into())),
    })
}

/// The largest commit or tag that is read. Anybody who may push can make larger ones, signed by nobody.
const LARGEST: u64 = 1024 * 1024;

/// Refuses what is too large to be a commit or a tag, before it is read.
fn bounded(store: &Store, id: &str) -> Result<(), Broken> {
    bounded_along(store, id, Trail::SILENT)
}

/// The same, and notes what was found.
fn bounded_along(store: &Store, id: &str, trail: Trail<'_>) -> Result<(), Broken> {
    let size = store.size(id);
    let outcome = match size {
        Some(size) if size > LARGEST => {
            Err((Rule::MalformedObject, format!("{id} has {size} bytes, at most {LARGEST} are read of a commit or tag")))
        }
        _ => Ok(()),
    };
    trail.ask("it is not too large to be read", outcome, |()| size.map(|size| format!("{size} bytes")).unwrap_or_default())
}
