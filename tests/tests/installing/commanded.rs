//! `tk8s-agent install` and `uninstall`: the same installation as by base and chart; applied by kubectl to a real API server,
//! and run by the agent with exactly what was written.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tk8s_tests::cluster::ControlPlane;
use tk8s_tests::sshd::Sshd;
use tk8s_tests::system::{System, git};

use super::*;

fn tk8s(arguments: &[&str]) -> Output {
    Command::new(tk8s_tests::program("tk8s-agent")).env_remove("KUBECONFIG").args(arguments).output().unwrap()
}

/// What `install` prints, without Secrets and without a cluster.
fn printed(arguments: &[&str]) -> Vec<Value> {
    let output = tk8s(&[&["install", "--secrets", "leave-out"], arguments].concat());
    objects(&said(output).unwrap())
}

/// The options that say what the example says.
fn options() -> Vec<String> {
    let values: Value = serde_yaml::from_str(&example()).unwrap();
    let image = format!("{}@{}", values["image"]["repository"].as_str().unwrap(), values["image"]["digest"].as_str().unwrap());
    let text = |pointer: &str| values.pointer(pointer).unwrap().as_str().unwrap().to_owned();
    let (repository, cluster) = (text("/config/repository/url"), text("/config/cluster"));
    let signers = part("install/example/signers.yaml").display().to_string();
    ["--repo", &repository, "--environment", "production", "--cluster", &cluster, "--image", &image, "--signers", &signers]
        .map(String::from)
        .into()
}

fn words(options: &[String]) -> Vec<&str> {
    options.iter().map(String::as_str).collect()
}

#[test]
fn the_command_prints_the_installation_of_base_and_chart() {
    let (tools, options) = (Tools::new(), options());
    let ours = printed(&[&words(&options)[..], &["--no-webhook"]].concat());
    same::compare(ours, tools.objects(&with(&example(), "rbac: {agent: [], accounts: []}")));
}

#[test]
fn another_instance_with_everything_is_what_the_chart_makes_of_the_same_values() {
    let (tools, options) = (Tools::new(), options());
    let more = [
        "--instance",
        "edge",
        "--callers",
        "ingress",
        "--callers",
        "mesh",
        "--storage-class",
        "fast",
        "--branch",
        "trunk",
        "--path",
        "platform",
    ];
    let mut ours = printed(&[&words(&options)[..], &more].concat());
    let peers = "[{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: ingress}}}, {namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: mesh}}}]";
    let values = with(
        &with(&example(), "rbac: {agent: [], accounts: []}"),
        &format!(
            "config: {{instance: edge, repository: {{branch: trunk, path: platform}}, webhook: {{secretFile: /run/tk8s/webhook/secret}}}}\n\
             secrets: {{keys: tk8s-agent-edge-keys, git: tk8s-agent-edge-git, webhook: tk8s-agent-edge-webhook}}\n\
             networkPolicy: {{api: {{from: {peers}}}}}\nstorage: {{storageClass: fast}}\n"
        ),
    );
    // The chart's defaults name the usual instance's objects.
    ours.sort_by_key(key);
    same::compare(ours, tools.objects(&values));
}

#[test]
fn the_rights_of_a_platform_are_what_the_chart_makes_of_the_values_that_rbac_prints() {
    let (tools, options) = (Tools::new(), options());
    let platform = "apiVersion: tk8s.io/v1alpha1\nkind: Platform\nlayers:\n  - {number: 0, name: shops, serviceAccount: shop/deployer, namespace: shop, components: [{name: web, path: web}]}\n  - {number: 1, name: own, components: [{name: ns, path: ns}]}\n";
    let directory = tools.file("platform/tk8s.yaml", platform);
    tools.file("platform/web/all.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n---\napiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web}\nspec: {replicas: 0, selector: {matchLabels: {a: b}}, template: {metadata: {labels: {a: b}}, spec: {containers: [{name: c, image: i}]}}}\n");
    tools.file("platform/ns/all.yaml", "apiVersion: v1\nkind: Namespace\nmetadata: {name: extra}\n");
    let directory = path(directory.parent().unwrap()).to_owned();
    let values = said(tk8s(&["rbac", &directory, "--values"])).unwrap();
    let ours = printed(&[&words(&options)[..], &["--no-webhook", "--platform", &directory]].concat());
    // The chart makes no namespace.
    let (made, ours): (Vec<_>, Vec<_>) = ours.into_iter().partition(|object| key(object) == "Namespace /shop");
    assert_eq!(made.len(), 1);
    same::compare(ours, tools.objects(&with(&with(&example(), "rbac: {agent: [], accounts: []}"), &values)));
}

