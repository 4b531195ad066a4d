//! Refs that are not what they were, and a Git server that says nothing new: the whole agent, with what a person does about it.

use serde_json::Value;
use tk8s_tests::system::{System, git};

/// An instance with one component, whose repository somebody rewrites.
struct Story(System);

impl Story {
    async fn new(name: &str) -> Story {
        let system = System::new(name).await;
        system.write_platform(&[&["one"]]);
        Story(system)
    }

    fn git(&self, arguments: &[&str]) {
        git(&self.0.file("repository"), arguments);
    }

    fn commit(&self, at: &str) {
        self.0.write_map("one", at);
        self.0.commit(at);
    }

    /// Takes the last commit of the branch back and puts another one in its place, as a force push does.
    fn force(&self, at: &str) {
        self.git(&["reset", "-q", "--hard", "HEAD~1"]);
        self.commit(at);
    }

    /// Runs what the branch, or its tag, has now.
    fn run(&mut self, at: &str) {
        self.0.start();
        self.0.until_map("one", at);
        self.0.until_all("Healthy");
    }

    /// Each incident that stands: id and rule.
    fn standing(&self) -> Vec<(String, String)> {
        let status = self.0.status();
        let text = |incident: &Value, key: &str| incident[key].as_str().unwrap_or_default().to_owned();
        let all = status["incidents"].as_array().cloned().unwrap_or_default();
        all.iter().map(|incident| (text(incident, "id"), text(incident, "rule"))).collect()
    }

    /// Waits for one incident, of this rule and with another id than this; its id.
    fn incident(&self, rule: &str, other_than: &str) -> String {
        let is = || matches!(self.standing().as_slice(), [(id, of)] if of == rule && id != other_than);
        self.0.until(&format!("{rule} is an incident"), is);
        let id = self.standing().remove(0).0;
        assert!(self.alarms().contains(&format!("RefsRewritten {id}")), "{:?}", self.alarms());
        id
    }

    fn alarms(&self) -> Vec<String> {
        let status = self.0.status();
        let all = status["alarms"].as_array().cloned().unwrap_or_default();
        all.iter().map(|alarm| format!("{} {}", alarm["reason"].as_str().unwrap(), alarm["object"].as_str().unwrap())).collect()
    }

    fn until_nothing_stands(&self) {
        self.0.until("nothing stands", || self.0.status()["incidents"] == serde_json::json!([]) && self.alarms().is_empty());
    }

