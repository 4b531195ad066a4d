//! What the whole-system tests share: where the programs are.

use std::path::{Path, PathBuf};

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
