//! `watch`: what of the cluster the agent looks at, where it is to look at less than all that it owns.

use crate::fields::Fields;

/// More namespaces than this are watched as well as all: each is a stream of its own for each kind.
const MOST_NAMESPACES: usize = 100;

/// `watch`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WatchConfig {
    /// Whether Secrets are listed and watched; default yes.
    pub secrets: bool,
    /// The only namespaces that are looked at, sorted; all of them, and what is in none, if not given.
    pub namespaces: Option<Vec<String>>,
}

impl Default for WatchConfig {
    fn default() -> WatchConfig {
        WatchConfig { secrets: true, namespaces: None }
    }
}

pub(crate) fn read(fields: &mut Fields<'_>) -> WatchConfig {
    let secrets = fields.boolean("secrets").unwrap_or(true);
    let (named, mut namespaces) = (fields.has("namespaces"), fields.texts("namespaces"));
    let namespaces = named.then(|| {
        for namespace in namespaces.iter().filter(|namespace| !is_namespace(namespace)) {
            let shown = tk8s_core::printable(namespace, 80);
            fields.problem("namespaces", format!("`{shown}` is no namespace: write names, without globs"));
        }
        if namespaces.is_empty() || namespaces.len() > MOST_NAMESPACES {
            fields.problem("namespaces", format!("name 1 to {MOST_NAMESPACES} namespaces, or leave the key out to watch all"));
        }
        namespaces.sort();
        namespaces.dedup();
        namespaces
    });
    WatchConfig { secrets, namespaces }
}

/// A label of a DNS name.
fn is_namespace(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (1..=63).contains(&text.len()) && text.bytes().all(plain) && !text.starts_with('-') && !text.ends_with('-')
}

#[cfg(test)]
mod tests {
    use crate::{AgentConfig, Problems, WatchConfig};

    /// A file with these lines besides.
    fn with(more: &str) -> Result<AgentConfig, Problems> {
        let text = "apiVersion: agent.tk8s.io/v1alpha1\nkind: AgentConfig\ncluster: test\nenvironment: dev\n\
                    repository: {url: 'file:///repository'}\ntrust: {waive: {reason: a test}}\n\
                    history: {dir: /history, identityKeyFile: /identity, encryptionKeyFile: /key}\n";
        AgentConfig::parse(&format!("{text}{more}\n"), "agent.yaml")
    }

    #[test]
    fn everything_is_watched_unless_something_else_is_said() {
        assert_eq!(with("").unwrap().watch, WatchConfig::default());
        let less = with("watch: {secrets: false, namespaces: [shop, bank, shop]}").unwrap().watch;
        assert_eq!(less, WatchConfig { secrets: false, namespaces: Some(vec!["bank".into(), "shop".into()]) });
    }

    #[test]
    fn globs_and_empty_lists_are_refused() {
        for (text, complaint) in [
            ("watch: {namespaces: ['team-*']}", "`team-*` is no namespace"),
            ("watch: {namespaces: []}", "name 1 to 100 namespaces"),
            ("watch: {namespace: shop}", "write `namespaces`"),
            ("watch: {secrets: maybe}", "secrets"),
        ] {
            let problems = with(text).unwrap_err().to_string();
            assert!(problems.contains(complaint), "{text}: {problems}");
        }
    }
}
