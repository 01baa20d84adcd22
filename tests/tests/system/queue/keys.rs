//! Concurrency keys: one run at a time, in order of arrival, and nothing written for those that wait.

use serde_json::{Value, json};

use super::{ask, paths, quick, start};
use crate::support::{Account, Audit, HostPlan, Outside, Stage, eventually, grants, project};

/// A project whose runs of one `key` are run one at a time.
fn keyed(nodes: &Value) -> Value {
    let mut manifest = project("keyed", nodes);
    manifest["grids"]["main"]["concurrency_key"] = json!("/key");
    manifest
}

/// A project whose runs do what their event says as `action`.
fn acting(outside: &Outside) -> Value {
    keyed(&json!({ "act": {
        "plugin": "misbehave",
        "inputs": { "in": "event#/action" },
        "grants": grants(outside),
    }}))
}

/// Asks twice for the same path: two runs at once would be seen to take turns.
async fn ask_twice(account: &Account, outside: &Outside, key: &str, number: usize) -> String {
    let request = json!({ "method": "GET", "url": format!("{}/{key}/{number:03}", outside.url) });
    let action = json!({ "do": "fetch-times", "request": request, "times": 2 });
    account.start("keyed", &json!({ "key": key, "action": action })).await
}

/// Asserts that what was asked for came run by run, in the order of arrival.
fn assert_one_after_another(outside: &Outside, key: &str, count: usize) {
    let mut asked = paths(outside, &format!("/{key}/"));
    assert!(asked.is_sorted(), "runs of {key} overlapped or overtook each other: {asked:?}");
    asked.dedup();
    assert_eq!(asked.len(), count, "{asked:?}");
}

#[tokio::test]
async fn runs_of_one_key_come_one_after_another_through_the_death_of_their_host() {
    const ROUNDS: usize = 12;
    const KEYS: [&str; 3] = ["a", "b", "c"];
    let outside = Outside::start().await;
    let stage = Stage::facing(&outside).await;
    let account = stage.account("acme").await;
    account.deploy(&acting(&outside)).await;
    let next = HostPlan::on(&stage.database.url).allow(&outside).start().await;

    let account = account.at(&next);
    let mut runs = Vec::new();
    let hold = json!({ "do": "fetch", "method": "GET", "url": format!("{}/hold/first", outside.url) });
    runs.push(account.start("keyed", &json!({ "key": "a", "action": hold })).await);
    outside.asked("/hold/first").await;
    for number in 0..ROUNDS {
        for key in KEYS {
            runs.push(ask_twice(&account, &outside, key, number).await);
        }
    }
    eventually("the other keys pass", async || {
        (paths(&outside, "/b/").len() + paths(&outside, "/c/").len() == 4 * ROUNDS).then_some(())
    })
    .await;
    assert!(paths(&outside, "/a/").is_empty(), "the key is held");

    // Whichever host has the account, it dies: with the first run of the key in flight, and again in the middle.
    let owner: i64 =
        sqlx::query_scalar("select host.number from shard join host on host.id = shard.owner where shard = $1")
            .bind(account.shard().0)
            .fetch_one(&stage.database.pool)
            .await
            .map(|number: i16| number.into())
            .expect("the shard has an owner");
    let (owner, other) = if owner == 0 { (stage.host, next) } else { (next, stage.host) };
    owner.kill().await;
    let account = account.at(&other);
    outside.release("/hold/first");
    eventually("the key is in the middle of its runs", async || (paths(&outside, "/a/").len() >= 2).then_some(()))
        .await;
    other.kill().await;
    let last = HostPlan::on(&stage.database.url).allow(&outside).start().await;
    let account = account.at(&last);
    for run in &runs {
        account.succeeded(run).await;
    }
    KEYS.iter().for_each(|key| assert_one_after_another(&outside, key, ROUNDS));
    stage.database.settled().await;
}

#[tokio::test]
async fn a_run_that_waits_for_another_attempt_goes_on_holding_its_key() {
    let outside = Outside::start().await;
    let stage = Stage::facing(&outside).await;
    let account = stage.account("acme").await;
    account.deploy(&keyed(&json!({ "ask": ask(&outside) }))).await;
    let first = account.start("keyed", &json!({ "key": "a", "path": "/flaky/2/first" })).await;
    let second = account.start("keyed", &json!({ "key": "a", "path": "/second" })).await;
    outside.asked("/flaky/2/first").await;
    let other = account.run("keyed", &json!({ "key": "b", "path": "/other" })).await;
    assert_eq!(other["state"], "succeeded");
    let none = account.run("keyed", &json!({ "path": "/none" })).await;
    assert_eq!(none["state"], "succeeded", "without the value there is no key");
    assert!(paths(&outside, "/second").is_empty(), "the first run still holds the key");
    account.succeeded(&first).await;
    account.succeeded(&second).await;
    let asked: Vec<String> =
        paths(&outside, "/").into_iter().filter(|path| path.ends_with("first") || path.ends_with("second")).collect();
    assert_eq!(asked, ["/flaky/2/first", "/flaky/2/first", "/flaky/2/first", "/second"]);
    stage.database.settled().await;
}

#[tokio::test]
async fn runs_that_wait_for_their_key_cost_no_write() {
    const WAITING: usize = 200;
    let outside = Outside::start().await;
    let stage = Stage::facing(&outside).await;
    let account = stage.account("acme").await;
    let mut manifest = keyed(&json!({ "ask": ask(&outside), "same": quick() }));
    let same = manifest["grids"]["main"]["nodes"].as_object_mut().expect("nodes by name").remove("same");
    manifest["grids"]["quick"] = json!({ "concurrency_key": "/key", "nodes": { "same": same } });
    account.deploy(&manifest).await;
    let held = account.start("keyed", &json!({ "key": "a", "path": "/hold/it" })).await;
    outside.asked("/hold/it").await;
    let audit = Audit::install(&stage.database).await;
    // What one run of another key writes, once nothing of it is left but its history.
    let written_by_one = async || {
        let before = audit.written().await;
        let run = start(&account, "keyed", "quick", &json!({ "key": "b" })).await;
        account.succeeded(&run).await;
        let claims = "select count(*) from claim";
        eventually("its claim is gone", async || (stage.database.number(claims).await == 1).then_some(())).await;
        audit.written().await - before
    };
    let alone = written_by_one().await;
    let mut last = held;
    for number in 0..WAITING {
        last = account.start("keyed", &json!({ "key": "a", "path": format!("/a/{number:03}") })).await;
    }
    assert_eq!(written_by_one().await, alone, "those that wait are neither claimed nor moved");
    assert!(paths(&outside, "/a/").is_empty());
    outside.release("/hold/it");
    account.succeeded(&last).await;
    assert_one_after_another(&outside, "a", WAITING);
    stage.database.settled().await;
}
