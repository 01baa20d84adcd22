//! Deploying a manifest: all of it or nothing, with what it changes told before and after.

use std::{collections::BTreeMap, sync::Arc};

use axum::{
    Extension, Json,
    extract::{Request, State},
};
use http::{StatusCode, header::CONTENT_TYPE};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use trellis_model::{
    AccountId, PluginId, RevisionId,
    changes::{Change, changes},
    description::check_name,
    fault::{self, Fault, did_you_mean},
    manifest::{
        Manifest, PluginReference,
        document::{self, Item},
    },
    plan::{ResolvedPlugin, ResolvedPlugins},
    token::Scope,
    wiring,
};
use trellis_store::{
    plugins::NoneFits,
    projects::{Deployment, NewRevision, Revision},
};

use super::{
    Api, Problem,
    auth::Caller,
    credentials,
    gate::essence,
    projects::{self, TriggerView},
    request::{PathOf, QueryOf, read_body, text},
    route::{Media, Route},
};

pub fn declared() -> Vec<Route> {
    let summary = "Deploy a manifest, all of it or nothing";
    vec![
        Route::put("/v1/projects/{project}", Scope::ProjectsWrite, summary, deploy)
            .query::<DeployQuery>()
            .json::<Map<String, Value>>()
            .example(example_manifest)
            .bytes(Media::Toml)
            .answers::<Deployed>(200, "It could be deployed, in a dry run; or it is deployed already")
            .answers::<Deployed>(201, "It is deployed, as a new revision")
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

/// What a deployment comes to.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Deployed {
    pub project: String,
    /// The current revision from now on. Absent in a dry run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revision: Option<RevisionId>,
    /// The current revision is the same, and no new one is made.
    pub is_unchanged: bool,
    /// What differs from the revision that was current before; of a new project, all there is.
    pub changes: Vec<Change>,
    /// Plugin name in the manifest → the version that was chosen.
    pub plugins: BTreeMap<String, String>,
    pub triggers: Vec<TriggerView>,
}

impl Deployed {
    pub fn status(&self) -> StatusCode {
        if self.revision.is_none() || self.is_unchanged { StatusCode::OK } else { StatusCode::CREATED }
    }
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DeployQuery {
    /// Only say what would be wrong, and what would change.
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
    let read = move || {
        let (manifest, faults) = Manifest::read_as_far_as_possible(&document);
        (document, manifest, faults)
    };
    let (document, manifest, mut faults) = api.deploy_turns.work(account, read).await?;
    faults.extend(project_name_fault(&document, &manifest, &name));
    let resolution = resolve(&api, account, &document, &manifest).await?;
    faults.extend(resolution.faults);
    let checked = check(&api, account, document, manifest, faults, resolution.plugins).await?;
    let mut faults = checked.faults;
    let ungranted = wiring::imports::faults(&checked.document, &checked.manifest, &resolution.imports);
    faults.extend(ungranted);
    faults.extend(credentials::faults(&api, account, &name, &checked.document, &checked.manifest).await?);
    if !faults.is_empty() {
        fault::sort(&mut faults);
        return Err(invalid(faults));
    }
    let wanted = Wanted {
        project: name,
        manifest: checked.document.to_json(),
        triggers: checked.manifest.triggers,
        plugins: checked.plugins.iter().map(|(alias, plugin)| (alias.clone(), plugin.id)).collect(),
        versions: resolution.versions,
        made_from: None,
    };
    let deployed = wanted.deploy(&api, &caller, query.dry_run).await?;
    Ok((deployed.status(), Json(deployed)))
}

/// A revision that has passed all checks.
pub struct Wanted {
    pub project: String,
    pub manifest: Value,
    pub triggers: Vec<trellis_model::manifest::Trigger>,
    pub plugins: BTreeMap<String, PluginId>,
    /// Plugin name in the manifest → the version that was chosen.
    pub versions: BTreeMap<String, String>,
    pub made_from: Option<RevisionId>,
}

impl Wanted {
    /// Says what changes, and makes it the current revision unless that is not wanted.
    pub async fn deploy(self, api: &Api, caller: &Caller, is_dry_run: bool) -> Result<Deployed, Problem> {
        let account = caller.account()?;
        let former = former(api, account, &self.project).await?;
        let changes = self.changes(api, former.as_ref()).await?;
        let is_same = former.is_some_and(|former| former.manifest == self.manifest && former.plugins == self.plugins);
        let (revision, is_unchanged) = match is_dry_run {
            true => (None, is_same),
            false => self.make(api, account).await.map(|(revision, is_unchanged)| (Some(revision), is_unchanged))?,
        };
        Ok(Deployed {
            triggers: projects::triggers(api, account, &self.project, &self.triggers).await?,
            project: self.project,
            revision,
            is_unchanged,
            changes,
            plugins: self.versions,
        })
    }

    async fn changes(&self, api: &Api, former: Option<&Revision>) -> Result<Vec<Change>, Problem> {
        let new = with_versions(&self.manifest, &self.versions);
        let Some(former) = former else { return Ok(changes(&Value::Null, &new)) };
        let versions = versions(api, former.account, [&former.plugins]).await?;
        Ok(changes(&with_versions(&former.manifest, &named(&former.plugins, &versions)), &new))
    }

    async fn make(&self, api: &Api, account: AccountId) -> Result<(RevisionId, bool), Problem> {
        let most = api.config.account_projects_max;
        let new = NewRevision {
            account,
            project: &self.project,
            manifest: &self.manifest,
            plugins: &self.plugins,
            made_from: self.made_from,
        };
        match api.host.database.deploy(&new, most).await? {
            Deployment::Made { revision, former } => {
                api.host.deployed(account, revision, former).await?;
                tracing::info!(%account, project = self.project, %revision, "deployed");
                Ok((revision, false))
            }
            Deployment::Unchanged(revision) => {
                // Whoever made it may have been told that the database did not answer, and no host of it.
                api.host.deployed(account, revision, None).await?;
                Ok((revision, true))
            }
            Deployment::TooMany => Err(projects::too_many(most)),
        }
    }
}

async fn former(api: &Api, account: AccountId, project: &str) -> Result<Option<Revision>, Problem> {
    let project = api.host.database.project(account, project).await?;
    match project.and_then(|project| project.revision) {
        Some(revision) => Ok(api.host.database.revision(account, revision).await?),
        None => Ok(None),
    }
}

/// Plugins by their numbers, as `name@version`.
pub async fn versions<'p>(
    api: &Api,
    account: AccountId,
    used: impl IntoIterator<Item = &'p BTreeMap<String, PluginId>>,
) -> Result<BTreeMap<PluginId, String>, Problem> {
    let ids: std::collections::BTreeSet<PluginId> = used.into_iter().flat_map(BTreeMap::values).copied().collect();
    let wanted: Vec<(AccountId, PluginId)> = ids.into_iter().map(|id| (account, id)).collect();
    let found = api.host.database.plugins_by_id(&wanted).await?;
    Ok(found.into_iter().map(|plugin| (plugin.id, format!("{}@{}", plugin.name, plugin.version))).collect())
}

/// The versions of a manifest's plugins, by the names that it gives them.
pub fn named(plugins: &BTreeMap<String, PluginId>, versions: &BTreeMap<PluginId, String>) -> BTreeMap<String, String> {
    plugins.iter().filter_map(|(alias, id)| Some((alias.clone(), versions.get(id)?.clone()))).collect()
}

/// A manifest with the very versions that its ranges stand for: another version is a change, whatever was written.
fn with_versions(manifest: &Value, versions: &BTreeMap<String, String>) -> Value {
    let mut manifest = manifest.clone();
    for (alias, reference) in manifest.get_mut("plugins").and_then(Value::as_object_mut).into_iter().flatten() {
        if let Some(version) = versions.get(alias) {
            *reference = Value::String(version.clone());
        }
    }
    manifest
}

/// A token of one project deploys that project alone, and makes no new ones.
async fn check_own(api: &Api, caller: &Caller, name: &str) -> Result<(), Problem> {
    if caller.project.is_some() {
        projects::find(api, caller, name).await?;
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

pub fn invalid(faults: Vec<Fault>) -> Problem {
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

struct Checked {
    document: Item,
    manifest: Manifest,
    plugins: ResolvedPlugins,
    faults: Vec<Fault>,
}

/// Looking through schemas takes its time: not on a thread that answers others.
async fn check(
    api: &Api,
    account: AccountId,
    document: Item,
    manifest: Manifest,
    read: Vec<Fault>,
    plugins: ResolvedPlugins,
) -> Result<Checked, Problem> {
    let check = move || {
        let faults = wiring::all_faults(&document, &manifest, read, &plugins);
        Checked { document, manifest, plugins, faults }
    };
    api.deploy_turns.work(account, check).await
}

/// What the plugin names of a manifest stand for.
#[derive(Default)]
struct Resolution {
    plugins: ResolvedPlugins,
    versions: BTreeMap<String, String>,
    /// What each imports.
    imports: BTreeMap<String, Vec<String>>,
    faults: Vec<Fault>,
}

/// Finds the newest plugin for every name of the manifest; all that are missing are reported at once.
async fn resolve(api: &Api, account: AccountId, document: &Item, manifest: &Manifest) -> Result<Resolution, Problem> {
    let mut found = Resolution::default();
    let mut names = None;
    for (alias, reference) in &manifest.plugins {
        let place = document.place_of(&format!("/plugins/{alias}"));
        let PluginReference::Uploaded { name, versions } = reference else {
            let fault = place.fault(format!("plugin `{alias}` is a path, which means nothing to a server"));
            let fix = "deploy with `trellis deploy`, which builds and uploads it, or write \"name@^1\"";
            found.faults.push(fault.fix(fix));
            continue;
        };
        match api.host.database.resolve_plugin(account, name, versions).await? {
            Ok(plugin) => {
                found.versions.insert(alias.clone(), format!("{name}@{}", plugin.version));
                found.imports.insert(alias.clone(), plugin.imports);
                let description = Arc::new(plugin.description);
                found.plugins.insert(alias.clone(), ResolvedPlugin { id: plugin.id, description });
            }
            Err(NoneFits { yanked, .. }) if !yanked.is_empty() => {
                let yanked: Vec<String> = yanked.iter().map(ToString::to_string).collect();
                let fault = place.fault(format!("plugin `{name}` {} is yanked", yanked.join(", ")));
                found.faults.push(fault.fix("ask for another version, or take that back with `trellis plugin unyank`"));
            }
            Err(NoneFits { others, .. }) if others.is_empty() => {
                let fault = place.fault(format!("no plugin `{name}` was uploaded"));
                found.faults.push(match near_plugin(api, account, name, &mut names).await? {
                    Some(near) => fault.fix(format!("did you mean `{near}`?")),
                    None => fault.fix("upload it with `trellis plugin push`"),
                });
            }
            Err(NoneFits { others, .. }) => {
                let others: Vec<String> = others.iter().map(ToString::to_string).collect();
                let fault = place.fault(format!("no version of plugin `{name}` fits `{versions}`"));
                found.faults.push(fault.fix(format!("there are: {}", others.join(", "))));
            }
        }
    }
    Ok(found)
}

/// Plugins looked through for a similar name.
const NEAR_PLUGINS_MAX: i64 = 500;

/// `names`: those of the account's plugins, once somebody has asked for them.
async fn near_plugin(
    api: &Api,
    account: AccountId,
    name: &str,
    names: &mut Option<Vec<String>>,
) -> Result<Option<String>, Problem> {
    let known = match names {
        Some(known) => known,
        None => names.insert(api.host.database.plugin_names(account, NEAR_PLUGINS_MAX).await?),
    };
    Ok(did_you_mean(name, known.iter().map(String::as_str)).map(str::to_owned))
}
