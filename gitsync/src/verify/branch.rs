//! The head of a branch, as `dev` and `staging` follow it.

use tk8s_core::{Environment, Revision, Timestamp, Trust};

use super::policy::{Accepted, Verification, Waiver, is_of_time, refused};
use super::reading::commit_of;
use super::{Refusal, Rule, Signers};
use crate::Error;
use crate::sealed::{Fetched, VerifiedRevision};

/// The head of a branch.
pub(super) fn branch(
    fetched: &Fetched,
    environment: Environment,
    signers: Option<&Signers>,
    waive: Option<&Waiver>,
    accepted: &Accepted,
    now: Timestamp,
) -> Result<Verification, Error> {
    let reference = format!("refs/heads/{}", fetched.follow.branch());
    let refuse = |rule, message| Refusal { reference: reference.clone(), object: Some(fetched.head.clone()), rule, message };
    // In `dev` branches are rewritten every day, and nothing is promised about what was there before.
    if environment != Environment::Dev
        && let Some(before) = &accepted.head
        && !fetched.store.is_ancestor(before.as_str(), &fetched.head)?
        && !accepted.waives(Rule::NotDescendant, &reference, Some(&fetched.head), before.as_str())
    {
        return Ok(refused(refuse(
            Rule::NotDescendant,
            format!("it does not descend from {}, which was accepted", before.short()),
        )));
    }
    let (commit, tree, verdict) = commit_of(&fetched.store, &fetched.head, signers, now)?;
    let standing = accepted.standing(&reference, &fetched.head);
    let trust = match (verdict, waive) {
        (Ok(verdict), _) => {
            Trust::Signed { signer: verdict.signer, fingerprint: verdict.fingerprint, tag_signer: None, approvals: Vec::new() }
        }
        (Err((rule, _)), None) if is_of_time(rule) && standing.is_some() => standing.cloned().expect("because it was just asked"),
        (Err((_, _)), Some(waiver)) => Trust::Waived { reason: waiver.0.clone() },
        (Err((rule, message)), None) => return Ok(refused(refuse(rule, message))),
    };
    let Some(tree) = tree else { return Ok(refused(refuse(Rule::MalformedObject, "the commit can't be read".into()))) };
    let revision = Revision { reference, commit, tree, tag: None };
    Ok(Verification {
        revision: VerifiedRevision::new(revision, trust, environment, fetched.store.clone()),
        ..Verification::default()
    })
}
