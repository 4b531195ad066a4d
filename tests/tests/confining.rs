//! As whom the agent writes, what a component may touch, and what nobody may: the whole agent as a service account with the
//! rights that `docs/confinement.md` gives it, on a real API server, which says in its audit log who did what.

#![allow(missing_docs, clippy::unwrap_used)]

#[path = "confining/rights.rs"]
mod rights;

use std::collections::BTreeSet;

use serde_json::Value;
use tk8s_tests::system::System;

/// An agent with an account of its own, and a namespace beside it, `NAME-shop`, that has an account `deployer`.
struct Story {
    system: System,
    shop: String,
}

/// The rights in the documentation.
const RIGHTS: &str = include_str!("../../docs/confinement.md");

fn map(name: &str, at: &str) -> String {
    format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}}}\ndata: {{at: \"{at}\"}}\n---\n")
}

impl Story {
    /// Nothing runs yet.
    async fn new(name: &str) -> Story {
        let story = Story { system: System::new(name).await, shop: format!("{name}-shop") };
        let plane = story.system.plane;
        plane.kubectl(&["create", "namespace", &story.shop]);
        for (namespace, account) in [(name, "tk8s-agent"), (&story.shop, "deployer")] {
            plane.kubectl(&["-n", namespace, "create", "serviceaccount", account]);
        }
        let documented = RIGHTS.split("```yaml\n").find(|block| block.starts_with("apiVersion: rbac")).unwrap();
        let rights = documented.split("```").next().unwrap();
        let rights = rights.replace("namespace: shop", &format!("namespace: {}", story.shop));
        let rights = rights.replace("namespace: tk8s-system", &format!("namespace: {name}"));
        plane.apply(&rights.replace("tk8s-agent-reader", &format!("{name}-reader")));
        let token = plane.kubectl(&["-n", name, "create", "token", "tk8s-agent", "--duration=2h"]);
        plane.write_kubeconfig_of(token.trim(), &story.system.file("kubeconfig"));
        story
    }

    /// The agent's user name.
    fn agent(&self) -> String {
        format!("system:serviceaccount:{}:tk8s-agent", self.system.name)
    }

    fn account(&self) -> String {
        format!("system:serviceaccount:{}:deployer", self.shop)
    }

    /// A platform of one component, `web`, whose objects are in the shop, with further keys.
    fn write_platform(&self, keys: &str) {
        let component = format!("{{name: web, path: web, namespace: {}{keys}}}", self.shop);
        let text = format!(
            "apiVersion: tk8s.io/v1alpha1\nkind: Platform\nlayers:\n  - {{number: 0, name: l0, components: [{component}]}}\n"
        );
        self.system.write("tk8s.yaml", &text);
    }

    fn push(&self, objects: &[String]) {
        self.system.write("web/all.yaml", &objects.concat());
        self.system.commit("a change");
    }

    fn get(&self, arguments: &[&str]) -> String {
        self.system.plane.kubectl(&[&["-n", &self.shop, "get", "--ignore-not-found"], arguments].concat())
    }

    fn map(&self, name: &str) -> String {
        self.get(&["configmap", name, "-o", "jsonpath={.data.at}"])
    }

    fn until_map(&self, name: &str, at: &str) {
        self.system.until(&format!("{name} is at {at:?}"), || self.map(name) == at);
    }

    /// What the agent asked for, as itself or for somebody else.
    fn audited(&self) -> Vec<Value> {
        let agent = self.agent();
        let log = std::fs::read_to_string(self.system.plane.audit_log()).unwrap();
        let events = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        events.filter(|event| event["user"]["username"] == agent.as_str()).collect()
    }

    /// What it asked for in the shop: verb, resource, name, and whether it is only tried.
    fn in_the_shop(&self) -> Vec<Value> {
        self.audited().into_iter().filter(|event| event["objectRef"]["namespace"] == self.shop.as_str()).collect()
    }

    fn message(&self) -> String {
        self.system.component("web")["message"].as_str().unwrap_or_default().to_owned()
    }

    /// Waits until it is refused for this reason; with which message.
    fn until_refused(&self, reason: &str) -> String {
        let found = std::cell::RefCell::new(Value::Null);
        self.system.until(&format!("it is refused: {reason}"), || {
            *found.borrow_mut() = self.system.component("web");
            found.borrow()["reason"] == reason
        });
        found.into_inner()["message"].as_str().unwrap_or_default().to_owned()
    }

