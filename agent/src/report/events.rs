//! Kubernetes Events: what the agent tells of what happened, how repeats become a series, and how much may be told. Pure, but
//! for the clock it is given.
//!
//! Only outcomes are told, each once. What is told again within a few minutes, word by word, counts up the Event that is
//! there; whatever a cluster that is upside down makes the agent say, it never says more than its budget.

use std::collections::HashMap;
use std::time::Duration;

use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::api::events::v1::{Event as Written, EventSeries};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::api::ObjectMeta;
use tk8s_core::{Class, Classified as _, ComponentName, InstanceName, ReleaseId, Timestamp, chain, printable};
use tk8s_deploy::Trigger;
use tk8s_history::{Outcome, Status};
use tokio::time::Instant;

use crate::error::Error;

/// Who tells.
pub const CONTROLLER: &str = "tk8s-agent";
/// How long a note may be: the API server takes no longer one.
const LONGEST_NOTE: usize = 1024;
/// After how long the same is told anew; what Kubernetes' own components use.
const SERIES: Duration = Duration::from_secs(6 * 60);
/// How many series are remembered. The oldest are told anew.
const MOST_SERIES: usize = 1000;

/// Something that happened.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    pub at: Timestamp,
    /// The component; none where it is about the whole instance.
    pub component: Option<ComponentName>,
    /// The object that it is about, if it is about one.
    pub object: Option<ObjectReference>,
    /// Whether a person should look.
    pub warning: bool,
    /// A stable word.
    pub reason: String,
    /// What the agent did when it happened.
    pub action: &'static str,
    pub note: String,
}

impl Event {
    /// What a run came to, if that is worth telling: nothing is told of a run that only made sure of what was so already.
    pub fn of_run(run: &Run<'_>, result: &Result<Outcome, Error>) -> Option<Event> {
        let (release, revision) = (run.release, run.revision);
        let told = |warning, reason: &str, action, note: String| {
            let component = Some(release.component.clone());
            Some(Event { at: run.at, component, object: None, warning, reason: reason.into(), action, note })
        };
        let action = match run.trigger {
            Trigger::Rollback { .. } | Trigger::AutomaticRollback => "RollBack",
            Trigger::Drift => "Repair",
            _ => "Release",
        };
        match (result, run.trigger) {
            (Ok(Outcome { status: Status::Superseded, .. }), _) => None,
            (Ok(Outcome { status: Status::Healthy, .. }), Trigger::Rollback { by, reason }) => {
                let why = reason.as_deref().map(|reason| format!(": {reason}")).unwrap_or_default();
                told(false, "RolledBack", action, format!("{release} of {revision} is back: {by} asked for it{why}"))
            }
            (Ok(Outcome { status: Status::Healthy, .. }), Trigger::AutomaticRollback) => {
                told(true, "RolledBack", action, format!("{release} of {revision} is back, because a newer one failed"))
            }
            (Ok(Outcome { status: Status::Healthy, .. }), Trigger::Drift) => {
                told(false, "DriftRepaired", action, format!("put back: {}", run.drifted))
            }
            (Ok(Outcome { status: Status::Healthy, .. }), _) if run.was_healthy => None,
            (Ok(Outcome { status: Status::Healthy, .. }), _) => {
                told(false, "Released", action, format!("{release} of {revision} runs and is healthy"))
            }
            (Ok(outcome), _) => {
                told(true, crate::engine::NOT_HEALTHY, action, format!("{release} of {revision}: {}", outcome.message))
            }
            // It is no end: another run, or another process, goes on.
            (Err(Error::Superseded | Error::NotLeading | Error::Stopping), _) => None,
            (Err(error), _) => {
                let word = match error.class() {
                    Class::Denied => "is denied",
                    Class::Transient | Class::Waiting => "is tried again",
                    Class::Stalled | Class::Bug => "failed",
                };
                told(true, error.reason(), action, format!("{release} of {revision} {word}: {}", chain(error)))
            }
        }
    }

    /// A person, or new content from Git, began or ended something.
    pub fn of_people(at: Timestamp, component: &ComponentName, reason: &str, note: String) -> Event {
        let component = Some(component.clone());
        Event { at, component, object: None, warning: false, reason: reason.into(), action: "Obey", note }
    }

    fn is_repeated_by(&self, other: &Event) -> bool {
        self.component == other.component && self.reason == other.reason && self.note == other.note && self.object == other.object
    }
}

