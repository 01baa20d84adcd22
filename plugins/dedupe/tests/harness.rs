//! The component itself, as a host runs it.

use serde_json::json;
use trellis_testing::{FailureKind, Plugin};

#[test]
fn the_second_of_a_kind_is_a_duplicate() {
    let first = Plugin::build(env!("CARGO_MANIFEST_DIR")).config(json!({ "key": ["/id"] })).store("dedupe");
    let report = first.call("in", json!({ "id": 1 }));
    assert_eq!(report.emitted("out"), &json!({ "id": 1 }));
    assert!(!report.outside_effect);
    let key = report.writes[0].key.clone();

    let by_another_run = first.storage("dedupe", &key, "run_0000000000002/node/");
    assert_eq!(by_another_run.call("in", json!({ "id": 1, "n": 2 })).emitted("duplicate"), &json!({ "id": 1, "n": 2 }));
    assert_eq!(by_another_run.call("in", json!({ "id": 2 })).emitted("out"), &json!({ "id": 2 }));
}

#[test]
fn a_store_that_is_not_granted_is_told() {
    Plugin::build(env!("CARGO_MANIFEST_DIR"))
        .call("in", json!(1))
        .assert_failed(FailureKind::Permanent, "storage denied");
}
