//! OpenPGP: keys of every kind that `gpg` makes, and certificates of every state, some of which no program makes. `gpg` and
//! `sqv` judge the same bytes.

use base64::Engine as _;
use pgp::composed::{ArmorOptions, DetachedSignature, KeyType, SecretKeyParamsBuilder, SubkeyParamsBuilder};
use pgp::crypto::hash::HashAlgorithm;
use pgp::packet::{
    KeyFlags, Notation, PacketTrait as _, RevocationCode, SecretKey, SecretSubkey, Signature, SignatureConfig, SignatureType,
    SignatureVersionSpecific, Subpacket, SubpacketData, UserId,
};
use pgp::ser::Serialize as _;
use pgp::types::{
    Duration, KeyDetails as _, KeyVersion, PacketHeaderVersion, Password, RevocationKey, RevocationKeyClass, SigningKey, Tag,
    Timestamp,
};
use rand_for_pgp::rngs::StdRng;
use rand_for_pgp::{Rng as _, SeedableRng as _};
use sha2::{Digest as _, Sha256};
use tk8s_gitsync::{Rule, Signers};

use crate::programs::{Gpg, sqv_accepts};
use crate::{Deviations, PAYLOAD, commit, judge};

const DAY: i64 = 24 * 60 * 60;

/// Compares the verdict with those of the two programs.
fn compare(deviations: &mut Deviations, case: &str, certificate: &[u8], signature: &str, known: &[&str]) -> Result<(), Rule> {
    let ours = judge(signature, certificate).map(|_| ()).map_err(|refusal| refusal.rule);
    let gpg = Gpg::accepts(certificate, signature, PAYLOAD.as_bytes());
    let sqv = sqv_accepts(certificate, signature, PAYLOAD.as_bytes());
    deviations.compare(case, ours, &[("gpg", gpg), ("sqv", sqv)], known);
    ours
}

/// Rows of the table in docs/security.md.
mod row {
    pub const SHORT: &str = "An RSA key of less than 2,048 bits";
    pub const DSA: &str = "A DSA key";
    pub const CURVE: &str = "A key on another curve than P-256, P-384, P-521 and ed25519";
    pub const HASH: &str = "A signature over SHA-1, SHA-224, MD5 or RIPEMD-160";
    pub const OWN_HASH: &str = "A certificate whose own signatures are over such a hash";
    pub const TEXT: &str = "A signature over text";
    pub const EXPIRED: &str = "A key that expired after it signed";
    pub const REVOKED: &str = "A key or subkey that was retired after it signed";
    pub const BOUND_LATER: &str = "A signature that is older than what its owner says of the key now";
    pub const USERS: &str = "A certificate without a user id that counts";
    pub const MAIN: &str = "A user id that is not the main one, and says that the key expired";
    pub const FLAGS: &str = "A key of which its owner does not say that it signs";
    pub const BACK: &str = "A subkey whose own word that it belongs to the certificate ended";
    pub const FUTURE: &str = "A signature from the future";
    pub const REVOKER: &str = "A revocation by a key that the certificate lets revoke it, and that is not at hand";
    pub const NAMED: &str = "A signature that names another key than the one that made it";
    pub const NEWER: &str = "Keys and signatures of version 6, and keys of the kind Ed25519";
}

#[test]
fn keys_of_every_kind_that_gpg_makes_are_judged_as_gpg_and_sqv_do_but_for_the_rows_of_the_table() {
    let gpg = Gpg::new();
    let mut deviations = Deviations::of("OpenPGP");
    let kinds: [(&str, &[&str]); 11] = [
        ("rsa1024", &[row::SHORT]),
        ("rsa2048", &[]),
        ("rsa3072", &[]),
        ("ed25519", &[]),
        ("nistp256", &[]),
        ("nistp384", &[]),
        ("nistp521", &[]),
        ("brainpoolP256r1", &[row::CURVE]),
        ("brainpoolP512r1", &[row::CURVE]),
        ("secp256k1", &[row::CURVE]),
        ("dsa2048", &[row::DSA]),
    ];
    let (mut judged, mut good) = (0, 0);
    for (algorithm, weak_kind) in kinds {
        // One signs with its primary key, one with a subkey, one has only a primary key of this kind.
        let alone = gpg.key(&format!("{algorithm}-alone"), algorithm, "cert,sign", "never");
        let with_subkey = gpg.key(&format!("{algorithm}-subkey"), "ed25519", "cert", "never");
        // Curves are for signing or for encryption; of subkeys it has to be said which.
        let is_curve = ["nistp", "brainpool", "secp"].iter().any(|curve| algorithm.starts_with(curve));
        let for_signing = if is_curve { format!("{algorithm}/ecdsa") } else { algorithm.to_owned() };
        gpg.run(&["--quick-add-key", &with_subkey, &for_signing, "sign", "never"], b"");
        let above = gpg.key(&format!("{algorithm}-above"), algorithm, "cert", "never");
        gpg.run(&["--quick-add-key", &above, "ed25519", "sign", "never"], b"");
        for (who, signs) in [("primary", &alone), ("subkey", &with_subkey), ("subkey of another kind", &above)] {
            let certificate = gpg.export(signs);
            for hash in ["MD5", "SHA1", "RIPEMD160", "SHA224", "SHA256", "SHA384", "SHA512"] {
                let case = format!("{algorithm}, by the {who}, over {hash}");
                let output = gpg.try_run(&["--digest-algo", hash, "-u", signs, "--armor", "--detach-sign"], PAYLOAD.as_bytes());
                if !output.status.success() {
                    // Some keys are longer than some hashes.
                    continue;
                }
                let signature = String::from_utf8(output.stdout).unwrap();
                let weak_hash = matches!(hash, "MD5" | "SHA1" | "RIPEMD160" | "SHA224");
                let known = [weak_kind, if weak_hash { &[row::HASH][..] } else { &[] }].concat();
                let ours = compare(&mut deviations, &case, &certificate, &signature, &known);
                let expected = if weak_hash || !weak_kind.is_empty() { Err(Rule::WeakKey) } else { Ok(()) };
                assert_eq!(ours, expected, "{case}");
                judged += 1;
                good += usize::from(ours.is_ok());
            }
        }
    }
    assert!(judged > 100 && good > 40, "{good} of {judged}");
}

