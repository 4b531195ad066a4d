//! Replays the ledger of a stopped agent, demands that the view is the same byte for byte, and prints the inventory.
//!
//! `check-history DIR INSTANCE ORIGIN IDENTITY_KEY ENCRYPTION_KEY`

use std::path::{Path, PathBuf};

use tk8s_core::{Secret, Timestamp};
use tk8s_history::{History, Options, Watchdog, replay_equals_view};

fn options(arguments: &[String]) -> Options {
    let secret = |path: &str| Secret::new(std::fs::read(Path::new(path)).expect("the key file can be read"));
    Options {
        dir: PathBuf::from(&arguments[0]),
        instance: arguments[1].parse().expect("a valid name"),
        origin: arguments[2].clone(),
        identity_key: secret(&arguments[3]),
        encryption_key: secret(&arguments[4]),
        keep_releases: 50,
        watchdog: Watchdog::default(),
    }
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    // Opening catches the view up with the ledger, as the agent's own start does.
    let history = History::open(options(&arguments), Timestamp::now()).expect("the history opens");
    let inventories = history.inventories();
    drop(history);
    if let Err(difference) = replay_equals_view(options(&arguments)) {
        eprintln!("replaying the ledger gives another view: {difference:?}");
        std::process::exit(1);
    }
    for entry in inventories.values().flatten() {
        println!("{}", entry.key);
    }
}
