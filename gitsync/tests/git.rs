//! From a remote to a verified tree, with the real `git`, `ssh-keygen` and `sshd`.

#![allow(clippy::unwrap_used, missing_docs, unreachable_pub)]

mod approving;
mod support;

use std::io::Read as _;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use proptest::prelude::*;
use support::{KeyType, Repository, Signer, Sshd, verify_object};
use tk8s_core::{Classified as _, SourceTree as _, Timestamp, TreePath, Trust};
use tk8s_gitsync::{
    Accepted, Commits, DevPolicy, Follow, Policy, ProductionPolicy, Rule, Signers, Source, SshAuth, StagingPolicy, Verification,
    Versions, Waiver, evidence, fetch, tree, verify, verify_revision,
};

fn source(repository: &Repository, follow: Follow) -> Source {
    let url = format!("file://{}", repository.bare.display()).parse().unwrap();
    Source { timeout: Duration::from_secs(30), ..Source::new(url, repository.home().join("mirror.git"), follow) }
}

fn main_branch() -> Follow {
    Follow::Branch("main".into())
}

fn tags() -> Follow {
    Follow::Tags { release_branch: "main".into(), approvals: false, evidence: false }
}

fn staging(signers: &[&Signer]) -> Policy {
    Policy::Staging(StagingPolicy { signers: support::signers(signers), commits: Commits::Head })
}

fn production(signers: &[&Signer]) -> Policy {
    Policy::Production(ProductionPolicy { signers: support::signers(signers), approvals: None, versions: Versions::default() })
}

fn judged(repository: &Repository, follow: Follow, policy: &Policy, accepted: &Accepted) -> Verification {
    verify(&fetch(&source(repository, follow)).unwrap(), policy, accepted).unwrap()
}

fn rules(verification: &Verification) -> Vec<Rule> {
    verification.refused.iter().map(|refusal| refusal.rule).collect()
}

fn accepted(verification: &Verification) -> Accepted {
    let revision = verification.revision.as_ref().unwrap().revision();
    Accepted {
        head: Some(revision.commit.clone()),
        version: revision.tag.as_ref().map(|tag| tag.name[1..].parse().unwrap()),
        tags: verification.first_seen.iter().cloned().collect(),
        standing: Some((revision.clone(), verification.revision.as_ref().unwrap().trust().clone())),
        ..Accepted::default()
    }
}

/// TUF, arbitrary installation.
#[test]
fn every_kind_of_key_is_accepted_and_every_other_one_refused() {
    for kind in [KeyType::Ed25519, KeyType::EcdsaP256, KeyType::EcdsaP384, KeyType::EcdsaP521, KeyType::Rsa] {
        let repository = Repository::new();
        let alice = Signer::new(repository.home(), "alice", kind);
        let mallory = Signer::new(repository.home(), "mallory", kind);
        repository.write("a.yaml", "a: 1\n");
        repository.commit("first", Some(&alice));
        let good = judged(&repository, main_branch(), &staging(&[&alice]), &Accepted::default());
        let revision = good.revision.unwrap();
        assert!(matches!(revision.trust(), Trust::Signed { signer, .. } if signer == "alice"), "{kind:?}");
        let bad = judged(&repository, main_branch(), &staging(&[&mallory]), &Accepted::default());
        assert!(bad.revision.is_none());
        assert_eq!(rules(&bad), [Rule::UnknownSigner], "{kind:?}");
    }
}

/// A40, signature stripping.
#[test]
fn an_unsigned_head_is_refused_in_staging_and_waived_in_dev_only_with_a_reason() {
    let repository = Repository::new();
    let alice = Signer::new(repository.home(), "alice", KeyType::Ed25519);
    repository.write("a.yaml", "a: 1\n");
    repository.commit("first", None);
    assert_eq!(rules(&judged(&repository, main_branch(), &staging(&[&alice]), &Accepted::default())), [Rule::Unsigned]);
    let dev = |waive: Option<Waiver>| Policy::Dev(DevPolicy { signers: None, waive });
    let waived = judged(&repository, main_branch(), &dev(Some(Waiver::new("a laptop").unwrap())), &Accepted::default());
    assert_eq!(waived.revision.unwrap().trust(), &Trust::Waived { reason: "a laptop".into() });
    assert!(judged(&repository, main_branch(), &dev(None), &Accepted::default()).revision.is_none());
    assert!(Waiver::new("  ").is_err());
}

/// TUF, rollback.
#[test]
fn a_rewritten_branch_is_refused_and_what_was_accepted_stays() {
    let repository = Repository::new();
    let alice = Signer::new(repository.home(), "alice", KeyType::Ed25519);
    repository.write("a.yaml", "a: 1\n");
    repository.commit("first", Some(&alice));
    repository.write("a.yaml", "a: 2\n");
    repository.commit("second", Some(&alice));
    let first = judged(&repository, main_branch(), &staging(&[&alice]), &Accepted::default());
    repository.git(&["reset", "--hard", "HEAD~1"]);
    repository.write("a.yaml", "a: 3\n");
    repository.commit("another second", Some(&alice));
    let second = judged(&repository, main_branch(), &staging(&[&alice]), &accepted(&first));
    assert_eq!(rules(&second), [Rule::NotDescendant]);
}

