//! What the agent remembers of each object it applied, so that nothing already known is asked again: in memory, and in
//! history's cache for the next start.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use serde::{Deserialize, Serialize};
use tk8s_core::{COMPONENT_LABEL, ComponentName, Digest, ObjectKey, ReleaseId, ReleaseNumber};
use tk8s_deploy::Answer;
use tk8s_diff::Plan;
use tk8s_diff::cluster::Resource;
use tk8s_diff::live::SeenObject;
use tk8s_diff::memory::{Known, Memory, Owned};
use tk8s_history::{AppliedObject, History, Intent};

const PREFIX: &str = "known/";

/// One remembered object, as it is kept in the cache.
#[derive(Clone, Serialize, Deserialize)]
pub struct Entry {
    pub key: ObjectKey,
    component: ComponentName,
    /// How our last apply left it.
    pub known: Known,
    /// The release that left it so; as in the inventory, or the entry is of another time.
    #[serde(default)]
    release: u64,
    /// Whether it may be otherwise by now: a write was begun and its answer not heard. Then nothing is known of it.
    #[serde(skip)]
    unsure: bool,
    /// Fields that somebody on the way to the API server overwrites.
    #[serde(default)]
    pub altered: Vec<String>,
    /// What the API server warned about when it was written.
    #[serde(default)]
    pub warnings: Vec<String>,
    /// It is no longer part of the component's release, and still there: kept, or held by a finalizer.
    #[serde(default)]
    left: bool,
    /// It is a hook: it ran at a moment of its release, and is no part of what runs.
    #[serde(default)]
    hook: bool,
}

impl Entry {
    /// Whether it is a part of what runs.
    fn is_part(&self) -> bool {
        !self.left && !self.hook
    }
}

/// The entries, by component: asked for each component at every change in the cluster, so that nothing is copied for it.
#[derive(Default)]
struct Entries {
    of: HashMap<ComponentName, BTreeMap<ObjectKey, Arc<Entry>>>,
    /// Each key is one component's.
    owners: HashMap<ObjectKey, ComponentName>,
}

impl Entries {
    fn insert(&mut self, entry: Entry) {
        let (key, component) = (entry.key.clone(), entry.component.clone());
        if self.owners.get(&key) != Some(&component) {
            self.remove(&key);
            self.owners.insert(key.clone(), component.clone());
        }
        self.of.entry(component).or_default().insert(key, Arc::new(entry));
    }

    fn remove(&mut self, key: &ObjectKey) {
        let owner = self.owners.remove(key);
        if let Some(entries) = owner.and_then(|owner| self.of.get_mut(&owner)) {
            entries.remove(key);
        }
    }

    fn get(&self, key: &ObjectKey) -> Option<&Arc<Entry>> {
        self.of.get(self.owners.get(key)?)?.get(key)
    }

    fn get_mut(&mut self, key: &ObjectKey) -> Option<&mut Entry> {
        self.of.get_mut(self.owners.get(key)?)?.get_mut(key).map(Arc::make_mut)
    }

    /// Nothing is known for sure any more.
    fn doubt(&mut self) {
        self.of.values_mut().flat_map(BTreeMap::values_mut).for_each(|entry| Arc::make_mut(entry).unsure = true);
    }

    fn all(&self) -> impl Iterator<Item = &Arc<Entry>> {
        self.of.values().flat_map(BTreeMap::values)
    }

    /// A component's, sorted.
    fn of(&self, component: &ComponentName) -> impl Iterator<Item = &Arc<Entry>> {
        self.of.get(component).into_iter().flat_map(BTreeMap::values)
    }
}

/// The memory of the process. A view over the cache: losing it costs dry-runs, never correctness.
pub struct Remembered {
    history: Arc<History>,
    entries: RwLock<Entries>,
    /// Objects of which the cache does not hold yet what is remembered.
    unkept: Mutex<BTreeSet<ObjectKey>>,
    under_way: RwLock<BTreeMap<ComponentName, Digest>>,
    /// Components with objects of which this process has never known how they were left.
    unsure: RwLock<BTreeSet<ComponentName>>,
}