#[test]
fn curves_that_are_not_known_are_refused_by_their_name() {
    let gpg = Gpg::new();
    for curve in ["brainpoolP384r1", "secp256k1"] {
        let key = gpg.key(curve, curve, "cert,sign", "never");
        let signature = gpg.run(&["-u", &key, "--armor", "--detach-sign"], PAYLOAD.as_bytes());
        let refusal = judge(std::str::from_utf8(&signature).unwrap(), &gpg.export(&key)).unwrap_err();
        assert_eq!(refusal.rule, Rule::WeakKey);
        assert!(refusal.message.contains(curve), "{}", refusal.message);
    }
}

#[test]
fn a_file_may_hold_many_certificates_armoured_or_binary_and_each_may_sign() {
    let gpg = Gpg::new();
    let keys = ["alice", "bob", "carol"].map(|name| gpg.key(name, "ed25519", "cert,sign", "never"));
    let signatures = keys
        .clone()
        .map(|key| String::from_utf8(gpg.run(&["-u", &key, "--armor", "--detach-sign"], PAYLOAD.as_bytes())).unwrap());
    let one_block = gpg.run(&["--armor", "--export", &keys[0], &keys[1]], b"");
    let two_blocks = [b"# Alice\n".as_slice(), &gpg.export(&keys[0]), b"\n# Bob\n", &gpg.export(&keys[1])].concat();
    let binary = gpg.run(&["--export", &keys[0], &keys[1]], b"");
    let indented = String::from_utf8(one_block.clone()).unwrap().replace('\n', "\n        ");
    let own = format!(
        "apiVersion: agent.tk8s.io/v1alpha1\nkind: Signers\nsigners:\n  - name: both\n    roles: [release]\n    keys:\n      - |\n        {indented}\n"
    );
    for (file, names) in [
        (one_block.clone(), ["alice <alice@example.com>", "bob <bob@example.com>"]),
        (two_blocks, ["alice <alice@example.com>", "bob <bob@example.com>"]),
        (binary, ["alice <alice@example.com>", "bob <bob@example.com>"]),
        (own.into_bytes(), ["both", "both"]),
    ] {
        for (at, name) in names.into_iter().enumerate() {
            let verdict = judge(&signatures[at], &file).unwrap();
            assert_eq!((verdict.signer.as_str(), &verdict.fingerprint), (name, &keys[at]));
        }
        assert_eq!(judge(&signatures[2], &file).unwrap_err().rule, Rule::UnknownSigner);
    }
    let private = gpg.run(&["--armor", "--export-secret-keys", &keys[0]], b"");
    let error = Signers::parse(&private, "signers").unwrap_err().to_string();
    assert!(error.contains("private key") && error.contains("gpg --armor --export"), "{error}");
    let binary = gpg.run(&["--export-secret-keys", &keys[0]], b"");
    assert!(Signers::parse(&binary, "signers").unwrap_err().to_string().contains("private key"));
    assert!(Signers::parse(&one_block[..one_block.len() / 2], "signers").is_err());
}

#[test]
fn a_block_holds_one_signature_and_nothing_follows_it() {
    let gpg = Gpg::new();
    let keys = ["alice", "bob"].map(|name| gpg.key(name, "ed25519", "cert,sign", "never"));
    let signers = gpg.run(&["--armor", "--export"], b"");
    let sign = |arguments: &[&str]| String::from_utf8(gpg.run(arguments, PAYLOAD.as_bytes())).unwrap();
    let good = sign(&["-u", &keys[0], "--armor", "--detach-sign"]);
    judge(&good, &signers).unwrap();
    let rule = |signature: &str| judge(signature, &signers).unwrap_err().rule;
    assert_eq!(rule(&sign(&["-u", &keys[0], "-u", &keys[1], "--armor", "--detach-sign"])), Rule::SecondSignature);
    assert_eq!(rule(&format!("{good}{good}")), Rule::TrailingBytes);
    assert_eq!(rule(&format!("{good}unsigned")), Rule::TrailingBytes);
    assert_eq!(rule(&sign(&["-u", &keys[0], "--armor", "--sign"])), Rule::UnsupportedSignature);
    assert_eq!(rule(&sign(&["-u", &keys[0], "--clear-sign"])), Rule::BadSignature);
    assert_eq!(rule(&good.replace("-----END PGP SIGNATURE-----", "")), Rule::BadSignature);
    assert_eq!(rule("-----BEGIN PGP SIGNATURE-----\n\n-----END PGP SIGNATURE-----"), Rule::BadSignature);
    let certificate = String::from_utf8(gpg.export(&keys[0])).unwrap().replace("PUBLIC KEY BLOCK", "SIGNATURE");
    assert_eq!(rule(&certificate), Rule::SecondSignature, "packets, but no signature");
    let changed = String::from_utf8(commit(&good)).unwrap().replace("first", "other");
    let signers = Signers::parse(&signers, "signers").unwrap();
    let refusal = crate::support::verify_object(changed.as_bytes(), &signers, tk8s_core::Timestamp::now()).unwrap_err();
    assert_eq!(refusal.rule, Rule::BadSignature);
    assert!(refusal.message.contains(&keys[0]), "{}", refusal.message);
}

