//! Charts, rendered by the upstream program's `template` from what is vendored in the repository.
//!
//! Nothing is fetched, and no cluster is asked: `lookup` finds nothing, a dependency that isn't in `charts/` is refused. What
//! the cluster can do is told to the chart, and is part of the identity. Helm's hooks don't run here: what becomes of them is
//! in [`hooks`](crate::hooks).

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;

use serde_json::Value;
use tk8s_core::{Manifest, Origin, SourceTree, TreeEntry, TreePath, printable};
use zeroize::Zeroizing;

use crate::collect::Collector;
use crate::component::{CHART, HelmOptions};
use crate::findings::Findings;
use crate::launcher::{Private, Task};
use crate::place::{Places, refused, resolve};
use crate::sops::{Secrets, Values};
use crate::{Component, Error, Renderers, Warning, files, hooks, kustomize, yaml};

const PROGRAM: &str = "helm";
/// Files of a chart.
const MOST: usize = 10_000;
/// Directories below each other in a chart.
const DEEPEST: usize = 64;

/// The identity of chart, values, options and program.
pub(crate) fn identity(tree: &dyn SourceTree, component: &Component, renderers: &Renderers) -> Result<Option<String>, Error> {
    let program = renderers.programs.find(PROGRAM)?;
    let Some(chart) = tree.identity(&component.path)? else { return Ok(None) };
    let Some(values) = files(tree, component)? else { return Ok(None) };
    let (digest, capabilities) = (program.digest, &renderers.capabilities);
    Ok(Some(format!("{PROGRAM} {digest} {chart}\n{:?}\n{capabilities:?}\n{values}", component.helm)))
}

/// The identities of the files of values.
pub(crate) fn files(tree: &dyn SourceTree, component: &Component) -> Result<Option<String>, Error> {
    let mut files = String::new();
    for path in values_files(tree, component)? {
        let Some(id) = tree.identity(&path)? else { return Ok(None) };
        files.push_str(&format!("{id} {path}\n"));
    }
    Ok(Some(files))
}

/// The objects of a chart, and what was left out.
pub(crate) fn manifests(
    tree: &dyn SourceTree,
    component: &Component,
    renderers: &Renderers,
    findings: &mut Findings,
) -> Result<(Vec<Manifest>, Vec<Warning>), Error> {
    let Some(chart) = Chart::of(tree, component, renderers, findings)? else { return Ok(Default::default()) };
    let mut words = vec!["template", "--skip-tests"];
    if component.helm.as_ref().is_none_or(|options| options.include_crds) {
        words.push("--include-crds");
    }
    let mut words: Vec<OsString> = words.into_iter().map(Into::into).collect();
    if let Some(capabilities) = &renderers.capabilities {
        words.extend(["--kube-version".into(), OsString::from(&capabilities.kube_version)]);
        capabilities.api_versions.iter().for_each(|version| words.extend(["--api-versions".into(), OsString::from(version)]));
    }
    let (output, said) = chart.run(component, renderers, words)?;
    let (manifests, mut warnings) = read(component, renderers, chart.secrets.as_ref(), &output, findings)?;
    warnings.extend(hooks::unknown(&said).iter().map(|when| {
        let origin = chart
            .names(tree, renderers.bounds.file, when)
            .unwrap_or_else(|| Origin { file: component.path.to_string().into(), line: 0 });
        hooks::unknown_at(when, origin)
    }));
    Ok((manifests, warnings))
}

/// What a chart says to whoever installs it, if it says something. As Helm itself would say it, but for the cluster, which
/// isn't asked.
pub(crate) fn notes(tree: &dyn SourceTree, component: &Component, renderers: &Renderers) -> Result<Option<String>, Error> {
    let mut findings = Findings::default();
    let chart = Chart::of(tree, component, renderers, &mut findings);
    let chart = findings.keep(chart).flatten();
    findings.end()?;
    let Some(chart) = chart else { return Ok(None) };
    if chart.input.is_some() {
        return Ok(Some("(not shown: the chart is given decrypted values, and what it says can quote them)".into()));
    }
    let words = ["install", "--dry-run=client", "--output", "json"].map(OsString::from).into();
    let (output, _) = chart.run(component, renderers, words)?;
    let unreadable = || Error::Program { program: PROGRAM, told: "what it says of the release is not JSON".into() };
    let release: Value = serde_json::from_slice(&output).map_err(|_| unreadable())?;
    let notes = release.pointer("/info/notes").and_then(Value::as_str).unwrap_or_default();
    Ok((!notes.trim().is_empty()).then(|| notes.to_owned()))
}

