//! Whether a release ran elsewhere before it comes here. What is said of it is judged by whoever reads it; the gate sees to it
//! that nothing new comes in without.

use tk8s_core::Promoted;

use super::{GateRules, Subject, Trigger, comes_in};

/// The reason of a plan that waits for word from elsewhere.
pub const EVIDENCE_MISSING: &str = "EvidenceMissing";

/// What is known of a release from where it ran before.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Promotion {
    /// Nobody asks for any, or not for this release: what ran here before needs nobody's word.
    #[default]
    NotAsked,
    /// It ran there for long enough.
    Proven(Promoted),
    /// Nobody whose word counts says so: what is missing, and what to do.
    Unproven(String),
}

/// What is new waits for word from elsewhere: not what runs or was begun, whoever finishes it, and not what a person wants
/// back.
pub(super) fn unproven(subject: &Subject<'_>, trigger: &Trigger, rules: &GateRules) -> Option<String> {
    match &rules.promotion {
        Promotion::Unproven(why) if comes_in(subject, trigger, rules) => Some(why.clone()),
        _ => None,
    }
}

/// By whose word a plan that passed was let in.
pub(super) fn proven(subject: &Subject<'_>, trigger: &Trigger, rules: &GateRules) -> Option<Promoted> {
    match &rules.promotion {
        Promotion::Proven(promoted) if comes_in(subject, trigger, rules) => Some(promoted.clone()),
        _ => None,
    }
}
