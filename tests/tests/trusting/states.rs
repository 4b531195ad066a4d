//! What becomes of a release whose signer retires, or turns out to be compromised: of what runs, of repairs, of what is new, and
//! of each kind of rollback.

use std::process::Command;

use tk8s_tests::system::{System, git};

/// Two releases of one component, the first by `a`, the second by `b`; the third, by `b`, never becomes healthy, and is brought
/// by [`Story::fail`].
struct Story {
    system: System,
    signers: String,
}

/// What the signers file, or the revocation file, says of `a` from now on.
enum Of {
    State(&'static str),
    Revoked,
}

impl Story {
    async fn new(name: &str) -> Story {
        let mut system = System::new(name).await;
        system.sign();
        std::fs::write(system.file("revoked"), "# nobody\n").unwrap();
        let revoked = system.file("revoked").display().to_string();
        system.trust.1 = system.trust.1.replacen('{', &format!("{{revocationFile: {revoked}, "), 1);
        let key = system.file("other");
        assert!(Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(&key).status().unwrap().success());
        let public = std::fs::read_to_string(key.with_extension("pub")).unwrap();
        let mut signers = std::fs::read_to_string(system.file("signers.yaml")).unwrap();
        signers.push_str(&format!("  - {{name: b, roles: [release], keys: [\"{}\"]}}\n", public.trim()));
        std::fs::write(system.file("signers.yaml"), &signers).unwrap();
        system.write_platform(&[&["one"]]);
        let platform = std::fs::read_to_string(system.file("repository/tk8s.yaml")).unwrap();
        system.write("tk8s.yaml", &platform.replace("path: one", "path: one, onFailure: rollback, healthTimeout: 2s"));
        system.write_map("one", "first");
        system.commit("first");
        system.start();
        system.until_map("one", "first");
        system.until_all("Healthy");
        git(&system.file("repository"), &["config", "user.signingkey", &key.display().to_string()]);
        let story = Story { system, signers };
        story.system.bring("one", &["second"]);
        story
    }

    fn say(&self, of: &Of) {
        match of {
            Of::State(state) => {
                let text = self.signers.replace("name: a, ", &format!("name: a, state: {state}, "));
                std::fs::write(self.system.file("signers.yaml"), text).unwrap();
            }
            Of::Revoked => {
                let key = std::fs::read_to_string(self.system.file("signer.pub")).unwrap();
                std::fs::write(self.system.file("revoked"), format!("# stolen\n{key}")).unwrap();
            }
        }
    }

