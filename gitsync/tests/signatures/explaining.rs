//! What `verify` tells of its verdicts, and which commits are in a range. That every explanation is one of its verdict is asked
//! of each verdict of the other tests: [`crate::support::verify_object`].

use std::collections::{BTreeSet, HashSet};
use std::process::Command;

use tk8s_core::Timestamp;
use tk8s_gitsync::{Error, Explained, Questioned, Revocations, Rule, explain_range, explain_revision};

use crate::support::{self, KeyType, Repository, Signer};

struct Told {
    repository: Repository,
    alice: Signer,
}

impl Told {
    fn new() -> Told {
        let repository = Repository::new();
        let alice = Signer::new(repository.home(), "alice", KeyType::Ed25519);
        Told { repository, alice }
    }

    fn commit(&self, text: &str, signer: Option<&Signer>) -> String {
        self.repository.write("a.yaml", text);
        self.repository.commit_only(text, signer)
    }

    fn explain(&self, revision: &str) -> Explained {
        explain_revision(&self.repository.work, revision, &support::signers(&[&self.alice]), Timestamp::now()).unwrap()
    }

    /// Each commit of a range, with the rule that refused it.
    fn range(&self, from: &str, to: &str) -> Result<Vec<(String, Option<Rule>)>, Error> {
        let (signers, mut told) = (support::signers(&[&self.alice]), Vec::new());
        let all = explain_range(&self.repository.work, (from, to), &signers, Timestamp::now(), |explained| {
            told.push((explained.reference, explained.verdict.err().map(|refusal| refusal.rule)));
        })?;
        assert_eq!(all, told.len());
        Ok(told)
    }

    /// What Git says is in it.
    fn listed(&self, from: &str, to: &str) -> BTreeSet<String> {
        self.repository.git(&["rev-list", &format!("{from}..{to}")]).lines().map(str::to_owned).collect()
    }

    fn agree(&self, from: &str, to: &str) {
        let ours = self.range(from, to).unwrap();
        let ids: BTreeSet<_> = ours.iter().map(|(id, _)| id.clone()).collect();
        assert_eq!(ids.len(), ours.len(), "none twice");
        assert_eq!(ids, self.listed(from, to), "{from}..{to}");
    }
}

fn told(object: &Questioned) -> Vec<&str> {
    object.checks.iter().map(|check| check.check).collect()
}

#[test]
fn every_check_of_a_tag_and_of_its_commit_is_told_in_order() {
    let story = Told::new();
    let commit = story.commit("a: 1\n", Some(&story.alice));
    story.repository.git_signed(&story.alice, &["tag", "-s", "-m", "first", "v1.0.0"]);
    let tag = story.repository.git(&["rev-parse", "v1.0.0"]);
    let explained = story.explain("v1.0.0");
    assert_eq!(explained.reference, "refs/tags/v1.0.0");
    assert_eq!(explained.verdict.as_ref().unwrap().len(), 2);
    let names: Vec<_> = explained.objects.iter().map(|object| object.object.clone()).collect();
    assert_eq!(names, [format!("tag {tag}"), format!("commit {commit}")]);
    assert!(explained.objects.iter().flat_map(|object| &object.checks).all(|check| check.passed && check.rule.is_none()));
    let signature = [
        "it is signed",
        "its signature is of a kind that is read",
        "its SSH signature can be read, and nothing follows it",
        "it was signed for Git",
        "its signature has an empty reserved field",
        "its key is strong enough",
        "its signature fits its bytes",
        "neither its key nor its certificate is revoked",
        "the state of its signer lets it count",
        "the signers file says that the key is valid now",
        "its signer has the role that is needed",
        "their key or certificate may be used for it",
        "somebody of the signers file made it, who may",
        "not the Git host alone signed it",
    ];
    let of_tag = [
        "it is an annotated tag, and its bytes are what its id says",
        "it holds no NUL byte",
        "its headers can be read",
        "no other header looks like a signature",
        "no header occurs twice",
        "it has the headers of a tag",
        "its name can be read",
        "it names an object by its id",
        "it holds one signature at most",
        "it names a commit",
        "it calls itself as its ref is called",
    ];
    assert_eq!(told(&explained.objects[0]), [&of_tag[..], &signature].concat());
    let of_commit = [
        "it is not too large to be read",
        "it is a commit, and its bytes are what its id says",
        "it holds no NUL byte",
        "its headers can be read",
        "it has one signature at most",
        "no other header looks like a signature",
        "no header occurs twice",
        "it begins with its tree",
        "its headers are where Git writes them",
        "its parents are commits",
        "it has an author and a committer",
    ];
    assert_eq!(told(&explained.objects[1]), [&of_commit[..], &signature].concat());
    let found = |check: &str| {
        let found = explained.objects[1].checks.iter().find(|told| told.check == check).unwrap();
        found.found.clone()
    };
    assert_eq!(found("its headers can be read"), "tree, author, committer, gpgsig");
    assert_eq!(found("its signature fits its bytes"), explained.verdict.as_ref().unwrap()[1].fingerprint);
    assert_eq!(found("somebody of the signers file made it, who may"), "alice");
}

