//! Projects: deploy a manifest, list, show.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use axum::{
    Extension, Json,
    extract::{Request, State},
};
use http::{StatusCode, header::CONTENT_TYPE};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use trellis_model::{
    AccountId, PluginId, ProjectId, RevisionId,
    description::check_name,
    fault::{Fault, did_you_mean},
    manifest::{
        Manifest, PluginReference,
        document::{self, Item},
    },
    plan::{ResolvedPlugin, ResolvedPlugins, plan_grids},
    token::Scope,
};
use trellis_operator::catalog::{CatalogError, LoadedRevision};
use trellis_store::{plugins::NoneFits, projects::Project};

use super::{
    Api, Problem,
    auth::Caller,
    credentials,
    gate::essence,
    page::{self, LIMIT_MAX, Page},
    request::{PathOf, QueryOf, read_body, text},
    route::{Media, Route},
};

pub fn declared() -> Vec<Route> {
    const ONE: &str = "/v1/projects/{project}";
    vec![
        Route::get("/v1/projects", Scope::RunsRead, "List projects", list)
            .query::<ProjectsQuery>()
            .answers::<Page<ProjectView>>(200, "A page of projects"),
        Route::get(ONE, Scope::RunsRead, "Show a project with its manifest", show)
            .answers::<ProjectView>(200, "The project")
            .problems(&[409]),
        Route::put(ONE, Scope::ProjectsWrite, "Deploy a manifest, all of it or nothing", deploy)
            .query::<DeployQuery>()
            .json::<Map<String, Value>>()
            .example(example_manifest)
            .bytes(Media::Toml)
            .answers::<Deployed>(200, "It could be deployed; this was a dry run")
            .answers::<Deployed>(201, "It is deployed")
            .problems(&[409, 422]),
    ]
}

/// For the document.
fn example_manifest() -> Value {
    serde_json::json!({
        "project": { "name": "shop" },
        "plugins": { "tally": "tally@^1" },
        "triggers": [{ "name": "orders", "kind": "http", "grid": "order", "path": "/orders" }],
        "grids": { "order": { "nodes": { "tally": { "plugin": "tally", "inputs": { "order": "event" } } } } },
    })
}

/// A project as the API shows it.
#[derive(Debug, Serialize, JsonSchema)]
pub struct ProjectView {
    pub name: String,
    pub revision: Option<RevisionId>,
    pub created_at: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub triggers: Vec<TriggerView>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub manifest: Option<Value>,
}

#[derive(Debug, Serialize, JsonSchema)]
pub struct TriggerView {
    pub name: String,
    pub grid: String,
    pub methods: Vec<String>,
    /// Where events are sent to.
    pub url: String,
}

