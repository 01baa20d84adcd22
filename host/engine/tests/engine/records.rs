//! Records as a guest sees them, and what it leaves for the commit.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use serde_json::{Value, json};
use trellis_engine::{
    Effects, FoundPage, FoundRecord, ManagedData, PageSize, Record, RecordVersion, RecordWrite, Records, RecordsFailed,
};
use trellis_model::{
    call_limits::CallLimits,
    manifest::Manifest,
    records::{Collections, Query, collections_of},
};

use crate::support::{Fixture, effects};

/// Committed records in a map.
#[derive(Default)]
struct Committed {
    records: BTreeMap<(String, String), Record>,
    /// What queries answer instead.
    fails: Mutex<Option<RecordsFailed>>,
}

#[async_trait::async_trait]
impl Records for Committed {
    async fn get(&self, collection: &str, key: &str) -> Result<Option<Record>, RecordsFailed> {
        Ok(self.records.get(&(collection.to_owned(), key.to_owned())).cloned())
    }

    async fn query(&self, collection: &str, query: &Query, most: PageSize) -> Result<FoundPage, RecordsFailed> {
        if let Some(failed) = self.fails.lock().expect("not poisoned").clone() {
            return Err(failed);
        }
        let mut records = Vec::new();
        for ((name, key), record) in &self.records {
            let data: Value = serde_json::from_str(&record.json).expect("JSON");
            if name == collection && query.finds(key, &data) {
                records.push(FoundRecord { position: query.position(key, &data), record: record.clone() });
            }
        }
        records.sort_by(|one, other| query.compare(&one.position, &other.position));
        Ok(FoundPage { records, next: None }.bounded(most))
    }
}

fn collections() -> Collections {
    let schema = json!({ "type": "object", "required": ["n"], "properties": { "n": { "type": "integer" } } });
    let manifest = json!({
        "project": { "name": "test" },
        "collections": { "things": { "schema": schema, "indexes": { "n": "/n" } }, "notes": {} },
    });
    collections_of(&Manifest::from_json(&manifest.to_string()).expect("a manifest")).expect("its schemas are good")
}

async fn fixture_with(committed: Committed) -> Fixture {
    let mut fixture = Fixture::new().await;
    fixture.grants.records = ["things:rw", "notes:r"].map(|grant| grant.parse().expect("a valid grant")).to_vec();
    fixture.records = ManagedData { collections: Arc::new(collections()), records: Arc::new(committed) };
    fixture
}

async fn fixture(records: &[(&str, Value, u64)]) -> Fixture {
    let record = |(key, data, revision): &(&str, Value, u64)| {
        let record = Record { json: data.to_string(), revision: *revision };
        (("things".to_owned(), (*key).to_owned()), record)
    };
    fixture_with(Committed { records: records.iter().map(record).collect(), ..Committed::default() }).await
}

async fn perform(fixture: &Fixture, operations: Value) -> (Value, Effects) {
    let effects = effects(fixture.call(json!({"do": "records", "operations": operations})).await);
    let results = serde_json::from_str(effects.emissions[0].json.get()).expect("JSON");
    (results, effects)
}

fn read(key: &str, revision: u64) -> RecordVersion {
    RecordVersion { collection: "things".to_owned(), key: key.to_owned(), revision }
}

fn write(key: &str, data: Option<Value>) -> RecordWrite {
    RecordWrite { collection: "things".to_owned(), key: key.to_owned(), json: data.map(|data| data.to_string()) }
}

fn query(more: &Value) -> Value {
    let mut query = json!({ "collection": "things" });
    query.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
    json!({ "query": query })
}

