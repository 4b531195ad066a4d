//! What each event does to the derived tree: a pure fold. The same events give the same bytes, whoever replays them.
//!
//! Clock, configuration and keys have no say here; what they decided is in the events.

use serde::{Deserialize, Serialize};
use tk8s_core::{ComponentName, Digest, ObjectKey, ReleaseId, ReleaseNumber, Revision, TagId, Timestamp, Trust, canonical_json};

use crate::degraded::DegradedView;
use crate::event::{Event, Record};
use crate::gap::{GapView, Limit};
use crate::incident::{self, AcceptedBy};
use crate::view::{Changes, ViewError};
use crate::{
    AcceptedComponent, AppliedObject, BrokenGlass, EndedHook, Hold, InventoryEntry, LeftOut, Outcome, RefusedView, Release,
    ReleaseView, RollbackRequest, Said, Scope, SeenTag, Status, Suspension,
};

/// The number of this fold, kept in each view that it made: a view of another one is made anew. Raised whenever the same events
/// become something else in the view, also when only the form of an entry changes.
pub(crate) const FOLD: u32 = 1;

/// The key of which version of the agent wrote last.
pub(crate) const WROTE: &str = "wrote";

/// The key of what was last accepted.
pub(crate) const ACCEPTED: &str = "accepted";

/// What was last accepted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct AcceptedState {
    pub(crate) revision: Revision,
    pub(crate) trust: Trust,
    pub(crate) at: Timestamp,
    /// How many refusals were left then: counted, because no clock can be trusted to say which of them came later.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(crate) refused: usize,
}

fn is_zero(number: &usize) -> bool {
    *number == 0
}

/// What is known of a component. Releases by number.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct ComponentState {
    pub(crate) latest: ReleaseNumber,
    /// The release of which a turn was begun and has no outcome; its intent stands under [`intents`].
    pub(crate) begun: Option<ReleaseNumber>,
    pub(crate) current: Option<ReleaseNumber>,
    pub(crate) healthy: Option<ReleaseNumber>,
    pub(crate) hold: Option<Hold>,
    pub(crate) rollback: Option<RollbackRequest>,
}

/// Which hooks of a component came to their end, for the content that ran hooks last.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct HooksState {
    pub(crate) content: Digest,
    pub(crate) ended: Vec<EndedHook>,
}

/// What is known of a release.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ReleaseState {
    pub(crate) release: Release,
    /// Its objects.
    pub(crate) blob: Digest,
    /// Where in the ledger it was staged.
    pub(crate) position: u64,
    pub(crate) outcome: Option<Outcome>,
    pub(crate) finished_at: Option<Timestamp>,
    pub(crate) healthy_at: Option<Timestamp>,
    /// Why its plan was last denied.
    pub(crate) denied: Option<Vec<String>>,
    /// Which deletions a person let through.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) confirmed: Option<String>,
    /// What of it is left as it is, because the API server does not take it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) left_out: Vec<LeftOut>,
}

impl From<ReleaseState> for ReleaseView {
    fn from(state: ReleaseState) -> ReleaseView {
        let ReleaseState { release, outcome, finished_at, healthy_at, .. } = state;
        ReleaseView { release, outcome, finished_at, healthy_at }
    }
}

/// What is known of a component beside what this ledger holds, and where in the ledger that was written down.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct LimitState {
    pub(crate) limit: Limit,
    pub(crate) position: u64,
}

/// The key of the last gap that was found.
pub(crate) const GAP: &str = "gap";

pub(crate) const LIMITS: &str = "limit/";

pub(crate) fn limit(component: &ComponentName) -> String {
    format!("{LIMITS}{component}")
}

pub(crate) fn tag(name: &str) -> String {
    format!("tag/{name}")
}

pub(crate) const TAGS: &str = "tag/";

pub(crate) fn refused(reference: &str, object: &str, reason: &str) -> String {
    let name = canonical_json(&serde_json::json!([object, reason]));
    format!("{}{}", refused_of(reference), Digest::of(name).hex())
}

pub(crate) const REFUSED: &str = "refused/";

/// The ref of the refusals that were too many to be written down one by one: no ref is called so.
pub(crate) const MANY_REFUSED: &str = "*";

fn refused_of(reference: &str) -> String {
    format!("{REFUSED}{}/", Digest::of(reference).hex())
}

