//! The component itself, as a host runs it.

use trellis_sdk::json;
use trellis_testing::{FailureKind, Plugin};

#[test]
fn what_cannot_be_a_project_is_told_and_nothing_is_sent() {
    let report = Plugin::build(env!("CARGO_MANIFEST_DIR")).call("project", json!("../x"));
    report.assert_failed(FailureKind::InvalidInput, "`../x` is no project");
    assert!(report.requests.is_empty());
}
