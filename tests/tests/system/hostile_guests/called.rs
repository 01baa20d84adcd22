//! Guests that hand the host, or ask of it, more than it wants to hold.

use reqwest::Method;
use serde_json::json;

use crate::support::{Attack, Ends, Walls, handmade::Parts, project, reason};

/// Uploads a component that was made by hand, and calls it again and again: each time it fails like this.
pub async fn call_handmade(walls: &Walls, parts: Parts<'_>, (kind, says): (&str, &str)) {
    let path = "/v1/plugins/handmade/1.0.0";
    walls.bad.api.send(Method::PUT, path, "application/wasm", parts.component()).await.expect(201);
    let node = json!({ "plugin": "handmade", "retry": { "attempts": 1 }, "limits": { "cpu": "300ms" } });
    let manifest = project("handmade", &json!({ "bad": node }));
    walls.bad.api.put("/v1/projects/handmade", &manifest).await.expect(201);
    walls
        .withstand_all(async || {
            let run = walls.bad.start("handmade", &json!(null)).await;
            let run = walls.bad.ended(&run).await;
            let (was, message) = reason(&run, "bad");
            assert!(was == kind && message.contains(says), "{was}: {message}");
        })
        .await;
}

#[tokio::test]
async fn a_string_of_128_mib_does_not_reach_the_host() {
    let walls = Walls::new().await;
    // An operator lets this account have so much memory: what it may hand over at once is another matter.
    let granted = json!({ "calls": { "memory_bytes": 320 << 20 } });
    walls.stage.host.operator().put("/v1/accounts/bad", &granted).await.expect(200);
    let ends = || Ends::Failed("limit", "passed more than 8 MiB to the host at once");
    walls.withstand(&Attack::new(json!({ "do": "pass-string", "bytes": 128 << 20 }), ends())).await;
    walls.withstand(&Attack::new(json!({ "do": "emit-bytes", "bytes": 64 << 20 }), ends())).await;
}

#[tokio::test]
async fn a_log_flood_is_cut_off_and_counted() {
    let walls = Walls::new().await;
    let line = "x".repeat(999);
    for action in [
        json!({ "do": "log", "message": line, "times": 20_000 }),
        json!({ "do": "print", "line": line, "times": 20_000 }),
        json!({ "do": "print-error", "line": line, "times": 20_000 }),
    ] {
        walls.withstand(&Attack::new(action, Ends::Harmless(""))).await;
    }
    let runs = walls.bad.api.get("/v1/runs?limit=3").await.expect(200);
    for run in runs["items"].as_array().expect("a page") {
        let run = walls.bad.show(run["run"].as_str().expect("a run has an id")).await;
        let node = &run["nodes"][0];
        let kept: usize = node["log"]
            .as_array()
            .expect("a log")
            .iter()
            .map(|line| line["message"].as_str().unwrap_or("").len())
            .sum();
        assert!(kept <= 257 << 10, "{kept} bytes are kept");
        assert!(node["metering"]["log_bytes"].as_u64() >= Some(19_980_000), "{}", node["metering"]);
    }
}

#[tokio::test]
async fn an_output_bomb_is_refused() {
    let ends = Ends::Failed("limit", "more than its limit of 1 MiB");
    Walls::new().await.withstand(&Attack::new(json!({ "do": "emit-bytes", "bytes": 3 << 20 }), ends)).await;
}

#[tokio::test]
async fn a_tebibyte_of_random_bytes_is_refused() {
    let random = json!({ "do": "random", "bytes": 1_u64 << 40 });
    Walls::new().await.withstand(&Attack::new(random, Ends::Failed("trap", "trapped"))).await;
}

#[tokio::test]
async fn forty_thousand_header_fields_are_refused_whichever_way_they_come() {
    let walls = Walls::new().await;
    let url = format!("{}/never", walls.outside.url);
    let web = json!({ "do": "many-headers", "url": url, "count": 40_000 });
    walls.withstand(&Attack::new(web, Ends::Harmless("headers"))).await;
    walls
        .withstand(&Attack::new(json!({ "do": "many-fields", "count": 40_000 }), Ends::Failed("trap", "trapped")))
        .await;
    assert!(walls.outside.received("/never").is_empty());
}

#[tokio::test]
async fn a_method_of_eight_mebibytes_is_kept_by_no_request() {
    let method = json!({ "do": "set-method", "bytes": (8 << 20) - 1024, "requests": 20 });
    Walls::new().await.withstand(&Attack::new(method, Ends::Emits(json!(0)))).await;
}

#[tokio::test]
async fn of_ten_thousand_requests_no_more_go_out_than_are_allowed() {
    let walls = Walls::new().await;
    let request = json!({ "method": "GET", "url": format!("{}/serial", walls.outside.url) });
    let serial = json!({ "do": "fetch-times", "request": request, "times": 10_000 });
    let attack = Attack::new(serial, Ends::Harmless("used up its limit of 50 HTTP requests a call"));
    walls.withstand(&attack).await;
    let (runs, received) = (walls.runs_of_the_attacker().await, walls.outside.received("/serial").len());
    assert_eq!(received, runs * 50);

    let request = json!({ "method": "GET", "url": format!("{}/parallel", walls.outside.url) });
    let parallel = json!({ "do": "wasi-http-at-once", "request": request, "times": 10_000 });
    walls.withstand(&Attack::new(parallel, Ends::Failed("trap", "trapped"))).await;
    let all = walls.runs_of_the_attacker().await;
    assert!(walls.outside.received("/parallel").len() <= (all - runs) * 50);
}
