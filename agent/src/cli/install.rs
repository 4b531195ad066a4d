//! `tk8s-agent install` and `uninstall`: manifests for kubectl on standard output, and on standard error what a person has to do
//! besides. Neither writes to the cluster.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clap::{Args, ValueEnum};
use serde_json::{Value, json};
use tk8s_config::{AgentConfig, AuthConfig};
use tk8s_core::{CommitId, Environment, InstanceName, RepositoryUrl, Secret, ServiceAccount, TreePath, chain};
use tk8s_gitsync::{Accepted, DeployKey, Depth, DevPolicy, Follow, Policy, Source, Waiver};
use tk8s_history::IdentityKey;

use super::output::{self, Format, line};
use super::working::WorkingTree;
use super::{Exit, Given, rbac};
use crate::install::existing::{Existing, Files};
use crate::install::{self, Called, Parts, removal};
use crate::plain_yaml;
use crate::rights::{self, Installation, Options};

/// Where the Pod has its files: `install/base` mounts them there.
const SIGNERS: &str = "/run/tk8s/signers/signers.yaml";
const GIT: &str = "/run/tk8s/git";
const IDENTITY: &str = "/run/tk8s/keys/identity.pem";
const ENCRYPTION: &str = "/run/tk8s/keys/encryption.key";
const WEBHOOK: &str = "/run/tk8s/webhook/secret";
/// How long a Git host may take to show its key, or a branch.
const PATIENCE: Duration = Duration::from_secs(20);

/// Which instance, and where.
#[derive(Args)]
struct Which {
    /// The instance; other instances in one cluster have other names.
    #[arg(long, value_name = "NAME", default_value = "tk8s")]
    instance: InstanceName,
    /// The namespace of the agent, and of nothing else.
    #[arg(long, value_name = "NAME", default_value = "tk8s-system")]
    namespace: String,
    /// The cluster; otherwise KUBECONFIG, or the pod's own account.
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// Which of the kubeconfig's contexts; otherwise the current one.
    #[arg(long, value_name = "NAME")]
    context: Option<String>,
}

impl Which {
    fn called(&self) -> Result<Called, String> {
        let (instance, namespace) = (self.instance.clone(), self.namespace.clone());
        ServiceAccount::new(&namespace, "tk8s-agent").map_err(|_| format!("`{namespace}` can't be the name of a namespace"))?;
        Ok(Called { instance, namespace })
    }

    async fn client(&self) -> Result<kube::Client, String> {
        let settings = crate::run::settings(self.kubeconfig.as_deref(), self.context.as_deref()).await;
        settings.and_then(crate::client::client).map_err(|error| format!("{error:#}"))
    }
}

/// What becomes of the Secrets.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Secrets {
    /// Ask the cluster which there are; make those that are missing, and leave the others as they are.
    Ask,
    /// Make all of them, for a first installation. Asks no cluster.
    Make,
    /// None is among the manifests: they are there, or come from elsewhere. Asks no cluster.
    LeaveOut,
}

