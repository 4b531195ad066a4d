//! The rights that `tk8s-agent rbac` prints are what the agent needs, and no more: a platform with all that the demo has and
//! what it has not, under exactly these rights. What the API server's audit log does not show is named.

use std::collections::BTreeSet;

use serde_json::Value;
use tk8s_tests::kubelet::Kubelet;
use tk8s_tests::system::System;

/// An instance whose agent is a service account with the printed rights. Beside its namespace there are `NAME-shop`,
/// `NAME-plain` and `NAME-ops`.
struct Granted(System);

/// What somebody may do, as `rbac --output json` has it: one verb of one rule.
#[derive(Clone)]
struct Grant {
    holder: String,
    namespace: Option<String>,
    group: String,
    resource: String,
    names: Vec<String>,
    verb: String,
    why: String,
}

impl Granted {
    async fn new(name: &str) -> Granted {
        let system = System::new(name).await;
        system.plane.kubectl(&["-n", name, "create", "serviceaccount", "tk8s-agent"]);
        let token = system.plane.kubectl(&["-n", name, "create", "token", "tk8s-agent", "--duration=2h"]);
        system.plane.write_kubeconfig_of(token.trim(), &system.file("kubeconfig"));
        Granted(system)
    }

    fn agent(&self) -> String {
        format!("system:serviceaccount:{}:tk8s-agent", self.0.name)
    }

    fn write_layers(&self, layers: &[String]) {
        self.0.write("tk8s.yaml", &format!("apiVersion: tk8s.io/v1alpha1\nkind: Platform\nlayers:\n{}", layers.concat()));
    }

    /// What the command prints of the repository as it is.
    fn printed(&self, more: &[&str]) -> String {
        self.0.configure(&self.0.configuration());
        let (repository, file) = (self.0.file("repository"), self.0.file("mounted/agent.yaml"));
        let arguments = ["rbac", repository.to_str().unwrap(), "--config", file.to_str().unwrap()];
        let output = self.0.tk8s_offline(&[&arguments[..], more].concat());
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// Grants what is printed, and nothing else.
    fn grant(&self, more: &[&str]) {
        let applied = self.0.plane.kubectl_with(&["apply", "--server-side", "-f", "-"], &self.printed(more));
        applied.unwrap_or_else(|error| panic!("{error}"));
    }

    fn grants(&self, more: &[&str]) -> Vec<Grant> {
        let view: Value = serde_json::from_str(&self.printed(&[more, &["--output", "json"]].concat())).unwrap();
        let texts = |value: &Value| -> Vec<String> {
            value.as_array().into_iter().flatten().map(|text| text.as_str().unwrap().to_owned()).collect()
        };
        let mut grants = Vec::new();
        for grant in view["grants"].as_array().unwrap() {
            let (namespace, name) = grant["account"].as_str().unwrap().split_once('/').unwrap();
            for rule in grant["rules"].as_array().unwrap() {
                for verb in texts(&rule["verbs"]) {
                    grants.push(Grant {
                        holder: format!("system:serviceaccount:{namespace}:{name}"),
                        namespace: grant["namespace"].as_str().map(String::from),
                        group: texts(&rule["apiGroups"]).remove(0),
                        resource: texts(&rule["resources"]).remove(0),
                        names: texts(&rule["resourceNames"]),
                        verb,
                        why: rule["why"].as_str().unwrap().to_owned(),
                    });
                }
            }
        }
        grants
    }

    /// What the agent asked for, as itself or for somebody else.
    fn audited(&self) -> Vec<Value> {
        let agent = self.agent();
        let log = std::fs::read_to_string(self.0.plane.audit_log()).unwrap();
        let events = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        events.filter(|event| event["user"]["username"] == agent.as_str()).collect()
    }

    /// Nothing was asked for that was refused for want of a right.
    fn check_that_nothing_was_forbidden(&self) {
        let forbidden: Vec<_> = self.audited().into_iter().filter(|event| event["responseStatus"]["code"] == 403).collect();
        assert!(forbidden.is_empty(), "{:#?}", forbidden.iter().map(said).collect::<Vec<_>>());
    }

    fn can(&self, arguments: &[&str], user: &str) -> bool {
        let user = format!("--as={user}");
        self.0.plane.kubectl_with(&[&["auth", "can-i"], arguments, &[user.as_str()]].concat(), "").is_ok()
    }
}

fn said(event: &Value) -> String {
    let text = |pointer: &str| event.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    format!("{} {}: {}", text("/verb"), text("/requestURI"), text("/responseStatus/message"))
}

/// Whether a request needs this right.
fn is_used_by(grant: &Grant, event: &Value) -> bool {
    let text = |pointer: &str| event.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    let acted_for = event.pointer("/impersonatedUser/username").and_then(Value::as_str);
    let is_agent = grant.holder == text("/user/username");
    if let Some(acted_for) = acted_for.filter(|_| is_agent) {
        let account = format!("system:serviceaccount:{}:", grant.namespace.as_deref().unwrap_or_default());
        let acts = ["impersonate", "impersonate:serviceaccount"].contains(&grant.verb.as_str());
        if acts {
            return grant.names.iter().any(|name| *acted_for == format!("{account}{name}"));
        }
    }
    let (verb, created) = (text("/verb"), event["responseStatus"]["code"] == 201);
    let verb = match grant.verb.strip_prefix("impersonate-on:serviceaccount:") {
        Some(on) if acted_for.is_some() && is_agent => on == verb,
        Some(_) => return false,
        // An apply that makes an object needs both.
        None if acted_for.unwrap_or(text("/user/username")) == grant.holder => {
            verb == grant.verb || grant.verb == "bind" || (grant.verb == "create" && verb == "patch" && created)
        }
        None => return false,
    };
    let subresource = text("/objectRef/subresource");
    // Binding is no request of its own: whoever writes the binding needs it.
    if grant.verb == "bind" {
        let binding = grant.resource.replace("roles", "rolebindings");
        return is_used_by(&Grant { verb: "create".into(), resource: binding, names: Vec::new(), ..grant.clone() }, event);
    }
    let resource = match subresource {
        "" => text("/objectRef/resource").to_owned(),
        _ => format!("{}/{subresource}", text("/objectRef/resource")),
    };
    let in_place = grant.namespace.as_deref().is_none_or(|namespace| namespace == text("/objectRef/namespace"));
    let named = grant.names.is_empty() || grant.names.iter().any(|name| name == text("/objectRef/name"));
    verb && in_place && named && grant.group == text("/objectRef/apiGroup") && grant.resource == resource
}

fn map(name: &str, at: &str) -> String {
    format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}}}\ndata: {{at: \"{at}\"}}\n---\n")
}

