//! What the Git host signs for its users, with a key of its own.

use tk8s_core::Timestamp;
use tk8s_gitsync::{Accepted, Commits, Rule, Versions, verify_revision};

use super::{Story, refusal, signer, since, taking_all};
use crate::support::Signer;

/// Alice on main, bob on a branch beside it, both signed.
fn two_sides() -> (Story, String) {
    let story = Story::new();
    story.repository.write("dir/one.yaml", "a: 1\n");
    story.repository.write("dir/two.yaml", "a: 1\n");
    let first = story.commit("dir/three.yaml", "a: 1\n", Some(&story.alice));
    story.branch("feature", &first);
    story.commit("dir/one.yaml", "a: bob\n", Some(&story.bob));
    story.back_to_main();
    story.commit("dir/two.yaml", "a: alice\n", Some(&story.alice));
    (story, first)
}

#[test]
fn a_clean_merge_of_signed_parents_by_the_host_counts_in_every_way() {
    let (story, first) = two_sides();
    story.merge("feature", Some(&story.host), &[]);
    for (commits, accepted) in [
        (since(&first), None),
        (since(&first), Some(first.as_str())),
        (Commits::Head, None),
        (Commits::Head, Some(first.as_str())),
    ] {
        assert_eq!(signer(&story.staging(commits.clone(), accepted)), "host", "{commits:?} {accepted:?}");
    }
    let verdicts = verify_revision(&story.repository.work, "main", &story.signers(), Timestamp::now()).unwrap().unwrap();
    assert_eq!(verdicts[0].signer, "host");
    // A release of it is a person's word.
    story.repository.tag("v1.0.0", Some(&story.bob));
    assert_eq!(signer(&story.production(Versions::default(), &Accepted::default())), "host");
    story.repository.tag("v1.1.0", Some(&story.host));
    let refused = story.production(Versions::default(), &Accepted::default());
    assert_eq!(refused.refused.iter().map(|refusal| refusal.rule).collect::<Vec<_>>(), [Rule::ForgeSigner]);
}

#[test]
fn a_merge_by_the_host_that_brings_something_of_its_own_is_refused() {
    let (story, first) = two_sides();
    let main = story.head();
    let again = || drop(story.git(&["reset", "-q", "--hard", &main]));
    let amend = || drop(story.repository.git_signed(&story.host, &["commit", "-q", "--amend", "-S", "--no-edit", "-a"]));
    let refused = |what: &str| {
        for commits in [since(&first), Commits::Head] {
            let judged = story.staging(commits, Some(&main));
            assert_eq!(refusal(&judged).0, Rule::NotACleanMerge, "{what}: {}", refusal(&judged).2);
        }
    };
    story.merge("feature", Some(&story.host), &[]);
    story.repository.write("base.yaml", "a: evil\n");
    amend();
    refused("a file that neither side changed");
    again();
    story.merge("feature", Some(&story.host), &[]);
    story.repository.write("dir/one.yaml", "a: evil\n");
    amend();
    refused("a file that one side changed");
    again();
    story.merge("feature", Some(&story.host), &[]);
    story.repository.write("evil.yaml", "a: evil\n");
    story.git(&["add", "evil.yaml"]);
    amend();
    refused("a new file");
    again();
    story.merge("feature", Some(&story.host), &["-s", "ours"]);
    refused("one side is left out");
    again();
    story.merge("feature", Some(&story.host), &[]);
    story.git(&["update-index", "--chmod=+x", "dir/one.yaml"]);
    story.repository.git_signed(&story.host, &["commit", "-q", "--amend", "-S", "--no-edit"]);
    refused("a mode");
}

#[test]
fn a_clean_merge_counts_in_a_repository_of_sha_256_as_well() {
    let story = Story::of_format("sha256");
    let first = story.head();
    story.branch("feature", &first);
    story.commit("dir/feature.yaml", "a: 1\n", Some(&story.bob));
    story.back_to_main();
    story.commit("dir/main.yaml", "a: 1\n", Some(&story.alice));
    story.merge("feature", Some(&story.host), &[]);
    assert_eq!(signer(&story.staging(since(&first), Some(&first))), "host");
}

