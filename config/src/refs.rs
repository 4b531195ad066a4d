//! The keys of `trust` that say which commits and tags count.

use tk8s_core::{CommitId, Environment};

use crate::document::Node;
use crate::fields::Fields;

/// What is looked at, beside who signed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RefsConfig {
    /// In staging, every commit since this one; without it the head alone.
    pub baseline: Option<CommitId>,
    /// Whether everything counts that a forge signed, or its clean merges only.
    pub all_of_forge: bool,
    /// Whether candidates (`v1.2.0-rc.1`) are followed.
    pub pre_releases: bool,
    /// How far the next version may be.
    pub max_jump: MaxJumpConfig,
}

/// `trust.maxJump`: what isn't given has the default of verification.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "each is described where it is enforced: `tk8s_gitsync::MaxJump`")]
pub struct MaxJumpConfig {
    pub major: Option<u64>,
    pub minor: Option<u64>,
    pub patch: Option<u64>,
}

/// The most that can be written: with more there would be no bound at all.
const HIGHEST_JUMP: u64 = 1_000_000;

/// Reads the keys.
pub(crate) fn read(fields: &mut Fields<'_>, environment: Option<Environment>, empty: &Node) -> RefsConfig {
    let is = |wanted| environment.is_none_or(|environment| environment == wanted);
    let only = |fields: &mut Fields<'_>, wanted, keys: [&str; 2], why: &str| {
        for key in keys {
            if !is(wanted) && fields.has(key) {
                fields.problem(key, format!("it is for `{wanted}` only: {why}"));
            }
        }
    };
    let baseline: Option<CommitId> = fields.parse("baseline");
    let range = fields.choice("commits", &[("range", true), ("head", false)]);
    let why = "`dev` looks at the head of a branch, `production` at tagged commits";
    only(fields, Environment::Staging, ["commits", "baseline"], why);
    if range == Some(false) && fields.has("baseline") {
        fields.problem("baseline", "with `commits: head` only the head is looked at, and nothing begins anywhere");
    } else if environment == Some(Environment::Staging) && range != Some(false) && !fields.has("baseline") {
        let message = "it is missing: name the commit (its whole id) after which every commit is signed, or write `commits: head` to have only the newest one looked at";
        fields.problem("baseline", message);
    }
    let all_of_forge = fields.choice("forge", &[("merges", false), ("all", true)]).unwrap_or(false);
    if fields.has("forge") && !fields.has("signersFile") {
        fields.problem("forge", "without `signersFile` there is no forge whose signatures could count");
    }
    let pre_releases = fields.boolean("preReleases");
    let max_jump = crate::agent::section(fields, "maxJump", empty, max_jump, &[]);
    only(fields, Environment::Production, ["preReleases", "maxJump"], "other environments follow no versions");
    RefsConfig { baseline, all_of_forge, pre_releases: pre_releases.unwrap_or(false), max_jump }
}

fn max_jump(fields: &mut Fields<'_>) -> MaxJumpConfig {
    let mut jump = |key| {
        let jump: Option<u64> = fields.parse(key);
        if jump.is_some_and(|jump| !(1..=HIGHEST_JUMP).contains(&jump)) {
            fields.problem(key, "from 1 to 1,000,000");
        }
        jump
    };
    MaxJumpConfig { major: jump("major"), minor: jump("minor"), patch: jump("patch") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::AgentConfig;

    const COMMIT: &str = "1234567890123456789012345678901234567890";

    fn read(environment: &str, keys: &str) -> Result<RefsConfig, String> {
        let text = format!(
            "apiVersion: agent.tk8s.io/v1alpha1\nkind: AgentConfig\ncluster: c\nenvironment: {environment}\nrepository: {{url: 'https://h/x'}}\ntrust: {{signersFile: /s{keys}}}\nhistory: {{dir: /d, identityKeyFile: /i, encryptionKeyFile: /k}}\n"
        );
        AgentConfig::parse(&text, "x").map(|config| config.trust.refs).map_err(|problems| problems.to_string())
    }

    #[test]
    fn staging_looks_at_every_commit_since_a_baseline_unless_told_to_look_at_the_head() {
        for keys in [format!(", baseline: {COMMIT}"), format!(", commits: range, baseline: '{COMMIT}'")] {
            assert_eq!(read("staging", &keys).unwrap().baseline.unwrap().as_str(), COMMIT, "{keys}");
        }
        assert_eq!(read("staging", ", commits: head").unwrap(), RefsConfig::default());
        for (keys, word) in [
            ("", "trust.baseline: it is missing: name the commit"),
            (", commits: range", "trust.baseline: it is missing"),
            (", commits: range, baseline: v1.0.0", "trust.baseline: "),
            (", baseline: 1234567", "trust.baseline: "),
            (", commits: heads", "trust.commits: `heads` is not known: write `range` or `head`"),
        ] {
            let problems = read("staging", keys).unwrap_err();
            assert!(problems.contains(word), "{keys}: {problems}");
        }
        let both = read("staging", &format!(", commits: head, baseline: {COMMIT}")).unwrap_err();
        assert!(both.contains("only the head is looked at"), "{both}");
    }

    #[test]
    fn a_key_of_another_environment_is_refused_and_not_ignored() {
        for (environment, keys) in [
            ("production", ", commits: head".to_owned()),
            ("production", format!(", baseline: {COMMIT}")),
            ("dev", ", commits: range".to_owned()),
            ("dev", ", preReleases: false".to_owned()),
            ("staging", ", commits: head, preReleases: true".to_owned()),
            ("staging", ", commits: head, maxJump: {major: 1}".to_owned()),
        ] {
            let problems = read(environment, &keys).unwrap_err();
            assert!(problems.contains(" only: "), "{environment}{keys}: {problems}");
        }
    }

    #[test]
    fn a_forge_without_signers_is_a_mistake() {
        let text = "apiVersion: agent.tk8s.io/v1alpha1\nkind: AgentConfig\ncluster: c\nenvironment: dev\nrepository: {url: 'https://h/x'}\ntrust: {waive: {reason: a laptop}, forge: all}\nhistory: {dir: /d, identityKeyFile: /i, encryptionKeyFile: /k}\n";
        let problems = AgentConfig::parse(text, "x").unwrap_err().to_string();
        assert!(problems.contains("trust.forge: without `signersFile`"), "{problems}");
    }

    #[test]
    fn jumps_candidates_and_forges_are_read_with_their_bounds() {
        let config = read("production", ", preReleases: true, forge: all, maxJump: {minor: 7}").unwrap();
        let max_jump = MaxJumpConfig { minor: Some(7), ..MaxJumpConfig::default() };
        assert_eq!(config, RefsConfig { baseline: None, all_of_forge: true, pre_releases: true, max_jump });
        assert_eq!(read("production", ", forge: merges").unwrap(), RefsConfig::default());
        for (keys, word) in [
            ("maxJump: {major: 0}", "trust.maxJump.major: from 1 to 1,000,000"),
            ("maxJump: {patch: 1000001}", "trust.maxJump.patch: from 1"),
            ("maxJump: {minors: 1}", "did you mean `minor`?"),
            ("maxJump: 5", "it has to be a map"),
            ("forge: none", "trust.forge: `none` is not known: write `merges` or `all`"),
            ("preReleases: rc", "trust.preReleases: it has to be `true` or `false`"),
        ] {
            let problems = read("production", &format!(", {keys}")).unwrap_err();
            assert!(problems.contains(word), "{keys}: {problems}");
        }
    }
}
