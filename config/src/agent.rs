//! The agent's own file.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tk8s_core::{Environment, InstanceName};

use crate::approvals::{self, ApprovalsConfig};
use crate::document::{self, Node};
use crate::endpoint::{self, TlsConfig};
use crate::evidence::{self, EvidenceConfig};
use crate::fields::Fields;
use crate::freshness::{self, FreshnessConfig};
use crate::health::HealthConfig;
use crate::installation::{self, InstallationConfig};
use crate::refs::{self, RefsConfig};
use crate::repository::{RepositoryConfig, repository};
use crate::watch::{self, WatchConfig};
use crate::{Problem, Problems};

/// The agent's file, validated.
#[derive(Clone, Debug)]
pub struct AgentConfig {
    /// In labels, Lease and ledger; default `tk8s`.
    pub instance: InstanceName,
    /// The cluster's name, for people and for the ledger's origin.
    pub cluster: String,
    /// Which refs are followed and what must be signed.
    pub environment: Environment,
    /// What is followed.
    pub repository: RepositoryConfig,
    /// Who may sign.
    pub trust: TrustConfig,
    /// Where the agent remembers.
    pub history: HistoryConfig,
    /// Where the agent listens.
    pub api: ApiConfig,
    /// Push webhooks; off without it.
    pub webhook: Option<WebhookConfig>,
    /// How other programs render.
    pub render: RenderConfig,
    /// What decrypts files of the repository.
    pub sops: SopsConfig,
    /// What components that substitute may name.
    pub variables: BTreeMap<String, VariableConfig>,
    /// How the agent writes to the cluster.
    pub apply: ApplyConfig,
    /// Where the Lease is.
    pub lease: LeaseConfig,
    /// What of the cluster is looked at.
    pub watch: WatchConfig,
    /// How healthy objects are, beside what is built in.
    pub health: HealthConfig,
    /// What is the agent's own.
    pub installation: InstallationConfig,
}

/// `trust`.
#[derive(Clone, Debug, Default)]
pub struct TrustConfig {
    /// The signers file.
    pub signers_file: Option<PathBuf>,
    /// What of theirs is revoked.
    pub revocation_file: Option<PathBuf>,
    /// In dev only.
    pub waive: Option<WaiveConfig>,
    /// In production only: who has to say yes to a release.
    pub approvals: Option<ApprovalsConfig>,
    /// In production only: where a release has to have run before.
    pub evidence: Option<EvidenceConfig>,
    /// How old what is known of Git may be.
    pub freshness: FreshnessConfig,
    /// Which commits and tags count.
    pub refs: RefsConfig,
}

/// `trust.waive`.
#[derive(Clone, Debug)]
pub struct WaiveConfig {
    /// Why signatures are waived.
    pub reason: String,
}

/// `history`.
#[derive(Clone, Debug)]
pub struct HistoryConfig {
    /// The directory; ours alone.
    pub dir: PathBuf,
    /// How many releases are kept for each component; default 50.
    pub releases: usize,
    /// A PKCS#8 PEM file with an Ed25519 key, which signs the ledger.
    pub identity_key_file: PathBuf,
    /// A file with 32 bytes as hex or base64, which encrypt what is kept.
    pub encryption_key_file: PathBuf,
}

/// `api`.
#[derive(Clone, Debug)]
pub struct ApiConfig {
    /// Default `127.0.0.1:8443`.
    pub listen: SocketAddr,
    /// Default `127.0.0.1:8081`.
    pub health_listen: SocketAddr,
    /// Default `127.0.0.1:9090`.
    pub metrics_listen: SocketAddr,
    /// How what is said there is protected; default: by a certificate of its own.
    pub tls: TlsConfig,
    /// For whom the tokens of the cluster's identities have to be made; default [`endpoint::AUDIENCE`].
    pub audiences: Vec<String>,
    /// A file with a token that is nobody's in the cluster, and may everything; off without it.
    pub token_file: Option<PathBuf>,
    /// Where the real addresses are written, as JSON: for listeners on port 0.
    pub address_file: Option<PathBuf>,
}

