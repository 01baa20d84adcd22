//! The component itself, as a host runs it.

use serde_json::json;
use trellis_testing::{FailureKind, Plugin};

fn template(text: &str) -> Plugin {
    Plugin::build(env!("CARGO_MANIFEST_DIR")).config(json!({ "template": text }))
}

#[test]
fn a_text_is_written() {
    let plugin = template(
        "{% for name in names | sort %}{{ loop.index }}. {{ name }};{% endfor %} {{ event.attributes.trigger }}",
    )
    .attribute("trigger", "tasks");
    let report = plugin.call("in", json!({ "names": ["b", "a"] }));
    assert_eq!(report.emitted("out"), &json!("1. a;2. b; tasks"));
}

#[test]
fn mistakes_are_told() {
    template("{% if %}").call("in", json!({})).assert_failed(FailureKind::InvalidConfig, "`template`: line 1");
    template("{{ gone }}").call("in", json!({})).assert_failed(FailureKind::InvalidInput, "`lenient = true`");
}

#[test]
fn a_template_that_calls_itself_is_ended() {
    template("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}")
        .call("in", json!({}))
        .assert_failed(FailureKind::Permanent, "recursion");
}

#[test]
fn a_template_that_never_ends_is_ended() {
    template("{% for a in range(9999) %}{% for b in range(9999) %}{% for c in range(9999) %}{% endfor %}{% endfor %}{% endfor %}")
        .call("in", json!({}))
        .assert_failed(FailureKind::LimitExceeded, "CPU budget");
}
