//! From a look at Git to the runs that follow from it: what is new, what is held, what has to be finished.

use std::collections::BTreeMap;
use std::sync::Arc;

use tk8s_core::{Class, Classified as _, ComponentName, Digest, OwnDeployment, ReleaseId, Timestamp, chain};
use tk8s_deploy::{EVIDENCE_MISSING, Trigger};
use tk8s_gitsync::VerifiedTree;
use tk8s_history::{ComponentView, Limit, RefusedRevision};
use tk8s_images::Resolved;

use super::Engine;
use super::ahead;
use super::attention::Attention;
use super::platform::{self, Unit, Units};
use super::run::Job;
use super::slot::{APPROVALS_MISSING, OUTSIDE_CONFINEMENT, OUTSIDE_WINDOW, Progress};
use super::standing::Standing;
use crate::disk::disk;
use crate::error::Error;
use crate::metrics::Metrics;
use crate::pipeline::{self, Looked, Trees};
use crate::{source, trust};

/// What a component needs, as the rollout decides it.
enum Need {
    Nothing,
    /// Git brought content that is not the newest release's.
    Release(Box<Resolved>),
    /// The newest release is not what runs.
    Finish(ReleaseId),
}

impl Need {
    fn to_finish(release: Option<ReleaseId>) -> Need {
        release.map_or(Need::Nothing, Need::Finish)
    }
}

