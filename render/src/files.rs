//! From a component's directory to its objects.

use std::collections::BTreeMap;
use std::sync::Arc;

use globset::{Glob, GlobSet, GlobSetBuilder};
use serde_json::{Value, json};
use tk8s_core::{Hook, LayerId, Manifest, ObjectKey, Origin, Placed, SourceTree, TreeEntry, TreePath, printable};

use crate::collect::Collector;
use crate::component::{CHART, KUSTOMIZATIONS};
use crate::findings::Findings;
use crate::scope::{Scope, Scopes};
use crate::sops::{self, AgeKeys};
use crate::{Bounds, Component, Error, Kind, Placement, Renderers, Warning, helm, kind, kustomize, yaml};

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
    pub warnings: Vec<Warning>,
}

/// Every object of a component, with its layer, in the order in which its directory gives them; or everything that is
/// wrong with it.
pub(crate) fn objects(tree: &dyn SourceTree, component: &Component, renderers: &Renderers) -> Result<Objects, Error> {
    let mut findings = Findings::default();
    let read = match kind(tree, component)? {
        Kind::Yaml => plain(tree, component, renderers, &mut findings).map(|manifests| (manifests, Vec::new())),
        Kind::Kustomize => {
            kustomize::manifests(tree, component, renderers, &mut findings).map(|manifests| (manifests, Vec::new()))
        }
        Kind::Helm => helm::manifests(tree, component, renderers, &mut findings),
    };
    let (manifests, warnings) = findings.keep(read).unwrap_or_default();
    let mut manifests = in_namespaces(component, manifests, &mut findings);
    if let Some(own) = &renderers.own {
        // Whatever a file calls so, the two are twins.
        let trial = manifests.iter().find(|manifest| own.is(manifest.key())).and_then(tk8s_core::trial);
        manifests.extend(trial);
    }
    if manifests.is_empty() && findings.count() == 0 {
        return Err(Error::Empty(component.path.clone()));
    }
    note_twins(&manifests, &mut findings);
    note_no_hooks(&manifests, &mut findings);
    let placed = place(component, manifests, &mut findings);
    findings.end()?;
    Ok(Objects { placed, warnings })
}

/// The manifests of a directory, sorted by file and place in it.
fn plain(
    tree: &dyn SourceTree,
    component: &Component,
    renderers: &Renderers,
    findings: &mut Findings,
) -> Result<Vec<Manifest>, Error> {
    let (include, exclude) = (globs(&component.include, findings), globs(&component.exclude, findings));
    if findings.count() > 0 {
        // Nobody knows which files are meant.
        return Ok(Vec::new());
    }
    let collector = Collector::new(component, renderers, findings);
    let mut reader = Reader {
        tree,
        component,
        include,
        exclude,
        entries: Entries::default(),
        bytes: 0,
        yaml: yaml::Reader::new(yaml::Twice::Refused, renderers.bounds.values),
        bounds: renderers.bounds,
        keys: &renderers.keys,
        collector,
    };
    reader.walk(&component.path, 0)?;
    Ok(reader.collector.into_manifests())
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
    bounds: Bounds,
    keys: &'a AgeKeys,
    collector: Collector<'a>,
}

fn globs(patterns: &[String], findings: &mut Findings) -> Option<GlobSet> {
    let mut set = GlobSetBuilder::new();
    for pattern in patterns {
        if let Some(glob) = findings.keep(Glob::new(pattern).map_err(|_| Error::Glob(printable(pattern, 80)))) {
            set.add(glob);
        }
    }
    let set = findings.keep(set.build().map_err(|_| Error::Glob(printable(&patterns.join(" "), 80))));
    set.filter(|_| !patterns.is_empty())
}

fn is_manifest(name: &str) -> bool {
    [".yaml", ".yml", ".json"].iter().any(|ending| name.ends_with(ending))
}