pub(crate) const COMPONENTS: &str = "component/";

pub(crate) fn component(name: &ComponentName) -> String {
    format!("{COMPONENTS}{name}")
}

pub(crate) fn releases(component: &ComponentName) -> String {
    format!("release/{component}/")
}

pub(crate) fn release(component: &ComponentName, number: ReleaseNumber) -> String {
    format!("{}{:020}", releases(component), number.0)
}

pub(crate) fn intents(component: &ComponentName) -> String {
    format!("intent/{component}/")
}

pub(crate) fn hooks(component: &ComponentName) -> String {
    format!("hooks/{component}")
}

/// The causes that are known of a release.
pub(crate) fn causes(release: &ReleaseId) -> String {
    format!("cause/{}/{:020}/", release.component, release.number.0)
}

pub(crate) fn cause(release: &ReleaseId, cause: &Digest) -> String {
    format!("{}{}", causes(release), cause.hex())
}

pub(crate) const INVENTORIES: &str = "inventory/";

pub(crate) fn inventory(component: &ComponentName) -> String {
    format!("{INVENTORIES}{component}/")
}

pub(crate) fn inventory_entry(component: &ComponentName, key: &ObjectKey) -> String {
    let name = serde_json::json!([key.group, key.kind, key.namespace, key.name]);
    format!("{}{name}", inventory(component))
}

/// What components follow by tags of their own.
pub(crate) const OWN: &str = "own/";

pub(crate) const GLASS: &str = "glass/";

pub(crate) fn glass(tag: &TagId) -> String {
    format!("{GLASS}{tag}")
}

pub(crate) const SUSPENSIONS: &str = "suspension/";

pub(crate) fn suspension(scope: &Scope) -> String {
    match scope {
        Scope::All => format!("{SUSPENSIONS}all"),
        Scope::Layer(layer) => format!("{SUSPENSIONS}layer/{layer}"),
        Scope::Component(component) => format!("{SUSPENSIONS}component/{component}"),
    }
}

/// Which blobs are named by which releases.
pub(crate) const BLOBS: &str = "blob/";

pub(crate) fn blob_users(blob: &Digest) -> String {
    format!("{BLOBS}{}/", blob.hex())
}

/// From this many objects on, an inventory is read at once instead of entry by entry.
const MANY: usize = 16;

/// What was refused of a ref that was accepted now.
fn forget_refusals(reference: &str, changes: &mut Changes<'_>) -> Result<(), ViewError> {
    for reference in [reference, MANY_REFUSED] {
        for key in changes.keys(&refused_of(reference))? {
            changes.remove(&key);
        }
    }
    Ok(())
}

