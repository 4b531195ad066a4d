//! What is the agent's own: no release may touch it, but for its Deployment.
//!
//! Pure. A repository that could change the agent's rights, keys or policies would be above the rules by which it is judged.
//! What is whose is known from the agent's own account, its roles and from names, not from the objects that are there: one is
//! refused before anything is asked about it. What Kubernetes refuses by itself (rights that the writer does not have) is left to it, and
//! so are roles with `*`, which are rights over everything.

use std::collections::BTreeSet;

use globset::GlobMatcher;
use serde_json::Value;
use tk8s_core::{Manifest, ObjectKey, OwnDeployment, ServiceAccount};

/// The group of the agent's own kinds.
const GROUP: &str = "agent.tk8s.io";
const RBAC: &str = "rbac.authorization.k8s.io";
/// Groups whose cluster-wide objects are rights and policies, where those named like the agent are its own.
const NAMED: [&str; 2] = [RBAC, "admissionregistration.k8s.io"];
/// What such names begin with.
const NAME: &str = "tk8s-agent";

/// The agent's installation, as far as it is known.
#[derive(Clone, Debug, Default)]
pub struct Own {
    /// The agent's account. Unknown where it logs in as somebody else.
    pub account: Option<ServiceAccount>,
    /// The user name by which the API server knows it, whatever it is.
    pub user: Option<String>,
    /// Its Deployment, in the namespace of its account: the one object there that a release may have.
    pub deployment: Option<String>,
    /// What it could not run without, wherever it is: its Lease and its anchor.
    pub keys: BTreeSet<ObjectKey>,
    /// The roles that it is bound to, where somebody looked.
    pub roles: BTreeSet<ObjectKey>,
    /// What else the agent's file says is its own.
    pub named: Vec<OwnName>,
}

/// Objects that the agent's file names.
#[derive(Clone, Debug)]
pub struct OwnName {
    kind: String,
    name: GlobMatcher,
    namespace: Option<String>,
}

impl Own {
    /// Why an object may not be written, if so.
    pub fn refuses(&self, manifest: &Manifest) -> Option<String> {
        let key = manifest.key();
        self.protects(key).or_else(|| match (key.group.as_str(), key.kind.as_str()) {
            (RBAC, "RoleBinding" | "ClusterRoleBinding") => self.binds(manifest),
            (RBAC, "Role" | "ClusterRole") => self.may_be_impersonated_by(manifest),
            _ => None,
        })
    }

