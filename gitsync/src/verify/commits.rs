//! Which commits count: those that a person signed, and merges by the Git host that bring nothing of their own.
//!
//! Of a release it is the tagged commit that is asked about, of a branch its head, or every commit since those that are
//! known: the accepted ones and the baseline.

use std::collections::{BTreeSet, HashSet};

use tk8s_core::Timestamp;

use super::merging::{self, merged};
use super::object::{Parsed, What, signed_along, verdict};
use super::reading::{Judged, commit_in};
use super::signature::Broken;
use super::{ObjectVerdict, Rule, SignerKind, Signers, Trail};
use crate::Error;
use crate::store::Store;

/// Signatures that are verified at one look. Ten thousand take some seconds.
const MOST_COMMITS: usize = 10_000;

/// What a Git host signs for its users by itself, and what counts of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ForgeCommits {
    /// Merges that are the clean merge of two parents that count.
    #[default]
    Merges,
    /// Everything: who may push and merge is what the host says.
    All,
}

/// One look at commits.
pub(crate) struct Look<'a> {
    store: &'a Store,
    signers: &'a Signers,
    now: Timestamp,
    /// What can be reached from these was looked at before.
    known: Vec<&'a str>,
    /// Whether everything new was looked at, and counts.
    all_counts: bool,
    /// Bytes of directories that may still be compared.
    left: usize,
}

/// A commit that counts by itself, or will if its parents do.
struct Counted {
    verdict: ObjectVerdict,
    /// Of a forge's merge.
    parents: Vec<String>,
}

