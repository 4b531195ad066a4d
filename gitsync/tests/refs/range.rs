//! Every commit since the last that was accepted, in staging.

use std::io::Write as _;
use std::process::{Command, Stdio};

use tk8s_core::Classified as _;
use tk8s_gitsync::{Accepted, Commits, Follow, Limits, Policy, Rule, Source, StagingPolicy, fetch, verify};

use super::{Story, refusal, signer, since};

#[test]
fn an_unsigned_commit_in_the_middle_is_refused_by_its_id_though_the_head_is_signed() {
    let story = Story::new();
    let first = story.head();
    let unsigned = story.commit("a.yaml", "a: 2\n", None);
    story.commit("b.yaml", "a: 3\n", Some(&story.alice));
    for accepted in [None, Some(first.as_str())] {
        let refused = story.staging(since(&first), accepted);
        let (rule, object, message) = refusal(&refused);
        assert_eq!((rule, object), (Rule::Unsigned, unsigned.as_str()));
        assert!(message.contains(&unsigned), "{message}");
    }
    assert_eq!(signer(&story.staging(Commits::Head, Some(&first))), "alice");
}

#[test]
fn a_commit_of_somebody_who_may_not_sign_is_refused_wherever_it_is() {
    let story = Story::new();
    let first = story.head();
    let mallory = crate::support::Signer::new(story.repository.home(), "mallory", crate::support::KeyType::Ed25519);
    let evil = story.commit("a.yaml", "a: 2\n", Some(&mallory));
    story.commit("b.yaml", "a: 3\n", Some(&story.alice));
    let refused = story.staging(since(&first), None);
    assert_eq!((refusal(&refused).0, refusal(&refused).1), (Rule::UnknownSigner, evil.as_str()));
}

#[test]
fn what_was_before_the_baseline_or_the_last_accepted_commit_is_not_asked_again() {
    let story = Story::new();
    let first = story.head();
    let unsigned = story.commit("a.yaml", "a: 2\n", None);
    let second = story.commit("b.yaml", "a: 3\n", Some(&story.bob));
    assert_eq!(signer(&story.staging(since(&unsigned), None)), "bob");
    // It was accepted once, by the rules of then.
    story.commit("c.yaml", "a: 4\n", Some(&story.alice));
    assert_eq!(signer(&story.staging(since(&first), Some(&second))), "alice");
    assert_eq!(refusal(&story.staging(since(&first), None)).0, Rule::Unsigned);
    // The way out: whoever runs the agent vouches for what is there.
    assert_eq!(signer(&story.staging(since(&unsigned), Some(&first))), "alice");
}

#[test]
fn the_head_is_always_looked_at_even_if_it_is_the_baseline() {
    let story = Story::new();
    let unsigned = story.commit("a.yaml", "a: 2\n", None);
    assert_eq!(refusal(&story.staging(since(&unsigned), None)).0, Rule::Unsigned);
    let signed = story.commit("a.yaml", "a: 3\n", Some(&story.alice));
    assert_eq!(signer(&story.staging(since(&signed), None)), "alice");
    assert_eq!(signer(&story.staging(since(&signed), Some(&signed))), "alice");
}

#[test]
fn a_branch_that_does_not_descend_from_the_baseline_is_refused() {
    let story = Story::new();
    let first = story.head();
    story.branch("elsewhere", &first);
    let elsewhere = story.commit("a.yaml", "a: 2\n", Some(&story.alice));
    story.git(&["push", "-q", "origin", "elsewhere"]);
    story.back_to_main();
    story.commit("b.yaml", "a: 3\n", Some(&story.alice));
    for baseline in [elsewhere.as_str(), "1234567890123456789012345678901234567890"] {
        let refused = story.staging(since(baseline), Some(&first));
        assert_eq!(refusal(&refused).0, Rule::NotOnBaseline, "{baseline}");
        assert!(refusal(&refused).2.contains(baseline));
    }
}

