//! What a person tells the agent: its own file, and the platform file of the repository.
//!
//! Both are read strictly: unknown keys are refused, and all problems are reported at once, each with its line. Whether files
//! may have changed is told by [`FileWatch`].

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod account;
mod agent;
mod approvals;
mod confine;
mod cron;
mod document;
mod endpoint;
mod evidence;
mod fields;
mod freshness;
mod health;
mod installation;
mod ownership;
mod platform;
mod refs;
mod reload;
mod repository;
mod variables;
mod watch;
mod windows;

use std::fmt;

use tk8s_core::redacted;

pub use agent::{
    AgentConfig, ApiConfig, ApplyConfig, HistoryConfig, LeaseConfig, RenderConfig, RenderLimitsConfig, SopsConfig, TrustConfig,
    VariableConfig, WaiveConfig, WebhookConfig,
};
pub use approvals::{ApprovalsConfig, ExcludeConfig};
pub use confine::ConfineSpec;
pub use endpoint::{AUDIENCE, TlsConfig};
pub use evidence::EvidenceConfig;
pub use freshness::FreshnessConfig;
pub use health::{HealthConfig, HealthExpression, HealthRuleSpec};
pub use installation::{InstallationConfig, OwnObjectConfig};
pub use ownership::IgnoreSpec;
pub use platform::{ComponentKind, ComponentSpec, Deletion, HelmSpec, OnFailure, Platform, PruneSpec};
pub use refs::{MaxJumpConfig, RefsConfig};
pub use reload::{FileWatch, WatchError};
pub use repository::{AuthConfig, LimitsConfig, ProxyConfig, RepositoryConfig};
pub use watch::WatchConfig;
pub use windows::{Closed, Windows};

/// One thing that is wrong with a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// From 1; 0 where the whole file is meant.
    pub line: usize,
    /// The key, for example `layers[0].components[2].path`; empty where the whole file is meant.
    pub key: String,
    /// What is wrong, and what to write instead.
    pub message: String,
}

/// Everything that is wrong with a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problems {
    /// The file.
    pub file: String,
    /// Sorted by line.
    pub problems: Vec<Problem>,
}

impl Problems {
    /// Problems of a file, by line, and without what could be the login of a URL: keys and values are quoted as they were
    /// written, and a URL may stand where none belongs.
    pub fn of(file: &str, mut problems: Vec<Problem>) -> Problems {
        problems.sort_by_key(|problem| problem.line);
        for problem in &mut problems {
            problem.key = redacted(&problem.key);
            problem.message = redacted(&problem.message);
        }
        Problems { file: file.into(), problems }
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.problems.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{}", self.file)?;
            if problem.line > 0 {
                write!(f, ":{}", problem.line)?;
            }
            if !problem.key.is_empty() {
                write!(f, ": {}", problem.key)?;
            }
            write!(f, ": {}", problem.message)?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}
