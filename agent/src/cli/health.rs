//! `tk8s-agent health`: judges objects from files as the agent judges them in the cluster. Needs no cluster: for trying a
//! rule before anybody depends on it, and for looking at what somebody sent along with a question.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use clap::Args;
use serde::{Deserialize as _, Serialize};
use serde_json::Value;
use tk8s_core::{Health, HealthState, chain, printable};
use tk8s_deploy::health::{Rules, judge_together};

use super::Exit;
use super::output::{self, Format};
use crate::error::Error;

/// The most that is read of all files together.
const LARGEST: usize = 64 * 1024 * 1024;
/// The most objects of one run.
const MOST: usize = 100_000;

#[derive(Args)]
pub(super) struct Judge {
    /// A file with objects in YAML or JSON, also many documents and lists; `-` for standard input. May be given again.
    #[arg(short = 'f', long = "filename", value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
    /// A rule file, or a directory of them, as `health.rulesDir` of the agent's file. May be given again; the first counts first.
    #[arg(long, value_name = "FILE")]
    rules: Vec<PathBuf>,
    /// Exit with 1 if anything is neither Healthy nor Suspended.
    #[arg(long)]
    exit_code: bool,
}

/// One object, as it is told.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Judged {
    api_version: String,
    kind: String,
    namespace: Option<String>,
    name: String,
    health: HealthState,
    reason: String,
    message: String,
}

/// Exit codes: 0 judged, 1 with `--exit-code` where anything is not well, 2 where it could not look, 64 for a refused rule.
pub(super) fn health(arguments: &Judge, format: Format) -> Exit {
    let mut rules = Vec::new();
    for path in &arguments.rules {
        let read = if path.is_dir() { crate::rules::read_dir(path) } else { crate::rules::read_file(path) };
        match read {
            Ok(read) => rules.extend(read),
            Err(Error::HealthRules(problems)) => {
                eprintln!("{problems}");
                return Exit::BadConfiguration;
            }
            Err(error) => {
                eprintln!("{}", chain(&error));
                return Exit::Usage;
            }
        }
    }
    let mut objects = Vec::new();
    let mut left = LARGEST;
    for file in &arguments.files {
        if let Err(why) = read(file, &mut left, &mut objects) {
            eprintln!("could not look at `{}`: {why}", file.display());
            return Exit::Usage;
        }
    }
    let health = judge_together(&Rules::new(rules, Default::default()), &objects);
    let judged: Vec<_> = objects.iter().zip(health).map(|(object, health)| told(object, health)).collect();
    match format {
        Format::Json => output::json(&judged),
        Format::Text => output::table(&judged.iter().map(row).collect::<Vec<_>>()),
    }
    let is_well = judged.iter().all(|judged| judged.health <= HealthState::Suspended);
    if arguments.exit_code && !is_well { Exit::No } else { Exit::Yes }
}

/// Adds the objects of a file.
fn read(file: &Path, left: &mut usize, objects: &mut Vec<Value>) -> Result<(), String> {
    let mut text = String::new();
    let most = *left as u64 + 1;
    let read = match file.to_str() {
        Some("-") => std::io::stdin().lock().take(most).read_to_string(&mut text),
        _ => std::fs::File::open(file).and_then(|file| file.take(most).read_to_string(&mut text)),
    };
    read.map_err(|error| error.to_string())?;
    *left = left.checked_sub(text.len()).ok_or("there is more than 64 MiB to read")?;
    for (index, document) in serde_yaml::Deserializer::from_str(&text).enumerate() {
        let place = || format!("document {}", index + 1);
        let value =
            Value::deserialize(document).map_err(|error| format!("{}: {}", place(), printable(&error.to_string(), 200)))?;
        add(value, objects).map_err(|why| format!("{}: {why}", place()))?;
    }
    Ok(())
}

/// Adds one object, or each item of a list; nothing for an empty document.
fn add(mut value: Value, objects: &mut Vec<Value>) -> Result<(), String> {
    let is_list = value["kind"].as_str().is_some_and(|kind| kind.ends_with("List"));
    match value.get_mut("items").map(Value::take) {
        Some(Value::Array(items)) if is_list => return items.into_iter().try_for_each(|item| add(item, objects)),
        _ if value.is_null() => return Ok(()),
        Some(items) => value["items"] = items,
        None => {}
    }
    if value["apiVersion"].as_str().is_none() || value["kind"].as_str().is_none() {
        return Err("it is no object of Kubernetes: it has no `apiVersion` and `kind`".into());
    }
    if objects.len() >= MOST {
        return Err(format!("there are more than {MOST} objects"));
    }
    objects.push(value);
    Ok(())
}

fn told(object: &Value, Health { state, reason, message }: Health) -> Judged {
    let text = |value: &Value| value.as_str().map(String::from);
    let metadata = &object["metadata"];
    Judged {
        api_version: text(&object["apiVersion"]).unwrap_or_default(),
        kind: text(&object["kind"]).unwrap_or_default(),
        namespace: text(&metadata["namespace"]),
        name: text(&metadata["name"]).unwrap_or_default(),
        health: state,
        reason,
        message,
    }
}

fn row(judged: &Judged) -> Vec<String> {
    let Judged { kind, namespace, name, health, reason, message, .. } = judged;
    let name = namespace.as_ref().map_or_else(|| name.clone(), |namespace| format!("{namespace}/{name}"));
    let shown = |text: &str| printable(text, 300);
    vec![health.to_string(), format!("{} {}", shown(kind), shown(&name)), reason.clone(), shown(message)]
}
