//! From a turn to what the cluster says to it, and from that to a plan. Observing asks only about what changed; planning
//! asks nothing.

use std::collections::{HashMap, HashSet};

use futures::StreamExt as _;
use futures::stream::FuturesOrdered;
use http::StatusCode;
use serde_json::{Value, json};
use tk8s_core::{COMPONENT_LABEL, Digest, FIELD_MANAGER, INSTANCE_LABEL, Manifest, ObjectKey, canonical_json};
use tokio::time::Instant;

use crate::Error;
use crate::cluster::{Cluster, Reply, Resource, apply_request};
use crate::images::images_as_sent;
use crate::live::{Live, Seen};
use crate::memory::{Known, Memory, Owned, drift, only_we_wrote};
use crate::sealed::{Action, Change, Conflict, Kept, Leaving, Observed, Plan, Prune, Turn};
use crate::text;

/// What may be deleted.
#[derive(Clone, Debug)]
pub struct Rules {
    /// Whether anything is deleted at all.
    pub prune: bool,
    /// Kinds that are never deleted.
    pub protect: Vec<String>,
    /// What other components want: it is neither deleted, because they take it over, nor taken from them.
    pub wanted_elsewhere: HashSet<ObjectKey>,
}

/// What the cluster said to one object of a turn.
#[derive(Debug)]
pub(crate) enum Finding {
    /// As it should be, without asking.
    AsKnown(ObjectKey),
    /// As it should be: the dry-run says that an apply would change nothing.
    AsFound(ObjectKey, Box<Known>),
    /// It has to be written.
    Differs(Box<Change>),
    /// Somebody else's field stands in the way.
    Contested(Conflict),
}

/// Managers that came before us: what they applied is taken over.
const PREDECESSORS: &[&str] = &[
    "kubectl",
    "kubectl-client-side-apply",
    "kubectl-edit",
    "kubectl-create",
    "argocd-controller",
    "kustomize-controller",
    "helm",
    "helm-controller",
    "before-first-apply",
];

/// Asks the cluster about every object of a turn that is not known to be as it should be: one dry-run each, and a read only
/// of what exists and is not ours. All refusals of a turn are reported together.
pub async fn observe(
    cluster: &Cluster,
    live: &Live,
    mut turn: Turn,
    memory: &dyn Memory,
    rules: &Rules,
    concurrency: usize,
    deadline: Instant,
) -> Result<Observed, Error> {
    let component = turn.release.id.component.clone();
    let inventory = memory.inventory(&component);
    let (mut objects, mut errors) = (Vec::new(), Vec::new());
    for manifest in std::mem::take(&mut turn.objects) {
        match in_scope(cluster, manifest).await {
            Ok(found) => objects.push(found),
            Err(error) => errors.push(error),
        }
    }
    let mut kinds: Vec<Resource> = objects.iter().map(|(_, resource)| resource.clone()).collect();
    kinds.sort();
    kinds.dedup();
    for kind in &kinds {
        live.watch(kind);
    }
    // A watch that does not come up costs requests, not correctness.
    live.synced(&kinds, std::time::Duration::from_secs(10)).await;
    let owned: HashMap<&ObjectKey, &Owned> = inventory.iter().map(|(key, owned)| (key, owned)).collect();
    let (mut waiting, mut under_way, mut findings) = (objects.iter(), FuturesOrdered::new(), Vec::new());
    loop {
        // Made when their turn comes: a question is larger than its object.
        while under_way.len() < concurrency.max(1)
            && let Some((manifest, resource)) = waiting.next()
        {
            let owned = owned.get(manifest.key()).copied();
            under_way.push_back(ask(cluster, live, memory, manifest, resource, owned, rules, deadline));
        }
        match under_way.next().await {
            None => break,
            Some(Ok(finding)) => findings.push(finding),
            Some(Err(error)) => errors.push(error),
        }
    }
    drop(under_way);
    turn.objects = objects.into_iter().map(|(manifest, _)| manifest).collect();
    match errors.len() {
        0 => {}
        1 => return Err(errors.remove(0)),
        _ => return Err(Error::Several(errors)),
    }
    let last = turn.index + 1 == turn.of;
    let leaving = if last { leaving(cluster, live, memory, &turn, inventory, rules).await? } else { Leaving::default() };
    Ok(Observed { turn, findings, leaving })
}

/// The object as its kind's scope wants it, and how the API server calls the kind.
async fn in_scope(cluster: &Cluster, manifest: Manifest) -> Result<(Manifest, Resource), Error> {
    let Some(resource) = cluster.resource(manifest.kind()).await? else {
        return Err(Error::UnknownKind { kind: manifest.kind().clone(), object: manifest.key().to_string() });
    };
    match (resource.namespaced, &manifest.key().namespace) {
        (false, Some(_)) => Ok((manifest.without_namespace(), resource)),
        (true, None) => Err(Error::NoNamespace { object: manifest.key().to_string(), origin: manifest.origin().to_string() }),
        _ => Ok((manifest, resource)),
    }
}

