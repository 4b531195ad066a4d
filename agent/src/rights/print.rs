//! Rights as people and programs take them: manifests for `kubectl apply`, values for the chart, JSON.
//!
//! The manifests are text and not made by a YAML library, because each rule has a comment that says what it is for. Whatever
//! comes from the platform is quoted unless it is plainly a word.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use serde_json::{Value, json};
use tk8s_core::{ServiceAccount, printable};

use super::{About, For, Holder, Reach, Rights, Rule, Rules};

/// Everything, as `kubectl apply --server-side -f -` takes it.
pub fn manifests(rights: &Rights) -> String {
    let mut text = String::new();
    let account = &rights.installation.account;
    line(&mut text, &format!("# The rights of the agent {account}, and of the accounts that it acts for."));
    for lacking in &rights.lacking {
        line(&mut text, &format!("# NOT GRANTED: {}", printable(&lacking.to_string(), 1000)));
    }
    for namespace in namespaces(rights) {
        document(&mut text, "v1", "Namespace", &format!("{{name: {}}}", word(&namespace)));
    }
    for account in [account].into_iter().chain(&rights.accounts) {
        let metadata = format!("{{name: {}, namespace: {}}}", word(account.name()), word(account.namespace()));
        document(&mut text, "v1", "ServiceAccount", &metadata);
        if account != &rights.installation.account {
            line(&mut text, "# No Pod runs as it.");
            line(&mut text, "automountServiceAccountToken: false");
        }
    }
    for (holder, reach, rules) in rights.grants() {
        let name = rights.name_for(holder);
        let (role, metadata) = match reach {
            Reach::Cluster => ("ClusterRole", format!("{{name: {}}}", word(&name))),
            Reach::Namespace(namespace) => ("Role", format!("{{name: {}, namespace: {}}}", word(&name), word(namespace))),
        };
        let to = match holder {
            Holder::Agent => &rights.installation.account,
            Holder::Account(account) => account,
        };
        document(&mut text, "rbac.authorization.k8s.io/v1", role, &metadata);
        line(&mut text, "rules:");
        rules.iter().for_each(|rule| commented(&mut text, 2, rule));
        document(&mut text, "rbac.authorization.k8s.io/v1", &format!("{role}Binding"), &metadata);
        let name = word(&name);
        line(&mut text, &format!("roleRef: {{apiGroup: rbac.authorization.k8s.io, kind: {role}, name: {name}}}"));
        let (name, namespace) = (word(to.name()), word(to.namespace()));
        line(&mut text, &format!("subjects: [{{kind: ServiceAccount, name: {name}, namespace: {namespace}}}]"));
    }
    text
}

/// Namespaces that have to be there before these objects can be, but for those that every cluster has.
fn namespaces(rights: &Rights) -> BTreeSet<String> {
    let of_accounts = [&rights.installation.account].into_iter().chain(&rights.accounts).map(ServiceAccount::namespace);
    let of_grants = rights.grants.keys().filter_map(|(_, reach)| match reach {
        Reach::Namespace(namespace) => Some(namespace.as_str()),
        Reach::Cluster => None,
    });
    let all = of_accounts.chain(of_grants).filter(|name| *name != "default" && !name.starts_with("kube-"));
    all.map(String::from).collect()
}

fn document(text: &mut String, api_version: &str, kind: &str, metadata: &str) {
    line(text, &format!("---\napiVersion: {api_version}\nkind: {kind}\nmetadata: {metadata}"));
}

fn commented(text: &mut String, indent: usize, rule: &Rule) {
    let indent = " ".repeat(indent);
    line(text, &format!("{indent}# {}", printable(&rule.why, 300)));
    let Rule { api_groups, resources, resource_names, verbs, .. } = rule;
    let names = if resource_names.is_empty() { String::new() } else { format!(", resourceNames: {}", words(resource_names)) };
    let (groups, resources, verbs) = (words(api_groups), words(resources), words(verbs));
    line(text, &format!("{indent}- {{apiGroups: {groups}, resources: {resources}{names}, verbs: {verbs}}}"));
}