#[test]
fn what_both_sides_did_alike_is_no_conflict_and_a_file_beside_a_directory_of_its_name_is_one() {
    let (story, first) = two_sides();
    let main = story.head();
    let side = |name: &str, change: &dyn Fn()| {
        story.git(&["checkout", "-q", "-B", name, &first]);
        change();
        story.repository.commit_only(name, Some(&story.bob))
    };
    let merge = |tree: &str, one: &str, other: &str| {
        let commit = ["commit-tree", "-S", "-m", "merge", tree, "-p", one, "-p", other];
        let merged = story.repository.git_signed(&story.host, &commit);
        story.git(&["checkout", "-q", "-B", "main", &merged]);
        story.staging(since(&first), Some(&first))
    };
    // A file that both sides changed, and one that both removed.
    let alike = side("alike", &|| {
        story.repository.write("dir/two.yaml", "a: alice\n");
        story.repository.write("dir/three.yaml", "a: bob\n");
    });
    let tree = story.git(&["merge-tree", "--write-tree", &main, &alike]);
    assert_eq!(signer(&merge(&tree, &main, &alike)), "host");
    for name in ["dir/two.yaml", "dir/new.yaml"] {
        let one = side("file", &|| story.repository.write(name, "a: other\n"));
        let other = side("directory", &|| {
            std::fs::remove_file(story.repository.work.join(name)).ok();
            story.repository.write(&format!("{name}/inside.yaml"), "a: 1\n");
        });
        let tree = story.git(&["rev-parse", &format!("{one}^{{tree}}")]);
        for (one, other) in [(&one, &other), (&other, &one)] {
            let refused = merge(&tree, one, other);
            assert_eq!(refusal(&refused).0, Rule::NotACleanMerge);
            assert!(refusal(&refused).2.contains(&format!("both sides changed `{name}`")), "{}", refusal(&refused).2);
        }
    }
}

#[test]
fn directories_are_compared_down_to_a_hundred_inside_of_each_other() {
    let story = Story::new();
    for (deep, counts) in [(100, true), (101, false)] {
        let place = "d/".repeat(deep);
        let first = story.commit(&format!("{place}base"), "1", Some(&story.alice));
        story.branch(&format!("deep-{deep}"), &first);
        story.commit(&format!("{place}one"), "1", Some(&story.bob));
        story.back_to_main();
        story.commit(&format!("{place}other"), "1", Some(&story.alice));
        story.merge(&format!("deep-{deep}"), Some(&story.host), &[]);
        let judged = story.staging(since(&first), Some(&first));
        assert_eq!(judged.revision.is_some(), counts, "{deep}: {:?}", judged.refused);
        assert!(counts || refusal(&judged).2.contains("too deep"), "{}", refusal(&judged).2);
        story.git(&["reset", "-q", "--hard", &first]);
    }
}

/// Whoever makes commits makes their times, and what is looked for first goes by these.
#[test]
fn what_is_known_stays_so_where_the_times_of_commits_lie() {
    let story = Story::new();
    let unsigned = story.commit("old.yaml", "a: 1\n", None);
    // So old that nobody looks behind it for what is new.
    let at = |time: &str, parents: &[&str], signer: &Signer| {
        let tree = story.git(&["rev-parse", "HEAD^{tree}"]);
        let parents: Vec<_> = parents.iter().flat_map(|parent| ["-p", parent]).collect();
        let key = format!("user.signingkey={}", signer.private.display());
        let command = ["-c", "gpg.format=ssh", "-c", &key, "commit-tree", "-S", "-m", "x", &tree];
        story.repository.git_with(&[("GIT_COMMITTER_DATE", time)], &[&command[..], &parents].concat())
    };
    let ancient = at("1000000000 +0000", &[&unsigned], &story.alice);
    let known = at("1000000001 +0000", &[&ancient], &story.alice);
    for (who, commits) in [(&story.alice, since(&known)), (&story.host, Commits::Head), (&story.host, since(&known))] {
        let head = at("2000000000 +0000", &[&known, &unsigned], who);
        story.git(&["checkout", "-q", "-B", "main", &head]);
        assert_eq!(signer(&story.staging(commits.clone(), Some(&known))), who.name, "{commits:?}");
    }
}

#[test]
fn a_merge_by_the_host_that_needs_judgement_is_refused_and_names_the_file() {
    let story = Story::new();
    let lines = |first: &str, last: &str| format!("a: {first}\nb: 1\nc: 1\nd: 1\ne: 1\nf: {last}\n");
    let first = story.commit("dir/both.yaml", &lines("1", "1"), Some(&story.alice));
    story.branch("feature", &first);
    story.commit("dir/both.yaml", &lines("bob", "1"), Some(&story.bob));
    story.back_to_main();
    let main = story.commit("dir/both.yaml", &lines("1", "alice"), Some(&story.alice));
    // Git merges it line by line: a file that nobody signed comes out.
    story.merge("feature", Some(&story.host), &[]);
    let refused = story.staging(since(&first), Some(&main));
    assert_eq!(refusal(&refused).0, Rule::NotACleanMerge);
    assert!(refusal(&refused).2.contains("`dir/both.yaml`"), "{}", refusal(&refused).2);
    // A person who does the same says so by signing.
    story.git(&["reset", "-q", "--hard", &main]);
    story.merge("feature", Some(&story.bob), &[]);
    assert_eq!(signer(&story.staging(since(&first), Some(&main))), "bob");
}