    fn rollback(&self, arguments: &[&str]) -> (bool, String) {
        let output = self.system.tk8s(&[&["rollback"], arguments].concat());
        (output.status.success(), String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
    }

    fn tamper(&self) {
        self.system.kubectl(&["patch", "configmap", "one", "--type", "merge", "-p", r#"{"data":{"at":"tampered"}}"#]);
    }

    fn alarm(&self) -> Option<String> {
        let status = self.system.status();
        let found = status["alarms"].as_array()?.iter().find(|alarm| alarm["reason"] == "SignerNotBelieved")?;
        Some(found["message"].as_str()?.to_owned())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_somebody_signed_who_is_active_or_retired_can_be_put_back() {
    let story = Story::new("retired").await;
    for state in ["active", "retired"] {
        story.say(&Of::State(state));
        for (how, whom) in
            [(&["one"][..], &["one"][..]), (&["one", "--to", "1"], &["one"]), (&["--layer", "l0"], &["--layer", "l0"])]
        {
            let (done, told) = story.rollback(how);
            assert!(done, "{state} {how:?}: {told}");
            story.system.until_map("one", "first");
            story.tamper();
            story.system.until_map("one", "first");
            assert!(story.system.tk8s(&[&["resume"], whom].concat()).status.success());
            story.system.until_map("one", "second");
            story.system.until_all("Healthy");
        }
    }
    assert_eq!(story.alarm(), None);
}

/// A signer's state, or a key's, against what runs, drift, restart and each kind of rollback.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_goes_back_to_what_nobody_believes_unless_a_person_says_so_and_what_runs_is_repaired_with_an_alarm() {
    for (name, of, why) in [
        ("compromised", Of::State("compromised"), "a, who signed it, is marked as compromised since"),
        ("key-revoked", Of::Revoked, "that signed it is revoked since"),
    ] {
        let mut story = Story::new(name).await;
        story.say(&of);
        // By persons: of a component, with and without a number; of a layer; of everything; planned.
        let commit = {
            let output =
                Command::new("git").arg("-C").arg(story.system.file("repository")).args(["rev-parse", "HEAD~1"]).output();
            String::from_utf8(output.unwrap().stdout).unwrap().trim().to_owned()
        };
        for how in
            [&["one"][..], &["one", "--to", "1"], &["--layer", "l0"], &["--all", "--to-revision", &commit], &["one", "--dry-run"]]
        {
            let (done, told) = story.rollback(how);
            assert!(!done && told.contains(why) && told.contains("--despite-compromise"), "{how:?}: {told}");
            assert_eq!(story.system.map("one"), "second", "{how:?}");
        }
        assert_eq!(story.system.component("one")["hold"], serde_json::Value::Null, "nobody is held by what was refused");
        let broken = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: late, namespace: NAME}\nspec:\n  selector: {matchLabels: {app: late}}\n  template:\n    metadata: {labels: {app: late}}\n    spec: {nodeSelector: {no: node}, containers: [{name: main, image: \"pause:1\"}]}\n";
        story.system.write("one/late.yaml", &broken.replace("NAME", &story.system.name));
        // A failure goes back to the second release by itself: it is `b`'s, who is believed.
        story.system.commit("third");
        story.system.until("it undoes itself", || story.system.component("one")["hold"]["release"] == 2);
        // What was put back by a person who said so runs on, is repaired, and alarms; over a restart too.
        let (done, told) = story.rollback(&["one", "--to", "1", "--despite-compromise"]);
        assert!(!done && told.contains("--reason"), "{told}");
        let (done, told) = story.rollback(&["one", "--to", "1", "--despite-compromise", "--reason", "it was reviewed again"]);
        assert!(done, "{told}");
        story.system.until_map("one", "first");
        story.system.until("the alarm stands", || story.alarm().is_some_and(|told| told.contains(why)));
        story.tamper();
        story.system.until_map("one", "first");
        story.system.stop();
        story.system.start();
        story.tamper();
        story.system.until_map("one", "first");
        story.system.until("the alarm stands again", || story.alarm().is_some());
        // Somebody who is believed ends that.
        std::fs::remove_file(story.system.file("repository/one/late.yaml")).unwrap();
        story.system.write_map("one", "fourth");
        story.system.commit("fourth");
        story.system.until_map("one", "fourth");
        story.system.until("the alarm ends", || story.alarm().is_none());
        story.system.stop();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_release_does_not_undo_itself_to_one_whose_signer_is_compromised() {
    let story = Story::new("undo-compromised").await;
    let text = story.signers.replace("name: b, ", "name: b, state: compromised, ");
    git(&story.system.file("repository"), &["config", "user.signingkey", &story.system.file("signer").display().to_string()]);
    std::fs::write(story.system.file("signers.yaml"), text).unwrap();
    story.system.until("what runs alarms", || story.alarm().is_some_and(|told| told.contains("b, who signed it")));
    let broken = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: late, namespace: NAME}\nspec:\n  selector: {matchLabels: {app: late}}\n  template:\n    metadata: {labels: {app: late}}\n    spec: {nodeSelector: {no: node}, containers: [{name: main, image: \"pause:1\"}]}\n";
    story.system.write("one/late.yaml", &broken.replace("NAME", &story.system.name));
    story.system.write_map("one", "third");
    story.system.commit("third");
    story.system.until_says("one", "Failed", "is marked as compromised since");
    assert_eq!((story.system.map("one").as_str(), &story.system.component("one")["reason"]), ("third", &"RollbackFailed".into()));
}
