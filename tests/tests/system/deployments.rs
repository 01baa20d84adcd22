//! Deployments: what they change is told before and after, they are taken back, and what flows through them is checked.

use std::fs;

use serde_json::{Value, json};

use crate::support::{Account, Stage, command, node, project, scratch};

fn says(name: &str, word: &str, delay: Option<&str>) -> Value {
    let mut node =
        json!({ "plugin": "json-map", "inputs": { "in": "event" }, "config": { "expression": format!("\"{word}\"") } });
    if let Some(delay) = delay {
        node["delay"] = json!(delay);
    }
    project(name, &json!({ "say": node }))
}

async fn revisions(account: &Account) -> Vec<Value> {
    let page = account.api.get("/v1/projects/shop/revisions").await.expect(200);
    page["items"].as_array().expect("a list").clone()
}

#[tokio::test]
async fn a_deployment_that_was_made_and_not_told_is_served_once_it_is_sent_again() {
    let stage = Stage::with(|plan| plan.fault("deployment-not-adopted=off@1")).await;
    let account = stage.account("acme").await;
    account.upload("json-map").await;
    let shop = says("shop", "one", None);
    let told = account.api.put("/v1/projects/shop", &shop).await;
    assert!(told.status >= 500, "{told:?}");
    let again = account.api.put("/v1/projects/shop", &shop).await.expect(200);
    assert_eq!(again["is_unchanged"], json!(true), "{again:#}");
    account.send("shop", &json!(1)).await.expect(202);
}

#[tokio::test]
async fn a_deployment_says_what_it_changes_and_can_be_taken_back() {
    let stage = Stage::new().await;
    let account = stage.account("acme").await;
    let first = account.deploy(&says("shop", "one", Some("1s"))).await;
    assert_eq!(first["changes"][0]["change"], "added", "{first:#}");
    // Accepted under the first revision; it waits, and others are deployed meanwhile.
    let waits = account.start("shop", &json!(1)).await;

    let second = says("shop", "two", None);
    let dry = account.api.put("/v1/projects/shop?dry_run=true", &second).await.expect(200);
    let changed = json!([{ "change": "changed", "what": "node", "name": "main/say", "keys": [
        { "key": "config.expression", "from": "\"one\"", "to": "\"two\"" },
        { "key": "delay", "from": "1s" },
    ] }]);
    assert_eq!((&dry["changes"], dry.get("revision")), (&changed, None), "{dry:#}");
    assert_eq!(revisions(&account).await.len(), 1, "a dry run changes nothing");

    let deployed = account.api.put("/v1/projects/shop", &second).await.expect(201);
    assert_eq!((&deployed["changes"], &deployed["is_unchanged"]), (&changed, &json!(false)), "{deployed:#}");
    let again = account.api.put("/v1/projects/shop", &second).await.expect(200);
    assert_eq!((&again["is_unchanged"], &again["revision"]), (&json!(true), &deployed["revision"]), "{again:#}");
    assert_eq!(again["changes"], json!([]));
    assert_eq!(revisions(&account).await.len(), 2, "what is the same is no new revision");

    let back = account.api.post("/v1/projects/shop/rollback", &json!({})).await.expect(201);
    assert!(back["revision"].as_i64() > deployed["revision"].as_i64(), "{back:#}");
    let listed = revisions(&account).await;
    assert_eq!(
        (&listed[0]["revision"], &listed[0]["made_from"]),
        (&back["revision"], &first["revision"]),
        "{listed:#?}"
    );
    assert_eq!((&listed[0]["is_current"], &listed[1]["is_current"]), (&json!(true), &json!(false)));
    let shown = account.api.get(&format!("/v1/projects/shop/revisions/{}", first["revision"])).await.expect(200);
    assert_eq!(shown["manifest"]["grids"]["main"]["nodes"]["say"]["config"]["expression"], "\"one\"", "{shown:#}");

    // To a number; and what was accepted before has run as it was.
    let forth = json!({ "revision": deployed["revision"] });
    account.api.post("/v1/projects/shop/rollback", &forth).await.expect(201);
    let now = account.run("shop", &json!(2)).await;
    assert_eq!(node(&now, "say")["outputs"]["out"], "two");
    let waited = account.succeeded(&waits).await;
    assert_eq!((&waited["revision"], &node(&waited, "say")["outputs"]["out"]), (&first["revision"], &json!("one")));
    account.api.post("/v1/projects/shop/rollback", &json!({ "revision": 1_000_000 })).await.problem(404);

    let page = account.api.get("/v1/projects/shop/revisions?limit=3").await.expect(200);
    let rest = format!("/v1/projects/shop/revisions?limit=3&before={}", page["next"].as_str().expect("a cursor"));
    let rest = account.api.get(&rest).await.expect(200);
    assert_eq!((rest["items"].as_array().map(Vec::len), rest.get("next")), (Some(1), None), "{rest:#}");
}

