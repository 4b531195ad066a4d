//! What the cluster looks like now, as the watches tell it: one label-filtered watch for each kind that is owned, so that
//! nothing has to be asked. Objects are masked and packed at the edge; what is kept of each is small.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use futures::StreamExt as _;
use kube::api::{ApiResource, DynamicObject};
use kube::runtime::watcher::{self, Event};
use kube::runtime::{WatchStreamExt as _, watcher as watch_objects};
use serde_json::Value;
use tk8s_core::{COMPONENT_LABEL, ComponentName, Digest, Health, INSTANCE_LABEL, InstanceName, ObjectKey};
use tokio::sync::watch;

use crate::cluster::{Cluster, Resource};
use crate::mask::Masker;
use crate::memory::owned_fields;

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
    /// The digest of the fields that we own, if we own any.
    pub fields: Option<Digest>,
    /// The component that it belongs to.
    pub component: Option<ComponentName>,
    packed: Arc<Vec<u8>>,
}

impl SeenObject {
    /// The object itself, masked.
    pub fn object(&self) -> Value {
        let text = zstd::decode_all(self.packed.as_slice()).unwrap_or_default();
        serde_json::from_slice(&text).unwrap_or(Value::Null)
    }
}

/// What is known of an object without asking.
#[derive(Clone, Debug)]
pub enum Seen {
    /// Its kind is not watched, or the watch has not listed yet.
    Unwatched,
    /// It is not there, or not ours.
    Absent,
    /// It is there.
    Present(Box<SeenObject>),
}

/// The watches. Cheap to clone; they end with the last clone.
#[derive(Clone)]
pub struct Live(Arc<Inner>);

