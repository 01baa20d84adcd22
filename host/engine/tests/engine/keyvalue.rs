//! `wasi:keyvalue` as a component sees it that knows nothing else, and what it leaves for the commit: the same as `storage`.

use serde_json::{Value, json};
use trellis_engine::{Change, Effects, ReadVersion, Write};
use trellis_model::call_limits::CallLimits;

use crate::support::{Committed, Fixture, effects};

async fn fixture(entries: &[(&str, &str, &str, u64)]) -> Fixture {
    let fixture = Fixture::with_keyvalue().await.grant(&[], &["cache:rw", "names:r"]);
    Fixture { storage: Committed::of(entries), ..fixture }
}

async fn perform(fixture: &Fixture, operations: Value) -> (Value, Effects) {
    let effects = effects(fixture.call(operations).await);
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
async fn the_guest_knows_no_storage_but_wasi_keyvalue() {
    let fixture = fixture(&[]).await;
    let imports = fixture.transformer.imports();
    let own: Vec<&String> = imports.iter().filter(|name| name.starts_with("trellis:")).collect();
    assert_eq!(own, ["trellis:plugin/events@0.1.0"], "the types of what it exports, and nothing to call");
    for interface in ["store", "atomics", "batch"] {
        assert!(imports.contains(&format!("wasi:keyvalue/{interface}@0.2.0-draft2")), "{imports:?}");
    }
}

#[tokio::test]
async fn a_bucket_is_a_granted_store_with_the_same_transaction() {
    let fixture = fixture(&[("cache", "a", "1", 7), ("names", "x", "n", 3)]).await;
    let operations = json!([
        {"get": ["cache", "a"]}, {"get": ["cache", "b"]}, {"exists": ["names", "x"]}, {"exists": ["names", "y"]},
        {"set": ["cache", "a", "2"]}, {"get": ["cache", "a"]}, {"delete": ["cache", "a"]}, {"exists": ["cache", "a"]},
        {"set": ["cache", "c", "3"]},
    ]);
    let (results, effects) = perform(&fixture, operations).await;
    assert_eq!(results, json!(["1", null, true, false, "ok", "2", "ok", false, "ok"]));
    let names = |key: &str, revision| ReadVersion { store: "names".to_owned(), ..read(key, revision) };
    assert_eq!(effects.reads, [read("a", 7), read("b", 0), names("x", 3), names("y", 0)]);
    assert_eq!(effects.writes, [write("a", Change::Delete), set("c", "3")]);
}

#[tokio::test]
async fn stores_without_a_grant_are_denied_and_the_log_says_how_to_mend_it() {
    let fixture = fixture(&[]).await;
    let operations = json!([
        {"get": ["other", "a"]}, {"set": ["names", "a", "1"]}, {"get": ["../x", "a"]}, {"open-times": ["other", 1]},
    ]);
    let report = fixture.call(operations).await;
    let logged: Vec<&str> = report.log.lines.iter().map(|line| line.message.as_str()).collect();
    assert!(logged[0].contains("store `other` is not granted; add \"other:r\" to `grants.storage`"), "{logged:?}");
    assert!(logged[1].contains("store `names` is granted for reading only"), "{logged:?}");
    let effects = effects(report);
    let denied = json!({"error": "access denied"});
    let results: Value = serde_json::from_str(effects.emissions[0].json.get()).expect("JSON");
    assert_eq!(results, json!([denied, denied, denied, [0, denied]]));
    assert!(effects.reads.is_empty() && effects.writes.is_empty(), "{effects:?}");
}

#[tokio::test]
async fn keys_are_listed_page_by_page() {
    let entries: Vec<(String, u64)> = (0..5).map(|number| (format!("k{number}"), number + 1)).collect();
    let entries: Vec<_> = entries.iter().map(|(key, revision)| ("cache", key.as_str(), "v", *revision)).collect();
    let limits = CallLimits { storage_page_keys: 3, ..CallLimits::default() };
    let fixture = Fixture { limits, ..fixture(&entries).await };
    let operations = json!([
        {"set": ["cache", "k1a", "new"]}, {"list-keys": ["cache", null]}, {"list-keys": ["cache", "k1a"]},
        {"list-keys": ["cache", "k4"]}, {"list-keys": ["names", null]},
    ]);
    let (results, effects) = perform(&fixture, operations).await;
    assert_eq!(results[1], json!([["k0", "k1", "k1a"], "k1a"]));
    assert_eq!(results[2], json!([["k2", "k3", "k4"], "k4"]));
    assert_eq!(results[3], json!([[], null]));
    assert_eq!(results[4], json!([[], null]));
    assert_eq!(effects.reads.len(), 5);
}

#[tokio::test]
async fn an_increment_is_an_addition_whose_sum_counts_as_read() {
    let fixture = fixture(&[("cache", "n", "40", 7), ("cache", "t", "text", 8)]).await;
    let operations = json!([
        {"increment": ["cache", "n", 2]}, {"increment": ["cache", "n", -1]}, {"increment": ["cache", "new", 5]},
        {"increment": ["cache", "t", 1]}, {"set": ["cache", "big", i64::MAX.to_string()]},
        {"increment": ["cache", "big", 1]}, {"increment": ["names", "n", 1]},
    ]);
    let (results, effects) = perform(&fixture, operations).await;
    assert_eq!((&results[0], &results[1], &results[2]), (&json!(42), &json!(41), &json!(5)));
    assert_eq!(results[3], json!({"error": "other: `add` needs a decimal integer of 64 bits"}));
    assert_eq!(results[5], json!({"error": format!("other: {} plus 1 does not fit 64 bits", i64::MAX)}));
    assert_eq!(results[6], json!({"error": "access denied"}));
    assert_eq!(effects.reads, [read("n", 7), read("new", 0), read("t", 8)]);
    let added = |key, delta| write(key, Change::Add { delta });
    let writes = [set("big", &i64::MAX.to_string()), added("n", 1), added("new", 5)];
    assert_eq!(effects.writes, writes, "no addition is left where the increment failed");
}

#[tokio::test]
async fn a_swap_goes_through_unless_the_key_was_written_since() {
    let fixture = fixture(&[("cache", "a", "1", 7)]).await;
    let operations = json!([
        {"swap": ["cache", "a", "2"]}, {"swap": ["cache", "new", "x"]},
        {"swap-after-set": ["cache", "b", "between", "after"]}, {"get": ["cache", "b"]},
        {"swap": ["names", "a", "1"]},
    ]);
    let (results, effects) = perform(&fixture, operations).await;
    let denied = json!({"error": "access denied"});
    let expected = json!([["1", "swapped"], [null, "swapped"], ["between", "swapped"], "after", [null, denied]]);
    assert_eq!(results, expected);
    let names = ReadVersion { store: "names".to_owned(), ..read("a", 0) };
    let reads = [read("a", 7), read("b", 0), read("new", 0), names];
    assert_eq!(effects.reads, reads, "what others write meanwhile the commit finds out");
    assert_eq!(effects.writes, [set("a", "2"), set("b", "after"), set("new", "x")]);
}

#[tokio::test]
async fn many_keys_at_once_are_as_many_operations() {
    let fixture = fixture(&[("cache", "a", "1", 7)]).await;
    let operations = json!([
        {"set-many": ["cache", [["b", "2"], ["c", "3"]]]}, {"get-many": ["cache", ["a", "b", "x"]]},
        {"delete-many": ["cache", ["b", "y"]]},
    ]);
    let report = fixture.call(operations).await;
    assert_eq!(report.metering.storage_operations, 7);
    let effects = effects(report);
    let results: Value = serde_json::from_str(effects.emissions[0].json.get()).expect("JSON");
    assert_eq!(results, json!(["ok", [["a", "1"], ["b", "2"], null], "ok"]));
    assert_eq!(effects.writes, [write("b", Change::Delete), set("c", "3"), write("y", Change::Delete)]);
}

#[tokio::test]
async fn the_limits_of_storage_hold_here_too() {
    let limits = CallLimits { storage_operations: 3, storage_write_bytes: 1_000, ..CallLimits::default() };
    let limited = Fixture { limits, ..fixture(&[]).await };
    let operations = json!([
        {"set-bytes": ["cache", "a", 2_000]}, {"get-many": ["cache", ["a", "b", "c"]]}, {"exists": ["cache", "a"]},
    ]);
    let (results, _) = perform(&limited, operations).await;
    let bytes = "other: storage writes of 2006 bytes, at most 1000 bytes a call are allowed";
    let used_up = json!({"error": "other: used up its limit of 3 storage operations a call"});
    assert_eq!(results, json!([{"error": bytes}, used_up, used_up]));

    let limits = CallLimits { storage_batch_bytes: 1_000, ..CallLimits::default() };
    let large = "x".repeat(600);
    let limited = Fixture { limits, ..fixture(&[("cache", "a", &large, 1), ("cache", "b", &large, 2)]).await };
    let (results, _) =
        perform(&limited, json!([{"get-many": ["cache", ["a", "b"]]}, {"get-many": ["cache", ["a"]]}])).await;
    let too_much = "other: the values have more than 1000 bytes together; ask for fewer keys at a time";
    assert_eq!(results[0], json!({ "error": too_much }));
    assert_eq!(results[1][0][0], "a");
}

#[tokio::test]
async fn handles_are_bounded_and_the_guest_is_told() {
    let fixture = fixture(&[]).await;
    let (results, _) = perform(&fixture, json!([{"open-times": ["cache", 5_000]}, {"get": ["cache", "a"]}])).await;
    let error = results[0][1]["error"].as_str().unwrap_or_default();
    assert!(results[0][0].as_u64() < Some(5_000) && error.starts_with("other: no further handle"), "{results}");
    assert_eq!(results[1], Value::Null, "with the buckets closed there is room again");
}
