//! What dry-runs said a moment ago, for whoever plans the same objects again before anybody wrote to them.
//!
//! A rollback of many asks about all of them before it writes anything for the first. Of an object that is still of the version
//! that was asked about, the API server would say the same again. Kept is only what is simple: an object of ours that is
//! changed, takes nothing from anybody and leaves nothing to anybody; all else is asked again.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Mutex, PoisonError};

use tk8s_core::{Digest, Manifest, ObjectKey};

use crate::cluster::Resource;
use crate::ownership::ObjectRules;
use crate::sealed::{Action, Change};

/// What was said. It lives as long as the one request of a person in which it was asked.
#[derive(Default)]
pub struct Foretold(Mutex<HashMap<ObjectKey, Answer>>);

/// To one object: a digest or two, so that ten thousand of them are small.
struct Answer {
    version: String,
    uid: String,
    resource: Resource,
    rules: ObjectRules,
    desired: Digest,
    sent: Digest,
}

impl fmt::Debug for Foretold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Foretold").field(&self.lock().len()).finish()
    }
}

impl Foretold {
    /// Remembers a change that an object of this version needs, by these rules.
    pub(crate) fn remember(&self, change: &Change, version: &str, rules: &ObjectRules) {
        let takes = change.takes_over || !change.overrides.is_empty() || !change.migrates.is_empty();
        let Some(uid) = change.uid.clone().filter(|_| change.action == Action::Configure) else { return };
        if takes || !change.yielded.is_empty() || !change.warnings.is_empty() {
            return;
        }
        let (resource, rules) = (change.resource.clone(), rules.clone());
        let answer = Answer { version: version.into(), uid, resource, rules, desired: change.desired, sent: change.sent };
        self.lock().insert(change.key.clone(), answer);
    }

    /// The change that this object needs, if it is still as it was when that was asked.
    pub(crate) fn still(&self, manifest: &Manifest, resource: &Resource, version: &str, rules: &ObjectRules) -> Option<Change> {
        let known = self.lock();
        let answer = known.get(manifest.key()).filter(|answer| {
            answer.version == version
                && answer.desired == manifest.digest()
                && answer.resource == *resource
                && answer.rules == *rules
        })?;
        let made = Change::made(manifest.key(), resource, Action::Configure, manifest.to_value(), answer.desired);
        Some(Change { uid: Some(answer.uid.clone()), sent: answer.sent, ..made })
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<ObjectKey, Answer>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use tk8s_core::{Conflicts, GroupVersionKind, Origin};

    use super::*;
    use crate::ownership::FieldRules;

    fn manifest(at: &str) -> Manifest {
        let map =
            json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", "namespace": "shop"}, "data": {"at": at}});
        Manifest::new(map, Origin::default()).unwrap()
    }

    fn maps() -> Resource {
        Resource { kind: GroupVersionKind::new("v1", "ConfigMap"), plural: "configmaps".into(), namespaced: true }
    }

    fn change(manifest: &Manifest) -> Change {
        let made = Change::made(manifest.key(), &maps(), Action::Configure, manifest.to_value(), manifest.digest());
        Change { uid: Some("u".into()), sent: Digest::of("sent"), ..made }
    }

    #[test]
    fn what_was_said_of_an_object_holds_while_object_wish_and_rules_are_the_same() {
        let (foretold, wanted, rules) = (Foretold::default(), manifest("1"), ObjectRules::default());
        let change = change(&wanted);
        foretold.remember(&change, "7", &rules);
        let still = foretold.still(&wanted, &maps(), "7", &rules).unwrap();
        assert_eq!((&still.body, &still.uid, still.sent), (&change.body, &change.uid, change.sent));
        assert_eq!((still.action, still.desired), (change.action, change.desired));
        assert!(foretold.still(&wanted, &maps(), "8", &rules).is_none(), "somebody wrote to it");
        assert!(foretold.still(&manifest("2"), &maps(), "7", &rules).is_none(), "something else is wanted");
        let elsewhere = Resource { kind: GroupVersionKind::new("v2", "ConfigMap"), ..maps() };
        assert!(foretold.still(&wanted, &elsewhere, "7", &rules).is_none());
        let yields = FieldRules { conflicts: Conflicts::Yield, ..FieldRules::default() }.of(wanted.key(), None);
        assert!(foretold.still(&wanted, &maps(), "7", &yields).is_none());
    }

    #[test]
    fn what_is_not_simple_is_asked_again() {
        let (wanted, rules) = (manifest("1"), ObjectRules::default());
        let plain = || change(&wanted);
        for other in [
            Change { action: Action::Create, uid: None, ..plain() },
            Change { action: Action::Adopt, ..plain() },
            Change { takes_over: true, ..plain() },
            Change { yielded: vec![".data.at".into()], ..plain() },
            Change { migrates: vec!["v0".into()], ..plain() },
            Change { warnings: vec!["old".into()], ..plain() },
        ] {
            let foretold = Foretold::default();
            foretold.remember(&other, "7", &rules);
            assert!(foretold.still(&wanted, &maps(), "7", &rules).is_none(), "{:?}", other.action);
        }
    }
}
