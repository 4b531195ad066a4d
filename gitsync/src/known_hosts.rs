//! The known_hosts file, read as OpenSSH reads it (sshd(8), "SSH_KNOWN_HOSTS FILE FORMAT"), but for one thing: a line that
//! can't be read is an error, not a line to skip.

use std::path::Path;

use russh::keys::{HashAlg, PublicKey};
use sha1::Sha1;

use crate::Error;

/// What the file says about one host.
#[derive(Debug, Default)]
pub(crate) struct Known {
    keys: Vec<PublicKey>,
    revoked: Vec<PublicKey>,
}

/// What the file says about a key that a host shows.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Known,
    Unknown,
    Changed,
    Revoked,
}

/// The fingerprint as OpenSSH prints it.
pub(crate) fn fingerprint(key: &PublicKey) -> String {
    key.fingerprint(HashAlg::Sha256).to_string()
}

/// How a host is written in the file.
pub(crate) fn name(host: &str, port: u16) -> String {
    if port == 22 { host.to_ascii_lowercase() } else { format!("[{}]:{port}", host.to_ascii_lowercase()) }
}

impl Known {
    /// Reads the file and keeps what it says about this host.
    pub(crate) fn read(path: &Path, host: &str, port: u16) -> Result<Known, Error> {
        let text = std::fs::read_to_string(path).map_err(|source| Error::ReadFile {
            what: "known_hosts file",
            path: path.into(),
            source,
        })?;
        let name = name(host, port);
        let mut known = Known::default();
        for (index, line) in text.lines().enumerate() {
            let problem = |why: &str| Error::KnownHosts { path: path.into(), line: index + 1, why: why.into() };
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let (marker, rest) = match line.strip_prefix('@') {
                Some(marked) => marked
                    .split_once([' ', '\t'])
                    .map(|(marker, rest)| (Some(marker), rest.trim_start()))
                    .ok_or_else(|| problem("it ends after its marker"))?,
                None => (None, line),
            };
            let (hosts, key) = rest.split_once([' ', '\t']).ok_or_else(|| problem("it names hosts but no key"))?;
            let matches = matches(hosts, &name).map_err(problem)?;
            let key = PublicKey::from_openssh(key.trim());
            match (marker, matches) {
                (Some("revoked"), true) => known.revoked.push(key.map_err(|_| problem("its key can't be read"))?),
                (None, true) => known.keys.push(key.map_err(|_| problem("its key can't be read"))?),
                (Some("cert-authority"), true) => {
                    return Err(problem("host certificates are not supported yet: name the host's own key"));
                }
                (None | Some("revoked" | "cert-authority"), false) => {}
                (Some(_), _) => return Err(problem("its marker is unknown: `@revoked` is known")),
            }
        }
        Ok(known)
    }

    /// The algorithms for which a key of the host is known: a server with several keys is asked for one that can be judged.
    pub(crate) fn algorithms(&self) -> Vec<russh::keys::Algorithm> {
        let mut algorithms = Vec::new();
        for key in &self.keys {
            match key.algorithm() {
                russh::keys::Algorithm::Rsa { .. } => algorithms.extend([
                    russh::keys::Algorithm::Rsa { hash: Some(HashAlg::Sha512) },
                    russh::keys::Algorithm::Rsa { hash: Some(HashAlg::Sha256) },
                ]),
                algorithm => algorithms.push(algorithm),
            }
        }
        algorithms
    }

    /// What the file says about the key that the host shows.
    pub(crate) fn judge(&self, shown: &PublicKey) -> Verdict {
        let is = |known: &PublicKey| known.key_data() == shown.key_data();
        if self.revoked.iter().any(is) {
            Verdict::Revoked
        } else if self.keys.iter().any(is) {
            Verdict::Known
        } else if self.keys.is_empty() {
            Verdict::Unknown
        } else {
            Verdict::Changed
        }
    }
}

/// Whether a list of host patterns names this host. A negated pattern that matches excludes it.
fn matches(hosts: &str, name: &str) -> Result<bool, &'static str> {
    if let Some(hashed) = hosts.strip_prefix("|1|") {
        return hashed_matches(hashed, name);
    }
    let mut found = false;
    for pattern in hosts.split(',') {
        match pattern.strip_prefix('!') {
            Some(pattern) if glob(&pattern.to_ascii_lowercase(), name) => return Ok(false),
            Some(_) => {}
            None => found |= glob(&pattern.to_ascii_lowercase(), name),
        }
    }
    Ok(found)
}

