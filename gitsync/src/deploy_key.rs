//! The key by which the agent logs in to a Git host over SSH: made here, or the public half of one that is there.

use std::path::Path;

use ssh_key::private::Ed25519Keypair;
use ssh_key::{LineEnding, PrivateKey};
use tk8s_core::Secret;

use crate::Error;

/// A new key.
#[derive(Debug)]
pub struct DeployKey {
    /// As OpenSSH keeps it, without a passphrase.
    pub private: Secret,
    /// One line, to be registered at the Git host.
    pub public: String,
}

impl DeployKey {
    /// An Ed25519 key from 32 random bytes. The comment is how people find it at the Git host.
    pub fn new(random: &[u8; 32], comment: &str) -> DeployKey {
        let key = PrivateKey::new(Ed25519Keypair::from_seed(random).into(), comment).expect("because a pair is a key");
        let private = key.to_openssh(LineEnding::LF).expect("because a key without a passphrase can be written");
        let public = key.public_key().to_openssh().expect("because a public key can be written");
        DeployKey { private: Secret::new(private.as_bytes().to_vec()), public }
    }

    /// The public half of a key in a file.
    pub fn public_half(file: &Path) -> Result<String, Error> {
        DeployKey::public_half_of(&crate::read_small(file, "SSH key")?, file)
    }

    /// The public half of a key in these bytes, which are those of `file`.
    pub fn public_half_of(bytes: &[u8], file: &Path) -> Result<String, Error> {
        let fail = |why: &str| Error::Key { path: file.into(), why: why.into() };
        let key = PrivateKey::from_openssh(bytes);
        let key = key.map_err(|_| fail("it is not a private key in OpenSSH's form, as `ssh-keygen -t ed25519` makes it"))?;
        key.public_key().to_openssh().map_err(|_| fail("its public half can't be written"))
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn ssh_keygen_finds_the_same_public_half_in_a_key_that_was_made_here() {
        let made = DeployKey::new(&[7; 32], "tk8s-agent prod/tk8s");
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("id");
        std::fs::write(&file, made.private.expose()).unwrap();
        std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o400)).unwrap();
        let output = Command::new("ssh-keygen").arg("-y").arg("-f").arg(&file).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        assert_eq!(String::from_utf8(output.stdout).unwrap().trim(), made.public);
        assert!(made.public.starts_with("ssh-ed25519 ") && made.public.ends_with(" tk8s-agent prod/tk8s"));
        assert_eq!(DeployKey::public_half(&file).unwrap(), made.public);
        std::fs::write(directory.path().join("other"), "no key").unwrap();
        let error = DeployKey::public_half(&directory.path().join("other")).unwrap_err();
        assert!(error.to_string().contains("not a private key in OpenSSH's form"), "{error}");
    }
}
