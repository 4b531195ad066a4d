//! Approvals as `git tag -s` makes them: what each is good for, and who is still missing.

use tk8s_gitsync::{ApprovalPolicy, ApprovalRules, Exclusion, Role};

use super::*;
use crate::support::signers_with;

fn role(name: &str) -> Role {
    Role::ALL.into_iter().find(|role| role.name() == name).unwrap()
}

/// A release by `alice`, and people who say yes to it.
struct Release {
    repository: Repository,
    people: Vec<Signer>,
    signers: Signers,
    rules: ApprovalRules,
}

const YES: &str = "fine\n\nEnvironment: production";

impl Release {
    fn new() -> Release {
        let repository = Repository::new();
        let people: Vec<_> = ["alice", "bob", "lea", "sam", "kim"]
            .iter()
            .map(|name| Signer::new(repository.home(), name, KeyType::Ed25519))
            .collect();
        let roles: [&[&str]; 5] = [
            &["release", "technical-lead", "break-glass"],
            &["release", "technical-lead"],
            &["technical-lead"],
            &["security-officer", "break-glass"],
            &["security-officer", "technical-lead"],
        ];
        let signers = signers_with(&people.iter().zip(roles).collect::<Vec<_>>());
        repository.write("a.yaml", "a: 1\n");
        repository.commit("first", Some(&people[1]));
        repository.tag("v1.0.0", Some(&people[0]));
        let required = [(role("technical-lead"), 1), (role("security-officer"), 1)].into();
        Release { repository, people, signers, rules: ApprovalRules { required, ..ApprovalRules::default() } }
    }

    fn person(&self, name: &str) -> &Signer {
        self.people.iter().find(|person| person.name == name).unwrap()
    }

    /// A tag with this name, by this person, about this object.
    fn say(&self, name: &str, person: &str, message: &str, object: &str) {
        self.repository.git_signed(self.person(person), &["tag", "-f", "-s", "-m", message, name, object]);
        self.repository.git(&["push", "-q", "-f", "origin", &format!("refs/tags/{name}")]);
    }

    fn yes(&self, role: &str, person: &str) {
        self.say(&format!("approve/v1.0.0/{role}/{person}"), person, YES, "v1.0.0");
    }

    fn judge(&self, accepted: &Accepted) -> Verification {
        let approvals = Some(ApprovalPolicy { rules: self.rules.clone(), cluster: "prod-eu-1".into() });
        let policy =
            Policy::Production(ProductionPolicy { signers: self.signers.clone(), approvals, versions: Versions::default() });
        judged(
            &self.repository,
            Follow::Tags { release_branch: "main".into(), approvals: true, evidence: false },
            &policy,
            accepted,
        )
    }

    /// Who is missing: nobody if the release is let in.
    fn missing(&self) -> Vec<(&'static str, usize, usize)> {
        let verification = self.judge(&Accepted::default());
        let missing: Vec<_> = verification.unapproved.iter().flat_map(|it| &it.missing).cloned().collect();
        assert_eq!(missing.is_empty(), verification.revision.is_some());
        missing.into_iter().map(|it| (it.role.name(), it.have, it.need)).collect()
    }
}

const LEAD: (&str, usize, usize) = ("technical-lead", 0, 1);
const SECURITY: (&str, usize, usize) = ("security-officer", 0, 1);

#[test]
fn a_release_is_let_in_by_those_who_did_not_make_it() {
    let mut release = Release::new();
    assert_eq!(release.missing(), [SECURITY, LEAD]);
    release.yes("security-officer", "sam");
    release.yes("technical-lead", "alice");
    assert_eq!(release.missing(), [LEAD], "who signed the tag does not count");
    release.yes("technical-lead", "bob");
    assert_eq!(release.missing(), []);
    release.rules.exclude = Exclusion::Head;
    assert_eq!(release.missing(), [LEAD], "who signed the commit does not count either");
    release.yes("technical-lead", "lea");
    let verification = release.judge(&Accepted::default());
    let Trust::Signed { tag_signer, approvals, .. } = verification.revision.as_ref().unwrap().trust() else { panic!() };
    let mut who: Vec<_> = approvals.iter().map(|it| (it.role.as_str(), it.signer.as_str())).collect();
    who.sort_unstable();
    assert_eq!(who, [("security-officer", "sam"), ("technical-lead", "lea")]);
    assert_eq!(tag_signer.as_deref(), Some("alice"));
    // What was let in before is asked nobody about again; what is new is.
    let before = accepted(&verification);
    release.repository.git(&["push", "-q", "origin", ":refs/tags/approve/v1.0.0/technical-lead/lea"]);
    let again = release.judge(&before);
    assert!(again.revision.is_some() && again.unapproved.len() == 1, "it runs on, and nothing more of it begins");
}

