//! Where a rollback goes: which release of which component. Reads the history only.

use std::collections::BTreeSet;
use std::sync::Arc;

use tk8s_core::{CommitId, ComponentName, ReleaseId, ReleaseNumber, Revision};
use tk8s_history::{ComponentView, ReleaseView, Scope};

use super::hold::LeftAlone;
use crate::disk::disk;
use crate::engine::Engine;
use crate::engine::platform::Unit;
use crate::error::Error;

/// The releases that many components go back to.
pub(super) struct Targets {
    /// The revision that was asked for, as it is called.
    pub revision: Option<String>,
    /// In apply order.
    pub to: Vec<(Arc<Unit>, ReleaseId)>,
    pub left: Vec<LeftAlone>,
}

/// Digits of a commit that name it.
const FEWEST_DIGITS: usize = 7;

impl Engine {
    /// The release that was asked for, or the last healthy one before what runs.
    pub(super) fn rollback_target(&self, view: &ComponentView, to: Option<ReleaseNumber>) -> Result<ReleaseId, Error> {
        let component = &view.latest.id.component;
        let releases = disk(|| self.history.releases(component));
        let number = match to {
            Some(number) => number,
            None => {
                let newest = view.latest.id.number;
                let running = view.current.as_ref().map_or(newest, |current| current.number);
                // What runs may be healthy while a newer release failed: then what runs is the one to go back to. One that
                // was never begun has not changed anything.
                let failed = view.hold.is_none() && running < newest && disk(|| self.history.was_begun(&view.latest.id));
                releases
                    .iter()
                    .filter(|known| if failed { known.release.id.number <= running } else { known.release.id.number < running })
                    // Nobody who does not say so wants everything deleted.
                    .find(|known| known.healthy_at.is_some() && known.release.removal.is_none())
                    .map(|known| known.release.id.number)
                    .ok_or_else(|| Error::NothingToRollBackTo(component.clone()))?
            }
        };
        if !releases.iter().any(|known| known.release.id.number == number) {
            return Err(Error::UnknownRelease(ReleaseId { component: component.clone(), number }));
        }
        Ok(ReleaseId { component: component.clone(), number })
    }

    /// As everything of these components was when this revision was the accepted one.
    pub(super) fn targets_at(&self, members: Vec<Arc<Unit>>, revision: &str) -> Result<Targets, Error> {
        let accepted = disk(|| self.history.accepted_revisions())?;
        let until = find(&accepted, revision)?;
        let called = accepted[until].label().to_owned();
        let allowed: BTreeSet<&CommitId> = accepted[..=until].iter().map(|revision| &revision.commit).collect();
        let mut targets = Targets { revision: Some(called), to: Vec::new(), left: Vec::new() };
        for unit in members {
            let component = unit.spec.name.clone();
            let releases = disk(|| self.history.releases(&component));
            let then = releases.iter().filter(|known| allowed.contains(&known.release.revision.commit));
            if then.clone().next().is_some_and(|known| known.release.removal.is_some()) {
                let why = "that revision had taken it away: it stays as it is".into();
                targets.left.push(LeftAlone { component, why });
                continue;
            }
            let mut then = then.filter(|known| known.release.removal.is_none());
            match then.clone().find(|known| known.healthy_at.is_some()).or_else(|| then.find(|known| known.ran())) {
                Some(known) => targets.to.push((unit, known.release.id.clone())),
                None => {
                    let why = "no release of that revision, or of one before, is kept".into();
                    targets.left.push(LeftAlone { component, why });
                }
            }
        }
        Ok(targets)
    }

