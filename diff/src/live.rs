//! What the cluster looks like now, as the watches tell it: one label-filtered watch for each kind that is owned, so that
//! nothing has to be asked. Objects are masked and packed at the edge; what is kept of each is small.
//!
//! How a watch is kept open is told in `follow`, what finds what a watch missed in `check`, what is not looked at at all in
//! `scope`.

mod check;
mod follow;
pub(crate) mod list;
mod packed;
mod scope;
mod touched;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::Value;
use tk8s_core::{
    COMPONENT_LABEL, ComponentName, Digest, Health, INSTANCE_LABEL, InstanceName, ObjectKey, SecretFields, Timestamp,
};
use tokio::sync::{Notify, watch};
use tokio::task::AbortHandle;

pub use check::Checked;
use packed::{Packed, Packer};
use scope::Place;
pub use scope::Scope;
pub use touched::Touched;

use crate::cluster::{Cluster, Resource};
use crate::mask::Masker;
use crate::memory::only_we_wrote;
use crate::ownership::{Foreign, Managed, Ownership};

/// An object, as the watches last told it.
#[derive(Clone, Debug)]
pub struct SeenObject {
    /// Which incarnation.
    pub uid: String,
    /// When, in the API server's count.
    pub resource_version: String,
    /// Whether it is being deleted.
    pub deleting: bool,
    /// How it is.
    pub health: Health,
    /// The digest of the set of fields that we own, if we own any.
    pub fields: Option<Digest>,
    /// The digest of the values that these fields have.
    pub projection: Digest,
    /// What others put into lists of ours.
    pub foreign: Vec<Foreign>,
    /// Whether nobody but us has written to it.
    pub only_ours: bool,
    /// The component that it belongs to.
    pub component: Option<ComponentName>,
    /// The API version in which it was read: its fields have other values in another one.
    pub api_version: Arc<str>,
    packed: Packed,
    /// By which rules its health was judged.
    judged: u64,
}

impl SeenObject {
    /// Who owns what of it.
    pub fn managed(&self) -> Managed {
        Managed::of(&self.object())
    }

    /// The object itself, masked.
    pub fn object(&self) -> Value {
        self.packed.unpack()
    }
}

/// Why a kind can't be watched. What was known of its objects may be out of date.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// Since when.
    pub since: Timestamp,
    /// Whether the API server says that it does not serve the kind: its CRD is gone, or this version of it.
    pub unserved: bool,
    /// What the API server said.
    pub message: String,
}

/// What is known of an object without asking.
#[derive(Clone, Debug)]
pub enum Seen {
    /// Its kind is not watched, the watch has not listed yet, or the kind is not served any more.
    Unwatched,
    /// It is not looked at, and won't be: whoever runs the agent wants it so.
    OutOfSight,
    /// It is not there, or not ours.
    Absent,
    /// It is there.
    Present(Arc<SeenObject>),
}

/// The watches. Cheap to clone; they end with the last clone.
#[derive(Clone)]
pub struct Live(Arc<Inner>);

struct Inner {
    cluster: Cluster,
    instance: InstanceName,
    scope: Scope,
    judge: Box<dyn Fn(&Value) -> Health + Send + Sync>,
    /// Counts up when rules change: what was judged before is judged again when it is looked at.
    rules: AtomicU64,
    masker: Masker,
    packer: Packer,
    state: Mutex<State>,
    /// By group and kind.
    watched: Mutex<HashMap<(String, String), Followed>>,
    changes: watch::Sender<u64>,
    touched: Mutex<Touched>,
    /// Wakes the watches that pause after a refusal.
    again: Arc<Notify>,
}

/// A kind that is watched, and who follows it, in each of its places.
struct Followed {
    resource: Resource,
    tasks: Vec<AbortHandle>,
}

/// What the watches told, and what answers to our own applies told before them.
#[derive(Default)]
struct State {
    scope: Scope,
    objects: HashMap<ObjectKey, Arc<SeenObject>>,
    /// By what one watch tells of.
    places: BTreeMap<Place, Told>,
}

/// How far a watch is.
#[derive(Default)]
struct Told {
    /// Whether the first list is complete.
    listed: bool,
    /// The newest version that the watch told of: whatever is older and not here is gone.
    until: u64,
    /// Why it can't be watched now.
    trouble: Option<Trouble>,
}

impl State {
    fn told(&mut self, key: &ObjectKey) -> &mut Told {
        self.told_at(self.scope.place_of(key))
    }

