//! Attacks by their classes, as `docs/security.md` lists them: here are those that no other test is about. Wherever a rule about
//! the form of objects refuses, somebody who may sign has signed exactly these bytes: the signature is no help.

use std::collections::BTreeSet;

use tk8s_core::Timestamp;
use tk8s_gitsync::{
    Accepted, Error, Follow, Policy, ProductionPolicy, Revocations, Rule, Signers, Source, Verification, Versions, explain_range,
    fetch, verify,
};

use crate::support::{self, KeyType, Repository, Signer, verify_object};

struct Release {
    repository: Repository,
    alice: Signer,
    signers: Signers,
}

impl Release {
    /// Alice signed `v1.0.0` and its commit.
    fn new() -> Release {
        let repository = Repository::new();
        let alice = Signer::new(repository.home(), "alice", KeyType::Ed25519);
        let signers = support::signers(&[&alice]);
        let release = Release { repository, alice, signers };
        release.commit("a: 1\n");
        release.repository.tag("v1.0.0", Some(&release.alice));
        release
    }

    fn commit(&self, text: &str) -> String {
        self.repository.write("a.yaml", text);
        self.repository.commit(text, Some(&self.alice))
    }

    fn raw(&self, kind: &str, name: &str) -> String {
        String::from_utf8(self.repository.raw(kind, name)).unwrap()
    }

    fn judge(&self, raw: &str) -> Result<String, Rule> {
        let verdict = verify_object(raw.as_bytes(), &self.signers, Timestamp::now());
        verdict.map(|verdict| verdict.signer).map_err(|refusal| refusal.rule)
    }

    /// Alice signs these bytes of a commit, whatever they are.
    fn signed(&self, payload: &str) -> String {
        let signature = self.alice.sign("git", payload.as_bytes());
        let (headers, message) = payload.split_once("\n\n").unwrap();
        format!("{headers}\ngpgsig {}\n\n{message}", signature.trim_end().replace('\n', "\n "))
    }

    /// A ref of the origin names this object from now on.
    fn publish(&self, name: &str, kind: &str, raw: &str) -> String {
        let id = self.repository.write_object(kind, raw.as_bytes());
        self.repository.git(&["push", "-q", "--force", "origin", &format!("{id}:{name}")]);
        id
    }

    fn released(&self) -> Verification {
        let url = format!("file://{}", self.repository.bare.display()).parse().unwrap();
        let follow = Follow::Tags { release_branch: "main".into(), approvals: false, evidence: false };
        let source = Source::new(url, self.repository.home().join("mirror.git"), follow);
        let policy = Policy::Production(ProductionPolicy {
            signers: self.signers.clone(),
            approvals: None,
            versions: Versions::default(),
        });
        verify(&fetch(&source).unwrap(), &policy, &Accepted::default()).unwrap()
    }
}

