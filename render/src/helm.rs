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
use crate::launcher::Task;
use crate::place::{Places, refused, resolve};
use crate::{Component, Error, Renderers, files, kustomize, yaml};

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
) -> Result<(Vec<Manifest>, Vec<String>), Error> {
    let program = renderers.programs.find(PROGRAM)?;
    let Some(namespace) = &component.namespace else {
        let message = "a chart needs `namespace`: without one Helm would put its objects into `default`";
        return Err(Error::Option(message.into()));
    };
    let values = values_files(tree, component)?;
    let mut paths = chart_files(tree, &component.path)?;
    if !paths.contains(&component.path.join(CHART)?) {
        let origin = Origin { file: component.path.to_string().into(), line: 0 };
        return Err(refused(origin, CHART, "it does not exist, and a component of `kind: helm` is a chart"));
    }
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
    read(component, &output)
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

/// The files of values, each of which has to be there.
fn values_files(tree: &dyn SourceTree, component: &Component) -> Result<Vec<TreePath>, Error> {
    let mut places = Places::new(tree);
    let mut paths = Vec::new();
    for text in component.helm.iter().flat_map(|options| &options.values_files) {
        let refuse = |why: String| {
            let origin = Origin { file: format!("valuesFiles of {}", component.name).into(), line: 0 };
            refused(origin, text, why)
        };
        let path = resolve(&component.path, text).map_err(refuse)?;
        match places.at(&path)? {
            Some(TreeEntry::File(_)) => paths.push(path),
            Some(_) => return Err(refuse(format!("`{path}` is not a file"))),
            None => return Err(refuse(format!("`{path}` does not exist in the repository"))),
        }
    }
    Ok(paths)
}

/// Every file of a chart. Links are refused: Helm would follow them.
fn chart_files(tree: &dyn SourceTree, chart: &TreePath) -> Result<BTreeSet<TreePath>, Error> {
    let mut found = BTreeSet::new();
    let mut left = vec![(chart.clone(), 0)];
    let mut entries = files::Entries::default();
    while let Some((directory, depth)) = left.pop() {
        if depth > DEEPEST {
            let what = format!("directories below each other in `{chart}`");
            return Err(Error::TooMuch { what, found: depth as u64, limit: DEEPEST as u64 });
        }
        for entry in tree.list(&directory)? {
            entries.one_more(chart)?;
            let path = directory.join(entry.name())?;
            match entry {
                TreeEntry::Directory(_) => left.push((path, depth + 1)),
                TreeEntry::File(_) => _ = found.insert(path),
                TreeEntry::Other(_, what) => return Err(Error::NotAFile { path, what }),
            }
            if found.len() > MOST {
                let what = format!("files in `{chart}`");
                return Err(Error::TooMuch { what, found: found.len() as u64, limit: MOST as u64 });
            }
        }
    }
    Ok(found)
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
fn read(component: &Component, output: &[u8]) -> Result<(Vec<Manifest>, Vec<String>), Error> {
    let unreadable = |problem: String| Error::Yaml {
        origin: Origin { file: component.path.to_string().into(), line: 0 },
        problem: format!("what the chart gives can't be read: {problem}"),
    };
    let text = std::str::from_utf8(output).map_err(|_| unreadable("it is not UTF-8".into()))?;
    let (mut manifests, mut warnings) = (Vec::new(), Vec::new());
    let mut reader = yaml::Reader::new(yaml::Twice::LastCounts);
    for document in yaml::split(text) {
        let document = document.map_err(unreadable)?;
        let file: Arc<str> = source(component, document).into();
        for (value, _) in reader.read(document.as_bytes(), &format!("{file} (rendered)"))? {
            // Lines of the output are nobody's: the template is where a person looks.
            let origin = Origin { file: Arc::clone(&file), line: 0 };
            match hook(&value) {
                None => files::take(&component.path, value, &origin, &mut manifests)?,
                Some(when) => warnings.push(left_out(&value, &file, when)),
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

fn left_out(value: &Value, file: &str, when: &str) -> String {
    let text = |pointer: &str| printable(value.pointer(pointer).and_then(Value::as_str).unwrap_or("?"), 100);
    let (kind, name) = (text("/kind"), text("/metadata/name"));
    format!("{kind} {name} ({file}) is a Helm hook ({}) and is left out: Helm's hooks don't run here", printable(when, 100))
}
