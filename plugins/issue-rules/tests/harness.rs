//! The component itself, as a host runs it.

use trellis_sdk::{Value, json};
use trellis_testing::{FailureKind, Plugin};

fn issue(number: u64, labels: &[&str], updated_at: &str) -> Value {
    json!({
        "id": number.to_string(), "number": number, "title": format!("Issue {number}"), "state": "open", "labels": labels,
        "source": "github:acme/shop", "created_at": "2026-01-01T00:00:00Z", "updated_at": updated_at,
    })
}

fn plugin(rule: &Value) -> Plugin {
    Plugin::build(env!("CARGO_MANIFEST_DIR"))
        .config(json!({ "rules": [rule], "state_index": "state" }))
        .collection("issues", json!({ "schema": "trellis:issue", "indexes": { "state": "/state" } }))
        .records(
            "issues",
            [
                ("github:acme/shop#1", issue(1, &[], "2026-04-30T00:00:00Z")),
                ("github:acme/shop#2", issue(2, &["bug"], "2026-01-30T00:00:00Z")),
            ],
        )
        .store("issue-rules")
        .clock("2026-05-01T00:00:00Z")
}

#[test]
fn a_rule_fires_once_for_the_issues_that_it_holds_for() {
    let stale = plugin(&json!({ "name": "stale", "when": { "idle_for": "60d" }, "label": ["stale"] }));
    let report = stale.call("in", json!(1));
    assert_eq!(report.emitted("labels")[0]["number"], json!(2));
    assert_eq!(report.emitted("checked"), &json!({ "issues": 2, "fired": 1, "complete": true }));
    assert!(!report.outside_effect);
    assert_eq!(stale.call("in", json!(1)).emitted("checked")["fired"], json!(0));
    let later = stale.clock("2026-07-30T00:00:00Z").call("keys", json!(["github:acme/shop#1"]));
    assert_eq!(later.emitted("labels")[0]["issue"], json!("github:acme/shop#1"));
}

#[test]
fn a_mistake_in_a_rule_is_told() {
    plugin(&json!({ "name": "a", "when": { "expression": ". >" }, "notify": "x" }))
        .call("in", json!(1))
        .assert_failed(FailureKind::InvalidConfig, "`when.expression`");
}