/// A40, signature stripping; A46, each way in which one can be taken off.
#[test]
fn a_signature_that_was_taken_off_leaves_nothing_that_passes() {
    let release = Release::new();
    let (commit, tag) = (release.raw("commit", "HEAD"), release.raw("tag", "v1.0.0"));
    let begin = commit.find("gpgsig").unwrap();
    let end = commit.find("\n\n").unwrap() + 1;
    let without = |put: &str| format!("{}{put}{}", &commit[..begin], &commit[end..]);
    let block = &tag[tag.find("-----BEGIN").unwrap()..];
    let cases = [
        (without(""), Rule::Unsigned),
        (without("gpgsig \n"), Rule::BadSignature),
        (without("gpgsig -----BEGIN SSH SIGNATURE-----\n"), Rule::BadSignature),
        (without("gpgsig -----BEGIN SSH SIGNATURE-----\n \n -----END SSH SIGNATURE-----\n"), Rule::BadSignature),
        (without("gpgsig none\n"), Rule::BadSignature),
        (commit.replace("gpgsig ", "x-gpgsig "), Rule::Unsigned),
        (commit.replace("gpgsig ", "gpgsig-old "), Rule::UnknownSignatureHeader),
        (commit.replace("gpgsig ", "GPGSIG "), Rule::Unsigned),
        (tag.replace(block, ""), Rule::Unsigned),
        (tag.replace("-----BEGIN", " -----BEGIN"), Rule::Unsigned),
        (tag.replace("-----BEGIN SSH SIGNATURE-----", "-----BEGIN SIGNATURE-----"), Rule::Unsigned),
        (tag.replace(block, "-----BEGIN SSH SIGNATURE-----\n-----END SSH SIGNATURE-----\n"), Rule::BadSignature),
    ];
    for (raw, expected) in cases {
        assert_eq!(release.judge(&raw), Err(expected), "{raw}");
    }
    // The same tree again, by nobody: on the branch, and as the release.
    release.publish("refs/tags/v1.0.1", "tag", &tag.replace(block, "").replace("tag v1.0.0", "tag v1.0.1"));
    let bare = release.publish("refs/heads/main", "commit", &without(""));
    let tagged = tag
        .replace(block, "")
        .replace("tag v1.0.0", "tag v1.0.2")
        .replace(&release.repository.git(&["rev-parse", "HEAD"]), &bare);
    let signature = release.alice.sign("git", tagged.as_bytes());
    release.publish("refs/tags/v1.0.2", "tag", &format!("{tagged}{signature}"));
    let judged = release.released();
    let refused: Vec<_> = judged.refused.iter().map(|refusal| (refusal.reference.as_str(), refusal.rule)).collect();
    assert_eq!(refused[..2], [("refs/tags/v1.0.2", Rule::Unsigned), ("refs/tags/v1.0.1", Rule::Unsigned)]);
    assert!(judged.revision.is_none_or(|revision| revision.revision().label() == "v1.0.0"));
}

/// A41, wrong subject; mix-and-match, of objects that are all good.
#[test]
fn a_signature_is_good_for_its_object_and_for_no_other() {
    let release = Release::new();
    let first = release.repository.git(&["rev-parse", "HEAD"]);
    let second = release.commit("a: 2\n");
    release.repository.tag("v1.1.0", Some(&release.alice));
    let objects = [("commit", first.as_str()), ("commit", &second), ("tag", "v1.0.0"), ("tag", "v1.1.0")];
    let parts = objects.map(|(kind, name)| {
        let raw = release.raw(kind, name);
        let at = raw.find("-----BEGIN").unwrap();
        let end = raw.find("-----END SSH SIGNATURE-----").unwrap() + "-----END SSH SIGNATURE-----".len();
        let signature = raw[at..end].replace("\n ", "\n");
        (kind, raw.clone(), raw[at..end].to_owned(), signature)
    });
    for (to, (kind, raw, own, _)) in parts.iter().enumerate() {
        for (from, (_, _, _, signature)) in parts.iter().enumerate() {
            let put = if *kind == "commit" { signature.replace('\n', "\n ") } else { signature.clone() };
            let expected = if to == from { Ok("alice".to_owned()) } else { Err(Rule::BadSignature) };
            assert_eq!(release.judge(&raw.replace(own, &put)), expected, "{from} on {to}");
        }
    }
    // A good tag that is made to name another good commit, and a good commit with another good tree.
    assert_eq!(release.judge(&release.raw("tag", "v1.0.0").replace(&first, &second)), Err(Rule::BadSignature));
    let tree = |name: &str| release.repository.git(&["rev-parse", &format!("{name}^{{tree}}")]);
    let mixed = release.raw("commit", &second).replace(&tree(&second), &tree(&first));
    assert_eq!(release.judge(&mixed), Err(Rule::BadSignature));
}

