//! The Secrets of an installation. What is in them is made once and goes nowhere but into their manifests.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};
use tk8s_core::Secret;
use tk8s_gitsync::DeployKey;
use tk8s_history::identity_key;

use super::{Called, KEYS, WEBHOOK, manifests};

/// Where random bytes come from: an argument, so that what is made of them is a pure function.
pub type Random<'a> = &'a mut dyn FnMut() -> [u8; 32];

/// The keys of an instance.
pub struct Keys {
    /// Signs the ledger and the anchor.
    pub identity: Secret,
    /// Encrypts what is kept.
    pub encryption: Secret,
}

impl Keys {
    pub fn new(random: Random<'_>) -> Keys {
        Keys { identity: identity_key(random()), encryption: Secret::new(hex::encode(random()).into_bytes()) }
    }
}

/// The Secret with the instance's keys. It can't be changed by accident: without them the history can't be read.
pub fn of_keys(called: &Called, keys: &Keys) -> Value {
    let [identity, encryption] = [KEYS.1[0], KEYS.1[1]];
    let mut secret = secret(called, KEYS.0, &[(identity, &keys.identity), (encryption, &keys.encryption)]);
    secret["immutable"] = json!(true);
    secret
}

/// The Secret with what logs in to the Git server.
pub fn of_git(called: &Called, files: &[(&str, &Secret)]) -> Value {
    secret(called, "git", files)
}

/// The Secret that the Git server signs webhooks with.
pub fn of_webhook(called: &Called, random: Random<'_>) -> Value {
    secret(called, WEBHOOK.0, &[(WEBHOOK.1[0], &Secret::new(hex::encode(random()).into_bytes()))])
}

fn secret(called: &Called, part: &str, files: &[(&str, &Secret)]) -> Value {
    let data: Map<String, Value> =
        files.iter().map(|(name, bytes)| ((*name).to_owned(), json!(STANDARD.encode(bytes.expose())))).collect();
    json!({
        "apiVersion": "v1", "kind": "Secret", "type": "Opaque",
        "metadata": {"name": called.part(part), "namespace": called.namespace, "labels": manifests::labels(called)},
        "data": data,
    })
}

/// A key for logging in, whose comment says whose it is.
pub fn deploy_key(called: &Called, cluster: &str, random: Random<'_>) -> DeployKey {
    DeployKey::new(&random(), &format!("tk8s-agent {cluster}/{}", called.instance))
}