/// `webhook`.
#[derive(Clone, Debug)]
pub struct WebhookConfig {
    /// The file with the shared secret.
    pub secret_file: PathBuf,
}

/// `render`: how kustomize and Helm are found and run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RenderConfig {
    /// Where kustomize is; by default beside the agent, then in `PATH`.
    pub kustomize: Option<PathBuf>,
    /// The same for Helm.
    pub helm: Option<PathBuf>,
    /// Where their private files are; by default inside `history.dir`.
    pub scratch_dir: Option<PathBuf>,
    /// Bytes of memory that one may use; default 1 GiB.
    pub memory: u64,
    /// How long one may take; default 60 s.
    pub timeout: Duration,
    /// What a component may bring.
    pub limits: RenderLimitsConfig,
}

/// `render.limits`: what isn't given has the default of rendering.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "each is described where it is enforced: `tk8s_render::Bounds` and `Limits`")]
pub struct RenderLimitsConfig {
    pub file_bytes: Option<u64>,
    pub component_bytes: Option<u64>,
    pub value_bytes: Option<u64>,
    pub output_bytes: Option<u64>,
    pub objects: Option<usize>,
}

/// `sops`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SopsConfig {
    /// Files with age keys, as `age-keygen` writes them.
    pub age_key_files: Vec<PathBuf>,
}

/// One of `variables`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum VariableConfig {
    /// Anybody may see it.
    Text(String),
    /// The same.
    Integer(i64),
    /// The same.
    Boolean(bool),
    /// A secret, which is the text of a file.
    File(PathBuf),
}

/// `apply`.
#[derive(Clone, Debug)]
pub struct ApplyConfig {
    /// How many objects of a component are sent at once; default 16.
    pub concurrency: usize,
    /// How long a component may take to become healthy; default 5 m.
    pub health_timeout: Duration,
    /// How often each kind is listed, to find what its watch missed; default 1 h.
    pub full_check: Duration,
}

/// `lease`.
#[derive(Clone, Debug, Default)]
pub struct LeaseConfig {
    /// Default: the pod's own namespace, or `default`.
    pub namespace: Option<String>,
}

impl AgentConfig {
    /// Every file that it names and that is read while the agent runs.
    pub fn files(&self) -> Vec<&Path> {
        let others = self.trust.signers_file.iter().chain(&self.trust.revocation_file).chain(&self.api.token_file);
        let webhook = self.webhook.iter().map(|webhook| &webhook.secret_file);
        let variables = self.variables.values().filter_map(|variable| match variable {
            VariableConfig::File(path) => Some(path),
            _ => None,
        });
        let rendering = self.sops.age_key_files.iter().chain(variables);
        self.repository.files().into_iter().chain(others).chain(webhook).chain(rendering).map(PathBuf::as_path).collect()
    }

    /// The keys in which another file differs that can't change while the agent runs.
    pub fn needs_restart(&self, other: &AgentConfig) -> Vec<&'static str> {
        let (history, api) = (&self.history, &self.api);
        let differs = [
            ("instance", self.instance != other.instance),
            ("cluster", self.cluster != other.cluster),
            ("environment", self.environment != other.environment),
            ("repository.url", self.repository.url != other.repository.url),
            ("history.dir", history.dir != other.history.dir),
            ("history.releases", history.releases != other.history.releases),
            ("history.identityKeyFile", history.identity_key_file != other.history.identity_key_file),
            ("history.encryptionKeyFile", history.encryption_key_file != other.history.encryption_key_file),
            ("api.listen", api.listen != other.api.listen),
            ("api.healthListen", api.health_listen != other.api.health_listen),
            ("api.metricsListen", api.metrics_listen != other.api.metrics_listen),
            ("api.addressFile", api.address_file != other.api.address_file),
            ("api.tls", api.tls != other.api.tls),
            ("render", self.render != other.render),
            ("lease.namespace", self.lease.namespace != other.lease.namespace),
            ("watch", self.watch != other.watch),
        ];
        differs.into_iter().filter_map(|(key, differs)| differs.then_some(key)).collect()
    }

    /// Reads and validates the file; all problems at once.
    pub fn parse(text: &str, file: &str) -> Result<AgentConfig, Problems> {
        let node = document::read(text.as_bytes(), file)?;
        let mut problems = Vec::new();
        let config = read(&node, &mut problems);
        match config {
            Some(config) if problems.is_empty() => Ok(config),
            _ => Err(Problems::of(file, problems)),
        }
    }
}

