//! A small file that is large once its aliases are written out: alone in this program, because it measures the program.

#![allow(clippy::unwrap_used)]

mod support;

use support::{Repository, component, renderers_within};
use tk8s_core::chain;
use tk8s_render::launcher::Limits;
use tk8s_render::{Error, WorkingDirectory, preview};

/// Taken to its end, it needs more than 24 GB.
#[test]
fn a_bomb_ends_the_child_within_its_limit_and_the_agent_stays_small() {
    let mut bomb = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: b}\na0: &a0 [x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..10 {
        bomb.push_str(&format!("a{level}: &a{level} [{}]\n", vec![format!("*a{}", level - 1); 9].join(", ")));
    }
    let mut endless = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: e}\n".to_owned();
    endless.push_str("x: &x [*x]\n");
    for text in [bomb, endless] {
        let repository = Repository::new(&[("a/kustomization.yaml", "resources: [bomb.yaml]\n"), ("a/bomb.yaml", &text)]);
        let small = renderers_within(Limits { memory: 256 * 1024 * 1024, ..Limits::default() });
        let error = preview(&WorkingDirectory::new(&repository.path()), &component("a"), &small).unwrap_err();
        assert!(matches!(error, Error::OutOfMemory { .. }) && error.to_string().contains("memory"), "{}", chain(&error));
    }
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let peak = status.lines().find(|line| line.starts_with("VmHWM")).unwrap();
    let kib: u64 = peak.split_whitespace().nth(1).unwrap().parse().unwrap();
    assert!(kib < 64 * 1024, "{peak}");
}
