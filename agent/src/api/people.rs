//! What people ask for over the API: rollback, hold, suspend, resume; of a component, a layer, or everything. And their word
//! about refs that are not what they were.

use axum::Json;
use axum::extract::{FromRequestParts, Path, State};
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};

use super::{Because, Body, Caller, Problem, Route, Shared, Verb, known};
use crate::engine::{Asked, RollbackRequest};

/// Every route, most under each of the three things that it may be about.
pub(super) fn routes() -> Vec<Route> {
    let about = ["/api/v1/components/{name}", "/api/v1/layers/{name}", "/api/v1"];
    let of_each = about.into_iter().flat_map(|about| {
        [
            Route::act(Verb::Rollback, &format!("{about}/rollback"), rollback),
            Route::act(Verb::Hold, &format!("{about}/hold"), hold),
            Route::act(Verb::Hold, &format!("{about}/suspend"), suspend),
            Route::act(Verb::Hold, &format!("{about}/resume"), resume),
        ]
    });
    of_each.chain([Route::act(Verb::Confirm, "/api/v1/incidents/{incident}/accept", accept)]).collect()
}

/// What the path of a request is about.
struct About(Asked);

impl FromRequestParts<Shared> for About {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, shared: &Shared) -> Result<About, Problem> {
        let mut steps = parts.uri.path().trim_start_matches("/api/v1/").split('/');
        Ok(About(match (steps.next(), steps.next()) {
            (Some("components"), Some(name)) => Asked::Component(known(shared, name)?),
            (Some("layers"), Some(name)) => Asked::Layer(name.into()),
            _ => Asked::All,
        }))
    }
}

/// A rollback, or only its plan.
async fn rollback(
    State(shared): State<Shared>,
    caller: Caller,
    About(asked): About,
    body: Body<RollbackRequest>,
) -> Result<Response, Problem> {
    let (engine, request) = (shared.engine, body.read()?);
    if request.despite_compromise {
        Because { reason: request.reason.clone() }.given()?;
    }
    if request.dry_run {
        return Ok(Json(engine.plan_rollback(&asked, &request, caller.name()).await?).into_response());
    }
    // A caller who goes away, or has to be told that it takes long, does not stop it halfway.
    let ended = tokio::spawn(async move {
        match &asked {
            Asked::Component(name) => {
                engine.roll_back(name, &request, caller.name()).await.map(|done| Json(done).into_response())
            }
            _ => engine.roll_back_many(&asked, &request, caller.name()).await.map(|done| Json(done).into_response()),
        }
    });
    Ok(ended.await.map_err(|_| crate::error::Error::Panicked("rollback"))??)
}

async fn hold(
    State(shared): State<Shared>,
    caller: Caller,
    About(asked): About,
    body: Body<Because>,
) -> Result<Response, Problem> {
    let reason = body.read()?.given()?;
    Ok(Json(shared.engine.hold(&asked, &reason, caller.name())?).into_response())
}

async fn suspend(
    State(shared): State<Shared>,
    caller: Caller,
    About(asked): About,
    body: Body<Because>,
) -> Result<Response, Problem> {
    let reason = body.read()?.given()?;
    Ok(Json(shared.engine.suspend(&asked, &reason, caller.name())?).into_response())
}

async fn accept(
    State(shared): State<Shared>,
    caller: Caller,
    Path(incident): Path<String>,
    body: Body<Because>,
) -> Result<Response, Problem> {
    let reason = body.read()?.given()?;
    Ok(Json(shared.engine.accept_incident(&incident, &reason, caller.name())?).into_response())
}

async fn resume(State(shared): State<Shared>, caller: Caller, About(asked): About) -> Result<Response, Problem> {
    Ok(Json(shared.engine.resume(&asked, caller.name())?).into_response())
}
