//! What an apply would keep and ought to give up: items that others put into lists of a strict component, and fields that
//! were ours in an API version that is gone.
//!
//! A server-side apply removes what its manager owned alone and does not send any more. So both are made ours alone first
//! (in `managedFields`, where nothing of the object changes by it), and the apply gives them up. A dry-run can't know of
//! the first step: what the plan shows is computed here. Pure.

use serde_json::Value;

use crate::ownership::{Managed, ObjectRules, Override, Path, intruders, take_out};

/// What is given up by one apply besides what the API server says by itself.
#[derive(Debug, Default)]
pub(crate) struct GivenUp {
    /// Items of others.
    pub(crate) intruders: Vec<Override>,
    /// Fields that were ours in a version of which the API server knows nothing any more: it would forget that they were.
    pub(crate) forgotten: Vec<Path>,
}

impl GivenUp {
    /// Compares an object with what a dry-run answered. `version_is_gone`: the one in which we applied before.
    pub(crate) fn of(before: &Managed, answer: &Value, rules: &ObjectRules, version_is_gone: bool) -> GivenUp {
        if !version_is_gone && !rules.is_strict() {
            return GivenUp::default();
        }
        let after = Managed::of(answer);
        let forgotten = match version_is_gone {
            true => before.ours().minus(&after.ours()).minus(&after.others_fields()).leaves(),
            false => Vec::new(),
        };
        GivenUp { intruders: intruders(&after, answer, rules), forgotten }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.intruders.is_empty() && self.forgotten.is_empty()
    }

    /// Takes it out of what the dry-run answered.
    pub(crate) fn take_out_of(&self, planned: &mut Value) {
        let paths = self.forgotten.iter().chain(self.intruders.iter().map(|one| &one.path));
        for path in paths {
            take_out(planned, path);
        }
    }
}
