//! Which kinds live in namespaces, as far as that can be known without a cluster: the built-in kinds, and those whose CRD
//! is in the same set.

use std::collections::HashMap;

use tk8s_core::{GroupVersionKind, Manifest};

/// Where the objects of a kind live.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// In namespaces.
    Namespaced,
    /// In the cluster itself.
    Cluster,
    /// Only the API server knows.
    Unknown,
}

/// Built-in kinds that are not in a namespace, by group.
const CLUSTER: &[(&str, &[&str])] = &[
    ("", &["Namespace", "Node", "PersistentVolume", "ComponentStatus"]),
    (
        "admissionregistration.k8s.io",
        &[
            "MutatingWebhookConfiguration",
            "ValidatingWebhookConfiguration",
            "ValidatingAdmissionPolicy",
            "ValidatingAdmissionPolicyBinding",
            "MutatingAdmissionPolicy",
            "MutatingAdmissionPolicyBinding",
        ],
    ),
    ("apiextensions.k8s.io", &["CustomResourceDefinition"]),
    ("apiregistration.k8s.io", &["APIService"]),
    ("certificates.k8s.io", &["CertificateSigningRequest", "ClusterTrustBundle"]),
    ("flowcontrol.apiserver.k8s.io", &["FlowSchema", "PriorityLevelConfiguration"]),
    ("networking.k8s.io", &["IngressClass", "IPAddress", "ServiceCIDR"]),
    ("node.k8s.io", &["RuntimeClass"]),
    ("rbac.authorization.k8s.io", &["ClusterRole", "ClusterRoleBinding"]),
    ("resource.k8s.io", &["DeviceClass", "ResourceSlice", "DeviceTaintRule"]),
    ("scheduling.k8s.io", &["PriorityClass"]),
    ("storage.k8s.io", &["CSIDriver", "CSINode", "StorageClass", "VolumeAttachment", "VolumeAttributesClass"]),
    ("storagemigration.k8s.io", &["StorageVersionMigration"]),
];

/// Groups whose other kinds are all namespaced.
const BUILT_IN: &[&str] = &["apps", "autoscaling", "batch", "coordination.k8s.io", "discovery.k8s.io", "events.k8s.io", "policy"];

/// Where kinds live, given the CRDs of a set.
pub struct Scopes<'a>(HashMap<(&'a str, &'a str), Scope>);

impl<'a> Scopes<'a> {
    /// Takes what the CRDs of a set say. Of two for the same kind the first counts.
    pub fn of(objects: &'a [Manifest]) -> Scopes<'a> {
        let mut scopes = HashMap::new();
        for crd in objects.iter().filter(|object| object.kind().kind == "CustomResourceDefinition") {
            let spec = crd.object().get("spec");
            let field = |pointer: &str| spec.and_then(|spec| spec.pointer(pointer)).and_then(|value| value.as_str());
            if let (Some(group), Some(kind)) = (field("/group"), field("/names/kind")) {
                let scope = if field("/scope") == Some("Cluster") { Scope::Cluster } else { Scope::Namespaced };
                scopes.entry((group, kind)).or_insert(scope);
            }
        }
        Scopes(scopes)
    }

    /// Where the objects of a kind live.
    pub fn scope(&self, kind: &GroupVersionKind) -> Scope {
        if let Some(scope) = self.0.get(&(kind.group.as_str(), kind.kind.as_str())) {
            return *scope;
        }
        if let Some((_, kinds)) = CLUSTER.iter().find(|(group, _)| *group == kind.group) {
            return if kinds.contains(&kind.kind.as_str()) { Scope::Cluster } else { Scope::Namespaced };
        }
        if BUILT_IN.contains(&kind.group.as_str()) { Scope::Namespaced } else { Scope::Unknown }
    }
}
