//! The HTTP API under `/v1`, the http triggers under `/hooks`, and health.
//!
//! Every route names its scope where it is declared. Knows nothing of sockets and timers; that is [`crate::edge`].

mod accounts;
mod auth;
mod cancel;
mod cursor;
mod dedupe;
mod events;
mod health;
mod hooks;
mod limits;
mod page;
mod plugins;
mod problem;
mod projects;
mod rate_limit;
mod replay;
mod request;
mod runs;
mod tokens;
mod upload;

use std::{sync::Arc, time::Duration};

use axum::{
    Router,
    extract::Request,
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::{MethodRouter, any, delete, get, post, put},
};
use tower_http::{catch_panic::CatchPanicLayer, timeout::TimeoutLayer};
use trellis_model::token::{Scope, TokenKind, TokenText};
use trellis_operator::Host;

use self::{auth::TokenCache, upload::UploadGate};
pub use self::{problem::Problem, upload::UploadConfig};

/// A fresh token from the system's randomness.
///
/// # Errors
/// The system gives none.
pub fn generate_token(kind: TokenKind) -> anyhow::Result<TokenText> {
    tokens::generate(kind).map_err(|problem| anyhow::anyhow!(problem.detail))
}

/// Limits and addresses of the API.
#[derive(Clone, Debug)]
pub struct ApiConfig {
    /// Body of an event or manifest, in bytes.
    pub body_bytes_max: usize,
    pub upload: UploadConfig,
    /// From the first byte of a request to its answer.
    pub request_timeout: Duration,
    /// How this host is reached, without a slash at the end.
    pub base_url: String,
}

/// What the handlers share.
pub struct Api {
    pub host: Arc<Host>,
    pub config: ApiConfig,
    tokens: TokenCache,
    uploads: UploadGate,
}

impl Api {
    pub fn new(host: Arc<Host>, config: ApiConfig) -> Arc<Self> {
        let tokens = TokenCache::new(host.database.clone());
        let uploads = UploadGate::new(config.upload.clone());
        Arc::new(Self { host, config, tokens, uploads })
    }
}

/// All routes of a host.
pub fn router(api: Arc<Api>) -> Router {
    let timeout = api.config.request_timeout;
    let routes = Router::new()
        .route("/hooks/{account}/{project}", any(hooks::receive))
        .route("/hooks/{account}/{project}/{*path}", any(hooks::receive))
        .route("/healthz", get(health::alive))
        .route("/readyz", get(health::ready))
        .merge(v1(&api))
        .fallback(not_found)
        .method_not_allowed_fallback(method_not_allowed)
        .with_state(api);
    routes
        .layer(TimeoutLayer::with_status_code(http::StatusCode::SERVICE_UNAVAILABLE, timeout))
        .layer(middleware::from_fn(explain_plain_errors))
        .layer(CatchPanicLayer::custom(|_| Problem::internal().into_response()))
        .layer(middleware::from_fn(security_headers))
}

fn v1(api: &Arc<Api>) -> Router<Arc<Api>> {
    let needs = |scope, routes: MethodRouter<Arc<Api>>| {
        routes.route_layer(middleware::from_fn_with_state((Arc::clone(api), scope), auth::require))
    };
    Router::new()
        .route("/v1/projects/{project}/grids/{grid}/events", needs(Scope::EventsWrite, post(events::send)))
        .route("/v1/runs", needs(Scope::RunsRead, get(runs::list)))
        .route("/v1/runs/cancel", needs(Scope::RunsWrite, post(cancel::cancel_many)))
        .route("/v1/runs/replay", needs(Scope::RunsWrite, post(replay::replay_many)))
        .route("/v1/runs/{run}", needs(Scope::RunsRead, get(runs::show)))
        .route("/v1/runs/{run}/cancel", needs(Scope::RunsWrite, post(cancel::cancel)))
        .route("/v1/runs/{run}/replay", needs(Scope::RunsWrite, post(replay::replay)))
        .route("/v1/plugins", needs(Scope::RunsRead, get(plugins::list)))
        .route(
            "/v1/plugins/{name}/{version}",
            needs(Scope::RunsRead, get(plugins::show)).merge(needs(Scope::PluginsWrite, put(plugins::upload))),
        )
        .route("/v1/projects", needs(Scope::RunsRead, get(projects::list)))
        .route(
            "/v1/projects/{project}",
            needs(Scope::RunsRead, get(projects::show)).merge(needs(Scope::ProjectsWrite, put(projects::deploy))),
        )
        .route("/v1/tokens", needs(Scope::TokensWrite, get(tokens::list).post(tokens::create)))
        .route("/v1/tokens/{token}", needs(Scope::TokensWrite, delete(tokens::revoke)))
        .route("/v1/limits", needs(Scope::RunsRead, get(limits::show)))
        .route("/v1/accounts", needs(Scope::Operator, get(accounts::list)))
        .route("/v1/accounts/{account}", needs(Scope::Operator, get(accounts::show).put(accounts::put)))
}

async fn not_found(request: Request) -> Problem {
    Problem::not_found(format!("nothing is served at `{}`", request.uri().path()))
}

async fn method_not_allowed(request: Request) -> Problem {
    Problem::method_not_allowed(format!("`{}` does not take {}", request.uri().path(), request.method()))
}

/// Whatever a layer or an extractor refused in plain text is said again as a problem.
async fn explain_plain_errors(request: Request, next: Next) -> Response {
    let response = next.run(request).await;
    let status = response.status();
    let is_plain = response.headers().get(http::header::CONTENT_TYPE).is_none_or(|kind| kind != problem::CONTENT_TYPE);
    if !(status.is_client_error() || status.is_server_error()) || !is_plain {
        return response;
    }
    let detail = match axum::body::to_bytes(response.into_body(), 4_096).await {
        Ok(text) => String::from_utf8_lossy(&text).into_owned(),
        Err(_) => String::new(),
    };
    Problem::plain(status, detail).into_response()
}

async fn security_headers(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    headers.insert(http::header::X_CONTENT_TYPE_OPTIONS, http::HeaderValue::from_static("nosniff"));
    headers.entry(http::header::CACHE_CONTROL).or_insert(http::HeaderValue::from_static("no-store"));
    response
}
