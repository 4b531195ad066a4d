//! From a component's directory to its objects.

use std::collections::BTreeMap;
use std::sync::Arc;

use globset::{Glob, GlobSet, GlobSetBuilder};
use serde_json::{Value, json};
use tk8s_core::{LayerId, Manifest, ObjectKey, Origin, Placed, SourceTree, TreeEntry, TreePath};

use crate::component::{CHART, KUSTOMIZATIONS};
use crate::scope::{Scope, Scopes};
use crate::{Component, Error, Kind, Placement, Renderers, helm, kind, kustomize, yaml};

/// The largest file: more than ten times what an API server takes as one object.
pub(crate) const LARGEST_FILE: u64 = 16 * 1024 * 1024;
/// All files of a component together.
pub(crate) const LARGEST_COMPONENT: u64 = 64 * 1024 * 1024;
/// Objects of a component: ten times what one is measured with.
const MOST_OBJECTS: usize = 100_000;
/// Directories below each other.
const DEEPEST: usize = 64;
/// Files and directories that are looked at. A few trees that hold each other several times are small in Git and stand for
/// billions of paths.
const MOST_ENTRIES: usize = 100_000;
/// The platform's own file, which is no manifest.
const PLATFORM_FILE: &str = "tk8s.yaml";

/// What a component's directory gives.
pub(crate) struct Objects {
    /// Every object, with its layer.
    pub placed: Vec<Placed>,
    /// What people should know.
    pub warnings: Vec<String>,
}

/// Every object of a component, with its layer, in the order in which its directory gives them.
pub(crate) fn objects(tree: &dyn SourceTree, component: &Component, renderers: &Renderers) -> Result<Objects, Error> {
    let (manifests, warnings) = match kind(tree, component)? {
        Kind::Yaml => (plain(tree, component)?, Vec::new()),
        Kind::Kustomize => (kustomize::manifests(tree, component, renderers)?, Vec::new()),
        Kind::Helm => helm::manifests(tree, component, renderers)?,
    };
    let manifests = in_namespaces(component, manifests)?;
    if manifests.is_empty() {
        return Err(Error::Empty(component.path.clone()));
    }
    refuse_twins(&manifests)?;
    Ok(Objects { placed: place(component, manifests)?, warnings })
}

/// The manifests of a directory, sorted by file and place in it.
fn plain(tree: &dyn SourceTree, component: &Component) -> Result<Vec<Manifest>, Error> {
    let mut reader = Reader {
        tree,
        component,
        include: globs(&component.include)?,
        exclude: globs(&component.exclude)?,
        entries: Entries::default(),
        bytes: 0,
        yaml: yaml::Reader::new(yaml::Twice::Refused),
        manifests: Vec::new(),
    };
    reader.walk(&component.path, 0)?;
    Ok(reader.manifests)
}

/// How much of a directory has been looked at.
#[derive(Default)]
pub(crate) struct Entries(usize);

impl Entries {
    /// Counts one more.
    pub(crate) fn one_more(&mut self, of: &TreePath) -> Result<(), Error> {
        self.0 += 1;
        if self.0 > MOST_ENTRIES {
            let what = format!("files and directories in `{of}`");
            return Err(Error::TooMuch { what, found: self.0 as u64, limit: MOST_ENTRIES as u64 });
        }
        Ok(())
    }
}

struct Reader<'a> {
    tree: &'a dyn SourceTree,
    component: &'a Component,
    include: Option<GlobSet>,
    exclude: Option<GlobSet>,
    entries: Entries,
    bytes: u64,
    yaml: yaml::Reader,
    manifests: Vec<Manifest>,
}

fn globs(patterns: &[String]) -> Result<Option<GlobSet>, Error> {
    if patterns.is_empty() {
        return Ok(None);
    }
    let mut set = GlobSetBuilder::new();
    for pattern in patterns {
        set.add(Glob::new(pattern).map_err(|_| Error::Glob(tk8s_core::printable(pattern, 80)))?);
    }
    set.build().map(Some).map_err(|_| Error::Glob(patterns.join(" ")))
}

fn is_manifest(name: &str) -> bool {
    [".yaml", ".yml", ".json"].iter().any(|ending| name.ends_with(ending))
}

