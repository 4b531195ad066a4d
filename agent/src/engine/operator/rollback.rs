//! Rollback: of a component, of a layer, of everything. No Git, no rendering, no registry, no window and no neighbour has a
//! say in it.
//!
//! What the API server does not take any more is found by dry-runs before the first write, and then nothing is written and
//! nobody is held. Of many components all are looked at before anything is written for the first of them.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures::{StreamExt as _, stream};
use tk8s_core::{ComponentName, KINDS_THAT_HOLD, ReleaseId, Timestamp, chain, printable};
use tk8s_deploy::{self as deploy, Trigger};
use tk8s_diff::ownership::DriftMode;
use tk8s_diff::{self as diff, Foretold, Rejections, Rules};
use tk8s_history::{Desired, Hold, Scope};
use tokio::sync::oneshot;

use super::hold::LeftAlone;
use super::returned::{
    Acted, ComponentPlan, Fate, KeptView, PlannedObject, Returned, RollbackPlan, RollbackRequest, RolledBack, RolledBackMany,
};
use super::targets::Targets;
use super::{Asked, LONGEST_REASON};
use crate::disk::disk;
use crate::engine::Engine;
use crate::engine::platform::Unit;
use crate::engine::run::{Former, Job, Manner};
use crate::error::Error;

/// How long the API server is asked for one component before anything is written.
const ASKING: Duration = Duration::from_secs(20);
/// Components that are planned at the same time.
const PLANNED_AT_ONCE: usize = 4;
/// Components that are written at the same time: each holds all its objects meanwhile.
const WRITTEN_AT_ONCE: usize = 4;
/// How much of diffs one plan shows: a caller takes at most 64 MiB.
const LARGEST_DIFFS: usize = 32 * 1024 * 1024;
/// How many refusals of a rollback of many one message tells.
const TOLD: usize = 20;

/// What was written for one component.
#[derive(Default)]
struct Written {
    actions: Vec<Acted>,
    unchanged: usize,
    left: Vec<KeptView>,
}

impl Written {
    fn hear(&mut self, plan: &diff::Plan) {
        let acted = |change: &diff::Change| Acted { object: change.key.to_string(), action: change.action };
        self.actions.extend(plan.changes().iter().map(acted));
        self.unchanged += plan.unchanged().len();
        self.left.extend(plan.rejected().iter().map(KeptView::from));
    }
}

impl Engine {
    /// Puts a former release of one component back and holds it there. Returns when every write was answered.
    pub async fn roll_back(
        self: &Arc<Self>,
        component: &ComponentName,
        request: &RollbackRequest,
        by: &str,
    ) -> Result<RolledBack, Error> {
        let view = disk(|| self.history.component(component)).ok_or_else(|| Error::UnknownComponent(component.clone()))?;
        let unit = self.unit_or_default(component);
        let target = match &request.to_revision {
            Some(revision) => {
                let mut targets = self.targets_at(vec![Arc::clone(&unit)], revision)?;
                targets.to.pop().map(|(_, release)| release).ok_or_else(|| Error::NothingToRollBackTo(component.clone()))?
            }
            None => self.rollback_target(&view, request.to)?,
        };
        if !request.despite_compromise {
            self.is_believed(&target)?;
        }
        let reason = request.reason.as_deref().map(|reason| printable(reason, LONGEST_REASON));
        let (hold, desired) = self.hold_at(&target, None, reason.as_deref(), by)?;
        // Held with it: whatever happens from here on, Git does not undo the rollback.
        disk(|| self.history.rollback_requested(component, hold, reason.as_deref(), Timestamp::now()))?;
        let before = view.hold;
        self.put_back(&unit, (Former::Proven(Box::new(desired)), None), request, by, before).await
    }