#[test]
fn a_certificate_whose_own_signatures_are_over_a_weak_hash_does_not_count() {
    let mut deviations = Deviations::of("OpenPGP");
    let gpg = Gpg::new();
    gpg.run(&["--cert-digest-algo", "SHA1", "--quick-generate-key", "old", "rsa2048", "cert,sign", "never"], b"");
    let signature = gpg.run(&["-u", "old", "--digest-algo", "SHA256", "--armor", "--detach-sign"], PAYLOAD.as_bytes());
    let (signature, certificate) = (String::from_utf8(signature).unwrap(), gpg.export("old"));
    assert_eq!(compare(&mut deviations, "old", &certificate, &signature, &[row::OWN_HASH]), Err(Rule::WeakKey));
    assert!(judge(&signature, &certificate).unwrap_err().message.contains("SHA1"));
    // The owner says it again.
    gpg.run(&["--quick-set-expire", &gpg.fingerprints("old")[0], "2y"], b"");
    assert_eq!(compare(&mut deviations, "renewed", &gpg.export("old"), &signature, &[row::BOUND_LATER]), Ok(()));
}

/// A certificate and a signature, packet by packet. Times are days from now.
#[derive(Clone, Debug)]
struct Spec {
    version: KeyVersion,
    kind: KeyType,
    by_subkey: bool,
    key_made: i64,
    key_lasts: Option<i64>,
    key_signs: Option<bool>,
    key_revoked: Option<(By, Option<RevocationCode>, i64)>,
    revoker: bool,
    user: User,
    user_by: By,
    /// Days that the key lasts as the second user id says, while the first one is the main one.
    second_lasts: Option<i64>,
    user_lasts: Option<i64>,
    user_revoked: Option<(By, Option<RevocationCode>, i64)>,
    user_again: Option<i64>,
    direct: Option<By>,
    bound: i64,
    bound_by: By,
    subkey_lasts: Option<i64>,
    subkey_signs: Option<bool>,
    subkey_revoked: Option<(By, Option<RevocationCode>, i64)>,
    back: Option<By>,
    back_lasts: Option<i64>,
    kind_of_signature: SignatureType,
    signed: i64,
    signed_lasts: Option<i64>,
    more: Vec<Subpacket>,
    issuer: Issuer,
    other_payload: bool,
}

