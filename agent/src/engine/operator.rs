//! What a person asks for: rollback, hold, resume. None of it needs Git.

use std::sync::{Arc, Mutex};
use std::time::Instant;

use serde::{Deserialize, Serialize};
use tk8s_core::{ComponentName, Digest, ReleaseId, ReleaseNumber, Timestamp};
use tk8s_deploy::Trigger;
use tk8s_diff::Action;
use tk8s_history::{ComponentView, Hold, Status};
use tokio::sync::oneshot;

use super::Engine;
use super::platform::Unit;
use super::run::Job;
use super::standing::Standing;
use crate::disk::disk;
use crate::error::Error;

/// What a rollback is asked for with.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RollbackRequest {
    /// The release to go back to; the last healthy one before what runs if not given.
    #[serde(default)]
    pub to: Option<ReleaseNumber>,
    /// Why, for the ledger.
    #[serde(default)]
    pub reason: Option<String>,
}

/// What a rollback did.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RolledBack {
    pub component: ComponentName,
    pub release: ReleaseNumber,
    /// The objects that were sent, and what was done to each.
    pub actions: Vec<Acted>,
    /// How many objects already were as the release has them.
    pub unchanged: usize,
    /// `Applied` when every write was answered; health is followed from then on by status.
    pub outcome: String,
    pub milliseconds: u64,
}

/// One object that was sent.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Acted {
    pub object: String,
    pub action: Action,
}

/// The longest reason that is written down.
const LONGEST_REASON: usize = 500;