#[test]
fn the_way_to_a_no_ends_with_it() {
    let story = Told::new();
    let mallory = Signer::new(story.repository.home(), "mallory", KeyType::Ed25519);
    story.commit("a: 1\n", Some(&mallory));
    let explained = story.explain("main");
    let refusal = explained.verdict.unwrap_err();
    let last = explained.objects.last().unwrap().checks.last().unwrap();
    assert_eq!((last.passed, last.rule), (false, Some(Rule::UnknownSigner)));
    assert!(refusal.message.ends_with(&last.found), "{refusal:?} {last:?}");
    // Whose key is revoked is refused before anybody asks whose it is.
    let revoked = Revocations::parse(mallory.public.as_bytes(), "revoked").unwrap();
    let signers = support::signers(&[&mallory]).revoking(revoked);
    let explained = explain_revision(&story.repository.work, "main", &signers, Timestamp::now()).unwrap();
    let last = explained.objects.last().unwrap().checks.last().unwrap();
    assert_eq!((last.check, last.rule), ("neither its key nor its certificate is revoked", Some(Rule::KeyRevoked)));
}

#[test]
fn a_tag_that_is_only_a_name_is_refused_and_its_commit_may_be_asked_about() {
    let story = Told::new();
    let commit = story.commit("a: 1\n", Some(&story.alice));
    story.repository.git(&["tag", "v1.0.0"]);
    for name in ["v1.0.0", "refs/tags/v1.0.0"] {
        let refusal = story.explain(name).verdict.unwrap_err();
        assert_eq!(refusal.rule, Rule::LightweightTag);
        assert!(refusal.message.contains(&commit), "{}", refusal.message);
    }
    assert!(story.explain(&commit).verdict.is_ok());
    assert!(story.explain("main").verdict.is_ok());
}

#[test]
fn each_commit_of_a_range_is_judged_for_itself() {
    let story = Told::new();
    let first = story.commit("a: 1\n", None);
    story.repository.git(&["tag", "-a", "-m", "the beginning", "begin"]);
    let second = story.commit("a: 2\n", Some(&story.alice));
    let third = story.commit("a: 3\n", None);
    let fourth = story.commit("a: 4\n", Some(&story.alice));
    let judged: HashSet<_> = story.range(&first, "main").unwrap().into_iter().collect();
    let expected = [(second, None), (third, Some(Rule::Unsigned)), (fourth.clone(), None)];
    assert_eq!(judged, expected.clone().into());
    // A tag stands for its commit at either end.
    assert_eq!(story.range("begin", "HEAD").unwrap().into_iter().collect::<HashSet<_>>(), expected.into());
    assert_eq!(story.range("main", "begin").unwrap(), []);
    assert_eq!(story.range(&fourth, "main").unwrap(), []);
    assert!(story.range("nowhere", "main").is_err());
}