#[tokio::test]
async fn nothing_is_gone_back_to_where_nothing_was_before() {
    let stage = Stage::new().await;
    let account = stage.account("acme").await;
    account.deploy(&says("shop", "one", None)).await;
    let problem = account.api.post("/v1/projects/shop/rollback", &json!({})).await.problem(409);
    assert!(problem["detail"].as_str().is_some_and(|text| text.contains("there is none before it")), "{problem:#}");
    let stranger = stage.account("stranger").await;
    let own = stranger.deploy(&says("shop", "other", None)).await;
    // A number of somebody else's is no number.
    account.api.post("/v1/projects/shop/rollback", &json!({ "revision": own["revision"] })).await.problem(404);
    account.api.get(&format!("/v1/projects/shop/revisions/{}", own["revision"])).await.problem(404);
    // Also where the host has it in memory.
    let run = account.run("shop", &json!(1)).await;
    let path = format!("/v1/runs/{}/diff", run["run"].as_str().expect("a run"));
    let refused = account.api.post(&path, &json!({ "revision": own["revision"] })).await.problem(422);
    assert!(refused["detail"].as_str().is_some_and(|text| text.ends_with("does not exist any more")), "{refused:#}");
}

#[tokio::test]
async fn what_is_gone_back_to_has_its_plugins_yanked_or_not() {
    let stage = Stage::new().await;
    let account = stage.account("acme").await;
    let first = account.deploy(&says("shop", "one", None)).await;
    let version = account.upload("json-map").await["version"].as_str().expect("a version").to_owned();
    account
        .deploy(&project(
            "shop",
            &json!({ "big": {
        "plugin": "filter", "inputs": { "in": "event" }, "config": { "expression": "true" },
    } }),
        ))
        .await;
    account.api.post(&format!("/v1/plugins/json-map/{version}/yank"), &json!({})).await.expect(200);
    account.api.put("/v1/projects/shop", &says("shop", "two", None)).await.problem(422);

    let dry = account.api.post("/v1/projects/shop/rollback", &json!({ "dry_run": true })).await.expect(200);
    let back = account.api.post("/v1/projects/shop/rollback", &json!({})).await.expect(201);
    assert_eq!(dry["changes"], back["changes"], "{back:#}");
    assert_eq!(back["plugins"]["json-map"], format!("json-map@{version}"), "{back:#}");
    let listed = revisions(&account).await;
    assert_eq!(listed[0]["made_from"], first["revision"], "{listed:#?}");
    let run = account.run("shop", &json!(1)).await;
    assert_eq!((&run["revision"], &node(&run, "say")["outputs"]["out"]), (&back["revision"], &json!("one")));
}

#[tokio::test]
async fn an_event_that_was_accepted_has_its_run_whatever_its_trigger_lets_in_since() {
    let stage = Stage::new().await;
    let account = stage.account("acme").await;
    let mut manifest = says("shop", "one", None);
    manifest["triggers"][0]["dedupe"] = json!("/id");
    account.deploy(&manifest).await;
    let event = json!({ "id": "a", "total": 1 });
    let accepted = account.send("shop", &event).await.expect(202);
    manifest["triggers"][0]["schema"] = json!({ "type": "object", "properties": { "total": { "type": "string" } } });
    account.deploy(&manifest).await;
    let again = account.send("shop", &event).await.expect(202);
    assert_eq!((&again["run"], &again["repeat"]), (&accepted["run"], &json!(true)));
    account.send("shop", &json!({ "id": "b", "total": 1 })).await.problem(422);
}

