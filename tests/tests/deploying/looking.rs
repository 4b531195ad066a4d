//! What `tk8s-agent diff` shows beforehand, and what comes of it: take-overs from Argo CD, Flux, Helm and kubectl, with
//! objects as those leave them. A look writes nothing.

use std::path::Path;
use std::process::{Command, Output};

use serde_json::{Value, json};
use tk8s_core::{Manifest, Origin};
use tk8s_diff::cluster::{Demands, apply_request};
use tk8s_diff::mask::Masker;
use tk8s_diff::ownership::FieldRules;
use tk8s_diff::{Action, Look, PreviewDiff};
use tk8s_tests::cluster::ControlPlane;
use tk8s_tests::pipeline::Pipeline;

use super::pipeline;

fn manifest(object: Value) -> Manifest {
    Manifest::new(object, Origin::default()).expect("a manifest")
}

fn map(value: &mut Value) -> &mut serde_json::Map<String, Value> {
    value.as_object_mut().expect("a mapping")
}

/// What a person sees of these objects.
async fn look(pipeline: &Pipeline, objects: Vec<Manifest>) -> Vec<PreviewDiff> {
    let (fields, component) = (FieldRules::default(), pipeline.name.parse().expect("a valid name"));
    let look = Look { fields: &fields, instance: None, component: &component, all: false };
    let found = tk8s_diff::preview(&pipeline.cluster, objects, &Masker::new(&[7; 32]), &look).await;
    found.into_iter().map(|(key, found)| found.unwrap_or_else(|error| panic!("{key}: {error}"))).collect()
}

/// The command itself.
fn diff(plane: &ControlPlane, directory: &Path, more: &[&str]) -> Output {
    let mut command = Command::new(tk8s_tests::program("tk8s-agent"));
    command.arg("diff").arg("--kubeconfig").arg(plane.kubeconfig()).arg(directory).args(more);
    command.env_remove("NO_COLOR").output().expect("because it is built")
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// A file of Argo CD's tests, as an object in this namespace, without what another cluster set.
fn vector(name: &str, namespace: &str) -> Value {
    let path = tk8s_tests::top().join("tests/vectors/argo-cd/ssa-diff").join(name);
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let mut object: Value = serde_yaml::from_str(&text).expect("YAML");
    object["metadata"]["namespace"] = namespace.into();
    for field in ["uid", "resourceVersion", "managedFields", "creationTimestamp"] {
        map(&mut object["metadata"]).remove(field);
    }
    let annotations = object.pointer_mut("/metadata/annotations").and_then(Value::as_object_mut);
    annotations.map(|annotations| annotations.remove("deployment.kubernetes.io/revision"));
    if object.pointer("/metadata/annotations").and_then(Value::as_object).is_some_and(|annotations| annotations.is_empty()) {
        map(&mut object["metadata"]).remove("annotations");
    }
    for field in ["clusterIP", "clusterIPs"] {
        object.get_mut("spec").and_then(Value::as_object_mut).map(|spec| spec.remove(field));
    }
    map(&mut object).remove("status");
    object
}

/// Whether all of `expected` is in `found`; lists are as long.
fn holds(found: &Value, expected: &Value) -> bool {
    match (found, expected) {
        (Value::Object(found), Value::Object(expected)) => {
            expected.iter().all(|(name, expected)| found.get(name).is_some_and(|found| holds(found, expected)))
        }
        (Value::Array(found), Value::Array(expected)) => {
            found.len() == expected.len() && found.iter().zip(expected).all(|(found, expected)| holds(found, expected))
        }
        _ => found == expected,
    }
}

/// The command on a terminal of its own, as a person sees it.
fn on_a_terminal(plane: &ControlPlane, directory: &Path, terminal: &str, no_color: Option<&str>) -> String {
    let program = tk8s_tests::program("tk8s-agent");
    let line = format!("{} diff --kubeconfig {} {}", program.display(), plane.kubeconfig().display(), directory.display());
    let mut command = Command::new("script");
    command.args(["-qec", &line, "/dev/null"]).env("TERM", terminal).env_remove("NO_COLOR");
    let seen = command.envs(no_color.map(|value| ("NO_COLOR", value))).output().expect("because `script` comes with every Linux");
    said(&seen)
}

#[tokio::test(flavor = "multi_thread")]
async fn colours_are_for_a_terminal_whose_user_did_not_say_no() {
    let (plane, pipeline) = pipeline("looking-colours").await;
    let directory = tempfile::tempdir().unwrap();
    let object = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "seen", "namespace": pipeline.name}, "data": {"a": "b"}});
    std::fs::write(directory.path().join("seen.yaml"), object.to_string()).unwrap();
    let coloured = |text: &str| {
        assert!(text.contains("seen"), "{text}");
        text.contains('\u{1b}')
    };
    let terminal = |name: &str, no_color: Option<&str>| coloured(&on_a_terminal(plane, directory.path(), name, no_color));
    assert!(terminal("xterm", None));
    // An empty one says nothing: https://no-color.org.
    assert!(terminal("xterm", Some("")));
    assert!(!terminal("xterm", Some("1")));
    assert!(!terminal("dumb", None));
    assert!(!coloured(&said(&diff(plane, directory.path(), &[]))));
    assert!(coloured(&said(&diff(plane, directory.path(), &["--color", "always"]))));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_argo_cd_expects_of_an_apply_is_what_a_look_shows() {
    let (plane, pipeline) = pipeline("looking-vectors").await;
    let namespace = pipeline.name.as_str();
    for (name, shown) in [
        ("ssd-configmap", &["-  key3: value3"][..]),
        (
            "ssd-deploy-nested",
            &["+        - name: https", "+          containerPort: 443", "+        - name: ENV_VAR2", "+          value: value2"],
        ),
        ("ssd-service", &[]),
    ] {
        let live = vector(&format!("{name}-live.yaml"), namespace);
        let apply = ["apply", "-f", "-", "--server-side", "--field-manager=tk8s-agent"];
        plane.kubectl_with(&apply, &live.to_string()).unwrap();
        let config = manifest(vector(&format!("{name}-config.yaml"), namespace));
        // What the API server answers to the dry-run is what Argo CD predicts.
        let resource = pipeline.cluster.resource(config.kind()).await.unwrap().unwrap();
        let demands = Demands { force: true, dry_run: true, ..Demands::default() };
        let answer =
            pipeline.cluster.exchange(apply_request(&resource, config.key(), &config.to_value(), demands)).await.unwrap();
        let mut predicted = vector(&format!("{name}-predicted-live.json"), namespace);
        if name == "ssd-service" {
            // A webhook of theirs exchanges the labels.
            predicted["metadata"]["labels"] = json!({"app.kubernetes.io/instance": "httpbin"});
        }
        assert!(holds(&answer.body, &predicted), "{name}: {}", answer.body);
        assert_eq!(answer.body["data"], predicted["data"], "{name}");
        let found = look(&pipeline, vec![config]).await.remove(0);
        let changed: Vec<_> = found.diff.lines().skip(2).filter(|line| line.starts_with(['+', '-'])).collect();
        assert_eq!(changed, shown, "{name}: {}", found.diff);
        assert_eq!((found.takes.len(), found.contested), (0, false), "{name}");
    }
}

