//! What becomes of the hooks of a chart.
//!
//! Helm runs a hook at a moment of its own life: before it installs, after it upgraded. Most of these moments are none here,
//! where there is only what ought to exist. So an object is taken where both mean the same: what Helm makes before everything
//! else, at every install and every upgrade, leaves in the cluster, and what runs nothing, is an ordinary object; a Job that
//! runs before or after every install and every upgrade is a hook of the agent's. Everything else is left out, and said:
//! half of a hook (the rights of a Job that never runs, a Job without its rights) is worse than none.

use std::collections::BTreeSet;

use serde_json::Value;
use tk8s_core::{HOOK_ANNOTATION, Moment, Origin, printable};

use crate::Warning;

/// What says that an object is a hook, and when.
const HOOK: &str = "helm.sh/hook";
/// What says when Helm deletes it again.
const DELETED: &str = "helm.sh/hook-delete-policy";
/// What says in which order Helm runs hooks of the same moment.
const WEIGHT: &str = "helm.sh/hook-weight";
/// The agent's own: in which order, and whether on a rollback too.
const WAVE: &str = "tk8s.io/wave";
const ON_ROLLBACK: &str = "tk8s.io/hook-on-rollback";
/// As far as waves go.
const FARTHEST: i64 = 1000;
/// Kinds that run nothing, keep no data and are used by what comes after them.
const PASSIVE: [&str; 8] = [
    "ClusterRole",
    "ClusterRoleBinding",
    "ConfigMap",
    "CustomResourceDefinition",
    "Role",
    "RoleBinding",
    "Secret",
    "ServiceAccount",
];
/// What Helm says of hooks that it does not know, when it leaves them out itself.
const UNKNOWN: &str = "skipping unknown hooks";

/// A hook of a chart, as it is written.
struct Hook {
    value: Value,
    origin: Origin,
    when: BTreeSet<String>,
}

/// The hooks of a chart. What becomes of a Job depends on what else there is.
#[derive(Default)]
pub(crate) struct Hooks(Vec<Hook>);

/// What becomes of a hook.
enum Fate {
    /// An object like any other.
    Ordinary,
    /// A hook of the agent's.
    Runs(Moment),
    /// It is left out: why, and what to do.
    LeftOut(String, &'static str),
}

const BEFORE_OR_AFTER: &str = "if it is needed, make it a component before or after this one (`dependsOn`)";
const BEFORE: &str = "if it is needed, make it a component before this one (`dependsOn`)";
const AFTER: &str = "if it is needed, make it a component that depends on this one (`dependsOn`)";

impl Hooks {
    /// Keeps an object that is a hook; any other is given back. Tests don't come this far (`--skip-tests`), nor do hooks
    /// that Helm doesn't know.
    pub(crate) fn keep(&mut self, value: Value, origin: &Origin) -> Option<Value> {
        match annotation(&value, HOOK).map(words) {
            None => Some(value),
            Some(when) => {
                self.0.push(Hook { value, origin: origin.clone(), when });
                None
            }
        }
    }

    /// What is taken of them, as it is applied, and a warning for each that is left out.
    pub(crate) fn end(self) -> (Vec<(Value, Origin)>, Vec<Warning>) {
        let helpers = Helpers::of(&self.0);
        let (mut taken, mut warnings) = (Vec::new(), Vec::new());
        for hook in self.0 {
            match hook.fate(&helpers) {
                Fate::Ordinary => taken.push((hook.value, hook.origin)),
                Fate::Runs(moment) => taken.push((hook.at(moment), hook.origin.clone())),
                Fate::LeftOut(why, next) => warnings.push(hook.left_out(&why, next)),
            }
        }
        (taken, warnings)
    }
}

/// What a chart's Jobs may need and would not find: the first of each sort, by name. Whether they need it nobody can tell.
struct Helpers {
    /// Made before the Jobs by Helm; here it would be an ordinary object, which comes after them.
    before: Option<String>,
    left_out: Option<String>,
}

impl Helpers {
    fn of(hooks: &[Hook]) -> Helpers {
        let named = |is: &dyn Fn(&Hook) -> bool| hooks.iter().find(|hook| hook.kind() != "Job" && is(hook)).map(Hook::name);
        Helpers {
            before: named(&|hook| hook.has("pre-install") || hook.has("pre-upgrade")),
            left_out: named(&|hook| matches!(hook.as_object(), Fate::LeftOut(..))),
        }
    }
}

impl Hook {
    fn kind(&self) -> &str {
        self.value["kind"].as_str().unwrap_or("?")
    }

    fn name(&self) -> String {
        printable(&format!("{} {}", self.kind(), self.value["metadata"]["name"].as_str().unwrap_or("?")), 200)
    }

    fn has(&self, start: &str) -> bool {
        self.when.iter().any(|event| event.starts_with(start))
    }

