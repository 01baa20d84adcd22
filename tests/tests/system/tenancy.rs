//! What one account can learn and do about another: nothing.

use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{Account, Api, Stage, eventually, project};

fn small(name: &str) -> Value {
    project(
        name,
        &json!({ "same": { "plugin": "json-map", "inputs": { "in": "event" }, "config": { "expression": "." } } }),
    )
}

/// An account with all that an account can have.
struct Tenant {
    account: Account,
    run: String,
    plugin: String,
    token: i64,
}

async fn tenant(stage: &Stage, name: &str, project: &str) -> Tenant {
    let account = stage.account(name).await;
    let plugin = account.upload("json-map").await;
    account.deploy(&small(project)).await;
    let run = account.run(project, &json!("secret")).await["run"].as_str().expect("a run").to_owned();
    let tokens = account.api.get("/v1/tokens").await.expect(200);
    let token = tokens["items"][0]["id"].as_i64().expect("there is one");
    Tenant { account, run, plugin: plugin["version"].as_str().expect("a version").to_owned(), token }
}

async fn count(api: &Api, path: &str) -> usize {
    api.get(path).await.expect(200)["items"].as_array().expect("a list").len()
}

#[tokio::test]
async fn what_belongs_to_another_account_does_not_exist() {
    let stage = Stage::new().await;
    let owner = tenant(&stage, "owner", "vault").await;
    let stranger = stage.account("stranger").await;
    let Tenant { account, run, plugin, token } = &owner;

    let paths = [
        (Method::GET, format!("/v1/runs/{run}")),
        (Method::GET, "/v1/runs?project=vault".to_owned()),
        (Method::GET, "/v1/projects/vault".to_owned()),
        (Method::POST, "/v1/projects/vault/grids/main/events".to_owned()),
        (Method::GET, format!("/v1/plugins/json-map/{plugin}")),
        (Method::POST, account.hook("vault")),
        (Method::POST, format!("/v1/runs/{run}/cancel")),
        (Method::POST, format!("/v1/runs/{run}/replay")),
        (Method::DELETE, format!("/v1/tokens/{token}")),
    ];
    // What is done to many runs names their project.
    let of_project = [("/v1/runs/cancel", "vault"), ("/v1/runs/replay", "vault")];
    // Naming the other account is for operators: for this token it does not exist.
    let acting = stranger.api.acting_for("owner");
    for api in [&stranger.api, &acting] {
        for (method, path) in &paths {
            api.send(method.clone(), path, "application/json", "{}".into()).await.problem(404);
        }
        for (path, project) in of_project {
            api.post(path, &json!({ "project": project })).await.problem(404);
        }
        api.get("/v1/accounts").await.problem(403);
        api.get("/v1/accounts/owner").await.problem(403);
        api.get("/v1/accounts/stranger").await.problem(403);
        api.put("/v1/accounts/owner", &json!({})).await.problem(403);
    }
    for list in ["/v1/runs", "/v1/projects", "/v1/plugins"] {
        assert_eq!(count(&stranger.api, list).await, 0, "{list}");
        acting.get(list).await.problem(404);
    }
    assert_eq!(count(&stranger.api, "/v1/tokens").await, 1, "its own alone");
    acting.get("/v1/tokens").await.problem(404);
    assert_eq!(account.show(run).await.get("replayed_as"), None, "nobody has replayed it");
    for (method, path) in &paths[..6] {
        let answer = account.api.send(method.clone(), path, "application/json", "{}".into()).await;
        assert!(answer.status < 300, "the owner itself: {method} {path}: {:#}", answer.body);
    }
    // Over is over, which the owner is told, and nobody else.
    account.api.post(&format!("/v1/runs/{run}/cancel"), &json!({})).await.problem(409);
    account.api.post(&format!("/v1/runs/{run}/replay"), &json!({ "from": "start" })).await.expect(202);
    stage.host.operator().get("/v1/accounts/owner").await.expect(200);

    let own = account.api.get("/v1/projects/vault").await.expect(200);
    stranger.deploy(&small("vault")).await;
    stranger.run("vault", &json!(1)).await;
    assert_eq!(
        account.api.get("/v1/projects/vault").await.expect(200),
        own,
        "a project of the same name is another one"
    );
    assert_eq!(count(&stranger.api, "/v1/runs").await, 1);
}