#[derive(Args)]
pub(super) struct Install {
    #[command(flatten)]
    which: Which,
    /// The repository to follow: `ssh://git@HOST/PATH`, `git@HOST:PATH` or `https://HOST/PATH`.
    #[arg(long, value_name = "URL", required_unless_present = "config", conflicts_with = "config")]
    repo: Option<String>,
    /// The branch; otherwise `develop` in dev, `main` elsewhere.
    #[arg(long, value_name = "NAME", conflicts_with = "config")]
    branch: Option<String>,
    /// The directory of the platform in the repository.
    #[arg(long, value_name = "DIR", conflicts_with = "config")]
    path: Option<TreePath>,
    /// dev, staging or production: which refs are followed, and what must be signed.
    #[arg(long, value_name = "NAME", required_unless_present = "config", conflicts_with = "config", value_parser = environment)]
    environment: Option<Environment>,
    /// The cluster's name, for people and for the ledger; otherwise as the kubeconfig's context calls it.
    #[arg(long, value_name = "NAME", conflicts_with = "config")]
    cluster: Option<String>,
    /// The image, where you pushed it to: `registry.example.com/tk8s-agent@sha256:...`.
    #[arg(long, value_name = "IMAGE")]
    image: String,
    /// Who may sign: the signers file.
    #[arg(long, value_name = "FILE")]
    signers: Option<PathBuf>,
    /// In dev: apply what nobody signed, and why.
    #[arg(long, value_name = "REASON", conflicts_with_all = ["config", "baseline", "head"])]
    waive: Option<String>,
    /// In staging: every commit after this one has to be signed.
    #[arg(long, value_name = "COMMIT", conflicts_with_all = ["config", "head"])]
    baseline: Option<CommitId>,
    /// In staging: the newest commit alone has to be signed.
    #[arg(long, conflicts_with = "config")]
    head: bool,
    /// An agent's file of your own instead of the options above it. Its places have to be those of the Pod's mounts.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The known_hosts file for the Git host; otherwise the host is asked for its key, and you compare its fingerprint.
    #[arg(long, value_name = "FILE")]
    known_hosts: Option<PathBuf>,
    /// The fingerprint that the Git host's key has to have, `SHA256:...`, where the host is asked for it.
    #[arg(long, value_name = "FINGERPRINT", conflicts_with = "known_hosts")]
    host_fingerprint: Option<String>,
    /// A token for a repository over https, as the Git host issued it.
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// No webhook: Git is looked at once in `repository.interval`.
    #[arg(long)]
    no_webhook: bool,
    /// Where the Git host reaches the agent, for example `https://tk8s.example.com`: for what is to be registered there.
    #[arg(long, value_name = "URL", conflicts_with = "no_webhook")]
    webhook_url: Option<String>,
    /// A namespace whose Pods may call the API and its webhooks: that of the ingress controller. May be given again.
    #[arg(long = "callers", value_name = "NAMESPACE")]
    callers: Vec<String>,
    /// The class of the volume; the cluster's default if none is named.
    #[arg(long, value_name = "NAME")]
    storage_class: Option<String>,
    /// A clone of the repository, or the platform's directory in it: the rights that the platform needs are among the manifests.
    #[arg(long, value_name = "DIR")]
    platform: Option<PathBuf>,
    /// Write the first platform file there, if the repository has none, instead of to standard error.
    #[arg(long, value_name = "FILE")]
    write_platform: Option<PathBuf>,
    /// Which Secrets are among the manifests.
    #[arg(long, value_enum, value_name = "HOW", default_value = "ask")]
    secrets: Secrets,
    #[command(flatten)]
    given: Given,
}

fn environment(text: &str) -> Result<Environment, String> {
    [("dev", Environment::Dev), ("staging", Environment::Staging), ("production", Environment::Production)]
        .into_iter()
        .find_map(|(name, environment)| (name == text).then_some(environment))
        .ok_or_else(|| "write `dev`, `staging` or `production`".into())
}

/// Exit codes: 0 printed; 1 something is in the way; 2 the arguments contradict each other, or something can't be looked at;
/// 64 the agent's file is refused.
pub(super) async fn install(mut arguments: Install, format: Format) -> Exit {
    match prepared(&mut arguments).await {
        Ok((objects, told)) => {
            match format {
                Format::Text => line(install::text(&objects).trim_end()),
                Format::Json => output::json(&json!({"apiVersion": "v1", "kind": "List", "items": objects})),
            }
            eprint!("{told}");
            Exit::Yes
        }
        Err(Refused(exit, why)) => {
            eprintln!("{why}");
            exit
        }
    }
}

/// Why there are no manifests.
struct Refused(Exit, String);

fn usage(why: impl Into<String>) -> Refused {
    Refused(Exit::Usage, why.into())
}

