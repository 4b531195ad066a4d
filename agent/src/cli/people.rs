//! What people ask a running agent for: rollback, hold, suspend, resume; of a component, a layer, or everything.

use clap::{Args, ColorChoice};
use hyper::Method;
use serde_json::{Value, json};
use tk8s_core::{ComponentName, ReleaseNumber};

use super::difference::Paint;
use super::finding::count;
use super::output::{self, Format, line};
use super::remote::{ask, ended};
use super::{Agent, Exit};
use crate::engine::{
    ComponentPlan, Fate, Held, LeftAlone, Resumed, RollbackPlan, RollbackRequest, RolledBack, RolledBackMany, Suspended,
};

/// Whom it is about: one of the three.
#[derive(Args)]
#[group(id = "about", required = true, multiple = false)]
pub(super) struct About {
    component: Option<ComponentName>,
    /// Every component of a layer, by its number, its name, or both: `2`, `services`, `2-services`.
    #[arg(long, value_name = "LAYER")]
    layer: Option<String>,
    /// Every component.
    #[arg(long)]
    all: bool,
}

impl About {
    /// Where in the API it is spoken of; nothing if the layer is none.
    fn path(&self) -> Result<String, Exit> {
        match (&self.component, &self.layer) {
            (Some(component), _) => Ok(format!("/api/v1/components/{component}")),
            (_, Some(layer)) if layer.chars().all(|c| c.is_ascii_alphanumeric() || c == '-') && !layer.is_empty() => {
                Ok(format!("/api/v1/layers/{layer}"))
            }
            (_, Some(layer)) => {
                eprintln!("`{}` names no layer: `tk8s-agent status` lists them", tk8s_core::printable(layer, 80));
                Err(Exit::Usage)
            }
            (None, None) => Ok("/api/v1".into()),
        }
    }
}

#[derive(Args)]
pub(super) struct Rollback {
    #[command(flatten)]
    about: About,
    /// The release to go back to, of one component; the last healthy one before what runs if not given.
    #[arg(long, value_name = "RELEASE", conflicts_with_all = ["layer", "all", "to_revision"])]
    to: Option<u64>,
    /// Go back to what there was when this tag or commit was the accepted revision; needed with `--all`.
    ///
    /// Without it a layer goes back to what there was before the revision that changed it last.
    #[arg(long, value_name = "COMMIT|TAG", required_if_eq("all", "true"))]
    to_revision: Option<String>,
    /// Show what would be done, and do nothing. Exit code 1: it would be refused.
    #[arg(long)]
    dry_run: bool,
    /// Go on without objects that the API server does not take any more: they stay as they are.
    #[arg(long)]
    skip_rejected: bool,
    /// Delete Namespaces, CRDs and volumes too that the release does not have, with everything in them.
    #[arg(long)]
    delete_protected: bool,
    /// Put it back though its signer is compromised since, or its key revoked. Needs a reason.
    #[arg(long, requires = "reason")]
    despite_compromise: bool,
    /// Why, for the ledger.
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// Whether a plan is coloured; `auto`: on a terminal, unless NO_COLOR is set.
    #[arg(long, value_name = "WHEN", default_value_t)]
    color: ColorChoice,
    #[command(flatten)]
    agent: Agent,
}

/// A word about somebody that needs a reason.
#[derive(Args)]
pub(super) struct Because {
    #[command(flatten)]
    about: About,
    /// Why, for the ledger and for whoever comes next.
    #[arg(long, value_name = "TEXT")]
    reason: String,
    #[command(flatten)]
    agent: Agent,
}

#[derive(Args)]
pub(super) struct Resume {
    #[command(flatten)]
    about: About,
    #[command(flatten)]
    agent: Agent,
}

/// `tk8s-agent rollback`.
pub(super) async fn rollback(arguments: Rollback, format: Format) -> Exit {
    let Rollback { about, to, to_revision, dry_run, skip_rejected, delete_protected, despite_compromise, reason, color, agent } =
        arguments;
    let path = match about.path() {
        Ok(path) => format!("{path}/rollback"),
        Err(exit) => return exit,
    };
    let to = to.map(ReleaseNumber);
    let request = RollbackRequest { to, to_revision, reason, dry_run, skip_rejected, delete_protected, despite_compromise };
    let body = Some(serde_json::to_value(&request).expect("because a request holds nothing that JSON lacks"));
    match (dry_run, about.component) {
        (true, _) => ended(ask::<RollbackPlan>(&agent, Method::POST, &path, body).await, |plan| {
            let refused = plan.components.iter().any(|one| !one.denied.is_empty() || !skip_rejected && !one.rejected.is_empty());
            match format {
                Format::Json => output::json(&plan),
                Format::Text => print_plan(&plan, skip_rejected, &Paint::of(color)),
            }
            if refused { Exit::No } else { Exit::Yes }
        }),
        (false, Some(_)) => ended(ask::<RolledBack>(&agent, Method::POST, &path, body).await, |done| {
            match format {
                Format::Json => output::json(&done),
                Format::Text => print_done(&done),
            }
            Exit::Yes
        }),
        (false, None) => ended(ask::<RolledBackMany>(&agent, Method::POST, &path, body).await, |done| {
            let failed = done.components.iter().any(|one| matches!(one.fate, Fate::Failed(_)));
            match format {
                Format::Json => output::json(&done),
                Format::Text => print_many(&done),
            }
            if failed { Exit::No } else { Exit::Yes }
        }),
    }
}

