//! Alarms: what a person has to look at, because the agent can't, or must not, put it right by itself.
//!
//! An alarm stands for as long as its cause does. Whoever finds causes tells all of one reason at once, by one call of
//! [`Engine::alarm`]: new ones begin to stand, and those that are not among them any more end. They are shown by `status`
//! and counted in the metrics, and the cluster is told when one begins and ends; what else is done about them is done
//! elsewhere.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};
use tk8s_core::{ComponentName, Environment, FIELD_MANAGER, ObjectKey, Timestamp, printable};
use tk8s_diff::ownership::{FieldRules, Foreign};
use tokio::time::Instant;

use super::Engine;
use super::freshness::STALE;
use super::platform::Unit;
use super::slot::Progress;
use super::undoing::{NOT_ROLLED_BACK, ROLLED_BACK};

/// Causes of one reason in one component that are told; whoever has more looks at all of them anyway.
const MOST: usize = 100;
/// For how long a watch may be interrupted before anybody hears of it: API servers are restarted.
pub(super) const INTERRUPTED: jiff::SignedDuration = jiff::SignedDuration::from_secs(10);

/// Why an alarm stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// Somebody put a container or a volume into an object of ours, in production.
    ForeignItem,
    /// Somebody undoes repairs again and again.
    RepairUndone,
    /// The cluster does not serve a kind that is owned.
    KindNotServed,
    /// A kind that is owned can't be watched.
    KindNotWatched,
    /// The agent's files of health rules can't be followed.
    HealthRulesRefused,
    /// A release failed and was undone.
    RolledBack,
    /// A release failed and could not be undone.
    RollbackFailed,
    /// What runs was signed by somebody who is compromised, or by a key that is revoked.
    SignerNotBelieved,
    /// A release was let in without approvals, and nobody has looked at that since.
    GlassBroken,
    /// The history on the volume does not hold what was anchored in the cluster.
    HistoryGap,
    /// The anchor in the cluster was not written by this instance.
    AnchorUnproven,
    /// The anchor can't be read or written.
    AnchorNotKept,
    /// A ref is not what it was: history was rewritten.
    RefsRewritten,
    /// What is known of Git is older than it may be.
    SourceStale,
}

impl Reason {
    const ALL: &[Reason] = &[
        Reason::ForeignItem,
        Reason::RepairUndone,
        Reason::KindNotServed,
        Reason::KindNotWatched,
        Reason::RolledBack,
        Reason::RollbackFailed,
        Reason::SignerNotBelieved,
        Reason::GlassBroken,
        Reason::HistoryGap,
        Reason::AnchorUnproven,
        Reason::AnchorNotKept,
        Reason::RefsRewritten,
        Reason::SourceStale,
        Reason::HealthRulesRefused,
    ];

