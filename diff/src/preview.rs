//! What applying objects would change, for people, with their own credentials. Never a plan: it reaches texts and counts,
//! and nothing that could be carried out.
//!
//! It asks what planning asks, by the same rules, but for what only the agent knows: which fields were its own after its
//! last apply. A field that somebody else has now, of an object that is the agent's, may be drift or contested.

use futures::StreamExt as _;
use futures::stream;
use http::StatusCode;
use serde::Serialize;
use serde_json::{Map, Value};
use tk8s_core::{COMPONENT_LABEL, ComponentName, INSTANCE_LABEL, InstanceName, Manifest, ObjectKey, SecretFields, printable};
use tokio::time::Instant;

use crate::cluster::{Cluster, dry_run_request};
use crate::fold::{Folded, fold};
use crate::images::images_as_sent;
use crate::immutable::{self, may_be_made_anew, overlaid};
use crate::mask::Masker;
use crate::ownership::{
    At, Conflicts, FieldRules, Foreign, Managed, ObjectRules, Override, Path, Whose, altered, display, give_way, overridden,
    take_out,
};
use crate::predecessors::{Claim, Leftover, claims, leftovers};
use crate::sealed::Action;
use crate::{Error, text};

/// How long one object may take.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(30);
/// Objects that are asked about at the same time. A person's look should not push the cluster's own work aside.
const AT_ONCE: usize = 8;
/// How often one object is asked about, when its fields are left to others one after another.
const ROUNDS: usize = 4;

/// By which rules is looked, and what is shown.
pub struct Look<'a> {
    /// Whose fields are left to whom.
    pub fields: &'a FieldRules,
    /// The instance that the objects are for, if it is known.
    pub instance: Option<&'a InstanceName>,
    /// The component that they are of.
    pub component: &'a ComponentName,
    /// Whether what is filled in and what others own is shown too.
    pub all: bool,
}

/// What would become of one object.
#[derive(Debug, Serialize)]
pub struct PreviewDiff {
    /// What would happen to it.
    pub action: Action,
    /// A unified diff, masked; empty if nothing changes that is shown.
    pub diff: String,
    /// What is not shown.
    pub folded: Folded,
    /// Fields that others have now, and what they are to us.
    pub takes: Vec<Override>,
    /// What others have stands in the way: the agent would refuse.
    pub contested: bool,
    /// Fields that are left to others.
    pub yielded: Vec<String>,
    /// To whom else it belongs.
    pub belongs: Option<String>,
    /// Fields of ours that somebody on the way overwrites.
    pub altered: Vec<String>,
    /// What others have put into lists beside ours.
    pub foreign: Vec<Foreign>,
    /// Of a workload that is there, whether its template changes: then its pods are replaced.
    pub restarts: Option<bool>,
    /// What those who came before left on it.
    pub leftovers: Vec<Leftover>,
    /// Who it says had it, and who could still delete it.
    #[serde(skip)]
    pub(crate) claims: Vec<Claim>,
    /// What the API server warns about.
    pub warnings: Vec<String>,
}

impl PreviewDiff {
    /// Whether anything would be written.
    pub fn differs(&self) -> bool {
        self.action != Action::Unchanged || self.contested || self.belongs.is_some()
    }
}

/// Dry-runs each object by itself; answers in the order of the objects. What would be made by the same files (a namespace,
/// a CRD) does not exist yet, so that what needs it is answered by the API server's own error.
pub async fn preview(
    cluster: &Cluster,
    objects: Vec<Manifest>,
    masker: &Masker,
    look: &Look<'_>,
) -> Vec<(ObjectKey, Result<PreviewDiff, Error>)> {
    let asked = objects.into_iter().map(|manifest| async move {
        let key = manifest.key().clone();
        (key, one(cluster, manifest, masker, look).await)
    });
    stream::iter(asked).buffered(AT_ONCE).collect().await
}

