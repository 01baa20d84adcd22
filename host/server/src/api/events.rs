//! Events by API: a run is started without a trigger.

use std::{sync::Arc, time::Duration};

use axum::{
    Extension, Json,
    extract::{Request, State},
    response::{IntoResponse, Response},
};
use http::{HeaderValue, StatusCode};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;
use trellis_model::{AccountId, RunId, fault::did_you_mean, run::Event, token::Scope};
use trellis_operator::{
    catalog::LoadedRevision,
    ingest::{self, NewEvent},
    limiter::Standing,
};

use super::{
    Api, Problem,
    auth::Caller,
    dedupe,
    hooks::json_data,
    hops,
    outcome::{self, Waiting},
    projects, rate_limit,
    request::{PathOf, read_body},
    route::Route,
    runs::RunView,
};

pub fn declared() -> Vec<Route> {
    const PATH: &str = "/v1/projects/{project}/grids/{grid}/events";
    vec![
        Route::post(PATH, Scope::EventsWrite, "Start a run of a grid with the body as its event", send)
            .optional_json::<Value>()
            .header("Prefer", "`wait=N`: answer with the run when it is over, after N seconds at the most")
            .header("Idempotency-Key", "An event that comes again with the same key is answered with its run")
            .answers::<RunView>(
                200,
                "The run, which is over: to a request with `Prefer: wait=N`, which also needs the scope `runs:read`",
            )
            .answers::<Accepted>(202, "The event is committed; with `Prefer: wait=N`, its run is not over yet")
            .problems(&[409, 422, 429, 508]),
    ]
}

/// The answer to an event: it is committed, and this is its run.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Accepted {
    pub run: RunId,
    /// The event was accepted before, with the same key. Left out where it was not.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub repeat: bool,
}

/// 202, and whether it is for the first time.
pub fn accepted(accepted: ingest::Accepted) -> Response {
    let ingest::Accepted { run, is_repeat: repeat } = accepted;
    let mut response = (StatusCode::ACCEPTED, Json(Accepted { run, repeat })).into_response();
    if repeat {
        response.headers_mut().insert(dedupe::REPLAYED, HeaderValue::from_static("true"));
    }
    response
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
    projects::servable(&revision)?;
    if revision.grid(&grid).is_none() {
        let names = revision.grid_names();
        let near = did_you_mean(&grid, names.iter().copied());
        let near = near.map(|near| format!("; did you mean `{near}`?")).unwrap_or_default();
        let known = names.join(", ");
        return Err(Problem::not_found(format!("project `{project}` has no grid `{grid}`; it has: {known}{near}")));
    }
    let standing = rate_limit::standing(&api, account).await?;
    let wait = outcome::preferred_wait(request.headers());
    if wait.is_some() && !caller.has(Scope::RunsRead) {
        let needed = "`Prefer: wait` is answered with the run, which takes the scope `runs:read`";
        return Err(Problem::forbidden(format!("{needed}; leave the header out, or take another token")));
    }
    let accepted = accept(&api, account, &revision, &grid, &standing, request, wait).await;
    Ok(rate_limit::announce(&standing, accepted.into_response()))
}

async fn accept(
    api: &Api,
    account: AccountId,
    revision: &LoadedRevision,
    grid: &str,
    standing: &Standing,
    request: Request,
    wait: Option<Duration>,
) -> Result<Response, Problem> {
    let admitted = rate_limit::admitted(standing);
    let (parts, body) = request.into_parts();
    if !dedupe::may_have_keys(None, &parts.headers) {
        admitted.as_ref().map_err(Problem::clone)?;
    }
    let data = json_data(&read_body(body, api.config.body_bytes_max).await?)?;
    let place = dedupe::Place { project: revision.project, kind: "grid", name: grid };
    let keys = dedupe::keys(place, None, &parts.headers, &data)?;
    if let Err(refusal) = admitted {
        return dedupe::repeated_or(api, account, &keys, refusal).await;
    }
    let mut attributes = vec![("trigger".to_owned(), "api".to_owned())];
    attributes.extend(hops::attribute(api, account, &parts.headers)?);
    let event = Event { attributes, data };
    let run = api.host.ingest.accept(NewEvent {
        account,
        project: revision.project,
        revision: revision.id,
        grid: grid.into(),
        place: revision.place(grid, &event),
        payload: serde_json::to_vec(&event).map_err(|_| Problem::internal())?,
        keys,
    });
    let sent = run.await?;
    let Some(wait) = wait else { return Ok(accepted(sent)) };
    Waiting { api, account, revision, grid, accepted: sent }.with_run(wait, event).await
}
