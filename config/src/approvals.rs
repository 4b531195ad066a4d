//! `trust.approvals`: who has to say yes to a release before any of it is applied.

use std::collections::BTreeMap;

use tk8s_core::Environment;

use crate::fields::Fields;

/// The roles that can be asked for, as the signers file calls them.
const ROLES: [&str; 3] = ["technical-lead", "security-officer", "product-owner"];
/// More people than this are a mistake.
const MOST: usize = 100;

/// `trust.approvals`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApprovalsConfig {
    /// How many people in each role; never 0, and never empty.
    pub required: BTreeMap<String, usize>,
    /// Whose yes does not count.
    pub exclude: ExcludeConfig,
    /// Whether one person may count in several roles.
    pub several_roles: bool,
    /// Whether a person may let a release in without those who are missing.
    pub break_glass: bool,
}

/// `trust.approvals.exclude`: each means those before it too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExcludeConfig {
    /// `tag-signer`: whoever signed the release's tag.
    TagSigner,
    /// `head`: whoever signed its commit.
    Head,
    /// `range`: whoever signed any commit that is new in it.
    Range,
}

/// Reads the map.
pub(crate) fn read(fields: &mut Fields<'_>, environment: Option<Environment>) -> ApprovalsConfig {
    let mut required = BTreeMap::new();
    for role in ROLES {
        match fields.parse::<usize>(role) {
            None => {}
            Some(0) => fields.problem(role, "nobody would have to say yes: leave the role out, or write how many people have to"),
            Some(people) if people > MOST => fields.problem(role, format!("at most {MOST} people can be asked for")),
            Some(people) => drop(required.insert(role.to_owned(), people)),
        }
    }
    let words = [("tag-signer", ExcludeConfig::TagSigner), ("head", ExcludeConfig::Head), ("range", ExcludeConfig::Range)];
    let exclude = fields.choice("exclude", &words).unwrap_or(ExcludeConfig::TagSigner);
    let several_roles = fields.boolean("severalRoles").unwrap_or(false);
    let break_glass = fields.boolean("breakGlass").unwrap_or(true);
    if required.is_empty() && !ROLES.iter().any(|role| fields.has(role)) {
        fields.problem("", format!("it names no role: there are `{}`", ROLES.join("`, `")));
    }
    if environment.is_some_and(|environment| environment != Environment::Production) {
        fields
            .problem("", "approvals are asked for in `production` only: other environments follow a branch, and approve nothing");
    }
    ApprovalsConfig { required, exclude, several_roles, break_glass }
}

#[cfg(test)]
mod tests {
    use crate::AgentConfig;

    fn read(approvals: &str) -> Result<AgentConfig, String> {
        let text = format!(
            "apiVersion: agent.tk8s.io/v1alpha1\nkind: AgentConfig\ncluster: c\nenvironment: production\nrepository:\n  \
             url: 'file:///platform'\n  path: platform\ntrust:\n  signersFile: /signers\n  approvals: {approvals}\n\
             history: {{dir: /history, identityKeyFile: /identity, encryptionKeyFile: /key}}\n"
        );
        AgentConfig::parse(&text, "agent.yaml").map_err(|problems| problems.to_string())
    }

    /// A43, threshold cheating: a threshold of nobody.
    #[test]
    fn a_threshold_of_nobody_is_refused() {
        let good = read("{security-officer: 2, technical-lead: 1}").map(|config| config.trust.approvals.unwrap().required);
        assert_eq!(good.unwrap().into_iter().collect::<Vec<_>>(), [("security-officer".into(), 2), ("technical-lead".into(), 1)]);
        for bad in [
            "{security-officer: 0}",
            "{security-officer: 1, technical-lead: 0}",
            "{security-officer: -1}",
            "{}",
            "{exclude: head}",
        ] {
            let problems = read(bad).unwrap_err();
            assert!(problems.contains("trust.approvals"), "{bad}: {problems}");
        }
    }
}
