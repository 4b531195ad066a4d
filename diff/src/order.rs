//! The order of objects inside a component, and where a release has to be cut into turns. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tk8s_core::{InstanceName, Manifest, ObjectKey, Placed};
use tk8s_history::Desired;

use crate::Error;
use crate::sealed::{Brought, Turn};

/// Kinds in the order in which they are applied: what others need comes first, what acts on everybody comes last. A kind
/// that is not listed stands where workloads do.
const ORDER: &[(u16, &[&str])] = &[
    (0, &["Namespace"]),
    (1, &["CustomResourceDefinition"]),
    (2, &["PriorityClass", "RuntimeClass", "StorageClass", "IngressClass", "GatewayClass", "VolumeSnapshotClass", "CSIDriver"]),
    (3, &["ResourceQuota", "LimitRange", "NetworkPolicy", "PodDisruptionBudget"]),
    (4, &["ServiceAccount", "ClusterRole", "Role"]),
    (5, &["ClusterRoleBinding", "RoleBinding"]),
    (6, &["Secret", "ConfigMap", "SealedSecret", "ExternalSecret"]),
    (7, &["PersistentVolume", "PersistentVolumeClaim"]),
    (8, &["Service"]),
    (10, &["Job", "CronJob"]),
    (11, &["HorizontalPodAutoscaler", "VerticalPodAutoscaler", "ScaledObject"]),
    (12, &["Ingress", "HTTPRoute", "Gateway", "ServiceMonitor", "PodMonitor"]),
    (13, &["APIService"]),
    (14, &["ValidatingAdmissionPolicy", "MutatingAdmissionPolicy"]),
    (
        15,
        &[
            "ValidatingAdmissionPolicyBinding",
            "MutatingAdmissionPolicyBinding",
            "ValidatingWebhookConfiguration",
            "MutatingWebhookConfiguration",
        ],
    ),
];
/// Workloads, and every kind that is not listed.
const WORKLOADS: u16 = 9;

/// When an object is applied, relative to the others of its component: equal ranks at the same time.
pub fn rank(key: &ObjectKey) -> u16 {
    ORDER.iter().find(|(_, kinds)| kinds.contains(&key.kind.as_str())).map_or(WORKLOADS, |(rank, _)| *rank)
}

/// Sorts by rank, then by key, so that the order never depends on files.
pub fn order(objects: &mut [Manifest]) {
    objects.sort_by(|a, b| (rank(a.key()), a.key()).cmp(&(rank(b.key()), b.key())));
}

/// By layer, then as [`order`] has it.
pub fn in_order(mut objects: Vec<Placed>) -> Vec<Placed> {
    objects.sort_by(|a, b| {
        let place = |placed: &Placed| (placed.layer.number, rank(placed.manifest.key()));
        place(a).cmp(&place(b)).then_with(|| a.manifest.key().cmp(b.manifest.key()))
    });
    objects
}

/// The annotation that refines the order: objects of a wave are applied when those of the waves below are healthy.
pub const WAVE: &str = "tk8s.io/wave";
/// As far as waves go, up and down.
const FARTHEST: i32 = 1000;

/// The wave of an object, 0 if it says none.
fn wave(manifest: &Manifest) -> Result<i32, Error> {
    let Some(text) = manifest.annotation(WAVE) else { return Ok(0) };
    let wave = text.trim().parse::<i32>().ok().filter(|wave| (-FARTHEST..=FARTHEST).contains(wave));
    wave.ok_or_else(|| Error::Wave { object: manifest.key().to_string(), text: tk8s_core::printable(text, 40) })
}

/// Cuts a release into turns: one for each layer, inside a layer one for each wave, and inside that the namespaces and CRDs
/// that other objects of the layer need come before all of it. A removal is one turn without objects.
pub fn turns(desired: Desired, instance: &InstanceName) -> Result<Vec<Turn>, Error> {
    let (release, objects) = desired.into_parts();
    let brought = Arc::new(brought(objects.iter().map(|placed| &placed.manifest)));
    let all: Arc<Vec<ObjectKey>> = Arc::new(objects.iter().map(|placed| placed.manifest.key().clone()).collect());
    let mut layers: BTreeMap<u16, Vec<Manifest>> = BTreeMap::new();
    for placed in objects {
        layers.entry(placed.layer.number).or_default().push(placed.manifest.owned_by(instance, &release.id.component));
    }
    let mut groups = Vec::new();
    for mut manifests in layers.into_values() {
        order(&mut manifests);
        let (first, rest) = cut(manifests);
        let mut waves: BTreeMap<i32, Vec<Manifest>> = BTreeMap::new();
        for manifest in rest {
            waves.entry(wave(&manifest)?).or_default().push(manifest);
        }
        groups.extend([first].into_iter().chain(waves.into_values()).filter(|group| !group.is_empty()));
    }
    if release.removal.is_some() {
        groups.push(Vec::new());
    }
    let of = u32::try_from(groups.len()).unwrap_or(u32::MAX);
    let turn = |(index, objects)| Turn {
        release: Arc::clone(&release),
        index,
        of,
        objects,
        all: Arc::clone(&all),
        brought: Arc::clone(&brought),
    };
    Ok((0..of).zip(groups).map(turn).collect())
}

