//! What the agent says about itself: a view made for people and programs, assembled from what is known anyway.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tk8s_core::{
    ComponentName, Environment, Health, HealthState, InstanceName, LayerId, Level, ReleaseNumber, Revision, Timestamp, Trust,
};
use tk8s_diff::live::Seen;
use tk8s_diff::ownership::{DriftMode, Foreign};

use super::Engine;
use super::alarms::{AlarmView, INTERRUPTED, Reason};
use super::awaiting::{self, AwaitedHook};
use super::freshness::{STALE, StaleView};
use super::incidents::{self, IncidentView};
use super::operator::SuspensionView;
use super::platform::Unit;
use super::promoting::HeardView;
use super::slot::Progress;
use super::standing::Standing;
use super::undoing::ROLLED_BACK;
use crate::disk::disk;
use crate::memory::Entry;

/// How much of one sort is told of a component.
const MOST_TOLD: usize = 100;

/// The whole instance.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct InstanceStatus {
    pub instance: InstanceName,
    pub cluster: String,
    pub environment: Environment,
    /// The environment's, or LOCK while all of it is suspended.
    #[serde(default)]
    pub level: Option<Level>,
    /// Whether this process holds the Lease.
    pub leading: bool,
    /// The revision that was accepted last.
    pub revision: Option<Revision>,
    pub trust: Option<Trust>,
    /// When Git was last looked at with success.
    pub synced_at: Option<Timestamp>,
    /// Limits of `trust.freshness` that are passed: what is known of Git is too old.
    #[serde(default)]
    pub stale: Vec<StaleView>,
    /// Why the agent's file, as it is now, is not in force: the one before is.
    pub configuration: Option<ProblemView>,
    /// Why the last look at Git brought nothing.
    pub problem: Option<ProblemView>,
    /// What the last look at Git refused.
    pub refused: Vec<RefusedView>,
    /// Refs that are not what they were, until they are put back or accepted.
    #[serde(default)]
    pub incidents: Vec<IncidentView>,
    /// Releases that people still have to say yes to.
    #[serde(default)]
    pub unapproved: Vec<UnapprovedView>,
    /// What other instances say of releases, if they are asked.
    #[serde(default)]
    pub evidence: Option<HeardView>,
    /// For whom nothing is written until somebody resumes them.
    #[serde(default)]
    pub suspensions: Vec<SuspensionView>,
    /// What a person has to look at.
    #[serde(default)]
    pub alarms: Vec<AlarmView>,
    pub components: Vec<ComponentStatus>,
    pub ledger: LedgerView,
    /// Why the cluster can't be told how components are, if it can't.
    #[serde(default)]
    pub reporting: Option<ProblemView>,
}

/// A reason and a sentence.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ProblemView {
    pub reason: String,
    pub message: String,
}

/// A ref that a rule refused.
#[derive(Debug, Serialize, Deserialize)]
pub struct RefusedView {
    pub reference: String,
    pub commit: Option<String>,
    pub reason: String,
    pub message: String,
}

/// A release that waits for people.
#[derive(Debug, Serialize, Deserialize)]
pub struct UnapprovedView {
    pub tag: String,
    /// The tag object.
    #[serde(default)]
    pub id: Option<tk8s_core::TagId>,
    /// The roles in which somebody is still missing.
    pub missing: Vec<tk8s_gitsync::Missing>,
    /// Who said yes.
    pub approvals: Vec<tk8s_core::ApprovedBy>,
}

impl From<&tk8s_gitsync::Unapproved> for UnapprovedView {
    fn from(unapproved: &tk8s_gitsync::Unapproved) -> UnapprovedView {
        UnapprovedView {
            tag: unapproved.tag.name.clone(),
            id: Some(unapproved.tag.id.clone()),
            missing: unapproved.missing.clone(),
            approvals: unapproved.given.clone(),
        }
    }
}

/// How long the ledger is.
#[derive(Debug, Serialize, Deserialize)]
pub struct LedgerView {
    pub size: u64,
    pub root: String,
}

/// How a component is, in one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum State {
    /// What is wanted runs, and is healthy.
    Healthy,
    /// A run is under way, or something is on its way to healthy.
    Progressing,
    /// Waits for what it stands on.
    Pending,
    /// Pinned by a person; see `hold`.
    Held,
    /// Nothing is written for it until somebody resumes it; see `suspension`.
    Suspended,
    /// A rule refused the plan.
    Denied,
    /// The last run failed; what ran before still runs.
    Failed,
    /// Recorded, but no longer part of the platform; what is left of its objects is not looked after.
    Removed,
}

