//! What the agent remembers of each object it applied, so that nothing already known is asked again: in memory, and in
//! history's cache for the next start.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::{Arc, PoisonError, RwLock};

use serde::{Deserialize, Serialize};
use tk8s_core::{COMPONENT_LABEL, ComponentName, Digest, ObjectKey};
use tk8s_deploy::Answer;
use tk8s_diff::Plan;
use tk8s_diff::cluster::Resource;
use tk8s_diff::memory::{Known, Memory, Owned};
use tk8s_history::{AppliedObject, History};

const PREFIX: &str = "known/";

/// One remembered object, as it is kept in the cache.
#[derive(Clone, Serialize, Deserialize)]
struct Entry {
    key: ObjectKey,
    component: ComponentName,
    known: Known,
    /// It is no longer part of the component's release, and still there: kept, or held by a finalizer.
    #[serde(default)]
    left: bool,
}

/// The memory of the process. A view over the cache: losing it costs dry-runs, never correctness.
pub struct Remembered {
    history: Arc<History>,
    entries: RwLock<HashMap<ObjectKey, Entry>>,
    under_way: RwLock<BTreeMap<ComponentName, Digest>>,
}

impl Remembered {
    /// Reads what the last process remembered.
    pub fn load(history: Arc<History>) -> Remembered {
        // The cache is not fsynced: after a kill it may know objects that the ledger knows to be gone.
        let owned: HashSet<ObjectKey> = history.inventories().into_values().flatten().map(|entry| entry.key).collect();
        let entries =
            history.cache_scan(PREFIX).into_iter().filter_map(|(_, value)| serde_json::from_slice::<Entry>(&value).ok());
        let entries = entries.filter(|entry| owned.contains(&entry.key)).map(|entry| (entry.key.clone(), entry)).collect();
        Remembered { history, entries: RwLock::new(entries), under_way: RwLock::default() }
    }

    /// An answer to an apply of ours.
    pub fn answered(&self, answer: &Answer) {
        if let Some(known) = Known::of_answer(&answer.resource, &answer.object, answer.desired) {
            let component = answer.object.pointer("/metadata/labels").and_then(|labels| labels.get(COMPONENT_LABEL));
            if let Some(component) = component.and_then(|name| name.as_str()).and_then(|name| name.parse().ok()) {
                self.put(Entry { key: answer.key.clone(), component, known, left: false });
            }
        }
    }

    /// What a plan found: objects that are as they should be already, and objects that have left the release.
    pub fn confirm(&self, plan: &Plan) {
        for (key, known) in plan.confirmed() {
            let component = plan.release().id.component.clone();
            self.put(Entry { key: key.clone(), component, known: known.clone(), left: false });
        }
        self.mark(plan.unchanged(), false);
        self.mark(plan.prune().iter().map(|prune| &prune.key).chain(plan.kept().iter().map(|kept| &kept.key)), true);
    }

    fn mark<'a>(&self, keys: impl IntoIterator<Item = &'a ObjectKey>, left: bool) {
        for key in keys {
            let entry = self.entries.read().unwrap_or_else(PoisonError::into_inner).get(key).cloned();
            if let Some(entry) = entry.filter(|entry| entry.left != left) {
                self.put(Entry { left, ..entry });
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
                self.history.cache_remove(&cache_key(key));
            }
        }
    }

    /// What is remembered of the objects that are part of a component.
    pub fn of_component(&self, component: &ComponentName) -> Vec<(ObjectKey, Known)> {
        self.entries_of(component, false)
    }

    /// What is remembered of objects that left a component's release and are still owned.
    pub fn left_behind(&self, component: &ComponentName) -> Vec<(ObjectKey, Known)> {
        self.entries_of(component, true)
    }

    fn entries_of(&self, component: &ComponentName, left: bool) -> Vec<(ObjectKey, Known)> {
        let entries = self.entries.read().unwrap_or_else(PoisonError::into_inner);
        let mut known: Vec<_> = entries
            .values()
            .filter(|entry| entry.component == *component && entry.left == left)
            .map(|entry| (entry.key.clone(), entry.known.clone()))
            .collect();
        known.sort_by(|a, b| a.0.cmp(&b.0));
        known
    }

    /// Every kind that is owned.
    pub fn resources(&self) -> Vec<Resource> {
        let entries = self.entries.read().unwrap_or_else(PoisonError::into_inner);
        entries.values().map(|entry| entry.known.resource.clone()).collect::<BTreeSet<_>>().into_iter().collect()
    }

    /// Remembers which content a waiting or running run brings, so that the next look at Git doesn't start it again.
    pub fn under_way(&self, component: &ComponentName, content: Digest) {
        self.under_way.write().unwrap_or_else(PoisonError::into_inner).insert(component.clone(), content);
    }

    /// Whether the newest run of the component brings this content.
    pub fn is_under_way(&self, component: &ComponentName, content: Digest) -> bool {
        self.under_way.read().unwrap_or_else(PoisonError::into_inner).get(component) == Some(&content)
    }

    fn put(&self, entry: Entry) {
        if let Ok(value) = serde_json::to_vec(&entry) {
            self.history.cache_put(&cache_key(&entry.key), &value);
        }
        self.write().insert(entry.key.clone(), entry);
    }

    fn write(&self) -> std::sync::RwLockWriteGuard<'_, HashMap<ObjectKey, Entry>> {
        self.entries.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Memory for Remembered {
    fn known(&self, key: &ObjectKey) -> Option<Known> {
        self.entries.read().unwrap_or_else(PoisonError::into_inner).get(key).map(|entry| entry.known.clone())
    }

    fn inventory(&self, component: &ComponentName) -> Vec<(ObjectKey, Owned)> {
        let entries = crate::disk::disk(|| self.history.inventory(component));
        entries.into_iter().map(|entry| (entry.key, Owned { uid: entry.uid, created: entry.created })).collect()
    }
}

/// What the inventory learns from the API server's answers.
pub fn objects(answers: &[Answer]) -> Vec<AppliedObject> {
    answers
        .iter()
        .map(|answer| AppliedObject { key: answer.key.clone(), uid: answer.uid.clone(), created: answer.created })
        .collect()
}

fn cache_key(key: &ObjectKey) -> String {
    format!("{PREFIX}{}/{}/{}/{}", key.group, key.kind, key.namespace.as_deref().unwrap_or(""), key.name)
}
