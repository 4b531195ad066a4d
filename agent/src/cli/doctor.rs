//! `tk8s-agent doctor`: what of an installation works and what does not, with the next step. Changes nothing.

use std::path::PathBuf;

use clap::Args;
use serde_json::json;
use tk8s_core::ServiceAccount;

use super::Exit;
use super::output::{self, Format, line};
use crate::doctor::{self, Check, Outcome, Visit};

#[derive(Args)]
pub(super) struct Doctor {
    /// The agent's file.
    #[arg(long, value_name = "FILE", default_value = "/etc/tk8s/agent.yaml")]
    config: PathBuf,
    /// The cluster; otherwise KUBECONFIG, or the pod's own account.
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// Look from another machine than the agent's: what is only in its Pod is skipped, and the API server is asked about the
    /// rights of this account.
    #[arg(long, value_name = "NAMESPACE/NAME", num_args = 0..=1, default_missing_value = "tk8s-system/tk8s-agent")]
    outside: Option<ServiceAccount>,
    /// Look as the next version beside the agent that runs, which has the volume: how an agent tries its own Deployment before
    /// it is released.
    #[arg(long, conflicts_with = "outside")]
    trial: bool,
}

/// Exit codes: 0 if nothing failed, 2 if something did.
pub(super) async fn doctor(arguments: Doctor, format: Format) -> Exit {
    let Doctor { config, kubeconfig, outside, trial } = arguments;
    let checks = doctor::examine(&Visit { config, kubeconfig, outside, trial }).await;
    let count = |outcome: Outcome| checks.iter().filter(|check| check.outcome == outcome).count();
    let [ok, warnings, failed, skipped] = [Outcome::Ok, Outcome::Warning, Outcome::Failed, Outcome::Skipped].map(count);
    match format {
        Format::Json => output::json(&json!({"healthy": failed == 0, "checks": checks})),
        Format::Text => {
            checks.iter().for_each(|check| line(&shown(check)));
            line(&format!("{} checks: {ok} ok, {warnings} warning, {failed} failed, {skipped} skipped", checks.len()));
        }
    }
    if failed == 0 { Exit::Yes } else { Exit::Usage }
}

/// One line, and below it the next step.
fn shown(check: &Check) -> String {
    let indented = |text: &str| text.trim_end().replace('\n', &format!("\n{:26}", ""));
    let next = check.next.as_ref().map(|next| format!("\n{:26}next: {}", "", indented(next))).unwrap_or_default();
    format!("{:8} {:16} {}{next}", check.outcome.word(), check.check, indented(&check.found))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_found_and_the_next_step_stand_below_each_other() {
        let check = Check { check: "clock", outcome: Outcome::Failed, found: "one\ntwo".into(), next: Some("set it".into()) };
        let lines: Vec<_> = shown(&check).lines().map(String::from).collect();
        assert_eq!(
            lines,
            ["failed   clock            one".to_owned(), format!("{:26}two", ""), format!("{:26}next: set it", ""),]
        );
    }
}
