//! A working tree as `check`, `render` and `diff` see it: every component of it, and all that is wrong with any of them.
//!
//! Needs no cluster, no network and no Git: a directory will do. Inside a repository the paths are the repository's, and
//! what lies beside the directory can be referred to, as in the cluster.

use std::path::Path;

use tk8s_config::{AgentConfig, ComponentSpec, Platform, Problems};
use tk8s_core::{ComponentName, Origin, TreePath, chain};
use tk8s_diff::live::Scope;
use tk8s_render::{Component, Options, Preview, Renderers, VariableSource, Warning, WorkingDirectory};

use super::finding::{Finding, Report};
use super::strays::strays;
use super::{Exit, Given};
use crate::engine::confining::confinement;
use crate::engine::platform;
use crate::materials::Materials;

/// The tree that a directory is in, and where in it.
pub(super) struct WorkingTree {
    pub(super) tree: WorkingDirectory,
    pub(super) base: TreePath,
}

impl WorkingTree {
    /// The repository that the directory is in, or the directory alone.
    pub(super) fn of(directory: &Path) -> std::io::Result<WorkingTree> {
        let place = directory.canonicalize()?;
        if !place.is_dir() {
            return Err(std::io::ErrorKind::NotADirectory.into());
        }
        let repository = place.ancestors().find(|above| above.join(".git").exists());
        let base = repository.and_then(|root| place.strip_prefix(root).ok()?.to_str()?.parse().ok());
        Ok(match (repository, base) {
            (Some(root), Some(base)) => WorkingTree { tree: WorkingDirectory::new(root), base },
            _ => WorkingTree { tree: WorkingDirectory::new(&place), base: TreePath::root() },
        })
    }
}

/// A component that renders.
pub(super) struct Shown<'a> {
    pub(super) tree: &'a WorkingDirectory,
    pub(super) spec: &'a ComponentSpec,
    pub(super) component: &'a Component,
    pub(super) preview: Preview,
}

/// What was found.
pub(super) struct Looked {
    pub(super) report: Report,
    /// How many components were looked at.
    pub(super) components: usize,
    /// Whether the platform file itself is refused.
    pub(super) platform_refused: bool,
}

/// The programs as a person has them: where the agent's file says or beside this program or in `PATH`, within the limits of
/// the agent's file, with private files where this machine keeps such; with the keys and variables of that file, and those
/// that were given besides.
pub(super) fn renderers(config: Option<&AgentConfig>, given: Given) -> Renderers {
    let mut materials = config.map(Materials::of).unwrap_or_default();
    materials.age_key_files.extend(given.age_keys);
    materials.variables.extend(given.variables.into_iter().map(|(name, value)| (name, VariableSource::Value(value))));
    let options = match config.map(|config| &config.render) {
        None => Options::default(),
        Some(render) => crate::materials::options(render),
    };
    // A working tree has no identity to put a hash into.
    materials.give(Renderers::new(options), &rand::random())
}

/// What an agent with this file looks at; everything, where there is none.
pub(super) fn scope(config: Option<&AgentConfig>) -> Scope {
    config.map(|config| crate::engine::confining::scope(&config.watch)).unwrap_or_default()
}

/// Renders every component of a directory, or one of them, in apply order. One that renders is handed to `take`, and not
/// kept. What lies outside of where the agent looks is told as what lies outside of a component's confinement.
pub(super) fn look(
    directory: &Path,
    only: Option<&ComponentName>,
    renderers: &Renderers,
    scope: &Scope,
    mut take: impl FnMut(Shown<'_>) -> Result<(), tk8s_render::Error>,
) -> Result<Looked, Exit> {
    let unreadable = |why: String| {
        eprintln!("could not look at `{}`: {why}", directory.display());
        Exit::Usage
    };
    let WorkingTree { tree, base } = WorkingTree::of(directory).map_err(|error| unreadable(error.to_string()))?;
    let text = platform::text(&base, &tree).map_err(|error| unreadable(chain(&error)))?;
    let mut looked = Looked { report: Report::default(), components: 0, platform_refused: false };
    let specs = match &text {
        Some((path, text)) => {
            let (specs, problems) = Platform::survey(text, path);
            looked.platform_refused = !problems.problems.is_empty();
            looked.report.problems("PlatformRefused", &problems);
            let broken = Problems::of(path, crate::rules::problems(specs.iter().map(|spec| spec.health.as_slice())));
            looked.platform_refused |= !broken.problems.is_empty();
            looked.report.problems("HealthRulesRefused", &broken);
            specs
        }
        None => platform::whole().components().to_vec(),
    };
    if let Some(name) = only
        && !specs.iter().any(|spec| spec.name == *name)
        && !looked.platform_refused
    {
        return Err(unreadable(format!("it has no component `{name}`")));
    }
    let mut all = Vec::new();
    for spec in &specs {
        let component = platform::component(&base, text.is_none(), spec).map_err(|error| unreadable(chain(&error)))?;
        if spec.enabled && only.is_none_or(|name| *name == spec.name) {
            looked.components += 1;
            let shown = tk8s_render::preview(&tree, &component, renderers).and_then(|preview| {
                for warning in preview.warnings() {
                    looked.report.note(Finding::warning(Some(&spec.name), warning));
                }
                let confinement = confinement(&spec.confine, scope);
                for placed in preview.objects() {
                    if let Some(why) = confinement.refuses(placed.manifest.key()) {
                        looked.report.note(Finding::outside(&spec.name, &placed.manifest, &why));
                    }
                }
                take(Shown { tree: &tree, spec, component: &component, preview })
            });
            if let Err(error) = shown {
                looked.report.refused(&component, &error);
            }
        }
        all.push(component);
    }
    if text.is_some() && only.is_none() {
        for component in all.iter().filter(|component| component.path != base) {
            if let Ok(Some((file, _))) = platform::text(&component.path, &tree) {
                let message = "it is a platform file inside a component, and is left out".into();
                let next = "only the one in `repository.path` is read: move it, or make its components components of that one";
                let warning =
                    Warning { rule: "PlatformFileIgnored", origin: Origin { file: file.into(), line: 0 }, message, next };
                looked.report.note(Finding::warning(Some(&component.name), &warning));
            }
        }
        strays(&tree, &base, &all).iter().for_each(|warning| looked.report.note(Finding::warning(None, warning)));
    }
    Ok(looked)
}

/// Says what is wrong on standard error, for commands whose answer is something else.
pub(super) fn complain(report: Report) {
    let any = report.has_errors();
    let (findings, counts) = report.end();
    findings.iter().for_each(|finding| eprintln!("{}", finding.line()));
    if any {
        eprintln!("{counts}");
    }
}
