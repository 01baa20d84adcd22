//! Events that nodes emit to other grids of their project: exactly once, or not at all.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use crate::support::{
    Account, Database, Host, HostPlan, Outside, Stage, action, eventually, grants, node, project, reason,
};

/// A node that performs an action and may emit to some grids.
fn emitting(grids: &[&str], performed: &Value) -> Value {
    let mut node = action(performed);
    node["grants"]["emit"] = json!(grids);
    node
}

/// A node that performs what the event says.
fn told_by_the_event() -> Value {
    let mut node = action(&json!(null));
    node["inputs"] = json!({ "in": "event" });
    node
}

fn with_grid(mut manifest: Value, name: &str, nodes: &Value) -> Value {
    manifest["grids"][name] = json!({ "nodes": nodes });
    manifest
}

/// The runs of a grid that have ended, as the API shows them.
async fn runs_of(account: &Account, grid: &str) -> Vec<Value> {
    let page = account.api.get(&format!("/v1/runs?grid={grid}&limit=100")).await.expect(200);
    let mut runs = Vec::new();
    for summary in page["items"].as_array().expect("a page of runs") {
        runs.push(account.ended(summary["run"].as_str().expect("a run has an id")).await);
    }
    runs
}

async fn settled(database: &Database) {
    eventually("every run has ended", async || (database.unfinished_count().await == 0).then_some(())).await;
}

/// Attributes of an event as the echo of the guest shows them.
fn attributes(run: &Value, name: &str) -> BTreeMap<String, String> {
    serde_json::from_value::<Vec<(String, String)>>(node(run, name)["outputs"]["out"]["attributes"].clone())
        .expect("pairs of text")
        .into_iter()
        .collect()
}

#[tokio::test]
async fn an_emitted_event_starts_a_run_that_knows_where_it_comes_from() {
    let stage = Stage::new().await;
    let account = stage.account("acme").await;
    let events = json!([["pick", "{\"do\":\"echo\"}", [["tenant", "7"]]]]);
    let nodes = json!({ "split": emitting(&["pick"], &json!({ "do": "outbox", "events": events })) });
    account.deploy(&with_grid(project("shop", &nodes), "pick", &json!({ "look": told_by_the_event() }))).await;

    let source = account.run("shop", &json!(null)).await;
    assert_eq!(node(&source, "split")["outputs"]["out"], json!(["ok"]), "{source:#}");
    assert_eq!(node(&source, "split")["metering"]["events_emitted"], 1, "{source:#}");
    let runs = eventually("the emitted event has become a run", async || {
        let runs = runs_of(&account, "pick").await;
        (!runs.is_empty()).then_some(runs)
    })
    .await;
    assert_eq!(runs.len(), 1, "{runs:#?}");
    let seen = attributes(&runs[0], "look");
    let expected = [
        ("trigger", "outbox"),
        ("source-run", source["run"].as_str().expect("an id")),
        ("source-node", "split"),
        ("hops", "1"),
        ("tenant", "7"),
    ];
    for (name, value) in expected {
        assert_eq!(seen.get(name).map(String::as_str), Some(value), "{seen:?}");
    }
    assert!(seen.contains_key("received-at"), "{seen:?}");
    stage.database.settled().await;
}

const EVENTS: usize = 150;
/// Emitted by each run.
const EMITTED: usize = 3;

/// A host that runs a few runs at a time, so that there is a middle to kill it in.
fn slow(plan: HostPlan) -> HostPlan {
    plan.set("queue.runs_max", "6")
}

async fn killed_when(ended: i64, host: Host, database: &Database, plan: &HostPlan) -> Host {
    eventually(&format!("{ended} runs have ended"), async || (database.ended_count().await >= ended).then_some(()))
        .await;
    host.kill().await;
    assert!(database.unfinished_count().await > 0, "the host was killed too late: there was nothing left to do");
    plan.start().await
}

