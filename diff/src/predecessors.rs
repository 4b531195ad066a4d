//! Those who managed objects before us: what they leave on an object that we take over, and which of their own objects
//! still list it and may delete it or put it back.
//!
//! What is known about them are facts of their formats: Argo CD's `Application` (`status.resources`, the tracking
//! annotation), Flux' `Kustomization` and `HelmRelease` (`status.inventory`, the labels of both), Helm's annotations, and
//! kubectl's `last-applied-configuration` and ApplySets. Whoever manages this cluster from another one is seen by its marks
//! only. Secrets are not read: Helm's records stay unseen, and are told by the marks as well.

use std::collections::{BTreeMap, BTreeSet};

use http::Request;
use serde::Serialize;
use serde_json::Value;
use tk8s_core::{ObjectKey, printable};
use tokio::time::Instant;

use crate::cluster::Cluster;
use crate::ownership::{FieldSet, Managed};
use crate::preview::PreviewDiff;

/// Objects of others that are read at once: each may hold the state of a hundred objects.
const PAGE: usize = 50;
/// No more pages than this are read of one kind: 5,000 objects.
const MOST_PAGES: usize = 100;
/// How many objects are named that are listed and not here.
const MOST_NAMED: usize = 10;
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(30);

const ARGO: &str = "Argo CD";
const FLUX: &str = "Flux";
const HELM: &str = "Helm";
const KUBECTL: &str = "kubectl";

/// How keys of labels and annotations begin that a tool leaves.
const MARKS: &[(&str, &str)] = &[
    ("argocd.argoproj.io/", ARGO),
    ("applications.argoproj.io/", ARGO),
    ("kustomize.toolkit.fluxcd.io/", FLUX),
    ("helm.toolkit.fluxcd.io/", FLUX),
    ("meta.helm.sh/", HELM),
    ("kubectl.kubernetes.io/last-applied-configuration", KUBECTL),
    ("applyset.kubernetes.io/", KUBECTL),
];
const TRACKING: &str = "argocd.argoproj.io/tracking-id";
/// Argo CD's older mark, which charts and people use as well.
const INSTANCE: &str = "app.kubernetes.io/instance";
const MANAGED_BY: &str = "app.kubernetes.io/managed-by";
const APPLYSET: &str = "applyset.kubernetes.io/part-of";

/// Something that a tool left on an object.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Leftover {
    /// Which tool.
    pub tool: &'static str,
    /// The label or annotation; of several fields how many, and whose.
    pub what: String,
}

/// What will still be on an object after an apply that is not ours, and was put there by somebody who came before.
pub(crate) fn leftovers(answer: &Value, ours: &FieldSet) -> Vec<Leftover> {
    let mut found = Vec::new();
    for (field, word) in [("labels", "label"), ("annotations", "annotation")] {
        let Some(marks) = answer["metadata"][field].as_object() else { continue };
        for (name, value) in marks {
            let path = ["f:metadata".to_owned(), format!("f:{field}"), format!("f:{name}")];
            let theirs = |manager: &str| {
                let managed = Managed::of(answer);
                managed.others().any(|entry| entry.manager == manager && entry.fields.contains(&path))
            };
            let tool = match name.as_str() {
                INSTANCE if theirs("argocd-controller") => Some(ARGO),
                MANAGED_BY if value == "Helm" => Some(HELM),
                name => MARKS.iter().find(|(mark, _)| name.starts_with(mark)).map(|(_, tool)| *tool),
            };
            if let (Some(tool), false) = (tool, ours.contains(&path)) {
                found.push(Leftover { tool, what: format!("{word} `{}`", printable(name, 120)) });
            }
        }
    }
    found.sort();
    found
}

/// One of theirs.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Claim {
    kind: &'static str,
    namespace: Option<String>,
    name: String,
}

impl Claim {
    fn new(kind: &'static str, namespace: Option<&str>, name: &str) -> Claim {
        Claim { kind, namespace: namespace.map(String::from), name: name.into() }
    }

    fn is(&self, other: &Claim) -> bool {
        let same_namespace = self.namespace.is_none() || other.namespace.is_none() || self.namespace == other.namespace;
        self.kind == other.kind && self.name == other.name && same_namespace
    }

    fn told(&self) -> String {
        let name = printable(&self.name, 253);
        match &self.namespace {
            Some(namespace) => format!("{} {}/{name}", self.kind, printable(namespace, 63)),
            None => format!("{} {name}", self.kind),
        }
    }
}

