//! An agent that runs beside this process: whether it says that it is ready, and whether its webhook lets in who has the secret
//! and nobody else.

use std::net::SocketAddr;

use hmac::{Hmac, KeyInit as _, Mac as _};
use http_body_util::Full;
use hyper::body::Bytes;
use hyper::{Request, StatusCode, header};
use k8s_openapi::api::core::v1::ConfigMap;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use sha2::Sha256;
use tk8s_config::TlsConfig;
use tk8s_core::chain;

use super::call::{self, Silence};
use super::cluster::Asked;
use super::{Check, Installed, read};
use crate::cli::reach::{Line, tls};
use crate::endpoint::published;

const HEALTH: &str = "health";
const WEBHOOK: &str = "webhook";

pub(super) async fn examine(installed: &Installed<'_>, asked: Option<&Asked>) -> Vec<Check> {
    if let Some(why) = installed.elsewhere() {
        return [HEALTH, WEBHOOK].map(|check| Check::skipped(check, why.clone())).into();
    }
    let at = Addresses::of(installed);
    let (health, runs) = health(installed, at.health, asked).await;
    let webhook = match runs {
        true => webhook(installed, at.api, asked).await,
        false => Check::skipped(WEBHOOK, "no agent runs here"),
    };
    vec![health, webhook]
}

/// Where the listeners are.
struct Addresses {
    api: SocketAddr,
    health: SocketAddr,
}

impl Addresses {
    fn of(installed: &Installed<'_>) -> Addresses {
        let api = &installed.config.api;
        let written = api.address_file.as_ref().and_then(|path| read(path).ok());
        let written: serde_json::Value = written.and_then(|text| serde_json::from_slice(&text).ok()).unwrap_or_default();
        let at = |name: &str, listen| written[name].as_str().and_then(|text| text.parse().ok()).unwrap_or(listen);
        Addresses { api: call::beside(at("api", api.listen)), health: call::beside(at("health", api.health_listen)) }
    }
}

async fn health(installed: &Installed<'_>, at: SocketAddr, asked: Option<&Asked>) -> (Check, bool) {
    let answer = match call::connect(&at.ip().to_string(), at.port()).await {
        Ok(line) => call::ask(Box::new(line), get("/readyz")).await,
        Err(silence) => Err(silence),
    };
    let (namespace, name) = (&installed.namespace, installed.name());
    let log = format!("`kubectl -n {namespace} logs deploy/{name}` says why");
    match answer {
        Ok(answer) if answer.status.is_success() => (Check::ok(HEALTH, format!("the agent at {at} is ready")), true),
        Ok(answer) => (Check::failed(HEALTH, format!("the agent at {at} is not ready: {}", answer.body.trim()), log), true),
        Err(Silence::Broken(why)) => (Check::failed(HEALTH, format!("what listens at {at} does not answer: {why}"), log), false),
        // The holder of the Lease is called like its host.
        Err(Silence::Nobody(why)) => match asked.and_then(|asked| asked.holder.as_deref()) {
            Some(holder) if is_here(holder) => {
                (Check::failed(HEALTH, format!("{holder} holds the Lease, and nobody listens at {at}: {why}"), log), false)
            }
            _ => {
                let started = format!("`kubectl -n {namespace} rollout status deploy/{name}` says whether one starts");
                (Check::skipped(HEALTH, format!("no agent runs here (nobody listens at {at}); {started}")), false)
            }
        },
    }
}

fn is_here(holder: &str) -> bool {
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    holder.rsplit_once('-').is_some_and(|(name, _)| name == host)
}

fn get(path: &str) -> Request<Full<Bytes>> {
    Request::get(path).header(header::HOST, "tk8s-agent").body(Full::default()).expect("because the path is fixed")
}

/// Sends what a Git host would, once as it and once as somebody else.
async fn webhook(installed: &Installed<'_>, at: SocketAddr, asked: Option<&Asked>) -> Check {
    let Some(webhook) = &installed.config.webhook else {
        return Check::skipped(WEBHOOK, "no `webhook.secretFile`: nobody can wake the agent");
    };
    let Ok(secret) = read(&webhook.secret_file) else { return Check::skipped(WEBHOOK, "its secret can't be read") };
    let known = match certificate(installed, asked).await {
        Ok(known) => known,
        Err(why) => return Check::skipped(WEBHOOK, why),
    };
    let mut statuses = Vec::new();
    for secret in [secret.trim_ascii(), b"not the secret".as_slice()] {
        match send(at, known.clone(), secret).await {
            Ok(answer) => statuses.push((answer.status, answer.body)),
            Err(Silence::Nobody(why) | Silence::Broken(why)) => {
                let next = "look at `api.listen` and `api.tls`, and at what the agent's log says of its listener";
                return Check::failed(WEBHOOK, format!("the API at {at} does not answer: {why}"), next);
            }
        }
    }
    judge(&statuses[0], &statuses[1])
}