/// Whether what ought to run is what is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum SyncState {
    /// All of it was applied, and is as it was left.
    Synced,
    /// All of it was applied, and something is not as it was left and is not put back.
    Drifted,
    /// What ought to run waits, is being applied, failed or was refused.
    OutOfSync,
}

/// One component.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ComponentStatus {
    pub name: ComponentName,
    pub layer: Option<LayerId>,
    /// The instance's, or LOCK while it is held or suspended.
    #[serde(default)]
    pub level: Option<Level>,
    pub state: State,
    /// The stable word for why it is in this state: that of an error where there is one.
    pub reason: String,
    pub health: HealthState,
    pub sync: SyncState,
    /// The release that runs.
    pub release: Option<ReleaseNumber>,
    /// The revision of the release that runs: its tag or short commit.
    pub revision: Option<String>,
    pub commit: Option<String>,
    pub hold: Option<HoldView>,
    /// Its own suspension, its layer's or the instance's.
    #[serde(default)]
    pub suspension: Option<SuspensionView>,
    /// What a person should know, empty if nothing.
    pub message: String,
    /// The hooks that are waited for.
    #[serde(default)]
    pub awaited: Vec<AwaitedHook>,
    pub objects: usize,
    /// How many of them nobody looks at, as the agent's file wants it: whether they drift, and how healthy they are, is unknown.
    #[serde(default)]
    pub out_of_sight: usize,
    /// What is not as it was left, where it is not put back at once.
    #[serde(default)]
    pub drift: Vec<DriftView>,
    /// What the API server does not take of the release that it is held at: it stays as it is.
    #[serde(default)]
    pub left_out: Vec<LeftOutView>,
    /// What others put into lists of ours.
    #[serde(default)]
    pub foreign_fields: Vec<ForeignView>,
    /// What somebody on the way to the API server overwrites of what is sent.
    #[serde(default)]
    pub altered: Vec<AlteredView>,
    /// What the API server warned about when objects were last written: an API that goes away, a field that does nothing.
    #[serde(default)]
    pub warnings: Vec<WarningView>,
    pub images: ImagesView,
}

/// One object that is not as it was left.
#[derive(Debug, Serialize, Deserialize)]
pub struct DriftView {
    pub object: String,
    /// Which fields, and who has them now.
    pub message: String,
    /// How often it was put back, if somebody undoes that again and again.
    pub undone: Option<u32>,
}

/// One object that is left as it is.
#[derive(Debug, Serialize, Deserialize)]
pub struct LeftOutView {
    pub object: String,
    pub reason: String,
}

/// One object that is answered otherwise than it was sent.
#[derive(Debug, Serialize, Deserialize)]
pub struct AlteredView {
    pub object: String,
    pub fields: Vec<String>,
}

/// A warning of the API server about one object.
#[derive(Debug, Serialize, Deserialize)]
pub struct WarningView {
    pub object: String,
    pub message: String,
}

/// Something that others put into a list of ours.
#[derive(Debug, Serialize, Deserialize)]
pub struct ForeignView {
    pub object: String,
    pub field: String,
    pub manager: String,
    /// Whether it runs, or is read by what runs.
    pub grave: bool,
}

/// Who holds it, at which release, and why.
#[derive(Debug, Serialize, Deserialize)]
pub struct HoldView {
    pub release: ReleaseNumber,
    pub reason: String,
    pub by: String,
}

/// How images are judged.
#[derive(Debug, Serialize, Deserialize)]
pub struct ImagesView {
    pub policy: String,
}

impl Engine {
    /// Releases that people still have to say yes to.
    pub fn unapproved(&self) -> Vec<UnapprovedView> {
        self.world().unapproved.iter().map(UnapprovedView::from).collect()
    }

    /// Everything, as it is now. Sends no request.
    pub fn status(&self) -> InstanceStatus {
        let accepted = disk(|| self.history.accepted());
        let ledger = disk(|| self.history.size_and_root());
        let config = self.config();
        let evidence = self.heard();
        let suspensions = disk(|| self.history.suspensions());
        let locked = suspensions.iter().any(|one| one.scope == tk8s_history::Scope::All);
        let stale = self.stale();
        let world = self.world();
        let refused = world.refused.iter().map(|refusal| RefusedView {
            reference: refusal.reference.clone(),
            commit: refusal.object.clone(),
            reason: refusal.rule.reason().into(),
            message: refusal.message.clone(),
        });
        InstanceStatus {
            instance: config.instance.clone(),
            cluster: config.cluster.clone(),
            environment: config.environment,
            level: Some(Level::of(config.environment, locked)),
            leading: self.tenure.held(),
            revision: accepted.revision,
            trust: accepted.trust,
            synced_at: world.synced_at,
            stale,
            configuration: world.misconfigured.clone().map(|(reason, message)| ProblemView { reason, message }),
            problem: world.problem.clone().map(|(reason, message)| ProblemView { reason, message }),
            refused: refused.collect(),
            incidents: world.incidents.iter().flatten().map(incidents::Standing::view).collect(),
            unapproved: world.unapproved.iter().map(UnapprovedView::from).collect(),
            evidence,
            suspensions: suspensions.into_iter().map(SuspensionView::from).collect(),
            alarms: self.alarms.list(),
            ledger: LedgerView { size: ledger.size, root: ledger.root },
            reporting: self.report.problem(),
            components: {
                drop(world);
                self.names().iter().map(|name| self.component_status(name)).collect()
            },
        }
    }

