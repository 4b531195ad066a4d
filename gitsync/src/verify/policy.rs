//! The policy of each environment: what must be signed, and what was accepted before.

use std::collections::{BTreeMap, BTreeSet};

use semver::Version;
use serde::{Deserialize, Serialize};
use tk8s_core::{CommitId, ComponentName, Environment, Revision, TagId, Timestamp, TreeId, Trust};

use super::approvals::{ApprovalRules, LetIn, Unapproved};
use super::branch::branch;
use super::incident::{Incident, incidents};
use super::tags::tags;
use super::versions::{Named, named};
use super::{Refusal, Rule, Signers, Versions};
use crate::Error;
use crate::sealed::{Fetched, VerifiedRevision};
use crate::source::Follow;

/// What must be proven. A waiver can be written for `dev` only: the other policies have no field for one.
#[derive(Clone, Debug)]
pub enum Policy {
    /// A branch; signatures may be waived.
    Dev(DevPolicy),
    /// A branch whose commits are signed.
    Staging(StagingPolicy),
    /// Signed version tags on signed commits.
    Production(ProductionPolicy),
}

/// The policy of `dev`. With signers, a good signature is shown as such; without a waiver it is needed.
#[derive(Clone, Debug)]
pub struct DevPolicy {
    /// Who may sign.
    pub signers: Option<Signers>,
    /// The decision to do without.
    pub waive: Option<Waiver>,
}

/// The policy of `staging`.
#[derive(Clone, Debug)]
pub struct StagingPolicy {
    /// Who may sign.
    pub signers: Signers,
    /// What they have to have signed.
    pub commits: Commits,
}

/// Which commits of a branch are looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Commits {
    /// The newest one.
    Head,
    /// Every one since the last that was accepted. What can be reached from the baseline counts as looked at, and nothing
    /// that does not descend from it is accepted.
    Range {
        /// A commit that somebody vouches for with all that is before it.
        baseline: CommitId,
    },
}

/// The policy of `production`.
#[derive(Clone, Debug)]
pub struct ProductionPolicy {
    /// Who may sign.
    pub signers: Signers,
    /// Who has to say yes to a release; nobody if nothing is given.
    pub approvals: Option<ApprovalPolicy>,
    /// Which versions are followed.
    pub versions: Versions,
}

/// Who has to say yes, and to what.
#[derive(Clone, Debug)]
pub struct ApprovalPolicy {
    /// How many in each role.
    pub rules: ApprovalRules,
    /// The name of the cluster that they have to say it for.
    pub cluster: String,
}

/// A written decision to apply what nobody signed.
#[derive(Clone, Debug)]
pub struct Waiver(pub(super) String);

impl Waiver {
    /// A waiver with its reason, which stays visible in status and ledger.
    pub fn new(reason: &str) -> Result<Waiver, Error> {
        let reason = tk8s_core::printable(reason.trim(), 300);
        if reason.is_empty() { Err(Error::NoReason) } else { Ok(Waiver(reason)) }
    }
}

/// What was accepted before: nothing goes back behind it.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Accepted {
    /// The commit that was accepted last.
    pub head: Option<CommitId>,
    /// The version that was accepted last.
    pub version: Option<Version>,
    /// Tags by name, as they were at first sight.
    pub tags: BTreeMap<String, SeenTag>,
    /// Releases that a person let in though approvals are missing.
    #[serde(default)]
    pub let_in: BTreeSet<TagId>,
    /// The revision that was accepted last, and why. It was judged when it was first seen: that its signer retired or a key
    /// ran out since then doesn't change the verdict.
    pub standing: Option<(Revision, Trust)>,
    /// The ids of incidents that a person accepted: what of it is not where it was, and may be so.
    #[serde(default)]
    pub incidents: BTreeSet<String>,
    /// What components follow, or followed, by tags of their own.
    #[serde(default)]
    pub components: BTreeMap<ComponentName, AcceptedComponent>,
    /// Tags of components that the platform's release of this commit was found to have reached: it saves looking again.
    #[serde(skip)]
    pub passed: Option<(CommitId, BTreeSet<TagId>)>,
}

/// What was accepted last of a component by a tag of its own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AcceptedComponent {
    /// Its revision, whose tree holds the component, and nothing else that counts.
    pub revision: Revision,
    /// Why it was accepted.
    pub trust: Trust,
    /// Whether it is not in the release of the platform that was accepted last.
    pub ahead: bool,
}

impl AcceptedComponent {
    /// The version that its tag names.
    pub fn version(&self) -> Option<Version> {
        match named(&self.revision.tag.as_ref()?.name) {
            Named::Version(_, version) => Some(version),
            Named::Suffix | Named::NoVersion | Named::Else => None,
        }
    }
}

