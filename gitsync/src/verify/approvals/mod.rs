//! Whether people said yes to a release: what they say is fetched as tags, each judged for itself, and then counted.

mod approval;
mod counting;

use std::collections::BTreeSet;

use tk8s_core::{ApprovedBy, Environment, Revision, TagRef, Timestamp, Trust};

pub(crate) use self::approval::PREFIX;
pub use self::approval::{approval_name, check_approval};
pub use self::counting::{ApprovalRules, Exclusion, LetIn, Missing, Unapproved};
use super::commits::Look;
use super::line::{Line, Tags, refusal};
use super::object::parse_approval;
use super::policy::{ApprovalPolicy, Verification};
use super::reading::tag_in;
use super::{Refusal, Role, Signers};
use crate::Error;
use crate::sealed::Fetched;

/// The most approvals of one release that are looked at.
const MOST_APPROVALS: usize = 1000;

impl Tags<'_> {
    /// The trust in a release with those who said yes to it; none if somebody has not, and it was neither accepted before nor
    /// let in by a person.
    pub(super) fn approved(
        &self,
        line: &Line<'_>,
        revision: &Revision,
        trust: Trust,
        result: &mut Verification,
    ) -> Result<Option<Trust>, Error> {
        let Tags { fetched, policy, accepted, now } = *self;
        let (Some(asked), Some(release)) = (&policy.approvals, &revision.tag) else { return Ok(Some(trust)) };
        let Trust::Signed { signer, fingerprint, tag_signer, .. } = trust else { return Ok(None) };
        let mut makers: BTreeSet<String> = tag_signer.iter().cloned().collect();
        makers.extend((asked.rules.exclude >= Exclusion::Head).then(|| signer.clone()));
        if asked.rules.exclude >= Exclusion::Range {
            let mut look = Look::new(&fetched.store, &policy.signers, now, &line.follows(accepted));
            match look.makers(revision.commit.as_str())? {
                Ok(more) => makers.extend(more),
                Err((id, (rule, why))) => {
                    let message = format!("nobody knows who made {id}, which is new in it, and `exclude: range` asks: {why}");
                    result.refused.push(refusal(&release.name, release.id.as_str(), (rule, message)));
                    return Ok(None);
                }
            }
        }
        let mut given = given(fetched, release, asked, &policy.signers, now, &mut result.refused)?;
        given.retain(|approval| !makers.contains(&approval.signer));
        let missing = asked.rules.missing(&given, &makers, now);
        let broken = given.iter().find(|approval| asked.rules.break_glass && approval.role == Role::BREAK_GLASS.name()).cloned();
        if missing.is_empty() || accepted.let_in.contains(&release.id) {
            // It is approved, or was let in before.
        } else if let Some(by) = broken {
            result.let_in.push(LetIn { tag: release.clone(), missing, by });
        } else {
            result.unapproved.push(Unapproved { tag: release.clone(), missing, given });
            return Ok(accepted.standing(&revision.reference, release.id.as_str()).cloned());
        }
        let standing = accepted.standing(&revision.reference, release.id.as_str()).cloned();
        Ok(Some(standing.unwrap_or(Trust::Signed { signer, fingerprint, tag_signer, approvals: given })))
    }
}

/// What people say about a release.
fn given(
    fetched: &Fetched,
    release: &TagRef,
    asked: &ApprovalPolicy,
    signers: &Signers,
    now: Timestamp,
    refused: &mut Vec<Refusal>,
) -> Result<Vec<ApprovedBy>, Error> {
    let environment = Environment::Production;
    let wanted = approval::Wanted { release: &release.name, tag: &release.id, environment, cluster: &asked.cluster };
    let about = |name: &&String| approval::named(name, &release.name).is_some();
    let mut given = Vec::new();
    for name in fetched.approvals.keys().filter(about).take(MOST_APPROVALS) {
        let id = &fetched.approvals[name];
        let parsed = tag_in(&fetched.store, id)?.and_then(|raw| parse_approval(&raw));
        match parsed.and_then(|parsed| approval::judge(name, id, &parsed, wanted, signers, now)) {
            Ok(approval) => given.push(approval),
            Err((rule, message)) => {
                refused.push(Refusal { reference: format!("refs/tags/{name}"), object: Some(id.clone()), rule, message });
            }
        }
    }
    Ok(given)
}
