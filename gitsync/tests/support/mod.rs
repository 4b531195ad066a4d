//! A repository, signers and an sshd, all real, all in a directory of their own.

#![allow(dead_code)]

pub mod packs;
pub mod web;

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tk8s_core::Timestamp;
use tk8s_gitsync::{ObjectVerdict, Refusal, Signers, explain_object};

#[derive(Clone, Copy, Debug)]
pub enum KeyType {
    Ed25519,
    EcdsaP256,
    EcdsaP384,
    EcdsaP521,
    Rsa,
}

/// Somebody with a key from `ssh-keygen`.
pub struct Signer {
    pub name: String,
    pub private: PathBuf,
    pub public: String,
}

impl Signer {
    pub fn new(home: &Path, name: &str, kind: KeyType) -> Signer {
        let private = home.join(format!("{name}-{kind:?}"));
        let (kind, bits) = match kind {
            KeyType::Ed25519 => ("ed25519", "256"),
            KeyType::EcdsaP256 => ("ecdsa", "256"),
            KeyType::EcdsaP384 => ("ecdsa", "384"),
            KeyType::EcdsaP521 => ("ecdsa", "521"),
            KeyType::Rsa => ("rsa", "3072"),
        };
        run(Command::new("ssh-keygen")
            .args(["-q", "-t", kind, "-b", bits, "-N", "", "-C"])
            .arg(format!("{name}@example.com"))
            .arg("-f")
            .arg(&private));
        let public = std::fs::read_to_string(private.with_extension("pub")).unwrap().trim().to_owned();
        Signer { name: name.into(), private, public }
    }

    /// The same key with a certificate, made by `ssh-keygen -s` with these arguments.
    pub fn certified(&self, authority: &Signer, arguments: &[&str]) -> Signer {
        run(Command::new("ssh-keygen")
            .args(["-q", "-s"])
            .arg(&authority.private)
            .args(arguments)
            .arg(self.private.with_extension("pub")));
        let name = self.private.file_name().unwrap().to_str().unwrap();
        let made = self.private.with_file_name(format!("{name}-cert.pub"));
        // Git is given the certificate and finds the key beside it. Each has a place of its own, as the next one would replace it.
        let place = tempfile::tempdir_in(self.private.parent().unwrap()).unwrap().keep();
        let private = place.join("id-cert.pub");
        std::fs::copy(&self.private, place.join("id")).unwrap();
        std::fs::rename(made, &private).unwrap();
        let public = std::fs::read_to_string(&private).unwrap().trim().to_owned();
        Signer { name: self.name.clone(), private, public }
    }

    /// An armored signature by `ssh-keygen -Y sign`.
    pub fn sign(&self, namespace: &str, message: &[u8]) -> String {
        let mut child = Command::new("ssh-keygen")
            .args(["-Y", "sign", "-n", namespace, "-f"])
            .arg(&self.private)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(message).unwrap();
        String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap()
    }
}

/// The verdict on an object, after a look whether its explanation is one: it says the same, and its last check is a yes or,
/// where something refused, a no; the rule that refused is among its checks.
pub fn verify_object(raw: &[u8], signers: &Signers, now: Timestamp) -> Result<ObjectVerdict, Refusal> {
    let verdict = tk8s_gitsync::verify_object(raw, signers, now);
    let explained = explain_object(raw, signers, now);
    assert_eq!(explained.verdict, verdict.clone().map(|verdict| vec![verdict]));
    let checks: Vec<_> = explained.objects.iter().flat_map(|object| &object.checks).collect();
    let last = checks.last().expect("something is asked");
    assert_eq!(last.passed, verdict.is_ok(), "{checks:#?}");
    if let Err(refusal) = &verdict {
        assert!(checks.iter().any(|check| check.rule == Some(refusal.rule)), "{refusal:?} is not among {checks:#?}");
    }
    verdict
}

/// A signers file with these people.
pub fn signers(people: &[&Signer]) -> Signers {
    signers_with(&people.iter().map(|person| (*person, &["release"][..])).collect::<Vec<_>>())
}

/// People and their roles.
pub fn signers_with(people: &[(&Signer, &[&str])]) -> Signers {
    let mut text = "apiVersion: agent.tk8s.io/v1alpha1\nkind: Signers\nsigners:\n".to_owned();
    for (person, roles) in people {
        let roles = roles.join(", ");
        text.push_str(&format!("  - name: {}\n    roles: [{roles}]\n    keys: [\"{}\"]\n", person.name, person.public));
    }
    Signers::parse(text.as_bytes(), "signers.yaml").unwrap()
}

