//! Events by API: a run is started without a trigger.

use std::sync::Arc;

use axum::{
    Extension, Json,
    extract::{Request, State},
    response::{IntoResponse, Response},
};
use http::StatusCode;
use serde::Serialize;
use trellis_model::{AccountId, RunId, run::Event};
use trellis_operator::{catalog::LoadedRevision, ingest::NewEvent, limiter::Standing};

use super::{
    Api, Problem,
    auth::Caller,
    hooks::json_data,
    projects, rate_limit,
    request::{PathOf, read_body},
};

/// The answer to an event: it is committed, and this is its run.
#[derive(Debug, Serialize)]
pub struct Accepted {
    pub run: RunId,
}

/// `POST /v1/projects/{project}/grids/{grid}/events`
pub async fn send(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<Caller>,
    PathOf((project, grid)): PathOf<(String, String)>,
    request: Request,
) -> Result<Response, Problem> {
    let account = caller.account()?;
    let revision = projects::current_revision(&api, &caller, &project).await?;
    if revision.grid(&grid).is_none() {
        let known = revision.grid_names().join(", ");
        return Err(Problem::not_found(format!("project `{project}` has no grid `{grid}`; it has: {known}")));
    }
    let standing = rate_limit::standing(&api, account).await?;
    let accepted = accept(&api, account, &revision, &grid, &standing, request).await;
    Ok(rate_limit::announce(&standing, accepted.into_response()))
}

async fn accept(
    api: &Api,
    account: AccountId,
    revision: &LoadedRevision,
    grid: &str,
    standing: &Standing,
    request: Request,
) -> Result<Response, Problem> {
    rate_limit::admitted(standing)?;
    let data = json_data(&read_body(request.into_body(), api.config.body_bytes_max).await?)?;
    let event = Event { attributes: vec![("trigger".to_owned(), "api".to_owned())], data };
    let run = api.host.ingest.accept(NewEvent {
        account,
        project: revision.project,
        revision: revision.id,
        grid: grid.into(),
        place: revision.place(grid, &event),
        payload: serde_json::to_vec(&event).map_err(|_| Problem::internal())?,
    });
    Ok((StatusCode::ACCEPTED, Json(Accepted { run: run.await? })).into_response())
}
