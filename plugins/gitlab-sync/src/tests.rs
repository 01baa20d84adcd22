//! Answers of the shape that GitLab's documentation shows.
#![allow(clippy::needless_pass_by_value, reason = "tests pass literals")]

use std::time::Duration;

use trellis_sdk::{
    fake,
    records::{
        commit::Commit,
        issue::{Issue, State},
    },
    *,
};

use super::gitlab_sync;

const API: &str = "https://gitlab.com/api/v4/projects/acme%2Ftools%2Fshop";

fn issue(iid: u64, updated_at: &str) -> Value {
    json!({
        "id": 76, "iid": iid, "project_id": 8, "title": "Consequatur vero", "description": "Ratione dolores.", "state": "opened",
        "created_at": "2016-01-04T15:31:51.081Z", "updated_at": updated_at, "closed_at": null, "labels": ["bug", "ui"],
        "milestone": { "id": 1, "iid": 2, "title": "v4.0" }, "author": { "id": 18, "username": "eileen", "name": "Eileen" },
        "assignees": [{ "id": 1, "username": "root" }], "web_url": "https://gitlab.com/acme/tools/shop/-/issues/6",
        "user_notes_count": 1, "confidential": false, "weight": null,
    })
}

fn commit() -> Value {
    json!({
        "id": "ed899a2f4b50b4370feeea94676502b42383c746", "short_id": "ed899a2f4b5", "title": "Replace sanitize with escape…",
        "message": "Replace sanitize with escape once and for all\n\nIt was wrong.", "author_name": "Example User", "author_email": "user@example.com",
        "authored_date": "2021-09-20T11:50:22.001+02:00", "committer_name": "Administrator", "committed_date": "2021-09-20T11:50:22.001+02:00",
        "created_at": "2021-09-20T11:50:22.001+02:00", "parent_ids": ["6104942438c14ec7bd21c6cd5bd995272b3faff6"],
        "web_url": "https://gitlab.com/acme/tools/shop/-/commit/ed899a2f",
    })
}

fn call(config: Value) -> Result<std::collections::BTreeMap<String, Value>> {
    let mut merged = json!({ "project": "acme/tools/shop" });
    merged.as_object_mut().expect("an object").extend(config.as_object().expect("an object").clone());
    let outputs = fake::call(gitlab_sync, json!({}), merged)?;
    fake::commit();
    Ok(outputs)
}

#[test]
fn issues_and_commits_are_kept_in_the_shape_that_plugins_share() {
    fake::http("GET", format!("{API}/issues*")).reply_json(200, &json!([issue(6, "2016-01-04T15:31:51.081Z")]));
    fake::http("GET", format!("{API}/repository/commits*")).reply_json(200, &json!([commit()]));
    let outputs = call(json!({})).expect("synced");
    assert_eq!(outputs["issues"], json!(["gitlab:acme/tools/shop#6"]));
    let kept: Issue = fake::collection("issues").get("gitlab:acme/tools/shop#6").expect("it is kept");
    assert_eq!(
        (kept.state, kept.author.as_deref(), kept.updated_at.as_str()),
        (State::Open, Some("eileen"), "2016-01-04T15:31:51Z")
    );
    assert_eq!((kept.labels, kept.assignees), (vec!["bug".into(), "ui".into()], vec!["root".into()]));
    let key = outputs["commits"][0].as_str().expect("a key");
    let kept: Commit = fake::collection("commits").get(key).expect("it is kept");
    assert_eq!(
        (kept.title.as_str(), kept.created_at.as_str()),
        ("Replace sanitize with escape once and for all", "2021-09-20T09:50:22Z")
    );
    assert_eq!(kept.parents.len(), 1);
}

#[test]
fn lists_are_asked_for_as_gitlab_wants_it() {
    fake::http("GET", format!("{API}/issues*")).reply_json(200, &json!([issue(6, "2016-01-04T15:31:51.081Z")]));
    fake::http("GET", format!("{API}/repository/commits*")).reply_json(200, &json!([commit()]));
    for _ in 0..2 {
        call(json!({ "branch": "main" })).expect("synced");
    }
    let urls: Vec<String> = fake::requests().into_iter().map(|request| request.url).collect();
    let issues = format!("{API}/issues?per_page=100&scope=all&state=all&order_by=updated_at&sort=asc");
    let commits = format!("{API}/repository/commits?per_page=100&ref_name=main");
    assert_eq!(urls[0], issues);
    assert_eq!(urls[1], commits);
    assert_eq!(urls[2], format!("{issues}&updated_after=2016-01-04T15%3A31%3A51Z"));
    assert_eq!(urls[3], format!("{commits}&since=2021-09-13T09%3A50%3A22Z"), "a week before the newest");
}

#[test]
fn limits_of_gitlab_are_waited_for_and_other_refusals_are_permanent() {
    let used_up = fake::answer(429)
        .header("RateLimit-Remaining", "0")
        .header("RateLimit-Reset", "784111837")
        .header("Date", "Sun, 06 Nov 1994 08:49:37 GMT");
    for (answer, kind, wait) in [
        (used_up, ErrorKind::Retryable, Some(61)),
        (fake::answer(429).header("retry-after", "5"), ErrorKind::Retryable, Some(5)),
        (fake::answer(500), ErrorKind::Retryable, None),
        (fake::answer(404).json(&json!({ "message": "404 Project Not Found" })), ErrorKind::Permanent, None),
        (fake::answer(401), ErrorKind::Permanent, None),
    ] {
        fake::reset();
        fake::http("GET", format!("{API}/issues*")).reply(answer.clone());
        let error = call(json!({})).expect_err("a refusal");
        assert_eq!((error.kind(), error.retry_after()), (kind, wait.map(Duration::from_secs)), "{answer:?}");
    }
}

#[test]
fn a_project_is_a_path_or_an_id() {
    fake::http("GET", "https://gitlab.com/api/v4/projects/42/issues*").reply_json(200, &json!([]));
    call(json!({ "project": "42", "commits": null })).expect("synced");
    for name in ["shop", "acme//shop", "acme/..", "a b/c", "acme/shop?x", ""] {
        let error = call(json!({ "project": name })).expect_err("no project");
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{name}");
    }
}