/// A bare repository and a work tree that pushes to it.
pub struct Repository {
    home: tempfile::TempDir,
    pub bare: PathBuf,
    pub work: PathBuf,
}

impl Repository {
    pub fn new() -> Repository {
        Repository::of_format("sha1")
    }

    /// With objects named by `sha1` or `sha256`.
    pub fn of_format(format: &str) -> Repository {
        let format = format!("--object-format={format}");
        let home = tempfile::tempdir().unwrap();
        let (bare, work) = (home.path().join("origin.git"), home.path().join("work"));
        run(Command::new("git").args(["init", "-q", "--bare", "-b", "main", &format]).arg(&bare));
        run(Command::new("git").args(["init", "-q", "-b", "main", &format]).arg(&work));
        let repository = Repository { home, bare, work };
        repository.git(&["remote", "add", "origin", repository.bare.to_str().unwrap()]);
        repository
    }

    pub fn home(&self) -> &Path {
        self.home.path()
    }

    pub fn write(&self, path: &str, text: &str) {
        let path = self.work.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    pub fn commit(&self, message: &str, signer: Option<&Signer>) -> String {
        let commit = self.commit_only(message, signer);
        self.git(&["push", "-q", "--force", "origin", "main"]);
        commit
    }

    pub fn commit_only(&self, message: &str, signer: Option<&Signer>) -> String {
        self.git(&["add", "-A"]);
        match signer {
            Some(signer) => self.git_signed(signer, &["commit", "-q", "-S", "-m", message]),
            None => self.git(&["commit", "-q", "-m", message]),
        };
        self.git(&["rev-parse", "HEAD"])
    }

    pub fn tag(&self, name: &str, signer: Option<&Signer>) {
        match signer {
            Some(signer) => self.git_signed(signer, &["tag", "-s", "-m", name, name]),
            None => self.git(&["tag", "-a", "-m", name, name]),
        };
        self.git(&["push", "-q", "--force", "origin", name]);
    }

    pub fn git(&self, arguments: &[&str]) -> String {
        run(self.command().args(arguments))
    }

    /// With further variables in its environment.
    pub fn git_with(&self, environment: &[(&str, &str)], arguments: &[&str]) -> String {
        run(self.command().envs(environment.iter().copied()).args(arguments))
    }

    /// What it prints, if it says that all is well.
    pub fn try_git(&self, arguments: &[&str]) -> Option<String> {
        let output = self.command().args(arguments).output().unwrap();
        output.status.success().then(|| String::from_utf8(output.stdout).unwrap().trim().to_owned())
    }

    pub fn git_signed(&self, signer: &Signer, arguments: &[&str]) -> String {
        let key = format!("user.signingkey={}", signer.private.display());
        run(self.command().args(["-c", "gpg.format=ssh", "-c", &key]).args(arguments))
    }

    /// The same, at a time that whoever commits says it is.
    pub fn commit_at(&self, message: &str, signer: &Signer, time: &str) -> String {
        let key = format!("user.signingkey={}", signer.private.display());
        run(self.command().args(["add", "-A"]));
        let mut command = self.command();
        command.env("GIT_AUTHOR_DATE", time).env("GIT_COMMITTER_DATE", time);
        run(command.args(["-c", "gpg.format=ssh", "-c", &key, "commit", "-q", "-S", "-m", message]));
        self.git(&["push", "-q", "--force", "origin", "main"]);
        self.git(&["rev-parse", "HEAD"])
    }

    /// Writes an object as it is, whatever Git thinks of it.
    pub fn write_object(&self, kind: &str, bytes: &[u8]) -> String {
        let mut command = self.command();
        command.args(["hash-object", "-t", kind, "-w", "--literally", "--stdin"]);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(bytes).unwrap();
        String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap().trim().to_owned()
    }

    /// Whether Git itself verifies: `verify-commit` or `verify-tag` with these signers and configuration.
    pub fn git_verifies(&self, what: &str, name: &str, allowed_signers: &str, configuration: &[&str]) -> bool {
        let file = self.home().join("allowed_signers");
        std::fs::write(&file, allowed_signers).unwrap();
        let mut command = self.command();
        command.arg("-c").arg(format!("gpg.ssh.allowedSignersFile={}", file.display()));
        for setting in configuration {
            command.args(["-c", setting]);
        }
        command.args([what, name]).output().unwrap().status.success()
    }

    /// The raw bytes of an object.
    pub fn raw(&self, kind: &str, name: &str) -> Vec<u8> {
        self.command().args(["cat-file", kind, name]).output().unwrap().stdout
    }

    fn command(&self) -> Command {
        let mut command = Command::new("git");
        command
            .arg("-C")
            .arg(&self.work)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap())
            .env("HOME", self.home.path());
        for (name, value) in [
            ("GIT_CONFIG_GLOBAL", "/dev/null"),
            ("GIT_CONFIG_SYSTEM", "/dev/null"),
            ("GIT_AUTHOR_NAME", "T"),
            ("GIT_COMMITTER_NAME", "T"),
        ] {
            command.env(name, value);
        }
        command.env("GIT_AUTHOR_EMAIL", "t@example.com").env("GIT_COMMITTER_EMAIL", "t@example.com");
        command
    }
}