/// What is known of a run when it ends.
pub struct Run<'a> {
    pub at: Timestamp,
    pub release: &'a ReleaseId,
    /// The revision of the release, as people call it.
    pub revision: &'a str,
    pub trigger: &'a Trigger,
    /// Whether that release was healthy before.
    pub was_healthy: bool,
    /// What was put back, if anything was.
    pub drifted: &'a str,
}

/// What has to be written for an event.
#[derive(Debug)]
pub enum Write {
    /// It is new.
    Create(Box<Written>),
    /// It was told before: how often by now.
    CountUp { name: String, series: EventSeries },
}

/// Where an Event is, and what its own subject is.
pub struct Place<'a> {
    pub namespace: &'a str,
    pub instance: &'a InstanceName,
    /// The process that tells.
    pub holder: &'a str,
    /// The identity of the component's resource, if it is known.
    pub uid: Option<String>,
}

/// What was told lately.
#[derive(Default)]
pub struct Series {
    told: HashMap<String, Told>,
}

struct Told {
    event: Event,
    times: i32,
    last: Instant,
}

impl Series {
    /// What has to be written to tell of this. It counts as told when [`Series::was_told`] says so.
    pub fn write(&mut self, event: &Event, place: Place<'_>, now: Instant) -> Write {
        self.told.retain(|_, told| now.saturating_duration_since(told.last) < SERIES);
        if let Some((name, told)) = self.told.iter().find(|(_, told)| told.event.is_repeated_by(event)) {
            let series = EventSeries { count: told.times.saturating_add(1), last_observed_time: MicroTime(event.at) };
            return Write::CountUp { name: name.clone(), series };
        }
        Write::Create(Box::new(written(event, place)))
    }

    /// This was written.
    pub fn was_told(&mut self, event: Event, write: Write, now: Instant) {
        match write {
            Write::Create(written) => {
                while self.told.len() >= MOST_SERIES
                    && let Some(oldest) = self.told.iter().min_by_key(|(_, told)| told.last).map(|(name, _)| name.clone())
                {
                    self.told.remove(&oldest);
                }
                self.told.insert(written.metadata.name.unwrap_or_default(), Told { event, times: 1, last: now });
            }
            Write::CountUp { name, series } => {
                if let Some(told) = self.told.get_mut(&name) {
                    (told.times, told.last) = (series.count, now);
                }
            }
        }
    }

    /// The Event that was to be counted up is gone: Events don't last.
    pub fn is_gone(&mut self, name: &str) {
        self.told.remove(name);
    }
}

fn written(event: &Event, place: Place<'_>) -> Written {
    let namespace = Some(place.namespace.to_owned());
    let regarding = match &event.component {
        Some(component) => ObjectReference {
            api_version: Some(super::API_VERSION.into()),
            kind: Some(super::KIND.into()),
            name: Some(component.to_string()),
            namespace: namespace.clone(),
            uid: place.uid,
            ..ObjectReference::default()
        },
        None => ObjectReference {
            api_version: Some("coordination.k8s.io/v1".into()),
            kind: Some("Lease".into()),
            name: Some(crate::lease::key(place.namespace, place.instance).name),
            namespace: namespace.clone(),
            ..ObjectReference::default()
        },
    };
    let subject = regarding.name.as_deref().unwrap_or_default();
    // The same however often it is sent: of two answers that are lost, one Event is left.
    let text = tk8s_core::Digest::of(format!("{:?} {} {}", event.object, event.reason, event.note)).hex();
    let name = format!("{subject}.{:x}.{}", event.at.as_microsecond(), &text[..8]);
    Written {
        metadata: ObjectMeta {
            name: Some(name),
            namespace,
            labels: Some([(tk8s_core::INSTANCE_LABEL.to_owned(), place.instance.to_string())].into()),
            ..ObjectMeta::default()
        },
        event_time: Some(MicroTime(event.at)),
        reporting_controller: Some(CONTROLLER.into()),
        reporting_instance: Some(place.holder.chars().take(128).collect()),
        action: Some(event.action.into()),
        reason: Some(event.reason.clone()),
        type_: Some(if event.warning { "Warning" } else { "Normal" }.into()),
        note: Some(note(&event.note)),
        regarding: Some(regarding),
        related: event.object.clone(),
        ..Written::default()
    }
}

