//! What the chart renders from which values, and which values it refuses.

use super::*;

/// Something said for every key.
pub(crate) const EVERYTHING: &str = r#"
image: {repository: registry.example.com/tk8s-agent, tag: v1, pullPolicy: Always}
imagePullSecrets: [{name: registry}]
config:
  instance: edge
  cluster: c
  environment: staging
  repository: {url: 'https://git.example.com/p', auth: {tokenFile: /run/tk8s/git/token}}
  trust: {commits: head, revocationFile: /run/tk8s/revoked/keys}
  webhook: {secretFile: /run/tk8s/webhook/secret}
  sops: {ageKeyFiles: [/run/tk8s/age/key.txt]}
  api: {listen: '0.0.0.0:9443', metricsListen: '[::]:9091'}
  variables: {COUNT: 10000000, VERSION: "1.0", WORD: "yes", QUOTED: "it's \"so\"", ENABLED: true}
signers: |
  ssh-ed25519 AAAA alice@example.com
secrets: {keys: edge-keys, git: edge-git, webhook: edge-webhook}
mounts: [{name: age, secret: edge-age}, {name: revoked, configMap: edge-revoked}]
storage: {size: 20Gi, storageClass: fast, accessMode: ReadWriteOnce}
scratch: {size: 512Mi}
resources: {limits: {memory: 2Gi}}
priorityClassName: system-cluster-critical
nodeSelector: {kubernetes.io/arch: amd64}
tolerations: [{key: control-plane, operator: Exists}]
affinity: {nodeAffinity: {preferredDuringSchedulingIgnoredDuringExecution: [{weight: 1, preference: {matchExpressions: [{key: zone, operator: In, values: [a]}]}}]}}
podLabels: {team: platform}
podAnnotations: {example.com/note: "yes"}
logFormat: text
networkPolicy:
  dns: {to: []}
  apiServer: {to: [{ipBlock: {cidr: 10.0.0.1/32}}], ports: [6443]}
  git: {to: [{ipBlock: {cidr: 192.0.2.0/24}}], ports: [443]}
  api: {from: [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: ingress}}}]}
  metrics: {from: []}
serviceMonitor: {enabled: true, interval: 10s, labels: {release: prometheus}}
rbac:
  agent: [{apiGroups: [""], resources: [namespaces], verbs: [get, list, watch]}]
  agentIn: [{namespaces: [a, b], rules: [{apiGroups: [apps], resources: [deployments], verbs: [get, list, watch]}]}]
  accounts:
    - {name: bases, clusterRules: [{apiGroups: [""], resources: [namespaces], verbs: [get, create, patch]}]}
    - {name: "7", namespace: a, namespaces: [a, b], rules: [{apiGroups: [apps], resources: [deployments], verbs: [get, create, patch, delete]}]}
  people: false
definition: false
"#;

#[test]
fn the_chart_renders_what_is_written_down() {
    for (name, values) in [("least", LEAST), ("everything", EVERYTHING)] {
        let text = Tools::new().template(values, &[]).unwrap();
        is_written_down(&part(&format!("tests/tests/installing/golden/{name}.yaml")), &text);
    }
}

#[test]
fn helm_finds_nothing_to_complain_about() {
    let tools = Tools::new();
    for values in [LEAST, EVERYTHING, &example()] {
        let file = tools.file("values.yaml", values);
        let linted = said(tools.helm(&["lint", "--strict", path(&chart()), "--values", path(&file)])).unwrap();
        assert!(linted.contains("0 chart(s) failed") && !linted.contains("WARNING"), "{linted}");
    }
}

