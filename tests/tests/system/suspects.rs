//! A run that kills its hosts, and those that happen to run beside it.

use serde_json::json;

use crate::support::{Account, Database, HostPlan, Outside, Stage, action, eventually, grants, node, project};

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

async fn ended_at_a_host_that_panics(point: &str, retry: &serde_json::Value) -> serde_json::Value {
    let database = Database::fresh().await;
    let host = HostPlan::on(&database.url).fault(format!("{point}=panic")).start().await;
    let account = Account::new(&host.operator(), "acme").await;
    let same =
        json!({ "plugin": "json-map", "inputs": { "in": "event" }, "config": { "expression": "." }, "retry": retry });
    account.deploy(&project("small", &json!({ "same": same }))).await;
    let run = account.start("small", &json!(1)).await;
    let ended = account.ended(&run).await;
    eventually("no claim is left", async || (database.number("select count(*) from claim").await == 0).then_some(()))
        .await;
    ended
}

#[tokio::test]
async fn a_run_at_which_the_host_itself_fails_every_time_is_buried_at_last() {
    let dead = ended_at_a_host_that_panics("run-begun", &json!({ "attempts": 1 })).await;
    assert_eq!(dead["state"], "dead", "{dead:#}");
    assert!(dead["error"].as_str().is_some_and(|error| error.contains("lost or failed")), "{dead:#}");
}

#[tokio::test]
async fn a_call_at_which_the_host_itself_fails_is_a_failed_attempt_of_its_node() {
    let dead = ended_at_a_host_that_panics("call-before", &json!({ "attempts": 2, "first": "10ms" })).await;
    assert_eq!((&dead["state"], &node(&dead, "same")["attempts"]), (&json!("dead"), &json!(2)), "{dead:#}");
    assert!(dead["error"].as_str().is_some_and(|error| error.contains("the host failed")), "{dead:#}");
}
