//! What the cases are made of, made once: keys, certificates and lists by the real `ssh-keygen`, signatures too, but for
//! those of security keys, which it can't make without one.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, Weak};

use sha2::Digest as _;
use ssh_key::public::{EcdsaPublicKey, KeyData, SkEcdsaSha2NistP256, SkEd25519};
use ssh_key::{Algorithm, HashAlg, LineEnding, PrivateKey, PublicKey, Signature, SigningKey, SshSig};

/// What is signed in every case.
pub(super) const MESSAGE: &[u8] = b"tree 4b825dc642cb6eb9a060e54bf8d69288fbee4904\n";

/// Kinds of keys, and how `ssh-keygen` is asked for them. A name with `sk` is a security key that is made of the key before it.
const KEYS: [(&str, &[&str]); 12] = [
    ("ed25519", &["-t", "ed25519"]),
    ("ed25519-two", &["-t", "ed25519"]),
    ("p256", &["-t", "ecdsa", "-b", "256"]),
    ("p384", &["-t", "ecdsa", "-b", "384"]),
    ("p521", &["-t", "ecdsa", "-b", "521"]),
    ("rsa", &["-t", "rsa", "-b", "2048"]),
    ("rsa-short", &["-t", "rsa", "-b", "1024"]),
    ("dsa", &["-t", "dsa"]),
    ("ca-ed25519", &["-t", "ed25519"]),
    ("ca-p256", &["-t", "ecdsa", "-b", "256"]),
    ("ca-rsa", &["-t", "rsa", "-b", "2048"]),
    ("ca-rsa-short", &["-t", "rsa", "-b", "1024"]),
];

/// Who signs in the cases.
pub(super) const PEOPLE: [&str; 6] = ["ed25519", "ed25519-two", "p256", "p384", "p521", "rsa"];
pub(super) const WEAK: [&str; 2] = ["rsa-short", "dsa"];
pub(super) const SECURITY: [&str; 2] = ["sk-ed25519", "sk-p256"];
pub(super) const AUTHORITIES: [&str; 4] = ["ca-ed25519", "ca-p256", "ca-rsa", "ca-rsa-short"];

/// Kinds of certificates: by whom, and with which arguments.
pub(super) const CERTIFICATES: [(&str, &str, &[&str]); 15] = [
    ("plain", "ca-ed25519", &["-I", "plain", "-n", "alice@example.com", "-z", "1"]),
    ("two-names", "ca-ed25519", &["-I", "two", "-n", "bob@example.com,carol", "-z", "70"]),
    ("by-p256", "ca-p256", &["-I", "p256", "-n", "alice@example.com,carol", "-z", "2"]),
    ("by-rsa", "ca-rsa", &["-I", "rsa", "-n", "alice@example.com,bob@example.com", "-z", "3"]),
    ("by-rsa-256", "ca-rsa", &["-I", "rsa", "-n", "alice@example.com", "-t", "rsa-sha2-256", "-z", "4"]),
    ("by-rsa-sha1", "ca-rsa", &["-I", "rsa", "-n", "alice@example.com", "-t", "ssh-rsa", "-z", "5"]),
    ("by-rsa-short", "ca-rsa-short", &["-I", "rsa", "-n", "alice@example.com", "-z", "6"]),
    ("blank", "ca-ed25519", &["-I", "blank", "-n", "dave builder", "-z", "1000"]),
    ("nobody", "ca-ed25519", &["-I", "nobody", "-z", "8"]),
    ("unnumbered", "ca-ed25519", &["-I", "unnumbered", "-n", "alice@example.com"]),
    ("expired", "ca-ed25519", &["-I", "expired", "-n", "alice@example.com", "-V", "20200101:20240601", "-z", "9"]),
    ("later", "ca-ed25519", &["-I", "later", "-n", "alice@example.com", "-V", "20250601:20300101", "-z", "10"]),
    ("host", "ca-ed25519", &["-I", "host", "-h", "-n", "alice@example.com", "-z", "11"]),
    ("critical", "ca-ed25519", &["-I", "critical", "-n", "alice@example.com", "-O", "force-command=true", "-z", "12"]),
    ("extension", "ca-ed25519", &["-I", "extension", "-n", "alice@example.com", "-O", "extension:x@example.com=y", "-z", "13"]),
];

