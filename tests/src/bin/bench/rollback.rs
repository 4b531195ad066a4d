//! Rollbacks while Git is gone: from the moment somebody asks until they are told that every write was answered.

use std::time::Instant;

use tk8s_tests::cluster::ControlPlane;

use crate::agent::Agent;
use crate::floor::{Floor, clear};
use crate::line::{Bar, Line, Lines, median};
use crate::workload::Workload;

/// One component of so many objects goes back and forth between two releases that differ in all of them.
pub(crate) async fn rolled_back(
    plane: &'static ControlPlane,
    objects: usize,
    pairs: usize,
    connections: usize,
    lines: &mut Lines,
) {
    let workload = Workload::whole(objects);
    let mut agent = Agent::new(plane, &format!("back-{objects}"), workload).await;
    let mut floor = Floor::new(plane, &format!("floor-back-{objects}"), workload).await;
    floor.change_all(connections).await;
    agent.commit([0]);
    agent.start().await;
    agent.roll_out(1).await;
    agent.commit([0]);
    agent.roll_out(1).await;
    let repository = agent.system.file("repository");
    std::fs::rename(&repository, repository.with_extension("gone")).expect("because it is ours");
    let (mut ours, mut floors, mut cpus, mut requests) = (Vec::new(), Vec::new(), Vec::new(), 0);
    for pair in 0..pairs {
        for turn in [pair, pair + 1] {
            if turn % 2 == 1 {
                floors.push(floor.change_all(connections).await);
                continue;
            }
            agent.be_quiet().await;
            let (cpu, began) = (agent.cpu(), Instant::now());
            let component = workload.component(0);
            let body = serde_json::json!({"to": 1 + pair % 2, "reason": "measured"}).to_string();
            let (status, answer) = agent.ask(&format!("POST /api/v1/components/{component}/rollback"), &body).await;
            ours.push(began.elapsed().as_secs_f64());
            assert_eq!((status, answer["actions"].as_array().map(Vec::len)), (200, Some(objects)), "{answer}");
            agent.log.until("release ended", 1).await;
            cpus.push(agent.cpu() - cpu);
            requests = agent.requests().await.len();
        }
    }
    lines.tell(Line {
        line: "rollback, Git off".into(),
        objects,
        ours_s: Some(median(&ours)),
        floor_s: Some(median(&floors)),
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
