//! A real control plane for tests that speak to it themselves: one for each test program, ended with it.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// The control plane. Tests share it, each in namespaces and as an instance of its own.
pub struct ControlPlane {
    kubeconfig: PathBuf,
    audit: PathBuf,
    assets: String,
}

/// Whether anybody does something with what is written into it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Inhabited {
    Yes,
    No,
}

static SHARED: OnceLock<ControlPlane> = OnceLock::new();

impl ControlPlane {
    /// The one of this program, started at first use.
    pub fn shared() -> &'static ControlPlane {
        SHARED.get_or_init(|| ControlPlane::start(Inhabited::Yes))
    }

    /// The one of this program, with nothing in it but the API server: no controllers, no scheduler, no node. Only if it
    /// was not started before.
    pub fn uninhabited() -> &'static ControlPlane {
        SHARED.get_or_init(|| ControlPlane::start(Inhabited::No))
    }

    fn start(inhabited: Inhabited) -> ControlPlane {
        let assets = crate::assets();
        let file = |kind: &str| std::env::temp_dir().join(format!("tk8s-plane-{}.{kind}", std::process::id()));
        let (kubeconfig, audit) = (file("kubeconfig"), file("audit.log"));
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "TERM", "--"]).arg(crate::top().join("tests/cluster/run.sh")).arg(&kubeconfig).arg(&audit);
        if inhabited == Inhabited::No {
            command.env("TK8S_NO_CONTROLLERS", "1");
        }
        command.env("TK8S_ASSETS", &assets).stdin(Stdio::null()).stdout(Stdio::piped());
        let (says, said) = std::sync::mpsc::channel();
        // The signal of a parent's death is that of its thread: this one lives as long as the program.
        std::thread::spawn(move || {
            let mut child = command.spawn().expect("because setpriv is part of util-linux");
            for line in BufReader::new(child.stdout.take().expect("because it is piped")).lines().map_while(Result::ok) {
                says.send(line).ok();
            }
            panic!("the control plane ended: {:?}", child.wait());
        });
        let ready = said.recv_timeout(Duration::from_secs(90)).expect("the control plane did not start in time");
        assert!(ready.starts_with("the cluster runs"), "{ready}");
        ControlPlane { kubeconfig, audit, assets }
    }

    /// The administrator's kubeconfig.
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// Where the API server writes its audit log.
    pub fn audit_log(&self) -> &Path {
        &self.audit
    }

    /// Writes a kubeconfig of a user with the administrator's rights, whom the audit log tells from others.
    pub fn write_kubeconfig_as(&self, user: &str, path: &Path) {
        let mut kubeconfig = kube::config::Kubeconfig::read_from(self.kubeconfig()).expect("because the control plane wrote it");
        for named in &mut kubeconfig.auth_infos {
            let info = named.auth_info.as_mut().expect("because the control plane wrote it");
            info.impersonate = Some(user.into());
            info.impersonate_groups = Some(vec!["system:masters".into()]);
        }
        let text = serde_json::to_string(&kubeconfig).expect("because it was read from the like");
        std::fs::write(path, text).expect("because the directory is ours");
    }

    /// Writes a kubeconfig of whoever has this token.
    pub fn write_kubeconfig_of(&self, token: &str, path: &Path) {
        let text = std::fs::read_to_string(self.kubeconfig()).expect("because the control plane wrote it");
        let mut kubeconfig: serde_yaml::Value = serde_yaml::from_str(&text).expect("because it is a kubeconfig");
        kubeconfig["users"][0]["user"]["token"] = token.into();
        let text = serde_yaml::to_string(&kubeconfig).expect("because it was read from the like");
        std::fs::write(path, text).expect("because the directory is ours");
    }

    /// A client with the administrator's rights.
    pub async fn client(&self) -> kube::Client {
        self.client_as(None).await
    }

    /// A client of a user with the administrator's rights, whom the audit log tells from others.
    pub async fn client_as(&self, user: Option<&str>) -> kube::Client {
        let kubeconfig = kube::config::Kubeconfig::read_from(self.kubeconfig()).expect("because the control plane wrote it");
        let config = kube::Config::from_custom_kubeconfig(kubeconfig, &Default::default()).await;
        let mut config = config.expect("because it is complete");
        config.auth_info.impersonate = user.map(String::from);
        config.auth_info.impersonate_groups = user.map(|_| vec!["system:masters".into()]);
        kube::Client::try_from(config).expect("because it is usable")
    }

    /// A client of a user without any right, until somebody binds one to the name.
    pub async fn client_without_rights(&self, user: &str) -> kube::Client {
        let kubeconfig = kube::config::Kubeconfig::read_from(self.kubeconfig()).expect("because the control plane wrote it");
        let config = kube::Config::from_custom_kubeconfig(kubeconfig, &Default::default()).await;
        let mut config = config.expect("because it is complete");
        config.auth_info.impersonate = Some(user.into());
        kube::Client::try_from(config).expect("because it is usable")
    }

    /// What a user of [`ControlPlane::client_as`] asked for, as the audit log has it: verb and URI of each request.
    pub fn audited(&self, user: &str) -> Vec<(String, String)> {
        let log = std::fs::read_to_string(&self.audit).expect("because the API server writes it");
        let events = log.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
        // Who it is, an agent asks once, and nothing is kept of that.
        let is_question = |event: &serde_json::Value| event["objectRef"]["resource"] == "selfsubjectreviews";
        let of_user = events.filter(|event| event["impersonatedUser"]["username"] == user && !is_question(event));
        let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
        of_user.map(|event| (text(&event["verb"]), text(&event["requestURI"]))).collect()
    }

    /// Runs kubectl, as a person beside the agent would; fails with what it said.
    pub fn kubectl(&self, arguments: &[&str]) -> String {
        self.kubectl_with(arguments, "").unwrap_or_else(|error| panic!("kubectl {arguments:?}: {error}"))
    }

    /// Applies YAML, as a person would.
    pub fn apply(&self, yaml: &str) {
        self.kubectl_with(&["apply", "-f", "-"], yaml).unwrap_or_else(|error| panic!("{error}\n{yaml}"));
    }

    /// Runs kubectl with something to read; what it printed, or what it complained about.
    pub fn kubectl_with(&self, arguments: &[&str], input: &str) -> Result<String, String> {
        let mut child = Command::new(Path::new(&self.assets).join("kubectl"))
            .arg("--kubeconfig")
            .arg(self.kubeconfig())
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("because the assets hold kubectl");
        child.stdin.take().expect("because it is piped").write_all(input.as_bytes()).ok();
        let output = child.wait_with_output().expect("because it was started");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
    }

    /// Waits until kubectl prints this.
    pub fn until(&self, expected: &str, arguments: &[&str]) {
        let begun = Instant::now();
        loop {
            let found = self.kubectl_with(arguments, "");
            if found.as_deref() == Ok(expected) {
                return;
            }
            assert!(begun.elapsed() < Duration::from_secs(30), "kubectl {arguments:?}: expected {expected:?}, found {found:?}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}
