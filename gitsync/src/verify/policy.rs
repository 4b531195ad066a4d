//! The policy of each environment: which of the fetched refs becomes the revision, and what must be signed.

use std::collections::{BTreeMap, BTreeSet};

use gix::objs::Kind;
use semver::Version;
use serde::{Deserialize, Serialize};
use tk8s_core::{ApprovedBy, CommitId, Environment, Revision, TagId, TagRef, Timestamp, TreeId, Trust};

use super::approvals::{ApprovalRules, Exclusion, Unapproved};
use super::object::{What, parse_approval};
use super::{ObjectVerdict, Refusal, Rule, Signers, approval, parse, verify_parsed};
use crate::Error;
use crate::sealed::{Fetched, VerifiedRevision};
use crate::source::Follow;
use crate::store::Store;

/// What must be proven. A waiver can be written for `dev` only: the other policies have no field for one.
#[derive(Clone, Debug)]
pub enum Policy {
    /// A branch; signatures may be waived.
    Dev(DevPolicy),
    /// A branch whose head is signed.
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
}

/// The policy of `production`.
#[derive(Clone, Debug)]
pub struct ProductionPolicy {
    /// Who may sign.
    pub signers: Signers,
    /// Who has to say yes to a release; nobody if nothing is given.
    pub approvals: Option<ApprovalPolicy>,
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
pub struct Waiver(String);

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
    /// The revision that was accepted last, and why. It was judged when it was first seen: that its signer retired or a key
    /// ran out since then doesn't change the verdict.
    pub standing: Option<(Revision, Trust)>,
}

impl Accepted {
    /// The trust that was given to this very object already.
    fn standing(&self, reference: &str, id: &str) -> Option<&Trust> {
        let (revision, trust) = self.standing.as_ref()?;
        let object = revision.tag.as_ref().map_or(revision.commit.as_str(), |tag| tag.id.as_str());
        (revision.reference == reference && object == id).then_some(trust)
    }
}

/// What time changes, and not who signed: what was accepted before stays accepted.
fn is_of_time(rule: Rule) -> bool {
    matches!(rule, Rule::RetiredSigner | Rule::KeyNotValidNow | Rule::SignatureExpired)
}

/// A tag as it was at first sight.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SeenTag {
    /// The tag object.
    pub tag: TagId,
    /// The commit it names.
    pub commit: CommitId,
}

/// What came of it: at most one revision, and everything that was refused on the way to it.
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
}

/// Judges what was fetched. An error means that something could not be read; what a rule refuses is in the result.
pub fn verify(fetched: &Fetched, policy: &Policy, accepted: &Accepted) -> Result<Verification, Error> {
    verify_at(fetched, policy, accepted, Timestamp::now())
}

/// The same, at a given time of our own clock.
pub(crate) fn verify_at(fetched: &Fetched, policy: &Policy, accepted: &Accepted, now: Timestamp) -> Result<Verification, Error> {
    match (policy, &fetched.follow) {
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
        (Policy::Staging(policy), _) => branch(fetched, Environment::Staging, Some(&policy.signers), None, accepted, now),
        (Policy::Dev(policy), _) => {
            branch(fetched, Environment::Dev, policy.signers.as_ref(), policy.waive.as_ref(), accepted, now)
        }
    }
}

fn refused(refusal: Refusal) -> Verification {
    Verification { revision: None, refused: vec![refusal], first_seen: Vec::new(), unapproved: Vec::new() }
}

/// The head of a branch.
fn branch(
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
        refused: Vec::new(),
        first_seen: Vec::new(),
        unapproved: Vec::new(),
    })
}

type Judged = Result<ObjectVerdict, (Rule, String)>;

/// A commit, its tree, and what is said of its signature. The tree is known even where the signature is refused, as a
/// waiver needs it.
pub(crate) fn commit_of(
    store: &Store,
    id: &str,
    signers: Option<&Signers>,
    now: Timestamp,
) -> Result<(CommitId, Option<TreeId>, Judged), Error> {
    let commit: CommitId = id.parse().map_err(|_| Error::Object { id: id.into(), why: "it is not an object id".into() })?;
    if let Err(refused) = bounded(store, id) {
        return Ok((commit, None, Err(refused)));
    }
    let (kind, raw) = store.read(id)?;
    if kind != Kind::Commit {
        return Ok((commit, None, Err((Rule::MalformedObject, format!("{id} is not a commit")))));
    }
    match parse(kind, &raw) {
        Ok(parsed) => {
            let tree = match &parsed.what {
                What::Commit { tree } => Some(tree.clone()),
                What::Tag { .. } | What::TagOfTag { .. } => None,
            };
            let judged = match signers {
                Some(signers) => verify_parsed(&parsed, id, signers, now),
                None => Err((Rule::Unsigned, "no signers are configured".into())),
            };
            Ok((commit, tree, judged))
        }
        Err(found) => Ok((commit, None, Err(found))),
    }
}

