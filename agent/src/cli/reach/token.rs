//! Which token is shown to the agent: the caller's own, and only one that was made for it, unless somebody says otherwise.
//!
//! A token that the API server takes is good for everything that its owner may do. It is never sent by accident.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use futures::future::ready;
use hyper::header::AUTHORIZATION;
use hyper::{Request, Response};
use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::ServiceAccount as Account;
use kube::api::{ObjectMeta, PostParams};
use kube::client::{Body, ConfigExt as _};
use serde_json::Value;
use tk8s_core::{ServiceAccount, chain, printable};
use tower::{BoxError, Layer as _, ServiceExt as _, service_fn};

use super::{Agent, Error, client};

/// How long a token is good that is made for a command: the shortest time that an API server grants.
const GOOD_FOR: i64 = 600;

pub(super) async fn of(agent: &Agent) -> Result<String, Error> {
    match (&agent.token_file, &agent.service_account) {
        (Some(file), _) => {
            let text = tokio::fs::read_to_string(file).await.map_err(|error| Error::Read(file.clone(), error))?;
            Ok(text.trim().to_owned())
        }
        (None, Some(account)) => of_account(agent, account).await,
        (None, None) => of_kubeconfig(agent).await,
    }
}

/// A token for nobody but the agent.
async fn of_account(agent: &Agent, account: &ServiceAccount) -> Result<String, Error> {
    let (namespace, name) = (account.namespace(), account.name());
    let accounts = kube::Api::<Account>::namespaced(client(agent.cluster().await?)?, namespace);
    let spec =
        TokenRequestSpec { audiences: vec![agent.audience.clone()], expiration_seconds: Some(GOOD_FOR), bound_object_ref: None };
    let request = TokenRequest { metadata: ObjectMeta::default(), spec, status: None };
    let made = accounts.create_token_request(name, &PostParams::default(), &request).await.map_err(|error| {
        Error::Unreachable(format!(
            "the API server gave no token for {namespace}/{name}: {}: you need `create` on `serviceaccounts/token` there",
            printable(&chain(&error), 300)
        ))
    })?;
    made.status.map(|status| status.token).ok_or_else(|| super::unreachable("the API server gave no token"))
}

async fn of_kubeconfig(agent: &Agent) -> Result<String, Error> {
    let ways = "name an account (`--service-account NAMESPACE/NAME`), or a file (`--token-file FILE`)";
    let Some(token) = shown_to_the_cluster(&agent.cluster().await?).await.map_err(Error::Usage)? else {
        return Err(Error::Usage(format!("the kubeconfig logs in without a token, so it has none for the agent: {ways}")));
    };
    let made_for = audiences(&token);
    if agent.kubeconfig_token || made_for.contains(&agent.audience) {
        return Ok(token);
    }
    let made_for = match made_for.is_empty() {
        true => "does not say whom it was made for".to_owned(),
        false => format!("was made for `{}`", printable(&made_for.join("`, `"), 300)),
    };
    Err(Error::Usage(format!(
        "the kubeconfig's token {made_for}, not for `{}`: {ways}; or send it all the same (`--kubeconfig-token`), if the agent's \
         `api.audiences` says that it takes such tokens and you trust whoever runs it",
        agent.audience
    )))
}

/// What the kubeconfig logs in with, whichever of its ways to a token it goes: kube's own layer is asked, which runs programs
/// and reads files.
async fn shown_to_the_cluster(settings: &kube::Config) -> Result<Option<String>, String> {
    let Some(layer) = settings.auth_layer().map_err(|error| chain(&error))? else { return Ok(None) };
    let told = service_fn(|request: Request<Body>| {
        let mut told = Response::new(Body::empty());
        if let Some(value) = request.headers().get(AUTHORIZATION) {
            told.headers_mut().insert(AUTHORIZATION, value.clone());
        }
        ready(Ok::<_, BoxError>(told))
    });
    let told = layer.layer(told).oneshot(Request::new(Body::empty())).await.map_err(|error| chain(&*error))?;
    let value = told.headers().get(AUTHORIZATION).and_then(|value| value.to_str().ok());
    Ok(value.and_then(|value| value.strip_prefix("Bearer ")).map(|token| token.trim().to_owned()))
}

/// For whom a token says that it was made, if it says anything. Nothing is proven by that, and nothing follows but whether
/// its owner shows it.
fn audiences(token: &str) -> Vec<String> {
    let mut parts = token.split('.');
    let (Some(_), Some(claims), Some(_), None) = (parts.next(), parts.next(), parts.next(), parts.next()) else {
        return Vec::new();
    };
    let claims = URL_SAFE_NO_PAD.decode(claims.trim_end_matches('=')).unwrap_or_default();
    let claims: Value = serde_json::from_slice(&claims).unwrap_or_default();
    match &claims["aud"] {
        Value::String(one) => vec![one.clone()],
        Value::Array(all) => all.iter().filter_map(Value::as_str).map(String::from).collect(),
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(claims: &str) -> String {
        format!("e30.{}.c2ln", URL_SAFE_NO_PAD.encode(claims))
    }

    #[test]
    fn whom_a_token_was_made_for_is_read_where_it_says_so() {
        for (text, made_for) in [
            (token(r#"{"aud": ["tk8s-agent", "b"]}"#), vec!["tk8s-agent", "b"]),
            (token(r#"{"aud": "client-id"}"#), vec!["client-id"]),
            (token(r#"{"aud": 7}"#), vec![]),
            (token("{"), vec![]),
            ("k8s-aws-v1.aGVsbG8".into(), vec![]),
            ("a.!.c".into(), vec![]),
            ("opaque".into(), vec![]),
            (String::new(), vec![]),
        ] {
            assert_eq!(audiences(&text), made_for, "{text}");
        }
    }

    #[tokio::test]
    async fn the_token_of_a_kubeconfig_is_found_whichever_way_it_has_to_one() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("token");
        std::fs::write(&file, "of-a-file").unwrap();
        let said =
            r#"{"apiVersion":"client.authentication.k8s.io/v1","kind":"ExecCredential","status":{"token":"of-a-program"}}"#;
        for (user, token) in [
            (serde_json::json!({"token": "of-itself"}), Some("of-itself")),
            (serde_json::json!({"tokenFile": file}), Some("of-a-file")),
            (
                serde_json::json!({"exec": {"apiVersion": "client.authentication.k8s.io/v1", "command": "echo", "args": [said], "interactiveMode": "Never"}}),
                Some("of-a-program"),
            ),
            (serde_json::json!({"username": "a", "password": "b"}), None),
            (serde_json::json!({}), None),
        ] {
            let mut settings = kube::Config::new("https://127.0.0.1:9".parse().unwrap());
            settings.auth_info = serde_json::from_value(user.clone()).unwrap();
            assert_eq!(shown_to_the_cluster(&settings).await.unwrap().as_deref(), token, "{user}");
        }
    }
}
