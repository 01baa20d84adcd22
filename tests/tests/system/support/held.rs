//! A run that waits for an answer from outside until the test lets it go on.

use serde_json::json;

use super::{Account, Outside, grants, project};

/// Answered when it is released.
pub const HELD: &str = "/hold/answer";

/// A project named `held`, whose runs wait for [`HELD`].
pub async fn deploy_held(account: &Account, outside: &Outside) {
    deploy_held_as(account, outside, "held").await;
}

pub async fn deploy_held_as(account: &Account, outside: &Outside, name: &str) {
    let ask = json!({
        "plugin": "http-request",
        "inputs": { "in": "event" },
        "config": { "url": format!("{}{HELD}", outside.url) },
        "grants": grants(outside),
    });
    account.deploy(&project(name, &json!({ "ask": ask }))).await;
}

/// A run of [`deploy_held`] that has begun to wait.
pub async fn held_run(account: &Account, outside: &Outside) -> String {
    deploy_held(account, outside).await;
    let run = account.start("held", &json!(1)).await;
    outside.asked(HELD).await;
    run
}
