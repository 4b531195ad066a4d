//! Conditions, and the convention by which kinds without a rule of their own are judged.

use serde_json::Value;
use tk8s_core::Health;

use super::{degraded, items, number, progressing, said, unobserved};

/// One condition, with what is missing or has another shape as empty text.
#[derive(Clone, Copy)]
pub(super) struct Condition<'a> {
    pub(super) status: &'a str,
    pub(super) reason: &'a str,
    pub(super) message: &'a str,
    value: &'a Value,
}

impl Condition<'_> {
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
    fn is_stale(&self, generation: Option<i64>) -> bool {
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
        let value = self.0.iter().rev().find(|condition| condition["type"].as_str() == Some(kind))?;
        let text = |field: &str| value[field].as_str().unwrap_or_default().trim();
        Some(Condition { status: text("status"), reason: text("reason"), message: text("message"), value })
    }

    pub(super) fn when_true(&self, kind: &str) -> Option<Condition<'a>> {
        self.get(kind).filter(Condition::is_true)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Kinds that have no rule of their own: a status that lags behind is on its way, `Stalled` and `Degraded` have failed,
/// `Reconciling` is on its way, then `Ready` decides, or `Available` where there is no `Ready`. What says none of this is
/// healthy because it is there.
pub(super) fn by_convention(object: &Value) -> Health {
    if let Some(health) = unobserved(object, false) {
        return health;
    }
    let conditions = Conditions::of(object);
    for kind in ["Stalled", "Degraded"] {
        if let Some(condition) = conditions.when_true(kind) {
            return degraded(first(condition.reason, kind), condition.said());
        }
    }
    if let Some(condition) = conditions.when_true("Reconciling") {
        return progressing(first(condition.reason, "Reconciling"), condition.said());
    }
    let generation = number(&object["metadata"]["generation"]);
    for kind in ["Ready", "Available"] {
        let Some(condition) = conditions.get(kind) else { continue };
        let reason = first(condition.reason, if kind == "Ready" { "NotReady" } else { "NotAvailable" });
        return if condition.is_stale(generation) {
            progressing("NotObserved", format!("its condition {kind} speaks of an older generation"))
        } else if condition.is_true() {
            Health::healthy()
        } else if condition.is_false() && condition.tells_failure() {
            degraded(reason, condition.said())
        } else {
            progressing(reason, condition.said())
        };
    }
    Health::healthy()
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
