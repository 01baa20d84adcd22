//! Cancelling runs: one, or those of a project.

use std::{
    collections::BTreeSet,
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{
    Extension, Json,
    extract::{Request, State},
};
use http::StatusCode;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use trellis_model::{AccountId, RunId, Shard, description::NAME_BYTES_MAX, run::RunState, token::Scope};
use trellis_store::cancel_requests::CancelFilter;

use super::{
    Api, Problem,
    auth::Caller,
    cursor::Cursor,
    page::{self, LIMIT_MAX},
    projects,
    request::{PathOf, grid_name, json, read_body},
    route::Route,
    runs,
};

pub fn declared() -> Vec<Route> {
    vec![
        Route::post("/v1/runs/{run}/cancel", Scope::RunsWrite, "End a run", cancel)
            .answers::<Cancelled>(200, "The run is over")
            .answers::<Cancelled>(202, "The run will end")
            .problems(&[409]),
        Route::post(
            "/v1/runs/cancel",
            Scope::RunsWrite,
            "End runs of a project, a bounded number at a time",
            cancel_many,
        )
        .json::<CancelMany>()
        .answers::<CancelRequested>(202, "They end soon"),
    ]
}

/// How long an answer waits for the end of the run.
const END_LONGEST: Duration = Duration::from_secs(2);
/// Between two looks at it.
const LOOK_FIRST: Duration = Duration::from_millis(10);
const LOOK_LONGEST: Duration = Duration::from_millis(200);

/// Where a run stands after somebody wanted it to end.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Cancelled {
    pub run: RunId,
    /// Not `cancelled` if the run came to another end first, or is not over yet. Absent: it is over, and the account's
    /// history does not keep how.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<RunState>,
}

/// `POST /v1/runs/{run}/cancel`: 200 when the run is over, 202 when it will be.
pub async fn cancel(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<Caller>,
    PathOf(run): PathOf<String>,
) -> Result<(StatusCode, Json<Cancelled>), Problem> {
    let account = caller.account()?;
    let id = runs::id(&run)?;
    let (_, state) = api
        .host
        .database
        .run_state(account, id)
        .await?
        .filter(|(project, _)| caller.may_see(*project))
        .ok_or_else(|| runs::unknown(&run))?;
    let state = match state {
        RunState::Cancelled => Some(state),
        state if state.is_final() => {
            let how = if state == RunState::Dead { "a dead letter" } else { "over" };
            return Err(Problem::run_state(format!("{run} is {how}: its state is `{}`", state.name())));
        }
        _ => {
            let shard = api.host.database.request_cancel(account, id).await?;
            api.host.cancel_requested(shard.as_slice()).await?;
            ended(&api, account, id, state).await?
        }
    };
    let status = if state.is_none_or(RunState::is_final) { StatusCode::OK } else { StatusCode::ACCEPTED };
    Ok((status, Json(Cancelled { run: id, state })))
}

/// Waits a moment for the end of a run; its last known state if that takes longer. None: it is over and not kept.
async fn ended(api: &Api, account: AccountId, run: RunId, mut state: RunState) -> Result<Option<RunState>, Problem> {
    let (asked, mut pause) = (Instant::now(), LOOK_FIRST);
    while !state.is_final() && asked.elapsed() < END_LONGEST {
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LOOK_LONGEST);
        match api.host.database.run_state(account, run).await? {
            Some((_, seen)) => state = seen,
            None => return Ok(None),
        }
    }
    Ok(Some(state))
}

/// Which runs are to end.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CancelMany {
    project: String,
    #[schemars(length(max = NAME_BYTES_MAX))]
    grid: Option<String>,
    /// Queued, running or waiting; all of them if it is not given.
    state: Option<RunState>,
    /// The `next` of the answer before.
    after: Option<Cursor>,
    #[schemars(range(min = 1, max = LIMIT_MAX))]
    limit: Option<i64>,
}

/// What was asked of a number of runs.
#[derive(Debug, Serialize, JsonSchema)]
pub struct CancelRequested {
    /// How many runs were asked to end.
    pub requested: usize,
    /// Pass as `after` to go on; absent: there were no more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<Cursor>,
}

/// `POST /v1/runs/cancel`: oldest first, a bounded number at a time. They end soon after the answer.
pub async fn cancel_many(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<Caller>,
    request: Request,
) -> Result<(StatusCode, Json<CancelRequested>), Problem> {
    let account = caller.account()?;
    let wanted: CancelMany = json(&read_body(request.into_body(), api.config.body_bytes_max).await?)?;
    let limit = page::limit(wanted.limit)?;
    grid_name(wanted.grid.as_deref())?;
    if let Some(state) = wanted.state.filter(|state| state.is_final()) {
        return Err(Problem::bad_request(format!(
            "runs in the state `{}` are over; queued, running and waiting ones can be cancelled",
            state.name()
        )));
    }
    let Cursor { after, before } = wanted.after.unwrap_or_else(|| Cursor::first(api.host.clock.now_ms()));
    let filter = CancelFilter {
        project: projects::find(&api, &caller, &wanted.project).await?.id,
        grid: wanted.grid,
        state: wanted.state,
        after,
        before,
        limit,
    };
    let requested = api.host.database.request_cancels(account, &filter).await?;
    let shards: BTreeSet<Shard> = requested.iter().map(|(shard, _)| *shard).collect();
    api.host.cancel_requested(&shards.into_iter().collect::<Vec<Shard>>()).await?;
    let is_full = i64::try_from(requested.len()).is_ok_and(|count| count == limit);
    let next = requested.last().filter(|_| is_full).map(|(_, run)| Cursor { after: *run, before });
    Ok((StatusCode::ACCEPTED, Json(CancelRequested { requested: requested.len(), next })))
}