/// A note as long as the API server takes it, which counts bytes.
fn note(text: &str) -> String {
    let mut note = printable(text, LONGEST_NOTE);
    if note.len() > LONGEST_NOTE {
        let end = (0..=LONGEST_NOTE - '…'.len_utf8()).rev().find(|at| note.is_char_boundary(*at));
        note.truncate(end.unwrap_or(0));
        note.push('…');
    }
    note
}

/// How much may be sent: so much at once, and so much a second.
pub struct Budget {
    most: f64,
    a_second: f64,
    left: f64,
    at: Instant,
}

impl Budget {
    pub fn new(most: u32, a_second: u32, now: Instant) -> Budget {
        Budget { most: most.into(), a_second: a_second.into(), left: most.into(), at: now }
    }

    /// Takes one, if there is one.
    pub fn take(&mut self, now: Instant) -> bool {
        let passed = now.saturating_duration_since(self.at).as_secs_f64();
        self.left = (self.left + passed * self.a_second).min(self.most);
        self.at = now;
        let is = self.left >= 1.0;
        if is {
            self.left -= 1.0;
        }
        is
    }
}

#[cfg(test)]
mod tests {
    use tk8s_core::ReleaseNumber;

    use super::*;

    fn release() -> ReleaseId {
        ReleaseId { component: "web".parse().expect("a name"), number: ReleaseNumber(3) }
    }

    fn told(trigger: &Trigger, was_healthy: bool, result: Result<Outcome, Error>) -> Option<(bool, String, String)> {
        let release = release();
        let run = Run {
            at: Timestamp::UNIX_EPOCH,
            release: &release,
            revision: "v1.4.0",
            trigger,
            was_healthy,
            drifted: "ConfigMap shop/settings: data.at was taken by `bob`",
        };
        Event::of_run(&run, &result).map(|event| (event.warning, event.reason, event.note))
    }

    fn ended(status: Status) -> Result<Outcome, Error> {
        Ok(Outcome { status, turn: 0, turns: 1, message: "a pod fails".into(), trigger: "sync".into() })
    }

    #[test]
    fn only_ends_are_told_and_only_those_that_change_something() {
        let rollback = Trigger::Rollback { by: "alice".into(), reason: Some("5xx".into()) };
        let (yes, no) = (true, false);
        for (trigger, was_healthy, result, expected) in [
            (&Trigger::Sync, no, ended(Status::Healthy), Some((no, "Released", "of v1.4.0 runs"))),
            (&Trigger::Restart, no, ended(Status::Healthy), Some((no, "Released", "runs and is healthy"))),
            (&Trigger::Restart, yes, ended(Status::Healthy), None),
            (&rollback, yes, ended(Status::Healthy), Some((no, "RolledBack", "alice asked for it: 5xx"))),
            (&Trigger::AutomaticRollback, yes, ended(Status::Healthy), Some((yes, "RolledBack", "because a newer one failed"))),
            (&Trigger::Drift, yes, ended(Status::Healthy), Some((no, "DriftRepaired", "taken by `bob`"))),
            (&Trigger::Sync, no, ended(Status::Unhealthy), Some((yes, "NotHealthyInTime", "a pod fails"))),
            (&Trigger::Sync, no, ended(Status::Superseded), None),
            (&Trigger::Sync, no, Err(Error::Superseded), None),
            (&Trigger::Sync, no, Err(Error::Stopping), None),
            (&Trigger::Sync, no, Err(Error::NoTurns), Some((yes, "NothingToApply", "failed: the release holds nothing"))),
        ] {
            let found = told(trigger, was_healthy, result);
            match (&found, expected) {
                (None, None) => {}
                (Some(found), Some((warning, reason, words))) => {
                    assert_eq!((found.0, found.1.as_str()), (warning, reason));
                    assert!(found.2.contains(words), "{found:?}");
                }
                _ => panic!("{trigger:?}: {found:?}"),
            }
        }
    }

    fn event(note: &str) -> Event {
        Event {
            at: Timestamp::UNIX_EPOCH,
            component: Some("web".parse().expect("a name")),
            object: None,
            warning: false,
            reason: "DriftRepaired".into(),
            action: "Repair",
            note: note.into(),
        }
    }

