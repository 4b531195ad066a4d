//! From a turn to what the cluster says to it, and from that to a plan. Observing asks only about what changed; planning
//! asks nothing.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use http::StatusCode;
use serde_json::{Value, json};
use tk8s_core::{
    COMPONENT_LABEL, Class, Classified as _, Digest, FIELD_MANAGER, GroupVersionKind, INSTANCE_LABEL, Manifest, ObjectKey,
    SecretFields, ServiceAccount, canonical_json,
};
use tokio::time::Instant;

use crate::Error;
use crate::cluster::{Cluster, Reply, Resource, dry_run_request};
use crate::confine::Confinement;
use crate::foretold::Foretold;
use crate::giving_up;
use crate::images::images_as_sent;
use crate::immutable::{self, may_be_made_anew, overlaid};
use crate::live::{Live, Seen};
use crate::memory::{Compared, Known, Memory, Owned, compare, only_we_wrote};
use crate::ownership::{
    At, Conflicts, DriftMode, FieldRules, FieldSet, Managed, ObjectRules, Override, Ownership, Path, Whose, display, give_way,
    intruders, overridden, take_out,
};
use crate::sealed::{Action, Change, Conflict, Kept, Leaving, Observed, Plan, Propagation, Prune, Rehearsed, Turn};
use crate::text;

/// What may be deleted, and whose fields are whose.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    /// Whether anything is deleted at all.
    pub prune: bool,
    /// Kinds that are never deleted.
    pub protect: Vec<String>,
    /// Whose fields are left to whom, and what is done about those that were taken.
    pub fields: FieldRules,
    /// What other components want: it is neither deleted, because they take it over, nor taken from them.
    pub wanted_elsewhere: HashSet<ObjectKey>,
    /// What becomes of objects that the API server does not take.
    pub rejections: Rejections,
    /// Objects of the release that are left as they are, whatever they are.
    pub left_out: HashSet<ObjectKey>,
    /// Whether each change says in words what it changes: for people alone, and it costs more than planning the change.
    pub diffs: bool,
    /// What the component may touch: nothing outside of it is deleted.
    pub confine: Confinement,
    /// Whether nothing outside of it is written either. What came in before somebody confined the component is repaired,
    /// and put back if a person wants it.
    pub comes_in: bool,
    /// What the cluster said to the same question a moment ago, and where it is kept: for whoever asks twice.
    pub foretold: Option<Arc<Foretold>>,
}

/// What becomes of an object that the API server does not take as things are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Rejections {
    /// What can't get better by itself stops the release before its first write; the rest (a right, a kind, a policy) is
    /// found when its turn comes, because what is missing may be on its way.
    #[default]
    Refused,
    /// Each stops the release before its first write: nothing is on its way but what the release itself brings.
    RefusedAtOnce,
    /// It is left as it is, neither written nor deleted, and the rest of the release goes on.
    Skipped,
}

/// The annotation that says what happens to fields of others on one object.
pub(crate) const CONFLICTS: &str = "tk8s.io/conflicts";

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

