//! `tk8s-agent diff DIR`: what applying a directory would change, with the credentials of whoever asks. Writes nothing.
//!
//! What is printed came from a cluster: colours are added here, and nothing else moves a cursor.

use std::path::Path;

use clap::ColorChoice;
use clap::builder::styling::{AnsiColor, Style};
use serde::Serialize;
use serde_json::{Value, json};
use tk8s_core::{Classified as _, ComponentName, Manifest, ObjectKey, chain, printable};
use tk8s_diff::cluster::Cluster;
use tk8s_diff::mask::Masker;
use tk8s_diff::ownership::Whose;
use tk8s_diff::{Action, Look, Predecessor, PreviewDiff};

use super::finding::count;
use super::offline::{complain, read_config};
use super::output::{self, Format, line};
use super::working::{self, Shown};
use super::{Diff, Exit};
use crate::engine::confining::confinement;
use crate::engine::platform::field_rules;

/// How many of a kind are told of one object; JSON has all.
const MOST_TOLD: usize = 10;

/// Everything that was found.
#[derive(Serialize)]
struct Found {
    objects: Vec<Value>,
    predecessors: Vec<Predecessor>,
    /// Kinds of predecessors that could not be listed.
    unseen: Vec<String>,
}

/// Exit codes: 0 for done, 1 for a difference if that is asked for, 2 where something could not be compared.
pub(super) async fn diff(mut arguments: Diff, format: Format) -> Exit {
    let config = match arguments.config.as_deref().map(read_config).transpose() {
        Ok(config) => config,
        Err(exit) => return exit,
    };
    let renderers = working::renderers(config.as_ref(), std::mem::take(&mut arguments.given));
    let scope = working::scope(config.as_ref());
    let mut rendered = Vec::new();
    let keep = |shown: Shown<'_>| {
        rendered.push((shown.spec.clone(), shown.preview));
        Ok(())
    };
    let looked = match working::look(Path::new(&arguments.directory), None, &renderers, &scope, keep) {
        Ok(looked) => looked,
        Err(exit) => return exit,
    };
    let mut failed = looked.report.has_errors();
    working::complain(looked.report);
    if looked.platform_refused {
        return Exit::BadConfiguration;
    }
    let client = match crate::run::connect(arguments.kubeconfig.as_deref()).await {
        Ok(client) => client,
        Err(error) => {
            eprintln!("{error:#}");
            return Exit::Usage;
        }
    };
    let cluster = Cluster::new(client, Vec::new());
    let masker = Masker::new(&rand::random::<[u8; 32]>());
    let mut answers: Vec<(ComponentName, ObjectKey, Result<PreviewDiff, tk8s_diff::Error>)> = Vec::new();
    for (spec, preview) in rendered {
        let confinement = confinement(&spec.confine, &scope);
        let objects = tk8s_diff::in_order(preview.into_objects()).into_iter().map(|placed| placed.manifest);
        // Complained about already: nobody is asked about what the agent would not ask about.
        let objects: Vec<Manifest> = objects.filter(|manifest| confinement.refuses(manifest.key()).is_none()).collect();
        let fields = field_rules(&spec);
        let instance = config.as_ref().map(|config| &config.instance);
        let look = Look { fields: &fields, instance, component: &spec.name, all: arguments.all };
        let found = tk8s_diff::preview(&cluster, objects, &masker, &look).await;
        answers.extend(found.into_iter().map(|(key, result)| (spec.name.clone(), key, result)));
    }
    let told: Vec<_> = answers.iter().filter_map(|(_, key, result)| Some((key, result.as_ref().ok()?))).collect();
    // Of what is not there yet nobody else has anything.
    let there = told.iter().any(|(_, found)| found.action != Action::Create);
    let (predecessors, unseen) = if there { tk8s_diff::predecessors(&cluster, &told).await } else { Default::default() };
    let differs = told.iter().any(|(_, found)| found.differs());
    failed |= told.len() < answers.len();
    for (_, key, result) in &answers {
        if let Err(error) = result {
            complain(&key.to_string(), error);
        }
    }
    match format {
        Format::Json => {
            let objects = answers.iter().map(|(component, key, result)| view(component, key, result)).collect();
            output::json(&Found { objects, predecessors, unseen });
        }
        Format::Text => {
            let paint = Paint::of(arguments.color);
            told.iter().for_each(|(key, found)| print(key, found, &paint));
            predecessors.iter().for_each(|one| print_predecessor(one, &paint));
            unseen.iter().for_each(|why| line(&format!("could not look for predecessors: {why}")));
            line(&summary(&told, answers.len()));
        }
    }
    match (failed, differs && arguments.exit_code) {
        (true, _) => Exit::Usage,
        (false, true) => Exit::No,
        (false, false) => Exit::Yes,
    }
}

fn view(component: &ComponentName, key: &ObjectKey, result: &Result<PreviewDiff, tk8s_diff::Error>) -> Value {
    let mut view = match result {
        Ok(found) => serde_json::to_value(found).expect("because the view holds nothing that JSON lacks"),
        Err(error) => json!({"problem": {"reason": error.reason(), "message": chain(error)}}),
    };
    view["component"] = component.as_str().into();
    view["object"] = key.to_string().into();
    view
}

