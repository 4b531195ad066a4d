//! Who signed, and what Git and OpenSSH would have let pass: with the real `git` and `ssh-keygen`, which are asked beside us
//! wherever they are more lenient.

#![allow(clippy::unwrap_used, missing_docs, unreachable_pub)]

mod refs;
mod support;

use std::path::Path;
use std::process::Command;

use support::{KeyType, Repository, Signer, verify_object};
use tk8s_core::{Classified as _, Timestamp, Trust};
use tk8s_gitsync::{
    Accepted, Commits, Follow, Policy, ProductionPolicy, Revocations, Rule, Signers, Source, StagingPolicy, Verification,
    Versions, fetch, verify, verify_revision,
};

/// A repository with one commit and one tag, signed by alice.
struct Signed {
    repository: Repository,
    alice: Signer,
}

impl Signed {
    fn new() -> Signed {
        let repository = Repository::new();
        let alice = Signer::new(repository.home(), "alice", KeyType::Ed25519);
        repository.write("a.yaml", "a: 1\n");
        repository.commit("first", Some(&alice));
        repository.tag("v1.0.0", Some(&alice));
        Signed { repository, alice }
    }

    fn raw(&self, kind: &str, name: &str) -> String {
        String::from_utf8(self.repository.raw(kind, name)).unwrap()
    }

    fn signers(&self) -> Signers {
        support::signers(&[&self.alice])
    }

    /// What we say about raw bytes.
    fn rule(&self, raw: &str) -> Option<Rule> {
        rule(raw.as_bytes(), &self.signers())
    }

    /// Git verifies this object, and we refuse it by this rule.
    fn git_is_fooled(&self, kind: &str, raw: &str, expected: Rule) {
        let id = self.repository.write_object(kind, raw.as_bytes());
        let allowed = format!("alice@example.com {}\n", self.alice.public);
        assert!(self.repository.git_verifies(&format!("verify-{kind}"), &id, &allowed, &[]), "Git refuses it as well:\n{raw}");
        assert_eq!(self.rule(raw), Some(expected), "{raw}");
    }

    fn judged(&self, follow: Follow, policy: &Policy, accepted: &Accepted) -> Verification {
        let url = format!("file://{}", self.repository.bare.display()).parse().unwrap();
        let source = Source::new(url, self.repository.home().join("mirror.git"), follow);
        verify(&fetch(&source).unwrap(), policy, accepted).unwrap()
    }

    fn tags(&self) -> Verification {
        let policy =
            Policy::Production(ProductionPolicy { signers: self.signers(), approvals: None, versions: Versions::default() });
        self.judged(
            Follow::Tags { release_branch: "main".into(), approvals: false, evidence: false },
            &policy,
            &Accepted::default(),
        )
    }
}

fn rule(raw: &[u8], signers: &Signers) -> Option<Rule> {
    verify_object(raw, signers, Timestamp::now()).err().map(|refusal| refusal.rule)
}

fn who(raw: &[u8], signers: &Signers) -> Result<String, Rule> {
    verify_object(raw, signers, Timestamp::now()).map(|verdict| verdict.signer).map_err(|refusal| refusal.rule)
}

fn own(entries: &[String]) -> String {
    format!("apiVersion: agent.tk8s.io/v1alpha1\nkind: Signers\nsigners:\n{}", entries.concat())
}

fn parsed(text: &str) -> Signers {
    Signers::parse(text.as_bytes(), "signers").map_err(|error| format!("{error}\n{text}")).unwrap()
}

// What Git lets pass.

/// TUF, wrong software; rollback.
#[test]
fn a_tag_object_under_another_name_is_refused_where_git_verifies_it() {
    let signed = Signed::new();
    signed.repository.git(&["update-ref", "refs/tags/v9.0.0", "refs/tags/v1.0.0"]);
    signed.repository.git(&["push", "-q", "origin", "refs/tags/v9.0.0"]);
    let allowed = format!("alice@example.com {}\n", signed.alice.public);
    assert!(signed.repository.git_verifies("verify-tag", "v9.0.0", &allowed, &[]));
    let judged = signed.tags();
    assert_eq!(judged.refused.iter().map(|refusal| refusal.rule).collect::<Vec<_>>(), [Rule::TagNameMismatch]);
    assert_eq!(judged.revision.unwrap().revision().label(), "v1.0.0");
    let offline = verify_revision(&signed.repository.work, "v9.0.0", &signed.signers(), Timestamp::now()).unwrap();
    assert_eq!(offline.unwrap_err().rule, Rule::TagNameMismatch);
}

