//! The component itself, as a host runs it.

use serde_json::{Value, json};
use trellis_testing::{FailureKind, Plugin, Request, Response};

const API: &str = "https://slack.com/api/*";

/// Answers as Slack does, with the request's length as the message's `ts`.
fn slack(request: &Request) -> Response {
    let body: Value = request.json();
    let ts = body["ts"].as_str().map_or_else(|| format!("1503435956.{:06}", request.body.len()), str::to_owned);
    Response::json(200, json!({ "ok": true, "channel": body["channel"], "ts": ts }))
}

fn plugin() -> Plugin {
    Plugin::build(env!("CARGO_MANIFEST_DIR"))
        .config(json!({ "channel": "C024BE91L", "replace_after": "1h" }))
        .credential("slack", "slack.com", "authorization: Bearer {secret}", "xoxb-token-of-tests")
        .store("publications")
        .http_mock("POST", API, slack)
}

#[test]
fn an_older_message_goes_an_hour_after_a_new_one() {
    let plugin = plugin().clock("2026-05-01T12:00:00Z");
    let publish =
        |plugin: &Plugin, text: &str| plugin.call_with([("text", json!(text)), ("topic", json!("build/main"))]);
    let first = publish(&plugin, "red");
    assert_eq!(first.requests[0].header("authorization"), Some("Bearer xoxb-token-of-tests"));
    let plugin = plugin.clock("2026-05-01T12:10:00Z");
    assert_eq!(publish(&plugin, "green").emitted("published")["older"], json!({ "removed": 0, "left": 0 }));
    let plugin = plugin.clock("2026-05-01T13:09:59Z");
    assert_eq!(plugin.call("in", json!({ "action": "clean" })).emitted("cleaned")["removed"], json!(0));
    let plugin = plugin.clock("2026-05-01T13:10:00Z");
    let report = plugin.call("in", json!({ "action": "clean" }));
    assert_eq!(report.emitted("cleaned")["removed"], json!(1));
    assert!(report.requests[0].url.ends_with("/chat.delete"));
    assert_eq!(report.requests[0].json::<Value>()["ts"], first.emitted("published")["ts"]);
}

#[test]
fn refusals_are_told() {
    let answered = |answer: Response| plugin().http_mock("POST", API, answer).call("text", json!("hi"));
    answered(Response::json(200, json!({ "ok": false, "error": "not_in_channel" })))
        .assert_failed(FailureKind::Permanent, "not_in_channel");
    let throttled = answered(Response::status(429).header("retry-after", "30"));
    assert_eq!((throttled.failed().kind, throttled.failed().after_ms), (FailureKind::Retryable, Some(30_000)));
}
