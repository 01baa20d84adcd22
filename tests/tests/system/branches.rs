//! Grids with branches: those that run at the same time, and those that are skipped.

use serde_json::json;

use crate::support::{Outside, Stage, grants, node, project, reason};

#[tokio::test]
async fn branches_run_at_the_same_time() {
    let outside = Outside::start().await;
    let stage = Stage::facing(&outside).await;
    let account = stage.account("acme").await;
    // Nobody is answered before both have asked: one after the other would end in failure.
    let ask = json!({
        "plugin": "http-request",
        "inputs": { "in": "event" },
        "config": { "url": format!("{}/meet/2/here", outside.url) },
        "grants": grants(&outside),
        "retry": { "attempts": 1 },
    });
    let join = json!({
        "plugin": "http-request",
        "inputs": { "in": "left.response" },
        "config": { "method": "POST", "url": format!("{}/joined", outside.url), "body": "input" },
        "grants": grants(&outside),
    });
    account.deploy(&project("fork", &json!({ "left": ask, "right": ask, "join": join }))).await;
    account.run("fork", &json!(null)).await;
    assert_eq!(outside.received("/meet").len(), 2);
    assert_eq!(outside.received("/joined").len(), 1);
}

#[tokio::test]
async fn nodes_behind_a_port_that_stays_empty_are_skipped_and_the_run_succeeds() {
    let stage = Stage::new().await;
    let account = stage.account("acme").await;
    let map = |input: &str, expression: &str| json!({ "plugin": "json-map", "inputs": { "in": input }, "config": { "expression": expression } });
    let nodes = json!({
        "big": { "plugin": "filter", "inputs": { "in": "event" }, "config": { "expression": ".total > 1000" } },
        "ask": map("big.out", "\"ask for \\(.total)\""),
        "remind": map("ask.out", "\"remember: \\(.)\""),
        "book": map("big.rejected", "\"book \\(.total)\""),
        "note": map("event#/note", "."),
    });
    account.deploy(&project("review", &nodes)).await;

    let small = account.run("review", &json!({ "total": 10 })).await;
    assert_eq!(node(&small, "book")["outputs"]["out"], "book 10");
    for (skipped, why) in [
        ("ask", "input `in` has no value: port `out` stayed empty"),
        ("remind", "input `in` has no value: port `out` stayed empty"),
        ("note", "input `in` has no value: nothing at `event#/note`"),
    ] {
        assert_eq!(node(&small, skipped)["state"], "skipped", "{skipped}");
        assert_eq!(node(&small, skipped)["attempts"], 0, "{skipped}");
        assert_eq!(reason(&small, skipped), ("no-input", why));
    }

    let big = account.run("review", &json!({ "total": 2000, "note": "urgent" })).await;
    assert_eq!(node(&big, "remind")["outputs"]["out"], "remember: ask for 2000");
    assert_eq!(node(&big, "note")["outputs"]["out"], "urgent");
    assert_eq!(node(&big, "book")["state"], "skipped");
}