fn secret(at: &str) -> String {
    format!("apiVersion: v1\nkind: Secret\nmetadata: {{name: password}}\nstringData: {{password: \"{at}\"}}\n---\n")
}

fn workload(kind: &str, name: &str, more: &str) -> String {
    let service = if kind == "StatefulSet" { format!("\n  serviceName: {name}") } else { String::new() };
    format!(
        "apiVersion: apps/v1\nkind: {kind}\nmetadata: {{name: {name}}}\nspec:{service}\n  replicas: 1\n  selector: {{matchLabels: {{app: {name}}}}}\n  template: {{metadata: {{labels: {{app: {name}}}}}, spec: {{{more}containers: [{{name: run, image: 'run:1'}}]}}}}\n---\n"
    )
}

/// Everything of the story but its platform file.
fn write_all(system: &System, at: &str) {
    let rbac = |kind: &str, name: &str, more: &str| {
        format!("apiVersion: rbac.authorization.k8s.io/v1\nkind: {kind}\nmetadata: {{name: {name}}}\n{more}\n---\n")
    };
    let definition = "apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata: {name: foxes.granted.example.com}\nspec:\n  group: granted.example.com\n  names: {kind: Fox, plural: foxes}\n  scope: Namespaced\n  versions: [{name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}}]\n---\n";
    let space = "apiVersion: v1\nkind: Namespace\nmetadata: {name: granted-space}\n---\n".to_owned();
    let hook = |at: &str| {
        format!(
            "apiVersion: batch/v1\nkind: Job\nmetadata: {{name: migrate, annotations: {{tk8s.io/hook: before-apply}}}}\nspec:\n  backoffLimit: 0\n  template: {{spec: {{restartPolicy: Never, containers: [{{name: run, image: 'run:{at}'}}]}}}}\n---\n"
        )
    };
    system.write("spaces/all.yaml", &[space.clone(), definition.into(), rbac("ClusterRole", "granted-nothing", "")].concat());
    let may = "rules: [{apiGroups: [''], resources: [configmaps], verbs: [get]}]";
    let bound = "roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: reader}\nsubjects: []";
    let config = [map("settings", at), secret(at), rbac("Role", "reader", may), rbac("RoleBinding", "reader", bound)];
    system.write("config/all.yaml", &config.concat());
    let service =
        "apiVersion: v1\nkind: Service\nmetadata: {name: web}\nspec: {selector: {app: web}, ports: [{port: 80}]}\n---\n";
    let fox = format!("apiVersion: granted.example.com/v1\nkind: Fox\nmetadata: {{name: red}}\nspec: {{at: '{at}'}}\n---\n");
    system.write("web/all.yaml", &[hook(at), workload("Deployment", "web", ""), service.into(), fox].concat());
    system.write("plain/all.yaml", &map("plain", at));
    let (loud, silent) = ("nodeName: granted-node, ", "serviceAccountName: nobody, ");
    let broken = [workload("Deployment", "loud", loud), workload("StatefulSet", "silent", silent)];
    system.write("broken/all.yaml", &broken.concat());
}