/// A42, parser differentials.
#[test]
fn a_header_that_looks_like_a_signature_is_refused_where_git_verifies_the_commit() {
    let signed = Signed::new();
    let commit = signed.raw("commit", "HEAD");
    for header in ["gpgsigfoo x", "gpgsig-sha256 x", "gpgsignature x"] {
        let injected = commit.replacen("\n\n", &format!("\n{header}\n\n"), 1);
        signed.git_is_fooled("commit", &injected, Rule::UnknownSignatureHeader);
    }
}

/// A42, parser differentials.
#[test]
fn a_second_signature_is_refused_where_git_verifies_the_first() {
    let signed = Signed::new();
    let commit = signed.raw("commit", "HEAD");
    let signature = &commit[commit.find("gpgsig").unwrap()..=commit.find("\n\n").unwrap()];
    signed.git_is_fooled("commit", &commit.replacen("\n\n", &format!("\n{signature}\n"), 1), Rule::SecondSignature);
}

/// A42, parser differentials.
#[test]
fn bytes_after_the_signature_of_a_tag_are_refused_where_git_ignores_them() {
    let signed = Signed::new();
    signed.git_is_fooled("tag", &format!("{}unsigned text\n", signed.raw("tag", "v1.0.0")), Rule::TrailingBytes);
}

/// A41, wrong subject.
#[test]
fn a_tag_of_a_tag_is_refused_where_git_verifies_the_outer_one() {
    let signed = Signed::new();
    signed.repository.git_signed(&signed.alice, &["tag", "-s", "-m", "nested", "v2.0.0", "v1.0.0"]);
    signed.git_is_fooled("tag", &signed.raw("tag", "v2.0.0"), Rule::NestedTag);
}

/// A45, time.
#[test]
fn a_back_dated_commit_is_judged_by_our_own_clock() {
    let signed = Signed::new();
    let allowed = format!("alice@example.com valid-before=\"20200101Z\" {}\n", signed.alice.public);
    signed.repository.write("a.yaml", "a: 2\n");
    signed.repository.commit("today", Some(&signed.alice));
    assert!(!signed.repository.git_verifies("verify-commit", "HEAD", &allowed, &[]));
    signed.repository.write("a.yaml", "a: 3\n");
    signed.repository.commit_at("in the past", &signed.alice, "2019-06-01T00:00:00Z");
    assert!(signed.repository.git_verifies("verify-commit", "HEAD", &allowed, &[]));
    assert_eq!(rule(signed.raw("commit", "HEAD").as_bytes(), &parsed(&allowed)), Some(Rule::KeyNotValidNow));
}

/// A40, downgrade of policy; A44, a missing file is no success.
#[test]
fn a_revocation_file_that_is_missing_or_cut_lets_nothing_pass() {
    let signed = Signed::new();
    let allowed = format!("alice@example.com {}\n", signed.alice.public);
    let missing = signed.repository.home().join("missing");
    let setting = format!("gpg.ssh.revocationFile={}", missing.display());
    assert!(signed.repository.git_verifies("verify-commit", "HEAD", &allowed, &[&setting]), "Git only warns");
    let error = Revocations::read(&missing).unwrap_err();
    assert!(error.to_string().contains("revocation file"), "{error}");
    let whole = krl(&signed.repository, None, &format!("key: {}\n", signed.alice.public));
    let bytes = std::fs::read(&whole).unwrap();
    for cut in [bytes.len() - 1, bytes.len() / 2, 9] {
        let error = Revocations::parse(&bytes[..cut], "krl").unwrap_err();
        assert_eq!(error.reason(), "RevocationsRefused", "{error}");
    }
}

