//! Which version tags count, and which one is next.

use tk8s_gitsync::{Accepted, Commits, MaxJump, Rule, Verification, Versions};

use super::Story;

fn label(verification: &Verification) -> Option<&str> {
    verification.revision.as_ref().map(|revision| revision.revision().label())
}

fn rules(verification: &Verification) -> Vec<(&str, Rule)> {
    verification.refused.iter().map(|refusal| (refusal.reference.trim_start_matches("refs/tags/"), refusal.rule)).collect()
}

/// What is remembered once this was accepted.
fn accepted(verification: &Verification, before: &Accepted) -> Accepted {
    let verified = verification.revision.as_ref().unwrap();
    let (revision, mut tags) = (verified.revision(), before.tags.clone());
    tags.extend(verification.first_seen.iter().cloned());
    Accepted {
        head: Some(revision.commit.clone()),
        version: Some(revision.tag.as_ref().unwrap().name[1..].parse().unwrap()),
        tags,
        standing: Some((revision.clone(), verified.trust().clone())),
        ..Accepted::default()
    }
}

fn candidates() -> Versions {
    Versions { pre_releases: true, ..Versions::default() }
}

#[test]
fn fast_forward_a_version_far_above_the_last_is_refused_and_keeps_no_other_out() {
    let story = Story::new();
    story.release("v1.4.2");
    let first = story.production(Versions::default(), &Accepted::default());
    let before = accepted(&first, &Accepted::default());
    story.release("v4294967295.0.0");
    story.release("v1.4294967295.0");
    let second = story.production(Versions::default(), &before);
    assert_eq!(label(&second), Some("v1.4.2"));
    assert_eq!(rules(&second), [("v4294967295.0.0", Rule::VersionJump), ("v1.4294967295.0", Rule::VersionJump)]);
    for (refusal, next) in second.refused.iter().zip(["v2.0.0", "v1.104.0"]) {
        assert!(refusal.message.contains("v1.4.2") && refusal.message.contains(next), "{}", refusal.message);
    }
    story.release("v1.5.0");
    let third = story.production(Versions::default(), &before);
    assert_eq!((label(&third), third.refused.len()), (Some("v1.5.0"), 2));
    // Whoever means it says so.
    let far = Versions { max_jump: MaxJump { minor: 1 << 40, ..MaxJump::default() }, ..Versions::default() };
    assert_eq!(label(&story.production(far, &before)), Some("v1.4294967295.0"));
}

#[test]
fn the_first_version_may_be_any() {
    let story = Story::new();
    story.release("v37.400.0");
    let judged = story.production(Versions::default(), &Accepted::default());
    assert_eq!((label(&judged), rules(&judged)), (Some("v37.400.0"), vec![]));
}

#[test]
fn candidates_are_followed_only_if_configured_and_in_their_order() {
    let story = Story::new();
    story.release("v1.0.0");
    let before = accepted(&story.production(candidates(), &Accepted::default()), &Accepted::default());
    story.release("v1.1.0-rc.9");
    story.release("v1.1.0-rc.10");
    assert_eq!(label(&story.production(Versions::default(), &before)), Some("v1.0.0"));
    let tenth = story.production(candidates(), &before);
    assert_eq!((label(&tenth), rules(&tenth)), (Some("v1.1.0-rc.10"), vec![]));
    let followed = accepted(&tenth, &before);
    // What was accepted stays so if candidates are not followed any more.
    let still = story.production(Versions::default(), &followed);
    assert_eq!((label(&still), rules(&still)), (Some("v1.1.0-rc.10"), vec![]));
    story.release("v1.0.1");
    let lower = story.production(Versions::default(), &followed);
    assert_eq!((label(&lower), rules(&lower)), (Some("v1.1.0-rc.10"), vec![("v1.0.1", Rule::VersionLower)]));
    story.release("v1.1.0");
    assert_eq!(label(&story.production(candidates(), &followed)), Some("v1.1.0"));
    assert_eq!(label(&story.production(Versions::default(), &followed)), Some("v1.1.0"));
}

#[test]
fn a_suffix_that_is_no_candidate_is_refused_by_its_rule() {
    let story = Story::new();
    story.release("v1.0.0");
    for name in ["v1.1.0-rc", "v1.1.0-rc.1.2", "v1.1.0-rc.x", "v1.1.0-beta.1", "v1.1.0-Memory", "v1.1.0+build", "v1.1"] {
        story.repository.tag(name, Some(&story.alice));
        for versions in [Versions::default(), candidates()] {
            let judged = story.production(versions, &Accepted::default());
            assert_eq!((label(&judged), rules(&judged)), (Some("v1.0.0"), vec![(name, Rule::NotAVersion)]));
        }
        story.git(&["push", "-q", "origin", &format!(":refs/tags/{name}")]);
    }
}

#[test]
fn a_tag_is_remembered_with_its_commit_and_tree() {
    let story = Story::new();
    story.release("v1.0.0");
    story.release("v1.1.0");
    let judged = story.production(Versions::default(), &Accepted::default());
    let mut names = Vec::new();
    for (name, seen) in &judged.first_seen {
        let is = |what: &str| story.git(&["rev-parse", &format!("{name}{what}")]);
        assert_eq!(seen.tag.as_str(), is(""));
        assert_eq!(seen.commit.as_str(), is("^{commit}"));
        assert_eq!(seen.tree.as_ref().unwrap().as_str(), is("^{tree}"));
        names.push(name.as_str());
    }
    assert_eq!(names, ["v1.1.0", "v1.0.0"]);
    // As it was written before trees were remembered.
    let former = format!("{{\"tag\":\"{0}\",\"commit\":\"{0}\"}}", "0".repeat(40));
    let read: tk8s_gitsync::SeenTag = serde_json::from_str(&former).unwrap();
    assert_eq!((read.tree.clone(), serde_json::to_string(&read).unwrap()), (None, former));
}

