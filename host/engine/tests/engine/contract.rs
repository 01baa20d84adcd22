//! What a call gives a guest, and what it takes back from it.

use std::sync::Arc;

use serde_json::json;
use trellis_engine::FailureKind::{InvalidConfig, InvalidInput, Permanent, Retryable};

use crate::support::{Fixture, effects, failure};

#[tokio::test]
async fn a_guest_sees_its_event_and_config() {
    let fixture = Fixture { config: Arc::from(r#"{"factor":2}"#), ..Fixture::new().await };
    let seen = fixture.output(json!({"do": "echo"})).await;
    assert_eq!(
        seen,
        json!({
            "run": "run_0000000000001",
            "node": "total",
            "attempt": 1,
            "idempotency_key": "run_0000000000001-total",
            "attributes": [["trigger", "tasks"]],
            "inputs": [["in", r#"{"do":"echo"}"#]],
            "config": r#"{"factor":2}"#,
        })
    );
}

#[tokio::test]
async fn a_guest_may_emit_nothing_or_to_several_ports() {
    let fixture = Fixture::new().await;
    assert!(effects(fixture.call(json!({"do": "emit", "emissions": []})).await).emissions.is_empty());
    let emissions = json!([["other", "1"], ["out", "\"ü\""]]);
    let emitted = effects(fixture.call(json!({"do": "emit", "emissions": emissions})).await).emissions;
    let emitted: Vec<_> = emitted.iter().map(|emission| (emission.port.as_str(), emission.json.get())).collect();
    assert_eq!(emitted, [("other", "1"), ("out", "\"ü\"")]);
}

#[tokio::test]
async fn the_four_ways_to_fail_are_kept_apart() {
    let fixture = Fixture::new().await;
    for (name, kind) in [
        ("invalid-input", InvalidInput),
        ("invalid-config", InvalidConfig),
        ("retryable", Retryable),
        ("permanent", Permanent),
    ] {
        let action = json!({"do": "fail", "kind": name, "message": format!("because {name}"), "after_ms": 1_500});
        let report = fixture.fails(action, kind, &format!("because {name}")).await;
        assert_eq!(failure(&report).after_ms, (kind == Retryable).then_some(1_500));
        assert_eq!(kind.is_retryable(), kind == Retryable);
    }
}

#[tokio::test]
async fn the_description_is_what_the_guest_says_of_itself() {
    let fixture = Fixture::new().await;
    let description = fixture.transformer.description();
    assert_eq!(description.title, "Misbehave");
    assert_eq!(description.outputs.keys().collect::<Vec<_>>(), ["other", "out"]);
    let imports = fixture.transformer.imports();
    assert!(imports.iter().any(|name| name.starts_with("wasi:http/outgoing-handler@0.2")), "{imports:?}");
}

#[tokio::test]
async fn a_call_is_metered() {
    let fixture = Fixture::new().await.grant(&[], &["cache:rw"]);
    let operations = json!([{"get": ["cache", "a"]}, {"set": ["cache", "a", "1"]}]);
    let report = fixture.call(json!({"do": "storage", "operations": operations})).await;
    let metering = report.metering;
    assert_eq!(metering.storage_operations, 2);
    assert!(metering.wall_us >= metering.cpu_us / 2, "{metering:?}");
    assert!(metering.cpu_us > 0 && metering.memory_bytes_max >= 65_536, "{metering:?}");
    assert_eq!((metering.requests, metering.request_bytes, metering.response_bytes), (0, 0, 0));
    assert!(!report.outside_effect);
}

/// Handlers and operators spawn calls as tasks.
#[test]
fn calls_can_be_spawned() {
    fn assert_send<T: Send>(_: impl FnOnce(&'static Fixture) -> T) {}
    assert_send(|fixture| fixture.transformer.call(fixture.call_of(&json!({}))));
    assert_send(|fixture| fixture.engine.compile(bytes::Bytes::new()));
    assert_send(|fixture| {
        fixture.engine.load(fixture.transformer.digest(), || async { Ok::<_, String>(bytes::Bytes::new()) })
    });
}
