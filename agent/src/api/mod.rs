//! The HTTP API: what people and programs may see and ask for. Every route but webhooks, health and metrics asks who calls,
//! and whether they may ([`access`]).

mod access;
mod evidence;
mod people;
mod recorded;
mod webhooks;

use std::sync::Arc;
use std::time::Duration;

use axum::extract::rejection::JsonRejection;
use axum::extract::{DefaultBodyLimit, Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use http_body_util::BodyExt as _;
use serde::{Deserialize, Serialize};
use tk8s_core::{Class, Classified, ComponentName, Digest, chain};
use tower_http::timeout::TimeoutLayer;

pub use self::access::Access;
use self::access::{Caller, Route, Verb};
use crate::disk::disk;
use crate::engine::Engine;
use crate::error::Error;

/// The largest body that is read: payloads of webhooks are the largest.
const LARGEST_BODY: usize = 1024 * 1024;
/// How long a caller may be kept waiting: a rollback of a large component is the longest call.
const LONGEST_CALL: Duration = Duration::from_secs(120);

/// How long a Git server is kept waiting for what was found: GitHub gives up after ten seconds.
const SHORT_CALL: Duration = Duration::from_secs(5);

/// The reason of a refusal that a token could end.
const UNAUTHENTICATED: &str = "Unauthenticated";

/// Why there is no such part of the history; whoever copies it asks again for what there is by then.
pub const NO_TILE: &str = "NoSuchTile";
pub const NO_BLOB: &str = "NoSuchBlob";

/// What every route can reach.
#[derive(Clone)]
struct Shared {
    engine: Arc<Engine>,
    access: Arc<Access>,
}

/// Every route that asks who calls.
fn routes() -> Vec<Route> {
    let own = vec![
        Route::read("/api/v1/status", status),
        Route::act(Verb::Sync, "/api/v1/sync", sync),
        Route::read("/api/v1/components/{name}", component),
        Route::act(Verb::Confirm, "/api/v1/plans/{deletions}/confirm", confirm),
        Route::act(Verb::Confirm, "/api/v1/releases/{tag}/break-glass", break_glass),
        Route::act(Verb::Confirm, "/api/v1/releases/{tag}/acknowledge", acknowledge),
        Route::read("/ledger/checkpoint", checkpoint),
        Route::read("/ledger/{*path}", tile),
        Route::read("/api/v1/blobs/{blob}", blob),
    ];
    own.into_iter().chain(evidence::routes()).chain(people::routes()).chain(recorded::routes()).collect()
}

/// The API's routes.
pub fn router(engine: Arc<Engine>, access: Access) -> Router {
    let shared = Shared { engine, access: Arc::new(access) };
    let open = Router::new()
        .route("/webhooks/generic", post(|shared, headers, body| webhook(webhooks::Provider::Generic, shared, headers, body)))
        .route("/webhooks/github", post(|shared, headers, body| webhook(webhooks::Provider::GitHub, shared, headers, body)));
    access::guarded(routes(), &shared)
        .merge(open)
        .fallback(|| async {
            Problem::new(StatusCode::NOT_FOUND, "NoSuchRoute", "there is nothing here: see the API's page in the docs")
        })
        .method_not_allowed_fallback(|| async {
            Problem::new(
                StatusCode::METHOD_NOT_ALLOWED,
                "MethodNotAllowed",
                "this route is asked in another way: see the API's page",
            )
        })
        .layer(TimeoutLayer::with_status_code(StatusCode::GATEWAY_TIMEOUT, LONGEST_CALL))
        .layer(axum::middleware::from_fn_with_state(shared.clone(), count))
        .layer(DefaultBodyLimit::max(LARGEST_BODY))
        .with_state(shared)
}

/// Health for the kubelet: alive, and ready once the Lease is ours or waited for with the history open.
pub fn health_router(engine: Arc<Engine>) -> Router {
    let ready = move || {
        let engine = Arc::clone(&engine);
        async move {
            if engine.stop.is_cancelled() { (StatusCode::SERVICE_UNAVAILABLE, "stopping\n") } else { (StatusCode::OK, "ok\n") }
        }
    };
    Router::new().route("/healthz", get(|| async { "ok\n" })).route("/readyz", get(ready))
}

/// Metrics for a scraper.
pub fn metrics_router(engine: Arc<Engine>) -> Router {
    let text = move || {
        let engine = Arc::clone(&engine);
        engine.metrics.leading.set(i64::from(engine.tenure.held()));
        engine.metrics.levels(&disk(|| engine.levels()));
        async move { ([(header::CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")], engine.metrics.text()) }
    };
    Router::new().route("/metrics", get(text))
}

async fn count(State(shared): State<Shared>, request: axum::extract::Request, next: axum::middleware::Next) -> Response {
    // Whatever a person asked for may be seen in any component.
    let asked = request.method() == axum::http::Method::POST && request.uri().path().starts_with("/api/");
    let mut response = next.run(request).await;
    if asked && response.status().is_success() {
        shared.engine.report.all_changed();
    }
    let word = response.status().as_u16().to_string();
    if response.status() == StatusCode::GATEWAY_TIMEOUT {
        let why = "it takes longer than a caller is kept waiting: `tk8s-agent status` shows how it goes on";
        response = Problem::new(StatusCode::GATEWAY_TIMEOUT, "TooSlow", why).into_response();
    }
    shared.engine.metrics.api_requests.get_or_create(&crate::metrics::Metrics::outcome(&word)).inc();
    response.headers_mut().insert(header::CACHE_CONTROL, header::HeaderValue::from_static("no-store"));
    response
}

async fn status(State(shared): State<Shared>) -> Response {
    Json(shared.engine.status()).into_response()
}

async fn sync(State(shared): State<Shared>) -> Response {
    shared.engine.wake(true);
    (StatusCode::ACCEPTED, Json(serde_json::json!({"accepted": true}))).into_response()
}

async fn component(State(shared): State<Shared>, Path(name): Path<String>) -> Result<Response, Problem> {
    let name = known(&shared, &name)?;
    Ok(Json(shared.engine.component_status(&name)).into_response())
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Because {
    #[serde(default)]
    reason: Option<String>,
}

impl Because {
    /// The reason, which has to be given.
    fn given(self) -> Result<String, Problem> {
        let reason = self.reason.filter(|reason| !reason.trim().is_empty());
        reason.ok_or_else(|| Problem::new(StatusCode::BAD_REQUEST, "ReasonMissing", "say why: {\"reason\": \"...\"}"))
    }
}

async fn confirm(
    State(shared): State<Shared>,
    caller: Caller,
    Path(deletions): Path<String>,
    body: Body<Because>,
) -> Result<Response, Problem> {
    let reason = body.read()?.given()?;
    let release = shared.engine.confirm(&deletions, &reason, caller.name())?;
    Ok(Json(serde_json::json!({"confirmed": release.to_string()})).into_response())
}

async fn break_glass(
    State(shared): State<Shared>,
    caller: Caller,
    Path(tag): Path<String>,
    body: Body<Because>,
) -> Result<Response, Problem> {
    let tag = shared.engine.break_glass(&tag, &body.read()?.given()?, caller.name())?;
    Ok(Json(serde_json::json!({"letIn": tag})).into_response())
}

async fn acknowledge(
    State(shared): State<Shared>,
    caller: Caller,
    Path(tag): Path<String>,
    body: Body<Because>,
) -> Result<Response, Problem> {
    let tag = shared.engine.acknowledge(&tag, &body.read()?.given()?, caller.name())?;
    Ok(Json(serde_json::json!({"acknowledged": tag})).into_response())
}

async fn checkpoint(State(shared): State<Shared>) -> Response {
    let text = disk(|| shared.engine.history.checkpoint());
    ([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], text).into_response()
}

async fn tile(State(shared): State<Shared>, Path(path): Path<String>) -> Result<Response, Problem> {
    match disk(|| shared.engine.history.tile(&path)) {
        Some(bytes) => Ok(([(header::CONTENT_TYPE, "application/octet-stream")], bytes).into_response()),
        None => Err(Problem::new(StatusCode::NOT_FOUND, NO_TILE, "the ledger has no such tile")),
    }
}

/// The objects of a release as they are on the volume: encrypted, with a key that no caller gets.
async fn blob(State(shared): State<Shared>, Path(blob): Path<String>) -> Result<Response, Problem> {
    let none = |why: &str| Problem::new(StatusCode::NOT_FOUND, NO_BLOB, why);
    let blob: Digest = blob.parse().map_err(|_| none("a blob is named by its digest: `sha256:` and 64 hexadecimal digits"))?;
    let found = disk(|| shared.engine.history.blob(&blob)).map_err(Error::from)?;
    let bytes = found.map_err(|problem| none(&format!("the blob {blob} {problem}")))?;
    Ok(([(header::CONTENT_TYPE, "application/octet-stream")], bytes).into_response())
}

/// Wakes the agent if the body was signed; reads nothing of it. The answer says for which releases somebody still has to say
/// yes: people see it where their Git server shows how its webhooks were answered.
async fn webhook(
    provider: webhooks::Provider,
    State(shared): State<Shared>,
    headers: HeaderMap,
    mut body: axum::body::Body,
) -> Result<Response, Problem> {
    let config = shared.engine.config();
    let Some(path) = config.webhook.as_ref().map(|webhook| &webhook.secret_file) else {
        return Err(Problem::new(StatusCode::NOT_FOUND, "WebhooksOff", "no `webhook.secretFile` is configured"));
    };
    let secret = tokio::fs::read(path).await.unwrap_or_default();
    let unsigned =
        || Problem::new(StatusCode::UNAUTHORIZED, "BadSignature", "the payload was not signed with this agent's secret");
    let mut claim = webhooks::Claim::of(provider, &headers, secret.trim_ascii()).ok_or_else(unsigned)?;
    let mut size = 0;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| Problem::new(StatusCode::BAD_REQUEST, "BadBody", &error.to_string()))?;
        let bytes = frame.data_ref().map(AsRef::as_ref).unwrap_or_default();
        size += bytes.len();
        if size > LARGEST_BODY {
            return Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "BadBody", "the payload is larger than 1 MiB"));
        }
        claim.read(bytes);
    }
    if !claim.holds() {
        return Err(unsigned());
    }
    let looked = shared.engine.look_now(SHORT_CALL).await;
    let unapproved = shared.engine.unapproved();
    Ok((StatusCode::ACCEPTED, Json(serde_json::json!({"accepted": true, "looked": looked, "unapproved": unapproved})))
        .into_response())
}

fn known(shared: &Shared, name: &str) -> Result<ComponentName, Problem> {
    let missing =
        || Problem::new(StatusCode::NOT_FOUND, "UnknownComponent", "there is no such component: `tk8s-agent status` lists them");
    let name: ComponentName = name.parse().map_err(|_| missing())?;
    if shared.engine.knows(&name) { Ok(name) } else { Err(missing()) }
}

/// A JSON body that may be left out.
struct Body<T>(Result<Option<Json<T>>, JsonRejection>);

impl<T, S> axum::extract::FromRequest<S> for Body<T>
where
    T: serde::de::DeserializeOwned,
    S: Send + Sync,
{
    type Rejection = std::convert::Infallible;

    async fn from_request(request: axum::extract::Request, state: &S) -> Result<Self, Self::Rejection> {
        let empty = request.headers().get(header::CONTENT_LENGTH).is_none_or(|length| length == "0")
            && request.headers().get(header::TRANSFER_ENCODING).is_none();
        if empty {
            return Ok(Body(Ok(None)));
        }
        Ok(Body(Json::from_request(request, state).await.map(Some)))
    }
}

impl<T: Default> Body<T> {
    fn read(self) -> Result<T, Problem> {
        match self.0 {
            Ok(Some(Json(value))) => Ok(value),
            Ok(None) => Ok(T::default()),
            Err(rejection) => Err(Problem::new(rejection.status(), "BadBody", &rejection.body_text())),
        }
    }
}

/// What a caller is told when something can't be done.
#[derive(Debug, Serialize, Deserialize)]
pub struct Problem {
    #[serde(skip)]
    status: StatusCode,
    /// A stable word.
    pub reason: String,
    /// A sentence, with what to do next.
    pub message: String,
}

impl Problem {
    pub fn new(status: StatusCode, reason: &str, message: &str) -> Problem {
        Problem { status, reason: reason.into(), message: message.into() }
    }

    fn unauthenticated(message: &str) -> Problem {
        Problem::new(StatusCode::UNAUTHORIZED, UNAUTHENTICATED, message)
    }

    fn too_many() -> Problem {
        let why = "too many callers are asked about at this moment: try again in a few seconds";
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, "TooManyCallers", why)
    }
}

impl From<Error> for Problem {
    fn from(error: Error) -> Problem {
        let status = match (&error, error.class()) {
            (
                Error::UnknownComponent(_)
                | Error::UnknownLayer(_)
                | Error::UnknownRelease(_)
                | Error::UnknownRevision(_)
                | Error::NoGlassToBreak(_)
                | Error::NothingToAcknowledge(_)
                | Error::UnknownIncident(_)
                | Error::NothingToConfirm(_),
                _,
            ) => StatusCode::NOT_FOUND,
            (Error::NoRevision | Error::AmbiguousRevision(_), _) => StatusCode::BAD_REQUEST,
            (_, Class::Denied) => StatusCode::FORBIDDEN,
            (_, Class::Transient | Class::Waiting) => StatusCode::SERVICE_UNAVAILABLE,
            (_, Class::Stalled) => StatusCode::CONFLICT,
            (_, Class::Bug) => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Problem::new(status, error.reason(), &chain(&error))
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let challenge = (self.reason == UNAUTHENTICATED).then_some([(header::WWW_AUTHENTICATE, "Bearer")]);
        let answer = (self.status, Json(self));
        match challenge {
            Some(challenge) => (challenge, answer).into_response(),
            None => answer.into_response(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The rows of the page about the API: method, path and right.
    fn documented() -> Vec<(String, String, String)> {
        let page = include_str!("../../../docs/api.md");
        let rows = page.lines().filter(|line| line.starts_with("| `GET ") || line.starts_with("| `POST "));
        let mut found = Vec::new();
        for row in rows {
            let cells: Vec<_> = row.split(" | ").map(|cell| cell.trim_matches(['|', ' '])).collect();
            for route in cells[0].split(", ") {
                let (method, path) = route.trim_matches('`').split_once(' ').unwrap();
                for whom in ["/api/v1/components/{name}", "/api/v1/layers/{name}", "/api/v1"] {
                    found.push((method.to_owned(), path.replace("WHOM", whom), cells[1].trim_matches('`').to_owned()));
                }
            }
        }
        found.sort();
        found.dedup();
        found
    }

    #[test]
    fn every_route_stands_in_its_page_with_the_right_that_it_asks_for() {
        let method = |verb| if verb == Verb::Get { "GET" } else { "POST" }.to_owned();
        let mut routes: Vec<_> =
            routes().into_iter().map(|route| (method(route.verb), route.path, route.verb.word().to_owned())).collect();
        routes.sort();
        let documented: Vec<_> = documented().into_iter().filter(|(_, path, _)| !path.starts_with("/webhooks/")).collect();
        assert_eq!(documented, routes);
    }
}