#[tokio::test]
async fn reads_see_committed_records_and_own_writes() {
    let fixture = fixture(&[("a", json!({"n": 1}), 7), ("b", json!({"n": 2}), 8)]).await;
    let operations = json!([
        {"get": ["things", "a"]}, {"get": ["things", "none"]},
        {"put": ["things", "a", {"n": 9}]}, {"get": ["things", "a"]},
        {"delete": ["things", "b"]}, {"get": ["things", "b"]}, {"put": ["things", "c", {"n": 0}]},
        query(&json!({"order": ["n", false]})),
    ]);
    let (results, effects) = perform(&fixture, operations).await;
    let found = json!([[["c", 0], ["a", 0]], null]);
    assert_eq!(results, json!([[{"n": 1}, 7], null, "ok", [{"n": 9}, 0], "ok", null, "ok", found]));
    assert_eq!(effects.record_reads, [read("a", 7), read("none", 0)]);
    let writes = [write("a", Some(json!({"n": 9}))), write("b", None), write("c", Some(json!({"n": 0})))];
    assert_eq!(effects.record_writes, writes);
}

#[tokio::test]
async fn every_record_that_a_query_returns_counts_as_read() {
    let records: Vec<(&str, Value, u64)> =
        ["a", "b", "c", "d"].into_iter().zip(1..).map(|(key, n)| (key, json!({"n": n}), n)).collect();
    let fixture = fixture(&records).await;
    let filter = json!([["n", "greater", 1]]);
    let (results, effects) = perform(
        &fixture,
        json!([
            query(&json!({"filter": filter, "order": ["n", true], "limit": 2})),
            query(&json!({"filter": filter, "order": ["n", true], "limit": 1, "all": true})),
        ]),
    )
    .await;
    assert_eq!(results[0][0], json!([["d", 4], ["c", 3]]));
    assert_eq!(results[1], json!([[["d", 4], ["c", 3], ["b", 2]], null]));
    assert_eq!(effects.record_reads, [read("b", 2), read("c", 3), read("d", 4)]);
}

#[tokio::test]
async fn a_record_that_does_not_fit_is_refused_with_its_places() {
    let fixture = fixture(&[]).await;
    let operations = json!([
        {"put": ["things", "a", {"n": "one"}]}, {"put": ["things", "a", {}]},
        {"put-text": ["things", "a", "{"]}, {"put-text": ["things", "a", "[".repeat(200)]},
    ]);
    let (results, effects) = perform(&fixture, operations).await;
    assert_eq!(results[0], json!({"error": "unfit: /n: expected an integer, found a string"}));
    assert_eq!(results[1], json!({"error": "unfit: : `n` is missing"}));
    assert!(results[2]["error"].as_str().expect("refused").starts_with("invalid: the record is no JSON"), "{results}");
    assert!(results[3]["error"].as_str().expect("refused").contains("nested deeper"), "{results}");
    assert_eq!(effects.record_writes, []);
}

#[tokio::test]
async fn a_write_can_expect_a_revision() {
    let fixture = fixture(&[("a", json!({"n": 1}), 7)]).await;
    let n = json!({"n": 2});
    let operations = json!([
        {"put-if": ["things", "a", n, 6]}, {"put-if": ["things", "a", n, 0]}, {"put-if": ["things", "a", n, 7]},
        {"put-if": ["things", "new", n, 1]}, {"put-if": ["things", "new", n, 0]}, {"put-if": ["things", "new", n, 0]},
        {"delete-if": ["things", "none", 3]},
    ]);
    let (results, effects) = perform(&fixture, operations).await;
    let conflict = json!({"error": "conflict"});
    assert_eq!(results, json!([conflict, conflict, "ok", conflict, "ok", conflict, conflict]));
    assert_eq!(effects.record_reads, [read("a", 7), read("new", 0), read("none", 0)]);
}

#[tokio::test]
async fn only_granted_collections_and_declared_indexes_can_be_used() {
    let fixture = fixture(&[]).await;
    let operations = json!([
        {"get": ["others", "a"]}, {"put": ["notes", "a", 1]}, {"get": ["a b", "a"]}, {"get": ["notes", "a"]},
        query(&json!({"order": ["m", false]})), query(&json!({"filter": [["n", "equal", [1]]]})),
        query(&json!({"after": "nowhere"})), {"get": ["things", ""]}, {"get": ["things", "x".repeat(513)]},
        {"put": ["things", "\u{2400}", {"n": 1}]},
    ]);
    let (results, effects) = perform(&fixture, operations).await;
    let expected = [
        "denied: collection `others` is not granted; add \"others:r\" to `grants.records` of this node",
        "denied: collection `notes` is granted for reading only; use \"notes:rw\" in `grants.records` of this node",
        "denied: collection name has characters",
        "null",
        "invalid: collection `things` has no index `m`; did you mean `n`?",
        "invalid: the condition on index `n`: compare with",
        "invalid: `after`: it is no cursor",
        "invalid: the key is empty",
        "invalid: the key is 513 bytes long, at most 512",
        "invalid: the key has a NUL character",
    ];
    for (place, text) in expected.into_iter().enumerate() {
        let told = results[place]["error"].as_str().unwrap_or("null");
        assert!(told.starts_with(text), "{place}: {told}");
    }
    assert_eq!(effects.record_writes, []);
}

