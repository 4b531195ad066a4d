//! Hooks, and the causes of what is not healthy, told by the whole agent on a real API server. Pods are never run here: what
//! becomes of them is written into their status.

#![allow(missing_docs, clippy::unwrap_used)]

use serde_json::Value;
use tk8s_tests::kubelet::Kubelet;
use tk8s_tests::system::System;

/// A Job that nobody runs until the test says how it ended.
fn job(name: &str, annotations: &str, version: &str) -> String {
    format!(
        "apiVersion: batch/v1\nkind: Job\nmetadata: {{name: {name}, annotations: {{{annotations}}}}}\nspec:\n  backoffLimit: 0\n  template:\n    spec: {{restartPolicy: Never, nodeSelector: {{never: here}}, containers: [{{name: run, image: 'run:{version}'}}]}}\n---\n"
    )
}

fn map(name: &str, at: &str) -> String {
    format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}}}\ndata: {{at: \"{at}\"}}\n---\n")
}

const BEFORE: &str = "tk8s.io/hook: before-apply";
const AFTER: &str = "tk8s.io/hook: after-apply";
const ON_FAILURE: &str = "tk8s.io/hook: on-failure";

/// One component, `web`, of these objects.
struct Story(System);

impl Story {
    async fn new(name: &str, more: &str) -> Story {
        let mut system = System::new(name).await;
        system.more = "apply: {healthTimeout: 60s}".into();
        let platform = format!(
            "apiVersion: tk8s.io/v1alpha1\nkind: Platform\nlayers:\n  - {{number: 0, name: l0, components: [{{name: web, path: web, namespace: {name}{more}}}]}}\n"
        );
        system.write("tk8s.yaml", &platform);
        Story(system)
    }

    fn push(&self, objects: &[String]) {
        self.0.write("web/all.yaml", &objects.concat());
        self.0.commit("a change");
    }

    fn get(&self, arguments: &[&str]) -> String {
        self.0.kubectl(&[&["get", "--ignore-not-found"], arguments].concat())
    }

    fn map(&self, name: &str) -> String {
        self.get(&["configmap", name, "-o", "jsonpath={.data.at}"])
    }

    /// The UID of a Job; empty if it is not there.
    fn uid(&self, job: &str) -> String {
        self.get(&["job", job, "-o", "jsonpath={.metadata.uid}"])
    }

    fn pods(&self, job: &str) -> Vec<String> {
        let names = self.get(&["pods", "-l", &format!("job-name={job}"), "-o", "jsonpath={.items[*].metadata.name}"]);
        names.split_whitespace().map(String::from).collect()
    }

    /// Waits until a Job has its pod; the Job's UID.
    fn until_runs(&self, job: &str) -> String {
        self.0.until(&format!("{job} runs"), || !self.pods(job).is_empty());
        self.uid(job)
    }

