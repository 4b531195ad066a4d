//! What becomes of the hooks of a chart.
//!
//! Helm runs a hook at a moment of its own life: before it installs, after it upgraded. Here there are no such moments, only
//! what ought to exist. So an object is taken where both mean the same: what Helm makes before everything else, at every
//! install and every upgrade, leaves in the cluster, and what runs nothing, is an ordinary object. Everything else is left
//! out, and said: half of a hook (the rights of a Job that never runs, a Job that runs at another time) is worse than none.

use std::collections::BTreeSet;

use serde_json::Value;
use tk8s_core::{Origin, printable};

use crate::Warning;

/// What says that an object is a hook, and when.
const HOOK: &str = "helm.sh/hook";
/// What says when Helm deletes it again.
const DELETED: &str = "helm.sh/hook-delete-policy";
/// Kinds that run nothing, keep no data and are used by what comes after them.
const PASSIVE: [&str; 8] = [
    "ClusterRole",
    "ClusterRoleBinding",
    "ConfigMap",
    "CustomResourceDefinition",
    "Role",
    "RoleBinding",
    "Secret",
    "ServiceAccount",
];
/// What Helm says of hooks that it does not know, when it leaves them out itself.
const UNKNOWN: &str = "skipping unknown hooks";

/// Why an object is left out, if it is. Tests don't come this far (`--skip-tests`), nor do hooks that Helm doesn't know.
pub(crate) fn left_out(value: &Value, origin: &Origin) -> Option<Warning> {
    let annotation = |name: &str| words(value.pointer("/metadata/annotations")?.get(name)?.as_str()?);
    let when = annotation(HOOK)?;
    let deleted = annotation(DELETED).unwrap_or_default();
    let text = |pointer: &str| printable(value.pointer(pointer).and_then(Value::as_str).unwrap_or("?"), 100);
    let (kind, name) = (text("/kind"), text("/metadata/name"));
    let always = ["pre-install", "pre-upgrade"].iter().all(|event| when.contains(*event));
    let before = when.iter().all(|event| ["pre-install", "pre-upgrade", "pre-rollback"].contains(&event.as_str()));
    let has = |start: &str| when.iter().any(|event| event.starts_with(start));
    let (why, next) = if !(has("pre-install") || has("pre-upgrade") || has("post-install") || has("post-upgrade")) {
        ("Helm makes it when a release is deleted or rolled back", "do by hand what it is for")
    } else if deleted.contains("hook-succeeded") {
        ("Helm deletes it again once it is ready", "what needs it is left out too, or has to bring it")
    } else if !PASSIVE.contains(&kind.as_str()) {
        ("it is no part of what runs afterwards", "if it is needed, make it a component before or after this one (`dependsOn`)")
    } else if !before {
        ("Helm makes it after everything else", "if it is needed, make it a component that depends on this one (`dependsOn`)")
    } else if !always {
        (
            "Helm makes it once, and does not keep it up to date",
            "if it is needed, make it a component before this one (`dependsOn`)",
        )
    } else {
        return None;
    };
    let events = when.into_iter().collect::<Vec<_>>().join(",");
    let message = format!("{kind} {name} is a Helm hook ({}) and is left out: {why}", printable(&events, 100));
    Some(Warning { rule: "HookLeftOut", origin: origin.clone(), message, next })
}

/// Words between commas, as Helm reads them.
fn words(text: &str) -> Option<BTreeSet<String>> {
    Some(text.split(',').map(|word| word.trim().to_ascii_lowercase()).collect())
}

/// The hooks that Helm says it doesn't know: it leaves out the objects without a word in its output.
pub(crate) fn unknown(said: &str) -> BTreeSet<String> {
    let lines = said.lines().filter(|line| line.contains(UNKNOWN));
    lines.filter_map(|line| Some(line.split_once("hookTypes=")?.1.trim().trim_matches('"').to_owned())).collect()
}

/// A warning about such a hook, at the line of a template that names it.
pub(crate) fn unknown_at(when: &str, origin: Origin) -> Warning {
    let next = match when {
        "crd-install" => "put definitions into the chart's `crds` directory",
        _ => "write one that Helm knows, or no hook",
    };
    let message = format!("an object with the hook `{}`, which Helm doesn't know, is left out", printable(when, 100));
    Warning { rule: "HookUnknown", origin, message, next }
}

/// The line of a template that names a hook.
pub(crate) fn line_of(template: &str, when: &str) -> Option<usize> {
    template.lines().position(|line| line.contains(HOOK) && line.contains(when)).map(|index| index + 1)
}
