//! The component itself, as a host runs it.

use serde_json::json;
use trellis_testing::{FailureKind, Plugin};

#[test]
fn parts_are_sent_to_a_granted_grid_and_to_no_other() {
    let plugin = Plugin::build(env!("CARGO_MANIFEST_DIR")).config(json!({ "grid": "pick", "size": 2 }));
    let report = plugin.call("in", json!([1, 2, 3]));
    report.assert_failed(FailureKind::Permanent, "grants.emit");

    let report = plugin.grid("pick").call("in", json!([1, 2, 3]));
    assert_eq!(report.emitted("sent")["count"], json!(2));
    assert_eq!(report.emitted_to("pick").len(), 2);
    assert_eq!(report.emitted_to("pick")[0]["items"], json!([1, 2]));
}

#[test]
fn without_a_grid_the_parts_are_emitted() {
    let report = Plugin::build(env!("CARGO_MANIFEST_DIR")).call("in", json!([1, 2]));
    assert_eq!(report.emitted("parts"), &json!([[1], [2]]));
    assert!(report.events.is_empty());
}