    /// Writes how the pod of a Job ended.
    fn end(&self, job: &str, phase: &str, code: u8) {
        let pod = self.pods(job).pop().unwrap();
        let ended = format!(
            r#"{{"status": {{"phase": "{phase}", "containerStatuses": [{{"name": "run", "image": "i", "imageID": "i", "ready": false, "restartCount": 0,
                "state": {{"terminated": {{"exitCode": {code}, "reason": "Error", "message": "said by the container"}}}}}}]}}}}"#
        );
        self.0.kubectl(&["patch", "pod", &pod, "--subresource=status", "--type=merge", "-p", &ended]);
    }

    fn succeed(&self, job: &str) {
        self.until_runs(job);
        self.end(job, "Succeeded", 0);
    }

    fn fail(&self, job: &str) {
        self.until_runs(job);
        self.end(job, "Failed", 3);
    }

    /// The numbers and outcomes of the releases, newest first.
    fn outcomes(&self) -> Vec<(u64, String)> {
        let history: Value = serde_json::from_slice(&self.0.tk8s(&["history", "web", "--output", "json"]).stdout).unwrap();
        let of = |release: &Value| (release["release"].as_u64().unwrap(), release["outcome"].as_str().unwrap_or("").to_owned());
        history.as_array().unwrap().iter().map(of).collect()
    }

    fn message(&self) -> String {
        self.0.component("web")["message"].as_str().unwrap_or_default().to_owned()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hook_runs_before_anything_else_is_written_and_one_when_all_is_healthy_before_anything_is_deleted() {
    let mut story = Story::new("hooks-order", "").await;
    story.push(&[map("a", "1"), map("old", "1")]);
    story.0.start();
    story.0.until_all("Healthy");
    story.push(&[map("a", "2"), job("first", BEFORE, "1"), job("last", AFTER, "1")]);
    story.until_runs("first");
    assert_eq!((story.map("a"), story.uid("last")), ("1".into(), String::new()));
    // Whoever asks is told what is waited for, and until when: the cluster ends it then.
    story.0.until_says("web", "Progressing", "waits for the hook Job.batch hooks-order/first (before-apply), until ");
    let ready = ["component", "web", "-o", "jsonpath={.status.conditions[?(@.type=='Ready')].message}"];
    story.0.until("the cluster is told", || {
        story.get(&ready).contains("waits for the hook Job.batch hooks-order/first (before-apply), until ")
    });
    let deadline = || story.get(&["job", "first", "-o", "jsonpath={.spec.activeDeadlineSeconds}"]);
    assert_eq!(deadline(), "60");
    let began = || story.get(&["job", "first", "-o", "jsonpath={.status.startTime}"]);
    story.0.until("it is told when it ends", || {
        let awaited = story.0.component("web")["awaited"].clone();
        let until: Option<tk8s_core::Timestamp> = awaited[0]["until"].as_str().and_then(|until| until.parse().ok());
        let began: Option<tk8s_core::Timestamp> = began().parse().ok();
        awaited.as_array().map(Vec::len) == Some(1)
            && awaited[0]["object"] == "Job.batch hooks-order/first"
            && awaited[0]["moment"] == "before-apply"
            && until.zip(began).is_some_and(|(until, began)| until.duration_since(began).as_secs() == 60)
    });
    story.end("first", "Succeeded", 0);
    story.until_runs("last");
    assert_eq!((story.map("a"), story.map("old")), ("2".into(), "1".into()));
    story.0.until_says("web", "Progressing", "Job.batch hooks-order/last (after-apply)");
    story.end("last", "Succeeded", 0);
    story.0.until_all("Healthy");
    assert_eq!((&story.0.component("web")["awaited"], story.message()), (&serde_json::json!([]), String::new()));
    story.0.until("what left is deleted", || story.map("old").is_empty());
    assert_eq!(story.outcomes()[0], (2, "Healthy".into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hook_that_fails_before_stops_the_release_and_what_ran_is_looked_after() {
    let mut story = Story::new("hooks-before", "").await;
    story.push(&[map("a", "1")]);
    story.0.start();
    story.0.until_all("Healthy");
    story.push(&[map("a", "2"), job("first", BEFORE, "1"), job("sorry", ON_FAILURE, "1")]);
    story.fail("first");
    story.0.until_says(
        "web",
        "Failed",
        "HookFailed: a hook failed, and is not run again by itself: Job.batch hooks-before/first: JobFailed",
    );
    // Its pod tells more than the Job does.
    let message = story.message();
    assert!(
        message.contains("container `run` ended with exit code 3 (Error): said by the container; it logged nothing"),
        "{message}"
    );
    assert_eq!((story.map("a"), story.uid("sorry")), ("1".into(), String::new()), "nothing else was written");
    story.0.kubectl(&["patch", "configmap", "a", "-p", r#"{"data": {"at": "drift"}}"#]);
    story.0.until("drift is repaired", || story.map("a") == "1");
    // Whoever deletes the Job and asks for it gets another try.
    let first = story.uid("first");
    story.0.tk8s(&["sync"]);
    story.0.until_says("web", "Failed", "HookFailed");
    assert_eq!(story.uid("first"), first, "it is not run again by itself");
    story.0.kubectl(&["delete", "job", "first"]);
    story.0.tk8s(&["sync"]);
    story.0.until("it runs again", || !["", first.as_str()].contains(&story.uid("first").as_str()));
    story.succeed("first");
    story.0.until_all("Healthy");
    assert_eq!(story.map("a"), "2");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hook_that_fails_after_fails_the_release_once_the_hook_of_the_failure_has_run_and_nothing_is_deleted() {
    let mut story = Story::new("hooks-after", "").await;
    story.push(&[map("a", "1"), map("old", "1")]);
    story.0.start();
    story.0.until_all("Healthy");
    story.push(&[map("a", "2"), job("last", AFTER, "1"), job("sorry", ON_FAILURE, "1")]);
    story.fail("last");
    let sorry = story.until_runs("sorry");
    story.end("sorry", "Succeeded", 0);
    story.0.until_says("web", "Failed", "HookFailed");
    assert_eq!((story.map("a"), story.map("old")), ("2".into(), "1".into()));
    assert_eq!(story.outcomes()[0], (2, "Unhealthy".into()));
    // Drift is repaired by what runs, and no hook runs for it, nor for a start.
    story.0.kubectl(&["patch", "configmap", "a", "-p", r#"{"data": {"at": "drift"}}"#]);
    story.0.until("drift is repaired", || story.map("a") == "2");
    story.0.stop();
    story.0.start();
    story.0.until_says("web", "Failed", "HookFailed");
    assert_eq!((story.uid("sorry"), story.pods("sorry").len()), (sorry, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hook_does_not_run_on_a_rollback_unless_it_says_so_nor_again_afterwards() {
    let mut story = Story::new("hooks-rollback", "").await;
    let both = |version: &str| {
        let on_rollback = format!("{BEFORE}, tk8s.io/hook-on-rollback: \"true\"");
        vec![map("a", version), job("never", BEFORE, version), job("always", &on_rollback, version)]
    };
    let runs = |story: &Story| ["never", "always"].map(|job| story.uid(job));
    let until_healthy = |story: &Story, at: &str, state: &str| {
        story.0.until(&format!("a is at {at}"), || story.map("a") == at);
        story.0.until_all(state);
    };
    story.push(&both("1"));
    story.0.start();
    for version in ["1", "2"] {
        if version == "2" {
            story.push(&both("2"));
            let image = ["job", "never", "-o", "jsonpath={.spec.template.spec.containers[0].image}"];
            story.0.until("the second one runs", || story.get(&image) == "run:2" && !story.pods("never").is_empty());
            let image = ["job", "always", "-o", "jsonpath={.spec.template.spec.containers[0].image}"];
            story.0.until("the second one runs", || story.get(&image) == "run:2" && !story.pods("always").is_empty());
        }
        story.succeed("never");
        story.succeed("always");
        until_healthy(&story, version, "Healthy");
    }
    let before = runs(&story);
    let asked = std::thread::scope(|scope| {
        let rollback = scope.spawn(|| story.0.tk8s(&["rollback", "web"]));
        story.0.until("it runs on the rollback", || !["", before[1].as_str()].contains(&story.uid("always").as_str()));
        story.succeed("always");
        rollback.join().unwrap()
    });
    assert!(asked.status.success(), "{}", String::from_utf8_lossy(&asked.stderr));
    until_healthy(&story, "1", "Held");
    let after = runs(&story);
    assert_eq!(after[0], before[0], "the other one did not run");
    // Nor does either when the agent starts again, or drift is repaired.
    story.0.stop();
    story.0.start();
    story.0.until_all("Held");
    story.0.kubectl(&["patch", "configmap", "a", "-p", r#"{"data": {"at": "drift"}}"#]);
    until_healthy(&story, "1", "Held");
    assert_eq!(runs(&story), after);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_finished_release_runs_no_hook_again_whatever_becomes_of_its_job() {
    let mut story = Story::new("hooks-once", "").await;
    story.push(&[map("a", "1"), job("first", BEFORE, "1"), job("last", AFTER, "1")]);
    story.0.start();
    story.succeed("first");
    story.succeed("last");
    story.0.until_all("Healthy");
    // Somebody tidies up: that is no drift.
    story.0.kubectl(&["delete", "job", "first"]);
    story.0.kubectl(&["patch", "configmap", "a", "-p", r#"{"data": {"at": "drift"}}"#]);
    story.0.until("drift is repaired", || story.map("a") == "1");
    story.0.until_all("Healthy");
    let last = story.uid("last");
    story.0.stop();
    std::fs::remove_dir_all(story.0.file("history").join("view")).unwrap();
    story.0.start();
    story.0.until_all("Healthy");
    story.0.tk8s(&["sync"]);
    story.0.until_all("Healthy");
    assert_eq!((story.uid("first"), story.uid("last")), (String::new(), last));
    // One that leaves the repository is deleted like anything else.
    story.push(&[map("a", "2")]);
    story.0.until("it is gone", || story.map("a") == "2" && story.uid("last").is_empty());
    story.0.until_all("Healthy");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_is_killed_in_the_middle_of_a_hook_goes_on_with_the_job_that_it_finds() {
    let mut story = Story::new("hooks-killed", "").await;
    for (moment, version) in [(BEFORE, "1"), (AFTER, "2")] {
        story.push(&[map("a", version), job("hook", moment, version)]);
        if version == "1" {
            story.0.start();
        }
        let image = ["job", "hook", "-o", "jsonpath={.spec.template.spec.containers[0].image}"];
        story.0.until("it runs", || story.get(&image) == format!("run:{version}") && !story.pods("hook").is_empty());
        let (uid, pods) = (story.uid("hook"), story.pods("hook"));
        story.0.signal("KILL");
        story.0.stop();
        story.0.kubectl(&["delete", "lease", &format!("tk8s-agent-{}", story.0.name), "--ignore-not-found"]);
        story.0.start();
        story.0.until("it goes on", || story.0.component("web")["state"] == "Progressing");
        assert_eq!((story.uid("hook"), story.pods("hook")), (uid.clone(), pods.clone()));
        story.end("hook", "Succeeded", 0);
        story.0.until("all is written", || story.map("a") == version);
        story.0.until_all("Healthy");
        assert_eq!((story.uid("hook"), story.pods("hook")), (uid, pods), "it ran once");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_running_job_of_an_older_release_is_gone_before_the_new_one_is_made() {
    let mut story = Story::new("hooks-newer", "").await;
    story.push(&[map("a", "1"), job("hook", BEFORE, "1")]);
    story.0.start();
    let (uid, pods) = (story.until_runs("hook"), story.pods("hook"));
    story.push(&[map("a", "2"), job("hook", BEFORE, "2")]);
    story.0.until("another one runs", || !["", uid.as_str()].contains(&story.uid("hook").as_str()));
    story.0.until("its pod is another one", || !story.pods("hook").is_empty() && story.pods("hook") != pods);
    assert!(!story.pods("hook").contains(&pods[0]), "two never run at the same time");
    story.succeed("hook");
    story.0.until_all("Healthy");
    assert_eq!(story.map("a"), "2");
    let outcomes = story.outcomes();
    assert_eq!(outcomes, [(2, "Healthy".into()), (1, "Superseded".into())]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hook_is_ended_by_the_cluster_at_its_deadline() {
    let mut story = Story::new("hooks-deadline", "").await;
    story.push(&[map("a", "1"), job("hook", &format!("{BEFORE}, tk8s.io/hook-deadline: 2s"), "1")]);
    story.0.start();
    story.0.until_says("web", "Failed", "JobFailed DeadlineExceeded");
    assert_eq!(story.map("a"), "");
    assert_eq!(story.get(&["job", "hook", "-o", "jsonpath={.spec.activeDeadlineSeconds}"]), "2");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_lines_of_a_container_are_told_without_the_secrets_of_its_release() {
    let mut story = Story::new("causes-log", "").await;
    let log: String = (0..50).map(|line| format!("line {line}\n")).collect();
    let kubelet = Kubelet::start(story.0.plane, "causes-log", &format!("{log}no access for hunter2-the-second\n"));
    let secret =
        "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\nstringData: {password: hunter2-the-second}\n---\n".to_owned();
    let hook = job("hook", AFTER, "1").replace("nodeSelector: {never: here}", "nodeName: causes-log");
    story.push(&[secret.clone(), hook.clone()]);
    story.0.start();
    story.fail("hook");
    story.0.until_says("web", "Failed", "its last lines: line 31 | line 32");
    let message = story.message();
    assert!(message.ends_with("line 49 | no access for (masked)"), "{message}");
    assert!(!message.contains("hunter2") && !story.0.log().contains("hunter2-the"), "{message}");
    let asked = kubelet.asked();
    assert!(asked.contains("tailLines=20") && asked.lines().count() == 1, "{asked}");
    // A node that does not answer: what else is known is told all the same.
    drop(kubelet);
    let before = story.uid("hook");
    story.push(&[secret.clone(), hook.clone(), map("a", "2")]);
    story.0.until("it runs again", || !["", before.as_str()].contains(&story.uid("hook").as_str()));
    story.fail("hook");
    story.0.until_says(
        "web",
        "Failed",
        "said by the container; no logs: the API server refused GET /api/v1/namespaces/causes-log/pods/",
    );
}

/// What is never healthy by itself.
const OUTER: &str =
    "apiVersion: v1\nkind: Service\nmetadata: {name: outer}\nspec: {type: LoadBalancer, ports: [{port: 80}]}\n---\n";

#[tokio::test(flavor = "multi_thread")]
async fn a_release_is_undone_when_the_hook_of_its_failure_has_run_and_nothing_runs_for_the_former_one() {
    let mut story = Story::new("hooks-undone", ", healthTimeout: 4s, onFailure: rollback").await;
    let slow = |when: &str| format!("{when}, tk8s.io/hook-deadline: 60s");
    story.push(&[map("a", "1"), job("first", &slow(BEFORE), "1")]);
    story.0.start();
    story.succeed("first");
    story.0.until_all("Healthy");
    let first = story.uid("first");
    story.push(&[map("a", "2"), OUTER.to_owned(), job("sorry", &slow(ON_FAILURE), "1")]);
    story.until_runs("sorry");
    assert_eq!(story.map("a"), "2");
    story.end("sorry", "Succeeded", 0);
    story.0.until("it is undone", || story.map("a") == "1");
    story.0.until_all("Held");
    assert_eq!(story.uid("first"), first);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_becomes_healthy_late_gets_its_hook_then() {
    let mut story = Story::new("hooks-late", ", healthTimeout: 3s").await;
    let slow = |when: &str| format!("{when}, tk8s.io/hook-deadline: 60s");
    story.push(&[OUTER.to_owned(), job("last", &slow(AFTER), "1"), job("sorry", &slow(ON_FAILURE), "1")]);
    story.0.start();
    story.succeed("sorry");
    story.0.until_says("web", "Failed", "NotHealthyInTime");
    assert_eq!(story.uid("last"), "");
    let address = r#"{"status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.1"}]}}}"#;
    story.0.kubectl(&["patch", "service", "outer", "--subresource=status", "--type=merge", "-p", address]);
    story.succeed("last");
    story.0.until_all("Healthy");
    assert_eq!(story.outcomes(), [(1, "Healthy".into())]);
}

const WEB: &str = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web}\nspec:\n  replicas: 1\n  progressDeadlineSeconds: SECONDS\n  selector: {matchLabels: {app: web}}\n  template: {metadata: {labels: {app: web}}, spec: {nodeSelector: {SELECTOR}, containers: [{name: web, image: 'web:1'}]}}\n---\n";

#[tokio::test(flavor = "multi_thread")]
async fn what_the_scheduler_says_is_told_when_a_release_does_not_become_healthy() {
    let mut story = Story::new("causes-place", ", healthTimeout: 5s").await;
    story.push(&[WEB.replace("SECONDS", "600").replace("SELECTOR", "never: here")]);
    story.0.start();
    story.0.until_says("web", "Failed", "0 of 1 replicas are available: pod web-");
    let message = story.message();
    assert!(message.contains("Unschedulable: 0/") && message.contains("nodes are available"), "{message}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quota_that_lets_no_pod_be_made_is_told() {
    let mut story = Story::new("causes-quota", ", healthTimeout: 5s").await;
    story
        .0
        .plane
        .apply("apiVersion: v1\nkind: ResourceQuota\nmetadata: {name: few, namespace: causes-quota}\nspec: {hard: {pods: 0}}\n");
    let set = "apiVersion: apps/v1\nkind: StatefulSet\nmetadata: {name: db}\nspec:\n  serviceName: db\n  replicas: 1\n  selector: {matchLabels: {app: db}}\n  template: {metadata: {labels: {app: db}}, spec: {containers: [{name: db, image: 'db:1'}]}}\n---\n";
    story.push(&[WEB.replace("SECONDS", "600").replace("SELECTOR", ""), set.into()]);
    story.0.start();
    story.0.until_says("web", "Failed", "exceeded quota: few");
    let message = story.message();
    // The Deployment says it itself, of the other it is known by an event.
    assert_eq!(message.matches("exceeded quota: few").count(), 2, "{message}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_workload_that_becomes_degraded_later_is_asked_about_once() {
    let mut story = Story::new("causes-later", "").await;
    story.push(&[WEB.replace("SECONDS", "3").replace("SELECTOR", "kubernetes.io/hostname: simulated")]);
    story.0.start();
    story.0.until_all("Healthy");
    story.0.proxy.take_seen();
    // Somebody else's change, which no field of ours is touched by: no release of ours fails.
    let patch = r#"{"spec": {"template": {"metadata": {"annotations": {"theirs": "1"}}, "spec": {"tolerations": [{"key": "x"}], "schedulerName": "nobody"}}}}"#;
    story.0.kubectl(&["patch", "deployment", "web", "--type=strategic", "-p", patch]);
    story
        .0
        .until("it is told", || story.message().contains("ProgressDeadlineExceeded") && story.message().contains(": pod web-"));
    story.0.until("it is logged", || story.0.log().contains("has become degraded"));
    let lists = || story.0.proxy.seen().iter().filter(|seen| seen.uri.contains("/pods?labelSelector")).count();
    let told = lists();
    tokio::time::sleep(std::time::Duration::from_secs(3)).await;
    assert_eq!((told, lists()), (1, 1));
    // It is known later too: for as long as the release is kept, also without an agent.
    let decays = |shown: &[u8]| serde_json::from_slice::<Value>(shown).unwrap()["story"]["decays"].clone();
    let told = decays(&story.0.tk8s(&["history", "show", "web", "1", "--output", "json"]).stdout);
    assert_eq!(told.as_array().map(Vec::len), Some(1), "{told}");
    assert_eq!((&told[0]["reason"], &told[0]["times"]), (&"ProgressDeadlineExceeded".into(), &1.into()), "{told}");
    assert!(told[0]["message"].as_str().unwrap().contains(": pod web-"), "{told}");
    let text = story.0.tk8s(&["history", "show", "web", "1"]).stdout;
    assert!(String::from_utf8_lossy(&text).contains("degraded: Deployment.apps causes-later/web: ProgressDeadlineExceeded"));
    story.0.stop();
    story.0.check_history();
}