async fn prepared(arguments: &mut Install) -> Result<(Vec<Value>, String), Refused> {
    let called = arguments.which.called().map_err(usage)?;
    if arguments.write_platform.as_ref().is_some_and(|path| path.exists()) {
        return Err(usage("`--write-platform` names a file that is there: it is not overwritten"));
    }
    let (text, config) = agent_file(arguments, &called)?;
    let signers = signers(arguments, &config)?;
    let wanted = Wanted::of(&config, arguments)?;
    let client = match arguments.secrets {
        Secrets::Ask => Some(arguments.which.client().await.map_err(|why| {
            usage(format!("{why}; without a cluster say what becomes of the Secrets: `--secrets make`, or `--secrets leave-out`"))
        })?),
        Secrets::Make | Secrets::LeaveOut => None,
    };
    let existing = match &client {
        Some(client) => {
            let asked = Existing::ask(client, &called, &wanted.git).await;
            asked.map_err(|error| Refused(Exit::No, chain(&error)))?
        }
        None => Existing::default(),
    };
    let mut told = Told::default();
    let secrets = match arguments.secrets {
        Secrets::LeaveOut => {
            told.say(&format!("No Secret is among the manifests: {} have to be there.", wanted.names(&called).join(", ")));
            Vec::new()
        }
        _ => secrets(arguments, &called, &config, &wanted, &existing, &mut told).await?,
    };
    let rights = rights(arguments, &called, &config, &mut told).await?;
    if arguments.platform.is_none() {
        told.say(
            "The agent may read and write nothing of the platform yet: name a clone of it with `--platform DIR`, and its rights are among \
             the manifests.",
        );
    }
    platform_file(arguments, &config, &existing, &mut told).await?;
    told.say(&format!(
        "Then: kubectl -n {0} rollout status deployment/{1} && kubectl -n {0} exec deploy/{1} -- tk8s-agent doctor",
        called.namespace,
        called.name()
    ));
    let parts = Parts {
        image: arguments.image.clone(),
        config: text,
        signers,
        git: !wanted.git.is_empty(),
        webhook: config.webhook.is_some(),
        callers: arguments.callers.clone(),
        storage_class: arguments.storage_class.clone(),
        secrets,
        rights,
    };
    Ok((install::objects(&called, parts), told.0))
}

/// The agent's file: of the options, or one's own.
fn agent_file(arguments: &Install, called: &Called) -> Result<(String, AgentConfig), Refused> {
    let (text, name) = match &arguments.config {
        Some(path) => {
            let text = std::fs::read_to_string(path);
            (text.map_err(|error| usage(format!("could not read `{}`: {error}", path.display())))?, path.display().to_string())
        }
        None => (written(arguments, called)?, "what the options make".to_owned()),
    };
    let config = AgentConfig::parse(&text, &name).map_err(|problems| Refused(Exit::BadConfiguration, problems.to_string()))?;
    if config.instance != called.instance {
        return Err(usage(format!("`{name}` is of the instance {}: say `--instance {}`", config.instance, config.instance)));
    }
    if config.lease.namespace.as_ref().is_some_and(|namespace| *namespace != called.namespace) {
        return Err(usage(format!(
            "`{name}` names another namespace in `lease.namespace` than `--namespace {}`",
            called.namespace
        )));
    }
    Ok((text, config))
}

