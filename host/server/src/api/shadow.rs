//! Trying a candidate on a run that is over: a shadow run, without effects, and how it differs.
//!
//! Whoever may ask could deploy the candidate as well, and may see what runs carry. Knows nothing of how a call is made.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

use axum::{
    Extension, Json,
    extract::{Request, State},
};
use schemars::JsonSchema;
use semver::Version;
use serde::{Deserialize, Serialize};
use trellis_engine::Digest;
use trellis_model::{
    AccountId, PluginId, RevisionId, RunId, fixture::Comparison, plan::GridPlan, replay::ReplayRevision, run::LogLine,
    token::Scope,
};
use trellis_operator::run::shadow::{Candidate, ReplacedPlugin, ShadowError, ShadowNode, ShadowReport};
use trellis_store::{plugins::Plugin, runs::RunSummary};

use super::{
    Api, Problem,
    auth::Caller,
    fixture, projects, recorded,
    request::{PathOf, optional_json, read_body},
    route::Route,
};

/// Plugins that one request may name: more than nodes are ever tried at once.
const PLUGINS_MAX: usize = 64;
/// When a turn may be free again.
const BUSY_RETRY: Duration = Duration::from_secs(5);

pub fn declared() -> Vec<Route> {
    let summary = "Call the nodes of a run that is over on a candidate, without effects, and tell what differs";
    vec![
        Route::post("/v1/runs/{run}/diff", Scope::ProjectsWrite, summary, diff)
            .also(Scope::RunsRead)
            .optional_json::<DiffWanted>()
            .example(|| serde_json::json!({ "revision": "current", "plugins": ["tally@1.2.0"] }))
            .answers::<Diff>(200, "How the candidate differs")
            .problems(&[409, 422, 429]),
    ]
}

/// The candidate.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct DiffWanted {
    revision: WantedRevision,
    /// Uploaded plugins, such as `greet@1.2.0`, in place of those of the same name.
    #[schemars(length(max = PLUGINS_MAX))]
    plugins: Vec<String>,
}

/// `same`: the run's own; `current`: what the project runs now; or a revision by its number.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(untagged)]
enum WantedRevision {
    Named(ReplayRevision),
    Numbered(#[schemars(range(min = 1, max = i64::MAX))] i64),
}

impl Default for WantedRevision {
    fn default() -> Self {
        Self::Named(ReplayRevision::Same)
    }
}

/// How a candidate differs from a run.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Diff {
    pub run: RunId,
    /// The revision that was tried.
    pub revision: RevisionId,
    /// Whether every node that was called came to the same.
    pub is_same: bool,
    /// Nodes that were called, in the order of the grid.
    pub nodes: Vec<NodeDiff>,
    /// Nodes that were not, and why, by name.
    pub not_called: BTreeMap<String, String>,
}

/// How one node differs.
#[derive(Debug, Serialize, JsonSchema)]
pub struct NodeDiff {
    pub node: String,
    /// The place in the array, of a node with `each`; the first is 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub element: Option<u32>,
    /// On what it was called, such as `greet@1.2.0`.
    pub plugin: String,
    #[serde(flatten)]
    pub comparison: Comparison,
    pub withheld: WithheldView,
    /// The end of the log, if the node differs.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub log: Vec<LogLine>,
}

/// What the node would have done to the world, and did not.
#[derive(Debug, Serialize, JsonSchema)]
pub struct WithheldView {
    /// By method and origin, such as `POST https://api.example.com`, how many.
    pub requests: BTreeMap<String, u32>,
    /// Keys of stores.
    pub writes: usize,
    /// Events for other grids.
    pub events: usize,
}

/// `POST /v1/runs/{run}/diff`
pub async fn diff(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<Caller>,
    PathOf(run): PathOf<String>,
    request: Request,
) -> Result<Json<Diff>, Problem> {
    let account = caller.account()?;
    let body = read_body(request.into_body(), api.config.body_bytes_max).await?;
    let wanted: DiffWanted = optional_json(&body)?;
    let recorded = recorded::find(&api, &caller, &run).await?;
    let summary = &recorded.summary;
    let revision = revision(&api, &caller, summary, &wanted.revision).await?;
    let (revision, grid) = recorded::plan(&api, &caller, summary, revision).await?;
    projects::servable(&revision)?;
    let mut plugins = fixture::plugins(&api, account, &grid).await?;
    let replaced = replaced(&api, account, &grid, &mut plugins, &wanted.plugins).await?;
    let _turn = api.host.shadows.enter(account).ok_or_else(|| {
        Problem::unavailable("another shadow run is under way; ask again when it is over", BUSY_RETRY)
    })?;
    let candidate = Candidate { revision, grid, replaced };
    let report = api.host.shadows.run(account, summary.run, &recorded.run, &candidate).await;
    let report = report.map_err(|error| match error {
        ShadowError::Throttled(wait) => Problem::rate_limited(wait),
        ShadowError::Store(error) => error.into(),
    })?;
    Ok(Json(view(summary.run, &candidate, &plugins, report)))
}