    /// Waits for a message with these words; all of it.
    fn until_message(&self, words: &str) -> String {
        let found = std::cell::RefCell::new(String::new());
        self.system.until(words, || {
            *found.borrow_mut() = self.message();
            found.borrow().contains(words)
        });
        found.into_inner()
    }
}

/// The end of a message: the command that shows what it is about.
fn shows_it(message: &str) -> Vec<String> {
    let (_, command) = message.rsplit_once("this shows it: kubectl ").unwrap_or_else(|| panic!("{message}"));
    command.split_whitespace().map(String::from).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_write_of_a_component_with_a_service_account_is_made_as_that_account() {
    let mut story = Story::new("acting").await;
    let hook = "apiVersion: batch/v1\nkind: Job\nmetadata: {name: migrate, annotations: {tk8s.io/hook: before-apply}}\nspec:\n  backoffLimit: 0\n  template: {spec: {restartPolicy: Never, containers: [{name: run, image: 'run:1'}]}}\n---\n".to_owned();
    let fixed = |at: &str| {
        format!(
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: fixed, annotations: {{tk8s.io/recreate: \"true\"}}}}\nimmutable: true\ndata: {{at: \"{at}\"}}\n---\n"
        )
    };
    story.write_platform(", serviceAccount: deployer, prune: {budget: {percent: 100}}");
    story.push(&[hook.clone(), map("one", "first"), map("two", "first"), fixed("first")]);
    story.system.start();
    story.system.until_all("Healthy");
    story.system.until("the hook has run", || story.get(&["job", "migrate", "-o", "jsonpath={.status.succeeded}"]) == "1");
    // A change, an object that is made anew, and one that is deleted.
    story.push(&[hook, map("one", "second"), fixed("second")]);
    story.until_map("two", "");
    story.system.until_all("Healthy");
    assert_eq!((story.map("one").as_str(), story.map("fixed").as_str()), ("second", "second"));
    // Drift.
    story.system.plane.kubectl(&["-n", &story.shop, "patch", "configmap", "one", "--type=merge", "-p", r#"{"data":{"at":"x"}}"#]);
    story.until_map("one", "second");
    // A rollback, of a component that has left the platform besides.
    let rolled_back = story.system.tk8s(&["rollback", "web", "--to", "1"]);
    assert!(rolled_back.status.success(), "{}", String::from_utf8_lossy(&rolled_back.stderr));
    story.until_map("two", "first");
    story.system.write("tk8s.yaml", "apiVersion: tk8s.io/v1alpha1\nkind: Platform\nlayers:\n  - {number: 0, name: l0}\n");
    story.system.commit("nothing");
    story.system.until("it has left", || story.system.component("web")["state"] == "Removed");
    let rolled_back = story.system.tk8s(&["rollback", "web", "--to", "2"]);
    assert!(rolled_back.status.success(), "{}", String::from_utf8_lossy(&rolled_back.stderr));
    story.until_map("one", "second");

    let account = story.account();
    let (mut done, mut looked) = (BTreeSet::new(), BTreeSet::new());
    for event in story.in_the_shop() {
        let text = |pointer: &str| event.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
        let tried = if text("/requestURI").contains("dryRun=All") { "try " } else { "" };
        let what = format!("{tried}{} {}/{}", text("/verb"), text("/objectRef/resource"), text("/objectRef/name"));
        let groups = event["impersonatedUser"]["groups"].as_array().cloned().unwrap_or_default();
        let of_shop = format!("system:serviceaccounts:{}", story.shop);
        if ["list", "watch"].contains(&text("/verb")) || what.starts_with("get pods/") {
            assert!(event["impersonatedUser"].is_null(), "{what}: {event}");
            looked.insert(what);
            continue;
        }
        assert_eq!(text("/impersonatedUser/username"), account, "{what}");
        assert_eq!(groups, ["system:serviceaccounts", &of_shop, "system:authenticated"], "{what}");
        done.insert(what);
    }
    for what in [
        "try patch configmaps/one",
        "patch configmaps/one",
        "patch configmaps/two",
        "delete configmaps/two",
        "delete configmaps/fixed",
        "patch configmaps/fixed",
        "get configmaps/fixed",
        "get jobs/migrate",
        "try patch jobs/migrate",
        "patch jobs/migrate",
    ] {
        assert!(done.contains(what), "{what}: {done:?}");
    }
    let watches = story.audited().into_iter().filter(|event| event["verb"] == "watch" && event["impersonatedUser"].is_null());
    assert!(watches.count() > 0, "the watches are the agent's own");
    story.system.stop();
    story.system.check_history();
    assert!(is_written(&story.system.file("history"), &format!("\"account\":\"{}/deployer\"", story.shop)), "the ledger says it");
}

/// Whether a file of a directory holds these words.
fn is_written(directory: &std::path::Path, words: &str) -> bool {
    std::fs::read_dir(directory).unwrap().any(|entry| {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => is_written(&path, words),
            false => String::from_utf8_lossy(&std::fs::read(path).unwrap()).contains(words),
        }
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_without_the_right_is_refused_with_its_name_and_nothing_is_written() {
    let mut story = Story::new("may-not").await;
    let service = "apiVersion: v1\nkind: Secret\nmetadata: {name: key}\nstringData: {key: hunter2}\n---\n".to_owned();
    story.write_platform(", serviceAccount: deployer");
    story.push(&[map("one", "first"), service]);
    story.system.start();
    let message = story.until_refused("Forbidden");
    let account = format!("{}/deployer", story.shop);
    assert!(message.contains(&format!("the service account {account} may not patch Secret {}/key", story.shop)), "{message}");
    assert!(!message.contains("ConfigMap") && !message.contains("hunter2"), "{message}");
    // What it says to run says no.
    let command = shows_it(&message);
    let command: Vec<_> = command.iter().map(String::as_str).collect();
    assert_eq!(command, ["auth", "can-i", "patch", "secrets/key", "-n", &story.shop, &format!("--as={}", story.account())]);
    assert_eq!(story.system.plane.kubectl_with(&command, "").unwrap_err().trim(), "");
    assert_eq!(story.map("one"), "", "nothing is written, not even what could be");
    // Granted, it goes on by itself.
    let shop = &story.shop;
    story.system.plane.kubectl(&["-n", shop, "create", "role", "keys", "--verb=get,create,patch,delete", "--resource=secrets"]);
    story.system.plane.kubectl(&[
        "-n",
        shop,
        "create",
        "rolebinding",
        "keys",
        "--role=keys",
        &format!("--serviceaccount={shop}:deployer"),
    ]);
    story.until_map("one", "first");
    story.system.until_all("Healthy");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_may_not_act_for_an_account_says_that_it_is_the_agent_who_may_not() {
    let mut story = Story::new("no-actor").await;
    story.system.plane.kubectl(&["-n", &story.shop, "delete", "rolebinding", "act-as-deployer"]);
    story.write_platform(", serviceAccount: deployer");
    story.push(&[map("one", "first")]);
    story.system.start();
    let message = story.until_refused("MayNotActAs");
    assert!(message.contains(&format!("the agent ({}) may not act as the service account", story.agent())), "{message}");
    let command = shows_it(&message);
    let command: Vec<_> = command.iter().map(String::as_str).collect();
    let expected = ["auth", "can-i", "impersonate", "serviceaccounts/deployer", "-n", &story.shop];
    assert_eq!(command, [&expected[..], &[&format!("--as={}", story.agent())]].concat());
    assert!(story.system.plane.kubectl_with(&command, "").is_err());
    assert_eq!(story.map("one"), "");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollback_is_made_as_the_account_that_the_platform_names_today() {
    let mut story = Story::new("today").await;
    let shop = story.shop.clone();
    story.write_platform(", serviceAccount: deployer");
    story.push(&[map("one", "first")]);
    story.system.start();
    story.until_map("one", "first");
    story.system.until_all("Healthy");
    // The next one may do less: nothing at all, for now.
    let plane = story.system.plane;
    plane.kubectl(&["-n", &shop, "create", "serviceaccount", "next"]);
    plane.kubectl(&[
        "-n",
        &shop,
        "patch",
        "role",
        "act-as-deployer",
        "--type=json",
        r#"-p=[{"op":"add","path":"/rules/0/resourceNames/-","value":"next"}]"#,
    ]);
    story.write_platform(", serviceAccount: next");
    story.push(&[map("one", "second")]);
    let message = story.until_refused("Forbidden");
    assert!(message.contains(&format!("the service account {shop}/next may not")), "{message}");
    let refused = story.system.tk8s(&["rollback", "web", "--to", "1"]);
    assert!(refused.status.success(), "it is as it was: {}", String::from_utf8_lossy(&refused.stderr));
    plane.kubectl(&["-n", &shop, "patch", "configmap", "one", "--type=merge", "-p", r#"{"data":{"at":"x"}}"#]);
    story.system.until("the repair is refused", || story.message().contains(&format!("{shop}/next may not")));
    assert_eq!(story.map("one"), "x", "the former account does not come back with the former release");
    plane.kubectl(&["-n", &shop, "create", "rolebinding", "next", "--role=deployer", &format!("--serviceaccount={shop}:next")]);
    story.until_map("one", "first");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_lies_outside_of_its_confinement_is_refused_with_the_full_list_before_any_call() {
    let mut story = Story::new("confined").await;
    let shop = story.shop.clone();
    let elsewhere = |name: &str| map(name, "x").replace("{name: ", "{namespace: confined-bank, name: ");
    let role = "apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRole\nmetadata: {name: confined-reader}\nrules: []\n---\n"
        .to_owned();
    let objects = [map("one", "first"), elsewhere("a"), elsewhere("b"), role];
    story.write_platform(&format!(", serviceAccount: deployer, confine: {{namespaces: [{shop}]}}"));
    story.push(&objects);
    // Without a cluster.
    let repository = story.system.file("repository");
    let checked = story.system.tk8s_offline(&["check", repository.to_str().unwrap(), "--output", "json"]);
    let findings: Value = serde_json::from_slice(&checked.stdout).unwrap();
    let rules: Vec<_> = findings.as_array().unwrap().iter().map(|finding| finding["rule"].as_str().unwrap()).collect();
    assert_eq!((checked.status.code(), rules), (Some(1), vec!["OutsideConfinement"; 3]), "{findings}");
    assert!(findings[0]["file"] == "web/all.yaml" && findings[0]["line"].as_u64().is_some(), "{findings}");
    let kubeconfig = story.system.plane.kubeconfig().to_str().unwrap();
    let differs = story.system.tk8s_offline(&["diff", repository.to_str().unwrap(), "--kubeconfig", kubeconfig]);
    let (told, complaints) = (String::from_utf8_lossy(&differs.stdout), String::from_utf8_lossy(&differs.stderr));
    assert_eq!((differs.status.code(), complaints.matches("(OutsideConfinement)").count()), (Some(2), 3), "{complaints}");
    assert!(told.contains("ConfigMap confined-shop/one") && !told.contains("confined-bank"), "{told}");
    // And with one.
    story.system.start();
    let message = story.until_refused("OutsideConfinement");
    for object in
        ["ConfigMap confined-bank/a", "ConfigMap confined-bank/b", "ClusterRole.rbac.authorization.k8s.io confined-reader"]
    {
        assert!(message.contains(&format!("{object} lies outside")), "{message}");
    }
    assert!(!message.contains("/one lies"), "{message}");
    let asked: Vec<_> = story.audited().into_iter().filter(|event| !event["impersonatedUser"].is_null()).collect();
    assert!(asked.is_empty(), "nothing was asked about any of it: {asked:?}");
    // Widened in Git, what waits comes in by itself.
    story.system.plane.kubectl(&["create", "namespace", "confined-bank"]);
    story.system.plane.kubectl(&[
        "-n",
        "confined-bank",
        "create",
        "rolebinding",
        "deployer",
        "--clusterrole=admin",
        &format!("--serviceaccount={shop}:deployer"),
    ]);
    story.write_platform(&format!(", serviceAccount: deployer, confine: {{namespaces: [{shop}, '*-bank'], kinds: [ConfigMap]}}"));
    story.push(&objects[..3]);
    story.system.until_all("Healthy");
    // Narrowed again: what leaves is left.
    story.write_platform(&format!(", serviceAccount: deployer, confine: {{namespaces: [{shop}]}}"));
    story.push(&objects[..1]);
    story.system.until("only one is wanted", || story.system.component("web")["release"] == 3);
    story.system.until_all("Healthy");
    let there = |name: &str| {
        story.system.plane.kubectl(&[
            "-n",
            "confined-bank",
            "get",
            "configmap",
            name,
            "--ignore-not-found",
            "-o",
            "jsonpath={.data.at}",
        ])
    };
    assert_eq!(there("a"), "x");
    // A person gets back what was there, and is told.
    story.system.plane.kubectl(&["-n", "confined-bank", "delete", "configmap", "a"]);
    let planned = story.system.tk8s(&["rollback", "web", "--to", "2", "--dry-run"]);
    let planned = String::from_utf8_lossy(&planned.stdout).into_owned();
    assert!(
        planned.contains("warning: ConfigMap confined-bank/a lies outside")
            && planned.contains("create ConfigMap confined-bank/a"),
        "{planned}"
    );
    let rolled_back = story.system.tk8s(&["rollback", "web", "--to", "2"]);
    assert!(rolled_back.status.success(), "{}", String::from_utf8_lossy(&rolled_back.stderr));
    assert_eq!(there("a"), "x");
    story.system.until_all("Held");
    story.system.plane.kubectl(&["-n", "confined-bank", "delete", "configmap", "b"]);
    story.system.until("it is repaired", || there("b") == "x");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_let_in_by_a_wider_confinement_comes_in_by_itself() {
    let mut story = Story::new("widened").await;
    story.write_platform(", serviceAccount: deployer, confine: {kinds: [Service]}");
    story.push(&[map("one", "first")]);
    story.system.start();
    story.until_refused("OutsideConfinement");
    story.write_platform(", serviceAccount: deployer, confine: {kinds: [Service, ConfigMap]}");
    story.push(&[map("one", "first")]);
    story.until_map("one", "first");
    story.system.until_all("Healthy");
    assert_eq!(story.system.component("web")["release"], 1, "it is the release that waited");
}

#[tokio::test(flavor = "multi_thread")]
async fn while_nobody_knows_the_platform_nothing_new_comes_in_and_nothing_is_written_as_the_agent_itself() {
    let mut story = Story::new("unknown").await;
    let (history, repository, away) =
        (story.system.file("history/view"), story.system.file("repository"), story.system.file("away"));
    // What the platform says is remembered beside the history's view, and goes with it; Git can't be asked either.
    let forget = || {
        std::fs::remove_dir_all(&history).unwrap();
        std::fs::rename(&repository, &away).unwrap();
    };
    story.write_platform(", serviceAccount: deployer, confine: {kinds: [ConfigMap]}");
    story.push(&[map("one", "first")]);
    story.system.variables = vec![("TK8S_CRASH_AT", "P2".into())];
    story.system.start();
    story.system.until_ended();
    story.system.variables.clear();
    forget();
    story.system.start();
    story.until_refused("PlatformUnknown");
    assert_eq!(story.map("one"), "", "it was staged, and let in by nobody");
    std::fs::rename(&away, &repository).unwrap();
    story.until_map("one", "first");
    story.system.until_all("Healthy");
    story.system.stop();
    forget();
    story.system.plane.kubectl(&["-n", &story.shop, "patch", "configmap", "one", "--type=merge", "-p", r#"{"data":{"at":"x"}}"#]);
    story.system.start();
    story.until_map("one", "first");
    let account = story.account();
    let events = story.in_the_shop().into_iter();
    let writes: Vec<_> = events.filter(|event| event["verb"] == "patch" && event["objectRef"]["name"] == "one").collect();
    assert!(
        writes.len() >= 2 && writes.iter().all(|event| event["impersonatedUser"]["username"] == account.as_str()),
        "{writes:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_custom_kind_that_turns_out_to_be_the_cluster_s_is_refused_before_it_is_tried() {
    let mut story = Story::new("custom").await;
    story.system.plane.apply("apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata: {name: rules.custom.example.com}\nspec:\n  group: custom.example.com\n  names: {kind: Rule, plural: rules}\n  scope: Cluster\n  versions: [{name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object}}}]\n");
    story.system.plane.until(
        "True",
        &["get", "crd", "rules.custom.example.com", "-o", r#"jsonpath={.status.conditions[?(@.type=="Established")].status}"#],
    );
    story.write_platform(&format!(", serviceAccount: deployer, confine: {{namespaces: [{}]}}", story.shop));
    story.push(&[
        map("one", "first"),
        "apiVersion: custom.example.com/v1\nkind: Rule\nmetadata: {name: everywhere}\n---\n".into(),
    ]);
    story.system.start();
    let message = story.until_refused("OutsideConfinement");
    assert!(message.contains("Rule.custom.example.com everywhere lies outside"), "{message}");
    let about = |event: &Value| event["objectRef"]["resource"] == "rules" && event["objectRef"]["name"] == "everywhere";
    assert_eq!(story.audited().iter().filter(|event| about(event)).count(), 0);
    assert_eq!(story.map("one"), "");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_agents_own_rights_cannot_be_touched_from_git() {
    let mut story = Story::new("own").await;
    let (agent, shop) = (story.system.name.clone(), story.shop.clone());
    let rbac = |kind: &str, metadata: &str, more: &str| {
        format!("apiVersion: rbac.authorization.k8s.io/v1\nkind: {kind}\nmetadata: {metadata}\n{more}\n---\n")
    };
    let admin = "roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: cluster-admin}\nsubjects: ";
    let bound = |subject: &str| format!("{admin}[{subject}]");
    let of_agent = format!("{{kind: ServiceAccount, name: tk8s-agent, namespace: {agent}}}");
    let impersonate = "rules: [{apiGroups: [''], resources: [serviceaccounts], verbs: [impersonate]}]";
    let own = [
        (rbac("ClusterRoleBinding", "{name: own-admin}", &bound(&of_agent)), "ClusterRoleBinding.rbac.authorization.k8s.io own-admin"),
        (rbac("RoleBinding", "{name: admin}", &bound(&of_agent)), "RoleBinding.rbac.authorization.k8s.io own-shop/admin"),
        (rbac("ClusterRole", "{name: own-impersonator}", impersonate), "ClusterRole.rbac.authorization.k8s.io own-impersonator"),
        (rbac("ClusterRole", "{name: tk8s-agent-reader}", "rules: []"), "ClusterRole.rbac.authorization.k8s.io tk8s-agent-reader"),
        // It is one of its roles.
        (rbac("ClusterRole", "{name: own-reader}", "rules: []"), "ClusterRole.rbac.authorization.k8s.io own-reader"),
        (
            "apiVersion: admissionregistration.k8s.io/v1\nkind: ValidatingAdmissionPolicyBinding\nmetadata: {name: tk8s-agent-limits}\nspec: {policyName: none, validationActions: [Audit]}\n---\n".into(),
            "ValidatingAdmissionPolicyBinding.admissionregistration.k8s.io tk8s-agent-limits",
        ),
        (
            "apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata: {name: components.agent.tk8s.io}\nspec: {}\n---\n".into(),
            "CustomResourceDefinition.apiextensions.k8s.io components.agent.tk8s.io",
        ),
        (
            "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: around-the-agent}\nspec: {podSelector: {}}\n---\n".into(),
            "NetworkPolicy.networking.k8s.io own-shop/around-the-agent",
        ),
    ];
    story.system.more = format!(
        "installation: {{serviceAccount: {agent}/tk8s-agent, deployment: tk8s-agent, objects: [{{kind: NetworkPolicy, name: '*-the-agent'}}]}}"
    );
    story.write_platform(", serviceAccount: deployer");
    let objects: Vec<_> = own.iter().map(|(text, _)| text.clone()).chain([map("one", "first")]).collect();
    story.push(&objects);
    story.system.start();
    let message = story.until_refused("OwnObject");
    for (_, object) in &own {
        assert!(message.contains(&format!("{object} is the agent's own (")), "{object}: {message}");
    }
    assert!(!message.contains("ConfigMap"), "{message}");
    assert!(story.in_the_shop().iter().all(|event| event["impersonatedUser"].is_null()), "nothing was asked about any of it");

    // In its own namespace nothing but its Deployment, which is released like any other.
    let plain = |kind: &str, name: &str| format!("apiVersion: v1\nkind: {kind}\nmetadata: {{name: {name}}}\n---\n");
    let deployment = |name: &str| {
        format!(
            "apiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: {name}}}\nspec:\n  selector: {{matchLabels: {{app: a}}}}\n  template: {{metadata: {{labels: {{app: a}}}}, spec: {{containers: [{{name: a, image: 'agent:2', args: [run]}}]}}}}\n---\n"
        )
    };
    let text = format!(
        "apiVersion: tk8s.io/v1alpha1\nkind: Platform\nlayers:\n  - {{number: 0, name: l0, components: [{{name: web, path: web, namespace: {agent}}}]}}\n"
    );
    story.system.write("tk8s.yaml", &text);
    story.push(&[
        plain("ServiceAccount", "tk8s-agent"),
        plain("ConfigMap", "settings"),
        deployment("shell"),
        deployment("tk8s-agent"),
    ]);
    let message = story.until_message("own/shell");
    for object in ["ServiceAccount own/tk8s-agent", "ConfigMap own/settings", "Deployment.apps own/shell"] {
        assert!(message.contains(&format!("{object} is the agent's own (it lies in the agent's own namespace")), "{message}");
    }
    assert!(!message.contains("apps own/tk8s-agent"), "{message}");
    story.system.plane.kubectl(&[
        "-n",
        &agent,
        "create",
        "rolebinding",
        "itself",
        "--clusterrole=edit",
        &format!("--serviceaccount={agent}:tk8s-agent"),
    ]);
    story.push(&[deployment("tk8s-agent")]);
    let image =
        ["get", "deployment", "tk8s-agent", "--ignore-not-found", "-o", "jsonpath={.spec.template.spec.containers[0].image}"];
    story.system.until("its Deployment is released", || story.system.kubectl(&image) == "agent:2");
    assert_eq!(story.map("one"), "", "{shop} got nothing");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_that_became_the_agents_is_not_deleted_when_it_leaves_the_release() {
    let mut story = Story::new("became").await;
    let (agent, shop) = (story.system.name.clone(), story.shop.clone());
    let role = |name: &str| {
        format!("apiVersion: rbac.authorization.k8s.io/v1\nkind: Role\nmetadata: {{name: {name}}}\nrules: []\n---\n")
    };
    let plane = story.system.plane;
    let account = format!("--serviceaccount={shop}:deployer");
    plane.kubectl(&["-n", &shop, "create", "rolebinding", "deploys", "--clusterrole=admin", &account]);
    story.write_platform(", serviceAccount: deployer");
    story.push(&[role("one"), role("two"), map("one", "first")]);
    story.system.start();
    story.until_map("one", "first");
    story.system.until_all("Healthy");

    let account = format!("--serviceaccount={agent}:tk8s-agent");
    plane.kubectl(&["-n", &shop, "create", "rolebinding", "of-the-agent", "--role=one", &account]);
    story.push(&[map("one", "second")]);
    let message = story.until_refused("OwnObject");
    assert!(
        message.contains("it would delete Role.rbac.authorization.k8s.io became-shop/one, which is the agent's own"),
        "{message}"
    );
    assert!(!message.contains("became-shop/two"), "{message}");
    assert_eq!(story.map("one"), "first", "nothing was written");

    // As the message says.
    plane.kubectl(&["-n", &shop, "annotate", "role", "one", "tk8s.io/prune=false"]);
    let asked = story.system.tk8s(&["sync"]);
    assert!(asked.status.success(), "{}", String::from_utf8_lossy(&asked.stderr));
    story.until_map("one", "second");
    story.system.until("the other one is gone", || story.get(&["role", "two", "-o", "name"]).is_empty());
    assert_eq!(story.get(&["role", "one", "-o", "name"]).trim(), "role.rbac.authorization.k8s.io/one");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollback_gets_nothing_that_is_the_agents_own_by_now() {
    let mut story = Story::new("by-now").await;
    story.write_platform(", serviceAccount: deployer");
    story.push(&[map("one", "first")]);
    story.system.start();
    story.until_map("one", "first");
    story.push(&[map("one", "second")]);
    story.until_map("one", "second");
    story.system.until_all("Healthy");
    story.system.more = "installation: {objects: [{kind: ConfigMap, name: one}]}".into();
    story.system.configure(&story.system.configuration());
    story.system.until("it is refused", || {
        let planned = story.system.tk8s(&["rollback", "web", "--to", "1", "--dry-run"]);
        String::from_utf8_lossy(&planned.stdout).contains("DENIED OwnObject: ConfigMap by-now-shop/one is the agent's own")
    });
    let refused = story.system.tk8s(&["rollback", "web", "--to", "1"]);
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && said.contains("ConfigMap by-now-shop/one is the agent's own"), "{said}");
    assert_eq!(story.map("one"), "second");
}