/// Whose an object says it is.
pub(crate) fn claims(live: &Value) -> Vec<Claim> {
    let text = |field: &str, name: &str| live["metadata"][field].get(name).and_then(Value::as_str);
    let pair = |kind, field, group: &str| {
        let (name, namespace) = (text(field, &format!("{group}/name"))?, text(field, &format!("{group}/namespace"))?);
        Some(Claim::new(kind, Some(namespace), name))
    };
    let tracked = text("annotations", TRACKING).and_then(|id| {
        let (application, of) = id.split_once(':')?;
        // A mark that was copied from another object says nothing; Argo CD itself does not count it.
        let name = live["metadata"]["name"].as_str()?;
        of.ends_with(&format!("/{name}")).then_some(())?;
        let (namespace, name) =
            application.split_once('_').map_or((None, application), |(namespace, name)| (Some(namespace), name));
        Some(Claim::new("Application", namespace, name))
    });
    let release = text("annotations", "meta.helm.sh/release-name")
        .map(|name| Claim::new("Helm release", text("annotations", "meta.helm.sh/release-namespace"), name));
    let applyset = text("labels", APPLYSET).map(|id| Claim::new("ApplySet", None, id));
    let kustomization = pair("Kustomization", "labels", "kustomize.toolkit.fluxcd.io");
    let helm_release = pair("HelmRelease", "labels", "helm.toolkit.fluxcd.io");
    // Flux' own release is Helm's too, and leaves with it.
    let release = release.filter(|_| helm_release.is_none());
    [tracked, kustomization, helm_release, release, applyset].into_iter().flatten().collect()
}

/// Somebody who came before, and what can be said of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Predecessor {
    /// Which tool.
    pub tool: &'static str,
    /// For example `Application argocd/shop`.
    pub by: String,
    /// How many of the objects that were looked at it has.
    pub has: usize,
    /// What it can still do to them.
    pub dangers: Vec<String>,
    /// What to do about it.
    pub next: String,
    /// What it has besides, of which nothing is here; the first of them.
    pub besides: Vec<String>,
    /// How many those are.
    pub besides_in_all: usize,
}

/// One of their objects, as far as it is of interest.
struct Listed {
    claim: Claim,
    inventory: BTreeSet<ObjectKey>,
    dangers: Vec<String>,
    next: String,
}

/// Looks for whoever still has any of these objects, with the rights of whoever asks. Gives them, and what could not be
/// looked at.
pub async fn predecessors(cluster: &Cluster, looked: &[(&ObjectKey, &PreviewDiff)]) -> (Vec<Predecessor>, Vec<String>) {
    let (mut listed, mut unseen) = (Vec::new(), Vec::new());
    for (group, kind, read) in [
        ("argoproj.io", "Application", application as fn(&Value) -> Option<Listed>),
        ("kustomize.toolkit.fluxcd.io", "Kustomization", kustomization),
        ("helm.toolkit.fluxcd.io", "HelmRelease", helm_release),
    ] {
        if let Err(why) = list(cluster, group, kind, |object| listed.extend(read(object))).await {
            unseen.push(format!("{kind}.{group}: {why}"));
        }
    }
    (sorted(&listed, looked), unseen)
}

/// Reads all objects of a kind, one page after another. Nothing if the cluster does not serve it.
async fn list(cluster: &Cluster, group: &str, kind: &str, mut take: impl FnMut(&Value)) -> Result<(), String> {
    let about = ObjectKey { group: group.into(), kind: kind.into(), namespace: None, name: "all".into() };
    let told = |error: crate::Error| printable(&tk8s_core::chain(&error), 300);
    let Some(resource) = cluster.resource_of(&about).await.map_err(told)? else { return Ok(()) };
    let mut more = String::new();
    for _ in 0..MOST_PAGES {
        let uri = format!("{}?limit={PAGE}{more}", resource.path(None));
        let request = || Request::get(uri.as_str()).body(Vec::new()).expect("because the path is made of valid names");
        let reply = cluster.exchange_until(request, Instant::now() + PATIENCE).await.map_err(told)?;
        let page = reply.yes(&about).map_err(told)?.body;
        page["items"].as_array().into_iter().flatten().for_each(&mut take);
        match page["metadata"]["continue"].as_str() {
            None | Some("") => return Ok(()),
            Some(token) if token.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_=.".contains(&byte)) => {
                more = format!("&continue={token}");
            }
            Some(_) => return Err("the list can't be continued".into()),
        }
    }
    Err(format!("there are more than {}, the rest was not looked at", PAGE * MOST_PAGES))
}