/// What an event does.
pub(crate) fn apply(record: &Record, changes: &mut Changes<'_>) -> Result<(), ViewError> {
    let at = record.at;
    match &record.event {
        Event::Created { version: None, .. } => Ok(()),
        Event::Created { version: Some(version), .. } | Event::Continued { version, .. } => changes.put(WROTE, version),
        Event::Accepted { revision, trust, ahead } => {
            forget_refusals(&revision.reference, changes)?;
            for key in changes.keys(OWN)? {
                let is_ahead = key[OWN.len()..].parse().is_ok_and(|name: ComponentName| ahead.contains(&name));
                match changes.get::<AcceptedComponent>(&key)? {
                    Some(own) if own.ahead && !is_ahead => changes.put(&key, &AcceptedComponent { ahead: false, ..own })?,
                    _ => {}
                }
            }
            // With another trust it is still what was accepted before, and of that time.
            let before = changes.get::<AcceptedState>(ACCEPTED)?.filter(|before| before.revision == *revision);
            if before.is_none() {
                incident::over(&revision.reference, changes)?;
            }
            let at = before.map_or(at, |before| before.at);
            let refused = changes.keys(REFUSED)?.len();
            changes.put(ACCEPTED, &AcceptedState { revision: revision.clone(), trust: trust.clone(), at, refused })
        }
        Event::AcceptedComponent { component, revision, trust } => {
            forget_refusals(&revision.reference, changes)?;
            let key = format!("{OWN}{component}");
            let before = changes.get::<AcceptedComponent>(&key)?.filter(|before| before.revision == *revision);
            if before.is_none() {
                incident::over(&revision.reference, changes)?;
            }
            changes.put(&key, &AcceptedComponent { revision: revision.clone(), trust: trust.clone(), ahead: true })
        }
        Event::Refused { refusal } => {
            let key = refused(&refusal.reference, &refusal.object, &refusal.reason);
            changes.put(&key, &RefusedView { refusal: refusal.clone(), times: 1, first: at })
        }
        Event::RefusedAgain { reference, object, reason, times } => {
            let key = refused(reference, object, reason);
            match changes.get::<RefusedView>(&key)? {
                Some(view) => changes.put(&key, &RefusedView { times: *times, ..view }),
                None => Ok(()),
            }
        }
        Event::Seen { name, seen } => match changes.get::<SeenTag>(&tag(name))? {
            None => changes.put(&tag(name), seen),
            Some(_) => Ok(()),
        },
        Event::Incident { incident: found } => incident::apply(found, None, at, changes),
        Event::IncidentAccepted { incident: found, by, reason } => {
            incident::apply(found, Some(AcceptedBy { by: by.clone(), reason: reason.clone(), at }), at, changes)
        }
        Event::Staged { release, blob, .. } => staged(record.sequence, release, blob, changes),
        Event::Begun { intent, part, .. } => {
            let name = &intent.release.component;
            if *part == 0 {
                for key in changes.keys(&intents(name))? {
                    changes.remove(&key);
                }
                update(name, changes, |component| component.begun = Some(intent.release.number))?;
            }
            changes.put(&format!("{}{part:010}", intents(name)), intent)?;
            if intent.creates.len() > MANY {
                changes.prefetch(&inventory(name))?;
            }
            intent.creates.iter().try_for_each(|key| {
                let entry = InventoryEntry { key: key.clone(), uid: None, created: None, release: intent.release.number };
                changes.put(&inventory_entry(name, key), &entry)
            })
        }
        Event::Applied { release, objects, .. } => {
            if objects.len() > MANY {
                changes.prefetch(&inventory(&release.component))?;
            }
            objects.iter().try_for_each(|object| {
                let at = inventory_entry(&release.component, &object.key);
                let before: Option<InventoryEntry> = changes.get(&at)?;
                let entry = InventoryEntry {
                    key: object.key.clone(),
                    uid: Some(object.uid.clone()),
                    created: created(object, before.as_ref()),
                    release: release.number,
                };
                changes.put(&at, &entry)
            })
        }
        Event::Pruned { release, objects, .. } => {
            objects.iter().for_each(|key| changes.remove(&inventory_entry(&release.component, key)));
            Ok(())
        }
        Event::Finished { release, outcome, .. } => finished(release, outcome, at, changes),
        Event::HooksEnded { release: id, content, hooks: ended, .. } => {
            let key = hooks(&id.component);
            let before = changes.get::<HooksState>(&key)?.filter(|before| before.content == *content);
            let mut all = before.map_or_else(Vec::new, |before| before.ended);
            all.retain(|before| ended.iter().all(|hook| hook.key != before.key));
            all.extend(ended.iter().cloned());
            changes.put(&key, &HooksState { content: *content, ended: all })?;
            close(&id.component, changes)
        }
        Event::Denied { release: id, reasons } => {
            let key = release(&id.component, id.number);
            if let Some(mut state) = changes.get::<ReleaseState>(&key)? {
                state.denied = Some(reasons.clone());
                // How a release ended before is not changed by a plan that never ran.
                if state.outcome.as_ref().is_none_or(|outcome| outcome.status == Status::Denied) {
                    let message = reasons.join("; ");
                    state.outcome = Some(Outcome { status: Status::Denied, turn: 0, turns: 0, message, trigger: String::new() });
                    state.finished_at = Some(at);
                }
                changes.put(&key, &state)?;
            }
            update(&id.component, changes, |component| component.rollback_ended(id.number))
        }
        Event::Degraded { release, cause: same, times, .. } => {
            let key = cause(release, same);
            let first = changes.get::<DegradedView>(&key)?.map_or(at, |known| known.first);
            changes.put(&key, &DegradedView { times: *times, first })
        }
        Event::Confirmed { release: id, deletions, .. } => {
            let key = release(&id.component, id.number);
            match changes.get::<ReleaseState>(&key)? {
                Some(state) => changes.put(&key, &ReleaseState { confirmed: Some(deletions.clone()), ..state }),
                None => Ok(()),
            }
        }
        Event::GlassBroken { tag, missing, by, reason } => {
            let (tag, missing, by, reason) = (tag.clone(), missing.clone(), by.clone(), reason.clone());
            changes.put(&glass(&tag.id), &BrokenGlass { tag, missing, by, reason, at, acknowledged: None })
        }
        Event::GlassAcknowledged { tag, by, reason } => match changes.get::<BrokenGlass>(&glass(&tag.id))? {
            Some(broken) => {
                let acknowledged = Some(Said { at, by: by.clone(), reason: Some(reason.clone()) });
                changes.put(&glass(&tag.id), &BrokenGlass { acknowledged, ..broken })
            }
            None => Ok(()),
        },
        Event::RollbackRequested { component, to, by, reason } => {
            let request = RollbackRequest { to: *to, by: by.clone(), reason: reason.clone(), at };
            update(component, changes, |component| component.rollback = Some(request))
        }
        Event::Held { component, hold } => update(component, changes, |component| component.hold = Some(hold.clone())),
        Event::Resumed { component, .. } => update(component, changes, |component| {
            component.hold = None;
            component.rollback = None;
        }),
        Event::Suspended { scope, reason, by } => {
            let (scope, reason, by) = (scope.clone(), reason.clone(), by.clone());
            changes.put(&suspension(&scope), &Suspension { scope, reason, by, since: at })
        }
        Event::Unsuspended { scope, .. } => {
            changes.remove(&suspension(scope));
            Ok(())
        }
        Event::LeftOut { release: id, objects, part, .. } => {
            let key = release(&id.component, id.number);
            let Some(mut state) = changes.get::<ReleaseState>(&key)? else { return Ok(()) };
            if *part == 0 {
                state.left_out.clear();
            }
            state.left_out.extend(objects.iter().cloned());
            changes.put(&key, &state)
        }
        Event::Forgotten { component, releases } => releases.iter().try_for_each(|number| {
            let key = release(component, *number);
            if let Some(state) = changes.get::<ReleaseState>(&key)? {
                changes.remove(&format!("{}{}", blob_users(&state.blob), state.release.id));
                for key in changes.keys(&causes(&state.release.id))? {
                    changes.remove(&key);
                }
            }
            changes.remove(&key);
            Ok(())
        }),
        Event::Gap { reason, message, anchored } => match anchored {
            Some(_) => changes.put(GAP, &GapView { reason: reason.clone(), message: message.clone(), at }),
            None => Ok(()),
        },
        Event::Limited { component, limit: known } => {
            changes.put(&limit(component), &LimitState { limit: known.clone(), position: record.sequence })?;
            for key in changes.keys(&intents(component))? {
                changes.remove(&key);
            }
            // What was begun, or asked for, before is not how it is now.
            update(component, changes, |component| {
                component.begun = None;
                component.rollback = None;
                component.hold.clone_from(&known.hold);
            })
        }
        Event::Found { component, release, objects } => objects.iter().try_for_each(|object| {
            let at = inventory_entry(component, &object.key);
            match changes.get::<InventoryEntry>(&at)? {
                Some(known) if known.uid.as_ref() == Some(&object.uid) => Ok(()),
                // Nobody knows any more who made it, so it is never deleted.
                _ => changes.put(
                    &at,
                    &InventoryEntry {
                        key: object.key.clone(),
                        uid: Some(object.uid.clone()),
                        created: Some(false),
                        release: *release,
                    },
                ),
            }
        }),
    }
}

