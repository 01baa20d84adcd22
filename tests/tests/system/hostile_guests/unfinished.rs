//! Guests, and hosts, that end between two writes: there are both or none.

use serde_json::{Value, json};

use crate::support::{Account, Database, HostPlan, Outside, Stage, action, eventually, grants, node, project, reason};

fn set(key: &str) -> Value {
    json!([{ "set": ["s", key, "1"] }])
}

async fn stored(database: &Database, account: &Account) -> [Option<String>; 2] {
    [database.stored(account, "first").await, database.stored(account, "second").await]
}

#[tokio::test]
async fn a_trap_and_a_timeout_between_two_writes_leave_neither() {
    let stage = Stage::new().await;
    let account = stage.account("acme").await;
    for (name, performed, kind) in [
        ("trap", json!({ "do": "storage-then-panic", "operations": set("first") }), "trap"),
        ("timeout", json!({ "do": "storage-then-sleep", "operations": set("first"), "ms": 3_600_000 }), "timeout"),
    ] {
        let mut bad = action(&performed);
        bad["retry"] = json!({ "attempts": 2, "first": "1ms" });
        bad["limits"] = json!({ "wall": "500ms" });
        account.deploy(&project(name, &json!({ "bad": bad }))).await;
        let run = account.start(name, &json!(null)).await;
        let run = account.ended(&run).await;
        assert_eq!((reason(&run, "bad").0, &node(&run, "bad")["attempts"]), (kind, &json!(2)), "{run:#}");
        assert_eq!(stored(&stage.database, &account).await, [None, None], "{name}");
    }
}

#[tokio::test]
async fn a_kill_between_two_writes_leaves_neither_and_the_next_host_makes_both() {
    let outside = Outside::start().await;
    let database = Database::fresh().await;
    let plan = HostPlan::on(&database.url).allow(&outside);
    let host = plan.start().await;
    let account = Account::new(&host.operator(), "acme").await;
    let mut slow = action(&json!({
        "do": "storage-around-fetch",
        "before": set("first"),
        "request": { "method": "GET", "url": format!("{}/hold/kill", outside.url) },
        "after": set("second"),
    }));
    slow["grants"]["http"] = grants(&outside)["http"].clone();
    account.deploy(&project("slow", &json!({ "slow": slow }))).await;
    let run = account.start("slow", &json!(null)).await;
    outside.asked("/hold/kill").await;
    host.kill().await;
    assert_eq!(stored(&database, &account).await, [None, None], "it was between the two");
    outside.release("/hold/kill");
    let host = plan.start().await;
    let account = account.at(&host);
    eventually("the next host has made both", async || {
        (stored(&database, &account).await == [Some("1".to_owned()), Some("1".to_owned())]).then_some(())
    })
    .await;
    account.succeeded(&run).await;
}
