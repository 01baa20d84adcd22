//! An account that is too large for one host: its jobs lie on several shards, and several hosts run them.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use trellis_model::Queue;

use crate::support::{Account, Database, Host, HostPlan, Stage, action, eventually, project};

const SPREAD: u8 = 3;

async fn owners(database: &Database, account: &Account) -> BTreeSet<String> {
    let shards: Vec<i16> = Queue::parts(account.id, SPREAD).map(|queue| queue.shard.0).collect();
    let owners: Vec<String> =
        sqlx::query_scalar("select owner::text from shard where shard = any ($1) and owner is not null")
            .bind(shards)
            .fetch_all(&database.pool)
            .await
            .expect("the schema is there");
    owners.into_iter().collect()
}

/// Three hosts with an even share of the shards.
async fn three_hosts() -> (Stage, [Host; 2]) {
    let few = |plan: HostPlan| plan.set("queue.runs_max", "16");
    let stage = Stage::with(few).await;
    let others =
        [few(HostPlan::on(&stage.database.url)).start().await, few(HostPlan::on(&stage.database.url)).start().await];
    eventually("three hosts share the shards evenly", async || {
        let counts = stage.database.shard_counts().await;
        (counts.len() == 3 && counts.iter().all(|count| (80..=90).contains(count))).then_some(())
    })
    .await;
    (stage, others)
}

/// Changes settings of an account, its spread among them.
async fn spread(stage: &Stage, account: &Account, settings: &Value) {
    let changed = stage.host.operator().put(&format!("/v1/accounts/{}", account.name), settings).await.expect(200);
    assert_eq!(changed["spread"], settings["spread"]);
}

/// Makes accounts until the parts of one lie on a host each.
async fn account_of_all(stage: &Stage) -> Account {
    for number in 0..60 {
        let account = stage.account(&format!("account-{number}")).await;
        if owners(&stage.database, &account).await.len() == usize::from(SPREAD) {
            return account;
        }
    }
    panic!("the parts of no account lie on three hosts");
}

#[tokio::test]
async fn an_account_on_three_shards_is_run_by_three_hosts_and_no_event_is_lost() {
    const EVENTS: usize = 240;
    let (stage, others) = three_hosts().await;
    let account = account_of_all(&stage).await;
    spread(&stage, &account, &json!({ "spread": SPREAD })).await;
    let nodes = json!({
        "count": action(&json!({ "do": "storage", "operations": [{ "add": ["s", "count", 1] }] })),
        "wait": action(&json!({ "do": "sleep", "ms": 100 })),
    });
    account.deploy(&project("large", &nodes)).await;

    let mut runs = BTreeSet::new();
    for number in 0..EVENTS {
        let at = [&account, &account.at(&others[0]), &account.at(&others[1])][number % 3].clone();
        runs.insert(at.start("large", &json!(number)).await);
    }
    let running = "select count(distinct shard.owner) from claim join shard using (shard, epoch)";
    eventually("three hosts run the account at once", async || {
        (stage.database.number(running).await == 3).then_some(())
    })
    .await;
    // Every unfinished run is found, on whichever part it lies, also when new jobs go home again.
    spread(&stage, &account, &json!({ "spread": 1 })).await;
    let listed = account.api.get("/v1/runs?limit=100").await.expect(200);
    let listed: Vec<&str> =
        listed["items"].as_array().expect("a page").iter().filter_map(|run| run["run"].as_str()).collect();
    let newest: Vec<&str> = runs.iter().rev().take(100).map(String::as_str).collect();
    assert_eq!(listed, newest);
    for run in runs.iter().step_by(20) {
        account.show(run).await;
    }
    eventually("every run has ended", async || (stage.database.unfinished_count().await == 0).then_some(())).await;
    let history = stage.database.history().await;
    assert_eq!(history.keys().cloned().collect::<BTreeSet<_>>(), runs, "what was accepted is what has ended");
    assert!(history.values().all(|state| state == "succeeded"), "{history:?}");
    assert_eq!(stage.database.stored(&account, "count").await, Some(EVENTS.to_string()), "each run has counted once");
    stage.database.settled().await;
}

#[tokio::test]
async fn the_limits_of_an_account_on_three_hosts_hold_in_sum() {
    const EVENTS: usize = 60;
    const MAX: i64 = 10;
    let (stage, others) = three_hosts().await;
    let account = account_of_all(&stage).await;
    let limits = |max: i64| {
        json!({
            "burst": { "max": max, "period_ms": 3_600_000 },
            "long": { "max": 1_000_000, "period_ms": 86_400_000 },
            "exact": true,
        })
    };
    spread(&stage, &account, &json!({ "spread": SPREAD, "limits": limits(MAX) })).await;
    let one = json!({ "same": { "plugin": "json-map", "inputs": { "in": "event" }, "config": { "expression": "." } } });
    let mut manifest = project("large", &one);
    manifest["triggers"][0]["on_limit"] = json!("queue");
    account.deploy(&manifest).await;

    let at = [account.clone(), account.at(&others[0]), account.at(&others[1])];
    for number in 0..EVENTS {
        let run = eventually("the host knows the project", async || {
            Some(at[number % 3].send("large", &json!(number)).await).filter(|answer| answer.status != 404)
        })
        .await;
        run.expect(202);
    }
    let full = "select count(*) from limiter_snapshot where throttled_until > now() + interval '1 minute'";
    eventually("every part is full, and nothing is under way", async || {
        let (full, claims) =
            (stage.database.number(full).await, stage.database.number("select count(*) from claim").await);
        (full == i64::from(SPREAD) && claims == 0).then_some(())
    })
    .await;
    assert_eq!(stage.database.ended_count().await, MAX, "what all hosts have run together");

    spread(&stage, &account, &json!({ "spread": SPREAD, "limits": limits(1_000) })).await;
    eventually("every run has ended", async || (stage.database.unfinished_count().await == 0).then_some(())).await;
    assert_eq!(stage.database.history().await.len(), EVENTS);
}