/// The largest commit or tag that is read. Anybody who may push can make larger ones, signed by nobody.
const LARGEST: u64 = 1024 * 1024;

/// Refuses what is too large to be a commit or a tag, before it is read.
fn bounded(store: &Store, id: &str) -> Result<(), (Rule, String)> {
    match store.size(id) {
        Some(size) if size > LARGEST => {
            Err((Rule::MalformedObject, format!("{id} has {size} bytes, at most {LARGEST} are read of a commit or tag")))
        }
        _ => Ok(()),
    }
}

/// The highest version tag that passes.
fn tags(fetched: &Fetched, policy: &ProductionPolicy, accepted: &Accepted, now: Timestamp) -> Result<Verification, Error> {
    let signers = &policy.signers;
    let mut result = Verification { revision: None, refused: Vec::new(), first_seen: Vec::new(), unapproved: Vec::new() };
    let refuse = |name: &str, id: &str, rule: Rule, message: String| Refusal {
        reference: format!("refs/tags/{name}"),
        object: Some(id.to_owned()),
        rule,
        message,
    };
    let mut versions = Vec::new();
    for (name, id) in &fetched.tags {
        match name.strip_prefix('v').and_then(|text| Version::parse(text).ok()) {
            Some(version) if version.pre.is_empty() && version.build.is_empty() => versions.push((version, name, id)),
            // A candidate: not followed, and nobody says that it is a release.
            Some(version) if version.build.is_empty() && version.pre.starts_with("rc.") => {}
            Some(_) => result.refused.push(refuse(
                name,
                id,
                Rule::NotAVersion,
                "it has a suffix; only plain versions are followed".into(),
            )),
            None if name[1..].starts_with(|c: char| c.is_ascii_digit()) => {
                result.refused.push(refuse(name, id, Rule::NotAVersion, "it is not a version".into()));
            }
            // `vendor-import`: not meant as a release.
            None => {}
        }
    }
    if let Some(version) = &accepted.version {
        let name = format!("v{version}");
        if !fetched.tags.contains_key(&name) {
            result.refused.push(refuse(
                &name,
                "",
                Rule::TagVanished,
                "it was accepted and is no longer there; what runs stays".into(),
            ));
        }
    }
    versions.sort_by(|a, b| b.0.cmp(&a.0));
    for (version, name, id) in versions {
        let seen = accepted.tags.get(name);
        if seen.is_some_and(|seen| seen.tag.as_str() != id) {
            let message = "it does not name what it named when it was accepted".to_owned();
            result.refused.push(refuse(name, id, Rule::TagMoved, message));
            continue;
        }
        if accepted.version.as_ref().is_some_and(|accepted| version < *accepted) {
            // What is no tag object was never meant as a release.
            if seen.is_none() && target(fetched, id).is_some() {
                result.refused.push(refuse(name, id, Rule::VersionLower, "a higher version was accepted before".into()));
            }
            continue;
        }
        if result.revision.is_some() {
            // At first sight of the repository older releases are history, not news; but from now on they may not move.
            if accepted.version.is_none()
                && seen.is_none()
                && let Some(commit) = target(fetched, id)
                && let Ok(tag) = id.parse()
            {
                result.first_seen.push((name.clone(), SeenTag { tag, commit }));
            }
            continue;
        }
        match tag(fetched, name, id, signers, accepted, now)? {
            Ok((revision, trust)) => {
                if seen.is_none() {
                    let tag = id.parse().map_err(|_| Error::Object { id: id.clone(), why: "it is not an object id".into() })?;
                    result.first_seen.push((name.clone(), SeenTag { tag, commit: revision.commit.clone() }));
                }
                let trust = match approved(fetched, &revision, trust, policy, accepted, now, &mut result)? {
                    Some(trust) => trust,
                    None => continue,
                };
                result.revision = VerifiedRevision::new(revision, trust, Environment::Production, fetched.store.clone());
            }
            Err((rule, message)) => result.refused.push(refuse(name, id, rule, message)),
        }
    }
    Ok(result)
}

/// The most approvals of one release that are looked at.
const MOST_APPROVALS: usize = 1000;