    fn told_at(&mut self, place: Place) -> &mut Told {
        self.places.entry(place).or_default()
    }

    fn has_told(&self, key: &ObjectKey) -> Option<&Told> {
        self.places.get(&self.scope.place_of(key))
    }

    fn knows_newer(&self, key: &ObjectKey, version: u64) -> bool {
        self.objects.get(key).is_some_and(|known| count(&known.resource_version) > version)
    }

    /// The watch says that an object is so.
    fn told_of(&mut self, key: ObjectKey, seen: SeenObject) {
        let version = count(&seen.resource_version);
        let told = self.told(&key);
        told.until = told.until.max(version);
        if !self.knows_newer(&key, version) {
            self.objects.insert(key, Arc::new(seen));
        }
    }

    /// Whether exactly this version of an object is known, in this version of the API.
    fn knows(&self, key: &ObjectKey, version: &str, api_version: &str) -> bool {
        let known = self.objects.get(key);
        known.is_some_and(|known| known.resource_version == version && *known.api_version == *api_version)
    }

    /// Whether the watch says only what is known.
    fn told_again(&mut self, key: &ObjectKey, version: &str, api_version: &str) -> bool {
        if !self.knows(key, version, api_version) {
            return false;
        }
        let told = self.told(key);
        told.until = told.until.max(count(version));
        true
    }

    /// The watch says that an object was deleted, by this version.
    fn told_of_end(&mut self, key: &ObjectKey, version: u64) {
        let told = self.told(key);
        told.until = told.until.max(version);
        if !self.knows_newer(key, version) {
            self.objects.remove(key);
        }
    }

    /// An answer of the API server says that an object is so. The watch may be ahead of it already.
    fn answered(&mut self, key: ObjectKey, seen: SeenObject) {
        let version = count(&seen.resource_version);
        let told = self.told(&key);
        let gone = told.listed && version <= told.until && !self.objects.contains_key(&key);
        if !gone && !self.knows_newer(&key, version) {
            self.objects.insert(key, Arc::new(seen));
        }
    }

    /// A list is complete. What it does not hold is gone, unless it is newer than everything that the list holds: the list
    /// says nothing about that, and it has to be asked for.
    fn listed(&mut self, place: &Place, list: &HashSet<ObjectKey>, version: u64) -> Vec<ObjectKey> {
        let told = self.told_at(place.clone());
        (told.listed, told.trouble) = (true, None);
        told.until = told.until.max(version);
        let until = told.until;
        let mut unsure = Vec::new();
        self.objects.retain(|key, seen| {
            if !place.holds(key) || list.contains(key) {
                return true;
            }
            let newer = count(&seen.resource_version) > until;
            if newer {
                unsure.push(key.clone());
            }
            newer
        });
        unsure
    }
}

fn kind_of(resource: &Resource) -> (String, String) {
    (resource.kind.group.clone(), resource.kind.kind.clone())
}

