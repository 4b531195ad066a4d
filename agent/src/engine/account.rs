//! As whom a component is written.
//!
//! Who may write what is decided today, not when a release was staged: a rollback brings back objects, not an account that
//! was taken away since. Only where nobody knows what the platform says (its memory was lost and Git can't be reached, or
//! the component has left it) the account counts that it named last: what is unknown never ends in the agent's own rights.
//!
//! It is taken from the platform that is in force and from nothing else that Git brings: the one place to change where
//! components get tags of their own.

use tk8s_core::{ComponentName, ServiceAccount};
use tk8s_diff::cluster::Cluster;

use super::Engine;
use crate::disk::disk;

impl Engine {
    /// The cluster as the component's account sees it: for every write, and for what is asked before one.
    pub(super) fn cluster_of(&self, component: &ComponentName) -> Cluster {
        self.cluster.acting_as(self.account_of(component).as_ref())
    }

    fn account_of(&self, component: &ComponentName) -> Option<ServiceAccount> {
        let units = self.world().units.clone();
        match units.as_ref().and_then(|units| units.get(component)) {
            Some(unit) => unit.spec.service_account.clone(),
            None => disk(|| self.history.component(component)).and_then(|view| view.latest.account),
        }
    }
}