#[tokio::test]
async fn each_limit_of_records_ends_in_an_error_that_names_it() {
    let n = json!({"n": 1});
    let put = |key: &str| json!({"put": ["things", key, n]});
    let get = |key: &str| json!({"get": ["things", key]});
    let defaults = CallLimits::default();
    let cases = [
        (CallLimits { record_operations: 2, ..defaults }, vec![get("a"), get("a"), get("a")], "2 record operations"),
        (CallLimits { record_writes: 1, ..defaults }, vec![put("a"), put("a"), put("b")], "1 records written"),
        (CallLimits { record_reads: 2, ..defaults }, vec![get("a"), get("b"), get("c")], "2 records read"),
        (CallLimits { record_write_bytes: 20, ..defaults }, vec![put("a"), put("b")], "at most 20 bytes a call"),
        (
            CallLimits { record_bytes: 100, ..defaults },
            vec![json!({"put-bytes": ["things", "a", 99]})],
            "a record of 101 bytes, at most 100",
        ),
    ];
    for (limits, operations, text) in cases {
        let fixture = Fixture { limits, ..fixture(&[]).await };
        let (results, _) = perform(&fixture, operations.into()).await;
        let results = results.as_array().expect("a list");
        let (last, before) = results.split_last().expect("operations");
        assert!(last["error"].as_str().expect("refused").contains(text), "{last}");
        assert!(before.iter().all(|result| result["error"].is_null()), "{results:?}");
    }
    let many: Vec<(String, Value, u64)> = (1..=9).map(|n| (format!("k{n}"), json!({"n": n}), n)).collect();
    let many: Vec<(&str, Value, u64)> = many.iter().map(|(key, data, n)| (key.as_str(), data.clone(), *n)).collect();
    for (limits, most) in [
        (CallLimits { record_page: 3, ..defaults }, 3),
        // Each has a key of two bytes and seven of JSON.
        (CallLimits { record_page_bytes: 20, ..defaults }, 2),
    ] {
        let fixture = Fixture { limits, ..fixture(&many).await };
        let (results, _) = perform(&fixture, json!([query(&json!({})), query(&json!({"all": true}))])).await;
        assert_eq!(results[0][0].as_array().expect("a page").len(), most);
        assert_eq!(results[1][0].as_array().expect("all pages").len(), 9);
    }
}

#[tokio::test]
async fn an_index_that_is_not_built_yet_says_so() {
    let not_ready = RecordsFailed::NotReady("index `n` of collection `things` is being built".to_owned());
    let cases = [
        (not_ready, "not ready: index `n` of collection `things` is being built"),
        (RecordsFailed::Unavailable("no connection".to_owned()), "other: records are not available: no connection"),
    ];
    for (failed, told) in cases {
        let fixture = fixture_with(Committed { fails: Mutex::new(Some(failed)), ..Committed::default() }).await;
        let (results, _) = perform(&fixture, json!([query(&json!({"order": ["n", false]}))])).await;
        assert_eq!(results[0]["error"], told);
    }
}

#[tokio::test]
async fn operations_on_records_are_metered_and_nothing_of_a_failed_call_remains() {
    let fixture = fixture(&[]).await;
    let report =
        fixture.call(json!({"do": "records-then-panic", "operations": [{"put": ["things", "a", {"n": 1}]}]})).await;
    assert_eq!(report.metering.record_operations, 1);
    assert!(matches!(report.outcome, trellis_engine::Outcome::Failed(_)), "{report:?}");
}