/// What the API server answered to what was sent.
struct Answered {
    body: Value,
    answer: Value,
    status: StatusCode,
    warnings: Vec<String>,
    takes: Vec<Override>,
    yielded: Vec<Path>,
}

async fn one(cluster: &Cluster, manifest: Manifest, masker: &Masker, look: &Look<'_>) -> Result<PreviewDiff, Error> {
    let Some(resource) = cluster.resource(manifest.kind()).await? else {
        return Err(Error::UnknownKind { kind: manifest.kind().clone(), object: manifest.key().to_string() });
    };
    let manifest = if resource.namespaced { manifest } else { manifest.without_namespace() };
    let key = manifest.key();
    let live = cluster.get(&resource, key).await?;
    let rules = look.fields.of(key, manifest.annotation(crate::observe::CONFLICTS));
    let mut more: Vec<Path> = Vec::new();
    let mut round = 1;
    let answered = loop {
        let (mut body, mut yielded) = (manifest.to_value(), Vec::new());
        if let Some(live) = &live {
            keep_our_labels(&mut body, live);
            yielded = give_way(&mut body, live, &Managed::of(live), &rules);
        }
        yielded.extend(more.iter().filter(|path| take_out(&mut body, path)).cloned());
        let request = || dry_run_request(&resource, key, &body);
        let reply = cluster.exchange_until(request, Instant::now() + PATIENCE).await?;
        let refused = reply.status == StatusCode::UNPROCESSABLE_ENTITY;
        if let (Some(live), Some(fields)) = (&live, refused.then(|| immutable::fields(&reply.body)).flatten()) {
            may_be_made_anew(&manifest, live, is_ours(live), fields)?;
            return Ok(made_anew(key, live, &body, masker));
        }
        let reply = reply.yes_to(key, &body)?;
        let takes = live.as_ref().map(|live| taken(live, &reply.body, &rules)).unwrap_or_default();
        let contested = || takes.iter().filter(|one| one.whose == Whose::Contested);
        if rules.conflicts() == Conflicts::Yield && round < ROUNDS && contested().next().is_some() {
            more.extend(contested().map(|one| one.path.clone()));
            round += 1;
            continue;
        }
        break Answered { body, answer: reply.body, status: reply.status, warnings: reply.warnings, takes, yielded };
    };
    images_as_sent(key, &answered.body, &answered.answer)?;
    Ok(told(key, live, answered, masker, look, &rules))
}

/// What people read of an answer. Pure.
fn told(
    key: &ObjectKey,
    live: Option<Value>,
    answered: Answered,
    masker: &Masker,
    look: &Look<'_>,
    rules: &ObjectRules,
) -> PreviewDiff {
    let Answered { body, answer, status, warnings, takes, yielded } = answered;
    let (before, after) = (live.as_ref().map(Managed::of).unwrap_or_default(), Managed::of(&answer));
    let ours = after.ours();
    let belongs = live.as_ref().and_then(|live| of_another(live, look));
    let restarts = live.as_ref().and_then(|live| template_changes(key, live, &answer));
    let (leftovers, claims) = match &live {
        Some(live) => (leftovers(&answer, ours), claims(live)),
        None => Default::default(),
    };
    let altered = altered(&body, &answer, &after);
    let adopted = live.as_ref().is_some_and(|live| !is_ours(live));
    let fields = live.iter().map(SecretFields::of).fold(SecretFields::of(&body), SecretFields::and);
    let (planned, live) = (masker.mask_also(answer, &fields), live.map(|live| masker.mask_also(live, &fields)));
    let (shown_live, shown, folded) = match look.all {
        true => (live.clone(), planned.clone(), Folded::default()),
        false => {
            let (live, planned) = (live.as_ref().map(text::readable), text::readable(&planned));
            fold(live.as_ref(), &planned, &ours.with(before.ours()), &before.others_fields().with(&after.others_fields()))
        }
    };
    let contested = rules.conflicts() == Conflicts::Report && takes.iter().any(|one| one.whose == Whose::Contested);
    let action = match &live {
        _ if status == StatusCode::CREATED => Action::Create,
        _ if adopted => Action::Adopt,
        Some(live) if text::same(live, &planned) && before.ours() == ours => Action::Unchanged,
        _ => Action::Configure,
    };
    let diff = text::unified(&key.to_string(), shown_live.as_ref(), &shown);
    let (foreign, yielded) = (after.foreign(), yielded.iter().map(|path| display(path)).collect());
    PreviewDiff {
        action,
        diff,
        folded,
        takes,
        contested,
        yielded,
        belongs,
        altered,
        foreign,
        restarts,
        leftovers,
        claims,
        warnings,
    }
}

