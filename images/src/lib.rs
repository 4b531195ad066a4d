//! From rendered objects to the same objects with every image judged.
//!
//! The policy is `unverified` for now: images are listed and applied as they are written, and status says so. Nothing
//! here asks a registry.

mod sealed;

pub use sealed::{ImageUse, ImageVerdict, Resolved, ResolvedParts};
