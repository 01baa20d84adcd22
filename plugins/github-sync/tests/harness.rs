//! The component itself, as a host runs it: with collections that take records of the published shapes and no others.

use trellis_sdk::{Value, json};
use trellis_testing::{FailureKind, Plugin, Response};

const API: &str = "https://api.github.com/repos/acme/shop";

fn plugin(issues: Response, commits: Response) -> Plugin {
    Plugin::build(env!("CARGO_MANIFEST_DIR"))
        .config(json!({ "repository": "acme/shop" }))
        .collection("issues", json!({ "schema": "trellis:issue" }))
        .collection("commits", json!({ "schema": "trellis:commit" }))
        .store("sync")
        .credential("github", "api.github.com", "authorization: Bearer {secret}", "token-of-tests")
        .http_mock("GET", &format!("{API}/issues"), issues)
        .http_mock("GET", &format!("{API}/commits"), commits)
}

fn issue() -> Value {
    json!({
        "id": 1, "node_id": "I_1", "number": 7, "title": "The door squeaks", "user": { "login": "ada" }, "state": "open",
        "labels": [], "assignees": [], "milestone": null, "comments": 0, "body": null, "closed_at": null,
        "html_url": "https://github.com/acme/shop/issues/7", "created_at": "2026-01-01T08:00:00Z", "updated_at": "2026-02-01T08:00:00Z",
    })
}

fn commit() -> Value {
    let by = json!({ "name": "Ada", "email": "ada@example.com", "date": "2026-02-01T09:00:00Z" });
    json!({
        "sha": "5c1f", "html_url": "https://github.com/acme/shop/commit/5c1f", "author": null, "parents": [],
        "commit": { "message": "fix: the door squeaks no more", "author": by, "committer": by },
    })
}

#[test]
fn records_have_the_published_shapes_and_the_token_is_the_hosts_to_add() {
    let plugin = plugin(Response::json(200, json!([issue()])), Response::json(200, json!([commit()])));
    let report = plugin.call("in", json!(1));
    assert_eq!(report.emitted("issues"), &json!(["github:acme/shop#7"]));
    assert_eq!(report.requests[0].header("authorization"), Some("Bearer token-of-tests"));
    assert!(!report.outside_effect);
    assert_eq!(plugin.recorded("issues", "github:acme/shop#7").expect("it is kept")["author"], json!("ada"));
    assert_eq!(plugin.recorded("commits", "github:acme/shop@5c1f").expect("it is kept")["author"], json!("Ada"));
}

#[test]
fn a_limit_that_is_used_up_is_waited_for() {
    let limit = Response::status(403).header("retry-after", "90");
    let report = plugin(limit, Response::json(200, json!([]))).call("in", json!(1));
    assert_eq!((report.failed().kind, report.failed().after_ms), (FailureKind::Retryable, Some(90_000)));
}

#[test]
fn what_cannot_be_a_repository_is_told_and_nothing_is_sent() {
    let empty = || Response::json(200, json!([]));
    let report = plugin(empty(), empty()).call("repository", json!("../x"));
    report.assert_failed(FailureKind::InvalidInput, "`../x` is no repository");
    assert!(report.requests.is_empty());
}

#[test]
fn a_chain_of_calls_that_has_become_too_long_ends_without_a_failure() {
    let next = format!("<{API}/issues?page=2>; rel=\"next\"");
    let plugin = plugin(Response::json(200, json!([issue()])).header("link", &next), Response::json(200, json!([])))
        .config(json!({ "repository": "acme/shop", "pages_max": 1, "continue_in": "sync" }))
        .grid("sync");
    assert_eq!(plugin.call("in", json!(1)).emitted_to("sync").len(), 1);
    let report = plugin.attribute("hops", "16").call("in", json!(1));
    assert_eq!(report.emitted("synced")["complete"], json!(false));
    assert!(report.events.is_empty());
    report.assert_logged("the next event from outside goes on");
}
