//! The table of rules, asked one by one and all at once.

use proptest::prelude::*;
use tk8s_core::{Digest, GroupVersionKind, ReleaseNumber, Revision};
use tk8s_diff::cluster::Resource;

use super::*;

fn release(environment: Environment, trust: Trust, number: u64, objects: usize) -> Release {
    let id = "0123456789abcdef0123456789abcdef01234567";
    Release {
        id: format!("core@{number}").parse().unwrap(),
        revision: Revision {
            reference: "refs/heads/main".into(),
            commit: id.parse().unwrap(),
            tree: id.parse().unwrap(),
            tag: None,
        },
        trust,
        environment,
        content: Digest::of("content"),
        input: None,
        tree: None,
        objects,
        removal: None,
        account: None,
        staged_at: "2026-01-01T00:00:00Z".parse().unwrap(),
    }
}

fn signed() -> Trust {
    Trust::Signed { signer: "alice".into(), fingerprint: "SHA256:x".into(), tag_signer: None, approvals: Vec::new() }
}

fn waived_trust() -> Trust {
    Trust::Waived { reason: "trying out".into() }
}

fn hold(number: u64) -> Option<Hold> {
    Some(Hold::at(ReleaseNumber(number), "3 am", "bob"))
}

fn key(kind: &str, namespace: Option<&str>, name: &str) -> ObjectKey {
    ObjectKey { group: String::new(), kind: kind.into(), namespace: namespace.map(str::to_owned), name: name.into() }
}

fn pruned(key: ObjectKey) -> Prune {
    let resource =
        Resource { kind: GroupVersionKind::new("v1", &key.kind), plural: "x".into(), namespaced: key.namespace.is_some() };
    Prune { key, resource, uid: "u".into(), propagation: Default::default(), confirm: false }
}

fn rollback() -> Trigger {
    Trigger::Rollback { by: "bob".into(), reason: None }
}

fn all_triggers() -> [Trigger; 4] {
    [Trigger::Sync, rollback(), Trigger::Drift, Trigger::Restart]
}

fn reasons(release: &Release, prune: &[Prune], trigger: &Trigger, rules: &GateRules) -> Vec<&'static str> {
    let subject = Subject { release, conflicts: &[], prune, owned: 100, deletions: "core.1.abc".into(), first: true };
    failed_rules(&subject, trigger, rules).into_iter().map(|rule| rule.reason).collect()
}

#[test]
fn waived_signatures_pass_in_dev_only_whatever_the_trigger() {
    let release = release(Environment::Dev, waived_trust(), 1, 3);
    for trigger in all_triggers() {
        assert!(reasons(&release, &[], &trigger, &GateRules::of(Environment::Dev)).is_empty());
        for environment in [Environment::Staging, Environment::Production] {
            assert!(reasons(&release, &[], &trigger, &GateRules::of(environment)).contains(&"WaivedOutsideDev"), "{trigger:?}");
        }
    }
}

#[test]
fn a_release_of_a_lesser_environment_is_repaired_but_does_not_come_in() {
    let release = release(Environment::Staging, signed(), 1, 3);
    let rules = GateRules { running: Some(release.id.clone()), ..GateRules::of(Environment::Production) };
    for (trigger, expected) in [
        (Trigger::Sync, vec!["VerifiedForLess"]),
        (rollback(), vec!["VerifiedForLess"]),
        (Trigger::Drift, vec![]),
        (Trigger::Restart, vec![]),
    ] {
        assert_eq!(reasons(&release, &[], &trigger, &rules), expected, "{trigger:?}");
        // What was begun and does not run is not let in by a restart.
        let rules = GateRules { running: None, ..rules.clone() };
        assert_eq!(reasons(&release, &[], &trigger, &rules), ["VerifiedForLess"], "{trigger:?}");
    }
    assert!(reasons(&release, &[], &Trigger::Sync, &GateRules::of(Environment::Dev)).is_empty());
}

