//! The order of objects inside a component, and where a release has to be cut into turns. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tk8s_core::{ComponentName, InstanceName, Manifest, Moment, ObjectKey, Placed};
use tk8s_history::Desired;

use crate::Error;
use crate::hooks::{Group, Hooks, TakenOut, in_turns};
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

/// In the order in which [`turns`] applies them. A wave that is none, which refuses the release elsewhere, counts as none.
pub fn in_order(objects: Vec<Placed>) -> Vec<Placed> {
    let mut layers: BTreeMap<u16, Vec<Placed>> = BTreeMap::new();
    for placed in objects {
        layers.entry(placed.layer.number).or_default().push(placed);
    }
    for layer in layers.values_mut() {
        let needed = Needed::by(layer.iter().map(|placed| &placed.manifest));
        layer.sort_by_cached_key(|placed| {
            let manifest = &placed.manifest;
            let wave = if needed.includes(manifest) { i32::MIN } else { wave(manifest).unwrap_or(0) };
            (wave, rank(manifest.key()), manifest.key().clone())
        });
    }
    layers.into_values().flatten().collect()
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
    let brought = Arc::new(brought(objects.iter().map(|placed| &placed.manifest)));
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
        let needed = Needed::by(manifests.iter());
        let (first, rest): (Vec<_>, Vec<_>) = manifests.into_iter().partition(|manifest| needed.includes(manifest));
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
    Ok(in_turns(groups, &release, &all, &brought))
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

/// The namespaces and kinds that objects of a set need to exist before they can be planned.
struct Needed {
    namespaces: BTreeSet<String>,
    kinds: BTreeSet<(String, String)>,
}

impl Needed {
    fn by<'a>(manifests: impl Iterator<Item = &'a Manifest> + Clone) -> Needed {
        let kind = |manifest: &Manifest| (manifest.kind().group.clone(), manifest.kind().kind.clone());
        let namespaces = manifests.clone().filter_map(|manifest| manifest.key().namespace.clone()).collect();
        Needed { namespaces, kinds: manifests.map(kind).collect() }
    }

    fn includes(&self, manifest: &Manifest) -> bool {
        match manifest.kind().kind.as_str() {
            "Namespace" => self.namespaces.contains(&manifest.key().name),
            "CustomResourceDefinition" => self.kinds.contains(&defined_by(manifest)),
            _ => false,
        }
    }
}

fn brought<'a>(manifests: impl Iterator<Item = &'a Manifest>) -> Brought {
    let mut brought = Brought::default();
    for manifest in manifests {
        match manifest.kind().kind.as_str() {
            "Namespace" => drop(brought.namespaces.insert(manifest.key().name.clone())),
            "CustomResourceDefinition" => {
                let definition = ObjectKey { namespace: None, ..manifest.key().clone() };
                brought.kinds.insert(defined_by(manifest), definition);
            }
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
        let cut = |objects: Vec<Manifest>| -> (Vec<Manifest>, Vec<Manifest>) {
            let needed = Needed::by(objects.iter());
            objects.into_iter().partition(|manifest| needed.includes(manifest))
        };
        let names = |objects: Vec<Manifest>| objects.iter().map(|object| object.key().name.clone()).collect::<Vec<_>>();
        let (first, rest) = cut(vec![namespace.clone(), other.clone(), crd.clone(), member.clone(), thing]);
        assert_eq!(
            (names(first), names(rest)),
            (vec!["ns".into(), "things.example.com".into()], vec!["unused".into(), "c".into(), "t".into()])
        );
        let (first, rest) = cut(vec![other, crd]);
        assert!(first.is_empty() && rest.len() == 2);
    }
    #[test]
    fn what_is_printed_comes_as_it_is_applied_by_layer_then_what_others_need_then_by_wave() {
        let placed = |layer: &str, kind: &str, namespace: Option<&str>, name: &str, wave: Option<&str>| {
            let mut value = json!({"apiVersion": "v1", "kind": kind, "metadata": {"name": name}});
            if let Some(namespace) = namespace {
                value["metadata"]["namespace"] = namespace.into();
            }
            if let Some(wave) = wave {
                value["metadata"]["annotations"] = json!({ WAVE: wave });
            }
            let manifest = Manifest::new(value, Origin::default()).unwrap();
            Placed { layer: layer.parse().unwrap(), manifest }
        };
        let objects = vec![
            placed("2-b", "ConfigMap", Some("ns"), "upper", Some("-5")),
            placed("1-a", "ConfigMap", Some("ns"), "late", Some("3")),
            placed("1-a", "Service", Some("ns"), "early", Some("-3")),
            placed("1-a", "ConfigMap", Some("ns"), "middle", None),
            placed("1-a", "Namespace", None, "ns", None),
        ];
        let names: Vec<_> = in_order(objects).iter().map(|placed| placed.manifest.key().name.clone()).collect();
        assert_eq!(names, ["ns", "early", "middle", "late", "upper"]);
    }
}
