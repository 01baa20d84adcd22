//! The component itself, as a host runs it.

use trellis_sdk::json;
use trellis_testing::{FailureKind, Plugin};

#[test]
fn text_becomes_rows_and_rows_become_text() {
    let read = Plugin::build(env!("CARGO_MANIFEST_DIR")).config(json!({ "delimiter": ";", "guess_types": true }));
    let rows = json!([{ "id": 1, "name": "a;b" }, { "id": 2, "name": null }]);
    assert_eq!(read.call("in", json!("id;name\n1;\"a;b\"\n2;\n")).emitted("rows"), &rows);

    let write = Plugin::build(env!("CARGO_MANIFEST_DIR")).config(json!({ "direction": "write" }));
    assert_eq!(write.call("in", rows).emitted("text"), &json!("id,name\r\n1,a;b\r\n2,\r\n"));
}

#[test]
fn a_broken_row_is_told() {
    Plugin::build(env!("CARGO_MANIFEST_DIR"))
        .call("in", json!("a,b\n1\n"))
        .assert_failed(FailureKind::InvalidInput, "record 2 has 1 fields");
}
