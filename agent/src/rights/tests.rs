use serde_json::json;
use tk8s_core::Origin;

use super::*;

fn installation(scope: Scope) -> Installation {
    Installation { account: "tk8s-system/tk8s-agent".parse().unwrap(), instance: "tk8s".parse().unwrap(), scope }
}

fn object(component: &str, account: Option<&str>, object: Value) -> Wanted {
    let manifest = Manifest::new(object, Origin { file: "all.yaml".into(), line: 1 }).unwrap();
    let account = account.map(|account| account.parse().unwrap());
    let kinds = Kinds::known(&[]);
    Wanted::new(&component.parse().unwrap(), account.as_ref(), &manifest, kinds.of(&manifest).unwrap())
}

fn of(component: &str, account: Option<&str>, api_version: &str, kind: &str, at: &str) -> Wanted {
    let metadata = match at.split_once('/') {
        Some((namespace, name)) => json!({"name": name, "namespace": namespace}),
        None => json!({"name": at}),
    };
    object(component, account, json!({"apiVersion": api_version, "kind": kind, "metadata": metadata}))
}

const DEPLOYER: Option<&str> = Some("shop/deployer");

fn shop() -> Vec<Wanted> {
    vec![
        of("web", DEPLOYER, "v1", "ConfigMap", "shop/settings"),
        of("web", DEPLOYER, "apps/v1", "Deployment", "shop/web"),
        of("keys", DEPLOYER, "v1", "Secret", "shop/key"),
        of("spaces", None, "v1", "Namespace", "shop"),
    ]
}

/// The rules of somebody in one place: `verbs resources names`.
fn rules(rights: &Rights, holder: &str, place: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (who, reach, rules) in rights.grants() {
        let who = if let Holder::Account(account) = who { account.to_string() } else { "agent".into() };
        let at = if let Reach::Namespace(namespace) = reach { namespace.clone() } else { String::new() };
        if who == holder && at == place {
            let names = |rule: &Rule| {
                if rule.resource_names.is_empty() { String::new() } else { format!(" {}", rule.resource_names.join(",")) }
            };
            found
                .extend(rules.iter().map(|rule| format!("{} {}{}", rule.verbs.join(","), rule.resources.join(","), names(rule))));
        }
    }
    found
}

#[test]
fn an_account_gets_what_its_components_write_where_they_write_it_and_the_agent_looks() {
    let rights = Rights::of(installation(Scope::default()), &shop(), Options::default());
    let writes = "get,create,patch,delete";
    assert_eq!(
        rules(&rights, "shop/deployer", "shop"),
        [format!("{writes} configmaps"), format!("{writes} secrets"), format!("{writes} deployments")]
    );
    assert_eq!(rules(&rights, "shop/deployer", ""), [""; 0], "it writes nothing elsewhere");
    // What has no account is written by the agent; of what is in no namespace by name.
    let everywhere = rules(&rights, "agent", "");
    assert!(everywhere.contains(&format!("{writes} namespaces shop")), "{everywhere:?}");
    for kind in ["configmaps", "secrets", "deployments", "namespaces"] {
        assert!(everywhere.contains(&format!("get,list,watch {kind}")), "{everywhere:?}");
    }
    assert!(!everywhere.iter().any(|rule| rule.starts_with(writes) && !rule.ends_with("namespaces shop")), "{everywhere:?}");
    assert_eq!(
        rules(&rights, "agent", "shop"),
        ["list events", "list pods", "get pods/log", "impersonate serviceaccounts deployer", "list replicasets"]
    );
}

#[test]
fn without_secrets_and_in_some_namespaces_the_agent_may_look_at_no_more_than_that() {
    let without = Rights::of(installation(Scope::new(false, None)), &shop(), Options::default());
    assert!(!rules(&without, "agent", "").iter().any(|rule| rule.contains("secrets")));
    assert!(rules(&without, "shop/deployer", "shop").iter().any(|rule| rule.ends_with(" secrets")));
    let scope = Scope::new(true, Some(["bank".into(), "shop".into()].into()));
    let some = Rights::of(installation(scope), &shop()[..3], Options::default());
    assert!(!rules(&some, "agent", "").iter().any(|rule| rule.contains("watch")), "{:?}", rules(&some, "agent", ""));
    for namespace in ["bank", "shop"] {
        assert!(rules(&some, "agent", namespace).contains(&"get,list,watch secrets".into()), "{namespace}");
    }
}

