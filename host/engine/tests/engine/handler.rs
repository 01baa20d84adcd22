//! A component that was written for any host of `wasi:http` and `wasi:keyvalue`: requests in, answers out, with the limits,
//! grants and effects of any other call.

use std::{
    path::Path,
    sync::{Arc, OnceLock},
};

use bytes::Bytes;
use serde_json::{Value, json};
use trellis_engine::{
    CallReport, Change, Digest, Failure, FailureKind, Outbound, OutboundRequest, OutboundResponse, SendError,
    UploadLimits,
};
use trellis_model::call_limits::CallLimits;

use crate::support::{Committed, Fixture, effects, failure};

fn handler() -> Bytes {
    static BYTES: OnceLock<Bytes> = OnceLock::new();
    BYTES
        .get_or_init(|| {
            let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/guests/handler");
            let built = trellis_build::build_plugin(&folder, &mut |_| {}).expect("the guest builds");
            built.bytes.into()
        })
        .clone()
}

async fn fixture() -> Fixture {
    let fixture = Fixture::new().await;
    let load = fixture.engine.load(Digest::of(&handler()), || async { Ok::<_, String>(handler()) });
    let transformer = load.await.expect("the guest is accepted");
    Fixture { transformer, ..fixture }
}

async fn ask(fixture: &Fixture, request: &Value) -> CallReport {
    let mut call = fixture.call_of(&Value::Null);
    call.event.inputs = vec![("request".to_owned(), request.to_string())];
    fixture.transformer.call(call).await
}

/// The answer to a request, and what the call leaves to be committed.
async fn answer(fixture: &Fixture, request: Value) -> Value {
    let effects = effects(ask(fixture, &request).await);
    assert_eq!(effects.emissions.len(), 1, "{effects:?}");
    assert_eq!(effects.emissions[0].port, "response");
    serde_json::from_str(effects.emissions[0].json.get()).expect("JSON")
}

async fn fails(fixture: &Fixture, request: Value) -> Failure {
    failure(&ask(fixture, &request).await).clone()
}

fn header<'a>(answer: &'a Value, name: &str) -> Option<&'a str> {
    let headers = answer["headers"].as_array().expect("headers");
    headers.iter().find(|header| header[0] == name)?[1].as_str()
}

#[tokio::test]
async fn a_component_that_knows_nothing_of_trellis_is_accepted_and_described() {
    let imports = trellis_engine::check(&handler(), &UploadLimits::default()).expect("accepted");
    assert!(imports.iter().all(|name| !name.starts_with("trellis:")), "{imports:?}");
    let fixture = fixture().await;
    let description = fixture.transformer.description();
    assert!(description.inputs["request"].required && description.outputs.contains_key("response"), "{description:?}");
}

#[tokio::test]
async fn a_request_is_answered() {
    let fixture = fixture().await;
    let request =
        json!({ "method": "PUT", "path": "/echo?a=b", "headers": [["host", "shop.example"]], "body": "grüezi" });
    let echo = answer(&fixture, request).await;
    assert_eq!((&echo["status"], &echo["body"]), (&json!(200), &json!("grüezi")), "{echo}");
    assert_eq!((header(&echo, "x-method"), header(&echo, "x-query")), (Some("PUT"), Some("a=b")), "{echo}");

    let missing = answer(&fixture, json!({ "path": "/nowhere" })).await;
    assert_eq!((&missing["status"], &missing["body"]), (&json!(404), &json!("no such page\n")));
    let bytes = answer(&fixture, json!({ "path": "/bytes" })).await;
    assert_eq!((&bytes["body"], &bytes["body_base64"]), (&Value::Null, &json!("/wAB")));
    let back = answer(&fixture, json!({ "path": "/echo", "body_base64": "/wAB" })).await;
    assert_eq!(back["body_base64"], "/wAB");
}

#[tokio::test]
async fn what_it_writes_is_left_for_the_commit_and_only_where_it_is_granted() {
    let fixture = fixture().await;
    let refused = answer(&fixture, json!({ "path": "/visits" })).await;
    assert_eq!(refused["status"], 503, "no store is granted: {refused}");

    let fixture = fixture.grant(&[], &["visits:rw"]);
    let fixture = Fixture { storage: Committed::of(&[("visits", "all", "41", 7)]), ..fixture };
    let report = effects(ask(&fixture, &json!({ "path": "/visits" })).await);
    assert!(report.emissions[0].json.get().contains("visitor 42"), "{report:?}");
    assert_eq!(report.writes.len(), 1, "{report:?}");
    assert!(matches!(&report.writes[0].change, Change::Add { delta: 1 }), "{report:?}");
    assert_eq!(report.reads[0].revision, 7, "{report:?}");
}

