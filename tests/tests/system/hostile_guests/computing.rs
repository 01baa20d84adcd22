//! Guests that want a CPU for ever, or do nothing for ever.

use bytes::Bytes;
use reqwest::Method;
use serde_json::json;

use crate::support::{
    Attack, Ends, Walls,
    handmade::{ENDLESS, HARMLESS, Parts},
};

/// Little enough to be used up within the wall time on a machine that is busy with other things.
fn little_cpu(action: serde_json::Value) -> Attack {
    Attack::new(action, Ends::Failed("limit", "used up its CPU budget of 300 ms")).limited(json!({ "cpu": "300ms" }))
}

#[tokio::test]
async fn a_loop_in_a_call_is_ended_by_its_cpu_budget() {
    Walls::new().await.withstand(&little_cpu(json!({ "do": "spin" }))).await;
}

#[tokio::test]
async fn polling_without_waiting_is_ended_by_its_cpu_budget() {
    Walls::new().await.withstand(&little_cpu(json!({ "do": "poll-for-ever" }))).await;
}

#[tokio::test]
async fn few_instructions_that_copy_much_are_ended_by_their_cpu_budget() {
    Walls::new().await.withstand(&little_cpu(json!({ "do": "copy-for-ever" }))).await;
}

#[tokio::test]
async fn an_hour_of_sleep_is_ended_by_the_wall_clock() {
    let ends = Ends::Failed("timeout", "took longer than its limit of 500 ms");
    let sleep = Attack::new(json!({ "do": "sleep", "ms": 3_600_000 }), ends).limited(json!({ "wall": "500ms" }));
    Walls::new().await.withstand(&sleep).await;
}

/// The fault of an upload that must be refused.
pub async fn refused(walls: &Walls, component: Bytes) -> String {
    let answer = walls.bad.api.send(Method::PUT, "/v1/plugins/handmade/1.0.0", "application/wasm", component).await;
    answer.problem(422)["faults"][0]["message"].as_str().expect("a fault says what is wrong").to_owned()
}

#[tokio::test]
async fn a_loop_in_the_start_function_or_in_describe_is_refused_at_the_upload() {
    let walls = Walls::new().await;
    let start = Parts { fields: "(func $begin (loop $again (br $again))) (start $begin)", ..HARMLESS }.component();
    let describe = Parts { describe: ENDLESS, ..HARMLESS }.component();
    walls
        .withstand_all(async || {
            for component in [&start, &describe] {
                let message = refused(&walls, component.clone()).await;
                assert!(message.contains("`describe` failed: used up its CPU budget of 1000 ms"), "{message}");
            }
        })
        .await;
}