#[test]
fn constrained_the_agent_may_do_in_an_accounts_name_what_is_done_in_it() {
    let rights = Rights::of(installation(Scope::default()), &shop(), Options { constrained: true, ..Options::default() });
    let in_shop = rules(&rights, "agent", "shop");
    let on = "impersonate-on:serviceaccount:get,impersonate-on:serviceaccount:patch,impersonate-on:serviceaccount:delete";
    for rule in
        ["impersonate:serviceaccount serviceaccounts deployer".to_owned(), format!("{on} secrets"), format!("{on} deployments")]
    {
        assert!(in_shop.contains(&rule), "{rule}: {in_shop:?}");
    }
    assert!(!in_shop.iter().any(|rule| rule.starts_with("impersonate ")), "{in_shop:?}");
}

#[test]
fn nobody_may_give_rights_that_he_does_not_have_unless_a_person_says_so() {
    let role = |name: &str, verb: &str| {
        object(
            "web",
            DEPLOYER,
            json!({
                "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": {"name": name, "namespace": "shop"},
                "rules": [{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get", verb]}],
            }),
        )
    };
    let binding = |kind: &str, name: &str| {
        object(
            "web",
            DEPLOYER,
            json!({
                "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": {"name": name, "namespace": "shop"},
                "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": name}, "subjects": [],
            }),
        )
    };
    let wanted = || {
        let mut all = shop();
        all.extend([
            role("reader", "patch"),
            role("watcher", "watch"),
            binding("Role", "reader"),
            binding("ClusterRole", "admin"),
        ]);
        all
    };
    let rights = Rights::of(installation(Scope::default()), &wanted(), Options::default());
    let lacking: Vec<_> = rights.lacking().iter().map(|lacking| format!("{} {}", lacking.verb, lacking.name)).collect();
    assert_eq!(lacking, ["bind admin", "escalate watcher"], "a reader may read and change ConfigMaps, as its writer may");
    let in_shop = rules(&rights, "shop/deployer", "shop");
    let given: Vec<_> = in_shop.iter().filter(|rule| rule.starts_with("bind") || rule.starts_with("escalate")).collect();
    assert_eq!(given, ["bind roles reader"], "it is bound before it is there");
    assert!(rights.lacking()[1].to_string().contains("`watch` on configmaps"), "{}", rights.lacking()[1]);
    let text = manifests(&rights);
    assert!(
        text.contains("# NOT GRANTED: web: Kubernetes will refuse Role watcher") && !text.contains("verbs: [escalate]"),
        "{text}"
    );
    let allowed = Rights::of(installation(Scope::default()), &wanted(), Options { allow_escalation: true, ..Options::default() });
    assert!(allowed.lacking().is_empty());
    let text = manifests(&allowed);
    assert!(
        text.contains("  # MAY GIVE RIGHTS THAT IT DOES NOT HAVE: web\n  - {apiGroups: [rbac.authorization.k8s.io], resources: [roles], resourceNames: [watcher], verbs: [escalate]}"),
        "{text}"
    );
}

#[test]
fn the_manifests_are_yaml_that_says_what_each_rule_is_for_and_the_same_each_time() {
    let rights = || Rights::of(installation(Scope::default()), &shop(), Options::default());
    let text = manifests(&rights());
    assert_eq!(text, manifests(&rights()));
    let documents: Vec<Value> =
        serde_yaml::Deserializer::from_str(&text).map(|document| serde::Deserialize::deserialize(document).unwrap()).collect();
    let named = |kind: &str| documents.iter().filter(|document| document["kind"] == kind).count();
    assert_eq!((named("Namespace"), named("ServiceAccount"), named("ClusterRole"), named("Role")), (2, 2, 1, 3), "{text}");
    assert!(
        text.contains("  # applies: keys\n  - {apiGroups: [\"\"], resources: [secrets], verbs: [get, create, patch, delete]}"),
        "{text}"
    );
    assert!(!text.contains('*'), "{text}");
    let rules = documents.iter().filter_map(|document| document["rules"].as_array()).flatten().count();
    assert_eq!(text.matches("  # ").count(), rules);
}

#[test]
fn what_could_be_taken_for_something_else_is_quoted() {
    let name = "a: {b}, 'c' # d";
    let odd = of("web", None, "v1", "Namespace", "true");
    let other = Wanted { name: name.into(), ..of("web", None, "v1", "Namespace", "x") };
    let text = manifests(&Rights::of(installation(Scope::default()), &[odd, other], Options::default()));
    let documents =
        serde_yaml::Deserializer::from_str(&text).map(|document| <Value as serde::Deserialize>::deserialize(document).unwrap());
    let names: Vec<_> = documents.flat_map(|document| document["rules"].as_array().cloned().unwrap_or_default()).collect();
    assert!(names.iter().any(|rule| rule["resourceNames"] == json!([name, "true"])), "{text}");
}

#[test]
fn an_account_that_the_platform_brings_itself_is_not_made_besides() {
    let mut wanted = shop();
    wanted.push(of("web", DEPLOYER, "v1", "ServiceAccount", "shop/deployer"));
    let rights = Rights::of(installation(Scope::default()), &wanted, Options::default());
    assert_eq!(manifests(&rights).matches("kind: ServiceAccount\n").count(), 1, "the agent's");
    assert!(rules(&rights, "agent", "shop").contains(&"impersonate serviceaccounts deployer".into()));
    // Nor is the agent's own made twice, which would take its token away.
    let own = [of("web", Some("tk8s-system/tk8s-agent"), "v1", "ConfigMap", "shop/a")];
    let text = manifests(&Rights::of(installation(Scope::default()), &own, Options::default()));
    assert_eq!((text.matches("kind: ServiceAccount\n").count(), text.contains("automount")), (1, false), "{text}");
}

#[test]
fn what_a_role_is_called_writes_no_lines_of_its_own() {
    let binding = object(
        "web",
        DEPLOYER,
        json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": {"name": "a", "namespace": "shop"},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "x\n---\nkind: Secret"},
        }),
    );
    let rights = Rights::of(installation(Scope::default()), &[binding], Options::default());
    assert!(!rights.lacking()[0].to_string().contains('\n'), "{}", rights.lacking()[0]);
    assert!(!manifests(&rights).contains("kind: Secret\n"));
}

