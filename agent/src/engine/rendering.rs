//! Rendering, as the engine does it: with what the cluster can do where a chart asks, and not again what failed before.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tk8s_core::{Class, Classified as _, ComponentName, Digest};
use tk8s_gitsync::VerifiedTree;
use tk8s_images::Resolved;
use tk8s_render::{Capabilities, Kind, Renderers};
use tokio::time::Instant;

use super::Engine;
use super::platform::Unit;
use crate::error::Error;
use crate::materials::Materials;
use crate::metrics::Metrics;
use crate::pipeline;

/// How long the cluster is believed to serve what it served. A CRD that another component brought is seen by then.
const CAPABILITIES_LAST: Duration = Duration::from_secs(300);

/// The renderers, and what was learned by using them.
pub struct Rendering {
    renderers: Renderers,
    /// For the identities of secret variables, which are public.
    key: [u8; 32],
    capabilities: tokio::sync::Mutex<Option<(Instant, Arc<Capabilities>)>>,
    /// Inputs that can't be rendered: the same would fail again, for the price of a process.
    failed: Mutex<BTreeMap<ComponentName, (Digest, Arc<Error>)>>,
}

impl Rendering {
    /// `key`: for hashes of secret variables; the same at each start, so that nothing is rendered for another one.
    pub fn new(renderers: Renderers, key: [u8; 32]) -> Rendering {
        Rendering { renderers, key, capabilities: tokio::sync::Mutex::default(), failed: Mutex::default() }
    }
}

/// What is rendered with, and its identity.
pub(super) struct Input {
    renderers: Renderers,
    pub(super) identity: Option<Digest>,
}

impl Engine {
    /// The identity of everything that decides how a component is rendered. Starts nothing.
    pub(super) async fn input(&self, unit: &Arc<Unit>, tree: &Arc<VerifiedTree>, asked: bool) -> Result<Input, Error> {
        let (of_tree, of_unit) = (Arc::clone(tree), Arc::clone(unit));
        let kind = blocking("render", move || Ok(tk8s_render::kind(&*of_tree, &of_unit.render)?)).await?;
        let mut renderers = self.rendering.renderers.clone();
        if kind == Kind::Helm {
            renderers = renderers.with_capabilities(self.capabilities(asked).await?);
        }
        let (tree, unit, config, key) = (Arc::clone(tree), Arc::clone(unit), self.config(), self.rendering.key);
        blocking("render", move || {
            let renderers = Materials::of(&config).give(renderers, &key);
            let identity = tk8s_render::input(&*tree, &unit.render, &renderers)?;
            Ok(Input { renderers, identity })
        })
        .await
    }

    /// Renders a component, and judges its images. What failed before with this very input fails at once, unless a person
    /// asks or it may pass.
    pub(super) async fn build(
        &self,
        unit: &Arc<Unit>,
        tree: &Arc<VerifiedTree>,
        input: &Input,
        asked: bool,
    ) -> Result<Resolved, Error> {
        let name = &unit.spec.name;
        if let (Some(identity), false) = (input.identity, asked)
            && let Some((known, error)) = self.failed().get(name)
            && *known == identity
        {
            return Err(Error::AsBefore(Arc::clone(error)));
        }
        self.metrics.renders.get_or_create(&Metrics::component(name)).inc();
        let (of_unit, tree, renderers) = (Arc::clone(unit), Arc::clone(tree), input.renderers.clone());
        let built =
            blocking("render", move || pipeline::build(&tree, &of_unit.render, &renderers, tk8s_images::Policy::Unverified));
        let built = built.await;
        self.metrics.children_started(&self.rendering.renderers.started());
        self.failed().remove(name);
        match (built, input.identity) {
            (Err(error), Some(identity)) if error.class() == Class::Stalled => {
                let error = Arc::new(error);
                self.failed().insert(name.clone(), (identity, Arc::clone(&error)));
                Err(Error::AsBefore(error))
            }
            (built, _) => built,
        }
    }

    fn failed(&self) -> std::sync::MutexGuard<'_, BTreeMap<ComponentName, (Digest, Arc<Error>)>> {
        self.rendering.failed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the cluster can do: asked for at the first chart, when a person asks, and again after a while.
    async fn capabilities(&self, asked: bool) -> Result<Arc<Capabilities>, Error> {
        let mut known = self.rendering.capabilities.lock().await;
        if let (Some((at, capabilities)), false) = (&*known, asked)
            && at.elapsed() < CAPABILITIES_LAST
        {
            return Ok(Arc::clone(capabilities));
        }
        let (kube_version, api_versions) = self.cluster.capabilities().await?;
        let capabilities = Arc::new(Capabilities { kube_version, api_versions });
        *known = Some((Instant::now(), Arc::clone(&capabilities)));
        Ok(capabilities)
    }
}

/// Something that waits for the disk or a process, on a thread of its own.
async fn blocking<T: Send + 'static>(
    what: &'static str,
    act: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    tokio::task::spawn_blocking(act).await.map_err(|_| Error::Panicked(what))?
}
