//! Which files a kustomization refers to, directly and through what it refers to.
//!
//! Follows every field of a kustomization that names a file or directory (kustomize 5.8), and the fields of built-in
//! generators and transformers that do. Reads nothing but kustomizations and the configuration of plugins.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use tk8s_core::{Origin, SourceTree, TreeEntry, TreePath};

use crate::component::KUSTOMIZATIONS;
use crate::findings::Findings;
use crate::place::{Places, line_of, refused, resolve};
use crate::sops::kustomize::Role;
use crate::{Error, yaml};

/// The largest kustomization that is read.
const LARGEST: u64 = 1024 * 1024;
/// Files and directories of a closure: more than any kustomization that a person wrote.
const MOST: usize = 10_000;

/// The files of a kustomization, sorted, and what each is used for; or everything that is wrong with what it and its bases name.
pub(super) fn of(tree: &dyn SourceTree, directory: &TreePath) -> Result<BTreeMap<TreePath, Role>, Error> {
    let walker = follow(tree, directory);
    walker.findings.end()?;
    Ok(walker.files)
}

/// The files that can be found, whatever is wrong with the others.
pub(super) fn found(tree: &dyn SourceTree, directory: &TreePath) -> BTreeSet<TreePath> {
    follow(tree, directory).files.into_keys().collect()
}

fn follow<'a>(tree: &'a dyn SourceTree, directory: &TreePath) -> Walker<'a> {
    let (files, seen) = (BTreeMap::new(), BTreeSet::new());
    let mut walker = Walker { tree, places: Places::new(tree), files, seen, left: Vec::new(), findings: Findings::default() };
    walker.left.push(directory.clone());
    // A list of what is left, not recursion: a chain of bases may be as long as it likes.
    while let Some(next) = walker.left.pop() {
        if walker.seen.insert(next.clone()) {
            let followed = walker.kustomization(&next);
            if let Err(limit) = walker.findings.pass(followed) {
                walker.findings.note(limit);
                break;
            }
        }
    }
    walker
}

struct Walker<'a> {
    tree: &'a dyn SourceTree,
    places: Places<'a>,
    files: BTreeMap<TreePath, Role>,
    seen: BTreeSet<TreePath>,
    left: Vec<TreePath>,
    findings: Findings,
}

/// A file that names others.
struct Naming<'a> {
    directory: &'a TreePath,
    path: TreePath,
    text: String,
}

impl Naming<'_> {
    fn at(&self, text: &str) -> Origin {
        // Of a text with several lines, the first is enough to find it.
        let first = text.lines().next().unwrap_or_default();
        Origin { file: self.path.as_str().into(), line: line_of(&self.text, first) }
    }

    fn refuse(&self, text: &str, why: impl Into<String>) -> Error {
        refused(self.at(text), text, why)
    }
}

impl<'a> Walker<'a> {
    /// Follows each, and notes what is refused.
    fn each<T>(&mut self, all: impl Iterator<Item = T>, follow: impl Fn(&mut Self, T) -> Result<(), Error>) -> Result<(), Error> {
        for one in all {
            let followed = follow(self, one);
            self.findings.pass(followed)?;
        }
        Ok(())
    }

    /// Reads the kustomization of a directory and takes what it names.
    fn kustomization(&mut self, directory: &TreePath) -> Result<(), Error> {
        let entries = self.places.list(directory)?.to_vec();
        let mut found = Vec::new();
        for entry in entries.iter().filter(|entry| KUSTOMIZATIONS.contains(&entry.name())) {
            let path = directory.join(entry.name())?;
            if let TreeEntry::Other(_, what) = entry {
                return Err(Error::NotAFile { path, what });
            }
            // Several are refused by the program itself.
            self.add(path.clone(), Role::Kustomization)?;
            found.push(path);
        }
        let Some(path) = found.into_iter().next() else {
            let origin = Origin { file: directory.to_string().into(), line: 0 };
            return Err(refused(origin, "no kustomization", "a directory that is built needs a `kustomization.yaml`"));
        };
        let (naming, documents) = self.read(directory, path)?;
        let [(Value::Object(fields), _)] = documents.as_slice() else {
            let origin = Origin { file: naming.path.as_str().into(), line: 1 };
            return Err(Error::Yaml { origin, problem: "a kustomization is one map of fields".into() });
        };
        for (name, value) in fields {
            let followed = self.field(&naming, name, value);
            self.findings.pass(followed)?;
        }
        Ok(())
    }

