//! Logging in as an installation of a GitHub App: a token for one repository, to read its contents, for an hour.
//!
//! The App's key never leaves this process: it signs a statement of ten minutes (a JWT), which GitHub's API trades for the
//! token. Tokens are kept until shortly before they end. GitHub Enterprise Server differs by its API's URL only.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use base64::Engine as _;
use bytes::Bytes;
use hyper::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use hyper::{Method, StatusCode};
use rustls::SignatureScheme;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject as _;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tk8s_core::{Place, Secret, Timestamp};

use super::{Origin, Proxy, Wire, wire};
use crate::Error;
use crate::talk::Talk;

/// A token is replaced so long before it ends: a fetch that begins with it must be able to end with it.
const SPARE: i64 = 5 * 60;

/// GitHub takes at most ten minutes, and its clock may be behind ours.
const STATEMENT: i64 = 9 * 60;

/// Answers of the API that we ask for are far smaller.
const LARGEST_ANSWER: usize = 64 * 1024;

/// A GitHub App and one of its installations.
#[derive(Clone, Debug)]
pub struct GithubApp {
    /// The App's id, or its client id.
    pub app_id: String,
    /// The installation; looked up by the repository's name if it isn't given.
    pub installation_id: Option<u64>,
    /// The App's private key, in PEM form as GitHub gives it out. Read whenever a token is needed.
    pub private_key_file: PathBuf,
    /// The API's URL, if it is neither `https://api.github.com` nor `https://HOST/api/v3`.
    pub api_url: Option<String>,
    /// Tokens that are still good. Shared by the clones of this.
    pub tokens: TokenCache,
}

/// The newest token.
#[derive(Clone, Default)]
pub struct TokenCache(Arc<Mutex<Option<Token>>>);

impl std::fmt::Debug for TokenCache {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TokenCache(..)")
    }
}

struct Token {
    /// What it was given for: another key, App or repository needs another token.
    purpose: [u8; 32],
    token: Secret,
    expires: Timestamp,
}

impl TokenCache {
    fn get(&self, purpose: &[u8; 32], now: Timestamp) -> Option<Secret> {
        let token = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let good = |token: &&Token| token.purpose == *purpose && token.expires.as_second() - now.as_second() > SPARE;
        token.as_ref().filter(good).map(|token| token.token.clone())
    }

    fn put(&self, token: Token) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(token);
    }

    pub(super) fn forget(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
    }
}

/// A token that is good for longer than a fetch.
pub(super) async fn token(
    app: &GithubApp,
    place: &Place,
    talk: &Arc<Talk>,
    tls: Option<&Arc<rustls::ClientConfig>>,
    proxy: Option<&Proxy>,
) -> Result<Secret, Error> {
    let now = Timestamp::now();
    let key = crate::read_small(&app.private_key_file, "GitHub App's private key")?;
    let (origin, prefix) = api(app, place)?;
    let purpose: [u8; 32] = Sha256::digest(
        [
            key.as_slice(),
            app.app_id.as_bytes(),
            format!("{:?} {origin:?} {prefix} {}", app.installation_id, place.path).as_bytes(),
        ]
        .concat(),
    )
    .into();
    if let Some(token) = app.tokens.get(&purpose, now) {
        return Ok(token);
    }
    let statement = statement(app, &key, now)?;
    let api = Api { wire: Wire::new(talk, origin, tls.cloned(), proxy.cloned()), prefix, statement };
    let (owner, name) = owner_and_name(place)?;
    let installation = match app.installation_id {
        Some(id) => id,
        None => {
            let found =
                api.ask(Method::GET, &format!("/repos/{owner}/{name}/installation"), Bytes::new(), StatusCode::OK).await?;
            found["id"].as_u64().ok_or_else(|| api.failed("it names no installation"))?
        }
    };
    // No more than this fetch needs.
    let wanted = json!({"repositories": [name], "permissions": {"contents": "read"}}).to_string();
    let path = format!("/app/installations/{installation}/access_tokens");
    let given = api.ask(Method::POST, &path, wanted.into(), StatusCode::CREATED).await?;
    let token = given["token"].as_str().filter(|token| token.bytes().all(|byte| byte.is_ascii_graphic()) && !token.is_empty());
    let expires = given["expires_at"].as_str().and_then(|time| time.parse::<Timestamp>().ok());
    let (Some(token), Some(expires)) = (token, expires) else { return Err(api.failed("it gives no token")) };
    let token = Secret::new(token.as_bytes().to_vec());
    app.tokens.put(Token { purpose, token: token.clone(), expires });
    Ok(token)
}

