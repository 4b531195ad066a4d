//! What the agent remembers: the ledger and the blobs (the truth), and their view in sled.
//!
//! [`History`] owns the directory. The ledger is an append-only Merkle log of small signed events that any transparency-log
//! tool can verify; blobs hold the objects of each release, encrypted; the view answers questions and can be lost. How the
//! files look is in `docs/history.md`.

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod archive;
mod blobs;
mod copy;
mod data;
mod degraded;
mod disk;
mod envelope;
mod error;
mod event;
mod fold;
mod gap;
mod glass;
mod history;
mod incident;
mod journal;
mod keys;
mod ledger;
mod merkle;
mod note;
mod scope;
mod sealed;
mod set;
mod story;
#[cfg(test)]
mod tests;
mod tile;
mod verify;
mod view;

pub use archive::{Archive, ArchiveOptions};
pub use copy::{Copied, Files, Source, Unread, copy};
pub use data::{
    Accepted, AcceptedComponent, AppliedObject, ComponentView, EndedHook, Hold, Inventories, InventoryEntry, LeftOut, Outcome,
    Recorded, RefusedRevision, RefusedView, ReleaseView, RollbackRequest, SeenTag, SizeAndRoot, Status,
};
pub use degraded::Degraded;
pub use envelope::{IdentityKey, LARGEST_ENVELOPE, NotAKey, Unopened, open};
pub use error::Error;
pub use gap::{FoundObject, Gap, GapView, Limit, Ran};
pub use glass::BrokenGlass;
pub use history::{Difference, History, Options, replay_equals_view};
pub use incident::{AcceptedBy, Incident, IncidentView};
pub use keys::{check_encryption_key, identity_key};
pub use note::Unproven;
pub use scope::{Scope, Suspension};
pub use sealed::{Begun, Desired, Intent, Recalled, Release, Staged};
pub use story::{Decay, Denial, RunStory, Said, Story};
pub use verify::{Verified, verify};
pub use view::sled::Watchdog;
