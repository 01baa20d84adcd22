//! Every route against every kind of token. The routes are read from where they are declared: one that is new is tried
//! without anybody's having thought of it, or fails for want of a name for what is in its path.

use std::collections::BTreeMap;

use reqwest::Method;
use serde_json::{Value, json};
use trellis::api::{Access, Media, Route, routes};
use trellis_model::token::{RANDOM_BYTES, Scope, TokenKind, TokenText};

use crate::support::{Account, Answer, Api, Stage, project};

/// What the owner keeps to itself; found in no answer to anybody else.
const PAYLOAD: &str = "payload-of-the-owner-alone";
const CONFIG: &str = "config-of-the-owner-alone";
const TOKEN_NAME: &str = "token-of-the-owner-alone";
const STORED: &str = "\"stored-by-the-owner-alone\"";
const RECORDED: &str = "recorded-by-the-owner-alone";

fn vault(name: &str) -> Value {
    let expression = format!("if . == \"{CONFIG}\" then 1 else . end");
    let node = json!({ "plugin": "json-map", "inputs": { "in": "event" }, "config": { "expression": expression } });
    let mut vault = project(name, &json!({ "same": node }));
    vault["collections"] = json!({ "things": {} });
    vault
}

/// What the names in paths stand for.
type Names = BTreeMap<&'static str, String>;

fn names(project: &str, run: &str, plugin_version: &str, token: &str, account: &str) -> Names {
    [
        ("account", account),
        ("project", project),
        ("grid", "main"),
        ("run", run),
        ("name", "json-map"),
        ("version", plugin_version),
        ("token", token),
        ("credential", "github"),
        ("revision", "9000000000"),
        ("problem", "not-found"),
        ("store", "s"),
        ("collection", "things"),
        ("schema", "issue"),
        ("key", "key-of-the-owner-alone"),
        ("path", "events"),
    ]
    .into_iter()
    .map(|(name, value)| (name, value.to_owned()))
    .collect()
}

/// Names of what does not exist.
fn no_names() -> Names {
    names("nothing", "run_0000000000001", "9.9.9", "9000000000", "nobody")
}

fn path(route: &Route, names: &Names) -> String {
    let steps = route.path.split('/').map(|step| match step.strip_prefix('{') {
        Some(name) => {
            let name = name.trim_start_matches('*').trim_end_matches('}');
            let value = names.get(name);
            value.unwrap_or_else(|| panic!("{}: say in this file what `{name}` stands for", route.path)).as_str()
        }
        None => step,
    });
    steps.collect::<Vec<_>>().join("/")
}

/// A body that a route takes, and that names a project if it can.
fn body(route: &Route, project: &str) -> Value {
    match route.path {
        "/v1/runs/cancel" | "/v1/runs/replay" => json!({ "project": project }),
        "/v1/tokens" => json!({ "name": "mine", "scopes": ["tokens:write"], "project": project }),
        "/v1/projects/{project}" => vault(project),
        "/v1/projects/{project}/credentials/{credential}" => json!({ "value": "not-to-be-told" }),
        "/v1/accounts/{account}" => json!({}),
        _ => json!({}),
    }
}

fn kind(route: &Route) -> &'static str {
    let first = route.body.as_ref().and_then(|body| body.kinds.first());
    first.map_or("", |(media, _)| if *media == Media::Toml { Media::Json.name() } else { media.name() })
}

async fn ask(api: &Api, route: &Route, method: &Method, names: &Names) -> Answer {
    let body = body(route, &names["project"]).to_string();
    api.send(method.clone(), &path(route, names), kind(route), body.into()).await
}

/// Every method of every route that asks who is there.
fn guarded() -> Vec<(Route, Method)> {
    let guarded = routes().into_iter().filter(|route| route.access != Access::Public);
    guarded.flat_map(|route| route.methods.clone().into_iter().map(move |method| (route.clone(), method))).collect()
}

