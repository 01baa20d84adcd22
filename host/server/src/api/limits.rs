//! Where an account stands with its limits, and what is kept of its runs.

use std::sync::Arc;

use axum::{Extension, Json, extract::State};
use serde::Serialize;
use trellis_model::{retention::Retention, window::AccountLimits};

use super::{Api, Problem, auth::Caller};

/// Counting a million rows would cost more than anyone learns from it.
const COUNTED_MAX: i64 = 10_000;

#[derive(Debug, Serialize)]
pub struct LimitsView {
    pub limits: AccountLimits,
    /// Module instantiations left in the burst window, as this host knows it.
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

/// `GET /v1/limits`
pub async fn show(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<Caller>,
) -> Result<Json<LimitsView>, Problem> {
    let account = caller.account()?;
    api.host.limiter.load([account]).await?;
    let standing = api.host.limiter.standing(account).ok_or_else(Problem::internal)?;
    Ok(Json(LimitsView {
        limits: standing.limits,
        burst_left: standing.burst_left,
        long_left: standing.long_left,
        wait_seconds: standing.wait.as_millis().div_ceil(1_000).try_into().unwrap_or(u64::MAX),
        unfinished_runs: api.host.database.unfinished_count(account, COUNTED_MAX).await?,
        retention: api.host.database.retention(account).await?.unwrap_or_default(),
    }))
}