    /// Tells of an event, and says what was written: an Event's name, and how often it was told.
    fn tell(series: &mut Series, event: Event, now: Instant) -> (String, i32) {
        let instance = "tk8s".parse().expect("a name");
        let place = Place { namespace: "tk8s-system", instance: &instance, holder: "pod", uid: None };
        let write = series.write(&event, place, now);
        let said = match &write {
            Write::Create(written) => (written.metadata.name.clone().expect("a name"), 1),
            Write::CountUp { name, series } => (name.clone(), series.count),
        };
        series.was_told(event, write, now);
        said
    }

    #[test]
    fn what_is_told_again_word_by_word_counts_up() {
        let (mut series, begun) = (Series::default(), Instant::now());
        let (first, one) = tell(&mut series, event("a"), begun);
        let (other, _) = tell(&mut series, event("b"), begun);
        assert!(first != other && one == 1, "other words are another event");
        assert_eq!(tell(&mut series, event("a"), begun + SERIES / 2), (first.clone(), 2));
        assert_eq!(tell(&mut series, event("a"), begun + SERIES), (first.clone(), 3));
        let afterwards = Event { at: Timestamp::UNIX_EPOCH + SERIES * 3, ..event("a") };
        let (later, one) = tell(&mut series, afterwards, begun + SERIES * 3);
        assert!(later != first && one == 1, "after a while it is told anew");
        series.is_gone(&later);
        assert_eq!(tell(&mut series, event("a"), begun + SERIES * 3).1, 1);
    }

    #[test]
    fn an_event_that_is_sent_again_because_nobody_answered_is_the_same_one() {
        let instance = "tk8s".parse().expect("a name");
        let name = |series: &mut Series, event: &Event| {
            let place = Place { namespace: "tk8s-system", instance: &instance, holder: "pod", uid: None };
            match series.write(event, place, Instant::now()) {
                Write::Create(written) => written.metadata.name,
                Write::CountUp { .. } => None,
            }
        };
        let mut series = Series::default();
        let (first, again) = (name(&mut series, &event("a")), name(&mut series, &event("a")));
        assert!(first.is_some() && first == again && first != name(&mut series, &event("b")));
    }

    #[test]
    fn series_are_bounded() {
        let (mut series, begun) = (Series::default(), Instant::now());
        for number in 0..2 * MOST_SERIES {
            tell(&mut series, event(&number.to_string()), begun);
        }
        assert_eq!(series.told.len(), MOST_SERIES);
    }

    #[test]
    fn a_note_is_as_long_as_the_api_server_takes_it_whatever_its_letters() {
        for text in ["x".repeat(5000), "ü".repeat(5000), "€".repeat(1023), "x\u{1b}[2J".into()] {
            let note = note(&text);
            assert!(note.len() <= LONGEST_NOTE && !note.contains('\u{1b}'), "{}", note.len());
        }
        assert_eq!(note("short"), "short");
        assert_eq!(note(&"x".repeat(LONGEST_NOTE)).len(), LONGEST_NOTE);
    }

    #[test]
    fn a_budget_lets_so_much_through_at_once_and_so_much_a_second() {
        let begun = Instant::now();
        let mut budget = Budget::new(10, 2, begun);
        let mut within = |second: u64| (0..100).filter(|_| budget.take(begun + Duration::from_secs(second))).count();
        assert_eq!((within(0), within(0), within(3), within(1000)), (10, 0, 6, 10));
    }

    #[test]
    fn an_event_is_complete_in_the_eyes_of_the_api_server() {
        let instance: InstanceName = "tk8s".parse().expect("a name");
        let place = || Place { namespace: "tk8s-system", instance: &instance, holder: "pod", uid: Some("u".into()) };
        let about = written(&event("a"), place());
        let regarding = about.regarding.clone().expect("a subject");
        let name = about.metadata.name.as_deref().unwrap_or_default();
        assert!(name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'.'), "{name}");
        assert_eq!(
            (regarding.kind.as_deref(), regarding.name.as_deref(), regarding.uid.as_deref()),
            (Some("Component"), Some("web"), Some("u"))
        );
        assert_eq!((about.metadata.namespace, regarding.namespace), (Some("tk8s-system".into()), Some("tk8s-system".into())));
        let instance = written(&Event { component: None, ..event("a") }, place()).regarding.expect("a subject");
        assert_eq!((instance.kind.as_deref(), instance.name.as_deref()), (Some("Lease"), Some("tk8s-agent-tk8s")));
    }
}
