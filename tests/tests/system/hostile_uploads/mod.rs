//! Whatever is uploaded as a plugin: bytes that are none, bombs for the compiler, senders that dawdle or flood. Each is
//! answered with what is wrong, the host lives and keeps its memory, and others upload meanwhile.

mod artefacts;
mod bombs;
mod check_command;
mod mutations;
mod receiving;
mod strangers;

mod bytes;

use bytes::{Upload, small};
use reqwest::Method;
use serde_json::Value;

use crate::support::{Account, Answer};

/// Sends bytes as a plugin of an account.
async fn upload(account: &Account, name: &str, version: u32, upload: Upload) -> Answer {
    let path = format!("/v1/plugins/{name}/{version}.0.0");
    account.api.send(Method::PUT, &path, "application/wasm", upload.into()).await
}

/// What the first fault of a refusal says.
#[track_caller]
fn first_fault(answer: Answer) -> String {
    let problem = answer.problem(422);
    problem["faults"][0]["message"].as_str().unwrap_or_else(|| panic!("a fault: {problem:#}")).to_owned()
}

/// That an account can still upload a plugin that the host has never seen.
async fn accepted(account: &Account, name: &str, mark: &str) -> Value {
    upload(account, name, 1, small().marked(mark)).await.expect(201)
}
