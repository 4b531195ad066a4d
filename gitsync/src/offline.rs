//! Verifying a revision of a local repository, without an agent: the same rules over the same bytes.

use std::path::Path;

use gix::objs::Kind;
use tk8s_core::Timestamp;

use crate::Error;
use crate::store::Store;
use crate::verify::{ObjectVerdict, Refusal, Signers, commit_of, parse, verify_parsed};

/// Verifies a commit, or a tag and its commit. The revision is a commit id, a full ref, or the name of one branch or tag:
/// a name that is both is refused, as Git would silently take the tag. The last verdict is the commit's.
pub fn verify_revision(
    repository: &Path,
    revision: &str,
    signers: &Signers,
    now: Timestamp,
) -> Result<Result<Vec<ObjectVerdict>, Refusal>, Error> {
    let store = Store::open(repository, crate::Limits::default().commits)?;
    let (reference, id) = resolve(&store, revision)?;
    let refuse =
        |object: &str, (rule, message)| Refusal { reference: reference.clone(), object: Some(object.to_owned()), rule, message };
    let (kind, raw) = store.read(&id)?;
    let mut verdicts = Vec::new();
    let mut commit = id.clone();
    if kind == Kind::Tag {
        let parsed = match parse(kind, &raw) {
            Ok(parsed) => parsed,
            Err(found) => return Ok(Err(refuse(&id, found))),
        };
        if let crate::verify::What::Tag { name, commit: tagged } = &parsed.what {
            if reference.strip_prefix("refs/tags/").is_some_and(|short| short != name) {
                let message = format!("the tag object calls itself `{}`", tk8s_core::printable(name, 80));
                return Ok(Err(refuse(&id, (crate::Rule::TagNameMismatch, message))));
            }
            commit = tagged.to_string();
        }
        match verify_parsed(&parsed, &id, signers, now) {
            Ok(verdict) => verdicts.push(verdict),
            Err(found) => return Ok(Err(refuse(&id, found))),
        }
    }
    match commit_of(&store, &commit, Some(signers), now)?.2 {
        Ok(verdict) => verdicts.push(verdict),
        Err(found) => return Ok(Err(refuse(&commit, found))),
    }
    Ok(Ok(verdicts))
}

/// The full ref (or the id itself) and the object it names.
fn resolve(store: &Store, revision: &str) -> Result<(String, String), Error> {
    let fail = |why: &str| Error::Revision { revision: tk8s_core::printable(revision, 80), why: why.into() };
    let repository = store.local();
    if let Ok(id) = revision.parse::<tk8s_core::CommitId>() {
        return Ok((id.to_string(), id.to_string()));
    }
    if revision == "HEAD" {
        let id = repository.head_id().map_err(|_| fail("names nothing: the repository has no commit"))?;
        return Ok(("HEAD".into(), id.to_string()));
    }
    let candidates = if revision.starts_with("refs/") {
        vec![revision.to_owned()]
    } else {
        ["refs/heads/", "refs/tags/"].map(|prefix| format!("{prefix}{revision}")).to_vec()
    };
    let mut found = Vec::new();
    for name in candidates {
        if let Ok(Some(reference)) = repository.try_find_reference(name.as_str())
            && let Some(id) = reference.try_id()
        {
            found.push((name, id.to_string()));
        }
    }
    match found.len() {
        0 => Err(fail("is not a commit id, a full ref, or the name of a branch or tag")),
        1 => Ok(found.remove(0)),
        _ => Err(fail("is both a branch and a tag: write `refs/heads/...` or `refs/tags/...`")),
    }
}
