//! Requests that a node's config makes of an input, and what becomes of the answers.

use std::time::Duration;

use trellis_sdk::*;

use super::{Answer, Config, http_request};

const URL: &str = "https://api.example.com/users/7";

/// Calls the transformer as the host does: the config is JSON.
fn call(inputs: Value, config: Value) -> Result<Value> {
    fake::call(http_request, inputs, config).map(|mut outputs| outputs.remove("response").expect("the port `response`"))
}

fn answered_with(status: u16, config: &Value) -> Result<Value> {
    fake::reset();
    fake::http("GET", URL).reply_json(status, &json!({ "name": "ann" }));
    let mut merged = json!({ "url": URL });
    merged.as_object_mut().expect("an object").extend(config.as_object().expect("an object").clone());
    call(json!({}), merged)
}

#[test]
fn a_get_needs_no_input() {
    let output = answered_with(200, &json!({})).expect("an answer");
    assert_eq!(
        output,
        json!({ "status": 200, "headers": { "content-type": "application/json" }, "body": { "name": "ann" } })
    );
    let request = &fake::requests()[0];
    assert_eq!((request.method.as_str(), &request.body, request.timeout), ("GET", &None, None));
}

#[test]
fn every_part_of_a_request_takes_values_of_the_input() {
    fake::http("PATCH", "https://api.example.com/users/7%2F8?page=2&q=a%26b").reply(fake::answer(204));
    let config = json!({
        "method": "PATCH",
        "url": "https://api.example.com/users/{/id}",
        "query": { "q": "{/search}", "page": "2" },
        "headers": { "x-user": "user {/id}" },
        "body": { "json": { "tags": "{/tags}", "note": "for {/id}" } },
        "timeout_ms": 1500,
    });
    let output = call(json!({ "in": { "id": "7/8", "search": "a&b", "tags": [1] } }), config).expect("an answer");
    assert_eq!(output, json!({ "status": 204, "headers": {}, "body": null }));
    let request = &fake::requests()[0];
    assert_eq!(request.body.as_deref(), Some(&br#"{"note":"for 7/8","tags":[1]}"#[..]));
    assert_eq!(request.timeout, Some(Duration::from_millis(1500)));
    let header = |name: &str| request.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str());
    assert_eq!((header("x-user"), header("content-type")), (Some("user 7/8"), Some("application/json")));
}

#[test]
fn a_body_is_nothing_the_input_or_a_text() {
    for (body, sent, content_type) in [
        (json!("none"), None, None),
        (json!("input"), Some("{\"a\":[1]}"), Some("application/json")),
        (json!({ "text": "a = {/a/0}" }), Some("a = 1"), Some("text/plain; charset=utf-8")),
    ] {
        fake::reset();
        fake::http("POST", URL).reply(fake::answer(200));
        call(json!({ "in": { "a": [1] } }), json!({ "method": "POST", "url": URL, "body": body })).expect("an answer");
        let request = fake::requests().remove(0);
        assert_eq!(request.body.as_deref(), sent.map(str::as_bytes));
        assert_eq!(request.headers.first().map(|(_, value)| value.as_str()), content_type);
    }
}

#[test]
fn a_content_type_of_the_config_stays() {
    fake::http("POST", URL).reply(fake::answer(200));
    let config =
        json!({ "method": "POST", "url": URL, "headers": { "Content-Type": "text/csv" }, "body": { "text": "a,b" } });
    call(json!({}), config).expect("an answer");
    assert_eq!(fake::requests()[0].headers, [("Content-Type".to_owned(), "text/csv".to_owned())]);
}

#[test]
fn bodies_are_json_text_or_nothing() {
    for (content_type, body, expected) in [
        ("application/json", &b"[1]"[..], json!([1])),
        ("application/problem+json; charset=utf-8", b"{}", json!({})),
        ("application/json", b"[1", json!("[1")),
        ("text/html", b"<p>", json!("<p>")),
        ("image/png", b"\x89PNG", Value::Null),
        ("text/plain", b"", Value::Null),
    ] {
        fake::reset();
        fake::http("GET", URL).reply(fake::answer(200).header("Content-Type", content_type).body(body));
        assert_eq!(call(json!({}), json!({ "url": URL })).expect("an answer")["body"], expected, "{content_type}");
    }
}

#[test]
fn header_fields_of_one_name_are_joined() {
    fake::http("GET", URL).reply(fake::answer(200).header("Link", "<a>").header("link", "<b>").header("ETag", "1"));
    let output = call(json!({}), json!({ "url": URL })).expect("an answer");
    assert_eq!(output["headers"], json!({ "link": "<a>, <b>", "etag": "1" }));
}

#[test]
fn failures_have_the_class_that_their_status_asks_for() {
    for (status, kind) in [
        (302, ErrorKind::Permanent),
        (400, ErrorKind::Permanent),
        (404, ErrorKind::Permanent),
        (408, ErrorKind::Retryable),
        (429, ErrorKind::Retryable),
        (500, ErrorKind::Retryable),
        (503, ErrorKind::Retryable),
    ] {
        let error = answered_with(status, &json!({})).expect_err("a failure");
        assert_eq!(error.kind(), kind, "{status}");
        assert!(error.message().starts_with(&format!("GET api.example.com answered {status}: ")), "{error}");
    }
    assert!(answered_with(302, &json!({})).expect_err("a redirect").message().contains("redirects are not followed"));
}

#[test]
fn accepted_statuses_are_answers() {
    for status in [302, 404, 429, 500] {
        let output = answered_with(status, &json!({ "accept_statuses": [status] })).expect("an answer");
        assert_eq!(output["status"], json!(status));
    }
}

#[test]
fn retry_after_is_honoured() {
    fake::http("GET", URL).reply(fake::answer(429).header("Retry-After", "30"));
    let error = call(json!({}), json!({ "url": URL })).expect_err("too many requests");
    assert_eq!(error.retry_after(), Some(Duration::from_secs(30)));
}

#[test]
fn trouble_on_the_way_is_retryable_and_a_refusal_is_not() {
    for (trouble, kind) in [
        (http::Error::Timeout, ErrorKind::Retryable),
        (http::Error::Transport("connection reset".into()), ErrorKind::Retryable),
        (http::Error::Denied("not granted".into()), ErrorKind::Permanent),
        (http::Error::InvalidRequest("no host".into()), ErrorKind::Permanent),
        (http::Error::TooLarge, ErrorKind::Permanent),
    ] {
        fake::reset();
        fake::http("GET", URL).fail(trouble.clone());
        assert_eq!(call(json!({}), json!({ "url": URL })).expect_err("a failure").kind(), kind, "{trouble}");
    }
}

#[test]
fn what_the_input_lacks_is_found_before_anything_is_sent() {
    for config in [
        json!({ "url": "https://api.example.com/{/id}" }),
        json!({ "url": URL, "headers": { "x": "{/id}" } }),
        json!({ "url": URL, "query": { "x": "{/id}" } }),
        json!({ "url": URL, "method": "POST", "body": "input" }),
        json!({ "url": URL, "method": "POST", "body": { "json": ["{/id}"] } }),
    ] {
        assert_eq!(call(json!({}), config.clone()).expect_err("no input").kind(), ErrorKind::InvalidInput, "{config}");
    }
    assert!(fake::requests().is_empty());
}

#[test]
fn a_bad_config_is_named() {
    for (config, message) in [
        (json!({}), "missing field `url`"),
        (json!({ "url": URL, "method": "BREW" }), "unknown variant `BREW`"),
        (json!({ "url": URL, "header": {} }), "unknown key `header`"),
        (json!({ "url": "https://api.example.com/{id}" }), "`url`: `{id}` is no placeholder"),
    ] {
        let error = call(json!({}), config).expect_err("a bad config");
        assert_eq!(error.kind(), ErrorKind::InvalidConfig);
        assert!(error.message().contains(message), "{error}");
    }
}

#[test]
fn the_function_can_be_called_as_a_function() {
    fake::http("GET", URL).reply_text(200, "hello");
    let Answer::Response(response) =
        http_request(None, Config { url: URL.into(), ..Config::default() }).expect("an answer");
    assert_eq!(response.body, json!("hello"));
}

#[test]
fn ports_are_as_documented() {
    let description = fake::describe(http_request);
    assert_eq!(description["inputs"]["in"]["required"], json!(false));
    let response = &description["outputs"]["response"]["schema"];
    assert_eq!(response["required"], json!(["status", "headers", "body"]));
}