/// The trust in a release with those who said yes to it; none if somebody has not, and it was not accepted before.
fn approved(
    fetched: &Fetched,
    revision: &Revision,
    trust: Trust,
    policy: &ProductionPolicy,
    accepted: &Accepted,
    now: Timestamp,
    result: &mut Verification,
) -> Result<Option<Trust>, Error> {
    let (Some(asked), Some(release)) = (&policy.approvals, &revision.tag) else { return Ok(Some(trust)) };
    let Trust::Signed { signer, fingerprint, tag_signer, .. } = trust else { return Ok(None) };
    let mut makers: BTreeSet<String> = tag_signer.iter().cloned().collect();
    makers.extend((asked.rules.exclude >= Exclusion::Head).then(|| signer.clone()));
    let mut given = given(fetched, release, asked, &policy.signers, now, &mut result.refused)?;
    given.retain(|approval| !makers.contains(&approval.signer));
    let missing = asked.rules.missing(&given, &makers, now);
    if !missing.is_empty() {
        result.unapproved.push(Unapproved { tag: release.clone(), missing, given });
        return Ok(accepted.standing(&revision.reference, release.id.as_str()).cloned());
    }
    let standing = accepted.standing(&revision.reference, release.id.as_str()).cloned();
    Ok(Some(standing.unwrap_or(Trust::Signed { signer, fingerprint, tag_signer, approvals: given })))
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
        let judged = match bounded(&fetched.store, id) {
            Err(broken) => Err(broken),
            Ok(()) => match fetched.store.read(id)? {
                (Kind::Tag, raw) => {
                    parse_approval(&raw).and_then(|parsed| approval::judge(name, id, &parsed, wanted, signers, now))
                }
                _ => Err((Rule::LightweightTag, "it is not an annotated tag".into())),
            },
        };
        match judged {
            Ok(approval) => given.push(approval),
            Err((rule, message)) => {
                refused.push(Refusal { reference: format!("refs/tags/{name}"), object: Some(id.clone()), rule, message });
            }
        }
    }
    Ok(given)
}

/// The commit that a tag object names; none if it is no tag object, or not one that can be read.
fn target(fetched: &Fetched, id: &str) -> Option<CommitId> {
    bounded(&fetched.store, id).ok()?;
    let (kind, raw) = fetched.store.read(id).ok()?;
    match parse(kind, &raw).ok()?.what {
        What::Tag { commit, .. } => Some(commit),
        What::Commit { .. } | What::TagOfTag { .. } => None,
    }
}

/// What passed, or the rule that refused it.
type Passed = Result<(Revision, Trust), (Rule, String)>;

/// One version tag: the tag and its commit are signed, and the commit is where it should be.
fn tag(fetched: &Fetched, name: &str, id: &str, signers: &Signers, accepted: &Accepted, now: Timestamp) -> Result<Passed, Error> {
    let refuse = |rule: Rule, message: String| Ok(Err((rule, message)));
    if let Err((rule, message)) = bounded(&fetched.store, id) {
        return refuse(rule, message);
    }
    let (kind, raw) = fetched.store.read(id)?;
    if kind != Kind::Tag {
        return refuse(Rule::LightweightTag, "it is not an annotated tag".into());
    }
    let parsed = match parse(kind, &raw) {
        Ok(parsed) => parsed,
        Err((rule, message)) => return refuse(rule, message),
    };
    let What::Tag { name: inside, commit } = &parsed.what else { return refuse(Rule::MalformedObject, "it is not a tag".into()) };
    if inside != name {
        return refuse(Rule::TagNameMismatch, format!("the tag object calls itself `{}`", tk8s_core::printable(inside, 80)));
    }
    let standing = accepted.standing(&format!("refs/tags/{name}"), id);
    let tag_verdict = match verify_parsed(&parsed, id, signers, now) {
        Ok(verdict) => Some(verdict),
        Err((rule, _)) if is_of_time(rule) && standing.is_some() => None,
        Err((rule, message)) => return refuse(rule, message),
    };
    let (commit, tree, verdict) = commit_of(&fetched.store, commit.as_str(), Some(signers), now)?;
    let verdict = match verdict {
        Ok(verdict) => Some(verdict),
        Err((rule, _)) if is_of_time(rule) && standing.is_some() => None,
        Err((rule, message)) => return refuse(rule, format!("the tagged commit {}: {message}", commit.short())),
    };
    let Some(tree) = tree else { return refuse(Rule::MalformedObject, "the tagged commit can't be read".into()) };
    if !fetched.store.is_ancestor(commit.as_str(), &fetched.head)? {
        return refuse(
            Rule::NotOnReleaseBranch,
            format!("{} can't be reached from `{}`", commit.short(), fetched.follow.branch()),
        );
    }
    if let Some(before) = &accepted.head
        && !fetched.store.is_ancestor(before.as_str(), commit.as_str())?
    {
        return refuse(
            Rule::NotDescendant,
            format!("{} does not descend from {}, which was accepted", commit.short(), before.short()),
        );
    }
    let tag = TagRef {
        name: name.into(),
        id: id.parse().map_err(|_| Error::Object { id: id.into(), why: "it is not an object id".into() })?,
    };
    let trust = match (verdict, tag_verdict, standing) {
        (Some(commit), Some(tag), _) => {
            let (signer, fingerprint, tag_signer) = (commit.signer, commit.fingerprint, Some(tag.signer));
            Trust::Signed { signer, fingerprint, tag_signer, approvals: Vec::new() }
        }
        (_, _, Some(standing)) => standing.clone(),
        (_, _, None) => return refuse(Rule::MalformedObject, "nobody is known to have signed it".into()),
    };
    Ok(Ok((Revision { reference: format!("refs/tags/{name}"), commit, tree, tag: Some(tag) }, trust)))
}
