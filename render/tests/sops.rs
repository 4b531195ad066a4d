//! Encrypted files through every way of rendering, with the upstream programs; the files are the upstream program's too.

#![allow(clippy::unwrap_used)]

mod support;

use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use support::{Repository, component, programs, renderers};
use tk8s_core::SECRET_FIELDS_ANNOTATION;
use tk8s_render::{AgeKeys, Component, HelmOptions, Options, Renderers, input};

fn place(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/sops").join(path)
}

fn encrypted(name: &str) -> String {
    std::fs::read_to_string(place("encrypted").join(name)).unwrap()
}

fn keys() -> AgeKeys {
    AgeKeys::load([&place("age-key.txt")])
}

fn with_keys() -> Renderers {
    renderers().with_keys(keys())
}

/// Renderers whose programs are the stand-in, which tells what it sees.
fn that_tell() -> Renderers {
    let stand_in = PathBuf::from(env!("CARGO_BIN_EXE_tk8s-stand-in"));
    let options = Options {
        binary: stand_in.clone(),
        kustomize: Some(stand_in.clone()),
        helm: Some(stand_in),
        directories: vec![programs()],
        ..Options::default()
    };
    Renderers::new(options).with_keys(keys())
}

/// A repository with fixtures at paths, and other files.
fn repository(fixtures: &[(&str, &str)], files: &[(&str, &str)]) -> Repository {
    let repository = Repository::new(files);
    for (path, name) in fixtures {
        let target = repository.path().join(path);
        std::fs::create_dir_all(target.parent().unwrap()).unwrap();
        std::fs::copy(place(name), target).unwrap();
    }
    repository
}

fn named<'a>(objects: &'a [Value], name: &str) -> &'a Value {
    objects.iter().find(|object| object["metadata"]["name"].as_str().unwrap().starts_with(name)).unwrap()
}

fn fields(object: &Value) -> &str {
    object["metadata"]["annotations"][SECRET_FIELDS_ANNOTATION].as_str().unwrap_or("none")
}

fn data(object: &Value, key: &str) -> String {
    let packed: String = object["data"][key].as_str().unwrap().split_whitespace().collect();
    String::from_utf8(STANDARD.decode(packed).unwrap()).unwrap()
}