/// `4 objects: 1 create, 1 adopt, 2 unchanged`.
fn summary(told: &[(&ObjectKey, &PreviewDiff)], asked: usize) -> String {
    let words = [
        (Action::Create, "create"),
        (Action::Configure, "configure"),
        (Action::Adopt, "adopt"),
        (Action::Recreate, "recreate"),
        (Action::Unchanged, "unchanged"),
    ];
    let number = |action| told.iter().filter(|(_, found)| found.action == action).count();
    let mut parts: Vec<_> =
        words.into_iter().map(|(action, word)| (number(action), word)).filter(|(number, _)| *number > 0).collect();
    if asked > told.len() {
        parts.push((asked - told.len(), "refused"));
    }
    let parts: Vec<_> = parts.into_iter().map(|(number, word)| format!("{number} {word}")).collect();
    format!("{}: {}", count(asked, "object"), if parts.is_empty() { "nothing to do".into() } else { parts.join(", ") })
}

/// One object, if there is anything to say about it.
fn print(key: &ObjectKey, found: &PreviewDiff, paint: &Paint) {
    let notes = notes(found);
    if found.diff.is_empty() && notes.is_empty() && !found.differs() {
        return;
    }
    let word = format!("{:?}", found.action).to_lowercase();
    line(&paint.bold(&format!("{word} {key}")));
    found.diff.lines().for_each(|text| line(&paint.diff(text)));
    notes.iter().for_each(|note| line(&format!("  {note}")));
    let folded = found.folded;
    let hidden = [(folded.defaulted, "filled in by the API server"), (folded.foreign, "owned by others")];
    let hidden: Vec<_> =
        hidden.iter().filter(|(number, _)| *number > 0).map(|(number, what)| format!("{number} {what}")).collect();
    if !hidden.is_empty() {
        line(&paint.dim(&format!("  not shown: {} (--all shows them)", hidden.join(", "))));
    }
}

/// What is to be said beside what differs.
fn notes(found: &PreviewDiff) -> Vec<String> {
    let mut notes: Vec<String> = Vec::new();
    notes.extend(found.belongs.as_ref().map(|owner| format!("refused: it belongs to {owner}")));
    let takes = found.takes.iter().map(|one| {
        let (field, manager) = (&one.field, &one.manager);
        match one.whose {
            Whose::Contested if found.contested => {
                format!("refused: {field} is owned by `{manager}` (unless it was ours after the last apply)")
            }
            Whose::Drift => format!("takes back {field} from `{manager}`"),
            _ => format!("takes {field} from `{manager}`"),
        }
    });
    let leftovers = found.leftovers.iter().map(|left| format!("leftover of {}: {}", left.tool, left.what));
    let foreign = found.foreign.iter().map(|one| {
        let grave = if one.grave { "ALARM: " } else { "" };
        format!("{grave}{} was put there by `{}`", one.field, one.manager)
    });
    let yielded = found.yielded.iter().map(|field| format!("leaves {field} to whoever owns it"));
    let altered = found.altered.iter().map(|field| format!("somebody on the way overwrites {field}"));
    let restarts = found.restarts.map(|restarts| match restarts {
        true => "its pod template changes: its pods are replaced".to_owned(),
        false => "its pod template stays as it is: nothing is restarted".to_owned(),
    });
    let warnings = found.warnings.iter().map(|warning| format!("warning: {warning}"));
    bounded(&mut notes, takes);
    bounded(&mut notes, yielded);
    bounded(&mut notes, altered);
    bounded(&mut notes, foreign);
    if found.differs() {
        notes.extend(restarts);
    }
    bounded(&mut notes, leftovers);
    bounded(&mut notes, warnings);
    notes
}

fn bounded(notes: &mut Vec<String>, more: impl ExactSizeIterator<Item = String>) {
    let number = more.len();
    notes.extend(more.take(MOST_TOLD));
    if number > MOST_TOLD {
        notes.push(format!("… and {} more of these (--output json has all)", number - MOST_TOLD));
    }
}

fn print_predecessor(one: &Predecessor, paint: &Paint) {
    line(&paint.bold(&format!("{} ({}) has {} of these", one.by, one.tool, count(one.has, "object"))));
    one.dangers.iter().for_each(|danger| line(&format!("  {danger}")));
    if one.besides_in_all > 0 {
        let more = if one.besides_in_all > one.besides.len() { ", …" } else { "" };
        let number = count(one.besides_in_all, "object");
        line(&format!("  it has {number} that this directory has not: {}{more}", printable(&one.besides.join(", "), 2000)));
    }
    line(&format!("  next: {}", one.next));
}

/// Colours, where somebody sees them.
pub(super) struct Paint(bool);

impl Paint {
    /// What is said on the command line wins over the environment, which wins over what standard output is.
    pub(super) fn of(choice: ColorChoice) -> Paint {
        Paint(match choice {
            ColorChoice::Always => true,
            ColorChoice::Never => false,
            ColorChoice::Auto => crate::colour::seen_on(&std::io::stdout()),
        })
    }

    fn in_style(&self, style: Style, text: &str) -> String {
        if self.0 { format!("{style}{text}{style:#}") } else { text.to_owned() }
    }

    pub(super) fn bold(&self, text: &str) -> String {
        self.in_style(Style::new().bold(), text)
    }

    fn dim(&self, text: &str) -> String {
        self.in_style(Style::new().dimmed(), text)
    }

    pub(super) fn diff(&self, text: &str) -> String {
        match text.as_bytes().first() {
            _ if text.starts_with("--- live: ") || text.starts_with("+++ planned: ") => self.bold(text),
            Some(b'-') => self.in_style(AnsiColor::Red.on_default(), text),
            Some(b'+') => self.in_style(AnsiColor::Green.on_default(), text),
            Some(b'@') => self.in_style(AnsiColor::Cyan.on_default(), text),
            _ => text.to_owned(),
        }
    }
}
