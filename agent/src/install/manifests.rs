//! The objects of an installation, from those of `install/base`.

use serde_json::{Map, Value, json};
use tk8s_core::Digest;

use super::Called;

/// The base's objects, in the order in which they are applied: what others are in or stand on comes first.
const BASE: [&str; 9] = [
    include_str!("../../../install/base/namespace.yaml"),
    include_str!("../../../install/base/components.yaml"),
    include_str!("../../../install/base/serviceaccount.yaml"),
    include_str!("../../../install/base/rbac-own.yaml"),
    include_str!("../../../install/base/rbac-people.yaml"),
    include_str!("../../../install/base/volume.yaml"),
    include_str!("../../../install/base/networkpolicy.yaml"),
    include_str!("../../../install/base/service.yaml"),
    include_str!("../../../install/base/deployment.yaml"),
];
/// As the base calls what an installation calls otherwise.
const NAME: &str = "tk8s-agent";
const OWN: &str = "tk8s-agent-tk8s";
const IN_NO_NAMESPACE: [&str; 4] = ["Namespace", "CustomResourceDefinition", "ClusterRole", "ClusterRoleBinding"];
/// Keys of the agent's file that are in force after a restart only; of `repository` the URL. As the chart has them.
const RESTARTS: [&str; 8] = ["instance", "cluster", "environment", "history", "api", "render", "lease", "watch"];
/// The annotation that restarts the Pod when one of them changes.
const RESTARTS_WITH: &str = "agent.tk8s.io/restarts-with";

/// What an installation has besides its name.
pub struct Parts {
    /// Where the image is.
    pub image: String,
    /// The text of the agent's file.
    pub config: String,
    /// The text of the signers file, if it comes with the installation.
    pub signers: Option<String>,
    /// Whether the Pod has what logs in to Git, and the webhook's secret.
    pub git: bool,
    pub webhook: bool,
    /// Namespaces whose Pods may call the API and its webhooks: that of an ingress controller.
    pub callers: Vec<String>,
    /// The class of the volume; the cluster's default if none is named.
    pub storage_class: Option<String>,
    /// Secrets that are made with it.
    pub secrets: Vec<Value>,
    /// What the platform needs besides.
    pub rights: Vec<Value>,
}

/// All objects, in the order in which they are applied.
pub fn objects(called: &Called, parts: Parts) -> Vec<Value> {
    let mut all: Vec<Value> = BASE.iter().flat_map(|text| documents(text)).map(|object| named(object, called)).collect();
    for object in &mut all {
        match object["kind"].as_str() {
            Some("Deployment") => deployment(object, called, &parts),
            Some("NetworkPolicy") => network_policy(object, &parts),
            Some("PersistentVolumeClaim") => {
                if let Some(class) = &parts.storage_class {
                    object["spec"]["storageClassName"] = json!(class);
                }
            }
            _ => {}
        }
    }
    let Parts { config, signers, secrets, rights, .. } = parts;
    let files = [("config", "agent.yaml", Some(config)), ("signers", "signers.yaml", signers)];
    let maps = files.into_iter().filter_map(|(part, key, text)| Some(config_map(called, part, key, &text?)));
    // Behind the volume, before what mounts them.
    let mounted = all.iter().position(|object| object["kind"] == "NetworkPolicy").unwrap_or(all.len());
    all.splice(mounted..mounted, maps.chain(secrets).chain(rights));
    all
}

fn documents(text: &str) -> Vec<Value> {
    let read = |text: &str| serde_yaml::from_str::<Value>(text).expect("because a test applies the base");
    text.split("\n---").map(read).filter(|object| !object.is_null()).collect()
}

/// What everything of an installation is found by.
pub fn labels(called: &Called) -> Value {
    json!({"app.kubernetes.io/name": NAME, "app.kubernetes.io/instance": called.instance})
}

/// Puts the installation's name, namespace and labels in the place of the base's, as its kustomization does.
fn named(mut object: Value, called: &Called) -> Value {
    rename(&mut object, "", called);
    let kind = object["kind"].as_str().unwrap_or_default().to_owned();
    let metadata = object["metadata"].as_object_mut().expect("because every object has metadata");
    match kind.as_str() {
        "Namespace" => drop(metadata.insert("name".into(), json!(called.namespace))),
        kind if !IN_NO_NAMESPACE.contains(&kind) => drop(metadata.insert("namespace".into(), json!(called.namespace))),
        _ => {}
    }
    let all = metadata.entry("labels").or_insert_with(|| Value::Object(Map::new()));
    for (name, value) in labels(called).as_object().into_iter().flatten() {
        all[name] = value.clone();
    }
    object
}