impl Drop for Inner {
    fn drop(&mut self) {
        lock(&self.watched).values().flat_map(|followed| &followed.tasks).for_each(AbortHandle::abort);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Live {
    /// No watch yet, of all that the instance owns. `judge` says how healthy an object is; it gets no secrets to see.
    pub fn new(
        cluster: Cluster,
        instance: InstanceName,
        judge: impl Fn(&Value) -> Health + Send + Sync + 'static,
        masker: Masker,
    ) -> Live {
        Live::of(Scope::default(), cluster, instance, judge, masker)
    }

    /// The same, of what is in this scope.
    pub fn of(
        scope: Scope,
        cluster: Cluster,
        instance: InstanceName,
        judge: impl Fn(&Value) -> Health + Send + Sync + 'static,
        masker: Masker,
    ) -> Live {
        Live(Arc::new(Inner {
            cluster,
            instance,
            state: Mutex::new(State { scope: scope.clone(), ..State::default() }),
            scope,
            judge: Box::new(judge),
            rules: AtomicU64::new(0),
            masker,
            packer: Packer::new(),
            watched: Mutex::default(),
            changes: watch::Sender::new(0),
            touched: Mutex::default(),
            again: Arc::default(),
        }))
    }

    /// Watches a kind from now on, in whatever version it is watched already. One broken kind disturbs no other.
    pub fn watch(&self, resource: &Resource) {
        if !lock(&self.0.watched).contains_key(&kind_of(resource)) {
            self.watch_in(resource);
        }
    }

    /// Watches a kind in exactly this version: what is compared has to be read as it was applied. A kind that is out of sight
    /// isn't watched.
    pub fn watch_in(&self, resource: &Resource) {
        let places = self.0.scope.places(resource);
        if places.is_empty() {
            return;
        }
        let mut watched = lock(&self.0.watched);
        let before = watched.get(&kind_of(resource));
        if before.is_some_and(|before| before.resource == *resource) {
            return;
        }
        if let Some(before) = before {
            before.tasks.iter().for_each(AbortHandle::abort);
            let mut state = lock(&self.0.state);
            places.iter().for_each(|place| drop(state.places.remove(place)));
        }
        let follow = |place: Place| {
            let following = follow::follow(Arc::downgrade(&self.0), Arc::clone(&self.0.again), resource.clone(), place);
            tokio::spawn(following).abort_handle()
        };
        let tasks = places.into_iter().map(follow).collect();
        watched.insert(kind_of(resource), Followed { resource: resource.clone(), tasks });
    }

    /// Every kind that is watched.
    pub fn watched(&self) -> Vec<Resource> {
        let mut watched: Vec<_> = lock(&self.0.watched).values().map(|followed| followed.resource.clone()).collect();
        watched.sort();
        watched
    }

    /// Waits until these kinds, as far as they are in sight, have been listed or can't be, or the time is over; true if all
    /// have been.
    pub async fn synced(&self, resources: &[Resource], deadline: Duration) -> bool {
        let mut changes = self.changes();
        let wanted: HashSet<_> = resources.iter().flat_map(|resource| self.0.scope.places(resource)).collect();
        let complete = async {
            loop {
                let (mut listed, mut decided) = (true, true);
                {
                    let state = lock(&self.0.state);
                    for told in wanted.iter().map(|place| state.places.get(place)) {
                        listed &= told.is_some_and(|told| told.listed);
                        decided &= told.is_some_and(|told| told.listed || told.trouble.is_some());
                    }
                }
                if decided || changes.changed().await.is_err() {
                    return listed;
                }
            }
        };
        tokio::time::timeout(deadline, complete).await.unwrap_or(false)
    }

    /// Kinds that were refused are tried again now: one of them may have come.
    pub fn try_again(&self) {
        self.0.again.notify_waiters();
    }

    /// How the kind of an object is watched, if it is and the API server serves it.
    pub fn resource_of(&self, key: &ObjectKey) -> Option<Resource> {
        let served = self.trouble(key).is_none_or(|trouble| !trouble.unserved);
        let watched = lock(&self.0.watched);
        watched.get(&(key.group.clone(), key.kind.clone())).filter(|_| served).map(|followed| followed.resource.clone())
    }

    /// Why the kind of an object can't be watched, if it can't.
    pub fn trouble(&self, key: &ObjectKey) -> Option<Trouble> {
        lock(&self.0.state).has_told(key)?.trouble.clone()
    }

    /// Every kind that can't be watched, by group and kind, and why. In several namespaces it is told of one.
    pub fn troubles(&self) -> Vec<((String, String), Trouble)> {
        let state = lock(&self.0.state);
        let of_place = |(place, told): (&Place, &Told)| Some(((place.group.clone(), place.kind.clone()), told.trouble.clone()?));
        let mut troubles: Vec<_> = state.places.iter().filter_map(of_place).collect();
        troubles.dedup_by(|(one, _), (other, _)| one == other);
        troubles
    }

    /// What is looked at.
    pub fn scope(&self) -> &Scope {
        &self.0.scope
    }

    /// `judge` follows other rules from now on. Needs no request: what is kept of an object is the object, and it is judged
    /// again when somebody looks at it, which everybody who waits does now.
    pub fn judge_again(&self) {
        self.0.rules.fetch_add(1, Ordering::SeqCst);
        self.0.much_changed();
    }

    /// What is known of an object.
    pub fn seen(&self, key: &ObjectKey) -> Seen {
        match self.last_told(key) {
            Seen::Present(seen) if seen.judged != self.0.rules.load(Ordering::SeqCst) => self.judged_again(key, &seen),
            seen => seen,
        }
    }

    fn judged_again(&self, key: &ObjectKey, seen: &SeenObject) -> Seen {
        // First the number: rules that change meanwhile make it be judged once more.
        let judged = self.0.rules.load(Ordering::SeqCst);
        let seen = Arc::new(SeenObject { judged, health: (self.0.judge)(&seen.object()), ..seen.clone() });
        let mut state = lock(&self.0.state);
        if let Some(known) = state.objects.get_mut(key).filter(|known| known.resource_version == seen.resource_version) {
            *known = Arc::clone(&seen);
        }
        drop(state);
        Seen::Present(seen)
    }

    fn last_told(&self, key: &ObjectKey) -> Seen {
        if !self.0.scope.sees(key) {
            return Seen::OutOfSight;
        }
        let state = lock(&self.0.state);
        let told = state.has_told(key);
        match state.objects.get(key) {
            // A kind that is not served says nothing of its objects: they may be there all the same.
            Some(_) if told.is_some_and(|told| told.trouble.as_ref().is_some_and(|trouble| trouble.unserved)) => Seen::Unwatched,
            Some(seen) => Seen::Present(Arc::clone(seen)),
            // Also of a kind that is not served any more: a list, or an event, said that it is gone.
            None if told.is_some_and(|told| told.listed) => Seen::Absent,
            None => Seen::Unwatched,
        }
    }

    /// What others put into lists of an object that runs, or is read by what runs.
    pub fn grave(&self, key: &ObjectKey) -> Vec<Foreign> {
        let state = lock(&self.0.state);
        let foreign = state.objects.get(key).into_iter().flat_map(|seen| &seen.foreign);
        foreign.filter(|foreign| foreign.grave).cloned().collect()
    }

    /// An answer to an apply of ours. Usually newer than what the watch said so far. Nothing is kept of what no watch would
    /// tell more of.
    pub fn answered(&self, resource: &Resource, answer: &Value, ownership: &Ownership) {
        let (Some(key), Some(version)) = (key_of(resource, answer), version_of(answer)) else { return };
        // The watch was quicker, now and then.
        let told = || lock(&self.0.state).knows(&key, &version, api_version_of(answer));
        if self.0.scope.sees(&key) && !told() {
            let Some(seen) = self.0.reduce(answer, ownership) else { return };
            lock(&self.0.state).answered(key.clone(), seen);
        }
        if key.kind == "CustomResourceDefinition" {
            self.try_again();
        }
        self.0.changed(&key);
    }

    /// This incarnation of an object is known to be gone.
    pub fn gone(&self, key: &ObjectKey, uid: &str) {
        let mut state = lock(&self.0.state);
        if state.objects.get(key).is_some_and(|known| known.uid == uid) {
            state.objects.remove(key);
        }
        drop(state);
        self.0.changed(key);
    }

    /// What may have changed since this was asked for the last time: for the one who looks for drift.
    pub fn touched(&self) -> Touched {
        std::mem::take(&mut *lock(&self.0.touched))
    }

    /// Counts up whenever something changed.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.0.changes.subscribe()
    }

    /// The instance whose objects are watched.
    pub fn instance(&self) -> &InstanceName {
        &self.0.instance
    }

    /// The masker of everything that is kept here.
    pub fn masker(&self) -> &Masker {
        &self.0.masker
    }
}

impl Inner {
    /// Something was told of an object.
    fn changed(&self, key: &ObjectKey) {
        lock(&self.touched).add(key);
        self.changes.send_modify(|count| *count += 1);
    }