impl Reader<'_> {
    fn walk(&mut self, directory: &TreePath, depth: usize) -> Result<(), Error> {
        if depth > DEEPEST {
            return Err(Error::TooMuch {
                what: format!("directories below each other in `{directory}`"),
                found: depth as u64,
                limit: DEEPEST as u64,
            });
        }
        for entry in self.tree.list(directory)? {
            self.entries.one_more(&self.component.path)?;
            let name = entry.name();
            if name.starts_with('.') || (directory == &self.component.path && name == PLATFORM_FILE) {
                continue;
            }
            let path = directory.join(name)?;
            if !self.wanted(&path, matches!(entry, TreeEntry::Directory(_))) {
                continue;
            }
            match &entry {
                TreeEntry::Directory(_) => self.walk(&path, depth + 1)?,
                // Without an ending it may be a directory of manifests.
                TreeEntry::Other(name, what) if is_manifest(name) || !name.contains('.') => {
                    return Err(Error::NotAFile { path, what });
                }
                TreeEntry::Other(..) => {}
                TreeEntry::File(name) => match name.as_str() {
                    name if KUSTOMIZATIONS.contains(&name) => return Err(Error::Nested { path, what: "kustomization" }),
                    CHART => return Err(Error::Nested { path, what: "Helm chart" }),
                    name if is_manifest(name) => self.read(&path)?,
                    _ => {}
                },
            }
        }
        Ok(())
    }

    /// Whether the globs let a path pass. A directory passes unless it is excluded: what is included may be below it.
    fn wanted(&self, path: &TreePath, directory: bool) -> bool {
        let relative = path.as_str().strip_prefix(self.component.path.as_str()).unwrap_or(path.as_str()).trim_start_matches('/');
        if self.exclude.as_ref().is_some_and(|exclude| exclude.is_match(relative)) {
            return false;
        }
        directory || self.include.as_ref().is_none_or(|include| include.is_match(relative))
    }

    fn read(&mut self, path: &TreePath) -> Result<(), Error> {
        let bytes = self.tree.read(path, LARGEST_FILE)?;
        self.bytes += bytes.len() as u64;
        if self.bytes > LARGEST_COMPONENT {
            return Err(Error::TooMuch {
                what: format!("bytes in `{}`", self.component.path),
                found: self.bytes,
                limit: LARGEST_COMPONENT,
            });
        }
        for (value, origin) in self.yaml.read(&bytes, path.as_str())? {
            take(&self.component.path, value, &origin, &mut self.manifests)?;
        }
        Ok(())
    }
}

/// One document: an object, or a list of them, which is taken apart as kubectl does it: what says no kind takes that of its
/// list.
pub(crate) fn take(component: &TreePath, mut value: Value, origin: &Origin, manifests: &mut Vec<Manifest>) -> Result<(), Error> {
    let Some(of) = list_of(&value) else { return push(component, value, origin, manifests) };
    let version = value.get("apiVersion").and_then(Value::as_str).unwrap_or_default().to_owned();
    let refuse = |problem: &str| Error::Yaml { origin: origin.clone(), problem: format!("a list: {problem}") };
    let items = match value.get_mut("items").map(Value::take) {
        Some(Value::Array(items)) => items,
        Some(Value::Null) => return Ok(()),
        Some(_) => return Err(refuse("its `items` are no list")),
        None => return Err(refuse("it has neither `items` nor a name: write one of them")),
    };
    for mut item in items {
        if list_of(&item).is_some() {
            return Err(refuse("it holds another list, which kubectl refuses: write the items into one"));
        }
        if let Value::Object(fields) = &mut item
            && !of.is_empty()
            && !["apiVersion", "kind"].iter().any(|name| fields.contains_key(*name))
        {
            fields.insert("apiVersion".into(), version.as_str().into());
            fields.insert("kind".into(), of.as_str().into());
        }
        push(component, item, origin, manifests)?;
    }
    Ok(())
}

/// The kind of the items, if this is a list; empty where it holds any. With a name it is an object, of a kind that happens
/// to end like one.
fn list_of(value: &Value) -> Option<String> {
    let of = value.get("kind")?.as_str()?.strip_suffix("List")?;
    let named = value.get("metadata").is_some_and(|metadata| metadata.get("name").is_some());
    (of.is_empty() || !named).then(|| of.to_owned())
}

fn push(component: &TreePath, value: Value, origin: &Origin, manifests: &mut Vec<Manifest>) -> Result<(), Error> {
    manifests.push(Manifest::new(value, origin.clone())?);
    if manifests.len() > MOST_OBJECTS {
        let what = format!("objects in `{component}`");
        return Err(Error::TooMuch { what, found: manifests.len() as u64, limit: MOST_OBJECTS as u64 });
    }
    Ok(())
}

