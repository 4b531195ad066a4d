//! From a look at Git to the runs that follow from it: what is new, what is held, what has to be finished.

use std::collections::BTreeMap;
use std::sync::Arc;

use tk8s_core::{Class, Classified as _, ComponentName, Digest, Timestamp, chain};
use tk8s_deploy::Trigger;
use tk8s_gitsync::VerifiedTree;
use tk8s_history::{ComponentView, RefusedRevision, Status};
use tk8s_images::Resolved;

use super::Engine;
use super::platform::{self, Unit, Units};
use super::run::Job;
use super::slot::Progress;
use crate::disk::disk;
use crate::error::Error;
use crate::metrics::Metrics;
use crate::pipeline;
use crate::{source, trust};

/// What a component needs, as the rollout decides it.
enum Need {
    Nothing,
    /// Git brought content that is not the newest release's.
    Release(Box<Resolved>),
    /// The newest release is not what runs.
    Finish(tk8s_core::ReleaseId),
}

impl Engine {
    /// One look at Git, and the rollout of what it brought. Whatever goes wrong, the cluster keeps what it has.
    pub(super) async fn sync(self: &Arc<Self>, asked: bool) {
        // Not while deciding: a Git server that hangs holds up nobody who looks after what runs.
        let looked = tokio::select! {
            looked = self.look() => looked,
            () = self.stop.cancelled() => return,
        };
        let word = if looked.is_ok() { "ok" } else { "failed" };
        self.metrics.fetches.get_or_create(&Metrics::outcome(word)).inc();
        let result = match looked {
            Ok(Some(tree)) => self.roll_out(&tree, asked).await,
            Ok(None) => Ok(()),
            Err(error) => Err(error),
        };
        self.change_world(|world| match &result {
            Ok(()) => {
                world.problem = None;
                world.synced_at = Some(Timestamp::now());
            }
            Err(error) => world.problem = Some((error.reason().into(), chain(error))),
        });
        if let Err(error) = result {
            tracing::warn!(reason = error.reason(), error = %chain(&error), "nothing new from Git");
        }
    }

    /// Fetch and verify. What was refused is written down and shown; it changes nothing else.
    async fn look(&self) -> Result<Option<Arc<VerifiedTree>>, Error> {
        let config = self.config();
        let source = source::source(&config, &self.tokens, |name| std::env::var(name).ok())?;
        let policy = trust::policy(&config)?;
        let accepted = trust::accepted(&self.history);
        let looked = tokio::task::spawn_blocking(move || pipeline::source(&source, &policy, &accepted)).await;
        let (verification, tree) = looked.map_err(|_| Error::Panicked("fetch"))??;
        for (name, seen) in &verification.first_seen {
            disk(|| self.history.first_seen(name, trust::seen(seen), Timestamp::now()))?;
        }
        for refusal in &verification.refused {
            self.metrics.refused.inc();
            tracing::warn!(
                reference = refusal.reference,
                object = refusal.object,
                rule = refusal.rule.reason(),
                refusal.message,
                "refused"
            );
            let refused = RefusedRevision {
                reference: refusal.reference.clone(),
                object: refusal.object.clone().unwrap_or_default(),
                reason: refusal.rule.reason().into(),
                message: refusal.message.clone(),
            };
            disk(|| self.history.refuse(refused, Timestamp::now()))?;
        }
        self.change_world(|world| world.refused = verification.refused);
        Ok(tree)
    }

