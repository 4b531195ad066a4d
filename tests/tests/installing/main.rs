//! How the agent itself is installed: what chart and base render, and what becomes of it on a real API server.
//!
//! What is written down of their output (`golden/`), the table of values in `docs/installing.md` and the copies of the
//! `Component` resource's definition are rewritten by `TK8S_REWRITE=1 cargo test --workspace --test installing`.

#![allow(missing_docs, clippy::unwrap_used)]

mod backup;
mod bounds;
mod commanded;
mod doctor;
mod documented;
mod installed;
mod rendered;
mod rights;
mod same;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;
use tempfile::TempDir;

/// What `helm` and `kustomize` are run with: a directory for what they remember, and for files of values.
struct Tools(TempDir);

impl Tools {
    fn new() -> Tools {
        Tools(tempfile::tempdir().unwrap())
    }

    /// Writes a file; where it is.
    fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        path
    }

    fn helm(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(Path::new(&tk8s_tests::renderers()).join("helm"));
        for kind in ["CACHE", "CONFIG", "DATA"] {
            command.env(format!("HELM_{kind}_HOME"), self.0.path().join(kind));
        }
        command.env_remove("KUBECONFIG").args(arguments).output().unwrap()
    }

    /// What `helm template` gives with these values, or what it complains about.
    fn template(&self, values: &str, arguments: &[&str]) -> Result<String, String> {
        let file = self.file("values.yaml", values);
        let chart = chart();
        let fixed = ["template", "tk8s", path(&chart), "--namespace", "tk8s-system", "--values", path(&file)];
        said(self.helm(&[&fixed, arguments].concat()))
    }

    /// The objects of the chart with these values.
    fn objects(&self, values: &str) -> Vec<Value> {
        objects(&self.template(values, &[]).unwrap_or_else(|error| panic!("{error}\n{values}")))
    }

    fn kustomize(&self, directory: &Path) -> Vec<Value> {
        let program = Path::new(&tk8s_tests::renderers()).join("kustomize");
        objects(&said(Command::new(program).arg("build").arg(directory).output().unwrap()).unwrap())
    }
}

fn said(output: Output) -> Result<String, String> {
    let text = |bytes| String::from_utf8(bytes).unwrap();
    if output.status.success() { Ok(text(output.stdout)) } else { Err(text(output.stderr) + &text(output.stdout)) }
}

/// A part of the repository.
fn part(of: &str) -> PathBuf {
    tk8s_tests::top().join(of)
}

fn chart() -> PathBuf {
    part("install/chart")
}

fn path(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// The values of the example.
fn example() -> String {
    std::fs::read_to_string(part("install/example/values.yaml")).unwrap()
}

/// The least that has to be said.
const LEAST: &str = "image: {repository: registry.example.com/tk8s-agent}\nconfig: {cluster: c, environment: production, repository: {url: 'https://git.example.com/p'}}\n";

/// These values with others over them, as Helm puts several files over each other.
fn with(values: &str, others: &str) -> String {
    fn over(below: &mut Value, above: Value) {
        match (below, above) {
            (Value::Object(below), Value::Object(above)) => {
                above.into_iter().for_each(|(name, above)| over(below.entry(name).or_insert(Value::Null), above));
            }
            (below, above) => *below = above,
        }
    }
    let read = |text: &str| serde_yaml::from_str::<Value>(text).unwrap();
    let mut all = read(values);
    over(&mut all, read(others));
    serde_json::to_string(&all).unwrap()
}

/// The documents of a rendering. None of ours holds a text with a line of three dashes.
fn objects(text: &str) -> Vec<Value> {
    let read = |text: &str| serde_yaml::from_str(text).unwrap_or_else(|error| panic!("{error}\n{text}"));
    text.split("\n---").map(read).filter(|object: &Value| !object.is_null()).collect()
}

/// What an object is called: kind, namespace, name.
fn key(object: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let metadata = &object["metadata"];
    format!("{} {}/{}", text(&object["kind"]), text(&metadata["namespace"]), text(&metadata["name"]))
}

fn by_key(objects: Vec<Value>) -> BTreeMap<String, Value> {
    let count = objects.len();
    let found: BTreeMap<_, _> = objects.into_iter().map(|object| (key(&object), object)).collect();
    assert_eq!(found.len(), count, "an object is there twice");
    found
}

/// The one of a kind.
fn of_kind<'a>(objects: &'a [Value], kind: &str) -> &'a Value {
    let mut found = objects.iter().filter(|object| object["kind"] == kind);
    let one = found.next().unwrap_or_else(|| panic!("there is no {kind}"));
    assert!(found.next().is_none(), "there are several of {kind}");
    one
}

/// The agent's file among these objects.
fn agent_file(objects: &[Value]) -> String {
    let found = objects.iter().find_map(|object| object["data"]["agent.yaml"].as_str());
    found.expect("no ConfigMap has agent.yaml").to_owned()
}

/// Compares a file of the repository with what it should hold, or rewrites it.
fn is_written_down(file: &Path, expected: &str) {
    if std::env::var_os("TK8S_REWRITE").is_some() {
        std::fs::write(file, expected).unwrap();
    }
    let found = std::fs::read_to_string(file).unwrap_or_default();
    if found != expected {
        let line = found.lines().zip(expected.lines()).position(|(found, expected)| found != expected);
        let at = line.unwrap_or_else(|| found.lines().count().min(expected.lines().count()));
        let show = |text: &str| text.lines().nth(at).unwrap_or("(the end)").to_owned();
        panic!(
            "{} is not what comes out, from line {}:\n  it says  {}\n  it should {}\nread the change, then rewrite it: \
             TK8S_REWRITE=1 cargo test --workspace --test installing",
            file.display(),
            at + 1,
            show(&found),
            show(expected)
        );
    }
}