/// A chart in a private directory, with all that it is rendered with.
struct Chart {
    program: PathBuf,
    directory: Private,
    paths: BTreeSet<TreePath>,
    /// Release, chart, namespace and values, as every command of Helm takes them.
    words: Vec<OsString>,
    /// Decrypted values, for its standard input.
    input: Option<Zeroizing<Vec<u8>>>,
    /// The same, to be found again.
    secrets: Option<Secrets>,
}

impl Chart {
    /// None if something is missing, which is noted.
    fn of(
        tree: &dyn SourceTree,
        component: &Component,
        renderers: &Renderers,
        findings: &mut Findings,
    ) -> Result<Option<Chart>, Error> {
        let program = findings.keep(renderers.programs.find(PROGRAM));
        let namespace = findings.keep(component.namespace.as_ref().ok_or_else(|| {
            Error::Option("a chart needs `namespace`: without one Helm would put its objects into `default`".into())
        }));
        let values = values_files(tree, component).and_then(|files| Values::read(tree, files, &renderers.keys, renderers.bounds));
        let values = findings.keep(values);
        let paths = findings.keep(chart_files(tree, &component.path));
        // What is missing would only be complained about in other words.
        let (Some(program), Some(namespace), Some(values), Some(mut paths)) = (program, namespace, values, paths) else {
            return Ok(None);
        };
        paths.extend(values.before.iter().chain(&values.after).cloned());
        let directory = renderers.launcher.directory()?;
        kustomize::materialise(tree, component, renderers, paths.iter(), &directory, |_, bytes| Ok(bytes))?;
        let options = component.helm.clone().unwrap_or_default();
        if let Some(inline) = &options.values {
            directory.write("values", &"inline.yaml".parse()?, inline.as_bytes())?;
        }
        let words = arguments(component, namespace, &options, &values);
        let Values { merged: input, secrets, .. } = values;
        Ok(Some(Chart { program: program.path, directory, paths, words, input, secrets }))
    }

    /// Runs a command of Helm, and gives its output and what it said besides.
    fn run(&self, component: &Component, renderers: &Renderers, command: Vec<OsString>) -> Result<(Vec<u8>, String), Error> {
        let arguments = command.into_iter().chain(self.words.iter().cloned()).collect();
        let (program, directory) = (self.program.as_path(), &self.directory);
        let input = self.input.as_ref().map(|input| input.as_slice());
        let task = Task { component: &component.name, name: PROGRAM, program, arguments, directory, input };
        renderers.launcher.hear(&task).map_err(|error| match (vendored(component, error), input) {
            (Error::Program { told, .. }, Some(_)) => Error::Program { program: PROGRAM, told: without_values(&told) },
            (error, _) => error,
        })
    }

    /// The first line of a template that names a hook.
    fn names(&self, tree: &dyn SourceTree, largest: u64, when: &str) -> Option<Origin> {
        let mut templates = self.paths.iter().filter(|path| path.parts().any(|part| part == "templates"));
        templates.find_map(|path| {
            let bytes = tree.read(path, largest).ok()?;
            let line = hooks::line_of(&String::from_utf8_lossy(&bytes), when)?;
            Some(Origin { file: path.as_str().into(), line })
        })
    }
}

