//! `--json` of every command that prints data, on one host: each line that comes out is JSON, and nothing else comes out.

use std::{collections::BTreeSet, process::Stdio};

use serde_json::{Value, json};
use tokio::process::Command;

use super::help::leaves;
use crate::support::{Account, PROGRAM, Stage, action, guest, project, scratch, without_settings};

/// Commands that are tried elsewhere, or print nothing that a program reads: why.
const NOT_TRIED: [(&str, &str); 9] = [
    ("completions", "prints what a shell reads"),
    ("dev", "runs until it is stopped"),
    ("deploy", "builds a project"),
    ("doctor", "starts a Postgres of its own"),
    ("migrate", "takes the settings of a host"),
    ("new", "writes files"),
    ("plugin build", "builds a crate"),
    ("plugin pull", "needs a registry"),
    ("serve", "runs until it is stopped"),
];

struct Try<'t> {
    words: &'t str,
    arguments: Vec<String>,
    input: &'t str,
    is_operator: bool,
}

fn tried<'t>(words: &'t str, arguments: &[&str]) -> Try<'t> {
    let arguments = arguments.iter().map(|argument| (*argument).to_owned()).collect();
    Try { words, arguments, input: "null", is_operator: false }
}

fn as_operator<'t>(words: &'t str, arguments: &[&str]) -> Try<'t> {
    Try { is_operator: true, ..tried(words, arguments) }
}

async fn printed(stage: &Stage, account: &Account, attempt: &Try<'_>) -> Vec<Value> {
    let (url, token) = account.api.credentials();
    let token = if attempt.is_operator { stage.host.operator_token() } else { token };
    let mut command = Command::new(PROGRAM);
    without_settings(&mut command);
    command.env("TRELLIS_URL", url).env("TRELLIS_TOKEN", token).current_dir(scratch());
    command.args(attempt.words.split(' ')).args(&attempt.arguments).args(["--json"]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let mut child = command.spawn().expect("the program runs");
    let mut input = child.stdin.take().expect("it is piped");
    // A command that reads nothing has closed it by now.
    drop(tokio::io::AsyncWriteExt::write_all(&mut input, attempt.input.as_bytes()).await);
    drop(input);
    let output = child.wait_with_output().await.expect("it ends");
    let (said, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let what = format!("trellis {} {:?}", attempt.words, attempt.arguments);
    assert!(output.status.success(), "{what}: {}\n{said}\n{errors}", output.status);
    let lines: Vec<Value> = said
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{what}: {error} in `{line}`")))
        .collect();
    assert!(!lines.is_empty(), "{what} prints nothing\n{errors}");
    lines
}

#[tokio::test]
async fn what_prints_data_prints_json() {
    let stage = Stage::with(crate::webhooks::with_master_key).await;
    let account = stage.account("acme").await;
    let plugin = account.upload("json-map").await;
    let node = |expression: &str| json!({ "plugin": "json-map", "inputs": { "in": "event" }, "config": { "expression": expression } });
    let shop = account.deploy(&project("shop", &json!({ "same": node(".") }))).await;
    account.deploy(&project("broken", &json!({ "no": node("error(\"no\")") }))).await;
    let write = action(&json!({ "do": "storage", "operations": [{ "set": ["s", "a/b", "1"] }] }));
    let mut store = project("store", &json!({ "write": write }));
    store["collections"] = json!({ "things": { "indexes": { "n": "/n" } } });
    account.deploy(&store).await;
    account.deploy(&project("shop", &json!({ "same": node("[.]") }))).await;
    let run = account.run("shop", &json!(1)).await["run"].as_str().expect("a run").to_owned();
    let log = action(&json!({ "do": "log", "message": "a line", "times": 1 }));
    account.deploy(&project("talks", &json!({ "log": log }))).await;
    let talking = account.run("talks", &json!(1)).await["run"].as_str().expect("a run").to_owned();
    let dead = account.start("broken", &json!(1)).await;
    assert_eq!(account.ended(&dead).await["state"], "dead");
    assert!(
        stage.host.log().contains("run_dead") && stage.host.log().contains(&dead),
        "a dead letter is told in the log"
    );
    let version = format!("json-map@{}", plugin["version"].as_str().expect("a version"));
    let file = scratch().join("json-map.wasm");
    std::fs::write(&file, &guest("json-map").bytes).expect("the scratch folder is ours");
    let file = file.display().to_string();
    let in_store = ["--project", "store"];

    let attempts = [
        tried("exit-codes", &[]),
        tried("runs", &[]),
        tried("run show", &[&run]),
        tried("run watch", &[&run]),
        tried("logs", &[&talking]),
        tried("revisions", &["--project", "shop"]),
        tried("rollback", &["--project", "shop"]),
        tried("run export", &[&run]),
        tried("run diff", &[&run]),
        tried("run replay", &[&dead, "--revision", "same"]),
        tried("run cancel", &["--project", "shop"]),
        Try { input: "1", ..tried("send", &["main", "--project", "shop", "--wait"]) },
        tried("revisions", &["--project", "shop"]),
        tried("rollback", &[&shop["revision"].to_string(), "--project", "shop", "--dry-run"]),
        tried("limits", &[]),
        tried("plugin ls", &[]),
        tried("plugin show", &[&version]),
        tried("plugin wit", &[&version]),
        tried("plugin wit", &[]),
        tried("plugin wit", &[&file]),
        tried("plugin inspect", &[&file]),
        tried("plugin check", &[&file]),
        tried("plugin push", &[&file, "--name", "other", "--version", "1.0.0"]),
        tried("plugin yank", &["other@1.0.0"]),
        tried("plugin unyank", &["other@1.0.0"]),
        Try { input: "1", ..tried("stores set", &["s", "a/b", "--project", "store", "--ttl", "1d"]) },
        tried("stores get", &["s", "a/b", "--project", "store"]),
        tried("stores ls", &in_store),
        tried("stores ls", &["s", "--project", "store", "--prefix", "a/"]),
        tried("stores rm", &["s", "a/b", "--project", "store"]),
        Try { input: "{\"n\":1}", ..tried("records put", &["things", "a/b", "--project", "store"]) },
        tried("records get", &["things", "a/b", "--project", "store"]),
        tried("records ls", &in_store),
        tried("records query", &["things", "--where", "n=1", "--order", "n", "--project", "store"]),
        tried("records rm", &["things", "a/b", "--project", "store"]),
        tried("token create", &["--name", "json"]),
        tried("token ls", &[]),
        tried("token rotate", &["3"]),
        tried("token revoke", &["3"]),
        tried("token generate", &[]),
        Try { input: "a secret of some length", ..tried("credential set", &["key", "--project", "shop"]) },
        tried("credential list", &["--project", "shop"]),
        tried("credential delete", &["key", "--project", "shop"]),
        tried("credentials new-key", &[]),
        as_operator("credentials rotate-key", &[]),
        as_operator("account create", &["globex", "--weight", "3"]),
        as_operator("account set", &["globex", "--burst-per-minute", "5"]),
        as_operator("account show", &["globex"]),
        as_operator("account ls", &[]),
    ];
    for attempt in &attempts {
        printed(&stage, &account, attempt).await;
    }
    let known: BTreeSet<&str> =
        attempts.iter().map(|attempt| attempt.words).chain(NOT_TRIED.iter().map(|(words, _)| *words)).collect();
    let leaves = leaves();
    let untried: Vec<&str> =
        leaves.iter().map(|(words, _)| words.as_str()).filter(|words| !known.contains(words)).collect();
    assert!(untried.is_empty(), "try these with `--json` in this file, or say why not: {untried:?}");
}
