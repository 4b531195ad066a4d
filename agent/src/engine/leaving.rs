//! Components that leave the platform, or are disabled: what becomes of their objects.
//!
//! Taking one away is a release of its own, without objects, that is staged before anything else forgets what the platform
//! file said of the component, and that holds what still counts of it: its windows, its layer, what it stood on. So it is in
//! the history, waits and is finished after a restart as before it, and is undone by a rollback.

use std::collections::BTreeSet;
use std::sync::Arc;

use tk8s_config::{ComponentSpec, Deletion, Platform, Windows};
use tk8s_core::{ComponentName, ReleaseId, Removal, Timestamp};
use tk8s_gitsync::VerifiedTree;

use super::Engine;
use super::platform::{self, Unit};
use super::slot::Progress;
use super::standing::Standing;
use crate::disk::disk;
use crate::error::Error;
use crate::pipeline;

/// How much is written down of what a component stood on; beyond that its layer says what goes first.
const MOST_BELOW: usize = 100;

impl Engine {
    /// Stages the removal of every component that is gone from this platform and whose objects are to go with it. `before` is
    /// what was known of the components until now.
    pub(super) fn stage_removals(
        &self,
        gone: &[ComponentName],
        before: &[ComponentSpec],
        platform: &Platform,
        tree: &Arc<VerifiedTree>,
    ) -> Result<(), Error> {
        for name in gone {
            let spec = spec_of(name, platform.components()).or_else(|| spec_of(name, before));
            let Some(spec) = spec.filter(|spec| spec.deletion == Deletion::Delete) else { continue };
            let staged = disk(|| self.history.component(name)).is_none_or(|view| view.latest.removal.is_some());
            if staged || disk(|| self.history.inventory(name)).is_empty() {
                continue;
            }
            let resolved = pipeline::remove(tree, name, removal_of(spec))?;
            disk(|| self.history.stage_for(resolved, spec.service_account.clone(), Timestamp::now()))?;
            // What failed was another release. This one was not tried, and whatever goes after it waits for it.
            let slot = self.slot(name);
            if matches!(slot.progress(), Progress::Failed { .. }) {
                slot.set(Progress::Settled);
            }
            tracing::info!(component = %name, "the platform takes the component away: its objects are to be deleted");
        }
        Ok(())
    }

    /// The removals that are to be carried out, each with what has to be in order first: whatever runs in this rollout, and
    /// removals of what stood on it.
    pub(super) fn removals(&self, runs: &[ComponentName], asked: bool) -> Vec<(Arc<Unit>, ReleaseId)> {
        let leaving = self.world().leaving.clone();
        let due = leaving.iter().filter_map(|unit| {
            let release = self.removal_due(unit, asked)?;
            let stands_on = [runs, &unit.stands_on].concat();
            Some((Arc::new(Unit { stands_on, ..(**unit).clone() }), release))
        });
        due.collect()
    }

    /// A removal that was staged and is not done.
    fn removal_due(&self, unit: &Unit, asked: bool) -> Option<ReleaseId> {
        let view = disk(|| self.history.component(&unit.spec.name))?;
        // What a person holds stays until they let it go.
        if view.latest.removal.is_none() || view.hold.is_some() {
            return None;
        }
        self.unfinished(Some(&view), asked, unit)
    }

    /// Components that the history knows and that the platform does not bring (any more).
    pub(super) fn gone_from(&self, platform: &Platform) -> Vec<ComponentName> {
        let brought: BTreeSet<_> = platform.components().iter().filter(|spec| spec.enabled).map(|spec| &spec.name).collect();
        disk(|| self.history.components()).into_iter().filter(|name| !brought.contains(name)).collect()
    }

    /// Looks up which components are being taken away, and remembers it: from now on they are tried again like others, and
    /// what was said of them while they were in the platform counts.
    pub(super) fn find_who_leaves(&self) {
        let known: BTreeSet<_> = self.looked_after().iter().map(|unit| unit.spec.name.clone()).collect();
        let leaving = |name: &ComponentName| {
            let view = disk(|| self.history.component(name)).filter(|view| !matches!(Standing::of(view), Standing::Runs(_)))?;
            Some(as_it_was(name, view.latest.removal.as_ref()?))
        };
        let names = disk(|| self.history.components()).into_iter().filter(|name| !known.contains(name));
        let leaving = in_order(names.filter_map(|name| leaving(&name)).collect());
        self.change_world(|world| world.leaving = leaving.into_iter().map(Arc::new).collect());
    }

    /// A component of which only the history tells.
    pub(super) fn as_remembered(&self, name: &ComponentName) -> Arc<Unit> {
        let removal = disk(|| self.history.component(name)).and_then(|view| view.latest.removal);
        removal.map_or_else(|| platform::default_unit(name), |removal| Arc::new(as_it_was(name, &removal)))
    }

    /// Every component that is looked after, and those that are being taken away.
    pub(super) fn looked_after_or_leaving(&self) -> Vec<Arc<Unit>> {
        let leaving = self.world().leaving.clone();
        [self.looked_after(), leaving].concat()
    }
}

