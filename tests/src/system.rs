//! The whole agent, as its own process, with a repository on disk and a [`Proxy`] between it and the API server: what the
//! scenarios in Rust begin with.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

use crate::clock::Clock;
use crate::cluster::ControlPlane;
use crate::program;
use crate::proxy::Proxy;

/// How long anything may take before the test fails.
const PATIENCE: Duration = Duration::from_secs(60);

/// Most scenarios are about something else than who calls, and read what goes over the line.
const PLAIN: &str = "tls: none";

/// An instance in `dev` that follows the branch `main` of its own repository, without signatures. Its name is also that of
/// its namespace. The process ends with it.
pub struct System {
    directory: TempDir,
    /// The instance, and its namespace.
    pub name: String,
    /// Between the agent and the API server.
    pub proxy: Proxy,
    /// The cluster, as a person beside the agent sees it.
    pub plane: &'static ControlPlane,
    /// What the agent's file holds besides; to be changed before [`System::start`].
    pub repository_url: String,
    /// How often Git is looked at without being woken.
    pub interval: &'static str,
    /// How long one fetch may take.
    pub timeout: &'static str,
    /// Further lines of the agent's file.
    pub more: String,
    /// Further keys of its `api`.
    pub api: String,
    /// What the agent logs, as `RUST_LOG` says it; its own choice if empty.
    pub logs: &'static str,
    /// The environment, and what is trusted in it.
    pub trust: (&'static str, String),
    /// Variables that the agent is started with besides.
    pub variables: Vec<(&'static str, String)>,
    agent: Option<Child>,
}

impl System {
    /// A new instance with an empty namespace and an empty repository. Nothing runs yet.
    pub async fn new(name: &str) -> System {
        let plane = tokio::task::spawn_blocking(ControlPlane::shared).await.expect("the control plane starts");
        plane.kubectl(&["create", "namespace", name]);
        let directory = tempfile::tempdir().expect("because there is room");
        let proxy = Proxy::before(plane.client_as(Some(name)).await).await;
        let openssl = |arguments: &[&str], file: &str| {
            let output = Command::new("openssl").args(arguments).output().expect("openssl");
            std::fs::write(directory.path().join(file), output.stdout).expect("because the directory is ours");
        };
        openssl(&["genpkey", "-algorithm", "ed25519"], "identity.pem");
        openssl(&["rand", "-hex", "32"], "history.key");
        openssl(&["rand", "-hex", "32"], "token");
        openssl(&["rand", "-hex", "32"], "webhook");
        git(directory.path(), &["init", "-q", "-b", "main", "repository"]);
        let repository_url = format!("file://{}/repository", directory.path().display());
        System::with(directory, name, proxy, plane, repository_url)
    }

    /// Another process of this instance: with the same keys and repository, and a volume of its own. The audit log knows it
    /// as another user.
    pub async fn beside(&self, user: &str) -> System {
        let directory = tempfile::tempdir().expect("because there is room");
        let proxy = Proxy::before(self.plane.client_as(Some(user)).await).await;
        for file in ["identity.pem", "history.key", "token", "webhook"] {
            std::fs::copy(self.file(file), directory.path().join(file)).expect("because both are ours");
        }
        let mut system = System::with(directory, &self.name, proxy, self.plane, self.repository_url.clone());
        (system.more, system.trust) = (self.more.clone(), self.trust.clone());
        system
    }

    fn with(directory: TempDir, name: &str, proxy: Proxy, plane: &'static ControlPlane, repository_url: String) -> System {
        proxy.write_kubeconfig(&directory.path().join("kubeconfig"));
        System {
            directory,
            name: name.into(),
            proxy,
            plane,
            repository_url,
            interval: "1s",
            timeout: "3s",
            more: String::new(),
            api: PLAIN.into(),
            logs: "",
            trust: ("dev", r#"{waive: {reason: "a test"}}"#.into()),
            variables: Vec::new(),
            agent: None,
        }
    }

    /// From now on every commit is signed, and the instance is one in `staging` that asks for it.
    pub fn sign(&mut self) {
        let made = Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(self.file("signer")).status();
        assert!(made.expect("ssh-keygen").success());
        let public = std::fs::read_to_string(self.file("signer.pub")).expect("because it was just made");
        let signers = format!(
            "apiVersion: agent.tk8s.io/v1alpha1\nkind: Signers\nsigners:\n  - {{name: a, roles: [release], keys: [\"{}\"]}}\n",
            public.trim()
        );
        std::fs::write(self.file("signers.yaml"), signers).expect("because it is ours");
        let key = self.file("signer").display().to_string();
        for (setting, value) in [("gpg.format", "ssh"), ("user.signingkey", key.as_str()), ("commit.gpgsign", "true")] {
            git(&self.file("repository"), &["config", setting, value]);
        }
        self.trust = ("staging", format!("{{signersFile: {}, commits: head}}", self.file("signers.yaml").display()));
    }

    /// Two components, each of one ConfigMap, in one layer, deployed; with further lines of the agent's file.
    pub async fn two_components(name: &str, more: &str) -> System {
        let mut system = System::new(name).await;
        system.more = more.into();
        system.deploy_two();
        system
    }

    /// The same, of an instance that does not run yet.
    pub fn deploy_two(&mut self) {
        self.write_platform(&[&["one", "two"]]);
        self.write_map("one", "first");
        self.write_map("two", "first");
        self.commit("first");
        self.start();
        self.until_all("Healthy");
    }

    /// From the next start on the agent goes by a wall clock of its own.
    pub fn own_clock(&mut self) -> Clock {
        let clock = Clock::new(self.directory.path());
        self.variables.extend(clock.variables());
        clock
    }

    /// Waits until the agent has looked at Git so often more.
    pub async fn until_looked(&self, times: u64) {
        let looks = async || self.counter("tk8s_fetches_total", "outcome=\"ok\"").await;
        let (before, begun) = (looks().await, Instant::now());
        while looks().await < before + times {
            assert!(begun.elapsed() < PATIENCE, "it does not look at Git: {}", self.log());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// From the next start on the agent speaks to the API server itself, past the proxy.
    pub fn leave_out_the_proxy(&self) {
        self.plane.write_kubeconfig_as(&self.name, &self.file("kubeconfig"));
    }

    /// The id of the agent's process, while it runs.
    pub fn process(&self) -> Option<u32> {
        self.agent.as_ref().map(Child::id)
    }

    /// A file of the instance's own directory.
    pub fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Writes a file of the repository.
    pub fn write(&self, path: &str, text: &str) {
        let path = self.file("repository").join(path);
        std::fs::create_dir_all(path.parent().expect("because it is below the repository")).expect("because it is ours");
        std::fs::write(path, text).expect("because it is ours");
    }

    /// Writes a component of one ConfigMap, whose `at` is this.
    pub fn write_map(&self, component: &str, at: &str) {
        let name = &self.name;
        let text = format!(
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {component}, namespace: {name}}}\ndata: {{at: \"{at}\"}}\n"
        );
        self.write(&format!("{component}/all.yaml"), &text);
    }

    /// Brings these values of a component's ConfigMap, one commit after the other, each until all is healthy.
    pub fn bring(&self, component: &str, values: &[&str]) {
        for at in values {
            self.write_map(component, at);
            self.commit(at);
            self.until_map(component, at);
            self.until_all("Healthy");
        }
    }

    /// Writes a platform of one layer for each of these lists of components.
    pub fn write_platform(&self, layers: &[&[&str]]) {
        let mut text = "apiVersion: tk8s.io/v1alpha1\nkind: Platform\nlayers:\n".to_owned();
        for (number, components) in layers.iter().enumerate() {
            let components: Vec<_> = components.iter().map(|name| format!("{{name: {name}, path: {name}}}")).collect();
            text.push_str(&format!("  - {{number: {number}, name: l{number}, components: [{}]}}\n", components.join(", ")));
        }
        self.write("tk8s.yaml", &text);
    }

    /// Commits everything.
    pub fn commit(&self, message: &str) {
        git(&self.file("repository"), &["add", "-A"]);
        git(&self.file("repository"), &["commit", "-q", "--allow-empty", "-m", message]);
    }

    /// From now on commits and tags are signed, and the instance is one in `production` that follows signed tags.
    pub fn sign_tags(&mut self) {
        self.sign();
        git(&self.file("repository"), &["config", "tag.gpgsign", "true"]);
        self.trust = ("production", self.trust.1.replacen(", commits: head", "", 1));
    }

    /// From now on the agent speaks to the API server as somebody without any right, but for those that are bound to the
    /// instance's name.
    pub async fn give_up_rights(&mut self) {
        self.proxy = Proxy::before(self.plane.client_without_rights(&self.name).await).await;
        self.proxy.write_kubeconfig(&self.file("kubeconfig"));
    }

    /// Tags what was committed last: annotated and, in production, signed.
    pub fn tag(&self, name: &str) {
        git(&self.file("repository"), &["tag", "-a", "-m", name, name]);
    }

    /// Commits everything and tags it, as somebody whose key nobody knows would: without any.
    pub fn commit_unsigned(&self, message: &str, tag: &str) {
        git(&self.file("repository"), &["add", "-A"]);
        git(&self.file("repository"), &["-c", "commit.gpgsign=false", "commit", "-q", "--allow-empty", "-m", message]);
        git(&self.file("repository"), &["-c", "tag.gpgsign=false", "tag", "-a", "-m", tag, tag]);
    }

    /// The agent's file, as [`System::start`] writes it.
    pub fn configuration(&self) -> String {
        let at = |file: &str| self.file(file).display().to_string();
        let (url, interval, timeout, name) = (&self.repository_url, self.interval, self.timeout, &self.name);
        let (environment, trust) = &self.trust;
        let auth = match url.split(':').next() {
            Some("ssh") => format!(", auth: {{sshKeyFile: {}, knownHostsFile: {}}}", at("ssh.key"), at("known_hosts")),
            Some("git") => ", allowInsecure: true".to_owned(),
            _ => String::new(),
        };
        format!(
            r#"apiVersion: agent.tk8s.io/v1alpha1
kind: AgentConfig
instance: {name}
cluster: test
environment: {environment}
repository: {{url: "{url}", branch: main, interval: {interval}, timeout: {timeout}{auth}}}
trust: {trust}
history: {{dir: {history}, identityKeyFile: {identity}, encryptionKeyFile: {key}}}
api: {{listen: "127.0.0.1:0", healthListen: "127.0.0.1:0", metricsListen: "127.0.0.1:0", tokenFile: {token}, addressFile: {address}, {api}}}
webhook: {{secretFile: {webhook}}}
lease: {{namespace: {name}}}
{more}
"#,
            more = self.more,
            api = self.api,
            history = at("history"),
            identity = at("identity.pem"),
            key = at("history.key"),
            token = at("token"),
            address = at("address"),
            webhook = at("webhook"),
        )
    }

    /// Exchanges the agent's file as Kubernetes exchanges a mounted one: by a link beside it.
    pub fn configure(&self, text: &str) {
        let mount = self.file("mounted");
        let version = format!("..{}", std::fs::read_dir(&mount).map_or(0, Iterator::count));
        let link = |to: &str, name: &str| {
            std::os::unix::fs::symlink(to, mount.join("new")).expect("because it is ours");
            std::fs::rename(mount.join("new"), mount.join(name)).expect("because it is ours");
        };
        std::fs::create_dir_all(mount.join(&version)).expect("because it is ours");
        std::fs::write(mount.join(&version).join("agent.yaml"), text).expect("because it is ours");
        link(&version, "..data");
        link("..data/agent.yaml", "agent.yaml");
    }

    /// Starts the agent and waits until it listens.
    pub fn start(&mut self) {
        self.start_with(&self.configuration());
    }

    /// The same with another agent's file, which has to name the instance's own `address`.
    pub fn start_with(&mut self, configuration: &str) {
        self.configure(configuration);
        std::fs::remove_file(self.file("address")).ok();
        let log = self.log_file();
        std::fs::create_dir_all(log.parent().expect("because it is in one")).expect("because it is ours");
        let log = std::fs::File::options().create(true).append(true).open(log).expect("because it is ours");
        let mut command = Command::new(program("tk8s-agent"));
        if !self.logs.is_empty() {
            command.env("RUST_LOG", self.logs);
        }
        let mut child = command
            .envs(self.variables.iter().cloned())
            .arg("run")
            .arg("--config")
            .arg(self.file("mounted/agent.yaml"))
            .arg("--kubeconfig")
            .arg(self.file("kubeconfig"))
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("because it is open"))
            .stderr(log)
            .spawn()
            .expect("because the agent is built");
        while !self.file("address").exists() {
            assert_eq!(child.try_wait().expect("because it is our child"), None, "{}", self.log());
            std::thread::sleep(Duration::from_millis(20));
        }
        self.agent = Some(child);
    }

    /// Ends the agent as Kubernetes would, and waits until it is gone.
    pub fn stop(&mut self) {
        if self.agent.is_some() {
            // It may have ended already.
            self.send("TERM");
            self.until_ended();
        }
    }

    /// Sends the agent's process a signal.
    pub fn signal(&self, signal: &str) {
        assert!(self.send(signal), "{}", self.log());
    }

    fn send(&self, signal: &str) -> bool {
        let process = self.process().expect("because it runs").to_string();
        Command::new("kill").args(["-s", signal, &process]).status().expect("because kill is there").success()
    }

    /// Whether the agent still runs.
    pub fn is_running(&mut self) -> bool {
        self.agent.as_mut().is_some_and(|agent| agent.try_wait().expect("because it is our child").is_none())
    }

    /// Waits until the agent ended by itself; how.
    pub fn until_ended(&mut self) -> ExitStatus {
        let mut agent = self.agent.take().expect("because it runs");
        let begun = Instant::now();
        loop {
            if let Some(status) = agent.try_wait().expect("because it is our child") {
                return status;
            }
            if begun.elapsed() > PATIENCE {
                agent.kill().ok();
                panic!("the agent did not end: {}", self.log());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Demands that replaying the ledger of the stopped agent gives the view, byte for byte.
    pub fn check_history(&self) {
        let at = |file: &str| self.file(file).display().to_string();
        let output = Command::new(program("check-history"))
            .args([
                at("history"),
                self.name.clone(),
                format!("tk8s.io/test/{}", self.name),
                at("identity.pem"),
                at("history.key"),
            ])
            .output()
            .expect("because it is built");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    /// Waits until something is true.
    pub fn until(&self, what: &str, is: impl Fn() -> bool) {
        let begun = Instant::now();
        while !is() {
            assert!(begun.elapsed() < PATIENCE, "waited in vain until {what}\n{}\n{}", self.text_status(), self.log());
            std::thread::sleep(Duration::from_millis(30));
        }
    }

    /// Waits until every component has this state.
    pub fn until_all(&self, state: &str) {
        self.until(&format!("all are {state}"), || {
            let status = self.status();
            let components = status["components"].as_array().map(Vec::as_slice).unwrap_or_default();
            !components.is_empty() && components.iter().all(|component| component["state"] == state)
        });
    }

    /// What is anchored in the cluster; empty if nothing is.
    pub fn anchor(&self) -> String {
        let name = format!("tk8s-agent-{}", self.name);
        self.kubectl(&["get", "configmap", &name, "--ignore-not-found", "-o", "jsonpath={.data.anchor}"])
    }

    /// Waits until all of the ledger is anchored.
    pub fn until_anchored(&self) {
        self.until("all of it is anchored", || {
            let size = self.status()["ledger"]["size"].as_u64().unwrap_or_default();
            self.anchor().contains(&format!("\"size\":{size}}}"))
        });
    }

    /// Waits until a component has this state, with a message that holds these words.
    pub fn until_says(&self, component: &str, state: &str, words: &str) {
        self.until(&format!("{component} is {state}: {words}"), || {
            let found = self.component(component);
            found["state"] == state && found["message"].as_str().is_some_and(|message| message.contains(words))
        });
    }

    /// Waits until the cluster was told of every component that it is as the status says, and of its release.
    pub fn until_told(&self) {
        self.until("the cluster is told", || {
            let read = |what: &str| -> Value {
                let found = self.plane.kubectl_with(&["-n", &self.name, "get", what, "-o", "json"], "");
                serde_json::from_str(&found.unwrap_or_default()).unwrap_or_default()
            };
            let (resources, events) = (read("components.agent.tk8s.io"), read("events.v1.events.k8s.io"));
            let items = |list: &Value| list["items"].as_array().cloned().unwrap_or_default();
            let (resources, events) = (items(&resources), items(&events));
            let components = self.status()["components"].as_array().cloned().unwrap_or_default();
            let is_told = |component: &Value| {
                let says = |told: &Value, field: &str| told["status"][field] == component[field];
                let named = |told: &&Value| told["metadata"]["name"] == component["name"];
                resources.iter().find(named).is_some_and(|told| says(told, "state") && says(told, "release"))
                    && events.iter().any(|told| told["regarding"]["name"] == component["name"] && told["reason"] == "Released")
            };
            !components.is_empty() && components.iter().all(is_told)
        });
    }

    /// Waits until the ConfigMap of a component holds this.
    pub fn until_map(&self, component: &str, at: &str) {
        self.until(&format!("{component} is at {at}"), || self.map(component) == at);
    }

    /// What the ConfigMap of a component holds; empty if it is not there.
    pub fn map(&self, component: &str) -> String {
        self.kubectl(&["get", "configmap", component, "--ignore-not-found", "-o", "jsonpath={.data.at}"])
    }

    /// kubectl in the instance's namespace.
    pub fn kubectl(&self, arguments: &[&str]) -> String {
        self.plane.kubectl(&[&["-n", self.name.as_str()], arguments].concat())
    }

    /// Waits until the agent's certificate is published, for everybody here to believe it.
    pub fn believe(&self) -> String {
        let name = format!("tk8s-agent-{}-api", self.name);
        let published = || self.kubectl(&["get", "configmap", &name, "--ignore-not-found", "-o", r"jsonpath={.data.ca\.crt}"]);
        self.until("its certificate is published", || !published().is_empty());
        let certificate = published();
        std::fs::write(self.file("ca.crt"), &certificate).expect("because it is ours");
        certificate
    }

    /// Runs a command that talks to the agent.
    pub fn tk8s(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(program("tk8s-agent"));
        match self.api.contains(PLAIN) {
            true => command.args(arguments).args(["--server", &format!("http://{}", self.address("api"))]),
            false => {
                let server = format!("https://{}", self.address("api"));
                command.args(arguments).args(["--server", &server, "--ca-file"]).arg(self.file("ca.crt"))
            }
        };
        command.arg("--token-file").arg(self.file("token")).output().expect("because the agent is built")
    }

    /// Runs a command that needs no agent.
    pub fn tk8s_offline(&self, arguments: &[&str]) -> Output {
        Command::new(program("tk8s-agent")).args(arguments).output().expect("because the agent is built")
    }

    /// Where one of the agent's listeners is.
    pub fn address(&self, listener: &str) -> String {
        let text = std::fs::read_to_string(self.file("address")).unwrap_or_default();
        let addresses: Value = serde_json::from_str(&text).unwrap_or_default();
        addresses[listener].as_str().unwrap_or("127.0.0.1:9").to_owned()
    }

    /// `status --output json`; null if the agent can't be reached.
    pub fn status(&self) -> Value {
        serde_json::from_slice(&self.tk8s(&["status", "--output", "json"]).stdout).unwrap_or_default()
    }

    fn text_status(&self) -> String {
        String::from_utf8_lossy(&self.tk8s(&["status"]).stdout).into_owned()
    }

    /// The status of one component.
    pub fn component(&self, name: &str) -> Value {
        let status = self.status();
        let found = status["components"].as_array().and_then(|all| all.iter().find(|one| one["name"] == name).cloned());
        found.unwrap_or_default()
    }

    /// One of the agent's counters, 0 if it has not counted yet.
    pub async fn counter(&self, name: &str, labels: &str) -> u64 {
        let (_, text) = self.http("metrics", "GET /metrics", &[], "").await;
        let prefix = format!("{name}{{{labels}}} ");
        text.lines().find_map(|line| line.strip_prefix(&prefix)?.parse().ok()).unwrap_or(0)
    }

    /// A counter without labels, 0 if it has not counted yet.
    pub async fn counter_of(&self, name: &str) -> u64 {
        let (_, text) = self.http("metrics", "GET /metrics", &[], "").await;
        let prefix = format!("{name} ");
        text.lines().find_map(|line| line.strip_prefix(&prefix)?.parse().ok()).unwrap_or(0)
    }

    /// Sends a request to one of the agent's listeners, byte by byte as a stranger would; the status and the body.
    pub async fn http(&self, listener: &str, request: &str, headers: &[(&str, &str)], body: &str) -> (u16, String) {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        let address = self.address(listener);
        let headers: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        let length = body.len();
        let text = format!("{request} HTTP/1.0\r\nHost: {address}\r\n{headers}Content-Length: {length}\r\n\r\n{body}");
        let mut stream = tokio::net::TcpStream::connect(&address).await.expect("because the agent listens");
        stream.write_all(text.as_bytes()).await.expect("because the agent listens");
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.expect("because it answers");
        let answer = String::from_utf8_lossy(&answer);
        let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok());
        let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
        (status.unwrap_or_else(|| panic!("no answer: {answer}")), body.to_owned())
    }

    /// Where the agent logs: in a directory of its own, because those of the files that it is given are watched by it.
    pub fn log_file(&self) -> PathBuf {
        self.file("log/agent.log")
    }

    /// The end of the agent's log.
    pub fn log(&self) -> String {
        let text = std::fs::read_to_string(self.log_file()).unwrap_or_default();
        let lines: Vec<_> = text.lines().collect();
        lines[lines.len().saturating_sub(40)..].join("\n")
    }
}

impl Drop for System {
    fn drop(&mut self) {
        if let Some(mut agent) = self.agent.take() {
            agent.kill().ok();
            agent.wait().ok();
        }
    }
}

/// Runs git as somebody, without the machine's own settings.
pub fn git(directory: &Path, arguments: &[&str]) {
    let output = Command::new("git")
        .current_dir(directory)
        .args(["-c", "user.name=A", "-c", "user.email=a@example.com"])
        .args(arguments)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_SYSTEM", "/dev/null")
        .env_remove("GIT_SSL_CAINFO")
        .output()
        .expect("git");
    assert!(output.status.success(), "git {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}
