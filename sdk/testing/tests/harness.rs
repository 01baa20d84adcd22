//! The harness itself, on a guest that does what it is told.

use std::{path::Path, time::Duration};

use serde_json::{Value, json};
use trellis_testing::{CallLimits, Change, FailureKind, LogLevel, Plugin, Request, Response};

fn plugin() -> Plugin {
    Plugin::build(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/guests/misbehave"))
}

fn fetch(method: &str, url: &str) -> Value {
    json!({"do": "fetch", "method": method, "url": url})
}

#[test]
fn a_mock_answers_the_requests_that_its_pattern_covers() {
    let plugin = plugin()
        .http_mock("GET", "https://api.example.com/users/*", Response::json(200, json!({"name": "ada"})))
        .http_mock("GET", "https://api.example.com/users/7", Response::status(404).header("x-reason", "gone"));
    let found = plugin.call("in", fetch("GET", "https://api.example.com/users/1?full=yes"));
    assert_eq!(found.emitted("out")["body"], json!(r#"{"name":"ada"}"#));
    assert_eq!(found.requests[0].url, "https://api.example.com/users/1?full=yes");
    assert!(!found.outside_effect);
    // The later mock is the finer one.
    let missing = plugin.call("in", fetch("GET", "https://api.example.com/users/7"));
    assert_eq!(missing.emitted("out")["status"], json!(404));
    assert_eq!(missing.emitted("out")["headers"], json!([["x-reason", "gone"]]));
}

#[test]
fn requests_are_kept_as_they_would_have_gone_out() {
    for way in ["fetch", "wasi-http"] {
        let action = json!({
            "do": way, "method": "POST", "url": "https://api.example.com/tasks",
            "headers": [["X-Custom", "yes"]], "body": r#"{"n":1}"#,
        });
        let report =
            plugin().http_mock("POST", "https://api.example.com/tasks", Response::status(201)).call("in", action);
        let request = &report.requests[0];
        assert_eq!((request.method.as_str(), request.url.as_str()), ("POST", "https://api.example.com/tasks"));
        assert_eq!(request.header("x-custom"), Some("yes"));
        assert_eq!(request.header("idempotency-key"), Some("run_0000000000001-node-1"));
        assert_eq!(request.json::<Value>(), json!({"n": 1}));
        assert!(report.outside_effect);
        assert_eq!(report.metering.request_bytes, 7);
    }
}

#[test]
fn replies_can_come_in_turn_or_from_a_function() {
    let url = "https://api.example.com/";
    let times = json!({"do": "fetch-times", "request": {"method": "GET", "url": url}, "times": 3});
    let in_turn = vec![Response::status(503), Response::text(200, "up")];
    let report = plugin().http_mock("GET", url, in_turn).call("in", times);
    let statuses: Vec<_> =
        report.emitted("out").as_array().expect("a list").iter().map(|answer| &answer["status"]).collect();
    assert_eq!(statuses, [503, 200, 200]);

    let echo = |request: &Request| Response::text(200, request.method.clone());
    let report = plugin().http_mock("*", url, echo).call("in", fetch("put", url));
    assert_eq!(report.emitted("out")["body"], json!("PUT"));
}

#[test]
fn a_service_can_be_down() {
    let url = "https://api.example.com/";
    for (response, error) in [
        (Response::connection_refused(), "Transport(\"cannot connect: connection refused\")"),
        (Response::timeout(), "Timeout"),
        (Response::status(200).after(Duration::from_secs(60)), "Timeout"),
    ] {
        let action = json!({"do": "fetch", "method": "GET", "url": url, "timeout_ms": 50});
        let report = plugin().http_mock("GET", url, response).call("in", action);
        let seen = report.emitted("out")["error"].as_str().expect("an error");
        assert!(seen.contains(error), "{seen}");
    }
}

#[test]
fn a_request_without_a_mock_is_not_granted_and_one_granted_without_a_mock_is_told_so() {
    let denied = plugin().call("in", fetch("GET", "https://api.example.com/"));
    denied.assert_logged("is not granted");
    assert!(denied.requests.is_empty());
    let granted = plugin().grants(&["GET https://api.example.com/*"], &[]);
    granted
        .call("in", fetch("GET", "https://api.example.com/x?key=secret"))
        .assert_logged("add `.http_mock(\"GET\", \"https://api.example.com/x\", …)`");
}

#[test]
fn grants_of_the_test_count_and_not_its_mocks() {
    let report = plugin()
        .http_mock("*", "https://api.example.com/*", Response::status(200))
        .grants(&["GET https://api.example.com/public/*"], &["cache:r"])
        .call("in", fetch("POST", "https://api.example.com/public/a"));
    report.assert_logged("POST https://api.example.com/ is not granted");
}

#[test]
fn a_credential_goes_out_with_the_request_and_a_secret_is_read_and_the_report_shows_neither() {
    let plugin = plugin()
        .http_mock("GET", "https://api.example.com/*", Response::status(200))
        .credential("github", "api.example.com", "authorization: Bearer {secret}", "t0ken-of-tests")
        .secret("key", "s3cret-of-tests");
    let report = plugin.call("in", fetch("GET", "https://api.example.com/"));
    assert_eq!(report.requests[0].header("authorization"), Some("Bearer t0ken-of-tests"));
    let read = plugin.call("in", json!({"do": "secret", "name": "key"}));
    assert_eq!(read.output::<usize>("out"), "s3cret-of-tests".len());
    let told = plugin.call("in", json!({"do": "secret", "name": "key", "tell": "log"}));
    told.assert_logged("it is [redacted]");
    assert!(!format!("{told:?}").contains("s3cret"), "{told:?}");
    let denied = plugin.call("in", json!({"do": "secret", "name": "github"}));
    assert!(denied.emitted("out")["error"].as_str().is_some_and(|error| error.contains("grants.secret")), "{denied:?}");
}

#[test]
fn storage_is_committed_after_a_call_that_succeeds_and_only_then() {
    let plugin = plugin().storage("cache", "n", "40").store("names");
    let operations = json!([{"add": ["cache", "n", 2]}, {"set": ["names", "a", "ada"]}, {"get": ["cache", "n"]}]);
    let report = plugin.call("in", json!({"do": "storage", "operations": operations}));
    assert_eq!(report.emitted("out")[2], json!(["42", 0]));
    assert_eq!(report.written("cache", "n"), Some(&Change::Add { delta: 2 }));
    assert_eq!(report.written_text("names", "a"), "ada");
    assert_eq!(plugin.stored("cache", "n").as_deref(), Some(b"42".as_slice()));

    let operations = json!([{"delete": ["cache", "n"]}]);
    let report = plugin.call("in", json!({"do": "storage-then-panic", "operations": operations}));
    report.assert_failed(FailureKind::Trapped, "after the writes");
    assert!(report.writes.is_empty());
    assert_eq!(plugin.stored("cache", "n").as_deref(), Some(b"42".as_slice()));
}

#[test]
#[should_panic(expected = "cannot add 1 to `text` in store `cache`, key `n`: a host would not commit this call")]
fn what_a_host_would_not_commit_fails_the_test() {
    let operations = json!([{"add": ["cache", "n", 1]}]);
    plugin().storage("cache", "n", "text").call("in", json!({"do": "storage", "operations": operations}));
}

#[test]
fn time_stands_still_where_the_test_sets_it() {
    let report = plugin().clock("2001-09-09T01:46:40Z").call("in", json!({"do": "clock"}));
    assert_eq!(report.output::<u64>("out"), 1_000_000_000);
}

#[test]
fn limits_are_the_real_ones() {
    let limits = CallLimits { wall_ms: 100, ..CallLimits::default() };
    let report = plugin().limits(limits).call("in", json!({"do": "sleep", "ms": 60_000}));
    report.assert_failed(FailureKind::TimedOut, "took longer than its limit of 100 ms");
}

#[test]
fn config_event_and_log_are_those_of_a_call() {
    let plugin = plugin().config(json!({"factor": 2})).attribute("trigger", "tasks").attempt(3);
    let seen = plugin.call("in", json!({"do": "echo"}));
    assert_eq!(seen.emitted("out")["config"], json!(r#"{"factor":2}"#));
    assert_eq!(seen.emitted("out")["attempt"], json!(3));
    assert_eq!(seen.emitted("out")["attributes"], json!([["trigger", "tasks"]]));
    let logged = plugin.call("in", json!({"do": "log", "message": "hello", "times": 1}));
    assert_eq!((logged.log[0].level, logged.log[0].message.as_str()), (LogLevel::Info, "hello"));
    plugin.call("in", json!({"do": "emit", "emissions": []})).assert_emitted_nothing();
    assert_eq!(plugin.description().title, "Misbehave");
    assert!(plugin.imports().iter().any(|name| name.starts_with("wasi:http/")));
}

#[tokio::test]
async fn the_harness_works_inside_a_runtime_too() {
    assert_eq!(plugin().call("in", json!({"do": "random", "bytes": 3})).emitted("out"), &json!(3));
}

#[test]
#[should_panic(expected = "did you mean `in`?")]
fn an_input_that_does_not_exist_fails_the_test() {
    plugin().call("on", json!(1));
}

#[test]
#[should_panic(expected = "the input `in` is required")]
fn a_missing_input_fails_the_test() {
    plugin().call_with([]);
}

#[test]
#[should_panic(expected = "outcome: failed (Permanent): because")]
fn an_assertion_tells_what_happened_instead() {
    let action = json!({"do": "fail", "kind": "permanent", "message": "because", "after_ms": null});
    plugin().call("in", action).emitted("out");
}

#[test]
#[should_panic(expected = "a core WebAssembly module, not a component")]
fn bytes_that_are_no_plugin_are_explained() {
    Plugin::from_bytes(*b"\0asm\x01\0\0\0");
}

#[test]
#[should_panic(expected = "`yesterday` is no time")]
fn a_time_that_is_none_fails_the_test() {
    let _plugin = plugin().clock("yesterday");
}

#[test]
#[should_panic(expected = "only http and https can be granted")]
fn a_mock_that_can_match_nothing_fails_the_test() {
    let _plugin = plugin().http_mock("GET", "ftp://example.com/", Response::status(200));
}

#[test]
fn emitted_events_are_in_the_report() {
    let action = json!({"do": "outbox", "events": [["pick", "{\"n\":1}", [["tenant", "7"]]], ["audit", "2"]]});
    let report = plugin().grid("pick").call("in", action.clone());
    assert_eq!(report.emitted_to("pick"), [&json!({"n": 1})]);
    assert_eq!(report.events[0].attributes, [("tenant".to_owned(), "7".to_owned())]);
    let refused = report.emitted("out")[1]["error"].as_str().expect("the other grid was not granted");
    assert!(refused.contains("add \"audit\" to `grants.emit`"), "{refused}");
    assert_eq!(report.metering.events_emitted, 1);

    let last = plugin().grid("pick").attribute("hops", "16").call("in", action.clone());
    let refused = last.emitted("out")[0]["error"].as_str().expect("the chain ends");
    assert!(refused.starts_with("hop limit: 16 emissions"), "{refused}");

    let action = json!({"do": "outbox-then-panic", "events": [["pick", "1"]]});
    assert!(plugin().grid("pick").call("in", action).events.is_empty(), "nothing is emitted by a call that fails");
}

#[test]
fn a_call_that_meets_a_full_target_is_suspended_unless_it_can_only_wait() {
    let full = |seconds| {
        let url = "https://*.example.com/*";
        plugin().http_mock("*", url, Response::status(200)).full_target("*.example.com", Duration::from_secs(seconds))
    };
    let report = full(60).call("in", fetch("POST", "https://eu.example.com/"));
    let suspended = report.suspended.as_ref().expect("suspended");
    assert_eq!((suspended.target.as_str(), suspended.wait), ("*.example.com", Duration::from_secs(60)));
    assert!(report.requests.is_empty() && report.failure.is_none());

    let report = full(60)
        .http_mock("POST", "https://example.net/", Response::status(200))
        .call("in", fetch("POST", "https://example.net/"));
    assert!(report.suspended.is_none() && report.requests.len() == 1);
}

#[test]
fn reported_progress_is_in_the_report() {
    let reports = json!([[0.25, "a quarter"], [7.0, "done"]]);
    let report = plugin().call("in", json!({"do": "progress", "reports": reports}));
    let seen: Vec<_> = report.progress.iter().map(|one| (one.fraction, one.text.as_str())).collect();
    assert_eq!(seen, [(0.25, "a quarter"), (1.0, "done")]);
}