#[test]
fn a_hold_lets_its_own_release_and_a_persons_rollback_pass() {
    let rules = GateRules { held: hold(4), ..GateRules::of(Environment::Dev) };
    let at = |number| release(Environment::Dev, signed(), number, 3);
    for trigger in [Trigger::Sync, Trigger::Drift, Trigger::Restart] {
        assert_eq!(reasons(&at(5), &[], &trigger, &rules), ["Held"], "{trigger:?}");
        assert!(reasons(&at(4), &[], &trigger, &rules).is_empty(), "{trigger:?}");
    }
    assert!(reasons(&at(3), &[], &rollback(), &rules).is_empty());
}

#[test]
fn a_suspended_component_is_written_by_a_person_only() {
    let suspension = Suspension {
        scope: tk8s_history::Scope::Component("core".parse().unwrap()),
        reason: "audit".into(),
        by: "eve".into(),
        since: "2026-01-01T00:00:00Z".parse().unwrap(),
    };
    let rules = GateRules { suspended: Some(suspension), ..GateRules::of(Environment::Dev) };
    let release = release(Environment::Dev, signed(), 1, 3);
    for trigger in all_triggers() {
        let expected: &[&str] = if trigger.is_a_persons() { &[] } else { &["Suspended"] };
        assert_eq!(reasons(&release, &[], &trigger, &rules), expected, "{trigger:?}");
    }
}

#[test]
fn a_window_keeps_out_what_is_new_and_nothing_else() {
    let release = release(Environment::Dev, signed(), 2, 3);
    let closed = Closed { until: Some("2026-01-01T02:00:00Z".parse().unwrap()), why: "it is day".into() };
    let rules = GateRules { closed: Some(closed), ..GateRules::of(Environment::Dev) };
    for (trigger, expected) in [
        (Trigger::Sync, vec!["OutsideWindow"]),
        // A restart is no way in: what was only staged is as new as before.
        (Trigger::Restart, vec!["OutsideWindow"]),
        (Trigger::Drift, vec![]),
        (rollback(), vec![]),
    ] {
        assert_eq!(reasons(&release, &[], &trigger, &rules), expected, "{trigger:?}");
        let begun = GateRules { begun: true, ..rules.clone() };
        assert!(reasons(&release, &[], &trigger, &begun).is_empty(), "{trigger:?}");
        let runs = GateRules { running: Some(release.id.clone()), ..rules.clone() };
        assert!(reasons(&release, &[], &trigger, &runs).is_empty(), "{trigger:?}");
    }
    let later = Subject { release: &release, conflicts: &[], prune: &[], owned: 1, deletions: String::new(), first: false };
    assert!(failed_rules(&later, &Trigger::Sync, &rules).is_empty(), "its first turn was let in");
}

#[test]
fn what_nobody_saw_run_elsewhere_does_not_come_in_and_what_ran_here_is_not_asked() {
    let release = release(Environment::Production, signed(), 5, 1);
    let promotion = Promotion::Unproven("nobody says that it ran".into());
    let rules = GateRules { promotion, ..GateRules::of(Environment::Production) };
    let later = Subject { release: &release, conflicts: &[], prune: &[], owned: 1, deletions: String::new(), first: false };
    let first = Subject { first: true, deletions: String::new(), ..later };
    let promoted = tk8s_core::Promoted {
        environment: Environment::Staging,
        cluster: "eu".into(),
        instance: "tk8s".into(),
        release: ReleaseNumber(3),
        since: "2026-01-01T00:00:00Z".parse().unwrap(),
        until: "2026-01-02T00:00:00Z".parse().unwrap(),
        statement: Digest::of("it ran"),
    };
    let proven = GateRules { promotion: Promotion::Proven(promoted.clone()), ..rules.clone() };
    for (trigger, comes_in) in [
        (Trigger::Sync, true),
        (Trigger::Restart, true),
        (Trigger::Drift, false),
        (rollback(), false),
        (Trigger::AutomaticRollback, false),
    ] {
        let expected = if comes_in { vec![EVIDENCE_MISSING] } else { vec![] };
        assert_eq!(reasons(&release, &[], &trigger, &rules), expected, "{trigger:?}");
        let begun = GateRules { begun: true, ..rules.clone() };
        let runs = GateRules { running: Some(release.id.clone()), ..rules.clone() };
        assert!(reasons(&release, &[], &trigger, &begun).is_empty() && reasons(&release, &[], &trigger, &runs).is_empty());
        assert!(failed_rules(&later, &trigger, &rules).is_empty(), "its first turn was let in");
        // By whose word is written down where it was needed, and nowhere else.
        assert!(failed_rules(&first, &trigger, &proven).is_empty());
        assert_eq!(promotion::proven(&first, &trigger, &proven), comes_in.then(|| promoted.clone()), "{trigger:?}");
        assert_eq!(promotion::proven(&later, &trigger, &proven), None);
    }
    let waiting = denied(&release, failed_rules(&first, &Trigger::Sync, &rules), &rules);
    assert_eq!((waiting.class(), waiting.reason()), (Class::Waiting, "EvidenceMissing"));
}

