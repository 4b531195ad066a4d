//! From a Git remote to a verified, read-only tree.
//!
//! Three steps, each the only one that can make its result: [`fetch`] brings objects into a mirror, [`verify`] decides
//! which revision may be used, [`tree`] reads it. Nothing is checked out, no program is started, and every object is
//! hashed again when it is read.

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod conversation;
mod deploy_key;
mod entries;
mod error;
mod evidence;
mod fetch;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
mod http;
mod known_hosts;
mod mirror;
mod offline;
mod pack;
mod sealed;
mod source;
mod ssh;
mod store;
mod talk;
mod verify;
mod walk;

pub use deploy_key::DeployKey;
pub use entries::is_plain_name;
pub use error::Error;
pub use evidence::{EVIDENCE, Evidence, evidence};
pub use fetch::fetch;
pub use http::{GithubApp, HttpsAccess, HttpsLogin, Proxy, ProxyLogin, TokenCache};
pub use offline::{Explained, Judged, explain_object, explain_range, explain_revision, verify_revision};
pub use sealed::{Fetched, VerifiedRevision, VerifiedTree, tree};
pub use source::{Depth, Follow, Limits, Source, SshAuth};
pub use ssh::{HostKey, host_key};
pub use verify::{
    Accepted, AcceptedComponent, ApprovalPolicy, ApprovalRules, Check, Commits, DevPolicy, Exclusion, ForgeCommits, Incident,
    LetIn, MaxJump, Missing, ObjectKind, ObjectVerdict, OwnRevision, Policy, ProductionPolicy, Questioned, Refusal, Revocations,
    Role, Rule, SeenTag, Signer, SignerKind, SignerState, Signers, StagingPolicy, Unapproved, Verification, Versions, Waiver,
    approval_name, check_approval, has_component_tags, released_component, verify, verify_components, verify_object,
};

/// Keys, tokens, certificates, lists of hosts: what is larger is not that.
const LARGEST_FILE: u64 = 4 * 1024 * 1024;

/// A small file that a person or a mounted Secret put there.
fn read_small(path: &std::path::Path, what: &'static str) -> Result<Vec<u8>, Error> {
    use std::io::Read as _;
    let fail = |source| Error::ReadFile { what, path: path.into(), source };
    let mut bytes = Vec::new();
    std::fs::File::open(path).and_then(|file| file.take(LARGEST_FILE + 1).read_to_end(&mut bytes)).map_err(fail)?;
    if bytes.len() as u64 > LARGEST_FILE {
        return Err(fail(std::io::Error::other("it is too large to be one")));
    }
    Ok(bytes)
}
