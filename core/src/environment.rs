//! The environment of an instance: it decides which refs are followed and what must be signed.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Where an instance runs, in the order of how much must be proven before anything is applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Environment {
    /// Follows a branch; signatures may be waived with a written reason.
    Dev,
    /// Follows a branch whose head must be signed.
    Staging,
    /// Follows signed annotated tags only.
    Production,
}

impl Environment {
    /// The name as people write it in the agent's file.
    pub fn as_str(self) -> &'static str {
        match self {
            Environment::Dev => "dev",
            Environment::Staging => "staging",
            Environment::Production => "production",
        }
    }
}

impl fmt::Display for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