/// A real sshd on a port of its own, for the user who runs the test.
pub struct Sshd {
    child: Child,
    home: PathBuf,
    port: u16,
}

impl Sshd {
    pub fn start(home: &Path) -> Sshd {
        Sshd::start_with(home, |_| String::new())
    }

    /// Whose host key was certified by `ssh-keygen -s` with these arguments.
    pub fn with_host_certificate(home: &Path, arguments: &[&str], authority: &Signer) -> Sshd {
        let place = tempfile::tempdir_in(home).unwrap().keep();
        Sshd::start_with(&place, |home| {
            let mut command = Command::new("ssh-keygen");
            command.args(["-q", "-s"]).arg(&authority.private).args(["-I", "host"]).args(arguments);
            run(command.arg(home.join("host-Ed25519.pub")));
            format!("HostCertificate {}\n", home.join("host-Ed25519-cert.pub").display())
        })
    }

    fn start_with(home: &Path, more: impl FnOnce(&Path) -> String) -> Sshd {
        let program = ["/usr/sbin/sshd", "/usr/local/sbin/sshd"].into_iter().find(|path| Path::new(path).exists());
        let program = program.expect("sshd is needed: apt-get install openssh-server");
        let home = home.join("sshd");
        std::fs::create_dir_all(&home).unwrap();
        std::fs::create_dir_all("/run/sshd").ok();
        Signer::new(&home, "host", KeyType::Ed25519);
        let client = Signer::new(&home, "client", KeyType::Ed25519);
        std::fs::write(home.join("authorized_keys"), &client.public).unwrap();
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let config = format!(
            "Port {port}\nListenAddress 127.0.0.1\nHostKey {0}/host-Ed25519\nAuthorizedKeysFile {0}/authorized_keys\nPidFile none\nStrictModes no\nUsePAM no\nPermitRootLogin yes\nAcceptEnv GIT_PROTOCOL\nPasswordAuthentication no\n",
            home.display()
        );
        std::fs::write(home.join("sshd_config"), config + &more(&home)).unwrap();
        let child = Command::new(program)
            .args(["-D", "-e", "-f"])
            .arg(home.join("sshd_config"))
            .stderr(std::fs::File::create(home.join("log")).unwrap())
            .spawn()
            .unwrap();
        let sshd = Sshd { child, home, port };
        let host = std::fs::read_to_string(sshd.home.join("host-Ed25519.pub")).unwrap();
        std::fs::write(sshd.known_hosts(), format!("{} {host}", sshd.known_name())).unwrap();
        let began = Instant::now();
        while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
            let log = || std::fs::read_to_string(sshd.home.join("log")).unwrap();
            assert!(began.elapsed() < Duration::from_secs(10), "sshd does not listen: {}", log());
            std::thread::sleep(Duration::from_millis(20));
        }
        sshd
    }

    pub fn url(&self, path: &Path) -> String {
        let user = run(Command::new("id").arg("-un"));
        format!("ssh://{user}@127.0.0.1:{}{}", self.port, path.display())
    }

    pub fn known_name(&self) -> String {
        format!("[127.0.0.1]:{}", self.port)
    }

    pub fn known_hosts(&self) -> PathBuf {
        self.home.join("known_hosts")
    }

    pub fn client_key(&self) -> PathBuf {
        self.home.join("client-Ed25519")
    }
}

impl Drop for Sshd {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

fn run(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}