    /// Something was told of many.
    fn much_changed(&self) {
        *lock(&self.touched) = Touched::Anything;
        self.changes.send_modify(|count| *count += 1);
    }

    /// What selects our objects.
    fn selector(&self) -> String {
        format!("{INSTANCE_LABEL}={}", self.instance)
    }

    /// The watch, or a list, says that an object is so.
    fn told_of(&self, resource: &Resource, object: Value) -> Option<ObjectKey> {
        let (key, version) = (key_of(resource, &object)?, version_of(&object)?);
        // Our own writes come back: what the answer told already is not read once more.
        if lock(&self.state).told_again(&key, &version, api_version_of(&object)) {
            return Some(key);
        }
        let seen = self.reduce(&object, &Ownership::of(&object))?;
        lock(&self.state).told_of(key.clone(), seen);
        Some(key)
    }

    /// The watch says that an object was deleted.
    fn told_of_end(&self, resource: &Resource, object: Value) -> Option<ObjectKey> {
        let (key, version) = (key_of(resource, &object)?, version_of(&object)?);
        lock(&self.state).told_of_end(&key, count(&version));
        Some(key)
    }

    /// A list is complete; those that it can't know of.
    fn listed(&self, place: &Place, list: &HashSet<ObjectKey>, version: &str) -> Vec<ObjectKey> {
        // A version that is no number says nothing of what is newer: then everything is asked for.
        lock(&self.state).listed(place, list, version.parse().unwrap_or(0))
    }

