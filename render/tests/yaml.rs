//! Our reader beside kubectl's, text by text: the same objects, or both refuse, or we refuse more and say why.

#![allow(clippy::unwrap_used)]

#[allow(dead_code, unreachable_pub, reason = "the unit tests use it too")]
#[path = "yaml/cases.rs"]
mod cases;
mod support;

use std::path::{Path, PathBuf};
use std::process::Command;

use cases::{CASES, Case, Differs, FILES, HEAD};
use serde_json::Value;
use support::component;
use tk8s_core::chain;
use tk8s_render::{Component, Kind, Options, Renderers, WorkingDirectory, preview};

fn kubectl() -> PathBuf {
    let assets = std::env::var("TK8S_ASSETS").unwrap_or_else(|_| {
        let built = Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/cluster/build.sh")).output().unwrap();
        assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
        String::from_utf8(built.stdout).unwrap().trim().to_owned()
    });
    Path::new(&assets).join("kubectl")
}

/// What kubectl makes of all files of a directory: every object, and what it complains about. It needs no cluster: it puts
/// an annotation on what it read, and prints it.
fn oracle(directory: &Path) -> (Vec<Value>, String) {
    let mut command = Command::new(kubectl());
    command.args(["annotate", "--local", "--output", "json", "--filename"]).arg(directory).arg("read=by-kubectl");
    let output = command.env_clear().env("HOME", directory).output().unwrap();
    let objects = serde_json::Deserializer::from_slice(&output.stdout).into_iter().map(Result::unwrap);
    (objects.map(without_annotation).collect(), String::from_utf8_lossy(&output.stderr).into_owned())
}

fn without_annotation(mut object: Value) -> Value {
    let metadata = object["metadata"].as_object_mut().unwrap();
    assert_eq!(metadata.remove("annotations").unwrap()["read"], "by-kubectl");
    object
}

/// What we make of one file.
fn ours(directory: &Path, file: &str) -> Result<Vec<Value>, String> {
    let component = Component {
        path: ".".parse().unwrap(),
        kind: Some(Kind::Yaml),
        include: vec![file.into()],
        namespace: None,
        ..component("a")
    };
    match preview(&WorkingDirectory::new(directory), &component, &Renderers::new(Options::default())) {
        Ok(preview) => Ok(preview.into_objects().into_iter().map(|placed| placed.manifest.to_value()).collect()),
        Err(tk8s_render::Error::Empty(_)) => Ok(Vec::new()),
        Err(error) => Err(chain(&error)),
    }
}

/// Whether a message is about a file: it begins with it, after how many mistakes there are.
fn names(error: &str, file: &str) -> bool {
    error.split_once(" findings: ").map_or(error, |(_, error)| error).starts_with(file)
}

fn agrees(cases: &[Case]) {
    let directory = tempfile::tempdir().unwrap();
    let name = |index: usize| format!("case-{index:03}");
    for (index, case) in cases.iter().enumerate() {
        let head = if case.below { HEAD } else { "" };
        let text = [head.as_bytes(), case.text].concat();
        let text = replaced(&text, name(index).as_bytes());
        std::fs::write(directory.path().join(format!("{}.{}", name(index), case.extension)), text).unwrap();
    }
    let (objects, complaints) = oracle(directory.path());
    // Of a list in a list it says nothing but that, and no file.
    let nested = complaints.contains("is not a list: no Items field");
    let mut wrong = Vec::new();
    for (index, case) in cases.iter().enumerate() {
        let file = format!("{}.{}", name(index), case.extension);
        // kubectl gives what stands before a mistake; a file with one is refused all the same.
        let theirs: Result<Vec<&Value>, Vec<&str>> =
            match complaints.lines().filter(|line| line.contains(&file)).collect::<Vec<_>>() {
                lines if lines.is_empty() && nested && case.about.starts_with("a list inside") => Err(vec!["is not a list"]),
                lines if lines.is_empty() => {
                    let of_case = |object: &&Value| object.to_string().contains(&name(index));
                    Ok(objects.iter().filter(of_case).collect())
                }
                lines => Err(lines),
            };
        let ours = ours(directory.path(), &file);
        let fits = match (&ours, &theirs, case.differs) {
            (Ok(ours), Ok(theirs), Differs::No) => ours.len() == theirs.len() && ours.iter().zip(theirs).all(|(a, b)| same(a, b)),
            (Err(error), Err(_), Differs::No) => names(error, &file),
            (Ok(_), Err(_), Differs::Taken) => true,
            (Ok(ours), Ok(theirs), Differs::Otherwise) => ours.iter().collect::<Vec<_>>() != *theirs,
            (Err(error), Ok(_), Differs::Refused(why)) => error.contains(why) && names(error, &file),
            _ => false,
        };
        if !fits {
            wrong.push(format!("{}: {:?}\n  ours:    {ours:?}\n  kubectl: {theirs:?}", case.about, case.differs));
        }
    }
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
}

/// Whether two values are the same: beyond 63 bits Go and Rust write the same float in different ways.
fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b)),
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(key, value)| b.get(key).is_some_and(|other| same(value, other)))
        }
        (Value::Number(a), Value::Number(b)) => match (a.as_i64(), b.as_i64()) {
            (None, None) => a.as_f64() == b.as_f64(),
            (a, b) => a == b,
        },
        _ => a == b,
    }
}

fn replaced(text: &[u8], name: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.windows(4).position(|window| window == b"NAME") {
        out.extend_from_slice(&rest[..at]);
        out.extend_from_slice(name);
        rest = &rest[at + 4..];
    }
    out.extend_from_slice(rest);
    out
}

#[test]
fn every_text_is_read_as_kubectl_reads_it_or_the_difference_is_named() {
    assert_eq!(CASES.len(), 95);
    agrees(CASES);
}

#[test]
fn documents_lists_json_and_encodings_are_read_as_kubectl_reads_them_or_the_difference_is_named() {
    agrees(FILES);
}
