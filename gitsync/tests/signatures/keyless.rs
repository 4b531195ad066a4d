//! Signatures without keys that last: a real one, of Sigstore's public instance; and those of a small instance made here, in
//! which everything can be wrong.

use std::process::Command;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use cms::content_info::ContentInfo;
use cms::signed_data::{SignedData, SignerInfos};
use der::asn1::{Any, ObjectIdentifier, SetOfVec};
use der::{Decode as _, Encode as _, Tag};
use sha2::{Digest as _, Sha256};
use tk8s_core::Timestamp;
use tk8s_gitsync::{ObjectVerdict, Refusal, Rule, Signers};
use x509_cert::attr::Attribute;

use crate::commit;
use crate::support::verify_object;
use crate::x509::{Certified, Office, P256, indented, succeed};

const COMMIT: &str = include_str!("../vectors/gitsign/commit.txt");
const PUBLIC_GOOD: &str = include_str!("../vectors/gitsign/trusted_root.json");
const BILLY: &str = "billy@chainguard.dev";
const GOOGLE: &str = "https://accounts.google.com";
/// When the log saw the commit.
const SEEN: &str = "2023-04-14T18:27:24Z";

fn signers(identity: &str, issuer: &str, root: &str) -> Signers {
    let text = format!(
        "apiVersion: agent.tk8s.io/v1alpha1\nkind: Signers\nsigners:\n  - name: billy\n    roles: [release]\n    keys:\n      \
         - keyless:\n          identity: {identity}\n          issuer: {issuer}\n          trustedRoot: |\n            {}\n",
        indented(root)
    );
    Signers::parse(text.as_bytes(), "signers").unwrap()
}

fn real(identity: &str, issuer: &str, root: &str, now: &str) -> Result<ObjectVerdict, Refusal> {
    verify_object(COMMIT.as_bytes(), &signers(identity, issuer, root), now.parse().unwrap())
}

#[test]
fn a_commit_of_gitsign_is_proven_without_the_network_years_after_its_certificate_ended() {
    let verdict = real(BILLY, GOOGLE, PUBLIC_GOOD, "2026-11-26T00:00:00Z").unwrap();
    assert_eq!(verdict.signer, "billy");
    assert_eq!(verdict.fingerprint.len(), 64);
    let rule = |identity, issuer, root: &str, now| real(identity, issuer, root, now).unwrap_err().rule;
    let later = "2026-11-26T00:00:00Z";
    assert_eq!(rule("billy@example.com", GOOGLE, PUBLIC_GOOD, later), Rule::UnknownSigner);
    assert_eq!(rule(BILLY, "https://github.com/login/oauth", PUBLIC_GOOD, later), Rule::UnknownSigner, "logged in elsewhere");
    assert_eq!(rule(BILLY, GOOGLE, PUBLIC_GOOD, "2023-04-14T17:00:00Z"), Rule::NotLogged, "before it was seen");
    let another_log = PUBLIC_GOOD.replacen(
        "2G2Y+2tabdTV5BcGiBIx0a9fAFwrkBbmLSGtks4L3qX6yYY0zufBnhC8Ur/iy55GhWP/9A/bY2LhC30M9+RYtw==",
        "bfwR+RJudXscgRBRpKX1XFDy3PyudDxz/SfnRi1fT8ekpfBd2O1uoz7jr3Z8nKzxA69EUQ+eFCFI3zeubPWU7w==",
        1,
    );
    assert_eq!(rule(BILLY, GOOGLE, &another_log, later), Rule::NotLogged);
    let no_longer = PUBLIC_GOOD.replace("2031-10-05T13:56:58.000Z", "2023-01-01T00:00:00Z");
    assert_eq!(rule(BILLY, GOOGLE, &no_longer, later), Rule::UnknownSigner, "the authority was not believed any more");
    let certificate_log = "iPSlFi0CmFTfEjCUqF9HuCEcYXNKAaYalIJmBZ8yyezPjTqhxrKBpMnaocVtLJBI1eM3uXnQzQGAJdJ4gs9Fyw==";
    let another = "bfwR+RJudXscgRBRpKX1XFDy3PyudDxz/SfnRi1fT8ekpfBd2O1uoz7jr3Z8nKzxA69EUQ+eFCFI3zeubPWU7w==";
    assert_eq!(rule(BILLY, GOOGLE, &PUBLIC_GOOD.replace(certificate_log, another), later), Rule::NotLogged, "in secret");
    let none = PUBLIC_GOOD.replace("\"ctlogs\"", "\"others\"");
    real(BILLY, GOOGLE, &none, later).unwrap();
    let changed = COMMIT.replace("asdf", "fdsa");
    let refusal = verify_object(changed.as_bytes(), &signers(BILLY, GOOGLE, PUBLIC_GOOD), later.parse().unwrap()).unwrap_err();
    assert_eq!(refusal.rule, Rule::BadSignature);
    assert!(SEEN < later);
}

