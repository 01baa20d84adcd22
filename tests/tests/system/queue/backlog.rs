//! What waiting costs: a million jobs of a throttled account, and payloads that are too large to be fetched together.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use trellis_model::{Queue, RunId};

use super::{ask, quick};
use crate::support::{Account, Database, Outside, Stage, eventually, project};

/// Puts jobs into an account's queue as ingest would, many at a time.
async fn fill(database: &Database, account: &Account, deployed: &Value, count: i64) {
    let payload = json!({ "attributes": [], "data": 1 }).to_string();
    let written = sqlx::query(
        "insert into job (shard, account_id, id, project_id, revision_id, grid, payload)
         select $1, $2, $3 + number, project.id, $4, 'main', $5
         from generate_series(1, $6) as number, project where project.account_id = $2",
    )
    .bind(Queue::home(account.id).shard.0)
    .bind(account.id.0)
    .bind(RunId(1 << 40).0)
    .bind(deployed["revision"].as_i64().expect("a deployment has a revision"))
    .bind(payload.as_bytes())
    .bind(count)
    .execute(&database.pool)
    .await
    .expect("the schema is there");
    assert_eq!(written.rows_affected(), count.cast_unsigned());
}

/// Rows that the server has read and written in the queue's tables, and transactions, so far.
async fn work(database: &Database) -> [i64; 3] {
    [
        database.number("select coalesce(sum(idx_tup_fetch + seq_tup_read), 0)::bigint from pg_stat_user_tables where relname in ('job', 'job_later', 'claim')").await,
        database.number("select coalesce(sum(n_tup_ins + n_tup_upd + n_tup_del), 0)::bigint from pg_stat_user_tables where relname in ('job', 'job_later', 'claim', 'checkpoint')").await,
        database.number("select xact_commit from pg_stat_database where datname = current_database()").await,
    ]
}

/// Rows read, rows written and transactions, each second, until the server has counted as many of the latter as happen
/// in some seconds on an idle host.
async fn rate(database: &Database) -> [f64; 3] {
    const TRANSACTIONS: i64 = 60;
    // Sessions that were idle for ten seconds have reported all that they did before.
    tokio::time::sleep(Duration::from_secs(11)).await;
    let (before, begun) = (work(database).await, Instant::now());
    let after = eventually("the host goes about its duties", async || {
        let now = work(database).await;
        (now[2] - before[2] >= TRANSACTIONS).then_some(now)
    })
    .await;
    let seconds = begun.elapsed().as_secs_f64();
    [0, 1, 2].map(|index| (after[index] - before[index]) as f64 / seconds)
}

#[tokio::test]
async fn a_million_waiting_jobs_of_a_throttled_account_cost_as_much_as_none() {
    let stage = Stage::new().await;
    let (account, neighbour) = (stage.account("acme").await, stage.account("neighbour").await);
    let small = project("small", &json!({ "same": quick() }));
    let deployed = account.deploy(&small).await;
    neighbour.deploy(&small).await;
    let window = |max: u32| json!({ "max": max, "period_ms": 86_400_000 });
    let limits = json!({ "limits": { "burst": window(1), "long": window(1) } });
    stage.host.operator().put("/v1/accounts/acme", &limits).await.expect(200);
    account.run("small", &json!("takes the one permit there is")).await;
    let idle = rate(&stage.database).await;

    fill(&stage.database, &account, &deployed, 1_000_000).await;
    let listed = account.api.get("/v1/runs?state=queued&limit=3").await.expect(200);
    assert_eq!(listed["items"].as_array().map(Vec::len), Some(3));
    // Every shard is looked through every few seconds, so by now the owner knows.
    let waiting = rate(&stage.database).await;
    assert_eq!(stage.database.number("select count(*) from claim").await, 0, "none of them is fetched");
    neighbour.run("small", &json!("passes them all")).await;
    assert_eq!(stage.database.number("select count(*) from job").await, 1_000_000);
    assert!(waiting[1] < 1.0, "rows are written for those that wait: {waiting:?} a second, idle {idle:?}");
    assert!(waiting[0] < idle[0] + 100.0, "rows are read over and over: {waiting:?} a second, idle {idle:?}");
    assert!(waiting[2] < idle[2] * 2.0 + 2.0, "statements: {waiting:?} a second, idle {idle:?}");
}

#[tokio::test]
async fn large_payloads_are_not_fetched_all_at_once() {
    const EVENTS: usize = 40;
    let outside = Outside::start().await;
    let large = |plan: crate::support::HostPlan| plan.allow(&outside).set("http.body_max", "2MiB");
    let stage = Stage::with(large).await;
    let account = stage.account("acme").await;
    account.deploy(&project("large", &json!({ "ask": ask(&outside) }))).await;
    // Nothing is fetched before all are there.
    stage.host.operator().put("/v1/accounts/acme", &json!({ "running_max": 1 })).await.expect(200);
    let blocker = account.start("large", &json!({ "path": "/hold/it" })).await;
    outside.asked("/hold/it").await;
    let rest = "x".repeat(1 << 20);
    for _ in 0..EVENTS {
        account.start("large", &json!({ "path": "/hold/it", "rest": rest })).await;
    }
    stage.host.operator().put("/v1/accounts/acme", &json!({ "running_max": 0 })).await.expect(200);
    let largest = "select coalesce(max(cardinality(ids)), 0)::bigint from claim";
    let all = "select coalesce(sum(cardinality(ids)), 0)::bigint from claim";
    eventually("all are fetched", async || {
        (stage.database.number(all).await == 1 + i64::try_from(EVENTS).expect("few")).then_some(())
    })
    .await;
    let largest = stage.database.number(largest).await;
    assert!((2..=17).contains(&largest), "{largest} payloads of 1 MiB were fetched at once");
    outside.release("/hold/it");
    account.succeeded(&blocker).await;
    eventually("every run has ended", async || (stage.database.unfinished_count().await == 0).then_some(())).await;
    stage.database.settled().await;
}
