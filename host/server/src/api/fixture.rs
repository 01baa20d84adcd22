//! A run as a fixture: what its nodes were called with and what they came to, for a test that is kept with the plugin.
//!
//! Inputs are reckoned from the event and the outputs of the nodes before; what nodes read and were answered is kept by no
//! host, so it is not there. Secrets that the grid's nodes may use are kept out, wherever they stand.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use axum::{Extension, Json, extract::State};
use serde_json::Value;
use trellis_engine::{Digest, Redaction, Secrets};
use trellis_model::{
    AccountId, PluginId,
    call_limits::CallLimits,
    fixture::{FORMAT, Fixture, FixtureNode, FixturePlugin, Outcome, place},
    plan::{GridPlan, PlannedNode},
    run::{RecordedCall, event_attributes},
    token::Scope,
};
use trellis_operator::{catalog::LoadedRevision, vault::VaultError};
use trellis_store::plugins::Plugin;

use super::{
    Api, Problem,
    auth::Caller,
    page::time_ms,
    recorded::{self, Recorded},
    request::PathOf,
    route::Route,
};

pub fn declared() -> Vec<Route> {
    let summary = "Write a run that is over as a fixture for tests";
    vec![
        Route::get("/v1/runs/{run}/fixture", Scope::RunsRead, summary, show)
            .answers::<Fixture>(200, "The fixture")
            .problems(&[409, 422]),
    ]
}

/// `GET /v1/runs/{run}/fixture`
pub async fn show(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<Caller>,
    PathOf(run): PathOf<String>,
) -> Result<Json<Fixture>, Problem> {
    let account = caller.account()?;
    let recorded = recorded::find(&api, &caller, &run).await?;
    let (revision, grid) = recorded::plan(&api, &caller, &recorded.summary, recorded.summary.revision).await?;
    let plugins = plugins(&api, account, &grid).await?;
    let redaction = redaction(&api, account, &revision, &grid).await?;
    let collections = collections(&api, &revision, &grid).await?;
    let budget = api.host.budgets.of(account);
    let bytes_max = api.config.fixture_bytes_max;
    let write = move || {
        let writer = Writer { recorded: &recorded, grid: &grid, plugins: &plugins, redaction: &redaction };
        writer.write(collections, &budget, bytes_max)
    };
    // Megabytes to be looked through for secrets.
    let fixture = tokio::task::spawn_blocking(write).await.map_err(|error| {
        tracing::error!(run, %error, "a fixture was not written");
        Problem::internal()
    })?;
    Ok(Json(fixture))
}

/// The plugins of a grid's nodes.
pub async fn plugins(api: &Api, account: AccountId, grid: &GridPlan) -> Result<BTreeMap<PluginId, Plugin>, Problem> {
    let wanted: Vec<(AccountId, PluginId)> = grid.nodes.iter().map(|node| (account, node.plugin)).collect();
    let found = api.host.database.plugins_by_id(&wanted).await?;
    Ok(found.into_iter().map(|plugin| (plugin.id, plugin)).collect())
}

/// The collections that nodes of the grid were granted, as the revision's manifest declares them.
async fn collections(
    api: &Api,
    revision: &LoadedRevision,
    grid: &GridPlan,
) -> Result<BTreeMap<String, Value>, Problem> {
    let granted: BTreeSet<&str> =
        grid.nodes.iter().flat_map(|node| &node.grants.records).map(|grant| grant.collection.as_str()).collect();
    if granted.is_empty() {
        return Ok(BTreeMap::new());
    }
    let stored = api.host.database.revision(revision.account, revision.id).await?;
    let manifest = stored.map(|stored| stored.manifest).unwrap_or_default();
    let declared = |name: &str| manifest["collections"].get(name).cloned();
    Ok(granted.into_iter().filter_map(|name| Some((name.to_owned(), declared(name)?))).collect())
}

