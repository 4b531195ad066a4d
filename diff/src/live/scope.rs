//! What of the cluster is looked at: all that is owned, or less, where whoever installs the agent lets it read less.
//!
//! Pure. What is out of sight is neither listed nor watched, whatever owns it: nobody knows whether it drifted, or how
//! healthy it is, and nobody waits for that. It is asked for, one by one, when something is done with it.

use std::collections::BTreeSet;

use tk8s_core::ObjectKey;

use crate::cluster::Resource;

/// What is looked at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scope {
    /// Whether Secrets are left out.
    without_secrets: bool,
    /// The only namespaces; none: all of them, and what is in no namespace.
    namespaces: Option<BTreeSet<String>>,
}

/// A kind, everywhere or in one namespace: what one watch tells of.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Place {
    pub(super) group: String,
    pub(super) kind: String,
    pub(crate) namespace: Option<String>,
}

impl Scope {
    /// Secrets or not, and these namespaces or all.
    pub fn new(secrets: bool, namespaces: Option<BTreeSet<String>>) -> Scope {
        Scope { without_secrets: !secrets, namespaces }
    }

    /// The only namespaces that are looked at, if not all of them are.
    pub fn namespaces(&self) -> Option<&BTreeSet<String>> {
        self.namespaces.as_ref()
    }

    /// Whether objects of this kind are looked at anywhere.
    pub fn looks_at(&self, resource: &Resource) -> bool {
        self.looks_at_kind(&resource.kind.group, &resource.kind.kind) && (self.namespaces.is_none() || resource.namespaced)
    }

    /// Whether this object is looked at.
    pub fn sees(&self, key: &ObjectKey) -> bool {
        let inside = |namespaces: &BTreeSet<String>| key.namespace.as_ref().is_some_and(|own| namespaces.contains(own));
        self.looks_at_kind(&key.group, &key.kind) && self.namespaces.as_ref().is_none_or(inside)
    }

    /// Whether objects of this kind are looked at where the agent looks, wherever they live.
    pub fn looks_at_kind(&self, group: &str, kind: &str) -> bool {
        !(self.without_secrets && group.is_empty() && kind == "Secret")
    }

    /// Where a kind has to be watched so that all of it is seen that is to be.
    pub(crate) fn places(&self, resource: &Resource) -> Vec<Place> {
        let (group, kind) = (resource.kind.group.clone(), resource.kind.kind.clone());
        match &self.namespaces {
            _ if !self.looks_at(resource) => Vec::new(),
            None => vec![Place { group, kind, namespace: None }],
            Some(namespaces) => {
                let place =
                    |namespace: &String| Place { group: group.clone(), kind: kind.clone(), namespace: Some(namespace.clone()) };
                namespaces.iter().map(place).collect()
            }
        }
    }

    /// Which watch tells of an object that is seen.
    pub(super) fn place_of(&self, key: &ObjectKey) -> Place {
        let namespace = key.namespace.clone().filter(|_| self.namespaces.is_some());
        Place { group: key.group.clone(), kind: key.kind.clone(), namespace }
    }
}

impl Place {
    /// Whether an object belongs here.
    pub(super) fn holds(&self, key: &ObjectKey) -> bool {
        let Place { group, kind, namespace } = self;
        key.group == *group && key.kind == *kind && (namespace.is_none() || key.namespace == *namespace)
    }
}

#[cfg(test)]
mod tests {
    use tk8s_core::GroupVersionKind;

    use super::*;

    fn kind(api_version: &str, kind: &str, namespaced: bool) -> Resource {
        Resource { kind: GroupVersionKind::new(api_version, kind), plural: "things".into(), namespaced }
    }

    fn key(group: &str, kind: &str, namespace: Option<&str>) -> ObjectKey {
        ObjectKey { group: group.into(), kind: kind.into(), namespace: namespace.map(String::from), name: "a".into() }
    }

    #[test]
    fn by_default_everything_is_in_sight_with_one_watch_for_each_kind() {
        let all = Scope::default();
        assert!(all.sees(&key("", "Secret", Some("shop"))) && all.sees(&key("", "Namespace", None)));
        assert_eq!(all.places(&kind("v1", "Secret", true)).len(), 1);
        assert_eq!(all, Scope::new(true, None));
    }

    #[test]
    fn secrets_can_be_out_of_sight_and_no_other_kind_of_that_name_is() {
        let without = Scope::new(false, None);
        assert!(!without.sees(&key("", "Secret", Some("shop"))) && !without.looks_at(&kind("v1", "Secret", true)));
        assert!(without.sees(&key("vault.example.com", "Secret", Some("shop"))));
        assert!(without.places(&kind("v1", "Secret", true)).is_empty());
    }

    #[test]
    fn in_some_namespaces_a_kind_has_a_watch_in_each_and_what_is_in_none_is_out_of_sight() {
        let some = Scope::new(true, Some(["shop".into(), "bank".into()].into()));
        let maps = kind("v1", "ConfigMap", true);
        let at: Vec<_> = some.places(&maps).into_iter().map(|place| place.namespace.unwrap()).collect();
        assert_eq!(at, ["bank", "shop"]);
        assert!(some.sees(&key("", "ConfigMap", Some("shop"))) && !some.sees(&key("", "ConfigMap", Some("other"))));
        assert!(!some.sees(&key("", "Namespace", None)) && !some.looks_at(&kind("v1", "Namespace", false)));
        let place = some.place_of(&key("", "ConfigMap", Some("shop")));
        assert!(place.holds(&key("", "ConfigMap", Some("shop"))) && !place.holds(&key("", "ConfigMap", Some("bank"))));
    }
}