#[test]
fn what_is_in_a_range_is_what_git_lists() {
    let story = Told::new();
    let git = |arguments: &[&str]| story.repository.git(arguments);
    // Commits of the same second, or with dates that go back, as a clock that was put right leaves them.
    for (index, date) in ["2024-01-05", "2024-01-01", "2024-01-03", "2024-01-03", "2024-01-02"].iter().enumerate() {
        story.repository.write("a.yaml", &format!("a: {index}\n"));
        story.repository.commit_at(&index.to_string(), &story.alice, &format!("{date}T00:00:00Z"));
        git(&["branch", &format!("at{index}")]);
    }
    // A branch that was merged, one that was not, and two merges across.
    git(&["checkout", "-q", "-b", "side", "at1"]);
    story.commit("b: 1\n", Some(&story.alice));
    git(&["checkout", "-q", "-b", "open", "at2"]);
    story.commit("b: 2\n", Some(&story.alice));
    git(&["checkout", "-q", "main"]);
    git(&["merge", "-q", "--no-ff", "-s", "ours", "-m", "merge", "side"]);
    git(&["branch", "merged"]);
    git(&["checkout", "-q", "open"]);
    git(&["merge", "-q", "--no-ff", "-s", "ours", "-m", "across", "at4"]);
    let names = ["at0", "at1", "at2", "at3", "at4", "side", "open", "merged", "main"];
    for from in names {
        for to in names {
            // Without an older end Git and we agree whatever the dates say; with one that lies, none may be missing.
            let ours: BTreeSet<_> = story.range(from, to).unwrap().into_iter().map(|(id, _)| id).collect();
            assert!(ours.is_superset(&story.listed(from, to)), "{from}..{to}");
        }
    }
    let honest = Told::new();
    for index in 0..6 {
        honest.repository.write("a.yaml", &format!("a: {index}\n"));
        honest.repository.commit_at(&index.to_string(), &honest.alice, "2024-01-01T00:00:00Z");
        honest.repository.git(&["branch", &format!("at{index}")]);
    }
    for (from, to) in [("at0", "at5"), ("at5", "at0"), ("at2", "at3"), ("at3", "at2"), ("at1", "main"), ("main", "at1")] {
        honest.agree(from, to);
    }
    // A long old line meets the short new one long after nothing new is left to read.
    honest.repository.git(&["checkout", "-q", "-b", "long", "at0"]);
    for day in 2..8 {
        honest.repository.write("long.yaml", &format!("a: {day}\n"));
        honest.repository.commit_at(&day.to_string(), &honest.alice, &format!("2024-01-0{day}T00:00:00Z"));
    }
    honest.repository.git(&["checkout", "-q", "-b", "short", "at0"]);
    honest.repository.write("short.yaml", "a: 1\n");
    honest.repository.commit_at("short", &honest.alice, "2024-02-01T00:00:00Z");
    honest.agree("long", "short");
    honest.agree("short", "long");
}

#[test]
fn where_history_is_cut_off_a_range_has_no_verdict() {
    let story = Told::new();
    let first = story.commit("a: 1\n", Some(&story.alice));
    for text in ["a: 2\n", "a: 3\n", "a: 4\n"] {
        story.commit(text, Some(&story.alice));
    }
    let shallow = story.repository.home().join("shallow");
    let url = format!("file://{}", story.repository.work.display());
    let mut clone = Command::new("git");
    assert!(clone.args(["clone", "-q", "--depth", "2", &url]).arg(&shallow).status().unwrap().success());
    let judge = |from: &str| {
        explain_range(&shallow, (from, "main"), &support::signers(&[&story.alice]), Timestamp::now(), |_| {})
            .map_err(|error| tk8s_core::chain(&error))
    };
    assert!(judge(&first).is_err(), "it is not there");
    let kept = story.repository.git(&["rev-parse", "main~1"]);
    assert_eq!(judge(&kept), Ok(1));
    let other = story.repository.git(&["commit-tree", "-m", "of nothing", "main^{tree}"]);
    story.repository.git(&["push", "-q", shallow.to_str().unwrap(), &format!("{other}:refs/heads/other")]);
    let why = judge("other").unwrap_err();
    assert!(why.contains("cut off"), "{why}");
}
