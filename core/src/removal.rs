use serde::{Deserialize, Serialize};

use crate::{ComponentName, LayerId};

/// What taking a component away may delete, and when, as the platform file said it while the component was in it. It travels
/// with the release that takes the component away: nobody can ask the file afterwards.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Removal {
    /// How many objects may be deleted without a person's word.
    pub budget: usize,
    /// Kinds that are never deleted: they stay, and so does what they hold.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub protect: Vec<String>,
    /// The layer that the component was in: what is said about that counts for it until it is gone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub layer: Option<LayerId>,
    /// What the component stood on: that goes after it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub depends_on: Vec<ComponentName>,
    /// When it may go, like anything else that is new.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub windows: Vec<WrittenWindow>,
}

/// A window as it is written down.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WrittenWindow {
    /// Whether something new may come in inside it, or may not.
    pub allows: bool,
    /// The cron expression of its beginnings.
    pub begins: String,
    /// How long it lasts, in milliseconds.
    pub lasts_ms: u64,
    /// The time zone in which it begins.
    pub zone: String,
}