#[derive(Debug, Serialize, JsonSchema)]
pub struct Deployed {
    pub project: String,
    /// Absent in a dry run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revision: Option<RevisionId>,
    /// Plugin name in the manifest → the version that was chosen.
    pub plugins: BTreeMap<String, String>,
    pub triggers: Vec<TriggerView>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DeployQuery {
    #[serde(default)]
    dry_run: bool,
}

/// `PUT /v1/projects/{project}`: a manifest, TOML or JSON. All of it is deployed, or nothing.
pub async fn deploy(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<Caller>,
    PathOf(name): PathOf<String>,
    QueryOf(query): QueryOf<DeployQuery>,
    request: Request,
) -> Result<(StatusCode, Json<Deployed>), Problem> {
    let account = caller.account()?;
    check_own(&api, &caller, &name).await?;
    let document = read_document(&api, request).await?;
    let (manifest, mut faults) = Manifest::read_as_far_as_possible(&document);
    faults.extend(project_name_fault(&document, &manifest, &name));
    let (resolved, versions, missing) = resolve(&api, account, &document, &manifest).await?;
    faults.extend(missing);
    if let Err(unfit) = plan_grids(&manifest, &resolved) {
        // What a fault has taken away is not missed a second time.
        let known = faults.clone();
        let is_new = |fault: &Fault| known.iter().all(|other| !is_related(&fault.pointer, &other.pointer));
        faults.extend(with_places(&document, unfit).into_iter().filter(is_new));
    }
    faults.extend(credentials::faults(&api, account, &name, &document, &manifest).await?);
    if !faults.is_empty() {
        return Err(invalid(faults));
    }
    let revision = if query.dry_run { None } else { Some(store(&api, account, &name, &document, &resolved).await?) };
    let deployed = Deployed {
        triggers: triggers(&api, account, &name, &manifest.triggers).await?,
        project: name,
        revision,
        plugins: versions,
    };
    Ok((if query.dry_run { StatusCode::OK } else { StatusCode::CREATED }, Json(deployed)))
}

/// A token of one project deploys that project alone, and makes no new ones.
async fn check_own(api: &Api, caller: &Caller, name: &str) -> Result<(), Problem> {
    if caller.project.is_some() {
        find(api, caller, name).await?;
    }
    Ok(())
}

async fn read_document(api: &Api, request: Request) -> Result<Item, Problem> {
    // TOML by itself: `curl` and people send manifests as files, and say nothing of them.
    let is_json = request.headers().get(CONTENT_TYPE).is_some_and(|kind| Media::Json.is(&essence(kind)));
    let body = read_body(request.into_body(), api.config.body_bytes_max).await?;
    let text = text(&body)?;
    if is_json { document::from_json(text) } else { document::from_toml(text) }.map_err(invalid)
}

fn invalid(faults: Vec<Fault>) -> Problem {
    Problem::invalid("invalid-manifest", faults)
}

fn project_name_fault(document: &Item, manifest: &Manifest, name: &str) -> Option<Fault> {
    // A name that is missing or unfit is a fault already.
    if manifest.project == name || check_name(&manifest.project).is_err() {
        return None;
    }
    let message = format!("the manifest is of project `{}`, the address of project `{name}`", manifest.project);
    let fault = document.place_of("/project/name").fault(message);
    Some(fault.fix("send it to the address of its own project"))
}

/// Whether one of two JSON Pointers leads through the other.
fn is_related(one: &str, other: &str) -> bool {
    let leads_through =
        |long: &str, short: &str| long.strip_prefix(short).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    leads_through(one, other) || leads_through(other, one)
}

fn with_places(document: &Item, faults: Vec<Fault>) -> Vec<Fault> {
    let place = |fault: Fault| {
        let placed = document.place_of(&fault.pointer).fault(fault.message);
        Fault { fix: fault.fix, ..placed }
    };
    faults.into_iter().map(place).collect()
}

/// Finds the newest plugin for every name of the manifest; all that are missing are reported at once.
async fn resolve(
    api: &Api,
    account: AccountId,
    document: &Item,
    manifest: &Manifest,
) -> Result<(ResolvedPlugins, BTreeMap<String, String>, Vec<Fault>), Problem> {
    let (mut resolved, mut chosen, mut faults) = (ResolvedPlugins::new(), BTreeMap::new(), Vec::new());
    for (alias, reference) in &manifest.plugins {
        let place = document.place_of(&format!("/plugins/{alias}"));
        let PluginReference::Uploaded { name, versions } = reference else {
            let fault = place.fault(format!("plugin `{alias}` is a path, which means nothing to a server"));
            faults.push(fault.fix("deploy with `trellis deploy`, which builds and uploads it, or write \"name@^1\""));
            continue;
        };
        match api.host.database.resolve_plugin(account, name, versions).await? {
            Ok(plugin) => {
                chosen.insert(alias.clone(), format!("{name}@{}", plugin.version));
                let description = Arc::new(plugin.description);
                resolved.insert(alias.clone(), ResolvedPlugin { id: plugin.id, description });
            }
            Err(NoneFits { yanked, .. }) if !yanked.is_empty() => {
                let yanked: Vec<String> = yanked.iter().map(ToString::to_string).collect();
                let fault = place.fault(format!("plugin `{name}` {} is yanked", yanked.join(", ")));
                faults.push(fault.fix("ask for another version, or take that back with `trellis plugin unyank`"));
            }
            Err(NoneFits { others, .. }) if others.is_empty() => {
                let fault = place.fault(format!("no plugin `{name}` was uploaded"));
                faults.push(match near_plugin(api, account, name).await? {
                    Some(near) => fault.fix(format!("did you mean `{near}`?")),
                    None => fault.fix("upload it with `trellis plugin push`"),
                });
            }
            Err(NoneFits { others, .. }) => {
                let others: Vec<String> = others.iter().map(ToString::to_string).collect();
                let fault = place.fault(format!("no version of plugin `{name}` fits `{versions}`"));
                faults.push(fault.fix(format!("there are: {}", others.join(", "))));
            }
        }
    }
    Ok((resolved, chosen, faults))
}

/// How soon a client may try again whose project this host cannot serve: it may reach another one.
const UNSERVABLE_RETRY: Duration = Duration::from_secs(10);
/// Plugins looked through for a similar name.
const NEAR_PLUGINS_MAX: i64 = 500;

async fn near_plugin(api: &Api, account: AccountId, name: &str) -> Result<Option<String>, Problem> {
    let plugins = api.host.database.plugins(account, None, None, NEAR_PLUGINS_MAX).await?;
    Ok(did_you_mean(name, plugins.iter().map(|plugin| plugin.name.as_str())).map(str::to_owned))
}

async fn store(
    api: &Api,
    account: AccountId,
    name: &str,
    document: &Item,
    resolved: &ResolvedPlugins,
) -> Result<RevisionId, Problem> {
    let plugins: BTreeMap<String, PluginId> =
        resolved.iter().map(|(alias, plugin)| (alias.clone(), plugin.id)).collect();
    let most = api.config.account_projects_max;
    let deployed = api.host.database.deploy(account, name, &document.to_json(), &plugins, most).await?;
    let (_, revision) = deployed.ok_or_else(|| too_many(most))?;
    api.host.deployed(account, revision).await?;
    tracing::info!(%account, project = name, %revision, "deployed");
    Ok(revision)
}

async fn triggers(
    api: &Api,
    account: AccountId,
    project: &str,
    triggers: &[trellis_model::manifest::Trigger],
) -> Result<Vec<TriggerView>, Problem> {
    let account = api.host.database.account_name(account).await?.ok_or_else(Problem::internal)?;
    let view = |trigger: &trellis_model::manifest::Trigger| TriggerView {
        name: trigger.name.clone(),
        grid: trigger.grid.clone(),
        methods: trigger.http.methods.clone(),
        url: format!("{}/hooks/{account}/{project}{}", api.config.base_url, trigger.http.path),
    };
    Ok(triggers.iter().map(view).collect())
}

/// `GET /v1/projects/{project}`
pub async fn show(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<Caller>,
    PathOf(name): PathOf<String>,
) -> Result<Json<ProjectView>, Problem> {
    let account = caller.account()?;
    let project = find(&api, &caller, &name).await?;
    let stored = match project.revision {
        Some(revision) => api.host.database.revision(account, revision).await?,
        None => None,
    };
    let manifest = stored.map(|revision| revision.manifest);
    let deployed = match project.revision {
        Some(id) => Some(revision(&api, account, id).await?),
        None => None,
    };
    let own = deployed.as_ref().map_or(&[][..], |revision| revision.triggers.as_slice());
    Ok(Json(ProjectView {
        triggers: triggers(&api, account, &name, own).await?,
        name: project.name,
        revision: project.revision,
        created_at: page::time(project.created_at),
        manifest,
    }))
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ProjectsQuery {
    after: Option<ProjectId>,
    #[schemars(range(min = 1, max = LIMIT_MAX))]
    limit: Option<i64>,
}

/// `GET /v1/projects`
pub async fn list(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<Caller>,
    QueryOf(query): QueryOf<ProjectsQuery>,
) -> Result<Json<Page<ProjectView>>, Problem> {
    let limit = page::limit(query.limit)?;
    // In the statement, not behind it: a cursor must not be the id of a project that the token must not know of.
    let projects = api.host.database.projects(caller.account()?, caller.project, query.after, limit + 1).await?;
    let page = Page::new(projects, limit, |project: &Project| project.id.to_string());
    let view = |project: Project| ProjectView {
        name: project.name,
        revision: project.revision,
        created_at: page::time(project.created_at),
        triggers: Vec::new(),
        manifest: None,
    };
    Ok(Json(Page { items: page.items.into_iter().map(view).collect(), next: page.next }))
}

/// Where a new project would be one too many.
pub fn too_many(most: u32) -> Problem {
    Problem::conflict(format!(
        "the account has {most} projects, as many as it may have; use one of them, or ask an operator to raise `uploads.account_projects_max`"
    ))
}

/// The project with this name, if the caller may see it.
pub async fn find(api: &Api, caller: &Caller, name: &str) -> Result<Project, Problem> {
    let project = api.host.database.project(caller.account()?, name).await?;
    let visible = project.filter(|project| caller.may_see(project.id));
    visible.ok_or_else(|| Problem::not_found(format!("there is no project `{name}`")))
}

/// What a project runs at the moment.
pub async fn current_revision(api: &Api, caller: &Caller, name: &str) -> Result<Arc<LoadedRevision>, Problem> {
    let project = find(api, caller, name).await?;
    let id = project.revision.ok_or_else(|| Problem::not_found(format!("project `{name}` was never deployed")))?;
    revision(api, caller.account()?, id).await
}

async fn revision(api: &Api, account: AccountId, id: RevisionId) -> Result<Arc<LoadedRevision>, Problem> {
    api.host.catalog.revision(account, id).await.map_err(|error| match error {
        CatalogError::Store(error) => error.into(),
        error @ CatalogError::Unusable(_) => Problem::conflict(error.to_string()),
    })
}

/// Whether this host takes events for a revision. Told to those alone who may send them.
///
/// # Errors
/// 503: another host may, or this one after its next start.
pub fn servable(revision: &LoadedRevision) -> Result<(), Problem> {
    if revision.is_servable() {
        return Ok(());
    }
    Err(Problem::unavailable(
        format!(
            "project `{}` needs credentials, and this host has no master key for them; an operator sets `credentials.master_key_file`",
            revision.project_name
        ),
        UNSERVABLE_RETRY,
    ))
}
