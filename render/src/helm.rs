//! Charts, rendered by the upstream program's `template` from what is vendored in the repository.
//!
//! Nothing is fetched, and no cluster is asked: `lookup` finds nothing, a dependency that isn't in `charts/` is refused. What
//! the cluster can do is told to the chart, and is part of the identity. Helm's hooks don't run here: objects that are
//! hooks are left out with a warning each, except tests, which nobody misses.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::sync::Arc;

use serde_json::Value;
use tk8s_core::{Manifest, Origin, SourceTree, TreeEntry, TreePath, printable};

use crate::component::{CHART, HelmOptions};
use crate::findings::Findings;
use crate::launcher::Task;
use crate::place::{Places, refused, resolve};
use crate::{Component, Error, Renderers, Warning, files, kustomize, yaml};

const PROGRAM: &str = "helm";
/// Files of a chart.
const MOST: usize = 10_000;
/// Directories below each other in a chart.
const DEEPEST: usize = 64;
/// What says that an object is a hook, and when.
const HOOK: &str = "helm.sh/hook";

/// The identity of chart, values, options and program.
pub(crate) fn identity(tree: &dyn SourceTree, component: &Component, renderers: &Renderers) -> Result<Option<String>, Error> {
    let program = renderers.programs.find(PROGRAM)?;
    let Some(chart) = tree.identity(&component.path)? else { return Ok(None) };
    let mut identity = format!("{PROGRAM} {} {chart}\n{:?}\n{:?}\n", program.digest, component.helm, renderers.capabilities);
    for path in values_files(tree, component)? {
        let Some(id) = tree.identity(&path)? else { return Ok(None) };
        identity.push_str(&format!("{id} {path}\n"));
    }
    Ok(Some(identity))
}

/// The objects of a chart, and what was left out.
pub(crate) fn manifests(
    tree: &dyn SourceTree,
    component: &Component,
    renderers: &Renderers,
    findings: &mut Findings,
) -> Result<(Vec<Manifest>, Vec<Warning>), Error> {
    let program = findings.keep(renderers.programs.find(PROGRAM));
    let namespace =
        findings.keep(component.namespace.as_ref().ok_or_else(|| {
            Error::Option("a chart needs `namespace`: without one Helm would put its objects into `default`".into())
        }));
    let values = findings.keep(values_files(tree, component));
    let paths = findings.keep(chart_files(tree, &component.path));
    // What is missing would only be complained about in other words.
    let (Some(program), Some(namespace), Some(values), Some(mut paths)) = (program, namespace, values, paths) else {
        return Ok(Default::default());
    };
    paths.extend(values.iter().cloned());
    let directory = renderers.launcher.directory()?;
    kustomize::materialise(tree, &component.path, paths.iter(), &directory)?;
    let options = component.helm.clone().unwrap_or_default();
    if let Some(inline) = &options.values {
        directory.write("values", &"inline.yaml".parse()?, inline.as_bytes())?;
    }
    let arguments = arguments(component, namespace, &options, &values, renderers);
    let task = Task { component: &component.name, name: PROGRAM, program: &program.path, arguments, directory: &directory };
    let output = renderers.launcher.run(&task).map_err(|error| vendored(component, error))?;
    read(component, &output, findings)
}

fn arguments(
    component: &Component,
    namespace: &str,
    options: &HelmOptions,
    values: &[TreePath],
    renderers: &Renderers,
) -> Vec<OsString> {
    let release = options.release_name.as_deref().unwrap_or(component.name.as_str());
    let mut words = vec!["template".into(), release.into(), format!("tree/{}", component.path.as_str())];
    words.extend(["--skip-tests".into(), "--namespace".into(), namespace.into()]);
    if options.include_crds {
        words.push("--include-crds".into());
    }
    let files = values.iter().map(|path| format!("tree/{}", path.as_str()));
    for file in files.chain(options.values.iter().map(|_| "values/inline.yaml".into())) {
        words.extend(["--values".into(), file]);
    }
    if let Some(capabilities) = &renderers.capabilities {
        words.extend(["--kube-version".into(), capabilities.kube_version.clone()]);
        for version in &capabilities.api_versions {
            words.extend(["--api-versions".into(), version.clone()]);
        }
    }
    words.into_iter().map(Into::into).collect()
}

/// The files of values, whether they are there or not.
pub(crate) fn named(component: &Component) -> BTreeSet<TreePath> {
    let texts = component.helm.iter().flat_map(|options| &options.values_files);
    texts.filter_map(|text| resolve(&component.path, text).ok()).collect()
}

/// The files of values, each of which has to be there.
fn values_files(tree: &dyn SourceTree, component: &Component) -> Result<Vec<TreePath>, Error> {
    let (mut places, mut findings) = (Places::new(tree), Findings::default());
    let mut paths = Vec::new();
    for text in component.helm.iter().flat_map(|options| &options.values_files) {
        let found = values_file(&mut places, component, text);
        paths.extend(findings.keep(found));
    }
    findings.end()?;
    Ok(paths)
}

