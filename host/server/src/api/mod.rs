//! The HTTP API under `/v1`, the http triggers under `/hooks`, and health.
//!
//! Every route is declared once ([`Route`]), with its scope. Knows nothing of sockets and timers; that is [`crate::edge`].

mod accounts;
mod auth;
mod call_limits;
mod cancel;
mod catalogue;
mod collections;
mod credentials;
mod cursor;
mod dedupe;
mod deploy;
mod event_schema;
mod events;
mod fixture;
mod gate;
mod health;
mod hooks;
mod hops;
mod limits;
mod openapi;
mod outcome;
mod pace;
mod page;
mod places;
mod plugins;
mod problem;
mod projects;
mod rate_limit;
mod recorded;
mod replay;
mod request;
mod revisions;
mod route;
mod run_events;
mod runs;
mod schemas;
mod senders;
mod serve;
mod shadow;
mod shelter;
mod signing_keys;
mod stores;
mod tokens;
mod turns;
mod upload;
mod wit;

use std::{sync::Arc, time::Duration};

use axum::{Router, extract::Request};
use trellis_model::token::{TokenKind, TokenText};
use trellis_operator::Host;

use crate::config::WatchConfig;

use self::{auth::TokenCache, places::Places, signing_keys::SigningKeys, turns::Turns, upload::UploadGate};
pub use self::{
    auth::TokenCacheLimits,
    openapi::{document, problem_statuses},
    pace::Pace,
    problem::Problem,
    route::{Access, Answer, Media, Route},
    upload::UploadConfig,
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
    pub upload: UploadConfig,
    /// A credential's value, in bytes.
    pub credential_bytes_max: usize,
    /// Credentials of one project.
    pub credentials_max: u32,
    /// From the first byte of a request to its answer.
    pub request_timeout: Duration,
    /// How fast bodies must come.
    pub body_pace: Pace,
    /// What one fixture may hold, in bytes of JSON.
    pub fixture_bytes_max: usize,
    /// Requests that are answered at the same time.
    pub requests_max: usize,
    pub token_cache: TokenCacheLimits,
    /// Who waits for runs, and who watches them.
    pub watch: WatchConfig,
    /// Projects of one account.
    pub account_projects_max: u32,
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
    signing_keys: SigningKeys,
    uploads: UploadGate,
    /// Of requests that wait for the outcome of a run.
    waits: Arc<Places>,
    /// Of those who follow a run.
    streams: Arc<Places>,
    /// Of components whose WIT is read: each is held in memory whole.
    wit_turns: Turns,
    /// Of manifests that are checked.
    deploy_turns: Turns,
    /// Of events and records that are held against schemas for which they are large.
    schema_turns: Turns,
}

/// Pieces of work of one kind at the same time: so that of all of them together something is left of a small machine.
const TURNS_AT_ONCE: usize = 2;

impl Api {
    pub fn new(host: Arc<Host>, config: ApiConfig) -> Arc<Self> {
        let tokens = TokenCache::new(host.database.clone(), config.token_cache);
        let signing_keys = SigningKeys::new(host.vault.clone());
        let uploads = UploadGate::new(config.upload.clone());
        let waits = Places::new(config.watch.waits_max, config.watch.account_waits_max);
        let streams = Places::new(config.watch.streams_max, config.watch.account_streams_max);
        let turns = |what| Turns::new(what, TURNS_AT_ONCE);
        Arc::new(Self {
            host,
            config,
            tokens,
            signing_keys,
            uploads,
            waits,
            streams,
            wit_turns: turns("reading the WIT of a component"),
            deploy_turns: turns("checking a manifest"),
            schema_turns: turns("holding data against a schema"),
        })
    }
}

/// Every route of a host, declared by the module that serves it.
pub fn routes() -> Vec<Route> {
    [
        openapi::declared(),
        catalogue::declared(),
        health::declared(),
        hooks::declared(),
        events::declared(),
        runs::declared(),
        run_events::declared(),
        cancel::declared(),
        replay::declared(),
        fixture::declared(),
        shadow::declared(),
        plugins::declared(),
        wit::declared(),
        projects::declared(),
        deploy::declared(),
        revisions::declared(),
        collections::declared(),
        schemas::declared(),
        stores::declared(),
        tokens::declared(),
        credentials::declared(),
        limits::declared(),
        call_limits::declared(),
        accounts::declared(),
    ]
    .concat()
}

/// All routes of a host, each behind its gate. There is no other way in: whatever is served is declared.
pub fn router(api: Arc<Api>) -> Router {
    let ApiConfig { request_timeout, requests_max, .. } = api.config;
    let served = |router: Router<Arc<Api>>, route: Route| router.route(route.path, gate::guarded(&api, route));
    let router = routes().into_iter().fold(Router::new(), served);
    let router = router.fallback(not_found).method_not_allowed_fallback(method_not_allowed).with_state(api);
    shelter::over(router, request_timeout, requests_max)
}

async fn not_found(request: Request) -> Problem {
    Problem::not_found(format!("nothing is served at `{}`", request.uri().path()))
}

async fn method_not_allowed(request: Request) -> Problem {
    Problem::method_not_allowed(format!("`{}` does not take {}", request.uri().path(), request.method()))
}
