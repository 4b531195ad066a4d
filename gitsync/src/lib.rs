//! From a Git remote to a verified, read-only tree.
//!
//! Three steps, each the only one that can make its result: [`fetch`] brings objects into a mirror, [`verify`] decides
//! which revision may be used, [`tree`] reads it. Nothing is checked out, no program is started, and every object is
//! hashed again when it is read.

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod error;
mod fetch;
mod known_hosts;
mod offline;
mod sealed;
mod ssh;
mod store;
mod verify;

pub use error::Error;
pub use fetch::{Follow, Source, SshAuth, fetch};
pub use offline::verify_revision;
pub use sealed::{Fetched, VerifiedRevision, VerifiedTree, tree};
pub use verify::{
    Accepted, DevPolicy, ObjectKind, ObjectVerdict, Policy, ProductionPolicy, Refusal, Rule, SeenTag, Signer, SignerState,
    Signers, StagingPolicy, Verification, Waiver, verify, verify_object,
};
