//! Health rules that change while the agent runs: those of its files, and those of the platform.

use tk8s_core::chain;

use super::Engine;
use super::alarms::{Cause, Reason};
use super::platform::Units;
use crate::error::Error;
use crate::rules;

impl Engine {
    /// Puts in force what the rule files say now, and what the known platform says; or tells why the files can't be followed.
    /// Then what was in force stays: at a start, what is built in.
    pub fn follow_health_rules(&self) {
        let directory = self.config().health.rules_dir.clone();
        let read = directory.as_deref().map_or_else(|| Ok(Vec::new()), rules::read_dir);
        let refused = read.map(|rules| self.judge.follow_files(rules)).err();
        let cause = |error: &Error| Cause {
            object: directory.as_deref().map(|directory| directory.display().to_string()).unwrap_or_default(),
            message: chain(error),
        };
        self.alarm(Reason::HealthRulesRefused, None, refused.iter().map(cause).collect());
        if let Some(units) = &self.world().units {
            self.follow_rules_of(units);
        }
        self.live.judge_again();
    }

    /// Puts the rules of a platform's components in force.
    pub(super) fn follow_rules_of(&self, units: &Units) {
        let of = units.all().iter().map(|unit| (&unit.spec.name, unit.spec.health.as_slice()));
        if self.judge.follow_components(of) {
            self.live.judge_again();
        }
    }
}
