//! The component itself, as a host runs it.

use trellis_sdk::json;
use trellis_testing::{FailureKind, Plugin};

#[test]
fn a_release_without_a_source_is_told() {
    Plugin::build(env!("CARGO_MANIFEST_DIR"))
        .call("version", json!("1.0.0"))
        .assert_failed(FailureKind::InvalidConfig, "there is no source");
}