/// Who has which of the objects: by their own lists, and by what the objects say.
fn sorted(listed: &[Listed], looked: &[(&ObjectKey, &PreviewDiff)]) -> Vec<Predecessor> {
    let here: BTreeSet<&ObjectKey> = looked.iter().map(|(key, _)| *key).collect();
    let mut found = Vec::new();
    for one in listed {
        let has = |(key, diff): &&(&ObjectKey, &PreviewDiff)| {
            one.inventory.contains(*key) || diff.claims.iter().any(|claim| claim.is(&one.claim))
        };
        let number = looked.iter().filter(has).count();
        if number == 0 {
            continue;
        }
        let besides: Vec<_> = one.inventory.iter().filter(|key| !here.contains(key)).map(ToString::to_string).collect();
        found.push(Predecessor {
            tool: tool(one.claim.kind),
            by: one.claim.told(),
            has: number,
            dangers: one.dangers.clone(),
            next: one.next.clone(),
            besides_in_all: besides.len(),
            besides: besides.into_iter().take(MOST_NAMED).collect(),
        });
    }
    let unlisted =
        looked.iter().flat_map(|(_, diff)| &diff.claims).filter(|claim| !listed.iter().any(|one| claim.is(&one.claim)));
    let mut by_marks: BTreeMap<&Claim, usize> = BTreeMap::new();
    for claim in unlisted {
        *by_marks.entry(claim).or_default() += 1;
    }
    found.extend(by_marks.into_iter().map(|(claim, has)| marked(claim, has)));
    found
}

fn tool(kind: &str) -> &'static str {
    match kind {
        "Application" => ARGO,
        "Helm release" => HELM,
        "ApplySet" => KUBECTL,
        _ => FLUX,
    }
}

/// Somebody of whom only the marks on objects tell.
fn marked(claim: &Claim, has: usize) -> Predecessor {
    let (danger, next) = match claim.kind {
        "Helm release" => {
            let of = claim.namespace.as_ref().map(|namespace| format!(" -n {}", printable(namespace, 63))).unwrap_or_default();
            let name = printable(&claim.name, 63);
            let next = format!("delete its records, not the release: `kubectl delete secret{of} -l owner=helm,name={name}`");
            ("`helm uninstall` deletes what it has, `helm upgrade` puts back what it had".to_owned(), next)
        }
        "ApplySet" => (
            "`kubectl apply --prune --applyset` deletes what left its files".to_owned(),
            format!("take the label off: `kubectl label KIND NAME {APPLYSET}-`"),
        ),
        kind => (
            format!("no such {kind} is in this cluster: it is gone, or manages this cluster from another one"),
            "if it is in another cluster, look there what it would delete".to_owned(),
        ),
    };
    let (tool, by) = (tool(claim.kind), claim.told());
    Predecessor { tool, by, has, dangers: vec![danger], next, besides: Vec::new(), besides_in_all: 0 }
}

fn named(object: &Value, kind: &'static str) -> Option<Claim> {
    let metadata = &object["metadata"];
    Some(Claim::new(kind, metadata["namespace"].as_str(), metadata["name"].as_str()?))
}

/// An `Application` of Argo CD that is about this cluster.
fn application(object: &Value) -> Option<Listed> {
    let claim = named(object, "Application")?;
    let spec = &object["spec"];
    let destination = &spec["destination"];
    let local = match (destination["server"].as_str(), destination["name"].as_str()) {
        (Some(server), _) => server.starts_with("https://kubernetes.default.svc"),
        (None, Some(name)) => name == "in-cluster",
        (None, None) => true,
    };
    if !local {
        return None;
    }
    let text = |resource: &Value, field: &str| resource[field].as_str().map(String::from);
    let key = |resource: &Value| {
        let group = text(resource, "group").unwrap_or_default();
        let namespace = text(resource, "namespace").filter(|namespace| !namespace.is_empty());
        Some(ObjectKey { group, kind: text(resource, "kind")?, namespace, name: text(resource, "name")? })
    };
    let inventory = object["status"]["resources"].as_array().into_iter().flatten().filter_map(key).collect();
    let automated = &spec["syncPolicy"]["automated"];
    let syncs = automated.is_object() && automated["enabled"] != false;
    let mut dangers = Vec::new();
    if syncs && automated["selfHeal"] == true {
        dangers.push("it puts its own state back at once (selfHeal)".into());
    } else if syncs {
        dangers.push("it puts its own state back when its Git changes (automated)".into());
    }
    if syncs && automated["prune"] == true {
        dangers.push("it deletes what leaves its Git (prune)".into());
    }
    let strings = |field: &str| object["metadata"][field].as_array().into_iter().flatten();
    if strings("finalizers").filter_map(Value::as_str).any(|one| one.starts_with("resources-finalizer.argocd.argoproj.io")) {
        dangers.push("deleting it deletes what it has (finalizer)".into());
    }
    let made_by = strings("ownerReferences").find(|owner| owner["kind"] == "ApplicationSet");
    let set = made_by.and_then(|owner| owner["name"].as_str()).map(|name| printable(name, 253));
    let delete = format!("delete it alone: `argocd app delete {} --cascade=false`", printable(&claim.name, 253));
    let next = match set {
        Some(set) => {
            dangers.push(format!("ApplicationSet {set} makes it again"));
            format!("delete the ApplicationSet alone (`kubectl delete applicationset {set} --cascade=orphan`), then {delete}")
        }
        None => delete,
    };
    Some(Listed { claim, inventory, dangers, next })
}

