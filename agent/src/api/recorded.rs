//! Recorded releases over the API. What is secret in them is never told: whoever has the keys reads it from the volume.

use axum::Json;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use tk8s_core::{Placed, ReleaseId, ReleaseNumber};
use tk8s_history::{Desired, ReleaseView};

use super::{Problem, Route, Shared, known};
use crate::disk::disk;
use crate::error::Error;
use crate::recorded;

pub(super) fn routes() -> Vec<Route> {
    vec![
        Route::read("/api/v1/components/{name}/history", history),
        Route::read("/api/v1/components/{name}/releases/{release}", show),
        Route::read("/api/v1/components/{name}/releases/{release}/export", export),
        Route::read("/api/v1/components/{name}/releases/{release}/diff/{other}", difference),
    ]
}

async fn history(State(shared): State<Shared>, Path(name): Path<String>) -> Result<Response, Problem> {
    let name = known(&shared, &name)?;
    let current = disk(|| shared.engine.history.component(&name)).and_then(|view| view.current).map(|it| it.number);
    let releases = disk(|| shared.engine.history.releases(&name));
    Ok(Json(recorded::entries(releases, current, || shared.engine.warnings_of(&name))).into_response())
}

async fn show(State(shared): State<Shared>, Path((name, release)): Path<(String, String)>) -> Result<Response, Problem> {
    let (known, objects) = recall(&shared, &name, &release)?;
    let id = &known.release.id;
    let story = disk(|| shared.engine.history.story(id)).map_err(Error::from)?;
    let current = disk(|| shared.engine.history.component(&id.component)).and_then(|view| view.current).map(|it| it.number);
    Ok(Json(recorded::details(known, current, objects, story)).into_response())
}

async fn export(State(shared): State<Shared>, Path((name, release)): Path<(String, String)>) -> Result<Response, Problem> {
    let (known, objects) = recall(&shared, &name, &release)?;
    Ok(Json(recorded::export(&shared.engine.instance, &known, objects, false)).into_response())
}

async fn difference(
    State(shared): State<Shared>,
    Path((name, release, other)): Path<(String, String, String)>,
) -> Result<Response, Problem> {
    let ((before, old), (after, new)) = (recall(&shared, &name, &release)?, recall(&shared, &name, &other)?);
    let names = (before.release.id.to_string(), after.release.id.to_string());
    let masker = shared.engine.live.masker();
    Ok(Json(tk8s_diff::between((&names.0, &names.1), &old, &new, masker)).into_response())
}

/// A release and its objects, proven against the ledger.
fn recall(shared: &Shared, name: &str, release: &str) -> Result<(ReleaseView, Vec<Placed>), Problem> {
    let component = known(shared, name)?;
    let number = release.parse().map(ReleaseNumber).map_err(|_| {
        Problem::new(axum::http::StatusCode::NOT_FOUND, "UnknownRelease", "a release is a number: see the component's history")
    })?;
    let id = ReleaseId { component, number };
    let history = &shared.engine.history;
    let found = disk(|| history.release(&id)).ok_or_else(|| Error::UnknownRelease(id.clone()))?;
    let recalled = Desired::from(disk(|| history.recall(&id)).map_err(Error::from)?);
    Ok((found, recalled.into_parts().1))
}
