//! Answers of the shape that GitHub's documentation shows.
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

use super::github_sync;

const API: &str = "https://api.github.com/repos/acme/shop";

fn issue(number: u64, updated_at: &str) -> Value {
    json!({
        "id": 1_000 + number, "node_id": format!("I_{number}"), "number": number, "title": format!("Issue {number}"),
        "url": format!("{API}/issues/{number}"), "html_url": format!("https://github.com/acme/shop/issues/{number}"),
        "user": { "login": "ada", "id": 1, "type": "User" }, "state": "closed", "state_reason": "completed", "locked": false,
        "labels": [{ "id": 7, "name": "bug", "color": "f00" }, "plain"], "assignees": [{ "login": "bob", "id": 2 }],
        "milestone": { "number": 3, "title": "1.2" }, "comments": 4, "body": "It squeaks.",
        "created_at": "2026-01-01T08:00:00Z", "updated_at": updated_at, "closed_at": updated_at,
    })
}

fn commit(sha: &str, message: &str, date: &str) -> Value {
    json!({
        "sha": sha, "node_id": "C_1", "html_url": format!("https://github.com/acme/shop/commit/{sha}"),
        "commit": {
            "author": { "name": "Ada Lovelace", "email": "ada@example.com", "date": "2026-01-01T00:00:00Z" },
            "committer": { "name": "GitHub", "email": "noreply@github.com", "date": date },
            "message": message, "tree": { "sha": "t" },
        },
        "author": { "login": "ada", "id": 1 }, "committer": { "login": "web-flow", "id": 2 }, "parents": [{ "sha": "p1" }, { "sha": "p2" }],
    })
}

fn call(config: Value) -> Result<std::collections::BTreeMap<String, Value>> {
    let mut merged = json!({ "repository": "acme/shop" });
    merged.as_object_mut().expect("an object").extend(config.as_object().expect("an object").clone());
    let outputs = fake::call(github_sync, json!({}), merged)?;
    fake::commit();
    Ok(outputs)
}

#[test]
fn issues_and_commits_are_kept_in_the_shape_that_plugins_share() {
    let mut pull_request = issue(8, "2026-02-02T08:00:00Z");
    pull_request["pull_request"] = json!({ "url": "https://api.github.com/repos/acme/shop/pulls/8" });
    fake::http("GET", format!("{API}/issues*"))
        .reply_json(200, &json!([issue(7, "2026-02-01T08:00:00Z"), pull_request]));
    let commits = json!([commit("5c1f", "fix: the door squeaks no more\n\nCloses #7.", "2026-02-01T09:00:00Z")]);
    fake::http("GET", format!("{API}/commits*")).reply_json(200, &commits);
    let outputs = call(json!({})).expect("synced");
    assert_eq!(
        (&outputs["issues"], &outputs["commits"]),
        (&json!(["github:acme/shop#7"]), &json!(["github:acme/shop@5c1f"]))
    );
    assert_eq!(outputs["synced"]["complete"], json!(true));

    let kept: Issue = fake::collection("issues").get("github:acme/shop#7").expect("it is kept");
    assert_eq!(
        (kept.state, kept.labels, kept.assignees),
        (State::Closed, vec!["bug".into(), "plain".into()], vec!["bob".into()])
    );
    assert_eq!((kept.author.as_deref(), kept.milestone.as_deref()), (Some("ada"), Some("1.2")));
    assert_eq!(kept.details["state_reason"], json!("completed"));
    let kept: Commit = fake::collection("commits").get("github:acme/shop@5c1f").expect("it is kept");
    assert_eq!(kept.title, "fix: the door squeaks no more");
    assert_eq!((kept.author.as_deref(), kept.created_at.as_str()), (Some("ada"), "2026-02-01T09:00:00Z"));
    assert!(kept.message.is_some_and(|message| message.ends_with("Closes #7.")));
    assert_eq!(kept.parents, ["p1", "p2"]);
}