    pub(super) fn as_str(self) -> &'static str {
        match self {
            Reason::ForeignItem => "ForeignItem",
            Reason::RepairUndone => "RepairUndone",
            Reason::KindNotServed => "KindNotServed",
            Reason::KindNotWatched => "KindNotWatched",
            Reason::RolledBack => ROLLED_BACK,
            Reason::RollbackFailed => NOT_ROLLED_BACK,
            Reason::SignerNotBelieved => "SignerNotBelieved",
            Reason::GlassBroken => "GlassBroken",
            Reason::HistoryGap => "HistoryGap",
            Reason::AnchorUnproven => "AnchorUnproven",
            Reason::AnchorNotKept => "AnchorNotKept",
            Reason::RefsRewritten => "RefsRewritten",
            Reason::SourceStale => STALE,
            Reason::HealthRulesRefused => "HealthRulesRefused",
        }
    }

    /// What to do about it.
    pub(super) fn next(self) -> &'static str {
        match self {
            Reason::ForeignItem => {
                "find out who put it there; `strict: true` takes it out, and a manager in `ignore` may keep it"
            }
            Reason::RepairUndone => "let one of the two give way: take the manager off the object, or name it in `ignore`",
            Reason::KindNotServed => "install its CRD again, or write a version in Git that is served",
            Reason::RolledBack => "repair what the release brought, and push it: other content ends the hold",
            Reason::RollbackFailed => "`tk8s-agent rollback` to a release that works, or push one",
            Reason::SignerNotBelieved => "look at what it brought; then let somebody else sign what is to run",
            Reason::GlassBroken => "look at what was let in, then `tk8s-agent acknowledge RELEASE --reason WHY`",
            Reason::HistoryGap => "find out what became of the volume; a newer backup of it may be put in its place",
            Reason::AnchorUnproven => {
                "find out who writes to this ConfigMap, and compare `ledger` with a checkpoint that you kept"
            }
            Reason::AnchorNotKept => "look at the API server's message: the agent reads, makes and changes this ConfigMap",
            Reason::RefsRewritten => {
                "find out who did that, and why: put the ref back, or let it be with `tk8s-agent accept INCIDENT --reason TEXT`"
            }
            Reason::SourceStale => {
                "look at the Git server: compare its refs with those of somebody who pushes; what runs stays, and is repaired"
            }
            Reason::HealthRulesRefused => {
                "repair the file: `tk8s-agent health --rules FILE -f OBJECTS` tries it; the rules before are in force"
            }
            Reason::KindNotWatched => "look at the API server's message: the agent's rights, a conversion webhook, an APIService",
        }
    }
}

/// One cause: which object (or kind), and what is with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cause {
    pub object: String,
    pub message: String,
}

/// An alarm that begins to stand, or ends.
#[derive(Debug)]
pub(super) struct Change {
    pub(super) began: bool,
    pub(super) reason: Reason,
    pub(super) component: Option<ComponentName>,
    pub(super) object: String,
    pub(super) message: String,
}

/// One alarm, as people and programs see it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AlarmView {
    pub reason: String,
    pub since: Timestamp,
    /// None where it is about the whole instance.
    pub component: Option<ComponentName>,
    pub object: String,
    pub message: String,
    /// What to do next.
    pub next: String,
}

type Place = (Reason, Option<ComponentName>, String);

/// The alarms that stand.
#[derive(Default)]
pub struct Alarms(Mutex<BTreeMap<Place, (Timestamp, String)>>);

impl Alarms {
    /// These are all causes of this reason in this component, as it is now. What that changed.
    fn stand(&self, reason: Reason, component: Option<&ComponentName>, causes: Vec<Cause>, now: Timestamp) -> Vec<Change> {
        let mut changes = Vec::new();
        let mut changed = |began, object: &str, message: &str| {
            let (component, object, message) = (component.cloned(), object.into(), printable(message, 500));
            changes.push(Change { began, reason, component, object, message });
        };
        let mut standing = self.lock();
        let causes: BTreeMap<_, _> = causes.into_iter().take(MOST).map(|cause| (cause.object, cause.message)).collect();
        standing.retain(|(of, at, object), _| {
            let ends = *of == reason && at.as_ref() == component && !causes.contains_key(object);
            if ends {
                tracing::info!(reason = reason.as_str(), component = component.map(ComponentName::as_str), object, "alarm ended");
                changed(false, object, "");
            }
            !ends
        });
        for (object, message) in causes {
            let place = (reason, component.cloned(), object.clone());
            if !standing.contains_key(&place) {
                tracing::warn!(
                    reason = reason.as_str(),
                    component = component.map(ComponentName::as_str),
                    object,
                    message,
                    "ALARM"
                );
                changed(true, &object, &message);
            }
            standing.entry(place).or_insert_with(|| (now, String::new())).1 = printable(&message, 500);
        }
        changes
    }

    /// Components that nobody looks after have no alarms.
    fn keep(&self, looked_after: impl Fn(&ComponentName) -> bool) {
        self.lock().retain(|(_, component, _), _| component.as_ref().is_none_or(&looked_after));
    }

