//! Commands that need no running agent.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Serialize;
use serde_json::{Value, json};
use tk8s_config::AgentConfig;
use tk8s_core::{Classified as _, ComponentName, LayerId, Manifest, Timestamp, TreePath, chain};
use tk8s_diff::cluster::Cluster;
use tk8s_diff::mask::Masker;
use tk8s_gitsync::Signers;
use tk8s_render::{Renderers, WorkingDirectory};

use super::output::{self, Format, line};
use super::{Exit, Verify};
use crate::engine::platform::{self, Unit};
use crate::error::Error;

/// The largest signers file or raw object that is read.
const LARGEST_FILE: u64 = 8 * 1024 * 1024;

/// Prints an error with everything below it.
fn complain(what: &str, error: &dyn std::error::Error) {
    eprintln!("{what}: {}", chain(error));
}

fn read_config(path: &Path) -> Result<AgentConfig, Exit> {
    let text = std::fs::read_to_string(path).map_err(|error| {
        eprintln!("could not read the agent's file `{}`: {error}", path.display());
        Exit::BadConfiguration
    })?;
    AgentConfig::parse(&text, &path.display().to_string()).map_err(|problems| {
        eprintln!("{problems}");
        Exit::BadConfiguration
    })
}

/// `tk8s-agent run`.
pub(super) async fn run(config: &Path, kubeconfig: Option<PathBuf>) -> Exit {
    let read = match read_config(config) {
        Ok(read) => read,
        Err(exit) => return exit,
    };
    match crate::run::run(config, read, kubeconfig).await {
        Ok(()) => Exit::Yes,
        Err(error) => {
            eprintln!("the agent can't run: {error:#}");
            Exit::No
        }
    }
}

/// One component of a directory, rendered for people to look at.
struct Shown {
    unit: Arc<Unit>,
    result: Result<tk8s_render::Preview, Error>,
}

/// Every component of a directory, in apply order.
fn preview(directory: &Path, only: Option<&ComponentName>) -> Result<Vec<Shown>, Exit> {
    let tree = WorkingDirectory::new(directory);
    let refused = |error: Error| {
        complain(&format!("`{}`", directory.display()), &error);
        if matches!(error, Error::Platform(_)) { Exit::BadConfiguration } else { Exit::No }
    };
    let (platform, _) = platform::read_below(&TreePath::root(), &tree).map_err(refused)?;
    let units = platform::units(&TreePath::root(), &platform).map_err(refused)?;
    if let Some(name) = only
        && !units.iter().any(|unit| unit.spec.name == *name)
    {
        eprintln!("`{}` has no component `{name}`", directory.display());
        return Err(Exit::No);
    }
    let wanted = units.into_iter().filter(|unit| only.is_none_or(|name| unit.spec.name == *name));
    // As a person has them: beside this program or in their PATH, with private files where they keep theirs.
    let renderers = Renderers::new(tk8s_render::Options::default());
    let show =
        |unit: Arc<Unit>| Shown { result: tk8s_render::preview(&tree, &unit.render, &renderers).map_err(Error::from), unit };
    Ok(wanted.map(show).collect())
}