/// Where the API is, and the path that everything in it begins with.
fn api(app: &GithubApp, place: &Place) -> Result<(Origin, String), Error> {
    let Some(url) = &app.api_url else {
        return Ok(match place.host.as_str() {
            "github.com" => (Origin { tls: true, host: "api.github.com".into(), port: 443 }, String::new()),
            _ => (Origin { tls: true, host: place.host.clone(), port: place.port }, "/api/v3".into()),
        });
    };
    let wrong = || Error::GithubApp {
        host: tk8s_core::printable(&tk8s_core::redacted(url), 100),
        why: "`apiUrl` has to be an `https:` URL".into(),
    };
    let url = url::Url::parse(url).map_err(|_| wrong())?;
    let host = url.host_str().filter(|_| url.scheme() == "https" && url.username().is_empty()).ok_or_else(wrong)?;
    let host = host.trim_matches(['[', ']']).to_owned();
    let port = url.port_or_known_default().ok_or_else(wrong)?;
    Ok((Origin { tls: true, host, port }, url.path().trim_end_matches('/').into()))
}

/// `/owner/name.git`. Neither may hold anything that means something in a URL or in JSON.
fn owner_and_name(place: &Place) -> Result<(&str, &str), Error> {
    let plain = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
    let path = place.path.trim_start_matches('/');
    let path = path.strip_suffix(".git").unwrap_or(path);
    match path.split_once('/') {
        Some((owner, name)) if plain(owner) && plain(name) => Ok((owner, name)),
        _ => Err(Error::GithubApp { host: place.host.clone(), why: "the repository's path has to be `/owner/name`".into() }),
    }
}

/// "I am this App", signed, for a few minutes.
fn statement(app: &GithubApp, key: &[u8], now: Timestamp) -> Result<String, Error> {
    let wrong = |why: &str| Error::Credential { path: app.private_key_file.clone(), why: why.into() };
    let key = PrivateKeyDer::from_pem_slice(key).map_err(|_| wrong("it holds no private key in PEM form"))?;
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    let key = provider.key_provider.load_private_key(key).map_err(|_| wrong("its key can't be used"))?;
    let signer = key.choose_scheme(&[SignatureScheme::RSA_PKCS1_SHA256]).ok_or_else(|| wrong("its key is not an RSA key"))?;
    let encode = |bytes: &[u8]| base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(bytes);
    let header = json!({"alg": "RS256", "typ": "JWT"}).to_string();
    let claims = json!({"iss": app.app_id, "iat": now.as_second() - 60, "exp": now.as_second() + STATEMENT}).to_string();
    let text = format!("{}.{}", encode(header.as_bytes()), encode(claims.as_bytes()));
    let signature = signer.sign(text.as_bytes()).map_err(|_| wrong("its key can't sign"))?;
    Ok(format!("{text}.{}", encode(&signature)))
}

struct Api {
    wire: Wire,
    prefix: String,
    statement: String,
}

impl Api {
    fn failed(&self, why: &str) -> Error {
        Error::GithubApp { host: self.wire.origin().name(), why: why.into() }
    }

    async fn ask(&self, method: Method, path: &str, body: Bytes, wanted: StatusCode) -> Result<Value, Error> {
        let path = format!("{}{path}", self.prefix);
        let mut request = self.wire.request(method, &path, body)?;
        let mut login = HeaderValue::from_str(&format!("Bearer {}", self.statement))
            .map_err(|_| self.failed("the statement can't be written as a header"))?;
        login.set_sensitive(true);
        let headers = request.headers_mut();
        headers.insert(AUTHORIZATION, login);
        headers.insert(ACCEPT, HeaderValue::from_static("application/vnd.github+json"));
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert("x-github-api-version", HeaderValue::from_static("2022-11-28"));
        let response = self.wire.send(request).await?;
        match response.status() {
            status if status == wanted => wire::read_json(&self.wire, response, LARGEST_ANSWER).await,
            StatusCode::UNAUTHORIZED => {
                Err(self.failed("it does not take the App's key (401): compare `appId` and the key, and the clock"))
            }
            StatusCode::NOT_FOUND => {
                Err(self.failed(&format!("there is no `{path}` (404): is the App installed for this repository?")))
            }
            StatusCode::UNPROCESSABLE_ENTITY => {
                Err(self.failed("the installation has no access to the repository, or may not read contents (422)"))
            }
            status => Err(self.failed(&format!("it answers {}", status.as_u16()))),
        }
    }
}
