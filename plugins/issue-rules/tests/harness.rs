//! The component itself, as a host runs it.

use serde_json::json;
use trellis_testing::{FailureKind, Plugin};

#[test]
fn a_mistake_in_a_rule_is_told() {
    Plugin::build(env!("CARGO_MANIFEST_DIR"))
        .config(json!({ "rules": [{ "name": "a", "when": { "expression": ". >" }, "notify": "x" }] }))
        .call("in", json!(1))
        .assert_failed(FailureKind::InvalidConfig, "`when.expression`");
}