/// How often one object is asked about, when it changes all the time or its fields are left to others one after another.
const ROUNDS: usize = 4;

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
    let (brought, served_by) = (turn.brought(), deadline.min(Instant::now() + SERVED_SOON));
    for manifest in std::mem::take(&mut turn.objects) {
        let key = manifest.key().clone();
        if brought.definition_of(&key).is_some_and(|definition| matches!(live.seen(definition), Seen::Present(_))) {
            until_served(cluster, manifest.kind(), served_by).await;
        }
        match in_scope(cluster, manifest, rules).await {
            Ok((manifest, _)) if rules.left_out.contains(manifest.key()) => {}
            Ok(found) => objects.push(found),
            Err(_) if rules.left_out.contains(&key) => {}
            Err(error) => errors.push((key, error)),
        }
    }
    let mut kinds: Vec<Resource> = objects.iter().map(|(_, resource)| resource.clone()).collect();
    kinds.sort();
    kinds.dedup();
    for kind in &kinds {
        live.watch_in(kind);
    }
    // A watch that does not come up costs requests, not correctness.
    live.synced(&kinds, std::time::Duration::from_secs(10)).await;
    let asking = Asking { cluster, live, memory, rules, deadline, hooks: turn.hooks.is_some() };
    let owned: HashMap<&ObjectKey, &Owned> = inventory.iter().map(|(key, owned)| (key, owned)).collect();
    let findings = asking.about_all(&objects, &owned, concurrency, &mut errors).await;
    drop(owned);
    let (rejected, errors): (Vec<_>, Vec<_>) =
        errors.into_iter().partition(|(_, error)| rules.rejections == Rejections::Skipped && error.is_rejection());
    one_of(errors)?;
    let rejected: Vec<Kept> = rejected.into_iter().map(|(key, error)| Kept { key, why: tk8s_core::chain(&error) }).collect();
    let refused: HashSet<&ObjectKey> = rejected.iter().map(|rejected| &rejected.key).collect();
    let taken = objects.into_iter().map(|(manifest, _)| manifest);
    turn.objects = taken.filter(|manifest| !refused.contains(manifest.key())).collect();
    let leaving = if turn.is_last() { leaving(cluster, live, &turn, inventory, rules).await? } else { Leaving::default() };
    let account = cluster.account().cloned();
    Ok(Observed { turn, account, findings, rejected, leaving })
}

/// How long all kinds together are waited for that the release defines itself, and how often it is asked.
const SERVED_SOON: std::time::Duration = std::time::Duration::from_secs(5);
const ASK_AGAIN: std::time::Duration = std::time::Duration::from_millis(100);

/// Waits for a kind whose definition is there: it is established a moment before the API server serves what it defines.
/// Whether that happened is said by whoever asks next.
async fn until_served(cluster: &Cluster, kind: &GroupVersionKind, until: Instant) {
    while matches!(cluster.resource(kind).await, Ok(None)) && Instant::now() < until {
        tokio::time::sleep(ASK_AGAIN).await;
    }
}

/// Asks about the objects of later turns, as far as that can be asked now, so that what the API server or a rule refuses in
/// any case stops the release before its first write. What has to exist first is planned, and refused, when its turn comes.
/// None where there is no later turn.
pub async fn rehearse(
    cluster: &Cluster,
    live: &Live,
    turns: &[Turn],
    memory: &dyn Memory,
    rules: &Rules,
    concurrency: usize,
    deadline: Instant,
) -> Result<Option<Rehearsed>, Error> {
    if rules.rejections == Rejections::Skipped {
        return Ok(None);
    }
    let (mut errors, mut conflicts, mut going) = (Vec::new(), Vec::new(), Leaving::default());
    for turn in turns {
        let (mut objects, mut refused) = (Vec::new(), Vec::new());
        for manifest in &turn.objects {
            match in_scope(cluster, manifest.clone(), rules).await {
                Ok((manifest, _)) if rules.left_out.contains(manifest.key()) => {}
                Ok(found) => objects.push(found),
                Err(error) => refused.push((manifest.key().clone(), error)),
            }
        }
        let inventory = memory.inventory(&turn.release.id.component);
        let owned: HashMap<&ObjectKey, &Owned> = inventory.iter().map(|(key, owned)| (key, owned)).collect();
        let asking = Asking { cluster, live, memory, rules, deadline, hooks: turn.hooks.is_some() };
        let findings = asking.about_all(&objects, &owned, concurrency, &mut refused).await;
        conflicts.extend(findings.into_iter().filter_map(|finding| match finding {
            Finding::Contested(conflict) => Some(conflict),
            _ => None,
        }));
        drop(owned);
        if turn.is_last() {
            going = leaving(cluster, live, turn, inventory, rules).await?;
        }
        let counts = |(key, error): &(ObjectKey, Error)| match rules.rejections {
            Rejections::RefusedAtOnce => error.is_rejection() && !turn.brought.is_needed_by(key),
            // What can't be found yet is found when its turn comes.
            _ => matches!(error.class(), Class::Stalled | Class::Denied),
        };
        errors.extend(refused.into_iter().filter(counts));
    }
    one_of(errors)?;
    let release = turns.first().map(|turn| Arc::clone(&turn.release));
    Ok(release.map(|release| Rehearsed { release, conflicts, leaving: going }))
}