#[expect(clippy::too_many_arguments, reason = "what a question about one object needs, named where it is used")]
async fn ask(
    cluster: &Cluster,
    live: &Live,
    memory: &dyn Memory,
    manifest: &Manifest,
    resource: &Resource,
    owned: Option<&Owned>,
    rules: &Rules,
    deadline: Instant,
) -> Result<Finding, Error> {
    let (key, desired) = (manifest.key(), manifest.digest());
    let known = memory.known(key);
    let seen = live.seen(key);
    if let Seen::Present(seen) = &seen
        && let Some(component) =
            seen.component.as_ref().filter(|component| manifest.label(COMPONENT_LABEL) != Some(component.as_str()))
        && rules.wanted_elsewhere.contains(key)
    {
        let message = format!("it belongs to the component `{component}`, which wants it too: keep it in one of them");
        return Ok(Finding::Contested(Conflict { key: key.clone(), message }));
    }
    let untouched = known
        .as_ref()
        .is_some_and(|known| known.desired == desired && !matches!(seen, Seen::Unwatched) && drift(known, &seen).is_none());
    if untouched {
        return Ok(Finding::AsKnown(key.clone()));
    }
    let body = manifest.to_value();
    // Fields of an object that we applied before were ours: taking them back is a repair. Of others we take none.
    let ours = known.is_some() || owned.is_some_and(|owned| owned.uid.is_some());
    let dry_run =
        async |force: bool| cluster.exchange_until(|| apply_request(resource, key, &body, None, force, true), deadline).await;
    let mut reply = dry_run(ours).await?;
    let mut force = ours;
    if reply.status == StatusCode::CONFLICT && !ours {
        if let Some(conflict) = contested(key, &reply.body) {
            return Ok(Finding::Contested(conflict));
        }
        force = true;
        reply = dry_run(true).await?;
    }
    let Reply { status, body: answer, warnings, .. } = reply.yes(key)?;
    images_as_sent(key, &body, &answer)?;
    let masker = live.masker();
    let planned = masker.mask(answer.clone());
    let (action, before) = match &seen {
        _ if status == StatusCode::CREATED => (Action::Create, None),
        Seen::Present(seen) => (Action::Configure, Some(seen.object())),
        _ => {
            let found = cluster.get(resource, key).await?;
            if let Some(conflict) = found.as_ref().and_then(|found| of_another(key, found, manifest)) {
                return Ok(Finding::Contested(conflict));
            }
            let action = if owned.is_some() { Action::Configure } else { Action::Adopt };
            (action, found.map(|found| masker.mask(found)))
        }
    };
    let uid =
        (action != Action::Create).then(|| answer.pointer("/metadata/uid").and_then(Value::as_str).map(String::from)).flatten();
    if let (Action::Configure, Some(before)) = (action, &before)
        && text::same(before, &planned)
        && let Some(known) = Known::of_answer(resource, &answer, desired)
        && matches!(&seen, Seen::Present(seen) if seen.fields == Some(known.fields))
    {
        return Ok(Finding::AsFound(key.clone(), Box::new(known)));
    }
    let diff = text::unified(&key.to_string(), before.as_ref(), &planned);
    let sent = Digest::of(canonical_json(&masker.mask(body.clone())));
    Ok(Finding::Differs(Box::new(Change {
        key: key.clone(),
        resource: resource.clone(),
        action,
        body,
        uid,
        force,
        desired,
        sent,
        diff,
        warnings,
    })))
}

/// A conflict with managers that did not come before us. None if only predecessors are in the way.
fn contested(key: &ObjectKey, status: &Value) -> Option<Conflict> {
    let causes = status["details"]["causes"].as_array().map(Vec::as_slice).unwrap_or_default();
    let mut others = Vec::new();
    for cause in causes {
        let message = cause["message"].as_str().unwrap_or_default();
        let manager = message.split('"').nth(1).unwrap_or_default();
        if !PREDECESSORS.contains(&manager) {
            others.push(format!(
                "{} is owned by `{}`",
                cause["field"].as_str().unwrap_or("a field"),
                tk8s_core::printable(manager, 80)
            ));
        }
    }
    if others.is_empty() && !causes.is_empty() {
        return None;
    }
    Some(Conflict { key: key.clone(), message: tk8s_core::printable(&others.join(", "), 1000) })
}

/// An object that another instance, or another component, owns.
fn of_another(key: &ObjectKey, found: &Value, manifest: &Manifest) -> Option<Conflict> {
    let label = |name: &str| found.pointer("/metadata/labels").and_then(|labels| labels.get(name)).and_then(Value::as_str);
    let owner = label(INSTANCE_LABEL)?;
    if manifest.label(INSTANCE_LABEL) != Some(owner) {
        return Some(Conflict {
            key: key.clone(),
            message: format!("it belongs to the instance `{}`", tk8s_core::printable(owner, 63)),
        });
    }
    let component = label(COMPONENT_LABEL)?;
    if manifest.label(COMPONENT_LABEL) != Some(component) {
        return Some(Conflict {
            key: key.clone(),
            message: format!("it belongs to the component `{}`: take it out of there first", tk8s_core::printable(component, 63)),
        });
    }
    None
}

