//! What everybody writes first: a table of jobs, drained with `for update skip locked`; in batches, which not everybody does.

use std::time::Instant;

use anyhow::ensure;
use sqlx::{PgPool, postgres::PgPoolOptions};
use tokio::task::JoinSet;

use super::{BATCH_JOBS, Turn, WORKERS, batches, part};

pub struct SkipLocked {
    pool: PgPool,
}

impl SkipLocked {
    pub async fn start(database_url: &str) -> anyhow::Result<Self> {
        let connections = u32::try_from(WORKERS)?;
        let pool =
            PgPoolOptions::new().max_connections(connections).test_before_acquire(false).connect(database_url).await?;
        let table =
            "create table plain_job (id bigint generated always as identity primary key, payload bytea not null)";
        sqlx::query(table).execute(&pool).await?;
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
        ensure!(drained == u64::from(jobs), "{jobs} jobs were enqueued and {drained} drained");
        Ok(Turn { enqueue, drain: began.elapsed() })
    }
}

async fn enqueue(pool: PgPool, jobs: usize) -> sqlx::Result<()> {
    for batch in batches(jobs) {
        let payloads = vec![Vec::<u8>::new(); batch];
        sqlx::query("insert into plain_job (payload) select * from unnest($1::bytea[])")
            .bind(payloads)
            .execute(&pool)
            .await?;
    }
    Ok(())
}

/// Takes a batch and deletes it in one transaction, as a worker would whose jobs need no time.
async fn drain(pool: PgPool) -> anyhow::Result<u64> {
    let mut drained = 0;
    loop {
        let deleted: Vec<(i64, Vec<u8>)> = sqlx::query_as(
            "delete from plain_job where id in (select id from plain_job order by id limit $1 for update skip locked)
             returning id, payload",
        )
        .bind(i64::try_from(BATCH_JOBS)?)
        .fetch_all(&pool)
        .await?;
        if deleted.is_empty() {
            return Ok(drained);
        }
        drained += deleted.len() as u64;
    }
}
