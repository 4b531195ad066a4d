//! What should cost next to nothing: a look at Git with nothing new, one changed object among many, a full check, a restart.

use std::time::{Duration, Instant};

use crate::agent::{Agent, seconds_between};
use crate::floor::Floor;
use crate::line::{Bar, Line, Lines, median, ratios};
use crate::workload;

/// How many looks are measured together: processor time is counted in hundredths of a second.
const LOOKS: usize = 20;
/// Between two looks, so that each is one.
const BETWEEN: Duration = Duration::from_millis(250);

/// How many full checks of each kind are measured together.
const CHECKS: u64 = 4;

/// Looks at Git that bring nothing new. What the agent does beside that in the meantime is counted too.
pub(crate) async fn nothing_changed(agent: &mut Agent, lines: &mut Lines) {
    agent.be_quiet().await;
    let looked = agent.system.counter("tk8s_fetches_total", "outcome=\"ok\"").await;
    agent.log.said();
    let cpu = agent.cpu();
    let mut took = Vec::new();
    for _ in 0..LOOKS {
        let began = Instant::now();
        let (status, _) = agent.ask("POST /api/v1/sync", "").await;
        assert_eq!(status, 202);
        agent.log.until("rendered what changed", 1).await;
        took.push(began.elapsed().as_secs_f64());
        tokio::time::sleep(BETWEEN).await;
    }
    let cpu = (agent.cpu() - cpu) / LOOKS as f64;
    let looked = agent.system.counter("tk8s_fetches_total", "outcome=\"ok\"").await - looked;
    assert_eq!(looked, LOOKS as u64, "each look is one");
    let requests = agent.requests().await.len();
    let bar = Bar::Holds("0 requests, < 50 ms CPU".into(), requests == 0 && cpu < 0.05);
    lines.tell(Line {
        line: "nothing changed, one look".into(),
        objects: agent.workload.objects(),
        ours_s: Some(median(&took)),
        requests: Some(requests),
        cpu_s: Some(cpu),
        rss_mib: Some(agent.peak_rss_mib()),
        bar,
        ..Line::default()
    });
}

/// One object changes: from the push to the patch, and the same without what fetching and rendering took.
pub(crate) async fn one_changed(agent: &mut Agent, pairs: usize, lines: &mut Lines) {
    let (mut whole, mut beyond, mut cpus, mut requests) = (Vec::new(), Vec::new(), Vec::new(), 0);
    for _ in 0..pairs {
        agent.commit_one();
        agent.be_quiet().await;
        let cpu = agent.cpu();
        let pushed = agent.push();
        let took = agent.until_recorded(1, "rendered what changed").await;
        cpus.push(agent.cpu() - cpu);
        requests = took.requests.len();
        let patch = took.requests.iter().find(|request| request.is_patch()).expect("because one object changed").received;
        let begins = took.said.iter().position(|said| said.text.contains("release begins")).expect("because it ended");
        let last = |words: &str| {
            let said = took.said[..begins].iter().rev().find(|said| said.text.contains(words));
            said.and_then(|said| said.number("took_us")).expect("because it says how long it took") as f64 / 1e6
        };
        let took = seconds_between(pushed, patch);
        whole.push(took);
        beyond.push(took - last("looked at Git") - last("rendered what changed"));
    }
    let objects = agent.workload.objects();
    let line = |line: &str, took: &[f64], bar: Bar| Line {
        line: line.into(),
        objects,
        ours_s: Some(median(took)),
        requests: Some(requests),
        cpu_s: Some(median(&cpus)),
        rss_mib: Some(agent.peak_rss_mib()),
        bar,
        ..Line::default()
    };
    lines.tell(line("one object changed: push to patch", &whole, Bar::None));
    let bar = Bar::Holds("<= 250 ms beyond fetch and render".into(), median(&beyond) <= 0.25);
    lines.tell(line("  beyond fetch and render", &beyond, bar));
}

/// Full checks of which nothing comes: each kind is listed, and compared with what its watch told. They are made to come each
/// second; what else the agent does meanwhile is counted too.
pub(crate) async fn checked_in_full(agent: &mut Agent, lines: &mut Lines) {
    agent.be_quiet().await;
    let usual = agent.system.configuration();
    agent.system.configure(&format!("{usual}apply: {{fullCheck: 1s}}\n"));
    let checks = until_checked(agent, 0).await;
    agent.requests().await;
    let cpu = agent.cpu();
    let kinds = workload::kinds().len() as u64;
    let checks = until_checked(agent, checks + kinds * CHECKS).await - checks;
    let cpu = (agent.cpu() - cpu) * kinds as f64 / checks as f64;
    agent.system.configure(&usual);
    let requests = agent.requests().await.len();
    let bar = Bar::Holds("0 requests but lists, <= 2 s CPU".into(), requests == 0 && cpu <= 2.0);
    lines.tell(Line {
        line: "full check of each kind".into(),
        objects: agent.workload.objects(),
        requests: Some(requests),
        cpu_s: Some(cpu),
        rss_mib: Some(agent.peak_rss_mib()),
        bar,
        ..Line::default()
    });
}

/// Waits until more kinds than so many were checked; how many it were then.
async fn until_checked(agent: &Agent, before: u64) -> u64 {
    let began = Instant::now();
    loop {
        let checks = agent.system.counter("tk8s_full_checks_total", "outcome=\"ok\"").await;
        if checks > before {
            return checks;
        }
        assert!(began.elapsed() < Duration::from_secs(120), "no full check: {}", agent.system.log());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// A restart with nothing changed: until every component is known to be healthy. The floor is the lists that this takes.
pub(crate) async fn restarts(agent: &mut Agent, pairs: usize, lines: &mut Lines) {
    let objects = agent.workload.objects();
    let floor = Floor::new(agent.system.plane, &format!("floor-restart-{objects}"), agent.workload).await;
    let (mut ours, mut floors, mut cpus, mut requests, mut rss) = (Vec::new(), Vec::new(), Vec::new(), 0, 0.0_f64);
    for _ in 0..pairs {
        agent.be_quiet().await;
        agent.system.stop();
        agent.requests().await;
        let began = Instant::now();
        agent.system.start();
        loop {
            let (_, status) = agent.ask("GET /api/v1/status", "").await;
            let components = status["components"].as_array().map(Vec::as_slice).unwrap_or_default();
            if components.len() == agent.workload.components && components.iter().all(|one| one["state"] == "Healthy") {
                break;
            }
            assert!(began.elapsed() < Duration::from_secs(120), "{status}\n{}", agent.system.log());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        ours.push(began.elapsed().as_secs_f64());
        cpus.push(agent.cpu());
        requests += agent.be_quiet().await;
        rss = rss.max(agent.peak_rss_mib());
        floors.push(floor.list_all(&agent.system.name).await);
    }
    let beyond = median(&ours) - median(&floors);
    let bar = Bar::Holds("0 requests but lists, <= 3 s beyond".into(), requests == 0 && beyond <= 3.0);
    lines.tell(Line {
        line: "restart, beside the lists alone".into(),
        objects,
        ours_s: Some(median(&ours)),
        floor_s: Some(median(&floors)),
        ratios: ratios(&ours, &floors),
        requests: Some(requests),
        cpu_s: Some(median(&cpus)),
        rss_mib: Some(rss),
        bar,
    });
}
