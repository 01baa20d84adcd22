//! Stores of a project by hand: what is written by API is what nodes read, and the other way round.

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{Account, Answer, Stage, action, eventually, project};

const KEY: &str = "/v1/projects/shop/stores/s/orders/7%2Fa%20b";

async fn send(account: &Account, method: Method, path: &str, headers: &[(&str, &str)], body: &'static str) -> Answer {
    account.api.send_with(method, path, headers, body.into()).await
}

fn storage(operations: &Value) -> Value {
    action(&json!({ "do": "storage", "operations": operations }))
}

async fn keys(account: &Account, query: &str) -> (Vec<String>, Option<String>) {
    let page = account.api.get(&format!("/v1/projects/shop/stores/s{query}")).await.expect(200);
    let items = page["items"].as_array().expect("a list").iter();
    let next = page["next"].as_str().map(str::to_owned);
    (items.map(|item| item["key"].as_str().expect("text").to_owned()).collect(), next)
}

#[tokio::test]
async fn entries_are_written_read_listed_and_deleted_by_revision() {
    let stage = Stage::new().await;
    let account = stage.account("acme").await;
    account.deploy(&project("shop", &json!({ "write": storage(&json!([{ "set": ["s", "by-node", "1"] }])) }))).await;
    account.run("shop", &json!(null)).await;

    let made = send(&account, Method::PUT, KEY, &[("if-none-match", "*")], "first").await;
    let etag = made.header("etag").expect("a revision").to_owned();
    assert_eq!(made.expect(201)["key"], "orders/7/a b");
    let read = account.api.get(KEY).await;
    assert_eq!((read.status, read.header("etag")), (200, Some(etag.as_str())));
    assert_eq!(read.header("content-type"), Some("application/octet-stream"));
    let known = send(&account, Method::GET, KEY, &[("if-none-match", &etag)], "").await;
    assert_eq!(known.status, 304);

    let refused = send(&account, Method::PUT, KEY, &[("if-none-match", "*")], "again").await.problem(412);
    assert_eq!(refused["type"], "/problems/precondition-failed");
    let changed = send(&account, Method::PUT, KEY, &[("if-match", &etag)], "second").await;
    let second = changed.header("etag").expect("a revision").to_owned();
    changed.expect(200);
    for (method, condition) in [(Method::PUT, &etag), (Method::DELETE, &etag)] {
        send(&account, method, KEY, &[("if-match", condition)], "third").await.problem(412);
    }
    send(&account, Method::PUT, "/v1/projects/shop/stores/t/key", &[], "x").await.expect(201);

    assert_eq!(keys(&account, "").await, (vec!["by-node".to_owned(), "orders/7/a b".to_owned()], None));
    assert_eq!(keys(&account, "?prefix=orders%2F").await.0, ["orders/7/a b"]);
    let (first, next) = keys(&account, "?limit=1").await;
    assert_eq!((first.as_slice(), next.as_deref()), (&["by-node".to_owned()][..], Some("by-node")));
    assert_eq!(keys(&account, "?limit=1&after=by-node").await, (vec!["orders/7/a b".to_owned()], None));
    let stores = account.api.get("/v1/projects/shop/stores?limit=1").await.expect(200);
    assert_eq!((&stores["items"][0]["name"], &stores["next"]), (&json!("s"), &json!("s")));
    let stores = account.api.get("/v1/projects/shop/stores?after=s").await.expect(200);
    assert_eq!((&stores["items"], &stores["next"]), (&json!([{ "name": "t" }]), &Value::Null));

    send(&account, Method::DELETE, KEY, &[("if-match", &second)], "").await.expect_any(&[204]);
    account.api.get(KEY).await.problem(404);
    send(&account, Method::DELETE, KEY, &[], "").await.problem(404);
}

#[tokio::test]
async fn a_write_by_hand_is_bounded_like_that_of_a_call() {
    let stage = Stage::new().await;
    let account = stage.account("acme").await;
    account.deploy(&project("shop", &json!({ "read": storage(&json!([{ "get": ["s", "k"] }])) }))).await;
    let lower = json!({ "calls": { "storage_key_bytes": 8, "storage_write_bytes": 1_024, "storage_ttl_ms": 60_000 } });
    account.api.put("/v1/limits", &lower).await.expect(200);
    let put = async |path: &str, body: String| {
        account.api.send(Method::PUT, &format!("/v1/projects/shop/stores/{path}"), "text/plain", body.into()).await
    };
    put("s/12345678", "x".repeat(1_024)).await.expect(201);
    put("s/123456789", "x".to_owned()).await.problem(400);
    put("s/k", "x".repeat(1_025)).await.problem(413);
    put("s/k?ttl_seconds=61", "x".to_owned()).await.problem(400);
    put("not%20a%20name/k", "x".to_owned()).await.problem(400);
    let shown = put("s/k?ttl_seconds=1", "x".to_owned()).await.expect(201);
    assert!(shown["expires_at"].is_string(), "{shown:#}");
    eventually("the key is gone", async || {
        (account.api.get("/v1/projects/shop/stores/s/k").await.status == 404).then_some(())
    })
    .await;
    assert_eq!(keys(&account, "").await.0, ["12345678"]);
}