/// Rights that this story may leave unused: the verb (or any), what they are for, and why nothing here needs them.
const UNUSED: &[(&str, &str, &str)] = &[
    ("", "brings the definition of its own resource", "another test has brought the definition already"),
    ("create", "asks who calls its API, and what they may", "nobody calls the API of this agent as somebody of the cluster"),
    ("", "the certificate of its API", "the API of this agent has none"),
    ("get", "watches:", "a single object is read where a list can't say whether it is there: a race that no story waits for"),
];

#[tokio::test(flavor = "multi_thread")]
async fn a_platform_runs_under_exactly_the_printed_rights_and_each_of_them_is_used() {
    let mut story = Granted::new("granted").await;
    let node = Kubelet::start(story.0.plane, "granted-node", "out of memory\n");
    story.0.more = "apply: {healthTimeout: 8s, fullCheck: 1s}".into();
    let all = "deletion: delete, prune: {protect: [], budget: {objects: 100, percent: 100}}";
    let layers = [
        format!(
            "  - {{number: 0, name: substrate, serviceAccount: granted-ops/platform, {all}, components: [{{name: spaces, path: spaces}}]}}\n"
        ),
        format!(
            "  - {{number: 1, name: shop, namespace: granted-shop, serviceAccount: deployer, confine: {{namespaces: [granted-shop]}}, {all}, components: [{{name: config, path: config}}, {{name: web, path: web}}]}}\n"
        ),
        format!("  - {{number: 2, name: plain, namespace: granted-plain, {all}, components: [{{name: plain, path: plain}}]}}\n"),
    ];
    let broken = format!(
        "  - {{number: 3, name: broken, namespace: granted-shop, serviceAccount: deployer, {all}, components: [{{name: broken, path: broken}}]}}\n"
    );
    write_all(&story.0, "first");
    story.write_layers(&[&layers[..], std::slice::from_ref(&broken)].concat());
    story.0.commit("all of it");
    story.grant(&[]);
    let grants = story.grants(&[]);
    // All is made, but for what is broken: why, is found out.
    story.write_layers(&layers);
    story.0.commit("what runs");
    story.0.start();
    story.0.until_all("Healthy");
    let plane = story.0.plane;
    let kubectl = |arguments: &[&str]| plane.kubectl(arguments);
    // Something changes, and whose it is is taken off: it has to be read before it is put right.
    write_all(&story.0, "second");
    story.0.commit("second");
    story.0.until("the second runs", || {
        kubectl(&["-n", "granted-shop", "get", "fox", "red", "-o", "jsonpath={.spec.at}"]) == "second"
    });
    story.0.until_all("Healthy");
    let objects = [
        "-n granted-shop configmap/settings secret/password role/reader rolebinding/reader deployment/web service/web fox/red",
        "-n granted-plain configmap/plain",
        "crd/foxes.granted.example.com namespace/granted-space clusterrole/granted-nothing",
    ];
    for objects in objects {
        let objects: Vec<_> = objects.split(' ').collect();
        kubectl(&[&["label"], &objects[..], &["agent.tk8s.io/instance-"]].concat());
    }
    let labelled = |objects: &str| {
        let objects: Vec<_> = objects.split(' ').collect();
        let names = kubectl(
            &[&["get"], &objects[..], &["-o", "jsonpath={.items[*].metadata.labels.agent\\.tk8s\\.io/instance}"]].concat(),
        );
        let names = if objects.contains(&"configmap/plain") {
            kubectl(&[&["get"], &objects[..], &["-o", "jsonpath={.metadata.labels.agent\\.tk8s\\.io/instance}"]].concat())
        } else {
            names
        };
        names.split_whitespace().count()
    };
    story.0.until("all is ours again", || objects.map(labelled) == [7, 1, 3]);
    // The same happens twice, and is told as one event.
    let told = || {
        let told = kubectl(&["-n", "granted", "get", "events.v1.events.k8s.io", "-o", "jsonpath={.items[*].series.count}"]);
        !told.trim().is_empty()
    };
    story.0.until("something is told as a series", || {
        let at = ["-n", "granted-plain", "get", "configmap", "plain", "--ignore-not-found", "-o", "jsonpath={.data.at}"];
        if kubectl(&at) == "second" {
            kubectl(&["-n", "granted-plain", "patch", "configmap", "plain", "--type=merge", "-p", r#"{"data":{"at":"x"}}"#]);
        }
        told()
    });
    // Somebody writes to what the agent tells of itself.
    kubectl(&["-n", "granted", "label", "components.agent.tk8s.io", "config", "agent.tk8s.io/instance-"]);
    write_all(&story.0, "third");
    // What is broken.
    story.write_layers(&[&layers[..], &[broken]].concat());
    story.0.commit("something broken");
    let loud = ["-n", "granted-shop", "get", "pods", "-l", "app=loud", "-o", "jsonpath={.items[*].metadata.name}"];
    story.0.until("it has its pod", || !kubectl(&loud).is_empty());
    let status = r#"{"status": {"phase": "Running", "containerStatuses": [{"name": "run", "image": "i", "imageID": "i", "ready": false, "restartCount": 5, "state": {"waiting": {"reason": "CrashLoopBackOff"}}, "lastState": {"terminated": {"exitCode": 3, "reason": "Error"}}}]}}"#;
    kubectl(&["-n", "granted-shop", "patch", "pod", &kubectl(&loud), "--subresource=status", "--type=merge", "-p", status]);
    story.0.until_says("broken", "Failed", "out of memory");
    assert!(!node.asked().is_empty());
    story.0.until("its resource is its own again", || {
        let label = r"jsonpath={.metadata.labels.agent\.tk8s\.io/instance}";
        kubectl(&["-n", "granted", "get", "components.agent.tk8s.io", "config", "-o", label]) == "granted"
    });
    kubectl(&["-n", "granted-shop", "label", "statefulset", "silent", "agent.tk8s.io/instance-"]);
    story.0.until("it is ours again", || {
        let label = r"jsonpath={.metadata.labels.agent\.tk8s\.io/instance}";
        kubectl(&["-n", "granted-shop", "get", "statefulset", "silent", "-o", label]) == "granted"
    });
    // It is repaired by being another, and then all of it goes.
    story.0.write("broken/all.yaml", &map("repaired", "first"));
    story.0.commit("repaired");
    story.0.until_all("Healthy");
    story.write_layers(&["  - {number: 0, name: substrate}\n".into()]);
    story.0.commit("nothing");
    story.0.until_all("Removed");
    story.0.until("all of it is gone", || {
        let gone = ["crd/foxes.granted.example.com", "namespace/granted-space", "clusterrole/granted-nothing"];
        kubectl(&[&["get", "--ignore-not-found", "-o", "name"], &gone[..]].concat()).is_empty()
    });
    story.0.until("nothing is told of what is gone", || {
        kubectl(&["-n", "granted", "get", "components.agent.tk8s.io", "-o", "name"]).is_empty()
    });
    story.0.stop();

    story.check_that_nothing_was_forbidden();
    let audited = story.audited();
    let (mut unused, mut explained) = (Vec::new(), BTreeSet::new());
    for grant in &grants {
        if audited.iter().any(|event| is_used_by(grant, event)) {
            continue;
        }
        let place = grant.namespace.as_deref().unwrap_or("everywhere");
        let told = format!("{} {place}: {} {} ({})", grant.holder, grant.verb, grant.resource, grant.why);
        let explains =
            |(verb, purpose, _): &&(&str, &str, &str)| (verb.is_empty() || grant.verb == *verb) && grant.why.starts_with(purpose);
        let why = UNUSED.iter().find(explains);
        match why {
            Some((.., why)) => drop(explained.insert(format!("never used: {told}: {why}"))),
            None => unused.push(told),
        }
    }
    explained.iter().for_each(|line| println!("{line}"));
    assert!(unused.is_empty(), "rights that were never used, and nobody says why: {unused:#?}");
    println!("{} rights, {} of them never used", grants.len(), explained.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn with_constrained_impersonation_an_agent_does_what_it_does_and_cannot_go_beyond() {
    let mut story = Granted::new("narrow").await;
    story.write_layers(&["  - {number: 0, name: l0, namespace: narrow-shop, serviceAccount: deployer, prune: {budget: {percent: 100}}, components: [{name: web, path: web}]}\n".into()]);
    story.0.write("web/all.yaml", &[map("one", "first"), map("two", "first")].concat());
    story.0.commit("first");
    story.grant(&["--constrained"]);
    story.0.start();
    story.0.until_all("Healthy");
    story.0.write("web/all.yaml", &map("one", "second"));
    story.0.commit("second");
    let at = |name: &str| {
        story.0.plane.kubectl(&["-n", "narrow-shop", "get", "configmap", name, "--ignore-not-found", "-o", "jsonpath={.data.at}"])
    };
    story.0.until("it is changed, and the other is gone", || at("one") == "second" && at("two").is_empty());
    story.0.until_all("Healthy");
    story.check_that_nothing_was_forbidden();
    let acted = story.audited().into_iter().filter(|event| !event["impersonatedUser"].is_null());
    let how: BTreeSet<_> = acted.map(|event| event["authenticationMetadata"]["impersonationConstraint"].to_string()).collect();
    assert_eq!(how, ["\"impersonate:serviceaccount\"".to_owned()].into());
    // The account gets more; what the agent may do in its name stays the same.
    story.0.plane.kubectl(&[
        "-n",
        "narrow-shop",
        "create",
        "rolebinding",
        "more",
        "--clusterrole=admin",
        "--serviceaccount=narrow-shop:deployer",
    ]);
    let deployer = "system:serviceaccount:narrow-shop:deployer";
    assert!(story.can(&["list", "secrets", "-n", "narrow-shop"], deployer));
    let kubeconfig = story.0.file("kubeconfig");
    let as_agent = |arguments: &[&str]| {
        let login = ["--kubeconfig", kubeconfig.to_str().unwrap(), "-n", "narrow-shop"];
        story.0.plane.kubectl_with(&[arguments, &login[..]].concat(), "")
    };
    let acting = format!("--as={deployer}");
    as_agent(&["get", "configmap", "one", &acting]).unwrap();
    for (arguments, missing) in [
        (["get", "secrets"], "impersonate-on:serviceaccount:list"),
        (["get", "secret/any"], "impersonate-on:serviceaccount:get"),
        (["create", "serviceaccount"], "impersonate-on:serviceaccount:create"),
    ] {
        let more: &[&str] = if arguments[0] == "create" { &["another"] } else { &[] };
        let refused = as_agent(&[&arguments[..], more, &[acting.as_str()]].concat()).unwrap_err();
        assert!(refused.contains(missing), "{arguments:?}: {refused}");
    }
    for (other, missing) in [
        ("system:serviceaccount:narrow-shop:default", "impersonate"),
        ("system:serviceaccount:kube-system:deployment-controller", "impersonate"),
        ("admin", "impersonate"),
    ] {
        let refused = as_agent(&["get", "configmap", "one", &format!("--as={other}")]).unwrap_err();
        assert!(refused.contains(missing), "{other}: {refused}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_does_not_watch_secrets_never_lists_one_and_applies_them_all_the_same() {
    let mut story = Granted::new("unseen").await;
    story.0.more = "watch: {secrets: false}\napply: {fullCheck: 1s}".into();
    story.write_layers(&["  - {number: 0, name: l0, namespace: unseen-shop, serviceAccount: deployer, prune: {budget: {percent: 100}}, components: [{name: web, path: web}]}\n".into()]);
    story.0.write("web/all.yaml", &[map("one", "first"), secret("first")].concat());
    story.0.commit("first");
    story.grant(&[]);
    let agent = story.agent();
    for verb in ["get", "list", "watch"] {
        assert!(
            !story.can(&[verb, "secrets", "-A"], &agent) && !story.can(&[verb, "secrets", "-n", "unseen-shop"], &agent),
            "{verb}"
        );
    }
    story.0.start();
    story.0.until_all("Healthy");
    assert_eq!((&story.0.component("web")["outOfSight"], &story.0.component("web")["objects"]), (&1.into(), &2.into()));
    let told = String::from_utf8(story.0.tk8s(&["status"]).stdout).unwrap();
    assert!(told.contains("web: 1 of its objects out of sight"), "{told}");
    let password = || {
        story.0.plane.kubectl(&[
            "-n",
            "unseen-shop",
            "get",
            "secret",
            "password",
            "--ignore-not-found",
            "-o",
            "jsonpath={.data.password}",
        ])
    };
    // "first", "theirs", "second".
    assert_eq!(password(), "Zmlyc3Q=");
    let patch = r#"{"stringData": {"password": "theirs"}}"#;
    story.0.plane.kubectl(&["-n", "unseen-shop", "patch", "secret", "password", "--type=merge", "-p", patch]);
    // Nobody sees that, until the component runs for another reason.
    story.0.plane.kubectl(&["-n", "unseen-shop", "delete", "configmap", "one"]);
    story.0.until("what is seen and what is not are put right", || password() == "Zmlyc3Q=");
    story.0.write("web/all.yaml", &[map("one", "first"), secret("second")].concat());
    story.0.commit("second");
    story.0.until("it is changed", || password() == "c2Vjb25k");
    story.0.until_all("Healthy");
    story.0.write("web/all.yaml", &map("one", "first"));
    story.0.commit("without it");
    story.0.until("it is deleted", || password().is_empty());
    story.0.until("nothing is out of sight any more", || story.0.component("web")["outOfSight"] == 0);
    story.0.until_all("Healthy");
    story.0.stop();
    story.check_that_nothing_was_forbidden();
    let secrets: Vec<_> = story.audited().into_iter().filter(|event| event["objectRef"]["resource"] == "secrets").collect();
    let looked =
        secrets.iter().filter(|event| event["verb"] == "list" || event["verb"] == "watch" || event["impersonatedUser"].is_null());
    assert_eq!(looked.map(said).collect::<Vec<_>>(), [""; 0], "not one list or watch, and nothing but as the account");
    assert!(!secrets.is_empty());
    story.0.check_history();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_of_some_namespaces_looks_at_no_other_and_refuses_what_lies_elsewhere() {
    let mut story = Granted::new("some").await;
    story.0.plane.kubectl(&["create", "namespace", "some-bank"]);
    story.0.more = "watch: {namespaces: [some-shop, some-bank]}\napply: {fullCheck: 1s}".into();
    let layers = ["  - {number: 0, name: l0, namespace: some-shop, prune: {budget: {percent: 100}}, components: [{name: web, path: web}]}\n".to_owned()];
    story.write_layers(&layers);
    let in_bank = |name: &str| map(name, "first").replace("{name: ", "{namespace: some-bank, name: ");
    story.0.write("web/all.yaml", &[map("one", "first"), in_bank("two")].concat());
    story.0.commit("first");
    story.grant(&[]);
    let agent = story.agent();
    assert!(!story.can(&["list", "configmaps", "-A"], &agent) && story.can(&["watch", "configmaps", "-n", "some-bank"], &agent));
    story.0.start();
    story.0.until_all("Healthy");
    let at = |namespace: &str, name: &str| {
        story.0.plane.kubectl(&["-n", namespace, "get", "configmap", name, "--ignore-not-found", "-o", "jsonpath={.data.at}"])
    };
    // It sees both.
    for (namespace, name) in [("some-shop", "one"), ("some-bank", "two")] {
        story.0.plane.kubectl(&[
            "-n",
            namespace,
            "patch",
            "configmap",
            name,
            "--type=merge",
            "-p",
            r#"{"data":{"at":"theirs"}}"#,
        ]);
        story.0.until("it is repaired", || at(namespace, name) == "first");
    }
    story.0.write("web/all.yaml", &map("one", "first"));
    story.0.commit("without the other");
    story.0.until("it is deleted", || at("some-bank", "two").is_empty());
    story.0.until_all("Healthy");
    // Elsewhere, and nowhere.
    let space = "apiVersion: v1\nkind: Namespace\nmetadata: {name: some-bank}\n---\n".to_owned();
    let elsewhere = map("three", "first").replace("{name: ", "{namespace: some, name: ");
    story.0.write("web/all.yaml", &[map("one", "second"), elsewhere, space].concat());
    let repository = story.0.file("repository");
    let (file, repository) = (story.0.file("mounted/agent.yaml"), repository.to_str().unwrap().to_owned());
    let checked = story.0.tk8s_offline(&["check", &repository, "--config", file.to_str().unwrap()]);
    let found = String::from_utf8_lossy(&checked.stdout).into_owned();
    assert_eq!((checked.status.code(), found.matches("(OutsideConfinement)").count()), (Some(1), 2), "{found}");
    let before = story.audited().len();
    story.0.commit("elsewhere");
    story.0.until("it is refused", || story.0.component("web")["reason"] == "OutsideConfinement");
    let message = story.0.component("web")["message"].as_str().unwrap().to_owned();
    for object in ["ConfigMap some/three", "Namespace some-bank"] {
        assert!(message.contains(&format!("{object} lies outside")) && message.contains("`watch.namespaces`"), "{message}");
    }
    let asked = story.audited().split_off(before);
    let about = asked.iter().filter(|event| event["verb"] == "patch" && event["objectRef"]["resource"] != "events");
    assert_eq!(about.map(said).collect::<Vec<_>>(), [""; 0], "nothing was asked about any of it");
    story.0.stop();
    story.check_that_nothing_was_forbidden();
    let own = ["some", "some-shop", "some-bank"];
    let elsewhere = story.audited().into_iter().filter(|event| match event["objectRef"]["namespace"].as_str() {
        Some(namespace) => !own.contains(&namespace),
        None => {
            ["list", "watch"].contains(&event["verb"].as_str().unwrap())
                && event["objectRef"]["resource"] != "customresourcedefinitions"
        }
    });
    assert_eq!(elsewhere.map(|event| said(&event)).collect::<Vec<_>>(), [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn kinds_are_called_as_the_api_server_calls_them() {
    let story = Granted::new("called").await;
    let listed = story.0.plane.kubectl(&["api-resources", "--verbs=list,patch", "--no-headers", "-o", "wide"]);
    let (mut objects, mut expected) = (String::new(), BTreeSet::new());
    for line in listed.lines() {
        let words: Vec<_> = line.split_whitespace().collect();
        // The short names may be missing.
        let Some(place) = words.iter().position(|word| ["true", "false"].contains(word)) else { panic!("{line}") };
        let (plural, api_version, namespaced, kind) = (words[0], words[place - 1], words[place] == "true", words[place + 1]);
        let group = api_version.split_once('/').map_or("", |(group, _)| group);
        // Those of other tests are not Kubernetes' own.
        if group.ends_with(".com") || group == "agent.tk8s.io" {
            continue;
        }
        objects.push_str(&format!("apiVersion: {api_version}\nkind: {kind}\nmetadata: {{name: a}}\n---\n"));
        expected.insert((group.to_owned(), plural.to_owned(), namespaced));
    }
    assert!(expected.len() > 50, "{listed}");
    story.write_layers(&["  - {number: 0, name: l0, components: [{name: all, path: all, namespace: called-shop}]}\n".into()]);
    story.0.write("all/all.yaml", &objects);
    let grants = story.grants(&[]);
    let applied = grants.into_iter().filter(|grant| grant.verb == "delete" && grant.why.starts_with("applies"));
    let found: BTreeSet<_> = applied.map(|grant| (grant.group, grant.resource, grant.namespace.is_some())).collect();
    assert_eq!(found, expected);
    // One of which nobody says how it is called, until somebody does, or is asked.
    story.0.plane.apply("apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata: {name: oxen.called.example.com}\nspec:\n  group: called.example.com\n  names: {kind: Ox, plural: oxen}\n  scope: Namespaced\n  versions: [{name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object}}}]\n");
    story.0.plane.until(
        "True",
        &["get", "crd", "oxen.called.example.com", "-o", r#"jsonpath={.status.conditions[?(@.type=="Established")].status}"#],
    );
    story.0.write("all/all.yaml", "apiVersion: called.example.com/v1\nkind: Ox\nmetadata: {name: a}\n");
    let repository = story.0.file("repository").to_str().unwrap().to_owned();
    let refused = story.0.tk8s_offline(&["rbac", &repository]);
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(1), "{said}");
    assert!(
        said.contains("all: nobody says how the API server calls Ox of called.example.com") && refused.stdout.is_empty(),
        "{said}"
    );
    for more in [["--kind", "Ox.called.example.com=oxen"], ["--kubeconfig", story.0.plane.kubeconfig().to_str().unwrap()]] {
        let printed = story.printed(&more);
        assert!(printed.contains("resources: [oxen], verbs: [get, create, patch, delete]"), "{printed}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rights_that_a_platform_gives_beyond_its_writers_own_need_a_persons_word() {
    let mut story = Granted::new("giving").await;
    story.write_layers(&[
        "  - {number: 0, name: l0, namespace: giving-shop, serviceAccount: deployer, components: [{name: web, path: web}]}\n"
            .into(),
    ]);
    let rbac = "apiVersion: rbac.authorization.k8s.io/v1\nkind: ";
    let role = "Role\nmetadata: {name: watcher}\nrules: [{apiGroups: [''], resources: [configmaps], verbs: [watch]}]\n---\n";
    let view = "RoleBinding\nmetadata: {name: viewer}\nroleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: view}\nsubjects: [{kind: ServiceAccount, name: default, namespace: giving-shop}]\n---\n";
    story.0.write("web/all.yaml", &format!("{rbac}{role}{rbac}{view}"));
    story.0.commit("rights");
    let printed = story.printed(&[]);
    for said in [
        "# NOT GRANTED: web: Kubernetes will refuse Role watcher: it gives `watch` on configmaps",
        "`bind` on `view` of clusterroles",
    ] {
        assert!(printed.contains(said), "{printed}");
    }
    story.grant(&[]);
    story.0.start();
    // The API server says so too, of each of them.
    story.0.until("it is refused", || {
        let message = story.0.component("web")["message"].as_str().unwrap_or_default().to_owned();
        message.contains("attempting to grant RBAC permissions not currently held")
    });
    assert_eq!(
        story.0.plane.kubectl(&["-n", "giving-shop", "get", "roles,rolebindings", "-l", "agent.tk8s.io/instance", "-o", "name"]),
        ""
    );
    story.grant(&["--allow-escalation"]);
    let deployer = "system:serviceaccount:giving-shop:deployer";
    for (verb, what) in [("escalate", "roles/watcher"), ("bind", "clusterroles/view")] {
        assert!(story.can(&[verb, what, "-n", "giving-shop"], deployer), "{verb} {what}");
    }
    for (verb, what) in [("escalate", "roles/other"), ("bind", "clusterroles/cluster-admin"), ("escalate", "clusterroles/view")] {
        assert!(!story.can(&[verb, what, "-n", "giving-shop"], deployer), "{verb} {what}");
    }
    story.0.tk8s(&["sync"]);
    story.0.until_all("Healthy");
}
