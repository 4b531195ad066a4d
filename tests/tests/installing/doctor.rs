//! `tk8s-agent doctor` beside an agent that is installed as the chart says, on a real API server, with a repository behind a
//! real sshd: all is well; and then one thing after the other is not.

use std::collections::BTreeMap;

use tk8s_tests::clock::Clock;
use tk8s_tests::sshd::Sshd;
use tk8s_tests::system::{System, git};

use super::*;

const NAME: &str = "doctored";
const SIGNER: &str = "agent.tk8s.io/v1alpha1";

struct Installation {
    system: System,
    sshd: Sshd,
}

impl Installation {
    /// As the chart renders it, with everything that can be configured, and running.
    async fn new(tools: &Tools) -> Installation {
        let mut system = System::new(NAME).await;
        let plane = system.plane;
        plane.kubectl(&["create", "namespace", "doctored-shop"]);
        let values = serde_json::json!({
            "image": {"repository": "registry.example.com/tk8s-agent"},
            "config": {"instance": NAME, "cluster": "test", "environment": "production", "repository": {"url": "ssh://git@h/p"}},
            "rbac": {
                "agent": [{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get", "list", "watch"]}],
                "accounts": [{
                    "name": "shops", "namespaces": ["doctored-shop"],
                    "rules": [{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get", "create", "patch", "delete"]}],
                }],
            },
        });
        let file = tools.file("doctored.yaml", &values.to_string());
        let rendered = tools.helm(&["template", "tk8s", path(&chart()), "--namespace", NAME, "--values", path(&file)]);
        apply(plane, &objects(&said(rendered).unwrap()));
        let token = plane.kubectl(&["-n", NAME, "create", "token", "tk8s-agent-doctored", "--duration=2h"]);
        plane.write_kubeconfig_of(token.trim(), &system.file("kubeconfig"));

        let sshd = Sshd::start(&system.file(""));
        let made = Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(system.file("ssh.key")).status();
        assert!(made.unwrap().success());
        sshd.admit(&std::fs::read_to_string(system.file("ssh.key.pub")).unwrap());
        std::fs::write(system.file("known_hosts"), sshd.known_hosts()).unwrap();
        system.repository_url = sshd.url(&system.file("repository"));
        system.sign_tags();
        (system.api, system.interval, system.timeout) = (String::new(), "1h", "20s");
        let at = |name: &str| system.file(name).display().to_string();
        std::fs::create_dir(system.file("rules")).unwrap();
        std::fs::write(system.file("age.key"), "AGE-SECRET-KEY-1QQQQQQ\n").unwrap();
        std::fs::write(system.file("variable"), "a secret\n").unwrap();
        system.more = format!(
            "sops: {{ageKeyFiles: [{}]}}\nvariables: {{TOKEN: {{file: {}}}}}\nhealth: {{rulesDir: {}}}\n",
            at("age.key"),
            at("variable"),
            at("rules")
        );
        for secret in ["identity.pem", "history.key", "token", "webhook", "age.key", "variable", "ssh.key"] {
            set_mode(&system.file(secret), 0o440);
        }
        let layer = "{number: 0, name: shops, serviceAccount: doctored/shops, components: [{name: web, path: web, namespace: doctored-shop}]}";
        system.write("tk8s.yaml", &format!("apiVersion: tk8s.io/v1alpha1\nkind: Platform\nlayers: [{layer}]\n"));
        system.write("web/all.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: one}\ndata: {at: first}\n");
        system.commit("first");
        system.tag("v0.1.0");
        system.start();
        system.believe();
        let told = ["get", "components.agent.tk8s.io", "web", "--ignore-not-found", "-o", "jsonpath={.status.state}"];
        system.until("it is deployed", || system.kubectl(&told) == "Healthy");
        system.until("it is anchored", || !system.anchor().is_empty());
        Installation { system, sshd }
    }

    fn at(&self, name: &str) -> String {
        self.system.file(name).display().to_string()
    }

    /// With this agent's file, kubeconfig and environment.
    fn look(&self, configuration: &str, kubeconfig: &Path, variables: &[(&str, String)]) -> Looked {
        let file = self.system.file("doctor.yaml");
        std::fs::write(&file, configuration).unwrap();
        let output = Command::new(tk8s_tests::program("tk8s-agent"))
            .args(["doctor", "--output", "json", "--config", path(&file), "--kubeconfig", path(kubeconfig)])
            .envs(variables.iter().cloned())
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let answer: Value = serde_json::from_str(&text)
            .unwrap_or_else(|error| panic!("{error}: {text}\n{}", String::from_utf8_lossy(&output.stderr)));
        let checks = answer["checks"].as_array().unwrap().iter().map(|check| {
            let word = |field: &str| check[field].as_str().unwrap_or_default().to_owned();
            (word("check"), [word("outcome"), word("found"), word("next")])
        });
        let names =
            answer["checks"].as_array().unwrap().iter().map(|check| check["check"].as_str().unwrap().to_owned()).collect();
        Looked { exit: output.status.code().unwrap(), healthy: answer["healthy"] == true, checks: checks.collect(), names }
    }

    /// With its own file.
    fn looked(&self) -> Looked {
        self.look(&self.system.configuration(), &self.system.file("kubeconfig"), &[])
    }

    /// With its own file, in which this was changed.
    fn changed(&self, from: &str, to: &str) -> Looked {
        let configuration = self.system.configuration();
        assert!(configuration.contains(from), "{from}: {configuration}");
        self.look(&configuration.replace(from, to), &self.system.file("kubeconfig"), &[])
    }

    /// With a file that holds this in the place of one of its own.
    fn with(&self, name: &str, text: &str) -> Looked {
        std::fs::write(self.system.file("in-place"), text).unwrap();
        set_mode(&self.system.file("in-place"), 0o440);
        self.changed(&self.at(name), &self.at("in-place"))
    }
}

/// What is not as expected, told together at the end: one case says nothing about the next.
static WRONG: std::sync::Mutex<Vec<String>> = std::sync::Mutex::new(Vec::new());

struct Looked {
    exit: i32,
    healthy: bool,
    checks: BTreeMap<String, [String; 3]>,
    names: Vec<String>,
}

impl Looked {
    /// Expects of one check this outcome, with these words, and the next step with those; and the exit code that goes with it.
    #[track_caller]
    fn says(&self, check: &str, outcome: &str, found: &str, next: &str) {
        let mut wrong = Vec::new();
        match self.checks.get(check) {
            None => wrong.push(format!("there is no check `{check}`")),
            Some(told) if told[0] == outcome && told[1].contains(found) && told[2].contains(next) => {}
            Some(told) => wrong.push(format!("{check}: expected {outcome}, {found:?}, {next:?}, found {told:#?}")),
        }
        let failed = self.checks.values().any(|told| told[0] == "failed");
        if (self.exit, self.healthy) != (if failed { 2 } else { 0 }, !failed) {
            wrong.push(format!("exit code {} and healthy {}: {:#?}", self.exit, self.healthy, self.checks));
        }
        let bad = |told: &[String; 3]| told[0] == "failed" || told[0] == "warning";
        let silent = self.checks.iter().filter(|(_, told)| bad(told) && told[2].is_empty());
        wrong.extend(silent.map(|(check, _)| format!("{check} says no next step")));
        let place = std::panic::Location::caller();
        WRONG.lock().unwrap().extend(wrong.into_iter().map(|wrong| format!("line {}: {wrong}", place.line())));
    }

    /// The checks that are not as they should be.
    fn wrong(&self) -> Vec<&str> {
        let bad = |told: &[String; 3]| told[0] == "failed" || told[0] == "warning";
        self.checks.iter().filter(|(_, told)| bad(told)).map(|(name, _)| name.as_str()).collect()
    }
}

fn apply(plane: &tk8s_tests::cluster::ControlPlane, objects: &[Value]) {
    let text: String = objects.iter().map(|object| format!("{object}\n---\n")).collect();
    plane.kubectl_with(&["apply", "--server-side", "--warnings-as-errors", "-f", "-"], &text).unwrap();
}

fn set_mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(mode)).unwrap();
}

/// What the page says that is looked at, in its order.
fn documented() -> Vec<String> {
    let page = std::fs::read_to_string(part("docs/doctor.md")).unwrap();
    let (_, page) = page.split_once("## What is looked at").unwrap();
    let rows = page.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next());
    rows.map(String::from).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_installation_that_works_passes_every_check_and_each_that_is_broken_is_named_with_the_next_step() {
    let _turn = installed::TURN.lock().await;
    let tools = Tools::new();
    let mut installation = Installation::new(&tools).await;

    // All is well, and nothing is left behind.
    let before = listing(&installation.system.file("history"));
    let looked = installation.looked();
    assert_eq!((looked.exit, looked.wrong()), (0, vec![]), "{:#?}", looked.checks);
    let skipped: Vec<_> = looked.checks.iter().filter(|(_, told)| told[0] == "skipped").map(|(name, _)| name.as_str()).collect();
    assert_eq!(skipped, ["git-clock"], "{:#?}", looked.checks);
    looked.says("rights", "ok", "the platform's and its own", "");
    looked.says("revision", "ok", "v0.1.0", "");
    looked.says("platform", "ok", "1 components, 1 objects", "");
    looked.says("account", "ok", "doctored/tk8s-agent-doctored", "");
    looked.says("webhook", "ok", "one with another secret is refused", "");
    assert_eq!(looked.names, documented(), "docs/doctor.md lists what is looked at");
    let after = listing(&installation.system.file("history"));
    assert_eq!(after, before);

    files(&installation);
    volume(&installation);
    cluster(&installation);
    repository(&installation);
    running(&mut installation).await;

    let wrong = WRONG.lock().unwrap().join("\n");
    assert!(wrong.is_empty(), "{wrong}");
    let plane = installation.system.plane;
    installation.system.stop();
    installed::forget(plane, NAME);
}

fn listing(directory: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned());
    let mut names: Vec<_> = entries.collect();
    names.sort();
    names
}

fn files(installation: &Installation) {
    let looked = installation.changed("cluster: test", "clusterr: test");
    looked.says("configuration", "failed", "did you mean `cluster`?", "docs/configuration.md");
    assert_eq!(looked.names, ["configuration"]);
    let missing = installation.system.file("missing");
    let output = installation.system.tk8s_offline(&["doctor", "--config", path(&missing)]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(text.contains("failed   configuration") && text.contains("next: name the agent's file"), "{text}");
    assert_eq!(output.status.code(), Some(2));

    let gone = |name: &str| installation.changed(&installation.at(name), &installation.at("missing"));
    gone("identity.pem").says("identity-key", "failed", "is not there", "openssl genpkey -algorithm ed25519");
    gone("identity.pem").says("identity-key", "failed", "", "kubectl -n doctored create secret generic tk8s-agent-doctored-keys");
    gone("history.key").says("encryption-key", "failed", "is not there", "openssl rand -hex 32");
    gone("ssh.key").says("git-credentials", "failed", "is not there", "tk8s-agent-doctored-git --from-file=id");
    gone("known_hosts").says("git-credentials", "failed", "is not there", "ssh-keyscan HOST");
    gone("webhook").says("webhook-secret", "failed", "is not there", "openssl rand -hex 32");
    gone("token").says("api-files", "failed", "is not there", "api.tokenFile");
    let [certificate, key] = ["tls.crt", "tls.key"].map(|name| installation.at(name));
    let openssl = |words: &[&str]| assert!(Command::new("openssl").args(words).output().unwrap().status.success(), "{words:?}");
    let [asked, extensions] = ["tls.csr", "tls.ext"].map(|name| installation.at(name));
    openssl(&["req", "-new", "-newkey", "ed25519", "-nodes", "-subj", "/CN=agent", "-keyout", &key, "-out", &asked]);
    set_mode(Path::new(&key), 0o440);
    std::fs::write(&extensions, "subjectAltName=DNS:agent\n").unwrap();
    for (days, outcome, found, next) in [
        ("100", "ok", "good until", ""),
        ("10", "warning", "ends on", "renew it"),
        ("-1", "failed", "nobody believes it any more", "renew it"),
    ] {
        openssl(&["x509", "-req", "-in", &asked, "-signkey", &key, "-days", days, "-extfile", &extensions, "-out", &certificate]);
        let with = format!("tls: {{certificateFile: {certificate}, keyFile: {key}}}, tokenFile:");
        installation.changed("tokenFile:", &with).says("api-files", outcome, found, next);
    }
    gone("age.key").says("rendering-files", "failed", "is not there", "sops.ageKeyFiles");
    gone("variable").says("rendering-files", "failed", "is not there", "variables");
    gone("signers.yaml").says("signers", "failed", "could not read the signers file", "ConfigMap tk8s-agent-doctored-signers");
    gone("rules").says("health-rules", "failed", "could not read", "docs/health.md");

    installation.with("identity.pem", "no key").says(
        "identity-key",
        "failed",
        "is not an Ed25519 private key",
        "openssl genpkey",
    );
    installation.with("identity.pem", "  \n").says("identity-key", "failed", "is empty", "openssl genpkey");
    installation.with("history.key", "abcd").says("encryption-key", "failed", "is not 32 bytes", "openssl rand");
    installation.with("ssh.key", "no key").says("git-credentials", "failed", "not a private key", "ssh-keygen -t ed25519");
    installation.with("webhook", "short").says("webhook-secret", "warning", "5 characters", "openssl rand");
    installation.with("age.key", "no key").says("rendering-files", "failed", "holds no age key", "age-keygen");
    installation.with("signers.yaml", "signers: [").says("signers", "failed", "in-place", "signers file");
    set_mode(&installation.system.file("identity.pem"), 0o644);
    installation.looked().says("identity-key", "warning", "0644: everybody on this machine may read it", "defaultMode: 288");
    set_mode(&installation.system.file("identity.pem"), 0o440);

    let trust = &installation.system.trust.1;
    let more = trust.trim_end_matches('}').to_owned() + ", approvals: {security-officer: 2}}";
    let looked = installation.changed(trust, &more);
    looked.says("signers", "failed", "security-officer needs 2, and has 0", "state: active");
    let rules = installation.system.file("broken-rules");
    std::fs::create_dir(&rules).unwrap();
    std::fs::write(rules.join("a.yaml"), "rules: nothing").unwrap();
    installation.changed(&installation.at("rules"), path(&rules)).says("health-rules", "failed", "a.yaml", "docs/health.md");
}

fn volume(installation: &Installation) {
    let history = installation.at("history");
    let elsewhere = |place: &str| installation.changed(&format!("dir: {history},"), &format!("dir: {place},"));
    // Nobody writes there, whoever he is.
    let looked = elsewhere("/proc/doctored/history");
    looked.says("volume", "failed", "`/proc` can't be written to", "");
    looked.says("ledger", "ok", "holds no history", "");

    let copy = |name: &str| {
        let to = installation.at(name);
        assert!(Command::new("cp").args(["-r", &history, &to]).status().unwrap().success());
        to
    };
    let damaged = copy("damaged");
    rewrite(&Path::new(&damaged).join("ledger"), b"accepted", b"acceptee");
    elsewhere(&damaged).says("ledger", "failed", "the ledger is damaged at event", "backup");
    let other = installation.at("other.pem");
    let made = Command::new("openssl").args(["genpkey", "-algorithm", "ed25519", "-out", &other]).output().unwrap();
    assert!(made.status.success());
    set_mode(Path::new(&other), 0o440);
    let looked = installation.changed(&installation.at("identity.pem"), &other);
    looked.says("ledger", "failed", "", "put the keys back");
    looked.says("anchor", "failed", "signed with another identity key", "identity key");
    // A volume that was lost.
    let looked = elsewhere(&installation.at("lost"));
    looked.says("anchor", "failed", "the history here has 0 and does not hold them", "backup");
}

/// What somebody does who wants it to have been otherwise: in every file below a directory.
fn rewrite(directory: &Path, from: &[u8], to: &[u8]) {
    for entry in std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()) {
        if entry.is_dir() {
            rewrite(&entry, from, to);
            continue;
        }
        let mut bytes = std::fs::read(&entry).unwrap();
        let found: Vec<_> = (0..bytes.len().saturating_sub(from.len())).filter(|at| bytes[*at..].starts_with(from)).collect();
        found.into_iter().for_each(|at| bytes[at..at + to.len()].copy_from_slice(to));
        std::fs::write(&entry, bytes).unwrap();
    }
}

fn cluster(installation: &Installation) {
    let (system, plane) = (&installation.system, installation.system.plane);
    let own = system.file("kubeconfig");
    let nowhere = system.file("nowhere");
    let text = std::fs::read_to_string(&own).unwrap();
    let kubeconfig: serde_yaml::Value = serde_yaml::from_str(&text).unwrap();
    let server = kubeconfig["clusters"][0]["cluster"]["server"].as_str().unwrap();
    std::fs::write(&nowhere, text.replace(server, "https://127.0.0.1:9")).unwrap();
    let looked = installation.look(&system.configuration(), &nowhere, &[]);
    looked.says("api-server", "failed", "does not answer", "--kubeconfig");
    looked.says("rights", "skipped", "can't be asked", "");

    let clock = Clock::new(&system.file(""));
    for (ahead, outcome, words) in [(30, "warning", "30 s ahead"), (-3600, "failed", "behind the API server's")] {
        clock.set_ahead(ahead);
        let looked = installation.look(&system.configuration(), &own, &clock.variables());
        looked.says("clock", outcome, if ahead == 30 { "ahead of the API server's" } else { words }, "time server");
    }

    let looked = installation.look(&system.configuration(), plane.kubeconfig(), &[]);
    looked.says("account", "warning", "no service account", "installation.serviceAccount");
    let more = installation.system.configuration() + "\ninstallation: {serviceAccount: other/agent}\n";
    let looked = installation.look(&more, &own, &[]);
    looked.says("account", "failed", "and its file says other/agent", "installation.serviceAccount");

    // A role that somebody took away.
    let binding = ["-n", "doctored-shop", "get", "rolebinding", "tk8s-agent-doctored:doctored:shops", "-o", "json"];
    let kept: Value = serde_json::from_str(&plane.kubectl(&binding)).unwrap();
    plane.kubectl(&["-n", "doctored-shop", "delete", "rolebinding", "tk8s-agent-doctored:doctored:shops"]);
    let looked = installation.looked();
    looked.says("rights", "failed", "4 of", "tk8s-agent rbac DIR");
    looked.says("rights", "failed", "doctored/shops may not `patch` configmaps in doctored-shop", "");
    plane.apply(&without_state(kept).to_string());
    let role = "tk8s-agent-doctored:doctored:shops:impersonate";
    let kept: Value = serde_json::from_str(&plane.kubectl(&["-n", NAME, "get", "rolebinding", role, "-o", "json"])).unwrap();
    plane.kubectl(&["-n", NAME, "delete", "rolebinding", role]);
    let looked = installation.looked();
    looked.says("rights", "failed", "doctored/tk8s-agent-doctored may not `impersonate` serviceaccounts shops in doctored", "");
    plane.apply(&without_state(kept).to_string());
    installation.looked().says("rights", "ok", "", "");
    // From outside the same is asked about the account.
    let file = system.file("doctor.yaml");
    let outside = Command::new(tk8s_tests::program("tk8s-agent"))
        .args([
            "doctor",
            "--config",
            path(&file),
            "--kubeconfig",
            path(plane.kubeconfig()),
            "--outside",
            "doctored/tk8s-agent-doctored",
        ])
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&outside.stdout).into_owned();
    assert_eq!(outside.status.code(), Some(0), "{text}");
    for words in
        ["ok       rights", "skipped  volume", "kubectl -n doctored exec deploy/tk8s-agent-doctored -- tk8s-agent doctor"]
    {
        assert!(text.contains(words), "{words}: {text}");
    }
    let stranger = Command::new(tk8s_tests::program("tk8s-agent"))
        .args(["doctor", "--config", path(&file), "--kubeconfig", path(plane.kubeconfig()), "--outside", "doctored/stranger"])
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&stranger.stdout).into_owned();
    assert!(text.contains("failed   rights") && text.contains("doctored/stranger may not"), "{text}");

    // A definition that somebody changed, as who may look at it sees it.
    let patch = r#"[{"op": "remove", "path": "/spec/versions/0/additionalPrinterColumns/0"}]"#;
    plane.kubectl(&["patch", "crd", "components.agent.tk8s.io", "--type=json", "-p", patch]);
    let looked = installation.look(&system.configuration(), plane.kubeconfig(), &[]);
    looked.says("definition", "failed", "is not what this version writes", "tk8s-agent crds | kubectl apply --server-side -f -");
    let crds = system.tk8s_offline(&["crds"]);
    plane
        .kubectl_with(&["apply", "--server-side", "--force-conflicts", "-f", "-"], &String::from_utf8_lossy(&crds.stdout))
        .unwrap();
    let looked = installation.look(&system.configuration(), plane.kubeconfig(), &[]);
    looked.says("definition", "ok", "is this version's", "");

    // A Lease that nobody renews, and no anchor beside a history: of another namespace.
    plane.kubectl(&["create", "namespace", "doctored-other"]);
    let stale = "apiVersion: coordination.k8s.io/v1\nkind: Lease\nmetadata: {name: tk8s-agent-doctored, namespace: doctored-other}\nspec: {holderIdentity: gone-1, leaseDurationSeconds: 35, renewTime: '2026-01-01T00:00:00.000000Z'}\n";
    plane.apply(stale);
    let configuration = system.configuration().replace("lease: {namespace: doctored}", "lease: {namespace: doctored-other}");
    let looked = installation.look(&configuration, plane.kubeconfig(), &[]);
    looked.says("lease", "warning", "gone-1 holds doctored-other/tk8s-agent-doctored", "kubectl -n doctored-other get pods");
    looked.says("anchor", "warning", "the cluster holds no anchor", "start the agent");
    let looked = installation.look(&configuration, &own, &[]);
    looked.says("lease", "failed", "can't be read", "roles of the installation");
}

