//! What a component may touch, by the platform that is in force, and for which runs that counts.

use tk8s_config::{ConfineSpec, WatchConfig};
use tk8s_core::{Manifest, ReleaseId};
use tk8s_deploy::Trigger;
use tk8s_diff::live::Scope;
use tk8s_diff::{Bounds, Confinement};
use tk8s_history::{Desired, Release};

use super::Engine;
use super::platform::Unit;
use crate::disk::disk;
use crate::error::Error;

impl Engine {
    /// Whether a release comes in by this run. What runs, or was begun, was let in once.
    pub(super) fn comes_in(&self, release: &ReleaseId, trigger: &Trigger) -> bool {
        match trigger {
            Trigger::Sync => true,
            Trigger::Restart => {
                let runs = disk(|| self.history.component(&release.component)).and_then(|view| view.current);
                runs.as_ref() != Some(release) && !disk(|| self.history.was_begun(release))
            }
            Trigger::Rollback { .. } | Trigger::AutomaticRollback | Trigger::Drift => false,
        }
    }

    /// Nothing new comes in while nobody knows what the platform lets it touch.
    pub(super) fn knows_what_confines(&self, release: &Release, comes_in: bool) -> Result<(), Error> {
        let unknown = comes_in && release.objects > 0 && self.world().units.is_none();
        if unknown { Err(Error::PlatformUnknown(release.id.clone())) } else { Ok(()) }
    }

    /// Whether a release that lay outside of its component's confinement does not any more.
    pub(super) fn is_let_in_by_now(&self, unit: &Unit, release: &ReleaseId) -> bool {
        let confinement = confinement(&unit.spec.confine, self.live.scope());
        let is_inside = |manifest: &Manifest| {
            // By now it is known where its kind lives.
            let known = self.cluster.known_resource(manifest.kind());
            let manifest = match known.is_some_and(|known| !known.namespaced) {
                true => manifest.clone().without_namespace(),
                false => manifest.clone(),
            };
            confinement.refuses(manifest.key()).is_none()
        };
        let inside = |desired: Desired| desired.objects().iter().all(|placed| is_inside(&placed.manifest));
        disk(|| self.history.recall(release)).is_ok_and(|recalled| inside(recalled.into()))
    }
}

/// What a component may touch, where the agent looks.
pub(crate) fn confinement(specs: &[ConfineSpec], scope: &Scope) -> Confinement {
    let bounds =
        |spec: &ConfineSpec| Bounds::new(spec.namespaces.as_deref(), spec.kinds.as_deref(), spec.cluster_scoped.as_deref());
    Confinement::new(specs.iter().map(bounds).collect()).within(scope.clone())
}

/// What the agent looks at, as its file says it.
pub(crate) fn scope(watch: &WatchConfig) -> Scope {
    Scope::new(watch.secrets, watch.namespaces.as_ref().map(|namespaces| namespaces.iter().cloned().collect()))
}
