//! How every component is, in the words in which it is anchored. Asked for once a second while anything happens, so it costs one
//! scan of what is small, and a read for each component of which another release runs than when it was asked last.

use std::collections::BTreeMap;

use tk8s_core::{ComponentName, ReleaseId};

use super::History;
use crate::fold::{self, ComponentState};
use crate::view::{self, Tree};
use crate::{Limit, Ran};

impl History {
    /// What would be the limit of each component if its history were lost now. `ran` is what ran when this was asked last: what
    /// a release holds never changes.
    pub fn as_it_is(&self, ran: &mut BTreeMap<ComponentName, Ran>) -> BTreeMap<ComponentName, Limit> {
        let states: Vec<(ComponentName, ComponentState)> = self.look(|view| {
            let entries = view.scan(Tree::Derived, fold::COMPONENTS)?.into_iter();
            let state = |(key, value): (String, Vec<u8>)| {
                let name = key[fold::COMPONENTS.len()..].parse().ok();
                Ok(name.zip(Some(view::read(&key, &value)?)))
            };
            entries.filter_map(|entry| state(entry).transpose()).collect()
        });
        let mut limits = BTreeMap::new();
        let before = std::mem::take(ran);
        for (name, ComponentState { latest, current, hold, .. }) in states {
            let current = current.and_then(|release| match before.get(&name).filter(|known| known.release == release) {
                Some(known) => Some(known.clone()),
                None => {
                    let content = self.content_of(&ReleaseId { component: name.clone(), number: release })?;
                    Some(Ran { release, content })
                }
            });
            ran.extend(current.clone().map(|current| (name.clone(), current)));
            limits.insert(name, Limit { latest, current, hold });
        }
        limits
    }
}