/// As `install/example/agent.yaml` has it.
fn written(arguments: &Install, called: &Called) -> Result<String, Refused> {
    let (Some(repo), Some(environment)) = (&arguments.repo, arguments.environment) else {
        return Err(usage("name the repository and the environment: `--repo URL --environment NAME`"));
    };
    let url: RepositoryUrl = repo.parse().map_err(|error| usage(format!("`--repo`: {error}")))?;
    let cluster = match &arguments.cluster {
        Some(cluster) => cluster.clone(),
        None => of_kubeconfig(&arguments.which)
            .ok_or_else(|| usage("name the cluster, for people and for the ledger: `--cluster NAME`"))?,
    };
    let mut trust = serde_json::Map::new();
    match (environment, &arguments.waive) {
        (Environment::Dev, None) if arguments.signers.is_none() => {
            return Err(usage("in dev name who may sign, `--signers FILE`, or say why nobody has to: `--waive REASON`"));
        }
        (Environment::Staging | Environment::Production, None) if arguments.signers.is_none() => {
            return Err(usage(format!(
                "in {environment} name who may sign: `--signers FILE` (docs/configuration.md, the signers file)"
            )));
        }
        (Environment::Dev, Some(reason)) => drop(trust.insert("waive".into(), json!({"reason": reason}))),
        (_, Some(_)) => return Err(usage(format!("signatures can be waived in dev only, not in {environment}"))),
        _ => {}
    }
    match (environment, &arguments.baseline, arguments.head) {
        (Environment::Staging, Some(baseline), false) => drop(trust.insert("baseline".into(), json!(baseline.as_str()))),
        (Environment::Staging, None, true) => drop(trust.insert("commits".into(), json!("head"))),
        (Environment::Staging, _, _) => {
            return Err(usage(
                "in staging say which commits have to be signed: all after one, `--baseline $(git rev-parse HEAD)`, or the newest alone, `--head`",
            ));
        }
        (_, None, false) => {}
        _ => return Err(usage(format!("`--baseline` and `--head` are for staging, not for {environment}"))),
    }
    if arguments.signers.is_some() {
        trust.insert("signersFile".into(), json!(SIGNERS));
    }
    let mut repository = json!({"url": url.to_string()});
    let auth = match (&url, &arguments.token_file) {
        (RepositoryUrl::Ssh { .. }, None) => {
            Some(json!({"sshKeyFile": format!("{GIT}/id"), "knownHostsFile": format!("{GIT}/known_hosts")}))
        }
        (RepositoryUrl::Ssh { .. }, Some(_)) => return Err(usage("a token is for https: SSH gets a deploy key")),
        (RepositoryUrl::Https(_), Some(_)) => Some(json!({"tokenFile": format!("{GIT}/token")})),
        (RepositoryUrl::Https(_), None) => None,
        _ => {
            return Err(usage(format!(
                "`{url}`: an agent in a cluster is installed for SSH or https; name others in a file of your own, `--config FILE`"
            )));
        }
    };
    for (key, value) in [
        ("branch", arguments.branch.as_ref().map(|branch| json!(branch))),
        ("path", arguments.path.as_ref().map(|path| json!(path.as_str()))),
        ("auth", auth),
    ] {
        if let Some(value) = value {
            repository[key] = value;
        }
    }
    // Who is one of these may roll back and confirm: a release must not widen what they may.
    let people = ["tk8s-viewer", "tk8s-operator", "tk8s-confirmer"].map(|name| json!({"kind": "ClusterRole", "name": name}));
    let mut file = json!({
        "apiVersion": "agent.tk8s.io/v1alpha1", "kind": "AgentConfig",
        "instance": called.instance, "cluster": cluster, "environment": environment.to_string(),
        "repository": repository, "trust": trust,
        "history": {"dir": "/var/lib/tk8s/history", "identityKeyFile": IDENTITY, "encryptionKeyFile": ENCRYPTION},
        "render": {"scratchDir": "/tmp"},
        "api": {"listen": "0.0.0.0:8443", "healthListen": "0.0.0.0:8081", "metricsListen": "0.0.0.0:9090"},
        "installation": {"objects": people},
    });
    if !arguments.no_webhook {
        file["webhook"] = json!({"secretFile": WEBHOOK});
    }
    Ok(plain_yaml::write(&file))
}

/// What a kubeconfig calls the cluster, if that can be a cluster's name.
fn of_kubeconfig(which: &Which) -> Option<String> {
    use kube::config::Kubeconfig;
    let kubeconfig = match &which.kubeconfig {
        Some(path) => Kubeconfig::read_from(path).ok()?,
        None => Kubeconfig::read().ok()?,
    };
    let name = which.context.clone().or(kubeconfig.current_context)?;
    let context = kubeconfig.contexts.into_iter().find(|context| context.name == name)?.context?;
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    Some(context.cluster.bytes().map(|byte| if is_plain(byte) { byte as char } else { '-' }).take(100).collect())
}

