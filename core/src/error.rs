//! What every error of the agent can say about itself: its class, which decides what happens next, and its reason, a
//! stable word that appears in events, status, metrics and docs.

use std::error::Error;

/// What an error means for the run that met it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub enum Class {
    /// Will probably pass by itself: tried again with backoff.
    Transient,
    /// Waits for something named (a namespace, a dependency, a person): tried again when that changes.
    Waiting,
    /// A rule refused it: not tried again until the input or the rule changes.
    Denied,
    /// The input is wrong: not tried again until the input changes.
    Stalled,
    /// The agent itself is wrong: reported loudly, nothing is written.
    Bug,
}

impl Class {
    /// Whether waiting may cure it: it is tried again by itself.
    pub fn may_pass(self) -> bool {
        matches!(self, Class::Transient | Class::Waiting)
    }

    /// The class as it stands in status and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Class::Transient => "Transient",
            Class::Waiting => "Waiting",
            Class::Denied => "Denied",
            Class::Stalled => "Stalled",
            Class::Bug => "Bug",
        }
    }
}

/// Implemented by the error enum of every crate.
pub trait Classified: Error {
    /// What this error means for the run that met it.
    fn class(&self) -> Class;
    /// A stable CamelCase word, for example `UnknownSigner`. Never renamed once released.
    fn reason(&self) -> &'static str;
}

/// The whole chain of an error on one line, outermost first: whoever prints an error prints this.
pub fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
