//! Storage: what nodes see of each other's writes, and what of them remains.

use serde_json::{Value, json};

use crate::support::{Outside, Stage, action, after, grants, node, project, reason};

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

#[tokio::test]
async fn a_key_that_expires_between_read_and_commit_makes_the_node_run_again() {
    let stage = Stage::new().await;
    let account = stage.account("acme").await;
    let mut both = project("both", &json!({ "set": storage(&json!([{ "set-for": ["s", "sum", "41", 2_000] }])) }));
    both["grids"]["later"] =
        json!({ "nodes": { "increment": storage(&json!([{ "increment": ["s", "sum", 4_000] }])) } });
    account.deploy(&both).await;
    account.run("both", &json!(null)).await;
    let later = account.api.post("/v1/projects/both/grids/later/events", &json!(null)).await.expect(202);
    let run = account.succeeded(later["run"].as_str().expect("a run")).await;
    assert_eq!(node(&run, "increment")["outputs"]["out"], json!([1]), "it has counted from nothing: {run:#}");
    assert_eq!(node(&run, "increment")["attempts"], 1, "which is not the node's failure");
    assert_eq!(stage.database.stored(&account, "sum").await.as_deref(), Some("1"));
}

#[tokio::test]
async fn a_time_to_live_counts_from_the_commit_and_later_nodes_of_the_run_see_the_key() {
    let stage = Stage::new().await;
    let account = stage.account("acme").await;
    let write = storage(&json!([{ "set-for": ["s", "short", "x", 50] }]));
    let wait = action(&json!({ "do": "sleep", "ms": 300 }));
    let read = storage(&json!([{ "get": ["s", "short"] }, { "list": ["s", "", null, 10] }]));
    let nodes = json!({ "write": write, "wait": after(wait, "write.out"), "read": after(read, "wait.out") });
    account.deploy(&project("short", &nodes)).await;
    let run = account.run("short", &json!(null)).await;
    let seen = &node(&run, "read")["outputs"]["out"];
    assert_eq!((&seen[0], &seen[1][0]), (&json!(["x", 0]), &json!(["short"])), "{run:#}");
    assert_eq!(node(&run, "read")["attempts"], 1);
}

#[tokio::test]
async fn a_run_that_holds_back_as_much_as_it_may_is_committed_in_the_middle() {
    let outside = Outside::start().await;
    let stage = Stage::with(|plan| plan.allow(&outside).set("run.pending_keys", "3")).await;
    let account = stage.account("acme").await;
    let write = |keys: &[&str]| {
        let operations: Vec<Value> = keys.iter().map(|key| json!({ "set": ["s", key, "x"] })).collect();
        storage(&json!(operations))
    };
    let hold = json!({
        "plugin": "http-request",
        "inputs": { "in": "more.out" },
        "config": { "method": "GET", "url": format!("{}/hold/middle", outside.url) },
        "grants": grants(&outside),
    });
    let nodes = json!({
        "few": write(&["a", "b"]),
        "more": after(write(&["c"]), "few.out"),
        "hold": hold,
        "rest": after(write(&["d"]), "hold.response"),
    });
    account.deploy(&project("middle", &nodes)).await;
    let run = account.start("middle", &json!(null)).await;
    outside.asked("/hold/middle").await;
    for key in ["a", "b", "c"] {
        assert_eq!(stage.database.stored(&account, key).await.as_deref(), Some("x"), "{key} is committed already");
    }
    assert_eq!(stage.database.number("select count(*) from checkpoint").await, 1);
    outside.release("/hold/middle");
    account.succeeded(&run).await;
    assert_eq!(stage.database.stored(&account, "d").await.as_deref(), Some("x"));
    stage.database.settled().await;
}
