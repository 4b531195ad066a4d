//! A manifest and the layer it belongs to.

use crate::{Digest, LayerId, Manifest};

/// An object of a release, and the layer in which it is applied. In a platform file all objects of a component share a
/// layer; in the layout without one each object names its own.
#[derive(Clone, Debug, PartialEq)]
pub struct Placed {
    /// When it is applied.
    pub layer: LayerId,
    /// What is applied.
    pub manifest: Manifest,
}

impl Placed {
    /// The digest of a set of objects: equal digests mean that the same objects are wanted in the same layers, in
    /// whatever order and from whatever files they were read.
    pub fn content_digest(objects: &[Placed]) -> Digest {
        let mut lines: Vec<String> =
            objects.iter().map(|placed| format!("{} {}\n", placed.layer, placed.manifest.digest())).collect();
        lines.sort_unstable();
        Digest::of(lines.concat())
    }
}
