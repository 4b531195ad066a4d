//! Rules for kinds that the code knows nothing of: which expressions say how an object is, and whose rule counts.
//!
//! A rule is data. Those of well-known projects are in `builtin/`, one file each; an operator's own come from the agent's
//! files, and a component's from the platform file. A component's count before the agent's, those before what is built in
//! (for built-in kinds too), and where no rule says anything the conventions decide.
//!
//! Promises: a set of rules that exists is whole, each expression can be evaluated, and evaluating it is bounded in time and
//! memory. A rule that doesn't fit an object makes it `Unknown` (`HealthRuleFailed`), never healthy. What is being deleted
//! is judged by no rule.

mod builtin;
mod evaluate;
mod explain;
mod expression;
#[cfg(test)]
mod tests;
mod value;

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Deserialize;
use serde_json::Value;
use tk8s_core::{COMPONENT_LABEL, ComponentName, Health, HealthState, printable};

use super::{because, unknown};
use evaluate::{Fail, Variables, evaluate};
use expression::Expression;
use value::{Val, View};

/// A rule as a person writes it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RuleText {
    /// Of which kinds, as kubectl writes them: `Certificate.cert-manager.io`, `*.cert-manager.io` for all of a group,
    /// `ProviderConfig.*.crossplane.io` for one of all groups below a name, `ConfigMap` for one of the core.
    pub kinds: Vec<String>,
    /// Whether it is told to rest. The first of these five that is true decides.
    pub suspended: Option<String>,
    /// Whether it failed.
    pub degraded: Option<String>,
    /// Whether it is on its way.
    pub progressing: Option<String>,
    /// Whether nobody can say.
    pub unknown: Option<String>,
    /// Whether it does what it should. If nothing is true, it is on its way; without this, conventions decide.
    pub healthy: Option<String>,
    /// A CamelCase word for whichever state it is; found in the status if not given, or empty.
    pub reason: Option<String>,
    /// The same for a sentence.
    pub message: Option<String>,
    /// Whether `status.observedGeneration` says nothing: the controller doesn't keep it.
    #[serde(default)]
    pub ignore_generation: bool,
}

impl RuleText {
    /// A rule whose expressions are looked up by their names.
    pub fn of(kinds: Vec<String>, ignore_generation: bool, expression: impl Fn(&str) -> Option<String>) -> RuleText {
        RuleText {
            kinds,
            suspended: expression("suspended"),
            degraded: expression("degraded"),
            progressing: expression("progressing"),
            unknown: expression("unknown"),
            healthy: expression("healthy"),
            reason: expression("reason"),
            message: expression("message"),
            ignore_generation,
        }
    }
}

/// An expression that is none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broken {
    /// Which key of the rule.
    pub key: &'static str,
    /// What is wrong.
    pub message: String,
}

/// A rule that can judge.
#[derive(Clone, Debug)]
pub struct Rule(Arc<Compiled>);

#[derive(Debug)]
struct Compiled {
    kinds: Vec<KindPattern>,
    /// Where it was read, for messages.
    source: String,
    /// In the order in which they are asked.
    states: Vec<(HealthState, &'static str, Expression)>,
    reason: Option<Expression>,
    message: Option<Expression>,
    ignore_generation: bool,
}

/// Which objects a rule is for.
#[derive(Debug)]
struct KindPattern {
    kind: String,
    group: String,
}

impl KindPattern {
    fn read(text: &str) -> Option<KindPattern> {
        let (kind, group) = text.split_once('.').unwrap_or((text, ""));
        let name = group.strip_prefix('*').map_or(group, |rest| rest.strip_prefix('.').unwrap_or(rest));
        let is_kind = kind == "*" || !kind.is_empty() && kind.bytes().all(|byte| byte.is_ascii_alphanumeric());
        let is_group = name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b".-".contains(&byte));
        (is_kind && is_group && text.len() <= 300).then(|| KindPattern { kind: kind.into(), group: group.into() })
    }

    fn is_for(&self, group: &str, kind: &str) -> bool {
        let of_group = match self.group.strip_prefix('*') {
            Some(rest) => group.ends_with(rest),
            None => self.group == group,
        };
        of_group && (self.kind == kind || self.kind == "*")
    }
}

