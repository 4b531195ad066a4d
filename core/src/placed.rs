//! A manifest and the layer it belongs to.

use crate::{LayerId, Manifest};

/// An object of a release, and the layer in which it is applied. In a platform file all objects of a component share a
/// layer; in the layout without one each object names its own.
#[derive(Clone, Debug, PartialEq)]
pub struct Placed {
    /// When it is applied.
    pub layer: LayerId,
    /// What is applied.
    pub manifest: Manifest,
}
