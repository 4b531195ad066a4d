//! Releases of single components: the whole agent in production, with tags like `v1.0.1-web`.

use std::process::Command;

use serde_json::Value;
use tk8s_tests::system::{System, git};

/// An instance in production with the components `web` and `api`, at `v1.0.0`.
async fn released(name: &str) -> System {
    let mut system = System::new(name).await;
    system.sign_tags();
    system.write_platform(&[&["web", "api"]]);
    release(&system, "v1.0.0", "first", "first");
    system.start();
    system.until_map("web", "first");
    system.until_map("api", "first");
    system.until_all("Healthy");
    system
}

fn release(system: &System, tag: &str, web: &str, api: &str) {
    system.write_map("web", web);
    system.write_map("api", api);
    system.commit(tag);
    system.tag(tag);
}

fn revision(system: &System, component: &str) -> String {
    system.component(component)["revision"].as_str().unwrap_or_default().to_owned()
}

fn refused(system: &System, reference: &str) -> Option<(String, String)> {
    let status = system.status();
    let found = status["refused"].as_array()?.iter().find(|it| it["reference"] == reference)?.clone();
    let text = |key: &str| found[key].as_str().unwrap_or_default().to_owned();
    Some((text("reason"), text("message")))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_component_is_released_alone_and_nothing_takes_it_back() {
    let mut system = released("own-tags").await;
    let old = head(&system);
    // Both change in Git; one of them is released.
    release(&system, "v1.0.1-web", "second", "second");
    system.until_map("web", "second");
    system.until_all("Healthy");
    assert_eq!((revision(&system, "web"), revision(&system, "api")), ("v1.0.1-web".into(), "v1.0.0".into()));
    assert_eq!(system.map("api"), "first", "it brings one component, and nothing else");
    assert_eq!(system.status()["revision"]["tag"]["name"], "v1.0.0", "the platform is where it was");
    // It stays so over a restart, also one that knows nothing but what is anchored in the cluster.
    system.until_anchored();
    system.stop();
    std::fs::remove_dir_all(system.file("history")).unwrap();
    system.start();
    system.until_looked(2).await;
    assert_eq!(system.map("web"), "second");
    // A release of the platform on an older commit takes it back as little as a rollback in Git does.
    git(&system.file("repository"), &["tag", "-s", "-m", "late", "v1.1.0", &old]);
    system.until("the platform follows", || system.status()["revision"]["tag"]["name"] == "v1.1.0");
    git(&system.file("repository"), &["tag", "-s", "-m", "back", "v1.0.2-web", &old]);
    system.until_looked(2).await;
    assert_eq!((system.map("web"), system.map("api")), ("second".into(), "first".into()));
    // The next release of the platform holds both.
    release(&system, "v1.2.0", "third", "third");
    system.until_map("web", "third");
    system.until_map("api", "third");
    system.until_all("Healthy");
    assert_eq!((revision(&system, "web"), revision(&system, "api")), ("v1.2.0".into(), "v1.2.0".into()));
    system.stop();
    system.check_history();
}

fn head(system: &System) -> String {
    let output = Command::new("git").arg("-C").arg(system.file("repository")).args(["rev-parse", "HEAD"]).output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tag_of_a_component_brings_its_directory_and_how_it_is_rendered_and_nothing_else() {
    let system = released("own-keys").await;
    // What decides about the component stands in the same commit, and has to wait for the platform: its account is not another
    // one, nor does a component come in that is new with it.
    let more = "{name: web, path: web, exclude: ['more.yaml'], serviceAccount: shop/nobody}, {name: fresh, path: fresh}";
    system.write("tk8s.yaml", &platform(more));
    system.write("fresh/map.yaml", &map(&system, "fresh", "new"));
    system.write("web/more.yaml", &map(&system, "more", "excluded"));
    release(&system, "v1.0.1-web", "second", "second");
    system.until_map("web", "second");
    system.until_all("Healthy");
    assert_eq!(system.kubectl(&["get", "configmap", "more", "fresh", "--ignore-not-found", "-o", "name"]), "");
    let told = system.component("web");
    assert_eq!(told["serviceAccount"].as_str(), None, "{told}");
    // A directory that moves, moves with the platform.
    system.write("tk8s.yaml", &platform("{name: web, path: moved}"));
    system.write("moved/map.yaml", &map(&system, "web", "moved"));
    release(&system, "v1.0.2-web", "second", "third");
    system.until_says("web", "Failed", "v1.0.2-web");
    let told = system.component("web").to_string();
    assert!(told.contains("TagCantBringComponent") && told.contains("moved"), "{told}");
    assert_eq!(system.map("web"), "second");
    // Nor is there a tag for what the platform does not have.
    system.tag("v1.0.0-fresh");
    system.until("it is refused", || refused(&system, "refs/tags/v1.0.0-fresh").is_some());
    let (reason, message) = refused(&system, "refs/tags/v1.0.0-fresh").unwrap();
    assert!(reason == "UnknownComponent" && message.contains("`fresh`"), "{reason}: {message}");
}

/// A platform with `api`, and these.
fn platform(components: &str) -> String {
    let layer = format!("{{number: 0, name: l0, components: [{{name: api, path: api}}, {components}]}}");
    format!("apiVersion: tk8s.io/v1alpha1\nkind: Platform\nlayers:\n  - {layer}\n")
}

fn map(system: &System, name: &str, at: &str) -> String {
    let metadata = format!("{{name: {name}, namespace: {}}}", system.name);
    format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {metadata}\ndata: {{at: '{at}'}}\n")
}

/// With a tag of a component in the repository, a platform that could not be read kept what else was refused from being told.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_refused_is_told_though_the_platform_can_not_be_read() {
    let system = released("own-unread").await;
    release(&system, "v1.0.1-web", "second", "second");
    system.until_map("web", "second");
    system.write("tk8s.yaml", "kind: Nothing\n");
    release(&system, "v1.1.0", "third", "third");
    system.until("the platform is refused", || system.status()["problem"]["reason"] == "PlatformRefused");
    system.commit_unsigned("fourth", "v1.2.0");
    system.until("the next release is refused", || refused(&system, "refs/tags/v1.2.0").is_some());
    assert_eq!(refused(&system, "refs/tags/v1.2.0").unwrap().0, "Unsigned");
    assert_eq!((system.map("web"), system.map("api")), ("second".into(), "first".into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_component_whose_tag_moved_stays_as_it_is() {
    let system = released("own-moved").await;
    release(&system, "v1.0.1-web", "second", "second");
    system.until_map("web", "second");
    let repository = system.file("repository");
    git(&repository, &["tag", "-d", "v1.0.1-web"]);
    release(&system, "v1.0.1-web", "other", "other");
    let incidents = || system.status()["incidents"].as_array().cloned().unwrap_or_default();
    system.until("it is an incident", || incidents().iter().any(|it| it["rule"] == "TagMoved"));
    // It runs on, is repaired, and neither what the tag names now nor the platform's older content comes in.
    system.kubectl(&["patch", "configmap", "web", "--type=merge", "-p", r#"{"data":{"at":"by hand"}}"#]);
    system.until_map("web", "second");
    let reference: Value = incidents()[0]["reference"].clone();
    assert_eq!(reference, "refs/tags/v1.0.1-web");
    // A person accepts it.
    let id = incidents()[0]["id"].as_str().unwrap().to_owned();
    assert!(system.tk8s(&["accept", &id, "--reason", "it was the wrong commit"]).status.success());
    system.until_map("web", "other");
    assert_eq!(system.map("api"), "first");
}