/// A44, exit code is success.
#[test]
fn a_program_named_by_the_repository_has_no_say() {
    let signed = Signed::new();
    let mallory = Signer::new(signed.repository.home(), "mallory", KeyType::Ed25519);
    let ran = signed.repository.home().join("ran");
    let program = signed.repository.home().join("program");
    let script =
        format!("#!/bin/sh\ntouch {}\necho 'Good \"git\" signature for alice with ED25519 key SHA256:x'\n", ran.display());
    std::fs::write(&program, script).unwrap();
    assert!(Command::new("chmod").arg("+x").arg(&program).status().unwrap().success());
    signed.repository.write("a.yaml", "a: 2\n");
    signed.repository.commit("second", Some(&mallory));
    for directory in [&signed.repository.work, &signed.repository.bare] {
        let mut git = Command::new("git");
        git.arg("-C").arg(directory).args(["config", "gpg.ssh.program"]).arg(&program);
        assert!(git.status().unwrap().success());
    }
    let allowed = format!("alice@example.com {}\n", signed.alice.public);
    assert!(signed.repository.git_verifies("verify-commit", "HEAD", &allowed, &[]) && ran.exists(), "Git believes it");
    std::fs::remove_file(&ran).unwrap();
    let verdict = verify_revision(&signed.repository.work, "HEAD", &signed.signers(), Timestamp::now()).unwrap();
    assert_eq!(verdict.unwrap_err().rule, Rule::UnknownSigner);
    let policy = Policy::Staging(StagingPolicy { signers: signed.signers(), commits: Commits::Head });
    let judged = signed.judged(Follow::Branch("main".into()), &policy, &Accepted::default());
    assert_eq!(judged.refused[0].rule, Rule::UnknownSigner);
    assert!(!ran.exists());
}

/// TUF, wrong software.
#[test]
fn a_branch_of_a_tag_s_name_is_never_taken_for_it() {
    let signed = Signed::new();
    let mallory = Signer::new(signed.repository.home(), "mallory", KeyType::Ed25519);
    signed.repository.git(&["checkout", "-q", "-b", "v1.0.0"]);
    signed.repository.write("a.yaml", "a: evil\n");
    signed.repository.commit_only("evil", Some(&mallory));
    signed.repository.git(&["push", "-q", "origin", "refs/heads/v1.0.0:refs/heads/v1.0.0"]);
    let judged = signed.tags();
    assert!(judged.refused.is_empty());
    let revision = judged.revision.unwrap();
    assert_eq!(revision.revision().reference, "refs/tags/v1.0.0");
    assert!(matches!(revision.trust(), Trust::Signed { signer, .. } if signer == "alice"));
}

/// TUF, arbitrary installation.
#[test]
fn names_and_addresses_in_a_commit_make_nobody_its_signer() {
    let signed = Signed::new();
    let mallory = Signer::new(signed.repository.home(), "mallory", KeyType::Ed25519);
    let allowed = parsed(&format!("t@example.com {}\n", signed.alice.public));
    // The author and committer are the principal of the file; the key is somebody else's.
    signed.repository.write("a.yaml", "a: 2\n");
    signed.repository.commit("second", Some(&mallory));
    let raw = signed.raw("commit", "HEAD");
    assert!(raw.contains("T <t@example.com>"));
    assert_eq!(rule(raw.as_bytes(), &allowed), Some(Rule::UnknownSigner));
}

// Certificates.

#[test]
fn whoever_an_authority_certifies_signs_by_the_name_in_the_certificate() {
    let signed = Signed::new();
    let home = signed.repository.home();
    let authority = Signer::new(home, "authority", KeyType::EcdsaP256);
    let certified = |names: &str| signed.alice.certified(&authority, &["-I", "alice", "-n", names]);
    let sign = |signer: &Signer, text: &str| {
        signed.repository.write("a.yaml", text);
        signed.repository.commit(text, Some(signer));
        signed.raw("commit", "HEAD")
    };
    let raw = sign(&certified("bob@example.org,alice@example.com"), "a: 2\n");
    let line = |principals: &str| format!("{principals} cert-authority {}\n", authority.public);
    assert!(signed.repository.git_verifies("verify-commit", "HEAD", &line("*@example.com"), &[]));
    assert_eq!(who(raw.as_bytes(), &parsed(&line("*@example.com"))), Ok("alice@example.com".into()));
    assert_eq!(who(raw.as_bytes(), &parsed(&line("*"))), Ok("bob@example.org".into()));
    assert_eq!(who(raw.as_bytes(), &parsed(&line("carol@example.com"))), Err(Rule::CertificateRefused));
    // A line with a key is somebody's, however it is written.
    let plain = format!("carol,*@example.com {}\n", signed.alice.public);
    let first = signed.repository.raw("commit", "v1.0.0^{commit}");
    assert_eq!(who(&first, &parsed(&plain)), Ok("carol,*@example.com".into()));
    // In a file of our own the entry says who it is.
    let entry = |key: &str| own(&[format!("  - {{name: alice, roles: [release], keys: ['{key}']}}\n")]);
    let key = format!("alice@example.com cert-authority,namespaces=\"git\" {}", authority.public);
    assert_eq!(who(raw.as_bytes(), &parsed(&entry(&key))), Ok("alice".into()));
    let expired = format!("alice@example.com cert-authority,valid-before=\"20200101Z\" {}", authority.public);
    assert_eq!(who(raw.as_bytes(), &parsed(&entry(&expired))), Err(Rule::KeyNotValidNow));
    // An authority certifies and does not sign; a signer's key signs and does not certify.
    assert_eq!(who(raw.as_bytes(), &parsed(&format!("* {}\n", authority.public))), Err(Rule::UnknownSigner));
    assert_eq!(who(sign(&authority, "a: 3\n").as_bytes(), &parsed(&line("*"))), Err(Rule::UnknownSigner));
    // Nor is the key good without its certificate.
    assert_eq!(who(sign(&signed.alice, "a: 4\n").as_bytes(), &parsed(&line("*"))), Err(Rule::UnknownSigner));
}