fn signers(arguments: &Install, config: &AgentConfig) -> Result<Option<String>, Refused> {
    let Some(path) = &arguments.signers else { return Ok(None) };
    if config.trust.signers_file.as_deref() != Some(Path::new(SIGNERS)) {
        return Err(usage(format!("`--signers` is mounted as {SIGNERS}, and `trust.signersFile` names another place")));
    }
    let text = std::fs::read_to_string(path).map_err(|error| usage(format!("could not read `{}`: {error}", path.display())))?;
    crate::trust::signers(text.as_bytes(), path, None).map_err(|error| Refused(Exit::BadConfiguration, chain(&error)))?;
    Ok(Some(text))
}

/// Which Secrets the file asks for.
struct Wanted {
    /// The files of what logs in to Git; none if nobody does.
    git: Vec<&'static str>,
    webhook: bool,
}

impl Wanted {
    fn of(config: &AgentConfig, arguments: &Install) -> Result<Wanted, Refused> {
        let history = &config.history;
        let places = [(&history.identity_key_file, IDENTITY), (&history.encryption_key_file, ENCRYPTION)];
        let webhook = config.webhook.iter().map(|webhook| (&webhook.secret_file, WEBHOOK));
        for (named, mounted) in places.into_iter().chain(webhook) {
            if named != Path::new(mounted) {
                return Err(usage(format!("the agent's file names `{}`, and the Pod has it as {mounted}", named.display())));
            }
        }
        if config.webhook.is_some() && arguments.no_webhook {
            return Err(usage("`--no-webhook`, and the agent's file has `webhook`"));
        }
        let in_git = |path: &Path, file: &'static str| match path == Path::new(GIT).join(file) {
            true => Ok(file),
            false => Err(usage(format!("the agent's file names `{}`, and the Pod has it as {GIT}/{file}", path.display()))),
        };
        let git = match &config.repository.auth {
            None => Vec::new(),
            Some(AuthConfig::Ssh { key_files, known_hosts_file }) => {
                let [key] = key_files.as_slice() else {
                    return Err(usage("several SSH keys are for a Secret of your own: `--secrets leave-out`"));
                };
                vec![in_git(key, "id")?, in_git(known_hosts_file, "known_hosts")?]
            }
            Some(AuthConfig::Bearer { token_file }) => vec![in_git(token_file, "token")?],
            Some(_) if arguments.secrets == Secrets::LeaveOut => vec![""],
            Some(_) => return Err(usage("this way to log in to Git is for a Secret of your own: `--secrets leave-out`")),
        };
        Ok(Wanted { git, webhook: config.webhook.is_some() })
    }

    fn names(&self, called: &Called) -> Vec<String> {
        let all = [("keys", true), ("git", !self.git.is_empty()), ("webhook", self.webhook)];
        all.into_iter().filter(|(_, is)| *is).map(|(part, _)| called.part(part)).collect()
    }
}

/// What is said on standard error, a paragraph at a time.
#[derive(Default)]
struct Told(String);

impl Told {
    fn say(&mut self, text: &str) {
        if !self.0.is_empty() {
            self.0.push('\n');
        }
        self.0.push_str(text.trim_end());
        self.0.push('\n');
    }
}

