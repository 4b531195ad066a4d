//! Releases of single components: tags like `v1.2.3-web`, which bring one component ahead of the platform's own release, and
//! nothing else. They are asked for everything that the platform's tags are asked for.
//!
//! A component follows its tag until the platform's release holds the tag's commit. Its commit only moves forward: nothing
//! takes a component back, whatever its number is.

use std::collections::{BTreeMap, BTreeSet};

use tk8s_core::{CommitId, ComponentName, Environment, Timestamp};

use super::Rule;
use super::incident::incidents;
use super::line::{Line, Next, Tagged, Tags, refusal};
use super::policy::{Accepted, AcceptedComponent, OwnRevision, Policy, ProductionPolicy, Verification};
use super::tags::is_followed;
use super::versions::{Named, named};
use crate::Error;
use crate::sealed::{Fetched, VerifiedRevision};
use crate::store::Store;

/// The component that a tag of this name releases, if it is one of a single component.
pub fn released_component(tag: &str) -> Option<ComponentName> {
    match named(tag) {
        Named::Version(component, _) => component,
        Named::Suffix | Named::NoVersion | Named::Else => None,
    }
}

/// Whether there is anything to judge.
pub fn has_component_tags(fetched: &Fetched, accepted: &Accepted) -> bool {
    !accepted.components.is_empty() || fetched.tags.keys().any(|name| released_component(name).is_some())
}

/// Judges the tags of single components. `platform` is the revision that was just verified, and `names` the components that it
/// has. Nothing but `production` follows tags: elsewhere nothing comes of it.
pub fn verify_components(
    fetched: &Fetched,
    policy: &Policy,
    accepted: &Accepted,
    platform: &VerifiedRevision,
    names: &BTreeSet<ComponentName>,
) -> Result<Verification, Error> {
    let Policy::Production(policy) = policy else { return Ok(Verification::default()) };
    let look = Tags { fetched, policy, accepted, now: Timestamp::now() };
    let platform = &platform.revision().commit;
    let mut result = Verification::default();
    let mut tagged = by_component(fetched, policy, accepted);
    let all: BTreeSet<_> = tagged.keys().chain(accepted.components.keys()).cloned().collect();
    for name in all {
        if !names.contains(&name) {
            unknown(&look, &name, platform, tagged.remove(&name).unwrap_or_default(), &mut result)?;
            continue;
        }
        let before = accepted.components.get(&name);
        let ahead = match before {
            Some(before) if is_ahead(&fetched.store, before, accepted, platform)? => Some(&before.revision.commit),
            _ => None,
        };
        let version = before.and_then(AcceptedComponent::version);
        let next = Next::Component { platform, ahead };
        let line = Line { component: Some(&name), accepted: version.as_ref(), next };
        let newest = look.newest(&line, tagged.remove(&name).unwrap_or_default(), &mut result)?;
        let verified = newest
            .and_then(|(revision, trust)| VerifiedRevision::new(revision, trust, Environment::Production, fetched.store.clone()));
        match verified {
            Some(revision) => drop(result.components.insert(name, OwnRevision::Verified(Box::new(revision)))),
            None if ahead.is_some() => drop(result.components.insert(name, OwnRevision::Kept)),
            None => {}
        }
    }
    result.incidents = incidents(fetched, &result.refused, accepted);
    Ok(result)
}

/// The tags of each component.
fn by_component<'a>(
    fetched: &'a Fetched,
    policy: &ProductionPolicy,
    accepted: &Accepted,
) -> BTreeMap<ComponentName, Vec<Tagged<'a>>> {
    let mut tagged: BTreeMap<ComponentName, Vec<Tagged<'a>>> = BTreeMap::new();
    for (tag, id) in &fetched.tags {
        let Named::Version(Some(component), version) = named(tag) else { continue };
        let before = accepted.components.get(&component).and_then(AcceptedComponent::version);
        if is_followed(policy, &version, before.as_ref()) {
            tagged.entry(component).or_default().push((version, tag, id));
        }
    }
    tagged
}

/// Of a component that the platform does not have the newest tag is refused by name, unless it is from a time when it had.
fn unknown(
    look: &Tags<'_>,
    component: &ComponentName,
    platform: &CommitId,
    tagged: Vec<Tagged<'_>>,
    result: &mut Verification,
) -> Result<(), Error> {
    let Some((_, tag, id)) = tagged.iter().max_by(|a, b| a.0.cmp(&b.0)).cloned() else { return Ok(()) };
    let line = Line { component: Some(component), accepted: None, next: Next::Component { platform, ahead: None } };
    let mut found = Verification::default();
    look.newest(&line, tagged, &mut found)?;
    if found.passed.is_empty() {
        let message = format!("the platform has no component `{component}`, and it is no candidate (`-rc.1`) either");
        result.refused.push(refusal(tag, id, (Rule::UnknownComponent, message)));
    }
    result.passed.extend(found.passed);
    Ok(())
}

/// Whether what a component follows by its own tag is not in the platform's release. Once it is, it stays so.
fn is_ahead(store: &Store, before: &AcceptedComponent, accepted: &Accepted, platform: &CommitId) -> Result<bool, Error> {
    if !before.ahead || accepted.head.as_ref() == Some(platform) {
        return Ok(before.ahead);
    }
    Ok(!store.is_ancestor(before.revision.commit.as_str(), platform.as_str())?)
}