#[test]
fn plain_manifests_are_decrypted_and_say_what_is_secret() {
    let fixtures = [
        ("a/types.yaml", "encrypted/types.yaml"),
        ("a/secret.yaml", "encrypted/secret.yaml"),
        ("a/list.yaml", "encrypted/list.yaml"),
        ("a/object.json", "encrypted/object.json"),
    ];
    let repository = repository(&fixtures, &[]);
    let (objects, _) = repository.look_with(&component("a"), &with_keys()).unwrap();
    assert_eq!(objects.len(), 5);
    let database = named(&objects, "database");
    assert_eq!((data(database, "password").as_str(), fields(database)), ("hunter2-hunter2", "none"));
    let types = named(&objects, "types");
    assert_eq!((&types["spec"]["integer"], &types["data"]["open_unencrypted"]), (&8080.into(), &"not a secret".into()));
    let told: Vec<String> = serde_json::from_str(fields(types)).unwrap();
    assert!(told.contains(&"/data/text".into()) && told.contains(&"/spec/list/*".into()), "{told:?}");
    assert!(!told.iter().any(|field| field.contains("open_unencrypted") || field == "/metadata/name"), "{told:?}");
    assert_eq!(fields(named(&objects, "a")), r#"["/data/k"]"#);
    assert!(types.get("sops").is_none());
}

#[test]
fn without_a_key_nothing_is_rendered_and_with_it_the_same_files_are_rendered_again() {
    let repository = repository(&[("a/secret.yaml", "encrypted/secret.yaml")], &[]);
    let refused = repository.refusal(&component("a"));
    assert!(refused.starts_with("a/secret.yaml:") && refused.contains("it is encrypted for age1"), "{refused}");
    let tree = repository.commit();
    let of = |renderers: &Renderers| input(&*tree, &component("a"), renderers).unwrap().unwrap();
    assert_ne!(of(&renderers()), of(&with_keys()));
    assert_eq!(of(&with_keys()), of(&with_keys()));
    let missing = renderers().with_keys(AgeKeys::load([&PathBuf::from("/nowhere")]));
    assert_ne!(of(&renderers()), of(&missing));
}

#[test]
fn what_is_encrypted_and_has_no_metadata_is_never_an_object() {
    let text = encrypted("secret.yaml");
    let without = text.split("sops:").next().unwrap();
    let kustomization = "resources: [x.yaml]\n";
    let chart = "apiVersion: v2\nname: c\nversion: 1.0.0\n";
    let files = [
        ("a/x.yaml", without),
        ("b/x.yaml", without),
        ("b/kustomization.yaml", kustomization),
        ("c/Chart.yaml", chart),
        ("c/templates/x.yaml", without),
        ("d/kustomization.yaml", "secretGenerator: [{name: s, files: [x.yaml]}]\n"),
        ("d/x.yaml", without),
    ];
    let repository = repository(&[], &files);
    for name in ["a", "b", "c", "d"] {
        let error = repository.look_with(&component(name), &with_keys()).unwrap_err().to_string();
        assert!(error.contains("without the metadata"), "{name}: {error}");
    }
}

const OVERLAY: &str = "resources: [secret.yaml, several-data.yaml]
patches: [{path: patch.yaml}]
generatorOptions: {disableNameSuffixHash: true}
secretGenerator:
- {name: files, files: [token.txt, renamed=bytes.bin, config.yaml]}
- {name: lines, envs: [variables.env]}
- {name: text, envs: [lines.txt]}
configMapGenerator:
- {name: map, envs: [variables.env], files: [more=token.txt]}
";

const SOURCES: [&str; 7] =
    ["secret.yaml", "several-data.yaml", "token.txt", "bytes.bin", "variables.env", "lines.txt", "values.yaml"];

fn overlay(from: &str, kustomization: &str) -> Repository {
    let name = |file: &str| if file == "values.yaml" { "k/config.yaml".to_owned() } else { format!("k/{file}") };
    let fixtures: Vec<(String, String)> = SOURCES.iter().map(|file| (name(file), format!("{from}/{file}"))).collect();
    let fixtures: Vec<(&str, &str)> = fixtures.iter().map(|(path, file)| (path.as_str(), file.as_str())).collect();
    let patch = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: first, namespace: shop}\ndata: {more: patched}\n";
    repository(&fixtures, &[("k/kustomization.yaml", kustomization), ("k/patch.yaml", patch)])
}