/// Reads a map below a key; a missing map reads as an empty one.
pub(crate) fn section<T>(
    fields: &mut Fields<'_>,
    key: &'static str,
    empty: &Node,
    read: impl FnOnce(&mut Fields<'_>) -> T,
    renamed: &[(&str, &str)],
) -> T {
    let path = fields.join(key);
    let node = fields.node(key).unwrap_or(empty);
    let mut inner = Fields::of(node, path, fields.problems);
    let value = read(&mut inner);
    inner.finish(renamed);
    value
}

fn read(node: &Node, problems: &mut Vec<Problem>) -> Option<AgentConfig> {
    let empty = Node { line: node.line, value: document::Value::Map(Vec::new()) };
    let mut top = Fields::of(node, String::new(), problems);
    expect(&mut top, "apiVersion", "agent.tk8s.io/v1alpha1");
    expect(&mut top, "kind", "AgentConfig");
    let instance = if top.node("instance").is_some() {
        top.parse("instance")
    } else {
        Some("tk8s".parse().expect("because it is a valid name"))
    };
    let cluster: Option<String> = top.required("cluster");
    if let Some(name) = &cluster
        && (name.is_empty()
            || name.len() > 100
            || !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte)))
    {
        top.problem("cluster", "use letters, digits, `-`, `.` and `_`, at most 100");
    }
    if top.node("environment").is_none() {
        top.problem("environment", "it is missing: write `dev`, `staging` or `production`");
    }
    let environments = [("dev", Environment::Dev), ("staging", Environment::Staging), ("production", Environment::Production)];
    let environment = top.choice("environment", &environments);
    let repository = section(
        &mut top,
        "repository",
        &empty,
        |fields| repository(fields, environment, &empty),
        &[("ref", "write `branch`"), ("revision", "write `branch`")],
    );
    let trust = section(&mut top, "trust", &empty, |fields| trust(fields, environment, &empty), &[]);
    let seldom = repository.as_ref().zip(trust.freshness.look).is_some_and(|(repository, look)| look <= repository.interval);
    if seldom {
        top.problem("trust", "freshness.look: Git is looked at once in `repository.interval`, so it has to be longer than that");
    }
    let history = section(&mut top, "history", &empty, history, &[]);
    let api = section(&mut top, "api", &empty, |fields| api(fields, &empty), &[("audience", "write `audiences`")]);
    let webhook = match top.node("webhook") {
        Some(_) => section(
            &mut top,
            "webhook",
            &empty,
            |fields| Some(WebhookConfig { secret_file: fields.required("secretFile")? }),
            &[],
        ),
        None => None,
    };
    let render = section(&mut top, "render", &empty, |fields| render(fields, &empty), &[]);
    let sops = section(&mut top, "sops", &empty, sops, &[("ageKeyFile", "write `ageKeyFiles`")]);
    let variables = crate::variables::read(&mut top);
    let apply = section(&mut top, "apply", &empty, apply, &[]);
    let lease = section(&mut top, "lease", &empty, |fields| LeaseConfig { namespace: fields.text("namespace") }, &[]);
    let watch = section(&mut top, "watch", &empty, watch::read, &[("namespace", "write `namespaces`")]);
    let health = section(&mut top, "health", &empty, health, &[("rulesFiles", "write `rulesDir`: each of its files counts")]);
    let installation = section(&mut top, "installation", &empty, installation::read, &[]);
    top.finish(&[("name", "write `instance`"), ("images", "image policies are not supported yet")]);
    Some(AgentConfig {
        instance: instance?,
        cluster: cluster?,
        environment: environment?,
        repository: repository?,
        trust,
        history: history?,
        api,
        webhook,
        render,
        sops,
        variables,
        apply,
        lease,
        watch,
        health,
        installation,
    })
}

