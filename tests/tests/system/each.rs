//! Nodes that are mapped over an array: on a real host, through failures, limits, a cancellation and a crash.

use serde_json::{Value, json};

use crate::support::{Account, HostPlan, Outside, Stage, grants, node, project, reason};

/// Calls every element of the event as an action.
fn mapped(each: &Value) -> Value {
    json!({ "plugin": "misbehave", "inputs": { "in": "event" }, "each": each, "grants": { "storage": ["s:rw"] } })
}

fn map(expression: &str, input: &str) -> Value {
    json!({ "plugin": "json-map", "inputs": { "in": input }, "config": { "expression": expression } })
}

/// A request for each element, whose number is the end of its path.
fn requests(outside: &Outside, method: &str, path: &str) -> Value {
    json!({
        "plugin": "http-request",
        "inputs": { "in": "event" },
        "each": { "concurrency": 1 },
        "config": { "method": method, "url": format!("{}{path}/{{}}", outside.url) },
        "grants": grants(outside),
        "retry": { "attempts": 2, "first": "10ms" },
    })
}

async fn dead(account: &Account, project: &str, event: &Value) -> Value {
    let run = account.start(project, event).await;
    let run = account.ended(&run).await;
    assert_eq!(run["state"], "dead", "{run:#}");
    run
}

#[tokio::test]
async fn elements_are_called_one_by_one_and_come_out_in_order() {
    let stage = Stage::new().await;
    let account = stage.account("acme").await;
    let mut big = json!({ "plugin": "filter", "inputs": { "in": "double.out" }, "config": { "expression": ". > 4" } });
    big["each"] = json!(true);
    let mut double = map(". * 2", "event#/list");
    double["each"] = json!({ "concurrency": 2 });
    double["delay"] = json!("50ms");
    let nodes = json!({
        "double": double,
        "big": big,
        "sum": map("add", "big.out"),
        "small": map("length", "big.rejected"),
        "behind": map(".", "event#/nothing"),
    });
    account.deploy(&project("list", &nodes)).await;
    let run = account.run("list", &json!({ "list": [1, 2, 3, 4] })).await;
    assert_eq!(node(&run, "double")["outputs"]["out"], json!([2, 4, 6, 8]), "{run:#}");
    assert_eq!((&node(&run, "double")["attempts"], &node(&run, "double")["elements_total"]), (&json!(4), &json!(4)));
    assert_eq!(node(&run, "big")["outputs"], json!({ "out": [6, 8], "rejected": [2, 4] }), "a filter filters");
    assert_eq!(node(&run, "sum")["outputs"]["out"], 14);
    assert_eq!(node(&run, "small")["outputs"]["out"], 2);
    assert_eq!(node(&run, "behind")["state"], "skipped");

    let empty = account.run("list", &json!({ "list": [] })).await;
    assert_eq!(node(&empty, "double")["outputs"]["out"], json!([]), "{empty:#}");
    assert_eq!(node(&empty, "double")["attempts"], 0);
    assert_eq!(node(&empty, "small")["outputs"]["out"], 0);
    let without = account.run("list", &json!({})).await;
    assert_eq!(node(&without, "double")["state"], "skipped", "{without:#}");
    let run = dead(&account, "list", &json!({ "list": 7 })).await;
    assert_eq!(reason(&run, "double").0, "invalid-input");
    assert!(reason(&run, "double").1.contains("expected an array, found a number"), "{run:#}");
    stage.database.settled().await;
}

#[tokio::test]
async fn each_element_is_a_permit_an_attempt_and_a_transaction_of_its_own() {
    let stage = Stage::new().await;
    let account = stage.account("acme").await;
    let mut nodes = mapped(&json!({ "concurrency": 3 }));
    nodes["retry"] = json!({ "attempts": 3, "first": "10ms" });
    account.deploy(&project("adds", &json!({ "each": nodes }))).await;
    let add = json!({ "do": "storage", "operations": [{ "add": ["s", "count", 1] }] });
    let run = account.run("adds", &json!([add, { "do": "fail-until", "attempt": 3 }, add, { "do": "echo" }])).await;
    let each = node(&run, "each");
    let attempts: Vec<&Value> =
        each["elements"].as_array().expect("elements").iter().map(|one| &one["attempts"]).collect();
    assert_eq!(attempts, [1, 3, 1, 1], "{run:#}");
    assert_eq!(each["attempts"], 6);
    assert_eq!(stage.database.stored(&account, "count").await.as_deref(), Some("2"));
    let echo = &each["outputs"]["out"][3];
    assert!(echo["idempotency_key"].as_str().is_some_and(|key| key.ends_with("-each.3")), "{echo:#}");
    let attributes = echo["attributes"].as_array().expect("attributes");
    assert!(attributes.contains(&json!(["element", "3"])), "{echo:#}");
    let used = account.api.get("/v1/limits").await.expect(200);
    assert_eq!(used["windows"]["burst"]["used"], 6, "each call of an element is a module instantiation: {used:#}");
    stage.database.settled().await;
}

