//! Who may call the agent: identities of the cluster, with rights that are given as everywhere in Kubernetes; and how a
//! command finds the agent and knows that it is the one.

use std::collections::BTreeMap;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use serde_json::Value;
use tk8s_tests::kubelet::Kubelet;
use tk8s_tests::program;
use tk8s_tests::proxy::Fault;
use tk8s_tests::system::System;

/// For how long an answer is believed, and a good deal.
const BELIEVED: Duration = Duration::from_secs(30);
const VERBS: [&str; 5] = ["get", "sync", "rollback", "hold", "confirm"];

/// Two components that run, behind TLS. There is a file with a token besides, as long as `keys` does not say otherwise.
async fn start(name: &str, keys: &str) -> System {
    let mut system = System::new(name).await;
    system.api = keys.into();
    system.write_platform(&[&["one", "two"]]);
    system.write_map("one", "first");
    system.write_map("two", "first");
    system.commit("first");
    system.start();
    system.believe();
    system.until_all("Healthy");
    system
}

/// A service account that may this.
fn account(system: &System, name: &str, verbs: &[&str], names: &[&str]) {
    let yaml = format!(
        "apiVersion: v1
kind: ServiceAccount
metadata: {{name: {name}, namespace: {0}}}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {{name: {name}, namespace: {0}}}
rules: [{{apiGroups: [agent.tk8s.io], resources: [components], verbs: {verbs:?}, resourceNames: {names:?}}}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {{name: {name}, namespace: {0}}}
roleRef: {{apiGroup: rbac.authorization.k8s.io, kind: Role, name: {name}}}
subjects: [{{kind: ServiceAccount, name: {name}, namespace: {0}}}]
",
        system.name
    );
    let yaml = if verbs.is_empty() { yaml.split("---").next().unwrap().to_owned() } else { yaml };
    system.plane.apply(&yaml);
}

/// A token of an account, for this audience; for the API server's own if none is named.
fn token(system: &System, account: &str, audience: Option<&str>) -> String {
    let mut words = vec!["create", "token", account];
    words.extend(audience.into_iter().flat_map(|audience| ["--audience", audience]));
    system.kubectl(&words).trim().to_owned()
}

/// Status and answer of one call, with these headers.
fn call(system: &System, headers: &[&str], method: &str, path: &str, body: &str) -> (u16, Value) {
    let port = system.address("api").rsplit(':').next().unwrap().to_owned();
    let mut command = Command::new("curl");
    command.args(["-sS", "--noproxy", "*", "--max-time", "60", "--cacert"]).arg(system.file("ca.crt"));
    for header in headers {
        command.args(["-H", header]);
    }
    if method == "POST" {
        command.args(["-H", "content-type: application/json", "-d", body]);
    }
    let url = format!("https://localhost:{port}{path}");
    let output = command.args(["-X", method, "-w", "\n%{http_code}", &url]).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let (answer, status) = text.rsplit_once('\n').unwrap_or_else(|| panic!("{path}: {output:?}"));
    (status.parse().unwrap(), serde_json::from_str(answer).unwrap_or_default())
}

fn call_as(system: &System, token: &str, method: &str, path: &str) -> (u16, Value) {
    // A body that no route takes, so that nothing is done by whoever gets as far as that.
    call(system, &[&format!("Authorization: Bearer {token}")], method, path, r#"{"nobody knows": "this"}"#)
}

fn status(system: &System, token: &str) -> (u16, Value) {
    call_as(system, token, "GET", "/api/v1/status")
}

/// Every route of the page about the API, with the right that it asks for. That the page has every route is another test.
fn routes() -> Vec<(String, String, String)> {
    let page = include_str!("../../../docs/api.md");
    let mut routes = Vec::new();
    for row in page.lines().filter(|line| line.starts_with("| `GET ") || line.starts_with("| `POST ")) {
        let cells: Vec<_> = row.split(" | ").map(|cell| cell.trim_matches(['|', ' '])).collect();
        for route in cells[0].split(", ") {
            let (method, path) = route.trim_matches('`').split_once(' ').unwrap();
            let whom: &[&str] = match path.starts_with("WHOM") {
                true => &["/api/v1/components/{name}", "/api/v1/layers/{name}", "/api/v1"],
                false => &[""],
            };
            let of_each = whom.iter().map(|whom| {
                let right = cells[1].trim_matches('`').to_owned();
                (method.to_owned(), path.replace("WHOM", whom), right)
            });
            routes.extend(of_each);
        }
    }
    routes
}

/// A path that there is, about the component `one` where it is about a component.
fn filled(path: &str) -> String {
    let name = if path.contains("/layers/") { "l0" } else { "one" };
    let values = [
        ("{name}", name),
        ("{release}", "1"),
        ("{other}", "1"),
        ("{deletions}", "one.1.0123456789abcdef"),
        ("{tag}", "v1.0.0"),
        ("{incident}", "rewritten.main.0123"),
        ("{*path}", "tile/0/000"),
        ("{blob}", "sha256:00"),
    ];
    let path = values.iter().fold(path.to_owned(), |path, (parameter, value)| path.replace(parameter, value));
    assert!(!path.contains('{'), "{path}: what is meant by its parameter?");
    path
}

#[tokio::test(flavor = "multi_thread")]
async fn every_route_is_open_to_exactly_those_who_have_its_right() {
    let system = start("matrix", "").await;
    let mut roles: BTreeMap<String, (Vec<&str>, bool)> = VERBS.map(|verb| (format!("only-{verb}"), (vec![verb], true))).into();
    roles.insert("all".into(), (VERBS.to_vec(), true));
    roles.insert("nothing".into(), (Vec::new(), true));
    roles.insert("one-component".into(), (VERBS.to_vec(), false));
    for (role, (verbs, everywhere)) in &roles {
        account(&system, role, verbs, if *everywhere { &[] } else { &["one"] });
    }
    // All rights, in another namespace than the agent's, and on another group's resource.
    system.plane.kubectl(&["create", "namespace", "matrix-elsewhere"]);
    system.plane.apply(
        "apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: elsewhere, namespace: matrix-elsewhere}
rules: [{apiGroups: [agent.tk8s.io], resources: [components], verbs: ['*']}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: elsewhere, namespace: matrix-elsewhere}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: elsewhere}
subjects: [{kind: ServiceAccount, name: elsewhere, namespace: matrix}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: elsewhere, namespace: matrix}
rules: [{apiGroups: [apps], resources: [components], verbs: ['*']}, {apiGroups: [agent.tk8s.io], resources: [components/status], verbs: ['*']}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: elsewhere, namespace: matrix}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: elsewhere}
subjects: [{kind: ServiceAccount, name: elsewhere, namespace: matrix}]
",
    );
    account(&system, "elsewhere", &[], &[]);
    roles.insert("elsewhere".into(), (Vec::new(), true));

    let (routes, mut allowed, mut refused) = (routes(), 0, 0);
    assert!(routes.len() > 25, "{routes:?}");
    for (role, (verbs, everywhere)) in &roles {
        let token = token(&system, role, Some("tk8s-agent"));
        for (method, path, right) in &routes {
            if path.starts_with("/webhooks/") {
                // Their bodies are signed; a token is no help.
                assert_eq!((call_as(&system, &token, method, path).0, right.as_str()), (401, ""), "{path}");
                continue;
            }
            assert!(VERBS.contains(&right.as_str()), "{path} asks for {right}");
            let about_one = path.starts_with("/api/v1/components/{name}") || path.starts_with("/api/v1/plans/{deletions}");
            let may = verbs.contains(&right.as_str()) && (*everywhere || about_one);
            let path = filled(path);
            let (status, answer) = call_as(&system, &token, method, &path);
            let message = answer["message"].as_str().unwrap_or_default();
            if may {
                allowed += 1;
                let past_the_gate = ![401, 403, 405, 500, 503].contains(&status) && answer["reason"] != "NoSuchRoute";
                assert!(past_the_gate, "{role} may {method} {path}: {status} {answer}");
            } else {
                refused += 1;
                assert_eq!((status, answer["reason"].as_str()), (403, Some("Forbidden")), "{role} may not {method} {path}");
                let name = if about_one { "/one" } else { "" };
                let shows = format!(
                    "kubectl auth can-i {right} components.agent.tk8s.io{name} -n matrix --as=system:serviceaccount:matrix:{role}"
                );
                assert!(message.ends_with(&shows), "{message}");
            }
            // Without a token nobody gets anywhere.
            assert_eq!(call(&system, &[], method, &path, "").0, 401, "{path}");
        }
    }
    assert!(allowed > 60 && refused > 120, "{allowed} allowed, {refused} refused");
    // What a refusal says to run says no, and yes for whoever may.
    for (role, expected) in [("nothing", "no"), ("one-component", "yes")] {
        let user = format!("--as=system:serviceaccount:matrix:{role}");
        let asked = ["auth", "can-i", "rollback", "components.agent.tk8s.io/one", "-n", "matrix", &user];
        let said = system.plane.kubectl_with(&asked, "");
        let said = said.unwrap_or_else(|_| "no".into());
        assert_eq!(said.trim(), expected, "{role}");
    }
    // A name with an escape in it is the name that it stands for, to the gate as to what is behind it.
    let one = token(&system, "one-component", Some("tk8s-agent"));
    assert_eq!(call_as(&system, &one, "GET", "/api/v1/components/on%65/history").0, 200);
    for path in [
        "/api/v1/components/one%2F..%2Ftwo",
        "/api/v1/components/two",
        "/api/v1/components/one/../two",
        "/api/v1/components/tw%6f",
    ] {
        assert_eq!(call_as(&system, &one, "GET", path).0, 403, "{path}");
    }
    assert_eq!((system.map("one"), system.map("two")), ("first".into(), "first".into()));
}

