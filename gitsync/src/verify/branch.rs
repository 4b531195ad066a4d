//! The head of a branch, as `dev` and `staging` follow it.

use tk8s_core::{Environment, Revision, Timestamp, Trust};

use super::commits::{Look, short};
use super::policy::{Accepted, Commits, Verification, Waiver, is_of_time, refused};
use super::reading::commit_of;
use super::signature::Broken;
use super::{Refusal, Rule, Signers};
use crate::Error;
use crate::sealed::{Fetched, VerifiedRevision};

/// The head of a branch, and what is new before it.
pub(super) fn branch(
    fetched: &Fetched,
    environment: Environment,
    signers: Option<&Signers>,
    waive: Option<&Waiver>,
    commits: &Commits,
    accepted: &Accepted,
    now: Timestamp,
) -> Result<Verification, Error> {
    let reference = format!("refs/heads/{}", fetched.follow.branch());
    let refuse = |object: &str, (rule, message): Broken| {
        refused(Refusal { reference: reference.clone(), object: Some(object.to_owned()), rule, message })
    };
    // In `dev` branches are rewritten every day, and nothing is promised about what was there before.
    let before = accepted.head.as_ref().filter(|_| environment != Environment::Dev).map(|head| head.as_str());
    let baseline = match commits {
        Commits::Range { baseline } => Some(baseline.as_str()),
        Commits::Head => None,
    };
    if let Some(broken) = elsewhere(fetched, &reference, accepted, before, baseline)? {
        return Ok(refuse(&fetched.head, broken));
    }
    let mut look = signers.map(|signers| Look::new(&fetched.store, signers, now, &[before, baseline]));
    if let (Some(look), Some(_)) = (&mut look, baseline)
        && let Err((id, (rule, why))) = look.between(&fetched.head, drop)?
    {
        return Ok(refuse(&id, (rule, format!("{id} is new on this branch and does not count: {why}"))));
    }
    let (commit, tree, verdict) = commit_of(&fetched.store, &fetched.head, look.as_mut())?;
    let standing = accepted.standing(&reference, &fetched.head);
    let trust = match (verdict, waive) {
        (Ok(verdict), _) => {
            Trust::Signed { signer: verdict.signer, fingerprint: verdict.fingerprint, tag_signer: None, approvals: Vec::new() }
        }
        (Err((rule, _)), None) if is_of_time(rule) && standing.is_some() => standing.cloned().expect("because it was just asked"),
        (Err((_, _)), Some(waiver)) => Trust::Waived { reason: waiver.0.clone() },
        (Err(broken), None) => return Ok(refuse(&fetched.head, broken)),
    };
    let Some(tree) = tree else {
        return Ok(refuse(&fetched.head, (Rule::MalformedObject, "the commit can't be read".into())));
    };
    let revision = Revision { reference, commit, tree, tag: None };
    Ok(Verification {
        revision: VerifiedRevision::new(revision, trust, environment, fetched.store.clone()),
        ..Verification::default()
    })
}

/// Whether the head is none of those that may follow what was there before.
fn elsewhere(
    fetched: &Fetched,
    reference: &str,
    accepted: &Accepted,
    before: Option<&str>,
    baseline: Option<&str>,
) -> Result<Option<Broken>, Error> {
    let descends_from = |commit: &str| fetched.store.is_ancestor(commit, &fetched.head);
    if let Some(before) = before
        && !descends_from(before)?
        && !accepted.waives(Rule::NotDescendant, reference, Some(&fetched.head), before)
    {
        return Ok(Some((Rule::NotDescendant, format!("it does not descend from {}, which was accepted", short(before)))));
    }
    // Of what was accepted it is not asked at every look: the way back to the baseline grows longer with time.
    if let Some(baseline) = baseline.filter(|_| before != Some(fetched.head.as_str()))
        && !descends_from(baseline)?
    {
        return Ok(Some((Rule::NotOnBaseline, format!("it does not descend from {baseline}, the baseline"))));
    }
    Ok(None)
}
