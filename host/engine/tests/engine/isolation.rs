//! Nothing of one call is found by another.

use serde_json::json;
use trellis_engine::{EngineConfig, FailureKind::Trapped};

use crate::support::{Fixture, config, failure};

#[tokio::test]
async fn no_call_finds_what_another_left_in_memory() {
    // One slot, so that both calls get the same memory and the same stack.
    let fixture = Fixture::with(EngineConfig { instances_max: 1, ..config() }).await;
    let secret = "tr3llis-s3cret-0123456789abcdef";
    for _ in 0..3 {
        fixture.output(json!({"do": "remember", "secret": secret})).await;
        let found = fixture.output(json!({"do": "recall", "secret": secret})).await;
        // The secret is in the input of the second call too, but not in memory that it takes fresh from the allocator.
        assert_eq!(found, json!(0));
    }
}

#[tokio::test]
async fn nothing_of_a_trapped_call_survives() {
    let fixture = Fixture::new().await.grant(&[], &["cache:rw"]);
    let operations = json!([{"set": ["cache", "a", "1"]}, {"get": ["cache", "a"]}]);
    let report =
        fixture.fails(json!({"do": "storage-then-panic", "operations": operations}), Trapped, "after the writes").await;
    // A failure has no effects: the types leave no place for them. What was used is still accounted for.
    assert_eq!(report.metering.storage_operations, 2);
    assert!(failure(&report).kind.is_retryable());
    let seen = fixture.output(json!({"do": "storage", "operations": [{"get": ["cache", "a"]}]})).await;
    assert_eq!(seen, json!([null]));
}
