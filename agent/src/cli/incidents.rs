//! `tk8s-agent accept`: a person's word about a ref that is not what it was.

use clap::Args;
use hyper::Method;
use serde_json::json;

use super::output::{self, Format, line};
use super::remote::{ask, ended};
use super::{Agent, Exit};
use crate::engine::IncidentView;

#[derive(Args)]
pub(super) struct Accept {
    /// As the alarm spells it, for example `rewritten.main.3fa9c1d2e4b5f6a7081c92d3`.
    incident: String,
    /// Why, for the ledger and for whoever comes next.
    #[arg(long, value_name = "TEXT")]
    reason: String,
    #[command(flatten)]
    agent: Agent,
}

pub(super) async fn accept(arguments: Accept, format: Format) -> Exit {
    let Accept { incident, reason, agent } = arguments;
    if incident.is_empty() || !incident.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-')) {
        eprintln!("`{}` names no incident: copy it from the alarm", tk8s_core::printable(&incident, 100));
        return Exit::Usage;
    }
    let path = format!("/api/v1/incidents/{incident}/accept");
    ended(ask::<IncidentView>(&agent, Method::POST, &path, Some(json!({"reason": reason}))).await, |accepted| {
        match (format, &accepted.object) {
            (Format::Json, _) => output::json(&accepted),
            (Format::Text, Some(object)) => line(&format!(
                "{} may be at {object}, and nowhere else: Git is looked at now, and a signature is still asked for",
                accepted.reference
            )),
            (Format::Text, None) => line(&format!("{} may be gone; what runs stays", accepted.reference)),
        }
        Exit::Yes
    })
}
