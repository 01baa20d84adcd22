//! A component that was written for `wasi:keyvalue`, unchanged in a grid: its buckets are stores of the project.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::support::{Stage, action, node, project};

/// A node of the guest that knows `wasi:keyvalue` alone, granted the store `s`.
fn keyvalue(operations: &Value) -> Value {
    json!({
        "plugin": "keyvalue",
        "inputs": { "in": { "literal": operations } },
        "grants": { "storage": ["s:rw"] },
    })
}

#[tokio::test]
async fn what_a_keyvalue_guest_writes_other_plugins_read_and_the_other_way_round() {
    let stage = Stage::new().await;
    let account = stage.account("acme").await;
    let write = keyvalue(&json!([
        { "set-many": ["s", [["a", "1"], ["b", "2"]]] }, { "swap": ["s", "c", "3"] }, { "get": ["other", "x"] },
    ]));
    let mut read = action(&json!({ "do": "storage", "operations": [
        { "get": ["s", "a"] }, { "list": ["s", "", null, 10] }, { "add": ["s", "n", 40] },
    ]}));
    read["inputs"]["after"] = json!("write.out");
    let mut count = keyvalue(&json!([{ "increment": ["s", "n", 2] }, { "list-keys": ["s", null] }]));
    count["inputs"]["after"] = json!("read.out");
    account.deploy(&project("mixed", &json!({ "write": write, "read": read, "count": count }))).await;

    let run = account.run("mixed", &json!(null)).await;
    let denied = json!({ "error": "access denied" });
    assert_eq!(node(&run, "write")["outputs"]["out"], json!(["ok", [null, "swapped"], denied]), "{run:#}");
    let seen = &node(&run, "read")["outputs"]["out"];
    assert_eq!((&seen[0][0], &seen[1][0]), (&json!("1"), &json!(["a", "b", "c"])), "{run:#}");
    assert_eq!(node(&run, "count")["outputs"]["out"], json!([42, [["a", "b", "c", "n"], null]]), "{run:#}");
    let operations = "two keys set; a handle, its value and the swap; what is denied is none";
    assert_eq!(node(&run, "write")["metering"]["storage_operations"], 5, "{operations}: {run:#}");
    assert_eq!(stage.database.stored(&account, "n").await.as_deref(), Some("42"));
}

#[tokio::test]
async fn no_two_runs_are_told_the_same_sum() {
    const RUNS: usize = 12;
    let stage = Stage::new().await;
    let account = stage.account("acme").await;
    // Long enough that all of them have read before any has committed.
    let number = keyvalue(&json!([{ "increment-slowly": ["s", "ticket", 300] }]));
    account.deploy(&project("tickets", &json!({ "number": number }))).await;
    let mut runs = Vec::new();
    for event in 0..RUNS {
        runs.push(account.start("tickets", &json!(event)).await);
    }
    let mut told = BTreeSet::new();
    for run in &runs {
        let run = account.succeeded(run).await;
        told.insert(node(&run, "number")["outputs"]["out"][0].as_u64().expect("a number"));
    }
    assert_eq!(told, (1..=RUNS as u64).collect(), "each number once");
}