/// What of a component's place in the platform file counts while it is being taken away.
fn removal_of(spec: &ComponentSpec) -> Removal {
    Removal {
        budget: spec.prune.budget_objects,
        protect: spec.prune.protect.clone(),
        layer: Some(spec.layer.clone()),
        depends_on: spec.depends_on.iter().take(MOST_BELOW).cloned().collect(),
        windows: spec.windows.to_written(),
    }
}

/// A component that is being taken away, as it was while it was in the platform. What is written down of one that a former
/// version began to take away says neither its layer nor its windows.
fn as_it_was(name: &ComponentName, removal: &Removal) -> Unit {
    let mut unit = platform::bare_unit(name);
    unit.spec.windows = Windows::of_written(&removal.windows);
    unit.spec.depends_on.clone_from(&removal.depends_on);
    if let Some(layer) = &removal.layer {
        unit.spec.layer.clone_from(layer);
    }
    unit
}

/// The order in which components go: each after what stood on it, and never in a circle, though they may be of several
/// revisions of the platform that do not agree.
fn in_order(mut left: Vec<Unit>) -> Vec<Unit> {
    left.sort_by_key(|unit| std::cmp::Reverse(unit.spec.layer.number));
    let mut gone: Vec<Unit> = Vec::new();
    while !left.is_empty() {
        let free = left.iter().position(|unit| !left.iter().any(|other| stood_on(&other.spec, &unit.spec)));
        let mut unit = left.remove(free.unwrap_or(0));
        let before = gone.iter().filter(|other| stood_on(&other.spec, &unit.spec));
        unit.stands_on = before.map(|other| other.spec.name.clone()).collect();
        gone.push(unit);
    }
    gone
}

fn spec_of<'a>(name: &ComponentName, specs: &'a [ComponentSpec]) -> Option<&'a ComponentSpec> {
    specs.iter().find(|spec| spec.name == *name)
}

/// Whether `other` stood on `spec`, so that it has to go first.
fn stood_on(other: &ComponentSpec, spec: &ComponentSpec) -> bool {
    other.layer.number > spec.layer.number || other.depends_on.contains(&spec.name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(name: &str, platform: &Platform) -> ComponentSpec {
        spec_of(&name.parse().unwrap(), platform.components()).unwrap().clone()
    }

    fn platform(layers: &str) -> Platform {
        let text = format!("apiVersion: tk8s.io/v1alpha1\nkind: Platform\nlayers:\n{layers}");
        Platform::parse(text.as_bytes(), "tk8s.yaml").unwrap()
    }

    fn unit(spec: &ComponentSpec) -> Unit {
        as_it_was(&spec.name, &removal_of(spec))
    }

    #[test]
    fn what_stood_on_something_goes_before_it() {
        let platform = platform(
            "- {number: 1, name: low, components: [{name: db, path: db}, {name: cache, path: cache, dependsOn: [db]}]}\n\
             - {number: 2, name: high, components: [{name: web, path: web}]}\n",
        );
        let spec = |name: &str| spec(name, &platform);
        assert!(stood_on(&spec("web"), &spec("db")) && stood_on(&spec("cache"), &spec("db")));
        assert!(!stood_on(&spec("db"), &spec("cache")) && !stood_on(&spec("db"), &spec("web")));
        let order = in_order(["db", "cache", "web"].map(|name| unit(&spec(name))).into());
        let told = |unit: &Unit| {
            format!("{} after {:?}", unit.spec.name, unit.stands_on.iter().map(ToString::to_string).collect::<Vec<_>>())
        };
        assert_eq!(
            order.iter().map(told).collect::<Vec<_>>(),
            ["web after []", "cache after [\"web\"]", "db after [\"web\", \"cache\"]"]
        );
    }

    #[test]
    fn revisions_that_do_not_agree_who_stands_on_whom_hold_up_nobody() {
        let before = platform(
            "- {number: 0, name: low, components: [{name: a, path: a}]}\n- {number: 1, name: high, components: [{name: b, path: b}]}\n",
        );
        let after = platform(
            "- {number: 0, name: low, components: [{name: b, path: b}]}\n- {number: 1, name: high, components: [{name: a, path: a}]}\n",
        );
        let (mut a, mut b) = (spec("a", &before), spec("b", &after));
        a.depends_on = vec!["b".parse().unwrap()];
        b.depends_on = vec!["a".parse().unwrap()];
        let order = in_order(vec![unit(&a), unit(&b)]);
        assert_eq!((order[0].stands_on.len(), order[1].stands_on.len()), (0, 1));
    }

    #[test]
    fn what_leaves_keeps_its_layer_and_its_windows() {
        let platform = platform(
            "- {number: 3, name: high, components: [{name: a, path: a, windows: [{deny: \"* * * * *\", duration: 1h}]}]}\n",
        );
        let spec = spec("a", &platform);
        let unit = unit(&spec);
        assert_eq!((&unit.spec.layer, &unit.spec.windows), (&spec.layer, &spec.windows));
        assert!(unit.spec.windows.closed(Timestamp::now()).is_some() && !unit.spec.prune.enabled);
    }
}