impl Rule {
    /// Reads all expressions of a rule; or everything that is wrong with them. `source`: where it was written.
    pub fn read(text: &RuleText, source: &str) -> Result<Rule, Vec<Broken>> {
        let mut broken = Vec::new();
        let mut read = |key: &'static str, text: &Option<String>| match Expression::read(text.as_deref()?) {
            Ok(expression) => Some(expression),
            Err(message) => {
                broken.push(Broken { key, message });
                None
            }
        };
        let states = [
            (HealthState::Suspended, "suspended", &text.suspended),
            (HealthState::Degraded, "degraded", &text.degraded),
            (HealthState::Progressing, "progressing", &text.progressing),
            (HealthState::Unknown, "unknown", &text.unknown),
            (HealthState::Healthy, "healthy", &text.healthy),
        ];
        let states = states.into_iter().filter_map(|(state, key, text)| Some((state, key, read(key, text)?))).collect();
        let (reason, message) = (read("reason", &text.reason), read("message", &text.message));
        let mut kinds = Vec::new();
        for kind in &text.kinds {
            match KindPattern::read(kind) {
                Some(kind) => kinds.push(kind),
                None => broken.push(Broken {
                    key: "kinds",
                    message: format!(
                        "`{}` is no kind: write `Kind.group`, for example `Certificate.cert-manager.io`",
                        printable(kind, 80)
                    ),
                }),
            }
        }
        let (source, ignore_generation) = (source.to_owned(), text.ignore_generation);
        if !broken.is_empty() {
            return Err(broken);
        }
        Ok(Rule(Arc::new(Compiled { kinds, source, states, reason, message, ignore_generation })))
    }

    fn is_for(&self, group: &str, kind: &str) -> bool {
        self.0.kinds.iter().any(|known| known.is_for(group, kind))
    }

    /// How it says that an object is; none if it doesn't say.
    fn judge(&self, object: &Value) -> Option<Health> {
        if !self.0.ignore_generation
            && let Some(health) = super::unobserved(object, false)
        {
            return Some(health);
        }
        for (state, key, expression) in &self.0.states {
            let value = evaluate(expression, &self.variables(object, ""));
            match value.as_ref().map(Val::view) {
                Ok(View::Bool(true)) => return Some(self.explained(object, *state)),
                Ok(View::Bool(false)) => {}
                Ok(_) => return Some(self.failed(key, "it has to be true or false")),
                Err(Fail::Error(why)) => return Some(self.failed(key, why)),
                Err(Fail::TooExpensive(why)) => return Some(self.failed(key, why)),
            }
        }
        let is_complete = self.0.states.iter().any(|(state, ..)| *state == HealthState::Healthy);
        is_complete.then(|| self.explained(object, HealthState::Progressing))
    }

    fn explained(&self, object: &Value, state: HealthState) -> Health {
        if state == HealthState::Healthy {
            return Health::healthy();
        }
        let (mut reason, mut message) = explain::explain(object, state);
        let name = state.to_string();
        for (key, expression, found) in [("reason", &self.0.reason, &mut reason), ("message", &self.0.message, &mut message)] {
            let Some(expression) = expression else { continue };
            match evaluate(expression, &self.variables(object, &name)) {
                Ok(value) => match value.view() {
                    View::Text("") => {}
                    View::Text(text) => text.clone_into(found),
                    _ => return self.failed(key, "it has to be a text"),
                },
                Err(Fail::Error(why)) => return self.failed(key, why),
                Err(Fail::TooExpensive(why)) => return self.failed(key, why),
            }
        }
        because(state, &reason, message)
    }

    fn variables<'a>(&self, object: &'a Value, state: &'a str) -> Variables<'a> {
        let generation = super::number(&object["metadata"]["generation"]).filter(|_| !self.0.ignore_generation);
        Variables { object, state, generation }
    }

    fn failed(&self, key: &str, why: impl AsRef<str>) -> Health {
        unknown("HealthRuleFailed", format!("the rule in {}, `{key}`: {}", self.0.source, why.as_ref()))
    }
}

/// Everything that judges objects.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    /// Of the agent's files, in their order.
    files: Vec<Rule>,
    components: BTreeMap<ComponentName, Vec<Rule>>,
}

impl Rules {
    /// What is built in, and these rules before it: an object's component's first, then those of the agent's files. The
    /// first rule for a kind that says anything counts.
    pub fn new(files: Vec<Rule>, components: BTreeMap<ComponentName, Vec<Rule>>) -> Rules {
        Rules { files, components }
    }

    /// How this object is, with the reason an operator needs.
    pub fn judge(&self, object: &Value) -> Health {
        if !object.is_object() {
            return unknown("Unreadable", "it is not an object");
        }
        let (group, kind) = super::group_and_kind(object);
        if let Some(health) = super::deleting(object, group, kind) {
            return health;
        }
        let component = object.pointer("/metadata/labels").and_then(|labels| labels[COMPONENT_LABEL].as_str());
        let own = component.and_then(|name| self.components.iter().find(|(known, _)| known.as_str() == name));
        let given = own.into_iter().flat_map(|(_, rules)| rules).chain(&self.files);
        let said = given.filter(|rule| rule.is_for(group, kind)).find_map(|rule| rule.judge(object));
        said.or_else(|| super::by_code(object, group, kind))
            .or_else(|| builtin::rules().iter().filter(|rule| rule.is_for(group, kind)).find_map(|rule| rule.judge(object)))
            .unwrap_or_else(|| super::conditions::by_convention(object))
    }
}