/// A `Kustomization` of Flux that is about this cluster.
fn kustomization(object: &Value) -> Option<Listed> {
    of_flux(object, "Kustomization", |spec| {
        let mut dangers = vec!["it puts its own state back at each interval".into()];
        let policy = spec["deletionPolicy"].as_str().unwrap_or("MirrorPrune");
        if spec["prune"] == true {
            dangers.push("it deletes what leaves its Git (prune)".into());
        }
        if policy == "Delete" || policy == "WaitForTermination" || policy == "MirrorPrune" && spec["prune"] == true {
            dangers.push("deleting it deletes what it has".into());
        }
        dangers
    })
}

/// A `HelmRelease` of Flux that is about this cluster.
fn helm_release(object: &Value) -> Option<Listed> {
    of_flux(object, "HelmRelease", |_| {
        vec!["it puts its own state back when its chart or values change".into(), "deleting it uninstalls what it has".into()]
    })
}

/// What Flux looks after, in this cluster. `active`: what there is to fear of it, by its `spec`, unless it is suspended.
fn of_flux(object: &Value, kind: &'static str, active: impl FnOnce(&Value) -> Vec<String>) -> Option<Listed> {
    let claim = named(object, kind)?;
    let spec = &object["spec"];
    if spec["kubeConfig"].is_object() {
        return None;
    }
    let dangers = match spec["suspend"] == true {
        true => vec!["it is suspended: it does nothing, unless it is resumed".into()],
        false => active(spec),
    };
    let next = suspended(&kind.to_lowercase(), &claim);
    Some(Listed { inventory: inventory(object), claim, dangers, next })
}

/// What is suspended leaves what it has when it is deleted.
fn suspended(kind: &str, claim: &Claim) -> String {
    let of = claim.namespace.as_ref().map(|namespace| format!(" -n {}", printable(namespace, 63))).unwrap_or_default();
    let name = printable(&claim.name, 253);
    format!(
        "suspend it, where it is defined, then delete it: `flux suspend {kind} {name}{of}`, `kubectl delete {kind} {name}{of}`"
    )
}

