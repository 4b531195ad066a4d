//! What the agent counts, in the format of Prometheus. Labels are names from the configuration and fixed words only, so
//! their number is bounded.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

use prometheus_client::encoding::{EncodeLabelSet, text::encode};
use prometheus_client::metrics::{counter::Counter, family::Family, gauge::Gauge};
use prometheus_client::registry::Registry;

/// One label: the component.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct OfComponent {
    component: String,
}

/// One label: how it ended.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Ended {
    outcome: String,
}

/// One label: why.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Why {
    reason: String,
}

/// One label: the level.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct AtLevel {
    level: String,
}

/// All counters of the process. Cheap to clone.
#[derive(Clone, Default)]
pub struct Metrics {
    /// Fetches, by how they ended.
    pub fetches: Family<Ended, Counter>,
    /// When Git was last looked at with success: fetched and judged.
    pub looked: Gauge,
    /// Revisions that a rule refused.
    pub refused: Counter,
    /// Renderings.
    pub renders: Family<OfComponent, Counter>,
    /// Processes that were started to render.
    pub children: Family<OfComponent, Counter>,
    /// Objects that were sent as a dry-run.
    pub dry_runs: Family<OfComponent, Counter>,
    /// Objects that were written.
    pub writes: Family<OfComponent, Counter>,
    /// Objects that were deleted.
    pub pruned: Family<OfComponent, Counter>,
    /// Drift repairs.
    pub repairs: Family<OfComponent, Counter>,
    /// Full checks of a kind, by how they ended.
    pub full_checks: Family<Ended, Counter>,
    /// Objects that a full check found otherwise than the watches had told.
    pub missed: Counter,
    /// Runs of the pipeline, by how they ended.
    pub runs: Family<Ended, Counter>,
    /// Alarms that stand, by their reason.
    pub alarms: Family<Why, Gauge>,
    /// Writes of `Component` resources.
    pub component_writes: Counter,
    /// Kubernetes Events that were sent.
    pub events: Counter,
    /// Kubernetes Events that were not sent: there were too many, or they may not be.
    pub events_dropped: Counter,
    /// Requests to the API, by status code.
    pub api_requests: Family<Ended, Counter>,
    /// Components, by their level.
    pub components: Family<AtLevel, Gauge>,
    /// Whether this process holds the Lease.
    pub leading: Gauge,
}

impl Metrics {
    /// The label set of a component.
    pub fn component(name: &tk8s_core::ComponentName) -> OfComponent {
        OfComponent { component: name.as_str().to_owned() }
    }

    /// The label set of an outcome.
    pub fn outcome(word: &str) -> Ended {
        Ended { outcome: word.to_owned() }
    }

    /// The label set of a reason.
    pub fn reason(word: &str) -> Why {
        Why { reason: word.to_owned() }
    }

    /// Takes over how many components are at which level.
    pub fn levels(&self, levels: &[tk8s_core::Level]) {
        for level in tk8s_core::Level::ALL {
            let count = levels.iter().filter(|known| **known == level).count();
            let label = AtLevel { level: level.as_str().to_owned() };
            self.components.get_or_create(&label).set(i64::try_from(count).unwrap_or(i64::MAX));
        }
    }

    /// Takes over what the launcher counted.
    pub fn children_started(&self, started: &BTreeMap<tk8s_core::ComponentName, u64>) {
        for (name, count) in started {
            self.children.get_or_create(&Self::component(name)).inner().store(*count, Ordering::Relaxed);
        }
    }

    /// Counts the dry-runs behind a plan.
    pub fn planned(&self, plan: &tk8s_diff::Plan) {
        let asked = plan.changes().len() + plan.confirmed().len() + plan.conflicts().len();
        self.dry_runs.get_or_create(&Self::component(&plan.release().id.component)).inc_by(asked as u64);
    }

    /// Counts the writes of a plan.
    pub fn applied(&self, applied: &tk8s_deploy::Applied) {
        let component = Self::component(&applied.plan().release().id.component);
        self.writes.get_or_create(&component).inc_by(applied.answers().len() as u64);
    }

    /// Counts the deletions after a turn.
    pub fn pruned(&self, finished: &tk8s_deploy::Finished) {
        let component = Self::component(&finished.begun().intent().release.component);
        self.pruned.get_or_create(&component).inc_by(finished.gone().len() as u64);
    }

    /// Everything as text, as a scraper reads it.
    pub fn text(&self) -> String {
        let mut registry = Registry::with_prefix("tk8s");
        registry.register("fetches", "Fetches from the repository", self.fetches.clone());
        registry.register("last_look_timestamp_seconds", "When the repository was last fetched and judged", self.looked.clone());
        registry.register("revisions_refused", "Revisions that a rule refused", self.refused.clone());
        registry.register("renders", "Renderings of a component", self.renders.clone());
        registry.register("child_processes", "Processes started to render a component", self.children.clone());
        registry.register("dry_runs", "Objects sent as a dry-run", self.dry_runs.clone());
        registry.register("writes", "Objects written", self.writes.clone());
        registry.register("pruned", "Objects deleted", self.pruned.clone());
        registry.register("drift_repairs", "Drift repairs", self.repairs.clone());
        registry.register("full_checks", "Lists of a kind that look for what its watch missed", self.full_checks.clone());
        registry.register("full_check_missed", "Objects of which a watch had missed something", self.missed.clone());
        registry.register("runs", "Runs of the pipeline", self.runs.clone());
        registry.register("alarms", "Alarms that stand", self.alarms.clone());
        registry.register("component_writes", "Writes of Component resources", self.component_writes.clone());
        registry.register("events", "Kubernetes Events that were sent", self.events.clone());
        registry.register("events_dropped", "Kubernetes Events that were not sent", self.events_dropped.clone());
        registry.register("api_requests", "Requests to the agent's API", self.api_requests.clone());
        registry.register("components", "Components, by their level", self.components.clone());
        registry.register("leading", "1 while this process holds the lease", self.leading.clone());
        let mut text = String::new();
        encode(&mut text, &registry).expect("because writing to a string can't fail");
        text
    }
}
