//! From staging to production: two agents that follow one repository, and what one says of what ran well there, carried to the
//! other by git and as files.

use std::process::Command;

use serde_json::Value;
use tk8s_core::Timestamp;
use tk8s_tests::system::{System, git};

/// An instance in staging, and one in production that takes in only what ran well there. Both render the same tree, each into a
/// namespace of its own.
struct Story {
    staging: System,
    production: System,
}

impl Story {
    async fn new(name: &str) -> Story {
        let mut staging = System::new(&format!("{name}-staging")).await;
        staging.sign_tags();
        staging.trust = ("staging", staging.trust.1.replacen('{', "{commits: head, ", 1));
        let mut production = System::new(&format!("{name}-production")).await;
        production.repository_url = staging.repository_url.clone();
        for system in [&mut staging, &mut production] {
            system.more = format!("variables: {{NAMESPACE: {}}}", system.name);
        }
        staging.write(
            "tk8s.yaml",
            "apiVersion: tk8s.io/v1alpha1\nkind: Platform\nlayers:\n  - {number: 0, name: l0, components: [{name: one, path: one, substitute: true}]}\n",
        );
        Story { staging, production }
    }

    /// What production asks for.
    fn ask(&mut self, evidence: &str) {
        let signers = self.staging.file("signers.yaml");
        self.production.trust = ("production", format!("{{signersFile: {}, evidence: {{{evidence}}}}}", signers.display()));
    }

    fn commit(&self, at: &str, comment: &str) {
        let text = format!(
            "# {comment}\napiVersion: v1\nkind: ConfigMap\nmetadata: {{name: one, namespace: \"${{NAMESPACE}}\"}}\ndata: {{at: {at}}}\n"
        );
        self.staging.write("one/all.yaml", &text);
        self.staging.commit(comment);
    }

    /// Staging runs what was committed last.
    fn until_staged(&self) {
        let head = Command::new("git").current_dir(self.staging.file("repository")).args(["rev-parse", "HEAD"]).output();
        let head = String::from_utf8(head.unwrap().stdout).unwrap().trim().to_owned();
        self.staging.until("staging accepted it", || self.staging.status()["revision"]["commit"] == head.as_str());
        self.staging.until_all("Healthy");
    }

    fn key(&self) -> String {
        String::from_utf8(self.staging.tk8s(&["evidence", "--key"]).stdout).unwrap().trim().to_owned()
    }

