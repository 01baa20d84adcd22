//! Where an account stands with its limits, and what is kept of its runs.

use std::sync::Arc;

use axum::{Extension, Json, extract::State};
use schemars::JsonSchema;
use serde::Serialize;
use trellis_model::{
    retention::Retention,
    token::Scope,
    window::{AccountLimits, WindowLimit},
};
use trellis_operator::limiter::WindowStanding;

use super::{
    Api, Problem,
    auth::Caller,
    call_limits::{self, CallLimitsView},
    problem::round_up,
    route::Route,
};

pub fn declared() -> Vec<Route> {
    let summary = "Where the account stands with its limits, and what is kept of its runs";
    vec![Route::get("/v1/limits", Scope::RunsRead, summary, show).answers::<LimitsView>(200, "As it stands")]
}

/// Counting a million rows would cost more than anyone learns from it.
const COUNTED_MAX: i64 = 10_000;

#[derive(Debug, Serialize, JsonSchema)]
pub struct LimitsView {
    pub limits: AccountLimits,
    /// What one call of its plugins may use.
    pub calls: CallLimitsView,
    pub windows: WindowsView,
    /// Module instantiations left in the burst window.
    pub burst_left: u32,
    /// The same for the long window.
    pub long_left: u32,
    /// Seconds until the next one is allowed; 0: now.
    pub wait_seconds: u64,
    /// Runs that are queued or wait for their time; counted up to 10,000 of each.
    pub unfinished_runs: i64,
    /// What is kept of its runs; set by an operator.
    pub retention: Retention,
}

/// As the host knows them that runs the account's work; asked at another host, as that one has stored them some seconds
/// ago.
#[derive(Debug, Serialize, JsonSchema)]
pub struct WindowsView {
    pub burst: WindowView,
    pub long: WindowView,
}

#[derive(Debug, Serialize, JsonSchema)]
pub struct WindowView {
    pub max: u32,
    pub period_ms: i64,
    /// Module instantiations in this window, and those carried over into it; can be more than `max`.
    pub used: u32,
    pub left: u32,
    /// Seconds until the window turns, rounded up.
    pub turns_in_seconds: u64,
}

impl WindowView {
    fn of(limit: WindowLimit, WindowStanding { used, left, turns_in, .. }: WindowStanding) -> Self {
        Self { max: limit.max, period_ms: limit.period_ms, used, left, turns_in_seconds: round_up(turns_in) }
    }
}

/// `GET /v1/limits`
pub async fn show(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<Caller>,
) -> Result<Json<LimitsView>, Problem> {
    let account = caller.account()?;
    let standing = api.host.limiter.look_up(account).await?;
    let (burst, long) = standing.windows.ok_or_else(Problem::internal)?;
    Ok(Json(LimitsView {
        limits: standing.limits,
        calls: CallLimitsView::of(&api, &call_limits::stored(&api, account).await?),
        windows: WindowsView {
            burst: WindowView::of(standing.limits.burst, burst),
            long: WindowView::of(standing.limits.long, long),
        },
        burst_left: burst.left,
        long_left: long.left,
        wait_seconds: round_up(standing.wait),
        unfinished_runs: api.host.database.unfinished_count(account, COUNTED_MAX).await?,
        retention: api.host.database.retention(account).await?.unwrap_or_default(),
    }))
}
