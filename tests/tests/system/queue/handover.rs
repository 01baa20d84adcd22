//! A host that is asked to stop: what it does not need any more it gives to the others at once.

use std::time::Duration;

use serde_json::json;

use super::ask;
use crate::support::{HostPlan, Outside, Stage, eventually, eventually_within, project};

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