impl Accepted {
    /// The trust that was given to this very object already.
    pub(super) fn standing(&self, reference: &str, id: &str) -> Option<&Trust> {
        let (revision, trust) = self.stands(reference)?;
        let object = revision.tag.as_ref().map_or(revision.commit.as_str(), |tag| tag.id.as_str());
        (object == id).then_some(trust)
    }

    /// What was accepted last by this ref: the platform's or a component's.
    pub(super) fn stands(&self, reference: &str) -> Option<(&Revision, &Trust)> {
        let platform = self.standing.iter().map(|(revision, trust)| (revision, trust));
        let components = self.components.values().map(|own| (&own.revision, &own.trust));
        platform.chain(components).find(|(revision, _)| revision.reference == reference)
    }
}

/// What time changes, and not who signed: what was accepted before stays accepted.
pub(super) fn is_of_time(rule: Rule) -> bool {
    matches!(rule, Rule::RetiredSigner | Rule::KeyNotValidNow | Rule::SignatureExpired)
}

/// A tag as it was at first sight.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SeenTag {
    /// The tag object.
    pub tag: TagId,
    /// The commit it names.
    pub commit: CommitId,
    /// That commit's tree; what was seen by versions that did not remember it has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tree: Option<TreeId>,
}

/// What came of it: at most one revision, and everything that was refused on the way to it.
#[derive(Default)]
pub struct Verification {
    /// What may be used.
    pub revision: Option<VerifiedRevision>,
    /// What may not, each with its rule.
    pub refused: Vec<Refusal>,
    /// Tags that were accepted for the first time.
    pub first_seen: Vec<(String, SeenTag)>,
    /// Releases that are good but for people who have not said yes, or not any more. One that was accepted before stays
    /// accepted; nothing more of it is begun.
    pub unapproved: Vec<Unapproved>,
    /// Releases that lack approvals and that somebody with the role `break-glass` let in by a tag, for the first time.
    pub let_in: Vec<LetIn>,
    /// What of the refusals means that history was rewritten.
    pub incidents: Vec<Incident>,
    /// What components follow instead of the platform's revision.
    pub components: BTreeMap<ComponentName, OwnRevision>,
    /// Tags of components that the platform's revision has reached.
    pub passed: BTreeSet<TagId>,
}

/// What a component follows that is ahead of the platform's release.
pub enum OwnRevision {
    /// A revision of its own may be used.
    Verified(Box<VerifiedRevision>),
    /// What it followed is not good any more, or not there: the component stays as it is, as the platform's release would take
    /// it back.
    Kept,
}

impl Verification {
    /// Both, of the same look.
    pub fn and(mut self, more: Verification) -> Verification {
        self.refused.extend(more.refused);
        self.first_seen.extend(more.first_seen);
        self.unapproved.extend(more.unapproved);
        self.let_in.extend(more.let_in);
        self.incidents.extend(more.incidents);
        self.components.extend(more.components);
        self.passed.extend(more.passed);
        self
    }
}

/// Judges what was fetched. An error means that something could not be read; what a rule refuses is in the result.
pub fn verify(fetched: &Fetched, policy: &Policy, accepted: &Accepted) -> Result<Verification, Error> {
    verify_at(fetched, policy, accepted, Timestamp::now())
}

/// The same, at a given time of our own clock.
pub(crate) fn verify_at(fetched: &Fetched, policy: &Policy, accepted: &Accepted, now: Timestamp) -> Result<Verification, Error> {
    let judged = match (policy, &fetched.follow) {
        (Policy::Production(policy), Follow::Tags { .. }) => tags(fetched, policy, accepted, now),
        (Policy::Production(_), Follow::Branch(branch)) => {
            let message = "production follows signed version tags, never a branch".to_owned();
            Ok(refused(Refusal {
                reference: format!("refs/heads/{branch}"),
                object: Some(fetched.head.clone()),
                rule: Rule::NotAVersion,
                message,
            }))
        }
        (Policy::Staging(policy), _) => {
            branch(fetched, Environment::Staging, Some(&policy.signers), None, &policy.commits, accepted, now)
        }
        (Policy::Dev(policy), _) => {
            branch(fetched, Environment::Dev, policy.signers.as_ref(), policy.waive.as_ref(), &Commits::Head, accepted, now)
        }
    }?;
    Ok(Verification { incidents: incidents(fetched, &judged.refused, accepted), ..judged })
}

pub(super) fn refused(refusal: Refusal) -> Verification {
    Verification { refused: vec![refusal], ..Verification::default() }
}
