//! X.509: certificates of authorities that `openssl` makes, and messages as it, gpgsm and gitsign make them. `openssl cms`
//! judges the same bytes; which name is expected it does not ask.

use std::path::{Path, PathBuf};
use std::process::Command;

use tk8s_core::Timestamp;
use tk8s_gitsync::{Refusal, Rule, Signers};

use crate::programs::run;
use crate::support::verify_object;
use crate::{Deviations, PAYLOAD, commit};

const DAY: i64 = 24 * 60 * 60;
const ALICE: &str = "email:alice@example.com";
const CODE: &str = "extendedKeyUsage=codeSigning";

/// Rows of the table in docs/security.md.
mod row {
    pub const HASH: &str = "A signature over SHA-1 or SHA-224";
    pub const CURVE: &str = "A key on another curve than P-256, P-384 and P-521";
    pub const ATTRIBUTES: &str = "A signature without signed attributes";
    pub const INSIDE: &str = "A message that holds the bytes as well";
    pub const TWO: &str = "More than one signer";
    pub const SHORT: &str = "An RSA key of less than 2,048 bits";
    pub const PURPOSE: &str = "A certificate that does not say that its key is for code or mail";
    pub const LIMITED: &str = "An authority that says for what it certifies, and that is not code or mail";
    pub const USAGE: &str = "A certificate whose key is not for signatures";
}

/// A directory with keys and certificates.
pub struct Office {
    home: tempfile::TempDir,
}

/// A certificate with its key.
pub struct Certified {
    pub certificate: PathBuf,
    pub key: PathBuf,
}

impl Office {
    pub fn new() -> Office {
        let home = tempfile::tempdir().unwrap();
        std::fs::write(home.path().join("config"), "[req]\ndistinguished_name = name\n[name]\n").unwrap();
        Office { home }
    }

    pub fn home(&self) -> &Path {
        self.home.path()
    }

    /// A certificate for a new key, by somebody or by itself.
    pub fn certify(&self, name: &str, key: &[&str], by: Option<&Certified>, days: u32, extensions: &[&str]) -> Certified {
        self.certify_over("sha256", name, key, by, days, extensions)
    }

    fn certify_over(
        &self,
        hash: &str,
        name: &str,
        key: &[&str],
        by: Option<&Certified>,
        days: u32,
        extensions: &[&str],
    ) -> Certified {
        let path = |ending| self.home.path().join(format!("{name}.{ending}"));
        let made = Certified { certificate: path("pem"), key: path("key") };
        let mut command = Command::new("openssl");
        command.args(["req", "-x509", "-nodes", &format!("-{hash}"), "-config"]).arg(self.home.path().join("config"));
        command.args(["-newkey"]).args(key).arg("-keyout").arg(&made.key).arg("-out").arg(&made.certificate);
        command.args(["-subj", &format!("/CN={name}"), "-days", &days.to_string()]);
        if let Some(by) = by {
            command.arg("-CA").arg(&by.certificate).arg("-CAkey").arg(&by.key);
        }
        for extension in extensions {
            command.args(["-addext", extension]);
        }
        succeed(&mut command, b"");
        made
    }

    pub fn authority(&self, name: &str, by: Option<&Certified>, days: u32) -> Certified {
        self.certify(name, P256, by, days, AUTHORITY)
    }

    /// Somebody's certificate for code.
    pub fn person(&self, name: &str, by: &Certified) -> Certified {
        self.certify(name, P256, Some(by), 100, &[&format!("subjectAltName={ALICE}"), CODE, "keyUsage=critical,digitalSignature"])
    }

    /// A signature, in the armour that Git knows.
    pub fn sign(&self, who: &Certified, more: &[&str]) -> String {
        let payload = self.home.path().join("payload");
        std::fs::write(&payload, PAYLOAD).unwrap();
        let mut command = Command::new("openssl");
        command.args(["cms", "-sign", "-binary", "-outform", "PEM", "-signer"]).arg(&who.certificate).arg("-inkey").arg(&who.key);
        let output = succeed(command.arg("-in").arg(&payload).args(more), b"");
        String::from_utf8(output).unwrap().replace("CMS-----", "SIGNED MESSAGE-----")
    }

