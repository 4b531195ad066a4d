//! Hooks in the turns of a release: which of them run, how their Jobs are sent, and what the cluster says to one.
//!
//! A hook's Job says by an annotation for the content of which release it runs. One that is there and says the same is the
//! one that runs, or has run: it is waited for and never sent again, whoever began it. One that says something else is an
//! older release's and is made anew.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tk8s_core::{
    Digest, HOOK_OF_ANNOTATION, Hook, INSTANCE_LABEL, InstanceName, Manifest, Moment, ObjectKey, Placed, canonical_json,
};
use tk8s_history::{Desired, Release};

use crate::Error;
use crate::cluster::{Resource, dry_run_request};
use crate::images::images_as_sent;
use crate::immutable::overlaid;
use crate::memory::Known;
use crate::observe::{Asking, Finding, immutable, of_another, secret_fields};
use crate::order::wave;
use crate::ownership::Ownership;
use crate::sealed::{Action, Brought, Change, Conflict, Turn};
use crate::text;

/// Which hooks of a release run.
#[derive(Clone, Debug)]
pub enum Hooks {
    /// None: what has run before is put right.
    Skipped,
    /// Those that have not come to their end for this release.
    Due {
        /// Whether it is a rollback: then only those run that say so.
        rollback: bool,
        /// Those that did what they are for.
        done: BTreeSet<ObjectKey>,
        /// How long one may take that does not say.
        timeout: Duration,
    },
}

impl Hooks {
    /// All, as of a release that nobody knows yet.
    pub fn all(timeout: Duration) -> Hooks {
        Hooks::Due { rollback: false, done: BTreeSet::new(), timeout }
    }

    fn run(&self, key: &ObjectKey, hook: Hook) -> bool {
        match self {
            Hooks::Skipped => false,
            Hooks::Due { rollback, done, .. } => (!rollback || hook.on_rollback) && !done.contains(key),
        }
    }

    fn deadline(&self, hook: Hook) -> Duration {
        match (hook.deadline, self) {
            (Some(deadline), _) => deadline,
            (None, Hooks::Due { timeout, .. }) => *timeout,
            (None, Hooks::Skipped) => Duration::ZERO,
        }
    }
}

/// Objects of one turn, and how long they may take if they are hooks.
pub(crate) struct Group {
    pub(crate) objects: Vec<Manifest>,
    pub(crate) hooks: Option<(Moment, Duration)>,
}

impl Group {
    /// Objects that stay.
    pub(crate) fn plain(objects: Vec<Manifest>) -> Group {
        Group { objects, hooks: None }
    }
}

/// The hooks of a release, taken out of its other objects.
pub(crate) struct TakenOut(Vec<(Hook, Manifest)>);

impl TakenOut {
    /// The hooks, and the rest.
    pub(crate) fn of(objects: Vec<Placed>) -> Result<(TakenOut, Vec<Placed>), Error> {
        let (mut hooks, mut rest) = (Vec::new(), Vec::new());
        for placed in objects {
            match Hook::of(&placed.manifest).map_err(Error::Hook)? {
                Some(hook) => hooks.push((hook, placed.manifest)),
                None => rest.push(placed),
            }
        }
        Ok((TakenOut(hooks), rest))
    }

    /// Those of a moment that run, as they are sent: a group for each of their waves.
    pub(crate) fn groups(
        &self,
        moment: Moment,
        hooks: &Hooks,
        release: &Release,
        instance: &InstanceName,
    ) -> Result<Vec<Group>, Error> {
        let mut waves: BTreeMap<i32, Group> = BTreeMap::new();
        for (hook, manifest) in self.0.iter().filter(|(hook, _)| hook.moment == moment) {
            if !hooks.run(manifest.key(), *hook) {
                continue;
            }
            let deadline = hooks.deadline(*hook);
            let of_wave = waves.entry(wave(manifest)?).or_insert(Group { objects: Vec::new(), hooks: Some((moment, deadline)) });
            of_wave.hooks = of_wave.hooks.max(Some((moment, deadline)));
            let sent = as_sent(manifest, release.content, deadline);
            of_wave.objects.push(sent.owned_by(instance, &release.id.component));
        }
        let mut groups: Vec<Group> = waves.into_values().collect();
        groups.iter_mut().for_each(|group| crate::order(&mut group.objects));
        Ok(groups)
    }
}

