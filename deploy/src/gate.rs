//! The gate: whether a plan may be carried out.
//!
//! Pure. Every rule is asked, and whoever is refused hears of all that failed, not of the first. Which rule counts for which
//! trigger is the table in `docs/deploying.md`. Not asked here: signatures (the types prove them), and whether what the
//! component stands on is healthy (the agent orders components by that).

mod promotion;

use std::fmt;

use tk8s_core::{Class, Classified, Environment, ObjectKey, ReleaseId, Timestamp, Trust, printable};
use tk8s_diff::{Conflict, Plan, Prune, Rehearsed};
use tk8s_history::{Hold, Release, Suspension};

pub use self::promotion::{EVIDENCE_MISSING, Promotion};
use crate::ApprovedPlan;
use crate::own::Own;

/// What makes a plan run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trigger {
    /// A new release from Git.
    Sync,
    /// A person wants a former release back.
    Rollback {
        /// Who asked.
        by: String,
        /// Why, if they said so.
        reason: Option<String>,
    },
    /// A release failed, and the last healthy one is put back.
    AutomaticRollback,
    /// Someone changed or removed what we own.
    Drift,
    /// The agent was restarted and finishes or repeats what it had begun.
    Restart,
}

impl Trigger {
    /// The trigger as it stands in the ledger.
    pub fn as_str(&self) -> &'static str {
        match self {
            Trigger::Sync => "sync",
            Trigger::Rollback { .. } => "rollback",
            Trigger::AutomaticRollback => "automaticRollback",
            Trigger::Drift => "drift",
            Trigger::Restart => "restart",
        }
    }

    /// Whether a former release is put back.
    pub fn is_rollback(&self) -> bool {
        matches!(self, Trigger::Rollback { .. } | Trigger::AutomaticRollback)
    }

    /// Whether a person asked for exactly this.
    pub fn is_a_persons(&self) -> bool {
        matches!(self, Trigger::Rollback { .. })
    }
}

/// That nothing new comes in for now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Closed {
    /// When it does again, as far as is known.
    pub until: Option<Timestamp>,
    /// Which window keeps it out.
    pub why: String,
}

/// How much one release may delete without a person's word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PruneBudget {
    /// At most so many objects.
    pub objects: usize,
    /// At most this share of what the component owns, in percent. Not asked for below three objects.
    pub percent: usize,
}

impl Default for PruneBudget {
    fn default() -> PruneBudget {
        PruneBudget { objects: 10, percent: 50 }
    }
}

/// What the gate must know beside the plan.
#[derive(Clone, Debug)]
pub struct GateRules {
    /// The environment of the instance, as it is now.
    pub environment: Environment,
    /// The release that runs.
    pub running: Option<ReleaseId>,
    /// The component's hold, if there is one.
    pub held: Option<Hold>,
    /// The suspension that the component is under, if there is one: its own, its layer's or the instance's.
    pub suspended: Option<Suspension>,
    /// Whether, and until when, the component's windows keep out what is new.
    pub closed: Option<Closed>,
    /// What is known of the release from where it ran before.
    pub promotion: Promotion,
    /// Whether the release was begun before: what was let in once is finished.
    pub begun: bool,
    /// How much may be deleted.
    pub budget: PruneBudget,
    /// The deletions that a person let through for this release.
    pub confirmed: Option<String>,
    /// The namespace in which the agent itself runs, where it knows it.
    pub instance_namespace: Option<String>,
    /// What is the agent's own.
    pub own: Own,
}

impl GateRules {
    /// The rules of an environment, with nothing held, suspended or known of the agent itself.
    pub fn of(environment: Environment) -> GateRules {
        GateRules {
            environment,
            running: None,
            held: None,
            suspended: None,
            closed: None,
            promotion: Promotion::NotAsked,
            begun: false,
            budget: PruneBudget::default(),
            confirmed: None,
            instance_namespace: None,
            own: Own::default(),
        }
    }
}

/// One rule that a plan broke.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FailedRule {
    /// Whether it waits for somebody or is refused.
    pub class: Class,
    /// A stable CamelCase word, for example `Held`.
    pub reason: &'static str,
    /// What is wrong, and what to do.
    pub message: String,
}

/// A plan that did not pass, with every rule that it broke. There is at least one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Denied {
    /// The release whose plan it was.
    pub release: ReleaseId,
    /// The rules, in the order of the table.
    pub failed: Vec<FailedRule>,
    /// When it may be asked again, where a window is all that keeps it out and that is known.
    pub until: Option<Timestamp>,
}

impl Denied {
    /// `Reason: message` of each rule, as `History::deny` takes them.
    pub fn reasons(&self) -> Vec<String> {
        self.failed.iter().map(|rule| format!("{}: {}", rule.reason, rule.message)).collect()
    }
}

impl fmt::Display for Denied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let messages: Vec<&str> = self.failed.iter().map(|rule| rule.message.as_str()).collect();
        write!(f, "the plan of {} is denied: {}", self.release, messages.join("; "))
    }
}

impl std::error::Error for Denied {}

