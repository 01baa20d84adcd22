//! A host that is asked to stop while it works.

use std::time::Duration;

use bytes::Bytes;
use reqwest::Method;
use serde_json::json;

use crate::support::{HostPlan, Outside, Stage, eventually, grants, node, project};

#[tokio::test]
async fn a_node_that_is_running_is_finished_before_the_host_stops_and_the_next_host_goes_on_behind_it() {
    let outside = Outside::start().await;
    let mut stage = Stage::facing(&outside).await;
    let account = stage.account("acme").await;
    let nodes = json!({
        "ask": {
            "plugin": "http-request",
            "inputs": { "in": "event" },
            "config": { "url": format!("{}/hold/answer", outside.url) },
            "grants": grants(&outside),
        },
        "shape": { "plugin": "json-map", "inputs": { "in": "ask.response#/status" }, "config": { "expression": ". + 1" } },
    });
    account.deploy(&project("patient", &nodes)).await;
    let run = account.start("patient", &json!(null)).await;
    outside.asked("/hold/answer").await;

    stage.host.terminate().await;
    eventually("the host lets nobody in any more", async || {
        account.api.try_send(Method::GET, "/readyz", "", Bytes::new()).await.is_err().then_some(())
    })
    .await;
    // Time enough to give up the run, for a host that would.
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(stage.host.is_running(), "the host does not wait for the run");
    outside.release("/hold/answer");
    let status = stage.host.ended().await;
    assert!(status.success(), "{status}");

    assert_eq!(outside.received("/hold/answer").len(), 1);
    let next = HostPlan::on(&stage.database.url).start().await;
    let shown = account.at(&next).succeeded(&run).await;
    stage.database.settled().await;
    assert_eq!(outside.received("/hold/answer").len(), 1, "what is committed is not asked again");
    assert_eq!(node(&shown, "shape")["outputs"]["out"], 201, "{shown:#}");
}
