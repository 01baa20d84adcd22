//! A database that crashes under a working host.

use std::collections::BTreeSet;

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use reqwest::Method;
use serde_json::json;

use crate::support::{Account, Database, HostPlan, action, crash, eventually, private_postgres, project, scratch};

const EVENTS: usize = 300;
/// Of every run, so that some are under way when the database goes.
const READS: usize = 20;

/// Sends one event until it is accepted. What was not answered may have been accepted all the same.
async fn insist(account: &Account, number: usize) -> String {
    eventually("an event is accepted", async || {
        let body = Bytes::from(number.to_string());
        let answer =
            account.api.try_send(Method::POST, &account.hook("counter"), "application/json", body).await.ok()?;
        match answer.status {
            202 => answer.body["run"].as_str().map(str::to_owned),
            503 => None,
            other => panic!("an event is answered {other}: {:#}", answer.body),
        }
    })
    .await
}

#[tokio::test]
async fn a_crash_of_postgres_under_a_working_host_loses_nothing_that_was_accepted() {
    let folder = scratch().join("crashing");
    let postgres = private_postgres(&folder).await;
    let database = Database::at(postgres.url().to_owned());
    let host = HostPlan::on(&database.url).set("queue.runs_max", "8").start().await;
    let account = Account::new(&host.operator(), "acme").await;
    // That the database is away is no failure of a node: one attempt is enough.
    let mut operations = vec![json!({ "get": ["s", "absent"] }); READS];
    operations.push(json!({ "add": ["s", "count", 1] }));
    let mut count = action(&json!({ "do": "storage", "operations": operations }));
    count["retry"] = json!({ "attempts": 1 });
    let nodes = json!({ "count": count, "wait": action(&json!({ "do": "sleep", "ms": 20 })) });
    account.deploy(&project("counter", &nodes)).await;

    let sending = async {
        let sent = stream::iter(0..EVENTS).map(|number| insist(&account, number)).buffer_unordered(8);
        sent.collect::<BTreeSet<String>>().await
    };
    let crashing = async {
        eventually("runs end", async || (database.ended_count().await > 20).then_some(())).await;
        crash(&postgres);
        drop(postgres);
        private_postgres(&folder).await
    };
    let (accepted, postgres) = tokio::join!(sending, crashing);
    assert_eq!(accepted.len(), EVENTS);

    let database = Database::at(postgres.url().to_owned());
    eventually("every run has ended", async || (database.unfinished_count().await == 0).then_some(())).await;
    let history = database.history().await;
    for run in &accepted {
        assert_eq!(history.get(run).map(String::as_str), Some("succeeded"), "{run}");
    }
    let count: usize = database.stored(&account, "count").await.and_then(|text| text.parse().ok()).expect("a number");
    assert_eq!(count, history.len(), "each run has counted once");
    let noticed = "select count(*) from run where convert_from(nodes, 'UTF8') like '%is not available%'";
    assert_eq!(database.number(noticed).await, 0, "a guest has noticed that the database was away");
    database.settled().await;
    assert!(host.log().contains("database is not available"), "the host has noticed nothing of the crash");
}
