//! Plugins: upload, list, show, yank. What they import and export is [`super::wit`]'s part.

use std::{sync::Arc, time::Instant};

use axum::{
    Extension, Json,
    extract::{Request, State},
};
use bytes::Bytes;
use http::StatusCode;
use schemars::JsonSchema;
use semver::Version;
use serde::{Deserialize, Serialize};
use trellis_engine::{Compiled, Digest, UploadError};
use trellis_model::{
    AccountId, PluginId,
    description::{Description, check_name},
    token::Scope,
};
use trellis_store::plugins::{NewPlugin, Plugin, PluginPut};

use super::{
    Api, Problem,
    auth::Caller,
    page::{self, LIMIT_MAX, Page},
    request::{PathOf, QueryOf},
    route::{Media, Route},
};

pub fn declared() -> Vec<Route> {
    const ONE: &str = "/v1/plugins/{name}/{version}";
    vec![
        Route::get("/v1/plugins", Scope::RunsRead, "List plugins", list)
            .query::<PluginsQuery>()
            .answers::<Page<PluginView>>(
                200,
                "A page of plugins; fewer than asked for, where they say much of themselves",
            ),
        Route::get(ONE, Scope::RunsRead, "Show a plugin", show).answers::<PluginView>(200, "The plugin"),
        Route::put(ONE, Scope::PluginsWrite, "Upload the bytes of a component as a plugin", upload)
            .bytes(Media::Wasm)
            .answers::<PluginView>(200, "It was there already, with the same bytes")
            .answers::<PluginView>(201, "It is new")
            .problems(&[409, 422]),
        Route::post(
            "/v1/plugins/{name}/{version}/yank",
            Scope::PluginsWrite,
            "Hide a version from new deployments; revisions that have it go on with it",
            yank,
        )
        .answers::<PluginView>(200, "The plugin as it is now"),
        Route::post(
            "/v1/plugins/{name}/{version}/unyank",
            Scope::PluginsWrite,
            "Let new deployments find a version again",
            unyank,
        )
        .answers::<PluginView>(200, "The plugin as it is now"),
    ]
}

/// A plugin as the API shows it.
#[derive(Debug, Serialize, JsonSchema)]
pub struct PluginView {
    pub id: PluginId,
    pub name: String,
    #[schemars(with = "String")]
    pub version: Version,
    /// SHA-256 of the component, hexadecimal.
    pub digest: String,
    pub size_bytes: i64,
    pub imports: Vec<String>,
    pub description: Description,
    pub created_at: String,
    /// Since when new deployments do not find it; absent: they do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub yanked_at: Option<String>,
}

impl From<Plugin> for PluginView {
    fn from(plugin: Plugin) -> Self {
        Self {
            id: plugin.id,
            name: plugin.name,
            version: plugin.version,
            digest: Digest(plugin.digest).to_string(),
            size_bytes: plugin.size_bytes,
            imports: plugin.imports,
            description: plugin.description,
            created_at: page::time(plugin.created_at),
            yanked_at: plugin.yanked_at.map(page::time),
        }
    }
}

/// `PUT /v1/plugins/{name}/{version}`: the raw bytes of a component. 201 when it is new, 200 when it was there.
pub async fn upload(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<Caller>,
    PathOf((name, version)): PathOf<(String, String)>,
    request: Request,
) -> Result<(StatusCode, Json<PluginView>), Problem> {
    let account = account_of(&caller)?;
    check_name(&name).map_err(|reason| Problem::bad_request(format!("plugin name `{name}` {reason}")))?;
    let version = parse_version(&version)?;
    let (parts, body) = request.into_parts();
    api.uploads.check_length(&parts.headers)?;
    let _turn = match api.uploads.enter(account).await {
        Ok(turn) => turn,
        Err(problem) => {
            api.uploads.pass_over(body).await;
            return Err(problem);
        }
    };
    let (digest, bytes) = api.uploads.receive(body).await?;
    if let Some(plugin) = api.host.database.plugin(account, &name, &version).await? {
        return if plugin.digest == digest.0 {
            Ok((StatusCode::OK, Json(plugin.into())))
        } else {
            Err(taken(&name, &version))
        };
    }
    let size_bytes = i64::try_from(bytes.len()).unwrap_or(i64::MAX);
    let compiled = compile(&api, account, digest, bytes.clone()).await?;
    api.host.database.put_component(&digest.0, &bytes).await?;
    let plugin = NewPlugin {
        name: &name,
        version: &version,
        digest: digest.0,
        description: &compiled.description,
        imports: &compiled.imports,
        size_bytes,
    };
    let status = match api.host.database.put_plugin(account, &plugin).await? {
        PluginPut::Created(_) => StatusCode::CREATED,
        PluginPut::Unchanged(_) => StatusCode::OK,
        PluginPut::Taken => return Err(taken(&name, &version)),
    };
    Ok((status, Json(find(&api, &caller, &name, &version).await?.into())))
}