#[tokio::test]
async fn without_a_good_token_no_route_does_anything() {
    let stage = Stage::new().await;
    let owner = Owner::new(&stage).await;
    let unknown = TokenText::from_random(TokenKind::Operator, &[9; RANDOM_BYTES]);
    let mistyped = format!("{}x", &unknown.reveal()[..unknown.reveal().len() - 1]);
    let before = owner.everything().await;
    for token in [None, Some(unknown.reveal()), Some(&mistyped), Some("nonsense"), Some("")] {
        let api = owner.account.api.with_token(token);
        for (route, method) in guarded() {
            let answer = ask(&api, &route, &method, &owner.names).await;
            let what = format!("{method} {} with {token:?}", route.path);
            assert_eq!(answer.status, 401, "{what}: {:#}", answer.body);
            assert_eq!(answer.header("www-authenticate"), Some("Bearer"), "{what}");
            answer.problem(401);
        }
    }
    assert_eq!(owner.everything().await, before);
}

#[tokio::test]
async fn a_token_opens_the_routes_of_its_scopes_and_no_others() {
    let stage = Stage::new().await;
    let owner = Owner::new(&stage).await;
    let operator = stage.host.operator();
    for scope in Scope::ALL {
        let makers: &[(&str, Value)] = match scope {
            Scope::Operator => &[("operator", Value::Null)],
            _ => &[("account", Value::Null), ("project", json!("vault"))],
        };
        for (of, project) in makers {
            let wanted = json!({ "name": "one scope", "scopes": [scope], "project": project });
            let maker = if scope == Scope::Operator { &operator } else { &owner.account.api };
            let made = maker.post("/v1/tokens", &wanted).await.expect(201);
            let api = owner.account.api.with_token(made["token"].as_str()).acting_for("owner");
            for (route, method) in guarded() {
                let needed = match route.access {
                    Access::Scope(needed) => needed,
                    Access::Trigger | Access::Public => Scope::EventsWrite,
                };
                let answer = ask(&api, &route, &method, &no_names()).await;
                let what = format!("{method} {} of {needed} with {scope} of the {of}: {:#}", route.path, answer.body);
                let has_scope = scope == needed && route.also.is_none() || scope == Scope::Operator;
                // Plugins and limits are the account's: a project's token does not change them, whatever its scopes.
                let is_accounts_alone = *of == "project"
                    && (needed == Scope::PluginsWrite || route.path == "/v1/limits" && method == Method::PUT);
                if has_scope && !is_accounts_alone {
                    assert!(!matches!(answer.status, 401 | 403) && answer.status < 500, "{what}");
                } else {
                    assert_eq!(answer.status, 403, "{what}");
                }
            }
        }
    }
}

/// An account with all that an account can have, in a project `vault`, and another project `shed`.
struct Owner {
    account: Account,
    names: Names,
    /// Text that nobody else must be shown.
    own: Vec<String>,
}

impl Owner {
    async fn new(stage: &Stage) -> Self {
        let account = stage.account("owner").await;
        let plugin = account.upload("json-map").await;
        account.deploy(&vault("vault")).await;
        account.deploy(&vault("shed")).await;
        let run = account.run("vault", &json!(PAYLOAD)).await["run"].as_str().expect("a run").to_owned();
        let wanted = json!({ "name": TOKEN_NAME, "scopes": ["runs:read"], "project": "vault" });
        let token = account.api.post("/v1/tokens", &wanted).await.expect(201);
        let (token_id, version) = (token["id"].to_string(), plugin["version"].as_str().expect("a version"));
        let own = [PAYLOAD, TOKEN_NAME, &run, token["token"].as_str().expect("its text")].map(str::to_owned);
        let names = names("vault", &run, version, &token_id, "owner");
        let entry = format!("/v1/projects/vault/stores/s/{}", names["key"]);
        account.api.send(Method::PUT, &entry, "text/plain", STORED.into()).await.expect(201);
        let record = format!("/v1/projects/vault/collections/things/records/{}", names["key"]);
        account.api.put(&record, &json!(RECORDED)).await.expect(201);
        let own = own.into_iter().chain([STORED.to_owned(), RECORDED.to_owned()]).collect();
        Self { account, own, names }
    }

