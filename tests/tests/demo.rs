//! The whole system: the story of `make demo`, in which each step is checked against the real API server.

#![allow(missing_docs)]

#[test]
fn the_demo_s_story_is_true() {
    tk8s_tests::run("tests/demo.sh");
}