    /// Puts former releases of many components back and holds them there: the highest layer first, so that nothing stands on
    /// what is gone. What can't be done for one is told, and stops no other.
    pub async fn roll_back_many(
        self: &Arc<Self>,
        asked: &Asked,
        request: &RollbackRequest,
        by: &str,
    ) -> Result<RolledBackMany, Error> {
        let began = Instant::now();
        let (scope, Targets { revision, to, left }) = self.targets(asked, request)?;
        let foretold = Arc::new(Foretold::default());
        let plans = self.plan_all(&to, request, by, Some(&foretold)).await?;
        let refused: Vec<_> = plans.iter().filter_map(|plan| plan.refusal(request.skip_rejected)).collect();
        if !refused.is_empty() {
            let more = if refused.len() > TOLD { format!("; and {} more", refused.len() - TOLD) } else { String::new() };
            return Err(Error::RollbacksRefused(format!("{}{more}", refused[..refused.len().min(TOLD)].join("; "))));
        }
        let reason = request.reason.as_deref().map(|reason| printable(reason, LONGEST_REASON));
        let (mut holds, mut before) = (Vec::new(), BTreeMap::new());
        for (unit, release) in &to {
            let component = &unit.spec.name;
            before.insert(component.clone(), disk(|| self.history.component(component)).and_then(|view| view.hold));
            let (hold, _) = self.hold_at(release, Some(&scope), reason.as_deref(), by)?;
            holds.push((component.clone(), hold));
        }
        disk(|| self.history.rollbacks_requested(holds, reason.as_deref(), Timestamp::now()))?;
        // Nothing new comes into a lower layer while a higher one goes back.
        to.iter().for_each(|(unit, _)| drop(self.slot(&unit.spec.name).supersede()));
        let mut layers: BTreeMap<u16, Vec<(Arc<Unit>, ReleaseId)>> = BTreeMap::new();
        for (unit, release) in to {
            layers.entry(unit.spec.layer.number).or_default().push((unit, release));
        }
        let mut components = Vec::new();
        for (_, layer) in layers.into_iter().rev() {
            let returning = layer.into_iter().map(|(unit, release)| {
                let before = before.remove(&unit.spec.name).flatten();
                let foretold = Some(Arc::clone(&foretold));
                async move {
                    let (layer, component, number) = (unit.spec.layer.clone(), unit.spec.name.clone(), release.number);
                    let fate = match self.put_back(&unit, (Former::Named(release), foretold), request, by, before).await {
                        Ok(done) => Fate::Done(done),
                        Err(error) => Fate::Failed(chain(&error)),
                    };
                    Returned { layer, component, release: number, fate }
                }
            });
            components.extend(stream::iter(returning.collect::<Vec<_>>()).buffered(WRITTEN_AT_ONCE).collect::<Vec<_>>().await);
        }
        let milliseconds = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        Ok(RolledBackMany { scope, revision, components, left, milliseconds })
    }

    /// What a rollback would do. Nothing is written, and nothing in the ledger.
    pub async fn plan_rollback(&self, asked: &Asked, request: &RollbackRequest, by: &str) -> Result<RollbackPlan, Error> {
        let (scope, Targets { revision, to, left }) = self.targets(asked, request)?;
        let components = self.plan_all(&to, request, by, None).await?;
        Ok(RollbackPlan { scope, revision, components, left })
    }

    fn targets(&self, asked: &Asked, request: &RollbackRequest) -> Result<(Scope, Targets), Error> {
        let scope = self.scope(asked)?;
        if request.to.is_some() && !matches!(scope, Scope::Component(_)) {
            return Err(Error::NoRevision);
        }
        let members = self.members(&scope);
        let targets = match (&scope, &request.to_revision) {
            (_, Some(revision)) => self.targets_at(members, revision)?,
            (Scope::Component(component), None) => {
                let unknown = || Error::UnknownComponent(component.clone());
                let view = disk(|| self.history.component(component)).ok_or_else(unknown)?;
                let release = self.rollback_target(&view, request.to)?;
                let to = members.into_iter().map(|unit| (unit, release.clone())).collect();
                Targets { revision: None, to, left: Vec::new() }
            }
            (Scope::Layer(_), None) => self.targets_before_the_last_change(&scope, members)?,
            (Scope::All, None) => return Err(Error::NoRevision),
        };
        if targets.to.is_empty() {
            return Err(Error::NothingToRollBack(scope));
        }
        let mut targets = targets;
        if scope == Scope::All {
            let looked_after = self.looked_after();
            let is_part = |name: &ComponentName| looked_after.iter().any(|unit| unit.spec.name == *name);
            let removed = disk(|| self.history.components()).into_iter().filter(|name| !is_part(name));
            let why = "it is not part of the platform any more";
            targets.left.extend(removed.map(|component| LeftAlone { component, why: why.into() }));
        }
        Ok((scope, targets))
    }

    /// The hold that a rollback begins with. Bytes are proven against the ledger before anything is promised.
    fn hold_at(
        &self,
        release: &ReleaseId,
        with: Option<&Scope>,
        reason: Option<&str>,
        by: &str,
    ) -> Result<(Hold, Desired), Error> {
        let unknown = || Error::UnknownComponent(release.component.clone());
        let view = disk(|| self.history.component(&release.component)).ok_or_else(unknown)?;
        let desired = Desired::from(disk(|| self.history.recall(release))?);
        let (rejected, with) = (self.rejected(&view, desired.release().content), with.cloned());
        Ok((Hold { rejected, with, ..Hold::at(release.number, reason.unwrap_or("rollback"), by) }, desired))
    }

