//! What the agent remembers: the ledger and the blobs (the truth), and their view in sled.

mod sealed;

pub use sealed::{Begun, Desired, Intent, Recalled, Release, Staged};