/// Whose signature it is, whatever it says.
#[derive(Clone, Copy, Debug, PartialEq)]
enum By {
    Owner,
    /// Somebody else, in the owner's name.
    Forger,
    /// Somebody else, in their own name.
    Stranger,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum User {
    None,
    One,
    Two,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Issuer {
    Named,
    KeyIdOnly,
    Nobody,
    /// The fingerprint of somebody else, and the key id of the key.
    Contradiction,
}

impl Default for Spec {
    fn default() -> Spec {
        Spec {
            version: KeyVersion::V4,
            kind: KeyType::Ed25519Legacy,
            by_subkey: true,
            key_made: -400,
            key_lasts: None,
            key_signs: Some(true),
            key_revoked: None,
            revoker: false,
            user: User::One,
            user_by: By::Owner,
            second_lasts: None,
            user_lasts: None,
            user_revoked: None,
            user_again: None,
            direct: None,
            bound: -400,
            bound_by: By::Owner,
            subkey_lasts: None,
            subkey_signs: Some(true),
            subkey_revoked: None,
            back: Some(By::Owner),
            back_lasts: None,
            kind_of_signature: SignatureType::Binary,
            signed: -100,
            signed_lasts: None,
            more: Vec::new(),
            issuer: Issuer::Named,
            other_payload: false,
        }
    }
}

/// Everything that makes signatures, so that each key is made once.
struct Workshop {
    random: StdRng,
    now: i64,
}

impl Workshop {
    fn new() -> Workshop {
        Workshop { random: StdRng::seed_from_u64(8), now: tk8s_core::Timestamp::now().as_second() }
    }

    fn at(&self, day: i64) -> Timestamp {
        Timestamp::from_secs(u32::try_from(self.now + day * DAY).unwrap())
    }

    fn keys(&mut self, spec: &Spec) -> (SecretKey, SecretSubkey) {
        let made = self.at(spec.key_made);
        let mut subkey = SubkeyParamsBuilder::default();
        subkey.version(spec.version).key_type(spec.kind.clone()).can_sign(true).created_at(made);
        let mut key = SecretKeyParamsBuilder::default();
        key.version(spec.version).key_type(spec.kind.clone()).can_certify(true).can_sign(true).created_at(made);
        key.primary_user_id("thrown away".into()).subkey(subkey.build().unwrap());
        let mut key = key.build().unwrap().generate(&mut self.random).unwrap();
        (key.primary_key, key.secret_subkeys.remove(0).key)
    }

    /// A signature that says it is by this key and of this day.
    fn config(&mut self, typ: SignatureType, by: PublicKeyLike<'_>, day: i64, more: Vec<Subpacket>) -> SignatureConfig {
        let mut config = match by.version() {
            KeyVersion::V6 => SignatureConfig::v6(&mut self.random, typ, by.algorithm(), HashAlgorithm::Sha256).unwrap(),
            _ => SignatureConfig::v4(typ, by.algorithm(), HashAlgorithm::Sha256),
        };
        config.hashed_subpackets = vec![
            regular(SubpacketData::SignatureCreationTime(self.at(day))),
            regular(SubpacketData::IssuerFingerprint(by.fingerprint())),
        ];
        config.hashed_subpackets.extend(more);
        if by.version() == KeyVersion::V4 {
            config.unhashed_subpackets = vec![regular(SubpacketData::IssuerKeyId(by.legacy_key_id()))];
        }
        config
    }

    /// The certificate and the armoured signature.
    fn make(&mut self, spec: &Spec) -> (Vec<u8>, String) {
        let ((key, subkey), (other, _)) = (self.keys(spec), self.keys(spec));
        let (public, public_subkey, none) = (key.public_key(), subkey.public_key(), Password::empty());
        let mut bytes = Vec::new();
        public.to_writer_with_header(&mut bytes).unwrap();
        if let Some((by, reason, day)) = spec.key_revoked {
            let named = if by == By::Stranger { other.public_key() } else { public };
            let config = self.config(SignatureType::KeyRevocation, named, day, because(reason));
            let signer = if by == By::Owner { &key } else { &other };
            put(&mut bytes, &config.sign_key(signer, &none, public).unwrap());
        }
        let about_key = |lasts: Option<i64>| {
            let flags = spec.key_signs.map(|sign| flags(sign, true));
            let lasts = lasts.map(|days| regular(SubpacketData::KeyExpirationTime(days_long(days))));
            flags.into_iter().chain(lasts).collect::<Vec<_>>()
        };
        let maker = |by| if by == By::Owner { &key } else { &other };
        if let Some(by) = spec.direct {
            let config = self.config(SignatureType::Key, public, spec.key_made, about_key(spec.key_lasts));
            put(&mut bytes, &config.sign_key(maker(by), &none, public).unwrap());
        }
        if spec.revoker {
            let fingerprint = other.fingerprint();
            let revoker = RevocationKey::new(RevocationKeyClass::Default, other.algorithm(), fingerprint.as_bytes());
            let config =
                self.config(SignatureType::Key, public, spec.key_made, vec![regular(SubpacketData::RevocationKey(revoker))]);
            put(&mut bytes, &config.sign_key(&key, &none, public).unwrap());
        }
        let users: &[&str] = match spec.user {
            User::None => &[],
            User::One => &["Alice <alice@example.com>"],
            User::Two => &["Alice <alice@example.com>", "Alice <alice@example.org>"],
        };
        for (at, name) in users.iter().enumerate() {
            let id = UserId::from_str(PacketHeaderVersion::New, name).unwrap();
            id.to_writer_with_header(&mut bytes).unwrap();
            let mut certify = |workshop: &mut Workshop, by, typ, day, more| {
                let config = workshop.config(typ, public, day, more);
                put(&mut bytes, &config.sign_certification(maker(by), public, &none, Tag::UserId, &id).unwrap());
            };
            let main = spec.second_lasts.filter(|_| at == 0).map(|_| regular(SubpacketData::IsPrimary(true)));
            let mut more = about_key(spec.second_lasts.filter(|_| at == 1).or(spec.key_lasts));
            more.extend(main);
            more.extend(spec.user_lasts.map(|days| regular(SubpacketData::SignatureExpirationTime(days_long(days)))));
            certify(self, spec.user_by, SignatureType::CertPositive, spec.key_made, more);
            if let Some((by, reason, day)) = spec.user_revoked.filter(|_| at == 0) {
                certify(self, by, SignatureType::CertRevocation, day, because(reason));
            }
            if let Some(day) = spec.user_again {
                certify(self, By::Owner, SignatureType::CertPositive, day, about_key(spec.key_lasts));
            }
        }
        public_subkey.to_writer_with_header(&mut bytes).unwrap();
        let mut more: Vec<_> = spec.subkey_signs.map(|sign| flags(sign, false)).into_iter().collect();
        more.extend(spec.subkey_lasts.map(|days| regular(SubpacketData::KeyExpirationTime(days_long(days)))));
        let mut binding = self.config(SignatureType::SubkeyBinding, public, spec.bound, more);
        if let Some(by) = spec.back {
            let lasts = spec.back_lasts.map(|days| regular(SubpacketData::SignatureExpirationTime(days_long(days))));
            let back = self.config(SignatureType::KeyBinding, public_subkey, spec.bound, lasts.into_iter().collect());
            let back = match by {
                By::Owner => back.sign_primary_key_binding(&subkey, public_subkey, &none, public),
                _ => back.sign_primary_key_binding(&other, public_subkey, &none, public),
            };
            binding.hashed_subpackets.push(regular(SubpacketData::EmbeddedSignature(Box::new(back.unwrap()))));
        }
        put(&mut bytes, &binding.sign_subkey_binding(maker(spec.bound_by), public, &none, public_subkey).unwrap());
        if let Some((by, reason, day)) = spec.subkey_revoked {
            let config = self.config(SignatureType::SubkeyRevocation, public, day, because(reason));
            let signer = if by == By::Owner { &key } else { &other };
            put(&mut bytes, &config.sign_subkey_binding(signer, public, &none, public_subkey).unwrap());
        }
        let by: PublicKeyLike<'_> = if spec.by_subkey { public_subkey } else { public };
        let mut more = spec.more.clone();
        more.extend(spec.signed_lasts.map(|days| regular(SubpacketData::SignatureExpirationTime(days_long(days)))));
        let mut config = self.config(spec.kind_of_signature, by, spec.signed, more);
        match spec.issuer {
            Issuer::Named => {}
            Issuer::KeyIdOnly => drop(config.hashed_subpackets.remove(1)),
            Issuer::Nobody => {
                config.hashed_subpackets.remove(1);
                config.unhashed_subpackets.clear();
            }
            Issuer::Contradiction => {
                config.hashed_subpackets[1] = regular(SubpacketData::IssuerFingerprint(other.fingerprint()));
            }
        }
        let payload = if spec.other_payload { "something else" } else { PAYLOAD };
        let signature = match spec.by_subkey {
            true => sign(config, &subkey, payload),
            false => sign(config, &key, payload),
        };
        let signature = DetachedSignature::new(signature);
        (bytes, signature.to_armored_string(ArmorOptions::default()).unwrap())
    }
}

/// Signs whatever there is to sign: the library makes no signature that it would not read.
fn sign(config: SignatureConfig, key: &impl SigningKey, payload: &str) -> Signature {
    let mut hashed = Vec::new();
    config.hashed_subpackets.iter().for_each(|subpacket| subpacket.to_writer(&mut hashed).unwrap());
    let length = u32::try_from(hashed.len()).unwrap().to_be_bytes();
    let (version, salt, length) = match &config.version_specific {
        SignatureVersionSpecific::V6 { salt } => (6, &salt[..], &length[..]),
        _ => (4, &[][..], &length[2..]),
    };
    let head = [version, config.typ.into(), config.pub_alg.into(), config.hash_alg.into()];
    let head = [&head[..], length, &hashed].concat();
    let tail = [&[version, 0xff][..], &u32::try_from(head.len()).unwrap().to_be_bytes()].concat();
    let payload = if config.typ == SignatureType::Text { payload.replace('\n', "\r\n") } else { payload.to_owned() };
    let digest = Sha256::digest([salt, payload.as_bytes(), &head, &tail].concat());
    let made = key.sign(&Password::empty(), config.hash_alg, &digest).unwrap();
    Signature::from_config(config, [digest[0], digest[1]], made).unwrap()
}

type PublicKeyLike<'a> = &'a dyn pgp::types::KeyDetails;

fn regular(data: SubpacketData) -> Subpacket {
    Subpacket::regular(data).unwrap()
}

fn critical(data: SubpacketData) -> Subpacket {
    Subpacket::critical(data).unwrap()
}

fn notation() -> SubpacketData {
    let (name, value) = ("policy@example.com".as_bytes().into(), "strict".as_bytes().into());
    SubpacketData::Notation(Notation { readable: true, name, value })
}

fn days_long(days: i64) -> Duration {
    Duration::from_secs(u32::try_from(days * DAY).unwrap())
}

fn flags(sign: bool, certify: bool) -> Subpacket {
    let mut flags = KeyFlags::default();
    flags.set_sign(sign);
    flags.set_certify(certify);
    flags.set_encrypt_comms(!sign && !certify);
    regular(SubpacketData::KeyFlags(flags))
}

fn because(reason: Option<RevocationCode>) -> Vec<Subpacket> {
    reason.map(|code| regular(SubpacketData::RevocationReason(code, Default::default()))).into_iter().collect()
}

fn put(bytes: &mut Vec<u8>, signature: &Signature) {
    signature.to_writer_with_header(bytes).unwrap();
}

/// One thing that is not as usual: what we say of it, and the rows of the table that it may need.
struct Change {
    name: &'static str,
    apply: fn(&mut Spec),
    ours: Result<(), Rule>,
    rows: &'static [&'static str],
}

/// Changes of different fields can be combined.
fn changes() -> Vec<Vec<Change>> {
    use RevocationCode::{CertUserIdInvalid, KeyCompromised, KeyRetired, KeySuperseded, NoReason};
    use Rule::{BadSignature, KeyNotValidNow, KeyRevoked, KeyUsage, SignatureExpired, UnknownSigner};
    let change = |name, ours, rows: &'static [&'static str], apply| Change { name, apply, ours, rows };
    vec![
        vec![change("by the primary key", Ok(()), &[], |spec| spec.by_subkey = false)],
        vec![
            change("the key was stolen", Err(KeyRevoked), &[], |spec| {
                spec.key_revoked = Some((By::Owner, Some(KeyCompromised), -50));
            }),
            change("the key was revoked without a reason", Err(KeyRevoked), &[], |spec| {
                spec.key_revoked = Some((By::Owner, None, -50));
            }),
            change("the key was revoked for no reason", Err(KeyRevoked), &[], |spec| {
                spec.key_revoked = Some((By::Owner, Some(NoReason), -50));
            }),
            change("the key was superseded", Err(KeyNotValidNow), &[row::REVOKED], |spec| {
                spec.key_revoked = Some((By::Owner, Some(KeySuperseded), -50));
            }),
            change("the key was retired", Err(KeyNotValidNow), &[row::REVOKED], |spec| {
                spec.key_revoked = Some((By::Owner, Some(KeyRetired), -50));
            }),
            change("the key was retired before it signed", Err(KeyNotValidNow), &[], |spec| {
                spec.key_revoked = Some((By::Owner, Some(KeyRetired), -150));
            }),
            change("the revocation is forged", Ok(()), &[], |spec| spec.key_revoked = Some((By::Forger, None, -50))),
            change("the revocation is somebody else's", Ok(()), &[], |spec| {
                spec.key_revoked = Some((By::Stranger, None, -50));
            }),
            change("a revoker revoked the key", Err(KeyRevoked), &[row::REVOKER], |spec| {
                spec.key_revoked = Some((By::Stranger, None, -50));
                spec.revoker = true;
            }),
        ],
        vec![
            change("the key lasts", Ok(()), &[], |spec| spec.key_lasts = Some(500)),
            change("the key lasts without an end", Ok(()), &[], |spec| spec.key_lasts = Some(0)),
            change("the key expired after it signed", Err(KeyNotValidNow), &[row::EXPIRED], |spec| spec.key_lasts = Some(350)),
            change("the key expired before it signed", Err(KeyNotValidNow), &[], |spec| spec.key_lasts = Some(200)),
        ],
        vec![
            change("a second user id", Ok(()), &[], |spec| spec.user = User::Two),
            change(
                "the second of two user ids, which is not the main one, says that the key expired",
                Ok(()),
                &[row::MAIN],
                |spec| {
                    spec.user = User::Two;
                    spec.second_lasts = Some(200);
                },
            ),
            change("the first of two user ids is revoked", Ok(()), &[], |spec| {
                spec.user = User::Two;
                spec.user_revoked = Some((By::Owner, None, -50));
            }),
            change("the user id is revoked", Err(KeyRevoked), &[row::USERS], |spec| {
                spec.user_revoked = Some((By::Owner, None, -50))
            }),
            change("the user id is retired", Err(KeyNotValidNow), &[row::USERS], |spec| {
                spec.user_revoked = Some((By::Owner, Some(CertUserIdInvalid), -50));
            }),
            change("the user id is retired and back", Ok(()), &[], |spec| {
                spec.user_revoked = Some((By::Owner, Some(CertUserIdInvalid), -150));
                spec.user_again = Some(-120);
            }),
            change("the user id is retired and back in the same second", Err(KeyNotValidNow), &[row::USERS], |spec| {
                spec.user_revoked = Some((By::Owner, Some(CertUserIdInvalid), -120));
                spec.user_again = Some(-120);
            }),
            change("the user id counts for a while", Ok(()), &[], |spec| spec.user_lasts = Some(500)),
            change("the user id counts no more", Err(KeyNotValidNow), &[row::USERS], |spec| spec.user_lasts = Some(350)),
            change("the revocation of the user id is forged", Ok(()), &[], |spec| {
                spec.user_revoked = Some((By::Forger, None, -50));
            }),
            change("what the user id says of the key is forged", Err(KeyNotValidNow), &[], |spec| spec.user_by = By::Forger),
            change("no user id", Err(KeyNotValidNow), &[], |spec| spec.user = User::None),
            change("no user id, but a signature on the key itself", Ok(()), &[row::USERS], |spec| {
                spec.user = User::None;
                spec.direct = Some(By::Owner);
            }),
            change("no user id, and the signature on the key itself is forged", Err(KeyNotValidNow), &[], |spec| {
                spec.user = User::None;
                spec.direct = Some(By::Forger);
            }),
        ],
        vec![
            change("the subkey was stolen", Err(KeyRevoked), &[], |spec| {
                spec.subkey_revoked = Some((By::Owner, Some(KeyCompromised), -50));
            }),
            change("the subkey was retired", Err(KeyNotValidNow), &[row::REVOKED], |spec| {
                spec.subkey_revoked = Some((By::Owner, Some(KeyRetired), -50));
            }),
            change("the subkey's revocation is forged", Ok(()), &[], |spec| {
                spec.subkey_revoked = Some((By::Forger, None, -50));
            }),
            change("the subkey lasts", Ok(()), &[], |spec| spec.subkey_lasts = Some(500)),
            change("the subkey expired after it signed", Err(KeyNotValidNow), &[row::EXPIRED], |spec| {
                spec.subkey_lasts = Some(350);
            }),
            change("the subkey expired before it signed", Err(KeyNotValidNow), &[], |spec| spec.subkey_lasts = Some(200)),
            change("the subkey was bound after it signed", Ok(()), &[row::BOUND_LATER], |spec| spec.bound = -50),
            change("the binding of the subkey is forged", Err(KeyNotValidNow), &[], |spec| spec.bound_by = By::Forger),
            change("the subkey says whose it is for a while", Ok(()), &[], |spec| spec.back_lasts = Some(500)),
            change("the subkey does not say whose it is", Err(KeyUsage), &[], |spec| spec.back = None),
            change("what the subkey says of whose it is is forged", Err(KeyUsage), &[], |spec| {
                spec.back = Some(By::Forger);
            }),
            change("what the subkey says of whose it is ended", Err(KeyNotValidNow), &[row::BACK], |spec| {
                spec.back_lasts = Some(350);
            }),
            change("the subkey is for encryption", Err(KeyUsage), &[], |spec| spec.subkey_signs = Some(false)),
            change("nobody says what the subkey is for", Err(KeyUsage), &[row::FLAGS], |spec| spec.subkey_signs = None),
            change("the primary key is not for signing", Err(KeyUsage), &[row::FLAGS], |spec| {
                spec.by_subkey = false;
                spec.key_signs = Some(false);
            }),
            change("nobody says what the primary key is for", Err(KeyUsage), &[row::FLAGS], |spec| {
                spec.by_subkey = false;
                spec.key_signs = None;
            }),
        ],
        vec![
            change("over text", Err(BadSignature), &[row::TEXT], |spec| spec.kind_of_signature = SignatureType::Text),
            change("over nothing", Err(BadSignature), &[], |spec| spec.kind_of_signature = SignatureType::Timestamp),
            change("over something else", Err(BadSignature), &[], |spec| spec.other_payload = true),
            change("the signature lasts", Ok(()), &[], |spec| spec.signed_lasts = Some(200)),
            change("the signature ended", Err(SignatureExpired), &[], |spec| spec.signed_lasts = Some(50)),
            change("from the future", Err(KeyNotValidNow), &[row::FUTURE], |spec| spec.signed = 10),
            change("older than the key", Err(BadSignature), &[], |spec| spec.signed = -500),
            change("a notation", Ok(()), &[], |spec| spec.more = vec![regular(notation())]),
            change("a critical notation", Err(BadSignature), &[], |spec| spec.more = vec![critical(notation())]),
            change("something unknown", Ok(()), &[], |spec| {
                spec.more = vec![regular(SubpacketData::Other(90, vec![1].into()))];
            }),
            change("something unknown and critical", Err(BadSignature), &[], |spec| {
                spec.more = vec![critical(SubpacketData::Other(90, vec![1].into()))];
            }),
            change("only a key id", Ok(()), &[], |spec| spec.issuer = Issuer::KeyIdOnly),
            change("nobody is named", Err(UnknownSigner), &[], |spec| spec.issuer = Issuer::Nobody),
            change("two are named", Err(UnknownSigner), &[row::NAMED], |spec| spec.issuer = Issuer::Contradiction),
        ],
        vec![
            change("P-256", Ok(()), &[], |spec| spec.kind = KeyType::ECDSA(pgp::crypto::ecc_curve::ECCCurve::P256)),
            change("the new kind of ed25519", Ok(()), &[row::NEWER], |spec| spec.kind = KeyType::Ed25519),
            change("version 6", Ok(()), &[row::NEWER], |spec| {
                spec.version = KeyVersion::V6;
                spec.kind = KeyType::Ed25519;
                spec.direct = Some(By::Owner);
            }),
            change("version 6, with nothing but a user id", Err(KeyNotValidNow), &[row::NEWER], |spec| {
                spec.version = KeyVersion::V6;
                spec.kind = KeyType::Ed25519;
            }),
        ],
    ]
}