impl Classified for Denied {
    /// `Waiting` only if a person's resume is all that is missing.
    fn class(&self) -> Class {
        if self.failed.iter().all(|rule| rule.class == Class::Waiting) { Class::Waiting } else { Class::Denied }
    }

    fn reason(&self) -> &'static str {
        self.failed.first().map_or("Denied", |rule| rule.reason)
    }
}

/// Lets a plan pass, or says every rule that it breaks. What is approved is exactly this plan.
pub fn gate(plan: Plan, trigger: &Trigger, rules: &GateRules) -> Result<ApprovedPlan, Denied> {
    let subject = Subject {
        release: plan.release(),
        conflicts: plan.conflicts(),
        prune: plan.prune(),
        owned: plan.owned(),
        deletions: plan.deletions(),
        first: plan.position().0 == 0,
    };
    let failed = failed_rules(&subject, trigger, rules);
    if failed.is_empty() {
        let promoted = promotion::proven(&subject, trigger, rules);
        return Ok(ApprovedPlan::new(plan, trigger.as_str(), promoted));
    }
    Err(denied(plan.release(), failed, rules))
}

fn denied(release: &Release, failed: Vec<FailedRule>, rules: &GateRules) -> Denied {
    let only_a_window = failed.iter().all(|rule| rule.reason == OUTSIDE_WINDOW);
    let until = rules.closed.as_ref().filter(|_| only_a_window).and_then(|closed| closed.until);
    Denied { release: release.id.clone(), failed, until }
}

/// Says every rule that the later turns of a release break already: it is refused before the first one is carried out. What
/// passes here is asked again when its turn comes.
pub fn foresee(rehearsed: &Rehearsed, trigger: &Trigger, rules: &GateRules) -> Result<(), Denied> {
    let subject = Subject {
        release: rehearsed.release(),
        conflicts: rehearsed.conflicts(),
        prune: rehearsed.prune(),
        owned: rehearsed.owned(),
        deletions: rehearsed.deletions(),
        first: false,
    };
    let failed = failed_rules(&subject, trigger, rules);
    if failed.is_empty() { Ok(()) } else { Err(denied(rehearsed.release(), failed, rules)) }
}

/// What of a plan the rules look at.
struct Subject<'a> {
    release: &'a Release,
    conflicts: &'a [Conflict],
    prune: &'a [Prune],
    owned: usize,
    deletions: String,
    /// Whether nothing of the release was applied before this turn.
    first: bool,
}

fn failed_rules(subject: &Subject<'_>, trigger: &Trigger, rules: &GateRules) -> Vec<FailedRule> {
    let deny = |reason: &'static str, message: String| FailedRule { class: Class::Denied, reason, message };
    let wait = |reason: &'static str, message: String| FailedRule { class: Class::Waiting, reason, message };
    let mut failed = Vec::new();
    failed.extend(waived(subject.release, rules).map(|message| deny("WaivedOutsideDev", message)));
    failed.extend(weaker(subject.release, trigger, rules).map(|message| deny("VerifiedForLess", message)));
    failed.extend(suspended(trigger, rules).map(|message| wait("Suspended", message)));
    failed.extend(outside(subject, trigger, rules).map(|message| wait(OUTSIDE_WINDOW, message)));
    failed.extend(promotion::unproven(subject, trigger, rules).map(|message| wait(EVIDENCE_MISSING, message)));
    failed.extend(held(subject.release, trigger, rules).map(|message| wait("Held", message)));
    failed.extend(subject.conflicts.iter().map(|conflict| deny("Conflict", conflicting(conflict))));
    failed.extend(emptied(subject).map(|message| deny("EmptyRelease", message)));
    failed.extend(unconfirmed(subject, trigger, rules).map(|message| deny("PruneBudget", message)));
    for prune in subject.prune {
        failed.extend(protected_namespace(&prune.key, rules).map(|message| deny("ProtectedNamespace", message)));
        failed.extend(own(&prune.key, rules).map(|message| deny("OwnObject", message)));
    }
    failed
}

/// Whatever the trigger: what was never signed has no place outside `dev`, also if the instance was `dev` once.
fn waived(release: &Release, rules: &GateRules) -> Option<String> {
    match &release.trust {
        Trust::Waived { reason } if rules.environment != Environment::Dev => Some(format!(
            "signatures were waived for it ({}), and the environment is {}: release a signed revision",
            printable(reason, 200),
            rules.environment
        )),
        _ => None,
    }
}

/// A release that met the rules of a lesser environment is not a way around those of this one, also if it was only begun
/// there. What already runs is still repaired.
fn weaker(release: &Release, trigger: &Trigger, rules: &GateRules) -> Option<String> {
    let repairs = matches!(trigger, Trigger::Drift | Trigger::Restart) && rules.running.as_ref() == Some(&release.id);
    (!repairs && release.environment < rules.environment).then(|| {
        format!(
            "it was verified for {}, and the environment is {}: release a revision that meets its rules",
            release.environment, rules.environment
        )
    })
}

fn suspended(trigger: &Trigger, rules: &GateRules) -> Option<String> {
    rules.suspended.as_ref().filter(|_| !trigger.is_a_persons()).map(Suspension::to_string)
}