impl Reader<'_> {
    /// Reads what is below a directory. An error is a limit of the component as a whole; anything else is noted.
    fn walk(&mut self, directory: &TreePath, depth: usize) -> Result<(), Error> {
        if depth > DEEPEST {
            return Err(Error::TooMuch {
                what: format!("directories below each other in `{directory}`"),
                found: depth as u64,
                limit: DEEPEST as u64,
            });
        }
        let listed = self.tree.list(directory).map_err(Error::from);
        let Some(entries) = self.collector.findings.keep(listed) else { return Ok(()) };
        let mut wanted = Vec::with_capacity(entries.len());
        for entry in entries {
            self.entries.one_more(&self.component.path)?;
            let name = entry.name();
            if name.starts_with('.') || (directory == &self.component.path && name == PLATFORM_FILE) {
                continue;
            }
            let Some(path) = self.collector.findings.keep(directory.join(name).map_err(Error::from)) else { continue };
            if self.wanted(&path, matches!(entry, TreeEntry::Directory(_))) {
                wanted.push((path, entry));
            }
        }
        if let Some(nested) = wanted.iter().find_map(|(path, entry)| nested(path, entry)) {
            // What is beside it is written for another program, and would only be misread.
            self.collector.findings.note(nested);
            return Ok(());
        }
        for (path, entry) in wanted {
            match entry {
                TreeEntry::Directory(_) => self.walk(&path, depth + 1)?,
                TreeEntry::File(name) if is_manifest(&name) => self.read(&path)?,
                // Without an ending it may be a directory of manifests.
                TreeEntry::Other(name, what) if is_manifest(&name) || !name.contains('.') => {
                    self.collector.findings.note(Error::NotAFile { path, what });
                }
                TreeEntry::File(_) | TreeEntry::Other(..) => {}
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
        let read = self.tree.read(path, self.bounds.file).map_err(Error::from);
        let Some(bytes) = self.collector.findings.keep(read) else { return Ok(()) };
        self.bytes += bytes.len() as u64;
        if self.bytes > self.bounds.files {
            let what = format!("bytes in `{}`", self.component.path);
            return Err(Error::TooMuch { what, found: self.bytes, limit: self.bounds.files });
        }
        let (mut documents, before) = (Vec::new(), self.collector.findings.count());
        let Reader { component, yaml, collector, .. } = self;
        yaml.read_each(&bytes, path.as_str(), |document| {
            documents.extend(collector.findings.keep(document));
            collector.findings.bound(&component.path)
        })?;
        if sops::has_metadata(documents.iter().map(|(value, _)| value)) {
            drop(documents);
            // Of an encrypted file a part says nothing.
            let whole = self.collector.findings.count() == before;
            return if whole { self.decrypt(&bytes, path) } else { Ok(()) };
        }
        documents.into_iter().try_for_each(|(value, origin)| self.take(value, &[], &origin))
    }

    /// The documents of a file that SOPS encrypted.
    fn decrypt(&mut self, bytes: &[u8], path: &TreePath) -> Result<(), Error> {
        let opened = sops::open_documents(bytes, path.as_str(), self.keys).and_then(|opened| sops::documents(&opened));
        let documents = self.collector.findings.keep(opened).unwrap_or_default();
        documents.into_iter().try_for_each(|found| self.take(found.value, &found.secrets, &found.origin))
    }

    fn take(&mut self, value: Value, secrets: &[String], origin: &Origin) -> Result<(), Error> {
        self.collector.take(value, secrets, origin)?;
        self.collector.findings.bound(&self.component.path)
    }
}

/// Whether a file makes its directory the business of another program.
fn nested(path: &TreePath, entry: &TreeEntry) -> Option<Error> {
    let what = match entry {
        TreeEntry::File(name) if KUSTOMIZATIONS.contains(&name.as_str()) => "kustomization",
        TreeEntry::File(name) if name == CHART => "Helm chart",
        TreeEntry::File(name) if name == PLATFORM_FILE => "platform",
        _ => return None,
    };
    Some(Error::Nested { path: path.clone(), what })
}

/// The same objects, each in its namespace. Of kinds that only the API server knows the namespace is a guess, which
/// planning takes back where the kind turns out to be the cluster's.
fn in_namespaces(component: &Component, manifests: Vec<Manifest>, findings: &mut Findings) -> Vec<Manifest> {
    let known = Scopes::of(&manifests);
    let scopes: Vec<_> = manifests.iter().map(|manifest| known.scope(manifest.kind())).collect();
    let mut placed = Vec::with_capacity(manifests.len() + 1);
    for (manifest, scope) in manifests.into_iter().zip(scopes) {
        placed.push(match (scope, &component.namespace) {
            (Scope::Cluster, _) => manifest.without_namespace(),
            (_, Some(namespace)) => manifest.in_namespace(namespace),
            (Scope::Namespaced, None) if manifest.key().namespace.is_none() => {
                findings.note(Error::NoNamespace { origin: manifest.origin().clone(), key: manifest.key().to_string() });
                manifest
            }
            _ => manifest,
        });
    }
    if let (true, Some(namespace)) = (component.create_namespace, &component.namespace) {
        let key = ObjectKey { group: String::new(), kind: "Namespace".into(), namespace: None, name: namespace.clone() };
        if !placed.is_empty() && !placed.iter().any(|manifest| *manifest.key() == key) {
            let value = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}});
            let origin = Origin { file: Arc::from(format!("createNamespace of {}", component.name)), line: 0 };
            placed.extend(findings.keep(Manifest::new(value, origin).map_err(Error::from)));
        }
    }
    placed
}

