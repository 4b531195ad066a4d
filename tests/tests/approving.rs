//! Releases that people have to say yes to: the whole agent in production, with the tags that `git tag -s` makes.

#![allow(missing_docs, clippy::unwrap_used)]

use std::process::Command;

use serde_json::Value;
use tk8s_tests::system::{System, git};

const LEAD: &str = "technical-lead";
const SECURITY: &str = "security-officer";

/// An instance in production that asks for a technical lead and a security officer. `a` makes the releases and is a lead too,
/// `lea` is a lead, `sam` and `kim` are security officers.
struct Story(System);

impl Story {
    async fn new(name: &str, rules: &str) -> Story {
        let mut system = System::new(name).await;
        system.sign_tags();
        let mut signers =
            std::fs::read_to_string(system.file("signers.yaml")).unwrap().replace("[release]", "[release, technical-lead]");
        for (person, role) in [("lea", LEAD), ("sam", SECURITY), ("kim", SECURITY)] {
            let key = system.file(person);
            assert!(
                Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(&key).status().unwrap().success()
            );
            let public = std::fs::read_to_string(key.with_extension("pub")).unwrap();
            signers.push_str(&format!("  - {{name: {person}, roles: [{role}], keys: [\"{}\"]}}\n", public.trim()));
        }
        std::fs::write(system.file("signers.yaml"), signers).unwrap();
        system.trust.1 = system.trust.1.replacen('{', &format!("{{approvals: {{{rules}}}, "), 1);
        system.write_platform(&[&["one"]]);
        Story(system)
    }

    fn release(&self, version: &str, at: &str) {
        self.0.write_map("one", at);
        self.0.commit(at);
        self.0.tag(version);
    }

    /// Somebody says yes, as `git tag -s` lets them.
    fn approve(&self, release: &str, role: &str, person: &str, says: &str) {
        self.approve_as(release, role, person, person, says, release);
    }

    fn approve_as(&self, release: &str, role: &str, called: &str, person: &str, says: &str, object: &str) {
        let key = if person == "a" { self.0.file("signer") } else { self.0.file(person) };
        let key = format!("user.signingkey={}", key.display());
        let name = format!("approve/{release}/{role}/{called}");
        git(&self.0.file("repository"), &["-c", &key, "tag", "-s", "-f", "-m", says, &name, object]);
    }

    fn take_back(&self, release: &str, role: &str, person: &str) {
        git(&self.0.file("repository"), &["tag", "-d", &format!("approve/{release}/{role}/{person}")]);
    }

    /// Who is still missing for a release, as the status says it: `role have/need`.
    fn missing(&self, release: &str) -> Option<Vec<String>> {
        let status = self.0.status();
        let found = status["unapproved"].as_array()?.iter().find(|it| it["tag"] == release)?.clone();
        let told = |it: &Value| format!("{} {}/{}", it["role"].as_str().unwrap(), it["have"], it["need"]);
        Some(found["missing"].as_array()?.iter().map(told).collect())
    }

    fn until_missing(&self, release: &str, roles: &[&str]) {
        let is = || self.missing(release).is_some_and(|missing| missing == roles);
        self.0.until(&format!("{roles:?} are missing for {release}"), is);
    }

    fn refused(&self) -> Vec<(String, String)> {
        let text = |refused: &Value, key: &str| refused[key].as_str().unwrap_or_default().to_owned();
        let status = self.0.status();
        let mut refused: Vec<_> =
            status["refused"].as_array().unwrap().iter().map(|it| (text(it, "reference"), text(it, "reason"))).collect();
        refused.sort();
        refused
    }
}

const YES: &str = "looks good\n\nEnvironment: production";