/// All of them as one, if there are any.
fn one_of(mut errors: Vec<(ObjectKey, Error)>) -> Result<(), Error> {
    match errors.len() {
        0 => Ok(()),
        1 => Err(errors.remove(0).1),
        _ => Err(Error::Several(errors.into_iter().map(|(_, error)| error).collect())),
    }
}

/// The object as its kind's scope wants it, and how the API server calls the kind. Whether it lies outside of what the
/// component may touch was asked before; of a kind that turns out to be the cluster's it is asked again.
async fn in_scope(cluster: &Cluster, manifest: Manifest, rules: &Rules) -> Result<(Manifest, Resource), Error> {
    let Some(resource) = cluster.resource(manifest.kind()).await? else {
        return Err(Error::UnknownKind { kind: manifest.kind().clone(), object: manifest.key().to_string() });
    };
    match (resource.namespaced, &manifest.key().namespace) {
        (false, Some(_)) => {
            let manifest = manifest.without_namespace();
            match rules.confine.refuses(manifest.key()).filter(|_| rules.comes_in) {
                Some(why) => Err(Error::Outside { object: manifest.key().to_string(), why }),
                None => Ok((manifest, resource)),
            }
        }
        (true, None) => Err(Error::NoNamespace { object: manifest.key().to_string(), origin: manifest.origin().to_string() }),
        _ => Ok((manifest, resource)),
    }
}

/// Whom is asked, and by which rules.
pub(crate) struct Asking<'a> {
    pub(crate) cluster: &'a Cluster,
    pub(crate) live: &'a Live,
    memory: &'a dyn Memory,
    rules: &'a Rules,
    pub(crate) deadline: Instant,
    /// Whether the objects are hooks.
    hooks: bool,
}

impl Asking<'_> {
    /// Asks about all of them, a few at a time; findings in the order of the objects.
    async fn about_all(
        &self,
        objects: &[(Manifest, Resource)],
        owned: &HashMap<&ObjectKey, &Owned>,
        concurrency: usize,
        errors: &mut Vec<(ObjectKey, Error)>,
    ) -> Vec<Finding> {
        let (mut waiting, mut under_way, mut answers) = (objects.iter().enumerate(), FuturesUnordered::new(), Vec::new());
        loop {
            // Made when their turn comes: a question is larger than its object.
            while under_way.len() < concurrency.max(1)
                && let Some((number, (manifest, resource))) = waiting.next()
            {
                let owned = owned.get(manifest.key()).copied();
                under_way.push(async move { (number, ask(self, manifest, resource, owned).await) });
            }
            // In the order of the answers, so that a slow one keeps no other question waiting.
            match under_way.next().await {
                None => break,
                Some(answered) => answers.push(answered),
            }
        }
        answers.sort_by_key(|(number, _)| *number);
        let mut findings = Vec::with_capacity(answers.len());
        for (number, answer) in answers {
            match answer {
                Ok(finding) => findings.push(finding),
                Err(error) => errors.push((objects[number].0.key().clone(), error)),
            }
        }
        findings
    }
}