#[test]
fn a_merge_brings_in_all_of_its_other_side_however_old_that_is() {
    let story = Story::new();
    let first = story.head();
    story.branch("feature", &first);
    let unsigned = story.commit("feature.yaml", "a: 1\n", None);
    story.commit("feature.yaml", "a: 2\n", Some(&story.bob));
    story.back_to_main();
    let second = story.commit("a.yaml", "a: 2\n", Some(&story.alice));
    story.merge("feature", Some(&story.alice), &[]);
    // The baseline is younger than what the merge brings.
    let refused = story.staging(since(&second), Some(&second));
    assert_eq!((refusal(&refused).0, refusal(&refused).1), (Rule::Unsigned, unsigned.as_str()));
    assert_eq!(signer(&story.staging(Commits::Head, Some(&second))), "alice");
}

#[test]
fn a_merge_of_signed_sides_by_a_person_counts() {
    let story = Story::new();
    let first = story.head();
    story.branch("feature", &first);
    story.commit("feature.yaml", "a: 2\n", Some(&story.bob));
    story.back_to_main();
    story.commit("a.yaml", "a: 2\n", Some(&story.alice));
    story.merge("feature", Some(&story.alice), &[]);
    assert_eq!(signer(&story.staging(since(&first), None)), "alice");
}

#[test]
fn what_a_host_rebases_or_merges_without_signing_it_is_refused() {
    let story = Story::new();
    let first = story.head();
    story.branch("feature", &first);
    story.commit("feature.yaml", "a: 2\n", Some(&story.bob));
    story.back_to_main();
    let main = story.commit("a.yaml", "a: 2\n", Some(&story.alice));
    // As GitHub's "Rebase and merge": new commits, and the old signatures gone.
    story.git(&["cherry-pick", "feature"]);
    let rebased = story.head();
    let refused = story.staging(since(&first), Some(&main));
    assert_eq!((refusal(&refused).0, refusal(&refused).1), (Rule::Unsigned, rebased.as_str()));
    story.commit("b.yaml", "a: 2\n", Some(&story.alice));
    let refused = story.staging(since(&first), Some(&main));
    assert_eq!((refusal(&refused).0, refusal(&refused).1), (Rule::Unsigned, rebased.as_str()));
    story.git(&["reset", "-q", "--hard", &main]);
    let merged = story.merge("feature", None, &[]);
    assert_eq!(refusal(&story.staging(since(&first), Some(&main))).1, merged);
    // Rebased by its author, and fast-forwarded.
    story.git(&["reset", "-q", "--hard", &main]);
    story.repository.git_signed(&story.bob, &["cherry-pick", "-S", "feature"]);
    assert_eq!(signer(&story.staging(since(&first), Some(&main))), "bob");
}

#[test]
fn rollback_of_the_branch_to_an_older_signed_head_is_refused() {
    let story = Story::new();
    let first = story.head();
    let second = story.commit("a.yaml", "a: 2\n", Some(&story.alice));
    assert_eq!(signer(&story.staging(since(&first), Some(&first))), "alice");
    story.git(&["reset", "-q", "--hard", &first]);
    assert_eq!(refusal(&story.staging(since(&first), Some(&second))).0, Rule::NotDescendant);
}

#[test]
fn the_times_that_commits_give_themselves_make_nothing_new_and_nothing_known() {
    let story = Story::new();
    let at = |name: &str, time: &str| {
        story.repository.write(name, time);
        story.repository.commit_at(name, &story.alice, time)
    };
    // An unsigned commit of the future lies before signed ones of the past.
    story.repository.write("old.yaml", "a: 1\n");
    story.git(&["add", "-A"]);
    let environment = [("GIT_AUTHOR_DATE", "2090-01-01T00:00:00Z"), ("GIT_COMMITTER_DATE", "2090-01-01T00:00:00Z")];
    story.repository.git_with(&environment, &["commit", "-q", "-m", "unsigned, of the future"]);
    at("b.yaml", "2001-01-01T00:00:00Z");
    let baseline = at("c.yaml", "2000-01-01T00:00:00Z");
    // What forks before it and is merged after it makes both walks meet there.
    story.branch("feature", "HEAD~2");
    at("d.yaml", "2085-01-01T00:00:00Z");
    story.back_to_main();
    story.merge("feature", Some(&story.alice), &[]);
    at("e.yaml", "1999-01-01T00:00:00Z");
    assert_eq!(signer(&story.staging(since(&baseline), None)), "alice");
    // And one of the distant past, which is new.
    story.repository.write("new.yaml", "a: 1\n");
    story.git(&["add", "-A"]);
    let environment = [("GIT_AUTHOR_DATE", "1980-01-01T00:00:00Z"), ("GIT_COMMITTER_DATE", "1980-01-01T00:00:00Z")];
    story.repository.git_with(&environment, &["commit", "-q", "-m", "unsigned, of the past"]);
    let unsigned = story.head();
    at("f.yaml", "2030-01-01T00:00:00Z");
    assert_eq!(refusal(&story.staging(since(&baseline), None)).1, unsigned);
}