/// A Deployment as Git has it.
fn web(name: &str) -> Value {
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name, "labels": {"app": "web"}},
        "spec": {"replicas": 1, "selector": {"matchLabels": {"app": name}}, "template": {
            "metadata": {"labels": {"app": name}},
            "spec": {"containers": [{"name": "web", "image": "web:1", "ports": [{"containerPort": 80}]}]}}}})
}

/// The same, as a tool left it.
fn theirs(name: &str, namespace: &str, labels: Value, annotations: Value) -> Value {
    let mut object = web(name);
    object["metadata"]["namespace"] = namespace.into();
    object["metadata"]["annotations"] = annotations;
    map(&mut object["metadata"]["labels"]).extend(labels.as_object().cloned().unwrap_or_default());
    object
}

/// Each tool: its objects' name, its field manager, whether it applies on the server, and its marks.
fn tools(namespace: &str) -> Vec<(&'static str, &'static str, bool, Value)> {
    let tracking = |name: &str| json!({"argocd.argoproj.io/tracking-id": format!("shop:apps/Deployment:{namespace}/{name}")});
    let flux = |group: &str| json!({format!("{group}/name"): "shop", format!("{group}/namespace"): namespace});
    let helm = json!({"meta.helm.sh/release-name": "shop", "meta.helm.sh/release-namespace": namespace});
    let mut flux_helm = flux("helm.toolkit.fluxcd.io");
    flux_helm["app.kubernetes.io/managed-by"] = "Helm".into();
    vec![
        (
            "argo",
            "argocd-controller",
            true,
            theirs("argo", namespace, json!({"app.kubernetes.io/instance": "shop"}), tracking("argo")),
        ),
        ("argo-client", "argocd-controller", false, theirs("argo-client", namespace, json!({}), tracking("argo-client"))),
        (
            "flux",
            "kustomize-controller",
            true,
            theirs("flux", namespace, flux("kustomize.toolkit.fluxcd.io"), json!({"kustomize.toolkit.fluxcd.io/ssa": "Merge"})),
        ),
        ("flux-helm", "helm-controller", false, theirs("flux-helm", namespace, flux_helm, helm.clone())),
        ("helm", "helm", false, theirs("helm", namespace, json!({"app.kubernetes.io/managed-by": "Helm"}), helm)),
        ("kubectl", "kubectl-client-side-apply", false, theirs("kubectl", namespace, json!({}), json!({}))),
    ]
}

