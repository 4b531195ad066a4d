//! The agent is killed at every point of the list in `core/src/crash.rs`, and what it left is whole.

#![allow(missing_docs)]

#[test]
fn a_killed_agent_leaves_a_whole_history_and_finishes_on_the_next_start() {
    let said = tk8s_tests::run("tests/crash.sh");
    for (point, _) in tk8s_core::crash::POINTS {
        assert!(said.contains(&format!("  {point}: ")), "{point} was not tried: {said}");
    }
}