/// A network that has broken down.
struct World;

#[async_trait::async_trait]
impl Outbound for World {
    async fn send(&self, _request: OutboundRequest) -> Result<OutboundResponse, SendError> {
        Err(SendError::Transport("the world is far away".to_owned()))
    }
}

#[tokio::test]
async fn its_own_http_client_passes_the_egress_guard() {
    let fixture = Fixture { outbound: Some(Arc::new(World)), ..fixture().await };
    let forward = json!({ "path": "/forward?https://api.example.com/x" });
    let denied = ask(&fixture, &forward).await;
    assert_eq!(denied.metering.requests, 0, "{denied:?}");
    assert!(failure(&denied).message.contains("HttpRequestDenied"), "{denied:?}");

    let fixture = fixture.grant(&["GET https://api.example.com/*"], &[]);
    let sent = ask(&fixture, &forward).await;
    assert_eq!(sent.metering.requests, 1, "{sent:?}");
    assert!(failure(&sent).message.contains("far away"), "{sent:?}");
}

#[tokio::test]
async fn what_goes_wrong_is_told_as_with_any_other_call() {
    let mut fixture = fixture().await;
    let failed = fails(&fixture, json!({ "path": "/fail" })).await;
    assert_eq!(failed.kind, FailureKind::Retryable, "{failed}");
    assert!(failed.message.contains("this page always fails"), "{failed}");
    let crashed = fails(&fixture, json!({ "path": "/crash" })).await;
    assert_eq!(crashed.kind, FailureKind::Trapped, "{crashed}");
    assert!(crashed.message.contains("this page always crashes"), "the end of stderr: {crashed}");
    let invalid = fails(&fixture, json!({ "verb": "GET" })).await;
    assert_eq!(invalid.kind, FailureKind::InvalidInput, "{invalid}");

    fixture.limits = CallLimits { output_bytes: 10_000, ..CallLimits::default() };
    let fits = answer(&fixture, json!({ "path": "/large?9000" })).await;
    assert_eq!(fits["body"].as_str().map(str::len), Some(9_000));
    let large = fails(&fixture, json!({ "path": "/large?50000000" })).await;
    // Told while it comes, not when all of it is in memory.
    assert!(large.message.contains("answered with more than its limit of 10000 bytes"), "{large}");
    fixture.limits = CallLimits { wall_ms: 200, ..CallLimits::default() };
    let late = fails(&fixture, json!({ "path": "/wait?600" })).await;
    assert_eq!(late.kind, FailureKind::TimedOut, "{late}");
}

/// A handler that returns without having answered.
const SILENT: &str = r#"(component
    (import "wasi:http/types@0.2.0" (instance $types
        (export "incoming-request" (type (sub resource)))
        (export "response-outparam" (type (sub resource)))))
    (alias export $types "incoming-request" (type $request))
    (alias export $types "response-outparam" (type $outparam))
    (core module $m (func (export "handle") (param i32 i32)))
    (core instance $i (instantiate $m))
    (func $handle (param "request" (own $request)) (param "response-out" (own $outparam))
        (canon lift (core func $i "handle")))
    (instance $exported (export "handle" (func $handle)))
    (export "wasi:http/incoming-handler@0.2.0" (instance $exported)))"#;

#[tokio::test]
async fn a_handler_that_never_answers_is_not_waited_for() {
    let fixture = Fixture::new().await;
    let bytes = Bytes::from(wat::parse_str(SILENT).expect("valid text"));
    let load = fixture.engine.load(Digest::of(&bytes), || async { Ok::<_, String>(bytes.clone()) });
    let transformer = load.await.expect("it is accepted");
    let fixture = Fixture { transformer, ..fixture };
    let silent = fails(&fixture, json!({})).await;
    assert_eq!(silent.kind, FailureKind::Permanent, "{silent}");
    assert!(silent.message.contains("without an answer"), "{silent}");
}