/// A token as the API server makes it, signed with its key, whose times are shifted by so many seconds.
fn forged(system: &System, of: &str, shift: i64) -> String {
    let home = std::fs::canonicalize(system.plane.audit_log()).unwrap();
    let key = home.parent().unwrap().join("service-account.key");
    let script = r#"
import base64, json, subprocess, sys
key, shift, token = sys.argv[1], int(sys.argv[2]), sys.argv[3]
decode = lambda part: json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
encode = lambda data: base64.urlsafe_b64encode(data).rstrip(b"=").decode()
header, claims, _ = token.split(".")
claims = decode(claims)
for name in ("exp", "iat", "nbf"):
    claims[name] += shift
signed = header + "." + encode(json.dumps(claims).encode())
signature = subprocess.run(["openssl", "dgst", "-sha256", "-sign", key], input=signed.encode(), capture_output=True, check=True).stdout
print(signed + "." + encode(signature))
"#;
    let output = Command::new("python3").args(["-c", script]).arg(key).arg(shift.to_string()).arg(of).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_is_who_the_cluster_says_by_a_token_that_was_made_for_the_agent_and_is_still_good() {
    let system = start("callers", "").await;
    for name in ["operator", "leaves"] {
        account(&system, name, &VERBS, &[]);
    }
    let good = token(&system, "operator", Some("tk8s-agent"));
    assert_eq!(status(&system, &good).0, 200);
    // The control: what is signed with that key and has not run out is good.
    assert_eq!(status(&system, &forged(&system, &good, -5)).0, 200);
    let (head, rest) = good.split_at(good.len() - 10);
    for (what, bad) in [
        ("for the API server", token(&system, "operator", None)),
        ("for somebody else", token(&system, "operator", Some("vault"))),
        ("run out", forged(&system, &good, -7200)),
        ("not good yet", forged(&system, &good, 7200)),
        ("with another signature", format!("{head}{}", rest.chars().rev().collect::<String>())),
        ("without one", format!("{}.", good.rsplit_once('.').unwrap().0)),
        ("garbage", "garbage".into()),
        ("the administrator's, of a file of the API server", administrator(&system)),
        ("huge", "a".repeat(20_000)),
    ] {
        let (code, answer) = status(&system, &bad);
        assert_eq!((code, answer["reason"].as_str()), (401, Some("Unauthenticated")), "{what}: {answer}");
    }
    let told = status(&system, "garbage").1["message"].as_str().unwrap().to_owned();
    assert!(told.contains("made for `tk8s-agent`") && told.contains("kubectl create token"), "{told}");
    // Who one is, is in the token and nowhere else.
    let bearer = format!("Authorization: Bearer {good}");
    for headers in [
        vec!["Impersonate-User: admin"],
        vec!["X-Remote-User: admin", "X-Remote-Group: system:masters"],
        vec!["Authorization: Bearer"],
        vec!["Authorization: Basic YWRtaW46YWRtaW4="],
        vec![&bearer, &bearer],
        vec!["Authorization: Bearer garbage", &bearer],
    ] {
        assert_eq!(call(&system, &headers, "GET", "/api/v1/status", "").0, 401, "{headers:?}");
    }
    // The ledger names people.
    system.bring("two", &["second"]);
    let held = command_as(&system, &good, &["hold", "one", "--reason", "because"]);
    assert!(held.status.success(), "{}", said(&held));
    let held = system.component("one")["hold"].clone();
    assert_eq!(held["by"], "system:serviceaccount:callers:operator", "{held}");
    assert!(command_as(&system, &good, &["rollback", "two", "--to", "1", "--reason", "because"]).status.success());
    let story = said(&command_as(&system, &good, &["history", "show", "two", "1"]));
    assert!(story.contains("by system:serviceaccount:callers:operator"), "{story}");

    // Somebody who leaves, and somebody who loses a right.
    let leaves = token(&system, "leaves", Some("tk8s-agent"));
    assert_eq!(status(&system, &leaves).0, 200);
    system.kubectl(&["delete", "serviceaccount", "leaves"]);
    until(401, || status(&system, &leaves).0);
    system.kubectl(&["delete", "rolebinding", "operator"]);
    until(403, || status(&system, &good).0);
}

fn until(expected: u16, is: impl Fn() -> u16) {
    let begun = Instant::now();
    while is() != expected {
        assert!(begun.elapsed() < BELIEVED, "it is believed for too long");
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// A command of whoever has this token, by the agent's address.
fn command_as(system: &System, token: &str, arguments: &[&str]) -> Output {
    let file = system.file("token-of-a-caller");
    std::fs::write(&file, token).unwrap();
    Command::new(program("tk8s-agent"))
        .args(arguments)
        .args(["--server", &format!("https://{}", system.address("api")), "--ca-file"])
        .arg(system.file("ca.crt"))
        .arg("--token-file")
        .arg(file)
        .output()
        .unwrap()
}

/// The token in the administrator's kubeconfig.
fn administrator(system: &System) -> String {
    let text = std::fs::read_to_string(system.plane.kubeconfig()).unwrap();
    let (_, rest) = text.split_once("token: \"").unwrap();
    rest.split('"').next().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_of_the_api_server_are_taken_only_where_the_agent_s_file_says_so() {
    let keys = "audiences: [tk8s-agent, 'https://kubernetes.default.svc']";
    let system = start("own-audience", keys).await;
    account(&system, "operator", &["get"], &[]);
    for token in [token(&system, "operator", None), token(&system, "operator", Some("tk8s-agent")), administrator(&system)] {
        assert_eq!(status(&system, &token).0, 200);
    }
    assert_eq!(status(&system, &token(&system, "operator", Some("vault"))).0, 401);
    assert!(command_as(&system, &administrator(&system), &["hold", "one", "--reason", "because"]).status.success());
    assert_eq!(system.component("one")["hold"]["by"], "admin");
    // The file says something else from now on: nothing that was known before counts.
    system.configure(&system.configuration().replace(", 'https://kubernetes.default.svc'", ""));
    until(401, || status(&system, &administrator(&system)).0);
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_let_in_while_the_cluster_does_not_say_who_calls_or_what_they_may() {
    let system = start("no-answer", "").await;
    account(&system, "operator", &VERBS, &[]);
    let reviews = ["tokenreviews", "subjectaccessreviews"];
    for (number, review) in reviews.into_iter().enumerate() {
        for (code, reason) in [(500, "InternalError"), (429, "TooManyRequests"), (403, "Forbidden")] {
            let fault = Fault::Status { code, reason, retry_after: None };
            system.proxy.disturb(1000, fault, move |seen| seen.uri.contains(review));
            let token = token(&system, "operator", Some("tk8s-agent"));
            let (status_code, answer) = status(&system, &token);
            assert_eq!((status_code, answer["reason"].as_str()), (503, Some("ReviewFailed")), "{review} {code}: {answer}");
            let message = answer["message"].as_str().unwrap();
            let group = ["authentication.k8s.io", "authorization.k8s.io"][number];
            let missing = format!("the agent itself may not `create {review}.{group}`");
            assert_eq!(message.contains(&missing), code == 403, "{message}");
            // That is not remembered.
            system.proxy.calm();
            assert_eq!(status(&system, &token).0, 200, "{review} {code}");
        }
        // An API server that keeps silent.
        system.proxy.disturb(1000, Fault::Silence, move |seen| seen.uri.contains(review));
        let silent = token(&system, "operator", Some("tk8s-agent"));
        let (status_code, answer) = status(&system, &silent);
        assert_eq!(status_code, 503, "{answer}");
        assert!(answer["message"].as_str().unwrap().contains("in time"), "{answer}");
        system.proxy.calm();
        assert_eq!(status(&system, &silent).0, 200);
    }
    // Nobody is asked about twice in a moment.
    let token = token(&system, "operator", Some("tk8s-agent"));
    system.proxy.take_seen();
    for _ in 0..5 {
        assert_eq!(status(&system, &token).0, 200);
    }
    let asked = system.proxy.take_seen().into_iter().filter(|seen| reviews.iter().any(|review| seen.uri.contains(review)));
    assert!(asked.count() <= 4);
}

/// A Pod that stands for the agent's, on a node that forwards to this machine.
fn pod(system: &System, node: &str) {
    let (name, port) = (&system.name, system.address("api").rsplit(':').next().unwrap().to_owned());
    system.plane.apply(&format!(
        "apiVersion: v1
kind: Pod
metadata:
  name: agent
  namespace: {name}
  labels: {{app.kubernetes.io/name: tk8s-agent, app.kubernetes.io/instance: {name}}}
spec:
  nodeName: {node}
  tolerations: [{{operator: Exists}}]
  containers: [{{name: agent, image: 'agent:1', ports: [{{name: api, containerPort: {port}}}]}}]
"
    ));
    let status = r#"{"status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}}"#;
    system.kubectl(&["patch", "pod", "agent", "--subresource=status", "--type=merge", "-p", status]);
}

/// A command with no address, and whatever the environment of the test says taken from it.
fn command(system: &System, kubeconfig: &std::path::Path, arguments: &[&str]) -> Output {
    Command::new(program("tk8s-agent"))
        .args(arguments)
        .args(["--namespace", &system.name, "--kubeconfig"])
        .arg(kubeconfig)
        .env_remove("TK8S_SERVER")
        .env_remove("TK8S_TOKEN_FILE")
        .output()
        .unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&[output.stdout.as_slice(), &output.stderr].concat()).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_finds_the_agent_through_the_kubeconfig_and_speaks_to_nobody_else() {
    let system = start("found", "").await;
    account(&system, "operator", &VERBS, &[]);
    let kubelet = Kubelet::start(system.plane, "found-node", "");
    let admin = system.plane.kubeconfig().to_owned();
    let as_operator = ["--service-account", "found/operator"];
    let none = command(&system, &admin, &[&["status"][..], &as_operator].concat());
    assert_eq!(none.status.code(), Some(69), "{none:?}");
    assert!(said(&none).contains("no Pod there has the labels app.kubernetes.io/name=tk8s-agent"), "{}", said(&none));
    pod(&system, "found-node");

    // A token is asked for in the name of the account, and the ledger has that name.
    let held = command(&system, &admin, &[&["hold", "one", "--reason", "because"][..], &as_operator].concat());
    assert_eq!(String::from_utf8_lossy(&held.stdout), "one is held at release 1\n", "{}", said(&held));
    assert_eq!(system.component("one")["hold"]["by"], "system:serviceaccount:found:operator");
    assert!(kubelet.asked().contains("/portForward/found/agent?port="), "{}", kubelet.asked());

    // Somebody who has nothing but what the page about the API says, and what a command that may not is told.
    account(&system, "caller", &["get"], &[]);
    let rights =
        include_str!("../../../docs/api.md").split("```yaml\n").find(|block| block.contains("name: tk8s-agent-caller")).unwrap();
    let rights = rights
        .split("```")
        .next()
        .unwrap()
        .replace("tk8s-system", "found")
        .replace("tk8s-agent-tk8s-api", "tk8s-agent-found-api");
    let theirs = system.file("caller.kubeconfig");
    system.plane.write_kubeconfig_of(&token(&system, "caller", None), &theirs);
    let for_agent = system.file("for-agent");
    std::fs::write(&for_agent, token(&system, "caller", Some("tk8s-agent"))).unwrap();
    let with_file = ["--token-file", for_agent.to_str().unwrap()];
    let may_not = command(&system, &theirs, &[&["status"][..], &with_file].concat());
    assert!(said(&may_not).contains("commands need `get` and `list` on `pods`"), "{}", said(&may_not));
    system.plane.apply(&rights);
    let binding = ["create", "rolebinding", "tk8s-agent-caller", "--role=tk8s-agent-caller", "--serviceaccount=found:caller"];
    system.kubectl(&binding);
    system.until("the right is in force", || command(&system, &theirs, &[&["status"][..], &with_file].concat()).status.success());
    let refused = command(&system, &theirs, &[&["resume", "one"][..], &with_file].concat());
    assert_eq!(refused.status.code(), Some(1));
    assert!(
        said(&refused).contains("the agent refused (403): Forbidden: system:serviceaccount:found:caller may not hold"),
        "{refused:?}"
    );

    // The kubeconfig's own token is good for the whole cluster: it is not sent unless somebody says so.
    let asked = kubelet.asked();
    let kept = command(&system, &theirs, &["status"]);
    assert_eq!(kept.status.code(), Some(2), "{kept:?}");
    assert!(said(&kept).contains("was made for `https://kubernetes.default.svc`, not for `tk8s-agent`"), "{}", said(&kept));
    let opaque = command(&system, &admin, &["status"]);
    assert!(said(&opaque).contains("does not say whom it was made for"), "{}", said(&opaque));
    assert_eq!(kubelet.asked(), asked, "nothing was sent");
    let sent = command(&system, &theirs, &["status", "--kubeconfig-token"]);
    assert!(said(&sent).contains("the agent does not know this token"), "{}", said(&sent));
    // One that was made for the agent is.
    let both = system.file("both.kubeconfig");
    system.plane.write_kubeconfig_of(
        system
            .kubectl(&["create", "token", "caller", "--audience=tk8s-agent", "--audience=https://kubernetes.default.svc"])
            .trim(),
        &both,
    );
    assert!(command(&system, &both, &["status"]).status.success());

    assert!(command(&system, &both, &["status", "--context", "c"]).status.success());
    let nowhere = command(&system, &both, &["status", "--context", "nowhere"]);
    assert_eq!(nowhere.status.code(), Some(2), "{nowhere:?}");
    assert!(said(&nowhere).contains("nowhere"), "{}", said(&nowhere));

    // Another certificate than the published one: no token is sent, whoever it is who answers.
    let other = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=tk8s-agent", "-keyout", "/dev/null"])
        .output()
        .unwrap();
    let patch = serde_json::json!({"data": {"ca.crt": String::from_utf8(other.stdout).unwrap()}}).to_string();
    system.kubectl(&["patch", "configmap", "tk8s-agent-found-api", "--type=merge", "-p", &patch]);
    let strange = command(&system, &admin, &[&["status"][..], &as_operator].concat());
    assert_eq!(strange.status.code(), Some(69), "{strange:?}");
    assert!(said(&strange).contains("has to have the certificate in the ConfigMap tk8s-agent-found-api"), "{}", said(&strange));
    // By its address it is believed for its certificate as well, and for no other.
    assert!(system.tk8s(&["status"]).status.success());
    let unbelieved = Command::new(program("tk8s-agent"))
        .args(["status", "--server", &format!("https://{}", system.address("api")), "--token-file"])
        .arg(system.file("token"))
        .output()
        .unwrap();
    assert_eq!(unbelieved.status.code(), Some(69), "{unbelieved:?}");
    for server in ["http://tk8s-agent.example.com:8443", "http://10.1.2.3", "ftp://localhost", "localhost:8443"] {
        let told = system.tk8s_offline(&["status", "--server", server, "--token-file", "/dev/null"]);
        assert_eq!(told.status.code(), Some(2), "{server}: {told:?}");
    }
}
