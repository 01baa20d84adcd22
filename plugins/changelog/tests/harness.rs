//! The component itself, as a host runs it.

use trellis_sdk::{Value, json};
use trellis_testing::{FailureKind, Plugin};

fn commit(id: &str, title: &str, at: &str) -> Value {
    json!({ "id": id, "title": title, "created_at": at, "source": "github:acme/shop" })
}

fn plugin() -> Plugin {
    let indexes = |name: &str, pointer: &str| json!({ "source": "/source", name: pointer });
    Plugin::build(env!("CARGO_MANIFEST_DIR"))
        .config(json!({ "source": "github:acme/shop" }))
        .collection("commits", json!({ "schema": "trellis:commit", "indexes": indexes("created", "/created_at") }))
        .collection("issues", json!({ "schema": "trellis:issue", "indexes": indexes("closed", "/closed_at") }))
        .collection(
            "changelogs",
            json!({ "schema": "trellis:changelog", "indexes": indexes("released", "/released_at") }),
        )
        .records(
            "commits",
            [
                ("github:acme/shop@5c1f", commit("5c1f", "feat: doors", "2026-01-02T00:00:00Z")),
                ("github:acme/shop@7a2b", commit("7a2b", "fix: the door squeaks no more", "2026-02-02T00:00:00Z")),
            ],
        )
}

#[test]
fn a_changelog_is_kept_in_the_published_shape() {
    let plugin = plugin();
    let write = |version: &str, until: &str| plugin.call_with([("version", json!(version)), ("until", json!(until))]);
    assert!(
        write("1.0.0", "2026-01-10T00:00:00Z").emitted("markdown").as_str().is_some_and(|text| text.contains("doors"))
    );
    let report = write("1.1.0", "2026-02-10T00:00:00Z");
    let expected = "## 1.1.0 (2026-02-10)\n\n### Fixes\n\n- the door squeaks no more (7a2b)\n";
    assert_eq!(report.emitted("markdown"), &json!(expected));
    let kept = plugin.recorded("changelogs", "github:acme/shop@1.1.0").expect("it is kept");
    assert_eq!((&kept["previous"], &kept["body"]), (&json!("1.0.0"), &json!(expected)));
}

#[test]
fn a_time_that_is_none_is_told() {
    plugin()
        .call_with([("version", json!("1.0.0")), ("until", json!("soon"))])
        .assert_failed(FailureKind::InvalidInput, "`soon` is no time");
}
