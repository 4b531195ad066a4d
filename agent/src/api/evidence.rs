//! What this instance says to others of what ran well here. Nothing of it is secret: it is made to be given away.

use axum::Json;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};

use super::{Problem, Route, Shared, known};

pub(super) fn routes() -> Vec<Route> {
    vec![
        Route::read("/api/v1/evidence", |State(shared): State<Shared>| async move { Json(shared.engine.evidence(None)) }),
        Route::read("/api/v1/components/{name}/evidence", of_component),
    ]
}

async fn of_component(State(shared): State<Shared>, Path(name): Path<String>) -> Result<Response, Problem> {
    let name = known(&shared, &name)?;
    Ok(Json(shared.engine.evidence(Some(&name))).into_response())
}