    /// Components of the platform in apply order, then those that are only remembered.
    pub fn names(&self) -> Vec<ComponentName> {
        let units = self.world().units.clone();
        let mut names: Vec<_> = units.iter().flat_map(|units| units.all()).map(|unit| unit.spec.name.clone()).collect();
        for name in disk(|| self.history.components()) {
            if !names.contains(&name) {
                names.push(name);
            }
        }
        names
    }

    /// Whether the platform or the history knows the component.
    pub fn knows(&self, name: &ComponentName) -> bool {
        self.names().contains(name)
    }

    /// How a component is of which a run is under way, or waits.
    pub fn under_way(&self, name: &ComponentName) -> Option<State> {
        match self.slot(name).progress() {
            Progress::Waiting(_) => Some(State::Pending),
            Progress::Running => Some(State::Progressing),
            Progress::Settled | Progress::Failed { .. } => None,
        }
    }

    /// Whether the last run of a component did not end well.
    pub fn has_failed(&self, name: &ComponentName) -> bool {
        matches!(self.slot(name).progress(), Progress::Failed { .. })
    }

    /// Whether releases from Git are being written to the cluster.
    pub fn is_rolling_out(&self) -> bool {
        self.places.are_taken()
    }

    /// One component, as it is now.
    pub fn component_status(&self, name: &ComponentName) -> ComponentStatus {
        let view = disk(|| self.history.component(name));
        let (unit, broken, known_platform) = {
            let world = self.world();
            let unit = world.units.as_ref().and_then(|units| units.get(name).cloned());
            (unit, world.broken.get(name).cloned(), world.units.is_some())
        };
        let current = view.as_ref().and_then(|view| view.current.clone());
        let release = current.as_ref().and_then(|current| disk(|| self.history.release(current))).map(|known| known.release);
        let parts = self.memory.parts_of(name);
        let (health, worst) = self.health_of(name);
        let hold = view.as_ref().and_then(|view| view.hold.as_ref());
        let progress = self.slot(name).progress();
        let standing = view.as_ref().map(Standing::of);
        let trouble = self.trouble_of(&parts);
        let awaited = self.awaited_by(name);
        let (state, message) = match (&progress, &broken) {
            _ if unit.is_none() && known_platform && !is_leaving(view.as_ref()) => {
                (State::Removed, self.left_of(name, view.as_ref()))
            }
            (Progress::Running, _) => (State::Progressing, trouble.or_else(|| awaiting::sentence(&awaited)).unwrap_or_default()),
            (Progress::Waiting(why), _) => (State::Pending, why.clone()),
            (_, Some((reason, message))) => (State::Failed, format!("{reason}: {message}")),
            (Progress::Failed { reason, message, .. }, _) if reason == ROLLED_BACK => (State::Held, message.clone()),
            (Progress::Failed { class, reason, message }, _) => {
                let state = match class {
                    tk8s_core::Class::Denied => State::Denied,
                    tk8s_core::Class::Waiting => State::Pending,
                    _ => State::Failed,
                };
                (state, format!("{reason}: {message}"))
            }
            (Progress::Settled, None) if trouble.is_some() => (State::Pending, trouble.unwrap_or_default()),
            (Progress::Settled, None) => match &standing {
                Some(Standing::Runs(_) | Standing::Unhealthy(_)) if hold.is_some() => (State::Held, worst),
                Some(Standing::Runs(_)) if health <= HealthState::Suspended => (State::Healthy, not_tidy(view.as_ref())),
                Some(Standing::Runs(_)) if self.all_healthy(name) => (State::Healthy, worst),
                Some(Standing::Runs(_) | Standing::Unhealthy(_)) => (State::Progressing, worst),
                Some(standing) => self.last_words(view.as_ref(), standing.release()),
                None => (State::Pending, "nothing was released yet".into()),
            },
        };
        let suspension = self.suspension_of(&unit.clone().unwrap_or_else(|| self.as_remembered(name)));
        let state = match (&suspension, &progress) {
            (None, _) | (_, Progress::Running) => state,
            _ if state == State::Removed => state,
            (Some(_), _) => State::Suspended,
        };
        let message = match &suspension {
            Some(suspension) if message.is_empty() => suspension.to_string(),
            _ => message,
        };
        let reason = match (&progress, &broken) {
            _ if state == State::Removed => "Removed".into(),
            (_, Some((reason, _))) | (Progress::Failed { reason, .. }, _) => reason.clone(),
            _ if state == State::Healthy && self.alarms.stands(Reason::SourceStale) => STALE.into(),
            _ => format!("{state:?}"),
        };
        let drift = unit.as_deref().map(|unit| self.drift_of(unit, suspension.is_some())).unwrap_or_default();
        let waits = view.as_ref().is_some_and(|view| view.hold.is_none() && self.waits_for_content(name, view));
        let sync = match &standing {
            Some(Standing::Runs(_) | Standing::Unhealthy(_)) if broken.is_some() || waits => SyncState::OutOfSync,
            Some(Standing::Runs(_) | Standing::Unhealthy(_)) if drift.is_empty() => SyncState::Synced,
            Some(Standing::Runs(_) | Standing::Unhealthy(_)) => SyncState::Drifted,
            Some(Standing::Unfinished(_) | Standing::Denied(_)) | None => SyncState::OutOfSync,
        };
        ComponentStatus {
            name: name.clone(),
            layer: unit.as_ref().map(|unit| unit.spec.layer.clone()),
            level: Some(Level::of(self.environment(), hold.is_some() || suspension.is_some())),
            state,
            reason,
            health,
            sync,
            release: release.as_ref().map(|release| release.id.number),
            revision: release.as_ref().map(|release| release.revision.label().into()),
            commit: release.as_ref().map(|release| release.revision.commit.to_string()),
            hold: hold.map(|hold| HoldView { release: hold.release, reason: hold.reason.clone(), by: hold.by.clone() }),
            suspension: suspension.map(SuspensionView::from),
            message,
            awaited,
            objects: parts.len(),
            out_of_sight: parts.iter().filter(|part| !self.live.scope().sees(&part.key)).count(),
            drift,
            left_out: hold.and(current.as_ref()).map(|current| self.left_out_of(current)).unwrap_or_default(),
            foreign_fields: self.foreign_of(&parts),
            altered: altered_of(&parts),
            warnings: warnings_of(&parts),
            images: ImagesView { policy: "unverified".into() },
        }
    }

