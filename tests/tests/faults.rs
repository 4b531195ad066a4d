//! What goes wrong around the agent, on the real API server.

#![allow(missing_docs)]

#[test]
fn faults_are_named_isolated_and_made_good() {
    let said = tk8s_tests::run("tests/faults.sh");
    assert_eq!(said.lines().count(), 7, "{said}");
}