#[test]
fn a_merge_by_the_host_of_what_nobody_signed_is_refused() {
    let story = Story::new();
    let first = story.head();
    story.branch("feature", &first);
    let unsigned = story.commit("feature.yaml", "a: 1\n", None);
    story.back_to_main();
    story.merge("feature", Some(&story.host), &[]);
    let refused = story.staging(since(&first), Some(&first));
    assert_eq!((refusal(&refused).0, refusal(&refused).1), (Rule::Unsigned, unsigned.as_str()));
    // Where only the head is looked at, its parents are as well, since it is nothing without them.
    let refused = story.staging(Commits::Head, Some(&first));
    assert_eq!(refusal(&refused).0, Rule::Unsigned);
    assert!(refusal(&refused).2.contains(&unsigned[..10]), "{}", refusal(&refused).2);
    story.repository.tag("v1.0.0", Some(&story.alice));
    let refused = story.production(Versions::default(), &Accepted::default());
    assert_eq!(refusal(&refused).0, Rule::Unsigned);
}

#[test]
fn merges_by_the_host_follow_each_other_back_to_what_was_accepted() {
    let story = Story::new();
    let unsigned = story.commit("old.yaml", "a: 1\n", None);
    let baseline = story.commit("old.yaml", "a: 2\n", Some(&story.alice));
    for (number, name) in ["one", "two", "three"].into_iter().enumerate() {
        story.branch(name, "main");
        story.commit(&format!("{name}.yaml"), "a: 1\n", Some(&story.bob));
        story.back_to_main();
        story.merge(name, Some(&story.host), &[]);
        // The button that brings a branch up to date merges the other way round.
        if number == 1 {
            story.branch("late", &baseline);
            story.commit("late.yaml", "a: 1\n", Some(&story.bob));
            story.merge("main", Some(&story.host), &[]);
            story.back_to_main();
            story.merge("late", Some(&story.host), &[]);
        }
    }
    for accepted in [None, Some(baseline.as_str())] {
        assert_eq!(signer(&story.staging(Commits::Head, accepted)), "host");
        assert_eq!(signer(&story.staging(since(&baseline), accepted)), "host");
    }
    // What is known need not be signed, also as the parent of a merge.
    story.git(&["reset", "-q", "--hard", &unsigned]);
    story.branch("four", "main");
    story.commit("four.yaml", "a: 1\n", Some(&story.bob));
    story.back_to_main();
    story.merge("four", Some(&story.host), &[]);
    assert_eq!(signer(&story.staging(Commits::Head, Some(&unsigned))), "host");
    assert_eq!(signer(&story.staging(since(&unsigned), None)), "host");
    assert_eq!(refusal(&story.staging(Commits::Head, None)).0, Rule::Unsigned);
}

#[test]
fn squashes_edits_and_reverts_by_the_host_count_only_where_the_policy_says_so() {
    let (story, first) = two_sides();
    let main = story.head();
    // As "Squash and merge": one commit, whose author is who clicked, signed by the host.
    story.git(&["merge", "-q", "--squash", "feature"]);
    story.repository.git_signed(&story.host, &["commit", "-q", "-S", "-m", "Feature (#1)"]);
    let squashed = story.head();
    for commits in [since(&first), Commits::Head] {
        let refused = story.staging(commits.clone(), Some(&main));
        assert_eq!((refusal(&refused).0, refusal(&refused).1), (Rule::ForgeSigner, squashed.as_str()));
        assert_eq!(signer(&story.staging_by(taking_all(story.signers()), commits, Some(&main))), "host");
    }
    // In the middle as well.
    story.commit("b.yaml", "a: 1\n", Some(&story.alice));
    let refused = story.staging(since(&first), Some(&main));
    assert_eq!((refusal(&refused).0, refusal(&refused).1), (Rule::ForgeSigner, squashed.as_str()));
    assert_eq!(signer(&story.staging_by(taking_all(story.signers()), since(&first), Some(&main))), "alice");
    // What nobody signed counts for that policy neither.
    let unsigned = story.commit("c.yaml", "a: 1\n", None);
    story.commit("d.yaml", "a: 1\n", Some(&story.host));
    let refused = story.staging_by(taking_all(story.signers()), since(&first), Some(&main));
    assert_eq!((refusal(&refused).0, refusal(&refused).1), (Rule::Unsigned, unsigned.as_str()));
}