async fn revision(
    api: &Api,
    caller: &Caller,
    summary: &RunSummary,
    wanted: &WantedRevision,
) -> Result<RevisionId, Problem> {
    match wanted {
        WantedRevision::Numbered(number) => Ok(RevisionId(*number)),
        WantedRevision::Named(ReplayRevision::Same) => Ok(summary.revision),
        WantedRevision::Named(ReplayRevision::Current) => {
            let project = &summary.project_name;
            let current = projects::find(api, caller, project).await?.revision;
            current.ok_or_else(|| Problem::not_replayable(format!("project `{project}` has no current revision")))
        }
    }
}

/// The uploaded plugins, by the nodes that are called on them. `plugins` knows them by the ids of those that they stand for.
async fn replaced(
    api: &Api,
    account: AccountId,
    grid: &GridPlan,
    plugins: &mut BTreeMap<PluginId, Plugin>,
    wanted: &[String],
) -> Result<HashMap<String, ReplacedPlugin>, Problem> {
    if wanted.len() > PLUGINS_MAX {
        let count = wanted.len();
        return Err(Problem::bad_request(format!("`plugins` names {count}; at most {PLUGINS_MAX} are allowed")));
    }
    let mut replaced = HashMap::new();
    for text in wanted {
        let plugin = uploaded(api, account, text).await?;
        let is_meant = |id: &PluginId| plugins.get(id).is_some_and(|own| own.name == plugin.name);
        let nodes: Vec<(String, PluginId)> = grid
            .nodes
            .iter()
            .filter(|node| is_meant(&node.plugin))
            .map(|node| (node.name.clone(), node.plugin))
            .collect();
        if nodes.is_empty() {
            let known: Vec<&str> = plugins.values().map(|plugin| plugin.name.as_str()).collect();
            let detail =
                format!("no node of this grid is called on plugin `{}`, but on: {}", plugin.name, known.join(", "));
            return Err(Problem::not_replayable(detail));
        }
        let description = Arc::new(plugin.description.clone());
        for (node, id) in nodes {
            let stands_in = ReplacedPlugin { digest: Digest(plugin.digest), description: Arc::clone(&description) };
            replaced.insert(node, stands_in);
            plugins.insert(id, plugin.clone());
        }
    }
    Ok(replaced)
}

/// An uploaded plugin by its name and version.
async fn uploaded(api: &Api, account: AccountId, text: &str) -> Result<Plugin, Problem> {
    let shown: String = text.chars().take(100).collect();
    let (name, version) = text
        .split_once('@')
        .and_then(|(name, version)| Some((name, version.parse::<Version>().ok()?)))
        .ok_or_else(|| Problem::bad_request(format!("`{shown}` is no plugin with a version, such as greet@1.2.0")))?;
    let found = api.host.database.plugin(account, name, &version).await?;
    found.ok_or_else(|| {
        Problem::not_replayable(format!("there is no plugin `{shown}`; upload it with `trellis plugin push`"))
    })
}

fn view(run: RunId, candidate: &Candidate, plugins: &BTreeMap<PluginId, Plugin>, report: ShadowReport) -> Diff {
    let called_on = |name: &str| {
        let planned = candidate.grid.nodes.iter().find(|node| node.name == name)?;
        let plugin = plugins.get(&planned.plugin)?;
        Some(format!("{}@{}", plugin.name, plugin.version))
    };
    let node = |ShadowNode { node, element, comparison, withheld, log }: ShadowNode| NodeDiff {
        plugin: called_on(&node).unwrap_or_default(),
        node,
        element,
        log: if comparison.is_same() { Vec::new() } else { log },
        withheld: WithheldView { requests: withheld.requests, writes: withheld.writes, events: withheld.events },
        comparison,
    };
    Diff {
        run,
        revision: candidate.revision.id,
        is_same: report.called.iter().all(|node| node.comparison.is_same()),
        nodes: report.called.into_iter().map(node).collect(),
        not_called: report.uncalled.into_iter().map(|one| (one.node, one.reason)).collect(),
    }
}
