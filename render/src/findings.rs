//! Everything that is wrong with a component, told at once: whoever repairs it needs one round, not one for each mistake.
//!
//! What is noted stops nothing at first; in the end, if there is anything, the component is refused with all of it. Keeps
//! the first thousand and counts the rest, so that hostile input costs no more memory than that.

use std::fmt;

use tk8s_core::{Class, Classified as _, Origin, ReadError, TreePath, chain, printable};

use crate::Error;

/// How many are kept: more than anybody repairs before looking again.
const KEPT: usize = 1000;
/// How many are told in one message: it stands in status, log and ledger.
const TOLD: usize = 20;
/// The longest that one of them may be there.
const LONGEST: usize = 600;

/// What was found so far.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    kept: Vec<Error>,
    more: u64,
}

impl Findings {
    pub(crate) fn note(&mut self, error: Error) {
        match error {
            Error::Several(several) => {
                self.more += several.more;
                several.errors.into_iter().for_each(|error| self.note(error));
            }
            // Where a limit ended the search is never left out.
            error if self.kept.len() < KEPT || matches!(error, Error::TooMuch { .. }) => self.kept.push(error),
            _ => self.more += 1,
        }
    }

    /// The value, or nothing and a finding more.
    pub(crate) fn keep<T>(&mut self, result: Result<T, Error>) -> Option<T> {
        result.map_err(|error| self.note(error)).ok()
    }

    /// The same, for one part of many: going on after a limit was met would be what the limit is against.
    pub(crate) fn pass<T>(&mut self, result: Result<T, Error>) -> Result<Option<T>, Error> {
        match result {
            Err(error @ Error::TooMuch { .. }) => Err(error),
            result => Ok(self.keep(result)),
        }
    }

    /// An error if there are more than anybody repairs at once: then it is not worth looking for more.
    pub(crate) fn bound(&self, component: &TreePath) -> Result<(), Error> {
        let (found, limit) = (self.count(), KEPT as u64);
        if found > limit {
            return Err(Error::TooMuch { what: format!("mistakes in `{component}`"), found, limit });
        }
        Ok(())
    }

    pub(crate) fn count(&self) -> u64 {
        self.kept.len() as u64 + self.more
    }

    /// All that was found as one error, if anything was.
    pub(crate) fn end(mut self) -> Result<(), Error> {
        match (self.kept.pop(), self.kept.is_empty() && self.more == 0) {
            (None, _) => Ok(()),
            (Some(only), true) => Err(only),
            (Some(last), false) => {
                self.kept.push(last);
                self.kept.sort_by_cached_key(|error| error.origin().map(|origin| (origin.file, origin.line)));
                Err(Error::Several(Several { errors: self.kept, more: self.more }))
            }
        }
    }
}

/// Several findings, sorted by file and line. Made by rendering only.
#[derive(Debug)]
pub struct Several {
    errors: Vec<Error>,
    more: u64,
}

impl Several {
    pub(crate) fn class(&self) -> Class {
        let passing = self.errors.iter().any(|error| error.class() == Class::Transient);
        if passing { Class::Transient } else { Class::Stalled }
    }
}

impl fmt::Display for Several {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all = self.errors.len() as u64 + self.more;
        let told: Vec<_> = self.errors.iter().take(TOLD).map(|error| printable(&chain(error), LONGEST)).collect();
        write!(f, "{all} findings: {}", told.join("; "))?;
        match all - told.len() as u64 {
            0 => Ok(()),
            more => write!(f, "; and {more} more: `tk8s-agent check` lists them"),
        }
    }
}

impl Error {
    /// The findings one by one, and how many more there were than are kept.
    pub fn each(&self) -> (Vec<&Error>, u64) {
        match self {
            Error::Several(several) => (several.errors.iter().collect(), several.more),
            one => (vec![one], 0),
        }
    }

    /// The file, and the line where there is one.
    pub fn origin(&self) -> Option<Origin> {
        let file = |path: &TreePath| Origin { file: path.to_string().into(), line: 0 };
        match self {
            Error::Yaml { origin, .. }
            | Error::NoNamespace { origin, .. }
            | Error::Refused { origin, .. }
            | Error::Layer { origin, .. }
            | Error::Hook { origin, .. }
            | Error::Sealed { origin, .. }
            | Error::NoKey { origin, .. }
            | Error::Substitution { origin, .. }
            | Error::Twice { second: origin, .. } => Some(origin.clone()),
            Error::Manifest(error) => Some(error.origin.clone()),
            Error::NotAFile { path, .. } | Error::Nested { path, .. } | Error::Empty(path) => Some(file(path)),
            Error::Read(
                ReadError::NotFound(path)
                | ReadError::Kind { path, .. }
                | ReadError::TooLarge { path, .. }
                | ReadError::Broken { path, .. },
            ) => Some(file(path)),
            _ => None,
        }
    }

