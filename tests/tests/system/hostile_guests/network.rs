//! Guests and the servers that they ask: bodies that never end, and one's own trigger.

use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::support::{Attack, Ends, HostPlan, Stage, Walls, action, eventually, node, project};

fn fetch(walls: &Walls, path: &str) -> Value {
    json!({ "do": "fetch", "method": "GET", "url": format!("{}{path}", walls.outside.url) })
}

fn wasi_http(walls: &Walls, path: &str) -> Value {
    json!({ "do": "wasi-http", "method": "GET", "url": format!("{}{path}", walls.outside.url) })
}

#[tokio::test]
async fn a_slow_response_without_an_end_is_ended_by_the_wall_clock() {
    let walls = Walls::new().await;
    for action in [fetch(&walls, "/drip/10"), wasi_http(&walls, "/drip/10")] {
        let ends = Ends::Failed("timeout", "took longer than its limit of 500 ms");
        walls.withstand(&Attack::new(action, ends).limited(json!({ "wall": "500ms" }))).await;
    }
}

#[tokio::test]
async fn an_endless_response_is_cut_off_at_its_limit() {
    let walls = Walls::new().await;
    walls.withstand(&Attack::new(fetch(&walls, "/endless"), Ends::Harmless("TooLarge"))).await;
    walls.withstand(&Attack::new(wasi_http(&walls, "/endless"), Ends::Harmless("error"))).await;
}

#[tokio::test]
async fn a_response_with_forty_thousand_headers_is_no_response() {
    let walls = Walls::new().await;
    walls.withstand(&Attack::new(fetch(&walls, "/headers/20000"), Ends::Harmless("error"))).await;
}

#[tokio::test]
async fn a_request_body_over_its_limit_is_not_sent() {
    let walls = Walls::new().await;
    let body = "x".repeat(20_000);
    for (verb, says) in [("fetch", "longer than its limit of 10240 bytes"), ("wasi-http", "error")] {
        let url = format!("{}/upload", walls.outside.url);
        let action = json!({ "do": verb, "method": "POST", "url": url, "body": body });
        walls.withstand(&Attack::new(action, Ends::Harmless(says)).limited(json!({ "request_max": "10KiB" }))).await;
    }
}

/// A host at an address that is known before it starts, which its guests may reach, and that allows `hops` of them.
async fn host_within_reach(hops: &str) -> Stage {
    let free = TcpListener::bind("127.0.0.1:0").await.expect("a free port").local_addr().expect("it is bound");
    let within_reach = |plan: HostPlan| {
        plan.listen(&free.to_string()).set("egress.allow_private", &free.to_string()).set("sandbox.outbox_hops", hops)
    };
    Stage::with(within_reach).await
}

#[tokio::test]
async fn a_grid_that_calls_its_own_trigger_ends_at_the_hop_limit() {
    let stage = host_within_reach("3").await;
    let account = stage.account("acme").await;
    let (url, token) = account.api.credentials();
    let url = format!("{url}{}", account.hook("echo"));
    let mut again = action(&json!({ "do": "pass-on", "url": url, "token": token }));
    again["grants"]["http"] = json!([format!("POST {url}")]);
    account.deploy(&project("echo", &json!({ "again": again }))).await;
    account.start("echo", &json!(null)).await;
    eventually("the chain has ended", async || {
        let (ended, unfinished) = (stage.database.ended_count().await, stage.database.unfinished_count().await);
        (ended >= 4 && unfinished == 0).then_some(())
    })
    .await;
    assert_eq!(stage.database.ended_count().await, 4, "one from outside and three of guests");
    let newest = account.api.get("/v1/runs?limit=1").await.expect(200);
    let last = account.show(newest["items"][0]["run"].as_str().expect("a run")).await;
    assert_eq!(last["event"]["attributes"]["hops"], "3", "{last:#}");
    let answer = &node(&last, "again")["outputs"]["out"];
    assert_eq!(answer["status"], 508, "{answer:#}");
    assert!(answer["body"].as_str().is_some_and(|body| body.contains("no more than 3 are allowed")), "{answer:#}");
}