impl Engine {
    /// Puts a former release back and holds the component there. Returns when every write was answered.
    pub async fn roll_back(
        self: &Arc<Self>,
        component: &ComponentName,
        request: RollbackRequest,
        by: &str,
    ) -> Result<RolledBack, Error> {
        let began = Instant::now();
        let view = disk(|| self.history.component(component)).ok_or_else(|| Error::UnknownComponent(component.clone()))?;
        let target = self.rollback_target(component, &view, request.to)?;
        let reason = request.reason.as_deref().map(|reason| tk8s_core::printable(reason, LONGEST_REASON));
        // Bytes proven against the ledger before anything is promised.
        let header =
            disk(|| self.history.recall(&target)).map(|recalled| tk8s_history::Desired::from(recalled).release().clone())?;
        let hold = Hold {
            release: target.number,
            rejected: self.rejected(&view, header.content),
            reason: reason.clone().unwrap_or_else(|| "rollback".into()),
            by: by.into(),
            with: None,
        };
        // Held with it: whatever happens from here on, Git does not undo the rollback.
        disk(|| self.history.rollback_requested(component, hold, reason.as_deref(), Timestamp::now()))?;
        let unit = self.unit_or_default(component);
        let slot = self.slot(component);
        let (ticket, cancel) = slot.supersede();
        let (send, heard) = oneshot::channel();
        let engine = Arc::clone(self);
        let trigger = Trigger::Rollback { by: by.into(), reason };
        let release = target.clone();
        let run = tokio::spawn(async move {
            let send = Mutex::new(Some(send));
            let actions = Mutex::new((Vec::new(), 0));
            let listen = |applied: &tk8s_deploy::Applied| {
                let mut actions = actions.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                actions.0.extend(
                    applied.plan().changes().iter().map(|change| Acted { object: change.key.to_string(), action: change.action }),
                );
                actions.1 += applied.plan().unchanged().len();
                let (turn, turns) = applied.plan().position();
                if turn + 1 == turns
                    && let Some(send) = send.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take()
                {
                    send.send((std::mem::take(&mut actions.0), actions.1)).ok();
                }
            };
            engine.take_turn(&unit, &slot, ticket, cancel, Job::Known(release), &trigger, &listen).await
        });
        match heard.await {
            Ok((actions, unchanged)) => Ok(RolledBack {
                component: component.clone(),
                release: target.number,
                actions,
                unchanged,
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

    /// The release that was asked for, or the last healthy one before what runs.
    fn rollback_target(
        &self,
        component: &ComponentName,
        view: &ComponentView,
        to: Option<ReleaseNumber>,
    ) -> Result<ReleaseId, Error> {
        let releases = disk(|| self.history.releases(component));
        let number = match to {
            Some(number) => number,
            None => {
                let newest = view.latest.id.number;
                let running = view.current.as_ref().map_or(newest, |current| current.number);
                // What runs may be healthy while a newer release failed: then what runs is the one to go back to.
                let failed = view.hold.is_none()
                    && running < newest
                    && !matches!(view.latest_outcome.as_ref().map(|o| o.status), Some(Status::Denied));
                releases
                    .iter()
                    .filter(|known| if failed { known.release.id.number <= running } else { known.release.id.number < running })
                    .find(|known| known.healthy_at.is_some())
                    .map(|known| known.release.id.number)
                    .ok_or_else(|| Error::NothingToRollBackTo(component.clone()))?
            }
        };
        if !releases.iter().any(|known| known.release.id.number == number) {
            return Err(Error::UnknownRelease(ReleaseId { component: component.clone(), number }));
        }
        Ok(ReleaseId { component: component.clone(), number })
    }

    /// Content whose return does not end a hold at `kept`: what runs, what is newest, and what waits to come.
    fn rejected(&self, view: &ComponentView, kept: Digest) -> Vec<Digest> {
        let component = &view.latest.id.component;
        let running = view.current.as_ref().and_then(|current| disk(|| self.content_of(component, current.number)));
        let known = [running, Some(view.latest.content), self.memory.waiting_content(component)];
        let rejected: std::collections::BTreeSet<Digest> =
            known.into_iter().flatten().filter(|content| *content != kept).collect();
        rejected.into_iter().collect()
    }

    /// The component's own settings, or defaults if the platform no longer names it.
    fn unit_or_default(&self, component: &ComponentName) -> Arc<Unit> {
        if let Some(unit) = self.world().units.as_ref().and_then(|units| units.get(component)) {
            return Arc::clone(unit);
        }
        super::platform::default_unit(component)
    }

    /// Pins a component to what runs.
    pub fn hold(&self, component: &ComponentName, reason: &str, by: &str) -> Result<ReleaseNumber, Error> {
        let view = disk(|| self.history.component(component)).ok_or_else(|| Error::UnknownComponent(component.clone()))?;
        let current = view.current.as_ref().ok_or_else(|| Error::NothingToHold(component.clone()))?.number;
        let content = disk(|| self.content_of(component, current));
        let hold = Hold {
            release: current,
            rejected: content.map_or_else(Vec::new, |content| self.rejected(&view, content)),
            reason: tk8s_core::printable(reason, LONGEST_REASON),
            by: by.into(),
            with: None,
        };
        disk(|| self.history.hold(component, hold, Timestamp::now()))?;
        Ok(current)
    }

    /// Lets the deletions that a denial named through, and tries the release again.
    pub fn confirm(self: &Arc<Self>, deletions: &str, reason: &str, by: &str) -> Result<ReleaseId, Error> {
        let unknown = || Error::NothingToConfirm(tk8s_core::printable(deletions, 100));
        let mut parts = deletions.split('.');
        let (Some(component), Some(number), Some(_), None) = (parts.next(), parts.next(), parts.next(), parts.next()) else {
            return Err(unknown());
        };
        let component: ComponentName = component.parse().map_err(|_| unknown())?;
        let view = disk(|| self.history.component(&component)).ok_or_else(unknown)?;
        let release = view.latest.id.clone();
        let denied = matches!(Standing::of(&view), Standing::Denied(_) | Standing::Unfinished(_));
        let asked =
            view.latest_outcome.as_ref().is_some_and(|outcome| outcome.message.contains(&format!("confirm {deletions} ")));
        if release.number.to_string() != number || !denied || !asked {
            return Err(unknown());
        }
        disk(|| self.history.confirm(&release, deletions, by, &tk8s_core::printable(reason, LONGEST_REASON), Timestamp::now()))?;
        self.start(self.unit_or_default(&component), Job::Known(release.clone()), Trigger::Sync);
        Ok(release)
    }

    /// Ends a hold: the newest release is applied, and Git is looked at again at once.
    pub fn resume(self: &Arc<Self>, component: &ComponentName, by: &str) -> Result<(), Error> {
        disk(|| self.history.component(component)).ok_or_else(|| Error::UnknownComponent(component.clone()))?;
        disk(|| self.history.resume(component, by, Timestamp::now()))?;
        // The newest release may be recorded already: then it needs no Git.
        if let Some(view) = disk(|| self.history.component(component))
            && let Standing::Unfinished(release) = Standing::of(&view)
        {
            self.start(self.unit_or_default(component), Job::Known(release), Trigger::Restart);
        }
        self.wake(true);
        Ok(())
    }
}
