//! Kustomizations, built by the upstream program from exactly the files that they refer to.
//!
//! The closure of references ([`closure`]) is computed here and written into a private directory; the program sees nothing
//! else. So the identity of the closure is the identity of everything that can decide the result, and a file that the
//! closure missed fails the build instead of going stale. Upstream's own load restrictor stays on.
//!
//! Never fetches: remote bases, and whatever would start another program, are refused by name.

mod closure;

use std::collections::BTreeSet;
use std::sync::Arc;

use tk8s_core::{Manifest, Origin, SourceTree, TreePath};

use crate::collect::Collector;
use crate::findings::Findings;
use crate::launcher::{Private, Task};
use crate::place::refused;
use crate::sops::{Placeholders, kustomize as sops, looks_encrypted};
use crate::{Component, Error, Renderers, yaml};

const PROGRAM: &str = "kustomize";
/// What the program is told beside the directory.
const FLAGS: [&str; 3] = ["build", "--load-restrictor", "LoadRestrictionsRootOnly"];
/// Where the tree is in the private directory: a component may refer to what is beside it.
const TREE: &str = "tree";

/// The identity of the closure and of the program.
pub(crate) fn identity(tree: &dyn SourceTree, component: &Component, renderers: &Renderers) -> Result<Option<String>, Error> {
    let program = renderers.programs.find(PROGRAM)?;
    let Some(files) = files(tree, component)? else { return Ok(None) };
    Ok(Some(format!("{PROGRAM} {} {FLAGS:?}\n{files}", program.digest)))
}

/// The identities of all files of the closure.
pub(crate) fn files(tree: &dyn SourceTree, component: &Component) -> Result<Option<String>, Error> {
    let mut files = String::new();
    for path in closure::of(tree, &component.path)?.into_keys() {
        let Some(id) = tree.identity(&path)? else { return Ok(None) };
        files.push_str(&format!("{id} {path}\n"));
    }
    Ok(Some(files))
}

/// The files that a kustomization is found to refer to.
pub(crate) fn named(tree: &dyn SourceTree, component: &Component) -> BTreeSet<TreePath> {
    closure::found(tree, &component.path)
}

/// The objects of a kustomization. Encrypted files are veiled on the way in, and their values put back on the way out.
pub(crate) fn manifests(
    tree: &dyn SourceTree,
    component: &Component,
    renderers: &Renderers,
    findings: &mut Findings,
) -> Result<Vec<Manifest>, Error> {
    let program = renderers.programs.find(PROGRAM)?;
    let closure = closure::of(tree, &component.path)?;
    let directory = renderers.launcher.directory()?;
    let mut placeholders = Placeholders::default();
    let mut cutting = None;
    materialise(tree, component, renderers, closure.keys(), &directory, |path, bytes| {
        if looks_encrypted(&bytes) {
            return sops::veiled(&bytes, path.as_str(), closure[path], &renderers.keys, &mut placeholders);
        }
        let found = sops::cutting_delimiter(&bytes, path.as_str()).map(|delimiter| (path.clone(), delimiter));
        cutting = cutting.take().or(found);
        Ok(bytes)
    })?;
    if let (Some((path, delimiter)), false) = (cutting, placeholders.is_empty()) {
        let why = "beside encrypted files a replacement can't be cut at letters or digits: choose another delimiter";
        return Err(refused(Origin { file: path.as_str().into(), line: 0 }, &format!("delimiter `{delimiter}`"), why));
    }
    let mut arguments: Vec<_> = FLAGS.iter().map(Into::into).collect();
    arguments.push(format!("{TREE}/{}", component.path.as_str()).into());
    let task =
        Task { component: &component.name, name: PROGRAM, program: &program.path, arguments, directory: &directory, input: None };
    let output = renderers.launcher.run(&task)?;
    // Lines of the output are nobody's: the kustomization is where a person looks.
    let name = closure.keys().find(|path| is_kustomization_of(&component.path, path)).unwrap_or(&component.path);
    let origin = Origin { file: Arc::from(name.as_str()), line: 0 };
    let mut collector = Collector::new(component, renderers, findings);
    let mut reader = yaml::Reader::new(yaml::Twice::Refused, renderers.bounds.values);
    for (mut value, _) in reader.read(&output, &format!("{name} (built)"))? {
        let secrets = match placeholders.is_empty() {
            true => Vec::new(),
            false => placeholders.put_back(&mut value).map_err(|problem| Error::Sealed { origin: origin.clone(), problem })?,
        };
        collector.take(value, &secrets, &origin)?;
    }
    Ok(collector.into_manifests())
}

fn is_kustomization_of(directory: &TreePath, path: &TreePath) -> bool {
    crate::component::KUSTOMIZATIONS.iter().any(|name| directory.join(name).is_ok_and(|found| found == *path))
}

/// Writes files of the tree, and nothing but files, into the private directory, each as `veil` lets it be seen.
pub(crate) fn materialise<'a>(
    tree: &dyn SourceTree,
    component: &Component,
    renderers: &Renderers,
    paths: impl Iterator<Item = &'a TreePath>,
    directory: &Private,
    mut veil: impl FnMut(&TreePath, Vec<u8>) -> Result<Vec<u8>, Error>,
) -> Result<(), Error> {
    let mut total = 0;
    for path in paths {
        let bytes = tree.read(path, renderers.bounds.file)?;
        total += bytes.len() as u64;
        if total > renderers.bounds.files {
            let what = format!("bytes in `{}` and what it refers to", component.path);
            return Err(Error::TooMuch { what, found: total, limit: renderers.bounds.files });
        }
        directory.write(TREE, path, &veil(path, bytes)?)?;
    }
    Ok(())
}
