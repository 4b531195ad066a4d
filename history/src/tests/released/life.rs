//! A life of a history, short, with everything in it that can happen to one.

use std::collections::BTreeMap;

use tk8s_core::{ApprovedBy, ComponentTree, Moment, Promoted, Removal, ServiceAccount, TagRef, WrittenWindow};

use super::*;
use crate::{
    Degraded, EndedHook, FoundObject, Gap, Hold, Incident, LeftOut, Limit, Ran, RefusedRevision, Scope, SeenTag, SizeAndRoot,
};

/// Leaves in `dir` what a process leaves that is killed.
pub(super) fn killed(dir: &Path) {
    let lived = tempfile::tempdir().unwrap();
    let history = open(lived.path());
    what_git_says(&history);
    releases(&history);
    people(&history);
    a_gap(&history);
    drop(history);
    // Somebody had put an older version in its place, for a while.
    let identity = crate::keys::identity(&Secret::new(IDENTITY.into())).unwrap();
    let mut ledger = ledger::Ledger::open(&lived.path().join("ledger"), ORIGIN, identity).unwrap();
    let event = Event::Continued { version: "0.0.9".into(), format: 1 };
    ledger.append(&[Record { sequence: ledger.size(), at: at(70), event }.to_bytes().unwrap()]).unwrap();
    drop(ledger);
    // The last events are in the journal as long as nobody ends it in order, and in files that are not flushed.
    let history = open(lived.path());
    let begun = Intent { deletes: vec![key("b")], ..intent(id("web", 4), &["d"]) };
    drop(history.begin(begun, at(80)).unwrap());
    history.rollback_requested(&name("db"), Hold { with: Some(Scope::All), ..hold(1) }, Some("it hurts"), at(81)).unwrap();
    history.publish().unwrap();
    copy(lived.path(), dir, true);
}

fn hold(release: u64) -> Hold {
    Hold { rejected: vec![Digest::of("rejected")], ..Hold::at(ReleaseNumber(release), "3 am", "alice") }
}

fn tagged(number: u32, tag: &str) -> Revision {
    let id = format!("{:040x}", number + 100).parse().unwrap();
    Revision { reference: format!("refs/tags/{tag}"), tag: Some(TagRef { name: tag.into(), id }), ..revision(number) }
}

fn approved() -> Trust {
    let approval = ApprovedBy {
        role: "approver".into(),
        signer: "carol".into(),
        fingerprint: "SHA256:c".into(),
        tag: format!("{:040x}", 300).parse().unwrap(),
        expires: Some(at(9000)),
    };
    Trust::Signed {
        signer: "alice".into(),
        fingerprint: "SHA256:a".into(),
        tag_signer: Some("bob".into()),
        approvals: vec![approval],
    }
}

fn seen(number: u32) -> SeenTag {
    let Revision { commit, tree, .. } = revision(number);
    SeenTag { tag: format!("{:040x}", number + 100).parse().unwrap(), commit, tree: Some(tree) }
}

fn incident(id: &str, reference: &str, seen: Option<SeenTag>) -> Incident {
    Incident {
        id: id.into(),
        rule: if seen.is_some() { "TagMoved" } else { "NotDescendant" }.into(),
        reference: reference.into(),
        object: Some(format!("{:040x}", 400)),
        before: format!("{:040x}", 401),
        message: "it is not what it was".into(),
        seen,
    }
}

fn what_git_says(history: &History) {
    let refusal = RefusedRevision {
        reference: "refs/heads/other".into(),
        object: format!("{:040x}", 200),
        reason: "UnknownSigner".into(),
        message: "nobody knows the key".into(),
    };
    (0..10).for_each(|_| history.refuse(refusal.clone(), at(1)).unwrap());
    history.first_seen("v1.0.0", seen(1), at(2)).unwrap();
    history.accept(&tagged(1, "v1.0.0"), &approved(), at(3)).unwrap();
    history.accept_component(&name("db"), &tagged(2, "v1.1.0-db"), &trust(), at(4)).unwrap();
    history.accept_but_for([name("db")].into(), &revision(3), &trust(), at(5)).unwrap();
    history.incident(&incident("open", "refs/heads/main", None), at(6)).unwrap();
    let moved = incident("moved", "refs/tags/v1.0.0", Some(seen(4)));
    history.incident(&moved, at(7)).unwrap();
    history.accept_incident(&moved, "alice", "it was tagged anew", at(8)).unwrap();
    let TagRef { name, id } = tagged(5, "v1.2.0").tag.unwrap();
    for (tag, second) in [(TagRef { name: name.clone(), id: id.clone() }, 9), (tagged(6, "v1.3.0").tag.unwrap(), 10)] {
        history.break_glass(&tag, "1 of 2 approvers", "it burns", "bob", at(second)).unwrap();
    }
    assert!(history.acknowledge_glass(&id, "it did burn", "carol", at(11)).unwrap());
}

/// A release of `web` with every field that a release can have.
fn full(value: &str) -> ResolvedParts {
    let tree = ComponentTree { tree: revision(7).tree, rest: Digest::of("rest") };
    ResolvedParts {
        revision: tagged(1, "v1.0.0"),
        trust: approved(),
        input: Some(Digest::of("input")),
        tree: Some(tree),
        ..parts("web", value)
    }
}

