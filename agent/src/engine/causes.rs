//! Why a workload of a component that runs has become degraded: looked for once for each change, told by status and log, and
//! written down in the history.
//!
//! Bounded: one look at a time, and for one component at most one in [`AGAIN`]; between them what was found last stands.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tk8s_core::{ComponentName, Health, HealthState, ObjectKey, ReleaseId, Timestamp, chain};
use tk8s_deploy::Cause;
use tk8s_diff::live::Seen;
use tk8s_history::Degraded;
use tokio::time::Instant;

use super::Engine;
use super::slot::Progress;
use crate::disk::disk;

/// How often a component is asked about whose workloads fail and recover all the time.
const AGAIN: Duration = Duration::from_secs(60);

/// How many objects of a component are written down at once.
const WRITTEN_DOWN: usize = 5;

/// What was found of each component that has something degraded.
#[derive(Default)]
pub(super) struct Causes {
    found: Mutex<BTreeMap<ComponentName, Found>>,
    /// Held while somebody looks.
    looking: tokio::sync::Mutex<()>,
}

struct Found {
    /// What was degraded when it was looked, and for which reason.
    degraded: BTreeMap<ObjectKey, String>,
    at: Instant,
    sentences: BTreeMap<ObjectKey, String>,
}

impl Causes {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<ComponentName, Found>> {
        self.found.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether it has to be looked now: something is degraded that was not, or for another reason. Counts as looked.
    fn due(&self, component: &ComponentName, degraded: &BTreeMap<ObjectKey, Health>, now: Instant) -> bool {
        let reasons: BTreeMap<_, _> = degraded.iter().map(|(key, health)| (key.clone(), health.reason.clone())).collect();
        let mut found = self.lock();
        match found.get_mut(component) {
            Some(known) if known.degraded == reasons || now.saturating_duration_since(known.at) < AGAIN => false,
            Some(known) => {
                (known.degraded, known.at) = (reasons, now);
                known.sentences.retain(|key, _| degraded.contains_key(key));
                true
            }
            None => {
                found.insert(component.clone(), Found { degraded: reasons, at: now, sentences: BTreeMap::new() });
                true
            }
        }
    }

    /// Nothing else of this component is degraded.
    fn keep(&self, component: &ComponentName, degraded: &BTreeMap<ObjectKey, Health>, now: Instant) {
        let mut found = self.lock();
        let Some(known) = found.get_mut(component) else { return };
        known.sentences.retain(|key, _| degraded.contains_key(key));
        if degraded.is_empty() {
            known.degraded.clear();
            if now.saturating_duration_since(known.at) >= AGAIN {
                found.remove(component);
            }
        }
    }

    /// Nobody looks after any other component.
    pub(super) fn keep_those(&self, looked_after: impl Fn(&ComponentName) -> bool) {
        self.lock().retain(|component, _| looked_after(component));
    }

    fn tell(&self, component: &ComponentName, sentences: BTreeMap<ObjectKey, String>) {
        if let Some(known) = self.lock().get_mut(component) {
            known.sentences = sentences;
        }
    }

    /// What was found of an object, as it follows a sentence about it.
    pub(super) fn behind(&self, component: &ComponentName, object: &ObjectKey) -> String {
        let found = self.lock();
        let sentence = found.get(component).and_then(|known| known.sentences.get(object));
        sentence.map(|sentence| format!(": {sentence}")).unwrap_or_default()
    }
}

impl Engine {
    /// Looks for the causes of what has become degraded of a component. Those of a release that failed are told by its outcome.
    pub(super) fn look_for_causes_of(self: &Arc<Self>, component: &ComponentName) {
        let (degraded, now) = (self.degraded_workloads(component), Instant::now());
        self.causes.keep(component, &degraded, now);
        let runs = !degraded.is_empty() && self.tenure.held() && self.slot(component).progress() == Progress::Settled;
        if runs && self.causes.due(component, &degraded, now) {
            let (engine, component) = (Arc::clone(self), component.clone());
            tokio::spawn(async move {
                tokio::select! {
                    () = engine.find_causes(&component, &degraded) => {}
                    () = engine.stop.cancelled() => {}
                }
            });
        }
    }

