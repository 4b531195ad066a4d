//! What becomes of releases that were let in and whose signer turned out to be compromised, or whose key was revoked: what runs
//! stays and is repaired, with an alarm; nothing goes back to them, unless a person says so and why.

use std::sync::Arc;

use tk8s_core::{ComponentName, ReleaseId};
use tk8s_gitsync::Signers;

use super::Engine;
use super::alarms::{Cause, Reason};
use crate::disk::disk;
use crate::error::Error;
use crate::trust::{self, Disbelief};

impl Engine {
    /// Refuses to go back to a release whose signature nobody believes any more, by the files as they are now: also where they
    /// can't be read.
    pub(super) fn is_believed(&self, release: &ReleaseId) -> Result<(), Error> {
        let Some(known) = disk(|| self.history.release(release)) else { return Ok(()) };
        let Some(signers) = trust::all_signers(&self.config())? else { return Ok(()) };
        trust::is_believed(&signers, &known.release.trust).map_err(|why| Error::NotBelieved { release: release.clone(), why })
    }

    /// Who may sign by the files as they are now, for the alarms.
    pub(super) fn remember_signers(&self, signers: Option<Signers>) {
        let doubts = |signers: Option<&Signers>| signers.is_some_and(Signers::doubts_any);
        let before = doubts(self.world().signers.as_deref());
        let look = before || doubts(signers.as_ref());
        self.change_world(|world| world.signers = signers.map(Arc::new));
        if look {
            self.looked_after().iter().for_each(|unit| self.look_for_disbelief(&unit.spec.name));
        }
    }

    /// The alarm about what runs and is not believed any more.
    pub(super) fn look_for_disbelief(&self, component: &ComponentName) {
        let signers = self.world().signers.clone().filter(|signers| signers.doubts_any());
        let cause = signers.and_then(|signers| {
            let running = disk(|| self.history.component(component))?.current?;
            let why: Disbelief = trust::is_believed(&signers, &disk(|| self.history.release(&running))?.release.trust).err()?;
            Some(Cause { object: format!("release {}", running.number), message: format!("it runs, and {why}") })
        });
        self.alarm(Reason::SignerNotBelieved, Some(component), cause.into_iter().collect());
    }
}