/// Makes the Secrets that are missing, and says of all of them what a person has to do elsewhere.
async fn secrets(
    arguments: &Install,
    called: &Called,
    config: &AgentConfig,
    wanted: &Wanted,
    existing: &Existing,
    told: &mut Told,
) -> Result<Vec<Value>, Refused> {
    let mut random = rand::random::<[u8; 32]>;
    let mut secrets = Vec::new();
    let name = |part: &str| format!("{}/{}", called.namespace, called.part(part));
    let identity = match &existing.keys {
        Some(files) => files["identity.pem"].clone(),
        None => {
            let keys = install::Keys::new(&mut random);
            secrets.push(install::of_keys(called, &keys));
            told.say(&format!(
                "The instance's keys are new, in the Secret {}. Keep a copy of it elsewhere: without them its history can't be read.\n\
                 \x20 kubectl -n {} get secret {} -o yaml",
                name("keys"),
                called.namespace,
                called.part("keys")
            ));
            keys.identity
        }
    };
    match IdentityKey::of(&crate::run::origin(config), &identity) {
        Ok(public) => told.say(&format!("Its public key, for whoever verifies its ledger or takes its word:\n  {public}")),
        Err(error) => return Err(Refused(Exit::No, format!("the Secret {}: {error}", name("keys")))),
    }
    if !wanted.git.is_empty() {
        let register = match &existing.git {
            Some(files) => registered(files, &name("git"))?,
            None => {
                let (secret, register) = git_secret(arguments, called, config, &mut random, told)?;
                secrets.push(secret);
                register
            }
        };
        if let Some(public) = register {
            told.say(&format!("Register at the Git server, as a deploy key that may only read:\n  {public}"));
        }
    }
    if wanted.webhook {
        if existing.webhook.is_none() {
            secrets.push(install::of_webhook(called, &mut random));
        }
        let at = arguments.webhook_url.as_deref().map_or_else(
            || format!("https://YOUR-INGRESS (which leads to the port `api` of the Service {})", called.name()),
            |url| url.trim_end_matches('/').to_owned(),
        );
        told.say(&format!(
            "Register at the Git server, as a webhook for pushes and tags: {at}, with the path /webhooks/github (GitHub, Gitea, Forgejo) or\n\
             /webhooks/generic (docs/api.md). Its secret is in the Secret {}:\n\
             \x20 kubectl -n {} get secret {} -o jsonpath='{{.data.secret}}' | base64 -d",
            name("webhook"),
            called.namespace,
            called.part("webhook")
        ));
    }
    Ok(secrets)
}

/// The public half of a key that is there.
fn registered(files: &Files, secret: &str) -> Result<Option<String>, Refused> {
    let Some(key) = files.get("id") else { return Ok(None) };
    let half = DeployKey::public_half_of(key.expose(), Path::new("id"));
    half.map(Some).map_err(|error| Refused(Exit::No, format!("the Secret {secret}: {error}")))
}

/// A new Secret for Git, and what has to be registered for it.
fn git_secret(
    arguments: &Install,
    called: &Called,
    config: &AgentConfig,
    random: install::Random<'_>,
    told: &mut Told,
) -> Result<(Value, Option<String>), Refused> {
    if let Some(AuthConfig::Bearer { .. }) = &config.repository.auth {
        let Some(path) = &arguments.token_file else {
            return Err(usage("name the file with the token that the Git host issued: `--token-file FILE`"));
        };
        let token = std::fs::read(path).map_err(|error| usage(format!("could not read `{}`: {error}", path.display())))?;
        if token.trim_ascii().is_empty() {
            return Err(usage(format!("`{}` is empty: it has to hold the token that the Git host issued", path.display())));
        }
        return Ok((install::of_git(called, &[("token", &Secret::new(token))]), None));
    }
    let known_hosts = known_hosts(arguments, config, told)?;
    let key = install::deploy_key(called, &config.cluster, random);
    let files = [("id", &key.private), ("known_hosts", &known_hosts)];
    Ok((install::of_git(called, &files), Some(key.public)))
}

/// The file that was named, or what the host shows; then a person compares it.
fn known_hosts(arguments: &Install, config: &AgentConfig, told: &mut Told) -> Result<Secret, Refused> {
    if let Some(path) = &arguments.known_hosts {
        let bytes = std::fs::read(path).map_err(|error| usage(format!("could not read `{}`: {error}", path.display())))?;
        return Ok(Secret::new(bytes));
    }
    let source =
        Source { timeout: PATIENCE, ..Source::new(config.repository.url.clone(), PathBuf::new(), Follow::Branch("main".into())) };
    let shown = tokio::task::block_in_place(|| tk8s_gitsync::host_key(&source))
        .map_err(|error| Refused(Exit::No, format!("{}; name its known_hosts file with `--known-hosts FILE`", chain(&error))))?;
    let host = shown.line.split(' ').next().unwrap_or_default();
    match &arguments.host_fingerprint {
        Some(expected) if *expected != shown.fingerprint => {
            return Err(Refused(
                Exit::No,
                format!("{host} shows the key {}, and not {expected}: somebody may be in between; ask its owner", shown.fingerprint),
            ));
        }
        Some(_) => told.say(&format!("{host} shows the key {}, as expected.", shown.fingerprint)),
        None => told.say(&format!(
            "COMPARE: {host} shows the key\n  {}\nIf its owner publishes another one, somebody is in between: apply none of this. With \
             `--host-fingerprint` or `--known-hosts` nothing else is taken.",
            shown.fingerprint
        )),
    }
    Ok(Secret::new(format!("{}\n", shown.line).into_bytes()))
}

