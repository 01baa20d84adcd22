//! Indexes that come and go with deployments, and what a query costs.

use serde_json::json;
use trellis_model::{
    AccountId, ProjectId,
    records::{Condition, Operator, Order, Query, Selection},
};
use trellis_store::{
    Database as Store,
    projects::NewRevision,
    records::query::{QueryAnswer, RecordPageSize},
};

use super::{found, keys, records, with_things};
use crate::support::{Database, Stage, after, eventually, node};

/// More than one batch of the builder.
const MANY: &str = "insert into record (account_id, collection_id, key, data, version, index_ids, index_values)
     select account_id, id, 'many/' || lpad(n::text, 5, '0'), '{\"n\":' || n || ',\"odd\":' || (n % 2 = 1) || '}',
            nextval('record_version_seq'), '{}', '{}'
     from collection, generate_series(1, 1200) as n";

#[tokio::test]
async fn a_new_index_is_built_over_what_is_there_and_a_dropped_one_is_cleared_away() {
    let stage = Stage::new().await;
    let account = stage.account("acme").await;
    let mut manifest = with_things("shop", &json!({ "read": records(&json!([])) }));
    manifest["collections"]["things"] = json!({});
    account.deploy(&manifest).await;
    sqlx::raw_sql(MANY).execute(&stage.database.pool).await.expect("the schema is there");

    manifest["collections"]["things"] = json!({ "indexes": { "n": "/n", "odd": "/odd" } });
    account.deploy(&manifest).await;
    let one = "/v1/projects/shop/collections/things/records/late";
    account.api.put(one, &json!({ "n": 0, "odd": null })).await.expect(201);
    eventually("both indexes are built", async || {
        let list = account.api.get("/v1/projects/shop/collections").await.expect(200);
        let indexes = list["items"][0]["indexes"].as_array().expect("a list").clone();
        indexes.iter().all(|index| index["ready"] == true).then_some(())
    })
    .await;
    assert_eq!(stage.database.number("select count(*) from record_index").await, 2 * 1_201);
    let by_n = found(&account, "shop", &[("order", "n"), ("limit", "500")]).await;
    assert_eq!((by_n.len(), by_n[0].0.as_str(), by_n[1].0.as_str()), (1_201, "late", "many/00001"));
    let odd = found(&account, "shop", &[("order", "-n"), ("filter", r#"{"odd":true,"n":{"greater":1190}}"#)]).await;
    assert_eq!(keys(&odd), ["many/01199", "many/01197", "many/01195", "many/01193", "many/01191"]);

    // Another pointer is another index, and what has no index any more has no entries either.
    manifest["collections"]["things"] = json!({ "indexes": { "n": "/odd" } });
    account.deploy(&manifest).await;
    eventually("the old ones are gone and the new one is built", async || {
        let indexes = stage.database.number("select count(*) from collection_index").await;
        let ready = stage.database.number("select count(*) from collection_index where is_ready").await;
        (indexes == 1 && ready == 1).then_some(())
    })
    .await;
    assert_eq!(stage.database.number("select count(*) from record_index").await, 1_201);
    assert_eq!(found(&account, "shop", &[("filter", r#"{"n":false}"#)]).await.len(), 600);
    // Records that nobody writes keep nothing of indexes that are gone.
    manifest["collections"]["things"] = json!({ "indexes": { "n": "/n" } });
    account.deploy(&manifest).await;
    eventually("it is built", async || {
        let ready =
            stage.database.number("select count(*) from collection_index where is_ready and pointer = '/n'").await;
        (ready == 1).then_some(())
    })
    .await;
    let most = "select max(cardinality(index_ids))::bigint from record";
    assert_eq!(stage.database.number(most).await, 1);

    // A collection that is not declared any more is read by key, and takes no new records.
    manifest["collections"] = json!({});
    manifest["grids"]["main"]["nodes"]["read"]["grants"] = json!({});
    account.deploy(&manifest).await;
    let list = account.api.get("/v1/projects/shop/collections").await.expect(200);
    assert_eq!((&list["items"][0]["declared"], &list["items"][0]["records"]), (&json!(false), &json!(1)));
    account.api.get(one).await.expect(200);
    account.api.put(one, &json!(1)).await.problem(404);
    account.api.delete(one).await.expect_any(&[204]);
}

#[tokio::test]
async fn a_run_of_an_earlier_revision_is_not_answered_by_another_index_of_the_same_name() {
    let stage = Stage::new().await;
    let account = stage.account("acme").await;
    let put = |key: &str| json!({ "put": ["things", key, { "n": 1, "other": 2 }] });
    let write = records(&json!([put("a"), put("b")]));
    let mut read = after(
        records(&json!([{ "query": { "collection": "things", "filter": [["n", "equal", 1]], "all": true } }])),
        "write.out",
    );
    read["delay"] = json!("3s");
    let mut manifest = with_things("shop", &json!({ "write": write, "read": read }));
    account.deploy(&manifest).await;
    let run = account.start("shop", &json!(null)).await;
    eventually("it waits", async || (stage.database.number("select count(*) from job_later").await == 1).then_some(()))
        .await;
    manifest["collections"]["things"] = json!({ "indexes": { "n": "/other" } });
    account.deploy(&manifest).await;
    eventually("the index is built", async || {
        let ready =
            stage.database.number("select count(*) from collection_index where is_ready and not is_dropped").await;
        (ready == 1).then_some(())
    })
    .await;
    let run = account.ended(&run).await;
    let told = &node(&run, "read")["outputs"]["out"][0]["error"];
    assert!(told.as_str().is_some_and(|told| told.contains("replay the run on the current one")), "{run:#}");
}

const ACCOUNT: AccountId = AccountId(1);
const PROJECT: ProjectId = ProjectId(1);
const MOST: RecordPageSize = RecordPageSize { records: 20, bytes: 1 << 20 };

/// A collection of 30,000 records with indexes that are built: `n` is different in each, `state` is one of two, and one in
/// 10,000 is `rare`.
async fn large() -> (Database, Store) {
    let database = Database::fresh().await;
    let options = trellis_store::DatabaseOptions {
        url: database.url.clone(),
        connections_max: 3,
        acquire_timeout: std::time::Duration::from_secs(30),
        allow_unsafe_durability: true,
    };
    let store = Store::connect(&options).await.expect("the server is up");
    store.migrate().await.expect("a new database");
    let made = "insert into account (name) values ('acme'); insert into project (account_id, name) values (1, 'shop')";
    sqlx::raw_sql(made).execute(&database.pool).await.expect("the schema is there");
    let manifest =
        json!({ "collections": { "things": { "indexes": { "n": "/n", "state": "/state", "rare": "/rare" } } } });
    let plugins = std::collections::BTreeMap::new();
    let new =
        NewRevision { account: ACCOUNT, project: "shop", manifest: &manifest, plugins: &plugins, made_from: None };
    store.deploy(&new, 10).await.expect("a deployment");
    let many = "insert into record (account_id, collection_id, key, data, version, index_ids, index_values)
         select 1, collection.id, 'k' || lpad(n::text, 7, '0'),
                json_build_object('n', n, 'state', case when n % 2 = 0 then 'open' else 'closed' end,
                                  'rare', n % 10000 = 0)::text,
                n, '{}', '{}'
         from collection, generate_series(1, 30000) as n;
         update collection_index set is_ready = false;";
    sqlx::raw_sql(many).execute(&database.pool).await.expect("the schema is there");
    while let Some(index) = store.unfinished_index(0).await.expect("the server is up") {
        store.work_at_index(index).await.expect("the server is up");
    }
    sqlx::raw_sql("vacuum analyze record").execute(&database.pool).await.expect("the table is there");
    sqlx::raw_sql("vacuum analyze record_index").execute(&database.pool).await.expect("the table is there");
    (database, store)
}

fn query(filter: &[(&str, Operator, serde_json::Value)], order: Option<(&str, bool)>) -> Query {
    let indexes = ["n", "state", "rare"].map(|name| (name.to_owned(), format!("/{name}"))).into();
    let condition = |(index, operator, value): &(&str, Operator, serde_json::Value)| Condition {
        index: (*index).to_owned(),
        operator: *operator,
        value: value.clone(),
    };
    let order = order.map(|(index, descending)| Order { index: index.to_owned(), descending });
    let filter = filter.iter().map(condition).collect();
    Query::new("things", &indexes, Selection { filter, order, after: None }).expect("a query")
}

/// Pages of the tables of records that were read until now.
async fn pages(database: &Database) -> i64 {
    eventually("only this test is connected", async || {
        let others =
            "select count(*) from pg_stat_activity where datname = current_database() and application_name = 'trellis'";
        (database.number(others).await == 0).then_some(())
    })
    .await;
    let pages = "select sum(heap_blks_read + heap_blks_hit + idx_blks_read + idx_blks_hit)::bigint
                 from pg_statio_user_tables where relname in ('record', 'record_index')";
    database.number(pages).await
}

#[tokio::test]
async fn a_query_reads_what_it_finds_and_not_the_collection() {
    let (database, store) = large().await;
    let url = database.url.clone();
    store.close().await;
    let open = json!("open");
    let cases = [
        ("by key", query(&[], None), 20, 400),
        ("in the order of an index", query(&[], Some(("n", true))), 20, 400),
        ("a range of it", query(&[("n", Operator::Greater, json!(29_000))], Some(("n", false))), 20, 400),
        ("one value, by key", query(&[("state", Operator::Equal, open.clone())], None), 20, 400),
        ("half of all, in order", query(&[("state", Operator::Equal, open)], Some(("n", true))), 20, 800),
        ("what is rare, in order", query(&[("rare", Operator::Equal, json!(true))], Some(("n", true))), 3, 400),
    ];
    for (what, query, expected, most) in cases {
        let before = pages(&database).await;
        let options = trellis_store::DatabaseOptions {
            url: url.clone(),
            connections_max: 3,
            acquire_timeout: std::time::Duration::from_secs(30),
            allow_unsafe_durability: true,
        };
        let store = Store::connect(&options).await.expect("the server is up");
        let answer = store.query_records(ACCOUNT, PROJECT, "things", &query, MOST).await.expect("the server is up");
        store.close().await;
        let QueryAnswer::Page(page) = answer else { panic!("{what}: {answer:?}") };
        assert_eq!(page.records.len(), expected, "{what}");
        let read = pages(&database).await - before;
        assert!(read < most, "{what} read {read} pages");
    }
}

#[tokio::test]
async fn a_query_that_finds_nothing_among_many_goes_on_page_by_page() {
    let (_database, store) = large().await;
    // Half of the records are candidates, and none of them fits: neither condition leaves few.
    let nothing = [("state", Operator::Equal, json!("open")), ("n", Operator::Less, json!(1e9))];
    let mut query = query(&nothing, Some(("n", false)));
    query.tests.push(self::query(&[("state", Operator::Equal, json!("closed"))], None).tests.remove(0));
    let mut pages = 0;
    loop {
        let answer = store.query_records(ACCOUNT, PROJECT, "things", &query, MOST).await.expect("the server is up");
        let QueryAnswer::Page(page) = answer else { panic!("{answer:?}") };
        assert!(page.records.is_empty());
        pages += 1;
        match page.next {
            Some(next) => query.after = Some(next),
            None => break,
        }
    }
    assert_eq!(pages, 4, "30,000 records, 10,000 at a time, and one page to find that there are no more");
}
