//! Commands that talk to a running agent.

use hyper::{Method, StatusCode};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::output::{self, Format, line, table};
use super::reach::{Answer, Error};
use super::{Agent, Exit};
use crate::engine::{InstanceStatus, State};
use crate::trust::still_missing;

/// Asks the agent; what went wrong is printed, and becomes the exit code.
pub(super) async fn ask<T: DeserializeOwned>(agent: &Agent, method: Method, path: &str, body: Option<Value>) -> Result<T, Exit> {
    let answer = agent.exchange(method, path, body).await.map_err(|error| unanswered(agent, &error));
    let unreadable = |why: serde_json::Error| unanswered(agent, &Error::Unreachable(format!("its answer can't be read: {why}")));
    let read = answer.and_then(|Answer { status, body }| match status.is_success() {
        true => serde_json::from_slice(&body).map_err(unreadable),
        false => Err((refused(status, &body), Exit::No)),
    });
    read.map_err(|(why, exit)| {
        eprintln!("{why}");
        exit
    })
}

/// Why there is no answer, and the exit code.
pub(super) fn unanswered(agent: &Agent, error: &Error) -> (String, Exit) {
    match error {
        Error::Read(..) => (tk8s_core::chain(error), Exit::No),
        Error::Usage(why) => (why.clone(), Exit::Usage),
        Error::Unreachable(why) => (format!("could not reach the agent at {}: {why}", agent.place()), Exit::Unreachable),
    }
}

/// What the agent says instead of an answer.
pub(super) fn refused(status: StatusCode, body: &[u8]) -> String {
    let problem: Value = serde_json::from_slice(body).unwrap_or(Value::Null);
    let text = |field: &str| tk8s_core::printable(problem[field].as_str().unwrap_or_default(), 2000);
    match status {
        StatusCode::UNAUTHORIZED => format!("the agent does not know this token: {}", text("message")),
        status => format!("the agent refused ({}): {}: {}", status.as_u16(), text("reason"), text("message")),
    }
}

pub(super) fn ended<T>(result: Result<T, Exit>, show: impl FnOnce(T) -> Exit) -> Exit {
    match result {
        Ok(answer) => show(answer),
        Err(exit) => exit,
    }
}

/// `tk8s-agent status`.
pub(super) async fn status(agent: &Agent, format: Format) -> Exit {
    if format == Format::Json {
        return ended(ask::<Value>(agent, Method::GET, "/api/v1/status", None).await, |status| {
            output::json(&status);
            Exit::Yes
        });
    }
    ended(ask::<InstanceStatus>(agent, Method::GET, "/api/v1/status", None).await, |status| {
        print_status(&status);
        Exit::Yes
    })
}

/// The components that do not run what the revision brings, and what they run.
fn behind(status: &InstanceStatus) -> Option<String> {
    let is_behind = |state: State| matches!(state, State::Held | State::Failed | State::Denied | State::Pending);
    let behind = status.components.iter().filter(|component| is_behind(component.state));
    let told: Vec<_> = behind
        .map(|component| match component.release {
            Some(release) => format!("{}, at release {release}", component.name),
            None => format!("{}, of which nothing runs", component.name),
        })
        .collect();
    (!told.is_empty()).then(|| told.join("; "))
}

