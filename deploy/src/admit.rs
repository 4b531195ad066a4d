//! What a release may bring at all, asked before anything is asked about it: what lies outside of the component's `confine`,
//! and what is the agent's own.
//!
//! Pure. Every object is looked at, so that whoever is refused hears of all of them.

use tk8s_core::{Class, Manifest};
use tk8s_diff::Confinement;
use tk8s_history::Desired;

use crate::gate::{Denied, FailedRule, Trigger};
use crate::own::Own;

/// By which rules a release is let in.
#[derive(Clone, Copy, Debug)]
pub struct Admission<'a> {
    /// What the component may touch.
    pub confine: &'a Confinement,
    /// Whether it comes in: what runs, or was let in before, is not asked again.
    pub comes_in: bool,
    /// What it may not touch in any case.
    pub own: &'a Own,
}

/// Lets a release in, or says everything in it that may not come in. A person who puts a former release back gets what lies
/// outside of today's `confine` too, and is told; nobody gets what is the agent's own.
pub fn admit(desired: &Desired, trigger: &Trigger, admission: &Admission<'_>) -> Result<Vec<String>, Denied> {
    let objects = || desired.objects().iter().map(|placed| &placed.manifest);
    let (failed, told) = asked(objects, trigger, admission);
    let release = desired.release().id.clone();
    if failed.is_empty() { Ok(told) } else { Err(Denied { release, failed, until: None }) }
}

/// The rules that are broken, and what is only told.
fn asked<'a, O: Iterator<Item = &'a Manifest>>(
    objects: impl Fn() -> O,
    trigger: &Trigger,
    admission: &Admission<'_>,
) -> (Vec<FailedRule>, Vec<String>) {
    let Admission { confine, comes_in, own } = *admission;
    let deny = |reason, message| FailedRule { class: Class::Denied, reason, message };
    let (mut failed, mut told) = (Vec::new(), Vec::new());
    if !comes_in && !trigger.is_rollback() {
        return (failed, told);
    }
    for manifest in objects() {
        let Some(why) = confine.refuses(manifest.key()) else { continue };
        let message = format!("{} lies outside of the component's `confine`: {why}", manifest.key());
        match comes_in {
            true => failed.push(deny("OutsideConfinement", message)),
            false => told.push(message),
        }
    }
    for manifest in objects() {
        let Some(why) = own.refuses(manifest) else { continue };
        failed.push(deny("OwnObject", format!("{} is the agent's own ({why}): change it by hand", manifest.key())));
    }
    if let Some((key, why)) = own.untried(&objects) {
        failed.push(deny("OwnObject", format!("{key} is the agent's own: {why}")));
    }
    (failed, told)
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use tk8s_core::Origin;
    use tk8s_diff::Bounds;

    use super::*;

    fn reasons(trigger: &Trigger, comes_in: bool) -> (Vec<&'static str>, usize) {
        let map = |namespace: &str| {
            let object = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", "namespace": namespace}});
            Manifest::new(object, Origin::default()).unwrap()
        };
        let objects = ["shop", "bank", "mint", "tk8s-system"].map(map);
        let confine = Confinement::new(vec![Bounds::new(Some(&["shop".into(), "tk8s-*".into()]), None, None)]);
        let own = Own { account: Some("tk8s-system/agent".parse().unwrap()), ..Own::default() };
        let (failed, told) = asked(|| objects.iter(), trigger, &Admission { confine: &confine, comes_in, own: &own });
        (failed.iter().map(|rule| rule.reason).collect(), told.len())
    }

    #[test]
    fn whoever_is_refused_hears_of_every_object() {
        assert_eq!(reasons(&Trigger::Sync, true), (vec!["OutsideConfinement", "OutsideConfinement", "OwnObject"], 0));
        assert_eq!(reasons(&Trigger::Restart, true).0.len(), 3, "what was staged and never begun is as new as before");
    }

    #[test]
    fn a_rollback_is_told_what_lies_outside_and_never_gets_what_is_the_agent_s() {
        let person = Trigger::Rollback { by: "bob".into(), reason: None };
        for trigger in [person, Trigger::AutomaticRollback] {
            assert_eq!(reasons(&trigger, false), (vec!["OwnObject"], 2));
        }
    }

    #[test]
    fn what_runs_is_repaired_and_finished() {
        for trigger in [Trigger::Drift, Trigger::Restart] {
            assert_eq!(reasons(&trigger, false), (vec![], 0));
        }
    }
}