#[test]
fn certificates_of_every_state_are_judged_as_gpg_and_sqv_do_but_for_the_rows_of_the_table() {
    let (mut workshop, mut deviations) = (Workshop::new(), Deviations::of("OpenPGP"));
    let changes = changes();
    assert_eq!(judge_spec(&mut workshop, &mut deviations, "as usual", &Spec::default(), &[]), Ok(()));
    for change in changes.iter().flatten() {
        let mut spec = Spec::default();
        (change.apply)(&mut spec);
        let ours = judge_spec(&mut workshop, &mut deviations, change.name, &spec, change.rows);
        assert_eq!(ours, change.ours, "{}", change.name);
    }
    deviations.seen_elsewhere(&[row::SHORT, row::DSA, row::CURVE, row::HASH, row::OWN_HASH]);
    deviations.end();
}

#[test]
fn whatever_goes_together_a_signature_counts_if_nothing_forbids_it() {
    let (mut workshop, mut deviations) = (Workshop::new(), Deviations::of("OpenPGP"));
    let changes = changes();
    for _ in 0..200 {
        let (mut spec, mut names, mut rows, mut good) = (Spec::default(), Vec::new(), Vec::new(), true);
        for group in &changes {
            if workshop.random.gen_bool(0.35) {
                let change = &group[workshop.random.gen_range(0..group.len())];
                (change.apply)(&mut spec);
                names.push(change.name);
                rows.extend(change.rows);
                good &= change.ours.is_ok();
            }
        }
        let case = names.join(", ");
        // Keys of version 6 name no others that may revoke them.
        if spec.version == KeyVersion::V6 && spec.revoker {
            continue;
        }
        // What is said of a subkey does not matter to the primary key, nor what is said of a user id to a key of version 6.
        let ours = judge_spec(&mut workshop, &mut deviations, &case, &spec, &rows);
        let about = |what: &str| names.iter().any(|name| name.contains(what));
        if (!spec.by_subkey && about("subkey")) || (spec.version == KeyVersion::V6 && about("user id")) {
            continue;
        }
        assert_eq!(ours.is_ok(), good, "{case}: {ours:?}");
    }
}

