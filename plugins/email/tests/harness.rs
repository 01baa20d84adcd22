//! The component itself, as a host runs it.

use serde_json::{Value, json};
use trellis_testing::{FailureKind, Plugin, Response};

const API: &str = "https://api.postmarkapp.com/email";

fn plugin(answer: Response) -> Plugin {
    Plugin::build(env!("CARGO_MANIFEST_DIR"))
        .config(json!({ "provider": "postmark", "from": "robot@example.com", "to": ["ada@example.com"] }))
        .credential("postmark", "api.postmarkapp.com", "x-postmark-server-token: {secret}", "token-of-tests")
        .http_mock("POST", API, answer)
        .store("publications")
}

#[test]
fn a_mail_goes_out_with_the_providers_key() {
    let answer = json!({ "To": "ada@example.com", "MessageID": "b7bc2f4a-e38e-4336-af7d-e6c392c2f817", "ErrorCode": 0, "Message": "OK" });
    let report = plugin(Response::json(200, answer))
        .call_with([("in", json!({ "subject": "Hello", "text": "Hi" })), ("topic", json!("greetings"))]);
    assert_eq!(report.emitted("published")["id"], json!("b7bc2f4a-e38e-4336-af7d-e6c392c2f817"));
    let request = &report.requests[0];
    assert_eq!(request.header("x-postmark-server-token"), Some("token-of-tests"));
    assert!(request.header("idempotency-key").is_some());
    assert_eq!(request.json::<Value>()["To"], json!("ada@example.com"));
    assert_eq!(report.writes.len(), 1);
}

#[test]
fn refusals_are_told() {
    let refused = Response::json(422, json!({ "ErrorCode": 300, "Message": "Invalid 'From' address" }));
    let mail = json!({ "subject": "Hello", "text": "Hi" });
    plugin(refused).call("in", mail.clone()).assert_failed(FailureKind::Permanent, "Invalid 'From' address");
    let throttled = plugin(Response::status(429).header("retry-after", "30")).call("in", mail);
    assert_eq!((throttled.failed().kind, throttled.failed().after_ms), (FailureKind::Retryable, Some(30_000)));
}
