//! The order of objects inside a component, and where a release has to be cut into turns. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tk8s_core::{ComponentName, InstanceName, Manifest, Moment, ObjectKey, Placed};
use tk8s_history::Desired;

use crate::Error;
use crate::hooks::{Group, Hooks, TakenOut, in_turns};
use crate::sealed::Turn;

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
pub(crate) fn wave(manifest: &Manifest) -> Result<i32, Error> {
    let Some(text) = manifest.annotation(WAVE) else { return Ok(0) };
    let wave = text.trim().parse::<i32>().ok().filter(|wave| (-FARTHEST..=FARTHEST).contains(wave));
    wave.ok_or_else(|| Error::Wave { object: manifest.key().to_string(), text: tk8s_core::printable(text, 40) })
}

/// Cuts a release into turns: one for each layer, inside a layer one for each wave, and inside that the namespaces and CRDs
/// that other objects of the layer need come before all of it. Hooks that run have turns of their own, one for each of their
/// waves: before all of that and after all of it. A removal is one turn without objects.
pub fn turns(desired: Desired, instance: &InstanceName, hooks: &Hooks) -> Result<Vec<Turn>, Error> {
    let (release, objects) = desired.into_parts();
    let all: Arc<Vec<ObjectKey>> = Arc::new(objects.iter().map(|placed| placed.manifest.key().clone()).collect());
    let (taken, mut objects) = TakenOut::of(objects)?;
    let before = taken.groups(Moment::BeforeApply, hooks, &release, instance)?;
    let mut groups = namespaces_of(&before, &mut objects, instance, &release.id.component);
    groups.extend(before);
    let mut layers: BTreeMap<u16, Vec<Manifest>> = BTreeMap::new();
    for placed in objects {
        layers.entry(placed.layer.number).or_default().push(placed.manifest.owned_by(instance, &release.id.component));
    }
    for mut manifests in layers.into_values() {
        order(&mut manifests);
        let (first, rest) = cut(manifests);
        let mut waves: BTreeMap<i32, Vec<Manifest>> = BTreeMap::new();
        for manifest in rest {
            waves.entry(wave(&manifest)?).or_default().push(manifest);
        }
        let plain = [first].into_iter().chain(waves.into_values()).filter(|group| !group.is_empty());
        groups.extend(plain.map(Group::plain));
    }
    groups.extend(taken.groups(Moment::AfterApply, hooks, &release, instance)?);
    // A removal, or hooks alone of which none runs: there is nothing to send.
    if groups.is_empty() && (release.removal.is_some() || !all.is_empty()) {
        groups.push(Group::plain(Vec::new()));
    }
    Ok(in_turns(groups, &release, &all))
}

/// The namespaces, taken out of the other objects, in which the first hooks run: a Job can't be anywhere else.
fn namespaces_of(before: &[Group], objects: &mut Vec<Placed>, instance: &InstanceName, component: &ComponentName) -> Vec<Group> {
    let hooks = before.iter().flat_map(|group| &group.objects);
    let needed: BTreeSet<String> = hooks.filter_map(|hook| hook.key().namespace.clone()).collect();
    let is_needed = |placed: &mut Placed| {
        let key = placed.manifest.key();
        key.group.is_empty() && key.kind == "Namespace" && needed.contains(&key.name)
    };
    let mut first: Vec<Manifest> =
        objects.extract_if(.., is_needed).map(|placed| placed.manifest.owned_by(instance, component)).collect();
    order(&mut first);
    if first.is_empty() { Vec::new() } else { vec![Group::plain(first)] }
}

/// What others of the set need to exist before they can be planned, and the rest.
fn cut(manifests: Vec<Manifest>) -> (Vec<Manifest>, Vec<Manifest>) {
    let namespaces: BTreeSet<String> = manifests.iter().filter_map(|manifest| manifest.key().namespace.clone()).collect();
    let kinds: BTreeSet<(String, String)> =
        manifests.iter().map(|manifest| (manifest.kind().group.clone(), manifest.kind().kind.clone())).collect();
    manifests.into_iter().partition(|manifest| match manifest.kind().kind.as_str() {
        "Namespace" => namespaces.contains(&manifest.key().name),
        "CustomResourceDefinition" => {
            let spec = |pointer: &str| {
                manifest
                    .object()
                    .get("spec")
                    .and_then(|spec| spec.pointer(pointer))
                    .and_then(|value| value.as_str())
                    .unwrap_or_default()
                    .to_owned()
            };
            kinds.contains(&(spec("/group"), spec("/names/kind")))
        }
        _ => false,
    })
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
