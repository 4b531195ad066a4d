//! Components that follow tags of their own, ahead of the platform's release: what of such a tag counts, and what is
//! remembered of it.
//!
//! A tag like `v1.2.3-web` brings the directory of `web` as it is there, and those keys of its entry in the platform file that
//! say how the directory is rendered. Where the component stands, as whom it is written, what may be deleted and everything
//! else that a person decides about it is as the platform's release has it.

use std::collections::BTreeSet;
use std::sync::Arc;

use tk8s_config::{AgentConfig, ComponentSpec};
use tk8s_core::{ComponentName, Timestamp};
use tk8s_gitsync::{Accepted, Verification, VerifiedTree};

use super::Engine;
use super::platform::{self, Unit};
use crate::disk::disk;
use crate::error::Error;
use crate::pipeline::Trees;

/// The components of a tree that may have tags of their own. Without a platform file there is nothing that a tag could name.
pub(super) fn names(config: &AgentConfig, tree: &VerifiedTree) -> Result<BTreeSet<ComponentName>, Error> {
    let (platform, _) = platform::read(config, tree)?;
    let all = platform.components().iter().filter(|_| !platform.by_label());
    Ok(all.map(|spec| spec.name.clone()).collect())
}

/// A component as a tree of its own renders it.
pub(super) fn unit(config: &AgentConfig, unit: &Arc<Unit>, own: &VerifiedTree) -> Result<Arc<Unit>, Error> {
    let name = &unit.spec.name;
    let tag = own.revision().revision().label();
    let refuse = |why: String| Error::OwnTag { component: name.clone(), tag: tag.to_owned(), why };
    let (platform, _) = platform::read(config, own)?;
    let there = platform.components().iter().find(|spec| spec.name == *name);
    let there = there.ok_or_else(|| refuse("its platform file does not name it".into()))?;
    if there.path != unit.spec.path {
        return Err(refuse(format!("it is in `{}` there, and in `{}` by the platform's release", there.path, unit.spec.path)));
    }
    let ComponentSpec { kind, helm, include, exclude, substitute, .. } = there.clone();
    let spec = ComponentSpec { kind, helm, include, exclude, substitute, ..unit.spec.clone() };
    let render = platform::component(&config.repository.path, false, &spec)?;
    Ok(Arc::new(Unit { spec, render, ..(**unit).clone() }))
}

impl Engine {
    /// What was accepted before, with what the last look found out.
    pub(super) fn accepted_before(&self) -> Accepted {
        Accepted { passed: self.world().passed.clone(), ..crate::trust::accepted(&self.history) }
    }

    /// Remembers what the platform's release has reached, so that the next look does not ask again.
    pub(super) fn remember_passed(&self, verification: &Verification, trees: Option<&Trees>) {
        let Some(trees) = trees else { return };
        let at = trees.platform.revision().revision().commit.clone();
        self.change_world(|world| world.passed = Some((at, verification.passed.clone())));
    }

    /// Writes down what the platform and its components follow from now on. Whether it is news.
    pub(super) fn accept(&self, trees: &Trees) -> Result<bool, Error> {
        let (revision, trust) = (trees.platform.revision().revision(), trees.platform.revision().trust());
        let known = disk(|| self.history.accepted());
        let is_news = known.revision.as_ref() != Some(revision);
        if is_news || known.trust.as_ref() != Some(trust) {
            disk(|| self.history.accept_but_for(trees.own.keys().cloned().collect(), revision, trust, Timestamp::now()))?;
            tracing::info!(revision = revision.label(), commit = %revision.commit, ?trust, "revision accepted");
        }
        for (name, own) in &trees.own {
            let Some(own) = own.as_ref().map(|tree| tree.revision()) else { continue };
            let (revision, trust) = (own.revision(), own.trust());
            let is_same = |before: &tk8s_history::AcceptedComponent| before.revision == *revision && before.trust == *trust;
            if !known.components.get(name).is_some_and(is_same) {
                disk(|| self.history.accept_component(name, revision, trust, Timestamp::now()))?;
                let (tag, commit) = (revision.label(), &revision.commit);
                tracing::info!(component = %name, revision = tag, %commit, ?trust, "revision of a component accepted");
            }
        }
        Ok(is_news)
    }
}