fn values_file(places: &mut Places<'_>, component: &Component, text: &str) -> Result<TreePath, Error> {
    let refuse = |why: String| {
        let origin = Origin { file: format!("valuesFiles of {}", component.name).into(), line: 0 };
        refused(origin, text, why)
    };
    let path = resolve(&component.path, text).map_err(refuse)?;
    match places.at(&path)? {
        Some(TreeEntry::File(_)) => Ok(path),
        Some(_) => Err(refuse(format!("`{path}` is not a file"))),
        None => Err(refuse(format!("`{path}` does not exist in the repository"))),
    }
}

/// Every file of a chart. Links are refused: Helm would follow them.
fn chart_files(tree: &dyn SourceTree, chart: &TreePath) -> Result<BTreeSet<TreePath>, Error> {
    let (mut files, mut findings) = (BTreeSet::new(), Findings::default());
    let mut left = vec![(chart.clone(), 0)];
    while let Some((directory, depth)) = left.pop() {
        if depth > DEEPEST {
            let what = format!("directories below each other in `{chart}`");
            return Err(Error::TooMuch { what, found: depth as u64, limit: DEEPEST as u64 });
        }
        for entry in tree.list(&directory)? {
            let path = directory.join(entry.name())?;
            match entry {
                TreeEntry::Directory(_) => left.push((path, depth + 1)),
                TreeEntry::File(_) => _ = files.insert(path),
                TreeEntry::Other(_, what) => findings.note(Error::NotAFile { path, what }),
            }
            if files.len() > MOST {
                let what = format!("files in `{chart}`");
                return Err(Error::TooMuch { what, found: files.len() as u64, limit: MOST as u64 });
            }
        }
    }
    if !files.contains(&chart.join(CHART)?) {
        let origin = Origin { file: chart.to_string().into(), line: 0 };
        findings.note(refused(origin, CHART, "it does not exist, and a component of `kind: helm` is a chart"));
    }
    findings.end()?;
    Ok(files)
}

/// Helm's own verdict about dependencies, with what to do next here.
fn vendored(component: &Component, error: Error) -> Error {
    match &error {
        Error::Program { told, .. } if told.contains("missing in charts/ directory") => {
            let missing = told.rsplit("missing in charts/ directory:").next().unwrap_or_default();
            let names = missing.split_whitespace().map(|word| word.trim_matches([',', '"'])).collect::<Vec<_>>().join(" ");
            let origin = Origin { file: format!("{}/{CHART}", component.path).into(), line: 0 };
            let why = format!(
                "nothing is fetched while rendering: run `helm dependency build {}` and commit its `charts` directory",
                component.path
            );
            refused(origin, &format!("the dependency {names} is not vendored"), why)
        }
        _ => error,
    }
}

/// Helm's output: documents that each name the template they come from.
fn read(component: &Component, output: &[u8], findings: &mut Findings) -> Result<(Vec<Manifest>, Vec<Warning>), Error> {
    let unreadable = |_| Error::Yaml {
        origin: Origin { file: component.path.to_string().into(), line: 0 },
        problem: "what the chart gives is not UTF-8".into(),
    };
    let text = std::str::from_utf8(output).map_err(unreadable)?;
    let (mut manifests, mut warnings) = (Vec::new(), Vec::new());
    for (_, document) in yaml::split(text) {
        let file: Arc<str> = source(component, document).into();
        let read = yaml::read(document.as_bytes(), &format!("{file} (rendered)"));
        for (value, _) in findings.keep(read).unwrap_or_default() {
            // Lines of the output are nobody's: the template is where a person looks.
            let origin = Origin { file: Arc::clone(&file), line: 0 };
            match hook(&value) {
                None => files::take(&component.path, value, &origin, &mut manifests, findings)?,
                Some(when) => warnings.push(left_out(&value, origin, when)),
            }
        }
    }
    Ok((manifests, warnings))
}

/// The template of a document: its path in the repository.
fn source(component: &Component, document: &str) -> String {
    let named = document.lines().find_map(|line| line.strip_prefix("# Source: "));
    match named.and_then(|path| path.split_once('/')) {
        Some((_, path)) => format!("{}/{}", component.path, printable(path.trim(), 200)),
        None => component.path.to_string(),
    }
}

/// When Helm would run an object as a hook, if it is one. Tests don't come this far (`--skip-tests`), nor does what Helm
/// knows no more (`crd-install`).
fn hook(value: &Value) -> Option<&str> {
    value.pointer("/metadata/annotations")?.get(HOOK)?.as_str()
}

fn left_out(value: &Value, origin: Origin, when: &str) -> Warning {
    let text = |pointer: &str| printable(value.pointer(pointer).and_then(Value::as_str).unwrap_or("?"), 100);
    let (kind, name) = (text("/kind"), text("/metadata/name"));
    let message = format!("{kind} {name} is a Helm hook ({}) and is left out", printable(when, 100));
    Warning { rule: "HookLeftOut", origin, message, next: "Helm's hooks don't run here" }
}