#[test]
fn a_merge_by_the_host_whose_sides_met_last_in_several_places_or_nowhere_is_refused() {
    let (story, first) = two_sides();
    let (main, feature) = (story.head(), story.git(&["rev-parse", "feature"]));
    // Each side merged the other's former state.
    story.merge(&feature, Some(&story.alice), &[]);
    story.git(&["checkout", "-q", "feature"]);
    story.merge(&main, Some(&story.bob), &[]);
    story.commit("more.yaml", "a: 1\n", Some(&story.bob));
    story.back_to_main();
    story.merge("feature", Some(&story.host), &[]);
    let refused = story.staging(since(&first), Some(&first));
    assert_eq!(refusal(&refused).0, Rule::NotACleanMerge);
    assert!(refusal(&refused).2.contains("at 2 commits"), "{}", refusal(&refused).2);
    story.git(&["checkout", "-q", "--orphan", "foreign"]);
    story.git(&["rm", "-rfq", "."]);
    story.commit("foreign.yaml", "a: 1\n", Some(&story.bob));
    story.git(&["checkout", "-q", "-B", "main", &main]);
    story.merge("foreign", Some(&story.host), &["--allow-unrelated-histories"]);
    let refused = story.staging(since(&first), Some(&main));
    assert_eq!(refusal(&refused).0, Rule::NotACleanMerge);
    assert!(refusal(&refused).2.contains("at 0 commits"), "{}", refusal(&refused).2);
}

#[test]
fn what_is_a_clean_merge_here_is_the_same_one_for_git() {
    let story = Story::new();
    let first = story.head();
    let mut random = 88_172_645_463_325_252_u64;
    let mut next = |below: u64| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random % below
    };
    let names = ["a", "b", "c/a", "c/b", "c/d/a", "c/d/b", "e", "e-f", "e/g", "z/y/x/w"];
    let (mut clean, mut refused) = (0, 0);
    for round in 0..30 {
        let mut change = |story: &Story, times: u64| {
            for _ in 0..times {
                let path = story.repository.work.join(names[usize::try_from(next(10)).unwrap()]);
                if path.is_dir() {
                    std::fs::remove_dir_all(&path).unwrap();
                } else if path.exists() && next(3) == 0 {
                    std::fs::remove_file(&path).unwrap();
                } else {
                    let parents: Vec<_> =
                        path.ancestors().skip(1).take_while(|parent| *parent != story.repository.work).collect();
                    for parent in parents.into_iter().rev() {
                        if parent.is_file() {
                            std::fs::remove_file(parent).unwrap();
                        }
                    }
                    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
                    std::fs::write(&path, format!("{}\n", next(5))).unwrap();
                }
            }
            story.repository.write("always", &format!("{}", next(u64::MAX)));
        };
        story.git(&["checkout", "-q", "-B", "main", &first]);
        change(&story, 12);
        std::fs::remove_file(story.repository.work.join("always")).unwrap();
        story.repository.write("round", &round.to_string());
        let base = story.repository.commit_only("base", Some(&story.alice));
        let mut sides = Vec::new();
        for side in ["one", "other"] {
            story.git(&["checkout", "-q", "-B", side, &base]);
            change(&story, 2);
            std::fs::rename(story.repository.work.join("always"), story.repository.work.join(format!("always-{side}"))).unwrap();
            sides.push(story.repository.commit_only(side, Some(&story.bob)));
        }
        // What Git makes of it, without looking for renames; it exits with 1 where it finds a conflict.
        let merged = story.repository.try_git(&["-c", "merge.renames=false", "merge-tree", "--write-tree", &sides[0], &sides[1]]);
        let tree = match &merged {
            Some(tree) => tree.clone(),
            None => story.git(&["rev-parse", &format!("{}^{{tree}}", sides[0])]),
        };
        let parents = ["-p", &sides[0], "-p", &sides[1]];
        let arguments = [&["commit-tree", "-S", "-m", "merge", &tree][..], &parents[..]].concat();
        let commit = story.repository.git_signed(&story.host, &arguments);
        story.git(&["checkout", "-q", "-B", "main", &commit]);
        let judged = story.staging(since(&base), None);
        match (&merged, judged.revision.is_some()) {
            (Some(_), true) => clean += 1,
            (None, true) => panic!("round {round}: Git finds a conflict, and we don't"),
            (_, false) => {
                // Only where both sides changed one thing: two changes of ten that differ are merged file by file.
                let (rule, _, why) = refusal(&judged);
                assert!(rule == Rule::NotACleanMerge && why.contains("both sides changed"), "round {round}: {why}");
                refused += 1;
            }
        }
    }
    assert!(clean >= 5 && refused >= 2, "{clean} were clean, {refused} were not");
}
