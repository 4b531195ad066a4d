//! From a verified tree to the objects of one component: plain YAML and JSON, read as kubectl reads them; kustomizations and
//! Helm charts, rendered by the upstream programs in a child that can do nothing else ([`launcher`]). Files that SOPS
//! encrypted are decrypted in memory; variables of the agent's configuration are put in where a component asks for it.
//!
//! Two ways out: [`render`] takes a verified tree only and gives what the pipeline goes on with; [`preview`] takes any tree
//! and gives objects to look at, which can't become the other.

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod collect;
mod component;
mod error;
mod files;
mod findings;
mod helm;
mod hooks;
mod kustomize;
pub mod launcher;
mod origin;
mod place;
mod renderers;
mod scalar;
mod scope;
mod sealed;
mod sops;
mod substitute;
mod variables;
mod working;
mod yaml;

pub use component::{Component, HelmOptions, Kind, Placement, input, kind, named, notes};
pub use error::Error;
pub use findings::{Several, Warning};
pub use origin::component_tree;
pub use renderers::{Bounds, Capabilities, Options, Renderers};
pub use scope::{Scope, Scopes};
pub use sealed::{Preview, Rendered, RenderedParts, preview, removal, render};
pub use sops::AgeKeys;
pub use variables::{VariableSource, Variables};
pub use working::WorkingDirectory;