    /// Reads the platform of a verified tree and starts what has to run.
    async fn roll_out(self: &Arc<Self>, tree: &Arc<VerifiedTree>, asked: bool) -> Result<(), Error> {
        let _deciding = self.deciding.lock().await;
        let (revision, trust) = (tree.revision().revision().clone(), tree.revision().trust().clone());
        let config = self.config();
        let (platform, text) = platform::read(&config, &**tree)?;
        let units = platform::units(&config.repository.path, &platform)?;
        let known = disk(|| self.history.accepted());
        if known.revision.as_ref() != Some(&revision) || known.trust.as_ref() != Some(&trust) {
            disk(|| self.history.accept(&revision, &trust, Timestamp::now()))?;
            tracing::info!(revision = revision.label(), commit = %revision.commit, ?trust, "revision accepted");
        }
        platform::remember(&self.history, text.as_deref());
        let units = Arc::new(Units { units });
        self.change_world(|world| world.units = Some(Arc::clone(&units)));
        let mut needs = Vec::new();
        let mut broken = BTreeMap::new();
        for unit in &units.units {
            match self.need(unit, tree, asked).await {
                Ok(Need::Nothing) => {}
                Ok(need) => needs.push((unit, need)),
                Err(error) => {
                    tracing::warn!(component = %unit.spec.name, reason = error.reason(), error = %chain(&error), "component can't be rendered");
                    let (reason, message) = (error.reason().to_owned(), chain(&error));
                    self.slot(&unit.spec.name).set(Progress::Failed {
                        class: error.class(),
                        reason: reason.clone(),
                        message: message.clone(),
                    });
                    broken.insert(unit.spec.name.clone(), (reason, message));
                }
            }
        }
        self.change_world(|world| world.broken = broken);
        // Every place says that it waits before any run looks at what it stands on.
        for (unit, _) in &needs {
            self.slot(&unit.spec.name).set(Progress::Waiting("its turn".into()));
        }
        for (unit, need) in needs {
            match need {
                Need::Nothing => {}
                Need::Release(resolved) => self.start(Arc::clone(unit), Job::New(resolved), Trigger::Sync),
                Need::Finish(release) => self.start(Arc::clone(unit), Job::Known(release), Trigger::Restart),
            }
        }
        Ok(())
    }

    /// What a component needs. Renders only if something that decides the rendering changed since it was last rendered.
    async fn need(&self, unit: &Arc<Unit>, tree: &Arc<VerifiedTree>, asked: bool) -> Result<Need, Error> {
        let name = &unit.spec.name;
        let slot = self.slot(name);
        let view = disk(|| self.history.component(name));
        let input = tk8s_render::input(&**tree, &unit.render)?;
        let remembered = input.and_then(|input| self.remembered_content(name, input));
        let (content, resolved) = match remembered {
            Some(content) => (content, None),
            None => {
                let resolved = self.build(unit, tree).await?;
                let content = self.history.content(&resolved.parts().objects);
                if let Some(input) = input {
                    self.history.cache_put(&format!("input/{name}"), format!("{input} {content}").as_bytes());
                }
                (content, Some(resolved))
            }
        };
        if let Some(hold) = view.as_ref().and_then(|view| view.hold.as_ref()) {
            let held_content = disk(|| self.content_of(name, hold.release));
            if Some(content) == hold.rejected_content || Some(content) == held_content {
                return Ok(self.unfinished(view.as_ref(), asked, name));
            }
            disk(|| self.history.resume(name, "git: new content", Timestamp::now()))?;
        } else if let Some(view) = &view
            && view.latest.content == content
        {
            return Ok(self.unfinished(Some(view), asked, name));
        }
        if matches!(slot.progress(), Progress::Waiting(_) | Progress::Running) && self.is_under_way(name, content) {
            return Ok(Need::Nothing);
        }
        let resolved = match resolved {
            Some(resolved) => resolved,
            None => self.build(unit, tree).await?,
        };
        self.memory.under_way(name, content);
        Ok(Need::Release(Box::new(resolved)))
    }

    /// Nothing, or the release that has to be finished: a hold's, or the newest one.
    fn unfinished(&self, view: Option<&ComponentView>, asked: bool, name: &ComponentName) -> Need {
        let Some(view) = view else { return Need::Nothing };
        let slot = self.slot(name);
        if matches!(slot.progress(), Progress::Waiting(_) | Progress::Running) {
            return Need::Nothing;
        }
        match target(view) {
            Some((release, true)) => {
                tracing::debug!(%release, "is what runs");
                Need::Nothing
            }
            Some((release, false)) => {
                let due = slot.retry_at().is_some_and(|at| at <= tokio::time::Instant::now());
                let untried = view.unfinished.is_some() || matches!(slot.progress(), Progress::Settled);
                let class = match slot.progress() {
                    Progress::Failed { class, .. } => Some(class),
                    _ => None,
                };
                let blocked = class == Some(Class::Waiting) && due;
                if asked || due || untried || blocked { Need::Finish(release) } else { Need::Nothing }
            }
            None => Need::Nothing,
        }
    }

