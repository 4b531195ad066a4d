//! Chart and base on a real API server, with its admission and controllers. What is the cluster's has one name, so these
//! tests take turns, and each removes it again.

use tk8s_tests::cluster::ControlPlane;
use tokio::sync::Mutex;

use super::*;

/// Whose turn it is with what has one name in a cluster.
pub(crate) static TURN: Mutex<()> = Mutex::const_new(());

const DEFINITION: &str = "components.agent.tk8s.io";

/// Takes away what of an instance the whole cluster sees: other tests look for it, and who is alone in the cluster.
pub(crate) fn forget(plane: &ControlPlane, instance: &str) {
    let selector = format!("app.kubernetes.io/name=tk8s-agent,app.kubernetes.io/instance={instance}");
    for kinds in ["deployment", "clusterrole,clusterrolebinding"] {
        plane.kubectl(&["delete", kinds, "-A", "-l", &selector, "--ignore-not-found"]);
    }
    let people = ["tk8s-viewer", "tk8s-operator", "tk8s-confirmer"];
    plane.kubectl(&[&["delete", "--ignore-not-found", "clusterrole"], &people[..]].concat());
    plane.kubectl(&["delete", "--ignore-not-found", "crd", DEFINITION]);
    plane.until("", &["get", "crd", DEFINITION, "--ignore-not-found", "-o", "name"]);
}

/// A namespace under the strictest profile, with the Secrets that a person makes before.
fn prepare(plane: &ControlPlane, namespace: &str) {
    plane.kubectl(&["create", "namespace", namespace]);
    plane.kubectl(&["label", "namespace", namespace, "pod-security.kubernetes.io/enforce=restricted"]);
    make_secrets(plane, namespace);
}

fn make_secrets(plane: &ControlPlane, namespace: &str) {
    for (name, keys) in [("tk8s-agent-keys", ["identity.pem", "encryption.key"]), ("tk8s-agent-git", ["id", "known_hosts"])] {
        let keys = keys.map(|key| format!("--from-literal={key}=something"));
        plane.kubectl(&["-n", namespace, "create", "secret", "generic", name, &keys[0], &keys[1]]);
    }
}

fn get(plane: &ControlPlane, namespace: &str, what: &[&str]) -> Value {
    let found = plane.kubectl(&[&["-n", namespace, "get", "-o", "json"], what].concat());
    serde_json::from_str(&found).unwrap()
}

/// Waits until the Deployment has made a Pod with this image, which shows that admission let it in; the Pod.
fn until_pod(plane: &ControlPlane, namespace: &str, image: &str) -> Value {
    until_pod_of(plane, namespace, "tk8s-agent", |pod| pod["spec"]["containers"][0]["image"] == image)
}

