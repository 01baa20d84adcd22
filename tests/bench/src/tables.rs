//! The tables of a host under measurement, as they look from outside: what waits, and what has ended.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};
use serde::Deserialize;
use serde_json::Value;
use sqlx::PgPool;
use trellis_model::{AccountId, RunId, Shard};

const DRAIN_TIMEOUT: Duration = Duration::from_secs(120);
const POLL: Duration = Duration::from_millis(50);

/// The tables, as far as these accounts are concerned.
#[derive(Clone)]
pub struct Tables {
    pub pool: PgPool,
    accounts: Vec<i64>,
    shards: Vec<i16>,
}

/// Their state at one moment.
#[derive(Clone, Copy, Debug)]
pub struct Look {
    pub at: Instant,
    /// Runs that have ended, of those that were counted from.
    pub ended: u64,
    /// Accepted, and not ended.
    pub queued: u64,
}

/// A run in history.
#[derive(Debug)]
pub struct EndedRun {
    pub run: RunId,
    /// Since 1970: when its last commit began.
    pub ended_at: Duration,
    /// Results of its nodes: JSON.
    nodes: Vec<u8>,
}

impl EndedRun {
    /// When a node that stamps its start was entered, since 1970.
    ///
    /// # Errors
    /// It has left no time.
    pub fn stamp(&self, node: &str) -> anyhow::Result<Duration> {
        #[derive(Deserialize)]
        struct NodeResult {
            node: String,
            #[serde(default)]
            outputs: HashMap<String, Value>,
        }
        let nodes: Vec<NodeResult> =
            serde_json::from_slice(&self.nodes).context("node results that are not readable")?;
        let result = nodes.iter().find(|result| result.node == node);
        let nanoseconds = result.and_then(|result| result.outputs.get("out")?.as_u64());
        Ok(Duration::from_nanos(
            nanoseconds.with_context(|| format!("run {} has no time of its node `{node}`", self.run))?,
        ))
    }
}

impl Tables {
    /// # Errors
    /// Postgres is away.
    pub async fn open(database_url: &str, accounts: &[AccountId]) -> sqlx::Result<Self> {
        Ok(Self {
            pool: PgPool::connect(database_url).await?,
            accounts: accounts.iter().map(|account| account.0).collect(),
            shards: accounts.iter().map(|account| Shard::of(*account).0).collect(),
        })
    }

    /// The newest run that has ended; 0 if none has.
    ///
    /// # Errors
    /// Postgres is away.
    pub async fn newest_run(&self) -> sqlx::Result<RunId> {
        let id: Option<i64> = sqlx::query_scalar("select max(id) from run where account_id = any ($1)")
            .bind(&self.accounts)
            .fetch_one(&self.pool)
            .await?;
        Ok(RunId(id.unwrap_or(0)))
    }

    /// Counts runs that have ended, of the events that were accepted after a run, and those that have not.
    ///
    /// # Errors
    /// Postgres is away.
    pub async fn look(&self, after: RunId) -> sqlx::Result<Look> {
        let at = Instant::now();
        let ended: i64 = sqlx::query_scalar("select count(*) from run where account_id = any ($1) and id > $2")
            .bind(&self.accounts)
            .bind(after.0)
            .fetch_one(&self.pool)
            .await?;
        Ok(Look { at, ended: ended.unsigned_abs(), queued: self.queued().await? })
    }

    /// Events in the queue.
    ///
    /// # Errors
    /// Postgres is away.
    pub async fn queued(&self) -> sqlx::Result<u64> {
        self.count("select count(*) from unnest($1::smallint[], $2::bigint[]) as own (shard, account_id) join job using (shard, account_id)").await
    }

    async fn unfinished(&self) -> sqlx::Result<u64> {
        let later = self
            .count("select count(*) from unnest($1::smallint[], $2::bigint[]) as own (shard, account_id) join job_later using (shard, account_id)")
            .await?;
        Ok(self.queued().await? + later)
    }

    async fn count(&self, statement: &'static str) -> sqlx::Result<u64> {
        let count: i64 =
            sqlx::query_scalar(statement).bind(&self.shards).bind(&self.accounts).fetch_one(&self.pool).await?;
        Ok(count.unsigned_abs())
    }

    /// Waits until no accepted event is left, and makes sure that each of these many has succeeded, once.
    ///
    /// # Errors
    /// They do not end, or not well, or there are more or fewer.
    pub async fn drain(&self, after: RunId, accepted: u64) -> anyhow::Result<()> {
        let until = Instant::now() + DRAIN_TIMEOUT;
        loop {
            let left = self.unfinished().await?;
            if left == 0 {
                break;
            }
            if Instant::now() > until {
                bail!("{left} of {accepted} events have not ended within {DRAIN_TIMEOUT:?}");
            }
            tokio::time::sleep(POLL).await;
        }
        let succeeded: i64 = sqlx::query_scalar(
            "select count(*) from run where account_id = any ($1) and id > $2 and state = 'succeeded'",
        )
        .bind(&self.accounts)
        .bind(after.0)
        .fetch_one(&self.pool)
        .await?;
        if succeeded.unsigned_abs() != accepted {
            bail!("{accepted} events were accepted, and {succeeded} of them have succeeded");
        }
        Ok(())
    }

    /// The runs that have ended, of the events that were accepted after a run, by arrival.
    ///
    /// # Errors
    /// Postgres is away.
    pub async fn ended_runs(&self, after: RunId) -> sqlx::Result<Vec<EndedRun>> {
        let rows: Vec<(i64, i64, Vec<u8>)> = sqlx::query_as(
            "select id, (extract(epoch from ended_at) * 1000000)::bigint, nodes
             from run where account_id = any ($1) and id > $2 order by id",
        )
        .bind(&self.accounts)
        .bind(after.0)
        .fetch_all(&self.pool)
        .await?;
        let ended = |(id, ended_at, nodes): (i64, i64, Vec<u8>)| EndedRun {
            run: RunId(id),
            ended_at: Duration::from_micros(ended_at.unsigned_abs()),
            nodes,
        };
        Ok(rows.into_iter().map(ended).collect())
    }

    pub async fn close(self) {
        self.pool.close().await;
    }
}

/// The time of day, since 1970: what guests stamp with, on this machine.
pub fn now() -> Duration {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default()
}
