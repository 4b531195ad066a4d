//! Encrypted files through the whole agent, on a real cluster, and on a working tree without one: what was decrypted is applied,
//! and shown by nobody.

#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;
use tk8s_tests::program;
use tk8s_tests::system::System;

const PLATFORM: &str = "apiVersion: tk8s.io/v1alpha1
kind: Platform
layers:
  - number: 0
    name: all
    namespace: shop
    components:
      - {name: sealed, path: sealed}
      - {name: open, path: open, substitute: true}
";

const OPEN: &str = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: open}\ndata: {at: \"${AT}\", password: \"${PASSWORD}\"}\n";
const PUBLIC: &str = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: first}\ndata: {k: public}\n";

fn fixture(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../render/tests/sops").join(path)
}

fn encrypted(name: &str) -> String {
    std::fs::read_to_string(fixture("encrypted").join(name)).unwrap()
}

fn says_nothing(what: &str, text: &str) {
    for secret in ["hunter", "aHVudGVy", "h1unter"] {
        assert!(!text.contains(secret), "{what} tells a secret: {text}");
    }
}

/// Every file below a directory, as far as it is text.
fn files(directory: &Path) -> String {
    let mut text = String::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => text.push_str(&files(&path)),
            false => text.push_str(&String::from_utf8_lossy(&std::fs::read(&path).unwrap_or_default())),
        }
    }
    text
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_decrypted_is_applied_and_shown_by_nobody() {
    let mut system = System::new("shop").await;
    let password = system.file("password");
    std::fs::write(&password, "hunter9").unwrap();
    let more = |keys: &str| {
        format!("sops: {{ageKeyFiles: [{keys}]}}\nvariables: {{AT: first, PASSWORD: {{file: {}}}}}", password.display())
    };
    system.more = more("");
    system.write("tk8s.yaml", PLATFORM);
    system.write("sealed/several.yaml", &encrypted("several.yaml"));
    system.write("open/map.yaml", OPEN);
    system.commit("encrypted");
    system.start();
    system.until_says("sealed", "Failed", "it is encrypted for age1");
    // The key comes, and nothing else changes.
    system.more = more(&fixture("age-key.txt").display().to_string());
    let text = system.configuration();
    system.configure(&text);
    system.until_all("Healthy");
    let get = |name: &str, path: &str| system.kubectl(&["get", "configmap", name, "-o", &format!("jsonpath={{{path}}}")]);
    assert_eq!((get("first", ".data.k"), get("second", ".data.k")), ("hunter2".into(), "hunter3".into()));
    assert_eq!((get("open", ".data.at"), get("open", ".data.password")), ("first".into(), "hunter9".into()));
    let noted = get("first", ".metadata.annotations.agent\\.tk8s\\.io/secret-fields");
    assert_eq!(noted, "[\"/data/k\"]");
    // A changed secret variable, by its file alone.
    std::fs::write(&password, "hunter10").unwrap();
    system.until("the new password", || get("open", ".data.password") == "hunter10");
    // Drift of a secret field is repaired.
    system.kubectl(&["patch", "configmap", "first", "--type=merge", "-p", "{\"data\":{\"k\":\"h1unter\"}}"]);
    system.until("repaired", || get("first", ".data.k") == "hunter2");
    // A diff of a working tree that is open now, against what was secret.
    let tree = tempfile::tempdir().unwrap();
    std::fs::write(tree.path().join("first.yaml"), PUBLIC.replace("name: first", "name: first, namespace: shop")).unwrap();
    let diff = Command::new(program("tk8s-agent"))
        .args(["diff", "--kubeconfig"])
        .arg(system.file("kubeconfig"))
        .arg(tree.path())
        .output()
        .unwrap();
    let diff = String::from_utf8(diff.stdout).unwrap();
    assert!(diff.contains("-  k: (masked)\n+  k: (masked, changed)") && !diff.contains("public"), "{diff}");
    says_nothing("the diff", &diff);
    // Open in Git, and back again without it.
    system.write("sealed/several.yaml", PUBLIC);
    system.commit("in the open");
    system.until("public", || get("first", ".data.k") == "public");
    system.until_all("Healthy");
    let rolled = system.tk8s(&["rollback", "sealed"]);
    assert!(rolled.status.success(), "{}", String::from_utf8_lossy(&rolled.stderr));
    assert_eq!(get("first", ".data.k"), "hunter2");
    says_nothing("the rollback", &String::from_utf8_lossy(&rolled.stdout));
    let bearer = format!("Bearer {}", std::fs::read_to_string(system.file("token")).unwrap().trim());
    for path in ["/api/v1/status", "/api/v1/components/sealed", "/api/v1/components/sealed/history", "/api/v1/components/open"] {
        let (status, body) = system.http("api", &format!("GET {path}"), &[("Authorization", &bearer)], "").await;
        assert_eq!(status, 200, "{path}: {body}");
        says_nothing(path, &body);
    }
    says_nothing("the status", &system.status().to_string());
    says_nothing("history", &String::from_utf8_lossy(&system.tk8s(&["history", "sealed"]).stdout));
    says_nothing("the log", &system.log());
    says_nothing("the history's files", &files(&system.file("history")));
}

fn tk8s(directory: &Path, words: &[&str]) -> Output {
    Command::new(program("tk8s-agent")).args(words).arg(directory).env_remove("SOPS_AGE_KEY_FILE").output().unwrap()
}

#[test]
fn a_working_tree_is_rendered_with_keys_and_variables_of_the_command_line_and_masked() {
    let directory = tempfile::tempdir().unwrap();
    for (path, text) in [("tk8s.yaml", PLATFORM), ("sealed/several.yaml", &encrypted("several.yaml")), ("open/map.yaml", OPEN)] {
        let place = directory.path().join(path);
        std::fs::create_dir_all(place.parent().unwrap()).unwrap();
        std::fs::write(place, text).unwrap();
    }
    let key = fixture("age-key.txt").display().to_string();
    let without = tk8s(directory.path(), &["check", "--output", "json"]);
    assert_eq!(without.status.code(), Some(1));
    let found: Value = serde_json::from_slice(&without.stdout).unwrap();
    let mut told: Vec<_> = found.as_array().unwrap().iter().map(|one| (one["rule"].clone(), one["file"].clone())).collect();
    told.sort_by_key(|(rule, _)| rule.to_string());
    let expected = [("DecryptionKeyMissing", "sealed/several.yaml"), ("SubstitutionRefused", "open/map.yaml")];
    assert_eq!(told, expected.map(|(rule, file)| (rule.into(), file.into())));
    let with = ["--age-key", &key, "--variable", "AT=hunter", "--variable", "PASSWORD=x", "--output", "json"];
    let render = |more: &[&str]| {
        let output = tk8s(directory.path(), &[&["render"], &with[..], more].concat());
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let printed: Value = serde_json::from_slice(&output.stdout).unwrap();
        printed
            .as_array()
            .unwrap()
            .iter()
            .map(|one| (one["object"]["metadata"]["name"].clone(), one["object"]["data"].clone()))
            .collect::<Vec<_>>()
    };
    let masked = render(&[]);
    assert_eq!(masked[0].1["at"], "hunter", "an open variable is open");
    assert!(masked[1].1["k"].as_str().unwrap().starts_with("(masked "), "{masked:?}");
    assert_eq!(render(&["--show-secrets"])[1].1["k"], "hunter2");
    assert!(tk8s(directory.path(), &[&["check"], &with[..]].concat()).status.success());
}
