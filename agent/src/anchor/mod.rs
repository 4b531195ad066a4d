//! The anchor: what the instance last accepted, and how far its ledger came, signed and kept in the cluster. A volume that
//! was lost, restored from an old copy or exchanged is noticed by it, and nothing goes back in time.
//!
//! It is a copy of what the history says, written after it and never waited for, so it may be behind the history by what
//! happened in the last second. What follows from comparing the two is decided in [`decide`]; where it is kept is in
//! [`store`].

pub mod decide;
pub mod store;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use tk8s_core::{ComponentName, Revision, Trust};
use tk8s_history::{History, Limit, Ran, SizeAndRoot, Unproven};

/// What is signed with it, so that it is taken for nothing else.
const KIND: &str = "tk8s.io/anchor/v1";

/// What is anchored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Anchor {
    /// What was accepted last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accepted: Option<Accepted>,
    /// What components follow by tags of their own, and the platform's revision does not hold.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub own: BTreeMap<ComponentName, Accepted>,
    /// How each component is: what would be its limit if its history were lost.
    pub components: BTreeMap<ComponentName, Limit>,
    /// How far the ledger has come.
    pub ledger: SizeAndRoot,
}

/// A revision, why it was accepted, and its version where tags are followed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Accepted {
    pub revision: Revision,
    pub trust: Trust,
    /// For whoever reads it; it is the tag's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
}

impl Accepted {
    fn of(revision: Revision, trust: Trust) -> Accepted {
        let version = revision.tag.as_ref().map(|tag| tag.name.trim_start_matches('v').to_owned());
        Accepted { revision, trust, version }
    }
}

impl Anchor {
    /// What there is to anchor of a history. Of components whose history was lost once it is still what was anchored then.
    /// `ran`: what ran when it was asked last.
    pub fn of(history: &History, ran: &mut BTreeMap<ComponentName, Ran>) -> Anchor {
        // Read first: what is added meanwhile is anchored the next time.
        let ledger = history.size_and_root();
        let known = history.accepted();
        let accepted = known.revision.zip(known.trust).map(|(revision, trust)| Accepted::of(revision, trust));
        let own = known.components.into_iter().filter(|(_, own)| own.ahead);
        let own = own.map(|(name, own)| (name, Accepted::of(own.revision, own.trust))).collect();
        let mut components = history.as_it_is(ran);
        for (name, limit) in history.limits() {
            let latest = components.get(&name).map_or(limit.latest, |known| known.latest.max(limit.latest));
            components.insert(name, Limit { latest, ..limit });
        }
        Anchor { accepted, own, components, ledger }
    }

    /// The signed text.
    pub fn sign(&self, history: &History) -> String {
        let value = serde_json::to_value(self).expect("because it is plain data with text as keys");
        let line = String::from_utf8(tk8s_core::canonical_json(&value)).expect("because JSON is text");
        history.sign(KIND, &line)
    }

    /// Reads a signed text. What was signed by this instance and can't be read is from a newer version.
    pub fn read(text: &str, history: &History) -> Result<Anchor, Unbelievable> {
        Anchor::read_with(text, |kind, text| history.prove(kind, text))
    }

    /// The same, as proven by somebody else than a history.
    pub fn read_with<'a>(
        text: &'a str,
        prove: impl FnOnce(&str, &'a str) -> Result<&'a str, Unproven>,
    ) -> Result<Anchor, Unbelievable> {
        Ok(serde_json::from_str(prove(KIND, text)?)?)
    }
}

/// Why an anchor says nothing.
#[derive(Debug, thiserror::Error)]
pub enum Unbelievable {
    #[error(transparent)]
    Unproven(#[from] Unproven),
    #[error("it was written by a newer version of the agent, or is not complete: {0}")]
    Newer(#[from] serde_json::Error),
}