#[test]
fn a_compromised_key_is_none_the_better_for_a_certificate() {
    let signed = Signed::new();
    let authority = Signer::new(signed.repository.home(), "authority", KeyType::Ed25519);
    let certified = signed.alice.certified(&authority, &["-I", "alice", "-n", "alice@example.com"]);
    signed.repository.write("a.yaml", "a: 2\n");
    signed.repository.commit("second", Some(&certified));
    let raw = signed.repository.raw("commit", "HEAD");
    let company = format!("  - {{name: company, roles: [release], keys: ['* cert-authority {}']}}\n", authority.public);
    let alice =
        |state: &str| format!("  - {{name: alice, roles: [release], state: {state}, keys: ['{}']}}\n", signed.alice.public);
    for order in [[company.clone(), alice("compromised")], [alice("compromised"), company.clone()]] {
        assert_eq!(who(&raw, &parsed(&own(&order))), Err(Rule::CompromisedSigner));
    }
    assert_eq!(who(&raw, &parsed(&own(&[alice("active"), company]))), Ok("company".into()));
    // Without the authority nobody believes it, though the key is listed: as OpenSSH.
    assert_eq!(who(&raw, &parsed(&own(&[alice("active")]))), Err(Rule::UnknownSigner));
}

#[test]
fn a_certificate_has_to_be_a_person_s_and_valid_now_and_without_conditions() {
    let signed = Signed::new();
    let authority = Signer::new(signed.repository.home(), "authority", KeyType::Ed25519);
    let signers = parsed(&format!("*@example.com cert-authority {}\n", authority.public));
    let table: [(&[&str], Result<(), Rule>); 7] = [
        (&["-n", "alice@example.com", "-V", "-1h:+1h"], Ok(())),
        (&["-n", "alice@example.com", "-V", "-2h:-1h"], Err(Rule::KeyNotValidNow)),
        (&["-n", "alice@example.com", "-V", "+1h:+2h"], Err(Rule::KeyNotValidNow)),
        (&["-h", "-n", "alice@example.com"], Err(Rule::CertificateRefused)),
        (&[], Err(Rule::CertificateRefused)),
        (&["-n", "alice@example.com", "-O", "source-address=10.0.0.0/8"], Err(Rule::CertificateRefused)),
        (&["-n", "alice@example.com", "-O", "extension:x@example.com=y"], Ok(())),
    ];
    for (index, (arguments, expected)) in table.into_iter().enumerate() {
        let certified = signed.alice.certified(&authority, &[&["-I", "id"], arguments].concat());
        signed.repository.write("a.yaml", &format!("a: {index}\nb: 1\n"));
        signed.repository.commit("more", Some(&certified));
        assert_eq!(who(signed.raw("commit", "HEAD").as_bytes(), &signers).map(drop), expected, "{arguments:?}");
    }
}

