//! The component itself, as a host runs it.

use serde_json::{Value, json};
use trellis_testing::{FailureKind, Plugin};

fn branch(cases: &Value) -> Plugin {
    Plugin::build(env!("CARGO_MANIFEST_DIR")).config(json!({ "cases": cases }))
}

#[test]
fn a_value_goes_to_the_port_whose_condition_it_meets_and_to_no_other() {
    let plugin = branch(&json!({ "case_1": ".total > 1000", "case_2": ".total > 100" }));
    for (total, port) in [(5000, "case_1"), (500, "case_2"), (5, "otherwise")] {
        let report = plugin.call("in", json!({ "total": total }));
        assert_eq!(report.emitted(port), &json!({ "total": total }));
        assert_eq!(report.emissions.len(), 1);
    }
}

#[test]
fn a_mistake_in_a_condition_is_told() {
    branch(&json!({ "case_1": "true", "case_2": ".a |" }))
        .call("in", json!(1))
        .assert_failed(FailureKind::InvalidConfig, "`cases.case_2`");
}
