//! A host that is asked to stop: what it does not need any more it gives to the others at once.

use std::time::Duration;

use serde_json::{Value, json};

use super::{ask, paths};
use crate::support::{Account, HostPlan, Outside, Stage, eventually, eventually_within, grants, project};

/// Two nodes, one after the other, each of which is held until it is let go.
fn held_twice(outside: &Outside, number: usize) -> Value {
    let second = json!({
        "plugin": "http-request",
        "inputs": { "in": "first.response" },
        "config": { "url": format!("{}/hold/second-{number}", outside.url) },
        "grants": grants(outside),
    });
    json!({ "first": ask(outside), "second": second })
}

async fn start_held(account: &Account, outside: &Outside, number: usize) -> String {
    account.deploy(&project("slow", &held_twice(outside, number))).await;
    let run = account.start("slow", &json!({ "path": format!("/hold/first-{number}") })).await;
    outside.asked(&format!("/hold/first-{number}")).await;
    run
}

#[tokio::test]
async fn idle_shards_of_a_stopping_host_are_taken_while_it_still_finishes_a_run() {
    let outside = Outside::start().await;
    // Long enough that a test that waits for a renewal fails.
    let patient = |plan: HostPlan| plan.allow(&outside).set("queue.lease", "60s");
    let stage = Stage::with(patient).await;
    let account = stage.account("acme").await;
    account.deploy(&project("slow", &json!({ "ask": ask(&outside) }))).await;
    let run = account.start("slow", &json!({ "path": "/hold/it" })).await;
    outside.asked("/hold/it").await;
    let mut other = patient(HostPlan::on(&stage.database.url)).start().await;

    stage.host.terminate().await;
    let soon = Duration::from_secs(10);
    eventually_within(soon, "all shards but the one of the run are taken over", async || {
        (stage.database.shard_counts().await == [1, 255]).then_some(())
    })
    .await;
    let claims = stage.database.number("select count(*) from claim").await;
    assert_eq!(claims, 1, "the run is still the first host's");
    outside.release("/hold/it");
    eventually_within(soon, "the last shard follows as soon as the run has ended", async || {
        (stage.database.shard_counts().await == [256]).then_some(())
    })
    .await;
    assert!(stage.host.ended().await.success());
    assert!(other.is_running());
    account.at(&other).succeeded(&run).await;
    assert_eq!(outside.received("/hold/it").len(), 1);
    eventually("nothing is left", async || (stage.database.unfinished_count().await == 0).then_some(())).await;
}

#[tokio::test]
async fn a_host_that_stops_leaves_a_run_to_the_next_one_between_two_nodes() {
    let outside = Outside::start().await;
    let stage = Stage::facing(&outside).await;
    let account = stage.account("acme").await;
    let run = start_held(&account, &outside, 0).await;
    let other = HostPlan::on(&stage.database.url).allow(&outside).start().await;
    stage.host.terminate().await;
    eventually("the host leaves", async || {
        let leaving = "select count(*) from host where is_leaving";
        (stage.database.number(leaving).await == 1).then_some(())
    })
    .await;
    outside.release("/hold/first-0");
    outside.asked("/hold/second-0").await;
    assert!(stage.host.ended().await.success());
    assert_eq!(outside.received("/hold/").len(), 2, "it is the other host that asks, and it asks once");
    outside.release("/hold/second-0");
    account.at(&other).succeeded(&run).await;
    assert_eq!(outside.received("/hold/").len(), 2);
    stage.database.settled().await;
}

#[tokio::test]
async fn shards_with_long_runs_come_to_a_new_host_between_two_nodes() {
    const ACCOUNTS: usize = 12;
    let outside = Outside::start().await;
    let stage = Stage::facing(&outside).await;
    let mut runs = Vec::new();
    for number in 0..ACCOUNTS {
        let account = stage.account(&format!("account-{number}")).await;
        let run = start_held(&account, &outside, number).await;
        runs.push((account, run));
    }
    let _other = HostPlan::on(&stage.database.url).allow(&outside).start().await;
    eventually("shards without runs are given away", async || {
        stage.database.shard_counts().await.iter().any(|count| *count > 100 && *count <= 128).then_some(())
    })
    .await;
    (0..ACCOUNTS).for_each(|number| outside.release(&format!("/hold/first-{number}")));
    eventually("every run is in its second node", async || {
        (paths(&outside, "/hold/second-").len() == ACCOUNTS).then_some(())
    })
    .await;
    eventually("two hosts share the shards evenly", async || {
        (stage.database.shard_counts().await == [128, 128]).then_some(())
    })
    .await;
    (0..ACCOUNTS).for_each(|number| outside.release(&format!("/hold/second-{number}")));
    for (account, run) in &runs {
        account.succeeded(run).await;
    }
    stage.database.settled().await;
}