#[test]
fn the_chart_gets_the_rules_that_it_does_not_have_by_itself() {
    let values: Value =
        serde_yaml::from_str(&chart_values(&Rights::of(installation(Scope::default()), &shop(), Options::default()))).unwrap();
    let rbac = &values["rbac"];
    let resources = |rules: &Value| -> Vec<String> {
        rules.as_array().unwrap().iter().map(|rule| rule["resources"][0].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(resources(&rbac["agent"]), ["configmaps", "namespaces", "namespaces", "secrets", "deployments"]);
    assert_eq!(rbac["agentIn"][0]["namespaces"], json!(["shop"]));
    assert_eq!(resources(&rbac["agentIn"][0]["rules"]), ["events", "pods", "pods/log", "replicasets"]);
    let account = &rbac["accounts"][0];
    assert_eq!(
        (&account["name"], &account["namespace"], &account["namespaces"]),
        (&json!("deployer"), &json!("shop"), &json!(["shop"]))
    );
    assert_eq!(resources(&account["rules"]), ["configmaps", "secrets", "deployments"]);
}

#[test]
fn what_the_agent_needs_anyway_is_about_its_own_objects() {
    let rights = Rights::own(installation(Scope::default()));
    assert_eq!(
        rules(&rights, "agent", "tk8s-system"),
        [
            "create configmaps",
            "get,update configmaps tk8s-agent-tk8s",
            "get,update configmaps tk8s-agent-tk8s-api",
            "get,list,create,update,delete components",
            "update components/status",
            "create leases",
            "get,update leases tk8s-agent-tk8s",
            "create,patch events",
        ]
    );
    assert_eq!(
        rules(&rights, "agent", ""),
        [
            "get,list,create,patch customresourcedefinitions components.agent.tk8s.io",
            "create tokenreviews",
            "create subjectaccessreviews",
        ]
    );
}
