//! Signatures of kinds that other programs read as well: what they say of the same bytes is compared with what is said here.

#![allow(clippy::unwrap_used, missing_docs, unreachable_pub)]

mod attacks;
mod explaining;
mod keyless;
mod openpgp;
mod programs;
#[path = "../support/mod.rs"]
mod support;
mod x509;

use std::collections::BTreeSet;

use support::verify_object;
use tk8s_core::Timestamp;
use tk8s_gitsync::{ObjectVerdict, Refusal, Rule, Signers};

/// What is signed in every case: a commit but for its signature.
pub const PAYLOAD: &str = "tree 4b825dc642cb6eb9a060e54bf8d69288fbee4904\nauthor A <a@example.com> 0 +0000\n\
                           committer A <a@example.com> 0 +0000\n\nfirst\n";

/// The commit with this signature, as Git puts it in.
pub fn commit(signature: &str) -> Vec<u8> {
    let (headers, message) = PAYLOAD.split_once("\n\n").unwrap();
    format!("{headers}\ngpgsig {}\n\n{message}", signature.replace('\n', "\n ")).into_bytes()
}

/// What is said of the commit with this signature, now.
pub fn judge(signature: &str, signers: &[u8]) -> Result<ObjectVerdict, Refusal> {
    verify_object(&commit(signature), &Signers::parse(signers, "signers").unwrap(), Timestamp::now())
}

/// Differences between us and others, each of which has a row of its own in the docs: every row has a case, every case a row.
pub struct Deviations {
    rows: BTreeSet<String>,
    seen: BTreeSet<String>,
}

impl Deviations {
    /// The first column of the table under this heading of `docs/security.md`.
    pub fn of(heading: &str) -> Deviations {
        let docs = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/security.md")).unwrap();
        let section = docs.split("\n## ").find(|section| section.starts_with(heading)).unwrap();
        let rows = section.lines().filter_map(|line| line.strip_prefix("| ")).skip(1).filter(|line| !line.starts_with("---"));
        let rows = rows.map(|row| row.split(" | ").next().unwrap().to_owned()).collect();
        Deviations { rows, seen: BTreeSet::new() }
    }

    /// Judges one case: `known` are the rows that may explain a difference.
    pub fn compare(&mut self, case: &str, ours: Result<(), Rule>, others: &[(&str, bool)], known: &[&str]) {
        for row in known {
            assert!(self.rows.contains(*row), "`{row}` is no row of the table");
        }
        println!("{case}: we say {ours:?}, and {others:?}");
        let differs = others.iter().any(|(_, accepts)| *accepts != ours.is_ok());
        assert!(!differs || !known.is_empty(), "{case}: we say {ours:?}, and {others:?}");
        if differs {
            self.seen.extend(known.iter().map(|row| (*row).to_owned()));
        }
    }

    /// Rows that another test has a case for.
    pub fn seen_elsewhere(&mut self, rows: &[&str]) {
        self.seen.extend(rows.iter().map(|row| (*row).to_owned()));
    }

    /// Every row was seen.
    pub fn end(self) {
        assert_eq!(self.seen, self.rows, "rows without a case");
    }
}