#[tokio::test]
async fn an_event_that_does_not_fit_its_trigger_is_refused_with_the_places_at_fault() {
    let stage = Stage::new().await;
    let account = stage.account("acme").await;
    let mut manifest = says("shop", "one", None);
    manifest["triggers"][0]["schema"] = json!({
        "type": "object", "required": ["id"], "additionalProperties": false,
        "properties": { "id": { "type": "string" }, "lines": { "type": "array", "items": { "type": "integer" } } },
    });
    account.deploy(&manifest).await;
    account.run("shop", &json!({ "id": "a", "lines": [1, 2] })).await;
    let problem = account.send("shop", &json!({ "id": 7, "lines": [1, "x"], "nope": 1 })).await.problem(422);
    assert!(problem["type"].as_str().is_some_and(|kind| kind.ends_with("invalid-event")), "{problem:#}");
    let faults = problem["faults"].as_array().expect("faults");
    let mut pointers: Vec<&str> = faults.iter().filter_map(|fault| fault["pointer"].as_str()).collect();
    pointers.sort_unstable();
    assert_eq!(pointers, ["/id", "/lines/1", "/nope"], "{problem:#}");
    assert_eq!(stage.database.unfinished_count().await + stage.database.ended_count().await, 1, "no run came of it");

    manifest["grids"]["main"]["nodes"]["say"]["inputs"]["in"] = json!("event#/idd");
    let refused = account.api.put("/v1/projects/shop", &manifest).await.problem(422);
    let message = refused["faults"][0]["message"].as_str().expect("a message");
    assert!(message.contains("events of trigger `events` give an object without `idd`"), "{refused:#}");
}

#[tokio::test]
async fn what_a_plugin_imports_is_granted_or_said_not_to_be() {
    let stage = Stage::new().await;
    let account = stage.account("acme").await;
    account.upload("http-request").await;
    let mut node =
        json!({ "plugin": "http-request", "inputs": { "in": "event" }, "config": { "url": "https://example.com/" } });
    let refused = account.api.put("/v1/projects/shop", &project("shop", &json!({ "ask": node }))).await.problem(422);
    let fault = &refused["faults"][0];
    assert_eq!(fault["pointer"], "/grids/main/nodes/ask/grants/http", "{refused:#}");
    assert!(fault["fix"].as_str().is_some_and(|fix| fix.contains("or `http = []`")), "{refused:#}");
    node["grants"] = json!({ "http": [] });
    account.api.put("/v1/projects/shop", &project("shop", &json!({ "ask": node }))).await.expect(201);
}

#[tokio::test]
async fn names_that_are_nearly_those_of_projects_are_noticed() {
    let stage = Stage::new().await;
    let account = stage.account("acme").await;
    account.deploy(&says("shop", "one", None)).await;
    let wanted = json!({ "name": "x", "scopes": ["runs:read"], "project": "shpo" });
    let problem = account.api.post("/v1/tokens", &wanted).await.problem(404);
    let detail = "there is no project `shpo`; did you mean `shop`?";
    assert_eq!(problem["detail"], detail);
    let stranger = stage.account("stranger").await;
    let problem = stranger.api.get("/v1/projects/shpo").await.problem(404);
    assert_eq!(problem["detail"], "there is no project `shpo`", "others' projects are not suggested");
}

/// A folder with a manifest, and a schema in a file of its own.
fn folder(name: &str, manifest: &str) -> String {
    let folder = scratch().join(name);
    fs::create_dir_all(&folder).expect("the scratch folder is ours");
    fs::write(folder.join("trellis.toml"), manifest).expect("ours");
    fs::write(
        folder.join("order.json"),
        r#"{ "type": "object", "properties": { "id": { "type": "string" } }, "additionalProperties": false }"#,
    )
    .expect("ours");
    folder.to_str().expect("a plain path").to_owned()
}

const MANIFEST: &str = r#"[project]
name = "shop"

[plugins]
json-map = "json-map@*"

[[triggers]]
name = "events"
kind = "http"
grid = "main"
path = "/events"
schema = "order.json"

[grids.main.nodes.say]
plugin = "json-map"
inputs = { in = "event#/id" }
config = { expression = "." }
"#;