#[test]
fn endless_data_more_new_commits_than_are_looked_at_are_refused_at_once() {
    let story = Story::new();
    let first = story.head();
    let mut import = Command::new("git")
        .arg("-C")
        .arg(&story.repository.work)
        .args(["fast-import", "--quiet"])
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stream = String::new();
    for number in 0..10_000 {
        let from = if number == 0 { "from refs/heads/main^0\n" } else { "" };
        stream.push_str(&format!(
            "commit refs/heads/many\ncommitter T <t@example.com> {} +0000\ndata 1\nx\n{from}\n",
            1_700_000_000 + number
        ));
    }
    import.stdin.take().unwrap().write_all(stream.as_bytes()).unwrap();
    assert!(import.wait().unwrap().success());
    story.git(&["reset", "-q", "--hard", "many"]);
    story.commit("a.yaml", "a: 2\n", Some(&story.alice));
    let refused = story.staging(since(&first), None);
    assert_eq!(refusal(&refused).0, Rule::TooManyCommits);
    assert!(refusal(&refused).2.contains("10001 commits"), "{}", refusal(&refused).2);
    // A walk has a bound of its own, which is an error and not a verdict.
    let limits = Limits { commits: 100, ..Limits::default() };
    let source = Source { limits, ..story.source(Follow::Branch("main".into())) };
    let policy = Policy::Staging(StagingPolicy { signers: story.signers(), commits: since(&first) });
    let Err(error) = verify(&fetch(&source).unwrap(), &policy, &Accepted::default()) else { panic!("it was judged") };
    assert_eq!(error.reason(), "LimitExceeded", "{error}");
}

#[test]
fn where_history_is_cut_off_nothing_is_taken_to_be_looked_at() {
    let story = Story::new();
    let first = story.head();
    story.commit("a.yaml", "a: 2\n", None);
    story.branch("side", &first);
    story.commit("side.yaml", "a: 2\n", None);
    story.commit("side.yaml", "a: 3\n", Some(&story.alice));
    story.back_to_main();
    let baseline = story.commit("b.yaml", "a: 3\n", Some(&story.alice));
    story.merge("side", Some(&story.alice), &[]);
    story.push();
    // Of a repository that is read where it is, history may end anywhere.
    let cut = story.repository.home().join("cut.git");
    let url = format!("file://{}", story.repository.bare.display());
    let clone = Command::new("git").args(["clone", "-q", "--bare", "--depth", "2", &url]).arg(&cut).status().unwrap();
    assert!(clone.success());
    let source = Source::new(
        format!("file://{}", cut.display()).parse().unwrap(),
        story.repository.home().join("other.git"),
        Follow::Branch("main".into()),
    );
    let policy = Policy::Staging(StagingPolicy { signers: story.signers(), commits: since(&baseline) });
    match fetch(&source) {
        Ok(fetched) => {
            let Err(error) = verify(&fetched, &policy, &Accepted::default()) else { panic!("it was judged") };
            assert!(error.to_string().contains("cut off"), "{error}");
        }
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn a_commit_is_read_up_to_a_mebibyte() {
    let story = Story::new();
    let (tree, parent) = (story.git(&["rev-parse", "HEAD^{tree}"]), story.head());
    let head = format!("tree {tree}\nparent {parent}\nauthor A <a> 0 +0000\ncommitter A <a> 0 +0000\n\n");
    for (size, expected) in [(1024 * 1024, Rule::Unsigned), (1024 * 1024 + 1, Rule::MalformedObject)] {
        let commit = story.repository.write_object("commit", format!("{head}{}", "x".repeat(size - head.len())).as_bytes());
        story.git(&["checkout", "-q", "-B", "main", &commit]);
        assert_eq!(refusal(&story.staging(Commits::Head, Some(&parent))).0, expected, "{size}");
    }
}