#[test]
fn what_is_missing_or_contradicts_itself_is_said_with_the_next_step() {
    let tools = Tools::new();
    let signers = part("install/example/signers.yaml").display().to_string();
    let broken = tools.file("broken.yaml", "signers: [").display().to_string();
    let own = part("install/example/agent.yaml").display().to_string();
    let nowhere = tools.file("kubeconfig", "apiVersion: v1\nkind: Config\nclusters: [{name: c, cluster: {server: 'https://127.0.0.1:9'}}]\nusers: [{name: u, user: {token: t}}]\ncontexts: [{name: x, context: {cluster: c, user: u}}]\ncurrent-context: x\n");
    let nowhere = nowhere.display().to_string();
    let ssh = "ssh://git@git.example.com/org/p.git";
    let base = |repo: &'static str, environment: &'static str| {
        vec!["--image", "r/i:1", "--cluster", "c", "--repo", repo, "--environment", environment]
    };
    let cases: Vec<(Vec<&str>, i32, &str)> = vec![
        (vec!["--repo", ssh, "--environment", "dev"], 2, "--image <IMAGE>"),
        (vec!["--image", "r/i:1"], 2, "--repo <URL>"),
        ([base(ssh, "testing"), vec![]].concat(), 2, "write `dev`, `staging` or `production`"),
        ([base(ssh, "production"), vec![]].concat(), 2, "in production name who may sign: `--signers FILE`"),
        ([base(ssh, "dev"), vec![]].concat(), 2, "`--waive REASON`"),
        (
            [base(ssh, "production"), vec!["--waive", "why not", "--signers", &signers]].concat(),
            2,
            "waived in dev only, not in production",
        ),
        ([base(ssh, "staging"), vec!["--signers", &signers]].concat(), 2, "`--baseline $(git rev-parse HEAD)`"),
        ([base(ssh, "production"), vec!["--signers", &signers, "--head"]].concat(), 2, "are for staging"),
        ([base(ssh, "production"), vec!["--signers", &broken]].concat(), 64, "broken.yaml"),
        ([base(ssh, "production"), vec!["--signers", "/nowhere/signers"]].concat(), 2, "could not read `/nowhere/signers`"),
        ([base("https://u:hunter2@h/p", "production"), vec!["--signers", &signers]].concat(), 2, "holds a password"),
        ([base("file:///p", "production"), vec!["--signers", &signers]].concat(), 2, "is installed for SSH or https"),
        ([base(ssh, "production"), vec!["--signers", &signers, "--token-file", "/t"]].concat(), 2, "SSH gets a deploy key"),
        (
            [base(ssh, "production"), vec!["--signers", &signers, "--namespace", "No_Name"]].concat(),
            2,
            "can't be the name of a namespace",
        ),
        (
            [base(ssh, "production"), vec!["--signers", &signers, "--known-hosts", "/nowhere/hosts"]].concat(),
            2,
            "could not read `/nowhere/hosts`",
        ),
        (
            [base("ssh://git@127.0.0.1:9/p", "production"), vec!["--signers", &signers]].concat(),
            1,
            "name its known_hosts file with `--known-hosts FILE`",
        ),
        (
            [base("https://h/p", "production"), vec!["--signers", &signers, "--no-webhook", "--webhook-url", "https://x"]]
                .concat(),
            2,
            "cannot be used with",
        ),
        (vec!["--image", "r/i:1", "--config", &own, "--repo", ssh], 2, "cannot be used with"),
        (vec!["--image", "r/i:1", "--config", &own, "--instance", "edge"], 2, "say `--instance tk8s`"),
        (vec!["--image", "r/i:1", "--config", &broken], 64, "broken.yaml"),
        (
            [base(ssh, "production"), vec!["--signers", &signers, "--secrets", "ask", "--kubeconfig", &nowhere]].concat(),
            1,
            "say so: `--secrets make` or `--secrets leave-out`",
        ),
    ];
    for (arguments, exit, words) in cases {
        let how = if arguments.contains(&"--secrets") { vec!["install"] } else { vec!["install", "--secrets", "make"] };
        let output = tk8s(&[how, arguments.clone()].concat());
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(text.contains(words) && !text.contains("hunter2"), "{arguments:?}: {text}");
        assert_eq!(output.status.code(), Some(exit), "{arguments:?}: {text}");
        assert!(output.stdout.is_empty(), "{arguments:?}: nothing may reach kubectl");
    }
}

