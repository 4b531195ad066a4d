//! `repository`: what is followed, how to get in, and how much is taken at most.

use std::path::PathBuf;
use std::time::Duration;

use tk8s_core::{Environment, RepositoryUrl, TreePath};

use crate::agent::section;
use crate::document::Node;
use crate::fields::Fields;

/// `repository`.
#[derive(Clone, Debug)]
pub struct RepositoryConfig {
    /// Where it is.
    pub url: RepositoryUrl,
    /// Where the platform is inside it; default `.`.
    pub path: TreePath,
    /// The followed branch, or in production the release branch; default `develop` in dev, else `main`.
    pub branch: String,
    /// How often Git is looked at without being woken; default 60 s.
    pub interval: Duration,
    /// For one whole fetch; default 60 s.
    pub timeout: Duration,
    /// Needed for SSH.
    pub auth: Option<AuthConfig>,
    /// The authorities that are believed for https, instead of the system's.
    pub ca_file: Option<PathBuf>,
    /// What https goes through.
    pub proxy: ProxyConfig,
    /// Whether `http:` and `git:` are spoken.
    pub allow_insecure: bool,
    /// How much is taken.
    pub limits: LimitsConfig,
}

/// `repository.auth`: one way to get in.
#[derive(Clone, Debug)]
pub enum AuthConfig {
    /// `sshKeyFile` or `sshKeyFiles`, and `knownHostsFile`.
    Ssh {
        /// OpenSSH private keys without a passphrase, tried in this order.
        key_files: Vec<PathBuf>,
        /// The Git host's keys.
        known_hosts_file: PathBuf,
    },
    /// `tokenFile`.
    Bearer {
        /// The file with the token.
        token_file: PathBuf,
    },
    /// `username` and `passwordFile`.
    Basic {
        /// The user.
        username: String,
        /// The file with the password or token.
        password_file: PathBuf,
    },
    /// `githubApp`.
    GithubApp {
        /// The App's id or client id.
        app_id: String,
        /// Looked up by the repository's name if it isn't given.
        installation_id: Option<u64>,
        /// The App's private key, in PEM form.
        private_key_file: PathBuf,
        /// For GitHub Enterprise Servers whose API is not at `https://HOST/api/v3`.
        api_url: Option<String>,
    },
}

/// `repository.proxy`.
#[derive(Clone, Debug, Default)]
pub enum ProxyConfig {
    /// As `HTTPS_PROXY` and `NO_PROXY` say.
    #[default]
    Environment,
    /// None, whatever the environment says: `url: direct`.
    Direct,
    /// This one.
    Through {
        /// `http://host:port` or `https://host:port`.
        url: String,
        /// A file with `user:password`.
        credentials_file: Option<PathBuf>,
        /// Hosts that it is not used for.
        no_proxy: Vec<String>,
    },
}

/// `repository.limits`: what isn't given has the fetch's own default.
#[derive(Clone, Debug, Default)]
#[expect(missing_docs, reason = "each is described where it is enforced: `tk8s_gitsync::Limits`")]
pub struct LimitsConfig {
    pub fetch_bytes: Option<u64>,
    pub mirror_bytes: Option<u64>,
    pub objects: Option<u32>,
    pub object_bytes: Option<u64>,
    pub delta_bytes: Option<u64>,
    pub unpacked_bytes: Option<u64>,
    pub refs: Option<usize>,
    pub commits: Option<usize>,
    pub stall: Option<Duration>,
}

impl RepositoryConfig {
    /// Every file that it names.
    pub(crate) fn files(&self) -> Vec<&PathBuf> {
        let mut files: Vec<_> = match &self.auth {
            None => Vec::new(),
            Some(AuthConfig::Ssh { key_files, known_hosts_file }) => key_files.iter().chain([known_hosts_file]).collect(),
            Some(AuthConfig::Bearer { token_file: file })
            | Some(AuthConfig::Basic { password_file: file, .. })
            | Some(AuthConfig::GithubApp { private_key_file: file, .. }) => vec![file],
        };
        if let ProxyConfig::Through { credentials_file: Some(file), .. } = &self.proxy {
            files.push(file);
        }
        files.extend(&self.ca_file);
        files
    }
}