#[test]
fn what_a_signature_of_an_unknown_version_says_is_not_guessed() {
    let mut workshop = Workshop::new();
    let (certificate, signature) = workshop.make(&Spec::default());
    let lines: String =
        signature.lines().skip_while(|line| !line.is_empty()).filter(|line| !line.starts_with(['-', '='])).collect();
    let mut packet = base64::engine::general_purpose::STANDARD.decode(lines).unwrap();
    let version = packet.iter().position(|byte| *byte == 4).unwrap();
    packet[version] = 9;
    let encoded = base64::engine::general_purpose::STANDARD.encode(packet);
    let block = format!("-----BEGIN PGP SIGNATURE-----\n\n{encoded}\n-----END PGP SIGNATURE-----\n");
    let refusal = judge(&block, &certificate).unwrap_err();
    assert_eq!(refusal.rule, Rule::BadSignature);
    assert!(refusal.message.contains("of a version that is not known"), "{}", refusal.message);
}

/// What is said of it when our clock shows that second.
fn judge_at(signature: &str, certificate: &[u8], second: i64) -> Result<(), Rule> {
    let signers = Signers::parse(certificate, "signers").unwrap();
    let now = tk8s_core::Timestamp::from_second(second).unwrap();
    crate::support::verify_object(&commit(signature), &signers, now).map(drop).map_err(|refusal| refusal.rule)
}

