//! How many modules run at once, of an account and of a grid; and what an operator may not set.

use std::time::Duration;

use bytes::Bytes;
use reqwest::Method;
use serde_json::{Value, json};

use super::{ask, paths, quick, start};
use crate::support::{Outside, Stage, eventually, eventually_within, project};

const RUNS: usize = 6;
/// Jobs that were fetched and have not ended.
const CLAIMED: &str = "select count(*) from job join claim on job.id = any (claim.ids)";

async fn in_flight(outside: &Outside, count: usize) {
    let what = format!("{count} requests are held");
    eventually(&what, async || (paths(outside, "/hold/").len() >= count).then_some(())).await;
}

#[tokio::test]
async fn an_account_has_no_more_modules_running_than_its_maximum() {
    let outside = Outside::start().await;
    let stage = Stage::facing(&outside).await;
    let (account, neighbour) = (stage.account("acme").await, stage.account("neighbour").await);
    let operator = stage.host.operator();
    operator.put("/v1/accounts/acme", &json!({ "running_max": 2 })).await.expect(200);
    // Three branches each: runs alone are not what is counted.
    let branches: Value = (0..3).map(|number| (format!("ask{number}"), ask(&outside))).collect();
    account.deploy(&project("slow", &branches)).await;
    neighbour.deploy(&project("small", &json!({ "same": quick() }))).await;
    for number in 0..RUNS {
        account.start("slow", &json!({ "path": format!("/hold/{number}") })).await;
    }
    in_flight(&outside, 2).await;
    neighbour.run("small", &json!("passes them all")).await;
    assert_eq!(paths(&outside, "/hold/").len(), 2, "the others wait");
    assert_eq!(stage.database.number(CLAIMED).await, 2, "and are not even fetched");

    // Lifted while everything runs: all go on, none has to be started again.
    let changed = operator.put("/v1/accounts/acme", &json!({ "running_max": 0, "weight": 3 })).await.expect(200);
    assert_eq!(changed["name"], "acme");
    assert_eq!((&changed["limits"]["weight"], &changed["has_own_windows"]), (&json!(3), &json!(false)));
    let limits = account.api.get("/v1/limits").await.expect(200)["limits"].clone();
    assert_eq!((&limits["weight"], &limits["running_max"]), (&json!(3), &Value::Null));
    (0..RUNS).for_each(|number| outside.release(&format!("/hold/{number}")));
    eventually("every run has ended", async || (stage.database.unfinished_count().await == 0).then_some(())).await;
    stage.database.settled().await;
}

#[tokio::test]
async fn a_grid_has_no_more_modules_running_than_its_maximum_and_others_of_the_account_pass() {
    let outside = Outside::start().await;
    let stage = Stage::facing(&outside).await;
    let account = stage.account("acme").await;
    let mut manifest = project("slow", &json!({ "ask": ask(&outside), "again": ask(&outside), "same": quick() }));
    let same = manifest["grids"]["main"]["nodes"].as_object_mut().expect("nodes by name").remove("same");
    manifest["grids"]["main"]["running_max"] = json!(3);
    manifest["grids"]["quick"] = json!({ "nodes": { "same": same } });
    account.deploy(&manifest).await;
    for number in 0..RUNS {
        account.start("slow", &json!({ "path": format!("/hold/{number}") })).await;
    }
    in_flight(&outside, 3).await;
    let run = start(&account, "slow", "quick", &json!(1)).await;
    account.succeeded(&run).await;
    assert_eq!(paths(&outside, "/hold/").len(), 3, "the others wait");
    assert_eq!(stage.database.number(CLAIMED).await, 3, "and are not even fetched");
    (0..RUNS).for_each(|number| outside.release(&format!("/hold/{number}")));
    eventually("every run has ended", async || (stage.database.unfinished_count().await == 0).then_some(())).await;
    stage.database.settled().await;
}

#[tokio::test]
async fn calls_under_way_do_not_count_a_second_time_against_the_permits_that_are_left() {
    let outside = Outside::start().await;
    let stage = Stage::facing(&outside).await;
    let account = stage.account("acme").await;
    let window = json!({ "max": 10, "period_ms": 86_400_000 });
    let limits = json!({ "limits": { "burst": window, "long": window } });
    stage.host.operator().put("/v1/accounts/acme", &limits).await.expect(200);
    account.deploy(&project("slow", &json!({ "ask": ask(&outside) }))).await;
    for number in 0..9 {
        account.start("slow", &json!({ "path": format!("/hold/{number}") })).await;
        in_flight(&outside, number + 1).await;
    }
    // Nothing of it has ended, and ten are allowed.
    let last = account.run("slow", &json!({ "path": "/last" })).await;
    assert_eq!(last["state"], "succeeded", "{last:#}");
    (0..9).for_each(|number| outside.release(&format!("/hold/{number}")));
    eventually("every run has ended", async || (stage.database.unfinished_count().await == 0).then_some(())).await;
}

