//! The rights that an agent and its accounts need for a platform: those, and no more.
//!
//! Pure: objects in, rules out. Promises: no rule says `*`, each says what it is for, and the same platform gives the same
//! rules in the same order. Who writes what is in no namespace gets it by name, who acts for somebody acts for exactly the
//! accounts that the platform names, and nobody gets a right to hand out rights that he does not have unless a person says so.
//! What it does not do: write them to a cluster. That is for whoever may.

mod escalation;
mod kinds;
mod own;
mod print;

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use serde_json::Value;
use tk8s_core::{ComponentName, InstanceName, Manifest, ServiceAccount};
use tk8s_diff::live::Scope;

pub use escalation::Lacking;
pub use kinds::{Hint, Kinds, Named};
pub use print::{chart_values, installed, manifests, view};

/// What is applied, looked at before and taken away again: as `diff` and `deploy` ask for it.
const WRITES: [&str; 4] = ["get", "create", "patch", "delete"];
/// One watch for each kind, its full check, and one object where a list can't say whether it is there.
const READS: [&str; 3] = ["get", "list", "watch"];
/// What a rule is for that lets the agent act for an account.
const ACTS: &str = "acts for it";
const RBAC: &str = "rbac.authorization.k8s.io";

/// The agent for which rights are made out.
pub struct Installation {
    /// As whom it logs in.
    pub account: ServiceAccount,
    /// Whose Lease and anchor it keeps.
    pub instance: InstanceName,
    /// What it looks at.
    pub scope: Scope,
}

/// What a person decides about them.
#[derive(Clone, Copy, Default)]
pub struct Options {
    /// Whether accounts that write roles and bindings may give rights that they don't have themselves.
    pub allow_escalation: bool,
    /// Whether acting for an account is limited to what is done in its name: Kubernetes 1.36.
    pub constrained: bool,
}

/// One object of the platform.
pub struct Wanted {
    component: ComponentName,
    account: Option<ServiceAccount>,
    kind: String,
    named: Named,
    namespace: Option<String>,
    name: String,
    /// The whole object, where it gives rights.
    gives: Option<Value>,
}

impl Wanted {
    /// An object that a component wants, and as whom.
    pub fn new(component: &ComponentName, account: Option<&ServiceAccount>, manifest: &Manifest, named: &Named) -> Wanted {
        let key = manifest.key();
        Wanted {
            component: component.clone(),
            account: account.cloned(),
            kind: key.kind.clone(),
            named: named.clone(),
            namespace: key.namespace.clone().filter(|_| named.namespaced),
            name: key.name.clone(),
            gives: (key.group == RBAC).then(|| manifest.to_value()),
        }
    }

    fn reach(&self) -> Reach {
        self.namespace.clone().map_or(Reach::Cluster, Reach::Namespace)
    }

    fn holder(&self) -> Holder {
        self.account.clone().map_or(Holder::Agent, Holder::Account)
    }
}

/// Who has rights.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Holder {
    Agent,
    Account(ServiceAccount),
}

/// Where rights count.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reach {
    /// In every namespace, and for what is in none.
    Cluster,
    Namespace(String),
}

/// One rule, and what it is for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Rule {
    pub api_groups: Vec<String>,
    pub resources: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub resource_names: Vec<String>,
    pub verbs: Vec<String>,
    /// What it is for.
    #[serde(skip)]
    pub why: String,
}

/// All rights of an agent and its accounts.
pub struct Rights {
    installation: Installation,
    /// The accounts that have to be there, but for those that the platform brings itself.
    accounts: BTreeSet<ServiceAccount>,
    grants: BTreeMap<(Holder, Reach), Rules>,
    lacking: Vec<Lacking>,
}

/// The rules of one holder in one place, sorted: what they are about leads to whom they are for.
#[derive(Default)]
struct Rules(BTreeMap<About, For>);

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
struct About {
    group: String,
    resource: String,
    verbs: Vec<String>,
    purpose: &'static str,
    /// Whether it is about some objects, by name.
    named: bool,
}

#[derive(Clone, Default)]
struct For {
    names: BTreeSet<String>,
    components: BTreeSet<ComponentName>,
}

