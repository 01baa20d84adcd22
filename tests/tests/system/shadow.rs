//! Runs that are over, looked at once more: written as fixtures, and tried on candidates without effects.

use reqwest::Method;
use serde_json::{Value, json};
use trellis_model::fixture::Fixture;

use crate::support::{Account, HostPlan, Outside, Stage, action, command, eventually, grants, guest, project};

fn sum(expression: &str) -> Value {
    json!({ "plugin": "json-map", "inputs": { "in": "event" }, "config": { "expression": expression } })
}

/// A sum; a note of it that is written, and an event that would start the grid again; a request; what is never called.
fn shop(outside: &Outside, expression: &str) -> Value {
    let operations = json!([{ "add": ["s", "orders", 1] }, { "get": ["s", "orders"] }]);
    let mut note = action(&json!({ "do": "storage-then-outbox", "operations": operations, "grids": ["other"] }));
    note["inputs"]["after"] = json!("sum.out");
    note["grants"]["emit"] = json!(["other"]);
    let ask = json!({
        "plugin": "http-request",
        "inputs": { "in": "sum.out" },
        "config": { "method": "POST", "url": format!("{}/order", outside.url) },
        "grants": grants(outside),
    });
    let late = json!({ "plugin": "json-map", "inputs": { "in": "event#/nothing" }, "config": { "expression": "." } });
    let echo = action(&json!({ "do": "echo" }));
    let nodes = json!({ "sum": sum(expression), "echo": echo, "note": note, "ask": ask, "late": late });
    let mut shop = project("shop", &nodes);
    shop["grids"]["other"] = json!({ "nodes": { "same": sum(".") } });
    shop
}

async fn diff(account: &Account, run: &str, wanted: &Value) -> Value {
    account.api.post(&format!("/v1/runs/{run}/diff"), wanted).await.expect(200)
}

#[track_caller]
fn node<'d>(diff: &'d Value, name: &str) -> &'d Value {
    let nodes = diff["nodes"].as_array().expect("a diff has nodes");
    nodes.iter().find(|node| node["node"] == name).unwrap_or_else(|| panic!("{name} was not called: {diff:#}"))
}

async fn used(account: &Account) -> i64 {
    let limits = account.api.get("/v1/limits").await.expect(200);
    limits["windows"]["burst"]["used"].as_i64().unwrap_or_else(|| panic!("no use in {limits:#}"))
}

#[tokio::test]
async fn a_candidate_is_tried_and_nothing_of_it_takes_effect() {
    let outside = Outside::start().await;
    let stage = Stage::facing(&outside).await;
    let account = stage.account("acme").await;
    account.deploy(&shop(&outside, "{sum: (.a + .b)}")).await;
    let run = account.start("shop", &json!({ "a": 1, "b": 2 })).await;
    account.succeeded(&run).await;
    stage.database.settled().await;
    let runs = async || stage.database.number("select count(*) from run").await;
    let (runs_before, used_before) = (runs().await, used(&account).await);

    let same = diff(&account, &run, &json!({})).await;
    assert_eq!(node(&same, "sum")["changes"], json!([]), "{same:#}");
    assert_eq!(node(&same, "sum")["plugin"], format!("json-map@{}", guest("json-map").version));
    assert_eq!(node(&same, "echo")["changes"], json!([]), "it is told the same of the event: {same:#}");
    let note = node(&same, "note");
    assert_eq!((&note["withheld"]["writes"], &note["withheld"]["events"]), (&json!(1), &json!(1)), "{same:#}");
    let ask = node(&same, "ask");
    assert_eq!(ask["withheld"]["requests"], json!({ format!("POST {}", outside.url): 1 }), "{same:#}");
    assert!(ask["changes"][0]["candidate"].to_string().contains("a shadow run sends nothing"), "{same:#}");
    assert!(same["not_called"]["late"].as_str().is_some_and(|why| why.contains("skipped")), "{same:#}");

    account.deploy(&shop(&outside, "{sum: (.a + .b + 1)}")).await;
    let current = diff(&account, &run, &json!({ "revision": "current" })).await;
    let expected = json!([{ "at": "out#/sum", "recorded": 3, "candidate": 4 }]);
    assert_eq!(node(&current, "sum")["changes"], expected, "{current:#}");
    assert_eq!(current["is_same"], json!(false));
    let numbered = diff(&account, &run, &json!({ "revision": same["revision"] })).await;
    assert_eq!(node(&numbered, "sum")["changes"], json!([]), "{numbered:#}");

    stage.database.settled().await;
    assert_eq!(stage.database.stored(&account, "orders").await.as_deref(), Some("1"), "nothing was written");
    assert_eq!(outside.received("/order").len(), 1, "nothing was sent");
    assert_eq!(runs().await, runs_before, "nothing was started");
    eventually("each call is counted", async || (used(&account).await - used_before >= 9).then_some(())).await;
}