/// A45, time: what ends has ended when that second begins.
#[test]
fn what_the_owner_says_counts_until_the_second_that_is_named() {
    let mut workshop = Workshop::new();
    for spec in [
        Spec { back_lasts: Some(500), ..Spec::default() },
        Spec { user_lasts: Some(500), ..Spec::default() },
        Spec { key_lasts: Some(500), ..Spec::default() },
        Spec { subkey_lasts: Some(500), ..Spec::default() },
    ] {
        let (certificate, signature) = workshop.make(&spec);
        for (seconds, ours) in [(-1, Ok(())), (0, Err(Rule::KeyNotValidNow)), (1, Err(Rule::KeyNotValidNow))] {
            let said = judge_at(&signature, &certificate, workshop.now + 100 * DAY + seconds);
            assert_eq!(said, ours, "{seconds}: {spec:?}");
        }
    }
}

#[test]
fn a_signature_may_be_half_an_hour_ahead_of_our_clock_and_no_more() {
    let mut workshop = Workshop::new();
    let (certificate, signature) = workshop.make(&Spec { signed: 0, ..Spec::default() });
    for (behind, ours) in [(30 * 60, Ok(())), (30 * 60 + 1, Err(Rule::KeyNotValidNow))] {
        assert_eq!(judge_at(&signature, &certificate, workshop.now - behind), ours, "{behind} seconds");
    }
}

/// What nobody can check any more is taken as the owner's: a revocation too much is noticed.
#[test]
fn a_revocation_over_a_weak_hash_counts_unless_it_names_somebody_else() {
    let mut workshop = Workshop::new();
    let spec = Spec::default();
    for (names, ours) in [("the owner", Err(Rule::KeyRevoked)), ("nobody", Err(Rule::KeyRevoked)), ("another", Ok(()))] {
        let ((key, _), (other, _), none) = (workshop.keys(&spec), workshop.keys(&spec), Password::empty());
        let public = key.public_key();
        let (mut bytes, id) = (Vec::new(), UserId::from_str(PacketHeaderVersion::New, "Alice").unwrap());
        public.to_writer_with_header(&mut bytes).unwrap();
        let named = if names == "another" { other.public_key() } else { public };
        let mut config = workshop.config(SignatureType::KeyRevocation, named, -50, because(None));
        if names == "nobody" {
            config.hashed_subpackets.remove(1);
            config.unhashed_subpackets.clear();
        }
        // It need not be right: nobody looks.
        let anything = sign(config.clone(), &other, PAYLOAD).signature().cloned().unwrap();
        config.hash_alg = HashAlgorithm::Sha1;
        put(&mut bytes, &Signature::from_config(config, [0, 0], anything).unwrap());
        id.to_writer_with_header(&mut bytes).unwrap();
        let config = workshop.config(SignatureType::CertPositive, public, -400, vec![flags(true, true)]);
        put(&mut bytes, &config.sign_certification(&key, public, &none, Tag::UserId, &id).unwrap());
        let config = workshop.config(SignatureType::Binary, public, -100, Vec::new());
        let signature = DetachedSignature::new(sign(config, &key, PAYLOAD)).to_armored_string(ArmorOptions::default()).unwrap();
        assert_eq!(judge(&signature, &bytes).map(|_| ()).map_err(|refusal| refusal.rule), ours, "{names}");
    }
}

