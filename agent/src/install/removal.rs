//! What is taken away when the agent is: its own objects, by their exact names, as a cluster has them. Never what it deployed.

use kube::api::{ApiResource, DynamicObject, GroupVersionKind, ListParams};
use serde_json::{Value, json};
use tk8s_core::{INSTANCE_LABEL, chain, printable};

use super::{Called, KEYS, WEBHOOK};

/// The kinds of an installation, in the order in which they go: who writes first, what he may last.
const INSTALLED: [(&str, &str, &str, &str); 9] = [
    ("apps", "v1", "Deployment", "deployments"),
    ("", "v1", "Service", "services"),
    ("networking.k8s.io", "v1", "NetworkPolicy", "networkpolicies"),
    ("", "v1", "ConfigMap", "configmaps"),
    ("rbac.authorization.k8s.io", "v1", "RoleBinding", "rolebindings"),
    ("rbac.authorization.k8s.io", "v1", "ClusterRoleBinding", "clusterrolebindings"),
    ("rbac.authorization.k8s.io", "v1", "Role", "roles"),
    ("rbac.authorization.k8s.io", "v1", "ClusterRole", "clusterroles"),
    ("", "v1", "ServiceAccount", "serviceaccounts"),
];
/// Roles for people, which a cluster has once.
const PEOPLE: [&str; 3] = ["tk8s-viewer", "tk8s-operator", "tk8s-confirmer"];
const NAME_LABEL: &str = "app.kubernetes.io/name=tk8s-agent";
const OF_INSTANCE: &str = "app.kubernetes.io/instance";

/// What the cluster has of an installation.
#[derive(Debug, Default)]
pub struct Found {
    /// What goes, each by its kind and name.
    pub goes: Vec<Value>,
    /// What stays, in words.
    pub stays: Vec<String>,
}

/// Looks for it. `purge`: what the instance remembers goes as well.
pub async fn find(client: &kube::Client, called: &Called, purge: bool) -> Result<Found, String> {
    let mut found = Found::default();
    let selector = format!("{NAME_LABEL},{OF_INSTANCE}={}", called.instance);
    let others = format!("{NAME_LABEL},{OF_INSTANCE}!={}", called.instance);
    let alone = list(client, &kind(INSTALLED[0]), None, &others).await?.is_empty();
    for of in INSTALLED {
        for object in list(client, &kind(of), None, &selector).await? {
            let (labels, name) = (object.metadata.labels.unwrap_or_default(), object.metadata.name.unwrap_or_default());
            // A release that brings something with these labels has put its own there, too.
            if labels.contains_key(INSTANCE_LABEL) {
                continue;
            }
            if PEOPLE.contains(&name.as_str()) && !alone {
                found.stays.push(format!("ClusterRole {name}, which other instances use"));
                continue;
            }
            found.goes.push(reference(of, object.metadata.namespace.as_deref(), &name));
        }
    }
    let own = crate::anchor::store::key(&called.namespace, &called.instance).name;
    let api = crate::endpoint::published::name_of(called.instance.as_str());
    let lease = crate::lease::key(&called.namespace, &called.instance).name;
    let kept = [
        (("", "v1", "PersistentVolumeClaim", "persistentvolumeclaims"), called.part("history"), "history, ledger and mirror"),
        (("", "v1", "Secret", "secrets"), called.part(KEYS.0), "its keys"),
        (("", "v1", "Secret", "secrets"), called.part("git"), "what logs in to Git"),
        (("", "v1", "Secret", "secrets"), called.part(WEBHOOK.0), "the webhook's secret"),
        (("", "v1", "ConfigMap", "configmaps"), own, "its anchor"),
        (("", "v1", "ConfigMap", "configmaps"), api, "its API's certificate"),
        (("coordination.k8s.io", "v1", "Lease", "leases"), lease, "its Lease"),
    ];
    for (of, name, what) in kept {
        let api = kube::Api::<DynamicObject>::namespaced_with(client.clone(), &called.namespace, &kind(of));
        if api.get_opt(&name).await.map_err(|error| told(of.2, &error))?.is_some() {
            keep_or_take(&mut found, purge, reference(of, Some(&called.namespace), &name), what);
        }
    }
    let components = (crate::report::GROUP, "v1alpha1", crate::report::KIND, "components");
    // Where there is no definition, there is none of them.
    let of_instance = format!("{INSTANCE_LABEL}={}", called.instance);
    for object in list(client, &kind(components), Some(&called.namespace), &of_instance).await.unwrap_or_default() {
        let name = object.metadata.name.unwrap_or_default();
        keep_or_take(&mut found, purge, reference(components, Some(&called.namespace), &name), "what it tells of a component");
    }
    found.stays.push("everything that it deployed, the definition of `Component`, and the namespace".into());
    Ok(found)
}

fn keep_or_take(found: &mut Found, purge: bool, object: Value, what: &str) {
    match purge {
        true => found.goes.push(object),
        false => {
            let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            found.stays.push(format!("{} {} ({what})", text(&object["kind"]), text(&object["metadata"]["name"])));
        }
    }
}

fn kind((group, version, kind, plural): (&str, &str, &str, &str)) -> ApiResource {
    ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(group, version, kind), plural)
}

fn reference((group, version, kind, _): (&str, &str, &str, &str), namespace: Option<&str>, name: &str) -> Value {
    let api_version = if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") };
    let metadata = match namespace {
        Some(namespace) => json!({"name": name, "namespace": namespace}),
        None => json!({"name": name}),
    };
    json!({"apiVersion": api_version, "kind": kind, "metadata": metadata})
}

async fn list(
    client: &kube::Client,
    kind: &ApiResource,
    namespace: Option<&str>,
    selector: &str,
) -> Result<Vec<DynamicObject>, String> {
    let api = match namespace {
        Some(namespace) => kube::Api::<DynamicObject>::namespaced_with(client.clone(), namespace, kind),
        None => kube::Api::<DynamicObject>::all_with(client.clone(), kind),
    };
    let found = api.list(&ListParams::default().labels(selector)).await.map_err(|error| told(&kind.kind, &error))?;
    Ok(found.items)
}

fn told(kind: &str, error: &kube::Error) -> String {
    format!("could not look for objects of the kind {kind}: {}", printable(&chain(error), 300))
}
