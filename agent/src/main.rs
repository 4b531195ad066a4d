//! The `tk8s-agent` program.
fn main() {}