#[test]
fn rollback_an_older_release_under_a_higher_number_or_its_own_is_refused() {
    let story = Story::new();
    story.release("v1.0.0");
    let old = story.head();
    story.release("v1.1.0");
    let before = accepted(&story.production(Versions::default(), &Accepted::default()), &Accepted::default());
    // The old commit, released anew; the tag of then, under a new name; and a release that was lower when it came.
    story.repository.git_signed(&story.alice, &["tag", "-s", "-m", "again", "v1.2.0", &old]);
    story.git(&["update-ref", "refs/tags/v1.3.0", "refs/tags/v1.0.0"]);
    story.repository.git_signed(&story.alice, &["tag", "-s", "-m", "late", "v1.0.9", "HEAD"]);
    story.git(&["push", "-q", "origin", "--tags"]);
    let judged = story.production(Versions::default(), &before);
    assert_eq!(label(&judged), Some("v1.1.0"));
    let expected = [("v1.3.0", Rule::TagNameMismatch), ("v1.2.0", Rule::NotDescendant), ("v1.0.9", Rule::VersionLower)];
    assert_eq!(rules(&judged), expected);
}

#[test]
fn mix_and_match_a_signed_tag_on_a_signed_commit_from_elsewhere_is_refused() {
    let story = Story::new();
    story.release("v1.0.0");
    let before = accepted(&story.production(Versions::default(), &Accepted::default()), &Accepted::default());
    // Signed both, and never merged; then the tag of it on the commit of another, which the signature does not fit.
    story.branch("experiment", "main");
    story.release("v1.1.0");
    story.back_to_main();
    let other = story.commit("base.yaml", "a: main\n", Some(&story.alice));
    let raw = String::from_utf8(story.repository.raw("tag", "v1.1.0")).unwrap();
    let mixed = raw.replacen(raw.lines().next().unwrap(), &format!("object {other}"), 1).replacen("tag v1.1.0", "tag v1.2.0", 1);
    let mixed = story.repository.write_object("tag", mixed.as_bytes());
    story.git(&["update-ref", "refs/tags/v1.2.0", &mixed]);
    story.git(&["push", "-q", "origin", "--tags"]);
    let judged = story.production(Versions::default(), &before);
    assert_eq!(label(&judged), Some("v1.0.0"));
    assert_eq!(rules(&judged), [("v1.2.0", Rule::BadSignature), ("v1.1.0", Rule::NotOnReleaseBranch)]);
}

#[test]
fn what_stands_outlives_its_signers_time_and_nothing_else() {
    let story = Story::new();
    // Bob's commit, alice's tag.
    story.commit("base.yaml", "a: v1.0.0\n", Some(&story.bob));
    story.repository.tag("v1.0.0", Some(&story.alice));
    let first = story.production(Versions::default(), &Accepted::default());
    let before = accepted(&first, &Accepted::default());
    for name in ["alice", "bob"] {
        for (state, rule, stays) in [("retired", Rule::RetiredSigner, true), ("compromised", Rule::CompromisedSigner, false)] {
            let judge = |accepted| story.production_by(story.signers_where(name, state), Versions::default(), accepted);
            let again = judge(&before);
            assert_eq!(label(&again).is_some(), stays, "{name} {state}");
            assert_eq!(rules(&again), if stays { vec![] } else { vec![("v1.0.0", rule)] }, "{name} {state}");
            // Where it is new it is refused by the same rule.
            let first_sight = judge(&Accepted::default());
            assert_eq!((label(&first_sight), rules(&first_sight)), (None, vec![("v1.0.0", rule)]), "{name} {state}");
        }
    }
}

#[test]
fn what_means_that_history_was_rewritten_is_an_incident_with_its_past() {
    let story = Story::new();
    let base = story.head();
    let incidents = |judged: &Verification| -> Vec<(Rule, String)> {
        judged.incidents.iter().map(|incident| (incident.rule, incident.before.clone())).collect()
    };
    // A branch that goes another way.
    let first = story.commit("a.yaml", "a: 1\n", Some(&story.alice));
    assert_eq!(incidents(&story.staging(Commits::Head, Some(&first))), []);
    story.git(&["checkout", "-q", "-B", "main", &base]);
    story.commit("b.yaml", "a: 1\n", Some(&story.alice));
    assert_eq!(incidents(&story.staging(Commits::Head, Some(&first))), [(Rule::NotDescendant, first)]);
    // A tag that moves, and one that is gone.
    story.release("v1.0.0");
    let judged = story.production(Versions::default(), &Accepted::default());
    let (before, tag) = (accepted(&judged, &Accepted::default()), story.git(&["rev-parse", "v1.0.0"]));
    assert_eq!(incidents(&judged), []);
    story.git(&["tag", "-d", "v1.0.0"]);
    story.repository.tag("v1.0.0", Some(&story.bob));
    let moved = story.production(Versions::default(), &before);
    assert_eq!(incidents(&moved), [(Rule::TagMoved, tag.clone())]);
    assert_eq!(moved.incidents[0].seen.as_ref().unwrap().tag.as_str(), story.git(&["rev-parse", "v1.0.0"]));
    story.git(&["push", "-q", "origin", ":refs/tags/v1.0.0"]);
    assert_eq!(incidents(&story.production(Versions::default(), &before)), [(Rule::TagVanished, tag)]);
}
