//! Kustomizations, with the upstream program itself as the oracle.

#![allow(clippy::unwrap_used)]

mod support;

use std::collections::BTreeSet;

use support::{Repository, as_plain_manifests, component, renderers};
use tk8s_render::{Options, Renderers, WorkingDirectory, input, preview, render};

const DEPLOYMENT: &str = "apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: web, image: example.com/web:1}]}
";
const MAP: &str =
    "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: NAME}\ndata: {a: \"1\", yes: no, mode: 0644, day: 2024-01-02}\n";

/// Every field that names a file or directory, in one kustomization.
fn everything() -> Vec<(&'static str, String)> {
    let mut files: Vec<(&str, &str)> = vec![
        (
            "apps/web/kustomization.yaml",
            "apiVersion: kustomize.config.k8s.io/v1beta1
kind: Kustomization
namePrefix: x-
labels: [{pairs: {team: a}, includeSelectors: true}]
images: [{name: example.com/web, newTag: '2'}]
resources: [deployment.yaml, ./more/map.yaml, ../../bases/one, things]
components: [../../components/extra]
configurations: [names.yaml]
crds: [crd.json]
openapi: {path: schema.json}
patches:
- {path: patches/replicas.yaml}
- {path: patches/json.yaml, target: {kind: Deployment}}
- patch: '[{\"op\": \"add\", \"path\": \"/metadata/annotations\", \"value\": {\"inline\": \"yes\"}}]'
  target: {kind: ConfigMap, name: map}
configMapGenerator:
- {name: made, files: [config/a.txt, renamed=config/b.txt], envs: [config/c.env]}
secretGenerator:
- {name: hidden, files: [config/token], type: Opaque}
replacements:
- path: replacement.yaml
transformers:
- transformer.yaml
- |-
  apiVersion: builtin
  kind: AnnotationsTransformer
  metadata: {name: inline}
  annotations: {inline: \"true\"}
  fieldSpecs: [{path: metadata/annotations, create: true}]
generators: [generators]
",
        ),
        ("apps/web/deployment.yaml", DEPLOYMENT),
        ("apps/web/patches/replicas.yaml", "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web}\nspec: {replicas: 3}\n"),
        ("apps/web/patches/json.yaml", "- {op: add, path: /spec/paused, value: true}\n"),
        ("apps/web/patches/by-transformer.yaml", "- {op: add, path: /spec/minReadySeconds, value: 5}\n"),
        ("apps/web/config/a.txt", "a\n"),
        ("apps/web/config/b.txt", "b\n"),
        ("apps/web/config/c.env", "C=c\n"),
        ("apps/web/config/token", "secret\n"),
        ("apps/web/names.yaml", "namePrefix: [{path: metadata/name}]\n"),
        ("apps/web/crd.json", "{\"example.com/v1.Thing\": {\"Schema\": {\"properties\": {}}}}\n"),
        ("apps/web/schema.json", "{\"definitions\": {}}\n"),
        (
            "apps/web/replacement.yaml",
            "source: {kind: ConfigMap, name: map, fieldPath: data.a}\ntargets: [{select: {kind: Deployment}, fieldPaths: [spec.template.metadata.labels.from-map], options: {create: true}}]\n",
        ),
        (
            "apps/web/transformer.yaml",
            "apiVersion: builtin\nkind: PatchTransformer\nmetadata: {name: t}\npath: patches/by-transformer.yaml\ntarget: {kind: Deployment}\n",
        ),
        ("apps/web/generators/kustomization.yaml", "resources: [generator.yaml]\n"),
        (
            "apps/web/generators/generator.yaml",
            "apiVersion: builtin\nkind: ConfigMapGenerator\nmetadata: {name: g}\nname: generated\nliterals: [k=v]\n",
        ),
        ("apps/web/things/Kustomization", "resources: [thing.yaml]\n"),
        ("apps/web/things/thing.yaml", "apiVersion: example.com/v1\nkind: Thing\nmetadata: {name: t}\n"),
        (
            "bases/one/kustomization.yml",
            "resources: [map.yaml, ../two]\npatchesStrategicMerge: [merge.yaml]\npatchesJson6902: [{path: six.json, target: {version: v1, kind: ConfigMap, name: base}}]\n",
        ),
        ("bases/one/merge.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: base}\ndata: {merged: \"true\"}\n"),
        ("bases/one/six.json", "[{\"op\": \"add\", \"path\": \"/data/six\", \"value\": \"6\"}]\n"),
        ("bases/two/kustomization.yaml", "resources: [service.yaml]\n"),
        ("bases/two/service.yaml", "apiVersion: v1\nkind: Service\nmetadata: {name: two}\nspec: {ports: [{port: 80}]}\n"),
        (
            "components/extra/kustomization.yaml",
            "apiVersion: kustomize.config.k8s.io/v1alpha1\nkind: Component\nresources: [extra.yaml]\n",
        ),
    ];
    let mut owned: Vec<_> = files.drain(..).map(|(path, text)| (path, text.to_owned())).collect();
    for (path, name) in
        [("apps/web/more/map.yaml", "map"), ("bases/one/map.yaml", "base"), ("components/extra/extra.yaml", "extra")]
    {
        owned.push((path, MAP.replace("NAME", name)));
    }
    owned
}

fn repository(files: &[(&'static str, String)]) -> Repository {
    let files: Vec<_> = files.iter().map(|(path, text)| (*path, text.as_str())).collect();
    Repository::new(&files)
}

#[test]
fn a_kustomization_gives_what_kustomize_itself_gives() {
    let repository = repository(&everything());
    let web = component("apps/web");
    let (found, warnings) = repository.look(&web).unwrap();
    let expected = as_plain_manifests(&repository.upstream("kustomize", &["build", "apps/web"]), &web);
    assert!(found.len() >= 9, "{found:?}");
    assert_eq!(found, expected);
    assert_eq!(warnings, Vec::<String>::new());
}

#[test]
fn the_objects_come_from_the_kustomization_that_a_person_wrote() {
    let repository = repository(&everything());
    let preview = preview(&WorkingDirectory::new(&repository.path()), &component("apps/web"), &renderers()).unwrap();
    let origins: BTreeSet<_> = preview.objects().iter().map(|placed| placed.manifest.origin().to_string()).collect();
    assert_eq!(origins, ["apps/web/kustomization.yaml".to_owned()].into());
}

#[test]
fn every_file_of_the_closure_changes_the_input_and_no_other_file_does() {
    let files = everything();
    let repository = repository(&files);
    let others = ["apps/web/README.md", "apps/web/config/unused.txt", "bases/three/kustomization.yaml", "tk8s.yaml"];
    others.iter().for_each(|path| repository.write(path, "x: 1\n"));
    let (web, renderers) = (component("apps/web"), renderers());
    let now = |repository: &Repository| input(&*repository.commit(), &web, &renderers).unwrap().unwrap();
    let mut before = now(&repository);
    for (path, _) in &files {
        repository.append(path, "\n");
        let after = now(&repository);
        assert_ne!(before, after, "{path}");
        before = after;
    }
    for path in others {
        repository.append(path, "y: 2\n");
        assert_eq!(before, now(&repository), "{path}");
    }
    // Finding out starts nothing.
    assert!(renderers.started().is_empty());
}

#[test]
fn a_push_to_one_starts_one_child_a_shared_base_two_and_an_unchanged_tree_none() {
    let on_base = |name: &str| format!("namePrefix: {name}-\nresources: [own.yaml, ../base]\n");
    let repository = Repository::new(&[
        ("a/kustomization.yaml", &on_base("a")),
        ("a/own.yaml", &MAP.replace("NAME", "own")),
        ("b/kustomization.yaml", &on_base("b")),
        ("b/own.yaml", &MAP.replace("NAME", "own")),
        ("base/kustomization.yaml", "resources: [map.yaml]\n"),
        ("base/map.yaml", &MAP.replace("NAME", "base")),
    ]);
    let renderers = renderers();
    let mut known = std::collections::BTreeMap::new();
    let mut children = |repository: &Repository| {
        let before: u64 = renderers.started().values().sum();
        let tree = repository.commit();
        for component in [component("a"), component("b")] {
            let input = input(&*tree, &component, &renderers).unwrap().unwrap();
            if known.insert(component.name.clone(), input) != Some(input) {
                let rendered = render(&tree, &component, &renderers).unwrap();
                assert_eq!((rendered.parts().input, rendered.parts().objects.len()), (Some(input), 2));
            }
        }
        renderers.started().values().sum::<u64>() - before
    };
    assert_eq!(children(&repository), 2);
    assert_eq!(children(&repository), 0);
    repository.append("a/own.yaml", "# changed\n");
    assert_eq!(children(&repository), 1);
    repository.append("base/map.yaml", "# changed\n");
    assert_eq!(children(&repository), 2);
    repository.write("elsewhere/file.yaml", "x: 1\n");
    assert_eq!(children(&repository), 0);
}

#[test]
fn another_program_is_another_input() {
    let repository = Repository::new(&[("a/kustomization.yaml", "resources: []\n")]);
    let tree = repository.commit();
    let directory = tempfile::tempdir().unwrap();
    let program = directory.path().join("kustomize");
    let with = |bytes: &[u8]| {
        use std::os::unix::fs::PermissionsExt as _;
        std::fs::write(&program, bytes).unwrap();
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    };
    let renderers = Renderers::new(Options { kustomize: Some(program.clone()), ..Options::default() });
    with(b"one");
    let first = input(&*tree, &component("a"), &renderers).unwrap();
    with(b"other");
    assert_ne!(first, input(&*tree, &component("a"), &renderers).unwrap());
    with(b"one");
    assert_eq!(first, input(&*tree, &component("a"), &renderers).unwrap());
}

#[test]
fn what_would_be_fetched_or_started_is_refused_by_name_with_its_line() {
    let inline = "- |-\n  apiVersion: example.com/v1\n  kind: Odd\n  metadata: {name: x}\n";
    let function = "- |-\n  apiVersion: builtin\n  kind: X\n  metadata:\n    name: x\n    annotations:\n      config.kubernetes.io/function: |\n        exec: {path: ./evil}\n";
    let table = [
        (
            "resources:\n- a.yaml\n- https://example.com/x.yaml\n",
            "a/kustomization.yaml:3: https://example.com/x.yaml: nothing is fetched",
        ),
        (
            "resources:\n- github.com/org/repo//base?ref=v1\n",
            "a/kustomization.yaml:2: github.com/org/repo//base?ref=v1: nothing is fetched",
        ),
        ("resources: [\"git@example.com:org/repo\"]\n", "git@example.com:org/repo: nothing is fetched"),
        ("bases: [\"ssh://git@example.com/x\"]\n", "nothing is fetched"),
        ("components: [\"example.com/org/repo.git\"]\n", "nothing is fetched"),
        ("patches: [{path: \"http://example.com/p.yaml\"}]\n", "nothing is fetched"),
        ("openapi: {path: \"https://example.com/schema.json\"}\n", "nothing is fetched"),
        ("configMapGenerator: [{name: x, files: [\"k=https://example.com/k\"]}]\n", "nothing is fetched"),
        ("helmCharts: [{name: x, repo: \"https://example.com\"}]\n", "helmCharts: a kustomization can't run Helm here"),
        ("resources: [/etc/passwd]\n", "/etc/passwd: it is absolute"),
        ("configMapGenerator: [{name: x, files: [/etc/passwd]}]\n", "/etc/passwd: it is absolute"),
        ("resources: [../../outside]\n", "../../outside: it leaves the repository"),
        (
            "configMapGenerator: [{name: x, files: [../b/secret]}]\n",
            "../b/secret: kustomize reads files below the kustomization only",
        ),
        ("resources: [nowhere.yaml]\n", "a/kustomization.yaml:1: nowhere.yaml: it does not exist in the repository"),
        ("resources: [link.yaml]\n", "link.yaml: it is a symbolic link, which is never followed"),
        ("resources: [linked]\n", "linked: it is a symbolic link"),
        ("resources: [linked/secret]\n", "symbolic link"),
        ("resources: [.git/config]\n", "Git's own directory"),
        ("resources: [../b]\n", "b: no kustomization"),
        ("resources: [1]\n", "it has to be a list of texts"),
        ("components: [a.yaml]\n", "it is a file, and a directory is needed"),
        ("- a\n", "a kustomization is one map"),
        ("a: [\n", "a/kustomization.yaml:"),
    ];
    let repository = Repository::new(&[("a/a.yaml", &MAP.replace("NAME", "a")), ("b/secret", "x")]);
    std::os::unix::fs::symlink("/etc/passwd", repository.path().join("a/link.yaml")).unwrap();
    std::os::unix::fs::symlink("../b", repository.path().join("a/linked")).unwrap();
    let plugins = [
        (format!("transformers:\n{inline}"), "Odd: only plugins with `apiVersion: builtin` are run"),
        (
            format!("generators:\n{function}"),
            "config.kubernetes.io/function: functions (exec, container, Starlark) are never run",
        ),
        ("validators: [plugin.yaml]\n".to_owned(), "a/plugin.yaml:2: Odd: only plugins"),
    ];
    repository.write("a/plugin.yaml", "apiVersion: example.com/v1\nkind: Odd\nmetadata: {name: x}\n");
    for (text, expected) in table.map(|(text, expected)| (text.to_owned(), expected)).into_iter().chain(plugins) {
        repository.write("a/kustomization.yaml", &text);
        let error = repository.refusal(&component("a"));
        assert!(error.contains(expected), "{text}: {error}");
    }
}

#[test]
fn what_kustomize_itself_refuses_is_told_in_its_words_without_our_private_path() {
    let repository = Repository::new(&[
        ("a/kustomization.yaml", "resources: [a.yaml]\nunknownField: 1\n"),
        ("a/a.yaml", &MAP.replace("NAME", "a")),
    ]);
    let error = repository.refusal(&component("a"));
    assert!(error.starts_with("kustomize: ") && error.contains("unknownField") && !error.contains("render-"), "{error}");
}

#[test]
fn loops_of_bases_end_in_an_error() {
    let repository =
        Repository::new(&[("a/kustomization.yaml", "resources: [../b]\n"), ("b/kustomization.yaml", "resources: [../a]\n")]);
    assert!(repository.refusal(&component("a")).contains("cycle"), "{}", repository.refusal(&component("a")));
}

#[test]
fn a_missing_program_fails_only_what_needs_it_and_says_where_it_was_looked_for() {
    let repository = Repository::new(&[("a/kustomization.yaml", "resources: []\n"), ("b/b.yaml", &MAP.replace("NAME", "b"))]);
    let renderers = Renderers::new(Options { directories: vec!["/nowhere".into(), "/else".into()], ..Options::default() });
    let tree = repository.commit();
    let error = render(&tree, &component("a"), &renderers).unwrap_err().to_string();
    assert!(error.contains("`kustomize`") && error.contains("looked for `/nowhere/kustomize`, `/else/kustomize`"), "{error}");
    assert!(error.contains("`render.kustomize`"), "{error}");
    assert_eq!(render(&tree, &component("b"), &renderers).unwrap().parts().objects.len(), 1);
}

#[test]
fn a_kustomization_takes_no_globs() {
    let repository = Repository::new(&[("a/kustomization.yaml", "resources: []\n")]);
    let chosen = tk8s_render::Component { exclude: vec!["x".into()], ..component("a") };
    assert!(repository.refusal(&chosen).contains("write `kind: yaml`"));
}

#[test]
fn one_file_or_byte_more_than_the_limit_is_refused() {
    let repository = Repository::new(&[]);
    let names: Vec<_> = (0..10_000).map(|number| format!("{number}.yaml")).collect();
    names.iter().for_each(|name| repository.write(&format!("a/{name}"), ""));
    repository.write("a/kustomization.yaml", &format!("resources: [{}]\n", names.join(", ")));
    let error = repository.refusal(&component("a"));
    assert_eq!(error, "files of a kustomization: 10001, at most 10000 are read");
    repository.write("b/kustomization.yaml", "resources: [large.yaml]\n");
    repository.write("b/large.yaml", &"#".repeat(8 * 1024 * 1024 + 1));
    assert!(repository.refusal(&component("b")).contains("at most 8388608 are read"));
    repository.write("b/large.yaml", "");
    repository.write("b/kustomization.yaml", &"#".repeat(1024 * 1024 + 1));
    assert!(repository.refusal(&component("b")).contains("at most 1048576 are read"));
    let large = "#".repeat(8 * 1024 * 1024);
    let names: Vec<_> = (0..9).map(|number| format!("{number}.yaml")).collect();
    names.iter().for_each(|name| repository.write(&format!("c/{name}"), &large));
    repository.write("c/kustomization.yaml", &format!("resources: [{}]\n", names.join(", ")));
    assert!(repository.refusal(&component("c")).contains("at most 67108864 are read"));
}

#[test]
fn every_reference_that_is_refused_is_named_at_once_of_all_bases() {
    let repository = Repository::new(&[
        (
            "app/kustomization.yaml",
            "resources:\n- missing.yaml\n- https://example.com/x\n- ../base\npatches:\n- path: /etc/passwd\n- path: 3\nhelmCharts: [{name: x}]\n",
        ),
        ("base/kustomization.yaml", "resources: [gone.yaml]\nbases: once\n"),
    ]);
    let error = repository.look(&component("app")).unwrap_err();
    let found: Vec<_> = error.each().0.iter().map(|one| one.origin().unwrap().to_string()).collect();
    let app = [2, 3, 6, 6, 8].map(|line| format!("app/kustomization.yaml:{line}"));
    let base = [1, 2].map(|line| format!("base/kustomization.yaml:{line}"));
    assert_eq!(found, [app.as_slice(), &base].concat(), "{error}");
}

#[test]
fn the_login_of_a_remote_base_is_not_told() {
    for url in ["https://u:hunter2@example.com/x", "git:hunter2@example.com:x?ref=a", "ssh://git:hunter2@example.com/x.git"] {
        let repository = Repository::new(&[("app/kustomization.yaml", &format!("resources: ['{url}']\n"))]);
        let error = repository.refusal(&component("app"));
        assert!(error.contains("example.com") && !error.contains("hunter2"), "{error}");
    }
}
