//! A run that kills its hosts, and those that happen to run beside it.

use serde_json::json;

use crate::support::{Account, HostPlan, Outside, Stage, action, eventually, grants, node, project};

const NEIGHBOURS: usize = 4;
/// See `trellis_model::run::LOST_HOSTS_MAX`.
const HOSTS_LOST: usize = 5;

#[tokio::test]
async fn a_run_that_kills_its_hosts_is_buried_without_its_neighbours() {
    let outside = Outside::start().await;
    let Stage { database, mut host } = Stage::facing(&outside).await;
    let account = Account::new(&host.operator(), "acme").await;
    let poison = json!({
        "plugin": "http-request",
        "inputs": { "in": "event" },
        "config": { "url": format!("{}/hold/poison", outside.url) },
        "grants": grants(&outside),
    });
    account.deploy(&project("poison", &json!({ "kill": poison }))).await;
    // Still running whenever the host dies of the other one.
    account.deploy(&project("slow", &json!({ "wait": action(&json!({ "do": "sleep", "ms": 1500 })) }))).await;

    let killer = account.start("poison", &json!(null)).await;
    let mut neighbours = Vec::new();
    for number in 0..NEIGHBOURS {
        neighbours.push(account.start("slow", &json!(number)).await);
    }
    for lost in 0..HOSTS_LOST {
        eventually("the killer runs", async || (outside.received("/hold/poison").len() > lost).then_some(())).await;
        if lost == 0 {
            let claimed = "select coalesce(sum(cardinality(ids)), 0)::bigint from claim";
            let all = i64::try_from(NEIGHBOURS + 1).expect("a few");
            eventually("all are running", async || (database.number(claimed).await == all).then_some(())).await;
        }
        host.kill().await;
        host = HostPlan::on(&database.url).allow(&outside).start().await;
    }
    let account = account.at(&host);
    let dead = account.ended(&killer).await;
    assert_eq!(dead["state"], "dead", "{dead:#}");
    assert!(dead["error"].as_str().is_some_and(|error| error.contains("hosts were lost")), "{dead:#}");
    for neighbour in &neighbours {
        let ended = account.succeeded(neighbour).await;
        assert_eq!(node(&ended, "wait")["state"], "succeeded");
    }
    database.settled().await;
}