/// The agent's own files, as the Pod would have them, in a directory of this test's.
struct Mounted<'a> {
    system: &'a System,
    plane: &'a ControlPlane,
}

impl Mounted<'_> {
    fn object(&self, kind: &str, name: &str) -> Value {
        let text = self.plane.kubectl(&["-n", &self.system.name, "get", kind, name, "-o", "json"]);
        serde_json::from_str(&text).unwrap()
    }

    /// Unpacks the volumes of the Deployment that was written, each to its place; the agent's file, of places here.
    fn unpack(&self, deployment: &str) -> String {
        let spec = self.object("deployment", deployment)["spec"]["template"]["spec"].clone();
        let here = |place: &str| self.system.file("pod").join(place.trim_start_matches('/'));
        for mount in spec["containers"][0]["volumeMounts"].as_array().unwrap() {
            let volume = spec["volumes"].as_array().unwrap().iter().find(|volume| volume["name"] == mount["name"]).unwrap();
            let directory = here(mount["mountPath"].as_str().unwrap());
            std::fs::create_dir_all(&directory).unwrap();
            let files: Vec<(String, Vec<u8>)> = if let Some(name) = volume["secret"]["secretName"].as_str() {
                assert_eq!(volume["secret"]["defaultMode"], 0o440);
                let data = self.object("secret", name)["data"].as_object().unwrap().clone();
                data.into_iter().map(|(key, text)| (key, STANDARD.decode(text.as_str().unwrap()).unwrap())).collect()
            } else if let Some(name) = volume["configMap"]["name"].as_str() {
                let data = self.object("configmap", name)["data"].as_object().unwrap().clone();
                data.into_iter().map(|(key, text)| (key, text.as_str().unwrap().as_bytes().to_vec())).collect()
            } else {
                continue;
            };
            for (key, bytes) in files {
                let file = directory.join(key);
                std::fs::remove_file(&file).ok();
                std::fs::write(&file, bytes).unwrap();
                std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o440)).unwrap();
            }
        }
        let mut text = std::fs::read_to_string(here("/etc/tk8s/agent.yaml")).unwrap();
        let address = self.system.file("address").display().to_string();
        for (mounted, here) in [
            ("/run/tk8s/", format!("{}/", here("/run/tk8s").display())),
            ("/var/lib/tk8s/", format!("{}/", here("/var/lib/tk8s").display())),
            ("scratchDir: /tmp", format!("scratchDir: {}", here("/tmp").display())),
            ("listen: \"0.0.0.0:8443\"", format!("listen: 127.0.0.1:0\n  addressFile: {address}")),
            ("0.0.0.0:8081", "127.0.0.1:0".into()),
            ("0.0.0.0:9090", "127.0.0.1:0".into()),
        ] {
            assert!(text.contains(mounted), "{mounted}: {text}");
            text = text.replace(mounted, &here);
        }
        text + &format!("lease: {{namespace: {}}}\n", self.system.name)
    }
}