    /// The level of each component that is looked after.
    pub fn levels(&self) -> Vec<Level> {
        let (environment, suspensions) = (self.environment(), self.history.suspensions());
        let level = |unit: &std::sync::Arc<Unit>| {
            let held = self.history.component(&unit.spec.name).is_some_and(|view| view.hold.is_some());
            Level::of(environment, held || self.covered(&suspensions, unit).next().is_some())
        };
        self.looked_after().iter().map(level).collect()
    }

    /// What is left of a component that the platform does not name any more.
    fn left_of(&self, name: &ComponentName, view: Option<&tk8s_history::ComponentView>) -> String {
        let removal = view.is_some_and(|view| view.latest.removal.is_some());
        match (disk(|| self.history.inventory(name)).len(), removal) {
            (0, _) => "taken away, and nothing of it is left; a rollback brings it back".into(),
            (left, true) => format!("taken away; {left} of its objects had to stay, and are not looked after"),
            (left, false) => format!(
                "not part of the platform, or disabled: its {left} objects stay and are not looked after (`deletion: delete` would have deleted them)"
            ),
        }
    }

    /// Why not all of a component can be seen: one of its kinds is not served, or can't be watched.
    fn trouble_of(&self, parts: &[Arc<Entry>]) -> Option<String> {
        let found = parts.iter().find_map(|part| {
            let trouble = self.live.trouble(&part.key)?;
            let long = Timestamp::now().duration_since(trouble.since) >= INTERRUPTED;
            (trouble.unserved || long).then_some((&part.key, trouble))
        });
        let (key, trouble) = found?;
        let why = match trouble.unserved {
            true => "the cluster does not serve its kind: install its CRD, or write a version of it that is served",
            false => "its kind can't be watched",
        };
        Some(format!("{key}: {why} ({})", trouble.message))
    }

