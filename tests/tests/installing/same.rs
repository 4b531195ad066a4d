//! What stands in two places, and is the same in both.

use super::*;

/// The same object, without what only one of the two ways of installing has a use for, and with the agent's file as what it
/// says.
fn without_its_way(mut object: Value) -> Value {
    for place in ["/metadata", "/spec/template/metadata"] {
        let Some(metadata) = object.pointer_mut(place).and_then(Value::as_object_mut) else { continue };
        for (kind, names) in [
            ("labels", &["helm.sh/chart", "app.kubernetes.io/managed-by", "app.kubernetes.io/version"][..]),
            ("annotations", &["helm.sh/resource-policy", "agent.tk8s.io/restarts-with"]),
        ] {
            let Some(of_kind) = metadata.get_mut(kind).and_then(Value::as_object_mut) else { continue };
            names.iter().for_each(|name| drop(of_kind.remove(*name)));
            if of_kind.is_empty() {
                metadata.remove(kind);
            }
        }
    }
    for text in object.get_mut("data").and_then(Value::as_object_mut).into_iter().flat_map(|data| data.values_mut()) {
        *text = serde_yaml::from_str(text.as_str().unwrap()).unwrap();
    }
    object
}

pub(crate) fn compare(kustomized: Vec<Value>, charted: Vec<Value>) {
    let normal = |objects: Vec<Value>| by_key(objects.into_iter().map(without_its_way).collect());
    let (mut kustomized, charted) = (normal(kustomized), normal(charted));
    // Helm makes namespaces itself, and never looks after them.
    let namespace = kustomized.remove("Namespace /tk8s-system").expect("the base has its namespace");
    assert_eq!(namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"], "restricted");
    assert_eq!(kustomized.keys().collect::<Vec<_>>(), charted.keys().collect::<Vec<_>>());
    for (key, object) in &kustomized {
        let show = |object: &Value| serde_yaml::to_string(object).unwrap();
        assert_eq!(object, &charted[key], "{key}:\n{}\n{}", show(object), show(&charted[key]));
    }
}

#[test]
fn the_base_and_the_chart_are_the_same_installation() {
    let tools = Tools::new();
    compare(tools.kustomize(&part("install/example")), tools.objects(&example()));
}

#[test]
fn the_rights_of_an_overlay_are_what_the_chart_makes_of_values() {
    let parts = ["rbac-managed", "rbac-accounts"].map(|part| format!("templates/{part}.yaml"));
    let shown = Tools::new().template(&example(), &["--show-only", &parts[0], "--show-only", &parts[1]]).unwrap();
    let shown = by_key(objects(&shown).into_iter().map(without_its_way).collect());
    let rights = objects(&std::fs::read_to_string(part("install/example/rights.yaml")).unwrap());
    // The overlay says the namespace for all of them.
    let placed = rights.into_iter().map(|mut object| {
        if ["Role", "RoleBinding", "ServiceAccount"].contains(&object["kind"].as_str().unwrap()) {
            object["metadata"]["namespace"] = "tk8s-system".into();
        }
        object
    });
    assert_eq!(by_key(placed.collect()), shown);
}

#[test]
fn they_are_the_same_with_monitoring_too() {
    let tools = Tools::new();
    let copied = Command::new("cp").arg("-r").arg(part("install")).arg(tools.0.path()).status().unwrap();
    assert!(copied.success());
    let overlay = "resources: [../example]\ncomponents: [../monitoring]\n";
    let overlay = tools.file("install/with-monitoring/kustomization.yaml", overlay);
    compare(tools.kustomize(overlay.parent().unwrap()), tools.objects(&with(&example(), "serviceMonitor: {enabled: true}")));
}

#[test]
fn the_definition_is_the_one_that_the_agent_brings_along() {
    let brought = std::fs::read_to_string(part("agent/crds/components.yaml")).unwrap();
    is_written_down(&part("install/base/components.yaml"), &brought);
    is_written_down(&part("install/chart/files/components.yaml"), &brought);
    let objects = Tools::new().objects(LEAST);
    let spec = &of_kind(&objects, "CustomResourceDefinition")["spec"];
    assert_eq!(spec, &serde_yaml::from_str::<Value>(&brought).unwrap()["spec"]);
}

#[test]
fn the_chart_has_the_version_of_the_agent() {
    let text = std::fs::read_to_string(part("install/chart/Chart.yaml")).unwrap();
    let chart: Value = serde_yaml::from_str(&text).unwrap();
    assert_eq!((&chart["version"], &chart["appVersion"]), (&env!("CARGO_PKG_VERSION").into(), &env!("CARGO_PKG_VERSION").into()));
}
