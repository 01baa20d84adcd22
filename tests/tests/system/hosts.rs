//! Several hosts on one database.

use std::time::{Duration, Instant};

use serde_json::json;
use trellis_model::RunId;

use crate::support::{Account, Audit, Database, Host, HostPlan, Stage, action, eventually, eventually_within, project};

/// Waits until two hosts hold about half of the shards each.
async fn balanced(database: &Database) {
    eventually("two hosts share the shards evenly", async || {
        let counts = database.shard_counts().await;
        (counts.len() == 2 && counts.iter().all(|count| (120..=136).contains(count))).then_some(())
    })
    .await;
}

/// Accounts with a project of slow runs, at least two on shards of each host.
async fn accounts_of_both(stage: &Stage) -> Vec<Account> {
    let (mut accounts, mut owners) = (Vec::new(), Vec::new());
    let is_mixed = |owners: &[Option<i16>]| {
        [0, 1].iter().all(|number| owners.iter().filter(|owner| **owner == Some(*number)).count() >= 2)
    };
    while !is_mixed(&owners) {
        assert!(accounts.len() < 40, "accounts do not spread over the shards: {owners:?}");
        let account = stage.account(&format!("account-{}", accounts.len())).await;
        owners.push(stage.database.owner(account.shard()).await);
        account.deploy(&project("slow", &json!({ "wait": action(&json!({ "do": "sleep", "ms": 100 })) }))).await;
        accounts.push(account);
    }
    accounts
}

/// Sends events of every account to both hosts in turn.
async fn send_to_both(accounts: &[Account], hosts: [&Host; 2], rounds: usize) -> Vec<(Account, String)> {
    let mut runs = Vec::new();
    for round in 0..rounds {
        for account in accounts {
            let account = account.at(hosts[round % 2]);
            let run = account.start("slow", &json!(round)).await;
            runs.push((account, run));
        }
    }
    runs
}

/// The number of the host that accepted a run.
fn accepted_by(run: &str) -> i64 {
    run.parse::<RunId>().expect("a run id").0 >> 13 & 255
}

async fn all_succeed(database: &Database, runs: &[(Account, String)]) {
    eventually("every run has ended", async || (database.unfinished_count().await == 0).then_some(())).await;
    let history = database.history().await;
    assert_eq!(history.len(), runs.len());
    for (_, run) in runs {
        assert_eq!(history.get(run).map(String::as_str), Some("succeeded"), "{run}");
    }
    database.settled().await;
}

#[tokio::test]
async fn two_hosts_share_the_work_and_the_death_of_one_leaves_it_all_to_the_other() {
    const LEASE: Duration = Duration::from_secs(2);
    let slow = |plan: HostPlan| plan.set("queue.runs_max", "4");
    let stage = Stage::with(slow).await;
    let other = slow(HostPlan::on(&stage.database.url)).start().await;
    balanced(&stage.database).await;
    let audit = Audit::install(&stage.database).await;
    let accounts = accounts_of_both(&stage).await;

    let runs = send_to_both(&accounts, [&stage.host, &other], 16).await;
    for number in [0, 1] {
        assert!(runs.iter().any(|(_, run)| accepted_by(run) == number), "host {number} accepts events");
    }
    other.kill().await;
    let killed = Instant::now();
    assert!(stage.database.unfinished_count().await > 0, "the host was killed too late");
    eventually("the other host takes all shards", async || {
        (stage.database.shard_counts().await == [256]).then_some(())
    })
    .await;
    // The lease itself, and as much again for a machine that is busy with other tests.
    assert!(killed.elapsed() < LEASE * 2, "the take-over took {:?}", killed.elapsed());
    all_succeed(&stage.database, &runs).await;
    assert!(audit.lost_hosts().await > 0, "runs of the killed host are noted to have lost it");
}

#[tokio::test]
async fn a_host_that_is_asked_to_stop_hands_its_work_over_without_a_lease_running_out() {
    // Long enough that a test that waits for it to run out fails.
    let patient = |plan: HostPlan| plan.set("queue.lease", "8s").set("queue.runs_max", "4");
    let stage = Stage::with(patient).await;
    let other = patient(HostPlan::on(&stage.database.url)).start().await;
    balanced(&stage.database).await;
    let audit = Audit::install(&stage.database).await;
    let accounts = accounts_of_both(&stage).await;

    let runs = send_to_both(&accounts, [&stage.host, &other], 16).await;
    other.terminate().await;
    let status = other.ended().await;
    assert!(status.success(), "{status}");
    assert!(stage.database.unfinished_count().await > 0, "the host was stopped too late");
    eventually_within(Duration::from_secs(5), "the other host takes all shards", async || {
        (stage.database.shard_counts().await == [256]).then_some(())
    })
    .await;
    all_succeed(&stage.database, &runs).await;
    assert_eq!(audit.lost_hosts().await, 0, "no run has lost its host");
    for (account, run) in &runs {
        let shown = account.at(&stage.host).show(run).await;
        assert_eq!(shown["nodes"][0]["attempts"], 1, "{shown:#}");
    }
}

#[tokio::test]
async fn a_host_that_slept_past_its_lease_writes_nothing_that_others_have_done_meanwhile() {
    const ROUNDS: usize = 10;
    let slow = |plan: HostPlan| plan.set("queue.runs_max", "8");
    let stage = Stage::with(slow).await;
    let other = slow(HostPlan::on(&stage.database.url)).start().await;
    balanced(&stage.database).await;
    let accounts = accounts_of_both(&stage).await;
    for account in &accounts {
        let count = json!({ "do": "storage", "operations": [{ "add": ["s", "count", 1] }] });
        let nodes = json!({ "wait": action(&json!({ "do": "sleep", "ms": 100 })), "count": action(&count) });
        account.deploy(&project("slow", &nodes)).await;
    }
    let runs = send_to_both(&accounts, [&stage.host, &other], ROUNDS).await;
    other.pause().await;
    assert!(stage.database.unfinished_count().await > 0, "the host was paused too late");
    all_succeed(&stage.database, &runs).await;

    other.wake().await;
    eventually("the host knows what has happened", async || {
        other.log().contains("silent for longer than its lease").then_some(())
    })
    .await;
    balanced(&stage.database).await;
    all_succeed(&stage.database, &runs).await;
    for account in &accounts {
        assert_eq!(stage.database.stored(account, "count").await, Some(ROUNDS.to_string()), "{}", account.name);
        let run = account.at(&other).run("slow", &json!("again")).await;
        assert_eq!(run["state"], "succeeded", "it is a host like any other again");
    }
}
