//! How the API server calls a kind, and whether its objects live in namespaces: what a rule of RBAC needs, and a manifest
//! does not say.
//!
//! Pure. Known are Kubernetes' own kinds, those whose definitions the platform brings itself, and what somebody says or a
//! cluster told. Nothing is guessed: a plural that is wrong makes a rule that gives nothing, or something else.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde_json::Value;
use tk8s_core::{GroupVersionKind, Manifest, ObjectKey};
use tk8s_diff::cluster::Resource;

/// How a kind is called in rules.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Named {
    pub group: String,
    pub plural: String,
    pub namespaced: bool,
}

/// What is known, by group and kind.
pub struct Kinds(BTreeMap<(String, String), Named>);

/// A kind that somebody names: `Certificate.cert-manager.io=certificates`, with `,cluster` where its objects are in no
/// namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hint {
    kind: String,
    named: Named,
}

impl FromStr for Hint {
    type Err = String;

    fn from_str(text: &str) -> Result<Hint, String> {
        let wrong = || "write `KIND.GROUP=PLURAL`, and `,cluster` behind it for a kind in no namespace".to_owned();
        let (kind, called) = text.split_once('=').ok_or_else(wrong)?;
        let (kind, group) = kind.split_once('.').ok_or_else(wrong)?;
        let (plural, namespaced) = match called.split_once(',') {
            None => (called, true),
            Some((plural, "cluster")) => (plural, false),
            Some(_) => return Err(wrong()),
        };
        if !is_plain(kind) || !is_plain(group) || !is_plain(plural) || plural.contains('.') {
            return Err(wrong());
        }
        Ok(Hint { kind: kind.into(), named: Named { group: group.into(), plural: plural.into(), namespaced } })
    }
}

fn is_plain(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-".contains(&byte))
}

/// A kind of which nobody said how it is called.
#[derive(Debug, PartialEq, Eq)]
pub struct UnknownKind(pub GroupVersionKind);

impl fmt::Display for UnknownKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let GroupVersionKind { group, kind, .. } = &self.0;
        write!(
            f,
            "nobody says how the API server calls {kind} of {group}: its definition is not part of the platform; add \
             `--kind {kind}.{group}=PLURAL` (with `,cluster` if it is in no namespace), or ask a cluster that has it, with \
             `--kubeconfig FILE`"
        )
    }
}

impl Kinds {
    /// Kubernetes' own, and those that are named.
    pub fn known(hints: &[Hint]) -> Kinds {
        let own = BUILT_IN.iter().map(|(group, kind, plural, namespaced)| {
            let named = Named { group: (*group).into(), plural: (*plural).into(), namespaced: *namespaced };
            ((named.group.clone(), (*kind).to_owned()), named)
        });
        let hinted = hints.iter().map(|hint| ((hint.named.group.clone(), hint.kind.clone()), hint.named.clone()));
        Kinds(own.chain(hinted).collect())
    }

    /// Takes over what a definition says of the kind that it defines.
    pub fn learn(&mut self, manifest: &Manifest) {
        if manifest.key().group != "apiextensions.k8s.io" || manifest.key().kind != "CustomResourceDefinition" {
            return;
        }
        let spec = manifest.object().get("spec").unwrap_or(&Value::Null);
        let text = |pointer: &str| spec.pointer(pointer).and_then(Value::as_str);
        let (Some(group), Some(kind), Some(plural)) = (text("/group"), text("/names/kind"), text("/names/plural")) else {
            return;
        };
        // What a rule says about `*` is said about everything: no API server takes such a definition, and a rule would.
        if ![group, kind].into_iter().all(is_plain) || !is_plain(plural) || plural.contains('.') {
            return;
        }
        let named = Named { group: group.into(), plural: plural.into(), namespaced: text("/scope") == Some("Namespaced") };
        self.0.entry((group.into(), kind.into())).or_insert(named);
    }

    /// Takes over what a cluster told.
    pub fn told(&mut self, resource: &Resource) {
        let GroupVersionKind { group, kind, .. } = &resource.kind;
        let named = Named { group: group.clone(), plural: resource.plural.clone(), namespaced: resource.namespaced };
        self.0.insert((group.clone(), kind.clone()), named);
    }