impl Engine {
    /// One look at Git, and the rollout of what it brought. Whatever goes wrong, the cluster keeps what it has.
    pub(super) async fn sync(self: &Arc<Self>, asked: bool) {
        let began = std::time::Instant::now();
        // Not while deciding: a Git server that hangs holds up nobody who looks after what runs.
        self.looks.begin();
        let looked = tokio::select! {
            looked = self.look() => looked,
            () = self.stop.cancelled() => return,
        };
        self.looked(looked.is_ok());
        self.looks.end();
        let word = if looked.is_ok() { "ok" } else { "failed" };
        tracing::debug!(took_us = began.elapsed().as_micros(), "looked at Git");
        self.metrics.fetches.get_or_create(&Metrics::outcome(word)).inc();
        let result = match looked {
            Ok(Some(trees)) => self.roll_out(&trees, asked).await,
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
    async fn look(&self) -> Result<Option<Trees>, Error> {
        let config = self.config();
        let source = source::source(&config, &self.tokens, |name| std::env::var(name).ok())?;
        let policy = trust::policy(&config)?;
        self.remember_signers(trust::signers_of(&policy).cloned());
        let accepted = self.accepted_before();
        let names = move |tree: &VerifiedTree| ahead::names(&config, tree);
        let looked = tokio::task::spawn_blocking(move || pipeline::source(&source, &policy, &accepted, names)).await;
        let Looked { verification, trees, evidence } = looked.map_err(|_| Error::Panicked("fetch"))??;
        self.hear(evidence);
        self.remember_passed(&verification, trees.as_ref());
        for (name, seen) in &verification.first_seen {
            disk(|| self.history.first_seen(name, trust::seen(seen), Timestamp::now()))?;
        }
        // A yes to another cluster of the fleet is not this one's to write down.
        for refusal in verification.refused.iter().filter(|refusal| !refusal.is_for_others()) {
            self.metrics.refused.inc();
            if !self.world().refused.contains(refusal) {
                tracing::warn!(
                    reference = refusal.reference,
                    object = refusal.object,
                    rule = refusal.rule.reason(),
                    refusal.message,
                    "refused"
                );
                self.tell_refusal(refusal);
            }
            let refused = RefusedRevision {
                reference: refusal.reference.clone(),
                object: refusal.object.clone().unwrap_or_default(),
                reason: refusal.rule.reason().into(),
                message: refusal.message.clone(),
            };
            disk(|| self.history.refuse(refused, Timestamp::now()))?;
        }
        self.note_incidents(&verification.incidents)?;
        for let_in in &verification.let_in {
            self.let_in_by_tag(let_in)?;
        }
        for unapproved in &verification.unapproved {
            if !self.world().unapproved.contains(unapproved) {
                let missing = trust::still_missing(&unapproved.missing);
                tracing::info!(tag = unapproved.tag.name, missing, "waits for approvals");
            }
        }
        self.change_world(|world| {
            world.refused = verification.refused;
            world.unapproved = verification.unapproved;
        });
        Ok(trees)
    }

    /// Reads the platform of a verified tree and starts what has to run.
    async fn roll_out(self: &Arc<Self>, trees: &Trees, asked: bool) -> Result<(), Error> {
        let _deciding = self.deciding.lock().await;
        let tree = &trees.platform;
        let config = self.config();
        let (platform, text) = platform::read(&config, &**tree)?;
        let units = platform::units(&config.repository.path, &platform)?;
        let is_other_revision = self.accept(trees)?;
        let is_other = platform::is_other(&self.history, text.as_deref());
        let before = if is_other { platform::remembered_platform(&self.history) } else { Some(platform.clone()) };
        let before = before.map_or_else(Vec::new, |before| before.components().to_vec());
        let gone = self.gone_from(&platform);
        self.stage_removals(&gone, &before, &platform, tree)?;
        if is_other {
            platform::remember(&self.history, text.as_deref());
            // Others may be left other fields by now.
            self.attend(Attention::All);
        }
        let units = Arc::new(Units::new(units));
        let is_news = self.world().units.is_none() || is_other_revision;
        self.change_world(|world| world.units = Some(Arc::clone(&units)));
        self.find_who_leaves();
        if is_news {
            self.report.all_changed();
        }
        self.follow_rules_of(&units);
        let began = std::time::Instant::now();
        let mut needs = Vec::new();
        let mut broken = BTreeMap::new();
        let mut limits = disk(|| self.history.limits());
        for unit in units.all() {
            let need = self.need_of(unit, trees, limits.remove(&unit.spec.name), asked).await;
            self.want(&unit.spec.name, need.as_ref().ok());
            match need {
                Ok(Need::Nothing) => {}
                Ok(need) => needs.push((unit, need)),
                Err(error) => {
                    let (reason, message) = (error.reason().to_owned(), chain(&error));
                    // Said once, not at every look at Git.
                    if self.world().broken.get(&unit.spec.name) != Some(&(reason.clone(), message.clone())) {
                        tracing::warn!(component = %unit.spec.name, reason, error = message, "component can't be rendered");
                    }
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
        tracing::debug!(runs = needs.len(), took_us = began.elapsed().as_micros(), "rendered what changed");
        let runs: Vec<_> = needs.iter().map(|(unit, _)| unit.spec.name.clone()).collect();
        let removals = self.removals(&runs, asked);
        // Every place says that it waits before any run looks at what it stands on.
        for name in runs.iter().chain(removals.iter().map(|(unit, _)| &unit.spec.name)) {
            self.slot(name).set(Progress::in_its_turn());
        }
        let own = self.own().as_deployment();
        for (unit, need) in needs {
            // What is taken away waits for all runs, so it is not waited for.
            let after = match own.as_ref().is_some_and(|own| self.brings(own, &unit.spec.name, &need)) {
                true => units.all_before(&unit.spec.name, &runs).cloned().collect(),
                false => Vec::new(),
            };
            match need {
                Need::Nothing => {}
                Need::Release(resolved) => self.start_after(after, Arc::clone(unit), Job::New(resolved), Trigger::Sync),
                Need::Finish(release) => self.start_after(after, Arc::clone(unit), Job::Known(release), Trigger::Restart),
            }
        }
        for (unit, release) in removals {
            self.start(unit, Job::Known(release), Trigger::Sync);
        }
        Ok(())
    }

    /// Whether a run may end this process: then it comes after everything else that the same look at Git brings.
    fn brings(&self, own: &OwnDeployment, name: &ComponentName, need: &Need) -> bool {
        match need {
            Need::Nothing => false,
            Need::Release(resolved) => resolved.parts().objects.iter().any(|placed| own.is(placed.manifest.key())),
            Need::Finish(_) => disk(|| self.history.inventory(name)).iter().any(|entry| own.is(&entry.key)),
        }
    }

    /// Remembers what comes for a component before any run decides what may be deleted.
    fn want(&self, name: &ComponentName, need: Option<&Need>) {
        let mut wanted = self.wanted.write().unwrap_or_else(std::sync::PoisonError::into_inner);
        match need {
            Some(Need::Release(resolved)) => {
                let keys = resolved.parts().objects.iter().map(|placed| placed.manifest.key().clone()).collect();
                wanted.insert(name, keys);
            }
            // What is on the way stays so.
            Some(Need::Nothing) if self.memory.waiting_content(name).is_some() => {}
            _ => wanted.remove(name),
        }
    }

    /// What a component needs, of the platform's tree or its own.
    async fn need_of(&self, unit: &Arc<Unit>, trees: &Trees, limit: Option<Limit>, asked: bool) -> Result<Need, Error> {
        match trees.own.get(&unit.spec.name) {
            None => self.need(unit, &trees.platform, limit, asked).await,
            Some(Some(own)) => self.need(&ahead::unit(&self.config(), unit, own)?, own, limit, asked).await,
            Some(None) => {
                let view = disk(|| self.history.component(&unit.spec.name));
                Ok(Need::to_finish(self.unfinished(view.as_ref(), asked, unit)))
            }
        }
    }

    /// What a component needs. Renders only if something that decides the rendering changed since it was last rendered.
    /// `limit`: what is known of the component beside what the history holds, if some of that was lost.
    async fn need(&self, unit: &Arc<Unit>, tree: &Arc<VerifiedTree>, limit: Option<Limit>, asked: bool) -> Result<Need, Error> {
        let name = &unit.spec.name;
        let slot = self.slot(name);
        let view = disk(|| self.history.component(name));
        let with = self.input(unit, tree, asked).await?;
        let input = with.identity;
        let remembered = input.and_then(|input| self.remembered_content(name, input));
        let (content, resolved) = match remembered {
            Some(content) => (content, None),
            None => {
                let resolved = self.build(unit, tree, &with, asked).await?;
                let content = self.history.content(&resolved.parts().objects);
                if let Some(view) = view.as_ref().filter(|view| view.latest.content == content) {
                    self.also_from(&view.latest, resolved.parts().tree.as_ref());
                }
                if let Some(input) = input {
                    self.history.cache_put(&format!("input/{name}"), format!("{input} {content}").as_bytes());
                }
                (content, Some(resolved))
            }
        };
        let held = match (&view, &limit) {
            (Some(view), _) => view.hold.as_ref(),
            (None, Some(limit)) => limit.hold.as_ref(),
            (None, None) => None,
        };
        if let Some(hold) = held {
            let held_content = disk(|| self.content_of(name, hold.release));
            if hold.rejects(content) || Some(content) == held_content {
                self.drop_what_waits(name, content);
                // What it is held at may be lost: then it stays as it is.
                let finish = (limit.is_none() || held_content.is_some()).then(|| self.unfinished(view.as_ref(), asked, unit));
                return Ok(Need::to_finish(finish.flatten()));
            }
            disk(|| self.history.resume(name, "git: new content", Timestamp::now()))?;
        } else if let Some(view) = &view
            && view.latest.content == content
            && !self.is_behind(&view.latest.id)
        {
            self.drop_what_waits(name, content);
            return Ok(Need::to_finish(self.unfinished(Some(view), asked, unit)));
        }
        if slot.progress().is_under_way() && self.memory.waiting_content(name) == Some(content) {
            return Ok(Need::Nothing);
        }
        let resolved = match resolved {
            Some(resolved) => resolved,
            None => self.build(unit, tree, &with, asked).await?,
        };
        self.memory.under_way(name, content);
        Ok(Need::Release(Box::new(resolved)))
    }

    /// Git has gone back: what waits to bring other content does not run any more.
    fn drop_what_waits(&self, name: &ComponentName, content: Digest) {
        let slot = self.slot(name);
        let other = self.memory.waiting_content(name).is_some_and(|waiting| waiting != content);
        if other && matches!(slot.progress(), Progress::Waiting(_)) {
            slot.supersede();
            slot.set(Progress::Settled);
            self.look_again(name);
        }
        if !matches!(slot.progress(), Progress::Running) {
            self.memory.nothing_under_way(name);
        }
    }

    /// The release that has to be finished, if there is one: a hold's, or the newest one.
    pub(super) fn unfinished(&self, view: Option<&ComponentView>, asked: bool, unit: &Unit) -> Option<ReleaseId> {
        let view = view?;
        let name = &unit.spec.name;
        let slot = self.slot(name);
        let progress = slot.progress();
        if progress.is_under_way() {
            return None;
        }
        // The windows may be others by now, and open.
        let opened = matches!(&progress, Progress::Failed { reason, .. } if reason == OUTSIDE_WINDOW)
            && unit.spec.windows.closed(Timestamp::now()).is_none();
        let widened = matches!(&progress, Progress::Failed { reason, .. } if reason == OUTSIDE_CONFINEMENT);
        let unapproved = |tag: Option<&tk8s_core::TagRef>| self.world().unapproved.iter().any(|it| Some(&it.tag) == tag);
        let approved = matches!(&progress, Progress::Failed { reason, .. } if reason == APPROVALS_MISSING)
            && !unapproved(view.latest.revision.tag.as_ref());
        let promoted = matches!(&progress, Progress::Failed { reason, .. } if reason == EVIDENCE_MISSING)
            && self.is_promoted_by_now(&slot, &progress, &view.latest);
        let due = slot.is_due() || opened || approved || promoted;
        match Standing::of(view) {
            Standing::Runs(release) | Standing::Unhealthy(release) if self.memory.is_unsure(name) => Some(release),
            // A repair was not taken, or nobody heard whether it was. The clock tries it again; where it does not, this does.
            Standing::Runs(release) if matches!(progress, Progress::Failed { .. }) && self.memory.doubts(name) => {
                (due || !slot.will_try_again()).then_some(release)
            }
            Standing::Runs(release) => {
                tracing::debug!(%release, "is what runs");
                if matches!(progress, Progress::Failed { .. }) {
                    // What failed came from content that is gone, or was a repair: then drift is seen again.
                    slot.set(self.undone_before(view).unwrap_or(Progress::Settled));
                    self.look_again(name);
                }
                None
            }
            Standing::Unfinished(release) if asked || due || view.unfinished.is_some() || progress == Progress::Settled => {
                Some(release)
            }
            Standing::Unhealthy(release) | Standing::Denied(release) if asked => Some(release),
            Standing::Denied(release) if widened && self.is_let_in_by_now(unit, &release) => Some(release),
            standing => {
                // What was refused before this content went and came back stands again.
                if let Some(failed) = self.failed_before(&standing, view) {
                    slot.set(failed);
                }
                None
            }
        }
    }

    /// How a component is that does not run as it ought to and that nobody tries again: as its last run left it.
    pub(super) fn failed_before(&self, standing: &Standing, view: &ComponentView) -> Option<Progress> {
        let message = view.latest_outcome.as_ref().map_or_else(String::new, |outcome| outcome.message.clone());
        match standing {
            // That it could not be undone either says more than that it failed.
            Standing::Unhealthy(release) => {
                Some(self.not_undone_before(view).unwrap_or_else(|| self.unhealthy(&release.component, &message)))
            }
            Standing::Denied(_) => Some(denied(&message)),
            Standing::Runs(_) | Standing::Unfinished(_) => None,
        }
    }

    fn remembered_content(&self, name: &ComponentName, input: Digest) -> Option<Digest> {
        let value = self.history.cache_get(&format!("input/{name}"))?;
        let (known, content) = std::str::from_utf8(&value).ok()?.split_once(' ')?;
        if known.parse() == Ok(input) { content.parse().ok() } else { None }
    }

    pub(super) fn content_of(&self, name: &ComponentName, number: tk8s_core::ReleaseNumber) -> Option<Digest> {
        self.history.content_of(&ReleaseId { component: name.clone(), number })
    }

    /// Whether what failed was to bring content that is not staged.
    pub(super) fn waits_for_content(&self, name: &ComponentName, view: &ComponentView) -> bool {
        self.memory.waiting_content(name).is_some_and(|content| content != view.latest.content)
    }
}

/// A denial as history has it, `Reason: message`, as it was shown when it was new.
pub(super) fn denied(words: &str) -> Progress {
    let word = |reason: &str| !reason.is_empty() && reason.chars().all(|c| c.is_ascii_alphanumeric());
    let (reason, message) = words.split_once(": ").filter(|(reason, _)| word(reason)).unwrap_or(("Denied", words));
    Progress::Failed { class: Class::Denied, reason: reason.into(), message: message.into() }
}
