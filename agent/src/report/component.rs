//! What a `Component` resource says, made from what the agent says of a component anyway. Pure, but for the clock it is given.
//!
//! A condition's time moves when its status does, and by nothing else: what is written again for another message keeps it.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use tk8s_core::{HealthState, Timestamp, printable};

use crate::engine::{ComponentStatus, State, SyncState};

/// How long a text may be: a table of them has to stay readable, and a resource small. The definition takes twice as much.
const LONGEST_TEXT: usize = 500;
/// That a component runs is told when it takes longer: in a rollout of many, one request for each is enough.
const PASSING: Duration = Duration::from_secs(5);
/// That it waits for others is told when it takes longer.
const QUEUED: Duration = Duration::from_secs(30);

/// The status of a `Component` resource. `agent/crds/components.yaml` describes each field.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    pub observed_generation: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub layer: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub level: Option<String>,
    pub state: String,
    pub reason: String,
    pub health: String,
    pub sync: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub release: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
    pub objects: u64,
    pub message: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hold: Option<Hold>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suspension: Option<Suspension>,
    pub conditions: Vec<Condition>,
}

/// Who holds a component.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hold {
    pub release: u64,
    pub reason: String,
    pub by: String,
}

/// Who suspended a component, its layer or the instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Suspension {
    pub scope: String,
    pub reason: String,
    pub by: String,
}

/// A condition, by Kubernetes' conventions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Condition {
    pub r#type: String,
    pub status: String,
    pub reason: String,
    pub message: String,
    pub observed_generation: i64,
    pub last_transition_time: Timestamp,
}

/// What a condition says, without when it began to.
struct Said {
    r#type: &'static str,
    status: &'static str,
    reason: String,
    message: String,
}

