//! Why an object is as a rule says, where the rule doesn't say it: most controllers tell it in one of a few places.

use serde_json::Value;
use tk8s_core::HealthState;

use super::super::conditions::{Condition, Conditions};
use super::super::{items, number};

/// Conditions that speak of trouble when they are true, the gravest first.
const BAD: &[&str] = &[
    "Stalled",
    "Degraded",
    "Failed",
    "NotReady",
    "InvalidSpec",
    "SpecError",
    "SubmissionError",
    "ErrorOccurred",
    "Denied",
    "InvalidRequest",
    "Conflicted",
    "Fallback",
];
/// Conditions that speak of work under way when they are true.
const BUSY: &[&str] = &["Reconciling", "Issuing", "RolloutProgressing", "RollingOut", "Creating", "Progressing"];
/// Conditions that rest when they are true.
const RESTING: &[&str] = &["Suspended", "Paused", "Hibernated", "cnpg.io/hibernation", "Disrupting"];
/// Conditions that should be true, the one that sums up the others first.
const GOOD: &[&str] =
    &["Ready", "Available", "Healthy", "Succeeded", "Synced", "Accepted", "Programmed", "ResolvedRefs", "Established"];
/// Where kinds without conditions say it.
const TEXTS: &[&str] = &["message", "failureMessage", "failureReason", "errorMessage", "error", "phaseReason", "reason"];

/// A reason and a message for this state.
pub(super) fn explain(object: &Value, state: HealthState) -> (String, String) {
    let conditions = Conditions::of(object);
    let first_true = |kinds: &[&'static str]| {
        kinds.iter().find_map(|kind| Some((*kind, conditions.when_true(kind).filter(|it| !it.said().is_empty())?)))
    };
    let untrue = || GOOD.iter().find_map(|kind| Some((*kind, conditions.get(kind).filter(|it| !it.is_true())?)));
    let generation = number(&object["metadata"]["generation"]);
    let old = conditions.all().find(|condition| GOOD.contains(&condition.kind()) && condition.is_stale(generation));
    if let (HealthState::Progressing, Some(old)) = (state, old) {
        return ("NotObserved".into(), format!("its condition {} speaks of an older generation", old.kind()));
    }
    let found = match state {
        HealthState::Suspended => first_true(RESTING),
        HealthState::Progressing => first_true(BUSY).or_else(untrue),
        _ => first_true(BAD).or_else(untrue),
    };
    if let Some((kind, condition)) = found {
        return by(&condition, kind);
    }
    if let Some(condition) = conditions.all().find(|condition| condition.is_false() && state != HealthState::Suspended) {
        return by(&condition, condition.kind());
    }
    let status = &object["status"];
    let text = |name: &str| status[name].as_str().map(str::trim).filter(|text| !text.is_empty());
    let phase = ["phase", "state"].into_iter().find_map(text);
    let message = TEXTS.iter().copied().find_map(text);
    let sentence = match (phase, message) {
        (Some(phase), Some(message)) => format!("{phase}: {message}"),
        (None, Some(message)) => message.into(),
        (Some(phase), None) => format!("its phase is `{phase}`"),
        (None, None) => match state {
            HealthState::Suspended => "it is told to rest".into(),
            _ if !status.is_object() || items(&status["conditions"]).is_empty() => {
                "its controller has not said anything about it yet".into()
            }
            _ => "its controller does not say that it is well".into(),
        },
    };
    let fallback = match state {
        HealthState::Suspended => "Suspended",
        HealthState::Degraded => "Failed",
        _ => "NotReady",
    };
    (phase.filter(|phase| is_word(phase)).unwrap_or(fallback).into(), sentence)
}

fn by(condition: &Condition<'_>, kind: &str) -> (String, String) {
    let reason = if condition.reason.is_empty() { kind } else { condition.reason };
    let message = if condition.message.is_empty() {
        format!("its condition {kind} is {}", condition.status)
    } else {
        condition.message.into()
    };
    (reason.into(), message)
}

fn is_word(text: &str) -> bool {
    text.len() <= 60 && text.bytes().all(|byte| byte.is_ascii_alphanumeric())
}