impl Remembered {
    /// Reads what the last process remembered.
    pub fn load(history: Arc<History>) -> Remembered {
        // The cache is not fsynced: after a kill it may know less than the ledger, or something older.
        let entries =
            history.cache_scan(PREFIX).into_iter().filter_map(|(_, value)| serde_json::from_slice::<Entry>(&value).ok());
        let mut cached: HashMap<ObjectKey, Entry> = entries.map(|entry| (entry.key.clone(), entry)).collect();
        let mut entries = Entries::default();
        let mut unknown = BTreeSet::new();
        for (component, inventory) in history.inventories() {
            let begun = history.component(&component).and_then(|view| view.unfinished);
            let begun: HashSet<ObjectKey> =
                begun.into_iter().flat_map(|intent| [intent.creates, intent.changes]).flatten().collect();
            for owned in inventory {
                let entry = cached.remove(&owned.key).filter(|entry| entry.component == component);
                let unsure = entry.as_ref().is_none_or(|entry| entry.release != owned.release.0 || begun.contains(&owned.key));
                if unsure {
                    unknown.insert(component.clone());
                }
                if let Some(entry) = entry {
                    entries.insert(Entry { unsure, ..entry });
                }
            }
        }
        Remembered {
            history,
            entries: RwLock::new(entries),
            unkept: Mutex::default(),
            under_way: RwLock::default(),
            unsure: RwLock::new(unknown),
        }
    }

    /// Whether it is not known how all objects of a component were left: the cache was lost, or is older than the ledger.
    pub fn is_unsure(&self, component: &ComponentName) -> bool {
        self.unsure.read().unwrap_or_else(PoisonError::into_inner).contains(component)
    }

    /// Whether it is not known how some object of a component was left, for whatever reason: no watch shows its drift then,
    /// and only a run finds out.
    pub fn doubts(&self, component: &ComponentName) -> bool {
        self.is_unsure(component) || self.read().of(component).any(|entry| entry.unsure && entry.is_part())
    }

    /// A run has looked at all objects of a component.
    pub fn made_sure(&self, component: &ComponentName) {
        self.unsure.write().unwrap_or_else(PoisonError::into_inner).remove(component);
    }

    /// What is remembered is of another time: everything is looked at again.
    pub fn doubt_everything(&self) {
        self.write().doubt();
        *self.unsure.write().unwrap_or_else(PoisonError::into_inner) = self.history.inventories().into_keys().collect();
    }

    /// From here on, until an answer is heard, these objects may be as they were or as they are meant to be. Those of which
    /// it was known until now.
    pub fn begun(&self, intent: &Intent) -> HashSet<ObjectKey> {
        let mut entries = self.write();
        let mut known = HashSet::new();
        for key in intent.changes.iter().chain(&intent.creates) {
            if entries.get(key).is_some_and(|entry| !entry.unsure)
                && let Some(entry) = entries.get_mut(key)
            {
                entry.unsure = true;
                known.insert(key.clone());
            }
        }
        known
    }

    /// Objects of this intent that another component made, by key and UID: whoever takes them over may delete them some day.
    pub fn handed_over(&self, intent: &Intent) -> HashSet<(ObjectKey, String)> {
        let mut handed = HashSet::new();
        for key in intent.changes.iter().chain(&intent.creates) {
            let Some(other) = self.owner_of(key).filter(|owner| *owner != intent.release.component) else { continue };
            let made = self.inventory(&other).into_iter().find(|(of, owned)| of == key && owned.created == Some(true));
            handed.extend(made.and_then(|(key, owned)| Some((key, owned.uid?))));
        }
        handed
    }