#[tokio::test]
async fn an_uploaded_plugin_is_tried_from_the_command_line() {
    let outside = Outside::start().await;
    let stage = Stage::facing(&outside).await;
    let account = stage.account("acme").await;
    account.deploy(&project("shop", &json!({ "sum": sum(".a") }))).await;
    let run = account.start("shop", &json!({ "a": 1 })).await;
    account.succeeded(&run).await;

    let own = guest("json-map").wasm_path.display().to_string();
    let same = command(&account, &["run", "diff", &run, "--plugin", &own]).await;
    let told = String::from_utf8_lossy(&same.stdout);
    assert!(same.status.success(), "{told}{}", String::from_utf8_lossy(&same.stderr));
    assert!(told.contains("✓ sum  json-map@0.0.0-diff.") && told.contains("the same"), "{told}");

    // Another plugin under the same name, which does not take this input.
    let other = format!("json-map={}", guest("misbehave").wasm_path.display());
    let differs = command(&account, &["run", "diff", &run, "--plugin", &other]).await;
    let told = String::from_utf8_lossy(&differs.stdout);
    assert_eq!(differs.status.code(), Some(1), "{told}");
    assert!(
        told.contains("✗ sum") && told.contains("+ failure: \"invalid-input: ") && told.contains("- out: 1"),
        "{told}"
    );

    for (plugin, status, says) in [
        ("json-map@9.9.9", 422, "upload it with `trellis plugin push`"),
        ("json-map", 400, "no plugin with a version"),
        ("filter@0.1.0", 422, ""),
    ] {
        let wanted = json!({ "plugins": [plugin] });
        let refused = account.api.post(&format!("/v1/runs/{run}/diff"), &wanted).await.problem(status);
        assert!(refused["detail"].as_str().is_some_and(|detail| detail.contains(says)), "{refused:#}");
    }
    let refused = account.api.post(&format!("/v1/runs/{run}/diff"), &json!({ "revision": 999_999 })).await.problem(422);
    assert!(refused["detail"].to_string().contains("999999"), "{refused:#}");
}

#[tokio::test]
async fn trying_takes_the_right_to_deploy_and_to_see_runs() {
    let stage = Stage::new().await;
    let account = stage.account("acme").await;
    account.deploy(&project("shop", &json!({ "sum": sum(".a") }))).await;
    let run = account.start("shop", &json!({ "a": 1 })).await;
    account.succeeded(&run).await;
    for (scopes, status) in [
        (&["projects:write"] as &[_], 403),
        (&["runs:read"], 403),
        (&["runs:read", "runs:write"], 403),
        (&["runs:read", "projects:write"], 200),
    ] {
        let wanted = json!({ "name": "some", "scopes": scopes });
        let token = account.api.post("/v1/tokens", &wanted).await.expect(201);
        let api = account.api.with_token(token["token"].as_str());
        let answer = api.post(&format!("/v1/runs/{run}/diff"), &json!({})).await;
        assert_eq!(answer.status, status, "{scopes:?}: {:#}", answer.body);
    }
}

#[tokio::test]
async fn shadow_runs_and_fixtures_are_bounded() {
    let bounded = |plan: HostPlan| plan.set("shadow.calls_max", "1").set("shadow.fixture_max", "1KiB");
    let stage = Stage::with(bounded).await;
    let account = stage.account("acme").await;
    let mut large = sum(". * 100 | tostring");
    large["config"]["expression"] = json!("[range(0; 500)]");
    account.deploy(&project("shop", &json!({ "a": sum(".a"), "large": large }))).await;
    let run = account.start("shop", &json!({ "a": 1 })).await;
    account.succeeded(&run).await;
    let tried = diff(&account, &run, &json!({})).await;
    assert_eq!(tried["nodes"].as_array().map(Vec::len), Some(1), "{tried:#}");
    assert!(tried["not_called"]["large"].to_string().contains("at most 1 calls"), "{tried:#}");
    let fixture = account.api.get(&format!("/v1/runs/{run}/fixture")).await.expect(200);
    assert_eq!(fixture["nodes"].as_array().map(Vec::len), Some(1), "{fixture:#}");
    assert!(fixture["left_out"]["large"].to_string().contains("larger than 1024 bytes"), "{fixture:#}");

    let other = HostPlan::on(&stage.database.url).set("shadow.at_once", "0").start().await;
    let refused = account.at(&other).api.post(&format!("/v1/runs/{run}/diff"), &json!({})).await;
    assert!(refused.header("retry-after").is_some(), "{refused:?}");
    refused.problem(503);
}

