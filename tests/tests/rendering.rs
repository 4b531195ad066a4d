//! Kustomizations and charts through the whole agent, on a real cluster, and on a working tree without one.

#![allow(clippy::unwrap_used)]

use serde_json::Value;
use tk8s_tests::renderers;
use tk8s_tests::system::System;

const PLATFORM: &str = "apiVersion: tk8s.io/v1alpha1
kind: Platform
layers:
  - number: 0
    name: all
    namespace: NAMESPACE
    components:
      - {name: plain, path: plain}
      - {name: one, path: one}
      - {name: two, path: two}
      - {name: chart, path: chart, helm: {values: {at: first}}}
";

fn map(name: &str, at: &str) -> String {
    format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}}}\ndata: {{at: {at}}}\n")
}

/// A file and its text, for each of a platform's.
fn platform(namespace: &str) -> Vec<(String, String)> {
    let overlay = |name: &str| {
        format!(
            "resources: [../base]\nnamePrefix: {name}-\nconfigMapGenerator: [{{name: own, literals: [at=first], options: {{disableNameSuffixHash: true}}}}]\n"
        )
    };
    let template = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: chart}\ndata:\n  at: {{ .Values.at }}\n  version: {{ .Capabilities.KubeVersion.Version }}\n  jobs: {{ .Capabilities.APIVersions.Has \"batch/v1/Job\" | quote }}\n";
    [
        ("tk8s.yaml", PLATFORM.replace("NAMESPACE", namespace)),
        ("plain/map.yaml", map("plain", "first")),
        ("base/kustomization.yaml", "resources: [map.yaml]\n".into()),
        ("base/map.yaml", map("base", "first")),
        ("one/kustomization.yaml", overlay("one")),
        ("two/kustomization.yaml", overlay("two")),
        ("chart/Chart.yaml", "apiVersion: v2\nname: chart\nversion: 1.0.0\n".into()),
        ("chart/templates/map.yaml", template.into()),
        (
            "chart/templates/hook.yaml",
            "apiVersion: v1\nkind: Secret\nmetadata: {name: early, annotations: {helm.sh/hook: pre-install}}\n".into(),
        ),
    ]
    .map(|(path, text)| (path.to_owned(), text))
    .into()
}

async fn system(name: &str) -> System {
    let mut system = System::new(name).await;
    let directory = renderers();
    system.more = format!("render: {{kustomize: {directory}/kustomize, helm: {directory}/helm, memory: 256MiB}}");
    platform(name).iter().for_each(|(path, text)| system.write(path, text));
    system
}

async fn children(system: &System) -> [u64; 4] {
    let mut counts = [0; 4];
    for (count, name) in counts.iter_mut().zip(["plain", "one", "two", "chart"]) {
        *count = system.counter("tk8s_child_processes_total", &format!("component=\"{name}\"")).await;
    }
    counts
}

async fn looks(system: &System, more: u64) {
    let now = async || system.counter("tk8s_fetches_total", "outcome=\"ok\"").await;
    let until = now().await + more;
    while now().await < until {
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_push_starts_a_process_for_each_component_that_it_changes_and_no_other() {
    let mut system = system("rendering").await;
    system.commit("first");
    system.start();
    system.until_all("Healthy");
    assert_eq!(children(&system).await, [0, 1, 1, 1]);
    assert_eq!(
        (system.map("one-base"), system.map("two-own"), system.map("chart")),
        ("first".into(), "first".into(), "first".into())
    );
    // The chart saw this cluster, and not what Helm takes for one.
    let version: Value = serde_json::from_str(&system.plane.kubectl(&["version", "--output", "json"])).unwrap();
    let seen = system.kubectl(&["get", "configmap", "chart", "-o", "jsonpath={.data.version} {.data.jobs}"]);
    assert_eq!(seen, format!("{} true", version["serverVersion"]["gitVersion"].as_str().unwrap()));
    assert_eq!(system.kubectl(&["get", "secret", "early", "--ignore-not-found"]), "");

    system.write("base/map.yaml", &map("base", "second"));
    system.commit("the base of two");
    system.until_map("one-base", "second");
    system.until_map("two-base", "second");
    system.until_all("Healthy");
    assert_eq!(children(&system).await, [0, 2, 2, 1]);

    system.write("tk8s.yaml", &PLATFORM.replace("NAMESPACE", &system.name).replace("at: first", "at: second"));
    system.commit("a value of the chart");
    system.until_map("chart", "second");
    system.until_all("Healthy");
    assert_eq!(children(&system).await, [0, 2, 2, 2]);

    system.write("README.md", "nothing to render");
    system.commit("elsewhere");
    looks(&system, 3).await;
    assert_eq!(children(&system).await, [0, 2, 2, 2]);
    assert!(!system.file("history").join(format!("render-{}", system.name)).read_dir().unwrap().any(|_| true));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bomb_stops_its_own_component_once_and_the_agent_goes_on() {
    let mut system = system("bombed").await;
    let mut bomb = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: b}\na0: &a0 [x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..10 {
        bomb.push_str(&format!("a{level}: &a{level} [{}]\n", vec![format!("*a{}", level - 1); 9].join(", ")));
    }
    system.write("one/bomb.yaml", &bomb);
    system.write("one/kustomization.yaml", "resources: [bomb.yaml]\n");
    system.commit("a bomb");
    system.start();
    system.until_says("one", "Failed", "kustomize was ended because it ran out of memory");
    for healthy in ["plain", "two", "chart"] {
        system.until(healthy, || system.component(healthy)["state"] == "Healthy");
    }
    let before = children(&system).await;
    looks(&system, 3).await;
    assert_eq!((children(&system).await, before[1]), (before, 1));
    system.write("one/kustomization.yaml", "resources: [../base]\nnamePrefix: one-\n");
    system.commit("no bomb");
    system.until_all("Healthy");
}
