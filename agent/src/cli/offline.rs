//! Commands that need no running agent.

use std::path::{Path, PathBuf};

use serde::Serialize;
use serde_json::Value;
use tk8s_config::AgentConfig;
use tk8s_core::{ComponentName, LayerId, chain};
use tk8s_diff::live::Scope;
use tk8s_diff::mask::Masker;
use tk8s_render::Renderers;

use super::finding::{Report, count};
use super::output::{self, Format, line};
use super::working::{self, Shown};
use super::{Exit, Given, Render, notes};
use crate::error::Error;
use crate::plain_yaml;

/// Prints an error with everything below it.
pub(super) fn complain(what: &str, error: &dyn std::error::Error) {
    eprintln!("{what}: {}", chain(error));
}

pub(super) fn read_config(path: &Path) -> Result<AgentConfig, Exit> {
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

/// `tk8s-agent check`. Exit codes: 0 for nothing that the agent would refuse, 1 for something, 2 where it could not look.
pub(super) fn check(directory: Option<&Path>, config: Option<&Path>, given: Given, format: Format) -> Exit {
    if directory.is_none() && config.is_none() {
        eprintln!("name a directory, an agent's file with `--config`, or both");
        return Exit::Usage;
    }
    let mut ours = Report::default();
    let agent = match config.map(|path| survey_config(path, &mut ours)).transpose() {
        Ok(read) => read.flatten(),
        Err(exit) => return exit,
    };
    let mut objects = 0;
    let looked = directory.map(|directory| {
        let count = |shown: Shown<'_>| {
            objects += shown.preview.objects().len();
            Ok(())
        };
        working::look(directory, None, &working::renderers(agent.as_ref(), given), &working::scope(agent.as_ref()), count)
    });
    let (mut report, seen) = match looked {
        Some(Ok(looked)) => {
            let seen = format!("{}, {}: ", count(looked.components, "component"), count(objects, "object"));
            (looked.report, seen)
        }
        Some(Err(exit)) => return exit,
        None => (Report::default(), String::new()),
    };
    report.add(ours);
    let exit = report.exit();
    let (findings, counts) = report.end();
    match format {
        Format::Json => output::json(&findings),
        Format::Text => {
            findings.iter().for_each(|finding| line(&finding.line()));
            line(&format!("{seen}{counts}"));
        }
    }
    exit
}

/// The agent's file, or nothing if it is refused: then its problems are in the report.
fn survey_config(path: &Path, report: &mut Report) -> Result<Option<AgentConfig>, Exit> {
    let text = std::fs::read_to_string(path).map_err(|error| {
        eprintln!("could not look at the agent's file `{}`: {error}", path.display());
        Exit::Usage
    })?;
    let read = AgentConfig::parse(&text, &path.display().to_string());
    let read = read.map_err(|problems| report.problems("ConfigurationRefused", &problems)).ok();
    let rules = read.as_ref().and_then(|config| config.health.rules_dir.as_deref());
    // One that isn't here says nothing: it may be mounted into the agent only.
    if let Some(Err(Error::HealthRules(problems))) = rules.map(crate::rules::read_dir) {
        report.problems("HealthRulesRefused", &problems);
    }
    Ok(read)
}

/// The programs of a command that looks at a working tree, and what the agent looks at, as its file says if one is named.
fn renderers(config: Option<&Path>, given: Given) -> Result<(Renderers, Scope), Exit> {
    let config = config.map(read_config).transpose()?;
    Ok((working::renderers(config.as_ref(), given), working::scope(config.as_ref())))
}

/// `tk8s-agent crds`.
pub(super) fn crds(format: Format) -> Exit {
    match format {
        Format::Text => line(crate::report::definition::TEXT.trim_end()),
        Format::Json => output::json(&crate::report::definition::definition()),
    }
    Exit::Yes
}

/// `tk8s-agent render DIR`. Prints all objects or, if anything is refused, none and why.
pub(super) fn render(mut arguments: Render, format: Format) -> Exit {
    #[derive(Serialize)]
    struct Printed {
        layer: LayerId,
        component: ComponentName,
        object: Value,
    }
    #[derive(Serialize)]
    struct Notes {
        component: ComponentName,
        notes: String,
    }
    let (renderers, scope) = match renderers(arguments.config.as_deref(), std::mem::take(&mut arguments.given)) {
        Ok(both) => both,
        Err(exit) => return exit,
    };
    let masker = Masker::new(&rand::random::<[u8; 32]>());
    let mut printed = Vec::new();
    let mut said = Vec::new();
    let print = |shown: Shown<'_>| {
        let component = &shown.spec.name;
        if arguments.notes {
            if let Some(notes) = tk8s_render::notes(shown.tree, shown.component, &renderers)? {
                let hidden = if arguments.show_secrets { Vec::new() } else { notes::secrets(shown.preview.objects()) };
                said.push(Notes { component: component.clone(), notes: notes::shown(&notes, &hidden) });
            }
            return Ok(());
        }
        for placed in tk8s_diff::in_order(shown.preview.into_objects()) {
            let value = placed.manifest.to_value();
            let object = if arguments.show_secrets { value } else { masker.mask(value) };
            printed.push(Printed { layer: placed.layer, component: component.clone(), object });
        }
        Ok(())
    };
    let report = match working::look(&arguments.directory, arguments.component.as_ref(), &renderers, &scope, print) {
        Ok(looked) => looked.report,
        Err(exit) => return exit,
    };
    let exit = report.exit();
    working::complain(report);
    if exit != Exit::Yes {
        return exit;
    }
    if arguments.notes {
        match format {
            Format::Json => output::json(&said),
            Format::Text => said.iter().for_each(|said| line(&format!("==> {}\n{}", said.component, said.notes))),
        }
        return Exit::Yes;
    }
    // Components come in apply order; in a directory without a platform file the objects' own layers decide.
    printed.sort_by_key(|printed| printed.layer.number);
    match format {
        Format::Json => output::json(&printed),
        Format::Text => {
            for printed in &printed {
                line(&format!("---\n# {}/{}", printed.layer, printed.component));
                line(plain_yaml::write(&printed.object).trim_end());
            }
        }
    }
    Exit::Yes
}