    fn read<'b>(&self, directory: &'b TreePath, path: TreePath) -> Result<(Naming<'b>, Vec<(Value, Origin)>), Error> {
        let bytes = self.tree.read(&path, LARGEST)?;
        let documents = yaml::read(&bytes, path.as_str())?;
        Ok((Naming { directory, path, text: String::from_utf8_lossy(&bytes).into_owned() }, documents))
    }

    /// One field of a kustomization.
    fn field(&mut self, naming: &Naming<'_>, name: &str, value: &Value) -> Result<(), Error> {
        match name {
            "resources" => self.each(texts(naming, name, value)?, |walker, text| walker.file_or_directory(naming, text)),
            "bases" | "components" => self.each(texts(naming, name, value)?, |walker, text| walker.directory(naming, text)),
            "configurations" | "crds" => {
                self.each(texts(naming, name, value)?, |walker, text| walker.file(naming, text, Role::Fields))
            }
            "patchesStrategicMerge" => self.each(texts(naming, name, value)?, |walker, text| walker.file_or_inline(naming, text)),
            "generators" | "transformers" | "validators" => {
                self.each(texts(naming, name, value)?, |walker, text| walker.plugin(naming, text))
            }
            "patches" | "patchesJson6902" | "replacements" => {
                self.each(items(value), |walker, item| walker.path_in(naming, item))
            }
            "openapi" => self.path_in(naming, value),
            "configMapGenerator" | "secretGenerator" => self.each(items(value), |walker, item| walker.sources(naming, item)),
            "helmCharts" | "helmGlobals" | "helmChartInflationGenerator" => {
                Err(naming.refuse(name, "a kustomization can't run Helm here: make the chart a component of `kind: helm`"))
            }
            _ => Ok(()),
        }
    }

    /// `path` of a patch, replacement or schema.
    fn path_in(&mut self, naming: &Naming<'_>, item: &Value) -> Result<(), Error> {
        match item.get("path") {
            None | Some(Value::Null) => Ok(()),
            Some(Value::String(text)) if text.is_empty() => Ok(()),
            Some(Value::String(text)) => self.file(naming, text, Role::Fields),
            Some(_) => Err(naming.refuse("path", "it has to be one text: put it in quotes")),
        }
    }

    /// `files`, `envs` and `env` of a generator. A file may have a key before it: `key=path`.
    fn sources(&mut self, naming: &Naming<'_>, item: &Value) -> Result<(), Error> {
        if let Some(files) = item.get("files") {
            let paths = texts(naming, "files", files)?.map(|text| text.split_once('=').map_or(text, |(_, path)| path));
            self.each(paths, |walker, path| walker.file(naming, path, Role::Whole))?;
        }
        if let Some(envs) = item.get("envs") {
            self.each(texts(naming, "envs", envs)?, |walker, text| walker.file(naming, text, Role::Variables))?;
        }
        match item.get("env") {
            Some(Value::String(text)) if !text.is_empty() => self.file(naming, text, Role::Variables),
            _ => Ok(()),
        }
    }

    /// The configuration of generators, transformers or validators: inline, in a file, or a kustomization of them.
    fn plugin(&mut self, naming: &Naming<'_>, text: &str) -> Result<(), Error> {
        if let Some(documents) = inline(text) {
            return self.each(documents.iter(), |walker, document| walker.configuration(naming, document));
        }
        let path = self.locate(naming, text)?;
        if !matches!(self.places.at(&path)?, Some(TreeEntry::File(_))) {
            return self.file_or_directory(naming, text);
        }
        self.file(naming, text, Role::Fields)?;
        // What the file names is named relative to the kustomization.
        let (inner, documents) = self.read(naming.directory, path)?;
        self.each(documents.iter(), |walker, (document, _)| walker.configuration(&inner, document))
    }

    /// One plugin: only what is built into kustomize runs.
    fn configuration(&mut self, naming: &Naming<'_>, document: &Value) -> Result<(), Error> {
        let kind = document.get("kind").and_then(Value::as_str).unwrap_or_default();
        let annotations = document.pointer("/metadata/annotations").and_then(Value::as_object);
        let function = |name: &&String| ["config.kubernetes.io/function", "config.k8s.io/function"].contains(&name.as_str());
        if let Some(name) = annotations.and_then(|annotations| annotations.keys().find(function)) {
            let why = "functions (exec, container, Starlark) are never run: use what is built into kustomize";
            return Err(naming.refuse(name, why));
        }
        if document.get("apiVersion").and_then(Value::as_str) != Some("builtin") {
            return Err(naming.refuse(kind, "only plugins with `apiVersion: builtin` are run: others are programs of their own"));
        }
        if kind == "HelmChartInflationGenerator" {
            return self.field(naming, "helmCharts", document);
        }
        self.path_in(naming, document)?;
        self.sources(naming, document)?;
        if let Some(paths) = document.get("paths") {
            self.each(texts(naming, "paths", paths)?, |walker, text| walker.file_or_inline(naming, text))?;
        }
        let replacements = document.get("replacements").into_iter().flat_map(items);
        self.each(replacements, |walker, item| walker.path_in(naming, item))
    }

    fn file_or_inline(&mut self, naming: &Naming<'_>, text: &str) -> Result<(), Error> {
        if inline(text).is_some() { Ok(()) } else { self.file(naming, text, Role::Fields) }
    }

    fn file_or_directory(&mut self, naming: &Naming<'_>, text: &str) -> Result<(), Error> {
        let path = self.locate(naming, text)?;
        match self.places.at(&path)? {
            Some(TreeEntry::Directory(_)) => self.directory(naming, text),
            _ => self.file(naming, text, Role::Fields),
        }
    }

    /// A directory with a kustomization of its own: anywhere in the repository.
    fn directory(&mut self, naming: &Naming<'_>, text: &str) -> Result<(), Error> {
        let path = self.locate(naming, text)?;
        match self.places.at(&path)? {
            Some(TreeEntry::Directory(_)) => {
                self.left.push(path);
                Ok(())
            }
            found => Err(self.unfit(naming, text, found, "a directory")),
        }
    }

    /// A file: below the kustomization that names it, as kustomize's load restrictor wants it.
    fn file(&mut self, naming: &Naming<'_>, text: &str, role: Role) -> Result<(), Error> {
        let path = self.locate(naming, text)?;
        let inside = naming.directory.is_root() || path.as_str().starts_with(&format!("{}/", naming.directory.as_str()));
        if !inside {
            let why = "kustomize reads files below the kustomization only: give the file's directory a kustomization of its own, \
                       and name that directory";
            return Err(naming.refuse(text, why));
        }
        match self.places.at(&path)? {
            Some(TreeEntry::File(_)) => self.add(path, role),
            found => Err(self.unfit(naming, text, found, "a file")),
        }
    }

    fn locate(&self, naming: &Naming<'_>, text: &str) -> Result<TreePath, Error> {
        if is_remote(text) {
            return Err(naming.refuse(text, "nothing is fetched while rendering: copy it into the repository, and name it there"));
        }
        resolve(naming.directory, text).map_err(|why| naming.refuse(text, why))
    }

    fn unfit(&self, naming: &Naming<'_>, text: &str, found: Option<TreeEntry>, needed: &str) -> Error {
        let found = match found {
            None => "it does not exist in the repository".to_owned(),
            Some(TreeEntry::File(_)) => "it is a file".into(),
            Some(TreeEntry::Directory(_)) => "it is a directory".into(),
            Some(TreeEntry::Other(_, what)) => format!("it is {what}, which is never followed"),
        };
        naming.refuse(text, format!("{found}, and {needed} is needed"))
    }

    fn add(&mut self, path: TreePath, role: Role) -> Result<(), Error> {
        match self.files.entry(path) {
            Entry::Vacant(place) => _ = place.insert(role),
            Entry::Occupied(mut known) if *known.get() != role => _ = known.insert(Role::Several),
            Entry::Occupied(_) => {}
        }
        if self.files.len() > MOST {
            let found = self.files.len() as u64;
            return Err(Error::TooMuch { what: "files of a kustomization".into(), found, limit: MOST as u64 });
        }
        Ok(())
    }
}