/// Whether a plan brings something new: not what runs or was begun, whoever finishes it, and not what a person wants back.
fn comes_in(subject: &Subject<'_>, trigger: &Trigger, rules: &GateRules) -> bool {
    let begins = matches!(trigger, Trigger::Sync | Trigger::Restart) && subject.first && !rules.begun;
    begins && rules.running.as_ref() != Some(&subject.release.id)
}

/// The reason of a plan that a window keeps out.
const OUTSIDE_WINDOW: &str = "OutsideWindow";

/// Windows keep out what is new: not what runs or was begun, whoever finishes it, and not what a person wants back.
fn outside(subject: &Subject<'_>, trigger: &Trigger, rules: &GateRules) -> Option<String> {
    let Closed { until, why } = rules.closed.as_ref().filter(|_| comes_in(subject, trigger, rules))?;
    let opens = match until {
        Some(until) => format!("it begins by itself at {until}"),
        None => "no time is known at which one opens: change `windows` in the platform file".into(),
    };
    Some(format!("new releases wait, because {why}; {opens}"))
}

/// A hold pins one release: that one may be repaired and finished, another one comes in by a person only.
fn held(release: &Release, trigger: &Trigger, rules: &GateRules) -> Option<String> {
    let hold = rules.held.as_ref().filter(|hold| hold.release != release.id.number && !trigger.is_a_persons())?;
    let (component, number) = (&release.id.component, hold.release);
    let (by, reason) = (printable(&hold.by, 80), printable(&hold.reason, 200));
    Some(format!("{component} is held at release {number} by {by} ({reason}): `tk8s-agent resume {component}` ends the hold"))
}

fn conflicting(conflict: &Conflict) -> String {
    format!(
        "fields of {} belong to somebody else ({}): take them out of the manifest, or let their owner give them up",
        conflict.key,
        printable(&conflict.message, 500)
    )
}

/// An empty release would delete everything. Rendering refuses to make one; the gate does not rely on that.
fn emptied(subject: &Subject<'_>) -> Option<String> {
    let (release, prune) = (subject.release, subject.prune.len());
    (release.objects == 0 && release.removal.is_none() && prune > 0)
        .then(|| format!("the release holds no object and would delete {prune}: nothing is deleted"))
}

/// Of how many objects that would be deleted a message tells.
const TOLD: usize = 5;

/// An accident in Git must not empty a cluster. A person who rolls back has said what they want, and what a failed release
/// brought has to go with it.
fn unconfirmed(subject: &Subject<'_>, trigger: &Trigger, rules: &GateRules) -> Option<String> {
    let (count, owned) = (subject.prune.len(), subject.owned.max(subject.prune.len()));
    if trigger.is_rollback() || rules.confirmed.as_ref() == Some(&subject.deletions) {
        return None;
    }
    let PruneBudget { objects, percent } = rules.budget;
    let asked_for = subject.prune.iter().filter(|prune| prune.confirm).count();
    let why = match () {
        () if count > objects => format!("more than the {objects} of `prune.budget`"),
        // Taking a component away is always all of it.
        () if subject.release.removal.is_none() && count > 2 && count * 100 > owned * percent => {
            format!("more than the {percent}% of `prune.budget`")
        }
        () if asked_for > 0 => format!("and {asked_for} of them say `tk8s.io/prune: \"confirm\"`"),
        () => return None,
    };
    let named: Vec<_> = subject.prune.iter().take(TOLD).map(|prune| prune.key.to_string()).collect();
    let more = if count > TOLD { format!(" and {} more", count - TOLD) } else { String::new() };
    let deletions = &subject.deletions;
    Some(format!(
        "it would delete {count} of the {owned} objects of {}, {why}; `tk8s-agent confirm {deletions} --reason ...` lets exactly this through: {}{more}",
        subject.release.id.component,
        named.join(", ")
    ))
}

/// Namespaces that are the cluster's or the agent's own go with everything in them.
fn protected_namespace(key: &ObjectKey, rules: &GateRules) -> Option<String> {
    if !(key.group.is_empty() && key.kind == "Namespace") {
        return None;
    }
    let remedy = "put it back into the release, or take it out of the component by hand";
    if key.name == "default" || key.name.starts_with("kube-") {
        return Some(format!("it would delete the namespace `{}`, which belongs to the cluster: {remedy}", key.name));
    }
    (rules.instance_namespace.as_deref() == Some(key.name.as_str()))
        .then(|| format!("it would delete the namespace `{}`, in which the agent runs: {remedy}", key.name))
}

fn own(key: &ObjectKey, rules: &GateRules) -> Option<String> {
    if rules.own.is_deployment(key) {
        let remedy = "put it back into the release, with `tk8s.io/prune: \"false\"` if it is to leave";
        return Some(format!("it would delete {key}, by which the agent runs: {remedy}"));
    }
    let why = rules.own.protects(key)?;
    Some(format!(
        "it would delete {key}, which is the agent's own ({why}): annotate it in the cluster with `tk8s.io/prune: \"false\"`, and it stays when it leaves the release"
    ))
}

#[cfg(test)]
mod tests;