#[test]
fn values_that_mean_nothing_are_refused_by_the_name_of_their_key() {
    let tools = Tools::new();
    for (values, words) in [
        ("{image: {repo: x}}", "'repo' not allowed"),
        ("{replicas: 2}", "'replicas' not allowed"),
        ("{image: {digest: 'sha256:abc'}}", "/image/digest"),
        ("{image: {repository: 'https://x'}}", "/image/repository"),
        ("{config: {environment: prod}}", "/config/environment"),
        ("{config: {instance: Edge}}", "/config/instance"),
        ("{config: {instance: a-name-that-is-longer-than-the-names-of-objects-can-hold}}", "/config/instance"),
        ("{config: {api: {listen: '127.0.0.1:8443'}}}", "/config/api/listen"),
        ("{config: {kind: Platform}}", "/config/kind"),
        ("{secrets: {keys: ''}}", "/secrets/keys"),
        ("{secrets: {identity: x}}", "'identity' not allowed"),
        ("{mounts: [{name: keys, secret: x}]}", "/mounts/0/name"),
        ("{mounts: [{name: x, secret: x, configMap: x}]}", "/mounts/0"),
        ("{storage: {size: large}}", "/storage/size"),
        ("{storage: {accessMode: ReadWriteMany}}", "/storage/accessMode"),
        ("{podLabels: {app.kubernetes.io/name: x}}", "/podLabels/app.kubernetes.io~1name"),
        ("{networkPolicy: {git: {ports: []}}}", "/networkPolicy/git/ports"),
        ("{networkPolicy: {git: {ports: [ssh]}}}", "/networkPolicy/git/ports/0"),
        ("{networkPolicy: {api: {from: [{}]}}}", "/networkPolicy/api/from/0"),
        ("{serviceMonitor: {interval: often}}", "/serviceMonitor/interval"),
        ("{rbac: {agent: [{apiGroups: ['']}]}}", "/rbac/agent/0"),
        ("{rbac: {agent: [{verb: [get]}]}}", "'verb' not allowed"),
        ("{rbac: {accounts: [{name: a}]}}", "/rbac/accounts/0"),
        ("{rbac: {accounts: [{name: a, namespaces: [b], clusterRules: [{verbs: [get]}]}]}}", "/rbac/accounts/0"),
        ("{logFormat: xml}", "/logFormat"),
    ] {
        let complaint = tools.template(&with(LEAST, values), &[]).expect_err(values);
        assert!(complaint.contains(words), "{values}: {complaint}");
    }
    // A name that Helm reads as something else, which no schema can tell.
    let complaint = tools.template(&LEAST.replace("cluster: c", "cluster: c, variables: {Y: 1}"), &[]).unwrap_err();
    assert!(complaint.contains("write them in quotes"), "{complaint}");
}

#[test]
fn what_is_missing_is_named() {
    let tools = Tools::new();
    let nothing = tools.template("{}", &[]).unwrap_err();
    for words in
        ["'/image': missing property 'repository'", "'/config': missing properties 'cluster', 'environment', 'repository'"]
    {
        assert!(nothing.contains(words), "{nothing}");
    }
    // Also where somebody leaves the schema out.
    for (key, words) in [
        ("image: {repository: null}", "image.repository: it is missing"),
        ("config: {cluster: null}", "config.cluster: it is missing"),
        ("config: {environment: null}", "config.environment: it is missing"),
        ("config: {repository: {url: null}}", "config.repository.url: it is missing"),
    ] {
        let complaint = tools.template(&with(LEAST, key), &["--skip-schema-validation"]).unwrap_err();
        assert!(complaint.contains(words), "{key}: {complaint}");
    }
}

#[test]
fn a_digest_wins_over_a_tag_and_a_tag_over_the_version() {
    let tools = Tools::new();
    let image = |values: &str| {
        let objects = tools.objects(&with(LEAST, values));
        let deployment = of_kind(&objects, "Deployment");
        deployment["spec"]["template"]["spec"]["containers"][0]["image"].as_str().unwrap().to_owned()
    };
    let (name, digest) = ("registry.example.com/tk8s-agent", format!("sha256:{}", "0".repeat(64)));
    assert_eq!(image("{}"), format!("{name}:{}", env!("CARGO_PKG_VERSION")));
    assert_eq!(image("image: {tag: v9}"), format!("{name}:v9"));
    assert_eq!(image(&format!("image: {{tag: v9, digest: '{digest}'}}")), format!("{name}@{digest}"));
}