/// Lists of what is revoked, as `ssh-keygen -k` takes them, by the authority whose certificates are meant. `KEY` is the public
/// key of the file of that name, `HASH` its fingerprint.
const KRLS: [(&str, Option<&str>, &str); 16] = [
    ("empty", None, ""),
    ("serial", Some("ca-ed25519"), "serial: 1\n"),
    ("serials", Some("ca-ed25519"), "serial: 1-9\nserial: 70\n"),
    ("bitmap", Some("ca-ed25519"), "serial: 1\nserial: 3\nserial: 5\nserial: 8-10\nserial: 70\nserial: 72\n"),
    ("far", Some("ca-ed25519"), "serial: 999-18446744073709551615\n"),
    ("other-authority", Some("ca-p256"), "serial: 1-100\nid: plain\n"),
    ("id", Some("ca-ed25519"), "id: plain\nid: two\n"),
    ("id-rsa", Some("ca-rsa"), "id: rsa\n"),
    ("certificate", Some("ca-ed25519"), "CERT plain\n"),
    ("key", None, "key: KEY ed25519\n"),
    ("keys", None, "key: KEY p256\nkey: KEY rsa\nkey: KEY sk-p256\n"),
    ("sha1", None, "sha1: KEY ed25519\nsha1: KEY p384\n"),
    ("sha256", None, "sha256: KEY p521\nsha256: KEY ed25519-two\n"),
    ("hash", None, "hash: HASH ed25519\nhash: HASH sk-ed25519\n"),
    ("authority", None, "key: KEY ca-ed25519\n"),
    ("authority-sha256", None, "sha256: KEY ca-rsa\n"),
];

