//! The queue: in which order runs are started, how many at once, on how many hosts, and what waiting costs.

mod backlog;
mod handover;
mod keys;
mod priorities;
mod running;
mod spread;

use serde_json::{Value, json};

use crate::support::{Account, Outside, grants};

/// A node that asks the world outside for the path that the event names as `path`.
fn ask(outside: &Outside) -> Value {
    json!({
        "plugin": "http-request",
        "inputs": { "in": "event" },
        "config": { "url": format!("{}{{+/path}}", outside.url) },
        "grants": grants(outside),
        "retry": { "attempts": 5, "first": "500ms", "factor": 1.0 },
    })
}

/// A node that takes no time.
fn quick() -> Value {
    json!({ "plugin": "json-map", "inputs": { "in": "event" }, "config": { "expression": "." } })
}

/// Starts a run of any grid; answers with the run.
async fn start(account: &Account, project: &str, grid: &str, data: &Value) -> String {
    let path = format!("/v1/projects/{project}/grids/{grid}/events");
    let accepted = account.api.post(&path, data).await.expect(202);
    accepted["run"].as_str().expect("an accepted event has a run").to_owned()
}

/// The paths that were asked for, in order, of those that begin like this.
fn paths(outside: &Outside, prefix: &str) -> Vec<String> {
    outside.received(prefix).into_iter().map(|request| request.path).collect()
}