/// What others of the set need to exist before they can be planned, and the rest.
fn cut(manifests: Vec<Manifest>) -> (Vec<Manifest>, Vec<Manifest>) {
    let namespaces: BTreeSet<String> = manifests.iter().filter_map(|manifest| manifest.key().namespace.clone()).collect();
    let kinds: BTreeSet<(String, String)> =
        manifests.iter().map(|manifest| (manifest.kind().group.clone(), manifest.kind().kind.clone())).collect();
    manifests.into_iter().partition(|manifest| match manifest.kind().kind.as_str() {
        "Namespace" => namespaces.contains(&manifest.key().name),
        "CustomResourceDefinition" => kinds.contains(&defined_by(manifest)),
        _ => false,
    })
}

fn brought<'a>(manifests: impl Iterator<Item = &'a Manifest>) -> Brought {
    let mut brought = Brought::default();
    for manifest in manifests {
        match manifest.kind().kind.as_str() {
            "Namespace" => drop(brought.namespaces.insert(manifest.key().name.clone())),
            "CustomResourceDefinition" => drop(brought.kinds.insert(defined_by(manifest))),
            _ => {}
        }
    }
    brought
}

/// The group and kind that a CustomResourceDefinition defines.
fn defined_by(manifest: &Manifest) -> (String, String) {
    let spec = |pointer: &str| {
        let value = manifest.object().get("spec").and_then(|spec| spec.pointer(pointer));
        value.and_then(|value| value.as_str()).unwrap_or_default().to_owned()
    };
    (spec("/group"), spec("/names/kind"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use tk8s_core::Origin;

    use super::*;

    fn object(api: &str, kind: &str, namespace: Option<&str>, name: &str) -> Manifest {
        let mut value = json!({"apiVersion": api, "kind": kind, "metadata": {"name": name}});
        if let Some(namespace) = namespace {
            value["metadata"]["namespace"] = namespace.into();
        }
        if kind == "CustomResourceDefinition" {
            value["spec"] = json!({"group": "example.com", "names": {"kind": "Thing"}});
        }
        Manifest::new(value, Origin::default()).unwrap()
    }

    #[test]
    fn what_others_need_comes_first_and_what_acts_on_all_comes_last() {
        let mut objects = vec![
            object("admissionregistration.k8s.io/v1", "ValidatingWebhookConfiguration", None, "w"),
            object("apps/v1", "Deployment", Some("ns"), "d"),
            object("v1", "Service", Some("ns"), "s"),
            object("v1", "ConfigMap", Some("ns"), "c"),
            object("rbac.authorization.k8s.io/v1", "RoleBinding", Some("ns"), "rb"),
            object("v1", "ServiceAccount", Some("ns"), "sa"),
            object("example.com/v1", "Thing", Some("ns"), "t"),
            object("v1", "Namespace", None, "ns"),
        ];
        order(&mut objects);
        let kinds: Vec<_> = objects.iter().map(|object| object.kind().kind.as_str()).collect();
        assert_eq!(
            kinds,
            [
                "Namespace",
                "ServiceAccount",
                "RoleBinding",
                "ConfigMap",
                "Service",
                "Deployment",
                "Thing",
                "ValidatingWebhookConfiguration"
            ]
        );
    }

    #[test]
    fn a_set_is_cut_only_where_something_in_it_needs_something_else_in_it() {
        let namespace = object("v1", "Namespace", None, "ns");
        let other = object("v1", "Namespace", None, "unused");
        let crd = object("apiextensions.k8s.io/v1", "CustomResourceDefinition", None, "things.example.com");
        let member = object("v1", "ConfigMap", Some("ns"), "c");
        let thing = object("example.com/v1", "Thing", Some("elsewhere"), "t");
        let names = |objects: Vec<Manifest>| objects.iter().map(|object| object.key().name.clone()).collect::<Vec<_>>();
        let (first, rest) = cut(vec![namespace.clone(), other.clone(), crd.clone(), member.clone(), thing]);
        assert_eq!(
            (names(first), names(rest)),
            (vec!["ns".into(), "things.example.com".into()], vec!["unused".into(), "c".into(), "t".into()])
        );
        let (first, rest) = cut(vec![other, crd]);
        assert!(first.is_empty() && rest.len() == 2);
    }
}