    /// A kind can't be watched.
    fn troubled(&self, resource: &Resource, place: &Place, code: Option<u16>, message: &str) {
        let (unserved, message) = (code == Some(404), tk8s_core::printable(message, 300));
        let mut state = lock(&self.state);
        let told = state.told_at(place.clone());
        let before = told.trouble.as_ref().map(|trouble| (trouble.since, trouble.unserved));
        let since = before.map_or_else(Timestamp::now, |(since, _)| since);
        told.trouble = Some(Trouble { since, unserved, message: message.clone() });
        drop(state);
        if before.map(|(_, unserved)| unserved) != Some(unserved) {
            if unserved {
                // What is known of the group's kinds is of another time.
                self.cluster.forget(&resource.kind.group);
            }
            let namespace = place.namespace.as_deref();
            tracing::warn!(kind = %resource.kind, namespace, message, "the kind can't be watched");
            self.much_changed();
        }
    }

    /// The watch of a kind is open.
    fn is_well(&self, resource: &Resource, place: &Place) {
        let was = lock(&self.state).told_at(place.clone()).trouble.take();
        if was.is_some() {
            let namespace = place.namespace.as_deref();
            tracing::info!(kind = %resource.kind, namespace, "the kind is watched again");
            self.much_changed();
        }
    }

    /// What is kept of an object, and under which name.
    fn read(&self, resource: &Resource, object: &Value) -> Option<(ObjectKey, SeenObject)> {
        Some((key_of(resource, object)?, self.reduce(object, &Ownership::of(object))?))
    }

    fn reduce(&self, object: &Value, ownership: &Ownership) -> Option<SeenObject> {
        let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str).map(String::from);
        let (uid, resource_version) = (text("/metadata/uid")?, text("/metadata/resourceVersion")?);
        let component = label(object, COMPONENT_LABEL).and_then(|name| name.parse().ok());
        let deleting = object.pointer("/metadata/deletionTimestamp").is_some();
        let only_ours = only_we_wrote(object);
        let api_version = Arc::from(api_version_of(object));
        let (fields, projection, foreign) = (ownership.fields, ownership.projection, ownership.managed.foreign());
        // Rules see what is kept: no secret, and the same when they judge again.
        let object = self.masker.masked(object, &SecretFields::default());
        let judged = self.rules.load(Ordering::SeqCst);
        let health = (self.judge)(&object);
        let packed = self.packer.pack(&object)?;
        Some(SeenObject {
            uid,
            resource_version,
            deleting,
            health,
            fields,
            projection,
            foreign,
            only_ours,
            component,
            api_version,
            packed,
            judged,
        })
    }
}

/// Resource versions are compared as numbers: KEP-5504 makes that a promise, and every API server keeps it.
fn count(version: &str) -> u64 {
    version.parse().unwrap_or(u64::MAX)
}

fn api_version_of(object: &Value) -> &str {
    object.get("apiVersion").and_then(Value::as_str).unwrap_or_default()
}

fn version_of(object: &Value) -> Option<String> {
    object.pointer("/metadata/resourceVersion").and_then(Value::as_str).map(String::from)
}

pub(crate) fn key_of(resource: &Resource, object: &Value) -> Option<ObjectKey> {
    let name = object.pointer("/metadata/name")?.as_str()?.to_owned();
    let namespace = object.pointer("/metadata/namespace").and_then(Value::as_str).map(String::from);
    Some(ObjectKey { group: resource.kind.group.clone(), kind: resource.kind.kind.clone(), namespace, name })
}

/// Asks for objects of which a list could not say whether they are there.
async fn make_sure(live: &Inner, resource: &Resource, unsure: Vec<ObjectKey>) {
    for key in unsure {
        match live.cluster.get(resource, &key).await {
            Ok(found) => {
                let found = found.filter(|found| label(found, INSTANCE_LABEL) == Some(live.instance.as_str()));
                let seen = found.and_then(|found| live.read(resource, &found));
                let mut state = lock(&live.state);
                match seen {
                    Some((key, seen)) => state.answered(key, seen),
                    None => drop(state.objects.remove(&key)),
                }
            }
            // Then it counts as there, until the watch says otherwise or is opened again.
            Err(error) => tracing::warn!(object = %key, error = %tk8s_core::chain(&error), "could not make sure of an object"),
        }
    }
}

