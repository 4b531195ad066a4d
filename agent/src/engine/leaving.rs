//! Components that leave the platform, or are disabled: what becomes of their objects.
//!
//! Taking one away is a release of its own, without objects, that is staged before anything else forgets what the platform
//! file said of the component. So it is in the history, is finished after a restart, and is undone by a rollback.

use std::collections::BTreeSet;
use std::sync::Arc;

use tk8s_config::{ComponentSpec, Deletion, Platform};
use tk8s_core::{ComponentName, ReleaseId, Removal, Timestamp};
use tk8s_gitsync::VerifiedTree;

use super::Engine;
use super::platform::{self, Unit};
use super::standing::Standing;
use crate::disk::disk;
use crate::error::Error;
use crate::pipeline;

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
            let removal = Removal { budget: spec.prune.budget_objects, protect: spec.prune.protect.clone() };
            let resolved = pipeline::remove(tree, name, removal)?;
            disk(|| self.history.stage_for(resolved, spec.service_account.clone(), Timestamp::now()))?;
            tracing::info!(component = %name, "the platform takes the component away: its objects are to be deleted");
        }
        Ok(())
    }

    /// The removals that are to be carried out, each with what has to be in order first: whatever runs in this rollout, and
    /// removals of what stood on it.
    pub(super) fn removals(
        &self,
        gone: &[ComponentName],
        before: &[ComponentSpec],
        runs: &[ComponentName],
        asked: bool,
    ) -> Vec<(Arc<Unit>, ReleaseId)> {
        let due = gone.iter().filter_map(|name| {
            let mut unit = platform::bare_unit(name);
            // Its layer may be suspended, and its windows closed: what is taken away comes in like anything else that is new.
            if let Some(spec) = spec_of(name, before) {
                (unit.spec.layer, unit.spec.windows) = (spec.layer.clone(), spec.windows.clone());
                unit.spec.confine = spec.confine.clone();
            }
            let release = self.removal_due(&unit, asked)?;
            Some((unit, release))
        });
        let due: Vec<_> = due.collect();
        let leaving: Vec<&ComponentSpec> = due.iter().filter_map(|(unit, _)| spec_of(&unit.spec.name, before)).collect();
        let standing = |(mut unit, release): (Unit, ReleaseId)| {
            unit.stands_on = runs.to_vec();
            if let Some(spec) = spec_of(&unit.spec.name, before) {
                unit.stands_on.extend(leaving.iter().filter(|other| stood_on(other, spec)).map(|other| other.name.clone()));
            }
            (Arc::new(unit), release)
        };
        due.into_iter().map(standing).collect()
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

    /// Looks up which components are being taken away, and remembers it: from now on they are tried again like others.
    pub(super) fn find_who_leaves(&self) {
        let known: BTreeSet<_> = self.looked_after().iter().map(|unit| unit.spec.name.clone()).collect();
        let leaves = |name: &ComponentName| {
            let view = disk(|| self.history.component(name));
            view.is_some_and(|view| view.latest.removal.is_some() && !matches!(Standing::of(&view), Standing::Runs(_)))
        };
        let names = disk(|| self.history.components()).into_iter().filter(|name| !known.contains(name) && leaves(name));
        let leaving = names.map(|name| platform::default_unit(&name)).collect();
        self.change_world(|world| world.leaving = leaving);
    }

    /// Every component that is looked after, and those that are being taken away.
    pub(super) fn looked_after_or_leaving(&self) -> Vec<Arc<Unit>> {
        let leaving = self.world().leaving.clone();
        [self.looked_after(), leaving].concat()
    }
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

    #[test]
    fn what_stood_on_something_goes_before_it() {
        let text = "apiVersion: tk8s.io/v1alpha1\nkind: Platform\nlayers:\n\
            - {number: 1, name: low, components: [{name: db, path: db}, {name: cache, path: cache, dependsOn: [db]}]}\n\
            - {number: 2, name: high, components: [{name: web, path: web}]}\n";
        let platform = Platform::parse(text.as_bytes(), "tk8s.yaml").unwrap();
        let spec = |name: &str| spec_of(&name.parse().unwrap(), platform.components()).unwrap();
        assert!(stood_on(spec("web"), spec("db")) && stood_on(spec("cache"), spec("db")));
        assert!(!stood_on(spec("db"), spec("cache")) && !stood_on(spec("db"), spec("web")) && !stood_on(spec("db"), spec("db")));
    }
}
