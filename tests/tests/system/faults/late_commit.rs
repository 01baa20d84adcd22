//! A host that sleeps in the middle of a commit, wakes up when its work is somebody else's, and goes on.

use serde_json::json;

use crate::support::{Account, Books, Database, HostPlan, Ledger, Outside, Told, action, eventually, grants, project};

/// The first call succeeds, the second fails for now, the third is held: what the sleeper has in hand ends the run, while
/// its successor has committed half of it and is busy with the rest.
const SCRIPT: &str = "/script/200,503,hold/late";

/// Lets the host sleep at one step of its commit, until another one has got as far as that. Answers with the books.
async fn slept_at(point: &str, guard_off: Option<&str>) -> Books {
    let outside = Outside::start().await;
    let database = Database::fresh().await;
    let plan = HostPlan::on(&database.url).allow(&outside);
    let mut sleeping = plan.clone().fault(format!("{point}=stop@1"));
    if let Some(guard) = guard_off {
        sleeping = sleeping.fault(format!("{guard}=off"));
    }
    let sleeper = sleeping.start().await;
    let account = Account::new(&sleeper.operator(), "acme").await;
    let nodes = json!({
        "count": action(&json!({ "do": "count", "key": "last" })),
        "ask": {
            "plugin": "http-request",
            "inputs": { "in": "count.out" },
            "config": { "url": format!("{}{SCRIPT}", outside.url) },
            "grants": grants(&outside),
            "retry": { "attempts": 5, "first": "10ms" },
        },
    });
    account.deploy(&project("late", &nodes)).await;
    let ledger = Ledger::default();
    assert_eq!(ledger.send(&account, "late", &json!(null)).await, Told::Accepted);
    eventually("the host sleeps in its commit", async || sleeper.is_paused().then_some(())).await;

    let successor = plan.start().await;
    eventually("another host has begun the rest", async || (outside.received(SCRIPT).len() >= 3).then_some(())).await;
    sleeper.wake().await;
    eventually("the sleeper knows what has happened", async || {
        sleeper.log().contains("silent for longer than its lease").then_some(())
    })
    .await;
    if guard_off.is_some() {
        eventually("the late commit is written", async || (database.ended_count().await == 1).then_some(())).await;
    }
    outside.release(SCRIPT);
    eventually("the run has ended", async || (database.unfinished_count().await == 0).then_some(())).await;
    database.settled().await;
    drop(successor);
    ledger.books(&database).await
}

fn assert_balanced(books: &Books) {
    assert_eq!(books.faults(), Vec::<String>::new());
    assert_eq!(books.ended("succeeded"), 1);
}

#[tokio::test]
async fn a_commit_that_comes_after_the_lease_writes_nothing() {
    assert_balanced(&slept_at("commit-before-fence", None).await);
}

#[tokio::test]
async fn a_host_that_sleeps_behind_the_fence_holds_its_shards_no_longer_than_its_session_lasts() {
    assert_balanced(&slept_at("commit-after-fence", None).await);
}

#[tokio::test]
async fn a_host_that_sleeps_before_the_end_of_its_commit_leaves_nothing_half_written() {
    assert_balanced(&slept_at("commit-before-commit", None).await);
}

#[tokio::test]
async fn the_fence_is_what_stops_a_late_commit() {
    let books = slept_at("commit-before-fence", Some("fence-off")).await;
    let faults = books.faults();
    assert!(faults.iter().any(|fault| fault.contains("is counted 2 times")), "without the fence: {faults:?}");
}
