//! What is applied: ConfigMaps and Deployments, four to one, each a little larger than small. The Deployments are paused and
//! have no replicas: what becomes of them afterwards is not what is measured.

use serde_json::{Value, json};
use tk8s_core::{GroupVersionKind, ObjectKey};
use tk8s_diff::cluster::Resource;

/// So many components with so many objects in each.
#[derive(Clone, Copy)]
pub(crate) struct Workload {
    pub(crate) components: usize,
    pub(crate) each: usize,
}

impl Workload {
    /// Components of a hundred objects each, or of ten where that would make fewer than ten.
    pub(crate) fn spread(objects: usize) -> Workload {
        let each = if objects >= 1_000 { 100 } else { 10 };
        Workload { components: objects / each, each }
    }

    /// One component.
    pub(crate) fn whole(objects: usize) -> Workload {
        Workload { components: 1, each: objects }
    }

    pub(crate) fn objects(self) -> usize {
        self.components * self.each
    }

    /// The name of a component.
    pub(crate) fn component(self, number: usize) -> String {
        format!("c{number:04}")
    }

    /// An object of a component, as it is at this version of everything.
    pub(crate) fn object(self, component: usize, number: usize, namespace: &str, version: &str) -> Value {
        let name = format!("c{component:04}-{number:05}");
        if number % 5 == 4 {
            return json!({
                "apiVersion": "apps/v1", "kind": "Deployment",
                "metadata": {"name": name, "namespace": namespace, "labels": {"app": name}},
                "spec": {
                    "replicas": 0, "paused": true, "selector": {"matchLabels": {"app": name}},
                    "template": {
                        "metadata": {"labels": {"app": name}, "annotations": {"example.com/version": version}},
                        "spec": {"containers": [{
                            "name": "main", "image": "registry.example.com/team/app:1.2.3",
                            "args": ["--listen", ":8080", "--log-level", "info"],
                            "env": [{"name": "VERSION", "value": version}],
                            "ports": [{"name": "http", "containerPort": 8080, "protocol": "TCP"}],
                            "resources": {"requests": {"cpu": "100m", "memory": "64Mi"}, "limits": {"memory": "128Mi"}},
                            "readinessProbe": {"httpGet": {"path": "/ready", "port": "http"}, "periodSeconds": 5},
                        }]},
                    },
                },
            });
        }
        let text =
            format!("[server]\nlisten = \":8080\"\nversion = \"{version}\"\nlevel = \"info\"\nretries = 3\ntimeout = \"30s\"\n");
        json!({
            "apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"name": name, "namespace": namespace, "labels": {"app": name}},
            "data": {"at": version, "server.toml": text},
        })
    }

    /// The file of a component: its objects, one a line.
    pub(crate) fn file(self, component: usize, namespace: &str, version: &str) -> String {
        let objects = (0..self.each).map(|number| self.object(component, number, namespace, version).to_string());
        objects.collect::<Vec<_>>().join("\n---\n") + "\n"
    }

    /// The platform file.
    pub(crate) fn platform(self) -> String {
        let names = (0..self.components).map(|number| self.component(number));
        let components: Vec<_> = names.map(|name| format!("{{name: {name}, path: {name}}}")).collect();
        format!(
            "apiVersion: tk8s.io/v1alpha1\nkind: Platform\nlayers:\n  - {{number: 0, name: all, components: [{}]}}\n",
            components.join(", ")
        )
    }
}

/// The two kinds.
pub(crate) fn kinds() -> [Resource; 2] {
    let kind = |group: &str, kind: &str, plural: &str| Resource {
        kind: GroupVersionKind { group: group.into(), version: "v1".into(), kind: kind.into() },
        plural: plural.into(),
        namespaced: true,
    };
    [kind("", "ConfigMap", "configmaps"), kind("apps", "Deployment", "deployments")]
}

/// How the API server calls the kind of one of these objects, and the object's key.
pub(crate) fn named(object: &Value) -> (Resource, ObjectKey) {
    let [maps, deployments] = kinds();
    let resource = if object["kind"] == "Deployment" { deployments } else { maps };
    let text = |field: &str| object["metadata"][field].as_str().expect("because it is ours").to_owned();
    let key = ObjectKey {
        group: resource.kind.group.clone(),
        kind: resource.kind.kind.clone(),
        namespace: Some(text("namespace")),
        name: text("name"),
    };
    (resource, key)
}
