//! Hold, suspend and resume: of a component, of a layer, of everything.
//!
//! A hold pins a component to a release and goes on repairing it; a suspension writes nothing at all. `resume` ends what was
//! said with the same words: what was said of a layer is not ended by a word about one of its components, nor the other way
//! round. The answer names what still stands, and who said it.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tk8s_core::{Class, ComponentName, ReleaseNumber, Timestamp, printable};
use tk8s_deploy::Trigger;
use tk8s_history::{Hold, Scope, Suspension};

use super::{Asked, LONGEST_REASON};
use crate::disk::disk;
use crate::engine::Engine;
use crate::engine::platform::Unit;
use crate::engine::run::Job;
use crate::engine::slot::{Progress, SUSPENDED};
use crate::error::Error;

/// What a hold did.
#[derive(Debug, Serialize, Deserialize)]
pub struct Held {
    pub scope: Scope,
    pub held: Vec<HeldComponent>,
    /// Components of the scope that are as they were.
    pub left: Vec<LeftAlone>,
}

/// A component and the release that it is pinned to.
#[derive(Debug, Serialize, Deserialize)]
pub struct HeldComponent {
    pub component: ComponentName,
    pub release: ReleaseNumber,
}

/// A component that stays as it is, and why.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct LeftAlone {
    pub component: ComponentName,
    pub why: String,
}

/// What a suspension covers.
#[derive(Debug, Serialize, Deserialize)]
pub struct Suspended {
    pub scope: Scope,
    pub components: Vec<ComponentName>,
}

/// What a resume ended, and what still stands.
#[derive(Debug, Serialize, Deserialize)]
pub struct Resumed {
    pub scope: Scope,
    /// Whether there was anything to end.
    pub resumed: bool,
    /// What still stands about these components, as sentences that say how it ends.
    pub still: Vec<String>,
}

/// A suspension, as status shows it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct SuspensionView {
    pub scope: Scope,
    pub reason: String,
    pub by: String,
    pub since: Timestamp,
}

impl From<Suspension> for SuspensionView {
    fn from(Suspension { scope, reason, by, since }: Suspension) -> SuspensionView {
        SuspensionView { scope, reason, by, since }
    }
}

