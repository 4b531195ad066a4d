//! What `check` found: one list for people and programs, whatever stage it comes from.
//!
//! Promises: sorted by file and line; each finding has a rule, a word that is never renamed; the fields of the JSON are
//! never renamed either; bounded, with what is left out counted.

use serde::Serialize;
use tk8s_config::Problems;
use tk8s_core::{Class, Classified as _, ComponentName, Manifest, Origin};
use tk8s_render::{Component, Warning};

use super::Exit;

/// More than anybody reads, few enough to hold.
const MOST: usize = 10_000;

/// Whether the agent would refuse it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Severity {
    Error,
    Warning,
}

/// One thing that is wrong, or that people should know.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Finding {
    pub(super) severity: Severity,
    /// Whose; none if it is the platform's or the agent's.
    pub(super) component: Option<ComponentName>,
    /// The path in the repository, or as it was given for the agent's file; a directory where no file is known.
    pub(super) file: Option<String>,
    /// From 1.
    pub(super) line: Option<usize>,
    pub(super) rule: &'static str,
    pub(super) message: String,
    pub(super) next: Option<String>,
}

impl Finding {
    /// What stops nothing.
    pub(super) fn warning(component: Option<&ComponentName>, warning: &Warning) -> Finding {
        let Warning { rule, origin, message, next } = warning.clone();
        let next = Some(next.to_owned());
        Finding { message, next, ..Finding::at(Severity::Warning, component, Some(origin), rule) }
    }

    /// An object that the component may not touch.
    pub(super) fn outside(component: &ComponentName, manifest: &Manifest, why: &str) -> Finding {
        let message = format!("{} lies outside of the component's `confine`: {why}", manifest.key());
        let next = Some("take it out, or widen `confine` in the platform file".into());
        let at = Finding::at(Severity::Error, Some(component), Some(manifest.origin().clone()), "OutsideConfinement");
        Finding { message, next, ..at }
    }

    fn at(severity: Severity, component: Option<&ComponentName>, origin: Option<Origin>, rule: &'static str) -> Finding {
        let line = origin.as_ref().map(|origin| origin.line).filter(|line| *line > 0);
        let (component, file) = (component.cloned(), origin.map(|origin| origin.file.to_string()));
        Finding { severity, component, file, line, rule, message: String::new(), next: None }
    }

    /// `FILE:LINE: error: MESSAGE: NEXT (RULE)`.
    pub(super) fn line(&self) -> String {
        let place = match (&self.file, self.line, &self.component) {
            (Some(file), Some(line), _) => format!("{file}:{line}: "),
            (Some(file), None, _) => format!("{file}: "),
            (None, _, Some(component)) => format!("{component}: "),
            (None, _, None) => String::new(),
        };
        let word = if self.severity == Severity::Error { "error" } else { "warning" };
        let next = self.next.as_ref().map(|next| format!(": {next}")).unwrap_or_default();
        format!("{place}{word}: {}{next} ({})", self.message, self.rule)
    }
}

/// All findings of a look.
#[derive(Default)]
pub(super) struct Report {
    findings: Vec<Finding>,
    more: u64,
    /// Whether something could not be looked at, so that nobody knows what is in it.
    blind: bool,
}

impl Report {
    pub(super) fn note(&mut self, finding: Finding) {
        if self.findings.len() < MOST { self.findings.push(finding) } else { self.more += 1 }
    }

    /// What is wrong with a file of ours.
    pub(super) fn problems(&mut self, rule: &'static str, problems: &Problems) {
        for problem in &problems.problems {
            let origin = Origin { file: problems.file.as_str().into(), line: problem.line };
            let (message, next) = match problem.message.split_once("unknown key: ") {
                Some(("", next)) => ("unknown key", Some(next.to_owned())),
                _ => (problem.message.as_str(), None),
            };
            let key = if problem.key.is_empty() { String::new() } else { format!("{}: ", problem.key) };
            let message = format!("{key}{message}");
            self.note(Finding { message, next, ..Finding::at(Severity::Error, None, Some(origin), rule) });
        }
    }

    /// Why a component can't be rendered.
    pub(super) fn refused(&mut self, component: &Component, error: &tk8s_render::Error) {
        let whole = || Origin { file: component.path.to_string().into(), line: 0 };
        let (each, more) = error.each();
        self.more += more;
        for error in each {
            self.blind |= error.class() == Class::Transient || matches!(error, tk8s_render::Error::NoProgram { .. });
            let (message, next) = (error.message(), error.next().map(String::from));
            let (name, origin) = (Some(&component.name), Some(error.origin().unwrap_or_else(whole)));
            self.note(Finding { message, next, ..Finding::at(Severity::Error, name, origin, error.reason()) });
        }
    }

    /// Takes another report's findings.
    pub(super) fn add(&mut self, other: Report) {
        self.blind |= other.blind;
        self.more += other.more;
        other.findings.into_iter().for_each(|finding| self.note(finding));
    }

    /// What cannot be looked at outweighs what was found: nobody knows what is in it.
    pub(super) fn exit(&self) -> Exit {
        match (self.blind, self.has_errors()) {
            (true, _) => Exit::Usage,
            (false, true) => Exit::No,
            (false, false) => Exit::Yes,
        }
    }

    pub(super) fn has_errors(&self) -> bool {
        self.more > 0 || self.findings.iter().any(|finding| finding.severity == Severity::Error)
    }

    /// The findings by file and line, and how many of each kind there are: `2 errors, 1 warning`.
    pub(super) fn end(mut self) -> (Vec<Finding>, String) {
        let place = |finding: &Finding| (finding.file.clone(), finding.line, finding.component.clone());
        self.findings.sort_by_cached_key(place);
        let of = |severity| self.findings.iter().filter(|finding| finding.severity == severity).count();
        let (errors, warnings) = (of(Severity::Error), of(Severity::Warning));
        if self.more > 0 {
            let (message, next) = (format!("{} more", self.more), Some("repair what is listed, and look again".into()));
            self.findings.push(Finding { message, next, ..Finding::at(Severity::Error, None, None, "More") });
        }
        let more = if self.more > 0 { format!(", {} more", self.more) } else { String::new() };
        (self.findings, format!("{}, {}{more}", count(errors, "error"), count(warnings, "warning")))
    }
}

/// `1 error`, `2 errors`.
pub(super) fn count(number: usize, word: &str) -> String {
    if number == 1 { format!("1 {word}") } else { format!("{number} {word}s") }
}
