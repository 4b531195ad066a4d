//! Where we say no and `ssh-keygen` yes: every such case belongs to a row of the table in `docs/security.md`, and every row has
//! a test here, in which the real `ssh-keygen` says yes, so that a row that is no longer needed is noticed.

use std::path::Path;

use super::workshop::{MESSAGE, Workshop, ssh_keygen, written};
use super::{ours, theirs};
use crate::verify::signature::Broken;
use crate::verify::ssh::oracle::generator::Case;

/// The rows, and the words of our refusals that belong to each.
const ROWS: [(&str, &[&str]); 12] = [
    ("A certificate in place of a key", &["-cert-v01@openssh.com"]),
    ("An option that is empty or stands twice", &["an option is empty", "occurs twice"]),
    ("Words glued to a quotation", &["ends within a word"]),
    ("Days and hours that do not exist", &["`20240230Z` is not a time"]),
    ("Weak keys", &["of the kind ssh-dss", "an RSA key of 1024 bits", "RSA and SHA-1", "not signed by its authority"]),
    ("Security keys that nobody touched", &["nobody touched"]),
    ("Critical options of certificates", &["critical option"]),
    ("The reserved field", &["reserved field"]),
    ("Blanks in the armour", &["is not base64"]),
    ("Bytes after the signature", &["bytes follow"]),
    ("An empty revocation file", &["it is empty"]),
    ("A list of patterns that excludes its own names", &["names nobody"]),
];

/// The row that says why we refuse what they accept.
pub(super) fn row(refused: &[Broken]) -> Option<&'static str> {
    ROWS.into_iter()
        .find(|(_, words)| refused.iter().any(|(_, why)| words.iter().any(|word| why.contains(word))))
        .map(|(row, _)| row)
}

/// A case that is good in every respect, to be made worse in one.
fn good(workshop: &Workshop) -> Case {
    Case {
        key: "ed25519".into(),
        certificate: None,
        allowed_signers: format!("alice@example.com {}\n", workshop.public["ed25519"]),
        identity: "alice@example.com",
        signature: workshop.signature("ed25519", None, "sha512", "git").into_bytes(),
        revoked: None,
        time: "20250101000000",
        changed: false,
    }
}

fn with_certificate(workshop: &Workshop, kind: &'static str, authority: &str) -> Case {
    Case {
        certificate: Some(kind),
        allowed_signers: format!("alice@example.com cert-authority {}\n", workshop.public[authority]),
        signature: workshop.signature("ed25519", Some(kind), "sha512", "git").into_bytes(),
        ..good(workshop)
    }
}

fn by(workshop: &Workshop, key: &str, how: &'static str) -> Case {
    Case {
        key: key.into(),
        allowed_signers: format!("alice@example.com {}\n", workshop.public[key]),
        signature: workshop.signature(key, None, how, "git").into_bytes(),
        ..good(workshop)
    }
}

fn before_the_key(workshop: &Workshop, words: &str) -> Case {
    Case { allowed_signers: format!("{words} {}\n", workshop.public["ed25519"]), ..good(workshop) }
}

fn changed(workshop: &Workshop, change: impl Fn(&str) -> String) -> Case {
    let signature = change(&workshop.signature("ed25519", None, "sha512", "git")).into_bytes();
    Case { signature, ..good(workshop) }
}

/// The real program says yes, we say no, and by this row.
fn stricter(workshop: &Workshop, row: &str, case: &Case) {
    let directory = tempfile::tempdir().unwrap();
    let (said, words) = theirs(case, workshop, directory.path());
    assert!(said, "{row}: ssh-keygen refuses it as well: {words}\n{case:?}");
    let refused = ours(case, workshop, Some(case.identity)).unwrap_err();
    assert_eq!(self::row(&refused), Some(row), "{refused:?}");
    assert!(ours(case, workshop, None).is_err());
}