#[test]
fn production_takes_the_highest_signed_version_tag_on_a_signed_commit() {
    let repository = Repository::new();
    let alice = Signer::new(repository.home(), "alice", KeyType::Ed25519);
    repository.write("a.yaml", "a: 1\n");
    repository.commit("first", Some(&alice));
    assert!(judged(&repository, tags(), &production(&[&alice]), &Accepted::default()).revision.is_none());
    repository.tag("v1.0.0", Some(&alice));
    // A candidate is not followed, and no news.
    repository.tag("v1.9.0-rc.1", Some(&alice));
    repository.tag("vendor-import", Some(&alice));
    let first = judged(&repository, tags(), &production(&[&alice]), &Accepted::default());
    assert_eq!(first.revision.as_ref().unwrap().revision().label(), "v1.0.0");
    let before = accepted(&first);
    repository.write("a.yaml", "a: 2\n");
    repository.commit("second", Some(&alice));
    repository.tag("v1.1.0", None);
    repository.git(&["tag", "v1.2.0"]);
    repository.git(&["push", "-q", "origin", "v1.2.0"]);
    let second = judged(&repository, tags(), &production(&[&alice]), &before);
    assert_eq!(second.revision.unwrap().revision().label(), "v1.0.0");
    let refused: Vec<_> = second.refused.iter().map(|refusal| (refusal.reference.as_str(), refusal.rule)).collect();
    assert_eq!(refused, [("refs/tags/v1.2.0", Rule::LightweightTag), ("refs/tags/v1.1.0", Rule::Unsigned)]);
}

/// TUF, rollback and wrong software.
#[test]
fn a_tag_that_moves_vanishes_lies_or_leaves_the_branch_is_refused() {
    let repository = Repository::new();
    let alice = Signer::new(repository.home(), "alice", KeyType::Ed25519);
    let judge = |before: &Accepted| judged(&repository, tags(), &production(&[&alice]), before);
    repository.write("a.yaml", "a: 1\n");
    repository.commit("first", Some(&alice));
    repository.tag("v1.0.0", Some(&alice));
    let before = accepted(&judge(&Accepted::default()));
    // The object of v1.0.0 under another name: its signature is good.
    repository.git(&["push", "-q", "origin", "refs/tags/v1.0.0:refs/tags/v2.0.0"]);
    assert!(rules(&judge(&before)).contains(&Rule::TagNameMismatch));
    repository.git(&["push", "-q", "origin", ":refs/tags/v2.0.0"]);
    // A tag on a commit that is not on main.
    repository.git(&["checkout", "-q", "-b", "side"]);
    repository.write("a.yaml", "a: 9\n");
    repository.commit_only("side", Some(&alice));
    repository.tag("v3.0.0", Some(&alice));
    assert!(rules(&judge(&before)).contains(&Rule::NotOnReleaseBranch));
    repository.git(&["push", "-q", "origin", ":refs/tags/v3.0.0"]);
    repository.git(&["checkout", "-q", "main"]);
    // A tag of a tag.
    repository.git_signed(&alice, &["tag", "-s", "-m", "nested", "v4.0.0", "v1.0.0"]);
    repository.git(&["push", "-q", "origin", "v4.0.0"]);
    assert!(rules(&judge(&before)).contains(&Rule::NestedTag));
    repository.git(&["push", "-q", "origin", ":refs/tags/v4.0.0"]);
    // An unsigned commit under a signed tag.
    repository.write("a.yaml", "a: 2\n");
    repository.commit("second", None);
    repository.tag("v5.0.0", Some(&alice));
    let refused = judge(&before);
    assert!(
        rules(&refused).contains(&Rule::Unsigned)
            && refused.refused.iter().any(|refusal| refusal.message.contains("tagged commit"))
    );
    repository.git(&["push", "-q", "origin", ":refs/tags/v5.0.0"]);
    // The accepted tag, moved.
    repository.git(&["tag", "-d", "v1.0.0"]);
    repository.git_signed(&alice, &["tag", "-s", "-m", "moved", "v1.0.0", "HEAD"]);
    repository.git(&["push", "-q", "--force", "origin", "v1.0.0"]);
    let moved = judge(&before);
    assert!(moved.revision.is_none() && rules(&moved) == [Rule::TagMoved]);
    // The accepted tag, gone.
    repository.git(&["push", "-q", "origin", ":refs/tags/v1.0.0"]);
    assert_eq!(rules(&judge(&before)), [Rule::TagVanished]);
}

/// The only incident of a look, accepted by a person.
fn accepting(verification: &Verification, before: &Accepted) -> Accepted {
    let [incident] = verification.incidents.as_slice() else { panic!("{:?}", verification.incidents) };
    assert!(incident.is_acceptable() && verification.revision.is_none(), "{incident:?}");
    Accepted { incidents: before.incidents.iter().cloned().chain([incident.id()]).collect(), ..before.clone() }
}

#[test]
fn a_rewritten_branch_is_an_incident_and_is_let_in_at_exactly_the_head_that_a_person_accepted() {
    let repository = Repository::new();
    let alice = Signer::new(repository.home(), "alice", KeyType::Ed25519);
    let mallory = Signer::new(repository.home(), "mallory", KeyType::Ed25519);
    let judge = |before: &Accepted| judged(&repository, main_branch(), &staging(&[&alice]), before);
    repository.write("a.yaml", "a: 1\n");
    repository.commit("first", Some(&alice));
    repository.write("a.yaml", "a: 2\n");
    repository.commit("second", Some(&alice));
    let first = judge(&Accepted::default());
    assert!(first.incidents.is_empty());
    let before = accepted(&first);
    let rewrite = |text: &str, signer: &Signer| {
        repository.git(&["reset", "-q", "--hard", "HEAD~1"]);
        repository.write("a.yaml", text);
        repository.commit(text, Some(signer));
    };
    rewrite("a: 3\n", &alice);
    let after = accepting(&judge(&before), &before);
    let let_in = judge(&after);
    assert!(let_in.refused.is_empty() && let_in.incidents.is_empty());
    // What is on top of it was not accepted while it is not itself the base; nor is another past.
    let another = Accepted { head: let_in.revision.as_ref().map(|it| it.revision().commit.clone()), ..before.clone() };
    repository.write("a.yaml", "a: 4\n");
    repository.commit("on top", Some(&alice));
    assert_eq!(rules(&judge(&after)), [Rule::NotDescendant]);
    assert!(judge(&another).revision.is_some(), "from the new base on everything is as ever");
    repository.git(&["reset", "-q", "--hard", "HEAD~1"]);
    rewrite("a: 5\n", &mallory);
    let refused = judge(&after);
    assert_eq!((rules(&refused), refused.incidents.len()), (vec![Rule::NotDescendant], 1), "another head is another incident");
    // A person's word is no signature.
    let unknown = judge(&accepting(&refused, &after));
    assert_eq!((rules(&unknown), unknown.incidents.len()), (vec![Rule::UnknownSigner], 0));
    assert!(unknown.revision.is_none());
}