impl Engine {
    /// Those of these suspensions under which a component is.
    pub(in crate::engine) fn covered<'a>(
        &self,
        suspensions: &'a [Suspension],
        unit: &Unit,
    ) -> impl Iterator<Item = &'a Suspension> + use<'a> {
        // Who is not in the platform as it is known is in no layer that anybody could look up: then it is taken to be in each.
        let unknown = self.world().units.as_ref().is_none_or(|units| units.get(&unit.spec.name).is_none());
        let (name, layer) = (unit.spec.name.clone(), unit.spec.layer.clone());
        suspensions.iter().filter(move |one| one.scope.covers(&name, &layer) || unknown && matches!(one.scope, Scope::Layer(_)))
    }

    /// What a component is suspended by: the widest word about it.
    pub(in crate::engine) fn suspension_of(&self, unit: &Unit) -> Option<Suspension> {
        let suspensions = disk(|| self.history.suspensions());
        self.covered(&suspensions, unit).min_by(|a, b| a.scope.cmp(&b.scope)).cloned()
    }

    /// Whether a run does not begin because nothing may be written for the component; then its place says so. What is new from
    /// Git does begin, so that it is staged and its resume needs no Git; its plan is denied.
    pub(in crate::engine) fn rests(&self, unit: &Unit, job: &Job, trigger: &Trigger) -> bool {
        let known = matches!(job, Job::Known(_)) && !trigger.is_a_persons();
        let Some(progress) = known.then(|| self.suspended_progress(unit)).flatten() else { return false };
        self.slot(&unit.spec.name).set(progress);
        true
    }

    /// How far a component is for which nothing may be written.
    pub(in crate::engine) fn suspended_progress(&self, unit: &Unit) -> Option<Progress> {
        let message = self.suspension_of(unit)?.to_string();
        Some(Progress::Failed { class: Class::Waiting, reason: SUSPENDED.into(), message })
    }

    /// Writes nothing more for these until somebody resumes them. What is being written now is written to its end, because
    /// half an object helps nobody; what waits to become healthy is not waited for, and nothing is deleted after it.
    pub fn suspend(self: &Arc<Self>, asked: &Asked, reason: &str, by: &str) -> Result<Suspended, Error> {
        let (scope, reason) = (self.scope(asked)?, printable(reason, LONGEST_REASON));
        disk(|| self.history.suspend(scope.clone(), &reason, by, Timestamp::now()))?;
        let members = self.members(&scope);
        for unit in &members {
            self.slot(&unit.spec.name).interrupt();
        }
        tracing::info!(%scope, by, reason, "suspended");
        Ok(Suspended { scope, components: members.iter().map(|unit| unit.spec.name.clone()).collect() })
    }

    /// Pins components to what runs. What is held already keeps its hold.
    pub fn hold(&self, asked: &Asked, reason: &str, by: &str) -> Result<Held, Error> {
        let scope = self.scope(asked)?;
        let with = (!matches!(scope, Scope::Component(_))).then(|| scope.clone());
        let (mut holds, mut held, mut left) = (Vec::new(), Vec::new(), Vec::new());
        for unit in self.members(&scope) {
            let component = unit.spec.name.clone();
            let view = disk(|| self.history.component(&component));
            let Some((view, release)) = view.and_then(|view| view.current.clone().map(|current| (view, current.number))) else {
                if with.is_none() {
                    return Err(Error::NothingToHold(component));
                }
                left.push(LeftAlone { component, why: "nothing of it runs yet".into() });
                continue;
            };
            if let (Some(hold), true) = (&view.hold, with.is_some()) {
                let why = format!("it is held at release {} by {} already", hold.release, hold.by);
                left.push(LeftAlone { component, why });
                continue;
            }
            let content = disk(|| self.content_of(&component, release));
            let rejected = content.map_or_else(Vec::new, |content| self.rejected(&view, content));
            let hold = Hold::at(release, &printable(reason, LONGEST_REASON), by);
            holds.push((component.clone(), Hold { rejected, with: with.clone(), ..hold }));
            held.push(HeldComponent { component, release });
        }
        disk(|| self.history.hold_all(holds, Timestamp::now()))?;
        Ok(Held { scope, held, left })
    }

    /// Ends what was said with the same words: what ought to run is applied, and Git is looked at again at once.
    pub fn resume(self: &Arc<Self>, asked: &Asked, by: &str) -> Result<Resumed, Error> {
        let scope = self.scope(asked)?;
        let members = self.members(&scope);
        let hold_of = |name: &ComponentName| disk(|| self.history.component(name)).and_then(|view| view.hold);
        let ends = |name: &ComponentName| match &scope {
            Scope::Component(_) => true,
            _ => hold_of(name).is_some_and(|hold| hold.with.as_ref() == Some(&scope)),
        };
        let released: Vec<ComponentName> = members.iter().map(|unit| unit.spec.name.clone()).filter(ends).collect();
        let resumed = disk(|| self.history.resume_all(&scope, &released, by, Timestamp::now()))?;
        let suspensions = disk(|| self.history.suspensions());
        let mut still: Vec<String> = Vec::new();
        for unit in &members {
            let name = &unit.spec.name;
            still.extend(self.covered(&suspensions, unit).map(|suspension| match &suspension.scope {
                Scope::Component(_) => suspension.to_string(),
                _ => format!("{name}: {suspension}"),
            }));
            still.extend(hold_of(name).map(|hold| {
                let (release, by) = (hold.release, printable(&hold.by, 80));
                format!("{name} is held at release {release} by {by}: `tk8s-agent resume {name}` ends that")
            }));
            self.carry_on(unit);
        }
        // What is being taken away is in no layer any more, and may have waited for this.
        if !matches!(scope, Scope::Component(_)) {
            let leaving = self.world().leaving.clone();
            leaving.iter().for_each(|unit| self.carry_on(unit));
        }
        tracing::info!(%scope, by, "resumed");
        self.wake(true);
        Ok(Resumed { scope, resumed, still })
    }
}
