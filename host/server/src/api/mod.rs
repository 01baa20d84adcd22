//! The HTTP API under `/v1`, the http triggers under `/hooks`, and health.
//!
//! Every route is declared once ([`Route`]), with its scope. Knows nothing of sockets and timers; that is [`crate::edge`].

mod accounts;
mod auth;
mod cancel;
mod cursor;
mod dedupe;
mod events;
mod gate;
mod health;
mod hooks;
mod limits;
mod openapi;
mod page;
mod plugins;
mod problem;
mod projects;
mod rate_limit;
mod replay;
mod request;
mod route;
mod runs;
mod tokens;

use std::{sync::Arc, time::Duration};

use axum::{
    Router,
    extract::Request,
    middleware::{self, Next},
    response::{IntoResponse, Response},
};
use tower_http::{catch_panic::CatchPanicLayer, timeout::TimeoutLayer};
use trellis_model::token::{TokenKind, TokenText};
use trellis_operator::Host;

use self::auth::TokenCache;
pub use self::{
    auth::TokenCacheLimits,
    openapi::{document, problem_statuses},
    problem::Problem,
    route::{Access, Answer, Media, Route},
};

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
    /// Body of a plugin upload, in bytes.
    pub upload_bytes_max: usize,
    /// From the first byte of a request to its answer.
    pub request_timeout: Duration,
    pub token_cache: TokenCacheLimits,
    /// Valid tokens of one account.
    pub account_tokens_max: i64,
    /// How this host is reached, without a slash at the end.
    pub base_url: String,
}

/// What the handlers share.
pub struct Api {
    pub host: Arc<Host>,
    pub config: ApiConfig,
    tokens: TokenCache,
}

impl Api {
    pub fn new(host: Arc<Host>, config: ApiConfig) -> Arc<Self> {
        let tokens = TokenCache::new(host.database.clone(), config.token_cache);
        Arc::new(Self { host, config, tokens })
    }
}

/// Every route of a host, declared by the module that serves it.
pub fn routes() -> Vec<Route> {
    [
        openapi::declared(),
        health::declared(),
        hooks::declared(),
        events::declared(),
        runs::declared(),
        cancel::declared(),
        replay::declared(),
        plugins::declared(),
        projects::declared(),
        tokens::declared(),
        limits::declared(),
        accounts::declared(),
    ]
    .concat()
}

/// All routes of a host, each behind its gate. There is no other way in: whatever is served is declared.
pub fn router(api: Arc<Api>) -> Router {
    let timeout = api.config.request_timeout;
    let served = |router: Router<Arc<Api>>, route: Route| router.route(route.path, gate::guarded(&api, route));
    let router = routes().into_iter().fold(Router::new(), served);
    router
        .fallback(not_found)
        .method_not_allowed_fallback(method_not_allowed)
        .with_state(api)
        .layer(TimeoutLayer::with_status_code(http::StatusCode::SERVICE_UNAVAILABLE, timeout))
        .layer(middleware::from_fn(explain_plain_errors))
        .layer(CatchPanicLayer::custom(|_| Problem::internal().into_response()))
        .layer(middleware::from_fn(security_headers))
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