/// What the platform needs, as the chart names it.
async fn rights(arguments: &mut Install, called: &Called, config: &AgentConfig, told: &mut Told) -> Result<Vec<Value>, Refused> {
    let Some(directory) = arguments.platform.clone() else { return Ok(Vec::new()) };
    let account = ServiceAccount::new(&called.namespace, &called.name()).map_err(|error| usage(error.to_string()))?;
    let scope = crate::engine::confining::scope(&config.watch);
    let installation = Installation { account, instance: called.instance.clone(), scope };
    let directory = match directory.join(config.repository.path.as_str()) {
        below if below.is_dir() => below,
        _ => directory,
    };
    let asked = rbac::Asked {
        kinds: Vec::new(),
        kubeconfig: arguments.which.kubeconfig.clone().filter(|_| arguments.secrets == Secrets::Ask),
        given: std::mem::take(&mut arguments.given),
        options: Options::default(),
    };
    let found = match rbac::of_platform(&directory, Some(config), installation, asked).await {
        Ok(found) => found,
        Err(Exit::No) if !has_platform_file(&directory) => {
            told.say(
                "Without a platform file nobody can say which rights the platform needs: repeat this command once there is one.",
            );
            return Ok(Vec::new());
        }
        Err(exit) => return Err(Refused(exit, "the rights of the platform can't be made out".into())),
    };
    for lacking in found.lacking() {
        eprintln!("not granted: {lacking}");
    }
    Ok(rights::installed(&found, &install::labels(called)))
}

fn has_platform_file(directory: &Path) -> bool {
    directory.join(crate::engine::platform::PLATFORM_FILE).exists()
}

/// Says the first platform file, where the repository has none.
async fn platform_file(arguments: &Install, config: &AgentConfig, existing: &Existing, told: &mut Told) -> Result<(), Refused> {
    let base = &config.repository.path;
    let found = match &arguments.platform {
        Some(directory) => {
            let tree = WorkingTree::of(directory)
                .map_err(|error| usage(format!("could not look at `{}`: {error}", directory.display())))?;
            let base = if tree.base.as_str().is_empty() || tree.base.as_str() == "." { base.clone() } else { tree.base.clone() };
            install::first::platform_file(&tree.tree, &base).map_err(|error| usage(chain(&error)))
        }
        None => Ok(in_repository(arguments, config, existing).await),
    }?;
    let Some(text) = found else { return Ok(()) };
    let place = base.join(crate::engine::platform::PLATFORM_FILE).map_or_else(|_| "tk8s.yaml".into(), |path| path.to_string());
    match &arguments.write_platform {
        Some(path) => {
            std::fs::write(path, text).map_err(|error| usage(format!("could not write `{}`: {error}", path.display())))?;
            told.say(&format!("The first `{place}` is in `{}`: look at it, sign it and push it.", path.display()));
        }
        None => {
            let indented: String = text.lines().map(|line| format!("  {line}\n")).collect();
            told.say(&format!("The repository has no `{place}`, or can't be looked at yet. The first one could be:\n{indented}"));
        }
    }
    Ok(())
}