    /// Whether openssl finds nothing wrong.
    fn accepts(&self, root: &Certified, signature: &str, at: i64) -> bool {
        let signed = self.home.path().join("signed");
        std::fs::write(&signed, signature.replace("SIGNED MESSAGE-----", "CMS-----")).unwrap();
        let mut command = Command::new("openssl");
        command.args(["cms", "-verify", "-binary", "-inform", "PEM", "-purpose", "any", "-attime", &at.to_string(), "-in"]);
        command.arg(&signed).arg("-CAfile").arg(&root.certificate).arg("-content").arg(self.home.path().join("payload"));
        run(&mut command, b"").status.success()
    }
}

const AUTHORITY: &[&str] = &["basicConstraints=critical,CA:TRUE", "keyUsage=critical,keyCertSign,cRLSign"];
pub const P256: &[&str] = &["ec", "-pkeyopt", "ec_paramgen_curve:P-256"];

pub fn succeed(command: &mut Command, input: &[u8]) -> Vec<u8> {
    let output = run(command, input);
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

pub fn indented(text: &str) -> String {
    text.trim().replace('\n', "\n            ")
}

/// A signers file with one person, who is expected to be called so.
fn signers(root: &Certified, identity: &str) -> Signers {
    signers_in("active", root, identity)
}

fn signers_in(state: &str, root: &Certified, identity: &str) -> Signers {
    let root = indented(&std::fs::read_to_string(&root.certificate).unwrap());
    let text = format!(
        "apiVersion: agent.tk8s.io/v1alpha1\nkind: Signers\nsigners:\n  - name: alice\n    state: {state}\n    roles: [release]\n    \
         keys:\n      - x509:\n          identity: {identity}\n          roots: |\n            {root}\n"
    );
    Signers::parse(text.as_bytes(), "signers").unwrap()
}

fn judge(signature: &str, signers: &Signers, at: i64) -> Result<(), Refusal> {
    verify_object(&commit(signature), signers, Timestamp::from_second(at).unwrap())
        .map(|verdict| assert_eq!(verdict.signer, "alice"))
}

#[test]
fn certificates_of_an_authority_are_judged_as_openssl_does_but_for_the_rows_of_the_table() {
    let (office, mut deviations) = (Office::new(), Deviations::of("X.509"));
    let now = Timestamp::now().as_second();
    let root = office.authority("root", None, 1000);
    let other_root = office.authority("other-root", None, 1000);
    let between = office.authority("between", Some(&root), 50);
    let name = format!("subjectAltName={ALICE}");
    let signs = "keyUsage=critical,digitalSignature";
    let alice = office.person("alice", &root);
    let below = office.person("below", &between);
    let with_between = ["-certfile", between.certificate.to_str().unwrap()];
    let certify = |file: &str, extensions: &[&str]| office.certify(file, P256, Some(&root), 100, extensions);
    let mut compare = |case: &str, who: &Certified, more: &[&str], days: i64, ours: Result<(), Rule>, known: &[&str]| {
        let signature = office.sign(who, more);
        let (at, signers) = (now + days * DAY, signers(&root, "alice@example.com"));
        let verdict = judge(&signature, &signers, at).map_err(|refusal| refusal.rule);
        deviations.compare(case, verdict, &[("openssl", office.accepts(&root, &signature, at))], known);
        assert_eq!(verdict, ours, "{case}");
    };
    compare("as usual", &alice, &[], 1, Ok(()), &[]);
    compare("an authority between", &below, &with_between, 1, Ok(()), &[]);
    compare("the authority between is missing", &below, &[], 1, Err(Rule::UnknownSigner), &[]);
    compare("the authority between expired", &below, &with_between, 60, Err(Rule::KeyNotValidNow), &[]);
    compare("the certificate expired", &alice, &[], 120, Err(Rule::KeyNotValidNow), &[]);
    compare("the certificate is not valid yet", &alice, &[], -1, Err(Rule::KeyNotValidNow), &[]);
    let long = office.certify("long", P256, Some(&root), 2000, &[&name, CODE, signs]);
    compare("the root expired", &long, &[], 1500, Err(Rule::UnknownSigner), &[]);
    compare("another authority", &office.person("stranger", &other_root), &[], 1, Err(Rule::UnknownSigner), &[]);
    let itself = office.certify("itself", P256, None, 100, &[&name, CODE, signs]);
    compare("its own authority", &itself, &[], 1, Err(Rule::UnknownSigner), &[]);
    let no_authority = office.certify("no-authority", P256, Some(&root), 100, &[CODE, signs]);
    let below_nobody = office.person("below-nobody", &no_authority);
    let file = no_authority.certificate.to_str().unwrap();
    compare("a certificate made with somebody's key", &below_nobody, &["-certfile", file], 1, Err(Rule::CertificateRefused), &[]);
    let wrong_use = ["basicConstraints=critical,CA:TRUE", "keyUsage=critical,digitalSignature"];
    let wrong = office.certify("wrong", P256, Some(&root), 100, &wrong_use);
    let below_wrong = office.person("below-wrong", &wrong);
    let file = wrong.certificate.to_str().unwrap();
    compare("an authority whose key is not for that", &below_wrong, &["-certfile", file], 1, Err(Rule::CertificateRefused), &[]);
    // An authority that may only make certificates for servers, and one that may also make some for code.
    for (case, purposes, ours) in
        [("servers", "serverAuth", Err(Rule::KeyUsage)), ("servers-and-code", "serverAuth,codeSigning", Ok(()))]
    {
        let purposes = format!("extendedKeyUsage={purposes}");
        let limited = office.certify(case, P256, Some(&root), 100, &[AUTHORITY[0], AUTHORITY[1], &purposes]);
        let below = office.person(&format!("below-{case}"), &limited);
        let file = limited.certificate.to_str().unwrap();
        compare(&format!("an authority for {case}"), &below, &["-certfile", file], 1, ours, &[row::LIMITED]);
    }
    for (case, extensions, ours, known) in [
        ("for mail", vec![&*name, "extendedKeyUsage=emailProtection", signs], Ok(()), &[][..]),
        ("for servers", vec![&name, "extendedKeyUsage=serverAuth", signs], Err(Rule::KeyUsage), &[row::PURPOSE]),
        ("for nothing in particular", vec![&name, signs], Err(Rule::KeyUsage), &[row::PURPOSE]),
        ("for keys only", vec![&name, CODE, "keyUsage=critical,keyAgreement"], Err(Rule::KeyUsage), &[row::USAGE]),
        ("no usage", vec![&name, CODE], Ok(()), &[]),
        ("something critical", vec![&name, CODE, signs, "1.2.3.4=critical,ASN1:NULL"], Err(Rule::CertificateRefused), &[]),
    ] {
        compare(case, &certify(&case.replace(' ', "-"), &extensions), &[], 1, ours, known);
    }
    for (kind, key, ours, known) in [
        ("rsa-1024", &["rsa:1024"][..], Err(Rule::WeakKey), &[row::SHORT][..]),
        ("rsa-2048", &["rsa:2048"], Ok(()), &[]),
        ("p-384", &["ec", "-pkeyopt", "ec_paramgen_curve:P-384"], Ok(()), &[]),
        ("p-521", &["ec", "-pkeyopt", "ec_paramgen_curve:P-521"], Ok(()), &[]),
        ("secp256k1", &["ec", "-pkeyopt", "ec_paramgen_curve:secp256k1"], Err(Rule::WeakKey), &[row::CURVE]),
        ("brainpool", &["ec", "-pkeyopt", "ec_paramgen_curve:brainpoolP256r1"], Err(Rule::WeakKey), &[row::CURVE]),
    ] {
        let who = office.certify(kind, key, Some(&root), 100, &[&name, CODE, signs]);
        for hash in ["sha1", "sha224", "sha256", "sha384", "sha512"] {
            let weak = matches!(hash, "sha1" | "sha224");
            let known = [known, if weak { &[row::HASH] } else { &[] }].concat();
            let ours = if weak { Err(Rule::WeakKey) } else { ours };
            compare(&format!("{kind} over {hash}"), &who, &["-md", hash], 1, ours, &known);
        }
        if kind == "rsa-2048" {
            // As long as the digest, as everybody but openssl has it who is not told otherwise.
            let pss = ["-md", "sha256", "-keyopt", "rsa_padding_mode:pss", "-keyopt", "rsa_pss_saltlen:-1"];
            compare("rsa with pss", &who, &pss, 1, Ok(()), &[]);
        }
    }
    compare("no attributes", &alice, &["-noattr"], 1, Err(Rule::BadSignature), &[row::ATTRIBUTES]);
    compare("the bytes inside", &alice, &["-nodetach"], 1, Err(Rule::BadSignature), &[row::INSIDE]);
    compare("no certificate", &alice, &["-nocerts"], 1, Err(Rule::BadSignature), &[]);
    compare("a key id", &alice, &["-keyid"], 1, Ok(()), &[]);
    let (second, key) = (below.certificate.to_str().unwrap(), below.key.to_str().unwrap());
    let two = ["-signer", second, "-inkey", key, with_between[0], with_between[1]];
    compare("two signers", &alice, &two, 1, Err(Rule::SecondSignature), &[row::TWO]);
    deviations.end();
}

#[test]
fn the_name_in_the_certificate_is_the_one_expected() {
    let office = Office::new();
    let (root, now) = (office.authority("root", None, 1000), Timestamp::now().as_second() + DAY);
    let usual = ["keyUsage=critical,digitalSignature", CODE];
    for (case, name, identity, ours) in [
        ("mail", "email:alice@example.com", "alice@example.com", Ok(())),
        ("uri", "URI:https://example.com/alice", "https://example.com/alice", Ok(())),
        ("one-of-two", "email:a@example.com,email:alice@example.com", "alice@example.com", Ok(())),
        ("another", "email:bob@example.com", "alice@example.com", Err(Rule::UnknownSigner)),
        ("longer", "email:alice@example.com.org", "alice@example.com", Err(Rule::UnknownSigner)),
        ("shorter", "email:alice@example.co", "alice@example.com", Err(Rule::UnknownSigner)),
        ("pattern", "email:alice@example.com", "*@example.com", Err(Rule::UnknownSigner)),
        ("host", "DNS:alice.example.com", "alice.example.com", Err(Rule::UnknownSigner)),
    ] {
        let who = office.certify(case, P256, Some(&root), 100, &[&format!("subjectAltName={name}"), usual[0], usual[1]]);
        let verdict = judge(&office.sign(&who, &[]), &signers(&root, &format!("\"{identity}\"")), now);
        assert_eq!(verdict.map_err(|refusal| refusal.rule), ours, "{case}");
    }
    // Authorities with keys of every kind.
    for (kind, key) in
        [("ed25519", &["ed25519"][..]), ("rsa", &["rsa:2048"]), ("p-384", &["ec", "-pkeyopt", "ec_paramgen_curve:P-384"])]
    {
        let root = office.certify(&format!("root-{kind}"), key, None, 1000, AUTHORITY);
        let who = office.person(&format!("below-{kind}"), &root);
        judge(&office.sign(&who, &[]), &signers(&root, "alice@example.com"), now).unwrap();
    }
    // Anybody can write a name into a certificate: nothing is said about its owner then.
    let stranger = office.person("stranger", &office.authority("other-root", None, 1000));
    for state in ["active", "compromised"] {
        let signers = signers_in(state, &root, "alice@example.com");
        assert_eq!(judge(&office.sign(&stranger, &[]), &signers, now).unwrap_err().rule, Rule::UnknownSigner, "{state}");
    }
    // What stands in the subject is nobody's name here.
    let who = office.certify("alice@example.com", P256, Some(&root), 100, &usual);
    let refusal = judge(&office.sign(&who, &[]), &signers(&root, "alice@example.com"), now).unwrap_err();
    assert_eq!(refusal.rule, Rule::UnknownSigner);
}

#[test]
fn other_bytes_other_keys_and_what_follows_are_refused() {
    let office = Office::new();
    let (root, now) = (office.authority("root", None, 1000), Timestamp::now().as_second() + DAY);
    let (alice, bob) = (office.person("alice", &root), office.person("bob", &root));
    let signers = signers(&root, "alice@example.com");
    let rule = |signature: &str| judge(signature, &signers, now).unwrap_err().rule;
    let good = office.sign(&alice, &[]);
    judge(&good, &signers, now).unwrap();
    let at = Timestamp::from_second(now).unwrap();
    let changed = String::from_utf8(commit(&good)).unwrap().replace("first", "other");
    assert_eq!(verify_object(changed.as_bytes(), &signers, at).unwrap_err().rule, Rule::BadSignature);
    // A message with certificates and nobody's signature, and one whose signer's certificate is elsewhere.
    let mut command = Command::new("openssl");
    let nobodys = succeed(command.args(["crl2pkcs7", "-nocrl", "-certfile"]).arg(&alice.certificate), b"");
    let nobodys = String::from_utf8(nobodys).unwrap().replace("PKCS7-----", "SIGNED MESSAGE-----");
    for (signature, why) in [(nobodys, "by nobody"), (office.sign(&alice, &["-nocerts"]), "is not in its signature")] {
        let refusal = judge(&signature, &signers, now).unwrap_err();
        assert!(refusal.rule == Rule::BadSignature && refusal.message.contains(why), "{}", refusal.message);
    }
    // A certificate over a hash that anybody can find a second text for.
    let weak = office.certify_over("sha1", "weak", P256, Some(&root), 100, &[&format!("subjectAltName={ALICE}"), CODE]);
    assert_eq!(rule(&office.sign(&weak, &[])), Rule::WeakKey);
    // Signed attributes of one, the key of another.
    let mixed = Certified { certificate: alice.certificate.clone(), key: bob.key };
    let mut command = Command::new("openssl");
    command.args(["cms", "-sign", "-binary", "-outform", "PEM", "-in"]).arg(office.home().join("payload"));
    let output = run(command.arg("-signer").arg(&mixed.certificate).arg("-inkey").arg(&mixed.key), b"");
    assert!(!output.status.success(), "openssl does not let one sign for another");
    assert_eq!(rule(&format!("{good}{good}")), Rule::TrailingBytes);
    assert_eq!(rule(&format!("{good}unsigned")), Rule::TrailingBytes);
    assert_eq!(rule("-----BEGIN SIGNED MESSAGE-----\n-----END SIGNED MESSAGE-----"), Rule::BadSignature);
    assert_eq!(rule(&good.replace("-----END SIGNED MESSAGE-----", "")), Rule::BadSignature);
    // Each byte counts, but for the few of the message's frame that say nothing.
    let lines: Vec<&str> = good.lines().collect();
    let mut taken = 0;
    for (at, line) in lines.iter().enumerate().skip(1).take(lines.len() - 2) {
        let flipped = if line.starts_with('A') { line.replacen('A', "B", 1) } else { format!("A{}", &line[1..]) };
        let damaged = [&lines[..at], &[flipped.as_str()], &lines[at + 1..]].concat().join("\n");
        taken += usize::from(judge(&damaged, &signers, now).is_ok());
    }
    assert_eq!(taken, 0, "damaged signatures");
}

#[test]
fn what_git_makes_with_gpgsm_is_read() {
    let office = Office::new();
    let (root, now) = (office.authority("root", None, 1000), Timestamp::now().as_second() + DAY);
    let alice = office.certify(
        "alice",
        &["rsa:2048"],
        Some(&root),
        100,
        &[
            &format!("subjectAltName={ALICE}"),
            "extendedKeyUsage=emailProtection",
            "keyUsage=critical,digitalSignature,nonRepudiation",
        ],
    );
    let bundle = office.home().join("bundle");
    let mut command = Command::new("openssl");
    command
        .args(["pkcs12", "-export", "-legacy", "-passout", "pass:", "-in"])
        .arg(&alice.certificate)
        .arg("-inkey")
        .arg(&alice.key);
    succeed(command.arg("-certfile").arg(&root.certificate).arg("-out").arg(&bundle), b"");
    let gpg = crate::programs::Gpg::new();
    let gpgsm = |arguments: &[&str], input: &[u8]| {
        let mut command = Command::new("gpgsm");
        command.arg("--homedir").arg(gpg.home()).args(["--batch", "--no-tty", "--yes", "--pinentry-mode", "loopback"]);
        succeed(command.args(["--passphrase-fd", "0", "--disable-crl-checks", "--disable-dirmngr"]).args(arguments), input)
    };
    std::fs::write(gpg.home().join("trustlist.txt"), format!("{} S relax\n", fingerprint(&root))).unwrap();
    gpgsm(&["--import", bundle.to_str().unwrap()], b"\n");
    let payload = office.home().join("payload");
    std::fs::write(&payload, PAYLOAD).unwrap();
    let signature = gpgsm(&["--armor", "--detach-sign", "-u", "alice@example.com", payload.to_str().unwrap()], b"\n");
    judge(std::str::from_utf8(&signature).unwrap(), &signers(&root, "alice@example.com"), now).unwrap();
}

fn fingerprint(certificate: &Certified) -> String {
    let mut command = Command::new("openssl");
    let output = succeed(command.args(["x509", "-noout", "-fingerprint", "-sha1", "-in"]).arg(&certificate.certificate), b"");
    String::from_utf8(output).unwrap().split('=').nth(1).unwrap().trim().into()
}
