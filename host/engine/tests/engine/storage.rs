//! Storage as a guest sees it, and what it leaves for the commit.

use std::sync::Arc;

use serde_json::{Value, json};
use trellis_engine::{Change, Effects, ReadVersion, Write};
use trellis_model::call_limits::CallLimits;

use crate::support::{Committed, Fixture, effects};

async fn fixture(entries: &[(&str, &str, &str, u64)]) -> Fixture {
    Fixture { storage: Committed::of(entries), ..Fixture::new().await.grant(&[], &["cache:rw", "names:r"]) }
}

async fn perform(fixture: &Fixture, operations: Value) -> (Value, Effects) {
    let effects = effects(fixture.call(json!({"do": "storage", "operations": operations})).await);
    let results = serde_json::from_str(effects.emissions[0].json.get()).expect("JSON");
    (results, effects)
}

fn read(key: &str, revision: u64) -> ReadVersion {
    ReadVersion { store: "cache".to_owned(), key: key.to_owned(), revision }
}

fn write(key: &str, change: Change) -> Write {
    Write { store: "cache".to_owned(), key: key.to_owned(), change }
}

fn set(key: &str, value: &str) -> Write {
    write(key, Change::Set { value: value.as_bytes().to_vec(), ttl_ms: None })
}

#[tokio::test]
async fn reads_see_committed_state_and_own_writes() {
    let fixture = fixture(&[("cache", "a", "1", 7), ("names", "x", "n", 3)]).await;
    let operations = json!([
        {"get": ["cache", "a"]}, {"get": ["cache", "b"]}, {"get": ["names", "x"]},
        {"set": ["cache", "a", "2"]}, {"get": ["cache", "a"]},
        {"delete": ["cache", "a"]}, {"get": ["cache", "a"]},
        {"set-for": ["cache", "b", "3", 60_000]}, {"get": ["cache", "b"]},
    ]);
    let (results, effects) = perform(&fixture, operations).await;
    let expected = json!([["1", 7], null, ["n", 3], "ok", ["2", 0], "ok", null, "ok", ["3", 0]]);
    assert_eq!(results, expected);
    let names = ReadVersion { store: "names".to_owned(), ..read("x", 3) };
    assert_eq!(effects.reads, [read("a", 7), read("b", 0), names]);
    let with_ttl = write("b", Change::Set { value: b"3".to_vec(), ttl_ms: Some(60_000) });
    assert_eq!(effects.writes, [write("a", Change::Delete), with_ttl]);
}

#[tokio::test]
async fn additions_add_up_and_read_nothing() {
    let fixture = fixture(&[("cache", "n", "40", 7)]).await;
    let (results, effects) =
        perform(&fixture, json!([{"add": ["cache", "n", 5]}, {"add": ["cache", "n", -3]}, {"add": ["cache", "m", 1]}]))
            .await;
    assert_eq!(results, json!(["ok", "ok", "ok"]));
    assert_eq!(effects.reads, []);
    assert_eq!(effects.writes, [write("m", Change::Add { delta: 1 }), write("n", Change::Add { delta: 2 })]);
}

#[tokio::test]
async fn an_addition_that_is_read_counts_as_read() {
    let fixture = fixture(&[("cache", "n", "40", 7), ("cache", "t", "text", 8)]).await;
    let operations = json!([
        {"add": ["cache", "n", 2]}, {"get": ["cache", "n"]},
        {"set": ["cache", "s", "5"]}, {"add": ["cache", "s", 1]},
        {"delete": ["cache", "d"]}, {"add": ["cache", "d", 1]},
        {"set": ["cache", "x", "no number"]}, {"add": ["cache", "x", 1]},
        {"add": ["cache", "t", 1]}, {"get": ["cache", "t"]},
        {"set": ["cache", "big", i64::MAX.to_string()]}, {"add": ["cache", "big", 1]},
    ]);
    let (results, effects) = perform(&fixture, operations).await;
    let no_number = json!({"error": "invalid: `add` needs a decimal integer of 64 bits"});
    assert_eq!(results[1], json!(["42", 0]));
    assert_eq!(results[7], no_number);
    assert_eq!(results[9], no_number);
    assert_eq!(results[11], json!({"error": format!("invalid: {} plus 1 does not fit 64 bits", i64::MAX)}));
    assert_eq!(effects.reads, [read("n", 7), read("t", 8)]);
    assert!(effects.writes.contains(&set("s", "6")) && effects.writes.contains(&set("d", "1")), "{effects:?}");
}