    /// Whether it is known how the kind of an object is called.
    pub fn has(&self, key: &ObjectKey) -> bool {
        self.0.contains_key(&(key.group.clone(), key.kind.clone()))
    }

    /// How the kind of an object is called.
    pub fn of(&self, manifest: &Manifest) -> Result<&Named, UnknownKind> {
        let GroupVersionKind { group, kind, .. } = manifest.kind();
        self.0.get(&(group.clone(), kind.clone())).ok_or_else(|| UnknownKind(manifest.kind().clone()))
    }
}

/// Kubernetes' own kinds that can be listed and applied: group, kind, plural, and whether they are in namespaces. A test
/// compares them with what an API server says.
pub(crate) const BUILT_IN: &[(&str, &str, &str, bool)] = &[
    ("admissionregistration.k8s.io", "MutatingAdmissionPolicy", "mutatingadmissionpolicies", false),
    ("admissionregistration.k8s.io", "MutatingAdmissionPolicyBinding", "mutatingadmissionpolicybindings", false),
    ("admissionregistration.k8s.io", "MutatingWebhookConfiguration", "mutatingwebhookconfigurations", false),
    ("admissionregistration.k8s.io", "ValidatingAdmissionPolicy", "validatingadmissionpolicies", false),
    ("admissionregistration.k8s.io", "ValidatingAdmissionPolicyBinding", "validatingadmissionpolicybindings", false),
    ("admissionregistration.k8s.io", "ValidatingWebhookConfiguration", "validatingwebhookconfigurations", false),
    ("apiextensions.k8s.io", "CustomResourceDefinition", "customresourcedefinitions", false),
    ("apiregistration.k8s.io", "APIService", "apiservices", false),
    ("apps", "ControllerRevision", "controllerrevisions", true),
    ("apps", "DaemonSet", "daemonsets", true),
    ("apps", "Deployment", "deployments", true),
    ("apps", "ReplicaSet", "replicasets", true),
    ("apps", "StatefulSet", "statefulsets", true),
    ("autoscaling", "HorizontalPodAutoscaler", "horizontalpodautoscalers", true),
    ("batch", "CronJob", "cronjobs", true),
    ("batch", "Job", "jobs", true),
    ("certificates.k8s.io", "CertificateSigningRequest", "certificatesigningrequests", false),
    ("coordination.k8s.io", "Lease", "leases", true),
    ("discovery.k8s.io", "EndpointSlice", "endpointslices", true),
    ("events.k8s.io", "Event", "events", true),
    ("flowcontrol.apiserver.k8s.io", "FlowSchema", "flowschemas", false),
    ("flowcontrol.apiserver.k8s.io", "PriorityLevelConfiguration", "prioritylevelconfigurations", false),
    ("networking.k8s.io", "IPAddress", "ipaddresses", false),
    ("networking.k8s.io", "IngressClass", "ingressclasses", false),
    ("networking.k8s.io", "ServiceCIDR", "servicecidrs", false),
    ("networking.k8s.io", "Ingress", "ingresses", true),
    ("networking.k8s.io", "NetworkPolicy", "networkpolicies", true),
    ("node.k8s.io", "RuntimeClass", "runtimeclasses", false),
    ("policy", "PodDisruptionBudget", "poddisruptionbudgets", true),
    ("rbac.authorization.k8s.io", "ClusterRole", "clusterroles", false),
    ("rbac.authorization.k8s.io", "ClusterRoleBinding", "clusterrolebindings", false),
    ("rbac.authorization.k8s.io", "Role", "roles", true),
    ("rbac.authorization.k8s.io", "RoleBinding", "rolebindings", true),
    ("resource.k8s.io", "DeviceClass", "deviceclasses", false),
    ("resource.k8s.io", "ResourceSlice", "resourceslices", false),
    ("resource.k8s.io", "ResourceClaim", "resourceclaims", true),
    ("resource.k8s.io", "ResourceClaimTemplate", "resourceclaimtemplates", true),
    ("scheduling.k8s.io", "PriorityClass", "priorityclasses", false),
    ("storage.k8s.io", "CSIDriver", "csidrivers", false),
    ("storage.k8s.io", "CSINode", "csinodes", false),
    ("storage.k8s.io", "StorageClass", "storageclasses", false),
    ("storage.k8s.io", "VolumeAttachment", "volumeattachments", false),
    ("storage.k8s.io", "VolumeAttributesClass", "volumeattributesclasses", false),
    ("storage.k8s.io", "CSIStorageCapacity", "csistoragecapacities", true),
    ("", "Namespace", "namespaces", false),
    ("", "Node", "nodes", false),
    ("", "PersistentVolume", "persistentvolumes", false),
    ("", "ConfigMap", "configmaps", true),
    ("", "Endpoints", "endpoints", true),
    ("", "Event", "events", true),
    ("", "LimitRange", "limitranges", true),
    ("", "PersistentVolumeClaim", "persistentvolumeclaims", true),
    ("", "Pod", "pods", true),
    ("", "PodTemplate", "podtemplates", true),
    ("", "ReplicationController", "replicationcontrollers", true),
    ("", "ResourceQuota", "resourcequotas", true),
    ("", "Secret", "secrets", true),
    ("", "Service", "services", true),
    ("", "ServiceAccount", "serviceaccounts", true),
];