/// A45, time.
#[test]
fn a_certificate_is_valid_from_its_first_second_to_the_one_before_its_last() {
    let signed = Signed::new();
    let authority = Signer::new(signed.repository.home(), "authority", KeyType::Ed25519);
    let signers = parsed(&format!("*@example.com cert-authority {}\n", authority.public));
    let certified =
        signed.alice.certified(&authority, &["-I", "id", "-n", "alice@example.com", "-V", "20260101000000Z:20260102000000Z"]);
    signed.repository.write("a.yaml", "a: 2\n");
    signed.repository.commit("second", Some(&certified));
    let raw = signed.repository.raw("commit", "HEAD");
    let late = Err(Rule::KeyNotValidNow);
    for (now, ours) in [
        ("2025-12-31T23:59:59Z", late),
        ("2026-01-01T00:00:00Z", Ok(())),
        ("2026-01-01T23:59:59Z", Ok(())),
        ("2026-01-02T00:00:00Z", late),
    ] {
        let said = verify_object(&raw, &signers, now.parse().unwrap());
        assert_eq!(said.map(drop).map_err(|refusal| refusal.rule), ours, "{now}");
    }
}

#[test]
fn a_release_by_a_certificate_that_has_run_out_since_stays_accepted() {
    let signed = Signed::new();
    let authority = Signer::new(signed.repository.home(), "authority", KeyType::Ed25519);
    let line = |validity: &str| format!("*@example.com cert-authority{validity} {}\n", authority.public);
    let policy = |validity| Policy::Staging(StagingPolicy { signers: parsed(&line(validity)), commits: Commits::Head });
    let certified = signed.alice.certified(&authority, &["-I", "id", "-n", "alice@example.com"]);
    signed.repository.write("a.yaml", "a: 2\n");
    signed.repository.commit("second", Some(&certified));
    let main = || Follow::Branch("main".into());
    let first = signed.judged(main(), &policy(""), &Accepted::default()).revision.unwrap();
    let accepted = Accepted {
        head: Some(first.revision().commit.clone()),
        standing: Some((first.revision().clone(), first.trust().clone())),
        ..Accepted::default()
    };
    let over = ",valid-before=\"20200101Z\"";
    assert!(signed.judged(main(), &policy(over), &accepted).revision.is_some());
    assert_eq!(signed.judged(main(), &policy(over), &Accepted::default()).refused[0].rule, Rule::KeyNotValidNow);
}

#[test]
fn certificates_within_certificates_are_refused_before_the_stack_is_used_up() {
    use base64::Engine as _;
    let string = |bytes: &[u8]| [&(bytes.len() as u32).to_be_bytes(), bytes].concat();
    // From the inside: each is the authority of the next.
    let mut key = [string(b"ssh-ed25519"), string(&[7; 32])].concat();
    for _ in 0..3000 {
        let fields = [vec![0; 8], vec![0, 0, 0, 1], string(b""), string(b""), vec![0; 16], string(b""), string(b""), string(b"")];
        let signature = string(&[string(b"ssh-ed25519"), string(&[7; 64])].concat());
        let head = [string(b"ssh-ed25519-cert-v01@openssh.com"), string(b""), string(&[7; 32])].concat();
        key = [head, fields.concat(), string(&key), signature].concat();
    }
    let signature = [string(b"ssh-ed25519"), string(&[7; 64])].concat();
    let blob = [b"SSHSIG\0\0\0\x01".to_vec(), string(&key), string(b"git"), string(b""), string(b"sha256"), string(&signature)];
    let armoured = base64::engine::general_purpose::STANDARD.encode(blob.concat());
    assert!(armoured.len() < 1024 * 1024, "it fits into a commit");
    let signed = Signed::new();
    let commit = signed.raw("commit", "HEAD");
    let from = commit.find("gpgsig").unwrap();
    let to = commit.find("\n\n").unwrap();
    let header = format!("gpgsig -----BEGIN SSH SIGNATURE-----\n {armoured}\n -----END SSH SIGNATURE-----");
    let raw = format!("{}{header}{}", &commit[..from], &commit[to..]);
    assert_eq!(signed.rule(&raw), Some(Rule::CertificateRefused));
}

// Revocation.

/// A list of `ssh-keygen -k`.
fn krl(repository: &Repository, authority: Option<&Signer>, specification: &str) -> std::path::PathBuf {
    let place = tempfile::tempdir_in(repository.home()).unwrap().keep();
    let (list, file) = (place.join("spec"), place.join("krl"));
    std::fs::write(&list, specification).unwrap();
    let mut command = Command::new("ssh-keygen");
    command.args(["-q", "-k", "-f"]).arg(&file);
    if let Some(authority) = authority {
        command.arg("-s").arg(authority.private.with_extension("pub"));
    }
    assert!(command.arg(&list).status().unwrap().success());
    file
}

