//! A host that is short of room: whoever cannot be run waits, and that is no attempt of its own.

use serde_json::json;

use crate::support::{
    Account, Database, Host, HostPlan, Outside, Stage, action, eventually, grants, node, project, reason,
};

#[tokio::test]
async fn a_call_that_its_host_had_no_room_for_counts_no_attempt() {
    let database = Database::fresh().await;
    let plan = HostPlan::on(&database.url);
    let short = plan.clone().fault("call-host-short=off").start().await;
    let account = Account::new(&short.operator(), "acme").await;
    let mut once = action(&json!({ "do": "echo" }));
    once["retry"] = json!({ "attempts": 1 });
    account.deploy(&project("once", &json!({ "once": once }))).await;
    let run = account.start("once", &json!(null)).await;
    let waiting = eventually("the run waits for room", async || {
        let shown = account.show(&run).await;
        shown["nodes"].as_array().is_some_and(|nodes| !nodes.is_empty()).then_some(shown)
    })
    .await;
    assert_eq!(node(&waiting, "once")["attempts"], 0, "{waiting:#}");
    let (kind, message) = reason(&waiting, "once");
    assert!(kind == "host" && message.contains("no attempt was counted: asked for memory"), "{kind}: {message}");
    short.terminate().await;
    short.ended().await;
    let host = plan.start().await;
    let ended = account.at(&host).succeeded(&run).await;
    assert_eq!(node(&ended, "once")["attempts"], 1, "{ended:#}");
}

/// A run whose plugin cannot be loaded on its host, by that fault.
async fn run_by(fault: &str, database: &Database) -> (Account, Host, String) {
    let plan = HostPlan::on(&database.url).fault("held-up-briefly=off").fault(fault);
    let host = plan.start().await;
    let account = Account::new(&host.operator(), "acme").await;
    let mut once = action(&json!({ "do": "echo" }));
    once["retry"] = json!({ "attempts": 1 });
    account.deploy(&project("once", &json!({ "once": once }))).await;
    let run = account.start("once", &json!(null)).await;
    (account, host, run)
}

#[tokio::test]
async fn a_plugin_that_can_never_be_compiled_ends_its_runs_as_dead_letters_with_a_reason() {
    let database = Database::fresh().await;
    let (account, _host, run) = run_by("plugin-uncompilable=off", &database).await;
    let ended = account.ended(&run).await;
    assert_eq!(ended["state"], "dead", "{ended:#}");
    let (kind, message) = reason(&ended, "once");
    assert!(kind == "permanent" && message.contains("could not be compiled 10 times in a row"), "{kind}: {message}");
}

#[tokio::test]
async fn what_else_keeps_a_host_from_loading_a_plugin_is_never_too_much() {
    let database = Database::fresh().await;
    let (account, _host, run) = run_by("plugin-not-loaded=off@30", &database).await;
    let ended = account.succeeded(&run).await;
    assert_eq!(node(&ended, "once")["attempts"], 1, "{ended:#}");
}

/// Calls of an account that hold all the room that it can get, until they are let go.
async fn hold_room(account: &Account, outside: &Outside, calls: usize) {
    let mut hold = action(&json!({ "do": "fetch", "method": "GET", "url": format!("{}/hold/room", outside.url) }));
    hold["grants"] = grants(outside);
    account.deploy(&project("hold", &json!({ "hold": hold }))).await;
    for number in 0..calls {
        account.start("hold", &json!(number)).await;
    }
}

async fn a_neighbour_ends_beside(settings: impl FnOnce(HostPlan) -> HostPlan, held: usize) {
    let outside = Outside::start().await;
    let stage = Stage::with(|plan| settings(plan.allow(&outside))).await;
    let (hog, neighbour) = (stage.account("hog").await, stage.account("neighbour").await);
    neighbour.deploy(&project("small", &json!({ "small": action(&json!({ "do": "echo" })) }))).await;
    hold_room(&hog, &outside, 20).await;
    eventually("the account holds its share", async || (outside.received("/hold/room").len() >= held).then_some(()))
        .await;
    neighbour.run("small", &json!(null)).await;
    assert_eq!(outside.received("/hold/room").len(), held, "more than its share it does not get");
    outside.release("/hold/room");
    eventually("all of its runs end", async || (stage.database.unfinished_count().await == 0).then_some(())).await;
}

#[tokio::test]
async fn an_account_that_holds_its_share_of_the_instances_leaves_room_for_a_neighbour() {
    a_neighbour_ends_beside(|plan| plan.set("sandbox.instances_max", "4"), 3).await;
}

#[tokio::test]
async fn an_account_that_holds_its_share_of_the_memory_leaves_room_for_a_neighbour() {
    let little = |plan: HostPlan| plan.set("sandbox.memory_total", "256MiB").set("sandbox.account_percent", "50");
    a_neighbour_ends_beside(little, 2).await;
}
