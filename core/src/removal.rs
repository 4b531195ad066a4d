use serde::{Deserialize, Serialize};

/// What taking a component away may delete, as the platform file said it while the component was in it. It travels with the
/// release that takes the component away: nobody can ask the file afterwards.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Removal {
    /// How many objects may be deleted without a person's word.
    pub budget: usize,
    /// Kinds that are never deleted: they stay, and so does what they hold.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub protect: Vec<String>,
}