fn releases(history: &History) {
    let account = ServiceAccount::new("web", "deployer").unwrap();
    let promoted = Promoted {
        environment: Environment::Staging,
        cluster: "staging-1".into(),
        instance: "tk8s".into(),
        release: ReleaseNumber(9),
        since: at(-900),
        until: at(-30),
        statement: Digest::of("statement"),
    };
    // The first one runs, is degraded after that, and is forgotten when there are more of them than are kept.
    let first = history.stage_parts_for(full("one"), Some(account.clone()), at(20)).unwrap().release.id.clone();
    run(history, &first, Status::Healthy);
    let second = history.stage_parts_for(full("two"), Some(account.clone()), at(22)).unwrap().release.id.clone();
    let before = Intent { account: Some(account.clone()), promoted: Some(promoted), ..intent(second.clone(), &["migrate"]) };
    let begun = history.begin(before, at(23)).unwrap();
    let hook = |hook: &str, moment, succeeded| EndedHook { key: key(hook), moment, uid: format!("uid-{hook}"), succeeded };
    let hooks = [
        hook("migrate", Moment::BeforeApply, true),
        hook("tell", Moment::AfterApply, false),
        hook("undo", Moment::OnFailure, true),
    ];
    history.hooks_ended(&begun, &hooks, at(24)).unwrap();
    let turn = Intent { turns: 2, ..intent(second.clone(), &["a"]) };
    let begun = history.begin(turn.clone(), at(25)).unwrap();
    applied(history, &begun, &["a"]);
    let _ = history.record(begun, outcome(Status::Healthy), at(26)).unwrap();
    let last = Intent {
        turn: 1,
        account: Some(account),
        changes: vec![key("b")],
        deletes: vec![key("a")],
        ..Intent { creates: vec![key("c")], ..turn }
    };
    let begun = history.begin(last, at(27)).unwrap();
    let object = |name: &str, created| AppliedObject { key: key(name), uid: format!("uid-{name}"), created };
    history.applied(&begun, &[object("b", None), object("c", Some(true)), object("taken-over", Some(false))], at(28)).unwrap();
    history.pruned(&begun, &[key("a")], at(29)).unwrap();
    let _ = history.record(begun, outcome(Status::Healthy), at(30)).unwrap();
    let decay = Degraded {
        object: key("b"),
        reason: "CrashLoopBackOff".into(),
        message: "back-off 10s".into(),
        cause: "back-off".into(),
    };
    (0..10).for_each(|_| history.degraded(&second, vec![decay.clone()], at(31)).unwrap());
    // The third is denied, confirmed, fails, and something of it can't be applied.
    let third = history.stage_parts_for(full("three"), None, at(32)).unwrap().release.id.clone();
    history
        .deny(&third, vec!["PruneBudget: 9 deletions, 3 are allowed".into(), "OutsideWindow: it is day".into()], at(33))
        .unwrap();
    history.confirm(&third, "web.3.abc", "alice", "it is meant", at(34)).unwrap();
    history.leave_out(&third, &[LeftOut { object: key("old"), reason: "no longer served".into() }], at(35)).unwrap();
    run(history, &third, Status::Failed);
    // The fourth is begun by nobody yet.
    history.stage_parts_for(full("four"), None, at(36)).unwrap();
    let waived =
        ResolvedParts { trust: Trust::Waived { reason: "a trial".into() }, environment: Environment::Dev, ..parts("db", "one") };
    let db = history.stage_parts(waived, at(40)).unwrap().release.id.clone();
    run(history, &db, Status::Unhealthy);
    let removal = Removal {
        budget: 10,
        protect: vec!["PersistentVolumeClaim".into()],
        layer: Some("2-services".parse().unwrap()),
        depends_on: vec![name("db")],
        windows: vec![WrittenWindow {
            allows: true,
            begins: "0 3 * * *".into(),
            lasts_ms: 3_600_000,
            zone: "Europe/Berlin".into(),
        }],
    };
    stage(history, "cache", "one");
    let gone = ResolvedParts { objects: vec![], removal: Some(removal), ..parts("cache", "") };
    let gone = history.stage_parts(gone, at(42)).unwrap().release.id.clone();
    run(history, &gone, Status::Superseded);
}

fn people(history: &History) {
    let layer = Scope::Layer("2-services".parse().unwrap());
    for scope in [Scope::All, layer, Scope::Component(name("web"))] {
        history.suspend(scope, "an audit", "alice", at(50)).unwrap();
    }
    assert!(history.resume_all(&Scope::All, &[], "bob", at(51)).unwrap());
    history.rollback_requested(&name("web"), hold(2), None, at(52)).unwrap();
    history.rollback_refused(&name("web"), Some(Hold { automatic: true, ..hold(2) }), at(53)).unwrap();
}

fn a_gap(history: &History) {
    let ran = Ran { release: ReleaseNumber(7), content: Digest::of("lost") };
    let limits = BTreeMap::from([
        (name("cache"), Limit { latest: ReleaseNumber(7), current: Some(ran), hold: Some(hold(7)) }),
        (name("lost"), Limit { latest: ReleaseNumber(3), current: None, hold: None }),
    ]);
    let gap = Gap {
        reason: "VolumeOlder".into(),
        message: "the volume is older than what is anchored".into(),
        anchored: Some(SizeAndRoot { size: 99, root: "r".into() }),
        limits,
        accepted: Some((tagged(8, "v1.4.0"), trust())),
        components: BTreeMap::from([(name("web"), (tagged(9, "v1.5.0-web"), trust()))]),
        found: BTreeMap::from([(name("cache"), vec![FoundObject { key: key("found"), uid: "uid-found".into() }])]),
    };
    history.mend(gap, at(60)).unwrap();
}