#[test]
fn a_trusted_root_that_proves_nothing_is_an_error() {
    for (root, word) in [
        ("{}", "missing field"),
        ("{\"tlogs\": [], \"certificateAuthorities\": []}", "no authority or no log"),
        ("nothing", "expected"),
    ] {
        let text = format!(
            "apiVersion: agent.tk8s.io/v1alpha1\nkind: Signers\nsigners:\n  - name: billy\n    roles: [release]\n    keys:\n      \
             - keyless: {{identity: a, issuer: b, trustedRoot: '{root}'}}\n"
        );
        let error = Signers::parse(text.as_bytes(), "signers").unwrap_err().to_string();
        assert!(error.contains(word) && error.contains("trustedRoot"), "{error}");
    }
}

/// An instance of one's own: an authority, and a log with its key.
struct Instance {
    office: Office,
    root: Certified,
    between: Certified,
    log: Certified,
    now: i64,
}

/// What a log says of a signature, and what it could say wrongly.
struct Said {
    time: i64,
    index: i64,
    kind: &'static str,
    version: &'static str,
    /// Which signature it is about, if not this one.
    other: bool,
    place: bool,
    root_is_wrong: bool,
    checkpoint_is_wrong: bool,
    /// Which tree the log signed, if not this one: of another size, or with another root.
    other_size: bool,
    other_root: bool,
    promise: bool,
    /// Whether the entry holds what it is about as well.
    body: bool,
    /// The attribute that it stands in.
    attribute: &'static str,
}

impl Instance {
    fn new() -> Instance {
        let office = Office::new();
        let root = office.authority("root", None, 1000);
        let between = office.authority("between", Some(&root), 500);
        let log = office.certify("log", P256, None, 1, &[]);
        Instance { office, root, between, log, now: Timestamp::now().as_second() }
    }

    fn said(&self) -> Said {
        Said {
            time: self.now + 60,
            index: 7,
            kind: "hashedrekord",
            version: "0.0.1",
            other: false,
            place: true,
            root_is_wrong: false,
            checkpoint_is_wrong: false,
            other_size: false,
            other_root: false,
            promise: true,
            body: false,
            attribute: "1.3.6.1.4.1.57264.3.1",
        }
    }

    fn certificate(&self, name: &str, by: &Certified, days: u32, issuer: &str, purpose: &str) -> Certified {
        let name_in = "subjectAltName=critical,email:alice@example.com";
        let issuer = format!("1.3.6.1.4.1.57264.1.8=ASN1:UTF8String:{issuer}");
        self.office.certify(name, P256, Some(by), days, &[name_in, &issuer, purpose, "keyUsage=critical,digitalSignature"])
    }

    fn log_key(&self) -> Vec<u8> {
        succeed(Command::new("openssl").args(["pkey", "-pubout", "-outform", "DER", "-in"]).arg(&self.log.key), b"")
    }

    fn by_log(&self, bytes: &[u8]) -> Vec<u8> {
        succeed(Command::new("openssl").args(["dgst", "-sha256", "-sign"]).arg(&self.log.key), bytes)
    }

    fn der(certificate: &Certified) -> Vec<u8> {
        let mut command = Command::new("openssl");
        succeed(command.args(["x509", "-outform", "DER", "-in"]).arg(&certificate.certificate), b"")
    }

