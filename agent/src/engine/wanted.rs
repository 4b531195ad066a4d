//! The objects that Git brought last for each component, while its release is on the way. Pure.
//!
//! Asked for single objects, and not for all of them: with a thousand components, each of which asks what the others want,
//! that would be a million lists.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use tk8s_core::{ComponentName, ObjectKey};

/// By component, and by object.
#[derive(Debug, Default)]
pub(super) struct Wanted {
    of: BTreeMap<ComponentName, Vec<ObjectKey>>,
    by: HashMap<ObjectKey, BTreeSet<ComponentName>>,
}

impl Wanted {
    /// This is what a component wants from now on.
    pub(super) fn insert(&mut self, component: &ComponentName, keys: Vec<ObjectKey>) {
        self.remove(component);
        for key in &keys {
            self.by.entry(key.clone()).or_default().insert(component.clone());
        }
        self.of.insert(component.clone(), keys);
    }

    /// Nothing is on the way for a component any more.
    pub(super) fn remove(&mut self, component: &ComponentName) {
        for key in self.of.remove(component).into_iter().flatten() {
            if let Some(wanting) = self.by.get_mut(&key) {
                wanting.remove(component);
                if wanting.is_empty() {
                    self.by.remove(&key);
                }
            }
        }
    }

    /// Whether something is on the way for a component.
    pub(super) fn is_known(&self, component: &ComponentName) -> bool {
        self.of.contains_key(component)
    }

    /// The components for which this object is on the way.
    pub(super) fn wanting(&self, key: &ObjectKey) -> impl Iterator<Item = &ComponentName> {
        self.by.get(key).into_iter().flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_is_wanted_by_whoever_was_last_said_to_want_it() {
        let key = |name: &str| ObjectKey { group: String::new(), kind: "ConfigMap".into(), namespace: None, name: name.into() };
        let name = |name: &str| name.parse::<ComponentName>().unwrap();
        let mut wanted = Wanted::default();
        wanted.insert(&name("web"), vec![key("a"), key("b")]);
        wanted.insert(&name("api"), vec![key("b")]);
        let by = |wanted: &Wanted, object: &str| wanted.wanting(&key(object)).map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!((by(&wanted, "a"), by(&wanted, "b")), (vec!["web".into()], vec!["api".into(), "web".into()]));
        wanted.insert(&name("web"), vec![key("c")]);
        assert_eq!((by(&wanted, "a"), by(&wanted, "b"), by(&wanted, "c")), (vec![], vec!["api".into()], vec!["web".into()]));
        wanted.remove(&name("api"));
        assert!(by(&wanted, "b").is_empty() && !wanted.is_known(&name("api")) && wanted.is_known(&name("web")));
        wanted.remove(&name("web"));
        assert!(wanted.by.is_empty());
    }
}
