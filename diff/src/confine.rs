//! What a component may touch at all: `confine` of its layer and its own, and where the agent looks.
//!
//! Pure. It is asked about every object of a release before the API server is, and about what would be deleted. Says
//! nothing about rights: those are the service account's, and the API server keeps them.

use globset::{Glob, GlobMatcher};
use tk8s_core::ObjectKey;

use crate::live::Scope;

/// Several confinements that all count. Empty: everything may be touched.
#[derive(Clone, Debug, Default)]
pub struct Confinement {
    bounds: Vec<Bounds>,
    /// Where the agent looks: what nobody would look after is not brought.
    scope: Scope,
}

/// One confinement.
#[derive(Clone, Debug)]
pub struct Bounds {
    namespaces: Option<Globs>,
    kinds: Option<Globs>,
    cluster_scoped: Option<Globs>,
}

/// A list of globs, as it was written and as it is matched.
#[derive(Clone, Debug)]
struct Globs {
    text: String,
    globs: Vec<(Option<GlobMatcher>, GlobMatcher)>,
}

impl Confinement {
    /// What all of these let in.
    pub fn new(bounds: Vec<Bounds>) -> Confinement {
        Confinement { bounds, scope: Scope::default() }
    }

    /// The same, within what the agent looks at. Kinds that are out of sight don't lie outside; namespaces do.
    pub fn within(self, scope: Scope) -> Confinement {
        Confinement { scope, ..self }
    }

    /// Whether there is anything that lies outside.
    pub fn is_empty(&self) -> bool {
        self.bounds.is_empty() && self.scope.namespaces().is_none()
    }

    /// Why an object lies outside, if it does. An object without a namespace is taken for one that has none by its kind.
    pub fn refuses(&self, key: &ObjectKey) -> Option<String> {
        self.bounds.iter().find_map(|bounds| bounds.refuses(key)).or_else(|| self.is_elsewhere(key))
    }

    fn is_elsewhere(&self, key: &ObjectKey) -> Option<String> {
        let namespaces = self.scope.namespaces()?;
        let it = match &key.namespace {
            Some(namespace) if namespaces.contains(namespace) => return None,
            Some(_) => "its namespace is not among those",
            None => "it is in no namespace, and there are some",
        };
        let names: Vec<_> = namespaces.iter().map(String::as_str).collect();
        let names = tk8s_core::printable(&names.join(", "), 200);
        Some(format!("{it} that the agent looks at, which are all that it may touch (`watch.namespaces` in its file: {names})"))
    }
}

impl Bounds {
    /// From its lists, as the platform file has them. A glob that is none matches nothing.
    pub fn new(namespaces: Option<&[String]>, kinds: Option<&[String]>, cluster_scoped: Option<&[String]>) -> Bounds {
        Bounds {
            namespaces: namespaces.map(|globs| Globs::new(globs, |text| Some((None, glob(text)?)))),
            kinds: kinds.map(|globs| Globs::new(globs, kind)),
            cluster_scoped: cluster_scoped.map(|globs| Globs::new(globs, kind)),
        }
    }

    fn refuses(&self, key: &ObjectKey) -> Option<String> {
        let Bounds { namespaces, kinds, cluster_scoped } = self;
        let is_outside = |namespace: &str| namespaces.as_ref().filter(|globs| !globs.have("", namespace));
        if let Some(namespace) = &key.namespace {
            if let Some(globs) = is_outside(namespace) {
                return Some(format!("its namespace is not among `namespaces` ({})", globs.text));
            }
            let kinds = kinds.as_ref().filter(|kinds| !kinds.have(&key.group, &key.kind))?;
            return Some(format!("its kind is not among `kinds` ({})", kinds.text));
        }
        match (cluster_scoped, kinds) {
            (Some(kinds), _) if !kinds.have(&key.group, &key.kind) => {
                return Some(format!("it is in no namespace, and its kind is not among `clusterScoped` ({})", kinds.text));
            }
            (None, _) if namespaces.is_some() => {
                return Some("it is in no namespace: where `namespaces` are given, `clusterScoped` has to name its kind".into());
            }
            (None, Some(kinds)) if !kinds.have(&key.group, &key.kind) => {
                return Some(format!("its kind is not among `kinds` ({})", kinds.text));
            }
            _ => {}
        }
        // A Namespace is in itself: labels on it decide what its Pods may do.
        let is_namespace = key.group.is_empty() && key.kind == "Namespace";
        let globs = is_outside(&key.name).filter(|_| is_namespace)?;
        Some(format!("it is not among `namespaces` ({})", globs.text))
    }
}

impl Globs {
    fn new(globs: &[String], read: impl Fn(&str) -> Option<(Option<GlobMatcher>, GlobMatcher)>) -> Globs {
        let text = if globs.is_empty() { "none".into() } else { tk8s_core::printable(&globs.join(", "), 200) };
        Globs { text, globs: globs.iter().filter_map(|text| read(text)).collect() }
    }

    fn have(&self, group: &str, name: &str) -> bool {
        self.globs
            .iter()
            .any(|(of_group, glob)| of_group.as_ref().is_none_or(|of_group| of_group.is_match(group)) && glob.is_match(name))
    }
}

/// `Kind` of any group, or `group/Kind`, where the group of the first kinds there were is called `core`.
fn kind(text: &str) -> Option<(Option<GlobMatcher>, GlobMatcher)> {
    match text.split_once('/') {
        None => Some((None, glob(text)?)),
        Some(("core", kind)) => Some((Some(glob("")?), glob(kind)?)),
        Some((group, kind)) => Some((Some(glob(group)?), glob(kind)?)),
    }
}