fn line(text: &mut String, line: &str) {
    writeln!(text, "{line}").expect("because a String takes everything");
}

fn words(all: &[impl AsRef<str>]) -> String {
    format!("[{}]", all.iter().map(|text| word(text.as_ref())).collect::<Vec<_>>().join(", "))
}

/// As YAML reads it as this text and nothing else.
fn word(text: &str) -> String {
    let starts_plain = text.bytes().next().is_some_and(|byte| byte.is_ascii_alphabetic());
    let is_plain = starts_plain && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-./".contains(&byte));
    // Words that some reader of YAML takes for something else.
    let means_something =
        ["true", "false", "yes", "no", "on", "off", "null", "y", "n"].contains(&text.to_ascii_lowercase().as_str());
    match is_plain && !means_something {
        true => text.into(),
        false => Value::from(text).to_string(),
    }
}

/// Everything, for programs.
pub fn view(rights: &Rights) -> Value {
    let grants = rights.grants().map(|(holder, reach, rules)| {
        let (account, is_agent) = match holder {
            Holder::Agent => (&rights.installation.account, true),
            Holder::Account(account) => (account, false),
        };
        let namespace = match reach {
            Reach::Cluster => None,
            Reach::Namespace(namespace) => Some(namespace),
        };
        let rules = rules.iter().map(|rule| {
            let mut value = json!(rule);
            value["why"] = json!(rule.why);
            value
        });
        json!({"account": account, "agent": is_agent, "namespace": namespace, "rules": rules.collect::<Vec<_>>()})
    });
    let lacking: Vec<_> = rights.lacking.iter().map(ToString::to_string).collect();
    json!({"agent": rights.installation.account, "accounts": rights.accounts, "grants": grants.collect::<Vec<_>>(), "lacking": lacking})
}

/// The `rbac` of the chart's values, without what the chart grants by itself: what the agent keeps of itself, and acting for
/// accounts. An account has the same rules in each of its namespaces there; the manifests are exact.
pub fn chart_values(rights: &Rights) -> String {
    let (mut everywhere, mut places): (_, Vec<(Vec<&str>, Vec<Rule>)>) = (Vec::new(), Vec::new());
    let mut accounts: BTreeMap<&ServiceAccount, (Vec<&str>, Rules, Rules)> = BTreeMap::new();
    for ((holder, reach), rules) in &rights.grants {
        match (holder, reach) {
            (Holder::Agent, Reach::Cluster) => everywhere = of_platform(rules),
            (Holder::Agent, Reach::Namespace(namespace)) => {
                let found = of_platform(rules);
                match places.iter_mut().find(|(_, rules)| *rules == found) {
                    Some((namespaces, _)) => namespaces.push(namespace),
                    None if found.is_empty() => {}
                    None => places.push((vec![namespace], found)),
                }
            }
            (Holder::Account(account), Reach::Cluster) => accounts.entry(account).or_default().2.take(rules),
            (Holder::Account(account), Reach::Namespace(namespace)) => {
                let (namespaces, all, _) = accounts.entry(account).or_default();
                namespaces.push(namespace);
                all.take(rules);
            }
        }
    }
    let mut text = "rbac:\n".to_owned();
    list(&mut text, "  agent", &everywhere);
    if !places.is_empty() {
        line(&mut text, "  agentIn:");
    }
    for (namespaces, rules) in &places {
        line(&mut text, &format!("    - namespaces: {}", words(namespaces)));
        list(&mut text, "      rules", rules);
    }
    line(&mut text, if accounts.is_empty() { "  accounts: []" } else { "  accounts:" });
    for (account, (namespaces, rules, cluster_rules)) in &accounts {
        line(&mut text, &format!("    - name: {}\n      namespace: {}", word(account.name()), word(account.namespace())));
        if !namespaces.is_empty() {
            line(&mut text, &format!("      namespaces: {}", words(namespaces)));
            list(&mut text, "      rules", &rules.rules().collect::<Vec<_>>());
        }
        if !cluster_rules.0.is_empty() {
            list(&mut text, "      clusterRules", &cluster_rules.rules().collect::<Vec<_>>());
        }
    }
    text
}