#[test]
fn the_agent_accepts_the_rendered_file_and_refuses_what_it_does_not_know() {
    let tools = Tools::new();
    let check = |values: &str| {
        let file = tools.file("agent.yaml", &agent_file(&tools.objects(values)));
        let checked = Command::new(tk8s_tests::program("tk8s-agent")).args(["check", "--config", path(&file)]).output().unwrap();
        (checked.status.code(), String::from_utf8(checked.stdout).unwrap())
    };
    let dev = with(LEAST, "config: {environment: dev, trust: {signersFile: null, waive: {reason: trying it out}}}");
    for values in [LEAST, EVERYTHING, &example(), &dev] {
        assert_eq!(check(values).0, Some(0), "{}", check(values).1);
    }
    // The schema leaves the agent's own words to the agent.
    let (code, told) = check(&with(LEAST, "config: {repository: {intervall: 1s}}"));
    assert!(code == Some(1) && told.contains("repository.intervall: unknown key: did you mean `interval`?"), "{told}");
}

#[test]
fn two_instances_share_no_object() {
    let tools = Tools::new();
    let first = by_key(tools.objects(LEAST));
    let second = with(LEAST, "{config: {instance: edge}, rbac: {people: false}, definition: false}");
    let second = by_key(tools.objects(&second));
    for key in second.keys() {
        assert!(!first.contains_key(key), "{key}");
    }
    // And each has all else.
    let once =
        ["CustomResourceDefinition", "ClusterRole /tk8s-viewer", "ClusterRole /tk8s-operator", "ClusterRole /tk8s-confirmer"];
    let others = first.keys().filter(|key| !once.iter().any(|once| key.starts_with(once)));
    assert_eq!(others.count(), second.len());
}

#[test]
fn an_account_has_its_rights_where_it_says_and_the_agent_may_act_for_no_other() {
    let objects = by_key(Tools::new().objects(EVERYTHING));
    let rules = |key: &str| objects.get(key).unwrap_or_else(|| panic!("{key}: {:?}", objects.keys()))["rules"].clone();
    let subject = |key: &str| objects[key]["subjects"].clone();
    let everywhere = rules("ClusterRole /tk8s-agent-edge:tk8s-system:bases");
    assert_eq!(everywhere[0]["resources"], serde_json::json!(["namespaces"]));
    for namespace in ["a", "b"] {
        let key = format!("{namespace}/tk8s-agent-edge:a:7");
        assert_eq!(rules(&format!("Role {key}"))[0]["resources"], serde_json::json!(["deployments"]));
        assert_eq!(
            subject(&format!("RoleBinding {key}")),
            serde_json::json!([{"kind": "ServiceAccount", "name": "7", "namespace": "a"}])
        );
    }
    assert!(!objects.contains_key("ClusterRole /tk8s-agent-edge:a:7"));
    let mut acting: Vec<_> = Vec::new();
    for object in objects.values() {
        for rule in object["rules"].as_array().into_iter().flatten() {
            let verbs: Vec<_> = rule["verbs"].as_array().unwrap().iter().map(|verb| verb.as_str().unwrap()).collect();
            assert!(!verbs.iter().any(|verb| ["*", "escalate", "bind"].contains(verb)), "{object}");
            if verbs.contains(&"impersonate") {
                acting.push((object["metadata"]["namespace"].clone(), rule["resourceNames"].clone()));
            }
        }
    }
    acting.sort_by_key(|(namespace, _)| namespace.to_string());
    assert_eq!(serde_json::json!(acting), serde_json::json!([["a", ["7"]], ["tk8s-system", ["bases"]]]));
}
