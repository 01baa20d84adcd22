//! Nodes that wait for their time: for a delay, or for their next attempt.

use serde_json::json;

use crate::support::{Outside, Stage, action, eventually, grants, node, project};

fn post(outside: &Outside, path: &str, input: &str) -> serde_json::Value {
    json!({
        "plugin": "http-request",
        "inputs": { "in": input },
        "config": { "method": "POST", "url": format!("{}{path}", outside.url), "body": "input" },
        "grants": grants(outside),
    })
}

#[tokio::test]
async fn a_delayed_node_waits_in_the_database_and_other_branches_go_on() {
    let outside = Outside::start().await;
    let stage = Stage::facing(&outside).await;
    let account = stage.account("acme").await;
    let mut later = post(&outside, "/later", "event");
    later["delay"] = json!("1500ms");
    let nodes = json!({ "later": later, "at_once": post(&outside, "/at-once", "event") });
    account.deploy(&project("patient", &nodes)).await;
    let run = account.start("patient", &json!(7)).await;

    let waiting = eventually("the run waits", async || {
        let shown = account.show(&run).await;
        (shown["state"] == "waiting").then_some(shown)
    })
    .await;
    assert_eq!(outside.received("/at-once").len(), 1, "the other branch did not wait");
    assert!(outside.received("/later").is_empty(), "the delay was not heeded");
    assert_eq!(node(&waiting, "later")["attempts"], 0, "{waiting:#}");
    assert!(waiting["error"].is_null(), "waiting is no failure: {waiting:#}");
    assert_eq!(stage.database.number("select count(*) from job_later").await, 1);
    assert_eq!(stage.database.number("select count(*) from job").await, 0);

    let ended = account.ended(&run).await;
    assert_eq!(ended["state"], "succeeded", "{ended:#}");
    assert_eq!(node(&ended, "later")["attempts"], 1);
    assert_eq!(outside.received("/later").len(), 1);
    assert_eq!(outside.received("/at-once").len(), 1, "its result was kept while the run waited");
    stage.database.settled().await;
}

#[tokio::test]
async fn a_node_that_waits_for_its_next_attempt_does_not_hold_up_the_branches_beside_it() {
    let outside = Outside::start().await;
    let stage = Stage::facing(&outside).await;
    let account = stage.account("acme").await;
    let mut failing = post(&outside, "/status/503/x", "event");
    failing["retry"] = json!({ "attempts": 2, "first": "1h", "max": "1h" });
    let nodes = json!({
        "failing": failing,
        // Ends long after the other one has failed.
        "slow": action(&json!({ "do": "sleep", "ms": 300 })),
        "after_slow": post(&outside, "/after-slow", "slow.out"),
    });
    account.deploy(&project("beside", &nodes)).await;
    let run = account.start("beside", &json!(7)).await;
    let waiting = eventually("the run waits", async || {
        let shown = account.show(&run).await;
        (shown["state"] == "waiting").then_some(shown)
    })
    .await;
    assert_eq!(outside.received("/after-slow").len(), 1, "{waiting:#}");
    assert_eq!(node(&waiting, "after_slow")["state"], "succeeded");
    assert_eq!(node(&waiting, "failing")["state"], "pending");
    assert!(waiting["error"].as_str().is_some_and(|error| error.contains("node `failing`")), "{waiting:#}");
}
