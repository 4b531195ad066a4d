//! Verifying a revision of a local repository, without an agent: the same rules over the same bytes.

use std::path::Path;

use gix::objs::Kind;
use tk8s_core::{CommitId, Timestamp};

use crate::Error;
use crate::store::Store;
use crate::verify::{
    Broken, Look, Notes, ObjectVerdict, Questioned, Refusal, Rule, Signers, Trail, What, commit_along, judge_object, parse,
    parse_along, verify_along,
};

/// Yes, with what was verified; or the rule that says no.
pub type Judged = Result<Vec<ObjectVerdict>, Refusal>;

/// A verdict, and everything that it was made of.
#[derive(Debug)]
pub struct Explained {
    /// What was asked about: the full ref, or the id itself.
    pub reference: String,
    /// Of a tag and of its commit, or of a commit: the last one is the commit's.
    pub verdict: Judged,
    /// What was asked about each object, in this order. The last check is the one that refused, if one did.
    pub objects: Vec<Questioned>,
}

/// Verifies a commit, or a tag and its commit. The revision is a commit id, a full ref, or the name of one branch or tag:
/// a name that is both is refused, as Git would silently take the tag. The last verdict is the commit's.
pub fn verify_revision(repository: &Path, revision: &str, signers: &Signers, now: Timestamp) -> Result<Judged, Error> {
    let store = open(repository)?;
    let named = resolve(&store, revision)?;
    judge(&store, &named, signers, now, Trail::SILENT)
}

/// The same, and tells what the verdict was made of.
pub fn explain_revision(repository: &Path, revision: &str, signers: &Signers, now: Timestamp) -> Result<Explained, Error> {
    let store = open(repository)?;
    let named = resolve(&store, revision)?;
    let notes = Notes::default();
    let verdict = judge(&store, &named, signers, now, notes.trail())?;
    Ok(Explained { reference: named.reference, verdict, objects: notes.objects() })
}

/// As [`crate::verify_object`], and tells what the verdict was made of.
pub fn explain_object(raw: &[u8], signers: &Signers, now: Timestamp) -> Explained {
    let notes = Notes::default();
    notes.trail().about(|| "object".into());
    let verdict = judge_object(raw, signers, now, notes.trail()).map(|verdict| vec![verdict]);
    Explained { reference: "object".into(), verdict, objects: notes.objects() }
}

/// Verifies each commit of `FROM..TO` for itself: those that can be reached from the one and not from the other, newest first.
/// What is said of each is handed over as soon as it is known; how many there were is given back. Tags may name either end;
/// only commits are judged.
pub fn explain_range(
    repository: &Path,
    (from, to): (&str, &str),
    signers: &Signers,
    now: Timestamp,
    mut tell: impl FnMut(Explained),
) -> Result<usize, Error> {
    let store = open(repository)?;
    let end = |name: &str| commit_named(&store, &resolve(&store, name)?);
    let commits = store.since(&end(to)?, &[&end(from)?])?;
    for id in &commits {
        let notes = Notes::default();
        let named = Named { reference: id.clone(), id: id.clone() };
        let verdict = judge(&store, &named, signers, now, notes.trail())?;
        tell(Explained { reference: named.reference, verdict, objects: notes.objects() });
    }
    Ok(commits.len())
}

fn open(repository: &Path) -> Result<Store, Error> {
    Store::open(repository, crate::Limits::default().commits)
}

/// A tag, if it is one, and its commit; or a commit.
fn judge(store: &Store, named: &Named, signers: &Signers, now: Timestamp, trail: Trail<'_>) -> Result<Judged, Error> {
    let refuse = |object: &str, (rule, message): Broken| {
        Ok(Err(Refusal { reference: named.reference.clone(), object: Some(object.to_owned()), rule, message }))
    };
    let (mut verdicts, mut commit) = (Vec::new(), named.id.clone());
    let (kind, raw) = store.read(&named.id)?;
    if kind == Kind::Tag || named.is_tag() {
        trail.about(|| format!("tag {}", named.id));
        match judge_tag(kind, &raw, named, signers, now, trail) {
            Ok((verdict, tagged)) => {
                verdicts.push(verdict);
                commit = tagged.to_string();
            }
            Err(found) => return refuse(&named.id, found),
        }
    }
    trail.about(|| format!("commit {commit}"));
    match commit_along(store, &commit, Some(&mut Look::new(store, signers, now, &[])), trail)?.2 {
        Ok(verdict) => verdicts.push(verdict),
        Err(found) => return refuse(&commit, found),
    }
    Ok(Ok(verdicts))
}

fn judge_tag(
    kind: Kind,
    raw: &[u8],
    named: &Named,
    signers: &Signers,
    now: Timestamp,
    trail: Trail<'_>,
) -> Result<(ObjectVerdict, CommitId), Broken> {
    let id = &named.id;
    trail.require("it is an annotated tag, and its bytes are what its id says", kind == Kind::Tag, || {
        (Rule::LightweightTag, format!("it is only a name for {id}, which nobody signed; ask for {id} to have that judged"))
    })?;
    let parsed = parse_along(kind, raw, trail)?;
    let What::Tag { name, commit } = &parsed.what else {
        return Err((Rule::MalformedObject, "it is not a tag".into()));
    };
    trail.require("it calls itself as its ref is called", named.may_be_called(name), || {
        (Rule::TagNameMismatch, format!("the tag object calls itself `{}`", tk8s_core::printable(name, 80)))
    })?;
    Ok((verify_along(&parsed, id, signers, now, trail)?, commit.clone()))
}

/// What a revision names.
struct Named {
    /// The full ref, or the id itself.
    reference: String,
    id: String,
}

impl Named {
    fn is_tag(&self) -> bool {
        self.reference.starts_with("refs/tags/")
    }

    /// Whether a tag object of this name may stand here. Of one that was named by its id, no ref says how it is called.
    fn may_be_called(&self, name: &str) -> bool {
        self.reference.strip_prefix("refs/tags/").is_none_or(|short| short == name)
    }
}

/// The commit itself, or the one that a tag names.
fn commit_named(store: &Store, named: &Named) -> Result<String, Error> {
    let no_commit = || Error::Revision { revision: tk8s_core::printable(&named.reference, 80), why: "names no commit".into() };
    let (kind, raw) = store.read(&named.id)?;
    match parse(kind, &raw).map_err(|_| no_commit())?.what {
        What::Commit { .. } => Ok(named.id.clone()),
        What::Tag { commit, .. } => Ok(commit.to_string()),
        What::TagOfTag { .. } => Err(no_commit()),
    }
}

/// What a name stands for in this repository.
fn resolve(store: &Store, revision: &str) -> Result<Named, Error> {
    let fail = |why: &str| Error::Revision { revision: tk8s_core::printable(revision, 80), why: why.into() };
    let repository = store.local();
    if let Ok(id) = revision.parse::<CommitId>() {
        return Ok(Named { reference: id.to_string(), id: id.to_string() });
    }
    if revision == "HEAD" {
        let id = repository.head_id().map_err(|_| fail("names nothing: the repository has no commit"))?;
        return Ok(Named { reference: "HEAD".into(), id: id.to_string() });
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
            found.push(Named { reference: name, id: id.to_string() });
        }
    }
    match found.len() {
        0 => Err(fail("is not a commit id, a full ref, or the name of a branch or tag")),
        1 => Ok(found.remove(0)),
        _ => Err(fail("is both a branch and a tag: write `refs/heads/...` or `refs/tags/...`")),
    }
}
