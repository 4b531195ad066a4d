//! Conditions, and the convention by which kinds without a rule of their own are judged.

use serde_json::Value;
use tk8s_core::Health;

use super::{degraded, items, number, progressing, said, suspended, unobserved};

/// One condition, with what is missing or has another shape as empty text.
#[derive(Clone, Copy)]
pub(super) struct Condition<'a> {
    pub(super) status: &'a str,
    pub(super) reason: &'a str,
    pub(super) message: &'a str,
    value: &'a Value,
}

impl<'a> Condition<'a> {
    fn of(value: &'a Value) -> Condition<'a> {
        let text = |field: &str| value[field].as_str().unwrap_or_default().trim();
        Condition { status: text("status"), reason: text("reason"), message: text("message"), value }
    }

    pub(super) fn kind(&self) -> &'a str {
        self.value["type"].as_str().unwrap_or("?")
    }

    pub(super) fn is_true(&self) -> bool {
        self.status == "True"
    }

    pub(super) fn is_false(&self) -> bool {
        self.status == "False"
    }

    pub(super) fn said(&self) -> String {
        said(self.reason, self.message)
    }

    /// Whether it speaks of an older spec than the API server has.
    pub(super) fn is_stale(&self, generation: Option<i64>) -> bool {
        matches!((number(&self.value["observedGeneration"]), generation), (Some(observed), Some(generation)) if observed < generation)
    }

    /// Whether its reason is the word of a failure rather than of something under way.
    fn tells_failure(&self) -> bool {
        const FAILURES: &[&str] = &["Err", "Error", "Failed", "Failure", "Invalid", "Forbidden", "Denied"];
        words(self.reason).any(|word| FAILURES.contains(&word))
    }
}

/// The conditions of an object, by type. Of two with the same type the last one counts.
pub(super) struct Conditions<'a>(&'a [Value]);