#[test]
fn namespaces_of_the_cluster_and_of_the_agent_are_never_deleted() {
    let own_secret = key("Secret", Some("tk8s-system"), "keys");
    let rules = GateRules {
        instance_namespace: Some("tk8s-system".into()),
        own: Own { keys: [own_secret.clone()].into(), ..Own::default() },
        ..GateRules::of(Environment::Dev)
    };
    let release = release(Environment::Dev, signed(), 1, 3);
    for (object, expected) in [
        (key("Namespace", None, "default"), vec!["ProtectedNamespace"]),
        (key("Namespace", None, "kube-system"), vec!["ProtectedNamespace"]),
        (key("Namespace", None, "tk8s-system"), vec!["ProtectedNamespace"]),
        (key("Namespace", None, "shop"), vec![]),
        (key("ConfigMap", Some("kube-system"), "default"), vec![]),
        (own_secret, vec!["OwnObject"]),
        (key("Secret", Some("shop"), "keys"), vec![]),
    ] {
        for trigger in all_triggers() {
            assert_eq!(reasons(&release, &[pruned(object.clone())], &trigger, &rules), expected, "{object}");
        }
    }
}

#[test]
fn an_empty_release_deletes_nothing() {
    let empty = release(Environment::Dev, signed(), 1, 0);
    let rules = GateRules::of(Environment::Dev);
    let prune = [pruned(key("ConfigMap", Some("shop"), "a"))];
    assert_eq!(reasons(&empty, &prune, &Trigger::Sync, &rules), ["EmptyRelease"]);
    assert!(reasons(&empty, &[], &Trigger::Sync, &rules).is_empty());
}

#[test]
fn whoever_is_denied_hears_of_every_rule_at_once() {
    let release = release(Environment::Dev, waived_trust(), 7, 3);
    let rules = GateRules { held: hold(4), ..GateRules::of(Environment::Production) };
    let conflict =
        |name: &str| Conflict { key: key("ConfigMap", Some("shop"), name), message: "conflict with \"hpa\": .data".into() };
    let conflicts = [conflict("a"), conflict("b")];
    let prune = [pruned(key("Namespace", None, "default"))];
    let subject =
        Subject { release: &release, conflicts: &conflicts, prune: &prune, owned: 100, deletions: String::new(), first: true };
    let failed = failed_rules(&subject, &Trigger::Sync, &rules);
    let denied = Denied { release: release.id.clone(), failed, until: None };
    let reasons: Vec<_> = denied.failed.iter().map(|rule| rule.reason).collect();
    assert_eq!(reasons, ["WaivedOutsideDev", "VerifiedForLess", "Held", "Conflict", "Conflict", "ProtectedNamespace"]);
    assert_eq!((denied.class(), denied.reason()), (Class::Denied, "WaivedOutsideDev"));
    assert_eq!(denied.reasons().len(), 6);
    let text = denied.to_string();
    assert!(text.starts_with("the plan of core@7 is denied: signatures were waived"), "{text}");
    assert!(text.contains("ConfigMap shop/b") && text.contains("`tk8s-agent resume core`"), "{text}");
}

