//! The whole agent with the rendered file, as the rendered account, on a real API server that says in its audit log who
//! asked for what.

use std::collections::BTreeSet;

use tk8s_tests::system::System;

use super::*;

/// Rights that this story has no use for, and who has.
const NOT_HERE: &[(&str, &str, &str)] = &[
    ("tokenreviews", "create", "callers of the API that come with a token of the cluster's"),
    ("subjectaccessreviews", "create", "the same"),
    ("events", "patch", "what is said again later, as one Event"),
    ("components", "update", "a resource off which somebody took the instance's label"),
];

#[tokio::test(flavor = "multi_thread")]
async fn the_agent_runs_with_the_rendered_file_and_uses_every_right_of_its_own_and_needs_no_other() {
    let _turn = installed::TURN.lock().await;
    let mut system = System::new("rendered").await;
    let (plane, tools, agent) = (system.plane, Tools::new(), "tk8s-agent-rendered");
    plane.kubectl(&["create", "namespace", "rendered-shop"]);
    let at = |file: &str| system.file(file).display().to_string();
    // The example's shape, of a repository and for listeners that are this test's.
    let values = serde_json::json!({
        "image": {"repository": "registry.example.com/tk8s-agent"},
        "config": {
            "instance": "rendered", "cluster": "test", "environment": "dev",
            "repository": {"url": system.repository_url, "branch": "main", "interval": "1s"},
            "trust": {"signersFile": null, "waive": {"reason": "a test"}},
            "api": {"addressFile": at("address")},
            "lease": {"namespace": "rendered"},
        },
        "rbac": {
            "agent": [
                {"apiGroups": [""], "resources": ["configmaps", "namespaces"], "verbs": ["get", "list", "watch"]},
                {"apiGroups": ["rbac.authorization.k8s.io"], "resources": ["roles"], "verbs": ["get", "list", "watch"]},
            ],
            "accounts": [{
                "name": "shops", "namespaces": ["rendered-shop"],
                "rules": [
                    {"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get", "create", "patch", "delete"]},
                    {"apiGroups": ["rbac.authorization.k8s.io"], "resources": ["roles"], "verbs": ["get", "create", "patch", "delete"]},
                ],
            }],
        },
    });
    let file = tools.file("rendered.yaml", &values.to_string());
    let rendered = tools.helm(&["template", "tk8s", path(&chart()), "--namespace", "rendered", "--values", path(&file)]);
    let objects = objects(&said(rendered).unwrap());
    let text: String = objects.iter().map(|object| format!("{object}\n---\n")).collect();
    plane.kubectl_with(&["apply", "--server-side", "--warnings-as-errors", "-f", "-"], &text).unwrap();
    let token = plane.kubectl(&["-n", "rendered", "create", "token", agent, "--duration=2h"]);
    plane.write_kubeconfig_of(token.trim(), &system.file("kubeconfig"));

    let mut configuration = agent_file(&objects);
    for (mounted, here) in [
        ("/var/lib/tk8s/history", at("history")),
        ("/run/tk8s/keys/identity.pem", at("identity.pem")),
        ("/run/tk8s/keys/encryption.key", at("history.key")),
        ("scratchDir: /tmp", format!("scratchDir: {}", at("scratch"))),
        ("0.0.0.0:8443", "127.0.0.1:0".into()),
        ("0.0.0.0:8081", "127.0.0.1:0".into()),
        ("0.0.0.0:9090", "127.0.0.1:0".into()),
    ] {
        assert!(configuration.contains(mounted), "{mounted}: {configuration}");
        configuration = configuration.replace(mounted, &here);
    }
    let platform = |component: &str| {
        format!(
            "apiVersion: tk8s.io/v1alpha1\nkind: Platform\nlayers:\n  - {{number: 0, name: shops, serviceAccount: rendered/shops, components: [{component}]}}\n"
        )
    };
    system.write("tk8s.yaml", &platform("{name: web, path: web, namespace: rendered-shop}"));
    let map = |at: &str| {
        format!(
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: one}}\ndata: {{at: {at}}}\n---\napiVersion: rbac.authorization.k8s.io/v1\nkind: Role\nmetadata: {{name: nothing}}\nrules: []\n"
        )
    };
    system.write("web/all.yaml", &map("first"));
    system.commit("first");
    system.start_with(&configuration);
    // Nobody calls its API: what it does is seen in the cluster.
    let until_told = |what: &str| {
        let shown =
            ["get", "components.agent.tk8s.io", "web", "--ignore-not-found", "-o", "jsonpath={.status.release}{.status.state}"];
        system.until(&format!("{what} is told"), || system.kubectl(&shown) == what);
    };
    until_told("1Healthy");
    system.until("it is said as an Event", || !system.kubectl(&["get", "events.v1.events.k8s.io", "-o", "name"]).is_empty());
    system.until("it is anchored", || !system.anchor().is_empty());
    assert_eq!(plane.kubectl(&["-n", "rendered-shop", "get", "configmap", "one", "-o", "jsonpath={.data.at}"]), "first");
    // Somebody writes to what it tells, and it tells the next release all the same.
    system.kubectl(&["annotate", "components.agent.tk8s.io", "web", "somebody=was-here"]);
    system.write("web/all.yaml", &map("second"));
    system.commit("second");
    until_told("2Healthy");
    system.write("tk8s.yaml", &platform(""));
    system.commit("nothing");
    system.until("its resource is gone", || {
        system.kubectl(&["get", "components.agent.tk8s.io", "--ignore-not-found", "-o", "name"]).is_empty()
    });
    system.stop();

    let user = format!("system:serviceaccount:rendered:{agent}");
    let log = std::fs::read_to_string(plane.audit_log()).unwrap();
    let events = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let asked: Vec<_> = events.filter(|event| event["user"]["username"] == user.as_str()).collect();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let resource = |event: &Value| match text(&event["objectRef"]["subresource"]).as_str() {
        "" => text(&event["objectRef"]["resource"]),
        subresource => format!("{}/{subresource}", text(&event["objectRef"]["resource"])),
    };
    let refused: BTreeSet<_> = asked
        .iter()
        .filter(|event| event["responseStatus"]["code"] == 403)
        .map(|event| format!("{} {}", text(&event["verb"]), resource(event)))
        .collect();
    // It looks whether it may bring the definition along. It may not: the chart does.
    assert_eq!(refused, BTreeSet::from(["list customresourcedefinitions".to_owned()]), "a right is missing");
    let as_itself = asked.iter().filter(|event| event["impersonatedUser"].is_null());
    let used: BTreeSet<_> = as_itself.map(|event| (resource(event), text(&event["verb"]))).collect();
    let own = objects.iter().filter(|object| {
        ["Role", "ClusterRole"].contains(&object["kind"].as_str().unwrap()) && object["metadata"]["name"] == agent
    });
    for rule in own.flat_map(|role| role["rules"].as_array().unwrap()) {
        let words = |list: &Value| list.as_array().unwrap().iter().map(text).collect::<Vec<_>>();
        for resource in words(&rule["resources"]) {
            for verb in words(&rule["verbs"]) {
                let elsewhere = NOT_HERE.iter().any(|(of, by, _)| *of == resource && *by == verb);
                assert!(
                    elsewhere || used.contains(&(resource.clone(), verb.clone())),
                    "nobody needs `{verb}` on `{resource}`: {used:?}"
                );
            }
        }
    }
    installed::forget(plane, "rendered");
}