    /// All of them, the longest standing first.
    pub fn list(&self) -> Vec<AlarmView> {
        let view = |((reason, component, object), (since, message)): (&Place, &(Timestamp, String))| AlarmView {
            reason: reason.as_str().into(),
            since: *since,
            component: component.clone(),
            object: object.clone(),
            message: message.clone(),
            next: reason.next().into(),
        };
        let mut all: Vec<_> = self.lock().iter().map(view).collect();
        all.sort_by_key(|alarm| alarm.since);
        all
    }

    /// Whether one of this reason stands.
    pub(super) fn stands(&self, reason: Reason) -> bool {
        self.count(reason) > 0
    }

    fn count(&self, reason: Reason) -> usize {
        self.lock().keys().filter(|(of, ..)| *of == reason).count()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Place, (Timestamp, String)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Engine {
    /// All causes of one reason in one component, or in the instance, as it is now: those that are not told any more end.
    pub(super) fn alarm(&self, reason: Reason, component: Option<&ComponentName>, causes: Vec<Cause>) {
        let changes = self.alarms.stand(reason, component, causes, Timestamp::now());
        if component.is_none() && !changes.is_empty() {
            // Which components it concerns is in what is said of each.
            self.report.all_changed();
        }
        for change in changes {
            self.tell_alarm(change);
        }
        self.count_alarms(&[reason]);
    }

    fn count_alarms(&self, reasons: &[Reason]) {
        for reason in reasons {
            let gauge = self.metrics.alarms.get_or_create(&crate::metrics::Metrics::reason(reason.as_str())).clone();
            gauge.set(self.alarms.count(*reason) as i64);
        }
    }

    /// Looks for what the watches, and the repairs, say that a person should know of a component.
    pub(super) fn look_for_alarms_of(&self, unit: &Unit) {
        let name = &unit.spec.name;
        self.alarm(Reason::ForeignItem, Some(name), self.foreign_items(unit));
        self.look_for_disbelief(name);
        let fought = self.slot(name).repairs().all_fought(Instant::now());
        let causes = fought.into_iter().map(|(key, times, why)| {
            let message = format!("it was put back {times} times, and each time somebody undid it: {why}");
            Cause { object: key.to_string(), message }
        });
        self.alarm(Reason::RepairUndone, Some(name), causes.collect());
        let progress = self.slot(name).progress();
        for alarm in [Reason::RolledBack, Reason::RollbackFailed] {
            let cause = match &progress {
                Progress::Failed { reason, message, .. } if reason == alarm.as_str() => {
                    vec![Cause { object: format!("component {name}"), message: message.clone() }]
                }
                _ => Vec::new(),
            };
            self.alarm(alarm, Some(name), cause);
        }
    }

    fn foreign_items(&self, unit: &Unit) -> Vec<Cause> {
        if self.environment() != Environment::Production {
            return Vec::new();
        }
        let parts = self.memory.parts_of(&unit.spec.name);
        parts.iter().filter_map(|part| foreign_item(&part.key, &self.live.grave(&part.key), &unit.fields)).collect()
    }

    /// The same, of all kinds.
    pub(super) fn look_for_alarms(&self) {
        let (mut unserved, mut unwatched) = (Vec::new(), Vec::new());
        for ((group, kind), trouble) in self.live.troubles() {
            let object = if group.is_empty() { kind } else { format!("{kind}.{group}") };
            let cause = Cause { object, message: trouble.message };
            match trouble.unserved {
                true => unserved.push(cause),
                false if Timestamp::now().duration_since(trouble.since) >= INTERRUPTED => unwatched.push(cause),
                false => {}
            }
        }
        self.look_for_broken_glass();
        self.alarm(Reason::KindNotServed, None, unserved);
        self.alarm(Reason::KindNotWatched, None, unwatched);
        self.look_for_staleness();
        let looked_after = self.looked_after();
        self.alarms.keep(|name| looked_after.iter().any(|unit| unit.spec.name == *name));
        self.count_alarms(Reason::ALL);
    }
}

/// What of an object's grave items is nobody's by any agreement. What a policy adds to our own requests was agreed to by
/// whoever installed the policy.
fn foreign_item(key: &ObjectKey, grave: &[Foreign], rules: &FieldRules) -> Option<Cause> {
    let alarming = grave.iter().filter(|foreign| foreign.manager != FIELD_MANAGER && !rules.leaves_to(key, &foreign.manager));
    let told: Vec<_> = alarming.map(|foreign| format!("`{}` put in {}", foreign.manager, foreign.field)).collect();
    (!told.is_empty()).then(|| Cause { object: key.to_string(), message: told.join(", ") })
}

#[cfg(test)]
mod tests {
    use tk8s_diff::ownership::IgnoreRule;

    use super::*;

    #[test]
    fn a_container_that_somebody_put_in_alarms_unless_it_was_agreed_to() {
        let key = ObjectKey { group: "apps".into(), kind: "Deployment".into(), namespace: Some("a".into()), name: "web".into() };
        let by = |manager: &str| Foreign { field: ".spec.x".into(), manager: manager.into(), grave: true };
        let rule = IgnoreRule { managers: vec!["mesh".into()], ..IgnoreRule::default() };
        let rules = FieldRules { ignore: vec![rule], ..FieldRules::default() };
        assert_eq!(foreign_item(&key, &[by("mesh"), by(FIELD_MANAGER)], &rules), None);
        let found = foreign_item(&key, &[by("mesh"), by("somebody"), by("else")], &rules).unwrap();
        assert_eq!(found.message, "`somebody` put in .spec.x, `else` put in .spec.x");
        assert_eq!(foreign_item(&key, &[by("mesh")], &FieldRules::default()).unwrap().object, key.to_string());
    }

    fn cause(object: &str, message: &str) -> Cause {
        Cause { object: object.into(), message: message.into() }
    }

    fn standing(alarms: &Alarms) -> Vec<(String, String, i64)> {
        let second = |alarm: &AlarmView| alarm.since.as_second();
        alarms.list().into_iter().map(|alarm| (alarm.object.clone(), alarm.message.clone(), second(&alarm))).collect()
    }

    #[test]
    fn an_alarm_stands_from_its_first_cause_until_nobody_names_it_any_more() {
        let (alarms, web) = (Alarms::default(), "web".parse::<ComponentName>().unwrap());
        let at = |second| Timestamp::from_second(second).unwrap();
        let changes = alarms.stand(Reason::RepairUndone, Some(&web), vec![cause("a", "once"), cause("b", "once")], at(1));
        assert!(changes.len() == 2 && changes.iter().all(|change| change.began));
        alarms.stand(Reason::ForeignItem, Some(&web), vec![cause("c", "spy")], at(2));
        let changes = alarms.stand(Reason::RepairUndone, Some(&web), vec![cause("a", "twice")], at(3));
        assert!(changes.len() == 1 && !changes[0].began && changes[0].object == "b", "what stands already is not told again");
        assert_eq!(standing(&alarms), [("a".into(), "twice".into(), 1), ("c".into(), "spy".into(), 2)]);
        // Of another component, or of nobody: theirs stand by themselves.
        alarms.stand(Reason::RepairUndone, None, Vec::new(), at(4));
        assert_eq!(standing(&alarms).len(), 2);
        alarms.stand(Reason::RepairUndone, Some(&web), Vec::new(), at(5));
        assert_eq!(standing(&alarms).len(), 1);
        alarms.keep(|_| false);
        assert!(alarms.list().is_empty());
    }

    #[test]
    fn alarms_are_bounded() {
        let alarms = Alarms::default();
        let many = (0..10 * MOST).map(|number| cause(&number.to_string(), &"x".repeat(10_000))).collect();
        alarms.stand(Reason::KindNotServed, None, many, Timestamp::UNIX_EPOCH);
        assert_eq!(alarms.list().len(), MOST);
        assert!(alarms.list().iter().all(|alarm| alarm.message.len() < 600 && !alarm.next.is_empty()));
    }
}