fn hashed_matches(hashed: &str, name: &str) -> Result<bool, &'static str> {
    use base64::Engine as _;
    use hmac::{Hmac, KeyInit as _, Mac as _};
    let decode = |text: &str| base64::engine::general_purpose::STANDARD.decode(text).map_err(|_| "its hashed name can't be read");
    let (salt, hash) = hashed.split_once('|').ok_or("its hashed name can't be read")?;
    let (salt, hash) = (decode(salt)?, decode(hash)?);
    let mut mac = Hmac::<Sha1>::new_from_slice(&salt).map_err(|_| "its hashed name can't be read")?;
    mac.update(name.as_bytes());
    Ok(mac.verify_slice(&hash).is_ok())
}

/// `*` and `?`, as in file names but without classes. Runs in time proportional to the product of both lengths.
pub(crate) fn glob(pattern: &str, text: &str) -> bool {
    let (pattern, text) = (pattern.as_bytes(), text.as_bytes());
    let (mut p, mut t, mut star) = (0, 0, None);
    while t < text.len() {
        if p < pattern.len() && (pattern[p] == b'?' || (pattern[p] != b'*' && pattern[p] == text[t])) {
            p += 1;
            t += 1;
        } else if p < pattern.len() && pattern[p] == b'*' {
            star = Some((p, t));
            p += 1;
        } else if let Some((at, from)) = star {
            star = Some((at, from + 1));
            p = at + 1;
            t = from + 1;
        } else {
            return false;
        }
    }
    pattern[p..].iter().all(|&byte| byte == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAILM+rvN+ot98qgEN796jTiQfZfG1KaT0PtFDJ/XFSqti";
    const OTHER: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl";

    fn known(text: &str, host: &str, port: u16) -> Result<Known, Error> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        Known::read(file.path(), host, port)
    }

    fn verdict(text: &str, host: &str, port: u16) -> Verdict {
        known(text, host, port).unwrap().judge(&PublicKey::from_openssh(KEY).unwrap())
    }

    #[test]
    fn a_host_is_known_by_name_port_pattern_and_hash() {
        assert_eq!(verdict(&format!("git.example.com {KEY}"), "Git.Example.com", 22), Verdict::Known);
        assert_eq!(verdict(&format!("git.example.com {KEY}"), "git.example.com", 2222), Verdict::Unknown);
        assert_eq!(verdict(&format!("[git.example.com]:2222 {KEY} comment"), "git.example.com", 2222), Verdict::Known);
        assert_eq!(verdict(&format!("# c\n\n*.example.com,!bad.example.com {KEY}"), "git.example.com", 22), Verdict::Known);
        assert_eq!(verdict(&format!("*.example.com,!bad.example.com {KEY}"), "bad.example.com", 22), Verdict::Unknown);
        // `ssh-keygen -H` over a line for `localhost`.
        let hashed = "|1|AvMGeHQeGYCBNI2ocl1kVlAbYnE=|";
        assert!(matches(&format!("{hashed}AAAA"), "localhost").is_ok_and(|found| !found));
    }

    #[test]
    fn another_key_is_a_change_and_a_revoked_one_is_refused() {
        assert_eq!(verdict(&format!("h {OTHER}"), "h", 22), Verdict::Changed);
        assert_eq!(verdict(&format!("h {OTHER}\nh {KEY}"), "h", 22), Verdict::Known);
        assert_eq!(verdict(&format!("h {KEY}\n@revoked * {KEY}"), "h", 22), Verdict::Revoked);
        assert_eq!(verdict("", "h", 22), Verdict::Unknown);
    }

    #[test]
    fn a_line_that_cannot_be_read_is_an_error_with_its_number() {
        for text in ["h", "h ssh-ed25519 AAAA", "@whatever h x", "@cert-authority h ssh-ed25519 AAAA", "@revoked"] {
            let error = known(&format!("# first\n{text}\n"), "h", 22).unwrap_err().to_string();
            assert!(error.contains("line 2"), "{text}: {error}");
        }
    }

    #[test]
    fn globs_match_as_openssh_s_do() {
        for (pattern, text, is) in [
            ("*", "", true),
            ("a*c", "abbc", true),
            ("a?c", "ac", false),
            ("*.b", "a.c.b", true),
            ("a", "ab", false),
            ("**", "x", true),
        ] {
            assert_eq!(glob(pattern, text), is, "{pattern} {text}");
        }
    }
}