/// The same objects, each in its namespace. Of kinds that only the API server knows the namespace is a guess, which
/// planning takes back where the kind turns out to be the cluster's.
fn in_namespaces(component: &Component, manifests: Vec<Manifest>) -> Result<Vec<Manifest>, Error> {
    let known = Scopes::of(&manifests);
    let scopes: Vec<_> = manifests.iter().map(|manifest| known.scope(manifest.kind())).collect();
    let mut placed = Vec::with_capacity(manifests.len() + 1);
    for (manifest, scope) in manifests.into_iter().zip(scopes) {
        placed.push(match (scope, &component.namespace) {
            (Scope::Cluster, _) => manifest.without_namespace(),
            (_, Some(namespace)) => manifest.in_namespace(namespace),
            (Scope::Namespaced, None) if manifest.key().namespace.is_none() => {
                return Err(Error::NoNamespace { origin: manifest.origin().clone(), key: manifest.key().to_string() });
            }
            _ => manifest,
        });
    }
    if let (true, Some(namespace)) = (component.create_namespace, &component.namespace) {
        let key = ObjectKey { group: String::new(), kind: "Namespace".into(), namespace: None, name: namespace.clone() };
        if !placed.is_empty() && !placed.iter().any(|manifest| *manifest.key() == key) {
            let value = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}});
            placed.push(Manifest::new(
                value,
                Origin { file: Arc::from(format!("createNamespace of {}", component.name)), line: 0 },
            )?);
        }
    }
    Ok(placed)
}

fn refuse_twins(manifests: &[Manifest]) -> Result<(), Error> {
    let mut seen: BTreeMap<&ObjectKey, &Origin> = BTreeMap::new();
    for manifest in manifests {
        if let Some(first) = seen.insert(manifest.key(), manifest.origin()) {
            return Err(Error::Twice {
                key: manifest.key().to_string(),
                first: first.clone(),
                second: manifest.origin().clone(),
            });
        }
    }
    Ok(())
}

