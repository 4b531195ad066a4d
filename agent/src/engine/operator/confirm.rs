//! A person's yes to deletions that a rule denied: to exactly those that the denial names.

use std::sync::Arc;

use tk8s_core::{ComponentName, ReleaseId, Timestamp, printable};
use tk8s_deploy::Trigger;

use super::LONGEST_REASON;
use crate::disk::disk;
use crate::engine::Engine;
use crate::engine::run::Job;
use crate::engine::standing::{Standing, asks_for};
use crate::error::Error;

impl Engine {
    /// Lets the deletions that a denial named through, and tries the release again.
    pub fn confirm(self: &Arc<Self>, deletions: &str, reason: &str, by: &str) -> Result<ReleaseId, Error> {
        let unknown = || Error::NothingToConfirm(printable(deletions, 100));
        let mut parts = deletions.split('.');
        let (Some(component), Some(number), Some(_), None) = (parts.next(), parts.next(), parts.next(), parts.next()) else {
            return Err(unknown());
        };
        let component: ComponentName = component.parse().map_err(|_| unknown())?;
        let view = disk(|| self.history.component(&component)).ok_or_else(unknown)?;
        let release = view.latest.id.clone();
        let denied = matches!(Standing::of(&view), Standing::Denied(_) | Standing::Unfinished(_));
        let asked = view.latest_outcome.as_ref().is_some_and(|outcome| asks_for(&outcome.message, deletions));
        if release.number.to_string() != number || !denied || !asked {
            return Err(unknown());
        }
        disk(|| self.history.confirm(&release, deletions, by, &printable(reason, LONGEST_REASON), Timestamp::now()))?;
        self.start(self.unit_or_default(&component), Job::Known(release.clone()), Trigger::Sync);
        Ok(release)
    }
}
