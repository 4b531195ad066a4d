//! Lines of versions: the platform's, and one of each component. Of a line it is decided which is the highest version that
//! passes, and what is wrong with the others. Numbers and commits of a line only go forward.

use semver::Version;
use tk8s_core::{CommitId, ComponentName, Revision, TagId, Timestamp, Trust};

use super::policy::{Accepted, ProductionPolicy, SeenTag, Verification};
use super::signature::Broken;
use super::tags::{tag, target, tree_of};
use super::{Refusal, Rule, versions};
use crate::Error;
use crate::sealed::Fetched;

/// Versions that follow one another.
pub(super) struct Line<'a> {
    /// The component that they are of; none for the platform's.
    pub(super) component: Option<&'a ComponentName>,
    /// The version that was accepted last.
    pub(super) accepted: Option<&'a Version>,
    /// Where the next commit is.
    pub(super) next: Next<'a>,
}

impl<'a> Line<'a> {
    /// What is followed by now: what can be reached from there is not new.
    pub(super) fn follows(&self, accepted: &'a Accepted) -> [Option<&'a str>; 2] {
        match self.next {
            Next::Platform => [accepted.head.as_ref().map(|head| head.as_str()), None],
            Next::Component { platform, ahead } => [Some(platform.as_str()), ahead.map(|ahead| ahead.as_str())],
        }
    }
}

/// Where on the release branch a line goes on.
pub(super) enum Next<'a> {
    /// The platform's: from what was accepted last.
    Platform,
    /// A component's: from the commit that it follows, by a tag of its own or the platform's. What the platform has reached
    /// is over.
    Component {
        /// The platform's commit.
        platform: &'a CommitId,
        /// What the component follows, if that is ahead of the platform.
        ahead: Option<&'a CommitId>,
    },
}

/// Where a commit is.
pub(super) enum Place {
    /// Where the line goes on, or stands.
    Next,
    /// The platform's release has it already.
    Passed,
}

/// A version, the name of its tag, and what that points at.
pub(super) type Tagged<'a> = (Version, &'a String, &'a String);

/// One look at version tags.
pub(super) struct Tags<'a> {
    pub(super) fetched: &'a Fetched,
    pub(super) policy: &'a ProductionPolicy,
    pub(super) accepted: &'a Accepted,
    pub(super) now: Timestamp,
}