impl Status {
    /// What is to be said of a component now. `before` is what was said last.
    pub fn of(view: &ComponentStatus, before: Option<&Status>, generation: i64, now: Timestamp) -> Status {
        let hold = view.hold.as_ref().map(|hold| Hold {
            release: hold.release.0,
            reason: bounded(&hold.reason),
            by: printable(&hold.by, LONGEST_TEXT),
        });
        let suspension = view.suspension.as_ref().map(|suspension| Suspension {
            scope: suspension.scope.to_string(),
            reason: bounded(&suspension.reason),
            by: bounded(&suspension.by),
        });
        let message = match (&hold, view.message.is_empty()) {
            (Some(hold), true) => hold.sentence(),
            _ => bounded(&view.message),
        };
        let condition = |said: Said| {
            let known = before.and_then(|before| before.conditions.iter().find(|known| known.r#type == said.r#type));
            let since = known.filter(|known| known.status == said.status).map(|known| known.last_transition_time);
            Condition {
                r#type: said.r#type.into(),
                status: said.status.into(),
                reason: said.reason,
                message: said.message,
                observed_generation: generation,
                last_transition_time: since.unwrap_or_else(|| whole_second(now)),
            }
        };
        Status {
            observed_generation: generation,
            layer: view.layer.as_ref().map(ToString::to_string),
            level: view.level.map(|level| level.to_string()),
            state: format!("{:?}", view.state),
            reason: view.reason.clone(),
            health: view.health.to_string(),
            sync: format!("{:?}", view.sync),
            release: view.release.map(|release| release.0),
            revision: view.revision.as_deref().map(bounded),
            commit: view.commit.clone(),
            objects: u64::try_from(view.objects).unwrap_or(u64::MAX),
            conditions: vec![
                condition(ready(view, &message)),
                condition(synced(view, &message)),
                condition(healthy(view, &message)),
                condition(held(hold.as_ref())),
                condition(suspended(suspension.as_ref())),
            ],
            message,
            hold,
            suspension,
        }
    }
}

impl Status {
    /// How long it need not be told, where all that is new is that something is under way: that may be over before anybody
    /// reads of it. Nothing where it is to be told at once. `told`: what was told last, if anything was.
    pub fn passes_within(&self, told: Option<&Status>) -> Option<Duration> {
        let as_told = |told: &Status| {
            (&self.health, &self.hold, &self.suspension) == (&told.health, &told.hold, &told.suspension)
                && self.state != told.state
        };
        // What waits for a person or a window has a reason of its own.
        let is = |state: State| self.state == format!("{state:?}") && self.reason == self.state;
        let within = match () {
            () if is(State::Pending) => Some(QUEUED),
            () if is(State::Progressing) => Some(PASSING),
            () => None,
        };
        within.filter(|_| told.is_none_or(as_told))
    }

    /// What people did to the component since it was told last: stable words, and sentences.
    pub fn since(&self, before: &Status) -> Vec<(&'static str, String)> {
        let hold = match (&before.hold, &self.hold) {
            (before, Some(hold)) if before.as_ref() != Some(hold) => Some(("Held", hold.sentence())),
            (Some(before), None) => Some(("Resumed", format!("follows Git again; it was {}", before.sentence()))),
            _ => None,
        };
        let suspension = match (&before.suspension, &self.suspension) {
            (before, Some(now)) if before.as_ref() != Some(now) => Some(("Suspended", now.sentence())),
            (Some(before), None) => Some(("Resumed", format!("is written again; it was {}", before.sentence()))),
            _ => None,
        };
        hold.into_iter().chain(suspension).collect()
    }
}

impl Hold {
    fn sentence(&self) -> String {
        bounded(&format!("held at release {} by {}: {}", self.release, self.by, self.reason))
    }
}

impl Suspension {
    fn sentence(&self) -> String {
        bounded(&format!("suspended ({}) by {}: {}", self.scope, self.by, self.reason))
    }
}

/// What ought to run does, and does well.
fn ready(view: &ComponentStatus, message: &str) -> Said {
    let well = view.health <= HealthState::Suspended;
    let is = match view.state {
        State::Healthy => true,
        State::Held | State::Suspended => well && view.sync != SyncState::OutOfSync,
        _ => false,
    };
    Said { r#type: "Ready", status: truth(is), reason: view.reason.clone(), message: message.into() }
}

/// The cluster has what ought to run, however it is.
fn synced(view: &ComponentStatus, message: &str) -> Said {
    let reason = match view.sync {
        SyncState::Synced => "Applied".into(),
        SyncState::Drifted => "Drifted".into(),
        SyncState::OutOfSync => view.reason.clone(),
    };
    let is = view.sync == SyncState::Synced;
    Said { r#type: "Synced", status: truth(is), reason, message: if is { String::new() } else { message.into() } }
}

fn healthy(view: &ComponentStatus, message: &str) -> Said {
    let status = match view.health {
        HealthState::Healthy | HealthState::Suspended => "True",
        HealthState::Unknown => "Unknown",
        HealthState::Progressing | HealthState::Missing | HealthState::Degraded => "False",
    };
    let message = if status == "True" { String::new() } else { message.into() };
    Said { r#type: "Healthy", status, reason: view.health.to_string(), message }
}

fn held(hold: Option<&Hold>) -> Said {
    let reason = if hold.is_some() { "Held" } else { "NotHeld" };
    let message = hold.map(Hold::sentence).unwrap_or_default();
    Said { r#type: "Held", status: truth(hold.is_some()), reason: reason.into(), message }
}

fn suspended(suspension: Option<&Suspension>) -> Said {
    let reason = if suspension.is_some() { "Suspended" } else { "NotSuspended" };
    let message = suspension.map(Suspension::sentence).unwrap_or_default();
    Said { r#type: "Suspended", status: truth(suspension.is_some()), reason: reason.into(), message }
}

fn truth(is: bool) -> &'static str {
    if is { "True" } else { "False" }
}

fn bounded(text: &str) -> String {
    printable(text, LONGEST_TEXT)
}

/// Times in a resource have whole seconds.
fn whole_second(time: Timestamp) -> Timestamp {
    Timestamp::from_second(time.as_second()).unwrap_or(time)
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn view() -> ComponentStatus {
        serde_json::from_value(serde_json::json!({
            "name": "web", "layer": "2-services", "level": "PRODUCTION", "state": "Healthy", "reason": "Healthy", "health": "Healthy", "sync": "Synced",
            "release": 3, "revision": "v1.4.0", "commit": "0123456789", "hold": null, "message": "", "objects": 7,
            "images": {"policy": "unverified"},
        }))
        .expect("a view")
    }

    /// The same, held.
    fn held() -> ComponentStatus {
        let hold = serde_json::json!({"release": 2, "reason": "3 am", "by": "alice"});
        let hold = serde_json::from_value(hold).expect("a hold");
        ComponentStatus { state: State::Held, reason: "Held".into(), hold, ..view() }
    }

    /// The same, suspended.
    fn suspended(view: ComponentStatus) -> ComponentStatus {
        let suspension = serde_json::json!({"scope": {"component": "web"}, "reason": "a move", "by": "carol", "since": "2026-01-01T00:00:00Z"});
        let suspension = serde_json::from_value(suspension).expect("a suspension");
        ComponentStatus { state: State::Suspended, reason: "Suspended".into(), suspension, ..view }
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("a time")
    }

    /// `Type=Status Reason`, in order.
    fn said(status: &Status) -> Vec<String> {
        status.conditions.iter().map(|said| format!("{}={} {}", said.r#type, said.status, said.reason)).collect()
    }

    #[test]
    fn what_a_component_is_becomes_its_conditions() {
        let of = |view: &ComponentStatus| said(&Status::of(view, None, 1, at(1)));
        assert_eq!(
            of(&view()),
            [
                "Ready=True Healthy",
                "Synced=True Applied",
                "Healthy=True Healthy",
                "Held=False NotHeld",
                "Suspended=False NotSuspended"
            ]
        );
        assert_eq!(
            of(&held()),
            ["Ready=True Held", "Synced=True Applied", "Healthy=True Healthy", "Held=True Held", "Suspended=False NotSuspended"]
        );
        let resting = suspended(view());
        assert_eq!(of(&resting)[..2], ["Ready=True Suspended", "Synced=True Applied"]);
        assert_eq!(of(&resting)[4], "Suspended=True Suspended");
        let away = ComponentStatus { sync: SyncState::OutOfSync, ..held() };
        assert_eq!(
            of(&away),
            ["Ready=False Held", "Synced=False Held", "Healthy=True Healthy", "Held=True Held", "Suspended=False NotSuspended"]
        );
        let denied = ComponentStatus { state: State::Denied, reason: "PruneBudget".into(), sync: SyncState::OutOfSync, ..view() };
        assert_eq!(
            of(&denied),
            [
                "Ready=False PruneBudget",
                "Synced=False PruneBudget",
                "Healthy=True Healthy",
                "Held=False NotHeld",
                "Suspended=False NotSuspended"
            ]
        );
        let unseen =
            ComponentStatus { state: State::Progressing, reason: "Progressing".into(), health: HealthState::Unknown, ..view() };
        assert_eq!(
            of(&unseen),
            [
                "Ready=False Progressing",
                "Synced=True Applied",
                "Healthy=Unknown Unknown",
                "Held=False NotHeld",
                "Suspended=False NotSuspended"
            ]
        );
        let drifted = ComponentStatus { sync: SyncState::Drifted, ..view() };
        assert_eq!(
            of(&drifted),
            [
                "Ready=True Healthy",
                "Synced=False Drifted",
                "Healthy=True Healthy",
                "Held=False NotHeld",
                "Suspended=False NotSuspended"
            ]
        );
    }

    #[test]
    fn what_is_under_way_may_pass_and_nothing_else_may() {
        let told = Status::of(&view(), None, 1, at(1));
        let now = |view: &ComponentStatus| Status::of(view, Some(&told), 1, at(2));
        let running = || ComponentStatus { state: State::Progressing, reason: "Progressing".into(), ..view() };
        let waiting = || ComponentStatus { state: State::Pending, reason: "Pending".into(), ..view() };
        let passes = |view: ComponentStatus| now(&view).passes_within(Some(&told));
        assert_eq!(passes(running()), Some(PASSING));
        assert_eq!(passes(waiting()), Some(QUEUED));
        assert_eq!(now(&waiting()).passes_within(None), Some(QUEUED), "of a new one nothing was told");
        assert_eq!(now(&running()).passes_within(Some(&now(&running()))), None, "it is told as under way already");
        assert_eq!(now(&running()).passes_within(Some(&now(&waiting()))), Some(PASSING));
        assert_eq!(passes(ComponentStatus { health: HealthState::Degraded, ..running() }), None);
        assert_eq!(passes(ComponentStatus { hold: held().hold, ..running() }), None);
        assert_eq!(passes(ComponentStatus { reason: "OutsideWindow".into(), ..waiting() }), None);
        for state in [State::Failed, State::Denied, State::Held] {
            assert_eq!(passes(ComponentStatus { state, ..view() }), None, "{state:?}");
        }
        assert_eq!(passes(suspended(view())), None);
    }

    #[test]
    fn the_time_of_a_condition_moves_when_its_status_does_and_by_nothing_else() {
        let first = Status::of(&view(), None, 1, at(10));
        assert_eq!(Status::of(&view(), Some(&first), 1, at(20)), first, "the same again is the same");
        let worse = ComponentStatus { state: State::Progressing, health: HealthState::Degraded, message: "a".into(), ..view() };
        let second = Status::of(&worse, Some(&first), 1, at(20));
        let times =
            |status: &Status| status.conditions.iter().map(|said| said.last_transition_time.as_second()).collect::<Vec<_>>();
        assert_eq!(times(&second), [20, 10, 20, 10, 10]);
        let other = ComponentStatus { message: "b".into(), ..worse };
        let third = Status::of(&other, Some(&second), 1, at(30));
        assert_eq!((times(&third), third.message.as_str()), (times(&second), "b"));
    }

    #[test]
    fn a_hold_is_told_where_there_is_nothing_else_to_tell() {
        assert_eq!(Status::of(&held(), None, 1, at(1)).message, "held at release 2 by alice: 3 am");
        let ill = ComponentStatus { message: "a pod fails".into(), ..held() };
        assert_eq!(Status::of(&ill, None, 1, at(1)).message, "a pod fails");
    }

    #[test]
    fn a_hold_that_begins_changes_or_ends_is_told_and_one_that_stands_is_not() {
        let of = |view: &ComponentStatus| Status::of(view, None, 1, at(1));
        let (free, pinned) = (of(&view()), of(&held()));
        let mut other = pinned.clone();
        other.hold.as_mut().expect("it is held").by = "bob".into();
        let word = |now: &Status, before: &Status| now.since(before).first().map(|(word, _)| *word);
        assert_eq!(
            (word(&pinned, &free), word(&other, &pinned), word(&free, &other)),
            (Some("Held"), Some("Held"), Some("Resumed"))
        );
        assert_eq!((word(&pinned, &pinned), word(&free, &free)), (None, None));
        assert!(free.since(&pinned)[0].1.contains("alice: 3 am"));
        let resting = of(&suspended(held()));
        let words = |now: &Status, before: &Status| now.since(before).into_iter().map(|(word, _)| word).collect::<Vec<_>>();
        assert_eq!((words(&resting, &free), words(&free, &resting)), (vec!["Held", "Suspended"], vec!["Resumed", "Resumed"]));
    }

    #[test]
    fn whatever_is_said_is_short_and_moves_no_cursor() {
        let long = format!("\u{1b}[2J{}", "x".repeat(100_000));
        let mut view = held();
        let hold = view.hold.as_mut().expect("it is held");
        (hold.reason, hold.by, view.message) = (long.clone(), long.clone(), long);
        let text = serde_json::to_string(&Status::of(&view, None, 1, at(1))).expect("JSON");
        assert!(text.len() < 8 * 1024 && !text.contains("\\u001b"), "{text}");
    }

    /// Every field that either of them knows, as a path.
    fn paths(value: &Value, at: &str, found: &mut Vec<String>) {
        match value {
            Value::Object(fields) => {
                for (name, field) in fields {
                    found.push(format!("{at}.{name}"));
                    paths(field, &format!("{at}.{name}"), found);
                }
            }
            Value::Array(items) => {
                if let Some(item) = items.first() {
                    paths(item, at, found);
                }
            }
            _ => {}
        }
    }

    fn paths_of_schema(schema: &Value, at: &str, found: &mut Vec<String>) {
        for (name, field) in schema["properties"].as_object().into_iter().flatten() {
            found.push(format!("{at}.{name}"));
            let inner = if field["type"] == "array" { &field["items"] } else { field };
            paths_of_schema(inner, &format!("{at}.{name}"), found);
        }
    }

    #[test]
    fn the_definition_and_what_is_written_have_the_same_fields() {
        let full = Status::of(&suspended(held()), None, 1, at(1));
        let (mut written, mut defined) = (Vec::new(), Vec::new());
        paths(&serde_json::to_value(&full).expect("JSON"), "", &mut written);
        let definition = crate::report::definition::definition();
        paths_of_schema(
            &definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["status"],
            "",
            &mut defined,
        );
        written.sort();
        defined.sort();
        assert_eq!(written, defined);
        // A column that shows nothing is worse than none.
        for column in definition["spec"]["versions"][0]["additionalPrinterColumns"].as_array().expect("columns") {
            let path = column["jsonPath"].as_str().expect("a path");
            let shown = path.strip_prefix(".status").map(|path| path.split_once('[').map_or(path, |(list, _)| list));
            assert!(shown.is_none_or(|path| written.iter().any(|known| known == path)), "{path}");
        }
    }
}