#[test]
fn each_way_in_which_we_are_stricter_than_ssh_keygen_is_one_of_the_table() {
    let workshop = &Workshop::open();
    let directory = tempfile::tempdir().unwrap();
    for case in [good(workshop), with_certificate(workshop, "plain", "ca-ed25519"), by(workshop, "sk-p256", "sha256")] {
        assert!(theirs(&case, workshop, directory.path()).0 && ours(&case, workshop, Some(case.identity)).is_ok(), "{case:?}");
        assert!(ours(&case, workshop, None).is_ok(), "{case:?}");
    }
    let certificate = workshop.certificate("ed25519", "host");
    let in_place = Case {
        allowed_signers: format!("alice@example.com {certificate}\n"),
        certificate: Some("host"),
        signature: workshop.signature("ed25519", Some("host"), "sha512", "git").into_bytes(),
        ..good(workshop)
    };
    stricter(workshop, "A certificate in place of a key", &in_place);
    for words in ["alice@example.com ,namespaces=\"git\"", "alice@example.com namespaces=\"git\",,valid-after=\"20240101\""] {
        stricter(workshop, "An option that is empty or stands twice", &before_the_key(workshop, words));
    }
    let mut twice = with_certificate(workshop, "plain", "ca-ed25519");
    twice.allowed_signers = twice.allowed_signers.replace("cert-authority", "cert-authority,cert-authority");
    stricter(workshop, "An option that is empty or stands twice", &twice);
    stricter(workshop, "Words glued to a quotation", &before_the_key(workshop, "\"alice@example.com\"namespaces=\"git\""));
    let day = before_the_key(workshop, "alice@example.com valid-after=\"20240230Z\"");
    stricter(workshop, "Days and hours that do not exist", &day);
    for (key, how) in [("dsa", "sha512"), ("rsa-short", "sha512")] {
        stricter(workshop, "Weak keys", &by(workshop, key, how));
    }
    for (kind, authority) in [("by-rsa-sha1", "ca-rsa"), ("by-rsa-short", "ca-rsa-short")] {
        stricter(workshop, "Weak keys", &with_certificate(workshop, kind, authority));
    }
    for key in ["sk-ed25519", "sk-p256"] {
        stricter(workshop, "Security keys that nobody touched", &by(workshop, key, "untouched"));
    }
    stricter(workshop, "Critical options of certificates", &with_certificate(workshop, "critical", "ca-ed25519"));
    let field = changed(workshop, |armoured| String::from_utf8(super::generator::reserved(armoured, b"x")).unwrap());
    stricter(workshop, "The reserved field", &field);
    for blank in [" \n", "\r\n", "\t\n"] {
        let blank = changed(workshop, |armoured| armoured.replacen("\n-----END", &format!("{blank}-----END"), 1));
        stricter(workshop, "Blanks in the armour", &blank);
    }
    let more = changed(workshop, |armoured| format!("{armoured}and more\n"));
    stricter(workshop, "Bytes after the signature", &more);
    let empty = workshop.krls.iter().position(|(name, _)| *name == "nothing");
    stricter(workshop, "An empty revocation file", &Case { revoked: empty, ..good(workshop) });
    let nobody = before_the_key(workshop, "a*@example.com,!a?@example.com");
    // Asked about a name we agree: only without one it is stricter, and there Git, which tries the patterns, is as well.
    assert!(theirs(&nobody, workshop, directory.path()).0 && ours(&nobody, workshop, Some(nobody.identity)).is_ok());
    assert!(ours(&nobody, workshop, None).is_err());
}

#[test]
fn times_without_a_zone_are_utc_where_ssh_keygen_takes_its_own() {
    let workshop = &Workshop::open();
    let directory = tempfile::tempdir().unwrap();
    // Midnight in New York is five hours later.
    let case = Case { time: "20250101030000", ..before_the_key(workshop, "alice@example.com valid-before=\"20250101\"") };
    let allowed = written(directory.path(), "allowed", case.allowed_signers.as_bytes());
    let signature = written(directory.path(), "signature", &case.signature);
    let message = written(directory.path(), "message", MESSAGE);
    let verify = |zone: &str| {
        let mut command = ssh_keygen();
        command.env("TZ", zone).args(["-Y", "verify", "-n", "git", "-I", case.identity, "-Overify-time=20250101030000Z"]);
        command.arg("-f").arg(&allowed).arg("-s").arg(&signature).stdin(std::fs::File::open(&message).unwrap());
        command.output().unwrap().status.success()
    };
    assert!(verify("EST5") && !verify("UTC"));
    assert!(ours(&case, workshop, Some(case.identity)).is_err());
}

#[test]
fn every_row_of_the_table_is_written_down_and_every_test_that_the_page_names_is_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = std::fs::read_to_string(root.join("../docs/security.md")).unwrap();
    for (row, _) in ROWS {
        assert!(page.contains(&format!("| {row} |")), "docs/security.md has no row `{row}`");
    }
    let mut sources = String::new();
    let places = [
        "src/verify",
        "tests",
        "../config/src",
        "../tests/tests",
        "../agent/src/api",
        "../agent/src/endpoint",
        "../history/src/tests",
    ];
    let mut directories = places.map(|place| root.join(place)).to_vec();
    while let Some(directory) = directories.pop() {
        for entry in std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()) {
            if entry.is_dir() {
                directories.push(entry);
            } else if entry.extension().is_some_and(|extension| extension == "rs") {
                sources.push_str(&std::fs::read_to_string(entry).unwrap());
            }
        }
    }
    // Sentences of several words between back quotes.
    let named = page.split('`').skip(1).step_by(2).filter(|name| name.matches('_').count() > 2);
    let missing: Vec<_> = named.filter(|name| !sources.contains(&format!("fn {name}("))).collect();
    assert!(missing.is_empty(), "docs/security.md names tests that are not there: {missing:?}");
}
