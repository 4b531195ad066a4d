//! What the tests of several stages share: where the programs are, a control plane, the pipeline step by step.

pub mod clock;
pub mod cluster;
pub mod kubelet;
pub mod pipeline;
pub mod proxy;
pub mod sshd;
pub mod system;

use std::path::{Path, PathBuf};
use std::process::Command;

/// The top directory of the checkout.
pub fn top() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("because tests/ is in the top directory").to_owned()
}

/// A program of the workspace, built beside the running test: `make test` builds it first.
pub fn program(name: &str) -> PathBuf {
    let test = std::env::current_exe().expect("because a running program has a path");
    let found = test.ancestors().map(|directory| directory.join(name)).find(|path| path.is_file());
    found.unwrap_or_else(|| panic!("`{name}` is not built: run `cargo build --workspace`, or the tests by `make test`"))
}

/// The directory with the control plane's programs, built if it has to be.
pub fn assets() -> String {
    std::env::var("TK8S_ASSETS").unwrap_or_else(|_| built("tests/cluster/build.sh"))
}

/// The directory with kustomize and helm, built if it has to be.
pub fn renderers() -> String {
    std::env::var("TK8S_RENDERERS").unwrap_or_else(|_| built("scripts/renderers.sh"))
}

fn built(script: &str) -> String {
    let built = Command::new(top().join(script)).output().expect("because bash is there");
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    String::from_utf8_lossy(&built.stdout).trim().to_owned()
}

/// A story of this directory, to be told over the real programs.
pub fn story(path: &str) -> Command {
    let mut command = Command::new(top().join(path));
    command
        .env("TK8S_AGENT_BIN", program("tk8s-agent"))
        .env("TK8S_CHECK_BIN", program("check-history"))
        .env("TK8S_ASSETS", assets())
        .env_remove("KUBECONFIG")
        .env_remove("KEEP");
    command
}

/// Tells a story to its end, and gives what it said. Fails with all of it if it fails.
pub fn run(path: &str) -> String {
    let output = story(path).output().expect("because bash is there");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
    said
}
