//! `trust.evidence`: where a release has to have run, and how long, before any of it is applied here.

use std::path::PathBuf;
use std::time::Duration;

use tk8s_core::Environment;

use crate::fields::Fields;

/// More instances than these are a mistake.
const MOST_KEYS: usize = 32;
/// Nobody waits longer for a release.
const LONGEST: Duration = Duration::from_secs(90 * 24 * 3600);

/// `trust.evidence`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EvidenceConfig {
    /// Where it has to have run; default `staging`.
    pub environment: Environment,
    /// Whose word counts: the public identity keys of instances there, as they print them. Never empty.
    pub keys: Vec<String>,
    /// For how long without interruption.
    pub healthy_for: Duration,
    /// A directory with what they said, beside what is in the repository.
    pub dir: Option<PathBuf>,
}

/// Reads the map. Whether a key is one is for whoever uses it to say: here only what is plainly none is refused.
pub(crate) fn read(fields: &mut Fields<'_>, environment: Option<Environment>) -> Option<EvidenceConfig> {
    let places = [("staging", Environment::Staging), ("production", Environment::Production)];
    let of = fields.choice("environment", &places).unwrap_or(Environment::Staging);
    let keys = fields.texts("keys");
    if keys.is_empty() && !fields.has("keys") {
        fields.problem(
            "keys",
            "it is missing: list the public keys of the instances whose word counts, as `tk8s-agent evidence --key` prints them",
        );
    } else if keys.is_empty() || keys.len() > MOST_KEYS {
        fields.problem("keys", format!("list from 1 to {MOST_KEYS} keys"));
    }
    for key in keys.iter().filter(|key| !looks_like_a_key(key)) {
        let shown = tk8s_core::printable(key, 60);
        fields.problem("keys", format!("`{shown}` is not a public key, `tk8s.io/CLUSTER/INSTANCE+ID+KEY`"));
    }
    if fields.node("healthyFor").is_none() {
        fields.problem("healthyFor", "it is missing: write for how long it has to have been healthy, for example `24h`");
    }
    let healthy_for = fields.duration("healthyFor");
    if healthy_for.is_some_and(|time| time > LONGEST) {
        fields.problem("healthyFor", "at most 90 days (`2160h`)");
    }
    let dir: Option<PathBuf> = fields.parse("dir");
    if dir.as_ref().is_some_and(|path| !path.is_absolute()) {
        fields.problem("dir", "it has to be an absolute path");
    }
    if environment.is_some_and(|environment| environment != Environment::Production) {
        fields.problem("", "evidence is asked for in `production` only: other environments are where it comes from");
    }
    Some(EvidenceConfig { environment: of, keys, healthy_for: healthy_for?, dir })
}

fn looks_like_a_key(text: &str) -> bool {
    let parts: Vec<_> = text.splitn(3, '+').collect();
    matches!(parts[..], [name, id, key] if name.starts_with("tk8s.io/") && id.len() == 8 && key.len() == 44)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::AgentConfig;

    const KEY: &str = "tk8s.io/staging-eu/tk8s+033de0ae+Ac4zctda0e5eza+HJyk9SxEdh+s3Ux18htTTAD8OuAn8";

    fn with(environment: &str, evidence: &str) -> Result<Option<EvidenceConfig>, String> {
        let text = format!(
            "apiVersion: agent.tk8s.io/v1alpha1\nkind: AgentConfig\ncluster: c\nenvironment: {environment}\nrepository: {{url: 'file:///x'}}\n\
             trust: {{signersFile: /s, evidence: {evidence}}}\nhistory: {{dir: /d, identityKeyFile: /i, encryptionKeyFile: /k}}\n"
        );
        AgentConfig::parse(&text, "x").map(|config| config.trust.evidence).map_err(|problems| problems.to_string())
    }

    #[test]
    fn what_has_to_have_run_where_and_how_long_is_read() {
        let read = with("production", &format!("{{keys: ['{KEY}'], healthyFor: 24h}}")).unwrap().unwrap();
        let (environment, healthy_for) = (Environment::Staging, Duration::from_secs(24 * 3600));
        assert_eq!(read, EvidenceConfig { environment, keys: vec![KEY.into()], healthy_for, dir: None });
        let all = format!("{{environment: production, keys: ['{KEY}'], healthyFor: 1h, dir: /evidence}}");
        let read = with("production", &all).unwrap().unwrap();
        assert_eq!((read.environment, read.dir), (Environment::Production, Some("/evidence".into())));
    }

    #[test]
    fn what_would_ask_for_nothing_is_refused() {
        for (environment, evidence, word) in [
            ("production", format!("{{keys: ['{KEY}']}}"), "healthyFor: it is missing"),
            ("production", format!("{{keys: ['{KEY}'], healthyFor: 0s}}"), "above zero"),
            ("production", format!("{{keys: ['{KEY}'], healthyFor: 2161h}}"), "at most 90 days"),
            ("production", "{healthyFor: 1h}".into(), "keys: it is missing"),
            ("production", "{healthyFor: 1h, keys: []}".into(), "from 1 to 32"),
            ("production", "{healthyFor: 1h, keys: [abc]}".into(), "`abc` is not a public key"),
            ("production", format!("{{keys: ['{KEY}'], healthyFor: 1h, environment: dev}}"), "`dev` is not known"),
            ("production", format!("{{keys: ['{KEY}'], healthyFor: 1h, dir: evidence}}"), "absolute path"),
            ("production", format!("{{keys: ['{KEY}'], healthyFor: 1h, files: /x}}"), "write `dir`"),
            ("staging", format!("{{keys: ['{KEY}'], healthyFor: 1h}}"), "in `production` only"),
        ] {
            let problems = with(environment, &evidence).unwrap_err();
            assert!(problems.contains(word), "{evidence}: {problems}");
        }
    }
}