#[tokio::test]
async fn the_command_tells_all_faults_at_once_and_what_would_change() {
    let stage = Stage::new().await;
    let account = stage.account("acme").await;
    account.upload("json-map").await;
    let broken = MANIFEST
        .replace("kind = \"http\"", "kind = \"htpp\"")
        .replace("expression = \".\"", "expresion = \".\"")
        .replace("event#/id", "event#/key");
    let output = command(&account, &["deploy", &folder("broken", &broken), "--json"]).await;
    assert_eq!(output.status.code(), Some(4), "{output:?}");
    let told: Value =
        serde_json::from_str(String::from_utf8_lossy(&output.stderr).lines().last().expect("a line")).expect("JSON");
    let mut found: Vec<(u64, &str)> = told["faults"]
        .as_array()
        .unwrap_or_else(|| panic!("{told:#}"))
        .iter()
        .map(|fault| (fault["line"].as_u64().expect("a line"), fault["message"].as_str().expect("a message")))
        .collect();
    found.sort_unstable();
    let lines: Vec<u64> = found.iter().map(|(line, _)| *line).collect();
    // The first by this machine, the others by the server alone: of what the plugin takes, and what the trigger gives.
    assert_eq!(lines, [9, 16, 17, 17], "{told:#}");

    let good = folder("good", MANIFEST);
    let output = command(&account, &["deploy", &good, "--dry-run"]).await;
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && text.contains("it would change\n  + grid main\n  + node main/say"),
        "{output:?}"
    );
    assert!(command(&account, &["deploy", &good]).await.status.success());
    let output = command(&account, &["deploy", &good]).await;
    assert!(String::from_utf8_lossy(&output.stdout).contains("already; nothing has changed"), "{output:?}");
    account.send("shop", &json!({ "id": 5 })).await.problem(422);

    fs::write(format!("{good}/trellis.toml"), MANIFEST.replace("expression = \".\"", "expression = \"1\""))
        .expect("ours");
    let output = command(&account, &["deploy", &good]).await;
    assert!(String::from_utf8_lossy(&output.stdout).contains("config.expression: \".\" → \"1\""), "{output:?}");
    let output = command(&account, &["rollback", "--project", "shop"]).await;
    assert!(String::from_utf8_lossy(&output.stdout).contains("config.expression: \"1\" → \".\""), "{output:?}");
    let output = command(&account, &["revisions", "--project", "shop"]).await;
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("current, goes back to") && text.contains("json-map@"), "{output:?}");

    fs::write(format!("{good}/trellis.toml"), MANIFEST.replace("order.json", "../secret.json")).expect("ours");
    let output = command(&account, &["deploy", &good]).await;
    assert!(String::from_utf8_lossy(&output.stderr).contains("is no file of the project's folder"), "{output:?}");
}

#[tokio::test]
async fn a_credential_in_use_is_not_deleted_by_accident() {
    const KEY: &str = "1 AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=";
    let stage = Stage::with(|plan| plan.with_variable("TRELLIS_CREDENTIALS_MASTER_KEY", KEY)).await;
    let account = stage.account("acme").await;
    let value = json!({ "value": "a-s3cret-of-ours" });
    let put = |path: &'static str| account.api.put(path, &value);
    let set = put("/v1/projects/shop/credentials/key").await.expect(201);
    assert_eq!((&set["awaits_deployment"], set.get("similar_project")), (&json!(true), None), "{set:#}");
    let mut manifest = says("shop", "one", None);
    manifest["grids"]["main"]["nodes"]["say"]["grants"] = json!({ "secret": ["key"] });
    account.deploy(&manifest).await;
    let set = put("/v1/projects/shpo/credentials/key").await.expect(201);
    assert_eq!((&set["awaits_deployment"], &set["similar_project"]), (&json!(true), &json!("shop")), "{set:#}");
    let set = put("/v1/projects/shop/credentials/other").await.expect(201);
    assert_eq!(set["awaits_deployment"], false, "{set:#}");

    let path = "/v1/projects/shop/credentials/key";
    let problem = account.api.delete(path).await.problem(409);
    assert!(problem["detail"].as_str().is_some_and(|text| text.contains("needed by node `main/say`")), "{problem:#}");
    assert_eq!(account.api.delete("/v1/projects/shop/credentials/other").await.status, 204, "nobody needs it");
    let output = command(&account, &["credential", "delete", "key", "--project", "shop"]).await;
    assert_eq!(output.status.code(), Some(4), "{output:?}");
    let output = command(&account, &["credential", "delete", "key", "--project", "shop", "--force"]).await;
    assert!(output.status.success(), "{output:?}");
    account.api.delete(&format!("{path}?force=true")).await.problem(404);
}
