//! Who may call the API: whoever shows the token that stands in `api.tokenFile`.
//!
//! The file is read again for each call, so a rotated token is in force at once. A missing or empty file refuses
//! everybody.

use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use subtle::ConstantTimeEq as _;

use super::{Problem, Shared};

/// The smallest token that is accepted: shorter ones can be guessed.
const SHORTEST: usize = 16;

/// Lets a request pass, or answers 401 without saying what was wrong with the token.
pub(super) async fn require_token(State(shared): State<Shared>, request: Request, next: Next) -> Response {
    let shown = request
        .headers()
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.strip_prefix("Bearer "))
        .unwrap_or_default()
        .trim();
    let expected = match &shared.engine.config().api.token_file {
        Some(path) => tokio::fs::read(path).await.unwrap_or_default(),
        None => Vec::new(),
    };
    let expected = expected.trim_ascii();
    if expected.len() < SHORTEST || !bool::from(expected.ct_eq(shown.as_bytes())) {
        let problem =
            Problem::new(StatusCode::UNAUTHORIZED, "Unauthenticated", "show the agent's token: `Authorization: Bearer ...`");
        return ([(header::WWW_AUTHENTICATE, "Bearer")], problem).into_response();
    }
    next.run(request).await
}