#[tokio::test]
async fn a_token_of_one_project_sees_nothing_of_the_others() {
    let stage = Stage::new().await;
    let owner = tenant(&stage, "owner", "vault").await;
    owner.account.deploy(&small("shed")).await;
    let shed_run = owner.account.run("shed", &json!(1)).await["run"].as_str().expect("a run").to_owned();
    let wanted =
        json!({ "name": "shed", "project": "shed", "scopes": ["runs:read", "events:write", "projects:write"] });
    let made = owner.account.api.post("/v1/tokens", &wanted).await.expect(201);
    let api = owner.account.api.with_token(made["token"].as_str());

    api.get(&format!("/v1/runs/{shed_run}")).await.expect(200);
    api.post("/v1/projects/shed/grids/main/events", &json!(1)).await.expect(202);
    api.get(&format!("/v1/runs/{}", owner.run)).await.problem(404);
    api.get("/v1/projects/vault").await.problem(404);
    api.put("/v1/projects/vault", &small("vault")).await.problem(404);
    api.post("/v1/projects/vault/grids/main/events", &json!(1)).await.problem(404);
    api.post(&owner.account.hook("vault"), &json!(1)).await.problem(404);
    let runs = api.get("/v1/runs").await.expect(200);
    assert!(runs["items"].as_array().expect("a list").iter().all(|run| run["project"] == "shed"), "{runs:#}");
    // Scopes that it was not given.
    api.get("/v1/tokens").await.problem(403);
    api.send(Method::PUT, "/v1/plugins/x/1.0.0", "application/wasm", "x".into()).await.problem(403);
    api.get("/v1/accounts/owner").await.problem(403);
}

#[tokio::test]
async fn a_token_of_one_project_cancels_and_replays_nothing_of_the_others() {
    let stage = Stage::new().await;
    let owner = tenant(&stage, "owner", "vault").await;
    let broken = json!({ "break": {
        "plugin": "json-map", "inputs": { "in": "event" }, "config": { "expression": "error(\"no\")" },
    } });
    let mut dead = Vec::new();
    for name in ["vault", "shed"] {
        owner.account.deploy(&project(name, &broken)).await;
        let run = owner.account.start(name, &json!(1)).await;
        assert_eq!(owner.account.ended(&run).await["state"], "dead");
        dead.push(run);
    }
    let wanted = json!({ "name": "shed", "project": "shed", "scopes": ["runs:read", "runs:write"] });
    let made = owner.account.api.post("/v1/tokens", &wanted).await.expect(201);
    let api = owner.account.api.with_token(made["token"].as_str());

    for (what, how) in [("cancel", json!({})), ("replay", json!({})), ("replay", json!({ "revision": "same" }))] {
        api.post(&format!("/v1/runs/{}/{what}", dead[0]), &how).await.problem(404);
        api.post(&format!("/v1/runs/{what}"), &json!({ "project": "vault" })).await.problem(404);
    }
    assert_eq!(owner.account.show(&dead[0]).await.get("replayed_as"), None);
    api.post(&format!("/v1/runs/{}/cancel", dead[1]), &json!({})).await.problem(409);
    let replayed = api.post("/v1/runs/replay", &json!({ "project": "shed" })).await.expect(200);
    assert_eq!((&replayed["replayed"], &replayed["runs"][0]["run"]), (&json!(1), &json!(dead[1])), "{replayed:#}");
    api.post(&format!("/v1/runs/{}/replay", dead[1]), &json!({ "again": true })).await.expect(202);
}

#[tokio::test]
async fn a_revoked_token_is_refused_within_five_seconds() {
    let stage = Stage::new().await;
    let account = stage.account("acme").await;
    let wanted = json!({ "name": "short-lived", "scopes": ["runs:read"] });
    let made = account.api.post("/v1/tokens", &wanted).await.expect(201);
    let api = account.api.with_token(made["token"].as_str());
    api.get("/v1/runs").await.expect(200);

    let revoked = Instant::now();
    let answer = account.api.delete(&format!("/v1/tokens/{}", made["id"])).await;
    assert_eq!(answer.status, 204);
    let refused = eventually("the token is refused", async || {
        let answer = api.get("/v1/runs").await;
        (answer.status != 200).then_some(answer)
    })
    .await;
    // And a moment for the answer itself.
    assert!(revoked.elapsed() < Duration::from_millis(5_500), "{:?}", revoked.elapsed());
    assert_eq!(refused.header("www-authenticate"), Some("Bearer"));
    refused.problem(401);
}

#[tokio::test]
async fn nobody_gives_away_more_than_they_have() {
    let stage = Stage::new().await;
    let account = stage.account("acme").await;
    let wanted = json!({ "name": "tokens alone", "scopes": ["tokens:write"] });
    let made = account.api.post("/v1/tokens", &wanted).await.expect(201);
    let api = account.api.with_token(made["token"].as_str());
    for scope in ["operator", "runs:read"] {
        let problem = api.post("/v1/tokens", &json!({ "name": "more", "scopes": [scope] })).await.problem(403);
        assert!(problem["detail"].as_str().is_some_and(|text| text.contains(scope)), "{problem:#}");
    }
}