pub(crate) fn repository(fields: &mut Fields<'_>, environment: Option<Environment>, empty: &Node) -> Option<RepositoryConfig> {
    let url: Option<RepositoryUrl> = fields.required("url");
    let path = fields.parse("path").unwrap_or_else(TreePath::root);
    let branch =
        fields.text("branch").unwrap_or_else(|| if environment == Some(Environment::Dev) { "develop" } else { "main" }.into());
    let interval = fields.duration("interval").unwrap_or(Duration::from_secs(60));
    let timeout = fields.duration("timeout").unwrap_or(Duration::from_secs(60));
    let auth = match fields.node("auth") {
        Some(_) => section(fields, "auth", empty, |fields| auth(fields, empty), &[]),
        None => None,
    };
    let ca_file = fields.parse("caFile");
    let proxy = section(fields, "proxy", empty, proxy, &[]);
    let allow_insecure = fields.boolean("allowInsecure").unwrap_or(false);
    let limits = section(fields, "limits", empty, limits, &[]);
    if let Some(url) = &url {
        suits(fields, url, auth.as_ref(), allow_insecure);
    }
    Some(RepositoryConfig { url: url?, path, branch, interval, timeout, auth, ca_file, proxy, allow_insecure, limits })
}

/// A way in that the URL has no door for is a mistake, and a credential in the open a worse one.
fn suits(fields: &mut Fields<'_>, url: &RepositoryUrl, auth: Option<&AuthConfig>, allow_insecure: bool) {
    let given = fields.node("auth").is_some();
    if !url.is_protected() && !allow_insecure {
        fields
            .problem("url", "anybody on the way can change what it brings: use `https:` or SSH, or write `allowInsecure: true`");
    }
    match (url, auth) {
        (RepositoryUrl::Ssh { .. }, None) if !given => {
            fields.problem("auth", "SSH needs `{sshKeyFile: ..., knownHostsFile: ...}`");
        }
        (RepositoryUrl::Ssh { .. }, Some(AuthConfig::Ssh { .. })) | (_, None) => {}
        (RepositoryUrl::Ssh { .. }, Some(_)) => fields.problem("auth", "SSH needs `{sshKeyFile: ..., knownHostsFile: ...}`"),
        (RepositoryUrl::Https(_), Some(AuthConfig::Ssh { .. })) => {
            fields.problem("auth", "https takes `tokenFile`, `username` and `passwordFile`, or `githubApp`");
        }
        (RepositoryUrl::Https(_), Some(_)) => {}
        (RepositoryUrl::Http(_) | RepositoryUrl::Git(_), Some(_)) => {
            fields.problem("auth", "credentials are never sent over a connection that anybody can read");
        }
        (RepositoryUrl::File { .. }, Some(_)) => fields.problem("auth", "a `file:` repository needs none"),
    }
}

fn auth(fields: &mut Fields<'_>, empty: &Node) -> Option<AuthConfig> {
    let mut ways = Vec::new();
    if ["sshKeyFile", "sshKeyFiles", "knownHostsFile"].map(|key| fields.node(key).is_some()).contains(&true) {
        ways.push(ssh(fields));
    }
    if fields.node("tokenFile").is_some() {
        ways.push(fields.parse("tokenFile").map(|token_file| AuthConfig::Bearer { token_file }));
    }
    if ["username", "passwordFile"].map(|key| fields.node(key).is_some()).contains(&true) {
        let (username, password_file) = (fields.required("username"), fields.required("passwordFile"));
        ways.push(username.zip(password_file).map(|(username, password_file)| AuthConfig::Basic { username, password_file }));
    }
    if fields.node("githubApp").is_some() {
        ways.push(section(fields, "githubApp", empty, github_app, &[]));
    }
    if ways.len() != 1 {
        fields.problem(
            "",
            "write one way to get in: `sshKeyFile` and `knownHostsFile`, `tokenFile`, `username` and `passwordFile`, or `githubApp`",
        );
        return None;
    }
    ways.pop().flatten()
}