/// A42, parser differentials; A46, the whole family. Whether the first or the last of two counts is never asked.
#[test]
fn what_can_be_read_in_two_ways_is_refused_though_it_is_signed() {
    let release = Release::new();
    let head = release.raw("commit", "HEAD");
    let begin = head.find("gpgsig").unwrap();
    let end = head.find("\n\n").unwrap() + 1;
    let plain = format!("{}{}", &head[..begin], &head[end..]);
    assert_eq!(release.judge(&release.signed(&plain)), Ok("alice".into()));
    let line = |name: &str| plain.lines().find(|line| line.starts_with(name)).unwrap().to_owned();
    let (tree, author, committer) = (line("tree"), line("author"), line("committer"));
    let id = "1".repeat(40);
    let twice = |line: &str, other: &str| {
        [plain.replace(line, &format!("{line}\n{other}")), plain.replace(line, &format!("{other}\n{line}"))]
    };
    let cases = [
        (twice(&tree, &format!("tree {id}")), Rule::DuplicateHeader),
        (twice(&author, "author E <e@example.com> 0 +0000"), Rule::DuplicateHeader),
        (twice(&committer, "committer E <e@example.com> 0 +0000"), Rule::DuplicateHeader),
        (twice(&committer, "gpgsig x").map(|raw| raw.replace("gpgsig x", "encoding x\nencoding y")), Rule::DuplicateHeader),
    ];
    for (raws, expected) in cases {
        for raw in raws {
            assert_eq!(release.judge(&release.signed(&raw)), Err(expected), "{raw}");
        }
    }
    for raw in [
        plain.replace(&author, &format!("{author}\nparent {id}")),
        plain.replace(&tree, &format!("{tree}\nencoding x")),
        plain.replace(&format!("{tree}\n"), ""),
        plain.replace(&format!("{author}\n"), ""),
        plain.replace(&format!("{committer}\n"), ""),
        plain.replace(&author, &format!("parent {}\n{author}", &id[1..])),
        plain.replace(&author, &format!("parent {id} \n{author}")),
        plain.replace(&author, &format!("parent\n{author}")),
        plain.replace(&tree, &tree.to_uppercase().replace("TREE", "tree")),
        plain.replace(&tree, &format!("{tree}\r")),
        format!(" {plain}"),
        plain.replace("a: 1", "a: 1\0"),
    ] {
        assert!(matches!(release.judge(&release.signed(&raw)), Err(Rule::MalformedObject)), "{raw}");
    }
    let tag =
        "object 1111111111111111111111111111111111111111\ntype commit\ntag v1.0.0\ntagger A <a@example.com> 0 +0000\n\nfirst\n";
    let signed = |raw: &str| format!("{raw}{}", release.alice.sign("git", raw.as_bytes()));
    assert_eq!(release.judge(&signed(tag)), Ok("alice".into()));
    for (raw, expected) in [
        (tag.replace("tag v1.0.0", "tag v1.0.0\ntag v2.0.0"), Rule::DuplicateHeader),
        (tag.replace("type commit", "type commit\ntype tag"), Rule::DuplicateHeader),
        (tag.replace("object ", &format!("object {id}\nobject ")), Rule::DuplicateHeader),
        (tag.replace("tag v1.0.0\ntagger", "tagger"), Rule::MalformedObject),
        (tag.replace("type commit\ntag v1.0.0", "tag v1.0.0\ntype commit"), Rule::MalformedObject),
        (tag.replace("tagger A <a@example.com> 0 +0000", "tagger A <a@example.com> 0 +0000\nencoding x"), Rule::MalformedObject),
    ] {
        assert_eq!(release.judge(&signed(&raw)), Err(expected), "{raw}");
    }
}

