//! What is shown of runs whose host is silent.

use std::time::Duration;

use serde_json::json;

use crate::{
    cancel::{account_of_the_other, deploy_held, settled},
    support::{Outside, Stage, eventually},
};

#[tokio::test]
async fn nothing_is_shown_to_be_running_past_the_lease_of_its_host() {
    let outside = Outside::start().await;
    // Renewed four times a lease: what is done to it here stays for a while.
    let stage = Stage::with(|plan| plan.allow(&outside).set("queue.lease", "240s")).await;
    let account = stage.account("acme").await;
    deploy_held(&account, &outside).await;
    let run = account.start("held", &json!(1)).await;
    outside.asked("/hold/answer").await;
    assert_eq!(account.show(&run).await["state"], "running");
    let counted = async |state: &str| {
        let runs = account.api.get(&format!("/v1/runs?state={state}")).await.expect(200);
        runs["items"].as_array().map(Vec::len)
    };
    assert_eq!((counted("running").await, counted("queued").await), (Some(1), Some(0)));
    sqlx::query("update host set expires_at = clock_timestamp() - interval '1 second'")
        .execute(&stage.database.pool)
        .await
        .expect("the schema is there");
    assert_eq!(account.show(&run).await["state"], "queued");
    assert_eq!((counted("running").await, counted("queued").await), (Some(0), Some(1)));
    outside.release("/hold/answer");
    account.succeeded(&run).await;
}

#[tokio::test]
async fn a_run_of_a_host_that_sleeps_is_queued_or_running_on_another_once_the_lease_is_over() {
    const LEASE: Duration = Duration::from_secs(2);
    let outside = Outside::start().await;
    let (stage, other, account) = account_of_the_other(|plan| plan.allow(&outside)).await;
    deploy_held(&account, &outside).await;
    let run = account.start("held", &json!(1)).await;
    outside.asked("/hold/answer").await;
    other.pause().await;
    let paused = std::time::Instant::now();
    eventually("another host runs it", async || {
        let is_over = paused.elapsed() > LEASE;
        let state = account.show(&run).await["state"].clone();
        let owner = stage.database.owner(account.shard()).await;
        assert!(!is_over || state == "queued" || (state == "running" && owner == Some(0)), "{state} of {owner:?}");
        (outside.received("/hold/answer").len() == 2).then_some(())
    })
    .await;
    outside.release("/hold/answer");
    account.succeeded(&run).await;
    other.wake().await;
    settled(&stage.database).await;
}
