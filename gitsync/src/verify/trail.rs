//! What was asked on the way to a verdict, for people who want to know why it is what it is.
//!
//! The code that decides hands the outcome of each of its questions through a trail, which notes it and gives it back: an
//! explanation is what the verdict was made of, not a second account of the rules that could say something else. Where
//! nobody listens nothing is noted.

use std::cell::RefCell;

use serde::{Serialize, Serializer};

use super::Rule;
use super::signature::Broken;

/// A question, and what was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Check {
    /// What has to hold.
    pub check: &'static str,
    /// Whether it does.
    pub passed: bool,
    /// What was found; empty where there is no more to say.
    pub found: String,
    /// The rule that says no.
    #[serde(serialize_with = "reason", skip_serializing_if = "Option::is_none")]
    pub rule: Option<Rule>,
}

#[expect(clippy::ref_option, reason = "serde hands it over so")]
fn reason<S: Serializer>(rule: &Option<Rule>, serializer: S) -> Result<S::Ok, S::Error> {
    rule.map(Rule::reason).serialize(serializer)
}

/// What was asked about one object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Questioned {
    /// What it is, and its id.
    pub object: String,
    /// Each check, in the order in which it was made.
    pub checks: Vec<Check>,
}

/// What was noted so far.
#[derive(Debug, Default)]
pub(crate) struct Notes(RefCell<Vec<Questioned>>);

impl Notes {
    /// Where the code that decides notes what it found.
    pub(crate) fn trail(&self) -> Trail<'_> {
        Trail(Some(self))
    }

    /// Everything, in the order in which it was asked.
    pub(crate) fn objects(self) -> Vec<Questioned> {
        self.0.into_inner()
    }
}

/// The way to a verdict.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Trail<'a>(Option<&'a Notes>);

impl Trail<'_> {
    /// A trail that nobody wants to see.
    pub(crate) const SILENT: Trail<'static> = Trail(None);

    /// What is asked from now on is about this object.
    pub(crate) fn about(self, object: impl FnOnce() -> String) {
        if let Some(Notes(objects)) = self.0 {
            objects.borrow_mut().push(Questioned { object: object(), checks: Vec::new() });
        }
    }

    /// Notes an outcome and what was found, and gives the outcome back.
    pub(crate) fn ask<T>(
        self,
        check: &'static str,
        outcome: Result<T, Broken>,
        found: impl FnOnce(&T) -> String,
    ) -> Result<T, Broken> {
        if let Some(Notes(objects)) = self.0 {
            let (passed, found, rule) = match &outcome {
                Ok(value) => (true, found(value), None),
                Err((rule, why)) => (false, why.clone(), Some(*rule)),
            };
            let mut objects = objects.borrow_mut();
            let object = objects.last_mut().expect("because whoever wants to know says about what");
            object.checks.push(Check { check, passed, found, rule });
        }
        outcome
    }

    /// Refuses what does not hold, and notes it either way.
    pub(crate) fn require(self, check: &'static str, holds: bool, otherwise: impl FnOnce() -> Broken) -> Result<(), Broken> {
        self.ask(check, if holds { Ok(()) } else { Err(otherwise()) }, |()| String::new())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outcomes_are_noted_in_order_and_given_back_unchanged() {
        let notes = Notes::default();
        notes.trail().about(|| "commit 1".into());
        let otherwise = || (Rule::WeakKey, "it is weak".to_owned());
        assert_eq!(notes.trail().ask("one", Ok(1), |one| format!("it is {one}")), Ok(1));
        assert_eq!(notes.trail().require("two", true, otherwise), Ok(()));
        assert_eq!(notes.trail().require("three", false, otherwise), Err(otherwise()));
        assert_eq!(Trail::SILENT.require("four", false, otherwise), Err(otherwise()));
        notes.trail().about(|| "commit 2".into());
        let objects = notes.objects();
        assert_eq!(objects.iter().map(|object| object.object.as_str()).collect::<Vec<_>>(), ["commit 1", "commit 2"]);
        let told: Vec<_> =
            objects[0].checks.iter().cloned().map(|note| (note.check, note.passed, note.found, note.rule)).collect();
        let (nothing, weak) = (String::new(), "it is weak".to_owned());
        assert_eq!(
            told,
            [("one", true, "it is 1".into(), None), ("two", true, nothing, None), ("three", false, weak, Some(Rule::WeakKey))]
        );
    }
}
