//! Incidents of refs, as they are written down and asked for.

use tk8s_core::Timestamp;

use super::{History, MESSAGE, cut, locked, values};
use crate::event::{Event, Record};
use crate::incident::{self, INCIDENTS, MOST_WRITTEN};
use crate::{Error, Incident, IncidentView};

/// How the events of incidents are written: the others are passed over without being read.
const WORDS: [&[u8]; 2] = [br#""event":"incident""#, br#""event":"incidentAccepted""#];

impl History {
    /// Writes down an incident when it is first seen, and tells how it stands. After twenty different ones of the same ref and
    /// rule since one of them, or a revision of the ref, was accepted, those that follow are not written down before somebody accepts them.
    pub fn incident(&self, incident: &Incident, now: Timestamp) -> Result<IncidentView, Error> {
        let incident = bounded(incident);
        let mut ledger = locked(&self.ledger);
        let known: Option<IncidentView> = self.derived(&ledger, &incident::place(&incident))?;
        let times = known.as_ref().map_or(0, |known| known.times);
        match known {
            Some(known) if known.incident.id == incident.id => Ok(known),
            _ => {
                if times < MOST_WRITTEN {
                    self.append(&mut ledger, vec![Event::Incident { incident: Box::new(incident.clone()) }], now, None)?;
                }
                Ok(IncidentView { incident, first: now, accepted: None, times: times + 1 })
            }
        }
    }

    /// Writes down that a person accepted an incident: its rule is waived for it from now on, and what is remembered of a tag is
    /// what it is now. Accepting it again is an error.
    pub fn accept_incident(&self, incident: &Incident, by: &str, reason: &str, now: Timestamp) -> Result<(), Error> {
        let incident = bounded(incident);
        let mut ledger = locked(&self.ledger);
        let known: Option<IncidentView> = self.derived(&ledger, &incident::place(&incident))?;
        if let Some(IncidentView { incident: of, accepted: Some(_), .. }) = known
            && of.id == incident.id
        {
            return Err(Error::AcceptedAlready(incident.id));
        }
        let (by, reason) = (cut(by, 200), cut(reason, MESSAGE));
        self.append(&mut ledger, vec![Event::IncidentAccepted { incident: Box::new(incident), by, reason }], now, None)
    }

    /// The newest incident of each ref and rule, unless a revision of the ref was accepted since.
    pub fn incidents(&self) -> Vec<IncidentView> {
        self.look(|view| values(view, INCIDENTS))
    }

    /// What the ledger tells of an incident, also of one that is over.
    pub fn told_of_incident(&self, id: &str) -> Result<Option<IncidentView>, Error> {
        let mut told = None;
        self.each_from(0, |position, bytes| {
            if WORDS.iter().any(|word| bytes.windows(word.len()).any(|window| window == *word)) {
                let Record { at, event, .. } = Record::parse(position, bytes)?;
                incident::hear(id, event, at, &mut told);
            }
            Ok(())
        })?;
        Ok(told)
    }
}

fn bounded(incident: &Incident) -> Incident {
    Incident {
        id: cut(&incident.id, 200),
        reference: cut(&incident.reference, MESSAGE),
        message: cut(&incident.message, MESSAGE),
        ..incident.clone()
    }
}
