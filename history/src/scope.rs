//! What a person's word is about, and the word by which nothing is written.

use std::fmt;

use serde::{Deserialize, Serialize};
use tk8s_core::{ComponentName, LayerId, Timestamp};

/// One component, the components of a layer, or all of them.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Scope {
    /// The whole instance.
    All,
    /// Every component that is in the layer when it matters.
    Layer(LayerId),
    /// One component.
    Component(ComponentName),
}

impl Scope {
    /// Whether a component in this layer is meant. A layer that was renamed, or numbered anew, is still the same one: what a
    /// person said about it does not end by an edit in Git.
    pub fn covers(&self, component: &ComponentName, layer: &LayerId) -> bool {
        match self {
            Scope::All => true,
            Scope::Layer(this) => this.number == layer.number || this.name == layer.name,
            Scope::Component(this) => this == component,
        }
    }

    /// As a command takes it: `web`, `--layer 2-services`, `--all`.
    pub fn argument(&self) -> String {
        match self {
            Scope::All => "--all".into(),
            Scope::Layer(layer) => format!("--layer {layer}"),
            Scope::Component(component) => component.to_string(),
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Scope::All => f.write_str("everything"),
            Scope::Layer(layer) => write!(f, "the layer {layer}"),
            Scope::Component(component) => component.fmt(f),
        }
    }
}

/// Nothing is written for these until somebody resumes them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Suspension {
    /// For whom.
    pub scope: Scope,
    /// Why.
    pub reason: String,
    /// Who asked for it.
    pub by: String,
    /// Since when.
    pub since: Timestamp,
}

impl fmt::Display for Suspension {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (by, reason) = (tk8s_core::printable(&self.by, 80), tk8s_core::printable(&self.reason, 200));
        let (scope, argument) = (&self.scope, self.scope.argument());
        write!(f, "{scope} is suspended by {by} ({reason}): nothing is written until `tk8s-agent resume {argument}`")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_layer_is_known_by_its_number_or_by_its_name() {
        let layer = Scope::Layer("2-services".parse().unwrap());
        let covers = |layer: &Scope, id: &str| layer.covers(&"web".parse().unwrap(), &id.parse().unwrap());
        for (id, expected) in [("2-services", true), ("2-applications", true), ("7-services", true), ("3-web", false)] {
            assert_eq!(covers(&layer, id), expected, "{id}");
        }
        assert!(covers(&Scope::All, "3-web") && covers(&Scope::Component("web".parse().unwrap()), "3-web"));
        assert!(!covers(&Scope::Component("other".parse().unwrap()), "3-web"));
    }
}