async fn ask(asking: &Asking<'_>, manifest: &Manifest, resource: &Resource, owned: Option<&Owned>) -> Result<Finding, Error> {
    let Asking { cluster, live, memory, rules, deadline, hooks } = *asking;
    if hooks {
        return crate::hooks::ask(asking, manifest, resource).await;
    }
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
    let untouched = known.as_ref().is_some_and(|known| {
        let as_left = match compare(known, key, &seen, &rules.fields) {
            Compared::AsLeft | Compared::Yielded => true,
            // Told elsewhere; what stands in Git has not changed.
            Compared::Drifted(_) => rules.fields.drift != DriftMode::Repair,
        };
        known.desired == desired && !matches!(seen, Seen::Unwatched | Seen::OutOfSight) && as_left
    });
    if untouched {
        return Ok(Finding::AsKnown(key.clone()));
    }
    let was_ours = match (&known, owned) {
        (Some(known), _) => WasOurs::These(known.owned()),
        // What was ours is forgotten: then all that we want was.
        (None, Some(owned)) if owned.uid.is_some() => WasOurs::All,
        _ => WasOurs::Nothing,
    };
    let masker = live.masker();
    let object_rules = rules.fields.of(key, manifest.annotation(CONFLICTS));
    if let (Some(foretold), Seen::Present(seen)) = (&rules.foretold, &seen)
        && let Some(change) = foretold.still(manifest, resource, &seen.resource_version, &object_rules)
    {
        return Ok(Finding::Differs(Box::new(change)));
    }
    let question = Question { cluster, live, manifest, resource, rules: object_rules.clone(), deadline };
    let answered = match question.ask(&seen, &was_ours).await? {
        Said::Yes(answered) => answered,
        Said::Contested(conflict) => return Ok(Finding::Contested(conflict)),
        Said::Stale(stale) => {
            return Ok(Finding::Differs(Box::new(stale.change(manifest, resource, masker))));
        }
        Said::Anew { body, live, uid } => {
            let fields = secret_fields(&body, Some(&live));
            let (sent, live) = (masker.mask_also(body.clone(), &fields), masker.mask_also(live, &fields));
            let diff = text::unified(&key.to_string(), Some(&live), &overlaid(&live, &sent));
            let made = Change::made(key, resource, Action::Recreate, body, desired);
            let sent = Digest::of(canonical_json(&sent));
            return Ok(Finding::Differs(Box::new(Change { uid: Some(uid), sent, diff, ..made })));
        }
    };
    let Answered { body, reply, managed, before, mut overrides, yielded } = *answered;
    let Reply { status, body: answer, warnings, .. } = reply;
    images_as_sent(key, &body, &answer)?;
    let fields = secret_fields(&body, before.as_ref().map(|before| &before.object));
    let intruders = intruders(&managed, &answer, &object_rules);
    let mut planned = masker.masked(&answer, &fields);
    if !intruders.is_empty() {
        giving_up::without_intruders(planned.to_mut(), &intruders);
    }
    let before = before.map(|before| Before { object: masker.mask_also(before.object, &fields), ..before });
    let action = match (&seen, &before) {
        _ if status == StatusCode::CREATED => Action::Create,
        (Seen::Present(_), _) => Action::Configure,
        _ if owned.is_some() => Action::Configure,
        _ => Action::Adopt,
    };
    let takes_over = action != Action::Create && managed.has_predecessors_beside_us();
    if let (Action::Configure, Some(before), false, true) = (action, &before, takes_over, intruders.is_empty())
        && text::same(&before.object, &planned)
        && let Some(known) = Known::of_answer(resource, &answer, &Ownership::with(managed, &answer), desired)
        && before.managed.fingerprint() == Some(known.fields)
    {
        return Ok(Finding::AsFound(key.clone(), Box::new(known)));
    }
    overrides.extend(intruders);
    // What is to be made has neither.
    let of_answer = |field: &str| answer["metadata"][field].as_str().map(String::from).filter(|_| action != Action::Create);
    let (uid, found) = (of_answer("uid"), of_answer("resourceVersion"));
    let version = found.clone().filter(|_| !overrides.is_empty());
    let diff = match rules.diffs {
        true => text::unified(&key.to_string(), before.as_ref().map(|before| &before.object), &planned),
        false => String::new(),
    };
    let sent = Digest::of(canonical_json(&masker.masked(&body, &fields)));
    let change = Change {
        key: key.clone(),
        resource: resource.clone(),
        action,
        body,
        uid,
        overrides,
        version,
        yielded: yielded.iter().map(|path| display(path)).collect(),
        takes_over,
        migrates: Vec::new(),
        desired,
        sent,
        diff,
        warnings,
    };
    if let (Some(foretold), Some(version)) = (&rules.foretold, &found) {
        foretold.remember(&change, version, &object_rules);
    }
    Ok(Finding::Differs(Box::new(change)))
}

/// What of an object was ours after our last apply.
enum WasOurs {
    Nothing,
    These(FieldSet),
    All,
}

/// An object as it was before the question.
struct Before {
    /// Masked.
    object: Value,
    managed: Managed,
}

/// What the cluster says to one object, when all that has to be left to others is left out of it.
struct Answered {
    body: Value,
    reply: Reply,
    /// Who manages what of the object in the reply.
    managed: Managed,
    before: Option<Before>,
    overrides: Vec<Override>,
    yielded: Vec<Path>,
}

