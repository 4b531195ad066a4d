//! From staged objects and the live cluster to a plan. Reads and dry-runs only: what is written is written by `deploy`.

#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod account;
mod between;
pub mod cluster;
mod confine;
mod error;
pub mod fence;
mod fold;
mod foretold;
mod giving_up;
mod hooks;
mod images;
mod immutable;
pub mod live;
pub mod mask;
pub mod memory;
pub mod observe;
mod order;
mod owned;
pub mod ownership;
mod predecessors;
mod preview;
mod sealed;
mod spelled;
mod text;

pub use between::{Became, Difference, between};
pub use confine::{Bounds, Confinement};
pub use error::Error;
pub use fold::Folded;
pub use foretold::Foretold;
pub use hooks::{Hooks, on_failure};
pub use images::images_as_sent;
pub use observe::{Rejections, Rules, observe, plan, rehearse};
pub use order::{WAVE, in_order, order, rank, turns};
pub use owned::{Owned, owned};
pub use predecessors::{Leftover, Predecessor, predecessors};
pub use preview::{Look, PreviewDiff, preview};
pub use sealed::{Action, Brought, Change, Conflict, Kept, Observed, Plan, Propagation, Prune, Rehearsed, Turn};
