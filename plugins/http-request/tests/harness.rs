//! The component itself, as a host runs it: with the engine's checks between it and a fake network.

use std::time::Duration;

use serde_json::{Value, json};
use trellis_testing::{CallLimits, FailureKind, Plugin, Response};

const URL: &str = "https://api.example.com/repos/*";

fn plugin(config: Value) -> Plugin {
    Plugin::build(env!("CARGO_MANIFEST_DIR")).config(config)
}

#[test]
fn the_request_is_put_together_from_config_and_input() {
    let report = plugin(json!({
        "method": "POST",
        "url": "https://api.example.com/repos/{/name}/issues",
        "headers": { "x-from": "{/from}" },
        "body": "input",
    }))
    .http_mock("POST", URL, Response::json(201, json!({ "id": 7 })))
    .call("in", json!({ "name": "a b", "from": "trellis" }));

    let answer = report.emitted("response");
    assert_eq!((&answer["status"], &answer["body"]), (&json!(201), &json!({ "id": 7 })));
    let request = &report.requests[0];
    assert_eq!(request.url, "https://api.example.com/repos/a%20b/issues");
    assert_eq!(request.header("x-from"), Some("trellis"));
    assert_eq!(request.json::<Value>(), json!({ "name": "a b", "from": "trellis" }));
    assert!(request.header("idempotency-key").is_some());
    assert!(report.outside_effect);
}

#[test]
fn trouble_that_may_pass_is_retryable_and_other_trouble_is_not() {
    let get = || plugin(json!({ "url": "https://api.example.com/repos/a" }));
    for (response, kind) in [
        (Response::status(503), FailureKind::Retryable),
        (Response::status(429).header("retry-after", "7"), FailureKind::Retryable),
        (Response::status(404), FailureKind::Permanent),
        (Response::status(302).header("location", "https://elsewhere.example.com/"), FailureKind::Permanent),
        (Response::connection_refused(), FailureKind::Retryable),
        (Response::timeout(), FailureKind::Retryable),
    ] {
        let shown = format!("{response:?}");
        let report = get().http_mock("GET", URL, response).call("in", json!(null));
        assert_eq!(report.failed().kind, kind, "{shown}");
    }
    let throttled = Response::status(429).header("retry-after", "7");
    let report = get().http_mock("GET", URL, throttled).call("in", json!(null));
    assert_eq!(report.failed().after_ms, Some(7_000));
}

#[test]
fn what_is_not_granted_is_not_sent() {
    let report = plugin(json!({ "url": "https://api.example.com/secret" }))
        .http_mock("GET", "https://api.example.com/*", Response::status(200))
        .grants(&["GET https://api.example.com/public/*"], &[])
        .call("in", json!(null));
    report.assert_failed(FailureKind::Permanent, "is not granted");
    assert!(report.requests.is_empty());
}

#[test]
fn a_slow_service_ends_at_the_configured_time() {
    let report = plugin(json!({ "url": "https://api.example.com/repos/a", "timeout_ms": 50 }))
        .limits(CallLimits { wall_ms: 20_000, ..CallLimits::default() })
        .http_mock("GET", URL, Response::status(200).after(Duration::from_secs(60)))
        .call("in", json!(null));
    report.assert_failed(FailureKind::Retryable, "no answer in time");
}

#[test]
fn a_body_over_the_limit_is_refused() {
    let report = plugin(json!({ "url": "https://api.example.com/repos/a" }))
        .limits(CallLimits { response_bytes: 1_000, ..CallLimits::default() })
        .http_mock("GET", URL, Response::text(200, "x".repeat(1_001)))
        .call("in", json!(null));
    report.assert_failed(FailureKind::Permanent, "over the limit");
}
