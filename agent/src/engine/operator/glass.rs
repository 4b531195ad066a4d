//! Break-glass: a person lets one release in without those who still have to say yes to it. It counts for this very tag object,
//! and an alarm stands until somebody says that they have looked at it.

use std::sync::Arc;

use tk8s_core::{TagRef, Timestamp, printable};
use tk8s_gitsync::LetIn;

use super::LONGEST_REASON;
use crate::disk::disk;
use crate::engine::Engine;
use crate::engine::alarms::{Cause, Reason};
use crate::error::Error;
use crate::trust::still_missing;

impl Engine {
    /// Lets a release in that waits for approvals. Only those can be missing: what a signature or any other rule refuses stays
    /// refused.
    pub fn break_glass(self: &Arc<Self>, tag: &str, reason: &str, by: &str) -> Result<TagRef, Error> {
        if self.config().trust.approvals.as_ref().is_some_and(|approvals| !approvals.break_glass) {
            return Err(Error::GlassIsLocked);
        }
        let waiting = self.world().unapproved.iter().find(|unapproved| unapproved.tag.name == tag).cloned();
        let waiting = waiting.ok_or_else(|| Error::NoGlassToBreak(printable(tag, 80)))?;
        let (missing, reason) = (still_missing(&waiting.missing), printable(reason, LONGEST_REASON));
        tracing::warn!(tag = waiting.tag.name, missing, by, reason, "a release is let in without approvals");
        disk(|| self.history.break_glass(&waiting.tag, &missing, &reason, by, Timestamp::now()))?;
        self.look_for_broken_glass();
        self.wake(true);
        Ok(waiting.tag)
    }

    /// The same, by a signed tag of somebody with the role `break-glass`.
    pub(in crate::engine) fn let_in_by_tag(&self, let_in: &LetIn) -> Result<(), Error> {
        let (tag, by, missing) = (&let_in.tag, &let_in.by, still_missing(&let_in.missing));
        tracing::warn!(tag = tag.name, missing, by = by.signer, "a release is let in without approvals");
        let reason = format!("by the tag approve/{}/{}/{}, {}", tag.name, by.role, by.signer, by.tag);
        disk(|| self.history.break_glass(tag, &missing, &reason, &by.signer, Timestamp::now()))?;
        self.look_for_broken_glass();
        Ok(())
    }

    /// Ends the alarm about a release that was let in without approvals.
    pub fn acknowledge(&self, tag: &str, reason: &str, by: &str) -> Result<TagRef, Error> {
        let broken = disk(|| self.history.broken_glass());
        let open = broken.into_iter().find(|glass| glass.tag.name == tag && glass.acknowledged.is_none());
        let tag = open.ok_or_else(|| Error::NothingToAcknowledge(printable(tag, 80)))?.tag;
        disk(|| self.history.acknowledge_glass(&tag.id, &printable(reason, LONGEST_REASON), by, Timestamp::now()))?;
        self.look_for_broken_glass();
        Ok(tag)
    }

    /// The alarm about what was let in without approvals and at which nobody has looked.
    pub(in crate::engine) fn look_for_broken_glass(&self) {
        let open = disk(|| self.history.broken_glass()).into_iter().filter(|glass| glass.acknowledged.is_none());
        let causes = open.map(|glass| Cause {
            object: glass.tag.name,
            message: format!("{} let it in without {}: {}", glass.by, glass.missing, glass.reason),
        });
        self.alarm(Reason::GlassBroken, None, causes.collect());
    }
}