    /// What to do about it, where that is known and not already said by what is wrong.
    pub fn next(&self) -> Option<&'static str> {
        Some(match self {
            Error::NotAFile { .. } => "put the file itself there, or exclude it",
            Error::Nested { .. } => "make it a component of its own, or exclude it",
            Error::Empty(_) => "`enabled: false` says it on purpose",
            Error::Twice { .. } => "keep one of them",
            Error::NoNamespace { .. } => "write `metadata.namespace`, or `namespace` in the platform file",
            _ => return None,
        })
    }

    /// What is wrong, without the place and without what to do about it.
    pub fn message(&self) -> String {
        let whole = chain(self);
        let place = self.origin().map(|origin| format!("{origin}: ")).unwrap_or_default();
        let text = whole.strip_prefix(&place).unwrap_or(&whole);
        let next = self.next().map(|next| format!(": {next}")).unwrap_or_default();
        text.strip_suffix(&next).unwrap_or(text).to_owned()
    }
}

/// Something about a component that stops nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    /// A stable CamelCase word.
    pub rule: &'static str,
    /// The file, and the line where there is one.
    pub origin: Origin,
    /// What people should know.
    pub message: String,
    /// What to do about it.
    pub next: &'static str,
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}: {}", self.origin, self.message, self.next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn glob(number: usize) -> Error {
        Error::Glob(format!("[{number}"))
    }

    #[test]
    fn one_finding_is_itself_and_several_are_counted_and_told_up_to_a_bound() {
        assert!(Findings::default().end().is_ok());
        let ending = |count: usize| {
            let mut findings = Findings::default();
            (0..count).for_each(|number| findings.note(glob(number)));
            findings.end().unwrap_err()
        };
        assert!(matches!(ending(1), Error::Glob(_)));
        assert_eq!(ending(2).to_string(), "2 findings: the glob `[0` can't be read; the glob `[1` can't be read");
        let many = ending(1_000_000);
        assert_eq!((many.each().0.len(), many.each().1), (KEPT, 999_000));
        let text = many.to_string();
        assert!(
            text.starts_with("1000000 findings: ") && text.ends_with("; and 999980 more: `tk8s-agent check` lists them"),
            "{text}"
        );
        assert!(text.len() < TOLD * LONGEST);
    }

    #[test]
    fn findings_are_sorted_by_place_and_what_may_pass_is_tried_again() {
        let at = |file: &str, line| Error::Yaml { origin: Origin { file: file.into(), line }, problem: "bad".into() };
        let mut findings = Findings::default();
        [at("b.yaml", 1), at("a.yaml", 10), at("a.yaml", 9)].into_iter().for_each(|error| findings.note(error));
        let several = findings.end().unwrap_err();
        assert_eq!(several.to_string(), "3 findings: a.yaml:9: bad; a.yaml:10: bad; b.yaml:1: bad");
        assert_eq!(several.class(), Class::Stalled);
        let mut findings = Findings::default();
        findings.note(several);
        findings.note(Error::Read(ReadError::Broken { path: "c".parse().unwrap(), why: "the disk".into() }));
        assert_eq!(findings.end().unwrap_err().class(), Class::Transient);
    }

    #[test]
    fn a_finding_says_place_what_and_next_each_once() {
        let origin = Origin { file: "a.yaml".into(), line: 3 };
        let path: TreePath = "x/y".parse().unwrap();
        let table = [
            (
                Error::NoNamespace { origin: origin.clone(), key: "ConfigMap a".into() },
                "a.yaml:3",
                "ConfigMap a names no namespace",
            ),
            (
                Error::Twice { key: "ConfigMap a".into(), first: Origin { file: "b".into(), line: 1 }, second: origin },
                "a.yaml:3",
                "ConfigMap a stands in b:1 and in a.yaml:3",
            ),
            (
                Error::NotAFile { path: path.clone(), what: "a symbolic link" },
                "x/y",
                "`x/y` is a symbolic link, which is never followed",
            ),
        ];
        for (error, place, message) in table {
            assert_eq!((error.origin().unwrap().to_string().as_str(), error.message().as_str()), (place, message));
            assert!(error.to_string().ends_with(&format!(": {}", error.next().unwrap())), "{error}");
        }
        for error in [Error::Nested { path: path.clone(), what: "chart" }, Error::Empty(path)] {
            assert!(error.to_string().contains(error.next().unwrap()), "{error}");
        }
    }
}
