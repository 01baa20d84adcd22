//! What an account keeps of its runs.

use serde_json::{Value, json};
use tokio::process::Command;

use crate::support::{Account, PROGRAM, Stage, action, eventually, node, project, without_settings};

/// A project `NAME` with one node.
fn single(name: &str, does: &Value) -> Value {
    project(name, &json!({ "only": action(does) }))
}

async fn account_with(stage: &Stage, retention: &Value) -> Account {
    let name = format!("keeps-{}", retention["history"].as_str().unwrap_or("default"));
    let account = stage.account(&name).await;
    let settings = json!({ "retention": retention });
    stage.host.operator().put(&format!("/v1/accounts/{name}"), &settings).await.expect(200);
    account.deploy(&single("good", &json!({ "do": "echo" }))).await;
    account.deploy(&single("bad", &json!({ "do": "fail", "kind": "permanent", "message": "no" }))).await;
    account
}

/// Starts a run of each project and waits until both are over; answers with the good and the bad one.
async fn run_both(stage: &Stage, account: &Account) -> [String; 2] {
    let runs = [account.start("good", &json!(1)).await, account.start("bad", &json!(1)).await];
    eventually("both runs are over", async || (stage.database.unfinished_count().await == 0).then_some(())).await;
    runs
}

#[tokio::test]
async fn history_holds_what_the_accounts_retention_says_and_dead_letters_always() {
    let stage = Stage::new().await;
    for (retention, keeps_good, told) in [
        (json!({}), true, ""),
        (json!({ "history": "full" }), true, ""),
        (json!({ "history": "failed" }), false, "runs that did not succeed alone (history `failed`)"),
        (json!({ "history": "none" }), false, "dead letters alone (history `none`)"),
    ] {
        let account = account_with(&stage, &retention).await;
        let [good, bad] = run_both(&stage, &account).await;
        let dead = account.show(&bad).await;
        assert_eq!((&dead["state"], &dead["event"]["data"]), (&json!("dead"), &json!(1)), "{dead:#}");
        if keeps_good {
            assert_eq!(node(&account.show(&good).await, "only")["state"], "succeeded");
        } else {
            let gone = account.api.get(&format!("/v1/runs/{good}")).await.problem(404);
            assert!(gone["detail"].as_str().is_some_and(|detail| detail.contains(told)), "{gone:#}");
        }
        let kept = stage.database.history().await;
        assert_eq!((kept.contains_key(&good), kept.contains_key(&bad)), (keeps_good, true), "{retention}");
        stage.database.settled().await;
    }
}

#[tokio::test]
async fn a_changed_retention_holds_from_the_next_run_on_and_changes_only_what_it_names() {
    let stage = Stage::new().await;
    let account = account_with(&stage, &json!({ "history": "none", "days": 7 })).await;
    run_both(&stage, &account).await;
    assert_eq!(stage.database.ended_count().await, 1);

    let path = format!("/v1/accounts/{}", account.name);
    let operator = stage.host.operator();
    let shown = operator.put(&path, &json!({ "retention": { "history": "full" } })).await.expect(200);
    assert_eq!(shown["retention"], json!({ "history": "full", "days": 7 }));
    run_both(&stage, &account).await;
    assert_eq!(stage.database.ended_count().await, 3);

    operator.put(&path, &json!({})).await.expect(200);
    assert_eq!(operator.get(&path).await.expect(200)["retention"], json!({ "history": "full", "days": 7 }));
    let listed = operator.get("/v1/accounts").await.expect(200);
    let own =
        listed["items"].as_array().and_then(|items| items.iter().find(|item| item["name"] == account.name.as_str()));
    assert_eq!(own.map(|own| &own["retention"]["days"]), Some(&json!(7)), "{listed:#}");
    assert_eq!(account.api.get("/v1/limits").await.expect(200)["retention"]["days"], 7);
}