#[tokio::test]
async fn a_write_can_expect_a_revision() {
    let fixture = fixture(&[("cache", "a", "1", 7)]).await;
    let operations = json!([
        {"set-if": ["cache", "a", "2", 6]}, {"set-if": ["cache", "a", "2", 0]}, {"set-if": ["cache", "a", "2", 7]},
        {"set-if": ["cache", "new", "x", 1]}, {"set-if": ["cache", "new", "x", 0]},
    ]);
    let (results, effects) = perform(&fixture, operations).await;
    let conflict = json!({"error": "conflict"});
    assert_eq!(results, json!([conflict, conflict, "ok", conflict, "ok"]));
    assert_eq!(effects.reads, [read("a", 7), read("new", 0)]);
    assert_eq!(effects.writes, [set("a", "2"), set("new", "x")]);
}

#[tokio::test]
async fn writes_of_earlier_nodes_of_the_run_are_seen_and_not_checked_again() {
    let fixture = fixture(&[("cache", "a", "from an earlier node", 0)]).await;
    let (results, effects) = perform(&fixture, json!([{"get": ["cache", "a"]}])).await;
    assert_eq!(results, json!([["from an earlier node", 0]]));
    assert_eq!(effects.reads, []);
}

#[tokio::test]
async fn lists_are_pages_with_own_writes_laid_over() {
    let entries: Vec<(String, u64)> = (0..5).map(|number| (format!("k{number}"), number + 1)).collect();
    let entries: Vec<_> = entries.iter().map(|(key, revision)| ("cache", key.as_str(), "v", *revision)).collect();
    let fixture = fixture(&entries).await;
    let operations = json!([
        {"list": ["cache", "k", null, 3]}, {"list": ["cache", "k", "k2", 3]},
        {"set": ["cache", "k1a", "new"]}, {"delete": ["cache", "k0"]}, {"set": ["cache", "z", "other prefix"]},
        {"set": ["cache", "k9", "at the end"]},
        {"list": ["cache", "k", null, 3]}, {"list": ["cache", "k", "k2", 3]}, {"list": ["cache", "", "k4", 9]},
        {"list": ["names", "", null, 9]},
    ]);
    let (results, effects) = perform(&fixture, operations).await;
    assert_eq!(results[0], json!([["k0", "k1", "k2"], "k2"]));
    assert_eq!(results[1], json!([["k3", "k4"], null]));
    assert_eq!(results[6], json!([["k1", "k1a", "k2"], "k2"]));
    assert_eq!(results[7], json!([["k3", "k4", "k9"], null]));
    assert_eq!(results[8], json!([["k9", "z"], null]));
    assert_eq!(results[9], json!([[], null]));
    assert_eq!(effects.reads.len(), 5, "each listed row counts as read: {:?}", effects.reads);
}

#[tokio::test]
async fn stores_need_a_grant_and_their_mode() {
    let fixture = fixture(&[]).await;
    let operations = json!([
        {"get": ["other", "a"]}, {"set": ["names", "a", "1"]}, {"add": ["names", "a", 1]}, {"delete": ["names", "a"]},
        {"get": ["../cache", "a"]}, {"get": ["Cache", "a"]}, {"list": ["other", "", null, 1]},
    ]);
    let (results, effects) = perform(&fixture, operations).await;
    for (place, text) in [
        (0, "store `other` is not granted; add \"other:r\" to `grants.storage`"),
        (1, "store `names` is granted for reading only"),
        (2, "store `names` is granted for reading only"),
        (3, "store `names` is granted for reading only"),
        (4, "store name does not begin with a letter"),
        (5, "store `Cache` is not granted"),
        (6, "store `other` is not granted"),
    ] {
        let error = results[place]["error"].as_str().unwrap_or_default();
        assert!(error.starts_with("denied: ") && error.contains(text), "{place}: {results}");
    }
    assert!(effects.reads.is_empty() && effects.writes.is_empty(), "{effects:?}");
}

#[tokio::test]
async fn keys_that_cannot_be_stored_are_refused() {
    let fixture = fixture(&[]).await;
    let operations = json!([
        {"get": ["cache", ""]}, {"set": ["cache", "a\0b", "1"]}, {"delete": ["cache", "x".repeat(513)]},
        {"set": ["cache", "x".repeat(512), "1"]}, {"list": ["cache", "\0", null, 1]},
    ]);
    let (results, _) = perform(&fixture, operations).await;
    assert_eq!(results[0], json!({"error": "invalid: the key is empty"}));
    assert_eq!(results[1], json!({"error": "invalid: the key has a NUL character"}));
    assert_eq!(results[2], json!({"error": "invalid: the key is 513 bytes long, at most 512 are allowed"}));
    assert_eq!(results[3], json!("ok"));
    assert_eq!(results[4], json!({"error": "invalid: the prefix has a NUL character"}));
}