fn label<'a>(object: &'a Value, name: &str) -> Option<&'a str> {
    object.pointer("/metadata/labels")?.get(name)?.as_str()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn maps() -> Place {
        Scope::default().place_of(&key("any"))
    }

    fn key(name: &str) -> ObjectKey {
        ObjectKey { group: String::new(), kind: "ConfigMap".into(), namespace: Some("shop".into()), name: name.into() }
    }

    fn seen(uid: &str, version: u64) -> SeenObject {
        SeenObject {
            uid: uid.into(),
            resource_version: version.to_string(),
            deleting: false,
            health: Health::because(tk8s_core::HealthState::Healthy, "", ""),
            fields: None,
            projection: Digest::of(""),
            foreign: Vec::new(),
            only_ours: true,
            component: None,
            api_version: Arc::from("v1"),
            packed: Packed::default(),
            judged: 0,
        }
    }

    fn versions(state: &State) -> Vec<(String, String)> {
        let mut found: Vec<_> =
            state.objects.iter().map(|(key, seen)| (key.name.clone(), seen.resource_version.clone())).collect();
        found.sort();
        found
    }

    fn listed(names: &[(&str, u64)]) -> State {
        let mut state = State::default();
        for (name, version) in names {
            state.told_of(key(name), seen("u", *version));
        }
        let list = names.iter().map(|(name, _)| key(name)).collect();
        let newest = names.iter().map(|(_, version)| *version).max().unwrap_or(0);
        assert!(state.listed(&maps(), &list, newest).is_empty());
        state
    }

    #[test]
    fn an_older_event_never_replaces_a_newer_answer_whatever_its_uid() {
        let mut state = listed(&[("a", 5)]);
        state.answered(key("a"), seen("new", 9));
        state.told_of(key("a"), seen("u", 7));
        state.told_of_end(&key("a"), 8);
        assert_eq!(versions(&state), [("a".into(), "9".into())]);
        state.told_of_end(&key("a"), 10);
        assert!(versions(&state).is_empty());
    }

    #[test]
    fn an_answer_that_the_watch_has_overtaken_brings_nothing_back() {
        let mut state = listed(&[("a", 5)]);
        state.told_of_end(&key("b"), 8);
        state.answered(key("b"), seen("b", 7));
        assert_eq!(versions(&state), [("a".into(), "5".into())]);
        state.answered(key("b"), seen("b", 9));
        assert_eq!(versions(&state), [("a".into(), "5".into()), ("b".into(), "9".into())]);
    }

    #[test]
    fn what_an_answer_told_already_is_not_read_again_but_counts_as_told() {
        let mut state = listed(&[("a", 5)]);
        state.answered(key("a"), seen("u", 9));
        assert!(!state.told_again(&key("a"), "10", "v1") && !state.told_again(&key("a"), "9", "v2"));
        assert!(!state.told_again(&key("b"), "9", "v1"));
        assert!(state.told_again(&key("a"), "9", "v1"));
        state.answered(key("b"), seen("v", 9));
        assert_eq!(versions(&state), [("a".into(), "9".into())], "the watch is past the version of that answer");
    }

    #[test]
    fn what_a_list_can_not_know_of_is_asked_for_and_the_rest_is_gone() {
        let mut state = listed(&[("a", 5), ("old", 4)]);
        state.answered(key("fresh"), seen("f", 9));
        state.told_of(key("a"), seen("u", 8));
        assert_eq!(state.listed(&maps(), &HashSet::from([key("a")]), 8), [key("fresh")]);
        assert_eq!(versions(&state), [("a".into(), "8".into()), ("fresh".into(), "9".into())]);
    }

    #[test]
    fn an_answer_before_the_first_list_is_kept() {
        let mut state = State::default();
        state.answered(key("a"), seen("u", 3));
        state.told_of(key("b"), seen("v", 4));
        assert!(state.listed(&maps(), &HashSet::from([key("b")]), 4).is_empty(), "the list is newer: it is gone");
        assert_eq!(versions(&state), [("b".into(), "4".into())]);
    }
}