/// What the first file could be by what the branch holds: as far as it can be fetched from here, with what is at hand.
async fn in_repository(arguments: &Install, config: &AgentConfig, existing: &Existing) -> Option<String> {
    let directory = Fetching::new()?;
    let file = |name: &str, bytes: &[u8]| {
        let path = directory.0.join(name);
        std::fs::write(&path, bytes).ok().map(|()| path)
    };
    let mut own = config.clone();
    own.repository.timeout = PATIENCE;
    match (&mut own.repository.auth, &existing.git) {
        (Some(AuthConfig::Ssh { key_files, known_hosts_file }), Some(files)) => {
            *key_files = vec![file("id", files.get("id")?.expose())?];
            *known_hosts_file = file("known_hosts", files.get("known_hosts")?.expose())?;
        }
        // A key that nobody has registered yet lets nobody in.
        (Some(AuthConfig::Ssh { .. }), None) => return Some(install::first::empty()),
        (Some(AuthConfig::Bearer { token_file }), files) => match (&arguments.token_file, files) {
            (Some(path), _) => token_file.clone_from(path),
            (None, Some(files)) => *token_file = file("token", files.get("token")?.expose())?,
            (None, None) => return Some(install::first::empty()),
        },
        _ => {}
    }
    let (source, base) =
        (crate::source::source(&own, &Default::default(), |name| std::env::var(name).ok()).ok()?, config.repository.path.clone());
    // Only to be looked at: nothing comes of it, so nobody has to have signed it.
    let follow = Follow::Branch(config.repository.branch.clone());
    let source = Source { mirror: directory.0.join("mirror.git"), follow, depth: Depth::Head, ..source };
    let looked = tokio::task::spawn_blocking(move || {
        let fetched = tk8s_gitsync::fetch(&source).ok()?;
        let waive = Waiver::new("to look whether there is a platform file").ok();
        let policy = Policy::Dev(DevPolicy { signers: None, waive });
        let revision = tk8s_gitsync::verify(&fetched, &policy, &Accepted::default()).ok()?.revision?;
        let tree = tk8s_gitsync::tree(&Arc::new(revision)).ok()?;
        install::first::platform_file(&tree, &base).ok()
    });
    looked.await.ok().flatten().unwrap_or_else(|| Some(install::first::empty()))
}

/// A directory of our own, which is gone afterwards.
struct Fetching(PathBuf);

impl Fetching {
    fn new() -> Option<Fetching> {
        use std::os::unix::fs::DirBuilderExt as _;
        let place = std::env::temp_dir().join(format!("tk8s-install-{:016x}", rand::random::<u64>()));
        std::fs::DirBuilder::new().mode(0o700).create(&place).ok()?;
        Some(Fetching(place))
    }
}

impl Drop for Fetching {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).ok();
    }
}

#[derive(Args)]
pub(super) struct Uninstall {
    #[command(flatten)]
    which: Which,
    /// What the instance remembers as well: volume, keys, anchor, Lease, `Component` resources. It can't be made again.
    #[arg(long)]
    purge: bool,
}

/// Exit codes: 0 printed; 1 there is nothing of this instance; 2 the cluster can't be asked.
pub(super) async fn uninstall(arguments: Uninstall, format: Format) -> Exit {
    let found = async {
        let called = arguments.which.called()?;
        let client = arguments.which.client().await?;
        removal::find(&client, &called, arguments.purge).await
    };
    let found = match found.await {
        Ok(found) => found,
        Err(why) => {
            eprintln!("{why}");
            return Exit::Usage;
        }
    };
    if found.goes.is_empty() {
        let Which { instance, namespace, .. } = &arguments.which;
        eprintln!(
            "the cluster has nothing of the instance {instance} in {namespace}: name it with `--instance` and `--namespace`"
        );
        return Exit::No;
    }
    match format {
        Format::Text => line(install::text(&found.goes).trim_end()),
        Format::Json => output::json(&json!({"apiVersion": "v1", "kind": "List", "items": found.goes})),
    }
    let stays: BTreeSet<_> = found.stays.iter().collect();
    eprintln!("stays:");
    stays.iter().for_each(|what| eprintln!("  {what}"));
    Exit::Yes
}
