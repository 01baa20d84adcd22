//! Nodes that fail and are called again, and nodes that must never be.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::support::{Outside, Stage, grants, node, project, reason};

/// A node that sends a request, with many attempts in quick succession.
fn request(outside: &Outside, method: &str, path: &str, input: &str) -> Value {
    json!({
        "plugin": "http-request",
        "inputs": { "in": input },
        "config": { "method": method, "url": format!("{}{path}", outside.url) },
        "grants": grants(outside),
        "retry": { "attempts": 5, "first": "50ms", "factor": 1.0 },
    })
}

#[tokio::test]
async fn a_node_that_fails_twice_succeeds_at_the_third_attempt() {
    let outside = Outside::start().await;
    let stage = Stage::facing(&outside).await;
    let account = stage.account("acme").await;
    account.deploy(&project("stubborn", &json!({ "ask": request(&outside, "GET", "/flaky/2/x", "event") }))).await;
    let run = account.run("stubborn", &json!(null)).await;
    assert_eq!(node(&run, "ask")["attempts"], 3, "{run:#}");
    assert_eq!(node(&run, "ask")["outputs"]["response"]["status"], 200);
    let received = outside.received("/flaky/2/x");
    assert_eq!(received.len(), 3);
    assert!(received.iter().all(|request| request.method == "GET"), "{received:?}");
    stage.database.settled().await;
}

#[tokio::test]
async fn a_node_that_changed_the_outside_world_is_not_called_again_when_a_later_one_is() {
    let outside = Outside::start().await;
    let stage = Stage::facing(&outside).await;
    let account = stage.account("acme").await;
    let nodes = json!({
        "first": request(&outside, "GET", "/first", "event"),
        "order": request(&outside, "POST", "/flaky/1/order", "first.response"),
        "confirm": request(&outside, "GET", "/flaky/2/confirm", "order.response"),
    });
    account.deploy(&project("shop", &nodes)).await;
    let run = account.run("shop", &json!(null)).await;

    assert_eq!(node(&run, "first")["attempts"], 1);
    assert_eq!(node(&run, "order")["attempts"], 2);
    assert_eq!(node(&run, "confirm")["attempts"], 3);
    assert_eq!(outside.received("/first").len(), 1, "its result was kept while the run waited");
    let orders = outside.received("/flaky/1/order");
    assert_eq!(orders.len(), 2, "once in vain, once with success, and never again: {orders:?}");
    let keys: BTreeSet<_> = orders.iter().map(|order| order.idempotency_key.clone()).collect();
    assert_eq!(keys.len(), 1, "both attempts are recognisable as the same order: {keys:?}");
    assert!(keys.first().is_some_and(|key| key.as_ref().is_some_and(|key| key.contains("order"))), "{keys:?}");
    stage.database.settled().await;
}

#[tokio::test]
async fn a_run_whose_attempts_are_used_up_is_a_dead_letter_that_is_kept_whole() {
    let outside = Outside::start().await;
    let stage = Stage::facing(&outside).await;
    let account = stage.account("acme").await;
    let mut ask = request(&outside, "GET", "/status/503/x", "event");
    ask["retry"] = json!({ "attempts": 3, "first": "20ms" });
    account.deploy(&project("hopeless", &json!({ "ask": ask }))).await;
    let run = account.start("hopeless", &json!({ "order": 7 })).await;
    let run = account.ended(&run).await;
    assert_eq!(run["state"], "dead", "{run:#}");
    assert_eq!(node(&run, "ask")["attempts"], 3);
    assert_eq!(outside.received("/status/503/x").len(), 3);
    assert_eq!(reason(&run, "ask").0, "retryable");
    assert!(run["error"].as_str().is_some_and(|error| error.starts_with("node `ask`: ")), "{run:#}");
    assert_eq!(run["event"]["data"], json!({ "order": 7 }));
    stage.database.settled().await;
}

#[tokio::test]
async fn a_failure_that_would_not_go_away_is_not_retried() {
    let outside = Outside::start().await;
    let stage = Stage::facing(&outside).await;
    let account = stage.account("acme").await;
    account.deploy(&project("refused", &json!({ "ask": request(&outside, "GET", "/status/404/x", "event") }))).await;
    let run = account.start("refused", &json!(null)).await;
    let run = account.ended(&run).await;
    assert_eq!(run["state"], "dead");
    assert_eq!(reason(&run, "ask").0, "permanent");
    assert_eq!(outside.received("/status/404/x").len(), 1);
}