    /// Writes what staging says into a directory; the refs and files, as it prints them.
    fn write_evidence(&self, directory: &str) -> String {
        let output = self.staging.tk8s(&["evidence", "--into", directory]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// Pushes what staging says, by the line of `docs/promotion.md`, from somebody's own clone.
    fn push_evidence(&self) {
        let clone = self.staging.file("clone");
        if !clone.exists() {
            git(self.staging.file("").as_path(), &["clone", "-q", &self.staging.repository_url, "clone"]);
        }
        let docs = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/promotion.md")).unwrap();
        let script = docs.split("```sh\n").nth(1).unwrap().split("```").next().unwrap();
        let program = tk8s_tests::program("tk8s-agent");
        let path = format!("{}:{}", program.parent().unwrap().display(), std::env::var("PATH").unwrap());
        let output = Command::new("sh")
            .current_dir(&clone)
            .args(["-e", "-c", script])
            .env("PATH", path)
            .env("TK8S_SERVER", format!("http://{}", self.staging.address("api")))
            .env("TK8S_TOKEN_FILE", self.staging.file("token"))
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .output()
            .unwrap();
        assert!(output.status.success(), "{script}: {}", String::from_utf8_lossy(&output.stderr));
    }

    fn waits(&self, words: &str) {
        self.production.until_says("one", "Pending", words);
        assert_eq!(self.production.component("one")["reason"], "EvidenceMissing");
    }
}

impl std::ops::Drop for Story {
    fn drop(&mut self) {
        self.staging.stop();
        self.production.stop();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_release_waits_until_staging_saw_its_tree_run_well_and_then_begins_by_itself() {
    let mut story = Story::new("promoted").await;
    story.commit("first", "first");
    story.staging.start();
    story.until_staged();
    // Another tree with the same objects: what is released is the newer one.
    story.commit("first", "a comment");
    story.staging.tag("v1.0.0");
    story.until_staged();
    let key = story.key();
    assert!(key.starts_with("tk8s.io/test/promoted-staging+"), "{key}");
    // Nobody spoke yet.
    let stranger = key_of_a_stranger(&story);
    story.ask(&format!("keys: ['{stranger}'], healthyFor: 1h"));
    story.production.start();
    story.waits("nothing that counts is said of it");
    assert_eq!(story.production.map("one"), "", "nothing of it is applied");
    // Somebody spoke whose word does not count.
    story.push_evidence();
    story.waits("count for nothing");
    let heard = story.production.status()["evidence"].clone();
    assert_eq!(heard["heard"], 0, "{heard}");
    let refused = heard["refused"][0].clone();
    assert!(refused["place"].as_str().unwrap().starts_with("refs/tk8s/evidence/test/promoted-staging/one:1"), "{heard}");
    assert!(refused["message"].as_str().unwrap().contains("none of the keys that count signed it"), "{heard}");
    let told = String::from_utf8(story.production.tk8s(&["status"]).stdout).unwrap();
    assert!(told.contains("counts for nothing: none of the keys") && told.contains("level PRODUCTION"), "{told}");
    // It counts, and it was not long enough.
    story.ask(&format!("keys: ['{stranger}', '{key}'], healthyFor: 1h"));
    story.production.configure(&story.production.configuration());
    story.waits("of 1h in staging, as test/promoted-staging saw it");
    assert_eq!(story.production.map("one"), "");
    // It was long enough.
    story.ask(&format!("keys: ['{stranger}', '{key}'], healthyFor: 1s"));
    story.production.configure(&story.production.configuration());
    story.production.until("staging saw it for a second", || {
        story.push_evidence();
        story.production.map("one") == "first"
    });
    story.production.until_all("Healthy");
    // By whose word stands in the ledger.
    let shown = String::from_utf8(story.production.tk8s(&["history", "show", "one", "1"]).stdout).unwrap();
    assert!(shown.contains("let in because release 1 of test/promoted-staging ran well in staging"), "{shown}");
    // The next one needs a word of its own, and keeps nothing of what runs from being looked after.
    story.commit("second", "second");
    story.staging.tag("v1.1.0");
    story.waits("the tree");
    story.production.kubectl(&["patch", "configmap", "one", "--type=merge", "-p", r#"{"data":{"at":"mine"}}"#]);
    story.production.until_map("one", "first");
    story.waits("the tree");
    story.until_staged();
    story.production.until("staging saw that one too", || {
        story.push_evidence();
        story.production.map("one") == "second"
    });
    story.production.stop();
    story.production.check_history();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_ran_here_needs_nobody_s_word_and_a_lock_is_shown_wherever_a_person_looks() {
    let mut story = Story::new("proven").await;
    story.commit("first", "first");
    story.staging.tag("v1.0.0");
    story.staging.start();
    story.until_staged();
    // What was seen before a restart was seen, but for the last seconds, which the cache had not on disk yet.
    let seen = |story: &Story| -> Option<(Timestamp, Timestamp)> {
        let said = story.staging.tk8s(&["evidence", "one", "--output", "json"]).stdout;
        let said: Value = serde_json::from_slice(&said).ok()?;
        let time = |key: &str| said["evidence"][0][key].as_str()?.parse().ok();
        Some((time("healthySince")?, time("healthyUntil")?))
    };
    let long = |(since, until): (Timestamp, Timestamp)| until.duration_since(since).as_secs() >= 10;
    story.staging.until("it is on disk", || seen(&story).is_some_and(long));
    let before = seen(&story).unwrap();
    story.staging.stop();
    story.staging.start();
    story.until_staged();
    story.staging.until("it is seen again", || seen(&story).is_some_and(|(_, until)| until > before.1));
    assert_eq!(seen(&story).unwrap().0, before.0);
    let directory = story.production.file("evidence").display().to_string();
    std::fs::create_dir(&directory).unwrap();
    std::fs::write(story.production.file("evidence/broken.jsonl"), "{").unwrap();
    story.ask(&format!("keys: ['{}'], healthyFor: 1s, dir: {directory}", story.key()));
    story.production.start();
    story.waits("1 statements count for nothing");
    let carry = |at: &str| {
        story.production.until(&format!("staging saw {at}"), || {
            story.write_evidence(&directory);
            story.production.map("one") == at
        });
        story.production.until_all("Healthy");
    };
    carry("first");
    story.commit("second", "second");
    story.staging.tag("v1.1.0");
    story.until_staged();
    carry("second");
    // Nobody says anything any more: what ran well here may come back all the same.
    std::fs::remove_dir_all(&directory).unwrap();
    story.commit("first", "back");
    story.staging.tag("v1.2.0");
    story.production.until_map("one", "first");
    story.production.until_all("Healthy");
    story.commit("third", "third");
    story.staging.tag("v1.3.0");
    story.waits("nothing that counts is said of it");
    // A person's rollback asks nobody; what is held is locked.
    let level = || story.production.component("one")["level"].clone();
    assert_eq!((level(), story.production.status()["level"].clone()), ("PRODUCTION".into(), "PRODUCTION".into()));
    let output = story.production.tk8s(&["rollback", "one", "--to", "2", "--reason", "a test"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    story.production.until_map("one", "second");
    assert_eq!(level(), "LOCK");
    let told = String::from_utf8(story.production.tk8s(&["status"]).stdout).unwrap();
    assert!(told.lines().any(|line| line.contains(" one ") && line.contains("LOCK")), "{told}");
    assert_eq!(story.production.counter("tk8s_components", "level=\"LOCK\"").await, 1);
    assert_eq!(story.production.counter("tk8s_components", "level=\"PRODUCTION\"").await, 0);
    story.production.until("the cluster is told", || {
        let level = ["get", "components.agent.tk8s.io", "one", "-o", "jsonpath={.status.level}"];
        story
            .production
            .plane
            .kubectl_with(&[&["-n", story.production.name.as_str()], &level[..]].concat(), "")
            .unwrap_or_default()
            == "LOCK"
    });
    let history: Value = serde_json::from_slice(&story.production.tk8s(&["history", "one", "--output", "json"]).stdout).unwrap();
    assert_eq!(history[0]["level"], "PRODUCTION", "{history}");
    story.production.stop();
    story.production.check_history();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_in_dev_proves_nothing_to_others() {
    let system = System::two_components("unproven", "").await;
    let said = system.tk8s(&["evidence"]);
    assert_eq!(said.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&said.stderr).contains("an instance in dev proves nothing"), "{said:?}");
    assert_eq!(system.component("one")["level"], "DEV");
}

/// The public key of production's own identity, under staging's name: of that name, and not staging's.
fn key_of_a_stranger(story: &Story) -> String {
    use sha2::Digest as _;
    use std::io::Write as _;
    let identity = story.production.file("identity.pem").display().to_string();
    let public = Command::new("openssl").args(["pkey", "-in", &identity, "-pubout", "-outform", "DER"]).output().unwrap().stdout;
    let key = [&[1], &public[public.len() - 32..]].concat();
    let name = format!("tk8s.io/test/{}", story.staging.name);
    let hash = sha2::Sha256::new().chain_update(&name).chain_update(b"\n").chain_update(&key).finalize();
    let piped = std::process::Stdio::piped;
    let mut base64 = Command::new("openssl").args(["base64", "-A"]).stdin(piped()).stdout(piped()).spawn().unwrap();
    base64.stdin.take().unwrap().write_all(&key).unwrap();
    let encoded = String::from_utf8(base64.wait_with_output().unwrap().stdout).unwrap();
    format!("{name}+{}+{}", hex::encode(&hash[..4]), encoded.trim())
}