/// A node that has read what was changed by hand meanwhile must not go on with it.
#[tokio::test]
async fn a_node_that_has_read_what_was_changed_by_hand_runs_again() {
    let stage = Stage::new().await;
    let account = stage.account("acme").await;
    let slow = storage(&json!([{ "increment": ["s", "count", 1_500] }]));
    account.deploy(&project("shop", &json!({ "count": slow }))).await;
    let path = "/v1/projects/shop/stores/s/count";
    send(&account, Method::PUT, path, &[], "1").await.expect(201);
    let run = account.start("shop", &json!(null)).await;
    eventually("it runs", async || (account.show(&run).await["state"] == "running").then_some(())).await;
    send(&account, Method::PUT, path, &[], "41").await.expect(200);
    account.succeeded(&run).await;
    let counted = account.api.get(path).await.expect(200);
    assert_eq!(counted, json!(42), "what was written by hand is not lost");
}

#[tokio::test]
async fn a_yanked_version_is_not_found_by_deployments_and_goes_on_where_it_is() {
    let stage = Stage::new().await;
    let account = stage.account("acme").await;
    let node = json!({ "plugin": "json-map", "inputs": { "in": "event" }, "config": { "expression": "." } });
    let manifest = project("shop", &json!({ "same": node }));
    account.deploy(&manifest).await;
    let version = account.upload("json-map").await["version"].as_str().expect("a version").to_owned();
    let at = |what: &str| format!("/v1/plugins/json-map/{version}/{what}");

    let yanked = account.api.post(&at("yank"), &json!({})).await.expect(200);
    assert!(yanked["yanked_at"].is_string(), "{yanked:#}");
    assert_eq!(account.api.post(&at("yank"), &json!({})).await.expect(200), yanked, "twice is once");
    account.run("shop", &json!(1)).await;
    let refused = account.api.put("/v1/projects/shop", &manifest).await.problem(422);
    assert!(
        refused["detail"].as_str().is_some_and(|text| text.contains(&format!("json-map` {version} is yanked"))),
        "{refused:#}"
    );
    let back = account.api.post(&at("unyank"), &json!({})).await.expect(200);
    assert!(back.get("yanked_at").is_none(), "{back:#}");
    account.api.put("/v1/projects/shop", &manifest).await.expect(200);
    account.api.post("/v1/plugins/json-map/9.9.9/yank", &json!({})).await.problem(404);
}

#[tokio::test]
async fn single_limits_are_set_and_given_back_by_patch() {
    let stage = Stage::with(|plan| plan.set("limiter.burst_per_minute", "77")).await;
    let operator = stage.host.operator();
    let path = "/v1/accounts/acme";
    let patch =
        async |body: Value| operator.send(Method::PATCH, path, "application/json", body.to_string().into()).await;
    patch(json!({ "spread": 2 })).await.problem(404);
    operator.get(path).await.problem(404);
    stage.account("acme").await;

    let set = patch(json!({ "limits": { "long": { "max": 9, "period_ms": 1_000 }, "weight": 3 }, "spread": 2 }))
        .await
        .expect(200);
    let limits = &set["limits"];
    assert_eq!(
        (&limits["burst"]["max"], &limits["long"]["max"], &limits["weight"]),
        (&json!(77), &json!(9), &json!(3))
    );
    assert_eq!((&set["has_own_windows"], &set["spread"]), (&json!(true), &json!(2)));
    let back = patch(json!({ "limits": { "long": null } })).await.expect(200);
    assert_eq!((&back["has_own_windows"], &back["limits"]["weight"]), (&json!(false), &json!(3)), "{back:#}");
    let all = patch(json!({ "limits": null })).await.expect(200);
    assert_eq!((&all["limits"]["weight"], &all["limits"]["burst"]["max"]), (&json!(1), &json!(77)), "{all:#}");
    for (body, says) in [
        (json!({ "limits": { "burst": { "max": 0, "period_ms": 1 } } }), "limits.burst"),
        (json!({ "limits": { "weight": 101 } }), "weight is 101"),
        (json!({ "limits": { "running_max": 0 } }), "at least 1"),
        (json!({ "limits": { "brust": null } }), "brust"),
        (json!({ "spread": 17 }), "spread is 17"),
    ] {
        let problem = patch(body.clone()).await.problem(400);
        assert!(problem["detail"].as_str().is_some_and(|text| text.contains(says)), "{body}: {problem:#}");
    }
}

#[tokio::test]
async fn wit_is_told_of_the_host_and_of_plugins_and_problems_have_pages() {
    let stage = Stage::new().await;
    let account = stage.account("acme").await;
    let version = account.upload("json-map").await["version"].as_str().expect("a version").to_owned();
    let (url, token) = account.api.credentials();
    let http = reqwest::Client::new();
    let get = async |path: &str| http.get(format!("{url}{path}")).bearer_auth(token).send().await.expect("it is up");
    let text = get(&format!("/v1/plugins/json-map/{version}/wit")).await.text().await.expect("text");
    assert!(text.contains("export trellis:plugin/transformer@"), "{text}");
    let whole = get("/v1/wit?format=text").await.text().await.expect("text");
    assert!(whole.contains("package trellis:plugin@") && whole.contains("interface storage"), "{whole}");
    let wasm = get("/v1/wit").await.bytes().await.expect("bytes");
    assert!(wasm.starts_with(b"\0asm"));
    account.api.get("/v1/wit?format=pdf").await.problem(400);

    let refused = account.api.get("/v1/runs/none").await.problem(404);
    let page =
        http.get(format!("{url}{}", refused["type"].as_str().expect("an address"))).send().await.expect("it is up");
    assert_eq!(page.status(), 200);
    assert_eq!(page.headers()["content-type"], "text/html; charset=utf-8");
    assert!(page.text().await.expect("text").contains("there is no such thing"));
}