/// Whose plugins the caller may change. Other projects of the account would run what a token of one project uploads, under
/// their own grants.
fn account_of(caller: &Caller) -> Result<AccountId, Problem> {
    match caller.project {
        None => caller.account(),
        Some(_) => {
            Err(Problem::forbidden("plugins are the account's: a token of one project cannot upload or yank them"))
        }
    }
}

/// `POST /v1/plugins/{name}/{version}/yank`
async fn yank(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<Caller>,
    PathOf((name, version)): PathOf<(String, String)>,
) -> Result<Json<PluginView>, Problem> {
    set_yanked(&api, &caller, &name, &version, true).await
}

/// `POST /v1/plugins/{name}/{version}/unyank`
async fn unyank(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<Caller>,
    PathOf((name, version)): PathOf<(String, String)>,
) -> Result<Json<PluginView>, Problem> {
    set_yanked(&api, &caller, &name, &version, false).await
}

async fn set_yanked(
    api: &Api,
    caller: &Caller,
    name: &str,
    version: &str,
    is_yanked: bool,
) -> Result<Json<PluginView>, Problem> {
    let (account, version) = (account_of(caller)?, parse_version(version)?);
    let plugin = api.host.database.yank_plugin(account, name, &version, is_yanked).await?;
    let plugin = plugin.ok_or_else(|| unknown(name, &version))?;
    tracing::info!(%account, plugin = name, %version, is_yanked, "a plugin was yanked or let be found again");
    Ok(Json(plugin.into()))
}

/// Compiles an upload. One that this host has compiled before, for somebody else, takes as long as it did then: how soon the
/// answer comes must not tell an account what others have.
async fn compile(api: &Api, account: AccountId, digest: Digest, bytes: Bytes) -> Result<Compiled, Problem> {
    let is_own = api.host.database.has_component(account, &digest.0).await?;
    let began = Instant::now();
    let compiled = api.host.engine.compile_digested(account, digest, bytes).await.map_err(refused)?;
    if !compiled.is_new && !is_own {
        tokio::time::sleep(compiled.build_time.saturating_sub(began.elapsed())).await;
    }
    Ok(compiled)
}

fn taken(name: &str, version: &Version) -> Problem {
    Problem::conflict(format!(
        "plugin `{name}` {version} exists with other bytes, and versions never change; upload it under a new version"
    ))
}

/// `GET /v1/plugins/{name}/{version}`
pub async fn show(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<Caller>,
    PathOf((name, version)): PathOf<(String, String)>,
) -> Result<Json<PluginView>, Problem> {
    let plugin = find(&api, &caller, &name, &parse_version(&version)?).await?;
    Ok(Json(plugin.into()))
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PluginsQuery {
    name: Option<String>,
    after: Option<PluginId>,
    #[schemars(range(min = 1, max = LIMIT_MAX))]
    limit: Option<i64>,
}

/// Descriptions in one page, in bytes. 4 MiB: a full page of what plugins usually say of themselves, twice over.
const PAGE_BYTES_MAX: i64 = 4 * 1024 * 1024;

/// `GET /v1/plugins`
pub async fn list(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<Caller>,
    QueryOf(query): QueryOf<PluginsQuery>,
) -> Result<Json<Page<PluginView>>, Problem> {
    let limit = page::limit(query.limit)?;
    let (account, name) = (caller.account()?, query.name.as_deref());
    let page = api.host.database.plugins(account, name, query.after, limit, PAGE_BYTES_MAX).await?;
    let items: Vec<PluginView> = page.plugins.into_iter().map(PluginView::from).collect();
    let next = items.last().filter(|_| page.has_more).map(|last| last.id.to_string());
    Ok(Json(Page { items, next }))
}

/// The plugin of this name and version, if the account has it.
pub(super) async fn find(api: &Api, caller: &Caller, name: &str, version: &Version) -> Result<Plugin, Problem> {
    let plugin = api.host.database.plugin(caller.account()?, name, version).await?;
    plugin.ok_or_else(|| unknown(name, version))
}

fn unknown(name: &str, version: &Version) -> Problem {
    Problem::not_found(format!("there is no plugin `{name}` {version}"))
}

/// The version in an address.
pub(super) fn parse_version(text: &str) -> Result<Version, Problem> {
    text.parse().map_err(|error| Problem::bad_request(format!("`{text}` is no version such as 1.2.3: {error}")))
}

fn refused(error: UploadError) -> Problem {
    match error {
        UploadError::Faults(faults) => Problem::invalid("invalid-plugin", faults),
        UploadError::Uncompilable(fault) => Problem::invalid("invalid-plugin", vec![fault]),
        UploadError::Unavailable(reason) => Problem::unavailable(reason, std::time::Duration::from_secs(5)),
    }
}
