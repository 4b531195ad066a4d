//! Live objects, judged by what is built in: those of another project, whose users are used to its states, and those of
//! each project that there are rules for.

#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::Value;
use tk8s_deploy::health::judge;

fn vectors() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/health")
}

fn read<T: serde::de::DeserializeOwned>(path: &Path) -> T {
    let text = fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_yaml::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn check(path: &Path, expected: &str) -> Option<String> {
    let found = judge(&read(path));
    (found.state.to_string() != expected).then(|| format!("{}: {expected} is expected, found {found:?}", path.display()))
}

#[test]
fn built_in_kinds_are_judged_as_the_table_says() {
    let directory = vectors().join("builtin");
    let table = fs::read_to_string(directory.join("EXPECTED.txt")).unwrap();
    let rows: Vec<_> = table.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.split_once(' ')).collect();
    assert_eq!(rows.len(), 23);
    let wrong: Vec<_> = rows.iter().filter_map(|(file, expected)| check(&directory.join(file), expected.trim())).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn kinds_of_other_projects_are_judged_as_their_tables_say() {
    let mut wrong = Vec::new();
    let mut judged = 0;
    for table in find_tables(&vectors().join("custom")) {
        let directory = table.parent().unwrap();
        for test in read::<Value>(&table)["tests"].as_array().unwrap() {
            let path = directory.join(test["inputPath"].as_str().unwrap());
            judged += 1;
            wrong.extend(check(&path, test["healthStatus"]["status"].as_str().unwrap()));
        }
    }
    assert_eq!(judged, 75);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn find_tables(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        match path.file_name().and_then(|name| name.to_str()) {
            Some("health_test.yaml") => found.push(path),
            _ if path.is_dir() => found.extend(find_tables(&path)),
            _ => {}
        }
    }
    found
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    case: String,
    expect: String,
    reason: Option<String>,
    /// What the message holds.
    message: Option<String>,
    object: Value,
}

#[test]
fn each_project_has_healthy_progressing_and_degraded_objects_that_are_judged_so() {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/rules");
    let rules = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/health/rules/builtin");
    let names = |directory: &Path| -> BTreeSet<String> {
        let entries = fs::read_dir(directory).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).filter(|name| name.ends_with(".yaml")).collect()
    };
    assert_eq!(names(&tests), names(&rules), "each file of rules has its cases");
    let mut wrong = Vec::new();
    for name in names(&tests) {
        let mut seen = BTreeMap::new();
        for Case { case, expect, reason, message, object } in read::<Vec<Case>>(&tests.join(&name)) {
            let health = judge(&object);
            let is_so = health.state.to_string() == expect
                && reason.is_none_or(|reason| health.reason == reason)
                && message.is_none_or(|message| health.message.contains(&message))
                && (expect == "Healthy" || !health.reason.is_empty() && !health.message.is_empty());
            if !is_so {
                wrong.push(format!("{name}: {case}: {expect} is expected, found {health:?}"));
            }
            *seen.entry(expect).or_insert(0) += 1;
        }
        for state in ["Healthy", "Progressing", "Degraded"] {
            if !seen.contains_key(state) {
                wrong.push(format!("{name} has no object that is {state}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