    /// Why an object may neither be written nor deleted, whatever is in it.
    pub fn protects(&self, key: &ObjectKey) -> Option<String> {
        let core = |kind: &str| key.group.is_empty() && key.kind == kind;
        let named_like_it = |name: &str| {
            let rest = name.strip_prefix(NAME);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['-', ':', '.']))
        };
        if self.keys.contains(key) {
            return Some("the agent does not run without it".into());
        }
        if key.group == GROUP || key.name.ends_with(&format!(".{GROUP}")) && key.kind == "CustomResourceDefinition" {
            return Some("it tells how the agent is, and only the agent writes it".into());
        }
        if self.roles.contains(key) {
            return Some("it is a role of the agent itself".into());
        }
        if let Some(name) = self.named.iter().find(|name| name.is(key)) {
            return Some(format!("the agent's file names it (`{}`) as a part of its installation", name.kind));
        }
        if let Some(account) = &self.account {
            if core("Namespace") && key.name == account.namespace() {
                return Some("the agent runs in it".into());
            }
            if key.namespace.as_deref() == Some(account.namespace()) && !self.is_deployment(key) && !self.is_trial(key) {
                return Some("it lies in the agent's own namespace, where whatever runs can use its account and its keys".into());
            }
            if key.namespace.is_none() && key.group == RBAC && key.name == account.name() && account.name() != "default" {
                return Some("it bears the name of the agent's account".into());
            }
        }
        (key.namespace.is_none() && NAMED.contains(&key.group.as_str()) && named_like_it(&key.name))
            .then(|| format!("rights and policies whose names begin with `{NAME}` are the agent's own"))
    }

    /// Whether this is the Deployment by which the agent runs.
    pub fn is_deployment(&self, key: &ObjectKey) -> bool {
        self.as_deployment().is_some_and(|own| own.is(key))
    }

    /// Whether this is called as its trial. That it is one, its content says.
    fn is_trial(&self, key: &ObjectKey) -> bool {
        self.as_deployment().is_some_and(|own| own.is_trial(key))
    }

    /// The Deployment by which the agent runs, where that is known.
    pub fn as_deployment(&self) -> Option<OwnDeployment> {
        OwnDeployment::of(self.account.as_ref(), self.deployment.as_deref())
    }

    /// Why a release may not have the agent's Deployment, or what is called as its trial: one comes with the other.
    pub fn untried<'a, O: Iterator<Item = &'a Manifest>>(&self, objects: impl Fn() -> O) -> Option<(&'a ObjectKey, String)> {
        let own = self.as_deployment()?;
        let deployment = objects().find(|manifest| own.is(manifest.key()));
        let trial = objects().find(|manifest| own.is_trial(manifest.key()));
        match (deployment, trial) {
            (None, None) => None,
            (None, Some(trial)) => Some((trial.key(), "only the agent makes such a Job, of its Deployment".into())),
            (Some(deployment), trial) => {
                let wanted = tk8s_core::trial(deployment);
                let why = match (wanted, trial) {
                    (Some(wanted), Some(trial)) if wanted.object() == trial.object() => return None,
                    (None, _) => {
                        "its container has to say `args: [run, ...]`, or the next version can't be tried before it is released"
                    }
                    _ => {
                        "it is released only after a trial: name `installation.serviceAccount` and `installation.deployment` in the agent's file"
                    }
                };
                Some((deployment.key(), why.into()))
            }
        }
    }

    /// Whether a binding gives rights to the agent.
    fn binds(&self, manifest: &Manifest) -> Option<String> {
        let subjects = manifest.object().get("subjects").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        let namespace = |subject: &&Value| subject.get("namespace").and_then(Value::as_str).map(String::from);
        let is_subject = |subject: &&Value| {
            let namespace = namespace(subject).or_else(|| manifest.key().namespace.clone());
            self.is_subject(text(subject, "kind"), text(subject, "name"), namespace.as_deref())
        };
        let found = subjects.iter().find(is_subject)?;
        let (kind, name) = (text(found, "kind"), tk8s_core::printable(text(found, "name"), 100));
        Some(format!("it gives rights to the agent itself, as the {kind} `{name}`"))
    }

    /// Whether the subject of a binding is the agent, or a group that it is in.
    pub fn is_subject(&self, kind: &str, name: &str, namespace: Option<&str>) -> bool {
        match (kind, &self.account) {
            ("ServiceAccount", Some(account)) => name == account.name() && namespace == Some(account.namespace()),
            ("User", account) => {
                self.user.as_deref() == Some(name) || account.as_ref().is_some_and(|account| account.user() == name)
            }
            // Every account is in these, the agent's too.
            ("Group", Some(account)) => {
                ["system:serviceaccounts", "system:authenticated"].contains(&name)
                    || name.strip_prefix("system:serviceaccounts:") == Some(account.namespace())
            }
            _ => false,
        }
    }

    /// Whether a role lets others act as the agent, or get a token of its account.
    fn may_be_impersonated_by(&self, manifest: &Manifest) -> Option<String> {
        let account = self.account.as_ref()?;
        let rules = manifest.object().get("rules").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        let reaches_it = rules.iter().any(|rule| {
            let (verbs, resources, names) = (texts(rule, "verbs"), texts(rule, "resources"), texts(rule, "resourceNames"));
            let impersonates = verbs.iter().any(|verb| verb.starts_with("impersonate") && !verb.starts_with("impersonate-on:"));
            let acts = impersonates && resources.iter().any(|resource| ["serviceaccounts", "*"].contains(resource));
            let gets_a_token =
                verbs.iter().any(|verb| ["create", "*"].contains(verb)) && resources.contains(&"serviceaccounts/token");
            (acts || gets_a_token) && (names.is_empty() || names.contains(&account.name()))
        });
        // A Role reaches no further than its namespace.
        let reaches_it =
            reaches_it && manifest.key().namespace.as_deref().is_none_or(|namespace| namespace == account.namespace());
        reaches_it.then(|| {
            format!(
                "whoever is bound to it may act as the agent ({account}): name in `resourceNames` the accounts that are meant"
            )
        })
    }
}

impl OwnName {
    /// Those of a kind, whatever its group, whose names match a glob; in one namespace if one is given. None if the glob is
    /// none.
    pub fn new(kind: String, name: &str, namespace: Option<String>) -> Option<OwnName> {
        let name = globset::Glob::new(name).ok()?.compile_matcher();
        Some(OwnName { kind, name, namespace })
    }

    fn is(&self, key: &ObjectKey) -> bool {
        self.kind == key.kind
            && self.name.is_match(&key.name)
            && self.namespace.as_ref().is_none_or(|namespace| key.namespace.as_ref() == Some(namespace))
    }
}

fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value.get(field).and_then(Value::as_str).unwrap_or_default()
}

fn texts<'a>(value: &'a Value, field: &str) -> Vec<&'a str> {
    value.get(field).and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use tk8s_core::Origin;

    use super::*;

    fn own() -> Own {
        Own {
            account: Some("tk8s-system/agent".parse().unwrap()),
            user: Some("system:serviceaccount:tk8s-system:agent".into()),
            deployment: Some("tk8s-agent".into()),
            keys: BTreeSet::new(),
            roles: BTreeSet::new(),
            named: vec![OwnName::new("NetworkPolicy".into(), "agent-*", Some("edge".into())).unwrap()],
        }
    }

    fn refused(api_version: &str, kind: &str, place: &str, more: Value) -> Option<String> {
        let (namespace, name) = match place.split_once('/') {
            Some((namespace, name)) => (Some(namespace), name),
            None => (None, place),
        };
        let mut object = json!({"apiVersion": api_version, "kind": kind, "metadata": {"name": name}});
        if let Some(namespace) = namespace {
            object["metadata"]["namespace"] = namespace.into();
        }
        for (field, value) in more.as_object().into_iter().flatten() {
            object[field] = value.clone();
        }
        own().refuses(&Manifest::new(object, Origin::default()).unwrap())
    }

    const RBAC_V1: &str = "rbac.authorization.k8s.io/v1";

    #[test]
    fn nothing_in_the_agent_s_namespace_may_be_touched_but_its_deployment() {
        for (api_version, kind, place, free) in [
            ("apps/v1", "Deployment", "tk8s-system/tk8s-agent", true),
            ("apps/v1", "Deployment", "tk8s-system/other", false),
            ("apps/v1", "StatefulSet", "tk8s-system/tk8s-agent", false),
            ("example.com/v1", "Deployment", "tk8s-system/tk8s-agent", false),
            ("v1", "ServiceAccount", "tk8s-system/agent", false),
            ("v1", "Secret", "tk8s-system/keys", false),
            ("v1", "Pod", "tk8s-system/shell", false),
            (RBAC_V1, "Role", "tk8s-system/reader", false),
            ("v1", "Namespace", "tk8s-system", false),
            ("v1", "Namespace", "shop", true),
            ("v1", "ServiceAccount", "shop/agent", true),
        ] {
            let found = refused(api_version, kind, place, json!({}));
            assert_eq!(found.is_none(), free, "{kind} {place}: {found:?}");
        }
    }

    fn deployment(arguments: Value) -> Manifest {
        let template = json!({"spec": {"containers": [{"name": "agent", "image": "agent:2", "args": arguments}]}});
        let metadata = json!({"name": "tk8s-agent", "namespace": "tk8s-system"});
        let object = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata, "spec": {"template": template}});
        Manifest::new(object, Origin::default()).unwrap()
    }

    #[test]
    fn its_deployment_is_released_with_its_trial_only_and_nothing_else_is_called_so() {
        let untried = |objects: &[Manifest]| own().untried(|| objects.iter()).map(|(key, why)| (key.kind.clone(), why));
        let next = deployment(json!(["run", "--config", "a"]));
        let trial = tk8s_core::trial(&next).unwrap();
        assert_eq!(untried(&[next.clone(), trial.clone()]), None);
        assert_eq!(untried(&[]), None);
        let (kind, why) = untried(std::slice::from_ref(&next)).unwrap();
        assert!(kind == "Deployment" && why.contains("`installation.deployment`"), "{why}");
        let other = tk8s_core::trial(&deployment(json!(["run", "--config", "b"]))).unwrap();
        assert_eq!(untried(&[next, other]).unwrap().0, "Deployment");
        let (kind, why) = untried(std::slice::from_ref(&trial)).unwrap();
        assert!(kind == "Job" && why.contains("only the agent makes"), "{why}");
        let (_, why) = untried(&[deployment(json!(["sleep"])), trial]).unwrap();
        assert!(why.contains("`args: [run, ...]`"), "{why}");
    }

    #[test]
    fn its_resource_its_rights_and_its_policies_may_not_be_touched_wherever_they_are() {
        for (api_version, kind, place, free) in [
            ("apiextensions.k8s.io/v1", "CustomResourceDefinition", "components.agent.tk8s.io", false),
            ("apiextensions.k8s.io/v1", "CustomResourceDefinition", "components.example.com", true),
            ("agent.tk8s.io/v1alpha1", "Component", "shop/web", false),
            (RBAC_V1, "ClusterRole", "tk8s-agent", false),
            (RBAC_V1, "ClusterRoleBinding", "tk8s-agent:reader", false),
            (RBAC_V1, "ClusterRoleBinding", "agent", false),
            (RBAC_V1, "ClusterRole", "tk8s-agents", true),
            ("admissionregistration.k8s.io/v1", "ValidatingAdmissionPolicy", "tk8s-agent-limits", false),
            ("admissionregistration.k8s.io/v1", "ValidatingAdmissionPolicyBinding", "tk8s-agent-limits", false),
            ("networking.k8s.io/v1", "NetworkPolicy", "edge/agent-egress", false),
            ("networking.k8s.io/v1", "NetworkPolicy", "shop/agent-egress", true),
        ] {
            let found = refused(api_version, kind, place, json!({}));
            assert_eq!(found.is_none(), free, "{kind} {place}: {found:?}");
        }
    }

    #[test]
    fn no_binding_may_give_the_agent_more_rights() {
        let binding = |kind: &str, place: &str, subject: Value| {
            let role = json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "admin"});
            refused(RBAC_V1, kind, place, json!({"roleRef": role, "subjects": [{"kind": "User", "name": "bob"}, subject]}))
        };
        let account = |namespace: &str, name: &str| json!({"kind": "ServiceAccount", "name": name, "namespace": namespace});
        let named = |kind: &str, name: &str| json!({"kind": kind, "name": name});
        for (place, subject, free) in [
            ("all", account("tk8s-system", "agent"), false),
            ("all", account("shop", "agent"), true),
            ("all", account("tk8s-system", "other"), true),
            ("all", named("User", "system:serviceaccount:tk8s-system:agent"), false),
            ("all", named("User", "alice"), true),
            ("all", named("Group", "system:serviceaccounts:tk8s-system"), false),
            ("all", named("Group", "system:serviceaccounts"), false),
            ("all", named("Group", "system:authenticated"), false),
            ("all", named("Group", "system:serviceaccounts:shop"), true),
            ("all", json!("nonsense"), true),
        ] {
            let found = binding("ClusterRoleBinding", place, subject.clone());
            assert_eq!(found.is_none(), free, "{subject}: {found:?}");
            let found = binding("RoleBinding", "shop/all", subject.clone());
            assert_eq!(found.is_none(), free, "{subject}: {found:?}");
        }
    }

    #[test]
    fn no_role_may_let_others_act_as_the_agent() {
        let role = |kind: &str, place: &str, rule: Value| refused(RBAC_V1, kind, place, json!({"rules": [rule]}));
        for (rule, free) in [
            (json!({"verbs": ["impersonate"], "resources": ["serviceaccounts"], "apiGroups": [""]}), false),
            (json!({"verbs": ["impersonate:serviceaccount"], "resources": ["serviceaccounts"]}), false),
            (json!({"verbs": ["impersonate"], "resources": ["serviceaccounts"], "resourceNames": ["agent"]}), false),
            (json!({"verbs": ["impersonate"], "resources": ["serviceaccounts"], "resourceNames": ["deployer"]}), true),
            (json!({"verbs": ["impersonate"], "resources": ["users", "groups"]}), true),
            (json!({"verbs": ["create"], "resources": ["serviceaccounts/token"]}), false),
            (json!({"verbs": ["create"], "resources": ["serviceaccounts"]}), true),
            (json!({"verbs": ["*"], "resources": ["*"]}), true),
            (json!([]), true),
        ] {
            let found = role("ClusterRole", "x", rule.clone());
            assert_eq!(found.is_none(), free, "{rule}: {found:?}");
            assert!(role("Role", "shop/x", rule).is_none(), "it reaches no further than `shop`");
        }
    }

    #[test]
    fn of_an_unknown_account_only_names_are_protected() {
        let own = Own { user: Some("alice".into()), ..Own::default() };
        let refuses = |object: Value| own.refuses(&Manifest::new(object, Origin::default()).unwrap()).is_some();
        let binding = |name: &str| {
            json!({"apiVersion": RBAC_V1, "kind": "ClusterRoleBinding", "metadata": {"name": "x"},
                "subjects": [{"kind": "User", "name": name}]})
        };
        assert!(refuses(binding("alice")) && !refuses(binding("bob")));
        assert!(!refuses(json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "x", "namespace": "default"}})));
        assert!(refuses(json!({"apiVersion": RBAC_V1, "kind": "ClusterRole", "metadata": {"name": "tk8s-agent"}})));
    }
}