impl<'a> Conditions<'a> {
    pub(super) fn of(object: &'a Value) -> Conditions<'a> {
        Conditions(items(&object["status"]["conditions"]))
    }

    pub(super) fn from(conditions: &'a Value) -> Conditions<'a> {
        Conditions(items(conditions))
    }

    pub(super) fn get(&self, kind: &str) -> Option<Condition<'a>> {
        self.0.iter().rev().find(|condition| condition["type"].as_str() == Some(kind)).map(Condition::of)
    }

    pub(super) fn all(&self) -> impl Iterator<Item = Condition<'a>> + use<'a> {
        self.0.iter().map(Condition::of)
    }

    pub(super) fn when_true(&self, kind: &str) -> Option<Condition<'a>> {
        self.get(kind).filter(Condition::is_true)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Conditions that sum up an object when there is no `Ready`, the one that says most first.
const SUMMARIES: &[&str] = &["Ready", "Available", "Healthy", "Succeeded", "Synced", "Accepted", "Programmed", "Established"];
/// Words for a phase, in any case of letters.
const FAILED: &[&str] = &["failed", "failure", "error", "errored", "degraded", "unhealthy", "invalid"];
const UNDER_WAY: &[&str] = &[
    "pending",
    "creating",
    "provisioning",
    "progressing",
    "inprogress",
    "initializing",
    "installing",
    "starting",
    "updating",
    "upgrading",
    "reconciling",
    "deleting",
    "terminating",
];

/// Kinds that have no rule of their own: a status that lags behind is on its way; what was told to rest rests; `Stalled`,
/// `Degraded` and `Failed` have failed; `Reconciling` is on its way; then `Ready` decides, or what else sums up the object.
/// Without conditions its phase may say something. What says none of this is healthy because it is there.
pub(super) fn by_convention(object: &Value) -> Health {
    if let Some(health) = unobserved(object, false) {
        return health;
    }
    let conditions = Conditions::of(object);
    resting(object, &conditions)
        .or_else(|| failing(&conditions))
        .or_else(|| summed_up(object, &conditions))
        .or_else(|| by_phase(&object["status"]))
        .unwrap_or_else(Health::healthy)
}

fn resting(object: &Value, conditions: &Conditions<'_>) -> Option<Health> {
    for field in ["suspend", "suspended", "paused"] {
        if object["spec"][field] == true {
            return Some(suspended("Suspended", format!("it is told to rest (`spec.{field}`)")));
        }
    }
    let kind = ["Suspended", "Paused"].into_iter().find(|kind| conditions.when_true(kind).is_some())?;
    let condition = conditions.get(kind)?;
    Some(suspended(first(condition.reason, kind), condition.said()))
}

fn failing(conditions: &Conditions<'_>) -> Option<Health> {
    for kind in ["Stalled", "Degraded", "Failed"] {
        if let Some(condition) = conditions.when_true(kind) {
            return Some(degraded(first(condition.reason, kind), condition.said()));
        }
    }
    if let Some(condition) = conditions.when_true("Reconciling") {
        return Some(progressing(first(condition.reason, "Reconciling"), condition.said()));
    }
    // What can't be written to where it belongs tells more than that it isn't ready there.
    let synced = conditions.get("Synced").filter(|synced| synced.is_false() && synced.tells_failure())?;
    Some(degraded(synced.reason, synced.said()))
}

fn summed_up(object: &Value, conditions: &Conditions<'_>) -> Option<Health> {
    let generation = number(&object["metadata"]["generation"]);
    let (kind, condition) = SUMMARIES.iter().find_map(|kind| Some((kind, conditions.get(kind)?)))?;
    let otherwise = format!("Not{kind}");
    let reason = first(condition.reason, &otherwise);
    // What runs to an end and did not succeed has ended.
    let failed = condition.is_false() && (condition.tells_failure() || *kind == "Succeeded");
    Some(if condition.is_stale(generation) {
        progressing("NotObserved", format!("its condition {kind} speaks of an older generation"))
    } else if condition.is_true() {
        Health::healthy()
    } else if failed {
        degraded(reason, condition.said())
    } else {
        progressing(reason, condition.said())
    })
}

fn by_phase(status: &Value) -> Option<Health> {
    let phase = ["phase", "state"].into_iter().find_map(|field| status[field].as_str())?;
    let (word, message) = (phase.to_lowercase(), status["message"].as_str().unwrap_or_default());
    let said = said(&format!("its phase is {phase}"), message);
    if FAILED.contains(&word.as_str()) {
        return Some(degraded(phase, said));
    }
    UNDER_WAY.contains(&word.as_str()).then(|| progressing(phase, said))
}

fn first<'a>(reason: &'a str, otherwise: &'a str) -> &'a str {
    if reason.is_empty() { otherwise } else { reason }
}

/// The words of a CamelCase word: `SecretSyncedError` is `Secret`, `Synced`, `Error`.
fn words(text: &str) -> impl Iterator<Item = &str> {
    let bytes = text.as_bytes();
    let starts: Vec<usize> = (0..bytes.len())
        .filter(|&at| at == 0 || (bytes[at].is_ascii_uppercase() && !bytes[at - 1].is_ascii_uppercase()))
        .chain([bytes.len()])
        .collect();
    (1..starts.len()).filter_map(move |next| text.get(starts[next - 1]..starts[next]))
}

#[cfg(test)]
mod tests {
    use super::words;

    #[test]
    fn a_camel_case_reason_is_taken_apart_into_words() {
        for (text, expected) in [
            ("SecretSyncedError", vec!["Secret", "Synced", "Error"]),
            ("ErrRegisterACMEAccount", vec!["Err", "Register", "ACMEAccount"]),
            ("terror", vec!["terror"]),
            ("", vec![]),
            ("ÄÖÜ", vec!["ÄÖÜ"]),
        ] {
            assert_eq!(words(text).collect::<Vec<_>>(), expected);
        }
    }
}
