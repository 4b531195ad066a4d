//! The known_hosts file, read as OpenSSH reads it (sshd(8), "SSH_KNOWN_HOSTS FILE FORMAT"), but for one thing: a line that
//! can't be read is an error, not a line to skip.

use std::path::Path;

use russh::keys::ssh_key::certificate::CertType;
use russh::keys::{Algorithm, Certificate, HashAlg, PublicKey};
use sha1::Sha1;
use tk8s_core::Timestamp;

use crate::Error;

/// What the file says about one host.
#[derive(Debug, Default)]
pub(crate) struct Known {
    /// As a certificate names it: in lower case, without a port.
    host: String,
    keys: Vec<PublicKey>,
    /// Whose certificates are believed for this host.
    authorities: Vec<PublicKey>,
    revoked: Vec<PublicKey>,
}

/// What the file says about a key that a host shows.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Known,
    Unknown,
    Changed,
    Revoked,
    /// A certificate of an authority that is known, and still not good: why.
    BadCertificate(String),
}

/// The fingerprint as OpenSSH prints it.
pub(crate) fn fingerprint(key: &PublicKey) -> String {
    key.fingerprint(HashAlg::Sha256).to_string()
}

/// The same of the key in a certificate.
pub(crate) fn certificate_fingerprint(certificate: &Certificate) -> String {
    certificate.public_key().fingerprint(HashAlg::Sha256).to_string()
}

/// How a host is written in the file.
pub(crate) fn name(host: &str, port: u16) -> String {
    if port == 22 { host.to_ascii_lowercase() } else { format!("[{}]:{port}", host.to_ascii_lowercase()) }
}

impl Known {
    /// Reads the file and keeps what it says about this host.
    pub(crate) fn read(path: &Path, host: &str, port: u16) -> Result<Known, Error> {
        let bytes = crate::read_small(path, "known_hosts file")?;
        let text = std::str::from_utf8(&bytes).map_err(|_| Error::KnownHosts {
            path: path.into(),
            line: 1,
            why: "the file is not text".into(),
        })?;
        Self::parse(text, path, host, port)
    }

    pub(crate) fn parse(text: &str, path: &Path, host: &str, port: u16) -> Result<Known, Error> {
        let name = name(host, port);
        let mut known = Known { host: host.to_ascii_lowercase(), ..Known::default() };
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
                (Some("cert-authority"), true) => known.authorities.push(key.map_err(|_| problem("its key can't be read"))?),
                (None | Some("revoked" | "cert-authority"), false) => {}
                (Some(_), _) => return Err(problem("its marker is unknown: `@revoked` and `@cert-authority` are known")),
            }
        }
        Ok(known)
    }

    /// The algorithms for which a key of the host is known: a server with several keys is asked for one that can be judged.
    pub(crate) fn algorithms(&self) -> Vec<Algorithm> {
        let mut algorithms = Vec::new();
        for key in &self.keys {
            match key.algorithm() {
                Algorithm::Rsa { .. } => algorithms.extend(RSA),
                algorithm => algorithms.push(algorithm),
            }
        }
        algorithms
    }

    /// The algorithms for which a certificate can be judged: any, once there is an authority.
    pub(crate) fn certificate_algorithms(&self) -> Vec<Algorithm> {
        use russh::keys::EcdsaCurve;
        if self.authorities.is_empty() {
            return Vec::new();
        }
        let curves = [EcdsaCurve::NistP256, EcdsaCurve::NistP384, EcdsaCurve::NistP521];
        let ecdsa = curves.map(|curve| Algorithm::Ecdsa { curve });
        std::iter::once(Algorithm::Ed25519).chain(ecdsa).chain(RSA).collect()
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

    /// What the file says about a certificate: its authority has to be known for this host and not revoked, and it has
    /// to be a host's, for this host, now.
    pub(crate) fn judge_certificate(&self, shown: &Certificate, now: Timestamp) -> Verdict {
        let bad = |why: &str| Verdict::BadCertificate(why.into());
        if self.revoked.iter().any(|key| key.key_data() == shown.public_key() || key.key_data() == shown.signature_key()) {
            return Verdict::Revoked;
        }
        let authorities: Vec<_> = self.authorities.iter().map(|key| key.fingerprint(HashAlg::Sha256)).collect();
        if !self.authorities.iter().any(|key| key.key_data() == shown.signature_key()) {
            return if self.keys.is_empty() { Verdict::Unknown } else { Verdict::Changed };
        }
        if shown.cert_type() != CertType::Host {
            return bad("it is a user's certificate, not a host's");
        }
        // For hosts no critical option is defined, so there is none that we could know.
        if !shown.critical_options().is_empty() {
            return bad("it has a critical option, and none is known for hosts");
        }
        let names = shown.valid_principals();
        if names.is_empty() {
            return bad("it names no host");
        }
        if !names.iter().any(|name| glob(&name.to_ascii_lowercase(), &self.host)) {
            let names = tk8s_core::printable(&names.join(", "), 100);
            return Verdict::BadCertificate(format!("it is for {names}, not for `{}`", self.host));
        }
        let now = u64::try_from(now.as_second()).unwrap_or(0);
        if now < shown.valid_after() || now >= shown.valid_before() {
            return bad("it is not valid now");
        }
        match shown.validate_at(now, &authorities) {
            Ok(()) => Verdict::Known,
            Err(_) => bad("its authority's signature is wrong"),
        }
    }
}

const RSA: [Algorithm; 2] = [Algorithm::Rsa { hash: Some(HashAlg::Sha512) }, Algorithm::Rsa { hash: Some(HashAlg::Sha256) }];

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
        for text in ["h", "h ssh-ed25519 AAAA", "@whatever h x", "@cert-authority h ssh-ed25519 AAAA", "@revoked", "|1|x h"] {
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

    proptest::proptest! {
        #[test]
        fn no_text_makes_the_reader_panic(
            any in "\\PC{0,200}",
            near in "(@revoked |@cert-authority |@|# )?(\\|1\\|[A-Za-z0-9=]{0,30}\\|[A-Za-z0-9=]{0,30}|[!a-z*?.,\\[\\]:0-9]{0,30})[ \t]{0,2}(ssh-ed25519|ssh-rsa|x)? ?[A-Za-z0-9+/=]{0,80}",
            host in "[a-z.:-]{0,20}",
        ) {
            for text in [any, near] {
                let _ = Known::parse(&text, Path::new("known_hosts"), &host, 22);
            }
        }
    }
}