/// `tk8s-agent check`.
pub(super) fn check(directory: Option<&Path>, config: Option<&Path>, format: Format) -> Exit {
    #[derive(Serialize)]
    struct Checked {
        component: ComponentName,
        layer: LayerId,
        objects: usize,
        warnings: Vec<String>,
        problem: Option<Value>,
    }
    if directory.is_none() && config.is_none() {
        eprintln!("name a directory, an agent's file with `--config`, or both");
        return Exit::Usage;
    }
    if let Some(config) = config {
        if let Err(exit) = read_config(config) {
            return exit;
        }
        if format == Format::Text {
            line(&format!("{}: good", config.display()));
        }
    }
    let Some(directory) = directory else { return Exit::Yes };
    let shown = match preview(directory, None) {
        Ok(shown) => shown,
        Err(exit) => return exit,
    };
    let checked: Vec<_> = shown
        .into_iter()
        .map(|shown| {
            let (objects, warnings, problem) = match shown.result {
                Ok(preview) => (preview.objects().len(), preview.warnings().iter().map(ToString::to_string).collect(), None),
                Err(error) => (0, Vec::new(), Some(json!({"reason": error.reason(), "message": chain(&error)}))),
            };
            Checked { component: shown.unit.spec.name.clone(), layer: shown.unit.spec.layer.clone(), objects, warnings, problem }
        })
        .collect();
    let good = checked.iter().all(|checked| checked.problem.is_none());
    match format {
        Format::Json => output::json(&checked),
        Format::Text => {
            for checked in &checked {
                match &checked.problem {
                    None => line(&format!("{}/{}: {} objects", checked.layer, checked.component, checked.objects)),
                    Some(problem) => line(&format!(
                        "{}/{}: {}",
                        checked.layer,
                        checked.component,
                        problem["message"].as_str().unwrap_or_default()
                    )),
                }
                for warning in &checked.warnings {
                    line(&format!("{}/{}: warning: {warning}", checked.layer, checked.component));
                }
            }
        }
    }
    if good { Exit::Yes } else { Exit::No }
}

/// `tk8s-agent render DIR`.
pub(super) fn render(directory: &Path, only: Option<&ComponentName>, show_secrets: bool, format: Format) -> Exit {
    #[derive(Serialize)]
    struct Printed {
        layer: LayerId,
        component: ComponentName,
        object: Value,
    }
    let shown = match preview(directory, only) {
        Ok(shown) => shown,
        Err(exit) => return exit,
    };
    let masker = Masker::new(&rand::random::<[u8; 32]>());
    let mut printed = Vec::new();
    for shown in shown {
        let component = shown.unit.spec.name.clone();
        let preview = match shown.result {
            Ok(preview) => preview,
            Err(error) => {
                complain(&component.to_string(), &error);
                return Exit::No;
            }
        };
        for warning in preview.warnings() {
            eprintln!("{component}: warning: {warning}");
        }
        for placed in tk8s_diff::in_order(preview.into_objects()) {
            let object = if show_secrets { placed.manifest.to_value() } else { masker.mask(placed.manifest.to_value()) };
            printed.push(Printed { layer: placed.layer, component: component.clone(), object });
        }
    }
    // Components come in apply order; in a directory without a platform file the objects' own layers decide.
    printed.sort_by_key(|printed| printed.layer.number);
    match format {
        Format::Json => output::json(&printed),
        Format::Text => {
            for printed in &printed {
                line(&format!("---\n# {}/{}", printed.layer, printed.component));
                line(serde_yaml::to_string(&printed.object).expect("because JSON is YAML").trim_end());
            }
        }
    }
    Exit::Yes
}

/// `tk8s-agent diff DIR`.
pub(super) async fn diff(directory: &Path, kubeconfig: Option<&Path>, exit_code: bool, format: Format) -> Exit {
    let shown = match preview(directory, None) {
        Ok(shown) => shown,
        Err(exit) => return exit,
    };
    let client = match crate::run::connect(kubeconfig).await {
        Ok(client) => client,
        Err(error) => {
            eprintln!("{error:#}");
            return Exit::No;
        }
    };
    let cluster = Cluster::new(client, Vec::new());
    let masker = Masker::new(&rand::random::<[u8; 32]>());
    let (mut failed, mut differs, mut answers) = (false, false, Vec::new());
    for shown in shown {
        let component = shown.unit.spec.name.clone();
        let preview = match shown.result {
            Ok(preview) => preview,
            Err(error) => {
                complain(&component.to_string(), &error);
                failed = true;
                continue;
            }
        };
        let objects: Vec<Manifest> =
            tk8s_diff::in_order(preview.into_objects()).into_iter().map(|placed| placed.manifest).collect();
        for (key, result) in tk8s_diff::preview(&cluster, objects, &masker).await {
            match result {
                Ok(found) => {
                    differs |= found.action != tk8s_diff::Action::Unchanged;
                    if format == Format::Text && !found.diff.is_empty() {
                        line(found.diff.trim_end());
                    }
                    answers.push(
                        json!({"component": component, "object": key.to_string(), "action": found.action, "diff": found.diff}),
                    );
                }
                Err(error) => {
                    complain(&key.to_string(), &error);
                    failed = true;
                    answers.push(json!({"component": component, "object": key.to_string(), "problem": {"reason": error.reason(), "message": chain(&error)}}));
                }
            }
        }
    }
    if format == Format::Json {
        output::json(&answers);
    }
    if failed || (exit_code && differs) { Exit::No } else { Exit::Yes }
}

