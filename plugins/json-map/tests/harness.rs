//! The component itself, as a host runs it.

use serde_json::{Value, json};
use trellis_testing::{FailureKind, Plugin, Report};

fn map(config: Value, input: Value) -> Report {
    Plugin::build(env!("CARGO_MANIFEST_DIR")).config(config).call("in", input)
}

#[test]
fn json_is_shaped() {
    let config = json!({ "expression": "{ name: .user.login, labels: [.labels[].name] }" });
    let input = json!({ "user": { "login": "ada" }, "labels": [{ "name": "bug" }, { "name": "ui" }] });
    assert_eq!(map(config, input).emitted("out"), &json!({ "name": "ada", "labels": ["bug", "ui"] }));
}

#[test]
fn several_values_are_collected_when_asked() {
    let config = json!({ "expression": ".[] * 2", "collect": true });
    assert_eq!(map(config, json!([1, 2, 3])).emitted("out"), &json!([2, 4, 6]));
    map(json!({ "expression": ".[] * 2" }), json!([1, 2])).assert_failed(FailureKind::Permanent, "more than one value");
}

#[test]
fn no_value_leaves_the_port_empty() {
    map(json!({ "expression": "empty" }), json!(1)).assert_emitted_nothing();
}

#[test]
fn a_mistake_in_the_config_is_told() {
    map(json!({ "expression": ".a |" }), json!(1)).assert_failed(FailureKind::InvalidConfig, "`expression`");
    map(json!({ "expression": ".", "colect": true }), json!(1)).assert_failed(FailureKind::InvalidConfig, "colect");
}

#[test]
fn a_quiet_plugin_needs_nothing_of_the_host() {
    let report = map(json!({ "expression": "." }), json!(1));
    assert!(!report.outside_effect && report.writes.is_empty() && report.requests.is_empty());
}