    /// These were known, and nothing was written to them after all.
    pub fn untouched<'a>(&self, keys: impl Iterator<Item = &'a ObjectKey>) {
        let mut entries = self.write();
        for key in keys {
            if let Some(entry) = entries.get_mut(key) {
                entry.unsure = false;
            }
        }
    }

    /// An answer to an apply of ours.
    pub fn answered(&self, answer: &Answer, release: ReleaseNumber, hook: bool) {
        let known = |ownership| Known::of_answer(&answer.resource, &answer.object, ownership, answer.desired);
        if let Some(known) = answer.ownership.as_ref().and_then(known) {
            let component = answer.object.pointer("/metadata/labels").and_then(|labels| labels.get(COMPONENT_LABEL));
            if let Some(component) = component.and_then(|name| name.as_str()).and_then(|name| name.parse().ok()) {
                let (key, altered, warnings) = (answer.key.clone(), answer.altered.clone(), answer.warnings.clone());
                let release = release.0;
                self.put(Entry { key, component, known, release, unsure: false, altered, warnings, left: false, hook });
            }
        }
    }

    /// What a plan found to be as it should be already, once that is written down.
    pub fn confirm(&self, plan: &Plan) {
        let ReleaseId { component, number } = &plan.release().id;
        let hook = plan.hooks().is_some();
        for (key, known) in plan.confirmed() {
            let (key, component, known) = (key.clone(), component.clone(), known.clone());
            let (altered, warnings) = (self.altered(&key), self.warnings(&key));
            let release = number.0;
            self.put(Entry { key, component, known, release, unsure: false, altered, warnings, left: false, hook });
        }
        self.mark(plan.unchanged(), false);
    }

    /// Fields of an object that were ours were left to others.
    pub fn yielded(&self, key: &ObjectKey, seen: &SeenObject) {
        let entry = self.read().get(key).cloned();
        if let Some(entry) = entry.filter(|entry| entry.known.uid == seen.uid && !entry.unsure)
            && let Some(known) = entry.known.clone().having_yielded(seen)
        {
            self.put(Entry { known, ..Arc::unwrap_or_clone(entry) });
        }
    }

    /// What has left the release, once the rest of it was applied.
    pub fn leave(&self, plan: &Plan) {
        self.mark(plan.prune().iter().map(|prune| &prune.key).chain(plan.kept().iter().map(|kept| &kept.key)), true);
    }

    fn mark<'a>(&self, keys: impl IntoIterator<Item = &'a ObjectKey>, left: bool) {
        for key in keys {
            let entry = self.read().get(key).cloned();
            if let Some(entry) = entry.filter(|entry| entry.left != left) {
                self.put(Entry { left, ..Arc::unwrap_or_clone(entry) });
            }
        }
    }

    /// Objects that a component does not own any more: they are gone, or somebody else's.
    pub fn forget(&self, component: &ComponentName, keys: &[ObjectKey]) {
        for key in keys {
            let mut entries = self.write();
            if entries.get(key).is_some_and(|entry| entry.component == *component) {
                entries.remove(key);
                drop(entries);
                self.unkept().insert(key.clone());
            }
        }
    }

    /// What is remembered of the objects that are known to be part of a component, in the order of their keys.
    pub fn parts_of(&self, component: &ComponentName) -> Vec<Arc<Entry>> {
        self.entries_of(component, Entry::is_part)
    }

    /// The component of which an object is known to be a part.
    pub fn component_of(&self, key: &ObjectKey) -> Option<ComponentName> {
        self.read().get(key).filter(|entry| !entry.left && !entry.unsure).map(|entry| entry.component.clone())
    }

    /// The component that an object is known to belong to, however sure that is, and also if it left the release.
    pub fn owner_of(&self, key: &ObjectKey) -> Option<ComponentName> {
        self.read().get(key).map(|entry| entry.component.clone())
    }

    /// Whether an object is a hook, and so no part of what runs.
    pub fn is_hook(&self, key: &ObjectKey) -> bool {
        self.read().get(key).is_some_and(|entry| entry.hook)
    }

    /// What is remembered of objects that left a component's release and are still owned.
    pub fn left_behind(&self, component: &ComponentName) -> Vec<Arc<Entry>> {
        self.entries_of(component, |entry| entry.left)
    }

    fn entries_of(&self, component: &ComponentName, wanted: fn(&Entry) -> bool) -> Vec<Arc<Entry>> {
        self.read().of(component).filter(|entry| wanted(entry) && !entry.unsure).cloned().collect()
    }

    /// Fields of an object that were answered otherwise than they were sent.
    pub fn altered(&self, key: &ObjectKey) -> Vec<String> {
        self.read().get(key).map(|entry| entry.altered.clone()).unwrap_or_default()
    }

    /// What the API server warned about when an object was last written.
    pub fn warnings(&self, key: &ObjectKey) -> Vec<String> {
        self.read().get(key).map(|entry| entry.warnings.clone()).unwrap_or_default()
    }

    /// Every kind that is owned.
    pub fn resources(&self) -> Vec<Resource> {
        self.read().all().map(|entry| entry.known.resource.clone()).collect::<BTreeSet<_>>().into_iter().collect()
    }

    /// Remembers which content a waiting or running run brings, so that the next look at Git doesn't start it again.
    pub fn under_way(&self, component: &ComponentName, content: Digest) {
        self.under_way.write().unwrap_or_else(PoisonError::into_inner).insert(component.clone(), content);
    }

    /// Which content the newest run of a component brings, if it was from Git.
    pub fn waiting_content(&self, component: &ComponentName) -> Option<Digest> {
        self.under_way.read().unwrap_or_else(PoisonError::into_inner).get(component).copied()
    }

    /// What the newest run was to bring is not wanted any more.
    pub fn nothing_under_way(&self, component: &ComponentName) {
        self.under_way.write().unwrap_or_else(PoisonError::into_inner).remove(component);
    }

    fn put(&self, entry: Entry) {
        self.unkept().insert(entry.key.clone());
        self.write().insert(entry);
    }

    /// Writes into the cache what was learned since the last time. Whoever is killed before it asks about these objects once
    /// more.
    pub fn keep(&self) {
        let unkept = std::mem::take(&mut *self.unkept());
        if unkept.is_empty() {
            return;
        }
        let value = |key: &ObjectKey| self.read().get(key).and_then(|entry| serde_json::to_vec(&**entry).ok());
        self.history.cache_put_all(unkept.iter().map(|key| (cache_key(key), value(key))));
    }

    fn unkept(&self) -> std::sync::MutexGuard<'_, BTreeSet<ObjectKey>> {
        self.unkept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn read(&self) -> std::sync::RwLockReadGuard<'_, Entries> {
        self.entries.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> std::sync::RwLockWriteGuard<'_, Entries> {
        self.entries.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Memory for Remembered {
    fn known(&self, key: &ObjectKey) -> Option<Known> {
        self.read().get(key).filter(|entry| !entry.unsure).map(|entry| entry.known.clone())
    }

    fn inventory(&self, component: &ComponentName) -> Vec<(ObjectKey, Owned)> {
        let entries = crate::disk::disk(|| self.history.inventory(component));
        entries.into_iter().map(|entry| (entry.key, Owned { uid: entry.uid, created: entry.created })).collect()
    }
}

/// What the inventory learns from the API server's answers. `handed` are objects that another component of ours made.
pub fn objects(answers: &[Answer], intent: &Intent, handed: &HashSet<(ObjectKey, String)>) -> Vec<AppliedObject> {
    let creates: HashSet<&ObjectKey> = intent.creates.iter().collect();
    let object = |answer: &Answer| {
        let (key, uid) = (answer.key.clone(), answer.uid.clone());
        let created = answer.created || (!handed.is_empty() && handed.contains(&(key.clone(), uid.clone())));
        let asked = created || creates.contains(&key);
        AppliedObject { key, uid, created: asked.then_some(created) }
    };
    answers.iter().map(object).collect()
}

/// What the inventory learns from dry-runs that found nothing to change: these objects are ours as well.
pub fn found(plan: &Plan) -> Vec<AppliedObject> {
    let object = |(key, known): &(ObjectKey, Known)| AppliedObject { key: key.clone(), uid: known.uid.clone(), created: None };
    plan.confirmed().iter().map(object).collect()
}

fn cache_key(key: &ObjectKey) -> String {
    format!("{PREFIX}{}/{}/{}/{}", key.group, key.kind, key.namespace.as_deref().unwrap_or(""), key.name)
}
