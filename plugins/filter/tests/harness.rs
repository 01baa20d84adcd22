//! The component itself, as a host runs it.

use serde_json::{Value, json};
use trellis_testing::{FailureKind, Plugin, Report};

fn decide(expression: &str, input: Value) -> Report {
    Plugin::build(env!("CARGO_MANIFEST_DIR")).config(json!({ "expression": expression })).call("in", input)
}

#[test]
fn a_value_goes_to_one_of_the_two_ports() {
    let passed = decide(".price > 10", json!({ "price": 12 }));
    assert_eq!(passed.emitted("out"), &json!({ "price": 12 }));
    assert!(!passed.emissions.contains_key("rejected"));
    let rejected = decide(".price > 10", json!({ "price": 2 }));
    assert_eq!(rejected.emitted("rejected"), &json!({ "price": 2 }));
    assert!(!rejected.emissions.contains_key("out"));
}

#[test]
fn a_mistake_in_the_expression_is_told() {
    decide(".price >", json!({})).assert_failed(FailureKind::InvalidConfig, "`expression`");
}

#[test]
fn an_expression_that_never_ends_is_ended() {
    decide("last(repeat(1))", json!({})).assert_failed(FailureKind::LimitExceeded, "CPU budget");
}

#[test]
fn the_event_is_at_hand() {
    let report = Plugin::build(env!("CARGO_MANIFEST_DIR"))
        .config(json!({ "expression": "$event.attributes.trigger == \"tasks\"" }))
        .attribute("trigger", "tasks")
        .call("in", json!(1));
    assert_eq!(report.emitted("out"), &json!(1));
}