impl Rules {
    /// Adds those of another place.
    fn take(&mut self, others: &Rules) {
        for (about, others) in &others.0 {
            let to = self.0.entry(about.clone()).or_default();
            to.names.extend(others.names.iter().cloned());
            to.components.extend(others.components.iter().cloned());
        }
    }

    fn rules(&self) -> impl Iterator<Item = Rule> + '_ {
        self.0.iter().map(|(about, to)| {
            let components: Vec<_> = to.components.iter().map(ComponentName::as_str).collect();
            let whose = if components.is_empty() { String::new() } else { format!(": {}", components.join(", ")) };
            Rule {
                api_groups: vec![about.group.clone()],
                resources: vec![about.resource.clone()],
                resource_names: to.names.iter().cloned().collect(),
                verbs: about.verbs.clone(),
                why: format!("{}{whose}", about.purpose),
            }
        })
    }
}

/// One right, on its way into the rules.
struct Right<'a> {
    group: &'a str,
    resource: &'a str,
    verbs: &'a [&'a str],
    purpose: &'static str,
}

impl Rights {
    /// What the agent needs whatever the platform is.
    pub fn own(installation: Installation) -> Rights {
        let (accounts, grants, lacking) = Default::default();
        let mut rights = Rights { installation, accounts, grants, lacking };
        rights.add_own();
        rights
    }

    /// What the agent and its accounts need for these objects.
    pub fn of(installation: Installation, wanted: &[Wanted], options: Options) -> Rights {
        let mut rights = Rights::own(installation);
        for object in wanted {
            rights.add_write(object);
            rights.add_looks(object);
        }
        rights.lacking = escalation::lacking(&rights, wanted);
        for object in wanted {
            if let Some((resource, name)) = escalation::comes_with_its_role(&rights, wanted, object) {
                let right = Right { group: RBAC, resource, verbs: &["bind"], purpose: "binds what it brings, and has itself" };
                rights.add(object.holder(), object.reach(), right, Some(&name), Some(&object.component));
            }
        }
        if options.allow_escalation {
            for lacking in std::mem::take(&mut rights.lacking) {
                rights.add_escalation(&lacking);
            }
        }
        for object in wanted {
            if let Some(account) = &object.account {
                rights.add_acting(account, &object.component, options.constrained);
            }
        }
        if options.constrained {
            rights.add_what_is_done_in_their_name();
        }
        let brought = |account: &ServiceAccount| {
            wanted.iter().any(|object| {
                object.named.group.is_empty()
                    && object.kind == "ServiceAccount"
                    && object.name == account.name()
                    && object.namespace.as_deref() == Some(account.namespace())
            })
        };
        let agent = rights.installation.account.clone();
        rights.accounts.retain(|account| *account != agent && !brought(account));
        rights
    }

    /// Rights that somebody would need to give, and does not get.
    pub fn lacking(&self) -> &[Lacking] {
        &self.lacking
    }

    /// Whose rights, where, and which.
    pub fn grants(&self) -> impl Iterator<Item = (&Holder, &Reach, Vec<Rule>)> {
        self.grants.iter().map(|((holder, reach), rules)| (holder, reach, rules.rules().collect()))
    }

    fn add(&mut self, holder: Holder, reach: Reach, right: Right<'_>, name: Option<&str>, component: Option<&ComponentName>) {
        let about = About {
            group: right.group.into(),
            resource: right.resource.into(),
            verbs: right.verbs.iter().map(ToString::to_string).collect(),
            purpose: right.purpose,
            named: name.is_some(),
        };
        let to = self.grants.entry((holder, reach)).or_default().0.entry(about).or_default();
        to.names.extend(name.map(String::from));
        to.components.extend(component.cloned());
    }

    /// The agent's, by its own.
    fn add_for_agent(&mut self, reach: Reach, right: Right<'_>, component: &ComponentName) {
        self.add(Holder::Agent, reach, right, None, Some(component));
    }

    fn add_write(&mut self, object: &Wanted) {
        let Named { group, plural, namespaced } = &object.named;
        let right = Right { group, resource: plural, verbs: &WRITES, purpose: "applies" };
        // What is in no namespace reaches far: by name, it is what the platform has and nothing else.
        let name = (!namespaced).then_some(object.name.as_str());
        self.add(object.holder(), object.reach(), right, name, Some(&object.component));
    }