impl Tags<'_> {
    /// The highest version of a line that passes, and why. Everything that is refused on the way to it goes into `result`.
    pub(super) fn newest(
        &self,
        line: &Line<'_>,
        mut versions: Vec<Tagged<'_>>,
        result: &mut Verification,
    ) -> Result<Option<(Revision, Trust)>, Error> {
        let (fetched, accepted) = (self.fetched, self.accepted);
        let mut newest = None;
        self.miss_accepted(line, result);
        versions.sort_by(|a, b| b.0.cmp(&a.0));
        for (version, name, id) in versions {
            let seen = accepted.tags.get(name);
            if seen.is_some_and(|seen| seen.tag.as_str() != id) {
                let message = "it does not name what it named when it was accepted".to_owned();
                result.refused.push(refusal(name, id, (Rule::TagMoved, message)));
                continue;
            }
            if line.accepted.is_some_and(|accepted| version < *accepted) {
                // What is no tag object was never meant as a release.
                if seen.is_none() && target(fetched, id).is_some() {
                    let message = "a higher version was accepted before".into();
                    result.refused.push(refusal(name, id, (Rule::VersionLower, message)));
                }
                continue;
            }
            if newest.is_some() {
                // At first sight of the repository older releases are history, not news; but from now on they may not move.
                if line.accepted.is_none()
                    && seen.is_none()
                    && let Some(commit) = target(fetched, id)
                    && let Ok(tag) = id.parse()
                {
                    result.first_seen.push((name.clone(), SeenTag { tag, tree: tree_of(fetched, &commit), commit }));
                }
                continue;
            }
            if let Some(tag) = self.is_known_to_be_passed(line, id) {
                result.passed.insert(tag);
                newest = Some(None);
                continue;
            }
            let near = match line.accepted {
                Some(before) => self.policy.versions.max_jump.allows(before, &version),
                None => Ok(()),
            };
            let passed = match tag(self, line, name, id)? {
                Ok(passed) => near.map(|()| passed).map_err(|message| (Rule::VersionJump, message)),
                Err(broken) => Err(broken),
            };
            let (revision, trust, place) = match passed {
                Ok(passed) => passed,
                Err(broken) => {
                    result.refused.push(refusal(name, id, broken));
                    continue;
                }
            };
            if seen.is_none() {
                let tag = id.parse().map_err(|_| Error::Object { id: id.clone(), why: "it is not an object id".into() })?;
                let (commit, tree) = (revision.commit.clone(), Some(revision.tree.clone()));
                result.first_seen.push((name.clone(), SeenTag { tag, commit, tree }));
            }
            newest = match place {
                Place::Passed => {
                    result.passed.extend(revision.tag.map(|tag| tag.id));
                    Some(None)
                }
                Place::Next => {
                    let trust = self.approved(line, &revision, trust, result)?;
                    trust.map(|trust| Some((revision, trust)))
                }
            };
        }
        Ok(newest.flatten())
    }

    /// Whether an earlier look found that the platform's release, as it still is, has this tag's commit.
    fn is_known_to_be_passed(&self, line: &Line<'_>, id: &str) -> Option<TagId> {
        let Next::Component { platform, .. } = line.next else { return None };
        let (at, passed) = self.accepted.passed.as_ref()?;
        id.parse().ok().filter(|tag| at == platform && passed.contains(tag))
    }

    /// What was accepted last of a line, and is gone.
    fn miss_accepted(&self, line: &Line<'_>, result: &mut Verification) {
        let Some(version) = line.accepted else { return };
        let name = versions::name(line.component, version);
        if !self.fetched.tags.contains_key(&name) && !self.accepted.knows_it_is_gone(&format!("refs/tags/{name}")) {
            let message = "it was accepted and is no longer there; what runs stays".into();
            result.refused.push(refusal(&name, "", (Rule::TagVanished, message)));
        }
    }

    /// Where a commit of a line is, or why it can't be one.
    pub(super) fn place(
        &self,
        line: &Line<'_>,
        reference: &str,
        id: &str,
        commit: &CommitId,
    ) -> Result<Result<Place, Broken>, Error> {
        let (store, accepted) = (&self.fetched.store, self.accepted);
        let refuse = |rule, why: String| Ok(Err((rule, why)));
        let waives = |rule, before: &CommitId| accepted.waives(rule, reference, Some(id), before.as_str());
        if !store.is_ancestor(commit.as_str(), &self.fetched.head)?
            && !accepted.head.as_ref().is_some_and(|before| waives(Rule::NotOnReleaseBranch, before))
        {
            let why = format!("{} can't be reached from `{}`", commit.short(), self.fetched.follow.branch());
            return refuse(Rule::NotOnReleaseBranch, why);
        }
        match line.next {
            Next::Platform => {
                if let Some(before) = &accepted.head
                    && !store.is_ancestor(before.as_str(), commit.as_str())?
                    && !waives(Rule::NotDescendant, before)
                {
                    let why = format!("{} does not descend from {}, which was accepted", commit.short(), before.short());
                    return refuse(Rule::NotDescendant, why);
                }
            }
            Next::Component { platform, ahead } => {
                // What is new in it is exact, and near where the component is.
                if ahead.is_none() && store.since(commit.as_str(), &[platform.as_str()])?.is_empty() {
                    return Ok(Ok(Place::Passed));
                }
                let follows = ahead.unwrap_or(platform);
                if !store.is_ancestor(follows.as_str(), commit.as_str())? {
                    let why =
                        format!("{} does not descend from {}, which the component follows", commit.short(), follows.short());
                    return refuse(Rule::NotAhead, why);
                }
            }
        }
        Ok(Ok(Place::Next))
    }
}

pub(super) fn refusal(name: &str, id: &str, (rule, message): Broken) -> Refusal {
    Refusal { reference: format!("refs/tags/{name}"), object: Some(id.to_owned()), rule, message }
}