#[test]
fn a_hold_alone_waits_for_a_person() {
    let failed = vec![FailedRule { class: Class::Waiting, reason: "Held", message: String::new() }];
    let denied = Denied { release: "core@1".parse().unwrap(), failed, until: None };
    assert_eq!(denied.class(), Class::Waiting);
}

proptest! {
    /// A rule that fails for a plan still fails when more is wrong with it.
    #[test]
    fn more_faults_never_let_a_plan_pass(waive: bool, held in proptest::option::of(1u64..5), number in 1u64..5, namespaces in proptest::collection::vec("[a-z]{1,3}|default|kube-[a-z]{1,3}", 0..4), objects in 0usize..2) {
        let trust = if waive { waived_trust() } else { signed() };
        let release = release(Environment::Staging, trust, number, objects);
        let rules = GateRules { held: held.and_then(hold), ..GateRules::of(Environment::Staging) };
        let prune: Vec<_> = namespaces.iter().map(|name| pruned(key("Namespace", None, name))).collect();
        for trigger in all_triggers() {
            let alone = reasons(&release, &[], &trigger, &rules);
            let all = reasons(&release, &prune, &trigger, &rules);
            prop_assert!(alone.iter().all(|reason| all.contains(reason)));
            let protected = namespaces.iter().filter(|name| *name == "default" || name.starts_with("kube-")).count();
            prop_assert_eq!(all.iter().filter(|reason| **reason == "ProtectedNamespace").count(), protected);
        }
    }
}

#[test]
fn more_deletions_than_the_budget_wait_for_a_persons_word_for_exactly_them() {
    let release = release(Environment::Dev, signed(), 7, 3);
    let many = |count: usize| -> Vec<Prune> {
        (0..count).map(|number| pruned(key("ConfigMap", Some("shop"), &format!("m{number}")))).collect()
    };
    let says = |prune: &[Prune], owned: usize, trigger: &Trigger, rules: &GateRules| {
        let subject = Subject { release: &release, conflicts: &[], prune, owned, deletions: "core.7.abc".into(), first: true };
        unconfirmed(&subject, trigger, rules)
    };
    let rules = GateRules::of(Environment::Dev);
    assert_eq!(says(&many(10), 100, &Trigger::Sync, &rules), None);
    let denied = says(&many(11), 100, &Trigger::Sync, &rules).unwrap();
    let expected = "it would delete 11 of the 100 objects of core, more than the 10 of `prune.budget`; `tk8s-agent confirm core.7.abc --reason ...` lets exactly this through: ConfigMap shop/m0, ConfigMap shop/m1, ConfigMap shop/m2, ConfigMap shop/m3, ConfigMap shop/m4 and 6 more";
    assert_eq!(denied, expected);
    // Half of what there is, though few.
    assert!(says(&many(3), 5, &Trigger::Drift, &rules).unwrap().contains("more than the 50%"));
    assert_eq!(says(&many(3), 6, &Trigger::Sync, &rules), None);
    assert_eq!(says(&many(2), 2, &Trigger::Sync, &rules), None);
    let asks = [Prune { confirm: true, ..many(1).remove(0) }];
    assert!(says(&asks, 100, &Trigger::Sync, &rules).unwrap().contains("`tk8s.io/prune: \"confirm\"`"));
    assert_eq!(says(&many(11), 11, &rollback(), &rules), None, "a person has said what they want");
    let confirmed = |code: &str| GateRules { confirmed: Some(code.into()), ..GateRules::of(Environment::Dev) };
    assert_eq!(says(&many(11), 11, &Trigger::Sync, &confirmed("core.7.abc")), None);
    assert!(says(&many(11), 11, &Trigger::Sync, &confirmed("core.7.abd")).is_some());
    let budget = PruneBudget { objects: 20, percent: 100 };
    assert_eq!(says(&many(20), 20, &Trigger::Sync, &GateRules { budget, ..rules }), None);
}