    /// What the owner sees of what it has in `vault`.
    async fn everything(&self) -> Vec<Value> {
        let mut seen = Vec::new();
        let run = &self.names["run"];
        let entry = format!("/v1/projects/vault/stores/s/{}", self.names["key"]);
        let run = format!("/v1/runs/{run}");
        let records = "/v1/projects/vault/collections/things";
        for path in ["/v1/projects/vault", "/v1/runs?project=vault", &run, "/v1/plugins", &entry, records] {
            seen.push(self.account.api.get(path).await.expect(200));
        }
        let tokens = self.account.api.get("/v1/tokens").await.expect(200);
        seen.push(
            tokens["items"]
                .as_array()
                .expect("a list")
                .iter()
                .find(|token| token["name"] == TOKEN_NAME)
                .cloned()
                .into(),
        );
        seen
    }

    /// Tries every route with the owner's names as somebody who has no business there.
    async fn withstands(&self, who: &str, api: &Api, may_see_account: bool) {
        let before = self.everything().await;
        for (route, method) in guarded() {
            let answer = ask(api, &route, &method, &self.names).await;
            let what = format!("{who}: {method} {}: {}: {:#}", route.path, answer.status, answer.body);
            assert!(answer.status < 500, "{what}");
            let told = answer.body.to_string();
            for own in self.own.iter().filter(|own| !path(&route, &self.names).contains(own.as_str())) {
                assert!(!told.contains(own), "{what} tells `{own}`");
            }
            assert!(may_see_account || !told.contains(CONFIG) || method == Method::PUT, "{what} tells a config");
            let names_somebodys: Vec<&str> =
                route.path_parameters().filter(|name| ["run", "token", "project"].contains(name)).collect();
            // A stranger has a project of this name by then: its own.
            let makes_its_own = route.path == "/v1/projects/{project}" && method == Method::PUT
                || route.path.starts_with("/v1/projects/{project}/credentials")
                || route.path.starts_with("/v1/projects/{project}/stores")
                || route.path.starts_with("/v1/projects/{project}/collections");
            let is_named_in_body = route.path == "/v1/runs/cancel"
                || route.path == "/v1/runs/replay"
                || route.path == "/v1/tokens" && method == Method::POST;
            if (may_see_account || !makes_its_own) && (is_named_in_body || !names_somebodys.is_empty()) {
                assert_eq!(answer.status, 404, "{what}");
            }
        }
        assert_eq!(self.everything().await, before, "{who} has changed something");
    }
}

#[tokio::test]
async fn another_account_finds_and_changes_nothing_by_any_route() {
    let stage = Stage::new().await;
    let owner = Owner::new(&stage).await;
    let stranger = stage.account("stranger").await;
    owner.withstands("a stranger", &stranger.api, false).await;
    stranger.deploy(&vault("own")).await;
    let wanted = json!({ "name": "own", "scopes": Scope::of_account(), "project": "own" });
    let made = stranger.api.post("/v1/tokens", &wanted).await.expect(201);
    let of_project = stranger.api.with_token(made["token"].as_str());
    // Itself it sees.
    of_project.get("/v1/projects/own").await.expect(200);
    of_project.get("/v1/projects/vault").await.problem(404);
}

#[tokio::test]
async fn a_token_of_one_project_finds_and_changes_nothing_of_another_by_any_route() {
    let stage = Stage::new().await;
    let owner = Owner::new(&stage).await;
    let wanted = json!({ "name": "shed", "scopes": Scope::of_account(), "project": "shed" });
    let made = owner.account.api.post("/v1/tokens", &wanted).await.expect(201);
    let api = owner.account.api.with_token(made["token"].as_str());
    owner.withstands("a token of another project", &api, true).await;
    api.get("/v1/projects/shed").await.expect(200);

    let pages = [("/v1/projects", "name", "shed"), ("/v1/tokens", "name", "shed")];
    for (list, field, own) in pages {
        let page = api.get(&format!("{list}?limit=1")).await.expect(200);
        let items = page["items"].as_array().expect("a list");
        assert_eq!(items.len(), 1, "{list}: {page:#}");
        assert_eq!(items[0][field], own, "{list}: {page:#}");
        assert!(page["next"].is_null(), "{list} leads to what the token must not know: {page:#}");
    }
}

#[tokio::test]
async fn an_operator_names_the_account_it_acts_for_and_reaches_no_other() {
    let stage = Stage::new().await;
    let owner = Owner::new(&stage).await;
    stage.account("stranger").await;
    let operator = stage.host.operator();
    owner.withstands("an operator who acts for another account", &operator.acting_for("stranger"), false).await;
}