/// A44, mix-and-match: a yes to one thing is none to another.
#[test]
fn a_yes_counts_for_exactly_what_it_names() {
    let release = Release::new();
    release.yes("security-officer", "sam");
    let name = "approve/v1.0.0/technical-lead/lea";
    let cases: &[(&str, &str, &str, &str, Rule)] = &[
        (name, "lea", YES, "v1.0.0^{commit}", Rule::ApprovesAnother),
        (name, "lea", "fine", "v1.0.0", Rule::MalformedApproval),
        (name, "lea", "Environment: staging", "v1.0.0", Rule::ApprovesElsewhere),
        (name, "lea", "Environment: production\nClusters: prod-us-*", "v1.0.0", Rule::ApprovesElsewhere),
        (name, "lea", "Environment: production\nExpires: 2020-01-01", "v1.0.0", Rule::ApprovalExpired),
        (name, "kim", YES, "v1.0.0", Rule::ApprovesAnother),
        (name, "sam", YES, "v1.0.0", Rule::RoleMissing),
        ("approve/v1.0.0/boss/lea", "lea", YES, "v1.0.0", Rule::NotAnApproval),
        ("approve/v1.0.0/security-officer/lea", "lea", YES, "v1.0.0", Rule::RoleMissing),
    ];
    for (name, person, message, object, rule) in cases {
        release.say(name, person, message, object);
        let verification = release.judge(&Accepted::default());
        let refused: Vec<_> = verification.refused.iter().map(|it| (it.reference.clone(), it.rule)).collect();
        assert_eq!(refused, [(format!("refs/tags/{name}"), *rule)], "{person}: {message}");
        assert!(verification.revision.is_none());
        release.repository.git(&["push", "-q", "origin", &format!(":refs/tags/{name}")]);
    }
    // A good one under another name, one without a signature, and one that is no object.
    release.say(name, "lea", YES, "v1.0.0");
    assert_eq!(release.missing(), []);
    release.repository.git(&["push", "-q", "origin", &format!("refs/tags/{name}:refs/tags/approve/v1.0.0/technical-lead/kim")]);
    let rule_of = || rules(&release.judge(&Accepted::default()));
    assert_eq!(rule_of(), [Rule::TagNameMismatch]);
    release.repository.git(&["push", "-q", "origin", ":refs/tags/approve/v1.0.0/technical-lead/kim"]);
    release.repository.git(&["tag", "-f", "-a", "-m", YES, name, "v1.0.0"]);
    release.repository.git(&["push", "-q", "-f", "origin", &format!("refs/tags/{name}")]);
    assert_eq!(rule_of(), [Rule::Unsigned]);
    release.repository.git(&["push", "-q", "-f", "origin", &format!("HEAD:refs/tags/{name}")]);
    assert_eq!(rule_of(), [Rule::LightweightTag]);
    // The release's tag is made anew, with the same name: what was said was about another one.
    release.say(name, "lea", YES, "v1.0.0");
    assert_eq!(release.missing(), []);
    release.repository.git_signed(release.person("alice"), &["tag", "-f", "-s", "-m", "again", "v1.0.0"]);
    release.repository.git(&["push", "-q", "-f", "origin", "refs/tags/v1.0.0"]);
    assert_eq!(rule_of(), [Rule::ApprovesAnother, Rule::ApprovesAnother]);
    assert_eq!(release.missing(), [SECURITY, LEAD]);
}

#[test]
fn who_has_two_roles_counts_once_unless_that_is_allowed() {
    let mut release = Release::new();
    release.yes("security-officer", "kim");
    release.yes("technical-lead", "kim");
    assert_eq!(release.missing().len(), 1);
    release.rules.several_roles = true;
    assert_eq!(release.missing(), []);
}

#[test]
fn glass_is_broken_by_a_tag_where_that_is_allowed_and_by_nobody_who_made_the_release() {
    let mut release = Release::new();
    release.yes("break-glass", "sam");
    assert_eq!(release.missing(), [SECURITY, LEAD], "it is off");
    release.rules.break_glass = true;
    let verification = release.judge(&Accepted::default());
    let let_in = &verification.let_in[0];
    assert!(verification.revision.is_some() && verification.unapproved.is_empty());
    assert_eq!((let_in.tag.name.as_str(), let_in.by.signer.as_str(), let_in.missing.len()), ("v1.0.0", "sam", 2));
    release.repository.git(&["push", "-q", "origin", ":refs/tags/approve/v1.0.0/break-glass/sam"]);
    release.yes("break-glass", "alice");
    assert_eq!(release.missing(), [SECURITY, LEAD]);
    // What a person let in stays so, and is told once.
    let tag = verification.let_in[0].tag.id.clone();
    let again = release.judge(&Accepted { let_in: [tag].into(), ..Accepted::default() });
    assert!(again.revision.is_some() && again.let_in.is_empty());
}
