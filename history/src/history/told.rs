//! What only the ledger itself tells: read from it when somebody asks, because nobody asks often.

use tk8s_core::{ReleaseId, Revision};

use super::{History, locked};
use crate::event::{Event, Record};
use crate::{Error, Story};

/// How many events are read before others may write: a person who asks holds up nobody.
const READ_AT_ONCE: u64 = 1024;
/// How an event of an accepted revision is written: the others are passed over without being read.
const ACCEPTED: &[u8] = br#""event":"accepted""#;

impl History {
    /// Every revision that was accepted, oldest first; one that was accepted again is there again.
    pub fn accepted_revisions(&self) -> Result<Vec<Revision>, Error> {
        let mut revisions = Vec::new();
        self.each_from(0, |position, bytes| {
            if bytes.windows(ACCEPTED.len()).any(|window| window == ACCEPTED)
                && let Event::Accepted { revision, .. } = Record::parse(position, bytes)?.event
            {
                revisions.push(revision);
            }
            Ok(())
        })?;
        Ok(revisions)
    }

    /// What became of a release since it was staged.
    pub fn story(&self, release: &ReleaseId) -> Result<Story, Error> {
        let from = self.release_state(&locked(&self.ledger), release)?.position;
        let mut story = Story::default();
        self.each_from(from, |position, bytes| {
            story.hear(release, Record::parse(position, bytes)?);
            Ok(())
        })?;
        Ok(story)
    }

    pub(super) fn each_from(&self, from: u64, mut each: impl FnMut(u64, &[u8]) -> Result<(), Error>) -> Result<(), Error> {
        let mut from = from;
        loop {
            let ledger = locked(&self.ledger);
            let until = ledger.size().min(from + READ_AT_ONCE);
            if from >= until {
                return Ok(());
            }
            ledger.each_between(from, until, &mut each)?;
            from = until;
        }
    }
}
