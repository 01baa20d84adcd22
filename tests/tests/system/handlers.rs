//! A component that was written for any host of `wasi:http` and `wasi:keyvalue`, with `wstd`, unchanged in a grid.

use serde_json::{Value, json};

use crate::support::{Outside, Stage, grants, node, project};

/// The answer of the run's one node.
fn response(run: &Value) -> &Value {
    &node(run, "site")["outputs"]["response"]
}

#[tokio::test]
async fn a_component_that_knows_nothing_of_trellis_answers_counts_and_asks_others() {
    let outside = Outside::start().await;
    let stage = Stage::facing(&outside).await;
    let account = stage.account("acme").await;
    let mut grants = grants(&outside);
    grants["storage"] = json!(["visits:rw"]);
    let site = json!({ "plugin": "handler", "inputs": { "request": "event" }, "grants": grants });
    account.deploy(&project("pages", &json!({ "site": site }))).await;

    for visitor in 1..=2 {
        let run = account.run("pages", &json!({ "path": "/visits" })).await;
        let page = response(&run);
        assert_eq!(page["body"], json!(format!("<p>visitor {visitor}</p>\n")), "{run:#}");
        assert_eq!(page["headers"][0], json!(["content-type", "text/html"]), "{run:#}");
    }

    let forward = json!({ "path": format!("/forward?{}/there", outside.url) });
    let run = account.run("pages", &forward).await;
    assert_eq!((&response(&run)["status"], &response(&run)["body"]), (&json!(200), &json!(r#"{"path":"/there"}"#)));
    assert_eq!(outside.received("/there").len(), 1);
    assert_eq!(node(&run, "site")["metering"]["requests"], 1, "{run:#}");

    let run = account.start("pages", &json!({ "path": "no slash" })).await;
    let run = account.ended(&run).await;
    assert_eq!(node(&run, "site")["reason"]["kind"], "invalid-input", "{run:#}");
}