#[test]
fn a_kustomization_of_encrypted_files_gives_what_it_gives_of_their_clear_text() {
    let (mut objects, _) = overlay("encrypted", OVERLAY).look_with(&component("k"), &with_keys()).unwrap();
    let (mut clear, _) = overlay("decrypted", OVERLAY).look(&component("k")).unwrap();
    let noted: Vec<(String, String)> =
        objects.iter().map(|object| (object["metadata"]["name"].as_str().unwrap().into(), fields(object).into())).collect();
    for object in objects.iter_mut().chain(&mut clear) {
        object["metadata"].as_object_mut().unwrap().remove("annotations");
        // The generator writes it in lines; a whole file of YAML is written anew.
        for value in object["data"].as_object_mut().unwrap().values_mut() {
            *value =
                value.as_str().unwrap().split_inclusive('\n').map(|line| line.trim_end_matches('\n')).collect::<String>().into();
        }
        object["data"].as_object_mut().unwrap().remove("config.yaml");
    }
    assert_eq!(objects, clear);
    let told = |name: &str| noted.iter().find(|(known, _)| known == name).unwrap().1.clone();
    assert_eq!(told("first"), r#"["/data/k"]"#);
    assert_eq!(told("map"), r#"["/data/LINES","/data/PASSWORD","/data/USER","/data/more"]"#);
    assert_eq!(told("database"), "none");
}

#[test]
fn no_clear_text_is_on_disk_or_in_arguments_or_environment_of_a_program() {
    let see = |objects: &[Value], key: &str| {
        String::from_utf8(hex::decode(objects[0]["data"][key].as_str().unwrap()).unwrap())
            .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
    };
    let (objects, _) = overlay("encrypted", OVERLAY).look_with(&component("k"), &that_tell()).unwrap();
    assert!(see(&objects, "files").contains("tk8sSealed") && see(&objects, "files").contains("PASSWORD=tk8sSealed"));
    let chart = chart(&["encrypted/values.yaml"], "kind: ConfigMap\n");
    let (of_chart, _) = chart.look_with(&helm(&["one.yaml"]), &that_tell()).unwrap();
    assert!(of_chart[0]["data"]["input"].as_str().unwrap().parse::<usize>().unwrap() > 40);
    for objects in [objects, of_chart] {
        for key in ["files", "arguments", "environment"] {
            let seen = see(&objects, key);
            assert!(seen.len() > 10 && !seen.contains("hunter") && !seen.contains("shopkeeper"), "{key}");
            assert!(!seen.contains(&STANDARD.encode("hunter2")[..8]));
        }
    }
}

#[test]
fn names_that_follow_a_content_follow_the_decrypted_value() {
    let hashed = OVERLAY.replace("generatorOptions: {disableNameSuffixHash: true}\n", "");
    let names = |repository: &Repository| -> Vec<String> {
        let (objects, _) = repository.look_with(&component("k"), &with_keys()).unwrap();
        objects.iter().map(|object| object["metadata"]["name"].as_str().unwrap().to_owned()).collect()
    };
    let repository = overlay("encrypted", &hashed);
    let first = names(&repository);
    assert_eq!(first, names(&repository));
    assert!(first.iter().any(|name| name.starts_with("lines-") && name.len() == "lines-".len() + 10), "{first:?}");
    std::fs::copy(place("encrypted/lines.txt"), repository.path().join("k/token.txt")).unwrap();
    let second = names(&repository);
    let changed: Vec<_> = first.iter().zip(&second).filter(|(a, b)| a != b).map(|(a, _)| a.split('-').next().unwrap()).collect();
    assert_eq!(changed, ["map", "files"]);
}

#[test]
fn what_kustomize_would_have_to_read_is_refused_and_what_it_cuts_too() {
    for (fixtures, kustomization, word) in [
        (
            vec![("k/x.yaml", "encrypted/types.yaml")],
            "resources: [x.yaml]\n",
            "`/apiVersion` is encrypted, and kustomize has to read it",
        ),
        (
            vec![("k/x.yaml", "encrypted/secret.yaml")],
            "resources: [x.yaml]\nsecretGenerator: [{name: s, files: [x.yaml]}]\n",
            "uses it in two ways",
        ),
        (vec![("k/kustomization.yaml", "encrypted/values.yaml")], "", "a kustomization can't be encrypted"),
        (
            vec![("k/x.txt", "encrypted/values.yaml")],
            "secretGenerator: [{name: s, files: [x.txt]}]\n",
            "by its name it is a binary file",
        ),
        (vec![("k/x", "encrypted/bytes.bin")], "configMapGenerator: [{name: s, files: [x]}]\n", "bytes that are no text"),
        (
            vec![("k/x.ini", "encrypted/token.txt")],
            "configMapGenerator: [{name: s, files: [x.ini]}]\n",
            "INI files are not supported",
        ),
        (vec![("k/x", "encrypted/bytes.bin")], "configMapGenerator: [{name: s, envs: [x]}]\n", "is no text"),
    ] {
        let files: &[(&str, &str)] = &[("k/kustomization.yaml", kustomization)];
        let repository = repository(&fixtures, if kustomization.is_empty() { &[] } else { files });
        let error = repository.look_with(&component("k"), &with_keys()).unwrap_err().to_string();
        assert!(error.contains(word) && !error.contains("hunter"), "{error}");
    }
    // A replacement that takes a part of a value.
    let cut = "resources: [several-data.yaml, t.yaml]\nreplacements:\n- source: {kind: ConfigMap, name: first, fieldPath: data.k, options: {delimiter: d, index: 0}}\n  targets: [{select: {name: t}, fieldPaths: [data.k]}]\n";
    let target = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: t}\ndata: {k: x}\n";
    let files = [("k/kustomization.yaml", cut), ("k/t.yaml", target)];
    let repository = repository(&[("k/several-data.yaml", "encrypted/several-data.yaml")], &files);
    let error = repository.look_with(&component("k"), &with_keys()).unwrap_err().to_string();
    assert!(error.contains("k/kustomization.yaml: delimiter `d`: beside encrypted files"), "{error}");
    // At others a value is never cut.
    repository.write("k/kustomization.yaml", &cut.replace("delimiter: d", "delimiter: \"-\""));
    let (objects, _) = repository.look_with(&component("k"), &with_keys()).unwrap();
    assert_eq!((&named(&objects, "t")["data"]["k"], fields(named(&objects, "t"))), (&"hunter2".into(), r#"["/data/k"]"#));
}

fn chart(values: &[&str], template: &str) -> Repository {
    let fixtures: Vec<(String, &str)> =
        values.iter().zip(["c/one.yaml", "values/two.yaml"]).map(|(file, path)| (path.to_owned(), *file)).collect();
    let fixtures: Vec<(&str, &str)> = fixtures.iter().map(|(path, file)| (path.as_str(), *file)).collect();
    repository(
        &fixtures,
        &[
            ("c/Chart.yaml", "apiVersion: v2\nname: c\nversion: 1.0.0\n"),
            ("c/values.yaml", "password: default\nplain: default\nnested: {replicas: 1, token: default, other: kept}\n"),
            ("c/first.yaml", "password: first\nplain: first\nnested: {more: first}\n"),
            ("c/last.yaml", "nested: {replicas: 9}\n"),
            ("c/templates/x.yaml", template),
        ],
    )
}

fn helm(files: &[&str]) -> Component {
    let options = HelmOptions { values_files: files.iter().map(ToString::to_string).collect(), ..HelmOptions::default() };
    Component { helm: Some(options), ..component("c") }
}

const TEMPLATE: &str = "apiVersion: example.com/v1
kind: Thing
metadata: {name: thing}
spec:
  password: {{ .Values.password }}
  url: db://app:{{ .Values.password }}@db
  packed: {{ printf \"{%s}\" .Values.nested.token | b64enc }}
  plain: {{ .Values.plain }}
  other: {{ .Values.nested.other }}
  more: {{ .Values.nested.more }}
  replicas: {{ .Values.nested.replicas }}
";

#[test]
fn encrypted_values_go_to_helm_in_their_place_and_are_found_in_what_it_makes() {
    let repository = chart(&["encrypted/values.yaml"], TEMPLATE);
    for (files, plain, replicas) in [
        (vec!["first.yaml", "one.yaml", "last.yaml"], "first", 9),
        (vec!["last.yaml", "one.yaml", "first.yaml"], "first", 3),
        (vec!["one.yaml"], "default", 3),
    ] {
        let (objects, _) = repository.look_with(&helm(&files), &with_keys()).unwrap();
        let spec = &objects[0]["spec"];
        let password = if files.last() == Some(&"first.yaml") { "first" } else { "hunter2-values" };
        assert_eq!((&spec["password"], &spec["plain"]), (&password.into(), &plain.into()), "{files:?}");
        assert_eq!((&spec["replicas"], &spec["other"]), (&replicas.into(), &"kept".into()), "{files:?}");
        if password == "hunter2-values" {
            assert_eq!(fields(&objects[0]), r#"["/spec/packed","/spec/password","/spec/url"]"#);
        }
    }
}

#[test]
fn several_encrypted_files_are_merged_as_helm_merges_their_clear_text() {
    let files = helm(&["first.yaml", "one.yaml", "last.yaml", "../values/two.yaml"]);
    let (objects, _) =
        chart(&["encrypted/values.yaml", "encrypted/values.yaml"], TEMPLATE).look_with(&files, &with_keys()).unwrap();
    let (clear, _) = chart(&["decrypted/values.yaml", "decrypted/values.yaml"], TEMPLATE).look(&files).unwrap();
    assert_eq!(objects[0]["spec"], clear[0]["spec"]);
}

#[test]
fn what_helm_says_of_decrypted_values_is_not_told() {
    for template in ["x: {{ fail (printf \"it is %s\" .Values.password) }}\n", "x: {{ .Values.password.nothing.at.all }}\n"] {
        let error =
            chart(&["encrypted/values.yaml"], template).look_with(&helm(&["one.yaml"]), &with_keys()).unwrap_err().to_string();
        assert!(error.contains("c/templates/x.yaml:1") && error.contains("is not shown") && !error.contains("hunter"), "{error}");
    }
    let error = chart(&["encrypted/values.yaml"], TEMPLATE).look(&helm(&["one.yaml"])).unwrap_err().to_string();
    assert!(error.starts_with("c/one.yaml:") && error.contains("there is no age key"), "{error}");
}