/// What every object of an installation is now: who it is, and which version of it.
fn versions(plane: &ControlPlane, text: &str) -> Vec<String> {
    let found = plane.kubectl_with(&["get", "-f", "-", "-o", "json"], text).unwrap();
    let found: Value = serde_json::from_str(&found).unwrap();
    let items = found["items"].as_array().unwrap().iter();
    items.map(|object| format!("{} {} {}", key(object), object["metadata"]["uid"], object["metadata"]["generation"])).collect()
}

const NAME: &str = "commanded";
const DEPLOYMENT: &str = "tk8s-agent-commanded";

#[tokio::test(flavor = "multi_thread")]
async fn what_is_installed_by_command_runs_is_repeated_without_a_change_and_taken_out_without_what_it_deployed() {
    let _turn = installed::TURN.lock().await;
    let mut system = System::new(NAME).await;
    let plane = system.plane;
    let sshd = Sshd::start(&system.file(""));
    let url = sshd.url(&system.file("repository"));
    system.sign();
    let layer = "{number: 0, name: shops, serviceAccount: commanded/shops, components: [{name: web, path: web, namespace: commanded-shop}]}";
    let platform = format!("apiVersion: tk8s.io/v1alpha1\nkind: Platform\nlayers: [{layer}]\n");
    let map = |at: &str| {
        let deployment = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web}\nspec: {replicas: 0, selector: {matchLabels: {a: b}}, template: {metadata: {labels: {a: b}}, spec: {containers: [{name: c, image: i}]}}}\n";
        format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: one}}\ndata: {{at: {at}}}\n---\n{deployment}")
    };
    system.write("web/all.yaml", &map("first"));
    system.commit("first");
    // The first platform file is proposed where there is none.
    let here = system.file("");
    let at = |name: &str| here.join(name).display().to_string();
    let (repository, signers, proposed) = (at("repository"), at("signers.yaml"), at("proposed.yaml"));
    let administrator = plane.kubeconfig().display().to_string();
    let fingerprint = sshd.fingerprint();
    let options = [
        "install",
        "--instance",
        NAME,
        "--namespace",
        NAME,
        "--kubeconfig",
        &administrator,
        "--repo",
        &url,
        "--environment",
        "staging",
        "--head",
        "--cluster",
        "test",
        "--image",
        "registry.example.com/tk8s-agent:1",
        "--signers",
        &signers,
        "--platform",
        &repository,
        "--webhook-url",
        "https://hooks.example.com/",
    ];
    let install = |more: &[&str]| {
        let output = tk8s(&[&options[..], more].concat());
        let told = String::from_utf8(output.stderr.clone()).unwrap();
        (said(output).unwrap(), told)
    };
    let other = tk8s(&[&options[..], &["--host-fingerprint", "SHA256:another"]].concat());
    assert!(String::from_utf8_lossy(&other.stderr).contains("and not SHA256:another: somebody may be in between"));
    assert_eq!((other.status.code(), other.stdout.len()), (Some(1), 0));
    let (_, told) = install(&["--write-platform", &proposed]);
    assert!(told.contains(&format!("The first `tk8s.yaml` is in `{proposed}`")), "{told}");
    assert!(std::fs::read_to_string(&proposed).unwrap().contains("- {name: web, path: web}"));
    system.write("tk8s.yaml", &platform);
    system.commit("second");

    let (text, told) = install(&[]);
    assert!(!told.contains("tk8s.yaml"), "{told}");
    for words in [
        "Keep a copy of it elsewhere",
        "tk8s.io/test/commanded+",
        "as a deploy key that may only read:\n  ssh-ed25519 ",
        " tk8s-agent test/commanded\n",
        "https://hooks.example.com, with the path /webhooks/github",
        "get secret tk8s-agent-commanded-webhook -o jsonpath='{.data.secret}' | base64 -d",
        &format!("COMPARE: {} shows the key\n  {fingerprint}", sshd.known_hosts().split(' ').next().unwrap()),
        "exec deploy/tk8s-agent-commanded -- tk8s-agent doctor",
    ] {
        assert!(told.contains(words), "{words}: {told}");
    }
    // What is secret stands in the manifests of Secrets and nowhere else.
    let (secrets, others): (Vec<_>, Vec<_>) = objects(&text).into_iter().partition(|object| object["kind"] == "Secret");
    assert_eq!(secrets.len(), 3);
    let elsewhere = told.clone() + &serde_json::to_string(&others).unwrap();
    for value in secrets.iter().flat_map(|secret| secret["data"].as_object().unwrap().iter()) {
        let decoded = String::from_utf8(STANDARD.decode(value.1.as_str().unwrap()).unwrap()).unwrap();
        let telling = decoded.lines().find(|line| line.len() > 30 && !line.starts_with("-----")).unwrap().to_owned();
        let is_secret = value.0 != "known_hosts";
        assert!(!is_secret || !elsewhere.contains(&telling), "{}: {elsewhere}", value.0);
    }
    plane.kubectl_with(&["apply", "--server-side", "--warnings-as-errors", "-f", "-"], &text).unwrap();

    // The key that was told is registered, and the agent runs with what was written.
    sshd.admit(told.lines().find(|line| line.trim().starts_with("ssh-ed25519 ")).unwrap().trim());
    let token = plane.kubectl(&["-n", NAME, "create", "token", DEPLOYMENT, "--duration=2h"]);
    plane.write_kubeconfig_of(token.trim(), &system.file("kubeconfig"));
    let run = |system: &mut System| {
        let configuration = Mounted { system, plane }.unpack(DEPLOYMENT);
        system.start_with(&configuration);
    };
    run(&mut system);
    let deployed = |system: &System, at: &str| {
        let shown = ["-n", "commanded-shop", "get", "configmap", "one", "--ignore-not-found", "-o", "jsonpath={.data.at}"];
        system.until(&format!("{at} is deployed"), || system.plane.kubectl(&shown) == at);
    };
    let told_release = |system: &System, what: &str| {
        let shown =
            ["get", "components.agent.tk8s.io", "web", "--ignore-not-found", "-o", "jsonpath={.status.release}{.status.state}"];
        system.until(&format!("{what} is told"), || system.kubectl(&shown) == what);
    };
    deployed(&system, "first");
    told_release(&system, "1Healthy");
    system.until("it is anchored", || !system.anchor().is_empty());
    let configuration = at("mounted/agent.yaml");
    system.believe();
    let examined = tk8s(&["doctor", "--config", &configuration, "--kubeconfig", &at("kubeconfig")]);
    let examined = said(examined).unwrap();
    assert!(examined.contains(" 0 warning, 0 failed"), "{examined}");

    // Again: nothing changes, and no key is among what is printed.
    let before = versions(plane, &text);
    let (again, told) = install(&["--host-fingerprint", "SHA256:not-asked-any-more"]);
    assert!(!objects(&again).iter().any(|object| object["kind"] == "Secret"), "{again}");
    let registered = |told: &str| told.lines().find(|line| line.trim().starts_with("ssh-ed25519 ")).map(String::from);
    assert!(registered(&told).is_some() && !told.contains("COMPARE") && !told.contains("Keep a copy"), "{told}");
    plane.kubectl_with(&["apply", "--server-side", "-f", "-"], &again).unwrap();
    assert_eq!(versions(plane, &text), before);
    // Keys that are made anew by mistake are refused by the API server.
    let (anew, _) = install(&["--secrets", "make"]);
    let refused = plane.kubectl_with(&["apply", "--server-side", "-f", "-"], &anew).unwrap_err();
    assert!(refused.contains("tk8s-agent-commanded-keys") && refused.contains("immutable"), "{refused}");
    plane.kubectl_with(&["apply", "--server-side", "-f", "-"], &text).unwrap();

    // Taken out: what it deployed stays, and what it remembers.
    let workloads =
        || plane.kubectl(&["-n", "commanded-shop", "get", "deployment,configmap", "-o", "jsonpath={.items[*].metadata.uid}"]);
    let kept = [
        "pvc/tk8s-agent-commanded-history",
        "secret/tk8s-agent-commanded-keys",
        "secret/tk8s-agent-commanded-git",
        "configmap/tk8s-agent-commanded",
    ];
    let uids = || kept.map(|name| plane.kubectl(&["-n", NAME, "get", name, "-o", "jsonpath={.metadata.uid}"]));
    let (deployed_before, kept_before) = (workloads(), uids());
    assert_eq!(deployed_before.split(' ').count(), 3, "its own two, and the cluster's own: {deployed_before}");
    system.stop();
    let uninstall = |more: &[&str]| {
        let output =
            tk8s(&[&["uninstall", "--instance", NAME, "--namespace", NAME, "--kubeconfig", &administrator], more].concat());
        (output.status.code(), String::from_utf8(output.stderr.clone()).unwrap(), said(output).unwrap_or_default())
    };
    let (_, told, gone) = uninstall(&[]);
    for words in [
        "PersistentVolumeClaim tk8s-agent-commanded-history",
        "Secret tk8s-agent-commanded-keys",
        "Component web",
        "everything that it deployed",
    ] {
        assert!(told.contains(words), "{words}: {told}");
    }
    let of_kinds: std::collections::BTreeSet<_> =
        objects(&gone).iter().map(|object| object["kind"].as_str().unwrap().to_owned()).collect();
    assert!(
        !["Secret", "PersistentVolumeClaim", "CustomResourceDefinition", "Namespace", "Component", "Lease"]
            .iter()
            .any(|kind| of_kinds.contains(*kind)),
        "{of_kinds:?}"
    );
    assert!(!gone.contains("commanded-shop\n") || gone.contains("Role"), "{gone}");
    plane.kubectl_with(&["delete", "-f", "-"], &gone).unwrap();
    assert_eq!((workloads(), uids()), (deployed_before.clone(), kept_before.clone()));
    plane.until("", &["-n", NAME, "get", "deployment,service,role,networkpolicy", "--ignore-not-found", "-o", "name"]);
    let (exit, told, _) = uninstall(&[]);
    assert_eq!(exit, Some(1), "{told}");

    // And goes on where it was.
    let (text, told) = install(&[]);
    assert!(!told.contains("COMPARE"), "{told}");
    plane.kubectl_with(&["apply", "--server-side", "-f", "-"], &text).unwrap();
    let token = plane.kubectl(&["-n", NAME, "create", "token", DEPLOYMENT, "--duration=2h"]);
    plane.write_kubeconfig_of(token.trim(), &system.file("kubeconfig"));
    system.write("web/all.yaml", &map("second"));
    git(&system.file("repository"), &["add", "-A"]);
    system.commit("third");
    run(&mut system);
    deployed(&system, "second");
    told_release(&system, "2Healthy");
    assert_eq!(workloads(), deployed_before, "the same objects, changed");
    system.stop();

    // Everything that it remembers goes by a word of its own.
    let (_, _, gone) = uninstall(&["--purge"]);
    plane.kubectl_with(&["delete", "-f", "-"], &gone).unwrap();
    let left = plane.kubectl(&["-n", NAME, "get", "secret,configmap,lease,pvc,components.agent.tk8s.io", "-o", "name"]);
    let left: Vec<_> = left.lines().filter(|name| !name.ends_with("kube-root-ca.crt")).collect();
    // Nobody takes a volume's finalizer off where no kubelet is.
    let left: Vec<_> = left.into_iter().filter(|name| !name.starts_with("persistentvolumeclaim/")).collect();
    assert_eq!(left, [""; 0]);
    assert_eq!(workloads(), deployed_before);
    assert_eq!(
        plane.kubectl(&["get", "crd", "components.agent.tk8s.io", "-o", "name"]).trim(),
        "customresourcedefinition.apiextensions.k8s.io/components.agent.tk8s.io"
    );
    installed::forget(plane, NAME);
}