#[tokio::test(flavor = "multi_thread")]
async fn a_release_waits_until_everybody_has_said_yes_and_then_begins_by_itself() {
    let mut story = Story::new("approved", "technical-lead: 1, security-officer: 2").await;
    story.release("v1.0.0", "first");
    story.0.start();
    story.until_missing("v1.0.0", &["security-officer 0/2", "technical-lead 0/1"]);
    // Whoever made the release does not approve it, whatever roles they have.
    story.approve("v1.0.0", LEAD, "a", YES);
    story.approve("v1.0.0", SECURITY, "sam", YES);
    story.until_missing("v1.0.0", &["security-officer 1/2", "technical-lead 0/1"]);
    assert_eq!(story.0.map("one"), "", "nothing of it is applied");
    story.approve("v1.0.0", LEAD, "lea", YES);
    story.until_missing("v1.0.0", &["security-officer 1/2"]);
    let told = story.0.tk8s(&["status"]);
    let told = String::from_utf8_lossy(&told.stdout).into_owned();
    assert!(told.contains("v1.0.0 waits for approvals: security-officer (1 of 2)") && told.contains("lea said yes"), "{told}");
    story.approve("v1.0.0", SECURITY, "kim", YES);
    story.0.until_map("one", "first");
    story.0.until_all("Healthy");
    assert_eq!(story.missing("v1.0.0"), None);
    let trust = story.0.status()["trust"].clone();
    let mut people: Vec<_> =
        trust["approvals"].as_array().unwrap().iter().map(|it| it["signer"].as_str().unwrap().to_owned()).collect();
    people.sort();
    assert_eq!(people, ["kim", "lea", "sam"], "{trust}");
    // A yes to one release is none to the next, which keeps nothing of what runs from running.
    story.release("v1.1.0", "second");
    story.until_missing("v1.1.0", &["security-officer 0/2", "technical-lead 0/1"]);
    assert_eq!(story.0.status()["revision"]["tag"]["name"], "v1.0.0");
    // What ran is not asked for again: a yes that is taken back afterwards changes nothing.
    story.take_back("v1.0.0", SECURITY, "kim");
    story.0.until_map("one", "first");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_approval_is_good_for_what_it_says_and_for_nothing_else() {
    let mut story = Story::new("approvals-for", "technical-lead: 1, security-officer: 1").await;
    story.release("v1.0.0", "first");
    let repository = story.0.file("repository");
    // Of another release that has the same name, an approval of the commit, for elsewhere, for once, in another's name.
    story.approve("v1.0.0", LEAD, "lea", YES);
    git(&repository, &["tag", "-d", "v1.0.0"]);
    git(&repository, &["tag", "-a", "-m", "another one", "v1.0.0"]);
    story.approve_as("v1.0.0", SECURITY, "commit", "sam", YES, "HEAD");
    story.approve("v1.0.0", SECURITY, "sam", "Environment: staging");
    story.approve_as("v1.0.0", SECURITY, "kim", "sam", YES, "v1.0.0");
    story.approve("v1.0.0", "friend", "sam", YES);
    story.approve("v1.0.0", LEAD, "sam", YES);
    story.0.start();
    story.until_missing("v1.0.0", &["security-officer 0/1", "technical-lead 0/1"]);
    let refused = [
        ("friend/sam", "NotAnApproval"),
        ("security-officer/commit", "ApprovesAnother"),
        ("security-officer/kim", "ApprovesAnother"),
        ("security-officer/sam", "ApprovesAnother"),
        ("technical-lead/lea", "ApprovesAnother"),
        ("technical-lead/sam", "RoleMissing"),
    ];
    let refused = refused.map(|(name, rule)| (format!("refs/tags/approve/v1.0.0/{name}"), rule.to_owned()));
    assert_eq!(story.refused(), refused);
    story.approve("v1.0.0", SECURITY, "sam", "Environment: production\nClusters: other-*");
    story.approve("v1.0.0", LEAD, "lea", "Environment: production\nExpires: 2020-01-01");
    let told = || story.refused().iter().map(|(_, rule)| rule.clone()).collect::<Vec<_>>();
    story.0.until("it has run out", || told().contains(&"ApprovalExpired".to_owned()));
    assert_eq!(story.0.map("one"), "");
    story.approve("v1.0.0", SECURITY, "sam", "Environment: production\nClusters: other-*, te?t");
    story.approve("v1.0.0", LEAD, "lea", "Environment: production\nExpires: 2999-01-01");
    story.0.until_map("one", "first");
}