/// A44, nothing is no success: whatever is empty or missing says no, or is an error.
#[test]
fn nothing_says_yes_by_being_empty() {
    let release = Release::new();
    for raw in ["", "\n", "\n\n", "tree", "commit 0\0", "tag 0\0", "object ", "object 1\n"] {
        assert_eq!(release.judge(raw), Err(Rule::MalformedObject), "{raw:?}");
    }
    for file in ["", "\n", "# nobody\n", "apiVersion: agent.tk8s.io/v1alpha1\nkind: Signers\nsigners: []\n"] {
        assert!(matches!(Signers::parse(file.as_bytes(), "signers"), Err(Error::Signers { .. })), "{file:?}");
    }
    assert!(matches!(Revocations::parse(b"", "revoked"), Err(Error::Revocations { .. })));
    let nobody = format!(
        "apiVersion: agent.tk8s.io/v1alpha1\nkind: Signers\nsigners:\n  - {{name: alice, roles: [], keys: ['{}']}}\n",
        release.alice.public
    );
    let nobody = Signers::parse(nobody.as_bytes(), "signers").unwrap();
    let raw = release.repository.raw("commit", "HEAD");
    assert_eq!(verify_object(&raw, &nobody, Timestamp::now()).unwrap_err().rule, Rule::RoleMissing);
    let told = explain_range(&release.repository.work, ("HEAD", "HEAD"), &release.signers, Timestamp::now(), |_| {
        panic!("there is none")
    });
    assert_eq!(told.unwrap(), 0);
}

/// A45, time: whatever our clock says there is a verdict, and what the signer's says changes none.
#[test]
fn no_clock_keeps_a_verdict_from_being_made_and_the_signer_s_own_has_no_say() {
    let release = Release::new();
    let file = format!("alice valid-after=\"20240101Z\",valid-before=\"20250101Z\" {}\n", release.alice.public);
    let signers = Signers::parse(file.as_bytes(), "signers").unwrap();
    let dated = |date: &str| {
        let raw =
            format!("tree {}\nauthor A <a@example.com> {date}\ncommitter A <a@example.com> {date}\n\nfirst\n", "1".repeat(40));
        release.signed(&raw)
    };
    let dates = ["0 +0000", "-1 +0000", "1720000000 +0000", "99999999999999999999 +9999", "1720000000", ""];
    let raws = dates.map(dated);
    for (now, expected) in [
        (Timestamp::MIN, Err(Rule::KeyNotValidNow)),
        (Timestamp::UNIX_EPOCH, Err(Rule::KeyNotValidNow)),
        ("2023-12-31T23:59:59Z".parse().unwrap(), Err(Rule::KeyNotValidNow)),
        ("2024-02-29T12:00:00Z".parse().unwrap(), Ok(())),
        ("2025-01-01T00:00:01Z".parse().unwrap(), Err(Rule::KeyNotValidNow)),
        (Timestamp::MAX, Err(Rule::KeyNotValidNow)),
    ] {
        for raw in &raws {
            let said = verify_object(raw.as_bytes(), &signers, now).map(drop).map_err(|refusal| refusal.rule);
            assert_eq!(said, expected, "{now} {raw}");
        }
    }
}

/// The table of `docs/security.md` names tests that there are.
#[test]
fn every_test_that_the_list_of_attacks_names_is_there() {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
    let docs = std::fs::read_to_string(format!("{root}/docs/security.md")).unwrap();
    let section = docs.split("\n## ").find(|section| section.starts_with("Attacks")).unwrap();
    let named =
        section.lines().filter(|line| line.starts_with("| ")).flat_map(|line| line.rsplit(" | ").next().unwrap().split('`'));
    let named: BTreeSet<&str> = named.filter(|word| word.contains('_') && !word.contains([' ', '/'])).collect();
    assert!(named.len() > 20, "{named:?}");
    let mut sources = String::new();
    let mut waiting: Vec<_> =
        ["gitsync", "config", "agent/src", "tests/tests", "history/src"].map(|place| format!("{root}/{place}").into()).into();
    while let Some(place) = waiting.pop() {
        let place: std::path::PathBuf = place;
        for entry in std::fs::read_dir(place).unwrap() {
            let path = entry.unwrap().path();
            match path.extension() {
                _ if path.is_dir() => waiting.push(path),
                Some(extension) if extension == "rs" => sources.push_str(&std::fs::read_to_string(path).unwrap()),
                _ => {}
            }
        }
    }
    let missing: Vec<_> = named.into_iter().filter(|name| !sources.contains(&format!("fn {name}("))).collect();
    assert!(missing.is_empty(), "{missing:?}");
}