#[tokio::test]
async fn a_weight_takes_effect_at_once_and_without_a_restart() {
    let outside = Outside::start().await;
    // Of eight runs an account of weight 1 has two.
    let stage = Stage::with(|plan| plan.allow(&outside).set("queue.runs_max", "8")).await;
    let account = stage.account("acme").await;
    account.deploy(&project("slow", &json!({ "ask": ask(&outside) }))).await;
    for number in 0..RUNS + 4 {
        account.start("slow", &json!({ "path": format!("/hold/{number}") })).await;
    }
    in_flight(&outside, 2).await;
    let other = stage.account("neighbour").await;
    other.deploy(&project("small", &json!({ "same": quick() }))).await;
    other.run("small", &json!(1)).await;
    assert_eq!(paths(&outside, "/hold/").len(), 2);
    stage.host.operator().put("/v1/accounts/acme", &json!({ "weight": 3 })).await.expect(200);
    eventually_within(Duration::from_secs(4), "three times as many run", async || {
        (paths(&outside, "/hold/").len() == 6).then_some(())
    })
    .await;
    (0..RUNS + 4).for_each(|number| outside.release(&format!("/hold/{number}")));
    eventually("every run has ended", async || (stage.database.unfinished_count().await == 0).then_some(())).await;
}

#[tokio::test]
async fn a_weight_or_a_maximum_alone_changes_nothing_else_of_the_limits() {
    let stage = Stage::with(|plan| plan.set("limiter.burst_per_minute", "77")).await;
    let operator = stage.host.operator();
    let put = async |settings: Value| operator.put("/v1/accounts/acme", &settings).await.expect(200);
    let stored = async || stage.database.number("select count(*) from account_limit where limits ? 'burst'").await;

    let made = put(json!({ "weight": 3, "spread": 2, "retention": { "days": 9 } })).await;
    assert_eq!((&made["limits"]["weight"], &made["limits"]["burst"]["max"]), (&json!(3), &json!(77)), "{made:#}");
    assert_eq!((&made["spread"], &made["retention"]["days"]), (&json!(2), &json!(9)), "{made:#}");
    let both = put(json!({ "running_max": 5 })).await;
    assert_eq!((&both["limits"]["weight"], &both["limits"]["running_max"]), (&json!(3), &json!(5)), "{both:#}");
    assert_eq!((&both["has_own_windows"], stored().await), (&json!(false), 0), "the host's defaults are not pinned");

    let window = json!({ "max": 5, "period_ms": 1_000 });
    let whole = put(json!({ "limits": { "burst": window, "long": window, "exact": true } })).await;
    assert_eq!((&whole["limits"]["weight"], &whole["limits"]["running_max"]), (&json!(1), &Value::Null), "{whole:#}");
    put(json!({ "running_max": 4, "weight": 2 })).await;
    put(json!({ "running_max": 0 })).await;
    let shown = operator.get("/v1/accounts/acme").await.expect(200);
    let limits = json!({ "burst": window, "long": window, "exact": true, "smoothing": "fixed", "weight": 2 });
    assert_eq!((&shown["limits"], &shown["has_own_windows"]), (&limits, &json!(true)));
}

#[tokio::test]
async fn settings_changed_at_the_same_time_are_all_kept() {
    let stage = Stage::new().await;
    let operator = &stage.host.operator();
    for round in 1..=10 {
        let put = |settings: Value| async move { operator.put("/v1/accounts/acme", &settings).await.expect(200) };
        tokio::join!(
            put(json!({ "weight": round })),
            put(json!({ "running_max": 10 + round })),
            put(json!({ "spread": round })),
            put(json!({ "retention": { "days": 20 + round } })),
        );
        let shown = operator.get("/v1/accounts/acme").await.expect(200);
        let limits = &shown["limits"];
        let set = [&limits["weight"], &limits["running_max"], &shown["spread"], &shown["retention"]["days"]];
        assert_eq!(set, [&json!(round), &json!(10 + round), &json!(round), &json!(20 + round)], "{shown:#}");
    }
}

#[tokio::test]
async fn settings_of_an_account_that_make_no_sense_are_refused() {
    let stage = Stage::new().await;
    let operator = stage.host.operator();
    let window = json!({ "max": 1, "period_ms": 1_000 });
    for (settings, says) in [
        (json!({ "weight": 0 }), "weight is 0; from 1 to 100"),
        (json!({ "weight": 101 }), "weight is 101; from 1 to 100"),
        (json!({ "spread": 0 }), "spread is 0; from 1 to 16"),
        (json!({ "spread": 17 }), "spread is 17; from 1 to 16"),
        (json!({ "limits": { "burst": window, "long": window, "weight": 0 } }), "weight is 0"),
        (json!({ "limits": { "burst": window, "long": window, "running_max": 0 } }), "running_max is at least 1"),
        (json!({ "running_max": -1 }), "not the JSON"),
    ] {
        let problem = operator.put("/v1/accounts/acme", &settings).await.problem(400);
        assert!(problem["detail"].as_str().is_some_and(|text| text.contains(says)), "{settings}: {problem:#}");
    }
    let acme = stage.account("acme").await;
    let refused = acme.api.send(Method::PUT, "/v1/accounts/acme", "application/json", Bytes::from_static(b"{}")).await;
    refused.problem(403);
}
