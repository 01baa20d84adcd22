//! The fake of managed data behaves as the host does, as far as a transformer can tell.

use trellis_sdk::{
    records::{Collection, Entry},
    *,
};

fn things() -> Collection<Value> {
    records::collection("things")
}

fn keys(entries: Vec<Result<Entry, records::Error>>) -> Vec<String> {
    entries.into_iter().map(|entry| entry.expect("a record").key).collect()
}

#[test]
fn writes_are_seen_at_once_and_have_a_revision_when_committed() {
    things().put("a", &json!(1)).expect("a write");
    assert_eq!(things().entry("a").expect("a read").expect("a record").revision, 0);
    fake::commit();
    let revision = things().entry("a").expect("a read").expect("a record").revision;
    assert_ne!(revision, 0);
    things().put("a", &json!(2)).expect("a write");
    fake::rollback();
    let entry = things().entry("a").expect("a read").expect("a record");
    assert_eq!((entry.data, entry.revision), (json!(1), revision));
    things().delete("a").expect("a deletion");
    fake::commit();
    assert_eq!(things().get("a"), Ok(None));
}

#[test]
fn conditional_writes_look_at_the_committed_revision() {
    things().write("a").if_absent().put(&json!(1)).expect("absent");
    assert_eq!(things().write("a").if_absent().put(&json!(2)), Err(records::Error::Conflict), "it has made one itself");
    fake::commit();
    let revision = things().entry("a").expect("a read").expect("a record").revision;
    assert_eq!(things().write("a").if_revision(revision + 1).delete(), Err(records::Error::Conflict));
    things().write("a").if_revision(revision).delete().expect("the committed revision");
    things().write("b").if_absent().delete().expect("absent, and stays so");
    let error = Error::from(things().write("b").if_revision(1).put(&json!(2)).expect_err("there is none"));
    assert_eq!(error.kind(), ErrorKind::Retryable);
}

#[test]
fn an_index_orders_every_type_of_value() {
    let collection = fake::collection("things").index("n", "/n");
    let values = [
        json!({}),
        json!({ "n": null }),
        json!({ "n": false }),
        json!({ "n": true }),
        json!({ "n": -1.5 }),
        json!({ "n": 0 }),
        json!({ "n": 9_007_199_254_740_993_u64 }),
        json!({ "n": 9_007_199_254_740_994_u64 }),
        json!({ "n": u64::MAX }),
        json!({ "n": "" }),
        json!({ "n": "Z" }),
        json!({ "n": "a" }),
        json!({ "n": "ä" }),
        json!({ "n": [] }),
    ];
    for (place, value) in values.iter().enumerate() {
        collection.put(&format!("{place:02}"), value);
    }
    let all: Vec<String> = (0..values.len()).map(|place| format!("{place:02}")).collect();
    let query = things().query().order_by("n").page_size(3).iter().collect();
    assert_eq!(keys(query), all);
    let backwards: Vec<String> = all.iter().rev().cloned().collect();
    assert_eq!(keys(things().query().order_by("n").descending().page_size(3).iter().collect()), backwards);
    let found = |query: records::Query<Value>| keys(query.iter().collect());
    assert_eq!(found(things().query().equal("n", json!(null))), ["00", "01"]);
    assert_eq!(found(things().query().less("n", 0)), ["04"], "of the same type alone");
    assert_eq!(found(things().query().greater("n", 9_007_199_254_740_993_u64)), ["07", "08"]);
    assert_eq!(found(things().query().greater_or_equal("n", "a")), ["11", "12"]);
    assert_eq!(found(things().query().one_of("n", [json!(true), json!("Z")])), ["03", "10"]);
    assert_eq!(found(things().query().starts_with("n", "")), ["09", "10", "11", "12"]);
    assert_eq!(found(things().query().less_or_equal("n", true).equal("n", false)), ["02"]);
}

#[test]
fn of_long_texts_an_index_has_the_beginning() {
    let collection = fake::collection("things").index("text", "/text");
    let (whole, cut) = ("x".repeat(512), "x".repeat(513));
    collection.put("cut", &json!({ "text": cut }));
    collection.put("whole", &json!({ "text": whole }));
    assert_eq!(keys(things().query().order_by("text").iter().collect()), ["whole", "cut"]);
    assert_eq!(keys(things().query().equal("text", &whole).iter().collect()), ["whole"]);
    assert_eq!(keys(things().query().starts_with("text", &whole).iter().collect()), ["cut", "whole"]);
    assert!(matches!(things().query().equal("text", &cut).first(), Err(records::Error::Invalid(_))));
}

#[test]
fn a_query_sees_uncommitted_writes_and_pages_through_them() {
    let collection = fake::collection("things").index("n", "/n");
    for number in 0..7 {
        collection.put(&format!("k{number}"), &json!({ "n": number % 3 }));
    }
    things().delete("k0").expect("a deletion");
    things().put("k1", &json!({ "n": 0 })).expect("a write");
    things().put("new", &json!({ "n": 1 })).expect("a write");
    let first = things().query().order_by("n").page_size(2).page().expect("a page");
    assert_eq!(first.records.iter().map(|entry| entry.key.as_str()).collect::<Vec<_>>(), ["k1", "k3"]);
    let rest = things().query().order_by("n").after(first.next.expect("there are more"));
    assert_eq!(keys(rest.iter().collect()), ["k6", "k4", "new", "k2", "k5"]);
}

#[test]
fn what_the_host_refuses_is_refused() {
    for key in ["", "a\0b", &"x".repeat(513)] {
        assert!(matches!(things().put(key, &json!(1)), Err(records::Error::Invalid(_))), "{key:?}");
    }
    let index = fake::collection("things").index("n", "/n");
    let refused = |query: records::Query<Value>, text: &str| {
        let error = query.page().expect_err("refused").to_string();
        assert!(error.contains(text), "{error}");
    };
    refused(things().query().equal("m", 1), "no index `m`");
    refused(things().query().order_by("m"), "no index `m`");
    refused(things().query().equal("n", json!([1])), "compare with");
    refused(things().query().one_of("n", [json!({})]), "compare with");
    refused(things().query().after("somewhere"), "no cursor");
    index.put("a", &json!("text"));
    let error = records::collection::<u8>("things").get("a").expect_err("no number").to_string();
    assert!(error.contains("record `a` of collection `things`"), "{error}");
}
