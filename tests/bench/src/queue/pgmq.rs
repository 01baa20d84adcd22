//! pgmq: batches are sent, read and deleted with its own functions. Its SQL comes from its crate: no extension is built.

use std::time::Instant;

use anyhow::ensure;
use sqlx::{PgPool, postgres::PgPoolOptions};
use tokio::task::JoinSet;

use super::{BATCH_JOBS, Turn, WORKERS, batches, part, peer_install};
use crate::rig::Rig;

/// Of the crate that carries the SQL.
const CRATE: (&str, &str) = ("pgmq", "0.33.5");
const SQL: &str = "src/install/embedded/sql/pgmq.sql";
/// A message that was read is nobody else's for this long; longer than any turn.
const VISIBLE_AFTER_SECONDS: i32 = 600;

pub struct Pgmq {
    pool: PgPool,
}

impl Pgmq {
    pub async fn install(rig: &Rig, database: &str) -> anyhow::Result<Self> {
        let source = peer_install::crate_source(&rig.folder("pgmq"), CRATE).await?;
        let sql = tokio::fs::read_to_string(source.join(SQL)).await?;
        let connections = u32::try_from(WORKERS)?;
        let pool = PgPoolOptions::new()
            .max_connections(connections)
            .test_before_acquire(false)
            .connect(&rig.database(database).await?)
            .await?;
        sqlx::raw_sql(sqlx::AssertSqlSafe(sql)).execute(&pool).await?;
        sqlx::query("select pgmq.create('jobs')").execute(&pool).await?;
        Ok(Self { pool })
    }

    pub async fn turn(&mut self, jobs: u32) -> anyhow::Result<Turn> {
        let began = Instant::now();
        let mut enqueuing = JoinSet::new();
        for worker in 0..WORKERS {
            enqueuing.spawn(enqueue(self.pool.clone(), part(jobs, worker)));
        }
        for enqueued in enqueuing.join_all().await {
            enqueued?;
        }
        let enqueue = began.elapsed();
        let began = Instant::now();
        let mut draining = JoinSet::new();
        for _ in 0..WORKERS {
            draining.spawn(drain(self.pool.clone()));
        }
        let mut drained = 0;
        for part in draining.join_all().await {
            drained += part?;
        }
        ensure!(drained == jobs as usize, "{jobs} jobs were enqueued and {drained} drained");
        Ok(Turn { enqueue, drain: began.elapsed() })
    }
}

async fn enqueue(pool: PgPool, jobs: usize) -> sqlx::Result<()> {
    for batch in batches(jobs) {
        let messages = vec![serde_json::json!({}); batch];
        sqlx::query("select pgmq.send_batch('jobs', $1::jsonb[])").bind(messages).execute(&pool).await?;
    }
    Ok(())
}

async fn drain(pool: PgPool) -> anyhow::Result<usize> {
    let mut drained = 0;
    loop {
        let read: Vec<i64> = sqlx::query_scalar("select msg_id from pgmq.read('jobs', $1, $2)")
            .bind(VISIBLE_AFTER_SECONDS)
            .bind(i32::try_from(BATCH_JOBS)?)
            .fetch_all(&pool)
            .await?;
        if read.is_empty() {
            return Ok(drained);
        }
        let deleted: Vec<i64> =
            sqlx::query_scalar("select pgmq.delete('jobs', $1::bigint[])").bind(read).fetch_all(&pool).await?;
        drained += deleted.len();
    }
}