/// Each right of some roles by itself: group, resource, name, verb.
fn each(roles: &[Value]) -> BTreeSet<[String; 4]> {
    let texts = |rule: &Value, field: &str| -> Vec<String> {
        rule[field].as_array().into_iter().flatten().map(|text| text.as_str().unwrap().to_owned()).collect()
    };
    let mut all = BTreeSet::new();
    for rule in roles.iter().flat_map(|role| role["rules"].as_array().unwrap()) {
        let names = texts(rule, "resourceNames");
        let names = if names.is_empty() { vec![String::new()] } else { names };
        for (group, resource) in texts(rule, "apiGroups").iter().zip(std::iter::repeat(texts(rule, "resources"))) {
            for (resource, name) in resource.iter().flat_map(|resource| names.iter().map(move |name| (resource, name))) {
                let of = |verb| [group.clone(), resource.clone(), name.clone(), verb];
                all.extend(texts(rule, "verbs").into_iter().map(of));
            }
        }
    }
    all
}

#[test]
fn the_rights_of_the_agent_itself_are_those_that_it_says_it_needs() {
    let printed =
        std::process::Command::new(tk8s_tests::program("tk8s-agent")).args(["rbac", "--own", "--output", "json"]).output();
    let printed: Value = serde_json::from_slice(&printed.unwrap().stdout).unwrap();
    let needed = each(printed["grants"].as_array().unwrap());
    // The definition comes with the installation; which roles it has, it asks where a platform has roles.
    let definition: BTreeSet<_> =
        needed.iter().filter(|[_, resource, ..]| resource == "customresourcedefinitions").cloned().collect();
    assert_eq!(definition.len(), 4);
    let bindings = |right: &&[String; 4]| right[1].ends_with("rolebindings") && right[3] == "list";
    let own = |objects: Vec<Value>| -> Vec<Value> {
        let is_own = |object: &Value| {
            ["Role", "ClusterRole"].contains(&object["kind"].as_str().unwrap()) && object["metadata"]["name"] == "tk8s-agent"
        };
        objects.into_iter().filter(is_own).collect()
    };
    for (what, objects) in [("chart", Tools::new().objects(&example())), ("base", Tools::new().kustomize(&part("install/base")))]
    {
        let given = each(&own(objects));
        let more: Vec<_> = given.difference(&needed).filter(|right| !bindings(right)).collect();
        let less: Vec<_> = needed.difference(&given).filter(|right| !definition.contains(*right)).collect();
        assert_eq!((more, less), (vec![], vec![]), "{what}");
    }
}
