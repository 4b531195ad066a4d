//! Version tags, as `production` follows them.

use gix::objs::Kind;
use semver::Version;
use tk8s_core::{CommitId, Environment, Revision, TagRef, Timestamp, TreeId, Trust};

use super::commits::Look;
use super::line::{Line, Next, Place, Tags, refusal};
use super::object::What;
use super::policy::{Accepted, ProductionPolicy, Verification, is_of_time};
use super::reading::{commit_in, commit_of, tag_in};
use super::signature::Broken;
use super::versions::{Named, is_candidate, named};
use super::{Rule, Trail, parse, verify_parsed};
use crate::Error;
use crate::sealed::{Fetched, VerifiedRevision};

/// The highest version tag of the platform that passes. Those of single components wait until it is known what it has.
pub(super) fn tags(
    fetched: &Fetched,
    policy: &ProductionPolicy,
    accepted: &Accepted,
    now: Timestamp,
) -> Result<Verification, Error> {
    let mut result = Verification::default();
    let mut versions = Vec::new();
    for (name, id) in &fetched.tags {
        match named(name) {
            Named::Version(None, version) if is_followed(policy, &version, accepted.version.as_ref()) => {
                versions.push((version, name, id));
            }
            // Nobody says that it is a release, or the platform's.
            Named::Version(_, _) | Named::Else => {}
            Named::Suffix => {
                let message = "it has a suffix that is neither a component nor a candidate's (`-rc.1`)".into();
                result.refused.push(refusal(name, id, (Rule::NotAVersion, message)));
            }
            Named::NoVersion => result.refused.push(refusal(name, id, (Rule::NotAVersion, "it is not a version".into()))),
        }
    }
    let line = Line { component: None, accepted: accepted.version.as_ref(), next: Next::Platform };
    let newest = Tags { fetched, policy, accepted, now }.newest(&line, versions, &mut result)?;
    result.revision = newest
        .and_then(|(revision, trust)| VerifiedRevision::new(revision, trust, Environment::Production, fetched.store.clone()));
    Ok(result)
}

/// Whether a version is looked at: candidates only if they are followed, or if one was accepted while they were.
pub(super) fn is_followed(policy: &ProductionPolicy, version: &Version, accepted: Option<&Version>) -> bool {
    !is_candidate(version) || policy.versions.pre_releases || accepted == Some(version)
}

/// The commit that a tag object names; none if it is no tag object, or not one that can be read.
pub(super) fn target(fetched: &Fetched, id: &str) -> Option<CommitId> {
    let raw = tag_in(&fetched.store, id).ok()?.ok()?;
    match parse(Kind::Tag, &raw).ok()?.what {
        What::Tag { commit, .. } => Some(commit),
        What::Commit { .. } | What::TagOfTag { .. } => None,
    }
}

/// A commit's tree, if it can be read.
pub(super) fn tree_of(fetched: &Fetched, commit: &CommitId) -> Option<TreeId> {
    match commit_in(&fetched.store, commit.as_str(), Trail::SILENT).ok()?.ok()?.what {
        What::Commit { tree, .. } => Some(tree),
        What::Tag { .. } | What::TagOfTag { .. } => None,
    }
}

/// What passed, why, and where it is; or the rule that refused it.
type Passed = Result<(Revision, Trust, Place), Broken>;

/// One version tag: the tag and its commit are signed, and the commit is where it should be.
pub(super) fn tag(tags: &Tags<'_>, line: &Line<'_>, name: &str, id: &str) -> Result<Passed, Error> {
    let Tags { fetched, policy, accepted, now } = *tags;
    let signers = &policy.signers;
    let refuse = |rule: Rule, message: String| Ok(Err((rule, message)));
    let parsed = match tag_in(&fetched.store, id)?.and_then(|raw| parse(Kind::Tag, &raw)) {
        Ok(parsed) => parsed,
        Err((rule, message)) => return refuse(rule, message),
    };
    let What::Tag { name: inside, commit } = &parsed.what else { return refuse(Rule::MalformedObject, "it is not a tag".into()) };
    if inside != name {
        return refuse(Rule::TagNameMismatch, format!("the tag object calls itself `{}`", tk8s_core::printable(inside, 80)));
    }
    let reference = format!("refs/tags/{name}");
    let standing = accepted.standing(&reference, id);
    let tag_verdict = match verify_parsed(&parsed, id, signers, now) {
        Ok(verdict) => Some(verdict),
        Err((rule, _)) if is_of_time(rule) && standing.is_some() => None,
        Err((rule, message)) => return refuse(rule, message),
    };
    let mut look = Look::new(&fetched.store, signers, now, &[accepted.head.as_ref().map(|head| head.as_str())]);
    let (commit, tree, verdict) = commit_of(&fetched.store, commit.as_str(), Some(&mut look))?;
    let verdict = match verdict {
        Ok(verdict) => Some(verdict),
        Err((rule, _)) if is_of_time(rule) && standing.is_some() => None,
        Err((rule, message)) => return refuse(rule, format!("the tagged commit {}: {message}", commit.short())),
    };
    let Some(tree) = tree else { return refuse(Rule::MalformedObject, "the tagged commit can't be read".into()) };
    let place = match tags.place(line, &reference, id, &commit)? {
        Ok(place) => place,
        Err(broken) => return Ok(Err(broken)),
    };
    let tag = TagRef {
        name: name.into(),
        id: id.parse().map_err(|_| Error::Object { id: id.into(), why: "it is not an object id".into() })?,
    };
    let trust = match (verdict, tag_verdict, standing) {
        (Some(commit), Some(tag), _) => {
            let (signer, fingerprint, tag_signer) = (commit.signer, commit.fingerprint, Some(tag.signer));
            Trust::Signed { signer, fingerprint, tag_signer, approvals: Vec::new() }
        }
        (_, _, Some(standing)) => standing.clone(),
        (_, _, None) => return refuse(Rule::MalformedObject, "nobody is known to have signed it".into()),
    };
    Ok(Ok((Revision { reference, commit, tree, tag: Some(tag) }, trust, place)))
}
