//! `trust.freshness`: how old what is known of Git may be before somebody hears of it.

use std::time::Duration;

use crate::fields::Fields;

/// `trust.freshness`: off where nothing is given. What runs is not touched by it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FreshnessConfig {
    /// How long ago Git was last looked at with success: fetched and judged.
    pub look: Option<Duration>,
    /// How long ago a revision was last accepted that was not the one before. Only a server that is expected to have news
    /// within that time can be told from one that keeps them back.
    pub news: Option<Duration>,
}

pub(crate) fn read(fields: &mut Fields<'_>) -> FreshnessConfig {
    let config = FreshnessConfig { look: fields.duration("look"), news: fields.duration("news") };
    if !fields.has("look") && !fields.has("news") {
        fields.problem("", "it limits nothing: write `look: 1h`, `news: 720h`, or both");
    }
    config
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::AgentConfig;

    fn given(freshness: &str) -> Result<FreshnessConfig, String> {
        let text = format!(
            "apiVersion: agent.tk8s.io/v1alpha1\nkind: AgentConfig\ncluster: c\nenvironment: staging\nrepository: {{url: 'https://h/x', interval: 60s}}\ntrust: {{signersFile: /s, commits: head{freshness}}}\nhistory: {{dir: /d, identityKeyFile: /i, encryptionKeyFile: /k}}\n"
        );
        AgentConfig::parse(&text, "x").map(|config| config.trust.freshness).map_err(|problems| problems.to_string())
    }

    #[test]
    fn limits_are_off_unless_given_and_one_that_would_always_be_passed_is_refused() {
        let hours = |hours: u64| Some(Duration::from_secs(hours * 3600));
        assert_eq!(given("").unwrap(), FreshnessConfig::default());
        assert_eq!(given(", freshness: {look: 1h}").unwrap(), FreshnessConfig { look: hours(1), news: None });
        assert_eq!(given(", freshness: {news: 720h}").unwrap(), FreshnessConfig { look: None, news: hours(720) });
        for (wrong, word) in [
            (", freshness: {}", "it limits nothing"),
            (", freshness: {look: 60s}", "it has to be longer than that"),
            (", freshness: {news: soon}", "trust.freshness.news: it has to be a time such as"),
            (", freshness: {looks: 1h}", "did you mean `look`?"),
            (", freshness: 1h", "it has to be a map"),
        ] {
            let problems = given(wrong).unwrap_err();
            assert!(problems.contains(word), "{wrong}: {problems}");
        }
    }
}