/// TUF, key compromise.
#[test]
fn what_a_revoked_key_signed_counts_no_more_even_if_it_was_accepted() {
    let signed = Signed::new();
    let policy = |revoked: Option<&Path>| {
        let signers = signed.signers();
        let signers = match revoked {
            Some(file) => signers.revoking(Revocations::read(file).unwrap()),
            None => signers,
        };
        Policy::Staging(StagingPolicy { signers, commits: Commits::Head })
    };
    let main = || Follow::Branch("main".into());
    let first = signed.judged(main(), &policy(None), &Accepted::default()).revision.unwrap();
    let accepted = Accepted {
        head: Some(first.revision().commit.clone()),
        standing: Some((first.revision().clone(), first.trust().clone())),
        ..Accepted::default()
    };
    let text = signed.repository.home().join("revoked");
    std::fs::write(&text, format!("# stolen\n{}\n", signed.alice.public)).unwrap();
    let list = krl(&signed.repository, None, &format!("sha256: {}\n", signed.alice.public));
    for file in [&text, &list] {
        let judged = signed.judged(main(), &policy(Some(file)), &accepted);
        assert!(judged.revision.is_none());
        assert_eq!(judged.refused[0].rule, Rule::KeyRevoked, "{}", judged.refused[0].message);
    }
    std::fs::write(&text, "# nobody\n").unwrap();
    assert!(signed.judged(main(), &policy(Some(&text)), &accepted).revision.is_some());
}

#[test]
fn a_certificate_is_revoked_by_its_number_its_id_its_key_and_its_authority() {
    let signed = Signed::new();
    let home = signed.repository.home();
    let authority = Signer::new(home, "authority", KeyType::Ed25519);
    let other = Signer::new(home, "other", KeyType::Ed25519);
    let certified = signed.alice.certified(&authority, &["-I", "laptop", "-n", "alice@example.com", "-z", "17"]);
    signed.repository.write("a.yaml", "a: 2\n");
    signed.repository.commit("second", Some(&certified));
    let raw = signed.repository.raw("commit", "HEAD");
    let signers = || parsed(&format!("*@example.com cert-authority {}\n", authority.public));
    assert_eq!(rule(&raw, &signers()), None);
    for (by, list, revoked) in [
        (Some(&authority), "serial: 17\n".to_owned(), true),
        (Some(&authority), "serial: 10-20\n".into(), true),
        (Some(&authority), "serial: 1\nserial: 17\nserial: 19\nserial: 22\n".into(), true),
        (Some(&authority), "serial: 1-16\nserial: 18-18446744073709551615\n".into(), false),
        (Some(&authority), "id: laptop\n".into(), true),
        (Some(&authority), "id: lap\n".into(), false),
        (Some(&other), "serial: 17\nid: laptop\n".into(), false),
        (None, format!("key: {}\n", signed.alice.public), true),
        (None, format!("sha1: {}\n", authority.public), true),
        (None, format!("key: {}\n", other.public), false),
    ] {
        let revocations = Revocations::read(&krl(&signed.repository, by, &list)).unwrap();
        let expected = revoked.then_some(Rule::KeyRevoked);
        assert_eq!(rule(&raw, &signers().revoking(revocations)), expected, "{list}");
    }
}

// The signers file.

#[test]
fn a_role_that_no_rule_knows_is_refused_with_its_line() {
    let text = own(&[
        "  - name: alice\n    roles: [release, security-officer]\n    keys: ['ssh-ed25519 AAAA']\n".into(),
        "  - name: bob\n    roles: [relaese]\n    keys: []\n".into(),
    ]);
    let error = Signers::parse(text.as_bytes(), "signers.yaml").unwrap_err().to_string();
    assert!(error.contains("signers.yaml`, line 8") && error.contains("`relaese`") && error.contains("`release`"), "{error}");
}