/// As somebody would write it who applies it again.
fn without_state(mut object: Value) -> Value {
    let metadata = object["metadata"].as_object_mut().unwrap();
    for field in ["uid", "resourceVersion", "creationTimestamp", "managedFields"] {
        metadata.remove(field);
    }
    object
}

fn repository(installation: &Installation) {
    let system = &installation.system;
    // Another host than is known.
    let known = installation.sshd.known_hosts();
    let (name, _) = known.split_once(' ').unwrap();
    let other = std::fs::read_to_string(system.file("signer.pub")).unwrap();
    let looked = installation.with("known_hosts", &format!("{name} {other}"));
    looked.says("git", "failed", "is not the one in the known_hosts file", &installation.sshd.fingerprint());
    looked.says("revision", "skipped", "nothing was fetched", "");
    let looked = installation.with("known_hosts", "# nobody\n");
    looked.says("git", "failed", "is not in the known_hosts file", &installation.sshd.fingerprint());
    // A key that is registered nowhere.
    let stranger = std::fs::read_to_string(system.file("signer")).unwrap();
    let looked = installation.with("ssh.key", &stranger);
    looked.says("git", "failed", "refused every key", other.split(' ').nth(1).unwrap());
    let looked = installation.changed("branch: main", "branch: trunk");
    looked.says("git", "failed", "has no branch `trunk`", "git push origin trunk");
    let url = &system.repository_url;
    let (before, after) = url.split_once("@127.0.0.1:").unwrap();
    let (_, repository) = after.split_once('/').unwrap();
    let looked = installation.changed(url, &format!("{before}@127.0.0.1:9/{repository}"));
    looked.says("git", "failed", "", "");

    // Signed by somebody who is not in the list, or by nobody.
    let signers = format!(
        "apiVersion: {SIGNER}\nkind: Signers\nsigners:\n  - {{name: b, roles: [release], keys: [\"{}\"]}}\n",
        public(system, "ssh.key")
    );
    let looked = installation.with("signers.yaml", &signers);
    looked.says("revision", "failed", "UnknownSigner", "");
    looked.says("platform", "skipped", "no revision may be used", "");
    system.commit_unsigned("second", "v0.1.1");
    installation.looked().says("revision", "warning", "v0.1.0", "");
    git(&system.file("repository"), &["tag", "-d", "v0.1.1"]);

    // A platform that can't be read, and one that can't be rendered.
    let platform = std::fs::read_to_string(system.file("repository/tk8s.yaml")).unwrap();
    system.write("tk8s.yaml", &platform.replace("name: web", "nam: web"));
    system.commit("third");
    system.tag("v0.1.2");
    installation.looked().says("platform", "failed", "did you mean `name`?", "tk8s-agent check DIR");
    system.write("tk8s.yaml", &platform);
    system.write("web/all.yaml", "apiVersion: v1\nkind: ConfigMap\n");
    system.commit("fourth");
    system.tag("v0.1.3");
    installation.looked().says("platform", "failed", "web: ", "tk8s-agent check DIR");
    system.write("web/all.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: one}\ndata: {at: fifth}\n");
    system.commit("fifth");
    system.tag("v0.1.4");
    installation.looked().says("platform", "ok", "", "");

    let more = |render: &str| installation.look(&(system.configuration() + render), &system.file("kubeconfig"), &[]);
    more("\nrender: {kustomize: /nowhere/kustomize}\n").says("programs", "warning", "/nowhere/kustomize", "render.kustomize");
    more("\nrender: {helm: /bin/false}\n").says("programs", "failed", "helm", "docs/image.md");
}

fn public(system: &System, key: &str) -> String {
    std::fs::read_to_string(system.file(&format!("{key}.pub"))).unwrap().trim().to_owned()
}

async fn running(installation: &mut Installation) {
    let looked = installation.with("webhook", "another secret, and a long one");
    looked.says("webhook", "failed", "refuses what is signed with the secret in this file", "the same secret");
    // Killed, it holds the Lease for a while; ended, nobody does.
    installation.system.signal("KILL");
    installation.system.until_ended();
    let looked = installation.looked();
    looked.says("health", "failed", "holds the Lease, and nobody listens", "kubectl -n doctored logs deploy/tk8s-agent-doctored");
    looked.says("webhook", "skipped", "no agent runs here", "");
    installation.system.start();
    installation.system.believe();
    installation.system.stop();
    let looked = installation.looked();
    looked.says("health", "skipped", "no agent runs here", "");
    looked.says("lease", "ok", "nobody holds", "");
}