/// Whether we created an object, as far as is known. What we created once and is still the same object stays ours to
/// prune. What we were about to create, and was found there by the next run, may be ours or not: it stays open.
fn created(object: &AppliedObject, before: Option<&InventoryEntry>) -> Option<bool> {
    match (object.created, before) {
        (Some(true), _) => Some(true),
        (_, Some(before)) if before.uid.as_ref() == Some(&object.uid) => before.created,
        (None, Some(before)) if before.uid.is_none() => None,
        _ => Some(false),
    }
}

fn staged(position: u64, header: &Release, blob: &Digest, changes: &mut Changes<'_>) -> Result<(), ViewError> {
    let ReleaseId { component: name, number } = &header.id;
    let key = component(name);
    let state = match changes.get::<ComponentState>(&key)? {
        Some(state) => ComponentState { latest: *number, ..state },
        None => ComponentState { latest: *number, begun: None, current: None, healthy: None, hold: None, rollback: None },
    };
    changes.put(&key, &state)?;
    changes.put(&format!("{}{}", blob_users(blob), header.id), &true)?;
    let state = ReleaseState {
        release: header.clone(),
        blob: *blob,
        position,
        outcome: None,
        finished_at: None,
        healthy_at: None,
        denied: None,
        confirmed: None,
        left_out: Vec::new(),
    };
    changes.put(&release(name, *number), &state)
}

