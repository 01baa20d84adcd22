//! Managed data: what nodes see of each other's records, what of them remains, and what is found by hand and by index.

mod agreement;
mod by_hand;
mod indexes;

use serde_json::{Value, json};

use crate::support::{Account, Stage, action, after, node, project, reason};

/// A node that does these operations on the collection `things`.
fn records(operations: &Value) -> Value {
    granted(action(&json!({ "do": "records", "operations": operations })))
}

fn granted(mut node: Value) -> Value {
    node["grants"]["records"] = json!(["things:rw"]);
    node
}

/// A project with the collection `things`.
fn with_things(name: &str, nodes: &Value) -> Value {
    let mut manifest = project(name, nodes);
    manifest["collections"] = json!({ "things": { "indexes": { "n": "/n" } } });
    manifest
}

/// Keys and records that a query by hand finds, all pages.
async fn found(account: &Account, project: &str, query: &[(&str, &str)]) -> Vec<(String, Value)> {
    let (mut found, mut after) = (Vec::new(), None::<String>);
    loop {
        let mut address = reqwest::Url::parse("http://host/").expect("an address");
        address.set_path(&format!("/v1/projects/{project}/collections/things"));
        address.query_pairs_mut().extend_pairs(query);
        if let Some(after) = &after {
            address.query_pairs_mut().append_pair("after", after);
        }
        let path = format!("{}?{}", address.path(), address.query().unwrap_or_default());
        let page = account.api.get(&path).await.expect(200);
        for item in page["items"].as_array().expect("a list") {
            found.push((item["key"].as_str().expect("a key").to_owned(), item["data"].clone()));
        }
        match page["next"].as_str() {
            Some(next) => after = Some(next.to_owned()),
            None => return found,
        }
    }
}

fn keys(found: &[(String, Value)]) -> Vec<&str> {
    found.iter().map(|(key, _)| key.as_str()).collect()
}

#[tokio::test]
async fn a_node_sees_what_earlier_nodes_of_its_run_have_written() {
    let stage = Stage::new().await;
    let account = stage.account("acme").await;
    let by_n = json!({ "query": { "collection": "things", "order": ["n", false], "all": true } });
    let write = records(&json!([
        { "put": ["things", "a", { "n": 1 }] }, { "put": ["things", "b", { "n": 2 }] }, by_n,
    ]));
    let change = records(&json!([{ "delete": ["things", "a"] }, { "put": ["things", "c", { "n": 0 }] }, by_n]));
    let read = records(&json!([{ "get": ["things", "a"] }, { "get": ["things", "b"] }, by_n]));
    let nodes = json!({ "write": write, "change": after(change, "write.out"), "read": after(read, "change.out") });
    account.deploy(&with_things("notes", &nodes)).await;

    let run = account.run("notes", &json!(null)).await;
    assert_eq!(node(&run, "write")["outputs"]["out"][2], json!([[["a", 0], ["b", 0]], null]), "{run:#}");
    assert_eq!(node(&run, "change")["outputs"]["out"][2], json!([[["c", 0], ["b", 0]], null]), "{run:#}");
    let seen = &node(&run, "read")["outputs"]["out"];
    assert_eq!((&seen[0], &seen[1]), (&Value::Null, &json!([{ "n": 2 }, 0])), "{run:#}");
    assert_eq!(node(&run, "read")["metering"]["record_operations"], 3);
    assert_eq!(keys(&found(&account, "notes", &[("order", "-n")]).await), ["b", "c"]);

    let again = account.run("notes", &json!(null)).await;
    let committed = &node(&again, "write")["outputs"]["out"][2][0];
    assert_eq!(committed[0][0], "c", "what was committed is there for the next run: {again:#}");
    assert_ne!(committed[0][1], 0, "with its revision");
    assert_eq!(stage.database.number("select records from collection").await, 2);
}

#[tokio::test]
async fn runs_and_parallel_nodes_that_change_the_same_record_lose_no_update() {
    const RUNS: usize = 6;
    let stage = Stage::new().await;
    let account = stage.account("acme").await;
    // Long enough between reading and writing that all of them read before any has written.
    let increment = records(&json!([{ "increment": ["things", "sum", 300] }]));
    account.deploy(&with_things("sum", &json!({ "left": increment, "right": increment }))).await;
    let mut runs = Vec::new();
    for number in 0..RUNS {
        runs.push(account.start("sum", &json!(number)).await);
    }
    for run in &runs {
        let run = account.succeeded(run).await;
        assert_eq!(node(&run, "left")["attempts"], 1, "a conflict is not the node's failure: {run:#}");
    }
    assert_eq!(found(&account, "sum", &[]).await, [("sum".to_owned(), json!(2 * RUNS))]);
    stage.database.settled().await;
}