    fn trusted_root(&self) -> String {
        let raw = |bytes: Vec<u8>| STANDARD.encode(bytes);
        format!(
            r#"{{"mediaType": "application/vnd.dev.sigstore.trustedroot+json;version=0.1",
            "tlogs": [{{"publicKey": {{"rawBytes": "{}", "validFor": {{"start": "2020-01-01T00:00:00Z"}}}}}}],
            "certificateAuthorities": [{{"certChain": {{"certificates": [{{"rawBytes": "{}"}}, {{"rawBytes": "{}"}}]}},
            "validFor": {{"start": "2020-01-01T00:00:00Z"}}}}]}}"#,
            raw(self.log_key()),
            raw(Instance::der(&self.between)),
            raw(Instance::der(&self.root))
        )
    }

    /// A signature with what the log said of it.
    fn sign(&self, who: &Certified, said: Option<&Said>) -> String {
        let armoured = self.office.sign(who, &[]);
        let Some(said) = said else { return armoured };
        let lines: String = armoured.lines().filter(|line| !line.starts_with("-----")).collect();
        let outer = ContentInfo::from_der(&STANDARD.decode(lines).unwrap()).unwrap();
        let mut data: SignedData = outer.content.decode_as().unwrap();
        let mut signer = data.signer_infos.0.as_slice()[0].clone();
        let signed = signer.signed_attrs.as_ref().unwrap().to_der().unwrap();
        let signature = if said.other { b"another".to_vec() } else { signer.signature.as_bytes().to_vec() };
        let entry = self.entry(said, &Instance::der(who), &signed, &signature);
        let mut values = SetOfVec::new();
        values.insert(Any::new(Tag::OctetString, entry).unwrap()).unwrap();
        let mut attributes = SetOfVec::new();
        attributes.insert(Attribute { oid: ObjectIdentifier::new_unwrap(said.attribute), values }).unwrap();
        signer.unsigned_attrs = Some(attributes);
        data.signer_infos = SignerInfos::try_from(vec![signer]).unwrap();
        let content = Any::encode_from(&data).unwrap();
        let bytes = ContentInfo { content_type: outer.content_type, content }.to_der().unwrap();
        let encoded = STANDARD.encode(bytes);
        let lines: Vec<_> = encoded.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap()).collect();
        format!("-----BEGIN SIGNED MESSAGE-----\n{}\n-----END SIGNED MESSAGE-----\n", lines.join("\n"))
    }

    /// As Rekor makes it and gitsign keeps it.
    fn entry(&self, said: &Said, certificate: &[u8], signed: &[u8], signature: &[u8]) -> Vec<u8> {
        let lines = STANDARD.encode(certificate);
        let lines: Vec<_> = lines.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap()).collect();
        let pem = format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", lines.join("\n"));
        let body = serde_json::json!({"apiVersion": "0.0.1", "kind": "hashedrekord", "spec": {
            "data": {"hash": {"algorithm": "sha256", "value": hex::encode(Sha256::digest(signed))}},
            "signature": {"content": STANDARD.encode(signature), "publicKey": {"content": STANDARD.encode(pem)}},
        }})
        .to_string();
        let log = Sha256::digest(self.log_key()).to_vec();
        let promised = serde_json::json!({"body": STANDARD.encode(&body), "integratedTime": said.time,
            "logID": hex::encode(&log), "logIndex": said.index})
        .to_string();
        let promise = if said.promise { self.by_log(promised.as_bytes()) } else { Vec::new() };
        let mut entry = [number(1, said.index), bytes(2, &bytes(1, &log))].concat();
        entry.extend(bytes(3, &[bytes(1, said.kind.as_bytes()), bytes(2, said.version.as_bytes())].concat()));
        entry.extend([number(4, said.time), bytes(5, &bytes(1, &promise))].concat());
        if said.place {
            // The third of three leaves: its parent is the root, the other child of which is over the first two.
            let hash = |prefix: u8, parts: &[&[u8]]| Sha256::digest([&[prefix][..], &parts.concat()].concat()).to_vec();
            let first = hash(1, &[&hash(0, &[b"one"]), &hash(0, &[b"two"])]);
            let mut root = hash(1, &[&first, &hash(0, &[body.as_bytes()])]);
            root[0] ^= u8::from(said.root_is_wrong);
            let (size, other) = (if said.other_size { 4 } else { 3 }, hash(0, &[b"another"]));
            let note =
                format!("log.example.com - 1\n{size}\n{}\n", STANDARD.encode(if said.other_root { &other } else { &root }));
            let over = if said.checkpoint_is_wrong { "something else" } else { &note };
            let signature = STANDARD.encode([&log[..4], &self.by_log(over.as_bytes())].concat());
            let checkpoint = format!("{note}\n\u{2014} log.example.com {signature}\n");
            let place =
                [number(1, 2), bytes(2, &root), number(3, 3), bytes(4, &first), bytes(5, &bytes(1, checkpoint.as_bytes()))];
            entry.extend(bytes(6, &place.concat()));
        }
        if said.body {
            entry.extend(bytes(7, body.as_bytes()));
        }
        entry
    }
}

fn varint(mut value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
    bytes
}

fn number(field: u64, value: i64) -> Vec<u8> {
    [varint(field << 3), varint(u64::try_from(value).unwrap())].concat()
}

fn bytes(field: u64, value: &[u8]) -> Vec<u8> {
    [varint(field << 3 | 2), varint(value.len() as u64), value.to_vec()].concat()
}