    async fn plan_all(
        &self,
        to: &[(Arc<Unit>, ReleaseId)],
        request: &RollbackRequest,
        by: &str,
        foretold: Option<&Arc<Foretold>>,
    ) -> Result<Vec<ComponentPlan>, Error> {
        let planned = to.iter().map(|(unit, release)| self.plan_back(unit, release, request, by, foretold.cloned()));
        let planned = planned.collect::<Vec<_>>();
        let mut planning = stream::iter(planned).buffered(PLANNED_AT_ONCE);
        let (mut plans, mut room) = (Vec::new(), LARGEST_DIFFS);
        while let Some(plan) = planning.next().await {
            let mut plan = plan?;
            plan.objects.iter_mut().for_each(|object| fit(&mut object.diff, &mut room));
            plans.push(plan);
        }
        Ok(plans)
    }

    /// Steps 7 to 9, for people: the plan of each turn, as far as it can be made before the turn before it was applied.
    async fn plan_back(
        &self,
        unit: &Unit,
        release: &ReleaseId,
        request: &RollbackRequest,
        by: &str,
        foretold: Option<Arc<Foretold>>,
    ) -> Result<ComponentPlan, Error> {
        let trigger = Trigger::Rollback { by: by.into(), reason: None };
        let manner = Manner { skip_rejected: true, delete_protected: request.delete_protected, foretold };
        let desired: Desired = disk(|| self.history.recall(release))?.into();
        let revision = desired.release().revision.label().to_owned();
        let rules = Rules { diffs: request.dry_run, ..self.rules(unit, &desired, &trigger, Some(manner)) };
        let header = Arc::clone(desired.release());
        let from = disk(|| self.history.component(&release.component)).and_then(|view| view.current).map(|it| it.number);
        let (layer, component, to) = (unit.spec.layer.clone(), release.component.clone(), release.number);
        let mut told = ComponentPlan {
            layer,
            component,
            from,
            to,
            revision,
            objects: Vec::new(),
            unchanged: 0,
            deletes: Vec::new(),
            keeps: Vec::new(),
            later: Vec::new(),
            rejected: Vec::new(),
            denied: Vec::new(),
            warnings: Vec::new(),
        };
        let own = self.own_of(&desired, true).await?;
        let admission = deploy::Admission { confine: &rules.confine, comes_in: false, own: &own };
        match deploy::admit(&desired, &trigger, &admission) {
            Ok(warnings) => told.warnings = warnings,
            Err(denied) => {
                told.denied = denied.reasons();
                return Ok(told);
            }
        }
        match self.is_believed(release) {
            Err(error) if !request.despite_compromise => {
                told.denied = vec![error.to_string()];
                return Ok(told);
            }
            _ => {}
        }
        let mut room = LARGEST_DIFFS / PLANNED_AT_ONCE;
        let health_timeout = unit.spec.health_timeout.unwrap_or(self.config().apply.health_timeout);
        let hooks = self.hooks(release, &trigger, health_timeout);
        let cluster = self.cluster_of(&release.component);
        for turn in diff::turns(desired, &self.instance, &hooks)? {
            let (first, brought) = (turn.position().0 == 0, turn.brought());
            let deadline = tokio::time::Instant::now() + ASKING;
            let concurrency = self.config().apply.concurrency;
            let memory = &*self.memory;
            let observed = diff::observe(&cluster, &self.live, turn, memory, &rules, concurrency, deadline).await?;
            let plan = diff::plan(observed);
            told.objects.extend(plan.changes().iter().map(|change| {
                let (object, mut diff, warnings) = (change.key.to_string(), change.diff.clone(), change.warnings.clone());
                fit(&mut diff, &mut room);
                PlannedObject { object, action: change.action, diff, warnings }
            }));
            told.unchanged += plan.unchanged().len();
            told.deletes.extend(plan.prune().iter().map(|prune| prune.key.to_string()));
            told.keeps.extend(plan.kept().iter().map(KeptView::from));
            for kept in plan.rejected() {
                match !first && brought.is_needed_by(&kept.key) {
                    true => told.later.push(kept.key.to_string()),
                    false => told.rejected.push(kept.into()),
                }
            }
            let denied = deploy::gate(plan, &trigger, &self.gate_rules(unit, &header, &own.roles)).err();
            told.denied.extend(denied.iter().flat_map(deploy::Denied::reasons));
        }
        told.denied.dedup();
        Ok(told)
    }

