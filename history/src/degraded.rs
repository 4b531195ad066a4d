//! What became of workloads that ran: once for each cause, counted where it is the same again. Plain data, and which of them are
//! the same.

use serde::{Deserialize, Serialize};
use tk8s_core::{Digest, ObjectKey, ReleaseId, Timestamp, canonical_json};

/// That an object of a release that runs is degraded, and what is behind it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Degraded {
    /// Which object.
    pub object: ObjectKey,
    /// The stable word of its health.
    pub reason: String,
    /// For people. Holds no secret. Cut at 4000 characters.
    pub message: String,
    /// What of the message makes it this cause and not another one: without names of pods, and without their logs.
    pub cause: String,
}

/// A cause as it is known of a release.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct DegradedView {
    /// How often it was told.
    pub(crate) times: u64,
    /// When for the first time.
    pub(crate) first: Timestamp,
}

/// How many different causes are written down of one release: what people deploy shall not fill the disk.
pub(crate) const MOST: usize = 50;
/// The word under which those are counted that come after them.
pub(crate) const MANY: &str = "TooManyCauses";

impl Degraded {
    /// The same cause has the same digest, whatever its numbers: they are times, counts and addresses.
    pub(crate) fn same(&self) -> Digest {
        let mut cause = String::new();
        for character in self.cause.chars().map(|character| if character.is_ascii_digit() { '#' } else { character }) {
            if character != '#' || !cause.ends_with('#') {
                cause.push(character);
            }
        }
        Digest::of(canonical_json(&serde_json::json!([self.object.to_string(), self.reason, cause])))
    }

    /// In the place of whatever comes after [`MOST`] different ones.
    pub(crate) fn many(release: &ReleaseId, object: ObjectKey) -> Degraded {
        let message = format!("{MOST} different causes are written down of {release}: further ones are counted here");
        Degraded { object, reason: MANY.into(), message, cause: String::new() }
    }
}

/// The digest of all those together.
pub(crate) fn of_many() -> Digest {
    Digest::of(MANY)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cause_is_the_same_whatever_its_numbers_are() {
        let of = |reason: &str, cause: &str| {
            let object = crate::tests::key("web");
            Degraded { object, reason: reason.into(), message: "any".into(), cause: cause.into() }.same()
        };
        assert_eq!(of("Bad", "back-off 10s; restarted 3 times"), of("Bad", "back-off 160s; restarted 12 times"));
        assert_ne!(of("Bad", "back-off 10s"), of("Worse", "back-off 10s"));
        assert_ne!(of("Bad", "it ended (Error)"), of("Bad", "it ended (OOMKilled)"));
    }
}
