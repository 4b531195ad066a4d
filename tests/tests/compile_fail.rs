//! What must not compile. Each file in `compile-fail/` names the error in its first line; the test builds it and demands
//! exactly that one. They are examples of this package, so nothing but themselves is compiled for them.

#![allow(missing_docs)]

use std::process::Command;

use serde_json::Value;

/// The errors that the compiler has for an example.
fn errors_of(example: &str) -> Vec<(String, String)> {
    let output = Command::new(env!("CARGO"))
        .current_dir(tk8s_tests::top())
        .args([
            "build",
            "--offline",
            "--workspace",
            "--features",
            "tk8s-tests/compile-fail",
            "--message-format",
            "json",
            "--example",
            example,
        ])
        .output()
        .expect("because cargo runs this test");
    let lines = String::from_utf8_lossy(&output.stdout);
    let messages = lines
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter(|message| message["reason"] == "compiler-message");
    let errors = messages.filter(|message| message["message"]["level"] == "error").filter_map(|message| {
        let code = message["message"]["code"]["code"].as_str()?.to_owned();
        Some((code, message["message"]["rendered"].as_str().unwrap_or_default().to_owned()))
    });
    let errors: Vec<_> = errors.collect();
    assert_eq!(errors.is_empty(), output.status.success(), "{example}: {}", String::from_utf8_lossy(&output.stderr));
    errors
}

#[test]
fn nothing_unverified_unproven_or_unapproved_can_go_on() {
    let mut cases = 0;
    for entry in std::fs::read_dir(tk8s_tests::top().join("tests/compile-fail")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        let text = std::fs::read_to_string(&path).unwrap();
        let Some(expected) = text.lines().next().unwrap().strip_prefix("//! error: ") else {
            assert_eq!(name, "control", "{name} does not say which error it makes");
            continue;
        };
        let (code, words) = expected.split_once(' ').unwrap();
        let errors = errors_of(&name);
        assert_eq!(errors.len(), 1, "{name}: {errors:?}");
        assert_eq!(errors[0].0, code, "{name}: {}", errors[0].1);
        assert!(errors[0].1.contains(words), "{name}: `{words}` is not in: {}", errors[0].1);
        cases += 1;
    }
    assert_eq!(cases, 12);
}

#[test]
fn the_control_compiles() {
    assert_eq!(errors_of("control"), []);
}