/// What upstream would fetch: a URL, or one of the short forms for Git hosts.
fn is_remote(text: &str) -> bool {
    let hosts = ["github.com/", "github.com:", "gitlab.com/", "bitbucket.org/", "dev.azure.com/", "gh:", "git::"];
    let address = text.split('/').next().unwrap_or_default();
    text.contains("://")
        || hosts.iter().any(|host| text.to_ascii_lowercase().starts_with(host))
        || (address.contains('@') && address.contains(':'))
        || ["?ref=", "?version=", "?submodules=", "?timeout=", "_git/"].iter().any(|mark| text.contains(mark))
        || text.find(".git/").is_some_and(|at| at > 0 && !text[..at].ends_with('/'))
        || text.ends_with(".git")
}

/// The documents of a text that is YAML itself, and not a path.
fn inline(text: &str) -> Option<Vec<Value>> {
    let documents = yaml::read(text.as_bytes(), "inline").ok()?;
    let all = documents.iter().all(|(value, _)| value.get("kind").is_some());
    (all && !documents.is_empty()).then(|| documents.into_iter().map(|(value, _)| value).collect())
}

fn items(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

/// A list of texts; anything else in it would be read differently by kustomize than by us.
fn texts<'v>(naming: &Naming<'_>, field: &str, value: &'v Value) -> Result<impl Iterator<Item = &'v str> + use<'v>, Error> {
    let texts: Option<Vec<&str>> = match value {
        Value::Null => Some(Vec::new()),
        Value::Array(items) => items.iter().map(Value::as_str).collect(),
        _ => None,
    };
    match texts {
        Some(texts) => Ok(texts.into_iter()),
        None => Err(naming.refuse(field, "it has to be a list of texts: put them in quotes")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::WorkingDirectory;

    proptest::proptest! {
        #[test]
        fn no_text_makes_the_closure_panic_or_leave_the_tree(
            text in "((resources|bases|components|patches|patchesStrategicMerge|configMapGenerator|generators|openapi|replacements): |- |\\[|\\]|\\{|\\}|path: |files: |envs: |\\.\\./|\\./|a|b/|/|=|:|//|\\?ref=|@|'|\"|\n|  |kind: x\n|\\|-\n){0,40}",
        ) {
            let directory = tempfile::tempdir().unwrap();
            for path in ["a/kustomization.yaml", "a/a", "b/kustomization.yaml", "b/b"] {
                let place = directory.path().join("tree").join(path);
                std::fs::create_dir_all(place.parent().unwrap()).unwrap();
                std::fs::write(place, &text).unwrap();
            }
            std::fs::write(directory.path().join("outside"), "").unwrap();
            let tree = WorkingDirectory::new(&directory.path().join("tree"));
            if let Ok(files) = of(&tree, &"a".parse().unwrap()) {
                assert!(files.keys().all(|path| tree.read(path, LARGEST).is_ok()), "{files:?}");
            }
        }
    }
}