    /// Somebody changes the object in the cluster, and it is put back.
    fn repairs(&self, at: &str) {
        self.0.kubectl(&["patch", "configmap", "one", "--type", "merge", "-p", r#"{"data":{"at":"tampered"}}"#]);
        self.0.until_map("one", at);
    }

    /// What the agent says to `accept`: whether it did, and its words.
    fn accept(&self, id: &str) -> (bool, String) {
        let output = self.0.tk8s(&["accept", id, "--reason", "we cleaned the repository up"]);
        let words = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8_lossy(&words).into_owned())
    }

    fn accepted(&self, id: &str) {
        let (done, words) = self.accept(id);
        assert!(done, "{words}");
    }

    fn refused(&self, id: &str, why: &str) {
        let (done, words) = self.accept(id);
        assert!(!done && words.contains(why), "{words}");
    }

    fn rules(&self) -> Vec<String> {
        let status = self.0.status();
        let refused = status["refused"].as_array().cloned().unwrap_or_default();
        refused.iter().map(|refused| refused["reason"].as_str().unwrap().to_owned()).collect()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_force_push_alarms_and_keeps_what_runs_until_somebody_accepts_exactly_that_head() {
    let mut story = Story::new("forced").await;
    story.0.sign();
    story.commit("first");
    story.commit("second");
    story.run("second");
    assert_eq!(story.standing(), []);
    story.force("third");
    let third = story.incident("NotDescendant", "");
    assert!(third.starts_with("rewritten.main."), "{third}");
    assert_eq!(story.0.map("one"), "second");
    story.repairs("second");
    assert_eq!(story.0.counter("tk8s_alarms", "reason=\"RefsRewritten\"").await, 1);
    let told = String::from_utf8_lossy(&story.0.tk8s(&["status"]).stdout).into_owned();
    assert!(told.contains(&format!("{third}: refs/heads/main at ")) && told.contains("tk8s-agent accept"), "{told}");
    story.0.until("the cluster is told", || {
        let events = story.0.kubectl(&["get", "events.v1.events.k8s.io", "-o", "jsonpath={.items[*].reason}"]);
        events.contains("RefsRewritten")
    });
    // Nothing else is let in by it: not what nobody saw, and not the head that comes in its place.
    story.refused("rewritten.main.000000000000000000000000", "UnknownIncident");
    story.refused("../sync", "names no incident");
    let route = format!("POST /api/v1/incidents/{third}/accept");
    let token = format!("Bearer {}", std::fs::read_to_string(story.0.file("token")).unwrap().trim());
    let (status, answer) = story.0.http("api", &route, &[("Authorization", &token)], "").await;
    assert!(status == 400 && answer.contains("ReasonMissing"), "{status} {answer}");
    assert_eq!(story.0.http("api", &route, &[], "").await.0, 401);
    story.force("fourth");
    let fourth = story.incident("NotDescendant", &third);
    story.refused(&third, "does not stand any more");
    story.accepted(&fourth);
    story.0.until_map("one", "fourth");
    story.0.until_all("Healthy");
    story.until_nothing_stands();
    story.refused(&fourth, "was accepted by token");
    // It is the base of what comes now, and going back to what was before is as much of an incident.
    story.commit("fifth");
    story.0.until_map("one", "fifth");
    story.git(&["reset", "-q", "--hard", "HEAD~2"]);
    story.incident("NotDescendant", &fourth);
    assert_eq!(story.0.map("one"), "fifth");
    story.0.stop();
    story.0.check_history();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_stands_and_what_was_accepted_outlive_a_restart_and_no_word_replaces_a_signature() {
    let mut story = Story::new("forced-again").await;
    story.0.sign();
    story.commit("first");
    story.commit("second");
    story.run("second");
    story.git(&["reset", "-q", "--hard", "HEAD~1"]);
    story.0.write_map("one", "unsigned");
    story.git(&["-c", "commit.gpgsign=false", "commit", "-q", "-a", "-m", "unsigned"]);
    let unsigned = story.incident("NotDescendant", "");
    let since = story.0.status()["incidents"][0]["since"].clone();
    story.0.stop();
    story.0.start();
    assert_eq!(story.incident("NotDescendant", ""), unsigned, "it is the same one");
    assert_eq!(story.0.status()["incidents"][0]["since"], since);
    story.accepted(&unsigned);
    story.0.until("it is judged for what it is", || story.rules() == ["Unsigned"]);
    story.until_nothing_stands();
    story.0.stop();
    story.0.start();
    story.0.until("it was looked at", || story.0.status()["syncedAt"].is_string());
    assert_eq!((story.standing(), story.rules()), (vec![], vec!["Unsigned".to_owned()]));
    story.refused(&unsigned, "was accepted by token");
    assert_eq!(story.0.map("one"), "second");
    // Signed, it is another commit, and another incident; accepted by the process that comes after the one that saw it.
    story.git(&["commit", "-q", "--amend", "-m", "signed"]);
    let signed = story.incident("NotDescendant", &unsigned);
    story.0.stop();
    story.0.start();
    story.incident("NotDescendant", &unsigned);
    story.accepted(&signed);
    story.0.until_map("one", "unsigned");
    story.0.until_all("Healthy");
    story.until_nothing_stands();
    story.0.stop();
    story.0.check_history();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tag_that_moves_or_vanishes_in_production_stays_what_it_was_until_somebody_accepts_it() {
    let mut story = Story::new("moved").await;
    story.0.sign_tags();
    story.commit("first");
    story.0.tag("v1.0.0");
    story.commit("second");
    story.0.tag("v1.1.0");
    story.run("second");
    let revision = |story: &Story| story.0.status()["revision"]["tag"]["name"].as_str().unwrap_or_default().to_owned();
    // Moved to something newer, signed as well as ever.
    story.commit("third");
    story.git(&["tag", "-f", "-a", "-m", "moved", "v1.1.0"]);
    let moved = story.incident("TagMoved", "");
    assert!(moved.starts_with("moved.v1.1.0."), "{moved}");
    assert_eq!((story.0.map("one"), revision(&story)), ("second".into(), "v1.1.0".into()));
    story.repairs("second");
    story.accepted(&moved);
    story.0.until_map("one", "third");
    story.0.until_all("Healthy");
    story.until_nothing_stands();
    // To what is no tag object: there is nothing that could be accepted.
    story.git(&["-c", "tag.gpgsign=false", "tag", "-f", "v1.1.0"]);
    let light = story.incident("TagMoved", "");
    story.refused(&light, "names no tag object");
    // Gone: nothing lower takes its place, and what comes under its name is seen for the first time.
    story.git(&["tag", "-d", "v1.1.0"]);
    let gone = story.incident("TagVanished", "");
    assert!(gone.starts_with("vanished.v1.1.0."), "{gone}");
    story.repairs("third");
    story.0.stop();
    story.0.start();
    story.incident("TagVanished", "");
    story.accepted(&gone);
    story.until_nothing_stands();
    assert_eq!((story.0.map("one"), story.rules()), ("third".into(), vec![]));
    story.commit("fourth");
    story.0.tag("v1.1.0");
    story.0.until_map("one", "fourth");
    // The branch loses what was released from it: that is told too, and the release that follows is not let in by itself.
    story.force("fifth");
    let off = story.incident("NotOnReleaseBranch", "");
    story.accepted(&off);
    story.until_nothing_stands();
    story.0.tag("v1.2.0");
    let rewritten = story.incident("NotDescendant", "");
    assert_eq!(story.0.map("one"), "fourth");
    story.accepted(&rewritten);
    story.0.until_map("one", "fifth");
    assert_eq!(revision(&story), "v1.2.0");
    story.0.stop();
    story.0.check_history();
}

/// TUF's *indefinite freeze*: somebody between the repository and the agent keeps what is new back. Where they let nothing through,
/// the looks fail; where they go on answering with what was there before, every look goes well, and only the age of the newest
/// revision, by the agent's own clock, tells.
#[tokio::test(flavor = "multi_thread")]
async fn an_indefinite_freeze_is_told_and_takes_nothing_from_what_runs() {
    let mut story = Story::new("frozen").await;
    story.0.trust.1 = story.0.trust.1.replacen('{', "{freshness: {look: 1h, news: 48h}, ", 1);
    let clock = story.0.own_clock();
    story.commit("first");
    story.run("first");
    let hours = |hours: i64| clock.set_ahead(hours * 3600);
    let (there, away) = (story.0.file("repository"), story.0.file("away"));
    let limits = |story: &Story| {
        let stale = story.0.status()["stale"].as_array().cloned().unwrap_or_default();
        stale.iter().map(|stale| stale["limit"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let reason = |story: &Story| story.0.component("one")["reason"].clone();
    assert_eq!((limits(&story), reason(&story)), (vec![], "Healthy".into()));
    // Nothing is let through.
    std::fs::rename(&there, &away).unwrap();
    story.0.until("a look has failed", || story.0.status()["problem"].is_object());
    assert_eq!(story.alarms(), [""; 0], "that alone is no alarm");
    hours(2);
    story.0.until("it is an alarm", || story.alarms() == ["SourceStale trust.freshness.look"]);
    assert_eq!((limits(&story), reason(&story)), (vec!["look".to_owned()], "SourceStale".into()));
    assert_eq!(story.0.component("one")["state"], "Healthy");
    let told = String::from_utf8_lossy(&story.0.tk8s(&["status"]).stdout).into_owned();
    assert!(told.contains("STALE since "), "{told}");
    assert_eq!(story.0.counter("tk8s_alarms", "reason=\"SourceStale\"").await, 1);
    story.repairs("first");
    // A restart makes nothing new of it.
    story.0.stop();
    story.0.start();
    story.0.until("it is an alarm again", || limits(&story) == ["look"]);
    std::fs::rename(&away, &there).unwrap();
    story.0.until("it is over", || story.alarms().is_empty() && reason(&story) == "Healthy");
    let looked = story.0.counter_of("tk8s_last_look_timestamp_seconds").await;
    assert!(looked > 0);
    // Every look is answered, with what was there before.
    hours(50);
    story.0.until("nothing is new", || story.alarms() == ["SourceStale trust.freshness.news"]);
    story.0.until_looked(2).await;
    assert_eq!((limits(&story), reason(&story)), (vec!["news".to_owned()], "SourceStale".into()));
    assert!(story.0.counter_of("tk8s_last_look_timestamp_seconds").await >= looked + 47 * 3600);
    story.repairs("first");
    story.commit("second");
    story.0.until_map("one", "second");
    story.0.until("it is over", || story.alarms().is_empty() && limits(&story).is_empty());
}