/// What the component owns and the release does not have: what may be deleted, what stays, and why.
async fn leaving(
    cluster: &Cluster,
    live: &Live,
    memory: &dyn Memory,
    turn: &Turn,
    inventory: Vec<(ObjectKey, Owned)>,
    rules: &Rules,
) -> Result<Leaving, Error> {
    let Leaving { mut prune, mut released, mut kept } = Leaving::default();
    let component = turn.release.id.component.as_str();
    let wanted = |key: &ObjectKey| {
        turn.all.iter().any(|wanted| {
            wanted.group == key.group
                && wanted.kind == key.kind
                && wanted.name == key.name
                && (wanted.namespace == key.namespace || key.namespace.is_none())
        })
    };
    for (key, owned) in inventory.into_iter().filter(|(key, _)| !wanted(key)) {
        let mut keep = |why: &str| kept.push(Kept { key: key.clone(), why: why.into() });
        let resource = match memory.known(&key) {
            Some(known) => known.resource,
            None => match cluster.resource_of(&key).await? {
                Some(resource) => resource,
                None => {
                    keep("the cluster does not serve its kind");
                    continue;
                }
            },
        };
        let object = match live.seen(&key) {
            Seen::Present(seen) => Some((seen.uid.clone(), seen.object(), seen.only_ours)),
            Seen::Absent => None,
            Seen::Unwatched => cluster.get(&resource, &key).await?.and_then(|found| {
                let uid = found.pointer("/metadata/uid")?.as_str()?.to_owned();
                let only_ours = only_we_wrote(&found);
                Some((uid, found, only_ours))
            }),
        };
        let Some((uid, object, only_ours)) = object else {
            match owned.uid {
                // It is gone already: deleting it once more is how the inventory learns that.
                Some(uid) => prune.push(Prune { key, resource, uid }),
                None => released.push(Kept { key, why: "it was never made".into() }),
            }
            continue;
        };
        let label = object.pointer("/metadata/labels").and_then(|labels| labels.get(COMPONENT_LABEL)).and_then(Value::as_str);
        let annotated = object
            .pointer("/metadata/annotations")
            .and_then(|annotations| annotations.get("tk8s.io/prune"))
            .and_then(Value::as_str);
        let system = key.kind == "Namespace" && (key.name == "default" || key.name.starts_with("kube-"));
        // A run that was killed could not write down whether it made the object: then it did if nobody else wrote to it.
        let created = owned.created.unwrap_or(only_ours);
        match () {
            () if rules.wanted_elsewhere.contains(&key) => keep("another component takes it over"),
            () if !rules.prune => keep("`prune` is off"),
            () if turn.all.is_empty() => keep("the release is empty"),
            () if label != Some(component) => released.push(Kept { key, why: "it belongs to another component now".into() }),
            () if owned.uid.as_ref().is_some_and(|known| *known != uid) => {
                released.push(Kept { key, why: "another object has its name now".into() });
            }
            () if !created && owned.created.is_none() => {
                keep("the run that wrote it was interrupted, and others wrote to it too")
            }
            () if !created => keep("it was there before us"),
            () if rules.protect.contains(&key.kind) => keep("its kind is protected"),
            () if system => keep("it is a system namespace"),
            () if annotated == Some("false") => keep("it is annotated with `tk8s.io/prune: \"false\"`"),
            () => prune.push(Prune { key, resource, uid }),
        }
    }
    Ok(Leaving { prune, released, kept })
}

/// The plan that follows from what was observed. Pure: the same observation gives the same plan.
pub fn plan(observed: Observed) -> Plan {
    let Observed { turn, findings, leaving } = observed;
    let (mut changes, mut unchanged, mut confirmed, mut conflicts) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for finding in findings {
        match finding {
            Finding::AsKnown(key) => unchanged.push(key),
            Finding::AsFound(key, known) => {
                unchanged.push(key.clone());
                confirmed.push((key, *known));
            }
            Finding::Differs(change) => changes.push(*change),
            Finding::Contested(conflict) => conflicts.push(conflict),
        }
    }
    let digest = digest(&turn, &changes, &leaving.prune);
    Plan { turn, changes, unchanged, confirmed, conflicts, leaving, digest }
}

fn digest(turn: &Turn, changes: &[Change], prune: &[Prune]) -> Digest {
    let changes: Vec<_> = changes
        .iter()
        .map(|change| json!([change.key, change.resource, change.action, change.sent, change.uid, change.force]))
        .collect();
    let text = json!({"manager": FIELD_MANAGER, "release": turn.release.id, "turn": [turn.index, turn.of], "changes": changes, "prune": prune});
    Digest::of(canonical_json(&text))
}