#[test]
fn tags_that_moved_or_vanished_and_a_release_branch_without_its_release_are_incidents() {
    let repository = Repository::new();
    let alice = Signer::new(repository.home(), "alice", KeyType::Ed25519);
    let judge = |before: &Accepted| judged(&repository, tags(), &production(&[&alice]), before);
    repository.write("a.yaml", "a: 1\n");
    repository.commit("first", Some(&alice));
    repository.write("a.yaml", "a: 2\n");
    repository.commit("second", Some(&alice));
    repository.tag("v1.0.0", Some(&alice));
    let before = accepted(&judge(&Accepted::default()));
    // Gone: once that is accepted nothing is said any more, and nothing lower comes up.
    repository.git(&["push", "-q", "origin", ":refs/tags/v1.0.0"]);
    let after = accepting(&judge(&before), &before);
    assert!(judge(&after).refused.is_empty() && judge(&after).revision.is_none());
    // Moved: as what it would be known is told.
    repository.git(&["tag", "-d", "v1.0.0"]);
    repository.git_signed(&alice, &["tag", "-s", "-m", "moved", "v1.0.0", "HEAD"]);
    repository.git(&["push", "-q", "origin", "v1.0.0"]);
    let moved = judge(&before);
    let seen = moved.incidents[0].seen.clone().unwrap();
    let known = Accepted { tags: [("v1.0.0".to_owned(), seen)].into(), ..before.clone() };
    assert_eq!((rules(&moved), rules(&judge(&known))), (vec![Rule::TagMoved], vec![]));
    assert!(judge(&known).revision.is_some());
    // Moved to what is no tag: there is nothing that could be accepted.
    repository.git(&["tag", "-d", "v1.0.0"]);
    repository.git(&["tag", "v1.0.0"]);
    repository.git(&["push", "-q", "--force", "origin", "v1.0.0"]);
    let light = judge(&before);
    assert!(rules(&light) == [Rule::TagMoved] && !light.incidents[0].is_acceptable());
    // The branch, without what was released from it; a new release on it does not descend either.
    repository.git(&["push", "-q", "--force", "origin", &format!("{}:refs/tags/v1.0.0", before.tags["v1.0.0"].tag)]);
    repository.git(&["reset", "-q", "--hard", "HEAD~1"]);
    repository.write("a.yaml", "a: 3\n");
    repository.commit("another second", Some(&alice));
    let off = judge(&before);
    assert_eq!(rules(&off), [Rule::NotOnReleaseBranch]);
    let after = accepting(&off, &before);
    assert!(judge(&after).revision.is_some() && judge(&after).refused.is_empty());
    repository.tag("v1.1.0", Some(&alice));
    let next = judge(&after);
    assert_eq!((rules(&next), next.incidents.len()), (vec![Rule::NotDescendant], 1));
    let after = Accepted { incidents: after.incidents.into_iter().chain([next.incidents[0].id()]).collect(), ..before };
    assert_eq!(judge(&after).revision.unwrap().revision().label(), "v1.1.0");
}

/// TUF, rollback.
#[test]
fn releases_from_before_are_no_news_and_may_not_move() {
    let repository = Repository::new();
    let alice = Signer::new(repository.home(), "alice", KeyType::Ed25519);
    repository.write("a.yaml", "a: 1\n");
    repository.commit("first", Some(&alice));
    repository.git(&["tag", "v0.9.0"]);
    repository.git(&["push", "-q", "origin", "v0.9.0"]);
    repository.tag("v1.0.0", Some(&alice));
    repository.write("a.yaml", "a: 2\n");
    repository.commit("second", Some(&alice));
    repository.tag("v2.0.0", Some(&alice));
    let first = judged(&repository, tags(), &production(&[&alice]), &Accepted::default());
    assert_eq!(rules(&first), []);
    let before = accepted(&first);
    assert_eq!(rules(&judged(&repository, tags(), &production(&[&alice]), &before)), []);
    repository.git(&["push", "-q", "origin", ":refs/tags/v1.0.0"]);
    repository.git(&["tag", "-d", "v1.0.0"]);
    repository.tag("v1.0.0", Some(&alice));
    assert_eq!(rules(&judged(&repository, tags(), &production(&[&alice]), &before)), [Rule::TagMoved]);
}

