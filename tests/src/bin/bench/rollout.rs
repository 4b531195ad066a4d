//! What comes from Git: the first apply of everything, everything changed, many components at once.

use tk8s_tests::cluster::ControlPlane;

use crate::agent::{Agent, Took};
use crate::floor::{Floor, clear};
use crate::line::{Bar, Line, Lines, median, ratios};
use crate::workload::Workload;

/// What several rollouts took, and the floor's beside them.
#[derive(Default)]
struct Pairs {
    ours: Vec<f64>,
    floor: Vec<f64>,
    cpu: Vec<f64>,
    requests: usize,
    rss: f64,
}

impl Pairs {
    fn ours(&mut self, took: &Took, agent: &Agent) {
        self.ours.push(took.seconds);
        self.cpu.push(took.cpu);
        self.requests = took.requests.len();
        self.rss = self.rss.max(agent.peak_rss_mib());
        let refused = took.requests.iter().filter(|request| request.code >= 400).count();
        if refused > 0 {
            println!("  {refused} requests were refused by the API server");
        }
    }

    fn line(&self, line: &str, objects: usize, most: f64) -> Line {
        Line {
            line: line.into(),
            objects,
            ours_s: Some(median(&self.ours)),
            floor_s: Some(median(&self.floor)),
            ratios: ratios(&self.ours, &self.floor),
            requests: Some(self.requests),
            cpu_s: Some(median(&self.cpu)),
            rss_mib: Some(self.rss),
            bar: Bar::Ratio(most),
        }
    }
}

/// Each time a new instance and an empty namespace. The last one stays.
pub(crate) async fn first_applies(
    plane: &'static ControlPlane,
    objects: usize,
    pairs: usize,
    connections: usize,
    lines: &mut Lines,
) -> Agent {
    let workload = Workload::spread(objects);
    let mut measured = Pairs::default();
    let mut last = None;
    for pair in 0..pairs {
        let mut agent = Agent::new(plane, &format!("first-{objects}-{pair}"), workload).await;
        let mut floor = Floor::new(plane, &format!("floor-{objects}-{pair}"), workload).await;
        agent.commit(0..workload.components);
        agent.start().await;
        for turn in [pair, pair + 1] {
            match turn % 2 {
                0 => {
                    let took = agent.roll_out(workload.components).await;
                    measured.ours(&took, &agent);
                }
                _ => measured.floor.push(floor.change_all(connections).await),
            }
        }
        floor.clear().await;
        if pair + 1 == pairs {
            last = Some(agent);
        } else {
            agent.system.stop();
            clear(&plane.client().await, &agent.system.name).await;
        }
    }
    lines.tell(measured.line("first apply", workload.objects(), 1.15));
    last.expect("because there is at least one pair")
}

/// One commit that changes every object.
pub(crate) async fn all_changed(agent: &mut Agent, pairs: usize, connections: usize, lines: &mut Lines) {
    let (measured, alone) = change_all(agent, pairs, connections, "changed").await;
    let objects = agent.workload.objects();
    lines.tell(measured.line("all changed", objects, 1.15));
    lines.tell(Line {
        floor_s: Some(median(&alone)),
        ratios: ratios(&measured.ours, &alone),
        bar: Bar::None,
        ..measured.line("all changed, beside patches alone", objects, 0.0)
    });
}

/// A thousand components, or as many as have ten objects each, and one commit that touches them all.
pub(crate) async fn many_components(
    plane: &'static ControlPlane,
    objects: usize,
    pairs: usize,
    connections: usize,
    lines: &mut Lines,
) {
    let workload = Workload { components: objects / 10, each: 10 };
    let mut agent = Agent::new(plane, &format!("many-{objects}"), workload).await;
    agent.commit(0..workload.components);
    agent.start().await;
    agent.roll_out(workload.components).await;
    let (measured, _) = change_all(&mut agent, pairs, connections, "many").await;
    lines.tell(measured.line(&format!("{} components, one commit", workload.components), workload.objects(), 1.2));
    let name = agent.system.name.clone();
    agent.system.stop();
    clear(&plane.client().await, &name).await;
}

/// Pairs of commits that change every object; and what the patches alone take the floor after the first of them.
async fn change_all(agent: &mut Agent, pairs: usize, connections: usize, name: &str) -> (Pairs, Vec<f64>) {
    let workload = agent.workload;
    let mut floor = Floor::new(agent.system.plane, &format!("floor-{name}-{}", workload.objects()), workload).await;
    floor.change_all(connections).await;
    let mut measured = Pairs::default();
    let mut alone = Vec::new();
    for pair in 0..pairs {
        agent.commit(0..workload.components);
        for turn in [pair, pair + 1] {
            match turn % 2 {
                0 => {
                    let took = agent.roll_out(workload.components).await;
                    measured.ours(&took, agent);
                }
                _ => measured.floor.push(floor.change_all(connections).await),
            }
        }
        if pair < 3 {
            alone.push(floor.change_all_unseen(connections).await);
        }
    }
    floor.clear().await;
    (measured, alone)
}
