//! The proxy that https goes through, from the configuration or from `HTTPS_PROXY` and `NO_PROXY`.
//!
//! Always as a tunnel (`CONNECT`): a proxy sees which host is talked to, and not what is said.

use std::net::IpAddr;
use std::path::PathBuf;

use base64::Engine as _;
use tk8s_core::Secret;

use crate::Error;

/// A proxy, and the hosts that it is not used for.
#[derive(Clone, Debug)]
pub struct Proxy {
    tls: bool,
    host: String,
    port: u16,
    login: ProxyLogin,
    bypass: Vec<Bypass>,
}

/// How to log in at a proxy.
#[derive(Clone, Debug, Default)]
pub enum ProxyLogin {
    /// Not at all.
    #[default]
    None,
    /// With `user:password`, which stood in the proxy's URL.
    Given(Secret),
    /// With the `user:password` that this file holds, read for each connection.
    File(PathBuf),
}

/// An entry of `NO_PROXY`.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Bypass {
    Everything,
    /// The host itself and everything below it, at one port or at all.
    Domain(String, Option<u16>),
    Network(IpAddr, u8),
}

impl Proxy {
    /// A proxy by its URL, and a list such as `localhost,.example.com,10.0.0.0/8`.
    pub fn parse(url: &str, no_proxy: &str) -> Result<Proxy, Error> {
        let wrong = |why: &str| Error::ProxyUrl { why: why.into() };
        let url = if url.contains("://") { url.to_owned() } else { format!("http://{url}") };
        let url = url::Url::parse(&url).map_err(|_| wrong("it can't be read"))?;
        let tls = match url.scheme() {
            "http" => false,
            "https" => true,
            _ => return Err(wrong("only `http:` and `https:` proxies are supported")),
        };
        let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']).to_owned();
        if host.is_empty() {
            return Err(wrong("it names no host"));
        }
        let port = url.port_or_known_default().ok_or_else(|| wrong("it names no port"))?;
        let login = if url.username().is_empty() {
            ProxyLogin::None
        } else {
            ProxyLogin::Given(Secret::new(unescaped(&format!("{}:{}", url.username(), url.password().unwrap_or_default()))))
        };
        Ok(Proxy { tls, host, port, login, bypass: no_proxy.split([',', ' ']).filter_map(Bypass::parse).collect() })
    }

    /// The same, from the variables that other programs read too; upper case counts where lower case is not set.
    pub fn from_environment(variable: impl Fn(&str) -> Option<String>) -> Result<Option<Proxy>, Error> {
        let either =
            |lower: &str| variable(lower).or_else(|| variable(&lower.to_ascii_uppercase())).filter(|text| !text.is_empty());
        match either("https_proxy") {
            Some(url) => Proxy::parse(&url, &either("no_proxy").unwrap_or_default()).map(Some),
            None => Ok(None),
        }
    }

    /// The same proxy with another login.
    pub fn with_login(mut self, login: ProxyLogin) -> Proxy {
        self.login = login;
        self
    }

    /// Whether connections to this host go through it.
    pub(super) fn serves(&self, host: &str, port: u16) -> bool {
        !self.bypass.iter().any(|bypass| bypass.covers(host, port))
    }

    pub(super) fn is_tls(&self) -> bool {
        self.tls
    }

    pub(super) fn host(&self) -> &str {
        &self.host
    }

    pub(super) fn port(&self) -> u16 {
        self.port
    }

    /// For people: never with a login.
    pub(super) fn name(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }

    /// The value of `Proxy-Authorization`.
    pub(super) fn header(&self) -> Result<Option<String>, Error> {
        let login = match &self.login {
            ProxyLogin::None => return Ok(None),
            ProxyLogin::Given(login) => login.clone(),
            ProxyLogin::File(path) => super::login::read_secret(path, "proxy's credentials file")?,
        };
        Ok(Some(format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(login.expose()))))
    }
}

/// `%40` and the like, as they stand in the user part of a URL.
fn unescaped(text: &str) -> Vec<u8> {
    let (bytes, mut plain, mut at) = (text.as_bytes(), Vec::new(), 0);
    while at < bytes.len() {
        let hex = (bytes[at] == b'%').then(|| bytes.get(at + 1..at + 3)).flatten();
        let mut value = [0];
        if hex.is_some_and(|hex| hex::decode_to_slice(hex, &mut value).is_ok()) {
            plain.push(value[0]);
            at += 3;
        } else {
            plain.push(bytes[at]);
            at += 1;
        }
    }
    plain
}

