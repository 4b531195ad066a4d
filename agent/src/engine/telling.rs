//! What the engine tells the cluster as Events: how runs end, what was refused, which alarms begin and end. Who holds what is
//! told by the report itself, when it sees it change.
//!
//! None of it waits, and none of it decides anything.

use k8s_openapi::api::core::v1::ObjectReference;
use tk8s_core::{ComponentName, ObjectKey, ReleaseId, Timestamp};
use tk8s_deploy::Trigger;
use tk8s_history::{Outcome, Release};

use super::Engine;
use super::alarms::Change;
use crate::disk::disk;
use crate::error::Error;
use crate::report;

/// Of how many objects that were put back one Event tells.
const TOLD: usize = 3;

/// What has to be known from before a run to tell how it ended.
pub(super) struct BeforeRun {
    release: ReleaseId,
    revision: String,
    was_healthy: bool,
}

impl Engine {
    pub(super) fn before_run(&self, release: &Release) -> BeforeRun {
        let view = disk(|| self.history.component(&release.id.component));
        let was_healthy = view.is_some_and(|view| view.healthy.as_ref() == Some(&release.id));
        BeforeRun { release: release.id.clone(), revision: release.revision.label().into(), was_healthy }
    }

    /// How a run ended.
    pub(super) fn tell_run(&self, before: BeforeRun, trigger: &Trigger, result: &Result<Outcome, Error>) {
        let BeforeRun { release, revision, was_healthy } = before;
        let (object, drifted) = match trigger {
            Trigger::Drift => self.repaired_last(&release.component),
            _ => (None, String::new()),
        };
        let at = Timestamp::now();
        let run = report::Run { at, release: &release, revision: &revision, trigger, was_healthy, drifted: &drifted };
        if let Some(event) = report::Event::of_run(&run, result) {
            self.report.happened(report::Event { object, ..event });
        }
    }

    /// What was put back last: the first of it, and all of it in words.
    fn repaired_last(&self, component: &ComponentName) -> (Option<ObjectReference>, String) {
        let slot = self.slot(component);
        let repairs = slot.repairs();
        let latest = repairs.latest();
        let mut words: Vec<_> = latest.iter().take(TOLD).map(|(key, why)| format!("{key}: {why}")).collect();
        if latest.len() > TOLD {
            words.push(format!("and {} more", latest.len() - TOLD));
        }
        (latest.first().map(|(key, _)| self.reference(key)), words.join("; "))
    }

    fn reference(&self, key: &ObjectKey) -> ObjectReference {
        ObjectReference {
            api_version: self.live.resource_of(key).map(|resource| resource.kind.api_version()),
            kind: Some(key.kind.clone()),
            namespace: key.namespace.clone(),
            name: Some(key.name.clone()),
            ..ObjectReference::default()
        }
    }

    /// A rule refused what Git brought. Told when it is new.
    pub(super) fn tell_refusal(&self, refusal: &tk8s_gitsync::Refusal) {
        let object = refusal.object.as_deref().map(|object| format!(" at {object}")).unwrap_or_default();
        let note = format!("refused {}{object}: {}", refusal.reference, refusal.message);
        self.report.happened(told(None, true, refusal.rule.reason(), "Verify", note));
    }

    /// An alarm begins, or ends.
    pub(super) fn tell_alarm(&self, change: Change) {
        let Change { began, reason, component, object, message } = change;
        let event = match began {
            true => told(component.as_ref(), true, reason.as_str(), "Watch", format!("{object}: {message}; {}", reason.next())),
            false => told(component.as_ref(), false, "AlarmEnded", "Watch", format!("{} ended: {object}", reason.as_str())),
        };
        let parts = component.map(|component| self.memory.parts_of(&component)).unwrap_or_default();
        let about = parts.iter().find(|part| part.key.to_string() == object).map(|part| self.reference(&part.key));
        self.report.happened(report::Event { object: about, ..event });
    }
}

fn told(component: Option<&ComponentName>, warning: bool, reason: &str, action: &'static str, note: String) -> report::Event {
    report::Event {
        at: Timestamp::now(),
        component: component.cloned(),
        object: None,
        warning,
        reason: reason.into(),
        action,
        note,
    }
}
