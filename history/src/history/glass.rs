//! Releases that were let in without approvals, as they are written down.

use tk8s_core::{TagId, TagRef, Timestamp};

use super::{History, MESSAGE, cut, get, locked, values};
use crate::event::Event;
use crate::{BrokenGlass, Error, fold};

impl History {
    /// Records that a person lets a release in without those who are missing. The same release again is no event.
    pub fn break_glass(&self, tag: &TagRef, missing: &str, reason: &str, by: &str, now: Timestamp) -> Result<(), Error> {
        let mut ledger = locked(&self.ledger);
        if self.derived::<BrokenGlass>(&ledger, &fold::glass(&tag.id))?.is_some() {
            return Ok(());
        }
        let (missing, reason, by) = (cut(missing, MESSAGE), cut(reason, MESSAGE), cut(by, 200));
        self.append(&mut ledger, vec![Event::GlassBroken { tag: tag.clone(), missing, reason, by }], now, None)
    }

    /// Records that somebody looked at it. Says whether there was anything that nobody had looked at.
    pub fn acknowledge_glass(&self, tag: &TagId, reason: &str, by: &str, now: Timestamp) -> Result<bool, Error> {
        let mut ledger = locked(&self.ledger);
        match self.derived::<BrokenGlass>(&ledger, &fold::glass(tag))? {
            Some(BrokenGlass { acknowledged: None, tag, .. }) => {
                let event = Event::GlassAcknowledged { tag, reason: cut(reason, MESSAGE), by: cut(by, 200) };
                self.append(&mut ledger, vec![event], now, None).map(|()| true)
            }
            _ => Ok(false),
        }
    }

    /// Every release that was let in without approvals.
    pub fn broken_glass(&self) -> Vec<BrokenGlass> {
        self.look(|view| values(view, fold::GLASS))
    }

    /// Whether this release was.
    pub fn is_glass_broken(&self, tag: &TagId) -> bool {
        self.look(|view| get::<BrokenGlass>(view, &fold::glass(tag))).is_some()
    }
}