#[tokio::test]
async fn an_account_over_its_limit_tries_nothing_whichever_host_it_asks() {
    let stage = Stage::new().await;
    let other = HostPlan::on(&stage.database.url).start().await;
    let account = stage.account("acme").await;
    account.deploy(&project("shop", &json!({ "sum": sum(".a") }))).await;
    let run = account.start("shop", &json!({ "a": 1 })).await;
    account.succeeded(&run).await;
    let limits =
        json!({ "burst": { "max": 4, "period_ms": 600_000 }, "long": { "max": 1_000, "period_ms": 86_400_000 } });
    stage.host.operator().put("/v1/accounts/acme", &json!({ "limits": limits })).await.expect(200);
    // One of the two owns the account's queue, and the other tells it what it has called.
    for host in [&stage.host, &other] {
        let account = account.at(host);
        diff(&account, &run, &json!({})).await;
    }
    eventually("what was tried on both hosts is counted", async || {
        let answer = account.api.post(&format!("/v1/runs/{run}/diff"), &json!({})).await;
        (answer.status == 429).then_some(())
    })
    .await;
    let elsewhere = account.at(&other);
    eventually("the other host has heard of it", async || {
        let answer = elsewhere.api.post(&format!("/v1/runs/{run}/diff"), &json!({})).await;
        (answer.status == 429 && answer.header("retry-after").is_some()).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_run_is_exported_without_secrets_as_it_was_called() {
    const SECRET: &str = "s3cret of a fixture";
    let stage = Stage::with(crate::webhooks::with_master_key).await;
    let account = stage.account("acme").await;
    let set = account.api.put("/v1/projects/shop/credentials/key", &json!({ "value": SECRET })).await;
    assert_eq!(set.status, 201);
    let mut reads = action(&json!({ "do": "secret", "name": "key" }));
    reads["grants"]["secret"] = json!(["key"]);
    let mut pick = sum(".told");
    pick["limits"] = json!({ "wall": "2s" });
    account.deploy(&project("shop", &json!({ "pick": pick, "reads": reads }))).await;
    // Whoever sends events may put it there.
    let run = account.start("shop", &json!({ "told": format!("it is {SECRET}"), "n": 7 })).await;
    account.succeeded(&run).await;

    let exported = command(&account, &["run", "export", &run]).await;
    let text = String::from_utf8(exported.stdout).expect("text");
    assert!(exported.status.success(), "{text}{}", String::from_utf8_lossy(&exported.stderr));
    assert!(!text.contains(SECRET), "{text}");
    let fixture = Fixture::from_json(&text).expect("a fixture");
    let pick = fixture.nodes.iter().find(|node| node.node == "pick").expect("it was called");
    assert_eq!(pick.inputs["in"], json!({ "told": "it is [redacted]", "n": 7 }));
    assert_eq!((pick.config.clone(), pick.limits.wall_ms), (json!({ "expression": ".told" }), 2_000));
    assert_eq!(pick.plugin.name, "json-map");
    assert_eq!(fixture.attributes["trigger"], "events");
    assert_eq!(fixture.attributes["received-at"], fixture.accepted_at, "as the plugin was told");
    assert!(fixture.accepted_at.ends_with('Z'), "{}", fixture.accepted_at);

    let one = command(&account, &["run", "export", &run, "--node", "reads"]).await;
    let one = Fixture::from_json(&String::from_utf8(one.stdout).expect("text")).expect("a fixture");
    assert_eq!(one.nodes.len(), 1);
    let none = command(&account, &["run", "export", &run, "--node", "read"]).await;
    assert_eq!(none.status.code(), Some(3), "{}", String::from_utf8_lossy(&none.stderr));
}

#[tokio::test]
async fn a_run_that_is_not_over_is_neither_exported_nor_tried() {
    let outside = Outside::start().await;
    let stage = Stage::facing(&outside).await;
    let account = stage.account("acme").await;
    let ask = json!({
        "plugin": "http-request",
        "inputs": { "in": "event" },
        "config": { "method": "GET", "url": format!("{}/hold/it", outside.url) },
        "grants": grants(&outside),
    });
    account.deploy(&project("shop", &json!({ "ask": ask }))).await;
    let run = account.start("shop", &json!(1)).await;
    outside.asked("/hold/it").await;
    for (method, what) in [(Method::GET, "fixture"), (Method::POST, "diff")] {
        let answer = account.api.send(method, &format!("/v1/runs/{run}/{what}"), "", bytes::Bytes::new()).await;
        assert!(answer.problem(409)["detail"].to_string().contains("is not over"), "{what}");
    }
    outside.release("/hold/it");
    account.succeeded(&run).await;
}