/// An object of which a field can't be changed, and which may be deleted and made again.
fn made_anew(key: &ObjectKey, live: &Value, body: &Value, masker: &Masker) -> PreviewDiff {
    let fields = SecretFields::of(live).and(SecretFields::of(body));
    let (live, sent) = (masker.mask_also(live.clone(), &fields), masker.mask_also(body.clone(), &fields));
    PreviewDiff {
        action: Action::Recreate,
        diff: text::unified(&key.to_string(), Some(&live), &overlaid(&live, &sent)),
        folded: Folded::default(),
        takes: Vec::new(),
        contested: false,
        yielded: Vec::new(),
        belongs: None,
        altered: Vec::new(),
        foreign: Vec::new(),
        restarts: is_workload(key).then_some(true),
        leftovers: Vec::new(),
        claims: Vec::new(),
        warnings: Vec::new(),
    }
}

/// What an apply takes from whom. What is ours beyond doubt is what our entry says; the rest only the agent knows.
fn taken(live: &Value, answer: &Value, rules: &ObjectRules) -> Vec<Override> {
    let (before, after) = (Managed::of(live), Managed::of(answer));
    let ours = before.ours();
    let (before, after) = (At { object: live, managed: &before }, At { object: answer, managed: &after });
    overridden(before, after, |path| ours.contains(path), rules)
}

/// Whether the agent has applied it before.
fn is_ours(live: &Value) -> bool {
    label(live, INSTANCE_LABEL).is_some() || Managed::of(live).fingerprint().is_some()
}

fn label<'a>(object: &'a Value, name: &str) -> Option<&'a str> {
    object.pointer("/metadata/labels")?.get(name)?.as_str()
}

/// The agent adds its labels to what the files say. Without them a dry-run in its name would take them off.
fn keep_our_labels(body: &mut Value, live: &Value) {
    for name in [INSTANCE_LABEL, COMPONENT_LABEL] {
        let (Some(value), Some(metadata)) = (label(live, name), body["metadata"].as_object_mut()) else { continue };
        let labels = metadata.entry("labels").or_insert(Value::Null);
        if labels.is_null() {
            *labels = Value::Object(Map::new());
        }
        if let Value::Object(labels) = labels {
            labels.insert(name.into(), value.into());
        }
    }
}

/// Another instance or component that owns the object.
fn of_another(live: &Value, look: &Look<'_>) -> Option<String> {
    let instance = label(live, INSTANCE_LABEL)?;
    if look.instance.is_some_and(|ours| ours.as_str() != instance) {
        return Some(format!("the instance `{}`", printable(instance, 63)));
    }
    let component = label(live, COMPONENT_LABEL).filter(|component| *component != look.component.as_str())?;
    Some(format!("the component `{}` of the instance `{}`", printable(component, 63), printable(instance, 63)))
}

/// Kinds whose pods are replaced when their template changes.
fn is_workload(key: &ObjectKey) -> bool {
    key.group == "apps" && ["Deployment", "StatefulSet", "DaemonSet"].contains(&key.kind.as_str())
}

fn template_changes(key: &ObjectKey, live: &Value, answer: &Value) -> Option<bool> {
    is_workload(key).then(|| live.pointer("/spec/template") != answer.pointer("/spec/template"))
}