fn print_plan(plan: &RollbackPlan, skip_rejected: bool, paint: &Paint) {
    for one in &plan.components {
        let from = one.from.map_or("nothing".into(), |from| format!("release {from}"));
        line(&paint.bold(&format!("{}: from {from} to release {} ({})", one.component, one.to, one.revision)));
        print_component(one, skip_rejected, paint);
    }
    plan.left.iter().for_each(print_left);
    line("nothing was written");
}

fn print_component(one: &ComponentPlan, skip_rejected: bool, paint: &Paint) {
    for object in &one.objects {
        line(&paint.bold(&format!("{} {}", format!("{:?}", object.action).to_lowercase(), object.object)));
        object.diff.lines().for_each(|text| line(&paint.diff(text)));
        object.warnings.iter().for_each(|warning| line(&format!("  warning: {warning}")));
    }
    one.deletes.iter().for_each(|object| line(&paint.bold(&format!("delete {object}"))));
    one.keeps.iter().for_each(|kept| line(&format!("keep {}: {}", kept.object, kept.why)));
    one.later.iter().for_each(|object| line(&format!("later {object}: what it needs comes with this release")));
    let word = if skip_rejected { "leave" } else { "REFUSED" };
    one.rejected.iter().for_each(|kept| line(&format!("{word} {}: {}", kept.object, kept.why)));
    one.denied.iter().for_each(|reason| line(&format!("DENIED {reason}")));
    one.warnings.iter().for_each(|warning| line(&format!("warning: {warning}")));
    let (sent, deleted) = (one.objects.len(), one.deletes.len());
    line(&format!("  {} sent, {} unchanged, {} deleted once all is healthy", sent, one.unchanged, deleted));
}

fn print_done(done: &RolledBack) {
    for acted in &done.actions {
        line(&format!("{:<10} {}", format!("{:?}", acted.action).to_lowercase(), acted.object));
    }
    done.left.iter().for_each(|kept| line(&format!("left as it is: {}: {}", kept.object, kept.why)));
    let component = &done.component;
    line(&format!(
        "{component} is back at release {} in {} ms ({} sent, {} unchanged), and held there: `tk8s-agent resume {component}` ends that",
        done.release,
        done.milliseconds,
        done.actions.len(),
        done.unchanged
    ));
}

fn print_many(done: &RolledBackMany) {
    let (mut back, mut failed) = (0, 0);
    for one in &done.components {
        match &one.fate {
            Fate::Done(one) => {
                back += 1;
                print_done(one);
            }
            Fate::Failed(problem) => {
                failed += 1;
                line(&format!("{} is NOT back at release {}, and held there: {problem}", one.component, one.release));
            }
        }
    }
    done.left.iter().for_each(print_left);
    let to = done.revision.as_ref().map(|revision| format!(" at {revision}")).unwrap_or_default();
    let argument = done.scope.argument();
    line(&format!(
        "{} back{to}, {failed} not, {} as before, in {} ms: `tk8s-agent resume {argument}` ends the holds",
        count(back, "component"),
        done.left.len(),
        done.milliseconds
    ));
}

fn print_left(left: &LeftAlone) {
    line(&format!("{} stays as it is: {}", left.component, left.why));
}

/// `tk8s-agent hold`.
pub(super) async fn hold(arguments: Because, format: Format) -> Exit {
    say::<Held>(arguments, "hold", format, |held| {
        for one in &held.held {
            line(&format!("{} is held at release {}", one.component, one.release));
        }
        held.left.iter().for_each(print_left);
    })
    .await
}

/// `tk8s-agent suspend`.
pub(super) async fn suspend(arguments: Because, format: Format) -> Exit {
    say::<Suspended>(arguments, "suspend", format, |suspended| {
        let argument = suspended.scope.argument();
        let number = count(suspended.components.len(), "component");
        line(&format!(
            "{} is suspended ({number}): nothing is written, drift is reported only, until `tk8s-agent resume {argument}`",
            suspended.scope
        ));
    })
    .await
}

async fn say<T>(arguments: Because, word: &str, format: Format, print: impl FnOnce(&T)) -> Exit
where
    T: serde::de::DeserializeOwned + serde::Serialize,
{
    let Because { about, reason, agent } = arguments;
    let path = match about.path() {
        Ok(path) => format!("{path}/{word}"),
        Err(exit) => return exit,
    };
    let body: Option<Value> = Some(json!({ "reason": reason }));
    ended(ask::<T>(&agent, Method::POST, &path, body).await, |answer| {
        match format {
            Format::Json => output::json(&answer),
            Format::Text => print(&answer),
        }
        Exit::Yes
    })
}

/// `tk8s-agent resume`.
pub(super) async fn resume(arguments: Resume, format: Format) -> Exit {
    let path = match arguments.about.path() {
        Ok(path) => format!("{path}/resume"),
        Err(exit) => return exit,
    };
    ended(ask::<Resumed>(&arguments.agent, Method::POST, &path, None).await, |resumed| {
        if format == Format::Json {
            output::json(&resumed);
            return Exit::Yes;
        }
        match (resumed.resumed, resumed.still.is_empty()) {
            (true, true) => line(&format!("{} follows Git again", resumed.scope)),
            (true, false) => line(&format!("what was said of {} has ended; still in force:", resumed.scope)),
            (false, true) => line(&format!("{} was neither held nor suspended", resumed.scope)),
            (false, false) => line(&format!("nothing was said of {} itself; still in force:", resumed.scope)),
        }
        resumed.still.iter().for_each(|sentence| line(&format!("  {sentence}")));
        Exit::Yes
    })
}
