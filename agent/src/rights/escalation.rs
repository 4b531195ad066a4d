//! Who writes roles and bindings hands out rights. Kubernetes lets him if he has them himself; else he needs `escalate` on the
//! role, or `bind`, with which he can give himself whatever the role says. That is never granted in passing.
//!
//! There is one `bind` that gives nobody more: on a role that comes with its binding, is written by the same hand, and gives
//! what that hand has. The API server needs it, because it can't look at a role that is not there yet.
//!
//! Pure, and cautious: of a role that the platform does not bring nobody here knows what it gives.

use std::fmt;

use serde_json::Value;
use tk8s_core::{ComponentName, printable};

use super::{Holder, Reach, Rights, Rule, Wanted};

/// A right that somebody would need to give rights that he does not have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lacking {
    pub holder: Holder,
    pub reach: Reach,
    pub verb: &'static str,
    /// `roles` or `clusterroles`.
    pub resource: &'static str,
    pub name: String,
    pub component: ComponentName,
    /// What gives rights, and what is missing.
    pub why: String,
}

impl fmt::Display for Lacking {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let who = match &self.holder {
            Holder::Agent => "the agent".to_owned(),
            Holder::Account(account) => account.to_string(),
        };
        let Lacking { verb, resource, component, why, .. } = self;
        let name = printable(&self.name, 100);
        write!(
            f,
            "{component}: Kubernetes will refuse {why}: give {who} that right by hand, or `{verb}` on `{name}` of {resource} with `--allow-escalation`"
        )
    }
}

/// Everything in the platform that gives more than whoever writes it has.
pub(super) fn lacking(rights: &Rights, wanted: &[Wanted]) -> Vec<Lacking> {
    let mut found: Vec<Lacking> = wanted.iter().filter_map(|object| of(rights, wanted, object)).collect();
    found.sort_by(|a, b| (&a.holder, &a.reach, a.verb, &a.name).cmp(&(&b.holder, &b.reach, b.verb, &b.name)));
    found
}

/// What a binding is about: `roles` or `clusterroles`, the name, and the role itself if the platform brings it.
fn bound<'a>(wanted: &'a [Wanted], object: &Wanted) -> Option<(&'static str, String, Option<&'a Wanted>)> {
    let content = object.gives.as_ref().filter(|_| ["RoleBinding", "ClusterRoleBinding"].contains(&object.kind.as_str()))?;
    let text = |pointer: &str| content.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    let (kind, name) = (text("/roleRef/kind"), text("/roleRef/name"));
    let resource = if kind == "Role" { "roles" } else { "clusterroles" };
    let is_meant = |other: &&Wanted| {
        other.gives.is_some()
            && other.kind == kind
            && other.name == name
            && (kind == "ClusterRole" || other.namespace == object.namespace)
    };
    Some((resource, name.to_owned(), wanted.iter().find(is_meant)))
}

/// The role that a binding comes with, if it is written by the same hand and gives no more than that has: which, and by which
/// of `roles` and `clusterroles`.
pub(super) fn comes_with_its_role(rights: &Rights, wanted: &[Wanted], object: &Wanted) -> Option<(&'static str, String)> {
    let (resource, name, role) = bound(wanted, object)?;
    let role = role.filter(|role| role.component == object.component && role.account == object.account)?;
    missing(rights, &object.holder(), &object.reach(), role.gives.as_ref()?).is_none().then_some((resource, name))
}

fn of(rights: &Rights, wanted: &[Wanted], object: &Wanted) -> Option<Lacking> {
    let content = object.gives.as_ref()?;
    let (holder, reach) = (object.holder(), object.reach());
    let shown = format!("{} {}", object.kind, printable(&object.name, 100));
    let (verb, resource, name, missing) = match object.kind.as_str() {
        "Role" | "ClusterRole" => {
            let resource = if object.kind == "Role" { "roles" } else { "clusterroles" };
            ("escalate", resource, object.name.clone(), missing(rights, &holder, &reach, content)?)
        }
        "RoleBinding" | "ClusterRoleBinding" => {
            let (resource, name, role) = bound(wanted, object)?;
            let missing = match role {
                Some(role) => missing(rights, &holder, &reach, role.gives.as_ref()?)?,
                None => format!("what a role says that is not part of the platform, `{}` of {resource}", printable(&name, 100)),
            };
            ("bind", resource, name, missing)
        }
        _ => return None,
    };
    let why = format!("{shown}: it gives {missing}, which its writer is not known to have");
    Some(Lacking { holder, reach, verb, resource, name, component: object.component.clone(), why })
}

/// The first thing that a role gives and its writer does not have.
fn missing(rights: &Rights, holder: &Holder, reach: &Reach, role: &Value) -> Option<String> {
    if role.get("aggregationRule").is_some_and(|rule| !rule.is_null()) {
        return Some("what other roles give (`aggregationRule`)".into());
    }
    let places = [(holder.clone(), Reach::Cluster), (holder.clone(), reach.clone())];
    let has: Vec<Rule> = places.iter().filter_map(|place| rights.grants.get(place)).flat_map(|rules| rules.rules()).collect();
    let rules = role.get("rules").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    rules.iter().find_map(|rule| {
        let texts = |field: &str| -> Vec<String> {
            let texts = rule.get(field).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
            texts.iter().filter_map(Value::as_str).map(String::from).collect()
        };
        if let Some(url) = texts("nonResourceURLs").first() {
            return Some(format!("the URL {}", printable(url, 100)));
        }
        let (groups, resources, verbs, names) = (texts("apiGroups"), texts("resources"), texts("verbs"), texts("resourceNames"));
        let names: Vec<Option<&String>> = if names.is_empty() { vec![None] } else { names.iter().map(Some).collect() };
        let mut each = groups.iter().flat_map(|group| resources.iter().map(move |resource| (group, resource)));
        each.find_map(|(group, resource)| {
            let mut each = verbs.iter().flat_map(|verb| names.iter().map(move |name| (verb, *name)));
            let lacks = each.find(|(verb, name)| !has.iter().any(|rule| covers(rule, group, resource, verb, *name)));
            lacks.map(|(verb, _)| printable(&format!("`{verb}` on {resource}"), 200))
        })
    })
}

fn covers(rule: &Rule, group: &String, resource: &String, verb: &String, name: Option<&String>) -> bool {
    let about = rule.api_groups.contains(group) && rule.resources.contains(resource) && rule.verbs.contains(verb);
    about && (rule.resource_names.is_empty() || name.is_some_and(|name| rule.resource_names.contains(name)))
}