fn glob(text: &str) -> Option<GlobMatcher> {
    Glob::new(text).ok().map(|glob| glob.compile_matcher())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(kind: &str, place: &str) -> ObjectKey {
        let (group, kind) = kind.split_once('/').unwrap_or(("", kind));
        let (namespace, name) = match place.split_once('/') {
            Some((namespace, name)) => (Some(namespace.to_owned()), name),
            None => (None, place),
        };
        ObjectKey { group: group.into(), kind: kind.into(), namespace, name: name.into() }
    }

    fn list(globs: &[&str]) -> Vec<String> {
        globs.iter().map(ToString::to_string).collect()
    }

    fn bounds(namespaces: Option<&[&str]>, kinds: Option<&[&str]>, cluster: Option<&[&str]>) -> Confinement {
        let [namespaces, kinds, cluster] = [namespaces, kinds, cluster].map(|globs| globs.map(list));
        Confinement::new(vec![Bounds::new(namespaces.as_deref(), kinds.as_deref(), cluster.as_deref())])
    }

    #[test]
    fn without_a_confinement_nothing_lies_outside() {
        assert!(Confinement::default().is_empty());
        assert_eq!(Confinement::default().refuses(&key("rbac.authorization.k8s.io/ClusterRole", "all")), None);
    }

    #[test]
    fn namespaces_keep_out_others_and_what_is_in_none() {
        let team = bounds(Some(&["team-*", "shop"]), None, None);
        for (kind, place, outside) in [
            ("ConfigMap", "team-a/x", None),
            ("apps/Deployment", "shop/x", None),
            ("ConfigMap", "shop-2/x", Some("its namespace is not among `namespaces` (team-*, shop)")),
            ("ConfigMap", "a-team-/x", Some("its namespace is not among")),
            ("Namespace", "shop", Some("`clusterScoped` has to name its kind")),
            ("rbac.authorization.k8s.io/ClusterRole", "x", Some("`clusterScoped` has to name its kind")),
        ] {
            let refused = team.refuses(&key(kind, place));
            assert_eq!(refused.is_some(), outside.is_some(), "{kind} {place}: {refused:?}");
            assert!(refused.unwrap_or_default().contains(outside.unwrap_or_default()));
        }
    }

    #[test]
    fn kinds_are_of_any_group_or_of_one() {
        let some = bounds(None, Some(&["ConfigMap", "apps/*", "*.cert-manager.io/Issuer", "core/Service"]), None);
        for (kind, inside) in [
            ("ConfigMap", true),
            ("other.example.com/ConfigMap", true),
            ("apps/Deployment", true),
            ("extensions/Deployment", false),
            ("acme.cert-manager.io/Issuer", true),
            ("cert-manager.io/Issuer", false),
            ("Service", true),
            ("serving.knative.dev/Service", false),
            ("Secret", false),
        ] {
            assert_eq!(some.refuses(&key(kind, "shop/x")).is_none(), inside, "{kind}");
            // Where no namespace is asked for, those that are in none are kinds like others.
            assert_eq!(some.refuses(&key(kind, "x")).is_none(), inside, "{kind}");
        }
    }

    #[test]
    fn what_is_in_no_namespace_has_a_list_of_its_own() {
        let some = bounds(Some(&["shop"]), Some(&["ConfigMap"]), Some(&["Namespace", "apiextensions.k8s.io/*"]));
        for (kind, place, inside) in [
            ("ConfigMap", "shop/x", true),
            ("Secret", "shop/x", false),
            ("apiextensions.k8s.io/CustomResourceDefinition", "x", true),
            ("Namespace", "shop", true),
            // A label on another's namespace lifts what is asked of its Pods.
            ("Namespace", "kube-system", false),
            ("rbac.authorization.k8s.io/ClusterRole", "x", false),
        ] {
            assert_eq!(some.refuses(&key(kind, place)).is_none(), inside, "{kind} {place}");
        }
        assert!(bounds(None, None, Some(&[])).refuses(&key("Namespace", "shop")).unwrap().contains("(none)"));
    }

    #[test]
    fn where_the_agent_does_not_look_nobody_may_touch_anything() {
        let scope = Scope::new(false, Some(["shop".into()].into()));
        let confinement = Confinement::default().within(scope);
        assert!(!confinement.is_empty());
        assert_eq!(confinement.refuses(&key("ConfigMap", "shop/x")), None);
        assert_eq!(confinement.refuses(&key("Secret", "shop/x")), None, "it is written, and not looked at");
        for (kind, place, why) in [
            ("ConfigMap", "bank/x", "its namespace is not among those that the agent looks at"),
            ("Namespace", "shop", "it is in no namespace"),
        ] {
            let refused = confinement.refuses(&key(kind, place)).unwrap();
            assert!(refused.contains(why) && refused.ends_with("(`watch.namespaces` in its file: shop)"), "{refused}");
        }
        assert!(Confinement::default().within(Scope::new(false, None)).is_empty());
    }

    #[test]
    fn a_component_cannot_widen_what_its_layer_lets_it_touch() {
        let of = |namespaces: &[&str]| Bounds::new(Some(&list(namespaces)), None, None);
        let both = Confinement::new(vec![of(&["team-*"]), of(&["team-a", "kube-system"])]);
        let inside = |namespace: &str| both.refuses(&key("ConfigMap", &format!("{namespace}/x"))).is_none();
        assert!(inside("team-a"));
        assert!(!inside("kube-system") && !inside("team-b"));
    }
}
