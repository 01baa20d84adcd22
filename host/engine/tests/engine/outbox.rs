//! Events for other grids, as a guest emits them and as they are left for the commit.

use serde_json::{Value, json};
use trellis_engine::{Effects, FailureKind};
use trellis_model::call_limits::CallLimits;

use crate::support::{Fixture, effects};

async fn fixture(grids: &[&str]) -> Fixture {
    let mut fixture = Fixture::new().await;
    fixture.grants.emit = grids.iter().map(|grid| (*grid).to_owned()).collect();
    fixture
}

async fn emit(fixture: &Fixture, events: Value) -> (Value, Effects) {
    let effects = effects(fixture.call(json!({"do": "outbox", "events": events})).await);
    let results = serde_json::from_str(effects.emissions[0].json.get()).expect("JSON");
    (results, effects)
}

#[tokio::test]
async fn emitted_events_are_left_for_the_commit_in_order() {
    let fixture = fixture(&["pick", "audit"]).await;
    let events = json!([["pick", "{\"n\":1}"], ["audit", "2", [["tenant", "7"]]], ["pick", "null"]]);
    let (results, effects) = emit(&fixture, events).await;
    assert_eq!(results, json!(["ok", "ok", "ok"]));
    let seen: Vec<_> = effects.events.iter().map(|event| (event.grid.as_str(), event.data.get())).collect();
    assert_eq!(seen, [("pick", "{\"n\":1}"), ("audit", "2"), ("pick", "null")]);
    assert_eq!(effects.events[1].attributes, [("tenant".to_owned(), "7".to_owned())]);
}

#[tokio::test]
async fn only_granted_grids_can_be_emitted_to() {
    let fixture = fixture(&["pick"]).await;
    let (results, effects) =
        emit(&fixture, json!([["audit", "1"], ["../pick", "1"], ["Pick", "1"], ["pick", "1"]])).await;
    let denied = "denied: emitting to grid `audit` is not granted; add \"audit\" to `grants.emit` of this node";
    assert_eq!(results[0]["error"], denied);
    assert_eq!(results[1]["error"], "denied: grid name does not begin with a letter");
    assert!(
        results[2]["error"].as_str().is_some_and(|error| error.contains("grid `Pick` is not granted")),
        "{results}"
    );
    assert_eq!(effects.events.len(), 1, "{effects:?}");
}

#[tokio::test]
async fn what_is_no_event_is_refused() {
    let fixture = fixture(&["pick"]).await;
    let deep = format!("{}{}", "[".repeat(200), "]".repeat(200));
    let events = json!([["pick", "{"], ["pick", deep], ["pick", "1", [["hops", "0"]]], ["pick", "1", [["", "x"]]]]);
    let (results, effects) = emit(&fixture, events).await;
    for (place, expected) in [
        (0, "invalid: the data is no JSON: "),
        (1, "invalid: the data is JSON that is nested deeper than 100 levels"),
        (2, "invalid: the attribute `hops` is set by the host"),
        (3, "invalid: the attribute name `` is empty"),
    ] {
        let error = results[place]["error"].as_str().unwrap_or_default();
        assert!(error.starts_with(expected), "{place}: {error}");
    }
    assert!(effects.events.is_empty(), "{effects:?}");
}

#[tokio::test]
async fn events_and_their_bytes_are_bounded() {
    let limits = CallLimits { outbox_events: 3, outbox_bytes: 1_000, ..CallLimits::default() };
    let fixture = Fixture { limits, ..fixture(&["pick"]).await };
    let times = json!({"do": "outbox-times", "event": ["pick", "1"], "times": 5});
    let report = fixture.call(times).await;
    assert_eq!(report.metering.events_emitted, 3);
    let effects = effects(report);
    let answer: Value = serde_json::from_str(effects.emissions[0].json.get()).expect("JSON");
    assert_eq!(answer, json!([3, {"error": "limit: used up its limit of 3 emitted events a call"}]));
    assert_eq!(effects.events.len(), 3);

    let long = format!("\"{}\"", "x".repeat(600));
    let (results, effects) =
        emit(&fixture, json!([["pick", long], ["pick", "1", [["why", "y".repeat(400)]]], ["pick", "1"]])).await;
    let over = "limit: emitted events of 1014 bytes, at most 1000 bytes a call are allowed";
    assert_eq!(results, json!(["ok", {"error": over}, "ok"]));
    assert_eq!(effects.events.len(), 2);
}

#[tokio::test]
async fn the_largest_event_passes_to_the_host() {
    let limits = CallLimits { outbox_bytes: 20 << 20, ..CallLimits::default() };
    let fixture = Fixture { limits, ..fixture(&["pick"]).await };
    let text = format!("\"{}\"", "x".repeat(9 << 20));
    // The action itself comes in as JSON, too, so that this is a large input as well.
    let (results, effects) = emit(&fixture, json!([["pick", text]])).await;
    assert_eq!((results, effects.events[0].data.get().len()), (json!(["ok"]), (9 << 20) + 2));
}

#[tokio::test]
async fn a_chain_of_emissions_has_an_end() {
    let limits = CallLimits { outbox_hops: 3, ..CallLimits::default() };
    for (hops, is_allowed) in [(None, true), (Some("2"), true), (Some("3"), false), (Some("4000000000"), false)] {
        let attributes = hops.iter().map(|hops| ("hops".to_owned(), (*hops).to_owned())).collect();
        let fixture = Fixture { limits, attributes, ..fixture(&["pick"]).await };
        let (results, effects) = emit(&fixture, json!([["pick", "1"]])).await;
        assert_eq!(effects.events.len(), usize::from(is_allowed), "{hops:?}: {results}");
        if let Some(hops) = hops.filter(|_| !is_allowed) {
            let expected =
                format!("hop limit: {hops} emissions lie between this event and one from outside, and no more than 3");
            assert!(results[0]["error"].as_str().is_some_and(|error| error.starts_with(&expected)), "{results}");
        }
    }
}

#[tokio::test]
async fn nothing_is_emitted_by_a_call_that_fails() {
    let fixture = fixture(&["pick"]).await;
    let action = json!({"do": "outbox-then-panic", "events": [["pick", "1"]]});
    let report = fixture.fails(action, FailureKind::Trapped, "after the events").await;
    assert_eq!(report.metering.events_emitted, 1, "what it did is counted, what it wanted is gone");
}
