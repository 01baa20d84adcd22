//! A host that is killed in the middle of its work.

use std::collections::BTreeSet;

use futures_util::{StreamExt, stream};
use serde_json::json;

use crate::support::{Account, Database, Host, HostPlan, Outside, Stage, action, eventually, grants, node, project};

const EVENTS: usize = 1_000;
/// Events that are sent at the same time.
const SENDERS: usize = 16;

/// A host that runs a few runs at a time, so that there is a middle to kill it in.
fn slow(plan: HostPlan) -> HostPlan {
    plan.set("queue.runs_max", "8")
}

/// Each run adds one to a counter, and takes a moment.
async fn deploy_counter(account: &Account) {
    let nodes = json!({
        "count": action(&json!({ "do": "storage", "operations": [{ "add": ["s", "count", 1] }] })),
        "wait": action(&json!({ "do": "sleep", "ms": 20 })),
    });
    account.deploy(&project("counter", &nodes)).await;
}

/// Sends all events; answers with the runs that were accepted.
async fn send_all(account: &Account) -> BTreeSet<String> {
    stream::iter(0..EVENTS)
        .map(|number| async move { account.start("counter", &json!(number)).await })
        .buffer_unordered(SENDERS)
        .collect()
        .await
}

/// Kills a host in the middle of its work, and starts another one in its place.
async fn killed_when(ended: i64, host: Host, database: &Database, plan: &HostPlan) -> Host {
    eventually(&format!("{ended} runs have ended"), async || (database.ended_count().await >= ended).then_some(()))
        .await;
    host.kill().await;
    assert!(database.unfinished_count().await > 0, "the host was killed too late: there was nothing left to do");
    let claimed = database.number("select count(*) from job join claim on job.id = any (claim.ids)").await;
    assert!(claimed > 0, "the host was killed when nothing was running");
    plan.start().await
}

#[tokio::test]
async fn a_killed_host_loses_no_accepted_event_and_none_is_run_twice() {
    let Stage { database, host } = Stage::with(slow).await;
    let account = Account::new(&host.operator(), "acme").await;
    deploy_counter(&account).await;

    let accepted = send_all(&account).await;
    assert_eq!(accepted.len(), EVENTS, "every event has a run of its own");
    let plan = slow(HostPlan::on(&database.url));
    let host = killed_when(100, host, &database, &plan).await;
    let host = killed_when(400, host, &database, &plan).await;

    eventually("every run has ended", async || (database.unfinished_count().await == 0).then_some(())).await;
    let history = database.history().await;
    let ended: BTreeSet<String> = history.keys().cloned().collect();
    assert_eq!(ended, accepted, "what was accepted is what has ended");
    let failed: Vec<_> = history.iter().filter(|(_, state)| *state != "succeeded").collect();
    assert!(failed.is_empty(), "{failed:?}");
    assert_eq!(database.stored(&account, "count").await.as_deref(), Some("1000"), "each run has counted once");
    database.settled().await;
    drop(host);
}

#[tokio::test]
async fn a_node_that_changed_the_outside_world_is_not_called_again_after_a_crash() {
    let outside = Outside::start().await;
    let Stage { database, host } = Stage::facing(&outside).await;
    let account = Account::new(&host.operator(), "acme").await;
    let request = |method: &str, path: &str, input: &str| {
        json!({
            "plugin": "http-request",
            "inputs": { "in": input },
            "config": { "method": method, "url": format!("{}{path}", outside.url) },
            "grants": grants(&outside),
        })
    };
    let nodes = json!({
        "order": request("POST", "/order", "event"),
        "confirm": request("GET", "/hold/confirm", "order.response"),
    });
    account.deploy(&project("shop", &nodes)).await;
    let run = account.start("shop", &json!(null)).await;
    outside.asked("/hold/confirm").await;
    host.kill().await;
    outside.release("/hold/confirm");

    let host = HostPlan::on(&database.url).allow(&outside).start().await;
    let run = account.at(&host).succeeded(&run).await;
    assert_eq!(outside.received("/order").len(), 1, "{run:#}");
    assert_eq!(outside.received("/hold/confirm").len(), 2, "what nobody knows the end of is done again");
    assert_eq!(node(&run, "confirm")["attempts"], 1, "a lost host is no failure of the node: {run:#}");
    database.settled().await;
}