    fn degraded_workloads(&self, component: &ComponentName) -> BTreeMap<ObjectKey, Health> {
        let parts = self.memory.parts_of(component);
        let workloads = parts.iter().filter(|part| tk8s_deploy::has_pods(&part.key));
        let degraded = workloads.filter_map(|part| match self.live.seen(&part.key) {
            Seen::Present(seen) if seen.health.state == HealthState::Degraded => Some((part.key.clone(), seen.health.clone())),
            _ => None,
        });
        degraded.collect()
    }

    async fn find_causes(&self, component: &ComponentName, degraded: &BTreeMap<ObjectKey, Health>) {
        let _looking = self.causes.looking.lock().await;
        let Some(release) = disk(|| self.history.component(component)).and_then(|view| view.current) else { return };
        let causes = crate::causes::of((&self.cluster, &self.live), &self.history, &release, degraded).await;
        for cause in &causes {
            let health = degraded.get(&cause.object);
            let reason = health.map_or("", |health| &health.reason);
            tracing::warn!(%component, object = %cause.object, reason, %cause, "has become degraded");
        }
        self.write_down(&release, degraded, &causes);
        self.causes.tell(component, causes.into_iter().map(|cause| (cause.object.clone(), cause.to_string())).collect());
    }

    /// So that it is known later what was wrong at the time. Those first of which a cause was found.
    fn write_down(&self, release: &ReleaseId, degraded: &BTreeMap<ObjectKey, Health>, causes: &[Cause]) {
        let cause_of = |key: &ObjectKey| causes.iter().find(|cause| cause.object == *key);
        let mut all: Vec<_> = degraded.iter().map(|(key, health)| (key, health, cause_of(key))).collect();
        all.sort_by_key(|(_, _, cause)| cause.is_none());
        let told = all.into_iter().take(WRITTEN_DOWN).map(|(key, health, cause)| Degraded {
            object: key.clone(),
            reason: health.reason.clone(),
            message: format!("{}{}", health.message, cause.map(|cause| format!(": {cause}")).unwrap_or_default()),
            cause: cause.map_or_else(|| health.message.clone(), |cause| cause.message.clone()),
        });
        if let Err(error) = disk(|| self.history.degraded(release, told.collect(), Timestamp::now())) {
            tracing::warn!(%release, error = %chain(&error), "could not write down what has become degraded");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str) -> ObjectKey {
        ObjectKey { group: "apps".into(), kind: "Deployment".into(), namespace: Some("shop".into()), name: name.into() }
    }

    fn degraded(names: &[(&str, &str)]) -> BTreeMap<ObjectKey, Health> {
        names.iter().map(|(name, reason)| (key(name), Health::because(HealthState::Degraded, reason, "so"))).collect()
    }

    #[test]
    fn a_change_is_looked_at_once_and_not_too_often() {
        let (causes, web, begun) = (Causes::default(), "web".parse::<ComponentName>().unwrap(), Instant::now());
        let due = |names: &[(&str, &str)], seconds: u64| causes.due(&web, &degraded(names), begun + Duration::from_secs(seconds));
        assert!(due(&[("a", "Bad")], 0));
        assert!(!due(&[("a", "Bad")], 1) && !due(&[("a", "Bad")], 1000), "it has not changed");
        causes.tell(&web, BTreeMap::from([(key("a"), "pod a-1: bad".into())]));
        assert_eq!((causes.behind(&web, &key("a")), causes.behind(&web, &key("b"))), (": pod a-1: bad".into(), String::new()));
        assert!(!due(&[("a", "Bad"), ("b", "Bad")], 30), "too soon");
        assert!(due(&[("a", "Bad"), ("b", "Bad")], 61));
        // It recovers, fails again at once, and once more a minute later.
        causes.keep(&web, &BTreeMap::new(), begun + Duration::from_secs(62));
        assert_eq!(causes.behind(&web, &key("a")), "");
        assert!(!due(&[("a", "Bad")], 63));
        assert!(due(&[("a", "Bad")], 122));
        causes.keep(&web, &BTreeMap::new(), begun + Duration::from_secs(1000));
        assert!(causes.lock().is_empty());
        assert!(due(&[("a", "Bad")], 1001));
        causes.keep_those(|_| false);
        assert!(causes.lock().is_empty());
    }
}
