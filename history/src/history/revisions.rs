//! What is known of revisions: which were accepted, which were refused and how often, and what each tag named at first sight.

use std::collections::BTreeSet;

use tk8s_core::{ComponentName, Revision, Timestamp, Trust};

use super::{History, MESSAGE, cut, locked, values};
use crate::event::Event;
use crate::fold::{self, AcceptedState};
use crate::ledger::Ledger;
use crate::{AcceptedComponent, Error, RefusedRevision, RefusedView, SeenTag};

/// How many different refusals are written down between one accepted revision and the next: who can push and not sign shall
/// not fill the disk.
const REFUSALS: usize = 100;

impl History {
    /// Records that a revision was accepted. Accepting the same again is no event.
    pub fn accept(&self, revision: &Revision, trust: &Trust, now: Timestamp) -> Result<(), Error> {
        self.accept_but_for(BTreeSet::new(), revision, trust, now)
    }

    /// The same, but for some components: they go on following a tag of their own, which it does not hold.
    pub fn accept_but_for(
        &self,
        ahead: BTreeSet<ComponentName>,
        revision: &Revision,
        trust: &Trust,
        now: Timestamp,
    ) -> Result<(), Error> {
        let mut ledger = locked(&self.ledger);
        let before: Option<AcceptedState> = self.derived(&ledger, fold::ACCEPTED)?;
        if before.is_some_and(|before| before.revision == *revision && before.trust == *trust) {
            return Ok(());
        }
        locked(&self.repeats).clear();
        let event = Event::Accepted { revision: revision.clone(), trust: trust.clone(), ahead };
        self.append(&mut ledger, vec![event], now, None)
    }

    /// Records that a component follows a revision of its own from now on. The same again is no event.
    pub fn accept_component(
        &self,
        component: &ComponentName,
        revision: &Revision,
        trust: &Trust,
        now: Timestamp,
    ) -> Result<(), Error> {
        let mut ledger = locked(&self.ledger);
        let accepted = AcceptedComponent { revision: revision.clone(), trust: trust.clone(), ahead: true };
        if self.derived(&ledger, &format!("{}{component}", fold::OWN))?.as_ref() == Some(&accepted) {
            return Ok(());
        }
        let AcceptedComponent { revision, trust, .. } = accepted;
        let event = Event::AcceptedComponent { component: component.clone(), revision, trust };
        self.append(&mut ledger, vec![event], now, None)
    }

    /// Records that a revision was refused. The same object refused again for the same reason is counted; the ledger learns of
    /// the tenth, hundredth, thousandth time, so that polling can't fill it. After a hundred different ones since the last
    /// accepted revision, those that follow are counted together, as one whose ref is `*`, so that pushing can't fill it.
    pub fn refuse(&self, refusal: RefusedRevision, now: Timestamp) -> Result<(), Error> {
        let refusal = RefusedRevision {
            reference: cut(&refusal.reference, MESSAGE),
            object: cut(&refusal.object, 200),
            reason: cut(&refusal.reason, 200),
            message: cut(&refusal.message, MESSAGE),
        };
        let mut ledger = locked(&self.ledger);
        let (refusal, key, before) = self.known_refusal(&ledger, refusal)?;
        let event = match self.counted(&key, before.map(|before| before.times)) {
            None => return Ok(()),
            Some(1) => Event::Refused { refusal },
            Some(times) => {
                let RefusedRevision { reference, object, reason, .. } = refusal;
                Event::RefusedAgain { reference, object, reason, times }
            }
        };
        self.append(&mut ledger, vec![event], now, None)
    }

    /// Counts what happened again: how often by now, where that is to be written down. `known`: what is written down of it.
    pub(super) fn counted(&self, key: &str, known: Option<u64>) -> Option<u64> {
        let mut repeats = locked(&self.repeats);
        let Some(known) = known else {
            // What was counted under this key before was forgotten since.
            repeats.remove(key);
            return Some(1);
        };
        let times = repeats.entry(key.into()).or_insert(known);
        *times += 1;
        (*times == 10u64.pow(times.ilog10())).then_some(*times)
    }

    /// As what a refusal is written down, under which key, and how it stands there already.
    fn known_refusal(
        &self,
        ledger: &Ledger,
        refusal: RefusedRevision,
    ) -> Result<(RefusedRevision, String, Option<RefusedView>), Error> {
        let key = fold::refused(&refusal.reference, &refusal.object, &refusal.reason);
        if let Some(before) = self.derived::<RefusedView>(ledger, &key)? {
            return Ok((refusal, key, Some(before)));
        }
        let accepted: Option<AcceptedState> = self.derived(ledger, fold::ACCEPTED)?;
        let before = accepted.map_or(0, |accepted| accepted.refused);
        let all: Vec<RefusedView> = self.must(self.ask(ledger, |view| values(view, fold::REFUSED)))?;
        if all.len().saturating_sub(before) < REFUSALS {
            return Ok((refusal, key, None));
        }
        let message = format!(
            "{REFUSALS} different refusals are written down since a revision was last accepted: further ones are counted here and \
             not written down; find out who pushes what nobody signs"
        );
        let many = RefusedRevision {
            reference: fold::MANY_REFUSED.into(),
            object: String::new(),
            reason: "TooManyRefusals".into(),
            message,
        };
        let key = fold::refused(&many.reference, &many.object, &many.reason);
        let before = self.derived(ledger, &key)?;
        Ok((many, key, before))
    }

    /// Records what a tag names at first sight. Seeing it again is no event; seeing it with another object is an error.
    pub fn first_seen(&self, name: &str, seen: SeenTag, now: Timestamp) -> Result<(), Error> {
        let mut ledger = locked(&self.ledger);
        match self.derived::<SeenTag>(&ledger, &fold::tag(name))? {
            Some(before) if before == seen => Ok(()),
            Some(_) => Err(Error::TagMoved(tk8s_core::printable(name, 80))),
            None => self.append(&mut ledger, vec![Event::Seen { name: name.into(), seen }], now, None),
        }
    }
}