    /// What the agent looks at by itself, whoever writes it.
    fn add_looks(&mut self, object: &Wanted) {
        let (Named { group, plural, .. }, component) = (&object.named, &object.component);
        let everywhere: Vec<Reach> = match self.installation.scope.namespaces() {
            None => vec![Reach::Cluster],
            Some(namespaces) => namespaces.iter().cloned().map(Reach::Namespace).collect(),
        };
        if self.installation.scope.looks_at_kind(group, &object.kind) {
            for reach in &everywhere {
                let right = Right { group, resource: plural, verbs: &READS, purpose: "watches" };
                self.add_for_agent(reach.clone(), right, component);
            }
        }
        if group == RBAC && ["Role", "ClusterRole"].contains(&object.kind.as_str()) {
            let bindings =
                if everywhere == [Reach::Cluster] { &["rolebindings", "clusterrolebindings"][..] } else { &["rolebindings"] };
            for (reach, resource) in everywhere.iter().flat_map(|reach| bindings.iter().map(move |binding| (reach, *binding))) {
                let right = Right { group: RBAC, resource, verbs: &["list"], purpose: "finds out which roles are its own" };
                self.add_for_agent(reach.clone(), right, component);
            }
        }
        for (group, resource, verb) in looked_at_for_causes(group, &object.kind) {
            let purpose = "finds out why something is not healthy";
            self.add_for_agent(object.reach(), Right { group, resource, verbs: &[verb], purpose }, component);
        }
    }

    /// Acting for an account is a right over that account, where it is.
    fn add_acting(&mut self, account: &ServiceAccount, component: &ComponentName, constrained: bool) {
        self.accounts.insert(account.clone());
        let (group, verb) = match constrained {
            true => ("authentication.k8s.io", "impersonate:serviceaccount"),
            false => ("", "impersonate"),
        };
        let right = Right { group, resource: "serviceaccounts", verbs: &[verb], purpose: ACTS };
        let reach = Reach::Namespace(account.namespace().into());
        self.add(Holder::Agent, reach, right, Some(account.name()), Some(component));
    }

    fn add_what_is_done_in_their_name(&mut self) {
        let of_accounts = self.grants.iter().filter(|((holder, _), _)| *holder != Holder::Agent);
        let mut done: BTreeMap<Reach, Rules> = BTreeMap::new();
        for ((_, reach), rules) in of_accounts {
            for (about, to) in &rules.0 {
                // A creation is asked for by `patch`, as every apply is.
                let asked = about.verbs.iter().filter(|verb| ["get", "patch", "delete"].contains(&verb.as_str()));
                let verbs: Vec<_> = asked.map(|verb| format!("impersonate-on:serviceaccount:{verb}")).collect();
                if !verbs.is_empty() {
                    let about = About { verbs, purpose: "does it in the name of an account", ..about.clone() };
                    done.entry(reach.clone()).or_default().take(&Rules([(about, to.clone())].into()));
                }
            }
        }
        for (reach, rules) in done {
            self.grants.entry((Holder::Agent, reach)).or_default().take(&rules);
        }
    }

    fn add_escalation(&mut self, lacking: &Lacking) {
        let Lacking { holder, reach, verb, resource, name, component, .. } = lacking;
        let purpose = "MAY GIVE RIGHTS THAT IT DOES NOT HAVE";
        let right = Right { group: RBAC, resource, verbs: &[verb], purpose };
        self.add(holder.clone(), reach.clone(), right, Some(name), Some(component));
    }
}

/// What `deploy` reads to tell why a workload is not healthy: group, resource, verb.
fn looked_at_for_causes(group: &str, kind: &str) -> Vec<(&'static str, &'static str, &'static str)> {
    let key = tk8s_core::ObjectKey { group: group.into(), kind: kind.into(), namespace: None, name: String::new() };
    let mut looked = Vec::new();
    if tk8s_deploy::has_pods(&key) {
        looked.push(("", "pods/log", "get"));
    }
    if tk8s_deploy::has_pods(&key) && kind != "Pod" {
        looked.extend([("", "pods", "list"), ("", "events", "list")]);
    }
    if kind == "Deployment" && group == "apps" {
        looked.push(("apps", "replicasets", "list"));
    }
    looked
}

#[cfg(test)]
mod tests;
