//! The fourth promise: nothing stays `running` past its lease.

use std::time::Duration;

use serde_json::json;

use crate::support::{Account, Database, Host, HostPlan, Outside, eventually, eventually_within, grants, project};

const LEASE: Duration = Duration::from_secs(2);
const RUNS: usize = 3;

/// Runs that count as running, of a host whose lease has run out.
async fn abandoned(database: &Database) -> i64 {
    database
        .number(
            "select count(*) from job join claim on job.shard = claim.shard and job.id = any (claim.ids)
             join shard on shard.shard = claim.shard and shard.epoch = claim.epoch
             left join host on host.id = shard.owner
             where host.id is null or host.expires_at < clock_timestamp()",
        )
        .await
}

/// How long ago the lease of the silent host has run out, in leases; 0 before that.
async fn leases_overdue(database: &Database) -> i64 {
    database
        .number(
            "select coalesce(max(greatest(0, extract(epoch from clock_timestamp() - expires_at)))::bigint, 0) / 2 from host",
        )
        .await
}

/// Two hosts; the first has runs under way that do not end by themselves. It is killed.
async fn killed_while_running(outside: &Outside, settings: impl FnOnce(HostPlan) -> HostPlan) -> (Database, Host) {
    let database = Database::fresh().await;
    let plan = HostPlan::on(&database.url).allow(outside);
    let victim = plan.start().await;
    let account = Account::new(&victim.operator(), "acme").await;
    let ask = json!({
        "plugin": "http-request",
        "inputs": { "in": "event" },
        "config": { "url": format!("{}/hold/still", outside.url) },
        "grants": grants(outside),
    });
    account.deploy(&project("slow", &json!({ "ask": ask }))).await;
    for number in 0..RUNS {
        account.start("slow", &json!(number)).await;
    }
    eventually("all runs are under way", async || (outside.received("/hold/still").len() == RUNS).then_some(())).await;
    victim.kill().await;
    let other = settings(plan).start().await;
    (database, other)
}

#[tokio::test]
async fn nothing_stays_running_past_the_lease_of_its_host() {
    let outside = Outside::start().await;
    let (database, other) = killed_while_running(&outside, |plan| plan).await;
    eventually_within(LEASE * 3, "the runs are begun by the other host", async || {
        (outside.received("/hold/still").len() == 2 * RUNS).then_some(())
    })
    .await;
    assert_eq!(abandoned(&database).await, 0);
    outside.release("/hold/still");
    eventually("the runs end", async || (database.ended_count().await == RUNS as i64).then_some(())).await;
    database.settled().await;
    drop(other);
}

#[tokio::test]
async fn without_reaping_the_runs_of_a_dead_host_would_stay_running() {
    let outside = Outside::start().await;
    let (database, other) = killed_while_running(&outside, |plan| plan.fault("reap-off=off")).await;
    eventually("three more leases have gone by", async || (leases_overdue(&database).await >= 3).then_some(())).await;
    assert_eq!(abandoned(&database).await, RUNS as i64);
    assert_eq!(outside.received("/hold/still").len(), RUNS, "nobody has begun them again");
    drop(other);
}
