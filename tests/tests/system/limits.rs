//! Rate limits: refused with a time that is true, queued without a write, changed while everything runs.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::{Account, Answer, Audit, Stage, eventually, project};

/// Sets an account's burst limit.
async fn limit(stage: &Stage, account: &Account, max: u32, period_ms: u32) {
    let limits = json!({ "limits": {
        "burst": { "max": max, "period_ms": period_ms },
        "long": { "max": 1_000_000, "period_ms": 86_400_000 },
    }});
    stage.host.operator().put(&format!("/v1/accounts/{}", account.name), &limits).await.expect(200);
}

/// A project whose runs instantiate one module.
fn small(on_limit: &str) -> Value {
    let nodes =
        json!({ "same": { "plugin": "json-map", "inputs": { "in": "event" }, "config": { "expression": "." } } });
    let mut manifest = project("small", &nodes);
    manifest["triggers"][0]["on_limit"] = json!(on_limit);
    manifest
}

/// Runs until the account is over its limit; answers with the refusal.
async fn exhaust(account: &Account) -> Answer {
    for number in 0..50 {
        let answer = account.send("small", &json!(number)).await;
        if answer.status == 429 {
            return answer;
        }
        let run = answer.expect(202)["run"].as_str().expect("a run").to_owned();
        account.succeeded(&run).await;
    }
    panic!("50 runs, and the limit is not reached");
}

#[tokio::test]
async fn an_account_over_its_burst_limit_is_told_a_time_after_which_it_is_let_in() {
    let stage = Stage::new().await;
    let account = stage.account("acme").await;
    account.deploy(&small("reject")).await;
    limit(&stage, &account, 3, 4_000).await;

    for _ in 0..2 {
        let refused = exhaust(&account).await;
        let told_at = Instant::now();
        let seconds: u64 = refused.header("retry-after").and_then(|text| text.parse().ok()).expect("whole seconds");
        assert!((1..=4).contains(&seconds), "no longer than the window: {seconds}");
        let problem = refused.problem(429);
        assert_eq!(problem["retry_after"], seconds);
        assert!(problem["detail"].as_str().is_some_and(|text| text.contains("rate limit")), "{problem:#}");

        let ended = stage.database.ended_count().await;
        account.send("small", &json!("too early")).await.problem(429);
        assert_eq!(
            stage.database.ended_count().await + stage.database.unfinished_count().await,
            ended,
            "nothing is kept"
        );

        tokio::time::sleep_until((told_at + Duration::from_secs(seconds)).into()).await;
        account.run("small", &json!("in time")).await;
    }
}

#[tokio::test]
async fn a_neighbour_of_a_throttled_account_is_not_held_up() {
    let stage = Stage::new().await;
    let (throttled, neighbour) = (stage.account("throttled").await, stage.account("neighbour").await);
    for account in [&throttled, &neighbour] {
        account.deploy(&small("reject")).await;
    }
    limit(&stage, &throttled, 1, 60_000).await;
    exhaust(&throttled).await.problem(429);
    neighbour.run("small", &json!(1)).await;
    throttled.send("small", &json!(1)).await.problem(429);
}

/// Waits until the account is over its limit with runs in its queue, nothing in flight, and some seconds still to wait;
/// answers with how many seconds it is told at that moment.
async fn throttled(stage: &Stage, account: &Account) -> u64 {
    eventually("the account is throttled, and nothing of it is in flight", async || {
        let standing = account.api.get("/v1/limits").await.expect(200);
        assert!(standing["unfinished_runs"].as_i64() > Some(0), "nothing is left to wait: {standing:#}");
        let claims = stage.database.number("select count(*) from claim").await;
        standing["wait_seconds"].as_u64().filter(|seconds| *seconds >= 3 && claims == 0)
    })
    .await
}

#[tokio::test]
async fn queued_runs_of_a_throttled_account_wait_without_a_write_and_go_on_when_the_window_turns() {
    const RUNS: usize = 40;
    let stage = Stage::new().await;
    let account = stage.account("acme").await;
    account.deploy(&small("queue")).await;
    let audit = Audit::install(&stage.database).await;
    limit(&stage, &account, 8, 6_000).await;

    for number in 0..RUNS {
        account.start("small", &json!(number)).await;
    }
    let seconds = throttled(&stage, &account).await;
    let (watched, written, ended) = (Instant::now(), audit.written().await, stage.database.ended_count().await);
    eventually("the window turns", async || (audit.written().await > written).then_some(())).await;
    // The seconds were rounded up, and the look at the audit took a moment.
    let quiet = watched.elapsed();
    assert!(quiet > Duration::from_secs(seconds - 1), "a write after {quiet:?}, and {seconds} s were still to wait");
    eventually("runs go on", async || (stage.database.ended_count().await > ended).then_some(())).await;

    limit(&stage, &account, 1_000, 6_000).await;
    eventually("every run has ended", async || (stage.database.unfinished_count().await == 0).then_some(())).await;
    let history = stage.database.history().await;
    assert_eq!(history.len(), RUNS);
    assert!(history.values().all(|state| state == "succeeded"), "{history:?}");
}

#[tokio::test]
async fn limits_that_an_operator_changes_take_effect_at_once() {
    let stage = Stage::new().await;
    let account = stage.account("acme").await;
    account.deploy(&small("queue")).await;
    account.run("small", &json!(0)).await;

    limit(&stage, &account, 2, 600_000).await;
    assert_eq!(account.api.get("/v1/limits").await.expect(200)["limits"]["burst"]["max"], 2);
    for number in 0..6 {
        account.start("small", &json!(number)).await;
    }
    eventually("the account is over its limit", async || {
        (account.api.get("/v1/limits").await.expect(200)["wait_seconds"] != 0).then_some(())
    })
    .await;
    assert!(stage.database.unfinished_count().await > 0);

    limit(&stage, &account, 1_000, 600_000).await;
    let changed = Instant::now();
    eventually("the waiting runs go on", async || (stage.database.unfinished_count().await == 0).then_some(())).await;
    assert!(changed.elapsed() < Duration::from_secs(5), "it took {:?}", changed.elapsed());
}
