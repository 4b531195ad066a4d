//! What the agent tells the cluster about itself: a `Component` resource for each component, and Events.
//!
//! It is output only: nothing of it is read to decide anything but whether it has to be written. The engine says what may have
//! changed and what happened, by calls that never wait; one task ([`Writer`]) looks and writes, at most once a second, and does
//! nothing at all while nothing changes. What can't be written is tried again later, and holds up nobody.

mod component;
pub mod definition;
mod events;
mod write;

use std::collections::{BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tk8s_core::ComponentName;
use tokio::sync::Notify;

pub use events::{Event, Run};
pub use write::Writer;

use crate::engine::ProblemView;
use crate::metrics::Metrics;

/// The API of the resource.
pub const GROUP: &str = "agent.tk8s.io";
const VERSION: &str = "v1alpha1";
const API_VERSION: &str = "agent.tk8s.io/v1alpha1";
pub const KIND: &str = "Component";
const PLURAL: &str = "components";

/// Events that wait to be sent: what a platform of a thousand components has to say at once. Above that they are counted only.
const MOST_WAITING: usize = 1000;

/// Where the engine says what there may be to tell. Cheap to clone.
#[derive(Clone)]
pub struct Report(Arc<Inner>);

struct Inner {
    waiting: Mutex<Waiting>,
    bell: Notify,
    problem: Mutex<Option<ProblemView>>,
    metrics: Metrics,
}

/// What was said since the writer last looked.
#[derive(Default)]
struct Waiting {
    all: bool,
    changed: BTreeSet<ComponentName>,
    events: VecDeque<Event>,
}

impl Report {
    pub fn new(metrics: Metrics) -> Report {
        Report(Arc::new(Inner { waiting: Mutex::default(), bell: Notify::new(), problem: Mutex::default(), metrics }))
    }

    /// Something about this component may be otherwise.
    pub fn changed(&self, component: &ComponentName) {
        let mut waiting = lock(&self.0.waiting);
        if !waiting.changed.contains(component) {
            waiting.changed.insert(component.clone());
        }
        drop(waiting);
        self.0.bell.notify_one();
    }

    /// Something about any component may be otherwise.
    pub fn all_changed(&self) {
        lock(&self.0.waiting).all = true;
        self.0.bell.notify_one();
    }

    /// Something happened.
    pub fn happened(&self, event: Event) {
        let mut waiting = lock(&self.0.waiting);
        if waiting.events.len() < MOST_WAITING {
            waiting.events.push_back(event);
        } else {
            self.0.metrics.events_dropped.inc();
        }
        drop(waiting);
        self.0.bell.notify_one();
    }

    /// Why the cluster can't be told, if it can't.
    pub fn problem(&self) -> Option<ProblemView> {
        lock(&self.0.problem).clone()
    }

    /// Says so once in the log, and in the status for as long as it is so.
    fn set_problem(&self, problem: Option<ProblemView>) {
        let before = std::mem::replace(&mut *lock(&self.0.problem), problem.clone());
        match problem {
            Some(problem) if before.as_ref().map(|before| &before.reason) != Some(&problem.reason) => {
                tracing::warn!(reason = problem.reason, "the cluster is not told how components are: {}", problem.message);
            }
            None if before.is_some() => tracing::info!("the cluster is told how components are again"),
            _ => {}
        }
    }

    fn take(&self) -> Waiting {
        std::mem::take(&mut *lock(&self.0.waiting))
    }

    async fn rung(&self) {
        self.0.bell.notified().await;
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use tk8s_core::Timestamp;

    use super::*;

    #[test]
    fn what_waits_to_be_told_is_bounded_and_what_is_dropped_is_counted() {
        let metrics = Metrics::default();
        let report = Report::new(metrics.clone());
        let event = Event {
            at: Timestamp::UNIX_EPOCH,
            component: None,
            object: None,
            warning: true,
            reason: "Unsigned".into(),
            action: "Verify",
            note: String::new(),
        };
        for _ in 0..MOST_WAITING + 5 {
            report.happened(event.clone());
        }
        assert_eq!((report.take().events.len(), metrics.events_dropped.get()), (MOST_WAITING, 5));
        assert!(report.take().events.is_empty());
    }
}
