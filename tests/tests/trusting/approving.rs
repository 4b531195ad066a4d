//! Releases that people have to say yes to: the whole agent in production, with the tags that `git tag -s` makes.

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

    /// Gives somebody another role.
    fn grant(&self, person: &str, role: &str) {
        let signers = std::fs::read_to_string(self.0.file("signers.yaml")).unwrap();
        let given = signers.replace(&format!("name: {person}, roles: ["), &format!("name: {person}, roles: [{role}, "));
        std::fs::write(self.0.file("signers.yaml"), given).unwrap();
    }

    /// A clone, as somebody has it who works with the repository.
    fn clone_repository(&self) {
        git(&self.0.file("."), &["clone", "-q", "repository", "clone"]);
        git(&self.0.file("clone"), &["config", "user.email", "person@example.com"]);
        git(&self.0.file("clone"), &["config", "user.name", "Person"]);
    }

    /// From now on the clone is this person's.
    fn use_key_of(&self, person: &str) {
        let key = self.0.file(person).display().to_string();
        for (setting, value) in [("gpg.format", "ssh"), ("user.signingkey", &key), ("tk8s.signer", person)] {
            git(&self.0.file("clone"), &["config", setting, value]);
        }
    }

    /// `tk8s-agent approve` in the clone: its exit code, and what it says.
    fn approve_by_command(&self, arguments: &[&str]) -> (Option<i32>, String) {
        let clone = self.0.file("clone").display().to_string();
        let output = self.0.tk8s(&[&["approve", "--repository", &clone], arguments].concat());
        (output.status.code(), String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
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

/// A43, threshold cheating: an approval of something else, or for another place.
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
        ("security-officer/sam", "ApprovesElsewhere"),
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
    // A yes that is for others is shown, and neither warned of nor written down.
    let log = std::fs::read_to_string(story.0.log_file()).unwrap();
    assert!(log.contains("ApprovesAnother") && !log.contains("ApprovesElsewhere"), "{log}");
    story.approve("v1.0.0", SECURITY, "sam", "Environment: production\nClusters: other-*, te?t");
    story.approve("v1.0.0", LEAD, "lea", "Environment: production\nExpires: 2999-01-01");
    story.0.until_map("one", "first");
}

/// What the webhook answers, of a push that the Git server tells of.
async fn webhook(system: &System) -> Value {
    use hmac::{Hmac, KeyInit as _, Mac as _};
    let secret = std::fs::read(system.file("webhook")).unwrap();
    let mut mac = Hmac::<sha2::Sha256>::new_from_slice(secret.trim_ascii()).unwrap();
    mac.update(b"{}");
    let signature = format!("sha256={}", hex::encode(mac.finalize().into_bytes()));
    let headers = [("X-Hub-Signature-256", signature.as_str())];
    let (status, body) = system.http("api", "POST /webhooks/github", &headers, "{}").await;
    assert_eq!(status, 202, "{body}");
    serde_json::from_str(&body).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_yes_that_is_taken_back_before_the_first_write_is_none_and_the_webhook_tells_who_is_missing() {
    let mut story = Story::new("taken-back", "technical-lead: 1").await;
    story.0.interval = "1h";
    story.release("v1.0.0", "first");
    story.approve("v1.0.0", LEAD, "lea", YES);
    story.0.start();
    story.0.until_all("Healthy");
    let suspend = story.0.tk8s(&["suspend", "--all", "--reason", "an audit"]);
    assert!(suspend.status.success());
    story.release("v1.1.0", "second");
    let answer = webhook(&story.0).await;
    let missing = serde_json::json!([{"role": LEAD, "have": 0, "need": 1}]);
    assert_eq!((&answer["looked"], &answer["unapproved"][0]["missing"]), (&Value::Bool(true), &missing), "{answer}");
    story.approve("v1.1.0", LEAD, "lea", YES);
    let answer = webhook(&story.0).await;
    assert_eq!(answer["unapproved"], serde_json::json!([]), "everybody has said yes");
    story.0.until("it is accepted", || story.0.status()["revision"]["tag"]["name"] == "v1.1.0");
    story.take_back("v1.1.0", LEAD, "lea");
    assert_eq!(webhook(&story.0).await["unapproved"][0]["missing"], missing);
    assert!(story.0.tk8s(&["resume", "--all"]).status.success());
    story.0.until_says("one", "Pending", "technical-lead (0 of 1)");
    assert_eq!(story.0.component("one")["reason"], "ApprovalsMissing");
    assert_eq!(story.0.map("one"), "first");
    // A rollback asks nobody.
    assert!(story.0.tk8s(&["rollback", "one", "--to", "1", "--reason", "a drill"]).status.success());
    assert!(story.0.tk8s(&["resume", "one"]).status.success());
    story.approve("v1.1.0", LEAD, "lea", YES);
    webhook(&story.0).await;
    story.0.until_map("one", "second");
}

#[tokio::test(flavor = "multi_thread")]
async fn glass_is_broken_once_for_one_release_and_everybody_hears_of_it() {
    let mut story = Story::new("glass", "technical-lead: 1").await;
    story.release("v1.0.0", "first");
    story.0.start();
    story.until_missing("v1.0.0", &["technical-lead 0/1"]);
    let say = |command: &str, release: &str| {
        let output = story.0.tk8s(&[command, release, "--reason", "the site is down"]);
        (output.status.code(), String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
    };
    let (code, told) = say("break-glass", "v9.0.0");
    assert!(code == Some(1) && told.contains("no release `v9.0.0` waits for approvals"), "{told}");
    assert_eq!(say("break-glass", "v1.0.0").0, Some(0));
    story.0.until_map("one", "first");
    story.0.until_all("Healthy");
    let alarm = |story: &Story| {
        let status = story.0.status();
        let all = status["alarms"].as_array().cloned().unwrap_or_default();
        all.into_iter().find(|alarm| alarm["reason"] == "GlassBroken")
    };
    let told = alarm(&story).unwrap();
    assert_eq!(told["message"], "token let it in without technical-lead (0 of 1): the site is down");
    // The next one waits as this one did, and the alarm is still there after a restart.
    story.release("v1.1.0", "second");
    story.until_missing("v1.1.0", &["technical-lead 0/1"]);
    story.0.stop();
    story.0.check_history();
    story.0.start();
    story.until_missing("v1.1.0", &["technical-lead 0/1"]);
    story.0.until("the alarm stands", || alarm(&story).is_some());
    assert_eq!(story.0.map("one"), "first");
    let say = |command: &str, release: &str| story.0.tk8s(&[command, release, "--reason", "looked at it"]).status.code();
    assert_eq!((say("acknowledge", "v1.1.0"), say("acknowledge", "v1.0.0")), (Some(1), Some(0)));
    story.0.until("the alarm ends", || alarm(&story).is_none());
    assert_eq!(say("acknowledge", "v1.0.0"), Some(1), "once is enough");
    story.0.stop();
    // Where it is switched off nobody can.
    story.0.trust.1 = story.0.trust.1.replacen("approvals: {", "approvals: {breakGlass: false, ", 1);
    story.0.start();
    story.until_missing("v1.1.0", &["technical-lead 0/1"]);
    let refused = story.0.tk8s(&["break-glass", "v1.1.0", "--reason", "again"]);
    let told = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && told.contains("BreakGlassOff"), "{told}");
    // Nor by a tag, which otherwise does as well, and says who it was.
    story.grant("sam", "break-glass");
    story.approve("v1.1.0", "break-glass", "sam", YES);
    story.0.until_looked(2).await;
    story.until_missing("v1.1.0", &["technical-lead 0/1"]);
    story.0.stop();
    story.0.trust.1 = story.0.trust.1.replacen("breakGlass: false, ", "", 1);
    story.0.start();
    story.0.until_map("one", "second");
    let told = alarm(&story).unwrap()["message"].as_str().unwrap().to_owned();
    assert!(
        told.starts_with("sam let it in without technical-lead (0 of 1): by the tag approve/v1.1.0/break-glass/sam"),
        "{told}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn approve_shows_what_it_is_about_and_makes_the_tag_with_the_persons_own_git_and_key() {
    let mut story = Story::new("approve", "technical-lead: 1, security-officer: 1").await;
    story.release("v1.0.0", "first");
    story.0.start();
    story.until_missing("v1.0.0", &["security-officer 0/1", "technical-lead 0/1"]);
    story.clone_repository();
    let use_key_of = |person: &str| story.use_key_of(person);
    let approve = |arguments: &[&str]| story.approve_by_command(arguments);
    use_key_of("lea");
    let (code, told) = approve(&["v1.0.0", "--role", "lead", "--yes"]);
    assert!(code == Some(1) && told.contains("there is no role `lead`"), "{told}");
    let (code, told) = approve(&["v1.0.0", "--role", LEAD, "--expires", "tomorrow", "--yes"]);
    assert!(code == Some(1) && told.contains("`tomorrow` is no time"), "{told}");
    let (code, told) = approve(&["v7.0.0", "--role", LEAD, "--yes"]);
    assert!(code == Some(1) && told.contains("no tag `v7.0.0`"), "{told}");
    // Nobody says yes without being asked.
    let (code, told) = approve(&["v1.0.0", "--role", LEAD]);
    assert!(code == Some(1) && told.contains("`--yes`") && told.contains("nothing runs yet"), "{told}");
    let (code, told) = approve(&["v1.0.0", "--role", LEAD, "--clusters", "te*", "--expires", "2999-01-01", "--yes"]);
    assert!(
        code == Some(0) && told.contains("missing: security-officer (0 of 1)") && told.contains("+data: {at: \"first\"}"),
        "{told}"
    );
    story.until_missing("v1.0.0", &["security-officer 0/1"]);
    use_key_of("sam");
    assert_eq!(approve(&["v1.0.0", "--role", SECURITY, "--yes"]).0, Some(0));
    story.0.until_map("one", "first");
    story.0.until_all("Healthy");
    // The next one is shown beside what runs.
    story.release("v1.1.0", "second");
    story.until_missing("v1.1.0", &["security-officer 0/1", "technical-lead 0/1"]);
    git(&story.0.file("clone"), &["fetch", "-q", "--tags"]);
    let (code, told) = approve(&["v1.1.0", "--role", SECURITY, "--no-push", "--yes"]);
    assert!(code == Some(0) && told.contains("-data: {at: \"first\"}") && told.contains("+data: {at: \"second\"}"), "{told}");
    assert!(told.contains("push it: git push origin refs/tags/approve/v1.1.0/security-officer/sam"), "{told}");
    // What was said once is replaced only by somebody who says so, here and where it was pushed to.
    let (code, told) = approve(&["v1.1.0", "--role", SECURITY, "--clusters", "other", "--yes"]);
    assert!(code == Some(1) && told.contains("you said yes to v1.1.0 as security-officer before"), "{told}");
    for (clusters, missing) in
        [("other", &["security-officer 0/1", "technical-lead 0/1"][..]), ("other,test", &["technical-lead 0/1"])]
    {
        let (code, told) = approve(&["v1.1.0", "--role", SECURITY, "--clusters", clusters, "--again", "--yes"]);
        assert_eq!(code, Some(0), "{told}");
        story.until_missing("v1.1.0", missing);
    }
    // A tag that is another one here than where the agent looks is nothing to say yes to.
    git(&story.0.file("clone"), &["tag", "-d", "v1.1.0"]);
    git(&story.0.file("clone"), &["tag", "-s", "-m", "mine", "v1.1.0", "origin/main"]);
    let (code, told) = approve(&["v1.1.0", "--role", SECURITY, "--yes"]);
    assert!(code == Some(1) && told.contains("the agent means another tag `v1.1.0`"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn approve_shows_of_a_component_s_tag_what_is_new_since_the_component_s_own_release() {
    let mut story = Story::new("approve-own", "technical-lead: 1").await;
    story.release("v1.0.0", "first");
    story.0.start();
    story.until_missing("v1.0.0", &["technical-lead 0/1"]);
    story.approve("v1.0.0", LEAD, "lea", YES);
    story.0.until_map("one", "first");
    story.0.until_all("Healthy");
    story.clone_repository();
    story.use_key_of("lea");
    for (tag, before, after) in [("v1.0.1-one", "first", "second"), ("v1.0.2-one", "second", "third")] {
        story.release(tag, after);
        story.until_missing(tag, &["technical-lead 0/1"]);
        git(&story.0.file("clone"), &["fetch", "-q", "--tags"]);
        let (code, told) = story.approve_by_command(&[tag, "--role", LEAD, "--yes"]);
        let (taken, given) = (format!("-data: {{at: \"{before}\"}}"), format!("+data: {{at: \"{after}\"}}"));
        assert!(code == Some(0) && told.contains("it releases `one` only"), "{told}");
        assert!(told.contains(&taken) && told.contains(&given), "{told}");
        story.0.until_map("one", after);
        story.0.until_all("Healthy");
    }
    let (code, told) = story.approve_by_command(&["v1.0.0-two", "--role", LEAD, "--yes"]);
    assert!(code == Some(1) && told.contains("no tag `v1.0.0-two`"), "{told}");
    story.0.tag("v1.0.0-two");
    git(&story.0.file("clone"), &["fetch", "-q", "--tags"]);
    let (code, told) = story.approve_by_command(&["v1.0.0-two", "--role", LEAD, "--yes"]);
    assert!(code == Some(1) && told.contains("the agent has no component `two`"), "{told}");
}