/// Everything, by name.
pub(super) struct Workshop {
    pub(super) home: tempfile::TempDir,
    /// As in `*.pub`, without comment.
    pub(super) public: BTreeMap<String, String>,
    /// Signatures of the message by a key, with a hash, for a namespace.
    signatures: BTreeMap<(String, &'static str, &'static str), SshSig>,
    /// Certificates of a key, by kind.
    certificates: BTreeMap<(String, &'static str), PublicKey>,
    pub(super) krls: Vec<(&'static str, PathBuf)>,
}

pub(super) fn ssh_keygen() -> Command {
    let mut command = Command::new("ssh-keygen");
    command.env("TZ", "UTC").env_remove("SSH_AUTH_SOCK").stdin(Stdio::null());
    command
}

fn run(command: &mut Command) -> Vec<u8> {
    let output = command.output().expect("ssh-keygen is needed: apt-get install openssh-client");
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

impl Workshop {
    /// One for all tests that run at the same time; the last one clears it away.
    pub(super) fn open() -> Arc<Workshop> {
        static OPEN: Mutex<Weak<Workshop>> = Mutex::new(Weak::new());
        let mut open = OPEN.lock().unwrap();
        open.upgrade().unwrap_or_else(|| {
            let workshop = Arc::new(Workshop::make());
            *open = Arc::downgrade(&workshop);
            workshop
        })
    }

    fn make() -> Workshop {
        let mut workshop = Workshop {
            home: tempfile::tempdir().unwrap(),
            public: BTreeMap::new(),
            signatures: BTreeMap::new(),
            certificates: BTreeMap::new(),
            krls: Vec::new(),
        };
        for (name, arguments) in KEYS {
            let file = workshop.file(name);
            run(ssh_keygen().args(["-q", "-N", "", "-C", ""]).args(arguments).arg("-f").arg(&file));
            let public = std::fs::read_to_string(file.with_extension("pub")).unwrap();
            workshop.public.insert(name.into(), public.trim().to_owned());
        }
        workshop.make_security_keys();
        workshop.sign();
        workshop.certify();
        workshop.revoke();
        workshop
    }

    fn file(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    fn private(&self, name: &str) -> PrivateKey {
        PrivateKey::from_openssh(std::fs::read(self.file(name)).unwrap()).unwrap()
    }

    fn make_security_keys(&mut self) {
        for (name, of) in [("sk-ed25519", "ed25519"), ("sk-p256", "p256")] {
            let key = match self.private(of).public_key().key_data() {
                KeyData::Ed25519(key) => KeyData::SkEd25519(SkEd25519::new(*key, "ssh:")),
                KeyData::Ecdsa(EcdsaPublicKey::NistP256(point)) => {
                    KeyData::SkEcdsaSha2NistP256(SkEcdsaSha2NistP256::new(*point, "ssh:"))
                }
                _ => unreachable!("because there is no other"),
            };
            let public = PublicKey::from(key).to_openssh().unwrap();
            std::fs::write(self.file(name).with_extension("pub"), &public).unwrap();
            self.public.insert(name.into(), public.trim().to_owned());
        }
    }

    fn sign(&mut self) {
        let message = self.file("message");
        std::fs::write(&message, MESSAGE).unwrap();
        for namespace in ["git", "file"] {
            for name in PEOPLE.into_iter().chain(WEAK) {
                for hash in ["sha256", "sha512"] {
                    let hashalg = format!("hashalg={hash}");
                    let mut command = ssh_keygen();
                    command.args(["-q", "-Y", "sign", "-n", namespace, "-O", &hashalg, "-f"]).arg(self.file(name));
                    let armoured = run(command.stdin(std::fs::File::open(&message).unwrap()));
                    self.signatures.insert((name.into(), hash, namespace), SshSig::from_pem(armoured).unwrap());
                }
            }
            for (name, of) in [("sk-ed25519", "ed25519"), ("sk-p256", "p256")] {
                for (touched, flags) in [("sha256", 1), ("untouched", 0)] {
                    let signature = self.touch(name, &self.private(of), namespace, flags);
                    self.signatures.insert((name.into(), touched, namespace), signature);
                }
            }
        }
    }

    /// What a security key would sign, when it was touched or not (`PROTOCOL.u2f`).
    fn touch(&self, name: &str, private: &PrivateKey, namespace: &str, flags: u8) -> SshSig {
        fn sign<K: SigningKey>(key: &K, bytes: &[u8]) -> Signature {
            key.sign(bytes)
        }
        let after = [&[flags][..], &7u32.to_be_bytes()].concat();
        let signed = SshSig::signed_data(namespace, HashAlg::Sha256, MESSAGE).unwrap();
        let hashed = [sha2::Sha256::digest("ssh:").as_slice(), &after, sha2::Sha256::digest(&signed).as_slice()].concat();
        let bare = sign(private, &hashed);
        let public = PublicKey::from_openssh(&self.public[name]).unwrap();
        let algorithm = if name == "sk-ed25519" { Algorithm::SkEd25519 } else { Algorithm::SkEcdsaSha2NistP256 };
        let signature = Signature::new(algorithm, [bare.as_bytes(), &after].concat()).unwrap();
        SshSig::new(public.key_data().clone(), namespace, HashAlg::Sha256, signature).unwrap()
    }

    fn certify(&mut self) {
        for name in PEOPLE.iter().chain(&WEAK).chain(&SECURITY) {
            for (kind, authority, arguments) in CERTIFICATES {
                // `ssh-keygen` writes beside the key that it is given.
                let key = self.file(&format!("{name}.{kind}.pub"));
                std::fs::write(&key, &self.public[*name]).unwrap();
                run(ssh_keygen().args(["-q", "-s"]).arg(self.file(authority)).args(arguments).arg(&key));
                let text = std::fs::read_to_string(self.file(&format!("{name}.{kind}-cert.pub"))).unwrap();
                let certificate = ssh_key::Certificate::from_openssh(&text).unwrap();
                self.certificates.insert(((*name).to_owned(), kind), PublicKey::from(KeyData::from(certificate)));
            }
        }
    }

    fn revoke(&mut self) {
        for (name, authority, specification) in KRLS {
            let specification = specification.lines().map(|line| self.spell(line)).collect::<Vec<_>>().join("\n");
            let (file, list) = (self.file(&format!("{name}.krl")), self.file(&format!("{name}.spec")));
            std::fs::write(&list, specification + "\n").unwrap();
            let mut command = ssh_keygen();
            command.args(["-q", "-k", "-f"]).arg(&file);
            if let Some(authority) = authority {
                command.arg("-s").arg(self.file(authority).with_extension("pub"));
            }
            run(command.arg(&list));
            self.krls.push((name, file));
        }
        let whole = std::fs::read(self.file("bitmap.krl")).unwrap();
        for (name, bytes) in [
            ("cut", whole[..whole.len() - 3].to_vec()),
            ("longer", [whole.as_slice(), b"\x01"].concat()),
            ("of-the-future", [&whole[..11], &[2], &whole[12..]].concat()),
            ("unknown-section", [whole.as_slice(), b"\x07\0\0\0\0"].concat()),
            ("binary", b"\xff\xfe no text\n".to_vec()),
            ("no-key", b"ssh-ed25519 AAAA\n".to_vec()),
            ("nothing", Vec::new()),
            ("comments", b"# nobody yet\n\n".to_vec()),
            ("key-text", format!("# stolen\n{} a comment\n", self.public["ed25519"]).into_bytes()),
            ("keys-text", format!("{}\n{}\n", self.public["rsa"], self.public["sk-p256"]).into_bytes()),
            ("authority-text", format!("{}\n", self.public["ca-ed25519"]).into_bytes()),
            ("certificate-text", std::fs::read(self.file("p384.plain-cert.pub")).unwrap()),
        ] {
            let file = self.file(&format!("{name}.revoked"));
            std::fs::write(&file, bytes).unwrap();
            self.krls.push((name, file));
        }
        self.krls.push(("missing", self.file("missing")));
    }

    /// A line of a specification with the keys that it names.
    fn spell(&self, line: &str) -> String {
        if let Some(kind) = line.strip_prefix("CERT ") {
            return std::fs::read_to_string(self.file(&format!("ed25519.{kind}-cert.pub"))).unwrap().trim().to_owned();
        }
        for (mark, of) in [("KEY ", false), ("HASH ", true)] {
            if let Some((before, name)) = line.split_once(mark) {
                let public = &self.public[name];
                let hash = || PublicKey::from_openssh(public).unwrap().fingerprint(HashAlg::Sha256).to_string();
                return format!("{before}{}", if of { hash() } else { public.clone() });
            }
        }
        line.to_owned()
    }

    /// The armoured signature of a key, shown with a certificate or without.
    pub(super) fn signature(
        &self,
        key: &str,
        certificate: Option<&'static str>,
        how: &'static str,
        namespace: &'static str,
    ) -> String {
        let bare = &self.signatures[&(key.to_owned(), how, namespace)];
        let shown = match certificate {
            Some(kind) => self.certificates[&(key.to_owned(), kind)].key_data().clone(),
            None => return armoured(bare),
        };
        armoured(&SshSig::new(shown, bare.namespace(), bare.hash_alg(), bare.signature().clone()).unwrap())
    }

    /// A certificate as a line.
    pub(super) fn certificate(&self, key: &str, kind: &'static str) -> String {
        std::fs::read_to_string(self.file(&format!("{key}.{kind}-cert.pub"))).unwrap().trim().to_owned()
    }

    pub(super) fn message(&self) -> PathBuf {
        self.file("message")
    }
}

fn armoured(signature: &SshSig) -> String {
    signature.to_pem(LineEnding::LF).unwrap()
}

/// Writes a file and gives its place.
pub(super) fn written(directory: &Path, name: &str, bytes: &[u8]) -> PathBuf {
    let file = directory.join(name);
    std::fs::write(&file, bytes).unwrap();
    file
}
