//! Health, for supervisors and load balancers. No token needed, and nothing told.

use std::sync::Arc;

use axum::{Json, extract::State};
use serde_json::{Value, json};

use super::{Api, Problem};

/// The process answers.
pub async fn alive() -> Json<Value> {
    Json(json!({ "status": "alive" }))
}

/// Events can be accepted and will be run: the database answers and this host holds a lease.
pub async fn ready(State(api): State<Arc<Api>>) -> Result<Json<Value>, Problem> {
    api.host.database.ping().await?;
    if !api.host.is_ready() {
        return Err(Problem::unavailable("this host holds no lease at the moment", std::time::Duration::from_secs(1)));
    }
    Ok(Json(json!({ "status": "ready" })))
}
