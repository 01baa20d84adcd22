//! Sending events and following runs by command, where hosts come and go and events are sent twice.

use std::process::Stdio;

use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader},
    net::TcpListener,
    process::{Child, Command},
};

use crate::support::{
    Account, Database, HELD, HostPlan, Outside, PROGRAM, Stage, action, command, deploy_held, project, scratch,
    without_settings,
};

/// A command that goes on while the test does something else.
fn under_way(account: &Account, arguments: &[&str]) -> Child {
    let (url, token) = account.api.credentials();
    let mut command = Command::new(PROGRAM);
    without_settings(&mut command);
    command.env("TRELLIS_URL", url).env("TRELLIS_TOKEN", token).current_dir(scratch()).args(arguments);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    command.spawn().expect("the program runs")
}

#[tokio::test]
async fn who_waits_for_a_run_gets_over_a_host_that_starts_anew() {
    let (outside, database) = (Outside::start().await, Database::fresh().await);
    let free = std::net::TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).expect("a port");
    let plan = HostPlan::on(&database.url).allow(&outside).listen(&free.to_string());
    let host = plan.start().await;
    let account = Account::new(&host.operator(), "acme").await;
    deploy_held(&account, &outside).await;
    let mut send = under_way(&account, &["send", "main", "--project", "held", "--wait", "--json"]);
    send.stdin.take().expect("it is piped").write_all(b"1").await.expect("it reads");
    outside.asked(HELD).await;
    host.kill().await;
    // Its next look is in vain, for certain.
    let nobody = TcpListener::bind(free).await.expect("the host is gone");
    drop(nobody.accept().await.expect("it asks"));
    drop(nobody);
    let _host = plan.start().await;
    outside.release(HELD);
    let output = send.wait_with_output().await.expect("it ends");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let run: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(run["state"], "succeeded", "{run:#}");
}

#[tokio::test]
async fn an_event_that_is_sent_again_with_its_key_is_one_run() {
    let stage = Stage::new().await;
    let account = stage.account("acme").await;
    let same = json!({ "plugin": "json-map", "inputs": { "in": "event" }, "config": { "expression": "." } });
    account.deploy(&project("shop", &json!({ "same": same }))).await;
    let file = scratch().join("order.json");
    std::fs::write(&file, "7").expect("the scratch folder is ours");
    let file = file.display().to_string();
    let sent = async |key: &str| {
        let output = command(&account, &["send", "main", &file, "--project", "shop", "--key", key]).await;
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("UTF-8")
    };
    let first = sent("order-7").await;
    assert_eq!(sent("order-7").await, first);
    assert_ne!(sent("order-8").await, first);
    let refused = command(&account, &["send", "main", &file, "--project", "shop", "--key", ""]).await;
    assert_eq!(refused.status.code(), Some(2));
}

#[tokio::test]
async fn logs_begin_where_they_are_asked_to_and_go_on_with_what_ends_from_then_on() {
    let stage = Stage::new().await;
    let account = stage.account("acme").await;
    let log = action(&json!({ "do": "log", "message": "a line", "times": 1 }));
    account.deploy(&project("talks", &json!({ "log": log }))).await;
    let mut runs = Vec::new();
    for number in 0..3 {
        runs.push(account.run("talks", &json!(number)).await["run"].as_str().expect("a run").to_owned());
    }
    let mut logs = under_way(&account, &["logs", "--follow", "--runs", "1"]);
    let mut lines = BufReader::new(logs.stdout.take().expect("it is piped")).lines();
    let mut next = async || lines.next_line().await.expect("readable").expect("it goes on");
    assert!(next().await.starts_with(&runs[2]), "the newest of those that were there");
    let fourth = account.run("talks", &json!(3)).await["run"].as_str().expect("a run").to_owned();
    let line = next().await;
    assert!(line.starts_with(&fourth), "none of those before it: {runs:?}, {line}");
}