#[tokio::test]
async fn operations_and_bytes_are_bounded() {
    let limits = CallLimits { storage_operations: 4, storage_write_bytes: 1_000, ..CallLimits::default() };
    let fixture = Fixture { limits, ..fixture(&[]).await };
    let operations = json!([
        {"set-bytes": ["cache", "a", 900]}, {"set-bytes": ["cache", "b", 200]}, {"set-bytes": ["cache", "a", 100]},
        {"set-bytes": ["cache", "b", 200]}, {"get": ["cache", "a"]},
    ]);
    let (results, effects) = perform(&fixture, operations).await;
    assert_eq!(results[0], json!("ok"));
    assert_eq!(
        results[1],
        json!({"error": "limit: storage writes of 1112 bytes, at most 1000 bytes a call are allowed"})
    );
    assert_eq!((&results[2], &results[3]), (&json!("ok"), &json!("ok")));
    assert_eq!(results[4], json!({"error": "limit: used up its limit of 4 storage operations a call"}));
    assert_eq!(effects.writes.len(), 2);
}

#[tokio::test]
async fn trouble_with_the_database_is_told_to_the_guest() {
    let storage = Arc::new(Committed { unavailable: true, ..Committed::default() });
    let fixture = Fixture { storage, ..fixture(&[]).await };
    let (results, _) = perform(&fixture, json!([{"get": ["cache", "a"]}])).await;
    assert_eq!(results, json!([{"error": "other: storage is not available: no connection"}]));
}

#[tokio::test]
async fn prefixes_and_cursors_are_bounded_like_keys() {
    let limits = CallLimits { storage_key_bytes: 20, ..CallLimits::default() };
    let fixture = Fixture { limits, ..fixture(&[("cache", "a", "1", 7)]).await };
    let long = "x".repeat(21);
    let operations = json!([
        {"list": ["cache", long, null, 1]}, {"list": ["cache", "", long, 1]}, {"list": ["cache", "", "\0", 1]},
        {"get": ["cache", long]}, {"list": ["cache", "", null, 1]},
    ]);
    let (results, _) = perform(&fixture, operations).await;
    let too_long = |what| json!({"error": format!("invalid: {what} is 21 bytes long, at most 20 are allowed")});
    assert_eq!(results[0], too_long("the prefix"));
    assert_eq!(results[1], too_long("`after`"));
    assert_eq!(results[2], json!({"error": "invalid: `after` has a NUL character"}));
    assert_eq!(results[3], too_long("the key"));
    assert_eq!(results[4], json!([["a"], "a"]));
}

#[tokio::test]
async fn keys_written_and_read_and_pages_are_bounded() {
    let entries = ["k1", "k2", "k3", "k4", "k5"].map(|key| ("cache", key, "v", 1));
    let limits = CallLimits { storage_writes: 2, storage_reads: 3, storage_page_keys: 2, ..CallLimits::default() };
    let fixture = Fixture { limits, ..fixture(&entries).await };
    let operations = json!([
        {"set": ["cache", "a", "1"]}, {"add": ["cache", "b", 1]}, {"set": ["cache", "c", "1"]},
        {"delete": ["cache", "d"]}, {"set": ["cache", "a", "2"]},
        {"list": ["cache", "k", null, 100]}, {"get": ["cache", "k3"]}, {"get": ["cache", "k4"]}, {"get": ["cache", "k1"]},
        {"list": ["cache", "k", "k3", 2]},
    ]);
    let (results, effects) = perform(&fixture, operations).await;
    let written = json!({"error": "limit: used up its limit of 2 keys written a call"});
    let read = json!({"error": "limit: used up its limit of 3 keys read a call"});
    let page = json!([["k1", "k2"], "k2"]);
    let expected = json!(["ok", "ok", written, written, "ok", page, ["v", 1], read, ["v", 1], read]);
    assert_eq!(results, expected);
    assert_eq!((effects.writes.len(), effects.reads.len()), (2, 3));
}

#[tokio::test]
async fn a_time_to_live_is_some_time_and_not_for_ever() {
    let limits = CallLimits { storage_ttl_ms: 5_000, ..CallLimits::default() };
    let fixture = Fixture { limits, ..fixture(&[]).await };
    let operations = json!([
        {"set-for": ["cache", "a", "1", 0]}, {"set-for": ["cache", "a", "1", 5_001]},
        {"set-for": ["cache", "a", "1", 18_446_744_073_709_551_615_u64]}, {"set-for": ["cache", "a", "1", 5_000]},
        {"get": ["cache", "a"]}, {"add": ["cache", "a", 1]},
    ]);
    let (results, effects) = perform(&fixture, operations).await;
    let refused = |ttl: u64| {
        let bounds = "from 1 ms to 5000 ms is allowed; leave it out for a key that stays";
        json!({"error": format!("invalid: a time to live of {ttl} ms: {bounds}")})
    };
    assert_eq!(results, json!([refused(0), refused(5_001), refused(u64::MAX), "ok", ["1", 0], "ok"]));
    let kept = write("a", Change::Set { value: b"2".to_vec(), ttl_ms: Some(5_000) });
    assert_eq!(effects.writes, [kept], "an addition changes the value alone");
}
