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

/// A trigger that serves the guest's own pages below `/site`.
fn site(grants: &Value, path: &str) -> Value {
    let node =
        json!({ "plugin": "handler", "inputs": { "request": "event" }, "grants": grants, "retry": { "attempts": 1 } });
    let mut manifest = project("pages", &json!({ "site": node }));
    manifest["triggers"][0] = json!({
        "name": "site", "kind": "http", "grid": "main", "path": path, "auth": "none", "serve": "plugin",
    });
    manifest
}

#[tokio::test]
async fn a_trigger_serves_the_pages_of_a_component_as_they_are() {
    let stage = Stage::new().await;
    let account = stage.account("acme").await;
    account.deploy(&site(&json!({ "storage": ["visits:rw"] }), "/site/*")).await;
    let client = reqwest::Client::new();
    let url = format!("{}/hooks/acme/pages/site", stage.host.url);

    for visitor in 1..=2 {
        let page = client.get(format!("{url}/visits")).send().await.expect("an answer");
        assert_eq!(page.status(), 200);
        assert_eq!(page.headers()["content-type"], "text/html");
        let policy = page.headers()["content-security-policy"].to_str().expect("text");
        assert!(policy.starts_with("sandbox "), "{policy}");
        assert!(page.headers().contains_key("trellis-run"));
        assert_eq!(page.text().await.expect("a body"), format!("<p>visitor {visitor}</p>\n"));
        // What it wrote is committed before anybody is answered.
        let count = stored(&stage, "all").await;
        assert_eq!(count.as_deref(), Some(visitor.to_string().as_str()));
    }

    let echo = client.put(format!("{url}/echo?a=b%20c")).body(vec![0xff, 0]).send().await.expect("an answer");
    assert_eq!((echo.status().as_u16(), echo.headers().get("content-type")), (200, None));
    assert_eq!(echo.bytes().await.expect("a body").as_ref(), [0xff, 0]);
    let missing = client.get(format!("{url}/nowhere")).send().await.expect("an answer");
    assert_eq!((missing.status().as_u16(), missing.text().await.expect("a body")), (404, "no such page\n".to_owned()));
    let head = client.head(format!("{url}/visits")).send().await.expect("an answer");
    assert_eq!((head.status().as_u16(), head.text().await.expect("no body").as_str()), (200, ""));
    let crashed = client.get(format!("{url}/crash")).send().await.expect("an answer");
    assert_eq!(crashed.status(), 502, "{:?}", crashed.text().await);
    let beside = client.get(format!("{url}s/visits")).send().await.expect("an answer");
    assert_eq!(beside.status(), 401, "it is none of the site's: {:?}", beside.text().await);
}

async fn stored(stage: &Stage, key: &str) -> Option<String> {
    let value: Option<Vec<u8>> = sqlx::query_scalar("select value from keyvalue where store = 'visits' and key = $1")
        .bind(key)
        .fetch_optional(&stage.database.pool)
        .await
        .expect("the schema is there");
    value.map(|value| String::from_utf8(value).expect("text"))
}

#[tokio::test]
async fn a_trigger_that_cannot_serve_is_not_deployed() {
    let stage = Stage::new().await;
    let account = stage.account("acme").await;
    account.upload("handler").await;
    account.upload("json-map").await;
    let refused = async |manifest: &Value, pointer: &str, expected: &str| {
        let problem = account.api.put("/v1/projects/pages", manifest).await.problem(422);
        let faults = problem["faults"].as_array().expect("faults");
        let found = faults.iter().any(|fault| fault["pointer"] == pointer && fault.to_string().contains(expected));
        assert!(found, "{expected} at {pointer}: {problem:#}");
    };
    let mut wrong = site(&json!({}), "/site/*");
    wrong["triggers"][0]["serve"] = json!("plugins");
    refused(&wrong, "/triggers/0/serve", "did you mean `plugin`?").await;
    let mut wrong = site(&json!({}), "/site/*");
    wrong["triggers"][0]["reply"] = json!("accepted");
    refused(&wrong, "/triggers/0/reply", "a trigger that serves answers with a result").await;
    let mut wrong = site(&json!({}), "/site/*");
    wrong["triggers"][0].as_object_mut().expect("a table").remove("serve");
    refused(&wrong, "/triggers/0/path", "no path that a trigger can have").await;
    let mut wrong = site(&json!({}), "/site");
    wrong["plugins"]["json-map"] = json!("json-map@*");
    wrong["grids"]["main"]["nodes"]["site"] =
        json!({ "plugin": "json-map", "inputs": { "in": "event" }, "config": { "expression": "." } });
    refused(&wrong, "/triggers/0/reply/port", "no output port `response`").await;
}
