//! The revisions of a project: list, show, go back to an earlier one.

use std::{collections::BTreeMap, sync::Arc};

use axum::{
    Extension, Json,
    extract::{Request, State},
};
use http::StatusCode;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use trellis_model::{
    RevisionId,
    fault::Fault,
    manifest::{Manifest, document},
    token::Scope,
};
use trellis_store::{projects::Project, revisions::RevisionInfo};

use super::{
    Api, Problem,
    auth::Caller,
    credentials,
    deploy::{self, Deployed, Wanted},
    page::{self, LIMIT_MAX, Page},
    projects,
    request::{PathOf, QueryOf, optional_json, read_body},
    route::Route,
};

pub fn declared() -> Vec<Route> {
    vec![
        Route::get(
            "/v1/projects/{project}/revisions",
            Scope::RunsRead,
            "List the revisions of a project, newest first",
            list,
        )
        .query::<RevisionsQuery>()
        .answers::<Page<RevisionView>>(200, "A page of revisions"),
        Route::get(
            "/v1/projects/{project}/revisions/{revision}",
            Scope::RunsRead,
            "Show a revision with its manifest",
            show,
        )
        .answers::<RevisionView>(200, "The revision"),
        Route::post(
            "/v1/projects/{project}/rollback",
            Scope::ProjectsWrite,
            "Go back to an earlier revision: a new one is made of it",
            roll_back,
        )
        .optional_json::<Rollback>()
        .answers::<Deployed>(200, "It could be deployed, in a dry run; or it is what is deployed already")
        .answers::<Deployed>(201, "It is deployed, as a new revision")
        .problems(&[409, 422]),
    ]
}

/// A revision as the API shows it.
#[derive(Debug, Serialize, JsonSchema)]
pub struct RevisionView {
    pub revision: RevisionId,
    pub created_at: String,
    /// Whether new events are run by it.
    pub is_current: bool,
    /// The earlier revision that it goes back to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub made_from: Option<RevisionId>,
    /// Plugin name in the manifest → plugin and version.
    pub plugins: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub manifest: Option<Value>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RevisionsQuery {
    /// Revisions older than this one.
    before: Option<RevisionId>,
    #[schemars(range(min = 1, max = LIMIT_MAX))]
    limit: Option<i64>,
}

/// `GET /v1/projects/{project}/revisions`
pub async fn list(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<Caller>,
    PathOf(name): PathOf<String>,
    QueryOf(query): QueryOf<RevisionsQuery>,
) -> Result<Json<Page<RevisionView>>, Problem> {
    let limit = page::limit(query.limit)?;
    let project = projects::find(&api, &caller, &name).await?;
    let account = caller.account()?;
    let found = api.host.database.revisions(account, project.id, query.before, limit + 1).await?;
    let page = Page::new(found, limit, |revision: &RevisionInfo| revision.id.to_string());
    let versions = deploy::versions(&api, account, page.items.iter().map(|revision| &revision.plugins)).await?;
    let view = |info: RevisionInfo| RevisionView {
        revision: info.id,
        created_at: page::time(info.created_at),
        is_current: project.revision == Some(info.id),
        made_from: info.made_from,
        plugins: deploy::named(&info.plugins, &versions),
        manifest: None,
    };
    Ok(Json(Page { items: page.items.into_iter().map(view).collect(), next: page.next }))
}

/// `GET /v1/projects/{project}/revisions/{revision}`
pub async fn show(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<Caller>,
    PathOf((name, id)): PathOf<(String, RevisionId)>,
) -> Result<Json<RevisionView>, Problem> {
    let project = projects::find(&api, &caller, &name).await?;
    let account = caller.account()?;
    let infos = api.host.database.revisions(account, project.id, Some(behind(id)), 1).await?;
    let info = infos.into_iter().find(|info| info.id == id).ok_or_else(|| unknown(&name, id))?;
    let stored = api.host.database.revision(account, id).await?.ok_or_else(|| unknown(&name, id))?;
    let versions = deploy::versions(&api, account, [&info.plugins]).await?;
    Ok(Json(RevisionView {
        revision: id,
        created_at: page::time(info.created_at),
        is_current: project.revision == Some(id),
        made_from: info.made_from,
        plugins: deploy::named(&info.plugins, &versions),
        manifest: Some(stored.manifest),
    }))
}

/// Of those that are older than this, the newest is `id` itself, if there is one.
fn behind(id: RevisionId) -> RevisionId {
    RevisionId(id.0.saturating_add(1))
}

fn unknown(project: &str, id: RevisionId) -> Problem {
    Problem::not_found(format!(
        "project `{project}` has no revision {id}; `trellis revisions` lists those that there are"
    ))
}

/// Where to go back to.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Rollback {
    /// The one before the current one, if none is given.
    revision: Option<RevisionId>,
    /// Only say what would be wrong, and what would change.
    dry_run: bool,
}

/// `POST /v1/projects/{project}/rollback`: makes a new revision of an earlier one, with its manifest and its plugins, yanked
/// ones among them. Runs stay on the revision that they were accepted under.
pub async fn roll_back(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<Caller>,
    PathOf(name): PathOf<String>,
    request: Request,
) -> Result<(StatusCode, Json<Deployed>), Problem> {
    let wanted: Rollback = optional_json(&read_body(request.into_body(), api.config.body_bytes_max).await?)?;
    let project = projects::find(&api, &caller, &name).await?;
    let target = target(&api, &caller, &project, wanted.revision).await?;
    let account = caller.account()?;
    let stored = api.host.database.revision(account, target).await?;
    let stored = stored.filter(|revision| revision.project == project.id).ok_or_else(|| unknown(&name, target))?;
    // Whether this version of Trellis still runs it. What it was checked for then is not checked anew.
    projects::revision(&api, account, target).await?;
    let manifest = read(&api, &caller, &name, &stored.manifest).await?;
    let versions = deploy::versions(&api, account, [&stored.plugins]).await?;
    let wanted_revision = Wanted {
        project: name,
        triggers: manifest.triggers,
        versions: deploy::named(&stored.plugins, &versions),
        manifest: stored.manifest,
        plugins: stored.plugins,
        made_from: Some(target),
    };
    let deployed = wanted_revision.deploy(&api, &caller, wanted.dry_run).await?;
    Ok((deployed.status(), Json(deployed)))
}

async fn target(
    api: &Api,
    caller: &Caller,
    project: &Project,
    asked: Option<RevisionId>,
) -> Result<RevisionId, Problem> {
    if let Some(asked) = asked {
        return Ok(asked);
    }
    let name = &project.name;
    let never = || Problem::conflict(format!("project `{name}` was never deployed: there is nothing to go back to"));
    let current = project.revision.ok_or_else(never)?;
    let earlier = api.host.database.revisions(caller.account()?, project.id, Some(current), 1).await?;
    let only = || Problem::conflict(format!("project `{name}` has one revision, {current}: there is none before it"));
    earlier.first().map(|info| info.id).ok_or_else(only)
}

/// Its credentials may be gone by now.
async fn read(api: &Api, caller: &Caller, name: &str, manifest: &Value) -> Result<Manifest, Problem> {
    let unreadable = |faults: Vec<Fault>| deploy::invalid(faults);
    let document = document::from_stored_json(&manifest.to_string()).map_err(unreadable)?;
    let manifest = Manifest::read(&document).map_err(unreadable)?;
    let faults = credentials::faults(api, caller.account()?, name, &document, &manifest).await?;
    if faults.is_empty() { Ok(manifest) } else { Err(deploy::invalid(faults)) }
}
