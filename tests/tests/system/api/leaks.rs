//! What a thief of the logs or of the database gets: no token, in no spelling.

use std::fs;

use reqwest::Method;
use serde_json::json;
use sqlx::AssertSqlSafe;
use trellis_model::token::Scope;

use crate::support::{Account, Api, Database, Stage, project, scratch, secrets};

/// Every row of every table as text, as a dump has them: bytes in hexadecimal.
async fn dump(database: &Database) -> String {
    let tables: Vec<(String, String)> = sqlx::query_as(
        "select n.nspname::text, c.relname::text from pg_class c join pg_namespace n on n.oid = c.relnamespace
         where c.relkind in ('r', 'p') and not c.relispartition and n.nspname not in ('pg_catalog', 'information_schema')",
    )
    .fetch_all(&database.pool)
    .await
    .expect("the catalog is readable");
    assert!(tables.len() > 10, "{tables:?}");
    let mut text = String::new();
    for (schema, table) in tables {
        let rows = AssertSqlSafe(format!("select t::text from \"{schema}\".\"{table}\" t"));
        let rows: Vec<String> = sqlx::query_scalar(rows).fetch_all(&database.pool).await.expect("ours to read");
        text.extend(rows.into_iter().map(|row| row + "\n"));
    }
    text
}

/// Makes a token, and says that nobody may see it.
async fn made(api: &Api, path: &str, wanted: &serde_json::Value) -> (String, String) {
    let made = api.post(path, wanted).await.expect(201);
    let text = made["token"].as_str().expect("its text").to_owned();
    secrets::register(&text);
    (made["id"].to_string(), text)
}

/// All that is done with tokens, the wrong things too.
async fn flows(stage: &Stage, account: &Account) {
    let (operator, all) = (stage.host.operator(), Scope::of_account());
    made(&operator, "/v1/tokens", &json!({ "name": "second", "scopes": ["operator"] })).await;
    let (_, of_project) =
        made(&account.api, "/v1/tokens", &json!({ "name": "p", "scopes": all, "project": "shop" })).await;
    let (id, text) = made(&account.api, "/v1/tokens", &json!({ "name": "a", "scopes": all })).await;
    let (_, successor) = made(&account.api, &format!("/v1/tokens/{id}/rotate"), &json!({})).await;
    for token in [&of_project, &text, &successor] {
        let api = account.api.with_token(Some(token));
        let run = api.post(&account.hook("shop"), &json!(1)).await.expect(202);
        account.succeeded(run["run"].as_str().expect("a run")).await;
        // Where it does not belong: in queries, paths, names, headers.
        api.post(&format!("{}?token={token}&a=1", account.hook("shop")), &json!(2)).await.expect(202);
        api.get(&format!("/v1/runs?token={token}")).await.problem(400);
        api.get(&format!("/v1/runs/{token}")).await.problem(404);
        api.get(&format!("/v1/projects/{token}")).await.problem(404);
        api.get(&format!("/{token}")).await.problem(404);
        api.with_token(Some(&format!("{token}x"))).get("/v1/runs").await.problem(401);
        api.acting_for(token).get("/v1/runs").await.problem(404);
        api.send(Method::PUT, "/v1/projects/shop", "application/toml", format!("{token} = 1").into())
            .await
            .problem(422);
    }
    account.api.delete(&format!("/v1/tokens/{id}")).await;
}

#[tokio::test]
async fn neither_the_logs_nor_the_database_have_a_token_in_them() {
    let stage = Stage::with(|plan| plan.set("log.filter", "debug,trellis=trace")).await;
    let account = stage.account("acme").await;
    let node = json!({ "plugin": "json-map", "inputs": { "in": "event" }, "config": { "expression": "." } });
    account.deploy(&project("shop", &json!({ "a": node }))).await;
    secrets::register(account.api.credentials().1);
    secrets::register(stage.host.operator_token());
    flows(&stage, &account).await;
    // What is looked for can be found: an event's payload is in the database, and no secret.
    let payload = "payload-that-a-dump-has";
    account.run("shop", &json!(payload)).await;

    let (secrets, dump) = (secrets::registered(), dump(&stage.database).await);
    assert!(secrets.len() >= 6);
    assert!(secrets::first_in(&dump, &[payload.to_owned()]).is_some(), "this test finds nothing at all");
    assert_eq!(secrets::first_in(&dump, &secrets), None, "in the database");

    // Those of this test, and whatever hosts of others have logged so far.
    let logs = fs::read_dir(scratch()).expect("the scratch folder is ours").map(|entry| entry.expect("a file").path());
    let logs: Vec<_> = logs.filter(|path| path.extension().is_some_and(|kind| kind == "log")).collect();
    assert!(!stage.host.log().is_empty() && !logs.is_empty());
    for path in logs {
        let log = fs::read(&path).map(|log| String::from_utf8_lossy(&log).into_owned()).unwrap_or_default();
        assert_eq!(secrets::first_in(&log, &secrets), None, "in {}", path.display());
        assert!(!secrets::has_token(&log), "a token in {}", path.display());
    }
}