/// What Flux lists: `namespace_name_group_kind` each, with `__` for a colon in the name.
fn inventory(object: &Value) -> BTreeSet<ObjectKey> {
    let entry = |entry: &Value| {
        let id = entry["id"].as_str()?;
        let (rest, kind) = id.rsplit_once('_')?;
        let (rest, group) = rest.rsplit_once('_')?;
        let (namespace, name) = rest.split_once('_')?;
        let namespace = Some(namespace.to_owned()).filter(|namespace| !namespace.is_empty());
        Some(ObjectKey { group: group.into(), kind: kind.into(), namespace, name: name.replace("__", ":") })
    };
    object["status"]["inventory"]["entries"].as_array().into_iter().flatten().filter_map(entry).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_flux_lists_is_read_as_flux_writes_it() {
        let ids = [
            "shop_web_apps_Deployment",
            "_shop__Namespace",
            "shop_system__reader_rbac.authorization.k8s.io_Role",
            "nonsense",
            "a_b",
        ];
        let entries: Vec<_> = ids.iter().map(|id| json!({"id": id, "v": "v1"})).collect();
        let found = inventory(&json!({"status": {"inventory": {"entries": entries}}}));
        let found: Vec<_> = found.iter().map(ToString::to_string).collect();
        assert_eq!(found, ["Namespace shop", "Deployment.apps shop/web", "Role.rbac.authorization.k8s.io shop/system:reader"]);
    }

    #[test]
    fn an_application_says_what_it_can_still_do() {
        let made = |spec: Value, metadata: Value| {
            let mut object = json!({"metadata": {"name": "shop", "namespace": "argocd"}, "spec": spec,
                "status": {"resources": [{"kind": "Service", "version": "v1", "namespace": "shop", "name": "web"}, {"kind": 7}]}});
            object["metadata"].as_object_mut().unwrap().extend(metadata.as_object().unwrap().clone());
            application(&object)
        };
        let automated = json!({"syncPolicy": {"automated": {"prune": true, "selfHeal": true}}});
        let owned = json!({"finalizers": ["resources-finalizer.argocd.argoproj.io/background"], "ownerReferences": [{"kind": "ApplicationSet", "name": "all"}]});
        let found = made(automated, owned).unwrap();
        assert_eq!(found.dangers.len(), 4, "{:?}", found.dangers);
        assert!(found.next.starts_with("delete the ApplicationSet alone"), "{}", found.next);
        assert_eq!(found.inventory.iter().map(ToString::to_string).collect::<Vec<_>>(), ["Service shop/web"]);
        let off = json!({"syncPolicy": {"automated": {"enabled": false, "prune": true}}, "destination": {"name": "in-cluster"}});
        assert_eq!(made(off, json!({})).unwrap().dangers, Vec::<String>::new());
        assert!(made(json!({"destination": {"server": "https://10.0.0.1"}}), json!({})).is_none(), "it is about another cluster");
    }

    #[test]
    fn what_flux_can_still_do_depends_on_what_it_is_told() {
        let kustomization =
            |spec: Value| kustomization(&json!({"metadata": {"name": "a", "namespace": "flux-system"}, "spec": spec}));
        for (spec, number) in [
            (json!({"prune": true}), 3),
            (json!({"prune": false}), 1),
            (json!({"prune": true, "deletionPolicy": "Orphan"}), 2),
            (json!({"prune": false, "deletionPolicy": "Delete"}), 2),
            (json!({"prune": true, "suspend": true}), 1),
        ] {
            let found = kustomization(spec.clone()).unwrap();
            assert_eq!(found.dangers.len(), number, "{spec}: {:?}", found.dangers);
            assert!(found.next.contains("`flux suspend kustomization a -n flux-system`"), "{}", found.next);
        }
        assert!(kustomization(json!({"kubeConfig": {"secretRef": {}}})).is_none(), "it is about another cluster");
    }

    #[test]
    fn an_object_says_whose_it_was_and_a_copied_mark_says_nothing() {
        let told = |name: &str, labels: Value, annotations: Value| {
            let found = claims(&json!({"metadata": {"name": name, "labels": labels, "annotations": annotations}}));
            found.iter().map(Claim::told).collect::<Vec<_>>()
        };
        let tracked = json!({TRACKING: "shop:apps/Deployment:shop/web"});
        assert_eq!(told("web", json!({}), tracked.clone()), ["Application shop"]);
        assert_eq!(told("copy", json!({}), tracked), Vec::<String>::new());
        assert_eq!(told("web", json!({}), json!({TRACKING: "team_shop:/Service:shop/web"})), ["Application team/shop"]);
        let flux = json!({"helm.toolkit.fluxcd.io/name": "web", "helm.toolkit.fluxcd.io/namespace": "shop"});
        let helm = json!({"meta.helm.sh/release-name": "web", "meta.helm.sh/release-namespace": "shop"});
        assert_eq!(told("web", flux, helm.clone()), ["HelmRelease shop/web"]);
        assert_eq!(told("web", json!({}), helm), ["Helm release shop/web"]);
    }

    #[test]
    fn only_marks_that_git_does_not_have_are_left_over() {
        let object = json!({"metadata": {
            "labels": {INSTANCE: "shop", MANAGED_BY: "Helm", "app": "web"},
            "annotations": {TRACKING: "shop:a", "argocd.argoproj.io/sync-wave": "3", "kubectl.kubernetes.io/last-applied-configuration": "{}"},
            "managedFields": [{"manager": "argocd-controller", "operation": "Apply", "fieldsV1": {"f:metadata": {"f:labels": {format!("f:{INSTANCE}"): {}}}}}],
        }});
        let ours = FieldSet::read(&json!({"f:metadata": {"f:annotations": {"f:argocd.argoproj.io/sync-wave": {}}}}));
        let found: Vec<_> = leftovers(&object, &ours).into_iter().map(|one| (one.tool, one.what)).collect();
        let expected = [
            (ARGO, "annotation `argocd.argoproj.io/tracking-id`"),
            (ARGO, "label `app.kubernetes.io/instance`"),
            (HELM, "label `app.kubernetes.io/managed-by`"),
            (KUBECTL, "annotation `kubectl.kubernetes.io/last-applied-configuration`"),
        ];
        assert_eq!(found, expected.map(|(tool, what)| (tool, what.to_owned())));
    }
}
