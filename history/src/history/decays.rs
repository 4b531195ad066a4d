//! What became of workloads that ran, as it is written down: each cause once, and where it comes again at the tenth, the hundredth
//! time only.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use tk8s_core::{Digest, ReleaseId, Timestamp};

use super::{History, cut, locked, values};
use crate::degraded::{DegradedView, MOST, of_many};
use crate::event::Event;
use crate::{Degraded, Error, fold};

/// How much is kept of what is behind it: the last lines of a container's log are part of it.
const MESSAGE: usize = 4000;

impl History {
    /// Records that objects of a release that runs are degraded. The same cause again is counted. Of one release so many
    /// different causes are written down, and those that follow are counted together.
    pub fn degraded(&self, release: &ReleaseId, objects: Vec<Degraded>, now: Timestamp) -> Result<(), Error> {
        let mut ledger = locked(&self.ledger);
        self.release_state(&ledger, release)?;
        let mut known: usize = {
            let prefix = fold::causes(release);
            self.must(self.ask(&ledger, |view| values::<DegradedView>(view, &prefix)))?.len()
        };
        let mut events: BTreeMap<Digest, Event> = BTreeMap::new();
        for mut told in objects {
            let mut cause = told.same();
            let mut before: Option<DegradedView> = self.derived(&ledger, &fold::cause(release, &cause))?;
            if before.is_none() && known >= MOST && !events.contains_key(&cause) {
                cause = of_many();
                told = Degraded::many(release, told.object);
                before = self.derived(&ledger, &fold::cause(release, &cause))?;
            }
            let Some(times) = self.counted(&fold::cause(release, &cause), before.as_ref().map(|before| before.times)) else {
                continue;
            };
            known += usize::from(before.is_none());
            if let Entry::Vacant(event) = events.entry(cause) {
                let Degraded { object, reason, message, .. } = told;
                let (reason, message) = (cut(&reason, 200), cut(&message, MESSAGE));
                event.insert(Event::Degraded { release: release.clone(), object, reason, message, cause, times });
            }
        }
        match events.is_empty() {
            true => Ok(()),
            false => self.append(&mut ledger, events.into_values().collect(), now, None),
        }
    }
}