/// Source run → how many runs it has started.
async fn ledger(database: &Database) -> BTreeMap<String, usize> {
    let events: Vec<Vec<u8>> = sqlx::query_scalar("select event from run where grid = 'count'")
        .fetch_all(&database.pool)
        .await
        .expect("the schema is there");
    let mut started = BTreeMap::new();
    for event in events {
        let event: Value = serde_json::from_slice(&event).expect("JSON");
        let attributes: Vec<(String, String)> = serde_json::from_value(event["attributes"].clone()).expect("pairs");
        let source = attributes.into_iter().find(|(name, _)| name == "source-run").expect("it was emitted");
        *started.entry(source.1).or_default() += 1;
    }
    started
}

#[tokio::test]
async fn every_emitted_event_is_one_run_however_often_the_host_is_killed() {
    let Stage { database, host } = Stage::with(slow).await;
    let account = Account::new(&host.operator(), "acme").await;
    let emit = json!({ "do": "outbox-times", "event": ["count", "1"], "times": EMITTED });
    let nodes = json!({ "emit": emitting(&["count"], &emit), "wait": action(&json!({ "do": "sleep", "ms": 20 })) });
    let count = action(&json!({ "do": "storage", "operations": [{ "add": ["s", "count", 1] }] }));
    account.deploy(&with_grid(project("fan", &nodes), "count", &json!({ "count": count }))).await;

    let mut accepted = BTreeSet::new();
    for number in 0..EVENTS {
        accepted.insert(account.start("fan", &json!(number)).await);
    }
    let plan = slow(HostPlan::on(&database.url));
    let host = killed_when(20, host, &database, &plan).await;
    let host = killed_when(120, host, &database, &plan).await;
    let host = killed_when(300, host, &database, &plan).await;
    settled(&database).await;

    let history = database.history().await;
    assert!(history.values().all(|state| state == "succeeded"), "{history:?}");
    let started = ledger(&database).await;
    assert_eq!(started.keys().cloned().collect::<BTreeSet<_>>(), accepted, "each accepted run has emitted");
    assert!(started.values().all(|count| *count == EMITTED), "each event once: {started:?}");
    assert_eq!(history.len(), EVENTS * (1 + EMITTED));
    assert_eq!(database.stored(&account, "count").await, Some((EVENTS * EMITTED).to_string()));
    database.settled().await;
    drop(host);
}