/// Whether a release is finished by this outcome: its last turn, or a turn that did not end healthy.
pub(crate) fn ends(outcome: &Outcome) -> bool {
    outcome.turn + 1 >= outcome.turns || outcome.status != Status::Healthy
}

/// Nothing of a component is begun any more.
fn close(component: &ComponentName, changes: &mut Changes<'_>) -> Result<(), ViewError> {
    for key in changes.keys(&intents(component))? {
        changes.remove(&key);
    }
    update(component, changes, |component| component.begun = None)
}

fn finished(id: &ReleaseId, outcome: &Outcome, at: Timestamp, changes: &mut Changes<'_>) -> Result<(), ViewError> {
    close(&id.component, changes)?;
    let last = outcome.turn + 1 >= outcome.turns;
    let key = release(&id.component, id.number);
    if let Some(mut state) = changes.get::<ReleaseState>(&key)?
        && ends(outcome)
    {
        state.outcome = Some(outcome.clone());
        state.finished_at = Some(at);
        if outcome.status == Status::Healthy {
            state.healthy_at = Some(at);
            state.denied = None;
        }
        changes.put(&key, &state)?;
    }
    if last && outcome.status.is_applied() {
        lift(id, outcome, changes)?;
    }
    update(&id.component, changes, |component| {
        if last && outcome.status.is_applied() {
            component.current = Some(id.number);
        }
        if last && outcome.status == Status::Healthy {
            component.healthy = Some(id.number);
        }
        if ends(outcome) {
            component.rollback_ended(id.number);
        }
    })
}

/// Ends the limit of a component once it is known again what runs: something new that is healthy, so that nothing goes back
/// from it to what was before the gap; or what a person put back.
fn lift(id: &ReleaseId, outcome: &Outcome, changes: &mut Changes<'_>) -> Result<(), ViewError> {
    let Some(known) = changes.get::<LimitState>(&limit(&id.component))? else { return Ok(()) };
    let state: Option<ReleaseState> = changes.get(&release(&id.component, id.number))?;
    let is_new = state.is_some_and(|state| state.position > known.position);
    if outcome.status == Status::Healthy || !is_new {
        changes.remove(&limit(&id.component));
    }
    Ok(())
}

impl ComponentState {
    fn rollback_ended(&mut self, number: ReleaseNumber) {
        self.rollback.take_if(|rollback| rollback.to == number);
    }
}

/// Changes what is known of a component. One that was never staged has nothing to change.
fn update(name: &ComponentName, changes: &mut Changes<'_>, change: impl FnOnce(&mut ComponentState)) -> Result<(), ViewError> {
    let key = component(name);
    match changes.get::<ComponentState>(&key)? {
        Some(mut state) => {
            change(&mut state);
            changes.put(&key, &state)
        }
        None => Ok(()),
    }
}

/// The releases that are no longer kept once `next` is staged. `kept` are the numbers of what is kept, oldest first.
pub(crate) fn outgrown(state: &ComponentState, kept: &[ReleaseNumber], next: ReleaseNumber, keep: usize) -> Vec<ReleaseNumber> {
    let protected = [
        Some(next),
        state.current,
        state.healthy,
        state.begun,
        state.hold.as_ref().map(|hold| hold.release),
        state.rollback.as_ref().map(|rollback| rollback.to),
    ];
    // The one that is being staged is one of those that are kept.
    let surplus = (kept.len() + 1).saturating_sub(keep.max(1));
    kept.iter().take(surplus).filter(|number| !protected.contains(&Some(**number))).copied().collect()
}
