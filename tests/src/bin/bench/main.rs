//! Measures the agent beside what the same work costs without it: `make bench`, `docs/performance.md`.
//!
//! The real agent runs as a process against a real API server; a bare client in this program sends the same requests to
//! objects of its own. Ours and the floor take turns, and of all pairs the medians are told. Says how long things take and
//! whether a bar holds; decides nothing by it: a slow machine is no failure.
//!
//! `bench [--objects N] [--pairs N] [--json FILE] [--part rollouts|rollbacks|components|fetches|verification]`

mod agent;
mod drift;
mod fetching;
mod floor;
mod line;
mod quiet;
mod rollback;
mod rollout;
mod tail;
mod verification;
mod workload;

use std::path::PathBuf;

use line::Lines;
use workload::Workload;

/// What is measured, and how often.
struct Settings {
    objects: usize,
    pairs: usize,
    json: Option<PathBuf>,
    /// All parts, if none is named.
    part: Option<String>,
}

impl Settings {
    fn has(&self, part: &str) -> bool {
        self.part.as_deref().is_none_or(|only| only == part)
    }
}

/// What one component of these objects may hold by default: more of them are more values than `render.limits` lets pass.
const LARGEST_COMPONENT: usize = 4_000;

/// What can be measured alone.
const PARTS: [&str; 5] = ["rollouts", "rollbacks", "components", "fetches", "verification"];

fn settings() -> Settings {
    let mut settings = Settings { objects: 10_000, pairs: 5, json: None, part: None };
    let mut arguments = std::env::args().skip(1);
    while let Some(name) = arguments.next() {
        let value = arguments.next().unwrap_or_else(|| panic!("`{name}` needs a value"));
        let number = || value.parse().unwrap_or_else(|_| panic!("`{name}` needs a number, not `{value}`"));
        match name.as_str() {
            "--objects" => settings.objects = number(),
            "--pairs" => settings.pairs = number(),
            "--json" => settings.json = Some(value.into()),
            "--part" if PARTS.contains(&value.as_str()) => settings.part = Some(value),
            _ => panic!(
                "unknown argument `{name} {value}`: bench [--objects N] [--pairs N] [--json FILE] [--part {}]",
                PARTS.join("|")
            ),
        }
    }
    assert!(settings.objects >= 20 && settings.pairs >= 1, "at least 20 objects and one pair");
    settings
}

#[tokio::main]
async fn main() {
    let settings = settings();
    let (objects, pairs) = (settings.objects, settings.pairs);
    let plane = tk8s_tests::cluster::ControlPlane::uninhabited();
    let mut lines = Lines::new(settings.json.clone());
    let small = objects.min(1_000);
    let connections = floor::best_number_of_connections(plane, small, pairs.min(3)).await;
    if settings.has("rollouts") {
        let mut sizes = vec![small, objects];
        sizes.dedup();
        for objects in sizes {
            let mut agent = rollout::first_applies(plane, objects, pairs, connections, &mut lines).await;
            rollout::all_changed(&mut agent, pairs, connections, &mut lines).await;
            let most = agent.peak_rss_mib();
            lines.memory(objects, most);
            quiet::nothing_changed(&mut agent, &mut lines).await;
            quiet::one_changed(&mut agent, pairs, &mut lines).await;
            drift::repaired(&mut agent, &mut lines).await;
            quiet::checked_in_full(&mut agent, &mut lines).await;
            quiet::restarts(&mut agent, pairs, &mut lines).await;
        }
    }
    if settings.has("rollbacks") {
        let mut sizes = vec![1, small.min(100), objects.min(LARGEST_COMPONENT)];
        sizes.dedup();
        let workloads = sizes.into_iter().map(Workload::whole).chain([Workload::spread(objects)]);
        for workload in workloads {
            rollback::rolled_back(plane, workload, pairs, connections, &mut lines).await;
        }
    }
    if settings.has("components") {
        rollout::many_components(plane, objects, pairs, connections, &mut lines).await;
    }
    if settings.has("fetches") {
        fetching::fetched(objects, pairs, &mut lines).await;
    }
    if settings.has("verification") {
        verification::verified(objects, pairs, &mut lines).await;
    }
    lines.end();
}