fn print_status(status: &InstanceStatus) {
    let level = status.level.map(|level| format!(", level {level}")).unwrap_or_default();
    line(&format!("instance {} on {} ({}){level}", status.instance, status.cluster, status.environment));
    match (&status.revision, &status.trust) {
        (Some(revision), Some(trust)) => {
            let trust = match trust {
                tk8s_core::Trust::Signed { signer, tag_signer: None, .. } => format!("signed by {signer}"),
                tk8s_core::Trust::Signed { signer, tag_signer: Some(tag_signer), .. } => {
                    format!("tag signed by {tag_signer}, commit by {signer}")
                }
                tk8s_core::Trust::Waived { reason } => format!("NOT VERIFIED: {reason}"),
            };
            line(&format!("revision {} ({}), {trust}", revision.label(), revision.commit.short()));
            if let Some(but) = behind(status) {
                line(&format!("platform at {}, but for {but}", revision.label()));
            }
        }
        _ => line("no revision has been accepted yet"),
    }
    for stale in &status.stale {
        line(&format!("STALE since {}: {}", stale.since, stale.message));
    }
    if let Some(problem) = &status.configuration {
        line(&format!("the agent's file is not in force, the one before is: {}: {}", problem.reason, problem.message));
    }
    if let Some(problem) = &status.problem {
        line(&format!("Git: {}: {}", problem.reason, problem.message));
    }
    for suspension in &status.suspensions {
        let (by, since, reason) = (&suspension.by, suspension.since, &suspension.reason);
        line(&format!("SUSPENDED {} by {by} since {since}: {reason}", suspension.scope));
        line(&format!("  nothing is written, drift is reported only, until `tk8s-agent resume {}`", suspension.scope.argument()));
    }
    for unapproved in &status.unapproved {
        line(&format!("{} waits for approvals: {}", unapproved.tag, still_missing(&unapproved.missing)));
        for approval in &unapproved.approvals {
            line(&format!("  {} said yes as {}", approval.signer, approval.role));
        }
    }
    if let Some(evidence) = &status.evidence {
        line(&format!("{} statements of other instances count", evidence.heard));
        for refused in &evidence.refused {
            line(&format!("  {} counts for nothing: {}", refused.place, refused.message));
        }
        if evidence.refusals > evidence.refused.len() {
            line(&format!("  and {} more count for nothing", evidence.refusals - evidence.refused.len()));
        }
    }
    for refused in &status.refused {
        line(&format!("refused {}: {}: {}", refused.reference, refused.reason, refused.message));
    }
    for alarm in &status.alarms {
        let component = alarm.component.as_ref().map(|name| format!("{name}: ")).unwrap_or_default();
        line(&format!("ALARM {} since {}: {component}{}: {}", alarm.reason, alarm.since, alarm.object, alarm.message));
        line(&format!("  {}", alarm.next));
    }
    if let Some(problem) = &status.reporting {
        line(&format!("the cluster is not told how components are: {}: {}", problem.reason, problem.message));
    }
    line(&format!("ledger {} entries; images: unverified", status.ledger.size));
    line("");
    let mut rows =
        vec![["LAYER", "COMPONENT", "LEVEL", "STATE", "HEALTH", "RELEASE", "REVISION", "MESSAGE"].map(String::from).to_vec()];
    for component in &status.components {
        let hold = component.hold.as_ref().map(|hold| format!("held at {} by {}: {}. ", hold.release, hold.by, hold.reason));
        rows.push(vec![
            component.layer.as_ref().map_or("-".into(), ToString::to_string),
            component.name.to_string(),
            component.level.map_or("-".into(), |level| level.to_string()),
            format!("{:?}", component.state),
            component.health.to_string(),
            component.release.map_or("-".into(), |number| number.to_string()),
            component.revision.clone().unwrap_or("-".into()),
            format!("{}{}", hold.unwrap_or_default(), component.message),
        ]);
    }
    table(&rows);
    for component in &status.components {
        if component.out_of_sight > 0 {
            line(&format!(
                "{}: {} of its objects out of sight (`watch` in the agent's file): nobody sees whether they drift, and how they are",
                component.name, component.out_of_sight
            ));
        }
        for drift in &component.drift {
            let undone = drift.undone.map(|times| format!(" (put back {times} times already)")).unwrap_or_default();
            line(&format!("{}: {} is not as it was left: {}{undone}", component.name, drift.object, drift.message));
        }
        for left in &component.left_out {
            line(&format!("{}: {} is left as it is: {}", component.name, left.object, left.reason));
        }
        for altered in &component.altered {
            let fields = altered.fields.join(", ");
            line(&format!("{}: somebody on the way overwrites {fields} of {}", component.name, altered.object));
        }
        for warning in &component.warnings {
            line(&format!("{}: the API server warns about {}: {}", component.name, warning.object, warning.message));
        }
        for foreign in &component.foreign_fields {
            let grave = if foreign.grave { "grave: " } else { "" };
            let (object, field, manager) = (&foreign.object, &foreign.field, &foreign.manager);
            line(&format!("{}: {grave}{object} has {field}, which `{manager}` put there", component.name));
        }
    }
}

/// `tk8s-agent sync`.
pub(super) async fn sync(agent: &Agent, format: Format) -> Exit {
    ended(ask::<Value>(agent, Method::POST, "/api/v1/sync", None).await, |answer| {
        match format {
            Format::Json => output::json(&answer),
            Format::Text => line("the agent looks at Git now; `tk8s-agent status` shows what comes of it"),
        }
        Exit::Yes
    })
}

/// `tk8s-agent confirm PLAN`.
pub(super) async fn confirm(agent: &Agent, plan: &str, reason: &str, format: Format) -> Exit {
    if !plan.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-')) {
        eprintln!("`{}` names no plan: copy it from the denial", tk8s_core::printable(plan, 100));
        return Exit::Usage;
    }
    let asked =
        ask::<Value>(agent, Method::POST, &format!("/api/v1/plans/{plan}/confirm"), Some(json!({"reason": reason}))).await;
    ended(asked, |answer| {
        match format {
            Format::Json => output::json(&answer),
            Format::Text => {
                line(&format!("{} is tried again, with these deletions", answer["confirmed"].as_str().unwrap_or("it")))
            }
        }
        Exit::Yes
    })
}

/// A release and a reason.
#[derive(clap::Args)]
pub(super) struct OfRelease {
    /// The release's tag, for example `v1.4.0`.
    #[arg(value_name = "RELEASE")]
    tag: String,
    /// Why, for the ledger.
    #[arg(long, value_name = "TEXT")]
    reason: String,
    #[command(flatten)]
    agent: Agent,
}

impl OfRelease {
    async fn ask(&self, what: &str) -> Result<Value, Exit> {
        let Self { tag, reason, agent } = self;
        if !tag.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '+' | '_')) {
            eprintln!("`{}` names no release: `tk8s-agent status` shows those that wait", tk8s_core::printable(tag, 100));
            return Err(Exit::Usage);
        }
        ask(agent, Method::POST, &format!("/api/v1/releases/{tag}/{what}"), Some(json!({"reason": reason}))).await
    }
}

/// `tk8s-agent break-glass RELEASE`.
pub(super) async fn break_glass(release: &OfRelease, format: Format) -> Exit {
    ended(release.ask("break-glass").await, |answer| {
        match format {
            Format::Json => output::json(&answer),
            Format::Text => line(&format!(
                "{} is let in without approvals; an alarm stands until `tk8s-agent acknowledge {}`",
                release.tag, release.tag
            )),
        }
        Exit::Yes
    })
}

/// `tk8s-agent acknowledge RELEASE`.
pub(super) async fn acknowledge(release: &OfRelease, format: Format) -> Exit {
    ended(release.ask("acknowledge").await, |answer| {
        match format {
            Format::Json => output::json(&answer),
            Format::Text => line(&format!("the alarm about {} ends; the ledger keeps who looked at it", release.tag)),
        }
        Exit::Yes
    })
}