fn health(fields: &mut Fields<'_>) -> HealthConfig {
    let rules_dir: Option<PathBuf> = fields.parse("rulesDir");
    if rules_dir.as_ref().is_some_and(|path| !path.is_absolute()) {
        fields.problem("rulesDir", "it has to be an absolute path");
    }
    HealthConfig { rules_dir }
}

pub(crate) fn expect(fields: &mut Fields<'_>, key: &'static str, wanted: &str) {
    match fields.text(key) {
        Some(found) if found == wanted => {}
        _ => fields.problem(key, format!("write `{key}: {wanted}`")),
    }
}

fn render(fields: &mut Fields<'_>, empty: &Node) -> RenderConfig {
    const MIB: u64 = 1024 * 1024;
    let config = RenderConfig {
        kustomize: fields.parse("kustomize"),
        helm: fields.parse("helm"),
        scratch_dir: fields.parse("scratchDir"),
        memory: fields.bytes("memory").unwrap_or(1024 * MIB),
        timeout: fields.duration("timeout").unwrap_or(Duration::from_secs(60)),
        limits: section(fields, "limits", empty, render_limits, &[]),
    };
    // Go programs don't even start with much less.
    if !(256 * MIB..=64 * 1024 * MIB).contains(&config.memory) {
        fields.problem("memory", "from `256MiB` to `64GiB`");
    }
    for (key, path) in [("kustomize", &config.kustomize), ("helm", &config.helm), ("scratchDir", &config.scratch_dir)] {
        if path.as_ref().is_some_and(|path| !path.is_absolute()) {
            fields.problem(key, "it has to be an absolute path");
        }
    }
    config
}

fn render_limits(fields: &mut Fields<'_>) -> RenderLimitsConfig {
    RenderLimitsConfig {
        file_bytes: fields.bytes("fileBytes"),
        component_bytes: fields.bytes("componentBytes"),
        value_bytes: fields.bytes("valueBytes"),
        output_bytes: fields.bytes("outputBytes"),
        objects: fields.parse("objects"),
    }
}

fn sops(fields: &mut Fields<'_>) -> SopsConfig {
    let age_key_files: Vec<PathBuf> = fields.texts("ageKeyFiles").into_iter().map(PathBuf::from).collect();
    if age_key_files.iter().any(|path| !path.is_absolute()) {
        fields.problem("ageKeyFiles", "they have to be absolute paths");
    }
    SopsConfig { age_key_files }
}

