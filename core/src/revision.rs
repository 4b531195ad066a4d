//! A revision of the repository, and how far it is trusted. Plain data: the proof that a revision was verified is the
//! sealed type that carries it (`tk8s_gitsync::VerifiedRevision`), not this.

use serde::{Deserialize, Serialize};

use crate::{CommitId, TagId, Timestamp, TreeId};

/// The tag that names a production revision.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TagRef {
    /// The tag's name without `refs/tags/`, for example `v1.4.0`.
    pub name: String,
    /// The annotated tag object.
    pub id: TagId,
}

/// One commit of the repository, how it was reached, and the tree that it holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revision {
    /// The full name of the ref through which it was found, for example `refs/heads/main`.
    pub reference: String,
    /// The commit.
    pub commit: CommitId,
    /// The root tree of the commit.
    pub tree: TreeId,
    /// The signed annotated tag, where tags are followed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tag: Option<TagRef>,
}

impl Revision {
    /// What people call it: the tag where there is one, else the short commit id.
    pub fn label(&self) -> &str {
        match &self.tag {
            Some(tag) => &tag.name,
            None => self.commit.short(),
        }
    }
}

/// A person's yes to a release.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ApprovedBy {
    /// As what: a role of the signers file.
    pub role: String,
    /// The signer's name in the signers file.
    pub signer: String,
    /// The key.
    pub fingerprint: String,
    /// The tag that says so.
    pub tag: TagId,
    /// Until when it counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<Timestamp>,
}

/// Why a revision may be applied.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "camelCase")]
pub enum Trust {
    /// Signed by a known signer.
    #[serde(rename_all = "camelCase")]
    Signed {
        /// The signer's name in the signers file.
        signer: String,
        /// The key that signed the commit, as `SHA256:...` of OpenSSH.
        fingerprint: String,
        /// The signer of the tag, where tags are followed.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        tag_signer: Option<String>,
        /// Who said yes to it, where somebody has to: those who counted when it was let in.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        approvals: Vec<ApprovedBy>,
    },
    /// Not verified, by a written decision. Possible in `dev` only.
    Waived {
        /// The reason from the agent's file; it stays visible in status and ledger.
        reason: String,
    },
}
