//! The programs that judge beside us, each in a directory of its own.

use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// GnuPG with its own keys. The agent that it starts ends with it.
pub struct Gpg {
    home: tempfile::TempDir,
}

impl Gpg {
    pub fn new() -> Gpg {
        // Short: sockets have no room for long paths.
        Gpg { home: tempfile::Builder::new().prefix("gpg").tempdir_in("/tmp").unwrap() }
    }

    pub fn home(&self) -> &Path {
        self.home.path()
    }

    /// A program for Git's `gpg.program`: gpg with these keys.
    pub fn script(&self) -> PathBuf {
        let (path, home) = (self.home.path().join("gpg"), self.home.path().display());
        let options = "--batch --no-tty --pinentry-mode loopback --passphrase ''";
        std::fs::write(&path, format!("#!/bin/sh\nexec gpg --homedir {home} {options} \"$@\"\n")).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o700)).unwrap();
        path
    }

    pub fn try_run(&self, arguments: &[&str], input: &[u8]) -> Output {
        let mut command = Command::new("gpg");
        command.arg("--homedir").arg(self.home.path()).args(["--batch", "--no-tty", "--yes", "--pinentry-mode", "loopback"]);
        run(command.args(["--passphrase", "", "--trust-model", "always"]).args(arguments), input)
    }

    pub fn run(&self, arguments: &[&str], input: &[u8]) -> Vec<u8> {
        let output = self.try_run(arguments, input);
        assert!(output.status.success(), "gpg {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        output.stdout
    }

    /// Makes a key that is for this; gives its fingerprint.
    pub fn key(&self, name: &str, algorithm: &str, usage: &str, expires: &str) -> String {
        self.run(&["--quick-generate-key", &format!("{name} <{name}@example.com>"), algorithm, usage, expires], b"");
        self.fingerprints(name).remove(0)
    }

    /// The fingerprints of a key and its subkeys.
    pub fn fingerprints(&self, key: &str) -> Vec<String> {
        let listed = String::from_utf8(self.run(&["--with-colons", "--list-keys", key], b"")).unwrap();
        listed.lines().filter(|line| line.starts_with("fpr:")).map(|line| line.split(':').nth(9).unwrap().to_owned()).collect()
    }

    pub fn export(&self, key: &str) -> Vec<u8> {
        self.run(&["--armor", "--export", key], b"")
    }

    /// Whether gpg, who knows this certificate only, finds nothing wrong with the signature.
    pub fn accepts(certificate: &[u8], signature: &str, payload: &[u8]) -> bool {
        let gpg = Gpg::new();
        gpg.try_run(&["--import"], certificate);
        let (signed, data) = files(gpg.home(), signature, payload);
        let output = gpg.try_run(&["--status-fd", "1", "--verify", &signed, &data], b"");
        String::from_utf8_lossy(&output.stdout).lines().any(|line| line.starts_with("[GNUPG:] GOODSIG "))
    }
}

impl Drop for Gpg {
    fn drop(&mut self) {
        run(Command::new("gpgconf").arg("--homedir").arg(self.home.path()).args(["--kill", "all"]), b"");
    }
}

/// Whether Sequoia's verifier accepts the signature.
pub fn sqv_accepts(certificate: &[u8], signature: &str, payload: &[u8]) -> bool {
    let home = tempfile::tempdir().unwrap();
    let (signed, data) = files(home.path(), signature, payload);
    let keyring = home.path().join("keyring");
    std::fs::write(&keyring, certificate).unwrap();
    run(Command::new("sqv").arg("--keyring").arg(keyring).args([signed, data]), b"").status.success()
}

fn files(home: &Path, signature: &str, payload: &[u8]) -> (String, String) {
    let (signed, data) = (home.join("payload.asc"), home.join("payload"));
    std::fs::write(&signed, signature).unwrap();
    std::fs::write(&data, payload).unwrap();
    (signed.display().to_string(), data.display().to_string())
}

/// Runs a program to its end.
pub fn run(command: &mut Command, input: &[u8]) -> Output {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{command:?}: {error}; scripts/prerequisites.sh installs what is needed"));
    // It may end before it has read everything.
    child.stdin.take().unwrap().write_all(input).ok();
    child.wait_with_output().unwrap()
}
