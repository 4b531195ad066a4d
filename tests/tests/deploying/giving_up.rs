//! What an apply by itself would keep and ought to give up: items of others in strict components, and fields that were ours
//! in a version that is gone.

use tk8s_diff::Plan;
use tk8s_diff::memory::{Compared, Drift};
use tk8s_diff::ownership::{FieldRules, IgnoreRule, Whose};
use tk8s_tests::cluster::ControlPlane;
use tk8s_tests::pipeline::Pipeline;

use super::{failed, pipeline};

const WEB: &str = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web}\nspec: {replicas: 1, paused: true, selector: {matchLabels: {app: web}}, template: {metadata: {labels: {app: web}}, spec: {containers: [{name: web, image: 'web:1'}]}}}\n";

/// Somebody puts a container beside ours.
fn put_in(plane: &ControlPlane, pipeline: &Pipeline, manager: &str, container: &str) {
    let patch = format!(
        r#"{{"spec":{{"template":{{"spec":{{"containers":[{{"name":"{container}","image":"x:1"}},{{"name":"web","env":[{{"name":"A","value":"{container}"}}]}}]}}}}}}}}"#
    );
    let manager = format!("--field-manager={manager}");
    plane.kubectl(&["-n", &pipeline.name, "patch", "deployment", "web", "--type=strategic", &manager, "-p", &patch]);
}

fn containers(plane: &ControlPlane, pipeline: &Pipeline) -> String {
    let path = "jsonpath={.spec.template.spec.containers[*].name}";
    plane.kubectl(&["-n", &pipeline.name, "get", "deployment", "web", "-o", path])
}

fn strict(pipeline: &Pipeline, managers: &[&str]) {
    let managers = managers.iter().map(|manager| (*manager).to_owned()).collect();
    let ignore = vec![IgnoreRule { managers, ..IgnoreRule::default() }];
    *pipeline.rules.lock().expect("because nobody panics") = FieldRules { strict: true, ignore, ..FieldRules::default() };
}

async fn planned(pipeline: &Pipeline, yaml: &str) -> Plan {
    pipeline.plan(pipeline.turns(yaml).remove(0)).await
}