/// Secret is what either side says is: a field that is not encrypted any more was, and the live object may have lost what
/// it said.
pub(crate) fn secret_fields(body: &Value, live: Option<&Value>) -> SecretFields {
    live.map(SecretFields::of).unwrap_or_default().and(SecretFields::of(body))
}

/// What comes of a question.
enum Said {
    Yes(Box<Answered>),
    /// Something belongs to somebody else.
    Contested(Conflict),
    /// A field can't be changed, and the object, masked, may be made anew.
    Anew {
        body: Value,
        live: Value,
        uid: String,
    },
    /// Fields were written in versions that are gone: nobody can ask what an apply would do before that is put right.
    Stale(Box<giving_up::Stale>),
}

/// One object, and the rules for its fields.
struct Question<'a> {
    cluster: &'a Cluster,
    live: &'a Live,
    manifest: &'a Manifest,
    resource: &'a Resource,
    rules: ObjectRules,
    deadline: Instant,
}

impl Question<'_> {
    /// Dry-runs the object, forced, so that the answer says what an apply would take from whom; again without what turns
    /// out to be left to others. A conflict where something belongs to somebody else.
    async fn ask(&self, seen: &Seen, was_ours: &WasOurs) -> Result<Said, Error> {
        let key = self.manifest.key();
        let mut before = match seen {
            // A masked value can't be sent.
            Seen::Present(seen) if self.rules.has_pointers() && self.is_masked(&seen.object()) => self.read().await?,
            Seen::Present(seen) => {
                let object = seen.object();
                let managed = Managed::of(&object);
                Some((object, managed))
            }
            _ => None,
        };
        if let Some((object, managed)) = &before {
            let gone = giving_up::gone_versions(self.cluster, managed, self.resource).await?;
            if !gone.is_empty() {
                let body = self.body(before.as_ref(), &[]).0;
                let (live, managed) = (object.clone(), managed.clone());
                return Ok(Said::Stale(Box::new(giving_up::Stale { body, live, managed, gone })));
            }
        }
        let mut more: Vec<Path> = Vec::new();
        for round in 1.. {
            let (body, yielded) = self.body(before.as_ref(), &more);
            let request = || dry_run_request(self.resource, key, &body);
            let reply = self.cluster.exchange_until(request, self.deadline).await?;
            if let Some(fields) = immutable(&reply) {
                return self.made_anew(body, before, was_ours, fields).await;
            }
            let reply = reply.yes_to(key, &body)?;
            let managed = Managed::of(&reply.body);
            if reply.status == StatusCode::CREATED {
                let (overrides, yielded) = (Vec::new(), Vec::new());
                return Ok(Said::Yes(Box::new(Answered { body, reply, managed, before: None, overrides, yielded })));
            }
            let after = &managed;
            let told = before.as_ref().is_some_and(|(_, managed)| managed.leads_to(after));
            if !told && round < ROUNDS {
                before = self.read().await?;
                if let Some(conflict) = before.as_ref().and_then(|(found, _)| of_another(key, found, self.manifest)) {
                    return Ok(Said::Contested(conflict));
                }
                if self.body(before.as_ref(), &more).0 != body {
                    continue;
                }
            }
            let was_ours = |path: &[String]| match was_ours {
                WasOurs::Nothing => false,
                WasOurs::These(fields) => fields.contains(path),
                WasOurs::All => true,
            };
            let after = At { object: &reply.body, managed: after };
            let overrides = match &before {
                Some((object, managed)) => overridden(At { object, managed }, after, was_ours, &self.rules),
                None => Vec::new(),
            };
            let contested: Vec<_> = overrides.iter().filter(|one| one.whose == Whose::Contested).collect();
            match self.rules.conflicts() {
                Conflicts::Report if !contested.is_empty() => return Ok(Said::Contested(contest(key, &contested))),
                Conflicts::Yield if !contested.is_empty() && round < ROUNDS => {
                    more.extend(contested.iter().map(|one| one.path.clone()));
                    continue;
                }
                _ => {}
            }
            let before = before.map(|(object, managed)| Before { object: self.live.masker().mask(object), managed });
            return Ok(Said::Yes(Box::new(Answered { body, reply, managed, before, overrides, yielded })));
        }
        unreachable!("because the last round answers")
    }

    /// Whether something of the object, as the watches tell it, is masked.
    fn is_masked(&self, live: &Value) -> bool {
        self.manifest.is_secret() || !secret_fields(&self.manifest.to_value(), Some(live)).is_empty()
    }

    /// An object of which a field can't be changed.
    async fn made_anew(
        &self,
        body: Value,
        before: Option<(Value, Managed)>,
        was_ours: &WasOurs,
        fields: Vec<String>,
    ) -> Result<Said, Error> {
        let key = self.manifest.key();
        let before = match before {
            Some(before) => Some(before),
            None => self.read().await?,
        };
        // Gone meanwhile: the next plan makes it.
        let Some((live, _)) = before else { return Err(Error::Vanished(key.clone())) };
        if let Some(conflict) = of_another(key, &live, self.manifest) {
            return Ok(Said::Contested(conflict));
        }
        may_be_made_anew(self.manifest, &live, !matches!(was_ours, WasOurs::Nothing), fields)?;
        let uid = live["metadata"]["uid"].as_str().unwrap_or_default().to_owned();
        Ok(Said::Anew { body, live: self.live.masker().mask(live), uid })
    }

    /// What is sent, as the object is now, and what of the manifest is left to others.
    fn body(&self, before: Option<&(Value, Managed)>, more: &[Path]) -> (Value, Vec<Path>) {
        let mut body = self.manifest.to_value();
        let mut yielded = before.map(|(object, managed)| give_way(&mut body, object, managed, &self.rules)).unwrap_or_default();
        yielded.extend(more.iter().filter(|path| take_out(&mut body, path)).cloned());
        (body, yielded)
    }

    async fn read(&self) -> Result<Option<(Value, Managed)>, Error> {
        let found = self.cluster.get(self.resource, self.manifest.key()).await?;
        Ok(found.map(|object| {
            let managed = Managed::of(&object);
            (object, managed)
        }))
    }
}