#[test]
fn what_is_demanded_and_not_understood_is_said_and_a_key_without_a_name_is_called_by_its_fingerprint() {
    let mut workshop = Workshop::new();
    let demanding = Spec { more: vec![critical(SubpacketData::Other(90, vec![1].into()))], ..Spec::default() };
    let (certificate, signature) = workshop.make(&demanding);
    let refusal = judge(&signature, &certificate).unwrap_err();
    assert!(refusal.message.contains("a subpacket of the kind 90"), "{}", refusal.message);
    let nameless = Spec { user: User::None, direct: Some(By::Owner), by_subkey: false, ..Spec::default() };
    let (certificate, signature) = workshop.make(&nameless);
    let verdict = judge(&signature, &certificate).unwrap();
    assert!(verdict.signer == verdict.fingerprint && verdict.signer.len() == 40, "{verdict:?}");
}

fn judge_spec(workshop: &mut Workshop, deviations: &mut Deviations, case: &str, spec: &Spec, rows: &[&str]) -> Result<(), Rule> {
    let (certificate, signature) = workshop.make(spec);
    compare(deviations, case, &certificate, &signature, rows)
}

#[test]
fn commits_and_tags_that_git_signed_with_gnupg_are_verified() {
    let read = |file: &str| std::fs::read(format!("{}/tests/vectors/fluxcd/gpg/{file}", env!("CARGO_MANIFEST_DIR"))).unwrap();
    let now = tk8s_core::Timestamp::now();
    for kind in ["ed25519", "rsa_2048"] {
        let signers = Signers::parse(&read(&format!("key_{kind}.pub")), "signers").unwrap();
        for object in ["commit", "tag"] {
            let raw = read(&format!("{object}_{kind}_signed.txt"));
            crate::support::verify_object(&raw, &signers, now).unwrap();
            let unsigned = crate::support::verify_object(&read(&format!("{object}_unsigned.txt")), &signers, now).unwrap_err();
            assert_eq!(unsigned.rule, Rule::Unsigned);
        }
        let other = if kind == "ed25519" { "rsa_2048" } else { "ed25519" };
        let foreign = crate::support::verify_object(&read(&format!("commit_{other}_signed.txt")), &signers, now).unwrap_err();
        assert_eq!(foreign.rule, Rule::UnknownSigner);
    }
    // And with the Git and GnuPG at hand.
    let gpg = Gpg::new();
    let key = gpg.key("alice", "rsa2048", "cert", "never");
    gpg.run(&["--quick-add-key", &key, "ed25519", "sign", "1y"], b"");
    let repository = crate::support::Repository::new();
    repository.git(&["config", "user.signingkey", &key]);
    repository.git(&["config", "gpg.program", gpg.script().to_str().unwrap()]);
    repository.git(&["commit", "-q", "--allow-empty", "-S", "-m", "first"]);
    repository.git(&["tag", "-s", "-m", "v1.0.0", "v1.0.0"]);
    let signers = Signers::parse(&gpg.export(&key), "signers").unwrap();
    for (kind, name) in [("commit", "HEAD"), ("tag", "v1.0.0")] {
        let verdict = crate::support::verify_object(&repository.raw(kind, name), &signers, now).unwrap();
        assert_eq!(verdict.fingerprint, gpg.fingerprints(&key)[1], "the subkey that signed");
    }
}

#[test]
fn what_its_owner_appends_revokes_a_certificate_and_what_the_file_says_of_a_signer_weighs_more_than_the_key() {
    let gpg = Gpg::new();
    let (key, other) = (gpg.key("alice", "ed25519", "cert,sign", "never"), gpg.key("bob", "ed25519", "cert,sign", "never"));
    let sign = |key: &str| String::from_utf8(gpg.run(&["-u", key, "--armor", "--detach-sign"], PAYLOAD.as_bytes())).unwrap();
    let (signature, others) = (sign(&key), sign(&other));
    // What gpg lays aside for the day on which the key is lost.
    let kept = std::fs::read_to_string(gpg.home().join(format!("openpgp-revocs.d/{key}.rev"))).unwrap();
    let revocation = &kept[kept.find("-----BEGIN").unwrap()..];
    let both = gpg.run(&["--armor", "--export"], b"");
    let file = [&both[..], b"\n", revocation.as_bytes()].concat();
    judge(&signature, &both).unwrap();
    assert_eq!(judge(&signature, &file).unwrap_err().rule, Rule::KeyRevoked);
    judge(&others, &file).unwrap();
    let certificate = String::from_utf8(gpg.export(&other)).unwrap().replace('\n', "\n        ");
    for (words, ours) in [
        ("state: active", Ok(())),
        ("state: retired", Err(Rule::RetiredSigner)),
        ("state: retired\n    since: 2999-01-01T00:00:00Z", Ok(())),
        ("state: compromised", Err(Rule::CompromisedSigner)),
        ("kind: forge", Err(Rule::ForgeSigner)),
    ] {
        let file = format!(
            "apiVersion: agent.tk8s.io/v1alpha1\nkind: Signers\nsigners:\n  - name: bob\n    {words}\n    roles: [release]\n    \
             keys:\n      - |\n        {certificate}\n"
        );
        assert_eq!(judge(&others, file.as_bytes()).map(|_| ()).map_err(|refusal| refusal.rule), ours, "{words}");
    }
}
