//! How the API's listener is protected, and whose tokens it takes: `api.tls` and `api.audiences`.

use std::net::SocketAddr;
use std::path::PathBuf;

use crate::agent::section;
use crate::document::{Node, Value};
use crate::fields::Fields;

/// For whom a token is made that is shown to the agent and to nobody else.
pub const AUDIENCE: &str = "tk8s-agent";
/// Each is sent with every question about a token.
const MOST_AUDIENCES: usize = 10;
/// What an API server takes is not limited; nobody means a longer one.
const LONGEST_AUDIENCE: usize = 253;

/// `api.tls`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TlsConfig {
    /// A certificate that the agent makes for itself.
    Own,
    /// PEM files, read again when they change.
    Files {
        /// The certificate, and those between it and its authority.
        certificate: PathBuf,
        /// Its key.
        key: PathBuf,
    },
    /// Plain HTTP: on a loopback address only.
    None,
}

pub(crate) fn tls(fields: &mut Fields<'_>, listen: SocketAddr, empty: &Node) -> TlsConfig {
    match fields.node("tls").map(|node| &node.value) {
        None => TlsConfig::Own,
        Some(Value::Scalar { text, .. }) if text == "none" => {
            if !listen.ip().is_loopback() {
                let why = "without TLS the API listens on a loopback address only: everybody on the way could read tokens";
                fields.problem("tls", why);
            }
            TlsConfig::None
        }
        Some(Value::Map(_)) => {
            let renamed =
                [("certFile", "write `certificateFile`"), ("crt", "write `certificateFile`"), ("key", "write `keyFile`")];
            let files = section(
                fields,
                "tls",
                empty,
                |fields| Some((path(fields, "certificateFile")?, path(fields, "keyFile")?)),
                &renamed,
            );
            files.map_or(TlsConfig::Own, |(certificate, key)| TlsConfig::Files { certificate, key })
        }
        Some(_) => {
            fields.problem("tls", "write `{certificateFile: ..., keyFile: ...}`, or `none` for plain HTTP on a loopback address");
            TlsConfig::Own
        }
    }
}

fn path(fields: &mut Fields<'_>, key: &'static str) -> Option<PathBuf> {
    let path: PathBuf = fields.required(key)?;
    if !path.is_absolute() {
        fields.problem(key, "it has to be an absolute path");
    }
    Some(path)
}

/// For whom tokens have to be made; none if no identity of the cluster is known here.
pub(crate) fn audiences(fields: &mut Fields<'_>) -> Vec<String> {
    if !fields.has("audiences") {
        return vec![AUDIENCE.into()];
    }
    let audiences = fields.texts("audiences");
    let is_one = |audience: &String| {
        (1..=LONGEST_AUDIENCE).contains(&audience.len()) && audience.bytes().all(|byte| byte.is_ascii_graphic())
    };
    if audiences.len() > MOST_AUDIENCES || !audiences.iter().all(is_one) {
        fields.problem("audiences", "at most 10 words without blanks, such as `tk8s-agent`");
    }
    audiences
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::AgentConfig;

    fn read(api: &str) -> Result<AgentConfig, String> {
        let text = format!(
            "apiVersion: agent.tk8s.io/v1alpha1\nkind: AgentConfig\ncluster: c\nenvironment: dev\n\
             repository: {{url: 'file:///r'}}\ntrust: {{waive: {{reason: a test}}}}\n\
             history: {{dir: /h, identityKeyFile: /i, encryptionKeyFile: /k}}\napi: {api}\n"
        );
        AgentConfig::parse(&text, "x").map_err(|problems| problems.to_string())
    }

    #[test]
    fn there_is_tls_unless_somebody_says_otherwise_and_only_on_loopback() {
        assert_eq!(read("{listen: '0.0.0.0:8443'}").unwrap().api.tls, TlsConfig::Own);
        let files = read("{tls: {certificateFile: /tls/tls.crt, keyFile: /tls/tls.key}}").unwrap().api.tls;
        assert_eq!(files, TlsConfig::Files { certificate: "/tls/tls.crt".into(), key: "/tls/tls.key".into() });
        for listen in ["127.0.0.1:0", "[::1]:8443", "127.8.8.8:1"] {
            assert_eq!(read(&format!("{{listen: '{listen}', tls: none}}")).unwrap().api.tls, TlsConfig::None, "{listen}");
        }
        for (api, word) in [
            ("{listen: '0.0.0.0:8443', tls: none}", "api.tls: without TLS the API listens on a loopback address only"),
            ("{listen: '10.0.0.1:8443', tls: none}", "api.tls: without TLS"),
            ("{listen: '[::]:8443', tls: none}", "api.tls: without TLS"),
            ("{tls: off}", "api.tls: write `{certificateFile"),
            ("{tls: []}", "api.tls: write `{certificateFile"),
            ("{tls: {}}", "api.tls.certificateFile: it is missing"),
            ("{tls: {certificateFile: /c}}", "api.tls.keyFile: it is missing"),
            ("{tls: {certificateFile: c, keyFile: /k}}", "api.tls.certificateFile: it has to be an absolute path"),
            ("{tls: {certFile: /c, keyFile: /k}}", "write `certificateFile`"),
        ] {
            let found = read(api).unwrap_err();
            assert!(found.contains(word), "{api}: {found}");
        }
    }

    #[test]
    fn audiences_are_ours_unless_somebody_names_others_or_none() {
        assert_eq!(read("{}").unwrap().api.audiences, ["tk8s-agent"]);
        assert_eq!(read("{audiences: []}").unwrap().api.audiences, [""; 0]);
        let both = read("{audiences: [tk8s-agent, 'https://kubernetes.default.svc']}").unwrap().api.audiences;
        assert_eq!(both, ["tk8s-agent", "https://kubernetes.default.svc"]);
        for api in ["{audiences: ['']}", "{audiences: [a b]}", "{audiences: [a, a, a, a, a, a, a, a, a, a, a]}"] {
            assert!(read(api).unwrap_err().contains("api.audiences: at most 10 words"), "{api}");
        }
    }
}