/// The same, of whoever is called so.
pub(crate) fn until_pod_of(plane: &ControlPlane, namespace: &str, name: &str, is: impl Fn(&Value) -> bool) -> Value {
    let begun = std::time::Instant::now();
    loop {
        let pods = get(plane, namespace, &["pods", "-l", &format!("app.kubernetes.io/name={name}")]);
        let is_it = |pod: &&Value| is(pod) && pod["metadata"]["deletionTimestamp"].is_null();
        if let Some(pod) = pods["items"].as_array().unwrap().iter().find(is_it) {
            return pod.clone();
        }
        let events = || plane.kubectl(&["-n", namespace, "get", "events"]);
        assert!(begun.elapsed().as_secs() < 60, "no such Pod of {name}: {pods}\n{}", events());
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
}

/// What has to survive whatever Helm does: who they are, and what the agent's own hold.
fn what_stays(plane: &ControlPlane, namespace: &str) -> Value {
    let part = |kind: &str, name: &str, pointers: &[&str]| -> Vec<Value> {
        let object = get(plane, namespace, &[kind, name]);
        pointers.iter().map(|pointer| object.pointer(pointer).cloned().unwrap_or_default()).collect()
    };
    let whole = &["/metadata/uid", "/metadata/resourceVersion"][..];
    serde_json::json!([
        part("pvc", "tk8s-agent-history", &["/metadata/uid", "/spec", "/metadata/deletionTimestamp"]),
        part("secret", "tk8s-agent-keys", whole),
        part("secret", "tk8s-agent-git", whole),
        part("configmap", "tk8s-agent-tk8s", whole),
        part("lease", "tk8s-agent-tk8s", whole),
        part("components.agent.tk8s.io", "web", whole),
        part("crd", DEFINITION, &["/metadata/uid", "/metadata/deletionTimestamp"]),
    ])
}

#[test]
fn an_upgrade_and_an_uninstall_leave_volume_keys_history_and_what_was_deployed() {
    let _turn = TURN.blocking_lock();
    let (plane, tools, namespace) = (ControlPlane::shared(), Tools::new(), "tk8s-by-helm");
    prepare(plane, namespace);
    let helm = |arguments: &[&str]| {
        let kubeconfig = path(plane.kubeconfig());
        said(tools.helm(&[arguments, &["--namespace", namespace, "--kubeconfig", kubeconfig]].concat())).unwrap()
    };
    // An older version of the chart, as far as there was one.
    let older = tools.0.path().join("older");
    assert!(Command::new("cp").arg("-r").arg(chart()).arg(&older).status().unwrap().success());
    let described = std::fs::read_to_string(older.join("Chart.yaml")).unwrap();
    std::fs::write(older.join("Chart.yaml"), described.replace(env!("CARGO_PKG_VERSION"), "0.0.9")).unwrap();
    let first = tools.file("first.yaml", &with(&example(), "image: {digest: null, tag: one}"));
    helm(&["install", "tk8s", path(&older), "--values", path(&first)]);
    until_pod(plane, namespace, "registry.example.com/tk8s-agent:one");
    // What the agent would have made by now.
    let own = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: tk8s-agent-tk8s, namespace: NS}\ndata: {anchor: here}\n---\napiVersion: coordination.k8s.io/v1\nkind: Lease\nmetadata: {name: tk8s-agent-tk8s, namespace: NS}\n---\napiVersion: agent.tk8s.io/v1alpha1\nkind: Component\nmetadata: {name: web, namespace: NS}\n";
    plane.until("True", &["get", "crd", DEFINITION, "-o", r#"jsonpath={.status.conditions[?(@.type=="Established")].status}"#]);
    plane.apply(&own.replace("NS", namespace));
    let (before, selector) = (what_stays(plane, namespace), selector(plane, namespace));

    let changed = "{image: {digest: null, tag: two}, config: {cluster: elsewhere}, resources: {limits: {memory: 3Gi}}, networkPolicy: {enabled: false}, rbac: {accounts: []}}";
    let second = tools.file("second.yaml", &with(&example(), changed));
    helm(&["upgrade", "tk8s", path(&chart()), "--values", path(&second)]);
    until_pod(plane, namespace, "registry.example.com/tk8s-agent:two");
    assert_eq!((what_stays(plane, namespace), self::selector(plane, namespace)), (before.clone(), selector.clone()));
    let pods = get(plane, namespace, &["pods"]);
    assert_eq!(pods["items"].as_array().unwrap().len(), 1, "never two at once: {pods}");
    let role = plane.kubectl(&["get", "clusterrole", "tk8s-agent:tk8s-system:shops", "--ignore-not-found", "-o", "name"]);
    assert_eq!(role, "", "a right that is no value any more is taken back");

    helm(&["rollback", "tk8s", "1"]);
    until_pod(plane, namespace, "registry.example.com/tk8s-agent:one");
    assert_eq!((what_stays(plane, namespace), self::selector(plane, namespace)), (before.clone(), selector.clone()));

    helm(&["uninstall", "tk8s"]);
    plane.until("", &["-n", namespace, "get", "deployment,service,role,networkpolicy", "--ignore-not-found", "-o", "name"]);
    assert_eq!(what_stays(plane, namespace), before);
    plane.until("", &["get", "clusterrole,clusterrolebinding", "-l", "app.kubernetes.io/name=tk8s-agent", "-o", "name"]);
    // And takes it up again where it was left.
    helm(&["install", "tk8s", path(&chart()), "--values", path(&first)]);
    until_pod(plane, namespace, "registry.example.com/tk8s-agent:one");
    assert_eq!((what_stays(plane, namespace), self::selector(plane, namespace)), (before, selector));
    helm(&["uninstall", "tk8s"]);
    plane.kubectl(&["delete", "crd", DEFINITION]);
}

/// What a Deployment's Pods are known by, which can't be changed.
fn selector(plane: &ControlPlane, namespace: &str) -> Value {
    get(plane, namespace, &["deployment", "tk8s-agent"])["spec"]["selector"].clone()
}

#[test]
fn whoever_installs_is_told_which_secrets_are_missing_and_how_to_make_them() {
    let _turn = TURN.blocking_lock();
    let (plane, tools, namespace) = (ControlPlane::shared(), Tools::new(), "tk8s-told");
    plane.kubectl(&["create", "namespace", namespace]);
    let values = tools.file("values.yaml", &with(&example(), "rbac: {agent: [], accounts: []}"));
    let chart = chart();
    let helm = |act: &[&str]| {
        let settings = ["--namespace", namespace, "--kubeconfig", path(plane.kubeconfig())];
        said(tools.helm(&[act, &settings].concat()))
    };
    // An agent brought its definition along before there was a chart.
    plane.apply(&std::fs::read_to_string(part("agent/crds/components.yaml")).unwrap());
    let install = ["install", "tk8s", path(&chart), "--values", path(&values)];
    let refused = helm(&install).unwrap_err();
    assert!(refused.contains("invalid ownership metadata") && refused.contains(DEFINITION), "{refused}");
    let told = helm(&[&install[..], &["--take-ownership"]].concat()).unwrap();
    for words in [
        "does not start before these Secrets exist in tk8s-told: tk8s-agent-keys, tk8s-agent-git.",
        "openssl genpkey -algorithm ed25519",
        "create secret generic tk8s-agent-git --from-file=id",
        "It may read and write nothing of the platform yet",
        "kubectl -n tk8s-told rollout status deployment/tk8s-agent",
    ] {
        assert!(told.contains(words), "{words}: {told}");
    }
    make_secrets(plane, namespace);
    let values = tools.file("values.yaml", &example());
    let told = helm(&["upgrade", "tk8s", path(&chart), "--values", path(&values)]).unwrap();
    assert!(!told.contains("Secrets exist") && !told.contains("nothing of the platform") && told.contains("Next:"), "{told}");
    helm(&["uninstall", "tk8s"]).unwrap();
    plane.kubectl(&["delete", "crd", DEFINITION]);
}

#[test]
fn the_base_is_accepted_whole_and_its_pod_by_the_strictest_profile() {
    let _turn = TURN.blocking_lock();
    let (plane, tools) = (ControlPlane::shared(), Tools::new());
    let objects = tools.kustomize(&part("install/example"));
    let text = |objects: &[&Value]| objects.iter().map(|object| format!("{object}\n---\n")).collect::<String>();
    let apply = |objects: &[&Value], more: &[&str]| {
        plane.kubectl_with(&[&["apply", "--server-side", "-f", "-"], more].concat(), &text(objects)).unwrap()
    };
    let (namespace, others): (Vec<_>, Vec<_>) = objects.iter().partition(|object| object["kind"] == "Namespace");
    apply(&namespace, &[]);
    make_secrets(plane, "tk8s-system");
    let tried = apply(&others, &["--dry-run=server", "--warnings-as-errors"]);
    assert_eq!(tried.lines().filter(|line| line.ends_with("(server dry run)")).count(), others.len(), "{tried}");
    apply(&others, &["--warnings-as-errors"]);
    let image = of_kind(&objects, "Deployment")["spec"]["template"]["spec"]["containers"][0]["image"].clone();
    let mut pod = until_pod(plane, "tk8s-system", image.as_str().unwrap());
    // The profile is in force: the same Pod, a little less confined, is kept out.
    for (place, value) in [
        ("/spec/securityContext/seccompProfile", serde_json::json!({"type": "Unconfined"})),
        ("/spec/containers/0/securityContext/allowPrivilegeEscalation", true.into()),
    ] {
        pod["metadata"] = serde_json::json!({"name": "less", "namespace": "tk8s-system"});
        let before = pod.pointer(place).unwrap().clone();
        *pod.pointer_mut(place).unwrap() = value;
        let refused = plane.kubectl_with(&["create", "--dry-run=server", "-f", "-"], &pod.to_string()).unwrap_err();
        assert!(refused.contains("violates PodSecurity \"restricted"), "{refused}");
        *pod.pointer_mut(place).unwrap() = before;
    }
    plane.kubectl_with(&["delete", "--ignore-not-found", "-f", "-"], &text(&others)).unwrap();
    plane.kubectl(&["delete", "namespace", "tk8s-system", "--wait=false"]);
}

#[test]
fn what_people_may_is_asked_of_the_cluster_and_answered_by_the_roles() {
    let _turn = TURN.blocking_lock();
    let (plane, tools, namespace) = (ControlPlane::shared(), Tools::new(), "tk8s-people");
    plane.kubectl(&["create", "namespace", namespace]);
    let objects = tools.objects(LEAST);
    let needed = ["CustomResourceDefinition", "ClusterRole"];
    let needed: Vec<_> = objects.iter().filter(|object| needed.contains(&object["kind"].as_str().unwrap())).collect();
    let text: String = needed.iter().map(|object| format!("{object}\n---\n")).collect();
    plane.apply(&text);
    plane.until("True", &["get", "crd", DEFINITION, "-o", r#"jsonpath={.status.conditions[?(@.type=="Established")].status}"#]);
    let bind = |user: &str, role: &str| {
        let name = format!("people-{user}");
        plane.kubectl(&[
            "-n",
            namespace,
            "create",
            "rolebinding",
            &name,
            &format!("--clusterrole={role}"),
            &format!("--user={user}"),
        ]);
    };
    for (user, role) in
        [("vera", "tk8s-viewer"), ("otto", "tk8s-operator"), ("carl", "tk8s-confirmer"), ("walt", "view"), ("emma", "edit")]
    {
        bind(user, role);
    }
    let may = |user: &str, verb: &str, namespace: &str| {
        // `no` is an exit code of 1.
        let review = serde_json::json!({
            "apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview",
            "spec": {"user": user, "resourceAttributes": {"group": "agent.tk8s.io", "resource": "components", "verb": verb, "namespace": namespace}},
        });
        let made = plane.kubectl_with(&["create", "-f", "-", "-o", "jsonpath={.status.allowed}"], &review.to_string()).unwrap();
        made == "true"
    };
    // A controller puts the aggregated role together.
    let begun = std::time::Instant::now();
    while !may("walt", "get", namespace) {
        assert!(begun.elapsed().as_secs() < 60, "`view` does not get what `tk8s-viewer` has");
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    let verbs = ["get", "sync", "rollback", "hold", "confirm", "delete", "update"];
    for (user, allowed) in [
        ("vera", &["get"][..]),
        ("walt", &["get"]),
        ("emma", &["get"]),
        ("otto", &["get", "sync", "rollback", "hold"]),
        ("carl", &["get", "confirm"]),
        ("nobody", &[]),
    ] {
        for verb in verbs {
            assert_eq!(may(user, verb, namespace), allowed.contains(&verb), "{user} {verb}");
            assert!(!may(user, verb, "default"), "{user} {verb}: bound in one namespace only");
        }
    }
    plane.kubectl_with(&["delete", "-f", "-"], &text).unwrap();
}
