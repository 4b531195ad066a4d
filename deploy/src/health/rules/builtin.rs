//! The rules of well-known projects, read once, when the first object of a kind comes that no code knows.

use std::sync::LazyLock;

use serde::Deserialize;

use super::{Rule, RuleText};

macro_rules! files {
    ($($name:literal),* $(,)?) => {
        &[$(($name, include_str!(concat!("builtin/", $name, ".yaml")))),*]
    };
}

/// By project. A rule for some kinds of a group stands before the one for the rest of it.
const FILES: &[(&str, &str)] = files![
    "argo",
    "cert-manager",
    "cloudnative-pg",
    "cluster-api",
    "crossplane",
    "external-secrets",
    "flux",
    "gateway-api",
    "istio",
    "karpenter",
    "keda",
    "knative",
    "kyverno",
    "prometheus-operator",
    "rook",
    "sealed-secrets",
    "strimzi",
    "tekton",
    "velero",
];

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(rename = "apiVersion")]
    _api_version: String,
    #[serde(rename = "kind")]
    _kind: String,
    rules: Vec<RuleText>,
}

pub(super) fn rules() -> &'static [Rule] {
    static RULES: LazyLock<Vec<Rule>> = LazyLock::new(|| FILES.iter().flat_map(|(name, text)| read(name, text)).collect());
    &RULES
}

fn read(name: &str, text: &str) -> Vec<Rule> {
    let file: File = serde_yaml::from_str(text).expect("because each file is read by a test");
    let source = format!("the built-in rules for {name}");
    let read = |rule: &RuleText| Rule::read(rule, &source).expect("because each file is read by a test");
    file.rules.iter().map(read).collect()
}