#[tokio::test]
async fn nothing_of_a_failed_node_remains_and_what_does_not_fit_is_told_to_the_guest() {
    let stage = Stage::new().await;
    let account = stage.account("acme").await;
    let mut fails = granted(action(&json!({
        "do": "records-then-panic", "operations": [{ "put": ["things", "half", { "n": 1 }] }],
    })));
    fails["retry"] = json!({ "attempts": 2, "first": "20ms" });
    let before = records(&json!([
        { "put": ["things", "whole", { "n": 1 }] }, { "put": ["things", "unfit", { "n": "one" }] },
        { "get": ["others", "x"] },
    ]));
    let mut manifest = with_things("half", &json!({ "before": before, "fails": after(fails, "before.out") }));
    manifest["collections"]["things"]["schema"] = json!({ "properties": { "n": { "type": "integer" } } });
    account.deploy(&manifest).await;
    let run = account.start("half", &json!(null)).await;
    let run = account.ended(&run).await;
    assert_eq!((run["state"].as_str(), reason(&run, "fails").0), (Some("dead"), "trap"), "{run:#}");
    let told = &node(&run, "before")["outputs"]["out"];
    assert_eq!(told[1]["error"], "unfit: /n: expected an integer, found a string");
    assert!(told[2]["error"].as_str().is_some_and(|error| error.starts_with("denied: ")), "{told}");
    assert_eq!(keys(&found(&account, "half", &[]).await), ["whole"], "the node before it stands");
    let fixture =
        account.api.get(&format!("/v1/runs/{}/fixture", run["run"].as_str().expect("a run"))).await.expect(200);
    assert_eq!(fixture["collections"]["things"], manifest["collections"]["things"], "{fixture:#}");
}

#[tokio::test]
async fn a_manifest_with_collections_that_cannot_be_is_refused_with_all_its_faults() {
    let stage = Stage::new().await;
    let account = stage.account("acme").await;
    account.upload("misbehave").await;
    let mut manifest = with_things("shop", &json!({ "write": records(&json!([])) }));
    manifest["grids"]["main"]["nodes"]["write"]["grants"]["records"] = json!(["thing:rw"]);
    manifest["collections"]["issues"] = json!({ "schema": "trellis:isue" });
    manifest["collections"]["bad"] = json!({ "schema": { "properties": { "a": { "type": "strin" } } } });
    manifest["collections"]["file"] = json!({ "schema": "schemas/file.json" });
    let problem = account.api.put("/v1/projects/shop", &manifest).await.problem(422);
    let faults = problem["faults"].as_array().expect("faults");
    for (pointer, text) in [
        ("/grids/main/nodes/write/grants/records/0", "did you mean `things`?"),
        ("/collections/issues/schema", "did you mean `trellis:issue`?"),
        ("/collections/bad/schema", "the schema is not accepted"),
        ("/collections/file/schema", "means nothing to a server"),
    ] {
        let is_told = |fault: &&Value| {
            let told = format!("{} {}", fault["message"], fault["fix"]);
            fault["pointer"].as_str().is_some_and(|at| at.starts_with(pointer)) && told.contains(text)
        };
        assert!(faults.iter().find(is_told).is_some(), "{pointer} {text}: {problem:#}");
    }
}

#[test]
fn the_types_of_the_sdk_are_those_of_the_published_schemas() {
    use trellis_model::records::{Collection, CollectionDefinition, CollectionSchema, published};
    use trellis_sdk::records::{changelog::Changelog, commit::Commit, issue::Issue};

    let check = |name: &str, least: Value| {
        let schema = published(name).expect("it is published");
        let definition = CollectionDefinition {
            schema: CollectionSchema::Published(schema),
            indexes: std::collections::BTreeMap::new(),
        };
        let collection = Collection::new(&definition).expect("its schema is good");
        let mut least = least;
        for time in ["created_at", "updated_at"] {
            if least.get(time).is_some() {
                least[time] = json!("2026-02-01T08:00:00Z");
            }
        }
        for text in ["id", "source", "version"] {
            if least.get(text).is_some() {
                least[text] = json!("x");
            }
        }
        assert_eq!(collection.misfits(&least), [], "{name}: {least}");
        least["colour"] = json!("red");
        assert!(!collection.misfits(&least).is_empty(), "{name} is closed");
    };
    check("issue", serde_json::to_value(Issue::default()).expect("JSON"));
    check("commit", serde_json::to_value(Commit::default()).expect("JSON"));
    check("changelog", serde_json::to_value(Changelog::default()).expect("JSON"));

    let fields = |schema: &Value| -> std::collections::BTreeSet<String> {
        schema["properties"].as_object().expect("properties").keys().cloned().collect()
    };
    let of_type = |schema: trellis_sdk::expansion::schemars::Schema| fields(&schema.to_value());
    let of_name = |name: &str| fields(&published(name).expect("it is published").schema());
    assert_eq!(of_type(trellis_sdk::expansion::schemars::schema_for!(Issue)), of_name("issue"));
    assert_eq!(of_type(trellis_sdk::expansion::schemars::schema_for!(Commit)), of_name("commit"));
    assert_eq!(of_type(trellis_sdk::expansion::schemars::schema_for!(Changelog)), of_name("changelog"));
}