    /// As the components of a layer were before the revision that changed it last: what that revision did not change, and what
    /// somebody holds, stays as it is.
    pub(super) fn targets_before_the_last_change(&self, scope: &Scope, members: Vec<Arc<Unit>>) -> Result<Targets, Error> {
        let mut known: Vec<(Arc<Unit>, ComponentView, ReleaseView)> = Vec::new();
        let mut targets = Targets { revision: None, to: Vec::new(), left: Vec::new() };
        for unit in members {
            let component = unit.spec.name.clone();
            let mut leave = |why: String| targets.left.push(LeftAlone { component: component.clone(), why });
            let Some(view) = disk(|| self.history.component(&component)) else {
                leave("nothing of it was released yet".into());
                continue;
            };
            if let Some(hold) = &view.hold {
                leave(format!("it is held at release {} by {}", hold.release, hold.by));
                continue;
            }
            let begun = disk(|| self.history.was_begun(&view.latest.id));
            let running = if begun { Some(view.latest.id.clone()) } else { view.current.clone() };
            match running.and_then(|running| disk(|| self.history.release(&running))) {
                Some(release) => known.push((unit, view, release)),
                None => leave("nothing of it runs".into()),
            }
        }
        let last = known.iter().max_by_key(|(_, _, running)| running.release.staged_at);
        let last = last.map(|(_, _, running)| running.release.revision.clone());
        let last: Revision = last.ok_or_else(|| Error::NothingToRollBack(scope.clone()))?;
        for (unit, view, running) in known {
            let component: ComponentName = unit.spec.name.clone();
            if running.release.revision.commit != last.commit {
                let why = format!("{} did not change it: it stays at release {}", last.label(), running.release.id.number);
                targets.left.push(LeftAlone { component, why });
                continue;
            }
            match self.rollback_target(&view, None) {
                Ok(release) => targets.to.push((unit, release)),
                Err(error) => targets.left.push(LeftAlone { component, why: error.to_string() }),
            }
        }
        Ok(targets)
    }
}

/// Where the revision of this name was accepted last. A tag wins over the digits of a commit.
fn find(accepted: &[Revision], name: &str) -> Result<usize, Error> {
    let called = |revision: &Revision| revision.tag.as_ref().is_some_and(|tag| tag.name == name);
    if let Some(at) = accepted.iter().rposition(called) {
        return Ok(at);
    }
    let digits = name.to_ascii_lowercase();
    let shown = || tk8s_core::printable(name, 80);
    if digits.len() < FEWEST_DIGITS || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(Error::UnknownRevision(shown()));
    }
    let begins = |revision: &Revision| revision.commit.to_string().starts_with(&digits);
    let at = accepted.iter().rposition(begins).ok_or_else(|| Error::UnknownRevision(shown()))?;
    match accepted.iter().any(|other| begins(other) && other.commit != accepted[at].commit) {
        true => Err(Error::AmbiguousRevision(shown())),
        false => Ok(at),
    }
}

#[cfg(test)]
mod tests {
    use tk8s_core::TagRef;

    use super::*;

    fn revision(commit: &str, tag: Option<&str>) -> Revision {
        let id = format!("{commit:0<40}");
        Revision {
            reference: "refs/heads/main".into(),
            commit: id.parse().expect("an id"),
            tree: id.parse().expect("an id"),
            tag: tag.map(|name| TagRef { name: name.into(), id: id.parse().expect("an id") }),
        }
    }

    #[test]
    fn a_revision_is_named_by_its_tag_or_by_enough_digits_of_its_commit() {
        let accepted = [
            revision("aaaaaaa1", Some("v1.0.0")),
            revision("aaaaaaa2", None),
            revision("bbbbbbb1", Some("v1.1.0")),
            revision("aaaaaaa1", Some("v1.0.0")),
        ];
        for (name, expected) in
            [("v1.1.0", Some(2)), ("v1.0.0", Some(3)), ("aaaaaaa2", Some(1)), ("BBBBBBB", Some(2)), ("aaaaaaa", None)]
        {
            assert_eq!(find(&accepted, name).ok(), expected, "{name}");
        }
        for (name, reason) in [("aaaaaaa", "two accepted"), ("bbbbbb", "seven digits"), ("v9.9.9", "no accepted revision")] {
            let error = find(&accepted, name).expect_err("it names none").to_string();
            assert!(error.contains(reason), "{error}");
        }
    }
}