fn ssh(fields: &mut Fields<'_>) -> Option<AuthConfig> {
    let mut key_files: Vec<PathBuf> = fields.texts("sshKeyFiles").into_iter().map(PathBuf::from).collect();
    match (fields.node("sshKeyFile").is_some(), fields.node("sshKeyFiles").is_some()) {
        (true, true) => fields.problem("sshKeyFile", "write all of them under `sshKeyFiles`"),
        (_, true) if key_files.is_empty() => fields.problem("sshKeyFiles", "name at least one file"),
        (_, true) => {}
        (_, false) => key_files.extend(fields.required::<PathBuf>("sshKeyFile")),
    }
    let known_hosts_file = fields.required("knownHostsFile")?;
    (!key_files.is_empty()).then_some(AuthConfig::Ssh { key_files, known_hosts_file })
}

fn github_app(fields: &mut Fields<'_>) -> Option<AuthConfig> {
    let app_id: Option<String> = fields.required("appId");
    let installation_id = fields.parse("installationId");
    let private_key_file = fields.required("privateKeyFile");
    let api_url = fields.text("apiUrl");
    if api_url.as_ref().is_some_and(|url| !url.starts_with("https://")) {
        fields.problem("apiUrl", "it has to begin with `https://`");
    }
    if api_url.as_ref().is_some_and(|url| url.contains('@')) {
        fields.problem("apiUrl", "it holds a login: an App needs none but `privateKeyFile`");
    }
    Some(AuthConfig::GithubApp { app_id: app_id?, installation_id, private_key_file: private_key_file?, api_url })
}

fn proxy(fields: &mut Fields<'_>) -> ProxyConfig {
    let (url, credentials_file, no_proxy) = (fields.text("url"), fields.parse("credentialsFile"), fields.texts("noProxy"));
    match url.as_deref() {
        Some("direct") => ProxyConfig::Direct,
        Some(url) if url.contains('@') => {
            fields.problem("url", "it holds a login: put `user:password` into a file and name it in `credentialsFile`");
            ProxyConfig::Direct
        }
        Some(url) => ProxyConfig::Through { url: url.into(), credentials_file, no_proxy },
        None => {
            if credentials_file.is_some() || !no_proxy.is_empty() {
                fields.problem("url", "it is missing");
            }
            ProxyConfig::Environment
        }
    }
}