struct Inner {
    cluster: Cluster,
    instance: InstanceName,
    judge: fn(&Value) -> Health,
    masker: Masker,
    objects: Mutex<HashMap<ObjectKey, SeenObject>>,
    /// By group and kind: whether the first list is complete.
    kinds: Mutex<BTreeMap<(String, String), bool>>,
    changes: watch::Sender<u64>,
    tasks: Mutex<Vec<tokio::task::AbortHandle>>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        for task in lock(&self.tasks).iter() {
            task.abort();
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Live {
    /// No watch yet. `judge` says how healthy an object is.
    pub fn new(cluster: Cluster, instance: InstanceName, judge: fn(&Value) -> Health, masker: Masker) -> Live {
        Live(Arc::new(Inner {
            cluster,
            instance,
            judge,
            masker,
            objects: Mutex::default(),
            kinds: Mutex::default(),
            changes: watch::Sender::new(0),
            tasks: Mutex::default(),
        }))
    }

    /// Watches a kind from now on. One broken kind disturbs no other.
    pub fn watch(&self, resource: &Resource) {
        let kind = (resource.kind.group.clone(), resource.kind.kind.clone());
        if lock(&self.0.kinds).contains_key(&kind) {
            return;
        }
        lock(&self.0.kinds).insert(kind, false);
        let task =
            tokio::spawn(follow(Arc::downgrade(&self.0), self.0.cluster.clone(), self.0.instance.clone(), resource.clone()));
        lock(&self.0.tasks).push(task.abort_handle());
    }

    /// Waits until these kinds have been listed, or the time is over; true if they have.
    pub async fn synced(&self, resources: &[Resource], deadline: Duration) -> bool {
        let mut changes = self.changes();
        let wanted: HashSet<_> =
            resources.iter().map(|resource| (resource.kind.group.clone(), resource.kind.kind.clone())).collect();
        let complete = async {
            loop {
                let done = {
                    let kinds = lock(&self.0.kinds);
                    wanted.iter().all(|kind| kinds.get(kind).copied().unwrap_or(false))
                };
                if done || changes.changed().await.is_err() {
                    return done;
                }
            }
        };
        tokio::time::timeout(deadline, complete).await.unwrap_or(false)
    }

    /// What is known of an object.
    pub fn seen(&self, key: &ObjectKey) -> Seen {
        if let Some(seen) = lock(&self.0.objects).get(key) {
            return Seen::Present(Box::new(seen.clone()));
        }
        match lock(&self.0.kinds).get(&(key.group.clone(), key.kind.clone())) {
            Some(true) => Seen::Absent,
            _ => Seen::Unwatched,
        }
    }

    /// An answer to an apply of ours: newer than whatever the watch said so far.
    pub fn answered(&self, resource: &Resource, answer: &Value) {
        self.0.put(resource, answer.clone());
        self.0.changed();
    }

    /// An object that is known to be gone.
    pub fn gone(&self, key: &ObjectKey) {
        lock(&self.0.objects).remove(key);
        self.0.changed();
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
    fn changed(&self) {
        self.changes.send_modify(|count| *count += 1);
    }

    /// Keeps an object, unless something newer is known of it.
    fn put(&self, resource: &Resource, object: Value) {
        let Some(key) = key_of(resource, &object) else { return };
        let Some(seen) = self.reduce(object) else { return };
        let mut objects = lock(&self.objects);
        let newer = objects
            .get(&key)
            .is_none_or(|known| known.uid != seen.uid || count(&known.resource_version) <= count(&seen.resource_version));
        if newer {
            objects.insert(key, seen);
        }
    }

    fn reduce(&self, mut object: Value) -> Option<SeenObject> {
        let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str).map(String::from);
        let (uid, resource_version) = (text("/metadata/uid")?, text("/metadata/resourceVersion")?);
        let component = object
            .pointer("/metadata/labels")
            .and_then(|labels| labels.get(COMPONENT_LABEL))
            .and_then(Value::as_str)
            .and_then(|name| name.parse().ok());
        let deleting = object.pointer("/metadata/deletionTimestamp").is_some();
        let (health, fields) = ((self.judge)(&object), owned_fields(&object));
        if let Some(Value::Object(metadata)) = object.get_mut("metadata") {
            metadata.remove("managedFields");
        }
        let packed = zstd::encode_all(self.masker.mask(object).to_string().as_bytes(), 1).ok()?;
        Some(SeenObject { uid, resource_version, deleting, health, fields, component, packed: Arc::new(packed) })
    }
}

/// Resource versions are compared as numbers: KEP-5504 makes that a promise, and every API server keeps it.
fn count(version: &str) -> u64 {
    version.parse().unwrap_or(u64::MAX)
}

fn key_of(resource: &Resource, object: &Value) -> Option<ObjectKey> {
    let name = object.pointer("/metadata/name")?.as_str()?.to_owned();
    let namespace = object.pointer("/metadata/namespace").and_then(Value::as_str).map(String::from);
    Some(ObjectKey { group: resource.kind.group.clone(), kind: resource.kind.kind.clone(), namespace, name })
}

/// One watch: lists, then follows; begins again by itself when the stream ends or is too old.
async fn follow(live: Weak<Inner>, cluster: Cluster, instance: InstanceName, resource: Resource) {
    let kind = &resource.kind;
    let api = ApiResource {
        group: kind.group.clone(),
        version: kind.version.clone(),
        api_version: kind.api_version(),
        kind: kind.kind.clone(),
        plural: resource.plural.clone(),
    };
    let objects = kube::Api::<DynamicObject>::all_with(cluster.client().clone(), &api);
    let config = watcher::Config::default().labels(&format!("{INSTANCE_LABEL}={instance}")).streaming_lists();
    let mut events = std::pin::pin!(watch_objects(objects, config).default_backoff());
    let mut listed: HashSet<ObjectKey> = HashSet::new();
    while let Some(event) = events.next().await {
        let Some(live) = live.upgrade() else { return };
        let take = |object: DynamicObject| serde_json::to_value(object).ok();
        match event {
            Ok(Event::Init) => listed.clear(),
            Ok(Event::InitApply(object)) => {
                if let Some(object) = take(object) {
                    listed.extend(key_of(&resource, &object));
                    live.put(&resource, object);
                }
            }
            Ok(Event::InitDone) => {
                let ours = |key: &ObjectKey| key.group == kind.group && key.kind == kind.kind;
                lock(&live.objects).retain(|key, _| !ours(key) || listed.contains(key));
                lock(&live.kinds).insert((kind.group.clone(), kind.kind.clone()), true);
                live.changed();
            }
            Ok(Event::Apply(object)) => {
                if let Some(object) = take(object) {
                    live.put(&resource, object);
                    live.changed();
                }
            }
            Ok(Event::Delete(object)) => {
                if let Some(object) = take(object)
                    && let Some(key) = key_of(&resource, &object)
                {
                    let mut objects = lock(&live.objects);
                    if objects
                        .get(&key)
                        .is_some_and(|known| object.pointer("/metadata/uid").and_then(Value::as_str) == Some(&known.uid))
                    {
                        objects.remove(&key);
                    }
                    drop(objects);
                    live.changed();
                }
            }
            Err(error) => {
                tracing::warn!(kind = %kind, error = %tk8s_core::chain(&error), "the watch was interrupted: it is opened again")
            }
        }
    }
}
