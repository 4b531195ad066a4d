//! Somebody writes to what we own: from their write to ours, both as the API server received them.

use std::time::{Duration, Instant};

use crate::agent::{Agent, seconds_between};
use crate::line::{Bar, Line, Lines, median, quantile};
use crate::tail::Request;

/// Two for each component. More would be slowed down on purpose: who undoes repairs again and again is not fought at full
/// speed.
const WRITES_EACH: usize = 2;
/// Who writes.
const STRANGER: &str = "stranger";

/// Foreign writes, one after the other, each to a ConfigMap of another component than the one before.
pub(crate) async fn repaired(agent: &mut Agent, lines: &mut Lines) {
    agent.be_quiet().await;
    let stranger = agent.system.plane.client_as(Some(STRANGER)).await;
    let (cpu, mut took, mut ours) = (agent.cpu(), Vec::new(), 0);
    let components = agent.workload.components;
    for write in 0..WRITES_EACH * components {
        let (component, number) = (write % components, write / components);
        let object = format!("/configmaps/c{component:04}-{number:05}");
        let path = format!("/api/v1/namespaces/{}{object}?fieldManager={STRANGER}", agent.system.name);
        let body = serde_json::json!({"data": {"at": format!("theirs {write}")}}).to_string().into_bytes();
        let request = http::Request::patch(path).header("content-type", "application/merge-patch+json").body(body);
        stranger.request_text(request.expect("because the path is valid")).await.expect("because the object is there");
        let (theirs, repair, count) = until_repaired(agent, &object).await;
        took.push(seconds_between(theirs.received, repair.received));
        ours += count;
        // The next write is one that nobody is busy with yet.
        agent.log.until("release ended", 1).await;
    }
    let cpu = (agent.cpu() - cpu) / took.len() as f64;
    ours += agent.requests().await.len();
    let (middle, late) = (median(&took), quantile(&took, 0.99));
    let line = |line: &str, seconds: f64, most: f64| Line {
        line: line.into(),
        objects: agent.workload.objects(),
        ours_s: Some(seconds),
        requests: Some(ours / took.len()),
        cpu_s: Some(cpu),
        rss_mib: Some(agent.peak_rss_mib()),
        bar: Bar::Holds(format!("<= {} ms", most * 1e3), seconds <= most),
        ..Line::default()
    };
    lines.tell(line(&format!("drift, write to repair: median of {}", took.len()), middle, 0.1));
    lines.tell(line("  the slowest of a hundred", late, 0.5));
}

/// Waits for our patch of an object; the stranger's and ours, and how many requests of ours there were.
async fn until_repaired(agent: &mut Agent, object: &str) -> (Request, Request, usize) {
    let began = Instant::now();
    let (mut theirs, mut count) = (None, 0);
    loop {
        for request in agent.audit.requests() {
            let about = request.uri.split('?').next().is_some_and(|path| path.ends_with(object));
            if request.user == STRANGER && about {
                theirs = Some(request);
                continue;
            }
            if request.user != agent.system.name || !request.is_about_objects() {
                continue;
            }
            count += 1;
            if about && request.is_patch() {
                return (theirs.expect("because a repair comes after what it repairs"), request, count);
            }
        }
        assert!(began.elapsed() < Duration::from_secs(60), "{object} is not repaired: {}", agent.system.log());
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}