#[test]
fn lists_are_asked_for_as_github_wants_it() {
    fake::http("GET", format!("{API}/issues*")).reply_json(200, &json!([issue(7, "2026-02-01T08:00:00Z")]));
    fake::http("GET", format!("{API}/commits*")).reply_json(200, &json!([]));
    for _ in 0..2 {
        call(json!({ "branch": "release/1.x", "per_page": 50 })).expect("synced");
    }
    let urls: Vec<String> = fake::requests().into_iter().map(|request| request.url).collect();
    let issues = format!("{API}/issues?per_page=50&state=all&sort=updated&direction=asc");
    assert_eq!(urls[0], issues);
    assert_eq!(urls[1], format!("{API}/commits?per_page=50&sha=release%2F1.x"));
    assert_eq!(urls[2], format!("{issues}&since=2026-02-01T08%3A00%3A00Z"));
    let request = &fake::requests()[0];
    for (name, value) in
        [("accept", "application/vnd.github+json"), ("x-github-api-version", "2022-11-28"), ("user-agent", "trellis")]
    {
        assert!(request.headers.contains(&(name.to_owned(), value.to_owned())), "{name}");
    }
}

#[test]
fn limits_of_github_are_waited_for_and_other_refusals_are_permanent() {
    let used_up = fake::answer(403)
        .header("x-ratelimit-remaining", "0")
        .header("x-ratelimit-reset", "784111837")
        .header("date", "Sun, 06 Nov 1994 08:49:37 GMT")
        .json(&json!({ "message": "API rate limit exceeded for user ID 1." }));
    for (answer, kind, wait) in [
        (used_up, ErrorKind::Retryable, Some(61)),
        (fake::answer(429).header("retry-after", "5"), ErrorKind::Retryable, Some(5)),
        (fake::answer(502), ErrorKind::Retryable, None),
        (fake::answer(404).json(&json!({ "message": "Not Found" })), ErrorKind::Permanent, None),
        (fake::answer(401).json(&json!({ "message": "Bad credentials" })), ErrorKind::Permanent, None),
        (fake::answer(301).header("location", "https://api.github.com/repositories/1"), ErrorKind::Permanent, None),
    ] {
        fake::reset();
        fake::http("GET", format!("{API}/issues*")).reply(answer.clone());
        let error = call(json!({})).expect_err("a refusal");
        assert_eq!((error.kind(), error.retry_after()), (kind, wait.map(Duration::from_secs)), "{answer:?}");
    }
}

#[test]
fn the_grid_is_started_again_while_there_is_more() {
    let next = format!("<{API}/issues?page=2>; rel=\"next\"");
    let page = json!([issue(7, "2026-02-01T08:00:00Z")]);
    fake::http("GET", format!("{API}/issues*")).reply(fake::answer(200).header("link", next).json(&page));
    let config = json!({ "commits": null, "pages_max": 1, "continue_in": "sync" });
    assert_eq!(call(config).expect("synced")["synced"]["complete"], json!(false));
    assert_eq!(fake::emitted()[0].data, json!({ "repository": { "full_name": "acme/shop" } }));
}

#[test]
fn a_repository_is_one_and_the_config_is_sound() {
    for name in ["acme", "acme/", "/shop", "acme/shop/x", "acme/..", "a b/c", "acme/shop?x", ""] {
        let error = call(json!({ "repository": name })).expect_err("no repository");
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{name}");
    }
    assert!(call(json!({ "repository": null })).expect_err("none").message().contains("there is no repository"));
    for config in
        [json!({ "per_page": 101 }), json!({ "pages_max": 0 }), json!({ "overlap": "long" }), json!({ "repo": "x" })]
    {
        assert_eq!(call(config).expect_err("a bad config").kind(), ErrorKind::InvalidConfig);
    }
    assert!(fake::requests().is_empty());
}