#[test]
fn a_signer_s_state_begins_at_its_time_and_a_compromised_one_is_so_at_once() {
    let signed = Signed::new();
    let raw = signed.repository.raw("commit", "HEAD");
    for (state, expected) in [
        ("state: active", Ok(())),
        ("state: active, since: 2020-01-01T00:00:00Z", Ok(())),
        ("state: active, since: 2999-01-01T00:00:00Z", Err(Rule::KeyNotValidNow)),
        ("state: retired", Err(Rule::RetiredSigner)),
        ("state: retired, since: 2020-01-01T00:00:00Z", Err(Rule::RetiredSigner)),
        ("state: retired, since: 2999-01-01T00:00:00Z", Ok(())),
        ("state: compromised", Err(Rule::CompromisedSigner)),
        ("state: compromised, since: 2020-01-01T00:00:00Z", Err(Rule::CompromisedSigner)),
        ("state: compromised, since: 2999-01-01T00:00:00Z", Err(Rule::CompromisedSigner)),
    ] {
        let entry = format!("  - {{name: alice, roles: [release], {state}, keys: ['{}']}}\n", signed.alice.public);
        assert_eq!(who(&raw, &parsed(&own(&[entry]))).map(drop), expected, "{state}");
    }
}

/// TUF, key compromise.
#[test]
fn a_key_that_two_signers_have_is_good_by_one_and_bad_if_one_is_compromised() {
    let signed = Signed::new();
    let raw = signed.repository.raw("commit", "HEAD");
    let entry = |name: &str, more: &str| format!("  - {{name: {name}, {more}, keys: ['{}']}}\n", signed.alice.public);
    let [good, retired] = [entry("alice", "roles: [release]"), entry("bob", "roles: [release], state: retired")];
    let stolen = entry("carol", "roles: [release], state: compromised");
    for order in [[good.clone(), retired.clone()], [retired.clone(), good.clone()]] {
        assert_eq!(who(&raw, &parsed(&own(&order))), Ok("alice".into()));
    }
    for order in [[good.clone(), stolen.clone()], [stolen, good]] {
        assert_eq!(who(&raw, &parsed(&own(&order))), Err(Rule::CompromisedSigner));
    }
}

#[test]
fn the_git_host_s_signature_alone_is_nobody_s_word() {
    let signed = Signed::new();
    let raw = signed.repository.raw("commit", "HEAD");
    let entry = format!("  - {{name: github, kind: forge, roles: [release], keys: ['{}']}}\n", signed.alice.public);
    assert_eq!(who(&raw, &parsed(&own(&[entry]))), Err(Rule::ForgeSigner));
}

#[test]
fn an_object_is_named_by_the_hash_of_its_repository() {
    for format in ["sha1", "sha256"] {
        let repository = Repository::of_format(format);
        let alice = Signer::new(repository.home(), "alice", KeyType::Ed25519);
        let signers = support::signers(&[&alice]);
        repository.write("a.yaml", "a: 1\n");
        let commit = repository.commit("first", Some(&alice));
        repository.tag("v1.0.0", Some(&alice));
        let tag = repository.git(&["rev-parse", "v1.0.0"]);
        let tree = repository.git(&["rev-parse", "v1.0.0^{tree}"]);
        for (kind, id, about) in [("commit", commit.clone(), tree), ("tag", tag, commit)] {
            let raw = repository.raw(kind, &id);
            assert_eq!(verify_object(&raw, &signers, Timestamp::now()).unwrap().id, id, "{format}");
            let explained = tk8s_gitsync::explain_object(&raw, &signers, Timestamp::now());
            let mut checks = explained.objects.iter().flat_map(|object| &object.checks);
            assert!(checks.any(|check| check.found == about), "{about} is not in {:#?}", explained.objects);
        }
    }
}

#[test]
fn a_certificate_for_a_key_that_nobody_listed_is_nobodys() {
    let signed = Signed::new();
    let [mallory, authority] = ["mallory", "authority"].map(|name| Signer::new(signed.repository.home(), name, KeyType::Ed25519));
    let certified = mallory.certified(&authority, &["-I", "x", "-n", "alice"]);
    signed.repository.write("a.yaml", "a: theirs\n");
    signed.repository.commit("theirs", Some(&certified));
    let raw = signed.repository.raw("commit", "HEAD");
    let why = |people: &[&Signer]| {
        let refusal = verify_object(&raw, &support::signers(people), Timestamp::now()).unwrap_err();
        assert_eq!(refusal.rule, Rule::UnknownSigner, "{}", refusal.message);
        refusal.message
    };
    assert!(!why(&[&signed.alice]).contains("alice"), "{}", why(&[&signed.alice]));
    // Of a key that is listed it is said what is wrong.
    let listed = why(&[&signed.alice, &mallory]);
    assert!(listed.contains("mallory: this key is listed itself, and signed with a certificate"), "{listed}");
}
