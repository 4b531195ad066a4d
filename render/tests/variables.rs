//! `${NAME}` in the objects of plain manifests, kustomizations and charts, and what a changed variable renders again.

#![allow(clippy::unwrap_used)]

mod support;

use std::collections::BTreeMap;

use serde_json::{Value, json};
use support::{Repository, component, renderers};
use tk8s_core::SECRET_FIELDS_ANNOTATION;
use tk8s_render::{Component, Renderers, VariableSource, Variables, input};

const MAP: &str = "# one\n---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: \"web-${ENVIRONMENT}\", namespace: \"${ENVIRONMENT}\"}\ndata: {url: \"https://${HOST}/\", password: \"${PASSWORD}\", text: \"$${HOST}\"}\nspec: {replicas: \"${REPLICAS}\", flag: \"${ON}\"}\n";

fn with(values: &[(&str, Value)], password: &str) -> Renderers {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("password");
    std::fs::write(&file, password).unwrap();
    let mut sources: BTreeMap<String, VariableSource> =
        values.iter().map(|(name, value)| (name.to_string(), VariableSource::Value(value.clone()))).collect();
    sources.insert("PASSWORD".into(), VariableSource::File(file));
    renderers().with_variables(Variables::load(&sources, &[3; 32]))
}

fn usual() -> Renderers {
    with(
        &[("ENVIRONMENT", json!("production")), ("HOST", json!("example.com")), ("REPLICAS", json!(3)), ("ON", json!(true))],
        "hunter2\n",
    )
}

fn substituting(path: &str) -> Component {
    Component { substitute: true, ..component(path) }
}

#[test]
fn every_kind_of_component_substitutes_after_it_was_rendered() {
    let repository = Repository::new(&[
        ("plain/map.yaml", MAP),
        ("k/kustomization.yaml", "resources: [map.yaml]\n"),
        ("k/map.yaml", MAP),
        ("c/Chart.yaml", "apiVersion: v2\nname: c\nversion: 1.0.0\n"),
        ("c/templates/map.yaml", MAP),
    ]);
    for name in ["plain", "k", "c"] {
        let (objects, _) = repository.look_with(&substituting(name), &usual()).unwrap();
        let object = &objects[0];
        assert_eq!(
            (&object["metadata"]["name"], &object["metadata"]["namespace"]),
            (&json!("web-production"), &json!("production"))
        );
        assert_eq!(object["data"], json!({"url": "https://example.com/", "password": "hunter2", "text": "${HOST}"}));
        assert_eq!(object["spec"], json!({"replicas": 3, "flag": true}));
        assert_eq!(object["metadata"]["annotations"][SECRET_FIELDS_ANNOTATION], r#"["/data/password"]"#);
    }
}

#[test]
fn it_is_off_unless_the_component_says_so() {
    let text = MAP.replace("web-${ENVIRONMENT}", "web").replace("namespace: \"${ENVIRONMENT}\"", "namespace: shop");
    let repository = Repository::new(&[("plain/map.yaml", &text)]);
    let (objects, _) = repository.look_with(&component("plain"), &usual()).unwrap();
    assert_eq!(objects[0]["data"]["url"], "https://${HOST}/");
}

#[test]
fn what_can_not_be_replaced_is_named_with_file_line_object_and_place() {
    for (variable, word) in [
        ("${UNKNOWN}", "no variable is called `UNKNOWN`, there are `ENVIRONMENT`"),
        ("${HOST:-x}", "shell forms"),
        ("${HOST", "is not closed"),
    ] {
        let repository = Repository::new(&[("plain/map.yaml", &MAP.replace("$${HOST}", variable))]);
        let error = repository.look_with(&substituting("plain"), &usual()).unwrap_err().to_string();
        assert!(
            error.starts_with("plain/map.yaml:2: ConfigMap web-") && error.contains("`/data/text`") && error.contains(word),
            "{error}"
        );
    }
    let repository = Repository::new(&[("plain/map.yaml", &MAP.replace("web-${ENVIRONMENT}", "web-${PASSWORD}"))]);
    let error = repository.look_with(&substituting("plain"), &usual()).unwrap_err().to_string();
    assert!(error.contains("a secret can't be a part") && !error.contains("hunter2"), "{error}");
}

#[test]
fn a_changed_variable_renders_again_what_substitutes_and_nothing_else() {
    let repository = Repository::new(&[("plain/map.yaml", MAP)]);
    let tree = repository.commit();
    let of = |component: &Component, renderers: &Renderers| input(&*tree, component, renderers).unwrap().unwrap();
    let (plain, substituting) = (component("plain"), substituting("plain"));
    let others = [
        with(&[("HOST", json!("other"))], "x"),
        with(&[("HOST", json!("example.com"))], "x"),
        with(&[("HOST", json!("example.com"))], "y"),
        with(&[("HOST", json!(1))], "y"),
        with(&[("HOST", json!("1"))], "y"),
    ];
    let mut seen: Vec<_> = others.iter().map(|renderers| of(&substituting, renderers).hex()).collect();
    assert_eq!(of(&substituting, &others[0]).hex(), seen[0]);
    seen.sort();
    seen.dedup();
    assert_eq!(seen.len(), others.len());
    assert!(others.iter().all(|renderers| of(&plain, renderers) == of(&plain, &others[0])));
    assert_ne!(of(&plain, &others[0]), of(&substituting, &others[0]));
}