#[tokio::test]
async fn runs_that_are_thrown_back_by_a_conflict_emit_once() {
    const RUNS: usize = 12;
    let stage = Stage::new().await;
    let account = stage.account("acme").await;
    // Each emits the number that it has made: one that was thrown back would have made another one before.
    let number =
        json!({ "do": "storage-then-outbox", "operations": [{ "increment": ["s", "sum", 300] }], "grids": ["note"] });
    let nodes = json!({ "number": emitting(&["note"], &number) });
    let note = json!({ "plugin": "json-map", "inputs": { "in": "event" }, "config": { "expression": ".[0]" } });
    let mut manifest = with_grid(project("notes", &nodes), "note", &json!({ "note": note }));
    manifest["plugins"]["json-map"] = json!("json-map@*");
    account.deploy(&manifest).await;
    for event in 0..RUNS {
        account.start("notes", &json!(event)).await;
    }
    settled(&stage.database).await;
    let runs = runs_of(&account, "note").await;
    let mut noted: Vec<u64> =
        runs.iter().map(|run| node(run, "note")["outputs"]["out"].as_u64().expect("a number")).collect();
    noted.sort_unstable();
    assert_eq!(noted, (1..=RUNS as u64).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_node_that_fails_has_emitted_nothing() {
    let stage = Stage::new().await;
    let account = stage.account("acme").await;
    let mut fails = emitting(&["pick"], &json!({ "do": "outbox-then-panic", "events": [["pick", "1"]] }));
    fails["retry"] = json!({ "attempts": 2, "first": "20ms" });
    let nodes = json!({ "fails": fails });
    account.deploy(&with_grid(project("shop", &nodes), "pick", &json!({ "look": told_by_the_event() }))).await;
    let run = account.start("shop", &json!(null)).await;
    let run = account.ended(&run).await;
    assert_eq!((&run["state"], reason(&run, "fails").0), (&json!("dead"), "trap"), "{run:#}");
    settled(&stage.database).await;
    assert_eq!(stage.database.ended_count().await, 1);
}

#[tokio::test]
async fn grids_that_emit_to_each_other_end_at_the_hop_limit() {
    let stage = Stage::with(|plan| plan.set("sandbox.outbox_hops", "5")).await;
    let account = stage.account("acme").await;
    let to = |grid: &str| emitting(&[grid], &json!({ "do": "outbox", "events": [[grid, "null"]] }));
    let nodes = json!({ "ping": to("back") });
    account.deploy(&with_grid(project("loop", &nodes), "back", &json!({ "pong": to("main") }))).await;
    account.start("loop", &json!(null)).await;
    settled(&stage.database).await;
    assert_eq!(stage.database.ended_count().await, 6, "one from outside and five emitted ones");
    let (main, back) = (runs_of(&account, "main").await, runs_of(&account, "back").await);
    assert_eq!((main.len(), back.len()), (3, 3));
    let answers: Vec<String> = main
        .iter()
        .map(|run| node(run, "ping")["outputs"]["out"].to_string())
        .chain(back.iter().map(|run| node(run, "pong")["outputs"]["out"].to_string()))
        .collect();
    let refused: Vec<&String> = answers.iter().filter(|answer| answer.contains("hop limit: 5 emissions")).collect();
    assert_eq!(refused.len(), 1, "{answers:?}");
}

#[tokio::test]
async fn a_grid_that_was_not_granted_is_denied_to_the_guest_and_an_unknown_one_is_refused_at_deployment() {
    let stage = Stage::new().await;
    let account = stage.account("acme").await;
    let events = json!([["pick", "1"], ["audit", "1"]]);
    let nodes = json!({ "split": emitting(&["pick"], &json!({ "do": "outbox", "events": events })) });
    let manifest = with_grid(project("shop", &nodes), "pick", &json!({ "look": action(&json!({ "do": "echo" })) }));
    let manifest = with_grid(manifest, "audit", &json!({ "look": action(&json!({ "do": "echo" })) }));
    account.deploy(&manifest).await;
    let run = account.run("shop", &json!(null)).await;
    let denied = "denied: emitting to grid `audit` is not granted; add \"audit\" to `grants.emit` of this node";
    assert_eq!(node(&run, "split")["outputs"]["out"], json!(["ok", { "error": denied }]), "{run:#}");
    settled(&stage.database).await;
    assert_eq!((runs_of(&account, "pick").await.len(), runs_of(&account, "audit").await.len()), (1, 0));

    let mut typo = manifest;
    typo["grids"]["main"]["nodes"]["split"]["grants"]["emit"] = json!(["pick", "audits"]);
    let problem = account.api.put("/v1/projects/shop", &typo).await.problem(422);
    let fault = &problem["faults"][0];
    assert_eq!(fault["pointer"], "/grids/main/nodes/split/grants/emit/1", "{problem:#}");
    assert_eq!(fault["message"], "grid `audits` is not defined in this manifest", "{problem:#}");
    assert_eq!(fault["fix"], "did you mean `audit`?", "{problem:#}");
}

#[tokio::test]
async fn an_emitted_event_runs_on_the_revision_of_the_run_that_emitted_it() {
    let outside = Outside::start().await;
    let stage = Stage::facing(&outside).await;
    let account = stage.account("acme").await;
    let wait = json!({
        "plugin": "http-request",
        "inputs": { "in": "event" },
        "config": { "method": "GET", "url": format!("{}/hold/deployment", outside.url) },
        "grants": grants(&outside),
    });
    let mut emit = emitting(&["pick"], &json!({ "do": "outbox", "events": [["pick", "1"]] }));
    emit["inputs"]["after"] = json!("wait.response");
    let nodes = json!({ "wait": wait, "emit": emit });
    let old = with_grid(project("shop", &nodes), "pick", &json!({ "old": action(&json!({ "do": "echo" })) }));
    let new = with_grid(project("shop", &nodes), "pick", &json!({ "new": action(&json!({ "do": "echo" })) }));
    account.deploy(&old).await;
    let run = account.start("shop", &json!(null)).await;
    outside.asked("/hold/deployment").await;
    account.deploy(&new).await;
    outside.release("/hold/deployment");
    account.succeeded(&run).await;
    settled(&stage.database).await;
    let runs = runs_of(&account, "pick").await;
    assert_eq!(node(&runs[0], "old")["state"], "succeeded", "{runs:#?}");
}

#[tokio::test]
async fn emitted_events_of_a_throttled_account_wait_and_none_is_refused() {
    let stage = Stage::new().await;
    let account = stage.account("acme").await;
    let emit = json!({ "do": "outbox-times", "event": ["pick", "null"], "times": 20 });
    let nodes = json!({ "emit": emitting(&["pick"], &emit) });
    account
        .deploy(&with_grid(project("shop", &nodes), "pick", &json!({ "look": action(&json!({ "do": "echo" })) })))
        .await;
    let limit = async |max: u32| {
        let limits = json!({ "limits": {
            "burst": { "max": max, "period_ms": 600_000 },
            "long": { "max": 1_000_000, "period_ms": 86_400_000 },
        }});
        stage.host.operator().put("/v1/accounts/acme", &limits).await.expect(200);
    };
    limit(4).await;
    let run = account.start("shop", &json!(null)).await;
    let run = account.succeeded(&run).await;
    assert_eq!(node(&run, "emit")["outputs"]["out"], json!([20, null]), "{run:#}");
    eventually("some have run", async || (stage.database.ended_count().await >= 4).then_some(())).await;
    assert!(stage.database.unfinished_count().await > 0, "the others wait");
    limit(1_000).await;
    settled(&stage.database).await;
    assert_eq!(stage.database.ended_count().await, 21);
}

/// The next insertion of a job of the grid `pick` fails once, as if another host had given its id away; the id is noted.
const ONE_DUPLICATE: &str = "
    create sequence attempts;
    create sequence refused_id;
    create function refuse_once() returns trigger language plpgsql as $$
    begin
        if new.grid = 'pick' and nextval('attempts') = 1 then
            perform setval('refused_id', new.id);
            raise exception 'the id is taken' using errcode = 'unique_violation';
        end if;
        return new;
    end $$;
    create trigger refuse_once before insert on job for each row execute function refuse_once();";

#[tokio::test]
async fn an_id_that_another_host_gave_away_is_replaced_by_a_new_one() {
    let stage = Stage::new().await;
    let account = stage.account("acme").await;
    let nodes =
        json!({ "emit": emitting(&["pick"], &json!({ "do": "outbox", "events": [["pick", "1"], ["pick", "2"]] })) });
    account
        .deploy(&with_grid(project("shop", &nodes), "pick", &json!({ "look": action(&json!({ "do": "echo" })) })))
        .await;
    sqlx::raw_sql(ONE_DUPLICATE).execute(&stage.database.pool).await.expect("the schema is there");
    account.run("shop", &json!(null)).await;
    settled(&stage.database).await;
    let query = "select count(*) from run where grid = 'pick' and state = 'succeeded' and id <> (select last_value from refused_id)";
    assert_eq!(stage.database.number(query).await, 2);
    assert_eq!(stage.database.number("select last_value from attempts").await, 3, "the first was refused");
}
