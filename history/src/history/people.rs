//! What people decide, as it is written down: who suspends what, holds of many components at once, rollbacks of many at
//! once and rollbacks that came to nothing.

use tk8s_core::{ComponentName, ReleaseId, Timestamp};

use super::{History, MESSAGE, bounded, cut, get, locked, values};
use crate::event::Event;
use crate::fold::{self, ReleaseState};
use crate::{Error, Hold, LeftOut, Scope, Suspension};

impl History {
    /// Records that nothing is to be written for these. Said again with other words, the new words stand.
    pub fn suspend(&self, scope: Scope, reason: &str, by: &str, now: Timestamp) -> Result<(), Error> {
        let event = Event::Suspended { scope, reason: cut(reason, MESSAGE), by: cut(by, 200) };
        self.append(&mut locked(&self.ledger), vec![event], now, None)
    }

    /// Every suspension that stands.
    pub fn suspensions(&self) -> Vec<Suspension> {
        self.look(|view| values(view, fold::SUSPENSIONS))
    }

    /// Ends the suspension of exactly this scope, and the holds and rollbacks of these components, together. Says whether
    /// there was anything to end; where there is nothing, it is no event.
    pub fn resume_all(&self, scope: &Scope, components: &[ComponentName], by: &str, now: Timestamp) -> Result<bool, Error> {
        let mut ledger = locked(&self.ledger);
        let by = cut(by, 200);
        let mut events = Vec::new();
        if self.derived::<Suspension>(&ledger, &fold::suspension(scope))?.is_some() {
            events.push(Event::Unsuspended { scope: scope.clone(), by: by.clone() });
        }
        for component in components {
            let state = self.component_state(&ledger, component)?;
            if state.is_some_and(|state| state.hold.is_some() || state.rollback.is_some()) {
                events.push(Event::Resumed { component: component.clone(), by: by.clone() });
            }
        }
        match events.is_empty() {
            true => Ok(false),
            false => self.append(&mut ledger, events, now, None).map(|()| true),
        }
    }

    /// Pins components, all of them or none.
    pub fn hold_all(&self, holds: Vec<(ComponentName, Hold)>, now: Timestamp) -> Result<(), Error> {
        let mut ledger = locked(&self.ledger);
        let mut events = Vec::new();
        for (component, hold) in holds {
            self.release_state(&ledger, &ReleaseId { component: component.clone(), number: hold.release })?;
            events.push(Event::Held { component, hold: bounded(hold) });
        }
        match events.is_empty() {
            true => Ok(()),
            false => self.append(&mut ledger, events, now, None),
        }
    }

    /// Records that someone asked for a rollback of each of these to the release at which it is held from now on: of all of
    /// them or of none. See [`History::rollback_requested`].
    pub fn rollbacks_requested(
        &self,
        holds: Vec<(ComponentName, Hold)>,
        reason: Option<&str>,
        now: Timestamp,
    ) -> Result<(), Error> {
        let mut ledger = locked(&self.ledger);
        let mut events = Vec::new();
        for (component, hold) in holds {
            self.release_state(&ledger, &ReleaseId { component: component.clone(), number: hold.release })?;
            let (hold, reason) = (bounded(hold), reason.map(|reason| cut(reason, MESSAGE)));
            let (to, by) = (hold.release, hold.by.clone());
            events.push(Event::Held { component: component.clone(), hold });
            events.push(Event::RollbackRequested { component, to, by, reason });
        }
        match events.is_empty() {
            true => Ok(()),
            false => self.append(&mut ledger, events, now, None),
        }
    }

    /// Records that a rollback was refused before it wrote anything: the component is held as it was before, or not at all.
    pub fn rollback_refused(&self, component: &ComponentName, before: Option<Hold>, now: Timestamp) -> Result<(), Error> {
        let mut events =
            vec![Event::Resumed { component: component.clone(), by: "the rollback was refused, nothing was written".into() }];
        events.extend(before.map(|hold| Event::Held { component: component.clone(), hold: bounded(hold) }));
        self.append(&mut locked(&self.ledger), events, now, None)
    }

    /// Records which objects of a release are left as they are, because the API server does not take them. The same again is
    /// no event; none says that all of the release is meant again.
    pub fn leave_out(&self, release: &ReleaseId, objects: &[LeftOut], now: Timestamp) -> Result<(), Error> {
        let mut ledger = locked(&self.ledger);
        let objects: Vec<_> =
            objects.iter().map(|left| LeftOut { object: left.object.clone(), reason: cut(&left.reason, LEFT_OUT) }).collect();
        if self.release_state(&ledger, release)?.left_out == objects {
            return Ok(());
        }
        let events = crate::event::left_out(release, &objects);
        self.append(&mut ledger, events, now, None)
    }

    /// Which objects of a release are left as they are.
    pub fn left_out(&self, release: &ReleaseId) -> Vec<LeftOut> {
        self.look(|view| get::<ReleaseState>(view, &fold::release(&release.component, release.number)))
            .map(|state| state.left_out)
            .unwrap_or_default()
    }

    /// Whether a release was begun: some of it may have been written. What was only staged changed nothing.
    pub fn was_begun(&self, release: &ReleaseId) -> bool {
        let Some(view) = self.component(&release.component) else { return false };
        view.unfinished.as_ref().is_some_and(|intent| intent.release == *release)
            || [&view.current, &view.healthy].into_iter().flatten().any(|known| known == release)
            || self.releases(&release.component).iter().any(|known| known.release.id == *release && known.ran())
            || self.inventory(&release.component).iter().any(|entry| entry.release == release.number)
    }
}

/// How much is kept of why an object is left out.
const LEFT_OUT: usize = 500;
