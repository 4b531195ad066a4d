//! From rendered objects to the same objects with every image judged.
//!
//! The policy is `unverified` for now: images are listed and applied as they are written, and status says so. Nothing
//! here asks a registry.

mod sealed;

use std::collections::BTreeSet;

use serde_json::Value;
use tk8s_core::{Class, Classified, Placed};
use tk8s_render::Rendered;

pub use sealed::{ImageUse, ImageVerdict, Resolved, ResolvedParts};

/// What is asked of images.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    /// Nothing: images are used as they are written.
    Unverified,
}

/// Why images could not be judged. The policy `unverified` judges none, so nothing can fail yet.
#[derive(Debug, thiserror::Error)]
pub enum Error {}

impl Classified for Error {
    fn class(&self) -> Class {
        match *self {}
    }

    fn reason(&self) -> &'static str {
        match *self {}
    }
}

/// Judges every image of a rendered component.
pub fn resolve(rendered: Rendered, policy: Policy) -> Result<Resolved, Error> {
    let verdict = match policy {
        Policy::Unverified => ImageVerdict::Unverified,
    };
    let parts = rendered.into_parts();
    let images = images_of(&parts.objects).into_iter().map(|image| ImageUse { image, verdict: verdict.clone() }).collect();
    Ok(Resolved::new(ResolvedParts {
        component: parts.component,
        revision: parts.revision,
        trust: parts.trust,
        environment: parts.environment,
        objects: parts.objects,
        input: parts.input,
        tree: parts.tree,
        warnings: parts.warnings,
        removal: parts.removal,
        images,
    }))
}

/// Every image that the objects name, once, sorted. A container is whatever stands in a list of containers, at any
/// depth, so that pod templates of custom kinds are seen too.
fn images_of(objects: &[Placed]) -> Vec<String> {
    const LISTS: [&str; 3] = ["containers", "initContainers", "ephemeralContainers"];
    let mut found = BTreeSet::new();
    let mut left: Vec<&Value> = objects.iter().flat_map(|placed| placed.manifest.object().values()).collect();
    while let Some(value) = left.pop() {
        match value {
            Value::Object(map) => {
                for (name, value) in map {
                    if let (true, Value::Array(containers)) = (LISTS.contains(&name.as_str()), value) {
                        found.extend(containers.iter().filter_map(|container| container["image"].as_str()).map(String::from));
                    }
                    left.push(value);
                }
            }
            Value::Array(items) => left.extend(items),
            _ => {}
        }
    }
    found.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use tk8s_core::{Manifest, Origin};

    use super::*;

    #[test]
    fn every_image_is_found_once_wherever_a_pod_template_stands() {
        let manifest = json!({"apiVersion": "example.com/v1", "kind": "Thing", "metadata": {"name": "t"}, "spec": {
            "deep": [{"template": {"spec": {
                "initContainers": [{"name": "i", "image": "b:1"}],
                "containers": [{"name": "a", "image": "a:1"}, {"name": "b", "image": "b:1"}, {"name": "c"}]}}}],
            "image": "not-a-container:1"}});
        let placed = Placed {
            layer: "0-a".parse().expect("a layer"),
            manifest: Manifest::new(manifest, Origin::default()).expect("a manifest"),
        };
        assert_eq!(images_of(&[placed]), ["a:1", "b:1"]);
    }
}
