//! Whether this process may still write: asked before each request that writes, also before each repetition of one.
//!
//! Promises nothing about what is under way: a request that was sent is carried out by the API server, or not, within
//! [`UNDER_WAY`]. Whoever makes a fence closes it that much before somebody else may begin to write.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::Error;

/// For how long a request that writes may be under way. The API server is told, and gives up what takes longer; above the
/// longest time that one webhook is given by default (10 s), and below the end of the process after it was told to end.
pub const UNDER_WAY: Duration = Duration::from_secs(20);

/// What this process may do at this moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gate {
    /// Write.
    Open,
    /// Finish the objects that it has begun to write: it was told to end.
    Closing,
    /// Nothing: another process may be the writer by now.
    Closed,
}

/// A question that is asked again each time. Cheap to clone.
#[derive(Clone)]
pub struct Fence(Arc<dyn Fn() -> Gate + Send + Sync>);

impl fmt::Debug for Fence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Fence({:?})", self.gate())
    }
}

impl Fence {
    /// A fence that asks this each time.
    pub fn new(gate: impl Fn() -> Gate + Send + Sync + 'static) -> Fence {
        Fence(Arc::new(gate))
    }

    /// A fence that is always open: for whoever is alone in any case.
    pub fn open() -> Fence {
        Fence::new(|| Gate::Open)
    }

    /// What may be done at this moment.
    pub fn gate(&self) -> Gate {
        (self.0)()
    }

    /// Whether another object may be begun.
    pub fn is_open(&self) -> bool {
        self.gate() == Gate::Open
    }

    /// Refuses a request that nobody may send any more.
    pub(crate) fn check(&self, about: &str) -> Result<(), Error> {
        match self.gate() {
            Gate::Open | Gate::Closing => Ok(()),
            Gate::Closed => Err(Error::Fenced(about.into())),
        }
    }
}