    async fn build(&self, unit: &Arc<Unit>, tree: &Arc<VerifiedTree>) -> Result<Resolved, Error> {
        self.metrics.renders.get_or_create(&Metrics::component(&unit.spec.name)).inc();
        let (unit, tree) = (Arc::clone(unit), Arc::clone(tree));
        tokio::task::spawn_blocking(move || pipeline::build(&tree, &unit.render, tk8s_images::Policy::Unverified))
            .await
            .map_err(|_| Error::Panicked("render"))?
    }

    fn remembered_content(&self, name: &ComponentName, input: Digest) -> Option<Digest> {
        let value = self.history.cache_get(&format!("input/{name}"))?;
        let (known, content) = std::str::from_utf8(&value).ok()?.split_once(' ')?;
        if known.parse() == Ok(input) { content.parse().ok() } else { None }
    }

    fn content_of(&self, name: &ComponentName, number: tk8s_core::ReleaseNumber) -> Option<Digest> {
        self.history.releases(name).into_iter().find(|view| view.release.id.number == number).map(|view| view.release.content)
    }

    fn is_under_way(&self, name: &ComponentName, content: Digest) -> bool {
        self.memory.is_under_way(name, content)
    }

    /// Finishes what a stopped process left: without Git, from what is recorded.
    pub(super) async fn finish_what_was_begun(self: &Arc<Self>) {
        let _deciding = self.deciding.lock().await;
        let Some(units) = self.world().units.clone() else { return };
        for unit in &units.units {
            let Some(view) = disk(|| self.history.component(&unit.spec.name)) else { continue };
            if let Some((release, false)) = target(&view)
                && (view.unfinished.is_some() || view.latest_outcome.is_none() || view.hold.is_some())
            {
                tracing::info!(%release, "finishing what was begun");
                self.start(Arc::clone(unit), Job::Known(release), Trigger::Restart);
            }
        }
    }

    /// Tries again what failed for a passing reason and whose pause is over.
    pub(super) async fn retry_what_is_due(self: &Arc<Self>) {
        // Whoever decides now decides about these as well; the next tick is soon enough.
        let Ok(_deciding) = self.deciding.try_lock() else { return };
        let Some(units) = self.world().units.clone() else { return };
        for unit in &units.units {
            let slot = self.slot(&unit.spec.name);
            let due = slot.retry_at().is_some_and(|at| at <= tokio::time::Instant::now());
            if !due || !slot.is_idle() {
                continue;
            }
            let view = disk(|| self.history.component(&unit.spec.name));
            match view.as_ref().and_then(target) {
                Some((release, false)) => self.start(Arc::clone(unit), Job::Known(release), Trigger::Restart),
                // Nothing was staged yet (it stood on something that failed): Git has to be looked at.
                _ => self.wake(true),
            }
        }
    }
}

/// The release that ought to run: the one it is held at, else the newest; and whether it is what runs, in good health.
pub(super) fn target(view: &ComponentView) -> Option<(tk8s_core::ReleaseId, bool)> {
    let release = match &view.hold {
        Some(hold) => tk8s_core::ReleaseId { component: view.latest.id.component.clone(), number: hold.release },
        None => view.latest.id.clone(),
    };
    let runs = view.current.as_ref() == Some(&release) && view.unfinished.is_none();
    let denied =
        view.hold.is_none() && matches!(view.latest_outcome.as_ref().map(|outcome| outcome.status), Some(Status::Denied));
    if denied {
        return None;
    }
    Some((release, runs))
}