/// What an installation needs for the platform beside what it has anyway, called as the chart calls it: the same objects, with
/// these labels.
pub fn installed(rights: &Rights, labels: &Value) -> Vec<Value> {
    let name = rights.name();
    let agent = &rights.installation.account;
    let metadata = |name: &str, namespace: Option<&str>| match namespace {
        Some(namespace) => json!({"name": name, "namespace": namespace, "labels": labels}),
        None => json!({"name": name, "labels": labels}),
    };
    let mut objects = Vec::new();
    for namespace in namespaces(rights).into_iter().filter(|namespace| namespace != agent.namespace()) {
        // Whose it is otherwise is the platform's to say: no label is put on it.
        objects.push(json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}}));
    }
    let mut bind = |name: &str, namespace: Option<&str>, rules: &[Rule], to: &ServiceAccount| {
        if rules.is_empty() {
            return;
        }
        let kind = if namespace.is_some() { "Role" } else { "ClusterRole" };
        let api_version = "rbac.authorization.k8s.io/v1";
        objects.push(json!({"apiVersion": api_version, "kind": kind, "metadata": metadata(name, namespace), "rules": rules}));
        objects.push(json!({
            "apiVersion": api_version, "kind": format!("{kind}Binding"), "metadata": metadata(name, namespace),
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": name},
            "subjects": [{"kind": "ServiceAccount", "name": to.name(), "namespace": to.namespace()}],
        }));
    };
    for ((holder, reach), rules) in &rights.grants {
        let namespace = match reach {
            Reach::Cluster => None,
            Reach::Namespace(namespace) => Some(namespace.as_str()),
        };
        match holder {
            Holder::Agent => bind(&format!("{name}-managed"), namespace, &of_platform(rules), agent),
            Holder::Account(account) => {
                let rules: Vec<_> = rules.rules().collect();
                bind(&rights.name_for(&Holder::Account(account.clone())), namespace, &rules, account);
            }
        }
        for (about, to) in rules.0.iter().filter(|(about, _)| about.purpose == super::ACTS) {
            for account in &to.names {
                let role = format!("{name}:{}:{account}:impersonate", namespace.unwrap_or_default());
                let one = For { names: [account.clone()].into(), components: to.components.clone() };
                let rules: Vec<_> = Rules([(about.clone(), one)].into()).rules().collect();
                bind(&role, namespace, &rules, agent);
            }
        }
    }
    let accounts = rights.accounts.iter().map(|account| {
        json!({
            "apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata(account.name(), Some(account.namespace())),
            "automountServiceAccountToken": false,
        })
    });
    // Namespaces, then who is in them, then what they may.
    let at = objects.iter().position(|object| object["kind"] != "Namespace").unwrap_or(objects.len());
    objects.splice(at..at, accounts.collect::<Vec<_>>());
    objects
}

/// What the chart does not grant by itself.
fn of_platform(rules: &Rules) -> Vec<Rule> {
    let is_of_platform = |about: &About, to: &For| !to.components.is_empty() && about.purpose != super::ACTS;
    let found = rules.0.iter().filter(|(about, to)| is_of_platform(about, to));
    Rules(found.map(|(about, to)| (about.clone(), to.clone())).collect()).rules().collect()
}

/// A list of rules under a key that stands as far to the right as it is written.
fn list(text: &mut String, key: &str, rules: &[Rule]) {
    if rules.is_empty() {
        return line(text, &format!("{key}: []"));
    }
    line(text, &format!("{key}:"));
    let indent = key.len() - key.trim_start().len() + 2;
    rules.iter().for_each(|rule| commented(text, indent, rule));
}
