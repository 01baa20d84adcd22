//! Health, for supervisors and load balancers. No token needed, and nothing told.

use std::sync::Arc;

use axum::{Json, extract::State};
use serde_json::{Value, json};

use super::{
    Api, Problem,
    route::{Access, Route},
};

pub fn declared() -> Vec<Route> {
    vec![
        Route::get("/healthz", Access::Public, "Whether the process answers", alive).answers::<Value>(200, "It does"),
        Route::get("/readyz", Access::Public, "Whether events can be sent here", ready)
            .answers::<Value>(200, "They can"),
    ]
}

/// The process answers.
pub async fn alive() -> Json<Value> {
    Json(json!({ "status": "alive" }))
}

/// A place to send events to: the database answers, and this host holds a lease and was not asked to stop. One that was
/// says so here for as long as it lets anybody in, which is not long.
pub async fn ready(State(api): State<Arc<Api>>) -> Result<Json<Value>, Problem> {
    api.host.database.ping().await?;
    if !api.host.is_ready() {
        return Err(Problem::unavailable(
            "this host holds no lease at the moment, or is stopping",
            std::time::Duration::from_secs(1),
        ));
    }
    Ok(Json(json!({ "status": "ready" })))
}