impl<'a> Look<'a> {
    /// `known` are the commits that counted before.
    pub(crate) fn new(store: &'a Store, signers: &'a Signers, now: Timestamp, known: &[Option<&'a str>]) -> Look<'a> {
        let known = known.iter().flatten().copied().filter(|id| store.has(id)).collect();
        Look { store, signers, now, known, all_counts: false, left: merging::MOST_BYTES }
    }

    /// What is said of one commit: of its signature, and of the commits that a merge by a forge brings together.
    pub(super) fn at(&mut self, id: &str, parsed: &Parsed, trail: Trail<'_>) -> Result<Judged, Error> {
        let Counted { verdict, parents } = match self.by_itself(id, parsed, trail)? {
            Ok(counted) => counted,
            Err(broken) => return Ok(Err(broken)),
        };
        if self.all_counts {
            return Ok(Ok(verdict));
        }
        let new: Option<HashSet<String>> = match (parents.is_empty(), self.known.is_empty()) {
            (false, false) => Some(self.store.since(id, &self.known)?.into_iter().collect()),
            _ => None,
        };
        let (mut waiting, mut seen) = (parents, HashSet::new());
        while let Some(id) = waiting.pop() {
            if new.as_ref().is_some_and(|new| !new.contains(&id)) || !seen.insert(id.clone()) {
                continue;
            }
            if seen.len() > MOST_COMMITS {
                return Ok(Err((Rule::TooManyCommits, format!("it merges more than {MOST_COMMITS} commits"))));
            }
            match self.read(&id)? {
                Ok(counted) => waiting.extend(counted.parents),
                Err(_) if self.is_known(&id)? => {}
                Err((rule, why)) => return Ok(Err((rule, format!("it merges {}: {why}", short(&id))))),
            }
        }
        Ok(Ok(verdict))
    }

    /// The first of the commits between those that are known and `head` that does not count, and why. If all do, whatever a
    /// merge among them brings together has been looked at. `hear` is told of each.
    pub(super) fn between(
        &mut self,
        head: &str,
        mut hear: impl FnMut(ObjectVerdict),
    ) -> Result<Result<(), (String, Broken)>, Error> {
        let new = self.store.since(head, &self.known)?;
        if new.len() > MOST_COMMITS {
            let why = format!("{} commits are new, at most {MOST_COMMITS} are looked at", new.len());
            return Ok(Err((head.to_owned(), (Rule::TooManyCommits, why))));
        }
        // The head itself is for whoever asks to judge.
        for id in new.iter().filter(|id| *id != head) {
            // The parents of a merge are new as well, and looked at in their turn, or known.
            match self.read(id)? {
                Err(_) if self.is_known(id)? => {}
                Err(broken) => return Ok(Err((id.clone(), broken))),
                Ok(counted) => hear(counted.verdict),
            }
        }
        self.all_counts = true;
        Ok(Ok(()))
    }

    /// Whoever signed what is new up to `head`, which is for whoever asks to judge; or the first of the commits that nobody is
    /// known to have signed, and why. Where nothing is known yet, nothing is new either: somebody vouches for it by beginning.
    pub(super) fn makers(&mut self, head: &str) -> Result<Result<BTreeSet<String>, (String, Broken)>, Error> {
        let mut makers = BTreeSet::new();
        if self.known.is_empty() {
            return Ok(Ok(makers));
        }
        Ok(self
            .between(head, |verdict| {
                makers.insert(verdict.signer);
            })?
            .map(|()| makers))
    }

    fn is_known(&self, id: &str) -> Result<bool, Error> {
        for known in &self.known {
            if self.store.is_ancestor(id, known)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn read(&mut self, id: &str) -> Result<Result<Counted, Broken>, Error> {
        match commit_in(self.store, id, Trail::SILENT)? {
            Ok(parsed) => self.by_itself(id, &parsed, Trail::SILENT),
            Err(broken) => Ok(Err(broken)),
        }
    }

    fn by_itself(&mut self, id: &str, parsed: &Parsed, trail: Trail<'_>) -> Result<Result<Counted, Broken>, Error> {
        let signed = match signed_along(parsed, self.signers, self.now, trail) {
            Ok(signed) => signed,
            Err(broken) => return Ok(Err(broken)),
        };
        let merged = if signed.kind == SignerKind::Forge && self.signers.forge() == ForgeCommits::Merges {
            let clean = self.clean(id, parsed)?;
            clean.map_err(|(rule, why)| (rule, format!("{} is a forge ({}): {why}", signed.signer, signed.fingerprint)))
        } else {
            Ok(Vec::new())
        };
        let found = |parents: &Vec<String>| match parents.is_empty() {
            true => String::new(),
            false => "it is the clean merge of its parents, which are asked about as well".into(),
        };
        let parents = match trail.ask("not the Git host alone signed it", merged, found) {
            Ok(parents) => parents,
            Err(broken) => return Ok(Err(broken)),
        };
        Ok(Ok(Counted { verdict: verdict(parsed, id, signed), parents }))
    }

    /// The parents of a commit that is their clean merge.
    fn clean(&mut self, id: &str, parsed: &Parsed) -> Result<Result<Vec<String>, Broken>, Error> {
        let refuse = |rule, why: String| Ok(Err((rule, why)));
        let What::Commit { tree, parents } = &parsed.what else {
            return refuse(Rule::ForgeSigner, "it signs no tags".into());
        };
        let [one, other] = parents.as_slice() else {
            return refuse(Rule::ForgeSigner, "its signature alone is nobody's word, and this is no merge of two commits".into());
        };
        if self.store.shallow(id)?.contains(id) {
            return refuse(Rule::ForgeSigner, "what it merged is not here, as only the newest commit is fetched".into());
        }
        let bases = self.store.merge_bases(one.as_str(), other.as_str())?;
        let [base] = bases.as_slice() else {
            let why = format!("the histories of its parents met last at {} commits, not at one", bases.len());
            return refuse(Rule::NotACleanMerge, why);
        };
        let mut trees = Vec::new();
        for id in [base.as_str(), one.as_str(), other.as_str()] {
            match commit_in(self.store, id, Trail::SILENT)? {
                Ok(Parsed { what: What::Commit { tree, .. }, .. }) => trees.push(tree),
                Ok(_) => return refuse(Rule::MalformedObject, format!("{id} is not a commit")),
                Err((rule, why)) => return refuse(rule, format!("it merges {}: {why}", short(id))),
            }
        }
        match merged(self.store, &trees[0], &trees[1], &trees[2], &mut self.left)? {
            Ok(expected) if expected == tree.as_str() => Ok(Ok(parents.iter().map(ToString::to_string).collect())),
            Ok(_) => refuse(Rule::NotACleanMerge, "it brings what none of its parents has, or leaves out what they have".into()),
            Err(why) => refuse(Rule::NotACleanMerge, why),
        }
    }
}

/// The first digits of an id, for people.
pub(super) fn short(id: &str) -> &str {
    id.get(..10).unwrap_or(id)
}
