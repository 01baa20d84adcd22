//! A host under measurement: in this process, on a database of its own, with one project whose http trigger leads to one
//! node.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};
use bytes::Bytes;
use serde_json::{Value, json};
use sqlx::PgPool;
use trellis::{
    api::generate_token,
    client::Client,
    config::{Config, ConfigArgs},
    server::Server,
};
use trellis_model::{
    AccountId, Queue, RunId,
    ids::SHARD_COUNT,
    token::{Scope, TokenKind},
};
use trellis_operator::run::Callee;

use crate::{load::Target, rig::Rig};

/// The event: the size of a small order.
pub const EVENT: &str = r#"{"id":"A-1017","customer":{"name":"Ada Example","country":"DE"},"currency":"USD","total":129.5,"items":[{"sku":"T-8812","count":2},{"sku":"K-0031","count":1}],"gift":false}"#;

const ACCOUNT: &str = "bench";
const PROJECT: &str = "bench";
/// No account is ever over this.
const PERMITS: u32 = u32::MAX;
const READY_TIMEOUT: Duration = Duration::from_secs(20);
const DRAIN_TIMEOUT: Duration = Duration::from_secs(120);
const POLL: Duration = Duration::from_millis(50);

/// How a subject differs from an ordinary host.
#[derive(Clone, Copy, Debug, Default)]
pub struct SubjectOptions {
    pub callee: Callee,
    /// Accepts events, and runs none.
    pub only_accepts: bool,
    /// The guest emits the time of its start instead of its input.
    pub stamps: bool,
}

pub struct Subject {
    pub server: Server,
    account: AccountId,
    token: String,
    /// For looking at its tables.
    tables: PgPool,
}

/// Its tables at one moment.
#[derive(Clone, Copy, Debug)]
pub struct Look {
    pub at: Instant,
    /// Runs that have ended, of those that were counted from.
    pub ended: u64,
    /// Accepted, and not ended.
    pub queued: u64,
}

impl Subject {
    /// Starts a host on a new database of this name, and deploys the project.
    ///
    /// # Errors
    /// The host does not start, or refuses the project.
    pub async fn start(rig: &Rig, name: &str, options: SubjectOptions) -> anyhow::Result<Self> {
        let url = rig.database(name).await?;
        let config = configure(&url, &rig.folder(name).display().to_string(), options)?;
        let server = Server::start_calling(&config, options.callee).await?;
        let tables = PgPool::connect(&url).await?;
        let account = server.host.database.ensure_account(ACCOUNT).await?;
        let text = generate_token(TokenKind::Account)?;
        let scopes = Scope::of_account();
        server.host.database.create_token(Some(account), None, "bench", text.digest(), &scopes, None).await?;
        let subject = Self { server, account, token: text.reveal().to_owned(), tables };
        subject.deploy(rig, options).await.context("the project was not deployed")?;
        subject.wait_until_ready().await?;
        Ok(subject)
    }

    async fn deploy(&self, rig: &Rig, options: SubjectOptions) -> anyhow::Result<()> {
        let client = Client::new(&self.server.base_url, self.token.as_str(), None)?;
        let (name, version) = (rig.echo.name.as_str(), rig.echo.version.as_str());
        let bytes = Bytes::from(rig.echo.bytes.clone());
        let _: Value = client.put_bytes(&["v1", "plugins", name, version], "application/wasm", bytes).await?;
        let manifest = json!({
            "project": { "name": PROJECT },
            "plugins": { "echo": format!("{name}@={version}") },
            "triggers": [{ "name": "events", "kind": "http", "grid": "echo", "path": "/events", "auth": "token" }],
            "grids": { "echo": { "nodes": { "echo": {
                "plugin": "echo",
                "inputs": { "in": "event" },
                "config": { "stamp": options.stamps },
            } } } },
        });
        let _: Value = client.put_json(&["v1", "projects", PROJECT], &[], &manifest).await?;
        Ok(())
    }

    /// Shards are taken after the start.
    async fn wait_until_ready(&self) -> anyhow::Result<()> {
        let until = Instant::now() + READY_TIMEOUT;
        while self.server.host.shard_count() < SHARD_COUNT as usize {
            if Instant::now() > until {
                bail!("the host holds {} shards after {READY_TIMEOUT:?}", self.server.host.shard_count());
            }
            tokio::time::sleep(POLL).await;
        }
        Ok(())
    }

    /// The trigger, as its users send to it: with a token.
    pub fn target(&self) -> Target {
        Target {
            address: self.server.address,
            path: format!("/hooks/{ACCOUNT}/{PROJECT}/events"),
            token: Some(self.token.clone()),
            body: Bytes::from_static(EVENT.as_bytes()),
        }
    }

