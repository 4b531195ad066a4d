//! Version tags, as `production` follows them: which is the highest that passes, and what is wrong with the others.

use gix::objs::Kind;
use tk8s_core::{CommitId, Environment, Revision, TagRef, Timestamp, TreeId, Trust};

use super::approvals::approved;
use super::commits::Look;
use super::object::What;
use super::policy::{Accepted, ProductionPolicy, SeenTag, Verification, is_of_time};
use super::reading::{commit_in, commit_of, tag_in};
use super::versions::{Named, named};
use super::{Refusal, Rule, Signers, Trail, parse, verify_parsed};
use crate::Error;
use crate::sealed::{Fetched, VerifiedRevision};

/// The highest version tag that passes.
pub(super) fn tags(
    fetched: &Fetched,
    policy: &ProductionPolicy,
    accepted: &Accepted,
    now: Timestamp,
) -> Result<Verification, Error> {
    let signers = &policy.signers;
    let mut result = Verification::default();
    let refuse = |name: &str, id: &str, rule: Rule, message: String| Refusal {
        reference: format!("refs/tags/{name}"),
        object: Some(id.to_owned()),
        rule,
        message,
    };
    let mut versions = Vec::new();
    for (name, id) in &fetched.tags {
        match named(name) {
            Named::Release(version) => versions.push((version, name, id)),
            // One that was accepted while candidates were followed stays so.
            Named::Candidate(version) if policy.versions.pre_releases || accepted.version.as_ref() == Some(&version) => {
                versions.push((version, name, id));
            }
            // Nobody says that it is a release.
            Named::Candidate(_) | Named::Else => {}
            Named::Suffix => {
                let message = "it has a suffix; only plain versions and candidates (`-rc.1`) are followed".into();
                result.refused.push(refuse(name, id, Rule::NotAVersion, message));
            }
            Named::NoVersion => result.refused.push(refuse(name, id, Rule::NotAVersion, "it is not a version".into())),
        }
    }
    if let Some(version) = &accepted.version {
        let name = format!("v{version}");
        if !fetched.tags.contains_key(&name) && !accepted.knows_it_is_gone(&format!("refs/tags/{name}")) {
            result.refused.push(refuse(
                &name,
                "",
                Rule::TagVanished,
                "it was accepted and is no longer there; what runs stays".into(),
            ));
        }
    }
    versions.sort_by(|a, b| b.0.cmp(&a.0));
    for (version, name, id) in versions {
        let seen = accepted.tags.get(name);
        if seen.is_some_and(|seen| seen.tag.as_str() != id) {
            let message = "it does not name what it named when it was accepted".to_owned();
            result.refused.push(refuse(name, id, Rule::TagMoved, message));
            continue;
        }
        if accepted.version.as_ref().is_some_and(|accepted| version < *accepted) {
            // What is no tag object was never meant as a release.
            if seen.is_none() && target(fetched, id).is_some() {
                result.refused.push(refuse(name, id, Rule::VersionLower, "a higher version was accepted before".into()));
            }
            continue;
        }
        if result.revision.is_some() {
            // At first sight of the repository older releases are history, not news; but from now on they may not move.
            if accepted.version.is_none()
                && seen.is_none()
                && let Some(commit) = target(fetched, id)
                && let Ok(tag) = id.parse()
            {
                result.first_seen.push((name.clone(), SeenTag { tag, tree: tree_of(fetched, &commit), commit }));
            }
            continue;
        }
        let near = |passed| match &accepted.version {
            Some(before) => policy.versions.max_jump.allows(before, &version).map(|()| passed),
            None => Ok(passed),
        };
        let judged = tag(fetched, name, id, signers, accepted, now)?;
        match judged.and_then(|passed| near(passed).map_err(|message| (Rule::VersionJump, message))) {
            Ok((revision, trust)) => {
                if seen.is_none() {
                    let tag = id.parse().map_err(|_| Error::Object { id: id.clone(), why: "it is not an object id".into() })?;
                    let (commit, tree) = (revision.commit.clone(), Some(revision.tree.clone()));
                    result.first_seen.push((name.clone(), SeenTag { tag, commit, tree }));
                }
                let trust = match approved(fetched, &revision, trust, policy, accepted, now, &mut result)? {
                    Some(trust) => trust,
                    None => continue,
                };
                result.revision = VerifiedRevision::new(revision, trust, Environment::Production, fetched.store.clone());
            }
            Err((rule, message)) => result.refused.push(refuse(name, id, rule, message)),
        }
    }
    Ok(result)
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

/// What passed, or the rule that refused it.
type Passed = Result<(Revision, Trust), (Rule, String)>;

/// One version tag: the tag and its commit are signed, and the commit is where it should be.
fn tag(fetched: &Fetched, name: &str, id: &str, signers: &Signers, accepted: &Accepted, now: Timestamp) -> Result<Passed, Error> {
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
    let waives = |rule, before: &CommitId| accepted.waives(rule, &reference, Some(id), before.as_str());
    if !fetched.store.is_ancestor(commit.as_str(), &fetched.head)?
        && !accepted.head.as_ref().is_some_and(|before| waives(Rule::NotOnReleaseBranch, before))
    {
        return refuse(
            Rule::NotOnReleaseBranch,
            format!("{} can't be reached from `{}`", commit.short(), fetched.follow.branch()),
        );
    }
    if let Some(before) = &accepted.head
        && !fetched.store.is_ancestor(before.as_str(), commit.as_str())?
        && !waives(Rule::NotDescendant, before)
    {
        return refuse(
            Rule::NotDescendant,
            format!("{} does not descend from {}, which was accepted", commit.short(), before.short()),
        );
    }
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
    Ok(Ok((Revision { reference, commit, tree, tag: Some(tag) }, trust)))
}
