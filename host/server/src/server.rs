//! One host with all its rooms: Postgres, schema, engine, heart, API and edge, opened in order and closed in order.

use std::{
    net::SocketAddr,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use tokio::{net::TcpListener, task::JoinHandle};
use tokio_util::sync::CancellationToken;
use trellis_engine::{CompileIn, Engine, EngineConfig, egress::policy::EgressPolicy};
use trellis_model::token::TokenKind;
use trellis_operator::{
    Host, HostConfig,
    host::HostStop,
    ingest::IngestConfig,
    lease::LeaseConfig,
    limiter::{IncrementMode, LimiterConfig},
    run::Callee,
};
use trellis_store::{
    Database, DatabaseOptions,
    tokens::{GivenToken, TokenOwner},
};

use crate::{
    api::{self, Api, ApiConfig, Pace, TokenCacheLimits, UploadConfig},
    config::{self, Config, OperatorToken, TokensConfig},
    credentials,
    edge::{self, Drained, EdgeConfig},
    open_files,
    postgres::{EmbeddedPostgres, StartOptions},
    private_file,
};

/// How long a request waits for a database connection before it is told 503.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(5);

/// A host that serves.
pub struct Server {
    pub host: Arc<Host>,
    /// Where it really listens: the port that was chosen if the configuration says 0.
    pub address: SocketAddr,
    /// How it is reached, without a slash at the end.
    pub base_url: String,
    stop: HostStop,
    edge: JoinHandle<Drained>,
    edge_stop: CancellationToken,
    postgres: Option<EmbeddedPostgres>,
    drain: Duration,
}

impl Server {
    /// Opens everything. When this returns, requests are served.
    ///
    /// # Errors
    /// Whatever keeps the host from starting, with what to do about it.
    pub async fn start(config: &Config) -> anyhow::Result<Self> {
        Self::start_calling(config, Callee::default()).await
    }

    /// Like [`Server::start`], with something else called in place of transformers: for measurements.
    ///
    /// # Errors
    /// The same.
    pub async fn start_calling(config: &Config, callee: Callee) -> anyhow::Result<Self> {
        let listener = TcpListener::bind(config.listen).await.with_context(|| {
            format!(
                "cannot listen on {}; if another host is running there, choose another address with --listen",
                config.listen
            )
        })?;
        let address = listener.local_addr()?;
        let keyring = credentials::keyring(&config.credentials)?;
        open_files::raise(open_files::needed(config))?;
        let (database, postgres) = open_database(config).await?;
        let applied = database.migrate().await?;
        if !applied.is_empty() {
            tracing::info!(migrations = applied.len(), "the schema was brought up to date");
        }
        let engine = start_engine(config)?;
        let settings = host_config(config, postgres.is_some(), callee);
        let (host, stop) = Host::start(database, engine, settings, keyring).await?;
        let base_url = Config { listen: address, ..config.clone() }.base_url();
        let api = Api::new(Arc::clone(&host), api_config(config, &base_url));
        let edge_stop = CancellationToken::new();
        let edge =
            tokio::spawn(edge::serve(listener, api::router(api), EdgeConfig::from(&config.http), edge_stop.clone()));
        tracing::info!(%address, projects = host.catalog.project_count(), "serving");
        Ok(Self { host, address, base_url, stop, edge, edge_stop, postgres, drain: config.http.drain })
    }

    /// Waits until the private Postgres dies, which it should not; for ever when there is none.
    pub async fn failed(&mut self) -> anyhow::Error {
        match &mut self.postgres {
            Some(postgres) => anyhow::Error::new(postgres.ended().await),
            None => std::future::pending().await,
        }
    }

    /// Sees to it that there is an operator token: the one that the configuration gives or, at the first start on a
    /// database, one of its own making. Returns the text of that one: the only time that it is seen.
    ///
    /// # Errors
    /// The database is away, or the configured token cannot be read or was revoked.
    pub async fn bootstrap_operator(&self, config: &TokensConfig) -> anyhow::Result<Option<String>> {
        let database = &self.host.database;
        let most = i64::from(config.account_max);
        if let Some(given) = given_operator_token(config)? {
            return match database.ensure_operator_token("configured", given.text().digest(), most).await? {
                GivenToken::Made | GivenToken::Known => Ok(None),
                GivenToken::Refused => anyhow::bail!(
                    "the operator token of the configuration was revoked, has expired or is of something else; make another with `trellis token generate`"
                ),
                GivenToken::TooMany => anyhow::bail!(
                    "the operator token of the configuration is a new one, and there are {most} already, as many as `tokens.account_max` says; revoke those that nobody uses with `trellis token revoke`, or go on with one that is known"
                ),
            };
        }
        if database.token_count(TokenOwner::Operators).await? > 0 {
            return Ok(None);
        }
        let token = api::generate_token(TokenKind::Operator)?;
        let is_made = database.create_first_token("first", token.digest()).await?;
        Ok(is_made.then(|| token.reveal().to_owned()))
    }

    /// Closes in order: no run is started any more, no new connections, running requests finish, running nodes finish, shards
    /// are given back, the private Postgres stops.
    ///
    /// # Errors
    /// What did not end as it should; nothing that was accepted is lost by it.
    pub async fn shutdown(self) -> anyhow::Result<()> {
        let began = Instant::now();
        self.stop.leave().await;
        self.edge_stop.cancel();
        match self.edge.await {
            Ok(Drained { cut_off: 0 }) => {}
            Ok(Drained { cut_off }) => tracing::warn!(cut_off, "requests were cut off at the end of the drain"),
            Err(error) => tracing::error!(%error, "the HTTP server had failed"),
        }
        let database = self.host.database.clone();
        let stopped = self.stop.shutdown(self.drain.saturating_sub(began.elapsed())).await;
        database.close().await;
        if let Some(postgres) = self.postgres {
            postgres.stop().await?;
        }
        Ok(stopped?)
    }
}

/// Opens the configured database, or a private Postgres in the data folder.
///
/// # Errors
/// It cannot be started or reached, or is not durable.
pub async fn open_database(config: &Config) -> anyhow::Result<(Database, Option<EmbeddedPostgres>)> {
    let (url, postgres) = match &config.database.url {
        Some(url) => (url.expose().to_owned(), None),
        None => {
            let mut options = StartOptions::new(config.data_dir.join("postgres"));
            options.binaries_dir = config.postgres.bin.clone();
            let postgres = EmbeddedPostgres::start(options).await?;
            (postgres.url().to_owned(), Some(postgres))
        }
    };
    let options = DatabaseOptions {
        url,
        connections_max: config.database.connections_max,
        acquire_timeout: ACQUIRE_TIMEOUT,
        allow_unsafe_durability: config.allow_unsafe_durability,
    };
    let place = place_of(&options.url);
    let database = Database::connect(&options).await.with_context(|| {
        format!("cannot use the database{place}; see that it runs, and that `database.url` (`DATABASE_URL`) is right")
    })?;
    Ok((database, postgres))
}

/// Where a database is, without who asks it and the password.
fn place_of(url: &str) -> String {
    let Ok(url) = url::Url::parse(url) else { return String::new() };
    let Some(host) = url.host_str().filter(|host| !host.is_empty()) else { return String::new() };
    let port = url.port().unwrap_or(5432);
    format!(" `{}` at {host}:{port}", url.path().trim_start_matches('/'))
}

/// The operator token that the configuration names, itself or by a file.
///
/// # Errors
/// The file cannot be read, or holds none.
pub(crate) fn given_operator_token(config: &TokensConfig) -> anyhow::Result<Option<OperatorToken>> {
    let Some(path) = &config.operator_file else { return Ok(config.operator.clone()) };
    let text = private_file::read(path).context("the operator token (`tokens.operator_file`)")?;
    let token = OperatorToken::parse(&text).with_context(|| {
        format!("{} holds no operator token; write one there with `trellis token generate`", path.display())
    })?;
    Ok(Some(token))
}

fn start_engine(config: &Config) -> anyhow::Result<Engine> {
    let mut engine = EngineConfig::new(artefacts_folder(&config.data_dir));
    engine.instances_max = config.sandbox.instances_max;
    engine.memory_bytes_max = config.sandbox.ceilings.memory_bytes;
    engine.table_elements_max = config.sandbox.ceilings.table_elements;
    engine.memory_bytes_total = config.sandbox.memory_total.0;
    engine.account_percent = config.sandbox.account_percent;
    engine.computing_max = config.sandbox.computing_max;
    engine.egress = EgressPolicy::new(config.egress.allow_private.iter().copied()).denying(config.egress.deny.clone());
    engine.egress_limits = config.egress.limits;
    if let Some(path) = &config.egress.ca_file {
        let read = std::fs::read(path);
        engine.ca_certificates = read.with_context(|| format!("cannot read `egress.ca_file`, {}", path.display()))?;
    }
    engine.compile_in = CompileIn::children_of_this_program().context("cannot tell which program compiles plugins")?;
    engine.upload = config.uploads.upload_limits();
    Ok(Engine::new(&engine)?)
}

fn artefacts_folder(data_dir: &Path) -> std::path::PathBuf {
    data_dir.join("artefacts")
}

fn host_config(config: &Config, is_exclusive: bool, callee: Callee) -> HostConfig {
    HostConfig {
        lease: LeaseConfig { duration: config.queue.lease, is_exclusive },
        limiter: LimiterConfig {
            defaults: config.limiter.account_limits(),
            increment: match config.limiter.mode {
                config::IncrementMode::Call => IncrementMode::Call,
                config::IncrementMode::Cast => IncrementMode::Cast,
            },
        },
        ingest: IngestConfig { timeout: config.queue.ingest_timeout, dedupe_retention: config.queue.dedupe_retention },
        call_limits: config.sandbox.limits,
        call_ceilings: config.sandbox.ceilings,
        run_limits: config.run.run_limits(),
        runs_max: config.queue.runs_max as usize,
        callee,
        shadow_limits: config.shadow.limits(),
        housekeeping_interval: config.history.housekeeping,
    }
}

fn api_config(config: &Config, base_url: &str) -> ApiConfig {
    ApiConfig {
        body_bytes_max: usize::try_from(config.http.body_max.0).unwrap_or(usize::MAX),
        credential_bytes_max: config.credentials.value_max.as_usize(),
        credentials_max: config.credentials.per_project_max,
        upload: UploadConfig {
            bytes_max: config.http.upload_max.as_usize(),
            at_once: config.uploads.at_once,
            account_at_once: config.uploads.account_at_once,
            waiting_max: config.uploads.waiting_max,
            wait: config.uploads.wait,
        },
        fixture_bytes_max: config.shadow.fixture_max.as_usize(),
        request_timeout: config.http.request_timeout,
        body_pace: Pace { patience: config.http.body_timeout, bytes_per_second: config.http.body_rate_min.0 },
        requests_max: config.http.requests_max as usize,
        token_cache: TokenCacheLimits {
            cached_for: config.tokens.cached_for,
            cached_max: config.tokens.cached_max as usize,
        },
        watch: config.watch.clone(),
        account_projects_max: config.uploads.account_projects_max,
        account_tokens_max: config.tokens.account_max.into(),
        base_url: base_url.to_owned(),
    }
}