fn limits(fields: &mut Fields<'_>) -> LimitsConfig {
    LimitsConfig {
        fetch_bytes: fields.bytes("fetchBytes"),
        mirror_bytes: fields.bytes("mirrorBytes"),
        objects: fields.parse("objects"),
        object_bytes: fields.bytes("objectBytes"),
        delta_bytes: fields.bytes("deltaBytes"),
        unpacked_bytes: fields.bytes("unpackedBytes"),
        refs: fields.parse("refs"),
        commits: fields.parse("commits"),
        stall: fields.duration("stall"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::AgentConfig;

    fn read(repository: &str) -> Result<RepositoryConfig, String> {
        let text = format!(
            "apiVersion: agent.tk8s.io/v1alpha1\nkind: AgentConfig\ncluster: c\nenvironment: staging\nrepository: {repository}\ntrust: {{signersFile: /s, commits: head}}\nhistory: {{dir: /d, identityKeyFile: /i, encryptionKeyFile: /k}}\n"
        );
        AgentConfig::parse(&text, "agent.yaml").map(|config| config.repository).map_err(|problems| problems.to_string())
    }

    #[test]
    fn every_way_in_is_read() {
        let ssh = "{url: 'git@h:x', auth: {sshKeyFiles: [/one, /two], knownHostsFile: /k}}";
        assert!(matches!(read(ssh).unwrap().auth, Some(AuthConfig::Ssh { key_files, .. }) if key_files.len() == 2));
        let token = "{url: 'https://h/x', auth: {tokenFile: /t}, caFile: /ca, proxy: {url: direct}}";
        let token = read(token).unwrap();
        assert!(matches!(token.auth, Some(AuthConfig::Bearer { .. })) && matches!(token.proxy, ProxyConfig::Direct));
        assert_eq!(token.files().len(), 2);
        let basic = "{url: 'https://h/x', auth: {username: u, passwordFile: /p}}";
        assert!(matches!(read(basic).unwrap().auth, Some(AuthConfig::Basic { .. })));
        let app = "{url: 'https://github.com/o/r', auth: {githubApp: {appId: 1, installationId: 2, privateKeyFile: /k}}}";
        assert!(matches!(read(app).unwrap().auth, Some(AuthConfig::GithubApp { installation_id: Some(2), .. })));
        let limits = "{url: 'https://h/x', limits: {fetchBytes: 3MiB, refs: 7, stall: 5s, objectBytes: 9}}";
        let limits = read(limits).unwrap().limits;
        assert_eq!((limits.fetch_bytes, limits.refs, limits.object_bytes), (Some(3 << 20), Some(7), Some(9)));
        assert_eq!((limits.stall, limits.commits), (Some(Duration::from_secs(5)), None));
    }

    #[test]
    fn a_way_in_that_does_not_suit_the_url_is_a_problem_and_so_is_a_credential_in_the_open() {
        let table = [
            ("{url: 'git@h:x'}", "repository.auth: SSH needs"),
            ("{url: 'git@h:x', auth: {tokenFile: /t}}", "repository.auth: SSH needs"),
            ("{url: 'git@h:x', auth: {sshKeyFile: /a, sshKeyFiles: [/b], knownHostsFile: /k}}", "sshKeyFiles"),
            ("{url: 'git@h:x', auth: {sshKeyFiles: [], knownHostsFile: /k}}", "at least one"),
            ("{url: 'https://h/x', auth: {sshKeyFile: /a, knownHostsFile: /k}}", "https takes"),
            ("{url: 'https://h/x', auth: {tokenFile: /t, username: u, passwordFile: /p}}", "one way"),
            ("{url: 'https://h/x', auth: {}}", "one way"),
            ("{url: 'https://h/x', auth: {username: u}}", "repository.auth.passwordFile: it is missing"),
            ("{url: 'https://h/x', auth: {githubApp: {appId: 1, privateKeyFile: /k, apiUrl: 'http://h'}}}", "apiUrl"),
            ("{url: 'https://h/x', auth: {githubApp: {appId: 1, installationId: x, privateKeyFile: /k}}}", "installationId"),
            ("{url: 'http://h/x'}", "allowInsecure"),
            ("{url: 'git://h/x'}", "allowInsecure"),
            ("{url: 'http://h/x', allowInsecure: true, auth: {tokenFile: /t}}", "never sent"),
            ("{url: 'file:///x', auth: {tokenFile: /t}}", "needs none"),
            ("{url: 'https://h/x', proxy: {url: 'http://me:hunter2@p:1'}}", "credentialsFile"),
            ("{url: 'https://u:hunter2@h/x'}", "put credentials into files named under `repository.auth`"),
            ("{url: 'git:hunter2@h:x'}", "put credentials into files named under `repository.auth`"),
            ("{url:https://u:hunter2@h/x}", "unknown key"),
            ("{'https://u:hunter2@h/x': 1, 'https://u:hunter2@h/x': 2}", "occurs twice"),
            ("{url: 'https://h/x', path: 'https://u:hunter2@h/../x'}", "leaves the tree"),
            (
                "{url: 'https://h/x', auth: {githubApp: {appId: 1, privateKeyFile: /k, apiUrl: 'https://u:hunter2@h'}}}",
                "it holds a login",
            ),
            ("{url: 'https://h/x', proxy: {noProxy: [h]}}", "repository.proxy.url: it is missing"),
            ("{url: 'https://h/x', limits: {fetchBytes: 3MB}}", "fetchBytes"),
            ("{url: 'https://h/x', limits: {fetchBytes: 0}}", "fetchBytes"),
            ("{url: 'https://h/x', limits: {fetchBites: 3}}", "did you mean `fetchBytes`?"),
        ];
        for (text, word) in table {
            let problems = read(text).unwrap_err();
            assert!(problems.contains(word) && !problems.contains("hunter2"), "{text}: {problems}");
        }
        assert!(read("{url: 'http://h/x', allowInsecure: true}").is_ok());
    }
}