fn trust(fields: &mut Fields<'_>, environment: Option<Environment>, empty: &Node) -> TrustConfig {
    let signers_file: Option<PathBuf> = fields.parse("signersFile");
    let revocation_file = fields.parse("revocationFile");
    let waive = match fields.node("waive") {
        Some(_) => section(fields, "waive", empty, |fields| fields.required::<String>("reason"), &[]),
        None => None,
    };
    if waive.as_ref().is_some_and(|reason| reason.trim().is_empty()) {
        fields.problem("waive", "write the reason: it stays visible in status and ledger");
    }
    if waive.is_some() && environment.is_some_and(|environment| environment != Environment::Dev) {
        fields.problem("waive", "signatures can be waived in `dev` only");
    }
    if signers_file.is_none() && waive.is_none() {
        fields.problem("signersFile", "it is missing: name the file that lists who may sign");
    }
    if revocation_file.is_some() && signers_file.is_none() {
        fields.problem("revocationFile", "without `signersFile` nobody may sign, and there is nothing to revoke");
    }
    let approvals = fields.node("approvals");
    let approvals = approvals.map(|_| section(fields, "approvals", empty, |fields| approvals::read(fields, environment), &[]));
    let evidence = match fields.node("evidence") {
        Some(_) => section(fields, "evidence", empty, |fields| evidence::read(fields, environment), &[("files", "write `dir`")]),
        None => None,
    };
    let refs = refs::read(fields, environment, empty);
    let freshness = match fields.node("freshness") {
        Some(_) => section(fields, "freshness", empty, freshness::read, &[]),
        None => FreshnessConfig::default(),
    };
    TrustConfig {
        signers_file,
        revocation_file,
        waive: waive.map(|reason| WaiveConfig { reason }),
        approvals,
        evidence,
        freshness,
        refs,
    }
}

fn history(fields: &mut Fields<'_>) -> Option<HistoryConfig> {
    let dir = fields.required("dir");
    let releases = fields.parse("releases").unwrap_or(50);
    if !(2..=10_000).contains(&releases) {
        fields.problem("releases", "keep at least 2 (one to go back to) and at most 10,000");
    }
    let (identity, encryption) = (fields.required("identityKeyFile"), fields.required("encryptionKeyFile"));
    Some(HistoryConfig { dir: dir?, releases, identity_key_file: identity?, encryption_key_file: encryption? })
}

fn api(fields: &mut Fields<'_>, empty: &Node) -> ApiConfig {
    let address = |text: &str| text.parse().expect("because it is a valid address");
    let listen = fields.parse("listen").unwrap_or_else(|| address("127.0.0.1:8443"));
    ApiConfig {
        listen,
        health_listen: fields.parse("healthListen").unwrap_or_else(|| address("127.0.0.1:8081")),
        metrics_listen: fields.parse("metricsListen").unwrap_or_else(|| address("127.0.0.1:9090")),
        tls: endpoint::tls(fields, listen, empty),
        audiences: endpoint::audiences(fields),
        token_file: fields.parse("tokenFile"),
        address_file: fields.parse("addressFile"),
    }
}