fn place(component: &Component, manifests: Vec<Manifest>) -> Result<Vec<Placed>, Error> {
    let read = |manifest: &Manifest| -> Result<Option<LayerId>, Error> {
        let Some(text) = manifest.layer() else { return Ok(None) };
        text.parse().map(Some).map_err(|source| Error::Layer { origin: manifest.origin().clone(), source })
    };
    if let Placement::Fixed(layer) = &component.layer {
        return Ok(manifests.into_iter().map(|manifest| Placed { layer: layer.clone(), manifest }).collect());
    }
    let mut of_namespace = BTreeMap::new();
    for manifest in manifests.iter().filter(|manifest| manifest.kind().kind == "Namespace" && manifest.kind().group.is_empty()) {
        if let Some(layer) = read(manifest)? {
            of_namespace.insert(manifest.key().name.clone(), layer);
        }
    }
    let default = LayerId { number: 0, name: "default".into() };
    let mut placed = Vec::with_capacity(manifests.len());
    for manifest in manifests {
        let inherited = || manifest.key().namespace.as_ref().and_then(|namespace| of_namespace.get(namespace).cloned());
        let layer = read(&manifest)?.or_else(inherited).unwrap_or_else(|| default.clone());
        placed.push(Placed { layer, manifest });
    }
    Ok(placed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Options, WorkingDirectory, preview};

    const MAP: &str = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: NAME}\n";

    fn directory(files: &[(&str, &str)]) -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = directory.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        directory
    }

    fn component(namespace: Option<&str>) -> Component {
        Component {
            name: "web".parse().unwrap(),
            layer: Placement::Fixed("1-a".parse().unwrap()),
            path: TreePath::root(),
            kind: None,
            include: Vec::new(),
            exclude: Vec::new(),
            helm: None,
            namespace: namespace.map(String::from),
            create_namespace: false,
        }
    }

    fn keys(files: &[(&str, &str)], component: &Component) -> Result<Vec<String>, String> {
        let directory = directory(files);
        let preview = preview(&WorkingDirectory::new(directory.path()), component, &Renderers::new(Options::default()))
            .map_err(|error| tk8s_core::chain(&error))?;
        Ok(preview.objects().iter().map(|placed| format!("{}: {}", placed.layer, placed.manifest.key())).collect())
    }

    #[test]
    fn files_are_read_in_order_with_lists_taken_apart() {
        let list = "kind: List\napiVersion: v1\nitems:\n- {apiVersion: v1, kind: Namespace, metadata: {name: ns}}\n- {apiVersion: v1, kind: Secret, metadata: {name: s}}\n";
        let a = MAP.replace("NAME", "a");
        let found = keys(
            &[("b.yml", list), ("a/x.yaml", &a), (".hidden/x.yaml", "nonsense: ["), ("README.md", "x"), ("tk8s.yaml", "x: [")],
            &component(Some("ns")),
        );
        assert_eq!(found.unwrap(), ["1-a: ConfigMap ns/a", "1-a: Namespace ns", "1-a: Secret ns/s"]);
    }

    #[test]
    fn globs_choose_files() {
        let (a, b, c) = (MAP.replace("NAME", "a"), MAP.replace("NAME", "b"), MAP.replace("NAME", "c"));
        let files = [("a.yaml", a.as_str()), ("sub/b.yaml", &b), ("test/c.yaml", &c)];
        let chosen = Component { include: vec!["**/*.yaml".into()], exclude: vec!["test/**".into()], ..component(Some("ns")) };
        assert_eq!(keys(&files, &chosen).unwrap(), ["1-a: ConfigMap ns/a", "1-a: ConfigMap ns/b"]);
    }

    #[test]
    fn what_would_be_missed_silently_is_refused() {
        let a = MAP.replace("NAME", "a");
        let table: &[(&[(&str, &str)], &str)] = &[
            (&[("a.yaml", &a)], "names no namespace"),
            (&[("x/kustomization.yaml", "resources: []")], "kustomization inside a component of plain manifests"),
            (&[("x/Chart.yaml", "name: x")], "Helm chart inside a component of plain manifests"),
            (&[("a.txt", "")], "holds no object"),
            (&[("a.yaml", "# nothing\n")], "holds no object"),
            (&[("a.yaml", "a: 1\n---\nb: [\n")], "a.yaml:"),
        ];
        for (files, word) in table {
            let error = keys(files, &component(None)).unwrap_err();
            assert!(error.contains(word), "{error}");
        }
        let twice = keys(&[("a.yaml", &a), ("b.yaml", &a)], &component(Some("ns"))).unwrap_err();
        assert_eq!(twice, "ConfigMap ns/a stands in a.yaml:1 and in b.yaml:1: keep one of them");
        let link = directory(&[("a.yaml", &a)]);
        std::os::unix::fs::symlink("/etc/passwd", link.path().join("b.yaml")).unwrap();
        let error = preview(&WorkingDirectory::new(link.path()), &component(Some("ns")), &Renderers::new(Options::default()))
            .err()
            .unwrap();
        assert!(error.to_string().contains("symbolic link"), "{error}");
        let missing = Component { path: "nowhere".parse().unwrap(), ..component(None) };
        assert!(keys(&[("a.yaml", &a)], &missing).unwrap_err().contains("`nowhere` does not exist"));
    }

    #[test]
    fn without_a_platform_file_objects_say_their_layer_or_their_namespace_does() {
        let text = "apiVersion: v1\nkind: Namespace\nmetadata: {name: ns, labels: {tk8s.io/layer: 2-services}}\n---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: a, namespace: ns}\n---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: b, namespace: ns, annotations: {tk8s.io/layer: 3-more}}\n---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: c, namespace: other}\n";
        let by_label = Component { layer: Placement::ByLabel, ..component(None) };
        assert_eq!(
            keys(&[("a.yaml", text)], &by_label).unwrap(),
            ["2-services: Namespace ns", "2-services: ConfigMap ns/a", "3-more: ConfigMap ns/b", "0-default: ConfigMap other/c"]
        );
        let bad = text.replace("2-services", "services");
        assert!(keys(&[("a.yaml", &bad)], &by_label).unwrap_err().contains("write a number"));
    }

    #[test]
    fn custom_kinds_follow_their_crd_and_unknown_ones_get_a_tentative_namespace() {
        let crd = "apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata: {name: things.example.com}\nspec: {group: example.com, scope: Cluster, names: {kind: Thing, plural: things}}\n---\napiVersion: example.com/v1\nkind: Thing\nmetadata: {name: t}\n---\napiVersion: other.com/v1\nkind: Odd\nmetadata: {name: o}\n";
        let found = keys(&[("a.yaml", crd)], &Component { create_namespace: true, ..component(Some("ns")) }).unwrap();
        assert_eq!(
            found,
            [
                "1-a: CustomResourceDefinition.apiextensions.k8s.io things.example.com",
                "1-a: Thing.example.com t",
                "1-a: Odd.other.com ns/o",
                "1-a: Namespace ns"
            ]
        );
    }
}