fn judge(signed: &(StatusCode, String), unsigned: &(StatusCode, String)) -> Check {
    match (signed.0, unsigned.0) {
        (StatusCode::ACCEPTED, StatusCode::UNAUTHORIZED) => {
            Check::ok(WEBHOOK, "a signed request wakes the agent, and one with another secret is refused")
        }
        (StatusCode::ACCEPTED, other) => Check::failed(
            WEBHOOK,
            format!("a request that is signed with another secret is answered {other}"),
            "nothing but this agent may answer there: look at what `api.listen` leads to",
        ),
        (StatusCode::NOT_FOUND, _) => Check::failed(
            WEBHOOK,
            "the agent that runs has no `webhook.secretFile`",
            "restart it: it runs with another file than this one",
        ),
        (StatusCode::UNAUTHORIZED, _) => Check::failed(
            WEBHOOK,
            "the agent that runs refuses what is signed with the secret in this file",
            "give the agent and this file the same secret; the Git host has to have it, too",
        ),
        (other, _) => {
            Check::failed(WEBHOOK, format!("a signed request is answered {other}: {}", signed.1), "look at the agent's log")
        }
    }
}

/// By which certificate the API is known here; none where it listens without TLS.
async fn certificate(installed: &Installed<'_>, asked: Option<&Asked>) -> Result<Option<CertificateDer<'static>>, String> {
    let config = installed.config;
    let pem = match &config.api.tls {
        TlsConfig::None => return Ok(None),
        TlsConfig::Files { certificate, .. } => {
            read(certificate).map_err(|error| format!("`{}` can't be read: {error}", certificate.display()))?
        }
        TlsConfig::Own => {
            let name = published::name_of(config.instance.as_str());
            let place = format!("the ConfigMap {}/{name}", installed.namespace);
            let Some(asked) = asked else { return Err("the API server can't be asked for the agent's certificate".into()) };
            let map = kube::Api::<ConfigMap>::namespaced(asked.client.clone(), &installed.namespace).get_opt(&name).await;
            let map = map.map_err(|error| format!("{place} can't be read: {}", chain(&error)))?;
            let text = map.and_then(|map| map.data?.remove(published::CERTIFICATE));
            text.ok_or_else(|| format!("the agent has published no certificate yet ({place})"))?.into_bytes()
        }
    };
    CertificateDer::from_pem_slice(&pem).map(Some).map_err(|error| format!("the API's certificate can't be read: {error}"))
}

async fn send(at: SocketAddr, known: Option<CertificateDer<'static>>, secret: &[u8]) -> Result<call::Answer, Silence> {
    const BODY: &[u8] = br#"{"sender": "tk8s-agent doctor"}"#;
    let mut mac = Hmac::<Sha256>::new_from_slice(secret).expect("because HMAC takes keys of any length");
    mac.update(BODY);
    let line = call::connect(&at.ip().to_string(), at.port()).await?;
    let line: Box<dyn Line> = match known {
        None => Box::new(line),
        Some(known) => Box::new(tls::by_itself(line, known).await.map_err(|error| Silence::Broken(error.to_string()))?),
    };
    let request = Request::post("/webhooks/generic")
        .header(header::HOST, "tk8s-agent")
        .header("x-signature", format!("sha256={}", hex::encode(mac.finalize().into_bytes())))
        .body(Full::new(Bytes::from_static(BODY)))
        .expect("because its parts are fixed");
    call::ask(line, request).await
}

#[cfg(test)]
mod tests {
    use super::super::Outcome;
    use super::*;

    #[test]
    fn a_webhook_is_good_if_it_lets_in_the_secret_and_nothing_else() {
        let told = |signed: u16, unsigned: u16| {
            let answer = |status| (StatusCode::from_u16(status).unwrap(), String::new());
            judge(&answer(signed), &answer(unsigned)).outcome
        };
        assert_eq!(told(202, 401), Outcome::Ok);
        for (signed, unsigned) in [(202, 202), (401, 401), (404, 404), (500, 401), (200, 200)] {
            assert_eq!(told(signed, unsigned), Outcome::Failed, "{signed} {unsigned}");
        }
    }
}