/// Knows what must not be told: the credentials that nodes of the grid were granted, as far as they are there still.
async fn redaction(
    api: &Api,
    account: AccountId,
    revision: &LoadedRevision,
    grid: &GridPlan,
) -> Result<Redaction, Problem> {
    let mut secrets = BTreeMap::new();
    for name in grid.nodes.iter().flat_map(|node| node.grants.credential_names()) {
        if secrets.contains_key(name) {
            continue;
        }
        match api.host.vault.secret(account, revision.project, name).await {
            Ok(secret) => drop(secrets.insert(name.to_owned(), secret)),
            // What was deleted cannot be looked for.
            Err(VaultError::Missing { .. }) => {}
            Err(VaultError::Store(error)) => return Err(error.into()),
            Err(error) => {
                tracing::warn!(%error, "a fixture was not written");
                let detail = format!("this run's secrets cannot be kept out of a fixture here: {error}");
                return Err(Problem::unavailable(detail, std::time::Duration::from_secs(5)));
            }
        }
    }
    Ok(Redaction::new(Secrets::new(secrets)))
}

struct Writer<'w> {
    recorded: &'w Recorded,
    grid: &'w GridPlan,
    plugins: &'w BTreeMap<PluginId, Plugin>,
    redaction: &'w Redaction,
}

impl Writer<'_> {
    /// The fixture; nodes that would make it larger than it may be are left out.
    fn write(&self, collections: BTreeMap<String, Value>, budget: &CallLimits, bytes_max: usize) -> Fixture {
        let Recorded { summary, run } = self.recorded;
        let (calls, uncalled) = run.calls(self.grid, bytes_max);
        let mut fixture = Fixture {
            format: FORMAT,
            run: summary.run.to_string(),
            project: summary.project_name.clone(),
            revision: summary.revision.0,
            grid: summary.grid.clone(),
            accepted_at: time_ms(summary.run.accepted_at_ms()),
            attributes: event_attributes(&run.event, summary.run).into_iter().collect(),
            collections,
            nodes: Vec::new(),
            left_out: uncalled.into_iter().map(|one| (one.node, one.reason)).collect(),
        };
        fixture.attributes.values_mut().for_each(|value| self.redaction.clean_text(value));
        let mut bytes = fixture.to_json().len();
        for call in &calls {
            let planned = &self.grid.nodes[call.step.node];
            let node = self.node(planned, call, planned.limits.lower(*budget));
            bytes += serde_json::to_vec(&node).map_or(0, |json| json.len());
            if bytes <= bytes_max {
                fixture.nodes.push(node);
            } else {
                let reason = format!("with it the fixture would be larger than {bytes_max} bytes");
                fixture.left_out.insert(place(&planned.name, call.step.element), reason);
            }
        }
        fixture
    }

    fn node(&self, planned: &PlannedNode, call: &RecordedCall, limits: CallLimits) -> FixtureNode {
        let plugin = self.plugins.get(&planned.plugin);
        let clean = |mut value: Value| {
            self.redaction.clean(&mut value);
            value
        };
        let parse = |json: &str| clean(serde_json::from_str(json).unwrap_or_default());
        let outcome = match &call.outcome {
            Outcome::Emitted(ports) => {
                Outcome::Emitted(ports.iter().map(|(port, value)| (port.clone(), clean(value.clone()))).collect())
            }
            Outcome::Failed(reason) => {
                let mut reason = reason.clone();
                self.redaction.clean_text(&mut reason.message);
                Outcome::Failed(reason)
            }
        };
        FixtureNode {
            node: planned.name.clone(),
            element: call.step.element,
            plugin: FixturePlugin {
                name: plugin.map_or_else(String::new, |plugin| plugin.name.clone()),
                version: plugin.map_or_else(String::new, |plugin| plugin.version.to_string()),
                digest: plugin.map_or_else(String::new, |plugin| Digest(plugin.digest).to_string()),
            },
            config: parse(&planned.config),
            limits,
            grants: (*planned.grants).clone(),
            attempt: call.attempt,
            inputs: call.inputs.iter().map(|(port, json)| (port.clone(), parse(json))).collect(),
            outcome,
            storage: Vec::new(),
            records: Vec::new(),
            http: Vec::new(),
        }
    }
}
