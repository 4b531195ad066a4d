//! [`Resolved`]: the proof that every image of a release was judged.

use serde::{Deserialize, Serialize};
use tk8s_core::{ComponentName, ComponentTree, Digest, Environment, Placed, Removal, Revision, Trust};

/// What was decided about an image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum ImageVerdict {
    /// No policy asks for anything: the image is used as it is written.
    Unverified,
}

/// An image, as a manifest names it, and what was decided about it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageUse {
    /// For example `registry.example.com/web:1.2`.
    pub image: String,
    /// What was decided.
    pub verdict: ImageVerdict,
}

/// The objects of one component, rendered from a verified tree, with a verdict for each image.
///
/// Made by [`crate::resolve`] only, from what rendering made; taken by `history::stage`.
#[derive(Debug)]
pub struct Resolved(ResolvedParts);

/// What a [`Resolved`] carries. Plain data: it can't be turned back into one.
#[derive(Debug)]
pub struct ResolvedParts {
    /// The component.
    pub component: ComponentName,
    /// The revision it was rendered from.
    pub revision: Revision,
    /// Why that revision may be applied.
    pub trust: Trust,
    /// The environment for which the revision was verified.
    pub environment: Environment,
    /// The objects, each with its layer.
    pub objects: Vec<Placed>,
    /// The identity of everything that decided the rendering.
    pub input: Option<Digest>,
    /// What Git says of the component, in every environment.
    pub tree: Option<ComponentTree>,
    /// What rendering wants people to know.
    pub warnings: Vec<String>,
    /// Set if the revision takes the component away.
    pub removal: Option<Removal>,
    /// Every image of the objects, once.
    pub images: Vec<ImageUse>,
}

impl Resolved {
    pub(crate) fn new(parts: ResolvedParts) -> Resolved {
        Resolved(parts)
    }

    /// What it carries, to look at.
    pub fn parts(&self) -> &ResolvedParts {
        &self.0
    }

    /// What it carries, to keep. The proof is gone then.
    pub fn into_parts(self) -> ResolvedParts {
        self.0
    }
}
