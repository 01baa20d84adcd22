//! The component itself, as a host runs it.

use trellis_sdk::json;
use trellis_testing::{FailureKind, Plugin};

#[test]
fn values_that_are_there_are_put_together() {
    let plugin = Plugin::build(env!("CARGO_MANIFEST_DIR")).config(json!({ "names": { "a": "order" } }));
    let report = plugin.call_with([("a", json!({ "id": 7 })), ("c", json!([1]))]);
    assert_eq!(report.emitted("out"), &json!({ "order": { "id": 7 }, "c": [1] }));
    assert_eq!(plugin.call_with([]).emitted("out"), &json!({}));
}

#[test]
fn a_value_that_does_not_fit_is_told() {
    Plugin::build(env!("CARGO_MANIFEST_DIR"))
        .config(json!({ "into": "merge" }))
        .call("b", json!(1))
        .assert_failed(FailureKind::InvalidInput, "input `b` is no object");
}