#[tokio::test]
async fn an_element_that_fails_for_good_ends_its_run_and_a_replay_calls_what_is_left() {
    let outside = Outside::start().await;
    let stage = Stage::facing(&outside).await;
    let account = stage.account("acme").await;
    account.deploy(&project("orders", &json!({ "order": requests(&outside, "POST", "/flaky/2") }))).await;
    let run = dead(&account, "orders", &json!(["a", "b"])).await;
    assert_eq!(outside.received("/flaky/2/a").len(), 2, "{run:#}");
    assert!(outside.received("/flaky/2/b").is_empty(), "no further element is begun");
    assert!(run["error"].as_str().is_some_and(|error| error.starts_with("node `order`: element 0: ")), "{run:#}");
    // Of the replay, the first succeeds at once. The second needs a replay of its own, which does not call the first.
    let second = replayed(&account, &run).await;
    assert_eq!(
        (&second["state"], &node(&second, "order")["elements"][0]["state"]),
        (&json!("dead"), &json!("succeeded"))
    );
    let third = replayed(&account, &second).await;
    assert_eq!(third["state"], "succeeded", "{third:#}");
    assert_eq!(node(&third, "order")["outputs"]["response"].as_array().map(Vec::len), Some(2));
    assert_eq!((outside.received("/flaky/2/a").len(), outside.received("/flaky/2/b").len()), (3, 3));
    stage.database.settled().await;
}

async fn replayed(account: &Account, run: &Value) -> Value {
    let path = format!("/v1/runs/{}/replay", run["run"].as_str().expect("a run"));
    let replay = account.api.post(&path, &json!({})).await.expect(202);
    account.ended(replay["run"].as_str().expect("a run")).await
}

#[tokio::test]
async fn limits_of_elements_and_of_what_they_come_to_hold() {
    let settings = |plan: HostPlan| plan.set("run.elements_max", "3").set("run.elements_output_max", "1KiB");
    let stage = Stage::with(settings).await;
    let account = stage.account("acme").await;
    account
        .deploy(&project("bounded", &json!({ "each": mapped(&json!({ "concurrency": 1, "elements_max": 99 })) })))
        .await;
    let bytes = |bytes: u32| json!({ "do": "emit-bytes", "bytes": bytes });
    let run = dead(&account, "bounded", &json!([bytes(1), bytes(1), bytes(1), bytes(1)])).await;
    assert!(reason(&run, "each").1.contains("has 4 elements, and no more than 3 are called"), "{run:#}");
    assert_eq!(node(&run, "each")["attempts"], 0);
    let run = dead(&account, "bounded", &json!([bytes(500), bytes(500), bytes(100)])).await;
    assert!(reason(&run, "each").1.contains("come to more than 1024 bytes"), "{run:#}");
    account.run("bounded", &json!([bytes(400), bytes(400), bytes(100)])).await;
}

#[tokio::test]
async fn a_cancelled_run_begins_no_further_element() {
    let outside = Outside::start().await;
    let stage = Stage::facing(&outside).await;
    let account = stage.account("acme").await;
    account.deploy(&project("slow", &json!({ "ask": requests(&outside, "GET", "/hold") }))).await;
    let run = account.start("slow", &json!(["a", "b"])).await;
    outside.asked("/hold/a").await;
    let asked = account.api.post(&format!("/v1/runs/{run}/cancel"), &json!({})).await.status;
    assert!(matches!(asked, 200 | 202), "{asked}");
    let run = account.ended(&run).await;
    outside.release("/hold/a");
    assert_eq!(run["state"], "cancelled", "{run:#}");
    assert!(outside.received("/hold/b").is_empty());
    stage.database.settled().await;
}

#[tokio::test]
async fn a_host_that_is_killed_between_elements_repeats_none_that_was_committed() {
    let outside = Outside::start().await;
    let Stage { database, host } = Stage::facing(&outside).await;
    let account = Account::new(&host.operator(), "acme").await;
    let mut order = requests(&outside, "POST", "/");
    order["inputs"] = json!({ "in": "event#/orders" });
    order["config"]["url"] = json!(format!("{}/{{+/path}}", outside.url));
    let add = json!({ "do": "storage", "operations": [{ "add": ["s", "count", 1] }] });
    let mut count = mapped(&json!({ "concurrency": 2 }));
    count["inputs"] = json!({ "in": { "literal": vec![add; 4] } });
    account.deploy(&project("shop", &json!({ "order": order, "count": count }))).await;
    let orders = ["order/1", "hold/2", "order/3"].map(|path| json!({ "path": path }));
    let run = account.start("shop", &json!({ "orders": orders })).await;
    outside.asked("/hold/2").await;
    host.kill().await;
    outside.release("/hold/2");
    let host = HostPlan::on(&database.url).allow(&outside).start().await;
    let run = account.at(&host).succeeded(&run).await;
    for (path, times) in [("/order/1", 1), ("/hold/2", 2), ("/order/3", 1)] {
        assert_eq!(outside.received(path).len(), times, "{path}: {run:#}");
    }
    assert_eq!(node(&run, "order")["attempts"], 3, "a lost host is no failure of an element: {run:#}");
    assert_eq!(database.stored(&account, "count").await.as_deref(), Some("4"), "each element has counted once");
    database.settled().await;
}