#[tokio::test]
async fn a_retention_that_cannot_be_is_refused_with_what_can() {
    let stage = Stage::new().await;
    let operator = stage.host.operator();
    for (retention, told) in [
        (json!({ "days": 0 }), "from 1 to 3650 is allowed"),
        (json!({ "days": 3651 }), "retention.days = 3651 is out of range"),
        (json!({ "days": -1 }), "-1"),
        (json!({ "history": "some" }), "expected one of `full`, `failed`, `none`"),
        (json!({ "hours": 1 }), "unknown field `hours`"),
    ] {
        let refused = operator.put("/v1/accounts/acme", &json!({ "retention": retention })).await.problem(400);
        assert!(refused["detail"].as_str().is_some_and(|detail| detail.contains(told)), "{refused:#}");
    }
    operator.get("/v1/accounts/acme").await.problem(404);
    let account = stage.account("other").await;
    account.api.get("/v1/accounts/other").await.problem(403);
    account.api.put("/v1/accounts/other", &json!({ "retention": { "days": 9 } })).await.problem(403);
}

/// The program's answer to a command of its command line.
async fn command(stage: &Stage, token: &str, arguments: &[&str]) -> String {
    let mut command = Command::new(PROGRAM);
    without_settings(&mut command);
    command.args(arguments).args(["--url", &stage.host.url]).env("TRELLIS_TOKEN", token);
    let output = command.kill_on_drop(true).output().await.expect("the program runs");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{arguments:?}: {said}{}", String::from_utf8_lossy(&output.stderr));
    said
}

#[tokio::test]
async fn the_command_line_sets_a_retention_and_says_when_a_run_was_not_kept() {
    let stage = Stage::new().await;
    let token = stage.host.operator_token();
    let said = command(&stage, token, &["account", "create", "acme", "--history", "none", "--days", "9"]).await;
    assert!(said.contains("history  none, kept for 9 days"), "{said}");
    let said = command(&stage, token, &["account", "create", "acme", "--days", "8"]).await;
    assert!(said.contains("history  none, kept for 8 days"), "{said}");
    command(&stage, token, &["account", "create", "acme", "--weight", "3", "--running-max", "7"]).await;
    let said = command(&stage, token, &["account", "show", "acme"]).await;
    for told in
        ["history  none, kept for 8 days", "weight 3, 7 at once, spread over 1 shard", "a day (the host's defaults)"]
    {
        assert!(said.contains(told), "{said}");
    }

    let account = stage.account("acme").await;
    account.deploy(&single("good", &json!({ "do": "echo" }))).await;
    let event = crate::support::scratch().join("retention-event.json");
    std::fs::write(&event, "1").expect("the scratch folder is ours");
    let event = event.to_str().expect("a plain path");
    let send = ["send", "main", event, "--project", "good", "--wait", "--account", "acme"];
    let said = command(&stage, token, &send).await;
    assert!(said.contains("is over and is no dead letter; what it came to was not kept"), "{said}");
    assert!(said.contains("dead letters alone"), "{said}");
}

#[tokio::test]
async fn results_in_history_are_bounded_for_a_run_that_succeeded_and_whole_for_a_dead_letter() {
    const OUTPUT_BYTES: u64 = 1_000_000;
    let stage = Stage::new().await;
    let account = stage.account("acme").await;
    let mut nodes = json!({});
    for number in 0..6 {
        nodes[format!("large-{number}")] = action(&json!({ "do": "emit-bytes", "bytes": OUTPUT_BYTES }));
    }
    account.deploy(&project("good", &nodes)).await;
    nodes["small"] = action(&json!({ "do": "fail", "kind": "permanent", "message": "no" }));
    nodes["small"]["inputs"]["after"] = json!("large-5.out");
    account.deploy(&project("bad", &nodes)).await;

    let good = account.run("good", &json!(null)).await;
    let outputs = || (0..6).map(|number| node(&good, &format!("large-{number}"))["outputs"]["out"].clone());
    let omitted = outputs().filter(|output| output["omitted-output-bytes"] == OUTPUT_BYTES + 2).count();
    assert_eq!(omitted, 2, "4 MiB hold four of them");
    assert_eq!(outputs().filter(|output| output.as_str().is_some_and(|text| text.len() == 1_000_000)).count(), 4);

    let bad = account.start("bad", &json!(null)).await;
    let bad = account.ended(&bad).await;
    assert_eq!(bad["state"], "dead");
    for number in 0..6 {
        let output = &node(&bad, &format!("large-{number}"))["outputs"]["out"];
        assert_eq!(output.as_str().map(str::len), Some(1_000_000), "it is replayed from these");
    }
}
