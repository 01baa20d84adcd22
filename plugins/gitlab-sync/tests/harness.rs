//! The component itself, as a host runs it: with collections that take records of the published shapes and no others.

use trellis_sdk::json;
use trellis_testing::{FailureKind, Plugin, Response};

const API: &str = "https://gitlab.com/api/v4/projects/*";

fn plugin(answer: Response) -> Plugin {
    Plugin::build(env!("CARGO_MANIFEST_DIR"))
        .config(json!({ "project": "acme/shop", "commits": null }))
        .collection("issues", json!({ "schema": "trellis:issue" }))
        .store("sync")
        .credential("gitlab", "gitlab.com", "private-token: {secret}", "token-of-tests")
        .http_mock("GET", API, answer)
}

#[test]
fn records_have_the_published_shape_and_the_token_is_the_hosts_to_add() {
    let issue = json!({
        "id": 76, "iid": 6, "title": "Consequatur", "description": "Ratione.", "state": "closed", "labels": ["bug"],
        "author": { "username": "eileen" }, "assignees": [], "milestone": null, "web_url": "https://gitlab.com/acme/shop/-/issues/6",
        "created_at": "2016-01-04T15:31:51.081Z", "updated_at": "2016-01-05T15:31:46.176Z", "closed_at": "2016-01-05T15:31:46.176Z",
    });
    let plugin = plugin(Response::json(200, json!([issue])));
    let report = plugin.call("in", json!(1));
    assert_eq!(report.emitted("issues"), &json!(["gitlab:acme/shop#6"]));
    assert_eq!(report.requests[0].header("private-token"), Some("token-of-tests"));
    assert!(report.requests[0].url.contains("/projects/acme%2Fshop/issues?"), "{:?}", report.requests[0]);
    let kept = plugin.recorded("issues", "gitlab:acme/shop#6").expect("it is kept");
    assert_eq!((&kept["state"], &kept["closed_at"]), (&json!("closed"), &json!("2016-01-05T15:31:46Z")));
}

#[test]
fn a_limit_that_is_used_up_is_waited_for() {
    let report = plugin(Response::status(429).header("retry-after", "90")).call("in", json!(1));
    assert_eq!((report.failed().kind, report.failed().after_ms), (FailureKind::Retryable, Some(90_000)));
}
