//! Hooks: Jobs of a release that run once, at a moment of it, and are no part of what runs afterwards. Pure.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{Manifest, printable, read_duration};

/// Annotation that makes a Job a hook: at which moment it runs.
pub const HOOK_ANNOTATION: &str = "tk8s.io/hook";
/// Annotation of a hook: how long it may take.
const DEADLINE: &str = "tk8s.io/hook-deadline";
/// Annotation of a hook: whether it runs on a rollback too.
const ON_ROLLBACK: &str = "tk8s.io/hook-on-rollback";
/// Annotation that the agent puts on a hook: the digest of the release for which it runs. A Job that bears another one, or
/// none, is of another release.
pub const HOOK_OF_ANNOTATION: &str = "agent.tk8s.io/hook-of";

/// When a hook runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Moment {
    /// Before anything else of the release is written.
    BeforeApply,
    /// When everything else of the release is healthy, before anything is deleted.
    AfterApply,
    /// When the release failed after it had written something.
    OnFailure,
}

impl Moment {
    const ALL: [Moment; 3] = [Moment::BeforeApply, Moment::AfterApply, Moment::OnFailure];

    /// The word of the annotation.
    pub fn as_str(self) -> &'static str {
        match self {
            Moment::BeforeApply => "before-apply",
            Moment::AfterApply => "after-apply",
            Moment::OnFailure => "on-failure",
        }
    }
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What a manifest says about itself as a hook.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hook {
    /// When it runs.
    pub moment: Moment,
    /// How long it may take; as long as its component may take to become healthy if it does not say.
    pub deadline: Option<Duration>,
    /// Whether it runs on a rollback too.
    pub on_rollback: bool,
}

/// Why a manifest is no hook, though it says so.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{object}: {problem}")]
pub struct HookError {
    /// The object.
    pub object: String,
    /// What is wrong, and what to do.
    pub problem: String,
}

impl Hook {
    /// What a manifest says. None if it is an ordinary object.
    pub fn of(manifest: &Manifest) -> Result<Option<Hook>, HookError> {
        let fail = |problem: String| HookError { object: manifest.key().to_string(), problem };
        let Some(text) = manifest.annotation(HOOK_ANNOTATION) else {
            return match [DEADLINE, ON_ROLLBACK].into_iter().find(|name| manifest.annotation(name).is_some()) {
                Some(name) => Err(fail(format!("`{name}` is for hooks: write `{HOOK_ANNOTATION}` beside it, or remove it"))),
                None => Ok(None),
            };
        };
        let Some(moment) = Moment::ALL.into_iter().find(|moment| moment.as_str() == text) else {
            let text = printable(text, 40);
            return Err(fail(format!("`{text}` is no hook: write `before-apply`, `after-apply` or `on-failure`")));
        };
        if (manifest.key().group.as_str(), manifest.key().kind.as_str()) != ("batch", "Job") {
            return Err(fail(format!("only a Job can be a hook (`{HOOK_ANNOTATION}: {moment}`): remove the annotation")));
        }
        let deadline = match manifest.annotation(DEADLINE).map(|text| (text, read_duration(text))) {
            None => None,
            Some((_, Some(deadline))) if deadline >= Duration::from_secs(1) => Some(deadline),
            Some((text, _)) => {
                let text = printable(text, 40);
                let problem = format!("`{DEADLINE}: {text}` has to be a time such as `30s`, `5m` or `1h30m`, from one second on");
                return Err(fail(problem));
            }
        };
        let on_rollback = match manifest.annotation(ON_ROLLBACK) {
            None | Some("false") => false,
            Some("true") => true,
            Some(_) => return Err(fail(format!("`{ON_ROLLBACK}` has to be `\"true\"` or `\"false\"`"))),
        };
        Ok(Some(Hook { moment, deadline, on_rollback }))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::Origin;

    fn read(api: &str, kind: &str, annotations: serde_json::Value) -> Result<Option<Hook>, String> {
        let object =
            json!({"apiVersion": api, "kind": kind, "metadata": {"name": "j", "namespace": "n", "annotations": annotations}});
        Hook::of(&Manifest::new(object, Origin::default()).unwrap()).map_err(|error| error.to_string())
    }

    #[test]
    fn a_job_says_when_it_runs_how_long_and_whether_on_a_rollback() {
        let hook = |moment, deadline, on_rollback| Hook { moment, deadline, on_rollback };
        for (annotations, expected) in [
            (json!({}), None),
            (json!({"tk8s.io/hook": "before-apply"}), Some(hook(Moment::BeforeApply, None, false))),
            (
                json!({"tk8s.io/hook": "after-apply", "tk8s.io/hook-deadline": "1m30s", "tk8s.io/hook-on-rollback": "false"}),
                Some(hook(Moment::AfterApply, Some(Duration::from_secs(90)), false)),
            ),
            (
                json!({"tk8s.io/hook": "on-failure", "tk8s.io/hook-on-rollback": "true"}),
                Some(hook(Moment::OnFailure, None, true)),
            ),
        ] {
            assert_eq!(read("batch/v1", "Job", annotations).unwrap(), expected);
        }
    }

    #[test]
    fn what_can_not_be_a_hook_or_is_none_is_refused_with_what_to_write() {
        let hook = json!({"tk8s.io/hook": "before-apply"});
        for (api, kind, annotations, words) in [
            ("v1", "ConfigMap", hook.clone(), "ConfigMap n/j: only a Job can be a hook (`tk8s.io/hook: before-apply`): remove"),
            ("v1", "Pod", hook.clone(), "only a Job"),
            ("batch/v1", "CronJob", hook.clone(), "only a Job"),
            ("example.com/v1", "Job", hook, "only a Job"),
            (
                "batch/v1",
                "Job",
                json!({"tk8s.io/hook": "pre-sync"}),
                "`pre-sync` is no hook: write `before-apply`, `after-apply`",
            ),
            (
                "batch/v1",
                "Job",
                json!({"tk8s.io/hook-deadline": "5m"}),
                "`tk8s.io/hook-deadline` is for hooks: write `tk8s.io/hook`",
            ),
            (
                "batch/v1",
                "Job",
                json!({"tk8s.io/hook": "on-failure", "tk8s.io/hook-deadline": "10ms"}),
                "`tk8s.io/hook-deadline: 10ms` has to be a time such as `30s`",
            ),
            (
                "batch/v1",
                "Job",
                json!({"tk8s.io/hook": "on-failure", "tk8s.io/hook-on-rollback": "yes"}),
                "has to be `\"true\"` or `\"false\"`",
            ),
        ] {
            let refused = read(api, kind, annotations).unwrap_err();
            assert!(refused.contains(words), "{refused}");
        }
    }
}
