//! Live objects from elsewhere, judged: the states that users of another project are used to, and where ours differ.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;
use tk8s_deploy::health::judge;

/// What is judged differently here, and why.
const DIFFERENT: &[(&str, &str)] = &[
    // A suspended CronJob rests: there is a word for it.
    ("CronJob/testdata/suspended.yaml", "Suspended"),
    // How last night's run ended says nothing about the release that brings the CronJob; the Job itself is degraded.
    ("CronJob/testdata/degraded.yaml", "Healthy"),
    // No rule and no condition: it is there. Nobody can know whether a controller will ever write one.
    ("Certificate/testdata/progressing_noStatus.yaml", "Healthy"),
    ("Issuer/testdata/progressing_noStatus.yaml", "Healthy"),
    ("ExternalSecret/testdata/progressing.yaml", "Healthy"),
];

fn vectors() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/health")
}

fn read(path: &Path) -> Value {
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
fn custom_kinds_are_judged_by_their_conditions() {
    let mut wrong = Vec::new();
    let mut judged = 0;
    for table in find_tables(&vectors().join("custom")) {
        let directory = table.parent().unwrap();
        for test in read(&table)["tests"].as_array().unwrap() {
            let path = directory.join(test["inputPath"].as_str().unwrap());
            let theirs = test["healthStatus"]["status"].as_str().unwrap();
            let ours = DIFFERENT.iter().find(|(file, _)| path.ends_with(file)).map(|(_, state)| *state);
            assert_ne!(ours, Some(theirs), "{}: no difference, take it out of the list", path.display());
            judged += 1;
            wrong.extend(check(&path, ours.unwrap_or(theirs)));
        }
    }
    assert_eq!(judged, 32);
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
