//! Which revision may be used. Rules only: nothing here reads the network, and the only disk is the mirror.

mod approvals;
mod armor;
mod branch;
mod commits;
mod component;
mod incident;
mod line;
mod merging;
mod object;
mod openpgp;
mod policy;
mod reading;
mod rule;
mod signature;
mod signers;
mod ssh;
mod tags;
mod trail;
mod versions;
mod x509;

pub(crate) use approvals::PREFIX as APPROVALS;
pub use approvals::{ApprovalRules, Exclusion, LetIn, Missing, Unapproved, approval_name, check_approval};
pub use commits::ForgeCommits;
pub(crate) use commits::Look;
pub use component::{has_component_tags, released_component, verify_components};
pub use incident::Incident;
pub use object::{ObjectKind, ObjectVerdict, verify_object};
pub(crate) use object::{What, judge_object, parse, parse_along, verify_along, verify_parsed};
pub use policy::{
    Accepted, AcceptedComponent, ApprovalPolicy, Commits, DevPolicy, OwnRevision, Policy, ProductionPolicy, SeenTag,
    StagingPolicy, Verification, Waiver, verify,
};
pub(crate) use reading::commit_along;
pub use rule::{Refusal, Rule};
pub(crate) use signature::Broken;
pub use signers::{Role, Signer, SignerKind, SignerState, Signers};
pub use ssh::Revocations;
#[cfg(feature = "fuzzing")]
pub(crate) use ssh::{fuzz_revocations, fuzz_signature};
pub use trail::{Check, Questioned};
pub(crate) use trail::{Notes, Trail};
pub use versions::{MaxJump, Versions};
