//! Storage: what nodes see of each other's writes, and what of them remains.

use serde_json::{Value, json};

use crate::support::{Stage, action, after, node, project, reason};

fn storage(operations: &Value) -> Value {
    action(&json!({ "do": "storage", "operations": operations }))
}

#[tokio::test]
async fn a_node_sees_what_earlier_nodes_of_its_run_have_written() {
    let stage = Stage::new().await;
    let account = stage.account("acme").await;
    let write = storage(&json!([
        { "set": ["s", "name", "Ada"] }, { "set": ["s", "gone", "x"] }, { "add": ["s", "count", 3] },
        { "get": ["s", "name"] },
    ]));
    let change = storage(&json!([{ "delete": ["s", "gone"] }, { "add": ["s", "count", 4] }]));
    let read = storage(&json!([
        { "get": ["s", "name"] }, { "get": ["s", "gone"] }, { "get": ["s", "count"] }, { "list": ["s", "", null, 10] },
    ]));
    let nodes = json!({ "write": write, "change": after(change, "write.out"), "read": after(read, "change.out") });
    account.deploy(&project("notes", &nodes)).await;

    let run = account.run("notes", &json!(null)).await;
    assert_eq!(node(&run, "write")["outputs"]["out"][3][0], "Ada", "{run:#}");
    let seen = &node(&run, "read")["outputs"]["out"];
    assert_eq!((&seen[0][0], &seen[1], &seen[2][0]), (&json!("Ada"), &Value::Null, &json!("7")), "{run:#}");
    assert_eq!(seen[3][0], json!(["count", "name"]));
    assert_eq!(stage.database.stored(&account, "count").await.as_deref(), Some("7"));
    assert_eq!(stage.database.stored(&account, "gone").await, None);

    let again = account.run("notes", &json!(null)).await;
    assert_eq!(node(&again, "read")["outputs"]["out"][2][0], "14", "what was committed is there for the next run");
}

#[tokio::test]
async fn runs_that_read_and_write_the_same_key_at_once_lose_no_update() {
    const RUNS: usize = 12;
    let stage = Stage::new().await;
    let account = stage.account("acme").await;
    // Long enough between reading and writing that all of them read before any has written.
    let increment = storage(&json!([{ "increment": ["s", "sum", 300] }]));
    account.deploy(&project("sum", &json!({ "increment": increment }))).await;
    let mut runs = Vec::new();
    for number in 0..RUNS {
        runs.push(account.start("sum", &json!(number)).await);
    }
    for run in &runs {
        let run = account.succeeded(run).await;
        assert_eq!(node(&run, "increment")["attempts"], 1, "a conflict is not the node's failure: {run:#}");
    }
    assert_eq!(stage.database.stored(&account, "sum").await, Some(RUNS.to_string()));
    stage.database.settled().await;
}

#[tokio::test]
async fn parallel_nodes_of_one_run_lose_no_update_either() {
    let stage = Stage::new().await;
    let account = stage.account("acme").await;
    let increment = storage(&json!([{ "increment": ["s", "sum", 100] }]));
    let nodes = json!({ "a": increment, "b": increment, "c": increment });
    account.deploy(&project("sum", &nodes)).await;
    account.run("sum", &json!(null)).await;
    assert_eq!(stage.database.stored(&account, "sum").await.as_deref(), Some("3"));
}

#[tokio::test]
async fn nothing_that_a_failed_node_has_written_remains() {
    let stage = Stage::new().await;
    let account = stage.account("acme").await;
    let mut fails = action(&json!({
        "do": "storage-then-panic",
        "operations": [{ "set": ["s", "half", "x"] }, { "add": ["s", "count", 1] }],
    }));
    fails["retry"] = json!({ "attempts": 2, "first": "20ms" });
    let before = storage(&json!([{ "add": ["s", "count", 10] }]));
    account.deploy(&project("half", &json!({ "before": before, "fails": after(fails, "before.out") }))).await;
    let run = account.start("half", &json!(null)).await;
    let run = account.ended(&run).await;
    assert_eq!(run["state"], "dead", "{run:#}");
    assert_eq!(node(&run, "fails")["attempts"], 2);
    assert_eq!(reason(&run, "fails").0, "trap");
    assert_eq!(stage.database.stored(&account, "half").await, None);
    assert_eq!(
        stage.database.stored(&account, "count").await.as_deref(),
        Some("10"),
        "the node before it stands, once"
    );
}

#[tokio::test]
async fn a_store_that_was_not_granted_is_refused_to_the_guest() {
    let stage = Stage::new().await;
    let account = stage.account("acme").await;
    let curious = storage(&json!([{ "get": ["other", "key"] }, { "set": ["other", "key", "x"] }]));
    account.deploy(&project("curious", &json!({ "look": curious }))).await;
    let run = account.run("curious", &json!(null)).await;
    for answer in node(&run, "look")["outputs"]["out"].as_array().expect("two answers") {
        assert!(answer["error"].as_str().is_some_and(|error| error.starts_with("denied: ")), "{run:#}");
    }
    assert_eq!(stage.database.number("select count(*) from keyvalue").await, 0);
}
