//! Runs: list and show.

use std::{collections::HashMap, sync::Arc};

use axum::{Extension, Json, extract::State};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use trellis_model::{
    AccountId, RevisionId, RunId,
    description::NAME_BYTES_MAX,
    retention::History,
    run::{NodeResult, RunState},
    token::Scope,
};
use trellis_store::{
    run_list::RunFilter,
    runs::{RunDetail, RunSummary},
};

use super::{
    Api, Problem,
    auth::Caller,
    page::{self, LIMIT_MAX, Page, time_ms},
    projects,
    request::{PathOf, QueryOf, grid_name},
    route::Route,
};

pub fn declared() -> Vec<Route> {
    vec![
        Route::get("/v1/runs", Scope::RunsRead, "List runs, newest first", list)
            .query::<RunsQuery>()
            .answers::<Page<RunItem>>(200, "A page of runs"),
        Route::get("/v1/runs/{run}", Scope::RunsRead, "Show a run with its nodes", show)
            .answers::<RunView>(200, "The run"),
    ]
}

/// A run as a list shows it.
#[derive(Debug, Serialize, JsonSchema)]
pub struct RunItem {
    pub run: RunId,
    pub project: String,
    pub revision: RevisionId,
    pub grid: String,
    pub state: RunState,
    pub accepted_at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub started_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<String>,
    /// When a waiting run goes on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub run_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// The last run that was made of this one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replayed_as: Option<RunId>,
}

/// A run whole.
#[derive(Debug, Serialize, JsonSchema)]
pub struct RunView {
    #[serde(flatten)]
    pub item: RunItem,
    pub event: EventView,
    pub nodes: Vec<NodeResult>,
}

#[derive(Debug, Serialize, JsonSchema)]
pub struct EventView {
    pub attributes: HashMap<String, String>,
    #[schemars(with = "serde_json::Value")]
    pub data: Box<RawValue>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RunsQuery {
    project: Option<String>,
    #[schemars(length(max = NAME_BYTES_MAX))]
    grid: Option<String>,
    state: Option<RunState>,
    /// Only runs that were replayed, or only those that were not. Of dead letters, if it is not given, those that were not.
    replayed: Option<bool>,
    /// Runs older than this one: the `next` of the page before.
    before: Option<RunId>,
    /// RFC 3339: runs accepted then or later.
    #[schemars(extend("format" = "date-time"))]
    accepted_after: Option<String>,
    /// RFC 3339: runs accepted earlier.
    #[schemars(extend("format" = "date-time"))]
    accepted_before: Option<String>,
    #[schemars(range(min = 1, max = LIMIT_MAX))]
    limit: Option<i64>,
}

/// `GET /v1/runs`: newest first.
pub async fn list(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<Caller>,
    QueryOf(query): QueryOf<RunsQuery>,
) -> Result<Json<Page<RunItem>>, Problem> {
    let limit = page::limit(query.limit)?;
    grid_name(query.grid.as_deref())?;
    let project = match &query.project {
        Some(name) => Some(projects::find(&api, &caller, name).await?.id),
        None => caller.project,
    };
    let replayed = query.replayed.or((query.state == Some(RunState::Dead)).then_some(false));
    let filter = RunFilter {
        project,
        grid: query.grid,
        state: query.state,
        replayed,
        before: query.before,
        accepted_from_ms: unix_ms("accepted_after", query.accepted_after.as_deref())?,
        accepted_until_ms: unix_ms("accepted_before", query.accepted_before.as_deref())?,
        limit: limit + 1,
    };
    let runs = api.host.database.runs(caller.account()?, &filter, api.host.clock.now_ms()).await?;
    Ok(Json(Page::new(runs.into_iter().map(item).collect(), limit, |item: &RunItem| item.run.to_string())))
}

/// A time of the query, in Unix milliseconds.
pub fn unix_ms(name: &str, text: Option<&str>) -> Result<Option<i64>, Problem> {
    let Some(text) = text else { return Ok(None) };
    let time: Result<jiff::Timestamp, _> = text.parse();
    time.map(|time| Some(time.as_millisecond())).map_err(|_| {
        let shown: String = text.chars().take(40).collect();
        Problem::bad_request(format!("{name}=`{shown}` is no time; write it like 2026-11-21T08:00:00Z"))
    })
}

/// `GET /v1/runs/{run}`
pub async fn show(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<Caller>,
    PathOf(run): PathOf<String>,
) -> Result<Json<RunView>, Problem> {
    find(&api, &caller, caller.account()?, &run).await.and_then(view).map(Json)
}

/// A run that the caller may see.
pub async fn find(api: &Api, caller: &Caller, account: AccountId, run: &str) -> Result<RunDetail, Problem> {
    let detail = api.host.database.run(account, id(run)?).await?;
    match detail.filter(|detail| caller.may_see(detail.summary.project)) {
        Some(detail) => Ok(detail),
        None => Err(not_kept(api, account, run).await?.unwrap_or_else(|| unknown(run))),
    }
}

/// What to say of a run that is not there, if it may have been: the account does not keep all of them.
async fn not_kept(api: &Api, account: AccountId, run: &str) -> Result<Option<Problem>, Problem> {
    let retention = api.host.database.retention(account).await?.unwrap_or_default();
    let kept = match retention.history {
        History::Full => return Ok(None),
        History::Failed => "runs that did not succeed",
        History::None => "dead letters",
    };
    let history = retention.history.name();
    let detail =
        format!("there is no run `{run}`, or it is over: this account keeps {kept} alone (history `{history}`)");
    Ok(Some(Problem::not_kept(detail)))
}

/// The id in the address of a run. Text that is none names no run.
pub fn id(run: &str) -> Result<RunId, Problem> {
    run.parse().map_err(|_| unknown(run))
}

/// A run that is not there, or of which the caller must not know.
pub fn unknown(run: &str) -> Problem {
    Problem::not_found(format!("there is no run `{run}`"))
}

fn item(summary: RunSummary) -> RunItem {
    RunItem {
        run: summary.run,
        project: summary.project_name,
        revision: summary.revision,
        grid: summary.grid,
        state: summary.state,
        accepted_at: time_ms(summary.run.accepted_at_ms()),
        started_at: summary.started_at_ms.map(time_ms),
        ended_at: summary.ended_at_ms.map(time_ms),
        run_at: summary.run_at_ms.map(time_ms),
        error: summary.error,
        replayed_as: summary.replayed_as,
    }
}

pub fn view(detail: RunDetail) -> Result<RunView, Problem> {
    let run = detail.summary.run;
    let unreadable = |error| {
        let error: serde_json::Error = error;
        tracing::error!(%run, %error, "a stored run is not readable");
        Problem::internal()
    };
    let event: trellis_model::run::Event = serde_json::from_slice(&detail.event).map_err(unreadable)?;
    let nodes = detail.nodes.as_deref().map(serde_json::from_slice).transpose().map_err(unreadable)?;
    Ok(RunView {
        item: item(detail.summary),
        event: EventView { attributes: event.attributes.into_iter().collect(), data: event.data },
        nodes: nodes.unwrap_or_default(),
    })
}
