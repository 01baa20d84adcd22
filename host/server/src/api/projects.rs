//! Projects: list, show, find. How they are deployed is another module's part.

use std::{sync::Arc, time::Duration};

use axum::{Extension, Json, extract::State};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use trellis_model::{AccountId, ProjectId, RevisionId, fault::did_you_mean, manifest::Trigger, token::Scope};
use trellis_operator::catalog::{CatalogError, LoadedRevision};
use trellis_store::projects::Project;

use super::{
    Api, Problem,
    auth::Caller,
    page::{self, LIMIT_MAX, Page},
    request::{PathOf, QueryOf},
    route::Route,
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
    ]
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

/// How soon a client may try again whose project this host cannot serve: it may reach another one.
const UNSERVABLE_RETRY: Duration = Duration::from_secs(10);
/// The triggers of a project with their addresses.
pub async fn triggers(
    api: &Api,
    account: AccountId,
    project: &str,
    triggers: &[Trigger],
) -> Result<Vec<TriggerView>, Problem> {
    let account = api.host.database.account_name(account).await?.ok_or_else(Problem::internal)?;
    let view = |trigger: &Trigger| TriggerView {
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
    match project.filter(|project| caller.may_see(project.id)) {
        Some(project) => Ok(project),
        None => Err(Problem::not_found(match near(api, caller, name).await? {
            Some(near) => format!("there is no project `{name}`; did you mean `{near}`?"),
            None => format!("there is no project `{name}`"),
        })),
    }
}

/// Projects looked through for a similar name.
const NEAR_PROJECTS_MAX: i64 = 500;

/// A deployed project that `name` was probably meant to be.
pub async fn near(api: &Api, caller: &Caller, name: &str) -> Result<Option<String>, Problem> {
    let projects = api.host.database.projects(caller.account()?, caller.project, None, NEAR_PROJECTS_MAX).await?;
    let deployed = projects.iter().filter(|project| project.revision.is_some() && project.name != name);
    Ok(did_you_mean(name, deployed.map(|project| project.name.as_str())).map(str::to_owned))
}

/// What a project runs at the moment.
pub async fn current_revision(api: &Api, caller: &Caller, name: &str) -> Result<Arc<LoadedRevision>, Problem> {
    let project = find(api, caller, name).await?;
    let id = project.revision.ok_or_else(|| Problem::not_found(format!("project `{name}` was never deployed")))?;
    revision(api, caller.account()?, id).await
}

/// A revision of an account, ready to run.
pub async fn revision(api: &Api, account: AccountId, id: RevisionId) -> Result<Arc<LoadedRevision>, Problem> {
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
            "project `{}` needs credentials, and this host has no master key for them; an operator sets `credentials.master_key_file`, which `trellis credentials new-key` makes",
            revision.project_name
        ),
        UNSERVABLE_RETRY,
    ))
}