fn apply(fields: &mut Fields<'_>) -> ApplyConfig {
    let concurrency = fields.parse("concurrency").unwrap_or(16);
    if !(1..=64).contains(&concurrency) {
        fields.problem("concurrency", "between 1 and 64 requests at once");
    }
    let full_check = fields.duration("fullCheck").unwrap_or(Duration::from_secs(3600));
    if !(Duration::from_secs(1)..=Duration::from_secs(7 * 24 * 3600)).contains(&full_check) {
        fields.problem("fullCheck", "from `1s` to `168h`");
    }
    ApplyConfig { concurrency, health_timeout: fields.duration("healthTimeout").unwrap_or(Duration::from_secs(300)), full_check }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "\
apiVersion: agent.tk8s.io/v1alpha1
kind: AgentConfig
cluster: prod-eu-1
environment: production
repository:
  url: ssh://git@git.example.com/org/platform.git
  path: platform
  auth: {sshKeyFile: /id, knownHostsFile: /known_hosts}
trust: {signersFile: /signers.yaml}
history: {dir: /var/lib/tk8s, identityKeyFile: /identity, encryptionKeyFile: /key}
api: {listen: '127.0.0.1:0'}
";

    fn problems(text: &str) -> Vec<String> {
        AgentConfig::parse(text, "agent.yaml").unwrap_err().to_string().lines().map(String::from).collect()
    }

    #[test]
    fn a_good_file_is_read_with_its_defaults() {
        let config = AgentConfig::parse(GOOD, "agent.yaml").unwrap();
        assert_eq!((config.instance.as_str(), config.repository.branch.as_str()), ("tk8s", "main"));
        assert_eq!(config.repository.interval, Duration::from_secs(60));
        assert_eq!(config.api.listen.port(), 0);
        assert_eq!(config.apply.full_check, Duration::from_secs(3600));
        let rare = problems(&format!("{GOOD}apply: {{fullCheck: 1000h}}\n"));
        assert!(rare[0].contains("apply.fullCheck: from `1s` to `168h`"), "{rare:?}");
    }

    #[test]
    fn every_problem_is_reported_at_once_with_its_line() {
        let text = GOOD
            .replace("environment: production", "environment: prod")
            .replace("path: platform", "pathh: ../x")
            .replace("dir: /var/lib/tk8s, ", "");
        let found = problems(&text);
        assert_eq!(found.len(), 3, "{found:?}");
        assert!(found[0].starts_with("agent.yaml:4: environment: `prod` is not known"), "{found:?}");
        assert_eq!(found[1], "agent.yaml:7: repository.pathh: unknown key: did you mean `path`?");
        assert_eq!(found[2], "agent.yaml:10: history.dir: it is missing");
    }

    #[test]
    fn what_programs_may_use_is_read_with_its_defaults_and_bounds() {
        let config = AgentConfig::parse(GOOD, "agent.yaml").unwrap();
        assert_eq!((config.render.memory, config.render.timeout), (1 << 30, Duration::from_secs(60)));
        let with = |keys: &str| format!("{GOOD}render: {{{keys}}}\n");
        let config = AgentConfig::parse(&with("memory: 512MiB, timeout: 2m, helm: /opt/helm"), "x").unwrap();
        assert_eq!((config.render.memory, config.render.helm), (512 << 20, Some("/opt/helm".into())));
        assert_eq!(config.render.limits, RenderLimitsConfig::default());
        let config = AgentConfig::parse(&with("limits: {valueBytes: 64MiB, objects: 7}"), "x").unwrap();
        assert_eq!((config.render.limits.value_bytes, config.render.limits.objects), (Some(64 << 20), Some(7)));
        for (keys, word) in [
            ("limits: {valueByte: 1MiB}", "did you mean `valueBytes`?"),
            ("memory: 10MiB", "from `256MiB` to `64GiB`"),
            ("memory: 512", "from `256MiB` to `64GiB`"),
            ("memory: 99999999999GiB", "a number of bytes such as"),
            ("kustomize: bin/kustomize", "an absolute path"),
        ] {
            assert!(problems(&with(keys)).iter().any(|problem| problem.contains(word)), "{:?}", problems(&with(keys)));
        }
    }

    #[test]
    fn keys_and_variables_are_read_and_their_files_are_followed() {
        let with = |text: &str| format!("{GOOD}{text}\n");
        let text =
            "sops: {ageKeyFiles: [/a, /b]}\nvariables: {NAME: web, REPLICAS: 3, ON: true, VERSION: '1.0', PASSWORD: {file: /p}}";
        let config = AgentConfig::parse(&with(text), "x").unwrap();
        let files: Vec<_> = config.files().into_iter().map(|path| path.display().to_string()).collect();
        assert!(["/a", "/b", "/p"].iter().all(|file| files.contains(&file.to_string())), "{files:?}");
        assert_eq!(config.variables["VERSION"], VariableConfig::Text("1.0".into()));
        assert_eq!(config.variables["PASSWORD"], VariableConfig::File("/p".into()));
        assert!(config.needs_restart(&AgentConfig::parse(GOOD, "x").unwrap()).is_empty());
        for (text, word) in [
            ("sops: {ageKeyFiles: [a]}", "absolute"),
            ("sops: {ageKeyFile: /a}", "write `ageKeyFiles`"),
            ("variables: {1A: x}", "variables.1A: a name has"),
            ("variables: {A: 1.0}", "variables.A: it could be a text"),
            ("variables: {A: {file: x}}", "variables.A: write a value"),
            ("variables: {A: [x]}", "variables.A: write a text"),
            ("variables: [A]", "variables: it has to be a map"),
        ] {
            assert!(problems(&with(text)).iter().any(|problem| problem.contains(word)), "{:?}", problems(&with(text)));
        }
    }

    #[test]
    fn what_is_the_agent_s_own_is_read_by_kind_and_name() {
        let with = |keys: &str| format!("{GOOD}installation: {{{keys}}}\n");
        let text = "serviceAccount: tk8s-system/agent, deployment: agent, objects: [{kind: NetworkPolicy, name: 'tk8s-*', namespace: edge}, {kind: PriorityClass, name: tk8s}]";
        let read = AgentConfig::parse(&with(text), "x").unwrap().installation;
        assert_eq!(
            read.service_account.map(|account| account.user()).as_deref(),
            Some("system:serviceaccount:tk8s-system:agent")
        );
        let names: Vec<_> =
            read.objects.iter().map(|one| (one.kind.as_str(), one.name.as_str(), one.namespace.as_deref())).collect();
        assert_eq!(names, [("NetworkPolicy", "tk8s-*", Some("edge")), ("PriorityClass", "tk8s", None)]);
        for (keys, word) in [
            ("serviceAccount: agent", "is not a service account"),
            ("objects: [{kind: Secret}]", "installation.objects[0].name: it is missing"),
            ("objects: [{kind: Secret, name: '['}]", "error parsing glob"),
            ("objects: [{group: apps, kind: Secret, name: x}]", "write `kind` alone"),
        ] {
            assert!(problems(&with(keys)).iter().any(|problem| problem.contains(word)), "{:?}", problems(&with(keys)));
        }
    }

    #[test]
    fn a_revocation_file_is_followed_and_needs_signers() {
        let with = |trust: &str| GOOD.replace("trust: {signersFile: /signers.yaml}", &format!("trust: {trust}"));
        let config = AgentConfig::parse(&with("{signersFile: /signers.yaml, revocationFile: /revoked}"), "x").unwrap();
        assert!(config.files().contains(&Path::new("/revoked")), "{:?}", config.files());
        assert!(config.needs_restart(&AgentConfig::parse(GOOD, "x").unwrap()).is_empty());
        let alone = with("{waive: {reason: a laptop}, revocationFile: /revoked}").replace("production", "dev");
        assert!(problems(&alone).iter().any(|problem| problem.contains("nothing to revoke")), "{:?}", problems(&alone));
    }

    #[test]
    fn a_waiver_outside_dev_is_refused() {
        let text =
            GOOD.replace("trust: {signersFile: /signers.yaml}", "trust: {signersFile: /signers.yaml, waive: {reason: lazy}}");
        assert_eq!(problems(&text), ["agent.yaml:9: trust.waive: signatures can be waived in `dev` only"]);
        assert!(AgentConfig::parse(&text.replace("production", "dev"), "x").is_ok());
    }

    #[test]
    fn what_is_not_a_document_is_one_clear_problem() {
        for (text, word) in [
            ("", "empty"),
            ("a: [", "not YAML"),
            ("a: *b", "aliases"),
            ("a: 1\na: 2", "twice"),
            ("---\na: 1\n---\nb: 1", "more than one"),
            ("\t", ""),
        ] {
            assert!(problems(text)[0].contains(word), "{text}: {:?}", problems(text));
        }
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_the_reader_panic(text in "\\PC{0,200}", lines in "([a-z]{1,3}: |- |\\[|\\{|\\}|\\]|\n|  |\"|&a |\\*a|!|,|\\|){0,60}") {
            let _ = AgentConfig::parse(&text, "x");
            let _ = AgentConfig::parse(&lines, "x");
            let _ = crate::Platform::parse(lines.as_bytes(), "x");
        }
    }
}
