//! An account as its owner uses it: plugins, projects, events, runs.

use reqwest::Method;
use serde_json::{Value, json};
use trellis_model::{AccountId, Shard, token::Scope};

use super::{Answer, Api, Host, eventually, guest};

#[derive(Clone)]
pub struct Account {
    pub id: AccountId,
    pub name: String,
    /// With a token of this account that may do everything in it.
    pub api: Api,
}

impl Account {
    /// Makes an account, and a token of it, by an operator's token.
    pub async fn new(operator: &Api, name: &str) -> Self {
        let made = operator.put(&format!("/v1/accounts/{name}"), &json!({})).await.expect(200);
        let wanted = json!({ "name": "tests", "scopes": Scope::of_account() });
        let token = operator.acting_for(name).post("/v1/tokens", &wanted).await.expect(201);
        let id = made["id"].as_i64().expect("an account's id is a number");
        Self { id: AccountId(id), name: name.to_owned(), api: operator.with_token(token["token"].as_str()) }
    }

    /// The same account on another host.
    pub fn at(&self, host: &Host) -> Self {
        Self { api: self.api.at(&host.url), ..self.clone() }
    }

    pub fn shard(&self) -> Shard {
        Shard::of(self.id)
    }

    pub async fn upload(&self, name: &str) -> Value {
        let plugin = guest(name);
        let path = format!("/v1/plugins/{name}/{}", plugin.version);
        let answer = self.api.send(Method::PUT, &path, "application/wasm", plugin.bytes.clone().into()).await;
        assert!(matches!(answer.status, 200 | 201), "{name} is not accepted: {:#}", answer.body);
        answer.body
    }

    /// Uploads the plugins that a manifest names, and deploys it, if it is not what is deployed already.
    pub async fn deploy(&self, manifest: &Value) -> Value {
        for plugin in manifest["plugins"].as_object().expect("plugins by name").keys() {
            self.upload(plugin).await;
        }
        let name = manifest["project"]["name"].as_str().expect("a project has a name");
        let answer = self.api.put(&format!("/v1/projects/{name}"), manifest).await;
        assert!(matches!(answer.status, 200 | 201), "{name} is not deployed: {:#}", answer.body);
        answer.body
    }

    /// Sends an event to the trigger `events` of a project.
    pub async fn send(&self, project: &str, data: &Value) -> Answer {
        self.api.post(&self.hook(project), data).await
    }

    /// Where the trigger `events` of a project is served.
    pub fn hook(&self, project: &str) -> String {
        format!("/hooks/{}/{project}/events", self.name)
    }

    /// Sends an event that must be accepted; answers with its run.
    pub async fn start(&self, project: &str, data: &Value) -> String {
        let accepted = self.send(project, data).await.expect(202);
        accepted["run"].as_str().expect("an accepted event has a run").to_owned()
    }

    pub async fn show(&self, run: &str) -> Value {
        self.api.get(&format!("/v1/runs/{run}")).await.expect(200)
    }

    /// Waits until a run has ended, for good or bad.
    pub async fn ended(&self, run: &str) -> Value {
        let what = format!("{run} of {} ends", self.name);
        eventually(&what, async || {
            let shown = self.show(run).await;
            matches!(shown["state"].as_str(), Some("succeeded" | "dead" | "cancelled")).then_some(shown)
        })
        .await
    }

    pub async fn succeeded(&self, run: &str) -> Value {
        let shown = self.ended(run).await;
        assert_eq!(shown["state"], "succeeded", "{shown:#}");
        shown
    }

    /// Sends an event and waits until its run has succeeded.
    pub async fn run(&self, project: &str, data: &Value) -> Value {
        let run = self.start(project, data).await;
        self.succeeded(&run).await
    }
}

/// What one node of a run has come to.
pub fn node<'r>(run: &'r Value, name: &str) -> &'r Value {
    let nodes = run["nodes"].as_array().expect("a run has nodes");
    nodes.iter().find(|node| node["node"] == name).unwrap_or_else(|| panic!("no node {name} in {run:#}"))
}

/// Why a node failed or was skipped: the kind and the message.
pub fn reason<'r>(run: &'r Value, name: &str) -> (&'r str, &'r str) {
    let reason = &node(run, name)["reason"];
    (reason["kind"].as_str().unwrap_or_default(), reason["message"].as_str().unwrap_or_default())
}