fn note_twins(manifests: &[Manifest], findings: &mut Findings) {
    let mut seen: BTreeMap<&ObjectKey, &Origin> = BTreeMap::new();
    for manifest in manifests {
        let first = *seen.entry(manifest.key()).or_insert(manifest.origin());
        if !std::ptr::eq(first, manifest.origin()) {
            findings.note(Error::Twice {
                key: manifest.key().to_string(),
                first: first.clone(),
                second: manifest.origin().clone(),
            });
        }
    }
}

/// Notes what says that it is a hook and can't be one: when its turn comes it would be too late to find out.
fn note_no_hooks(manifests: &[Manifest], findings: &mut Findings) {
    for manifest in manifests {
        if let Err(problem) = Hook::of(manifest) {
            findings.note(Error::Hook { origin: manifest.origin().clone(), problem });
        }
    }
}

fn place(component: &Component, manifests: Vec<Manifest>, findings: &mut Findings) -> Vec<Placed> {
    if let Placement::Fixed(layer) = &component.layer {
        return manifests.into_iter().map(|manifest| Placed { layer: layer.clone(), manifest }).collect();
    }
    let mut own = Vec::with_capacity(manifests.len());
    let mut of_namespace = BTreeMap::new();
    for manifest in &manifests {
        let layer = match manifest.layer().map(str::parse::<LayerId>) {
            Some(Err(source)) => {
                findings.note(Error::Layer { origin: manifest.origin().clone(), source });
                None
            }
            read => read.and_then(Result::ok),
        };
        if let (Some(layer), "Namespace", "") = (&layer, manifest.kind().kind.as_str(), manifest.kind().group.as_str()) {
            of_namespace.insert(manifest.key().name.clone(), layer.clone());
        }
        own.push(layer);
    }
    let default = LayerId { number: 0, name: "default".into() };
    let inherited = |manifest: &Manifest| of_namespace.get(manifest.key().namespace.as_ref()?).cloned();
    let placed = manifests.into_iter().zip(own);
    let placed = placed.map(|(manifest, layer)| {
        let layer = layer.or_else(|| inherited(&manifest)).unwrap_or_else(|| default.clone());
        Placed { layer, manifest }
    });
    placed.collect()
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
        Component { namespace: namespace.map(String::from), ..crate::component::tests::component() }
    }

    fn keys(files: &[(&str, &str)], component: &Component) -> Result<Vec<String>, String> {
        let directory = directory(files);
        let preview = preview(&WorkingDirectory::new(directory.path()), component, &Renderers::new(Options::default()))
            .map_err(|error| tk8s_core::chain(&error))?;
        Ok(preview.objects().iter().map(|placed| format!("{}: {}", placed.layer, placed.manifest.key())).collect())
    }

    #[test]
    fn what_says_it_is_a_hook_and_can_not_be_one_is_refused_where_it_stands() {
        let hook = |kind: &str, when: &str| {
            format!("# A comment\n---\n{kind}metadata: {{name: h, namespace: ns, annotations: {{tk8s.io/hook: {when}}}}}\n")
        };
        let (map, job) = ("apiVersion: v1\nkind: ConfigMap\n", "apiVersion: batch/v1\nkind: Job\n");
        for (text, problem) in [
            (hook(map, "before-apply"), "b.yaml:2: ConfigMap ns/h: only a Job can be a hook"),
            (hook(job, "pre-sync"), "b.yaml:2: Job.batch ns/h: `pre-sync` is no hook: write `before-apply`"),
        ] {
            let refused = keys(&[("b.yaml", &text)], &component(None)).unwrap_err();
            assert!(refused.starts_with(problem), "{refused}");
        }
        assert_eq!(keys(&[("b.yaml", &hook(job, "on-failure"))], &component(None)).unwrap(), ["1-a: Job.batch ns/h"]);
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
    fn every_mistake_of_a_component_is_named_at_once_with_its_place() {
        let unnamed = MAP.replace("metadata: {name: NAME}", "metadata: {}");
        let layered = MAP.replace("{name: NAME}", "{name: d, namespace: ns, labels: {tk8s.io/layer: last}}");
        let annotated = MAP.replace("{name: NAME}", "{name: e, namespace: ns, annotations: {port: 80}}");
        let broken = format!("{unnamed}---\na: [\n---\n{}---\n\n\nb: }}\n", MAP.replace("NAME", "a"));
        let long = format!("# {}\n", "x".repeat(Bounds::default().file as usize));
        let place = directory(&[
            ("a.yaml", &broken),
            ("b.yaml", "\nkind: List\napiVersion: v1\nitems: 3\n"),
            ("d.yaml", &layered),
            ("e.yaml", &annotated),
            ("f.yaml", &annotated.replace("{port: 80}", "{port: '80'}")),
            ("g.yaml", &annotated.replace("{port: 80}", "{}")),
            ("k/kustomization.yaml", "resources: []"),
            ("k/patch.yaml", "only: a patch"),
            ("long.yaml", &long),
            ("p/tk8s.yaml", "kind: Platform"),
        ]);
        std::os::unix::fs::symlink("/etc/passwd", place.path().join("link.yaml")).unwrap();
        let by_label = Component { layer: Placement::ByLabel, ..component(None) };
        let renderers = Renderers::new(Options::default());
        let error = preview(&WorkingDirectory::new(place.path()), &by_label, &renderers).unwrap_err();
        let (found, more) = error.each();
        use tk8s_core::Classified as _;
        let found: Vec<_> = found.iter().map(|one| format!("{} {}", one.origin().unwrap(), one.reason())).collect();
        let expected = [
            "a.yaml:1 ManifestRefused",
            "a.yaml:5 YamlRefused",
            "a.yaml:6 NoNamespace",
            "a.yaml:13 YamlRefused",
            "b.yaml:1 YamlRefused",
            "d.yaml:1 LayerRefused",
            "e.yaml:1 ManifestRefused",
            "g.yaml:1 DuplicateObject",
            "k/kustomization.yaml Nested",
            "link.yaml NotAFile",
            "long.yaml FilesUnreadable",
            "p/tk8s.yaml Nested",
        ];
        assert_eq!((found, more), (expected.map(String::from).into(), 0));
    }

    #[test]
    fn every_glob_that_can_not_be_read_is_named() {
        let globs = Component { include: vec!["[".into(), "*.yaml".into()], exclude: vec!["{".into()], ..component(None) };
        let error = keys(&[("a.yaml", "x: [")], &globs).unwrap_err();
        assert_eq!(error, "2 findings: the glob `[` can't be read; the glob `{` can't be read");
    }

    #[test]
    fn a_limit_ends_the_search_and_is_told_with_what_was_found_before() {
        let place = directory(&[("a.yaml", "x: [")]);
        let deep = place.path().join(vec!["d"; DEEPEST + 1].join("/"));
        std::fs::create_dir_all(&deep).unwrap();
        std::fs::write(deep.join("z.yaml"), "y: [").unwrap();
        let error = preview(&WorkingDirectory::new(place.path()), &component(None), &Renderers::new(Options::default()));
        let error = error.unwrap_err().to_string();
        assert!(error.contains("a.yaml:") && error.contains("65, at most 64 are read") && !error.contains("z.yaml"), "{error}");
    }

    /// A file with a mistake was read once more, with all that a component may hold for itself.
    #[test]
    fn what_files_with_mistakes_hold_counts_like_that_of_others() {
        let large = "x".repeat(1024 * 1024);
        let aliases = "*x, ".repeat(10);
        let bomb = format!("{}data: {{a: &x \"{large}\"}}\nv: [{aliases}]\n---\na: [\n", MAP.replace("NAME", "a"));
        let names: Vec<_> = (0..5).map(|index| format!("f{index}.yaml")).collect();
        let files: Vec<_> = names.iter().map(|name| (name.as_str(), bomb.as_str())).collect();
        let error = keys(&files, &component(Some("ns"))).unwrap_err();
        assert!(error.starts_with("3 findings: f0.yaml:1: an object of 11534450 bytes"), "{error}");
        assert!(error.contains("f0.yaml:7: it is not YAML"), "{error}");
        assert!(error.contains("f1.yaml:5: its values take more than 25165824 bytes"), "{error}");
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