/// `tk8s-agent verify`.
pub(super) fn verify(arguments: &Verify, format: Format) -> Exit {
    let (signers_file, repository) = match &arguments.config {
        Some(path) => {
            let config = match read_config(path) {
                Ok(config) => config,
                Err(exit) => return exit,
            };
            let Some(signers) = config.trust.signers_file.clone() else {
                eprintln!("`{}` names no signers file", path.display());
                return Exit::BadConfiguration;
            };
            (signers, config.history.dir.join("mirror.git"))
        }
        None => (arguments.signers.clone().expect("because clap asks for it without `--config`"), arguments.repository.clone()),
    };
    let signers =
        match read_bounded(&signers_file).and_then(|bytes| Ok(Signers::parse(&bytes, &signers_file.display().to_string())?)) {
            Ok(signers) => signers,
            Err(error) => {
                complain("the signers can't be used", &error);
                return Exit::No;
            }
        };
    let now = Timestamp::now();
    let verdict = match (&arguments.object, &arguments.revision) {
        (Some(object), _) => match read_bounded(object) {
            Ok(raw) => tk8s_gitsync::verify_object(&raw, &signers, now).map(|verdict| json!(verdict)),
            Err(error) => {
                complain("the object can't be read", &error);
                return Exit::No;
            }
        },
        (None, Some(revision)) => match tk8s_gitsync::verify_revision(&repository, revision, &signers, now) {
            Ok(verdict) => verdict.map(|verdict| json!(verdict)),
            Err(error) => {
                complain(&format!("`{}`", repository.display()), &error);
                return Exit::No;
            }
        },
        (None, None) => unreachable!("because clap asks for one of the two"),
    };
    match verdict {
        Ok(verdict) => {
            match format {
                Format::Json => output::json(&json!({"verified": true, "verdict": verdict})),
                Format::Text => line(&format!("yes: {}", words(&verdict))),
            }
            Exit::Yes
        }
        Err(refusal) => {
            let (reason, help) = (refusal.rule.reason(), refusal.rule.help());
            match format {
                Format::Json => {
                    output::json(&json!({"verified": false, "reason": reason, "message": refusal.message, "help": help}))
                }
                Format::Text => line(&format!("no: {reason}: {}\n{help}", refusal.message)),
            }
            Exit::No
        }
    }
}

/// `key value, key value`, for people.
fn words(verdict: &Value) -> String {
    let Value::Object(fields) = verdict else { return verdict.to_string() };
    let shown = fields.iter().filter(|(_, value)| !value.is_null());
    shown
        .map(|(name, value)| format!("{name} {}", value.as_str().map_or_else(|| value.to_string(), str::to_owned)))
        .collect::<Vec<_>>()
        .join(", ")
}

fn read_bounded(path: &Path) -> Result<Vec<u8>, Error> {
    use std::io::Read as _;
    let fail = |source| Error::ReadFile { what: "file", path: path.into(), source };
    let mut bytes = Vec::new();
    let reader: Box<dyn std::io::Read> =
        if path == Path::new("-") { Box::new(std::io::stdin()) } else { Box::new(std::fs::File::open(path).map_err(fail)?) };
    reader.take(LARGEST_FILE).read_to_end(&mut bytes).map_err(fail)?;
    Ok(bytes)
}