/// What would change if anything were restarted: generation, template, and the sets of pods with their hashes.
fn running(plane: &ControlPlane, namespace: &str, name: &str) -> (String, String) {
    let path = "jsonpath={.metadata.generation} {.status.observedGeneration} {.spec.template}";
    let sets = r"jsonpath={range .items[*]}{.metadata.uid} {.metadata.labels.pod-template-hash} {.spec.replicas}{'\n'}{end}";
    (
        plane.kubectl(&["-n", namespace, "get", "deployment", name, "-o", path]),
        plane.kubectl(&["-n", namespace, "get", "replicasets", "-l", &format!("app={name}"), "-o", sets]),
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn what_others_managed_is_taken_over_without_a_restart_and_their_marks_are_listed() {
    let (plane, pipeline) = pipeline("looking-adopts").await;
    let namespace = pipeline.name.as_str();
    for (name, manager, by_apply, object) in tools(namespace) {
        let field_manager = format!("--field-manager={manager}");
        let mut arguments = vec!["apply", "-f", "-", field_manager.as_str()];
        if by_apply {
            arguments.push("--server-side");
        }
        plane.kubectl_with(&arguments, &object.to_string()).unwrap();
        plane.until("1", &["-n", namespace, "get", "deployment", name, "-o", "jsonpath={.status.observedGeneration}"]);
        plane.until(
            "1",
            &["-n", namespace, "get", "replicasets", "-l", &format!("app={name}"), "-o", "jsonpath={.items[*].spec.replicas}"],
        );
        let before = running(plane, namespace, name);
        assert!(before.1.contains(' '), "there is a set of pods: {before:?}");
        let found = look(&pipeline, vec![manifest(web(name)).in_namespace(namespace)]).await.remove(0);
        assert_eq!((found.action, found.restarts), (Action::Adopt, Some(false)), "{name}: {}", found.diff);
        assert_eq!((found.diff.as_str(), found.takes.len()), ("", 0), "{name}: they agree about every field of Git");
        let left: Vec<_> = found.leftovers.iter().map(|left| left.what.replace('`', "")).collect();
        let kubectl = "annotation kubectl.kubernetes.io/last-applied-configuration".to_owned();
        let expected: &[&str] = match name {
            "argo" => &["annotation argocd.argoproj.io/tracking-id", "label app.kubernetes.io/instance"],
            "argo-client" => &["annotation argocd.argoproj.io/tracking-id"],
            "flux" => &[
                "annotation kustomize.toolkit.fluxcd.io/ssa",
                "label kustomize.toolkit.fluxcd.io/name",
                "label kustomize.toolkit.fluxcd.io/namespace",
            ],
            "flux-helm" => &[
                "label helm.toolkit.fluxcd.io/name",
                "label helm.toolkit.fluxcd.io/namespace",
                "annotation meta.helm.sh/release-name",
                "annotation meta.helm.sh/release-namespace",
                "label app.kubernetes.io/managed-by",
            ],
            "helm" => &[
                "annotation meta.helm.sh/release-name",
                "annotation meta.helm.sh/release-namespace",
                "label app.kubernetes.io/managed-by",
            ],
            _ => &[],
        };
        let expected: Vec<_> = expected.iter().map(|mark| (*mark).to_owned()).chain((!by_apply).then_some(kubectl)).collect();
        assert_eq!(left, expected, "{name}");
        assert_eq!(running(plane, namespace, name), before, "{name}: a look writes nothing");
        let ready = pipeline.ready(&serde_yaml::to_string(&web(name)).unwrap()).await;
        pipeline.apply(ready).await.unwrap_or_else(|failed| panic!("{name}: {}", failed.error));
        let version = plane.kubectl(&["-n", namespace, "get", "deployment", name, "-o", "jsonpath={.metadata.labels}"]);
        assert!(version.contains("agent.tk8s.io/instance"), "{name} is taken over: {version}");
        assert_eq!(running(plane, namespace, name), before, "{name}: nothing is restarted");
        let again = look(&pipeline, vec![manifest(web(name)).in_namespace(namespace)]).await.remove(0);
        assert_eq!((again.action, again.diff.as_str()), (Action::Unchanged, ""), "{name}: what is applied differs in nothing");
    }
}

/// Definitions of the kinds of others, without their schemas.
fn definition(group: &str, version: &str, kind: &str, plural: &str) -> Value {
    json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": format!("{plural}.{group}")},
        "spec": {"group": group, "scope": "Namespaced", "names": {"kind": kind, "plural": plural, "singular": kind.to_lowercase()},
            "versions": [{"name": version, "served": true, "storage": true,
                "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}}]}})
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_still_has_an_object_and_would_delete_it_is_named_beforehand() {
    let (plane, pipeline) = pipeline("looking-claims").await;
    let namespace = pipeline.name.as_str();
    for (group, version, kind, plural) in [
        ("argoproj.io", "v1alpha1", "Application", "applications"),
        ("argoproj.io", "v1alpha1", "ApplicationSet", "applicationsets"),
        ("kustomize.toolkit.fluxcd.io", "v1", "Kustomization", "kustomizations"),
        ("helm.toolkit.fluxcd.io", "v2", "HelmRelease", "helmreleases"),
    ] {
        plane.apply(&definition(group, version, kind, plural).to_string());
        plane.kubectl(&["wait", "--for=condition=Established", "--timeout=30s", &format!("crd/{plural}.{group}")]);
    }
    for (_, _, _, object) in tools(namespace) {
        plane.apply(&object.to_string());
    }
    let resource =
        |name: &str| json!({"group": "apps", "kind": "Deployment", "version": "v1", "namespace": namespace, "name": name});
    let of = |api: &str, kind: &str, metadata: Value, spec: Value, status: Value| {
        let mut object = json!({"apiVersion": api, "kind": kind, "metadata": {"name": "shop", "namespace": namespace}, "spec": spec, "status": status});
        object["metadata"].as_object_mut().unwrap().extend(metadata.as_object().unwrap().clone());
        object.to_string()
    };
    plane.apply(&of(
        "argoproj.io/v1alpha1",
        "Application",
        json!({"finalizers": ["resources-finalizer.argocd.argoproj.io"]}),
        json!({"syncPolicy": {"automated": {"prune": true, "selfHeal": true}}, "destination": {"server": "https://kubernetes.default.svc"}}),
        json!({"resources": [resource("argo"), resource("argo-client"), resource("elsewhere")]}),
    ));
    plane.apply(&of("argoproj.io/v1alpha1", "ApplicationSet", json!({"name": "shops"}), json!({}), json!({})));
    let uid = plane.kubectl(&["-n", namespace, "get", "applicationset", "shops", "-o", "jsonpath={.metadata.uid}"]);
    plane.apply(&of(
        "argoproj.io/v1alpha1",
        "Application",
        json!({"name": "made",
            "ownerReferences": [{"apiVersion": "argoproj.io/v1alpha1", "kind": "ApplicationSet", "name": "shops", "uid": uid}]}),
        json!({"destination": {"server": "https://kubernetes.default.svc"}}),
        json!({"resources": [resource("kubectl")]}),
    ));
    let id = |name: &str| json!({"id": format!("{namespace}_{name}_apps_Deployment"), "v": "v1"});
    plane.apply(&of(
        "kustomize.toolkit.fluxcd.io/v1",
        "Kustomization",
        json!({}),
        json!({"prune": true}),
        json!({"inventory": {"entries": [id("flux")]}}),
    ));
    plane.apply(&of(
        "helm.toolkit.fluxcd.io/v2",
        "HelmRelease",
        json!({}),
        json!({}),
        json!({"inventory": {"entries": [id("flux-helm"), id("elsewhere")]}}),
    ));
    let directory = tempfile::tempdir().unwrap();
    for (name, _, _, _) in tools(namespace) {
        let mut object = web(name);
        object["metadata"]["namespace"] = namespace.into();
        std::fs::write(directory.path().join(format!("{name}.yaml")), serde_yaml::to_string(&object).unwrap()).unwrap();
    }
    let output = diff(plane, directory.path(), &[]);
    let text = said(&output);
    for expected in [
        "adopt Deployment.apps looking-claims/argo\n",
        "its pod template stays as it is: nothing is restarted",
        "leftover of Argo CD: annotation `argocd.argoproj.io/tracking-id`",
        "Application looking-claims/shop (Argo CD) has 2 objects of these",
        "deleting it deletes what it has (finalizer)",
        "it has 1 object that this directory has not: Deployment.apps looking-claims/elsewhere",
        "next: delete it alone: `argocd app delete shop --cascade=false`",
        "Application looking-claims/made (Argo CD) has 1 object of these",
        "ApplicationSet shops makes it again",
        "next: delete the ApplicationSet alone (`kubectl delete applicationset shops --cascade=orphan`), then delete it alone: `argocd app delete made --cascade=false`",
        "Kustomization looking-claims/shop (Flux) has 1 object of these",
        "`flux suspend kustomization shop -n looking-claims`",
        "HelmRelease looking-claims/shop (Flux) has 1 object of these",
        "deleting it uninstalls what it has",
        "`flux suspend helmrelease shop -n looking-claims`, `kubectl delete helmrelease shop -n looking-claims`",
        "Helm release looking-claims/shop (Helm) has 1 object of these",
        "6 objects: 6 adopt",
    ] {
        assert!(text.contains(expected), "{expected}: {text}\n{}", String::from_utf8_lossy(&output.stderr));
    }
    assert_eq!(output.status.code(), Some(0));
    let json: Value = serde_json::from_slice(&diff(plane, directory.path(), &["--output", "json"]).stdout).unwrap();
    let predecessors = json["predecessors"].as_array().unwrap();
    let by: Vec<_> = predecessors.iter().map(|one| json!([one["tool"], one["by"], one["has"], one["besides_in_all"]])).collect();
    let expected = json!([
        ["Argo CD", "Application looking-claims/made", 1, 0],
        ["Argo CD", "Application looking-claims/shop", 2, 1],
        ["Flux", "Kustomization looking-claims/shop", 1, 0],
        ["Flux", "HelmRelease looking-claims/shop", 1, 1],
        ["Helm", "Helm release looking-claims/shop", 1, 0],
    ]);
    assert_eq!(Value::from(by), expected);
    assert_eq!(json["objects"][0]["action"], "adopt");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_look_is_coloured_where_it_is_asked_for_and_its_exit_code_tells_a_difference_from_a_failure() {
    let (plane, pipeline) = pipeline("looking-command").await;
    let namespace = pipeline.name.as_str();
    let directory = tempfile::tempdir().unwrap();
    let write = |text: &str| std::fs::write(directory.path().join("all.yaml"), text).unwrap();
    let secret = |value: &str| {
        format!("apiVersion: v1\nkind: Secret\nmetadata: {{name: s, namespace: {namespace}}}\ndata: {{k: {value}}}\n---\n")
    };
    let map = format!(
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: m, namespace: {namespace}}}\ndata: {{k: \"a\\e[2Jb\"}}\n---\n"
    );
    let apply = ["apply", "-f", "-", "--server-side", "--field-manager=tk8s-agent"];
    plane.kubectl_with(&apply, &[secret("aHVudGVyMg=="), map.replace("[2J", "[1J")].concat()).unwrap();
    write(&[secret("aHVudGVyMw=="), map.clone()].concat());
    let plain = diff(plane, directory.path(), &["--exit-code"]);
    assert_eq!(plain.status.code(), Some(1), "{}", String::from_utf8_lossy(&plain.stderr));
    let text = said(&plain);
    assert!(text.contains("-  k: (masked)\n+  k: (masked, changed)\n"), "{text}");
    assert!(!text.contains('\u{1b}'), "no colour into a pipe, and nothing of an object moves a cursor: {text:?}");
    assert!(said(&diff(plane, directory.path(), &["--color", "always"])).contains("\u{1b}[32m+  k: (masked, changed)\u{1b}[0m"));
    assert_eq!(said(&diff(plane, directory.path(), &[])), text, "two looks say the same: there is no digest in it");
    // The same as there is.
    write(&[secret("aHVudGVyMg=="), map.replace("[2J", "[1J")].concat());
    let same = diff(plane, directory.path(), &["--exit-code"]);
    assert_eq!((same.status.code(), said(&same).as_str()), (Some(0), "2 objects: 2 unchanged\n"));
    // A field of somebody else, by a manager that is nobody's predecessor.
    plane.kubectl(&[
        "-n",
        namespace,
        "patch",
        "configmap",
        "m",
        "--type=merge",
        "--field-manager=operator",
        "-p",
        r#"{"data":{"theirs":"1"}}"#,
    ]);
    write(&map.replace("\ndata: {", "\ndata: {theirs: \"2\", "));
    let contested = said(&diff(plane, directory.path(), &[]));
    assert!(contested.contains("refused: .data.theirs is owned by `operator`"), "{contested}");
    // What can't be compared.
    write("apiVersion: nowhere.example.com/v1\nkind: Thing\nmetadata: {name: t, namespace: x}\n");
    assert_eq!(diff(plane, directory.path(), &["--exit-code"]).status.code(), Some(2));
}
