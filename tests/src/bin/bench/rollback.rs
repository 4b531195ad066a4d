//! Rollbacks while Git is gone: from the moment somebody asks until they are told that every write was answered.

use std::time::Instant;

use serde_json::Value;
use tk8s_tests::cluster::ControlPlane;

use crate::agent::Agent;
use crate::floor::{Floor, clear};
use crate::line::{Bar, Line, Lines, median, ratios};
use crate::workload::Workload;

/// All components of a workload go back and forth between two revisions that differ in all of their objects: one component by
/// its own name, several as everything that there is.
pub(crate) async fn rolled_back(
    plane: &'static ControlPlane,
    workload: Workload,
    pairs: usize,
    connections: usize,
    lines: &mut Lines,
) {
    let (objects, components) = (workload.objects(), workload.components);
    let mut agent = Agent::new(plane, &format!("back-{components}-{objects}"), workload).await;
    let mut floor = Floor::new(plane, &format!("floor-back-{components}-{objects}"), workload).await;
    floor.change_all(connections).await;
    let mut revisions = Vec::new();
    for version in 0..2 {
        agent.commit(0..components);
        if version == 0 {
            agent.start().await;
        }
        agent.roll_out(components).await;
        revisions.push(agent.head());
    }
    let repository = agent.system.file("repository");
    std::fs::rename(&repository, repository.with_extension("gone")).expect("because it is ours");
    let (line, request) = match components {
        1 => ("rollback, Git off", format!("POST /api/v1/components/{}/rollback", workload.component(0))),
        _ => ("rollback of everything, Git off", "POST /api/v1/rollback".into()),
    };
    let (mut ours, mut floors, mut cpus, mut requests) = (Vec::new(), Vec::new(), Vec::new(), 0);
    for pair in 0..pairs {
        for turn in [pair, pair + 1] {
            // Before either: an API server that was idle for seconds answers its first request later than one that was not.
            agent.be_quiet().await;
            if turn % 2 == 1 {
                floors.push(floor.change_all(connections).await);
                continue;
            }
            let (cpu, began) = (agent.cpu(), Instant::now());
            let body = serde_json::json!({"toRevision": revisions[pair % 2], "reason": "measured"}).to_string();
            let (status, answer) = agent.ask(&request, &body).await;
            ours.push(began.elapsed().as_secs_f64());
            assert_eq!((status, sent(&answer)), (200, objects), "{answer}");
            agent.log.until("release ended", components).await;
            cpus.push(agent.cpu() - cpu);
            requests = agent.requests().await.len();
        }
    }
    lines.tell(Line {
        line: line.into(),
        objects,
        ours_s: Some(median(&ours)),
        floor_s: Some(median(&floors)),
        ratios: ratios(&ours, &floors),
        requests: Some(requests),
        cpu_s: Some(median(&cpus)),
        rss_mib: Some(agent.peak_rss_mib()),
        bar: Bar::Ratio(1.15),
    });
    floor.clear().await;
    let name = agent.system.name.clone();
    agent.system.stop();
    clear(&plane.client().await, &name).await;
}

/// How many objects were sent, of one component or of many.
fn sent(answer: &Value) -> usize {
    let of_one = |one: &Value| one["actions"].as_array().map_or(0, Vec::len);
    match answer["components"].as_array() {
        Some(many) => many.iter().map(|returned| of_one(&returned["fate"]["done"])).sum(),
        None => of_one(answer),
    }
}
