//! The component itself, as a host runs it.

use serde_json::{Value, json};
use trellis_testing::{FailureKind, Plugin};

fn part(index: u32) -> Value {
    json!({ "split": "run_1-fan-out-1", "index": index, "count": 3, "items": [index] })
}

#[test]
fn the_call_that_brings_the_last_part_gets_all() {
    let plugin = Plugin::build(env!("CARGO_MANIFEST_DIR")).store("gather");
    for index in [2, 0] {
        let report = plugin.call_with([("part", part(index)), ("value", json!(index * 10))]);
        assert_eq!(report.emitted("waiting")["count"], json!(3));
    }
    let report = plugin.call_with([("part", part(1)), ("value", json!(10))]);
    assert_eq!(report.emitted("all"), &json!([0, 10, 20]));
    assert!(!report.outside_effect);
}

#[test]
fn a_store_that_is_not_granted_is_told() {
    Plugin::build(env!("CARGO_MANIFEST_DIR"))
        .call("part", part(0))
        .assert_failed(FailureKind::Permanent, "storage denied");
}