/// A hook's Job as it is sent: it says for which release it runs, the cluster ends it at its deadline even if nobody watches,
/// and nobody tidies it away before it is written down how it ended.
fn as_sent(manifest: &Manifest, content: Digest, deadline: Duration) -> Manifest {
    let mut value = manifest.to_value();
    if let Some(Value::Object(spec)) = value.get_mut("spec") {
        spec.remove("ttlSecondsAfterFinished");
        let own = spec.get("activeDeadlineSeconds").and_then(Value::as_u64).unwrap_or(u64::MAX);
        spec.insert("activeDeadlineSeconds".into(), own.min(deadline.as_secs().max(1)).into());
    }
    if let Some(Value::Object(annotations)) = value.pointer_mut("/metadata/annotations") {
        annotations.insert(HOOK_OF_ANNOTATION.into(), content.to_string().into());
    }
    Manifest::new(value, manifest.origin().clone()).expect("because a manifest with other values in its maps is a manifest")
}

/// The turns in which the hooks of a failed release run, if it has any. They are none of the release's own: how it ended is
/// said already, and nothing is deleted after them.
pub fn on_failure(desired: Desired, instance: &InstanceName, hooks: &Hooks) -> Result<Vec<Turn>, Error> {
    let (release, objects) = desired.into_parts();
    let all = Arc::new(objects.iter().map(|placed| placed.manifest.key().clone()).collect());
    let (taken, _) = TakenOut::of(objects)?;
    let groups = taken.groups(Moment::OnFailure, hooks, &release, instance)?;
    Ok(in_turns(groups, &release, &all, &Arc::default()))
}

/// One turn for each group.
pub(crate) fn in_turns(
    groups: Vec<Group>,
    release: &Arc<Release>,
    all: &Arc<Vec<ObjectKey>>,
    brought: &Arc<Brought>,
) -> Vec<Turn> {
    let of = u32::try_from(groups.len()).unwrap_or(u32::MAX);
    let turn = |(index, Group { objects, hooks })| Turn {
        release: Arc::clone(release),
        index,
        of,
        objects,
        all: Arc::clone(all),
        brought: Arc::clone(brought),
        hooks,
    };
    (0..of).zip(groups).map(turn).collect()
}

/// What the cluster says to a hook: one read, and one dry-run if its Job is to be made.
pub(crate) async fn ask(asking: &Asking<'_>, manifest: &Manifest, resource: &Resource) -> Result<Finding, Error> {
    let (key, desired) = (manifest.key(), manifest.digest());
    // The watches see only what bears our labels, and a Job of somebody else must not be taken over.
    let found = asking.cluster.get(resource, key).await?;
    if let Some(found) = &found {
        if let Some(conflict) = of_another(key, found, manifest) {
            return Ok(Finding::Contested(conflict));
        }
        if text_of(found, "labels", INSTANCE_LABEL).is_none() {
            let message = "a Job of this name is there that was not made from this repository: delete it, or use another name";
            return Ok(Finding::Contested(Conflict { key: key.clone(), message: message.into() }));
        }
        if text_of(found, "annotations", HOOK_OF_ANNOTATION) == manifest.annotation(HOOK_OF_ANNOTATION) {
            if found["metadata"]["deletionTimestamp"].is_string() {
                return Err(Error::Vanished(key.clone()));
            }
            let ownership = Ownership::of(found);
            let known = Known::of_answer(resource, found, &ownership, desired).ok_or_else(|| Error::Vanished(key.clone()))?;
            asking.live.answered(resource, found, &ownership);
            return Ok(Finding::AsFound(key.clone(), Box::new(known)));
        }
    }
    let body = manifest.to_value();
    let reply = asking.cluster.exchange_until(|| dry_run_request(resource, key, &body), asking.deadline).await?;
    let fields = secret_fields(&body, found.as_ref());
    let masked = |value: Value| asking.live.masker().mask_also(value, &fields);
    let sent = masked(body.clone());
    let (planned, warnings) = match immutable(&reply) {
        // What else would be wrong with it would be said beside that.
        Some(_) => (overlaid(&masked(found.clone().unwrap_or_default()), &sent), Vec::new()),
        None => {
            let reply = reply.yes_to(key, &body)?;
            images_as_sent(key, &body, &reply.body)?;
            (masked(reply.body), reply.warnings)
        }
    };
    let uid = found.as_ref().and_then(|found| found["metadata"]["uid"].as_str()).map(String::from);
    let diff = text::unified(&key.to_string(), found.map(masked).as_ref(), &planned);
    let action = if uid.is_some() { Action::Recreate } else { Action::Create };
    let made = Change::made(key, resource, action, body, desired);
    Ok(Finding::Differs(Box::new(Change { uid, sent: Digest::of(canonical_json(&sent)), diff, warnings, ..made })))
}

fn text_of<'a>(object: &'a Value, field: &str, name: &str) -> Option<&'a str> {
    object.get("metadata")?.get(field)?.get(name)?.as_str()
}