    /// The moment of the agent's that is the same as Helm's, if there is one.
    fn moment(&self) -> Option<Moment> {
        if annotation(&self.value, HOOK_ANNOTATION).is_some() {
            return None;
        }
        let only = |of: &str| {
            let of = ["install", "upgrade", "rollback"].map(|event| format!("{of}-{event}"));
            self.when.contains(&of[0]) && self.when.contains(&of[1]) && self.when.iter().all(|event| of.contains(event))
        };
        match () {
            () if only("pre") => Some(Moment::BeforeApply),
            () if only("post") => Some(Moment::AfterApply),
            () => None,
        }
    }

    fn fate(&self, helpers: &Helpers) -> Fate {
        let moment = Some(self.moment()).filter(|_| self.kind() == "Job").flatten();
        match (moment, &helpers.before, &helpers.left_out) {
            (Some(Moment::BeforeApply), Some(helper), _) => {
                Fate::LeftOut(format!("what Helm makes for it to use, {helper}, would come after it"), BEFORE)
            }
            (Some(Moment::AfterApply), _, Some(helper)) => {
                Fate::LeftOut(format!("what Helm makes for it to use, {helper}, is left out"), AFTER)
            }
            (Some(moment), ..) => Fate::Runs(moment),
            (None, ..) => self.as_object(),
        }
    }

    /// What becomes of an object that runs at no moment of ours.
    fn as_object(&self) -> Fate {
        let deleted = annotation(&self.value, DELETED).map(words).unwrap_or_default();
        let always = ["pre-install", "pre-upgrade"].iter().all(|event| self.when.contains(*event));
        let before = self.when.iter().all(|event| ["pre-install", "pre-upgrade", "pre-rollback"].contains(&event.as_str()));
        let left_out = |why: &str, next| Fate::LeftOut(why.into(), next);
        if annotation(&self.value, HOOK_ANNOTATION).is_some() {
            Fate::Ordinary
        } else if !["pre-install", "pre-upgrade", "post-install", "post-upgrade"].iter().any(|event| self.has(event)) {
            left_out("Helm makes it when a release is deleted or rolled back", "do by hand what it is for")
        } else if deleted.contains("hook-succeeded") && self.kind() != "Job" {
            left_out("Helm deletes it again once it is ready", "what needs it is left out too, or has to bring it")
        } else if self.kind() == "Job" {
            left_out("it does not run at every install and every upgrade, or before and after them", BEFORE_OR_AFTER)
        } else if !PASSIVE.contains(&self.kind()) {
            left_out("it is no part of what runs afterwards", BEFORE_OR_AFTER)
        } else if !before {
            left_out("Helm makes it after everything else", AFTER)
        } else if !always {
            left_out("Helm makes it once, and does not keep it up to date", BEFORE)
        } else {
            Fate::Ordinary
        }
    }

    /// The Job as a hook of the agent's.
    fn at(&self, moment: Moment) -> Value {
        let mut value = self.value.clone();
        if let Some(Value::Object(annotations)) = value.pointer_mut("/metadata/annotations") {
            annotations.insert(HOOK_ANNOTATION.into(), moment.as_str().into());
            if self.when.iter().any(|event| event.ends_with("-rollback")) {
                annotations.insert(ON_ROLLBACK.into(), "true".into());
            }
            let weight = annotation(&self.value, WEIGHT).and_then(|text| text.trim().parse::<i64>().ok());
            if let Some(weight) = weight.filter(|_| !annotations.contains_key(WAVE)) {
                annotations.insert(WAVE.into(), weight.clamp(-FARTHEST, FARTHEST).to_string().into());
            }
        }
        value
    }

    fn left_out(&self, why: &str, next: &'static str) -> Warning {
        let events = self.when.iter().cloned().collect::<Vec<_>>().join(",");
        let message = format!("{} is a Helm hook ({}) and is left out: {why}", self.name(), printable(&events, 100));
        Warning { rule: "HookLeftOut", origin: self.origin.clone(), message, next }
    }
}

fn annotation<'a>(value: &'a Value, name: &str) -> Option<&'a str> {
    value.pointer("/metadata/annotations")?.get(name)?.as_str()
}

/// Words between commas, as Helm reads them.
fn words(text: &str) -> BTreeSet<String> {
    text.split(',').map(|word| word.trim().to_ascii_lowercase()).collect()
}

/// The hooks that Helm says it doesn't know: it leaves out the objects without a word in its output.
pub(crate) fn unknown(said: &str) -> BTreeSet<String> {
    let lines = said.lines().filter(|line| line.contains(UNKNOWN));
    lines.filter_map(|line| Some(line.split_once("hookTypes=")?.1.trim().trim_matches('"').to_owned())).collect()
}

/// A warning about such a hook, at the line of a template that names it.
pub(crate) fn unknown_at(when: &str, origin: Origin) -> Warning {
    let next = match when {
        "crd-install" => "put definitions into the chart's `crds` directory",
        _ => "write one that Helm knows, or no hook",
    };
    let message = format!("an object with the hook `{}`, which Helm doesn't know, is left out", printable(when, 100));
    Warning { rule: "HookUnknown", origin, message, next }
}

/// The line of a template that names a hook.
pub(crate) fn line_of(template: &str, when: &str) -> Option<usize> {
    template.lines().position(|line| line.contains(HOOK) && line.contains(when)).map(|index| index + 1)
}
