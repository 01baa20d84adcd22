//! What is shown of runs whose host is silent.

use std::time::Duration;

use serde_json::json;

use crate::{
    cancel::{account_of_the_other, settled},
    support::{Audit, HELD, Outside, Stage, deploy_held, eventually, held_run},
};

#[tokio::test]
async fn nothing_is_shown_to_be_running_past_the_lease_of_its_host() {
    let outside = Outside::start().await;
    // Renewed four times a lease: what is done to it here stays for a while.
    let stage = Stage::with(|plan| plan.allow(&outside).set("queue.lease", "240s")).await;
    let account = stage.account("acme").await;
    let run = held_run(&account, &outside).await;
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
    outside.release(HELD);
    account.succeeded(&run).await;
}

#[tokio::test]
async fn a_run_of_a_host_that_sleeps_is_queued_or_running_on_another_once_the_lease_is_over() {
    const LEASE: Duration = Duration::from_secs(2);
    let outside = Outside::start().await;
    let (stage, other, account) = account_of_the_other(|plan| plan.allow(&outside)).await;
    let run = held_run(&account, &outside).await;
    other.pause().await;
    let paused = std::time::Instant::now();
    eventually("another host runs it", async || {
        let is_over = paused.elapsed() > LEASE;
        let state = account.show(&run).await["state"].clone();
        let owner = stage.database.owner(account.shard()).await;
        assert!(!is_over || state == "queued" || (state == "running" && owner == Some(0)), "{state} of {owner:?}");
        (outside.received(HELD).len() == 2).then_some(())
    })
    .await;
    outside.release(HELD);
    account.succeeded(&run).await;
    other.wake().await;
    settled(&stage.database).await;
}

/// What the epochs of the shards come to.
const EPOCHS: &str = "select sum(epoch)::bigint from shard";

#[tokio::test]
async fn a_host_whose_shards_were_taken_by_its_own_late_statement_takes_them_anew() {
    let outside = Outside::start().await;
    let stage = Stage::facing(&outside).await;
    let account = stage.account("acme").await;
    let run = held_run(&account, &outside).await;
    let audit = Audit::install(&stage.database).await;
    let before = stage.database.number(EPOCHS).await;
    // What such a statement leaves behind.
    sqlx::query("update shard set epoch = epoch + 1").execute(&stage.database.pool).await.expect("the schema is there");
    eventually("the shards are taken anew", async || {
        (stage.database.number(EPOCHS).await == before + 512).then_some(())
    })
    .await;
    outside.release(HELD);
    account.succeeded(&run).await;
    assert_eq!(audit.lost_hosts().await, 0, "no host was lost");
    account.run("held", &json!(2)).await;
    stage.database.settled().await;
}

#[tokio::test]
async fn a_shard_that_a_host_has_without_knowing_it_is_given_back() {
    let (stage, _other, account) = account_of_the_other(|plan| plan).await;
    let shares = async || stage.database.shard_counts().await;
    eventually("both have their share", async || (shares().await == [128, 128]).then_some(())).await;
    sqlx::query("update shard set epoch = epoch + 1, owner = (select id from host where number = 0) where shard = $1")
        .bind(account.shard().0)
        .execute(&stage.database.pool)
        .await
        .expect("the schema is there");
    eventually("it is where it belongs", async || (shares().await == [128, 128]).then_some(())).await;
}

#[tokio::test]
async fn a_lease_is_renewed_while_shards_are_being_taken() {
    let stage = Stage::with(|plan| plan.set("queue.lease", "8s")).await;
    let ends_ms =
        async || stage.database.number("select (extract(epoch from expires_at) * 1000)::bigint from host").await;
    eventually("it has all shards", async || (stage.database.shard_counts().await == [256]).then_some(())).await;
    let before = ends_ms().await;
    // Whoever takes shards looks for requests to cancel, and waits for this.
    let mut lock = stage.database.pool.begin().await.expect("the server is up");
    sqlx::query("lock table cancel_request in access exclusive mode").execute(&mut *lock).await.expect("a lock");
    sqlx::query("update shard set owner = null where shard < 100")
        .execute(&stage.database.pool)
        .await
        .expect("the schema is there");
    eventually("the lease is renewed again and again", async || {
        let is_live = "select count(*) from host where expires_at > clock_timestamp()";
        assert_eq!(stage.database.number(is_live).await, 1, "the lease has run out");
        (ends_ms().await > before + 9_000).then_some(())
    })
    .await;
    lock.rollback().await.expect("it was held all the time");
}

#[tokio::test]
async fn a_host_that_did_not_let_go_would_run_the_same_job_again_and_again() {
    let outside = Outside::start().await;
    let stage = Stage::with(|plan| plan.allow(&outside).fault("let-go-off=off")).await;
    let account = stage.account("acme").await;
    deploy_held(&account, &outside).await;
    outside.release(HELD);
    eventually("it has all shards", async || (stage.database.shard_counts().await == [256]).then_some(())).await;
    sqlx::query("update shard set epoch = epoch + 1").execute(&stage.database.pool).await.expect("the schema is there");
    account.start("held", &json!(1)).await;
    eventually("it is run three times", async || (outside.received(HELD).len() > 2).then_some(())).await;
    assert_eq!(stage.database.ended_count().await, 0, "and does not end");
}