/// The fields that can't be changed, if that is all that is wrong.
pub(crate) fn immutable(reply: &Reply) -> Option<Vec<String>> {
    (reply.status == StatusCode::UNPROCESSABLE_ENTITY).then(|| immutable::fields(&reply.body)).flatten()
}

/// Fields that somebody else owns, in one sentence.
fn contest(key: &ObjectKey, contested: &[&Override]) -> Conflict {
    let fields: Vec<_> = contested.iter().map(|one| format!("{} is owned by `{}`", one.field, one.manager)).collect();
    Conflict { key: key.clone(), message: tk8s_core::printable(&fields.join(", "), 1000) }
}

/// An object that another instance, or another component, owns.
pub(crate) fn of_another(key: &ObjectKey, found: &Value, manifest: &Manifest) -> Option<Conflict> {
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
    turn: &Turn,
    inventory: Vec<(ObjectKey, Owned)>,
    rules: &Rules,
) -> Result<Leaving, Error> {
    let owned = inventory.len();
    let (mut prune, mut released, mut kept) = (Vec::new(), Vec::new(), Vec::new());
    let component = turn.release.id.component.as_str();
    let all: HashSet<&ObjectKey> = turn.all.iter().collect();
    let names: HashSet<_> = turn.all.iter().map(|key| (&key.group, &key.kind, &key.name)).collect();
    // What is the cluster's own was perhaps wanted in a namespace.
    let somewhere = |key: &ObjectKey| key.namespace.is_none() && names.contains(&(&key.group, &key.kind, &key.name));
    let wanted = |key: &ObjectKey| all.contains(key) || somewhere(key);
    for (key, owned) in inventory.into_iter().filter(|(key, _)| !wanted(key)) {
        let mut keep = |why: &str| kept.push(Kept { key: key.clone(), why: why.into() });
        let seen = live.seen(&key);
        // Of what was applied last in a version that is gone another one tells, and deletes.
        let resource = match live.resource_of(&key) {
            Some(resource) => Some(resource),
            None => cluster.resource_of(&key).await?,
        };
        let Some(resource) = resource else {
            match seen {
                // A list, or an event, said so while the kind was there.
                Seen::Absent => released.push(Kept { key, why: "it is gone, and so is its kind".into() }),
                _ => keep("the cluster does not serve its kind"),
            }
            continue;
        };
        let object = match seen {
            Seen::Present(seen) => Some((seen.uid.clone(), seen.object(), seen.only_ours)),
            Seen::Absent => None,
            Seen::Unwatched | Seen::OutOfSight => match cluster.get(&resource, &key).await {
                Err(Error::Unserved(_)) => {
                    keep("the cluster does not serve its kind");
                    continue;
                }
                found => found?.and_then(|found| {
                    let uid = found.pointer("/metadata/uid")?.as_str()?.to_owned();
                    let only_ours = only_we_wrote(&found);
                    Some((uid, found, only_ours))
                }),
            },
        };
        let Some((uid, object, only_ours)) = object else {
            match owned.uid {
                // It is gone already: deleting it once more is how the inventory learns that.
                Some(uid) => {
                    let (propagation, confirm) = Default::default();
                    prune.push(Prune { key, resource, uid, propagation, confirm });
                }
                None => released.push(Kept { key, why: "it was never made".into() }),
            }
            continue;
        };
        let label = object.pointer("/metadata/labels").and_then(|labels| labels.get(COMPONENT_LABEL)).and_then(Value::as_str);
        let annotation = |name: &str| {
            object.pointer("/metadata/annotations").and_then(|annotations| annotations.get(name)).and_then(Value::as_str)
        };
        let annotated = annotation("tk8s.io/prune");
        let propagation = Propagation::read(annotation("tk8s.io/propagation"));
        let system = key.kind == "Namespace" && (key.name == "default" || key.name.starts_with("kube-"));
        // A run that was killed could not write down whether it made the object: then it did if nobody else wrote to it.
        let created = owned.created.unwrap_or(only_ours);
        match () {
            () if label != Some(component) => released.push(Kept { key, why: "it belongs to another component now".into() }),
            () if rules.wanted_elsewhere.contains(&key) => keep("another component takes it over"),
            () if !rules.prune => keep("`prune` is off"),
            () if turn.all.is_empty() && turn.release.removal.is_none() => keep("the release is empty"),
            () if owned.uid.as_ref().is_some_and(|known| *known != uid) => {
                released.push(Kept { key, why: "another object has its name now".into() });
            }
            () if !created && owned.created.is_none() => {
                keep("the run that wrote it was interrupted, and others wrote to it too")
            }
            () if !created => keep("it was there before us"),
            () if rules.protect.contains(&key.kind) => keep("its kind is protected"),
            () if system => keep("it is a system namespace"),
            () if rules.confine.refuses(&key).is_some() => keep("it lies outside of the component's `confine`"),
            () if annotated == Some("false") => keep("it is annotated with `tk8s.io/prune: \"false\"`"),
            () => prune.push(Prune { key, resource, uid, propagation, confirm: annotated == Some("confirm") }),
        }
    }
    Ok(Leaving { prune, released, kept, owned })
}

/// The plan that follows from what was observed. Pure: the same observation gives the same plan.
pub fn plan(observed: Observed) -> Plan {
    let Observed { mut turn, account, findings, rejected, leaving } = observed;
    let objects = std::mem::take(&mut turn.objects).iter().map(|manifest| manifest.key().clone()).collect();
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
    let digest = digest(&turn, account.as_ref(), &changes, &leaving.prune);
    Plan { turn, account, objects, changes, unchanged, confirmed, conflicts, rejected, leaving, digest }
}

fn digest(turn: &Turn, account: Option<&ServiceAccount>, changes: &[Change], prune: &[Prune]) -> Digest {
    let changes: Vec<_> = changes
        .iter()
        .map(|change| {
            json!([
                change.key,
                change.resource,
                change.action,
                change.sent,
                change.uid,
                change.overrides,
                change.version,
                change.takes_over,
                change.migrates
            ])
        })
        .collect();
    let text = json!({"manager": FIELD_MANAGER, "account": account, "release": turn.release.id, "turn": [turn.index, turn.of], "changes": changes, "prune": prune});
    Digest::of(canonical_json(&text))
}