#[cfg(test)]
mod tests {
    use serde_json::json;
    use tk8s_core::Origin;

    use super::*;

    fn manifest(object: Value) -> Manifest {
        Manifest::new(object, Origin { file: "all.yaml".into(), line: 1 }).unwrap()
    }

    fn of(api_version: &str, kind: &str) -> Manifest {
        manifest(json!({"apiVersion": api_version, "kind": kind, "metadata": {"name": "a"}}))
    }

    #[test]
    fn a_kind_is_called_as_kubernetes_its_definition_or_somebody_says() {
        let mut kinds = Kinds::known(&["Issuer.cert-manager.io=issuers,cluster".parse().unwrap()]);
        kinds.learn(&manifest(json!({
            "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": "foxes.example.com"},
            "spec": {"group": "example.com", "names": {"kind": "Fox", "plural": "foxes"}, "scope": "Namespaced"},
        })));
        let called = |api_version, kind| {
            let named = kinds.of(&of(api_version, kind)).unwrap();
            (named.plural.clone(), named.namespaced)
        };
        assert_eq!(called("networking.k8s.io/v1", "Ingress"), ("ingresses".into(), true));
        assert_eq!(called("v1", "Namespace"), ("namespaces".into(), false));
        assert_eq!(called("example.com/v7", "Fox"), ("foxes".into(), true));
        assert_eq!(called("cert-manager.io/v1", "Issuer"), ("issuers".into(), false));
        // Not one of the same name of another group.
        let unknown = kinds.of(&of("other.example.com/v1", "Ingress")).unwrap_err();
        assert!(unknown.to_string().contains("--kind Ingress.other.example.com=PLURAL"), "{unknown}");
    }

    #[test]
    fn a_definition_from_git_does_not_rename_a_kind_of_kubernetes() {
        let mut kinds = Kinds::known(&[]);
        kinds.learn(&manifest(json!({
            "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": "secrets.apps"},
            "spec": {"group": "apps", "names": {"kind": "Deployment", "plural": "secrets"}, "scope": "Cluster"},
        })));
        assert_eq!(kinds.of(&of("apps/v1", "Deployment")).unwrap().plural, "deployments");
    }

    #[test]
    fn a_definition_that_says_everything_is_heard_by_nobody() {
        let mut kinds = Kinds::known(&[]);
        for (group, plural) in [("*", "foxes"), ("example.com", "*"), ("example.com", "foxes/status"), ("example.com", "")] {
            kinds.learn(&manifest(json!({
                "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": "a"},
                "spec": {"group": group, "names": {"kind": "Fox", "plural": plural}, "scope": "Namespaced"},
            })));
        }
        assert!(kinds.of(&of("*/v1", "Fox")).is_err() && kinds.of(&of("example.com/v1", "Fox")).is_err());
    }

    #[test]
    fn a_hint_that_is_none_is_refused() {
        for text in
            ["Fox", "Fox=foxes", "Fox.example.com", "Fox.example.com=", "Fox.example.com=foxes,namespaced", "F x.y=z", "Fox.y=*"]
        {
            assert!(text.parse::<Hint>().is_err(), "{text}");
        }
    }
}