#[test]
fn what_was_accepted_stays_when_its_signer_retires_and_goes_when_the_key_is_stolen() {
    let repository = Repository::new();
    let alice = Signer::new(repository.home(), "alice", KeyType::Ed25519);
    repository.write("a.yaml", "a: 1\n");
    repository.commit("first", Some(&alice));
    repository.tag("v1.0.0", Some(&alice));
    let signers = |state: &str| {
        let text = format!(
            "apiVersion: agent.tk8s.io/v1alpha1\nkind: Signers\nsigners:\n  - {{name: alice, roles: [release], {state}, keys: [\"{}\"]}}\n",
            alice.public.trim()
        );
        tk8s_gitsync::Signers::parse(text.as_bytes(), "signers").unwrap()
    };
    let production =
        |state| Policy::Production(ProductionPolicy { signers: signers(state), approvals: None, versions: Versions::default() });
    let staging = |state| Policy::Staging(StagingPolicy { signers: signers(state), commits: Commits::Head });
    for (follow, policy) in [(tags(), &production as &dyn Fn(&'static str) -> Policy), (main_branch(), &staging)] {
        let first = judged(&repository, follow.clone(), &policy("state: active"), &Accepted::default());
        let before = accepted(&first);
        let trust = first.revision.unwrap().trust().clone();
        let again = judged(&repository, follow.clone(), &policy("state: retired"), &before);
        assert_eq!((again.revision.unwrap().trust(), again.refused.len()), (&trust, 0));
        let anew = judged(&repository, follow.clone(), &policy("state: retired"), &Accepted::default());
        assert_eq!(rules(&anew), [Rule::RetiredSigner], "nobody accepted it before");
        let later =
            judged(&repository, follow.clone(), &policy("state: retired, since: 2999-01-01T00:00:00Z"), &Accepted::default());
        assert!(later.revision.is_some(), "not retired yet");
        let stolen = judged(&repository, follow.clone(), &policy("state: compromised"), &before);
        assert_eq!(rules(&stolen), [Rule::CompromisedSigner]);
        assert!(stolen.revision.is_none());
    }
}

/// TUF, endless data.
#[test]
fn what_is_too_large_for_a_tag_or_commit_is_refused_and_others_are_not_kept_from_passing() {
    let repository = Repository::new();
    let alice = Signer::new(repository.home(), "alice", KeyType::Ed25519);
    repository.write("a.yaml", "a: 1\n");
    repository.commit("first", Some(&alice));
    repository.tag("v1.0.0", Some(&alice));
    repository.write("large", &"x".repeat(2 * 1024 * 1024));
    repository.git(&["hash-object", "-w", "large"]);
    repository.git(&["tag", "v9.0.0", repository.git(&["hash-object", "large"]).trim()]);
    repository.git(&["push", "-q", "origin", "v9.0.0"]);
    let judged = judged(&repository, tags(), &production(&[&alice]), &Accepted::default());
    assert_eq!(judged.revision.as_ref().unwrap().revision().label(), "v1.0.0");
    assert_eq!(rules(&judged), [Rule::MalformedObject]);
    assert!(judged.refused[0].message.contains("2097152 bytes"), "{}", judged.refused[0].message);
}

/// TUF, rollback.
#[test]
fn a_lower_version_is_refused() {
    let repository = Repository::new();
    let alice = Signer::new(repository.home(), "alice", KeyType::Ed25519);
    repository.write("a.yaml", "a: 1\n");
    repository.commit("first", Some(&alice));
    repository.tag("v2.0.0", Some(&alice));
    let before = accepted(&judged(&repository, tags(), &production(&[&alice]), &Accepted::default()));
    repository.tag("v1.0.0", Some(&alice));
    let after = judged(&repository, tags(), &production(&[&alice]), &before);
    assert_eq!(rules(&after), [Rule::VersionLower]);
    assert_eq!(after.revision.unwrap().revision().label(), "v2.0.0");
}

/// A41, wrong subject.
#[test]
fn a_signature_for_files_is_not_one_for_git() {
    let repository = Repository::new();
    let alice = Signer::new(repository.home(), "alice", KeyType::Ed25519);
    repository.write("a.yaml", "a: 1\n");
    repository.commit("first", None);
    let unsigned = repository.raw("commit", "HEAD");
    let signature = alice.sign("file", &unsigned);
    let headers = unsigned.windows(2).position(|pair| pair == b"\n\n").unwrap() + 1;
    let mut forged = unsigned[..headers].to_vec();
    forged.extend_from_slice(format!("gpgsig {}\n", signature.trim_end().replace('\n', "\n ")).as_bytes());
    forged.extend_from_slice(&unsigned[headers..]);
    let refusal = verify_object(&forged, &support::signers(&[&alice]), Timestamp::now()).unwrap_err();
    assert_eq!(refusal.rule, Rule::WrongNamespace);
}

/// A42, parser differentials.
#[test]
fn what_git_lets_pass_is_refused_by_its_own_rule() {
    let repository = Repository::new();
    let alice = Signer::new(repository.home(), "alice", KeyType::Ed25519);
    let signers = support::signers(&[&alice]);
    repository.write("a.yaml", "a: 1\n");
    repository.commit("first", Some(&alice));
    repository.tag("v1.0.0", Some(&alice));
    let commit = String::from_utf8(repository.raw("commit", "HEAD")).unwrap();
    let tag = String::from_utf8(repository.raw("tag", "v1.0.0")).unwrap();
    let signature = &commit[commit.find("gpgsig").unwrap()..commit.find("\n\n").unwrap() + 1];
    let rule =
        |raw: String| verify_object(raw.as_bytes(), &signers, Timestamp::now()).map_err(|refusal| refusal.rule).unwrap_err();
    assert!(verify_object(commit.as_bytes(), &signers, Timestamp::now()).is_ok());
    assert!(verify_object(tag.as_bytes(), &signers, Timestamp::now()).is_ok());
    assert!(verify_object(format!("commit {}\0{commit}", commit.len()).as_bytes(), &signers, Timestamp::now()).is_ok());
    let table = [
        (commit.replacen("\n\n", "\ngpgsigfoo x\n\n", 1), Rule::UnknownSignatureHeader),
        (commit.replacen("\n\n", "\ngpgsig-sha256 x\n\n", 1), Rule::UnknownSignatureHeader),
        (commit.replacen("\n\n", &format!("\n{signature}\n"), 1), Rule::SecondSignature),
        (commit.replacen("author", "author a <a@b> 1 +0000\nauthor", 1), Rule::DuplicateHeader),
        (format!("tree {}\n{commit}", "0".repeat(40)), Rule::DuplicateHeader),
        (commit.replacen("committer", "x-early 1\ncommitter", 1), Rule::MalformedObject),
        (format!("{commit}\0"), Rule::MalformedObject),
        (format!("{tag}unsigned text\n"), Rule::TrailingBytes),
        (format!("{tag}{}", &tag[tag.find("-----BEGIN").unwrap()..]), Rule::SecondSignature),
        (tag.replacen("tagger", "gpgsig x\ntagger", 1), Rule::UnknownSignatureHeader),
        (tag.replacen("type commit", "type tag", 1), Rule::NestedTag),
        (tag.replacen("type commit", "type blob", 1), Rule::MalformedObject),
        (tag.replacen("tag v1.0.0", "tag v1.0.1", 1), Rule::BadSignature),
        (commit.replacen("first", "fir5t", 1), Rule::BadSignature),
        // In the armour of another kind.
        (commit.replace("SSH SIGNATURE", "PGP SIGNATURE"), Rule::BadSignature),
        (commit.replace("SSH SIGNATURE", "SIGNED MESSAGE"), Rule::BadSignature),
        (commit.replace("SSH SIGNATURE", "PGP MESSAGE"), Rule::UnsupportedSignature),
    ];
    for (raw, expected) in table {
        assert_eq!(rule(raw.clone()), expected, "{raw}");
    }
}

/// A45, time.
#[test]
fn the_signer_s_state_role_and_validity_decide_at_our_own_time() {
    let repository = Repository::new();
    let alice = Signer::new(repository.home(), "alice", KeyType::Ed25519);
    repository.write("a.yaml", "a: 1\n");
    repository.commit("first", Some(&alice));
    let raw = repository.raw("commit", "HEAD");
    let rule = |text: &str| {
        let signers = Signers::parse(text.as_bytes(), "signers").unwrap();
        verify_object(&raw, &signers, Timestamp::now()).map(|verdict| verdict.signer).map_err(|refusal| refusal.rule)
    };
    let own = |extra: &str, role: &str| {
        format!(
            "apiVersion: agent.tk8s.io/v1alpha1\nkind: Signers\nsigners:\n  - name: alice\n    roles: [{role}]\n    keys: [\"{}\"]\n{extra}",
            alice.public
        )
    };
    assert_eq!(rule(&own("", "release")), Ok("alice".into()));
    assert_eq!(rule(&own("    state: retired\n", "release")), Err(Rule::RetiredSigner));
    assert_eq!(rule(&own("    state: compromised\n    since: 2020-01-01T00:00:00Z\n", "release")), Err(Rule::CompromisedSigner));
    assert_eq!(rule(&own("", "security-officer")), Err(Rule::RoleMissing));
    let key = &alice.public;
    assert_eq!(rule(key), Ok("alice@example.com".into()));
    assert_eq!(rule(&format!("alice@example.com namespaces=\"git\" {key}")), Ok("alice@example.com".into()));
    for twice in ["valid-before=\"20200101\",valid-before=\"20990101\"", "namespaces=\"git\" namespaces=\"git\""] {
        assert!(Signers::parse(format!("alice@example.com {twice} {key}").as_bytes(), "signers").is_err(), "{twice}");
    }
    assert_eq!(rule(&format!("alice namespaces=\"file\" {key}")), Err(Rule::WrongNamespace));
    assert_eq!(rule(&format!("alice valid-before=\"20200101Z\" {key}")), Err(Rule::KeyNotValidNow));
    assert_eq!(rule(&format!("alice valid-after=\"29990101Z\" {key}")), Err(Rule::KeyNotValidNow));
    for bad in [
        "",
        "# nobody\n",
        "kind: Signers\n",
        "alice ssh-ed25519 AAAA",
        "alice cert-authority ssh-ed25519 AAAA",
        &own("    sparkle: 1\n", "release"),
    ] {
        assert!(Signers::parse(bad.as_bytes(), "signers").is_err(), "{bad}");
    }
}

#[test]
fn the_vectors_of_fluxcd_agree() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/fluxcd");
    let read = |name: &str| std::fs::read(folder.join(name)).unwrap();
    for key in ["ed25519", "rsa"] {
        let signers = Signers::parse(&read(&format!("key_{key}.pub")), "key").unwrap();
        for kind in ["commit", "tag"] {
            let raw = read(&format!("{kind}_{key}_signed.txt"));
            let verdict = verify_object(&raw, &signers, Timestamp::now()).unwrap();
            let fingerprint = String::from_utf8(read(&format!("key_{key}.pub_fingerprint"))).unwrap();
            assert!(fingerprint.contains(&verdict.fingerprint), "{fingerprint} {}", verdict.fingerprint);
            let other =
                Signers::parse(&read(&format!("key_{}.pub", if key == "rsa" { "ed25519" } else { "rsa" })), "key").unwrap();
            assert_eq!(verify_object(&raw, &other, Timestamp::now()).unwrap_err().rule, Rule::UnknownSigner);
            let unsigned = read(&format!("{kind}_unsigned.txt"));
            assert_eq!(verify_object(&unsigned, &signers, Timestamp::now()).unwrap_err().rule, Rule::Unsigned);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]
    #[test]
    fn a_signed_object_in_which_any_byte_changed_is_refused(at in any::<prop::sample::Index>(), flip in 1u8..=255) {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/fluxcd");
        let mut raw = std::fs::read(folder.join("commit_ed25519_signed.txt")).unwrap();
        let signers = Signers::parse(&std::fs::read(folder.join("key_ed25519.pub")).unwrap(), "key").unwrap();
        let at = at.index(raw.len());
        raw[at] ^= flip;
        prop_assert!(verify_object(&raw, &signers, Timestamp::now()).is_err(), "byte {at} ^ {flip}");
    }

    #[test]
    fn no_bytes_make_the_verifier_panic(raw in prop::collection::vec(any::<u8>(), 0..400), text in "(tree|object|gpgsig|tag|type|author| |\n|[a-f0-9]{40}|-----BEGIN SSH SIGNATURE-----\n){0,30}") {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/fluxcd");
        let signers = Signers::parse(&std::fs::read(folder.join("key_ed25519.pub")).unwrap(), "key").unwrap();
        let _ = verify_object(&raw, &signers, Timestamp::now());
        let _ = verify_object(text.as_bytes(), &signers, Timestamp::now());
        let _ = Signers::parse(&raw, "x");
        let _ = Signers::parse(text.as_bytes(), "x");
    }
}

#[test]
fn a_revision_is_verified_offline_and_an_ambiguous_name_refused() {
    let repository = Repository::new();
    let alice = Signer::new(repository.home(), "alice", KeyType::Ed25519);
    let signers = support::signers(&[&alice]);
    repository.write("a.yaml", "a: 1\n");
    let commit = repository.commit("first", Some(&alice));
    repository.tag("v1.0.0", Some(&alice));
    for name in [commit.as_str(), "main", "v1.0.0", "refs/tags/v1.0.0", "HEAD"] {
        assert!(verify_revision(&repository.work, name, &signers, Timestamp::now()).unwrap().is_ok(), "{name}");
    }
    repository.git(&["branch", "v1.0.0"]);
    assert!(verify_revision(&repository.work, "v1.0.0", &signers, Timestamp::now()).is_err());
    assert!(verify_revision(&repository.work, "--all", &signers, Timestamp::now()).is_err());
}

#[test]
fn a_tree_is_read_by_object_id_and_never_follows_a_link() {
    let repository = Repository::new();
    let alice = Signer::new(repository.home(), "alice", KeyType::Ed25519);
    repository.write("apps/web/a.yaml", "a: 1\n");
    repository.write("b.yaml", "b: 1\n");
    std::os::unix::fs::symlink("/etc/passwd", repository.work.join("apps/link.yaml")).unwrap();
    repository.commit("first", Some(&alice));
    let verification = judged(&repository, main_branch(), &staging(&[&alice]), &Accepted::default());
    let tree = tree(&Arc::new(verification.revision.unwrap())).unwrap();
    let path = |text: &str| text.parse::<TreePath>().unwrap();
    assert_eq!(tree.read(&path("apps/web/a.yaml"), 100).unwrap(), b"a: 1\n");
    assert!(tree.read(&path("apps/web/a.yaml"), 2).unwrap_err().to_string().contains("at most 2"));
    let names: Vec<_> = tree.list(&path("apps")).unwrap().iter().map(|entry| format!("{entry:?}")).collect();
    assert_eq!(names, [r#"Other("link.yaml", "a symbolic link")"#, r#"Directory("web")"#]);
    assert!(tree.read(&path("apps/link.yaml"), 100).is_err());
    assert!(tree.read(&path("nothing"), 100).is_err());
    assert_eq!(tree.identity(&path("apps/web")).unwrap(), Some(repository.git(&["rev-parse", "HEAD:apps/web"])));
}

/// A remote over a real sshd, and what is needed to reach it.
fn over_ssh(sshd: &Sshd, repository: &Repository, timeout: Duration) -> Source {
    Source {
        url: sshd.url(&repository.bare).parse().unwrap(),
        ssh: Some(SshAuth { key_files: vec![sshd.client_key()], known_hosts_file: sshd.known_hosts() }),
        ..Source { timeout, ..source(repository, main_branch()) }
    }
}

/// F22: what was fetched is damaged on disk.
#[test]
fn a_repository_is_fetched_over_ssh_and_a_damaged_mirror_is_fetched_again() {
    let repository = Repository::new();
    let alice = Signer::new(repository.home(), "alice", KeyType::Ed25519);
    let sshd = Sshd::start(repository.home());
    let mut source = over_ssh(&sshd, &repository, Duration::from_secs(30));
    for round in 0..3 {
        repository.write("a.yaml", &format!("a: {round}\n"));
        let commit = repository.commit("next", Some(&alice));
        let verification = verify(&fetch(&source).unwrap(), &staging(&[&alice]), &Accepted::default()).unwrap();
        assert_eq!(verification.revision.unwrap().revision().commit.as_str(), commit);
    }
    // Nothing new is a success too.
    fetch(&source).unwrap();
    for damage in ["objects", "HEAD", "everything"] {
        match damage {
            "objects" => std::fs::remove_dir_all(source.mirror.join("objects/pack")).unwrap(),
            "HEAD" => std::fs::write(source.mirror.join("HEAD"), "garbage").unwrap(),
            _ => std::fs::remove_dir_all(&source.mirror).unwrap(),
        }
        let verification = verify(&fetch(&source).unwrap(), &staging(&[&alice]), &Accepted::default());
        assert!(verification.unwrap().revision.is_some(), "{damage}");
    }
    // Tags over SSH, and one that moves.
    repository.tag("v1.0.0", Some(&alice));
    source.follow = tags();
    let first = verify(&fetch(&source).unwrap(), &production(&[&alice]), &Accepted::default()).unwrap();
    let before = accepted(&first);
    repository.git(&["tag", "-d", "v1.0.0"]);
    repository.write("a.yaml", "a: 9\n");
    repository.commit("next", Some(&alice));
    repository.tag("v1.0.0", Some(&alice));
    let moved = verify(&fetch(&source).unwrap(), &production(&[&alice]), &before).unwrap();
    assert_eq!(rules(&moved), [Rule::TagMoved]);
    repository.git(&["push", "-q", "origin", ":refs/tags/v1.0.0"]);
    let gone = verify(&fetch(&source).unwrap(), &production(&[&alice]), &before).unwrap();
    assert_eq!(rules(&gone), [Rule::TagVanished]);
}

#[test]
fn what_other_instances_say_is_fetched_where_it_is_asked_for_and_read_within_bounds() {
    let repository = Repository::new();
    let alice = Signer::new(repository.home(), "alice", KeyType::Ed25519);
    repository.write("a.yaml", "a: 1\n");
    let commit = repository.commit("first", Some(&alice));
    let push = |object: &str, name: &str| {
        repository.git(&["push", "-q", "origin", &format!("+{object}:refs/tk8s/evidence/{name}")]);
    };
    push(&repository.write_object("blob", b"it ran"), "eu/tk8s/web");
    push(&repository.write_object("blob", &vec![b'x'; 300 * 1024]), "large");
    push(&commit, "commit");
    repository.git(&["push", "-q", "origin", "HEAD:refs/tk8s/other"]);
    let sshd = Sshd::start(repository.home());
    let over_ssh = over_ssh(&sshd, &repository, Duration::from_secs(30));
    let asking = Follow::Tags { release_branch: "main".into(), approvals: false, evidence: true };
    let told = |source: &Source, follow: &Follow| -> Vec<(String, Result<String, String>)> {
        let fetched = fetch(&Source { follow: follow.clone(), ..source.clone() }).unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        evidence(&fetched)
            .into_iter()
            .map(|told| (told.reference["refs/tk8s/evidence/".len()..].into(), told.bytes.map(text)))
            .collect()
    };
    let is_there = |source: &Source| {
        let refs =
            std::process::Command::new("git").arg("--git-dir").arg(&source.mirror).args(["for-each-ref"]).output().unwrap();
        String::from_utf8(refs.stdout).unwrap().contains("refs/tk8s/")
    };
    // Nobody asked.
    assert!(told(&over_ssh, &tags()).is_empty() && !is_there(&over_ssh));
    for source in [over_ssh.clone(), self::source(&repository, asking.clone())] {
        let told = told(&source, &asking);
        let names: Vec<_> = told.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["commit", "eu/tk8s/web", "large"]);
        assert_eq!(told[1].1.as_deref(), Ok("it ran"));
        assert!(told[0].1.as_ref().unwrap_err().contains("names a commit"), "{told:?}");
        assert!(told[2].1.as_ref().unwrap_err().contains("at most 262144 are read"), "{told:?}");
    }
    // What is there now counts.
    push(&repository.write_object("blob", b"it runs"), "eu/tk8s/web");
    repository.git(&["push", "-q", "origin", ":refs/tk8s/evidence/large", ":refs/tk8s/evidence/commit"]);
    for source in [over_ssh, self::source(&repository, asking.clone())] {
        assert_eq!(told(&source, &asking), [("eu/tk8s/web".to_owned(), Ok("it runs".to_owned()))]);
    }
}

#[test]
fn an_unknown_or_changed_host_key_and_an_unknown_client_are_refused() {
    let repository = Repository::new();
    repository.write("a.yaml", "a: 1\n");
    repository.commit("first", None);
    let sshd = Sshd::start(repository.home());
    let mut source = over_ssh(&sshd, &repository, Duration::from_secs(30));
    let reason = |source: &Source| fetch(source).err().unwrap().reason();
    let write = |name: &str, text: &str| {
        let path = repository.home().join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let auth = source.ssh.clone().unwrap();
    source.ssh = Some(SshAuth { known_hosts_file: write("empty", ""), ..auth.clone() });
    assert_eq!(reason(&source), "UnknownHost");
    let other = Signer::new(repository.home(), "other", KeyType::Ed25519);
    let name = sshd.known_name();
    source.ssh = Some(SshAuth { known_hosts_file: write("changed", &format!("{name} {}", other.public)), ..auth.clone() });
    assert_eq!(reason(&source), "HostKeyChanged");
    let revoked = std::fs::read_to_string(sshd.known_hosts()).unwrap();
    source.ssh = Some(SshAuth { known_hosts_file: write("revoked", &format!("{revoked}\n@revoked {revoked}")), ..auth.clone() });
    assert_eq!(reason(&source), "HostKeyRevoked");
    source.ssh = Some(SshAuth { known_hosts_file: repository.home().join("missing"), ..auth.clone() });
    assert_eq!(reason(&source), "FileUnreadable");
    source.ssh = Some(SshAuth { key_files: vec![other.private.clone()], ..auth.clone() });
    assert_eq!(reason(&source), "Unauthenticated");
    source.ssh = Some(SshAuth { key_files: vec![write("no-key", "-----BEGIN OPENSSH PRIVATE KEY-----\nhunter2\n")], ..auth });
    let error = tk8s_core::chain(&fetch(&source).err().unwrap());
    assert!(!error.contains("hunter2"), "{error}");
}

#[test]
fn several_keys_are_tried_in_order_and_a_hashed_host_is_known() {
    let repository = Repository::new();
    repository.write("a.yaml", "a: 1\n");
    repository.commit("first", None);
    let sshd = Sshd::start(repository.home());
    let strangers = ["one", "two"].map(|name| Signer::new(repository.home(), name, KeyType::Ed25519).private);
    let mut source = over_ssh(&sshd, &repository, Duration::from_secs(30));
    let hashed = repository.home().join("hashed");
    std::fs::copy(sshd.known_hosts(), &hashed).unwrap();
    let output = std::process::Command::new("ssh-keygen").args(["-q", "-H", "-f"]).arg(&hashed).output().unwrap();
    assert!(output.status.success() && std::fs::read_to_string(&hashed).unwrap().starts_with("|1|"));
    let mut key_files = strangers.to_vec();
    source.ssh = Some(SshAuth { key_files: key_files.clone(), known_hosts_file: hashed.clone() });
    assert_eq!(fetch(&source).err().unwrap().reason(), "Unauthenticated");
    key_files.push(sshd.client_key());
    source.ssh = Some(SshAuth { key_files, known_hosts_file: hashed });
    fetch(&source).unwrap();
}

#[test]
fn a_host_certificate_counts_if_its_authority_name_time_and_kind_are_right() {
    let repository = Repository::new();
    repository.write("a.yaml", "a: 1\n");
    repository.commit("first", None);
    let authority = Signer::new(repository.home(), "authority", KeyType::Ed25519);
    let other = Signer::new(repository.home(), "other", KeyType::Ed25519);
    let sshd = |arguments: &[&str], signer: &Signer| {
        let sshd = Sshd::with_host_certificate(repository.home(), arguments, signer);
        let mut source = over_ssh(&sshd, &repository, Duration::from_secs(30));
        let known = |lines: &[(&str, &str)]| {
            let path = repository.home().join("known");
            let text: String = lines.iter().map(|(marker, key)| format!("{marker} [127.0.0.1]:* {key}\n")).collect();
            std::fs::write(&path, text).unwrap();
            path
        };
        move |lines: &[(&str, &str)]| {
            source.ssh = Some(SshAuth { key_files: vec![sshd.client_key()], known_hosts_file: known(lines) });
            fetch(&source).map(|_| ()).map_err(|error| (error.reason(), error.to_string()))
        }
    };
    let trusted = [("@cert-authority", authority.public.as_str())];
    let host = ["-h", "-n", "127.0.0.1", "-V", "-1h:+1h"];
    let mut good = sshd(&host, &authority);
    good(&trusted).unwrap();
    for kind in [KeyType::EcdsaP256, KeyType::Rsa] {
        let authority = Signer::new(repository.home(), "authority", kind);
        sshd(&host, &authority)(&[("@cert-authority", &authority.public)]).unwrap();
    }
    assert_eq!(good(&[("@cert-authority", &other.public)]).unwrap_err().0, "UnknownHost");
    assert_eq!(good(&[trusted[0], ("@revoked", &authority.public)]).unwrap_err().0, "HostKeyRevoked");
    // The authority's key is no host's key.
    assert_eq!(good(&[("", &authority.public)]).unwrap_err().0, "HostKeyChanged");
    let table: [(&[&str], &str); 5] = [
        (&["-h", "-n", "git.example.com", "-V", "-1h:+1h"], "is for git.example.com"),
        (&["-h", "-V", "-1h:+1h"], "names no host"),
        (&["-h", "-n", "127.0.0.1", "-V", "-2h:-1h"], "not valid now"),
        (&["-h", "-n", "127.0.0.1", "-V", "+1h:+2h"], "not valid now"),
        (&["-h", "-n", "127.0.0.1", "-V", "-1h:+1h", "-O", "critical:x=y"], "critical option"),
    ];
    for (arguments, word) in table {
        let (reason, message) = sshd(arguments, &authority)(&trusted).unwrap_err();
        assert_eq!(reason, "HostCertificateRefused", "{message}");
        assert!(message.contains(word), "{message}");
    }
}

#[test]
fn a_server_that_never_answers_or_talks_nonsense_ends_by_its_deadline() {
    let repository = Repository::new();
    let sshd = Sshd::start(repository.home());
    for nonsense in [false, true] {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        std::thread::spawn(move || {
            for connection in listener.incoming().flatten() {
                if nonsense {
                    let _ = std::io::copy(&mut std::io::repeat(b'x').take(1 << 20), &mut &connection);
                } else {
                    std::thread::sleep(Duration::from_secs(20));
                }
            }
        });
        let known_hosts = repository.home().join("known");
        let text = std::fs::read_to_string(sshd.known_hosts()).unwrap();
        std::fs::write(&known_hosts, text.replace(&sshd.known_name(), &format!("[127.0.0.1]:{port}"))).unwrap();
        let source = Source {
            url: format!("ssh://git@127.0.0.1:{port}/x.git").parse().unwrap(),
            ssh: Some(SshAuth { key_files: vec![sshd.client_key()], known_hosts_file: known_hosts }),
            ..Source { timeout: Duration::from_secs(2), ..source(&repository, main_branch()) }
        };
        let began = Instant::now();
        let error = fetch(&source).err().unwrap();
        assert!(matches!(error.reason(), "Timeout" | "SshFailed"), "{error}");
        assert!(began.elapsed() < Duration::from_secs(15));
    }
}
