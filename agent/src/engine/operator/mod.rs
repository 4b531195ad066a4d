//! What a person asks for: rollback, hold, suspend, resume, confirm, break-glass. None of it needs Git, and all of it is in the ledger,
//! with who and why, before anything is done.

mod confirm;
mod glass;
mod hold;
mod returned;
mod rollback;
mod targets;

use std::sync::Arc;

use tk8s_core::{ComponentName, Digest, LayerId, printable};
use tk8s_history::{ComponentView, Scope};

pub use hold::{Held, LeftAlone, Resumed, Suspended, SuspensionView};
pub use returned::{ComponentPlan, Fate, RollbackPlan, RollbackRequest, RolledBack, RolledBackMany};

use super::Engine;
use super::platform::{self, Unit};
use crate::disk::disk;
use crate::error::Error;

/// The longest reason that is written down.
pub(super) const LONGEST_REASON: usize = 500;

/// Whom a person's word is about, as they spelled it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Asked {
    All,
    /// By its number, its name, or both as status shows it: `2`, `services`, `2-services`.
    Layer(String),
    Component(ComponentName),
}

impl Engine {
    /// Who is meant. A layer that left the platform is still known while somebody's word about it stands.
    fn scope(&self, asked: &Asked) -> Result<Scope, Error> {
        match asked {
            Asked::All => Ok(Scope::All),
            Asked::Component(name) if self.knows(name) => Ok(Scope::Component(name.clone())),
            Asked::Component(name) => Err(Error::UnknownComponent(name.clone())),
            Asked::Layer(text) => {
                let of_units = self.looked_after().into_iter().map(|unit| unit.spec.layer.clone()).collect::<Vec<_>>();
                let of_words = disk(|| self.history.suspensions()).into_iter().filter_map(|suspension| match suspension.scope {
                    Scope::Layer(layer) => Some(layer),
                    _ => None,
                });
                let found = of_units.into_iter().chain(of_words).find(|layer| is_called(layer, text));
                found.map(Scope::Layer).ok_or_else(|| Error::UnknownLayer(printable(text, 80)))
            }
        }
    }

    /// The components that are meant, in apply order.
    fn members(&self, scope: &Scope) -> Vec<Arc<Unit>> {
        match scope {
            Scope::Component(name) => vec![self.unit_or_default(name)],
            _ => self.looked_after().into_iter().filter(|unit| scope.covers(&unit.spec.name, &unit.spec.layer)).collect(),
        }
    }

    /// The component's own settings, or defaults if the platform no longer names it.
    fn unit_or_default(&self, component: &ComponentName) -> Arc<Unit> {
        if let Some(unit) = self.world().units.as_ref().and_then(|units| units.get(component)) {
            return Arc::clone(unit);
        }
        platform::default_unit(component)
    }

    /// Content whose return does not end a hold at `kept`: what runs, what is newest, and what waits to come.
    fn rejected(&self, view: &ComponentView, kept: Digest) -> Vec<Digest> {
        let component = &view.latest.id.component;
        let running = view.current.as_ref().and_then(|current| disk(|| self.content_of(component, current.number)));
        let known = [running, Some(view.latest.content), self.memory.waiting_content(component)];
        let rejected: std::collections::BTreeSet<Digest> =
            known.into_iter().flatten().filter(|content| *content != kept).collect();
        rejected.into_iter().collect()
    }
}

fn is_called(layer: &LayerId, text: &str) -> bool {
    &*layer.name == text || layer.number.to_string() == text || layer.to_string() == text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_layer_is_called_by_its_number_its_name_or_both() {
        let layer: LayerId = "2-services".parse().expect("a layer");
        for (text, expected) in [("2", true), ("services", true), ("2-services", true), ("3-services", false), ("", false)] {
            assert_eq!(is_called(&layer, text), expected, "{text}");
        }
    }
}
