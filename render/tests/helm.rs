//! Charts, with the upstream program itself as the oracle.

#![allow(clippy::unwrap_used)]

mod support;

use std::collections::BTreeSet;
use std::sync::Arc;

use support::{Repository, as_plain_manifests, component, renderers};
use tk8s_render::{Capabilities, Component, HelmOptions, Renderers, WorkingDirectory, input, preview, render};

const CHART: &[(&str, &str)] = &[
    (
        "charts/web/Chart.yaml",
        "apiVersion: v2\nname: web\nversion: 1.0.0\ndependencies: [{name: cache, version: 0.1.0, repository: 'https://example.com'}]\n",
    ),
    ("charts/web/values.yaml", "replicas: 1\nmode: none\ntext: none\ncache: {size: small}\n"),
    ("charts/web/.helmignore", "*.ignored\n"),
    ("charts/web/files/motd.txt", "hello\n"),
    (
        "charts/web/crds/things.yaml",
        "apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata: {name: things.example.com}\nspec: {group: example.com, scope: Namespaced, names: {kind: Thing, plural: things}}\n",
    ),
    ("charts/web/templates/NOTES.txt", "Thank you for installing {{ .Chart.Name }}\n"),
    ("charts/web/templates/_helpers.tpl", "{{- define \"web.name\" -}}{{ .Release.Name }}-web{{- end -}}\n"),
    (
        "charts/web/templates/deployment.yaml",
        "apiVersion: apps/v1
kind: Deployment
metadata:
  name: {{ include \"web.name\" . }}
  namespace: {{ .Release.Namespace }}
spec:
  replicas: {{ .Values.replicas }}
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: web, image: example.com/web:1}]}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: {{ include \"web.name\" . }}}
data:
  motd: {{ .Files.Get \"files/motd.txt\" | quote }}
  mode: {{ .Values.mode | toJson | quote }}
  text: {{ .Values.text | toJson | quote }}
  version: {{ .Capabilities.KubeVersion.Version | quote }}
  {{- if .Capabilities.APIVersions.Has \"example.com/v1/Thing\" }}
  things: served
  {{- end }}
",
    ),
    (
        "charts/web/templates/hooks.yaml",
        "apiVersion: batch/v1
kind: Job
metadata: {name: migrate, annotations: {helm.sh/hook: \"pre-install,pre-upgrade\"}}
spec: {template: {spec: {restartPolicy: Never, containers: [{name: m, image: example.com/m:1}]}}}
---
apiVersion: batch/v1
kind: Job
metadata: {name: once, annotations: {helm.sh/hook: pre-install}}
spec: {template: {spec: {restartPolicy: Never, containers: [{name: o, image: example.com/o:1}]}}}
---
apiVersion: v1
kind: Pod
metadata: {name: try-it, annotations: {helm.sh/hook: test}}
spec: {containers: [{name: t, image: example.com/t:1}]}
",
    ),
    ("charts/web/charts/cache/Chart.yaml", "apiVersion: v2\nname: cache\nversion: 0.1.0\n"),
    ("charts/web/charts/cache/values.yaml", "size: tiny\n"),
    (
        "charts/web/charts/cache/templates/cache.yaml",
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: {{ .Release.Name }}-cache}\ndata: {size: {{ .Values.size }}}\n",
    ),
    ("environments/production.yaml", "replicas: 3\nmode: file\n"),
    ("charts/web/big.yaml", "replicas: 2\ncache: {size: large}\n"),
];

fn chart() -> Component {
    let helm = HelmOptions {
        release_name: Some("front".into()),
        values_files: vec!["big.yaml".into(), "../../environments/production.yaml".into()],
        values: Some(r#"{"mode": 0644, "text": "yes"}"#.into()),
        include_crds: true,
    };
    Component { helm: Some(helm), ..component("charts/web") }
}

/// What Helm itself says to the same options, but for what becomes of its hooks: one is the agent's, one is left out.
fn oracle(repository: &Repository, more: &[&str]) -> Vec<serde_json::Value> {
    repository.write("inline.yaml", "mode: 0644\ntext: 'yes'\n");
    let mut words = vec!["template", "front", "charts/web", "--namespace", "shop", "--include-crds", "--skip-tests"];
    words.extend(["-f", "charts/web/big.yaml", "-f", "environments/production.yaml", "-f", "inline.yaml"]);
    words.extend(more);
    let mut objects = as_plain_manifests(&repository.upstream("helm", &words), &chart());
    objects.retain(|object| object["metadata"]["name"] != "once");
    for object in objects.iter_mut().filter(|object| object["metadata"]["name"] == "migrate") {
        object["metadata"]["annotations"]["tk8s.io/hook"] = "before-apply".into();
    }
    objects
}

fn names(objects: &[serde_json::Value]) -> BTreeSet<String> {
    objects.iter().map(|object| object["metadata"]["name"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_chart_gives_what_helm_itself_gives() {
    let repository = Repository::new(CHART);
    let (found, warnings) = repository.look(&chart()).unwrap();
    assert_eq!(found, oracle(&repository, &[]));
    let all = ["things.example.com", "front-web", "front-cache", "migrate"];
    assert_eq!(names(&found), all.map(String::from).into());
    // Values: the files in their order, then those of the platform file.
    let of = |kind: &str, name: &str| {
        found.iter().find(|object| object["kind"] == kind && object["metadata"]["name"] == name).unwrap()
    };
    assert_eq!(of("Deployment", "front-web")["spec"]["replicas"], 3);
    assert_eq!(of("ConfigMap", "front-cache")["data"]["size"], "large");
    assert_eq!(
        (&of("ConfigMap", "front-web")["data"]["mode"], &of("ConfigMap", "front-web")["data"]["text"]),
        (&"420".into(), &"\"yes\"".into())
    );
    assert_eq!(
        warnings,
        [
            "charts/web/templates/hooks.yaml: Job once is a Helm hook (pre-install) and is left out: it does not run at every install and every upgrade, or before and after them: if it is needed, make it a component before or after this one (`dependsOn`)"
        ]
    );
}

#[test]
fn objects_name_the_template_they_come_from() {
    let repository = Repository::new(CHART);
    let preview = preview(&WorkingDirectory::new(&repository.path()), &chart(), &renderers()).unwrap();
    let origins: BTreeSet<_> = preview.objects().iter().map(|placed| placed.manifest.origin().to_string()).collect();
    let expected = ["crds/things.yaml", "templates/deployment.yaml", "templates/hooks.yaml", "charts/cache/templates/cache.yaml"];
    assert_eq!(origins, expected.map(|path| format!("charts/web/{path}")).into());
}

#[test]
fn a_chart_sees_what_the_cluster_can_do_and_another_cluster_is_another_input() {
    let repository = Repository::new(CHART);
    let tree = repository.commit();
    let with = |version: &str, apis: &[&str]| -> Renderers {
        let api_versions = apis.iter().map(|api| (*api).to_owned()).collect();
        renderers().with_capabilities(Arc::new(Capabilities { kube_version: version.into(), api_versions }))
    };
    let cluster = with("v1.31.2", &["example.com/v1", "example.com/v1/Thing"]);
    let rendered = render(&tree, &chart(), &cluster).unwrap();
    let found: Vec<_> = rendered.parts().objects.iter().map(|placed| placed.manifest.to_value()).collect();
    assert_eq!(found, oracle(&repository, &["--kube-version", "v1.31.2", "--api-versions", "example.com/v1/Thing"]));
    let map = found.iter().find(|object| object["data"]["motd"].is_string()).unwrap();
    assert_eq!((&map["data"]["things"], &map["data"]["version"]), (&"served".into(), &"v1.31.2".into()));
    let inputs: BTreeSet<_> =
        [cluster, with("v1.31.3", &["example.com/v1", "example.com/v1/Thing"]), with("v1.31.2", &[]), renderers()]
            .iter()
            .map(|renderers| input(&*tree, &chart(), renderers).unwrap().unwrap().hex())
            .collect();
    assert_eq!(inputs.len(), 4);
}

#[test]
fn chart_and_values_decide_the_input_and_nothing_else_does() {
    let repository = Repository::new(CHART);
    let renderers = renderers();
    let now = || input(&*repository.commit(), &chart(), &renderers).unwrap().unwrap();
    let mut before = now();
    for (path, _) in CHART {
        repository.append(path, "\n");
        let after = now();
        assert_ne!(before, after, "{path}");
        before = after;
    }
    repository.write("environments/staging.yaml", "replicas: 2\n");
    assert_eq!(before, now());
    assert!(renderers.started().is_empty());
    for change in [
        |options: &mut HelmOptions| options.release_name = None,
        |options: &mut HelmOptions| options.include_crds = false,
        |options: &mut HelmOptions| options.values = None,
        |options: &mut HelmOptions| options.values_files.truncate(1),
    ] {
        let mut changed = chart();
        change(changed.helm.as_mut().unwrap());
        assert_ne!(Some(before), input(&*repository.commit(), &changed, &renderers).unwrap());
    }
}

#[test]
fn a_push_to_one_chart_starts_one_child_and_an_unchanged_tree_none() {
    let repository = Repository::new(CHART);
    repository.write("charts/other/Chart.yaml", "apiVersion: v2\nname: other\nversion: 1.0.0\n");
    repository.write("charts/other/templates/a.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n");
    let renderers = renderers();
    let mut known = std::collections::BTreeMap::new();
    let mut children = || {
        let before: u64 = renderers.started().values().sum();
        let tree = repository.commit();
        for component in [chart(), component("charts/other")] {
            let input = input(&*tree, &component, &renderers).unwrap().unwrap();
            if known.insert(component.name.clone(), input) != Some(input) {
                render(&tree, &component, &renderers).unwrap();
            }
        }
        renderers.started().values().sum::<u64>() - before
    };
    assert_eq!(children(), 2);
    assert_eq!(children(), 0);
    repository.append("charts/other/templates/a.yaml", "data: {a: b}\n");
    assert_eq!(children(), 1);
}

#[test]
fn without_options_the_release_is_named_like_the_component() {
    let repository = Repository::new(CHART);
    let (found, _) = repository.look(&component("charts/web")).unwrap();
    assert!(names(&found).contains("web-web"), "{found:?}");
    let without =
        Component { helm: Some(HelmOptions { include_crds: false, ..HelmOptions::default() }), ..component("charts/web") };
    assert!(!names(&repository.look(&without).unwrap().0).contains("things.example.com"));
}

#[test]
fn a_vendored_archive_is_a_dependency_like_a_directory() {
    let repository = Repository::new(CHART);
    repository.upstream("helm", &["package", "charts/web/charts/cache", "--destination", "charts/web/charts"]);
    std::fs::remove_dir_all(repository.path().join("charts/web/charts/cache")).unwrap();
    assert!(repository.path().join("charts/web/charts/cache-0.1.0.tgz").is_file());
    assert!(names(&repository.look(&chart()).unwrap().0).contains("front-cache"));
}

#[test]
fn a_dependency_that_is_not_vendored_is_refused_with_the_command_to_run() {
    let repository = Repository::new(CHART);
    std::fs::remove_dir_all(repository.path().join("charts/web/charts")).unwrap();
    let error = repository.refusal(&chart());
    assert!(error.contains("charts/web/Chart.yaml: the dependency cache is not vendored"), "{error}");
    assert!(error.contains("run `helm dependency build charts/web`"), "{error}");
}

#[test]
fn what_a_chart_must_not_do_is_refused() {
    let with_values = |file: &str| {
        let helm = HelmOptions { values_files: vec![file.into()], ..HelmOptions::default() };
        Component { helm: Some(helm), ..component("charts/web") }
    };
    let repository = Repository::new(CHART);
    for (component, word) in [
        (with_values("/etc/passwd"), "it is absolute"),
        (with_values("../../../outside.yaml"), "it leaves the repository"),
        (with_values("nowhere.yaml"), "`charts/web/nowhere.yaml` does not exist in the repository"),
        (with_values("templates"), "is not a file"),
        (Component { namespace: None, ..chart() }, "a chart needs `namespace`"),
        (Component { include: vec!["x".into()], ..chart() }, "write `kind: yaml`"),
        (Component { kind: Some(tk8s_render::Kind::Helm), ..component("environments") }, "Chart.yaml: it does not exist"),
        (
            Component { kind: Some(tk8s_render::Kind::Yaml), ..component("charts/web") },
            "a Helm chart inside a component of plain manifests",
        ),
        (Component { helm: Some(HelmOptions::default()), ..component("environments") }, "`helm` is for charts"),
    ] {
        let error = repository.refusal(&component);
        assert!(error.contains(word), "{word}: {error}");
    }
    repository.write("charts/web/templates/broken.yaml", "{{ fail \"no such luck\" }}");
    let error = repository.refusal(&chart());
    assert!(error.starts_with("helm: ") && error.contains("no such luck") && !error.contains("render-"), "{error}");
    std::os::unix::fs::symlink("/etc/passwd", repository.path().join("charts/web/files/passwd")).unwrap();
    assert!(
        repository.refusal(&chart()).contains("`charts/web/files/passwd` is a symbolic link"),
        "{}",
        repository.refusal(&chart())
    );
}

#[test]
fn a_template_without_end_ends_in_an_error() {
    let repository = Repository::new(CHART);
    repository.write(
        "charts/web/templates/loop.yaml",
        "{{- define \"loop\" }}{{ include \"loop\" . }}{{ end -}}{{ include \"loop\" . }}",
    );
    let error = repository.refusal(&chart());
    assert!(error.starts_with("helm") && error.len() < 1000, "{error}");
}

#[test]
fn one_file_or_directory_more_than_the_limit_is_refused() {
    let repository = Repository::new(CHART);
    let deep = vec!["d"; 65].join("/");
    repository.write(&format!("charts/web/{deep}/x"), "");
    assert!(repository.refusal(&chart()).contains("directories below each other in `charts/web`: 65, at most 64"));
    std::fs::remove_dir_all(repository.path().join("charts/web/d")).unwrap();
    (0..10_000).for_each(|number| repository.write(&format!("charts/web/files/{number}"), ""));
    assert!(repository.refusal(&chart()).contains("files in `charts/web`: 10001, at most 10000 are read"));
}
