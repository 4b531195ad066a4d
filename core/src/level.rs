//! How far something has come, in one word that is shown wherever a person looks.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::Environment;

/// The level of an instance or a component: its environment, or [`Level::Lock`] where nothing new comes in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Level {
    /// Follows a branch, maybe without signatures.
    Dev,
    /// Follows a signed branch.
    Staging,
    /// Follows signed releases.
    Production,
    /// Held or suspended: what runs stays, until somebody says otherwise.
    Lock,
}

impl Level {
    /// The level of whatever is in this environment; `locked`: because it is held or suspended.
    pub fn of(environment: Environment, locked: bool) -> Level {
        match environment {
            _ if locked => Level::Lock,
            Environment::Dev => Level::Dev,
            Environment::Staging => Level::Staging,
            Environment::Production => Level::Production,
        }
    }

    /// Every level, in their order.
    pub const ALL: [Level; 4] = [Level::Dev, Level::Staging, Level::Production, Level::Lock];

    /// The word.
    pub fn as_str(self) -> &'static str {
        match self {
            Level::Dev => "DEV",
            Level::Staging => "STAGING",
            Level::Production => "PRODUCTION",
            Level::Lock => "LOCK",
        }
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_is_stronger_than_any_environment_and_words_are_what_is_written() {
        for environment in [Environment::Dev, Environment::Staging, Environment::Production] {
            assert_eq!(Level::of(environment, true), Level::Lock);
            assert_eq!(Level::of(environment, false).as_str(), environment.as_str().to_uppercase());
        }
        for level in Level::ALL {
            assert_eq!(serde_json::to_value(level).unwrap(), level.as_str());
        }
    }
}