impl Bypass {
    fn parse(text: &str) -> Option<Bypass> {
        let text = text.trim().to_ascii_lowercase();
        if text == "*" {
            return Some(Bypass::Everything);
        }
        if let Some((address, bits)) = text.split_once('/') {
            return Some(Bypass::Network(address.parse().ok()?, bits.parse().ok()?));
        }
        if let Ok(address) = text.trim_matches(['[', ']']).parse::<IpAddr>() {
            return Some(Bypass::Network(address, if address.is_ipv4() { 32 } else { 128 }));
        }
        let (name, port) = match text.rsplit_once(':') {
            Some((name, port)) => (name, Some(port.parse().ok()?)),
            None => (text.as_str(), None),
        };
        let name = name.trim_start_matches("*.").trim_start_matches('.');
        (!name.is_empty()).then(|| Bypass::Domain(name.into(), port))
    }

    fn covers(&self, host: &str, port: u16) -> bool {
        match self {
            Bypass::Everything => true,
            Bypass::Domain(name, only) => {
                let below = host.strip_suffix(name.as_str()).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'));
                below && only.is_none_or(|only| only == port)
            }
            Bypass::Network(network, bits) => host.parse().is_ok_and(|address| is_inside(address, *network, *bits)),
        }
    }
}

fn is_inside(address: IpAddr, network: IpAddr, bits: u8) -> bool {
    let differ = |a: u128, b: u128, width: u32| {
        let bits = u32::from(bits).min(width);
        bits != 0 && (a ^ b) >> (width - bits) != 0
    };
    match (address, network) {
        (IpAddr::V4(a), IpAddr::V4(b)) => !differ(u32::from(a).into(), u32::from(b).into(), 32),
        (IpAddr::V6(a), IpAddr::V6(b)) => !differ(a.into(), b.into(), 128),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_left_out_as_no_proxy_says() {
        let table = [
            ("", "git.example.com", 443, true),
            ("*", "git.example.com", 443, false),
            ("example.com", "git.example.com", 443, false),
            (".example.com", "git.example.com", 443, false),
            ("*.example.com", "git.example.com", 443, false),
            ("example.com", "notexample.com", 443, true),
            ("git.example.com:8443", "git.example.com", 443, true),
            ("git.example.com:8443", "git.example.com", 8443, false),
            ("10.0.0.0/8", "10.1.2.3", 443, false),
            ("10.0.0.0/8", "11.1.2.3", 443, true),
            ("0.0.0.0/0", "11.1.2.3", 443, false),
            ("fd00::/8", "fd12::1", 443, false),
            ("10.1.2.3", "10.1.2.3", 443, false),
            ("a.example, git.example.com", "git.example.com", 443, false),
        ];
        for (no_proxy, host, port, through) in table {
            assert_eq!(Proxy::parse("proxy:3128", no_proxy).unwrap().serves(host, port), through, "{no_proxy} {host}:{port}");
        }
    }

    #[test]
    fn a_proxy_is_read_from_the_environment_and_its_password_is_never_printed() {
        let environment = |name: &str| match name {
            "HTTPS_PROXY" => Some("http://me:hunt%65r2@proxy.example.com:3128".into()),
            "NO_PROXY" => Some("localhost".into()),
            _ => None,
        };
        let proxy = Proxy::from_environment(environment).unwrap().unwrap();
        assert_eq!((proxy.host(), proxy.port()), ("proxy.example.com", 3128));
        assert_eq!(proxy.header().unwrap().unwrap(), format!("Basic {}", "bWU6aHVudGVyMg=="));
        assert!(!format!("{proxy:?} {}", proxy.name()).contains("hunt"));
        assert!(Proxy::from_environment(|_| None).unwrap().is_none());
        for bad in ["socks5://proxy:1080", "http://", "http://me:hunter2@"] {
            let error = Proxy::parse(bad, "").unwrap_err().to_string();
            assert!(!error.contains("hunter2"), "{error}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_the_proxy_reader_panic(url in "\\PC{0,60}", list in "[a-z0-9.:/*, \\[\\]]{0,60}", host in "\\PC{0,30}") {
            if let Ok(proxy) = Proxy::parse(&url, &list) {
                proxy.serves(&host, 443);
            }
            let _ = Proxy::parse("proxy", &list).unwrap().serves(&host, 1);
        }
    }
}
