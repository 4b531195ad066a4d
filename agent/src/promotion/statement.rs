//! What is said of a release that ran well: an in-toto Statement (v1), in a DSSE envelope.
//!
//! Its subjects are trees of Git, not digests of objects: those differ between environments on purpose.

use serde::{Deserialize, Serialize};
use tk8s_core::{ComponentName, ComponentTree, Digest, Environment, ReleaseNumber, Revision, Timestamp, TreeId};

use super::steady::Span;

/// What the envelope holds.
pub const PAYLOAD: &str = "application/vnd.in-toto+json";
const STATEMENT: &str = "https://in-toto.io/Statement/v1";
/// What is said.
pub const HEALTHY: &str = "https://tk8s.io/attestations/healthy/v1";
/// The most trees that one statement is about.
const MOST_SUBJECTS: usize = 32;

/// The statement, as it is written. Fields that are not known are passed over, as the format asks.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Statement {
    #[serde(rename = "_type")]
    kind: String,
    subject: Vec<Subject>,
    predicate_type: String,
    pub predicate: Ran,
}

/// One tree that gives the objects which ran.
#[derive(Debug, Serialize, Deserialize)]
struct Subject {
    name: ComponentName,
    digest: SubjectDigest,
}

/// Both have to be the same: Git's id of the directory, and the digest of whatever else decides its rendering.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct SubjectDigest {
    git_tree: TreeId,
    tk8s_rest: String,
}

/// That a release ran, and was healthy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Ran {
    pub environment: Environment,
    pub cluster: String,
    pub instance: String,
    pub component: ComponentName,
    pub revision: Revision,
    pub release: ReleaseNumber,
    /// The digest of the release's objects, under a key of that instance: it finds it in that ledger, and nothing elsewhere.
    pub content: Digest,
    /// Since when it was healthy without interruption, by that instance's clock.
    pub healthy_since: Timestamp,
    /// When it was last seen to be.
    pub healthy_until: Timestamp,
}

impl Ran {
    pub fn span(&self) -> Span {
        Span { since: self.healthy_since, until: self.healthy_until }
    }
}

impl Statement {
    /// That this ran, rendered from any of these trees.
    pub fn of(ran: Ran, trees: &[ComponentTree]) -> Statement {
        let subject = |tree: &ComponentTree| Subject {
            name: ran.component.clone(),
            digest: SubjectDigest { git_tree: tree.tree.clone(), tk8s_rest: tree.rest.hex() },
        };
        let subject = trees.iter().take(MOST_SUBJECTS).map(subject).collect();
        Statement { kind: STATEMENT.into(), subject, predicate_type: HEALTHY.into(), predicate: ran }
    }

    /// The bytes that are signed.
    pub fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("because it holds nothing that JSON lacks")
    }

    /// Reads the payload of an envelope.
    pub fn read(bytes: &[u8]) -> Result<Statement, NotOne> {
        let head: Head = serde_json::from_slice(bytes).map_err(|error| NotOne::Malformed(error.to_string()))?;
        if head.kind != STATEMENT {
            return Err(NotOne::Type(tk8s_core::printable(&head.kind, 100)));
        }
        if head.predicate_type != HEALTHY {
            return Err(NotOne::Type(tk8s_core::printable(&head.predicate_type, 100)));
        }
        let malformed = |error: serde_json::Error| NotOne::Malformed(tk8s_core::printable(&error.to_string(), 200));
        let statement: Statement = serde_json::from_slice(bytes).map_err(malformed)?;
        match statement.subject.len() {
            1..=MOST_SUBJECTS => {}
            other => return Err(NotOne::Subjects(other)),
        }
        if let Some(other) = statement.subject.iter().find(|subject| subject.name != statement.predicate.component) {
            return Err(NotOne::Malformed(format!("it is about `{}` and about {}", statement.predicate.component, other.name)));
        }
        Ok(statement)
    }

    /// The trees that it is about.
    pub fn trees(&self) -> impl Iterator<Item = ComponentTree> {
        self.subject.iter().filter_map(|subject| {
            let rest = format!("sha256:{}", subject.digest.tk8s_rest).parse().ok()?;
            Some(ComponentTree { tree: subject.digest.git_tree.clone(), rest })
        })
    }
}

/// What says how the rest is to be read.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Head {
    #[serde(rename = "_type")]
    kind: String,
    predicate_type: String,
}

/// Why a payload is no such statement.
#[derive(Debug, thiserror::Error)]
pub enum NotOne {
    #[error("it is not a statement: {0}")]
    Malformed(String),
    #[error("it states something else (`{0}`)")]
    Type(String),
    #[error("it is about {0} trees: from 1 to {MOST_SUBJECTS} are looked at")]
    Subjects(usize),
}
