//! Plugins: upload, list, show.

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
            .answers::<Page<PluginView>>(200, "A page of plugins"),
        Route::get(ONE, Scope::RunsRead, "Show a plugin", show).answers::<PluginView>(200, "The plugin"),
        Route::put(ONE, Scope::PluginsWrite, "Upload the bytes of a component as a plugin", upload)
            .bytes(Media::Wasm)
            .answers::<PluginView>(200, "It was there already, with the same bytes")
            .answers::<PluginView>(201, "It is new")
            .problems(&[409, 422]),
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
    let account = caller.account()?;
    if caller.project.is_some() {
        // Other projects of the account would run what it uploads, under their own grants.
        return Err(Problem::forbidden("plugins are the account's: a token of one project cannot upload them"));
    }
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
    Ok((status, Json(find(&api, &caller, &name, &version).await?)))
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
    find(&api, &caller, &name, &parse_version(&version)?).await.map(Json)
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PluginsQuery {
    name: Option<String>,
    after: Option<PluginId>,
    #[schemars(range(min = 1, max = LIMIT_MAX))]
    limit: Option<i64>,
}

/// `GET /v1/plugins`
pub async fn list(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<Caller>,
    QueryOf(query): QueryOf<PluginsQuery>,
) -> Result<Json<Page<PluginView>>, Problem> {
    let limit = page::limit(query.limit)?;
    let plugins = api.host.database.plugins(caller.account()?, query.name.as_deref(), query.after, limit + 1).await?;
    let views = plugins.into_iter().map(PluginView::from).collect();
    Ok(Json(Page::new(views, limit, |view: &PluginView| view.id.to_string())))
}

async fn find(api: &Api, caller: &Caller, name: &str, version: &Version) -> Result<PluginView, Problem> {
    let plugin = api.host.database.plugin(caller.account()?, name, version).await?;
    plugin.map(PluginView::from).ok_or_else(|| Problem::not_found(format!("there is no plugin `{name}` {version}")))
}

fn parse_version(text: &str) -> Result<Version, Problem> {
    text.parse().map_err(|error| Problem::bad_request(format!("`{text}` is no version such as 1.2.3: {error}")))
}

fn refused(error: UploadError) -> Problem {
    match error {
        UploadError::Faults(faults) => Problem::invalid("invalid-plugin", "the plugin is not accepted", faults),
        UploadError::Uncompilable(fault) => {
            Problem::invalid("invalid-plugin", "the plugin is not accepted", vec![fault])
        }
        UploadError::Unavailable(reason) => Problem::unavailable(reason, std::time::Duration::from_secs(5)),
    }
}