    /// Counts runs that were started, by the permits that they took: the limiter knows without a statement.
    pub fn started(&self) -> Arc<dyn Fn() -> u64 + Send + Sync> {
        let (limiter, queue) = (self.server.host.limiter.clone(), Queue::home(self.account));
        // The burst window turns, the long one does not: the fewer permits are left in that one.
        Arc::new(move || u64::from(PERMITS - limiter.permits(queue)))
    }

    /// The newest run that has ended.
    ///
    /// # Errors
    /// Postgres is away.
    pub async fn newest_run(&self) -> sqlx::Result<RunId> {
        let id: Option<i64> = sqlx::query_scalar("select max(id) from run where account_id = $1")
            .bind(self.account.0)
            .fetch_one(&self.tables)
            .await?;
        Ok(RunId(id.unwrap_or(0)))
    }

    /// Counts runs that have ended, of the events that were accepted after a run, and those that have not.
    ///
    /// # Errors
    /// Postgres is away.
    pub async fn look(&self, after: RunId) -> sqlx::Result<Look> {
        let at = Instant::now();
        let (ended, queued): (i64, i64) = sqlx::query_as(
            "select (select count(*) from run where account_id = $1 and id > $2), (select count(*) from job)",
        )
        .bind(self.account.0)
        .bind(after.0)
        .fetch_one(&self.tables)
        .await?;
        Ok(Look { at, ended: ended.unsigned_abs(), queued: queued.unsigned_abs() })
    }

    /// Events in the queue.
    ///
    /// # Errors
    /// Postgres is away.
    pub async fn queued(&self) -> sqlx::Result<u64> {
        let count: i64 = sqlx::query_scalar("select count(*) from job").fetch_one(&self.tables).await?;
        Ok(count.unsigned_abs())
    }

    async fn unfinished(&self) -> sqlx::Result<i64> {
        sqlx::query_scalar("select (select count(*) from job) + (select count(*) from job_later)")
            .fetch_one(&self.tables)
            .await
    }

    /// Waits until no accepted event is left, and makes sure that each of these many has succeeded, once.
    ///
    /// # Errors
    /// They do not end, or not well, or there are more or fewer.
    pub async fn drain(&self, after: RunId, accepted: u64) -> anyhow::Result<()> {
        let until = Instant::now() + DRAIN_TIMEOUT;
        while self.unfinished().await? > 0 {
            if Instant::now() > until {
                bail!("{} of {accepted} events have not ended within {DRAIN_TIMEOUT:?}", self.unfinished().await?);
            }
            tokio::time::sleep(POLL).await;
        }
        let succeeded: i64 =
            sqlx::query_scalar("select count(*) from run where account_id = $1 and id > $2 and state = 'succeeded'")
                .bind(self.account.0)
                .bind(after.0)
                .fetch_one(&self.tables)
                .await?;
        if succeeded.unsigned_abs() != accepted {
            bail!("{accepted} events were accepted, and {succeeded} of them have succeeded");
        }
        Ok(())
    }

    /// What was stored of the nodes of each run since a run: JSON.
    ///
    /// # Errors
    /// Postgres is away.
    pub async fn node_results(&self, after: RunId) -> sqlx::Result<Vec<(RunId, Vec<u8>)>> {
        let rows: Vec<(i64, Vec<u8>)> = sqlx::query_as("select id, nodes from run where account_id = $1 and id > $2")
            .bind(self.account.0)
            .bind(after.0)
            .fetch_all(&self.tables)
            .await?;
        Ok(rows.into_iter().map(|(id, nodes)| (RunId(id), nodes)).collect())
    }

    pub async fn stop(self) -> anyhow::Result<()> {
        self.tables.close().await;
        self.server.shutdown().await
    }
}

fn configure(database_url: &str, data_dir: &str, options: SubjectOptions) -> anyhow::Result<Config> {
    let args = ConfigArgs {
        listen: Some("127.0.0.1:0".to_owned()),
        data_dir: Some(data_dir.to_owned()),
        database_url: Some(database_url.to_owned()),
        set: vec![format!("limiter.burst_per_minute={PERMITS}"), format!("limiter.long_per_day={PERMITS}")],
        ..ConfigArgs::default()
    };
    // Not from the environment: what is measured must not depend on who measures.
    let mut config = Config::load(&args, [])?.config;
    if options.only_accepts {
        config.queue.runs_max = 0;
    }
    Ok(config)
}
