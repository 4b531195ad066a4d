//! The health of an object: the states, and how those of many become one.

use std::fmt;

use serde::{Deserialize, Serialize};

/// How an object is, from best to worst: the worst of several is their health together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum HealthState {
    /// It does what it was asked to.
    Healthy,
    /// It was told to rest (a suspended Job, a paused Deployment).
    Suspended,
    /// It is on its way.
    Progressing,
    /// It can't be judged.
    Unknown,
    /// It is not there.
    Missing,
    /// It failed, and waiting will not help.
    Degraded,
}

impl fmt::Display for HealthState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// The reason of what ran, failed, and runs again by itself: a CronJob whose last run failed. It is told, but says nothing
/// about what was released since.
pub const LAST_RUN_FAILED: &str = "LastRunFailed";

/// The health of one object, with the reason an operator needs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    /// The state.
    pub state: HealthState,
    /// A CamelCase word, for example `ReplicasUnavailable`; empty when healthy and there is nothing to say.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// One sentence for people; the same.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
}

impl Health {
    /// Nothing to say.
    pub fn healthy() -> Health {
        Health { state: HealthState::Healthy, reason: String::new(), message: String::new() }
    }

    /// Whether nobody has to wait for it: it is healthy or rests, or what it says is of the past.
    pub fn is_settled(&self) -> bool {
        self.state <= HealthState::Suspended || self.reason == LAST_RUN_FAILED
    }

    /// Any other state, with its reason.
    pub fn because(state: HealthState, reason: &str, message: impl Into<String>) -> Health {
        Health { state, reason: reason.into(), message: message.into() }
    }
}