/// Names stand below few keys. What the agent makes itself is called by its instance always, what it is installed as is not.
fn rename(value: &mut Value, key: &str, called: &Called) {
    match value {
        Value::Object(fields) => fields.iter_mut().for_each(|(key, value)| rename(value, key, called)),
        Value::Array(items) => items.iter_mut().for_each(|item| rename(item, key, called)),
        Value::String(text) => match key {
            "app.kubernetes.io/instance" => *text = called.instance.to_string(),
            "namespace" => *text = called.namespace.clone(),
            "resourceNames" => {
                if let Some(rest) = text.strip_prefix(OWN) {
                    *text = format!("{NAME}-{}{rest}", called.instance);
                }
            }
            "name" | "serviceAccountName" | "secretName" | "claimName" => {
                if let Some(rest) = text.strip_prefix(NAME) {
                    *text = format!("{}{rest}", called.name());
                }
            }
            _ => {}
        },
        _ => {}
    }
}

fn deployment(object: &mut Value, called: &Called, parts: &Parts) {
    let template = &mut object["spec"]["template"];
    template["metadata"]["annotations"][RESTARTS_WITH] = json!(restarts_with(&parts.config));
    let spec = &mut template["spec"];
    spec["containers"][0]["image"] = json!(parts.image);
    let list = |spec: &mut Value, pointer: &str, change: &mut dyn FnMut(&mut Vec<Value>)| {
        change(spec.pointer_mut(pointer).and_then(Value::as_array_mut).expect("because the base has it"));
    };
    if !parts.git {
        for pointer in ["/volumes", "/containers/0/volumeMounts"] {
            list(spec, pointer, &mut |all| all.retain(|one| one["name"] != "git"));
        }
    }
    if parts.webhook {
        let mount = json!({"name": "webhook", "mountPath": "/run/tk8s/webhook", "readOnly": true});
        let volume = json!({"name": "webhook", "secret": {"secretName": called.part("webhook"), "defaultMode": 288}});
        for (pointer, one) in [("/containers/0/volumeMounts", mount), ("/volumes", volume)] {
            list(spec, pointer, &mut |all| {
                let at = all.iter().position(|one| one["name"] == "history").unwrap_or(all.len());
                all.insert(at, one.clone());
            });
        }
    }
}

/// Another text whenever the Pod has to be restarted for the agent's file, and no other.
fn restarts_with(config: &str) -> String {
    let read: Value = serde_yaml::from_str(config).unwrap_or_default();
    let mut keys: Map<String, Value> = RESTARTS.iter().map(|key| ((*key).to_owned(), read[*key].clone())).collect();
    keys.insert("url".into(), read["repository"]["url"].clone());
    Digest::of(Value::Object(keys).to_string()).hex().to_string()
}

fn network_policy(object: &mut Value, parts: &Parts) {
    if parts.callers.is_empty() {
        return;
    }
    let from: Vec<_> = parts
        .callers
        .iter()
        .map(|name| json!({"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": name}}}))
        .collect();
    let rule = json!({"ports": [{"port": "api", "protocol": "TCP"}], "from": from});
    object["spec"]["ingress"].as_array_mut().expect("because the base has it").insert(0, rule);
}

fn config_map(called: &Called, part: &str, key: &str, text: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": called.part(part), "namespace": called.namespace, "labels": labels(called)},
        "data": {key: text},
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn called(instance: &str, namespace: &str) -> Called {
        Called { instance: instance.parse().unwrap(), namespace: namespace.into() }
    }

    fn parts(config: &str) -> Parts {
        let (signers, callers, secrets, rights) = Default::default();
        Parts {
            image: "r/i:1".into(),
            config: config.into(),
            signers,
            git: true,
            webhook: false,
            callers,
            storage_class: None,
            secrets,
            rights,
        }
    }

    #[test]
    fn another_instance_has_another_name_everywhere_and_the_people_s_roles_are_the_cluster_s() {
        let text = super::super::text(&objects(&called("edge", "elsewhere"), parts("{}")));
        assert!(!text.contains("tk8s-system"), "{text}");
        for line in text.lines().filter(|line| line.contains("tk8s-agent")) {
            let line = line.trim();
            let is_label = line.ends_with("app.kubernetes.io/name: tk8s-agent");
            // The annotation of the definition, and its texts, are the same for all.
            let is_definition = line.contains("agent.tk8s.io/") || line.starts_with("description:") || line.starts_with('#');
            assert!(is_label || is_definition || line.contains("tk8s-agent-edge"), "{line}");
        }
        assert!(text.contains("name: tk8s-viewer") && text.contains("- tk8s-agent-edge-api"));
        let usual = super::super::text(&objects(&called("tk8s", "tk8s-system"), parts("{}")));
        assert!(usual.contains("- tk8s-agent-tk8s-api") && usual.contains("name: tk8s-agent-config"));
    }

    #[test]
    fn the_pod_is_restarted_for_what_needs_that_and_for_nothing_else() {
        let with = |config: &str| restarts_with(config);
        let before = with("{instance: a, repository: {url: u, interval: 1s}, api: {listen: x}}");
        assert_eq!(before, with("{instance: a, repository: {url: u, interval: 9s}, api: {listen: x}, trust: {}}"));
        assert_ne!(before, with("{instance: a, repository: {url: other, interval: 1s}, api: {listen: x}}"));
        assert_ne!(before, with("{instance: a, repository: {url: u, interval: 1s}, api: {listen: y}}"));
    }
}
