//! Fixtures and snapshots: a recorded run on a guest that does what it is told.

use std::path::Path;

use serde_json::{Value, json};
use trellis_testing::{Fixture, Plugin, Response};

fn plugin() -> Plugin {
    Plugin::build(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/guests/misbehave"))
}

/// A run whose nodes were all called on `misbehave`: name, input, outcome, and what else the node has.
fn fixture(nodes: &[(&str, Value, Value, Value)]) -> Fixture {
    Fixture::from_json(&fixture_json(nodes).to_string())
}

fn fixture_json(nodes: &[(&str, Value, Value, Value)]) -> Value {
    let node = |(name, input, outcome, rest): &(&str, Value, Value, Value)| {
        let mut node = json!({
            "node": name,
            "plugin": { "name": "misbehave", "version": "1.0.0" },
            "config": {},
            "inputs": { "in": input },
            "outcome": outcome,
        });
        for (key, value) in rest.as_object().into_iter().flatten() {
            node[key] = value.clone();
        }
        node
    };
    json!({
        "format": 1, "run": "run_0000000000007", "project": "shop", "revision": 3, "grid": "main",
        "accepted_at": "2001-09-09T01:46:40Z", "attributes": { "trigger": "tasks" },
        "nodes": nodes.iter().map(node).collect::<Vec<_>>(),
        "left_out": { "late": "it was skipped" },
    })
}

fn emits(value: &Value) -> Value {
    json!({ "do": "emit", "emissions": [["out", value.to_string()]] })
}

#[test]
fn a_node_is_called_as_it_was_in_the_run() {
    let echoed = json!({
        "attempt": 4, "attributes": [["trigger", "tasks"]], "config": "{\"factor\":2}",
        "idempotency_key": "run_0000000000007-echo", "node": "echo", "run": "run_0000000000007",
    });
    let rest = json!({ "config": { "factor": 2 }, "attempt": 4 });
    let recorded = fixture(&[
        ("echo", json!({ "do": "echo" }), json!({ "emitted": { "out": echoed } }), rest),
        ("clock", json!({ "do": "clock" }), json!({ "emitted": { "out": 1_000_000_000 } }), Value::Null),
    ]);
    let replay = recorded.replay(&plugin());
    let seen = replay.node("echo").report.emitted("out");
    for field in ["attempt", "attributes", "config"] {
        assert_eq!(seen[field], echoed[field], "{seen:#}");
    }
    assert!(replay.node("clock").comparison.is_same(), "{replay}");
}

#[test]
fn what_differs_is_told_by_its_place() {
    let recorded = fixture(&[
        ("same", emits(&json!(1)), json!({ "emitted": { "out": 1 } }), Value::Null),
        (
            "total",
            emits(&json!({ "sum": 13, "lines": [1] })),
            json!({ "emitted": { "out": { "sum": 12, "lines": [1], "currency": "EUR" } } }),
            Value::Null,
        ),
    ]);
    let replay = recorded.replay(&plugin());
    assert!(!replay.is_same());
    let expected =
        "run_0000000000007 differs:\n  node `total`\n    - out#/currency: \"EUR\"\n    ~ out#/sum: 12 → 13\n";
    assert_eq!(replay.to_string(), expected);
    recorded.only(&["same"]).replay(&plugin()).assert_same();
}

#[test]
fn a_failure_that_was_recorded_is_expected_again() {
    let fails = json!({ "do": "fail", "kind": "permanent", "message": "no such order", "after_ms": null });
    let failed = json!({ "failed": { "kind": "permanent", "message": "no such order" } });
    fixture(&[("a", fails.clone(), failed, Value::Null)]).replay(&plugin()).assert_same();
    let replay = fixture(&[("a", fails, json!({ "emitted": {} }), Value::Null)]).replay(&plugin());
    assert!(replay.to_string().contains("+ failure: \"permanent: no such order\""), "{replay}");
}

#[test]
fn stores_and_answers_come_from_the_file_under_the_grants_of_the_run() {
    let url = "https://api.example.com/orders/7";
    let read = json!({ "do": "storage", "operations": [{ "get": ["cache", "n"] }, { "add": ["cache", "n", 1] }] });
    let asked = json!({ "do": "fetch", "method": "GET", "url": url });
    let grants = json!({ "http": ["GET https://api.example.com/*"], "storage": ["cache:rw"] });
    let storage = json!([{ "store": "cache", "key": "n", "value": 41 }]);
    let http = json!([{ "request": format!("GET {url}"), "status": 200, "body": { "id": 7 } }]);
    let recorded = fixture(&[
        ("read", read, json!({ "emitted": { "out": null } }), json!({ "grants": grants, "storage": storage })),
        ("ask", asked.clone(), json!({ "emitted": { "out": null } }), json!({ "grants": grants, "http": http })),
        ("alone", asked, json!({ "emitted": { "out": null } }), json!({ "grants": grants })),
    ]);
    let plugin = plugin();
    for _ in 0..2 {
        let replay = recorded.replay(&plugin);
        assert_eq!(
            replay.node("read").report.emitted("out")[0][0],
            json!("41"),
            "nothing of a replay is kept: {replay}"
        );
        assert_eq!(replay.node("ask").report.emitted("out")["body"], json!("{\"id\":7}"), "{replay}");
        let hint = format!("? nothing answers GET {url}: add {{ \"request\": \"GET {url}\", \"status\": 200");
        assert!(replay.to_string().contains(&hint), "{replay}");
    }
    assert_eq!(plugin.stored("cache", "n"), None);
    let answered = plugin.http_mock("GET", url, Response::status(204));
    assert_eq!(recorded.replay(&answered).node("alone").report.emitted("out")["status"], json!(204));
}

#[test]
fn records_come_from_the_file_under_the_grants_of_the_run() {
    let open = json!({ "query": { "collection": "issues", "filter": [["state", "equal", "open"]] } });
    let put = json!({ "put": ["issues", "8", { "state": "open" }] });
    let works = json!({ "do": "records", "operations": [open, put] });
    let node = |grant: &str| {
        json!({
            "grants": { "records": [grant] },
            "records": [{ "collection": "issues", "key": "7", "data": { "state": "open" } }],
        })
    };
    let nothing = json!({ "emitted": { "out": null } });
    let mut recorded = fixture_json(&[
        ("writes", works.clone(), nothing.clone(), node("issues:rw")),
        ("reads", works, nothing, node("issues:r")),
    ]);
    recorded["collections"] = json!({ "issues": { "indexes": { "state": "/state" } } });
    let recorded = Fixture::from_json(&recorded.to_string());
    let plugin = plugin();
    for _ in 0..2 {
        let replay = recorded.replay(&plugin);
        let found = &replay.node("writes").report.emitted("out")[0];
        assert_eq!(found, &json!([[["7", 1]], null]), "nothing of a replay is kept: {replay}");
        assert!(replay.node("writes").report.put_record("issues", "8").is_some());
        let refused = &replay.node("reads").report;
        assert!(refused.put_record("issues", "8").is_none(), "it may read alone: {refused:?}");
    }
}

#[test]
#[should_panic(expected = "node `late` is not in the fixture: it was skipped")]
fn a_node_that_was_left_out_says_why() {
    let _fixture = fixture(&[]).only(&["late"]);
}

#[test]
#[should_panic(expected = "no node of the fixture was called on this plugin, but on: other")]
fn a_fixture_of_another_plugin_fails_the_test() {
    let other = json!({ "plugin": { "name": "other", "version": "1.0.0" } });
    fixture(&[("a", json!(1), json!({ "emitted": {} }), other)]).replay(&plugin());
}

#[test]
#[should_panic(expected = "sdk/no.json: No such file")]
fn a_file_that_is_not_there_fails_the_test() {
    let _fixture = Fixture::load("sdk/no.json");
}

#[test]
fn a_snapshot_of_a_report_is_the_same_every_time_and_has_no_times_in_it() {
    let url = "https://api.example.com/";
    let plugin = plugin().http_mock("POST", url, Response::status(201)).store("cache").grid("pick");
    let plugin = plugin.collection("issues", json!({}));
    let stable = |action: Value| {
        let (first, second) = (plugin.call("in", action.clone()), plugin.call("in", action));
        assert_eq!(format!("{first:?}"), format!("{second:?}"));
        let serialised = serde_json::to_value(&first).expect("a report can be written as JSON");
        assert_eq!(serde_json::from_str::<Value>(&format!("{first:?}")).expect("JSON"), serialised);
        serialised
    };
    let logged = stable(json!({ "do": "log", "message": "hello", "times": 1 }));
    assert_eq!(logged["log"], json!(["info [misbehave]: hello"]), "{logged:#}");
    let sent = stable(json!({ "do": "fetch", "method": "POST", "url": url, "body": "{\"n\":1}" }));
    assert_eq!(sent["requests"][0]["request"], json!(format!("POST {url}")));
    assert_eq!(sent["requests"][0]["body"], json!({ "n": 1 }));
    let written = stable(json!({ "do": "storage", "operations": [{ "set": ["cache", "a", "ada"] }] }));
    assert_eq!(written["writes"], json!([{ "key": "cache/a", "set": "ada" }]));
    let kept = stable(json!({ "do": "records", "operations": [
        { "put": ["issues", "7", { "state": "open" }] }, { "delete": ["issues", "8"] },
    ] }));
    let expected = json!([{ "key": "issues/7", "put": { "state": "open" } }, { "key": "issues/8", "delete": true }]);
    assert_eq!(kept["records"], expected);
    let emitted = stable(json!({ "do": "outbox", "events": [["pick", "{\"n\":1}", [["tenant", "7"]]]] }));
    assert_eq!(emitted["events"], json!([{ "grid": "pick", "data": { "n": 1 }, "attributes": { "tenant": "7" } }]));
    let failed = stable(json!({ "do": "fail", "kind": "permanent", "message": "no", "after_ms": null }));
    assert_eq!(failed, json!({ "failure": { "kind": "permanent", "message": "no" } }));
}
