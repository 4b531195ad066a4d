//! The agent's file says where the repository is; this says it to the stage that fetches, in its own words.

use tk8s_config::{AgentConfig, AuthConfig, LimitsConfig, ProxyConfig};
use tk8s_core::Environment;
use tk8s_gitsync::{
    Depth, Error, Follow, GithubApp, HttpsAccess, HttpsLogin, Limits, Proxy, ProxyLogin, Source, SshAuth, TokenCache,
};

/// What is fetched. `tokens` outlive a single fetch; `variable` reads the environment.
pub fn source(config: &AgentConfig, tokens: &TokenCache, variable: impl Fn(&str) -> Option<String>) -> Result<Source, Error> {
    let repository = &config.repository;
    let follow = match config.environment {
        Environment::Production => {
            let (approvals, evidence) = (config.trust.approvals.is_some(), config.trust.evidence.is_some());
            Follow::Tags { release_branch: repository.branch.clone(), approvals, evidence }
        }
        _ => Follow::Branch(repository.branch.clone()),
    };
    let (mut ssh, mut login) = (None, HttpsLogin::None);
    match repository.auth.clone() {
        None => {}
        Some(AuthConfig::Ssh { key_files, known_hosts_file }) => ssh = Some(SshAuth { key_files, known_hosts_file }),
        Some(AuthConfig::Bearer { token_file }) => login = HttpsLogin::Bearer { token_file },
        Some(AuthConfig::Basic { username, password_file }) => login = HttpsLogin::Basic { username, password_file },
        Some(AuthConfig::GithubApp { app_id, installation_id, private_key_file, api_url }) => {
            login =
                HttpsLogin::GithubApp(GithubApp { app_id, installation_id, private_key_file, api_url, tokens: tokens.clone() });
        }
    }
    let proxy = match &repository.proxy {
        ProxyConfig::Environment => Proxy::from_environment(variable)?,
        ProxyConfig::Direct => None,
        ProxyConfig::Through { url, credentials_file, no_proxy } => {
            let login = credentials_file.clone().map_or(ProxyLogin::None, ProxyLogin::File);
            Some(Proxy::parse(url, &no_proxy.join(","))?.with_login(login))
        }
    };
    Ok(Source {
        ssh,
        https: HttpsAccess { login, ca_file: repository.ca_file.clone(), proxy },
        allow_insecure: repository.allow_insecure,
        depth: depth(config),
        timeout: repository.timeout,
        limits: limits(&repository.limits),
        ..Source::new(repository.url.clone(), config.history.dir.join("mirror.git"), follow)
    })
}

/// Where nobody's signature is asked for and branches may be rewritten, nothing looks at what was before the head.
fn depth(config: &AgentConfig) -> Depth {
    match config.environment {
        Environment::Dev if config.trust.waive.is_some() => Depth::Head,
        _ => Depth::Full,
    }
}

fn limits(given: &LimitsConfig) -> Limits {
    let default = Limits::default();
    Limits {
        fetch_bytes: given.fetch_bytes.unwrap_or(default.fetch_bytes),
        mirror_bytes: given.mirror_bytes.unwrap_or(default.mirror_bytes),
        objects: given.objects.unwrap_or(default.objects),
        delta_bytes: given.delta_bytes.unwrap_or(default.delta_bytes),
        object_bytes: given.object_bytes.unwrap_or(default.object_bytes),
        unpacked_bytes: given.unpacked_bytes.unwrap_or(default.unpacked_bytes),
        refs: given.refs.unwrap_or(default.refs),
        commits: given.commits.unwrap_or(default.commits),
        stall: given.stall.unwrap_or(default.stall),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(environment: &str, trust: &str, repository: &str) -> Result<Source, Error> {
        let text = format!(
            "apiVersion: agent.tk8s.io/v1alpha1\nkind: AgentConfig\ncluster: c\nenvironment: {environment}\nrepository: {repository}\ntrust: {trust}\nhistory: {{dir: /d, identityKeyFile: /i, encryptionKeyFile: /k}}\n"
        );
        let environment = |name: &str| (name == "HTTPS_PROXY").then(|| "http://proxy.example.com:3128".to_owned());
        source(&AgentConfig::parse(&text, "agent.yaml").unwrap(), &TokenCache::default(), environment)
    }

    #[test]
    fn history_is_left_out_only_in_dev_and_only_where_signatures_are_waived() {
        let url = "{url: 'file:///x'}";
        assert_eq!(told("dev", "{waive: {reason: a laptop}}", url).unwrap().depth, Depth::Head);
        for (environment, more) in [("dev", ""), ("staging", ", commits: head"), ("production", "")] {
            assert_eq!(
                told(environment, &format!("{{signersFile: /s{more}}}"), url).unwrap().depth,
                Depth::Full,
                "{environment}"
            );
        }
    }

    #[test]
    fn what_is_configured_arrives_and_the_environment_s_proxy_counts_where_none_is() {
        let signers = "{signersFile: /s, commits: head}";
        let source = told("staging", signers, "{url: 'https://h/x', auth: {tokenFile: /t}, limits: {fetchBytes: 7}}").unwrap();
        assert!(matches!(&source.https.login, HttpsLogin::Bearer { token_file } if token_file.ends_with("t")));
        assert_eq!((source.limits.fetch_bytes, source.limits.refs), (7, Limits::default().refs));
        assert!(format!("{:?}", source.https.proxy).contains("proxy.example.com"));
        let own = told("staging", signers, "{url: 'https://h/x', proxy: {url: 'http://own:1'}}").unwrap();
        assert!(format!("{:?}", own.https.proxy).contains("own"));
        assert!(told("staging", signers, "{url: 'https://h/x', proxy: {url: direct}}").unwrap().https.proxy.is_none());
        assert!(told("staging", signers, "{url: 'https://h/x', proxy: {url: 'socks5://own:1'}}").is_err());
    }
}