/// A41, wrong entry; A45, time.
#[test]
fn a_keyless_signature_needs_the_authority_the_log_and_the_minutes_of_its_certificate() {
    let instance = Instance::new();
    let issuer = "https://login.example.com";
    let code = "extendedKeyUsage=codeSigning";
    let signers = signers("alice@example.com", issuer, &instance.trusted_root());
    let judge = |signature: &str, days: i64| {
        let now = Timestamp::from_second(instance.now + 3600 + days * 24 * 3600).unwrap();
        verify_object(&commit(signature), &signers, now).map(|_| ()).map_err(|refusal| refusal.rule)
    };
    let alice = instance.certificate("alice", &instance.between, 1, issuer, code);
    let with = |change: fn(&mut Said)| {
        let mut said = instance.said();
        change(&mut said);
        instance.sign(&alice, Some(&said))
    };
    assert_eq!(judge(&with(|_| {}), 0), Ok(()));
    assert_eq!(judge(&with(|_| {}), 100), Ok(()), "long after the certificate ended");
    assert_eq!(judge(&with(|said| said.place = false), 0), Ok(()), "a promise suffices");
    assert_eq!(judge(&instance.sign(&alice, None), 0), Err(Rule::NotLogged), "nobody saw it");
    assert_eq!(judge(&with(|said| said.promise = false), 0), Err(Rule::NotLogged), "nobody signed the time");
    assert_eq!(judge(&with(|said| said.other = true), 0), Err(Rule::NotLogged), "the entry of another signature");
    assert_eq!(judge(&with(|said| said.root_is_wrong = true), 0), Err(Rule::NotLogged));
    assert_eq!(judge(&with(|said| said.checkpoint_is_wrong = true), 0), Err(Rule::NotLogged));
    assert_eq!(judge(&with(|said| said.other_size = true), 0), Err(Rule::NotLogged), "a tree of another size");
    assert_eq!(judge(&with(|said| said.other_root = true), 0), Err(Rule::NotLogged), "another tree");
    assert_eq!(judge(&with(|said| said.body = true), 0), Ok(()), "what it is about is computed anyway");
    assert_eq!(judge(&with(|said| said.attribute = "1.2.3.4"), 0), Err(Rule::NotLogged), "something else stands there");
    assert_eq!(judge(&with(|said| said.time += 3600 + 20 * 60), 0), Ok(()), "clocks differ by some minutes");
    assert_eq!(judge(&with(|said| said.time += 3600 - 60 + 30 * 60), 0), Ok(()), "half an hour, to the second");
    assert_eq!(judge(&with(|said| said.time += 3600 - 60 + 30 * 60 + 1), 0), Err(Rule::NotLogged), "and no more");
    let ended = instance.trusted_root().replacen(r#""validFor": {"#, r#""validFor": {"end": "2021-01-01T00:00:00Z", "#, 1);
    let ended = self::signers("alice@example.com", issuer, &ended);
    let now = Timestamp::from_second(instance.now + 3600).unwrap();
    let refusal = verify_object(&commit(&with(|_| {})), &ended, now).unwrap_err();
    assert!(refusal.rule == Rule::NotLogged && refusal.message.contains("is not believed about"), "{}", refusal.message);
    assert_eq!(judge(&with(|said| said.version = "0.0.2"), 0), Err(Rule::NotLogged));
    assert_eq!(judge(&with(|said| said.time -= 24 * 3600), 0), Err(Rule::KeyNotValidNow), "before the certificate began");
    assert_eq!(judge(&with(|said| said.time += 36 * 3600), 3), Err(Rule::KeyNotValidNow), "after the certificate ended");
    assert_eq!(judge(&with(|said| said.time += 12 * 3600), 0), Err(Rule::NotLogged), "in the future");
    // Another's log entry, another issuer, another authority, another purpose.
    for (name, by, issuer, purpose, ours) in [
        ("elsewhere", &instance.between, "https://login.example.org", code, Rule::UnknownSigner),
        ("below-the-log", &instance.log, issuer, code, Rule::UnknownSigner),
        ("for-mail", &instance.between, issuer, "extendedKeyUsage=emailProtection", Rule::KeyUsage),
    ] {
        let who = instance.certificate(name, by, 1, issuer, purpose);
        assert_eq!(judge(&instance.sign(&who, Some(&instance.said())), 0), Err(ours), "{name}");
    }
    // Fulcio says twice who logged the owner in: in a way of before, and in today's.
    for (name, before, ours) in [("alike", issuer, Ok(())), ("two-issuers", GOOGLE, Err(Rule::UnknownSigner))] {
        let before = format!("1.3.6.1.4.1.57264.1.1=DER:{}", hex::encode(before));
        let today = format!("1.3.6.1.4.1.57264.1.8=ASN1:UTF8String:{issuer}");
        let name_in = "subjectAltName=critical,email:alice@example.com";
        let extensions = [name_in, &before, &today, code, "keyUsage=critical,digitalSignature"];
        let who = instance.office.certify(name, P256, Some(&instance.between), 1, &extensions);
        assert_eq!(judge(&instance.sign(&who, Some(&instance.said())), 0), ours, "{name}");
    }
    let other = Instance::new();
    let stranger = other.certificate("alice", &other.between, 1, issuer, code);
    assert_eq!(judge(&other.sign(&stranger, Some(&other.said())), 0), Err(Rule::UnknownSigner), "another instance");
}
