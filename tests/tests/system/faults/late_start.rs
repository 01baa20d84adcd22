//! A host that sleeps past its lease and wakes up with work before it: it begins nothing before it has renewed.

use serde_json::{Value, json};

use crate::support::{Account, Database, Host, HostPlan, Outside, eventually, grants, project};

const TOLD: &str = "/told";
/// The first host on a database is given this number.
const SLEEPER: i16 = 0;

/// An account whose runs are the sleeper's.
async fn account_of_the_sleeper(sleeper: &Host, database: &Database) -> Account {
    eventually("two hosts share the shards evenly", async || {
        (database.shard_counts().await == [128, 128]).then_some(())
    })
    .await;
    let mut number = 0;
    loop {
        let account = Account::new(&sleeper.operator(), &format!("acme-{number}")).await;
        if database.owner(account.shard()).await == Some(SLEEPER) {
            return account;
        }
        number += 1;
    }
}

async fn leases_run_out(database: &Database) -> i64 {
    database.number("select count(*) from host where expires_at < clock_timestamp()").await
}

/// Lets a host sleep until its lease has run out, and an event come for it meanwhile. While it cannot renew, it wakes up.
/// Answers with the requests to the world outside that it has made until then.
async fn begun_without_a_lease(guard_off: bool) -> usize {
    let outside = Outside::start().await;
    let database = Database::fresh().await;
    let plan = HostPlan::on(&database.url).allow(&outside);
    let sleeping = if guard_off { plan.clone().fault("lease-guard-off=off") } else { plan.clone() };
    let (sleeper, other) = (sleeping.start().await, plan.start().await);
    let account = account_of_the_sleeper(&sleeper, &database).await.at(&other);
    let tell = json!({
        "plugin": "http-request",
        "inputs": { "in": "event" },
        "config": { "url": format!("{}{TOLD}", outside.url) },
        "grants": grants(&outside),
    });
    account.deploy(&project("tell", &json!({ "tell": tell }))).await;
    account.run("tell", &json!("in time")).await;
    let told_in_time = outside.received(TOLD).len();

    // Whoever would reap it passes it over: what it begins from now on is its own doing.
    let held = database.hold_host(SLEEPER).await;
    sleeper.pause().await;
    eventually("the lease has run out", async || (leases_run_out(&database).await == 1).then_some(())).await;
    let late = account.start("tell", &json!("late")).await;
    sleeper.wake().await;
    let told_late = || outside.received(TOLD).len() - told_in_time;
    if guard_off {
        eventually("the run is begun", async || (told_late() > 0).then_some(())).await;
    } else {
        // That takes seconds, in which it has heard of the event and could have begun.
        eventually("the host has tried to renew in vain", async || {
            sleeper.log().contains("the lease was not renewed").then_some(())
        })
        .await;
    }
    let begun = told_late();
    assert_eq!(leases_run_out(&database).await, 1, "the lease was renewed too soon");
    held.rollback().await.expect("the server is up");
    account.succeeded(&late).await;
    database.settled().await;
    begun
}

#[tokio::test]
async fn a_host_that_slept_past_its_lease_begins_nothing_before_it_has_renewed() {
    assert_eq!(begun_without_a_lease(false).await, 0);
}

#[tokio::test]
async fn its_own_monotonic_clock_is_what_keeps_a_late_host_from_beginning() {
    assert_eq!(begun_without_a_lease(true).await, 1, "without the guard a host without a lease speaks to the world");
}

#[tokio::test]
async fn a_call_that_waited_for_its_turn_past_the_lease_is_not_begun() {
    is_not_begun_past_the_lease(|plan| plan, &json!({ "running_max": 1 })).await;
}

#[tokio::test]
async fn a_call_that_waited_for_room_past_the_lease_is_not_begun() {
    is_not_begun_past_the_lease(|plan| plan.set("sandbox.instances_max", "1"), &json!({})).await;
}

/// Two calls of a run of which one has to wait, until the lease of their host has run out.
async fn is_not_begun_past_the_lease(settings: impl FnOnce(HostPlan) -> HostPlan, one_at_a_time: &Value) {
    let outside = Outside::start().await;
    let database = Database::fresh().await;
    let plan = settings(HostPlan::on(&database.url).allow(&outside));
    let (sleeper, other) = (plan.start().await, plan.start().await);
    let account = account_of_the_sleeper(&sleeper, &database).await.at(&other);
    sleeper.operator().put(&format!("/v1/accounts/{}", account.name), one_at_a_time).await.expect(200);
    let ask = |name: &str| {
        json!({
            "plugin": "http-request",
            "inputs": { "in": "event" },
            "config": { "url": format!("{}/hold/{name}", outside.url) },
            "grants": grants(&outside),
        })
    };
    // Both at once, if they might.
    account.deploy(&project("ask", &json!({ "left": ask("left"), "right": ask("right") }))).await;
    let run = account.start("ask", &json!(null)).await;
    let asked = || outside.received("/hold/").len();
    eventually("one of them is under way", async || (asked() == 1).then_some(())).await;

    let held = database.hold_host(SLEEPER).await;
    sleeper.pause().await;
    eventually("the lease has run out", async || (leases_run_out(&database).await == 1).then_some(())).await;
    ["/hold/left", "/hold/right"].into_iter().for_each(|path| outside.release(path));
    sleeper.wake().await;
    eventually("the host has tried to renew in vain", async || {
        sleeper.log().contains("the lease was not renewed").then_some(())
    })
    .await;
    assert_eq!(asked(), 1, "the one that waited is begun when the host has its lease again, or by another");
    assert_eq!(leases_run_out(&database).await, 1, "the lease was renewed too soon");
    held.rollback().await.expect("the server is up");
    account.succeeded(&run).await;
    database.settled().await;
}