/// Helm quotes what it can't render. Of a chart that was given decrypted values only the place is told.
fn without_values(told: &str) -> String {
    let place = |word: &&str| {
        let mut parts = word.rsplit(':').filter(|part| !part.is_empty());
        let numbers = parts.by_ref().take_while(|part| part.bytes().all(|byte| byte.is_ascii_digit())).count();
        (1..=2).contains(&numbers) && [".yaml:", ".tpl:", ".yml:", ".txt:", ".json:"].iter().any(|ending| word.contains(ending))
    };
    let place = told.split_whitespace().map(|word| word.trim_matches(['(', ')', ',', ':'])).rfind(place);
    let place = place.map(|place| format!(" at {}", printable(place, 200))).unwrap_or_default();
    format!("it failed{place}; what it said is not shown, because it was given decrypted values and can quote them")
}

fn arguments(component: &Component, namespace: &str, options: &HelmOptions, values: &Values) -> Vec<OsString> {
    let release = options.release_name.as_deref().unwrap_or(component.name.as_str());
    let mut words = vec![release.into(), format!("tree/{}", component.path.as_str()), "--namespace".into(), namespace.into()];
    let files = |paths: &[TreePath]| paths.iter().map(|path| format!("tree/{}", path.as_str())).collect::<Vec<_>>();
    let merged = values.merged.iter().map(|_| "-".to_owned());
    let inline = options.values.iter().map(|_| "values/inline.yaml".to_owned());
    for file in files(&values.before).into_iter().chain(merged).chain(files(&values.after)).chain(inline) {
        words.extend(["--values".into(), file]);
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
    let (mut found, mut findings) = (BTreeSet::new(), Findings::default());
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
                TreeEntry::Other(_, what) => findings.note(Error::NotAFile { path, what }),
            }
            if found.len() > MOST {
                let what = format!("files in `{chart}`");
                return Err(Error::TooMuch { what, found: found.len() as u64, limit: MOST as u64 });
            }
        }
    }
    if !found.contains(&chart.join(CHART)?) {
        let origin = Origin { file: chart.to_string().into(), line: 0 };
        findings.note(refused(origin, CHART, "it does not exist, and a component of `kind: helm` is a chart"));
    }
    findings.end()?;
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
fn read(
    component: &Component,
    renderers: &Renderers,
    secrets: Option<&Secrets>,
    output: &[u8],
    findings: &mut Findings,
) -> Result<(Vec<Manifest>, Vec<Warning>), Error> {
    let unreadable = |problem: String| Error::Yaml {
        origin: Origin { file: component.path.to_string().into(), line: 0 },
        problem: format!("what the chart gives can't be read: {problem}"),
    };
    let text = std::str::from_utf8(output).map_err(|_| unreadable("it is not UTF-8".into()))?;
    let (mut collector, mut hooks) = (Collector::new(component, renderers, findings), hooks::Hooks::default());
    let take = |collector: &mut Collector<'_>, value: Value, origin: &Origin| {
        let found = secrets.map(|secrets| secrets.find(&value)).unwrap_or_default();
        collector.take(value, &found, origin)
    };
    let mut reader = yaml::Reader::new(yaml::Twice::LastCounts, renderers.bounds.values);
    for document in yaml::split(text) {
        let document = document.map_err(unreadable)?;
        let file: Arc<str> = source(component, document).into();
        let read = reader.read(document.as_bytes(), &format!("{file} (rendered)"));
        for (value, _) in collector.findings.keep(read).unwrap_or_default() {
            // Lines of the output are nobody's: the template is where a person looks.
            let origin = Origin { file: Arc::clone(&file), line: 0 };
            if let Some(value) = hooks.keep(value, &origin) {
                take(&mut collector, value, &origin)?;
            }
        }
    }
    let (taken, warnings) = hooks.end();
    taken.into_iter().try_for_each(|(value, origin)| take(&mut collector, value, &origin))?;
    Ok((collector.into_manifests(), warnings))
}

/// The template of a document: its path in the repository.
fn source(component: &Component, document: &str) -> String {
    let named = document.lines().find_map(|line| line.strip_prefix("# Source: "));
    match named.and_then(|path| path.split_once('/')) {
        Some((_, path)) => format!("{}/{}", component.path, printable(path.trim(), 200)),
        None => component.path.to_string(),
    }
}