    /// Runs the pipeline for a release that was asked for and is held already. Returns when every write was answered, or when
    /// it is clear that nothing is written: then the hold is as it was `before`. With the release comes what was asked about it.
    async fn put_back(
        self: &Arc<Self>,
        unit: &Arc<Unit>,
        (former, foretold): (Former, Option<Arc<Foretold>>),
        request: &RollbackRequest,
        by: &str,
        before: Option<Hold>,
    ) -> Result<RolledBack, Error> {
        let (began, release) = (Instant::now(), former.release().clone());
        let slot = self.slot(&unit.spec.name);
        let (ticket, cancel) = slot.supersede();
        let (send, heard) = oneshot::channel();
        let (skip_rejected, delete_protected) = (request.skip_rejected, request.delete_protected);
        let manner = Manner { skip_rejected, delete_protected, foretold };
        let reason = request.reason.as_deref().map(|reason| printable(reason, LONGEST_REASON));
        let trigger = Trigger::Rollback { by: by.into(), reason };
        let (engine, turn_of, target) = (Arc::clone(self), Arc::clone(unit), release.clone());
        let run = tokio::spawn(async move {
            let (send, written, began) = (Mutex::new(Some(send)), Mutex::new(Written::default()), AtomicBool::new(false));
            let listen = |applied: &deploy::Applied| {
                began.store(true, Ordering::SeqCst);
                let mut written = written.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                written.hear(applied.plan());
                let (turn, turns) = applied.plan().position();
                if turn + 1 == turns
                    && let Some(send) = send.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take()
                {
                    send.send(std::mem::take(&mut *written)).ok();
                }
            };
            let job = Job::Back(former, manner);
            let ended = engine.take_turn(&turn_of, &slot, ticket, cancel, job, &trigger, &listen).await;
            match ended {
                Err(error) if is_refused(&error) && !began.load(Ordering::SeqCst) => {
                    Err(engine.not_back(&turn_of, target, before, error))
                }
                ended => ended,
            }
        });
        let component = unit.spec.name.clone();
        match heard.await {
            Ok(Written { actions, unchanged, left }) => Ok(RolledBack {
                component,
                release: release.number,
                actions,
                unchanged,
                left,
                outcome: "Applied".into(),
                milliseconds: u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX),
            }),
            Err(_) => match run.await {
                Ok(Ok(outcome)) => Err(Error::RollbackEnded(outcome.message)),
                Ok(Err(error)) => Err(error),
                Err(_) => Err(Error::Panicked("rollback")),
            },
        }
    }

    /// A rollback that was refused before it wrote anything: the component is held as before, and goes on with what it was at.
    fn not_back(self: &Arc<Self>, unit: &Arc<Unit>, release: ReleaseId, before: Option<Hold>, error: Error) -> Error {
        let component = unit.spec.name.clone();
        if let Err(error) = disk(|| self.history.rollback_refused(&component, before, Timestamp::now())) {
            return error.into();
        }
        self.carry_on(unit);
        let next = match &error {
            Error::Diff(_) => "; `--skip-rejected` goes on without these objects, which stay as they are",
            _ => "",
        };
        Error::RollbackRefused { component, release, next, source: Box::new(error) }
    }

    /// The rules of a component as a rollback, or what comes after it, has them.
    pub(in crate::engine) fn rules_of_going_back(
        &self,
        mut rules: Rules,
        release: &ReleaseId,
        trigger: &Trigger,
        manner: Option<Manner>,
    ) -> Rules {
        let held = disk(|| self.history.component(&release.component)).is_some_and(|view| view.hold.is_some());
        rules.foretold = manner.as_ref().and_then(|manner| manner.foretold.clone());
        match manner {
            Some(Manner { delete_protected: true, .. }) => rules.protect.clear(),
            // Deleted only if somebody says so, whatever the platform file says; also while it is held there: a repair deletes
            // no more than the rollback did.
            _ if held || trigger.is_rollback() => rules.protect.extend(KINDS_THAT_HOLD.map(String::from)),
            _ => {}
        }
        if trigger.is_rollback() {
            rules.fields.drift = DriftMode::Repair;
            rules.rejections = match manner {
                Some(Manner { skip_rejected: true, .. }) => Rejections::Skipped,
                _ => Rejections::RefusedAtOnce,
            };
        }
        if manner.is_none() {
            rules.left_out = disk(|| self.history.left_out(release)).into_iter().map(|left| left.object).collect();
        }
        rules
    }
}

/// Leaves a diff out for which there is no room any more.
fn fit(diff: &mut String, room: &mut usize) {
    match room.checked_sub(diff.len()) {
        Some(left) => *room = left,
        None => *diff = "… left out: the plan is too large to show all of it\n".into(),
    }
}

/// Whether this says no to the rollback itself, so that trying again would not help.
fn is_refused(error: &Error) -> bool {
    match error {
        Error::Denied(_) => true,
        Error::Diff(error) => error.is_rejection(),
        _ => false,
    }
}
