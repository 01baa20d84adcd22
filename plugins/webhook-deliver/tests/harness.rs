//! The component itself, as a host runs it.

use serde_json::{Value, json};
use trellis_testing::{FailureKind, Plugin, Response};

const URL: &str = "https://hooks.example.com/in";

fn plugin(answer: Response) -> Plugin {
    Plugin::build(env!("CARGO_MANIFEST_DIR"))
        .config(json!({ "url": URL, "secrets": ["key"] }))
        .secret("key", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
        .clock("2021-02-25T15:02:10Z")
        .http_mock("POST", URL, answer)
}

#[test]
fn a_delivery_is_signed_and_has_the_same_id_in_every_attempt() {
    let report = plugin(Response::status(204)).attempt(3).call("in", json!({ "test": 1 }));
    assert_eq!(report.emitted("delivered")["attempt"], json!(3));
    let request = &report.requests[0];
    assert_eq!(request.json::<Value>(), json!({ "test": 1 }));
    let id = request.header("webhook-id").expect("an id");
    assert_eq!(request.header("idempotency-key"), Some(id));
    assert_eq!(plugin(Response::status(204)).call("in", json!(1)).requests[0].header("webhook-id"), Some(id));
    assert_eq!(request.header("webhook-timestamp"), Some("1614265330"));
    assert!(request.header("webhook-signature").is_some_and(|signature| signature.starts_with("v1,")));
}

#[test]
fn trouble_that_may_pass_is_retryable_and_other_trouble_is_not() {
    for (answer, kind, text) in [
        (Response::status(503), FailureKind::Retryable, "503"),
        (Response::timeout(), FailureKind::Retryable, "no answer in time"),
        (Response::status(404), FailureKind::Permanent, "404"),
        (Response::status(410), FailureKind::Permanent, "gone for good"),
    ] {
        plugin(answer).call("in", json!(1)).assert_failed(kind, text);
    }
    let throttled = plugin(Response::status(429).header("retry-after", "7")).call("in", json!(1));
    assert_eq!(throttled.failed().after_ms, Some(7_000));
}

#[test]
fn a_secret_that_is_not_granted_is_told_and_nothing_is_sent() {
    let report = Plugin::build(env!("CARGO_MANIFEST_DIR"))
        .config(json!({ "url": URL, "secrets": ["key"] }))
        .http_mock("POST", URL, Response::status(204))
        .call("in", json!(1));
    report.assert_failed(FailureKind::Permanent, "grants.secret");
    assert!(report.requests.is_empty());
}