    /// What is told of drift: all of it where it is not repaired, else what is undone again and again.
    fn drift_of(&self, unit: &Unit, suspended: bool) -> Vec<DriftView> {
        let slot = self.slot(&unit.spec.name);
        let mut told = Vec::new();
        if unit.fields.drift == DriftMode::Ignore {
            return told;
        }
        for (key, drift) in self.drifted(unit) {
            let undone = slot.repairs().fought(&key);
            if undone.is_some() || suspended || unit.fields.drift == DriftMode::Report {
                told.push(DriftView { object: key.to_string(), message: drift.to_string(), undone });
            }
        }
        told.truncate(MOST_TOLD);
        told
    }

    fn left_out_of(&self, release: &tk8s_core::ReleaseId) -> Vec<LeftOutView> {
        let left = disk(|| self.history.left_out(release)).into_iter().take(MOST_TOLD);
        left.map(|left| LeftOutView { object: left.object.to_string(), reason: left.reason }).collect()
    }

    /// Of the release that runs: bounded, as is how long one is and how many one answer may bring.
    pub fn warnings_of(&self, name: &ComponentName) -> Vec<WarningView> {
        warnings_of(&self.memory.parts_of(name))
    }

    fn foreign_of(&self, parts: &[Arc<Entry>]) -> Vec<ForeignView> {
        let mut told = Vec::new();
        for part in parts {
            let Seen::Present(seen) = self.live.seen(&part.key) else { continue };
            for Foreign { field, manager, grave } in &seen.foreign {
                let (object, field, manager) = (part.key.to_string(), field.clone(), manager.clone());
                told.push(ForeignView { object, field, manager, grave: *grave });
            }
        }
        told.sort_by_key(|foreign| !foreign.grave);
        told.truncate(MOST_TOLD);
        told
    }

    /// How the newest release ended, when it is not what runs.
    fn last_words(&self, view: Option<&tk8s_history::ComponentView>, release: &tk8s_core::ReleaseId) -> (State, String) {
        match view.and_then(|view| view.latest_outcome.as_ref()) {
            Some(outcome) if outcome.status == tk8s_history::Status::Denied => (State::Denied, outcome.message.clone()),
            Some(outcome) if outcome.status != tk8s_history::Status::Healthy => {
                (State::Failed, format!("{release}: {}", outcome.message))
            }
            _ => (State::Pending, format!("{release} has not been applied yet")),
        }
    }

    /// The worst health of a component's objects, and the sentence that belongs to it.
    pub(super) fn health_of(&self, name: &ComponentName) -> (HealthState, String) {
        let mut worst = (HealthState::Healthy, String::new(), None);
        for part in self.memory.parts_of(name) {
            let (key, known) = (&part.key, &part.known);
            let health = match self.live.seen(key) {
                Seen::Present(seen) if seen.health.state <= worst.0 => continue,
                Seen::Present(seen) => seen.health.clone(),
                // What ends by itself and is gone did its work.
                Seen::Absent if known.ends() => continue,
                Seen::Absent => Health::because(HealthState::Missing, "Missing", "it is not in the cluster"),
                Seen::OutOfSight => continue,
                Seen::Unwatched => Health::because(HealthState::Unknown, "Unwatched", "its kind is not watched yet"),
            };
            if health.state > worst.0 {
                worst = (health.state, format!("{key}: {} {}", health.reason, health.message), Some(key.clone()));
            }
        }
        let (state, sentence, key) = worst;
        let cause = key.map(|key| self.causes.behind(name, &key)).unwrap_or_default();
        (state, sentence + &cause)
    }
}

/// Whether taking the component away is not done yet.
fn is_leaving(view: Option<&tk8s_history::ComponentView>) -> bool {
    view.is_some_and(|view| view.latest.removal.is_some() && view.current.as_ref() != Some(&view.latest.id))
}

fn altered_of(parts: &[Arc<Entry>]) -> Vec<AlteredView> {
    let altered = parts.iter().filter(|part| !part.altered.is_empty());
    altered.map(|part| AlteredView { object: part.key.to_string(), fields: part.altered.clone() }).take(MOST_TOLD).collect()
}

fn warnings_of(parts: &[Arc<Entry>]) -> Vec<WarningView> {
    let of = |part: &Arc<Entry>| {
        let object = part.key.to_string();
        part.warnings.clone().into_iter().map(move |message| WarningView { object: object.clone(), message })
    };
    parts.iter().filter(|part| !part.warnings.is_empty()).flat_map(of).take(MOST_TOLD).collect()
}

/// What the newest release, though healthy, did not bring to an end.
fn not_tidy(view: Option<&tk8s_history::ComponentView>) -> String {
    view.and_then(|view| view.latest_outcome.as_ref()).map_or_else(String::new, |outcome| outcome.message.clone())
}
