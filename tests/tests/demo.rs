//! The whole system: the story of `make demo`, in which each step is checked against the real API server.

#![allow(missing_docs)]

use std::process::Command;

#[test]
fn the_demo_s_story_is_true() {
    let assets = std::env::var("TK8S_ASSETS").unwrap_or_else(|_| {
        let built = Command::new(tk8s_tests::top().join("tests/cluster/build.sh")).output().expect("because bash is there");
        assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
        String::from_utf8_lossy(&built.stdout).trim().to_owned()
    });
    let story = Command::new(tk8s_tests::top().join("tests/demo.sh"))
        .env("TK8S_AGENT_BIN", tk8s_tests::program("tk8s-agent"))
        .env("TK8S_ASSETS", assets)
        .env_remove("KUBECONFIG")
        .env_remove("KEEP")
        .output()
        .expect("because bash is there");
    assert!(story.status.success(), "{}\n{}", String::from_utf8_lossy(&story.stdout), String::from_utf8_lossy(&story.stderr));
}