async fn until_there(pipeline: &Pipeline, container: &str) {
    let key = tk8s_core::ObjectKey {
        group: "apps".into(),
        kind: "Deployment".into(),
        namespace: Some(pipeline.name.clone()),
        name: "web".into(),
    };
    let begun = std::time::Instant::now();
    while !pipeline.live.grave(&key).iter().any(|foreign| foreign.field.contains(container)) {
        assert!(begun.elapsed() < std::time::Duration::from_secs(30), "{:?}", pipeline.live.grave(&key));
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_container_that_somebody_put_in_is_taken_out_where_a_component_is_strict() {
    let (plane, pipeline) = pipeline("strict").await;
    pipeline.settle(WEB).await;
    put_in(plane, &pipeline, "somebody", "spy");
    until_there(&pipeline, "spy").await;
    pipeline.until_compared("Deployment", "web", |compared| *compared == Compared::AsLeft).await;
    assert_eq!(planned(&pipeline, WEB).await.changes().len(), 0, "told, and left where it is");

    strict(&pipeline, &[]);
    let intruded = |compared: &Compared| matches!(compared, Compared::Drifted(Drift::Intruded(_)));
    let Compared::Drifted(drift) = pipeline.until_compared("Deployment", "web", intruded).await else { unreachable!() };
    assert_eq!(drift.to_string(), r#".spec.template.spec.containers[name="spy"] was put in by `somebody`"#);
    let plan = planned(&pipeline, WEB).await;
    let [change] = plan.changes() else { panic!("{:?}", plan.changes()) };
    let takes: Vec<_> = change.overrides.iter().map(|one| (one.field.as_str(), one.manager.as_str(), one.whose)).collect();
    assert_eq!(takes, [(r#".spec.template.spec.containers[name="spy"]"#, "somebody", Whose::Intruder)]);
    assert!(change.diff.lines().any(|line| line.starts_with('-') && line.contains("spy")), "{}", change.diff);
    pipeline.apply(pipeline.begin(plan)).await.expect("applied");
    assert_eq!(containers(plane, &pipeline), "web");
    // What they set inside our own container is not an item of a list of ours, and stays.
    let env = ["-n", "strict", "get", "deployment", "web", "-o", "jsonpath={.spec.template.spec.containers[0].env[0].value}"];
    assert_eq!(plane.kubectl(&env), "spy");
    pipeline.until_compared("Deployment", "web", |compared| *compared == Compared::AsLeft).await;
    assert_eq!(planned(&pipeline, WEB).await.changes().len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_container_of_an_ignored_manager_stays_where_a_component_is_strict() {
    let (plane, pipeline) = pipeline("strict-ignores").await;
    strict(&pipeline, &["mesh"]);
    pipeline.settle(WEB).await;
    put_in(plane, &pipeline, "mesh", "proxy");
    until_there(&pipeline, "proxy").await;
    pipeline.until_compared("Deployment", "web", |compared| *compared == Compared::AsLeft).await;
    assert_eq!(planned(&pipeline, WEB).await.changes().len(), 0);
    put_in(plane, &pipeline, "somebody", "spy");
    let intruded = |compared: &Compared| matches!(compared, Compared::Drifted(Drift::Intruded(_)));
    pipeline.until_compared("Deployment", "web", intruded).await;
    let plan = planned(&pipeline, WEB).await;
    pipeline.apply(pipeline.begin(plan)).await.expect("applied");
    assert_eq!(containers(plane, &pipeline), "proxy web");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_taken_out_is_exactly_what_was_planned() {
    let (plane, pipeline) = pipeline("strict-planned").await;
    strict(&pipeline, &[]);
    pipeline.settle(WEB).await;
    put_in(plane, &pipeline, "somebody", "spy");
    let intruded = |compared: &Compared| matches!(compared, Compared::Drifted(Drift::Intruded(_)));
    pipeline.until_compared("Deployment", "web", intruded).await;
    let ready = pipeline.begin(planned(&pipeline, WEB).await);
    put_in(plane, &pipeline, "another", "more");
    let failed = failed(pipeline.apply(ready).await);
    assert_eq!(tk8s_core::Classified::reason(&failed.error), "Overtaken", "{}", failed.error);
    let mut there: Vec<_> = containers(plane, &pipeline).split(' ').map(String::from).collect();
    there.sort();
    assert_eq!(there, ["more", "spy", "web"], "nothing was sent");
}

/// A CustomResourceDefinition with these versions, of which one is stored.
fn definition(name: &str, versions: &[&str], stored: &str) -> String {
    let version = |version: &&str| {
        format!(
            "{{name: {version}, served: true, storage: {}, schema: {{openAPIV3Schema: {{type: object, x-kubernetes-preserve-unknown-fields: true}}}}}}",
            *version == stored
        )
    };
    let versions: Vec<_> = versions.iter().map(version).collect();
    format!(
        "apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata: {{name: things.{name}.example.com}}\nspec:\n  group: {name}.example.com\n  names: {{kind: Thing, plural: things}}\n  scope: Namespaced\n  versions: [{}]\n",
        versions.join(", ")
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_applied_in_a_version_that_is_gone_is_migrated_and_a_field_given_up_with_it_is_gone() {
    let (plane, pipeline) = pipeline("version-gone").await;
    let crd = "things.version-gone.example.com";
    plane.apply(&definition("version-gone", &["v1", "v2"], "v1"));
    plane.kubectl(&["wait", "--for=condition=Established", &format!("crd/{crd}")]);
    let thing = |version: &str, spec: &str| {
        format!("apiVersion: version-gone.example.com/{version}\nkind: Thing\nmetadata: {{name: t}}\nspec: {spec}\n")
    };
    pipeline.settle(&thing("v1", "{a: '1', b: '1', c: {d: '1', e: '1'}}")).await;
    // The version goes as its authors let it go: stored in the new one, then not served any more.
    plane.apply(&definition("version-gone", &["v1", "v2"], "v2"));
    let annotate = ["-n", "version-gone", "annotate", "--overwrite", crd, "t"];
    plane.kubectl(&[annotate.as_slice(), &["stored=again"]].concat());
    std::thread::sleep(std::time::Duration::from_secs(1));
    plane.kubectl(&[annotate.as_slice(), &["stored=anew"]].concat());
    let stored = r#"{"status":{"storedVersions":["v2"]}}"#;
    plane.kubectl(&["patch", "crd", crd, "--subresource=status", "--type=merge", "-p", stored]);
    plane.apply(&definition("version-gone", &["v2"], "v2"));
    let begun = std::time::Instant::now();
    while plane.kubectl_with(&["-n", "version-gone", "get", "--raw", "/apis/version-gone.example.com/v1"], "").is_ok() {
        assert!(begun.elapsed() < std::time::Duration::from_secs(30), "v1 is still served");
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    pipeline.cluster.forget("version-gone.example.com");

    let next = thing("v2", "{a: '2', c: {d: '1'}}");
    let plan = planned(&pipeline, &next).await;
    let [change] = plan.changes() else { panic!("{plan:?}") };
    assert_eq!(change.migrates, ["version-gone.example.com/v1"]);
    assert!(change.diff.lines().any(|line| line.starts_with('-') && line.contains("b:")), "{}", change.diff);
    pipeline.apply(pipeline.begin(plan)).await.expect("applied");
    let get = |path: &str| plane.kubectl(&["-n", "version-gone", "get", crd, "t", "-o", &format!("jsonpath={{{path}}}")]);
    assert_eq!(get(".spec"), r#"{"a":"2","c":{"d":"1"}}"#);
    let ours = r#".metadata.managedFields[?(@.manager=="tk8s-agent")].apiVersion"#;
    let ours = ["-n", "version-gone", "get", crd, "t", "--show-managed-fields", "-o", &format!("jsonpath={{{ours}}}")];
    assert_eq!(plane.kubectl(&ours), "version-gone.example.com/v2");
    pipeline.until_compared("Thing", "t", |compared| *compared == Compared::AsLeft).await;
    assert_eq!(planned(&pipeline, &next).await.changes().len(), 0);
}
